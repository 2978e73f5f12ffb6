// See packed_linear_op.h.
#include "targets/openvino/packed_linear_op.h"

#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <openvino/op/add.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/op/convert.hpp>
#include <openvino/op/matmul.hpp>
#include <openvino/op/multiply.hpp>
#include <openvino/op/reshape.hpp>
#include <openvino/op/sigmoid.hpp>
#include <openvino/op/subtract.hpp>
#include <openvino/op/swish.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace pajamas::openvino {

namespace {

using ov::op::v0::Constant;
using ov::op::v0::Convert;
using ov::op::v1::Add;
using ov::op::v1::Multiply;
using Value = ov::Output<ov::Node>;

std::shared_ptr<Constant> as_constant(const Value& value) {
  return std::dynamic_pointer_cast<Constant>(value.get_node_shared_ptr());
}

/// The constant behind conversions and reshapes, if that is all there is.
std::shared_ptr<Constant> converted_constant(const Value& value) {
  std::shared_ptr<ov::Node> node = value.get_node_shared_ptr();
  while (std::dynamic_pointer_cast<Convert>(node) != nullptr ||
         std::dynamic_pointer_cast<ov::op::v1::Reshape>(node) != nullptr) {
    node = node->get_input_node_shared_ptr(0);
  }
  return std::dynamic_pointer_cast<Constant>(node);
}

/// Splits a commutative operation into what is computed and what is constant.
std::pair<Value, std::shared_ptr<Constant>> constant_operand(const std::shared_ptr<ov::Node>& node) {
  for (const std::size_t i : {std::size_t{1}, std::size_t{0}}) {
    if (auto constant = converted_constant(node->input_value(i))) {
      // A dequantised weight is a converted constant too: factors are floats.
      if (constant->get_element_type().is_real()) return {node->input_value(1 - i), constant};
    }
  }
  return {};
}

std::optional<StoredMatrix::Form> form_of(const ov::element::Type& type) {
  if (type == ov::element::u4) return StoredMatrix::Form::kUint4;
  if (type == ov::element::i4) return StoredMatrix::Form::kInt4;
  if (type == ov::element::u8) return StoredMatrix::Form::kUint8;
  if (type == ov::element::i8) return StoredMatrix::Form::kInt8;
  return std::nullopt;
}

/// A product by stored weights, and where its result is.
struct Product {
  std::shared_ptr<ov::Node> node;
  Value result;
  StoredMatrix matrix;
  std::shared_ptr<Constant> values;  ///< Keeps matrix.values alive.
};

/// Weights that a node multiplies its input by; 0: it is no product, or one of two computed matrices.
std::int64_t num_product_weights(const ov::Node& node) {
  if (dynamic_cast<const ov::op::v0::MatMul*>(&node) == nullptr) return 0;
  const ov::PartialShape& shape = node.get_input_partial_shape(1);
  return shape.is_static() ? static_cast<std::int64_t>(ov::shape_size(shape.to_shape())) : 0;
}

/// Factors of a matrix of `num_rows`, one a group; empty when they are laid out otherwise.
std::vector<float> factors_of(const Constant& constant, std::int64_t num_rows, std::int64_t num_groups) {
  std::vector<float> factors = constant.cast_vector<float>();
  const auto wanted = static_cast<std::size_t>(num_rows * num_groups);
  if (factors.size() == 1) factors.resize(wanted, factors[0]);
  if (factors.size() != wanted) factors.clear();
  return factors;
}

/// Reads q · scale, (q - zero point) · scale and q · scale + minimum, between reshapes and conversions.
std::optional<Product> read_product(const std::shared_ptr<ov::Node>& node) {
  const auto product = std::dynamic_pointer_cast<ov::op::v0::MatMul>(node);
  if (product == nullptr || product->get_transpose_a() || !product->get_transpose_b()) return std::nullopt;
  if (product->get_input_element_type(0) != ov::element::f32 || product->get_input_partial_shape(0).rank() != 2) {
    return std::nullopt;
  }
  const ov::PartialShape& shape = product->get_input_partial_shape(1);
  if (shape.rank() != 2 || shape.is_dynamic()) return std::nullopt;
  Product result{product, product->output(0), {}, nullptr};
  StoredMatrix& matrix = result.matrix;
  matrix.num_rows = shape[0].get_length();
  matrix.num_columns = shape[1].get_length();
  std::shared_ptr<Constant> scale;
  std::shared_ptr<Constant> zero_point;
  std::shared_ptr<Constant> minimum;
  Value value = product->input_value(1);
  while (result.values == nullptr) {
    const std::shared_ptr<ov::Node> step = value.get_node_shared_ptr();
    if (auto constant = as_constant(value)) {
      result.values = constant;
    } else if (std::dynamic_pointer_cast<Convert>(step) != nullptr ||
               std::dynamic_pointer_cast<ov::op::v1::Reshape>(step) != nullptr) {
      value = step->input_value(0);
    } else if (std::dynamic_pointer_cast<Add>(step) != nullptr && minimum == nullptr && scale == nullptr) {
      std::tie(value, minimum) = constant_operand(step);
      if (minimum == nullptr) return std::nullopt;
    } else if (std::dynamic_pointer_cast<Multiply>(step) != nullptr && scale == nullptr) {
      std::tie(value, scale) = constant_operand(step);
      if (scale == nullptr) return std::nullopt;
    } else if (std::dynamic_pointer_cast<ov::op::v1::Subtract>(step) != nullptr && zero_point == nullptr) {
      zero_point = converted_constant(step->input_value(1));
      if (zero_point == nullptr) return std::nullopt;
      value = step->input_value(0);
    } else {
      return std::nullopt;
    }
  }
  const auto form = form_of(result.values->get_element_type());
  if (!form || scale == nullptr) return std::nullopt;
  matrix.form = *form;
  matrix.values = static_cast<const std::uint8_t*>(result.values->get_data_ptr());
  const auto num_scales = static_cast<std::int64_t>(ov::shape_size(scale->get_shape()));
  matrix.num_groups = std::max<std::int64_t>(num_scales / matrix.num_rows, 1);
  // A minimum, or a zero point, may be finer or coarser than the scales only by being one number.
  matrix.scales = factors_of(*scale, matrix.num_rows, matrix.num_groups);
  matrix.offsets.assign(matrix.scales.size(), 0.0F);
  if (matrix.scales.empty()) return std::nullopt;
  if (minimum != nullptr) {
    matrix.offsets = factors_of(*minimum, matrix.num_rows, matrix.num_groups);
    if (matrix.offsets.empty()) return std::nullopt;
  }
  if (zero_point != nullptr) {
    const std::vector<float> zeros = factors_of(*zero_point, matrix.num_rows, matrix.num_groups);
    if (zeros.empty()) return std::nullopt;
    for (std::size_t i = 0; i < zeros.size(); ++i) matrix.offsets[i] -= zeros[i] * matrix.scales[i];
  }
  // A bias goes along.
  const auto targets = product->output(0).get_target_inputs();
  if (targets.size() == 1) {
    const auto sum = std::dynamic_pointer_cast<Add>(targets.begin()->get_node()->shared_from_this());
    if (sum != nullptr) {
      const auto bias = constant_operand(sum).second;
      if (bias != nullptr && static_cast<std::int64_t>(ov::shape_size(bias->get_shape())) == matrix.num_rows &&
          static_cast<std::int64_t>(bias->get_shape().back()) == matrix.num_rows) {
        matrix.bias = bias->cast_vector<float>();
        result.result = sum->output(0);
      }
    }
  }
  if (!PackedLinear::can_pack(matrix)) return std::nullopt;
  return result;
}

std::shared_ptr<ov::Node> only_consumer(const Value& value) {
  const auto targets = value.get_target_inputs();
  return targets.size() == 1 ? targets.begin()->get_node()->shared_from_this() : nullptr;
}

/// silu(value), whether written as one operator or as value · sigmoid(value); nothing else may use the value.
std::optional<Value> silu_of(const Value& value) {
  if (const auto node = only_consumer(value)) {
    const auto swish = std::dynamic_pointer_cast<ov::op::v4::Swish>(node);
    if (swish != nullptr && swish->get_input_size() == 1) return swish->output(0);
    return std::nullopt;
  }
  const auto targets = value.get_target_inputs();
  if (targets.size() != 2) return std::nullopt;
  std::shared_ptr<ov::Node> sigmoid;
  std::shared_ptr<ov::Node> product;
  for (const ov::Input<ov::Node>& target : targets) {
    const auto node = target.get_node()->shared_from_this();
    if (std::dynamic_pointer_cast<ov::op::v0::Sigmoid>(node) != nullptr) sigmoid = node;
    if (std::dynamic_pointer_cast<Multiply>(node) != nullptr) product = node;
  }
  if (sigmoid == nullptr || product == nullptr || only_consumer(sigmoid->output(0)) != product) return std::nullopt;
  return product->output(0);
}

/// The result of silu(gate) · up, where both products are used for nothing else.
std::optional<Value> gated_result(const Product& gate, const Product& up) {
  const auto activated = silu_of(gate.result);
  if (!activated) return std::nullopt;
  const auto product = only_consumer(*activated);
  if (product == nullptr || std::dynamic_pointer_cast<Multiply>(product) == nullptr) return std::nullopt;
  if (only_consumer(up.result) != product) return std::nullopt;
  return product->output(0);
}

/// Mappings of files in this process, from /proc/self/maps.
class FileMappings {
 public:
  FileMappings() {
    std::ifstream stream("/proc/self/maps");
    std::string line;
    while (std::getline(stream, line)) {
      std::istringstream fields(line);
      std::uintptr_t begin = 0;
      std::uintptr_t end = 0;
      char dash = 0;
      std::string access;
      std::string offset;
      std::string device;
      std::uint64_t inode = 0;
      fields >> std::hex >> begin >> dash >> end >> access >> offset >> device >> std::dec >> inode;
      if (fields && inode != 0 && access.find('w') == std::string::npos) ranges_[begin] = end;
    }
  }
  /// Drops the pages inside the range from this process if they are those of a file; they stay readable.
  void release(const void* data, std::size_t size) const {
    const auto begin = reinterpret_cast<std::uintptr_t>(data);
    auto found = ranges_.upper_bound(begin);
    if (found == ranges_.begin() || (--found)->second < begin + size) return;
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const std::uintptr_t first = (begin + page - 1) / page * page;
    const std::uintptr_t last = (begin + size) / page * page;
    if (last > first) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
  }

 private:
  std::map<std::uintptr_t, std::uintptr_t> ranges_;
};

}  // namespace

PackedLinearOp::PackedLinearOp(const Value& x, std::shared_ptr<const PackedLinear> linear,
                               std::shared_ptr<const PackedLinear> next)
    : Op({x}), linear_(std::move(linear)), next_(std::move(next)) {
  constructor_validate_and_infer_types();
}

const std::vector<std::int64_t>& PackedLinearOp::output_dims() const {
  return next_ != nullptr ? next_->output_dims() : linear_->output_dims();
}

void PackedLinearOp::validate_and_infer_types() {
  const ov::PartialShape& x = get_input_partial_shape(0);
  const std::vector<std::int64_t>& dims = output_dims();
  set_output_size(dims.size());
  for (std::size_t i = 0; i < dims.size(); ++i) {
    set_output_type(i, ov::element::f32, ov::PartialShape{x.rank().is_static() ? x[0] : ov::Dimension(), dims[i]});
  }
}

std::shared_ptr<ov::Node> PackedLinearOp::clone_with_new_inputs(const ov::OutputVector& inputs) const {
  return std::make_shared<PackedLinearOp>(inputs.at(0), linear_, next_);
}

bool PackedLinearOp::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
  const ov::Shape& shape = inputs[0].get_shape();
  std::vector<float*> results;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    outputs[i].set_shape({shape[0], static_cast<std::size_t>(output_dims()[i])});
    results.push_back(outputs[i].data<float>());
  }
  const auto num_tokens = static_cast<std::int64_t>(shape[0]);
  if (next_ != nullptr) {
    linear_->run_gated(inputs[0].data<const float>(), num_tokens, *next_, results[0]);
  } else {
    linear_->run(inputs[0].data<const float>(), num_tokens, results);
  }
  return true;
}

std::size_t pack_linear_layers(const std::shared_ptr<ov::Model>& model) {
  using Key = std::tuple<const ov::Node*, std::size_t, std::int64_t, bool>;
  std::vector<Key> order;
  std::map<Key, std::vector<Product>> groups;
  std::int64_t num_weights = 0;
  std::int64_t num_fitting = 0;
  for (const std::shared_ptr<ov::Node>& node : model->get_ordered_ops()) {
    num_weights += num_product_weights(*node);
    auto product = read_product(node);
    if (!product) continue;
    num_fitting += product->matrix.num_rows * product->matrix.num_columns;
    const bool is_byte = product->values->get_element_type().bitwidth() == 8;
    const Value x = product->node->input_value(0);
    const Key key{x.get_node(), x.get_index(), product->matrix.num_groups, is_byte};
    auto& group = groups[key];
    if (group.empty()) order.push_back(key);
    group.push_back(std::move(*product));
  }
  // What does not fit is computed in float32 then, so that little gain here would be a large loss there.
  if (num_fitting * 2 < num_weights) return 0;
  const FileMappings mappings;
  std::size_t num_bytes = 0;
  for (const Key& key : order) {
    std::vector<Product>& group = groups[key];
    std::vector<Value> results;
    Combination combination = Combination::kSeparate;
    if (group.size() == 2 && group[0].matrix.num_rows == group[1].matrix.num_rows) {
      for (int i = 0; i < 2 && combination == Combination::kSeparate; ++i) {
        const auto gated = gated_result(group[0], group[1]);
        if (gated) {
          combination = Combination::kSwiGlu;
          results = {*gated};
        } else {
          std::swap(group[0], group[1]);
        }
      }
    }
    if (results.empty()) {
      for (const Product& product : group) results.push_back(product.result);
    }
    std::vector<StoredMatrix> matrices;
    for (Product& product : group) matrices.push_back(std::move(product.matrix));
    const auto linear = std::make_shared<const PackedLinear>(matrices, combination);
    num_bytes += linear->size_bytes();
    // Asked now: what computes x may have been replaced.
    const Value x = group[0].node->input_value(0);
    const auto before = std::dynamic_pointer_cast<PackedLinearOp>(x.get_node_shared_ptr());
    const bool is_behind_gate =
        before != nullptr && before->is_gated() && matrices.size() == 1 && only_consumer(x) == group[0].node;
    const auto packed = is_behind_gate ? before->followed_by(linear) : std::make_shared<PackedLinearOp>(x, linear);
    packed->set_friendly_name(results[0].get_node()->get_friendly_name());
    for (std::size_t i = 0; i < results.size(); ++i) {
      // Names of outputs of the model stay on the value that replaces this one.
      results[i].replace(packed->output(i));
    }
    for (const Product& product : group) {
      mappings.release(product.values->get_data_ptr(), product.values->get_byte_size());
    }
  }
  return num_bytes;
}

}  // namespace pajamas::openvino
