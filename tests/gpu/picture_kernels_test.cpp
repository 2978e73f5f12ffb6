// Pictures placed on the GPU against media/preprocess on the host: equal to the last bit.
#include "kernels/picture_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "media/placement.h"
#include "media/preprocess.h"
#include "require_gpu.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

Image random_picture(int width, int height, std::uint32_t seed) {
  std::mt19937 random(seed);
  Image image{width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(width) * height * 3)};
  for (std::uint8_t& level : image.pixels) level = static_cast<std::uint8_t>(random());
  return image;
}

cuda::DeviceMemory uploaded(const void* data, std::size_t size) {
  cuda::DeviceMemory memory(size);
  cuda::check(cudaMemcpy(memory.data(), data, size, cudaMemcpyHostToDevice), "upload");
  return memory;
}

struct Case {
  const char* name;
  int width, height;
  Placement placement;
};

void expect_equal_to_host(const Case& test, const PreprocessOptions& options) {
  const Image image = random_picture(test.width, test.height, 7);
  const Preprocessor preprocessor(options);
  std::vector<std::byte> expected(preprocessor.size_bytes(test.placement));
  preprocessor.write(image, test.placement, expected);

  // Rows on the device are padded, as decoders leave them.
  const std::size_t pitch = static_cast<std::size_t>(test.width) * 3 + 13;
  std::vector<std::uint8_t> rows(pitch * static_cast<std::size_t>(test.height), 0xEE);
  for (int y = 0; y < test.height; ++y) {
    std::copy_n(image.pixels.data() + static_cast<std::size_t>(y) * test.width * 3, test.width * 3,
                rows.data() + static_cast<std::size_t>(y) * pitch);
  }
  const auto pixels = uploaded(rows.data(), rows.size());
  kernels::PicturePlacement placement;
  placement.pixels = reinterpret_cast<const std::uint8_t*>(pixels.data());
  placement.step_y_bytes = static_cast<std::int64_t>(pitch);
  placement.source_width_px = test.placement.source_width_px;
  placement.source_height_px = test.placement.source_height_px;
  placement.scaled_width_px = test.placement.scaled_width_px;
  placement.scaled_height_px = test.placement.scaled_height_px;
  placement.offset_x_px = test.placement.offset_x_px;
  placement.offset_y_px = test.placement.offset_y_px;
  const auto device_placement = uploaded(&placement, sizeof(placement));
  std::vector<float> values(3 * 256);
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t level = 0; level < 256; ++level) {
      values[c * 256 + level] =
          static_cast<float>((static_cast<double>(level) / 255.0 - options.mean[c]) / options.std[c]);
    }
  }
  const auto device_values = uploaded(values.data(), values.size() * sizeof(float));
  const cuda::DeviceMemory out(expected.size());
  cuda::check(cudaMemset(out.data(), 0xFF, expected.size()), "poison");
  kernels::PictureTensor tensor;
  tensor.out = out.data();
  tensor.dtype = options.dtype;
  tensor.width_px = test.placement.canvas_width_px;
  tensor.height_px = test.placement.canvas_height_px;
  tensor.is_nhwc = options.is_nhwc;
  tensor.is_bgr = options.is_bgr;
  tensor.pad_level = options.pad_value;
  tensor.values = reinterpret_cast<const float*>(device_values.data());
  kernels::launch_place_picture(tensor, reinterpret_cast<const kernels::PicturePlacement*>(device_placement.data()),
                                nullptr);
  std::vector<std::byte> found(expected.size());
  cuda::check(cudaMemcpy(found.data(), out.data(), found.size(), cudaMemcpyDeviceToHost), "placing a picture");
  std::size_t num_different = 0;
  for (std::size_t i = 0; i < found.size(); ++i) num_different += found[i] != expected[i] ? 1 : 0;
  EXPECT_EQ(num_different, 0U) << test.name << ": bytes of " << found.size();
}

TEST(PictureKernels, give_the_levels_of_the_host) {
  PAJAMAS_NEED_GPU();
  const Case cases[] = {
      {"hd", 1280, 720, letterbox(1280, 720, 640, 640)},
      {"portrait", 427, 640, letterbox(427, 640, 640, 640)},
      {"odd", 333, 77, letterbox(333, 77, 65, 131)},
      {"upwards", 31, 17, letterbox(31, 17, 640, 640)},
      {"one pixel", 1, 1, letterbox(1, 1, 64, 64)},
      {"one row", 1000, 1, letterbox(1000, 1, 640, 640)},
      {"stretched", 500, 375, stretch(500, 375, 224, 224)},
      {"not scaled", 64, 48, stretch(64, 48, 64, 48)},
      {"cropped", 500, 375, shortest_edge_crop(500, 375, 256, 224, 224)},
      {"top left", 500, 375, letterbox_top_left(500, 375, 416, 416)},
  };
  for (const Case& test : cases) {
    for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBfloat16}) {
      PreprocessOptions options;
      options.dtype = dtype;
      expect_equal_to_host(test, options);
      options.is_nhwc = true;
      options.is_bgr = true;
      options.pad_value = 0;
      options.mean = {0.485, 0.456, 0.406};
      options.std = {0.229, 0.224, 0.225};
      expect_equal_to_host(test, options);
    }
  }
}

}  // namespace
}  // namespace pajamas
