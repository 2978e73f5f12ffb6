// Shared parts of the interpreter. See support.h.
#include "graph/interpreter/support.h"

#include <algorithm>
#include <cstring>

#include "tensor/half.h"

namespace pajamas::interpreter {

const Tensor& Call::input(std::size_t index) const {
  if (const Tensor* tensor = optional_input(index)) return *tensor;
  fail("input " + std::to_string(index) + " is missing");
}

const Tensor* Call::optional_input(std::size_t index) const {
  return index < inputs.size() && inputs[index] != nullptr && inputs[index]->dtype() != DType::kUndefined
             ? inputs[index]
             : nullptr;
}

bool Call::has_output(std::size_t index) const { return index < node.outputs.size() && !node.outputs[index].empty(); }

Tensor Call::make(DType dtype, Shape shape) const {
  if (bytes_of(dtype, shape) > max_output_bytes) fail_too_large(shape);
  return Tensor(dtype, std::move(shape));
}

void Call::require_room_for_strings(const Shape& shape) const {
  if (static_cast<std::uint64_t>(shape.num_elements()) > max_output_bytes / sizeof(std::string)) fail_too_large(shape);
}

void Call::fail_too_large(const Shape& shape) const {
  unsupported("a result of shape " + shape.to_string() + ", past the limit of " + std::to_string(max_output_bytes) +
              " bytes");
}

void Call::fail(const std::string& why) const {
  throw Error(ErrorKind::kBadInput, why, node.describe(), "export the model again: this node cannot be computed");
}

void Call::unsupported(const std::string& why) const {
  throw Error(ErrorKind::kUnsupported, "the interpreter does not do " + why, node.describe());
}

std::size_t Call::axis(std::int64_t value, std::size_t rank) const {
  const auto signed_rank = static_cast<std::int64_t>(rank);
  if (value < -signed_rank || value >= signed_rank) {
    fail("axis " + std::to_string(value) + " is outside a tensor of rank " + std::to_string(rank));
  }
  return static_cast<std::size_t>(value < 0 ? value + signed_rank : value);
}

std::vector<std::int64_t> Call::axes(std::size_t input_index) const {
  if (const Tensor* tensor = optional_input(input_index)) return read_integers(*this, *tensor);
  return node.ints_attribute("axes");
}

std::vector<std::int64_t> read_integers(const Call& call, const Tensor& tensor) {
  if (tensor.shape().rank() > 1) call.fail("a list of integers has shape " + tensor.shape().to_string());
  std::vector<std::int64_t> values;
  const bool is_integer = visit_integer(tensor.dtype(), [&](auto tag) {
    for (const auto value : tensor.as<decltype(tag)>()) values.push_back(static_cast<std::int64_t>(value));
  });
  if (!is_integer) call.fail(std::string("integers are wanted, not ") + to_string(tensor.dtype()));
  return values;
}

double read_number(const Call& call, const Tensor& tensor) {
  if (tensor.num_elements() != 1) {
    call.fail("a single value is wanted, not a tensor of shape " + tensor.shape().to_string());
  }
  const Tensor wide = widened(tensor);
  double result = 0;
  if (wide.dtype() == DType::kBool) return wide.as<bool>()[0] ? 1 : 0;
  require_numeric(call, wide.dtype(), [&](auto tag) { result = static_cast<double>(wide.as<decltype(tag)>()[0]); });
  return result;
}

std::vector<std::int64_t> strides_of(const Shape& shape) {
  std::vector<std::int64_t> strides(shape.rank(), 1);
  for (std::size_t i = shape.rank(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

Shape broadcast(const Call& call, const Shape& a, const Shape& b) {
  const Shape& longer = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  Shape result = longer;
  const std::size_t lead = longer.rank() - shorter.rank();
  for (std::size_t i = 0; i < shorter.rank(); ++i) {
    std::int64_t& extent = result[lead + i];
    if (extent == 1) {
      extent = shorter[i];
    } else if (shorter[i] != 1 && shorter[i] != extent) {
      call.fail("shapes " + a.to_string() + " and " + b.to_string() + " do not broadcast");
    }
  }
  return result;
}

std::vector<std::int64_t> broadcast_strides(const Shape& shape, const Shape& out) {
  std::vector<std::int64_t> result(out.rank(), 0);
  const auto own = strides_of(shape);
  const std::size_t lead = out.rank() - shape.rank();
  for (std::size_t i = 0; i < shape.rank(); ++i) result[lead + i] = shape[i] == 1 ? 0 : own[i];
  return result;
}

Tensor strided_copy(const Call& call, const Tensor& in, const Shape& out_shape,
                    const std::vector<std::int64_t>& strides, std::int64_t offset) {
  const RowStrides<1> all_strides{strides};
  if (in.dtype() == DType::kString) {
    call.require_room_for_strings(out_shape);
    std::vector<std::string> out(static_cast<std::size_t>(out_shape.num_elements()));
    const auto& from = in.strings();
    for_each_row<1>(
        out_shape, all_strides,
        [&](const std::int64_t(&row)[1], std::int64_t to, std::int64_t length, const std::int64_t(&inner)[1]) {
          for (std::int64_t i = 0; i < length; ++i) {
            out[static_cast<std::size_t>(to + i)] = from[static_cast<std::size_t>(offset + row[0] + i * inner[0])];
          }
        });
    return Tensor(out_shape, std::move(out));
  }
  Tensor out = call.make(in.dtype(), out_shape);
  visit_size(call, in.dtype(), [&](auto tag) {
    using Element = decltype(tag);
    const auto* from = reinterpret_cast<const Element*>(in.bytes().data()) + offset;
    auto* to = reinterpret_cast<Element*>(out.mutable_bytes().data());
    for_each_row<1>(
        out_shape, all_strides,
        [&](const std::int64_t(&row)[1], std::int64_t at, std::int64_t length, const std::int64_t(&inner)[1]) {
          const Element* source = from + row[0];
          Element* target = to + at;
          if (inner[0] == 1) {
            std::memcpy(target, source, static_cast<std::size_t>(length) * sizeof(Element));
          } else {
            for (std::int64_t i = 0; i < length; ++i) target[i] = source[i * inner[0]];
          }
        });
  });
  return out;
}

Tensor gather_flat(const Call& call, const Tensor& in, const Shape& out_shape, std::span<const std::int64_t> index) {
  if (in.dtype() == DType::kString) {
    std::vector<std::string> out(index.size());
    for (std::size_t i = 0; i < index.size(); ++i) out[i] = in.strings()[static_cast<std::size_t>(index[i])];
    return Tensor(out_shape, std::move(out));
  }
  Tensor out = call.make(in.dtype(), out_shape);
  visit_size(call, in.dtype(), [&](auto tag) {
    using Element = decltype(tag);
    const auto* from = reinterpret_cast<const Element*>(in.bytes().data());
    auto* to = reinterpret_cast<Element*>(out.mutable_bytes().data());
    for (std::size_t i = 0; i < index.size(); ++i) to[i] = from[index[i]];
  });
  return out;
}

Tensor widened(const Tensor& tensor) {
  if (tensor.dtype() == DType::kFloat16 || tensor.dtype() == DType::kBfloat16) return to_float32(tensor.view());
  return tensor;
}

Tensor narrowed(const Tensor& tensor, DType half) {
  Tensor out(half, tensor.shape());
  const auto bytes = out.mutable_bytes();
  const std::span<std::uint16_t> bits{reinterpret_cast<std::uint16_t*>(bytes.data()), bytes.size() / 2};
  const auto in = tensor.as<float>();
  if (half == DType::kFloat16) {
    convert_float_to_float16(in, bits);
  } else {
    std::transform(in.begin(), in.end(), bits.begin(), bfloat16_from_float);
  }
  return out;
}

const KernelTable& kernels() {
  static const KernelTable table = [] {
    KernelTable built;
    add_elementwise(built);
    add_activations(built);
    add_casts(built);
    add_movement(built);
    add_indexing(built);
    add_reductions(built);
    add_linear(built);
    add_convolution(built);
    add_pooling(built);
    add_normalization(built);
    add_resize(built);
    add_detection(built);
    return built;
  }();
  return table;
}

}  // namespace pajamas::interpreter
