// BatchNormalization into the weights before it. See passes.h.
//
// y = (x - mean) * gamma / sqrt(variance + epsilon) + beta is x * factor + offset per channel, and a linear operator
// takes factors and offsets of its result into its weights and bias. Computed in double, rounded once.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "graph/passes/passes.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

struct ChannelAffine {
  std::vector<double> factors;
  std::vector<double> offsets;
};

std::vector<double> to_doubles(const Tensor& tensor) {
  if (tensor.dtype() == DType::kFloat64) {
    const auto values = tensor.as<double>();
    return {values.begin(), values.end()};
  }
  const Tensor wide = to_float32(tensor.view());
  const auto values = wide.as<float>();
  return {values.begin(), values.end()};
}

Tensor from_doubles(const std::vector<double>& values, DType dtype, const Shape& shape) {
  Tensor out(dtype, shape);
  if (dtype == DType::kFloat64) {
    std::copy(values.begin(), values.end(), out.mutable_as<double>().begin());
  } else if (dtype == DType::kFloat32) {
    const auto to = out.mutable_as<float>();
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = static_cast<float>(values[i]);
  } else {
    auto* bits = reinterpret_cast<std::uint16_t*>(out.mutable_bytes().data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto value = static_cast<float>(values[i]);
      bits[i] = dtype == DType::kFloat16 ? float16_from_float(value) : bfloat16_from_float(value);
    }
  }
  return out;
}

/// Whether the type can hold them all: float16 ends at 65504, and a BatchNormalization's factor may be a thousand.
bool can_hold(DType dtype, const std::vector<double>& values) {
  const double largest = dtype == DType::kFloat64   ? std::numeric_limits<double>::max()
                         : dtype == DType::kFloat16 ? 65504.0
                                                    : 3.38e38;  // bfloat16's, just below float32's
  return std::all_of(values.begin(), values.end(), [&](double value) { return std::fabs(value) <= largest; });
}

bool is_computable(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kFloat64 || dtype == DType::kFloat16 || dtype == DType::kBfloat16;
}

class Folder {
 public:
  Folder(Graph& graph, std::int64_t opset, PassReport& report)
      : graph_(graph), opset_(opset), report_(report), uses_(graph), constants_(graph), names_(graph) {
    for (std::size_t i = 0; i < graph.initializers.size(); ++i) slots_[graph.initializers[i].name] = i;
  }

  void fold() {
    std::vector<bool> is_gone(graph_.nodes.size(), false);
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& norm = graph_.nodes[i];
      if (!norm.is("BatchNormalization") || norm.inputs.size() != 5) continue;
      const int producer = uses_.producer(norm.inputs[0]);
      if (producer < 0 || uses_.num_uses(norm.inputs[0]) != 1 || uses_.is_graph_output(norm.inputs[0])) continue;
      const auto affine = affine_of(norm);
      Node& linear = graph_.nodes[static_cast<std::size_t>(producer)];
      if (!affine) continue;
      const std::string type = linear.op_type;
      const bool is_whole = linear.is("Conv") || linear.is("ConvTranspose") || linear.is("Gemm");
      if (is_whole && into_weights(linear, norm, *affine)) {
        linear.outputs[0] = norm.outputs[0];
        is_gone[i] = true;
        report_.count(type);
      } else if (linear.is("MatMul") && into_mat_mul(linear, graph_.nodes[i], *affine)) {
        report_.count(type);
      }
    }
    std::size_t to = 0;
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (is_gone[i]) continue;
      if (to != i) graph_.nodes[to] = std::move(graph_.nodes[i]);
      ++to;
    }
    graph_.nodes.resize(to);
  }

 private:
  std::optional<ChannelAffine> affine_of(const Node& norm) const {
    if (norm.int_attribute("training_mode", 0) != 0) return std::nullopt;
    // Before opset 9 "spatial" 0 normalised each pixel by itself.
    if (opset_ < 9 && norm.int_attribute("spatial", 1) == 0) return std::nullopt;
    for (std::size_t i = 1; i < norm.outputs.size(); ++i) {
      if (!norm.outputs[i].empty()) return std::nullopt;
    }
    std::vector<double> parts[4];
    for (std::size_t i = 0; i < 4; ++i) {
      const Tensor* tensor = constants_.find(norm.inputs[i + 1]);
      if (tensor == nullptr || !is_computable(tensor->dtype()) || tensor->shape().rank() != 1) return std::nullopt;
      parts[i] = to_doubles(*tensor);
      if (parts[i].size() != parts[0].size()) return std::nullopt;
    }
    const double epsilon = norm.float_attribute("epsilon", 1e-5F);
    ChannelAffine affine;
    for (std::size_t i = 0; i < parts[0].size(); ++i) {
      const double factor = parts[0][i] / std::sqrt(parts[3][i] + epsilon);
      const double offset = parts[1][i] - parts[2][i] * factor;
      if (!std::isfinite(factor) || !std::isfinite(offset)) return std::nullopt;
      affine.factors.push_back(factor);
      affine.offsets.push_back(offset);
    }
    return affine;
  }

  /// Conv, ConvTranspose and Gemm: weights and bias change, the BatchNormalization goes.
  bool into_weights(Node& linear, const Node& norm, const ChannelAffine& affine) {
    if (linear.inputs.size() < 2 || linear.outputs.size() != 1) return false;
    const Tensor* weight = constants_.find(linear.inputs[1]);
    const bool has_bias = linear.inputs.size() > 2 && !linear.inputs[2].empty();
    const Tensor* bias = has_bias ? constants_.find(linear.inputs[2]) : nullptr;
    if (weight == nullptr || !is_computable(weight->dtype()) || (has_bias && bias == nullptr)) return false;
    const auto num_channels = static_cast<std::int64_t>(affine.factors.size());
    const bool is_gemm = linear.is("Gemm");
    double beta = 1;
    if (is_gemm) {
      beta = linear.float_attribute("beta", 1.0F);
      if (has_bias && beta == 0) return false;
      if (!has_bias) beta = 1;
    }
    // A bias of one value per channel; Gemm's may also be [1, channels].
    const bool fits_bias =
        !has_bias || (is_computable(bias->dtype()) && bias->num_elements() == num_channels &&
                      (bias->shape().rank() == 1 || (is_gemm && bias->shape().rank() == 2 && bias->shape()[0] == 1)));
    if (!fits_bias) return false;
    auto values = to_doubles(*weight);
    if (!scale(linear, weight->shape(), affine.factors, values)) return false;
    auto offsets = has_bias ? to_doubles(*bias) : std::vector<double>(affine.factors.size(), 0.0);
    for (std::size_t i = 0; i < offsets.size(); ++i) {
      offsets[i] = offsets[i] * affine.factors[i] + affine.offsets[i] / beta;
    }
    const DType dtype = weight->dtype();
    if (!can_hold(dtype, values) || !can_hold(dtype, offsets)) return false;
    const Shape bias_shape = has_bias ? bias->shape() : Shape{num_channels};
    replace(linear, 1, from_doubles(values, dtype, weight->shape()), linear.inputs[1]);
    const std::string bias_name = has_bias ? linear.inputs[2] : norm.inputs[2];
    linear.inputs.resize(3);
    replace(linear, 2, from_doubles(offsets, dtype, bias_shape), bias_name);
    if (is_gemm && !has_bias) linear.remove_attribute("beta");
    return true;
  }

  /// Multiplies each weight by the factor of the channel it adds to; false when the shape does not fit.
  static bool scale(const Node& linear, const Shape& shape, const std::vector<double>& factors,
                    std::vector<double>& values) {
    const auto num_channels = static_cast<std::int64_t>(factors.size());
    if (linear.is("Gemm")) {
      const bool is_transposed = linear.int_attribute("transB", 0) != 0;
      if (shape.rank() != 2 || shape[is_transposed ? 0 : 1] != num_channels) return false;
      for (std::size_t i = 0; i < values.size(); ++i) {
        const auto index = static_cast<std::int64_t>(i);
        values[i] *= factors[is_transposed ? index / shape[1] : index % shape[1]];
      }
      return true;
    }
    if (shape.rank() < 3) return false;
    std::int64_t inner = 1;
    for (std::size_t i = 2; i < shape.rank(); ++i) inner *= shape[i];
    const std::int64_t group = linear.int_attribute("group", 1);
    if (linear.is("Conv")) {
      if (shape[0] != num_channels) return false;
      const std::int64_t per_channel = shape[1] * inner;
      for (std::size_t i = 0; i < values.size(); ++i) values[i] *= factors[static_cast<std::int64_t>(i) / per_channel];
      return true;
    }
    // ConvTranspose: [in channels, out channels / group, ...]; input channel i belongs to group i / (in / group).
    if (group < 1 || shape[0] % group != 0 || shape[1] * group != num_channels) return false;
    const std::int64_t in_per_group = shape[0] / group;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto index = static_cast<std::int64_t>(i);
      const std::int64_t in_channel = index / (shape[1] * inner);
      const std::int64_t out_channel = in_channel / in_per_group * shape[1] + index / inner % shape[1];
      values[i] *= factors[out_channel];
    }
    return true;
  }

  /// MatMul [rows, inner] x [inner, channels]: the factors go into the weights, the offsets become an Add.
  bool into_mat_mul(Node& product, Node& norm, const ChannelAffine& affine) {
    const Tensor* weight = product.inputs.size() == 2 ? constants_.find(product.inputs[1]) : nullptr;
    const auto num_channels = static_cast<std::int64_t>(affine.factors.size());
    const bool fits = weight != nullptr && is_computable(weight->dtype()) && weight->shape().rank() == 2 &&
                      weight->shape()[1] == num_channels;
    // With more axes the channels of the BatchNormalization, axis 1, are not those of the product, the last.
    if (!fits || !is_matrix(product.inputs[0])) return false;
    auto values = to_doubles(*weight);
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] *= affine.factors[static_cast<std::int64_t>(i) % num_channels];
    }
    const DType dtype = weight->dtype();
    if (!can_hold(dtype, values) || !can_hold(dtype, affine.offsets)) return false;
    replace(product, 1, from_doubles(values, dtype, weight->shape()), product.inputs[1]);
    const std::string offset_name = norm.inputs[2];
    norm.op_type = "Add";
    norm.attributes.clear();
    norm.inputs.resize(2);
    norm.inputs[1] = offset_name;
    replace(norm, 1, from_doubles(affine.offsets, dtype, {num_channels}), offset_name);
    return true;
  }

  bool is_matrix(const std::string& value_name) const {
    for (const auto* list : {&graph_.inputs, &graph_.value_infos}) {
      for (const ValueInfo& value : *list) {
        if (value.name == value_name && value.type && value.type->shape) return value.type->shape->size() == 2;
      }
    }
    const int producer = uses_.producer(value_name);
    return producer >= 0 && (graph_.nodes[static_cast<std::size_t>(producer)].is("Flatten") ||
                             graph_.nodes[static_cast<std::size_t>(producer)].is("Gemm"));
  }

  /// Gives input `index` of `node` a new constant: under its old name when nothing else uses that, else a new one.
  void replace(Node& node, std::size_t index, Tensor tensor, const std::string& name) {
    const auto slot = slots_.find(name);
    // Of a BatchNormalization that goes, the parameters have no use left but this one.
    if (slot != slots_.end() && uses_.num_uses(name) == 1) {
      node.inputs[index] = name;
      constants_.add(name, tensor);
      graph_.initializers[slot->second].tensor = std::move(tensor);
      return;
    }
    const std::string fresh = names_.take(name + "/folded");
    node.inputs[index] = fresh;
    constants_.add(fresh, tensor);
    slots_[fresh] = graph_.initializers.size();
    graph_.initializers.push_back(Initializer{fresh, std::move(tensor), {}, {}});
  }

  Graph& graph_;
  std::int64_t opset_;
  PassReport& report_;
  ValueUses uses_;
  Constants constants_;
  NameSet names_;
  std::unordered_map<std::string, std::size_t> slots_;
};

}  // namespace

PassReport fold_batch_norms(Model& model) {
  PassReport report{"batch_norm_folding", 0, {}, {}};
  const std::int64_t opset = model.opset_of("").value_or(0);
  for_each_graph(model.graph, [&](Graph& graph) { Folder(graph, opset, report).fold(); });
  return report;
}

}  // namespace pajamas
