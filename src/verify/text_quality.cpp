// Perplexity and agreement. See text_quality.h.
#include "verify/text_quality.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "pajamas/error.h"
#include "verify/sequence_engine.h"

namespace pajamas {
namespace {

/// Rows asked for in one step: bounds the logits held at once (128 rows of 150,000 are 77 MB).
constexpr std::int64_t kChunkTokens = 128;

class EngineTextModel final : public TextModel {
 public:
  EngineTextModel(std::shared_ptr<const Engine> engine, std::int64_t max_tokens)
      : sequence_(std::move(engine), max_tokens) {}

  void predict(std::span<const std::int64_t> window, std::int64_t first_row,
               const std::function<void(std::int64_t, std::span<const float>)>& use) override {
    sequence_.restart();
    const auto num_tokens = static_cast<std::int64_t>(window.size());
    for (std::int64_t begin = 0; begin < num_tokens; begin += kChunkTokens) {
      const std::int64_t end = std::min(begin + kChunkTokens, num_tokens);
      std::vector<std::int64_t> rows;
      for (std::int64_t row = std::max(begin, first_row); row < end; ++row) rows.push_back(row - begin);
      const bool is_wanted = !rows.empty();
      if (!is_wanted) rows.push_back(end - begin - 1);
      const TensorView logits =
          sequence_.step(window.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)), rows);
      if (!is_wanted) continue;
      const auto width = static_cast<std::size_t>(logits.shape[1]);
      for (std::size_t i = 0; i < rows.size(); ++i) use(begin + rows[i], logits.as<float>().subspan(i * width, width));
    }
  }

 private:
  CachedSequence sequence_;
};

class OnnxRuntimeTextModel final : public TextModel {
 public:
  explicit OnnxRuntimeTextModel(std::shared_ptr<const OnnxRuntimeSession> session) : session_(std::move(session)) {}

  void predict(std::span<const std::int64_t> window, std::int64_t first_row,
               const std::function<void(std::int64_t, std::span<const float>)>& use) override {
    std::vector<std::int64_t> positions, rows;
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(window.size()); ++i) {
      positions.push_back(i);
      if (i >= first_row) rows.push_back(i);
    }
    const auto vector_of = [](std::span<const std::int64_t> values) {
      return Tensor::of<std::int64_t>(Shape{static_cast<std::int64_t>(values.size())}, values);
    };
    const std::vector<Tensor> outputs = session_->run(
        {{"input_ids", vector_of(window)}, {"position_ids", vector_of(positions)}, {"logit_rows", vector_of(rows)}});
    const Tensor& logits = outputs.at(0);
    const auto width = static_cast<std::size_t>(logits.shape()[1]);
    for (std::size_t i = 0; i < rows.size(); ++i) use(rows[i], logits.as<float>().subspan(i * width, width));
  }

 private:
  std::shared_ptr<const OnnxRuntimeSession> session_;
};

/// Log-softmax of a row, in double precision.
void log_probabilities(std::span<const float> logits, std::int64_t token_index, std::vector<float>& out) {
  double largest = -INFINITY;
  for (const float value : logits) {
    if (std::isnan(value) || value == INFINITY) {
      throw Error(ErrorKind::kInternal,
                  "the model gave a logit that is no number after token " + std::to_string(token_index));
    }
    largest = std::max(largest, static_cast<double>(value));
  }
  double sum = 0;
  for (const float value : logits) sum += std::exp(static_cast<double>(value) - largest);
  const double log_sum = largest + std::log(sum);
  out.resize(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) out[i] = static_cast<float>(static_cast<double>(logits[i]) - log_sum);
}

double kl_divergence(const std::vector<float>& from, const std::vector<float>& to) {
  double sum = 0;
  for (std::size_t i = 0; i < std::min(from.size(), to.size()); ++i) {
    if (from[i] > -60.0F) sum += std::exp(static_cast<double>(from[i])) * (static_cast<double>(from[i]) - to[i]);
  }
  return std::max(sum, 0.0);
}

std::ptrdiff_t best(const std::vector<float>& values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

}  // namespace

std::unique_ptr<TextModel> engine_text_model(std::shared_ptr<const Engine> engine, std::int64_t max_tokens) {
  return std::make_unique<EngineTextModel>(std::move(engine), max_tokens);
}

std::unique_ptr<TextModel> onnxruntime_text_model(std::shared_ptr<const OnnxRuntimeSession> session) {
  return std::make_unique<OnnxRuntimeTextModel>(std::move(session));
}

TextQuality measure_text_quality(std::span<const std::int64_t> tokens, TextModel& model, TextModel* reference,
                                 const TextWindows& windows, const Progress& progress) {
  if (windows.max_tokens > 0 && static_cast<std::int64_t>(tokens.size()) > windows.max_tokens) {
    tokens = tokens.first(static_cast<std::size_t>(windows.max_tokens));
  }
  const auto num_tokens = static_cast<std::int64_t>(tokens.size());
  if (num_tokens < 2) throw Error(ErrorKind::kBadInput, "the text has fewer than two tokens", {}, "give a longer text");
  if (windows.context_tokens < 2 || windows.stride_tokens < 1 || windows.stride_tokens > windows.context_tokens) {
    throw Error(ErrorKind::kBadInput, "the stride must lie between 1 and the context, and the context be 2 or more");
  }
  TextQuality quality;
  quality.num_tokens = num_tokens;
  quality.context_tokens = std::min(windows.context_tokens, num_tokens);
  quality.stride_tokens = windows.stride_tokens;
  quality.has_reference = reference != nullptr;
  double loss = 0, reference_loss = 0, divergence = 0;
  std::int64_t num_agreeing = 0;
  std::vector<float> row_logprobs;
  std::int64_t num_counted = 1;  // Tokens predicted so far; the first has nothing before it.
  for (std::int64_t begin = 0; num_counted < num_tokens;) {
    progress.check("measuring on text");
    progress.step("Measuring on text", static_cast<double>(num_counted) / static_cast<double>(num_tokens));
    const std::int64_t end = std::min(begin + windows.context_tokens, num_tokens);
    const auto window = tokens.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
    // The row before the first token that counts, to the row before the last.
    const std::int64_t first_row = num_counted - 1 - begin;
    const auto rows_of = window.first(window.size() - 1);
    std::vector<std::vector<float>> kept;
    if (reference != nullptr) {
      kept.resize(static_cast<std::size_t>(end - num_counted));
      reference->predict(rows_of, first_row, [&](std::int64_t row, std::span<const float> logits) {
        log_probabilities(logits, begin + row, kept[static_cast<std::size_t>(row - first_row)]);
      });
    }
    model.predict(rows_of, first_row, [&](std::int64_t row, std::span<const float> logits) {
      log_probabilities(logits, begin + row, row_logprobs);
      const std::int64_t next = window[static_cast<std::size_t>(row + 1)];
      if (next < 0 || next >= static_cast<std::int64_t>(row_logprobs.size())) {
        throw Error(ErrorKind::kBadInput, "token " + std::to_string(next) + " of the text is outside the vocabulary");
      }
      loss -= row_logprobs[static_cast<std::size_t>(next)];
      if (reference == nullptr) return;
      const std::vector<float>& expected = kept[static_cast<std::size_t>(row - first_row)];
      reference_loss -= expected[static_cast<std::size_t>(next)];
      divergence += kl_divergence(expected, row_logprobs);
      num_agreeing += best(expected) == best(row_logprobs) ? 1 : 0;
    });
    num_counted = end;
    // At least one token before the next that counts.
    begin = std::min(begin + windows.stride_tokens, num_counted - 1);
  }
  const auto count = static_cast<double>(num_tokens - 1);
  quality.num_predicted = num_tokens - 1;
  quality.perplexity = std::exp(loss / count);
  if (reference != nullptr) {
    quality.reference_perplexity = std::exp(reference_loss / count);
    quality.mean_kl = divergence / count;
    quality.top1_agreement = static_cast<double>(num_agreeing) / count;
  }
  return quality;
}

nlohmann::json to_json(const TextQuality& quality) {
  nlohmann::json json = {{"perplexity", quality.perplexity},
                         {"tokens", quality.num_tokens},
                         {"predicted", quality.num_predicted},
                         {"context", quality.context_tokens},
                         {"stride", quality.stride_tokens}};
  if (quality.has_reference) {
    json["reference_perplexity"] = quality.reference_perplexity;
    json["mean_kl"] = quality.mean_kl;
    json["top1_agreement"] = quality.top1_agreement;
  }
  return json;
}

}  // namespace pajamas
