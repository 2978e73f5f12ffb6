// `pajamas run` on a language model, with the real program: prompts, files of requests, conversations through a pipe,
// and what it says to bad ones. The model is tiny and random, with a tokenizer of single characters made here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "support/program.h"
#include "support/tiny_language.h"

namespace pajamas::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

/// A bundle of the tiny model, built once; `with_template` false: one that holds no conversation.
class RunGeneration : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder();
    build("chat", true);
    build("plain", false);
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  static void build(const std::string& name, bool with_template) {
    const fs::path checkpoint = *folder_ / (name + "-checkpoint");
    write_tiny_checkpoint(checkpoint, with_template);
    const ProgramRun built = run_program(PAJAMAS_PROGRAM, {"build", checkpoint.string(), "--target", "openvino",
                                                           "--precision", "fp32", "-o", (*folder_ / name).string()});
    ASSERT_EQ(built.exit_code, 0) << built.errors;
  }

  static std::string bundle(const std::string& name = "chat") { return (*folder_ / name).string(); }
  static ProgramRun run(std::vector<std::string> arguments, const std::string& prefix = {}) {
    arguments.insert(arguments.begin(), "run");
    return run_program(PAJAMAS_PROGRAM, arguments, prefix);
  }
  static std::string put(const std::string& name, const std::string& text) {
    std::ofstream(*folder_ / name) << text;
    return (*folder_ / name).string();
  }
  static void expect_failure(std::vector<std::string> arguments, int exit_code, const std::string& text) {
    const ProgramRun failed = run(std::move(arguments));
    EXPECT_EQ(failed.exit_code, exit_code) << failed.output << failed.errors;
    EXPECT_THAT(failed.errors, HasSubstr(text));
  }
  static std::vector<nlohmann::json> lines_of(const std::string& text) {
    std::vector<nlohmann::json> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }
  static TemporaryFolder* folder_;
};
TemporaryFolder* RunGeneration::folder_ = nullptr;

TEST_F(RunGeneration, APromptIsAnsweredTheSameEachTime) {
  const ProgramRun text = run({bundle(), "--prompt", "hello", "--max-tokens", "8"});
  ASSERT_EQ(text.exit_code, 0) << text.errors;
  EXPECT_THAT(text.errors, HasSubstr("first after"));
  const ProgramRun json = run({bundle(), "--prompt", "hello", "--max-tokens", "8", "--json"});
  ASSERT_EQ(json.exit_code, 0) << json.errors;
  EXPECT_EQ(schema_violations(json.json(), "run"), "");
  const nlohmann::json result = json.json()["results"][0];
  EXPECT_EQ(result["answers"][0]["text"].get<std::string>() + "\n", text.output);
  EXPECT_EQ(result["num_prompt_tokens"], 10);  // "u:hello,a:"
  const ProgramRun raw = run({bundle(), "--prompt", "hello", "--raw", "--max-tokens", "8", "--json"});
  EXPECT_LE(raw.json()["results"][0]["num_prompt_tokens"], 6);
  const std::vector<std::string> sampled = {bundle(), "--prompt",     "hello", "--temperature", "1", "--seed",
                                            "7",      "--max-tokens", "20"};
  EXPECT_EQ(run(sampled).output, run(sampled).output);
}

TEST_F(RunGeneration, SeveralAnswersAndLogprobs) {
  const ProgramRun json = run({bundle(), "--prompt", "hello", "--max-tokens", "4", "--num-answers", "3",
                               "--temperature", "1", "--logprobs", "2", "--json"});
  ASSERT_EQ(json.exit_code, 0) << json.errors;
  EXPECT_EQ(schema_violations(json.json(), "run"), "");
  const nlohmann::json result = json.json()["results"][0];
  ASSERT_EQ(result["answers"].size(), 3U);
  EXPECT_EQ(result["answers"][0]["tokens"][0]["top"].size(), 2U);
}

TEST_F(RunGeneration, AnAnswerKeepsToASchema) {
  const std::string schema = put("schema.json", R"({"type":"object","properties":{"ab":{"type":"boolean"}},)"
                                                R"("required":["ab"],"additionalProperties":false})");
  const ProgramRun run_schema = run({bundle(), "--prompt", "x", "--schema", schema, "--temperature", "1"});
  ASSERT_EQ(run_schema.exit_code, 0) << run_schema.errors;
  const auto answer = nlohmann::json::parse(run_schema.output);
  EXPECT_TRUE(answer.at("ab").is_boolean());
  expect_failure({bundle(), "--prompt", "x", "--schema", put("bad.json", "{\"type\": 7}")}, 4, "type");
  expect_failure({bundle(), "--prompt", "x", "--schema", schema, "--regex", "a"}, 2, "--regex");
}

TEST_F(RunGeneration, RequestsComeBackInTheirOrder) {
  std::string requests;
  for (int i = 0; i < 20; ++i) {
    requests += nlohmann::json({{"prompt", std::string(static_cast<std::size_t>(1 + i % 7), 'a')},
                                {"max_tokens", 1 + (i * 7) % 13},
                                {"temperature", 1.0},
                                {"seed", i}})
                    .dump() +
                "\n\n";
  }
  const std::string path = put("requests.jsonl", requests);
  const ProgramRun many = run({bundle(), "--prompts", path, "--concurrency", "6", "--exact-fp32"});
  const ProgramRun single = run({bundle(), "--prompts", path, "--concurrency", "1", "--exact-fp32"});
  ASSERT_EQ(many.exit_code, 0) << many.errors;
  const auto answers = lines_of(many.output);
  const auto alone = lines_of(single.output);
  ASSERT_EQ(answers.size(), 20U);
  ASSERT_EQ(alone.size(), 20U);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    EXPECT_EQ(schema_violations(answers[i], "generation_answer"), "");
    EXPECT_EQ(answers[i]["id"], 2 * i + 1) << "the number of the line";
    EXPECT_EQ(answers[i]["answers"], alone[i]["answers"]);
  }
  const ProgramRun json = run({bundle(), "--prompts", path, "--json"});
  EXPECT_EQ(schema_violations(json.json(), "run"), "");
}

TEST_F(RunGeneration, OneRefusedRequestLeavesTheOthers) {
  const std::string path =
      put("mixed.jsonl", "{\"id\": \"a\", \"prompt\": \"hello\", \"max_tokens\": 2}\n{\"id\": \"b\", \"prompt\": \"" +
                             std::string(100, 'x') +
                             "\"}\n{\"id\": 3, \"messages\": [{\"role\": \"user\", \"content\": \"hi\"}], "
                             "\"stop\": \"a\", \"max_tokens\": 2}\n{\"prompt_tokens\": [1, 5], \"max_tokens\": 1}\n");
  const ProgramRun mixed = run({bundle(), "--prompts", path});
  EXPECT_EQ(mixed.exit_code, 4) << mixed.errors;
  const auto answers = lines_of(mixed.output);
  ASSERT_EQ(answers.size(), 4U);
  for (const auto& answer : answers) EXPECT_EQ(schema_violations(answer, "generation_answer"), "");
  EXPECT_EQ(answers[0]["id"], "a");
  EXPECT_THAT(answers[1]["error"]["message"].get<std::string>(), HasSubstr("the context holds 64"));
  EXPECT_EQ(answers[2]["id"], 3);
  EXPECT_EQ(answers[3]["answers"][0]["num_tokens"], 1);
}

TEST_F(RunGeneration, WrongLinesAreNamedBeforeAnythingRuns) {
  const auto refused = [&](const std::string& line, const std::string& text) {
    const std::string path = put("wrong.jsonl", "{\"prompt\": \"fine\"}\n" + line + "\n");
    expect_failure({bundle(), "--prompts", path}, 4, text);
    expect_failure({bundle(), "--prompts", path}, 4, "wrong.jsonl:2");
  };
  refused("{\"prompt\": ", "");
  refused("[]", "object");
  refused("{\"prompt\": \"a\", \"max_token\": 3}", "max_token");
  refused("{\"prompt\": 3}", "prompt");
  refused("{}", "0 of prompt");
  refused("{\"prompt\": \"a\", \"messages\": [{\"role\": \"user\"}]}", "2 of prompt");
  refused("{\"prompt\": \"a\", \"json\": true, \"regex\": \"a\"}", "one of two grammars");
  refused("{\"prompt\": \"a\", \"logit_bias\": {\"x\": 1}}", "number of a token");
  expect_failure({bundle(), "--prompts", put("empty.jsonl", "\n \n")}, 4, "no request");
  expect_failure({bundle(), "--prompts", "/no/such/file"}, 4, "/no/such/file");
}

TEST_F(RunGeneration, BadPromptsAreNamed) {
  expect_failure({bundle()}, 2, "no prompt");
  expect_failure({bundle(), "--prompt", ""}, 2, "empty");
  expect_failure({bundle(), "--prompt", "a\xFFz"}, 4, "not UTF-8");
  expect_failure({bundle(), "--prompt", std::string(70, 'a')}, 4, "the context holds 64");
  expect_failure({bundle(), "--prompt", "a", "--chat"}, 2, "contradict");
  expect_failure({bundle(), "--prompt", "a", "--temperature", "-1"}, 2, "temperature");
  expect_failure({bundle(), "--prompt", "a", "--logprobs", "1"}, 2, "--json");
  expect_failure({bundle(), "--prompt", "a", "--kv-precision", "fp64"}, 2, "fp64");
  expect_failure({bundle(), "--prompt", "a", "--kv-cache-mb", "1000000000"}, 5, "bytes are free");
  expect_failure({bundle(), "photo.jpg"}, 2, "no pictures");
  expect_failure({bundle(), "--prompt", "a", "--labels", "a,b"}, 2, "--labels");
  expect_failure({bundle(), "--chat", "--json"}, 2, "--prompts");
  expect_failure({bundle("plain"), "--chat"}, 3, "no chat template");
  expect_failure({bundle("plain"), "--prompt", "a", "--system", "b"}, 3, "no chat template");
}

TEST_F(RunGeneration, AModelWithoutATemplateTakesPromptsAsTheyAre) {
  const ProgramRun json = run({bundle("plain"), "--prompt", "hello", "--max-tokens", "3", "--json"});
  ASSERT_EQ(json.exit_code, 0) << json.errors;
  EXPECT_LE(json.json()["results"][0]["num_prompt_tokens"], 6);
}

TEST_F(RunGeneration, AConversationThroughAPipe) {
  const auto chat = [&](const std::string& input, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {bundle(), "--chat", "--max-tokens", "4"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments, "printf " + shell_quoted(input) + " | ");
  };
  const ProgramRun two = chat("hi\\nyou\\n");
  ASSERT_EQ(two.exit_code, 0) << two.errors;
  EXPECT_EQ(std::count(two.output.begin(), two.output.end(), '\n'), 2);
  EXPECT_THAT(two.output, Not(HasSubstr("> ")));
  // After /reset the conversation is what it was at its beginning; without, the history counts.
  const ProgramRun reset = chat("hi\\n/reset\\nhi\\n");
  const std::size_t half = reset.output.size() / 2;
  EXPECT_EQ(reset.output.substr(0, half), reset.output.substr(half));
  EXPECT_THAT(reset.errors, HasSubstr("tokens of prompt"));
  const ProgramRun history = chat("hi\\nhi\\n");
  EXPECT_THAT(history.errors, HasSubstr("[7 tokens of prompt"));
  EXPECT_THAT(history.errors, Not(testing::ContainsRegex("\\[7 tokens of prompt.*\n.*\\[7 tokens of prompt")));
  // No line end at the end, an empty line, an unknown command, a slash that is meant, leaving early.
  EXPECT_EQ(chat("hi").output, chat("\\n/frobnicate\\nhi\\n/exit\\nnever read\\n").output);
  EXPECT_THAT(chat("/frobnicate\\n").errors, HasSubstr("no command"));
  EXPECT_EQ(chat("").exit_code, 0);
  // A message that does not fit is said, and the next one answered.
  const ProgramRun too_long = chat(std::string(80, 'x') + "\\nhi\\n");
  EXPECT_EQ(too_long.exit_code, 0);
  EXPECT_THAT(too_long.errors, HasSubstr("the context holds 64"));
  EXPECT_EQ(too_long.output, chat("hi\\n").output);
  EXPECT_THAT(chat("\\377\\nhi\\n").errors, HasSubstr("not UTF-8"));
}

}  // namespace
}  // namespace pajamas::test
