// ModelDefinition: what the project knows of a model family. It recognises a published ONNX file of the family, or
// reads a checkpoint and emits Graphs, and in both cases says what the task needs to know.
// To add a family: docs/add-a-model.md.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/task_facts.h"
#include "engine/build_plan.h"
#include "graph/graph.h"

namespace pajamas {

/// What the user said about the model on the command line.
struct ImportHints {
  std::string task;                 ///< "", the name of a task, "none".
  std::string head;                 ///< "", or a DetectionHead name.
  std::vector<std::string> labels;  ///< From --labels; empty: the model's own.
  /// Language models: most tokens of a sequence (BuildPlan::context_length); 0: the model's own.
  std::int64_t context_length = 0;
  /// Folder for a nameless file that holds what must be repacked (blocks of a GGUF); empty: it is held in memory.
  std::filesystem::path scratch_directory = {};
  /// Tokenizer to take in place of the checkpoint's own (whatever Tokenizer::read takes); empty: its own.
  std::filesystem::path tokenizer = {};
  /// Speech models: Silero's voice detector (ONNX) for the part `voice`; empty: silero_vad.onnx beside the checkpoint,
  /// if it is there.
  std::filesystem::path voice_detector = {};
};

/// One graph of an imported model.
struct ImportedPart {
  std::string name;  ///< "model", "image", "text"
  Model model;
  /// Set for a part that is `derive` of another one, which comes before it: it shares that part's weights, also once
  /// these are stored otherwise. `model` is `derive` of the other part's model.
  std::string derived_from = {};
  std::function<Model(const Model&)> derive = {};
  /// Stays in float32, weights and arithmetic, whatever precision the bundle is built in.
  bool is_float32 = false;
  /// Shapes of inputs with open extents, to build and to prove for where the plan names none.
  std::vector<ShapeProfile> profiles = {};
};

/// A file that goes into the bundle beside the engines (tokenizer): a copy of `path`, or, without one, `contents`.
struct ImportedFile {
  std::filesystem::path path;
  std::string name;  ///< In the bundle.
  std::string role;
  std::string contents = {};
};

struct ImportedModel {
  std::string name;    ///< Suggested model name.
  std::string family;  ///< "yolo", "vit", ...
  std::string format;  ///< "onnx", "huggingface", "gguf", "ctranslate2", ...
  std::vector<ImportedPart> parts;
  std::vector<ImportedFile> files;
  TaskFacts task;
};

class ModelDefinition {
 public:
  virtual ~ModelDefinition() = default;
  virtual std::string_view family() const = 0;
  /// The task of an ONNX model of this family, from its outputs and metadata; nothing when it is not of this family.
  virtual std::optional<TaskFacts> recognise(const Model& model, const ImportHints& hints) const = 0;
  /// Whether `config` (a Hugging Face config.json) names this family.
  virtual bool accepts_checkpoint(const nlohmann::json& config) const;
  /// Reads the checkpoint folder, or, for language models, the GGUF file. Throws Error{kBadInput} or
  /// Error{kUnsupported} naming file, key or tensor.
  virtual ImportedModel load_checkpoint(const std::filesystem::path& directory, const nlohmann::json& config,
                                        const ImportHints& hints) const;
  /// Whether `path`, a file or folder, is a checkpoint of this family in a container of its own, which no config.json
  /// names. Looks at names and first bytes only.
  virtual bool accepts_path(const std::filesystem::path& path) const;
  /// Reads such a checkpoint. Throws as load_checkpoint.
  virtual ImportedModel load_path(const std::filesystem::path& path, const ImportHints& hints) const;
};

/// All families, in the order they are asked. One line per family.
const std::vector<const ModelDefinition*>& model_definitions();

/// What was recognised in a published ONNX model.
struct Recognition {
  std::string family;  ///< Empty when no family knows the model.
  TaskFacts task;      ///< Named "none" then.
};

/// Asks every family. A model that nobody knows gives a task "none": it can be built, verified and measured, not run on
/// a picture. Throws Error{kUnsupported} listing the choices when the model fits several heads or tasks and `hints`
/// does not say which, or when it does not fit what `hints` says; Error{kUsage} for unknown hints and a wrong number of
/// labels; Error{kBadInput} for metadata that cannot be read. Thread-safe.
Recognition recognise_model(const Model& model, const ImportHints& hints);

/// Reads a Hugging Face checkpoint folder (config.json and safetensors) by the family its model_type names. Throws
/// Error{kUnsupported} for a family that is not read, and as ModelDefinition::load_checkpoint. Thread-safe.
ImportedModel load_checkpoint_folder(const std::filesystem::path& directory, const ImportHints& hints);

/// The family that takes a file or folder as it is (ModelDefinition::accepts_path); null when none does. Throws
/// Error{kBadInput} when it cannot be read. Thread-safe.
const ModelDefinition* find_definition_of_path(const std::filesystem::path& path);

/// Reads a GGUF file by the family that its metadata amounts to. Throws Error{kUnsupported} for an architecture that is
/// not read, and as ModelDefinition::load_checkpoint. Thread-safe.
ImportedModel load_gguf(const std::filesystem::path& file, const ImportHints& hints);

}  // namespace pajamas
