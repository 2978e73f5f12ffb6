// gpu_bench: builds ONNX models for this machine's GPU in memory, proves that they compute the right thing, and
// measures them. Prints tables; --json writes everything. See README.md.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <iostream>

#include "base/json_writer.h"
#include "bench/environment.h"
#include "bench_model.h"
#include "bench_pictures.h"
#include "pajamas/error.h"

namespace {

using namespace pajamas;
using namespace pajamas::gpu_bench;

void print_steps(const nlohmann::json& layers, std::size_t max_rows) {
  auto steps = layers["steps"].get<std::vector<nlohmann::json>>();
  std::stable_sort(steps.begin(), steps.end(), [](const nlohmann::json& a, const nlohmann::json& b) {
    return a["time_us"].get<double>() > b["time_us"].get<double>();
  });
  std::cout << fmt::format("    {} steps, {:.1f} us one by one, {:.1f} us as a graph of {} nodes, {} lanes{}\n",
                           steps.size(), layers["sum_us"].get<double>(), layers.value("graph_us", 0.0),
                           layers.value("graph_nodes", 0), layers["num_lanes"].get<int>(),
                           layers["uses_lanes"].get<bool>() ? "" : " (not used)");
  for (std::size_t i = 0; i < std::min(max_rows, steps.size()); ++i) {
    const nlohmann::json& step = steps[i];
    std::string names;
    for (const auto& name : step["fused_from"]) names += (names.empty() ? "" : ",") + name.get<std::string>();
    if (names.size() > 60) names = names.substr(0, 57) + "...";
    std::cout << fmt::format("    {:7.2f} us {:4.0f}% {:<9} {:<26} {:<28} {}\n", step["time_us"].get<double>(),
                             100 * step["fraction_of_limit"].get<double>(), step["kind"].get<std::string>(),
                             step["output"].get<std::string>(), step["tactic"].get<std::string>().substr(0, 28), names);
  }
}

nlohmann::json bench_one(const std::filesystem::path& path, std::int64_t batch, const Options& options,
                         const PictureOptions* pictures, std::size_t max_rows) {
  const std::string precision = options.is_fp8 ? "fp8" : to_string(options.precision);
  nlohmann::json report = {{"model", path.stem().string()}, {"batch", batch}, {"precision", precision}};
  try {
    Prepared prepared = prepare(path, batch, options);
    report["build_seconds"] = prepared.build_seconds;
    if (!prepared.products.is_null()) {
      report["products"] = prepared.products;
      std::map<std::string, int> alike;
      for (const nlohmann::json& group : prepared.products["groups"]) {
        ++alike[fmt::format("{:.2f} us in 8 bits, {:.2f} in 16", group["small_us"].get<double>(),
                            group["wide_us"].get<double>())];
      }
      for (const auto& [text, number] : alike) std::cout << fmt::format("    {} products: {}\n", number, text);
    }
    report["kernels_timed"] = prepared.built.num_timed;
    report["signatures_from_cache"] = prepared.built.num_from_cache;
    report["refined_us"] = prepared.built.refined_us;
    report["one_stream_us"] = prepared.built.one_stream_us;
    report["lanes_us"] = prepared.built.lanes_us;
    report["engine"] = prepared.built.engine->describe();
    report["session_bytes"] = prepared.session->memory_bytes();
    report["timing"] = prepared.built.timing.to_json();
    // Before the verification, so that a wrong model can be looked into; its time is not reported.
    report["layers"] = cuda::profile_steps(*prepared.session);
    report["verified"] = verify(prepared, options);
    report["time"] = measure(prepared, options);
    report["load"] = measure_load(prepared);
    if (options.num_streams > 1) report["streams"] = measure_streams(prepared, options);
    if (options.num_growth_runs > 0 || options.num_reloads > 0) report["growth"] = measure_growth(prepared, options);
    const auto& gpu = report["time"]["gpu_ms"];
    double error = 0;
    for (const auto& entry : report["verified"]["compared"]) {
      error = std::max(error, entry["relative_l2"].get<double>());
    }
    std::cout << fmt::format(
        "{} batch {} {}: {:.4f} ms (p99 {:.4f}, in a row {:.4f}), built in {:.1f} s ({} timed, {} from cache), "
        "relative error {:.1e} by {}, load {:.0f} ms of {:.1f} MB{}\n",
        path.stem().string(), batch, precision, gpu["p50"].get<double>(), gpu["p99"].get<double>(),
        report["time"]["in_a_row_ms"].get<double>(), prepared.build_seconds, prepared.built.num_timed,
        prepared.built.num_from_cache, error, report["verified"]["by"].get<std::string>(),
        report["load"]["load_ms"].get<double>(), report["load"]["file_mb"].get<double>(),
        report["load"]["gives_same_bits"].get<bool>() ? "" : " (LOADED ENGINE GIVES OTHER BITS)");
    if (report.contains("streams")) {
      std::cout << fmt::format("    {} streams: {:.0f} per second, one: {:.0f}, ratio {:.2f}\n", options.num_streams,
                               report["streams"]["all_per_s"].get<double>(),
                               report["streams"]["one_per_s"].get<double>(), report["streams"]["ratio"].get<double>());
    }
    if (report.contains("growth")) std::cout << "    memory growth: " << report["growth"].dump() << '\n';
    if (pictures != nullptr) {
      report["pictures"] = measure_pictures(prepared, *pictures);
      print_pictures(report["pictures"]);
    }
  } catch (const Error& failure) {
    report["error"] = failure.what();
    std::cout << fmt::format("{} batch {} {}: NO FIGURE: {}\n", path.stem().string(), batch, precision, failure.what());
  }
  if (max_rows > 0 && report.contains("layers")) print_steps(report["layers"], max_rows);
  std::cout << std::flush;
  return report;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Measures engines of the cuda target on this machine's GPU");
  std::vector<std::filesystem::path> models;
  std::vector<std::int64_t> batches{1};
  std::string precision = "fp16";
  std::string interface_type = "fp32";
  std::string reference = "onnxruntime";
  std::filesystem::path json_path;
  std::size_t max_rows = 12;
  Options options;
  app.add_option("models", models, "ONNX files")->required();
  app.add_option("--batch", batches, "Batches, for example 1,16")->delimiter(',')->check(CLI::Range(1L, 1L << 20));
  app.add_option("--precision", precision, "fp32, fp16, bf16, or fp8 (products in 8 bits, the rest fp16)");
  app.add_option("--interface", interface_type, "Type of inputs and outputs: fp32, or the precision (same)")
      ->check(CLI::IsMember({"fp32", "same"}));
  app.add_option("--reference", reference, "What outputs are verified by: onnxruntime, or own (fp32, untuned)")
      ->check(CLI::IsMember({"onnxruntime", "own"}));
  app.add_option("--replays", options.num_replays, "Measured runs (default 100)")->check(CLI::Range(50, 1000000));
  app.add_option("--timing-cache", options.timing_cache, "File of measured kernel times to use and to add to");
  app.add_option("--max-kernels", options.max_kernels, "Kernels of one backend to time for a step (default 10)");
  app.add_option("--threads", options.num_threads, "CPU threads (default: all)");
  app.add_option("--streams", options.num_streams, "Also the throughput of so many sessions at once");
  app.add_option("--runs", options.num_growth_runs, "Also the growth of memory over so many runs");
  app.add_option("--reload", options.num_reloads, "Also the growth of memory over so many loads");
  bool has_pictures = false;
  PictureOptions pictures;
  app.add_flag("--pictures", has_pictures, "Also from picture bytes to boxes (YOLO), and its kernels alone");
  app.add_option("--picture", pictures.file, "Picture to take for --pictures; default: made ones")
      ->check(CLI::ExistingFile);
  app.add_option("--picture-runs", pictures.num_runs, "Measured pictures (default 500)")
      ->check(CLI::Range(50, 1000000));
  app.add_option("--rows", max_rows, "Steps to print, slowest first (default 12)");
  app.add_option("--json", json_path, "File for the whole report");
  CLI11_PARSE(app, argc, argv);
  try {
    options.is_fp8 = precision == "fp8";
    options.precision = options.is_fp8 ? Precision::kFp16 : parse_precision(precision);
    options.has_fp32_interface = interface_type == "fp32";
    options.is_verified_by_onnxruntime = reference == "onnxruntime";
    const auto device = cuda::DeviceContext::open();
    std::cout << fmt::format("{}, SM {}, {} multiprocessors, {}\n", device->info().name, device->info().sm,
                             device->info().num_multiprocessors,
                             to_json(cuda::environment_of(*device))["versions"].dump());
    nlohmann::json report = {{"environment", environment()},
                             {"device", to_json(cuda::environment_of(*device))},
                             {"interface", interface_type},
                             {"results", nlohmann::json::array()}};
    if (has_pictures) {
      report["frame_kernels"] = measure_frame_kernels(pictures, options.num_replays);
      print_frame_kernels(report["frame_kernels"]);
    }
    bool is_complete = true;
    for (const std::filesystem::path& model : models) {
      for (const std::int64_t batch : batches) {
        report["results"].push_back(bench_one(model, batch, options, has_pictures ? &pictures : nullptr, max_rows));
        is_complete = is_complete && !report["results"].back().contains("error");
        // After each: a run that is cut off leaves what it has.
        if (!json_path.empty()) std::ofstream(json_path) << json_text(report, 1) << '\n';
      }
    }
    return is_complete ? 0 : 1;
  } catch (const Error& error) {
    std::cerr << "gpu_bench: " << error.what() << '\n';
    return exit_code(error.kind());
  }
}
