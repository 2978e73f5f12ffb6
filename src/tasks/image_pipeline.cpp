// See image_pipeline.h.
#include "tasks/image_pipeline.h"

#include <algorithm>
#include <string>

#include "pajamas/error.h"

namespace pajamas {

namespace {

int checked_px(std::int64_t value, const char* name, bool may_be_zero = false) {
  if (value < (may_be_zero ? 0 : 1) || value > 65536) {
    throw Error(ErrorKind::kBadInput,
                std::string("the manifest's ") + name + " is " + std::to_string(value) + ", not within 1..65536");
  }
  return static_cast<int>(value);
}

}  // namespace

PreprocessOptions preprocess_options(const ImageInput& facts, DType dtype) {
  PreprocessOptions options;
  switch (facts.interpolation) {
    case ImageInput::Interpolation::kNearest: options.interpolation = Interpolation::kNearest; break;
    case ImageInput::Interpolation::kBilinear: options.interpolation = Interpolation::kBilinear; break;
    case ImageInput::Interpolation::kBicubic: options.interpolation = Interpolation::kBicubic; break;
  }
  options.is_antialiased = facts.is_antialiased;
  options.pad_value = static_cast<std::uint8_t>(std::clamp<std::int64_t>(facts.pad_value, 0, 255));
  options.dtype = dtype;
  options.is_nhwc = facts.is_nhwc;
  options.is_bgr = facts.is_bgr;
  options.mean = facts.mean;
  options.std = facts.std;
  return options;
}

ImagePipeline::ImagePipeline(const ImageInput& facts, DType dtype)
    : facts_(facts), dtype_(dtype), preprocessor_(preprocess_options(facts, dtype)) {
  place(64, 64);  // finds impossible facts now rather than at the first picture
}

Placement ImagePipeline::place(int width_px, int height_px) const {
  Placement placement;
  if (facts_.resize == ImageInput::Resize::kFit) {
    placement =
        fit(width_px, height_px, checked_px(facts_.resize_px, "resize_px"), checked_px(facts_.max_px, "max_px", true));
  } else {
    const int width = checked_px(facts_.width_px, "image width");
    const int height = checked_px(facts_.height_px, "image height");
    switch (facts_.resize) {
      case ImageInput::Resize::kStretch: placement = stretch(width_px, height_px, width, height); break;
      case ImageInput::Resize::kLetterbox: placement = letterbox(width_px, height_px, width, height); break;
      case ImageInput::Resize::kLetterboxTopLeft:
        placement = letterbox_top_left(width_px, height_px, width, height);
        break;
      default:
        placement = shortest_edge_crop(width_px, height_px, checked_px(facts_.resize_px, "resize_px"), width, height);
        break;
    }
  }
  if (std::int64_t{placement.canvas_width_px} * placement.canvas_height_px > kMaxImagePixels) {
    throw Error(ErrorKind::kBadInput,
                "a picture of " + std::to_string(width_px) + " x " + std::to_string(height_px) +
                    " pixels becomes too large when its shorter edge is scaled to " + std::to_string(facts_.resize_px),
                {}, "crop the picture to a less extreme shape");
  }
  return placement;
}

Shape ImagePipeline::tensor_shape(const Placement& placement, std::int64_t batch) const {
  Shape shape;
  if (facts_.has_batch) shape.push_back(batch);
  if (!facts_.is_nhwc) shape.push_back(3);
  shape.push_back(placement.canvas_height_px);
  shape.push_back(placement.canvas_width_px);
  if (facts_.is_nhwc) shape.push_back(3);
  return shape;
}

}  // namespace pajamas
