// The syntax tree that regular expressions and grammars are parsed to, and its way into automata.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/grammar/automaton.h"
#include "text/grammar/rules.h"

namespace pajamas::grammar {

struct SyntaxNode {
  enum class Kind {
    kClass,        ///< One character of `set`.
    kSequence,     ///< `children` one after another; none is the empty text.
    kAlternation,  ///< One of `children`.
    kRepetition,   ///< children[0], min_count to max_count times.
    kRule,         ///< Rule number `rule`.
    kTextStart,    ///< ^
    kTextEnd,      ///< $
  };
  Kind kind = Kind::kSequence;
  CodePointSet set;
  std::vector<SyntaxNode> children;
  std::uint32_t min_count = 1;
  std::uint32_t max_count = 1;
  std::int32_t rule = -1;
  std::size_t position = 0;  ///< Where in the text it was written, for messages.
};

SyntaxNode class_node(CodePointSet set);
/// One class a character; `text` is UTF-8 (Error{kBadInput} where it is not).
SyntaxNode text_node(std::string_view text);
SyntaxNode repetition_node(SyntaxNode child, std::uint32_t min_count, std::uint32_t max_count);

/// Parses ECMA 262 syntax. Throws Error{kBadInput} and, for what is not regular or not supported, Error{kUnsupported},
/// both naming the place as "position N".
SyntaxNode parse_regex(std::string_view pattern);
/// Takes ^ and $ away: those at the ends of the whole text say that nothing comes before or after. With `is_search`
/// anything may come before and after where they are absent (JSON schema's `pattern`), else nothing may.
/// Throws Error{kUnsupported} for anchors inside.
SyntaxNode anchored(SyntaxNode node, bool is_search);

/// Writes trees into automata.
class SyntaxEmitter {
 public:
  /// `draft` takes counted rules for repetitions too long to write out; null: all are written out.
  SyntaxEmitter(const Limits& limits, GrammarDraft* draft, Spelling spelling)
      : limits_(limits), draft_(draft), spelling_(spelling) {}

  /// Appends the tree behind `from` and returns the state after it.
  std::int32_t append(Nfa& nfa, std::int32_t from, const SyntaxNode& node);
  /// The minimised automaton of a tree without rules, all repetitions written out.
  Dfa dfa_of(const SyntaxNode& node);

 private:
  std::int32_t append_repetition(Nfa& nfa, std::int32_t from, const SyntaxNode& node);
  /// A counted rule for the repetition, or -1 where it has to be written out.
  std::int32_t counted_rule(const SyntaxNode& node);

  const Limits& limits_;
  GrammarDraft* draft_;
  Spelling spelling_;
};

}  // namespace pajamas::grammar
