// A voice's engines, run one after the other: phoneme ids to samples. Text is split and phonemes are found
// elsewhere (speech_text.h, phonemizer.h).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bundle/speech_facts.h"
#include "engine/target.h"

namespace pajamas {

/// How one sentence is to sound.
struct VoiceSettings {
  float noise_scale = 0.667F;
  float length_scale = 1;
  float noise_width = 0.8F;
  std::int64_t speaker = 0;
  std::uint64_t seed = 0;
  std::uint32_t sentence = 0;  ///< Its number: each has noise of its own.
};

/// Sizes that the engines have seen run at once; a new one is prepared first, which takes many times as long. So inputs
/// are filled up to few sizes, and the decoder goes over the frames in windows.
inline constexpr std::int64_t kPhonemeStep = 32, kFrameStep = 64;
inline constexpr std::array<std::int64_t, 3> kDecoderWindows{128, 64, 32};

/// The part that lays phonemes along the frames, where a bundle has it (docs/audio.md); else the text part does.
inline constexpr const char* kAlignPart = "align";

/// Those of the parts that the facts name, and of kAlignPart.
struct VoiceEngines {
  std::shared_ptr<const Engine> text, align, flow, decoder;  ///< `align` is null without such a part.
};

/// One thread at a time.
class VoiceSession {
 public:
  /// Throws Error{kBadInput} where the engines lack what the facts name.
  VoiceSession(const SpeechFacts& facts, const VoiceEngines& engines);

  /// Samples of one sentence, scaled so that the loudest is 1, as Piper does; silence stays silence. `ids` is not
  /// empty. Throws Error{kInternal} for samples that are not finite, and as the engines do.
  std::vector<float> speak(std::span<const std::int64_t> ids, const VoiceSettings& settings);
  /// Runs the decoder once in each of its windows, so that the first sentence comes nearly as fast as those behind it.
  void warm_up();

 private:
  /// A part with its inputs by name.
  struct Part {
    explicit Part(std::shared_ptr<const Engine> loaded) : engine(std::move(loaded)), session(engine->new_session()) {}
    void set(const std::string& name, const TensorView& view) const;
    TensorView output(const std::string& name) const;

    std::shared_ptr<const Engine> engine;
    std::unique_ptr<Session> session;
  };

  void run_text(std::span<const std::int64_t> ids, const VoiceSettings& settings);
  /// Lays the phonemes along the frames; their number.
  std::int64_t run_align();
  /// The part that gives a value to flow and decoder: align, else text. Throws Error{kBadInput} where neither does.
  const Part& frame_source(const std::string& name) const;
  /// Runs the flow over what the text part gave; the number of frames.
  std::int64_t run_flow(const VoiceSettings& settings);
  /// The decoder over the first `num_frames` of the flow's output.
  std::vector<float> run_decoder(std::int64_t num_frames);
  /// The decoder over frames `begin` to `begin + window`: its samples, valid until the next call.
  std::span<const float> decode(const TensorView& frames, std::int64_t begin, std::int64_t window);

  SpeechFacts facts_;
  Part text_;
  std::optional<Part> align_;
  Part flow_, decoder_;
  std::vector<std::int64_t> frame_index_;
  std::vector<float> window_;
};

}  // namespace pajamas
