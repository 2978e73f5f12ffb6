// What transcription must know of a speech model: the section "task" of a manifest named "transcription", and its JSON
// form. See task_facts.h, of which this is a part.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/json_reader.h"

namespace pajamas {

/// Ids of Whisper's special tokens.
struct WhisperTokens {
  std::int64_t end_of_text = 0;
  std::int64_t start_of_transcript = 0;
  std::int64_t transcribe = 0;         ///< Task: text in the language of the speech.
  std::int64_t translate = 0;          ///< Task: text in English.
  std::int64_t start_of_lm = 0;        ///< Only ever suppressed.
  std::int64_t start_of_previous = 0;  ///< Before earlier text.
  std::int64_t no_speech = 0;
  std::int64_t no_timestamps = 0;
  std::int64_t first_timestamp =
      0;  ///< 0.00 s; the token after it is 20 ms later, and so on to the last of vocab_size.
};

struct WhisperLanguage {
  std::string code;  ///< "en", "de", "yue"
  std::int64_t token_id = 0;
};

/// Encoder, decoder with a cache, and aligner: graphs of docs/audio.md.
struct WhisperFacts {
  std::string encoder_part = "encoder";
  std::string decoder_part = "decoder";
  std::string aligner_part;         ///< Empty: the bundle has none, so words have no times.
  std::int64_t num_mels = 80;       ///< Bands of the features.
  std::int64_t num_positions = 0;   ///< Of the encoder; a chunk has twice as many frames of 10 ms.
  std::int64_t context_length = 0;  ///< Most tokens of a chunk, prompt and text.
  std::int64_t vocab_size = 0;      ///< Columns of the logits.
  WhisperTokens tokens;
  /// Of a multilingual model; empty: the model knows English only, and its prompt names neither language nor task.
  std::vector<WhisperLanguage> languages;
  std::vector<std::int64_t> suppressed_token_ids;        ///< Never sampled.
  std::vector<std::int64_t> begin_suppressed_token_ids;  ///< Not sampled as the first token of a text.
  /// (layer, head) whose cross attention follows the speech, in the aligner's order.
  std::vector<std::array<std::int64_t, 2>> alignment_heads;
};

/// A model that gives a distribution over tokens and a blank for each frame (connectionist temporal classification,
/// Graves et al. 2006): the graph of docs/audio.md.
struct CtcFacts {
  std::string part = "model";
  std::vector<std::string> tokens;                ///< Text of each column of the logits, UTF-8; empty: none.
  std::int64_t blank_id = 0;                      ///< The column that means "nothing new".
  std::optional<std::int64_t> word_delimiter_id;  ///< Absent: each token is a word.
  std::int64_t samples_per_frame = 320;           ///< Between the beginnings of two frames.
  std::int64_t frame_samples = 400;               ///< That one frame hears; the fewest that give a frame.
  std::int64_t window_frames = 1000;              ///< Most frames of one run.
  bool is_normalized = true;                      ///< The model wants samples of mean 0 and variance 1.

  std::int64_t vocab_size() const { return static_cast<std::int64_t>(tokens.size()); }
  /// Samples of so many frames, which are at least one.
  std::int64_t samples_of(std::int64_t num_frames) const {
    return (num_frames - 1) * samples_per_frame + frame_samples;
  }
  /// Frames of so many samples.
  std::int64_t frames_of(std::int64_t num_samples) const {
    return num_samples < frame_samples ? 0 : (num_samples - frame_samples) / samples_per_frame + 1;
  }
};

/// One of the decoders is set.
struct TranscriptionFacts {
  std::int64_t sample_rate_hz = 16000;
  std::string tokenizer_file;  ///< Empty: the bundle takes and gives token ids only; CTC has its tokens in the facts.
  std::optional<WhisperFacts> whisper;
  std::optional<CtcFacts> ctc;
};

nlohmann::json to_json(const TranscriptionFacts& facts);
/// Throws Error{kBadInput} naming the JSON path of what is missing, of the wrong type or out of range.
TranscriptionFacts parse_transcription_facts(const JsonReader& json);

}  // namespace pajamas
