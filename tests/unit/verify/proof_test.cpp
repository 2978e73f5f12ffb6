// Tests of verify/proof.h with planted faults: the proof must pass what is right, fail what is wrong, and name the
// layer that was changed. The engines here are ONNX Runtime sessions of other models, so every fault is known.
#include "verify/proof.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <random>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "base/files.h"
#include "io/onnx_reader.h"
#include "io/onnx_writer.h"
#include "onnx_models.h"
#include "pajamas/error.h"
#include "tensor/half.h"
#include "verify/onnxruntime_reference.h"
#include "verify/widen.h"

namespace pajamas {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::OnnxBuilder;

std::vector<float> random_values(std::size_t count, unsigned seed, float scale) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (auto& value : values) value = normal(generator);
  return values;
}

Model model_of(const OnnxBuilder& builder) {
  const std::string bytes = builder.bytes();
  return parse_onnx(std::as_bytes(std::span(bytes)));
}

/// Three convolutions with a skip and a classifier: [batch, 3, 16, 16] to [batch, 10].
OnnxBuilder small_network(const std::string& last = "MatMul") {
  OnnxBuilder b;
  b.input("images", {"batch", 3, 16, 16}).output("scores", {"batch", 10});
  b.weights("w1", {8, 3, 3, 3}, random_values(8 * 27, 1, 0.3F));
  b.weights("w2", {8, 8, 3, 3}, random_values(8 * 72, 2, 0.2F));
  b.weights("w3", {8, 8, 3, 3}, random_values(8 * 72, 3, 0.2F));
  b.weights("w4", {8, 10}, random_values(80, 4, 0.5F));
  for (int i = 1; i <= 3; ++i) {
    const std::string n = std::to_string(i);
    auto& conv = b.node("Conv", {i == 1 ? "images" : "r" + std::to_string(i - 1), "w" + n}, {"c" + n}, "conv" + n);
    auto* pads = conv.add_attribute();
    pads->set_name("pads");
    pads->set_type(onnx::AttributeProto::INTS);
    for (int k = 0; k < 4; ++k) pads->add_ints(1);
    b.node("Relu", {"c" + n}, {"r" + n}, "relu" + n);
  }
  b.node("Add", {"r1", "r3"}, {"skip"}, "skip");
  b.node("GlobalAveragePool", {"skip"}, {"pooled"}, "pool");
  OnnxBuilder::set_int(b.node("Flatten", {"pooled"}, {"flat"}, "flatten"), "axis", 1);
  b.node(last, {"flat", "w4"}, {"scores"}, "classifier");
  return b;
}

/// An engine that computes another model: by default as ONNX Runtime does, with every input and output as declared.
class StandIn final : public Engine {
 public:
  StandIn(const Model& model, std::string precision) : precision_(std::move(precision)) {
    const std::string bytes = serialize_onnx(model);
    engine_ = onnxruntime_engine(
        std::make_shared<const OnnxRuntimeSession>(std::as_bytes(std::span(bytes)), std::filesystem::path()), 0);
  }
  const std::vector<TensorInfo>& inputs() const override { return engine_->inputs(); }
  const std::vector<TensorInfo>& outputs() const override { return engine_->outputs(); }
  std::unique_ptr<Session> new_session() const override { return engine_->new_session(); }
  nlohmann::json describe() const override { return {{"implementation", "stand-in"}, {"precision", precision_}}; }

 private:
  std::string precision_;
  std::shared_ptr<const Engine> engine_;
};

void perturb(Model& model, const std::string& weight, std::size_t index, float by) {
  Initializer* initializer = model.graph.find_initializer(weight);
  initializer->tensor.mutable_as<float>()[index] += by;
}

const ProvenCandidate& candidate_named(const Proof& proof, const std::string& name) {
  for (const auto& candidate : proof.candidates) {
    if (candidate.name == name) return candidate;
  }
  ADD_FAILURE() << "no candidate " << name;
  return proof.candidates.front();
}

/// What docs/schemas/proof.schema.json has against a proof; empty when nothing.
std::string schema_complaints(const nlohmann::json& proof) {
  const auto text = read_file(std::filesystem::path(PAJAMAS_SOURCE_DIR) / "docs/schemas/proof.schema.json");
  const auto schema_json = nlohmann::json::parse(text);
  valijson::Schema schema;
  valijson::SchemaParser().populateSchema(valijson::adapters::NlohmannJsonAdapter(schema_json), schema);
  valijson::ValidationResults results;
  valijson::Validator().validate(schema, valijson::adapters::NlohmannJsonAdapter(proof), &results);
  std::string complaints;
  for (valijson::ValidationResults::Error error; results.popError(error);) {
    for (const auto& step : error.context) complaints += step;
    complaints += ": " + error.description + "\n";
  }
  return complaints;
}

TEST(Proof, FollowsItsSchema) {
  const Model source = model_of(small_network());
  Model lowered = source;
  const StandIn engine(source, "bf16");
  const Proof passed = prove({.source = source,
                              .lowered = lowered,
                              .engine = &engine,
                              .exact_engine = &engine,
                              .precision = Precision::kAuto,
                              .is_per_layer = true});
  EXPECT_EQ(schema_complaints(passed.to_json()), "");
  perturb(lowered, "w2", 3, 1e30F);  // infinities and NaN on the way
  const Proof failed = prove({.source = source, .lowered = lowered});
  EXPECT_FALSE(failed.is_passed);
  EXPECT_EQ(schema_complaints(failed.to_json()), "");
  EXPECT_EQ(schema_complaints(nlohmann::json::parse(failed.to_json().dump())), "");
  nlohmann::json broken = passed.to_json();
  broken["lowered_sha256"] = "abc";
  EXPECT_NE(schema_complaints(broken), "");
}

TEST(Proof, PassesAnUnchangedModelAndSaysWhatWasNotShown) {
  const Model model = model_of(small_network());
  const Proof proof = prove({.source = model, .lowered = model});
  EXPECT_TRUE(proof.is_passed) << proof.summary;
  EXPECT_THAT(proof.reference, HasSubstr("onnxruntime 1."));
  ASSERT_EQ(proof.candidates.size(), 1U);
  EXPECT_THAT(proof.not_shown, ::testing::ElementsAre(HasSubstr("has not run")));
  EXPECT_THAT(proof.summary, HasSubstr("has not run"));
  // A dynamic batch is tried with one and with two.
  ASSERT_EQ(proof.cases.size(), 3U);
  EXPECT_EQ(proof.cases[2]["inputs"]["images"], "float32[2, 3, 16, 16]");
  EXPECT_EQ(proof.source_sha256, proof.lowered_sha256);
  EXPECT_EQ(prove({.source = model, .lowered = model}).to_json(), proof.to_json());  // the seed decides everything
}

TEST(Proof, NamesTheLayerWhoseWeightWasChanged) {
  const Model source = model_of(small_network());
  for (const auto& [weight, node] :
       {std::pair{"w1", "conv1"}, std::pair{"w2", "conv2"}, std::pair{"w3", "conv3"}, std::pair{"w4", "classifier"}}) {
    Model lowered = source;
    perturb(lowered, weight, 5, 0.5F);
    const Proof proof = prove({.source = source, .lowered = lowered});
    EXPECT_FALSE(proof.is_passed) << weight;
    ASSERT_TRUE(proof.candidates[0].first_bad_layer.has_value()) << weight;
    const auto& bad = *proof.candidates[0].first_bad_layer;
    EXPECT_THAT(bad.node, HasSubstr(node)) << weight;
    EXPECT_LT(bad.inputs_relative_l2, 1e-6) << weight;
    EXPECT_THAT(proof.summary, HasSubstr(node));
    EXPECT_FALSE(proof.to_json().at("candidates")[0].at("first_bad_layer").is_null());
  }
}

TEST(Proof, NamesTheLayerBesideValuesThatAPassRenamed) {
  const Model source = model_of(small_network());
  Model lowered = source;
  for (auto& node : lowered.graph.nodes) {
    for (auto& name : node.inputs) {
      if (name == "c2") name = "other";
    }
    for (auto& name : node.outputs) {
      if (name == "c2") name = "other";
    }
  }
  EXPECT_TRUE(prove({.source = source, .lowered = lowered}).is_passed);
  perturb(lowered, "w2", 0, 0.5F);
  const Proof proof = prove({.source = source, .lowered = lowered});
  ASSERT_TRUE(proof.candidates[0].first_bad_layer.has_value());
  EXPECT_THAT(proof.candidates[0].first_bad_layer->node, HasSubstr("relu2"));  // conv2's value is not there to compare
}

TEST(Proof, ListsAllLayersOnDemand) {
  const Model model = model_of(small_network());
  const Proof proof = prove({.source = model, .lowered = model, .is_per_layer = true});
  EXPECT_TRUE(proof.is_passed);
  EXPECT_EQ(proof.candidates[0].layers.size(), model.graph.nodes.size());
  EXPECT_FALSE(proof.candidates[0].first_bad_layer.has_value());
  EXPECT_EQ(proof.to_json()["candidates"][0]["layers"].size(), model.graph.nodes.size());
}

TEST(Proof, ReadsTheUntouchedFileAndNotTheModelInMemory) {
  const auto path = std::filesystem::temp_directory_path() / ("pajamas-proof-" + std::to_string(::getpid()) + ".onnx");
  const Model right = model_of(small_network());
  write_onnx(right, path);
  // A fault of the reader would change source and lowered alike; the file still tells.
  Model wrong = right;
  perturb(wrong, "w3", 7, 0.5F);
  const Proof proof = prove({.source = wrong, .source_file = path, .lowered = wrong});
  std::filesystem::remove(path);
  EXPECT_FALSE(proof.is_passed);
  EXPECT_EQ(proof.reference_source, path.filename());
  ASSERT_TRUE(proof.candidates[0].first_bad_layer.has_value());
  EXPECT_THAT(proof.candidates[0].first_bad_layer->node, HasSubstr("conv3"));
}

TEST(Proof, JudgesEnginesAndLocatesTheirFaults) {
  const Model model = model_of(small_network());
  const StandIn right(model, "fp32");
  const Proof passed = prove({.source = model, .lowered = model, .engine = &right, .exact_engine = &right});
  EXPECT_TRUE(passed.is_passed) << passed.summary;
  EXPECT_EQ(passed.candidates.size(), 3U);
  EXPECT_THAT(passed.not_shown, IsEmpty());

  Model changed = model;
  perturb(changed, "w2", 3, 0.5F);
  const StandIn wrong(changed, "fp32");
  const auto compile = [&](const Model& with_outputs, bool) -> std::shared_ptr<const Engine> {
    Model same = with_outputs;
    perturb(same, "w2", 3, 0.5F);
    return std::make_shared<StandIn>(same, "fp32");
  };
  const Proof failed = prove({.source = model, .lowered = model, .engine = &wrong, .compile_with_outputs = compile});
  EXPECT_FALSE(failed.is_passed);
  EXPECT_TRUE(candidate_named(failed, "lowered_model").is_passed);
  ASSERT_TRUE(candidate_named(failed, "engine").first_bad_layer.has_value());
  EXPECT_THAT(candidate_named(failed, "engine").first_bad_layer->node, HasSubstr("conv2"));

  const Proof unnamed = prove({.source = model, .lowered = model, .engine = &wrong});
  EXPECT_FALSE(unnamed.is_passed);
  EXPECT_THAT(candidate_named(unnamed, "engine").layers_note, HasSubstr("cannot give inner values"));
}

TEST(Proof, HoldsEachPrecisionToItsOwnBounds) {
  const Model source = model_of(small_network());
  Model rounded = source;
  for (auto& initializer : rounded.graph.initializers) {
    for (auto& value : initializer.tensor.mutable_as<float>()) {
      value = float_from_bfloat16(bfloat16_from_float(value));
    }
  }
  const StandIn engine(rounded, "bf16");
  const auto passes = [&](Precision precision) {
    return prove({.source = source, .lowered = source, .engine = &engine, .precision = precision}).is_passed;
  };
  EXPECT_FALSE(passes(Precision::kFp32));
  EXPECT_TRUE(passes(Precision::kBf16));
  EXPECT_TRUE(passes(Precision::kAuto));  // the engine says bf16
}

/// The network with weights and inner values in a narrow type, as the conversion pass makes it.
Model narrow_network(DType dtype) {
  Model model = model_of(small_network());
  for (auto& initializer : model.graph.initializers) {
    std::vector<std::uint16_t> bits;
    for (const float value : initializer.tensor.as<float>()) {
      bits.push_back(dtype == DType::kFloat16 ? float16_from_float(value) : bfloat16_from_float(value));
    }
    initializer.tensor =
        Tensor::copy_of({dtype, initializer.tensor.shape(), reinterpret_cast<const std::byte*>(bits.data())});
  }
  for (auto& node : model.graph.nodes) {
    for (auto& name : node.inputs) {
      if (name == "images") name = "images_narrow";
    }
    for (auto& name : node.outputs) {
      if (name == "scores") name = "scores_narrow";
    }
  }
  Node first, last;
  first.op_type = last.op_type = "Cast";
  first.inputs = {"images"};
  first.outputs = {"images_narrow"};
  first.set_attribute("to", static_cast<std::int64_t>(dtype));
  last.inputs = {"scores_narrow"};
  last.outputs = {"scores"};
  last.set_attribute("to", std::int64_t{1});
  model.graph.nodes.insert(model.graph.nodes.begin(), first);
  model.graph.nodes.push_back(last);
  for (auto& import : model.opset_imports) import.second = 22;  // the first whose Conv takes bfloat16
  return model;
}

TEST(Proof, CoversNarrowLoweredModelsAndClaimsNoMore) {
  const Model source = model_of(small_network());
  for (const auto dtype : {DType::kFloat16, DType::kBfloat16}) {
    const Precision precision = dtype == DType::kFloat16 ? Precision::kFp16 : Precision::kBf16;
    Model lowered = narrow_network(dtype);
    const Proof proof = prove({.source = source, .lowered = lowered, .precision = precision});
    EXPECT_TRUE(proof.is_passed) << proof.summary;
    EXPECT_EQ(proof.candidates[0].precision, precision);
    EXPECT_THAT(proof.candidates[0].what, HasSubstr("not the"));
    double error = 0;
    for (const auto& output : proof.candidates[0].outputs) error = std::max(error, output.comparison.relative_l2);
    EXPECT_GT(error, 1e-6) << "the narrow type left no trace: it was not computed with";

    auto weights = lowered.graph.find_initializer("w2");
    for (auto& byte : weights->tensor.mutable_bytes().first(64)) byte = std::byte{0x40};
    const Proof wrong = prove({.source = source, .lowered = lowered, .precision = precision});
    EXPECT_FALSE(wrong.is_passed);
    ASSERT_TRUE(wrong.candidates[0].first_bad_layer.has_value()) << wrong.summary;
    EXPECT_THAT(wrong.candidates[0].first_bad_layer->node, HasSubstr("conv2"));
  }
}

TEST(Widen, RoundsEveryNarrowResultOnce) {
  // y = bf16(x) + bf16(x): with x = 1 + 2^-9 the first rounding loses the last bit, and the sum stays exact.
  OnnxBuilder b;
  b.input("x", {1}).output("y", {1});
  OnnxBuilder::set_int(b.node("Cast", {"x"}, {"n"}), "to", 16);
  b.node("Add", {"n", "n"}, {"s"});
  OnnxBuilder::set_int(b.node("Cast", {"s"}, {"y"}), "to", 1);
  const Model wide = widen_low_precision(model_of(b));
  const std::string bytes = serialize_onnx(wide);
  const OnnxRuntimeSession session(std::as_bytes(std::span(bytes)), {});
  const auto outputs = session.run({{"x", Tensor::of<float>({1}, {1.0F + 1.0F / 512})}});
  EXPECT_EQ(outputs[0].as<float>()[0], 2.0F);
  EXPECT_FALSE(contains_dtype(model_of(small_network()).graph, DType::kBfloat16));
  EXPECT_TRUE(contains_dtype(narrow_network(DType::kBfloat16).graph, DType::kBfloat16));
}

TEST(Proof, ComparesSelectedRowsAsSets) {
  // The two largest of four columns, with a pair of near ties that the lowered model sees the other way round.
  const auto build = [](float tie) {
    OnnxBuilder b;
    b.input("x", {1, 4}).output("values", {1, 3}).output("places", {1, 3}, onnx::TensorProto::INT64);
    b.weights("bias", {4}, {10, 10 + tie, 5, -100}).weights("zero", {1}, {0}).integers("k", {1}, {3});
    b.node("Mul", {"x", "zero"}, {"nothing"}, "mul");
    b.node("Add", {"nothing", "bias"}, {"sum"}, "add");
    b.node("TopK", {"sum", "k"}, {"values", "places"}, "topk");
    return b;
  };
  const Model source = model_of(build(1e-6F));
  EXPECT_TRUE(prove({.source = source, .lowered = model_of(build(-1e-6F))}).is_passed);
  const Proof wrong = prove({.source = source, .lowered = model_of(build(2))});
  EXPECT_FALSE(wrong.is_passed);
}

TEST(Proof, ComparesOutputsOfDataDependentSize) {
  const auto build = [](float threshold) {
    OnnxBuilder b;
    b.input("x", {64}).output("chosen", {"n"});
    b.weights("threshold", {}, {threshold});
    b.node("Greater", {"x", "threshold"}, {"mask"});
    b.node("Compress", {"x", "mask"}, {"chosen"}, "choose");
    return b;
  };
  const Model source = model_of(build(0.5F));
  EXPECT_TRUE(prove({.source = source, .lowered = source}).is_passed);
  const Proof wrong = prove({.source = source, .lowered = model_of(build(0.2F))});
  EXPECT_FALSE(wrong.is_passed);
  EXPECT_THAT(wrong.summary, HasSubstr("chosen"));
}

TEST(Proof, UsesProfilesRealInputsAndIntegerRanges) {
  OnnxBuilder b;
  b.input("ids", {"batch", "length"}, onnx::TensorProto::INT64).output("y", {"batch", "length", 2});
  b.weights("table", {5, 2}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  b.node("Gather", {"table", "ids"}, {"y"}, "embed");
  const Model model = model_of(b);
  const auto real = Tensor::of<std::int64_t>({1, 3}, {4, 0, 2});
  const Proof proof = prove(
      {.source = model, .lowered = model, .real_inputs = {{real}}, .profiles = {{"ids", {1, 1}, {2, 4}, {3, 9}}}});
  EXPECT_TRUE(proof.is_passed) << proof.summary;
  ASSERT_EQ(proof.cases.size(), 5U);
  EXPECT_EQ(proof.cases[0]["kind"], "real");
  EXPECT_EQ(proof.cases[4]["inputs"]["ids"], "int64[3, 9]");
  EXPECT_THROW(prove({.source = model, .lowered = model, .real_inputs = {{real, real}}}), Error);
}

TEST(Proof, FindsShapesThatTheModelHoldsTo) {
  // Declared dynamic, but its Reshape holds to 224 x 224: the first sizes that are tried do not run.
  OnnxBuilder b;
  b.input("x", {"n", 3, "h", "w"}).output("y", {"n", 3 * 224 * 224});
  b.integers("shape", {2}, {-1, 3 * 224 * 224});
  b.node("Reshape", {"x", "shape"}, {"y"}, "reshape");
  const Model model = model_of(b);
  const Proof proof = prove({.source = model, .lowered = model});
  EXPECT_EQ(proof.cases[0]["inputs"]["x"], "float32[1, 3, 224, 224]");

  OnnxBuilder strange;
  strange.input("x", {"n"}).output("y", {1234});
  strange.integers("shape", {1}, {1234});
  strange.node("Reshape", {"x", "shape"}, {"y"}, "reshape");
  const Model none = model_of(strange);
  try {
    prove({.source = none, .lowered = none});
    FAIL() << "a proof without a case was given";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_THAT(error.remedy(), HasSubstr("real input"));
  }
}

TEST(Proof, FailsALoweredModelThatDoesNotRun) {
  const Model source = model_of(small_network());
  const Proof proof = prove({.source = source, .lowered = model_of(small_network("Frobnicate"))});
  EXPECT_FALSE(proof.is_passed);
  EXPECT_THAT(proof.candidates[0].error, HasSubstr("Frobnicate"));
  Model without_output = source;
  without_output.graph.outputs[0].name = "flat";
  EXPECT_FALSE(prove({.source = source, .lowered = without_output}).is_passed);
}

TEST(Proof, TakesTheInterpreterWhereOnnxRuntimeDoesNotRunTheModel) {
  // An opset that ONNX Runtime does not know yet, with operators that have not changed.
  Model source = model_of(small_network());
  for (auto& import : source.opset_imports) import.second = 99;
  Model lowered = source;

  const Proof proof = prove({.source = source, .lowered = lowered});
  EXPECT_TRUE(proof.is_passed) << proof.summary;
  EXPECT_THAT(proof.reference, HasSubstr("interpreter"));
  EXPECT_THAT(proof.not_shown, ::testing::Contains(HasSubstr("ONNX Runtime does not run the source")));
  perturb(lowered, "w2", 3, 0.5F);
  const Proof wrong = prove({.source = source, .lowered = lowered});
  ASSERT_TRUE(wrong.candidates[0].first_bad_layer.has_value()) << wrong.summary;
  EXPECT_THAT(wrong.candidates[0].first_bad_layer->node, HasSubstr("conv2"));
}

TEST(Proof, StopsWhenCancelled) {
  const Model model = model_of(small_network());
  CancelToken token;
  token.cancel();
  try {
    prove({.source = model, .lowered = model, .progress = {{}, &token}});
    FAIL() << "it went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCancelled);
  }
}

}  // namespace
}  // namespace pajamas
