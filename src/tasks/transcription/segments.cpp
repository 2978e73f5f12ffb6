// See segments.h.
#include "tasks/transcription/segments.h"

#include <algorithm>

namespace pajamas {

ChunkSegments split_segments(std::span<const std::int32_t> tokens, const DecodingRules& rules, double chunk_length_s,
                             bool is_cut) {
  ChunkSegments result;
  result.next_begin_s = chunk_length_s;
  const auto is_time = [&](std::size_t i) { return i < tokens.size() && rules.is_timestamp(tokens[i]); };
  const auto time = [&](std::size_t i) { return std::min(rules.seconds_of(tokens[i]), chunk_length_s); };

  // A pair of timestamps is the end of one segment and the beginning of the next.
  std::vector<std::size_t> cuts;
  for (std::size_t i = 1; i < tokens.size(); ++i) {
    if (is_time(i - 1) && is_time(i)) cuts.push_back(i);
  }
  const std::size_t size = tokens.size();
  const bool ends_in_single = size >= 2 && is_time(size - 1) && !is_time(size - 2);
  const bool is_whole = is_cut || ends_in_single || cuts.empty();
  if (is_whole) cuts.push_back(size);

  std::size_t begin = 0;
  double last_end = 0;
  for (const std::size_t end : cuts) {
    const bool has_text = std::any_of(tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                                      tokens.begin() + static_cast<std::ptrdiff_t>(end),
                                      [&](std::int32_t token) { return !rules.is_timestamp(token); });
    if (has_text) {
      TokenSegment segment;
      segment.token_begin = begin;
      segment.token_end = end;
      segment.begin_s = is_time(begin) ? time(begin) : last_end;
      segment.end_s = is_time(end - 1) ? time(end - 1) : chunk_length_s;
      // A closing time of zero is the model's way of saying that it does not know.
      if (segment.end_s <= segment.begin_s) segment.end_s = std::max(segment.begin_s, chunk_length_s);
      last_end = segment.end_s;
      result.segments.push_back(segment);
    }
    begin = end;
  }
  if (!is_whole) {
    result.next_begin_s = time(cuts.back() - 1);
    // Timestamps that do not move would hear the same again for ever.
    if (result.next_begin_s <= 0) result.next_begin_s = chunk_length_s;
  }
  return result;
}

}  // namespace pajamas
