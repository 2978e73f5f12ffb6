// Structured output over published vocabularies (installed by script, else skipped): masks of real states against
// trying every token, and real outputs accepted as the tokenizer cuts them.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "support/grammar_vocabulary.h"
#include "text/tokenizer.h"

namespace pajamas {
namespace {

const char* const kSchema =
    R"({"type":"object","properties":{"name":{"type":"string"},"note":{"type":"string","maxLength":30},
    "count":{"type":"integer","minimum":0,"maximum":5000},"parts":{"type":"array","items":{"type":"object","properties":
    {"id":{"type":"string","pattern":"^[A-Z]{2}-[0-9]{1,8}$"},"ok":{"type":"boolean"}},"required":["id"]}}},
    "required":["name","parts"],"additionalProperties":{"type":"number"}})";
const char* const kOutputs[] = {
    R"({"name": "Llama in pajamas", "note": "two of them", "count": 42, "parts": [{"id": "AB-1234", "ok": true},{"id": "ZZ-0"}], "weight of it": -1.5e3})",
    "{\n  \"name\": \"\xE5\xB1\xB1\xE7\x94\xB0 \\\"\xC3\xA9t\xC3\xA9\\\" \xF0\x9F\xA6\x99\\u00e9\\n\",\n  \"parts\": "
    "[\n    {\n      \"id\": "
    "\"QX-99999999\",\n      \"ok\": false\n    }\n  ]\n}"};

class GrammarVocabularyTest : public testing::TestWithParam<const char*> {};

TEST_P(GrammarVocabularyTest, MasksEqualTryingEveryToken) {
  const std::filesystem::path path =
      std::filesystem::path(PAJAMAS_DEPS_DIR) / "packages/llama-cpp-python/vendor" / "llama.cpp/models" / GetParam();
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not installed (tools/fetch_dependencies)";
  const Tokenizer tokenizer = Tokenizer::read(path);
  std::vector<std::string_view> bytes;
  std::vector<std::int64_t> special;
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    bytes.push_back(tokenizer.token_bytes(id));
    if (tokenizer.is_special(id)) special.push_back(id);
  }
  ASSERT_TRUE(tokenizer.eos_id().has_value());
  const std::int64_t end = *tokenizer.eos_id();
  const TokenVocabulary vocabulary(bytes, std::span(&end, 1), special);
  EncodeOptions plain;
  plain.add_special_tokens = false;
  int num_checked = 0;
  for (const bool is_any : {false, true}) {
    const TokenGrammar grammar =
        is_any ? TokenGrammar::any_json(vocabulary) : TokenGrammar::from_json_schema(kSchema, vocabulary);
    for (const char* const output : kOutputs) {
      GrammarState state(grammar);
      std::string text;
      int step = 0;
      for (const std::int32_t id : tokenizer.encode(output, plain)) {
        // SentencePiece puts a space before a text, which no JSON begins with.
        std::string_view piece = vocabulary.token_bytes(id);
        if (step == 0 && !piece.empty() && piece[0] == ' ') {
          piece.remove_prefix(1);
          ASSERT_TRUE(state.accept_bytes(piece));
          text += piece;
          ++step;
          continue;
        }
        const std::vector<std::int64_t> allowed = test::allowed_tokens(state, vocabulary);
        ASSERT_TRUE(std::binary_search(allowed.begin(), allowed.end(), id)) << "'" << piece << "' after: " << text;
        if (step++ % 9 == 4) {  // Trying all tokens takes long.
          std::vector<std::int64_t> tried;
          for (std::int64_t other = 0; other < vocabulary.vocab_size(); ++other) {
            GrammarState copy = state;
            if (copy.accept(other)) tried.push_back(other);
          }
          ASSERT_EQ(allowed, tried) << "after: " << text;
          ++num_checked;
        }
        ASSERT_TRUE(state.accept(id));
        text += piece;
      }
      EXPECT_EQ(text, output);
      EXPECT_TRUE(state.is_complete());
      EXPECT_TRUE(state.accept(end));
    }
  }
  EXPECT_GE(num_checked, 10);
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, GrammarVocabularyTest,
                         testing::Values("ggml-vocab-qwen2.gguf", "ggml-vocab-llama-spm.gguf",
                                         "ggml-vocab-llama-bpe.gguf"));

}  // namespace
}  // namespace pajamas
