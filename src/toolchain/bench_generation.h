// Bench of a language bundle: time to first token, tokens per second of prefill and decode at several numbers of
// concurrent requests, and memory. The JSON is docs/schemas/bench_generation.schema.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/cancel.h"

namespace pajamas {

struct GenerationBenchRequest {
  std::filesystem::path bundle;
  std::vector<std::int64_t> concurrency{1};  ///< Requests at once, 1 or more each.
  std::int64_t num_input_tokens = 512;       ///< Of each prompt, random tokens; 1 or more.
  std::int64_t num_output_tokens = 128;      ///< 2 or more.
  std::int64_t num_repeats = 3;              ///< Medians are given; 1 or more.
  std::int64_t max_step_tokens = 512;
  int num_threads = 0;  ///< 0: all.
  std::string kv_precision = "auto";
  bool is_exact_fp32 = false;
  Progress progress;
};

/// Requests start together. Prefill: input tokens over the time until every request has its first token, with one
/// output token each. Decode: the further output tokens over the further time of a run with all of them. Neither uses
/// the prefix cache. Throws Error{kUnsupported} for a bundle whose proof failed, Error{kUsage} for lengths past the
/// context, and as Generator does.
nlohmann::json bench_generation(const GenerationBenchRequest& request);

}  // namespace pajamas
