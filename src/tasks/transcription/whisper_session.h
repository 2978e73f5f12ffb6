// WhisperSession: encoder and decoder step of a bundle as a StepModel. What is in the decoder's cache is
// decoder_rows.h's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bundle/transcription_facts.h"
#include "engine/target.h"
#include "tasks/transcription/decoder_rows.h"
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
  /// One cross_key.i or cross_value.i.
  struct CrossTensor {
    std::string name;
    std::size_t output = 0, input = 0;  ///< Of encoder and decoder.
    std::vector<std::byte> gathered;    ///< The active chunks, where they are not all that was encoded.
  };

  void bind_cross_tensors();
  std::span<float> run();

  WhisperFacts facts_;
  std::shared_ptr<const Engine> encoder_engine_, decoder_engine_;
  std::unique_ptr<Session> encoder_, decoder_;
  std::unique_ptr<DecoderRows> rows_;
  std::vector<CrossTensor> cross_;
  std::size_t features_input_ = 0, logits_output_ = 0;
  std::int64_t num_encoded_ = 0;
  std::vector<std::size_t> active_;  ///< Encoded chunks that are decoded now.
  std::vector<float> logits_;
};

}  // namespace pajamas
