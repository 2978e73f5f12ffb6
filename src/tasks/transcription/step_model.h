// StepModel: what decoding needs of a speech model, one step at a time. WhisperSession is the real one; tests have
// models whose answers are known.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace pajamas {

/// One thread at a time. Logits are float32 [rows, vocab_size()], valid until the next call; callers may overwrite
/// them.
class StepModel {
 public:
  virtual ~StepModel() = default;
  virtual std::int64_t vocab_size() const = 0;

  /// Encodes `features` float32 [num_chunks, num_mels, num_frames]. All former chunks and rows are forgotten.
  virtual void encode(std::span<const float> features, std::int64_t num_chunks) = 0;

  /// Begins again with these of the encoded chunks (ascending), one row for each with its prompt; prompts are of equal
  /// length. `positions` are places in the prompts whose logits are wanted. Rows of the result: positions of the first
  /// chunk, of the second, ...
  virtual std::span<float> begin(std::span<const std::size_t> chunks,
                                 std::span<const std::vector<std::int32_t>> prompts,
                                 std::span<const std::int64_t> positions) = 0;

  struct Row {
    std::int32_t parent = 0;  ///< Row of the last step (or of begin()) whose text this one continues; of its own chunk.
    std::int32_t token = 0;
  };
  /// Continues. Chunk by chunk, equally many rows of each.
  virtual std::span<float> step(std::span<const Row> rows) = 0;

  /// Goes on with these alone of the chunks that begin() or the last keep() left: ascending places among them. Their
  /// rows are numbered anew, in their order. What was encoded stays.
  virtual void keep(std::span<const std::size_t> chunks) = 0;
};

}  // namespace pajamas
