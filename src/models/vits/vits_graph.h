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
  Model audio;                     ///< `noise` and outputs of `text`.
  std::string noise_shape_output;  ///< Of `text`: its shape is that of `noise`.
  std::int64_t num_phonemes = 0;   ///< Rows of the table that `input` indexes; 0: not found.
};

/// Cuts the published graph at its last RandomNormalLike: `audio` is what depends on it, `text` all else, and the
/// random values become inputs. The batch is 1. Weights are shared, not copied. Throws Error{kUnsupported} naming what
/// the graph has that no such voice has: other random operators, nested graphs, other inputs or outputs.
VoiceGraphs split_voice(const Model& model);

}  // namespace pajamas
