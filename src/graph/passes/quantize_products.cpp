// See quantize_products.h.
#include "graph/passes/quantize_products.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>
#include <unordered_set>

#include "graph/passes/passes.h"
#include "graph/passes/raise_opset.h"
#include "graph/passes/weight_conversion.h"
#include "graph/shape_inference.h"
#include "tensor/float8.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

/// QuantizeLinear knows 8-bit floats from there on.
constexpr std::int64_t kFloat8Opset = 19;
/// Less is not worth a conversion; and 16 elements are the 16 bytes that matrix units' loads need.
constexpr std::int64_t kMinExtent = 64;
constexpr std::int64_t kExtentQuantum = 16;

struct Found {
  std::size_t node = 0;
  std::string activation;
  std::string weight;
};

bool is_listed(const Node& node, const std::vector<std::string>& list) {
  return std::find(list.begin(), list.end(), node.op_type) != list.end() ||
         (!node.name.empty() && std::find(list.begin(), list.end(), node.name) != list.end());
}

bool is_taken_type(DType dtype) {
  return dtype == DType::kFloat16 || dtype == DType::kBfloat16 || dtype == DType::kFloat32;
}

std::vector<Found> find_products(const Model& model, const ProductQuantization& options) {
  const Graph& graph = model.graph;
  const Constants constants(graph);
  const std::unique_ptr<const GraphFacts> facts = infer_facts(model);
  std::vector<Found> found;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    if ((!node.is("MatMul") && !node.is("Gemm")) || is_listed(node, options.keep)) continue;
    if (node.int_attribute("transA", 0) != 0) continue;
    const Tensor* weight = constants.find(node.inputs[1]);
    if (weight == nullptr || weight->shape().rank() != 2 || !is_taken_type(weight->dtype())) continue;
    const auto fits = [](std::int64_t extent) { return extent >= kMinExtent && extent % kExtentQuantum == 0; };
    if (!fits(weight->shape()[0]) || !fits(weight->shape()[1])) continue;
    if (constants.find(node.inputs[0]) != nullptr || facts->dtype_of(node.inputs[0]) != weight->dtype()) continue;
    const ValueFact* fact = facts->find(node.outputs[0]);
    if (const auto shape = fact == nullptr ? std::nullopt : fact->static_shape()) {
      if (shape->rank() == 0 || shape->num_elements() / (*shape)[shape->rank() - 1] < options.min_rows) continue;
    }
    found.push_back({i, node.inputs[0], node.inputs[1]});
  }
  return found;
}

/// The least power of two by which no number up to `largest` saturates, within what a half can hold exactly.
float scale_for(float largest) {
  int exponent = 0;
  const float mantissa = std::frexp(largest / kMaxFloat8E4M3, &exponent);
  if (mantissa == 0.5F) --exponent;
  return std::ldexp(1.0F, std::clamp(exponent, -24, 15));
}

Tensor scalar_of(DType dtype, float value) {
  if (dtype == DType::kFloat32) return Tensor::scalar(value);
  Tensor tensor(dtype, Shape{});
  const std::uint16_t bits = dtype == DType::kFloat16 ? float16_from_float(value) : bfloat16_from_float(value);
  std::memcpy(tensor.mutable_bytes().data(), &bits, sizeof bits);
  return tensor;
}

float largest_of(const Tensor& weight) {
  float largest = 0;
  const Tensor wide = to_float32(weight.view());
  for (const float value : wide.as<float>()) largest = std::max(largest, std::fabs(value));
  return largest;
}

Tensor quantised(const Tensor& weight, float scale) {
  const Tensor wide = to_float32(weight.view());
  Tensor codes(DType::kFloat8E4M3Fn, weight.shape());
  auto* to = reinterpret_cast<std::uint8_t*>(codes.mutable_bytes().data());
  for (const float value : wide.as<float>()) *to++ = float8_e4m3_from_float(value / scale);
  return codes;
}

class Quantizer {
 public:
  Quantizer(Model& model, PassReport& report) : graph_(model.graph), report_(report), names_(model.graph) {}

  void run(const std::vector<Found>& products, const Magnitudes& magnitudes) {
    choose_scales(products, magnitudes);
    std::map<std::size_t, const Found*> by_node;
    for (const Found& product : products) {
      if (activation_scales_.count(product.activation) != 0) by_node.emplace(product.node, &product);
    }
    std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      if (const auto found = by_node.find(i); found != by_node.end()) {
        const DType dtype = Constants(graph_).find(found->second->weight)->dtype();
        nodes[i].inputs[0] = activation(found->second->activation, dtype);
        nodes[i].inputs[1] = weight(found->second->weight, weight_scales_.at(found->second->weight), dtype);
        report_.count("products");
      }
      graph_.nodes.push_back(std::move(nodes[i]));
    }
  }

 private:
  /// Products of one activation may be computed as one, so their weights have one scale.
  void choose_scales(const std::vector<Found>& products, const Magnitudes& magnitudes) {
    const Constants constants(graph_);
    std::map<std::string, float> of_weight;
    std::map<std::string, float> of_group;
    for (const Found& product : products) {
      const auto found = magnitudes.find(product.activation);
      if (found == magnitudes.end()) continue;  // Meant to stay as it is.
      const float largest = found->second;
      const auto [own, is_new] = of_weight.emplace(product.weight, 0.0F);
      if (is_new) own->second = largest_of(*constants.find(product.weight));
      if (!(largest > 0) || !std::isfinite(largest) || !(own->second > 0) || !std::isfinite(own->second)) {
        unusable_.insert(product.activation);
        report_.count("left_alone");
        continue;
      }
      activation_scales_[product.activation] = scale_for(largest);
      of_group[product.activation] = std::max(of_group[product.activation], own->second);
    }
    for (const std::string& name : unusable_) activation_scales_.erase(name);
    if (!unusable_.empty()) {
      report_.note("products of " + std::to_string(unusable_.size()) +
                   " activations stay as they are: calibration saw nothing but zeros, or numbers past the range");
    }
    // A weight of two groups joins them.
    for (bool is_changed = true; is_changed;) {
      is_changed = false;
      for (const Found& product : products) {
        if (activation_scales_.count(product.activation) == 0) continue;
        float& group = of_group[product.activation];
        float& own = of_weight[product.weight];
        is_changed = is_changed || group != own;
        group = own = std::max(group, own);
      }
    }
    for (const auto& [name, largest] : of_weight) weight_scales_[name] = scale_for(largest);
  }

  std::string constant(const std::string& stem, Tensor tensor) {
    const std::string name = names_.take(stem);
    graph_.set_initializer(name, std::move(tensor));
    return name;
  }

  const std::string& zero_point() {
    if (zero_point_.empty()) {
      Tensor zero(DType::kFloat8E4M3Fn, Shape{});
      zero.mutable_bytes()[0] = std::byte{0};
      zero_point_ = constant("float8e4m3fn/zero", std::move(zero));
    }
    return zero_point_;
  }

  const std::string& scale(float value, DType dtype) {
    std::string& name = scale_names_[{value, dtype}];
    if (name.empty()) {
      name = constant("float8e4m3fn/scale", scalar_of(dtype, value));
    }
    return name;
  }

  std::string append(const char* type, const std::string& stem, std::vector<std::string> inputs) {
    Node node;
    node.op_type = type;
    node.name = names_.take(stem + "/" + type);
    node.inputs = std::move(inputs);
    node.outputs = {names_.take(stem)};
    graph_.nodes.push_back(std::move(node));
    return graph_.nodes.back().outputs[0];
  }

  std::string activation(const std::string& name, DType dtype) {
    std::string& made = made_[name];
    if (made.empty()) {
      const std::string by = scale(activation_scales_.at(name), dtype);
      const std::string codes = append("QuantizeLinear", name + "/float8", {name, by, zero_point()});
      made = append("DequantizeLinear", name + "/from_float8", {codes, by, zero_point()});
      report_.count("activations");
    }
    return made;
  }

  std::string weight(const std::string& name, float by, DType dtype) {
    std::string& made = made_[name];
    if (made.empty()) {
      const std::string codes = constant(name + "/float8", quantised(*Constants(graph_).find(name), by));
      made = append("DequantizeLinear", name + "/from_float8", {codes, scale(by, dtype), zero_point()});
      report_.count("weights");
    }
    return made;
  }

  Graph& graph_;
  PassReport& report_;
  NameSet names_;
  std::map<std::string, float> activation_scales_;
  std::map<std::string, float> weight_scales_;
  std::set<std::string> unusable_;
  std::map<std::string, std::string> made_;  ///< Value or weight → what stands for it.
  std::map<std::pair<float, DType>, std::string> scale_names_;
  std::string zero_point_;
};

}  // namespace

std::vector<std::string> quantizable_activations(const Model& model, const ProductQuantization& options) {
  std::vector<std::string> names;
  for (const Found& product : find_products(model, options)) {
    if (std::find(names.begin(), names.end(), product.activation) == names.end()) names.push_back(product.activation);
  }
  return names;
}

Model with_largest_magnitudes(const Model& model, const std::vector<std::string>& values) {
  Model result = model;
  NameSet names(result.graph);
  result.graph.outputs.clear();
  for (const std::string& value : values) {
    const auto append = [&](const char* type, const std::string& input) {
      Node node;
      node.op_type = type;
      node.inputs = {input};
      node.outputs = {names.take(value + "/" + type)};
      node.name = node.outputs[0];
      if (node.op_type == "Cast") node.set_attribute("to", static_cast<std::int64_t>(DType::kFloat32));
      if (node.op_type == "ReduceMax") node.set_attribute("keepdims", std::int64_t{0});
      result.graph.nodes.push_back(std::move(node));
      return result.graph.nodes.back().outputs[0];
    };
    ValueInfo output;
    output.name = append("ReduceMax", append("Abs", append("Cast", value)));
    ValueType type;
    type.dtype = DType::kFloat32;
    type.shape.emplace();
    output.type = type;
    result.graph.outputs.push_back(std::move(output));
  }
  remove_dead_code(result);
  return result;
}

Model without_float8_pairs(const Model& model) {
  Model result = model;
  const Constants constants(model.graph);
  const std::unordered_set<std::string_view> kept = output_names(model.graph);
  std::map<std::string, std::string> sources;  // Codes → what they were made of.
  for (const Node& node : model.graph.nodes) {
    if (!node.is("QuantizeLinear") || node.inputs.size() < 3) continue;
    const Tensor* zero = constants.find(node.inputs[2]);
    if (zero != nullptr && zero->dtype() == DType::kFloat8E4M3Fn) sources.emplace(node.outputs[0], node.inputs[0]);
  }
  std::map<std::tuple<DType, std::vector<std::int64_t>>, Tensor> made;
  Renames renames;
  for (const Node& node : model.graph.nodes) {
    if (!node.is("DequantizeLinear") || kept.count(node.outputs[0]) != 0) continue;
    if (const auto found = sources.find(node.inputs[0]); found != sources.end()) {
      renames.emplace(node.outputs[0], found->second);
      continue;
    }
    const Tensor* codes = constants.find(node.inputs[0]);
    const Tensor* scale = constants.find(node.inputs[1]);
    if (codes == nullptr || scale == nullptr || codes->dtype() != DType::kFloat8E4M3Fn) continue;
    Tensor& weight = made[{scale->dtype(), codes->shape().extents()}];
    if (weight.num_elements() != codes->num_elements()) {
      Tensor wide = to_float32(codes->view());
      const float factor = to_float32(scale->view()).as<float>()[0];
      for (float& value : wide.mutable_as<float>()) value *= factor;
      WeightConversion losses;
      weight = scale->dtype() == DType::kFloat32 ? wide : convert_weight(wide, scale->dtype(), losses);
    }
    result.graph.set_initializer(node.outputs[0], weight);
  }
  std::erase_if(result.graph.nodes, [&](const Node& node) {
    return node.is("DequantizeLinear") &&
           (renames.count(node.outputs[0]) != 0 || result.graph.find_initializer(node.outputs[0]) != nullptr);
  });
  rename_uses(result.graph, renames);
  remove_dead_code(result);
  return result;
}

PassReport quantize_products(Model& model, const Magnitudes& magnitudes, const ProductQuantization& options) {
  PassReport report{kFloat8PassName, 0, {}, {}};
  const std::vector<Found> products = find_products(model, options);
  const bool has_any = std::any_of(products.begin(), products.end(),
                                   [&](const Found& product) { return magnitudes.count(product.activation) != 0; });
  if (!has_any) {
    report.note("no product with constant weights was quantised");
    return report;
  }
  const PassReport raised = raise_opset(model, kFloat8Opset);
  report.notes.insert(report.notes.end(), raised.notes.begin(), raised.notes.end());
  Quantizer(model, report).run(products, magnitudes);
  remove_dead_code(model);
  return report;
}

}  // namespace pajamas
