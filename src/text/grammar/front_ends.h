// The three ways to write a language, each turned into a draft of rules. They share the syntax tree of
// text/grammar/syntax.h; what each accepts is written in docs/language-structured-output.md.
#pragma once

#include <string_view>

#include "text/grammar/rules.h"
#include "text/token_grammar.h"

namespace pajamas::grammar {

struct SchemaStyle {
  JsonWhitespace whitespace = JsonWhitespace::kCompact;
  int max_whitespace = 0;  ///< As in GrammarOptions.
  bool is_open_by_default = false;
};

/// All throw as TokenGrammar says, without the context of the front end's name.
GrammarDraft draft_of_json_schema(std::string_view schema_json, const SchemaStyle& style, const Limits& limits);
GrammarDraft draft_of_regex(std::string_view pattern, const Limits& limits);
GrammarDraft draft_of_ebnf(std::string_view text, const Limits& limits);

}  // namespace pajamas::grammar
