// Recognition by Whisper: encoder, decoder with a cache, aligner, and the run over chunks. See recognizer.h.
#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "engine/tensor_lookup.h"
#include "tasks/transcription/recognizer.h"
#include "tasks/transcription/transcription_run.h"
#include "tasks/transcription/whisper_session.h"

namespace pajamas {
namespace {

void check_range(bool is_right, const std::string& what) {
  if (!is_right) throw Error(ErrorKind::kUsage, what);
}

/// Rows of a step of the decoder at most.
std::int64_t num_texts_of(const TranscriptionOptions& options) {
  return std::int64_t{options.batch_size} * std::max({options.beam_size, options.num_samples, 1});
}

void check_options(const TranscriptionOptions& options, const WhisperFacts& facts) {
  check_range(options.beam_size >= 1 && options.beam_size <= 16,
              "the number of beams is " + std::to_string(options.beam_size) + ", not within 1..16");
  check_range(options.num_samples >= 1 && options.num_samples <= 16,
              "the number of texts to draw is " + std::to_string(options.num_samples) + ", not within 1..16");
  check_range(options.batch_size >= 1 && options.batch_size <= 64,
              "the batch size is " + std::to_string(options.batch_size) + ", not within 1..64");
  check_range(!options.temperatures.empty(), "no temperature is given");
  for (const double temperature : options.temperatures) {
    check_range(temperature >= 0 && temperature <= 10,
                "the temperature is " + std::to_string(temperature) + ", not within 0..10");
  }
  const bool has_scores = options.language_model_weight || options.word_bonus;
  if (!options.language_model.empty() || has_scores) {
    throw Error(ErrorKind::kUsage, "is for models that give letters (CTC); the decoder of Whisper is a language model",
                options.language_model.empty() ? "--lm-weight, --word-bonus" : "--lm", "leave it out");
  }
  const bool is_multilingual = !facts.languages.empty();
  if (!options.language.empty()) {
    std::string known;
    bool is_known = !is_multilingual && options.language == "en";
    for (const WhisperLanguage& language : facts.languages) {
      is_known = is_known || language.code == options.language;
      known += (known.empty() ? "" : ", ") + language.code;
    }
    if (!is_known) {
      throw Error(ErrorKind::kUsage, "the model does not know the language '" + options.language + "'", "--language",
                  "it knows " + (is_multilingual ? known : std::string("English (en) alone")));
    }
  }
  if (options.is_translated && !is_multilingual) {
    throw Error(ErrorKind::kUsage, "a model of English alone cannot translate", "--translate",
                "build a multilingual model (without '.en' in its name)");
  }
  if (options.has_words && facts.aligner_part.empty()) {
    throw Error(ErrorKind::kUnsupported, "the bundle has no part for the times of words", "--words",
                "build it again from a checkpoint whose alignment heads are known");
  }
}

Tokenizer read_tokenizer(const Bundle& bundle, const TranscriptionFacts& facts) {
  if (facts.tokenizer_file.empty()) {
    throw Error(ErrorKind::kUnsupported, "the bundle has no tokenizer, so its tokens have no text",
                bundle.directory().string(), "build it again with --tokenizer FILE");
  }
  return Tokenizer::parse(bundle.open_checked(facts.tokenizer_file)->bytes(),
                          bundle.file(facts.tokenizer_file).string());
}

class EngineAligner final : public Aligner {
 public:
  EngineAligner(std::shared_ptr<const Engine> engine, const WhisperSession& session)
      : engine_(std::move(engine)), encoded_(session), session_(engine_->new_session()) {
    output_ = find_tensor(engine_->outputs(), "alignment", "output");
  }

  Attention align(std::size_t chunk, std::span<const std::int32_t> tokens) override {
    ids_.assign(tokens.begin(), tokens.end());
    positions_.resize(ids_.size());
    for (std::size_t i = 0; i < positions_.size(); ++i) positions_[i] = static_cast<std::int64_t>(i);
    const auto give = [&](const std::string& name, const TensorView& view) {
      session_->set_input(find_tensor(engine_->inputs(), name, "input"), view);
    };
    const Shape shape{static_cast<std::int64_t>(ids_.size())};
    give("input_ids", {DType::kInt64, shape, reinterpret_cast<const std::byte*>(ids_.data())});
    give("position_ids", {DType::kInt64, shape, reinterpret_cast<const std::byte*>(positions_.data())});
    for (const auto& [name, view] : encoded_.encoded(chunk)) {
      // The aligner reads the keys alone of its last layer.
      if (has_tensor(engine_->inputs(), name)) give(name, view);
    }
    session_->run();
    const TensorView view = session_->output(output_);
    if (view.dtype != DType::kFloat32 || view.shape.rank() != 3 || view.shape[1] != shape[0]) {
      throw Error(ErrorKind::kInternal, "the alignment is " + view.shape.to_string(), {}, "build the bundle again");
    }
    return {{reinterpret_cast<const float*>(view.data), static_cast<std::size_t>(view.shape.num_elements())},
            static_cast<std::size_t>(view.shape[0]),
            static_cast<std::size_t>(view.shape[2])};
  }

 private:
  std::shared_ptr<const Engine> engine_;
  const WhisperSession& encoded_;
  std::unique_ptr<Session> session_;
  std::size_t output_ = 0;
  std::vector<std::int64_t> ids_, positions_;
};

class WhisperRecognizer final : public Recognizer {
 public:
  WhisperRecognizer(const Bundle& bundle, const TranscriptionFacts& facts, EngineSource engines)
      : engines_(std::move(engines)),
        whisper_(facts.whisper.value()),
        tokenizer_(read_tokenizer(bundle, facts)),
        encoder_(engines_(whisper_.encoder_part)),
        decoder_(engines_(whisper_.decoder_part)) {}

  void check(const TranscriptionOptions& options) const override { check_options(options, whisper_); }
  double max_speech_s() const override {
    return static_cast<double>(2 * whisper_.num_positions * kMelHopSamples) / static_cast<double>(kSpeechRateHz);
  }
  std::vector<std::string> languages() const override {
    std::vector<std::string> codes;
    for (const WhisperLanguage& language : whisper_.languages) codes.push_back(language.code);
    return codes;
  }

  Transcript run(const SampleSource& source, const TranscriptionOptions& options, const SegmentSink& sink,
                 VoiceDetector* detector) override {
    WhisperSession& model = session_for(options);
    ChunkTranscriber chunks(whisper_, tokenizer_, model, aligner_for(options));
    TranscriptionRunParts parts;
    parts.chunks = &chunks;
    parts.detector = detector;
    parts.is_multilingual = !whisper_.languages.empty();
    return run_transcription(parts, source, options, sink);
  }

 private:
  /// A session with room for the options' rows; made again only when it must grow.
  WhisperSession& session_for(const TranscriptionOptions& options) {
    const std::int64_t rows = num_texts_of(options);
    if (!session_ || rows > max_rows_) {
      aligner_.reset();
      session_.emplace(whisper_, encoder_, decoder_, rows);
      max_rows_ = rows;
    }
    return *session_;
  }

  Aligner* aligner_for(const TranscriptionOptions& options) {
    if (!options.has_words) return nullptr;
    if (!aligner_engine_) aligner_engine_ = engines_(whisper_.aligner_part);
    if (!aligner_) aligner_.emplace(aligner_engine_, *session_);
    return &*aligner_;
  }

  EngineSource engines_;
  WhisperFacts whisper_;
  Tokenizer tokenizer_;
  std::shared_ptr<const Engine> encoder_, decoder_, aligner_engine_;
  std::optional<WhisperSession> session_;
  std::optional<EngineAligner> aligner_;
  std::int64_t max_rows_ = 0;
};

}  // namespace

std::unique_ptr<Recognizer> make_whisper_recognizer(const Bundle& bundle, const TranscriptionFacts& facts,
                                                    const EngineSource& engines) {
  return std::make_unique<WhisperRecognizer>(bundle, facts, engines);
}

}  // namespace pajamas
