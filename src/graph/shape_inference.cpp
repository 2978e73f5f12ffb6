// The walk over graphs, types, control flow and declared types. Rules of single operators are in shape_inference/.
#include "graph/shape_inference.h"

#include <algorithm>

#include "graph/operator_table.h"
#include "graph/operator_types.h"
#include "graph/shape_inference/rules.h"
#include "pajamas/error.h"

namespace pajamas {

std::optional<Shape> ValueFact::static_shape() const {
  if (!shape) return std::nullopt;
  Shape result;
  for (const Extent& extent : *shape) {
    if (!extent.is_known()) return std::nullopt;
    result.push_back(extent.value());
  }
  return result;
}

std::optional<std::vector<std::int64_t>> ValueFact::known_elements() const {
  if (!elements) return std::nullopt;
  std::vector<std::int64_t> values;
  for (const Extent& element : *elements) {
    if (!element.is_known()) return std::nullopt;
    values.push_back(element.value());
  }
  return values;
}

const ValueFact* GraphFacts::find(std::string_view value_name) const {
  for (const GraphFacts* scope = this; scope != nullptr; scope = scope->outer_) {
    const auto found = scope->facts_.find(value_name);
    if (found != scope->facts_.end()) return &found->second;
  }
  return nullptr;
}

DType GraphFacts::dtype_of(std::string_view value_name) const {
  const ValueFact* fact = find(value_name);
  return fact != nullptr ? fact->dtype : DType::kUndefined;
}

const GraphFacts* GraphFacts::nested(const Graph* graph) const {
  const auto found = nested_.find(graph);
  return found == nested_.end() ? nullptr : found->second.get();
}

GraphFacts& GraphFacts::add_nested(const Graph* graph) {
  auto& slot = nested_[graph];
  slot = std::make_unique<GraphFacts>(this);
  return *slot;
}

namespace shape_rules {

const Extents* Site::shape(std::size_t index) const {
  const ValueFact* fact = input(index);
  return fact != nullptr && fact->shape ? &*fact->shape : nullptr;
}

const Extents* Site::elements(std::size_t index) const {
  const ValueFact* fact = input(index);
  return fact != nullptr && fact->elements ? &*fact->elements : nullptr;
}

std::optional<std::vector<std::int64_t>> Site::constants(std::size_t index) const {
  const ValueFact* fact = input(index);
  return fact != nullptr ? fact->known_elements() : std::nullopt;
}

std::optional<std::vector<std::int64_t>> Site::axes(std::size_t input_index) const {
  if (is_given(input_index)) return constants(input_index);
  return node.ints_attribute("axes");
}

void Site::fail(const std::string& why) const {
  throw Error(ErrorKind::kBadInput, why, node.describe(), "export the model again: its shapes contradict each other");
}

std::size_t Site::axis(std::int64_t value, std::size_t rank) const {
  const auto signed_rank = static_cast<std::int64_t>(rank);
  if (value < -signed_rank || value >= signed_rank) {
    fail("axis " + std::to_string(value) + " is outside a tensor of rank " + std::to_string(rank));
  }
  return static_cast<std::size_t>(value < 0 ? value + signed_rank : value);
}

Extent Site::merge(const Extent& a, const Extent& b, const char* what) const {
  if (a.is_known() && b.is_known() && a.value() != b.value()) {
    fail(std::string(what) + " are " + a.to_string() + " and " + b.to_string());
  }
  return a.is_known() ? a : b;
}

Extents broadcast(const Site& site, const Extents& a, const Extents& b) {
  const Extents& longer = a.size() >= b.size() ? a : b;
  const Extents& shorter = a.size() >= b.size() ? b : a;
  Extents result = longer;
  const std::size_t lead = longer.size() - shorter.size();
  for (std::size_t i = 0; i < shorter.size(); ++i) {
    Extent& extent = result[lead + i];
    const Extent& other = shorter[i];
    if (extent == other || (other.is_known() && other.value() == 1)) continue;
    const bool is_one = extent.is_known() && extent.value() == 1;
    if (is_one || (!extent.is_known() && other.is_known())) {
      extent = other;
    } else if (extent.is_known() && other.is_known()) {
      site.fail("shapes " + to_string(a) + " and " + to_string(b) + " do not broadcast");
    } else if (!extent.is_known() && !other.is_known()) {
      extent = Extent::fresh();  // either may be 1
    }
  }
  return result;
}

Extents fresh_shape(std::size_t rank) {
  Extents shape;
  for (std::size_t i = 0; i < rank; ++i) shape.push_back(Extent::fresh());
  return shape;
}

std::string to_string(const Extents& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + shape[i].to_string();
  return text + "]";
}

}  // namespace shape_rules

namespace {

using shape_rules::Extents;
using shape_rules::Site;

const shape_rules::RuleTable& rules() {
  static const shape_rules::RuleTable table = [] {
    shape_rules::RuleTable built;
    shape_rules::add_elementwise_rules(built);
    shape_rules::add_movement_rules(built);
    shape_rules::add_compute_rules(built);
    shape_rules::add_selection_rules(built);
    return built;
  }();
  return table;
}

ValueFact fact_of(const Tensor& tensor) {
  ValueFact fact;
  fact.dtype = tensor.dtype();
  fact.shape.emplace();
  for (const std::int64_t extent : tensor.shape()) fact.shape->push_back(extent);
  if (tensor.num_elements() <= static_cast<std::int64_t>(ValueFact::kMaxTracked)) fact.constant = tensor;
  const bool is_tracked = tensor.dtype() == DType::kInt64 || tensor.dtype() == DType::kInt32;
  if (is_tracked && tensor.shape().rank() <= 1 &&
      tensor.num_elements() <= static_cast<std::int64_t>(ValueFact::kMaxTracked)) {
    fact.elements.emplace();
    if (tensor.dtype() == DType::kInt64) {
      for (const std::int64_t value : tensor.as<std::int64_t>()) fact.elements->push_back(value);
    } else {
      for (const std::int32_t value : tensor.as<std::int32_t>()) fact.elements->push_back(value);
    }
  }
  return fact;
}

ValueFact fact_of(const ValueType& type) {
  ValueFact fact;
  if (type.kind != ValueType::Kind::kTensor) return fact;
  fact.dtype = type.dtype;
  if (type.shape) {
    fact.shape.emplace();
    for (const Dimension& dimension : *type.shape) fact.shape->push_back(Extent::of(dimension));
  }
  return fact;
}

/// Fills what `fact` leaves open by what the file declares.
void complete(ValueFact& fact, const ValueType& declared, const Node& node, const std::string& value_name) {
  if (declared.kind != ValueType::Kind::kTensor) return;
  if (fact.dtype == DType::kUndefined) {
    fact.dtype = declared.dtype;
  } else if (declared.dtype != DType::kUndefined && declared.dtype != fact.dtype) {
    throw Error(ErrorKind::kBadInput,
                "the value '" + value_name + "' is declared as " + to_string(declared.dtype) + " but computed as " +
                    to_string(fact.dtype),
                node.describe(), "export the model again: its types contradict each other");
  }
  if (!declared.shape) return;
  if (!fact.shape) {
    fact.shape = fact_of(declared).shape;
    return;
  }
  if (fact.shape->size() != declared.shape->size()) return;
  for (std::size_t i = 0; i < fact.shape->size(); ++i) {
    const bool is_open = !(*fact.shape)[i].is_known() && !(*fact.shape)[i].to_dimension().value.index();
    const Dimension& dimension = (*declared.shape)[i];
    if (is_open && dimension.value.index() != 0) (*fact.shape)[i] = Extent::of(dimension);
  }
}

class Walker {
 public:
  explicit Walker(const Model& model) : opset_(model.opset_of("").value_or(0)) {}

  void walk(const Graph& graph, GraphFacts& facts) {
    std::unordered_map<std::string_view, const ValueType*> declared;
    for (const ValueInfo& value : graph.value_infos) {
      if (value.type) declared[value.name] = &*value.type;
    }
    for (const ValueInfo& value : graph.outputs) {
      if (value.type) declared[value.name] = &*value.type;
    }
    for (const Initializer& initializer : graph.initializers) facts.set(initializer.name, fact_of(initializer.tensor));
    for (const SparseTensor& sparse : graph.sparse_initializers) {
      ValueFact fact;
      fact.dtype = sparse.values.dtype();
      fact.shape.emplace();
      for (const std::int64_t extent : sparse.shape) fact.shape->push_back(extent);
      facts.set(sparse.name, std::move(fact));
    }
    for (const Node& node : graph.nodes) {
      std::vector<ValueFact> outputs = infer(node, facts);
      for (std::size_t i = 0; i < node.outputs.size(); ++i) {
        const std::string& name = node.outputs[i];
        if (name.empty()) continue;
        if (const auto found = declared.find(name); found != declared.end()) {
          complete(outputs[i], *found->second, node, name);
        }
        facts.set(name, std::move(outputs[i]));
      }
    }
  }

  void set_inputs(const Graph& graph, GraphFacts& facts) {
    for (const ValueInfo& input : graph.inputs) {
      facts.set(input.name, input.type ? fact_of(*input.type) : ValueFact{});
    }
  }

 private:
  std::vector<ValueFact> infer(const Node& node, GraphFacts& facts) {
    Site site{node, opset_, {}, std::vector<ValueFact>(node.outputs.size())};
    for (const std::string& input : node.inputs) site.inputs.push_back(input.empty() ? nullptr : facts.find(input));
    const bool is_default = node.domain.empty() || node.domain == "ai.onnx";
    if (!is_default && node.domain != kPajamasDomain) return std::move(site.outputs);
    if (node.op_type == "If" || node.op_type == "Loop" || node.op_type == "Scan") {
      control_flow(site, facts);
      return std::move(site.outputs);
    }
    set_types(site);
    const auto found = rules().find(node.op_type);
    if (found != rules().end()) found->second(site);
    for (ValueFact& output : site.outputs) {
      if (output.shape) refuse_negative(site, *output.shape);
      if (output.elements &&
          (output.elements->size() > ValueFact::kMaxTracked || !output.shape || output.shape->size() > 1)) {
        output.elements.reset();
      }
    }
    return std::move(site.outputs);
  }

  /// A negative length, repeat or padding larger than the input, in whatever rule it went through.
  static void refuse_negative(const Site& site, const Extents& shape) {
    const bool has_negative = std::any_of(shape.begin(), shape.end(),
                                          [](const Extent& extent) { return extent.is_known() && extent.value() < 0; });
    if (has_negative) site.fail("its result would have the shape " + shape_rules::to_string(shape));
  }

  /// Output types that follow from the operator's type variables alone.
  void set_types(Site& site) const {
    const OperatorTypes* types = find_operator_types(site.node.op_type, opset_);
    if (types == nullptr) return;
    for (std::size_t i = 0; i < site.inputs.size(); ++i) {
      const auto variable = types->input_variable(i);
      const DType own = site.inputs[i] != nullptr ? site.inputs[i]->dtype : DType::kUndefined;
      if (variable.empty() || own == DType::kUndefined) continue;
      for (std::size_t k = 0; k < i; ++k) {
        const DType other = site.inputs[k] != nullptr ? site.inputs[k]->dtype : DType::kUndefined;
        if (other == DType::kUndefined || types->input_variable(k) != variable) continue;
        if (own != other) {
          site.fail(std::string("inputs of types ") + to_string(other) + " and " + to_string(own) + " are mixed");
        }
        break;
      }
    }
    for (std::size_t i = 0; i < site.outputs.size(); ++i) {
      const auto variable = types->output_variable(i);
      if (variable.empty()) continue;
      site.outputs[i].dtype = types->only_type(variable);
      for (std::size_t k = 0; k < site.inputs.size(); ++k) {
        if (types->input_variable(k) != variable) continue;
        if (site.inputs[k] != nullptr && site.inputs[k]->dtype != DType::kUndefined) {
          site.outputs[i].dtype = site.inputs[k]->dtype;
          break;
        }
      }
    }
  }

  const Graph* body(const Node& node, std::string_view name) const {
    const Attribute* attribute = node.find_attribute(name);
    const auto* graph = attribute != nullptr ? std::get_if<std::shared_ptr<Graph>>(&attribute->value) : nullptr;
    return graph != nullptr ? graph->get() : nullptr;
  }

  void control_flow(Site& site, GraphFacts& facts) {
    if (site.node.op_type == "If") {
      const Graph* branches[2] = {body(site.node, "then_branch"), body(site.node, "else_branch")};
      bool is_first = true;
      for (const Graph* branch : branches) {
        if (branch == nullptr) continue;
        GraphFacts& inner = facts.add_nested(branch);
        walk(*branch, inner);
        for (std::size_t i = 0; i < site.outputs.size() && i < branch->outputs.size(); ++i) {
          const ValueFact* fact = inner.find(branch->outputs[i].name);
          if (is_first) {
            if (fact != nullptr) site.outputs[i] = *fact;
            site.outputs[i].elements.reset();
            site.outputs[i].constant = Tensor();  // the other branch may give other values
          } else {
            join(site.outputs[i], fact);
          }
        }
        is_first = false;
      }
      return;
    }
    const Graph* graph = body(site.node, "body");
    if (graph == nullptr) return;
    GraphFacts& inner = facts.add_nested(graph);
    const bool is_loop = site.node.op_type == "Loop";
    const auto num_scanned = static_cast<std::size_t>(site.node.int_attribute("num_scan_inputs", 0));
    const std::size_t num_state = is_loop ? 2 : site.inputs.size() - std::min(site.inputs.size(), num_scanned);
    for (std::size_t i = 0; i < graph->inputs.size(); ++i) {
      ValueFact fact;
      if (graph->inputs[i].type) fact = fact_of(*graph->inputs[i].type);
      // A carried value may change its shape from one turn to the next: only what the body declares holds.
      if (i < site.inputs.size() && site.inputs[i] != nullptr && (!is_loop || i >= 2)) {
        fact.dtype = site.inputs[i]->dtype;
        if (!is_loop && i >= num_state && site.inputs[i]->shape && !site.inputs[i]->shape->empty() &&
            site.node.find_attribute("scan_input_axes") == nullptr) {
          fact.shape = Extents(site.inputs[i]->shape->begin() + 1, site.inputs[i]->shape->end());
        }
      } else if (is_loop && i < 2) {
        fact.dtype = i == 0 ? DType::kInt64 : DType::kBool;
        fact.shape.emplace();
      }
      inner.set(graph->inputs[i].name, std::move(fact));
    }
    walk(*graph, inner);
    const std::size_t first = is_loop ? 1 : 0;
    const std::size_t num_carried =
        is_loop ? site.inputs.size() - std::min<std::size_t>(site.inputs.size(), 2) : num_state;
    for (std::size_t i = 0; i < site.outputs.size() && i + first < graph->outputs.size(); ++i) {
      const ValueFact* fact = inner.find(graph->outputs[i + first].name);
      if (fact == nullptr) continue;
      site.outputs[i].dtype = fact->dtype;
      // A stacked output gets one more axis in front. Shapes that hang on the turn stay unknown.
      if (i >= num_carried && fact->shape && site.node.find_attribute("scan_output_axes") == nullptr) {
        Extents shape{Extent::fresh()};
        for (const Extent& extent : *fact->shape) shape.push_back(extent.is_known() ? extent : Extent::fresh());
        site.outputs[i].shape = std::move(shape);
      }
    }
  }

  static void join(ValueFact& fact, const ValueFact* other) {
    if (other == nullptr) {
      fact = ValueFact{};
      return;
    }
    if (fact.dtype != other->dtype) fact.dtype = DType::kUndefined;
    if (!fact.shape || !other->shape || fact.shape->size() != other->shape->size()) {
      fact.shape.reset();
      return;
    }
    for (std::size_t i = 0; i < fact.shape->size(); ++i) {
      if (!((*fact.shape)[i] == (*other->shape)[i])) (*fact.shape)[i] = Extent::fresh();
    }
  }

  std::int64_t opset_;
};

std::optional<ValueType> type_of(const ValueFact& fact) {
  if (fact.dtype == DType::kUndefined) return std::nullopt;
  ValueType type;
  type.dtype = fact.dtype;
  if (fact.shape) {
    type.shape.emplace();
    for (const Extent& extent : *fact.shape) type.shape->push_back(extent.to_dimension());
  }
  return type;
}

/// Extents that are declared open, or by a name of the exporter's making, and were inferred to be known.
void fill_in(std::vector<Dimension>& declared, const ValueType& inferred) {
  if (!inferred.shape || inferred.shape->size() != declared.size()) return;
  for (std::size_t axis = 0; axis < declared.size(); ++axis) {
    if (!declared[axis].is_known() && (*inferred.shape)[axis].is_known()) declared[axis] = (*inferred.shape)[axis];
  }
}

void write_types(Graph& graph, const GraphFacts& facts) {
  std::unordered_map<std::string_view, ValueInfo*> known;
  for (ValueInfo& value : graph.value_infos) known[value.name] = &value;
  std::unordered_map<std::string_view, ValueInfo*> outputs;
  for (ValueInfo& value : graph.outputs) outputs[value.name] = &value;
  std::vector<ValueInfo> added;
  for (Node& node : graph.nodes) {
    for (const std::string& name : node.outputs) {
      const ValueFact* fact = name.empty() ? nullptr : facts.find(name);
      const auto type = fact != nullptr ? type_of(*fact) : std::nullopt;
      if (!type) continue;
      if (const auto output = outputs.find(name); output != outputs.end()) {
        ValueInfo& value = *output->second;
        if (!value.type || !value.type->shape) {
          value.type = type;
        } else {
          fill_in(*value.type->shape, *type);
        }
      } else if (const auto found = known.find(name); found != known.end()) {
        found->second->type = type;
      } else {
        added.push_back(ValueInfo{name, type, {}, {}});
      }
    }
    for (Attribute& attribute : node.attributes) {
      const auto* nested = std::get_if<std::shared_ptr<Graph>>(&attribute.value);
      if (nested == nullptr || *nested == nullptr) continue;
      if (const GraphFacts* inner = facts.nested(nested->get())) write_types(**nested, *inner);
    }
  }
  std::move(added.begin(), added.end(), std::back_inserter(graph.value_infos));
}

}  // namespace

std::unique_ptr<const GraphFacts> infer_facts(const Model& model) {
  auto facts = std::make_unique<GraphFacts>();
  Walker walker(model);
  walker.set_inputs(model.graph, *facts);
  walker.walk(model.graph, *facts);
  return facts;
}

void infer_shapes(Model& model) {
  const auto facts = infer_facts(model);
  write_types(model.graph, *facts);
}

}  // namespace pajamas
