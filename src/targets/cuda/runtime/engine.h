// A loaded engine of the cuda target: weights on the device, plans by shape. Sessions are session.h; making one from a
// model is engine_builder.h, from a file cuda_target.cpp.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/detection_pipeline.h"
#include "engine/target.h"
#include "targets/cuda/constant_pool.h"
#include "targets/cuda/lowering/lower.h"
#include "targets/cuda/runtime/device_constants.h"
#include "targets/cuda/runtime/device_context.h"
#include "targets/cuda/runtime/engine_index.h"
#include "targets/cuda/runtime/kernel_choice.h"
#include "targets/cuda/runtime/plan.h"
#include "targets/cuda/runtime/plan_cache.h"

namespace pajamas::cuda {

/// Plans kept at once, by the shapes of their inputs; each holds kernels and, in every session that uses it, memory for
/// inputs and outputs.
inline constexpr std::size_t kMaxPlans = 8;

using InputShapes = std::vector<Shape>;

/// Immutable but for its cache of plans; shareable between threads.
class CudaEngine final : public Engine,
                         public DetectionPipelineSource,
                         public std::enable_shared_from_this<CudaEngine> {
 public:
  struct Parts {
    std::shared_ptr<DeviceContext> device;
    EngineIndex index;
    Model graph;  ///< Without its large initializers.
    ConstantTable table;
    std::shared_ptr<const DeviceConstants> constants;
    TacticTable tactics;
    std::string where;  ///< The bundle's file, for messages; may be empty.
  };
  explicit CudaEngine(Parts parts);

  const std::vector<TensorInfo>& inputs() const override { return parts_.index.inputs; }
  const std::vector<TensorInfo>& outputs() const override { return parts_.index.outputs; }
  std::unique_ptr<Session> new_session() const override;
  nlohmann::json describe() const override;
  std::unique_ptr<DetectionPipeline> new_detection_pipeline(const DetectionPipelineRequest& request) const override;

  DeviceContext& device() const { return *parts_.device; }
  const EngineIndex& index() const noexcept { return parts_.index; }
  const Model& graph() const noexcept { return parts_.graph; }
  const TacticTable& tactics() const noexcept { return parts_.tactics; }
  const DeviceConstants& constants() const noexcept { return *parts_.constants; }
  /// The plan for these input shapes, made when there is none: seconds for shapes that nothing was tuned for. Throws
  /// Error{kBadInput} for shapes outside the profile, naming it.
  std::shared_ptr<const Plan> plan(const InputShapes& shapes) const;
  /// The shapes the engine was tuned for.
  InputShapes tuned_shapes() const;
  /// Takes a plan that was made already (by the build).
  void keep_plan(const InputShapes& shapes, std::shared_ptr<const Plan> plan) const;

 private:
  void check_shapes(const InputShapes& shapes) const;
  std::shared_ptr<const Plan> make_plan(const InputShapes& shapes) const;
  /// The engine's constants, and where a plan uses others, those too.
  std::shared_ptr<const DeviceConstants> constants_of(const std::vector<ConstantUse>& uses,
                                                      const ConstantTable& table) const;

  Parts parts_;
  mutable PlanCache<std::vector<std::vector<std::int64_t>>, Plan> plans_{kMaxPlans};
  mutable std::mutex making_;  ///< One plan is made at a time: it takes all cores.
};

/// A model at fixed input shapes, with the constants that its lowering may ask for.
struct FixedModel {
  Model model;
  ConstantTable table;
};
/// `graph` without its large initializers, `table` with theirs. Values that follow from the shapes become constants of
/// their own under names that hold the shapes, as they differ from plan to plan.
FixedModel with_input_shapes(const Model& graph, const ConstantTable& table, const InputShapes& shapes);

/// How an engine's graph is lowered, at build and again at every load.
LoweringOptions lowering_options(const EngineIndex& index);

}  // namespace pajamas::cuda
