// Elementwise arithmetic, comparison, logic and selection with ONNX's broadcasting. Integers wrap around, integer
// division truncates and by zero is an error; floats follow IEEE 754. Activations are in activations.cpp.
#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/interpreter/support.h"

namespace pajamas::interpreter {
namespace {

template <typename In, typename Out, typename Op>
void apply_binary(const Tensor& a, const Tensor& b, Tensor& out, const Op& op) {
  const auto* left = reinterpret_cast<const In*>(a.bytes().data());
  const auto* right = reinterpret_cast<const In*>(b.bytes().data());
  auto* result = reinterpret_cast<Out*>(out.mutable_bytes().data());
  const RowStrides<2> strides{broadcast_strides(a.shape(), out.shape()), broadcast_strides(b.shape(), out.shape())};
  for_each_row<2>(
      out.shape(), strides,
      [&](const std::int64_t(&row)[2], std::int64_t to, std::int64_t length, const std::int64_t(&inner)[2]) {
        for (std::int64_t i = 0; i < length; ++i) {
          result[to + i] = op(left[row[0] + i * inner[0]], right[row[1] + i * inner[1]]);
        }
      });
}

void require_same_type(const Call& call) {
  for (std::size_t i = 1; i < call.inputs.size(); ++i) {
    if (call.input(i).dtype() != call.input(0).dtype()) {
      call.fail(std::string("inputs of types ") + to_string(call.input(0).dtype()) + " and " +
                to_string(call.input(i).dtype()) + " are mixed");
    }
  }
}

/// Shape of a binary result. Opset 6 and before had the attributes "broadcast" and "axis": refused.
Shape binary_shape(const Call& call) {
  if (call.opset < 7) call.unsupported("the broadcasting of opset 6");
  return broadcast(call, call.input(0).shape(), call.input(1).shape());
}

/// Arithmetic on T, wrapping for signed integers (computed unsigned, where overflow is defined).
template <typename T, typename Op>
T wrapped(T a, T b, const Op& op) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(op(static_cast<std::uint64_t>(a), static_cast<std::uint64_t>(b)));
  } else {
    return op(a, b);
  }
}

struct AddOp {
  template <typename T>
  T operator()(T a, T b) const {
    return wrapped(a, b, [](auto x, auto y) { return x + y; });
  }
};
struct SubOp {
  template <typename T>
  T operator()(T a, T b) const {
    return wrapped(a, b, [](auto x, auto y) { return x - y; });
  }
};
struct MulOp {
  template <typename T>
  T operator()(T a, T b) const {
    return wrapped(a, b, [](auto x, auto y) { return x * y; });
  }
};
struct MinOp {
  template <typename T>
  T operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<T>::quiet_NaN();
    }
    return b < a ? b : a;
  }
};
struct MaxOp {
  template <typename T>
  T operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<T>::quiet_NaN();
    }
    return a < b ? b : a;
  }
};

template <typename Op>
std::vector<Tensor> arithmetic(const Call& call) {
  require_same_type(call);
  Tensor out = call.make(call.input(0).dtype(), binary_shape(call));
  require_numeric(call, out.dtype(), [&](auto tag) {
    using T = decltype(tag);
    apply_binary<T, T>(call.input(0), call.input(1), out, Op{});
  });
  return {out};
}

std::vector<Tensor> divide(const Call& call) {
  require_same_type(call);
  Tensor out = call.make(call.input(0).dtype(), binary_shape(call));
  require_numeric(call, out.dtype(), [&](auto tag) {
    using T = decltype(tag);
    apply_binary<T, T>(call.input(0), call.input(1), out, [&](T a, T b) -> T {
      if constexpr (std::is_integral_v<T>) {
        if (b == 0) call.fail("division of an integer by zero");
        if constexpr (std::is_signed_v<T>) {
          if (b == -1) return static_cast<T>(0 - static_cast<std::uint64_t>(a));  // the lowest value wraps
        }
      }
      return static_cast<T>(a / b);
    });
  });
  return {out};
}

std::vector<Tensor> modulo(const Call& call) {
  require_same_type(call);
  const bool is_fmod = call.node.int_attribute("fmod", 0) != 0;
  Tensor out = call.make(call.input(0).dtype(), binary_shape(call));
  require_numeric(call, out.dtype(), [&](auto tag) {
    using T = decltype(tag);
    apply_binary<T, T>(call.input(0), call.input(1), out, [&](T a, T b) -> T {
      if constexpr (std::is_floating_point_v<T>) {
        const T rest = std::fmod(a, b);
        // Without fmod the result has the sign of the divisor, as in Python.
        return !is_fmod && rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
      } else {
        if (b == 0) call.fail("the rest of a division of an integer by zero");
        if constexpr (std::is_signed_v<T>) {
          if (b == -1) return 0;
        }
        const T rest = static_cast<T>(a % b);
        return !is_fmod && rest != 0 && (rest < 0) != (b < 0) ? static_cast<T>(rest + b) : rest;
      }
    });
  });
  return {out};
}

template <typename T>
T integer_power(T base, T exponent) {
  if constexpr (std::is_signed_v<T>) {
    if (exponent < 0) return base == 1 ? T{1} : base == -1 ? static_cast<T>(exponent % 2 == 0 ? 1 : -1) : T{0};
  }
  std::uint64_t result = 1;
  auto factor = static_cast<std::uint64_t>(base);
  for (auto rest = static_cast<std::uint64_t>(exponent); rest != 0; rest >>= 1) {
    if ((rest & 1U) != 0) result *= factor;
    factor *= factor;
  }
  return static_cast<T>(result);
}

std::vector<Tensor> power(const Call& call) {
  const Tensor& base = call.input(0);
  const Tensor& exponent = call.input(1);
  Tensor out = call.make(base.dtype(), binary_shape(call));
  require_numeric(call, base.dtype(), [&](auto base_tag) {
    using T = decltype(base_tag);
    require_numeric(call, exponent.dtype(), [&](auto exponent_tag) {
      using E = decltype(exponent_tag);
      const auto values = base.as<T>();
      const auto exponents = exponent.as<E>();
      const auto to = out.mutable_as<T>();
      const RowStrides<2> strides{broadcast_strides(base.shape(), out.shape()),
                                  broadcast_strides(exponent.shape(), out.shape())};
      for_each_row<2>(
          out.shape(), strides,
          [&](const std::int64_t(&row)[2], std::int64_t at, std::int64_t length, const std::int64_t(&inner)[2]) {
            for (std::int64_t i = 0; i < length; ++i) {
              const T x = values[row[0] + i * inner[0]];
              const E y = exponents[row[1] + i * inner[1]];
              if constexpr (std::is_integral_v<T> && std::is_integral_v<E>) {
                to[at + i] = static_cast<T>(integer_power(static_cast<std::int64_t>(x), static_cast<std::int64_t>(y)));
              } else {
                to[at + i] = static_cast<T>(std::pow(static_cast<double>(x), static_cast<double>(y)));
              }
            }
          });
    });
  });
  return {out};
}

template <typename Op>
std::vector<Tensor> variadic(const Call& call) {
  require_same_type(call);
  Tensor result = call.input(0);
  for (std::size_t i = 1; i < call.inputs.size(); ++i) {
    Tensor out = call.make(result.dtype(), broadcast(call, result.shape(), call.input(i).shape()));
    require_numeric(call, out.dtype(), [&](auto tag) {
      using T = decltype(tag);
      apply_binary<T, T>(result, call.input(i), out, Op{});
    });
    result = std::move(out);
  }
  return {result};
}

std::vector<Tensor> mean(const Call& call) {
  Tensor sum = variadic<AddOp>(call)[0];
  require_float(call, sum.dtype(), [&](auto tag) {
    using T = decltype(tag);
    for (T& value : sum.mutable_as<T>()) value /= static_cast<T>(call.inputs.size());
  });
  return {sum};
}

template <typename Op>
std::vector<Tensor> compare(const Call& call) {
  require_same_type(call);
  Tensor out = call.make(DType::kBool, binary_shape(call));
  const DType dtype = call.input(0).dtype();
  const auto apply = [&](auto tag) {
    using T = decltype(tag);
    apply_binary<T, bool>(call.input(0), call.input(1), out, Op{});
  };
  if (dtype == DType::kBool) {
    apply(std::uint8_t{});
  } else if (dtype == DType::kString) {
    // Strings are indices for the walk; only equality makes sense on them.
    if (call.node.op_type != "Equal") call.unsupported("an order of strings");
    const auto& left = call.input(0).strings();
    const auto& right = call.input(1).strings();
    const auto to = out.mutable_as<bool>();
    const RowStrides<2> strides{broadcast_strides(call.input(0).shape(), out.shape()),
                                broadcast_strides(call.input(1).shape(), out.shape())};
    for_each_row<2>(
        out.shape(), strides,
        [&](const std::int64_t(&row)[2], std::int64_t at, std::int64_t length, const std::int64_t(&inner)[2]) {
          for (std::int64_t i = 0; i < length; ++i) {
            to[at + i] = left[static_cast<std::size_t>(row[0] + i * inner[0])] ==
                         right[static_cast<std::size_t>(row[1] + i * inner[1])];
          }
        });
  } else {
    require_numeric(call, dtype, apply);
  }
  return {out};
}

template <typename Op>
std::vector<Tensor> logic(const Call& call) {
  for (std::size_t i = 0; i < 2; ++i) call.require(call.input(i).dtype() == DType::kBool, "a bool input is wanted");
  Tensor out = call.make(DType::kBool, binary_shape(call));
  apply_binary<bool, bool>(call.input(0), call.input(1), out, Op{});
  return {out};
}

template <typename Op>
std::vector<Tensor> bitwise(const Call& call) {
  require_same_type(call);
  Tensor out = call.make(call.input(0).dtype(), binary_shape(call));
  const bool is_done = visit_integer(out.dtype(), [&](auto tag) {
    using T = decltype(tag);
    apply_binary<T, T>(call.input(0), call.input(1), out, [](T a, T b) { return static_cast<T>(Op{}(a, b)); });
  });
  if (!is_done) call.fail("integers are wanted");
  return {out};
}

std::vector<Tensor> bit_shift(const Call& call) {
  require_same_type(call);
  const std::string direction = call.node.string_attribute("direction", "");
  call.require(direction == "LEFT" || direction == "RIGHT", "attribute 'direction' must be LEFT or RIGHT");
  const bool is_left = direction == "LEFT";
  Tensor out = call.make(call.input(0).dtype(), binary_shape(call));
  const bool is_done = visit_integer(out.dtype(), [&](auto tag) {
    using T = decltype(tag);
    apply_binary<T, T>(call.input(0), call.input(1), out, [&](T a, T b) -> T {
      // A shift by less than 0 or by the width and more moves every bit out; to the right the sign fills up.
      const auto amount = static_cast<std::uint64_t>(+b);  // +: an int8 is a number here, not a character
      const bool is_past = amount >= sizeof(T) * 8;
      if (is_left) return is_past ? T{0} : static_cast<T>(static_cast<std::uint64_t>(a) << amount);
      return static_cast<T>(a >> (is_past ? sizeof(T) * 8 - 1 : amount) >> (is_past ? 1 : 0));
    });
  });
  if (!is_done) call.fail("integers are wanted");
  return {out};
}

std::vector<Tensor> bitwise_not(const Call& call) {
  Tensor out = call.make(call.input(0).dtype(), call.input(0).shape());
  const bool is_done = visit_integer(out.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto in = call.input(0).as<T>();
    std::transform(in.begin(), in.end(), out.mutable_as<T>().begin(), [](T value) { return static_cast<T>(~value); });
  });
  if (!is_done) call.fail("integers are wanted");
  return {out};
}

std::vector<Tensor> logical_not(const Call& call) {
  const auto in = call.input(0).as<bool>();
  Tensor out = call.make(DType::kBool, call.input(0).shape());
  std::transform(in.begin(), in.end(), out.mutable_as<bool>().begin(), [](bool value) { return !value; });
  return {out};
}

std::vector<Tensor> where(const Call& call) {
  const Tensor& condition = call.input(0);
  const Tensor& yes = call.input(1);
  const Tensor& no = call.input(2);
  call.require(condition.dtype() == DType::kBool, "the condition must be bool");
  call.require(yes.dtype() == no.dtype(), "the two choices must be of one type");
  const Shape shape = broadcast(call, broadcast(call, condition.shape(), yes.shape()), no.shape());
  const RowStrides<3> strides{broadcast_strides(condition.shape(), shape), broadcast_strides(yes.shape(), shape),
                              broadcast_strides(no.shape(), shape)};
  const auto choose = condition.as<bool>();
  const auto walk = [&](const auto& assign) {
    for_each_row<3>(
        shape, strides,
        [&](const std::int64_t(&row)[3], std::int64_t to, std::int64_t length, const std::int64_t(&inner)[3]) {
          for (std::int64_t i = 0; i < length; ++i) {
            const bool is_yes = choose[static_cast<std::size_t>(row[0] + i * inner[0])];
            assign(to + i, is_yes, is_yes ? row[1] + i * inner[1] : row[2] + i * inner[2]);
          }
        });
  };
  if (yes.dtype() == DType::kString) {
    call.require_room_for_strings(shape);
    std::vector<std::string> result(static_cast<std::size_t>(shape.num_elements()));
    walk([&](std::int64_t to, bool is_yes, std::int64_t from) {
      result[static_cast<std::size_t>(to)] = (is_yes ? yes : no).strings()[static_cast<std::size_t>(from)];
    });
    return {Tensor(shape, std::move(result))};
  }
  Tensor out = call.make(yes.dtype(), shape);
  visit_size(call, out.dtype(), [&](auto tag) {
    using Element = decltype(tag);
    const auto* from_yes = reinterpret_cast<const Element*>(yes.bytes().data());
    const auto* from_no = reinterpret_cast<const Element*>(no.bytes().data());
    auto* result = reinterpret_cast<Element*>(out.mutable_bytes().data());
    walk([&](std::int64_t to, bool is_yes, std::int64_t from) { result[to] = (is_yes ? from_yes : from_no)[from]; });
  });
  return {out};
}

struct EqualOp {
  template <typename T>
  bool operator()(T a, T b) const {
    return a == b;
  }
};
struct GreaterOp {
  template <typename T>
  bool operator()(T a, T b) const {
    return a > b;
  }
};
struct GreaterOrEqualOp {
  template <typename T>
  bool operator()(T a, T b) const {
    return a >= b;
  }
};
struct LessOp {
  template <typename T>
  bool operator()(T a, T b) const {
    return a < b;
  }
};
struct LessOrEqualOp {
  template <typename T>
  bool operator()(T a, T b) const {
    return a <= b;
  }
};
struct AndOp {
  template <typename T>
  auto operator()(T a, T b) const {
    return a & b;
  }
};
struct OrOp {
  template <typename T>
  auto operator()(T a, T b) const {
    return a | b;
  }
};
struct XorOp {
  template <typename T>
  auto operator()(T a, T b) const {
    return a ^ b;
  }
};

}  // namespace

void add_elementwise(KernelTable& table) {
  table["Add"] = {arithmetic<AddOp>, true};
  table["Sub"] = {arithmetic<SubOp>, true};
  table["Mul"] = {arithmetic<MulOp>, true};
  table["Div"] = {divide, true};
  table["Mod"] = {modulo, true};
  table["Pow"] = {power, true};
  table["Min"] = {variadic<MinOp>, true};
  table["Max"] = {variadic<MaxOp>, true};
  table["Sum"] = {variadic<AddOp>, true};
  table["Mean"] = {mean, true};
  table["Equal"] = {compare<EqualOp>, true};
  table["Greater"] = {compare<GreaterOp>, true};
  table["GreaterOrEqual"] = {compare<GreaterOrEqualOp>, true};
  table["Less"] = {compare<LessOp>, true};
  table["LessOrEqual"] = {compare<LessOrEqualOp>, true};
  table["And"] = {logic<AndOp>, false};
  table["Or"] = {logic<OrOp>, false};
  table["Xor"] = {logic<XorOp>, false};
  table["Not"] = {logical_not, false};
  table["BitwiseAnd"] = {bitwise<AndOp>, false};
  table["BitwiseOr"] = {bitwise<OrOp>, false};
  table["BitwiseXor"] = {bitwise<XorOp>, false};
  table["BitwiseNot"] = {bitwise_not, false};
  table["BitShift"] = {bit_shift, false};
  table["Where"] = {where, false};
}

}  // namespace pajamas::interpreter
