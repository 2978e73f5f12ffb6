// Matrix products: MatMul, Gemm, Einsum and the integer products. Float sums are kept in double.
#include <algorithm>
#include <map>

#include "graph/interpreter/support.h"

namespace pajamas::interpreter {
namespace {

/// out[rows, columns] += a[rows, inner] * b[inner, columns], all dense; Sum is the type of the sums.
template <typename Sum, typename T, typename Out>
void multiply(const T* a, const T* b, Out* out, std::int64_t rows, std::int64_t inner, std::int64_t columns) {
  std::vector<Sum> sums(static_cast<std::size_t>(columns));
  for (std::int64_t row = 0; row < rows; ++row) {
    std::fill(sums.begin(), sums.end(), Sum{});
    for (std::int64_t k = 0; k < inner; ++k) {
      const auto factor = static_cast<Sum>(+a[row * inner + k]);  // +: an int8 is a number here, not a character
      const T* from = b + k * columns;
      for (std::int64_t column = 0; column < columns; ++column) {
        sums[column] += factor * static_cast<Sum>(from[column]);
      }
    }
    for (std::int64_t column = 0; column < columns; ++column)
      out[row * columns + column] = static_cast<Out>(sums[column]);
  }
}

struct Product {
  Shape a;  ///< [batch..., rows, inner]
  Shape b;  ///< [batch..., inner, columns]
  Shape batch;
  Shape result;
};

Product product_of(const Call& call, Shape a, Shape b) {
  call.require(a.rank() >= 1 && b.rank() >= 1, "a product of a scalar");
  const bool is_row = a.rank() == 1;
  const bool is_column = b.rank() == 1;
  if (is_row) a = Shape{1, a[0]};
  if (is_column) b = Shape{b[0], 1};
  const auto lead = [](const Shape& shape) { return Shape(std::vector<std::int64_t>(shape.begin(), shape.end() - 2)); };
  if (a[a.rank() - 1] != b[b.rank() - 2]) {
    call.fail("matrices of shapes " + a.to_string() + " and " + b.to_string() + " do not multiply");
  }
  Product product{a, b, broadcast(call, lead(a), lead(b)), {}};
  product.result = product.batch;
  if (!is_row) product.result.push_back(a[a.rank() - 2]);
  if (!is_column) product.result.push_back(b[b.rank() - 1]);
  return product;
}

/// Calls `visit(offset in a, offset in b, offset in the result)` for each matrix of the batch.
template <typename Visit>
void for_each_matrix(const Product& product, const Visit& visit) {
  const std::int64_t rows = product.a[product.a.rank() - 2];
  const std::int64_t inner = product.a[product.a.rank() - 1];
  const std::int64_t columns = product.b[product.b.rank() - 1];
  const auto lead = [](const Shape& shape) { return Shape(std::vector<std::int64_t>(shape.begin(), shape.end() - 2)); };
  const RowStrides<2> strides{broadcast_strides(lead(product.a), product.batch),
                              broadcast_strides(lead(product.b), product.batch)};
  for_each_row<2>(product.batch, strides,
                  [&](const std::int64_t(&row)[2], std::int64_t to, std::int64_t length, const std::int64_t(&step)[2]) {
                    for (std::int64_t i = 0; i < length; ++i) {
                      visit((row[0] + i * step[0]) * rows * inner, (row[1] + i * step[1]) * inner * columns,
                            (to + i) * rows * columns);
                    }
                  });
}

std::vector<Tensor> mat_mul(const Call& call) {
  const Tensor& a = call.input(0);
  const Tensor& b = call.input(1);
  call.require(a.dtype() == b.dtype(), "the matrices are of different types");
  const Product product = product_of(call, a.shape(), b.shape());
  Tensor out = call.make(a.dtype(), product.result);
  const std::int64_t rows = product.a[product.a.rank() - 2];
  const std::int64_t inner = product.a[product.a.rank() - 1];
  const std::int64_t columns = product.b[product.b.rank() - 1];
  require_numeric(call, a.dtype(), [&](auto tag) {
    using T = decltype(tag);
    using Sum = std::conditional_t<std::is_floating_point_v<T>, double, std::uint64_t>;
    const auto to = out.mutable_as<T>();
    for_each_matrix(product, [&](std::int64_t at_a, std::int64_t at_b, std::int64_t at) {
      multiply<Sum>(a.as<T>().data() + at_a, b.as<T>().data() + at_b, to.data() + at, rows, inner, columns);
    });
  });
  return {out};
}

std::vector<Tensor> gemm(const Call& call) {
  const auto oriented = [&](std::size_t index, const char* attribute) {
    const Tensor& tensor = call.input(index);
    call.require(tensor.shape().rank() == 2, "a matrix is wanted");
    if (call.node.int_attribute(attribute, 0) == 0) return tensor;
    return strided_copy(call, tensor, {tensor.shape()[1], tensor.shape()[0]}, {1, tensor.shape()[1]}, 0);
  };
  const Tensor a = oriented(0, "transA");
  const Tensor b = oriented(1, "transB");
  call.require(a.dtype() == b.dtype() && a.shape()[1] == b.shape()[0], "the matrices do not multiply");
  const Shape shape{a.shape()[0], b.shape()[1]};
  Tensor out = call.make(a.dtype(), shape);
  const double alpha = call.node.float_attribute("alpha", 1.0F);
  const double beta = call.node.float_attribute("beta", 1.0F);
  const Tensor* c = call.optional_input(2);
  call.require(c == nullptr || (c->dtype() == a.dtype() && broadcast(call, c->shape(), shape) == shape),
               "the added matrix does not fit");
  require_float(call, a.dtype(), [&](auto tag) {
    using T = decltype(tag);
    std::vector<double> sums(static_cast<std::size_t>(shape.num_elements()));
    multiply<double>(a.as<T>().data(), b.as<T>().data(), sums.data(), shape[0], a.shape()[1], shape[1]);
    const auto to = out.mutable_as<T>();
    const auto strides = c != nullptr ? broadcast_strides(c->shape(), shape) : std::vector<std::int64_t>{0, 0};
    for (std::int64_t i = 0; i < shape.num_elements(); ++i) {
      const std::int64_t at = i / shape[1] * strides[0] + i % shape[1] * strides[1];
      const double added = c != nullptr ? beta * static_cast<double>(c->as<T>()[at]) : 0;
      to[i] = static_cast<T>(alpha * sums[i] + added);
    }
  });
  return {out};
}

/// Integers of any 8-bit type as int32, less a zero point per tensor or per row or column.
Tensor centered(const Call& call, const Tensor& tensor, const Tensor* zero_point, bool is_left) {
  Tensor out = call.make(DType::kInt32, tensor.shape());
  const auto to = out.mutable_as<std::int32_t>();
  const std::size_t rank = tensor.shape().rank();
  const bool is_done = visit_integer(tensor.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = tensor.as<T>();
    const auto zeros = zero_point != nullptr ? zero_point->as<T>() : std::span<const T>{};
    const std::int64_t columns = rank == 0 ? 1 : tensor.shape()[rank - 1];
    const std::int64_t rows = rank < 2 ? 1 : tensor.shape()[rank - 2];
    const std::int64_t wanted = is_left ? rows : columns;
    call.require(zeros.size() <= 1 || static_cast<std::int64_t>(zeros.size()) == wanted, "the zero point does not fit");
    for (std::size_t i = 0; i < to.size(); ++i) {
      const auto index = static_cast<std::int64_t>(i);
      const std::int64_t at = zeros.size() <= 1 ? 0 : is_left ? index / columns % rows : index % columns;
      to[i] = static_cast<std::int32_t>(from[i]) - (zeros.empty() ? 0 : static_cast<std::int32_t>(zeros[at]));
    }
  });
  if (!is_done) call.fail("integers are wanted");
  return out;
}

std::vector<Tensor> mat_mul_integer(const Call& call) {
  const Tensor a = centered(call, call.input(0), call.optional_input(2), true);
  const Tensor b = centered(call, call.input(1), call.optional_input(3), false);
  const Tensor* inputs[] = {&a, &b};
  return mat_mul(Call{call.node, inputs, call.opset, call.max_output_bytes});
}

std::vector<Tensor> einsum(const Call& call) {
  std::string equation = call.node.string_attribute("equation", "");
  std::erase(equation, ' ');
  if (equation.find("...") != std::string::npos) call.unsupported("an ellipsis in Einsum");
  std::vector<std::string> terms;
  const auto arrow = equation.find("->");
  std::string left = equation.substr(0, arrow);
  for (std::size_t start = 0; start <= left.size();) {
    const auto end = std::min(left.find(',', start), left.size());
    terms.push_back(left.substr(start, end - start));
    start = end + 1;
  }
  call.require(terms.size() == call.inputs.size(), "the equation does not name every input");
  std::map<char, std::int64_t> extents;
  std::map<char, int> counts;
  for (std::size_t i = 0; i < terms.size(); ++i) {
    const Shape& shape = call.input(i).shape();
    call.require(call.input(i).dtype() == call.input(0).dtype(), "the inputs are of different types");
    call.require(shape.rank() == terms[i].size(), "the equation does not fit the rank of an input");
    for (std::size_t k = 0; k < terms[i].size(); ++k) {
      std::int64_t& extent = extents.try_emplace(terms[i][k], shape[k]).first->second;
      call.require(extent == shape[k] || extent == 1 || shape[k] == 1, "the equation gives one axis two extents");
      if (extent == 1) extent = shape[k];
      ++counts[terms[i][k]];
    }
  }
  std::string target = arrow == std::string::npos ? "" : equation.substr(arrow + 2);
  if (arrow == std::string::npos) {
    for (const auto& [letter, count] : counts) {
      if (count == 1) target += letter;
    }
  }
  for (const char letter : target) {
    call.require(std::count(target.begin(), target.end(), letter) == 1, "the equation gives the result an axis twice");
  }
  // The axes of the result first, then those summed over.
  std::string order = target;
  for (const auto& [letter, extent] : extents) {
    if (target.find(letter) == std::string::npos) order += letter;
  }
  Shape shape;
  Shape whole;
  for (std::size_t i = 0; i < order.size(); ++i) {
    call.require(extents.count(order[i]) != 0, "the equation gives an axis that no input has");
    whole.push_back(extents[order[i]]);
    if (i < target.size()) shape.push_back(extents[order[i]]);
  }
  std::vector<std::vector<std::int64_t>> strides;
  for (std::size_t i = 0; i < terms.size(); ++i) {
    const auto own = strides_of(call.input(i).shape());
    std::vector<std::int64_t> walk(order.size(), 0);
    for (std::size_t k = 0; k < terms[i].size(); ++k) {
      if (call.input(i).shape()[k] != 1) walk[order.find(terms[i][k])] += own[k];
    }
    strides.push_back(std::move(walk));
  }
  Tensor out = call.make(call.input(0).dtype(), shape);
  const std::int64_t num_results = shape.num_elements();
  const std::int64_t total = whole.num_elements();
  const std::int64_t per_result = num_results == 0 ? 0 : total / num_results;
  require_numeric(call, out.dtype(), [&](auto tag) {
    using T = decltype(tag);
    using Sum = std::conditional_t<std::is_floating_point_v<T>, double, std::uint64_t>;
    const auto to = out.mutable_as<T>();
    std::vector<std::int64_t> position(order.size(), 0);
    std::vector<const T*> at;
    for (std::size_t i = 0; i < terms.size(); ++i) at.push_back(call.input(i).as<T>().data());
    for (std::int64_t result = 0; result < num_results; ++result) {
      Sum sum{};
      for (std::int64_t i = 0; i < per_result; ++i) {
        Sum value{1};
        for (const T* pointer : at) value *= static_cast<Sum>(*pointer);
        sum += value;
        for (std::size_t axis = order.size(); axis-- > 0;) {
          for (std::size_t k = 0; k < at.size(); ++k) at[k] += strides[k][axis];
          if (++position[axis] < whole[axis]) break;
          for (std::size_t k = 0; k < at.size(); ++k) at[k] -= strides[k][axis] * whole[axis];
          position[axis] = 0;
        }
      }
      to[result] = static_cast<T>(sum);
    }
  });
  return {out};
}

}  // namespace

void add_linear(KernelTable& table) {
  table["MatMul"] = {mat_mul, true};
  table["MatMulInteger"] = {mat_mul_integer, false};
  table["Gemm"] = {gemm, true};
  table["Einsum"] = {einsum, true};
}

}  // namespace pajamas::interpreter
