// See nvrtc_kernel.h.
#include "targets/cuda/backends/nvrtc_kernel.h"

#include <array>
#include <cstring>

#include "targets/cuda/runtime/driver.h"

namespace pajamas::cuda {
namespace {

constexpr std::size_t kDefaultSharedBytes = 48 * 1024;  ///< More must be asked for.
constexpr std::uint32_t kStateVersion = 2;

/// Head of the state, written as it lies in memory; the name of the entry and the cubin follow.
struct Head {
  std::uint32_t version = kStateVersion;
  LaunchGeometry geometry;
  std::uint32_t entry_bytes = 0;
  std::uint32_t num_arguments = 0;
};
static_assert(sizeof(Head) == 44, "no padding");

class NvrtcKernel final : public StepKernel {
 public:
  NvrtcKernel(DeviceContext& device, const Program& program, std::vector<ValueId> arguments, std::string tactic,
              const LaunchGeometry& geometry, std::string entry, std::vector<std::byte> cubin,
              std::vector<MatrixBoxes> boxes)
      : program_(program),
        boxes_(std::move(boxes)),
        arguments_(std::move(arguments)),
        tactic_(std::move(tactic)),
        geometry_(geometry),
        entry_(std::move(entry)),
        cubin_(std::move(cubin)),
        kernel_(device.load_kernel(cubin_, entry_)) {
    if (geometry_.shared_bytes > kDefaultSharedBytes) {
      check(driver().func_set_attribute(kernel_.function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                        static_cast<int>(geometry_.shared_bytes)),
            "asking for shared memory");
    }
    if (!boxes_.empty() &&
        (driver().tensor_map_encode_tiled == nullptr || driver().tensor_map_encode_im2col == nullptr)) {
      throw Error(ErrorKind::kUnsupported, "the driver is too old for the copy engine of this GPU", tactic_,
                  "update it to one of CUDA 12 or later");
    }
  }

  void launch(const LaunchContext& context) const override {
    std::vector<CUtensorMap> maps(boxes_.size());
    std::vector<std::byte*> addresses(arguments_.size());
    std::vector<void*> pointers;
    for (std::size_t i = 0; i < boxes_.size(); ++i) {
      maps[i] = tensor_map(context, boxes_[i]);
      pointers.push_back(&maps[i]);
    }
    for (std::size_t i = 0; i < arguments_.size(); ++i) {
      addresses[i] = context.address(program_, arguments_[i]);
      pointers.push_back(&addresses[i]);
    }
    CUlaunchConfig config{};
    config.gridDimX = geometry_.grid[0];
    config.gridDimY = geometry_.grid[1];
    config.gridDimZ = geometry_.grid[2];
    config.blockDimX = geometry_.block[0];
    config.blockDimY = geometry_.block[1];
    config.blockDimZ = geometry_.block[2];
    config.sharedMemBytes = geometry_.shared_bytes;
    config.hStream = context.stream;
    CUlaunchAttribute attribute{};
    if (geometry_.is_dependent_launch != 0) {
      attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
      attribute.value.programmaticStreamSerializationAllowed = 1;
      config.attrs = &attribute;
      config.numAttrs = 1;
    }
    check(driver().launch_kernel_ex(&config, kernel_.function, pointers.data(), nullptr), "launching " + tactic_);
  }
  std::size_t workspace_bytes() const override { return 0; }
  std::string tactic() const override { return tactic_; }
  std::vector<std::byte> state() const override {
    Head head;
    head.geometry = geometry_;
    head.entry_bytes = static_cast<std::uint32_t>(entry_.size());
    head.num_arguments = static_cast<std::uint32_t>(boxes_.size() + arguments_.size());
    std::vector<std::byte> state(sizeof head + entry_.size() + cubin_.size());
    std::memcpy(state.data(), &head, sizeof head);
    std::memcpy(state.data() + sizeof head, entry_.data(), entry_.size());
    std::memcpy(state.data() + sizeof head + entry_.size(), cubin_.data(), cubin_.size());
    return state;
  }

 private:
  CUtensorMap pixel_map(const LaunchContext& context, const MatrixBoxes& boxes) const {
    const PixelGrid& pixels = *boxes.pixels;
    const auto unsigned_of = [](std::int64_t number) { return static_cast<cuuint64_t>(number); };
    const std::array<cuuint64_t, 4> extents{unsigned_of(boxes.columns), unsigned_of(pixels.width),
                                            unsigned_of(pixels.height), unsigned_of(pixels.images)};
    const std::array<cuuint64_t, 3> strides{unsigned_of(boxes.row_stride * 2), unsigned_of(pixels.line_stride * 2),
                                            unsigned_of(pixels.image_stride * 2)};
    const std::array<int, 2> first{pixels.first_x, pixels.first_y}, last{pixels.last_x, pixels.last_y};
    const std::array<cuuint32_t, 4> steps{1, static_cast<cuuint32_t>(pixels.stride_x),
                                          static_cast<cuuint32_t>(pixels.stride_y), 1};
    CUtensorMap map;
    check(driver().tensor_map_encode_im2col(
              &map, boxes.is_bfloat ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 4,
              context.address(program_, boxes.value), extents.data(), strides.data(), first.data(), last.data(),
              static_cast<cuuint32_t>(boxes.box_columns), static_cast<cuuint32_t>(boxes.box_rows), steps.data(),
              CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
              CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
          "describing the pixels of " + tactic_);
    return map;
  }

  CUtensorMap tensor_map(const LaunchContext& context, const MatrixBoxes& boxes) const {
    if (boxes.pixels) return pixel_map(context, boxes);
    std::vector<cuuint64_t> extents{static_cast<cuuint64_t>(boxes.columns)}, strides_bytes;
    std::vector<cuuint32_t> box{static_cast<cuuint32_t>(boxes.box_columns)};
    std::vector<MatrixBoxes::Axis> axes = boxes.axes;
    if (axes.empty()) axes.push_back({boxes.rows, boxes.row_stride, boxes.box_rows});
    for (const MatrixBoxes::Axis& axis : axes) {
      extents.push_back(static_cast<cuuint64_t>(axis.extent));
      strides_bytes.push_back(static_cast<cuuint64_t>(axis.stride * boxes.element_bytes));
      box.push_back(static_cast<cuuint32_t>(axis.box));
    }
    const std::vector<cuuint32_t> steps(box.size(), 1);
    CUtensorMap map;
    const CUtensorMapDataType type = boxes.element_bytes == 1 ? CU_TENSOR_MAP_DATA_TYPE_UINT8
                                     : boxes.is_bfloat        ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                                              : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    check(driver().tensor_map_encode_tiled(
              &map, type, static_cast<cuuint32_t>(box.size()), context.address(program_, boxes.value), extents.data(),
              strides_bytes.data(), box.data(), steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
              CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
          "describing the boxes of " + tactic_);
    return map;
  }

  const Program& program_;
  std::vector<MatrixBoxes> boxes_;
  std::vector<ValueId> arguments_;
  std::string tactic_;
  LaunchGeometry geometry_;
  std::string entry_;
  std::vector<std::byte> cubin_;
  CompiledKernel kernel_;
};

}  // namespace

std::unique_ptr<StepKernel> compile_kernel(DeviceContext& device, const Program& program,
                                           std::vector<ValueId> arguments, std::string tactic,
                                           const LaunchGeometry& geometry, const std::string& source,
                                           const std::string& entry, std::vector<MatrixBoxes> boxes) {
  return std::make_unique<NvrtcKernel>(device, program, std::move(arguments), std::move(tactic), geometry, entry,
                                       device.compile_to_cubin(source, entry), std::move(boxes));
}

std::unique_ptr<StepKernel> restore_kernel(DeviceContext& device, const Program& program,
                                           std::vector<ValueId> arguments, std::string tactic,
                                           std::span<const std::byte> state, std::vector<MatrixBoxes> boxes) {
  Head head;
  if (state.size() < sizeof head) throw Error(ErrorKind::kBadInput, "the kernel " + tactic + " is cut off");
  std::memcpy(&head, state.data(), sizeof head);
  if (head.version != kStateVersion || head.entry_bytes > state.size() - sizeof head) {
    throw Error(ErrorKind::kUnsupported, "the kernel " + tactic + " was kept by another version of this program");
  }
  if (head.num_arguments != boxes.size() + arguments.size()) {
    throw Error(ErrorKind::kUnsupported, "the kernel " + tactic + " was made for another step");
  }
  const auto rest = state.subspan(sizeof head);
  std::string entry(reinterpret_cast<const char*>(rest.data()), head.entry_bytes);
  const auto cubin = rest.subspan(head.entry_bytes);
  return std::make_unique<NvrtcKernel>(device, program, std::move(arguments), std::move(tactic), head.geometry,
                                       std::move(entry), std::vector<std::byte>(cubin.begin(), cubin.end()),
                                       std::move(boxes));
}

}  // namespace pajamas::cuda
