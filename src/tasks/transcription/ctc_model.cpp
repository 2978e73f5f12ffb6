// See ctc_model.h.
#include "tasks/transcription/ctc_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/tensor_lookup.h"
#include "pajamas/error.h"
#include "tasks/transcription/decoding_rules.h"

namespace pajamas {

void normalize_samples(std::span<const float> samples, std::span<float> out) {
  const auto count = static_cast<double>(samples.size());
  double sum = 0, squares = 0;
  for (const float sample : samples) sum += static_cast<double>(sample);
  const double mean = sum / count;
  for (const float sample : samples) {
    const double difference = static_cast<double>(sample) - mean;
    squares += difference * difference;
  }
  const double factor = 1 / std::sqrt(squares / count + 1e-7);
  for (std::size_t i = 0; i < samples.size(); ++i) {
    out[i] = static_cast<float>((static_cast<double>(samples[i]) - mean) * factor);
  }
}

CtcSession::CtcSession(const CtcFacts& facts, std::shared_ptr<const Engine> engine)
    : facts_(facts), engine_(std::move(engine)), session_(engine_->new_session()) {
  input_ = find_tensor(engine_->inputs(), "samples", "input");
  output_ = find_tensor(engine_->outputs(), "logits", "output");
}

std::span<const float> CtcSession::run(std::span<const float> samples) {
  samples_.assign(samples.begin(), samples.end());
  if (facts_.is_normalized) normalize_samples(samples, samples_);
  const auto num_samples = static_cast<std::int64_t>(samples_.size());
  session_->set_input(input_,
                      {DType::kFloat32, Shape{1, num_samples}, reinterpret_cast<const std::byte*>(samples_.data())});
  session_->run();
  const TensorView logits = session_->output(output_);
  const Shape wanted{1, facts_.frames_of(num_samples), facts_.vocab_size()};
  if (logits.dtype != DType::kFloat32 || logits.shape != wanted) {
    throw Error(ErrorKind::kInternal,
                std::string("the logits are ") + to_string(logits.dtype) + " " + logits.shape.to_string() +
                    ", wanted float32 " + wanted.to_string(),
                facts_.part, "build the bundle again");
  }
  const auto* const values = reinterpret_cast<const float*>(logits.data);
  logprobs_.assign(values, values + wanted.num_elements());
  if (!std::all_of(logprobs_.begin(), logprobs_.end(), [](float value) { return std::isfinite(value); })) {
    throw Error(ErrorKind::kInternal, "the model gave logits that are not numbers", facts_.part,
                "run `pajamas verify` on the bundle, or build it again with --precision fp32");
  }
  const auto vocab = static_cast<std::size_t>(facts_.vocab_size());
  for (std::size_t begin = 0; begin < logprobs_.size(); begin += vocab) {
    log_softmax(std::span(logprobs_).subspan(begin, vocab));
  }
  return logprobs_;
}

}  // namespace pajamas
