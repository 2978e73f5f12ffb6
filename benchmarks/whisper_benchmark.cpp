// Times of the parts of a Whisper bundle: the encoder on one chunk, and a step of the decoder for one text and for five
// of one chunk, with a context of 64 tokens. `whisper_benchmark BUNDLE [THREADS]`; the values are noise, which costs
// what speech costs. Whole transcriptions are the suite `audio`'s.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <vector>

#include "bundle/bundle.h"
#include "engine/engine_loader.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::int64_t kContextTokens = 64;

double milliseconds(Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

/// Median and least of the runs.
template <typename Run>
void report(const char* name, int num_runs, const Run& run) {
  run();
  std::vector<double> times;
  for (int i = 0; i < num_runs; ++i) {
    const auto begin = Clock::now();
    run();
    times.push_back(milliseconds(Clock::now() - begin));
  }
  std::sort(times.begin(), times.end());
  std::printf("%-28s median %8.2f ms, least %8.2f ms\n", name, times[times.size() / 2], times.front());
}

template <typename T>
Tensor list(const std::vector<T>& values) {
  return Tensor::of<T>(Shape{static_cast<std::int64_t>(values.size())}, std::span<const T>(values));
}

class Part {
 public:
  Part(const Bundle& bundle, const std::string& part, int num_threads) {
    SessionOptions options;
    options.num_threads = num_threads;
    const auto begin = Clock::now();
    engine_ = load_engine(bundle, part, options);
    session_ = engine_->new_session();
    std::printf("%-28s %s, loaded in %.0f ms\n", part.c_str(), engine_->describe().dump().c_str(),
                milliseconds(Clock::now() - begin));
    if (engine_->kv_cache_layout() != nullptr) session_->set_kv_cache(cache_ = engine_->new_kv_cache(64));
  }
  void set(const std::string& name, Tensor tensor) {
    for (std::size_t i = 0; i < engine_->inputs().size(); ++i) {
      if (engine_->inputs()[i].name != name) continue;
      inputs_[name] = std::move(tensor);
      session_->set_input(i, inputs_[name].view());
    }
  }
  void run() { session_->run(); }
  const Engine& engine() const { return *engine_; }
  const Session& session() const { return *session_; }

 private:
  std::shared_ptr<const Engine> engine_;
  std::unique_ptr<Session> session_;
  std::shared_ptr<KvCache> cache_;
  std::map<std::string, Tensor> inputs_;
};

void set_step(Part& decoder, std::int64_t num_texts, std::int64_t num_past) {
  std::vector<std::int64_t> tokens, positions, rows;
  std::vector<std::int32_t> past, begins{0}, blocks, block_begins{0};
  const std::int64_t block_size = decoder.engine().kv_cache_layout()->block_size_tokens;
  const std::int64_t num_blocks = (num_past + block_size) / block_size;
  for (std::int64_t i = 0; i < num_texts; ++i) {
    tokens.push_back(100 + i);
    positions.push_back(num_past);
    rows.push_back(i);
    past.push_back(static_cast<std::int32_t>(num_past));
    begins.push_back(static_cast<std::int32_t>(i + 1));
    for (std::int64_t k = 0; k < num_blocks; ++k) blocks.push_back(static_cast<std::int32_t>(i * num_blocks + k));
    block_begins.push_back(static_cast<std::int32_t>(blocks.size()));
  }
  decoder.set("input_ids", list(tokens));
  decoder.set("position_ids", list(positions));
  decoder.set("past_lens", list(past));
  decoder.set("subsequence_begins", list(begins));
  decoder.set("block_indices", list(blocks));
  decoder.set("block_indices_begins", list(block_begins));
  decoder.set("max_context_len", Tensor::scalar(static_cast<std::int32_t>(num_past + 1)));
  decoder.set("logit_rows", list(rows));
}

void run(const char* folder, int num_threads) {
  const Bundle bundle = Bundle::open(folder);
  const WhisperFacts& facts = bundle.manifest().task.transcription.value().whisper.value();
  Part encoder(bundle, facts.encoder_part, num_threads);
  Tensor features(DType::kFloat32, Shape{1, facts.num_mels, 2 * facts.num_positions});
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0F, 0.5F);
  for (float& value : features.mutable_as<float>()) value = normal(random);
  encoder.set("features", std::move(features));
  report("encoder, 1 chunk", 9, [&] { encoder.run(); });
  Part decoder(bundle, facts.decoder_part, num_threads);
  for (std::size_t i = 0; i < encoder.engine().outputs().size(); ++i) {
    decoder.set(encoder.engine().outputs()[i].name, Tensor::copy_of(encoder.session().output(i)));
  }
  for (const std::int64_t num_texts : {1, 5}) {
    for (std::int64_t past = 0; past < kContextTokens; ++past) {
      set_step(decoder, num_texts, past);
      decoder.run();
    }
    report(num_texts == 1 ? "decoder step, 1 text" : "decoder step, 5 texts", 60, [&] { decoder.run(); });
  }
}

}  // namespace
}  // namespace pajamas

int main(int argc, char** argv) {
  if (argc < 2) return std::puts("whisper_benchmark BUNDLE [THREADS]"), 2;
  try {
    pajamas::run(argv[1], argc > 2 ? std::atoi(argv[2]) : 2);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
