// Which kernel computes which step, and making those kernels for a program. The choosing by time is tuner.h.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "targets/cuda/program.h"
#include "targets/cuda/runtime/device_context.h"
#include "targets/cuda/runtime/plan.h"
#include "targets/cuda/runtime/step_kernel.h"
#include "targets/cuda/runtime/timing_cache.h"

namespace pajamas::cuda {

/// A tactic with what makes its kernel again.
struct ChosenTactic {
  std::string tactic;
  std::vector<std::byte> state;
};
/// By signature of the step.
using TacticTable = std::map<std::string, ChosenTactic>;

/// The backend whose tactic this is. Throws Error{kUnsupported} for one that this program does not have.
const Backend& backend_of(const std::string& tactic);

/// How messages name a step: "conv step 12 (from /model.0/conv/Conv, /model.0/act/Mul)".
std::string describe(const Program& program, std::size_t step_index);

/// One kernel a step: those of the table, and for signatures that it lacks the first that a backend offers. Works on
/// several threads. Throws Error{kUnsupported} naming the step where no backend has a kernel for it, or where the
/// library cannot make the table's any more.
StepKernels make_kernels(DeviceContext& device, const Program& program, const TacticTable& tactics,
                         int num_threads = 0);

/// Signature of every step.
std::vector<std::string> signatures_of(const Program& program);

/// What times on this device depend on: the GPU, the driver and the libraries that are there.
TuningEnvironment environment_of(DeviceContext& device);

}  // namespace pajamas::cuda
