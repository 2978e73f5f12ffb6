// JSON schemas: documents that Python's jsonschema judged (goldens), texts that the masks allow judged by valijson, the
// errors of what is impossible or not supported, and numbers between bounds counted out. With
// PAJAMAS_GRAMMAR_WALKS=FILE the texts are also written there, for tools/goldens/make_grammar_goldens.py --check.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "base/files.h"
#include "pajamas/error.h"
#include "support/grammar_vocabulary.h"

namespace pajamas {
namespace {

using test::random_text;
using test::small_vocabulary;
using test::vocabulary_of;

const TokenVocabulary& vocabulary() {
  static const TokenVocabulary kVocabulary = vocabulary_of(small_vocabulary());
  return kVocabulary;
}

const nlohmann::ordered_json& goldens() {
  static const auto kGoldens =
      nlohmann::ordered_json::parse(read_file(std::filesystem::path(PAJAMAS_TEST_DATA) / "text/grammar_goldens.json"));
  return kGoldens;
}

bool accepts(const TokenGrammar& grammar, const std::string& text) {
  GrammarState state(grammar);
  for (const char c : text) {
    if (!state.accept_bytes(std::string_view(&c, 1))) return false;
  }
  return state.is_complete();
}

bool accepts(const std::string& schema, const std::string& text, const GrammarOptions& options = {}) {
  return accepts(TokenGrammar::from_json_schema(schema, vocabulary(), options), text);
}

TEST(GrammarSchemaTest, AgreesWithJsonschemaOnDocuments) {
  int num_valid = 0;
  int num_invalid = 0;
  for (const auto& row : goldens()["schemas"]) {
    SCOPED_TRACE(row["schema"].dump());
    const TokenGrammar grammar = TokenGrammar::from_json_schema(row["schema"].dump(), vocabulary());
    for (const auto& text : row["valid"]) {
      EXPECT_TRUE(accepts(grammar, text.get<std::string>())) << "valid: " << text;
      ++num_valid;
    }
    for (const auto& text : row["invalid"]) {
      EXPECT_FALSE(accepts(grammar, text.get<std::string>())) << "invalid: " << text;
      ++num_invalid;
    }
  }
  EXPECT_GT(goldens()["schemas"].size(), 100U);
  EXPECT_GT(num_valid, 500);
  EXPECT_GT(num_invalid, 500);
}

/// The escapes resolved, so that valijson's regular expressions, which know bytes only, get as little as may be.
TEST(GrammarSchemaTest, AllowsOnlyWhatConforms) {
  const char* const walks_path = std::getenv("PAJAMAS_GRAMMAR_WALKS");
  std::ofstream walks;
  if (walks_path != nullptr) walks.open(walks_path);
  std::mt19937 random(11);
  std::size_t number = 0;
  int num_whole = 0;
  for (const auto& row : goldens()["schemas"]) {
    const std::string schema_text = row["schema"].dump();
    SCOPED_TRACE(schema_text);
    // valijson reads draft 7: the spelling of 2020-12 for tuples is given in the old one, and patterns it would match
    // byte by byte are left to the goldens.
    nlohmann::json schema_json = nlohmann::json::parse(schema_text);
    if (schema_json.is_object() && schema_json.contains("prefixItems")) {
      if (schema_json.contains("items")) schema_json["additionalItems"] = schema_json["items"];
      schema_json["items"] = schema_json["prefixItems"];
    }
    if (schema_json.is_boolean()) schema_json = nlohmann::json::object();
    // So are multiples of 0.01, which it judges in binary floating point.
    const bool is_left_out =
        schema_text.find("attern\":") != std::string::npos || schema_text.find("0.01") != std::string::npos;
    valijson::Schema schema;
    if (!is_left_out) {
      valijson::SchemaParser().populateSchema(valijson::adapters::NlohmannJsonAdapter(schema_json), schema);
    }
    for (const bool is_compact : {false, true}) {
      GrammarOptions options;
      options.whitespace = is_compact ? JsonWhitespace::kCompact : JsonWhitespace::kFlexible;
      const TokenGrammar grammar = TokenGrammar::from_json_schema(schema_text, vocabulary(), options);
      for (int walk = 0; walk < 12; ++walk) {
        const test::RandomText result = random_text(grammar, vocabulary(), random, walk * 3, 150);
        if (!result.is_whole) continue;
        ++num_whole;
        const nlohmann::json value = nlohmann::json::parse(result.text, nullptr, false);
        ASSERT_FALSE(value.is_discarded()) << result.text;
        if (!is_left_out) {
          EXPECT_TRUE(valijson::Validator().validate(schema, valijson::adapters::NlohmannJsonAdapter(value), nullptr))
              << result.text;
        }
        if (walks.is_open()) walks << nlohmann::json::array({number, result.text}).dump() << "\n";
      }
    }
    ++number;
  }
  EXPECT_GT(num_whole, 2000);
}

TEST(GrammarSchemaTest, CountsIntegersOut) {
  std::mt19937 random(3);
  std::uniform_int_distribution<int> bound(-1200, 1200);
  for (int round = 0; round < 40; ++round) {
    const int low = bound(random);
    const int high = low + static_cast<int>(random() % 300);
    const int divisor = static_cast<int>(random() % 9) + 1;
    // With another type beside it, because some of these ranges hold no multiple at all.
    const std::string schema = R"({"type":["integer","null"],"minimum":)" + std::to_string(low) +
                               R"(,"exclusiveMaximum":)" + std::to_string(high) + R"(,"multipleOf":)" +
                               std::to_string(divisor) + "}";
    const TokenGrammar grammar = TokenGrammar::from_json_schema(schema, vocabulary());
    for (int value = -2000; value <= 2000; ++value) {
      const bool is_expected = value >= low && value < high && value % divisor == 0;
      ASSERT_EQ(accepts(grammar, std::to_string(value)), is_expected) << value << " in " << low << ".." << high;
    }
    for (const char* const text : {"-0", "00", "01", "1.0", "1e1", "-", ""})
      EXPECT_FALSE(accepts(grammar, text)) << text;
  }
}

TEST(GrammarSchemaTest, CountsDecimalsOut) {
  // All numbers of up to three digits behind the point around the bounds, which are decimals themselves.
  struct Bounds {
    const char* low;
    const char* high;
    bool is_low_exclusive;
    bool is_high_exclusive;
  };
  for (const Bounds& bounds :
       {Bounds{"0.25", "1.5", false, true}, Bounds{"-1.125", "-0.5", true, false}, Bounds{"-0.3", "0.07", false, false},
        Bounds{"9.99", "10.01", true, true}, Bounds{"2", "2", false, false}, Bounds{"1e-2", "1.2e1", false, false}}) {
    const std::string schema = std::string("{\"type\":\"number\",\"") +
                               (bounds.is_low_exclusive ? "exclusiveMinimum" : "minimum") + "\":" + bounds.low + ",\"" +
                               (bounds.is_high_exclusive ? "exclusiveMaximum" : "maximum") + "\":" + bounds.high + "}";
    const TokenGrammar grammar = TokenGrammar::from_json_schema(schema, vocabulary());
    const int low = static_cast<int>(std::lround(std::stod(bounds.low) * 1000));
    const int high = static_cast<int>(std::lround(std::stod(bounds.high) * 1000));
    for (int value = -2000; value <= 13000; ++value) {
      const bool is_expected = (bounds.is_low_exclusive ? value > low : value >= low) &&
                               (bounds.is_high_exclusive ? value < high : value <= high);
      char text[32];
      std::snprintf(text, sizeof text, "%s%d.%03d", value < 0 ? "-" : "", std::abs(value) / 1000,
                    std::abs(value) % 1000);
      ASSERT_EQ(accepts(grammar, text), is_expected) << text << " under " << schema;
      if (value % 1000 == 0 && value != 0) {
        ASSERT_EQ(accepts(grammar, std::to_string(value / 1000)), is_expected) << value / 1000 << " under " << schema;
      }
    }
  }
}

TEST(GrammarSchemaTest, TakesStringsInEverySpelling) {
  const std::string schema = R"({"type":"string","minLength":2,"maxLength":3})";
  for (const char* const text : {R"("ab")", R"("a\n\"")", R"("\u00e9\u00E9")", R"("\ud83d\ude00x")", R"("é日")",
                                 R"("\/\\\b")", "\"\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80\""}) {
    EXPECT_TRUE(accepts(schema, text)) << text;
  }
  for (const char* const text :
       {R"("a")", R"("abcd")", R"("\ud83d\ude00")", R"("\ud83dx")", R"("\udc00\udc00")", R"("\x41b")", "\"a\nb\"",
        "\"\xC3\x28z\"", "\"\xED\xA0\x80\xED\xB0\x80\"", "\"\xC0\x80x\"", R"("ab)"}) {
    EXPECT_FALSE(accepts(schema, text)) << text;
  }
}

TEST(GrammarSchemaTest, KeepsNamesApartFromListedOnes) {
  const std::string schema =
      R"({"type":"object","properties":{"id":{"type":"integer"},"é\"":{"type":"null"}},"additionalProperties":{"type":"boolean"}})";
  EXPECT_TRUE(accepts(schema, R"({"id":1,"é\"":null,"ids":true,"i":false})"));
  EXPECT_TRUE(accepts(schema, R"({"":true})"));
  EXPECT_FALSE(accepts(schema, R"({"id":true})"));
  EXPECT_FALSE(accepts(schema, R"({"é\"":true})"));
  EXPECT_FALSE(accepts(schema, R"({"\u0069d":true})"));  // The same name, spelled to get past.
}

TEST(GrammarSchemaTest, HoldsToTheWhitespaceAskedFor) {
  const std::string schema =
      R"({"type":"object","properties":{"a":{"type":"array","items":{"type":"integer"}}},"required":["a"]})";
  GrammarOptions options;
  options.whitespace = JsonWhitespace::kCompact;
  EXPECT_TRUE(accepts(schema, R"({"a":[1,2]})", options));
  EXPECT_FALSE(accepts(schema, R"({"a": [1,2]})", options));
  options.whitespace = JsonWhitespace::kFlexible;
  options.max_whitespace = 3;
  EXPECT_TRUE(accepts(schema, "{\n\t \"a\" : [ 1 , 2 ]   }", options));
  EXPECT_FALSE(accepts(schema, R"({    "a":[]})", options));
  EXPECT_FALSE(accepts(schema, " {\"a\":[]}", options));
  EXPECT_FALSE(accepts(schema, "{\"a\":[]} ", options));
  options.whitespace = JsonWhitespace::kIndented;
  for (const char* const text :
       {R"({"a":[1,2]})", R"({"a": [1, 2]})", "{\n  \"a\": [\n   1,\n\t2\n  ]\n}", R"({ "a" : [ 1 , 2 ] })"}) {
    EXPECT_TRUE(accepts(schema, text, options)) << text;
  }
  for (const char* const text :
       {"{\n    \"a\":[]}", "{\n\n\"a\":[]}", R"({"a":  []})", "{\t\"a\":[]}", "{ \n\"a\":[]}", " {\"a\":[]}"}) {
    EXPECT_FALSE(accepts(schema, text, options)) << text;
  }
  options.max_whitespace = 0;
  EXPECT_TRUE(accepts(schema, "{\n\"a\": []}", options));
  EXPECT_FALSE(accepts(schema, "{\n \"a\": []}", options));
  const GrammarOptions defaults;
  EXPECT_TRUE(accepts(schema, "{\n" + std::string(24, ' ') + "\"a\": [1]\n}", defaults));
  EXPECT_FALSE(accepts(schema, "{\n" + std::string(25, ' ') + "\"a\": [1]\n}", defaults));
}

TEST(GrammarSchemaTest, OpensObjectsWhereAsked) {
  const std::string schema = R"({"type":"object","properties":{"a":{"type":"integer"}}})";
  GrammarOptions options;
  EXPECT_FALSE(accepts(schema, R"({"a":1,"b":2})", options));
  options.is_open_by_default = true;
  EXPECT_TRUE(accepts(schema, R"({"a":1,"b":2})", options));
}

struct Refusal {
  const char* schema;
  ErrorKind kind;
  const char* place;
  const char* reason;
};

class GrammarSchemaErrorTest : public testing::TestWithParam<Refusal> {};

TEST_P(GrammarSchemaErrorTest, NamesPlaceAndReason) {
  try {
    TokenGrammar::from_json_schema(GetParam().schema, vocabulary());
    ADD_FAILURE() << "was taken: " << GetParam().schema;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), GetParam().kind) << error.what();
    EXPECT_THAT(error.where(), testing::HasSubstr(GetParam().place)) << error.what();
    EXPECT_THAT(error.what(), testing::HasSubstr(GetParam().reason));
  }
}

constexpr ErrorKind kBad = ErrorKind::kBadInput;
constexpr ErrorKind kNot = ErrorKind::kUnsupported;

INSTANTIATE_TEST_SUITE_P(
    Schemas, GrammarSchemaErrorTest,
    testing::Values(
        Refusal{"{", kBad, "JSON schema", "is not valid JSON"}, Refusal{"3", kBad, "#", "should be a schema"},
        Refusal{"false", kBad, "JSON schema", "no"},
        Refusal{R"({"type":"string","minLength":1e300})", kNot, "#/minLength", "thousand million"},
        Refusal{R"({"type":"string","minLength":0.5})", kBad, "#/minLength", "0 or more"},
        Refusal{R"({"type":"array","minItems":3,"maxItems":2})", kBad, "#", "minItems is more than maxItems"},
        Refusal{R"({"type":"string","minLength":3,"maxLength":2})", kBad, "#", "minLength is more than maxLength"},
        Refusal{R"({"type":"integer","minimum":3,"maximum":2})", kBad, "#", "no number"},
        Refusal{R"({"type":"integer","minimum":0.2,"maximum":0.8})", kBad, "#", "no number"},
        Refusal{R"({"type":"integer","minimum":1,"maximum":4,"multipleOf":5})", kBad, "#", "no number"},
        Refusal{R"({"enum":[]})", kBad, "#/enum", "is empty"},
        Refusal{R"({"type":"string","enum":[1,2]})", kBad, "#", "no value of enum"},
        Refusal{R"({"allOf":[{"type":"string"},{"type":"integer"}]})", kBad, "JSON schema", "describes no text"},
        Refusal{R"({"type":"string","pattern":"^a+$","format":"date"})", kBad, "#", "no text conforms"},
        Refusal{R"({"type":"object","required":["a"],"properties":{"a":false}})", kBad, "#", "'a' is required"},
        Refusal{R"({"type":"object","required":["a"],"additionalProperties":false})", kBad, "#", "'a' is required"},
        Refusal{R"({"$ref":"#"})", kBad, "#", "circle"},
        Refusal{R"({"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"anyOf":[{"$ref":"#/$defs/a"}]}},"$ref":"#/$defs/a"})", kBad,
                "#", "circle"},
        Refusal{R"({"type":"object","properties":{"x":{"$ref":"#"}},"required":["x"]})", kBad, "JSON schema",
                "never ends"},
        Refusal{R"({"type":"array","items":{"$ref":"#"},"minItems":1})", kBad, "JSON schema", "never ends"},
        Refusal{R"({"$ref":"#/$defs/none"})", kBad, "#/$ref", "leads nowhere"},
        Refusal{R"({"$ref":"other.json"})", kNot, "#/$ref", "another document"},
        Refusal{R"({"properties":{"a":{"not":{}}}})", kNot, "#/properties/a/not", "'not'"},
        Refusal{R"({"if":{},"then":{}})", kNot, "#/if", "'if'"},
        Refusal{R"({"type":"array","uniqueItems":true})", kNot, "#/uniqueItems", "uniqueItems"},
        Refusal{R"({"type":"array","contains":{}})", kNot, "#/contains", "'contains'"},
        Refusal{R"({"type":"number","multipleOf":0.3})", kNot, "#/multipleOf", "0.3"},
        Refusal{R"({"type":"string","format":"colour"})", kNot, "#/format", "'colour'"},
        Refusal{R"x({"type":"string","pattern":"(?=a)"})x", kNot, "#/pattern", "look-ahead"},
        Refusal{R"x({"type":"string","pattern":"("})x", kBad, "#/pattern", "without ')'"},
        Refusal{R"({"tpye":"string"})", kNot, "#/tpye", "'tpye'"},
        Refusal{R"({"type":"text"})", kBad, "#/type", "'text'"},
        Refusal{R"({"properties":[]})", kBad, "#/properties", "object of schemas"},
        Refusal{R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", kNot, "#/oneOf", "exclude each other"},
        Refusal{R"({"type":"array","items":{"type":"integer"},"maxItems":100000})", kNot, "JSON schema", "states"},
        Refusal{R"({"type":"object","properties":{"a":{},"b":{}},"minProperties":1})", kNot, "#", "minProperties"}));

TEST(GrammarSchemaErrorTest, BoundsTheWorkOfHostileSchemas) {
  // Deep, wide and multiplying ones: an error or a grammar, in a moment.
  std::string deep;
  for (int i = 0; i < 90; ++i) deep += R"({"type":"array","items":)";
  deep += "{}" + std::string(90, '}');
  EXPECT_NO_THROW(TokenGrammar::from_json_schema(deep, vocabulary()));
  std::string deeper;
  for (int i = 0; i < 500; ++i) deeper += R"({"items":)";
  EXPECT_THROW(TokenGrammar::from_json_schema(deeper + "{}" + std::string(500, '}'), vocabulary()), Error);
  std::string products = R"({"allOf":[)";
  for (int i = 0; i < 12; ++i) {
    products += std::string(i > 0 ? "," : "") + R"({"anyOf":[{"minLength":)" + std::to_string(i) +
                R"(},{"maxLength":)" + std::to_string(40 + i) + "}]}";
  }
  EXPECT_THROW(TokenGrammar::from_json_schema(products + "]}", vocabulary()), Error);
  // Every product of these contradicts itself.
  std::string contradictions = R"({"allOf":[)";
  for (int i = 0; i < 40; ++i) contradictions += R"({"anyOf":[{"minimum":1},{"maximum":0}]},)";
  EXPECT_THROW(TokenGrammar::from_json_schema(contradictions + R"({"type":"integer"}]})", vocabulary()), Error);
  std::string doubling = R"({"$defs":{"d0":{"type":"integer"})";
  for (int i = 1; i < 40; ++i) {
    const std::string below = "{\"$ref\":\"#/$defs/d" + std::to_string(i - 1) + "\"}";
    doubling += ",\"d" + std::to_string(i) + R"(":{"type":"array","prefixItems":[)" + below + "," + below + "]}";
  }
  EXPECT_NO_THROW(TokenGrammar::from_json_schema(doubling + R"(},"$ref":"#/$defs/d39"})", vocabulary()));
  std::string enums = R"({"enum":[)";
  for (int i = 0; i < 5000; ++i) enums += std::string(i > 0 ? "," : "") + "\"value " + std::to_string(i * 7919) + "\"";
  EXPECT_NO_THROW(TokenGrammar::from_json_schema(enums + "]}", vocabulary()));
  EXPECT_NO_THROW(TokenGrammar::from_json_schema(R"({"type":"string","maxLength":100000000})", vocabulary()));
  // References in a row, with and without something written on the way: none may be a level of the stack.
  const auto chain = [](int length, const std::string& before, const std::string& behind) {
    std::string schema = R"({"$ref":"#/$defs/d0","$defs":{)";
    for (int i = 0; i < length; ++i) {
      schema += "\"d" + std::to_string(i) + "\":" + before + R"({"$ref":"#/$defs/d)" + std::to_string(i + 1) + "\"}" +
                behind + ",";
    }
    return schema + "\"d" + std::to_string(length) + R"(":{"type":"null"}}})";
  };
  const std::string before = R"({"type":"object","required":["a"],"properties":{"a":)";
  EXPECT_NO_THROW(TokenGrammar::from_json_schema(chain(1000, before, "}}"), vocabulary()));
  EXPECT_THROW(TokenGrammar::from_json_schema(chain(10'000, before, "}}"), vocabulary()), Error);  // too many states
  EXPECT_NO_THROW(TokenGrammar::from_json_schema(chain(500, "", ""), vocabulary()));
  EXPECT_THROW(TokenGrammar::from_json_schema(chain(9000, "", ""), vocabulary()), Error);
  std::string branches = R"({"oneOf":[)";
  for (int i = 0; i < 20000; ++i) branches += std::string(i > 0 ? "," : "") + R"({"const":)" + std::to_string(i) + "}";
  EXPECT_THROW(TokenGrammar::from_json_schema(branches + "]}", vocabulary()), Error);
  EXPECT_THROW(TokenGrammar::from_json_schema(R"({"type":"string","pattern":"^(?:ab|abc){100000}$"})", vocabulary()),
               Error);
}

}  // namespace
}  // namespace pajamas
