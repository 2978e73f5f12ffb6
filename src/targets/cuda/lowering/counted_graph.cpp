// See counted_graph.h.
#include "targets/cuda/lowering/counted_graph.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "graph/graph_builder.h"
#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas::cuda {
namespace {

template <typename T>
Tensor number_of(Neutral neutral) {
  using Limits = std::numeric_limits<T>;
  switch (neutral) {
    case Neutral::kZero: return Tensor::scalar(T(0));
    case Neutral::kOne: return Tensor::scalar(T(1));
    case Neutral::kLowest: return Tensor::scalar(Limits::has_infinity ? T(-Limits::infinity()) : Limits::lowest());
    case Neutral::kHighest: return Tensor::scalar(Limits::has_infinity ? Limits::infinity() : Limits::max());
  }
  return {};
}

Tensor half_of(DType dtype, Neutral neutral) {
  const Tensor wide = number_of<float>(neutral);
  const float value = wide.as<float>()[0];
  const std::uint16_t bits = dtype == DType::kFloat16 ? float16_from_float(value) : bfloat16_from_float(value);
  Tensor narrow(dtype, Shape{});
  std::memcpy(narrow.mutable_bytes().data(), &bits, sizeof bits);
  return narrow;
}

Tensor bool_of(bool value) {
  Tensor tensor(DType::kBool, Shape{});
  tensor.mutable_bytes()[0] = static_cast<std::byte>(value ? 1 : 0);
  return tensor;
}

}  // namespace

Tensor neutral_number(DType dtype, Neutral neutral) {
  switch (dtype) {
    case DType::kFloat32: return number_of<float>(neutral);
    case DType::kFloat64: return number_of<double>(neutral);
    case DType::kFloat16:
    case DType::kBfloat16: return half_of(dtype, neutral);
    case DType::kInt8: return number_of<std::int8_t>(neutral);
    case DType::kInt16: return number_of<std::int16_t>(neutral);
    case DType::kInt32: return number_of<std::int32_t>(neutral);
    case DType::kInt64: return number_of<std::int64_t>(neutral);
    case DType::kUint8: return number_of<std::uint8_t>(neutral);
    case DType::kUint16: return number_of<std::uint16_t>(neutral);
    case DType::kUint32: return number_of<std::uint32_t>(neutral);
    case DType::kUint64: return number_of<std::uint64_t>(neutral);
    case DType::kBool: return bool_of(neutral == Neutral::kOne || neutral == Neutral::kHighest);
    default: throw Error(ErrorKind::kInternal, std::string("no neutral number of type ") + to_string(dtype));
  }
}

Tensor narrowed(const Tensor& wide, DType dtype) {
  if (dtype == DType::kFloat32) return wide;
  Tensor narrow(dtype, wide.shape());
  const auto from = wide.as<float>();
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (dtype == DType::kFloat64) {
      narrow.mutable_as<double>()[i] = static_cast<double>(from[i]);
      continue;
    }
    const std::uint16_t bits = dtype == DType::kFloat16 ? float16_from_float(from[i]) : bfloat16_from_float(from[i]);
    std::memcpy(narrow.mutable_bytes().data() + i * sizeof bits, &bits, sizeof bits);
  }
  return narrow;
}

std::optional<std::int64_t> value_at(const Extent& extent, const std::map<std::string, std::int64_t>& bounds) {
  std::int64_t sum = extent.added();
  for (const auto& [factors, coefficient] : extent.terms()) {
    std::int64_t term = std::max<std::int64_t>(coefficient, 0);  // What a count takes away may be nothing.
    for (const std::string& name : factors) {
      const auto found = bounds.find(name);
      if (found == bounds.end() || __builtin_mul_overflow(term, found->second, &term)) return {};
    }
    if (__builtin_add_overflow(sum, term, &sum)) return {};
  }
  return sum;
}

CountedGraph::CountedGraph(Model slim, std::shared_ptr<const GraphFacts> facts,
                           std::map<std::string, std::int64_t> bounds)
    : model_(std::move(slim)),
      facts_(std::move(facts)),
      bounds_(std::move(bounds)),
      opset_(model_.opset()),
      names_(model_.graph) {}

const ValueFact& CountedGraph::fact(const std::string& name) const {
  const ValueFact* found = facts_->find(name);
  if (found == nullptr || !found->shape) throw Error(ErrorKind::kInternal, "nothing is known of '" + name + "'");
  return *found;
}

std::int64_t CountedGraph::bound(const Extent& extent) const {
  const auto value = value_at(extent, bounds_);
  if (!value) throw Error(ErrorKind::kInternal, "the extent " + extent.to_string() + " has no bound");
  return *value;
}

std::vector<std::int64_t> CountedGraph::bounds(const std::string& name) const {
  std::vector<std::int64_t> extents;
  for (const Extent& extent : *fact(name).shape) extents.push_back(bound(extent));
  return extents;
}

std::vector<CountedAxis> CountedGraph::counted_axes(const std::string& name) const {
  std::vector<CountedAxis> axes;
  const auto& shape = *fact(name).shape;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (!shape[i].is_known()) axes.push_back({i, shape[i]});
  }
  return axes;
}

bool CountedGraph::has_counted_elements(const std::string& name) const {
  const auto& elements = fact(name).elements;
  return elements && std::any_of(elements->begin(), elements->end(), [](const Extent& e) { return !e.is_known(); });
}

std::string CountedGraph::emit(const char* type, const std::string& stem, std::vector<std::string> inputs,
                               const std::vector<std::pair<const char*, AttributeValue>>& attributes) {
  Node node;
  node.op_type = type;
  node.name = names_.take(stem + "/" + type);
  node.inputs = std::move(inputs);
  node.outputs = {node.name};
  for (const auto& [name, value] : attributes) node.set_attribute(name, value);
  nodes_.push_back(std::move(node));
  return nodes_.back().outputs[0];
}

std::string CountedGraph::constant(const Tensor& tensor) {
  std::string key = std::string("constant ") + to_string(tensor.dtype()) + tensor.shape().to_string() + " ";
  const auto bytes = tensor.bytes();
  key.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::string& name = memo_[key];
  if (name.empty()) {
    name = names_.take("counts/constant");
    model_.graph.set_initializer(name, tensor);
  }
  return name;
}

std::string CountedGraph::integers(const std::vector<std::int64_t>& values) {
  return constant(Tensor::of<std::int64_t>({static_cast<std::int64_t>(values.size())}, std::span(values)));
}

std::string CountedGraph::scalar(const Extent& extent) {
  if (extent.is_known()) return integers({extent.value()});
  const std::string text = extent.to_string();
  if (const auto found = scalars_.find(text); found != scalars_.end()) return found->second;
  std::string sum;
  for (const auto& [factors, coefficient] : extent.terms()) {
    std::string term;
    for (const std::string& name : factors) {
      const auto found = scalars_.find(name);
      if (found == scalars_.end()) throw Error(ErrorKind::kInternal, "the count '" + name + "' is not there yet");
      term = term.empty() ? found->second : emit("Mul", "counts", {term, found->second});
    }
    if (coefficient != 1) term = emit("Mul", "counts", {term, integers({coefficient})});
    sum = sum.empty() ? term : emit("Add", "counts", {sum, term});
  }
  if (extent.added() != 0) sum = emit("Add", "counts", {sum, integers({extent.added()})});
  return scalars_[text] = sum;
}

std::string CountedGraph::range(std::int64_t count) {
  std::string& name = memo_["range " + std::to_string(count)];
  if (name.empty()) {
    const auto number = [&](std::int64_t value) { return constant(Tensor::scalar(value)); };
    name = emit("Range", "counts", {number(0), number(count), number(1)});
  }
  return name;
}

std::string CountedGraph::mask(const CountedAxis& axis, std::size_t rank) {
  const std::string key =
      "mask " + axis.extent.to_string() + " " + std::to_string(rank) + " " + std::to_string(axis.axis);
  if (const auto found = memo_.find(key); found != memo_.end()) return found->second;
  const std::int64_t count = bound(axis.extent);
  std::vector<std::int64_t> extents(rank, 1);
  extents[axis.axis] = count;
  const std::string at = reshape(range(count), extents);
  return memo_[key] = emit("Less", "counts", {at, scalar(axis.extent)});
}

std::string CountedGraph::masked(const std::string& name, const std::vector<CountedAxis>& axes, Neutral neutral) {
  if (axes.empty()) return name;
  const ValueFact& known = fact(name);
  std::string all;
  for (const CountedAxis& axis : axes) {
    const std::string own = mask(axis, known.rank());
    all = all.empty() ? own : emit("And", name, {all, own});
  }
  if (known.dtype == DType::kBool && neutral == Neutral::kZero) return emit("And", name, {all, name});
  return emit("Where", name, {all, name, constant(neutral_number(known.dtype, neutral))});
}

std::string CountedGraph::lesser(const std::string& a, const std::string& b) {
  return emit("Where", a, {emit("Less", a, {a, b}), a, b});
}

std::string CountedGraph::greater(const std::string& a, const std::string& b) {
  return emit("Where", a, {emit("Less", a, {a, b}), b, a});
}

std::string CountedGraph::clamped(const std::string& indices, DType dtype, std::int64_t low, std::int64_t high) {
  const auto number = [&](std::int64_t value) {
    return constant(dtype == DType::kInt32 ? Tensor::scalar(static_cast<std::int32_t>(value)) : Tensor::scalar(value));
  };
  return lesser(greater(indices, number(low)), number(high));
}

std::string CountedGraph::reshape(const std::string& value, const std::vector<std::int64_t>& extents) {
  return emit("Reshape", value, {value, integers(extents)});
}

std::string CountedGraph::padded(const std::string& value, const std::vector<std::int64_t>& from,
                                 const std::vector<std::int64_t>& to) {
  if (from == to) return value;
  std::vector<std::int64_t> pads(2 * from.size(), 0);
  for (std::size_t i = 0; i < from.size(); ++i) pads[from.size() + i] = to[i] - from[i];
  if (opset_ < 11) return emit("Pad", value, {value}, {{"pads", pads}});
  return emit("Pad", value, {value, integers(pads)});
}

std::string CountedGraph::part(const std::string& value, std::size_t axis, std::int64_t start, std::int64_t end) {
  const std::vector<std::int64_t> axes{static_cast<std::int64_t>(axis)};
  const std::vector<std::int64_t> starts{start};
  const std::vector<std::int64_t> ends{end};
  if (opset_ < 10) return emit("Slice", value, {value}, {{"starts", starts}, {"ends", ends}, {"axes", axes}});
  return emit("Slice", value, {value, integers(starts), integers(ends), integers(axes)});
}

void CountedGraph::declare(const std::string& name, DType dtype, const std::vector<std::int64_t>& extents) {
  infos_.push_back(tensor_value(name, dtype, extents));
}

Model CountedGraph::finish(std::vector<ValueInfo> outputs) {
  model_.graph.nodes = std::move(nodes_);
  model_.graph.value_infos = std::move(infos_);
  model_.graph.outputs = std::move(outputs);
  return std::move(model_);
}

void restore_constants(Model& rewritten, const Model& source) {
  rewritten.graph.inputs = source.graph.inputs;
  for (const Initializer& initializer : source.graph.initializers) {
    if (rewritten.graph.find_initializer(initializer.name) == nullptr) {
      rewritten.graph.initializers.push_back(initializer);
    }
  }
}

std::optional<std::vector<SliceRange>> slice_ranges(const Node& node, std::int64_t opset, const GraphFacts& facts) {
  const auto given = [&](std::size_t i) { return i < node.inputs.size() && !node.inputs[i].empty(); };
  const auto known = [&](std::size_t i) -> std::optional<std::vector<std::int64_t>> {
    const ValueFact* fact = facts.find(node.inputs[i]);
    return fact == nullptr ? std::nullopt : fact->known_elements();
  };
  std::optional<std::vector<std::int64_t>> starts;
  std::optional<std::vector<Extent>> ends;
  std::optional<std::vector<std::int64_t>> axes;
  std::optional<std::vector<std::int64_t>> steps;
  if (opset < 10) {
    starts = node.ints_attribute("starts");
    const auto values = node.ints_attribute("ends");
    ends.emplace(values.begin(), values.end());
    if (node.find_attribute("axes") != nullptr) axes = node.ints_attribute("axes");
  } else {
    if (!given(1) || !given(2)) return {};
    starts = known(1);
    if (const ValueFact* fact = facts.find(node.inputs[2])) ends = fact->elements;
    if (given(3) && !(axes = known(3))) return {};
    if (given(4) && !(steps = known(4))) return {};
  }
  if (!starts || !ends || starts->size() != ends->size()) return {};
  const ValueFact* data = facts.find(node.inputs[0]);
  if (data == nullptr || !data->shape) return {};
  const auto rank = static_cast<std::int64_t>(data->rank());
  constexpr std::int64_t kFar = std::int64_t{1} << 30;
  std::vector<SliceRange> ranges;
  for (std::size_t i = 0; i < starts->size(); ++i) {
    const std::int64_t axis = axes && i < axes->size() ? (*axes)[i] : static_cast<std::int64_t>(i);
    if (axis < -rank || axis >= rank || (steps && i >= steps->size())) return {};
    SliceRange range;
    range.axis = static_cast<std::size_t>(axis < 0 ? axis + rank : axis);
    range.start = (*starts)[i];
    range.step = steps ? (*steps)[i] : 1;
    if (const Extent& end = (*ends)[i]; !end.is_known() || end.value() < kFar) range.end = end;
    ranges.push_back(range);
  }
  return ranges;
}

std::optional<std::int64_t> upper_bound(const std::string& name, const Graph& graph, const GraphFacts& facts,
                                        const std::map<std::string, std::int64_t>& bounds) {
  if (const ValueFact* fact = facts.find(name); fact != nullptr && fact->elements && !fact->elements->empty()) {
    std::optional<std::int64_t> most;
    for (const Extent& element : *fact->elements) {
      const auto value = value_at(element, bounds);
      if (!value) return {};
      most = std::max(most.value_or(*value), *value);
    }
    return most;
  }
  const auto producer = std::find_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
    return std::find(node.outputs.begin(), node.outputs.end(), name) != node.outputs.end();
  });
  if (producer == graph.nodes.end() || producer->inputs.empty()) return {};
  for (const char* type : {"Reshape", "Cast", "Squeeze", "Unsqueeze", "Identity", "Flatten"}) {
    if (producer->is(type)) return upper_bound(producer->inputs[0], graph, facts, bounds);
  }
  std::optional<std::int64_t> least;
  const auto take = [&](std::optional<std::int64_t> value) {
    if (value) least = std::min(least.value_or(*value), *value);
  };
  if (producer->is("Min")) {
    for (const std::string& input : producer->inputs) take(upper_bound(input, graph, facts, bounds));
  } else if (producer->is("ReduceMin")) {
    const ValueFact* fact = facts.find(producer->inputs[0]);
    if (fact == nullptr || !fact->elements) return {};
    for (const Extent& element : *fact->elements) take(value_at(element, bounds));
  }
  return least;
}

}  // namespace pajamas::cuda
