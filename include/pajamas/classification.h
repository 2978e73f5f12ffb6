// Classification: the most probable classes of a picture.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "pajamas/detection.h"
#include "pajamas/image.h"

namespace pajamas {

struct Classification {
  int class_index = 0;
  std::string label;
  float score = 0;  ///< Probability, 0..1.
};

struct ClassifierOptions {
  int top_k = 5;        ///< How many classes to give; capped at the number of classes.
  int num_threads = 0;  ///< CPU threads; 0: all.
};

struct ClassificationResult {
  std::vector<Classification> classes;  ///< By falling score, ties by class index.
  TaskTiming timing;
};

/// A loaded classifier; one thread at a time.
class Classifier {
 public:
  /// Throws as Detector's constructor.
  explicit Classifier(const std::filesystem::path& bundle, const ClassifierOptions& options = {});
  ~Classifier();
  Classifier(Classifier&&) noexcept;
  Classifier& operator=(Classifier&&) noexcept;

  ClassificationResult classify(const Image& image);
  std::vector<ClassificationResult> classify(std::span<const Image> images);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pajamas
