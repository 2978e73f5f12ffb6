// Bench: how fast a bundle's engine is on this machine, alone or beside ONNX Runtime on the same graph in the same run.
// The measuring itself is bench/measure.h. The JSON is docs/schemas/bench.schema.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/cancel.h"
#include "bundle/bundle.h"

namespace pajamas {

struct BenchRequest {
  std::filesystem::path bundle;
  std::string part;            ///< Empty: the only one, or the first.
  std::int64_t batch = 1;      ///< First extent of every input that leaves it open.
  double seconds = 5;          ///< Measured time of each contender.
  int num_threads = 0;         ///< CPU threads; 0: all.
  bool is_exact_fp32 = false;  ///< Measure the engine at float32 whatever the bundle's precision.
  bool is_beside_onnxruntime = false;
  bool has_layers = false;  ///< Also what each layer takes, where the target can tell.
  Progress progress;
};

/// Measures and describes. Refuses (Error{kUnsupported}) a bundle whose proof failed, and outputs that differ from the
/// peer's past tolerance: a fast wrong answer is not a result. Throws as Bundle::open and load_engine do.
nlohmann::json bench_bundle(const BenchRequest& request);

/// Throws Error{kUnsupported} unless the part's proof passed: the speed of a wrong engine means nothing.
void require_passed_proof(const ManifestPart& part, const Bundle& bundle);

}  // namespace pajamas
