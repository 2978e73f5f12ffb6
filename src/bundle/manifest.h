// Manifest: the JSON that makes a folder a bundle. Its schema is docs/schemas/manifest.schema.json, its meaning
// docs/bundle-format.md. Reading checks everything, so code behind it need not.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bundle/task_facts.h"

namespace pajamas {

/// Version of the manifest format this program writes; it reads this one only.
inline constexpr std::int64_t kManifestFormatVersion = 1;
inline constexpr const char* kManifestFileName = "manifest.json";

/// One file of the bundle, checked before it is used.
struct BundleFile {
  std::string name;    ///< Within the bundle's folder; no sub-folders.
  std::string role;    ///< "engine", "cache", "tokenizer", ...
  std::string sha256;  ///< 64 lower-case hexadecimal digits.
  std::uint64_t size_bytes = 0;
};

/// Declared input or output of an engine part, in JSON terms ({"name", "dtype", "shape": [1, "batch", "?"]}).
struct ManifestTensor {
  std::string name;
  std::string dtype;
  std::vector<std::string> shape;  ///< "3", "batch" or "?".
};

struct ManifestPart {
  std::string name;  ///< "model", "image", "text", ...
  std::vector<BundleFile> files;
  std::vector<ManifestTensor> inputs;
  std::vector<ManifestTensor> outputs;
  nlohmann::json target_facts;  ///< The target's record (engine/target.h CompiledPart::facts).
  nlohmann::json proof;         ///< The verification's record (verify/proof.h); null when none was made.
  /// Stays in float32, weights and arithmetic, whatever the bundle's plan says (engine/bundle_plan.h). Written when
  /// set.
  bool is_float32 = false;
};

struct Manifest {
  std::string model;  ///< Folder name of the model: letters, digits, '.', '_', '-'.
  std::string target;
  std::string precision;
  nlohmann::json plan;  ///< BuildPlan as JSON.
  TaskFacts task;
  std::vector<ManifestPart> parts;
  std::vector<BundleFile> files;  ///< Beside the parts: tokenizers, label files.
  nlohmann::json source;          ///< {"file", "sha256", "format", "opset", "producer"}
  nlohmann::json made_by;         ///< {"pajamas": version, "openvino": ..., "tensorrt": ...}
  std::string created_at;         ///< UTC, ISO 8601.

  const ManifestPart& part(const std::string& part_name) const;  ///< Throws Error{kBadInput}.
};

nlohmann::json to_json(const Manifest& manifest);
/// Throws Error{kBadInput} (damaged) or Error{kUnsupported} (another format version), naming the JSON path.
Manifest parse_manifest(const std::string& text, const std::filesystem::path& path);

}  // namespace pajamas
