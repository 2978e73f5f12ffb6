// A VITS voice's graph in the parts that synthesis runs one after the other (docs/audio.md). Not the reader of the
// voice's description: that is vits.cpp.
#pragma once

#include <cstdint>
#include <string>

#include "graph/graph.h"

namespace pajamas {

/// Names that the parts' random inputs get.
inline constexpr const char* kVoiceDurationNoise = "duration_noise";
inline constexpr const char* kVoiceNoise = "noise";
/// The alignment as a part of the bundle, its input 0, 1, ... as many as frames, and the output of the text part that
/// says how many. tasks/speech/voice_session.h knows them by the same names.
inline constexpr const char* kVoiceAlignPart = "align";
inline constexpr const char* kVoiceFrameIndex = "frame_index";
inline constexpr const char* kVoiceNumFrames = "num_frames";

struct VoiceGraphs {
  Model text;  ///< `input`, `input_lengths`, `scales`, [`sid`], [`duration_noise`].
  /// `frame_index` and outputs of `text`; gives what that says of each frame. With it no part has shapes that depend on
  /// values, and `text` has the output `num_frames`, int64.
  Model align;
  bool has_align = false;
  Model flow;                      ///< `noise` and outputs of `text` and `align`; gives the decoder's frames.
  Model decoder;                   ///< Frames, and with several speakers what `text` says of the speaker.
  std::string noise_shape_output;  ///< Of `align`, or without it of `text`: its shape is that of `noise`.
  std::string frames;              ///< The decoder's input [1, channels, frames], the output of `flow`.
  std::int64_t num_phonemes = 0;   ///< Rows of the table that `input` indexes; 0: not found.
  std::int64_t samples_per_frame = 0;
  std::int64_t context_frames = 0;  ///< Frames on either side that a sample depends on at most.
};

/// Cuts the published graph at its last RandomNormalLike, what depends on it again before the convolution that leads to
/// the first ConvTranspose, and what comes before it at the Range that counts the frames, where it is alone. The random
/// values become inputs. The batch is 1. Weights are shared, not copied.
/// Throws Error{kUnsupported} naming what the graph has that no such voice has: other random operators, nested graphs,
/// other inputs or outputs, a decoder that is no chain of convolutions.
VoiceGraphs split_voice(const Model& model);

}  // namespace pajamas
