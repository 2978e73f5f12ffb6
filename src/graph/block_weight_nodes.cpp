// Writing and recognising the nodes of a BlockWeight. See block_weight_nodes.h.
#include "graph/block_weight_nodes.h"

#include <functional>
#include <map>

#include "pajamas/error.h"

namespace pajamas {
namespace {

/// Where nodes go: a GraphBuilder or a list.
struct Emitter {
  std::function<std::string(const std::string& name, Tensor tensor)> initializer;
  std::function<std::string(const char* op_type, const std::vector<std::string>& inputs, NodeAttributes attributes)>
      node;
  std::function<std::string(std::initializer_list<std::int64_t> values)> integers;
};

std::string emit(const std::string& name, const BlockWeight& weight, const Emitter& emitter) {
  check_block_weight(weight);
  const bool has_groups = weight.group_size != 0;
  const auto as_float32 = [&](const std::string& value) {
    if (weight.scales.dtype() == DType::kFloat32) return value;
    return emitter.node("Cast", {value}, {{"to", static_cast<std::int64_t>(DType::kFloat32)}});
  };
  const std::string values = emitter.initializer(name, weight.values);
  std::vector<std::string> inputs{values, as_float32(emitter.initializer(name + ".scale", weight.scales))};
  if (weight.has_zero_points()) inputs.push_back(emitter.initializer(name + ".zero_point", weight.zero_points));
  const std::string matrix = has_groups ? emitter.node("DequantizeLinear", inputs,
                                                       {{"axis", std::int64_t{1}}, {"block_size", weight.group_size}})
                                        : emitter.node("DequantizeLinear", inputs, {{"axis", std::int64_t{0}}});
  if (!weight.has_minimums()) return matrix;
  const std::int64_t out_dim = weight.out_dim(), in_dim = weight.in_dim(), num_groups = weight.groups_per_row();
  if (!has_groups) {
    const Tensor minimums = weight.minimums.reshaped({out_dim, 1});
    return emitter.node("Add", {matrix, as_float32(emitter.initializer(name + ".minimum", minimums))}, {});
  }
  const Tensor minimums = weight.minimums.reshaped({out_dim, num_groups, 1});
  const std::string grouped =
      emitter.node("Reshape", {matrix, emitter.integers({out_dim, num_groups, weight.group_size})}, {});
  const std::string sum =
      emitter.node("Add", {grouped, as_float32(emitter.initializer(name + ".minimum", minimums))}, {});
  return emitter.node("Reshape", {sum, emitter.integers({out_dim, in_dim})}, {});
}

}  // namespace

/// Reads the pattern backwards, once.
class StoredWeightMatcher {
 public:
  explicit StoredWeightMatcher(const StoredWeightFinder& finder) : finder_(finder) {}

  std::optional<StoredWeight> match(std::string_view value_name) {
    if (const Tensor* tensor = constant(value_name)) {
      if (tensor->dtype() != DType::kFloat32 || tensor->shape().rank() != 2) return std::nullopt;
      found_.name = value_name;
      found_.plain = *tensor;
      found_.initializers = {found_.name};
      return std::move(found_);
    }
    const Node* node = producer(value_name);
    if (node == nullptr) return std::nullopt;
    if (node->is("Cast")) return match_half(*node);
    BlockWeight weight;
    const Node* dequantize = node;
    if (node->is("Reshape")) {  // minimums of groups
      const Node* sum = node->inputs.empty() ? nullptr : producer(node->inputs[0]);
      if (sum == nullptr || !sum->is("Add") || sum->inputs.size() != 2) return std::nullopt;
      const Node* grouped = producer(sum->inputs[0]);
      if (grouped == nullptr || !grouped->is("Reshape") || grouped->inputs.empty()) return std::nullopt;
      if (!take_float(sum->inputs[1], weight.minimums) || weight.minimums.shape().rank() != 3) return std::nullopt;
      dequantize = producer(grouped->inputs[0]);
    } else if (node->is("Add")) {  // minimums of rows
      if (node->inputs.size() != 2 || !take_float(node->inputs[1], weight.minimums) ||
          weight.minimums.shape().rank() != 2) {
        return std::nullopt;
      }
      dequantize = producer(node->inputs[0]);
    }
    if (dequantize == nullptr || !dequantize->is("DequantizeLinear") || dequantize->inputs.size() < 2) {
      return std::nullopt;
    }
    return match_blocks(*dequantize, std::move(weight), *node);
  }

 private:
  const Tensor* constant(std::string_view name) const { return finder_.constant(name); }
  const Node* producer(std::string_view name) {
    const int index = finder_.uses_.producer(name);
    if (index < 0) return nullptr;
    found_.nodes.push_back(index);
    return &finder_.graph_.nodes[static_cast<std::size_t>(index)];
  }
  bool take(const std::string& name, Tensor& tensor) {
    const Tensor* found = constant(name);
    if (found == nullptr) return false;
    tensor = *found;
    found_.initializers.push_back(name);
    return true;
  }
  /// A float32 or float16 constant, the latter through a Cast to float32.
  bool take_float(const std::string& name, Tensor& tensor) {
    if (take(name, tensor)) return tensor.dtype() == DType::kFloat32;
    const Node* cast = producer(name);
    return cast != nullptr && cast->is("Cast") && cast->inputs.size() == 1 &&
           cast->int_attribute("to", 0) == static_cast<std::int64_t>(DType::kFloat32) &&
           take(cast->inputs[0], tensor) && tensor.dtype() == DType::kFloat16;
  }

  std::optional<StoredWeight> match_half(const Node& cast) {
    if (cast.inputs.size() != 1 || cast.int_attribute("to", 0) != static_cast<std::int64_t>(DType::kFloat32) ||
        !take(cast.inputs[0], found_.plain) || found_.plain.shape().rank() != 2 ||
        (found_.plain.dtype() != DType::kFloat16 && found_.plain.dtype() != DType::kBfloat16)) {
      return std::nullopt;
    }
    found_.name = cast.inputs[0];
    return std::move(found_);
  }

  std::optional<StoredWeight> match_blocks(const Node& dequantize, BlockWeight weight, const Node& last) {
    if (!take(dequantize.inputs[0], weight.values) || !take_float(dequantize.inputs[1], weight.scales)) {
      return std::nullopt;
    }
    if (dequantize.inputs.size() > 2 && !dequantize.inputs[2].empty() &&
        !take(dequantize.inputs[2], weight.zero_points)) {
      return std::nullopt;
    }
    if (weight.values.shape().rank() != 2) return std::nullopt;
    weight.group_size = dequantize.int_attribute("block_size", 0);
    const std::int64_t axis = dequantize.int_attribute("axis", 1);
    if (axis != (weight.group_size == 0 ? 0 : 1)) return std::nullopt;
    // A pattern that only looks alike: other axes, scales of another shape, a reshape to something else.
    const Shape wanted = weight.scales.shape();
    if (weight.has_minimums()) {
      if (weight.minimums.num_elements() != weight.scales.num_elements()) return std::nullopt;
      weight.minimums = weight.minimums.reshaped(wanted);
      if (last.is("Reshape")) {
        const Tensor* shape = last.inputs.size() == 2 ? constant(last.inputs[1]) : nullptr;
        if (shape == nullptr || shape->dtype() != DType::kInt64 || shape->num_elements() != 2 ||
            shape->as<std::int64_t>()[0] != weight.out_dim() || shape->as<std::int64_t>()[1] != weight.in_dim()) {
          return std::nullopt;
        }
      }
    }
    try {
      check_block_weight(weight);
    } catch (const Error&) {
      return std::nullopt;
    }
    found_.name = dequantize.inputs[0];
    found_.blocks = std::move(weight);
    return std::move(found_);
  }

  const StoredWeightFinder& finder_;
  StoredWeight found_;
};

GraphValue add_block_weight(GraphBuilder& builder, const std::string& name, const BlockWeight& weight) {
  Emitter emitter;
  emitter.initializer = [&](const std::string& tensor_name, Tensor tensor) {
    return builder.weight(tensor_name, std::move(tensor)).name;
  };
  emitter.node = [&](const char* op_type, const std::vector<std::string>& inputs, NodeAttributes attributes) {
    std::vector<GraphValue> values;
    for (const std::string& input : inputs) values.push_back({input});
    return builder.node(op_type, values, attributes).name;
  };
  emitter.integers = [&](std::initializer_list<std::int64_t> values) { return builder.integers(values).name; };
  return {emit(name, weight, emitter)};
}

BlockWeightNodes block_weight_nodes(const std::string& name, const std::string& prefix, const BlockWeight& weight) {
  BlockWeightNodes result;
  std::map<std::string, int> num_uses;
  Emitter emitter;
  emitter.initializer = [&](const std::string& tensor_name, Tensor tensor) {
    result.initializers.emplace_back(tensor_name, std::move(tensor));
    return tensor_name;
  };
  emitter.node = [&](const char* op_type, const std::vector<std::string>& inputs, NodeAttributes attributes) {
    Node node;
    const int use = num_uses[op_type]++;
    node.name = prefix + "/" + op_type + (use == 0 ? "" : "_" + std::to_string(use));
    node.op_type = op_type;
    node.inputs = inputs;
    node.outputs = {node.name};
    for (const auto& [key, value] : attributes) node.set_attribute(key, value);
    result.nodes.push_back(std::move(node));
    return result.nodes.back().name;
  };
  emitter.integers = [&](std::initializer_list<std::int64_t> values) {
    const std::string shape_name = prefix + "/shape_" + std::to_string(num_uses["shape"]++);
    result.initializers.emplace_back(shape_name,
                                     Tensor::of<std::int64_t>({static_cast<std::int64_t>(values.size())}, values));
    return shape_name;
  };
  result.output = emit(name, weight, emitter);
  return result;
}

StoredWeightFinder::StoredWeightFinder(const Graph& graph, const ValueUses& uses) : graph_(graph), uses_(uses) {
  for (const Initializer& initializer : graph.initializers) constants_.emplace(initializer.name, &initializer.tensor);
  // An initializer that is an input too is only that input's default.
  for (const ValueInfo& input : graph.inputs) constants_.erase(input.name);
}

const Tensor* StoredWeightFinder::constant(std::string_view value_name) const {
  const auto found = constants_.find(value_name);
  return found == constants_.end() ? nullptr : found->second;
}

std::optional<StoredWeight> StoredWeightFinder::find(std::string_view value_name) const {
  return StoredWeightMatcher(*this).match(value_name);
}

bool has_stored_weights(const Model& model) {
  return model.producer_name == kProducerName && model.opset() >= kBlockWeightOpset;
}

}  // namespace pajamas
