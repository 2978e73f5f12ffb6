// Tests of models/vits/vits_graph.h: the cut, on a graph of a dozen nodes with the interface of a voice.
#include "models/vits/vits_graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "graph/checker.h"
#include "graph/graph_builder.h"
#include "graph/interpreter.h"
#include "models/vits/selected_rows.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Node node(const std::string& type, std::vector<std::string> inputs, const std::string& output) {
  Node made;
  made.name = "/" + output;
  made.op_type = type;
  made.inputs = std::move(inputs);
  made.outputs = {output};
  return made;
}

Node padded(Node made, std::int64_t stride, std::int64_t pad) {
  made.set_attribute("strides", std::vector<std::int64_t>{stride});
  made.set_attribute("pads", std::vector<std::int64_t>{pad, pad});
  return made;
}

std::vector<std::string> names(const std::vector<ValueInfo>& values) {
  std::vector<std::string> result;
  for (const ValueInfo& one : values) result.push_back(one.name);
  return result;
}

std::vector<std::string> node_names(const Graph& graph) {
  std::vector<std::string> result;
  for (const Node& one : graph.nodes) result.push_back(one.outputs[0]);
  return result;
}

/// Embeddings [1, phonemes, 2] transposed are the "mean"; two draws; the frames are mean + noise * noise scale, and a
/// convolution of three frames, one up to two samples a frame and one of three samples make the sound.
Model small_voice() {
  Model model;
  model.ir_version = 8;
  model.opset_imports = {{"", 15}};
  Graph& graph = model.graph;
  graph.name = "voice";
  graph.inputs = {tensor_value("input", DType::kInt64, {Dimension::named("batch"), Dimension::named("phonemes")}),
                  tensor_value("input_lengths", DType::kInt64, {Dimension::named("batch")}),
                  tensor_value("scales", DType::kFloat32, {Dimension::known(3)})};
  graph.outputs = {tensor_value("output", DType::kFloat32, {{}, {}, {}, {}})};
  graph.set_initializer("table", Tensor::of<float>(Shape{4, 2}, {0, 1, 2, 3, 4, 5, 6, 7}));
  graph.set_initializer("zero", Tensor::scalar<std::int64_t>(0));
  graph.set_initializer("axes", Tensor::of<std::int64_t>(Shape{1}, {1}));
  graph.set_initializer("gain", Tensor::scalar<float>(0.5F));
  graph.set_initializer("wide", Tensor::of<float>(Shape{2, 2, 3}, std::vector<float>(12, 0.5F)));
  graph.set_initializer("up_weights", Tensor::of<float>(Shape{2, 2, 4}, std::vector<float>(16, 0.25F)));
  Node transpose = node("Transpose", {"embedded"}, "mean0");
  transpose.set_attribute("perm", std::vector<std::int64_t>{0, 2, 1});
  graph.nodes = {node("Gather", {"table", "input"}, "embedded"),
                 transpose,
                 node("RandomNormalLike", {"mean0"}, "draw0"),
                 node("Add", {"mean0", "draw0"}, "mean"),
                 node("Gather", {"scales", "zero"}, "noise_scale"),
                 node("RandomNormalLike", {"mean"}, "draw1"),
                 node("Mul", {"draw1", "noise_scale"}, "scaled"),
                 node("Add", {"scaled", "mean"}, "sum"),
                 node("Mul", {"sum", "gain"}, "louder"),
                 padded(node("Conv", {"louder", "wide"}, "pre"), 1, 1),
                 node("LeakyRelu", {"pre"}, "relu"),
                 padded(node("ConvTranspose", {"relu", "up_weights"}, "up"), 2, 1),
                 padded(node("Conv", {"up", "wide"}, "conv"), 1, 1),
                 node("Add", {"conv", "up"}, "joined"),
                 node("Tanh", {"joined"}, "tanh"),
                 node("Unsqueeze", {"tanh", "axes"}, "output")};
  return model;
}

Error error_of(const Model& model) {
  try {
    split_voice(model);
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return Error(ErrorKind::kInternal, "none");
}

TEST(SplitVoice, CutsAtTheLastDraw) {
  const VoiceGraphs parts = split_voice(small_voice());
  EXPECT_NO_THROW(check_model(parts.text));
  EXPECT_NO_THROW(check_model(parts.flow));
  EXPECT_NO_THROW(check_model(parts.decoder));
  EXPECT_EQ(parts.num_phonemes, 4);
  EXPECT_EQ(parts.noise_shape_output, "mean");
  EXPECT_EQ(parts.frames, "louder");
  EXPECT_EQ(parts.samples_per_frame, 2);
  EXPECT_EQ(parts.context_frames, 3) << "1 + 2 samples of the transposed one + 1 sample, up to whole frames";
  EXPECT_THAT(names(parts.text.graph.inputs), ElementsAre("input", "input_lengths", "scales", "duration_noise"));
  EXPECT_THAT(names(parts.text.graph.outputs), ElementsAre("noise_scale", "mean"));
  EXPECT_THAT(node_names(parts.text.graph), ElementsAre("embedded", "mean0", "mean", "noise_scale"));
  EXPECT_THAT(names(parts.flow.graph.inputs), ElementsAre("noise", "noise_scale", "mean"));
  EXPECT_THAT(names(parts.flow.graph.outputs), ElementsAre("louder"));
  EXPECT_THAT(node_names(parts.flow.graph), ElementsAre("scaled", "sum", "louder"));
  EXPECT_THAT(names(parts.decoder.graph.inputs), ElementsAre("louder"));
  EXPECT_THAT(names(parts.decoder.graph.outputs), ElementsAre("output"));
  EXPECT_THAT(node_names(parts.decoder.graph), ElementsAre("pre", "relu", "up", "conv", "joined", "tanh", "output"));
  EXPECT_EQ(parts.flow.graph.find_initializer("table"), nullptr) << "each part has its own weights";
  EXPECT_EQ(parts.flow.graph.find_initializer("wide"), nullptr);
  EXPECT_NE(parts.flow.graph.find_initializer("gain"), nullptr);
  EXPECT_EQ(parts.text.graph.inputs[3].type->to_string(), "float32[1, 2, phonemes]");
  EXPECT_EQ(parts.flow.graph.inputs[0].type->to_string(), "float32[1, 2, frames]");
  EXPECT_EQ(parts.decoder.graph.inputs[0].type->to_string(), "float32[1, 2, frames]");
}

TEST(SplitVoice, OnlyDecodersThatKeepTheLengthAreCut) {
  const auto changed = [](std::size_t index, const std::function<void(Node&)>& change) {
    Model model = small_voice();
    change(model.graph.nodes[index]);
    return model;
  };
  EXPECT_THAT(error_of(changed(9, [](Node& one) { one.op_type = "Relu"; })).what(), HasSubstr("begin"));
  EXPECT_THAT(error_of(changed(11, [](Node& one) { one.op_type = "Conv"; })).what(), HasSubstr("ConvTranspose"));
  EXPECT_THAT(error_of(changed(11, [](Node& one) { one = padded(one, 3, 1); })).what(), HasSubstr("pads"));
  EXPECT_THAT(error_of(changed(12, [](Node& one) { one = padded(one, 1, 0); })).what(), HasSubstr("pads"));
  EXPECT_THAT(error_of(changed(14, [](Node& one) { one.op_type = "Softmax"; })).what(), HasSubstr("Softmax"));
  EXPECT_THAT(error_of(changed(13, [](Node& one) { one.inputs[1] = "relu"; })).what(), HasSubstr("lengths"));
}

TEST(SplitVoice, OneDrawIsAVoiceWithoutNoiseInItsDurations) {
  Model model = small_voice();
  model.graph.nodes[2] = node("Identity", {"mean0"}, "draw0");
  const VoiceGraphs parts = split_voice(model);
  EXPECT_THAT(names(parts.text.graph.inputs), ElementsAre("input", "input_lengths", "scales"));
  EXPECT_THAT(names(parts.flow.graph.inputs), ElementsAre("noise", "noise_scale", "mean"));
}

/// The small voice with durations of its own: each frame's mean is the sum of the phonemes that end behind it.
Model voice_of_durations() {
  Model model = small_voice();
  Graph& graph = model.graph;
  graph.set_initializer("durations_of", Tensor::of<float>(Shape{4}, {1, 2, 1, 3}));
  graph.set_initializer("one", Tensor::scalar<std::int64_t>(1));
  graph.set_initializer("one_axis", Tensor::scalar<std::int64_t>(1));
  Node sum = node("ReduceSum", {"durations"}, "total");
  sum.set_attribute("keepdims", std::int64_t{0});
  Node count = node("Cast", {"total"}, "count");
  count.set_attribute("to", static_cast<std::int64_t>(DType::kInt64));
  Node frame = node("Cast", {"index"}, "frame");
  frame.set_attribute("to", static_cast<std::int64_t>(DType::kFloat32));
  Node path = node("Cast", {"is_before"}, "path");
  path.set_attribute("to", static_cast<std::int64_t>(DType::kFloat32));
  Node turned = node("Transpose", {"product"}, "mean");
  turned.set_attribute("perm", std::vector<std::int64_t>{0, 2, 1});
  const std::vector<Node> counted = {node("Gather", {"durations_of", "input"}, "durations"),
                                     sum,
                                     count,
                                     node("Range", {"zero", "count", "one"}, "index"),
                                     frame,
                                     node("Unsqueeze", {"frame", "axes"}, "column"),
                                     node("CumSum", {"durations", "one_axis"}, "ends"),
                                     node("Less", {"column", "ends"}, "is_before"),
                                     path,
                                     node("MatMul", {"path", "embedded"}, "product"),
                                     turned};
  graph.nodes.erase(graph.nodes.begin() + 1, graph.nodes.begin() + 4);
  graph.nodes.insert(graph.nodes.begin() + 1, counted.begin(), counted.end());
  return model;
}

TEST(SplitVoice, FramesThatAreCountedByValuesArePartOfTheirOwn) {
  const VoiceGraphs parts = split_voice(voice_of_durations());
  ASSERT_TRUE(parts.has_align);
  EXPECT_NO_THROW(check_model(parts.text));
  EXPECT_NO_THROW(check_model(parts.align));
  EXPECT_THAT(names(parts.text.graph.outputs), ElementsAre("noise_scale", "ends", "embedded", "num_frames"));
  EXPECT_THAT(names(parts.align.graph.inputs), ElementsAre("frame_index", "ends", "embedded"));
  EXPECT_THAT(names(parts.align.graph.outputs), ElementsAre("mean"));
  EXPECT_THAT(names(parts.flow.graph.inputs), ElementsAre("noise", "noise_scale", "mean"));
  EXPECT_EQ(parts.text.graph.outputs[2].type->to_string(), "float32[1, phonemes, 2]");
  EXPECT_EQ(parts.text.graph.outputs[3].type->to_string(), "int64[]");
  EXPECT_EQ(parts.align.graph.inputs[0].type->to_string(), "int64[frames]");
  EXPECT_EQ(parts.align.graph.outputs[0].type->to_string(), "float32[1, 2, frames]");

  const auto said = run_graph(parts.text, {{"input", Tensor::of<std::int64_t>(Shape{1, 3}, {1, 3, 0})},
                                           {"input_lengths", Tensor::of<std::int64_t>(Shape{1}, {3})},
                                           {"scales", Tensor::of<float>(Shape{3}, {0.5F, 1, 1})}});
  EXPECT_EQ(said.at("num_frames").as<std::int64_t>()[0], 6);
  // Six frames, and two more than there are.
  const auto aligned =
      run_graph(parts.align, {{"frame_index", Tensor::of<std::int64_t>(Shape{8}, {0, 1, 2, 3, 4, 5, 6, 7})},
                              {"ends", said.at("ends")},
                              {"embedded", said.at("embedded")}});
  EXPECT_THAT(aligned.at("mean").as<float>(), ElementsAre(8, 8, 6, 6, 6, 0, 0, 0, 11, 11, 8, 8, 8, 1, 0, 0));

  // A count from another number, or two of them, is no alignment: text gives the frames, as without.
  Model other = voice_of_durations();
  other.graph.nodes[4].inputs[0] = "one";
  EXPECT_FALSE(split_voice(other).has_align);
}

/// A row-wise computation over the places where a mask is true: y = x / (1 + x) there, x elsewhere.
Model selecting_model(bool has_other_use = false) {
  Model model;
  model.ir_version = 8;
  model.opset_imports = {{"", 15}};
  Graph& graph = model.graph;
  graph.name = "selecting";
  graph.inputs = {tensor_value("x", DType::kFloat32, {Dimension::known(1), Dimension::known(1), Dimension::named("n")}),
                  tensor_value("table", DType::kFloat32,
                               {Dimension::known(1), Dimension::known(1), Dimension::named("n"), Dimension::known(2)})};
  graph.outputs = {tensor_value("y", DType::kFloat32, {{}, {}, {}}),
                   tensor_value("t", DType::kFloat32, {{}, {}, {}, {}})};
  graph.set_initializer("limit", Tensor::scalar<float>(0));
  graph.set_initializer("unit", Tensor::scalar<float>(1));
  graph.set_initializer("first", Tensor::of<std::int64_t>(Shape{1}, {0}));
  graph.set_initializer("zero", Tensor::scalar<std::int64_t>(0));
  graph.nodes = {node("GreaterOrEqual", {"x", "limit"}, "mask"),
                 node("NonZero", {"mask"}, "found"),
                 node("Transpose", {"found"}, "places"),
                 node("GatherND", {"x", "places"}, "rows"),
                 node("GatherND", {"table", "places"}, "table_rows"),
                 node("Add", {"rows", "unit"}, "more"),
                 node("Div", {"rows", "more"}, "share"),
                 node("Add", {"table_rows", "unit"}, "table_more"),
                 node("Shape", {"places"}, "places_shape"),
                 node("Gather", {"places_shape", "zero"}, "num_places"),
                 node("Unsqueeze", {"num_places", "first"}, "end"),
                 node("Slice", {"share", "first", "end", "first"}, "updates"),
                 node("ScatterND", {"x", "places", "updates"}, "y"),
                 node("ScatterND", {"table", "places", "table_more"}, "t")};
  if (has_other_use) {
    graph.nodes.push_back(node("Identity", {"places"}, "places_out"));
    graph.outputs.push_back(tensor_value("places_out", DType::kInt64, {{}, {}}));
  }
  return model;
}

TEST(SelectedRows, AllRowsGiveWhatTheSelectedGave) {
  const Model selecting = selecting_model();
  Model all = selecting;
  EXPECT_EQ(compute_all_rows(all), 1);
  EXPECT_NO_THROW(check_model(all));
  for (const Node& one : all.graph.nodes) {
    EXPECT_FALSE(one.is("NonZero") || one.is("GatherND") || one.is("ScatterND")) << one.describe();
  }
  for (const std::vector<float>& x : {std::vector<float>{-2, 3, 0, -1, 5}, {-1, -1}, {1}, {4, 4, 4}}) {
    const auto count = static_cast<std::int64_t>(x.size());
    std::vector<float> table(2 * x.size());
    for (std::size_t i = 0; i < table.size(); ++i) table[i] = static_cast<float>(i);
    const std::map<std::string, Tensor> inputs{
        {"x", Tensor::of<float>(Shape{1, 1, count}, std::span<const float>(x))},
        {"table", Tensor::of<float>(Shape{1, 1, count, 2}, std::span<const float>(table))}};
    const auto expected = run_graph(selecting, inputs), actual = run_graph(all, inputs);
    for (const char* name : {"y", "t"}) {
      EXPECT_EQ(actual.at(name).shape(), expected.at(name).shape());
      EXPECT_THAT(actual.at(name).as<float>(), testing::ElementsAreArray(expected.at(name).as<float>()));
    }
  }
  Model used = selecting_model(true);
  EXPECT_EQ(compute_all_rows(used), 0) << "somebody asks for the places themselves";
  EXPECT_EQ(used.graph.nodes.size(), selecting.graph.nodes.size() + 1);
}

TEST(SplitVoice, OtherStructuresAreRefusedByName) {
  Model three = small_voice();
  three.graph.nodes.insert(three.graph.nodes.begin() + 8, node("RandomNormalLike", {"sum"}, "draw2"));
  EXPECT_EQ(error_of(three).kind(), ErrorKind::kUnsupported);
  EXPECT_THAT(error_of(three).what(), HasSubstr("draw2"));
  Model uniform = small_voice();
  uniform.graph.nodes[2].op_type = "RandomUniformLike";
  EXPECT_THAT(error_of(uniform).what(), HasSubstr("draw0"));
  Model scaled = small_voice();
  scaled.graph.nodes[5].set_attribute("scale", 2.0F);
  EXPECT_EQ(error_of(scaled).kind(), ErrorKind::kUnsupported);
  Model none = small_voice();
  none.graph.nodes[2] = node("Identity", {"mean0"}, "draw0");
  none.graph.nodes[5] = node("Identity", {"mean"}, "draw1");
  EXPECT_EQ(error_of(none).kind(), ErrorKind::kUnsupported);
  Model apart = small_voice();
  apart.graph.nodes[3].inputs = {"mean0", "mean0"};
  EXPECT_EQ(error_of(apart).kind(), ErrorKind::kUnsupported) << "the draws do not depend on each other";
  Model direct = small_voice();
  direct.graph.nodes[6].inputs[1] = "scales";
  EXPECT_THAT(error_of(direct).what(), HasSubstr("scales"));
  Model unknown = small_voice();
  unknown.graph.inputs.push_back(tensor_value("pitch", DType::kFloat32, {Dimension::known(1)}));
  EXPECT_THAT(error_of(unknown).what(), HasSubstr("pitch"));
}

}  // namespace
}  // namespace pajamas
