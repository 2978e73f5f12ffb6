// ONNX files and bytes to Model. Lossless: what has no member in Graph's types is kept serialised in `extra_fields`.
// Not a check of the model: a model read here may still be invalid (graph/checker.h). The writer is onnx_writer.h.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>

#include "graph/graph.h"

namespace pajamas {

struct OnnxReadOptions {
  /// Weights stay in the mapped file where their alignment allows it, so that reading costs no copy of them. False:
  /// the file is read into memory first, for files that may be rewritten in place while the model is in use.
  bool use_mapping = true;
};

/// Deepest nesting of graphs (If, Loop, Scan bodies) that is read; deeper models are refused by name.
inline constexpr int kMaxReadNesting = 64;

/// Reads an ONNX model and the files of external data beside it. The tensors keep the files mapped (see
/// MappedFile). Throws Error{kBadInput} when the file is missing, damaged, no ONNX model, larger than protobuf's 2 GiB,
/// or refers to data outside its own folder; Error{kUnsupported} for tensors of unknown type or in segments. Errors
/// name the file and the part of it. Thread-safe.
Model read_onnx(const std::filesystem::path& path, const OnnxReadOptions& options = {});

/// The same for bytes in memory. `folder` is where external data may lie; without one, external data is refused.
/// `owner` keeps `bytes` alive for the tensors; without one the weights are copied.
Model parse_onnx(std::span<const std::byte> bytes, const std::optional<std::filesystem::path>& folder = std::nullopt,
                 std::shared_ptr<const void> owner = nullptr);

}  // namespace pajamas
