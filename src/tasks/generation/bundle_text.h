// BundleText: tokenizer, chat template and grammars of a language model's bundle. See language_text.h.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bundle/bundle.h"
#include "bundle/task_facts.h"
#include "tasks/generation/language_text.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace pajamas {

class BundleText : public LanguageText {
 public:
  /// `chat_template` absent: the model has none.
  BundleText(const GenerationFacts& facts, Tokenizer tokenizer, std::optional<ChatTemplate> chat_template);
  /// From the files that the facts name. Throws Error{kBadInput} or Error{kUnsupported} naming the file.
  static std::shared_ptr<const BundleText> open(const Bundle& bundle, const GenerationFacts& facts);

  std::vector<std::int32_t> encode(std::string_view text, bool has_special_tokens) const override;
  std::vector<std::int32_t> encode_chat(std::string_view rendered) const override;
  std::string decode(std::span<const std::int32_t> tokens) const override;
  std::unique_ptr<TextStream> new_stream() const override;
  bool has_chat_template() const override { return chat_template_.has_value(); }
  std::string render_chat(const GenerationRequest& request) const override;
  TokenGrammar compile_grammar(const OutputGrammar& grammar) const override;

 private:
  const TokenVocabulary& vocabulary() const;

  std::vector<std::int64_t> stop_token_ids_;
  std::int64_t vocab_size_;
  Tokenizer tokenizer_;
  std::optional<ChatTemplate> chat_template_;

  mutable std::mutex mutex_;  // of what follows: made when first wanted, by whichever thread
  mutable std::optional<TokenVocabulary> vocabulary_;
  /// Compiled lately, youngest first: requests of one service repeat their schemas.
  mutable std::list<std::pair<OutputGrammar, TokenGrammar>> grammars_;
};

}  // namespace pajamas
