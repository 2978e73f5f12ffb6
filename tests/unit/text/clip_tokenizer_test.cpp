// Tests of text/clip_tokenizer.h against transformers' CLIPTokenizer: texts of many scripts, emoji, contractions, code
// and damaged UTF-8, made by tools/goldens/make_hf_goldens.py; and of truncation, padding and files that are not in
// order.
#include "text/clip_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "base/files.h"
#include "base/json_reader.h"
#include "pajamas/error.h"
#include "support/temporary_folder.h"
#include "text/unicode.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

fs::path data_folder() { return fs::path(PAJAMAS_TEST_DATA) / "huggingface"; }

ClipTokenizer make_tokenizer() {
  return {data_folder() / "clip" / "vocab.json", data_folder() / "clip" / "merges.txt"};
}

std::string bytes_of_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

TEST(ClipTokenizer, EqualsTransformers) {
  const auto tokenizer = make_tokenizer();
  const auto path = data_folder() / "tokenizer.json";
  const auto json = parse_json(read_file(path), path.string());
  ASSERT_GT(json.size(), 100u);
  for (const auto& item : json) {
    const bool is_hex = item.contains("hex");
    const std::string text = is_hex ? bytes_of_hex(item["hex"]) : item["text"].get<std::string>();
    EXPECT_EQ(tokenizer.encode(text, 77), item["ids"].get<std::vector<std::int64_t>>()) << item.dump();
  }
}

TEST(ClipTokenizer, CutsTheTextAndKeepsTheEnd) {
  const auto tokenizer = make_tokenizer();
  const auto whole = tokenizer.encode("a photo of a cat", 77);
  ASSERT_GT(whole.size(), 4u);
  EXPECT_EQ(whole.front(), tokenizer.start_of_text_id());
  for (std::int64_t limit = 2; limit <= static_cast<std::int64_t>(whole.size()); ++limit) {
    const auto ids = tokenizer.encode("a photo of a cat", limit);
    ASSERT_EQ(static_cast<std::int64_t>(ids.size()), limit);
    EXPECT_EQ(ids.back(), tokenizer.end_of_text_id());
    EXPECT_TRUE(std::equal(ids.begin(), ids.end() - 1, whole.begin()));
  }
  EXPECT_THROW(tokenizer.encode("a", 1), Error);
}

TEST(ClipTokenizer, Pads) {
  const auto tokenizer = make_tokenizer();
  const auto ids = tokenizer.encode_padded("a cat", 12, 7);
  const auto bare = tokenizer.encode("a cat", 12);
  ASSERT_EQ(ids.size(), 12u);
  EXPECT_TRUE(std::equal(bare.begin(), bare.end(), ids.begin()));
  EXPECT_EQ(std::count(ids.begin() + static_cast<std::ptrdiff_t>(bare.size()), ids.end(), 7),
            static_cast<std::ptrdiff_t>(12 - bare.size()));
}

TEST(ClipTokenizer, LongWordsTakeNoQuadraticTime) {
  const auto tokenizer = make_tokenizer();
  EXPECT_EQ(tokenizer.encode(std::string(1'000'000, 'a'), 77).size(), 77u);
  EXPECT_EQ(tokenizer.encode(std::string(1'000'000, '<'), 77).size(), 77u);
}

TEST(ClipTokenizer, NamesTheFileThatIsNotInOrder) {
  const test::TemporaryFolder temporary;
  const fs::path folder = temporary.path();
  const auto expect_refused = [&](const std::string& vocab, const std::string& merges, const std::string& message) {
    write_file(folder / "vocab.json", std::string_view(vocab));
    write_file(folder / "merges.txt", std::string_view(merges));
    try {
      ClipTokenizer(folder / "vocab.json", folder / "merges.txt");
      ADD_FAILURE() << "accepted: " << vocab;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
      EXPECT_THAT(error.what(), HasSubstr(message));
    }
  };
  const std::string good = R"({"a": 0, "b</w>": 1, "ab</w>": 2, "<|startoftext|>": 3, "<|endoftext|>": 4})";
  expect_refused("{", "", "vocab.json");
  expect_refused("[]", "", "vocab.json");
  expect_refused(R"({"a": "b"})", "", "vocab.json");
  expect_refused(R"({"a": 0, "b": 0})", "", "another token");
  expect_refused(R"({"a": -1})", "", "vocab.json");
  expect_refused(R"({"a": 0})", "", "<|startoftext|>");
  expect_refused(good, "#version: 0.2\na b</w> c\n", "line 2");
  expect_refused(good, "#version: 0.2\na\n", "line 2");
  expect_refused(good, "b</w> a\n", "does not have");
  write_file(folder / "merges.txt", std::string_view("a b</w>\r\n"));
  write_file(folder / "vocab.json", std::string_view(good));
  EXPECT_THAT(ClipTokenizer(folder / "vocab.json", folder / "merges.txt").encode("AB", 9),
              testing::ElementsAre(3, 2, 4));
  fs::remove(folder / "vocab.json");
  EXPECT_THROW(ClipTokenizer(folder / "vocab.json", folder / "merges.txt"), Error);
}

/// The tokenizer of the goldens as one tokenizer.json, laid out as the tokenizers library 0.23 writes it; before 0.20
/// it wrote each merge as one text. The special tokens may stand in added_tokens alone.
nlohmann::json make_tokenizer_json(bool has_merges_as_pairs, bool has_specials_in_vocab) {
  const fs::path folder = data_folder() / "clip";
  nlohmann::json vocab = nlohmann::json::parse(read_file(folder / "vocab.json"));
  nlohmann::json added = nlohmann::json::array();
  for (const char* token : {ClipTokenizer::kStartOfText, ClipTokenizer::kEndOfText}) {
    added.push_back({{"id", vocab.at(token)}, {"content", token}, {"special", true}});
    if (!has_specials_in_vocab) vocab.erase(token);
  }
  nlohmann::json merges = nlohmann::json::array();
  std::istringstream lines(read_file(folder / "merges.txt"));
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.starts_with("#version")) continue;
    const std::size_t space = line.find(' ');
    if (has_merges_as_pairs) {
      merges.push_back({line.substr(0, space), line.substr(space + 1)});
    } else {
      merges.push_back(line);
    }
  }
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"model", {{"type", "BPE"}, {"end_of_word_suffix", "</w>"}, {"vocab", vocab}, {"merges", merges}}}};
}

TEST(ClipTokenizer, ReadsOneTokenizerJson) {
  const test::TemporaryFolder temporary;
  const fs::path file = temporary.path() / "tokenizer.json";
  const auto path = data_folder() / "tokenizer.json";
  const auto goldens = parse_json(read_file(path), path.string());
  for (const bool has_merges_as_pairs : {false, true}) {
    for (const bool has_specials_in_vocab : {false, true}) {
      write_file(file, std::string_view(make_tokenizer_json(has_merges_as_pairs, has_specials_in_vocab).dump()));
      const ClipTokenizer tokenizer(file, file);
      EXPECT_EQ(tokenizer.vocab_size(), make_tokenizer().vocab_size());
      for (const auto& item : goldens) {
        if (!item.contains("text")) continue;
        EXPECT_EQ(tokenizer.encode(item["text"].get<std::string>(), 77), item["ids"].get<std::vector<std::int64_t>>())
            << item.dump();
      }
    }
  }
}

TEST(ClipTokenizer, NamesThePlaceInTokenizerJsonThatIsNotInOrder) {
  const test::TemporaryFolder temporary;
  const fs::path file = temporary.path() / "tokenizer.json";
  const auto expect_refused = [&](const char* pointer, const nlohmann::json& value, const std::string& message) {
    nlohmann::json json = make_tokenizer_json(true, true);
    json[nlohmann::json::json_pointer(pointer)] = value;
    write_file(file, std::string_view(json.dump()));
    try {
      ClipTokenizer(file, file);
      ADD_FAILURE() << "accepted: " << pointer << " " << value;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
      EXPECT_THAT(error.what(), HasSubstr(message));
      EXPECT_THAT(error.what(), HasSubstr("tokenizer.json"));
    }
  };
  expect_refused("/model", nlohmann::json::object(), "vocab");
  expect_refused("/model/vocab", nlohmann::json::array(), "model.vocab");
  expect_refused("/model/merges", "t h", "model.merges");
  expect_refused("/model/merges/1", "t", "model.merges[1]");
  expect_refused("/model/merges/1", "t h e", "model.merges[1]");
  expect_refused("/model/merges/1", " h", "model.merges[1]");
  expect_refused("/model/merges/1", {"t", "h", "e"}, "model.merges[1]");
  expect_refused("/model/merges/1", {"t", 7}, "model.merges[1]");
  expect_refused("/model/merges/1", {"t", "no such token"}, "model.merges[1]");
  expect_refused("/model/merges/1", 5, "model.merges[1]");
  expect_refused("/added_tokens/0/id", 3, "added_tokens[0]");
  expect_refused("/added_tokens/0/content", "<|new|>", "added_tokens[0]");  // its id is another token's
  expect_refused("/added_tokens/0/id", -1, "added_tokens[0].id");
}

TEST(Unicode, DecodesComposesAndLowers) {
  EXPECT_EQ(code_points_of("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"), U"a\u00e9\u20ac\U0001F600");
  EXPECT_EQ(code_points_of("\xFF\xC3"), U"\uFFFD\uFFFD");
  EXPECT_EQ(utf8_of(U"\u00e9\U0001F600"), "\xC3\xA9\xF0\x9F\x98\x80");
  EXPECT_EQ(composed(U"e\u0301\U0001F600"), U"\u00e9\U0001F600");
  EXPECT_EQ(lower_case(U"A\u0130\u03A3"), U"ai\u0307\u03C3");
  EXPECT_TRUE(is_letter(U'\u4E00'));
  EXPECT_TRUE(is_number(U'\u00BD'));
  EXPECT_TRUE(is_whitespace(U'\u3000'));
  EXPECT_FALSE(is_whitespace(U'\u200B'));
}

}  // namespace
}  // namespace pajamas
