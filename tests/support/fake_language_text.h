// The text side of the fake language model: a vocabulary of 64 pieces, some of them parts of a UTF-8 character or of a
// stop text, with a chat template and grammars over them.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pajamas/error.h"
#include "tasks/generation/language_text.h"

namespace pajamas::test {

class FakeText : public LanguageText {
 public:
  static constexpr std::int32_t kBegin = 0;  ///< Special: begins a text.
  static constexpr std::int32_t kEnd = 1;    ///< Special: ends an answer.
  static constexpr std::int32_t kVocabSize = 64;

  /// 2-27 "a" to "z", 28-53 "A" to "Z", 54-60 digits and signs, 61-63 the bytes of a euro sign, each by itself.
  static std::string piece(std::int32_t token) {
    static const std::string kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01{}:\",\xE2\x82\xAC";
    return token < 2 || token >= kVocabSize ? std::string() : kLetters.substr(static_cast<std::size_t>(token - 2), 1);
  }

  std::vector<std::int32_t> encode(std::string_view text, bool has_special_tokens) const override {
    std::vector<std::int32_t> tokens;
    if (has_special_tokens) tokens.push_back(kBegin);
    for (const char c : text) {
      for (std::int32_t token = 2; token < kVocabSize; ++token) {
        if (piece(token)[0] != c) continue;
        tokens.push_back(token);
        break;
      }
    }
    return tokens;
  }
  std::vector<std::int32_t> encode_chat(std::string_view rendered) const override { return encode(rendered, false); }
  std::string decode(std::span<const std::int32_t> tokens) const override {
    std::string text;
    for (const std::int32_t token : tokens) text += piece(token);
    return text;
  }
  std::unique_ptr<TextStream> new_stream() const override { return std::make_unique<Stream>(); }
  bool has_chat_template() const override { return true; }
  std::string render_chat(const GenerationRequest& request) const override {
    std::string text;
    for (const ChatMessage& message : request.messages) text += "{" + message.role + ":" + message.content + "}";
    return text + "{";
  }
  TokenGrammar compile_grammar(const OutputGrammar& grammar) const override {
    std::vector<std::string> pieces;
    for (std::int32_t token = 0; token < kVocabSize; ++token) pieces.push_back(piece(token));
    const std::vector<std::string_view> views(pieces.begin(), pieces.end());
    const std::vector<std::int64_t> end{kEnd};
    const std::vector<std::int64_t> special{kBegin, kEnd};
    const TokenVocabulary vocabulary(views, end, special);
    if (grammar.kind == OutputGrammar::Kind::kRegex) return TokenGrammar::from_regex(grammar.text, vocabulary);
    if (grammar.kind == OutputGrammar::Kind::kJsonSchema) {
      return TokenGrammar::from_json_schema(grammar.text, vocabulary);
    }
    throw Error(ErrorKind::kUnsupported, "the fake knows expressions and schemas");
  }

 private:
  class Stream : public TextStream {
   public:
    std::string push(std::int32_t token) override {
      held_ += piece(token);
      // The euro sign, whole; any other order of its bytes is no text.
      if (held_.empty() || (held_[0] & '\x80') == 0) return std::exchange(held_, {});
      const std::string euro = "\xE2\x82\xAC";
      if (held_ == euro) return std::exchange(held_, {});
      if (euro.compare(0, held_.size(), held_) == 0) return {};
      std::string text;
      for (const char c : std::exchange(held_, {}))
        text += (c & '\x80') != 0 ? std::string("\xEF\xBF\xBD") : std::string(1, c);
      return text;
    }
    std::string finish() override {
      return std::exchange(held_, {}).empty() ? std::string() : std::string("\xEF\xBF\xBD");
    }

   private:
    std::string held_;
  };
};

}  // namespace pajamas::test
