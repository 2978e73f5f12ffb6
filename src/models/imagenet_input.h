// How classifiers trained on ImageNet see a picture where the file does not say: the convention of torchvision and
// timm.
#pragma once

#include "bundle/task_facts.h"
#include "models/model_interface.h"

namespace pajamas {

/// Means and standard deviations of ImageNet's pixels, RGB, 0..1, as torchvision publishes them.
inline constexpr std::array<double, 3> kImagenetMean{0.485, 0.456, 0.406};
inline constexpr std::array<double, 3> kImagenetStd{0.229, 0.224, 0.225};

/// ImageNet's preprocessing for the model's declared extents (224 where they vary): shortest edge to 256/224 of the
/// extent, centre crop, bilinear with antialiasing. A picture that is not square is scaled to the crop whole.
inline ImageInput imagenet_input(const ImageTensor& tensor) {
  ImageInput image;
  image.height_px = tensor.height_px.value_or(224);
  image.width_px = tensor.width_px.value_or(224);
  image.is_antialiased = true;
  image.mean = kImagenetMean;
  image.std = kImagenetStd;
  if (image.height_px == image.width_px) {
    image.resize = ImageInput::Resize::kShortestEdge;
    image.resize_px = (image.height_px * 256 + 112) / 224;
  }
  return image;
}

}  // namespace pajamas
