// Tests of verify/selection.h: rows that a TopK picks otherwise among near-ties are proven, and a wrong row, a missing
// row of high score and an invented row are refused. The detector is hand-made, so every fault is known.
#include "verify/selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "io/onnx_reader.h"
#include "io/onnx_writer.h"
#include "onnx_models.h"
#include "pajamas/error.h"
#include "verify/onnxruntime_reference.h"
#include "verify/proof.h"

namespace pajamas {
namespace {

using ::testing::HasSubstr;
using testing::OnnxBuilder;

constexpr int kNumPlaces = 40, kNumPicks = 10, kNumClear = 4;

const Tolerance& bounds() {
  static const Tolerance kBounds = tolerance(Precision::kBf16, OperatorClass::kNetwork);
  return kBounds;
}

SelectionFinding judge(std::vector<float> scores, std::vector<std::int64_t> picks, Selection selection = {}) {
  const Shape all{static_cast<std::int64_t>(scores.size())}, some{static_cast<std::int64_t>(picks.size())};
  return judge_selection(selection, Tensor::of<float>(all, scores), Tensor::of<std::int64_t>(some, picks), bounds());
}

TEST(JudgeSelection, TakesNearTiesAndNothingElse) {
  EXPECT_FALSE(judge({0.9F, 0.5F, 0.49F, 0.1F}, {0, 1}).fault);
  const SelectionFinding tie = judge({0.9F, 0.5F, 0.49F, 0.1F}, {0, 2});
  EXPECT_FALSE(tie.fault);
  EXPECT_NEAR(tie.largest_gap, 0.01, 1e-6);
  EXPECT_GT(tie.margin, tie.largest_gap);
  EXPECT_FALSE(judge({0.9F, 0.5F, 0.49F, 0.1F}, {0, 2, 1}).fault);  // swapped in order
  EXPECT_THAT(*judge({0.9F, 0.5F, 0.49F, 0.1F}, {0, 3}).fault, HasSubstr("leaves out place 1"));
  EXPECT_THAT(*judge({0.9F, 0.5F, 0.49F, 0.1F}, {1, 2}).fault, HasSubstr("leaves out place 0"));
  EXPECT_THAT(*judge({0.9F, 0.5F, 0.49F, 0.1F}, {1, 0}).fault, HasSubstr("before"));
  Selection unsorted;
  unsorted.is_sorted = false;
  EXPECT_FALSE(judge({0.9F, 0.5F, 0.49F, 0.1F}, {1, 0}, unsorted).fault);
  EXPECT_THAT(*judge({0.9F, 0.5F, 0.49F}, {0, 0}).fault, HasSubstr("twice"));
  EXPECT_THAT(*judge({0.9F, 0.5F, 0.49F}, {0, 3}).fault, HasSubstr("place 3 of 3"));
  EXPECT_THAT(*judge({0.9F, 0.5F, 0.49F}, {-1, 0}).fault, HasSubstr("place -1"));
  EXPECT_FALSE(judge({}, {}).fault);
  EXPECT_FALSE(judge({0.9F}, {}).fault);
}

TEST(JudgeSelection, MeasuresTiesOnTheScaleOfTheScores) {
  // Small probabilities are no ties for being below one: most of a detector's are next to nothing.
  std::vector<float> scores(200, 0.001F);
  scores[0] = 0.9F;
  scores[1] = 0.06F;
  scores[2] = 0.01F;
  EXPECT_TRUE(judge(scores, {0, 2}).fault.has_value());
  EXPECT_FALSE(judge(scores, {0, 1, 7}).fault);
  // A logit near zero has the errors of its fellows.
  EXPECT_FALSE(judge({8, 0.3F, 0.0F, -8}, {0, 2}).fault);
  EXPECT_TRUE(judge({8, 2.0F, 0.0F, -8}, {0, 2}).fault.has_value());
}

TEST(JudgeSelection, KnowsTheSmallestAndAnyAxis) {
  Selection smallest;
  smallest.is_largest = false;
  EXPECT_FALSE(judge({5, 1, 3, 2}, {1, 3}, smallest).fault);
  EXPECT_THAT(*judge({5, 1, 3, 2}, {1, 0}, smallest).fault, HasSubstr("leaves out place"));
  Selection down;
  down.axis = 0;
  const auto scores = Tensor::of<float>({3, 2}, {1, 30, 20, 2, 3, 10});
  EXPECT_FALSE(judge_selection(down, scores, Tensor::of<std::int64_t>({1, 2}, {1, 0}), bounds()).fault);
  EXPECT_TRUE(judge_selection(down, scores, Tensor::of<std::int64_t>({1, 2}, {0, 1}), bounds()).fault.has_value());
  EXPECT_THROW(judge_selection(down, scores, Tensor::of<std::int64_t>({1, 3}, {1, 0, 0}), bounds()), Error);
}

TEST(JudgeSelection, TakesNoNanForATie) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(judge({kNan, 0.5F, 0.4F}, {1}).fault.has_value());
  EXPECT_TRUE(judge({0.9F, kNan, 0.4F}, {0, 1}).fault.has_value());
  EXPECT_FALSE(judge({0.9F, -std::numeric_limits<float>::infinity(), 0.4F}, {0, 2}).fault);
}

TEST(FaultOfGivenRows, SeesOneWrongClassAmongManyRows) {
  Tensor expected(DType::kFloat32, {1, 300, 6});
  std::mt19937 generator(3);
  auto values = expected.mutable_as<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto value = static_cast<float>(generator() % 1000);
    values[i] = i % 6 < 4 ? value * 0.64F + 0.1F : i % 6 == 4 ? value / 1000 : static_cast<float>(generator() % 80);
  }
  const auto fault = [&](std::size_t row, std::size_t column, float by) {
    Tensor actual = expected;
    actual.mutable_as<float>()[row * 6 + column] += by;
    const Comparison comparison = compare("y", expected, actual);
    return std::pair(past_tolerance(comparison, bounds()), fault_of_given_rows(comparison, expected, actual, bounds()));
  };
  EXPECT_FALSE(fault(0, 0, 0).second);
  EXPECT_FALSE(fault(17, 5, 1).first);  // the norm does not see it
  EXPECT_THAT(*fault(17, 5, 1).second, HasSubstr("row 17"));
  EXPECT_FALSE(fault(250, 2, 100).first);
  EXPECT_TRUE(fault(250, 2, 100).second.has_value());
  EXPECT_FALSE(fault(250, 2, 3).second);  // bfloat16's hundreds of pixels
}

/// [places, 8] features to [picks, 5]: four numbers of the box and the score, of the best by score.
OnnxBuilder detector(float noise_weight) {
  OnnxBuilder b;
  b.input("features", {kNumPlaces, 8}).output("rows", {kNumPicks, 5});
  std::mt19937 generator(5);
  std::normal_distribution<float> normal;
  std::vector<float> box_weights(32);
  for (float& weight : box_weights) weight = normal(generator);
  b.weights("box_weights", {8, 4}, box_weights);
  b.weights("score_weights", {8, 1}, {1, noise_weight, 0, 0, 0, 0, 0, 0});
  b.weights("place_factors", {kNumPlaces}, std::vector<float>(kNumPlaces, 1));
  b.weights("row_factors", {kNumPicks, 5}, std::vector<float>(5 * kNumPicks, 1));
  b.integers("k", {1}, {kNumPicks}).integers("flat", {1}, {-1}).integers("one", {1}, {1});
  b.node("MatMul", {"features", "box_weights"}, {"boxes"});
  b.node("MatMul", {"features", "score_weights"}, {"logits"});
  b.node("Reshape", {"logits", "flat"}, {"flat_logits"});
  b.node("Sigmoid", {"flat_logits"}, {"plain_scores"});
  b.node("Mul", {"plain_scores", "place_factors"}, {"scores"});
  b.node("TopK", {"scores", "k"}, {"best", "picks"});
  b.node("Gather", {"boxes", "picks"}, {"picked"});
  b.node("Unsqueeze", {"best", "one"}, {"column"});
  OnnxBuilder::set_int(b.node("Concat", {"picked", "column"}, {"joined"}), "axis", 1);
  b.node("Mul", {"joined", "row_factors"}, {"rows"});
  return b;
}

/// Four places of clear scores, and 36 within 0.007 of each other around the cut-off.
Tensor features() {
  std::mt19937 generator(11);
  std::normal_distribution<float> normal;
  Tensor tensor(DType::kFloat32, {kNumPlaces, 8});
  auto values = tensor.mutable_as<float>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = normal(generator);
  for (std::size_t place = 0; place < kNumPlaces; ++place) {
    values[8 * place] = place < kNumClear ? 4.0F - 0.7F * static_cast<float>(place)
                                          : 0.5F + 0.001F * static_cast<float>((place * 7) % kNumPlaces);
  }
  return tensor;
}

Model model_of(const OnnxBuilder& builder) {
  const std::string bytes = builder.bytes();
  return parse_onnx(std::as_bytes(std::span(bytes)));
}

std::shared_ptr<const Engine> engine_of(const Model& model) {
  const std::string bytes = serialize_onnx(model);
  return onnxruntime_engine(
      std::make_shared<const OnnxRuntimeSession>(std::as_bytes(std::span(bytes)), std::filesystem::path()), 0);
}

/// The engine picks otherwise among near-ties, as low precision makes it, and `change` makes its fault.
Proof prove_with(const std::function<void(Graph&)>& change, bool has_inner_values = true) {
  const Model source = model_of(detector(0));
  const auto changed = [&](Model model) {
    model.graph.find_initializer("score_weights")->tensor.mutable_as<float>()[1] = 0.01F;
    change(model.graph);
    return engine_of(model);
  };
  const auto engine = changed(source);
  ProofRequest request{.source = source, .lowered = source, .engine = engine.get(), .precision = Precision::kBf16};
  request.real_inputs = {{features()}};
  if (has_inner_values) request.compile_with_outputs = [&](const Model& model, bool) { return changed(model); };
  return prove(request);
}

/// What the engine's rows on the real input were found to be.
const OutputComparison& rows_of(const Proof& proof) { return proof.candidates.at(1).outputs.at(0); }

TEST(SelectedRows, PassWhenOnlyNearTiesFellTheOtherWay) {
  const Proof proof = prove_with([](Graph&) {});
  EXPECT_TRUE(proof.is_passed) << proof.summary;
  const Comparison& comparison = rows_of(proof).comparison;
  EXPECT_GT(comparison.selection_gap, 0);
  EXPECT_LT(comparison.selection_gap, comparison.selection_margin);
  EXPECT_THAT(describe(comparison), HasSubstr("near-ties"));
  EXPECT_TRUE(to_json(comparison).contains("selection"));
  // Without the picks nothing tells such rows from wrong ones.
  const Proof blind = prove_with([](Graph&) {}, /*has_inner_values=*/false);
  EXPECT_FALSE(blind.is_passed);
  EXPECT_THAT(blind.summary, HasSubstr("found no partner"));
}

TEST(SelectedRows, AreRefusedWithOneWrongRow) {
  for (const std::size_t row : {0, 3, kNumPicks - 1}) {  // the last one is at the cut-off: a tie by its score
    const Proof proof = prove_with([&](Graph& graph) {
      auto factors = graph.find_initializer("row_factors")->tensor.mutable_as<float>();
      for (std::size_t i = 0; i < 4; ++i) factors[5 * row + i] = 1.5F;
    });
    EXPECT_FALSE(proof.is_passed) << "row " << row;
    EXPECT_THAT(*rows_of(proof).past_tolerance, HasSubstr("same rows picked"));
  }
}

TEST(SelectedRows, AreRefusedWithoutARowOfHighScore) {
  const Proof proof =
      prove_with([](Graph& graph) { graph.find_initializer("place_factors")->tensor.mutable_as<float>()[2] = 0.1F; });
  EXPECT_FALSE(proof.is_passed);
  EXPECT_THAT(*rows_of(proof).past_tolerance, HasSubstr("leaves out place 2"));
}

TEST(SelectedRows, AreRefusedWithAnInventedScore) {
  // A place below the cut-off that the engine puts first.
  const Proof proof =
      prove_with([](Graph& graph) { graph.find_initializer("place_factors")->tensor.mutable_as<float>()[20] = 1.5F; });
  EXPECT_FALSE(proof.is_passed);
  EXPECT_FALSE(rows_of(proof).past_tolerance->empty());
}

TEST(SelectedRows, AreJudgedWhereTopKAloneSelects) {
  Model model = model_of(detector(0));
  EXPECT_EQ(GivenSelections(model, model.graph, {}, {}).picks(), std::vector<std::string>{"picks"});
  Model renamed = model;
  for (Node& node : renamed.graph.nodes) {
    if (node.is("TopK")) node.outputs[1] = "other";
  }
  EXPECT_FALSE(GivenSelections(model, renamed.graph, {}, {}).is_applicable());
  Node non_zero;
  non_zero.op_type = "NonZero";
  non_zero.inputs = {"scores"};
  non_zero.outputs = {"places"};
  model.graph.nodes.push_back(non_zero);
  EXPECT_FALSE(GivenSelections(model, model.graph, {}, {}).is_applicable());
  EXPECT_TRUE(selected_values(model.graph).contains("places"));
  EXPECT_FALSE(selected_values(model.graph).contains("boxes"));
}

}  // namespace
}  // namespace pajamas
