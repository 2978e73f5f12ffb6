// The check of a model. See checker.h.
#include "graph/checker.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "graph/checker_names.h"
#include "graph/checker_weights.h"
#include "graph/nested_graphs.h"
#include "graph/operator_table.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

using Opsets = std::vector<std::pair<std::string, std::int64_t>>;

/// Domains whose operators have no table here; targets decide on each operator by name.
constexpr std::string_view kForeignDomains[] = {"com.microsoft", "com.microsoft.nchwc"};

const char* const kExportAgain = "export the model again, with a current exporter";

[[noreturn]] void bad(const std::string& message, const std::string& where, const std::string& remedy = kExportAgain) {
  throw Error(ErrorKind::kBadInput, message, where, remedy);
}

[[noreturn]] void unsupported(const std::string& message, const std::string& where, const std::string& remedy) {
  throw Error(ErrorKind::kUnsupported, message, where, remedy);
}

std::string_view canonical(std::string_view domain) { return domain == "ai.onnx" ? std::string_view() : domain; }

std::optional<std::int64_t> version_of(const Opsets& opsets, std::string_view domain) {
  for (const auto& [name, version] : opsets) {
    if (canonical(name) == canonical(domain)) return version;
  }
  return std::nullopt;
}

bool has_outputs(const Node& node) {
  return std::any_of(node.outputs.begin(), node.outputs.end(), [](const auto& name) { return !name.empty(); });
}

/// Values visible at a point of a graph: its own and, through `outer`, those of the graphs around it.
struct Scope {
  const Scope* outer = nullptr;
  std::unordered_set<std::string_view> names;
  std::unordered_map<std::string_view, KnownShape> shapes;

  bool has(std::string_view name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->outer) {
      if (scope->names.count(name) > 0) return true;
    }
    return false;
  }
  KnownShape shape_of(std::string_view name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->outer) {
      if (scope->names.count(name) == 0) continue;
      const auto found = scope->shapes.find(name);
      return found == scope->shapes.end() ? std::nullopt : found->second;
    }
    return std::nullopt;
  }
};

/// Size of a piece of graph with its function calls seen through.
struct Extent {
  std::int64_t num_nodes = 0;
  int nesting_depth = 0;
};

class Checker {
 public:
  Checker(const Model& model, const CheckLimits& limits) : model_(model), limits_(limits) {}
  ModelFacts check();

 private:
  using FunctionKey = std::tuple<std::string_view, std::string_view, std::string_view>;
  static FunctionKey key_of(const Node& node) { return {canonical(node.domain), node.op_type, node.overload}; }
  static std::string describe(const Function& function) {
    return "function '" + (function.domain.empty() ? "" : function.domain + ".") + function.name + "'";
  }

  void check_opsets(const Opsets& opsets, const std::string& where) const;
  void check_functions();
  void collect_attribute_types(const Function& function, const std::vector<Node>& nodes);
  void check_function_body(const Function& function);
  Extent extent_of_function(const Function& function);
  Extent extent_of_nodes(const std::vector<Node>& nodes);
  Extent extent_of_graph(const Graph& graph);

  void check_graph(const Graph& graph, const Scope* outer, const Opsets& opsets, const Function* function);
  void check_interface(const Graph& graph, bool is_main, Scope& scope);
  void check_value_info(const ValueInfo& value, const char* role, bool needs_type) const;
  void check_type(const ValueType& type, const std::string& where, bool needs_dtype) const;
  void check_initializers(const Graph& graph, Scope& scope);
  void check_sparse(const SparseTensor& sparse, const std::string& where) const;
  void check_nodes(const std::vector<Node>& nodes, Scope& scope, const Opsets& opsets, const Function* function);
  void check_node(const Node& node, const Scope& scope, const Opsets& opsets, const Function* function);
  void check_operator(const Node& node, const Opsets& opsets);
  void check_schema(const Node& node, const OperatorSchema& schema) const;
  void check_call(const Node& node, const Function& function) const;
  void check_passed_type(const Attribute& attribute, const Function& function, const std::string& where) const;
  void check_attribute(const Node& node, const Attribute& attribute, const Function* function) const;
  void check_control_flow(const Node& node) const;
  [[noreturn]] void fail_undefined(const std::vector<Node>& nodes, std::size_t index, const std::string& input) const;

  const Model& model_;
  const CheckLimits& limits_;
  ModelFacts facts_;
  std::set<std::string> foreign_;
  std::map<FunctionKey, const Function*> functions_;
  std::map<const Function*, Extent> extents_;
  /// As what the body of a function uses its attributes: ONNX number of the type, by name.
  std::map<const Function*, std::map<std::string_view, int>> attribute_types_;
  std::vector<const Function*> call_chain_;
};

/// ONNX number of the type of an attribute's value.
int type_of(const Attribute& attribute) {
  if (!attribute.ref_attr_name.empty()) return attribute.ref_type;
  // By the alternatives of AttributeValue: none, float, int, string, tensor, graph, sparse tensor, type, and lists.
  constexpr int numbers[] = {0, 1, 2, 3, 4, 5, 11, 13, 6, 7, 8, 9, 10, 12, 14};
  static_assert(std::variant_size_v<AttributeValue> == std::size(numbers));
  return numbers[attribute.value.index()];
}

ModelFacts Checker::check() {
  facts_.ir_version = model_.ir_version;
  if (model_.ir_version < kOldestIrVersion) {
    unsupported("has ONNX IR version " + std::to_string(model_.ir_version) + ", older than version " +
                    std::to_string(kOldestIrVersion),
                "", kExportAgain);
  }
  if (model_.ir_version > kNewestIrVersion) {
    unsupported("has ONNX IR version " + std::to_string(model_.ir_version) + ", newer than version " +
                    std::to_string(kNewestIrVersion) + ", the newest known",
                "", "export the model for an older ONNX release");
  }
  if (model_.opset_imports.empty()) bad("declares no opset", "");
  check_opsets(model_.opset_imports, "");
  facts_.opset = version_of(model_.opset_imports, "").value_or(0);
  facts_.weight_bytes = weight_bytes(model_.graph);

  check_functions();
  // Sizes first: what follows recurses into nested graphs.
  const Extent extent = extent_of_graph(model_.graph);
  facts_.num_nodes = extent.num_nodes;
  facts_.nesting_depth = extent.nesting_depth;
  for (const Function& function : model_.functions) check_function_body(function);
  check_graph(model_.graph, nullptr, model_.opset_imports, nullptr);
  facts_.foreign_operators.assign(foreign_.begin(), foreign_.end());
  return std::move(facts_);
}

void Checker::check_opsets(const Opsets& opsets, const std::string& where) const {
  std::set<std::string_view> seen;
  for (const auto& [domain, version] : opsets) {
    check_name(domain, "an opset domain", where);
    const std::string name = canonical(domain).empty() ? "opset " : "opset '" + domain + "' ";
    if (!seen.insert(canonical(domain)).second) bad("declares " + name + "twice", where);
    const std::int64_t newest = newest_opset(domain);
    if (newest == 0) continue;
    if (canonical(domain).empty() && version < kOldestOpset) {
      unsupported("declares opset " + std::to_string(version) + "; opset " + std::to_string(kOldestOpset) +
                      " is the oldest that is supported",
                  where, "export the model again with opset 17 or so, or convert it with onnx.version_converter");
    }
    if (version < 1) bad("declares " + name + std::to_string(version), where);
    if (version > newest) {
      unsupported("declares " + name + std::to_string(version) + "; " + std::to_string(newest) + " is the newest known",
                  where, "export the model again with an older opset");
    }
  }
}

void Checker::check_functions() {
  for (const Function& function : model_.functions) {
    check_name(function.name, "a function", "");
    check_name(function.domain, "a function's domain", "");
    if (function.name.empty()) bad("a function has no name", "");
    if (!functions_.emplace(FunctionKey{canonical(function.domain), function.name, function.overload}, &function)
             .second) {
      bad("is defined twice", describe(function));
    }
    check_opsets(function.opset_imports, describe(function));
  }
  for (const Function& function : model_.functions) {
    extent_of_function(function);
    collect_attribute_types(function, function.nodes);
  }
}

Extent Checker::extent_of_function(const Function& function) {
  if (const auto known = extents_.find(&function); known != extents_.end()) return known->second;
  if (const auto begin = std::find(call_chain_.begin(), call_chain_.end(), &function); begin != call_chain_.end()) {
    std::string chain;
    for (auto caller = begin; caller != call_chain_.end(); ++caller) chain += (*caller)->name + " calls ";
    bad("calls itself (" + chain + function.name + "), which ONNX does not allow", describe(function),
        "unroll the recursion when exporting");
  }
  if (static_cast<int>(call_chain_.size()) >= limits_.max_call_depth) {
    unsupported("functions call one another more than " + std::to_string(limits_.max_call_depth) + " deep",
                describe(function), "inline the functions (onnx.inliner) before importing");
  }
  call_chain_.push_back(&function);
  const Extent extent = extent_of_nodes(function.nodes);
  call_chain_.pop_back();
  extents_.emplace(&function, extent);
  return extent;
}

Extent Checker::extent_of_nodes(const std::vector<Node>& nodes) {
  Extent total;
  const auto add = [&](std::int64_t count) {
    // Function calls multiply, so the sum is capped, not trusted to fit.
    total.num_nodes = std::min(total.num_nodes + count, std::numeric_limits<std::int64_t>::max() / 4);
  };
  for (const Node& node : nodes) {
    if (const auto called = functions_.find(key_of(node)); called != functions_.end()) {
      const Extent inner = extent_of_function(*called->second);
      add(inner.num_nodes);
      total.nesting_depth = std::max(total.nesting_depth, inner.nesting_depth);
    } else {
      add(1);
    }
    for_each_nested_graph(node, [&](const std::shared_ptr<Graph>& nested) {
      const Graph& graph = *nested;
      const Extent inner = extent_of_graph(graph);
      add(inner.num_nodes);
      total.nesting_depth = std::max(total.nesting_depth, inner.nesting_depth + 1);
    });
    if (total.num_nodes > limits_.max_nodes) {
      unsupported("has more than " + std::to_string(limits_.max_nodes) + " nodes, function calls seen through", "",
                  "split the model, or export loops as Loop or Scan instead of unrolling them");
    }
    if (total.nesting_depth > limits_.max_nesting_depth) {
      unsupported("nests graphs more than " + std::to_string(limits_.max_nesting_depth) + " deep", node.describe(),
                  "simplify the control flow (If, Loop, Scan) of the model, for instance with onnxsim");
    }
  }
  return total;
}

Extent Checker::extent_of_graph(const Graph& graph) { return extent_of_nodes(graph.nodes); }

void Checker::collect_attribute_types(const Function& function, const std::vector<Node>& nodes) {
  auto& types = attribute_types_[&function];
  for (const Node& node : nodes) {
    for (const Attribute& attribute : node.attributes) {
      if (attribute.ref_attr_name.empty()) continue;
      const auto [known, is_new] = types.emplace(attribute.ref_attr_name, attribute.ref_type);
      if (!is_new && known->second != attribute.ref_type) {
        bad("uses its attribute '" + attribute.ref_attr_name + "' as " + attribute_type_name(known->second) +
                " and as " + attribute_type_name(attribute.ref_type),
            describe(function));
      }
    }
    for_each_nested_graph(
        node, [&](const std::shared_ptr<Graph>& nested) { collect_attribute_types(function, nested->nodes); });
  }
}

void Checker::check_function_body(const Function& function) {
  const std::string where = describe(function);
  Scope scope;
  for (const std::string& input : function.inputs) {
    check_name(input, "an input", where);
    if (!scope.names.insert(input).second) bad("has the input '" + input + "' twice", where);
  }
  std::set<std::string_view> attributes;
  for (const std::string& name : function.attribute_names) {
    check_name(name, "an attribute", where);
    if (!attributes.insert(name).second) bad("has the attribute '" + name + "' twice", where);
  }
  for (const Attribute& attribute : function.attributes) {
    if (!attributes.insert(attribute.name).second) bad("has the attribute '" + attribute.name + "' twice", where);
    check_passed_type(attribute, function, where);
  }
  try {
    // Inlining makes them declarations of the graph, which must hold then.
    for (const ValueInfo& value : function.value_infos) check_value_info(value, "value", false);
    check_nodes(function.nodes, scope, function.opset_imports, &function);
  } catch (const Error& error) {
    throw error.with_context(where);
  }
  for (const std::string& output : function.outputs) {
    if (!scope.has(output)) bad("does not compute its output '" + output + "'", where);
  }
}

void Checker::check_graph(const Graph& graph, const Scope* outer, const Opsets& opsets, const Function* function) {
  const bool is_main = outer == nullptr && function == nullptr;
  Scope scope;
  scope.outer = outer;
  check_interface(graph, is_main, scope);
  check_initializers(graph, scope);
  check_nodes(graph.nodes, scope, opsets, function);
  std::unordered_set<std::string_view> seen;
  for (const ValueInfo& output : graph.outputs) {
    const std::string where = "output '" + output.name + "'";
    if (output.name.empty()) bad("a graph output has no name", "");
    if (!scope.has(output.name)) bad("is not computed by any node", where);
    if (!seen.insert(output.name).second) bad("is declared twice", where);
  }
}

void Checker::check_interface(const Graph& graph, bool is_main, Scope& scope) {
  check_name(graph.name, "the graph", "");
  std::unordered_set<std::string_view> constants;
  for (const Initializer& initializer : graph.initializers) constants.insert(initializer.name);
  for (const ValueInfo& input : graph.inputs) {
    if (input.name.empty()) bad("a graph input has no name", "");
    check_value_info(input, "input", is_main && constants.count(input.name) == 0);
    if (!scope.names.insert(input.name).second) bad("is declared twice", "input '" + input.name + "'");
    if (input.type && input.type->kind == ValueType::Kind::kTensor && input.type->shape) {
      std::vector<std::int64_t> extents;
      for (const Dimension& dimension : *input.type->shape) {
        extents.push_back(dimension.is_known() ? dimension.extent() : -1);
      }
      scope.shapes[input.name] = std::move(extents);
    }
  }
  if (is_main && graph.outputs.empty()) {
    bad("has no outputs, so there is nothing to compute", "", "export the model again with its outputs named");
  }
  for (const ValueInfo& output : graph.outputs) check_value_info(output, "output", false);
  for (const ValueInfo& value : graph.value_infos) check_value_info(value, "value", false);
}

void Checker::check_value_info(const ValueInfo& value, const char* role, bool needs_type) const {
  const std::string where = std::string(role) + " '" + printable(value.name) + "'";
  check_name(value.name, role, "");
  if (value.type) {
    check_type(*value.type, where, needs_type);
  } else if (needs_type) {
    bad("has no type", where);
  }
}

void Checker::check_type(const ValueType& type, const std::string& where, bool needs_dtype) const {
  const bool is_tensor = type.kind == ValueType::Kind::kTensor || type.kind == ValueType::Kind::kSparseTensor;
  if (is_tensor || type.kind == ValueType::Kind::kMap) {
    const bool is_known = type.dtype == DType::kString || bits_of(type.dtype) != 0;
    if (!is_known && (needs_dtype || type.dtype != DType::kUndefined)) {
      unsupported("has element type " + std::to_string(static_cast<int>(type.dtype)) + ", which is not known", where,
                  "export the model with standard ONNX element types");
    }
  }
  // Element types nest through pointers, so this loop needs no limit of its own: the reader limits the depth.
  if (type.element) check_type(*type.element, where, needs_dtype);
  if (!type.shape) return;
  std::int64_t total = 1;
  for (const Dimension& dimension : *type.shape) {
    if (const auto* name = std::get_if<std::string>(&dimension.value)) check_name(*name, "a dimension", where);
    if (!dimension.is_known()) continue;
    const std::int64_t extent = dimension.extent();
    if (extent < 0) {
      bad("declares the extent " + std::to_string(extent) + " in " + type.to_string(), where,
          "export the model again, with a named dimension where the extent is not fixed");
    }
    if (extent > limits_.max_extent || (extent > 0 && __builtin_mul_overflow(total, extent, &total))) {
      bad("declares " + type.to_string() + ", which is larger than any tensor can be", where);
    }
  }
}

void Checker::check_initializers(const Graph& graph, Scope& scope) {
  std::unordered_map<std::string_view, const ValueInfo*> inputs;
  for (const ValueInfo& input : graph.inputs) inputs.emplace(input.name, &input);
  std::unordered_set<std::string_view> seen;
  const auto add = [&](const std::string& name, const std::vector<std::int64_t>& extents) {
    check_name(name, "an initializer", "");
    if (name.empty()) bad("an initializer has no name", "");
    if (!seen.insert(name).second) bad("is defined twice", "initializer '" + name + "'");
    // An initializer may carry the name of a graph input: it is then the input's default.
    scope.names.insert(name);
    scope.shapes[name] = extents;
  };
  for (const Initializer& initializer : graph.initializers) {
    const Tensor& tensor = initializer.tensor;
    const std::string where = "initializer '" + printable(initializer.name) + "'";
    if (tensor.dtype() == DType::kUndefined) bad("has no value", where);
    try {
      const bool is_string = tensor.dtype() == DType::kString;
      const std::size_t found = is_string ? tensor.strings().size() : tensor.size_bytes();
      const std::size_t wanted =
          is_string ? static_cast<std::size_t>(tensor.num_elements()) : bytes_of(tensor.dtype(), tensor.shape());
      if (found != wanted) bad("holds less or more data than its shape " + tensor.shape().to_string() + " says", "");
    } catch (const Error& error) {
      throw error.with_context(where);
    }
    add(initializer.name, tensor.shape().extents());
    const auto input = inputs.find(initializer.name);
    if (input != inputs.end() && input->second->type && input->second->type->dtype != tensor.dtype()) {
      bad("is declared as " + input->second->type->to_string() + " but holds " + to_string(tensor.dtype()), where);
    }
  }
  for (const SparseTensor& sparse : graph.sparse_initializers) {
    check_sparse(sparse, "sparse initializer '" + printable(sparse.name) + "'");
    add(sparse.name, sparse.shape.extents());
  }
}

void Checker::check_sparse(const SparseTensor& sparse, const std::string& where) const {
  const std::int64_t num_elements = sparse.shape.num_elements();
  const std::size_t rank = sparse.shape.rank();
  const Shape& values = sparse.values.shape();
  const Shape& indices = sparse.indices.shape();
  if (values.rank() != 1) bad("has values of shape " + values.to_string() + " where a list is needed", where);
  const bool is_linear = indices.rank() == 1;
  const bool fits = sparse.indices.dtype() == DType::kInt64 && indices.rank() >= 1 && indices.rank() <= 2 &&
                    indices[0] == values[0] && (is_linear || indices[1] == static_cast<std::int64_t>(rank));
  if (!fits) bad("has indices of shape " + indices.to_string() + " that do not fit its values", where);
  const auto numbers = sparse.indices.as<std::int64_t>();
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const std::int64_t limit = is_linear ? num_elements : sparse.shape[i % rank];
    if (numbers[i] < 0 || numbers[i] >= limit) {
      bad("has the index " + std::to_string(numbers[i]) + " outside its shape " + sparse.shape.to_string(), where);
    }
  }
}

void Checker::check_nodes(const std::vector<Node>& nodes, Scope& scope, const Opsets& opsets,
                          const Function* function) {
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const Node& node = nodes[i];
    check_name(node.name, "a node", "");
    check_name(node.op_type, "an operator", "");
    check_name(node.domain, "an operator's domain", "");
    for (const std::string& name : node.inputs) check_name(name, "a value", "");
    for (const std::string& name : node.outputs) check_name(name, "a value", "");
    for (const std::string& input : node.inputs) {
      if (!input.empty() && !scope.has(input)) fail_undefined(nodes, i, input);
    }
    check_node(node, scope, opsets, function);
    for (const std::string& output : node.outputs) {
      if (output.empty()) continue;
      if (!scope.names.insert(output).second) {
        bad("computes '" + output + "', which is defined already: a value has one definition", node.describe());
      }
    }
    if (node.is("Constant") && node.outputs.size() == 1) {
      const Attribute* value = node.find_attribute("value");
      const Tensor* tensor = value != nullptr ? std::get_if<Tensor>(&value->value) : nullptr;
      if (tensor != nullptr) scope.shapes[node.outputs[0]] = tensor->shape().extents();
    }
  }
}

void Checker::fail_undefined(const std::vector<Node>& nodes, std::size_t index, const std::string& input) const {
  std::unordered_map<std::string_view, std::size_t> producers;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    for (const std::string& output : nodes[i].outputs) {
      if (!output.empty()) producers.emplace(output, i);
    }
  }
  const std::string where = nodes[index].describe();
  if (producers.count(input) == 0) {
    bad("takes '" + input + "', which is no input, no initializer and no output of another node", where);
  }
  // Out of order, or in a cycle? Nodes that can be removed one after the other, inputs first, are in none.
  std::vector<std::size_t> num_open(nodes.size(), 0);
  std::vector<std::vector<std::size_t>> users(nodes.size());
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    for (const std::string& name : nodes[i].inputs) {
      if (const auto producer = producers.find(name); producer != producers.end()) {
        ++num_open[i];
        users[producer->second].push_back(i);
      }
    }
  }
  std::vector<std::size_t> ready;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (num_open[i] == 0) ready.push_back(i);
  }
  std::size_t num_removed = 0;
  while (!ready.empty()) {
    const std::size_t done = ready.back();
    ready.pop_back();
    ++num_removed;
    for (const std::size_t user : users[done]) {
      if (--num_open[user] == 0) ready.push_back(user);
    }
  }
  if (num_removed < nodes.size()) {
    bad("takes '" + input + "', which in turn depends on it: the graph has a cycle", where);
  }
  bad("takes '" + input + "' before it is computed by " + nodes[producers.at(input)].describe() +
          ": the nodes are not in topological order",
      where, "sort the nodes, for instance by loading and saving the model with onnx-graphsurgeon");
}

void Checker::check_node(const Node& node, const Scope& scope, const Opsets& opsets, const Function* function) {
  const std::string where = node.describe();
  if (node.op_type.empty()) bad("has no operator", where);
  if (!has_outputs(node)) {
    bad("has no outputs, so it computes nothing", where,
        "remove the node, or export the model again: TensorRT crashes on such nodes");
  }
  std::set<std::string_view> seen;
  for (const Attribute& attribute : node.attributes) {
    check_name(attribute.name, "an attribute", where);
    if (!seen.insert(attribute.name).second) bad("has the attribute '" + attribute.name + "' twice", where);
    check_attribute(node, attribute, function);
  }
  check_operator(node, opsets);
  check_weight_shapes(node, [&scope](std::string_view name) { return scope.shape_of(name); });
  check_control_flow(node);
  for_each_nested_graph(node, [&](const std::shared_ptr<Graph>& nested) {
    const Graph& graph = *nested;
    try {
      check_graph(graph, &scope, opsets, function);
    } catch (const Error& error) {
      throw error.with_context("inside " + where);
    }
  });
}

void Checker::check_attribute(const Node& node, const Attribute& attribute, const Function* function) const {
  const std::string where = "attribute '" + attribute.name + "' of " + node.describe();
  if (!attribute.ref_attr_name.empty()) {
    if (function == nullptr) bad("refers to a function's attribute, but is not inside a function", where);
    const auto is_same = [&](const Attribute& declared) { return declared.name == attribute.ref_attr_name; };
    const auto& names = function->attribute_names;
    if (std::find(names.begin(), names.end(), attribute.ref_attr_name) == names.end() &&
        std::none_of(function->attributes.begin(), function->attributes.end(), is_same)) {
      bad("refers to '" + attribute.ref_attr_name + "', which the function does not have", where);
    }
    return;
  }
  if (std::holds_alternative<std::monostate>(attribute.value)) bad("has no value", where);
  if (const auto* sparse = std::get_if<SparseTensor>(&attribute.value)) check_sparse(*sparse, where);
}

void Checker::check_operator(const Node& node, const Opsets& opsets) {
  const std::string where = node.describe();
  const std::string full_name = canonical(node.domain).empty() ? node.op_type : node.domain + "." + node.op_type;
  ++facts_.num_by_operator[full_name];
  if (const auto called = functions_.find(key_of(node)); called != functions_.end()) {
    facts_.has_functions = true;
    check_call(node, *called->second);
    return;
  }
  const std::optional<std::int64_t> version = version_of(opsets, node.domain);
  if (newest_opset(node.domain) == 0) {
    const bool is_foreign =
        std::find(std::begin(kForeignDomains), std::end(kForeignDomains), node.domain) != std::end(kForeignDomains);
    if (!is_foreign) {
      unsupported("the operator domain '" + node.domain + "' is not known, and the model has no function for it", where,
                  "export the model with standard ONNX operators");
    }
    if (!version) bad("the model declares no opset for the domain '" + node.domain + "'", where);
    foreign_.insert(full_name);
    return;
  }
  if (!version) {
    bad(canonical(node.domain).empty() ? std::string("the model declares no opset for the standard operators")
                                       : "the model declares no opset for the domain '" + node.domain + "'",
        where);
  }
  const OperatorSchema* schema = find_operator(node.domain, node.op_type, *version);
  if (schema == nullptr) {
    const OperatorSchema* first = find_first_version(node.domain, node.op_type);
    if (first == nullptr) {
      unsupported((node.domain == kPajamasDomain ? std::string(kPajamasDomain) : std::string("ONNX")) +
                      " has no operator '" + node.op_type + "'",
                  where, "export the model with standard ONNX operators");
    }
    bad("the operator exists from opset " + std::to_string(first->since_version) +
            " on, but the model declares opset " + std::to_string(*version),
        where, "export the model again with opset " + std::to_string(first->since_version) + " or newer");
  }
  if (schema->is_deprecated) {
    bad("the operator was removed in opset " + std::to_string(schema->since_version) +
            ", but the model declares opset " + std::to_string(*version),
        where);
  }
  check_schema(node, *schema);
  if (node.domain == kPajamasDomain) foreign_.insert(full_name);
}

void Checker::check_schema(const Node& node, const OperatorSchema& schema) const {
  const std::string where = node.describe();
  const auto count = [&](std::size_t found, int lowest, int highest, const char* what) {
    const auto number = static_cast<std::int64_t>(found);
    if (number >= lowest && number <= highest) return;
    const std::string wanted = highest == OperatorSchema::kAny ? "at least " + std::to_string(lowest)
                               : lowest == highest             ? std::to_string(lowest)
                                                   : std::to_string(lowest) + " to " + std::to_string(highest);
    bad("has " + std::to_string(number) + " " + what + " where " + std::string(schema.name) + " has " + wanted, where);
  };
  // Omitted optional values at the end may be written as empty names.
  const auto num_given = [](const std::vector<std::string>& names) {
    std::size_t number = names.size();
    while (number > 0 && names[number - 1].empty()) --number;
    return number;
  };
  count(num_given(node.inputs), schema.min_inputs, schema.max_inputs, "inputs");
  count(num_given(node.outputs), schema.min_outputs, schema.max_outputs, "outputs");
  for (std::size_t i = 0; i < std::min<std::size_t>(node.inputs.size(), 32); ++i) {
    if (node.inputs[i].empty() && (schema.required_inputs >> i & 1U) != 0) {
      bad("omits input " + std::to_string(i) + ", which is required", where);
    }
  }
  for (const Attribute& attribute : node.attributes) {
    const std::optional<AttributeSchema> known = schema.find_attribute(attribute.name);
    if (!known) {
      bad("has the attribute '" + attribute.name + "', which " + std::string(schema.name) + " of opset " +
              std::to_string(schema.since_version) + " does not have",
          where);
    }
    const int type = type_of(attribute);
    if (type != known->type) {
      bad("has the attribute '" + attribute.name + "' as " + attribute_type_name(type) + " where " +
              attribute_type_name(known->type) + " is needed",
          where);
    }
  }
  schema.for_each_attribute([&](const AttributeSchema& known) {
    if (known.is_required && node.find_attribute(known.name) == nullptr) {
      bad("lacks the attribute '" + std::string(known.name) + "', which is required", where);
    }
  });
}

void Checker::check_call(const Node& node, const Function& function) const {
  const std::string where = node.describe();
  if (node.inputs.size() > function.inputs.size() || node.outputs.size() > function.outputs.size()) {
    bad("calls " + describe(function) + " with " + std::to_string(node.inputs.size()) + " inputs and " +
            std::to_string(node.outputs.size()) + " outputs, but it has " + std::to_string(function.inputs.size()) +
            " and " + std::to_string(function.outputs.size()),
        where);
  }
  for (const std::string& name : function.attribute_names) {
    if (node.find_attribute(name) == nullptr) bad("lacks the attribute '" + name + "' of " + describe(function), where);
  }
  for (const Attribute& attribute : node.attributes) check_passed_type(attribute, function, where);
}

void Checker::check_passed_type(const Attribute& attribute, const Function& function, const std::string& where) const {
  const auto& types = attribute_types_.at(&function);
  const auto used = types.find(attribute.name);
  const int type = type_of(attribute);
  if (used == types.end() || used->second == type) return;
  bad("gives the attribute '" + attribute.name + "' as " + attribute_type_name(type) + " where " + describe(function) +
          " uses it as " + attribute_type_name(used->second),
      where);
}

void Checker::check_control_flow(const Node& node) const {
  const auto body = [&](std::string_view name) -> const Graph* {
    const Attribute* attribute = node.find_attribute(name);
    const auto* graph = attribute != nullptr ? std::get_if<std::shared_ptr<Graph>>(&attribute->value) : nullptr;
    return graph != nullptr ? graph->get() : nullptr;
  };
  const auto need = [&](bool is_right, const std::string& message) {
    if (!is_right) bad(message, node.describe());
  };
  if (node.is("If")) {
    for (const char* name : {"then_branch", "else_branch"}) {
      const Graph* graph = body(name);
      if (graph == nullptr) continue;
      need(graph->inputs.empty(), std::string(name) + " has inputs of its own");
      need(graph->outputs.size() == node.outputs.size(),
           std::string(name) + " has " + std::to_string(graph->outputs.size()) + " outputs where the node has " +
               std::to_string(node.outputs.size()));
    }
  } else if (node.is("Loop")) {
    if (const Graph* graph = body("body")) {
      // Inputs: trip count, condition, carried values; body outputs: condition, carried values, scanned values.
      need(graph->inputs.size() == std::max<std::size_t>(node.inputs.size(), 2),
           "the body has " + std::to_string(graph->inputs.size()) + " inputs where the node has " +
               std::to_string(node.inputs.size()));
      need(graph->outputs.size() >= node.outputs.size() + 1 && graph->outputs.size() + 1 >= graph->inputs.size(),
           "the body has " + std::to_string(graph->outputs.size()) + " outputs where the node has " +
               std::to_string(node.outputs.size()));
    }
  }
}

}  // namespace

ModelFacts check_model(const Model& model, const CheckLimits& limits) { return Checker(model, limits).check(); }

}  // namespace pajamas
