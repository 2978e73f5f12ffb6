// Texts as rows of a dense cache. See decoder_rows.h.
#include <numeric>
#include <string>
#include <utility>

#include "engine/dense_step.h"
#include "pajamas/error.h"
#include "tasks/transcription/decoder_rows.h"

namespace pajamas {
namespace {

class DenseRows final : public DecoderRows {
 public:
  explicit DenseRows(std::shared_ptr<const Engine> decoder) : decoder_(std::move(decoder)), step_(*decoder_) {}

  std::int64_t capacity() const { return step_.capacity(); }

  void clear() override {
    step_.clear();
    rows_.clear();
  }

  void begin(std::span<const std::vector<std::int32_t>> prompts) override {
    clear();
    std::vector<std::int64_t> tokens;
    for (const std::vector<std::int32_t>& prompt : prompts) tokens.insert(tokens.end(), prompt.begin(), prompt.end());
    // All continue the one empty sequence.
    step_.set_tokens(tokens, std::vector<std::int64_t>(prompts.size(), 0));
    number_rows(prompts.size());
  }

  void step(std::span<const StepModel::Row> rows) override {
    std::vector<std::int64_t> tokens, parents;
    for (const StepModel::Row& row : rows) {
      tokens.push_back(row.token);
      parents.push_back(rows_.at(static_cast<std::size_t>(row.parent)));
    }
    step_.set_tokens(tokens, parents);
    number_rows(rows.size());
  }

  /// The cache keeps the others until the next step, which no longer asks for them.
  void keep(std::span<const std::size_t> rows) override {
    std::vector<std::int64_t> kept;
    for (const std::size_t row : rows) kept.push_back(rows_.at(row));
    rows_ = std::move(kept);
  }

  std::size_t num_rows() const override { return rows_.size(); }
  void add_logit_row(std::int64_t token_index) override { step_.add_logit_row(token_index); }
  std::size_t num_logit_rows() const override { return step_.num_logit_rows(); }
  void bind(Session& session) const override { step_.bind(session); }
  void take(const Session& session) override { step_.take(session); }

 private:
  void number_rows(std::size_t num_rows) {
    rows_.resize(num_rows);
    std::iota(rows_.begin(), rows_.end(), 0);
  }

  std::shared_ptr<const Engine> decoder_;
  DenseStep step_;
  std::vector<std::int64_t> rows_;  ///< Of each row of the last step its row in the cache.
};

}  // namespace

std::unique_ptr<DecoderRows> make_dense_rows(std::shared_ptr<const Engine> decoder, std::int64_t context_length) {
  auto rows = std::make_unique<DenseRows>(std::move(decoder));
  if (rows->capacity() < context_length) {
    throw Error(ErrorKind::kBadInput,
                "the decoder's cache holds " + std::to_string(rows->capacity()) + " tokens, but the bundle says " +
                    std::to_string(context_length),
                {}, "build the bundle again");
  }
  return rows;
}

}  // namespace pajamas
