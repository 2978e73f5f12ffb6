// Tests of graph/passes/dense_cache.h: decoders of every kind of attention, stepped through the cache by the
// interpreter, against plain loops over each whole sequence.
#include "graph/passes/dense_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "graph/checker.h"
#include "graph/interpreter.h"
#include "graph/passes/expand_paged_attention.h"
#include "graph/passes/pipeline.h"
#include "pajamas/error.h"
#include "support/language_graph.h"

namespace pajamas {
namespace {

using testing::HasSubstr;
using Sequence = std::vector<std::int64_t>;

Tensor list(const std::vector<std::int64_t>& values) {
  return Tensor::of<std::int64_t>(Shape{static_cast<std::int64_t>(values.size())}, std::span(values));
}

/// Sequences in a decoder with a dense cache.
class Decoder {
 public:
  Decoder(Model model, std::int64_t num_layers, Shape row) : model_(std::move(model)) {
    for (std::int64_t i = 0; i < num_layers; ++i) {
      for (const char* kind : {"key.", "value."}) {
        Tensor empty(DType::kFloat32, Shape{1, row[0], row[1], row[2]});
        // Whatever lies there must not be seen.
        for (float& value : empty.mutable_as<float>()) value = 1e4F;
        cache_.insert_or_assign(kind + std::to_string(i), std::move(empty));
      }
    }
  }

  /// Logits of all tokens of the step: `tokens` behind the rows `parents`.
  std::vector<float> step(const std::vector<Sequence>& tokens, const std::vector<std::int64_t>& parents) {
    std::vector<std::int64_t> ids, positions, rows;
    for (const Sequence& one : tokens) {
      for (std::size_t i = 0; i < one.size(); ++i) {
        rows.push_back(static_cast<std::int64_t>(ids.size()));
        ids.push_back(one[i]);
        positions.push_back(num_past_ + static_cast<std::int64_t>(i));
      }
    }
    std::map<std::string, Tensor> inputs{{"input_ids", list(ids)},
                                         {"position_ids", list(positions)},
                                         {"logit_rows", list(rows)},
                                         {"past_len", list({num_past_})},
                                         {"parents", list(parents)}};
    for (const auto& entry : cache_) inputs.emplace("past_" + entry.first, entry.second);
    const auto outputs = run_graph(model_, inputs);
    for (auto& entry : cache_) entry.second = outputs.at("present_" + entry.first);
    num_past_ += static_cast<std::int64_t>(tokens[0].size());
    const auto logits = outputs.at("logits").as<float>();
    return {logits.begin(), logits.end()};
  }

 private:
  Model model_;
  std::map<std::string, Tensor> cache_;
  std::int64_t num_past_ = 0;
};

struct DecoderCase {
  const char* name;
  std::int64_t num_heads, num_kv_heads, sliding_window;
};
void PrintTo(const DecoderCase& one, std::ostream* out) { *out << one.name; }

class DenseCache : public testing::TestWithParam<DecoderCase> {};

TEST_P(DenseCache, EachRowIsItsWholeSequence) {
  test::DecoderConfig config;
  config.num_heads = GetParam().num_heads;
  config.num_kv_heads = GetParam().num_kv_heads;
  config.sliding_window = GetParam().sliding_window;
  const test::DecoderGraph graph(config);
  constexpr std::int64_t kCapacity = 12;
  Model model = graph.model();
  EXPECT_FALSE(has_dense_cache(model));
  const auto num_shapes = [&] {
    return std::count_if(model.graph.nodes.begin(), model.graph.nodes.end(),
                         [](const Node& node) { return node.is("Shape"); });
  };
  const auto num_before = num_shapes();
  use_dense_cache(model, kCapacity);
  EXPECT_EQ(num_shapes(), num_before + 2) << "shapes follow from the inputs, not from one layer to the next";
  EXPECT_TRUE(has_dense_cache(model));
  EXPECT_FALSE(has_paged_attention(model));
  EXPECT_TRUE(check_model(model).foreign_operators.empty());
  EXPECT_EQ(model.graph.find_input("block_indices"), nullptr);
  EXPECT_EQ(model.graph.find_input("past_value.1")->type->to_string(),
            "float32[num_past_sequences, " + std::to_string(config.num_kv_heads) + ", 12, 16]");
  EXPECT_EQ(model.graph.outputs.size(), 5U);
  run_passes(model, {});

  Decoder decoder(model, config.num_layers, Shape{config.num_kv_heads, kCapacity, config.head_dim});
  std::vector<Sequence> rows{{}};
  const auto step = [&](const std::vector<Sequence>& tokens, const std::vector<std::int64_t>& parents) {
    const std::vector<float> logits = decoder.step(tokens, parents);
    std::vector<Sequence> next;
    std::size_t at = 0;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      Sequence whole = rows[static_cast<std::size_t>(parents[i])];
      whole.insert(whole.end(), tokens[i].begin(), tokens[i].end());
      const std::vector<float> expected = graph.logits(whole);
      const std::size_t count = tokens[i].size() * static_cast<std::size_t>(config.vocab_size);
      float worst = 0;
      for (std::size_t k = 0; k < count; ++k) {
        worst = std::max(worst, std::abs(logits[at + k] - expected[expected.size() - count + k]));
      }
      EXPECT_LE(worst, 1e-4F) << "row " << i << " of " << whole.size() << " tokens";
      at += count;
      next.push_back(std::move(whole));
    }
    rows = std::move(next);
  };
  step({{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10, 11, 12}}, {0, 0, 0});  // from the empty row
  step({{13}, {14}, {15}, {16}}, {2, 0, 0, 2});                    // two rows fork, one ends
  step({{17, 18}, {19, 20}}, {3, 1});                              // several tokens behind a past
  step({{21}}, {1});
  step({{22, 23, 24, 25}, {26, 27, 28, 29}}, {0, 0});  // up to the capacity
}

INSTANTIATE_TEST_SUITE_P(Attention, DenseCache,
                         testing::Values(DecoderCase{"plain", 4, 4, 0}, DecoderCase{"grouped", 4, 2, 0},
                                         DecoderCase{"one_head", 1, 1, 0}, DecoderCase{"window", 4, 1, 3}),
                         [](const auto& param_info) { return std::string(param_info.param.name); });

std::string error_of(Model model, std::int64_t capacity) {
  try {
    use_dense_cache(model, capacity);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(DenseCache, WhatIsNoDecoderIsRefused) {
  const test::DecoderGraph graph({});
  EXPECT_THAT(error_of(graph.model(), 0), HasSubstr("--context"));
  EXPECT_EQ(error_of(graph.model(), 1), "no error");
  const auto changed = [&](const auto& change) {
    Model model = graph.model();
    for (Node& node : model.graph.nodes) {
      if (node.op_type == "PagedAttention") change(node);
    }
    return error_of(model, 8);
  };
  EXPECT_THAT(changed([](Node& node) { node.set_attribute("layer_index", std::int64_t{0}); }),
              HasSubstr("layer_index"));
  EXPECT_THAT(changed([](Node& node) { node.set_attribute("head_dim", std::int64_t{0}); }), HasSubstr("out of range"));
  EXPECT_THAT(changed([](Node& node) { node.inputs.pop_back(); }), HasSubstr("8 inputs"));
  Model model = graph.model();
  Node user;
  user.op_type = "Identity";
  user.name = "user";
  user.inputs = {"past_lens"};
  user.outputs = {"used"};
  model.graph.nodes.push_back(user);
  EXPECT_THAT(error_of(model, 8), HasSubstr("past_lens"));
  Model plain = graph.model();
  expand_paged_attention(plain);
  EXPECT_EQ(error_of(plain, 8), "no error");
  EXPECT_FALSE(has_dense_cache(plain));
}

}  // namespace
}  // namespace pajamas
