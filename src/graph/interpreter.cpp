// Dispatch of single nodes and the walk over a whole graph. See interpreter.h.
#include "graph/interpreter.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "graph/interpreter/support.h"
#include "graph/operator_types.h"

namespace pajamas {
namespace {

using interpreter::Call;
using interpreter::KernelEntry;

bool is_default_domain(const Node& node) { return node.domain.empty() || node.domain == "ai.onnx"; }

const KernelEntry* find_kernel(const Node& node) {
  if (!is_default_domain(node)) return nullptr;
  const auto& table = interpreter::kernels();
  const auto found = table.find(node.op_type);
  return found == table.end() ? nullptr : &found->second;
}

bool is_half(DType dtype) { return dtype == DType::kFloat16 || dtype == DType::kBfloat16; }

/// Inputs that share a type variable must be of one type; the widening below would hide a mix.
void check_types(const Call& call) {
  const OperatorTypes* types = find_operator_types(call.node.op_type, call.opset);
  if (types == nullptr) return;
  for (std::size_t i = 0; i < call.inputs.size(); ++i) {
    if (call.inputs[i] == nullptr) continue;
    const auto variable = types->input_variable(i);
    for (std::size_t k = 0; k < i && !variable.empty(); ++k) {
      if (call.inputs[k] == nullptr || types->input_variable(k) != variable) continue;
      if (call.inputs[k]->dtype() != call.inputs[i]->dtype()) {
        call.fail(std::string("inputs of types ") + to_string(call.inputs[k]->dtype()) + " and " +
                  to_string(call.inputs[i]->dtype()) + " are mixed");
      }
      break;
    }
  }
}

std::vector<Tensor> evaluate_widened(const KernelEntry& entry, const Call& call) {
  std::vector<Tensor> wide(call.inputs.size());
  std::vector<const Tensor*> inputs(call.inputs.begin(), call.inputs.end());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] == nullptr || !is_half(inputs[i]->dtype())) continue;
    wide[i] = interpreter::widened(*inputs[i]);
    inputs[i] = &wide[i];
  }
  std::vector<Tensor> outputs = entry.kernel(Call{call.node, inputs, call.opset, call.max_output_bytes});
  // Other inputs may be of other types (the exponent of Pow, the parameters of a norm), other outputs are wider (the
  // statistics of a norm) or integers.
  const DType first = call.inputs.empty() || call.inputs[0] == nullptr ? DType::kUndefined : call.inputs[0]->dtype();
  if (is_half(first) && outputs.at(0).dtype() == DType::kFloat32) {
    outputs[0] = interpreter::narrowed(outputs[0], first);
  }
  return outputs;
}

/// Runs a graph and the graphs nested in it. Values of outer graphs are found through `outer`.
class Runner {
 public:
  Runner(const Model& model, const RunOptions& options, const Graph& graph, const Runner* outer)
      : model_(model), options_(options), graph_(graph), outer_(outer) {
    for (const Initializer& initializer : graph.initializers) values_[initializer.name] = initializer.tensor;
  }

  void set(const std::string& name, Tensor tensor) { values_[name] = std::move(tensor); }

  const Tensor* find(const std::string& name) const {
    const auto found = values_.find(name);
    if (found != values_.end()) return &found->second;
    return outer_ != nullptr ? outer_->find(name) : nullptr;
  }

  const Tensor& get(const std::string& name, const Node* node) const {
    if (const Tensor* tensor = find(name)) return *tensor;
    throw Error(ErrorKind::kBadInput, "no node, input or initializer gives the value '" + name + "'",
                node != nullptr ? node->describe() : "graph outputs");
  }

  void run() {
    const bool keeps_all = outer_ == nullptr && options_.has_all_values;
    // After which node each value may go. Nested graphs may use any value at their node, so it counts there.
    std::unordered_map<std::string, std::size_t> last_use;
    if (!keeps_all) {
      for (std::size_t i = 0; i < graph_.nodes.size(); ++i) note_uses(graph_.nodes[i], i, last_use);
      for (const ValueInfo& output : graph_.outputs) last_use[output.name] = graph_.nodes.size();
    }
    std::vector<std::vector<const std::string*>> dying(graph_.nodes.size() + 1);
    for (const auto& [name, index] : last_use) dying[index].push_back(&name);
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (options_.cancel != nullptr) options_.cancel->check("Interpreting");
      const Node& node = graph_.nodes[i];
      std::vector<Tensor> outputs = evaluate(node);
      for (std::size_t k = 0; k < node.outputs.size() && k < outputs.size(); ++k) {
        if (node.outputs[k].empty()) continue;
        if (!keeps_all && last_use.find(node.outputs[k]) == last_use.end()) continue;
        values_[node.outputs[k]] = std::move(outputs[k]);
      }
      for (const std::string* name : dying[i]) values_.erase(*name);
    }
  }

  std::vector<Tensor> outputs() const {
    std::vector<Tensor> result;
    for (const ValueInfo& output : graph_.outputs) result.push_back(get(output.name, nullptr));
    return result;
  }

  const std::unordered_map<std::string, Tensor>& values() const { return values_; }

 private:
  static void note_uses(const Node& node, std::size_t index, std::unordered_map<std::string, std::size_t>& last_use) {
    for (const std::string& input : node.inputs) last_use[input] = index;
    for (const Attribute& attribute : node.attributes) {
      const auto* nested = std::get_if<std::shared_ptr<Graph>>(&attribute.value);
      if (nested == nullptr || *nested == nullptr) continue;
      for (const Node& inner : (*nested)->nodes) note_uses(inner, index, last_use);
      for (const ValueInfo& output : (*nested)->outputs) last_use[output.name] = index;
    }
  }

  const Graph& body(const Node& node, const char* name) const {
    const Attribute* attribute = node.find_attribute(name);
    const auto* graph = attribute != nullptr ? std::get_if<std::shared_ptr<Graph>>(&attribute->value) : nullptr;
    if (graph == nullptr || *graph == nullptr) {
      throw Error(ErrorKind::kBadInput, std::string("attribute '") + name + "' holds no graph", node.describe());
    }
    return **graph;
  }

  std::vector<Tensor> evaluate(const Node& node) {
    std::vector<const Tensor*> inputs;
    for (const std::string& input : node.inputs) inputs.push_back(input.empty() ? nullptr : &get(input, &node));
    if (node.is("If")) return run_if(node, inputs);
    if (node.is("Loop")) return run_loop(node, inputs);
    if (node.is("Scan")) return run_scan(node, inputs);
    return evaluate_node(node, inputs, opset_, options_.limits);
  }

  std::vector<Tensor> run_if(const Node& node, const std::vector<const Tensor*>& inputs) {
    const Call call{node, inputs, opset_, options_.limits.max_output_bytes};
    const bool is_true = interpreter::read_number(call, call.input(0)) != 0;
    Runner branch(model_, options_, body(node, is_true ? "then_branch" : "else_branch"), this);
    branch.run();
    return branch.outputs();
  }

  /// Joins the per-iteration tensors along a new axis `axis`.
  Tensor stack(const Call& call, const std::vector<Tensor>& parts, bool is_reversed) const {
    std::vector<Tensor> rows;
    for (const Tensor& part : parts) {
      Shape shape({1});
      for (const std::int64_t extent : part.shape()) shape.push_back(extent);
      rows.push_back(part.reshaped(shape));
    }
    if (is_reversed) std::reverse(rows.begin(), rows.end());
    std::vector<const Tensor*> inputs;
    for (const Tensor& row : rows) inputs.push_back(&row);
    Node concat;
    concat.op_type = "Concat";
    concat.name = call.node.name;
    concat.set_attribute("axis", std::int64_t{0});
    return evaluate_node(concat, inputs, opset_, options_.limits)[0];
  }

  std::vector<Tensor> run_loop(const Node& node, const std::vector<const Tensor*>& inputs) {
    const Call call{node, inputs, opset_, options_.limits.max_output_bytes};
    const Graph& graph = body(node, "body");
    const std::size_t num_carried = inputs.size() < 2 ? 0 : inputs.size() - 2;
    if (graph.inputs.size() != num_carried + 2 || graph.outputs.size() < num_carried + 1) {
      call.fail("the body does not fit the inputs");
    }
    std::optional<std::int64_t> limit;
    // Not by way of a double: "until the condition fails" is written as the largest integer, which no double is.
    if (const Tensor* trips = call.optional_input(0)) {
      const auto values = interpreter::read_integers(call, *trips);
      call.require(values.size() == 1, "one trip count is wanted");
      limit = values[0];
    }
    bool is_going = call.optional_input(1) == nullptr || interpreter::read_number(call, call.input(1)) != 0;
    std::vector<Tensor> carried;
    for (std::size_t i = 0; i < num_carried; ++i) carried.push_back(call.input(i + 2));
    std::vector<std::vector<Tensor>> scanned(graph.outputs.size() - num_carried - 1);
    for (std::int64_t trip = 0; is_going && (!limit || trip < *limit); ++trip) {
      Runner iteration(model_, options_, graph, this);
      iteration.set(graph.inputs[0].name, Tensor::scalar(trip));
      iteration.set(graph.inputs[1].name, Tensor::of<bool>({}, {is_going}));
      for (std::size_t i = 0; i < num_carried; ++i) iteration.set(graph.inputs[i + 2].name, carried[i]);
      iteration.run();
      std::vector<Tensor> results = iteration.outputs();
      is_going = interpreter::read_number(call, results[0]) != 0;
      for (std::size_t i = 0; i < num_carried; ++i) carried[i] = results[i + 1];
      for (std::size_t i = 0; i < scanned.size(); ++i) scanned[i].push_back(results[num_carried + 1 + i]);
    }
    for (const auto& parts : scanned) {
      if (parts.empty()) call.unsupported("a Loop that stacks no iteration");
      carried.push_back(stack(call, parts, false));
    }
    return carried;
  }

  std::vector<Tensor> run_scan(const Node& node, const std::vector<const Tensor*>& inputs) {
    const Call call{node, inputs, opset_, options_.limits.max_output_bytes};
    if (opset_ < 9) call.unsupported("Scan before opset 9");
    const Graph& graph = body(node, "body");
    const std::int64_t num_scanned = node.int_attribute("num_scan_inputs", 0);
    if (num_scanned < 1 || num_scanned > static_cast<std::int64_t>(inputs.size()) ||
        graph.inputs.size() != inputs.size()) {
      call.fail("the body does not fit the inputs");
    }
    for (const char* name : {"scan_input_axes", "scan_output_axes"}) {
      for (const std::int64_t axis : node.ints_attribute(name)) {
        if (axis != 0) call.unsupported("a Scan along another axis than 0");
      }
    }
    const std::size_t num_state = inputs.size() - static_cast<std::size_t>(num_scanned);
    auto input_directions = node.ints_attribute("scan_input_directions");
    input_directions.resize(static_cast<std::size_t>(num_scanned), 0);
    std::vector<Tensor> state;
    for (std::size_t i = 0; i < num_state; ++i) state.push_back(call.input(i));
    call.require(call.input(num_state).shape().rank() > 0, "a scanned input must have an axis");
    const std::int64_t length = call.input(num_state).shape()[0];
    if (graph.outputs.size() < num_state) call.fail("the body gives too few outputs");
    std::vector<std::vector<Tensor>> scanned(graph.outputs.size() - num_state);
    for (std::int64_t step = 0; step < length; ++step) {
      Runner iteration(model_, options_, graph, this);
      for (std::size_t i = 0; i < num_state; ++i) iteration.set(graph.inputs[i].name, state[i]);
      for (std::size_t i = num_state; i < inputs.size(); ++i) {
        const Tensor& in = call.input(i);
        call.require(in.shape().rank() > 0 && in.shape()[0] == length, "scanned inputs are of different lengths");
        const std::int64_t at = input_directions[i - num_state] != 0 ? length - 1 - step : step;
        Shape shape;
        for (std::size_t k = 1; k < in.shape().rank(); ++k) shape.push_back(in.shape()[k]);
        const auto strides = interpreter::strides_of(shape);
        iteration.set(graph.inputs[i].name,
                      interpreter::strided_copy(call, in, shape, strides, at * shape.num_elements()));
      }
      iteration.run();
      std::vector<Tensor> results = iteration.outputs();
      for (std::size_t i = 0; i < num_state; ++i) state[i] = results[i];
      for (std::size_t i = 0; i < scanned.size(); ++i) scanned[i].push_back(results[num_state + i]);
    }
    auto output_directions = node.ints_attribute("scan_output_directions");
    output_directions.resize(scanned.size(), 0);
    for (std::size_t i = 0; i < scanned.size(); ++i) {
      if (scanned[i].empty()) call.unsupported("a Scan over nothing");
      state.push_back(stack(call, scanned[i], output_directions[i] != 0));
    }
    return state;
  }

  const Model& model_;
  const RunOptions& options_;
  const Graph& graph_;
  const Runner* outer_;
  std::int64_t opset_ = model_.opset_of("").value_or(0);
  std::unordered_map<std::string, Tensor> values_;
};

}  // namespace

bool can_evaluate(const Node& node, std::int64_t opset) {
  return opset >= 7 && !node.outputs.empty() && find_kernel(node) != nullptr;
}

std::vector<Tensor> evaluate_node(const Node& node, std::span<const Tensor* const> inputs, std::int64_t opset,
                                  const EvaluationLimits& limits) {
  const KernelEntry* entry = find_kernel(node);
  if (entry == nullptr) {
    throw Error(ErrorKind::kUnsupported, "the interpreter does not know the operator", node.describe());
  }
  const Call call{node, inputs, opset, limits.max_output_bytes};
  check_types(call);
  std::vector<Tensor> outputs;
  try {
    outputs = entry->is_half_widened ? evaluate_widened(*entry, call) : entry->kernel(call);
  } catch (const Error& error) {
    // Shapes and tensors do not know for which node they are made.
    if (error.where().empty()) throw error.with_context(node.describe());
    throw;
  }
  outputs.resize(std::max(outputs.size(), node.outputs.size()));
  for (std::size_t i = 0; i < node.outputs.size(); ++i) {
    if (!node.outputs[i].empty() && outputs[i].dtype() == DType::kUndefined) {
      call.unsupported("output " + std::to_string(i) + " of this operator");
    }
  }
  return outputs;
}

std::map<std::string, Tensor> run_graph(const Model& model, const std::map<std::string, Tensor>& inputs,
                                        const RunOptions& options) {
  Runner runner(model, options, model.graph, nullptr);
  for (const ValueInfo* input : model.graph.required_inputs()) {
    if (inputs.find(input->name) == inputs.end()) {
      throw Error(ErrorKind::kUsage, "no value is given for the input '" + input->name + "'");
    }
  }
  for (const auto& [name, tensor] : inputs) runner.set(name, tensor);
  runner.run();
  std::map<std::string, Tensor> result;
  if (options.has_all_values) {
    result.insert(runner.values().begin(), runner.values().end());
  } else {
    for (const ValueInfo& output : model.graph.outputs) result[output.name] = runner.get(output.name, nullptr);
  }
  return result;
}

}  // namespace pajamas
