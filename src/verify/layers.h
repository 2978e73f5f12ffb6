// Comparing the values inside a model, to name the first layer that goes wrong. Internal to verify/proof.cpp.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "verify/proof.h"
#include "verify/runner.h"

namespace pajamas {

struct LayerRequest {
  const Graph& source;
  const Graph& lowered;
  RunnerWithOutputs reference;
  RunnerWithOutputs candidate;
  NamedTensors inputs;
  std::string case_name;
  Tolerance tolerance;
  bool has_all = false;  ///< Compare every value; else stop at the first one past tolerance.
  Progress progress;
};

struct LayerResult {
  std::optional<BadLayer> first_bad;
  std::vector<LayerComparison> layers;  ///< Only with has_all.
  std::int64_t num_compared = 0;
};

/// Compares, in the order of the lowered model, the values that nodes of both graphs produce under one name. They are
/// fetched in chunks, so that about 512 MB of them are held at once. Throws what the runners throw, and
/// Error{kCancelled}.
LayerResult compare_layers(const LayerRequest& request);

/// The tolerance for values inside a model: as for its outputs, but measured on the scale of each value, which may be
/// any.
Tolerance layer_tolerance(Precision precision, OperatorClass operator_class);

}  // namespace pajamas
