// A model loaded into OpenVINO's CPU plugin, and its sessions. Not the compilation: openvino_target.cpp makes these.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <openvino/runtime/compiled_model.hpp>
#include <openvino/runtime/infer_request.hpp>
#include <optional>
#include <vector>

#include "engine/target.h"
#include "targets/openvino/paged_inputs.h"
#include "targets/openvino/paged_kv_cache.h"

namespace pajamas::openvino {

/// Extents an input may have, checked before OpenVINO sees them. max -1: no limit.
struct ExtentRange {
  std::int64_t min = 0;
  std::int64_t max = -1;
};

class OpenvinoEngine final : public Engine, public std::enable_shared_from_this<OpenvinoEngine> {
 public:
  struct Parts {
    /// What the compiled model reads from (the mapped blob); may be null. First, so that it is destroyed last.
    std::shared_ptr<const void> memory;
    ov::CompiledModel compiled;
    std::vector<TensorInfo> inputs;
    std::vector<std::vector<ExtentRange>> input_ranges;  ///< Per input and axis.
    std::vector<TensorInfo> outputs;
    nlohmann::json description;
    std::int64_t num_table_rows = 0;     ///< Language models: rows of the embedding table; 0: not known.
    std::int64_t num_position_rows = 0;  ///< And of the table of positions; 0: there is none.
  };
  /// Throws Error{kInternal} when the compiled model's inputs and outputs are not those declared.
  explicit OpenvinoEngine(Parts parts);

  const std::vector<TensorInfo>& inputs() const override { return parts_.inputs; }
  const std::vector<TensorInfo>& outputs() const override { return parts_.outputs; }
  std::unique_ptr<pajamas::Session> new_session() const override;
  const KvCacheLayout* kv_cache_layout() const override { return caches_ != nullptr ? &caches_->layout : nullptr; }
  std::shared_ptr<KvCache> new_kv_cache(std::int64_t num_blocks) const override;
  nlohmann::json describe() const override { return parts_.description; }

 private:
  friend class OpenvinoSession;
  Parts parts_;
  std::vector<int> input_ports_;  ///< Index into the compiled model's inputs; -1: the graph does not use it.
  std::vector<std::size_t> output_ports_;
  std::shared_ptr<const CachePlan> caches_;  ///< Null without paged attention.
  std::optional<PagedInputs> paged_inputs_;  ///< Set with caches_.
};

/// Inputs are used where they lie, outputs are views of OpenVINO's own memory. A second run() without a new set_input
/// reads the same memory again, so it must then still be there.
class OpenvinoSession final : public Session {
 public:
  explicit OpenvinoSession(std::shared_ptr<const OpenvinoEngine> engine);
  void set_input(std::size_t index, const TensorView& tensor) override;
  void run() override;
  void set_kv_cache(std::shared_ptr<KvCache> cache) override;
  TensorView output(std::size_t index) const override;
  RunTiming last_timing() const override { return timing_; }

 private:
  /// Extents of one name must be equal in all inputs. Throws Error{kBadInput}.
  void check_named_extents() const;

  std::shared_ptr<const OpenvinoEngine> engine_;
  ov::InferRequest request_;
  std::vector<bool> is_input_set_;
  std::vector<TensorView> inputs_;
  std::shared_ptr<PagedKvCache> cache_;  ///< Of engines with paged attention, once given.
  std::vector<ov::Tensor> outputs_;      ///< Of the last run; empty before it.
  std::chrono::nanoseconds input_time_{0};
  RunTiming timing_;
};

}  // namespace pajamas::openvino
