// One sequence through a cache. See sequence_engine.h.
#include "verify/sequence_engine.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <utility>

#include "engine/tensor_lookup.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr const char* kInputIds = "input_ids";
constexpr const char* kPositionIds = "position_ids";
constexpr const char* kLogitRows = "logit_rows";

/// The session behind single_sequence_engine.
class SequenceSession final : public Session {
 public:
  SequenceSession(std::shared_ptr<const Engine> engine, std::int64_t max_tokens, std::int64_t chunk_tokens,
                  std::int64_t num_decoded, const NamedTensorList& fixed_inputs)
      : sequence_(engine, max_tokens, fixed_inputs), chunk_tokens_(chunk_tokens), num_decoded_(num_decoded) {}

  void set_input(std::size_t index, const TensorView& tensor) override {
    if (tensor.dtype != DType::kInt64 || tensor.shape.rank() != 1) {
      throw Error(ErrorKind::kBadInput, "input " + std::to_string(index) + " must be an int64 vector");
    }
    inputs_[index].assign(tensor.as<std::int64_t>().begin(), tensor.as<std::int64_t>().end());
  }

  void run() override {
    const auto start = std::chrono::steady_clock::now();
    const auto& [tokens, positions, rows] = inputs_;
    const auto num_tokens = static_cast<std::int64_t>(tokens.size());
    if (positions.size() != tokens.size()) {
      throw Error(ErrorKind::kBadInput, "position_ids and input_ids differ in length");
    }
    sequence_.restart();
    std::vector<std::vector<std::size_t>> wanted(tokens.size());  // Of each token, the rows of the output it fills.
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (rows[i] < 0 || rows[i] >= num_tokens) throw Error(ErrorKind::kBadInput, "logit_rows is out of range");
      wanted[static_cast<std::size_t>(rows[i])].push_back(i);
    }
    logits_ = {};
    const std::int64_t num_prefilled = std::max<std::int64_t>(num_tokens - num_decoded_, 1);
    for (std::int64_t begin = 0; begin < num_tokens;) {
      const std::int64_t end = begin < num_prefilled ? std::min(begin + chunk_tokens_, num_prefilled) : begin + 1;
      step(tokens, positions, wanted, begin, end, rows.size());
      begin = end;
    }
    timing_.device = std::chrono::steady_clock::now() - start;
  }

  TensorView output(std::size_t) const override { return logits_.view(); }
  RunTiming last_timing() const override { return timing_; }

 private:
  void step(const std::vector<std::int64_t>& tokens, const std::vector<std::int64_t>& positions,
            const std::vector<std::vector<std::size_t>>& wanted, std::int64_t begin, std::int64_t end,
            std::size_t num_rows) {
    const auto first = static_cast<std::size_t>(begin);
    const auto count = static_cast<std::size_t>(end - begin);
    std::vector<std::int64_t> step_rows;
    for (std::size_t i = 0; i < count; ++i) {
      if (!wanted[first + i].empty()) step_rows.push_back(static_cast<std::int64_t>(i));
    }
    // An engine may not take an empty list, so the last token stands in.
    const bool has_rows = !step_rows.empty();
    if (!has_rows) step_rows.push_back(end - begin - 1);
    const TensorView logits =
        sequence_.step(std::span(tokens).subspan(first, count), step_rows, std::span(positions).subspan(first, count));
    const std::int64_t vocab_size = logits.shape[1];
    if (logits_.shape().rank() == 0) {
      logits_ = Tensor(DType::kFloat32, Shape{static_cast<std::int64_t>(num_rows), vocab_size});
    }
    if (!has_rows) return;
    const std::span<float> out = logits_.mutable_as<float>();
    const std::span<const float> in = logits.as<float>();
    const auto width = static_cast<std::size_t>(vocab_size);
    for (std::size_t i = 0; i < step_rows.size(); ++i) {
      for (const std::size_t row : wanted[first + static_cast<std::size_t>(step_rows[i])]) {
        std::copy_n(in.begin() + static_cast<std::ptrdiff_t>(i * width), width,
                    out.begin() + static_cast<std::ptrdiff_t>(row * width));
      }
    }
  }

  CachedSequence sequence_;
  std::int64_t chunk_tokens_;
  std::int64_t num_decoded_;
  std::array<std::vector<std::int64_t>, 3> inputs_;
  Tensor logits_;
  RunTiming timing_;
};

class SequenceEngine final : public Engine {
 public:
  SequenceEngine(std::shared_ptr<const Engine> engine, std::int64_t max_tokens, std::int64_t chunk_tokens,
                 std::int64_t num_decoded, NamedTensorList fixed_inputs)
      : engine_(std::move(engine)),
        max_tokens_(max_tokens),
        chunk_tokens_(chunk_tokens),
        num_decoded_(num_decoded),
        fixed_inputs_(std::move(fixed_inputs)) {
    const auto vector_of = [](const char* name, const char* extent) {
      return TensorInfo{name, DType::kInt64, {Dimension::named(extent)}};
    };
    inputs_ = {vector_of(kInputIds, "num_tokens"), vector_of(kPositionIds, "num_tokens"),
               vector_of(kLogitRows, "num_rows")};
  }
  const std::vector<TensorInfo>& inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& outputs() const override { return engine_->outputs(); }
  std::unique_ptr<Session> new_session() const override {
    return std::make_unique<SequenceSession>(engine_, max_tokens_, chunk_tokens_, num_decoded_, fixed_inputs_);
  }
  nlohmann::json describe() const override { return engine_->describe(); }

 private:
  std::shared_ptr<const Engine> engine_;
  std::int64_t max_tokens_, chunk_tokens_, num_decoded_;
  NamedTensorList fixed_inputs_;
  std::vector<TensorInfo> inputs_;
};

}  // namespace

namespace {

const KvCacheLayout& cache_layout_of(const Engine& engine) {
  if (const KvCacheLayout* layout = engine.kv_cache_layout()) return *layout;
  throw Error(ErrorKind::kUnsupported, "the engine has no key/value cache: it is no language model");
}

}  // namespace

CachedSequence::CachedSequence(std::shared_ptr<const Engine> engine, std::int64_t max_tokens,
                               const NamedTensorList& fixed_inputs)
    : engine_(std::move(engine)), session_(engine_->new_session()), max_tokens_(max_tokens) {
  if (has_dense_cache(*engine_)) {
    dense_.emplace(*engine_);
    if (dense_->capacity() < max_tokens) {
      throw Error(ErrorKind::kUnsupported, "a sequence of " + std::to_string(max_tokens) +
                                               " tokens does not fit the engine's cache of " +
                                               std::to_string(dense_->capacity()));
    }
  } else {
    make_paged_cache();
  }
  fixed_inputs_.reserve(fixed_inputs.size());
  for (const auto& fixed : fixed_inputs) {
    const std::size_t index = find_tensor(engine_->inputs(), fixed.first, "input");
    fixed_inputs_.push_back(fixed.second);
    session_->set_input(index, fixed_inputs_.back().view());
  }
}

void CachedSequence::make_paged_cache() {
  block_size_ = cache_layout_of(*engine_).block_size_tokens;
  inputs_.emplace(*engine_);
  const std::int64_t num_blocks = (max_tokens_ + block_size_ - 1) / block_size_;
  cache_ = engine_->new_kv_cache(num_blocks);
  session_->set_kv_cache(cache_);
  // Backwards, so that a block table that is not followed shows.
  for (std::int64_t i = num_blocks; i-- > 0;) blocks_.push_back(static_cast<std::int32_t>(i));
}

void CachedSequence::restart() {
  num_past_ = 0;
  if (dense_) dense_->clear();
}

TensorView CachedSequence::step(std::span<const std::int64_t> tokens, std::span<const std::int64_t> rows,
                                std::span<const std::int64_t> positions) {
  const std::int64_t num_all = num_past_ + static_cast<std::int64_t>(tokens.size());
  if (num_all > max_tokens_) {
    throw Error(ErrorKind::kInternal, "a sequence of " + std::to_string(num_all) +
                                          " tokens does not fit its cache of " + std::to_string(max_tokens_));
  }
  if (dense_) {
    run_dense(tokens, rows, positions);
  } else {
    run_paged(tokens, rows, positions);
  }
  num_past_ = num_all;
  return session_->output(0);
}

void CachedSequence::run_paged(std::span<const std::int64_t> tokens, std::span<const std::int64_t> rows,
                               std::span<const std::int64_t> positions) {
  const std::int64_t num_all = num_past_ + static_cast<std::int64_t>(tokens.size());
  const std::int64_t num_blocks = (num_all + block_size_ - 1) / block_size_;
  inputs_->clear();
  inputs_->add_sequence(tokens, num_past_, std::span(blocks_).first(static_cast<std::size_t>(num_blocks)));
  if (!positions.empty()) inputs_->set_positions(positions);
  for (const std::int64_t row : rows) inputs_->add_logit_row(row);
  inputs_->bind(*session_);
  session_->run();
}

void CachedSequence::run_dense(std::span<const std::int64_t> tokens, std::span<const std::int64_t> rows,
                               std::span<const std::int64_t> positions) {
  constexpr std::int64_t kOnlySequence[] = {0};
  dense_->set_tokens(tokens, kOnlySequence);
  if (!positions.empty()) dense_->set_positions(positions);
  for (const std::int64_t row : rows) dense_->add_logit_row(row);
  dense_->bind(*session_);
  session_->run();
  dense_->take(*session_);
}

std::shared_ptr<const Engine> single_sequence_engine(std::shared_ptr<const Engine> engine, std::int64_t max_tokens,
                                                     std::int64_t chunk_tokens, std::int64_t num_decoded,
                                                     const NamedTensorList& fixed_inputs) {
  return std::make_shared<const SequenceEngine>(std::move(engine), max_tokens, chunk_tokens, num_decoded, fixed_inputs);
}

}  // namespace pajamas
