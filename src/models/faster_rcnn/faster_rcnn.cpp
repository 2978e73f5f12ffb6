// torchvision's Faster R-CNN (and RetinaNet, FCOS, SSD: the same three outputs) as ONNX: boxes, labels and scores of
// one picture, after the model's own resizing, normalisation and non-maximum suppression.
#include "models/faster_rcnn/faster_rcnn.h"

#include "models/published_facts.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

struct Outputs {
  const OutputTensor* boxes = nullptr;
  const OutputTensor* labels = nullptr;
  const OutputTensor* scores = nullptr;
};

Outputs find_outputs(const ModelInterface& interface) {
  Outputs found;
  if (interface.outputs.size() != 3) return found;
  for (const OutputTensor& output : interface.outputs) {
    const bool is_boxes = output.is_float() && output.rank() == 2 && output.extent(1) == 4;
    const bool is_labels = output.dtype == DType::kInt64 && output.rank() == 1;
    const bool is_scores = output.is_float() && output.rank() == 1;
    if (is_boxes) found.boxes = &output;
    if (is_labels) found.labels = &output;
    if (is_scores) found.scores = &output;
  }
  return found;
}

class FasterRcnn : public ModelDefinition {
 public:
  std::string_view family() const override { return "faster_rcnn"; }

  std::optional<TaskFacts> recognise(const Model& model, const ImportHints& hints) const override {
    const PublishedFacts published = read_published_facts(model, hints);
    if (!published.task.empty() && published.task != "detection") return std::nullopt;
    const bool is_named = published.head == to_string(DetectionHead::kFasterRcnn);
    if (!published.head.empty() && !is_named) return std::nullopt;
    const ModelInterface interface = interface_of(model);
    const Outputs outputs = find_outputs(interface);
    const bool is_complete = outputs.boxes != nullptr && outputs.labels != nullptr && outputs.scores != nullptr;
    if (!interface.image || !interface.other_inputs.empty() || !is_complete) {
      if (!is_named) return std::nullopt;
      throw Error(ErrorKind::kBadInput,
                  "the model does not fit the head 'faster_rcnn': it needs one picture input and the outputs boxes [n, "
                  "4], labels int64[n] and scores [n]; the outputs are " +
                      interface.describe_outputs(),
                  "--head", "name the head the model was exported with, or leave --head away");
    }
    DetectionFacts facts;
    facts.image = published.image_input(*interface.image, default_image(*interface.image));
    facts.head = DetectionHead::kFasterRcnn;
    facts.background_classes = 1;  // torchvision numbers the background 0
    facts.labels = published.labels(0, facts.background_classes);
    facts.num_classes = static_cast<std::int64_t>(facts.labels.size());
    facts.boxes_output = outputs.boxes->name;
    facts.scores_output = outputs.scores->name;
    facts.labels_output = outputs.labels->name;
    facts.score_threshold = 0.5;  // the model itself keeps all above 0.05
    facts.max_detections = 100;   // torchvision's box_detections_per_img
    return task_of(std::move(facts));
  }

 private:
  /// The model resizes the picture itself, to a shortest edge of 800 and a longest of 1333: given those extents its own
  /// step changes nothing. An input of fixed extents gets the picture whole, its ratio kept, black beside it.
  static ImageInput default_image(const ImageTensor& tensor) {
    ImageInput image;
    const bool is_fixed = tensor.height_px && tensor.width_px;
    image.resize = is_fixed ? ImageInput::Resize::kLetterboxTopLeft : ImageInput::Resize::kFit;
    image.width_px = 800;
    image.height_px = 800;
    image.pad_value = 0;
    if (!is_fixed) {
      image.resize_px = 800;
      image.max_px = 1333;
    }
    return image;
  }
};

}  // namespace

const ModelDefinition& faster_rcnn_definition() {
  static const FasterRcnn definition;
  return definition;
}

}  // namespace pajamas
