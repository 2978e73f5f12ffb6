// LanguageFamily: what all families of language models have in common as model definitions. A family is a few facts and
// a function that reads its configuration (llama.cpp, qwen3.cpp, ...); the graph is decoder_builder.h's, tokenizer,
// template and generation settings are generation_files.h's.
#pragma once

#include <string_view>
#include <vector>

#include "models/language/decoder_config.h"
#include "models/model_definition.h"

namespace pajamas {

struct LanguageFamilyFacts {
  std::string_view name;                        ///< "qwen3_moe"
  std::vector<std::string_view> model_types;    ///< As config.json says them.
  std::vector<std::string_view> architectures;  ///< Known entries of "architectures".
  DecoderConfig (*read_config)(const JsonReader& config, const DecoderHints& hints);
};

/// Reads folders of safetensors and GGUF files (whose config is models/weight_source.h's) of the family.
class LanguageFamily : public ModelDefinition {
 public:
  explicit LanguageFamily(LanguageFamilyFacts facts) : facts_(std::move(facts)) {}

  std::string_view family() const override { return facts_.name; }
  /// ONNX exports of language models carry no paged attention and are not recognised.
  std::optional<TaskFacts> recognise(const Model& model, const ImportHints& hints) const override;
  bool accepts_checkpoint(const nlohmann::json& config) const override;
  /// `path` is a folder or a .gguf file. Throws Error{kUnsupported} for quantised checkpoints that are not GGUF, naming
  /// their method.
  ImportedModel load_checkpoint(const std::filesystem::path& path, const nlohmann::json& config,
                                const ImportHints& hints) const override;

 private:
  LanguageFamilyFacts facts_;
};

// The families. Each lives as long as the program; any thread.
const ModelDefinition& llama_definition();
const ModelDefinition& mistral_definition();
const ModelDefinition& qwen2_definition();
const ModelDefinition& qwen3_definition();
const ModelDefinition& qwen3_moe_definition();
const ModelDefinition& phi3_definition();
const ModelDefinition& gemma3_definition();

/// model_types of all of them, for messages: "llama, mistral, ...".
const char* language_model_types() noexcept;

}  // namespace pajamas
