// CtcModel: what transcription by CTC needs of a speech model, one window at a time. CtcSession is the real one; tests
// have models whose answers are known.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bundle/transcription_facts.h"
#include "engine/target.h"

namespace pajamas {

/// Use from one thread at a time.
class CtcModel {
 public:
  virtual ~CtcModel() = default;
  /// Log-probabilities [frames, vocab_size] of a window of at least CtcFacts::frame_samples samples, valid until the
  /// next call.
  virtual std::span<const float> run(std::span<const float> samples) = 0;
};

/// Over the engine of a bundle; normalises the window as the facts say.
class CtcSession final : public CtcModel {
 public:
  /// `facts` is borrowed. Throws Error{kBadInput} for an engine without `samples` and `logits`.
  CtcSession(const CtcFacts& facts, std::shared_ptr<const Engine> engine);
  /// Throws what the engine throws, and Error{kInternal} for logits that are not numbers.
  std::span<const float> run(std::span<const float> samples) override;

 private:
  const CtcFacts& facts_;
  std::shared_ptr<const Engine> engine_;
  std::unique_ptr<Session> session_;
  std::size_t input_ = 0, output_ = 0;
  std::vector<float> samples_, logprobs_;
};

/// Mean 0 and variance 1 (+ 1e-7), as transformers' feature extractor: into `out` of the same size. Sums in double.
void normalize_samples(std::span<const float> samples, std::span<float> out);

}  // namespace pajamas
