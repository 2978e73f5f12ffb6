// The transcription task: Transcriber of pajamas/transcription.h.
#include "pajamas/transcription.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "bundle/bundle.h"
#include "engine/engine_loader.h"
#include "media/audio_reader.h"
#include "tasks/image_session.h"
#include "tasks/registry.h"
#include "tasks/transcription/transcription_run.h"
#include "tasks/transcription/whisper_session.h"

namespace pajamas {
namespace {

/// Speech is cut where a pause is long enough to be none within a sentence, with air around it: words at the edges of a
/// chunk are what the model hears worst.
VoiceDetectorOptions detector_options(double max_speech_s) {
  VoiceDetectorOptions options;
  options.min_silence_ms = 500;
  options.pad_ms = 200;
  options.max_speech_s = max_speech_s;
  return options;
}

void check_range(bool is_right, const std::string& what) {
  if (!is_right) throw Error(ErrorKind::kUsage, what);
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
  return Tokenizer::read(bundle.directory() / facts.tokenizer_file);
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
      const bool is_wanted = std::any_of(engine_->inputs().begin(), engine_->inputs().end(),
                                         [&, &wanted = name](const TensorInfo& input) { return input.name == wanted; });
      if (is_wanted) give(name, view);
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

}  // namespace

std::string Transcript::text() const {
  std::string text;
  for (const TranscribedSegment& segment : segments) text += (text.empty() ? "" : "\n") + segment.text;
  return text;
}

struct Transcriber::Impl {
  Impl(const Bundle& opened, const TranscriberOptions& options)
      : bundle(opened),
        session_options(pajamas::session_options(options.num_threads)),
        facts(bundle.manifest().task.transcription.value()),
        whisper(facts.whisper.value()),
        tokenizer(read_tokenizer(bundle, facts)) {
    session_options.is_exact_fp32 = options.is_exact_fp32;
    encoder = load_engine(bundle, whisper.encoder_part, session_options);
    decoder = load_engine(bundle, whisper.decoder_part, session_options);
    if (has_voice()) {
      SessionOptions exact = session_options;  // As it was built and proven.
      exact.is_exact_fp32 = true;
      voice = load_engine(bundle, kVoicePart, exact);
    }
  }

  bool has_voice() const {
    const auto& parts = bundle.manifest().parts;
    return std::any_of(parts.begin(), parts.end(), [](const auto& part) { return part.name == kVoicePart; });
  }

  /// A session with room for the options' rows; made again only when it must grow.
  WhisperSession& session_for(const TranscriptionOptions& options) {
    const std::int64_t rows = std::int64_t{options.batch_size} * std::max({options.beam_size, options.num_samples, 1});
    if (!session || rows > max_rows) {
      aligner.reset();
      session.emplace(whisper, encoder, decoder, rows);
      max_rows = rows;
    }
    return *session;
  }

  Aligner* aligner_for(const TranscriptionOptions& options) {
    if (!options.has_words) return nullptr;
    if (!aligner_engine) aligner_engine = load_engine(bundle, whisper.aligner_part, session_options);
    if (!aligner) aligner.emplace(aligner_engine, *session);
    return &*aligner;
  }

  Transcript run(const SampleSource& source, const TranscriptionOptions& options, const SegmentSink& sink) {
    check_options(options, whisper);
    WhisperSession& model = session_for(options);
    ChunkTranscriber chunks(whisper, tokenizer, model, aligner_for(options));
    std::optional<VoiceDetector> detector;
    if (options.is_speech_detected.value_or(voice != nullptr)) {
      if (!voice) {
        throw Error(ErrorKind::kUnsupported, "the bundle has no voice detector", "--vad",
                    "build it again with a voice detector, or give --vad off");
      }
      detector.emplace(voice, detector_options(static_cast<double>(chunks.max_chunk_samples()) / kSpeechRateHz));
    }
    TranscriptionRunParts parts;
    parts.chunks = &chunks;
    parts.detector = detector ? &*detector : nullptr;
    parts.is_multilingual = !whisper.languages.empty();
    return run_transcription(parts, source, options, sink);
  }

  Bundle bundle;
  SessionOptions session_options;
  TranscriptionFacts facts;
  WhisperFacts whisper;
  Tokenizer tokenizer;
  std::shared_ptr<const Engine> encoder, decoder, voice, aligner_engine;
  std::optional<WhisperSession> session;
  std::optional<EngineAligner> aligner;
  std::int64_t max_rows = 0;
};

Transcriber::Transcriber(const std::filesystem::path& bundle_path, const TranscriberOptions& options)
    : impl_(open_for_task(bundle_path, "transcription",
                          [&](const Bundle& bundle) { return std::make_unique<Impl>(bundle, options); })) {}

Transcriber::~Transcriber() = default;
Transcriber::Transcriber(Transcriber&&) noexcept = default;
Transcriber& Transcriber::operator=(Transcriber&&) noexcept = default;

std::vector<std::string> Transcriber::languages() const {
  std::vector<std::string> codes;
  for (const WhisperLanguage& language : impl_->whisper.languages) codes.push_back(language.code);
  return codes;
}

bool Transcriber::has_voice_detector() const { return impl_->voice != nullptr; }

Transcript Transcriber::transcribe(const std::filesystem::path& audio, const TranscriptionOptions& options,
                                   const SegmentSink& on_segment) {
  check_options(options, impl_->whisper);
  AudioReader reader(audio, {.sample_rate_hz = static_cast<int>(impl_->facts.sample_rate_hz)});
  Transcript transcript =
      impl_->run([&](std::span<float> samples) { return reader.read(samples); }, options, on_segment);
  transcript.warning = reader.warning();
  return transcript;
}

Transcript Transcriber::transcribe_samples(const SampleSource& source, const TranscriptionOptions& options,
                                           const SegmentSink& on_segment) {
  return impl_->run(source, options, on_segment);
}

}  // namespace pajamas
