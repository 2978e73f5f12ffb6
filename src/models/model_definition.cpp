// Defaults of ModelDefinition: a family that has no checkpoint reader.
#include "models/model_definition.h"

#include "pajamas/error.h"

namespace pajamas {

bool ModelDefinition::accepts_checkpoint(const nlohmann::json&) const { return false; }

ImportedModel ModelDefinition::load_checkpoint(const std::filesystem::path& directory, const nlohmann::json&,
                                               const ImportHints&) const {
  throw Error(ErrorKind::kUnsupported, "family '" + std::string(family()) + "' cannot be read from a checkpoint",
              directory.string(), "give its ONNX export instead");
}

bool ModelDefinition::accepts_path(const std::filesystem::path&) const { return false; }

ImportedModel ModelDefinition::load_path(const std::filesystem::path& path, const ImportHints&) const {
  throw Error(ErrorKind::kUnsupported, "is not read as a checkpoint of " + std::string(family()), path.string());
}

}  // namespace pajamas
