// SSD as ONNX, cut before the decoding: box encodings and class scores per anchor. The anchors are not in the graph, so
// the file must carry them in its metadata (pajamas.ssd), as tools/fetch_models writes it.
#include "models/ssd/ssd.h"

#include "models/published_facts.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

class Ssd : public ModelDefinition {
 public:
  std::string_view family() const override { return "ssd"; }

  std::optional<TaskFacts> recognise(const Model& model, const ImportHints& hints) const override {
    const PublishedFacts published = read_published_facts(model, hints);
    if (!published.task.empty() && published.task != "detection") return std::nullopt;
    if (published.head != to_string(DetectionHead::kSsd)) return std::nullopt;
    if (!published.ssd) {
      throw Error(ErrorKind::kBadInput, "the model does not say how its anchors lie: metadata 'pajamas.ssd' is missing",
                  "",
                  "convert the model with tools/fetch_models, or add the metadata that docs/add-a-model.md describes");
    }
    const ModelInterface interface = interface_of(model);
    if (!interface.image || !interface.other_inputs.empty()) {
      throw Error(ErrorKind::kBadInput, "an SSD needs one input for pictures, [batch, 3, height, width]");
    }
    const OutputTensor* boxes = nullptr;
    const OutputTensor* scores = nullptr;
    for (const OutputTensor& output : interface.outputs) {
      const bool is_boxes = output.extent(-1) == 4 && (output.rank() == 4 || output.rank() == 3);
      (is_boxes && boxes == nullptr ? boxes : scores) = &output;
    }
    if (interface.outputs.size() != 2 || boxes == nullptr || scores == nullptr || scores->rank() != 3 ||
        !scores->extent(2)) {
      throw Error(ErrorKind::kBadInput,
                  "an SSD needs box encodings [batch, anchors, 1, 4] and class scores [batch, anchors, classes]; the "
                  "outputs are " +
                      interface.describe_outputs());
    }
    DetectionFacts facts;
    ImageInput image;
    image.width_px = 300;
    image.height_px = 300;
    facts.image = published.image_input(*interface.image, image);
    facts.head = DetectionHead::kSsd;
    facts.background_classes = published.background_classes;
    facts.num_classes = *scores->extent(2) - facts.background_classes;
    if (facts.num_classes < 1) {
      throw Error(ErrorKind::kBadInput, "output '" + scores->name + "' has no class beside the background");
    }
    facts.labels = published.labels(facts.num_classes, facts.background_classes);
    facts.boxes_output = boxes->name;
    facts.scores_output = scores->name;
    facts.is_score_logit = published.is_score_logit;
    facts.ssd = published.ssd;
    facts.iou_threshold = published.iou_threshold.value_or(0.6);  // the object detection API's own
    facts.max_detections = 100;
    return task_of(std::move(facts));
  }
};

}  // namespace

const ModelDefinition& ssd_definition() {
  static const Ssd definition;
  return definition;
}

}  // namespace pajamas
