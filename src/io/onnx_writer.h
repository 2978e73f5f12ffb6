// Model to ONNX bytes and files. The bytes depend on nothing but the model. The reader is onnx_reader.h.
// Every tensor is written as raw_data (strings as string_data), whatever form it was read from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/files.h"
#include "graph/graph.h"

namespace pajamas {

struct OnnxWriteOptions {
  /// Where weights go. kAuto: into the file, or beside it when the file would pass the 2 GiB that protobuf allows.
  enum class ExternalData { kAuto, kNever, kAlways };
  ExternalData external_data = ExternalData::kAuto;
  /// Initializers of at least so many bytes go into the external file; smaller ones stay in the model. The default is
  /// the alignment of external data, one page, so that padding at most doubles it.
  std::uint64_t min_external_bytes = 4096;
  /// Name of the external file, in the folder of the model; empty: "<model file name>.data".
  std::string external_data_name = {};
  /// A file in the model's folder that holds weights already: initializers whose elements lie in this mapping are
  /// referred to where they are, and the file is neither written nor changed; all others go into the model. Overrides
  /// the options above.
  std::shared_ptr<const MappedFile> existing_data = {};
};

/// The model as one ONNX message, weights included. Throws Error{kUnsupported} past 2 GiB, saying to use write_onnx.
std::string serialize_onnx(const Model& model);

/// Writes the model, and its external data where the options say so, each atomically, without joining the weights in
/// memory. Throws Error{kBadInput} with the system's reason when a file cannot be written, Error{kUsage} for an
/// external_data_name that is no plain file name or existing_data in another folder, Error{kUnsupported} past 2 GiB
/// with kNever.
void write_onnx(const Model& model, const std::filesystem::path& path, const OnnxWriteOptions& options = {});

}  // namespace pajamas
