// The target `tensorrt`: NVIDIA GPUs through TensorRT for RTX, built ahead of time on any machine, with or without a
// GPU (or through TensorRT 11, on the GPU it will run on).
//
// A compiled part is two files: `<part>.onnx`, exactly the bytes handed to TensorRT, on which the proof of accuracy
// rests (the engine itself can only run on its GPU), and `<part>.engine`. How it is built and what can go wrong is
// described in docs/targets-tensorrt.md.
#include <algorithm>

#include "base/log.h"
#include "engine/target.h"
#include "pajamas/error.h"
#include "targets/shape_profiles.h"
#include "targets/tensorrt/compiler.h"
#include "targets/tensorrt/cuda_driver.h"
#include "targets/tensorrt/runtime.h"
#include "targets/tensorrt/sm.h"
#include "targets/tensorrt/support.h"

namespace pajamas {

namespace tensorrt {
namespace {

namespace fs = std::filesystem;

/// GeForce RTX 30, 40 and 50: what most readers have, and all three compute every precision but FP8 and FP4.
constexpr std::array kDefaultSms{86, 89, 120};

/// Whether the library that would be used is TensorRT 11, which builds for the GPU present. By its name: nothing is
/// opened here.
bool uses_tensorrt_11() {
  for (const LibraryPaths& paths : library_candidates()) {
    if (paths.library.has_parent_path()) {
      return paths.library.filename().string().find("nvinfer") != std::string::npos;
    }
  }
  return false;
}

TensorInfo info_of(const ValueInfo& value) {
  TensorInfo info{value.name, DType::kUndefined, {}};
  if (value.type) {
    info.dtype = value.type->dtype;
    if (value.type->shape) info.shape = *value.type->shape;
  }
  return info;
}

std::string file_of_role(const LoadRequest& request, std::string_view role) {
  for (const CompiledFile& file : request.files) {
    if (file.role == role) return file.name;
  }
  throw Error(ErrorKind::kBadInput, "the part '" + request.part + "' lists no file of role " + std::string(role),
              request.directory.string(), "build the bundle again");
}

class TensorRtTarget final : public Target {
 public:
  std::string_view name() const override { return "tensorrt"; }

  BuildPlan resolve(BuildPlan plan) const override {
    if (plan.precision == Precision::kTf32) {
      throw Error(ErrorKind::kUnsupported, "the target tensorrt has no switch for tf32", "--precision",
                  "use --precision fp32 or fp16, or --target cuda");
    }
    if (plan.precision == Precision::kAuto) plan.precision = Precision::kFp16;
    if (uses_tensorrt_11()) {
      if (!plan.gpu_sms.empty()) {
        throw Error(ErrorKind::kUsage, "TensorRT 11 builds for the GPU of this machine only", "--gpu",
                    "leave out --gpu, or use TensorRT for RTX");
      }
      return plan;
    }
    std::vector<int> sms(kDefaultSms.begin(), kDefaultSms.end());
    if (!plan.gpu_sms.empty()) sms = parse_rtx_sms(plan.gpu_sms);
    plan.gpu_sms.clear();
    std::vector<int> lacking;
    for (const int sm : sms) {
      plan.gpu_sms.push_back(sm_name(sm));
      if (sm < 80) lacking.push_back(sm);
    }
    if (plan.precision == Precision::kBf16 && !lacking.empty()) {
      throw Error(ErrorKind::kUnsupported, sm_names(lacking) + " cannot compute bf16", "--precision",
                  "use --precision fp16, or leave " + sm_names(lacking) + " out of --gpu");
    }
    return plan;
  }

  Precision graph_precision(const BuildPlan& plan) const override {
    return plan.precision == Precision::kAuto ? Precision::kFp16 : plan.precision;
  }

  Support supports(const Model& model, const BuildPlan& plan) const override {
    try {
      Support support = check_support(model, parse_rtx_sms(plan.gpu_sms));
      if (!support) return support;
      resolve_profiles(model, plan.profiles);
    } catch (const Error& error) {
      return Support::no(error.where().empty() ? error.message() : error.where() + ": " + error.message(),
                         error.remedy());
    }
    return Support::yes();
  }

  CompiledPart compile(const CompileRequest& request) const override {
    const BuildPlan plan = resolve(request.plan);
    if (const Support support = check_support(request.model, parse_rtx_sms(plan.gpu_sms)); !support) {
      throw Error(ErrorKind::kUnsupported, support.reason, request.part, support.remedy);
    }
    EngineBuild build;
    build.sms = parse_rtx_sms(plan.gpu_sms);
    build.profiles = plan.profiles;
    build.limits = plan.limits;
    build.num_threads = plan.num_threads;
    const fs::path onnx = request.directory / (request.part + ".onnx");
    const fs::path engine = request.directory / (request.part + ".engine");
    const BuiltEngine built = compile_engine(request.model, build, onnx, engine, request.part, request.progress);

    CompiledPart part;
    part.files.push_back({engine.filename().string(), "engine"});
    part.files.push_back({onnx.filename().string(), "source"});
    if (built.has_external_data) {
      part.files.push_back({external_data_path(onnx).filename().string(), "source"});
    }
    for (const ValueInfo* input : request.model.graph.required_inputs()) part.inputs.push_back(info_of(*input));
    for (const ValueInfo& output : request.model.graph.outputs) part.outputs.push_back(info_of(output));
    std::vector<std::string> sms;
    for (const int sm : built.sms) sms.push_back(sm_name(sm));
    part.facts = {{"library", built.outcome.family},
                  {"version", built.outcome.version.to_string()},
                  {"gpu_sms", sms},
                  {"precision", to_string(plan.precision)},
                  {"profiles", to_json(built.profiles)},
                  {"engine_bytes", built.engine_bytes},
                  {"num_layers", built.outcome.num_layers},
                  {"build_seconds", built.outcome.build_seconds},
                  {"builder_seconds", static_cast<double>(built.outcome.child.elapsed.count()) / 1000.0},
                  {"builder_peak_memory_mib", built.outcome.child.peak_memory_bytes >> 20},
                  {"warnings", built.warnings}};
    return part;
  }

  std::shared_ptr<const Engine> load(const LoadRequest& request) const override {
    if (request.options.is_exact_fp32 && request.plan.precision != Precision::kFp32) {
      throw Error(ErrorKind::kUnsupported,
                  std::string("a TensorRT engine computes in the precision it was built for, ") +
                      to_string(request.plan.precision) + ", not in fp32",
                  request.directory.string(), "build it with --precision fp32");
    }
    const std::string file_name = file_of_role(request, "engine");
    const fs::path path = request.directory / file_name;
    const auto file = request.open ? request.open({file_name, "engine"}) : MappedFile::open(path);
    if (!file) throw Error(ErrorKind::kBadInput, "the engine is missing or damaged", path.string(), "build it again");
    EngineOptions options;
    options.cache_file = request.directory / ("." + request.part + ".kernel-cache");
    return load_engine_file(path, file->bytes(), options);
  }

  nlohmann::json doctor() const override {
    nlohmann::json report{{"available", false}, {"can_build", false}, {"can_run", false}};
    try {
      const LibraryPaths paths = find_library();
      report["library"] = paths.library.string();
      report["found_by"] = paths.found_by;
      const nlohmann::json probe = probe_library(paths);
      if (probe.contains("error")) {
        report["reason"] = probe.at("error");
        report["remedy"] = probe.value("remedy", "");
        return report;
      }
      report["available"] = true;
      report["version"] = probe.at("version");
      report["family"] = probe.at("family");
      const bool is_rtx = probe.at("family") == to_string(Family::kTensorRtRtx);
      report["can_build"] = is_rtx && probe.at("has_builder").get<bool>();
      if (is_rtx) {
        for (const RtxTarget& target : rtx_targets()) {
          report["build_targets"].push_back({{"sm", sm_name(target.sm)}, {"devices", target.devices}});
        }
      }
    } catch (const Error& error) {
      report["reason"] = error.message();
      report["remedy"] = error.remedy();
    }
    try {
      const CudaDriver& driver = system_cuda_driver();
      report["driver"] = driver.version();
      for (const GpuDevice& device : driver.devices()) {
        const bool is_target = find_rtx_target(device.sm) != nullptr;
        report["gpus"].push_back({{"name", device.name},
                                  {"sm", sm_name(device.sm)},
                                  {"memory_mib", device.memory_bytes >> 20},
                                  {"runs_rtx_engines", is_target}});
        if (report["available"] == true && (is_target || report["family"] != to_string(Family::kTensorRtRtx))) {
          report["can_run"] = true;
        }
      }
      if (report["family"] == to_string(Family::kTensorRt)) report["can_build"] = true;
      if (report["can_run"] != true && !report.contains("reason")) {
        report["run_reason"] = "no GPU here is one that TensorRT for RTX runs on";
      }
    } catch (const Error& error) {
      report["run_reason"] = error.message();
    }
    return report;
  }
};

}  // namespace
}  // namespace tensorrt

const Target& tensorrt_target() {
  static const tensorrt::TensorRtTarget target;
  return target;
}

}  // namespace pajamas
