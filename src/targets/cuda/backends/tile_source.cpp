// See tile_source.h.
#include "targets/cuda/backends/tile_source.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "pajamas/error.h"
#include "targets/cuda/backends/activation_source.h"
#include "targets/cuda/backends/device_numbers.h"
#include "targets/cuda/backends/matrix_product.h"
#include "targets/cuda/backends/tensor_core_steps.h"
#include "targets/cuda/backends/tile_kernel.h"

namespace pajamas::cuda {
namespace {

constexpr std::int64_t kPieceElements = 64;

/// The step as an implicit matrix product: y[m, n] = sum over k of a(m, k) · b[n, k].
struct TileProblem {
  DType dtype = DType::kFloat16;
  DType out_dtype = DType::kFloat16;
  std::int64_t m = 0, n = 0, k = 0;
  ValueId a = -1, b = -1, y = -1;
  const Epilogue* epilogue = nullptr;
  float scale = 1;
  std::int64_t vector = 8;        ///< Elements of A that are copied together.
  std::int64_t store_vector = 8;  ///< Outputs that are stored together: 8 or 1.
  bool is_plain = true;           ///< Rows of A follow each other at a_stride; else the convolution's geometry counts.
  std::int64_t a_stride = 0;
  bool is_b_along_k = true;
  std::int64_t b_stride = 0;
  bool is_b_constant = false;
  // Of a convolution; one row and column of pixels otherwise.
  std::int64_t channels = 1, in_height = 1, in_width = 1, out_height = 1, out_width = 1, kernel_x = 1;
  std::int64_t stride_y = 1, stride_x = 1, pad_y = 0, pad_x = 0, dilation_y = 1, dilation_x = 1;
  std::int64_t image_stride = 0, line_stride = 0, pixel_stride = 0;
  bool is_output_uniform = true;
  std::int64_t y_image = 0, y_line = 0, y_pixel = 0;
  std::int64_t residual_image = 0, residual_line = 0, residual_pixel = 0;
};

/// Strides of images, lines and pixels of a channels-last value of 1 or 2 spatial axes.
struct PixelStrides {
  std::int64_t image = 0, line = 0, pixel = 0;
  /// Pixels follow each other through lines and images.
  bool is_uniform(std::int64_t images, std::int64_t height, std::int64_t width) const {
    return (height == 1 || line == pixel * width) && (images == 1 || image == pixel * width * height);
  }
};

PixelStrides pixel_strides(const TensorDesc& desc) {
  const std::size_t rank = desc.extents.rank();
  PixelStrides strides{desc.strides[0], 0, desc.strides[rank - 1]};
  strides.line = rank == 4 ? desc.strides[2] : 0;
  // Axes of extent 1 may have any stride: give them one that multiplies zero.
  if (desc.extents[rank - 1] == 1) strides.pixel = rank == 4 && desc.extents[2] > 1 ? strides.line : strides.image;
  if (rank == 4 && desc.extents[2] == 1) strides.line = strides.pixel * desc.extents[3];
  if (desc.extents[0] == 1) strides.image = 0;
  return strides;
}

/// Elements that may be accessed together from this value on, given the strides that are added to it.
std::int64_t vector_of(const Program& program, ValueId id, std::initializer_list<std::int64_t> strides) {
  std::int64_t vector = 8;
  while (vector > 1) {
    bool fits = program.value(id).offset_elements % vector == 0;
    for (const std::int64_t stride : strides) fits = fits && stride % vector == 0;
    if (fits) break;
    vector /= 2;
  }
  return vector;
}

bool reaches_too_far(const TensorDesc& desc) {
  std::int64_t last = 0;
  for (std::size_t axis = 0; axis < desc.extents.rank(); ++axis) {
    last += (desc.extents[axis] - 1) * std::abs(desc.strides[axis]);
  }
  return last > INT32_MAX / 2;
}

std::int64_t window_stride(const TensorDesc& desc, std::size_t axis) {
  return desc.extents[axis] == 1 ? 0 : desc.strides[axis];
}

bool bind_conv(const Program& program, const ConvStep& conv, TileProblem& problem) {
  const TensorDesc& x = program.value(conv.x).desc;
  const TensorDesc& y = program.value(conv.y).desc;
  const TensorDesc& weights = program.value(conv.weights).desc;
  const std::size_t rank = x.extents.rank();
  if (conv.is_transposed || conv.groups != 1 || rank < 3 || rank > 4 || !dense_row_length(weights)) return false;
  if (x.extents[1] > 1 && x.strides[1] != 1) return false;
  if (y.extents[1] > 1 && y.strides[1] != 1) return false;
  const std::size_t last = rank - 1;
  const bool is_flat = rank == 3;
  problem.a = conv.x;
  problem.b = conv.weights;
  problem.y = conv.y;
  problem.epilogue = &conv.epilogue;
  problem.channels = x.extents[1];
  problem.in_width = x.extents[last];
  problem.out_width = y.extents[last];
  problem.in_height = is_flat ? 1 : x.extents[2];
  problem.out_height = is_flat ? 1 : y.extents[2];
  problem.kernel_x = weights.extents[last];
  problem.stride_x = conv.strides.back();
  problem.pad_x = conv.pads_begin.back();
  problem.dilation_x = conv.dilations.back();
  problem.stride_y = is_flat ? 1 : conv.strides.front();
  problem.pad_y = is_flat ? 0 : conv.pads_begin.front();
  problem.dilation_y = is_flat ? 1 : conv.dilations.front();
  problem.m = y.extents[0] * problem.out_height * problem.out_width;
  problem.n = y.extents[1];
  problem.k = weights.extents.num_elements() / weights.extents[0];
  problem.b_stride = weights.extents[0] == 1 ? problem.k : weights.strides[0];
  problem.is_b_along_k = true;
  problem.image_stride = window_stride(x, 0);
  problem.line_stride = is_flat ? 0 : window_stride(x, 2);
  problem.pixel_stride = window_stride(x, last);
  problem.is_plain = false;
  const PixelStrides out = pixel_strides(y);
  problem.y_image = out.image;
  problem.y_line = out.line;
  problem.y_pixel = out.pixel;
  problem.is_output_uniform = out.is_uniform(y.extents[0], problem.out_height, problem.out_width);
  if (conv.epilogue.residual) {
    const TensorDesc& residual = program.value(*conv.epilogue.residual).desc;
    if (residual.extents[1] > 1 && residual.strides[1] != 1) return false;
    const PixelStrides rest = pixel_strides(residual);
    problem.residual_image = rest.image;
    problem.residual_line = rest.line;
    problem.residual_pixel = rest.pixel;
    problem.is_output_uniform =
        problem.is_output_uniform && rest.is_uniform(y.extents[0], problem.out_height, problem.out_width);
  }
  return true;
}

bool bind_product(const MatrixProduct& product, TileProblem& problem) {
  if (!product.batch.empty()) return false;
  if (product.k > 1 && product.a.column_stride != 1) return false;
  if (product.n > 1 && product.y.column_stride != 1) return false;
  if (product.residual && product.n > 1 && product.residual->column_stride != 1) return false;
  if (product.b.row_stride != 1 && product.b.column_stride != 1) return false;
  problem.a = product.a.value;
  problem.b = product.b.value;
  problem.y = product.y.value;
  problem.epilogue = product.epilogue;
  problem.scale = product.scale;
  problem.m = product.m;
  problem.n = product.n;
  problem.k = product.k;
  problem.channels = product.k;
  problem.a_stride = product.m == 1 ? product.k : product.a.row_stride;
  problem.is_b_along_k = product.b.row_stride == 1;
  problem.b_stride = problem.is_b_along_k ? product.b.column_stride : product.b.row_stride;
  problem.is_plain = true;
  problem.is_output_uniform = true;
  problem.y_pixel = product.m == 1 ? product.n : product.y.row_stride;
  if (product.residual) problem.residual_pixel = product.m == 1 ? product.n : product.residual->row_stride;
  return true;
}

std::optional<TileProblem> problem_of(const Program& program, const Step& step) {
  TileProblem problem;
  const auto product = matrix_product_of(program, step);
  if (product && product->batch.empty()) {
    if (!bind_product(*product, problem)) return std::nullopt;
  } else if (const auto* conv = std::get_if<ConvStep>(&step.work)) {
    if (!bind_conv(program, *conv, problem)) return std::nullopt;
  } else {
    return std::nullopt;
  }
  const TensorDesc& a = program.value(problem.a).desc;
  const TensorDesc& b = program.value(problem.b).desc;
  const TensorDesc& y = program.value(problem.y).desc;
  problem.dtype = a.dtype;
  problem.out_dtype = y.dtype;
  if (!is_half(a.dtype) || b.dtype != a.dtype || (y.dtype != a.dtype && y.dtype != DType::kFloat32))
    return std::nullopt;
  if (problem.m == 0 || problem.n == 0 || problem.k == 0) return std::nullopt;
  if (problem.m > INT32_MAX / 2 || reaches_too_far(a)) return std::nullopt;
  problem.is_b_constant = program.buffer_of(problem.b).place == Place::kConstant;

  problem.vector = problem.is_plain
                       ? vector_of(program, problem.a, {problem.k, problem.a_stride})
                       : vector_of(program, problem.a,
                                   {problem.channels, problem.image_stride, problem.line_stride, problem.pixel_stride});
  if (problem.is_b_along_k) {
    problem.vector = std::min(problem.vector, vector_of(program, problem.b, {problem.k, problem.b_stride}));
  } else if (vector_of(program, problem.b, {problem.n, problem.b_stride}) != 8) {
    return std::nullopt;
  }
  if (problem.vector < 4) return std::nullopt;

  const Epilogue& epilogue = *problem.epilogue;
  problem.store_vector = vector_of(program, problem.y, {problem.n, problem.y_pixel, problem.y_line, problem.y_image});
  if (epilogue.residual) {
    if (program.value(*epilogue.residual).desc.dtype != problem.dtype) return std::nullopt;
    problem.store_vector = std::min(problem.store_vector,
                                    vector_of(program, *epilogue.residual,
                                              {problem.residual_pixel, problem.residual_line, problem.residual_image}));
  }
  if (problem.store_vector < 8) problem.store_vector = 1;
  if (!has_column_bias(program, epilogue, problem.n, problem.dtype)) return std::nullopt;
  return problem;
}

std::int64_t shared_bytes_of(const TileProblem& problem, const TileShape& shape) {
  const std::int64_t b_bytes = problem.is_b_along_k ? shape.columns * 128 : kPieceElements * (shape.columns * 2 + 16);
  const std::int64_t stage_bytes = shape.rows * 128 + b_bytes;
  const std::int64_t sum_bytes = std::int64_t{shape.rows} * (shape.columns + 8) * 4;
  return std::max(shape.stages * stage_bytes, sum_bytes);
}

/// Whether the shape can be made for the problem at all.
bool fits(const TileProblem& problem, const TileShape& shape) {
  const std::int64_t threads = std::int64_t{32} * shape.warps_m * shape.warps_n;
  if (shape.rows <= 0 || shape.columns <= 0 || shape.warps_m <= 0 || shape.warps_n <= 0 || threads > 1024) return false;
  if (shape.rows % (16 * shape.warps_m) != 0 || shape.columns % (16 * shape.warps_n) != 0) return false;
  const std::int64_t chunks = shape.rows * (kPieceElements / problem.vector);
  if (chunks % threads != 0 || threads % (kPieceElements / problem.vector) != 0) return false;
  if (shape.stages < 2 || shape.stages > 8 || shape.splits < 1 || shape.splits > 8) return false;
  if (shape.rows % shape.splits != 0 || shape.splits > ceil_div(problem.k, kPieceElements)) return false;
  return shared_bytes_of(problem, shape) <= kMaxSharedBytes;
}

/// A rough time in cycles: for the order in which shapes are tried, no more.
double guess(const TileProblem& problem, const TileShape& shape, int num_multiprocessors) {
  const double pieces = static_cast<double>(ceil_div(ceil_div(problem.k, kPieceElements), shape.splits));
  const double blocks = static_cast<double>(ceil_div(problem.m, shape.rows) * ceil_div(problem.n, shape.columns)) *
                        static_cast<double>(shape.splits);
  const double blocks_at_once =
      std::clamp(static_cast<double>(kMaxSharedBytes / std::max<std::int64_t>(shared_bytes_of(problem, shape), 1)), 1.0,
                 64.0 / (shape.warps_m * shape.warps_n));
  // Tensor cores do about 1,280 products a cycle by mma.sync, the L2 cache gives about 48 bytes, and one piece of a
  // block alone takes some 250 cycles whatever its size.
  const double multiply = static_cast<double>(shape.rows) * shape.columns * 64 / 1280;
  const double load = (shape.rows + shape.columns) * 128.0 / 48;
  const double rounds = std::ceil(blocks / num_multiprocessors);
  const double together = std::min(rounds, blocks_at_once);
  const double piece = std::max({multiply * together, load * together, 250.0});
  const double store = static_cast<double>(shape.rows) * shape.columns * 4 / 64 + (shape.splits > 1 ? 900 : 0);
  return std::ceil(rounds / together) * (pieces * piece + store * together + 1200);
}

class Text {
 public:
  void number(const char* name, std::int64_t value) {
    // Conditions of the preprocessor need macros; everything else reads them just as well.
    text_ += std::string("#define ") + name + " " + std::to_string(value) + "\n";
  }
  void line(const std::string& text) { text_ += text + "\n"; }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

}  // namespace

std::string TileShape::to_string() const {
  return std::to_string(rows) + "x" + std::to_string(columns) + "w" + std::to_string(warps_m) + "x" +
         std::to_string(warps_n) + "s" + std::to_string(stages) + "k" + std::to_string(splits);
}

std::optional<TileShape> parse_tile_shape(const std::string& text) {
  TileShape shape;
  int end = 0;
  if (text.size() > 40 || std::sscanf(text.c_str(), "%4dx%4dw%2dx%2ds%2dk%2d%n", &shape.rows, &shape.columns,
                                      &shape.warps_m, &shape.warps_n, &shape.stages, &shape.splits, &end) != 6) {
    return std::nullopt;
  }
  if (static_cast<std::size_t>(end) != text.size() || shape.to_string() != text) return std::nullopt;
  return shape;
}

std::vector<TileShape> tile_shapes(const Program& program, const Step& step, int sm, int num_multiprocessors) {
  const auto problem = problem_of(program, step);
  if (!problem || sm < 80) return {};
  constexpr std::array<TileShape, 24> kShapes{{
      {16, 32, 1, 2, 6, 1},  {16, 64, 1, 4, 6, 1},  {16, 128, 1, 4, 4, 1},  {32, 32, 2, 2, 6, 1},
      {32, 64, 2, 2, 5, 1},  {32, 128, 2, 4, 4, 1}, {64, 16, 4, 1, 6, 1},   {64, 32, 2, 2, 5, 1},
      {64, 48, 4, 1, 4, 1},  {64, 64, 2, 2, 4, 1},  {64, 80, 4, 1, 4, 1},   {64, 128, 2, 4, 4, 1},
      {128, 16, 4, 1, 4, 1}, {128, 32, 4, 1, 4, 1}, {128, 48, 4, 1, 4, 1},  {128, 64, 4, 2, 4, 1},
      {128, 80, 4, 1, 3, 1}, {128, 96, 4, 2, 4, 1}, {128, 128, 2, 4, 4, 1}, {128, 160, 4, 2, 3, 1},
      {256, 16, 8, 1, 3, 1}, {256, 32, 8, 1, 3, 1}, {256, 64, 8, 1, 3, 1},  {256, 128, 4, 2, 3, 1},
  }};
  struct Guess {
    TileShape shape;
    double cycles;
  };
  std::vector<Guess> guesses;
  for (TileShape shape : kShapes) {
    // Columns that are mostly empty help nobody.
    if (shape.columns > 16 && shape.columns >= 2 * ceil_div(problem->n, 16) * 16) continue;
    if (shape.rows > 32 && shape.rows >= 4 * problem->m) continue;
    for (const std::int32_t splits : {1, 2, 4, 8}) {
      shape.splits = splits;
      if (splits > 1 && sm < 90) break;
      if (!fits(*problem, shape)) continue;
      if (sm < 90 && shared_bytes_of(*problem, shape) > kMaxSharedBytesBefore90) continue;
      guesses.push_back({shape, guess(*problem, shape, num_multiprocessors)});
    }
  }
  std::stable_sort(guesses.begin(), guesses.end(), [](const Guess& a, const Guess& b) { return a.cycles < b.cycles; });
  std::vector<TileShape> shapes;
  for (const Guess& each : guesses) {
    if (each.cycles > 3 * guesses.front().cycles) break;
    shapes.push_back(each.shape);
  }
  return shapes;
}

KernelSource make_tile_source(const Program& program, const Step& step, const TileShape& shape,
                              const char* device_text) {
  const auto found = problem_of(program, step);
  if (!found || !fits(*found, shape)) {
    throw Error(ErrorKind::kUnsupported, "tiles of " + shape.to_string() + " do not compute this step");
  }
  const TileProblem& problem = *found;
  const Epilogue& epilogue = *problem.epilogue;
  Text text;
  text.number("kRows", shape.rows);
  text.number("kColumns", shape.columns);
  text.number("kWarpsM", shape.warps_m);
  text.number("kWarpsN", shape.warps_n);
  text.number("kStages", shape.stages);
  text.number("kSplits", shape.splits);
  text.number("kVector", problem.vector);
  text.number("kStoreVector", problem.store_vector);
  text.number("kIsBfloat", problem.dtype == DType::kBfloat16 ? 1 : 0);
  text.number("kIsOutFloat", problem.out_dtype == DType::kFloat32 ? 1 : 0);
  text.number("kM", problem.m);
  text.number("kN", problem.n);
  text.number("kK", problem.k);
  text.number("kIsPlain", problem.is_plain ? 1 : 0);
  text.number("kAStride", problem.a_stride);
  text.number("kIsBAlongK", problem.is_b_along_k ? 1 : 0);
  text.number("kBStride", problem.b_stride);
  text.number("kIsBConstant", problem.is_b_constant ? 1 : 0);
  text.number("kChannels", problem.channels);
  text.number("kInHeight", problem.in_height);
  text.number("kInWidth", problem.in_width);
  text.number("kOutHeight", problem.out_height);
  text.number("kOutWidth", problem.out_width);
  text.number("kKernelX", problem.kernel_x);
  text.number("kStrideY", problem.stride_y);
  text.number("kStrideX", problem.stride_x);
  text.line("#define kPadY (" + std::to_string(problem.pad_y) + ")\n#define kPadX (" + std::to_string(problem.pad_x) +
            ")");
  text.number("kDilationY", problem.dilation_y);
  text.number("kDilationX", problem.dilation_x);
  text.number("kImageStride", problem.image_stride);
  text.number("kLineStride", problem.line_stride);
  text.number("kPixelStride", problem.pixel_stride);
  text.number("kIsOutputUniform", problem.is_output_uniform ? 1 : 0);
  text.number("kYImage", problem.y_image);
  text.number("kYLine", problem.y_line);
  text.number("kYPixel", problem.y_pixel);
  text.number("kResidualImage", problem.residual_image);
  text.number("kResidualLine", problem.residual_line);
  text.number("kResidualPixel", problem.residual_pixel);
  text.number("kHasBias", epilogue.bias ? 1 : 0);
  text.number("kHasResidual", epilogue.residual ? 1 : 0);
  text.number("kIsResidualFirst", epilogue.is_residual_before_activation ? 1 : 0);
  text.line("#define kScale " + float_literal(problem.scale));
  text.line(shape.splits > 1 ? "#define kClusterDims __cluster_dims__(1, 1, kSplits)" : "#define kClusterDims");
  const bool is_bias_float = epilogue.bias && program.value(*epilogue.bias).desc.dtype == DType::kFloat32;
  text.line(std::string("typedef float Number;\ntypedef ") + (is_bias_float ? "float" : "unsigned short") + " Bias;");
  text.line(std::string("typedef ") + (problem.out_dtype == DType::kFloat32 ? "float" : "unsigned short") + " Out;");

  KernelSource result;
  result.source = text.take();
  result.source += device_text != nullptr ? device_text : device_numbers_text() + std::string(tile_device_text());
  result.source += tile_kernel_text() + activation_source(epilogue.activation) + tile_kernel_entry_text();
  result.entry = "tile";
  // The function always takes five addresses; what it does not read may be anything.
  result.arguments = {problem.a, problem.b, epilogue.bias.value_or(problem.b), epilogue.residual.value_or(problem.a),
                      problem.y};
  result.grid[0] = static_cast<std::uint32_t>(ceil_div(problem.m, shape.rows));
  result.grid[1] = static_cast<std::uint32_t>(ceil_div(problem.n, shape.columns));
  result.grid[2] = static_cast<std::uint32_t>(shape.splits);
  result.block_size = static_cast<std::uint32_t>(32 * shape.warps_m * shape.warps_n);
  result.shared_bytes = static_cast<std::uint32_t>(shared_bytes_of(problem, shape));
  return result;
}

}  // namespace pajamas::cuda
