// What speech synthesis must know of a voice: the section "task" of a manifest named "speech", and its JSON form. See
// task_facts.h, of which this is a part.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/json_reader.h"

namespace pajamas {

struct Speaker {
  std::string name;
  std::int64_t id = 0;
};

/// A VITS voice in three parts: the graphs of docs/audio.md.
struct SpeechFacts {
  std::string text_part = "text";        ///< Phonemes to the distribution of each frame.
  std::string flow_part = "flow";        ///< Distributions and noise to frames.
  std::string decoder_part = "decoder";  ///< Frames to samples.
  std::string noise_shape_output;        ///< Output of the text part that has the shape of the flow part's `noise`.
  std::string frames_value;              ///< Output of the flow part, input of the decoder: [1, channels, frames].
  std::int64_t samples_per_frame = 256;
  std::int64_t context_frames = 0;  ///< Frames on either side that a sample depends on at most.
  std::int64_t sample_rate_hz = 22050;
  std::string espeak_voice;       ///< Voice of espeak-ng whose phonemes the model learned: "en-us".
  std::int64_t num_phonemes = 0;  ///< Rows of the table that ids index.
  /// Ids of each phoneme, a code point as UTF-8; "_", "^" and "$" stand between, before and behind.
  std::map<std::string, std::vector<std::int64_t>> phoneme_ids;
  double noise_scale = 0.667;     ///< Of the sound.
  double length_scale = 1;        ///< Above 1: slower.
  double noise_width = 0.8;       ///< Noise scale of the durations.
  std::int64_t num_speakers = 1;  ///< Above 1 the text part has the input `sid`.
  std::vector<Speaker> speakers;  ///< Those with a name, by id.
};

nlohmann::json to_json(const SpeechFacts& facts);
/// Throws Error{kBadInput} naming the JSON path of what is missing, of the wrong type or out of range.
SpeechFacts parse_speech_facts(const JsonReader& json);

}  // namespace pajamas
