// pajamas.PagedAttention as an operator: the check, shape inference, and its form in plain ONNX against plain loops.
// Also RotaryEmbedding of the interpreter, which the same graphs need.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "graph/checker.h"
#include "graph/graph_builder.h"
#include "graph/interpreter.h"
#include "graph/operator_table.h"
#include "graph/passes/expand_paged_attention.h"
#include "graph/shape_inference.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

using testing::HasSubstr;

struct AttentionCase {
  std::int64_t num_tokens, num_heads, num_kv_heads, head_dim, value_dim, sliding_window;
  float softcap;
};

Model model_of(const AttentionCase& c) {
  GraphBuilder graph("attention", 23);
  const Dimension tokens = Dimension::named("num_tokens"), sequences = Dimension::named("num_sequences");
  const auto channels = [](std::int64_t count) { return Dimension::known(count); };
  const auto query = graph.input("query", DType::kFloat32, {tokens, channels(c.num_heads * c.head_dim)});
  const auto key = graph.input("key", DType::kFloat32, {tokens, channels(c.num_kv_heads * c.head_dim)});
  const auto value = graph.input("value", DType::kFloat32, {tokens, channels(c.num_kv_heads * c.value_dim)});
  const auto past = graph.input("past_lens", DType::kInt32, {sequences});
  const auto begins = graph.input("subsequence_begins", DType::kInt32, {Dimension::named("bounds")});
  const auto blocks = graph.input("block_indices", DType::kInt32, {Dimension::named("num_blocks")});
  const auto block_begins = graph.input("block_indices_begins", DType::kInt32, {Dimension::named("bounds")});
  const auto longest = graph.input("max_context_len", DType::kInt32, {});
  const auto out = graph.node_of_domain(kPajamasDomain, 1, "PagedAttention",
                                        {query, key, value, past, begins, blocks, block_begins, longest},
                                        {{"layer_index", std::int64_t{0}},
                                         {"num_heads", c.num_heads},
                                         {"num_kv_heads", c.num_kv_heads},
                                         {"head_dim", c.head_dim},
                                         {"scale", 0.7F},
                                         {"sliding_window", c.sliding_window},
                                         {"softcap", c.softcap}});
  graph.output("mixed", out, DType::kFloat32, {tokens, Dimension::named("channels")});
  return graph.build();
}

Tensor random(const Shape& shape, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> uniform(-2, 2);
  Tensor tensor(DType::kFloat32, shape);
  for (float& value : tensor.mutable_as<float>()) value = uniform(generator);
  return tensor;
}

std::vector<double> plain_attention(const AttentionCase& c, const Tensor& query, const Tensor& key,
                                    const Tensor& value) {
  std::vector<double> result;
  const auto at = [](const Tensor& tensor, std::int64_t row, std::int64_t column) {
    return static_cast<double>(tensor.as<float>()[static_cast<std::size_t>(row * tensor.shape()[1] + column)]);
  };
  for (std::int64_t t = 0; t < c.num_tokens; ++t) {
    for (std::int64_t h = 0; h < c.num_heads; ++h) {
      const std::int64_t kv = h / (c.num_heads / c.num_kv_heads);
      const std::int64_t first = c.sliding_window > 0 ? std::max<std::int64_t>(0, t - c.sliding_window + 1) : 0;
      std::vector<double> weights;
      double sum = 0;
      for (std::int64_t s = first; s <= t; ++s) {
        double score = 0;
        for (std::int64_t d = 0; d < c.head_dim; ++d) {
          score += at(query, t, h * c.head_dim + d) * at(key, s, kv * c.head_dim + d);
        }
        score *= 0.7;
        if (c.softcap > 0) score = c.softcap * std::tanh(score / c.softcap);
        weights.push_back(std::exp(score));
        sum += weights.back();
      }
      for (std::int64_t d = 0; d < c.value_dim; ++d) {
        double mixed = 0;
        for (std::int64_t s = first; s <= t; ++s) {
          mixed += weights[static_cast<std::size_t>(s - first)] / sum * at(value, s, kv * c.value_dim + d);
        }
        result.push_back(mixed);
      }
    }
  }
  return result;
}

TEST(PagedAttention, WrittenOutItIsAttention) {
  for (const AttentionCase& c : {AttentionCase{1, 1, 1, 1, 1, 0, 0}, AttentionCase{7, 6, 2, 5, 3, 0, 0},
                                 AttentionCase{9, 4, 4, 3, 3, 1, 0}, AttentionCase{11, 3, 1, 4, 4, 4, 1.5F}}) {
    SCOPED_TRACE(c.num_tokens);
    Model model = model_of(c);
    const PassReport report = expand_paged_attention(model);
    EXPECT_EQ(report.num_changes, 1);
    EXPECT_FALSE(has_paged_attention(model));
    EXPECT_EQ(model.graph.inputs.size(), 3U);
    EXPECT_FALSE(model.opset_of(kPajamasDomain));
    check_model(model);
    const Tensor query = random(Shape{c.num_tokens, c.num_heads * c.head_dim}, 1);
    const Tensor key = random(Shape{c.num_tokens, c.num_kv_heads * c.head_dim}, 2);
    const Tensor value = random(Shape{c.num_tokens, c.num_kv_heads * c.value_dim}, 3);
    const auto found = run_graph(model, {{"query", query}, {"key", key}, {"value", value}}).at("mixed");
    const auto expected = plain_attention(c, query, key, value);
    ASSERT_EQ(found.shape(), Shape({c.num_tokens, c.num_heads * c.value_dim}));
    for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(found.as<float>()[i], expected[i], 2e-6) << i;
  }
}

TEST(PagedAttention, ChecksAndShapes) {
  Model model = model_of({7, 6, 2, 5, 3, 0, 0});
  EXPECT_THAT(check_model(model).foreign_operators, testing::ElementsAre("pajamas.PagedAttention"));
  infer_shapes(model);
  EXPECT_EQ(model.graph.outputs[0].type->to_string(), "float32[num_tokens, 18]");

  const auto refused = [](const char* attribute, AttributeValue value, bool is_removed = false) {
    Model damaged = model_of({7, 6, 2, 5, 3, 0, 0});
    Node& node = damaged.graph.nodes[0];
    is_removed ? node.remove_attribute(attribute) : node.set_attribute(attribute, std::move(value));
    try {
      check_model(damaged);
      infer_facts(damaged);
      expand_paged_attention(damaged);
    } catch (const Error& error) {
      return error.kind() == ErrorKind::kBadInput;
    }
    return false;
  };
  EXPECT_TRUE(refused("num_kv_heads", std::int64_t{4}));
  EXPECT_TRUE(refused("head_dim", std::int64_t{6}));
  EXPECT_TRUE(refused("num_heads", std::int64_t{0}));
  EXPECT_TRUE(refused("scale", std::int64_t{1}));
  EXPECT_TRUE(refused("colour", std::int64_t{1}));
  EXPECT_TRUE(refused("layer_index", {}, true));
  EXPECT_TRUE(refused("sliding_window", std::int64_t{-1}));

  Model unknown = model_of({7, 6, 2, 5, 3, 0, 0});
  unknown.graph.nodes[0].op_type = "PagedAttentoin";
  try {
    check_model(unknown);
    FAIL() << "was taken";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("pajamas has no operator 'PagedAttentoin'"));
  }
  Model shared = model_of({7, 6, 2, 5, 3, 0, 0});
  Node other;
  other.op_type = "Identity";
  other.inputs = {"past_lens"};
  other.outputs = {"again"};
  shared.graph.nodes.push_back(other);
  EXPECT_THROW(expand_paged_attention(shared), Error);
}

/// The definition once more, by complex numbers: channels (a, b) turn as a + ib times e^(i angle).
TEST(RotaryEmbedding, TurnsPairs) {
  constexpr std::int64_t kBatch = 2, kTokens = 3, kHeads = 2, kDim = 6;
  for (const bool is_interleaved : {false, true}) {
    for (const std::int64_t rotary_dim : {0, 4}) {
      const std::int64_t half = (rotary_dim == 0 ? kDim : rotary_dim) / 2;
      const Tensor in = random(Shape{kBatch, kTokens, kHeads * kDim}, 5);
      const Tensor angles = random(Shape{kBatch, kTokens, half}, 6);
      Tensor cosines(DType::kFloat32, angles.shape()), sines(DType::kFloat32, angles.shape());
      for (std::size_t i = 0; i < angles.as<float>().size(); ++i) {
        cosines.mutable_as<float>()[i] = std::cos(angles.as<float>()[i]);
        sines.mutable_as<float>()[i] = std::sin(angles.as<float>()[i]);
      }
      Node node;
      node.op_type = "RotaryEmbedding";
      node.outputs = {"y"};
      node.set_attribute("num_heads", kHeads);
      node.set_attribute("interleaved", std::int64_t{is_interleaved});
      node.set_attribute("rotary_embedding_dim", rotary_dim);
      const Tensor* inputs[] = {&in, &cosines, &sines};
      const Tensor out = evaluate_node(node, inputs, 23).at(0);
      for (std::int64_t row = 0; row < kBatch * kTokens; ++row) {
        for (std::int64_t head = 0; head < kHeads; ++head) {
          const std::size_t begin = static_cast<std::size_t>((row * kHeads + head) * kDim);
          std::vector<float> expected(in.as<float>().begin() + static_cast<std::ptrdiff_t>(begin),
                                      in.as<float>().begin() + static_cast<std::ptrdiff_t>(begin) + kDim);
          for (std::int64_t i = 0; i < half; ++i) {
            const auto a = static_cast<std::size_t>(is_interleaved ? 2 * i : i);
            const auto b = static_cast<std::size_t>(is_interleaved ? 2 * i + 1 : i + half);
            const double angle = angles.as<float>()[static_cast<std::size_t>(row * half + i)];
            const double x = in.as<float>()[begin + a], y = in.as<float>()[begin + b];
            const double length = std::hypot(x, y), turned = std::atan2(y, x) + angle;
            expected[a] = static_cast<float>(length * std::cos(turned));
            expected[b] = static_cast<float>(length * std::sin(turned));
          }
          for (std::size_t i = 0; i < expected.size(); ++i) {
            EXPECT_NEAR(out.as<float>()[begin + i], expected[i], 2e-6) << row << " " << head << " " << i;
          }
        }
      }
      node.set_attribute("rotary_embedding_dim", std::int64_t{8});
      EXPECT_THROW(evaluate_node(node, inputs, 23), Error);
    }
  }
}

}  // namespace
}  // namespace pajamas
