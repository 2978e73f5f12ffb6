// One engine file from one Model: the steps between a lowered graph and a proven-to-be-whole `.engine` file, shared by
// the target `tensorrt` (bundles) and `trtexec` (bare engine files).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/target.h"
#include "targets/tensorrt/builder_process.h"

namespace pajamas::tensorrt {

struct EngineBuild {
  std::vector<int> sms;                ///< 75, 86, ...; empty with TensorRT 11: the GPU present.
  std::vector<ShapeProfile> profiles;  ///< As the plan gives them; see resolve_profiles.
  BuildLimits limits;
  int num_threads = 0;
  std::optional<int> optimization_level;
  std::uint64_t workspace_bytes = 0;
  bool is_verbose = false;
};

struct BuiltEngine {
  BuilderOutcome outcome;
  std::vector<ShapeProfile> profiles;  ///< Those built with.
  std::vector<int> sms;                ///< In the engine file.
  std::uint64_t engine_bytes = 0;
  bool has_external_data = false;  ///< Weights lie in external_data_path().
  std::vector<std::string> warnings;
};

/// Writes `onnx_path` (exactly the bytes handed to TensorRT; weights past 2 GiB go into a file beside it) and, when the
/// build and its checks succeed, `engine_path`, each whole or not at all. On any failure neither is left. Throws Error
/// as messages.h translates it, with `name` (of the model, for messages) as its place.
BuiltEngine compile_engine(const Model& model, const EngineBuild& build, const std::filesystem::path& onnx_path,
                           const std::filesystem::path& engine_path, const std::string& name, const Progress& progress);

/// The same for an engine file alone, without a bundle: the ONNX bytes lie in a hidden folder beside it while building.
/// An older engine of that name stays until the new one is whole.
BuiltEngine compile_bare_engine(const Model& model, const EngineBuild& build, const std::filesystem::path& engine_path,
                                const std::string& name, const Progress& progress);

/// The file of external weights that `compile_engine` writes for large models.
std::filesystem::path external_data_path(const std::filesystem::path& onnx_path);

}  // namespace pajamas::tensorrt
