// A VITS voice's graph in the two parts that synthesis runs one after the other (docs/audio.md). Not the reader of the
// voice's description: that is vits.cpp.
#pragma once

#include <cstdint>
#include <string>

#include "graph/graph.h"

namespace pajamas {

/// Names that the parts' random inputs get.
inline constexpr const char* kVoiceDurationNoise = "duration_noise";
inline constexpr const char* kVoiceNoise = "noise";

struct VoiceGraphs {
  Model text;                      ///< `input`, `input_lengths`, `scales`, [`sid`], [`duration_noise`].
  Model flow;                      ///< `noise` and outputs of `text`; gives the decoder's frames.
  Model decoder;                   ///< Frames, and with several speakers what `text` says of the speaker.
  std::string noise_shape_output;  ///< Of `text`: its shape is that of `noise`.
  std::string frames;              ///< The decoder's input [1, channels, frames], the output of `flow`.
  std::int64_t num_phonemes = 0;   ///< Rows of the table that `input` indexes; 0: not found.
  std::int64_t samples_per_frame = 0;
  std::int64_t context_frames = 0;  ///< Frames on either side that a sample depends on at most.
};

/// Cuts the published graph at its last RandomNormalLike, and what depends on it again before the convolution that
/// leads to the first ConvTranspose. The random values become inputs. The batch is 1. Weights are shared, not copied.
/// Throws Error{kUnsupported} naming what the graph has that no such voice has: other random operators, nested graphs,
/// other inputs or outputs, a decoder that is no chain of convolutions.
VoiceGraphs split_voice(const Model& model);

}  // namespace pajamas
