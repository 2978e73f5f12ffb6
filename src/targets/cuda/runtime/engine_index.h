// What the sections of an engine file mean: which constants lie where in the weights, which kernel computes which step,
// and on what device and libraries that was decided. Knows no CUDA; engine_file.h is the container.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "engine/build_plan.h"
#include "engine/target.h"
#include "targets/cuda/constant_pool.h"
#include "targets/cuda/runtime/timing_cache.h"

namespace pajamas::cuda {

/// A packed constant in the section `weights`.
struct ConstantPlace {
  std::string key;
  std::uint64_t offset = 0;  ///< A multiple of kBufferAlignment.
  std::uint64_t size_bytes = 0;
};

/// The kernel chosen for the steps of one signature, and where in the section `states` its bytes lie.
struct TacticPlace {
  std::string signature;
  std::string tactic;
  std::uint64_t state_offset = 0;
  std::uint64_t state_bytes = 0;
};

/// Type and extents of an initializer that the graph no longer holds.
struct LargeConstant {
  std::string name;
  DType dtype = DType::kUndefined;
  Shape shape;
};

struct EngineIndex {
  TuningEnvironment environment;  ///< What it was built on.
  Precision precision = Precision::kFp32;
  std::vector<TensorInfo> inputs;  ///< In the order of the graph's required inputs, with open extents where dynamic.
  std::vector<TensorInfo> outputs;
  std::vector<ShapeProfile> profiles;  ///< One an input, in that order; min = max where it is fixed.
  bool uses_lanes = true;              ///< Whether parallel branches were faster than one stream.
  std::vector<LargeConstant> large_constants;
  std::vector<ConstantPlace> constants;
  std::vector<TacticPlace> tactics;
};

nlohmann::json to_json(const EngineIndex& index);
/// Checks everything that the engine relies on: places within sections of these sizes, alignment, types, rising
/// profiles. Throws Error{kBadInput} naming `where` and the path within the index.
EngineIndex parse_engine_index(std::string_view text, const std::string& where, std::uint64_t states_bytes,
                               std::uint64_t weights_bytes);

}  // namespace pajamas::cuda
