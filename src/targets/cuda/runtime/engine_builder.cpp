// See engine_builder.h.
#include "targets/cuda/runtime/engine_builder.h"

#include <algorithm>
#include <optional>

#include "base/digest.h"
#include "base/json_writer.h"
#include "base/log.h"
#include "io/onnx_reader.h"
#include "io/onnx_writer.h"
#include "pajamas/error.h"
#include "targets/cuda/lowering/integer_products.h"
#include "targets/cuda/lowering/lower.h"
#include "targets/cuda/lowering/memory_plan.h"
#include "targets/cuda/runtime/engine_file.h"
#include "targets/cuda/runtime/range.h"
#include "targets/cuda/runtime/session.h"
#include "targets/shape_profiles.h"

namespace pajamas::cuda {
namespace {

/// Replays of the whole plan when branches are compared with one stream.
constexpr int kPlanReplays = 30;

ConstantTable table_of(const Graph& graph) {
  ConstantTable table;
  for (const Initializer& initializer : graph.initializers) {
    table.add(initializer.name, {initializer.tensor.dtype(), initializer.tensor.shape(), initializer.tensor});
  }
  return table;
}

/// The table as a load has it: large constants without their numbers.
ConstantTable stripped(const ConstantTable& table) {
  ConstantTable result;
  for (const auto& [name, entry] : table.entries()) {
    const bool is_large = entry.values && entry.values->size_bytes() > ConstantTable::kSmallBytes;
    result.add(name, {entry.dtype, entry.shape, is_large ? std::nullopt : entry.values});
  }
  return result;
}

/// The graph without its large initializers, and what they were.
Model stripped(const Model& model, std::vector<LargeConstant>& large) {
  Model result = model;
  drop_zero_points(result);
  auto& initializers = result.graph.initializers;
  for (const Initializer& initializer : initializers) {
    if (initializer.tensor.size_bytes() <= ConstantTable::kSmallBytes) continue;
    large.push_back({initializer.name, initializer.tensor.dtype(), initializer.tensor.shape()});
  }
  std::erase_if(initializers, [](const Initializer& initializer) {
    return initializer.tensor.size_bytes() > ConstantTable::kSmallBytes;
  });
  // Before IR version 4 initializers are inputs too; without a value an input would have to be given.
  for (const LargeConstant& constant : large) {
    std::erase_if(result.graph.inputs, [&](const ValueInfo& input) { return input.name == constant.name; });
  }
  return result;
}

TensorInfo info_of(const ValueInfo& value) {
  TensorInfo info{value.name, DType::kUndefined, {}};
  if (value.type) {
    info.dtype = value.type->dtype;
    if (value.type->shape) info.shape = *value.type->shape;
  }
  for (Dimension& dimension : info.shape) dimension.denotation.clear();
  return info;
}

/// One profile an input, fixed where the model fixes it.
std::vector<ShapeProfile> full_profiles(const Model& model, const std::vector<ShapeProfile>& given) {
  const std::vector<ShapeProfile> open = resolve_profiles(model, given);
  std::vector<ShapeProfile> profiles;
  for (const ValueInfo* input : model.graph.required_inputs()) {
    if (const ShapeProfile* found = find_profile(open, input->name)) {
      profiles.push_back(*found);
      continue;
    }
    const Shape shape = *input->type->static_shape();
    profiles.push_back({input->name, shape, shape, shape});
  }
  return profiles;
}

InputShapes shapes_of(const std::vector<ShapeProfile>& profiles, Shape ShapeProfile::*which) {
  InputShapes shapes;
  for (const ShapeProfile& profile : profiles) shapes.push_back(profile.*which);
  return shapes;
}

/// Output shapes from the program where they depend on neither open extents nor data.
void refine_outputs(std::vector<TensorInfo>& outputs, const Program& program, bool is_fixed) {
  for (std::size_t i = 0; i < outputs.size() && i < program.outputs.size(); ++i) {
    const TensorDesc& desc = program.value(program.outputs[i]).desc;
    outputs[i].dtype = desc.dtype;
    if (outputs[i].shape.size() != desc.extents.rank()) outputs[i].shape.assign(desc.extents.rank(), Dimension{});
    for (std::size_t axis = 0; is_fixed && axis < desc.extents.rank(); ++axis) {
      const bool is_counted =
          std::any_of(program.output_counts.begin(), program.output_counts.end(),
                      [&](const OutputCount& count) { return count.output == i && count.axis == axis; });
      if (!is_counted) outputs[i].shape[axis] = Dimension::known(desc.extents[axis]);
    }
  }
}

/// Whether branches are faster than one stream, by replaying the whole plan both ways.
bool choose_lanes(const std::shared_ptr<const Plan>& plan, BuiltEngine& built) {
  const Stream stream;
  const auto arena = std::make_shared<const DeviceMemory>(std::max(plan->arena_bytes(), kBufferAlignment));
  const PlanInstance instance(plan, arena, stream.get());
  if (!instance.graph()) return false;
  const GraphExec in_order =
      GraphExec::capture(stream.get(), [&] { plan->enqueue(stream.get(), instance.addresses(), instance.arena()); });
  built.one_stream_us = median_replay_us(in_order, stream.get(), kPlanReplays);
  if (plan->program().num_lanes <= 1) return false;
  built.lanes_us = median_replay_us(instance.graph(), stream.get(), kPlanReplays);
  return built.lanes_us < built.one_stream_us;
}

/// What of the cache concerns this engine.
TimingCache part_of(const TimingCache& cache, const TuningEnvironment& environment, const TacticTable& tactics) {
  TimingCache part;
  for (const auto& [signature, chosen] : tactics) {
    if (const TunedSignature* tuned = cache.find(environment, signature)) part.add(environment, signature, *tuned);
  }
  return part;
}

/// Equal for programs of the same steps in the same lanes.
std::string key_of_plan(const Program& program) {
  Sha256 digest;
  for (const Step& step : program.steps) {
    const std::string text = signature_of(program, step) + "|" + std::to_string(step.lane) + "\n";
    digest.update({reinterpret_cast<const std::byte*>(text.data()), text.size()});
  }
  return digest.finish();
}

std::span<const std::byte> bytes_of_text(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

}  // namespace

Support supports_profiles(const Model& model, const std::vector<ShapeProfile>& profiles) {
  const InputShapes usual = shapes_of(full_profiles(model, profiles), &ShapeProfile::opt);
  return supports_graph(with_input_shapes(model, table_of(model.graph), usual).model);
}

BuiltEngine build_engine(const std::shared_ptr<DeviceContext>& device, const Model& model,
                         const BuildEngineOptions& options, TimingCache& cache) {
  const Range range("pajamas build");
  device->make_current();
  BuiltEngine built;
  CudaEngine::Parts parts;
  parts.device = device;
  EngineIndex& index = parts.index;
  index.precision = options.precision;
  index.profiles = full_profiles(model, options.profiles);
  for (const ValueInfo* input : model.graph.required_inputs()) index.inputs.push_back(info_of(*input));
  for (const ValueInfo& output : model.graph.outputs) index.outputs.push_back(info_of(output));

  options.progress.step("Lowering");
  const ConstantTable table = table_of(model.graph);
  const InputShapes usual = shapes_of(index.profiles, &ShapeProfile::opt);
  const InputShapes smallest = shapes_of(index.profiles, &ShapeProfile::min);
  const InputShapes largest = shapes_of(index.profiles, &ShapeProfile::max);
  parts.graph = stripped(model, index.large_constants);
  parts.table = stripped(table);
  FixedModel fixed = with_input_shapes(parts.graph, table, usual);
  index.environment.sm = device->info().sm;
  LoweredProgram lowered = lower(fixed.model, fixed.table, lowering_options(index));
  auto packed = std::make_shared<PackedConstants>();
  packed->add(lowered.constants, fixed.table);
  std::size_t largest_bytes = 0;
  // Other shapes may want weights packed in other ways; and the largest must fit before anybody relies on it.
  for (const InputShapes* shapes : {&smallest, &largest}) {
    if (*shapes == usual) continue;
    options.progress.check("lowering");
    fixed = with_input_shapes(parts.graph, table, *shapes);
    LoweredProgram other = lower(fixed.model, fixed.table, lowering_options(index));
    packed->add(other.constants, fixed.table);
    plan_memory(other.program);
    largest_bytes = std::max(largest_bytes, other.program.arena_bytes);
  }
  require_device_memory(packed->size_bytes() + largest_bytes, "an engine for the profile's largest shapes");
  options.progress.step("Copying weights");
  parts.constants = std::make_shared<const DeviceConstants>(*packed);
  built.packed = packed;
  built.program = to_json(lowered.program);

  auto program = std::make_shared<Program>(std::move(lowered.program));
  refine_outputs(index.outputs, *program, smallest == usual && largest == usual);
  StepKernels kernels;
  if (options.is_tuned) {
    TuneOptions tuning;
    tuning.num_threads = options.num_threads;
    tuning.max_kernels = options.max_kernels;
    tuning.progress = options.progress;
    TuneResult tuned = tune(*device, *program, *parts.constants, cache, tuning);
    // A plan that the cache knows comes out the same, without timing. One of known steps alone may be new: its kernels
    // were timed for another.
    const bool is_new = tuned.num_timed > 0 || !cache.uses_lanes(environment_of(*device), key_of_plan(*program));
    if (is_new) built.refined_us = refine(*device, program, parts.constants, tuned, cache, tuning);
    kernels = std::move(tuned.kernels);
    parts.tactics = std::move(tuned.tactics);
    built.num_timed = tuned.num_timed;
    built.num_from_cache = tuned.num_from_cache;
  } else {
    kernels = make_kernels(*device, *program, {}, options.num_threads);
    const std::vector<std::string> signatures = signatures_of(*program);
    for (std::size_t i = 0; i < kernels.size(); ++i) {
      parts.tactics.try_emplace(signatures[i], ChosenTactic{kernels[i]->tactic(), kernels[i]->state()});
    }
  }
  index.environment = environment_of(*device);

  options.progress.check("measuring the plan");
  options.progress.step("Measuring the plan");
  auto plan = std::make_shared<const Plan>(program, kernels, parts.constants, true);
  if (options.is_tuned) {
    const std::string plan_key = key_of_plan(*program);
    const std::optional<bool> known = cache.uses_lanes(index.environment, plan_key);
    index.uses_lanes = known && built.num_timed == 0 ? *known : choose_lanes(plan, built);
    cache.set_uses_lanes(index.environment, plan_key, index.uses_lanes);
    built.timing = part_of(cache, index.environment, parts.tactics);
    built.timing.set_uses_lanes(index.environment, plan_key, index.uses_lanes);
  }
  if (index.uses_lanes != plan->uses_lanes()) {
    plan = std::make_shared<const Plan>(program, std::move(kernels), parts.constants, index.uses_lanes);
  }
  auto engine = std::make_shared<const CudaEngine>(std::move(parts));
  engine->keep_plan(usual, plan);
  built.engine = engine;
  return built;
}

UsualProgram usual_program(const Model& model, const BuildEngineOptions& options, int sm) {
  EngineIndex index;
  index.environment.sm = sm;
  index.precision = options.precision;
  const InputShapes usual = shapes_of(full_profiles(model, options.profiles), &ShapeProfile::opt);
  FixedModel fixed = with_input_shapes(stripped(model, index.large_constants), table_of(model.graph), usual);
  LoweredProgram lowered = lower(fixed.model, fixed.table, lowering_options(index));
  return {std::move(lowered), std::move(fixed.table)};
}

void write_engine(const BuiltEngine& built, const std::filesystem::path& path) {
  const CudaEngine& engine = *built.engine;
  EngineIndex index = engine.index();
  index.constants = built.packed->places();
  std::vector<std::byte> states;
  for (const auto& [signature, chosen] : engine.tactics()) {
    index.tactics.push_back({signature, chosen.tactic, states.size(), chosen.state.size()});
    states.insert(states.end(), chosen.state.begin(), chosen.state.end());
  }
  const std::string graph = serialize_onnx(engine.graph());
  const std::string index_text = json_text(to_json(index));
  write_engine_file(path, bytes_of_text(graph), bytes_of_text(index_text), states, built.packed->pieces());
}

std::shared_ptr<const CudaEngine> read_engine(const std::shared_ptr<DeviceContext>& device,
                                              std::span<const std::byte> bytes, const std::string& where) {
  const Range range("pajamas load");
  const EngineSections sections = parse_engine_file(bytes, where);
  CudaEngine::Parts parts;
  parts.device = device;
  parts.where = where;
  parts.index = parse_engine_index({reinterpret_cast<const char*>(sections.index.data()), sections.index.size()}, where,
                                   sections.states.size(), sections.weights.size());
  const DeviceInfo& info = device->info();
  const TuningEnvironment& built_on = parts.index.environment;
  if (built_on.sm != info.sm) {
    throw Error(ErrorKind::kUnsupported,
                "was built on " + built_on.gpu + " (SM " + std::to_string(built_on.sm) + ") and the GPU here, " +
                    info.name + ", is SM " + std::to_string(info.sm),
                where, "build the bundle again on this GPU");
  }
  device->make_current();
  parts.graph = parse_onnx(sections.graph);
  for (const LargeConstant& constant : parts.index.large_constants) {
    parts.table.add(constant.name, {constant.dtype, constant.shape, std::nullopt});
  }
  for (const Initializer& initializer : parts.graph.graph.initializers) {
    parts.table.add(initializer.name, {initializer.tensor.dtype(), initializer.tensor.shape(), initializer.tensor});
  }
  for (const TacticPlace& place : parts.index.tactics) {
    const auto state = sections.states.subspan(place.state_offset, place.state_bytes);
    parts.tactics[place.signature] = {place.tactic, {state.begin(), state.end()}};
  }
  require_device_memory(sections.weights.size(), "the engine's weights");
  parts.constants = std::make_shared<const DeviceConstants>(sections.weights, parts.index.constants);
  const TuningEnvironment here = environment_of(*device);
  auto engine = std::make_shared<const CudaEngine>(std::move(parts));
  try {
    engine->plan(engine->tuned_shapes());
  } catch (const Error& error) {
    if (here == built_on) throw;
    // The likeliest reason is the other library: both are named.
    std::string differences;
    for (const auto& [name, version] : built_on.versions) {
      const auto found = here.versions.find(name);
      const std::string now = found == here.versions.end() ? "none" : found->second;
      if (now != version)
        differences += (differences.empty() ? "" : ", ") + name + " " + version + " then, " + now + " now";
    }
    throw Error(error.kind(), error.message() + (differences.empty() ? "" : " (built with " + differences + ")"),
                error.where(), error.remedy().empty() ? "build the bundle again on this machine" : error.remedy());
  }
  return engine;
}

}  // namespace pajamas::cuda
