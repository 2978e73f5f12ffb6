// pajamas trtexec: a bare TensorRT engine from an ONNX file, or the time an engine takes on the GPU present, by the
// options of NVIDIA's trtexec (targets/tensorrt/trtexec_options.h). Proven like every build, but without the bundle and
// the task of `pajamas build`.
#ifdef PAJAMAS_TARGET_TENSORRT

#include <fmt/format.h>
#include <algorithm>
#include <cstring>
#include <iostream>
#include <optional>
#include <random>

#include "base/files.h"
#include "base/log.h"
#include "bench/statistics.h"
#include "cli.h"
#include "pajamas/error.h"
#include "supervise.h"
#include "targets/registry.h"
#include "targets/tensorrt/compiler.h"
#include "targets/tensorrt/runtime.h"
#include "targets/tensorrt/sm.h"
#include "targets/tensorrt/trtexec_options.h"
#include "toolchain/build.h"
#include "toolchain/import.h"
#include "toolchain/prove_bundle.h"

namespace pajamas::cli {
namespace {

using tensorrt::TrtexecOptions;

/// "--int8" means that the model brings its quantisation: refuses one that does not.
void require_quantised(const Model& model, const std::string& option) {
  if (option.empty()) return;
  for (const Node& node : model.graph.nodes) {
    if (node.op_type == "QuantizeLinear" || node.op_type == "DequantizeLinear") return;
  }
  throw Error(ErrorKind::kUnsupported, "the model holds no QuantizeLinear or DequantizeLinear nodes", option,
              "quantise the model first, or leave " + option + " out: TensorRT no longer quantises while building");
}

nlohmann::json build_engine(const TrtexecOptions& options, const Progress& progress) {
  const Target& target = find_target("tensorrt");
  const BuildPlan plan = target.resolve(options.plan);
  const ImportedModel imported = import_model(options.onnx, {.task = "none", .head = {}, .labels = {}}, progress);
  const Model& source = imported.parts.at(0).model;
  require_quantised(source, options.needs_quantised_model);
  const LoweredModel lowered = lower(source, target, plan, progress);
  if (const Support support = target.supports(lowered.model, plan); !support) {
    throw Error(ErrorKind::kUnsupported, support.reason, options.onnx.string(), support.remedy);
  }
  PartToProve to_prove;
  to_prove.name = "model";
  to_prove.source = &source;
  to_prove.source_file = options.onnx;
  to_prove.lowered = &lowered.model;
  ProveOptions prove_options;
  prove_options.progress = progress;
  const Proof proof = prove_part(to_prove, plan, imported.task, prove_options);
  if (!proof.is_passed) {
    throw Error(ErrorKind::kUnsupported,
                "what TensorRT would be given does not compute what the model computes: " + proof.summary,
                options.onnx.string(), "leave --fp16 or --bf16 out");
  }
  tensorrt::EngineBuild build;
  build.sms = tensorrt::parse_rtx_sms(plan.gpu_sms);
  build.profiles = plan.profiles;
  build.limits = plan.limits;
  build.optimization_level = options.optimization_level;
  build.workspace_bytes = options.workspace_bytes;
  build.is_verbose = options.is_verbose;
  // Without --saveEngine the build only shows that the model builds, as with trtexec.
  const bool is_kept = !options.save_engine.empty();
  std::optional<StagedDirectory> scratch;
  if (!is_kept) scratch.emplace(std::filesystem::temp_directory_path() / "pajamas-trtexec");
  const std::filesystem::path path = is_kept ? options.save_engine : scratch->path() / "model.engine";
  const tensorrt::BuiltEngine built =
      tensorrt::compile_bare_engine(lowered.model, build, path, options.onnx.string(), progress);
  std::vector<std::string> sms;
  for (const int sm : built.sms) sms.push_back(tensorrt::sm_name(sm));
  return {{"engine", is_kept ? path.string() : std::string()},
          {"engine_bytes", built.engine_bytes},
          {"precision", to_string(plan.precision)},
          {"gpu_sms", sms},
          {"profiles", to_json(built.profiles)},
          {"library", built.outcome.family},
          {"version", built.outcome.version.to_string()},
          {"build_ms", built.outcome.build_seconds * 1000},
          {"builder_ms", static_cast<double>(built.outcome.child.elapsed.count())},
          {"peak_memory_mib", built.outcome.child.peak_memory_bytes >> 20},
          {"warnings", built.warnings},
          {"proof", proof.to_json()}};
}

/// Values in [0, 1) for floating-point inputs, small counts for integers: what trtexec feeds too.
Tensor random_input(const TensorInfo& info, const Shape& shape, std::mt19937& generator) {
  Tensor tensor(info.dtype, shape);
  const auto bytes = tensor.mutable_bytes();
  const auto fill = [&]<typename T>(T) {
    auto values = tensor.mutable_as<T>();
    for (T& value : values) value = static_cast<T>(static_cast<double>(generator() % 1000) / 1000.0);
  };
  switch (info.dtype) {
    case DType::kFloat32: fill(float{}); break;
    case DType::kInt32: fill(std::int32_t{}); break;
    case DType::kInt64: fill(std::int64_t{}); break;
    default: std::fill(bytes.begin(), bytes.end(), std::byte{0}); break;
  }
  return tensor;
}

Shape shape_to_run(const TensorInfo& info, const TrtexecOptions& options) {
  for (const auto& [name, shape] : options.shapes) {
    if (name == info.name) return shape;
  }
  Shape shape;
  for (const Dimension& dimension : info.shape) shape.push_back(dimension.is_known() ? dimension.extent() : 1);
  return shape;
}

nlohmann::json run_engine(const std::filesystem::path& path, const TrtexecOptions& options, const Progress& progress) {
  const auto file = MappedFile::open(path);
  tensorrt::EngineOptions engine_options;
  engine_options.device_index = options.device_index;
  engine_options.use_cuda_graph = options.use_cuda_graph;
  engine_options.cache_file = options.kernel_cache;
  const auto engine = tensorrt::load_engine_file(path, file->bytes(), engine_options);
  for (const auto& [name, shape] : options.shapes) {
    const bool is_input = std::any_of(engine->inputs().begin(), engine->inputs().end(),
                                      [&wanted = name](const TensorInfo& info) { return info.name == wanted; });
    if (!is_input) throw Error(ErrorKind::kUsage, "the engine has no input '" + name + "'", "--shapes");
  }
  const auto session = engine->new_session();
  std::mt19937 generator(1);
  for (std::size_t i = 0; i < engine->inputs().size(); ++i) {
    const TensorInfo& info = engine->inputs()[i];
    session->set_input(i, random_input(info, shape_to_run(info, options), generator).view());
  }
  using Clock = std::chrono::steady_clock;
  const Clock::time_point warm_up_end = Clock::now() + options.warm_up;
  do {
    session->run();
    progress.check("warming up");
  } while (Clock::now() < warm_up_end);
  std::vector<double> total_ms;
  std::vector<double> device_ms;
  const Clock::time_point begin = Clock::now();
  while (Clock::now() - begin < options.duration ||
         total_ms.size() < static_cast<std::size_t>(options.min_iterations)) {
    session->run();
    const RunTiming timing = session->last_timing();
    total_ms.push_back(to_ms(timing.host + timing.device));
    device_ms.push_back(to_ms(timing.device));
    progress.check("measuring");
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  if (!options.times_file.empty()) {
    nlohmann::json times = nlohmann::json::array();
    for (std::size_t i = 0; i < total_ms.size(); ++i) {
      times.push_back({{"total_ms", total_ms[i]}, {"device_ms", device_ms[i]}});
    }
    write_file(options.times_file, times.dump(1) + "\n");
  }
  nlohmann::json percentiles = nlohmann::json::object();
  std::vector<double> sorted = total_ms;
  std::sort(sorted.begin(), sorted.end());
  for (const double percent : options.percentiles) {
    percentiles[fmt::format("p{:g}", percent)] = percentile_of_sorted(sorted, percent);
  }
  return {{"num_runs", total_ms.size()},
          {"runs_per_second", static_cast<double>(total_ms.size()) / seconds},
          {"total_ms", to_json(statistics_of(total_ms))},
          {"device_ms", to_json(statistics_of(device_ms))},
          {"percentiles_ms", percentiles},
          {"engine", engine->describe()}};
}

void print_build(const nlohmann::json& built) {
  std::string sms;
  for (const auto& sm : built.at("gpu_sms")) sms += (sms.empty() ? "" : ", ") + sm.get<std::string>();
  if (!built.at("engine").get<std::string>().empty()) std::cout << built.at("engine").get<std::string>() << '\n';
  std::cerr << fmt::format("built {} for {} in {:.1f} s: {:.1f} MB, {} {}, peak memory {} MiB\n",
                           built.at("precision").get<std::string>(), sms, built.at("builder_ms").get<double>() / 1000,
                           built.at("engine_bytes").get<double>() / 1e6, built.at("library").get<std::string>(),
                           built.at("version").get<std::string>(), built.at("peak_memory_mib").get<long>());
  std::cerr << "  " << built.at("proof").at("summary").get<std::string>() << '\n';
  for (const auto& profile : built.at("profiles")) {
    std::cerr << fmt::format("  shapes of {}: min {} opt {} max {}\n", profile.at("input").get<std::string>(),
                             profile.at("min").dump(), profile.at("opt").dump(), profile.at("max").dump());
  }
  for (const auto& warning : built.at("warnings"))
    std::cerr << "  TensorRT warns: " << warning.get<std::string>() << '\n';
}

void print_run(const nlohmann::json& run) {
  std::cout << fmt::format("{} runs, {:.1f} a second; median {:.3f} ms, on the GPU {:.3f} ms\n",
                           run.at("num_runs").get<long>(), run.at("runs_per_second").get<double>(),
                           run.at("total_ms").at("p50").get<double>(), run.at("device_ms").at("p50").get<double>());
  for (const auto& [name, value] : run.at("percentiles_ms").items()) {
    std::cout << fmt::format("  {} {:.3f} ms\n", name, value.get<double>());
  }
}

int run_trtexec(const std::vector<std::string>& arguments, Context& context) {
  std::vector<std::string> own;
  for (const std::string& argument : arguments) {
    if (argument == "--json") {
      context.is_json = true;
    } else {
      own.push_back(argument);
    }
  }
  const TrtexecOptions options = tensorrt::parse_trtexec_options(own);
  if (options.is_help) {
    std::cout << tensorrt::trtexec_help();
    return 0;
  }
  if (options.is_verbose) set_log_level("debug");
  // The time that was asked for counts beside the limit: measuring is one step.
  const auto measuring = std::chrono::ceil<std::chrono::seconds>(options.duration + options.warm_up);
  if (const auto code =
          supervise(context, {options.onnx.empty() ? "the run" : "the build",
                              (options.onnx.empty() ? options.load_engine : options.onnx).string(),
                              options.plan.limits.time + measuring,
                              options.onnx.empty() ? "build the engine again with the library of this machine"
                                                   : "check the model with its exporter, or simplify it; nothing was "
                                                     "left behind"})) {
    return *code;
  }
  for (const std::string& note : options.notes) std::cerr << "note: " << note << '\n';
  nlohmann::json result = nlohmann::json::object();
  if (!options.onnx.empty()) {
    Progress progress = context.progress();
    result["build"] = build_engine(options, progress);
    progress = {};  // Takes the progress line off the terminal.
    if (!context.is_json) print_build(result["build"]);
  }
  const std::filesystem::path engine = options.onnx.empty() ? options.load_engine : options.save_engine;
  if (options.has_inference && !engine.empty()) {
    try {
      result["run"] = run_engine(engine, options, context.progress());
      if (!context.is_json) print_run(result["run"]);
    } catch (const Error& error) {
      // The engine is for another machine more often than for this one: built is done, and why it did not run is said.
      if (options.onnx.empty() || error.kind() != ErrorKind::kDeviceMissing) throw;
      result["not_run"] = error.message();
      std::cerr << "note: built but not run: " << error.message() << " (--skipInference leaves the run out)\n";
    }
  }
  if (context.is_json) print_json(result);
  return 0;
}

}  // namespace

Command add_trtexec_command(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("trtexec", "Build or measure a bare TensorRT engine by trtexec's options");
  command->set_help_flag();  // Its own list is longer than CLI11's could be.
  command->prefix_command();
  return {command, [command, &context] { return run_trtexec(command->remaining(), context); }};
}

}  // namespace pajamas::cli

#endif  // PAJAMAS_TARGET_TENSORRT
