// Regular expressions of ECMA 262, as JSON schema's `pattern` has them, into syntax trees. What is not regular
// (look-around, back references, word boundaries) is refused by name. See syntax.h.
#include <algorithm>

#include "pajamas/error.h"
#include "text/grammar/front_ends.h"
#include "text/grammar/syntax.h"
#include "text/grammar/text_cursor.h"
#include "text/unicode.h"

namespace pajamas::grammar {
namespace {

constexpr int kMaxNesting = 200;
constexpr std::uint32_t kMaxCount = 1'000'000;

CodePointSet digits() { return CodePointSet::of('0', '9'); }

CodePointSet word_characters() {
  CodePointSet set = digits();
  set.add('A', 'Z');
  set.add('a', 'z');
  set.add('_', '_');
  return set;
}

/// ECMA's WhiteSpace and LineTerminator.
CodePointSet spaces() {
  CodePointSet set = CodePointSet::of('\t', '\r');
  for (const char32_t c : {0x20, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF}) set.add(c, c);
  set.add(0x2000, 0x200A);
  return set;
}

CodePointSet any_but_line_ends() {
  CodePointSet set;
  for (const char32_t c : {0x0A, 0x0D, 0x2028, 0x2029}) set.add(c, c);
  return set.complement();
}

class RegexParser : private TextCursor {
 public:
  explicit RegexParser(std::string_view pattern) : TextCursor(pattern) {}

  SyntaxNode parse() {
    SyntaxNode node = alternation(0);
    if (at_ < text_.size()) fail("')' without '('");
    return node;
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorKind::kBadInput, message, "position " + std::to_string(at_), "correct the pattern there");
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorKind::kUnsupported, what, "position " + std::to_string(at_),
                "supported: characters, classes, groups, |, * + ? {m,n}, ^ and $ at the ends");
  }

  SyntaxNode alternation(int depth) {
    if (depth > kMaxNesting) fail("groups are nested deeper than " + std::to_string(kMaxNesting));
    SyntaxNode node;
    node.kind = SyntaxNode::Kind::kAlternation;
    node.position = at_;
    node.children.push_back(sequence(depth));
    while (take('|')) node.children.push_back(sequence(depth));
    if (node.children.size() == 1) return SyntaxNode(std::move(node.children[0]));
    return node;
  }

  SyntaxNode sequence(int depth) {
    SyntaxNode node;
    node.position = at_;
    while (at_ < text_.size() && !has('|') && !has(')')) node.children.push_back(quantified(depth));
    return node;
  }

  SyntaxNode quantified(int depth) {
    SyntaxNode node = atom(depth);
    std::uint32_t min_count = 0;
    std::uint32_t max_count = kUnlimited;
    if (!quantifier(min_count, max_count)) return node;
    if (node.kind == SyntaxNode::Kind::kTextStart || node.kind == SyntaxNode::Kind::kTextEnd) {
      refuse("a repeated anchor is not supported");
    }
    if (has('+')) refuse("possessive quantifiers are not supported");
    take('?');  // Lazy: which text is matched first does not matter to which texts there are.
    std::uint32_t ignored = 0;
    if (quantifier(ignored, ignored)) fail("a quantifier follows a quantifier");
    return repetition_node(std::move(node), min_count, max_count);
  }

  /// Takes a quantifier if there is one.
  bool quantifier(std::uint32_t& min_count, std::uint32_t& max_count) {
    const std::size_t begin = at_;
    if (take('*')) return true;
    if (take('+')) {
      min_count = 1;
      return true;
    }
    if (take('?')) {
      max_count = 1;
      return true;
    }
    if (has('{') && counts(min_count, max_count)) return true;
    at_ = begin;
    return false;
  }

  /// "{m}", "{m,}", "{m,n}" or "{,n}"; false where the brace is only a character.
  bool counts(std::uint32_t& min_count, std::uint32_t& max_count) {
    ++at_;
    const auto number = [&](std::uint32_t& value) {
      const auto taken = take_number(kMaxCount);
      if (taken == kTooLarge) refuse("a repetition count above " + std::to_string(kMaxCount) + " is not supported");
      if (taken) value = *taken;
      return taken.has_value();
    };
    if (!number(min_count)) return false;
    max_count = min_count;
    if (take(',')) {
      max_count = kUnlimited;
      number(max_count);
    }
    if (!take('}')) return false;
    if (max_count < min_count) fail("a repetition's counts are in the wrong order");
    return true;
  }

  SyntaxNode atom(int depth) {
    const std::size_t position = at_;
    SyntaxNode node = bare_atom(depth);
    node.position = position;
    return node;
  }

  SyntaxNode bare_atom(int depth) {
    const char32_t c = text_[at_];
    switch (c) {
      case '(': return group(depth);
      case '[': return class_node(bracket());
      case '.': ++at_; return class_node(any_but_line_ends());
      case '^':
      case '$': {
        SyntaxNode node;
        node.kind = c == '^' ? SyntaxNode::Kind::kTextStart : SyntaxNode::Kind::kTextEnd;
        ++at_;
        return node;
      }
      case '\\': return class_node(escape(false));
      case '*':
      case '+':
      case '?': fail("a quantifier has nothing to repeat");
      default: ++at_; return class_node(CodePointSet::of(c));
    }
  }

  SyntaxNode group(int depth) {
    if (looking_at(U"(?=") || looking_at(U"(?!")) refuse("look-ahead is not supported");
    if (looking_at(U"(?<=") || looking_at(U"(?<!")) refuse("look-behind is not supported");
    if (looking_at(U"(?>")) refuse("atomic groups are not supported");
    if (looking_at(U"(?P=")) refuse("back references are not supported");
    const std::size_t begin = at_;
    ++at_;
    if (take('?')) {
      if (take('<') || (looking_at(U"P<") && (at_ += 2) != 0)) {
        while (at_ < text_.size() && !has('>')) ++at_;
        if (!take('>')) fail("the name of a group does not end");
      } else if (!take(':')) {
        refuse("flags within the pattern are not supported");
      }
    }
    SyntaxNode node = alternation(depth + 1);
    if (!take(')')) {
      at_ = begin;
      fail("'(' without ')'");
    }
    // A sequence around it keeps a group one thing to the quantifier behind it.
    SyntaxNode whole;
    whole.children.push_back(std::move(node));
    return whole;
  }

  std::uint32_t hexadecimal(int num_digits) {
    const auto value = take_hexadecimal(num_digits);
    if (!value) fail("an escape lacks hexadecimal digits");
    return *value;
  }

  /// What a backslash begins; the set of one character or of a class.
  CodePointSet escape(bool is_in_bracket) {
    ++at_;
    if (at_ >= text_.size()) fail("the pattern ends in a backslash");
    const char32_t c = text_[at_];
    if (c == 'b' && is_in_bracket) {
      ++at_;
      return CodePointSet::of('\b');
    }
    if (c == 'b' || c == 'B') refuse("word boundaries are not supported");
    if (c == 'k' || (c >= '1' && c <= '9')) refuse("back references are not supported");
    if (c == 'A' || c == 'Z' || c == 'z') refuse("the anchors \\A, \\Z and \\z are not supported (use ^ and $)");
    if (c == 'p' || c == 'P') refuse("Unicode properties (\\p) are not supported");
    ++at_;
    switch (c) {
      case 'd': return digits();
      case 'D': return digits().complement();
      case 'w': return word_characters();
      case 'W': return word_characters().complement();
      case 's': return spaces();
      case 'S': return spaces().complement();
      case 'n': return CodePointSet::of('\n');
      case 'r': return CodePointSet::of('\r');
      case 't': return CodePointSet::of('\t');
      case 'f': return CodePointSet::of('\f');
      case 'v': return CodePointSet::of('\v');
      case '0': return CodePointSet::of(0);
      case 'c': {
        const char32_t letter = at_ < text_.size() ? text_[at_] : 0;
        if (!((letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z'))) fail("\\c needs a letter");
        ++at_;
        return CodePointSet::of(letter % 32);
      }
      case 'x': return CodePointSet::of(hexadecimal(2));
      case 'u': {
        std::uint32_t value = 0;
        if (take('{')) {
          while (at_ < text_.size() && !has('}')) {
            value = value * 16 + hexadecimal(1);
            if (value > 0x10FFFF) fail("an escape is past the last character");
          }
          if (!take('}')) fail("an escape does not end");
        } else {
          value = hexadecimal(4);
          if (value >= 0xD800 && value < 0xDC00 && looking_at(U"\\u")) {
            at_ += 2;
            const std::uint32_t low = hexadecimal(4);
            if (low < 0xDC00 || low > 0xDFFF) fail("a surrogate is alone");
            value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
          }
        }
        if (value >= 0xD800 && value <= 0xDFFF) fail("a surrogate is alone");
        return CodePointSet::of(value);
      }
      default:
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
          --at_;
          fail("the escape '\\" + utf8_of(std::u32string(1, c)) + "' is not known");
        }
        return CodePointSet::of(c);
    }
  }

  CodePointSet bracket() {
    const std::size_t begin = at_;
    ++at_;
    const bool is_negated = take('^');
    CodePointSet set;
    while (!has(']')) {
      if (at_ >= text_.size()) {
        at_ = begin;
        fail("'[' without ']'");
      }
      const CodePointSet first = bracket_member();
      const bool is_range = has('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']';
      if (!is_range) {
        set.add(first);
        continue;
      }
      ++at_;
      const CodePointSet last = bracket_member();
      const auto single = [](const CodePointSet& s) {
        return s.ranges().size() == 1 && s.ranges()[0].first == s.ranges()[0].last;
      };
      if (!single(first) || !single(last)) fail("a range ends in a class");
      if (last.ranges()[0].first < first.ranges()[0].first) fail("a range is in the wrong order");
      set.add(first.ranges()[0].first, last.ranges()[0].first);
    }
    ++at_;
    return is_negated ? set.complement() : set;
  }

  CodePointSet bracket_member() {
    if (has('\\')) return escape(true);
    if (looking_at(U"[:")) refuse("POSIX classes are not supported");
    return CodePointSet::of(text_[at_++]);
  }
};

}  // namespace

SyntaxNode parse_regex(std::string_view pattern) { return RegexParser(pattern).parse(); }

GrammarDraft draft_of_regex(std::string_view pattern, const Limits& limits) {
  GrammarDraft draft(limits);
  draft.root = draft.add_rule("pattern");
  const SyntaxNode node = anchored(parse_regex(pattern), false);
  Nfa& nfa = draft.begin_rule(draft.root);
  SyntaxEmitter emitter(*draft.limits, &draft, Spelling::kUtf8);
  const std::int32_t end = emitter.append(nfa, draft.rules[draft.root].start, node);
  draft.rules[draft.root].end = end;
  return draft;
}

}  // namespace pajamas::grammar
