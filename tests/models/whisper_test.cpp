// Whisper checkpoints become graphs that compute what transformers computes, on tiny random checkpoints
// (tools/goldens/make_whisper_models.py): encoder, decoder and aligner by ONNX Runtime and the interpreter without a
// cache, and by each target that is built in, the decoder with its cache, several chunks and several texts a chunk.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "base/files.h"
#include "engine/bundle_plan.h"
#include "engine/dense_step.h"
#include "graph/checker.h"
#include "graph/interpreter.h"
#include "graph/passes/dense_cache.h"
#include "graph/passes/expand_paged_attention.h"
#include "graph/shape_inference.h"
#include "io/onnx_writer.h"
#include "io/safetensors.h"
#include "media/audio_reader.h"
#include "media/log_mel.h"
#include "models/model_definition.h"
#include "models/whisper/whisper_facts.h"
#include "models/whisper/whisper_tokenizer.h"
#include "support/exact_engine.h"
#include "support/temporary_folder.h"
#include "targets/registry.h"
#include "toolchain/build.h"
#include "toolchain/import.h"
#include "toolchain/prove_bundle.h"
#include "verify/input_cases.h"
#include "verify/language_proof.h"
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
  Runner(const Target& target, const Model& model, const std::string& part)
      : engine_(test::exact_engine(target, model, part, folder_.path())) {
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

/// The decoder of targets without paged attention: rows that fork and end, through ONNX Runtime and each target.
TEST_P(WhisperTest, StepsWithTheDenseCacheAreThoseOfTransformers) {
  const Tensor ids = golden_.tensor("input_ids"), logits = golden_.tensor("logits");
  const std::int64_t context = imported_.task.transcription->whisper->context_length;
  Model dense = model("decoder");
  use_dense_cache(dense, context);
  EXPECT_TRUE(check_model(dense).foreign_operators.empty());
  std::vector<std::pair<std::string, std::shared_ptr<const Engine>>> engines;
  engines.emplace_back("ONNX Runtime", onnxruntime_engine(load_language_reference(dense, 1).session, 1));
  const test::TemporaryFolder folder;
  for (const Target* target : cpu_targets()) {
    engines.emplace_back(std::string(target->name()), test::exact_engine(*target, dense, "decoder", folder.path()));
  }
  for (const auto& entry : engines) {
    const Engine& engine = *entry.second;
    const auto session = engine.new_session();
    DenseStep step(engine);
    EXPECT_EQ(step.capacity(), context);
    for (const std::int64_t num_chunks : {3, 1, 2}) {
      const auto cross_values = cross(0, num_chunks);
      for (std::size_t i = 0; i < engine.inputs().size(); ++i) {
        const auto value = cross_values.find(engine.inputs()[i].name);
        if (value != cross_values.end()) session->set_input(i, value->second.view());
      }
      step.clear();
      // The rows of a step, as (chunk, text); the second step turns each chunk's texts around, the last drops one.
      struct Step {
        std::int64_t count;
        std::vector<std::int64_t> texts;
      };
      const std::vector<Step> steps{{3, {0, 1, 4}}, {1, {4, 0, 1}}, {2, {1, 0}}, {1, {0, 1}}};
      std::vector<std::pair<std::int64_t, std::int64_t>> rows;  // Of the step before.
      std::int64_t num_past = 0;
      for (const Step& one : steps) {
        std::vector<std::int64_t> tokens, parents;
        std::vector<std::pair<std::int64_t, std::int64_t>> next;
        for (std::int64_t chunk = 0; chunk < num_chunks; ++chunk) {
          for (const std::int64_t text : one.texts) {
            const auto whole = golden_ids(ids, chunk, text);
            tokens.insert(tokens.end(), whole.begin() + num_past, whole.begin() + num_past + one.count);
            const auto before = std::find(rows.begin(), rows.end(), std::pair(chunk, text));
            parents.push_back(rows.empty() ? 0 : before - rows.begin());
            next.emplace_back(chunk, text);
          }
        }
        step.set_tokens(tokens, parents);
        for (std::size_t i = 0; i < tokens.size(); ++i) step.add_logit_row(static_cast<std::int64_t>(i));
        step.bind(*session);
        session->run();
        step.take(*session);
        const Tensor actual = Tensor::copy_of(session->output(0));
        std::vector<std::int64_t> own(static_cast<std::size_t>(one.count));
        std::iota(own.begin(), own.end(), num_past);
        for (std::size_t row = 0; row < next.size(); ++row) {
          expect_near(rows_of(actual, static_cast<std::int64_t>(row) * one.count, one.count),
                      golden_logits(logits, next[row].first, next[row].second, own),
                      entry.first + ", " + std::to_string(num_chunks) + " chunks, row " + std::to_string(row) + " at " +
                          std::to_string(num_past));
        }
        rows = std::move(next);
        num_past += one.count;
      }
      EXPECT_EQ(step.num_past(), num_past);
    }
  }
}

TEST_P(WhisperTest, StepsThatDoNotFitAreRefused) {
  if (cpu_targets().empty()) GTEST_SKIP() << "no target with a cache is built in";
  Runner runner(*cpu_targets()[0], model("decoder"), "decoder");
  const auto error = [&](std::int64_t num_chunks, std::int64_t num_tokens, std::int64_t first_position) {
    auto inputs = cross(0, num_chunks);
    std::vector<std::int64_t> positions(static_cast<std::size_t>(num_tokens));
    std::iota(positions.begin(), positions.end(), first_position);
    const auto count = static_cast<std::int32_t>(num_tokens);
    inputs.insert({{"input_ids", list(std::vector<std::int64_t>(positions.size(), 3))},
                   {"position_ids", list(positions)},
                   {"logit_rows", list(std::vector<std::int64_t>{0})},
                   {"past_lens", list(std::vector<std::int32_t>{0})},
                   {"subsequence_begins", list(std::vector<std::int32_t>{0, count})},
                   {"block_indices", list(std::vector<std::int32_t>{2})},
                   {"block_indices_begins", list(std::vector<std::int32_t>{0, 1})},
                   {"max_context_len", Tensor::scalar(count)}});
    try {
      (void)runner.run(inputs);
    } catch (const Error& refused) {
      EXPECT_EQ(refused.kind(), ErrorKind::kBadInput);
      return std::string(refused.what());
    }
    return std::string("no error");
  };
  const std::int64_t context = imported_.task.transcription->whisper->context_length;
  EXPECT_EQ(error(1, 3, context - 3), "no error");
  EXPECT_THAT(error(1, 3, context - 2), testing::HasSubstr("has the position " + std::to_string(context)));
  EXPECT_THAT(error(1, 3, -1), testing::HasSubstr("has the position -1"));
  // Three tokens cannot be those of two chunks.
  EXPECT_THAT(error(2, 3, 0), testing::HasSubstr("not equally many of each of 2 chunks"));
  EXPECT_EQ(error(2, 4, 0), "no error");
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

/// The part that finds speech stays in float32 in a bundle of any precision: built, run and proven again as such.
TEST(WhisperBundle, TheVoicePartIsProvenAgainAsTheBuildProvedIt) {
  const fs::path detector = fs::path(PAJAMAS_DEPS_DIR) / "models/silero_vad.onnx";
  if (!fs::exists(detector)) GTEST_SKIP() << detector << " is missing: run ./dev setup";
  if (cpu_targets().empty()) GTEST_SKIP() << "no target with a cache is built in";
  const test::TemporaryFolder folder;
  BuildRequest request;
  request.source = folder_of("tiny");
  request.plan.target = "openvino";
  request.plan.num_threads = 1;
  request.hints.voice_detector = detector;
  request.output = folder.path() / "bundle";
  const fs::path directory = build(request).bundle;
  const auto precisions = [](const nlohmann::json& proof) {
    std::vector<std::string> names;
    for (const auto& candidate : proof["candidates"]) names.push_back(candidate["precision"]);
    return names;
  };
  // On a processor with bfloat16 the bundle's own precision is another one.
  const Bundle bundle = Bundle::open(directory);
  ProveOptions options;
  options.num_threads = 1;
  for (const auto& [part, proof, note] : prove_bundle(bundle, std::nullopt, options)) {
    EXPECT_TRUE(proof.is_passed) << part << ": " << proof.summary;
    EXPECT_EQ(precisions(proof.to_json()), precisions(bundle.manifest().part(part).proof)) << part;
  }
  // And whatever the processor has:
  const fs::path manifest_path = directory / kManifestFileName;
  nlohmann::json manifest = nlohmann::json::parse(read_file(manifest_path));
  manifest["plan"]["precision"] = "bf16";
  manifest["plan"]["weights"] = "int8";
  write_file(manifest_path, manifest.dump());
  const Bundle edited = Bundle::open(directory);
  EXPECT_EQ(plan_of(edited, edited.manifest().part("encoder")).precision, Precision::kBf16);
  EXPECT_EQ(plan_of(edited, edited.manifest().part("voice")).precision, Precision::kFp32);
  EXPECT_EQ(plan_of(edited, edited.manifest().part("voice")).weights, WeightFormat::kAsStored);
}

INSTANTIATE_TEST_SUITE_P(Whisper, WhisperTest, testing::Values("tiny", "tiny_half"),
                         [](const auto& param_info) { return std::string(param_info.param); });

/// The checkpoint tiny_half in the other containers (tools/goldens/make_checkpoint_containers.py).
struct ContainerCase {
  const char* name;
  const char* path;
  const char* format;
  bool is_quantised = false;
};

void PrintTo(const ContainerCase& container, std::ostream* out) { *out << container.path; }

class WhisperContainerTest : public testing::TestWithParam<ContainerCase> {
 protected:
  ImportedModel import() const {
    ImportHints hints;
    // These containers know published vocabularies only, and the tiny one is none.
    if (!std::string(GetParam().format).starts_with("ct")) hints.tokenizer = folder_of("tiny_half") / "tokenizer.json";
    return import_model(folder_of("containers") / GetParam().path, hints);
  }
};

TEST_P(WhisperContainerTest, GraphsAreThoseOfTheHuggingFaceFolder) {
  testing::internal::CaptureStderr();
  const ImportedModel imported = import();
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, testing::Not(testing::HasSubstr("are not part of"))) << log;
  EXPECT_EQ(imported.format, GetParam().format);
  EXPECT_EQ(imported.family, "whisper");
  const ImportedModel source = import_model(folder_of("tiny_half"), {});
  const WhisperFacts& facts = imported.task.transcription->whisper.value();
  const WhisperFacts& wanted = source.task.transcription->whisper.value();
  EXPECT_EQ(facts.vocab_size, wanted.vocab_size);
  EXPECT_EQ(facts.num_mels, wanted.num_mels);
  EXPECT_EQ(facts.context_length, wanted.context_length);
  EXPECT_EQ(facts.tokens.end_of_text, wanted.tokens.end_of_text);
  EXPECT_EQ(facts.tokens.first_timestamp, wanted.tokens.first_timestamp);
  EXPECT_FALSE(facts.alignment_heads.empty());
  for (std::size_t part = 0; part < 2; ++part) {
    const Graph& graph = imported.parts.at(part).model.graph;
    const Graph& expected = source.parts.at(part).model.graph;
    if (GetParam().is_quantised) continue;
    for (const Initializer& initializer : expected.initializers) {
      const Initializer* found = graph.find_initializer(initializer.name);
      ASSERT_NE(found, nullptr) << initializer.name;
      ASSERT_EQ(found->tensor.shape(), initializer.tensor.shape()) << initializer.name;
      // whisper.cpp keeps positions in float32.
      const Tensor actual =
          found->tensor.dtype() == initializer.tensor.dtype() || initializer.tensor.dtype() != DType::kFloat16
              ? found->tensor
              : converted(found->tensor, DType::kFloat16);
      const auto bytes = actual.bytes(), wanted_bytes = initializer.tensor.bytes();
      EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), wanted_bytes.begin(), wanted_bytes.end())) << initializer.name;
    }
  }
}

TEST_P(WhisperContainerTest, QuantisedWeightsStayAsTheyAre) {
  if (!GetParam().is_quantised) GTEST_SKIP() << "stored in half precision";
  Model expanded = import().parts.at(1).model;
  expand_paged_attention(expanded);
  // Integers behind DequantizeLinear, not their values.
  EXPECT_GT(std::count_if(expanded.graph.nodes.begin(), expanded.graph.nodes.end(),
                          [](const Node& node) { return node.is("DequantizeLinear"); }),
            10);
  if (std::string(GetParam().format) != "ctranslate2") return;
  // The same as the graph over the values that the integers stand for.
  Model plain = import_model(folder_of("tiny_half"), {}).parts.at(1).model;
  const Safetensors values = Safetensors::read(folder_of("containers") / "int8.safetensors");
  for (Initializer& initializer : plain.graph.initializers) {
    if (values.has(initializer.name)) initializer.tensor = values.tensor(initializer.name);
  }
  std::erase_if(plain.graph.nodes, [&](Node& node) {
    if (!node.is("Cast") || !values.has(node.inputs[0])) return false;
    for (Node& user : plain.graph.nodes) {
      std::replace(user.inputs.begin(), user.inputs.end(), node.outputs[0], node.inputs[0]);
    }
    return true;
  });
  expand_paged_attention(plain);
  const Safetensors golden = Safetensors::read(folder_of("tiny_half") / "golden.safetensors");
  std::map<std::string, Tensor> inputs{{"input_ids", list(golden_ids(golden.tensor("input_ids"), 0, 0))},
                                       {"position_ids", list(std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6})},
                                       {"logit_rows", list(std::vector<std::int64_t>{0, 6})}};
  for (const std::string& name : golden.names()) {
    if (name.starts_with("cross_")) inputs.emplace(name, rows_of(golden.tensor(name), 0, 1));
  }
  expect_near(run_graph(expanded, inputs).at("logits"), run_graph(plain, inputs).at("logits"), "logits");
}

INSTANTIATE_TEST_SUITE_P(Whisper, WhisperContainerTest,
                         testing::Values(ContainerCase{"ct2_float16", "ct2_float16", "ctranslate2"},
                                         ContainerCase{"ct2_int8", "ct2_int8", "ctranslate2", true},
                                         ContainerCase{"openai", "openai.pt", "torch"},
                                         ContainerCase{"ggml_float16", "ggml-float16.bin", "ggml"},
                                         ContainerCase{"ggml_q8_0", "ggml-q8_0.bin", "ggml", true}),
                         [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(WhisperContainerErrors, AVocabularyIsNeeded) {
  const auto message = [](const char* path) {
    try {
      (void)import_model(folder_of("containers") / path, {});
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(message("openai.pt"), testing::HasSubstr("--tokenizer"));
  EXPECT_THAT(message("ggml-float16.bin"), testing::HasSubstr("no published vocabulary"));
}

/// The published weights decode a recording as transformers does with them, token by token
/// (tools/goldens/make_whisper_decode_golden.py).
class WhisperDecodeTest : public testing::TestWithParam<const char*> {};

std::vector<float> samples_of(const fs::path& path) {
  AudioReader reader(path);
  std::vector<float> samples, block(4096);
  while (const std::size_t count = reader.read(block)) {
    samples.insert(samples.end(), block.begin(), block.begin() + static_cast<std::ptrdiff_t>(count));
  }
  return samples;
}

TEST_P(WhisperDecodeTest, DecodesARecordingAsTransformersDoes) {
  const fs::path checkpoint = fs::path(PAJAMAS_DEPS_DIR) / "models" / GetParam();
  if (!fs::exists(checkpoint / "vocabulary.json") && !fs::exists(checkpoint / "vocabulary.txt")) {
    GTEST_SKIP() << checkpoint << " is missing: run ./dev setup";
  }
  const std::string text = read_file(folder_of("decode.json"));
  const nlohmann::json golden = nlohmann::json::parse(text);
  const fs::path clip = fs::path("/usr/share/pocketsphinx/test/data/librivox") / golden.at("clip").get<std::string>();
  if (!fs::exists(clip)) GTEST_SKIP() << "the recordings of pocketsphinx-testdata are missing: run ./dev setup";
  if (cpu_targets().empty()) GTEST_SKIP() << "no target for it is built in";
  const auto prompt = golden.at(GetParam()).at("prompt").get<std::vector<std::int64_t>>();
  const auto expected = golden.at(GetParam()).at("tokens").get<std::vector<std::int64_t>>();

  const ImportedModel imported = import_model(checkpoint, {});
  const WhisperFacts& facts = imported.task.transcription->whisper.value();
  EXPECT_EQ(facts.tokens.start_of_transcript, prompt.front());
  EXPECT_EQ(facts.tokens.no_timestamps, prompt.back());
  EXPECT_EQ(facts.languages.size(), prompt.size() == 4 ? 99U : 0U);
  Tensor features(DType::kFloat32, Shape{1, facts.num_mels, 2 * facts.num_positions});
  LogMel(static_cast<int>(facts.num_mels))
      .compute(samples_of(clip), 2 * facts.num_positions, features.mutable_as<float>());
  Runner encoder(*cpu_targets()[0], imported.parts[0].model, "encoder");
  auto inputs = encoder.run({{"features", features}});
  Runner decoder(*cpu_targets()[0], imported.parts[1].model, "decoder");
  std::vector<std::int64_t> tokens, step = prompt;
  for (std::int64_t past = 0; tokens.size() < expected.size();) {
    const auto count = static_cast<std::int64_t>(step.size());
    std::vector<std::int64_t> positions(step.size());
    std::iota(positions.begin(), positions.end(), past);
    std::vector<std::int32_t> blocks(static_cast<std::size_t>((past + count) / decoder.block_size() + 1));
    std::iota(blocks.begin(), blocks.end(), 0);
    inputs.insert_or_assign("input_ids", list(step));
    inputs.insert_or_assign("position_ids", list(positions));
    inputs.insert_or_assign("logit_rows", list(std::vector<std::int64_t>{count - 1}));
    inputs.insert_or_assign("past_lens", list(std::vector<std::int32_t>{static_cast<std::int32_t>(past)}));
    inputs.insert_or_assign("subsequence_begins", list(std::vector<std::int32_t>{0, static_cast<std::int32_t>(count)}));
    inputs.insert_or_assign("block_indices", list(blocks));
    inputs.insert_or_assign("block_indices_begins",
                            list(std::vector<std::int32_t>{0, static_cast<std::int32_t>(blocks.size())}));
    inputs.insert_or_assign("max_context_len", Tensor::scalar(static_cast<std::int32_t>(past + count)));
    const Tensor logits = decoder.run(inputs).at("logits");
    const auto values = logits.as<float>();
    tokens.push_back(std::max_element(values.begin(), values.end()) - values.begin());
    past += count;
    step = {tokens.back()};
  }
  EXPECT_EQ(tokens, expected);
  EXPECT_EQ(tokens.back(), facts.tokens.end_of_text);
}

INSTANTIATE_TEST_SUITE_P(Whisper, WhisperDecodeTest, testing::Values("whisper-base", "whisper-tiny.en"),
                         [](const auto& param_info) {
                           return std::string(param_info.param) == "whisper-base" ? "base" : "tiny_en";
                         });

/// Vocabularies without merges make the tokens that tokenizer.json makes.
TEST(WhisperTokenizerTest, ListsOfTokensGiveTheIdsOfTokenizerJson) {
  const fs::path models = fs::path(PAJAMAS_DEPS_DIR) / "models";
  const fs::path assets = fs::path(PAJAMAS_DEPS_DIR) / "packages/openai-whisper/whisper/assets";
  struct Case {
    const char* model;
    const char* list;
    const char* tiktoken;
    std::int64_t vocab_size;
  };
  for (const Case& one : {Case{"whisper-base", "vocabulary.json", "multilingual.tiktoken", 51865},
                          Case{"whisper-tiny.en", "vocabulary.txt", "gpt2.tiktoken", 51864}}) {
    if (!fs::exists(models / one.model / one.list) || !fs::exists(assets / one.tiktoken)) {
      GTEST_SKIP() << (models / one.model) << " or " << assets << " is missing: run ./dev setup";
    }
    const Tokenizer published = Tokenizer::read(models / one.model);
    const test::TemporaryFolder folder;
    fs::copy(models / one.model / one.list, folder.path() / one.list);
    const Tokenizer of_list = find_whisper_tokenizer(folder.path(), one.vocab_size, {}).value();
    ImportHints hints;
    hints.tokenizer = assets / one.tiktoken;
    const Tokenizer of_ranks = find_whisper_tokenizer({}, one.vocab_size, hints).value();
    EXPECT_EQ(of_ranks.vocab_size(), one.vocab_size);
    EXPECT_EQ(of_list.vocab_size(), one.vocab_size);
    EXPECT_EQ(of_ranks.find_token("<|nospeech|>"), one.vocab_size == 51865 ? 50362 : 50361);
    for (const std::string text : {"Hello, world! It's 3.14 o'clock.", " and mister john dashwood had then leisure",
                                   "Grüße aus Köln – 音声認識 \n\t 100 %", "", " ", "♪♪♪ (laughs)"}) {
      const EncodeOptions plain{false, false};
      const auto ids = published.encode(text, plain);
      EXPECT_EQ(of_list.encode(text, plain), ids) << text;
      EXPECT_EQ(of_ranks.encode(text, plain), ids) << text;
      EXPECT_EQ(of_ranks.decode(ids), published.decode(ids)) << text;
    }
    // What nobody says, computed from the tokenizer, is what was published with the weights.
    const ImportedModel imported = import_model(models / one.model, {});
    WhisperConfig config;
    config.vocab_size = one.vocab_size;
    config.num_decoder_layers = 4;
    config.num_decoder_heads = 6;
    const WhisperFacts facts = whisper_facts_of(config, {}, of_ranks, "test");
    EXPECT_EQ(facts.suppressed_token_ids, imported.task.transcription->whisper->suppressed_token_ids) << one.model;
    EXPECT_EQ(facts.begin_suppressed_token_ids, imported.task.transcription->whisper->begin_suppressed_token_ids);
  }
}

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
