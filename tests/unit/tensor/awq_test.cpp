// Tests of tensor/awq.h on made-up layers whose activations have outliers, as trained models have them.
#include "tensor/awq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::int64_t kInDim = 256, kOutDim = 96, kNumSamples = 48;

struct Layer {
  std::vector<float> weights;
  Tensor activations{DType::kFloat32, {kNumSamples, kInDim}};

  AwqLinear linear() const {
    return {kOutDim, [this](std::int64_t begin, std::int64_t count, std::span<float> out) {
              std::copy_n(weights.begin() + begin * kInDim, count * kInDim, out.begin());
            }};
  }
};

/// Gaussian weights; every 32nd input channel is `outlier` times as loud.
Layer make_layer(float outlier, unsigned seed = 11) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  Layer layer;
  layer.weights.resize(static_cast<std::size_t>(kOutDim * kInDim));
  for (float& weight : layer.weights) weight = 0.03F * normal(random);
  const auto activations = layer.activations.mutable_as<float>();
  for (std::size_t i = 0; i < activations.size(); ++i) {
    activations[i] = normal(random) * (i % kInDim % 32 == 5 ? outlier : 1.0F);
  }
  return layer;
}

/// Relative error of the outputs on the samples, in double precision, of weights quantised with the factors.
double output_error(const Layer& layer, const std::vector<float>& factors, std::span<const float> importance) {
  std::vector<float> scaled = layer.weights;
  for (std::size_t i = 0; i < scaled.size() && !factors.empty(); ++i) scaled[i] *= factors[i % kInDim];
  BlockWeight weight = allocate_block_weight(kInt4PerGroup, kOutDim, kInDim);
  quantize_rows(kInt4PerGroup, scaled, 0, weight, importance);
  dequantize_rows(weight, 0, kOutDim, scaled);
  for (std::size_t i = 0; i < scaled.size() && !factors.empty(); ++i) scaled[i] /= factors[i % kInDim];
  const auto x = layer.activations.as<float>();
  double error = 0, size = 0;
  for (std::int64_t s = 0; s < kNumSamples; ++s) {
    for (std::int64_t r = 0; r < kOutDim; ++r) {
      double exact = 0, quantised = 0;
      for (std::int64_t c = 0; c < kInDim; ++c) {
        exact += static_cast<double>(x[static_cast<std::size_t>(s * kInDim + c)]) *
                 layer.weights[static_cast<std::size_t>(r * kInDim + c)];
        quantised += static_cast<double>(x[static_cast<std::size_t>(s * kInDim + c)]) *
                     scaled[static_cast<std::size_t>(r * kInDim + c)];
      }
      error += (quantised - exact) * (quantised - exact);
      size += exact * exact;
    }
  }
  return std::sqrt(error / size);
}

TEST(Awq, BeatsRoundToNearestWhereActivationsHaveOutliers) {
  const Layer layer = make_layer(30);
  const AwqLinear linear = layer.linear();
  const AwqScales scales = search_awq_scales({&linear, 1}, layer.activations, {});
  ASSERT_EQ(scales.factors.size(), static_cast<std::size_t>(kInDim));
  EXPECT_GT(scales.strength, 0.1);
  EXPECT_LT(scales.error_after, 0.85 * scales.error_before);
  std::vector<float> importance = mean_squares(layer.activations);
  for (std::size_t c = 0; c < importance.size(); ++c) importance[c] /= scales.factors[c] * scales.factors[c];
  const double plain = output_error(layer, {}, {});
  const double aware = output_error(layer, scales.factors, importance);
  EXPECT_LT(aware, 0.6 * plain);
  EXPECT_NEAR(aware, scales.error_after, 1e-3 * aware);  // all rows are sampled here
  // Loud channels have the larger factors.
  EXPECT_GT(scales.factors[5], 1.5F * scales.factors[6]);
}

TEST(Awq, RangesThatMindTheActivationsBeatThoseThatDoNot) {
  const Layer layer = make_layer(30);
  const double plain = output_error(layer, {}, {});
  const double minded = output_error(layer, {}, mean_squares(layer.activations));
  EXPECT_LT(minded, 0.95 * plain);
}

TEST(Awq, ErrorOfOutputsIsThatOfTheReference) {
  const Layer layer = make_layer(30);
  const std::vector<float> importance = mean_squares(layer.activations);
  const double expected = output_error(layer, {}, importance);
  const AwqLinear linear = layer.linear();
  EXPECT_NEAR(pajamas::output_error(linear, layer.activations, kInt4PerGroup, importance, kOutDim), expected,
              1e-3 * expected);
  EXPECT_NEAR(pajamas::output_error(linear, layer.activations, kInt4PerGroup, importance, 24), expected,
              0.3 * expected);
  EXPECT_LT(pajamas::output_error(linear, layer.activations, kInt8PerRow, importance, 24), 0.2 * expected);
}

TEST(Awq, LeavesEvenActivationsNearlyAlone) {
  const Layer layer = make_layer(1);
  const AwqLinear linear = layer.linear();
  const AwqScales scales = search_awq_scales({&linear, 1}, layer.activations, {});
  EXPECT_LE(scales.error_after, scales.error_before);
  EXPECT_GT(scales.error_after, 0.9 * scales.error_before);
}

TEST(Awq, DoesNotDependOnThreadsAndSamplesRowsOfAllLayers) {
  const Layer first = make_layer(20, 1), second = make_layer(20, 2);
  const std::vector<AwqLinear> linears{first.linear(), second.linear()};
  AwqOptions options;
  options.max_rows = 40;
  options.num_threads = 1;
  const AwqScales one = search_awq_scales(linears, first.activations, options);
  options.num_threads = 3;
  const AwqScales three = search_awq_scales(linears, first.activations, options);
  EXPECT_EQ(one.factors, three.factors);
  EXPECT_EQ(one.error_after, three.error_after);
}

TEST(Awq, SilentChannelsAndBadActivations) {
  Layer layer = make_layer(10);
  for (std::size_t i = 0; i < layer.activations.as<float>().size(); i += kInDim)
    layer.activations.mutable_as<float>()[i] = 0;
  const AwqLinear linear = layer.linear();
  for (const float factor : search_awq_scales({&linear, 1}, layer.activations, {}).factors) {
    EXPECT_TRUE(std::isfinite(factor) && factor > 0);
  }
  const Tensor zeros = Tensor::of<float>({1, kInDim}, std::vector<float>(kInDim));
  EXPECT_TRUE(search_awq_scales({&linear, 1}, zeros, {}).factors.empty());
  layer.activations.mutable_as<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(search_awq_scales({&linear, 1}, layer.activations, {}), Error);
  EXPECT_THROW(search_awq_scales({&linear, 1}, Tensor(DType::kFloat32, {0, kInDim}), {}), Error);
  EXPECT_THROW(mean_squares(Tensor(DType::kFloat16, {1, 1})), Error);
}

}  // namespace
}  // namespace pajamas
