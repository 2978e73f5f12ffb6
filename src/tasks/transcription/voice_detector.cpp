// Framing, the network's state, batches of frames. See voice_detector.h.
#include "tasks/transcription/voice_detector.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "pajamas/error.h"
#include "tasks/transcription/speech_chunk.h"

namespace pajamas {
namespace {

constexpr std::int64_t kContextSamples = 64;
constexpr std::int64_t kInputSamples = kContextSamples + kVoiceFrameSamples;
constexpr std::int64_t kStateSize = 128;
/// Frames in one run, 2 s: more are no faster, and take memory.
constexpr std::int64_t kMaxFrames = 64;

std::size_t index_of(const std::vector<TensorInfo>& tensors, std::string_view name, const char* kind) {
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].name != name) continue;
    if (tensors[i].dtype == DType::kFloat32) return i;
    throw Error(ErrorKind::kBadInput,
                "the voice detector's " + std::string(kind) + " '" + std::string(name) + "' is not float32");
  }
  throw Error(ErrorKind::kBadInput,
              "the voice detector's network has no " + std::string(kind) + " '" + std::string(name) + "'", {},
              "build it from silero_vad_16k_sequence.onnx of the package silero-vad 6");
}

}  // namespace

VoiceDetector::VoiceDetector(std::shared_ptr<const Engine> engine, const VoiceDetectorOptions& options)
    : engine_(std::move(engine)),
      input_index_(index_of(engine_->inputs(), "input", "input")),
      hidden_index_(index_of(engine_->inputs(), "h", "input")),
      cell_index_(index_of(engine_->inputs(), "c", "input")),
      probability_index_(index_of(engine_->outputs(), "speech_probs", "output")),
      next_hidden_index_(index_of(engine_->outputs(), "hn", "output")),
      next_cell_index_(index_of(engine_->outputs(), "cn", "output")),
      segmenter_(options),
      samples_(static_cast<std::size_t>(kContextSamples), 0.0F),
      hidden_(static_cast<std::size_t>(kStateSize), 0.0F),
      cell_(static_cast<std::size_t>(kStateSize), 0.0F) {
  session_ = engine_->new_session();
}

void VoiceDetector::push(std::span<const float> samples) {
  num_samples_ += static_cast<std::int64_t>(samples.size());
  while (!samples.empty()) {
    // In pieces, so that the copy stays small whatever the caller brings.
    const auto room = static_cast<std::size_t>(kContextSamples + kMaxFrames * kVoiceFrameSamples) - samples_.size();
    const auto piece = samples.first(std::min(room, samples.size()));
    samples_.insert(samples_.end(), piece.begin(), piece.end());
    samples = samples.subspan(piece.size());
    const auto num_new = static_cast<std::int64_t>(samples_.size()) - kContextSamples;
    if (num_new >= kVoiceFrameSamples) compute(num_new / kVoiceFrameSamples);
  }
}

void VoiceDetector::finish() {
  if (static_cast<std::int64_t>(samples_.size()) > kContextSamples) {
    samples_.resize(static_cast<std::size_t>(kInputSamples), 0.0F);
    compute(1);
  }
  segmenter_.finish(num_samples_);
}

void VoiceDetector::compute(std::int64_t num_frames) {
  frames_.resize(static_cast<std::size_t>(num_frames * kInputSamples));
  for (std::int64_t i = 0; i < num_frames; ++i) {
    std::copy_n(samples_.begin() + i * kVoiceFrameSamples, kInputSamples, frames_.begin() + i * kInputSamples);
  }
  samples_.erase(samples_.begin(), samples_.begin() + num_frames * kVoiceFrameSamples);
  const auto give = [this](std::size_t index, Shape shape, const std::vector<float>& values) {
    session_->set_input(index, {DType::kFloat32, std::move(shape), reinterpret_cast<const std::byte*>(values.data())});
  };
  give(input_index_, Shape{num_frames, kInputSamples}, frames_);
  give(hidden_index_, Shape{1, 1, kStateSize}, hidden_);
  give(cell_index_, Shape{1, 1, kStateSize}, cell_);
  session_->run();
  const TensorView probabilities = session_->output(probability_index_);
  const TensorView next_hidden = session_->output(next_hidden_index_);
  const TensorView next_cell = session_->output(next_cell_index_);
  if (probabilities.shape.num_elements() != num_frames || next_hidden.shape.num_elements() != kStateSize ||
      next_cell.shape.num_elements() != kStateSize) {
    throw Error(ErrorKind::kBadInput,
                "the voice detector's network gives " + probabilities.shape.to_string() + " probabilities for " +
                    std::to_string(num_frames) + " frames",
                {}, "build it from silero_vad_16k_sequence.onnx of the package silero-vad 6");
  }
  const auto hidden = next_hidden.as<float>();
  const auto cell = next_cell.as<float>();
  std::copy(hidden.begin(), hidden.end(), hidden_.begin());
  std::copy(cell.begin(), cell.end(), cell_.begin());
  for (const float probability : probabilities.as<float>()) {
    if (on_frame) on_frame(probability);
    segmenter_.push(static_cast<double>(probability));
  }
}

std::int64_t VoiceDetector::needed_from() const {
  constexpr std::int64_t kMarginSamples = 2 * kSpeechRateHz;  // More than any padding.
  const std::int64_t begin = std::min(num_samples_, open_begin().value_or(num_samples_));
  return std::max<std::int64_t>(begin - kMarginSamples, 0);
}

bool feed(VoiceDetector& detector, AudioWindow& window) {
  const auto block = window.read_block();
  if (block.empty()) {
    detector.finish();
  } else {
    detector.push(block);
  }
  return block.empty();
}

}  // namespace pajamas
