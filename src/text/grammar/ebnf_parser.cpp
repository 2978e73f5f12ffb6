// Grammars in llama.cpp's GBNF and in a part of Lark's notation, into drafts of rules. The first definition decides
// which of the two it is. See front_ends.h.
#include <algorithm>
#include <map>
#include <optional>

#include "pajamas/error.h"
#include "text/grammar/front_ends.h"
#include "text/grammar/syntax.h"
#include "text/grammar/text_cursor.h"
#include "text/unicode.h"

namespace pajamas::grammar {
namespace {

constexpr int kMaxNesting = 200;
/// Quantifiers behind one another (a+?): each is one level of the tree more, and two already say all there is to say.
constexpr int kMaxQuantifiers = 4;
constexpr std::uint32_t kMaxCount = 1'000'000;
/// Rules up to this many characters are written into their callers, which are then deterministic with what follows.
constexpr std::size_t kMaxInlined = 64;
/// A repeated class of more characters than this keeps a rule from being written into its callers: its masks are large
/// and should be made once.
constexpr char32_t kBroadClass = 1024;

using Kind = SyntaxNode::Kind;

struct GrammarRule {
  std::string name;
  SyntaxNode body;
  bool is_defined = false;
  std::size_t position = 0;  ///< Of the definition, else of the first use.
};

class EbnfParser : private TextCursor {
 public:
  explicit EbnfParser(std::string_view text) : TextCursor(text) {}

  std::vector<GrammarRule> parse() {
    skip_space();
    if (is_at_end()) throw Error(ErrorKind::kBadInput, "has no rules", {}, "define at least the rule 'root'");
    is_lark_ = find_dialect();
    while (!is_at_end()) definition();
    for (const GrammarRule& rule : rules_) {
      if (!rule.is_defined) fail_at(rule.position, "the rule '" + rule.name + "' is used and not defined");
    }
    return std::move(rules_);
  }

  std::size_t root() const {
    const char* const name = is_lark_ ? "start" : "root";
    const auto found = ids_.find(name);
    if (found == ids_.end()) {
      throw Error(ErrorKind::kBadInput, std::string("has no rule '") + name + "', which is where texts begin", {},
                  std::string("call the rule of the whole text '") + name + "'");
    }
    return found->second;
  }

  std::string place(std::size_t position) const {
    std::size_t line = 1;
    std::size_t column = 1;
    for (std::size_t i = 0; i < position && i < text_.size(); ++i) {
      ++column;
      if (text_[i] == '\n') {
        ++line;
        column = 1;
      }
    }
    return "line " + std::to_string(line) + ":" + std::to_string(column);
  }

 private:
  [[noreturn]] void fail_at(std::size_t position, const std::string& message) const {
    throw Error(ErrorKind::kBadInput, message, place(position),
                "correct the grammar there; docs/language-structured-output.md has the notation");
  }
  [[noreturn]] void fail(const std::string& message) const { fail_at(at_, message); }
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorKind::kUnsupported,
                what + (is_lark_ ? " is not supported in a Lark grammar" : " is not supported"), place(at_),
                "docs/language-structured-output.md lists what is");
  }
  static bool is_name_character(char32_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  }

  void skip_space() {
    while (!is_at_end()) {
      const char32_t c = text_[at_];
      if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        ++at_;
      } else if (c == '#' || looking_at(U"//")) {
        while (!is_at_end() && text_[at_] != '\n') ++at_;
      } else {
        return;
      }
    }
  }

  std::string name() {
    const std::size_t begin = at_;
    while (!is_at_end() && is_name_character(text_[at_])) ++at_;
    return utf8_of(std::u32string_view(text_).substr(begin, at_ - begin));
  }

  /// Whether the first definition is Lark's; moves nothing.
  bool find_dialect() {
    const std::size_t begin = at_;
    if (has('%')) return true;
    if (has('?') || has('!')) return true;
    if (name().empty()) fail("expected the name of a rule");
    skip_space();
    const bool is_gbnf = looking_at(U"::=");
    const bool is_lark = has(':') || has('.');
    if (!is_gbnf && !is_lark) fail("expected '::=' (GBNF) or ':' (Lark) after the name of a rule");
    at_ = begin;
    return !is_gbnf;
  }

  /// Whether a definition begins here: a sequence ends before it.
  bool at_definition() {
    const std::size_t begin = at_;
    if (is_lark_) {
      if (has('%')) return true;
      if (has('?') || has('!')) ++at_;
    }
    bool result = !name().empty();
    if (result && is_lark_ && take('.')) result = !name().empty();
    skip_space();
    result = result && (is_lark_ ? has(':') : looking_at(U"::="));
    at_ = begin;
    return result;
  }

  std::size_t rule_id(const std::string& rule_name, std::size_t position) {
    const auto [found, is_new] = ids_.try_emplace(rule_name, rules_.size());
    if (is_new) {
      rules_.emplace_back();
      rules_.back().name = rule_name;
      rules_.back().position = position;
    }
    return found->second;
  }

  void definition() {
    const std::size_t position = at_;
    if (is_lark_) {
      if (has('%')) refuse("a directive (%import, %ignore, %declare, %override)");
      if (!take('?')) take('!');
    }
    const std::string rule_name = name();
    if (rule_name.empty()) fail("expected the name of a rule");
    if (is_lark_ && take('.')) name();  // A priority only orders readings; the language is the same.
    if (is_lark_ && has('{')) refuse("a template");
    skip_space();
    if (is_lark_) {
      if (!take(':')) fail("expected ':' after the name of a rule");
    } else {
      if (!looking_at(U"::=")) fail("expected '::=' after the name of a rule");
      at_ += 3;
    }
    const std::size_t id = rule_id(rule_name, position);
    if (rules_[id].is_defined) fail_at(position, "the rule '" + rule_name + "' is defined twice");
    rules_[id].is_defined = true;
    rules_[id].position = position;
    skip_space();
    SyntaxNode body = alternation(0);
    rules_[id].body = std::move(body);
    if (at_ < text_.size() && !at_definition()) fail("expected a rule, '|' or the end");
  }

  SyntaxNode alternation(int depth) {
    if (depth > kMaxNesting) fail("groups are nested deeper than " + std::to_string(kMaxNesting));
    SyntaxNode node;
    node.kind = Kind::kAlternation;
    node.position = at_;
    node.children.push_back(sequence(depth));
    while (take('|')) {
      skip_space();
      node.children.push_back(sequence(depth));
    }
    return node;
  }

  SyntaxNode sequence(int depth) {
    SyntaxNode node;
    node.position = at_;
    while (!is_at_end() && !has('|') && !has(')') && !has(']')) {
      if (is_lark_ && looking_at(U"->")) {  // A name for the tree; the language is the same.
        at_ += 2;
        skip_space();
        if (name().empty()) fail("expected a name after '->'");
        skip_space();
        continue;
      }
      if (depth == 0 && at_definition()) break;
      node.children.push_back(repeated(depth));
    }
    return node;
  }

  std::uint32_t number() {
    const auto value = take_number(kMaxCount);
    if (!value) fail("expected a number");
    if (*value == kTooLarge) refuse("a repetition count above " + std::to_string(kMaxCount));
    return *value;
  }

  SyntaxNode repeated(int depth) {
    const std::size_t position = at_;
    SyntaxNode node = atom(depth);
    node.position = position;
    skip_space();
    for (int num_quantifiers = 0; !is_at_end(); ++num_quantifiers) {
      const std::size_t quantifier = at_;
      std::uint32_t min_count = 0;
      std::uint32_t max_count = kUnlimited;
      if (take('*')) {
      } else if (has('+')) {
        ++at_;
        min_count = 1;
      } else if (has('?') && !(is_lark_ && at_definition())) {
        ++at_;
        max_count = 1;
      } else if (!is_lark_ && take('{')) {
        skip_space();
        if (!has(',')) min_count = number();
        skip_space();
        max_count = min_count;
        if (take(',')) {
          skip_space();
          max_count = has('}') ? kUnlimited : number();
          skip_space();
        }
        if (!take('}')) fail("expected '}'");
      } else if (is_lark_ && take('~')) {
        skip_space();
        min_count = number();
        max_count = min_count;
        skip_space();
        if (looking_at(U"..")) {
          at_ += 2;
          skip_space();
          max_count = number();
        }
      } else {
        break;
      }
      if (max_count < min_count) fail("a repetition's counts are in the wrong order");
      if (num_quantifiers == kMaxQuantifiers) {
        fail_at(quantifier, "more than " + std::to_string(kMaxQuantifiers) + " repetitions of one another");
      }
      node = repetition_node(std::move(node), min_count, max_count);
      skip_space();
    }
    return node;
  }

  SyntaxNode atom(int depth) {
    const char32_t c = text_[at_];
    if (c == '"') {
      SyntaxNode first = literal();
      if (is_lark_ && looking_at(U"..")) {
        at_ += 2;
        if (!has('"')) fail("expected the last character of a range");
        const SyntaxNode last = literal();
        if (first.children.size() != 1 || last.children.size() != 1) fail("a range needs single characters");
        const char32_t low = first.children[0].set.ranges()[0].first;
        const char32_t high = last.children[0].set.ranges()[0].first;
        if (high < low) fail("a range is in the wrong order");
        return class_node(CodePointSet::of(low, high));
      }
      return first;
    }
    if (c == '(') return group(depth, ')');
    if (c == '[') {
      if (is_lark_) return repetition_node(group(depth, ']'), 0, 1);
      return class_node(bracket());
    }
    if (c == '.' && !is_lark_) {
      ++at_;
      return class_node(CodePointSet::all());
    }
    if (c == '/' && is_lark_) return regex();
    if (c == '<' || (c == '!' && !is_lark_)) refuse("a token in place of text (<...>)");
    const std::size_t position = at_;
    const std::string rule_name = name();
    if (rule_name.empty()) {
      fail("unexpected '" + utf8_of(std::u32string(1, c)) + "'");
    }
    if (is_lark_ && has('{')) refuse("a template");
    SyntaxNode node;
    node.kind = Kind::kRule;
    node.rule = static_cast<std::int32_t>(rule_id(rule_name, position));
    return node;
  }

  SyntaxNode group(int depth, char32_t closing) {
    const std::size_t begin = at_;
    ++at_;
    skip_space();
    SyntaxNode node = alternation(depth + 1);
    if (!take(closing)) fail_at(begin, "a bracket does not end");
    return node;
  }

  char32_t hexadecimal(int num_digits) {
    const auto value = take_hexadecimal(num_digits);
    if (!value) fail("an escape lacks hexadecimal digits");
    if (*value > 0x10FFFF || (*value >= 0xD800 && *value <= 0xDFFF)) fail("an escape names no character");
    return *value;
  }

  char32_t character() {
    if (is_at_end()) fail("the text ends within a literal");
    const char32_t c = text_[at_++];
    if (c != '\\') return c;
    if (is_at_end()) fail("the text ends within an escape");
    const char32_t escaped = text_[at_++];
    switch (escaped) {
      case 'n': return '\n';
      case 'r': return '\r';
      case 't': return '\t';
      case 'f': return '\f';
      case 'b': return '\b';
      case '0': return 0;
      case 'x': return hexadecimal(2);
      case 'u': return hexadecimal(4);
      case 'U': return hexadecimal(8);
      default:
        if ((escaped >= 'a' && escaped <= 'z') || (escaped >= 'A' && escaped <= 'Z')) {
          --at_;
          fail("the escape '\\" + utf8_of(std::u32string(1, escaped)) + "' is not known");
        }
        return escaped;
    }
  }

  SyntaxNode literal() {
    const std::size_t begin = at_;
    ++at_;
    SyntaxNode node;
    while (!has('"')) {
      if (is_at_end() || has('\n')) fail_at(begin, "a literal does not end");
      node.children.push_back(class_node(CodePointSet::of(character())));
    }
    ++at_;
    if (is_lark_ && has('i') && (at_ + 1 >= text_.size() || !is_name_character(text_[at_ + 1]))) {
      ++at_;
      for (SyntaxNode& child : node.children) {
        const char32_t c = child.set.ranges()[0].first;
        if (c >= 0x80) refuse("a case-insensitive literal outside of ASCII");
        if ((c | 32) >= 'a' && (c | 32) <= 'z') child.set.add(c ^ 32, c ^ 32);
      }
    }
    return node;
  }

  CodePointSet bracket() {
    const std::size_t begin = at_;
    ++at_;
    const bool is_negated = take('^');
    CodePointSet set;
    while (!has(']')) {
      if (is_at_end()) fail_at(begin, "'[' without ']'");
      const char32_t first = character();
      char32_t last = first;
      if (has('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        last = character();
        if (last < first) fail("a range is in the wrong order");
      }
      set.add(first, last);
    }
    ++at_;
    return is_negated ? set.complement() : set;
  }

  SyntaxNode regex() {
    const std::size_t begin = at_;
    ++at_;
    const std::size_t first = at_;
    while (!is_at_end() && !has('/') && !has('\n')) at_ += has('\\') ? 2 : 1;
    if (is_at_end() || !has('/')) fail_at(begin, "a regular expression does not end");
    const std::string pattern = utf8_of(std::u32string_view(text_).substr(first, at_ - first));
    ++at_;
    if (at_ < text_.size() && text_[at_] >= 'a' && text_[at_] <= 'z') refuse("a flag of a regular expression");
    try {
      return anchored(parse_regex(pattern), false);
    } catch (const Error& error) {
      throw error.with_context(place(begin));
    }
  }

  bool is_lark_ = false;
  std::vector<GrammarRule> rules_;
  std::map<std::string, std::size_t> ids_;
};

/// How many characters a tree is when written out; kMaxInlined + 1 for anything that should stay a rule of its own.
std::size_t written_size(const SyntaxNode& node, const std::vector<std::optional<std::size_t>>& sizes) {
  std::size_t size = 1;
  switch (node.kind) {
    case Kind::kClass: return 1;
    case Kind::kRule: return sizes[static_cast<std::size_t>(node.rule)].value_or(kMaxInlined + 1);
    case Kind::kRepetition: {
      const SyntaxNode& child = node.children[0];
      char32_t num_members = 0;
      if (child.kind == Kind::kClass) {
        for (const CodePointRange& range : child.set.ranges()) num_members += range.last - range.first + 1;
      }
      if (num_members > kBroadClass) return kMaxInlined + 1;
      const std::uint32_t copies = node.max_count == kUnlimited ? node.min_count + 1 : node.max_count;
      // Of {0} too the tree holds what is repeated, and whoever it is written into holds it again.
      size = written_size(child, sizes) * std::clamp<std::uint32_t>(copies, 1, kMaxInlined + 1);
      break;
    }
    default:
      for (const SyntaxNode& child : node.children) size += written_size(child, sizes);
  }
  return std::min(size, kMaxInlined + 1);
}

void collect_rules(const SyntaxNode& node, std::vector<std::size_t>& rules) {
  if (node.kind == Kind::kRule) rules.push_back(static_cast<std::size_t>(node.rule));
  for (const SyntaxNode& child : node.children) collect_rules(child, rules);
}

/// Puts the bodies of small rules in place of their names.
void write_in(SyntaxNode& node, const std::vector<GrammarRule>& rules,
              const std::vector<std::optional<std::size_t>>& sizes) {
  if (node.kind == Kind::kRule) {
    const auto id = static_cast<std::size_t>(node.rule);
    if (sizes[id].value_or(kMaxInlined + 1) <= kMaxInlined) node = SyntaxNode(rules[id].body);
    return;
  }
  for (SyntaxNode& child : node.children) write_in(child, rules, sizes);
}

/// Callees before callers, and the sizes of rules that take no part in a recursion.
void write_in_small_rules(std::vector<GrammarRule>& rules, std::size_t root) {
  std::vector<std::optional<std::size_t>> sizes(rules.size());
  std::vector<std::vector<std::size_t>> callees(rules.size());
  std::vector<std::size_t> num_open(rules.size(), 0);
  std::vector<std::vector<std::size_t>> callers(rules.size());
  for (std::size_t i = 0; i < rules.size(); ++i) {
    collect_rules(rules[i].body, callees[i]);
    num_open[i] = callees[i].size();
    for (const std::size_t callee : callees[i]) callers[callee].push_back(i);
  }
  std::vector<std::size_t> ready;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (num_open[i] == 0) ready.push_back(i);
  }
  for (std::size_t k = 0; k < ready.size(); ++k) {
    const std::size_t id = ready[k];
    write_in(rules[id].body, rules, sizes);
    if (id != root) sizes[id] = written_size(rules[id].body, sizes);
    for (const std::size_t caller : callers[id]) {
      if (--num_open[caller] == 0) ready.push_back(caller);
    }
  }
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (num_open[i] != 0) write_in(rules[i].body, rules, sizes);
  }
}

bool is_rule(const SyntaxNode& node, std::int32_t id) { return node.kind == Kind::kRule && node.rule == id; }

}  // namespace

GrammarDraft draft_of_ebnf(std::string_view text, const Limits& limits) {
  EbnfParser parser(text);
  std::vector<GrammarRule> rules = parser.parse();
  GrammarDraft draft(limits);
  draft.root = static_cast<std::int32_t>(parser.root());
  write_in_small_rules(rules, parser.root());
  for (const GrammarRule& rule : rules) draft.add_rule(rule.name);
  SyntaxEmitter emitter(*draft.limits, &draft, Spelling::kUtf8);
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const auto id = static_cast<std::int32_t>(i);
    Nfa& nfa = draft.begin_rule(id);
    const std::int32_t start = draft.rules[i].start;
    const std::int32_t end = nfa.add_state();
    draft.rules[i].end = end;
    for (const SyntaxNode& alternative : rules[i].body.children) {
      // A rule that begins with itself goes on from its own end, and one that ends with itself goes back to its own
      // beginning: R = R a | b R | c is b* c a*. Neither then needs the stack.
      std::size_t first = 0;
      std::size_t last = alternative.children.size();
      const bool is_left = last > 0 && is_rule(alternative.children[0], id);
      if (is_left) ++first;
      const bool is_right = last > first && is_rule(alternative.children[last - 1], id);
      if (is_right) --last;
      if (is_left && !is_right && first == last) continue;  // R = R says nothing.
      std::int32_t state = nfa.add_state();
      nfa.add_empty(is_left ? end : start, state);
      for (std::size_t k = first; k < last; ++k) state = emitter.append(nfa, state, alternative.children[k]);
      nfa.add_empty(state, is_right ? start : end);
    }
  }
  return draft;
}

}  // namespace pajamas::grammar
