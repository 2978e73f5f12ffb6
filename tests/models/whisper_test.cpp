// Whisper checkpoints become graphs that compute what transformers computes, on tiny random checkpoints
// (tools/goldens/make_whisper_models.py): encoder, decoder and aligner by ONNX Runtime and the interpreter without a
// cache, and by each target that is built in, the decoder with its cache, several chunks and several texts a chunk.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <numeric>

#include "graph/checker.h"
#include "graph/interpreter.h"
#include "graph/passes/expand_paged_attention.h"
#include "graph/shape_inference.h"
#include "io/onnx_writer.h"
#include "io/safetensors.h"
#include "models/model_definition.h"
#include "support/temporary_folder.h"
#include "targets/registry.h"
#include "toolchain/build.h"
#include "toolchain/import.h"
#include "verify/onnxruntime_reference.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;

/// The bound, relative to values of standard deviation 0.5 to 5.
constexpr float kTolerance = 1e-4F;
constexpr std::int64_t kNumTexts = 5;

fs::path folder_of(const std::string& name) { return fs::path(PAJAMAS_TEST_DATA) / "whisper" / name; }

template <typename T>
Tensor list(const std::vector<T>& values) {
  return Tensor::of<T>(Shape{static_cast<std::int64_t>(values.size())}, std::span<const T>(values));
}

/// Rows [begin, begin + count) of the first axis.
Tensor rows_of(const Tensor& tensor, std::int64_t begin, std::int64_t count) {
  Shape shape = tensor.shape();
  const std::size_t row_bytes = tensor.size_bytes() / static_cast<std::size_t>(shape[0]);
  shape[0] = count;
  return Tensor::copy_of({tensor.dtype(), shape, tensor.bytes().data() + static_cast<std::size_t>(begin) * row_bytes});
}

void expect_near(const Tensor& actual, const Tensor& expected, const std::string& what) {
  ASSERT_EQ(actual.num_elements(), expected.num_elements()) << what;
  float worst = 0;
  for (std::size_t i = 0; i < expected.as<float>().size(); ++i) {
    const float difference = std::abs(actual.as<float>()[i] - expected.as<float>()[i]);
    if (!(difference <= worst)) worst = difference;
  }
  EXPECT_LE(worst, kTolerance) << what;
}

/// Logits of the tokens `rows` of one text, [rows, vocab] of golden [chunks, texts, tokens, vocab].
Tensor golden_logits(const Tensor& logits, std::int64_t chunk, std::int64_t text,
                     const std::vector<std::int64_t>& rows) {
  const std::int64_t num_tokens = logits.shape()[2], vocab = logits.shape()[3];
  Tensor result(DType::kFloat32, Shape{static_cast<std::int64_t>(rows.size()), vocab});
  const auto out = result.mutable_as<float>();
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const std::int64_t row = (chunk * kNumTexts + text) * num_tokens + rows[r];
    const auto from =
        logits.as<float>().subspan(static_cast<std::size_t>(row * vocab), static_cast<std::size_t>(vocab));
    std::copy(from.begin(), from.end(), out.begin() + static_cast<std::ptrdiff_t>(r * from.size()));
  }
  return result;
}

std::vector<std::int64_t> golden_ids(const Tensor& ids, std::int64_t chunk, std::int64_t text) {
  const auto num_tokens = static_cast<std::size_t>(ids.shape()[2]);
  const auto all = ids.as<std::int64_t>().subspan(static_cast<std::size_t>(chunk * kNumTexts + text) * num_tokens);
  return {all.begin(), all.begin() + static_cast<std::ptrdiff_t>(num_tokens)};
}

/// One part as a target runs it, in float32.
class Runner {
 public:
  Runner(const Target& target, const Model& model, const std::string& part) {
    BuildPlan plan;
    plan.target = std::string(target.name());
    plan.precision = Precision::kFp32;
    plan.num_threads = 1;
    plan = target.resolve(plan);
    const LoweredModel lowered = lower(model, target, plan, {});
    EXPECT_TRUE(target.supports(lowered.model, plan)) << target.supports(lowered.model, plan).reason;
    const CompiledPart compiled = target.compile({lowered.model, plan, part, folder_.path(), {}});
    const auto open = [&](const CompiledFile& file) { return MappedFile::open(folder_.path() / file.name); };
    SessionOptions options;
    options.num_threads = 1;
    options.is_exact_fp32 = true;
    engine_ = target.load({folder_.path(), part, compiled.files, open, compiled.facts, plan, options});
    session_ = engine_->new_session();
    if (engine_->kv_cache_layout() != nullptr) {
      cache_ = engine_->new_kv_cache(32);
      session_->set_kv_cache(cache_);
    }
  }

  std::map<std::string, Tensor> run(const std::map<std::string, Tensor>& inputs) {
    for (std::size_t i = 0; i < engine_->inputs().size(); ++i) {
      session_->set_input(i, inputs.at(engine_->inputs()[i].name).view());
    }
    session_->run();
    std::map<std::string, Tensor> outputs;
    for (std::size_t i = 0; i < engine_->outputs().size(); ++i) {
      outputs.emplace(engine_->outputs()[i].name, Tensor::copy_of(session_->output(i)));
    }
    return outputs;
  }
  std::int64_t block_size() const { return engine_->kv_cache_layout()->block_size_tokens; }

 private:
  test::TemporaryFolder folder_;
  std::shared_ptr<const Engine> engine_;
  std::unique_ptr<Session> session_;
  std::shared_ptr<KvCache> cache_;
};

class WhisperTest : public testing::TestWithParam<const char*> {
 protected:
  WhisperTest()
      : imported_(import_model(folder_of(GetParam()), {})),
        golden_(Safetensors::read(folder_of(GetParam()) / "golden.safetensors")) {}

  const Model& model(const std::string& part) const {
    for (const ImportedPart& candidate : imported_.parts) {
      if (candidate.name == part) return candidate.model;
    }
    throw std::runtime_error("no part " + part);
  }
  std::vector<std::string> cross_names() const {
    std::vector<std::string> names;
    for (const ValueInfo& output : model("encoder").graph.outputs) names.push_back(output.name);
    return names;
  }
  /// The encoder's outputs for chunks [begin, begin + count), from the golden.
  std::map<std::string, Tensor> cross(std::int64_t begin, std::int64_t count) const {
    std::map<std::string, Tensor> values;
    for (const std::string& name : cross_names()) values.emplace(name, rows_of(golden_.tensor(name), begin, count));
    return values;
  }
  /// Inputs of a graph over the whole text without a cache.
  std::map<std::string, Tensor> text_inputs(std::int64_t chunk, std::int64_t text) const {
    auto inputs = cross(chunk, 1);
    const std::vector<std::int64_t> ids = golden_ids(golden_.tensor("input_ids"), chunk, text);
    std::vector<std::int64_t> positions(ids.size());
    std::iota(positions.begin(), positions.end(), 0);
    inputs.emplace("input_ids", list(ids));
    inputs.emplace("position_ids", list(positions));
    return inputs;
  }

  ImportedModel imported_;
  Safetensors golden_;
};

std::vector<const Target*> cpu_targets() {
  std::vector<const Target*> result;
  for (const Target* target : targets()) {
    if (target->name() == "openvino") result.push_back(target);
  }
  return result;
}

/// A plain graph by ONNX Runtime and by the interpreter.
void expect_by_references(Model model, const std::map<std::string, Tensor>& inputs,
                          const std::map<std::string, Tensor>& expected) {
  EXPECT_TRUE(check_model(model).foreign_operators.empty());
  infer_shapes(model);
  const std::string bytes = serialize_onnx(model);
  const OnnxRuntimeSession session(std::as_bytes(std::span(bytes)), {});
  std::vector<std::pair<std::string, Tensor>> named;
  for (const ValueInfo* input : model.graph.required_inputs()) named.emplace_back(input->name, inputs.at(input->name));
  const std::vector<Tensor> outputs = session.run(named);
  const auto interpreted = run_graph(model, {named.begin(), named.end()});
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const std::string& name = model.graph.outputs[i].name;
    expect_near(outputs[i], expected.at(name), name + " by ONNX Runtime");
    expect_near(interpreted.at(name), expected.at(name), name + " by the interpreter");
  }
}

TEST_P(WhisperTest, EncoderIsThatOfTransformers) {
  expect_by_references(model("encoder"), {{"features", golden_.tensor("features")}}, cross(0, 3));
  for (const Target* target : cpu_targets()) {
    SCOPED_TRACE(target->name());
    Runner runner(*target, model("encoder"), "encoder");
    for (const std::int64_t num_chunks : {3, 1, 2}) {
      const auto outputs = runner.run({{"features", rows_of(golden_.tensor("features"), 0, num_chunks)}});
      const auto expected = cross(0, num_chunks);
      for (const auto& value : expected) expect_near(outputs.at(value.first), value.second, value.first);
    }
  }
}

TEST_P(WhisperTest, DecoderWithoutCacheIsThatOfTransformers) {
  Model expanded = model("decoder");
  EXPECT_THAT(check_model(expanded).foreign_operators, testing::ElementsAre("pajamas.PagedAttention"));
  expand_paged_attention(expanded);
  for (const std::int64_t chunk : {0, 2}) {
    auto inputs = text_inputs(chunk, 1);
    const std::vector<std::int64_t> rows{6, 0, 3};
    inputs.emplace("logit_rows", list(rows));
    expect_by_references(expanded, inputs, {{"logits", golden_logits(golden_.tensor("logits"), chunk, 1, rows)}});
  }
}

TEST_P(WhisperTest, AlignerGivesTheAttentionOfTransformers) {
  const std::map<std::string, Tensor> expected{{"alignment", golden_.tensor("alignment")}};
  expect_by_references(model("aligner"), text_inputs(0, 0), expected);
  for (const Target* target : cpu_targets()) {
    SCOPED_TRACE(target->name());
    Runner runner(*target, model("aligner"), "aligner");
    expect_near(runner.run(text_inputs(0, 0)).at("alignment"), golden_.tensor("alignment"), "alignment");
  }
}

/// Every text of every chunk a sequence of its own: a step takes equally many tokens of each.
TEST_P(WhisperTest, StepsWithTheCacheAreThoseOfTransformers) {
  if (cpu_targets().empty()) GTEST_SKIP() << "no target with a cache is built in";
  const Tensor ids = golden_.tensor("input_ids"), logits = golden_.tensor("logits");
  const std::int64_t num_tokens = ids.shape()[2];
  for (const Target* target : cpu_targets()) {
    Runner runner(*target, model("decoder"), "decoder");
    for (const std::int64_t num_chunks : {1, 2, 3}) {
      for (const std::int64_t num_texts : {1, 2, 5}) {
        SCOPED_TRACE(std::string(target->name()) + ", " + std::to_string(num_chunks) + " chunks of " +
                     std::to_string(num_texts) + " texts");
        std::int64_t num_past = 0;
        // Prefill, and then token by token; two at once in between, as a forced prefix would come.
        for (const std::int64_t count : {3, 1, 2, 1}) {
          auto inputs = cross(0, num_chunks);
          std::vector<std::int64_t> tokens, positions, rows;
          std::vector<std::int32_t> past, begins{0}, blocks, block_begins{0};
          for (std::int64_t sequence = 0; sequence < num_chunks * num_texts; ++sequence) {
            const auto text = golden_ids(ids, sequence / num_texts, sequence % num_texts);
            for (std::int64_t i = num_past; i < num_past + count; ++i) {
              rows.push_back(static_cast<std::int64_t>(tokens.size()));
              tokens.push_back(text[static_cast<std::size_t>(i)]);
              positions.push_back(i);
            }
            past.push_back(static_cast<std::int32_t>(num_past));
            begins.push_back(static_cast<std::int32_t>(tokens.size()));
            blocks.push_back(static_cast<std::int32_t>(31 - sequence));  // 7 tokens fit one block
            block_begins.push_back(static_cast<std::int32_t>(blocks.size()));
          }
          ASSERT_LE(num_tokens, runner.block_size());
          inputs.insert({{"input_ids", list(tokens)},
                         {"position_ids", list(positions)},
                         {"logit_rows", list(rows)},
                         {"past_lens", list(past)},
                         {"subsequence_begins", list(begins)},
                         {"block_indices", list(blocks)},
                         {"block_indices_begins", list(block_begins)},
                         {"max_context_len", Tensor::scalar(static_cast<std::int32_t>(num_past + count))}});
          const Tensor actual = runner.run(inputs).at("logits");
          for (std::int64_t sequence = 0; sequence < num_chunks * num_texts; ++sequence) {
            std::vector<std::int64_t> own(static_cast<std::size_t>(count));
            std::iota(own.begin(), own.end(), num_past);
            expect_near(rows_of(actual, sequence * count, count),
                        golden_logits(logits, sequence / num_texts, sequence % num_texts, own),
                        "sequence " + std::to_string(sequence) + " at " + std::to_string(num_past));
          }
          num_past += count;
        }
      }
    }
  }
}

TEST_P(WhisperTest, FactsAreThoseOfTheCheckpoint) {
  const TranscriptionFacts& task = imported_.task.transcription.value();
  const WhisperFacts& facts = task.whisper.value();
  EXPECT_EQ(imported_.family, "whisper");
  EXPECT_EQ(task.tokenizer_file, "tokenizer.bin");
  EXPECT_EQ(facts.tokens.end_of_text, 259);
  EXPECT_EQ(facts.tokens.start_of_transcript, 260);
  EXPECT_EQ(facts.tokens.first_timestamp, 269);
  EXPECT_EQ(facts.vocab_size, facts.tokens.first_timestamp + facts.num_positions + 1);
  ASSERT_EQ(facts.languages.size(), 2U);
  EXPECT_EQ(facts.languages[1].code, "de");
  EXPECT_EQ(facts.languages[1].token_id, 262);
  EXPECT_THAT(facts.suppressed_token_ids, testing::ElementsAre(1, 2, 7, 260, 263, 264, 265, 266, 267));
  EXPECT_EQ(facts.begin_suppressed_token_ids.size(), 2U);
  const nlohmann::json json = to_json(imported_.task);
  EXPECT_EQ(to_json(parse_task_facts(JsonReader(json, "manifest.json"))), json);
}

TEST_P(WhisperTest, EveryTensorIsUsedAsItIsStored) {
  testing::internal::CaptureStderr();
  const ImportedModel imported = import_model(folder_of(GetParam()), {});
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, testing::Not(testing::HasSubstr("are not part of"))) << log;
  const Safetensors weights = Safetensors::read(folder_of(GetParam()) / "model.safetensors");
  for (const std::string& name : weights.names()) {
    const Initializer* stored = imported.parts[0].model.graph.find_initializer(name);
    if (stored == nullptr) stored = imported.parts[1].model.graph.find_initializer(name);
    ASSERT_NE(stored, nullptr) << name;
    if (weights.shape_of(name).rank() == 2) {
      EXPECT_EQ(stored->tensor.dtype(), weights.dtype_of(name)) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Whisper, WhisperTest, testing::Values("tiny", "tiny_half"),
                         [](const auto& param_info) { return std::string(param_info.param); });

/// From checkpoint to a proven bundle, as stored and with int8 weights; the aligner shares the decoder's file.
TEST(WhisperBundleTest, BuildsAndProves) {
  if (cpu_targets().empty()) GTEST_SKIP() << "no target for it is built in";
  for (const char* precision : {"auto", "int8"}) {
    SCOPED_TRACE(precision);
    const test::TemporaryFolder folder;
    BuildRequest request;
    request.source = folder_of("tiny_half");
    request.output = folder.path() / "bundle";
    request.plan.target = "openvino";
    request.plan.num_threads = 1;
    set_precision(request.plan, precision);
    const BuildResult result = build(request);
    ASSERT_EQ(result.manifest.parts.size(), 3U);
    EXPECT_EQ(result.manifest.task.name, "transcription");
    for (const ManifestPart& part : result.manifest.parts)
      EXPECT_TRUE(part.proof.at("is_passed").get<bool>()) << part.name;
    EXPECT_TRUE(fs::exists(result.bundle / "decoder.onnx.data"));
    EXPECT_FALSE(fs::exists(result.bundle / "aligner.onnx.data"));
    EXPECT_LT(fs::file_size(result.bundle / "aligner.onnx"), 64U << 10U);
  }
}

}  // namespace
}  // namespace pajamas
