// Operators of detection heads: NonMaxSuppression and RoiAlign.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "graph/interpreter/support.h"

namespace pajamas::interpreter {
namespace {

struct Box {
  float y1, x1, y2, x2;
};

float intersection_over_union(const Box& a, const Box& b) {
  const float height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  const float width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  if (height <= 0 || width <= 0) return 0;
  const float shared = height * width;
  const float area_a = (a.y2 - a.y1) * (a.x2 - a.x1);
  const float area_b = (b.y2 - b.y1) * (b.x2 - b.x1);
  return shared / (area_a + area_b - shared);
}

std::vector<Tensor> non_max_suppression(const Call& call) {
  const Tensor& boxes = call.input(0);
  const Tensor& scores = call.input(1);
  call.require(boxes.shape().rank() == 3 && scores.shape().rank() == 3 && boxes.shape()[2] == 4 &&
                   boxes.shape()[0] == scores.shape()[0] && boxes.shape()[1] == scores.shape()[2],
               "boxes [batch, boxes, 4] and scores [batch, classes, boxes] are wanted");
  const auto number = [&](std::size_t index, double fallback) {
    const Tensor* tensor = call.optional_input(index);
    return tensor != nullptr ? read_number(call, *tensor) : fallback;
  };
  // Not by way of a double: "all of them" is often written as the largest integer, which no double is.
  std::int64_t max_per_class = 0;
  if (const Tensor* tensor = call.optional_input(2)) {
    const auto values = read_integers(call, *tensor);
    call.require(values.size() == 1, "one number of boxes a class is wanted");
    max_per_class = values[0];
  }
  const auto iou_threshold = static_cast<float>(number(3, 0));
  const auto score_threshold = static_cast<float>(number(4, -std::numeric_limits<double>::infinity()));
  const bool is_centered = call.node.int_attribute("center_point_box", 0) != 0;
  const std::int64_t count = boxes.shape()[1];
  std::vector<std::int64_t> chosen;
  for (std::int64_t batch = 0; batch < boxes.shape()[0]; ++batch) {
    std::vector<Box> corners;
    for (std::int64_t i = 0; i < count; ++i) {
      const float* b = boxes.as<float>().data() + (batch * count + i) * 4;
      if (is_centered) {
        corners.push_back({b[1] - b[3] / 2, b[0] - b[2] / 2, b[1] + b[3] / 2, b[0] + b[2] / 2});
      } else {
        corners.push_back({std::min(b[0], b[2]), std::min(b[1], b[3]), std::max(b[0], b[2]), std::max(b[1], b[3])});
      }
    }
    for (std::int64_t cls = 0; cls < scores.shape()[1]; ++cls) {
      const float* score = scores.as<float>().data() + (batch * scores.shape()[1] + cls) * count;
      std::vector<std::int64_t> order;
      for (std::int64_t i = 0; i < count; ++i) {
        if (score[i] > score_threshold) order.push_back(i);
      }
      std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return score[a] > score[b]; });
      std::vector<std::int64_t> kept;
      for (const std::int64_t candidate : order) {
        if (static_cast<std::int64_t>(kept.size()) >= max_per_class) break;
        const bool is_hidden = std::any_of(kept.begin(), kept.end(), [&](std::int64_t other) {
          return intersection_over_union(corners[candidate], corners[other]) > iou_threshold;
        });
        if (!is_hidden) kept.push_back(candidate);
      }
      for (const std::int64_t box : kept) chosen.insert(chosen.end(), {batch, cls, box});
    }
  }
  return {Tensor::of<std::int64_t>({static_cast<std::int64_t>(chosen.size() / 3), 3}, chosen)};
}

std::vector<Tensor> roi_align(const Call& call) {
  const Tensor& in = call.input(0);
  const Tensor& rois = call.input(1);
  const auto batches = read_integers(call, call.input(2));
  call.require(in.shape().rank() == 4 && rois.shape().rank() == 2 && rois.shape()[1] == 4 &&
                   rois.shape()[0] == static_cast<std::int64_t>(batches.size()) && rois.dtype() == in.dtype(),
               "features [batch, channels, height, width], regions [n, 4] and n batch indices are wanted");
  const std::int64_t rows = call.node.int_attribute("output_height", 1);
  const std::int64_t columns = call.node.int_attribute("output_width", 1);
  const std::int64_t ratio = call.node.int_attribute("sampling_ratio", 0);
  const double scale = call.node.float_attribute("spatial_scale", 1.0F);
  const std::string mode = call.node.string_attribute("mode", "avg");
  if (mode != "avg") call.unsupported("RoiAlign by maximum");  // implementations disagree on what it means
  // Before opset 16 there was no half-pixel shift.
  const std::string fallback = call.opset >= 16 ? "half_pixel" : "output_half_pixel";
  const bool is_half = call.node.string_attribute("coordinate_transformation_mode", fallback) == "half_pixel";
  call.require(rows >= 1 && columns >= 1 && ratio >= 0, "an output extent or sampling ratio out of range");
  const std::int64_t height = in.shape()[2];
  const std::int64_t width = in.shape()[3];
  call.require(height > 0 && width > 0, "the features have no elements");
  Tensor out = call.make(in.dtype(), {rois.shape()[0], in.shape()[1], rows, columns});
  require_float(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = in.as<T>();
    const auto to = out.mutable_as<T>();
    for (std::size_t n = 0; n < batches.size(); ++n) {
      call.require(batches[n] >= 0 && batches[n] < in.shape()[0], "a batch index is outside the features");
      const T* roi = rois.as<T>().data() + n * 4;
      const double shift = is_half ? 0.5 : 0;
      const double x1 = static_cast<double>(roi[0]) * scale - shift;
      const double y1 = static_cast<double>(roi[1]) * scale - shift;
      double roi_width = static_cast<double>(roi[2]) * scale - shift - x1;
      double roi_height = static_cast<double>(roi[3]) * scale - shift - y1;
      if (!is_half) {
        roi_width = std::max(roi_width, 1.0);
        roi_height = std::max(roi_height, 1.0);
      }
      // Written so that NaN fails too: a coordinate becomes an index below.
      call.require(
          std::fabs(x1) < 1e9 && std::fabs(y1) < 1e9 && std::fabs(roi_width) < 1e9 && std::fabs(roi_height) < 1e9,
          "a region is not a number or too large");
      const double bin_height = roi_height / static_cast<double>(rows);
      const double bin_width = roi_width / static_cast<double>(columns);
      const auto samples = [&](double extent, std::int64_t bins) {
        return ratio > 0 ? ratio : static_cast<std::int64_t>(std::ceil(extent / static_cast<double>(bins)));
      };
      const std::int64_t num_y = samples(roi_height, rows);
      const std::int64_t num_x = samples(roi_width, columns);
      call.require(num_y < 100'000 && num_x < 100'000, "a region is too large");
      for (std::int64_t channel = 0; channel < in.shape()[1]; ++channel) {
        const T* plane = from.data() + (batches[n] * in.shape()[1] + channel) * height * width;
        const auto sample = [&](double y, double x) -> double {
          if (y < -1 || y > static_cast<double>(height) || x < -1 || x > static_cast<double>(width)) return 0;
          y = std::clamp(y, 0.0, static_cast<double>(height - 1));
          x = std::clamp(x, 0.0, static_cast<double>(width - 1));
          const auto top = static_cast<std::int64_t>(y);
          const auto left = static_cast<std::int64_t>(x);
          const std::int64_t bottom = std::min(top + 1, height - 1);
          const std::int64_t right = std::min(left + 1, width - 1);
          const double dy = y - static_cast<double>(top);
          const double dx = x - static_cast<double>(left);
          const auto at = [&](std::int64_t row, std::int64_t column) {
            return static_cast<double>(plane[row * width + column]);
          };
          return (1 - dy) * ((1 - dx) * at(top, left) + dx * at(top, right)) +
                 dy * ((1 - dx) * at(bottom, left) + dx * at(bottom, right));
        };
        for (std::int64_t row = 0; row < rows; ++row) {
          for (std::int64_t column = 0; column < columns; ++column) {
            double sum = 0;
            for (std::int64_t i = 0; i < num_y; ++i) {
              const double y =
                  y1 +
                  (static_cast<double>(row) + (static_cast<double>(i) + 0.5) / static_cast<double>(num_y)) * bin_height;
              for (std::int64_t k = 0; k < num_x; ++k) {
                const double x =
                    x1 + (static_cast<double>(column) + (static_cast<double>(k) + 0.5) / static_cast<double>(num_x)) *
                             bin_width;
                sum += sample(y, x);
              }
            }
            const auto num_samples = static_cast<double>(std::max<std::int64_t>(1, num_y * num_x));
            to[((static_cast<std::int64_t>(n) * in.shape()[1] + channel) * rows + row) * columns + column] =
                static_cast<T>(sum / num_samples);
          }
        }
      }
    }
  });
  return {out};
}

}  // namespace

void add_detection(KernelTable& table) {
  table["NonMaxSuppression"] = {non_max_suppression, false};
  table["RoiAlign"] = {roi_align, true};
}

}  // namespace pajamas::interpreter
