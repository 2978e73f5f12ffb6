// pajamas tokenize, run as a program: ids and pieces, the way back, and refusals with their exit codes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/program.h"

namespace pajamas::test {
namespace {

const std::string kTokenizer = std::string(PAJAMAS_TEST_DATA) + "/tokenizers/gpt2.json";

TEST(TokenizeCommand, ShowsIdsAndPiecesAndTheWayBack) {
  const ProgramRun there = run_program(PAJAMAS_PROGRAM, {"tokenize", kTokenizer, "--text", "the cat<|end|>", "--json"});
  ASSERT_EQ(there.exit_code, 0) << there.errors;
  const nlohmann::json tokens = there.json()["tokens"];
  ASSERT_GT(tokens.size(), 2U);
  EXPECT_EQ(tokens.size(), there.json()["num_tokens"]);
  EXPECT_EQ(tokens.front()["piece"], "<s>");
  EXPECT_EQ(tokens.back()["piece"], "<|end|>");
  EXPECT_EQ(tokens.back()["special"], true);
  std::string ids;
  for (const auto& token : tokens) ids += token["id"].dump() + " ";
  const ProgramRun back = run_program(PAJAMAS_PROGRAM, {"tokenize", kTokenizer, "--decode", ids, "--skip-special"});
  EXPECT_EQ(back.exit_code, 0) << back.errors;
  EXPECT_EQ(back.output, "the cat\n");
}

TEST(TokenizeCommand, RefusesWithTheUsualExitCodes) {
  EXPECT_EQ(run_program(PAJAMAS_PROGRAM, {"tokenize", kTokenizer}).exit_code, 2);
  EXPECT_EQ(run_program(PAJAMAS_PROGRAM, {"tokenize", kTokenizer, "--decode", "one"}).exit_code, 2);
  EXPECT_EQ(run_program(PAJAMAS_PROGRAM, {"tokenize", kTokenizer, "--decode", "1000000"}).exit_code, 4);
  EXPECT_EQ(run_program(PAJAMAS_PROGRAM, {"tokenize", "/nowhere", "--text", "x"}).exit_code, 4);
  EXPECT_EQ(run_program(PAJAMAS_PROGRAM, {"tokenize", std::string(PAJAMAS_TEST_DATA), "--text", "x"}).exit_code, 4);
}

}  // namespace
}  // namespace pajamas::test
