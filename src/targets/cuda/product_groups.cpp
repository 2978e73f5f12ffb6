// See product_groups.h.
#include "targets/cuda/product_groups.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "graph/passes/pass.h"

namespace pajamas::cuda {
namespace {

using Names = std::set<std::string>;

/// Node names → steps that compute them, some of them several times.
std::map<std::string, std::vector<std::size_t>> steps_by_node(const Program& program) {
  std::map<std::string, std::vector<std::size_t>> steps;
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    for (const std::string& name : program.steps[i].fused_from) steps[name].push_back(i);
  }
  return steps;
}

/// Adds the steps of the nodes, and the nodes of those steps. Returns whether there were any new.
bool add_steps(const Program& program, const std::map<std::string, std::vector<std::size_t>>& by_node, Names& nodes,
               std::set<std::size_t>& steps) {
  bool is_changed = false;
  for (const std::string& name : Names(nodes)) {
    const auto found = by_node.find(name);
    if (found == by_node.end()) continue;
    for (const std::size_t step : found->second) {
      if (!steps.insert(step).second) continue;
      is_changed = true;
      nodes.insert(program.steps[step].fused_from.begin(), program.steps[step].fused_from.end());
    }
  }
  return is_changed;
}

bool has_small_factor(const Program& program, const Step& step) {
  const auto* product = std::get_if<MatMulStep>(&step.work);
  return product != nullptr && program.value(product->a).desc.dtype == DType::kFloat8E4M3Fn;
}

}  // namespace

std::vector<ProductGroup> product_groups(const Model& model, const Program& small, const Program& wide) {
  struct Growing {
    std::vector<std::string> activations;
    Names nodes;
    std::set<std::size_t> small_steps, wide_steps;
  };
  std::map<std::string, std::vector<const Node*>> readers;
  for (const Node& node : model.graph.nodes) {
    for (const std::string& input : node.inputs) readers[input].push_back(&node);
  }
  const auto small_by_node = steps_by_node(small), wide_by_node = steps_by_node(wide);
  std::vector<Growing> groups;
  for (const Node& node : model.graph.nodes) {
    if (!node.is("QuantizeLinear")) continue;
    Growing group;
    group.activations.push_back(node.inputs[0]);
    group.nodes.insert(node.name);
    bool is_taken = false;
    for (const Node* back : readers[node.outputs[0]]) {
      for (const Node* product : readers[back->outputs[0]]) {
        const auto found = small_by_node.find(product->name);
        if (found == small_by_node.end()) continue;
        for (const std::size_t step : found->second) is_taken = is_taken || has_small_factor(small, small.steps[step]);
        group.nodes.insert(product->name);
      }
    }
    if (!is_taken) continue;
    // What a step is fused with belongs to the comparison, and whatever does that work in the other program.
    add_steps(small, small_by_node, group.nodes, group.small_steps);
    add_steps(wide, wide_by_node, group.nodes, group.wide_steps);
    while (add_steps(small, small_by_node, group.nodes, group.small_steps) ||
           add_steps(wide, wide_by_node, group.nodes, group.wide_steps)) {
    }
    // One that shares a step with groups before joins them.
    const auto shares = [&](const Growing& other) {
      const auto meets = [](const std::set<std::size_t>& a, const std::set<std::size_t>& b) {
        return std::any_of(a.begin(), a.end(), [&](std::size_t step) { return b.count(step) != 0; });
      };
      return meets(group.small_steps, other.small_steps) || meets(group.wide_steps, other.wide_steps);
    };
    const auto joined = std::find_if(groups.begin(), groups.end(), shares);
    if (joined == groups.end()) {
      groups.push_back(std::move(group));
      continue;
    }
    const auto join = [&](Growing& other) {
      joined->activations.insert(joined->activations.end(), other.activations.begin(), other.activations.end());
      joined->small_steps.insert(other.small_steps.begin(), other.small_steps.end());
      joined->wide_steps.insert(other.wide_steps.begin(), other.wide_steps.end());
    };
    for (auto other = joined + 1; other != groups.end();) {
      if (!shares(*other)) {
        ++other;
        continue;
      }
      join(*other);
      other = groups.erase(other);
    }
    join(group);
  }
  std::vector<ProductGroup> result;
  for (const Growing& group : groups) {
    result.push_back({group.activations,
                      {group.small_steps.begin(), group.small_steps.end()},
                      {group.wide_steps.begin(), group.wide_steps.end()}});
  }
  return result;
}

Model with_node_names(const Model& model) {
  Model result = model;
  std::set<std::string> taken;
  NameSet names(model.graph);
  for (Node& node : result.graph.nodes) {
    if (node.name.empty() || !taken.insert(node.name).second) node.name = names.take(node.op_type);
    taken.insert(node.name);
  }
  return result;
}

}  // namespace pajamas::cuda
