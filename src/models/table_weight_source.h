// A WeightSource made of a table: each Hugging Face name stands for a tensor, or for rows of one, of some other
// container (CTranslate2, ggml, a PyTorch checkpoint). The families fill the table; nothing here knows their names.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/checkpoint_tensor.h"
#include "models/weight_source.h"

namespace pajamas {

/// See WeightSource. Filled first, shared afterwards.
class TableWeightSource : public WeightSource {
 public:
  explicit TableWeightSource(std::string where) : where_(std::move(where)) {}

  /// `name` is `tensor`. Throws Error{kBadInput} when the name is taken.
  void add(const std::string& name, CheckpointTensor tensor);
  /// `name` is rows [row_begin, row_begin + row_count) of `tensor`, a vector's elements being its rows. Throws
  /// Error{kBadInput} when they are not there.
  void add_rows(const std::string& name, const CheckpointTensor& tensor, std::int64_t row_begin,
                std::int64_t row_count);
  /// Integers that stand for q / scale: `tensor` int8 or int16, `scales` float32 with one for each row or one for all.
  /// int8 matrices stay integers (blocks() with one scale a row), others become float32. Rows as in add_rows.
  void add_scaled_rows(const std::string& name, const CheckpointTensor& tensor, const CheckpointTensor& scales,
                       std::int64_t row_begin, std::int64_t row_count);

  bool has(const std::string& name) const override { return entries_.contains(name); }
  std::vector<std::string> names() const override;
  const Shape& shape_of(const std::string& name) const override { return entry(name).tensor.shape; }
  WeightStorage storage_of(const std::string& name) const override;
  void read_rows_f32(const std::string& name, std::int64_t row_begin, std::int64_t row_count,
                     std::span<float> out) const override;
  Tensor tensor(const std::string& name) const override;
  BlockWeight blocks(const std::string& name) const override;
  void release(const std::string& name) const override;
  const std::string& where() const override { return where_; }

 private:
  struct Entry {
    CheckpointTensor tensor;
    std::vector<float> scales;  ///< One a row of an int8 matrix, value = q * scale; empty: plain.
  };
  const Entry& entry(const std::string& name) const;
  void insert(const std::string& name, Entry entry);
  std::string where_;
  std::map<std::string, Entry> entries_;
};

}  // namespace pajamas
