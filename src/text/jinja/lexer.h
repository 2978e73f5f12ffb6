// Template source to tokens, under the settings transformers uses (trim_blocks, lstrip_blocks, the last newline of the
// source dropped). White space between tags is settled here: the parser sees only what is written out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace pajamas::jinja {

enum class TokenKind {
  kData,           ///< Text between tags; `text` holds it.
  kVariableBegin,  ///< {{
  kVariableEnd,
  kBlockBegin,  ///< {%
  kBlockEnd,
  kName,
  kString,    ///< `text` holds it without quotes, escapes resolved.
  kNumber,    ///< `number` holds it, an int or a float.
  kOperator,  ///< `text` holds it.
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  int line = 1;
  std::string text;
  Value number;
};

/// Throws Failure with the line. `source` is valid UTF-8. The last token is kEnd.
std::vector<Token> tokens_of(std::string_view source);

}  // namespace pajamas::jinja
