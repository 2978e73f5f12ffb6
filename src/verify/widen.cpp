// The rewrite: types along the graph, initializers widened, and a rounding after each narrow result.
#include "verify/widen.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

bool is_narrow(DType dtype) { return dtype == DType::kBfloat16 || dtype == DType::kFloat16; }

/// Operators whose results are never floating point, whatever goes in.
const std::set<std::string_view> kNonFloatResults = {"Shape",
                                                     "Size",
                                                     "ArgMax",
                                                     "ArgMin",
                                                     "Equal",
                                                     "Greater",
                                                     "GreaterOrEqual",
                                                     "Less",
                                                     "LessOrEqual",
                                                     "IsNaN",
                                                     "IsInf",
                                                     "Not",
                                                     "And",
                                                     "NonZero",
                                                     "Or",
                                                     "Xor",
                                                     "OneHot",
                                                     "QuantizeLinear",
                                                     "DynamicQuantizeLinear",
                                                     "NonMaxSuppression"};

bool has_subgraph(const Node& node) {
  return std::any_of(node.attributes.begin(), node.attributes.end(), [](const Attribute& attribute) {
    return std::holds_alternative<std::shared_ptr<Graph>>(attribute.value) ||
           std::holds_alternative<std::vector<std::shared_ptr<Graph>>>(attribute.value);
  });
}

Tensor widened(const Tensor& tensor) { return is_narrow(tensor.dtype()) ? to_float32(tensor.view()) : tensor; }

void widen_type(ValueInfo& info) {
  if (info.type && info.type->kind == ValueType::Kind::kTensor && is_narrow(info.type->dtype)) {
    info.type->dtype = DType::kFloat32;
  }
}

Node cast(const std::string& from, const std::string& to, DType dtype) {
  Node node;
  node.name = to + (dtype == DType::kFloat32 ? "/widen" : "/round");
  node.op_type = "Cast";
  node.inputs = {from};
  node.outputs = {to};
  node.set_attribute("to", static_cast<std::int64_t>(dtype));
  return node;
}

/// The type of the floating-point results of a node, from what it says itself or from the first floating input.
DType result_type(const Node& node, const std::map<std::string, DType>& types) {
  if (kNonFloatResults.contains(node.op_type)) return DType::kUndefined;
  if (node.is("Cast")) return static_cast<DType>(node.int_attribute("to", 0));
  if (node.is("Constant") || node.is("ConstantOfShape")) {
    const Attribute* value = node.find_attribute("value");
    const auto* tensor = value != nullptr ? std::get_if<Tensor>(&value->value) : nullptr;
    return tensor != nullptr ? tensor->dtype() : DType::kFloat32;
  }
  if (const auto* dtype = node.find_attribute("dtype"); dtype != nullptr) {
    return static_cast<DType>(node.int_attribute("dtype", 0));
  }
  // DequantizeLinear's result has the type of its scale, its second input; Where's first input is a condition, and an
  // input that is no float has no entry in `types`, so it is passed over.
  for (const auto& input : node.inputs) {
    const auto found = types.find(input);
    if (found != types.end() && is_floating_point(found->second)) return found->second;
  }
  return DType::kUndefined;
}

}  // namespace

bool contains_dtype(const Graph& graph, DType dtype) {
  const auto declares = [dtype](const ValueInfo& info) { return info.type && info.type->dtype == dtype; };
  if (std::any_of(graph.inputs.begin(), graph.inputs.end(), declares)) return true;
  if (std::any_of(graph.value_infos.begin(), graph.value_infos.end(), declares)) return true;
  if (std::any_of(graph.outputs.begin(), graph.outputs.end(), declares)) return true;
  for (const auto& initializer : graph.initializers) {
    if (initializer.tensor.dtype() == dtype) return true;
  }
  for (const auto& node : graph.nodes) {
    if (node.is("Cast") && node.int_attribute("to", 0) == static_cast<std::int64_t>(dtype)) return true;
    for (const auto& attribute : node.attributes) {
      if (const auto* tensor = std::get_if<Tensor>(&attribute.value); tensor != nullptr && tensor->dtype() == dtype) {
        return true;
      }
      if (const auto* body = std::get_if<std::shared_ptr<Graph>>(&attribute.value); body != nullptr && *body) {
        if (contains_dtype(**body, dtype)) return true;
      }
    }
  }
  return false;
}

Model widen_low_precision(const Model& model) {
  if (!model.functions.empty()) {
    throw Error(ErrorKind::kUnsupported, "model-local functions are not widened to float32", model.functions[0].name);
  }
  Model out = model;
  Graph& graph = out.graph;
  std::map<std::string, DType> types;
  for (auto& input : graph.inputs) {
    if (input.type) types[input.name] = input.type->dtype;
    widen_type(input);
  }
  for (auto& initializer : graph.initializers) {
    types[initializer.name] = initializer.tensor.dtype();
    initializer.tensor = widened(initializer.tensor);
  }
  for (auto& output : graph.outputs) widen_type(output);
  for (auto& info : graph.value_infos) widen_type(info);

  std::vector<Node> nodes;
  for (auto& node : graph.nodes) {
    if (has_subgraph(node)) {
      throw Error(ErrorKind::kUnsupported, "control flow is not widened to float32", node.describe());
    }
    const DType type = result_type(node, types);
    for (const auto& name : node.outputs) {
      if (type != DType::kUndefined) types[name] = type;
    }
    for (auto& attribute : node.attributes) {
      if (auto* tensor = std::get_if<Tensor>(&attribute.value)) *tensor = widened(*tensor);
    }
    if (!is_narrow(type)) {
      nodes.push_back(std::move(node));
      continue;
    }
    if (node.find_attribute("dtype") != nullptr) {
      node.set_attribute("dtype", static_cast<std::int64_t>(DType::kFloat32));
    }
    // Only the first output of the operators that have more is of the computed type with certainty (TopK's second is
    // an index, MaxPool's too), except for those that split.
    const std::size_t num_narrow = node.is("Split") ? node.outputs.size() : 1;
    std::vector<Node> roundings;
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      const std::string name = node.outputs[i];
      if (name.empty()) continue;
      if (i >= num_narrow) {
        types.erase(name);
        continue;
      }
      if (node.is("Cast")) {
        // Cast(narrow) itself is the rounding: it stays, under another name, and its result is widened.
        const std::string narrow = name + "/narrow";
        node.outputs[i] = narrow;
        roundings.push_back(cast(narrow, name, DType::kFloat32));
        continue;
      }
      const std::string exact = name + "/exact";
      const std::string narrow = name + "/narrow";
      node.outputs[i] = exact;
      roundings.push_back(cast(exact, narrow, type));
      roundings.push_back(cast(narrow, name, DType::kFloat32));
    }
    nodes.push_back(std::move(node));
    for (auto& rounding : roundings) nodes.push_back(std::move(rounding));
  }
  graph.nodes = std::move(nodes);
  return out;
}

}  // namespace pajamas
