// See image_session.h.
#include "tasks/image_session.h"

#include <algorithm>
#include <cstring>

#include "bundle/bundle.h"
#include "engine/bundle_plan.h"
#include "engine/tensor_lookup.h"
#include "pajamas/error.h"

namespace pajamas {

namespace {

/// Pictures a run where nothing else limits it: more bring no throughput on the devices measured, and inputs of 640 ×
/// 640 take 5 MB each.
constexpr std::size_t kMaxOpenBatch = 8;

std::string shape_text(const std::vector<Dimension>& shape) {
  std::string text = "[";
  for (const Dimension& dimension : shape) text += (text.size() > 1 ? ", " : "") + dimension.to_string();
  return text + "]";
}

[[noreturn]] void throw_unfit_input(const TensorInfo& input, const std::string& expected) {
  throw Error(ErrorKind::kBadInput,
              "input '" + input.name + "' has shape " + shape_text(input.shape) + ", but the manifest says " + expected,
              {}, "build the bundle again from the model");
}

}  // namespace

void check_image_input(const TensorInfo& input, const ImageInput& facts) {
  const std::size_t rank = facts.has_batch ? 4 : 3;
  if (input.shape.size() != rank) {
    throw_unfit_input(input, "a picture tensor of rank " + std::to_string(rank));
  }
  const std::size_t first = facts.has_batch ? 1 : 0;
  const auto expect = [&](std::size_t axis, std::int64_t extent, const char* what) {
    const Dimension& dimension = input.shape[axis];
    if (extent > 0 && dimension.is_known() && dimension.extent() != extent) {
      throw_unfit_input(input, std::string(what) + " " + std::to_string(extent));
    }
  };
  const bool is_size_fixed = facts.resize != ImageInput::Resize::kFit;
  expect(facts.is_nhwc ? first + 2 : first, 3, "channels");
  expect(facts.is_nhwc ? first : first + 1, is_size_fixed ? facts.height_px : 0, "height");
  expect(facts.is_nhwc ? first + 1 : first + 2, is_size_fixed ? facts.width_px : 0, "width");
}

std::optional<Shape> probe_shape(const TensorInfo& output) {
  Shape shape;
  for (std::size_t axis = 0; axis < output.shape.size(); ++axis) {
    const Dimension& dimension = output.shape[axis];
    if (!dimension.is_known() && axis > 0) return std::nullopt;
    shape.push_back(dimension.is_known() ? dimension.extent() : 1);
  }
  return shape;
}

std::string describe_output(const std::string& name, const Shape& shape) {
  return "output '" + name + "' " + shape.to_string();
}

void throw_of_picture(const Error& error, std::size_t index, std::size_t count) {
  if (count == 1) throw error;
  throw error.with_context("picture " + std::to_string(index + 1) + " of " + std::to_string(count));
}

std::size_t max_batch_of(const Bundle& bundle, const std::string& input) {
  const BuildPlan plan = plan_of(bundle);
  const ShapeProfile* profile = find_profile(plan.profiles, input);
  return profile != nullptr && profile->max.rank() > 0 ? static_cast<std::size_t>(profile->max[0]) : 0;
}

ImageSession::ImageSession(std::shared_ptr<const Engine> engine, const ImageInput& facts, std::size_t max_batch)
    : engine_(std::move(engine)),
      session_(engine_->new_session()),
      input_index_(find_tensor(engine_->inputs(), facts.input, "input")),
      pipeline_(facts, engine_->inputs()[input_index_].dtype) {
  if (engine_->inputs().size() != 1) {
    throw Error(ErrorKind::kUnsupported,
                "the model takes " + std::to_string(engine_->inputs().size()) + " inputs, where one picture is known",
                {}, "export the model with the picture as its only input");
  }
  const TensorInfo& input = engine_->inputs()[input_index_];
  check_image_input(input, facts);
  if (!facts.has_batch) return;
  if (input.shape[0].is_known()) {
    fixed_batch_ = static_cast<std::size_t>(std::max<std::int64_t>(input.shape[0].extent(), 1));
    max_batch_ = fixed_batch_;
  } else {
    max_batch_ = max_batch == 0 ? kMaxOpenBatch : std::min(max_batch, kMaxOpenBatch);
  }
}

std::size_t ImageSession::output_index(const std::string& name) const {
  return find_tensor(engine_->outputs(), name, "output");
}

void ImageSession::prepare(std::span<const Image> images, ImageGroup& group) {
  group.placements.clear();
  group.count = 0;
  while (group.begin + group.count < images.size() && group.count < max_batch_) {
    const std::size_t index = group.begin + group.count;
    const Image& image = images[index];
    try {
      const Placement placement = pipeline_.place(image.width_px, image.height_px);
      // Pictures that become tensors of different sizes cannot share a run.
      if (group.count > 0 && (placement.canvas_width_px != group.placements[0].canvas_width_px ||
                              placement.canvas_height_px != group.placements[0].canvas_height_px)) {
        break;
      }
      if (group.count == 0) {
        const std::size_t wanted = fixed_batch_ != 0 ? fixed_batch_ : std::min(images.size() - group.begin, max_batch_);
        const Shape shape = pipeline_.tensor_shape(placement, static_cast<std::int64_t>(wanted));
        if (input_.shape() != shape || input_.dtype() != pipeline_.dtype()) {
          input_ = Tensor(pipeline_.dtype(), shape);
          std::memset(input_.mutable_bytes().data(), 0, input_.size_bytes());
        }
      }
      const std::size_t size = pipeline_.size_bytes(placement);
      pipeline_.write(image, placement, input_.mutable_bytes().subspan(group.count * size, size));
      group.placements.push_back(placement);
    } catch (const Error& error) {
      if (images.size() == 1) throw;
      throw_of_picture(error, index, images.size());
    }
    ++group.count;
  }
  // Where the group came out smaller than its tensor, the tensor shrinks, unless the engine's batch is fixed.
  group.batch = fixed_batch_ != 0 ? fixed_batch_ : group.count;
  const Shape used = pipeline_.tensor_shape(group.placements[0], static_cast<std::int64_t>(group.batch));
  TensorView view = input_.view();
  view.shape = used;
  session_->set_input(input_index_, view);
}

void ImageSession::run(std::span<const Image> images, const std::function<void(const ImageGroup&)>& use) {
  using Clock = std::chrono::steady_clock;
  ImageGroup group;
  while (group.begin < images.size()) {
    const auto start = Clock::now();
    prepare(images, group);
    const auto prepared = Clock::now();
    session_->run();
    const auto end = Clock::now();
    const auto share = static_cast<std::int64_t>(group.count);
    group.timing.preprocess = (prepared - start) / share;
    group.timing.inference = (end - prepared) / share;
    use(group);
    group.begin += group.count;
  }
}

}  // namespace pajamas
