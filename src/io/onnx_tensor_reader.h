// TensorProto to Tensor: every element type, raw and typed fields, and data in files beside the model.
// Internal to the ONNX reader; not part of its interface.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/files.h"
#include "onnx.pb.h"
#include "pajamas/tensor.h"

namespace pajamas {

/// Element bytes that lie outside a TensorProto: a part of the model's own buffer.
struct RawData {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;        ///< Keeps `bytes` alive; null: they must be copied.
  const MappedFile* mapped_file = nullptr;  ///< When `bytes` are part of one: its memory is released after a copy.
};

/// Reads the tensors of one model. Keeps the files of external data open while it lives; tensors keep them mapped.
class TensorReader {
 public:
  /// `folder` is where external data may lie; nothing: external data is refused.
  explicit TensorReader(std::optional<std::filesystem::path> folder) : folder_(std::move(folder)) {}

  /// Takes the elements out of `proto` (and clears the fields that held them, the type and the dimensions, so that
  /// only name, documentation and what is unknown stays). `raw` stands in for its raw_data. Throws Error{kBadInput}
  /// for data that do not fit type and dimensions, Error{kUnsupported} for an unknown type or segments; `where` names
  /// the tensor in both.
  Tensor read(onnx::TensorProto& proto, const std::optional<RawData>& raw, const std::string& where);

 private:
  Tensor read_external(const onnx::TensorProto& proto, DType dtype, const Shape& shape);
  std::optional<std::filesystem::path> folder_;
  std::map<std::string, std::shared_ptr<const MappedFile>> files_;
};

}  // namespace pajamas
