// YOLO as ONNX: v5, v7 (rows with objectness), v8, v9, 11, 12 (columns of boxes) and the end-to-end v10 and 26.
// The head is weighed in models/row_detector.h; here stands only how these models see a picture.
#include "models/yolo/yolo.h"

#include "models/row_detector.h"

namespace pajamas {
namespace {

class Yolo : public ModelDefinition {
 public:
  std::string_view family() const override { return "yolo"; }

  std::optional<TaskFacts> recognise(const Model& model, const ImportHints& hints) const override {
    ImageInput image;  // 640: the size these models are trained and published at
    image.width_px = 640;
    image.height_px = 640;
    image.resize = ImageInput::Resize::kLetterbox;
    return recognise_row_detector(
        model, hints, {DetectionHead::kYoloV5, DetectionHead::kYoloV8, DetectionHead::kYoloEndToEnd}, image);
  }
};

}  // namespace

const ModelDefinition& yolo_definition() {
  static const Yolo definition;
  return definition;
}

}  // namespace pajamas
