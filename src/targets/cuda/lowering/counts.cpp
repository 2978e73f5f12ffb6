// See counts.h: finds the counts and their bounds, then has every node written again (counted_nodes.cpp).
#include "targets/cuda/lowering/counts.h"

#include <algorithm>

#include "graph/graph_builder.h"
#include "graph/nested_graphs.h"
#include "graph/passes/passes.h"
#include "pajamas/error.h"
#include "targets/cuda/lowering/counted_graph.h"
#include "targets/cuda/lowering/graph_context.h"

namespace pajamas::cuda {
namespace {

/// Each turn of the search names at least one count.
constexpr int kMaxCounts = 512;

bool can_make_counts(const Node& node) {
  for (const char* type : {"If", "NonZero", "NonMaxSuppression", "Compress"}) {
    if (node.is(type)) return true;
  }
  return false;
}

/// Names that exporters give to extents which only the data know say nothing, and could be taken for equal.
void forget_names(std::vector<ValueInfo>& infos) {
  for (ValueInfo& info : infos) {
    if (!info.type || !info.type->shape) continue;
    for (Dimension& dimension : *info.type->shape) {
      if (!dimension.is_known()) dimension = Dimension{};
    }
  }
}

class CountFinder {
 public:
  explicit CountFinder(Model slim) : model_(std::move(slim)), names_(model_.graph), opset_(model_.opset()) {
    forget_names(model_.graph.value_infos);
    forget_names(model_.graph.outputs);
  }

  /// False for a model that needs nothing of this.
  bool run() {
    bool is_rewritten = inline_branches();
    for (std::size_t i = 0; i < model_.graph.nodes.size(); ++i) {
      const Node node = model_.graph.nodes[i];
      if (!node.is("Compress")) continue;
      write_compress(i, node);
      is_rewritten = true;
    }
    for (int turn = 0; turn < kMaxCounts; ++turn) {
      facts_ = infer_facts(model_);
      const std::optional<std::size_t> open = first_open();
      if (!open) return is_rewritten || !bounds_.empty();
      resolve(*open);
    }
    throw Error(ErrorKind::kUnsupported, "more extents depend on the data than are followed");
  }

  const Model& model() const { return model_; }
  const std::shared_ptr<const GraphFacts>& facts() const { return facts_; }
  const std::map<std::string, std::int64_t>& bounds() const { return bounds_; }

 private:
  // Branches ---------------------------------------------------------------------------------------------------------

  bool inline_branches() {
    bool is_any = false;
    for (std::size_t i = 0; i < model_.graph.nodes.size();) {
      if (!model_.graph.nodes[i].is("If")) {
        ++i;
        continue;
      }
      is_any = true;
      const Node node = model_.graph.nodes[i];
      std::vector<Node> made;
      const std::vector<std::string> then_values = inline_branch(node, "then_branch", made);
      const std::vector<std::string> else_values = inline_branch(node, "else_branch", made);
      for (std::size_t k = 0; k < node.outputs.size(); ++k) {
        if (node.outputs[k].empty()) continue;
        Node choice;
        choice.op_type = kChoiceType;
        choice.domain = kChoiceDomain;
        choice.name = node.name;
        choice.inputs = {node.inputs.at(0), then_values.at(k), else_values.at(k)};
        choice.outputs = {node.outputs[k]};
        made.push_back(std::move(choice));
      }
      auto& nodes = model_.graph.nodes;
      nodes.erase(nodes.begin() + static_cast<std::ptrdiff_t>(i));
      nodes.insert(nodes.begin() + static_cast<std::ptrdiff_t>(i), std::make_move_iterator(made.begin()),
                   std::make_move_iterator(made.end()));
    }
    return is_any;
  }

  /// Appends the nodes of a branch under names of their own; returns the values that it gives.
  std::vector<std::string> inline_branch(const Node& node, const char* name, std::vector<Node>& made) {
    const Attribute* attribute = node.find_attribute(name);
    const auto* held = attribute == nullptr ? nullptr : std::get_if<std::shared_ptr<Graph>>(&attribute->value);
    if (held == nullptr || *held == nullptr) throw Error(ErrorKind::kBadInput, "a branch is missing", node.describe());
    const auto body = std::make_shared<Graph>(**held);
    for (Node& inner : body->nodes) {
      for_each_nested_graph(inner, [](std::shared_ptr<Graph>& nested) { nested = std::make_shared<Graph>(*nested); });
    }
    Renames renames;
    for (const Initializer& initializer : body->initializers) {
      renames[initializer.name] = names_.take(initializer.name + "/" + name);
    }
    for (const Node& inner : body->nodes) {
      for (const std::string& output : inner.outputs) {
        if (!output.empty()) renames[output] = names_.take(output + "/" + name);
      }
    }
    const auto renamed = [&](const std::string& value) {
      const auto found = renames.find(value);
      return found == renames.end() ? value : found->second;
    };
    for (Initializer& initializer : body->initializers) {
      if (initializer.tensor.size_bytes() > ConstantTable::kSmallBytes) {
        throw Error(ErrorKind::kUnsupported, "a branch with weights of its own", node.describe(),
                    "export the model with the branch that is taken");
      }
      model_.graph.set_initializer(renamed(initializer.name), initializer.tensor);
    }
    for (Node& inner : body->nodes) {
      if (inner.is("Constant")) {
        const Attribute* value = inner.find_attribute("value");
        if (const Tensor* tensor = value == nullptr ? nullptr : std::get_if<Tensor>(&value->value)) {
          model_.graph.set_initializer(renamed(inner.outputs[0]), *tensor);
          continue;
        }
      }
      for (std::string& input : inner.inputs) input = renamed(input);
      for (std::string& output : inner.outputs) output = renamed(output);
      for_each_nested_graph(inner, [&](std::shared_ptr<Graph>& nested) { rename_captures(*nested, renames); });
      made.push_back(std::move(inner));
    }
    std::vector<std::string> outputs;
    for (const ValueInfo& output : body->outputs) outputs.push_back(renamed(output.name));
    return outputs;
  }

  // Extents ----------------------------------------------------------------------------------------------------------

  bool is_open(const Extent& extent) const { return !value_at(extent, bounds_); }

  std::optional<std::size_t> first_open() const {
    for (std::size_t i = 0; i < model_.graph.nodes.size(); ++i) {
      for (const std::string& name : model_.graph.nodes[i].outputs) {
        if (name.empty()) continue;
        const ValueFact* fact = facts_->find(name);
        if (fact == nullptr || fact->dtype == DType::kUndefined || !fact->shape ||
            std::any_of(fact->shape->begin(), fact->shape->end(), [&](const Extent& e) { return is_open(e); })) {
          return i;
        }
      }
    }
    return {};
  }

  [[noreturn]] void refuse(const Node& node, const std::string& why) const {
    throw Error(ErrorKind::kUnsupported, why, node.describe(),
                "the cuda target needs shapes that follow from the inputs' shapes, or extents with a bound that it "
                "finds: give --shapes for every input, or export the model without the operator");
  }

  const std::vector<Extent>& shape_of(const Node& node, std::size_t input) const {
    const ValueFact* fact = input < node.inputs.size() ? facts_->find(node.inputs[input]) : nullptr;
    if (fact == nullptr || !fact->shape) refuse(node, "the shape of '" + node.outputs[0] + "' depends on the data");
    return *fact->shape;
  }

  std::int64_t bound(const Extent& extent) const { return value_at(extent, bounds_).value(); }

  /// Declares that axis `axis` of a value is a new count; its other axes are what they are inferred to be.
  void name_count(const std::string& value, DType dtype, std::size_t rank, std::size_t axis, std::int64_t bound) {
    const std::string count = "count" + std::to_string(bounds_.size()) + " of " + value;
    bounds_[count] = bound;
    std::vector<Dimension> shape(rank);
    shape[axis] = Dimension::named(count);
    declare(value, dtype, std::move(shape));
  }

  void declare(const std::string& value, DType dtype, std::vector<Dimension> shape) {
    for (std::vector<ValueInfo>* list : {&model_.graph.outputs, &model_.graph.value_infos}) {
      for (ValueInfo& info : *list) {
        if (info.name != value || !info.type) continue;
        if (!info.type->shape || info.type->shape->size() != shape.size()) info.type->shape = shape;
        for (std::size_t i = 0; i < shape.size(); ++i) {
          if (shape[i].value.index() != 0) (*info.type->shape)[i] = shape[i];
        }
        return;
      }
    }
    model_.graph.value_infos.push_back(tensor_value(value, dtype, std::move(shape)));
  }

  void resolve(std::size_t index) {
    const Node node = model_.graph.nodes[index];
    if (node.domain == kChoiceDomain) return resolve_choice(node);
    if (node.is("NonZero")) return resolve_non_zero(node);
    if (node.is("NonMaxSuppression")) return resolve_suppression(node);
    if (node.is("TopK")) return resolve_top_k(node);
    if (node.is("Slice")) return resolve_slice(node);
    refuse(node, "the shape of '" + node.outputs[0] + "' depends on the data");
  }

  void resolve_non_zero(const Node& node) {
    const auto& shape = shape_of(node, 0);
    if (shape.empty()) refuse(node, "NonZero of a scalar");
    name_count(node.outputs[0], DType::kInt64, 2, 1, bound(product(shape)));
  }

  void resolve_suppression(const Node& node) {
    const auto& boxes = shape_of(node, 0);
    const auto& scores = shape_of(node, 1);
    if (boxes.size() != 3 || scores.size() != 3) refuse(node, "boxes and scores of rank 3 are wanted");
    std::int64_t most = bound(boxes[1]);
    const auto wanted = node.inputs.size() > 2 && !node.inputs[2].empty()
                            ? upper_bound(node.inputs[2], model_.graph, *facts_, bounds_)
                            : std::optional<std::int64_t>(0);
    if (wanted) most = std::clamp<std::int64_t>(*wanted, 0, most);
    name_count(node.outputs[0], DType::kInt64, 2, 0, bound(scores[0]) * bound(scores[1]) * most);
  }

  /// The elements at the places that NonZero finds.
  void write_compress(std::size_t index, const Node& node) {
    std::vector<Node> made;
    const auto add = [&](const char* type, std::vector<std::string> inputs, std::string output) -> Node& {
      Node one;
      one.op_type = type;
      one.name = node.name;
      one.inputs = std::move(inputs);
      one.outputs = {output.empty() ? names_.take(node.outputs[0] + "/" + type) : std::move(output)};
      made.push_back(std::move(one));
      return made.back();
    };
    const std::string flat = names_.take(node.outputs[0] + "/flat");
    model_.graph.set_initializer(flat, Tensor::of<std::int64_t>({1}, {-1}));
    const bool has_axis = node.find_attribute("axis") != nullptr;
    const std::string data = has_axis ? node.inputs[0] : add("Reshape", {node.inputs[0], flat}, {}).outputs[0];
    const std::string places = add("NonZero", {node.inputs.at(1)}, {}).outputs[0];
    const std::string indices = add("Reshape", {places, flat}, {}).outputs[0];
    add("Gather", {data, indices}, node.outputs[0])
        .set_attribute("axis", has_axis ? node.int_attribute("axis", 0) : std::int64_t{0});
    auto& nodes = model_.graph.nodes;
    nodes.erase(nodes.begin() + static_cast<std::ptrdiff_t>(index));
    nodes.insert(nodes.begin() + static_cast<std::ptrdiff_t>(index), std::make_move_iterator(made.begin()),
                 std::make_move_iterator(made.end()));
  }

  void resolve_top_k(const Node& node) {
    const auto& shape = shape_of(node, 0);
    const auto rank = static_cast<std::int64_t>(shape.size());
    std::int64_t axis = node.int_attribute("axis", -1);
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank) refuse(node, "an axis outside of the rank");
    std::int64_t most = bound(shape[static_cast<std::size_t>(axis)]);
    if (const auto wanted = upper_bound(node.inputs.at(1), model_.graph, *facts_, bounds_)) {
      most = std::clamp<std::int64_t>(*wanted, 0, most);
    }
    const std::string count = "count" + std::to_string(bounds_.size()) + " of " + node.name + node.outputs[0];
    bounds_[count] = most;
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i].empty()) continue;
      std::vector<Dimension> extents(shape.size());
      extents[static_cast<std::size_t>(axis)] = Dimension::named(count);
      declare(node.outputs[i], i == 0 ? facts_->dtype_of(node.inputs[0]) : DType::kInt64, std::move(extents));
    }
  }

  void resolve_slice(const Node& node) {
    const auto ranges = slice_ranges(node, opset_, *facts_);
    const auto& shape = shape_of(node, 0);
    if (!ranges) refuse(node, "the shape of '" + node.outputs[0] + "' depends on the data");
    const ValueFact* out = facts_->find(node.outputs[0]);
    for (const SliceRange& range : *ranges) {
      if (out != nullptr && out->shape && !is_open((*out->shape)[range.axis])) continue;
      if (range.start < 0 || range.step < 1 || (range.end && range.end->is_known() && range.end->value() < 0)) {
        refuse(node, "places counted from an end that depends on the data");
      }
      std::int64_t most = bound(shape[range.axis]);
      if (range.end) {
        const auto end = value_at(*range.end, bounds_);
        if (!end) refuse(node, "the shape of '" + node.outputs[0] + "' depends on the data");
        most = std::min(most, *end);
      }
      most = std::max<std::int64_t>(0, (most - range.start + range.step - 1) / range.step);
      return name_count(node.outputs[0], facts_->dtype_of(node.inputs[0]), shape.size(), range.axis, most);
    }
    refuse(node, "the shape of '" + node.outputs[0] + "' depends on the data");
  }

  void resolve_choice(const Node& node) {
    const auto& a = shape_of(node, 1);
    const auto& b = shape_of(node, 2);
    const DType dtype = facts_->dtype_of(node.inputs[1]);
    if (a.size() != b.size() || dtype != facts_->dtype_of(node.inputs[2]) || dtype == DType::kUndefined) {
      refuse(node, "an If whose branches give other types or ranks");
    }
    std::vector<Dimension> shape;
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (a[i].is_known() && a[i] == b[i]) {
        shape.push_back(Dimension::known(a[i].value()));
        continue;
      }
      const std::string count = "count" + std::to_string(bounds_.size()) + " of " + node.outputs[0];
      bounds_[count] = std::max(bound(a[i]), bound(b[i]));
      shape.push_back(Dimension::named(count));
    }
    declare(node.outputs[0], dtype, std::move(shape));
  }

  Model model_;
  NameSet names_;
  std::int64_t opset_;
  std::shared_ptr<const GraphFacts> facts_;
  std::map<std::string, std::int64_t> bounds_;
};

bool has_known_inputs(const Model& model) {
  const auto inputs = model.graph.required_inputs();
  return std::all_of(inputs.begin(), inputs.end(),
                     [](const ValueInfo* input) { return input->type && input->type->static_shape(); });
}

}  // namespace

std::optional<BoundedModel> bound_counts(const Model& model, const ConstantTable& constants) {
  const auto& nodes = model.graph.nodes;
  if (!std::any_of(nodes.begin(), nodes.end(), can_make_counts) || !has_known_inputs(model)) return {};
  CountFinder finder(without_large_constants(model, constants));
  if (!finder.run()) return {};
  CountedGraph graph(finder.model(), finder.facts(), finder.bounds());
  for (const Node& node : finder.model().graph.nodes) write_bounded(graph, node);

  BoundedModel made;
  std::vector<ValueInfo> outputs = model.graph.outputs;
  std::vector<std::string> counts;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    ValueInfo& output = outputs[i];
    for (const CountedAxis& axis : graph.counted_axes(output.name)) {
      made.output_counts.push_back({i, axis.axis, counts.size()});
      counts.push_back(graph.scalar(axis.extent));
    }
    output.type = tensor_value(output.name, graph.fact(output.name).dtype, graph.bounds(output.name)).type;
  }
  if (!counts.empty()) {
    const auto num_counts = static_cast<std::int64_t>(counts.size());
    const std::string joined = graph.emit("Concat", "counts", std::move(counts), {{"axis", std::int64_t{0}}});
    outputs.push_back(tensor_value(joined, DType::kInt64, {Dimension::known(num_counts)}));
  }
  made.model = graph.finish(std::move(outputs));
  restore_constants(made.model, model);
  remove_dead_code(made.model);
  return made;
}

}  // namespace pajamas::cuda
