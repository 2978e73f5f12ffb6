// Tests of graph/block_weight_nodes.h and graph/passes/quantize_weights.h: what the nodes compute (by the interpreter),
// which weights change, and where they lie afterwards.
#include "graph/passes/quantize_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <random>

#include "graph/block_weight_nodes.h"
#include "graph/checker.h"
#include "graph/interpreter.h"
#include "pajamas/error.h"
#include "support/relative_difference.h"
#include "support/temporary_folder.h"
#include "tensor/ggml_blocks.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

using test::relative_difference;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::int64_t kOpset = 23;

Tensor random_matrix(std::int64_t rows, std::int64_t columns, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.05F);
  Tensor tensor(DType::kFloat32, {rows, columns});
  for (float& value : tensor.mutable_as<float>()) value = normal(random);
  return tensor;
}

Tensor as_bfloat16(const Tensor& tensor) {
  Tensor half(DType::kBfloat16, tensor.shape());
  const auto bytes = half.mutable_bytes();
  const auto values = tensor.as<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint16_t bits = bfloat16_from_float(values[i]);
    std::memcpy(bytes.data() + 2 * i, &bits, 2);
  }
  return half;
}

BlockWeight random_blocks(GgmlType type, std::int64_t out_dim, std::int64_t in_dim) {
  BlockWeight weight = allocate_block_weight(type, out_dim, in_dim);
  std::vector<std::byte> blocks(static_cast<std::size_t>(out_dim) * row_bytes_of(type, in_dim));
  std::mt19937 random(3);
  for (std::byte& byte : blocks) byte = static_cast<std::byte>(random());
  // Small positive scales in place of random float16 bits: the exponents' bytes are in the block's first four.
  const auto block_bytes = static_cast<std::size_t>(traits_of(type).block_bytes);
  for (std::size_t i = 0; i < blocks.size(); i += block_bytes) {
    blocks[i + 1] = blocks[i + 3] = std::byte{0x20};
    if (type == GgmlType::kQ6_K) blocks[i + 209] = std::byte{0x20};
  }
  repack_rows(type, blocks, 0, weight);
  return weight;
}

TEST(BlockWeightNodes, ComputeWhatTheFormulaSaysAndAreFoundAgain) {
  std::vector<BlockWeight> weights;
  for (const GgmlType type :
       {GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ5_1, GgmlType::kQ8_0, GgmlType::kQ4_K, GgmlType::kQ6_K}) {
    weights.push_back(random_blocks(type, 3, 512));
  }
  const Tensor matrix = random_matrix(3, 256, 1);
  for (const QuantizedForm form :
       {kInt8PerRow, kInt8PerGroup, kInt4PerGroup, kInt4SymmetricPerGroup, kInt4WithMinimums, kFloat8PerRow}) {
    weights.push_back(allocate_block_weight(form, 3, 256));
    quantize_rows(form, matrix.as<float>(), 0, weights.back());
  }
  BlockWeight row_minimums = weights[6];  // int8 per row, with a minimum a row
  row_minimums.minimums = Tensor::of<float>({3}, {1, -2, 0.5F});
  weights.push_back(row_minimums);

  for (const BlockWeight& weight : weights) {
    GraphBuilder builder("test", kOpset);
    const GraphValue x = builder.input("x", DType::kFloat32, {Dimension::known(1), Dimension::known(weight.in_dim())});
    const GraphValue value = add_block_weight(builder, "w", weight);
    const GraphValue product = builder.node("Gemm", {x, value}, {{"transB", std::int64_t{1}}});
    builder.output("y", product, DType::kFloat32, {Dimension::known(1), Dimension::known(3)});
    builder.output("matrix", value, DType::kFloat32, {Dimension::known(3), Dimension::known(weight.in_dim())});
    const Model model = builder.build();
    SCOPED_TRACE(describe(weight));
    const auto results = run_graph(model, {{"x", Tensor::copy_of(random_matrix(1, weight.in_dim(), 2).view())}});
    std::vector<float> expected(static_cast<std::size_t>(3 * weight.in_dim()));
    dequantize_rows(weight, 0, 3, expected);
    EXPECT_THAT(results.at("matrix").as<float>(), testing::ElementsAreArray(expected));

    const ValueUses uses(model.graph);
    const auto found = StoredWeightFinder(model.graph, uses).find(value.name);
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->name, "w");
    ASSERT_TRUE(found->blocks.has_value());
    std::vector<float> again(expected.size());
    dequantize_rows(*found->blocks, 0, 3, again);
    EXPECT_EQ(again, expected);
    EXPECT_EQ(describe(*found->blocks), describe(weight));
  }
}

/// Embedding, a linear layer in float32, one in bfloat16, a router, and the tied table as output layer.
Model small_model(const Tensor& table, const Tensor& first, const Tensor& second, bool is_tied = true) {
  GraphBuilder builder("model", kOpset);
  const GraphValue ids = builder.input("ids", DType::kInt64, {Dimension::named("num_tokens")});
  const auto half = [&](const std::string& name, const Tensor& tensor) {
    return builder.node("Cast", {builder.weight(name, as_bfloat16(tensor))},
                        {{"to", static_cast<std::int64_t>(DType::kFloat32)}});
  };
  const auto linear = [&](const GraphValue& x, const GraphValue& weight) {
    return builder.node("Gemm", {x, weight}, {{"transB", std::int64_t{1}}});
  };
  GraphValue x = builder.node("Gather", {half("embed.weight", table), ids});
  x = builder.node("Tanh", {linear(x, builder.weight("first.weight", first))});
  x = builder.node("Tanh", {linear(x, half("second.weight", second))});
  x = linear(x, half("layer.mlp.gate.weight", second));
  const GraphValue out = is_tied ? half("embed.weight", table) : builder.weight("head.weight", table);
  builder.output("logits", linear(x, out), DType::kFloat32,
                 {Dimension::named("num_tokens"), Dimension::known(table.shape()[0])});
  return builder.build();
}

const Tensor& ids() {
  static const Tensor tensor = Tensor::of<std::int64_t>({3}, {0, 5, 9});
  return tensor;
}

std::vector<float> logits_of(const Model& model) {
  const Tensor logits = run_graph(model, {{"ids", ids()}}).at("logits");
  return {logits.as<float>().begin(), logits.as<float>().end()};
}

const Initializer* initializer(const Model& model, const std::string& name) {
  return model.graph.find_initializer(name);
}

class QuantizeWeights : public testing::Test {
 protected:
  const Tensor table_ = random_matrix(10, 128, 1), first_ = random_matrix(128, 128, 2),
               second_ = random_matrix(128, 128, 3);
};

TEST_F(QuantizeWeights, ChangesLinearLayersAndTablesAndKeepsTheRest) {
  for (const bool is_tied : {true, false}) {
    Model model = small_model(table_, first_, second_, is_tied);
    const auto before = logits_of(model);
    WeightQuantization options;
    options.linear = kInt4PerGroup;
    options.table = kInt8PerRow;
    const WeightQuantizationReport report = quantize_weights(model, options);
    check_model(model);
    const double difference = relative_difference(logits_of(model), before);
    EXPECT_LT(difference, 0.2);
    EXPECT_GT(difference, 0.01);
    EXPECT_EQ(initializer(model, "embed.weight")->tensor.dtype(), DType::kInt8);
    EXPECT_EQ(initializer(model, "first.weight")->tensor.dtype(), DType::kUint4);
    EXPECT_EQ(initializer(model, "second.weight")->tensor.dtype(), DType::kUint4);
    EXPECT_EQ(initializer(model, "second.weight.scale")->tensor.shape(), (Shape{128, 1}));
    EXPECT_EQ(initializer(model, "layer.mlp.gate.weight")->tensor.dtype(), DType::kBfloat16);
    if (!is_tied) {
      EXPECT_EQ(initializer(model, "head.weight")->tensor.dtype(), DType::kInt8);
    }
    ASSERT_EQ(report.weights.size(), is_tied ? 4u : 5u);
    EXPECT_EQ(report.weights[0].name, "embed.weight");
    EXPECT_EQ(report.weights[0].before, "bfloat16");
    EXPECT_EQ(report.weights[0].after, "int8 per row");
    EXPECT_TRUE(report.weights[0].is_changed);
    EXPECT_EQ(report.weights[2].after, "uint4 in groups of 128, zero points");
    EXPECT_FALSE(report.weights[3].is_changed);
    EXPECT_EQ(report.weights[3].bytes_after, report.weights[3].bytes_before);
    EXPECT_EQ(report.pass.num_changes, is_tied ? 3 : 4);
    EXPECT_NEAR(report.relative_error(), 0.09, 0.03);
    EXPECT_LT(report.bytes_after(), report.bytes_before());
    // One Cast is left: the router's.
    int num_casts = 0;
    for (const Node& node : model.graph.nodes) {
      if (node.is("Cast") && node.inputs[0] == "layer.mlp.gate.weight") ++num_casts;
      if (node.is("Cast")) {
        EXPECT_NE(node.inputs[0], "second.weight");
      }
    }
    EXPECT_EQ(num_casts, 1);
  }
}

TEST_F(QuantizeWeights, QuantizesAgainWhatIsInMoreBitsAndKeepsWhatIsNot) {
  Model model = small_model(table_, first_, second_);
  WeightQuantization options;
  options.linear = options.table = kInt8PerRow;
  quantize_weights(model, options);
  const auto int8_logits = logits_of(model);
  WeightQuantizationReport report = quantize_weights(model, options);
  EXPECT_EQ(report.pass.num_changes, 0);
  EXPECT_EQ(logits_of(model), int8_logits);
  options.linear = kInt4SymmetricPerGroup;
  report = quantize_weights(model, options);
  check_model(model);
  EXPECT_EQ(report.pass.num_changes, 2);
  EXPECT_EQ(report.weights[1].before, "int8 per row");
  EXPECT_EQ(initializer(model, "first.weight")->tensor.dtype(), DType::kInt4);
  EXPECT_LT(relative_difference(logits_of(model), int8_logits), 0.2);
}

TEST_F(QuantizeWeights, PutsEverythingIntoTheFile) {
  const test::TemporaryFolder folder;
  Model model = small_model(table_, first_, second_);
  Model in_memory = model;
  WeightQuantization options;
  options.linear = kInt4PerGroup;
  quantize_weights(in_memory, options);
  const auto expected = logits_of(in_memory);
  std::vector<TensorFile::Entry> entries;
  {
    TensorFile file = TensorFile::create(folder.path() / "model.weights");
    options.file = &file;
    options.min_file_bytes = 100;
    quantize_weights(model, options);
    entries.assign(file.entries().begin(), file.entries().end());
    const auto mapping = file.mapping()->bytes();
    for (const auto& entry : entries) {
      EXPECT_EQ(entry.offset % kTensorFileAlignment, 0u);
      EXPECT_EQ(initializer(model, entry.name)->tensor.bytes().data(), mapping.data() + entry.offset);
    }
    EXPECT_EQ(std::filesystem::file_size(file.path()), file.size_bytes());
  }
  std::filesystem::rename(folder.path() / "model.weights", folder.path() / "elsewhere");
  EXPECT_EQ(logits_of(model), expected);  // the tensors keep the mapping
  for (const Initializer& initializer : model.graph.initializers) {
    const bool is_there =
        std::any_of(entries.begin(), entries.end(), [&](const auto& entry) { return entry.name == initializer.name; });
    EXPECT_EQ(is_there, initializer.tensor.size_bytes() >= 100) << initializer.name;
  }
}

TEST_F(QuantizeWeights, NamesTheWeightThatCannotBeQuantized) {
  Tensor bad = Tensor::copy_of(first_.view());
  bad.mutable_as<float>()[77] = std::numeric_limits<float>::infinity();
  Model model = small_model(table_, bad, second_);
  WeightQuantization options;
  options.linear = kInt4PerGroup;
  try {
    quantize_weights(model, options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_THAT(error.what(), HasSubstr("weight 'first.weight'"));
    EXPECT_THAT(error.what(), HasSubstr("not finite"));
  }
  CancelToken cancel;
  cancel.cancel();
  EXPECT_THROW(quantize_weights(model, options, Progress{nullptr, &cancel}), Error);
  Model old = small_model(table_, first_, second_);
  old.opset_imports = {{"", 17}};
  EXPECT_THROW(quantize_weights(old, options), Error);
}

TEST_F(QuantizeWeights, LeavesWeightsThatOthersUseAndSaysWhichGroupsItChanged) {
  GraphBuilder builder("model", kOpset);
  const GraphValue x = builder.input("x", DType::kFloat32, {Dimension::known(1), Dimension::known(96)});
  const GraphValue shared = builder.weight("shared", random_matrix(96, 96, 4));
  GraphValue y = builder.node("Gemm", {x, shared}, {{"transB", std::int64_t{1}}});
  y = builder.node("MatMul", {y, shared});
  y = builder.node("Gemm", {y, builder.weight("own", random_matrix(96, 96, 5))}, {{"transB", std::int64_t{1}}});
  builder.output("y", builder.node("Softmax", {y}), DType::kFloat32, {Dimension::known(1), Dimension::known(96)});
  Model model = builder.build();
  WeightQuantization options;
  options.linear = kInt4PerGroup;
  const auto report = quantize_weights(model, options);
  check_model(model);
  EXPECT_EQ(initializer(model, "shared")->tensor.dtype(), DType::kFloat32);
  EXPECT_EQ(initializer(model, "own.scale")->tensor.shape(), (Shape{96, 3}));
  EXPECT_THAT(report.pass.notes, ElementsAre(HasSubstr("'shared' stays as it is"), HasSubstr("groups of 32")));
}

}  // namespace
}  // namespace pajamas
