// From the manifest's ImageInput to pixels: which placement a picture gets, and its tensor. Connects
// bundle/task_facts.h with media/preprocess.h, which do not know each other.
#pragma once

#include <cstddef>
#include <span>

#include "bundle/task_facts.h"
#include "media/placement.h"
#include "media/preprocess.h"
#include "pajamas/image.h"
#include "pajamas/tensor.h"

namespace pajamas {

/// The manifest's words as the options of media/preprocess.h; `dtype` is the input's.
PreprocessOptions preprocess_options(const ImageInput& facts, DType dtype);

/// How one model input wants its pictures. Immutable; thread-safe.
class ImagePipeline {
 public:
  /// `dtype`: element type of the engine's input. Throws Error{kBadInput} or Error{kUnsupported} when the facts make no
  /// sense.
  ImagePipeline(const ImageInput& facts, DType dtype);

  /// Where a picture of that size lands. Throws Error{kBadInput} for an empty picture, and where the facts would blow
  /// it up past kMaxImagePixels.
  Placement place(int width_px, int height_px) const;
  /// Shape of the input tensor for `batch` pictures of that placement: [batch, 3, height, width], or NHWC, or without
  /// the batch, as the facts say.
  Shape tensor_shape(const Placement& placement, std::int64_t batch) const;
  std::size_t size_bytes(const Placement& placement) const { return preprocessor_.size_bytes(placement); }
  /// Writes one picture's part of the tensor; see Preprocessor::write.
  void write(const Image& image, const Placement& placement, std::span<std::byte> out) const {
    preprocessor_.write(image, placement, out);
  }
  const ImageInput& facts() const noexcept { return facts_; }
  DType dtype() const noexcept { return dtype_; }

 private:
  ImageInput facts_;
  DType dtype_;
  Preprocessor preprocessor_;
};

}  // namespace pajamas
