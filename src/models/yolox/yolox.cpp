// YOLOX as ONNX, exported without decoding: rows in grid units that the detection task decodes. An export with the
// decoding inside has YOLOv5's rows and is built with --head yolov5.
#include "models/yolox/yolox.h"

#include "models/row_detector.h"

namespace pajamas {
namespace {

class Yolox : public ModelDefinition {
 public:
  std::string_view family() const override { return "yolox"; }

  std::optional<TaskFacts> recognise(const Model& model, const ImportHints& hints) const override {
    // Since version 0.1.1 the models take BGR pixel values 0..255 as they are: a standard deviation of 1/255 undoes the
    // division by 255.
    ImageInput image;
    image.width_px = 640;
    image.height_px = 640;
    image.resize = ImageInput::Resize::kLetterboxTopLeft;
    image.is_bgr = true;
    image.std = {1.0 / 255.0, 1.0 / 255.0, 1.0 / 255.0};
    return recognise_row_detector(model, hints, {DetectionHead::kYolox}, image);
  }
};

}  // namespace

const ModelDefinition& yolox_definition() {
  static const Yolox definition;
  return definition;
}

}  // namespace pajamas
