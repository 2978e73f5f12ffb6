// Tokenizers against their originals: tiny ones of every kind that Hugging Face's tokenizers and SentencePiece trained
// (tests/data/tokenizers, made by tools/goldens/make_tokenizer_goldens.py), and llama.cpp's vocabularies with the ids
// it carries for them (.deps, from dependencies.lock).
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/files.h"
#include "text/tokenizer.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;
const fs::path kData = fs::path(PAJAMAS_TEST_DATA) / "tokenizers";
const fs::path kVocabularies = fs::path(PAJAMAS_DEPS_DIR) / "packages/llama-cpp-python/vendor/llama.cpp/models";

const nlohmann::json& goldens() {
  static const nlohmann::json json = nlohmann::json::parse(read_file(kData / "goldens.json"));
  return json;
}

Tokenizer in_bundle_form(const Tokenizer& tokenizer) {
  const std::string form = tokenizer.bundle_form();
  return Tokenizer::parse({reinterpret_cast<const std::byte*>(form.data()), form.size()}, "bundle form");
}

/// Decoding differs by design where bytes are no UTF-8: Hugging Face's byte fallback then gives up on whole runs.
bool has_replacement(const std::string& text) { return text.find("\xEF\xBF\xBD") != std::string::npos; }

class TinyTokenizer : public testing::TestWithParam<std::string> {};

TEST_P(TinyTokenizer, GivesTheIdsAndTextsOfItsOriginal) {
  const nlohmann::json& cases = goldens()["kinds"][GetParam()];
  const nlohmann::json& texts = goldens()["texts"];
  ASSERT_EQ(cases.size(), texts.size());
  const bool is_sentencepiece = GetParam().ends_with(".model");
  // SentencePiece itself neither adds special tokens nor finds them in a text.
  const EncodeOptions options{.add_special_tokens = !is_sentencepiece, .parse_special_tokens = !is_sentencepiece};
  const Tokenizer original = Tokenizer::read(kData / GetParam());
  for (const Tokenizer& tokenizer : {original, in_bundle_form(original)}) {
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const auto text = texts[i].get<std::string>();
      const auto expected = cases[i]["ids"].get<std::vector<std::int32_t>>();
      const std::vector<std::int32_t> ids = tokenizer.encode(text, options);
      EXPECT_EQ(ids, expected) << "text " << i << ": " << nlohmann::json(text).dump(-1, ' ', true);
      if (is_sentencepiece) continue;
      const std::string plain = cases[i].value("without_special", text);
      const std::string decoded = cases[i].value("decoded", plain);
      if (!has_replacement(decoded)) {
        EXPECT_EQ(tokenizer.decode(expected), decoded) << i;
      }
      if (!has_replacement(plain)) {
        EXPECT_EQ(tokenizer.decode(expected, {.skip_special = true}), plain) << i;
      }
    }
  }
}

std::vector<std::string> tiny_tokenizers() {
  std::vector<std::string> names;
  for (const auto& [name, cases] : goldens()["kinds"].items()) names.push_back(name);
  return names;
}
std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name;
  for (const char c : info.param) name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}
INSTANTIATE_TEST_SUITE_P(Kinds, TinyTokenizer, testing::ValuesIn(tiny_tokenizers()), test_name);

/// The texts of an .inp file, which a marker line separates, and the ids of the .out file, a line each.
std::vector<std::string> read_inputs(const fs::path& path) {
  const std::string all = read_file(path), marker = "\n__ggml_vocab_test__\n";
  std::vector<std::string> texts;
  std::size_t begin = 0;
  for (std::size_t end = all.find(marker); end != std::string::npos; end = all.find(marker, begin)) {
    texts.push_back(all.substr(begin, end - begin));
    begin = end + marker.size();
  }
  // Some files end with a marker and some with a text.
  if (begin < all.size()) texts.push_back(all.substr(begin));
  return texts;
}

std::vector<std::vector<std::int32_t>> read_outputs(const fs::path& path) {
  std::istringstream lines(read_file(path));
  std::vector<std::vector<std::int32_t>> outputs;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream numbers(line);
    outputs.emplace_back(std::istream_iterator<std::int32_t>(numbers), std::istream_iterator<std::int32_t>());
  }
  return outputs;
}

class PublishedVocabulary : public testing::TestWithParam<std::string> {};

TEST_P(PublishedVocabulary, GivesTheIdsThatLlamaCppCarries) {
  const fs::path file = kVocabularies / ("ggml-vocab-" + GetParam() + ".gguf");
  if (!fs::exists(file)) GTEST_SKIP() << file << " is missing: run ./dev setup";
  const std::vector<std::string> texts = read_inputs(file.string() + ".inp");
  const std::vector<std::vector<std::int32_t>> outputs = read_outputs(file.string() + ".out");
  ASSERT_GT(texts.size(), 20U);
  ASSERT_EQ(texts.size(), outputs.size());
  const Tokenizer original = Tokenizer::read(file);
  for (const Tokenizer& tokenizer : {original, in_bundle_form(original)}) {
    for (std::size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(tokenizer.encode(texts[i], {.add_special_tokens = false}), outputs[i])
          << "text " << i << ": " << nlohmann::json(texts[i]).dump(-1, ' ', true);
    }
  }
  // Bytes of tokens in the middle of a text, joined, are that text.
  for (std::int32_t id = 0; id < original.vocab_size(); ++id) {
    if (original.piece(id).empty()) continue;
    ASSERT_EQ(original.find_token(original.piece(id)), id);
  }
}

INSTANTIATE_TEST_SUITE_P(LlamaCpp, PublishedVocabulary,
                         testing::Values("bert-bge", "command-r", "deepseek-coder", "deepseek-llm", "falcon", "gemma-4",
                                         "gpt-2", "llama-bpe", "llama-spm", "mpt", "phi-3", "qwen2", "qwen35", "refact",
                                         "starcoder"),
                         test_name);

}  // namespace
}  // namespace pajamas
