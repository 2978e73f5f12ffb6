// Pictures as inputs of a proof. See real_inputs.h; the preparation is the task's own.
#include "toolchain/real_inputs.h"

#include <cmath>
#include <numbers>
#include <utility>

#include "media/log_mel.h"
#include "pajamas/error.h"
#include "pajamas/image.h"
#include "tasks/image_pipeline.h"
#include "tasks/speech/voice_session.h"

namespace pajamas {
const ImageInput* picture_input(const TaskFacts& facts) noexcept {
  if (facts.detection) return &facts.detection->image;
  if (facts.classification) return &facts.classification->image;
  return facts.embedding && facts.embedding->image ? &*facts.embedding->image : nullptr;
}

std::vector<std::vector<Tensor>> read_real_inputs(const std::vector<std::filesystem::path>& images,
                                                  const TaskFacts& task, const std::string& part_name,
                                                  const Graph& graph) {
  std::vector<std::vector<Tensor>> sets;
  if (images.empty()) return sets;
  const ImageInput* facts = picture_input(task);
  if (facts == nullptr) {
    throw Error(ErrorKind::kUsage, "pictures were given, but the model's task '" + task.name + "' takes none",
                "--verify-images or --calibration", "leave the pictures out, or name the task with --task");
  }
  if (facts->part != part_name) return sets;
  const auto inputs = graph.required_inputs();
  if (inputs.size() != 1 || inputs[0]->name != facts->input || !inputs[0]->type) {
    throw Error(ErrorKind::kUnsupported,
                "pictures cannot be used in the proof: the model has other inputs beside '" + facts->input + "'", {},
                "leave the pictures out");
  }
  const ImagePipeline pipeline(*facts, inputs[0]->type->dtype);
  for (const std::filesystem::path& path : images) {
    const Image image = read_image(path);
    const Placement placement = pipeline.place(image.width_px, image.height_px);
    Tensor tensor(pipeline.dtype(), pipeline.tensor_shape(placement, 1));
    pipeline.write(image, placement, tensor.mutable_bytes());
    sets.push_back({std::move(tensor)});
  }
  return sets;
}

namespace {

/// Samples at 16 kHz of something like a voice; any seed gives another pitch and melody.
std::vector<float> make_sound(std::int64_t num_samples, double seed) {
  std::vector<float> samples(static_cast<std::size_t>(num_samples));
  const double pitch = 110 + 90 * seed;
  double phase = 0;
  std::uint32_t noise = 12345 + static_cast<std::uint32_t>(seed * 1e6);
  for (std::int64_t i = 0; i < num_samples; ++i) {
    const double t = static_cast<double>(i) / kMelSampleRateHz;
    phase +=
        2 * std::numbers::pi * pitch * (1 + 0.3 * std::sin(2 * std::numbers::pi * 0.7 * t + seed)) / kMelSampleRateHz;
    // Four syllables a second, a pause each third second.
    const double syllable = std::max(0.0, std::sin(2 * std::numbers::pi * 4 * t)) * (std::fmod(t, 3.0) < 2.2 ? 1 : 0);
    double voice = 0;
    for (int harmonic = 1; harmonic <= 24; ++harmonic) {
      const double frequency = pitch * harmonic;
      const double formant = 600 + 500 * std::sin(2 * std::numbers::pi * 1.3 * t);
      voice += std::sin(harmonic * phase) / (1 + std::pow((frequency - formant) / 300, 2)) +
               0.2 * std::sin(harmonic * phase) / (1 + std::pow((frequency - 2200) / 400, 2));
    }
    noise = noise * 1664525U + 1013904223U;
    const double hiss = static_cast<double>(noise >> 8) / 8388608.0 - 1;
    samples[static_cast<std::size_t>(i)] = static_cast<float>(0.1 * syllable * voice + 0.003 * hiss);
  }
  return samples;
}

}  // namespace

namespace {

/// For the parts of a voice: real lengths, scales and masks around made-up phonemes, noise and means. Tensors are told
/// apart by type and shape, which docs/audio.md fixes.
std::function<void(std::vector<Tensor>&)> voice_refinement(const SpeechFacts& facts, const std::string& part_name) {
  const auto fill = [](Tensor& tensor, float value) {
    for (float& element : tensor.mutable_as<float>()) element = value;
  };
  if (part_name == facts.text_part) {
    return [facts, fill](std::vector<Tensor>& inputs) {
      std::int64_t num_phonemes = 0;
      for (Tensor& tensor : inputs) {
        if (tensor.dtype() == DType::kInt64 && tensor.shape().rank() == 2) {
          num_phonemes = tensor.shape()[1];
          for (std::int64_t& id : tensor.mutable_as<std::int64_t>()) id = std::abs(id) % facts.num_phonemes;
        } else if (tensor.dtype() == DType::kInt64 && tensor.shape().rank() == 1) {
          // The first is the number of phonemes, the second the speaker.
          tensor.mutable_as<std::int64_t>()[0] = std::exchange(num_phonemes, 0);
        } else if (tensor.dtype() == DType::kFloat32 && tensor.shape() == Shape{3}) {
          const auto scales = tensor.mutable_as<float>();
          scales[0] = static_cast<float>(facts.noise_scale);
          scales[1] = static_cast<float>(facts.length_scale);
          scales[2] = static_cast<float>(facts.noise_width);
        }
      }
    };
  }
  if (part_name == kAlignPart) {
    return [fill](std::vector<Tensor>& inputs) {
      std::int64_t num_frames = 0;
      for (Tensor& tensor : inputs) {
        const Shape& shape = tensor.shape();
        if (tensor.dtype() == DType::kInt64 && shape.rank() == 1 && num_frames == 0) {
          // The frames come first; the second are the lengths, of which the last frames are none.
          num_frames = shape[0];
          const auto index = tensor.mutable_as<std::int64_t>();
          for (std::size_t i = 0; i < index.size(); ++i) index[i] = static_cast<std::int64_t>(i);
        } else if (tensor.dtype() == DType::kInt64) {
          for (std::int64_t& length : tensor.mutable_as<std::int64_t>()) length = (7 * num_frames + 7) / 8;
        } else if (tensor.dtype() == DType::kFloat32 && shape.rank() == 3 && shape[1] == 1) {
          // Whole durations that the frames have room for, as far as one or two go.
          for (float& value : tensor.mutable_as<float>()) value = value > 0 ? 2.0F : 1.0F;
        } else if (tensor.dtype() == DType::kFloat32 && shape.rank() == 4) {
          fill(tensor, 1);  // The mask of phonemes that are there.
        }
      }
    };
  }
  if (part_name != facts.flow_part) return {};
  return [facts, fill](std::vector<Tensor>& inputs) {
    for (Tensor& tensor : inputs) {
      if (tensor.dtype() != DType::kFloat32) continue;
      const Shape& shape = tensor.shape();
      if (shape.rank() < 2) fill(tensor, static_cast<float>(facts.noise_scale));
      if (shape.rank() == 3 && shape[1] == 1) fill(tensor, 1);  // The mask of frames that are there.
    }
  };
}

/// Rows of sounds like a voice, of mean 0 and variance 1 as models without features want them.
void make_normalized_sounds(std::vector<Tensor>& inputs) {
  if (inputs.size() != 1 || inputs[0].dtype() != DType::kFloat32 || inputs[0].shape().rank() != 2) return;
  const auto num_samples = static_cast<std::size_t>(inputs[0].shape()[1]);
  const auto all = inputs[0].mutable_as<float>();
  for (std::size_t begin = 0; begin < all.size(); begin += num_samples) {
    const auto row = all.subspan(begin, num_samples);
    const double first = std::abs(static_cast<double>(row[0]));
    const std::vector<float> sound = make_sound(inputs[0].shape()[1], first - std::floor(first));
    double sum = 0, squares = 0;
    for (const float sample : sound) sum += sample;
    const double mean = sum / static_cast<double>(num_samples);
    for (const float sample : sound) squares += (sample - mean) * (sample - mean);
    const double deviation = std::sqrt(squares / static_cast<double>(num_samples) + 1e-7);
    for (std::size_t i = 0; i < num_samples; ++i) row[i] = static_cast<float>((sound[i] - mean) / deviation);
  }
}

}  // namespace

std::function<void(std::vector<Tensor>&)> input_refinement(const TaskFacts& task, const std::string& part_name) {
  if (task.speech) return voice_refinement(*task.speech, part_name);
  if (task.transcription && task.transcription->ctc && task.transcription->ctc->part == part_name) {
    return make_normalized_sounds;
  }
  if (!task.transcription || !task.transcription->whisper || task.transcription->whisper->encoder_part != part_name) {
    return {};
  }
  return [](std::vector<Tensor>& inputs) {
    if (inputs.size() != 1 || inputs[0].dtype() != DType::kFloat32 || inputs[0].shape().rank() != 3) return;
    const Shape shape = inputs[0].shape();
    const auto features = inputs[0].mutable_as<float>();
    const LogMel log_mel(static_cast<int>(shape[1]));
    const auto chunk_size = static_cast<std::size_t>(shape[1] * shape[2]);
    for (std::int64_t chunk = 0; chunk < shape[0]; ++chunk) {
      const auto own = features.subspan(static_cast<std::size_t>(chunk) * chunk_size, chunk_size);
      const double seed = std::abs(static_cast<double>(own[0])) - std::floor(std::abs(static_cast<double>(own[0])));
      // Chunks are full, half full, ...: silence behind speech is what encoders are given most.
      const std::int64_t num_samples = shape[2] * kMelHopSamples / (chunk % 2 + 1);
      log_mel.compute(make_sound(num_samples, seed), shape[2], own);
    }
  };
}

}  // namespace pajamas
