// Import: from a published file or folder to graphs and task facts. First step of every build; also what `inspect`
// shows.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "models/model_definition.h"

namespace pajamas {

/// Reads `source`: an .onnx file, a GGUF file, or a Hugging Face checkpoint folder (config.json and safetensors). The
/// graphs are checked before they are given back. A model whose task no family recognises has the task "none", unless
/// `hints` name a task, which is then an error. Throws Error: kBadInput (damaged), kUnsupported (format, operator,
/// family).
ImportedModel import_model(const std::filesystem::path& source, const ImportHints& hints,
                           const Progress& progress = {});

/// SHA-256 of what the model was read from: of the file, or of the sorted (name, digest) lines of all splits of a GGUF,
/// or of a folder's JSON, text, safetensors, tokenizer (.model) and template (.jinja) files.
std::string source_digest(const std::filesystem::path& source);

/// Names from a text file, one a line; empty lines at the end are dropped. Throws Error{kBadInput}.
std::vector<std::string> read_labels(const std::filesystem::path& path);

}  // namespace pajamas
