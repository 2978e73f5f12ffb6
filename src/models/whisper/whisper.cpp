// Whisper checkpoints as transformers writes them, CTranslate2's folders, OpenAI's .pt and whisper.cpp's .bin files.
// Three parts come out: "encoder", "decoder" and "aligner" (docs/audio.md), the last of which is the decoder over a
// whole text and shares its weights.
#include "models/whisper/whisper.h"

#include <memory>
#include <optional>
#include <utility>

#include "base/files.h"
#include "base/log.h"
#include "models/checkpoint.h"
#include "models/weight_source.h"
#include "models/whisper/whisper_config.h"
#include "models/whisper/whisper_facts.h"
#include "models/whisper/whisper_graphs.h"
#include "models/whisper/whisper_tokenizer.h"
#include "models/whisper/whisper_weights.h"
#include "pajamas/error.h"
#include "text/tokenizer.h"

namespace pajamas {
namespace fs = std::filesystem;
namespace {

constexpr std::uint64_t kMaxSettingsBytes = 64ULL << 20;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

/// A checkpoint, whatever its container.
struct WhisperCheckpoint {
  WhisperConfig config;
  std::shared_ptr<const WeightSource> weights;
  WhisperSettings settings;
  std::optional<Tokenizer> tokenizer;
  std::string format;  ///< "huggingface", "ctranslate2", ...
};

/// What `read` finds in a file of settings; none where the file is not there.
WhisperSettings settings_of(const fs::path& path, WhisperSettings (*read)(const JsonReader&)) {
  if (!is_file(path)) return {};
  const nlohmann::json json = parse_json(read_file(path, kMaxSettingsBytes), path.string());
  if (!json.is_object()) throw Error(ErrorKind::kBadInput, "is no JSON object", path.string(), "fetch the file again");
  return read(JsonReader(json, path.string()));
}

WhisperCheckpoint read_hugging_face(const fs::path& folder, const nlohmann::json& json, const ImportHints& hints) {
  WhisperCheckpoint checkpoint;
  checkpoint.format = "huggingface";
  const JsonReader config(json, (folder / "config.json").string());
  require_architecture(config, {"WhisperForConditionalGeneration"});
  checkpoint.config = read_whisper_config(config);
  checkpoint.weights = open_weight_source(folder, hints.scratch_directory);
  checkpoint.settings = settings_of(folder / "generation_config.json", read_generation_settings);
  checkpoint.tokenizer = find_whisper_tokenizer(folder, checkpoint.config.vocab_size, hints);
  return checkpoint;
}

WhisperCheckpoint read_ctranslate2(const fs::path& folder, const ImportHints& hints) {
  WhisperCheckpoint checkpoint;
  checkpoint.format = "ctranslate2";
  const Ctranslate2Model model = Ctranslate2Model::read(folder / "model.bin");
  checkpoint.weights = whisper_weights_of(model);
  checkpoint.config =
      whisper_config_of(*checkpoint.weights, model.integer("encoder/num_heads"), model.integer("decoder/num_heads"));
  checkpoint.settings = settings_of(folder / "config.json", read_ctranslate2_settings);
  checkpoint.tokenizer = find_whisper_tokenizer(folder, checkpoint.config.vocab_size, hints);
  return checkpoint;
}

WhisperCheckpoint read_ggml(const fs::path& file, const ImportHints& hints) {
  WhisperCheckpoint checkpoint;
  checkpoint.format = "ggml";
  const GgmlCheckpoint model = GgmlCheckpoint::read(file);
  checkpoint.weights = whisper_weights_of(model);
  const GgmlSizes& sizes = model.sizes();
  checkpoint.config = whisper_config_of(*checkpoint.weights, sizes.num_encoder_heads, sizes.num_decoder_heads);
  if (checkpoint.config.vocab_size != sizes.vocab_size) {
    throw Error(ErrorKind::kBadInput,
                "says that it has " + std::to_string(sizes.vocab_size) + " tokens, but its table has " +
                    std::to_string(checkpoint.config.vocab_size),
                file.string(), "fetch the file again");
  }
  if (hints.tokenizer.empty()) {
    const auto& vocabulary = model.vocabulary();
    checkpoint.tokenizer =
        whisper_tokenizer_of({vocabulary.begin(), vocabulary.end()}, checkpoint.config.vocab_size, file.string());
  } else {
    checkpoint.tokenizer = find_whisper_tokenizer({}, checkpoint.config.vocab_size, hints);
  }
  return checkpoint;
}

WhisperCheckpoint read_torch(const fs::path& file, const ImportHints& hints) {
  WhisperCheckpoint checkpoint;
  checkpoint.format = "torch";
  const TorchCheckpoint model = TorchCheckpoint::read(file);
  checkpoint.weights = whisper_weights_of(model);
  const auto heads = [&](const char* name) {
    if (const auto count = model.find_integer(name)) return *count;
    throw Error(ErrorKind::kBadInput, std::string("does not say '") + name + "'", file.string(),
                "of .pt files OpenAI's Whisper checkpoints are read");
  };
  checkpoint.config = whisper_config_of(*checkpoint.weights, heads("dims.n_audio_head"), heads("dims.n_text_head"));
  checkpoint.tokenizer = find_whisper_tokenizer(file.parent_path(), checkpoint.config.vocab_size, hints);
  if (!checkpoint.tokenizer && hints.task != "none") {
    throw Error(
        ErrorKind::kBadInput, "holds no vocabulary, and none lies beside it", file.string(),
        "put multilingual.tiktoken (gpt2.tiktoken for the English models) of OpenAI's program beside it, or name "
        "it, or a tokenizer.json, with --tokenizer");
  }
  return checkpoint;
}

void refuse_other_tasks(const ImportHints& hints) {
  if (!hints.head.empty()) throw Error(ErrorKind::kUsage, "the model is no detector", "--head", "leave --head away");
  if (!hints.labels.empty()) {
    throw Error(ErrorKind::kUsage, "the model has no classes", "--labels", "leave --labels away");
  }
  if (!hints.task.empty() && hints.task != "transcription" && hints.task != "none") {
    throw Error(ErrorKind::kUsage, "Whisper cannot be built for the task '" + hints.task + "'", "--task",
                "use transcription or none, or leave --task away");
  }
}

ImportedModel import_checkpoint(const fs::path& path, WhisperCheckpoint checkpoint, const ImportHints& hints) {
  const std::string where = path.string();
  WhisperConfig& config = checkpoint.config;
  if (hints.context_length > config.context_length) {
    throw Error(ErrorKind::kUsage,
                "the model takes " + std::to_string(config.context_length) + " tokens, not " +
                    std::to_string(hints.context_length),
                "--context", "choose a shorter context, or leave --context away");
  }
  if (checkpoint.tokenizer && checkpoint.tokenizer->vocab_size() > config.vocab_size) {
    throw Error(ErrorKind::kBadInput,
                "the tokenizer has " + std::to_string(checkpoint.tokenizer->vocab_size()) +
                    " tokens, but the model has " + std::to_string(config.vocab_size),
                where, "tokenizer and weights may belong to different models: fetch them again");
  }
  WhisperFacts facts = whisper_facts_of(config, checkpoint.settings, checkpoint.tokenizer, where);
  if (hints.context_length > 0) facts.context_length = hints.context_length;

  ImportedModel imported = imported_checkpoint(path, "whisper");
  imported.format = checkpoint.format;
  imported.parts.push_back({facts.encoder_part, build_whisper_encoder(config, *checkpoint.weights)});
  imported.parts.push_back({facts.decoder_part, build_whisper_decoder(config, *checkpoint.weights)});
  const auto heads = facts.alignment_heads;
  facts.aligner_part = "aligner";
  ImportedPart aligner{facts.aligner_part, build_whisper_aligner(imported.parts.back().model, heads)};
  aligner.derived_from = facts.decoder_part;
  aligner.derive = [heads](const Model& decoder) { return build_whisper_aligner(decoder, heads); };
  imported.parts.push_back(std::move(aligner));

  TranscriptionFacts task;
  if (checkpoint.tokenizer) {
    imported.files.push_back({{}, Tokenizer::kBundleFileName, "tokenizer", checkpoint.tokenizer->bundle_form()});
    task.tokenizer_file = Tokenizer::kBundleFileName;
  } else {
    log().warn("{}: has no tokenizer: the bundle gives token ids only", where);
  }
  task.whisper = std::move(facts);
  if (hints.task != "none") imported.task = task_of(std::move(task));
  return imported;
}

class Whisper : public ModelDefinition {
 public:
  std::string_view family() const override { return "whisper"; }
  /// ONNX exports of Whisper differ in their caches and are not recognised.
  std::optional<TaskFacts> recognise(const Model&, const ImportHints&) const override { return std::nullopt; }

  bool accepts_checkpoint(const nlohmann::json& config) const override { return has_model_type(config, {"whisper"}); }
  ImportedModel load_checkpoint(const fs::path& directory, const nlohmann::json& config,
                                const ImportHints& hints) const override {
    refuse_other_tasks(hints);
    return import_checkpoint(directory, read_hugging_face(directory, config, hints), hints);
  }

  bool accepts_path(const fs::path& path) const override {
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) {
      return is_file(path / "model.bin") && Ctranslate2Model::is_ctranslate2(path / "model.bin");
    }
    return TorchCheckpoint::is_torch(path) || (path.extension() == ".bin" && GgmlCheckpoint::is_ggml(path));
  }
  ImportedModel load_path(const fs::path& path, const ImportHints& hints) const override {
    refuse_other_tasks(hints);
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) return import_checkpoint(path, read_ctranslate2(path, hints), hints);
    ImportedModel imported = import_checkpoint(
        path, TorchCheckpoint::is_torch(path) ? read_torch(path, hints) : read_ggml(path, hints), hints);
    imported.name = path.stem().string();
    return imported;
  }
};

}  // namespace

const ModelDefinition& whisper_definition() {
  static const Whisper definition;
  return definition;
}

}  // namespace pajamas
