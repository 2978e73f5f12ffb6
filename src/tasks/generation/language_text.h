// LanguageText: the text side of a language model, as the generator sees it: tokens of a text, text of tokens, the chat
// template, grammars. BundleText is the one over a bundle's files; tests have their own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pajamas/generation.h"
#include "text/token_grammar.h"

namespace pajamas {

/// The text of one answer's tokens as they come. One thread at a time.
class TextStream {
 public:
  virtual ~TextStream() = default;
  /// What is certain once `token` is known: whole UTF-8 characters, maybe none.
  virtual std::string push(std::int32_t token) = 0;
  /// The rest.
  virtual std::string finish() = 0;
};

/// Immutable to its user; any thread.
class LanguageText {
 public:
  virtual ~LanguageText() = default;
  /// `has_special_tokens`: the tokenizer's own tokens around the text; special tokens written out in the text are then
  /// read as such.
  virtual std::vector<std::int32_t> encode(std::string_view text, bool has_special_tokens) const = 0;
  /// Tokens of a rendered conversation: special tokens are read, none are added (the template wrote them).
  virtual std::vector<std::int32_t> encode_chat(std::string_view rendered) const = 0;
  virtual std::string decode(std::span<const std::int32_t> tokens) const = 0;
  /// Special tokens write nothing, nor do ids past the tokenizer's vocabulary (padding of the output layer).
  virtual std::unique_ptr<TextStream> new_stream() const = 0;
  virtual bool has_chat_template() const = 0;
  /// Throws Error{kUnsupported} without a template, Error{kUsage} or Error{kBadInput} for JSON that is none, and what
  /// the template raises.
  virtual std::string render_chat(const GenerationRequest& request) const = 0;
  /// Throws as TokenGrammar does. `grammar` is not kNone.
  virtual TokenGrammar compile_grammar(const OutputGrammar& grammar) const = 0;
};

}  // namespace pajamas
