// See cuda_detection_pipeline.h.
#include "targets/cuda/runtime/cuda_detection_pipeline.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>

#include "pajamas/error.h"
#include "targets/cuda/runtime/range.h"

namespace pajamas::cuda {
namespace {

static_assert(kMaxPipelineBoxes == kernels::kMaxKept);

constexpr std::size_t kAlignment = 256;
/// Pictures up to here go through page-locked memory, which is kept; larger ones are copied as they lie.
constexpr std::size_t kMaxStagedBytes = std::size_t{64} << 20;

std::size_t aligned(std::size_t size_bytes) { return (size_bytes + kAlignment - 1) / kAlignment * kAlignment; }

kernels::BoxLayout layout_of(BoxRows rows) {
  switch (rows) {
    case BoxRows::kYoloV8: return kernels::BoxLayout::kYoloV8;
    case BoxRows::kYoloV5: return kernels::BoxLayout::kYoloV5;
    case BoxRows::kYoloEndToEnd: break;
  }
  return kernels::BoxLayout::kYoloEndToEnd;
}

/// Of an output's element type; the types that detection kernels read.
std::size_t output_element_bytes(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }

}  // namespace

CudaDetectionPipeline::CudaDetectionPipeline(std::shared_ptr<const CudaEngine> engine,
                                             const DetectionPipelineRequest& request)
    : engine_(engine), request_(request), session_(std::move(engine)) {}

CudaDetectionPipeline::~CudaDetectionPipeline() {
  try {
    engine_->device().make_current();
    for (Lane& lane : lanes_) {
      for (Slot& slot : lane.slots) cudaStreamSynchronize(slot.stream.get());
    }
    cudaStreamSynchronize(session_.stream());
  } catch (const Error&) {
    // A destructor can tell nobody; a device that is gone has freed the memory too.
  }
}

std::unique_ptr<CudaDetectionPipeline> CudaDetectionPipeline::make(std::shared_ptr<const CudaEngine> engine,
                                                                   const DetectionPipelineRequest& request) {
  engine->device().make_current();
  std::unique_ptr<CudaDetectionPipeline> pipeline(new CudaDetectionPipeline(std::move(engine), request));
  if (!pipeline->fits()) return nullptr;
  pipeline->allocate();
  return pipeline;
}

bool CudaDetectionPipeline::fits() {
  const std::vector<TensorInfo>& inputs = engine_->inputs();
  if (inputs.size() != 1 || request_.picture.input_index != 0 || request_.output_index >= engine_->outputs().size()) {
    return false;
  }
  input_dtype_ = inputs[0].dtype;
  output_dtype_ = engine_->outputs()[request_.output_index].dtype;
  if (input_dtype_ != DType::kFloat32 && input_dtype_ != DType::kFloat16 && input_dtype_ != DType::kBfloat16) {
    return false;
  }
  if (output_dtype_ != DType::kFloat32 && output_dtype_ != DType::kFloat16) return false;
  const ShapeProfile& profile = engine_->index().profiles[0];
  if (profile.opt.rank() != (request_.picture.has_batch ? 4U : 3U)) return false;
  std::size_t tuned_batch = 1;
  if (request_.picture.has_batch) {
    is_batch_fixed_ = profile.min[0] == profile.max[0];
    tuned_batch = static_cast<std::size_t>(profile.opt[0]);
    const auto max_batch = static_cast<std::size_t>(profile.max[0]);
    if (!is_batch_fixed_ && profile.min[0] != 1) return false;
    max_batch_ = is_batch_fixed_ ? max_batch : std::clamp<std::size_t>(request_.max_batch, 1, max_batch);
  }
  const InputShapes tuned = shapes_of(tuned_batch);
  for (std::size_t axis = 0; axis < profile.opt.rank(); ++axis) {
    if (tuned[0][axis] < profile.min[axis] || tuned[0][axis] > profile.max[axis]) return false;
  }
  // Of the shapes that the engine was tuned for, whose plan is there.
  session_.set_shapes(tuned);
  const Shape& shape = session_.output_shape(request_.output_index);
  const std::size_t first = shape.rank() == 3 ? 1 : 0;
  if (first == 1 ? shape[0] != static_cast<std::int64_t>(tuned_batch) : shape.rank() != 2 || tuned_batch != 1) {
    return false;
  }
  if (first == 0 && request_.picture.has_batch && !is_batch_fixed_) return false;
  const bool has_columns = request_.rows == BoxRows::kYoloV8;
  const std::int64_t num_boxes = shape[first + (has_columns ? 1 : 0)];
  const std::int64_t row_size = shape[first + (has_columns ? 0 : 1)];
  const std::int64_t num_before = request_.rows == BoxRows::kYoloV5 ? 5 : 4;
  std::int64_t num_classes = row_size - num_before;
  if (request_.rows == BoxRows::kYoloEndToEnd) {
    if (row_size != 6) return false;
    num_classes = request_.num_classes;
  } else if (num_classes < 1 || (request_.num_classes > 0 && num_classes != request_.num_classes)) {
    return false;
  }
  if (num_boxes < 1 || num_boxes >= kernels::kMaxDetectionBoxes || num_classes >= kernels::kMaxDetectionClasses) {
    return false;
  }
  num_boxes_ = static_cast<std::int32_t>(num_boxes);
  num_classes_ = static_cast<std::int32_t>(num_classes);
  output_bytes_ = static_cast<std::size_t>(num_boxes * row_size) * output_element_bytes(output_dtype_);
  input_bytes_ = session_.input_bytes(0) / tuned_batch;
  return true;
}

InputShapes CudaDetectionPipeline::shapes_of(std::size_t batch) const {
  const PictureInput& picture = request_.picture;
  Shape shape;
  if (picture.has_batch) shape.push_back(static_cast<std::int64_t>(batch));
  if (!picture.is_nhwc) shape.push_back(3);
  shape.push_back(picture.height_px);
  shape.push_back(picture.width_px);
  if (picture.is_nhwc) shape.push_back(3);
  return {shape};
}

void CudaDetectionPipeline::allocate() {
  const std::size_t values_bytes = aligned(request_.picture.values.size() * sizeof(float));
  const std::size_t parameters_bytes = aligned(ParameterLayout::size_bytes(max_batch_));
  const std::size_t results_bytes = aligned(max_batch_ * sizeof(kernels::KeptBoxes));
  scratch_bytes_ = aligned(kernels::detection_scratch_bytes(num_boxes_));
  const std::size_t total = values_bytes + kAlignment + parameters_bytes + results_bytes + max_batch_ * scratch_bytes_;
  require_device_memory(total, "a pipeline from pictures to boxes");
  memory_ = DeviceMemory(total);
  std::byte* next = memory_.data();
  const auto take = [&](std::size_t size_bytes) { return std::exchange(next, next + size_bytes); };
  device_values_ = take(values_bytes);
  device_blank_ = take(kAlignment);
  device_parameters_ = take(parameters_bytes);
  device_results_ = take(results_bytes);
  device_scratch_ = take(max_batch_ * scratch_bytes_);
  const cudaStream_t stream = session_.stream();
  check(cudaMemsetAsync(memory_.data(), 0, total, stream), "clearing a pipeline's memory");
  check(cudaMemcpyAsync(device_values_, request_.picture.values.data(), request_.picture.values.size() * sizeof(float),
                        cudaMemcpyHostToDevice, stream),
        "copying the levels' values to the GPU");
  for (Lane& lane : lanes_) {
    lane.parameters.reserve(parameters_bytes);
    lane.results.reserve(results_bytes);
    std::memset(lane.parameters.data(), 0, parameters_bytes);
  }
  for (std::size_t i = 1; i < max_batch_; ++i) branch_streams_.emplace_back();
  for (std::size_t i = 0; i < max_batch_; ++i) branch_events_.emplace_back(false);
  session_.synchronize();
}

bool CudaDetectionPipeline::decodes_jpeg() {
  if (is_jpeg_asked_) return jpeg_ != nullptr;
  is_jpeg_asked_ = true;
  try {
    engine_->device().make_current();
    jpeg_ = JpegService::best();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kUsage) throw;
    why_no_jpeg_ = error.message();
  }
  return jpeg_ != nullptr;
}

CudaDetectionPipeline::Slot& CudaDetectionPipeline::slot(std::size_t lane, std::size_t index) {
  if (lane >= kNumLanes || index >= max_batch_ || lanes_[lane].is_started) {
    throw Error(ErrorKind::kInternal, "a picture is given to a run that does not take it");
  }
  std::list<Slot>& slots = lanes_[lane].slots;
  while (slots.size() <= index) slots.emplace_back();
  return *std::next(slots.begin(), static_cast<std::ptrdiff_t>(index));
}

std::byte* CudaDetectionPipeline::reserve_pixels(Slot& slot, std::size_t size_bytes) {
  const bool is_oversized = slot.pixels.size_bytes() > kMaxStagedBytes && size_bytes <= kMaxStagedBytes;
  if (slot.pixels.size_bytes() < size_bytes || is_oversized) {
    slot.stream.synchronize();
    slot.pixels = DeviceMemory();
    // A little more than asked, so that pictures of slowly growing sizes do not allocate each time.
    slot.pixels = DeviceMemory(aligned(size_bytes + size_bytes / 4));
  }
  return slot.pixels.data();
}

kernels::PicturePlacement& CudaDetectionPipeline::placement_of(std::size_t lane, std::size_t index) {
  return reinterpret_cast<kernels::PicturePlacement*>(lanes_[lane].parameters.data() +
                                                      ParameterLayout::kPlacements)[index];
}

void CudaDetectionPipeline::give(std::size_t lane, std::size_t index, const Placement& placement, int exif_orientation,
                                 int stored_width_px, int stored_height_px, std::int64_t pitch_bytes) {
  const kernels::PixelWalk walk =
      kernels::upright_walk(exif_orientation, stored_width_px, stored_height_px, pitch_bytes);
  Slot& given = slot(lane, index);
  kernels::PicturePlacement& place = placement_of(lane, index);
  place.pixels = reinterpret_cast<const std::uint8_t*>(given.pixels.data()) + walk.start_bytes;
  place.step_x_bytes = walk.step_x_bytes;
  place.step_y_bytes = walk.step_y_bytes;
  place.source_width_px = placement.source_width_px;
  place.source_height_px = placement.source_height_px;
  place.scaled_width_px = placement.scaled_width_px;
  place.scaled_height_px = placement.scaled_height_px;
  place.offset_x_px = placement.offset_x_px;
  place.offset_y_px = placement.offset_y_px;
  given.is_given.record(given.stream.get());
}

bool CudaDetectionPipeline::give_jpeg(std::size_t lane, std::size_t index, std::span<const std::byte> jpeg,
                                      int width_px, int height_px, int exif_orientation, const Placement& placement) {
  if (!decodes_jpeg() || !JpegDecoder::takes(width_px, height_px)) return false;
  const Range range("pajamas decode");
  engine_->device().make_current();
  Slot& given = slot(lane, index);
  const std::size_t pitch = aligned(static_cast<std::size_t>(width_px) * 3);
  std::byte* pixels = reserve_pixels(given, pitch * static_cast<std::size_t>(height_px));
  if (!given.decoder) given.decoder.emplace(jpeg_);
  if (!given.decoder->decode(jpeg, pixels, pitch, given.stream.get())) {
    last_refusal_ = given.decoder->last_refusal();
    // A decoder that has failed is in no known state.
    given.stream.synchronize();
    given.decoder.reset();
    return false;
  }
  give(lane, index, placement, exif_orientation, width_px, height_px, static_cast<std::int64_t>(pitch));
  ++num_decoded_;
  return true;
}

void CudaDetectionPipeline::give_pixels(std::size_t lane, std::size_t index, std::span<const std::uint8_t> pixels,
                                        const Placement& placement) {
  const Range range("pajamas upload");
  const std::size_t row_bytes = static_cast<std::size_t>(placement.source_width_px) * 3;
  if (pixels.size() != row_bytes * static_cast<std::size_t>(placement.source_height_px)) {
    throw Error(ErrorKind::kInternal, "a picture's pixels do not fit its placement");
  }
  engine_->device().make_current();
  Slot& given = slot(lane, index);
  std::byte* out = reserve_pixels(given, pixels.size());
  const void* from = pixels.data();
  if (pixels.size() <= kMaxStagedBytes) {
    given.stream.synchronize();  // A picture that was given and replaced may still be on its way.
    given.staging.reserve(pixels.size());
    std::memcpy(given.staging.data(), pixels.data(), pixels.size());
    from = given.staging.data();
  }
  check(cudaMemcpyAsync(out, from, pixels.size(), cudaMemcpyHostToDevice, given.stream.get()),
        "copying a picture to the GPU");
  if (from == pixels.data()) given.stream.synchronize();
  give(lane, index, placement, 1, placement.source_width_px, placement.source_height_px,
       static_cast<std::int64_t>(row_bytes));
  ++num_given_;
}

void CudaDetectionPipeline::start(std::size_t lane_index, std::size_t count, const DetectionLimits& limits) {
  const Range range("pajamas detect");
  engine_->device().make_current();
  if (count == 0 || limits.max_boxes > kMaxPipelineBoxes) {
    throw Error(ErrorKind::kInternal, "a run of no pictures, or of more boxes than a pipeline gives");
  }
  slot(lane_index, count - 1);  // Checks all three.
  Lane& lane = lanes_[lane_index];
  // Powers of two, so that a last few pictures do not cost a plan of their own for each number of them.
  const std::size_t batch = is_batch_fixed_ ? max_batch_ : std::min(std::bit_ceil(count), max_batch_);
  const Captured& captured = this->captured(batch);
  kernels::DetectionThresholds thresholds;
  thresholds.score = limits.score_threshold;
  thresholds.iou = limits.iou_threshold;
  thresholds.max_boxes = static_cast<std::int32_t>(limits.max_boxes);
  thresholds.is_class_agnostic = limits.is_class_agnostic ? 1 : 0;
  thresholds.is_suppressed = limits.is_suppressed ? 1 : 0;
  std::memcpy(lane.parameters.data() + ParameterLayout::kThresholds, &thresholds, sizeof(thresholds));
  for (std::size_t i = count; i < batch; ++i) {
    kernels::PicturePlacement blank;
    blank.pixels = reinterpret_cast<const std::uint8_t*>(device_blank_);
    placement_of(lane_index, i) = blank;
  }
  const cudaStream_t stream = session_.stream();
  std::size_t index = 0;
  for (const Slot& given : lane.slots) {
    if (index++ == count) break;
    check(cudaStreamWaitEvent(stream, given.is_given.get(), 0), "waiting for a picture");
  }
  lane.begin.record(stream);
  captured.graphs[lane_index].launch(stream);
  lane.end.record(stream);
  lane.count = count;
  lane.is_started = true;
}

PipelineRun CudaDetectionPipeline::wait(std::size_t lane_index) {
  Lane& lane = lanes_.at(lane_index);
  if (!lane.is_started) throw Error(ErrorKind::kInternal, "a run is waited for that was not started");
  engine_->device().make_current();
  lane.is_started = false;
  check(cudaEventSynchronize(lane.end.get()), "detecting on the GPU");
  PipelineRun run;
  run.device = std::chrono::nanoseconds(static_cast<std::int64_t>(lane.end.us_since(lane.begin) * 1000.0));
  run.pictures.resize(lane.count);
  const auto* results = reinterpret_cast<const kernels::KeptBoxes*>(lane.results.data());
  for (std::size_t i = 0; i < lane.count; ++i) {
    const kernels::KeptBoxes& kept = results[i];
    FoundBoxes& found = run.pictures[i];
    found.is_doubtful = kept.is_invalid != 0;
    const auto count = static_cast<std::size_t>(std::clamp<std::int32_t>(kept.count, 0, kernels::kMaxKept));
    found.boxes.reserve(count);
    for (std::size_t k = 0; k < count; ++k) {
      const kernels::KeptBox& box = kept.boxes[k];
      found.boxes.push_back({{box.x1, box.y1, box.x2, box.y2}, box.score, box.class_index});
    }
  }
  return run;
}

const CudaDetectionPipeline::Captured& CudaDetectionPipeline::captured(std::size_t batch) {
  session_.set_shapes(shapes_of(batch));
  const std::shared_ptr<const PlanInstance> instance = session_.shared_instance();
  const auto known =
      std::find_if(captured_.begin(), captured_.end(), [&](const Captured& entry) { return entry.batch == batch; });
  if (known != captured_.end() && known->instance == instance) {
    captured_.splice(captured_.begin(), captured_, known);
    return captured_.front();
  }
  // A graph may still run that is dropped here, and memory be used that it refers to.
  session_.synchronize();
  // The session has moved to a larger arena, or made this plan anew: what refers to the old one goes.
  captured_.remove_if(
      [&](const Captured& entry) { return entry.batch == batch || entry.instance->arena() != instance->arena(); });
  Captured entry;
  entry.batch = batch;
  entry.instance = instance;
  const cudaStream_t stream = session_.stream();
  const Lanes lanes(instance->plan());
  for (std::size_t lane = 0; lane < kNumLanes; ++lane) {
    if (lane == 0) {
      // Once outside of a capture: code is loaded at the first launch, which a capture may refuse. On blank pictures.
      auto* placements =
          reinterpret_cast<kernels::PicturePlacement*>(device_parameters_ + ParameterLayout::kPlacements);
      std::vector<kernels::PicturePlacement> blank(batch);
      for (auto& placement : blank) placement.pixels = reinterpret_cast<const std::uint8_t*>(device_blank_);
      check(cudaMemcpyAsync(placements, blank.data(), batch * sizeof(kernels::PicturePlacement), cudaMemcpyHostToDevice,
                            stream),
            "copying geometry to the GPU");
      kernels::launch_place_picture(picture_tensor(*instance, 0), placements, stream);
      kernels::launch_detect(detection_work(*instance, 0), stream);
      session_.synchronize();
    }
    entry.graphs[lane] = GraphExec::capture(stream, [&] { enqueue(lane, batch, *instance, lanes); });
  }
  captured_.push_front(std::move(entry));
  while (captured_.size() > kMaxPlans) captured_.pop_back();
  return captured_.front();
}

template <typename Work>
void CudaDetectionPipeline::enqueue_side_by_side(std::size_t batch, const Work& work) {
  const cudaStream_t stream = session_.stream();
  const auto wait = [](cudaStream_t waiting, const Event& event) {
    check(cudaStreamWaitEvent(waiting, event.get(), 0), "joining branches of a graph");
  };
  auto event = branch_events_.begin();
  const Event& fork = *event++;
  if (batch > 1) fork.record(stream);
  work(0, stream);
  auto branch = branch_streams_.begin();
  for (std::size_t i = 1; i < batch; ++i, ++branch, ++event) {
    wait(branch->get(), fork);
    work(i, branch->get());
    event->record(branch->get());
    wait(stream, *event);
  }
}

kernels::PictureTensor CudaDetectionPipeline::picture_tensor(const PlanInstance& instance, std::size_t index) const {
  kernels::PictureTensor tensor;
  tensor.out = instance.input(0) + index * input_bytes_;
  tensor.dtype = input_dtype_;
  tensor.width_px = request_.picture.width_px;
  tensor.height_px = request_.picture.height_px;
  tensor.is_nhwc = request_.picture.is_nhwc;
  tensor.is_bgr = request_.picture.is_bgr;
  tensor.pad_level = request_.picture.pad_level;
  tensor.values = reinterpret_cast<const float*>(device_values_);
  return tensor;
}

kernels::DetectionWork CudaDetectionPipeline::detection_work(const PlanInstance& instance, std::size_t index) const {
  kernels::DetectionWork work;
  work.raw = instance.output(request_.output_index) + index * output_bytes_;
  work.dtype = output_dtype_;
  work.layout = layout_of(request_.rows);
  work.num_boxes = num_boxes_;
  work.num_classes = num_classes_;
  work.thresholds =
      reinterpret_cast<const kernels::DetectionThresholds*>(device_parameters_ + ParameterLayout::kThresholds);
  work.scratch = device_scratch_ + index * scratch_bytes_;
  work.result = reinterpret_cast<kernels::KeptBoxes*>(device_results_) + index;
  return work;
}

void CudaDetectionPipeline::enqueue(std::size_t lane, std::size_t batch, const PlanInstance& instance,
                                    const Lanes& lanes) {
  const cudaStream_t stream = session_.stream();
  check(cudaMemcpyAsync(device_parameters_, lanes_[lane].parameters.data(), ParameterLayout::size_bytes(batch),
                        cudaMemcpyHostToDevice, stream),
        "copying geometry to the GPU");
  const auto* placements =
      reinterpret_cast<const kernels::PicturePlacement*>(device_parameters_ + ParameterLayout::kPlacements);
  enqueue_side_by_side(batch, [&](std::size_t index, cudaStream_t branch) {
    kernels::launch_place_picture(picture_tensor(instance, index), placements + index, branch);
  });
  const Plan& plan = instance.plan();
  plan.enqueue(stream, instance.addresses(), instance.arena(), plan.uses_lanes() ? &lanes : nullptr);
  enqueue_side_by_side(batch, [&](std::size_t index, cudaStream_t branch) {
    kernels::launch_detect(detection_work(instance, index), branch);
  });
  check(cudaMemcpyAsync(lanes_[lane].results.data(), device_results_, batch * sizeof(kernels::KeptBoxes),
                        cudaMemcpyDeviceToHost, stream),
        "copying boxes from the GPU");
}

nlohmann::json CudaDetectionPipeline::describe() {
  nlohmann::json description{{"jpeg_decoder", decodes_jpeg() ? to_string(jpeg_->backend()) : "host"},
                             {"jpeg_library", jpeg_ ? jpeg_->library().version : why_no_jpeg_},
                             {"pictures_decoded_on_device", num_decoded_},
                             {"pictures_given_as_pixels", num_given_},
                             {"max_batch", max_batch_}};
  if (jpeg_) description["jpeg_flags"] = jpeg_->flags();
  if (!last_refusal_.empty()) description["last_refusal"] = last_refusal_;
  return description;
}

std::unique_ptr<DetectionPipeline> CudaEngine::new_detection_pipeline(const DetectionPipelineRequest& request) const {
  return CudaDetectionPipeline::make(shared_from_this(), request);
}

}  // namespace pajamas::cuda
