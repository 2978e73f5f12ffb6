// RT-DETR as ONNX: with two outputs "pred_boxes" and "logits" (transformers), or both in one, as
// classes or, since 2026, as finished rows (Ultralytics).
// Exports that scale the boxes themselves by a second input with the picture's size are not taken.
#include "models/rtdetr/rtdetr.h"

#include "models/row_detector.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

/// The outputs for boxes and scores among those of the model, by name or, where there are just two, by extent.
struct Outputs {
  const OutputTensor* boxes = nullptr;
  const OutputTensor* scores = nullptr;
};

Outputs find_outputs(const ModelInterface& interface) {
  Outputs found;
  found.boxes = interface.find_output("pred_boxes");
  for (const char* name : {"logits", "pred_logits", "scores"}) {
    if (found.scores == nullptr) found.scores = interface.find_output(name);
  }
  if ((found.boxes == nullptr || found.scores == nullptr) && interface.outputs.size() == 2) {
    const bool is_first = interface.outputs[0].extent(2) == 4;
    if (is_first == (interface.outputs[1].extent(2) == 4)) return {};
    found.boxes = &interface.outputs[is_first ? 0 : 1];
    found.scores = &interface.outputs[is_first ? 1 : 0];
  }
  const auto is_rows = [](const OutputTensor* output) {
    return output != nullptr && output->rank() == 3 && output->is_float();
  };
  if (!is_rows(found.boxes) || !is_rows(found.scores) || found.boxes->extent(2) != 4) return {};
  const auto num_boxes = found.boxes->extent(1);
  const auto num_scores = found.scores->extent(1);
  if (num_boxes && num_scores && *num_boxes != *num_scores) return {};
  return found;
}

class Rtdetr : public ModelDefinition {
 public:
  std::string_view family() const override { return "rtdetr"; }

  std::optional<TaskFacts> recognise(const Model& model, const ImportHints& hints) const override {
    // Both publishers stretch the picture to a square and only divide by 255.
    ImageInput image;
    image.width_px = 640;
    image.height_px = 640;
    image.resize = ImageInput::Resize::kStretch;
    if (auto facts = recognise_two_outputs(model, hints, image)) return facts;
    return recognise_row_detector(model, hints, {DetectionHead::kRtdetr, DetectionHead::kRtdetrEndToEnd}, image);
  }

 private:
  static std::optional<TaskFacts> recognise_two_outputs(const Model& model, const ImportHints& hints,
                                                        const ImageInput& image) {
    const PublishedFacts published = read_published_facts(model, hints);
    if (!published.task.empty() && published.task != "detection") return std::nullopt;
    if (!published.head.empty() && published.head != to_string(DetectionHead::kRtdetr)) return std::nullopt;
    const ModelInterface interface = interface_of(model);
    if (!interface.image || !interface.other_inputs.empty()) return std::nullopt;
    const Outputs outputs = find_outputs(interface);
    if (outputs.boxes == nullptr) return std::nullopt;
    // DETR has the same outputs, but its scores are a softmax with a class for "nothing". RT-DETR selects its queries.
    const bool is_evident = model.graph.nodes.empty() || has_operator(model.graph, "TopK");
    if (published.head.empty() && !is_evident) {
      throw Error(ErrorKind::kUnsupported,
                  "outputs '" + outputs.boxes->name + "' and '" + outputs.scores->name +
                      "' are those of a DETR, but the model does not select queries as RT-DETR does",
                  "", "if its scores are independent sigmoids name it with --head rtdetr, else build with --task none");
    }
    if (!outputs.scores->extent(2)) {
      throw Error(ErrorKind::kBadInput,
                  "the number of classes of output '" + outputs.scores->name + "' is not declared", "",
                  "export the model with a fixed number of classes");
    }
    DetectionFacts facts;
    facts.image = published.image_input(*interface.image, image);
    facts.head = DetectionHead::kRtdetr;
    facts.num_classes = *outputs.scores->extent(2);
    facts.labels = published.labels(facts.num_classes);
    facts.boxes_output = outputs.boxes->name;
    facts.scores_output = outputs.scores->name;
    facts.is_score_logit =
        origin_of(model.graph, outputs.scores->name) != OutputOrigin::kSigmoid && outputs.scores->name != "scores";
    // transformers keeps as many pairs of query and class as there are queries.
    facts.max_detections = outputs.boxes->extent(1).value_or(facts.max_detections);
    return task_of(std::move(facts));
  }
};

}  // namespace

const ModelDefinition& rtdetr_definition() {
  static const Rtdetr definition;
  return definition;
}

}  // namespace pajamas
