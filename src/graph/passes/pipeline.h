// The order of the passes and what a build wants of them. The toolchain calls run_passes; single passes are in
// passes.h.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/cancel.h"
#include "graph/passes/passes.h"

namespace pajamas {

struct PassOptions {
  /// Floating-point type to compute in: kFloat32 leaves the types as they are, kFloat16 and kBfloat16 convert.
  DType float_type = DType::kFloat32;
  std::vector<std::string> keep_fp32_ops;  ///< Operator types or node names kept in float32; see PrecisionOptions.
  bool has_fp32_interface = true;          ///< Graph inputs and outputs stay float32.
  /// Shapes that inputs get before anything else, by input name; named dimensions of other inputs follow.
  std::vector<std::pair<std::string, Shape>> fixed_shapes;
  bool folds_constants = true;    ///< Constants and shape chains.
  bool folds_batch_norms = true;  ///< Changes results by rounding.
  bool removes_duplicates = true;
  FoldingOptions folding;
};

/// What happened, in order; passes that changed nothing and noted nothing are left out.
struct PassLog {
  std::vector<PassReport> reports;
  std::vector<WeightConversion> conversions;  ///< Weights that lost something, the worst first.
  std::size_t num_nodes_before = 0;
  std::size_t num_nodes_after = 0;

  /// One line a pass, for people.
  std::string to_text() const;
};

/// Binds `shapes` to the inputs. Throws Error{kUsage} for an unknown input, a rank or extent that contradicts the
/// model, or two extents for one named dimension. Declared shapes of inner values are dropped, as they may be stale.
void fix_input_shapes(Graph& graph, const std::vector<std::pair<std::string, Shape>>& shapes);

/// Runs the passes in place; other copies of the model stay as they are. The result is the same for the same input.
/// Throws what the passes throw, and Error{kCancelled}.
PassLog run_passes(Model& model, const PassOptions& options, const Progress& progress = {});

}  // namespace pajamas
