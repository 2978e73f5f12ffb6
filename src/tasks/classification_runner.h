// The classification task over any engine: what Classifier is made of, without the bundle.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "bundle/task_facts.h"
#include "engine/target.h"
#include "pajamas/classification.h"
#include "tasks/image_session.h"

namespace pajamas {

/// The `top_k` best of `scores` (as the model gives them) by falling probability, ties by class. Throws
/// Error{kBadInput} when a score is NaN.
std::vector<Classification> rank_classes(std::span<const float> scores, const ClassificationFacts& facts, int top_k);

/// Softmax in place, safe for any finite values and −infinity.
void apply_softmax(std::span<float> values);

/// One thread at a time.
class ClassificationRunner {
 public:
  /// `max_batch`: see ImageSession. Throws Error{kBadInput} when the engine does not fit the facts, Error{kUsage} for
  /// options out of range.
  ClassificationRunner(const ClassificationFacts& facts, std::shared_ptr<const Engine> engine,
                       const ClassifierOptions& options, std::size_t max_batch = 0);
  std::vector<ClassificationResult> classify(std::span<const Image> images);

 private:
  ClassificationFacts facts_;
  ClassifierOptions options_;
  ImageSession session_;
  std::size_t output_index_;
};

}  // namespace pajamas
