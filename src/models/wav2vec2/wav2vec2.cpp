// Checkpoints of Wav2Vec2 and HuBERT with a CTC head as transformers writes them: one part "model" from samples to
// logits, and the vocabulary as task facts.
#include "models/wav2vec2/wav2vec2.h"

#include <algorithm>
#include <utility>

#include "base/files.h"
#include "models/checkpoint.h"
#include "models/wav2vec2/ctc_vocabulary.h"
#include "models/wav2vec2/wav2vec2_config.h"
#include "models/wav2vec2/wav2vec2_graph.h"
#include "models/weight_source.h"
#include "pajamas/error.h"

namespace pajamas {
namespace fs = std::filesystem;
namespace {

constexpr std::uint64_t kMaxSettingsBytes = 16ULL << 20;
/// As long as what the published models were trained on at most.
constexpr std::int64_t kWindowSeconds = 20;
/// Attention takes memory in their square; the published models have 1,000.
constexpr std::int64_t kMaxWindowFrames = 1500;

void refuse_other_hints(const ImportHints& hints) {
  const auto refuse = [](bool is_given, const char* option, const std::string& why, const std::string& remedy) {
    if (is_given) throw Error(ErrorKind::kUsage, why, option, remedy);
  };
  refuse(!hints.head.empty(), "--head", "the model is no detector", "leave --head away");
  refuse(!hints.labels.empty(), "--labels", "the model has no classes", "leave --labels away");
  refuse(!hints.tokenizer.empty(), "--tokenizer", "the vocabulary of the model is that of its vocab.json",
         "leave --tokenizer away");
  refuse(!hints.task.empty() && hints.task != "transcription" && hints.task != "none", "--task",
         "a speech model cannot be built for the task '" + hints.task + "'",
         "use transcription or none, or leave --task away");
}

/// What is done to samples before they are given to the model.
struct Preprocessing {
  std::int64_t sample_rate_hz = 16000;
  bool is_normalized = true;
};

Preprocessing read_preprocessing(const fs::path& folder) {
  std::error_code ignored;
  fs::path file = folder / "preprocessor_config.json";
  // transformers 5 writes one file for both sides of a processor.
  const bool is_joined = !fs::is_regular_file(file, ignored);
  if (is_joined) file = folder / "processor_config.json";
  if (!fs::is_regular_file(file, ignored)) {
    throw Error(ErrorKind::kBadInput, "has no preprocessor_config.json, so nothing says what samples the model wants",
                folder.string(), "fetch the checkpoint's folder again, with all its .json files");
  }
  const nlohmann::json json = parse_json(read_file(file, kMaxSettingsBytes), file.string());
  const JsonReader whole(json, file.string());
  const JsonReader settings = is_joined ? whole.member("feature_extractor") : whole;
  Preprocessing result;
  result.sample_rate_hz = settings.integer_or("sampling_rate", 16000, 1, 1'000'000);
  if (result.sample_rate_hz != 16000) {
    throw Error(ErrorKind::kUnsupported,
                "sampling_rate is " + std::to_string(result.sample_rate_hz) + "; models of 16000 Hz are run",
                file.string(), "take a model of 16 kHz");
  }
  if (settings.integer_or("feature_size", 1, 0, 1 << 20) != 1) {
    settings.member("feature_size").fail("is not 1: the model takes features, not samples");
  }
  result.is_normalized = settings.boolean_or("do_normalize", true);
  return result;
}

class Wav2Vec2 : public ModelDefinition {
 public:
  /// `family` is transformers' model_type, and the first part of the tensors' names.
  Wav2Vec2(const char* family, const char* architecture) : family_(family), architecture_(architecture) {}

  std::string_view family() const override { return family_; }
  /// ONNX exports say nothing of their vocabulary and are not recognised.
  std::optional<TaskFacts> recognise(const Model&, const ImportHints&) const override { return std::nullopt; }
  bool accepts_checkpoint(const nlohmann::json& config) const override { return has_model_type(config, {family_}); }

  ImportedModel load_checkpoint(const fs::path& directory, const nlohmann::json& json,
                                const ImportHints& hints) const override {
    refuse_other_hints(hints);
    const JsonReader reader(json, (directory / "config.json").string());
    if (const std::string name = architecture_of(reader); !name.empty() && name != architecture_) {
      throw Error(ErrorKind::kUnsupported, "architecture '" + name + "' has no CTC head, so it gives no text",
                  reader.where(), std::string("take a checkpoint of ") + architecture_);
    }
    const Wav2Vec2Config config = read_wav2vec2_config(reader, std::string(family_) + ".");
    ImportedModel imported = imported_checkpoint(directory, family_);

    CtcFacts facts;
    facts.samples_per_frame = config.samples_per_frame();
    facts.frame_samples = config.frame_samples();
    TranscriptionFacts task;
    if (hints.task != "none") {
      const Preprocessing preprocessing = read_preprocessing(directory);
      CtcVocabulary vocabulary = read_ctc_vocabulary(directory, reader, config.vocab_size);
      facts.tokens = std::move(vocabulary.tokens);
      facts.blank_id = vocabulary.blank_id;
      facts.word_delimiter_id = vocabulary.word_delimiter_id;
      facts.is_normalized = preprocessing.is_normalized;
      task.sample_rate_hz = preprocessing.sample_rate_hz;
    }
    facts.window_frames =
        std::clamp<std::int64_t>(kWindowSeconds * task.sample_rate_hz / facts.samples_per_frame, 1, kMaxWindowFrames);

    const auto weights = open_weight_source(directory, hints.scratch_directory);
    ImportedPart part{facts.part, build_wav2vec2(config, *weights)};
    // From one frame to one window; half a window stands for what is heard between two pauses.
    part.profiles.push_back({"samples", Shape{1, facts.frame_samples},
                             Shape{1, facts.samples_of((facts.window_frames + 1) / 2)},
                             Shape{1, facts.samples_of(facts.window_frames)}});
    imported.parts.push_back(std::move(part));
    task.ctc = std::move(facts);
    if (hints.task != "none") imported.task = task_of(std::move(task));
    return imported;
  }

 private:
  const char* family_;
  const char* architecture_;
};

}  // namespace

const ModelDefinition& wav2vec2_definition() {
  static const Wav2Vec2 definition("wav2vec2", "Wav2Vec2ForCTC");
  return definition;
}

const ModelDefinition& hubert_definition() {
  static const Wav2Vec2 definition("hubert", "HubertForCTC");
  return definition;
}

}  // namespace pajamas
