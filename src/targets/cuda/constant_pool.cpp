// Packing of weights: padding, order of the axes, element type. See constant_pool.h.
#include "targets/cuda/constant_pool.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas::cuda {

namespace {

/// dst[i..., axes in `order`] = src: copies with the axes of the destination outermost first, rows of the last
/// destination axis in the inner loop. `src_strides` and `extents` are in destination order, `skip` pads each axis.
template <typename T>
void copy_strided(const T* src, T* dst, const std::vector<std::int64_t>& extents,
                  const std::vector<std::int64_t>& src_strides, const std::vector<std::int64_t>& dst_strides) {
  const std::size_t rank = extents.size();
  if (rank == 0) {
    *dst = *src;
    return;
  }
  std::int64_t num_rows = 1;
  for (std::size_t i = 0; i + 1 < rank; ++i) num_rows *= extents[i];
  const std::int64_t length = extents[rank - 1];
  const std::int64_t src_step = src_strides[rank - 1];
  const std::int64_t dst_step = dst_strides[rank - 1];
  std::vector<std::int64_t> position(rank, 0);
  std::int64_t from = 0;
  std::int64_t to = 0;
  for (std::int64_t row = 0; row < num_rows; ++row) {
    if (src_step == 1 && dst_step == 1) {
      std::memcpy(dst + to, src + from, static_cast<std::size_t>(length) * sizeof(T));
    } else {
      for (std::int64_t i = 0; i < length; ++i) dst[to + i * dst_step] = src[from + i * src_step];
    }
    for (std::size_t axis = rank - 1; axis-- > 0;) {
      from += src_strides[axis];
      to += dst_strides[axis];
      if (++position[axis] < extents[axis]) break;
      from -= src_strides[axis] * extents[axis];
      to -= dst_strides[axis] * extents[axis];
      position[axis] = 0;
    }
  }
}

std::vector<std::int64_t> row_major(const std::vector<std::int64_t>& extents) {
  std::vector<std::int64_t> strides(extents.size(), 1);
  for (std::size_t i = extents.size(); i-- > 1;) strides[i - 1] = strides[i] * extents[i];
  return strides;
}

/// Where each axis goes in memory, outermost first.
std::vector<std::size_t> axis_order(Packing packing, std::size_t rank) {
  std::vector<std::size_t> order(rank);
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (packing == Packing::kChannelsLast && rank >= 3) {
    order.erase(order.begin() + 1);
    order.push_back(1);
  }
  if (packing == Packing::kTransposed && rank >= 2) std::swap(order[rank - 1], order[rank - 2]);
  return order;
}

Tensor convert(const Tensor& tensor, DType dtype) {
  const auto refuse = [&] {
    throw Error(ErrorKind::kUnsupported,
                std::string("a weight of ") + to_string(tensor.dtype()) + " cannot become " + to_string(dtype));
  };
  const bool is_known = tensor.dtype() == DType::kFloat32 || tensor.dtype() == DType::kFloat16 ||
                        tensor.dtype() == DType::kBfloat16 || tensor.dtype() == DType::kFloat64;
  if (!is_known) refuse();
  const Tensor wide = to_float32(tensor.view());
  if (dtype == DType::kFloat32) return wide;
  Tensor narrow(dtype, tensor.shape());
  const auto from = wide.as<float>();
  auto* to = reinterpret_cast<std::uint16_t*>(narrow.mutable_bytes().data());
  if (dtype == DType::kFloat16) {
    convert_float_to_float16(from, {to, from.size()});
  } else if (dtype == DType::kBfloat16) {
    for (std::size_t i = 0; i < from.size(); ++i) to[i] = bfloat16_from_float(from[i]);
  } else {
    refuse();
  }
  return narrow;
}

const Tensor& values_of(const ConstantTable& table, const std::string& name) {
  const ConstantTable::Entry* entry = table.find(name);
  if (entry == nullptr) {
    throw Error(ErrorKind::kInternal, "a program asks for the constant '" + name + "', which there is not");
  }
  if (!entry->values) {
    throw Error(ErrorKind::kInternal, "the numbers of the weight '" + name + "' are not at hand");
  }
  return *entry->values;
}

/// The parts one behind the other: rows of every part in turn.
Tensor joined(const ConstantTable& table, const PackRequest& request) {
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorKind::kInternal, "the parts of the weight '" + request.name + "' do not fit together: " + why);
  };
  std::vector<std::int64_t> extents;
  DType dtype = DType::kUndefined;
  std::int64_t total = 0;
  for (const PackRequest::Part& part : request.parts) {
    total += part.extent;
    if (part.name.empty() || dtype != DType::kUndefined) continue;
    extents = values_of(table, part.name).shape().extents();
    dtype = values_of(table, part.name).dtype();
  }
  if (request.join_axis >= extents.size()) refuse("no such axis");
  extents[request.join_axis] = total;
  const int bits = bits_of(dtype);
  if (bits < 8 || bits % 8 != 0) {
    throw Error(ErrorKind::kUnsupported,
                std::string("a weight of ") + to_string(dtype) + " cannot be joined to others: '" + request.name + "'");
  }
  Tensor whole(dtype, Shape(extents));
  const auto bytes = whole.mutable_bytes();
  std::memset(bytes.data(), 0, bytes.size());
  std::size_t inner = static_cast<std::size_t>(bits) / 8;
  std::size_t num_rows = 1;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    (i < request.join_axis ? num_rows : inner) *= i == request.join_axis ? 1 : static_cast<std::size_t>(extents[i]);
  }
  const std::size_t pitch = inner * static_cast<std::size_t>(total);
  std::size_t start = 0;
  for (const PackRequest::Part& part : request.parts) {
    const std::size_t length = inner * static_cast<std::size_t>(part.extent);
    if (!part.name.empty()) {
      const Tensor& values = values_of(table, part.name);
      extents[request.join_axis] = part.extent;
      if (values.dtype() != dtype || values.shape().extents() != extents) refuse("'" + part.name + "'");
      for (std::size_t row = 0; row < num_rows && length > 0; ++row) {
        std::memcpy(bytes.data() + row * pitch + start, values.bytes().data() + row * length, length);
      }
    }
    start += length;
  }
  return whole;
}

Tensor dequantised(const ConstantTable& table, const PackRequest& request, const Tensor& codes) {
  const Tensor scales = to_float32(values_of(table, request.scale).view());
  Tensor points;
  if (!request.zero_point.empty()) points = to_float32(values_of(table, request.zero_point).view());
  const Shape& shape = codes.shape();
  const std::int64_t count = scales.num_elements();
  const bool is_one = count == 1;
  const bool fits = is_one || (request.scale_axis < shape.rank() && shape[request.scale_axis] == count);
  if (!fits || (!request.zero_point.empty() && points.num_elements() != count)) {
    throw Error(ErrorKind::kInternal, "the scales of the weight '" + request.name + "' do not fit it");
  }
  std::size_t inner = 1;
  for (std::size_t i = request.scale_axis + 1; i < shape.rank(); ++i) inner *= static_cast<std::size_t>(shape[i]);
  Tensor wide = to_float32(codes.view());
  const auto values = wide.mutable_as<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t at = is_one ? 0 : i / inner % static_cast<std::size_t>(count);
    const float zero = request.zero_point.empty() ? 0 : std::as_const(points).as<float>()[at];
    values[i] = (values[i] - zero) * scales.as<float>()[at];
  }
  return wide;
}

Tensor column_sums(const PackRequest& request, const Tensor& matrix) {
  if (matrix.dtype() != DType::kInt8 || matrix.shape().rank() != 2 || request.scale_axis > 1) {
    throw Error(ErrorKind::kInternal, "the weight '" + request.name + "' has no columns of int8");
  }
  const std::int64_t rows = matrix.shape()[0], columns = matrix.shape()[1];
  Tensor sums(DType::kInt32, Shape{matrix.shape()[request.scale_axis]});
  const auto to = sums.mutable_as<std::int32_t>();
  std::fill(to.begin(), to.end(), 0);
  const auto* from = reinterpret_cast<const std::int8_t*>(matrix.bytes().data());
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; ++column) {
      to[static_cast<std::size_t>(request.scale_axis == 1 ? column : row)] += from[row * columns + column];
    }
  }
  return sums;
}

std::string text_of(const std::vector<std::int64_t>& extents) {
  std::string text;
  for (const std::int64_t extent : extents) text += "," + std::to_string(extent);
  return text;
}

}  // namespace

std::string key_of(const PackRequest& request) {
  // Names go last: they may hold any character, so that those of parts say how long they are.
  std::string key = request.packing == Packing::kChannelsLast ? "cl"
                    : request.packing == Packing::kTransposed ? "tr"
                    : request.packing == Packing::kColumnSums ? "sums" + std::to_string(request.scale_axis)
                                                              : "as";
  if (!request.reshaped_extents.empty()) key += "/" + text_of(request.reshaped_extents) + "/";
  key += text_of(request.padded_extents);
  if (request.dtype != DType::kUndefined) key += std::string(",") + to_string(request.dtype);
  if (!request.scale.empty()) {
    key += ",scaled" + std::to_string(request.scale_axis) + "," + std::to_string(request.scale.size()) + ":" +
           request.scale + "," + std::to_string(request.zero_point.size()) + ":" + request.zero_point;
  }
  if (request.parts.empty()) return key + ":" + request.name;
  key += ",joined" + std::to_string(request.join_axis) + ":";
  for (const PackRequest::Part& part : request.parts) {
    key += std::to_string(part.extent) + "," + std::to_string(part.name.size()) + ":" + part.name;
  }
  return key;
}

Tensor pack(const ConstantTable& table, const PackRequest& request) {
  Tensor tensor = request.parts.empty() ? values_of(table, request.name) : joined(table, request);
  if (request.packing == Packing::kColumnSums) return column_sums(request, tensor);
  if (!request.scale.empty()) tensor = dequantised(table, request, tensor);
  if (!request.reshaped_extents.empty()) {
    if (Shape(request.reshaped_extents).num_elements() != tensor.num_elements()) {
      throw Error(ErrorKind::kInternal, "the weight '" + request.name + "' of " + tensor.shape().to_string() +
                                            " has not the elements of " + Shape(request.reshaped_extents).to_string());
    }
    tensor = tensor.reshaped(Shape(request.reshaped_extents));
  }
  const std::vector<std::int64_t>& extents = tensor.shape().extents();
  const std::vector<std::int64_t>& padded = request.padded_extents.empty() ? extents : request.padded_extents;
  bool is_padded = padded.size() != extents.size();
  for (std::size_t i = 0; !is_padded && i < extents.size(); ++i) is_padded = padded[i] < extents[i];
  if (is_padded) {
    throw Error(ErrorKind::kInternal, "the weight '" + request.name + "' of " + tensor.shape().to_string() +
                                          " does not fit into " + Shape(padded).to_string());
  }
  const auto order = axis_order(request.packing, extents.size());
  const bool moves = padded != extents || !std::is_sorted(order.begin(), order.end());
  if (moves) {
    const int bits = bits_of(tensor.dtype());
    if (bits < 8 || bits % 8 != 0 || bits > 64) {
      throw Error(ErrorKind::kUnsupported, std::string("a weight of ") + to_string(tensor.dtype()) +
                                               " cannot be rearranged: '" + request.name + "'");
    }
    // The packed tensor keeps ONNX's extents; only its bytes lie in another order.
    Tensor packed(tensor.dtype(), Shape(padded));
    const auto bytes = packed.mutable_bytes();
    if (padded != extents) std::memset(bytes.data(), 0, bytes.size());
    std::vector<std::int64_t> own;
    std::vector<std::int64_t> room;
    std::vector<std::int64_t> from;
    const auto strides = row_major(extents);
    for (const std::size_t axis : order) {
      own.push_back(extents[axis]);
      room.push_back(padded[axis]);
      from.push_back(strides[axis]);
    }
    const auto to = row_major(room);
    const auto copy = [&](auto tag) {
      using T = decltype(tag);
      copy_strided(reinterpret_cast<const T*>(tensor.bytes().data()), reinterpret_cast<T*>(bytes.data()), own, from,
                   to);
    };
    if (tensor.num_elements() > 0) {
      switch (bits) {
        case 8: copy(std::uint8_t{}); break;
        case 16: copy(std::uint16_t{}); break;
        case 32: copy(std::uint32_t{}); break;
        default: copy(std::uint64_t{}); break;
      }
    }
    tensor = packed;
  }
  if (request.dtype != DType::kUndefined && request.dtype != tensor.dtype()) tensor = convert(tensor, request.dtype);
  return tensor;
}

}  // namespace pajamas::cuda
