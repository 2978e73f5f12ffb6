// Activations by what they compute: a closed set of pointwise nodes is run on a few numbers and compared with the
// functions that kernels know. See products.h.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "graph/interpreter.h"
#include "pajamas/error.h"
#include "targets/cuda/lowering/products.h"
#include "tensor/half.h"

namespace pajamas::cuda {

namespace {

/// Longest spelling known: GELU by tanh with a power, 9 nodes.
constexpr std::size_t kMaxNodes = 12;

bool is_pointwise(const Node& node) {
  static const std::set<std::string, std::less<>> kTypes{
      "Add",      "Sub",       "Mul",         "Div",       "Pow",  "Erf",  "Tanh",  "Sigmoid", "Exp",
      "Log",      "Neg",       "Sqrt",        "Relu",      "Clip", "Min",  "Max",   "Abs",     "Elu",
      "Softplus", "LeakyRelu", "HardSigmoid", "HardSwish", "Mish", "Gelu", "Swish", "Identity"};
  return (node.domain.empty() || node.domain == "ai.onnx") && kTypes.count(node.op_type) != 0;
}

struct Candidate {
  ActivationKind kind;
  double (*function)(double);
};

constexpr Candidate kCandidates[] = {
    {ActivationKind::kRelu, [](double x) { return std::max(x, 0.0); }},
    {ActivationKind::kSilu, [](double x) { return x / (1 + std::exp(-x)); }},
    {ActivationKind::kSigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }},
    {ActivationKind::kTanh, [](double x) { return std::tanh(x); }},
    {ActivationKind::kGeluErf, [](double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }},
    {ActivationKind::kGeluTanh,
     [](double x) { return 0.5 * x * (1 + std::tanh(0.79788456080286536 * (x + 0.044715 * x * x * x))); }},
    {ActivationKind::kHardSwish, [](double x) { return x * std::clamp(x / 6 + 0.5, 0.0, 1.0); }},
    {ActivationKind::kSoftplus, [](double x) { return std::log1p(std::exp(x)); }},
    {ActivationKind::kMish, [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }},
};

/// Around the kinks and turning points of the candidates, and far out.
constexpr float kSamples[] = {-41.5F, -17.F,  -8.6F, -6.1F,  -5.F, -3.7F, -3.F,  -2.9F, -2.2F, -1.6F, -1.1F,
                              -0.7F,  -0.31F, -0.1F, -1e-3F, 0.F,  1e-3F, 0.13F, 0.29F, 0.6F,  0.9F,  1.4F,
                              1.9F,   2.6F,   2.95F, 3.2F,   4.3F, 5.7F,  6.4F,  8.9F,  16.F,  38.F};

/// How far a spelling with constants rounded to `dtype` may be from its function, relative to 1 + |x|.
double tolerance(DType dtype) {
  switch (dtype) {
    case DType::kFloat16: return 4e-4;
    case DType::kBfloat16: return 3e-3;
    default: return 3e-6;
  }
}

/// Values of the nodes' last output at kSamples; nothing where the interpreter refuses.
std::optional<std::vector<float>> sample(const GraphContext& graph, const std::string& value,
                                         const std::vector<int>& nodes, const std::string& output) {
  std::map<std::string, Tensor> values;
  values[value] = Tensor::of<float>({static_cast<std::int64_t>(std::size(kSamples))}, kSamples);
  for (const int index : nodes) {
    const Node& node = graph.node(index);
    std::vector<const Tensor*> inputs;
    for (const std::string& name : node.inputs) {
      if (!name.empty() && values.count(name) == 0) {
        const auto number = graph.scalar(name);
        if (!number) return {};
        values[name] = Tensor::scalar(*number);
      }
      inputs.push_back(name.empty() ? nullptr : &values[name]);
    }
    try {
      values[node.outputs[0]] = evaluate_node(node, inputs, graph.opset)[0];
    } catch (const Error&) {
      return {};
    }
  }
  const auto result = values[output].as<float>();
  return std::vector<float>(result.begin(), result.end());
}

std::optional<ActivationKind> nearest(const std::vector<float>& values, DType dtype) {
  std::optional<ActivationKind> best;
  double least = tolerance(dtype);
  for (const Candidate& candidate : kCandidates) {
    double worst = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double x = kSamples[i];
      const double error = std::abs(static_cast<double>(values[i]) - candidate.function(x)) / (1 + std::abs(x));
      worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(worst, error);
    }
    if (worst <= least) {
      least = worst;
      best = candidate.kind;
    }
  }
  return best;
}

/// Those with parameters of their own.
std::optional<Activation> parametric(const GraphContext& graph, const Node& node) {
  if (node.is("LeakyRelu")) return Activation{ActivationKind::kLeakyRelu, node.float_attribute("alpha", 0.01F), 0};
  if (node.is("Elu")) return Activation{ActivationKind::kElu, node.float_attribute("alpha", 1.0F), 0};
  if (node.is("HardSigmoid")) {
    return Activation{ActivationKind::kHardSigmoid, node.float_attribute("alpha", 0.2F),
                      node.float_attribute("beta", 0.5F)};
  }
  if (node.is("PRelu")) {
    const auto slope = graph.scalar(node.inputs[1]);
    if (slope) return Activation{ActivationKind::kLeakyRelu, *slope, 0};
  }
  if (!node.is("Clip")) return {};
  const auto bound = [&](std::size_t input, const char* name, float fallback) -> std::optional<float> {
    if (node.inputs.size() > input && !node.inputs[input].empty()) return graph.scalar(node.inputs[input]);
    return node.float_attribute(name, fallback);
  };
  const auto least = bound(1, "min", -std::numeric_limits<float>::infinity());
  const auto most = bound(2, "max", std::numeric_limits<float>::infinity());
  if (!least || !most || *least > *most) return {};
  return Activation{ActivationKind::kClip, *least, *most};
}

}  // namespace

std::optional<ActivationMatch> match_activation(const GraphContext& graph, const std::string& value) {
  if (graph.uses.is_graph_output(value)) return {};
  std::optional<ActivationMatch> best;
  const std::vector<std::int64_t> extents = graph.extents_of(value);
  const DType dtype = graph.dtype_of(value);
  // Nodes that depend on the value and constants alone, in the graph's order.
  std::set<std::string> inside{value};
  std::vector<int> nodes;
  std::set<int> waiting(graph.uses.consumers(value).begin(), graph.uses.consumers(value).end());
  while (!waiting.empty() && nodes.size() < kMaxNodes) {
    const int index = *waiting.begin();
    waiting.erase(waiting.begin());
    const Node& node = graph.node(index);
    const bool is_single = nodes.empty() && graph.uses.num_uses(value) == 1 && !node.inputs.empty() &&
                           node.inputs[0] == value && node.outputs.size() == 1;
    if (is_single && graph.dtype_of(node.outputs[0]) == dtype) {
      if (const auto found = parametric(graph, node)) best = ActivationMatch{*found, {index}, node.outputs[0]};
    }
    if (!is_pointwise(node) || node.outputs.size() != 1 || graph.dtype_of(node.outputs[0]) != dtype ||
        graph.extents_of(node.outputs[0]) != extents) {
      continue;
    }
    const bool is_closed_in = std::all_of(node.inputs.begin(), node.inputs.end(), [&](const std::string& name) {
      return name.empty() || inside.count(name) != 0 || graph.scalar(name).has_value();
    });
    if (!is_closed_in) continue;
    nodes.push_back(index);
    inside.insert(node.outputs[0]);
    for (const int next : graph.uses.consumers(node.outputs[0])) waiting.insert(next);
    // Closed when nothing outside looks at anything but the last value.
    bool is_closed = true;
    for (const std::string& name : inside) {
      if (name == node.outputs[0]) continue;
      int inner = 0;
      for (const int member : nodes) {
        inner += static_cast<int>(std::count(graph.node(member).inputs.begin(), graph.node(member).inputs.end(), name));
      }
      is_closed = is_closed && inner == graph.uses.num_uses(name);
    }
    if (!is_closed) continue;
    const auto values = sample(graph, value, nodes, node.outputs[0]);
    if (!values) continue;
    if (const auto kind = nearest(*values, dtype)) best = ActivationMatch{{*kind, 0, 0}, nodes, node.outputs[0]};
  }
  return best;
}

}  // namespace pajamas::cuda
