// pajamas run on a language model: one prompt, a file of requests, or a conversation. command_run.cpp chooses by the
// bundle's task.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cli.h"
#include "pajamas/generation.h"

namespace pajamas::cli {

/// What the command line says of a generation.
struct GenerationRunOptions {
  std::filesystem::path bundle;
  std::optional<std::string> prompt;
  bool is_chat = false;
  std::filesystem::path prompts_path;
  std::int64_t concurrency = 8;
  std::string system;
  bool is_raw = false;
  std::optional<std::int64_t> max_tokens, top_k, penalty_window, num_logprobs;
  std::optional<double> temperature, top_p, min_p, typical_p;
  std::optional<double> repetition_penalty, frequency_penalty, presence_penalty;
  std::optional<std::uint64_t> seed;
  std::vector<std::string> stop;
  std::filesystem::path schema_path, grammar_path, tools_path;
  std::optional<std::string> regex;
  std::string template_variables;
  int num_answers = 1;
  bool is_exact_fp32 = false;
  std::string kv_precision = "auto";
  std::int64_t kv_cache_mb = 0;
  int num_threads = 0;
  long time_limit_s = kTimeLimitSeconds;
};

/// Adds the options that only language models have; --prompt, --top-k, --threads and --time-limit are shared with other
/// tasks, so command_run.cpp adds them. Returns the names of those added.
std::vector<std::string> add_generation_options(CLI::App& app, GenerationRunOptions& options);

int run_generation(const GenerationRunOptions& options, Context& context);

/// The request that the options make, without a prompt; `sampling` is the bundle's own. Reads the files they name.
GenerationRequest base_request(const GenerationRunOptions& options, const SamplingOptions& sampling);

/// "[42 tokens, 18.3 tokens/s, first after 120 ms]"
std::string speed_line(const GenerationResult& result);

/// The conversation (chat_session.cpp): reads standard input to its end. Returns the exit code.
int run_chat(Generator& generator, const GenerationRequest& base, const std::string& system, Context& context);

}  // namespace pajamas::cli
