// The number of frames is known after the first run, and with it the size of the noise. See voice_session.h.
#include "tasks/speech/voice_session.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "engine/tensor_lookup.h"
#include "pajamas/error.h"
#include "pajamas/tensor.h"
#include "tasks/speech/normal_noise.h"

namespace pajamas {
namespace {

constexpr std::uint32_t kDurationStream = 0, kSoundStream = 1;
/// Half an hour of sound: more is no sentence.
constexpr std::int64_t kMaxFrames = 1 << 18;
/// Loudest sample below which a sentence counts as silent: Piper's.
constexpr float kSilence = 1e-8F;

template <typename T>
TensorView view_of(Shape shape, const T* data) {
  return {DTypeOf<T>::value, std::move(shape), reinterpret_cast<const std::byte*>(data)};
}

std::int64_t filled_up(std::int64_t size, std::int64_t step) { return (size + step - 1) / step * step; }

/// Rows of `length` each, with zeros behind them up to `filled_length`.
Tensor with_zeros(const TensorView& view, std::int64_t length, std::int64_t filled_length) {
  const std::span<const float> values = view.as<float>();
  std::vector<std::int64_t> extents(view.shape.begin(), view.shape.end());
  extents.back() = filled_length;
  Tensor filled(DType::kFloat32, Shape(std::move(extents)));
  const std::span<float> out = filled.mutable_as<float>();
  std::fill(out.begin(), out.end(), 0.0F);
  const auto row = static_cast<std::size_t>(length), filled_row = static_cast<std::size_t>(filled_length);
  for (std::size_t from = 0, to = 0; from < values.size(); from += row, to += filled_row) {
    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(from), row, out.begin() + static_cast<std::ptrdiff_t>(to));
  }
  return filled;
}

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorKind::kInternal, "the voice made " + what, {},
              "run `pajamas verify` on the bundle, or build it again");
}

/// The alignment's input of 0, 1, ..., and how many the text part says there are: models/vits/vits_graph.h.
constexpr const char* kFrameIndex = "frame_index";
constexpr const char* kNumFrames = "num_frames";

void check_frames(std::int64_t num_frames) {
  if (num_frames <= 0 || num_frames > kMaxFrames) fail(std::to_string(num_frames) + " frames");
}

}  // namespace

void VoiceSession::Part::set(const std::string& name, const TensorView& view) const {
  session->set_input(find_tensor(engine->inputs(), name, "input"), view);
}

TensorView VoiceSession::Part::output(const std::string& name) const {
  return session->output(find_tensor(engine->outputs(), name, "output"));
}

VoiceSession::VoiceSession(const SpeechFacts& facts, const VoiceEngines& engines)
    : facts_(facts), text_(engines.text), flow_(engines.flow), decoder_(engines.decoder) {
  if (engines.align) {
    align_.emplace(engines.align);
    find_tensor(text_.engine->outputs(), kNumFrames, "output");
    for (const TensorInfo& input : align_->engine->inputs()) {
      if (input.name != kFrameIndex) find_tensor(text_.engine->outputs(), input.name, "output");
    }
  }
  (void)frame_source(facts_.noise_shape_output);
  find_tensor(decoder_.engine->outputs(), "output", "output");
  for (const TensorInfo& input : flow_.engine->inputs()) {
    if (input.name != "noise") (void)frame_source(input.name);
  }
  for (const TensorInfo& input : decoder_.engine->inputs()) {
    if (input.name == facts_.frames_value) {
      find_tensor(flow_.engine->outputs(), input.name, "output");
    } else {
      (void)frame_source(input.name);
    }
  }
}

const VoiceSession::Part& VoiceSession::frame_source(const std::string& name) const {
  if (align_ && has_tensor(align_->engine->outputs(), name)) return *align_;
  find_tensor(text_.engine->outputs(), name, "output");
  return text_;
}

void VoiceSession::run_text(std::span<const std::int64_t> ids, const VoiceSettings& settings) {
  const auto length = static_cast<std::int64_t>(ids.size());
  const std::int64_t filled_length = filled_up(length, kPhonemeStep);
  std::vector<std::int64_t> filled_ids(ids.begin(), ids.end());
  filled_ids.resize(static_cast<std::size_t>(filled_length), 0);
  const std::array<float, 3> scales{settings.noise_scale, settings.length_scale, settings.noise_width};
  text_.set("input", view_of(Shape{1, filled_length}, filled_ids.data()));
  text_.set("input_lengths", view_of(Shape{1}, &length));
  text_.set("scales", view_of(Shape{3}, scales.data()));
  if (has_tensor(text_.engine->inputs(), "sid")) text_.set("sid", view_of(Shape{1}, &settings.speaker));
  Tensor noise;
  if (has_tensor(text_.engine->inputs(), "duration_noise")) {
    std::vector<float> drawn(static_cast<std::size_t>(2 * length));
    fill_normal(drawn, settings.seed, settings.sentence, kDurationStream);
    noise = with_zeros(view_of(Shape{1, 2, length}, drawn.data()), length, filled_length);
    text_.set("duration_noise", noise.view());
  }
  text_.session->run();
}

std::int64_t VoiceSession::run_align() {
  if (!align_) {
    const Shape shape = text_.output(facts_.noise_shape_output).shape;
    const std::int64_t num_frames = shape.rank() == 3 ? shape[2] : 0;
    check_frames(num_frames);
    return num_frames;
  }
  const TensorView count = text_.output(kNumFrames);
  const std::int64_t num_frames =
      count.dtype == DType::kInt64 && count.shape.num_elements() == 1 ? count.as<std::int64_t>()[0] : 0;
  check_frames(num_frames);
  frame_index_.resize(static_cast<std::size_t>(filled_up(num_frames, kFrameStep)));
  std::iota(frame_index_.begin(), frame_index_.end(), 0);
  align_->set(kFrameIndex, view_of(Shape{static_cast<std::int64_t>(frame_index_.size())}, frame_index_.data()));
  for (const TensorInfo& input : align_->engine->inputs()) {
    if (input.name != kFrameIndex) align_->set(input.name, text_.output(input.name));
  }
  align_->session->run();
  return num_frames;
}

std::int64_t VoiceSession::run_flow(const VoiceSettings& settings) {
  const std::int64_t num_frames = run_align();
  Shape shape = frame_source(facts_.noise_shape_output).output(facts_.noise_shape_output).shape;
  if (shape.rank() != 3 || shape[2] < num_frames || shape.num_elements() <= 0) {
    fail("frames of the shape " + shape.to_string());
  }
  shape[2] = num_frames;
  const std::int64_t filled_frames = filled_up(num_frames, kFrameStep);
  std::vector<float> drawn(static_cast<std::size_t>(shape.num_elements()));
  fill_normal(drawn, settings.seed, settings.sentence, kSoundStream);
  std::vector<Tensor> filled;
  filled.reserve(flow_.engine->inputs().size());
  for (const TensorInfo& input : flow_.engine->inputs()) {
    TensorView view =
        input.name == "noise" ? view_of(shape, drawn.data()) : frame_source(input.name).output(input.name);
    // The mask among them says which frames there are: what is behind them is zero in every layer. Alignment gives
    // all of them filled up.
    if (view.dtype == DType::kFloat32 && view.shape.rank() == 3 && view.shape[2] == num_frames) {
      filled.push_back(with_zeros(view, num_frames, filled_frames));
      view = filled.back().view();
    }
    flow_.set(input.name, view);
  }
  flow_.session->run();
  return num_frames;
}

std::span<const float> VoiceSession::decode(const TensorView& frames, std::int64_t begin, std::int64_t window) {
  const std::int64_t num_channels = frames.shape[1], row = frames.shape[2];
  const std::span<const float> values = frames.as<float>();
  window_.resize(static_cast<std::size_t>(num_channels * window));
  for (std::int64_t channel = 0; channel < num_channels; ++channel) {
    std::copy_n(values.begin() + channel * row + begin, window, window_.begin() + channel * window);
  }
  decoder_.set(facts_.frames_value, view_of(Shape{1, num_channels, window}, window_.data()));
  for (const TensorInfo& input : decoder_.engine->inputs()) {
    if (input.name != facts_.frames_value) decoder_.set(input.name, frame_source(input.name).output(input.name));
  }
  decoder_.session->run();
  const TensorView output = decoder_.output("output");
  if (output.dtype != DType::kFloat32) fail(std::string("samples of type ") + to_string(output.dtype));
  if (output.shape.num_elements() != window * facts_.samples_per_frame) {
    fail("samples of the shape " + output.shape.to_string() + " of " + std::to_string(window) + " frames");
  }
  return output.as<float>();
}

std::vector<float> VoiceSession::run_decoder(std::int64_t num_frames) {
  const TensorView frames = flow_.output(facts_.frames_value);
  if (frames.dtype != DType::kFloat32 || frames.shape.rank() != 3 || frames.shape[2] < num_frames) {
    fail("frames of the shape " + frames.shape.to_string());
  }
  const std::int64_t context = facts_.context_frames;
  // The largest window that fits and is not mostly context; whole sentences that are shorter than all of them.
  std::int64_t window = num_frames;
  for (const std::int64_t size : kDecoderWindows) {
    if (size <= num_frames && size > 2 * context) {
      window = size;
      break;
    }
  }
  std::vector<float> samples;
  samples.reserve(static_cast<std::size_t>(num_frames * facts_.samples_per_frame));
  for (std::int64_t done = 0; done < num_frames;) {
    // Both ends of the sentence are ends of a window, so that the decoder's own zeros lie around them.
    const std::int64_t begin = std::clamp<std::int64_t>(done - context, 0, num_frames - window);
    const std::int64_t end = begin + window == num_frames ? num_frames : begin + window - context;
    const std::span<const float> made = decode(frames, begin, window);
    samples.insert(samples.end(), made.begin() + (done - begin) * facts_.samples_per_frame,
                   made.begin() + (end - begin) * facts_.samples_per_frame);
    done = end;
  }
  return samples;
}

std::vector<float> VoiceSession::speak(std::span<const std::int64_t> ids, const VoiceSettings& settings) {
  run_text(ids, settings);
  std::vector<float> samples = run_decoder(run_flow(settings));
  float peak = 0;
  for (const float sample : samples) {
    if (!std::isfinite(sample)) fail("a sample that is not finite");
    peak = std::max(peak, std::abs(sample));
  }
  for (float& sample : samples) sample = peak < kSilence ? 0.0F : std::clamp(sample / peak, -1.0F, 1.0F);
  return samples;
}

void VoiceSession::warm_up() {
  // Every phoneme lasts a frame at least, so there are enough for the largest window; a fast pace makes few more.
  const std::vector<std::int64_t> ids(static_cast<std::size_t>(kDecoderWindows[0]), 0);
  VoiceSettings settings;
  settings.length_scale = 0.25F;
  run_text(ids, settings);
  const std::int64_t num_frames = run_flow(settings);
  const TensorView frames = flow_.output(facts_.frames_value);
  for (const std::int64_t window : kDecoderWindows) {
    if (window <= num_frames) decode(frames, 0, window);
  }
}

}  // namespace pajamas
