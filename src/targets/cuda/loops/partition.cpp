// Which nodes become one kernel: greedily, consumer joined to producer, as long as no cycle arises, nothing dear is
// computed many times, and a kernel can be made of the result.
#include <algorithm>
#include <map>
#include <set>

#include "pajamas/error.h"
#include "targets/cuda/loops/kernel_builder.h"
#include "targets/cuda/loops/requests.h"

namespace pajamas::cuda {
namespace {

using loops::OperatorClass;

constexpr std::size_t kMaxNodes = 48;
constexpr std::size_t kMaxValues = 24;

class Partition {
 public:
  Partition(const Model& model, const GraphFacts& facts, std::span<const std::int32_t> free_nodes)
      : graph_(model.graph), opset_(model.opset()), facts_(facts), uses_(model.graph) {
    region_of_.assign(graph_.nodes.size(), -1);
    for (const std::int32_t index : free_nodes) {
      region_of_[static_cast<std::size_t>(index)] = static_cast<std::int32_t>(regions_.size());
      regions_.push_back({index});
    }
  }

  std::vector<LoopRegion> run(std::span<const std::int32_t> free_nodes) {
    for (const std::int32_t index : free_nodes) {
      for (const std::string& input : graph_.nodes[static_cast<std::size_t>(index)].inputs) {
        const int producer = input.empty() ? -1 : uses_.producer(input);
        if (producer < 0 || region(producer) < 0 || region(producer) == region(index)) continue;
        if (is_worth_it(producer, index, input)) try_merge(region(producer), region(index));
      }
    }
    std::vector<LoopRegion> made;
    for (const auto& nodes : regions_) {
      if (!nodes.empty()) made.push_back({std::vector<std::int32_t>(nodes.begin(), nodes.end())});
    }
    std::sort(made.begin(), made.end(),
              [](const LoopRegion& a, const LoopRegion& b) { return a.nodes.back() < b.nodes.back(); });
    return made;
  }

 private:
  std::int32_t region(int node) const { return region_of_[static_cast<std::size_t>(node)]; }
  const Node& node(int index) const { return graph_.nodes[static_cast<std::size_t>(index)]; }
  std::int64_t elements(const std::string& name) const {
    const ValueFact* fact = facts_.find(name);
    const auto shape = fact == nullptr ? std::nullopt : fact->static_shape();
    return shape ? shape->num_elements() : 0;
  }
  bool has_row(std::int32_t id) const {
    return std::any_of(regions_[static_cast<std::size_t>(id)].begin(), regions_[static_cast<std::size_t>(id)].end(),
                       [&](int index) { return loops::find_operator(node(index))->kind == OperatorClass::kRow; });
  }

  bool is_worth_it(int producer, int consumer, const std::string& value) const {
    const std::int32_t from = region(producer);
    const loops::OperatorEntry& entry = *loops::find_operator(node(consumer));
    const auto& nodes = regions_[static_cast<std::size_t>(from)];
    const bool is_cheap =
        nodes.size() <= 6 && std::all_of(nodes.begin(), nodes.end(), [&](int index) {
          const loops::OperatorEntry& own = *loops::find_operator(node(index));
          return own.is_cheap && own.kind != OperatorClass::kRow && own.kind != OperatorClass::kWindow;
        });
    const std::int64_t before = elements(value);
    const std::int64_t after = elements(node(consumer).outputs[0]);
    if (entry.kind == OperatorClass::kWindow) return false;
    // Every element would be computed again for each that it is spread to; a row's result is not, it is one per row.
    if (after > before && !is_cheap && !has_row(from) && node(consumer).op_type != "Concat" &&
        node(consumer).op_type != "Pad") {
      return false;
    }
    // Stored for others too: only where the same threads have it anyway.
    bool is_needed_elsewhere = uses_.is_graph_output(value);
    for (const int user : uses_.consumers(value)) {
      is_needed_elsewhere = is_needed_elsewhere || (region(user) != region(consumer) && region(user) != from);
    }
    if (is_needed_elsewhere && after != before && !has_row(from) && !is_cheap) return false;
    return true;
  }

  /// Whether a path leaves the set and comes back to it, regions taken as single nodes.
  bool makes_cycle(const std::set<std::int32_t>& joined) const {
    std::vector<int> stack;
    std::set<int> seen;
    const auto push_users = [&](int index, bool is_first) {
      for (const std::string& output : node(index).outputs) {
        if (output.empty()) continue;
        for (const int user : uses_.consumers(output)) {
          if (is_first && joined.contains(user)) continue;
          if (seen.insert(user).second) stack.push_back(user);
        }
      }
    };
    for (const std::int32_t index : joined) push_users(index, true);
    while (!stack.empty()) {
      const int index = stack.back();
      stack.pop_back();
      if (joined.contains(index)) return true;
      push_users(index, false);
      if (region(index) < 0) continue;
      for (const std::int32_t member : regions_[static_cast<std::size_t>(region(index))]) {
        if (seen.insert(member).second) stack.push_back(member);
      }
    }
    return false;
  }

  void try_merge(std::int32_t a, std::int32_t b) {
    std::set<std::int32_t> joined = regions_[static_cast<std::size_t>(a)];
    joined.insert(regions_[static_cast<std::size_t>(b)].begin(), regions_[static_cast<std::size_t>(b)].end());
    if (joined.size() > kMaxNodes || makes_cycle(joined)) return;
    std::vector<const Node*> nodes;
    for (const std::int32_t index : joined) nodes.push_back(&node(index));
    try {
      const auto request = loops::request_of(nodes, opset_, facts_, [&](const std::string& name) {
        if (uses_.is_graph_output(name)) return true;
        const auto& users = uses_.consumers(name);
        return static_cast<int>(users.size()) != uses_.num_uses(name) ||
               std::any_of(users.begin(), users.end(), [&](int user) { return !joined.contains(user); });
      });
      if (request.outputs.empty() || request.inputs.size() + request.outputs.size() > kMaxValues) return;
      loops::make_kernel(request, 0);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kCancelled) throw;
      return;  // an expected no: the two stay apart
    }
    for (const std::int32_t index : regions_[static_cast<std::size_t>(b)]) {
      region_of_[static_cast<std::size_t>(index)] = a;
    }
    regions_[static_cast<std::size_t>(a)] = std::move(joined);
    regions_[static_cast<std::size_t>(b)].clear();
  }

  const Graph& graph_;
  std::int64_t opset_;
  const GraphFacts& facts_;
  ValueUses uses_;
  std::vector<std::int32_t> region_of_;          ///< By node; -1: not ours.
  std::vector<std::set<std::int32_t>> regions_;  ///< Empty: merged into another.
};

}  // namespace

std::vector<LoopRegion> partition_loops(const Model& model, const GraphFacts& facts,
                                        std::span<const std::int32_t> free_nodes) {
  return Partition(model, facts, free_nodes).run(free_nodes);
}

}  // namespace pajamas::cuda
