// Chooses the kernel of every step by time on the device: all that the backends offer, on the program's own buffers
// with random data, in CUDA graphs, with warm and with cold L2 cache. What a timing cache knows is not timed again.
#pragma once

#include "base/cancel.h"
#include "targets/cuda/runtime/kernel_choice.h"

namespace pajamas::cuda {

struct TuneOptions {
  int num_threads = 0;  ///< For building candidates; 0: all cores.
  /// Ways of one backend for one step. Ten of cuDNN's find the best of hundreds (322 → 250 µs on YOLOv8n); building one
  /// takes half a second of a core.
  int max_kernels = 10;
  Progress progress;
};

struct TuneResult {
  StepKernels kernels;  ///< One a step, for this very program.
  /// Kernels of a signature that came close to the chosen one, for its first step; only of signatures just timed.
  std::map<std::string, std::vector<std::shared_ptr<const StepKernel>>> alternatives;
  TacticTable tactics;             ///< Every signature of the program.
  std::size_t num_timed = 0;       ///< Kernels timed.
  std::size_t num_from_cache = 0;  ///< Signatures that the cache decided.
};

/// Adds what it times to `cache`. The program's kConstant buffers must all be in `constants`. Throws
/// Error{kUnsupported} naming a step that no backend computes, Error{kCancelled}, Error{kInternal} when the device
/// fails.
TuneResult tune(DeviceContext& device, Program& program, const DeviceConstants& constants, TimingCache& cache,
                const TuneOptions& options = {});

/// Tries the alternatives in the whole plan and keeps what makes that faster: beside other branches, and with what the
/// steps before leave in the cache, the fastest kernel alone is not always the best. Changes `tuned` and records the
/// choices in `cache`. Bounded by kRefineSeconds. Returns the plan's time in µs.
double refine(DeviceContext& device, const std::shared_ptr<Program>& program,
              const std::shared_ptr<const DeviceConstants>& constants, TuneResult& tuned, TimingCache& cache,
              const TuneOptions& options = {});
inline constexpr double kRefineSeconds = 15;

/// Median time in µs of replaying `graph` `num_replays` times, measured by events.
double median_replay_us(const GraphExec& graph, cudaStream_t stream, int num_replays);

}  // namespace pajamas::cuda
