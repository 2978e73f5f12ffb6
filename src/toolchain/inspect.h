// Inspect: what a model or bundle is, without compiling or loading anything. The JSON of `pajamas inspect`; its schema
// is docs/schemas/inspect.schema.json.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "models/model_definition.h"

namespace pajamas {

/// Describes an .onnx file, a checkpoint folder or a bundle. Throws as import_model or Bundle::open.
nlohmann::json inspect(const std::filesystem::path& path, const ImportHints& hints = {});

/// What is on this machine and what works with it: processor, memory, targets, reference. Never throws for a missing
/// device: that is what it reports.
nlohmann::json doctor();

}  // namespace pajamas
