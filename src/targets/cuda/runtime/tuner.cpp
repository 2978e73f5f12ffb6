// See tuner.h.
#include "targets/cuda/runtime/tuner.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>

#include "base/log.h"
#include "targets/cuda/lowering/memory_plan.h"
#include "targets/cuda/runtime/parallel.h"
#include "targets/cuda/runtime/random_fill.h"

namespace pajamas::cuda {
namespace {

/// Replays whose median counts. Within one replay the launches average out what events cannot resolve (0.5 µs).
constexpr int kWarmReplays = 5;
constexpr double kWarmReplayUs = 150;  ///< Length of one replay to aim for.
constexpr int kMinLaunches = 4;
constexpr int kMaxLaunches = 40;
constexpr int kColdLaunches = 7;
/// A kernel that a first look finds so much slower than the best is not timed thoroughly.
constexpr double kHopeless = 3.0;

/// What is worth trying in the whole plan.
constexpr double kClose = 1.35;
constexpr std::size_t kMaxAlternatives = 3;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/// The steps of one signature. Their candidates are made for the first of them.
struct Group {
  std::string signature;
  std::vector<std::size_t> steps;
  std::vector<std::shared_ptr<const StepKernel>> candidates;
  std::vector<std::string> refusals;
  const TunedSignature* known = nullptr;  ///< From the cache.
  std::size_t step() const { return steps.front(); }
};

std::vector<Group> groups_of(const Program& program) {
  std::vector<Group> groups;
  std::map<std::string, std::size_t> index;
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    const std::string signature = signature_of(program, program.steps[i]);
    const auto [found, is_new] = index.try_emplace(signature, groups.size());
    if (is_new) {
      groups.emplace_back();
      groups.back().signature = signature;
    }
    groups[found->second].steps.push_back(i);
  }
  return groups;
}

/// The kernel that the cache names, without its state: from its name, or among what the backend offers.
std::shared_ptr<const StepKernel> make_known(DeviceContext& device, const Program& program, const Group& group,
                                             const std::string& tactic, int max_kernels) {
  try {
    const Backend& backend = backend_of(tactic);
    const Step& step = program.steps[group.step()];
    try {
      return backend.restore(device, program, step, tactic, {});
    } catch (const Error&) {
      std::vector<std::string> ignored;
      for (auto& kernel : backend.kernels(device, program, step, max_kernels, ignored)) {
        if (kernel->tactic() == tactic) return std::move(kernel);
      }
    }
  } catch (const Error& error) {
    log().info("the timing cache's kernel cannot be made: {}", error.what());
  }
  return nullptr;
}

/// Times kernels of one program on its own buffers.
class Stopwatch {
 public:
  Stopwatch(DeviceContext& device, Program& program, const DeviceConstants& constants, std::size_t workspace_bytes)
      : program_(program) {
    plan_memory(program);
    std::size_t interface_bytes = 0;
    for (const Buffer& buffer : program.buffers) {
      if (buffer.place == Place::kInput || buffer.place == Place::kOutput) interface_bytes += padded(buffer.size_bytes);
    }
    flush_bytes_ = std::max<std::size_t>(2 * device.info().l2_bytes, std::size_t{64} << 20);
    require_device_memory(padded(program.arena_bytes) + interface_bytes + workspace_bytes + flush_bytes_,
                          "timing kernels for these shapes");
    arena_ = DeviceMemory(program.arena_bytes);
    interface_ = DeviceMemory(interface_bytes);
    workspace_ = DeviceMemory(workspace_bytes);
    flush_ = DeviceMemory(flush_bytes_);
    std::size_t offset = 0;
    for (const Buffer& buffer : program.buffers) {
      switch (buffer.place) {
        case Place::kArena: addresses_.push_back(arena_.data() + buffer.arena_offset); break;
        case Place::kConstant: addresses_.push_back(constants.find(buffer.constant_key)); break;
        case Place::kInput:
        case Place::kOutput:
          addresses_.push_back(interface_.data() + offset);
          offset += padded(buffer.size_bytes);
          break;
      }
    }
  }

  /// Gives the inputs of a step values of their types.
  void fill_inputs(const Step& step) {
    for (const ValueId id : inputs_of(step)) {
      const Buffer& buffer = program_.buffer_of(id);
      if (buffer.place == Place::kConstant) continue;
      random_.fill(addresses_[static_cast<std::size_t>(program_.value(id).buffer)], buffer.size_bytes,
                   program_.value(id).desc.dtype, stream_.get());
    }
    stream_.synchronize();
  }

  /// Nothing when the kernel does not run; `refusal` says why then. `best_us`: the shortest warm time so far.
  std::optional<TimedTactic> time(const StepKernel& kernel, double best_us, std::string& refusal) {
    try {
      const double estimate_us = estimate(kernel);
      TimedTactic timed{kernel.tactic(), estimate_us, estimate_us};
      if (estimate_us > best_us * kHopeless) return timed;
      timed.warm_us = warm(kernel, estimate_us);
      timed.cold_us = cold(kernel);
      return timed;
    } catch (const Error& error) {
      refusal = kernel.tactic() + ": " + error.message();
      // An error that the device does not forget would fail every kernel after this one.
      stream_.synchronize();
      return std::nullopt;
    }
  }

 private:
  static std::size_t padded(std::size_t bytes) {
    return (std::max<std::size_t>(bytes, 1) + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
  }

  void launch(const StepKernel& kernel) {
    LaunchContext context;
    context.stream = stream_.get();
    context.buffers = addresses_;
    context.workspace = workspace_.data();
    kernel.launch(context);
  }

  double estimate(const StepKernel& kernel) {
    launch(kernel);  // Loads its code.
    begin_.record(stream_.get());
    for (int i = 0; i < 3; ++i) launch(kernel);
    end_.record(stream_.get());
    stream_.synchronize();
    return end_.us_since(begin_) / 3;
  }

  double warm(const StepKernel& kernel, double estimate_us) {
    const int num_launches = std::clamp(static_cast<int>(kWarmReplayUs / estimate_us), kMinLaunches, kMaxLaunches);
    const GraphExec graph = GraphExec::capture(stream_.get(), [&] {
      for (int i = 0; i < num_launches; ++i) launch(kernel);
    });
    return median_replay_us(graph, stream_.get(), kWarmReplays) / num_launches;
  }

  double cold(const StepKernel& kernel) {
    const GraphExec graph = GraphExec::capture(stream_.get(), [&] {
      for (int i = 0; i < kColdLaunches; ++i) {
        check(cudaMemsetAsync(flush_.data(), i, flush_bytes_, stream_.get()), "flushing the L2 cache");
        check(cudaEventRecordWithFlags(cold_begin_[i].get(), stream_.get(), cudaEventRecordExternal),
              "recording an event in a graph");
        launch(kernel);
        check(cudaEventRecordWithFlags(cold_end_[i].get(), stream_.get(), cudaEventRecordExternal),
              "recording an event in a graph");
      }
    });
    graph.launch(stream_.get());
    stream_.synchronize();
    std::vector<double> times;
    for (int i = 0; i < kColdLaunches; ++i) times.push_back(cold_end_[i].us_since(cold_begin_[i]));
    return median(times);
  }

  Program& program_;
  Stream stream_;
  Event begin_, end_;
  std::array<Event, kColdLaunches> cold_begin_, cold_end_;
  DeviceMemory arena_, interface_, workspace_, flush_;
  std::size_t flush_bytes_ = 0;
  std::vector<std::byte*> addresses_;
  RandomFill random_;
};

/// Candidates of every group that the cache does not decide, and the kernel of those that it does.
void prepare(DeviceContext& device, const Program& program, std::vector<Group>& groups, const TuneOptions& options) {
  // A task is one backend for one signature, so that the many threads all have work.
  struct Task {
    Group* group;
    const Backend* backend;
    std::vector<std::unique_ptr<StepKernel>> kernels;
    std::vector<std::string> refusals;
  };
  std::vector<Task> tasks;
  std::size_t num_known = 0;
  for (Group& group : groups) {
    if (group.known != nullptr) ++num_known;
  }
  std::mutex mutex;
  std::size_t num_done = 0;
  std::chrono::steady_clock::time_point last_report{};
  const auto report = [&](std::size_t total, const std::string& detail) {
    const std::lock_guard lock(mutex);
    ++num_done;
    // A few reports a second are all that anybody can read.
    const auto now = std::chrono::steady_clock::now();
    if (num_done < total && last_report + std::chrono::milliseconds(200) > now) return;
    last_report = now;
    options.progress.step("Preparing kernels", static_cast<double>(num_done) / static_cast<double>(total), detail);
  };
  if (num_known > 0) {
    parallel_for(device, groups.size(), options.num_threads, [&](std::size_t i) {
      Group& group = groups[i];
      if (group.known == nullptr) return;
      options.progress.check("preparing kernels");
      auto kernel = make_known(device, program, group, group.known->best(), options.max_kernels);
      if (kernel) {
        group.candidates.push_back(std::move(kernel));
      } else {
        group.known = nullptr;
      }
      report(groups.size(), kind_of(program, program.steps[group.step()]));
    });
  }
  for (const bool is_last_resort : {false, true}) {
    tasks.clear();
    for (Group& group : groups) {
      if (group.known != nullptr || !group.candidates.empty()) continue;
      for (const Backend* backend : backends()) {
        if (backend->is_last_resort() == is_last_resort) tasks.push_back({&group, backend, {}, {}});
      }
    }
    num_done = 0;
    parallel_for(device, tasks.size(), options.num_threads, [&](std::size_t i) {
      Task& task = tasks[i];
      options.progress.check("preparing kernels");
      task.kernels =
          task.backend->kernels(device, program, program.steps[task.group->step()], options.max_kernels, task.refusals);
      report(tasks.size(), kind_of(program, program.steps[task.group->step()]));
    });
    for (Task& task : tasks) {
      for (auto& kernel : task.kernels) task.group->candidates.push_back(std::move(kernel));
      std::move(task.refusals.begin(), task.refusals.end(), std::back_inserter(task.group->refusals));
    }
  }
  for (const Group& group : groups) {
    if (!group.candidates.empty()) continue;
    std::string reasons;
    for (std::size_t i = 0; i < group.refusals.size() && i < 3; ++i) reasons += "; " + group.refusals[i];
    throw Error(ErrorKind::kUnsupported, "no kernel computes " + describe(program, group.step()) + reasons, {},
                "use another precision, or --target tensorrt");
  }
}

}  // namespace

double median_replay_us(const GraphExec& graph, cudaStream_t stream, int num_replays) {
  const Event begin;
  const Event end;
  graph.launch(stream);  // Not counted: the first replay brings the graph to the device.
  std::vector<double> times;
  for (int i = 0; i < num_replays; ++i) {
    begin.record(stream);
    graph.launch(stream);
    end.record(stream);
    check(cudaStreamSynchronize(stream), "replaying a graph");
    times.push_back(end.us_since(begin));
  }
  return median(times);
}

TuneResult tune(DeviceContext& device, Program& program, const DeviceConstants& constants, TimingCache& cache,
                const TuneOptions& options) {
  device.make_current();
  const TuningEnvironment environment = environment_of(device);
  std::vector<Group> groups = groups_of(program);
  for (Group& group : groups) group.known = cache.find(environment, group.signature);
  prepare(device, program, groups, options);

  std::size_t workspace_bytes = 0;
  for (const Group& group : groups) {
    for (const auto& kernel : group.candidates) workspace_bytes = std::max(workspace_bytes, kernel->workspace_bytes());
  }
  TuneResult result;
  std::optional<Stopwatch> stopwatch;  // Not where the cache decides everything.
  for (std::size_t i = 0; i < groups.size(); ++i) {
    Group& group = groups[i];
    options.progress.check("timing kernels");
    const std::string kind = kind_of(program, program.steps[group.step()]);
    options.progress.step("Timing kernels", static_cast<double>(i) / static_cast<double>(groups.size()), kind);
    std::shared_ptr<const StepKernel> best;
    if (group.known != nullptr) {
      best = group.candidates.front();
      ++result.num_from_cache;
    } else {
      if (!stopwatch) stopwatch.emplace(device, program, constants, workspace_bytes);
      stopwatch->fill_inputs(program.steps[group.step()]);
      TunedSignature tuned;
      std::vector<std::pair<double, std::shared_ptr<const StepKernel>>> scored;
      double best_warm_us = 1e30;
      double best_score = 1e30;
      for (const auto& kernel : group.candidates) {
        std::string refusal;
        const auto timed = stopwatch->time(*kernel, best_warm_us, refusal);
        if (!timed) {
          group.refusals.push_back(refusal);
          continue;
        }
        ++result.num_timed;
        best_warm_us = std::min(best_warm_us, timed->warm_us);
        if (timed->score() < best_score) {
          best_score = timed->score();
          best = kernel;
        }
        scored.emplace_back(timed->score(), kernel);
        tuned.candidates.push_back(*timed);
      }
      if (!best) {
        throw Error(ErrorKind::kUnsupported, "no kernel runs for " + describe(program, group.step()) + ": " +
                                                 (group.refusals.empty() ? "none was offered" : group.refusals.back()));
      }
      std::stable_sort(scored.begin(), scored.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
      for (const auto& [score, kernel] : scored) {
        auto& close = result.alternatives[group.signature];
        if (kernel != best && score < best_score * kClose && close.size() < kMaxAlternatives) close.push_back(kernel);
      }
      tuned.refusals = group.refusals;
      cache.add(environment, group.signature, std::move(tuned));
    }
    result.tactics[group.signature] = {best->tactic(), best->state()};
    group.candidates = {best};
  }
  stopwatch.reset();

  result.kernels.resize(program.steps.size());
  for (const Group& group : groups) result.kernels[group.step()] = group.candidates.front();
  // Kernels are made for one step of one program: the others of a signature get their own.
  std::vector<std::pair<std::size_t, const Group*>> others;
  for (const Group& group : groups) {
    for (std::size_t i = 1; i < group.steps.size(); ++i) others.emplace_back(group.steps[i], &group);
  }
  parallel_for(device, others.size(), options.num_threads, [&](std::size_t i) {
    const auto& [step, group] = others[i];
    const ChosenTactic& chosen = result.tactics.at(group->signature);
    result.kernels[step] =
        backend_of(chosen.tactic).restore(device, program, program.steps[step], chosen.tactic, chosen.state);
  });
  return result;
}

}  // namespace pajamas::cuda
