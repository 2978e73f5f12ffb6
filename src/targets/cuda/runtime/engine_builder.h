// From a model to an engine on this machine's GPU: lowering, packing, tuning, the choice between branches and one
// stream. In memory; the engine file is written from the result.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "engine/build_plan.h"
#include "engine/target.h"
#include "targets/cuda/runtime/engine.h"
#include "targets/cuda/runtime/timing_cache.h"
#include "targets/cuda/runtime/tuner.h"

namespace pajamas::cuda {

struct BuildEngineOptions {
  Precision precision = Precision::kFp32;  ///< What the passes converted the graph to; recorded.
  std::vector<ShapeProfile> profiles;      ///< Of inputs with open extents; see resolve_profiles.
  int num_threads = 0;
  int max_kernels = 10;  ///< See TuneOptions.
  /// false: the first kernel that a backend offers for each step, nothing timed. For references and quick checks.
  bool is_tuned = true;
  Progress progress;
};

struct BuiltEngine {
  std::shared_ptr<const CudaEngine> engine;
  std::shared_ptr<const PackedConstants> packed;
  TimingCache timing;         ///< Of the steps of this engine alone.
  nlohmann::json program;     ///< The lowered program, for people.
  std::size_t num_timed = 0;  ///< Kernels timed.
  std::size_t num_from_cache = 0;
  double refined_us = 0;     ///< Time of the plan after the comparison of whole plans; 0 where there was none.
  double one_stream_us = 0;  ///< Time of the whole plan on one stream; 0 where it was not measured.
  double lanes_us = 0;       ///< The same with parallel branches; 0 where there are none.
};

/// Whether the model can be lowered at the usual shapes of its profiles (see resolve_profiles). No GPU needed. Throws
/// Error{kUsage} for profiles that do not fit.
Support supports_profiles(const Model& model, const std::vector<ShapeProfile>& profiles);

/// `model`: after the passes. Uses what `cache` knows and adds what it times. Throws Error{kUnsupported} naming what
/// cannot be computed or how many bytes are lacking for the profile's largest shapes, Error{kUsage} for profiles that
/// do not fit, Error{kCancelled}.
BuiltEngine build_engine(const std::shared_ptr<DeviceContext>& device, const Model& model,
                         const BuildEngineOptions& options, TimingCache& cache);

/// A model's program at the profile's usual shapes, with the constants that its kConstant buffers are packed from.
/// Throws as build_engine; needs no device.
struct UsualProgram {
  LoweredProgram lowered;
  ConstantTable table;
};
UsualProgram usual_program(const Model& model, const BuildEngineOptions& options, int sm);

/// Writes the engine file. Throws Error{kBadInput} when it cannot be written.
void write_engine(const BuiltEngine& built, const std::filesystem::path& path);

/// An engine from the bytes of its file, which were checked against their digest. `where` names the file. Throws
/// Error{kBadInput} for a damaged file, Error{kUnsupported} for another SM, both named.
std::shared_ptr<const CudaEngine> read_engine(const std::shared_ptr<DeviceContext>& device,
                                              std::span<const std::byte> bytes, const std::string& where);

}  // namespace pajamas::cuda
