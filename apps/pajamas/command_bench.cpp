// pajamas bench: how fast a bundle is here.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <vector>

#include "cli.h"
#include "pajamas/error.h"
#include "supervise.h"
#include "toolchain/bench_bundle.h"
#include "toolchain/bench_generation.h"

namespace pajamas::cli {
namespace {

std::string percentiles(const nlohmann::json& statistics) {
  return fmt::format("p50 {:.3f}  p90 {:.3f}  p99 {:.3f}  ms  (n {})", statistics["p50"].get<double>(),
                     statistics["p90"].get<double>(), statistics["p99"].get<double>(),
                     statistics["n"].get<std::int64_t>());
}

/// The slowest first: what somebody who wants a faster model looks for.
void print_layers(const nlohmann::json& layers) {
  std::vector<nlohmann::json> steps = layers["steps"].get<std::vector<nlohmann::json>>();
  std::stable_sort(steps.begin(), steps.end(), [](const nlohmann::json& a, const nlohmann::json& b) {
    return a["time_us"].get<double>() > b["time_us"].get<double>();
  });
  std::cout << fmt::format("  layers      {} steps, {:.1f} us one by one\n", steps.size(),
                           layers["sum_us"].get<double>());
  std::cout << "      us  of limit        MB   GFLOP  kind       output                       kernel; from\n";
  for (const nlohmann::json& step : steps) {
    std::string names;
    for (const auto& name : step["fused_from"]) names += (names.empty() ? "" : ", ") + name.get<std::string>();
    std::cout << fmt::format("  {:6.2f}  {:7.0f}%  {:8.3f}  {:6.3f}  {:<9}  {:<27}  {}; {}\n",
                             step["time_us"].get<double>(), 100 * step["fraction_of_limit"].get<double>(),
                             step["bytes"].get<double>() / 1e6, step["flops"].get<double>() / 1e9,
                             step["kind"].get<std::string>(), step["output"].get<std::string>(),
                             step["tactic"].get<std::string>(), names);
  }
}

void print(const nlohmann::json& report) {
  std::cout << fmt::format("{}, target {}, part {}, batch {}\n", report["model"].get<std::string>(),
                           report["target"].get<std::string>(), report["part"].get<std::string>(),
                           report["batch"].get<std::int64_t>());
  std::cout << "  engine      " << report["engine"].dump() << '\n';
  std::cout << "  latency     " << percentiles(report["latency_ms"]) << '\n';
  if (report["device_ms"]["n"].get<std::int64_t>() > 0) {
    std::cout << "  device      " << percentiles(report["device_ms"]) << '\n';
    std::cout << "  host        " << percentiles(report["host_ms"]) << '\n';
  }
  std::cout << fmt::format("  throughput  {:.1f} per second\n", report["throughput_per_s"].get<double>());
  if (report.contains("peer")) {
    const auto& peer = report["peer"];
    std::cout << fmt::format("  {} {}: {}\n", peer["name"].get<std::string>(), peer["version"].get<std::string>(),
                             percentiles(peer["latency_ms"]));
    std::cout << fmt::format("  ratio       {:.2f}x its throughput, same run, {:.2f} to {:.2f} between blocks\n",
                             peer["ratio"].get<double>(), peer["ratio_low"].get<double>(),
                             peer["ratio_high"].get<double>());
  }
  if (report.contains("layers")) print_layers(report["layers"]);
  for (const auto& warning : report["environment"]["warnings"]) {
    std::cout << "  note        " << warning.get<std::string>() << '\n';
  }
}

void print_generation(const nlohmann::json& report) {
  std::cout << fmt::format("{}, target {}, {}; {} tokens in, {} out; loaded in {:.0f} ms\n",
                           report["model"].get<std::string>(), report["target"].get<std::string>(),
                           report["precision"].get<std::string>(), report["input_tokens"].get<std::int64_t>(),
                           report["output_tokens"].get<std::int64_t>(), report["load_ms"].get<double>());
  std::cout << "  requests  first token p50 ms  p99 ms  prefill tok/s  decode tok/s\n";
  for (const auto& row : report["rows"]) {
    std::cout << fmt::format("  {:8}  {:18.1f}  {:6.1f}  {:13.1f}  {:12.1f}\n", row["concurrency"].get<std::int64_t>(),
                             row["time_to_first_token_ms"]["p50"].get<double>(),
                             row["time_to_first_token_ms"]["p99"].get<double>(),
                             row["prefill_tokens_per_s"].get<double>(), row["decode_tokens_per_s"].get<double>());
  }
  const auto& memory = report["memory"];
  const auto megabytes = [&](const char* key) { return memory[key].get<double>() / 1e6; };
  std::cout << fmt::format(
      "  memory    {:.0f} MB resident ({:.0f} peak); engine files {:.0f} MB, cache at most {:.0f} MB\n",
      megabytes("resident_bytes"), megabytes("peak_resident_bytes"), megabytes("engine_file_bytes"),
      megabytes("kv_cache_bytes"));
  for (const auto& warning : report["environment"]["warnings"]) {
    std::cout << "  note        " << warning.get<std::string>() << '\n';
  }
}

struct BenchOptions {
  BenchRequest request;
  GenerationBenchRequest generation;
  std::string peer;
  long time_limit_s = kTimeLimitSeconds;
};

int run_generation_bench(BenchOptions& options, Context& context) {
  GenerationBenchRequest& request = options.generation;
  request.bundle = options.request.bundle;
  request.num_threads = options.request.num_threads;
  request.is_exact_fp32 = options.request.is_exact_fp32;
  request.progress = context.progress();
  const nlohmann::json report = bench_generation(request);
  request.progress = {};
  if (context.is_json) {
    print_json(report);
  } else {
    print_generation(report);
  }
  return 0;
}

int run_bench(BenchOptions& options, const CLI::App& app, Context& context) {
  BenchRequest& request = options.request;
  const std::string& peer = options.peer;
  if (!peer.empty() && peer != "onnxruntime") {
    throw Error(ErrorKind::kUsage, "unknown peer '" + peer + "'", "--peer", "the peer known here is onnxruntime");
  }
  const std::string task = Bundle::open(request.bundle).manifest().task.name;
  const bool is_generation = task == "generation";
  require_task_option(app, task, "generation",
                      {"--concurrency", "--input", "--output", "--repeats", "--step-tokens", "--kv-precision"});
  if (is_generation) {
    require_task_option(app, task, "other tasks", {"--part", "--batch", "--seconds", "--peer", "--layers"});
  }
  if (const auto code =
          supervise(context, {"the measurement", request.bundle.string(), std::chrono::seconds(options.time_limit_s),
                              "run `pajamas verify` on the bundle, or build it again"})) {
    return *code;
  }
  if (is_generation) return run_generation_bench(options, context);
  request.is_beside_onnxruntime = !peer.empty();
  request.progress = context.progress();
  const nlohmann::json report = bench_bundle(request);
  request.progress = {};
  if (context.is_json) {
    print_json(report);
  } else {
    print(report);
  }
  return 0;
}

}  // namespace

Command add_bench_command(CLI::App& app, Context& context) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = app.add_subcommand("bench", "Measure how fast a bundle is on this machine");
  command->add_option("bundle", options->request.bundle, "Folder of the bundle")->required();
  command->add_option("--part", options->request.part, "Engine part (default: the first)");
  command->add_option("--batch", options->request.batch, "Batch (default 1)")->check(CLI::Range(1L, 1L << 20));
  command->add_option("--seconds", options->request.seconds, "How long to measure (default 5)")
      ->check(CLI::Range(0.01, 86400.0));
  command->add_option("--peer", options->peer, "Measure a peer in the same run: onnxruntime");
  command->add_flag("--layers", options->request.has_layers, "Also what each fused layer takes (target cuda)");
  GenerationBenchRequest& generation = options->generation;
  command->add_option("--concurrency", generation.concurrency, "Language models: requests at once, for example 1,4,8")
      ->delimiter(',')
      ->check(CLI::Range(1L, 4096L));
  command->add_option("--input", generation.num_input_tokens, "Language models: tokens of a prompt (default 512)")
      ->check(CLI::Range(1L, 1L << 24));
  command->add_option("--output", generation.num_output_tokens, "Language models: tokens of an answer (default 128)")
      ->check(CLI::Range(2L, 1L << 24));
  command->add_option("--repeats", generation.num_repeats, "Language models: runs whose median counts (default 3)")
      ->check(CLI::Range(1L, 1000L));
  command
      ->add_option("--step-tokens", generation.max_step_tokens,
                   "Language models: tokens computed in one step (default 512)")
      ->check(CLI::Range(1L, 1L << 20));
  command->add_option("--kv-precision", generation.kv_precision, "Language models: auto, fp32, fp16 or uint8");
  command->add_flag("--exact-fp32", options->request.is_exact_fp32,
                    "Compute in float32 whatever the bundle's precision");
  add_time_limit_option(*command, options->time_limit_s);
  add_threads_option(*command, options->request.num_threads);
  add_common_options(*command, context);
  return {command, [options, command, &context] { return run_bench(*options, *command, context); }};
}

}  // namespace pajamas::cli
