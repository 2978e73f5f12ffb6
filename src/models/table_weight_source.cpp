// See table_weight_source.h.
#include "models/table_weight_source.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/files.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

std::optional<GgmlType> type_of(const CheckpointTensor& tensor) {
  return tensor.block_type ? tensor.block_type : plain_type_of(tensor.dtype);
}

/// Rows of a tensor: its first axis, also of a vector.
CheckpointTensor rows_of(const std::string& name, const CheckpointTensor& tensor, std::int64_t row_begin,
                         std::int64_t row_count, const std::string& where) {
  const std::int64_t num_rows = tensor.shape.rank() == 0 ? 0 : tensor.shape[0];
  if (row_begin < 0 || row_count < 1 || row_begin > num_rows - row_count) {
    throw Error(ErrorKind::kBadInput,
                "tensor '" + name + "' should be rows " + std::to_string(row_begin) + " to " +
                    std::to_string(row_begin + row_count) + " of one of shape " + tensor.shape.to_string(),
                where, "the file is damaged, or of another kind of model");
  }
  CheckpointTensor part = tensor;
  part.shape[0] = row_count;
  const std::size_t row_bytes = tensor.bytes.size() / static_cast<std::size_t>(num_rows);
  part.bytes = tensor.bytes.subspan(static_cast<std::size_t>(row_begin) * row_bytes,
                                    static_cast<std::size_t>(row_count) * row_bytes);
  return part;
}

template <typename T>
T element(std::span<const std::byte> bytes, std::size_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

}  // namespace

void TableWeightSource::insert(const std::string& name, Entry entry) {
  if (!entries_.emplace(name, std::move(entry)).second) {
    throw Error(ErrorKind::kBadInput, "two tensors stand for '" + name + "'", where_);
  }
}

void TableWeightSource::add(const std::string& name, CheckpointTensor tensor) { insert(name, {std::move(tensor), {}}); }

void TableWeightSource::add_rows(const std::string& name, const CheckpointTensor& tensor, std::int64_t row_begin,
                                 std::int64_t row_count) {
  insert(name, {rows_of(name, tensor, row_begin, row_count, where_), {}});
}

void TableWeightSource::add_scaled_rows(const std::string& name, const CheckpointTensor& tensor,
                                        const CheckpointTensor& scales, std::int64_t row_begin,
                                        std::int64_t row_count) {
  const std::int64_t num_rows = tensor.shape.rank() == 0 ? 0 : tensor.shape[0];
  const std::int64_t num_scales = scales.shape.num_elements();
  const bool is_known = tensor.dtype == DType::kInt8 || tensor.dtype == DType::kInt16;
  if (!is_known || scales.dtype != DType::kFloat32 || (num_scales != 1 && num_scales != num_rows)) {
    throw Error(ErrorKind::kBadInput,
                "tensor '" + name + "', " + to_string(tensor.dtype) + tensor.shape.to_string() + ", has scales " +
                    to_string(scales.dtype) + scales.shape.to_string(),
                where_, "int8 and int16 with float32 scales, one a row or one for all, are read");
  }
  Entry made{rows_of(name, tensor, row_begin, row_count, where_), {}};
  for (std::int64_t row = row_begin; row < row_begin + row_count; ++row) {
    const float scale = element<float>(scales.bytes, num_scales == 1 ? 0 : static_cast<std::size_t>(row));
    if (!std::isfinite(scale) || scale == 0) {
      throw Error(ErrorKind::kBadInput, "tensor '" + name + "' has a scale of " + std::to_string(scale), where_);
    }
    made.scales.push_back(1 / scale);
  }
  if (tensor.dtype != DType::kInt8 || tensor.shape.rank() != 2) {
    Tensor floats(DType::kFloat32, made.tensor.shape);
    const auto out = floats.mutable_as<float>();
    const std::size_t row_elements = out.size() / static_cast<std::size_t>(row_count);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const float q = tensor.dtype == DType::kInt8 ? static_cast<float>(element<std::int8_t>(made.tensor.bytes, i))
                                                   : static_cast<float>(element<std::int16_t>(made.tensor.bytes, i));
      out[i] = q * made.scales[i / row_elements];
    }
    made.scales.clear();
    made.tensor.dtype = DType::kFloat32;
    auto owner = std::make_shared<const Tensor>(std::move(floats));
    made.tensor.bytes = owner->bytes();
    made.tensor.owner = std::move(owner);
  }
  insert(name, std::move(made));
}

std::vector<std::string> TableWeightSource::names() const {
  std::vector<std::string> names;
  names.reserve(entries_.size());
  for (const auto& entry : entries_) names.push_back(entry.first);
  return names;
}

const TableWeightSource::Entry& TableWeightSource::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) throw Error(ErrorKind::kBadInput, "there is no tensor '" + name + "'", where_);
  return found->second;
}

WeightStorage TableWeightSource::storage_of(const std::string& name) const {
  const Entry& found = entry(name);
  return {found.tensor.dtype, found.tensor.block_type, !found.scales.empty()};
}

void TableWeightSource::read_rows_f32(const std::string& name, std::int64_t row_begin, std::int64_t row_count,
                                      std::span<float> out) const {
  const Entry& found = entry(name);
  const WeightRows rows = weight_rows_of(found.tensor.shape);
  check_rows(name, rows, row_begin, row_count, out.size(), where_);
  if (!found.scales.empty()) {
    const auto width = static_cast<std::size_t>(rows.row_elements);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::size_t place = static_cast<std::size_t>(row_begin) * width + i;
      out[i] = static_cast<float>(element<std::int8_t>(found.tensor.bytes, place)) * found.scales[place / width];
    }
    return;
  }
  const auto type = type_of(found.tensor);
  if (!type) {
    throw Error(ErrorKind::kUnsupported,
                "tensor '" + name + "' is stored as " + to_string(found.tensor.dtype) +
                    "; float32, float16 and bfloat16 are read",
                where_);
  }
  const std::size_t row_bytes = row_bytes_of(*type, rows.row_elements);
  dequantize_blocks(*type,
                    found.tensor.bytes.subspan(static_cast<std::size_t>(row_begin) * row_bytes,
                                               static_cast<std::size_t>(row_count) * row_bytes),
                    out);
}

Tensor TableWeightSource::tensor(const std::string& name) const {
  const Entry& found = entry(name);
  if (!found.scales.empty() || found.tensor.block_type) {
    throw Error(ErrorKind::kUnsupported, "tensor '" + name + "' is stored as " + storage_of(name).to_string(), where_);
  }
  return to_tensor(found.tensor);
}

BlockWeight TableWeightSource::blocks(const std::string& name) const {
  const Entry& found = entry(name);
  const Shape& shape = found.tensor.shape;
  if (!found.scales.empty()) {
    BlockWeight weight;
    weight.values = to_tensor(found.tensor);
    weight.scales = Tensor::of<float>(Shape{shape[0]}, std::span<const float>(found.scales));
    return weight;
  }
  if (!found.tensor.block_type || !is_block_weight_type(*found.tensor.block_type) || shape.rank() != 2) {
    throw Error(
        ErrorKind::kUnsupported,
        "tensor '" + name + "', " + storage_of(name).to_string() + shape.to_string() + ", cannot be kept in blocks",
        where_);
  }
  BlockWeight weight = allocate_block_weight(*found.tensor.block_type, shape[0], shape[1]);
  repack_rows(*found.tensor.block_type, found.tensor.bytes, 0, weight);
  return weight;
}

void TableWeightSource::release(const std::string& name) const { release_file_memory(entry(name).tensor.bytes); }

}  // namespace pajamas
