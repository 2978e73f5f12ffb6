// Tokenizers under bad input, long texts, streams and threads. What ids texts have is tokenizer_goldens_test.cpp's.
#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "base/files.h"
#include "pajamas/error.h"
#include "support/cpu_time.h"
#include "support/temporary_folder.h"
#include "text/tokenizer/definition.h"
#include "text/tokenizer/gguf_vocabulary.h"
#include "text/tokenizer/regex.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
const fs::path kData = fs::path(PAJAMAS_TEST_DATA) / "tokenizers";

std::span<const std::byte> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
Tokenizer parse(const std::string& text) { return Tokenizer::parse(bytes_of(text), "tokenizer.json"); }
Tokenizer parse(const json& document) { return parse(document.dump()); }
json tiny(const std::string& name) { return json::parse(read_file(kData / (name + ".json"))); }

template <typename Function>
void expect_error(const Function& function, ErrorKind kind, const std::string& message) {
  try {
    function();
    FAIL() << "no error; expected: " << message;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(message));
  }
}

TEST(TokenizerJson, NamesWhatItDoesNotKnow) {
  const std::vector<std::pair<std::string, json>> parts{
      {"normalizer", {{"type", "Sequence"}, {"normalizers", json::array({{{"type", "Rot13"}}})}}},
      {"pre_tokenizer", {{"type", "Rot13"}}},
      {"post_processor", {{"type", "Rot13"}}},
      {"decoder", {{"type", "Rot13"}}},
      {"model", {{"type", "Rot13"}, {"vocab", json::object()}}}};
  for (const auto& [key, part] : parts) {
    json document = tiny("gpt2");
    document[key] = part;
    expect_error([&] { parse(document); }, ErrorKind::kUnsupported, "Rot13");
  }
  json dropout = tiny("gpt2");
  dropout["model"]["dropout"] = 0.1;
  expect_error([&] { parse(dropout); }, ErrorKind::kUnsupported, "dropout");
}

TEST(TokenizerJson, RefusesWhatContradictsItself) {
  const auto with = [](const std::function<void(json&)>& change) {
    json document = tiny("gpt2");
    change(document);
    return document;
  };
  const auto refuse = [&](const std::function<void(json&)>& change, const std::string& message) {
    expect_error([&] { parse(with(change)); }, ErrorKind::kBadInput, message);
  };
  refuse([](json& d) { d["model"]["vocab"]["zzz"] = 5; }, "same id 5");
  refuse([](json& d) { d["model"]["vocab"]["zzz"] = -1; }, "id that is none");
  refuse([](json& d) { d["model"]["vocab"]["zzz"] = 1LL << 40; }, "id that is none");
  refuse([](json& d) { d["model"]["vocab"]["zzz"] = 1.5; }, "id that is none");
  refuse([](json& d) { d["model"]["vocab"] = json::array(); }, "should be an object");
  refuse([](json& d) { d["model"]["merges"].push_back("q zq"); }, "does not have");
  refuse([](json& d) { d["model"]["merges"].push_back("abc"); }, "no pair");
  refuse([](json& d) { d["model"]["merges"].push_back({"a", "b", "c"}); }, "no pair");
  refuse([](json& d) { d["model"]["merges"] = 3; }, "should be an array");
  refuse([](json& d) { d["model"]["unk_token"] = "nowhere"; }, "nowhere");
  refuse([](json& d) { d["added_tokens"][0]["id"] = 100; }, "id 100");
  refuse([](json& d) { d["added_tokens"][0]["id"] = "x"; }, "added_tokens[0].id");
  refuse([](json& d) { d["added_tokens"].push_back({{"id", 600}, {"content", std::string(5000, 'x')}}); }, "too long");
  refuse([](json& d) { d["added_tokens"].push_back({{"id", 600}, {"content", "a"}}); }, "twice");
  refuse([](json& d) { d["post_processor"]["special_tokens"]["<s>"]["ids"][0] = 9999; }, "9999");
  refuse([](json& d) { d["pre_tokenizer"] = 7; }, "pre_tokenizer");
  refuse([](json& d) { d.erase("model"); }, "model");
  // Sequences within sequences without end.
  json nested = {{"type", "NFC"}};
  for (int i = 0; i < 20; ++i) nested = {{"type", "Sequence"}, {"normalizers", json::array({nested})}};
  refuse([&](json& d) { d["normalizer"] = nested; }, "nested");
  expect_error([&] { parse(std::string(100'000, '[')); }, ErrorKind::kBadInput, "");
  expect_error([&] { parse("{\"model\":" + std::string(100'000, '[')); }, ErrorKind::kBadInput, "nested");
  expect_error([&] { parse(std::string()); }, ErrorKind::kBadInput, "");
}

TEST(TokenizerJson, EveryTruncationIsAnError) {
  const std::string text = read_file(kData / "llama2.json");
  for (std::size_t size = 0; size < text.size(); size += 97) {
    EXPECT_THROW(parse(text.substr(0, size)), Error) << size;
  }
}

TEST(SentencePieceModel, TruncationsAndForgeriesAreErrorsOrModels) {
  for (const char* name : {"sentencepiece_unigram.model", "sentencepiece_bpe.model"}) {
    const std::string text = read_file(kData / name);
    std::mt19937 random(7);
    for (int i = 0; i < 300; ++i) {
      std::string forged = i % 2 == 0 ? text.substr(0, random() % text.size()) : text;
      for (int j = 0; j < i % 5; ++j) {
        if (!forged.empty()) forged[random() % forged.size()] = static_cast<char>(random());
      }
      try {
        Tokenizer::parse(bytes_of(forged), "tokenizer.model").encode("a b  c \xC2\xA0 \xEF\xAC\x81 <sep>");
      } catch (const Error&) {
      }
    }
  }
}

TEST(BundleForm, TruncationsAndForgeriesAreErrorsOrTokenizers) {
  for (const char* name : {"llama2.json", "unigram_charsmap.json", "bert.json"}) {
    const std::string form = Tokenizer::read(kData / name).bundle_form();
    const std::string again = Tokenizer::parse(bytes_of(form), "form").bundle_form();
    EXPECT_EQ(form, again);
    for (std::size_t size = 0; size < form.size(); size += 61) {
      EXPECT_THROW(parse(form.substr(0, size)), Error) << size;
    }
    EXPECT_THROW(parse(form + "x"), Error);
    std::mt19937 random(7);
    for (int i = 0; i < 300; ++i) {
      std::string forged = form;
      for (int j = 0; j <= i % 4; ++j) forged[8 + random() % (forged.size() - 8)] = static_cast<char>(random());
      try {
        parse(forged).encode("a cat <sep> naïve 12");
      } catch (const Error&) {
      }
    }
  }
}

GgufVocabulary tiny_gguf() {
  GgufVocabulary vocabulary;
  vocabulary.model = "llama";
  for (const char* token : {"<unk>", "<s>", "a", "b", "ab", "\xE2\x96\x81",
                            "\xE2\x96\x81"
                            "ab"})
    vocabulary.tokens.add(token);
  vocabulary.scores = {0, 0, -5, -6, -1, -7, -2};
  vocabulary.token_types = {2, 3, 1, 1, 1, 1, 1};
  vocabulary.bos_id = 1;
  vocabulary.unk_id = 0;
  return vocabulary;
}

TEST(GgufVocabularyTest, MergesByScoreAndRefusesForgedOnes) {
  const Tokenizer tokenizer = Tokenizer::from_gguf(tiny_gguf(), "x.gguf");
  EXPECT_THAT(tokenizer.encode("ab ab"), ElementsAre(1, 6, 6));
  EXPECT_THAT(tokenizer.encode("<s>b", {.add_special_tokens = false, .parse_special_tokens = false}),
              ElementsAre(5, 0, 3));
  EXPECT_EQ(tokenizer.decode(std::vector<std::int32_t>{6, 6}), "ab ab");
  EXPECT_EQ(tokenizer.token_bytes(6), " ab");
  EXPECT_TRUE(tokenizer.is_special(1));

  const auto refuse = [](const std::function<void(GgufVocabulary&)>& change, ErrorKind kind,
                         const std::string& message) {
    GgufVocabulary vocabulary = tiny_gguf();
    change(vocabulary);
    expect_error([&] { Tokenizer::from_gguf(vocabulary, "x.gguf"); }, kind, message);
  };
  refuse([](GgufVocabulary& v) { v.scores.pop_back(); }, ErrorKind::kBadInput, "6 entries");
  refuse([](GgufVocabulary& v) { v.scores.clear(); }, ErrorKind::kBadInput, "scores");
  refuse([](GgufVocabulary& v) { v.scores[3] = NAN; }, ErrorKind::kBadInput, "score");
  refuse([](GgufVocabulary& v) { v.token_types[2] = 99; }, ErrorKind::kBadInput, "type 99");
  refuse([](GgufVocabulary& v) { v.token_types.push_back(1); }, ErrorKind::kBadInput, "8 entries");
  refuse([](GgufVocabulary& v) { v.bos_id = 70; }, ErrorKind::kBadInput, "70");
  refuse([](GgufVocabulary& v) { v.tokens = {}; }, ErrorKind::kBadInput, "tokens");
  refuse([](GgufVocabulary& v) { v.model = "rwkv"; }, ErrorKind::kUnsupported, "rwkv");
  refuse(
      [](GgufVocabulary& v) {
        v.model = "gpt2";
        v.pre = "rot13";
      },
      ErrorKind::kUnsupported, "rot13");
  refuse(
      [](GgufVocabulary& v) {
        v.model = "gpt2";
        v.merges.add("a c");
      },
      ErrorKind::kBadInput, "merges[0]");
  refuse(
      [](GgufVocabulary& v) {
        v.tokens.add("\xFF");
        v.scores.push_back(0);
        v.token_types.push_back(1);
      },
      ErrorKind::kBadInput, "UTF-8");
}

TEST(TokenizerDefinitionTest, MergesOfLongTokensAreRefused) {
  const auto merges_of = [](int num_tokens, std::size_t length) {
    TextPool tokens;
    for (int i = 0; i < num_tokens; ++i) tokens.add(std::to_string(i) + std::string(length, 'a'));
    return merges_from_scores(tokens, std::vector<double>(tokens.size(), 0));
  };
  EXPECT_TRUE(merges_of(100, 1000).empty());
  expect_error([&] { merges_of(20, 60'000); }, ErrorKind::kBadInput, "long tokens");
}

TEST(TokenizerText, TakesAnyBytes) {
  for (const char* name : {"gpt2.json", "llama2.json", "unigram_charsmap.json", "bert.json"}) {
    const Tokenizer tokenizer = Tokenizer::read(kData / name);
    std::mt19937 random(3);
    for (int i = 0; i < 200; ++i) {
      std::string text(random() % 40, '\0');
      for (char& c : text) c = static_cast<char>(random());
      const std::vector<std::int32_t> ids = tokenizer.encode(text);
      for (const std::int32_t id : ids) ASSERT_LT(id, tokenizer.vocab_size());
      tokenizer.decode(ids);
    }
  }
  // Invalid bytes are the replacement character, one for each maximal part.
  const Tokenizer tokenizer = Tokenizer::read(kData / "gpt2.json");
  EXPECT_EQ(tokenizer.encode("a\xF0\x9F\x98"
                             "b\xFF"),
            tokenizer.encode("a\xEF\xBF\xBD"
                             "b\xEF\xBF\xBD"));
}

TEST(TokenizerText, LongRunsTakeNoQuadraticTime) {
  // 1 MB each of what cannot be cut into words; the limit is generous for slow, busy machines.
  constexpr double kMaxSeconds = 5;
  std::string alternating;
  for (int i = 0; i < 500'000; ++i) alternating += i % 3 == 0 ? "ab" : "ba";
  const std::vector<std::string> runs{std::string(1'000'000, 'a'),
                                      std::string(1'000'000, ' '),
                                      std::string(1'000'000, '\n'),
                                      std::string(1'000'000, '.'),
                                      alternating,
                                      std::string(999'999, ' ') + "x"};
  for (const char* name :
       {"gpt2.json", "llama3.json", "gpt4o.json", "llama2.json", "unigram.json", "bert.json", "smollm.json",
        "falcon.json", "sentencepiece_bpe.model", "sentencepiece_unigram.model", "unigram_charsmap.json"}) {
    const Tokenizer tokenizer = Tokenizer::read(kData / name);
    for (const std::string& run : runs) {
      EXPECT_LT(test::cpu_seconds_of([&] { tokenizer.encode(run); }), kMaxSeconds) << name << " " << run.substr(0, 4);
    }
  }
}

TEST(TokenizerText, AHostilePatternDoesNotHang) {
  json document = tiny("gpt2");
  document["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       json::array(
           {{{"type", "Split"}, {"pattern", {{"Regex", "(a+)+$"}}}, {"behavior", "Isolated"}, {"invert", false}},
            {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}})}};
  const Tokenizer tokenizer = parse(document);
  EXPECT_LT(test::cpu_seconds_of([&] {
              expect_error([&] { tokenizer.encode(std::string(5000, 'a') + "b"); }, ErrorKind::kBadInput,
                           "too much work");
            }),
            20);
  for (const char* pattern :
       {"(", "[a", "a{2", "\\", "(?<x>a)\\k<x>", "[a&&b]", "\\h", "(*ACCEPT)", "[^a[^b]]", "a)"}) {
    if (std::string(pattern) == "a{2") continue;  // A plain text to both libraries.
    document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = pattern;
    expect_error([&] { parse(document); }, ErrorKind::kUnsupported, pattern);
  }
}

TEST(TokenizerText, SpecialTokensOfAStrangerAreText) {
  const Tokenizer tokenizer = Tokenizer::read(kData / "gpt2.json");
  const auto end = tokenizer.find_token("<|end|>");
  ASSERT_TRUE(end);
  EXPECT_TRUE(tokenizer.is_special(*end));
  const EncodeOptions plain{.add_special_tokens = false, .parse_special_tokens = false};
  EXPECT_THAT(tokenizer.encode("<|end|>", {.add_special_tokens = false}), ElementsAre(*end));
  const std::vector<std::int32_t> ids = tokenizer.encode("<|end|>", plain);
  EXPECT_THAT(ids, testing::Not(testing::Contains(*end)));
  EXPECT_EQ(tokenizer.decode(ids), "<|end|>");
}

TEST(StreamingDetokenizerTest, GivesWhatDecodeGivesAndWholeCharactersOnly) {
  const std::string text =
      "  a caf\xC3\xA9 \xF0\x9F\x98\x80\xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD \xE4\xBD\xA0\xE5\xA5\xBD <|end|> x\n";
  std::mt19937 random(5);
  for (const char* name :
       {"gpt2.json", "llama2.json", "unigram.json", "bert.json", "bpe_unk.json", "sentencepiece_bpe.model"}) {
    const Tokenizer tokenizer = Tokenizer::read(kData / name);
    std::vector<std::vector<std::int32_t>> sequences{tokenizer.encode(text), {}};
    for (int i = 0; i < 100; ++i) {  // Random ids: bytes in any order.
      std::vector<std::int32_t> ids(random() % 30);
      for (std::int32_t& id : ids)
        id = static_cast<std::int32_t>(random() % static_cast<unsigned>(tokenizer.vocab_size()));
      sequences.push_back(ids);
    }
    for (const bool skips : {false, true}) {
      StreamingDetokenizer detokenizer(tokenizer, {.skip_special = skips});
      for (const auto& ids : sequences) {
        std::string streamed, direct;
        const auto add = [&](const std::string& part) {
          EXPECT_NO_THROW(json(part).dump()) << "not whole characters";
          streamed += part;
        };
        for (const std::int32_t id : ids) add(detokenizer.push(id));
        add(detokenizer.finish());
        EXPECT_EQ(streamed, tokenizer.decode(ids, {.skip_special = skips})) << name;
      }
    }
    expect_error([&] { tokenizer.decode(std::vector<std::int32_t>{tokenizer.vocab_size()}); }, ErrorKind::kBadInput,
                 "no token");
    expect_error([&] { tokenizer.decode(std::vector<std::int32_t>{-1}); }, ErrorKind::kBadInput, "no token");
  }
  // A character comes when its last byte has come, and not before.
  const Tokenizer bytes = Tokenizer::read(kData / "llama2.json");
  StreamingDetokenizer detokenizer(bytes);
  std::vector<std::string> parts;
  for (const char* piece : {"<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "<0xF0>", "<0x9F>", "a"}) {
    parts.push_back(detokenizer.push(bytes.find_token(piece).value()));
  }
  EXPECT_THAT(parts, ElementsAre("", "", "", "\xF0\x9F\x98\x80", "", "",
                                 "\xEF\xBF\xBD"
                                 "a"));
}

TEST(TokenizerText, ManyThreadsGetTheSameIds) {
  const Tokenizer tokenizer = Tokenizer::read(kData / "llama3.json");
  const std::string text = read_file(kData / "goldens.json").substr(0, 40'000);
  const std::vector<std::int32_t> expected = tokenizer.encode(text);
  std::vector<std::thread> threads;
  std::vector<int> num_equal(6, 0);
  for (std::size_t i = 0; i < num_equal.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int j = 0; j < 10; ++j) num_equal[i] += tokenizer.encode(text) == expected ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(num_equal, testing::Each(10));
}

TEST(TokenizerFiles, AreReadFromFoldersWithTheFilesBesideThem) {
  const test::TemporaryFolder folder;
  fs::copy(kData / "llama2.json", folder / "tokenizer.json");
  write_file(folder / "special_tokens_map.json",
             std::string_view(R"({"bos_token": {"content": "<s>"}, "pad_token": "<unk>"})"));
  write_file(folder / "tokenizer_config.json", std::string_view(R"({"eos_token": "</s>", "unk_token": "gone"})"));
  const Tokenizer tokenizer = Tokenizer::read(folder.path());
  EXPECT_EQ(tokenizer.bos_id(), tokenizer.find_token("<s>"));
  EXPECT_EQ(tokenizer.eos_id(), tokenizer.find_token("</s>"));
  EXPECT_EQ(tokenizer.pad_id(), tokenizer.find_token("<unk>"));
  EXPECT_EQ(tokenizer.unk_id(), tokenizer.find_token("<unk>"));
  const std::string form = tokenizer.bundle_form();
  const Tokenizer again = Tokenizer::parse(bytes_of(form), "form");
  EXPECT_EQ(again.bos_id(), tokenizer.bos_id());
  EXPECT_EQ(again.eos_id(), tokenizer.eos_id());

  fs::remove(folder / "tokenizer.json");
  expect_error([&] { Tokenizer::read(folder.path()); }, ErrorKind::kBadInput, "neither");
  fs::copy(kData / "sentencepiece_bpe.model", folder / "tokenizer.model");
  EXPECT_EQ(Tokenizer::read(folder.path()).encode("cat").front(), 1);
  write_file(folder / "tokenizer_config.json", std::string_view(R"({"add_bos_token": false, "add_eos_token": true})"));
  EXPECT_EQ(Tokenizer::read(folder.path()).encode("cat").back(), 2);
  expect_error([&] { Tokenizer::read(folder / "nothing"); }, ErrorKind::kBadInput, "nothing");
}

TEST(RegexTest, ReadsOnigurumasSyntax) {
  const auto matches = [](const char* pattern, std::string_view text) {
    const Regex regex(pattern, "test");
    Regex::Search search(regex, text);
    std::vector<std::string> found;
    while (const auto match = search.next())
      found.emplace_back(text.substr(match->first, match->second - match->first));
    return found;
  };
  EXPECT_THAT(matches("[a[bc]]+", "abcd"), ElementsAre("abc"));
  EXPECT_THAT(matches("\\w{2,3}+", "abcd"), ElementsAre("abc"));
  EXPECT_THAT(matches("(?m:a.b)", "a\nb"), ElementsAre("a\nb"));
  EXPECT_THAT(matches("x*", "axxb"), ElementsAre("", "xx", ""));
  EXPECT_THAT(matches("\\s",
                      "a\xE1\xA0\x8E"
                      "b c"),
              ElementsAre(" "));
}

}  // namespace
}  // namespace pajamas
