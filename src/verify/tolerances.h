// The one table of tolerances of the project, by precision and class of what is compared, and the judgement of a
// comparison by it. An exception to the table is made in code that names its reason, never by editing a number to pass.
#pragma once

#include <optional>
#include <string>

#include "engine/build_plan.h"
#include "verify/comparison.h"

namespace pajamas {

/// What a compared value went through. The classes differ in how rounding errors come about.
enum class OperatorClass {
  kCopy,         ///< Moves or selects elements (Reshape, Transpose, Gather, Relu, Max): at most one rounding.
  kElementwise,  ///< One function an element (Add, Exp, Sigmoid): a few roundings.
  kReduction,    ///< Sums of many terms in any order (Conv, MatMul, ReduceMean, Softmax, LayerNormalization).
  kNetwork,      ///< A value inside or at the end of a model: the errors of everything before it.
  kLogits,       ///< Scores of a language model's vocabulary: one scale a model, and only their differences count.
  kStates,       ///< Hidden states of a speech encoder: single tokens turn on single roundings, all others do not.
  kQuantised,    ///< The same in a model with QuantizeLinear: a hair's breadth moves a value to the next step.
};

/// "copy", "elementwise", "reduction", "network", "logits", "states", "quantised".
const char* to_string(OperatorClass operator_class) noexcept;

struct Tolerance {
  double max_rel = 0;             ///< Bound on Comparison::max_rel; 0: none.
  double relative_l2 = 0;         ///< Bound on Comparison::relative_l2, and on that of every channel group.
  double group_rms_floor = 0;     ///< Absolute root mean square error that a channel group may always have.
  double min_cosine = -1;         ///< Least Comparison::cosine.
  double max_to_range = 0;        ///< Bound on max_abs / expected_max_abs; 0: none.
  double p99_to_range = 0;        ///< Bound on p99_abs / expected_max_abs; 0: none.
  double integer_mismatches = 0;  ///< Share of integer elements that may differ.
  double row_tolerance = 0;       ///< compare_rows' tolerance.
  double unmatched_rows = 0;      ///< Share of rows that may find no partner.
  const char* reason = "";        ///< Where the numbers come from.
};

/// The table. kAuto is not a precision to judge by: Error{kInternal}.
Tolerance tolerance(Precision precision, OperatorClass operator_class);

/// Nothing when the comparison is within the tolerance, else which figure is past which bound.
std::optional<std::string> past_tolerance(const Comparison& comparison, const Tolerance& tolerance);

nlohmann::json to_json(const Tolerance& tolerance);

}  // namespace pajamas
