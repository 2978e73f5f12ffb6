// Quantisation of weight matrices, row by row: float32 rows in, packed rows of a BlockWeight out, with the error that
// it cost. Pure arithmetic: which weights of a model get which form is graph/passes/quantize_weights.h's, scaling by
// activations is tensor/awq.h's.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "base/cancel.h"
#include "pajamas/tensor.h"
#include "tensor/block_weight.h"

namespace pajamas {

/// How values are chosen and stored.
struct QuantizedForm {
  /// kInt8 and kInt4: symmetric. kUint4: with a zero point. kFloat8E4M3Fn: scaled so that the largest is 448.
  DType values = DType::kInt8;
  /// Input channels that share a scale; 0: the whole row.
  std::int64_t group_size = 0;
  /// kFloat16 or kFloat32. Half a scale is enough where there is one a group; its rounding is taken into account.
  DType scales = DType::kFloat32;
  /// How many ranges, from the full one down to kMinRange of it, are tried a group; the one with the least squared
  /// error wins. 1: the full range. 4-bit values gain much from it, 8-bit ones nothing.
  int num_ranges = 1;
  /// kUint4 only: a minimum of the scales' type in place of the zero point, q · scale + minimum. The grid need not hold
  /// zero, and scale and minimum are those of least squared error for the integers of each range: a matrix whose groups
  /// lie on such a grid keeps its values.
  bool has_minimums = false;

  bool operator==(const QuantizedForm&) const = default;
};

/// The smallest part of the full range that is tried. Below it the error of normal weights only grows.
inline constexpr float kMinRange = 0.7F;

/// The forms of docs/language.md. int4 is uint4 with a zero point.
inline constexpr QuantizedForm kInt8PerRow{DType::kInt8, 0, DType::kFloat32, 1};
inline constexpr QuantizedForm kInt8PerGroup{DType::kInt8, 128, DType::kFloat16, 1};
inline constexpr QuantizedForm kInt4PerGroup{DType::kUint4, 128, DType::kFloat16, 13};
inline constexpr QuantizedForm kInt4WithMinimums{DType::kUint4, 128, DType::kFloat16, 5, true};
inline constexpr QuantizedForm kInt4SymmetricPerGroup{DType::kInt4, 128, DType::kFloat16, 13};
inline constexpr QuantizedForm kFloat8PerRow{DType::kFloat8E4M3Fn, 0, DType::kFloat32, 1};

/// The form for rows of `in_dim` elements: its groups halved until they divide the row (576 = 9 × 64), down to 16. A
/// row that not even 16 divides gets one scale.
QuantizedForm fit_form(QuantizedForm form, std::int64_t in_dim);

/// What quantisation cost, summed over elements. Add up results of parts with +=.
struct QuantizationError {
  double squared_error = 0;   ///< Σ (quantised - original)²
  double squared_weight = 0;  ///< Σ original²
  double max_error = 0;       ///< Largest |quantised - original|.

  /// sqrt(squared_error / squared_weight), 0 for weights that are all zero.
  double relative() const;
  QuantizationError& operator+=(const QuantizationError& other);
};

/// A BlockWeight with room for [out_dim, in_dim], not filled. Throws Error{kInternal} when the groups do not divide
/// in_dim or the form has no such types.
BlockWeight allocate_block_weight(const QuantizedForm& form, std::int64_t out_dim, std::int64_t in_dim);

/// Quantises rows [row_begin, ...) of `weight`, which allocate_block_weight made for the same form. `rows` holds whole
/// rows. `importance` weighs the error of each of the in_dim columns while ranges are tried (the mean square of the
/// input channel: what an error there adds to the squared error of the output); empty: all alike. It must not be
/// negative. The error given back is unweighted. Threads may fill distinct rows of one weight when each takes an even
/// row_begin: two rows may share a byte of 4-bit values or zero points. Throws Error{kBadInput} for values that are not
/// finite; the rows are then of no use.
QuantizationError quantize_rows(const QuantizedForm& form, std::span<const float> rows, std::int64_t row_begin,
                                BlockWeight& weight, std::span<const float> importance = {});

/// Gives rows [row_begin, row_begin + row_count) as float32 into `out`; called from several threads at once. What it
/// throws passes through.
using RowReader = std::function<void(std::int64_t row_begin, std::int64_t row_count, std::span<float> out)>;

/// Quantises a whole matrix on `num_threads` threads (0: all the machine has), never holding more than a few hundred
/// rows of it as float32. The result does not depend on the number of threads. Throws as quantize_rows and `read`, and
/// Error{kCancelled} with `progress`; progress is not reported from here, as a matrix takes a second.
BlockWeight quantize_matrix(const RowReader& read, std::int64_t out_dim, std::int64_t in_dim, const QuantizedForm& form,
                            int num_threads, QuantizationError& error, const Progress& progress = {},
                            std::span<const float> importance = {});

}  // namespace pajamas
