// RoiAlign by means: one thread an element of the result, in float32 (float64 for float64). The number of samples may
// depend on the region (sampling_ratio 0). Not RoiAlign by maximum: implementations disagree on what it means.
#include "targets/cuda/operators/operator_text.h"

namespace pajamas::cuda::operators {

namespace {

constexpr const char* kSample = R"cuda(
/// Bilinear; nothing outside of the picture, its edge up to one pixel outside.
template <typename T> __device__ inline op_real op_sample(const T* plane, op_real y, op_real x) {
  if (!(y >= -1 && y <= OP_HEIGHT && x >= -1 && x <= OP_WIDTH)) return 0;
  y = y < 0 ? 0 : y > OP_HEIGHT - 1 ? OP_HEIGHT - 1 : y;
  x = x < 0 ? 0 : x > OP_WIDTH - 1 ? OP_WIDTH - 1 : x;
  const long long top = (long long)y, left = (long long)x;
  const long long bottom = top + 1 < OP_HEIGHT ? top + 1 : OP_HEIGHT - 1;
  const long long right = left + 1 < OP_WIDTH ? left + 1 : OP_WIDTH - 1;
  const op_real dy = y - (op_real)top, dx = x - (op_real)left;
  return (1 - dy) * ((1 - dx) * op_load(plane[top * OP_WIDTH + left]) + dx * op_load(plane[top * OP_WIDTH + right])) +
         dy * ((1 - dx) * op_load(plane[bottom * OP_WIDTH + left]) + dx * op_load(plane[bottom * OP_WIDTH + right]));
}
)cuda";

constexpr const char* kBody = R"cuda(
  const long long column = self % OP_COLUMNS, row = self / OP_COLUMNS % OP_ROWS;
  const long long channel = self / (OP_COLUMNS * OP_ROWS) % OP_CHANNELS, region = self / (OP_COLUMNS * OP_ROWS * OP_CHANNELS);
  const op_real x1 = op_load(a1[region * 4]) * OP_SCALE - OP_SHIFT, y1 = op_load(a1[region * 4 + 1]) * OP_SCALE - OP_SHIFT;
  op_real width = op_load(a1[region * 4 + 2]) * OP_SCALE - OP_SHIFT - x1;
  op_real height = op_load(a1[region * 4 + 3]) * OP_SCALE - OP_SHIFT - y1;
  if (OP_HAS_LEAST) {
    width = width < 1 ? 1 : width;
    height = height < 1 ? 1 : height;
  }
  const op_real bin_width = width / OP_COLUMNS, bin_height = height / OP_ROWS;
  // A region of nonsense must not keep a thread for hours.
  const long long num_y = OP_RATIO > 0 ? OP_RATIO : lp_clamp(lp_cast<long long>(ceil(bin_height)), 0LL, 4096LL);
  const long long num_x = OP_RATIO > 0 ? OP_RATIO : lp_clamp(lp_cast<long long>(ceil(bin_width)), 0LL, 4096LL);
  const long long batch = lp_clamp((long long)a2[region], 0LL, OP_BATCH - 1);
  const auto* plane = a0 + (batch * OP_CHANNELS + channel) * OP_HEIGHT * OP_WIDTH;
  op_real sum = 0;
  for (long long i = 0; i < num_y; ++i) {
    const op_real y = y1 + ((op_real)row + ((op_real)i + (op_real)0.5) / (op_real)num_y) * bin_height;
    for (long long k = 0; k < num_x; ++k) {
      sum += op_sample(plane, y, x1 + ((op_real)column + ((op_real)k + (op_real)0.5) / (op_real)num_x) * bin_width);
    }
  }
  const long long num_samples = num_y * num_x;
  sum /= (op_real)(num_samples < 1 ? 1 : num_samples);
)cuda";

}  // namespace

void write_roi_align(SourceWriter& writer) {
  const TensorDesc& x = writer.input(0);
  const Node& node = writer.node();
  writer.require(x.extents.rank() == 4 && writer.input(1).extents.rank() == 2 && writer.input(1).extents[1] == 4,
                 "features of a picture and regions of four numbers are wanted");
  writer.require(loops::is_float_type(loops::register_type(x.dtype)) && writer.input(1).dtype == x.dtype,
                 "features that are no floats");
  writer.require(node.string_attribute("mode", "avg") == "avg", "RoiAlign by maximum");
  const std::string fallback = writer.opset() >= 16 ? "half_pixel" : "output_half_pixel";
  const bool is_half = node.string_attribute("coordinate_transformation_mode", fallback) == "half_pixel";
  const std::int64_t ratio = node.int_attribute("sampling_ratio", 0);
  writer.require(ratio >= 0 && ratio <= 4096, "attribute 'sampling_ratio'");
  const Shape& y = writer.output(0).extents;
  const bool is_double = x.dtype == DType::kFloat64;
  writer.define("OP_BATCH", x.extents[0]);
  writer.define("OP_CHANNELS", x.extents[1]);
  writer.define("OP_HEIGHT", x.extents[2]);
  writer.define("OP_WIDTH", x.extents[3]);
  writer.define("OP_ROWS", y[2]);
  writer.define("OP_COLUMNS", y[3]);
  writer.define("OP_RATIO", ratio);
  writer.define("OP_HAS_LEAST", is_half ? 0 : 1);
  writer.add(std::string("typedef ") + (is_double ? "double" : "float") + " op_real;\n");
  writer.add("#define OP_SCALE ((op_real)" +
             loops::literal(DType::kFloat64, static_cast<double>(node.float_attribute("spatial_scale", 1.0F)), 0) +
             ")\n#define OP_SHIFT ((op_real)" + (is_half ? "0.5" : "0.0") + ")\n");
  writer.add("__device__ inline op_real op_load(" + loops::memory_type_name(x.dtype) + " x) { return " +
             loops::load_text(x.dtype, "x") + "; }\n");
  writer.add(kSample);
  writer.add_kernel(kBody + ("  y0[place0(self)] = " + loops::store_text(x.dtype, "sum") + ";\n"), y.num_elements());
}

}  // namespace pajamas::cuda::operators
