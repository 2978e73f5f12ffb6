// See halo_source.h.
#include "targets/cuda/backends/halo_source.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "pajamas/error.h"
#include "targets/cuda/backends/activation_source.h"
#include "targets/cuda/backends/device_numbers.h"
#include "targets/cuda/backends/halo_kernel.h"
#include "targets/cuda/backends/tensor_core_steps.h"
#include "targets/cuda/backends/tile_kernel.h"

namespace pajamas::cuda {
namespace {

constexpr std::int64_t kMaxSums = 128;  ///< Of a thread: about half of its registers.

/// A channels-last value: strides between images, lines and pixels, in elements.
struct Pixels {
  ValueId value = -1;
  std::int64_t image = 0, line = 0, pixel = 0;
};

/// The convolution of images of `channels`; one line where it has one axis.
struct HaloProblem {
  const ConvStep* conv = nullptr;
  bool is_bfloat = false;
  std::int64_t images = 1, channels = 1, in_height = 1, in_width = 1, out_height = 1, out_width = 1, columns = 1;
  std::int64_t kernel_y = 1, kernel_x = 1, stride_y = 1, stride_x = 1, pad_y = 0, pad_x = 0;
  std::int64_t lead = 0;          ///< Pixels that a line of the window begins earlier, for addresses of 16 bytes.
  std::int64_t store_vector = 8;  ///< Channels that a thread stores together: 8 or 4.
  Pixels x, y, residual;
  /// Elements of one line of the window in shared memory.
  std::int64_t run() const { return ceil_div((kernel_x + lead) * channels, 16) * 16; }
};

/// Nothing where channels do not lie side by side.
std::optional<Pixels> pixels_of(const Program& program, ValueId id) {
  const TensorDesc& desc = program.value(id).desc;
  const std::size_t rank = desc.extents.rank();
  if (desc.extents[1] > 1 && desc.strides[1] != 1) return std::nullopt;
  const auto stride = [&](std::size_t axis) { return desc.extents[axis] == 1 ? 0 : desc.strides[axis]; };
  return Pixels{id, stride(0), rank == 4 ? stride(2) : 0, stride(rank - 1)};
}

bool is_aligned(const Program& program, const Pixels& pixels, std::int64_t vector) {
  return program.value(pixels.value).offset_elements % vector == 0 && pixels.image % vector == 0 &&
         pixels.line % vector == 0 && pixels.pixel % vector == 0;
}

/// One row of weights an output channel, one behind the other: lines of the kernel, their pixels, channels innermost.
bool is_packed(const TensorDesc& weights) {
  const auto length = dense_row_length(weights);
  return length && (weights.extents[0] == 1 || weights.strides[0] == *length);
}

std::optional<HaloProblem> problem_of(const Program& program, const Step& step) {
  const auto* conv = std::get_if<ConvStep>(&step.work);
  if (conv == nullptr || conv->is_transposed || conv->groups != 1) return std::nullopt;
  const TensorDesc& x = program.value(conv->x).desc;
  const TensorDesc& y = program.value(conv->y).desc;
  const TensorDesc& weights = program.value(conv->weights).desc;
  const std::size_t rank = x.extents.rank();
  if (rank < 3 || rank > 4 || !is_packed(weights)) return std::nullopt;
  if (std::any_of(conv->dilations.begin(), conv->dilations.end(), [](std::int64_t d) { return d != 1; }))
    return std::nullopt;
  const auto has_dtype = [&](ValueId id) { return program.value(id).desc.dtype == x.dtype; };
  if (!is_half(x.dtype) || !has_dtype(conv->weights) || !has_dtype(conv->y)) return std::nullopt;
  if (x.extents.num_elements() == 0 || y.extents.num_elements() == 0) return std::nullopt;

  HaloProblem problem;
  problem.conv = conv;
  problem.is_bfloat = x.dtype == DType::kBfloat16;
  const std::size_t last = rank - 1;
  problem.images = y.extents[0];
  problem.channels = x.extents[1];
  problem.columns = y.extents[1];
  problem.in_width = x.extents[last];
  problem.out_width = y.extents[last];
  problem.kernel_x = weights.extents[last];
  problem.stride_x = conv->strides.back();
  problem.pad_x = conv->pads_begin.back();
  if (rank == 4) {
    problem.in_height = x.extents[2];
    problem.out_height = y.extents[2];
    problem.kernel_y = weights.extents[2];
    problem.stride_y = conv->strides.front();
    problem.pad_y = conv->pads_begin.front();
  }
  // Without a window products do better; large ones are not worth their code.
  const std::int64_t taps = problem.kernel_y * problem.kernel_x;
  if (taps == 1 || problem.kernel_y > 8 || problem.kernel_x > 8 || problem.stride_x > 4 || problem.stride_y > 4)
    return std::nullopt;
  if (problem.pad_x < 0 || problem.pad_y < 0) return std::nullopt;
  const bool is_narrow = problem.channels == 4;
  if (!is_narrow && problem.channels != 8 && problem.channels % 16 != 0) return std::nullopt;
  if (problem.columns % 16 != 0) return std::nullopt;

  const auto in = pixels_of(program, conv->x), out = pixels_of(program, conv->y);
  if (!in || !out) return std::nullopt;
  problem.x = *in;
  problem.y = *out;
  if (is_narrow) {
    // Two pixels are one vector: they must lie side by side, both inside the image or both outside.
    if (problem.stride_x % 2 != 0 || problem.in_width % 2 != 0 || problem.x.pixel != 4) return std::nullopt;
    if (program.value(conv->x).offset_elements % 8 != 0 || problem.x.line % 8 != 0 || problem.x.image % 8 != 0)
      return std::nullopt;
    problem.lead = problem.pad_x % 2;
  } else if (!is_aligned(program, problem.x, 8)) {
    return std::nullopt;
  }
  if (program.value(conv->weights).offset_elements % 8 != 0) return std::nullopt;

  problem.store_vector = problem.columns % 32 == 0 && is_aligned(program, problem.y, 8) ? 8 : 4;
  const Epilogue& epilogue = conv->epilogue;
  if (epilogue.residual) {
    const auto residual = pixels_of(program, *epilogue.residual);
    if (!residual || !has_dtype(*epilogue.residual)) return std::nullopt;
    problem.residual = *residual;
    if (!is_aligned(program, problem.residual, 8)) problem.store_vector = 4;
    if (!is_aligned(program, problem.residual, 4)) return std::nullopt;
  }
  if (!is_aligned(program, problem.y, 4)) return std::nullopt;
  if (!has_column_bias(program, epilogue, problem.columns, x.dtype)) return std::nullopt;
  return problem;
}

/// Of a tile of the image with its margin.
std::int64_t input_bytes(const HaloProblem& problem, const HaloShape& shape) {
  const std::int64_t height = (shape.height - 1) * problem.stride_y + problem.kernel_y;
  const std::int64_t width = (shape.width - 1) * problem.stride_x + ceil_div(problem.run(), problem.channels);
  return height * ceil_div(width * problem.channels, 8) * 16;
}

std::int64_t shared_bytes(const HaloProblem& problem, const HaloShape& shape) {
  const std::int64_t weight_chunks = (problem.kernel_y * problem.run() / 8) | 1;
  return ceil_div(shape.columns * 4, 16) * 16 + shape.columns * weight_chunks * 16 + 2 * input_bytes(problem, shape);
}

std::int64_t num_tiles(const HaloProblem& problem, const HaloShape& shape) {
  return problem.images * ceil_div(problem.out_height, shape.height) * ceil_div(problem.out_width, shape.width);
}

/// Blocks that share a multiprocessor.
std::int64_t blocks_at_once(const HaloProblem& problem, const HaloShape& shape) {
  const std::int64_t threads = std::int64_t{32} * shape.warps_m * shape.warps_n;
  return std::clamp<std::int64_t>(kMaxSharedBytes / (shared_bytes(problem, shape) + 1024), 1, 512 / threads);
}

bool fits(const HaloProblem& problem, const HaloShape& shape) {
  if (shape.height < 1 || shape.height > 64 || shape.width < 8 || shape.width > 256) return false;
  if (shape.width != 8 && shape.width % 16 != 0) return false;
  if (shape.width == 8 && shape.height % 2 != 0) return false;
  if (shape.warps_m < 1 || shape.warps_n < 1 || shape.warps_m * shape.warps_n > 16) return false;
  const std::int64_t rows = std::int64_t{shape.height} * shape.width;
  if (rows % (16 * shape.warps_m) != 0) return false;
  if (shape.columns < 16 || problem.columns % shape.columns != 0) return false;
  if (shape.columns % (shape.warps_n * problem.store_vector * 4) != 0) return false;
  if (rows / shape.warps_m * (shape.columns / shape.warps_n) / 32 > kMaxSums) return false;
  return num_tiles(problem, shape) <= INT32_MAX / 2 && shared_bytes(problem, shape) <= kMaxSharedBytes;
}

/// A rough time in cycles: for the order in which shapes are tried, no more.
double guess(const HaloProblem& problem, const HaloShape& shape, int num_multiprocessors) {
  const auto pixels = static_cast<double>(shape.height * shape.width);
  const auto depth = static_cast<double>(problem.kernel_y * problem.run());
  const auto at_once = static_cast<double>(blocks_at_once(problem, shape));
  const double rows_of_warp = pixels / shape.warps_m,
               columns_of_warp = shape.columns / static_cast<double>(shape.warps_n);
  const double warps = static_cast<double>(shape.warps_m) * shape.warps_n;
  // Tensor cores do about 900 products a cycle by mma.sync, shared memory gives 128 bytes, memory about 20.
  const double multiply = pixels * shape.columns * depth / 900;
  const double read = warps * (rows_of_warp + columns_of_warp) * depth * 2 / 128;
  const double move = (static_cast<double>(input_bytes(problem, shape)) + pixels * shape.columns * 2) / 20;
  const double alone = depth / 16 * (30 + rows_of_warp * columns_of_warp / 32) + 1500;
  const double tile = std::max({multiply, read, move, alone / at_once});
  const auto blocks = static_cast<double>(num_tiles(problem, shape) * (problem.columns / shape.columns));
  const double rounds = std::ceil(blocks / (at_once * num_multiprocessors));
  return rounds * at_once * tile + static_cast<double>(shape.columns) * depth / 128;
}

}  // namespace

std::string HaloShape::to_string() const {
  return std::to_string(height) + "x" + std::to_string(width) + "w" + std::to_string(warps_m) + "x" +
         std::to_string(warps_n) + "n" + std::to_string(columns);
}

std::optional<HaloShape> parse_halo_shape(const std::string& text) {
  HaloShape shape;
  int end = 0;
  if (text.size() > 40 || std::sscanf(text.c_str(), "%3dx%3dw%2dx%2dn%4d%n", &shape.height, &shape.width,
                                      &shape.warps_m, &shape.warps_n, &shape.columns, &end) != 5) {
    return std::nullopt;
  }
  if (static_cast<std::size_t>(end) != text.size() || shape.to_string() != text) return std::nullopt;
  return shape;
}

std::vector<HaloShape> halo_shapes(const Program& program, const Step& step, int sm, int num_multiprocessors) {
  const auto problem = sm >= 80 ? problem_of(program, step) : std::nullopt;
  if (!problem) return {};
  struct Cut {
    std::int32_t height, width, warps_m, warps_n;
  };
  constexpr std::array<Cut, 18> kCuts{{{8, 32, 4, 1},
                                       {8, 32, 8, 1},
                                       {8, 16, 4, 1},
                                       {8, 16, 8, 1},
                                       {8, 16, 4, 2},
                                       {16, 16, 8, 1},
                                       {16, 16, 4, 2},
                                       {4, 16, 4, 1},
                                       {4, 16, 2, 2},
                                       {8, 8, 4, 1},
                                       {8, 8, 2, 2},
                                       {16, 8, 4, 1},
                                       {16, 8, 4, 2},
                                       {1, 64, 4, 1},
                                       {1, 64, 2, 2},
                                       {1, 128, 8, 1},
                                       {1, 128, 4, 2},
                                       {1, 64, 4, 2}}};
  std::vector<std::pair<double, HaloShape>> found;
  for (const Cut& cut : kCuts) {
    if ((problem->out_height == 1) != (cut.height == 1)) continue;
    for (std::int64_t parts = 1; parts <= 6; ++parts) {
      if (problem->columns % parts != 0) continue;
      const HaloShape shape{cut.height, cut.width, cut.warps_m, cut.warps_n,
                            static_cast<std::int32_t>(problem->columns / parts)};
      if (!fits(*problem, shape)) continue;
      if (sm < 90 && shared_bytes(*problem, shape) > kMaxSharedBytesBefore90) continue;
      found.emplace_back(guess(*problem, shape, num_multiprocessors), shape);
    }
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<HaloShape> shapes;
  for (const auto& [time, shape] : found) {
    if (time > 3 * found.front().first) break;
    shapes.push_back(shape);
  }
  return shapes;
}

KernelSource make_halo_source(const Program& program, const Step& step, const HaloShape& shape, int num_multiprocessors,
                              const char* device_text) {
  const auto found = problem_of(program, step);
  if (!found || !fits(*found, shape)) {
    throw Error(ErrorKind::kUnsupported, "no halo kernel " + shape.to_string() + " for this step");
  }
  const HaloProblem& problem = *found;
  const Epilogue& epilogue = problem.conv->epilogue;
  const std::int64_t parts = problem.columns / shape.columns;
  const std::int64_t num_blocks = std::clamp<std::int64_t>(num_multiprocessors * blocks_at_once(problem, shape) / parts,
                                                           1, num_tiles(problem, shape));
  std::string constants;
  const auto number = [&](const char* name, std::int64_t value) {
    constants += std::string("#define ") + name + " " + std::to_string(value) + "\n";
  };
  number("kTileHeight", shape.height);
  number("kTileWidth", shape.width);
  number("kWarpsM", shape.warps_m);
  number("kWarpsN", shape.warps_n);
  number("kColumns", shape.columns);
  number("kNumBlocks", num_blocks);
  number("kIsBfloat", problem.is_bfloat ? 1 : 0);
  number("kIsWeightConstant", program.buffer_of(problem.conv->weights).place == Place::kConstant ? 1 : 0);
  number("kImages", problem.images);
  number("kChannels", problem.channels);
  number("kInputHeight", problem.in_height);
  number("kInputWidth", problem.in_width);
  number("kOutHeight", problem.out_height);
  number("kOutWidth", problem.out_width);
  number("kKernelY", problem.kernel_y);
  number("kKernelX", problem.kernel_x);
  number("kStrideY", problem.stride_y);
  number("kStrideX", problem.stride_x);
  number("kPadY", problem.pad_y);
  number("kPadX", problem.pad_x);
  number("kLead", problem.lead);
  number("kStoreVector", problem.store_vector);
  number("kWeightStride", problem.kernel_y * problem.kernel_x * problem.channels);
  number("kImageStride", problem.x.image);
  number("kLineStride", problem.x.line);
  number("kPixelStride", problem.x.pixel);
  number("kYImage", problem.y.image);
  number("kYLine", problem.y.line);
  number("kYPixel", problem.y.pixel);
  number("kHasBias", epilogue.bias ? 1 : 0);
  number("kHasResidual", epilogue.residual ? 1 : 0);
  number("kIsResidualFirst", epilogue.is_residual_before_activation ? 1 : 0);
  number("kResidualImage", problem.residual.image);
  number("kResidualLine", problem.residual.line);
  number("kResidualPixel", problem.residual.pixel);
  const bool is_bias_float = epilogue.bias && program.value(*epilogue.bias).desc.dtype == DType::kFloat32;
  constants += std::string("#define Bias ") + (is_bias_float ? "float\n" : "unsigned short\n");

  KernelSource result;
  result.source = constants;
  result.source += device_text != nullptr ? device_text : device_numbers_text() + std::string(tile_device_text());
  result.source +=
      "typedef float Number;\n"
      "__device__ __forceinline__ float softplus(float v) { return v > 20.0f ? v : log1pf(exp(v)); }\n"
      "__device__ __forceinline__ float activate(float t) {\n" +
      fast_activation_source(epilogue.activation) + "  return t;\n}\n" + halo_kernel_text();
  result.entry = "halo";
  // The function always takes five addresses; what it does not read may be anything.
  result.arguments = {problem.conv->x, problem.conv->weights, epilogue.bias.value_or(problem.conv->weights),
                      epilogue.residual.value_or(problem.conv->x), problem.conv->y};
  result.grid[0] = static_cast<std::uint32_t>(num_blocks);
  result.grid[1] = static_cast<std::uint32_t>(parts);
  result.block_size = static_cast<std::uint32_t>(32 * shape.warps_m * shape.warps_n);
  result.shared_bytes = static_cast<std::uint32_t>(shared_bytes(problem, shape));
  return result;
}

}  // namespace pajamas::cuda
