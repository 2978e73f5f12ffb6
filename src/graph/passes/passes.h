// The passes, each in the file of its name. They expect a checked model whose local functions are inlined, and keep
// its outputs: exactly, or to rounding where the comment says so. None of them changes the inputs and outputs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/passes/pass.h"

namespace pajamas {

/// Initializers of IR version 3 and before, which are also graph inputs, become plain initializers of IR version 4;
/// Constant nodes become initializers. `normalize_constants.cpp`
PassReport normalize_constants(Model& model);

struct FoldingOptions {
  /// Largest output that folding may add, beyond the size of the inputs it replaces.
  std::uint64_t max_added_bytes = std::uint64_t{16} << 20;
  /// Leaves a Cast that widens a float16 or bfloat16 constant of rank 2 or more, so that weights stay as small as they
  /// are stored. For graphs that say with such Casts how their weights are to be read (docs/language.md).
  bool keeps_half_weights = false;
};

/// Computes nodes whose inputs are constants, and integers that follow from known extents (Shape, Size and what is
/// computed of them). Leaves DequantizeLinear, so that quantised weights stay small, but of int32 biases.
/// `constant_folding.cpp`
PassReport fold_constants(Model& model, const FoldingOptions& options = {});

/// Reshape targets and Resize sizes computed from extents that are not all known become constants with 0 and -1, or
/// name only the axes that change, where the two are provably the same. `shape_chain_folding.cpp`
PassReport fold_shape_chains(Model& model);

/// BatchNormalization after Conv, ConvTranspose, Gemm and MatMul with constant weights, whose result nothing else uses,
/// goes into the weights. Equal to rounding. `batch_norm_folding.cpp`
PassReport fold_batch_norms(Model& model);

/// Nodes that give back their input: Identity, Dropout at inference, Cast to the same type, Transpose in order, Reshape
/// to the same shape, Pad by nothing, ... `no_op_removal.cpp`
PassReport remove_no_ops(Model& model);

/// Nodes that compute what another one does, and initializers of equal content. `duplicate_removal.cpp`
PassReport remove_duplicates(Model& model);

/// Nodes and initializers nothing needs, and declarations of values that are gone. `dead_code_removal.cpp`
PassReport remove_dead_code(Model& model);

/// How the values of one initializer fared in a conversion; only those with a loss are listed.
struct WeightConversion {
  std::string name;
  std::int64_t num_elements = 0;
  std::int64_t num_saturated = 0;        ///< Past the largest finite value, now that value.
  std::int64_t num_flushed_to_zero = 0;  ///< Not zero before, zero now.
  std::int64_t num_subnormal = 0;        ///< Kept, with fewer digits than normal values.
  double max_magnitude = 0;              ///< Largest finite magnitude before.
};

struct PrecisionOptions {
  DType dtype = DType::kFloat16;  ///< kFloat16 or kBfloat16.
  /// Operator types or node names kept in float32, besides those of default_fp32_operators.
  std::vector<std::string> keep_fp32;
  bool has_fp32_interface = true;  ///< Graph inputs and outputs stay float32.
};

/// Operator types that stay float32, with the reason.
struct Fp32Operator {
  const char* op_type;
  const char* reason;
};
const std::vector<Fp32Operator>& default_fp32_operators();

/// float32 weights and values become float16 or bfloat16, with Casts at the borders of what stays float32. Saturation
/// and flushes to zero are in `conversions`, and the report names the worst. A model that is mostly 16 bits already is
/// left as it is, which the report says. `precision_conversion.cpp`
PassReport convert_precision(Model& model, const PrecisionOptions& options,
                             std::vector<WeightConversion>* conversions = nullptr);

}  // namespace pajamas
