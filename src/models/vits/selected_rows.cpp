// See selected_rows.h.
#include "models/vits/selected_rows.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "graph/passes/pass.h"
#include "graph/shape_inference.h"

namespace pajamas {
namespace {

/// One NonZero, its Transpose, and what uses the places.
struct Selection {
  std::string mask;
  std::size_t mask_rank = 0;
  int non_zero = -1, transpose = -1;
  std::vector<int> gathers, scatters, shapes;
};

class RowWriter {
 public:
  explicit RowWriter(Model& model)
      : graph_(model.graph), facts_(infer_facts(model)), uses_(model.graph), names_(model.graph) {}

  int run() {
    std::vector<Selection> selections;
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (!graph_.nodes[i].is("NonZero")) continue;
      auto selection = find(static_cast<int>(i));
      if (!selection) return 0;
      selections.push_back(std::move(*selection));
    }
    replacements_.resize(graph_.nodes.size());
    for (const Selection& selection : selections) replace(selection);
    std::vector<Node> nodes;
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (replacements_[i].empty()) {
        nodes.push_back(std::move(graph_.nodes[i]));
      } else {
        for (Node& node : replacements_[i]) {
          if (!node.op_type.empty()) nodes.push_back(std::move(node));
        }
      }
    }
    graph_.nodes = std::move(nodes);
    return static_cast<int>(selections.size());
  }

 private:
  std::optional<std::size_t> rank_of(const std::string& value) const {
    const ValueFact* fact = facts_->find(value);
    if (fact == nullptr || !fact->shape) return std::nullopt;
    return fact->rank();
  }

  /// Extents of a value behind the first `rank` ones; nothing where one is not known.
  std::optional<std::vector<std::int64_t>> extents_behind(const std::string& value, std::size_t rank) const {
    const ValueFact* fact = facts_->find(value);
    if (fact == nullptr || !fact->shape || fact->rank() < rank) return std::nullopt;
    std::vector<std::int64_t> extents;
    for (std::size_t axis = rank; axis < fact->rank(); ++axis) {
      if (!(*fact->shape)[axis].is_known()) return std::nullopt;
      extents.push_back((*fact->shape)[axis].value());
    }
    return extents;
  }

  std::optional<Selection> find(int index) const {
    Selection selection;
    selection.non_zero = index;
    const Node& non_zero = graph_.nodes[static_cast<std::size_t>(index)];
    selection.mask = non_zero.inputs.at(0);
    const auto rank = rank_of(selection.mask);
    if (!rank || *rank == 0) return std::nullopt;
    selection.mask_rank = *rank;
    const auto& users = uses_.consumers(non_zero.outputs.at(0));
    if (users.size() != 1 || uses_.is_graph_output(non_zero.outputs[0])) return std::nullopt;
    selection.transpose = users[0];
    const Node& transpose = graph_.nodes[static_cast<std::size_t>(selection.transpose)];
    if (!transpose.is("Transpose") || transpose.ints_attribute("perm", {1, 0}) != std::vector<std::int64_t>{1, 0}) {
      return std::nullopt;
    }
    const std::string& places = transpose.outputs.at(0);
    if (uses_.is_graph_output(places)) return std::nullopt;
    for (const int user : uses_.consumers(places)) {
      const Node& node = graph_.nodes[static_cast<std::size_t>(user)];
      const bool takes_places = node.inputs.size() > 1 && node.inputs[1] == places && node.inputs[0] != places;
      if (node.is("Shape") && node.attributes.empty()) {
        selection.shapes.push_back(user);
      } else if (node.is("GatherND") && takes_places && node.int_attribute("batch_dims", 0) == 0 &&
                 extents_behind(node.inputs[0], selection.mask_rank)) {
        selection.gathers.push_back(user);
      } else if (node.is("ScatterND") && takes_places && node.inputs.size() == 3 && node.inputs[2] != places &&
                 node.string_attribute("reduction", "none") == "none" &&
                 extents_behind(node.inputs[0], selection.mask_rank)) {
        selection.scatters.push_back(user);
      } else {
        return std::nullopt;
      }
    }
    return selection;
  }

  /// Adds a node to what takes the place of node `at`; `output` empty: named after the operator.
  std::string add(int at, const char* op_type, std::vector<std::string> inputs, std::string output = {}) {
    const std::string scope = graph_.nodes[static_cast<std::size_t>(at)].name;
    Node node;
    node.op_type = op_type;
    node.name = names_.take(scope + "/" + op_type);
    node.inputs = std::move(inputs);
    node.outputs = {output.empty() ? node.name : std::move(output)};
    replacements_[static_cast<std::size_t>(at)].push_back(std::move(node));
    return replacements_[static_cast<std::size_t>(at)].back().outputs[0];
  }
  std::string constant(Tensor tensor) {
    const std::string name = names_.take("all_rows/constant");
    graph_.initializers.push_back({name, std::move(tensor), {}, {}});
    return name;
  }
  std::string integers(const std::vector<std::int64_t>& values) {
    const Shape shape{static_cast<std::int64_t>(values.size())};
    return constant(Tensor::of<std::int64_t>(shape, std::span(values)));
  }

  /// The mask with an axis of 1 for each extent behind its own, so that it spreads over rows.
  std::string mask_over_rows(int at, const Selection& selection, std::size_t num_behind) {
    if (num_behind == 0) return selection.mask;
    std::vector<std::int64_t> axes;
    for (std::size_t i = 0; i < num_behind; ++i) axes.push_back(static_cast<std::int64_t>(selection.mask_rank + i));
    return add(at, "Unsqueeze", {selection.mask, integers(axes)});
  }

  void replace(const Selection& selection) {
    // Nodes that go without a successor leave an empty one.
    replacements_[static_cast<std::size_t>(selection.non_zero)].emplace_back();
    replacements_[static_cast<std::size_t>(selection.transpose)].emplace_back();
    for (const int at : selection.shapes) {
      // [number of rows, rank of the mask], as of the places of a mask that is true everywhere.
      const Node node = graph_.nodes[static_cast<std::size_t>(at)];
      const std::string num_rows = add(at, "Shape", {add(at, "Reshape", {selection.mask, integers({-1})})});
      add(at, "Concat", {num_rows, integers({static_cast<std::int64_t>(selection.mask_rank)})}, node.outputs.at(0));
      replacements_[static_cast<std::size_t>(at)].back().set_attribute("axis", std::int64_t{0});
    }
    for (const int at : selection.gathers) {
      const Node node = graph_.nodes[static_cast<std::size_t>(at)];
      std::vector<std::int64_t> shape = *extents_behind(node.inputs[0], selection.mask_rank);
      const std::string mask = mask_over_rows(at, selection, shape.size());
      const DType dtype = facts_->dtype_of(node.inputs[0]);
      Tensor zero(dtype == DType::kUndefined ? DType::kFloat32 : dtype, Shape{});
      std::fill(zero.mutable_bytes().begin(), zero.mutable_bytes().end(), std::byte{0});
      const std::string kept = add(at, "Where", {mask, node.inputs[0], constant(std::move(zero))});
      shape.insert(shape.begin(), -1);
      add(at, "Reshape", {kept, integers(shape)}, node.outputs.at(0));
    }
    for (const int at : selection.scatters) {
      const Node node = graph_.nodes[static_cast<std::size_t>(at)];
      const std::size_t num_behind = extents_behind(node.inputs[0], selection.mask_rank)->size();
      const std::string mask = mask_over_rows(at, selection, num_behind);
      const std::string rows = add(at, "Reshape", {node.inputs[2], add(at, "Shape", {node.inputs[0]})});
      add(at, "Where", {mask, rows, node.inputs[0]}, node.outputs.at(0));
    }
  }

  Graph& graph_;
  std::unique_ptr<const GraphFacts> facts_;
  ValueUses uses_;
  NameSet names_;
  std::vector<std::vector<Node>> replacements_;  ///< By node; empty: it stays.
};

}  // namespace

int compute_all_rows(Model& model) {
  constexpr std::int64_t kUnsqueezeTakesAxes = 13;  // As an input, which the nodes above are written with.
  if (model.opset_of("").value_or(0) < kUnsqueezeTakesAxes) return 0;
  return RowWriter(model).run();
}

}  // namespace pajamas
