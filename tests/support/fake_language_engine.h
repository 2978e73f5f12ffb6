// A language model without weights: the logits of a token are a hash of all tokens that are found through the block
// tables in the cache's blocks. So any mistake in block tables, copies, sharing or recomputation changes the text. It
// refuses inputs that no scheduler may make. Failures and delays can be injected.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/target.h"
#include "pajamas/error.h"
#include "pajamas/tensor.h"

namespace pajamas::test {

struct FakeLanguageOptions {
  std::int64_t vocab_size = 64;
  std::int64_t block_size_tokens = 4;
  std::size_t block_bytes = 1024;
  /// Logits are constant and nothing is checked: what remains is the cost of the caller.
  bool is_free = false;
  std::chrono::microseconds delay{0};  ///< Of each step.
  /// Called at the beginning of each step with its number from 0; may throw.
  std::function<void(std::int64_t step)> on_step;
  std::int32_t poison_token = -1;  ///< A sequence that holds it has logits of NaN.
  float sharpness = 8.0F;          ///< Logits are in [0, sharpness).
};

inline std::uint64_t fake_mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// The hash of a text, one token at a time.
inline std::uint64_t fake_text_hash(std::uint64_t before, std::int64_t token, std::int64_t position) {
  return fake_mix(before ^ fake_mix(static_cast<std::uint64_t>(token) * 1315423911ULL) ^
                  static_cast<std::uint64_t>(position));
}

inline float fake_logit(std::uint64_t text_hash, std::int64_t token, const FakeLanguageOptions& options) {
  const std::uint64_t bits = fake_mix(text_hash + static_cast<std::uint64_t>(token) * 0x9e3779b97f4a7c15ULL);
  return options.sharpness * static_cast<float>(bits >> 40) / static_cast<float>(1 << 24);
}

class FakeCache : public KvCache {
 public:
  struct Slot {
    std::int64_t token = -1;  ///< -1: never written.
    std::int64_t position = -1;
  };
  FakeCache(const FakeLanguageOptions& options, std::int64_t num_blocks)
      : num_blocks_(num_blocks), slots_(static_cast<std::size_t>(num_blocks * options.block_size_tokens)) {
    layout_.block_size_tokens = options.block_size_tokens;
    layout_.block_bytes = options.block_bytes;
    layout_.num_layers = 1;
  }
  const KvCacheLayout& layout() const override { return layout_; }
  std::int64_t num_blocks() const override { return num_blocks_; }
  void copy_block(std::int64_t from, std::int64_t to) override {
    if (from == to) throw Error(ErrorKind::kInternal, "a block is copied over itself");
    ++num_copies;
    for (std::int64_t i = 0; i < layout_.block_size_tokens; ++i) slot(to, i) = slot(from, i);
  }
  Slot& slot(std::int64_t block, std::int64_t index) {
    if (block < 0 || block >= num_blocks_) throw Error(ErrorKind::kInternal, "no block " + std::to_string(block));
    return slots_.at(static_cast<std::size_t>(block * layout_.block_size_tokens + index));
  }
  std::int64_t num_copies = 0;

 private:
  KvCacheLayout layout_;
  std::int64_t num_blocks_;
  std::vector<Slot> slots_;
};

class FakeLanguageEngine : public Engine, public std::enable_shared_from_this<FakeLanguageEngine> {
 public:
  explicit FakeLanguageEngine(FakeLanguageOptions options) : options_(std::move(options)) {
    const auto add = [](std::vector<TensorInfo>& list, const char* name, DType dtype, std::vector<Dimension> shape) {
      TensorInfo info;
      info.name = name;
      info.dtype = dtype;
      info.shape = std::move(shape);
      list.push_back(std::move(info));
    };
    // Not in the order of the documentation: names decide.
    add(inputs_, "logit_rows", DType::kInt64, {Dimension::named("num_rows")});
    add(inputs_, "max_context_len", DType::kInt32, {});
    add(inputs_, "input_ids", DType::kInt64, {Dimension::named("num_tokens")});
    add(inputs_, "position_ids", DType::kInt64, {Dimension::named("num_tokens")});
    add(inputs_, "past_lens", DType::kInt32, {Dimension::named("num_sequences")});
    add(inputs_, "subsequence_begins", DType::kInt32, {Dimension::named("num_sequences_plus_1")});
    add(inputs_, "block_indices", DType::kInt32, {Dimension::named("num_blocks")});
    add(inputs_, "block_indices_begins", DType::kInt32, {Dimension::named("num_sequences_plus_1")});
    add(outputs_, "logits", DType::kFloat32, {Dimension::named("num_rows"), Dimension::known(options_.vocab_size)});
    layout_.block_size_tokens = options_.block_size_tokens;
    layout_.block_bytes = options_.block_bytes;
    layout_.num_layers = 1;
  }
  const std::vector<TensorInfo>& inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& outputs() const override { return outputs_; }
  const KvCacheLayout* kv_cache_layout() const override { return &layout_; }
  std::shared_ptr<KvCache> new_kv_cache(std::int64_t num_blocks) const override {
    return std::make_shared<FakeCache>(options_, num_blocks);
  }
  std::unique_ptr<Session> new_session() const override;
  nlohmann::json describe() const override { return {{"device", "fake"}}; }
  const FakeLanguageOptions& options() const { return options_; }

 private:
  FakeLanguageOptions options_;
  std::vector<TensorInfo> inputs_, outputs_;
  KvCacheLayout layout_;
};

class FakeLanguageSession : public Session {
 public:
  explicit FakeLanguageSession(std::shared_ptr<const FakeLanguageEngine> engine)
      : engine_(std::move(engine)), given_(engine_->inputs().size()) {}
  void set_input(std::size_t index, const TensorView& tensor) override { given_.at(index) = tensor; }
  void set_kv_cache(std::shared_ptr<KvCache> cache) override { cache_ = std::dynamic_pointer_cast<FakeCache>(cache); }
  TensorView output(std::size_t index) const override {
    if (index != 0) throw Error(ErrorKind::kInternal, "there is one output");
    return {DType::kFloat32, Shape{num_rows_, engine_->options().vocab_size},
            reinterpret_cast<const std::byte*>(logits_.data())};
  }
  RunTiming last_timing() const override { return {}; }

  void run() override {
    const FakeLanguageOptions& options = engine_->options();
    const std::int64_t step = num_steps_++;
    if (options.delay.count() > 0) std::this_thread::sleep_for(options.delay);
    if (options.on_step) options.on_step(step);
    const auto logit_rows = input<std::int64_t>("logit_rows");
    num_rows_ = static_cast<std::int64_t>(logit_rows.size());
    const auto vocab_size = static_cast<std::size_t>(options.vocab_size);
    logits_.resize(logit_rows.size() * vocab_size, 0.5F);
    if (options.is_free) return;
    const std::map<std::int64_t, std::uint64_t> hashes = compute();
    require(num_rows_ > 0, "an empty logit_rows");
    for (std::size_t row = 0; row < logit_rows.size(); ++row) {
      const auto found = hashes.find(logit_rows[row]);
      require(found != hashes.end(), "a logit row past the tokens");
      for (std::size_t token = 0; token < vocab_size; ++token) {
        logits_[row * vocab_size + token] = poisoned_.count(logit_rows[row]) > 0
                                                ? std::numeric_limits<float>::quiet_NaN()
                                                : fake_logit(found->second, static_cast<std::int64_t>(token), options);
      }
    }
  }

 private:
  static void require(bool is_so, const std::string& message) {
    if (!is_so) throw Error(ErrorKind::kInternal, "fake engine: " + message);
  }
  template <typename T>
  std::span<const T> input(const std::string& name) const {
    for (std::size_t i = 0; i < given_.size(); ++i) {
      if (engine_->inputs()[i].name != name) continue;
      require(given_[i].dtype == engine_->inputs()[i].dtype, name + " has another type");
      require(given_[i].shape.rank() == engine_->inputs()[i].shape.size(), name + " has another rank");
      return given_[i].as<T>();
    }
    throw Error(ErrorKind::kInternal, "no input " + name);
  }

  /// Writes the new tokens into the cache, then reads each sequence back; hash of the text up to each new token.
  std::map<std::int64_t, std::uint64_t> compute() {
    const std::int64_t block_size = engine_->options().block_size_tokens;
    const auto ids = input<std::int64_t>("input_ids");
    const auto positions = input<std::int64_t>("position_ids");
    const auto past_lens = input<std::int32_t>("past_lens");
    const auto begins = input<std::int32_t>("subsequence_begins");
    const auto blocks = input<std::int32_t>("block_indices");
    const auto block_begins = input<std::int32_t>("block_indices_begins");
    const auto max_context_len = input<std::int32_t>("max_context_len");
    require(cache_ != nullptr, "no cache");
    require(!past_lens.empty() && begins.size() == past_lens.size() + 1 && block_begins.size() == begins.size(),
            "sizes differ");
    require(begins[0] == 0 && block_begins[0] == 0 && static_cast<std::size_t>(begins.back()) == ids.size() &&
                static_cast<std::size_t>(block_begins.back()) == blocks.size() && positions.size() == ids.size(),
            "begins do not end");
    std::set<std::pair<std::int32_t, std::int64_t>> written;
    std::int32_t longest = 0;
    for (std::size_t s = 0; s < past_lens.size(); ++s) {
      const std::int64_t num_new = begins[s + 1] - begins[s];
      const std::int64_t context = past_lens[s] + num_new;
      require(num_new > 0, "a sequence without new tokens");
      require(block_begins[s + 1] - block_begins[s] == (context + block_size - 1) / block_size,
              "a block table of another length than the context");
      longest = std::max(longest, static_cast<std::int32_t>(context));
      for (std::int64_t i = 0; i < num_new; ++i) {
        const std::int64_t position = past_lens[s] + i;
        const auto row = static_cast<std::size_t>(begins[s] + i);
        require(positions[row] == position, "a wrong position");
        require(ids[row] >= 0 && ids[row] < engine_->options().vocab_size, "a token out of range");
        const std::int32_t block = blocks[static_cast<std::size_t>(block_begins[s] + position / block_size)];
        require(written.insert({block, position % block_size}).second, "two sequences write to one place");
        cache_->slot(block, position % block_size) = {ids[row], position};
      }
    }
    require(max_context_len.size() == 1 && max_context_len[0] == longest, "a wrong max_context_len");
    std::map<std::int64_t, std::uint64_t> hashes;
    poisoned_.clear();
    for (std::size_t s = 0; s < past_lens.size(); ++s) {
      const std::int64_t context = past_lens[s] + begins[s + 1] - begins[s];
      std::uint64_t hash = 0;
      bool is_poisoned = false;
      for (std::int64_t position = 0; position < context; ++position) {
        const std::int32_t block = blocks[static_cast<std::size_t>(block_begins[s] + position / block_size)];
        // A place that another sequence writes in this very step may be read before or after.
        require(position >= past_lens[s] || written.count({block, position % block_size}) == 0,
                "a sequence reads what another writes");
        const FakeCache::Slot& slot = cache_->slot(block, position % block_size);
        // What a wrong table finds is hashed like the rest, and so changes the text.
        hash = fake_text_hash(hash, slot.token, slot.position);
        is_poisoned = is_poisoned || slot.token == engine_->options().poison_token;
        if (position < past_lens[s]) continue;
        const std::int64_t row = begins[s] + position - past_lens[s];
        hashes[row] = hash;
        if (is_poisoned) poisoned_.insert(row);
      }
    }
    return hashes;
  }

  std::shared_ptr<const FakeLanguageEngine> engine_;
  std::shared_ptr<FakeCache> cache_;
  std::vector<TensorView> given_;
  std::vector<float> logits_;
  std::set<std::int64_t> poisoned_;
  std::int64_t num_rows_ = 0;
  std::int64_t num_steps_ = 0;
};

inline std::unique_ptr<Session> FakeLanguageEngine::new_session() const {
  return std::make_unique<FakeLanguageSession>(shared_from_this());
}

/// What greedy decoding of the model gives, without any cache.
inline std::vector<std::int32_t> fake_greedy(std::vector<std::int32_t> tokens, std::size_t num_new,
                                             const FakeLanguageOptions& options) {
  std::uint64_t hash = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    hash = fake_text_hash(hash, tokens[i], static_cast<std::int64_t>(i));
  }
  std::vector<std::int32_t> drawn;
  while (drawn.size() < num_new) {
    std::int32_t best = 0;
    for (std::int32_t token = 1; token < options.vocab_size; ++token) {
      if (fake_logit(hash, token, options) > fake_logit(hash, best, options)) best = token;
    }
    hash = fake_text_hash(hash, best, static_cast<std::int64_t>(tokens.size() + drawn.size()));
    drawn.push_back(best);
  }
  return drawn;
}

}  // namespace pajamas::test
