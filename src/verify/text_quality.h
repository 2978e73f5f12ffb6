// How well a language model predicts a text: perplexity, and how near one model's predictions lie to another's. Says
// nothing of speed; the text's tokens come from the caller.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "base/cancel.h"
#include "engine/target.h"
#include "verify/onnxruntime_reference.h"

namespace pajamas {

/// Windows over the tokens: each is computed afresh from its first token. Of every window but the first only the tokens
/// past the overlap count, so each token of the text is predicted once, with at least `context - stride` tokens before
/// it.
struct TextWindows {
  std::int64_t context_tokens = 512;
  std::int64_t stride_tokens = 256;  ///< 1 .. context_tokens
  std::int64_t max_tokens = 0;       ///< Of the text; 0: all.
};

/// A model that can be asked for predictions. One thread at a time.
class TextModel {
 public:
  virtual ~TextModel() = default;
  /// For each row `first_row` .. window.size() - 1 in order: float32 logits [vocab_size] for the token after it.
  virtual void predict(std::span<const std::int64_t> window, std::int64_t first_row,
                       const std::function<void(std::int64_t row, std::span<const float> logits)>& use) = 0;
};

/// An engine with paged attention; windows up to `max_tokens`.
std::unique_ptr<TextModel> engine_text_model(std::shared_ptr<const Engine> engine, std::int64_t max_tokens);
/// ONNX Runtime on an expanded graph.
std::unique_ptr<TextModel> onnxruntime_text_model(std::shared_ptr<const OnnxRuntimeSession> session);

struct TextQuality {
  double perplexity = 0;           ///< exp of the mean negative log-likelihood of the counted tokens.
  std::int64_t num_tokens = 0;     ///< In the text used.
  std::int64_t num_predicted = 0;  ///< Counted: all but the first.
  std::int64_t context_tokens = 0;
  std::int64_t stride_tokens = 0;
  /// Against the reference, where there is one: mean over the counted tokens.
  bool has_reference = false;
  double reference_perplexity = 0;
  double mean_kl = 0;         ///< KL(reference || model) in nats.
  double top1_agreement = 0;  ///< Share of tokens whose most probable next token is the same.
};

/// Throws Error{kBadInput} for fewer than two tokens or a stride out of range, Error{kCancelled}. NaN or infinite
/// logits are an Error{kInternal} naming the token.
TextQuality measure_text_quality(std::span<const std::int64_t> tokens, TextModel& model, TextModel* reference,
                                 const TextWindows& windows, const Progress& progress = {});

nlohmann::json to_json(const TextQuality& quality);

}  // namespace pajamas
