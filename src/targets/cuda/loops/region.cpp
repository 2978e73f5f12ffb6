// Region of region.h: values, constants and indices. The operators are in formulas_*.cpp.
#include "targets/cuda/loops/region.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas::cuda::loops {

void add_sampling_formulas(OperatorTable& table);  // formulas_sampling.cpp
namespace {

/// Elements of an integer or float tensor of at most a few hundred elements as doubles and as integers.
template <typename Visit>
bool visit_elements(const Tensor& tensor, const Visit& visit) {
  const auto each = [&](auto tag) {
    using T = decltype(tag);
    const auto* values = reinterpret_cast<const T*>(tensor.bytes().data());
    for (std::int64_t i = 0; i < tensor.num_elements(); ++i) {
      visit(i, static_cast<double>(values[i]), static_cast<std::int64_t>(values[i]));
    }
  };
  switch (tensor.dtype()) {
    case DType::kFloat32: each(float{}); return true;
    case DType::kFloat64: each(double{}); return true;
    case DType::kInt8: each(std::int8_t{}); return true;
    case DType::kInt16: each(std::int16_t{}); return true;
    case DType::kInt32: each(std::int32_t{}); return true;
    case DType::kInt64: each(std::int64_t{}); return true;
    case DType::kUint8:
    case DType::kBool: each(std::uint8_t{}); return true;
    case DType::kUint16: each(std::uint16_t{}); return true;
    case DType::kUint32: each(std::uint32_t{}); return true;
    case DType::kUint64: each(std::uint64_t{}); return true;
    default: return false;
  }
}

Tensor in_register_type(const Tensor& tensor) {
  return register_type(tensor.dtype()) == tensor.dtype() ? tensor : to_float32(tensor.view());
}

}  // namespace

TensorDesc dense(DType type, const Shape& shape) {
  TensorDesc made{type, shape, std::vector<std::int64_t>(shape.rank(), 1)};
  for (std::size_t i = shape.rank(); i-- > 1;) {
    made.strides[i - 1] = made.strides[i] * std::max<std::int64_t>(1, shape[i]);
  }
  return made;
}

const OperatorEntry* find_operator(const Node& node) {
  static const OperatorTable table = [] {
    OperatorTable made;
    add_pointwise_formulas(made);
    add_activation_formulas(made);
    add_cast_formulas(made);
    add_movement_formulas(made);
    add_indexing_formulas(made);
    add_resize_formulas(made);
    add_sampling_formulas(made);
    add_row_formulas(made);
    add_window_formulas(made);
    return made;
  }();
  if (!node.domain.empty() && node.domain != "ai.onnx") return nullptr;
  const auto found = table.find(node.op_type);
  return found == table.end() ? nullptr : &found->second;
}

Region::Region(std::vector<const Node*> nodes, std::int64_t opset, const GraphFacts& facts)
    : nodes_(std::move(nodes)), opset_(opset), facts_(facts) {
  for (const Node* node : nodes_) {
    for (const std::string& output : node->outputs) {
      if (!output.empty()) producers_[output] = node;
    }
  }
}

void Region::add_input(const std::string& name, const TensorDesc& desc, std::int64_t offset_elements) {
  inputs_[name] = static_cast<std::int32_t>(slots_.size());
  slots_.push_back({name, desc, offset_elements, std::nullopt});
}

std::int32_t Region::add_table(Tensor values) {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].table || slots_[i].table->dtype() != values.dtype()) continue;
    const auto a = slots_[i].table->bytes();
    const auto b = values.bytes();
    if (std::equal(a.begin(), a.end(), b.begin(), b.end())) return static_cast<std::int32_t>(i);
  }
  Slot slot;
  slot.desc = dense(values.dtype(), values.shape());
  slot.table = std::move(values);
  slots_.push_back(std::move(slot));
  return static_cast<std::int32_t>(slots_.size() - 1);
}

const Node* Region::producer(const std::string& name) const {
  const auto found = producers_.find(name);
  return found == producers_.end() || inputs_.contains(name) ? nullptr : found->second;
}

void Region::unsupported(const Node& node, const std::string& why) const {
  throw Error(ErrorKind::kUnsupported, why, node.describe());
}

Shape Region::shape_of(const std::string& value) const {
  if (const auto found = inputs_.find(value); found != inputs_.end()) {
    return slots_[static_cast<std::size_t>(found->second)].desc.extents;
  }
  if (const auto found = constants_.find(value); found != constants_.end()) return found->second->shape();
  const ValueFact* fact = facts_.find(value);
  auto shape = fact == nullptr ? std::nullopt : fact->static_shape();
  if (!shape) throw Error(ErrorKind::kUnsupported, "the shape of value '" + value + "' is not known");
  return *shape;
}

DType Region::type_of(const std::string& value) const {
  if (const auto found = inputs_.find(value); found != inputs_.end()) {
    return slots_[static_cast<std::size_t>(found->second)].desc.dtype;
  }
  if (const auto found = constants_.find(value); found != constants_.end()) return found->second->dtype();
  const DType type = facts_.dtype_of(value);
  if (type == DType::kUndefined) {
    throw Error(ErrorKind::kUnsupported, "the element type of value '" + value + "' is not known");
  }
  return type;
}

std::optional<Tensor> Region::constant(const std::string& value) const {
  if (const auto found = constants_.find(value); found != constants_.end()) return *found->second;
  const ValueFact* fact = facts_.find(value);
  if (fact == nullptr) return std::nullopt;
  if (fact->constant.dtype() != DType::kUndefined) return fact->constant;
  const auto elements = fact->known_elements();
  const auto shape = fact->static_shape();
  if (!elements || !shape || (fact->dtype != DType::kInt64 && fact->dtype != DType::kInt32)) return std::nullopt;
  if (shape->num_elements() != static_cast<std::int64_t>(elements->size())) return std::nullopt;
  if (fact->dtype == DType::kInt64) return Tensor::of<std::int64_t>(*shape, *elements);
  return Tensor::of<std::int32_t>(*shape, std::vector<std::int32_t>(elements->begin(), elements->end()));
}

std::vector<std::int64_t> Region::integers(const Node& node, std::size_t input) const {
  const auto tensor = constant(node.inputs[input]);
  if (!tensor) unsupported(node, "input " + std::to_string(input) + " must be known when the engine is built");
  std::vector<std::int64_t> values;
  visit_elements(*tensor, [&](std::int64_t, double, std::int64_t value) { values.push_back(value); });
  return values;
}

double Region::number(const Node& node, std::size_t input) const {
  auto tensor = constant(node.inputs[input]);
  if (!tensor || tensor->num_elements() != 1) {
    unsupported(node, "input " + std::to_string(input) + " must be one number known when the engine is built");
  }
  const Tensor wide = in_register_type(*tensor);
  double result = 0;
  visit_elements(wide, [&](std::int64_t, double value, std::int64_t) { result = value; });
  return result;
}

std::size_t Region::axis(const Node& node, std::int64_t value, std::size_t rank) const {
  const auto signed_rank = static_cast<std::int64_t>(rank);
  if (value < -signed_rank || value >= signed_rank) unsupported(node, "axis " + std::to_string(value));
  return static_cast<std::size_t>(value < 0 ? value + signed_rank : value);
}

Index Region::index_of_flat(FormId flat, const Shape& shape) {
  Index index(shape.rank(), pool.constant_form(0));
  std::int64_t inner = 1;
  for (std::size_t i = shape.rank(); i-- > 0;) {
    if (shape[i] > 1) index[i] = pool.digit(flat, inner, shape[i]);
    inner *= std::max<std::int64_t>(1, shape[i]);
  }
  return index;
}

FormId Region::flat_of_index(const Index& index, const Shape& shape) {
  FormId flat = pool.constant_form(0);
  std::int64_t inner = 1;
  for (std::size_t i = shape.rank(); i-- > 0;) {
    flat = pool.add(flat, pool.scale(index[i], inner));
    inner *= std::max<std::int64_t>(1, shape[i]);
  }
  return flat;
}

VarId Region::window_variable(const Node& node, std::int64_t extent) {
  const auto found = windows_.find(&node);
  if (found != windows_.end()) return found->second;
  const VarId made = pool.new_variable("w" + std::to_string(windows_.size()), extent);
  windows_[&node] = made;
  return made;
}

const RowSpace& Region::row_space(const Node& node, const Shape& shape, const std::vector<std::size_t>& axes) {
  std::vector<std::int64_t> extents;
  for (const std::size_t axis : axes) extents.push_back(shape[axis]);
  if (rows_) {
    const auto without_ones = [](std::vector<std::int64_t> values) {
      std::erase(values, 1);
      return values;
    };
    if (without_ones(rows_->extents) != without_ones(extents)) {
      unsupported(node, "a second reduction over other extents in one kernel");
    }
    return *rows_;
  }
  RowSpace made;
  made.extents = extents;
  made.count = std::accumulate(extents.begin(), extents.end(), std::int64_t{1}, std::multiplies<>());
  made.order = row_order_;
  if (made.order.size() != extents.size()) {
    made.order.resize(extents.size());
    std::iota(made.order.begin(), made.order.end(), 0);
  }
  made.variable = pool.new_variable("k", made.count);
  rows_ = made;
  return *rows_;
}

Index Region::row_index(const RowSpace& rows, const Index& index, const Shape& shape,
                        const std::vector<std::size_t>& axes) {
  // Extents of 1 have index 0; the others are matched in order, as row_space() compared them.
  std::vector<std::int64_t> inner(rows.extents.size(), 1);
  std::int64_t product = 1;
  for (std::size_t i = rows.order.size(); i-- > 0;) {
    inner[rows.order[i]] = product;
    product *= std::max<std::int64_t>(1, rows.extents[rows.order[i]]);
  }
  const FormId k = pool.variable(rows.variable);
  std::vector<FormId> digits;
  for (std::size_t i = 0; i < rows.extents.size(); ++i) {
    if (rows.extents[i] != 1) digits.push_back(rows.extents[i] > 1 ? pool.digit(k, inner[i], rows.extents[i]) : k);
  }
  Index full = index;
  std::size_t next = 0;
  for (std::size_t i = 0; i < index.size(); ++i) {
    // The variable is bound by the reduction: an outer index that depends on it would be captured.
    const bool is_reduced = std::find(axes.begin(), axes.end(), i) != axes.end();
    if (!is_reduced && (pool.form(index[i]).vars >> rows.variable & 1) != 0) {
      throw Error(ErrorKind::kUnsupported, "a reduction whose rows vary along another reduction's axes");
    }
  }
  for (const std::size_t axis : axes) full[axis] = shape[axis] == 1 ? pool.constant_form(0) : digits[next++];
  return full;
}

ExprId Region::load_constant(const std::string& name, const Tensor& values, const Index& index, ExprId guard) {
  const Tensor wide = in_register_type(values);
  const DType type = wide.dtype();
  bool is_uniform = true;
  double first_number = 0;
  std::int64_t first_integer = 0;
  const bool is_known = visit_elements(wide, [&](std::int64_t i, double number, std::int64_t integer) {
    if (i == 0) {
      first_number = number;
      first_integer = integer;
    }
    is_uniform = is_uniform && integer == first_integer && std::memcmp(&number, &first_number, sizeof number) == 0;
  });
  if (!is_known) {
    throw Error(ErrorKind::kUnsupported, std::string("a constant of type ") + to_string(type) + " in a loop", name);
  }
  if (is_uniform && wide.num_elements() > 0) {
    return is_float_type(type) ? pool.number(type, first_number) : pool.integer(type, first_integer);
  }
  if (wide.size_bytes() > 16384) {
    throw Error(ErrorKind::kUnsupported, "a constant of more than 16 KiB that is no input of the kernel", name);
  }
  const auto [place, is_new] = constant_slots_.emplace(name, 0);
  if (is_new) place->second = add_table(wide);
  return pool.load(place->second, type, flat_of_index(index, values.shape()), guard);
}

ExprId Region::at(const std::string& value, const Index& index, ExprId guard) {
  if (pool.is_true(guard)) guard = kNone;
  const auto key = std::make_tuple(value, index, guard);
  if (const auto found = memo_.find(key); found != memo_.end()) return found->second;
  ExprId result = kNone;
  if (const auto input = inputs_.find(value); input != inputs_.end()) {
    const TensorDesc& desc = slots_[static_cast<std::size_t>(input->second)].desc;
    FormId address = pool.constant_form(0);
    for (std::size_t i = 0; i < index.size(); ++i) {
      if (desc.extents[i] > 1) address = pool.add(address, pool.scale(index[i], desc.strides[i]));
    }
    result = pool.load(input->second, desc.dtype, address, guard);
  } else if (const Node* node = producer(value)) {
    const auto output = std::find(node->outputs.begin(), node->outputs.end(), value) - node->outputs.begin();
    const OperatorEntry* entry = find_operator(*node);
    if (entry == nullptr) unsupported(*node, "the loop generator has no formula for this operator");
    result = entry->formula(*this, *node, static_cast<std::size_t>(output), index, guard);
    const DType type = register_type(type_of(value));
    if (pool.expr(result).type != type) result = pool.cast(type, result);
  } else if (const auto values = constant(value)) {
    result = load_constant(value, *values, index, guard);
  } else {
    throw Error(ErrorKind::kInternal, "value '" + value + "' is neither an input nor made by a loop step");
  }
  memo_[key] = result;
  return result;
}

ExprId Region::operand(const Node& node, std::size_t input, const Index& index, ExprId guard) {
  const std::string& name = node.inputs[input];
  const Shape shape = shape_of(name);
  require(node, shape.rank() <= index.size(), "an operand of higher rank than the result");
  Index own(shape.rank());
  const std::size_t shift = index.size() - shape.rank();
  for (std::size_t i = 0; i < own.size(); ++i) own[i] = shape[i] == 1 ? pool.constant_form(0) : index[i + shift];
  return at(name, own, guard);
}

}  // namespace pajamas::cuda::loops
