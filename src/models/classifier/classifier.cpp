// Picture classifiers as ONNX, whatever the network: one output of a score per class. Preprocessing, labels and whether
// a softmax is still to come are taken from the metadata; where it says nothing, ImageNet's convention is assumed and
// said so in the log.
#include "models/classifier/classifier.h"

#include <algorithm>
#include <array>

#include "base/log.h"
#include "models/imagenet_input.h"
#include "models/published_facts.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

/// [batch, classes], or [batch, classes, 1, 1] as some convolutional networks end.
bool is_score_output(const OutputTensor& output) {
  if (!output.is_float() || !output.extent(1) || *output.extent(1) < 2) return false;
  return output.rank() == 2 || (output.rank() == 4 && output.extent(2) == 1 && output.extent(3) == 1);
}

const OutputTensor* find_scores(const ModelInterface& interface) {
  for (const char* name : {"logits", "probabilities", "probs", "scores"}) {
    const OutputTensor* output = interface.find_output(name);
    if (output != nullptr && is_score_output(*output)) return output;
  }
  if (interface.outputs.size() != 1 || !is_score_output(interface.outputs[0])) return nullptr;
  return &interface.outputs[0];
}

bool contains_any(std::string text, std::initializer_list<std::string_view> words) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::any_of(words.begin(), words.end(), [&](std::string_view word) { return text.find(word) != text.npos; });
}

/// Whether a lone [batch, n] output is scores of classes and not a feature vector.
bool is_evident(const PublishedFacts& published, const OutputTensor& scores, OutputOrigin origin) {
  const std::int64_t num_classes = *scores.extent(1);
  if (contains_any(scores.name, {"logit", "prob", "softmax", "score", "class"})) return true;
  if (origin == OutputOrigin::kSoftmax || origin == OutputOrigin::kSigmoid) return true;
  // ImageNet-1k, the same with a background class, and the two sizes of ImageNet-21k.
  static constexpr std::array<std::int64_t, 4> kImagenetSizes{1000, 1001, 21841, 21843};
  if (std::find(kImagenetSizes.begin(), kImagenetSizes.end(), num_classes) != kImagenetSizes.end()) return true;
  return published.num_named() == num_classes ||
         static_cast<std::int64_t>(published.labels_of_user.size()) == num_classes;
}

ImageInput ultralytics_input(const PublishedFacts& published, const ImageTensor& tensor) {
  ImageInput image;
  image.height_px = tensor.height_px.value_or(published.height_px.value_or(224));
  image.width_px = tensor.width_px.value_or(published.width_px.value_or(224));
  image.is_antialiased = true;
  if (image.height_px == image.width_px) {
    image.resize = ImageInput::Resize::kShortestEdge;
    image.resize_px = image.height_px;
  }
  return image;
}

class ClassifierDefinition : public ModelDefinition {
 public:
  std::string_view family() const override { return "classifier"; }

  std::optional<TaskFacts> recognise(const Model& model, const ImportHints& hints) const override {
    const PublishedFacts published = read_published_facts(model, hints);
    const bool is_named = published.task == "classification";
    if (!published.task.empty() && !is_named) return std::nullopt;
    const ModelInterface interface = interface_of(model);
    const OutputTensor* scores = find_scores(interface);
    if (!interface.image || !interface.other_inputs.empty() || scores == nullptr) {
      if (!is_named) return std::nullopt;
      throw Error(ErrorKind::kBadInput,
                  "a classifier needs one picture input and an output [batch, classes]; the outputs are " +
                      interface.describe_outputs(),
                  "--task", "leave --task away, or build with --task none");
    }
    const OutputOrigin origin = origin_of(model.graph, scores->name);
    if (!is_named && !is_evident(published, *scores, origin)) {
      if (contains_any(scores->name, {"embed", "feature", "pool", "hidden"})) return std::nullopt;
      throw Error(ErrorKind::kUnsupported,
                  "output '" + scores->name + "' of " + std::to_string(*scores->extent(1)) +
                      " values may be scores of classes or a feature vector",
                  "", "say which with --task classification or --task embedding, or build with --task none");
    }
    ClassificationFacts facts;
    facts.scores_output = scores->name;
    facts.num_classes = *scores->extent(1);
    facts.labels = published.labels(facts.num_classes);
    facts.activation =
        published.activation.value_or(origin == OutputOrigin::kSoftmax || origin == OutputOrigin::kSigmoid
                                          ? ClassificationFacts::Activation::kNone
                                          : ClassificationFacts::Activation::kSoftmax);
    facts.image = image_input(published, *interface.image);
    return task_of(std::move(facts));
  }

 private:
  static ImageInput image_input(const PublishedFacts& published, const ImageTensor& tensor) {
    if (published.is_ultralytics) return published.image_input(tensor, ultralytics_input(published, tensor));
    if (!published.preprocess && tensor.is_nhwc) {
      throw Error(ErrorKind::kUnsupported,
                  "input '" + tensor.name +
                      "' takes rows of RGB pixels, and models of that layout differ in how they "
                      "scale them; the file does not say",
                  "", "add the metadata 'pajamas.preprocess' (docs/add-a-model.md), or build with --task none");
    }
    if (!published.preprocess) {
      log().warn(
          "the model does not say how it sees a picture: ImageNet's mean, standard deviation and crop are assumed");
    }
    return published.image_input(tensor, imagenet_input(tensor));
  }
};

}  // namespace

const ModelDefinition& classifier_definition() {
  static const ClassifierDefinition definition;
  return definition;
}

}  // namespace pajamas
