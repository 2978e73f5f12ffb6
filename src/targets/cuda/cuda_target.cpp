// The target `cuda`: NVIDIA GPUs through this project's own compiler and runtime. An engine is built on the GPU that it
// will run on, because its kernels are chosen by time. docs/targets-cuda.md says how; this file only joins the parts.
#include <filesystem>
#include <mutex>
#include <optional>

#include "base/log.h"
#include "engine/target.h"
#include "pajamas/error.h"
#include "targets/cuda/runtime/engine_builder.h"
#include "targets/cuda/runtime/nvjpeg_library.h"
#include "targets/cuda/runtime/nvrtc.h"
#include "targets/cuda/runtime/product_times.h"

namespace pajamas {

namespace cuda {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBuildRemedy =
    "build on the machine with the GPU that the engine will run on, or use --target tensorrt, which builds for RTX "
    "cards on any machine";

/// What this process has timed, so that models compiled again (for comparing inner values) are not timed again.
TimingCache& process_cache() {
  static TimingCache cache;
  return cache;
}
std::mutex& process_cache_mutex() {
  static std::mutex mutex;
  return mutex;
}

std::string sm_name(int sm) { return "sm" + std::to_string(sm); }

class CudaTarget final : public Target {
 public:
  std::string_view name() const override { return "cuda"; }

  BuildPlan resolve(BuildPlan plan) const override {
    if (plan.num_threads < 0) {
      throw Error(ErrorKind::kUsage, "the number of threads is negative", "--threads", "use 0 for all cores");
    }
    const std::shared_ptr<DeviceContext> device = device_to_build_on();
    const std::string here = sm_name(device->info().sm);
    if (!plan.gpu_sms.empty() && (plan.gpu_sms.size() > 1 || plan.gpu_sms.front() != here)) {
      throw Error(ErrorKind::kUnsupported,
                  "the cuda target builds for the GPU of this machine only, " + device->info().name + " (" + here + ")",
                  "--gpu", "leave out --gpu");
    }
    plan.gpu_sms = {here};
    // Every GPU that the target runs on (SM 8.0 and later) has matrix units for float16.
    if (plan.precision == Precision::kAuto) plan.precision = Precision::kFp16;
    return plan;
  }

  Precision graph_precision(const BuildPlan& plan) const override {
    return plan.precision == Precision::kAuto ? Precision::kFp16 : plan.precision;
  }

  Support supports(const Model& model, const BuildPlan& plan) const override {
    try {
      // Which shapes depend on the data shows only where the others are known.
      return supports_profiles(model, plan.profiles);
    } catch (const Error& error) {
      return Support::no(error.where().empty() ? error.message() : error.where() + ": " + error.message(),
                         error.remedy());
    }
  }

  CompiledPart compile(const CompileRequest& request) const override {
    const BuildPlan plan = resolve(request.plan);
    if (const Support support = supports(request.model, plan); !support) {
      throw Error(ErrorKind::kUnsupported, support.reason, request.part, support.remedy);
    }
    const std::shared_ptr<DeviceContext> device = device_to_build_on();
    BuildEngineOptions options;
    options.precision = plan.precision;
    options.profiles = plan.profiles;
    options.num_threads = plan.num_threads;
    options.progress = request.progress;

    // One build at a time in a process: two would spoil each other's times.
    const std::lock_guard lock(process_cache_mutex());
    TimingCache given;
    if (!request.timing_cache.empty()) given = TimingCache::read(request.timing_cache);
    TimingCache cache = given;
    cache.merge(process_cache());
    const auto start = std::chrono::steady_clock::now();
    BuiltEngine built = build_engine(device, request.model, options, cache);
    std::optional<ProductComparison> products;
    if (plan.weights == WeightFormat::kFp8) {
      products = compare_products(device, request.model, options, cache);
      built.timing.merge(products->timing);
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    process_cache().merge(cache);
    if (!request.timing_cache.empty()) {
      given.merge(built.timing);
      given.write(request.timing_cache);
    }

    request.progress.step("Writing the engine");
    CompiledPart part;
    const fs::path engine = request.directory / (request.part + ".cuda");
    const fs::path timing = request.directory / (request.part + ".timing.json");
    write_engine(built, engine);
    built.timing.write(timing);
    part.files.push_back({engine.filename().string(), "engine"});
    part.files.push_back({timing.filename().string(), "record"});
    part.inputs = built.engine->inputs();
    part.outputs = built.engine->outputs();
    const EngineIndex& index = built.engine->index();
    part.facts = {{"gpu", index.environment.gpu},
                  {"gpu_sms", plan.gpu_sms},
                  {"versions", index.environment.versions},
                  {"precision", to_string(plan.precision)},
                  {"profiles", to_json(index.profiles)},
                  {"num_steps", built.engine->plan(built.engine->tuned_shapes())->program().steps.size()},
                  {"weight_bytes", built.packed->size_bytes()},
                  {"arena_bytes", built.engine->plan(built.engine->tuned_shapes())->arena_bytes()},
                  {"kernels_timed", built.num_timed},
                  {"signatures_from_timing_cache", built.num_from_cache},
                  {"uses_lanes", index.uses_lanes},
                  {"refined_us", built.refined_us},
                  {"one_stream_us", built.one_stream_us},
                  {"lanes_us", built.lanes_us},
                  {"build_seconds", elapsed.count()}};
    if (products) part.facts["products"] = to_json(*products);
    return part;
  }

  std::shared_ptr<const Engine> load(const LoadRequest& request) const override {
    if (request.options.is_exact_fp32 && request.plan.precision != Precision::kFp32) {
      throw Error(ErrorKind::kUnsupported,
                  std::string("an engine of the cuda target computes in the precision it was built for, ") +
                      to_string(request.plan.precision) + ", not in fp32",
                  request.directory.string(), "build it with --precision fp32");
    }
    const CompiledFile* file = nullptr;
    for (const CompiledFile& candidate : request.files) {
      if (candidate.role == "engine") file = &candidate;
    }
    if (file == nullptr) {
      throw Error(ErrorKind::kBadInput, "the part '" + request.part + "' lists no file of role engine",
                  request.directory.string(), "build the bundle again");
    }
    const fs::path path = request.directory / file->name;
    const std::shared_ptr<DeviceContext> device = DeviceContext::open();
    const auto mapped = request.open ? request.open(*file) : MappedFile::open(path);
    if (!mapped) throw Error(ErrorKind::kBadInput, "the engine is missing or damaged", path.string(), "build it again");
    return read_engine(device, mapped->bytes(), path.string());
  }

  nlohmann::json doctor() const override {
    nlohmann::json report{{"available", false}, {"can_build", false}, {"can_run", false}};
    try {
      report["nvrtc"] = nvrtc_version();
    } catch (const Error& error) {
      report["nvrtc"] = error.message();
    }
    try {
      report["nvjpeg"] = NvjpegLibrary::open().version;
    } catch (const Error& error) {
      report["nvjpeg"] = error.message() + "; JPEGs are decoded on the host";
    }
    try {
      const std::shared_ptr<DeviceContext> device = DeviceContext::open();
      const DeviceInfo& info = device->info();
      report["gpus"].push_back({{"name", info.name},
                                {"sm", sm_name(info.sm)},
                                {"memory_mib", info.memory_bytes >> 20},
                                {"uuid", info.uuid}});
      const TuningEnvironment environment = environment_of(*device);
      report["versions"] = environment.versions;
      report["available"] = true;
      report["can_run"] = true;
      // Products need the libraries; without them nothing but generated loops and own kernels can be chosen.
      report["can_build"] = environment.versions.count("cudnn") != 0 && environment.versions.count("cublaslt") != 0 &&
                            environment.versions.count("nvrtc") != 0;
      if (report["can_build"] == false) {
        report["reason"] = "cuDNN, cuBLASLt or NVRTC is missing";
        report["remedy"] = "install the CUDA 13 toolkit and cuDNN 9";
      }
    } catch (const Error& error) {
      report["reason"] = error.message();
      report["remedy"] = error.remedy();
    }
    return report;
  }

 private:
  static std::shared_ptr<DeviceContext> device_to_build_on() {
    try {
      return DeviceContext::open();
    } catch (const Error& error) {
      throw Error(error.kind(),
                  "an engine of the cuda target is built on the GPU that it will run on, and " + error.message(),
                  error.where(), kBuildRemedy);
    }
  }
};

}  // namespace
}  // namespace cuda

const Target& cuda_target() {
  static const cuda::CudaTarget target;
  return target;
}

}  // namespace pajamas
