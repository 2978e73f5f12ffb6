// The options of NVIDIA's trtexec, read the way it reads them and mapped to a BuildPlan. Every option it has is either
// supported, accepted with a note that says why it changes nothing here, or refused with the reason: none is ignored in
// silence. Not the command itself: apps/pajamas/command_trtexec.cpp.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/build_plan.h"

namespace pajamas::tensorrt {

struct TrtexecOptions {
  std::filesystem::path onnx;         ///< --onnx; empty with --loadEngine.
  std::filesystem::path save_engine;  ///< --saveEngine; may be empty.
  std::filesystem::path load_engine;  ///< --loadEngine.
  BuildPlan plan;                     ///< Target, precision, SMs, profiles.
  std::string needs_quantised_model;  ///< "--int8" and its like: the model itself must hold Q/DQ nodes.
  std::optional<int> optimization_level;
  std::uint64_t workspace_bytes = 0;
  bool is_verbose = false;
  bool is_help = false;

  // Running.
  bool has_inference = true;  ///< False: --skipInference.
  bool use_cuda_graph = false;
  int device_index = 0;
  int min_iterations = 10;
  std::chrono::milliseconds duration{3000};
  std::chrono::milliseconds warm_up{200};
  std::vector<std::pair<std::string, Shape>> shapes;  ///< Inputs to run with; others run at their usual shape.
  std::vector<double> percentiles{90, 95, 99};
  std::filesystem::path kernel_cache;  ///< --runtimeCacheFile.
  std::filesystem::path times_file;    ///< --exportTimes.

  std::vector<std::string> notes;  ///< "--noTF32 changes nothing: …", to be shown.
};

/// Reads the arguments after `trtexec`. Options are `--name`, `--name=value`; the usual short aliases hold. Throws
/// Error{kUsage} for an unknown option, a malformed value or a contradiction, Error{kUnsupported} for a known option
/// that cannot be honoured, each naming the option and what to do.
TrtexecOptions parse_trtexec_options(std::span<const std::string> arguments);

/// The list of options with what becomes of each.
std::string trtexec_help();

}  // namespace pajamas::tensorrt
