// Wav2Vec2 and HuBERT checkpoints become graphs that compute what transformers computes, on tiny random checkpoints
// (tools/goldens/make_ctc_models.py): at the shortest length, odd ones and in batches, by ONNX Runtime, the interpreter
// and each target that is built in; vocabularies, and what is said to folders that cannot be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>

#include "base/files.h"
#include "graph/checker.h"
#include "graph/interpreter.h"
#include "graph/shape_inference.h"
#include "io/onnx_writer.h"
#include "io/safetensors.h"
#include "models/model_definition.h"
#include "support/temporary_folder.h"
#include "targets/registry.h"
#include "toolchain/build.h"
#include "toolchain/import.h"
#include "toolchain/prove_bundle.h"
#include "verify/onnxruntime_reference.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr float kTolerance = 1e-4F;

fs::path folder_of(const std::string& name) { return fs::path(PAJAMAS_TEST_DATA) / "ctc" / name; }

void expect_near(const Tensor& actual, const Tensor& expected, const std::string& what) {
  ASSERT_EQ(actual.shape(), expected.shape()) << what;
  float worst = 0;
  for (std::size_t i = 0; i < expected.as<float>().size(); ++i) {
    const float difference = std::abs(actual.as<float>()[i] - expected.as<float>()[i]);
    if (!(difference <= worst)) worst = difference;
  }
  EXPECT_LE(worst, kTolerance) << what;
}

/// The first `count` elements of rows [begin, begin + num_rows).
Tensor part_of(const Tensor& tensor, std::int64_t begin, std::int64_t num_rows, std::int64_t count) {
  std::vector<float> values;
  const std::int64_t length = tensor.shape()[1];
  for (std::int64_t row = begin; row < begin + num_rows; ++row) {
    const auto from =
        tensor.as<float>().subspan(static_cast<std::size_t>(row * length), static_cast<std::size_t>(count));
    values.insert(values.end(), from.begin(), from.end());
  }
  return Tensor::of<float>(Shape{num_rows, count}, std::span<const float>(values));
}

const Target* cpu_target() {
  for (const Target* target : targets()) {
    if (target->name() == "openvino") return target;
  }
  return nullptr;
}

/// The model as a target runs it, in float32.
class Runner {
 public:
  Runner(const Target& target, const ImportedPart& part) {
    const Model& model = part.model;
    BuildPlan plan;
    plan.target = std::string(target.name());
    plan.precision = Precision::kFp32;
    plan.num_threads = 1;
    plan.profiles = part.profiles;
    plan.profiles.at(0).max[0] = 2;  // Programs run window by window; the graph takes batches.
    plan = target.resolve(plan);
    const LoweredModel lowered = lower(model, target, plan, {});
    EXPECT_TRUE(target.supports(lowered.model, plan)) << target.supports(lowered.model, plan).reason;
    const CompiledPart compiled = target.compile({lowered.model, plan, "model", folder_.path(), {}});
    engine_ = load_compiled(folder_.path(), "model", compiled, plan, true);
    session_ = engine_->new_session();
  }
  Tensor run(const Tensor& samples) {
    session_->set_input(0, samples.view());
    session_->run();
    return Tensor::copy_of(session_->output(0));
  }

 private:
  test::TemporaryFolder folder_;
  std::shared_ptr<const Engine> engine_;
  std::unique_ptr<Session> session_;
};

class CtcModelTest : public testing::TestWithParam<const char*> {
 protected:
  CtcModelTest()
      : imported_(import_model(folder_of(GetParam()), {})),
        golden_(Safetensors::read(folder_of(GetParam()) / "golden.safetensors")) {}

  /// Calls with samples of each golden length, of all rows and of one, and what transformers gives for them.
  void for_each_length(const std::function<void(const Tensor& samples, const Tensor& logits)>& check) {
    const Tensor samples = golden_.tensor("samples");
    for (const std::string& name : golden_.names()) {
      if (!name.starts_with("logits.")) continue;
      SCOPED_TRACE(name);
      const std::int64_t count = std::stol(name.substr(7));
      check(part_of(samples, 0, 2, count), golden_.tensor(name));
      const Tensor logits = golden_.tensor(name);
      Shape one = logits.shape();
      one[0] = 1;
      const std::byte* last = logits.bytes().data() + logits.size_bytes() / 2;
      check(part_of(samples, 1, 1, count), Tensor::copy_of({DType::kFloat32, one, last}));
    }
  }

  ImportedModel imported_;
  Safetensors golden_;
};

TEST_P(CtcModelTest, LogitsAreThoseOfTransformers) {
  ASSERT_EQ(imported_.parts.size(), 1U);
  Model model = imported_.parts[0].model;
  EXPECT_TRUE(check_model(model).foreign_operators.empty());
  infer_shapes(model);
  const std::string bytes = serialize_onnx(model);
  const OnnxRuntimeSession session(std::as_bytes(std::span(bytes)), {});
  int num_interpreted = 0;
  for_each_length([&](const Tensor& samples, const Tensor& logits) {
    expect_near(session.run({{"samples", samples}})[0], logits, "ONNX Runtime");
    // Which takes a while on the longest.
    if (samples.num_elements() > 2000 && num_interpreted > 0) return;
    ++num_interpreted;
    expect_near(run_graph(model, {{"samples", samples}}).at("logits"), logits, "the interpreter");
  });
  if (cpu_target() == nullptr) GTEST_SKIP() << "no target for it is built in";
  Runner runner(*cpu_target(), imported_.parts[0]);
  for_each_length(
      [&](const Tensor& samples, const Tensor& logits) { expect_near(runner.run(samples), logits, "openvino"); });
  // Much longer than what was run before: OpenVINO's own attention for open lengths would give other numbers.
  const Tensor all = golden_.tensor("samples");
  std::vector<float> many;
  for (int i = 0; i < 4; ++i) many.insert(many.end(), all.as<float>().begin(), all.as<float>().end());
  const auto count = static_cast<std::int64_t>(many.size());
  const Tensor longer = Tensor::of<float>(Shape{1, count}, std::span<const float>(many));
  expect_near(runner.run(longer), session.run({{"samples", longer}})[0], "openvino behind shorter ones");
}

/// Texts of a padded batch with a mask have the logits that each has alone: so no mask is needed.
TEST_P(CtcModelTest, MaskedBatchesAreTheirTextsAlone) {
  if (!golden_.has("masked.0")) GTEST_SKIP() << "models of this kind are not run with masks";
  if (cpu_target() == nullptr) GTEST_SKIP() << "no target for it is built in";
  Runner runner(*cpu_target(), imported_.parts[0]);
  const CtcFacts& facts = imported_.task.transcription->ctc.value();
  for (const std::int64_t row : {0, 1}) {
    const Tensor expected = golden_.tensor("masked." + std::to_string(row));
    const Tensor samples = part_of(golden_.tensor("samples"), row, 1, facts.samples_of(expected.shape()[1]));
    expect_near(runner.run(samples), expected, "row " + std::to_string(row));
  }
}

TEST_P(CtcModelTest, FactsAreThoseOfTheCheckpoint) {
  const std::string name = GetParam();
  const TranscriptionFacts& task = imported_.task.transcription.value();
  const CtcFacts& facts = task.ctc.value();
  EXPECT_EQ(imported_.family, name.starts_with("hubert") ? "hubert" : "wav2vec2");
  EXPECT_EQ(task.sample_rate_hz, 16000);
  const std::vector<std::string> upper{"", "", "", "", " ", "E", "T", "A", "O", "N", "'", "Ä"};
  const std::vector<std::string> lower{"", "", "", "", " ", "e", "t", "a", "o", "n", "'", "ä"};
  EXPECT_EQ(facts.tokens, name == "hubert_group" ? lower : upper);
  EXPECT_EQ(facts.blank_id, 0);
  EXPECT_EQ(facts.word_delimiter_id, 4);
  EXPECT_EQ(facts.is_normalized, name != "hubert_group");
  EXPECT_EQ(facts.samples_per_frame, name == "wav2vec2_group"   ? 320
                                     : name == "wav2vec2_layer" ? 20
                                     : name == "hubert_group"   ? 15
                                                                : 8);
  EXPECT_EQ(facts.frame_samples, name == "wav2vec2_group"   ? 400
                                 : name == "wav2vec2_layer" ? 30
                                 : name == "hubert_group"   ? 24
                                                            : 16);
  EXPECT_EQ(facts.window_frames, name == "wav2vec2_group" ? 1000 : 1500);
  for_each_length([&](const Tensor& samples, const Tensor& logits) {
    EXPECT_EQ(facts.frames_of(samples.shape()[1]), logits.shape()[1]);
  });
  EXPECT_EQ(facts.frames_of(facts.frame_samples - 1), 0);
  const nlohmann::json json = to_json(imported_.task);
  EXPECT_EQ(to_json(parse_task_facts(JsonReader(json, "manifest.json"))), json);
}

INSTANTIATE_TEST_SUITE_P(Ctc, CtcModelTest,
                         testing::Values("wav2vec2_group", "wav2vec2_layer", "hubert_group", "hubert_batch"),
                         [](const auto& param_info) { return std::string(param_info.param); });

/// A copy of a checkpoint that something is done to.
class CtcFolderTest : public testing::Test {
 protected:
  void copy(const char* name) {
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_of(name))) {
      fs::copy(entry.path(), folder_.path() / entry.path().filename(), fs::copy_options::overwrite_existing);
    }
  }
  void change(const char* file, const std::function<void(nlohmann::json&)>& edit) {
    nlohmann::json json = nlohmann::json::parse(read_file(folder_.path() / file));
    edit(json);
    write_file(folder_.path() / file, json.dump());
  }
  std::string error(const ImportHints& hints = {}) const {
    try {
      (void)import_model(folder_.path(), hints);
    } catch (const Error& error) {
      EXPECT_NE(error.kind(), ErrorKind::kInternal);
      return error.what();
    }
    return "no error";
  }
  test::TemporaryFolder folder_;
};

TEST_F(CtcFolderTest, WhatCannotBeIsNamed) {
  const auto after = [&](const char* file, const std::function<void(nlohmann::json&)>& edit) {
    copy("wav2vec2_group");
    change(file, edit);
    return error();
  };
  const auto set = [](const char* key, nlohmann::json value) {
    return [key, value](nlohmann::json& json) { json[key] = value; };
  };
  EXPECT_THAT(after("config.json", set("add_adapter", true)), HasSubstr("add_adapter"));
  EXPECT_THAT(after("config.json", set("adapter_attn_dim", 16)), HasSubstr("adapter_attn_dim"));
  EXPECT_THAT(after("config.json", set("architectures", {"Wav2Vec2ForPreTraining"})), HasSubstr("has no CTC head"));
  EXPECT_THAT(after("config.json", set("feat_extract_norm", "batch")), HasSubstr("feat_extract_norm is 'batch'"));
  EXPECT_THAT(after("config.json", set("conv_stride", {5, 2})), HasSubstr("one for each convolution"));
  EXPECT_THAT(after("config.json", set("conv_stride", {60000, 60000, 60000, 2, 2, 2, 2})),
              HasSubstr("a million samples"));
  EXPECT_THAT(after("config.json", set("num_attention_heads", 5)), HasSubstr("do not divide"));
  EXPECT_THAT(after("config.json", set("num_conv_pos_embedding_groups", 7)), HasSubstr("do not divide"));
  EXPECT_THAT(after("config.json", set("vocab_size", 11)), HasSubstr("Ä: is 11"));
  EXPECT_THAT(after("config.json", set("vocab_size", 13)), HasSubstr("lm_head.weight"));
  EXPECT_THAT(after("config.json", set("num_hidden_layers", 3)), HasSubstr("encoder.layers.2"));
  EXPECT_THAT(after("config.json", set("num_hidden_layers", 1)), HasSubstr("the configuration has no place for it"));
  EXPECT_THAT(after("config.json", set("conv_bias", true)), HasSubstr("conv.bias' [6] is missing"));
  EXPECT_THAT(after("config.json", set("quantization_config", nlohmann::json::object())), HasSubstr("quantised"));
  EXPECT_THAT(after("config.json", set("model_type", "wavlm")), HasSubstr("wav2vec2, hubert"));
  EXPECT_THAT(after("preprocessor_config.json", set("sampling_rate", 8000)), HasSubstr("16000 Hz are run"));
  EXPECT_THAT(after("preprocessor_config.json", set("feature_size", 80)), HasSubstr("feature_size"));
  EXPECT_THAT(after("tokenizer_config.json", set("tokenizer_class", "Wav2Vec2PhonemeCTCTokenizer")),
              HasSubstr("Wav2Vec2PhonemeCTCTokenizer"));
  EXPECT_THAT(after("tokenizer_config.json", set("pad_token", "[PAD]")), HasSubstr("'[PAD]'"));
  EXPECT_THAT(after("vocab.json", set("<pad>", 3)), HasSubstr("another token has too"));
  EXPECT_THAT(after("vocab.json", set("<pad>", -3)), HasSubstr("vocab.json"));
  EXPECT_THAT(after("vocab.json", set("Q", 12)), HasSubstr("has 12 outputs"));
  copy("wav2vec2_group");
  fs::remove(folder_.path() / "vocab.json");
  EXPECT_THAT(error(), HasSubstr("vocab.json"));
  ImportHints no_task;
  no_task.task = "none";
  EXPECT_EQ(error(no_task), "no error");
  copy("wav2vec2_group");
  fs::remove(folder_.path() / "preprocessor_config.json");
  EXPECT_THAT(error(), HasSubstr("preprocessor_config.json"));
  copy("wav2vec2_group");
  ImportHints hints;
  hints.tokenizer = folder_.path() / "vocab.json";
  EXPECT_THAT(error(hints), HasSubstr("--tokenizer"));
  const std::string weights = read_file(folder_.path() / "model.safetensors");
  write_file(folder_.path() / "model.safetensors", weights.substr(0, weights.size() / 2));
  EXPECT_THAT(error(), HasSubstr("model.safetensors"));
}

TEST_F(CtcFolderTest, VocabulariesOfAllKindsAreRead) {
  const auto facts = [&] { return import_model(folder_.path(), {}).task.transcription->ctc.value(); };
  // Of several languages, one of them chosen; the delimiter is another.
  copy("wav2vec2_group");
  change("vocab.json", [](nlohmann::json& json) {
    json["#"] = json["|"];
    json.erase("|");
    json = {{"deu", json}, {"eng", {{"<pad>", 0}, {"z", 1}}}};
  });
  EXPECT_THAT(error(), HasSubstr("several languages"));
  change("tokenizer_config.json", [](nlohmann::json& json) {
    json["target_lang"] = "deu";
    json["word_delimiter_token"] = "#";
  });
  EXPECT_EQ(facts().word_delimiter_id, 4);
  EXPECT_EQ(facts().tokens[11], "Ä");
  // No delimiter, the blank at another place, and tokens added behind those of the model.
  copy("wav2vec2_group");
  change("vocab.json", [](nlohmann::json& json) {
    json.erase("|");
    json["[PAD]"] = 4;
    json.erase("<s>");
  });
  change("tokenizer_config.json", [](nlohmann::json& json) { json["pad_token"] = {{"content", "[PAD]"}}; });
  write_file(folder_.path() / "added_tokens.json", std::string_view(R"({"<s>": 12, "</s>": 13, "q": 1})"));
  EXPECT_EQ(facts().blank_id, 4);
  EXPECT_FALSE(facts().word_delimiter_id.has_value());
  EXPECT_EQ(facts().tokens[4], "");
  EXPECT_EQ(facts().tokens.size(), 12U);
  // null in tokenizer_config.json is an answer, not a gap that the usual name fills.
  copy("wav2vec2_group");
  ASSERT_TRUE(facts().word_delimiter_id.has_value());
  change("tokenizer_config.json", [](nlohmann::json& json) { json["word_delimiter_token"] = nullptr; });
  EXPECT_FALSE(facts().word_delimiter_id.has_value());
}

/// From checkpoint to a proven bundle, and proven again from the bundle.
TEST(CtcBundleTest, BuildsAndProves) {
  if (cpu_target() == nullptr) GTEST_SKIP() << "no target for it is built in";
  const auto cases = {std::pair{"wav2vec2_group", "fp32"}, {"wav2vec2_layer", "int8"}, {"hubert_batch", "auto"}};
  for (const auto& one : cases) {
    SCOPED_TRACE(one.first);
    const test::TemporaryFolder folder;
    BuildRequest request;
    request.source = folder_of(one.first);
    request.output = folder.path() / "bundle";
    request.plan.target = "openvino";
    request.plan.num_threads = 1;
    set_precision(request.plan, one.second);
    const BuildResult result = build(request);
    ASSERT_EQ(result.manifest.parts.size(), 1U);
    EXPECT_TRUE(result.manifest.parts[0].proof.at("is_passed").get<bool>()) << result.manifest.parts[0].proof;
    ProveOptions options;
    options.num_threads = 1;
    for (const PartProof& proof : prove_bundle(Bundle::open(result.bundle), std::nullopt, options)) {
      EXPECT_TRUE(proof.proof.is_passed) << proof.proof.summary;
    }
  }
}

}  // namespace
}  // namespace pajamas
