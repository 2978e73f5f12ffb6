// Where AWQ's factors go in a graph. See scale_by_activations.h.
#include "graph/passes/scale_by_activations.h"

#include <algorithm>
#include <optional>

#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

constexpr const char* kStep = "Searching activation-aware scales";

/// Layers that take one value.
struct Group {
  std::string input;
  std::vector<const QuantizableLinear*> linears;
};

class Scaler {
 public:
  Scaler(Model& model, const CalibrationStats& stats, const WeightQuantization& options, const AwqOptions& awq,
         const Progress& progress)
      : graph_(model.graph), uses_(graph_), stats_(stats), options_(options), awq_(awq), progress_(progress) {
    if (options.linear) awq_.form = *options.linear;
  }

  ActivationScaling run() {
    result_.pass.pass = "scale_by_activations";
    const auto linears = quantizable_linears(graph_, uses_, options_);
    std::vector<Group> groups;
    std::map<std::string, std::size_t> by_input;
    for (const QuantizableLinear& linear : linears) {
      const Node& node = graph_.nodes[static_cast<std::size_t>(linear.node_index)];
      linear_by_output_[node.outputs[0]] = &linear;
      ++num_uses_of_weight_[linear.stored.name];
      const auto place = by_input.emplace(node.inputs[0], groups.size()).first;
      if (place->second == groups.size()) groups.push_back({node.inputs[0], {}});
      groups[place->second].linears.push_back(&linear);
    }
    for (std::size_t i = 0; i < groups.size(); ++i) {
      progress_.check(kStep);
      progress_.step(kStep, static_cast<double>(i) / static_cast<double>(groups.size()),
                     groups[i].linears[0]->stored.name);
      handle(groups[i]);
    }
    return std::move(result_);
  }

 private:
  const Tensor* samples_of(const Group& group) const {
    for (const QuantizableLinear* linear : group.linears) {
      const auto found = stats_.inputs.find(linear->stored.name);
      if (found == stats_.inputs.end()) continue;
      const Shape& shape = found->second.shape();
      if (shape.rank() != 2 || shape[1] != linear->stored.shape()[1]) {
        throw Error(ErrorKind::kBadInput,
                    "samples of shape " + shape.to_string() + " for a layer of " +
                        std::to_string(linear->stored.shape()[1]) + " input channels",
                    "weight '" + linear->stored.name + "'");
      }
      return &found->second;
    }
    return nullptr;
  }

  /// Whether all that takes the value is in the group, so that it may be divided, and no layer is used elsewhere too.
  bool is_alone(const Group& group) const {
    if (uses_.num_uses(group.input) != static_cast<int>(group.linears.size())) return false;
    return std::all_of(group.linears.begin(), group.linears.end(), [&](const QuantizableLinear* linear) {
      return num_uses_of_weight_.at(linear->stored.name) == 1;
    });
  }

  /// The norm's weight as float32, when the value comes from a norm whose weight nothing else uses.
  std::optional<Tensor> norm_weight_of(const Node& norm) const {
    if (!norm.is("RMSNormalization") || norm.inputs.size() < 2) return std::nullopt;
    std::string name = norm.inputs[1];
    const int producer = uses_.producer(name);
    if (uses_.num_uses(name) != 1) return std::nullopt;
    if (producer >= 0) {
      const Node& cast = graph_.nodes[static_cast<std::size_t>(producer)];
      if (!cast.is("Cast") || cast.inputs.size() != 1) return std::nullopt;
      name = cast.inputs[0];
    }
    const Initializer* initializer = graph_.find_initializer(name);
    if (initializer == nullptr || initializer->tensor.shape().rank() != 1 ||
        !is_floating_point(initializer->tensor.dtype())) {
      return std::nullopt;
    }
    return to_float32(initializer->tensor.view());
  }

  /// The layer whose rows can be divided: it makes one factor of the product that is the group's input.
  const QuantizableLinear* gated_layer_of(const Node& product) const {
    if (!product.is("Mul")) return nullptr;
    for (auto input = product.inputs.rbegin(); input != product.inputs.rend(); ++input) {
      const auto found = linear_by_output_.find(*input);
      if (found == linear_by_output_.end() || uses_.num_uses(*input) != 1) continue;
      const Node& gemm = graph_.nodes[static_cast<std::size_t>(found->second->node_index)];
      // A bias would have to be divided too.
      const bool has_bias = gemm.inputs.size() > 2 && !gemm.inputs[2].empty();
      if (!has_bias && num_uses_of_weight_.at(found->second->stored.name) == 1) return found->second;
    }
    return nullptr;
  }

  void handle(const Group& group) {
    const Tensor* samples = samples_of(group);
    if (samples == nullptr) {
      result_.pass.note("no samples of what goes into '" + group.linears[0]->stored.name + "'");
      return;
    }
    std::vector<float> importance = mean_squares(*samples);
    const int producer = uses_.producer(group.input);
    std::optional<Tensor> norm_weight;
    const QuantizableLinear* gated = nullptr;
    if (producer >= 0 && is_alone(group)) {
      const Node& node = graph_.nodes[static_cast<std::size_t>(producer)];
      norm_weight = norm_weight_of(node);
      gated = gated_layer_of(node);
    }
    const auto in_dim = static_cast<std::size_t>(samples->shape()[1]);
    if (norm_weight && norm_weight->as<float>().size() != in_dim) norm_weight.reset();
    if (gated != nullptr && gated->stored.shape()[0] != samples->shape()[1]) gated = nullptr;

    if (norm_weight || gated != nullptr) {
      std::vector<AwqLinear> linears;
      ScaledGroup entry;
      for (const QuantizableLinear* linear : group.linears) {
        linears.push_back({linear->stored.shape()[0], reader_of(linear->stored)});
        entry.weights.push_back(linear->stored.name);
      }
      const AwqScales scales = search_awq_scales(linears, *samples, awq_, progress_);
      entry.strength = scales.strength;
      entry.error_before = scales.error_before;
      entry.error_after = scales.error_after;
      result_.groups.push_back(std::move(entry));
      if (!scales.factors.empty()) {
        take_in(group, producer, scales.factors, norm_weight, gated);
        for (std::size_t c = 0; c < in_dim; ++c) importance[c] /= scales.factors[c] * scales.factors[c];
      }
    }
    for (const QuantizableLinear* linear : group.linears) {
      result_.scalings[linear->stored.name].importance = importance;
    }
  }

  void take_in(const Group& group, int producer, const std::vector<float>& factors,
               const std::optional<Tensor>& norm_weight, const QuantizableLinear* gated) {
    for (const QuantizableLinear* linear : group.linears) result_.scalings[linear->stored.name].columns = factors;
    if (norm_weight) {
      Tensor divided = Tensor::copy_of(norm_weight->view());
      const auto values = divided.mutable_as<float>();
      for (std::size_t c = 0; c < factors.size(); ++c) values[c] /= factors[c];
      // In float32, whatever it was stored in: a Cast in between stays behind for the removal of dead code.
      std::string& name = graph_.nodes[static_cast<std::size_t>(producer)].inputs[1];
      if (uses_.producer(name) >= 0) name = graph_.unused_name(name + "/scaled");
      graph_.set_initializer(name, std::move(divided));
      result_.pass.count("norms");
    } else {
      std::vector<float>& rows = result_.scalings[gated->stored.name].rows;
      rows.resize(factors.size());
      for (std::size_t c = 0; c < factors.size(); ++c) rows[c] = 1 / factors[c];
      result_.pass.count("gated_layers");
    }
  }

  Graph& graph_;
  const ValueUses uses_;
  const CalibrationStats& stats_;
  const WeightQuantization& options_;
  AwqOptions awq_;
  const Progress& progress_;
  ActivationScaling result_;
  std::map<std::string, const QuantizableLinear*> linear_by_output_;
  std::map<std::string, int> num_uses_of_weight_;
};

}  // namespace

ActivationScaling scale_by_activations(Model& model, const CalibrationStats& stats, const WeightQuantization& options,
                                       const AwqOptions& awq, const Progress& progress) {
  return Scaler(model, stats, options, awq, progress).run();
}

std::vector<std::pair<std::string, std::string>> calibration_inputs(const Graph& graph,
                                                                    const WeightQuantization& options) {
  const ValueUses uses(graph);
  std::vector<std::pair<std::string, std::string>> inputs;
  for (const QuantizableLinear& linear : quantizable_linears(graph, uses, options)) {
    inputs.emplace_back(linear.stored.name, graph.nodes[static_cast<std::size_t>(linear.node_index)].inputs[0]);
  }
  return inputs;
}

}  // namespace pajamas
