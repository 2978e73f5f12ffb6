// See integer_products.h.
#include "targets/cuda/lowering/integer_products.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "graph/passes/pass.h"
#include "graph/shape_inference.h"
#include "targets/cuda/lowering/graph_context.h"

namespace pajamas::cuda {
namespace {

/// Fewer rows or columns are not worth a second kind of kernel, and 16 integers are the 16 bytes of one load.
constexpr std::int64_t kMinExtent = 64;
constexpr std::int64_t kQuantum = 16;

bool is_zero(const Tensor& tensor) {
  const auto bytes = tensor.bytes();
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

class IntegerFinder {
 public:
  IntegerFinder(const Model& model, const ConstantTable& constants)
      : model_(model), constants_(constants), uses_(model.graph) {}

  IntegerProducts find() {
    IntegerProducts result{model_, {}};
    const auto& nodes = model_.graph.nodes;
    const bool has_any = std::any_of(nodes.begin(), nodes.end(), [&](const Node& node) {
      return node.is("DequantizeLinear") && dtype_of_constant(node.inputs[0]) == DType::kInt8;
    });
    if (!has_any) return result;
    facts_ = infer_facts(without_large_constants(model_, constants_));
    std::set<int> products;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      if (is_integer_product(nodes[i])) products.insert(static_cast<int>(i));
    }
    std::set<std::string> unsigned_levels;
    for (const int product : products) {
      const Node& node = nodes[static_cast<std::size_t>(product)];
      const std::string& weight = node.inputs[1];
      const auto& readers = uses_.consumers(weight);
      const bool is_alone =
          !uses_.is_graph_output(weight) && static_cast<int>(readers.size()) == uses_.num_uses(weight) &&
          std::all_of(readers.begin(), readers.end(), [&](int reader) {
            return products.count(reader) != 0 && nodes[static_cast<std::size_t>(reader)].inputs[0] != weight;
          });
      if (!is_alone) continue;
      result.weights.insert(weight);
      const std::string& levels = producer_of(node.inputs[0])->inputs[0];
      if (facts_->dtype_of(levels) == DType::kUint8) unsigned_levels.insert(levels);
    }
    for (const std::string& levels : unsigned_levels) make_signed(result.model.graph, levels);
    return result;
  }

 private:
  const Node* producer_of(const std::string& name) const {
    const int index = uses_.producer(name);
    return index < 0 ? nullptr : &model_.graph.nodes[static_cast<std::size_t>(index)];
  }

  const Tensor* small_constant(const std::string& name) const {
    if (const Initializer* initializer = model_.graph.find_initializer(name)) return &initializer->tensor;
    const auto* entry = constants_.find(name);
    return entry != nullptr && entry->values && entry->values->size_bytes() <= ConstantTable::kSmallBytes
               ? &*entry->values
               : nullptr;
  }
  std::optional<std::pair<DType, Shape>> constant(const std::string& name) const {
    if (const auto* entry = constants_.find(name)) return std::pair(entry->dtype, entry->shape);
    const Initializer* initializer = model_.graph.find_initializer(name);
    if (initializer == nullptr) return {};
    return std::pair(initializer->tensor.dtype(), initializer->tensor.shape());
  }
  DType dtype_of_constant(const std::string& name) const {
    const auto found = constant(name);
    return found ? found->first : DType::kUndefined;
  }

  static bool has_zero_point(const Node& node) { return node.inputs.size() > 2 && !node.inputs[2].empty(); }

  /// One scale and one zero point, both constants of one element.
  bool has_one_scale(const Node& node) const {
    const auto scale = constant(node.inputs[1]);
    if (!scale || scale->second.num_elements() != 1) return false;
    if (!has_zero_point(node)) return true;
    const Tensor* point = small_constant(node.inputs[2]);
    return point != nullptr && point->num_elements() == 1 && bits_of(point->dtype()) == 8;
  }

  bool is_integer_product(const Node& node) const {
    if ((!node.is("MatMul") && !node.is("Gemm")) || node.int_attribute("transA", 0) != 0) return false;
    const Node* a = producer_of(node.inputs[0]);
    const Node* b = producer_of(node.inputs[1]);
    if (a == nullptr || b == nullptr || !a->is("DequantizeLinear") || !b->is("DequantizeLinear")) return false;
    const DType levels = facts_->dtype_of(a->inputs[0]);
    if ((levels != DType::kInt8 && levels != DType::kUint8) || constant(a->inputs[0]) || !has_one_scale(*a))
      return false;
    if (levels == DType::kUint8 && !can_be_signed(a->inputs[0])) return false;
    const auto weight = constant(b->inputs[0]);
    if (!weight || weight->first != DType::kInt8 || weight->second.rank() != 2 ||
        b->int_attribute("block_size", 0) != 0) {
      return false;
    }
    const auto fits = [](std::int64_t extent) { return extent >= kMinExtent && extent % kQuantum == 0; };
    if (!fits(weight->second[0]) || !fits(weight->second[1])) return false;
    const auto scale = constant(b->inputs[1]);
    if (!scale || scale->second.rank() > 1) return false;
    const std::size_t columns = node.int_attribute("transB", 0) != 0 ? 0 : 1;
    if (scale->second.num_elements() != 1) {
      std::int64_t axis = b->int_attribute("axis", 1);
      if (axis < 0) axis += 2;
      if (axis != static_cast<std::int64_t>(columns) || scale->second.num_elements() != weight->second[columns])
        return false;
    }
    if (has_zero_point(*b)) {
      const Tensor* point = small_constant(b->inputs[2]);
      if (point == nullptr || !is_zero(*point)) return false;
    }
    const DType result = facts_->dtype_of(node.outputs[0]);
    if (result != DType::kFloat16 && result != DType::kBfloat16 && result != DType::kFloat32) return false;
    const ValueFact* fact = facts_->find(node.outputs[0]);
    const auto shape = fact == nullptr ? std::nullopt : fact->static_shape();
    return shape && shape->rank() >= 2 && shape->num_elements() / (*shape)[shape->rank() - 1] >= kMinExtent;
  }

  /// Levels that a QuantizeLinear makes and only DequantizeLinear reads, all with one zero point each.
  bool can_be_signed(const std::string& levels) const {
    const Node* source = producer_of(levels);
    if (source == nullptr || !source->is("QuantizeLinear") || !has_one_scale(*source)) return false;
    if (uses_.is_graph_output(levels)) return false;
    const auto& readers = uses_.consumers(levels);
    return static_cast<int>(readers.size()) == uses_.num_uses(levels) &&
           std::all_of(readers.begin(), readers.end(), [&](int reader) {
             const Node& node = model_.graph.nodes[static_cast<std::size_t>(reader)];
             return node.is("DequantizeLinear") && node.inputs[0] == levels && has_one_scale(node);
           });
  }

  void make_signed(Graph& graph, const std::string& levels) {
    NameSet names(graph);
    for (Node& node : graph.nodes) {
      const bool makes = node.is("QuantizeLinear") && node.outputs[0] == levels;
      const bool reads = node.is("DequantizeLinear") && node.inputs[0] == levels;
      if (!makes && !reads) continue;
      int point = 0;
      if (has_zero_point(node)) point = std::to_integer<int>(small_constant(node.inputs[2])->bytes()[0]);
      Tensor lower(DType::kInt8, Shape{});
      lower.mutable_bytes()[0] = static_cast<std::byte>(point - 128);
      node.inputs.resize(3);
      node.inputs[2] = names.take(levels + "/signed_zero");
      graph.set_initializer(node.inputs[2], lower);
      node.remove_attribute("output_dtype");
    }
    std::erase_if(graph.value_infos, [&](const ValueInfo& info) { return info.name == levels; });
  }

  const Model& model_;
  const ConstantTable& constants_;
  const ValueUses uses_;
  std::unique_ptr<const GraphFacts> facts_;
};

}  // namespace

IntegerProducts find_integer_products(const Model& model, const ConstantTable& constants) {
  return IntegerFinder(model, constants).find();
}

void drop_zero_points(Model& model) {
  const Constants constants(model.graph);
  for (Node& node : model.graph.nodes) {
    if (!node.is("DequantizeLinear") || node.inputs.size() < 3) continue;
    const Tensor* point = constants.find(node.inputs[2]);
    if (point != nullptr && point->dtype() == DType::kInt8 && is_zero(*point)) node.inputs.resize(2);
  }
}

}  // namespace pajamas::cuda
