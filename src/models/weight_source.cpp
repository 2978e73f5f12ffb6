// WeightSource over safetensors, and the choice of a source by path. The one over GGUF is gguf_weight_source.cpp.
#include "models/weight_source.h"

#include <utility>

#include "pajamas/error.h"

namespace pajamas {
namespace {

class SafetensorsWeightSource : public WeightSource {
 public:
  explicit SafetensorsWeightSource(Safetensors weights) : weights_(std::move(weights)) {}

  bool has(const std::string& name) const override { return weights_.has(name); }
  std::vector<std::string> names() const override { return weights_.names(); }
  const Shape& shape_of(const std::string& name) const override { return weights_.shape_of(name); }
  WeightStorage storage_of(const std::string& name) const override { return {weights_.dtype_of(name), std::nullopt}; }

  void read_rows_f32(const std::string& name, std::int64_t row_begin, std::int64_t row_count,
                     std::span<float> out) const override {
    const DType dtype = weights_.dtype_of(name);
    const auto type = plain_type_of(dtype);
    if (!type) {
      throw Error(ErrorKind::kUnsupported,
                  "tensor '" + name + "' is stored as " + to_string(dtype) + "; float32, float16 and bfloat16 are read",
                  where(), "checkpoints that are quantised already are taken as GGUF");
    }
    const WeightRows rows = weight_rows_of(weights_.shape_of(name));
    check_rows(name, rows, row_begin, row_count, out.size(), where());
    const std::size_t row_bytes = row_bytes_of(*type, rows.row_elements);
    dequantize_blocks(*type,
                      weights_.bytes(name).subspan(static_cast<std::size_t>(row_begin) * row_bytes,
                                                   static_cast<std::size_t>(row_count) * row_bytes),
                      out);
  }

  Tensor tensor(const std::string& name) const override { return weights_.tensor(name); }
  BlockWeight blocks(const std::string& name) const override {
    throw Error(ErrorKind::kUnsupported,
                "tensor '" + name + "' is stored as " + to_string(weights_.dtype_of(name)) + ", not in blocks",
                where());
  }
  void release(const std::string& name) const override { weights_.release(name); }
  const std::string& where() const override { return weights_.where(); }

 private:
  Safetensors weights_;
};

}  // namespace

std::optional<GgmlType> plain_type_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return GgmlType::kF32;
    case DType::kFloat16: return GgmlType::kF16;
    case DType::kBfloat16: return GgmlType::kBF16;
    default: return std::nullopt;
  }
}

std::string WeightStorage::to_string() const {
  if (block_type) return pajamas::to_string(*block_type);
  return std::string(pajamas::to_string(dtype)) + (has_row_scales ? " with a scale a row" : "");
}

WeightRows weight_rows_of(const Shape& shape) {
  const std::int64_t num_elements = shape.num_elements();
  if (shape.rank() < 2) return {1, num_elements};
  return {shape[0], shape[0] == 0 ? 0 : num_elements / shape[0]};
}

void check_rows(const std::string& name, const WeightRows& rows, std::int64_t row_begin, std::int64_t row_count,
                std::size_t out_size, const std::string& where) {
  if (row_begin < 0 || row_count < 0 || row_begin > rows.num_rows - row_count ||
      out_size != static_cast<std::size_t>(row_count * rows.row_elements)) {
    throw Error(ErrorKind::kInternal,
                "rows " + std::to_string(row_begin) + " to " + std::to_string(row_begin + row_count) + " of tensor '" +
                    name + "', which has " + std::to_string(rows.num_rows) + ", into " + std::to_string(out_size) +
                    " elements",
                where);
  }
}

std::shared_ptr<const WeightSource> weight_source_of(Safetensors weights) {
  return std::make_shared<SafetensorsWeightSource>(std::move(weights));
}

std::shared_ptr<const WeightSource> open_weight_source(const std::filesystem::path& path,
                                                       const std::filesystem::path& scratch_directory) {
  if (std::filesystem::is_directory(path)) return weight_source_of(Safetensors::read_directory(path));
  if (Gguf::is_gguf(path)) return weight_source_of(Gguf::read(path), scratch_directory);
  return weight_source_of(Safetensors::read(path));
}

}  // namespace pajamas
