// The detection task: Detector of pajamas/detection.h and the runner behind it.
#include "pajamas/detection.h"

#include <algorithm>
#include <cmath>

#include "bundle/bundle.h"
#include "engine/engine_loader.h"
#include "engine/tensor_lookup.h"
#include "pajamas/error.h"
#include "tasks/detection_runner.h"
#include "tasks/registry.h"
#include "tasks/task_checks.h"
#include "tensor/half.h"

namespace pajamas {

namespace {

float checked_fraction(double value, const char* name) {
  if (!(value >= 0 && value <= 1)) {
    throw Error(ErrorKind::kUsage, std::string(name) + " is " + std::to_string(value) + ", not within 0..1");
  }
  return static_cast<float>(value);
}

std::string label_of(const DetectionFacts& facts, std::int32_t class_index) {
  const auto index = static_cast<std::size_t>(class_index);
  if (index < facts.labels.size() && !facts.labels[index].empty()) return facts.labels[index];
  return std::to_string(class_index);
}

/// Outputs past this are not probed before the run: the check must stay cheap.
constexpr std::int64_t kMaxProbedElements = 64'000'000;

/// torchvision's Faster R-CNN gives the boxes of one picture without saying whose they are.
std::size_t limited_batch(const DetectionFacts& facts, std::size_t max_batch) {
  return facts.head == DetectionHead::kFasterRcnn ? 1 : max_batch;
}

}  // namespace

ResolvedDetectorOptions resolve_options(const DetectorOptions& options, const DetectionFacts& facts) {
  ResolvedDetectorOptions resolved;
  resolved.score_threshold =
      checked_fraction(options.score_threshold.value_or(facts.score_threshold), "the score threshold");
  resolved.iou_threshold = checked_fraction(options.iou_threshold.value_or(facts.iou_threshold), "the IoU threshold");
  const std::int64_t max_detections = options.max_detections.value_or(static_cast<int>(facts.max_detections));
  if (max_detections < 1) {
    throw Error(ErrorKind::kUsage,
                "the most detections to give are " + std::to_string(max_detections) + "; give at least 1");
  }
  resolved.max_detections = static_cast<std::size_t>(max_detections);
  resolved.is_nms_class_agnostic = options.is_nms_class_agnostic;
  // A model that suppresses by itself is left alone, unless the user asks: then the request is honoured on top.
  resolved.is_suppressed =
      needs_suppression(facts.head) || options.is_nms_class_agnostic || options.iou_threshold.has_value();
  return resolved;
}

std::vector<Detection> finish_detections(const BoxCandidates& candidates, const Placement& placement,
                                         const ResolvedDetectorOptions& options, const DetectionFacts& facts) {
  std::vector<std::size_t> kept;
  if (options.is_suppressed) {
    kept =
        suppress_overlaps(candidates, {options.iou_threshold, options.max_detections, options.is_nms_class_agnostic});
  } else {
    kept = order_by_score(candidates);
    if (kept.size() > options.max_detections) kept.resize(options.max_detections);
  }
  std::vector<FoundBox> boxes;
  boxes.reserve(kept.size());
  for (const std::size_t index : kept) {
    boxes.push_back({candidates.box(index), candidates.score[index], candidates.class_index[index]});
  }
  return place_detections(boxes, placement, facts);
}

std::vector<Detection> place_detections(std::span<const FoundBox> boxes, const Placement& placement,
                                        const DetectionFacts& facts) {
  std::vector<Detection> detections;
  detections.reserve(boxes.size());
  for (const FoundBox& found : boxes) {
    const BoxXyxyPx box = placement.to_source(found.box);
    if (!(box.x2 > box.x1 && box.y2 > box.y1)) continue;
    detections.push_back({box, found.class_index, label_of(facts, found.class_index), found.score});
  }
  return detections;
}

DetectionRunner::DetectionRunner(const DetectionFacts& facts, std::shared_ptr<const Engine> engine,
                                 const DetectorOptions& options, std::size_t max_batch, DetectionPath path)
    : facts_(facts),
      options_(resolve_options(options, facts)),
      decoder_(make_head_decoder(facts)),
      session_(std::move(engine), facts.image, limited_batch(facts, max_batch)) {
  require_label_count(facts.labels, facts.num_classes);
  for (const std::string* name : {&facts_.boxes_output, &facts_.scores_output, &facts_.labels_output}) {
    if (!name->empty() || name == &facts_.boxes_output) session_.output_index(*name);
  }
  if (path == DetectionPath::kHost) {
    why_host_ = "the host was asked for";
    return;
  }
  const DetectionPipelineSource* source = find_detection_pipelines(session_.engine());
  if (source == nullptr) {
    why_host_ = "the engine's target has no pipeline of its own";
    return;
  }
  const PipelineRequestOrReason request = pipeline_request(facts_, options_, session_.engine(), session_.max_batch());
  if (const auto* reason = std::get_if<std::string>(&request)) {
    why_host_ = *reason;
    return;
  }
  auto pipeline = source->new_detection_pipeline(std::get<DetectionPipelineRequest>(request));
  if (!pipeline) {
    why_host_ = "the engine's pipeline does not take outputs of this type or shape";
    return;
  }
  pipelined_ = std::make_unique<PipelinedDetection>(facts_, options_, session_.pipeline(), std::move(pipeline),
                                                    [this](const Image& image) {
                                                      return std::move(detect_on_host({&image, 1}).front());
                                                    });
}

HeadOutput DetectionRunner::output(const std::string& name) const {
  if (name.empty()) return {};
  const TensorView view = session_.output(session_.output_index(name));
  if (view.dtype != DType::kFloat32) return {name, to_float32(view)};
  // Borrowed, not copied: the session keeps the memory until its next run.
  const std::size_t size = view.size_bytes();
  return {name, Tensor(DType::kFloat32, view.shape, nullptr, {view.data, size})};
}

std::vector<DetectionResult> DetectionRunner::detect(std::span<const Image> images) {
  if (!pipelined_) return detect_on_host(images);
  std::vector<GivenPicture> pictures;
  pictures.reserve(images.size());
  for (const Image& image : images) pictures.emplace_back(&image);
  return pipelined_->detect(pictures);
}

std::vector<DetectionResult> DetectionRunner::detect_encoded(std::span<const std::span<const std::byte>> files) {
  if (pipelined_) {
    const std::vector<GivenPicture> pictures(files.begin(), files.end());
    return pipelined_->detect(pictures);
  }
  const auto start = std::chrono::steady_clock::now();
  std::vector<Image> images;
  images.reserve(files.size());
  for (const std::span<const std::byte> file : files) {
    try {
      images.push_back(decode_image(file));
    } catch (const Error& error) {
      throw_of_picture(error, images.size(), files.size());
    }
  }
  const auto decoding = std::chrono::steady_clock::now() - start;
  std::vector<DetectionResult> results = detect_on_host(images);
  for (DetectionResult& result : results) {
    result.timing.preprocess += decoding / static_cast<std::int64_t>(files.size());
  }
  return results;
}

nlohmann::json DetectionRunner::describe() const {
  if (!pipelined_) return {{"pictures", "host"}, {"why_host", why_host_}};
  nlohmann::json description = pipelined_->describe();
  description["pictures"] = "device";
  return description;
}

std::vector<DetectionResult> DetectionRunner::detect_on_host(std::span<const Image> images) {
  std::vector<DetectionResult> results(images.size());
  session_.run(images, [&](const ImageGroup& group) {
    HeadRequest request;
    request.boxes = output(facts_.boxes_output);
    request.scores = output(facts_.scores_output);
    request.labels = output(facts_.labels_output);
    request.batch = group.batch;
    request.score_threshold = options_.score_threshold;
    for (std::size_t i = 0; i < group.count; ++i) {
      const auto start = std::chrono::steady_clock::now();
      const Placement& placement = group.placements[i];
      request.picture = i;
      request.canvas_width_px = placement.canvas_width_px;
      request.canvas_height_px = placement.canvas_height_px;
      DetectionResult& result = results[group.begin + i];
      result.detections = finish_detections(decoder_->decode(request), placement, options_, facts_);
      result.timing = group.timing;
      result.timing.postprocess = std::chrono::steady_clock::now() - start;
    }
  });
  return results;
}

void check_detection(const TaskFacts& task, const std::string& part, const std::vector<TensorInfo>& inputs,
                     const std::vector<TensorInfo>& outputs) {
  const DetectionFacts& facts = task.detection.value();
  if (facts.image.part != part) return;
  check_image_input(inputs[find_tensor(inputs, facts.image.input, "input")], facts.image);
  require_label_count(facts.labels, facts.num_classes);
  // A head that takes zeros of the declared shapes takes the real outputs. Outputs of open shape wait for the run.
  const auto decoder = make_head_decoder(facts);
  HeadRequest request;
  request.score_threshold = 1.0F;
  request.canvas_width_px = static_cast<int>(facts.image.width_px);
  request.canvas_height_px = static_cast<int>(facts.image.height_px);
  bool is_known = true;
  const auto probe = [&](const std::string& name, HeadOutput& output) {
    if (name.empty()) return;
    const std::optional<Shape> shape = probe_shape(outputs[find_tensor(outputs, name, "output")]);
    is_known = is_known && shape && shape->num_elements() <= kMaxProbedElements;
    if (!is_known) return;
    output = {name, Tensor(DType::kFloat32, *shape)};
    std::fill_n(output.values.mutable_as<float>().data(), output.values.num_elements(), 0.0F);
    if (shape->rank() > 0 && &output == &request.boxes && facts.head != DetectionHead::kFasterRcnn) {
      request.batch = static_cast<std::size_t>((*shape)[0]);
    }
  };
  probe(facts.boxes_output, request.boxes);
  probe(facts.scores_output, request.scores);
  probe(facts.labels_output, request.labels);
  if (is_known && facts.head != DetectionHead::kFasterRcnn) decoder->decode(request);
}

struct Detector::Impl {
  Impl(const DetectionFacts& facts, std::shared_ptr<const Engine> engine, const DetectorOptions& options,
       std::size_t max_batch)
      : runner(facts, std::move(engine), options, max_batch) {}
  DetectionRunner runner;
};

Detector::Detector(const std::filesystem::path& bundle_path, const DetectorOptions& options)
    : impl_(open_for_task(bundle_path, "detection", [&](const Bundle& bundle) {
        const DetectionFacts& facts = *bundle.manifest().task.detection;
        auto engine = load_engine(bundle, facts.image.part, session_options(options.num_threads));
        const std::size_t max_batch = max_batch_of(bundle, facts.image.input);
        return std::make_unique<Impl>(facts, std::move(engine), options, max_batch);
      })) {}

Detector::~Detector() = default;
Detector::Detector(Detector&&) noexcept = default;
Detector& Detector::operator=(Detector&&) noexcept = default;

DetectionResult Detector::detect(const Image& image) { return std::move(detect(std::span(&image, 1)).front()); }

std::vector<DetectionResult> Detector::detect(std::span<const Image> images) { return impl_->runner.detect(images); }

DetectionResult Detector::detect_encoded(std::span<const std::byte> file) {
  return std::move(detect_encoded(std::span(&file, 1)).front());
}

std::vector<DetectionResult> Detector::detect_encoded(std::span<const std::span<const std::byte>> files) {
  return impl_->runner.detect_encoded(files);
}

}  // namespace pajamas
