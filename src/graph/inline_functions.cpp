// Inlining of model-local functions. See inline_functions.h.
#include "graph/inline_functions.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "graph/nested_graphs.h"
#include "graph/operator_table.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

using FunctionKey = std::tuple<std::string, std::string, std::string>;
/// Names of a body's values to names in the graph it goes into; "" where the caller omits an input.
using NameMap = std::unordered_map<std::string, std::string>;

std::string canonical(const std::string& domain) { return domain == "ai.onnx" ? std::string() : domain; }

FunctionKey key_of(const Node& node) { return {canonical(node.domain), node.op_type, node.overload}; }

class Inliner {
 public:
  explicit Inliner(Model& model) : model_(model) {
    for (const Function& function : model.functions) {
      functions_[FunctionKey{canonical(function.domain), function.name, function.overload}] = &function;
    }
    take_names(model.graph);
  }

  void run() {
    inline_graph(model_.graph);
    // The functions' domains have no operators left, unless a node of another kind uses them.
    std::set<std::string> used;
    collect_domains(model_.graph, used);
    std::set<std::string> gone;
    for (const auto& [key, function] : functions_) {
      if (used.count(std::get<0>(key)) == 0 && newest_opset(std::get<0>(key)) == 0) gone.insert(std::get<0>(key));
    }
    std::erase_if(model_.opset_imports, [&](const auto& entry) { return gone.count(canonical(entry.first)) > 0; });
    model_.functions.clear();
  }

 private:
  void take_names(Graph& graph) {
    for (const ValueInfo& value : graph.inputs) names_.insert(value.name);
    for (const ValueInfo& value : graph.outputs) names_.insert(value.name);
    for (const Initializer& value : graph.initializers) names_.insert(value.name);
    for (const SparseTensor& value : graph.sparse_initializers) names_.insert(value.name);
    for (Node& node : graph.nodes) {
      names_.insert(node.name);
      names_.insert(node.outputs.begin(), node.outputs.end());
      for_each_nested_graph(node, [this](const std::shared_ptr<Graph>& nested) { take_names(*nested); });
    }
  }

  std::string new_name(const std::string& prefix, const std::string& name) {
    std::string candidate = prefix + "/" + name;
    for (int i = 1; !names_.insert(candidate).second; ++i) candidate = prefix + "/" + name + "_" + std::to_string(i);
    return candidate;
  }

  static void collect_domains(Graph& graph, std::set<std::string>& domains) {
    for (Node& node : graph.nodes) {
      domains.insert(canonical(node.domain));
      for_each_nested_graph(node, [&](const std::shared_ptr<Graph>& nested) { collect_domains(*nested, domains); });
    }
  }

  void inline_graph(Graph& graph) {
    std::vector<Node> result;
    result.reserve(graph.nodes.size());
    for (Node& node : graph.nodes) add_inlined(std::move(node), graph, result);
    graph.nodes = std::move(result);
  }

  /// Appends the node to `result`, or the body of the function that it calls. Declarations of inner values go to
  /// `graph`.
  void add_inlined(Node node, Graph& graph, std::vector<Node>& result) {
    for_each_nested_graph(node, [this](std::shared_ptr<Graph>& nested) {
      nested = std::make_shared<Graph>(*nested);  // The caller's model may share it.
      inline_graph(*nested);
    });
    const auto found = functions_.find(key_of(node));
    if (found == functions_.end()) {
      result.push_back(std::move(node));
      return;
    }
    const Function& function = *found->second;
    if (std::find(call_chain_.begin(), call_chain_.end(), &function) != call_chain_.end()) {
      throw Error(ErrorKind::kBadInput, "function '" + function.name + "' calls itself", node.describe(),
                  "unroll the recursion when exporting");
    }
    call_chain_.push_back(&function);
    expand(node, function, graph, result);
    call_chain_.pop_back();
  }

  void expand(const Node& call, const Function& function, Graph& graph, std::vector<Node>& result) {
    const std::string prefix = call.name.empty() ? call.op_type : call.name;
    NameMap names;
    names[""] = "";
    for (std::size_t i = 0; i < function.inputs.size(); ++i) {
      names[function.inputs[i]] = i < call.inputs.size() ? call.inputs[i] : std::string();
    }
    // An output that is an input, or the same value as an earlier output, needs a copy to carry its name.
    std::vector<Node> copies;
    for (std::size_t i = 0; i < std::min(function.outputs.size(), call.outputs.size()); ++i) {
      const std::string& wanted = call.outputs[i];
      if (wanted.empty()) continue;
      if (names.count(function.outputs[i]) == 0) {
        names[function.outputs[i]] = wanted;
      } else {
        Node copy;
        copy.name = new_name(prefix, "Identity");
        copy.op_type = "Identity";
        copy.inputs = {names[function.outputs[i]]};
        copy.outputs = {wanted};
        copies.push_back(std::move(copy));
      }
    }
    for (const Node& body_node : function.nodes) {
      check_version(body_node, function);
      Node node = body_node;
      instantiate(node, names, prefix, call, function);
      for (std::string& output : node.outputs) {
        const auto [entry, is_new] = names.try_emplace(output);
        if (is_new) entry->second = new_name(prefix, output);
        output = entry->second;
      }
      add_inlined(std::move(node), graph, result);
    }
    for (Node& copy : copies) result.push_back(std::move(copy));
    for (const ValueInfo& value : function.value_infos) {
      const auto is_same = [&](const std::string& name) { return name == value.name; };
      const auto renamed = names.find(value.name);
      if (renamed == names.end() || std::any_of(function.inputs.begin(), function.inputs.end(), is_same) ||
          std::any_of(function.outputs.begin(), function.outputs.end(), is_same)) {
        continue;  // The caller declares these.
      }
      graph.value_infos.push_back(value);
      ValueInfo& added = graph.value_infos.back();
      added.name = renamed->second;
      if (!added.type || !added.type->shape) continue;
      // A dimension's name means one extent in the body, but may mean another in each call.
      for (Dimension& dimension : *added.type->shape) {
        if (!dimension.is_known()) dimension.value = std::monostate();
      }
    }
  }

  /// Renames inputs and nested graphs of a copied node, and puts values in place of references to the function's
  /// attributes. Outputs are left to the caller: only values after the node see them.
  void instantiate(Node& node, const NameMap& names, const std::string& prefix, const Node& call,
                   const Function& function) {
    if (!node.name.empty()) node.name = new_name(prefix, node.name);
    for (std::string& input : node.inputs) rename(input, names);
    // Before the references: a graph that the caller gives as attribute keeps the caller's names.
    for_each_nested_graph(node, [&](std::shared_ptr<Graph>& nested) {
      nested = std::make_shared<Graph>(*nested);  // The body's graph is shared by all calls.
      instantiate_graph(*nested, names, prefix, call, function);
    });
    std::erase_if(node.attributes, [&](Attribute& attribute) {
      if (attribute.ref_attr_name.empty()) return false;
      const Attribute* given = call.find_attribute(attribute.ref_attr_name);
      for (const Attribute& standard : function.attributes) {
        if (given == nullptr && standard.name == attribute.ref_attr_name) given = &standard;
      }
      if (given == nullptr) return true;  // Optional and not given: the node's own default holds.
      std::string name = attribute.name;
      attribute = *given;
      attribute.name = std::move(name);
      return false;
    });
  }

  void instantiate_graph(Graph& graph, NameMap names, const std::string& prefix, const Node& call,
                         const Function& function) {
    // Names of a nested graph hide those of the body, so they are entered over them.
    for (ValueInfo& input : graph.inputs) input.name = names[input.name] = new_name(prefix, input.name);
    for (Initializer& initializer : graph.initializers) {
      // An initializer with an input's name is the default of that input.
      if (graph_input_renamed(graph, names, initializer.name)) {
        initializer.name = names[initializer.name];
      } else {
        initializer.name = names[initializer.name] = new_name(prefix, initializer.name);
      }
    }
    for (SparseTensor& initializer : graph.sparse_initializers) {
      initializer.name = names[initializer.name] = new_name(prefix, initializer.name);
    }
    for (Node& node : graph.nodes) {
      check_version(node, function);
      instantiate(node, names, prefix, call, function);
      for (std::string& output : node.outputs) {
        if (!output.empty()) output = names[output] = new_name(prefix, output);
      }
    }
    for (ValueInfo& output : graph.outputs) rename(output.name, names);
    for (ValueInfo& value : graph.value_infos) rename(value.name, names);
  }

  static bool graph_input_renamed(const Graph& graph, const NameMap& names, const std::string& name) {
    const auto renamed = names.find(name);
    return renamed != names.end() && graph.find_input(renamed->second) != nullptr;
  }

  static void rename(std::string& name, const NameMap& names) {
    if (const auto renamed = names.find(name); renamed != names.end()) name = renamed->second;
  }

  /// A body keeps its meaning only where the model's opset selects the same version of its operators.
  void check_version(const Node& node, const Function& function) {
    if (functions_.count(key_of(node)) > 0) return;
    std::optional<std::int64_t> wanted;
    for (const auto& [domain, version] : function.opset_imports) {
      if (canonical(domain) == canonical(node.domain)) wanted = version;
    }
    const auto available = model_.opset_of(node.domain);
    if (!wanted || wanted == available) return;
    if (!available) {
      model_.opset_imports.emplace_back(node.domain, *wanted);
      return;
    }
    const OperatorSchema* in_function = find_operator(node.domain, node.op_type, *wanted);
    if (in_function != nullptr && in_function == find_operator(node.domain, node.op_type, *available)) return;
    throw Error(ErrorKind::kUnsupported,
                "function '" + function.name + "' uses " + node.op_type + " of opset " + std::to_string(*wanted) +
                    ", but the model has opset " + std::to_string(*available) + ", where the operator differs",
                node.describe(), "export the model again so that its functions use the model's opset");
  }

  Model& model_;
  std::map<FunctionKey, const Function*> functions_;
  std::unordered_set<std::string> names_;
  std::vector<const Function*> call_chain_;
};

}  // namespace

void inline_functions(Model& model) {
  if (model.functions.empty()) return;
  Model copy = model;  // Tensors share their storage; nested graphs are copied where they change.
  Inliner(copy).run();
  model = std::move(copy);
}

}  // namespace pajamas
