// References, allOf, choices and keywords. See schema_reader.h.
#include "text/grammar/schema_reader.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/json_reader.h"
#include "pajamas/error.h"

namespace pajamas::grammar {
namespace {

/// Alternatives of one place, all choices multiplied out.
constexpr std::size_t kMaxAlternatives = 256;
/// Alternatives looked at in all, those that contradict themselves included: about a second.
constexpr std::int64_t kMaxExpansions = 200'000;
/// References and allOf that lead from one schema to the next with nothing written between; each holds its way here.
constexpr std::size_t kMaxChain = 1000;
/// Names under properties, patternProperties or required: they are looked up one after the other.
constexpr std::size_t kMaxMembers = 10'000;
/// Comparisons of the values of enums that hold together.
constexpr std::size_t kMaxComparisons = 10'000'000;

/// Say nothing about which texts are allowed.
constexpr std::array<std::string_view, 24> kAnnotations = {"$schema",
                                                           "$id",
                                                           "$comment",
                                                           "$anchor",
                                                           "$defs",
                                                           "definitions",
                                                           "title",
                                                           "description",
                                                           "default",
                                                           "example",
                                                           "examples",
                                                           "deprecated",
                                                           "readOnly",
                                                           "writeOnly",
                                                           "id",
                                                           "$vocabulary",
                                                           "contentMediaType",
                                                           "contentEncoding",
                                                           "contentSchema",
                                                           "discriminator",
                                                           "externalDocs",
                                                           "xml",
                                                           "$dynamicAnchor",
                                                           "enumNames"};

constexpr std::string_view kSupported =
    "supported: type, enum, const, properties, required, additionalProperties, patternProperties, propertyNames, "
    "minProperties, maxProperties, items, prefixItems, minItems, maxItems, minLength, maxLength, pattern, format, "
    "minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf, anyOf, oneOf, allOf, $ref, $defs, nullable";

unsigned type_bits(const std::string& name, const std::string& path) {
  if (name == "null") return kNullBit;
  if (name == "boolean") return kBooleanBit;
  if (name == "integer") return kIntegerBit;
  if (name == "number") return kNumberBits;
  if (name == "string") return kStringBit;
  if (name == "array") return kArrayBit;
  if (name == "object") return kObjectBit;
  fail_schema(path, "'" + name + "' is no type", "types are null, boolean, integer, number, string, array, object");
}

std::uint32_t count_of(const SchemaRef& value) {
  const double count = value.json->is_number() ? value.json->get<double>() : -1;
  if (count < 0 || count != std::floor(count)) fail_schema(value.path, "should be a number of things, 0 or more");
  if (count > 1e9) refuse_schema(value.path, "a count above a thousand million is not supported");
  return static_cast<std::uint32_t>(count);
}

NumberBound bound_of(const SchemaRef& value, bool is_exclusive) {
  if (!value.json->is_number()) fail_schema(value.path, "should be a number");
  try {
    return {Decimal::of(*value.json), is_exclusive};
  } catch (const Error& error) {
    refuse_schema(value.path, error.message());
  }
}

void raise_low(NumberRange& range, const NumberBound& bound) {
  const int order = range.low ? compare(bound.value, range.low->value) : 1;
  if (order > 0 || (order == 0 && bound.is_exclusive)) range.low = bound;
}

void lower_high(NumberRange& range, const NumberBound& bound) {
  const int order = range.high ? compare(bound.value, range.high->value) : -1;
  if (order < 0 || (order == 0 && bound.is_exclusive)) range.high = bound;
}

std::string pointer_step(const std::string& name) {
  std::string step;
  for (const char c : name) {
    if (c == '~') {
      step += "~0";
    } else if (c == '/') {
      step += "~1";
    } else {
      step += c;
    }
  }
  return "/" + step;
}

void refuse_many_names(const SchemaRef& value) {
  if (value.json->size() > kMaxMembers) {
    refuse_schema(value.path, "more than " + std::to_string(kMaxMembers) + " names in one place are not supported");
  }
}

std::vector<std::pair<std::string, SchemaRef>> members_of(const SchemaRef& value) {
  if (!value.json->is_object()) fail_schema(value.path, "should be an object of schemas");
  refuse_many_names(value);
  std::vector<std::pair<std::string, SchemaRef>> members;
  for (auto it = value.json->begin(); it != value.json->end(); ++it) {
    members.emplace_back(it.key(), SchemaRef{&it.value(), value.path + pointer_step(it.key())});
  }
  return members;
}

std::vector<SchemaRef> elements_of(const SchemaRef& value, bool may_be_empty) {
  if (!value.json->is_array() || (value.json->empty() && !may_be_empty)) {
    fail_schema(value.path, may_be_empty ? "should be an array" : "should be an array with at least one element");
  }
  std::vector<SchemaRef> elements;
  for (std::size_t i = 0; i < value.json->size(); ++i) {
    elements.push_back({&(*value.json)[i], value.path + "/" + std::to_string(i)});
  }
  return elements;
}

}  // namespace

void fail_schema(const std::string& path, const std::string& message, const std::string& remedy) {
  throw Error(ErrorKind::kBadInput, message, path, remedy.empty() ? "correct the schema there" : remedy);
}

void refuse_schema(const std::string& path, const std::string& message, const std::string& remedy) {
  throw Error(ErrorKind::kUnsupported, message, path,
              remedy.empty() ? "docs/language-structured-output.md lists what is supported" : remedy);
}

bool FlatSchema::is_closed_by_default(bool is_open_by_default) const {
  if (is_open_by_default) return false;
  bool has_named = !required.empty();
  for (const ObjectPart& part : object_parts) {
    if (part.additional) return false;
    has_named = has_named || !part.properties.empty() || !part.patterns.empty();
  }
  return has_named;
}

Conjunction FlatSchema::item(std::size_t index) const {
  Conjunction result;
  for (const ArrayPart& part : array_parts) {
    if (index < part.prefix.size()) {
      result.push_back(part.prefix[index]);
    } else if (part.rest) {
      result.push_back(*part.rest);
    }
  }
  return result;
}

SchemaReader::SchemaReader(std::string_view schema_json) {
  parse_json(schema_json, {}, 100);  // For its messages and the bound on nesting; this one keeps the order.
  root_ = OrderedJson::parse(schema_json);
}

bool SchemaReader::has_reference(const OrderedJson& schema) {
  if (!schema.is_object()) return false;
  if (schema.contains("$ref")) return true;
  for (const char* const keyword : {"allOf", "anyOf", "oneOf"}) {
    const auto found = schema.find(keyword);
    if (found == schema.end() || !found->is_array()) continue;
    if (std::any_of(found->begin(), found->end(), [](const OrderedJson& s) { return has_reference(s); })) return true;
  }
  return false;
}

bool SchemaReader::is_anything(const OrderedJson& schema) {
  if (schema.is_boolean()) return schema.get<bool>();
  if (!schema.is_object()) return false;
  for (auto it = schema.begin(); it != schema.end(); ++it) {
    if (std::find(kAnnotations.begin(), kAnnotations.end(), it.key()) == kAnnotations.end()) return false;
  }
  return true;
}

SchemaRef SchemaReader::resolve(const std::string& reference, const std::string& path) const {
  if (reference.empty() || reference[0] != '#') {
    refuse_schema(path, "$ref to another document ('" + reference + "') is not supported",
                  "put what it refers to under $defs and use \"#/$defs/...\"");
  }
  if (reference.size() > 1 && reference[1] != '/') {
    refuse_schema(path, "$ref to an anchor ('" + reference + "') is not supported", "use \"#/$defs/...\"");
  }
  const OrderedJson* json = &root_;
  std::size_t at = 1;
  while (at < reference.size()) {
    std::string step;
    for (++at; at < reference.size() && reference[at] != '/'; ++at) {
      if (reference[at] == '~' && at + 1 < reference.size() && (reference[at + 1] == '0' || reference[at + 1] == '1')) {
        step += reference[++at] == '0' ? '~' : '/';
      } else if (reference[at] == '%' && at + 2 < reference.size()) {
        step += static_cast<char>(std::strtol(reference.substr(at + 1, 2).c_str(), nullptr, 16));
        at += 2;
      } else {
        step += reference[at];
      }
    }
    if (json->is_object() && json->contains(step)) {
      json = &(*json)[step];
    } else if (json->is_array() && !step.empty() && step.size() < 9 &&
               step.find_first_not_of("0123456789") == std::string::npos && std::stoul(step) < json->size()) {
      json = &(*json)[std::stoul(step)];
    } else {
      fail_schema(path, "$ref '" + reference + "' leads nowhere");
    }
  }
  return {json, reference};
}

std::vector<FlatSchema> SchemaReader::flatten(const Conjunction& conjunction) const {
  std::vector<Pending> pending;
  for (const SchemaRef& schema : conjunction) pending.push_back({schema, {schema.json}});
  FlatSchema flat;
  flat.path = conjunction.empty() ? "#" : conjunction.front().path;
  std::vector<FlatSchema> result;
  expand(std::move(pending), {}, std::move(flat), result);
  return result;
}

void SchemaReader::expand(std::vector<Pending> pending, std::vector<Choice> choices, FlatSchema flat,
                          std::vector<FlatSchema>& result) const {
  if (++num_expansions_ > kMaxExpansions) {
    refuse_schema(flat.path, "is too large: its choices multiply to more than " + std::to_string(kMaxExpansions));
  }
  for (std::size_t i = 0; i < pending.size(); ++i) {
    // `apply` appends, so the element is copied first.
    const Pending next = pending[i];
    if (!apply(next, flat, pending, choices)) return;
    if (pending.size() > 10'000) refuse_schema(flat.path, "more than 10,000 schemas hold together here");
  }
  if (flat.types == 0) return;
  if (choices.empty()) {
    // A schema without `type` speaks of the types that its keywords are about.
    if (!flat.has_explicit_types && !flat.values && flat.implied_types != 0) flat.types &= flat.implied_types;
    if (result.size() >= kMaxAlternatives) {
      refuse_schema(flat.path, "more than " + std::to_string(kMaxAlternatives) +
                                   " alternatives come together here (anyOf and oneOf multiply under allOf)");
    }
    if (flat.types != 0) result.push_back(std::move(flat));
    return;
  }
  const Choice choice = std::move(choices.back());
  choices.pop_back();
  for (const Pending& branch : choice.branches) expand({branch}, choices, flat, result);
}

bool SchemaReader::apply(const Pending& pending, FlatSchema& flat, std::vector<Pending>& more,
                         std::vector<Choice>& choices) const {
  const SchemaRef& schema = pending.schema;
  if (schema.json->is_boolean()) return schema.json->get<bool>();
  if (!schema.json->is_object()) fail_schema(schema.path, "should be a schema: an object, true or false");
  const auto follow = [&](const SchemaRef& next) {
    if (std::find(pending.chain.begin(), pending.chain.end(), next.json) != pending.chain.end()) {
      fail_schema(schema.path, "$ref leads in a circle (" + next.path + ") with nothing written on the way");
    }
    if (pending.chain.size() >= kMaxChain) {
      refuse_schema(schema.path, "more than " + std::to_string(kMaxChain) + " schemas lead from one to the next here",
                    "refer to the last of them");
    }
    Pending result{next, pending.chain};
    result.chain.push_back(next.json);
    return result;
  };
  if (const auto found = schema.json->find("nullable"); found != schema.json->end() && !pending.is_nullable_done) {
    if (!found->is_boolean()) fail_schema(schema.path + "/nullable", "should be true or false");
    if (found->get<bool>()) {
      static const OrderedJson kNull = {{"type", "null"}};
      Pending same = pending;
      same.is_nullable_done = true;
      Choice choice;
      choice.branches.push_back(std::move(same));
      Pending null;
      null.schema = {&kNull, schema.path + "/nullable"};
      null.chain = pending.chain;
      choice.branches.push_back(std::move(null));
      choices.push_back(std::move(choice));
      return true;
    }
  }
  for (auto it = schema.json->begin(); it != schema.json->end(); ++it) {
    const std::string& keyword = it.key();
    const SchemaRef value{&it.value(), schema.path + "/" + keyword};
    if (keyword == "$ref") {
      if (!value.json->is_string()) fail_schema(value.path, "should be a text");
      more.push_back(follow(resolve(value.json->get<std::string>(), value.path)));
    } else if (keyword == "allOf") {
      for (const SchemaRef& part : elements_of(value, false)) more.push_back(follow(part));
    } else if (keyword == "anyOf" || keyword == "oneOf") {
      Choice choice;
      const std::vector<SchemaRef> parts = elements_of(value, false);
      for (const SchemaRef& part : parts) choice.branches.push_back(follow(part));
      choices.push_back(std::move(choice));
      const bool is_new =
          std::find(seen_exclusions_.begin(), seen_exclusions_.end(), value.json) == seen_exclusions_.end();
      if (keyword == "oneOf" && parts.size() > kMaxAlternatives) {
        refuse_schema(value.path,
                      "oneOf of more than " + std::to_string(kMaxAlternatives) + " schemas is not supported");
      }
      if (keyword == "oneOf" && is_new) {
        seen_exclusions_.push_back(value.json);
        // What stands beside oneOf belongs to every branch; without the oneOf itself it is one of these schemas.
        for (std::size_t i = 0; i < parts.size(); ++i) {
          for (std::size_t k = i + 1; k < parts.size(); ++k) {
            exclusions_.push_back({{parts[i]}, {parts[k]}, value.path});
          }
        }
      }
    } else {
      apply_keyword(keyword, value, schema, flat);
    }
  }
  return true;
}

void SchemaReader::apply_keyword(const std::string& keyword, const SchemaRef& value, const SchemaRef& schema,
                                 FlatSchema& flat) const {
  const OrderedJson& json = *value.json;
  const auto implies = [&](unsigned types) { flat.implied_types |= types; };
  const auto is_true = [&] {
    if (!json.is_boolean()) fail_schema(value.path, "should be true or false");
    return json.get<bool>();
  };
  if (keyword == "type") {
    unsigned types = 0;
    for (const SchemaRef& name : json.is_array() ? elements_of(value, false) : std::vector<SchemaRef>{value}) {
      if (!name.json->is_string()) fail_schema(name.path, "should be the name of a type");
      types |= type_bits(name.json->get<std::string>(), name.path);
    }
    flat.types &= types;
    flat.has_explicit_types = true;
  } else if (keyword == "enum" || keyword == "const") {
    std::vector<SchemaRef> values = keyword == "const" ? std::vector<SchemaRef>{value} : elements_of(value, true);
    if (values.empty()) fail_schema(value.path, "is empty: no value can conform");
    if (flat.values) {
      if (!flat.values->empty() && values.size() > kMaxComparisons / flat.values->size()) {
        refuse_schema(value.path, "too large beside the other enum: their values are compared one with one");
      }
      std::erase_if(values, [&](const SchemaRef& a) {
        return std::none_of(flat.values->begin(), flat.values->end(),
                            [&](const SchemaRef& b) { return *a.json == *b.json; });
      });
    }
    flat.values = std::move(values);
  } else if (keyword == "minimum" || keyword == "exclusiveMinimum" || keyword == "maximum" ||
             keyword == "exclusiveMaximum") {
    implies(kNumberBits);
    const bool is_minimum = keyword == "minimum" || keyword == "exclusiveMinimum";
    // Draft 4 (and OpenAPI 3.0): true beside minimum or maximum.
    if (json.is_boolean()) {
      const char* const other = is_minimum ? "minimum" : "maximum";
      if (!schema.json->contains(other)) fail_schema(value.path, std::string("stands alone, without ") + other);
      if (!json.get<bool>()) return;
      const NumberBound bound = bound_of({&(*schema.json)[other], schema.path + "/" + other}, true);
      is_minimum ? raise_low(flat.range, bound) : lower_high(flat.range, bound);
      return;
    }
    const NumberBound bound = bound_of(value, keyword[0] == 'e');
    is_minimum ? raise_low(flat.range, bound) : lower_high(flat.range, bound);
  } else if (keyword == "multipleOf") {
    implies(kNumberBits);
    if (!json.is_number() || json.get<double>() <= 0) fail_schema(value.path, "should be a number above 0");
    flat.multiples.push_back(value);
  } else if (keyword == "minLength") {
    implies(kStringBit);
    flat.min_length = std::max(flat.min_length, count_of(value));
  } else if (keyword == "maxLength") {
    implies(kStringBit);
    flat.max_length = std::min(flat.max_length, count_of(value));
  } else if (keyword == "pattern") {
    implies(kStringBit);
    if (!json.is_string()) fail_schema(value.path, "should be a text");
    flat.patterns.push_back(value);
  } else if (keyword == "format") {
    if (!json.is_string()) fail_schema(value.path, "should be a text");
    const auto name = json.get<std::string>();
    if (name == "int32" || name == "int64") {
      implies(kIntegerBit);
      const OrderedJson low = name == "int32" ? OrderedJson(INT32_MIN) : OrderedJson(INT64_MIN);
      const OrderedJson high = name == "int32" ? OrderedJson(INT32_MAX) : OrderedJson(INT64_MAX);
      raise_low(flat.range, {Decimal::of(low), false});
      lower_high(flat.range, {Decimal::of(high), false});
    } else if (name == "float" || name == "double") {
      implies(kNumberBits);  // Every decimal number is one, rounded.
    } else {
      implies(kStringBit);
      flat.formats.push_back(value);
    }
  } else if (keyword == "minItems") {
    implies(kArrayBit);
    flat.min_items = std::max(flat.min_items, count_of(value));
  } else if (keyword == "maxItems") {
    implies(kArrayBit);
    flat.max_items = std::min(flat.max_items, count_of(value));
  } else if (keyword == "prefixItems" || keyword == "items" || keyword == "additionalItems") {
    implies(kArrayBit);
    // One part a schema: the keywords of a schema belong together, so the first one met takes all.
    const bool has_prefix = schema.json->contains("prefixItems");
    const bool has_items = schema.json->contains("items");
    if (keyword == "items" && has_prefix) return;
    if (keyword == "additionalItems" && (has_prefix || has_items)) return;
    ArrayPart part;
    if (keyword == "prefixItems") part.prefix = elements_of(value, true);
    if (has_items) {
      const SchemaRef items{&(*schema.json)["items"], schema.path + "/items"};
      if (!items.json->is_array()) {
        part.rest = items;
      } else if (has_prefix) {
        fail_schema(items.path, "should be a schema where prefixItems says what the first items are");
      } else {
        part.prefix = elements_of(items, true);
        if (schema.json->contains("additionalItems")) {
          part.rest = SchemaRef{&(*schema.json)["additionalItems"], schema.path + "/additionalItems"};
        }
      }
    }
    flat.array_parts.push_back(std::move(part));
  } else if (keyword == "uniqueItems") {
    if (is_true()) {
      refuse_schema(value.path, "uniqueItems is not supported: which items are left depends on all before them",
                    "leave it out and check the result, or give the items as prefixItems");
    }
  } else if (keyword == "minProperties") {
    implies(kObjectBit);
    flat.min_properties = std::max(flat.min_properties, count_of(value));
  } else if (keyword == "maxProperties") {
    implies(kObjectBit);
    flat.max_properties = std::min(flat.max_properties, count_of(value));
  } else if (keyword == "required") {
    implies(kObjectBit);
    refuse_many_names(value);
    for (const SchemaRef& name : elements_of(value, true)) {
      if (!name.json->is_string()) fail_schema(name.path, "should be the name of a property");
      const auto text = name.json->get<std::string>();
      if (std::none_of(flat.required.begin(), flat.required.end(), [&](const auto& r) { return r.first == text; })) {
        flat.required.emplace_back(text, name.path);
      }
    }
  } else if (keyword == "properties" || keyword == "patternProperties" || keyword == "additionalProperties" ||
             keyword == "unevaluatedProperties") {
    implies(kObjectBit);
    if (keyword == "unevaluatedProperties") {
      // Where nothing else adds properties, it is additionalProperties.
      for (const char* const other : {"allOf", "anyOf", "oneOf", "$ref"}) {
        if (schema.json->contains(other)) {
          refuse_schema(value.path, std::string("unevaluatedProperties beside ") + other + " is not supported",
                        "write additionalProperties in each part");
        }
      }
    }
    for (const char* const first : {"properties", "patternProperties", "additionalProperties"}) {
      if (keyword == first) break;
      if (schema.json->contains(first)) return;
    }
    ObjectPart part;
    const auto member = [&](const char* name) { return SchemaRef{&(*schema.json)[name], schema.path + "/" + name}; };
    if (schema.json->contains("properties")) part.properties = members_of(member("properties"));
    if (schema.json->contains("patternProperties")) part.patterns = members_of(member("patternProperties"));
    if (schema.json->contains("additionalProperties")) {
      part.additional = member("additionalProperties");
    } else if (schema.json->contains("unevaluatedProperties")) {
      part.additional = member("unevaluatedProperties");
    }
    flat.object_parts.push_back(std::move(part));
  } else if (keyword == "propertyNames") {
    implies(kObjectBit);
    flat.property_names.push_back(value);
  } else if (keyword == "nullable") {
    // Done by apply().
  } else if (std::find(kAnnotations.begin(), kAnnotations.end(), keyword) == kAnnotations.end() &&
             keyword.substr(0, 2) != "x-") {
    refuse_schema(value.path, "the keyword '" + keyword + "' is not supported", std::string(kSupported));
  }
}

}  // namespace pajamas::grammar
