// The numbers of the tolerance table, with where each comes from.
#include "verify/tolerances.h"

#include <algorithm>
#include <cstdio>

#include "pajamas/error.h"

namespace pajamas {
namespace {

// Half a unit in the last place, the largest relative error of one rounding.
constexpr double kFloat32Rounding = 1.0 / (1 << 24);
constexpr double kTf32Rounding = 1.0 / (1 << 11);
constexpr double kFloat16Rounding = 1.0 / (1 << 11);
constexpr double kBfloat16Rounding = 1.0 / (1 << 8);

/// Roundings allowed to a value of each class, in units of one rounding. A sum of n terms in another order is off by
/// about sqrt(n) roundings of its terms: 10,000 terms (a 3x3 convolution over 1,024 channels) make 100. A network of
/// 100 layers whose errors add up at random has sqrt(100) = 10 times the error of one; low precisions accumulate in
/// float32, so there a layer adds about one rounding and ten are allowed twice over.
constexpr double kCopyRoundings = 1;
constexpr double kElementwiseRoundings = 8;
constexpr double kFloat32ReductionRoundings = 200;
constexpr double kLowReductionRoundings = 8;
constexpr double kLowNetworkRoundings = 20;

Tolerance low_precision(double rounding, OperatorClass operator_class) {
  Tolerance t;
  switch (operator_class) {
    case OperatorClass::kCopy: t.relative_l2 = kCopyRoundings * rounding; break;
    case OperatorClass::kElementwise: t.relative_l2 = kElementwiseRoundings * rounding; break;
    case OperatorClass::kReduction: t.relative_l2 = kLowReductionRoundings * rounding; break;
    default: t.relative_l2 = kLowNetworkRoundings * rounding; break;
  }
  // For errors without direction cosine = 1 - relative_l2² / 2; twice that loss is allowed, as errors have some.
  t.min_cosine = 1 - t.relative_l2 * t.relative_l2;
  // The largest of a million errors of a normal distribution is five times their root mean square, and the largest
  // value of a tensor some two to ten times its own.
  t.max_to_range = 5 * t.relative_l2;
  if (operator_class == OperatorClass::kStates) {
    // A few tokens of a speech encoder, mostly of the silence behind the speech, carry no sound and gather what all
    // heads may look at; which ones do turns on single roundings, and theirs are whole other values then. So the
    // largest error says nothing, and the hundredth part from the top must be small instead: 2.6 times the root mean
    // square for errors of a normal distribution, against a range of five times the values' own at least.
    t.max_to_range = 0;
    t.p99_to_range = t.relative_l2 / 2;
  }
  t.group_rms_floor = 2 * rounding;
  t.row_tolerance = 2 * t.relative_l2;
  return t;
}

std::string text_of(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3g", value);
  return text;
}

}  // namespace

const char* to_string(OperatorClass operator_class) noexcept {
  switch (operator_class) {
    case OperatorClass::kCopy: return "copy";
    case OperatorClass::kElementwise: return "elementwise";
    case OperatorClass::kReduction: return "reduction";
    case OperatorClass::kNetwork: return "network";
    case OperatorClass::kLogits: return "logits";
    case OperatorClass::kStates: return "states";
    case OperatorClass::kQuantised: return "quantised";
  }
  return "unknown";
}

Tolerance tolerance(Precision precision, OperatorClass operator_class) {
  if (precision == Precision::kAuto) {
    throw Error(ErrorKind::kInternal, "a tolerance was asked for the precision 'auto', which is none");
  }
  if (operator_class == OperatorClass::kQuantised) {
    // One step of an 8-bit scale is 1/255 of its range; a value that sits on the edge between two steps goes either
    // way, in many places of a deep model at once. Lower precisions of the rest add nothing that would matter beside
    // it. Products that a build puts into 8-bit floats (3 bits of mantissa) are judged against the model without them:
    // each factor is rounded by up to 2^-4, the sum of many by some 4 % (measured), which deep models add up.
    Tolerance t;
    t.relative_l2 = 0.1;
    t.group_rms_floor = 0.02;
    t.min_cosine = 0.99;
    t.max_to_range = 0.5;
    t.integer_mismatches = 0.05;
    t.row_tolerance = 0.1;
    t.unmatched_rows = 0.15;
    t.reason = "8-bit steps: values between two steps round either way";
    return t;
  }
  const bool is_network = operator_class == OperatorClass::kNetwork || operator_class == OperatorClass::kStates;
  Tolerance t;
  switch (precision) {
    case Precision::kFp32:
      switch (operator_class) {
        case OperatorClass::kCopy: t.relative_l2 = 0; break;
        case OperatorClass::kElementwise: t.relative_l2 = kElementwiseRoundings * kFloat32Rounding; break;
        case OperatorClass::kReduction: t.relative_l2 = kFloat32ReductionRoundings * kFloat32Rounding; break;
        default: t.relative_l2 = 1e-4; break;
      }
      if (operator_class == OperatorClass::kLogits) {
        // A logit near zero is a sum of terms as large as those of the largest logit, and has their roundings. So
        // the vector is held to ten times less than a network's, and its worst element to the largest one.
        t.relative_l2 = 1e-5;
        t.max_to_range = 1e-4;
        t.min_cosine = 1 - 1e-7;
        t.reason = "float32 logits within 1e-4 of the largest";
        break;
      }
      t.max_rel = t.relative_l2;
      t.group_rms_floor = t.relative_l2;
      t.min_cosine = is_network ? 1 - 1e-7 : 1 - 1e-9;
      t.row_tolerance = 1e-3;
      t.unmatched_rows = is_network ? 0.01 : 0;
      t.reason =
          is_network ? "the project's goal: float32 outputs within 1e-4" : "roundings of float32, sums in any order";
      break;
    case Precision::kTf32:
      // Only the factors of products are rounded.
      if (operator_class == OperatorClass::kCopy || operator_class == OperatorClass::kElementwise) {
        return tolerance(Precision::kFp32, operator_class);
      }
      t = low_precision(kTf32Rounding, operator_class);
      t.integer_mismatches = is_network ? 0.01 : 0;
      t.unmatched_rows = 0.05;
      t.reason = "20 roundings of TF32 (2^-11) for 100 layers accumulated in float32";
      break;
    case Precision::kFp16:
      t = low_precision(kFloat16Rounding, operator_class);
      t.integer_mismatches = is_network ? 0.01 : 0;
      t.unmatched_rows = 0.05;
      t.reason = "20 roundings of float16 (2^-11) for 100 layers accumulated in float32";
      break;
    case Precision::kBf16:
      t = low_precision(kBfloat16Rounding, operator_class);
      t.integer_mismatches = is_network ? 0.05 : 0;
      t.unmatched_rows = 0.15;
      t.reason = "20 roundings of bfloat16 (2^-8) for 100 layers accumulated in float32";
      break;
    case Precision::kAuto: break;
  }
  return t;
}

std::optional<std::string> past_tolerance(const Comparison& c, const Tolerance& t) {
  if (!c.mismatch.empty()) return c.mismatch;
  if (c.is_compared_as_set) {
    const double num_rows = static_cast<double>(std::max(c.num_rows_expected, c.num_rows_actual));
    // Rows come in pairs that found no partner on both sides, so half the count is compared with the share.
    const double num_unmatched = static_cast<double>(c.num_rows_unmatched) / 2;
    if (num_unmatched > t.unmatched_rows * num_rows) {
      return std::to_string(c.num_rows_unmatched) + " of " + std::to_string(c.num_rows_expected) + " + " +
             std::to_string(c.num_rows_actual) + " rows found no partner, past " + text_of(100 * t.unmatched_rows) +
             " %";
    }
    return std::nullopt;  // matched rows are within row_tolerance by construction
  }
  if (!is_floating_point(c.dtype)) {
    if (static_cast<double>(c.num_mismatched) <= t.integer_mismatches * static_cast<double>(c.num_elements)) {
      return std::nullopt;
    }
    return std::to_string(c.num_mismatched) + " of " + std::to_string(c.num_elements) + " elements differ";
  }
  if (c.num_mismatched > 0) {
    return std::to_string(c.num_mismatched) + " elements are NaN or infinite on one side only";
  }
  const auto past = [](const char* figure, double value, double bound) {
    return std::string(figure) + " " + text_of(value) + " is past " + text_of(bound);
  };
  if (t.max_rel > 0 && c.max_rel > t.max_rel) return past("max_rel", c.max_rel, t.max_rel);
  // Beside max_rel, which is absolute below one, a tensor of values all near zero needs its own scale.
  if (c.relative_l2 > t.relative_l2) return past("relative_l2", c.relative_l2, t.relative_l2);
  if (c.cosine < t.min_cosine) return past("cosine", c.cosine, t.min_cosine);
  if (t.max_to_range > 0 && c.max_abs > t.max_to_range * c.expected_max_abs) {
    return past("max_abs / range", c.max_abs / std::max(c.expected_max_abs, 1e-30), t.max_to_range);
  }
  if (t.p99_to_range > 0 && c.p99_abs > t.p99_to_range * c.expected_max_abs) {
    return past("p99_abs / range", c.p99_abs / std::max(c.expected_max_abs, 1e-30), t.p99_to_range);
  }
  for (const auto& group : c.channel_groups) {
    const double bound = t.relative_l2 * group.rms_expected + t.group_rms_floor;
    if (group.rms_error > bound) {
      return past("rms_error", group.rms_error, bound) + " in " + std::to_string(group.num_channels) +
             " channels from channel " + std::to_string(group.first_channel);
    }
  }
  return std::nullopt;
}

nlohmann::json to_json(const Tolerance& t) {
  return {{"max_rel", t.max_rel},
          {"relative_l2", t.relative_l2},
          {"group_rms_floor", t.group_rms_floor},
          {"min_cosine", t.min_cosine},
          {"max_to_range", t.max_to_range},
          {"p99_to_range", t.p99_to_range},
          {"integer_mismatches", t.integer_mismatches},
          {"row_tolerance", t.row_tolerance},
          {"unmatched_rows", t.unmatched_rows},
          {"reason", t.reason}};
}

}  // namespace pajamas
