// See whisper_session.h.
#include "tasks/transcription/whisper_session.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/dense_step.h"
#include "engine/tensor_lookup.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

bool is_cross_tensor(const std::string& name) {
  return name.starts_with("cross_key.") || name.starts_with("cross_value.");
}

}  // namespace

WhisperSession::WhisperSession(const WhisperFacts& facts, std::shared_ptr<const Engine> encoder,
                               std::shared_ptr<const Engine> decoder, std::int64_t max_rows)
    : facts_(facts),
      encoder_engine_(std::move(encoder)),
      decoder_engine_(std::move(decoder)),
      encoder_(encoder_engine_->new_session()),
      decoder_(decoder_engine_->new_session()) {
  features_input_ = find_tensor(encoder_engine_->inputs(), "features", "input");
  logits_output_ = find_tensor(decoder_engine_->outputs(), "logits", "output");
  for (std::size_t i = 0; i < decoder_engine_->inputs().size(); ++i) {
    const std::string& name = decoder_engine_->inputs()[i].name;
    if (is_cross_tensor(name)) cross_.push_back({name, find_tensor(encoder_engine_->outputs(), name, "output"), i, {}});
  }
  if (cross_.empty()) {
    throw Error(ErrorKind::kBadInput, "the decoder takes no cross keys from the encoder", facts_.decoder_part,
                "build the bundle again");
  }
  if (has_dense_cache(*decoder_engine_)) {
    rows_ = make_dense_rows(decoder_engine_, facts_.context_length);
  } else if (decoder_engine_->kv_cache_layout() != nullptr) {
    rows_ = make_paged_rows(decoder_engine_, *decoder_, facts_.context_length, max_rows);
  } else {
    throw Error(ErrorKind::kBadInput, "the decoder has no cache of keys and values", facts_.decoder_part,
                "build the bundle again");
  }
}

WhisperSession::~WhisperSession() = default;

void WhisperSession::encode(std::span<const float> features, std::int64_t num_chunks) {
  rows_->clear();
  active_.clear();
  num_encoded_ = 0;
  const Shape shape{num_chunks, facts_.num_mels, 2 * facts_.num_positions};
  if (static_cast<std::int64_t>(features.size()) != shape.num_elements()) {
    throw Error(ErrorKind::kInternal,
                "features of " + std::to_string(features.size()) + " numbers do not make " + shape.to_string());
  }
  encoder_->set_input(features_input_, {DType::kFloat32, shape, reinterpret_cast<const std::byte*>(features.data())});
  encoder_->run();
  for (const CrossTensor& cross : cross_) {
    const TensorView view = encoder_->output(cross.output);
    if (view.shape.rank() != 4 || view.shape[0] != num_chunks) {
      throw Error(
          ErrorKind::kInternal,
          "output '" + cross.name + "' is " + view.shape.to_string() + " for " + std::to_string(num_chunks) + " chunks",
          facts_.encoder_part, "build the bundle again");
    }
  }
  num_encoded_ = num_chunks;
}

std::vector<std::pair<std::string, TensorView>> WhisperSession::encoded(std::size_t chunk) const {
  std::vector<std::pair<std::string, TensorView>> tensors;
  for (const CrossTensor& cross : cross_) {
    const TensorView all = encoder_->output(cross.output);
    const std::size_t bytes = all.size_bytes() / static_cast<std::size_t>(num_encoded_);
    TensorView one{all.dtype, all.shape, all.data + chunk * bytes};
    one.shape = Shape{1, all.shape[1], all.shape[2], all.shape[3]};
    tensors.emplace_back(cross.name, one);
  }
  return tensors;
}

void WhisperSession::bind_cross_tensors() {
  const bool is_all = static_cast<std::int64_t>(active_.size()) == num_encoded_;
  for (CrossTensor& cross : cross_) {
    const TensorView all = encoder_->output(cross.output);
    if (is_all) {
      decoder_->set_input(cross.input, all);
      continue;
    }
    const std::size_t bytes = all.size_bytes() / static_cast<std::size_t>(num_encoded_);
    cross.gathered.resize(bytes * active_.size());
    for (std::size_t i = 0; i < active_.size(); ++i) {
      std::memcpy(cross.gathered.data() + i * bytes, all.data + active_[i] * bytes, bytes);
    }
    decoder_->set_input(
        cross.input,
        {all.dtype, Shape{static_cast<std::int64_t>(active_.size()), all.shape[1], all.shape[2], all.shape[3]},
         cross.gathered.data()});
  }
}

std::span<float> WhisperSession::begin(std::span<const std::size_t> chunks,
                                       std::span<const std::vector<std::int32_t>> prompts,
                                       std::span<const std::int64_t> positions) {
  active_.assign(chunks.begin(), chunks.end());
  bind_cross_tensors();
  rows_->begin(prompts);
  std::int64_t first = 0;
  for (const std::vector<std::int32_t>& prompt : prompts) {
    for (const std::int64_t position : positions) rows_->add_logit_row(first + position);
    first += static_cast<std::int64_t>(prompt.size());
  }
  return run();
}

std::span<float> WhisperSession::step(std::span<const Row> rows) {
  rows_->step(rows);
  for (std::size_t i = 0; i < rows.size(); ++i) rows_->add_logit_row(static_cast<std::int64_t>(i));
  return run();
}

void WhisperSession::keep(std::span<const std::size_t> chunks) {
  const std::size_t rows_a_chunk = rows_->num_rows() / active_.size();
  std::vector<std::size_t> rows, active;
  for (const std::size_t chunk : chunks) {
    active.push_back(active_.at(chunk));
    for (std::size_t i = 0; i < rows_a_chunk; ++i) rows.push_back(chunk * rows_a_chunk + i);
  }
  rows_->keep(rows);
  active_ = std::move(active);
  bind_cross_tensors();
}

std::span<float> WhisperSession::run() {
  rows_->bind(*decoder_);
  decoder_->run();
  rows_->take(*decoder_);
  const TensorView logits = decoder_->output(logits_output_);
  const Shape wanted{static_cast<std::int64_t>(rows_->num_logit_rows()), facts_.vocab_size};
  if (logits.dtype != DType::kFloat32 || logits.shape != wanted) {
    throw Error(ErrorKind::kInternal,
                std::string("the logits are ") + to_string(logits.dtype) + " " + logits.shape.to_string() +
                    ", wanted float32 " + wanted.to_string(),
                facts_.decoder_part, "build the bundle again");
  }
  logits_.resize(static_cast<std::size_t>(wanted.num_elements()));
  std::memcpy(logits_.data(), logits.data, logits_.size() * sizeof(float));
  return logits_;
}

}  // namespace pajamas
