// From a checkpoint to an ImportedModel. See language_family.h.
#include "models/language/language_family.h"

#include <algorithm>

#include "models/checkpoint.h"
#include "models/language/decoder_builder.h"
#include "models/language/generation_files.h"
#include "models/weight_source.h"
#include "pajamas/error.h"

namespace pajamas {
namespace fs = std::filesystem;
namespace {

/// Weights that another program quantised in a form of its own.
void refuse_quantised(const JsonReader& config) {
  for (const char* key : {"quantization_config", "compression_config"}) {
    if (!has_value(config, key)) continue;
    const JsonReader section = config.member(key);
    const std::string method = section.string_or("quant_method", key);
    throw Error(ErrorKind::kUnsupported, "the weights are quantised by '" + method + "', which is not read",
                config.where(),
                "take the unquantised checkpoint (float32, float16, bfloat16) and build with --precision int4 or int8, "
                "or a GGUF file");
  }
}

void refuse_other_tasks(const ImportHints& hints) {
  if (!hints.head.empty()) throw Error(ErrorKind::kUsage, "the model is no detector", "--head", "leave --head away");
  if (!hints.labels.empty()) {
    throw Error(ErrorKind::kUsage, "the model has no classes", "--labels", "leave --labels away");
  }
  if (!hints.task.empty() && hints.task != "generation" && hints.task != "none") {
    throw Error(ErrorKind::kUsage, "a language model cannot be built for the task '" + hints.task + "'", "--task",
                "use generation or none, or leave --task away");
  }
}

}  // namespace

std::optional<TaskFacts> LanguageFamily::recognise(const Model&, const ImportHints&) const { return std::nullopt; }

bool LanguageFamily::accepts_checkpoint(const nlohmann::json& config) const {
  const auto type = config.find("model_type");
  return type != config.end() && type->is_string() &&
         std::find(facts_.model_types.begin(), facts_.model_types.end(), type->get_ref<const std::string&>()) !=
             facts_.model_types.end();
}

ImportedModel LanguageFamily::load_checkpoint(const fs::path& path, const nlohmann::json& json,
                                              const ImportHints& hints) const {
  const bool is_gguf = !fs::is_directory(path);
  const JsonReader config(json, is_gguf ? path.string() : (path / "config.json").string());
  refuse_other_tasks(hints);
  refuse_quantised(config);
  const std::string architecture = architecture_of(config);
  if (!architecture.empty() &&
      std::find(facts_.architectures.begin(), facts_.architectures.end(), architecture) == facts_.architectures.end()) {
    std::string list;
    for (const std::string_view one : facts_.architectures) list += (list.empty() ? "" : ", ") + std::string(one);
    throw Error(ErrorKind::kUnsupported, "architecture '" + architecture + "' is not known", config.where(),
                "of model_type '" + config.string("model_type") + "' the known ones are " + list);
  }
  DecoderHints wanted;
  wanted.context_length = hints.context_length;
  const DecoderConfig decoder = facts_.read_config(config, wanted);

  ImportedModel imported = imported_checkpoint(path, family());
  if (is_gguf) {
    imported.name = path.stem().string();
    imported.format = "gguf";
  }
  const auto source = open_weight_source(path, hints.scratch_directory);
  imported.parts.push_back({"model", build_decoder(decoder, *source)});
  if (hints.task != "none") imported.task = task_of(read_generation_facts(path, config, decoder, imported.files));
  return imported;
}

const char* language_model_types() noexcept { return "llama, mistral, qwen2, qwen3, qwen3_moe, phi3, gemma3_text"; }

}  // namespace pajamas
