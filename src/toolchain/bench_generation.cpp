// Measuring a Generator. See bench_generation.h.
#include "toolchain/bench_generation.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <random>
#include <string>

#include "bench/environment.h"
#include "bench/statistics.h"
#include "bundle/bundle.h"
#include "pajamas/error.h"
#include "pajamas/generation.h"
#include "toolchain/bench_bundle.h"
#include "toolchain/version.h"

namespace pajamas {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

/// What one run of some requests that start together took.
struct BatchTimes {
  double total_s = 0;  ///< Until the last request is done.
  std::vector<double> time_to_first_token_ms;
};

/// A field of /proc/self/status in bytes; 0 where it cannot be read.
std::int64_t memory_field(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field + ":")) return std::stoll(line.substr(field.size() + 1)) * 1024;
  }
  return 0;
}

BatchTimes run_batch(Generator& generator, std::int64_t num_requests, std::int64_t num_input_tokens,
                     std::int64_t num_output_tokens, std::mt19937_64& random) {
  std::vector<GenerationRequest> requests(static_cast<std::size_t>(num_requests));
  std::uniform_int_distribution<std::int32_t> token(0, static_cast<std::int32_t>(generator.vocab_size() - 1));
  for (GenerationRequest& request : requests) {
    for (std::int64_t i = 0; i < num_input_tokens; ++i) request.prompt_tokens.push_back(token(random));
    request.max_tokens = num_output_tokens;
    request.sampling.emplace().temperature = 0;
    request.is_stop_token_ignored = true;
    request.is_prefix_cache_used = false;
  }
  std::mutex mutex;
  std::condition_variable is_done;
  std::size_t num_left = requests.size();
  std::string failure;
  BatchTimes times;
  const auto start = Clock::now();
  for (GenerationRequest& request : requests) {
    generator.submit(std::move(request), {}, [&](const GenerationResult& result) {
      const std::lock_guard lock(mutex);
      times.time_to_first_token_ms.push_back(seconds(result.time_to_first_token) * 1e3);
      for (const GenerationAnswer& answer : result.answers) {
        if (answer.finish != FinishReason::kLength)
          failure = std::string(to_string(answer.finish)) + " " + result.error;
      }
      if (--num_left == 0) is_done.notify_one();
    });
  }
  std::unique_lock lock(mutex);
  is_done.wait(lock, [&] { return num_left == 0; });
  times.total_s = seconds(Clock::now() - start);
  if (!failure.empty()) throw Error(ErrorKind::kInternal, "a measured request did not run to its length: " + failure);
  return times;
}

double median(std::vector<double> values) { return statistics_of(values).p50; }

}  // namespace

nlohmann::json bench_generation(const GenerationBenchRequest& request) {
  const Bundle bundle = Bundle::open(request.bundle);
  const Manifest& manifest = bundle.manifest();
  require_passed_proof(manifest.parts.front(), bundle);
  if (request.concurrency.empty() || *std::min_element(request.concurrency.begin(), request.concurrency.end()) < 1) {
    throw Error(ErrorKind::kUsage, "the number of requests must be 1 or more", "--concurrency");
  }
  GeneratorOptions options;
  options.num_threads = request.num_threads;
  options.max_step_tokens = request.max_step_tokens;
  options.max_sequences = *std::max_element(request.concurrency.begin(), request.concurrency.end());
  options.has_prefix_cache = false;
  options.is_exact_fp32 = request.is_exact_fp32;
  options.kv_precision = request.kv_precision;
  request.progress.step("Loading");
  const auto load_start = Clock::now();
  Generator generator(request.bundle, options);
  const double load_s = seconds(Clock::now() - load_start);
  if (request.num_input_tokens < 1 || request.num_output_tokens < 2 ||
      request.num_input_tokens + request.num_output_tokens > generator.context_length()) {
    throw Error(ErrorKind::kUsage,
                "an input of " + std::to_string(request.num_input_tokens) + " and an output of " +
                    std::to_string(request.num_output_tokens) + " tokens do not fit the context of " +
                    std::to_string(generator.context_length()),
                "--input, --output", "choose an input of 1 or more and an output of 2 or more within the context");
  }

  std::mt19937_64 random(1);
  nlohmann::json rows = nlohmann::json::array();
  for (const std::int64_t concurrency : request.concurrency) {
    std::vector<double> prefill, decode, first_token_ms;
    // Warm-up at full length: memory of the steps and of the cache is taken when it is first used.
    run_batch(generator, concurrency, request.num_input_tokens, std::min<std::int64_t>(request.num_output_tokens, 4),
              random);
    for (std::int64_t repeat = 0; repeat < request.num_repeats; ++repeat) {
      request.progress.check("measuring");
      request.progress.step("Measuring " + std::to_string(concurrency) + " at once",
                            static_cast<double>(repeat) / static_cast<double>(request.num_repeats));
      const BatchTimes one = run_batch(generator, concurrency, request.num_input_tokens, 1, random);
      const BatchTimes all =
          run_batch(generator, concurrency, request.num_input_tokens, request.num_output_tokens, random);
      const auto count = static_cast<double>(concurrency);
      prefill.push_back(count * static_cast<double>(request.num_input_tokens) / one.total_s);
      decode.push_back(count * static_cast<double>(request.num_output_tokens - 1) /
                       std::max(all.total_s - one.total_s, 1e-9));
      first_token_ms.insert(first_token_ms.end(), one.time_to_first_token_ms.begin(), one.time_to_first_token_ms.end());
    }
    rows.push_back({{"concurrency", concurrency},
                    {"time_to_first_token_ms", to_json(statistics_of(first_token_ms))},
                    {"prefill_tokens_per_s", median(prefill)},
                    {"decode_tokens_per_s", median(decode)},
                    {"repeats", {{"prefill_tokens_per_s", prefill}, {"decode_tokens_per_s", decode}}}});
  }
  const GeneratorStatistics statistics = generator.statistics();
  std::uint64_t weight_bytes = 0;
  for (const BundleFile& file : manifest.parts.front().files) {
    if (file.role == "engine") weight_bytes += file.size_bytes;
  }
  return {{"bundle", request.bundle.string()},
          {"model", manifest.model},
          {"target", manifest.target},
          {"precision", manifest.precision},
          {"input_tokens", request.num_input_tokens},
          {"output_tokens", request.num_output_tokens},
          {"num_threads", request.num_threads},
          {"load_ms", load_s * 1e3},
          {"rows", rows},
          {"memory",
           {{"resident_bytes", memory_field("VmRSS")},
            {"peak_resident_bytes", memory_field("VmHWM")},
            {"anonymous_bytes", memory_field("RssAnon")},
            {"engine_file_bytes", weight_bytes},
            {"kv_cache_bytes", static_cast<std::uint64_t>(statistics.num_blocks) * statistics.block_bytes}}},
          {"proof", manifest.parts.front().proof.value("summary", "")},
          {"environment", environment({{"pajamas", program_version()}})}};
}

}  // namespace pajamas
