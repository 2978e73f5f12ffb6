// float32 to float16 or bfloat16. See passes.h.
//
// First every node gets a plan: which of its float32 inputs it takes, and which outputs it gives, in 16 bits. The plan
// follows the type variables of the operator (operator_types.h), so what ONNX fixes to float32 (the scales of Resize,
// Q/DQ before opset 19) stays. Then the graph is rewritten with Casts where plans meet. The bodies of If, Loop and Scan
// stay float32 and get what they capture as float32.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>

#include "graph/operator_types.h"
#include "graph/passes/passes.h"
#include "graph/passes/weight_conversion.h"
#include "graph/shape_inference.h"
#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas {

const std::vector<Fp32Operator>& default_fp32_operators() {
  static const std::vector<Fp32Operator> kOperators{
      {"NonMaxSuppression", "ONNX defines it for float32 only"},
      {"RoiAlign", "boxes in pixels: past 2048 float16 steps by more than one pixel"},
      {"MaxRoiPool", "boxes in pixels: past 2048 float16 steps by more than one pixel"},
      {"Range", "counts: past 2048 float16 cannot hold the next integer"},
      {"CumSum", "running sums: past 2048 float16 cannot hold the next integer"},
      {"ReduceL2", "sums of squares: elements past 256 overflow"},
      {"ReduceSumSquare", "sums of squares: elements past 256 overflow"},
      {"LpNormalization", "sums of squares: elements past 256 overflow"},
      {"LpPool", "sums of powers overflow"},
      {"MeanVarianceNormalization", "sums of squares: elements past 256 overflow"},
      {"ReduceProd", "products leave the range of float16 after a few factors"},
      {"ReduceLogSumExp", "sums of exponentials: elements past 11 overflow"},
      {"ReduceLogSum", "sums over an axis may leave the range of float16"},
      {"Det", "products leave the range of float16 after a few factors"},
      {"DFT", "sums over a whole signal"},
      {"STFT", "sums over a whole signal"},
      {"MelWeightMatrix", "frequencies in Hz past 2048"},
      {"Multinomial", "sampling needs the tails of the distribution"},
      {"RandomNormal", "its type is an attribute"},
      {"RandomNormalLike", "its type is an attribute"},
      {"RandomUniform", "its type is an attribute"},
      {"RandomUniformLike", "its type is an attribute"},
      {"Bernoulli", "its type is an attribute"},
      {"DynamicQuantizeLinear", "ONNX defines it for float32 only"},
  };
  return kOperators;
}

namespace {

struct Plan {
  std::vector<DType> inputs;   ///< Wanted type of each float32 input; kUndefined: not float32.
  std::vector<DType> outputs;  ///< Given type of each float32 output; kUndefined: not float32.
};

class Converter {
 public:
  Converter(Model& model, const PrecisionOptions& options, const GraphFacts& facts, PassReport& report,
            std::vector<WeightConversion>& conversions)
      : graph_(model.graph),
        opset_(model.opset_of("").value_or(0)),
        options_(options),
        half_(options.dtype),
        facts_(facts),
        report_(report),
        conversions_(conversions),
        constants_(model.graph),
        names_(model.graph),
        uses_(model.graph) {
    for (const Fp32Operator& entry : default_fp32_operators()) kept_types_.insert(entry.op_type);
    for (const std::string& entry : options.keep_fp32) kept_types_.insert(entry);
  }

  void convert() {
    for (const ValueInfo& input : graph_.inputs) {
      if (is_float32(input.name)) now_[input.name] = options_.has_fp32_interface ? DType::kFloat32 : half_;
    }
    find_data_nodes();
    find_variance_chains();
    find_box_arithmetic();
    std::vector<Plan> plans;
    plans.reserve(graph_.nodes.size());
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      plans.push_back(plan(i));
      const Node& node = graph_.nodes[i];
      for (std::size_t k = 0; k < node.outputs.size(); ++k) {
        if (plans[i].outputs[k] != DType::kUndefined) now_[node.outputs[k]] = plans[i].outputs[k];
      }
    }
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) count_wants(graph_.nodes[i], plans[i]);
    convert_initializers();
    reuse_widened();
    rewrite(plans);
    fix_declarations();
  }

 private:
  bool is_float32(const std::string& value_name) const {
    return !value_name.empty() && facts_.dtype_of(value_name) == DType::kFloat32;
  }

  /// Large float constants are weights: what touches them computes with the model's data.
  static bool is_weight(const Tensor& tensor) {
    constexpr std::int64_t kSmall = 64;
    if (tensor.dtype() != DType::kFloat32) return is_floating_point(tensor.dtype()) && tensor.num_elements() > kSmall;
    if (tensor.num_elements() > kSmall) return true;
    // A small constant past the range is a mask value ("minus a lot"): in float32 it would become infinite at the Cast.
    const auto values = tensor.as<float>();
    return std::any_of(values.begin(), values.end(),
                       [](float value) { return std::isfinite(value) && std::fabs(value) > kMaxFloat16; });
  }

  /// Nodes that work on the model's data, in distinction to index arithmetic in floats (sizes, grids, positions), which
  /// needs exact integers past 2048 and costs nothing.
  void find_data_nodes() {
    std::unordered_set<std::string> data;
    for (const ValueInfo& input : graph_.inputs) {
      if (is_float32(input.name)) data.insert(input.name);
    }
    is_data_.assign(graph_.nodes.size(), false);
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      const bool reads_shape = node.is("Shape") || node.is("Size");
      bool is_data = has_nested_graphs(node) || node.is("DequantizeLinear") || node.is("QuantizeLinear");
      for (const std::string& input : node.inputs) {
        const Tensor* constant = input.empty() ? nullptr : constants_.find(input);
        is_data = is_data || data.count(input) != 0 || (constant != nullptr && is_weight(*constant));
      }
      is_data_[i] = is_data && !reads_shape;
      // Integers (indices, classes) made of data start index arithmetic of their own.
      if (!is_data_[i]) continue;
      for (const std::string& output : node.outputs) {
        const DType dtype = facts_.dtype_of(output);
        if (dtype == DType::kUndefined || is_floating_point(dtype)) data.insert(output);
      }
    }
  }

  /// x*x or x^2, summed, plus epsilon, to its root: a variance spelled out. Squares overflow from 256 on and epsilon
  /// may round to zero, so the chain stays float32 up to the root.
  void find_variance_chains() {
    is_variance_.assign(graph_.nodes.size(), false);
    const auto next = [&](std::size_t index) -> std::ptrdiff_t {
      const Node& node = graph_.nodes[index];
      if (node.outputs.size() != 1 || uses_.num_uses(node.outputs[0]) != 1) return -1;
      const auto& consumers = uses_.consumers(node.outputs[0]);
      return consumers.size() == 1 ? consumers[0] : -1;
    };
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      const bool is_square = (node.is("Mul") && node.inputs.size() == 2 && node.inputs[0] == node.inputs[1]) ||
                             (node.is("Pow") && node.inputs.size() == 2 && is_number(node.inputs[1], 2));
      if (!is_square) continue;
      const std::ptrdiff_t sum = next(i);
      if (sum < 0) continue;
      const Node& reduction = graph_.nodes[static_cast<std::size_t>(sum)];
      if (!reduction.is("ReduceMean") && !reduction.is("ReduceSum")) continue;
      is_variance_[i] = true;
      is_variance_[static_cast<std::size_t>(sum)] = true;
      for (std::ptrdiff_t at = next(static_cast<std::size_t>(sum)); at >= 0; at = next(static_cast<std::size_t>(at))) {
        const Node& step = graph_.nodes[static_cast<std::size_t>(at)];
        const bool is_root = step.is("Sqrt") || step.is("Pow");
        if (!is_root && !step.is("Add") && !step.is("Clip") && !step.is("Max")) break;
        is_variance_[static_cast<std::size_t>(at)] = true;
        if (is_root) break;
      }
    }
  }

  /// What makes boxes in pixels out of a network's numbers: past 1024 pixels float16 steps by a whole one, which moves
  /// edges and overlaps of small objects. From where boxes are used, back to the products.
  void find_box_arithmetic() {
    static const std::unordered_set<std::string_view> kSteps{"Abs",
                                                             "Add",
                                                             "Cast",
                                                             "Clip",
                                                             "Concat",
                                                             "Div",
                                                             "Exp",
                                                             "Expand",
                                                             "Flatten",
                                                             "Gather",
                                                             "GatherND",
                                                             "Identity",
                                                             "Log",
                                                             "Max",
                                                             "Min",
                                                             "Mul",
                                                             "Neg",
                                                             "Pow",
                                                             "Reshape",
                                                             "Relu",
                                                             "Sigmoid",
                                                             "Slice",
                                                             "Softplus",
                                                             "Split",
                                                             "Sqrt",
                                                             "Squeeze",
                                                             "Sub",
                                                             "Tanh",
                                                             "Tile",
                                                             "Transpose",
                                                             "Unsqueeze",
                                                             "Where",
                                                             "GatherElements",
                                                             "ScatterElements",
                                                             "ScatterND"};
    is_box_.assign(graph_.nodes.size(), false);
    std::unordered_set<std::string> boxes;
    for (std::size_t i = graph_.nodes.size(); i-- > 0;) {
      const Node& node = graph_.nodes[i];
      add_boxes_used(node, boxes);
      const bool makes_boxes = std::any_of(node.outputs.begin(), node.outputs.end(),
                                           [&](const std::string& output) { return boxes.count(output) != 0; });
      if (!makes_boxes || !is_data_[i] || kSteps.count(node.op_type) == 0) continue;
      is_box_[i] = true;
      for (const std::string& input : node.inputs) {
        if (is_float32(input)) boxes.insert(input);
      }
    }
  }

  static void add_boxes_used(const Node& node, std::unordered_set<std::string>& boxes) {
    const bool is_pooling = node.is("RoiAlign") || node.is("MaxRoiPool");
    if (is_pooling && node.inputs.size() > 1) boxes.insert(node.inputs[1]);
    if (node.is("NonMaxSuppression") && !node.inputs.empty()) boxes.insert(node.inputs[0]);
    for (const Graph* body : nested_graphs(node)) {
      // Bodies stay float32 as they are; what they take in for boxes is wanted so too.
      std::unordered_set<std::string> inner;
      for (std::size_t i = body->nodes.size(); i-- > 0;) {
        const Node& step = body->nodes[i];
        add_boxes_used(step, inner);
        const bool makes_boxes = std::any_of(step.outputs.begin(), step.outputs.end(),
                                             [&](const std::string& output) { return inner.count(output) != 0; });
        if (makes_boxes) inner.insert(step.inputs.begin(), step.inputs.end());
      }
      boxes.merge(inner);
    }
  }

  bool is_number(const std::string& value_name, float wanted) const {
    const Tensor* tensor = constants_.find(value_name);
    return tensor != nullptr && tensor->dtype() == DType::kFloat32 && tensor->num_elements() == 1 &&
           tensor->as<float>()[0] == wanted;
  }

  /// Whether the variable of an input or output may be 16 bits wide. For bfloat16 a later version of the operator
  /// counts too: Conv and others list it only since opset 22, while what computes in it has no such border.
  bool allows(const Node& node, const OperatorTypes& types, bool is_input, std::size_t index) {
    const auto variable = is_input ? types.input_variable(index) : types.output_variable(index);
    if (variable.empty()) return false;
    if (types.allows(variable, half_)) return true;
    if (half_ != DType::kBfloat16) return false;
    constexpr std::int64_t kNewest = 1000;
    const OperatorTypes* newest = find_operator_types(node.op_type, kNewest);
    if (newest == nullptr) return false;
    const auto later = is_input ? newest->input_variable(index) : newest->output_variable(index);
    if (later.empty() || !newest->allows(later, half_)) return false;
    num_ahead_of_opset_ += is_input ? 0 : 1;
    return true;
  }

  const char* reason_to_keep(std::size_t index, const OperatorTypes* types) const {
    const Node& node = graph_.nodes[index];
    if (!(node.domain.empty() || node.domain == "ai.onnx") || types == nullptr) return "operators_of_other_domains";
    if (kept_types_.count(node.op_type) != 0 || kept_types_.count(node.name) != 0) return "kept_by_list";
    if (has_nested_graphs(node)) return "control_flow";
    if (node.op_type.find("Sequence") != std::string::npos || node.op_type.starts_with("Optional")) return "sequences";
    if (is_variance_[index]) return "variances";
    if (is_box_[index]) return "boxes_in_pixels";
    if (!is_data_[index]) return "index_arithmetic";
    if ((node.is("QuantizeLinear") || node.is("DequantizeLinear")) && has_tiny_scale(node)) return "tiny_scales";
    return nullptr;
  }

  /// A quantisation scale that 16 bits cannot hold with all their digits.
  bool has_tiny_scale(const Node& node) const {
    const Tensor* scale = node.inputs.size() > 1 ? constants_.find(node.inputs[1]) : nullptr;
    if (scale == nullptr || scale->dtype() != DType::kFloat32) return false;
    WeightConversion losses;
    convert_weight(*scale, half_, losses);
    return losses.num_saturated + losses.num_flushed_to_zero + losses.num_subnormal > 0;
  }

  Plan plan(std::size_t index) {
    const Node& node = graph_.nodes[index];
    Plan plan;
    bool has_float = false;
    for (const std::string& input : node.inputs) {
      plan.inputs.push_back(is_float32(input) ? DType::kFloat32 : DType::kUndefined);
      has_float = has_float || plan.inputs.back() != DType::kUndefined;
    }
    bool gives_float = false;
    for (const std::string& output : node.outputs) {
      plan.outputs.push_back(is_float32(output) ? DType::kFloat32 : DType::kUndefined);
      gives_float = gives_float || plan.outputs.back() != DType::kUndefined;
    }
    if (!has_float && !gives_float) return plan;
    const OperatorTypes* types = find_operator_types(node.op_type, opset_);
    const bool has_unknown = std::any_of(node.inputs.begin(), node.inputs.end(), [&](const std::string& input) {
      return !input.empty() && facts_.dtype_of(input) == DType::kUndefined;
    });
    const char* reason = has_unknown ? "inputs_of_unknown_type" : reason_to_keep(index, types);
    if (reason != nullptr) {
      if (gives_float) kept_counts_[reason] += 1;
      return plan;
    }
    // What gives no floats (comparisons, ArgMax, Shape, a Cast to integers) takes them as they come.
    if (!gives_float && !takes_half(node)) return plan;
    // 16-bit floats that are cast up were meant to be float32 by whoever wrote the model.
    if (node.is("Cast") && !has_float && is_floating_point(facts_.dtype_of(node.inputs[0]))) return plan;
    bool is_any = false;
    for (std::size_t i = 0; i < plan.inputs.size(); ++i) {
      if (plan.inputs[i] == DType::kUndefined || !allows(node, *types, true, i)) continue;
      // Kept as they are: a region and a rate that cost nothing.
      if ((node.is("Resize") || node.is("Dropout")) && i == 1) continue;
      plan.inputs[i] = half_;
      is_any = true;
    }
    for (std::size_t i = 0; i < plan.outputs.size(); ++i) {
      if (plan.outputs[i] == DType::kUndefined) continue;
      plan.outputs[i] = output_type(node, *types, plan, i);
      is_any = is_any || plan.outputs[i] == half_;
    }
    if (gives_float && is_any) num_converted_ += 1;
    return plan;
  }

  DType output_type(const Node& node, const OperatorTypes& types, const Plan& plan, std::size_t index) {
    if (node.is("Cast")) return half_;
    if (node.is("DequantizeLinear")) return plan.inputs.size() > 1 ? plan.inputs[1] : DType::kFloat32;
    const auto variable = types.output_variable(index);
    for (std::size_t i = 0; i < plan.inputs.size(); ++i) {
      if (plan.inputs[i] == half_ && !variable.empty() && types.input_variable(i) == variable) {
        allows(node, types, false, index);
        return half_;
      }
    }
    return DType::kFloat32;
  }

  /// Whether any of the node's float inputs that are no constants is 16 bits wide by now.
  bool takes_half(const Node& node) const {
    return std::any_of(node.inputs.begin(), node.inputs.end(), [&](const std::string& input) {
      const auto found = now_.find(input);
      return found != now_.end() && found->second == half_;
    });
  }

  void count_wants(const Node& node, const Plan& plan) {
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      if (plan.inputs[i] != DType::kUndefined) wants_[node.inputs[i]][plan.inputs[i] == half_ ? 1 : 0] += 1;
    }
  }

  /// Weights that only 16-bit inputs use change in place; those used both ways get a copy.
  void convert_initializers() {
    std::unordered_set<std::string_view> inputs;
    for (const ValueInfo& input : graph_.inputs) inputs.insert(input.name);
    std::vector<Initializer> copies;
    for (Initializer& initializer : graph_.initializers) {
      if (initializer.tensor.dtype() != DType::kFloat32 || inputs.count(initializer.name) != 0) continue;
      now_[initializer.name] = DType::kFloat32;
      const auto wants = wants_.find(initializer.name);
      if (wants == wants_.end() || wants->second[1] == 0) continue;
      WeightConversion losses;
      losses.name = initializer.name;
      Tensor converted = convert_weight(initializer.tensor, half_, losses);
      if (losses.num_saturated + losses.num_flushed_to_zero + losses.num_subnormal > 0) conversions_.push_back(losses);
      report_.count("initializers");
      // Nested graphs and graph outputs use a value without a plan: they see float32.
      const bool is_only_half = wants->second[0] == 0 && uses_.num_uses(initializer.name) == wants->second[1];
      if (is_only_half) {
        initializer.tensor = std::move(converted);
        now_[initializer.name] = half_;
      } else {
        const std::string name = names_.take(initializer.name + "/" + to_string(half_));
        casts_[{initializer.name, half_}] = name;
        copies.push_back(Initializer{name, std::move(converted), {}, {}});
      }
    }
    std::move(copies.begin(), copies.end(), std::back_inserter(graph_.initializers));
  }

  /// A value that was widened from the type to convert to is there in it already.
  void reuse_widened() {
    for (const Node& node : graph_.nodes) {
      if (!node.is("Cast") || node.inputs.size() != 1 || node.outputs.size() != 1) continue;
      const bool is_widening = facts_.dtype_of(node.inputs[0]) == half_ && is_float32(node.outputs[0]);
      if (is_widening) casts_.try_emplace({node.outputs[0], half_}, node.inputs[0]);
    }
  }

  DType now(const std::string& value_name) const {
    const auto found = now_.find(value_name);
    return found != now_.end() ? found->second : DType::kFloat32;
  }

  /// The name under which the value is there in the wanted type; adds a Cast before the current node when needed.
  std::string as(const std::string& value_name, DType wanted, std::vector<Node>& nodes) {
    if (now(value_name) == wanted) return value_name;
    const auto [found, is_new] = casts_.try_emplace({value_name, wanted});
    if (is_new) {
      found->second = names_.take(value_name + "/" + to_string(wanted));
      nodes.push_back(cast_node(value_name, found->second, wanted));
    }
    return found->second;
  }

  Node cast_node(const std::string& from, const std::string& to, DType dtype) {
    Node node;
    node.name = to + "/Cast";
    node.op_type = "Cast";
    node.inputs = {from};
    node.outputs = {to};
    node.set_attribute("to", static_cast<std::int64_t>(dtype));
    report_.count("casts");
    return node;
  }

  void rewrite(std::vector<Plan>& plans) {
    const auto outputs = output_names(graph_);
    std::vector<Node> nodes;
    nodes.reserve(graph_.nodes.size() * 5 / 4);
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      Node& node = graph_.nodes[i];
      const Plan& plan = plans[i];
      for (std::size_t k = 0; k < node.inputs.size(); ++k) {
        if (plan.inputs[k] != DType::kUndefined) node.inputs[k] = as(node.inputs[k], plan.inputs[k], nodes);
      }
      give_captures(node, nodes);
      const bool is_half = std::find(plan.outputs.begin(), plan.outputs.end(), half_) != plan.outputs.end();
      if (is_half &&
          (node.is("Cast") || static_cast<DType>(node.int_attribute("output_dtype", 0)) == DType::kFloat32)) {
        node.set_attribute(node.is("Cast") ? "to" : "output_dtype", static_cast<std::int64_t>(half_));
      }
      std::vector<Node> after;
      for (std::size_t k = 0; k < node.outputs.size(); ++k) {
        if (plan.outputs[k] == DType::kUndefined || outputs.count(node.outputs[k]) == 0) continue;
        const DType wanted = options_.has_fp32_interface ? DType::kFloat32 : half_;
        if (plan.outputs[k] == wanted) continue;
        // The graph output keeps its name and type; the node's own result gets another name.
        const std::string name = node.outputs[k];
        const std::string own = names_.take(name + "/" + to_string(plan.outputs[k]));
        after.push_back(cast_node(own, name, wanted));
        casts_[{name, plan.outputs[k]}] = own;
        now_[name] = wanted;
        node.outputs[k] = own;
      }
      nodes.push_back(std::move(node));
      std::move(after.begin(), after.end(), std::back_inserter(nodes));
    }
    graph_.nodes = std::move(nodes);
  }

  /// Bodies of control flow see captured values as float32.
  void give_captures(Node& node, std::vector<Node>& nodes) {
    for (Graph* body : nested_graphs(node)) {
      Renames renames;
      collect_captures(*body, renames, nodes);
      rename_captures(*body, renames);
    }
  }

  void collect_captures(const Graph& body, Renames& renames, std::vector<Node>& nodes) {
    const auto visit = [&](const std::string& name) {
      const auto found = now_.find(name);
      if (found == now_.end() || found->second != half_ || renames.count(name) != 0) return;
      renames[name] = as(name, DType::kFloat32, nodes);
    };
    for (const Node& node : body.nodes) {
      for (const std::string& input : node.inputs) visit(input);
      for (const Graph* nested : nested_graphs(node)) collect_captures(*nested, renames, nodes);
    }
    for (const ValueInfo& output : body.outputs) visit(output.name);
  }

  void fix_declarations() {
    for (ValueInfo& value : graph_.value_infos) {
      const auto found = now_.find(value.name);
      if (found != now_.end() && value.type && value.type->dtype == DType::kFloat32) value.type->dtype = found->second;
    }
    if (!options_.has_fp32_interface) {
      for (auto* list : {&graph_.inputs, &graph_.outputs}) {
        for (ValueInfo& value : *list) {
          const bool is_plain = value.type && value.type->kind == ValueType::Kind::kTensor;
          if (is_plain && value.type->dtype == DType::kFloat32) value.type->dtype = half_;
        }
      }
    }
    report_.count("nodes", num_converted_);
    for (const auto& [reason, number] : kept_counts_) {
      report_.note(std::to_string(number) + " nodes stay float32: " + reason);
    }
    if (num_ahead_of_opset_ > 0) {
      report_.note(std::to_string(num_ahead_of_opset_) + " nodes compute in " + to_string(half_) + ", which opset " +
                   std::to_string(opset_) + " does not list for them");
    }
  }

  Graph& graph_;
  std::int64_t opset_;
  const PrecisionOptions& options_;
  DType half_;
  const GraphFacts& facts_;
  PassReport& report_;
  std::vector<WeightConversion>& conversions_;
  Constants constants_;
  NameSet names_;
  ValueUses uses_;
  std::unordered_set<std::string> kept_types_;
  std::vector<bool> is_data_;
  std::vector<bool> is_variance_;
  std::vector<bool> is_box_;
  std::unordered_map<std::string, DType> now_;  ///< Type after the conversion, of values that were float32.
  std::unordered_map<std::string, std::array<int, 2>> wants_;  ///< By initializer: float32 and 16-bit inputs.
  std::map<std::pair<std::string, DType>, std::string> casts_;
  std::map<std::string, std::int64_t> kept_counts_;
  std::int64_t num_converted_ = 0;
  std::int64_t num_ahead_of_opset_ = 0;
};

/// Whether the model computes in 16 bits by itself. Weights that are only stored so, behind Casts to float32
/// (docs/language.md), say nothing of that.
bool is_mostly_half(const Graph& graph) {
  const ValueUses uses(graph);
  const auto is_storage = [&](const std::string& name) {
    const std::vector<int>& consumers = uses.consumers(name);
    return !consumers.empty() && uses.num_uses(name) == static_cast<int>(consumers.size()) &&
           std::all_of(consumers.begin(), consumers.end(), [&](int index) {
             const Node& node = graph.nodes[static_cast<std::size_t>(index)];
             return node.is("Cast") && node.int_attribute("to", 0) == static_cast<std::int64_t>(DType::kFloat32);
           });
  };
  std::int64_t num_half = 0;
  std::int64_t num_full = 0;
  for (const Initializer& initializer : graph.initializers) {
    const DType dtype = initializer.tensor.dtype();
    if (dtype == DType::kFloat32) num_full += initializer.tensor.num_elements();
    if (dtype != DType::kFloat16 && dtype != DType::kBfloat16) continue;
    if (!is_storage(initializer.name)) num_half += initializer.tensor.num_elements();
  }
  return num_half > num_full;
}

}  // namespace

PassReport convert_precision(Model& model, const PrecisionOptions& options,
                             std::vector<WeightConversion>* conversions) {
  PassReport report{std::string("conversion_to_") + to_string(options.dtype), 0, {}, {}};
  if (options.dtype != DType::kFloat16 && options.dtype != DType::kBfloat16) {
    throw Error(ErrorKind::kUsage, std::string("a conversion to ") + to_string(options.dtype) + " is not possible", {},
                "choose float16 or bfloat16");
  }
  if (is_mostly_half(model.graph)) {
    report.note("most weights are 16 bits wide already: the types stay as the model has them");
    return report;
  }
  std::vector<WeightConversion> losses;
  const auto facts = infer_facts(model);
  Converter(model, options, *facts, report, losses).convert();
  std::stable_sort(losses.begin(), losses.end(), [](const WeightConversion& a, const WeightConversion& b) {
    return std::pair(a.num_saturated, a.num_flushed_to_zero) > std::pair(b.num_saturated, b.num_flushed_to_zero);
  });
  WeightConversion total;
  for (const WeightConversion& loss : losses) {
    total.num_saturated += loss.num_saturated;
    total.num_flushed_to_zero += loss.num_flushed_to_zero;
  }
  if (total.num_saturated > 0) {
    report.note(std::to_string(total.num_saturated) + " weights past the range became its largest value, most in '" +
                losses[0].name + "' (" + std::to_string(losses[0].num_saturated) + ", largest " +
                std::to_string(losses[0].max_magnitude) + ")");
  }
  if (total.num_flushed_to_zero > 0) {
    report.note(std::to_string(total.num_flushed_to_zero) + " weights too small for the type became zero");
  }
  if (conversions != nullptr) *conversions = std::move(losses);
  return report;
}

}  // namespace pajamas
