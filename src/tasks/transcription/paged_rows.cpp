// Texts as blocks of one paged cache; texts that part share what they have in common. See decoder_rows.h.
#include <string>
#include <utility>

#include "engine/step_inputs.h"
#include "pajamas/error.h"
#include "tasks/generation/block_pool.h"
#include "tasks/transcription/decoder_rows.h"

namespace pajamas {
namespace {

class PagedRows final : public DecoderRows {
 public:
  PagedRows(std::shared_ptr<const Engine> decoder, Session& session, std::int64_t context_length,
            std::int64_t num_blocks)
      : decoder_(std::move(decoder)),
        context_length_(context_length),
        inputs_(*decoder_),
        cache_(decoder_->new_kv_cache(num_blocks)),
        pool_(num_blocks, decoder_->kv_cache_layout()->block_size_tokens, false) {
    session.set_kv_cache(cache_);
  }

  void clear() override {
    for (const Sequence& sequence : sequences_) pool_.release(sequence.blocks);
    sequences_.clear();
    inputs_.clear();
  }

  void begin(std::span<const std::vector<std::int32_t>> prompts) override {
    clear();
    for (const std::vector<std::int32_t>& prompt : prompts) append(sequences_.emplace_back(), prompt);
  }

  void step(std::span<const StepModel::Row> rows) override {
    inputs_.clear();
    std::vector<Sequence> next;
    next.reserve(rows.size());
    for (const StepModel::Row& row : rows) {
      const Sequence& parent = sequences_.at(static_cast<std::size_t>(row.parent));
      for (const std::int32_t block : parent.blocks) pool_.share(block);
      next.push_back(parent);
    }
    for (const Sequence& sequence : sequences_) pool_.release(sequence.blocks);
    sequences_ = std::move(next);
    for (std::size_t i = 0; i < rows.size(); ++i) append(sequences_[i], {&rows[i].token, 1});
  }

  void keep(std::span<const std::size_t> rows) override {
    std::vector<Sequence> kept;
    std::size_t next = 0;
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      if (next < rows.size() && rows[next] == i) {
        kept.push_back(std::move(sequences_[i]));
        ++next;
      } else {
        pool_.release(sequences_[i].blocks);
      }
    }
    sequences_ = std::move(kept);
  }

  std::size_t num_rows() const override { return sequences_.size(); }
  void add_logit_row(std::int64_t token_index) override { inputs_.add_logit_row(token_index); }
  std::size_t num_logit_rows() const override { return inputs_.num_logit_rows(); }
  void bind(Session& session) const override { inputs_.bind(session); }
  void take(const Session&) override {}  // The session has written into the cache.

 private:
  struct Sequence {
    std::vector<std::int32_t> blocks;
    std::int64_t length = 0;
  };

  /// Room for the tokens behind the sequence; a block that others hold too is copied before it is written.
  void append(Sequence& sequence, std::span<const std::int32_t> tokens) {
    const std::int64_t block_size = pool_.block_size_tokens();
    const std::int64_t length = sequence.length + static_cast<std::int64_t>(tokens.size());
    if (length > context_length_) {
      throw Error(ErrorKind::kInternal, "a text of " + std::to_string(length) +
                                            " tokens is longer than the context of " + std::to_string(context_length_));
    }
    const auto take_block = [&] {
      const auto block = pool_.take();
      if (!block) throw Error(ErrorKind::kInternal, "the cache of the decoder has too few blocks");
      return *block;
    };
    if (sequence.length % block_size != 0 && pool_.is_shared(sequence.blocks.back())) {
      const std::int32_t shared = sequence.blocks.back();
      sequence.blocks.back() = take_block();
      cache_->copy_block(shared, sequence.blocks.back());
      pool_.release({&shared, 1});
    }
    while (static_cast<std::int64_t>(sequence.blocks.size()) * block_size < length) {
      sequence.blocks.push_back(take_block());
    }
    inputs_.add_sequence(tokens, sequence.length, sequence.blocks);
    sequence.length = length;
  }

  std::shared_ptr<const Engine> decoder_;
  std::int64_t context_length_;
  StepInputs inputs_;
  std::shared_ptr<KvCache> cache_;
  BlockPool pool_;
  std::vector<Sequence> sequences_;
};

}  // namespace

std::unique_ptr<DecoderRows> make_paged_rows(std::shared_ptr<const Engine> decoder, Session& session,
                                             std::int64_t context_length, std::int64_t max_rows) {
  const std::int64_t block_size = decoder->kv_cache_layout()->block_size_tokens;
  // Each row may hold a whole context of its own, and one block more while it parts from another.
  const std::int64_t blocks_a_row = (context_length + block_size - 1) / block_size + 1;
  return std::make_unique<PagedRows>(std::move(decoder), session, context_length, max_rows * blocks_a_row);
}

}  // namespace pajamas
