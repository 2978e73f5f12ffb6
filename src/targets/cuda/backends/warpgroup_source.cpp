// See warpgroup_source.h.
#include "targets/cuda/backends/warpgroup_source.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <utility>

#include "pajamas/error.h"
#include "targets/cuda/backends/activation_source.h"
#include "targets/cuda/backends/device_numbers.h"
#include "targets/cuda/backends/matrix_product.h"
#include "targets/cuda/backends/tensor_core_steps.h"
#include "targets/cuda/backends/warpgroup_kernel.h"
#include "targets/cuda/backends/wgmma_text.h"

namespace pajamas::cuda {
namespace {

constexpr std::int64_t kManySums = 128 * 160;  ///< Of a warpgroup: above, a thread needs more than 232 registers.
constexpr std::int64_t kPieceBytes = 128;      ///< Of K in one stage: the width of the swizzle.
constexpr std::int64_t kStagingBytes = 8192;   ///< Of a warpgroup (warpgroup_kernel.cpp).

/// Of 8 bits.
bool is_small(DType dtype) { return dtype == DType::kFloat8E4M3Fn || dtype == DType::kInt8; }

DType dtype_of(const Program& program, ValueId id) { return program.value(id).desc.dtype; }

/// Elements in 16 bytes: what addresses and strides must divide by.
std::int64_t vector_of(const Program& program, ValueId id) { return 128 / bits_of(dtype_of(program, id)); }

bool is_aligned(const Program& program, ValueId id, std::int64_t row_stride) {
  const std::int64_t vector = vector_of(program, id);
  return program.value(id).offset_elements % vector == 0 && row_stride % vector == 0;
}

/// The type of what the step has in 16 bits: factors, result, residual, bias. Of these all that have 16 bits agree.
DType half_of(const Program& program, const MatrixProduct& product) {
  for (const ValueId id : {product.a.value, product.y.value}) {
    if (is_half(dtype_of(program, id))) return dtype_of(program, id);
  }
  const bool has_half_bias = product.epilogue->bias && is_half(dtype_of(program, *product.epilogue->bias));
  return has_half_bias ? dtype_of(program, *product.epilogue->bias) : DType::kFloat16;
}

/// A product, or a convolution with a window as one: the rows of A are its windows.
struct WarpgroupProblem : MatrixProduct {
  std::optional<PixelGrid> pixels;
  std::int64_t out_height = 1, out_width = 1, kernel_x = 1, taps = 1;
  std::int64_t dilation_y = 1, dilation_x = 1;
  std::int64_t piece = 64;  ///< Elements of K in one stage.
  bool is_integer = false;  ///< Factors of int8.
  std::int64_t tap_channels() const { return k / taps; }
  std::int64_t num_pieces() const { return taps * ceil_div(tap_channels(), piece); }
};

/// The stride between pixels that follow each other through lines and images; nothing where they do not, or channels do
/// not lie side by side.
std::optional<std::int64_t> even_pixel_stride(const TensorDesc& desc) {
  if (desc.extents[1] > 1 && desc.strides[1] != 1) return std::nullopt;
  std::optional<std::int64_t> stride;
  std::int64_t count = 1;
  for (std::size_t i = desc.extents.rank(); i-- > 0;) {
    if (i == 1 || desc.extents[i] == 1) continue;
    if (!stride) stride = desc.strides[i];
    if (desc.strides[i] != *stride * count) return std::nullopt;
    count *= desc.extents[i];
  }
  return stride.value_or(desc.extents[1]);
}

std::optional<WarpgroupProblem> window_problem(const Program& program, const ConvStep& conv) {
  const TensorDesc& x = program.value(conv.x).desc;
  const TensorDesc& y = program.value(conv.y).desc;
  const TensorDesc& weights = program.value(conv.weights).desc;
  const std::size_t rank = x.extents.rank();
  WarpgroupProblem problem;
  if (conv.is_transposed || conv.groups != 1 || rank < 3 || rank > 4 || x.extents[1] < problem.piece ||
      !is_half(x.dtype)) {
    return std::nullopt;
  }
  if (x.extents.num_elements() == 0 || y.extents.num_elements() == 0 || x.strides[1] != 1) return std::nullopt;
  // Kernels as rows: lines, pixels, channels innermost.
  if (weights.strides != TensorDesc::channels_last(weights.dtype, weights.extents).strides) return std::nullopt;
  const auto y_stride = even_pixel_stride(y);
  if (!y_stride) return std::nullopt;
  const std::size_t last = rank - 1;
  const bool is_flat = rank == 3;
  PixelGrid pixels;
  pixels.images = x.extents[0];
  pixels.height = is_flat ? 1 : x.extents[2];
  pixels.width = x.extents[last];
  const std::int64_t pixel_stride = x.strides[last];
  // Axes of extent 1 may have any stride; the copy engine wants one that is a multiple of 16 bytes.
  pixels.line_stride = pixels.height > 1 ? x.strides[2] : pixel_stride * pixels.width;
  pixels.image_stride = pixels.images > 1 ? x.strides[0] : pixels.line_stride * pixels.height;
  problem.out_height = is_flat ? 1 : y.extents[2];
  problem.out_width = y.extents[last];
  const std::int64_t kernel_y = is_flat ? 1 : weights.extents[2];
  problem.kernel_x = weights.extents[last];
  problem.taps = kernel_y * problem.kernel_x;
  problem.dilation_y = is_flat ? 1 : conv.dilations.front();
  problem.dilation_x = conv.dilations.back();
  const std::int64_t reach_y = problem.dilation_y * (kernel_y - 1),
                     reach_x = problem.dilation_x * (problem.kernel_x - 1);
  const std::int64_t pad_y = is_flat ? 0 : conv.pads_begin.front(), pad_x = conv.pads_begin.back();
  const std::int64_t end_y = is_flat ? 0 : conv.pads_end.front(), end_x = conv.pads_end.back();
  // What the copy engine can say: corners of 8 bits with a sign, steps up to 8.
  constexpr std::int64_t kMaxCorner = 127, kMaxStride = 8;
  const std::int64_t vector = vector_of(program, conv.x);
  for (const std::int64_t number : {reach_y, reach_x, pad_y, pad_x}) {
    if (number < 0 || number > kMaxCorner) return std::nullopt;
  }
  if (std::abs(end_y - reach_y) > kMaxCorner || std::abs(end_x - reach_x) > kMaxCorner) return std::nullopt;
  if (std::max(conv.strides.front(), conv.strides.back()) > kMaxStride || pixel_stride % vector != 0 ||
      pixels.line_stride % vector != 0 || pixels.image_stride % vector != 0 || pixel_stride < x.extents[1]) {
    return std::nullopt;
  }
  pixels.stride_y = is_flat ? 1 : static_cast<std::int32_t>(conv.strides.front());
  pixels.stride_x = static_cast<std::int32_t>(conv.strides.back());
  pixels.first_y = static_cast<std::int32_t>(-pad_y);
  pixels.first_x = static_cast<std::int32_t>(-pad_x);
  pixels.last_y = static_cast<std::int32_t>(end_y - reach_y);
  pixels.last_x = static_cast<std::int32_t>(end_x - reach_x);
  problem.pixels = pixels;
  problem.m = y.extents[0] * problem.out_height * problem.out_width;
  problem.n = y.extents[1];
  problem.k = problem.taps * x.extents[1];
  problem.a = {conv.x, pixel_stride, 1, {}};
  problem.b = {conv.weights, 1, problem.k, {}};
  problem.y = {conv.y, *y_stride, 1, {}};
  if (conv.epilogue.residual) {
    const auto stride = even_pixel_stride(program.value(*conv.epilogue.residual).desc);
    if (!stride) return std::nullopt;
    problem.residual = MatrixProduct::Matrix{*conv.epilogue.residual, *stride, 1, {}};
  }
  problem.epilogue = &conv.epilogue;
  return problem;
}

/// The step as a product that these kernels compute; nothing for others.
std::optional<WarpgroupProblem> product_of(const Program& program, const Step& step) {
  WarpgroupProblem product;
  const auto* conv = std::get_if<ConvStep>(&step.work);
  if (const auto plain = matrix_product_of(program, step)) {
    static_cast<MatrixProduct&>(product) = *plain;
  } else if (const auto window = conv != nullptr ? window_problem(program, *conv) : std::nullopt) {
    product = *window;
  } else {
    return std::nullopt;
  }
  if (!product.batch.empty() || product.m < 64 || product.m > INT32_MAX / 2) return std::nullopt;
  const DType dtype = dtype_of(program, product.a.value);
  const DType half = half_of(program, product);
  if ((!is_half(dtype) && !is_small(dtype)) || dtype_of(program, product.b.value) != dtype) return std::nullopt;
  product.piece = kPieceBytes * 8 / bits_of(dtype);
  product.is_integer = dtype == DType::kInt8;
  // 8 bits come out of 8 bits only, and nothing is added to them.
  const DType y_dtype = dtype_of(program, product.y.value);
  const bool has_small_result = is_small(dtype) && y_dtype == dtype && !product.residual;
  const auto is_one_number_a_column = [&](const std::optional<ValueId>& id) {
    return !id || program.value(*id).desc.extents.num_elements() == product.n;
  };
  if (!is_one_number_a_column(product.epilogue->column_scale) || !is_one_number_a_column(product.epilogue->column_sums))
    return std::nullopt;
  if (y_dtype != half && !has_small_result) return std::nullopt;
  if (product.n % vector_of(program, product.y.value) != 0 || product.n % vector_of(program, product.b.value) != 0 ||
      product.k % vector_of(program, product.a.value) != 0 || product.k == 0 || product.n == 0) {
    return std::nullopt;
  }
  if (product.a.column_stride != 1 || !is_aligned(program, product.a.value, product.a.row_stride)) return std::nullopt;
  if (product.y.column_stride != 1 || !is_aligned(program, product.y.value, product.y.row_stride)) return std::nullopt;
  const bool is_along_k = product.b.row_stride == 1;
  if (!is_along_k && (product.b.column_stride != 1 || is_small(dtype))) return std::nullopt;
  if (!is_aligned(program, product.b.value, is_along_k ? product.b.column_stride : product.b.row_stride)) {
    return std::nullopt;
  }
  // The copy engine wants rows that lie behind each other.
  if (!product.pixels && product.a.row_stride < product.k) return std::nullopt;
  if ((is_along_k ? product.b.column_stride : product.b.row_stride) < (is_along_k ? product.k : product.n)) {
    return std::nullopt;
  }
  if (product.residual) {
    if (dtype_of(program, product.residual->value) != half || product.residual->column_stride != 1) return std::nullopt;
    if (!is_aligned(program, product.residual->value, product.residual->row_stride)) return std::nullopt;
  }
  if (!has_column_bias(program, *product.epilogue, product.n, half)) return std::nullopt;
  return product;
}

/// The product that gives y's transpose: its rows are columns of b, its columns rows of a. Of y and the residual the
/// strides stay what they were.
WarpgroupProblem transposed(const WarpgroupProblem& product) {
  WarpgroupProblem other = product;
  std::swap(other.m, other.n);
  other.a = {product.b.value, product.b.column_stride, product.b.row_stride, {}};
  other.b = {product.a.value, product.a.column_stride, product.a.row_stride, {}};
  return other;
}

/// The product as the shape cuts it.
WarpgroupProblem turned(const WarpgroupProblem& product, const WarpgroupShape& shape) {
  return shape.is_transposed ? transposed(product) : product;
}

std::int64_t tile_rows(const WarpgroupShape& shape) { return shape.is_alternating ? shape.rows : 2 * shape.rows; }
std::int64_t stage_bytes(const WarpgroupShape& shape) {
  return (tile_rows(shape) + (shape.keeps_columns ? 0 : shape.columns)) * 128;
}
std::int64_t shared_bytes(const WarpgroupProblem& product, const WarpgroupShape& shape) {
  // Of integers scales and what is taken from the sums beside them.
  const std::int64_t bias_bytes =
      ceil_div(shape.is_transposed ? shape.rows : shape.columns, 64) * 64 * 4 * (product.is_integer ? 3 : 1);
  const std::int64_t kept_bytes = shape.keeps_columns ? product.num_pieces() * shape.columns * 128 : 0;
  // Sums that the other blocks of a tile leave here, and the barriers for them.
  const std::int64_t share_bytes =
      shape.splits > 1 ? 40 + shape.rows * shape.columns * 8 / shape.splits * (shape.splits - 1) : 0;
  // The stages begin at a multiple of 1,024, wherever shared memory does.
  return 1024 + 8 + kept_bytes + shape.stages * (stage_bytes(shape) + 16) +
         shape.groups * (kStagingBytes + bias_bytes) + share_bytes;
}

/// Tiles of one block of a cluster, all clusters together.
std::int64_t num_tiles(const WarpgroupProblem& product, const WarpgroupShape& shape) {
  return ceil_div(product.m, tile_rows(shape) * shape.cluster) * ceil_div(product.n, shape.columns);
}

std::int64_t num_clusters(const WarpgroupProblem& product, const WarpgroupShape& shape, int num_multiprocessors) {
  const std::int64_t most = std::max(1, num_multiprocessors / (shape.cluster * shape.splits));
  if (!shape.keeps_columns) return std::min(num_tiles(product, shape), most);
  // Tiles go on by columns: every block keeps its own.
  const std::int64_t across = ceil_div(product.n, shape.columns);
  return std::min(num_tiles(product, shape), std::max<std::int64_t>(1, most / across) * across);
}

/// `product` as turned() gives it.
bool fits(const Program& program, const WarpgroupProblem& product, const WarpgroupShape& shape) {
  if (shape.rows != 64 && shape.rows != 128) return false;
  if (shape.columns < 64 || shape.columns > 256 || shape.columns % (shape.is_transposed ? 16 : 32) != 0) return false;
  if (shape.is_transposed) {
    if (product.pixels || !is_half(dtype_of(program, product.a.value))) return false;
    if (shape.splits != 1 || shape.keeps_columns || product.m < 64) return false;
  }
  if (product.is_integer && (shape.groups != 2 || shape.splits != 1 || shape.rows * shape.columns > kManySums))
    return false;
  if (shape.groups != 2 && (shape.groups != 3 || !shape.is_alternating)) return false;
  // Sums of a thread: 160 of its 232 registers, 192 of 240, 96 of 160: one instruction, of 26 registers more than its
  // sums, must fit the 128 of the launch.
  if (shape.rows * shape.columns > 128 * (shape.groups == 3 ? 96 : 192)) return false;
  // The second half is behind the first within the places, and never a tile.
  if (shape.delay < 0 || shape.delay >= shape.stages) return false;
  if (shape.delay > 0 && (shape.is_alternating || shape.splits != 1 || product.num_pieces() < shape.stages))
    return false;
  if (shape.cluster != 1 && shape.cluster != 2) return false;
  if (shape.splits != 1) {
    if (shape.splits != 2 && shape.splits != 4 && shape.splits != 8) return false;
    if (shape.cluster != 1 || shape.is_alternating || shape.splits > product.num_pieces()) return false;
    if (shape.columns / (shape.splits / 2) % 16 != 0) return false;
  }
  if (shape.keeps_columns && (!shape.is_alternating || shape.cluster != 1 || shape.splits != 1)) return false;
  if (shape.stages < 3 || shape.stages > 8 || shared_bytes(product, shape) > kMaxSharedBytes) return false;
  // Panels of 64 columns of B where its rows run along N.
  const bool is_along_k = product.b.row_stride == 1;
  return is_along_k || shape.columns % 64 == 0;
}

/// A rough time in cycles: for the order in which shapes are tried, no more.
double guess(const WarpgroupProblem& product, const WarpgroupShape& shape, int num_multiprocessors) {
  const double rounds =
      static_cast<double>(ceil_div(num_tiles(product, shape), num_clusters(product, shape, num_multiprocessors)));
  const double pieces = static_cast<double>(ceil_div(product.num_pieces(), shape.splits));
  const auto rows = static_cast<double>(tile_rows(shape));
  const double columns = shape.columns, fetched_columns = shape.keeps_columns ? 0 : columns;
  // Tensor cores do 2,048 products of 16 bits a cycle or 4,096 of 8, the L2 cache gives about 55 bytes, shared memory
  // 128: what the copy engine writes and what each 64 rows are multiplied by.
  const double multiply = rows * columns * kPieceBytes / 4096;
  const double load = (rows + fetched_columns / shape.cluster) * kPieceBytes / 55;
  const double share = rows + fetched_columns + rows / 64 * (32 + columns);
  const double tile = pieces * std::max({multiply, load, share});
  // What finishing a warpgroup's sums takes, by stamps of a kernel's clock: beside the products of another more than
  // twice what it is alone; two halves at once, and sums that leave no registers, are in between. A power and a
  // quotient are half of it.
  const ActivationKind kind = product.epilogue->activation.kind;
  const bool is_costly = kind != ActivationKind::kNone && kind != ActivationKind::kRelu;
  const double sums = static_cast<double>(shape.rows) * shape.columns / shape.splits;
  const double beside = sums * (is_costly ? 0.48 : 0.3) + 500;
  const bool is_single = shape.is_alternating && sums <= kManySums;
  const double alone = sums * (is_costly ? 0.4 : 0.25) / (is_single ? 2 : 1) + 500;
  // Sums that blocks exchange cost some 2 µs with two of them, 4 with four, whatever their number.
  const double exchange = shape.splits > 1 ? 1500 * shape.splits : 0;
  // Of blocks that fetch for each other each waits for both.
  const double start = shape.cluster > 1 ? 2500 : 0;
  if (!shape.is_alternating) return start + rounds * (tile + alone + exchange);
  return start + rounds * std::max(tile, (tile + beside) / shape.groups) + alone;
}

}  // namespace

std::string WarpgroupShape::to_string() const {
  return std::to_string(rows) + "x" + std::to_string(columns) +
         (keeps_columns    ? "r"
          : is_alternating ? "a"
                           : "h") +
         std::to_string(cluster) + "s" + std::to_string(stages) + (splits > 1 ? "k" + std::to_string(splits) : "") +
         (groups > 2 ? "g" + std::to_string(groups) : "") + (delay > 0 ? "d" + std::to_string(delay) : "") +
         (is_transposed ? "t" : "");
}

std::optional<WarpgroupShape> parse_warpgroup_shape(const std::string& text) {
  WarpgroupShape shape;
  char manner = 0;
  int end = 0;
  if (text.size() > 40 || std::sscanf(text.c_str(), "%4dx%4d%c%2ds%2d%n", &shape.rows, &shape.columns, &manner,
                                      &shape.cluster, &shape.stages, &end) != 5) {
    return std::nullopt;
  }
  if (int more = 0; std::sscanf(text.c_str() + end, "k%2d%n", &shape.splits, &more) == 1) end += more;
  if (int more = 0; std::sscanf(text.c_str() + end, "g%1d%n", &shape.groups, &more) == 1) end += more;
  if (int more = 0; std::sscanf(text.c_str() + end, "d%2d%n", &shape.delay, &more) == 1) end += more;
  if (text[static_cast<std::size_t>(end)] == 't') {
    shape.is_transposed = true;
    ++end;
  }
  shape.is_alternating = manner != 'h';
  shape.keeps_columns = manner == 'r';
  if (static_cast<std::size_t>(end) != text.size() || shape.to_string() != text) return std::nullopt;
  return shape;
}

std::vector<WarpgroupShape> warpgroup_shapes(const Program& program, const Step& step, int sm,
                                             int num_multiprocessors) {
  const auto product = sm == 90 ? product_of(program, step) : std::nullopt;
  if (!product) return {};
  struct Cut {
    std::int32_t rows, columns;
    bool is_alternating;
  };
  constexpr std::array<Cut, 13> kCuts{{{64, 256, true},
                                       {128, 128, true},
                                       {128, 160, true},
                                       {128, 192, true},
                                       {64, 192, true},
                                       {128, 96, true},
                                       {64, 128, true},
                                       {64, 64, true},
                                       {128, 192, false},
                                       {64, 256, false},
                                       {64, 192, false},
                                       {64, 128, false},
                                       {64, 64, false}}};
  std::vector<std::pair<double, WarpgroupShape>> found;
  const auto add = [&](WarpgroupShape shape) {
    const WarpgroupProblem cut = turned(*product, shape);
    while (shape.stages > 3 && shared_bytes(cut, shape) > kMaxSharedBytes) --shape.stages;
    // Halves that do not end together: the tensor cores have work while one finishes its sums.
    if (!shape.is_alternating && shape.splits == 1 && cut.num_pieces() >= shape.stages) shape.delay = 1;
    if (fits(program, cut, shape)) found.emplace_back(guess(cut, shape, num_multiprocessors), shape);
  };
  for (const Cut& cut : kCuts) {
    for (const std::int32_t cluster : {1, 2}) {
      const WarpgroupShape shape{cut.rows, cut.columns, cut.is_alternating, cluster, 8, 1};
      if (cluster == 1 || product->m > tile_rows(shape)) add(shape);
    }
    // Columns are kept for several tiles of a block.
    WarpgroupShape keeper{cut.rows, cut.columns, cut.is_alternating, 1, 8, 1, true};
    const bool is_narrow = cut.columns == 64 && product->n > 64;
    if (num_tiles(*product, keeper) >= 3 * num_multiprocessors && !is_narrow) add(keeper);
    // Three take turns where two would not hide what finishing takes.
    WarpgroupShape third{cut.rows, cut.columns, cut.is_alternating, 1, 8, 1};
    third.groups = 3;
    if (num_tiles(*product, third) >= 3 * num_multiprocessors && cut.columns >= 128) {
      add(third);
      third.keeps_columns = true;
      add(third);
    }
    // Sums are split where tiles are few and K is long.
    for (const std::int32_t splits : {2, 4, 8}) {
      const WarpgroupShape shape{cut.rows, cut.columns, cut.is_alternating, 1, 8, splits};
      const bool is_short = product->num_pieces() < 3 * splits;
      if (!cut.is_alternating && !is_short && num_tiles(*product, shape) * splits <= 2 * num_multiprocessors)
        add(shape);
    }
  }
  const auto is_less = [](const auto& a, const auto& b) { return a.first < b.first; };
  // Of the transpose the tiles that fill their rounds best; each way of cutting has some.
  auto chosen = std::exchange(found, {});
  constexpr std::size_t kTransposedOfCut = 2;
  for (const std::int32_t rows : {64, 128}) {
    for (const bool is_alternating : {true, false}) {
      found.clear();
      for (std::int32_t columns = 64; columns <= 256; columns += 16) {
        for (const std::int32_t cluster : {1, 2}) {
          WarpgroupShape shape{rows, columns, is_alternating, cluster, 8, 1};
          shape.is_transposed = true;
          if (cluster == 1 || product->n > tile_rows(shape)) add(shape);
        }
      }
      std::stable_sort(found.begin(), found.end(), is_less);
      found.resize(std::min(found.size(), kTransposedOfCut));
      chosen.insert(chosen.end(), found.begin(), found.end());
    }
  }
  found = std::move(chosen);
  std::stable_sort(found.begin(), found.end(), is_less);
  std::vector<WarpgroupShape> shapes;
  for (const auto& [time, shape] : found) shapes.push_back(shape);
  return shapes;
}

KernelSource make_warpgroup_source(const Program& program, const Step& step, const WarpgroupShape& shape,
                                   int num_multiprocessors, const char* device_text) {
  auto product = product_of(program, step);
  if (product) product = turned(*product, shape);
  if (!product || !fits(program, *product, shape)) {
    throw Error(ErrorKind::kUnsupported, "no warpgroup kernel " + shape.to_string() + " for this step");
  }
  const Epilogue& epilogue = *product->epilogue;
  const DType dtype = dtype_of(program, product->a.value);
  const bool is_bfloat = half_of(program, *product) == DType::kBfloat16;
  const bool is_y_small = is_small(dtype_of(program, product->y.value));
  const bool is_along_k = product->b.row_stride == 1, is_a_along_k = product->a.column_stride == 1;
  const std::int32_t blocks = shape.cluster * shape.splits;  // Of a cluster.
  const std::int64_t clusters = num_clusters(*product, shape, num_multiprocessors);
  std::string constants;
  const auto define = [&](const char* name, const std::string& value) {
    constants += std::string("#define ") + name + " " + value + "\n";
  };
  const auto number = [&](const char* name, std::int64_t value) { define(name, std::to_string(value)); };
  number("kM", product->m);
  number("kN", product->n);
  number("kTaps", product->taps);
  number("kTapChannels", product->tap_channels());
  number("kIsWindow", product->pixels ? 1 : 0);
  const PixelGrid pixels = product->pixels.value_or(PixelGrid{});
  number("kOutHeight", product->out_height);
  number("kOutWidth", product->out_width);
  number("kKernelX", product->kernel_x);
  number("kDilationY", product->dilation_y);
  number("kDilationX", product->dilation_x);
  number("kStrideY", pixels.stride_y);
  number("kStrideX", pixels.stride_x);
  number("kPadY", -pixels.first_y);
  number("kPadX", -pixels.first_x);
  number("kSums", shape.rows / 64);
  number("kColumns", shape.columns);
  number("kIsAlternating", shape.is_alternating ? 1 : 0);
  number("kGroups", shape.groups);
  number("kDelay", shape.delay);
  const bool is_large = shape.rows * shape.columns > kManySums;
  number("kFetcherRegisters", shape.groups == 3 ? 32 : is_large ? 24 : 40);
  number("kGroupRegisters", shape.groups == 3 ? 160 : is_large ? 240 : 232);
  number("kCluster", shape.cluster);
  number("kStages", shape.stages);
  number("kSplits", shape.splits);
  number("kNumClusters", clusters);
  number("kKeepsB", shape.keeps_columns ? 1 : 0);
  number("kIsBfloat", is_bfloat ? 1 : 0);
  number("kElementBytes", bits_of(dtype) / 8);
  number("kIsYSmall", is_y_small ? 1 : 0);
  define("kYFactor", float_literal(1.0F / epilogue.y_scale));
  define("Result", is_y_small ? "unsigned char" : "unsigned short");
  number("kIsBAlongK", is_along_k ? 1 : 0);
  number("kIsAAlongK", is_a_along_k ? 1 : 0);
  number("kIsTransposed", shape.is_transposed ? 1 : 0);
  const ValueId weights = shape.is_transposed ? product->a.value : product->b.value;
  number("kIsWeightConstant", program.buffer_of(weights).place == Place::kConstant ? 1 : 0);
  number("kYStride", product->y.row_stride);
  number("kHasBias", epilogue.bias ? 1 : 0);
  number("kIsInteger", product->is_integer ? 1 : 0);
  number("kHasColumnScale", epilogue.column_scale ? 1 : 0);
  number("kHasColumnSums", epilogue.column_sums ? 1 : 0);
  number("kZeroPoint", epilogue.a_zero_point);
  number("kYZeroPoint", epilogue.y_zero_point);
  number("kHasResidual", product->residual ? 1 : 0);
  number("kIsResidualFirst", epilogue.is_residual_before_activation ? 1 : 0);
  number("kResidualStride", product->residual ? product->residual->row_stride : 0);
  define("kScale", float_literal(product->scale));
  const bool is_bias_float = epilogue.bias && program.value(*epilogue.bias).desc.dtype == DType::kFloat32;
  define("Bias", is_bias_float ? "float" : "unsigned short");
  define("kClusterDims", blocks > 1 ? "__cluster_dims__(1, 1, kCluster * kSplits)" : "");

  KernelSource result;
  result.source = constants;
  if (device_text != nullptr) {
    result.source += device_text;
  } else {
    result.source += device_numbers_text() + std::string(warpgroup_device_text()) +
                     wgmma_text({"multiply", shape.columns, dtype, false, is_along_k, is_a_along_k});
  }
  result.source +=
      "typedef float Number;\n"
      "__device__ __forceinline__ float softplus(float v) { return v > 20.0f ? v : log1pf(exp(v)); }\n"
      "__device__ __forceinline__ float activate(float t) {\n" +
      fast_activation_source(epilogue.activation) + "  return t;\n}\n" + wgmma_operand_text() + warpgroup_kernel_text();
  result.entry = "warpgroup";
  const auto rows = static_cast<std::int32_t>(tile_rows(shape)), piece = static_cast<std::int32_t>(product->piece);
  const std::int32_t element_bytes = bits_of(dtype) / 8;
  if (is_a_along_k) {
    result.boxes = {{product->a.value,
                     is_bfloat,
                     product->m,
                     product->tap_channels(),
                     product->a.row_stride,
                     rows,
                     piece,
                     {},
                     product->pixels,
                     element_bytes}};
  } else {
    result.boxes = {{product->a.value, is_bfloat, product->k, product->m, product->a.column_stride, 64, 64, {}, {}}};
  }
  if (is_along_k) {
    result.boxes.push_back({product->b.value,
                            is_bfloat,
                            product->n,
                            product->k,
                            product->b.column_stride,
                            shape.columns / shape.cluster,
                            piece,
                            {},
                            {},
                            element_bytes});
  } else {
    result.boxes.push_back(
        {product->b.value, is_bfloat, product->k, product->n, product->b.row_stride, 64, 64, {}, {}});
  }
  // The function always takes three more addresses, of integers five; what it does not read may be anything.
  result.arguments = {epilogue.bias.value_or(product->b.value),
                      product->residual ? product->residual->value : product->a.value, product->y.value};
  if (product->is_integer) {
    result.arguments.push_back(epilogue.column_scale.value_or(product->b.value));
    result.arguments.push_back(epilogue.column_sums.value_or(product->b.value));
  }
  result.grid[0] = static_cast<std::uint32_t>(clusters);
  result.grid[2] = static_cast<std::uint32_t>(blocks);
  result.block_size = static_cast<std::uint32_t>((shape.groups + 1) * 128);
  result.shared_bytes = static_cast<std::uint32_t>(shared_bytes(*product, shape));
  return result;
}

}  // namespace pajamas::cuda
