// Values, objects, arrays. See schema_emitter.h.
#include "text/grammar/schema_emitter.h"

#include <algorithm>

#include "pajamas/error.h"
#include "text/grammar/schema_strings.h"
#include "text/unicode.h"

namespace pajamas::grammar {
namespace {

/// Patterns of patternProperties that hold together; the names are split by which of them match.
constexpr std::size_t kMaxPatterns = 4;
constexpr int kMaxDivisor = 10'000;
constexpr int kMaxExclusionDepth = 6;

Conjunction plain(const Conjunction& conjunction) {
  // Schemas that allow everything say nothing beside others.
  Conjunction result;
  for (const SchemaRef& schema : conjunction) {
    if (!SchemaReader::is_anything(*schema.json)) result.push_back(schema);
  }
  return result;
}

unsigned type_of(const OrderedJson& value) {
  switch (value.type()) {
    case OrderedJson::value_t::null: return kNullBit;
    case OrderedJson::value_t::boolean: return kBooleanBit;
    case OrderedJson::value_t::string: return kStringBit;
    case OrderedJson::value_t::array: return kArrayBit;
    case OrderedJson::value_t::object: return kObjectBit;
    default: return Decimal::of(value).is_integer() ? kIntegerBit : kFractionBit;
  }
}

}  // namespace

SchemaEmitter::SchemaEmitter(GrammarDraft& draft, const SchemaReader& reader, const SchemaStyle& style)
    : draft_(draft),
      limits_(*draft.limits),
      reader_(reader),
      style_(style),
      emitter_(*draft.limits, &draft, Spelling::kJsonString) {}

std::int32_t SchemaEmitter::rule_of(const Conjunction& conjunction) {
  std::vector<const OrderedJson*> key;
  for (const SchemaRef& schema : conjunction) key.push_back(schema.json);
  std::sort(key.begin(), key.end());
  key.erase(std::unique(key.begin(), key.end()), key.end());
  const auto [found, is_new] = rules_.try_emplace(key, -1);
  if (!is_new) return found->second;
  found->second = draft_.add_rule(conjunction.empty() ? "#" : conjunction.front().path);
  unwritten_.emplace_back(found->second, conjunction);
  return found->second;
}

void SchemaEmitter::write_rules() {
  while (!unwritten_.empty()) {
    const auto [rule, conjunction] = std::move(unwritten_.front());
    unwritten_.pop_front();
    Nfa& nfa = draft_.begin_rule(rule);
    const std::int32_t start = draft_.rules[rule].start;
    const std::int32_t end = nfa.add_state();
    draft_.rules[rule].end = end;
    for (const FlatSchema& flat : reader_.flatten(conjunction)) append_flat(nfa, start, flat, end);
  }
}

std::int32_t SchemaEmitter::append_value(Nfa& nfa, std::int32_t from, const Conjunction& conjunction) {
  const Conjunction schemas = plain(conjunction);
  if (schemas.empty()) return append_any(nfa, from);
  // What refers to something may come back to itself, so it is called. The rest is written in place: its automaton is
  // then deterministic with what stands around it.
  for (const SchemaRef& schema : schemas) {
    if (SchemaReader::has_reference(*schema.json)) return nfa.append_call(from, rule_of(schemas));
  }
  const std::int32_t to = nfa.add_state();
  for (const FlatSchema& flat : reader_.flatten(schemas)) append_flat(nfa, from, flat, to);
  return to;
}

void SchemaEmitter::append_flat(Nfa& nfa, std::int32_t from, const FlatSchema& flat, std::int32_t to) {
  limits_.spend(4);
  const std::int32_t begin = nfa.add_state();
  nfa.add_empty(from, begin);
  if (flat.values) {
    bool has_value = false;
    for (const SchemaRef& value : *flat.values) {
      if (!conforms(*value.json, flat, false)) continue;
      has_value = true;
      nfa.add_empty(append_literal(nfa, begin, *value.json), to);
    }
    if (!has_value) contradict(flat.path, "no value of enum or const conforms to what stands beside it");
    return;
  }
  if ((flat.types & kNullBit) != 0) nfa.add_empty(nfa.append_text(begin, "null"), to);
  if ((flat.types & kBooleanBit) != 0) {
    nfa.add_empty(nfa.append_text(begin, "true"), to);
    nfa.add_empty(nfa.append_text(begin, "false"), to);
  }
  if ((flat.types & kNumberBits) != 0) nfa.add_empty(append_numbers(nfa, begin, flat), to);
  if ((flat.types & kStringBit) != 0) nfa.add_empty(append_string(nfa, begin, flat), to);
  if ((flat.types & kArrayBit) != 0) nfa.add_empty(append_array(nfa, begin, flat), to);
  if ((flat.types & kObjectBit) != 0) nfa.add_empty(append_object(nfa, begin, flat), to);
}

std::int32_t SchemaEmitter::append_space(Nfa& nfa, std::int32_t from) {
  const bool is_indented = style_.whitespace == JsonWhitespace::kIndented;
  if (style_.whitespace == JsonWhitespace::kCompact || (!is_indented && style_.max_whitespace == 0)) return from;
  if (space_ < 0) space_ = is_indented ? indented_space() : run_of({' ', '\t', '\n', '\r'});
  return nfa.append_call(from, space_);
}

std::int32_t SchemaEmitter::run_of(std::initializer_list<char> blanks) {
  Nfa body(limits_);
  const std::int32_t start = body.add_state();
  const std::int32_t end = body.add_state();
  for (const char c : blanks) body.add_bytes(start, static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(c), end);
  return draft_.counted_rule(determinised(body, start, end), 0, static_cast<std::uint32_t>(style_.max_whitespace));
}

std::int32_t SchemaEmitter::indented_space() {
  const std::int32_t indentation = style_.max_whitespace == 0 ? -1 : run_of({' ', '\t'});
  const std::int32_t id = draft_.add_rule("space");
  Nfa& rule = draft_.begin_rule(id);
  const std::int32_t end = rule.add_state();
  draft_.rules[id].end = end;
  const std::int32_t start = draft_.rules[id].start;
  rule.add_empty(start, end);
  rule.add_bytes(start, ' ', ' ', end);
  const std::int32_t line = rule.add_state();
  rule.add_bytes(start, '\n', '\n', line);
  rule.add_empty(indentation < 0 ? line : rule.append_call(line, indentation), end);
  return id;
}

std::int32_t SchemaEmitter::append_comma(Nfa& nfa, std::int32_t from) {
  return append_space(nfa, nfa.append_text(from, ","));
}

std::int32_t SchemaEmitter::append_any(Nfa& nfa, std::int32_t from) {
  if (any_ < 0) {
    any_ = draft_.add_rule("any value");
    FlatSchema flat;
    flat.path = "#";
    Nfa& rule = draft_.begin_rule(any_);
    const std::int32_t end = rule.add_state();
    draft_.rules[any_].end = end;
    append_flat(rule, draft_.rules[any_].start, flat, end);
  }
  return nfa.append_call(from, any_);
}

std::int32_t SchemaEmitter::append_literal(Nfa& nfa, std::int32_t from, const OrderedJson& value) {
  if (value.is_string()) {
    return nfa.append_text(from, "\"" + json_string_interior(value.get<std::string>()) + "\"");
  }
  if (value.is_array()) {
    std::int32_t state = append_space(nfa, nfa.append_text(from, "["));
    for (std::size_t i = 0; i < value.size(); ++i) {
      if (i > 0) state = append_comma(nfa, state);
      state = append_space(nfa, append_literal(nfa, state, value[i]));
    }
    return nfa.append_text(state, "]");
  }
  if (value.is_object()) {
    std::int32_t state = append_space(nfa, nfa.append_text(from, "{"));
    bool is_first = true;
    for (auto it = value.begin(); it != value.end(); ++it) {
      if (!is_first) state = append_comma(nfa, state);
      is_first = false;
      state = append_space(nfa, nfa.append_text(state, "\"" + json_string_interior(it.key()) + "\""));
      state = append_space(nfa, nfa.append_text(state, ":"));
      state = append_space(nfa, append_literal(nfa, state, it.value()));
    }
    return nfa.append_text(state, "}");
  }
  return nfa.append_text(from, value.dump());
}

NumberRange SchemaEmitter::range_of(const FlatSchema& flat, bool is_integer, std::vector<int>& divisors) const {
  NumberRange range = flat.range;
  range.is_integer = is_integer;
  for (const SchemaRef& multiple : flat.multiples) {
    const Decimal step = Decimal::of(*multiple.json);
    if (step.is_integer() && step.whole.size() <= 5 && std::stoi(step.whole) <= kMaxDivisor) {
      range.is_integer = true;
      divisors.push_back(std::stoi(step.whole));
    } else if (step.whole.empty() && step.fraction.find_first_not_of('0') == step.fraction.size() - 1 &&
               step.fraction.back() == '1') {
      const auto digits = static_cast<int>(step.fraction.size());
      range.max_fraction_digits = std::min(range.max_fraction_digits.value_or(digits), digits);
    } else {
      refuse_schema(multiple.path, "multipleOf " + multiple.json->dump() + " is not supported",
                    "supported: whole numbers up to 10000, and 0.1, 0.01, ...");
    }
  }
  return range;
}

std::int32_t SchemaEmitter::append_numbers(Nfa& nfa, std::int32_t from, const FlatSchema& flat) {
  std::vector<int> divisors;
  const NumberRange range = range_of(flat, (flat.types & kFractionBit) == 0, divisors);
  std::erase(divisors, 1);
  Nfa own(limits_);
  const std::int32_t start = own.add_state();
  const std::int32_t end = append_number(own, start, range);
  Dfa numbers = minimised(determinised(own, start, end), limits_);
  for (const int divisor : divisors) numbers = intersection(numbers, multiples_of(divisor), limits_);
  if (numbers.states.empty()) contradict(flat.path, "no number is within its bounds");
  return nfa.append_dfa(from, numbers);
}

std::int32_t SchemaEmitter::append_string(Nfa& nfa, std::int32_t from, const FlatSchema& flat) {
  const std::int32_t open = nfa.append_text(from, "\"");
  if (flat.min_length > flat.max_length) {
    contradict(flat.path, "minLength is more than maxLength");
    return nfa.add_state();
  }
  const std::size_t num_languages = flat.patterns.size() + flat.formats.size();
  if (num_languages == 0) {
    const bool has_lengths = flat.min_length > 0 || flat.max_length != kUnlimited;
    if (has_lengths) {
      if (flat.max_length == 0) return nfa.append_text(open, "\"");
      const std::int32_t rule = draft_.counted_rule(json_character(limits_), flat.min_length, flat.max_length);
      return nfa.append_text(nfa.append_call(open, rule), "\"");
    }
    if (string_ < 0) {
      // With its closing quote, so that only there the frame below is asked.
      string_ = draft_.add_rule("string");
      Nfa& rule = draft_.begin_rule(string_);
      const std::int32_t start = draft_.rules[string_].start;
      const std::int32_t character = rule.append_dfa(start, json_character(limits_));
      rule.add_empty(character, start);
      draft_.rules[string_].end = rule.append_text(start, "\"");
    }
    return nfa.append_call(open, string_);
  }
  std::string key = std::to_string(flat.min_length) + "," + std::to_string(flat.max_length);
  for (const SchemaRef& pattern : flat.patterns) key += '\0' + pattern.json->get<std::string>();
  for (const SchemaRef& format : flat.formats) key += std::string("\0\0", 2) + format.json->get<std::string>();
  const auto [found, is_new] = string_rules_.try_emplace(key, -1);
  if (is_new) {
    const bool is_single = num_languages == 1 && flat.min_length == 0 && flat.max_length == kUnlimited;
    const std::int32_t id = draft_.add_rule(flat.path);
    found->second = id;
    Nfa& rule = draft_.begin_rule(id);
    const std::int32_t start = draft_.rules[id].start;
    std::int32_t end = start;
    if (is_single) {
      const bool is_pattern = !flat.patterns.empty();
      end =
          emitter_.append(rule, start,
                          is_pattern ? pattern_syntax(flat.patterns[0].json->get<std::string>(), flat.patterns[0].path)
                                     : format_syntax(flat.formats[0]));
    } else {
      const Dfa language = string_language(flat, limits_);
      if (language.states.empty()) contradict(flat.path, "no text conforms to its pattern, format and length together");
      end = rule.append_dfa(start, language);
    }
    draft_.rules[id].end = rule.append_text(end, "\"");
  }
  return nfa.append_call(open, found->second);
}

std::int32_t SchemaEmitter::append_array(Nfa& nfa, std::int32_t from, const FlatSchema& flat) {
  const std::int32_t to = nfa.add_state();
  if (flat.min_items > flat.max_items) {
    contradict(flat.path, "minItems is more than maxItems");
    return to;
  }
  const std::int32_t open = append_space(nfa, nfa.append_text(from, "["));
  const std::int32_t close = nfa.add_state();
  nfa.add_empty(nfa.append_text(close, "]"), to);
  std::size_t num_prefix = 0;
  for (const ArrayPart& part : flat.array_parts) num_prefix = std::max(num_prefix, part.prefix.size());
  // Items up to here are written one by one; behind them either none may come or any number.
  std::uint32_t num_written = std::max(flat.min_items, static_cast<std::uint32_t>(num_prefix));
  if (flat.max_items != kUnlimited) num_written = flat.max_items;
  const Conjunction rest = flat.item(num_prefix);
  const bool has_rest = plain(rest).empty() || !reader_.flatten(rest).empty();
  if (!has_rest) {
    if (flat.min_items > num_prefix) contradict(flat.path, "minItems asks for more items than are allowed");
    num_written = std::min(num_written, static_cast<std::uint32_t>(num_prefix));
  }
  std::int32_t state = open;
  std::int32_t loop = -1;
  for (std::uint32_t count = 0; count <= num_written; ++count) {
    if (count >= flat.min_items) nfa.add_empty(state, close);
    if (count == num_written) break;
    if (count > 0) state = append_comma(nfa, state);
    // Written more than once, the item is better called.
    const bool is_repeated = count >= num_prefix && num_written > num_prefix + 1;
    const Conjunction item = flat.item(count);
    const std::int32_t after = is_repeated && !plain(item).empty() ? nfa.append_call(state, rule_of(plain(item)))
                                                                   : append_value(nfa, state, item);
    state = append_space(nfa, after);
  }
  if (flat.max_items == kUnlimited && has_rest) {
    // The loop: an item, then a comma and back, or the end.
    loop = nfa.add_state();
    nfa.add_empty(num_written > 0 ? append_comma(nfa, state) : state, loop);
    const bool is_repeated = num_written > num_prefix;
    const std::int32_t after = is_repeated && !plain(rest).empty() ? nfa.append_call(loop, rule_of(plain(rest)))
                                                                   : append_value(nfa, loop, rest);
    const std::int32_t end = append_space(nfa, after);
    nfa.add_empty(end, close);
    nfa.add_empty(append_comma(nfa, end), loop);
  }
  return to;
}

bool SchemaEmitter::matches(const std::string& pattern, const std::string& text) {
  auto found = patterns_.find(pattern);
  if (found == patterns_.end()) {
    found = patterns_.emplace(pattern, emitter_.dfa_of(pattern_syntax(pattern, "pattern"))).first;
  }
  return found->second.accepts(json_string_interior(text));
}

std::optional<Conjunction> SchemaEmitter::property_of(const FlatSchema& flat, const std::string& name) {
  return flat.property(name, style_.is_open_by_default,
                       [&](const std::string& pattern, const std::string& text) { return matches(pattern, text); });
}

Dfa SchemaEmitter::names_allowed(const Conjunction& property_names) {
  Dfa names = emitter_.dfa_of(repetition_node(class_node(CodePointSet::all()), 0, kUnlimited));
  for (const SchemaRef& schema : property_names) {
    Nfa nfa(limits_);
    const std::int32_t start = nfa.add_state();
    const std::int32_t end = nfa.add_state();
    for (const FlatSchema& flat : reader_.flatten({schema})) {
      if ((flat.types & kStringBit) != 0) nfa.add_empty(nfa.append_dfa(start, string_language(flat, limits_)), end);
    }
    names = intersection(names, determinised(nfa, start, end), limits_);
  }
  return names;
}

std::vector<SchemaEmitter::Region> SchemaEmitter::regions_of(const FlatSchema& flat,
                                                             const std::vector<std::string>& names) {
  std::vector<std::pair<std::string, std::string>> patterns;  // each once, with its path
  for (const ObjectPart& part : flat.object_parts) {
    for (const auto& pattern : part.patterns) {
      const std::string& text = pattern.first;
      if (std::none_of(patterns.begin(), patterns.end(), [&](const auto& p) { return p.first == text; })) {
        patterns.emplace_back(text, pattern.second.path);
      }
    }
  }
  const bool is_closed = flat.is_closed_by_default(style_.is_open_by_default);
  if (patterns.empty() && is_closed) return {};
  if (patterns.size() > kMaxPatterns) {
    refuse_schema(patterns[kMaxPatterns].second,
                  "more than " + std::to_string(kMaxPatterns) + " patterns of patternProperties in one object");
  }
  Dfa free_names = names_allowed(flat.property_names);
  if (!names.empty()) {
    Nfa nfa(limits_);
    const std::int32_t start = nfa.add_state();
    const std::int32_t end = nfa.add_state();
    for (const std::string& name : names) nfa.add_empty(nfa.append_text(start, json_string_interior(name)), end);
    free_names = difference(free_names, determinised(nfa, start, end), limits_);
  }
  std::vector<Dfa> languages;
  for (const auto& pattern : patterns)
    languages.push_back(emitter_.dfa_of(pattern_syntax(pattern.first, pattern.second)));
  std::vector<Region> regions;
  for (unsigned subset = 0; subset < 1U << patterns.size(); ++subset) {
    if (subset == 0 && is_closed) continue;
    Region region{free_names, {}};
    for (std::size_t i = 0; i < patterns.size(); ++i) {
      region.names = (subset >> i & 1) != 0 ? intersection(region.names, languages[i], limits_)
                                            : difference(region.names, languages[i], limits_);
    }
    if (region.names.states.empty()) continue;
    for (const ObjectPart& part : flat.object_parts) {
      bool has_pattern = false;
      for (const auto& pattern : part.patterns) {
        for (std::size_t i = 0; i < patterns.size(); ++i) {
          if (patterns[i].first != pattern.first || (subset >> i & 1) == 0) continue;
          region.values.push_back(pattern.second);
          has_pattern = true;
        }
      }
      if (!has_pattern && part.additional) region.values.push_back(*part.additional);
    }
    if (plain(region.values).empty() || !reader_.flatten(region.values).empty()) regions.push_back(std::move(region));
  }
  return regions;
}

std::int32_t SchemaEmitter::append_member(Nfa& nfa, std::int32_t from, const Region& region) {
  std::int32_t state = nfa.append_text(nfa.append_dfa(nfa.append_text(from, "\""), region.names), "\"");
  state = append_space(nfa, nfa.append_text(append_space(nfa, state), ":"));
  return append_space(nfa, append_value(nfa, state, region.values));
}

std::int32_t SchemaEmitter::append_object(Nfa& nfa, std::int32_t from, const FlatSchema& flat) {
  const std::int32_t to = nfa.add_state();
  if (flat.min_properties > flat.max_properties) {
    contradict(flat.path, "minProperties is more than maxProperties");
    return to;
  }
  // In the order of the schema; names only asked for come last.
  std::vector<std::string> names;
  const auto add_name = [&](const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  };
  for (const ObjectPart& part : flat.object_parts) {
    for (const auto& property : part.properties) add_name(property.first);
  }
  for (const auto& name : flat.required) add_name(name.first);
  const auto is_required = [&](const std::string& name) {
    return std::any_of(flat.required.begin(), flat.required.end(), [&](const auto& r) { return r.first == name; });
  };
  std::optional<Dfa> allowed_names;
  if (!flat.property_names.empty()) allowed_names = names_allowed(flat.property_names);

  struct Property {
    std::string name;
    Conjunction values;
    bool is_required;
  };
  std::vector<Property> properties;
  std::uint32_t num_required = 0;
  for (const std::string& name : names) {
    std::optional<Conjunction> values = property_of(flat, name);
    const bool has_name = !allowed_names || allowed_names->accepts(json_string_interior(name));
    const bool is_possible = values && has_name && (plain(*values).empty() || !reader_.flatten(*values).empty());
    if (!is_possible) {
      if (!is_required(name)) continue;
      contradict(flat.path, "the property '" + name + "' is required and cannot be there");
      return to;
    }
    properties.push_back({name, *std::move(values), is_required(name)});
    if (properties.back().is_required) ++num_required;
  }
  std::vector<Region> regions = regions_of(flat, names);
  const auto num_optional = static_cast<std::uint32_t>(properties.size()) - num_required;
  std::uint32_t min_others = 0;
  std::uint32_t max_others = regions.empty() ? 0 : kUnlimited;
  if (flat.max_properties < num_required) {
    contradict(flat.path, "more properties are required than maxProperties allows");
    return to;
  }
  const bool asks_more = flat.min_properties > num_required;
  const bool allows_less =
      flat.max_properties != kUnlimited && (!regions.empty() || flat.max_properties < properties.size());
  if (asks_more || allows_less) {
    if (num_optional > 0) {
      refuse_schema(flat.path, "minProperties and maxProperties beside optional properties are not supported",
                    "list the properties under required, or give only additionalProperties");
    }
    if (asks_more) min_others = flat.min_properties - num_required;
    if (flat.max_properties != kUnlimited) max_others = std::min(max_others, flat.max_properties - num_required);
    if (min_others > max_others) {
      contradict(flat.path, "minProperties asks for more properties than are allowed");
      return to;
    }
  }

  const std::int32_t close = nfa.add_state();
  nfa.add_empty(nfa.append_text(close, "}"), to);
  // Two places at once, between which nothing but the comma differs: `first`, no property written yet (or -1, once
  // one had to be), and `next`, behind one.
  std::int32_t first = append_space(nfa, nfa.append_text(from, "{"));
  std::int32_t next = -1;
  const auto begin_member = [&] {
    const std::int32_t begin = nfa.add_state();
    if (first >= 0) nfa.add_empty(first, begin);
    if (next >= 0) nfa.add_empty(append_comma(nfa, next), begin);
    return begin;
  };
  for (const Property& property : properties) {
    std::int32_t state = nfa.append_text(begin_member(), "\"" + json_string_interior(property.name) + "\"");
    state = append_space(nfa, nfa.append_text(append_space(nfa, state), ":"));
    state = append_space(nfa, append_value(nfa, state, property.values));
    if (property.is_required) {
      first = -1;
      next = state;
    } else {
      const std::int32_t behind = nfa.add_state();
      nfa.add_empty(state, behind);
      if (next >= 0) nfa.add_empty(next, behind);
      next = behind;
    }
  }
  const auto may_close = [&] {
    if (first >= 0) nfa.add_empty(first, close);
    if (next >= 0) nfa.add_empty(next, close);
  };
  if (min_others == 0) may_close();
  if (max_others == 0) return to;
  const bool is_counted = min_others > 1 || max_others != kUnlimited;
  std::int32_t member_rule = -1;
  if (is_counted) {
    member_rule = draft_.add_rule(flat.path + " (a property)");
    Nfa& rule = draft_.begin_rule(member_rule);
    const std::int32_t end = rule.add_state();
    draft_.rules[member_rule].end = end;
    for (const Region& region : regions) {
      rule.add_empty(append_member(rule, draft_.rules[member_rule].start, region), end);
    }
  }
  const auto append_others = [&](std::int32_t begin) {
    if (is_counted) return nfa.append_call(begin, member_rule);
    const std::int32_t end = nfa.add_state();
    for (const Region& region : regions) nfa.add_empty(append_member(nfa, begin, region), end);
    return end;
  };
  const std::uint32_t num_written = max_others == kUnlimited ? (is_counted ? min_others : 0) : max_others;
  for (std::uint32_t count = 0; count < num_written; ++count) {
    next = append_others(begin_member());
    first = -1;
    if (count + 1 >= min_others) may_close();
  }
  if (max_others == kUnlimited) {
    const std::int32_t loop = begin_member();
    const std::int32_t end = append_others(loop);
    nfa.add_empty(end, close);
    nfa.add_empty(append_comma(nfa, end), loop);
  }
  return to;
}

bool SchemaEmitter::conforms(const OrderedJson& value, const Conjunction& conjunction) {
  const std::vector<FlatSchema> alternatives = reader_.flatten(conjunction);
  return std::any_of(alternatives.begin(), alternatives.end(),
                     [&](const FlatSchema& flat) { return conforms(value, flat, true); });
}

bool SchemaEmitter::conforms(const OrderedJson& value, const FlatSchema& flat, bool looks_at_values) {
  limits_.spend(1);
  if ((type_of(value) & flat.types) == 0) return false;
  if (looks_at_values && flat.values &&
      std::none_of(flat.values->begin(), flat.values->end(), [&](const SchemaRef& v) { return *v.json == value; })) {
    return false;
  }
  if (value.is_number()) {
    std::vector<int> divisors;
    const Decimal number = Decimal::of(value);
    if (!range_of(flat, false, divisors).contains(number)) return false;
    return std::all_of(divisors.begin(), divisors.end(), [&](int divisor) {
      int rest = 0;
      for (const char digit : number.whole) rest = (rest * 10 + (digit - '0')) % divisor;
      return rest == 0 && number.is_integer();
    });
  }
  if (value.is_string()) {
    const auto text = value.get<std::string>();
    const std::size_t length = code_points_of(text).size();
    if (length < flat.min_length || length > flat.max_length) return false;
    FlatSchema languages;
    languages.patterns = flat.patterns;
    languages.formats = flat.formats;
    return (flat.patterns.empty() && flat.formats.empty()) ||
           string_language(languages, limits_).accepts(json_string_interior(text));
  }
  if (value.is_array()) {
    if (value.size() < flat.min_items || value.size() > flat.max_items) return false;
    for (std::size_t i = 0; i < value.size(); ++i) {
      if (!conforms(value[i], flat.item(i))) return false;
    }
  }
  if (value.is_object()) {
    if (value.size() < flat.min_properties || value.size() > flat.max_properties) return false;
    for (const auto& name : flat.required) {
      if (!value.contains(name.first)) return false;
    }
    for (auto it = value.begin(); it != value.end(); ++it) {
      const std::optional<Conjunction> values = property_of(flat, it.key());
      if (!values || !conforms(it.value(), *values)) return false;
      if (!flat.property_names.empty() && !conforms(OrderedJson(it.key()), flat.property_names)) return false;
    }
  }
  return true;
}

bool SchemaEmitter::are_exclusive(const Conjunction& a, const Conjunction& b, int depth) {
  for (const FlatSchema& first : reader_.flatten(a)) {
    for (const FlatSchema& second : reader_.flatten(b)) {
      if (!are_exclusive(first, second, depth)) return false;
    }
  }
  return true;
}

bool SchemaEmitter::are_exclusive(const FlatSchema& a, const FlatSchema& b, int depth) {
  limits_.spend(16);
  const unsigned shared = a.types & b.types;
  if (shared == 0) return true;
  if (depth > kMaxExclusionDepth) return false;
  if (a.values || b.values) {
    const FlatSchema& listed = a.values ? a : b;
    const FlatSchema& other = a.values ? b : a;
    return std::none_of(listed.values->begin(), listed.values->end(), [&](const SchemaRef& value) {
      return conforms(*value.json, listed, false) && conforms(*value.json, other, true);
    });
  }
  if ((shared & (kNullBit | kBooleanBit)) != 0) return false;
  if ((shared & kNumberBits) != 0) {
    const auto is_below = [](const NumberRange& x, const NumberRange& y) {
      if (!x.high || !y.low) return false;
      const int order = compare(x.high->value, y.low->value);
      return order < 0 || (order == 0 && (x.high->is_exclusive || y.low->is_exclusive));
    };
    if (!is_below(a.range, b.range) && !is_below(b.range, a.range)) return false;
  }
  if ((shared & kStringBit) != 0) {
    const bool is_apart = a.max_length < b.min_length || b.max_length < a.min_length;
    const bool has_languages = !(a.patterns.empty() && a.formats.empty() && b.patterns.empty() && b.formats.empty());
    if (!is_apart &&
        !(has_languages &&
          intersection(string_language(a, limits_), string_language(b, limits_), limits_).states.empty())) {
      return false;
    }
  }
  if ((shared & kArrayBit) != 0) {
    bool is_apart = a.max_items < b.min_items || b.max_items < a.min_items;
    if (!is_apart && std::max(a.min_items, b.min_items) > 0) is_apart = are_exclusive(a.item(0), b.item(0), depth + 1);
    if (!is_apart) return false;
  }
  if ((shared & kObjectBit) != 0) {
    bool is_apart = false;
    const auto tells_apart = [&](const FlatSchema& x, const FlatSchema& y) {
      for (const auto& name : x.required) {
        // A property that one must have and the other must not, or not so.
        const std::optional<Conjunction> mine = property_of(x, name.first);
        const std::optional<Conjunction> yours = property_of(y, name.first);
        if (!mine || !yours || are_exclusive(*mine, *yours, depth + 1)) return true;
      }
      return false;
    };
    is_apart = tells_apart(a, b) || tells_apart(b, a);
    if (!is_apart) return false;
  }
  return true;
}

void SchemaEmitter::check_exclusions() {
  for (std::vector<SchemaReader::Exclusion> open = reader_.take_exclusions(); !open.empty();
       open = reader_.take_exclusions()) {
    for (const SchemaReader::Exclusion& exclusion : open) {
      if (are_exclusive(exclusion.first, exclusion.second, 0)) continue;
      refuse_schema(exclusion.path,
                    "oneOf with branches that may both hold is not supported: " + exclusion.first[0].path + " and " +
                        exclusion.second[0].path + " could not be shown to exclude each other",
                    "use anyOf, or give the branches a required property whose const differs");
    }
  }
}

GrammarDraft draft_of_json_schema(std::string_view schema_json, const SchemaStyle& style, const Limits& limits) {
  const SchemaReader reader(schema_json);
  GrammarDraft draft(limits);
  SchemaEmitter emitter(draft, reader, style);
  draft.root = draft.add_rule("#");
  Nfa& nfa = draft.begin_rule(draft.root);
  draft.rules[draft.root].end = emitter.append_value(nfa, draft.rules[draft.root].start, {{&reader.root(), "#"}});
  emitter.write_rules();
  emitter.check_exclusions();
  draft.contradictions = emitter.contradictions();
  return draft;
}

}  // namespace pajamas::grammar
