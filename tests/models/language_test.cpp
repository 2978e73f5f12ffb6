// Checkpoints of language models become graphs that compute what transformers computes: every family on tiny random
// checkpoints (tools/goldens/make_language_models.py): the graph written out by expand_paged_attention and run by ONNX
// Runtime and by the interpreter, and the graph itself run with its cache by each target that is built in.
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
#include "support/exact_engine.h"
#include "support/temporary_folder.h"
#include "targets/registry.h"
#include "toolchain/build.h"
#include "toolchain/import.h"
#include "verify/onnxruntime_reference.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;

/// The bound, relative to logits of standard deviation 1 to 5.
constexpr float kTolerance = 1e-4F;
constexpr std::int64_t kPromptLengths[] = {1, 5, 17, 40};

struct FamilyCase {
  const char* name;
  const char* family;
  std::int64_t context_length = 0;
  const char* logits = "logits";
};

void PrintTo(const FamilyCase& family, std::ostream* out) { *out << family.name << "/" << family.context_length; }

fs::path folder_of(const std::string& name) { return fs::path(PAJAMAS_TEST_DATA) / "language" / name; }

std::map<std::string, Tensor> inputs_of(const Tensor& ids, std::int64_t length, const std::vector<std::int64_t>& rows) {
  std::vector<std::int64_t> positions(static_cast<std::size_t>(length));
  std::iota(positions.begin(), positions.end(), 0);
  return {{"input_ids", Tensor::of(Shape{length}, ids.as<std::int64_t>().first(positions.size()))},
          {"position_ids", Tensor::of<std::int64_t>(Shape{length}, positions)},
          {"logit_rows", Tensor::of<std::int64_t>(Shape{static_cast<std::int64_t>(rows.size())}, rows)}};
}

/// Rows `rows` of the golden against `actual` [rows, vocab].
void expect_rows(const Tensor& actual, const Tensor& golden, const std::vector<std::int64_t>& rows) {
  const std::int64_t vocab = golden.shape()[1];
  ASSERT_EQ(actual.shape(), Shape({static_cast<std::int64_t>(rows.size()), vocab}));
  float worst = 0;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (std::int64_t i = 0; i < vocab; ++i) {
      const float expected = golden.as<float>()[static_cast<std::size_t>(rows[r] * vocab + i)];
      const float found = actual.as<float>()[r * static_cast<std::size_t>(vocab) + static_cast<std::size_t>(i)];
      const float difference = std::abs(found - expected);
      if (!(difference <= worst)) worst = difference;
    }
  }
  EXPECT_LE(worst, kTolerance);
}

class LanguageFamilyTest : public testing::TestWithParam<FamilyCase> {
 protected:
  ImportedModel import() const {
    ImportHints hints;
    hints.context_length = GetParam().context_length;
    return import_model(folder_of(GetParam().name), hints);
  }
};

/// The model without its cache against `logits` of the golden, for prompts of at most `max_length`, by both references.
void expect_prefill(Model model, const Safetensors& golden, const std::string& logits_name, std::int64_t max_length) {
  const ModelFacts facts = check_model(model);
  EXPECT_THAT(facts.foreign_operators, testing::ElementsAre("pajamas.PagedAttention"));
  expand_paged_attention(model);
  EXPECT_TRUE(check_model(model).foreign_operators.empty());
  infer_shapes(model);
  const std::string bytes = serialize_onnx(model);
  const OnnxRuntimeSession session(std::as_bytes(std::span(bytes)), {});
  const Tensor ids = golden.tensor("input_ids"), logits = golden.tensor(logits_name);
  for (const std::int64_t length : kPromptLengths) {
    if (length > max_length) continue;
    SCOPED_TRACE(length);
    const std::vector<std::int64_t> rows =
        length == 1 ? std::vector<std::int64_t>{0} : std::vector<std::int64_t>{length - 1, 0, length / 2};
    const auto inputs = inputs_of(ids, length, rows);
    std::vector<std::pair<std::string, Tensor>> list(inputs.begin(), inputs.end());
    expect_rows(session.run(list).at(0), logits, rows);
    expect_rows(run_graph(model, inputs).at("logits"), logits, rows);
  }
}

TEST_P(LanguageFamilyTest, PrefillIsThatOfTransformers) {
  const ImportedModel imported = import();
  EXPECT_EQ(imported.family, GetParam().family);
  expect_prefill(imported.parts.at(0).model, Safetensors::read(folder_of(GetParam().name) / "golden.safetensors"),
                 GetParam().logits, kPromptLengths[3]);
}

/// The same checkpoints in GGUF, as llama.cpp's converter writes them (tools/goldens/make_tiny_ggufs.py).
struct GgufCase {
  const char* name;
  const char* family;
  std::int64_t context_length = 0;
  const char* logits = "logits";
  std::int64_t max_length = 40;  ///< GGUF says nothing of Qwen2's windows.
};

void PrintTo(const GgufCase& gguf, std::ostream* out) { *out << gguf.name << "/" << gguf.context_length; }

class GgufFamilyTest : public testing::TestWithParam<GgufCase> {};

TEST_P(GgufFamilyTest, PrefillIsThatOfTransformers) {
  ImportHints hints;
  hints.context_length = GetParam().context_length;
  testing::internal::CaptureStderr();
  const ImportedModel imported = import_model(folder_of(GetParam().name) / "model.gguf", hints);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::Not(testing::HasSubstr("are not part of")));
  EXPECT_EQ(imported.family, GetParam().family);
  EXPECT_EQ(imported.format, "gguf");
  EXPECT_EQ(imported.task.generation->vocab_size, 71);
  EXPECT_THAT(imported.task.generation->stop_token_ids, testing::ElementsAre(2));
  EXPECT_FALSE(imported.task.generation->tokenizer_file.empty());
  expect_prefill(imported.parts.at(0).model, Safetensors::read(folder_of(GetParam().name) / "golden.safetensors"),
                 GetParam().logits, GetParam().max_length);
}

INSTANTIATE_TEST_SUITE_P(Language, GgufFamilyTest,
                         testing::Values(GgufCase{"llama", "llama"}, GgufCase{"smollm2", "llama"},
                                         GgufCase{"qwen2", "qwen2", 0, "logits", 5}, GgufCase{"qwen3", "qwen3"},
                                         GgufCase{"qwen3_moe_all", "qwen3_moe"}, GgufCase{"phi3_long", "phi3", 48},
                                         GgufCase{"phi3_long", "phi3", 0, "logits_long"}),
                         [](const auto& param_info) {
                           return std::string(param_info.param.name) +
                                  (std::string(param_info.param.logits) == "logits" ? "" : "_past_the_original_length");
                         });

/// One sequence over cache blocks of its own, told apart from others by where they begin.
struct Sequence {
  std::vector<std::int64_t> tokens;
  std::vector<std::int32_t> blocks;
  std::int32_t num_done = 0;  ///< Tokens in the cache.
};

/// An engine of a language model with its session and cache.
class Runner {
 public:
  Runner(const Target& target, const Model& model, const fs::path& folder)
      : engine_(test::exact_engine(target, model, "model", folder)) {
    session_ = engine_->new_session();
    cache_ = engine_->new_kv_cache(8);
    session_->set_kv_cache(cache_);
  }

  /// The next `counts[i]` tokens of each sequence in one step: the logits of the last token of each.
  Tensor step(const std::vector<Sequence*>& sequences, const std::vector<std::int32_t>& counts) {
    std::vector<std::int64_t> ids, positions, rows;
    std::vector<std::int32_t> past, begins{0}, blocks, block_begins{0};
    std::int32_t longest = 0;
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      Sequence& sequence = *sequences[s];
      past.push_back(sequence.num_done);
      for (std::int32_t i = 0; i < counts[s]; ++i, ++sequence.num_done) {
        ids.push_back(sequence.tokens.at(static_cast<std::size_t>(sequence.num_done)));
        positions.push_back(sequence.num_done);
      }
      rows.push_back(static_cast<std::int64_t>(ids.size()) - 1);
      begins.push_back(static_cast<std::int32_t>(ids.size()));
      const std::int64_t block_size = engine_->kv_cache_layout()->block_size_tokens;
      const auto num_blocks = static_cast<std::ptrdiff_t>((sequence.num_done + block_size - 1) / block_size);
      blocks.insert(blocks.end(), sequence.blocks.begin(), sequence.blocks.begin() + num_blocks);
      block_begins.push_back(static_cast<std::int32_t>(blocks.size()));
      longest = std::max(longest, sequence.num_done);
    }
    const auto list = [](const auto& values) {
      using T = typename std::decay_t<decltype(values)>::value_type;
      return Tensor::of<T>(Shape{static_cast<std::int64_t>(values.size())}, values);
    };
    const std::map<std::string, Tensor> tensors{{"input_ids", list(ids)},
                                                {"position_ids", list(positions)},
                                                {"logit_rows", list(rows)},
                                                {"past_lens", list(past)},
                                                {"subsequence_begins", list(begins)},
                                                {"block_indices", list(blocks)},
                                                {"block_indices_begins", list(block_begins)},
                                                {"max_context_len", Tensor::scalar(longest)}};
    for (std::size_t i = 0; i < engine_->inputs().size(); ++i) {
      session_->set_input(i, tensors.at(engine_->inputs()[i].name).view());
    }
    session_->run();
    return Tensor::copy_of(session_->output(0));
  }

 private:
  std::shared_ptr<const Engine> engine_;
  std::unique_ptr<Session> session_;
  std::shared_ptr<KvCache> cache_;
};

/// Targets that run language models on this machine. Others say so by name in supports().
std::vector<const Target*> language_targets() {
  std::vector<const Target*> result;
  for (const Target* target : targets()) {
    if (target->name() == "openvino") result.push_back(target);
  }
  return result;
}

TEST_P(LanguageFamilyTest, PrefillAndDecodeWithTheCacheAreThoseOfTransformers) {
  if (language_targets().empty()) GTEST_SKIP() << "no target with a cache is built in";
  const ImportedModel imported = import();
  const Safetensors golden = Safetensors::read(folder_of(GetParam().name) / "golden.safetensors");
  const Tensor ids = golden.tensor("input_ids"), logits = golden.tensor(GetParam().logits);
  const auto tokens = ids.as<std::int64_t>();
  for (const Target* target : language_targets()) {
    SCOPED_TRACE(target->name());
    const test::TemporaryFolder folder;
    Runner runner(*target, imported.parts.at(0).model, folder.path());
    for (const std::int32_t length : {1, 5, 17, 40}) {
      SCOPED_TRACE(length);
      Sequence sequence{{tokens.begin(), tokens.end()}, {3, 1}};
      expect_rows(runner.step({&sequence}, {length}), logits, {length - 1});
      for (std::int64_t i = 0; i < 5; ++i) expect_rows(runner.step({&sequence}, {1}), logits, {length + i});
    }
    // A decoding sequence beside the prefill of another, then both at once.
    Sequence first{{tokens.begin(), tokens.end()}, {5, 2}}, second = {first.tokens, {0, 7}};
    runner.step({&first}, {30});
    expect_rows(runner.step({&first, &second}, {1, 9}), logits, {30, 8});
    for (std::int64_t i = 0; i < 3; ++i) {
      expect_rows(runner.step({&second, &first}, {1, 1}), logits, {9 + i, 31 + i});
    }
  }
}

TEST_P(LanguageFamilyTest, EveryTensorIsUsed) {
  testing::internal::CaptureStderr();
  const ImportedModel imported = import();
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, testing::Not(testing::HasSubstr("are not part of"))) << log;
  const Safetensors weights = Safetensors::read(folder_of(GetParam().name) / "model.safetensors");
  for (const std::string& name : weights.names()) {
    const Initializer* stored = imported.parts.at(0).model.graph.find_initializer(name);
    ASSERT_NE(stored, nullptr) << name;
    const bool is_matrix = weights.shape_of(name).rank() == 2;
    // Matrices stay as they are in the file, mapped.
    if (is_matrix) {
      EXPECT_EQ(stored->tensor.dtype(), weights.dtype_of(name)) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Language, LanguageFamilyTest,
    testing::Values(FamilyCase{"llama", "llama"}, FamilyCase{"llama_biased", "llama"}, FamilyCase{"smollm2", "llama"},
                    FamilyCase{"mistral", "mistral"}, FamilyCase{"qwen2", "qwen2"}, FamilyCase{"qwen3", "qwen3"},
                    FamilyCase{"qwen3_moe", "qwen3_moe"}, FamilyCase{"qwen3_moe_plain", "qwen3_moe"},
                    FamilyCase{"qwen3_moe_all", "qwen3_moe"}, FamilyCase{"phi3", "phi3"},
                    FamilyCase{"phi3_long", "phi3", 48}, FamilyCase{"phi3_long", "phi3", 0, "logits_long"},
                    FamilyCase{"gemma3", "gemma3"}),
    [](const auto& param_info) {
      return std::string(param_info.param.name) +
             (std::string(param_info.param.logits) == "logits" ? "" : "_past_the_original_length");
    });

}  // namespace
}  // namespace pajamas
