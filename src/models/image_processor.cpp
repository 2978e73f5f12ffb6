// Reading preprocessor_config.json. See image_processor.h.
#include "models/image_processor.h"

#include <cmath>

#include "base/files.h"
#include "base/json_reader.h"
#include "base/log.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::int64_t kMaxSidePx = 65536;
constexpr std::uint64_t kMaxFileBytes = 16 << 20;

[[noreturn]] void refuse(const JsonReader& reader, const std::string& message) {
  try {
    reader.fail(message);
  } catch (const Error& error) {
    throw Error(ErrorKind::kUnsupported, error.message(), error.where(),
                "change the file to a supported preprocessing, or build with --task none");
  }
}

ImageInput::Interpolation parse_resample(const JsonReader& reader) {
  switch (reader.as_integer()) {  // PIL's numbers
    case 0: return ImageInput::Interpolation::kNearest;
    case 2: return ImageInput::Interpolation::kBilinear;
    case 3: return ImageInput::Interpolation::kBicubic;
    default: refuse(reader, "is " + reader.json().dump() + ": only 0 (nearest), 2 (bilinear) and 3 (bicubic) are done");
  }
}

struct Size {
  std::int64_t height = 0, width = 0;  ///< 0: given as the shortest edge.
  std::int64_t shortest_edge = 0;
};

/// `is_edge`: what a bare number means (CLIP and ConvNext: the shortest edge; ViT: both sides).
Size parse_size(const JsonReader& reader, bool is_edge) {
  Size size;
  if (reader.json().is_number()) {
    const std::int64_t extent = reader.as_integer(1, kMaxSidePx);
    if (is_edge) {
      size.shortest_edge = extent;
    } else {
      size.height = size.width = extent;
    }
  } else if (reader.has("shortest_edge")) {
    if (reader.has("longest_edge")) refuse(reader, "bounds the longest edge, which is not done here");
    size.shortest_edge = reader.integer("shortest_edge", 1, kMaxSidePx);
  } else {
    size.height = reader.integer("height", 1, kMaxSidePx);
    size.width = reader.integer("width", 1, kMaxSidePx);
  }
  return size;
}

/// ConvNextImageProcessor: below 384 the picture is scaled to edge / crop_pct and cropped, from 384 on it is stretched.
void apply_convnext(const JsonReader& json, const Size& size, ImageInput& image) {
  const std::int64_t edge = size.shortest_edge > 0 ? size.shortest_edge : size.height;
  image.height_px = image.width_px = edge;
  if (edge >= 384) {
    image.resize = ImageInput::Resize::kStretch;
    return;
  }
  const double crop = json.number_or("crop_pct", 224.0 / 256.0);
  if (!(crop > 0.0 && crop <= 1.0)) json.member("crop_pct").fail("must be above 0 and at most 1");
  image.resize = ImageInput::Resize::kShortestEdge;
  image.resize_px = static_cast<std::int64_t>(static_cast<double>(edge) / crop);
}

void apply_geometry(const JsonReader& json, const std::string& type, ImageInput& image) {
  const bool is_convnext = type.starts_with("ConvNext");
  const bool is_edge = is_convnext || type.starts_with("CLIP");
  if (!json.boolean_or("do_resize", true)) refuse(json.member("do_resize"), "is false: pictures of any size need it");
  if (!json.has("size")) return;
  const Size size = parse_size(json.member("size"), is_edge);
  if (is_convnext) {
    apply_convnext(json, size, image);
    return;
  }
  const bool has_crop = json.boolean_or("do_center_crop", type.starts_with("CLIP"));
  image.resize_px = size.shortest_edge;
  if (has_crop) {
    Size crop =
        json.has("crop_size") ? parse_size(json.member("crop_size"), false) : Size{image.height_px, image.width_px, 0};
    if (crop.shortest_edge > 0) crop.height = crop.width = crop.shortest_edge;
    if (size.shortest_edge == 0) {
      // Stretched, then cropped: the same as stretching only where both sizes agree.
      if (size.height != crop.height || size.width != crop.width) {
        refuse(json.member("size"), "is stretched and then cropped, which is not done here");
      }
      image.resize = ImageInput::Resize::kStretch;
    } else {
      image.resize = ImageInput::Resize::kShortestEdge;
    }
    image.height_px = crop.height;
    image.width_px = crop.width;
    return;
  }
  if (size.shortest_edge > 0) {
    refuse(json.member("size"), "scales the shortest edge without a crop, so pictures keep different sizes");
  }
  image.resize = ImageInput::Resize::kStretch;
  image.height_px = size.height;
  image.width_px = size.width;
}

std::array<double, 3> read_channels(const JsonReader& reader) {
  if (reader.json().is_number()) return {reader.as_number(), reader.as_number(), reader.as_number()};
  const auto elements = reader.elements();
  if (elements.size() != 3) reader.fail("must have 3 entries");
  return {elements[0].as_number(), elements[1].as_number(), elements[2].as_number()};
}

void apply_scaling(const JsonReader& json, ImageInput& image) {
  if (json.boolean_or("do_normalize", true)) {
    if (json.has("image_mean")) image.mean = read_channels(json.member("image_mean"));
    if (json.has("image_std")) image.std = read_channels(json.member("image_std"));
  } else {
    image.mean = {0.0, 0.0, 0.0};
    image.std = {1.0, 1.0, 1.0};
  }
  for (const double value : image.std) {
    if (value == 0.0 || !std::isfinite(value)) json.fail("image_std must be finite and not 0");
  }
  const double factor = json.boolean_or("do_rescale", true) ? json.number_or("rescale_factor", 1.0 / 255.0) : 1.0;
  if (factor == 0.0 || !std::isfinite(factor)) json.fail("rescale_factor must be finite and not 0");
  // (pixel * factor - mean) / std written with pixel / 255. The usual factor is left exact.
  const double scale = factor * 255.0;
  if (std::abs(scale - 1.0) < 1e-6) return;
  for (std::size_t channel = 0; channel < 3; ++channel) {
    image.mean[channel] /= scale;
    image.std[channel] /= scale;
  }
}

}  // namespace

ImageInput read_image_processor(const std::filesystem::path& directory, const ImageInput& family_default) {
  ImageInput image = family_default;
  image.is_antialiased = true;  // PIL and torchvision widen the filter when they scale down
  std::filesystem::path path = directory / "preprocessor_config.json";
  if (!std::filesystem::exists(path)) path = directory / "processor_config.json";
  if (!std::filesystem::exists(path)) {
    log().warn("{}: there is no preprocessor_config.json: the usual preprocessing of the family is assumed",
               directory.string());
    return image;
  }
  const nlohmann::json json = parse_json(read_file(path, kMaxFileBytes), path.string());
  JsonReader reader(json, path.string());
  if (reader.has("image_processor")) reader = reader.member("image_processor");  // processor_config.json
  std::string type = reader.string_or("image_processor_type", "");
  if (type.empty()) type = reader.string_or("feature_extractor_type", "");
  apply_geometry(reader, type, image);
  if (reader.has("resample")) image.interpolation = parse_resample(reader.member("resample"));
  apply_scaling(reader, image);
  return image;
}

}  // namespace pajamas
