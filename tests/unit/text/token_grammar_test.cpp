// Masks against the plain automaton, and what a state promises: completeness, forced text, rollback, copies, errors.
// Which texts the three front ends allow is tested beside them (grammar_regex_test, grammar_ebnf_test,
// grammar_schema_test).
#include "text/token_grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "base/cancel.h"
#include "pajamas/error.h"
#include "support/grammar_vocabulary.h"

namespace pajamas {
namespace {

using test::allowed_tokens;
using test::small_vocabulary;
using test::vocabulary_of;

struct Language {
  const char* kind;
  const char* text;
};

const Language kLanguages[] = {
    {"json", ""},
    {"regex", "(ab|ba)*c{2,3}|[a-b]{3,9}x"},
    {"regex", "[a-z]{2,40}\"?"},
    {"regex", "[^x]*xx"},
    {"regex", "(?:a|ab)(?:c|bcd)(?:d*)"},
    {"regex", "[ab]{0,7}[a-d]{0,9}x"},
    {"regex", "\\u00e9{3,12}|(?:\xF0\x9F\x98\x80|\xE2\x82\xAC)+"},
    {"regex", ""},
    {"ebnf", "root ::= expr\nexpr ::= expr [+-] term | term\nterm ::= [0-9]+ | \"(\" expr \")\""},
    {"ebnf", "root ::= list\nlist ::= \"[\" (list (\",\" list)*)? \"]\" | [a-z]{1,30}"},
    {"ebnf", "root ::= \"a\" root \"a\" | \"b\""},
    {"ebnf", "root ::= s s\ns ::= \"a\" s \"b\" | \"ab\" | [a-b]{7,9}"},
    {"schema", R"({"type":"object","properties":{"name":{"type":"string","maxLength":9},"age":{"type":"integer"},
      "tags":{"type":"array","items":{"type":"string","minLength":1,"maxLength":12},"minItems":1,"maxItems":4}},
      "required":["name"],"additionalProperties":{"type":"number"}})"},
    {"schema", R"({"$ref":"#/$defs/node","$defs":{"node":{"type":"object","required":["id","children"],"properties":
      {"id":{"type":"integer"},"children":{"type":"array","items":{"$ref":"#/$defs/node"}}}}}})"},
    {"schema", R"({"anyOf":[{"type":"string","maxLength":300},{"type":"array","items":{"type":"boolean"}},
      {"type":"object","additionalProperties":{"enum":["a","ab","abc",1,10,null]}}]})"},
};

TokenGrammar compiled(const Language& language, const TokenVocabulary& vocabulary, const GrammarOptions& options = {}) {
  const std::string kind = language.kind;
  if (kind == "json") return TokenGrammar::any_json(vocabulary, options);
  if (kind == "regex") return TokenGrammar::from_regex(language.text, vocabulary, options);
  if (kind == "ebnf") return TokenGrammar::from_ebnf(language.text, vocabulary, options);
  return TokenGrammar::from_json_schema(language.text, vocabulary, options);
}

/// Compares the mask with trying every token; returns the tokens allowed.
std::vector<std::int64_t> checked_tokens(const GrammarState& state, const TokenVocabulary& vocabulary,
                                         const std::string& text) {
  std::vector<std::int64_t> ids = allowed_tokens(state, vocabulary);
  std::vector<std::int64_t> tried;
  for (std::int64_t id = 0; id < vocabulary.vocab_size(); ++id) {
    GrammarState copy = state;
    if (copy.accept(id)) tried.push_back(id);
  }
  EXPECT_EQ(ids, tried) << "after: " << text;
  return ids;
}

class MaskTest : public testing::TestWithParam<int> {};

/// Every state that random walks meet, some thousands in all. Also with nothing made ahead and with nothing kept.
TEST_P(MaskTest, EqualsTryingEveryToken) {
  const TokenVocabulary vocabulary = vocabulary_of(small_vocabulary());
  GrammarOptions options;
  if (GetParam() == 1) options.whitespace = JsonWhitespace::kCompact;
  if (GetParam() == 1) options.max_nodes_ahead = 0;
  if (GetParam() == 2) options.max_mask_bytes = 0;
  std::mt19937 random(static_cast<unsigned>(7 + GetParam()));
  int num_states = 0;
  for (const Language& language : kLanguages) {
    SCOPED_TRACE(std::string(language.kind) + ": " + language.text);
    const TokenGrammar grammar = compiled(language, vocabulary, options);
    for (int walk = 0; walk < 12; ++walk) {
      GrammarState state(grammar);
      std::string text;
      for (int step = 0; step < 25; ++step) {
        const std::vector<std::int64_t> ids = checked_tokens(state, vocabulary, text);
        ++num_states;
        if (ids.empty() || testing::Test::HasFailure()) break;
        const std::int64_t id = ids[random() % ids.size()];
        ASSERT_TRUE(state.accept(id));
        text += vocabulary.token_bytes(id);
        if (state.is_ended()) break;
      }
    }
  }
  EXPECT_GT(num_states, 1500);
}

INSTANTIATE_TEST_SUITE_P(Options, MaskTest, testing::Values(0, 1, 2));

TEST(MaskTest, IsTheSameNearTheBoundOnDepth) {
  const TokenVocabulary vocabulary = vocabulary_of(small_vocabulary());
  GrammarState state(TokenGrammar::any_json(vocabulary));
  std::string text;
  for (int depth = 0; depth < 700; ++depth) {
    if (!state.accept_bytes("[")) break;
    text += "[";
    if (depth > 490) checked_tokens(state, vocabulary, text);
  }
  EXPECT_GT(text.size(), 500U);
  EXPECT_LT(text.size(), 600U) << "the bound on depth does not hold";
  EXPECT_TRUE(state.accept_bytes(std::string(text.size() - 1, ']')));
  EXPECT_FALSE(state.is_complete());
  EXPECT_TRUE(state.accept_bytes("]"));
  EXPECT_TRUE(state.is_complete());
}

TEST(MaskTest, NeverAllowsSpecialOrEmptyTokens) {
  const std::vector<std::string> tokens = small_vocabulary();
  const TokenVocabulary vocabulary = vocabulary_of(tokens);
  GrammarState state(TokenGrammar::from_regex("[^]*", vocabulary));
  EXPECT_TRUE(state.accept_bytes("x"));
  const std::vector<std::int64_t> ids = allowed_tokens(state, vocabulary);
  const auto end = static_cast<std::int64_t>(tokens.size()) - 1;
  EXPECT_THAT(ids, testing::Contains(end));
  EXPECT_THAT(ids, testing::Not(testing::Contains(end - 1)));  // special
  EXPECT_THAT(ids, testing::Not(testing::Contains(end - 2)));  // empty
  EXPECT_FALSE(state.accept(end - 1));
  EXPECT_FALSE(state.accept(end - 2));
}

TEST(MaskTest, WritesEveryWordAndNothingBehind) {
  const TokenVocabulary vocabulary = vocabulary_of(small_vocabulary());
  const GrammarState state(TokenGrammar::from_regex("a", vocabulary));
  std::vector<std::uint32_t> bits(vocabulary.num_mask_words() + 3, 0xFFFFFFFF);
  state.fill_mask(bits);
  int num_set = 0;
  for (const std::uint32_t word : bits) num_set += __builtin_popcount(word);
  EXPECT_EQ(num_set, 1);
  bits.resize(vocabulary.num_mask_words() - 1);
  EXPECT_THROW(state.fill_mask(bits), Error);
}

TEST(GrammarStateTest, EndsOnlyWhereTheTextIsWhole) {
  const std::vector<std::string> tokens = small_vocabulary();
  const TokenVocabulary vocabulary = vocabulary_of(tokens);
  const auto end = static_cast<std::int64_t>(tokens.size()) - 1;
  GrammarState state(TokenGrammar::from_regex("ab(cd)?", vocabulary));
  EXPECT_FALSE(state.accept(end));
  EXPECT_TRUE(state.accept_bytes("ab"));
  EXPECT_TRUE(state.is_complete());
  EXPECT_TRUE(state.accept_bytes("c"));
  EXPECT_FALSE(state.is_complete());
  EXPECT_FALSE(state.accept(end));
  EXPECT_TRUE(state.accept_bytes("d"));
  EXPECT_TRUE(state.accept(end));
  EXPECT_TRUE(state.is_ended());
  EXPECT_FALSE(state.accept(end));
  EXPECT_THAT(allowed_tokens(state, vocabulary), testing::IsEmpty());
  state.rollback(1);
  EXPECT_FALSE(state.is_ended());
  EXPECT_EQ(allowed_tokens(state, vocabulary), std::vector<std::int64_t>{end});
}

TEST(GrammarStateTest, SaysWhatMustFollow) {
  const TokenVocabulary vocabulary = vocabulary_of(small_vocabulary());
  GrammarOptions options;
  options.whitespace = JsonWhitespace::kCompact;
  GrammarState state(TokenGrammar::from_json_schema(
      R"({"type":"object","properties":{"name":{"type":"string"},"kind":{"enum":["big","bad"]}},
          "required":["name","kind"]})",
      vocabulary, options));
  EXPECT_EQ(state.forced_text(), "{\"name\":\"");
  EXPECT_EQ(state.forced_text(3), "{\"n");
  EXPECT_TRUE(state.accept_bytes("{\"name\":\"x"));
  EXPECT_EQ(state.forced_text(), "");
  EXPECT_TRUE(state.accept_bytes("\""));
  EXPECT_EQ(state.forced_text(), ",\"kind\":\"b");
  EXPECT_TRUE(state.accept_bytes(",\"kind\":\"ba"));
  EXPECT_EQ(state.forced_text(), "d\"}");
  EXPECT_TRUE(state.accept_bytes("d\"}"));
  EXPECT_EQ(state.forced_text(), "");
  EXPECT_TRUE(state.is_complete());
}

TEST(GrammarStateTest, GoesBackAndBranches) {
  const TokenVocabulary vocabulary = vocabulary_of(small_vocabulary());
  const TokenGrammar grammar = TokenGrammar::any_json(vocabulary);
  std::mt19937 random(5);
  GrammarState state(grammar);
  std::vector<std::vector<std::int64_t>> masks;
  std::vector<GrammarState> copies;
  for (int step = 0; step < 40; ++step) {
    masks.push_back(allowed_tokens(state, vocabulary));
    copies.push_back(state);
    std::vector<std::int64_t> ids = masks.back();
    // Not the end.
    if (ids.back() == vocabulary.vocab_size() - 1) ids.pop_back();
    if (ids.empty()) break;
    ASSERT_TRUE(state.accept(ids[random() % ids.size()]));
  }
  const std::int64_t num_tokens = state.num_tokens();
  for (std::int64_t taken = 1; taken <= num_tokens; ++taken) {
    GrammarState back = state;
    back.rollback(taken);
    EXPECT_EQ(allowed_tokens(back, vocabulary), masks[static_cast<std::size_t>(num_tokens - taken)]);
    EXPECT_EQ(back.num_tokens(), num_tokens - taken);
  }
  for (std::size_t i = 0; i < copies.size(); ++i) EXPECT_EQ(allowed_tokens(copies[i], vocabulary), masks[i]);
  EXPECT_THROW(state.rollback(num_tokens + 1), Error);
  EXPECT_THROW(state.rollback(-1), Error);
}

TEST(GrammarStateTest, FreesLongHistories) {
  const TokenVocabulary vocabulary = vocabulary_of(small_vocabulary());
  GrammarState state(TokenGrammar::from_regex("a*", vocabulary));
  for (int i = 0; i < 300'000; ++i) ASSERT_TRUE(state.accept('a'));
  EXPECT_EQ(state.num_tokens(), 300'000);
}

TEST(GrammarStateTest, RefusedTokensChangeNothing) {
  const TokenVocabulary vocabulary = vocabulary_of(small_vocabulary());
  GrammarState state(TokenGrammar::from_regex("abc", vocabulary));
  EXPECT_FALSE(state.accept_bytes("abd"));
  EXPECT_EQ(state.num_tokens(), 0);
  EXPECT_EQ(state.forced_text(), "abc");
  EXPECT_THROW(state.accept(-1), Error);
  EXPECT_THROW(state.accept(vocabulary.vocab_size()), Error);
}

TEST(TokenGrammarTest, MakesMasksFromManyThreads) {
  const TokenVocabulary vocabulary = vocabulary_of(small_vocabulary());
  GrammarOptions options;
  options.max_nodes_ahead = 0;  // So that the threads make them.
  const TokenGrammar grammar = TokenGrammar::any_json(vocabulary, options);
  std::vector<std::string> texts(4);
  std::vector<std::thread> threads;
  for (std::string& text : texts) {
    threads.emplace_back([&] {
      std::mt19937 random(3);
      for (int i = 0; i < 20; ++i) text += test::random_text(grammar, vocabulary, random, 30, 60).text + "\n";
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& text : texts) EXPECT_EQ(text, texts[0]);
}

TEST(TokenGrammarTest, SpellsOnlyWhatTheVocabularyCan) {
  const TokenVocabulary vocabulary = vocabulary_of(small_vocabulary(false));
  GrammarState state(TokenGrammar::from_regex("(x\xC3\xA9|y)+", vocabulary));
  EXPECT_EQ(state.forced_text(), "y");  // No token holds the bytes of the other way.
  try {
    TokenGrammar::from_regex("\xC3\xA9", vocabulary);
    ADD_FAILURE() << "no token can spell it";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_THAT(error.what(), testing::HasSubstr("vocabulary"));
  }
}

TEST(TokenGrammarTest, StopsWhenCancelled) {
  const TokenVocabulary vocabulary = vocabulary_of(small_vocabulary());
  CancelToken cancel;
  cancel.cancel();
  GrammarOptions options;
  options.cancel = &cancel;
  try {
    TokenGrammar::any_json(vocabulary, options);
    ADD_FAILURE() << "was not cancelled";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCancelled);
  }
}

TEST(TokenVocabularyTest, RefusesWhatIsNone) {
  EXPECT_THROW(TokenVocabulary({}, {}, {}), Error);
  const std::string_view token = "a";
  const std::int64_t outside = 1;
  EXPECT_THROW(TokenVocabulary(std::span(&token, 1), std::span(&outside, 1), {}), Error);
  const TokenVocabulary one(std::span(&token, 1), {}, {});
  EXPECT_EQ(one.num_mask_words(), 1U);
  GrammarState state(TokenGrammar::from_regex("a{3}", one));
  EXPECT_EQ(allowed_tokens(state, one), std::vector<std::int64_t>{0});
  EXPECT_TRUE(state.accept(0));
  EXPECT_TRUE(state.accept(0));
  EXPECT_TRUE(state.accept(0));
  EXPECT_THAT(allowed_tokens(state, one), testing::IsEmpty());
}

}  // namespace
}  // namespace pajamas
