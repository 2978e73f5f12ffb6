// Published GGUF files, as ./dev setup installs them, compute what transformers' own reader and models compute of them
// in float32 (tools/goldens/make_gguf_goldens.py). Skipped where the files are not installed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/files.h"
#include "graph/checker.h"
#include "graph/passes/expand_paged_attention.h"
#include "io/onnx_writer.h"
#include "support/temporary_folder.h"
#include "text/tokenizer.h"
#include "toolchain/import.h"
#include "verify/onnxruntime_reference.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;

/// float32 sums in another order through 18 to 30 layers; far below the 0.5 % of perplexity.
constexpr double kLossTolerance = 2e-3;

class GgufModelTest : public testing::TestWithParam<const char*> {};

TEST_P(GgufModelTest, LossesAreThoseOfTransformers) {
  const fs::path file = fs::path(PAJAMAS_DEPS_DIR) / "models" / GetParam();
  if (!fs::exists(file)) GTEST_SKIP() << file << " is not installed: run ./dev setup";
  const auto golden = nlohmann::json::parse(
      read_file(fs::path(PAJAMAS_TEST_DATA) / "language" / "gguf.json", 1 << 20))["files"][GetParam()];
  const auto ids = golden["ids"].get<std::vector<std::int64_t>>();
  const auto losses = golden["losses"].get<std::vector<double>>();
  ASSERT_GT(ids.size(), 150U);

  const test::TemporaryFolder folder;
  ImportHints hints;
  hints.scratch_directory = folder.path();
  ImportedModel imported = import_model(file, hints);
  EXPECT_EQ(imported.format, "gguf");
  const GenerationFacts& facts = imported.task.generation.value();
  ASSERT_FALSE(facts.tokenizer_file.empty());

  Model model = std::move(imported.parts.at(0).model);
  expand_paged_attention(model);
  const std::string bytes = serialize_onnx(model);
  model = {};
  const OnnxRuntimeSession session(std::as_bytes(std::span(bytes)), {});
  const auto length = static_cast<std::int64_t>(ids.size());
  std::vector<std::int64_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), 0);
  const auto results = session.run({{"input_ids", Tensor::of<std::int64_t>(Shape{length}, ids)},
                                    {"position_ids", Tensor::of<std::int64_t>(Shape{length}, positions)},
                                    {"logit_rows", Tensor::of<std::int64_t>(Shape{length}, positions)}});
  const auto logits = results.at(0).as<float>();
  const auto vocab = static_cast<std::size_t>(facts.vocab_size);
  double sum = 0, expected_sum = 0;
  for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
    const auto row = logits.subspan(i * vocab, vocab);
    const double largest = *std::max_element(row.begin(), row.end());
    double total = 0;
    for (const float value : row) total += std::exp(static_cast<double>(value) - largest);
    const double loss = largest + std::log(total) - static_cast<double>(row[static_cast<std::size_t>(ids[i + 1])]);
    EXPECT_NEAR(loss, losses[i], kLossTolerance) << "token " << i + 1;
    sum += loss;
    expected_sum += losses[i];
  }
  const auto count = static_cast<double>(losses.size());
  const double perplexity = std::exp(sum / count), expected = std::exp(expected_sum / count);
  RecordProperty("perplexity", std::to_string(perplexity));
  RecordProperty("expected", std::to_string(expected));
  EXPECT_NEAR(perplexity / expected, 1, 1e-4) << perplexity << " for " << expected;
  const auto last = logits.last(vocab);
  for (std::size_t i = 0; i < golden["best_ids"].size(); ++i) {
    const auto id = golden["best_ids"][i].get<std::size_t>();
    EXPECT_NEAR(last[id], golden["best_logits"][i].get<double>(), 5e-3) << "token " << id;
  }
}

INSTANTIATE_TEST_SUITE_P(Gguf, GgufModelTest,
                         testing::Values("SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m.Q4_K_M.gguf"),
                         [](const auto& param_info) {
                           return std::string(param_info.param).substr(0, 5) == "SmolL" ? "SmolLM2" : "Gemma3";
                         });

}  // namespace
}  // namespace pajamas
