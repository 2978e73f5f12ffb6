// The per-layer report: each step of a plan timed alone, beside the least time that the device could take for it.
#include <algorithm>

#include "targets/cuda/runtime/kernel_choice.h"
#include "targets/cuda/runtime/range.h"
#include "targets/cuda/runtime/session.h"
#include "targets/cuda/runtime/tuner.h"

namespace pajamas::cuda {
namespace {

/// What the device can do at best, from what it says of itself.
struct DeviceLimits {
  double bytes_per_us = 0;
  double tensor_flops_per_us = 0;  ///< Dense matrix units, 16-bit operands.
  double vector_flops_per_us = 0;  ///< float32 multiply-adds.
};

/// Dense 16-bit floating-point operations a clock and multiprocessor, from the vendor's architecture papers.
double tensor_flops_per_clock(int sm) {
  if (sm >= 100 && sm < 120) return 8192;
  if (sm >= 90 && sm < 100) return 4096;
  if (sm == 80) return 2048;
  return 1024;
}

DeviceLimits limits_of(const DeviceInfo& info) {
  const auto attribute = [&](cudaDeviceAttr which) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, which, info.index), "asking for a limit of the GPU");
    return static_cast<double>(value);
  };
  const double clock_per_us = attribute(cudaDevAttrClockRate) / 1000.0;         // From kHz.
  const double memory_per_us = attribute(cudaDevAttrMemoryClockRate) / 1000.0;  // From kHz; two transfers a clock.
  DeviceLimits limits;
  limits.bytes_per_us = memory_per_us * 2 * attribute(cudaDevAttrGlobalMemoryBusWidth) / 8;
  limits.tensor_flops_per_us = clock_per_us * info.num_multiprocessors * tensor_flops_per_clock(info.sm);
  limits.vector_flops_per_us = clock_per_us * info.num_multiprocessors * 256;
  return limits;
}

/// Floating-point operations a microsecond: matrix units do twice as many on 8 bits, and half as many in TF32.
double peak_of(const DeviceLimits& limits, const Program& program, const Step& step) {
  if (std::holds_alternative<LoopStep>(step.work) || std::holds_alternative<OperatorStep>(step.work)) {
    return limits.vector_flops_per_us;
  }
  if (is_tf32(program, step)) return limits.tensor_flops_per_us / 2;
  const std::vector<ValueId> inputs = inputs_of(step);
  const int bits = inputs.empty() ? 32 : bits_of(program.value(inputs.front()).desc.dtype);
  if (bits > 16) return limits.vector_flops_per_us;
  return bits <= 8 ? 2 * limits.tensor_flops_per_us : limits.tensor_flops_per_us;
}

}  // namespace

nlohmann::json profile_steps(DeviceSession& session, int num_repeats) {
  constexpr int kLaunches = 20;  // In one graph, so that launching costs what it costs in the plan's own.
  const PlanInstance& instance = session.instance();
  const Plan& plan = instance.plan();
  const Program& program = plan.program();
  const DeviceLimits limits = limits_of(session.engine().device().info());
  const Stream stream;
  nlohmann::json steps = nlohmann::json::array();
  double total_us = 0;
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    const Step& step = program.steps[i];
    const std::string name = describe(program, i);
    const Range range(name.c_str());
    const GraphExec graph = GraphExec::capture(stream.get(), [&] {
      for (int k = 0; k < kLaunches; ++k) plan.enqueue_step(i, stream.get(), instance.addresses(), instance.arena());
    });
    const double time_us = median_replay_us(graph, stream.get(), num_repeats) / kLaunches;
    total_us += time_us;
    const StepCost cost = cost_of(program, step);
    const double peak = peak_of(limits, program, step);
    const double bytes_us = cost.bytes / limits.bytes_per_us;
    const double flops_us = cost.flops / peak;
    std::string shapes;
    for (const ValueId id : outputs_of(step)) {
      const TensorDesc& desc = program.value(id).desc;
      shapes += (shapes.empty() ? "" : " ") + std::string(to_string(desc.dtype)) + desc.extents.to_string();
    }
    steps.push_back({{"step", i},
                     {"kind", kind_of(program, step)},
                     {"tactic", plan.kernels()[i]->tactic()},
                     {"output", shapes},
                     {"time_us", time_us},
                     {"bytes", cost.bytes},
                     {"flops", cost.flops},
                     {"limit", flops_us > bytes_us ? "arithmetic" : "memory"},
                     {"fraction_of_limit", std::max(bytes_us, flops_us) / time_us},
                     {"lane", step.lane},
                     {"depends_on", step.depends_on},
                     {"fused_from", step.fused_from}});
  }
  nlohmann::json report = {{"steps", std::move(steps)},
                           {"sum_us", total_us},
                           {"num_lanes", program.num_lanes},
                           {"uses_lanes", plan.uses_lanes()},
                           {"arena_bytes", plan.arena_bytes()}};
  if (instance.graph()) {
    report["graph_us"] = median_replay_us(instance.graph(), session.stream(), num_repeats);
    report["graph_nodes"] = instance.graph().num_nodes();
  }
  return report;
}

}  // namespace pajamas::cuda
