// Regular expressions and grammars: which texts they accept (Python's re in the goldens, std::regex, and grammars whose
// language is counted out by hand), and the errors that name position, line and column.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <random>
#include <regex>

#include "base/files.h"
#include "pajamas/error.h"
#include "support/grammar_vocabulary.h"

namespace pajamas {
namespace {

using test::small_vocabulary;
using test::vocabulary_of;

const TokenVocabulary& vocabulary() {
  static const TokenVocabulary kVocabulary = vocabulary_of(small_vocabulary());
  return kVocabulary;
}

bool accepts(const TokenGrammar& grammar, const std::string& text) {
  GrammarState state(grammar);
  return state.accept_bytes(text) && state.is_complete();
}

TEST(GrammarRegexTest, AgreesWithPython) {
  const auto goldens =
      nlohmann::json::parse(read_file(std::filesystem::path(PAJAMAS_TEST_DATA) / "text/grammar_goldens.json"));
  int num_matches = 0;
  for (const auto& row : goldens["regex"]) {
    const TokenGrammar grammar = TokenGrammar::from_regex(row["pattern"].get<std::string>(), vocabulary());
    for (std::size_t i = 0; i < goldens["texts"].size(); ++i) {
      const bool is_expected = std::find(row["matches"].begin(), row["matches"].end(), i) != row["matches"].end();
      EXPECT_EQ(accepts(grammar, goldens["texts"][i].get<std::string>()), is_expected)
          << row["pattern"] << " on " << goldens["texts"][i];
      num_matches += is_expected ? 1 : 0;
    }
  }
  EXPECT_GT(num_matches, 100);
}

/// A random pattern over {a, b, c}. At most two repetitions within each other: std::regex goes back and forth, and
/// would take for ever over more.
std::string random_pattern(std::mt19937& random, int depth, int num_repetitions) {
  const auto part = [&](int more) { return random_pattern(random, depth + 1, num_repetitions + more); };
  const unsigned num_kinds = depth > 3 ? 3 : num_repetitions > 1 ? 5 : 8;
  switch (random() % num_kinds) {
    case 0: return std::string(1, static_cast<char>('a' + random() % 3));
    case 1: return "[ab]";
    case 2: return "[^a]";
    case 3: {
      const std::string first = part(0);
      return first + part(0);
    }
    case 4: {
      const std::string first = part(0);
      return "(?:" + first + "|" + part(0) + ")";
    }
    case 5: return "(?:" + part(1) + ")*";
    case 6: return "(?:" + part(1) + ")?";
    default: {
      const auto low = static_cast<unsigned>(random() % 3);
      const unsigned high = low + static_cast<unsigned>(random() % 8);
      return "(?:" + part(1) + "){" + std::to_string(low) + "," + std::to_string(high) + "}";
    }
  }
}

TEST(GrammarRegexTest, AgreesWithStdRegexOnAllShortTexts) {
  std::vector<std::string> texts{""};
  for (std::size_t i = 0; i < texts.size() && texts[i].size() < 5; ++i) {
    for (const char c : {'a', 'b', 'c'}) texts.push_back(texts[i] + c);
  }
  std::mt19937 random(2);
  for (int round = 0; round < 60; ++round) {
    const std::string pattern = random_pattern(random, 0, 0);
    const std::regex reference(pattern);
    const TokenGrammar grammar = TokenGrammar::from_regex(pattern, vocabulary());
    for (const std::string& text : texts) {
      ASSERT_EQ(accepts(grammar, text), std::regex_match(text, reference)) << pattern << " on '" << text << "'";
    }
  }
}

TEST(GrammarRegexTest, CountsFarWithoutWritingOut) {
  const TokenGrammar grammar = TokenGrammar::from_regex("[a-z]{3,100000}!", vocabulary());
  EXPECT_LT(grammar.facts().num_states, 20);
  EXPECT_FALSE(accepts(grammar, "ab!"));
  EXPECT_TRUE(accepts(grammar, "abc!"));
  EXPECT_TRUE(accepts(grammar, std::string(100000, 'q') + "!"));
  EXPECT_FALSE(accepts(grammar, std::string(100001, 'q') + "!"));
}

struct Refusal {
  const char* text;
  ErrorKind kind;
  const char* place;
  const char* reason;
};

constexpr ErrorKind kBad = ErrorKind::kBadInput;
constexpr ErrorKind kNot = ErrorKind::kUnsupported;

void expect_refusal(const Refusal& refusal,
                    TokenGrammar (*compile)(std::string_view, const TokenVocabulary&, const GrammarOptions&)) {
  try {
    compile(refusal.text, vocabulary(), {});
    ADD_FAILURE() << "was taken: " << refusal.text;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), refusal.kind) << error.what();
    EXPECT_THAT(error.where(), testing::HasSubstr(refusal.place)) << error.what();
    EXPECT_THAT(error.what(), testing::HasSubstr(refusal.reason));
  }
}

TEST(GrammarRegexTest, RefusesByNameAndPosition) {
  for (const Refusal& refusal :
       {Refusal{"a(?=b)", kNot, "position 1", "look-ahead"},
        Refusal{"(?<!a)b", kNot, "position 0", "look-behind"},
        Refusal{"(a)\\1", kNot, "position 4", "back reference"},
        Refusal{"\\bx", kNot, "position 1", "word boundar"},
        Refusal{"a++", kNot, "position 2", "possessive"},
        Refusal{"(?i)a", kNot, "position", "flags"},
        Refusal{"\\p{L}", kNot, "position 1", "Unicode properties"},
        Refusal{"a^b", kNot, "position 1", "anchor"},
        Refusal{"(a", kBad, "position 0", "without ')'"},
        Refusal{"a)", kBad, "position 1", "without '('"},
        Refusal{"[a", kBad, "position 0", "without ']'"},
        Refusal{"[b-a]", kBad, "position 4", "wrong order"},
        Refusal{"*a", kBad, "position 0", "nothing to repeat"},
        Refusal{"a{3,2}", kBad, "position", "wrong order"},
        Refusal{"a{2000000}", kNot, "position", "count"},
        Refusal{"\\y", kBad, "position 1", "escape"},
        Refusal{"\\ud800", kBad, "position", "surrogate"},
        Refusal{"a\\", kBad, "position 2", "backslash"},
        Refusal{"[]", kBad, "regular expression", "no text"},
        Refusal{"\xFF", kBad, "regular expression", "UTF-8"},
        Refusal{"(a|ab){100000}", kNot, "regular expression", "too large"},
        Refusal{"(((((a|b?){1000}){1000}){1000}){1000})", kNot, "regular expression", "too large"},
        Refusal{"((((((){1000}){1000}){1000}){1000}){1000})", kNot, "regular expression", "too large"},
        Refusal{"[ab]*a[ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab]", kNot,
                "regular expression", "too large"}}) {
    SCOPED_TRACE(refusal.text);
    expect_refusal(refusal, &TokenGrammar::from_regex);
  }
  EXPECT_THROW(TokenGrammar::from_regex(std::string(5000, '('), vocabulary()), Error);
}

TEST(GrammarEbnfTest, ReadsGbnf) {
  const TokenGrammar grammar = TokenGrammar::from_ebnf(
      "# a comment\nroot ::= greeting ws name{1,2} (\"!\" | \"?\")?  # another\n"
      "greeting ::= \"hel\\x6co\" |\n   [Hh] \"\\u0065y\"\nws ::= [ \\t]+\nname ::= [^!? ] .\n",
      vocabulary());
  for (const char* const text : {"hello ab", "hey \tab!", "Hey abcd?", "hello \xC3\xA9\xC3\xA9"}) {
    EXPECT_TRUE(accepts(grammar, text)) << text;
  }
  for (const char* const text : {"hello", "hello a", "hello abc", "Hello ab", "hello ab!!"}) {
    EXPECT_FALSE(accepts(grammar, text)) << text;
  }
}

TEST(GrammarEbnfTest, ReadsLark) {
  const TokenGrammar grammar = TokenGrammar::from_ebnf(
      "// a list of calls\nstart: call (\",\" call)* -> calls\n?call: NAME \"(\" [args] \")\"\n"
      "args: (NUMBER | NAME) ~ 1..2\nNAME.2: /[a-z]+/\nNUMBER: \"0\"..\"9\"\n  | \"INF\"i\n",
      vocabulary());
  for (const char* const text : {"f()", "f(1)", "f(1x),g(inF)", "abc(InFINF)"})
    EXPECT_TRUE(accepts(grammar, text)) << text;
  for (const char* const text : {"f", "f(1,2)", "f(12x)", "F()", "f(),"}) EXPECT_FALSE(accepts(grammar, text)) << text;
}

TEST(GrammarEbnfTest, CountsBracketsAndPalindromes) {
  const TokenGrammar brackets = TokenGrammar::from_ebnf("root ::= \"(\" root \")\" root | \"\"", vocabulary());
  const TokenGrammar left = TokenGrammar::from_ebnf("root ::= root \"(\" root \")\" | \"\"", vocabulary());
  const TokenGrammar palindrome =
      TokenGrammar::from_ebnf("root ::= \"a\" root \"a\" | \"b\" root \"b\" | \"a\" | \"b\" | \"\"", vocabulary());
  const TokenGrammar both =
      TokenGrammar::from_ebnf("root ::= root \"+\" root | \"a\" | \"(\" root \")\"", vocabulary());
  const std::regex flat_sum("a(\\+a)*");
  for (int bits = 0; bits < 1 << 10; ++bits) {
    for (int length = 0; length <= 10; ++length) {
      if (bits >> length != 0) continue;
      std::string text;
      std::string letters;
      std::string sum;
      for (int i = 0; i < length; ++i) {
        text += (bits >> i & 1) != 0 ? ')' : '(';
        letters += (bits >> i & 1) != 0 ? 'b' : 'a';
        sum += (bits >> i & 1) != 0 ? '+' : 'a';
      }
      int depth = 0;
      bool is_balanced = true;
      for (const char c : text) {
        depth += c == '(' ? 1 : -1;
        is_balanced = is_balanced && depth >= 0;
      }
      is_balanced = is_balanced && depth == 0;
      ASSERT_EQ(accepts(brackets, text), is_balanced) << text;
      ASSERT_EQ(accepts(left, text), is_balanced) << text;
      ASSERT_EQ(accepts(palindrome, letters), std::equal(letters.begin(), letters.end(), letters.rbegin())) << letters;
      ASSERT_EQ(accepts(both, sum), std::regex_match(sum, flat_sum)) << sum;
    }
  }
  EXPECT_TRUE(accepts(both, "(a+a)+((a))+a"));
  EXPECT_FALSE(accepts(both, "(a+a)+((a)+a"));
}

TEST(GrammarEbnfTest, NeedsNoStackForLists) {
  const TokenGrammar grammar = TokenGrammar::from_ebnf("root ::= \"a\" \",\" root | \"a\"", vocabulary());
  std::string text = "a";
  for (int i = 0; i < 5000; ++i) text += ",a";
  EXPECT_TRUE(accepts(grammar, text));
}

TEST(GrammarEbnfTest, RefusesByNameLineAndColumn) {
  for (const Refusal& refusal :
       {Refusal{"", kBad, "grammar", "no rules"}, Refusal{"rot ::= \"a\"", kBad, "grammar", "'root'"},
        Refusal{"x: \"a\"", kBad, "grammar", "'start'"},
        Refusal{"root ::= a\nb ::= \"x\"", kBad, "line 1:10", "'a' is used"},
        Refusal{"root ::= \"a\"\nroot ::= \"b\"", kBad, "line 2:1", "defined twice"},
        Refusal{"root ::= (\"a\"", kBad, "line 1:10", "does not end"},
        Refusal{"root ::= \"a", kBad, "line 1:10", "does not end"},
        Refusal{"root ::= [a", kBad, "line 1:10", "without ']'"},
        Refusal{"root ::= a ]", kBad, "line 1:12", "expected a rule"},
        Refusal{"root ::= \"\\q\"", kBad, "line 1:12", "escape"}, Refusal{"root ::= <[1]>", kNot, "line 1:10", "token"},
        Refusal{"%import common.WORD\nstart: WORD", kNot, "line 1:1", "directive"},
        Refusal{"root ::= a \"x\"\na ::= b \"y\" | \"z\"\nb ::= a \"w\" | \"v\"", kBad, "grammar", "left-recursive"},
        Refusal{"root ::= a root | \"z\"\na ::= \"\" | b\nb ::= root \"x\"", kBad, "grammar", "left-recursive"},
        Refusal{"root ::= \"a\" root", kBad, "grammar", "never ends"},
        Refusal{"root ::= root", kBad, "grammar", "no text"}, Refusal{"start: /a(/", kBad, "line 1:8", "without ')'"},
        Refusal{"root = \"a\"", kBad, "line", "'::='"},
        Refusal{"root ::= \"a\"{5,2}", kBad, "line 1", "wrong order"}}) {
    SCOPED_TRACE(refusal.text);
    expect_refusal(refusal, &TokenGrammar::from_ebnf);
  }
}

TEST(GrammarEbnfTest, BoundsTheWorkOfHostileGrammars) {
  EXPECT_THROW(TokenGrammar::from_ebnf("root ::= \"a\"" + std::string(200'000, '?'), vocabulary()), Error);
  // What is repeated no times was written four times into the next rule, and so on.
  std::string nothing = "root ::= r40 \"x\"\nr0 ::= \"a\"\n";
  for (int i = 1; i <= 40; ++i) {
    const std::string below = " r" + std::to_string(i - 1);
    nothing += "r" + std::to_string(i) + " ::= (" + below + below + below + below + "){0}\n";
  }
  EXPECT_TRUE(accepts(TokenGrammar::from_ebnf(nothing, vocabulary()), "x"));
  // Two ways to each of the rules below, over and over: 2^40 ways to one reading.
  std::string diamonds = "root ::= a40 | b40\nleaf ::= \"(\" leaf \")\" | \"x\"\na0 ::= leaf\nb0 ::= leaf\n";
  for (int i = 1; i <= 40; ++i) {
    const std::string both = "a" + std::to_string(i - 1) + " | b" + std::to_string(i - 1) + "\n";
    diamonds += "a" + std::to_string(i) + " ::= " + both + "b" + std::to_string(i) + " ::= " + both;
  }
  const TokenGrammar grammar = TokenGrammar::from_ebnf(diamonds, vocabulary());
  EXPECT_TRUE(accepts(grammar, "((x))"));
  EXPECT_FALSE(accepts(grammar, "((x)"));
  // Rules that begin with one another are levels of recursion for each byte.
  for (const bool is_reversed : {false, true}) {
    std::string chain = "root ::= r0\n";
    for (int i = 0; i < 2000; ++i) {
      const std::string rule =
          "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + " \"x\" | \"(\" r" + std::to_string(i) + "\n";
      chain = is_reversed ? rule + chain : chain + rule;
    }
    expect_refusal({(chain + "r2000 ::= \"a\"").c_str(), kNot, "grammar", "begin with one another"},
                   &TokenGrammar::from_ebnf);
  }
}

TEST(GrammarEbnfTest, RefusesEndlessAmbiguityWhileRunning) {
  // Every split of the text is a reading with a count of its own.
  const TokenGrammar grammar = TokenGrammar::from_ebnf("root ::= [a-b]{700,900} [a-c]{700,900} \"x\"", vocabulary());
  GrammarState state(grammar);
  try {
    for (int i = 0; i < 1700; ++i) {
      if (!state.accept_bytes("a")) break;
    }
    SUCCEED();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(error.what(), testing::HasSubstr("ambiguous"));
  }
}

}  // namespace
}  // namespace pajamas
