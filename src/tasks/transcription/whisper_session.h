// WhisperSession: encoder and decoder step of a bundle as a StepModel. Rows of texts hold blocks of one cache; texts
// that part share what they have in common.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bundle/transcription_facts.h"
#include "engine/step_inputs.h"
#include "engine/target.h"
#include "tasks/generation/block_pool.h"
#include "tasks/transcription/step_model.h"

namespace pajamas {

class WhisperSession final : public StepModel {
 public:
  /// `max_rows`: most rows of a step. Throws Error{kBadInput} naming what the engines lack of the graphs of
  /// docs/audio.md, and as engines do.
  WhisperSession(const WhisperFacts& facts, std::shared_ptr<const Engine> encoder,
                 std::shared_ptr<const Engine> decoder, std::int64_t max_rows);
  ~WhisperSession() override;

  std::int64_t vocab_size() const override { return facts_.vocab_size; }
  void encode(std::span<const float> features, std::int64_t num_chunks) override;
  std::span<float> begin(std::span<const std::size_t> chunks, std::span<const std::vector<std::int32_t>> prompts,
                         std::span<const std::int64_t> positions) override;
  std::span<float> step(std::span<const Row> rows) override;
  void keep(std::span<const std::size_t> chunks) override;

  /// The cross keys and values of one encoded chunk, by the names of the aligner's inputs. Valid until encode().
  std::vector<std::pair<std::string, TensorView>> encoded(std::size_t chunk) const;

 private:
  struct Sequence {
    std::vector<std::int32_t> blocks;
    std::int64_t length = 0;
  };
  /// One cross_key.i or cross_value.i.
  struct CrossTensor {
    std::string name;
    std::size_t output = 0, input = 0;  ///< Of encoder and decoder.
    std::vector<std::byte> gathered;    ///< The active chunks, where they are not all that was encoded.
  };

  void bind_cross_tensors();
  std::span<float> run();
  void append(Sequence& sequence, std::span<const std::int32_t> tokens);
  void release_all();

  WhisperFacts facts_;
  std::shared_ptr<const Engine> encoder_engine_, decoder_engine_;
  std::unique_ptr<Session> encoder_, decoder_;
  StepInputs inputs_;  ///< Of the decoder.
  std::shared_ptr<KvCache> cache_;
  std::optional<BlockPool> pool_;
  std::vector<CrossTensor> cross_;
  std::size_t features_input_ = 0, logits_output_ = 0;
  std::int64_t num_encoded_ = 0;
  std::vector<std::size_t> active_;  ///< Encoded chunks that are decoded now.
  std::vector<Sequence> sequences_;  ///< Rows of the last step.
  std::vector<float> logits_;
};

}  // namespace pajamas
