// Comparing tensors: how far what was computed lies from what was expected, in figures. Whether that is near enough is
// decided by verify/tolerances.h; which tensors are compared by verify/proof.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pajamas/tensor.h"

namespace pajamas {

/// Error of the channels of one magnitude in an output that mixes quantities: a detector's [1, 84, 8400] holds pixels
/// (hundreds) and probabilities (below one), and a figure over all of it would see the pixels only.
struct ChannelGroup {
  std::int64_t num_channels = 0;
  std::int64_t first_channel = 0;
  double rms_expected = 0;
  double rms_error = 0;
};

/// What a comparison found. Float figures leave out elements where either side is not finite; those are counted.
struct Comparison {
  std::string name;  ///< Of the output or value.
  DType dtype = DType::kUndefined;
  Shape expected_shape;
  Shape actual_shape;
  /// Why the tensors cannot be compared (another shape, another kind of type); empty when they were.
  std::string mismatch;

  std::int64_t num_elements = 0;
  /// Integers, booleans, strings: elements that differ. Floats: elements where one side is NaN or an infinity that the
  /// other is not.
  std::int64_t num_mismatched = 0;
  double max_abs = 0;
  /// Largest |actual - expected| / max(1, |expected|): relative above one, absolute below, so that values near zero do
  /// not count as wrong for their size. In tensors of rank 3 with at most 512 channels (the shorter of the last two
  /// axes) the root mean square of the channel counts too, when it is above one: the corner of a box at x = 0.1 comes
  /// from adding and subtracting hundreds of pixels and has their rounding errors.
  double max_rel = 0;
  double relative_l2 = 0;       ///< ||actual - expected|| / ||expected||; the absolute norm where expected is all zero.
  double cosine = 1;            ///< Of the two as vectors; 1 when both are zero.
  double expected_max_abs = 0;  ///< Largest |expected|.
  double p50_abs = 0, p90_abs = 0, p99_abs = 0;  ///< Percentiles of |actual - expected|.
  /// The element with the largest max_rel, or the first mismatched one.
  std::vector<std::int64_t> worst_index;
  double worst_expected = 0;
  double worst_actual = 0;
  /// Share of rows (along the last axis, of 2 to 100,000 elements, in floats of rank 2) whose largest element is at the
  /// same place; negative where it does not apply.
  double argmax_agreement = -1;
  std::vector<ChannelGroup> channel_groups;  ///< For floats of rank 3 whose channels differ in magnitude.

  /// Set when rows were matched as sets (compare_rows): how many there were and how many found no partner. The float
  /// figures above are then over the matched rows.
  bool is_compared_as_set = false;
  std::int64_t num_rows_expected = 0;
  std::int64_t num_rows_actual = 0;
  std::int64_t num_rows_unmatched = 0;  ///< On either side.

  /// Set (0 or more) when the reference was given the candidate's picks (verify/selection.h): how much better than the
  /// worst score picked the best one left out is, and what that may be.
  double selection_gap = -1;
  double selection_margin = 0;
};

struct CompareOptions {
  bool has_percentiles = true;  ///< They cost a copy of the errors.
};

/// Compares two tensors of one shape, elementwise. Floating-point types of any width compare with one another by value
/// (float64 is rounded to float32); integers and booleans compare exactly among themselves, whatever their width;
/// strings exactly. Other pairs, and unequal shapes, give `mismatch`. Throws Error{kUnsupported} for complex types.
Comparison compare(const std::string& name, const Tensor& expected, const Tensor& actual,
                   const CompareOptions& options = {});

/// One output on both sides, for compare_rows.
struct RowColumn {
  std::string name;
  Tensor expected;
  Tensor actual;
};

/// Rows beyond this are not matched as sets: the cost is quadratic.
inline constexpr std::int64_t kMaxRowsToMatch = 4096;

/// Compares outputs whose rows are a set and not a sequence, as those behind NonMaxSuppression or TopK: near ties
/// change the order, and scores near the threshold the count. Row i of every column belongs together (a box, its score
/// and its class), so rows are matched jointly: each expected row, in order, with the nearest actual row left, if every
/// float is within `row_tolerance` of it (as max_rel counts) and every integer equal. `row_axis` is 0, or 1 for columns
/// with a leading batch; the columns agree in the extents up to it on either side. Gives one Comparison a column; a
/// `mismatch` where the columns do not fit together or are too long.
std::vector<Comparison> compare_rows(const std::vector<RowColumn>& columns, int row_axis, double row_tolerance);

/// The figures as JSON, as docs/verification.md describes them.
nlohmann::json to_json(const Comparison& comparison);
/// "max_abs 1.2e-06, relative_l2 3e-07, worst [0, 4]: expected 1.5, got 1.500001".
std::string describe(const Comparison& comparison);

}  // namespace pajamas
