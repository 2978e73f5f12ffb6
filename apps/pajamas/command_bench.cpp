// pajamas bench: how fast a bundle is here.
#include <fmt/format.h>

#include <iostream>

#include "cli.h"
#include "pajamas/error.h"
#include "toolchain/bench_bundle.h"

namespace pajamas::cli {
namespace {

std::string percentiles(const nlohmann::json& statistics) {
  return fmt::format("p50 {:.3f}  p90 {:.3f}  p99 {:.3f}  ms  (n {})", statistics["p50"].get<double>(),
                     statistics["p90"].get<double>(), statistics["p99"].get<double>(),
                     statistics["n"].get<std::int64_t>());
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
  for (const auto& warning : report["environment"]["warnings"]) {
    std::cout << "  note        " << warning.get<std::string>() << '\n';
  }
}

int run_bench(BenchRequest& request, const std::string& peer, const Context& context) {
  if (!peer.empty() && peer != "onnxruntime") {
    throw Error(ErrorKind::kUsage, "unknown peer '" + peer + "'", "--peer", "the peer known here is onnxruntime");
  }
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
  struct BenchOptions {
    BenchRequest request;
    std::string peer;
  };
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = app.add_subcommand("bench", "Measure how fast a bundle is on this machine");
  command->add_option("bundle", options->request.bundle, "Folder of the bundle")->required();
  command->add_option("--part", options->request.part, "Engine part (default: the first)");
  command->add_option("--batch", options->request.batch, "Batch (default 1)")->check(CLI::Range(1L, 1L << 20));
  command->add_option("--seconds", options->request.seconds, "How long to measure (default 5)")
      ->check(CLI::Range(0.01, 86400.0));
  command->add_option("--peer", options->peer, "Measure a peer in the same run: onnxruntime");
  command->add_flag("--exact-fp32", options->request.is_exact_fp32,
                    "Compute in float32 whatever the bundle's precision");
  add_threads_option(*command, options->request.num_threads);
  add_common_options(*command, context);
  return {command, [options, &context] { return run_bench(options->request, options->peer, context); }};
}

}  // namespace pajamas::cli
