// The table of trtexec's options and their reading. See trtexec_options.h.
#include "targets/tensorrt/trtexec_options.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>

#include "pajamas/error.h"
#include "targets/tensorrt/sm.h"

namespace pajamas::tensorrt {
namespace {

using Seconds = std::chrono::duration<double>;

[[noreturn]] void refuse_value(const std::string& option, const std::string& value, const std::string& remedy) {
  throw Error(ErrorKind::kUsage, "cannot read '" + value + "'", option, remedy);
}

template <typename Number>
Number parse_number(const std::string& option, std::string_view text, Number low, Number high) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || !(number >= low && number <= high)) {
    refuse_value(option, std::string(text),
                 "give a number from " + std::to_string(low) + " to " + std::to_string(high));
  }
  return number;
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> pieces;
  std::string piece;
  bool is_quoted = false;
  for (const char c : text) {
    if (c == '\'') is_quoted = !is_quoted;  // trtexec lets names be quoted: 'my,input':1x3
    if (c == separator && !is_quoted) {
      pieces.push_back(std::exchange(piece, {}));
    } else {
      piece += c;
    }
  }
  pieces.push_back(piece);
  return pieces;
}

using NamedShapes = std::vector<std::pair<std::string, Shape>>;

/// "input:1x3x224x224,other:1x10": the name ends at the last colon, since names may hold colons.
NamedShapes parse_shapes(const std::string& option, const std::string& text) {
  const std::string remedy = "write NAME:1x3x224x224, several separated by commas";
  NamedShapes shapes;
  for (const std::string& entry : split(text, ',')) {
    const std::size_t colon = entry.rfind(':');
    if (colon == std::string::npos || colon == 0) refuse_value(option, entry, remedy);
    std::string name = entry.substr(0, colon);
    if (name.size() >= 2 && name.front() == '\'' && name.back() == '\'') name = name.substr(1, name.size() - 2);
    Shape shape;
    const std::string extents = entry.substr(colon + 1);
    if (!extents.empty() && extents != "scalar") {
      for (const std::string& extent : split(extents, 'x')) {
        shape.push_back(parse_number<std::int64_t>(option, extent, 0, std::int64_t{1} << 31));
      }
    }
    for (const auto& [known, ignored] : shapes) {
      if (known == name) refuse_value(option, entry, "give each input once");
    }
    shapes.emplace_back(std::move(name), std::move(shape));
  }
  return shapes;
}

/// "workspace:1024" in MiB, or with B, K, M, G behind the number.
std::uint64_t parse_pool(const std::string& option, const std::string& text) {
  std::uint64_t workspace = 0;
  for (const std::string& entry : split(text, ',')) {
    const std::size_t colon = entry.find(':');
    if (colon == std::string::npos) refuse_value(option, entry, "write workspace:SIZE, for example workspace:1024M");
    if (entry.substr(0, colon) != "workspace") {
      throw Error(ErrorKind::kUnsupported,
                  "of the memory pools only 'workspace' exists on RTX GPUs, not '" + entry.substr(0, colon) + "'",
                  option, "leave it out");
    }
    std::string size = entry.substr(colon + 1);
    double unit = 1 << 20;
    if (!size.empty() && std::isdigit(static_cast<unsigned char>(size.back())) == 0) {
      switch (size.back()) {
        case 'B': unit = 1; break;
        case 'K': unit = 1 << 10; break;
        case 'M': unit = 1 << 20; break;
        case 'G': unit = 1 << 30; break;
        default: refuse_value(option, entry, "sizes end in B, K, M or G");
      }
      size.pop_back();
    }
    workspace = static_cast<std::uint64_t>(parse_number<double>(option, size, 0, 1e6) * unit);
  }
  return workspace;
}

enum class Takes { kNothing, kValue };
enum class Fate { kSupported, kAccepted, kRefused };

struct Option {
  const char* name;
  Takes takes;
  Fate fate;
  const char* text;  ///< What it does, or why it is accepted or refused.
};

constexpr const char* kNoTiming =
    "an ahead-of-time build times no kernels, so there is nothing to keep, average or limit";
constexpr const char* kTyped = "the network is strongly typed: the types are those of the model after --fp16 or --bf16";
constexpr const char* kNoDla = "RTX GPUs have no DLA";
constexpr const char* kNoPlugins = "TensorRT for RTX has no plugins";
constexpr const char* kNotInRtx = "TensorRT for RTX does not have it";
constexpr const char* kNeedsGpu = "it needs a GPU while building";
constexpr const char* kUseRun = "use `pajamas run` or `pajamas bench` on a bundle";

constexpr Option kOptions[] = {
    {"--help", Takes::kNothing, Fate::kSupported, "this text"},
    {"--onnx", Takes::kValue, Fate::kSupported, "the model"},
    {"--saveEngine", Takes::kValue, Fate::kSupported, "the engine file to write"},
    {"--loadEngine", Takes::kValue, Fate::kSupported, "an engine file to run"},
    {"--fp16", Takes::kNothing, Fate::kSupported, "compute in float16; inputs and outputs stay float32"},
    {"--bf16", Takes::kNothing, Fate::kSupported, "compute in bfloat16; inputs and outputs stay float32"},
    {"--int8", Takes::kNothing, Fate::kSupported, "the model must hold QuantizeLinear nodes to int8"},
    {"--fp8", Takes::kNothing, Fate::kSupported, "the model must hold QuantizeLinear nodes to float8"},
    {"--int4", Takes::kNothing, Fate::kSupported, "the model must hold DequantizeLinear nodes from int4"},
    {"--computeCapabilities", Takes::kValue, Fate::kSupported, "GPU generations: 75, 80, 86, 89, 120, 121 or all"},
    {"--gpu", Takes::kValue, Fate::kSupported, "the same, as pajamas writes it: sm86,sm89,sm120 (the default)"},
    {"--minShapes", Takes::kValue, Fate::kSupported, "smallest shapes: NAME:1x3x224x224,…"},
    {"--optShapes", Takes::kValue, Fate::kSupported, "usual shapes"},
    {"--maxShapes", Takes::kValue, Fate::kSupported, "largest shapes"},
    {"--shapes", Takes::kValue, Fate::kSupported, "shapes to run with, and to build for when no others are given"},
    {"--memPoolSize", Takes::kValue, Fate::kSupported, "workspace:SIZE in MiB, or with B, K, M, G"},
    {"--builderOptimizationLevel", Takes::kValue, Fate::kSupported, "0 to 5"},
    {"--timeLimit", Takes::kValue, Fate::kSupported, "seconds that one step may take (1800); not one of NVIDIA's"},
    {"--verbose", Takes::kNothing, Fate::kSupported, "show the library's own messages"},
    {"--skipInference", Takes::kNothing, Fate::kSupported, "build only"},
    {"--iterations", Takes::kValue, Fate::kSupported, "at least so many runs (10)"},
    {"--duration", Takes::kValue, Fate::kSupported, "at least so many seconds of runs (3)"},
    {"--warmUp", Takes::kValue, Fate::kSupported, "milliseconds of runs before measuring (200)"},
    {"--useCudaGraph", Takes::kNothing, Fate::kSupported, "record and replay a run as a CUDA graph"},
    {"--device", Takes::kValue, Fate::kSupported, "which GPU runs (0)"},
    {"--percentile", Takes::kValue, Fate::kSupported, "percentiles to show (90,95,99)"},
    {"--exportTimes", Takes::kValue, Fate::kSupported, "write each run's time as JSON"},
    {"--runtimeCacheFile", Takes::kValue, Fate::kSupported, "file that keeps compiled kernels between runs"},
    {"--specializeStrategyDS", Takes::kValue, Fate::kSupported, "lazy only"},

    {"--best", Takes::kNothing, Fate::kRefused, "it lets timing on a GPU choose the types; name one: --fp16 or --bf16"},
    {"--cpuOnly", Takes::kNothing, Fate::kAccepted, "builds never need a GPU here"},
    {"--stronglyTyped", Takes::kNothing, Fate::kAccepted, "networks always are"},
    {"--noTF32", Takes::kNothing, Fate::kRefused, "TensorRT for RTX decides by itself whether float32 uses TF32"},
    {"--timingCacheFile", Takes::kValue, Fate::kAccepted, kNoTiming},
    {"--noBuilderCache", Takes::kNothing, Fate::kAccepted, kNoTiming},
    {"--avgTiming", Takes::kValue, Fate::kAccepted, kNoTiming},
    {"--maxTactics", Takes::kValue, Fate::kAccepted, kNoTiming},
    {"--heuristic", Takes::kNothing, Fate::kAccepted, kNoTiming},
    {"--errorOnTimingCacheMiss", Takes::kNothing, Fate::kAccepted, kNoTiming},
    {"--tacticSources", Takes::kValue, Fate::kRefused, kNotInRtx},
    {"--noDataTransfers", Takes::kNothing, Fate::kRefused,
     "runs are measured with their copies; device time is shown apart"},
    {"--useSpinWait", Takes::kNothing, Fate::kAccepted, "waiting is the driver's choice"},
    {"--separateProfileRun", Takes::kNothing, Fate::kAccepted, "no layer profile is taken"},
    {"--avgRuns", Takes::kValue, Fate::kAccepted, "every run is measured by itself"},
    {"--tempdir", Takes::kValue, Fate::kAccepted,
     "nothing is written to a temporary folder but the model beside the engine"},
    {"--tempfileControls", Takes::kValue, Fate::kAccepted, "no temporary code files are made"},
    {"--monitorMemory", Takes::kNothing, Fate::kAccepted, "peak memory is always shown"},
    {"--profilingVerbosity", Takes::kValue, Fate::kAccepted,
     "it changes what a profiler can read, not the engine's work"},
    {"--nvtxVerbosity", Takes::kValue, Fate::kAccepted, "it changes what a profiler can read, not the engine's work"},

    {"--precisionConstraints", Takes::kValue, Fate::kRefused, kTyped},
    {"--layerPrecisions", Takes::kValue, Fate::kRefused, kTyped},
    {"--layerOutputTypes", Takes::kValue, Fate::kRefused, kTyped},
    {"--inputIOFormats", Takes::kValue, Fate::kRefused, "inputs and outputs are dense rows of the model's types"},
    {"--outputIOFormats", Takes::kValue, Fate::kRefused, "inputs and outputs are dense rows of the model's types"},
    {"--directIO", Takes::kNothing, Fate::kRefused, kNotInRtx},
    {"--calib", Takes::kValue, Fate::kRefused,
     "calibration is gone from TensorRT; quantise the model itself (Q/DQ nodes)"},
    {"--sparsity", Takes::kValue, Fate::kRefused, kNotInRtx},
    {"--refit", Takes::kNothing, Fate::kRefused, kNeedsGpu},
    {"--stripWeights", Takes::kNothing, Fate::kRefused, kNeedsGpu},
    {"--stripAllWeights", Takes::kNothing, Fate::kRefused, kNeedsGpu},
    {"--weightless", Takes::kNothing, Fate::kRefused, kNeedsGpu},
    {"--allowWeightStreaming", Takes::kNothing, Fate::kRefused, "weight streaming is not offered"},
    {"--weightStreamingBudget", Takes::kValue, Fate::kRefused, "weight streaming is not offered"},
    {"--versionCompatible", Takes::kNothing, Fate::kRefused, "an engine runs under the version that built it"},
    {"--useRuntime", Takes::kValue, Fate::kRefused, "set PAJAMAS_TENSORRT_LIBRARY to choose the library"},
    {"--leanDLLPath", Takes::kValue, Fate::kRefused, "set PAJAMAS_TENSORRT_LIBRARY to choose the library"},
    {"--excludeLeanRuntime", Takes::kNothing, Fate::kRefused, kNotInRtx},
    {"--hardwareCompatibilityLevel", Takes::kValue, Fate::kRefused, "name the GPUs with --computeCapabilities"},
    {"--runtimePlatform", Takes::kValue, Fate::kRefused, "engines are for the platform that builds them"},
    {"--maxAuxStreams", Takes::kValue, Fate::kRefused, "the library chooses its streams"},
    {"--preview", Takes::kValue, Fate::kRefused, kNotInRtx},
    {"--tilingOptimizationLevel", Takes::kValue, Fate::kRefused, kNotInRtx},
    {"--l2LimitForTiling", Takes::kValue, Fate::kRefused, kNotInRtx},
    {"--safe", Takes::kNothing, Fate::kRefused, kNotInRtx},
    {"--consistency", Takes::kNothing, Fate::kRefused, kNotInRtx},
    {"--restricted", Takes::kNothing, Fate::kRefused, kNotInRtx},
    {"--buildDLAStandalone", Takes::kNothing, Fate::kRefused, kNoDla},
    {"--allowGPUFallback", Takes::kNothing, Fate::kRefused, kNoDla},
    {"--useDLACore", Takes::kValue, Fate::kRefused, kNoDla},
    {"--layerDeviceTypes", Takes::kValue, Fate::kRefused, kNoDla},
    {"--plugins", Takes::kValue, Fate::kRefused, kNoPlugins},
    {"--staticPlugins", Takes::kValue, Fate::kRefused, kNoPlugins},
    {"--dynamicPlugins", Takes::kValue, Fate::kRefused, kNoPlugins},
    {"--setPluginsToSerialize", Takes::kValue, Fate::kRefused, kNoPlugins},
    {"--ignoreParsedPluginLibs", Takes::kNothing, Fate::kRefused, kNoPlugins},
    {"--pluginInstanceNorm", Takes::kNothing, Fate::kRefused, kNoPlugins},
    {"--markDebug", Takes::kValue, Fate::kRefused, "use `pajamas verify --per-layer` on a bundle"},
    {"--saveDebugTensors", Takes::kValue, Fate::kRefused, "use `pajamas verify --per-layer` on a bundle"},
    {"--loadInputs", Takes::kValue, Fate::kRefused, kUseRun},
    {"--dumpOutput", Takes::kNothing, Fate::kRefused, kUseRun},
    {"--exportOutput", Takes::kValue, Fate::kRefused, kUseRun},
    {"--dumpRawBindingsToFile", Takes::kNothing, Fate::kRefused, kUseRun},
    {"--dumpProfile", Takes::kNothing, Fate::kRefused, "no layer profile is taken"},
    {"--exportProfile", Takes::kValue, Fate::kRefused, "no layer profile is taken"},
    {"--dumpLayerInfo", Takes::kNothing, Fate::kRefused, "use `pajamas inspect` on the model"},
    {"--exportLayerInfo", Takes::kValue, Fate::kRefused, "use `pajamas inspect` on the model"},
    {"--dumpRefit", Takes::kNothing, Fate::kRefused, kNeedsGpu},
    {"--timeRefit", Takes::kNothing, Fate::kRefused, kNeedsGpu},
    {"--timeDeserialize", Takes::kNothing, Fate::kRefused, "use `time pajamas trtexec --loadEngine=… --iterations=1`"},
    {"--infStreams", Takes::kValue, Fate::kRefused, "one stream is measured"},
    {"--threads", Takes::kNothing, Fate::kRefused, "one stream is measured"},
    {"--exposeDMA", Takes::kNothing, Fate::kRefused, "copies and computation are always measured in order"},
    {"--useManagedMemory", Takes::kNothing, Fate::kRefused, "device and pinned memory are used"},
    {"--sleepTime", Takes::kValue, Fate::kRefused, "runs follow each other"},
    {"--idleTime", Takes::kValue, Fate::kRefused, "runs follow each other"},
    {"--persistentCacheRatio", Takes::kValue, Fate::kRefused, kNotInRtx},
    {"--useProfile", Takes::kValue, Fate::kRefused, "engines have one profile"},
    {"--profile", Takes::kValue, Fate::kRefused, "engines have one profile"},
    {"--allocationStrategy", Takes::kValue, Fate::kRefused, "memory is allocated once for a session"},
    {"--getPlanVersionOnly", Takes::kNothing, Fate::kRefused, "use `pajamas inspect`"},
    {"--remoteAutoTuningConfig", Takes::kValue, Fate::kRefused, kNotInRtx},
    {"--useGPU", Takes::kNothing, Fate::kRefused, "builds are ahead of time; name the GPUs with --computeCapabilities"},
};

/// trtexec's own second names.
const std::map<std::string, std::string>& aliases() {
  static const std::map<std::string, std::string> kAliases{{"-h", "--help"},
                                                           {"--streams", "--infStreams"},
                                                           {"--vc", "--versionCompatible"},
                                                           {"-v", "--verbose"},
                                                           {"-d", "--device"},
                                                           {"--pi", "--pluginInstanceNorm"},
                                                           {"--buildOnly", "--skipInference"},
                                                           {"--workspace", "--memPoolSize"}};
  return kAliases;
}

const Option* find_option(const std::string& name) {
  for (const Option& option : kOptions) {
    if (name == option.name) return &option;
  }
  return nullptr;
}

/// What trtexec does with one or two of the three: the missing ones equal the given.
std::vector<ShapeProfile> join_profiles(const NamedShapes& low, const NamedShapes& usual, const NamedShapes& high) {
  std::vector<ShapeProfile> profiles;
  const auto find = [](const NamedShapes& shapes, const std::string& name) -> const Shape* {
    for (const auto& [known, shape] : shapes) {
      if (known == name) return &shape;
    }
    return nullptr;
  };
  for (const NamedShapes* list : {&usual, &low, &high}) {
    for (const auto& [name, ignored] : *list) {
      const bool is_known = std::any_of(profiles.begin(), profiles.end(), [&input = name](const ShapeProfile& profile) {
        return profile.input == input;
      });
      if (is_known) continue;
      const Shape* opt = find(usual, name);
      const Shape* min = find(low, name);
      const Shape* max = find(high, name);
      if (opt == nullptr) opt = max != nullptr ? max : min;
      if (min == nullptr) min = opt;
      if (max == nullptr) max = opt;
      profiles.push_back({name, *min, *opt, *max});
    }
  }
  return profiles;
}

}  // namespace

TrtexecOptions parse_trtexec_options(std::span<const std::string> arguments) {
  TrtexecOptions options;
  options.plan.target = "tensorrt";
  options.plan.precision = Precision::kFp32;
  NamedShapes low;
  NamedShapes usual;
  NamedShapes high;
  for (const std::string& argument : arguments) {
    const std::size_t equals = argument.find('=');
    std::string name = argument.substr(0, equals);
    const bool has_value = equals != std::string::npos;
    std::string value = has_value ? argument.substr(equals + 1) : "";
    if (name == "--workspace" && has_value) value = "workspace:" + value;
    if (const auto alias = aliases().find(name); alias != aliases().end()) name = alias->second;
    const Option* option = find_option(name);
    if (option == nullptr) {
      throw Error(ErrorKind::kUsage, "unknown option", argument, "see `pajamas trtexec --help` for all options");
    }
    if (option->fate == Fate::kRefused) {
      throw Error(ErrorKind::kUnsupported, option->text, name, "leave " + name + " out");
    }
    if (option->takes == Takes::kValue && value.empty()) {
      throw Error(ErrorKind::kUsage, "needs a value", name, "write " + name + "=VALUE");
    }
    if (option->takes == Takes::kNothing && has_value) {
      throw Error(ErrorKind::kUsage, "takes no value", name, "write " + name);
    }
    if (option->fate == Fate::kAccepted) {
      options.notes.push_back(name + " changes nothing: " + option->text);
      continue;
    }
    const auto set_precision = [&](Precision precision) {
      if (options.plan.precision != Precision::kFp32 && options.plan.precision != precision) {
        throw Error(ErrorKind::kUsage, "--fp16 and --bf16 together let the builder choose, which it does not", name,
                    "give one of them");
      }
      options.plan.precision = precision;
    };
    if (name == "--help") options.is_help = true;
    if (name == "--onnx") options.onnx = value;
    if (name == "--saveEngine") options.save_engine = value;
    if (name == "--loadEngine") options.load_engine = value;
    if (name == "--fp16") set_precision(Precision::kFp16);
    if (name == "--bf16") set_precision(Precision::kBf16);
    if (name == "--int8" || name == "--fp8" || name == "--int4") options.needs_quantised_model = name;
    if (name == "--computeCapabilities" || name == "--gpu") {
      for (const std::string& sm : split(value, ',')) options.plan.gpu_sms.push_back(sm);
    }
    if (name == "--minShapes") low = parse_shapes(name, value);
    if (name == "--optShapes") usual = parse_shapes(name, value);
    if (name == "--maxShapes") high = parse_shapes(name, value);
    if (name == "--shapes") options.shapes = parse_shapes(name, value);
    if (name == "--memPoolSize") options.workspace_bytes = parse_pool(name, value);
    if (name == "--builderOptimizationLevel") options.optimization_level = parse_number<int>(name, value, 0, 5);
    if (name == "--timeLimit") {
      options.plan.limits.time = std::chrono::seconds(parse_number<long>(name, value, 1, 1L << 30));
    }
    if (name == "--verbose") options.is_verbose = true;
    if (name == "--skipInference") options.has_inference = false;
    if (name == "--iterations") options.min_iterations = parse_number<int>(name, value, 1, 1000000000);
    if (name == "--duration") {
      options.duration =
          std::chrono::duration_cast<std::chrono::milliseconds>(Seconds(parse_number<double>(name, value, 0, 1e6)));
    }
    if (name == "--warmUp") options.warm_up = std::chrono::milliseconds(parse_number<int>(name, value, 0, 1000000000));
    if (name == "--useCudaGraph") options.use_cuda_graph = true;
    if (name == "--device") options.device_index = parse_number<int>(name, value, 0, 1023);
    if (name == "--runtimeCacheFile") options.kernel_cache = value;
    if (name == "--exportTimes") options.times_file = value;
    if (name == "--specializeStrategyDS" && value != "lazy") {
      throw Error(ErrorKind::kUnsupported, "only 'lazy' is offered, not '" + value + "'", name, "leave it out");
    }
    if (name == "--percentile") {
      options.percentiles.clear();
      for (const std::string& entry : split(value, ',')) {
        options.percentiles.push_back(parse_number<double>(name, entry, 0, 100));
      }
    }
  }
  if (options.is_help) return options;
  if (options.onnx.empty() == options.load_engine.empty()) {
    throw Error(ErrorKind::kUsage,
                options.onnx.empty() ? "nothing to do" : "--onnx and --loadEngine exclude each other", "trtexec",
                "give --onnx=MODEL to build, or --loadEngine=ENGINE to run");
  }
  if (!options.load_engine.empty() && !options.save_engine.empty()) {
    throw Error(ErrorKind::kUsage, "--saveEngine needs a model to build", "--saveEngine", "give --onnx=MODEL");
  }
  options.plan.profiles = join_profiles(low, usual, high);
  if (options.plan.profiles.empty()) options.plan.profiles = join_profiles({}, options.shapes, {});
  return options;
}

std::string trtexec_help() {
  std::string text =
      "pajamas trtexec --onnx=MODEL --saveEngine=ENGINE [options]\n"
      "pajamas trtexec --loadEngine=ENGINE [options]\n"
      "\n"
      "Builds a bare TensorRT engine (without the manifest and proof of `pajamas build`), or measures one on the GPU\n"
      "present. Options are those of NVIDIA's trtexec.\n";
  const auto add = [&](Fate fate, const char* title) {
    text += std::string("\n") + title + "\n";
    for (const Option& option : kOptions) {
      if (option.fate != fate) continue;
      std::string name = option.name;
      if (option.takes == Takes::kValue) name += "=…";
      text += "  " + name + std::string(name.size() < 30 ? 30 - name.size() : 1, ' ') + option.text + "\n";
    }
  };
  add(Fate::kSupported, "Supported:");
  add(Fate::kAccepted, "Accepted, and why they change nothing here:");
  add(Fate::kRefused, "Refused, and why:");
  return text;
}

}  // namespace pajamas::tensorrt
