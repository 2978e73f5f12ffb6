// Formats and string automata. See schema_strings.h.
#include "text/grammar/schema_strings.h"

#include <array>
#include <optional>

#include "pajamas/error.h"

namespace pajamas::grammar {
namespace {

struct Format {
  std::string_view name;
  std::string pattern;
};

/// The formats in the syntax of parse_regex. Dates are real days of the calendar, leap years included; times and
/// offsets are RFC 3339's without leap seconds; addresses of mail and URIs are the parts of their RFCs in daily use.
const std::vector<Format>& formats() {
  static const std::vector<Format> kFormats = [] {
    const std::string year = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)";  // 0000 is no year.
    const std::string leap = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)";
    const std::string date = "(?:" + year + "-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|" +
                             "(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|" + leap + "-02-29)";
    const std::string time =
        "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
    // Without the bound of 63 on a label: two counts that overlap are costly, and no model writes such names.
    const std::string label = "[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*";
    const std::string atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
    const std::string octet = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    const std::string ipv4 = octet + "(?:\\." + octet + "){3}";
    const std::string group = "[0-9A-Fa-f]{1,4}";
    const std::string last = "(?:" + group + ":" + group + "|" + ipv4 + ")";
    std::string ipv6 = "(?:" + group + ":){6}" + last;
    // "::" stands for the groups left out: at most `before` ahead of it, `after` behind.
    for (int after = 5; after >= 0; --after) {
      const int before = 5 - after;
      std::string head = before == 0 ? "" : "(?:(?:" + group + ":){0," + std::to_string(before) + "}" + group + ")?";
      ipv6 += "|" + head + "::(?:" + group + ":){" + std::to_string(after) + "}" + last;
    }
    ipv6 += "|(?:(?:" + group + ":){0,5}" + group + ")?::" + group;
    ipv6 += "|(?:(?:" + group + ":){0,6}" + group + ")?::";
    const std::string encoded = "%[0-9A-Fa-f]{2}";
    const std::string path_character = "(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|" + encoded + ")";
    const std::string host_character = "(?:[A-Za-z0-9._~!$&'()*+,;=-]|" + encoded + ")";
    const std::string authority = "//(?:(?:" + host_character + "|:)*@)?" + host_character + "+(?::[0-9]{1,5})?";
    const std::string tail = "(?:\\?(?:" + path_character + "|\\?)*)?(?:#(?:" + path_character + "|\\?)*)?";
    const std::string rest = "(?:" + authority + "(?:/" + path_character + "*)?|" +
                             "/?(?:(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|" + encoded + ")" + path_character + "*)?)" + tail;
    const std::string hexadecimal = "[0-9A-Fa-f]";
    return std::vector<Format>{
        {"date", date},
        {"time", time},
        {"date-time", date + "T" + time},
        {"duration",
         "P(?:[0-9]{1,9}W|(?:(?:[0-9]{1,9}Y(?:[0-9]{1,9}M(?:[0-9]{1,9}D)?)?|[0-9]{1,9}M(?:[0-9]{1,9}D)?|[0-9]{1,9}D)"
         "(?:T(?:[0-9]{1,9}H(?:[0-9]{1,9}M(?:[0-9]{1,9}S)?)?|[0-9]{1,9}M(?:[0-9]{1,9}S)?|[0-9]{1,9}S))?|"
         "T(?:[0-9]{1,9}H(?:[0-9]{1,9}M(?:[0-9]{1,9}S)?)?|[0-9]{1,9}M(?:[0-9]{1,9}S)?|[0-9]{1,9}S)))"},
        {"uuid", hexadecimal + "{8}-" + hexadecimal + "{4}-" + hexadecimal + "{4}-" + hexadecimal + "{4}-" +
                     hexadecimal + "{12}"},
        {"email", atom + "(?:\\." + atom + ")*@" + label + "(?:\\." + label + ")+"},
        {"hostname", label + "(?:\\." + label + ")*"},
        {"ipv4", ipv4},
        {"ipv6", ipv6},
        {"uri", "[A-Za-z][A-Za-z0-9+.-]*:" + rest},
        {"uri-reference", "[A-Za-z][A-Za-z0-9+.-]*:" + rest + "|" + authority + "(?:/" + path_character + "*)?" + tail +
                              "|/" + tail + "|" + tail},
        {"json-pointer", "(?:/(?:[^/~]|~[01])*)*"},
    };
  }();
  return kFormats;
}

}  // namespace

Dfa json_character(const Limits& limits) {
  Nfa nfa(limits);
  const std::int32_t start = nfa.add_state();
  CodePointSet raw = CodePointSet::of(0x20, 0x10FFFF);
  CodePointSet quoted = CodePointSet::of('"');
  quoted.add('\\', '\\');
  raw = raw.without(quoted);
  const std::int32_t to = nfa.append_class(start, raw, Spelling::kUtf8);
  const std::int32_t backslash = nfa.append_text(start, "\\");
  for (const char c : std::string_view("\"\\/bfnrt")) nfa.add_bytes(backslash, c, c, to);
  const auto digit = [&](std::int32_t from, std::string_view digits, std::int32_t next) {
    for (const char c : digits) {
      nfa.add_bytes(from, c, c, next);
      if (c >= 'a') nfa.add_bytes(from, c - 32, c - 32, next);
    }
  };
  constexpr std::string_view kAny = "0123456789abcdef";
  const std::int32_t escape = nfa.append_text(backslash, "u");
  const std::int32_t second = nfa.add_state();
  const std::int32_t third = nfa.add_state();
  const std::int32_t fourth = nfa.add_state();
  digit(escape, "0123456789abcef", second);  // All first digits but D, behind which surrogates lie.
  digit(second, kAny, third);
  digit(third, kAny, fourth);
  digit(fourth, kAny, to);
  const std::int32_t behind_d = nfa.add_state();
  digit(escape, "d", behind_d);
  digit(behind_d, "01234567", third);
  std::int32_t high = nfa.add_state();
  digit(behind_d, "89ab", high);
  for (int i = 0; i < 2; ++i) {
    const std::int32_t next = nfa.add_state();
    digit(high, kAny, next);
    high = next;
  }
  std::int32_t low = nfa.append_text(high, "\\u");
  for (const std::string_view digits : {std::string_view("d"), std::string_view("cdef"), kAny}) {
    const std::int32_t next = nfa.add_state();
    digit(low, digits, next);
    low = next;
  }
  digit(low, kAny, to);
  return minimised(determinised(nfa, start, to), limits);
}

SyntaxNode format_syntax(const SchemaRef& format) {
  const auto name = format.json->get<std::string>();
  std::string known;
  for (const Format& candidate : formats()) {
    if (candidate.name == name) return parse_regex(candidate.pattern);
    known += std::string(candidate.name) + ", ";
  }
  refuse_schema(format.path, "the format '" + name + "' is not supported",
                "supported: " + known + "int32, int64, float, double");
}

SyntaxNode pattern_syntax(const std::string& pattern, const std::string& path) {
  try {
    return anchored(parse_regex(pattern), true);
  } catch (const Error& error) {
    throw error.with_context(path);
  }
}

Dfa string_language(const FlatSchema& flat, const Limits& limits) {
  SyntaxEmitter emitter(limits, nullptr, Spelling::kJsonString);
  std::optional<Dfa> language;
  const auto narrow = [&](Dfa dfa) { language = language ? intersection(*language, dfa, limits) : std::move(dfa); };
  if (flat.values) {
    Nfa nfa(limits);
    const std::int32_t start = nfa.add_state();
    const std::int32_t end = nfa.add_state();
    for (const SchemaRef& value : *flat.values) {
      if (!value.json->is_string()) continue;
      nfa.add_empty(nfa.append_text(start, json_string_interior(value.json->get<std::string>())), end);
    }
    narrow(determinised(nfa, start, end));
  }
  for (const SchemaRef& pattern : flat.patterns) {
    narrow(emitter.dfa_of(pattern_syntax(pattern.json->get<std::string>(), pattern.path)));
  }
  for (const SchemaRef& format : flat.formats) narrow(emitter.dfa_of(format_syntax(format)));
  if (flat.min_length > 0 || flat.max_length != kUnlimited || !language) {
    narrow(emitter.dfa_of(repetition_node(class_node(CodePointSet::all()), flat.min_length, flat.max_length)));
  }
  return *std::move(language);
}

}  // namespace pajamas::grammar
