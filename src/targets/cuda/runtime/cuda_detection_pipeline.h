// DetectionPipeline on the GPU: decode into device memory, then one CUDA graph for each batch that copies the geometry,
// places the pictures, runs the engine, finds the boxes and copies them back. Kernels: src/kernels/; decoding:
// jpeg_decoder.h.
#pragma once

#include <array>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/detection_pipeline.h"
#include "kernels/detection_kernels.h"
#include "kernels/picture_kernels.h"
#include "targets/cuda/runtime/jpeg_decoder.h"
#include "targets/cuda/runtime/pinned_memory.h"
#include "targets/cuda/runtime/session.h"

namespace pajamas::cuda {

class CudaDetectionPipeline final : public DetectionPipeline {
 public:
  /// See DetectionPipelineSource::new_detection_pipeline.
  static std::unique_ptr<CudaDetectionPipeline> make(std::shared_ptr<const CudaEngine> engine,
                                                     const DetectionPipelineRequest& request);
  ~CudaDetectionPipeline() override;

  std::size_t max_batch() const override { return max_batch_; }
  bool decodes_jpeg() override;
  bool give_jpeg(std::size_t lane, std::size_t index, std::span<const std::byte> jpeg, int width_px, int height_px,
                 int exif_orientation, const Placement& placement) override;
  void give_pixels(std::size_t lane, std::size_t index, std::span<const std::uint8_t> pixels,
                   const Placement& placement) override;
  void start(std::size_t lane, std::size_t count, const DetectionLimits& limits) override;
  PipelineRun wait(std::size_t lane) override;
  nlohmann::json describe() override;

  const DeviceSession& session() const noexcept { return session_; }

 private:
  /// A picture on its way. Each has a stream of its own, so that those of one run are decoded side by side.
  struct Slot {
    Stream stream;
    Event is_given{false};
    DeviceMemory pixels;
    PinnedMemory staging;
    std::optional<JpegDecoder> decoder;
  };
  struct Lane {
    std::list<Slot> slots;  ///< [max_batch], made when they are first needed.
    PinnedMemory parameters;
    PinnedMemory results;
    Event begin, end;
    std::size_t count = 0;
    bool is_started = false;
  };
  /// The graphs of a batch, one a lane; they keep the plan and the memory that they refer to.
  struct Captured {
    std::size_t batch = 0;
    std::shared_ptr<const PlanInstance> instance;
    std::array<GraphExec, kNumLanes> graphs;
  };
  /// Where the parts of a block of memory begin, in bytes; the same on both sides.
  struct ParameterLayout {
    static constexpr std::size_t kThresholds = 0;
    static constexpr std::size_t kPlacements = 64;
    static std::size_t size_bytes(std::size_t batch) { return kPlacements + batch * sizeof(kernels::PicturePlacement); }
  };

  CudaDetectionPipeline(std::shared_ptr<const CudaEngine> engine, const DetectionPipelineRequest& request);
  /// Whether the engine's types and shapes fit; takes the sizes of the output from them.
  bool fits();
  void allocate();
  InputShapes shapes_of(std::size_t batch) const;
  Slot& slot(std::size_t lane, std::size_t index);
  std::byte* reserve_pixels(Slot& slot, std::size_t size_bytes);
  kernels::PicturePlacement& placement_of(std::size_t lane, std::size_t index);
  void give(std::size_t lane, std::size_t index, const Placement& placement, int exif_orientation, int stored_width_px,
            int stored_height_px, std::int64_t pitch_bytes);
  const Captured& captured(std::size_t batch);
  void enqueue(std::size_t lane, std::size_t batch, const PlanInstance& instance, const class Lanes& lanes);
  template <typename Work>
  void enqueue_side_by_side(std::size_t batch, const Work& work);
  kernels::PictureTensor picture_tensor(const PlanInstance& instance, std::size_t index) const;
  kernels::DetectionWork detection_work(const PlanInstance& instance, std::size_t index) const;

  std::shared_ptr<const CudaEngine> engine_;
  DetectionPipelineRequest request_;
  DeviceSession session_;
  bool is_batch_fixed_ = false;
  std::size_t max_batch_ = 1;
  std::int32_t num_boxes_ = 0;
  std::int32_t num_classes_ = 0;
  std::size_t input_bytes_ = 0;   ///< Of one picture.
  std::size_t output_bytes_ = 0;  ///< Of one picture.
  DType input_dtype_ = DType::kFloat32;
  DType output_dtype_ = DType::kFloat32;

  // One block of device memory; used by one run after the other on the session's stream.
  DeviceMemory memory_;
  std::byte* device_values_ = nullptr;
  std::byte* device_blank_ = nullptr;  ///< A pixel for rows of a fixed batch that have no picture.
  std::byte* device_parameters_ = nullptr;
  std::byte* device_results_ = nullptr;
  std::byte* device_scratch_ = nullptr;
  std::size_t scratch_bytes_ = 0;  ///< Of one picture.

  std::list<Stream> branch_streams_;
  std::list<Event> branch_events_;
  std::array<Lane, kNumLanes> lanes_;
  std::list<Captured> captured_;  ///< The last used first, at most kMaxPlans.

  bool is_jpeg_asked_ = false;
  std::shared_ptr<const JpegService> jpeg_;  ///< Null: JPEGs are decoded on the host.
  std::string why_no_jpeg_;
  std::string last_refusal_;
  std::uint64_t num_decoded_ = 0;
  std::uint64_t num_given_ = 0;
};

}  // namespace pajamas::cuda
