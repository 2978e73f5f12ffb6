// Segments of a chunk's tokens: what lies between its timestamps.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tasks/transcription/decoding_rules.h"

namespace pajamas {

/// Tokens [token_begin, token_end) of a chunk, timestamps included.
struct TokenSegment {
  std::size_t token_begin = 0, token_end = 0;
  double begin_s = 0, end_s = 0;  ///< Within the chunk.
};

struct ChunkSegments {
  std::vector<TokenSegment> segments;
  /// Where the next chunk begins when chunks follow each other without a cut between them: behind the last segment that
  /// is whole. At most the chunk's length.
  double next_begin_s = 0;
};

/// `is_cut`: the chunk ends where speech ends (or is all there is), so text behind the last timestamp belongs to it;
/// else what is behind the last pair of timestamps is left to the next chunk, which hears it again.
ChunkSegments split_segments(std::span<const std::int32_t> tokens, const DecodingRules& rules, double chunk_length_s,
                             bool is_cut);

}  // namespace pajamas
