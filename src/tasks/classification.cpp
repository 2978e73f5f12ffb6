// The classification task: Classifier of pajamas/classification.h and the runner behind it.
#include "pajamas/classification.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "bundle/bundle.h"
#include "engine/engine_loader.h"
#include "engine/tensor_lookup.h"
#include "pajamas/error.h"
#include "tasks/classification_runner.h"
#include "tasks/registry.h"
#include "tasks/task_checks.h"
#include "tensor/half.h"

namespace pajamas {

namespace {

/// Scores of one picture: the output may have extents of 1 beside batch and classes.
std::size_t num_scores(const Shape& shape, std::size_t batch, const ClassificationFacts& facts) {
  const auto total = static_cast<std::size_t>(shape.num_elements());
  const std::size_t count = batch > 0 ? total / batch : 0;
  // Exactly one axis has the classes; all others are the batch or 1.
  const bool has_axis = std::count(shape.begin(), shape.end(), static_cast<std::int64_t>(count)) > 0;
  const bool is_fit = count > 0 && count * batch == total && has_axis &&
                      (batch == 1 || (shape.rank() > 0 && shape[0] == static_cast<std::int64_t>(batch)));
  if (!is_fit || (facts.num_classes > 0 && static_cast<std::int64_t>(count) != facts.num_classes)) {
    throw Error(ErrorKind::kBadInput,
                "output '" + facts.scores_output + "' has shape " + shape.to_string() +
                    ", but a classifier gives [batch, classes]" +
                    (facts.num_classes > 0 ? " with " + std::to_string(facts.num_classes) + " classes" : std::string()),
                {}, "build the bundle again with the --task the model is made for");
  }
  return count;
}

}  // namespace

void apply_softmax(std::span<float> values) {
  if (values.empty()) return;
  const float largest = *std::max_element(values.begin(), values.end());
  double sum = 0;
  for (float& value : values) {
    value = std::isinf(largest) ? (value == largest ? 1.0F : 0.0F) : std::exp(value - largest);
    sum += value;
  }
  for (float& value : values) value = static_cast<float>(value / sum);
}

std::vector<Classification> rank_classes(std::span<const float> scores, const ClassificationFacts& facts, int top_k) {
  const auto num_nan = std::count_if(scores.begin(), scores.end(), [](float score) { return std::isnan(score); });
  if (num_nan > 0) {
    throw Error(ErrorKind::kBadInput,
                "the model computed " + std::to_string(num_nan) + " of " + std::to_string(scores.size()) +
                    " scores that are not a number in output '" + facts.scores_output + "'",
                {}, "check the bundle with `pajamas verify`; a build with --precision fp32 may help");
  }
  std::vector<float> probabilities(scores.begin(), scores.end());
  switch (facts.activation) {
    case ClassificationFacts::Activation::kNone: break;
    case ClassificationFacts::Activation::kSoftmax: apply_softmax(probabilities); break;
    case ClassificationFacts::Activation::kSigmoid:
      for (float& value : probabilities) value = 1.0F / (1.0F + std::exp(-value));
      break;
  }
  std::vector<int> order(probabilities.size());
  std::iota(order.begin(), order.end(), 0);
  const auto count = std::min(order.size(), static_cast<std::size_t>(top_k));
  const auto score_of = [&](int index) { return probabilities[static_cast<std::size_t>(index)]; };
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                    [&](int a, int b) { return score_of(a) != score_of(b) ? score_of(a) > score_of(b) : a < b; });
  std::vector<Classification> classes;
  for (std::size_t i = 0; i < count; ++i) {
    const auto index = static_cast<std::size_t>(order[i]);
    const bool has_label = index < facts.labels.size() && !facts.labels[index].empty();
    classes.push_back({order[i], has_label ? facts.labels[index] : std::to_string(index), probabilities[index]});
  }
  return classes;
}

ClassificationRunner::ClassificationRunner(const ClassificationFacts& facts, std::shared_ptr<const Engine> engine,
                                           const ClassifierOptions& options, std::size_t max_batch)
    : facts_(facts),
      options_(options),
      session_(std::move(engine), facts.image, max_batch),
      output_index_(session_.output_index(facts.scores_output)) {
  if (options.top_k < 1) {
    throw Error(ErrorKind::kUsage, "top_k is " + std::to_string(options.top_k) + "; give at least 1");
  }
  require_label_count(facts.labels, facts.num_classes);
}

std::vector<ClassificationResult> ClassificationRunner::classify(std::span<const Image> images) {
  std::vector<ClassificationResult> results(images.size());
  session_.run(images, [&](const ImageGroup& group) {
    const Tensor scores = to_float32(session_.output(output_index_));
    const std::size_t count = num_scores(scores.shape(), group.batch, facts_);
    for (std::size_t i = 0; i < group.count; ++i) {
      const auto start = std::chrono::steady_clock::now();
      ClassificationResult& result = results[group.begin + i];
      result.classes = rank_classes(scores.as<float>().subspan(i * count, count), facts_, options_.top_k);
      result.timing = group.timing;
      result.timing.postprocess = std::chrono::steady_clock::now() - start;
    }
  });
  return results;
}

void check_classification(const TaskFacts& task, const std::string& part, const std::vector<TensorInfo>& inputs,
                          const std::vector<TensorInfo>& outputs) {
  const ClassificationFacts& facts = task.classification.value();
  if (facts.image.part != part) return;
  check_image_input(inputs[find_tensor(inputs, facts.image.input, "input")], facts.image);
  require_label_count(facts.labels, facts.num_classes);
  const auto shape = probe_shape(outputs[find_tensor(outputs, facts.scores_output, "output")]);
  if (shape) num_scores(*shape, shape->rank() > 1 ? static_cast<std::size_t>((*shape)[0]) : 1, facts);
}

struct Classifier::Impl {
  ClassificationRunner runner;
};

Classifier::Classifier(const std::filesystem::path& bundle_path, const ClassifierOptions& options)
    : impl_(open_for_task(bundle_path, "classification", [&](const Bundle& bundle) {
        const ClassificationFacts& facts = *bundle.manifest().task.classification;
        auto engine = load_engine(bundle, facts.image.part, session_options(options.num_threads));
        const std::size_t max_batch = max_batch_of(bundle, facts.image.input);
        return std::make_unique<Impl>(Impl{ClassificationRunner(facts, std::move(engine), options, max_batch)});
      })) {}

Classifier::~Classifier() = default;
Classifier::Classifier(Classifier&&) noexcept = default;
Classifier& Classifier::operator=(Classifier&&) noexcept = default;

ClassificationResult Classifier::classify(const Image& image) {
  return std::move(classify(std::span(&image, 1)).front());
}

std::vector<ClassificationResult> Classifier::classify(std::span<const Image> images) {
  return impl_->runner.classify(images);
}

}  // namespace pajamas
