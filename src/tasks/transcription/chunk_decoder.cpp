// See chunk_decoder.h.
#include "tasks/transcription/chunk_decoder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "pajamas/error.h"
#include "text/logit_kernels.h"
#include "text/philox.h"

namespace pajamas {
namespace {

/// A text under way, or one that has ended.
struct Text {
  std::vector<std::int32_t> tokens;
  std::vector<float> logprobs;
  double sum_logprob = 0;
  std::int32_t row = 0;      ///< Of the last step.
  std::size_t logits = 0;    ///< Row of the chunk's logits that continues it.
  std::uint64_t stream = 0;  ///< Of random numbers.
  bool has_ended = false;

  /// Over the length with its end, as the published beam search ranks.
  double mean() const { return sum_logprob / static_cast<double>(std::max<std::size_t>(tokens.size(), 1)); }
};

/// One chunk while it is decoded.
struct Chunk {
  const ChunkTask* task = nullptr;
  std::size_t result = 0;
  std::vector<Text> texts;     ///< Going on.
  std::vector<Text> finished;  ///< Reached the end.
  float no_speech_probability = 0;
  bool is_done = false;
  bool has_filler = false;  ///< `texts` is no text of its own.
};

struct Continuation {
  std::size_t text = 0;
  std::int32_t token = 0;
  float logprob = 0;
  double sum = 0;
};

class Decoding {
 public:
  Decoding(StepModel& model, std::span<const ChunkTask> tasks, std::int32_t no_speech_token,
           const ChunkDecoderOptions& options)
      : model_(model),
        options_(options),
        vocab_size_(static_cast<std::size_t>(model.vocab_size())),
        num_texts_(options.temperature > 0 ? std::max(options.num_samples, 1) : std::max(options.beam_size, 1)) {
    begin(tasks, no_speech_token);
  }

  bool is_done() const {
    return std::all_of(chunks_.begin(), chunks_.end(), [](const Chunk& chunk) { return chunk.is_done; });
  }

  void advance() {
    drop_finished();
    std::vector<StepModel::Row> rows;
    for (Chunk& chunk : chunks_) {
      // Equally many rows of each chunk: those that are short of them repeat their last, which nobody looks at.
      for (std::size_t i = 0; i < num_rows_; ++i) {
        const Text& text = chunk.texts[std::min(i, chunk.texts.size() - 1)];
        rows.push_back({text.row, text.tokens.back()});
      }
    }
    const std::span<float> logits = model_.step(rows);
    rows_per_chunk_ = num_rows_;
    for (std::size_t c = 0; c < chunks_.size(); ++c) {
      for (std::size_t i = 0; i < chunks_[c].texts.size(); ++i) {
        chunks_[c].texts[i].row = static_cast<std::int32_t>(c * num_rows_ + i);
        chunks_[c].texts[i].logits = i;
      }
      if (chunks_[c].is_done) continue;
      choose(chunks_[c], logits.subspan(c * num_rows_ * vocab_size_, num_rows_ * vocab_size_));
    }
  }

  std::vector<DecodedChunk> take() {
    for (Chunk& chunk : chunks_) store(chunk);
    return std::move(results_);
  }

 private:
  void begin(std::span<const ChunkTask> tasks, std::int32_t no_speech_token) {
    std::vector<std::size_t> wanted;
    std::vector<std::vector<std::int32_t>> prompts;
    for (const ChunkTask& task : tasks) {
      if (task.prompt.size() != tasks.front().prompt.size() ||
          task.no_speech_position != tasks.front().no_speech_position) {
        throw Error(ErrorKind::kInternal, "chunks that are decoded together have prompts of different lengths");
      }
      wanted.push_back(task.chunk);
      prompts.push_back(task.prompt);
    }
    const auto last = static_cast<std::int64_t>(tasks.front().prompt.size()) - 1;
    const std::int64_t positions[] = {tasks.front().no_speech_position, last};
    const std::span<float> logits = model_.begin(wanted, prompts, positions);
    results_.resize(tasks.size());
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      Chunk chunk;
      chunk.task = &tasks[i];
      chunk.result = i;
      const std::span<float> first = logits.subspan(2 * i * vocab_size_, vocab_size_);
      const float highest = highest_logit(first, {});
      chunk.no_speech_probability =
          static_cast<float>(std::exp(static_cast<double>(first[static_cast<std::size_t>(no_speech_token)]) -
                                      static_cast<double>(highest)) /
                             sum_of_exponentials(first, highest));
      Text text;
      text.row = static_cast<std::int32_t>(i);
      for (int draw = 0; draw < (options_.temperature > 0 ? num_texts_ : 1); ++draw) {
        text.stream = tasks[i].stream * static_cast<std::uint64_t>(num_texts_) + static_cast<std::uint64_t>(draw);
        chunk.texts.push_back(text);
      }
      choose(chunk, logits.subspan((2 * i + 1) * vocab_size_, vocab_size_));
      chunks_.push_back(std::move(chunk));
    }
    num_rows_ = static_cast<std::size_t>(num_texts_);
  }

  /// Continues the texts of a chunk, whose logits are row by row in `logits`.
  void choose(Chunk& chunk, std::span<float> logits) {
    for (std::size_t i = 0; i < chunk.texts.size(); ++i) {
      if (i > 0 && chunk.texts[i].logits == chunk.texts[i - 1].logits) continue;  // The first draws share a row.
      const std::span<float> row = row_of(chunk.texts[i], logits);
      if (!are_logits_valid(row)) {
        throw Error(ErrorKind::kInternal, "the model gives numbers that are none (NaN or infinity)", "logits",
                    "build with --precision fp32, and check the bundle by pajamas verify");
      }
      chunk.task->rules->apply(chunk.texts[i].tokens, row);
      if (!std::isfinite(highest_logit(row, {}))) {
        throw Error(ErrorKind::kBadInput, "the tokens that the model suppresses leave none that may come next",
                    "task.whisper", "check the suppressed tokens of the checkpoint, and build the bundle again");
      }
      log_softmax(row);
    }
    if (options_.temperature > 0) {
      draw(chunk, logits);
    } else {
      search(chunk, logits);
    }
    const auto length = static_cast<std::int64_t>(chunk.texts.empty() ? 0 : chunk.texts.front().tokens.size());
    chunk.is_done =
        chunk.texts.empty() || static_cast<int>(chunk.finished.size()) >= num_texts_ || length >= options_.max_tokens;
  }

  void search(Chunk& chunk, std::span<float> logits) {
    std::vector<Continuation> candidates;
    for (std::size_t i = 0; i < chunk.texts.size(); ++i) {
      // One more than there are beams: one of them may be the end.
      select_highest(row_of(chunk.texts[i], logits), static_cast<std::size_t>(num_texts_) + 1, best_);
      for (const LogitCandidate& best : best_) {
        candidates.push_back({i, best.token_id, best.key, chunk.texts[i].sum_logprob + static_cast<double>(best.key)});
      }
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Continuation& a, const Continuation& b) { return a.sum > b.sum; });
    std::vector<Text> next;
    for (const Continuation& candidate : candidates) {
      const bool is_end = candidate.token == chunk.task->rules->end_of_text();
      if (is_end && static_cast<int>(chunk.finished.size()) < num_texts_) {
        chunk.finished.push_back(ended(chunk.texts[candidate.text], candidate.logprob));
      } else if (!is_end) {
        next.push_back(continued(chunk.texts[candidate.text], candidate.token, candidate.logprob));
      }
      if (static_cast<int>(next.size()) == num_texts_) break;
      // Greedy: the likeliest is the end, and nothing goes on.
      if (num_texts_ == 1 && is_end) break;
    }
    chunk.texts = std::move(next);
  }

  void draw(Chunk& chunk, std::span<float> logits) {
    std::vector<Text> next;
    weights_.resize(vocab_size_);
    for (const Text& text : chunk.texts) {
      const std::span<float> row = row_of(text, logits);
      const double total =
          exponentiate(row, highest_logit(row, {}), static_cast<float>(1 / options_.temperature), weights_);
      // A draw depends on the seed, the chunk, the temperature and its place alone.
      const auto bits =
          philox4x32({static_cast<std::uint32_t>(text.tokens.size()), static_cast<std::uint32_t>(text.stream),
                      static_cast<std::uint32_t>(text.stream >> 32),
                      static_cast<std::uint32_t>(std::lround(options_.temperature * 1000))},
                     {static_cast<std::uint32_t>(options_.seed), static_cast<std::uint32_t>(options_.seed >> 32)});
      double rest = static_cast<double>(bits[0]) / 4294967296.0 * total;
      std::size_t chosen = 0;
      for (std::size_t token = 0; token < vocab_size_; ++token) {
        if (weights_[token] <= 0) continue;
        chosen = token;
        rest -= static_cast<double>(weights_[token]);
        if (rest < 0) break;
      }
      const auto token = static_cast<std::int32_t>(chosen);
      if (token == chunk.task->rules->end_of_text()) {
        chunk.finished.push_back(ended(text, row[chosen]));
      } else {
        next.push_back(continued(text, token, row[chosen]));
      }
    }
    chunk.texts = std::move(next);
  }

  std::span<float> row_of(const Text& text, std::span<float> logits) const {
    return logits.subspan(text.logits * vocab_size_, vocab_size_);
  }

  static Text ended(const Text& text, float logprob) {
    Text result = text;
    result.sum_logprob += static_cast<double>(logprob);
    result.has_ended = true;
    return result;
  }

  static Text continued(const Text& text, std::int32_t token, float logprob) {
    Text result = text;
    result.tokens.push_back(token);
    result.logprobs.push_back(logprob);
    result.sum_logprob += static_cast<double>(logprob);
    return result;
  }

  /// Chunks that are done cost as much as the others: they go when they are half of all.
  void drop_finished() {
    const auto num_done = static_cast<std::size_t>(
        std::count_if(chunks_.begin(), chunks_.end(), [](const Chunk& chunk) { return chunk.is_done; }));
    if (num_done == 0 || 2 * num_done < chunks_.size()) {
      // A chunk that stays beside the others needs some text to repeat.
      for (std::size_t c = 0; c < chunks_.size(); ++c) {
        Chunk& chunk = chunks_[c];
        if (chunk.is_done && chunk.texts.empty()) {
          Text filler;
          filler.tokens.push_back(chunk.task->rules->end_of_text());
          filler.row = static_cast<std::int32_t>(c * rows_per_chunk_);
          chunk.texts.push_back(std::move(filler));
          chunk.has_filler = true;
        }
      }
      return;
    }
    std::vector<std::size_t> kept;
    std::vector<Chunk> chunks;
    for (std::size_t c = 0; c < chunks_.size(); ++c) {
      if (chunks_[c].is_done) {
        store(chunks_[c]);
        continue;
      }
      const auto moved = static_cast<std::int32_t>((c - chunks.size()) * rows_per_chunk_);
      for (Text& text : chunks_[c].texts) text.row -= moved;
      kept.push_back(c);
      chunks.push_back(std::move(chunks_[c]));
    }
    model_.keep(kept);
    chunks_ = std::move(chunks);
  }

  void store(Chunk& chunk) {
    if (chunk.has_filler) chunk.texts.clear();
    // Texts that did not end count where too few did.
    std::stable_sort(chunk.texts.begin(), chunk.texts.end(),
                     [](const Text& a, const Text& b) { return a.sum_logprob > b.sum_logprob; });
    for (Text& text : chunk.texts) {
      if (static_cast<int>(chunk.finished.size()) >= num_texts_) break;
      chunk.finished.push_back(std::move(text));
    }
    const auto best = std::max_element(chunk.finished.begin(), chunk.finished.end(),
                                       [](const Text& a, const Text& b) { return a.mean() < b.mean(); });
    DecodedChunk& result = results_[chunk.result];
    result.tokens = std::move(best->tokens);
    result.logprobs = std::move(best->logprobs);
    result.sum_logprob = best->sum_logprob;
    result.no_speech_probability = chunk.no_speech_probability;
    result.temperature = static_cast<float>(options_.temperature);
    result.has_ended = best->has_ended;
  }

  StepModel& model_;
  const ChunkDecoderOptions& options_;
  std::size_t vocab_size_;
  int num_texts_;
  std::size_t num_rows_ = 1;        ///< A chunk has in each step.
  std::size_t rows_per_chunk_ = 1;  ///< It had in the last one; one after the prompt.
  std::vector<Chunk> chunks_;
  std::vector<DecodedChunk> results_;
  std::vector<LogitCandidate> best_;
  std::vector<float> weights_;
};

}  // namespace

std::vector<DecodedChunk> decode_chunks(StepModel& model, std::span<const ChunkTask> tasks,
                                        std::int32_t no_speech_token, const ChunkDecoderOptions& options,
                                        const std::function<void()>& check) {
  if (tasks.empty()) return {};
  Decoding decoding(model, tasks, no_speech_token, options);
  while (!decoding.is_done()) {
    if (check) check();
    decoding.advance();
  }
  return decoding.take();
}

}  // namespace pajamas
