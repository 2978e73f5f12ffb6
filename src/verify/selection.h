// Judging what lies behind TopK when near-ties fell the other way: the reference is run once more with the candidate's
// own picks, so that both sides speak of the same rows, and the picks are held against the reference's scores. Where
// the picks cannot be had (NonMaxSuppression, NonZero), rows are matched as sets (comparison.h). Internal to
// verify/proof.cpp.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "verify/comparison.h"
#include "verify/runner.h"
#include "verify/tolerances.h"

namespace pajamas {

/// The values of `graph` that depend on an operator that picks or orders elements by value (TopK, NonMaxSuppression,
/// NonZero, Unique, Compress, in nested graphs too): behind them rows are a set, and near-ties may swap.
std::set<std::string> selected_values(const Graph& graph);

/// One TopK of a graph, by the names of its values.
struct Selection {
  std::string scores;   ///< What it picks from.
  std::string indices;  ///< Its picks, int64.
  std::int64_t axis = -1;
  bool is_largest = true;
  bool is_sorted = true;
};

/// What comes of holding picks against scores.
struct SelectionFinding {
  std::optional<std::string> fault;  ///< Why they cannot be the picks of a TopK; nothing when they can.
  double largest_gap = 0;            ///< How much better than the worst score picked the best one left out is, or 0.
  double margin = 0;                 ///< What that gap may be.
};

/// Whether `indices` can be the picks of a TopK from scores that are `scores` but for rounding: they name distinct
/// places, no place left out has a score better than the worst one picked by more than the margin, and they fall no
/// more than the margin against their order. The margin is row_tolerance of the worst score picked, or of the root
/// mean square of all where that is larger, and the error that any small value may have (group_rms_floor). Throws
/// Error{kInternal} for tensors that no TopK has.
SelectionFinding judge_selection(const Selection& selection, const Tensor& scores, const Tensor& indices,
                                 const Tolerance& bounds);

/// Why rows computed from the same picks are not alike; nothing when they are. They are judged as any output
/// (past_tolerance) and, so that no single wrong row hides in the norm of many, row by row as compare_rows does: every
/// float within row_tolerance, and the numbers of a column of whole numbers (classes) equal.
std::optional<std::string> fault_of_given_rows(const Comparison& comparison, const Tensor& expected,
                                               const Tensor& actual, const Tolerance& bounds);

/// The reference with picks given to it. Sound wherever the picks come from: they are judged, and the outputs that the
/// reference computes from them must be those of the candidate.
class GivenSelections {
 public:
  /// Makes a runner of a model, with more outputs.
  using ModelRunner = std::function<Runner(const Model& model, const std::vector<std::string>& extra_outputs)>;

  /// `reference` runs the untouched source. `source` must outlive this.
  GivenSelections(const Model& source, const Graph& lowered, RunnerWithOutputs reference, ModelRunner run_model);

  /// Whether TopK is all that selects in the source, and the lowered model still has the picks under the same names.
  bool is_applicable() const { return !selections_.empty(); }
  /// The names of the picks, for a candidate that is to give them.
  std::vector<std::string> picks() const;

  struct Result {
    SelectionFinding finding;                ///< Of the worst selection.
    std::map<std::string, Tensor> expected;  ///< The reference's outputs with these picks; empty with a fault.
  };
  /// `own` is what the reference computes by itself: the reference with its own picks given must give the same, else
  /// Error{kInternal}. Throws as the runners do.
  Result run(const NamedTensors& inputs, const std::map<std::string, Tensor>& picks,
             const std::map<std::string, Tensor>& own, const Tolerance& bounds);

 private:
  NamedTensors with_picks(const NamedTensors& inputs, const std::map<std::string, Tensor>& picks) const;

  const Model& source_;
  std::vector<Selection> selections_;
  RunnerWithOutputs reference_;
  ModelRunner run_model_;
  Runner own_picks_;  ///< The untouched source with its picks as outputs; made when first needed.
  Runner given_;      ///< The source that takes picks as inputs; made when first needed.
};

}  // namespace pajamas
