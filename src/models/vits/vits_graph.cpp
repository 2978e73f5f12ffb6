// The cuts by reachability. See vits_graph.h.
#include "models/vits/vits_graph.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "graph/graph_builder.h"
#include "graph/shape_inference.h"
#include "models/vits/selected_rows.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr const char* kRemedy = "voices that Piper exports are read; export the voice again with it";
constexpr std::array<std::string_view, 6> kOtherRandom{"RandomNormal", "RandomUniform", "RandomUniformLike",
                                                       "Multinomial",  "Bernoulli",     "Dropout"};

[[noreturn]] void refuse(const std::string& what, const std::string& where = {}) {
  throw Error(ErrorKind::kUnsupported, what, where, kRemedy);
}

/// Far above every voice, and small enough to multiply with.
constexpr std::int64_t kMaxSamplesPerFrame = 1 << 16;

using Names = std::set<std::string, std::less<>>;

bool has_nested_graph(const Node& node) {
  return std::any_of(node.attributes.begin(), node.attributes.end(), [](const Attribute& attribute) {
    return std::holds_alternative<std::shared_ptr<Graph>>(attribute.value) ||
           std::holds_alternative<std::vector<std::shared_ptr<Graph>>>(attribute.value);
  });
}

bool takes_any(const Node& node, const Names& values) {
  return std::any_of(node.inputs.begin(), node.inputs.end(),
                     [&](const std::string& input) { return values.contains(input); });
}

/// For each node whether it is, or depends on, node `start`.
std::vector<bool> depending_on(const Graph& graph, std::size_t start) {
  std::vector<bool> depends(graph.nodes.size(), false);
  Names values;
  for (std::size_t i = start; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    if (i != start && !takes_any(node, values)) continue;
    depends[i] = true;
    values.insert(node.outputs.begin(), node.outputs.end());
  }
  return depends;
}

/// Indices of the RandomNormalLike nodes, one or two of them.
std::vector<std::size_t> random_nodes(const Graph& graph) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    if (has_nested_graph(node))
      refuse("the voice has a graph within a node, which no voice known here has", node.describe());
    for (const std::string_view type : kOtherRandom) {
      if (node.is(type) && !(type == "Dropout" && node.inputs.size() < 3)) {
        refuse("the voice draws random values by another operator than RandomNormalLike", node.describe());
      }
    }
    if (!node.is("RandomNormalLike")) continue;
    if (node.float_attribute("mean", 0) != 0 || node.float_attribute("scale", 1) != 1) {
      refuse("the voice draws from another distribution than the standard normal one", node.describe());
    }
    found.push_back(i);
  }
  if (found.empty())
    refuse("the voice draws no random values (no RandomNormalLike), so its parts cannot be told apart");
  if (found.size() > 2) {
    refuse("the voice draws random values in " + std::to_string(found.size()) +
               " places; one for the durations and one for the sound are known",
           graph.nodes[found[2]].describe());
  }
  return found;
}

/// The batch is 1, and phonemes have one name. Throws for inputs and outputs that synthesis would not know how to give.
void declare_inputs(Graph& graph) {
  std::vector<ValueInfo> inputs;
  for (const ValueInfo* input : graph.required_inputs()) {
    const std::string& name = input->name;
    if (name == "input") {
      inputs.push_back(tensor_value(name, DType::kInt64, {Dimension::known(1), Dimension::named("phonemes")}));
    } else if (name == "input_lengths" || name == "sid") {
      inputs.push_back(tensor_value(name, DType::kInt64, {Dimension::known(1)}));
    } else if (name == "scales") {
      inputs.push_back(tensor_value(name, DType::kFloat32, {Dimension::known(3)}));
    } else {
      refuse("the voice has an input that is not known", "input '" + name + "'");
    }
  }
  graph.inputs = std::move(inputs);
  for (const char* name : {"input", "input_lengths", "scales"}) {
    if (graph.find_input(name) == nullptr) refuse(std::string("the voice has no input '") + name + "'");
  }
  if (graph.outputs.size() != 1 || graph.outputs[0].name != "output") {
    refuse("the voice has not the one output 'output'");
  }
}

/// Channels of a value [1, channels, frames] whose shape inference does not find, as it depends on the durations: those
/// of what it was computed from, on the way back through products with the alignment. 0: not found.
std::int64_t channels_of(std::string name, const Graph& graph, const GraphFacts& facts) {
  const ValueUses uses(graph);
  constexpr int kMaxSteps = 16;  // The published graphs need four.
  for (int step = 0; step < kMaxSteps; ++step) {
    const ValueFact* fact = facts.find(name);
    if (fact != nullptr && fact->shape && fact->rank() == 3) {
      const Extent &middle = (*fact->shape)[1], &last = (*fact->shape)[2];
      if (middle.is_known() != last.is_known()) return middle.is_known() ? middle.value() : last.value();
    }
    const int producer = uses.producer(name);
    if (producer < 0) return 0;
    const Node& node = graph.nodes[static_cast<std::size_t>(producer)];
    if (node.inputs.empty()) return 0;
    name = node.is("MatMul") ? node.inputs.back() : node.inputs.front();
  }
  return 0;
}

/// A value that crosses the cut: its batch is 1, and of its other extents the open one counts `open`.
/// `default_channels`: for a middle extent that is not known.
ValueInfo crossing_value(const std::string& name, const Graph& graph, const GraphFacts& facts, const std::string& open,
                         std::int64_t default_channels) {
  const ValueFact* fact = facts.find(name);
  if (fact == nullptr || fact->dtype == DType::kUndefined) {
    refuse("the type of a value between the voice's parts is not known", "value '" + name + "'");
  }
  const std::size_t rank = fact->shape ? fact->rank() : 3;
  std::vector<Dimension> shape;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    if (fact->shape && (*fact->shape)[axis].is_known()) {
      shape.push_back(Dimension::known((*fact->shape)[axis].value()));
    } else if (axis == 0) {
      shape.push_back(Dimension::known(1));
    } else if (axis + 1 == rank) {
      shape.push_back(Dimension::named(open));
    } else {
      const std::int64_t channels = default_channels > 0 ? default_channels : channels_of(name, graph, facts);
      if (channels <= 0) {
        refuse("the shape of a value between the voice's parts is not known", "value '" + name + "'");
      }
      shape.push_back(Dimension::known(channels));
    }
  }
  return tensor_value(name, fact->dtype, std::move(shape));
}

/// A value [1, ..., phonemes, ...] between text and alignment: known extents, 1 for the batch, and one open extent.
ValueInfo phoneme_value(const std::string& name, const Graph& graph, const GraphFacts& facts) {
  ValueInfo info = crossing_value(name, graph, facts, "phonemes", 1);
  const ValueFact* fact = facts.find(name);
  if (fact == nullptr || !fact->shape) return info;
  std::vector<std::size_t> open;
  for (std::size_t axis = 1; axis < fact->rank(); ++axis) {
    if (!(*fact->shape)[axis].is_known()) open.push_back(axis);
  }
  if (open.size() > 1) refuse("the shape of a value between the voice's parts is not known", "value '" + name + "'");
  if (!open.empty()) (*info.type->shape)[open[0]] = Dimension::named("phonemes");
  return info;
}

/// The integers 0, 1, ... up to a number that the graph computes from values, not from shapes: the frames of the sound.
/// Its node, where there is exactly one before node `end`.
std::optional<std::size_t> find_frame_count(const Graph& graph, std::size_t end) {
  Names data;
  for (const ValueInfo& input : graph.inputs) data.insert(input.name);
  const auto is_integer = [&](const std::string& name, std::int64_t wanted) {
    const Initializer* initializer = graph.find_initializer(name);
    const Tensor* tensor = initializer != nullptr ? &initializer->tensor : nullptr;
    for (const Node& node : graph.nodes) {
      if (!node.is("Constant") || node.outputs.at(0) != name) continue;
      const Attribute* value = node.find_attribute("value");
      if (value != nullptr && std::holds_alternative<Tensor>(value->value)) tensor = &std::get<Tensor>(value->value);
    }
    return tensor != nullptr && tensor->dtype() == DType::kInt64 && tensor->num_elements() == 1 &&
           tensor->as<std::int64_t>()[0] == wanted;
  };
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < end; ++i) {
    const Node& node = graph.nodes[i];
    if (node.is("Shape") || node.is("Size") || !takes_any(node, data)) continue;
    data.insert(node.outputs.begin(), node.outputs.end());
    if (!node.is("Range")) continue;
    const bool is_count =
        !found && data.contains(node.inputs.at(1)) && is_integer(node.inputs[0], 0) && is_integer(node.inputs.at(2), 1);
    if (!is_count) return std::nullopt;
    found = i;
  }
  return found;
}

/// The model around `nodes`, with the initializers that they use.
Model part_of(const Model& model, std::vector<Node> nodes, std::vector<ValueInfo> inputs,
              std::vector<ValueInfo> outputs) {
  Model part = model;
  Names used;
  for (const Node& node : nodes) used.insert(node.inputs.begin(), node.inputs.end());
  std::erase_if(part.graph.initializers,
                [&](const Initializer& initializer) { return !used.contains(initializer.name); });
  part.graph.value_infos.clear();
  part.graph.nodes = std::move(nodes);
  part.graph.inputs = std::move(inputs);
  part.graph.outputs = std::move(outputs);
  return part;
}

std::int64_t phoneme_table_rows(const Graph& graph) {
  for (const Node& node : graph.nodes) {
    if (!node.is("Gather") || node.inputs.size() != 2 || node.inputs[1] != "input") continue;
    const Initializer* table = graph.find_initializer(node.inputs[0]);
    if (table != nullptr && table->tensor.shape().rank() == 2) return table->tensor.shape()[0];
  }
  return 0;
}

/// `nodes` with those of `constants` before them that they take: a constant is no result that crosses a cut.
std::vector<Node> with_constants(const std::vector<Node>& constants, std::vector<Node> nodes) {
  Names taken;
  for (const Node& node : nodes) taken.insert(node.inputs.begin(), node.inputs.end());
  std::vector<Node> all;
  for (const Node& constant : constants) {
    if (taken.contains(constant.outputs.at(0))) all.push_back(constant);
  }
  all.insert(all.end(), std::make_move_iterator(nodes.begin()), std::make_move_iterator(nodes.end()));
  return all;
}

/// The node whose data input the decoder begins with: the convolution on the way back from the first ConvTranspose.
const Node& first_of_decoder(const Graph& graph) {
  const ValueUses uses(graph);
  const auto up =
      std::find_if(graph.nodes.begin(), graph.nodes.end(), [](const Node& node) { return node.is("ConvTranspose"); });
  if (up == graph.nodes.end()) refuse("the voice's sound is made without ConvTranspose");
  std::string name = up->inputs.at(0);
  constexpr int kMaxSteps = 8;  // The published graphs need two, three with several speakers.
  for (int step = 0; step < kMaxSteps; ++step) {
    const int producer = uses.producer(name);
    if (producer < 0) break;
    const Node& node = graph.nodes[static_cast<std::size_t>(producer)];
    if (node.is("Conv")) return node;
    // What a speaker adds comes from outside; the other operand is the one.
    const auto inner = std::find_if(node.inputs.begin(), node.inputs.end(),
                                    [&](const std::string& input) { return uses.producer(input) >= 0; });
    if (inner == node.inputs.end()) break;
    name = *inner;
  }
  refuse("the voice's sound does not begin with a convolution", up->describe());
}

/// How far the samples look: frames to either side, and samples of a frame.
class DecoderReach {
 public:
  DecoderReach(const Graph& graph, const std::string& frames) : graph_(graph) { reach_[frames] = {0, 1}; }

  void follow(const Node& node) {
    if (node.is("Conv") || node.is("ConvTranspose")) {
      follow_convolution(node);
      return;
    }
    constexpr std::array<std::string_view, 8> kPointwise{"Add",       "Sub",  "Mul",       "Div",
                                                         "LeakyRelu", "Tanh", "Unsqueeze", "Identity"};
    if (std::none_of(kPointwise.begin(), kPointwise.end(), [&](std::string_view type) { return node.is(type); })) {
      refuse("the voice's sound is made by an operator that is not known there", node.describe());
    }
    Reach joined;
    for (const std::string& input : node.inputs) {
      const auto found = reach_.find(input);
      if (found == reach_.end()) continue;
      if (joined.samples != 0 && joined.samples != found->second.samples) {
        refuse("the voice's sound joins values of different lengths", node.describe());
      }
      joined = {std::max(joined.frames, found->second.frames), found->second.samples};
    }
    reach_[node.outputs.at(0)] = joined;
  }

  std::int64_t samples(const std::string& name) const { return reach_.at(name).samples; }
  std::int64_t frames(const std::string& name) const {
    return static_cast<std::int64_t>(std::ceil(reach_.at(name).frames));
  }

 private:
  struct Reach {
    double frames = 0;
    std::int64_t samples = 0;  ///< Of a frame.
  };

  void follow_convolution(const Node& node) {
    const auto found = reach_.find(node.inputs.at(0));
    const Initializer* weights = graph_.find_initializer(node.inputs.at(1));
    if (found == reach_.end() || weights == nullptr || weights->tensor.shape().rank() != 3) {
      refuse("a convolution of the voice's sound has no constant weights over one axis", node.describe());
    }
    const std::int64_t kernel = weights->tensor.shape()[2];
    const std::int64_t stride = node.ints_attribute("strides", {1}).at(0);
    const std::int64_t dilation = node.ints_attribute("dilations", {1}).at(0);
    const std::vector<std::int64_t> pads = node.ints_attribute("pads", {0, 0});
    const std::int64_t span = dilation * (kernel - 1);
    const bool is_up = node.is("ConvTranspose");
    // As long as what it takes, times the stride: so a window of frames gives a window of samples.
    if (node.string_attribute("auto_pad", "NOTSET") != "NOTSET" || pads.size() != 2 || stride < 1 || dilation < 1 ||
        (is_up ? span + 1 - pads[0] - pads[1] != stride : stride != 1 || pads[0] + pads[1] != span)) {
      refuse("a convolution of the voice's sound has other pads than those that keep the length", node.describe());
    }
    const std::int64_t farther = is_up ? std::max(span - pads[0], pads[0]) : std::max(pads[0], pads[1]);
    const std::int64_t samples = found->second.samples * (is_up ? stride : 1);
    if (samples > kMaxSamplesPerFrame) refuse("the voice makes too many samples of a frame", node.describe());
    reach_[node.outputs.at(0)] = {found->second.frames + static_cast<double>(farther) / static_cast<double>(samples),
                                  samples};
  }

  const Graph& graph_;
  std::map<std::string, Reach, std::less<>> reach_;
};

/// Fills flow, decoder and what they have in common from all that makes the sound.
void split_decoder(const Model& audio, VoiceGraphs& parts) {
  const Graph& graph = audio.graph;
  const Node& first = first_of_decoder(graph);
  parts.frames = first.inputs.at(0);
  const Initializer* weights = graph.find_initializer(first.inputs.at(1));
  if (weights == nullptr || weights->tensor.shape().rank() != 3) {
    refuse("the convolution that the voice's sound begins with has no constant weights", first.describe());
  }
  ValueInfo frames =
      tensor_value(parts.frames, DType::kFloat32,
                   {Dimension::known(1), Dimension::known(weights->tensor.shape()[1]), Dimension::named("frames")});

  std::vector<Node> constants, flow, decoder;
  Names dependent{first.outputs.at(0)}, made_by_flow;
  DecoderReach reach(graph, parts.frames);
  for (const Node& node : graph.nodes) {
    if (node.is("Constant")) {
      constants.push_back(node);
    } else if (&node == &first || takes_any(node, dependent)) {
      dependent.insert(node.outputs.begin(), node.outputs.end());
      reach.follow(node);
      decoder.push_back(node);
    } else {
      made_by_flow.insert(node.outputs.begin(), node.outputs.end());
      flow.push_back(node);
    }
  }
  if (!made_by_flow.contains(parts.frames)) refuse("the voice's frames are not computed", parts.frames);
  if (!dependent.contains(graph.outputs[0].name)) refuse("the voice's sound does not come from its decoder");
  std::vector<ValueInfo> decoder_inputs{frames};
  for (const Node& node : decoder) {
    for (const std::string& input : node.inputs) {
      if (input == parts.frames) continue;
      if (made_by_flow.contains(input)) refuse("the voice's decoder takes more than frames", "value '" + input + "'");
      const ValueInfo* given = graph.find_input(input);
      const bool is_new = std::none_of(decoder_inputs.begin(), decoder_inputs.end(),
                                       [&](const ValueInfo& known) { return known.name == input; });
      if (given != nullptr && is_new) decoder_inputs.push_back(*given);
    }
  }
  Names of_flow;
  for (const Node& node : flow) of_flow.insert(node.inputs.begin(), node.inputs.end());
  std::vector<ValueInfo> flow_inputs;
  for (const ValueInfo& input : graph.inputs) {
    if (of_flow.contains(input.name)) flow_inputs.push_back(input);
  }
  parts.samples_per_frame = reach.samples(graph.outputs[0].name);
  parts.context_frames = reach.frames(graph.outputs[0].name);
  parts.flow = part_of(audio, with_constants(constants, std::move(flow)), std::move(flow_inputs), {std::move(frames)});
  parts.decoder =
      part_of(audio, with_constants(constants, std::move(decoder)), std::move(decoder_inputs), graph.outputs);
}

}  // namespace

VoiceGraphs split_voice(const Model& published) {
  if (!published.functions.empty() || !published.graph.sparse_initializers.empty()) {
    refuse("the voice has functions or sparse weights, which no voice known here has");
  }
  Model model = published;
  Graph& graph = model.graph;
  declare_inputs(graph);
  compute_all_rows(model);
  const std::vector<std::size_t> random = random_nodes(graph);
  const std::size_t cut = random.back();
  if (random.size() == 2 && !depending_on(graph, random[0])[cut]) {
    refuse("the voice's random values do not depend on each other as durations and sound do",
           graph.nodes[cut].describe());
  }
  const auto facts = infer_facts(model);

  VoiceGraphs parts;
  parts.num_phonemes = phoneme_table_rows(graph);
  const std::string shape_source = graph.nodes[cut].inputs.at(0);
  parts.noise_shape_output = shape_source;
  std::vector<ValueInfo> text_inputs = graph.inputs;
  if (random.size() == 2) {
    // The flow over durations works on pairs: one of VITS' constants, for where inference does not find it.
    ValueInfo noise = crossing_value(graph.nodes[random[0]].outputs.at(0), graph, *facts, "phonemes", 2);
    for (Node& node : graph.nodes)
      std::replace(node.inputs.begin(), node.inputs.end(), noise.name, std::string(kVoiceDurationNoise));
    noise.name = kVoiceDurationNoise;
    text_inputs.push_back(std::move(noise));
  }
  ValueInfo noise = crossing_value(shape_source, graph, *facts, "frames", 0);
  const std::string noise_value = graph.nodes[cut].outputs.at(0);
  noise.type->dtype = DType::kFloat32;
  for (Node& node : graph.nodes)
    std::replace(node.inputs.begin(), node.inputs.end(), noise_value, std::string(kVoiceNoise));
  noise.name = kVoiceNoise;

  const std::optional<std::size_t> count = find_frame_count(graph, cut);
  const std::vector<bool> is_aligned =
      count ? depending_on(graph, *count) : std::vector<bool>(graph.nodes.size(), false);
  if (count) {
    const std::string index = graph.nodes[*count].outputs.at(0);
    parts.has_align = true;
    for (Node& node : graph.nodes)
      std::replace(node.inputs.begin(), node.inputs.end(), index, std::string(kVoiceFrameIndex));
  }

  std::vector<Node> text, align, audio;
  Names dependent{kVoiceNoise}, made_by_text, made_by_align;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    if (std::find(random.begin(), random.end(), i) != random.end() || i == count) continue;
    if (takes_any(node, dependent)) {
      dependent.insert(node.outputs.begin(), node.outputs.end());
      audio.push_back(node);
    } else if (is_aligned[i]) {
      made_by_align.insert(node.outputs.begin(), node.outputs.end());
      align.push_back(node);
    } else {
      made_by_text.insert(node.outputs.begin(), node.outputs.end());
      text.push_back(node);
    }
  }
  if (!dependent.contains(graph.outputs[0].name)) refuse("the voice's sound does not depend on its random values");
  std::vector<Node> constants;
  Names own;
  for (const Node& node : text) {
    if (!node.is("Constant")) continue;
    own.insert(node.outputs.begin(), node.outputs.end());
    constants.push_back(node);
  }

  // Values by the part that makes them, in the order they are asked for.
  std::vector<ValueInfo> text_outputs, align_outputs, crossing, audio_inputs{std::move(noise)};
  Names seen;
  const auto is_given = [&](const std::string& input) {
    return input.empty() || own.contains(input) || graph.find_initializer(input) != nullptr;
  };
  const auto cross = [&](const std::string& name) {
    if (!seen.insert(name).second) return;
    const bool is_of_align = made_by_align.contains(name);
    const ValueInfo value =
        count && !is_of_align ? phoneme_value(name, graph, *facts) : crossing_value(name, graph, *facts, "frames", 0);
    crossing.push_back(value);
    (is_of_align ? align_outputs : text_outputs).push_back(value);
  };
  for (const Node& node : audio) {
    for (const std::string& input : node.inputs) {
      if (is_given(input) || dependent.contains(input)) continue;
      if (!made_by_text.contains(input) && !made_by_align.contains(input)) {
        refuse("the voice's sound takes an input directly", "input '" + input + "'");
      }
      cross(input);
    }
  }
  audio_inputs.insert(audio_inputs.end(), crossing.begin(), crossing.end());
  if (!made_by_text.contains(shape_source) && !made_by_align.contains(shape_source)) {
    refuse("the voice's number of frames is not computed", shape_source);
  }
  cross(shape_source);
  if (count) {
    std::vector<ValueInfo> align_inputs{tensor_value(kVoiceFrameIndex, DType::kInt64, {Dimension::named("frames")})};
    Names taken{kVoiceFrameIndex};
    for (const Node& node : align) {
      for (const std::string& input : node.inputs) {
        if (is_given(input) || made_by_align.contains(input) || !taken.insert(input).second) continue;
        if (graph.find_input(input) != nullptr) {
          refuse("the voice lays its phonemes along the frames by an input directly", "input '" + input + "'");
        }
        align_inputs.push_back(phoneme_value(input, graph, *facts));
        if (seen.insert(input).second) text_outputs.push_back(align_inputs.back());
      }
    }
    // Under a name of its own.
    const std::string num_frames = graph.nodes[*count].inputs.at(1);
    ValueInfo counted = phoneme_value(num_frames, graph, *facts);
    if (counted.type->dtype != DType::kInt64) refuse("the voice counts its frames in another type", num_frames);
    counted.name = kVoiceNumFrames;
    Node named;
    named.op_type = "Identity";
    named.name = kVoiceNumFrames;
    named.inputs = {num_frames};
    named.outputs = {kVoiceNumFrames};
    text.push_back(std::move(named));
    text_outputs.push_back(std::move(counted));
    parts.align =
        part_of(model, with_constants(constants, std::move(align)), std::move(align_inputs), std::move(align_outputs));
  }

  std::vector<ValueInfo> samples{tensor_value("output", DType::kFloat32, std::vector<Dimension>(4))};
  if (const ValueFact* fact = facts->find("output"); fact != nullptr && fact->shape) {
    samples[0].type->shape = std::vector<Dimension>(fact->shape->size());
  }
  parts.text = part_of(model, std::move(text), std::move(text_inputs), std::move(text_outputs));
  split_decoder(
      part_of(model, with_constants(constants, std::move(audio)), std::move(audio_inputs), std::move(samples)), parts);
  return parts;
}

}  // namespace pajamas
