// DecoderRows: what is in the cache of Whisper's decoder, row by row of a step, whatever form the cache has. Encoder,
// chunks and logits are whisper_session.h's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/target.h"
#include "tasks/transcription/step_model.h"

namespace pajamas {

/// The rows of the last step, each with the tokens of its text in the cache. One thread at a time. begin() and step()
/// set the tokens of a step; logit rows are added to them, then come bind(), the session's run() and take().
class DecoderRows {
 public:
  virtual ~DecoderRows() = default;
  /// Forgets all rows.
  virtual void clear() = 0;
  /// New rows in the place of all others, one for each prompt; prompts are of equal length.
  virtual void begin(std::span<const std::vector<std::int32_t>> prompts) = 0;
  /// Each row continues one of the last step's by a token.
  virtual void step(std::span<const StepModel::Row> rows) = 0;
  /// Keeps these rows alone, in ascending order, numbered anew.
  virtual void keep(std::span<const std::size_t> rows) = 0;
  virtual std::size_t num_rows() const = 0;

  /// Logits are wanted of this token of the step, counted over all rows.
  virtual void add_logit_row(std::int64_t token_index) = 0;
  virtual std::size_t num_logit_rows() const = 0;
  /// Gives the step's inputs to the decoder's session, which borrows them until it has run.
  virtual void bind(Session& session) const = 0;
  /// After the run.
  virtual void take(const Session& session) = 0;
};

/// Rows whose texts share what they have in common: blocks of a paged cache (docs/language.md) of `max_rows` rows,
/// which the session gets. Throws as StepInputs.
std::unique_ptr<DecoderRows> make_paged_rows(std::shared_ptr<const Engine> decoder, Session& session,
                                             std::int64_t context_length, std::int64_t max_rows);
/// Rows of a dense cache (docs/audio.md), of which each holds its whole text. Throws as DenseStep, and Error{kBadInput}
/// where the cache holds fewer tokens than `context_length`.
std::unique_ptr<DecoderRows> make_dense_rows(std::shared_ptr<const Engine> decoder, std::int64_t context_length);

}  // namespace pajamas
