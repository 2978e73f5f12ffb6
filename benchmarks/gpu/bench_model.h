// Building a model for this GPU in memory and measuring it: what gpu_bench does for each model and batch.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/build_plan.h"
#include "pajamas/tensor.h"
#include "targets/cuda/runtime/engine_builder.h"
#include "targets/cuda/runtime/session.h"

namespace pajamas::gpu_bench {

struct Options {
  Precision precision = Precision::kFp16;
  bool is_fp8 = false;             ///< Products in 8-bit floats, the rest in `precision`.
  bool has_fp32_interface = true;  ///< false: inputs and outputs in the precision too, as the peer's are.
  int num_replays = 100;
  int num_threads = 0;
  int max_kernels = 10;
  std::filesystem::path timing_cache;
  bool is_verified_by_onnxruntime = true;  ///< Else by this program's own fp32 engine, untuned.
  int num_streams = 0;                     ///< Above 1: throughput of so many sessions at once, beside that of one.
  int num_growth_runs = 0;                 ///< Above 0: memory before and after so many runs.
  int num_reloads = 0;                     ///< Above 0: memory before and after so many loads.
  Progress progress;
};

/// A model built for a batch, with its inputs on the device.
struct Prepared {
  std::filesystem::path source;
  std::int64_t batch = 1;
  cuda::BuiltEngine built;
  std::vector<Tensor> inputs;  ///< As the engine takes them.
  double build_seconds = 0;
  nlohmann::json products;  ///< Where 8-bit floats pay, by time (product_times.h); null where they were not asked for.
  std::unique_ptr<cuda::DeviceSession> session;
};

Prepared prepare(const std::filesystem::path& source, std::int64_t batch, const Options& options);
/// Outputs of one run, on the host.
std::vector<Tensor> run_once(cuda::DeviceSession& session, const std::vector<Tensor>& inputs);
/// Compares with a reference; throws Error{kUnsupported} past tolerance. The result says what was compared.
nlohmann::json verify(Prepared& prepared, const Options& options);
/// GPU time of single runs (events around the launch of the captured graph, waited for each time) and of runs in a row.
nlohmann::json measure(Prepared& prepared, const Options& options);
/// Writes the engine to a file and loads it again: bytes, time, and that it gives the same bits.
nlohmann::json measure_load(Prepared& prepared);
nlohmann::json measure_streams(Prepared& prepared, const Options& options);
nlohmann::json measure_growth(Prepared& prepared, const Options& options);

}  // namespace pajamas::gpu_bench
