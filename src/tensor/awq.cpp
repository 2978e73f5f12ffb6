// The search for the factors of AWQ. See awq.h.
#include "tensor/awq.h"

#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "base/vector_clones.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr const char* kStep = "Searching activation-aware scales";
/// Below it a channel is as good as silent; without a floor its factor would be the divisor of everything.
constexpr float kSmallestActivation = 1e-4F;

/// Dot product in lanes, since the compiler does not reorder float sums on its own.
PAJAMAS_VECTOR_CLONES float dot(const float* a, const float* b, std::size_t count) {
  constexpr std::size_t kLanes = 16;
  float sums[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t l = 0; l < kLanes; ++l) sums[l] += a[i + l] * b[i + l];
  }
  for (std::size_t l = 0; i < count; ++i, ++l) sums[l] += a[i] * b[i];
  float sum = 0;
  for (const float part : sums) sum += part;
  return sum;
}

/// Σ (rows · activationsᵀ)², both row-major with `in_dim` columns.
double squared_outputs(std::span<const float> rows, std::span<const float> activations, std::size_t in_dim) {
  double sum = 0;
  for (std::size_t r = 0; r + in_dim <= rows.size(); r += in_dim) {
    for (std::size_t s = 0; s + in_dim <= activations.size(); s += in_dim) {
      const float output = dot(rows.data() + r, activations.data() + s, in_dim);
      sum += static_cast<double>(output) * output;
    }
  }
  return sum;
}

std::vector<float> factors_of(const std::vector<float>& magnitudes, double strength) {
  std::vector<float> factors(magnitudes.size());
  for (std::size_t c = 0; c < factors.size(); ++c) {
    factors[c] = std::pow(std::max(magnitudes[c], kSmallestActivation), static_cast<float>(strength));
  }
  const auto [least, most] = std::minmax_element(factors.begin(), factors.end());
  const float middle = std::sqrt(*least * *most);
  for (float& factor : factors) factor /= middle;
  return factors;
}

/// Up to `max_rows` rows of all layers, evenly spread.
std::vector<float> sampled_rows(std::span<const AwqLinear> linears, std::int64_t in_dim, std::int64_t max_rows) {
  std::int64_t total = 0;
  for (const AwqLinear& linear : linears) total += linear.out_dim;
  const std::int64_t step = std::max<std::int64_t>((total + max_rows - 1) / std::max<std::int64_t>(max_rows, 1), 1);
  std::vector<float> rows;
  for (const AwqLinear& linear : linears) {
    for (std::int64_t r = 0; r < linear.out_dim; r += step) {
      rows.resize(rows.size() + static_cast<std::size_t>(in_dim));
      linear.read(r, 1, std::span(rows).last(static_cast<std::size_t>(in_dim)));
    }
  }
  return rows;
}

void check_activations(const Tensor& activations) {
  if (activations.dtype() != DType::kFloat32 || activations.shape().rank() != 2 || activations.num_elements() == 0) {
    throw Error(ErrorKind::kBadInput, std::string("activations are ") + to_string(activations.dtype()) +
                                          activations.shape().to_string() +
                                          ", must be float32[num_samples, in_dim] with at least one sample");
  }
  for (const float value : activations.as<float>()) {
    if (!std::isfinite(value)) throw Error(ErrorKind::kBadInput, "activations hold a value that is not finite");
  }
}

}  // namespace

std::vector<float> mean_squares(const Tensor& activations) {
  check_activations(activations);
  const auto in_dim = static_cast<std::size_t>(activations.shape()[1]);
  const auto values = activations.as<float>();
  std::vector<double> sums(in_dim);
  for (std::size_t i = 0; i < values.size(); ++i) sums[i % in_dim] += static_cast<double>(values[i]) * values[i];
  std::vector<float> means(in_dim);
  const auto num_samples = static_cast<double>(activations.shape()[0]);
  for (std::size_t c = 0; c < in_dim; ++c) means[c] = static_cast<float>(sums[c] / num_samples);
  return means;
}

AwqScales search_awq_scales(std::span<const AwqLinear> linears, const Tensor& activations, const AwqOptions& options,
                            const Progress& progress) {
  const std::vector<float> squares = mean_squares(activations);
  const std::int64_t in_dim = activations.shape()[1];
  const auto num_columns = static_cast<std::size_t>(in_dim);
  const auto samples = activations.as<float>();
  std::vector<float> magnitudes(num_columns);
  for (std::size_t i = 0; i < samples.size(); ++i) {
    magnitudes[i % num_columns] += std::fabs(samples[i]) / static_cast<float>(activations.shape()[0]);
  }

  const std::vector<float> rows = sampled_rows(linears, in_dim, options.max_rows);
  const auto num_rows = static_cast<std::int64_t>(rows.size() / num_columns);
  const QuantizedForm form = fit_form(options.form, in_dim);
  std::vector<double> errors(static_cast<std::size_t>(options.num_strengths) + 1);
  parallel_for(options.num_strengths + 1, options.num_threads, [&](std::int64_t step) {
    progress.check(kStep);
    const auto factors = factors_of(magnitudes, static_cast<double>(step) / options.num_strengths);
    std::vector<float> scaled = rows;
    std::vector<float> importance(num_columns);
    for (std::size_t c = 0; c < num_columns; ++c) importance[c] = squares[c] / (factors[c] * factors[c]);
    for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] *= factors[i % num_columns];
    BlockWeight weight = allocate_block_weight(form, num_rows, in_dim);
    quantize_rows(form, scaled, 0, weight, importance);
    dequantize_rows(weight, 0, num_rows, scaled);
    for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] = scaled[i] / factors[i % num_columns] - rows[i];
    errors[static_cast<std::size_t>(step)] = squared_outputs(scaled, samples, num_columns);
  });

  AwqScales result;
  const auto best = std::min_element(errors.begin(), errors.end());
  const double outputs = squared_outputs(rows, samples, num_columns);
  if (outputs > 0) {
    result.error_before = std::sqrt(errors.front() / outputs);
    result.error_after = std::sqrt(*best / outputs);
  }
  result.strength = static_cast<double>(best - errors.begin()) / options.num_strengths;
  if (best != errors.begin()) result.factors = factors_of(magnitudes, result.strength);
  return result;
}

double output_error(const AwqLinear& linear, const Tensor& activations, const QuantizedForm& form,
                    std::span<const float> importance, std::int64_t max_rows) {
  check_activations(activations);
  const std::int64_t in_dim = activations.shape()[1];
  const auto samples = activations.as<float>();
  const std::vector<float> rows = sampled_rows({&linear, 1}, in_dim, max_rows);
  const auto num_rows = static_cast<std::int64_t>(rows.size()) / in_dim;
  const QuantizedForm fitting = fit_form(form, in_dim);
  BlockWeight weight = allocate_block_weight(fitting, num_rows, in_dim);
  quantize_rows(fitting, rows, 0, weight, importance);
  std::vector<float> differences(rows.size());
  dequantize_rows(weight, 0, num_rows, differences);
  for (std::size_t i = 0; i < rows.size(); ++i) differences[i] -= rows[i];
  const double outputs = squared_outputs(rows, samples, static_cast<std::size_t>(in_dim));
  if (!(outputs > 0)) return 0;
  return std::sqrt(squared_outputs(differences, samples, static_cast<std::size_t>(in_dim)) / outputs);
}

}  // namespace pajamas
