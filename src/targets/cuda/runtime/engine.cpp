// See engine.h.
#include "targets/cuda/runtime/engine.h"

#include <map>
#include <string>
#include <string_view>
#include <unordered_set>

#include "graph/passes/passes.h"
#include "graph/passes/pipeline.h"
#include "pajamas/error.h"
#include "targets/cuda/lowering/graph_context.h"
#include "targets/cuda/lowering/lower.h"
#include "targets/cuda/runtime/session.h"

namespace pajamas::cuda {
namespace {

std::vector<std::vector<std::int64_t>> key_of(const InputShapes& shapes) {
  std::vector<std::vector<std::int64_t>> key;
  for (const Shape& shape : shapes) key.push_back(shape.extents());
  return key;
}

std::string text_of(const ShapeProfile& profile) {
  if (profile.min == profile.max) return profile.min.to_string();
  return profile.min.to_string() + " to " + profile.max.to_string();
}

bool is_within(const Shape& shape, const ShapeProfile& profile) {
  if (shape.rank() != profile.min.rank()) return false;
  for (std::size_t axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] < profile.min[axis] || shape[axis] > profile.max[axis]) return false;
  }
  return true;
}

}  // namespace

CudaEngine::CudaEngine(Parts parts) : parts_(std::move(parts)) {}

std::unique_ptr<Session> CudaEngine::new_session() const { return std::make_unique<CudaSession>(shared_from_this()); }

nlohmann::json CudaEngine::describe() const {
  const DeviceInfo& info = parts_.device->info();
  return {{"target", "cuda"},
          {"device", info.name},
          {"sm", info.sm},
          {"precision", to_string(parts_.index.precision)},
          {"weight_bytes", parts_.constants->size_bytes()},
          {"num_plans", plans_.size()},
          {"uses_lanes", parts_.index.uses_lanes},
          {"versions", parts_.index.environment.versions}};
}

InputShapes CudaEngine::tuned_shapes() const {
  InputShapes shapes;
  for (const ShapeProfile& profile : parts_.index.profiles) shapes.push_back(profile.opt);
  return shapes;
}

void CudaEngine::check_shapes(const InputShapes& shapes) const {
  const auto& inputs = parts_.index.inputs;
  if (shapes.size() != inputs.size()) {
    throw Error(ErrorKind::kInternal,
                std::to_string(shapes.size()) + " shapes for " + std::to_string(inputs.size()) + " inputs");
  }
  struct Named {
    std::int64_t extent;
    std::string input;
  };
  std::map<std::string, Named> named;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const ShapeProfile& profile = parts_.index.profiles[i];
    if (!is_within(shapes[i], profile)) {
      throw Error(ErrorKind::kBadInput,
                  "the input has shape " + shapes[i].to_string() + " but the engine was built for " + text_of(profile),
                  "input '" + inputs[i].name + "'", "give an input of that shape, or build again with other --shapes");
    }
    for (std::size_t axis = 0; axis < inputs[i].shape.size(); ++axis) {
      const auto* name = std::get_if<std::string>(&inputs[i].shape[axis].value);
      if (name == nullptr || name->empty()) continue;
      const auto [found, is_new] = named.try_emplace(*name, Named{shapes[i][axis], inputs[i].name});
      if (is_new || found->second.extent == shapes[i][axis]) continue;
      throw Error(ErrorKind::kBadInput,
                  "the inputs disagree on '" + *name + "': it is " + std::to_string(found->second.extent) + " in '" +
                      found->second.input + "' and " + std::to_string(shapes[i][axis]) + " here",
                  "input '" + inputs[i].name + "'", "give inputs of equal extents there");
    }
  }
}

std::shared_ptr<const Plan> CudaEngine::plan(const InputShapes& shapes) const {
  check_shapes(shapes);
  return plans_.get(key_of(shapes), [&] {
    const std::lock_guard lock(making_);
    return make_plan(shapes);
  });
}

std::shared_ptr<const DeviceConstants> CudaEngine::constants_of(const std::vector<ConstantUse>& uses,
                                                                const ConstantTable& table) const {
  std::vector<ConstantUse> missing;
  for (const ConstantUse& use : uses) {
    if (!parts_.constants->contains(use.key)) missing.push_back(use);
  }
  if (missing.empty()) return parts_.constants;
  // Only those that the table has the numbers of: what follows from the shapes.
  PackedConstants packed;
  packed.add(missing, table);
  return std::make_shared<const DeviceConstants>(packed, parts_.constants);
}

void CudaEngine::keep_plan(const InputShapes& shapes, std::shared_ptr<const Plan> plan) const {
  plans_.get(key_of(shapes), [&] { return plan; });
}

std::shared_ptr<const Plan> CudaEngine::make_plan(const InputShapes& shapes) const {
  parts_.device->make_current();
  try {
    const FixedModel fixed = with_input_shapes(parts_.graph, parts_.table, shapes);
    LoweredProgram lowered = lower(fixed.model, fixed.table, lowering_options(parts_.index));
    auto program = std::make_shared<Program>(std::move(lowered.program));
    StepKernels kernels = make_kernels(*parts_.device, *program, parts_.tactics);
    return std::make_shared<const Plan>(std::move(program), std::move(kernels),
                                        constants_of(lowered.constants, fixed.table), parts_.index.uses_lanes);
  } catch (const Error& error) {
    if (parts_.where.empty()) throw;
    throw error.with_context(parts_.where);
  }
}

LoweringOptions lowering_options(const EngineIndex& index) {
  LoweringOptions options;
  options.allows_tf32 = index.precision == Precision::kTf32;
  // cuBLASLt alone, which gives nothing but sums, is slower than 16 bits with all in one kernel (59 µs against 29 for
  // ViT's first layer on an H200), and kernels of our own are for SM 9.0.
  options.has_integer_products = index.environment.sm == 90;
  return options;
}

FixedModel with_input_shapes(const Model& graph, const ConstantTable& table, const InputShapes& shapes) {
  FixedModel fixed{graph, table};
  const std::vector<const ValueInfo*> inputs = graph.graph.required_inputs();
  std::vector<std::pair<std::string, Shape>> named;
  std::string suffix = "@";
  bool is_open = false;
  for (std::size_t i = 0; i < inputs.size() && i < shapes.size(); ++i) {
    named.emplace_back(inputs[i]->name, shapes[i]);
    suffix += shapes[i].to_string();
    is_open = is_open || !inputs[i]->type || !inputs[i]->type->static_shape();
  }
  fix_input_shapes(fixed.model.graph, named);
  if (!is_open) return fixed;  // The passes have folded all that can be.
  // Shapes go through weights too, so those that the graph no longer holds are declared until all is folded.
  std::unordered_set<std::string> own_inputs;
  for (const ValueInfo& input : fixed.model.graph.inputs) own_inputs.insert(input.name);
  declare_constants(fixed.model.graph, table);
  while (fold_constants(fixed.model).num_changes > 0) remove_dead_code(fixed.model);
  std::erase_if(fixed.model.graph.inputs, [&](const ValueInfo& input) { return !own_inputs.contains(input.name); });
  Renames renames;
  std::unordered_set<std::string_view> kept = output_names(fixed.model.graph);
  for (Initializer& initializer : fixed.model.graph.initializers) {
    if (graph.graph.find_initializer(initializer.name) != nullptr) continue;
    if (kept.count(initializer.name) == 0) {
      renames[initializer.name] = initializer.name + suffix;
      initializer.name += suffix;
    }
    fixed.table.add(initializer.name, {initializer.tensor.dtype(), initializer.tensor.shape(), initializer.tensor});
  }
  rename_uses(fixed.model.graph, renames);
  return fixed;
}

}  // namespace pajamas::cuda
