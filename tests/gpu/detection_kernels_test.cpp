// Boxes found on the GPU against the host's heads and suppression.
#include "kernels/detection_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "media/nms.h"
#include "require_gpu.h"
#include "tasks/heads/detection_head.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

struct Case {
  DetectionHead head;
  kernels::BoxLayout layout;
  std::int32_t num_boxes, num_classes;
  double share;  ///< Of boxes scored above the threshold.
  kernels::DetectionThresholds thresholds;
};

/// Raw output of random boxes in clusters, so that many overlap; scores on a coarse grid, so that many are equal.
std::vector<float> random_output(const Case& test, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> fraction(0.0F, 1.0F);
  const bool has_objectness = test.layout == kernels::BoxLayout::kYoloV5;
  const bool is_finished = test.layout == kernels::BoxLayout::kYoloEndToEnd;
  const int row = is_finished ? 6 : (has_objectness ? 5 : 4) + test.num_classes;
  std::vector<float> raw(static_cast<std::size_t>(row) * static_cast<std::size_t>(test.num_boxes));
  for (std::int32_t box = 0; box < test.num_boxes; ++box) {
    const auto at = [&](int column) -> float& {
      const auto index = test.layout == kernels::BoxLayout::kYoloV8
                             ? static_cast<std::size_t>(column) * test.num_boxes + box
                             : static_cast<std::size_t>(box) * row + column;
      return raw[index];
    };
    const float cluster = std::floor(fraction(random) * 12.0F) * 50.0F;
    const float x = cluster + fraction(random) * 30.0F;
    const float y = cluster + fraction(random) * 30.0F;
    const float width = 20.0F + fraction(random) * 60.0F;
    const float height = 20.0F + fraction(random) * 60.0F;
    const bool is_hit = fraction(random) < test.share;
    const float top = is_hit ? 0.3F + std::floor(fraction(random) * 64.0F) / 128.0F : 0.1F * fraction(random);
    const int top_class = static_cast<int>(random() % static_cast<unsigned>(test.num_classes));
    if (is_finished) {
      const float row_values[6] = {x, y, x + width, y + height, top, static_cast<float>(top_class)};
      for (int i = 0; i < 6; ++i) at(i) = row_values[i];
      continue;
    }
    at(0) = x;
    at(1) = y;
    at(2) = width;
    at(3) = height;
    if (has_objectness) at(4) = is_hit ? 1.0F : 0.2F;
    const int first = has_objectness ? 5 : 4;
    for (int c = 0; c < test.num_classes; ++c) at(first + c) = c == top_class ? top : top * 0.5F * fraction(random);
    if (is_hit && box % 5 == 0) at(first + (top_class + 1) % test.num_classes) = top;  // two classes score the same
  }
  return raw;
}

std::vector<kernels::KeptBox> on_host(const Case& test, const std::vector<float>& raw) {
  DetectionFacts facts;
  facts.head = test.head;
  facts.num_classes = test.num_classes;
  HeadRequest request;
  const std::int64_t row = static_cast<std::int64_t>(raw.size()) / test.num_boxes;
  const Shape shape =
      test.layout == kernels::BoxLayout::kYoloV8 ? Shape{1, row, test.num_boxes} : Shape{1, test.num_boxes, row};
  request.boxes = {"output0", Tensor::of<float>(shape, std::span<const float>(raw))};
  request.canvas_width_px = request.canvas_height_px = 640;
  request.score_threshold = test.thresholds.score;
  const BoxCandidates candidates = make_head_decoder(facts)->decode(request);
  std::vector<std::size_t> kept;
  const auto max_boxes = static_cast<std::size_t>(test.thresholds.max_boxes);
  if (test.thresholds.is_suppressed != 0) {
    kept = suppress_overlaps(candidates, {test.thresholds.iou, max_boxes, test.thresholds.is_class_agnostic != 0});
  } else {
    kept = order_by_score(candidates);
    kept.resize(std::min(kept.size(), max_boxes));
  }
  std::vector<kernels::KeptBox> boxes;
  for (const std::size_t index : kept) {
    const BoxXyxyPx box = candidates.box(index);
    boxes.push_back({box.x1, box.y1, box.x2, box.y2, candidates.score[index], candidates.class_index[index]});
  }
  return boxes;
}

kernels::KeptBoxes on_gpu(const Case& test, const std::vector<float>& raw, DType dtype = DType::kFloat32) {
  std::vector<std::uint16_t> halves;
  const void* bytes = raw.data();
  std::size_t size = raw.size() * sizeof(float);
  if (dtype == DType::kFloat16) {
    for (const float value : raw) halves.push_back(float16_from_float(value));
    bytes = halves.data();
    size = halves.size() * sizeof(std::uint16_t);
  }
  const cuda::DeviceMemory device_raw(size);
  cuda::check(cudaMemcpy(device_raw.data(), bytes, size, cudaMemcpyHostToDevice), "upload");
  const cuda::DeviceMemory thresholds(sizeof(test.thresholds));
  cuda::check(cudaMemcpy(thresholds.data(), &test.thresholds, sizeof(test.thresholds), cudaMemcpyHostToDevice),
              "upload");
  const cuda::DeviceMemory scratch(kernels::detection_scratch_bytes(test.num_boxes));
  const cuda::DeviceMemory result(sizeof(kernels::KeptBoxes));
  cuda::check(cudaMemset(scratch.data(), 0xFF, scratch.size_bytes()), "poison");
  cuda::check(cudaMemset(result.data(), 0xFF, result.size_bytes()), "poison");
  kernels::DetectionWork work;
  work.raw = device_raw.data();
  work.dtype = dtype;
  work.layout = test.layout;
  work.num_boxes = test.num_boxes;
  work.num_classes = test.num_classes;
  work.thresholds = reinterpret_cast<const kernels::DetectionThresholds*>(thresholds.data());
  work.scratch = scratch.data();
  work.result = reinterpret_cast<kernels::KeptBoxes*>(result.data());
  kernels::KeptBoxes found;
  for (int run = 0; run < 2; ++run) {  // the second finds what the first left behind
    kernels::launch_detect(work, nullptr);
    cuda::check(cudaMemcpy(&found, result.data(), sizeof(found), cudaMemcpyDeviceToHost), "finding the boxes");
  }
  return found;
}

TEST(DetectionKernels, find_what_the_host_finds) {
  PAJAMAS_NEED_GPU();
  using kernels::BoxLayout;
  kernels::DetectionThresholds usual;
  kernels::DetectionThresholds agnostic = usual;
  agnostic.is_class_agnostic = 1;
  agnostic.max_boxes = 7;
  kernels::DetectionThresholds many = usual;
  many.score = 0.001F;
  many.max_boxes = kernels::kMaxKept;
  many.iou = 0.7F;
  kernels::DetectionThresholds ordered = usual;
  ordered.is_suppressed = 0;
  const Case cases[] = {
      {DetectionHead::kYoloV8, BoxLayout::kYoloV8, 8400, 80, 0.02, usual},
      {DetectionHead::kYoloV8, BoxLayout::kYoloV8, 8400, 80, 0.0, usual},
      {DetectionHead::kYoloV8, BoxLayout::kYoloV8, 8400, 80, 0.3, usual},
      {DetectionHead::kYoloV8, BoxLayout::kYoloV8, 8400, 3, 1.0, many},
      {DetectionHead::kYoloV8, BoxLayout::kYoloV8, 33600, 80, 0.5, many},
      {DetectionHead::kYoloV8, BoxLayout::kYoloV8, 1, 1, 1.0, usual},
      {DetectionHead::kYoloV8, BoxLayout::kYoloV8, 129, 2, 1.0, agnostic},
      {DetectionHead::kYoloV5, BoxLayout::kYoloV5, 25200, 80, 0.01, usual},
      {DetectionHead::kYoloV5, BoxLayout::kYoloV5, 333, 5, 0.7, agnostic},
      {DetectionHead::kYoloEndToEnd, BoxLayout::kYoloEndToEnd, 300, 80, 0.2, ordered},
  };
  for (std::size_t i = 0; i < std::size(cases); ++i) {
    const Case& test = cases[i];
    const std::vector<float> raw = random_output(test, static_cast<std::uint32_t>(i + 1));
    const auto expected = on_host(test, raw);
    const kernels::KeptBoxes found = on_gpu(test, raw);
    EXPECT_EQ(found.is_invalid, 0) << "case " << i;
    ASSERT_EQ(static_cast<std::size_t>(found.count), expected.size()) << "case " << i;
    for (std::size_t k = 0; k < expected.size(); ++k) {
      const kernels::KeptBox& box = found.boxes[k];
      EXPECT_EQ(box.score, expected[k].score) << "case " << i << ", box " << k;
      EXPECT_EQ(box.class_index, expected[k].class_index) << "case " << i << ", box " << k;
      EXPECT_EQ(box.x1, expected[k].x1) << "case " << i << ", box " << k;
      EXPECT_EQ(box.y2, expected[k].y2) << "case " << i << ", box " << k;
    }
    EXPECT_GT(expected.size() + (test.share == 0.0 ? 1U : 0U), 0U);
  }
}

TEST(DetectionKernels, take_half_precision) {
  PAJAMAS_NEED_GPU();
  const Case test{DetectionHead::kYoloV8, kernels::BoxLayout::kYoloV8, 8400, 80, 0.02, {}};
  std::vector<float> raw = random_output(test, 3);
  for (float& value : raw) value = float_from_float16(float16_from_float(value));
  const auto expected = on_host(test, raw);
  const kernels::KeptBoxes found = on_gpu(test, raw, DType::kFloat16);
  ASSERT_EQ(static_cast<std::size_t>(found.count), expected.size());
  for (std::size_t k = 0; k < expected.size(); ++k) EXPECT_EQ(found.boxes[k].x2, expected[k].x2);
}

TEST(DetectionKernels, say_when_a_score_is_no_number) {
  PAJAMAS_NEED_GPU();
  const Case test{DetectionHead::kYoloV8, kernels::BoxLayout::kYoloV8, 8400, 80, 0.02, {}};
  std::vector<float> raw = random_output(test, 4);
  raw[static_cast<std::size_t>(40) * 8400 + 17] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(on_gpu(test, raw).is_invalid, 1);
}

}  // namespace
}  // namespace pajamas
