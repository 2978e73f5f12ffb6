// Hostile input to the language path through the real program: damaged and forged checkpoints and GGUF files, settings
// that contradict the weights, tokenizers and templates that would never end, options without a meaning, full disks and
// Ctrl-C. Each ends with a documented exit code, an error that names place and cure, and nothing left behind. What a
// single reader refuses is tested in tests/unit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstring>
#include <functional>
#include <random>

#include "support/program.h"
#include "support/tiny_language.h"

namespace pajamas::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AnyOf;
using testing::Eq;
using testing::HasSubstr;
using testing::Not;

const fs::path kData = fs::path(PAJAMAS_TEST_DATA) / "language";
constexpr const char* kQuery = "model.layers.0.self_attn.q_proj.weight";

template <typename T>
std::string bytes_of_number(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

/// Processor time of the programs run so far, which other programs of the machine do not spoil.
double children_cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// A safetensors file taken apart.
struct SafetensorsParts {
  json header;
  std::string data;

  static SafetensorsParts read(const fs::path& path) {
    const std::string file = read_file(path);
    std::uint64_t size = 0;
    std::memcpy(&size, file.data(), sizeof(size));
    return {json::parse(file.substr(8, size)), file.substr(8 + size)};
  }
  std::string bytes() const {
    const std::string text = header.dump();
    return bytes_of_number<std::uint64_t>(text.size()) + text + data;
  }
};

class HostileLanguage : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new TemporaryFolder();
    write_tiny_checkpoint(*shared_ / "checkpoint");
    const ProgramRun built = run_program(
        PAJAMAS_PROGRAM, {"build", (*shared_ / "checkpoint").string(), "--target", "openvino", "-o", bundle()});
    ASSERT_EQ(built.exit_code, 0) << built.errors;
  }
  static void TearDownTestSuite() {
    delete shared_;
    shared_ = nullptr;
  }
  void SetUp() override {
    fs::create_directory(folder_ / "out");
    write_tiny_checkpoint(folder_ / "checkpoint");
  }

  static std::string bundle() { return (*shared_ / "bundle").string(); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string put(const std::string& name, std::string_view bytes) const {
    write_file(folder_ / name, bytes);
    return path(name);
  }
  ProgramRun build(const std::string& model, std::vector<std::string> more = {}, const std::string& prefix = {}) const {
    std::vector<std::string> arguments = {"build", path(model), "--target", "openvino", "-o", path("out/b"), "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(PAJAMAS_PROGRAM, arguments, prefix);
  }
  /// An error with its four parts, and nothing left in out/.
  void expect_error(const ProgramRun& run, int exit_code, const std::string& text) const {
    EXPECT_EQ(run.exit_code, exit_code) << run.output << run.errors;
    EXPECT_THAT(run.errors, HasSubstr(text));
    EXPECT_THAT(run.errors, HasSubstr("what to do: "));
    EXPECT_TRUE(fs::is_empty(folder_ / "out"));
    if (!run.output.empty()) {
      EXPECT_EQ(schema_violations(run.json(), "error"), "");
    }
  }
  void expect_refused(const std::string& model, int exit_code, const std::string& text,
                      std::vector<std::string> more = {}) const {
    SCOPED_TRACE(model + ": " + text);
    expect_error(build(model, std::move(more)), exit_code, text);
  }
  /// config.json with some members changed; null takes one away.
  void change_config(const json& changes, const fs::path& source = kData / "llama") const {
    json config = json::parse(read_file(source / "config.json"));
    config.merge_patch(changes);
    put("checkpoint/config.json", config.dump());
  }
  ProgramRun run(std::vector<std::string> arguments, const std::string& prefix = {}) const {
    arguments.insert(arguments.begin(), {"run", bundle()});
    return run_program(PAJAMAS_PROGRAM, arguments, prefix);
  }

  static TemporaryFolder* shared_;
  TemporaryFolder folder_;
};
TemporaryFolder* HostileLanguage::shared_ = nullptr;

TEST_F(HostileLanguage, DamagedSafetensors) {
  const fs::path file = folder_ / "checkpoint/model.safetensors";
  const std::string whole = read_file(file);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{7}, std::size_t{100}, whole.size() / 2, whole.size() - 1}) {
    write_file(file, std::string_view(whole).substr(0, size));
    expect_refused("checkpoint", 4, "model.safetensors");
  }
  write_file(file, bytes_of_number(std::uint64_t{1} << 63) + "{}");
  expect_refused("checkpoint", 4, "announces a header of");

  write_file(file, whole);
  const SafetensorsParts good = SafetensorsParts::read(file);
  const auto forged = [&](const std::function<void(json&)>& change, const std::string& text, int exit_code = 4) {
    SafetensorsParts parts = good;
    change(parts.header[kQuery]);
    write_file(file, parts.bytes());
    expect_refused("checkpoint", exit_code, text);
    expect_refused("checkpoint", exit_code, kQuery);
  };
  forged([](json& tensor) { tensor["data_offsets"] = {1000000000000, 1000000005184}; }, "1000000000000");
  forged([](json& tensor) { tensor["data_offsets"] = {5184, 0}; }, "5184 to 0");
  forged([](json& tensor) { tensor["shape"] = {1LL << 60, 36}; }, "1152921504606846976");
  forged([](json& tensor) { tensor["shape"] = {-1, 36}; }, "-1");
  forged([](json& tensor) { tensor["dtype"] = "Q9_X"; }, "unknown tensor type 'Q9_X'", 3);
  forged([](json& tensor) { tensor["dtype"] = "I32"; }, "stored as int32", 3);
  SafetensorsParts overlapping = good;
  overlapping.header[kQuery]["data_offsets"] =
      overlapping.header["model.layers.1.self_attn.q_proj.weight"]["data_offsets"];
  write_file(file, overlapping.bytes());
  expect_refused("checkpoint", 4, "at byte");
}

TEST_F(HostileLanguage, ShardsThatAreNotThere) {
  const fs::path file = folder_ / "checkpoint/model.safetensors";
  const SafetensorsParts good = SafetensorsParts::read(file);
  json map = json::object();
  for (const auto& member : good.header.items()) {
    if (member.key() != "__metadata__") map[member.key()] = "part-1.safetensors";
  }
  fs::rename(file, folder_ / "checkpoint/part-1.safetensors");
  const auto index = [&](const std::string& name, const std::string& shard, const std::string& text) {
    json changed = map;
    changed[name] = shard;
    put("checkpoint/model.safetensors.index.json", json({{"weight_map", changed}}).dump());
    expect_refused("checkpoint", 4, text);
  };
  index(kQuery, "part-2.safetensors", "the shard 'part-2.safetensors', which holds tensor 'model.layers.0");
  index(kQuery, "../part-1.safetensors", "must be the plain name of a file");
  index("no.such.weight", "part-1.safetensors", "is not in the shard");
  put("checkpoint/model.safetensors.index.json", "{\"weight_map\": ");
  expect_refused("checkpoint", 4, "not valid JSON");
  fs::remove(folder_ / "checkpoint/model.safetensors.index.json");
  expect_refused("checkpoint", 4, "has neither model.safetensors");
}

TEST_F(HostileLanguage, SettingsThatContradictTheWeights) {
  const auto refused = [&](const json& changes, const std::string& text, int exit_code = 4) {
    change_config(changes);
    expect_refused("checkpoint", exit_code, text);
  };
  refused({{"hidden_size", 42}}, "but the configuration makes it [71, 42]");
  refused({{"num_hidden_layers", 3}}, "'model.layers.2.input_layernorm.weight' [36] is missing");
  refused({{"num_hidden_layers", 1}}, "belongs to a layer that the configuration does not have; it says 1");
  refused({{"num_hidden_layers", 1LL << 60}}, "num_hidden_layers");
  refused({{"num_key_value_heads", 4}}, "does not divide");
  refused({{"vocab_size", 1LL << 62}}, "vocab_size");
  refused({{"hidden_size", "36"}}, "should be an integer");
  refused({{"eos_token_id", 71}}, "eos_token_id");
  refused({{"tie_word_embeddings", false}}, "'lm_head.weight' [71, 36] is missing");
  // What is not known is named, with what is.
  refused({{"model_type", "deepseek_v3"}}, "model_type 'deepseek_v3' is not known", 3);
  refused({{"architectures", {"OtherForCausalLM"}}}, "LlamaForCausalLM", 3);
  refused({{"quantization_config", {{"quant_method", "gptq"}}}}, "quantised by 'gptq'", 3);
  refused({{"rope_scaling", {{"rope_type", "spiral"}}}}, "default, linear, dynamic, yarn, longrope", 3);
  refused({{"hidden_act", "swoosh"}}, "silu", 3);
  put("checkpoint/config.json", "{\"model_type\": \"llama\"");
  expect_refused("checkpoint", 4, "config.json");
  put("checkpoint/config.json", std::string(100'000, '['));
  expect_refused("checkpoint", 4, "nested deeper");
}

TEST_F(HostileLanguage, ForgedGguf) {
  const std::string good = read_file(kData / "llama/model.gguf");
  const std::string name = "blk.0.attn_q.weight";
  const std::size_t tensor = good.find(name) + name.size();  // rank, two extents, type, offset
  const auto refused = [&](std::string bytes, const std::string& text, int exit_code = 4) {
    put("forged.gguf", bytes);
    expect_refused("forged.gguf", exit_code, text);
  };
  const auto patched = [&](std::size_t at, const std::string& bytes) {
    std::string copy = good;
    return copy.replace(at, bytes.size(), bytes);
  };
  // The last bytes are padding.
  for (const std::size_t size : {std::size_t{2}, std::size_t{23}, std::size_t{3000}, good.size() - 64}) {
    refused(good.substr(0, size), "forged.gguf");
  }
  refused(patched(8, bytes_of_number(std::uint64_t{1} << 60)), "announces 1152921504606846976 tensors");
  refused(patched(16, bytes_of_number(std::uint64_t{1} << 60)), "metadata keys");
  refused(patched(tensor, bytes_of_number(std::uint32_t{1} << 31)), "dimensions");
  refused(patched(tensor + 4, bytes_of_number(std::uint64_t{1} << 60)), "more elements than can be counted");
  refused(patched(tensor + 4, bytes_of_number(std::uint64_t{0})), "has no elements");
  refused(patched(tensor + 24, bytes_of_number(std::uint64_t{1} << 40)), "of the data, which has");
  refused(patched(tensor + 24, bytes_of_number(UINT64_MAX - 31)), "of the data, which has");
  refused(patched(tensor + 24, bytes_of_number(std::uint64_t{0})), "overlap");
  refused(patched(tensor + 20, bytes_of_number(std::uint32_t{999})), "F32, F16, BF16, Q8_0", 3);
  refused(patched(4, bytes_of_number(std::uint32_t{9})), "GGUF version 9", 3);
  refused(patched(good.find("llama", 40), "llamb"), "architecture 'llamb'", 3);
  std::string long_name = good.substr(0, 24) + bytes_of_number<std::uint64_t>(60'000) + std::string(60'000, 'n');
  put("forged.gguf", long_name);
  EXPECT_LT(build("forged.gguf").errors.size(), 1000U) << "names of damaged files are shortened";
}

TEST_F(HostileLanguage, MutatedGgufNeitherCrashesNorLeavesAnything) {
  const std::string good = read_file(kData / "llama/model.gguf");
  std::mt19937 random(31);
  for (int i = 0; i < 16; ++i) {
    SCOPED_TRACE("mutation " + std::to_string(i));
    std::string bytes = good;
    const std::size_t span = i % 2 == 0 ? 1000 : 4000;  // keys, or keys and the table of tensors
    for (int flip = 0; flip < 2; ++flip) bytes[24 + random() % span] ^= static_cast<char>(1U << (random() % 8));
    put("mutated.gguf", bytes);
    const ProgramRun run = build("mutated.gguf");
    EXPECT_THAT(run.exit_code, AnyOf(Eq(0), Eq(3), Eq(4))) << run.errors;
    EXPECT_THAT(run.errors, Not(HasSubstr("crashed")));
    fs::remove_all(folder_ / "out/b");
    EXPECT_TRUE(fs::is_empty(folder_ / "out"));
  }
}

TEST_F(HostileLanguage, TokenizersThatWouldTakeAllMemory) {
  const auto refused = [&](const std::string& part, const json& value, const std::string& text, int exit_code = 4) {
    json tokenizer = tiny_tokenizer_json();
    tokenizer[json::json_pointer(part)] = value;
    put("checkpoint/tokenizer.json", tokenizer.dump());
    const double begin = children_cpu_seconds();
    expect_refused("checkpoint", exit_code, text);
    EXPECT_LT(children_cpu_seconds() - begin, 10);
  };
  json growing = {{"type", "Replace"}, {"pattern", {{"Regex", "."}}}, {"content", std::string(100'000, 'x')}};
  refused("/normalizer", {{"type", "Sequence"}, {"normalizers", {growing, growing, growing}}}, "as long");
  json many = json::array({{{"Sequence", {{"id", "A"}, {"type_id", 0}}}}});
  for (int i = 0; i < 3000; ++i) many.push_back({{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}});
  json special = {{"<s>", {{"id", "<s>"}, {"ids", std::vector<int>(3000, 1)}, {"tokens", json::array()}}}};
  refused("/post_processor", {{"type", "TemplateProcessing"}, {"single", many}, {"special_tokens", special}},
          "tokens around every text");
  refused("/model/vocab/a", 1LL << 40, "an id that is none");
  refused("/model/vocab/a", 4'000'000, "tokenizer and weights may belong to different models");
  refused("/model/type", "Other", "BPE, Unigram and WordPiece", 3);
  refused("/pre_tokenizer", {{"type", "Other"}}, "ByteLevel, Split, Metaspace", 3);
}

TEST_F(HostileLanguage, TemplatesThatAreNoneAndTemplatesWithoutAnEnd) {
  const auto with_template = [&](const std::string& text) {
    put("checkpoint/chat_template.jinja", text);
    const ProgramRun built = build("checkpoint", {"--precision", "fp32"});
    EXPECT_EQ(built.exit_code, 0) << built.errors;
    const ProgramRun asked =
        run_program(PAJAMAS_PROGRAM, {"run", path("out/b"), "--prompt", "a", "--system", "b", "--max-tokens", "2"});
    fs::remove_all(folder_ / "out/b");
    EXPECT_THAT(asked.errors, HasSubstr("what to do: "));
    return std::pair(built.errors, asked);
  };
  const auto [warning, without] = with_template("{% for m in messages %}{{ m");
  EXPECT_THAT(warning, HasSubstr("the bundle has no chat template and takes prompts as they are"));
  EXPECT_EQ(without.exit_code, 3);
  const auto [silence, endless] = with_template("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}");
  EXPECT_THAT(silence, Not(HasSubstr("template")));
  EXPECT_EQ(endless.exit_code, 4);
  EXPECT_THAT(endless.errors, testing::AllOf(HasSubstr("chat_template.jinja, line 1"), HasSubstr("--raw")));
}

TEST_F(HostileLanguage, OptionsWithoutAMeaningAreRefused) {
  const std::string text = put("text.txt", std::string(400, 'a'));
  expect_refused("checkpoint", 2, "--shapes", {"--shapes", "input_ids:4"});
  expect_refused("checkpoint", 2, "--verify-images", {"--verify-images", "photo.jpg"});
  expect_refused("checkpoint", 2, "--per-layer", {"--per-layer"});
  expect_refused("checkpoint", 2, "nothing is quantised", {"--calibration", text});
  expect_refused("checkpoint", 2, "the model was made for 64", {"--context", "65"});
  expect_refused("checkpoint", 2, "use generation or none", {"--task", "detection"});
  expect_refused("checkpoint", 4, "/no/such/text", {"--precision", "int8", "--calibration", "/no/such/text"});
  expect_refused("checkpoint", 4, "not UTF-8 at byte 2",
                 {"--precision", "int8", "--calibration", put("binary.txt", "ab\xFF" + std::string(400, 'c'))});
  const auto refused = [&](std::vector<std::string> arguments, const std::string& wanted) {
    const std::vector<std::string> all = std::move(arguments);
    SCOPED_TRACE(all[0] + " " + wanted);
    expect_error(run_program(PAJAMAS_PROGRAM, all), 2, wanted);
  };
  refused({"verify", bundle(), "--images", "photo.jpg"}, "--images is for");
  refused({"verify", bundle(), "--context", "8"}, "--text");
  refused({"bench", bundle(), "--batch", "2"}, "--batch is for");
  refused({"bench", bundle(), "--input", "60", "--output", "10"}, "do not fit the context of 64");
  refused({"inspect", bundle(), "--task", "generation"}, "--task");
  refused({"inspect", path("checkpoint"), "--task", "detection"}, "generation or none");
  refused({"run", bundle(), "--prompt", "a", "--seed", "-1"}, "--seed");
  refused({"run", bundle(), "--prompt", "a", "--max-tokens", "0"}, "--max-tokens");
  refused({"run", bundle(), "--prompt", "a", "--max-tokens", "-1"}, "--max-tokens");
  refused({"run", bundle(), "--prompt", "a", "--max-tokens", "99999999999999999999"}, "--max-tokens");
  refused({"run", bundle(), "--prompt", "a", "--temperature", "nan"}, "temperature: is nan");
  // A huge number of tokens is bounded by the context.
  const ProgramRun many = run({"--prompt", "a", "--raw", "--max-tokens", "2000000000", "--json"});
  EXPECT_EQ(many.exit_code, 0) << many.errors;
  EXPECT_LE(many.json()["results"][0]["answers"][0]["num_tokens"], 64);
}

TEST_F(HostileLanguage, FoldersThatHoldSomethingElseStay) {
  const ProgramRun itself =
      run_program(PAJAMAS_PROGRAM, {"build", path("checkpoint"), "--target", "openvino", "-o", path("checkpoint")});
  EXPECT_EQ(itself.exit_code, 4) << itself.errors;
  EXPECT_THAT(itself.errors, HasSubstr("holds other files"));
  EXPECT_TRUE(fs::exists(folder_ / "checkpoint/model.safetensors"));
  fs::create_directory(folder_ / "empty");
  const ProgramRun empty =
      run_program(PAJAMAS_PROGRAM, {"build", path("checkpoint"), "--target", "openvino", "-o", path("empty")});
  EXPECT_EQ(empty.exit_code, 0) << empty.errors;
  const ProgramRun again =
      run_program(PAJAMAS_PROGRAM, {"build", path("checkpoint"), "--target", "openvino", "-o", path("empty")});
  EXPECT_EQ(again.exit_code, 0) << "a bundle takes the place of a bundle: " << again.errors;
  for (const char* output : {"/dev/null/b", "/proc/b"}) {
    const ProgramRun run =
        run_program(PAJAMAS_PROGRAM, {"build", path("checkpoint"), "--target", "openvino", "-o", output});
    EXPECT_EQ(run.exit_code, 4) << run.errors;
    EXPECT_THAT(run.errors, HasSubstr("what to do: "));
  }
}

TEST_F(HostileLanguage, AFullDiskNamesTheBundle) {
  // A limit of file sizes (blocks of 512 bytes) stands in for the full disk.
  const ProgramRun run = build("checkpoint", {}, "trap '' XFSZ; ulimit -f 20; exec ");
  expect_error(run, 4, "out/b/");
  EXPECT_THAT(run.errors, Not(HasSubstr(".partial-")));
}

TEST_F(HostileLanguage, AModelWithoutATaskIsBuiltAndProven) {
  ASSERT_EQ(build("checkpoint", {"--task", "none"}).exit_code, 0);
  const ProgramRun verified = run_program(PAJAMAS_PROGRAM, {"verify", path("out/b")});
  EXPECT_EQ(verified.exit_code, 0) << verified.errors;
  EXPECT_THAT(verified.output, HasSubstr("passed"));
}

TEST_F(HostileLanguage, GrammarsAreNamedByTheirPlace) {
  const auto refused = [&](const std::string& option, const std::string& value, const std::string& where,
                           const std::string& text, int exit_code = 4) {
    SCOPED_TRACE(option + " " + value.substr(0, 80));
    const ProgramRun asked = run({"--prompt", "a", option, value});
    expect_error(asked, exit_code, text);
    EXPECT_THAT(asked.errors, HasSubstr(where));
  };
  const auto schema = [&](const std::string& text, const std::string& wanted, int exit_code = 4) {
    refused("--schema", put("schema.json", text), "schema.json", wanted, exit_code);
  };
  schema("{\"type\":", "not valid JSON");
  schema("{\"type\":\"\xFF\"}", "not UTF-8");
  schema(R"({"type":"integer","minimum":5,"maximum":3})", "no value can conform");
  schema(R"({"enum":[]})", "no value can conform");
  schema(R"({"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}})", "circle");
  schema(R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})", "recursion");
  schema(R"({"type":"array","minItems":1000000000,"items":{"type":"integer"}})", "too large to compile", 3);
  schema(R"({"not":{}})", "'not' is not supported", 3);
  const auto grammar = [&](const std::string& text, const std::string& wanted, int exit_code = 4) {
    refused("--grammar", put("answer.ebnf", text), "answer.ebnf", wanted, exit_code);
  };
  grammar("root ::= other", "'other' is used and not defined");
  grammar("root ::= root", "describes no text");
  grammar("root ::= ((\"a\"{1000}){1000}){1000}", "too large to compile", 3);
  grammar("root ::= " + std::string(50'000, '('), "nested deeper");
  refused("--regex", "(a", "--regex", "'(' without ')'");
  refused("--schema", "/no/such/schema", "/no/such/schema", "cannot open");
  // The empty expression allows the empty answer only; it is no missing one.
  const ProgramRun empty = run({"--prompt", "a", "--regex", ""});
  EXPECT_EQ(empty.exit_code, 0) << empty.errors;
  EXPECT_EQ(empty.output, "\n");
}

TEST_F(HostileLanguage, CtrlCEndsARunWith130) {
  std::string requests;
  for (int i = 0; i < 20'000; ++i) requests += "{\"prompt\": \"a\"}\n";
  put("many.jsonl", requests);
  const std::string arguments = shell_quoted(PAJAMAS_PROGRAM) + " run " + shell_quoted(bundle()) + " --prompts " +
                                shell_quoted(path("many.jsonl")) + " >" + shell_quoted(path("answers"));
  const ProgramRun stopped = run_program(
      "true", {}, "set -m; " + arguments + " & sleep 1; kill -INT $!; wait $!; code=$?; test $code -eq 130 && ");
  EXPECT_EQ(stopped.exit_code, 0) << stopped.errors;
  // What was answered before is there in whole lines.
  const std::string answers = read_file(folder_ / "answers");
  EXPECT_TRUE(answers.empty() || answers.back() == '\n');
  const ProgramRun build_stopped =
      run_program("true", {},
                  "set -m; " + shell_quoted(PAJAMAS_PROGRAM) + " build " + shell_quoted(path("checkpoint")) +
                      " --target openvino -o " + shell_quoted(path("out/b")) +
                      " >/dev/null & sleep 0.2; kill -INT $!; wait $!; code=$?; test $code -eq 130 && ");
  EXPECT_EQ(build_stopped.exit_code, 0) << build_stopped.errors;
  EXPECT_TRUE(fs::is_empty(folder_ / "out"));
}

TEST_F(HostileLanguage, JsonOfEveryCommandKeepsToItsSchema) {
  const std::string text = put("text.txt", std::string(200, 'a'));
  const ProgramRun verified =
      run_program(PAJAMAS_PROGRAM, {"verify", bundle(), "--text", text, "--context", "32", "--json"});
  ASSERT_EQ(verified.exit_code, 0) << verified.errors;
  EXPECT_EQ(schema_violations(verified.json(), "verify_text"), "");
  EXPECT_TRUE(verified.json()["text_quality"].contains("mean_kl"));
  const ProgramRun alone =
      run_program(PAJAMAS_PROGRAM, {"verify", bundle(), "--text", text, "--context", "32", "--no-reference", "--json"});
  EXPECT_EQ(schema_violations(alone.json(), "verify_text"), "");
  const ProgramRun measured = run_program(PAJAMAS_PROGRAM, {"bench", bundle(), "--concurrency", "1,3", "--input", "9",
                                                            "--output", "3", "--repeats", "1", "--json"});
  ASSERT_EQ(measured.exit_code, 0) << measured.errors;
  EXPECT_EQ(schema_violations(measured.json(), "bench_generation"), "");
  const auto schema = [](const char* name) {
    return json::parse(read_file(fs::path(PAJAMAS_SOURCE_DIR) / "docs/schemas" / name));
  };
  EXPECT_EQ(schema("inspect.schema.json")["oneOf"][1]["properties"]["task"],
            schema("manifest.schema.json")["properties"]["task"])
      << "a model's task is described as a bundle's is";
  for (const char* model : {"checkpoint", "bundle"}) {
    const ProgramRun inspected = run_program(PAJAMAS_PROGRAM, {"inspect", (*shared_ / model).string(), "--json"});
    EXPECT_EQ(schema_violations(inspected.json(), "inspect"), "");
  }
  for (const std::vector<std::string>& what :
       {std::vector<std::string>{"--text", "ab c"}, std::vector<std::string>{"--decode", "3 4 5"}}) {
    std::vector<std::string> arguments = {"tokenize", bundle(), "--json"};
    arguments.insert(arguments.end(), what.begin(), what.end());
    EXPECT_EQ(schema_violations(run_program(PAJAMAS_PROGRAM, arguments).json(), "tokenize"), "");
  }
  EXPECT_EQ(schema_violations({{"prompt", "a"}, {"max_tokens", 3}, {"stop", {"b"}}}, "generation_request"), "");
  EXPECT_NE(schema_violations({{"prompt", "a"}, {"max_token", 3}}, "generation_request"), "");
}

}  // namespace
}  // namespace pajamas::test
