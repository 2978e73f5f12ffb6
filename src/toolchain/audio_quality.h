// `verify --audio`: what a speech bundle makes of recordings, as word error rate against what was said, or against what
// the model it was built from makes of them in float32. Proofs of single parts are prove_bundle.h's.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "toolchain/prove_bundle.h"
#include "verify/word_errors.h"

namespace pajamas {

/// Most errors in per cent of the words, where the user names no limit. Against the model itself: the project's goal
/// for Whisper base on read speech, which two forms of one model are far below. Against a text: the goal for tiny.en,
/// the least accurate model that has one.
inline constexpr double kMaxReferenceWer = 3.0, kMaxTextWer = 11.5;

struct BundleAudioRequest {
  std::vector<std::filesystem::path> audio;  ///< At least one; any format that AudioReader reads.
  /// UTF-8, what is said in each of `audio`; empty: the model itself is asked.
  std::vector<std::filesystem::path> texts;
  std::optional<double> max_wer_percent;
};

struct AudioQuality {
  struct File {
    std::filesystem::path audio;
    std::string expected, heard;
    WordErrors errors;
    std::string warning;  ///< Of the audio (a file that was cut off); empty: none.
  };
  std::string compared_with;  ///< "text", "reference"
  std::string ran;            ///< What made the transcript, in words that claim no more than was done.
  std::string reference;      ///< What made the other one; empty with texts.
  std::vector<File> files;
  WordErrors errors;  ///< Of all files together.
  double max_wer_percent = 0;
  std::string note;  ///< Why the engines did not run here; empty: they did.

  bool is_passed() const { return errors.rate_percent() <= max_wer_percent; }
};
nlohmann::json to_json(const AudioQuality& quality);

/// Transcribes with default options (greedy, the voice detector where there is one). Engines that cannot run here are
/// replaced by the graphs that they were built from, run by ONNX Runtime. Throws Error{kUnsupported} for a bundle of
/// another task and for one that can be run in neither way, Error{kUsage} for another number of texts than recordings,
/// Error{kBadInput} for files that cannot be read or texts without a word, and as prove_bundle for the source.
AudioQuality measure_bundle_on_audio(const Bundle& bundle, const std::optional<std::filesystem::path>& source,
                                     const BundleAudioRequest& request, const ProveOptions& options);

}  // namespace pajamas
