// The speech task: SpeechSynthesizer of pajamas/speech.h.
#include "pajamas/speech.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/log.h"
#include "bundle/bundle.h"
#include "engine/engine_loader.h"
#include "tasks/registry.h"
#include "tasks/speech/phoneme_ids.h"
#include "tasks/speech/phonemizer.h"
#include "tasks/speech/voice_session.h"

namespace pajamas {
namespace {

void check_range(double value, double min, double max, const char* what) {
  if (value >= min && value <= max) return;
  throw Error(ErrorKind::kUsage, std::string(what) + " is " + std::to_string(value) + ", not within " +
                                     std::to_string(min) + ".." + std::to_string(max));
}

VoiceSettings settings_of(const SpeechOptions& options, const SpeechFacts& facts) {
  check_range(options.speed, 0.25, 4, "the speed");
  check_range(options.pause_s, 0, 10, "the pause");
  VoiceSettings settings;
  settings.noise_scale = static_cast<float>(options.noise_scale.value_or(facts.noise_scale));
  settings.noise_width = static_cast<float>(options.noise_width.value_or(facts.noise_width));
  settings.length_scale = static_cast<float>(facts.length_scale / options.speed);
  check_range(static_cast<double>(settings.noise_scale), 0, 2, "the noise");
  check_range(static_cast<double>(settings.noise_width), 0, 2, "the noise of the durations");
  settings.speaker = options.speaker.value_or(0);
  if (settings.speaker < 0 || settings.speaker >= facts.num_speakers) {
    throw Error(ErrorKind::kUsage,
                "the voice has " + std::to_string(facts.num_speakers) + " speaker(s), none with the number " +
                    std::to_string(settings.speaker),
                {}, "choose one from 0 to " + std::to_string(facts.num_speakers - 1));
  }
  settings.seed = options.seed;
  return settings;
}

}  // namespace

struct SpeechSynthesizer::Impl {
  Impl(const Bundle& bundle, const SynthesizerOptions& options)
      : facts(bundle.manifest().task.speech.value()),
        espeak_program(options.espeak_program),
        phonemizer(std::make_unique<Phonemizer>(facts.espeak_voice, espeak_program)),
        ids(facts),
        session(facts, engines_of(bundle, facts, session_options(options.num_threads))) {
    session.warm_up();
  }

  static VoiceEngines engines_of(const Bundle& bundle, const SpeechFacts& facts, const SessionOptions& options) {
    VoiceEngines engines;
    engines.text = load_engine(bundle, facts.text_part, options);
    const auto& parts = bundle.manifest().parts;
    if (std::any_of(parts.begin(), parts.end(), [](const ManifestPart& part) { return part.name == kAlignPart; })) {
      engines.align = load_engine(bundle, kAlignPart, options);
    }
    engines.flow = load_engine(bundle, facts.flow_part, options);
    engines.decoder = load_engine(bundle, facts.decoder_part, options);
    return engines;
  }

  /// A program that died or hangs is started again once: what killed it may be over.
  std::string phonemes_of(std::string_view clause) {
    for (bool is_first_try = true;; is_first_try = false) {
      if (!phonemizer) phonemizer = std::make_unique<Phonemizer>(facts.espeak_voice, espeak_program);
      try {
        return phonemizer->phonemes_of(clause);
      } catch (const Error& error) {
        phonemizer.reset();
        if (error.kind() != ErrorKind::kInternal || !is_first_try) throw;
        log().warn("{}; it is started again", error.message());
      }
    }
  }

  void speak(std::string_view text, const SpeechOptions& options, const SpeechSink& sink) {
    VoiceSettings settings = settings_of(options, facts);
    const std::vector<SpeechSentence> sentences = split_speech(text);
    const auto rate = static_cast<double>(facts.sample_rate_hz);
    const auto pause = static_cast<std::size_t>(std::llround(options.pause_s * rate));
    std::size_t num_samples = 0;
    bool is_spoken = false;
    for (std::size_t i = 0; i < sentences.size(); ++i) {
      if (options.is_cancelled && options.is_cancelled()) {
        throw Error(ErrorKind::kCancelled, "stopped while speaking");
      }
      const auto phonemes =
          sentence_phonemes(sentences[i], [this](std::string_view clause) { return phonemes_of(clause); });
      const std::vector<std::int64_t> sentence_ids = ids.ids_of(phonemes);
      if (sentence_ids.empty()) continue;
      settings.sentence = static_cast<std::uint32_t>(i);
      std::vector<float> samples = session.speak(sentence_ids, settings);
      is_spoken = true;
      SpokenSentence spoken;
      spoken.text = sentences[i].text;
      spoken.begin_s = static_cast<double>(num_samples) / rate;
      spoken.end_s = static_cast<double>(num_samples + samples.size()) / rate;
      if (i + 1 < sentences.size()) samples.resize(samples.size() + pause, 0.0F);
      num_samples += samples.size();
      spoken.samples = samples;
      if (!sink(spoken)) return;
    }
    if (!is_spoken) {
      throw Error(ErrorKind::kBadInput, "the text has nothing that can be spoken", {},
                  "give text with letters or digits of the voice's language");
    }
  }

  SpeechFacts facts;
  std::string espeak_program;
  std::unique_ptr<Phonemizer> phonemizer;
  PhonemeIds ids;
  VoiceSession session;
};

SpeechSynthesizer::SpeechSynthesizer(const std::filesystem::path& bundle_path, const SynthesizerOptions& options)
    : impl_(open_for_task(bundle_path, "speech",
                          [&](const Bundle& bundle) { return std::make_unique<Impl>(bundle, options); })) {}

SpeechSynthesizer::~SpeechSynthesizer() = default;
SpeechSynthesizer::SpeechSynthesizer(SpeechSynthesizer&&) noexcept = default;
SpeechSynthesizer& SpeechSynthesizer::operator=(SpeechSynthesizer&&) noexcept = default;

int SpeechSynthesizer::sample_rate_hz() const { return static_cast<int>(impl_->facts.sample_rate_hz); }
std::int64_t SpeechSynthesizer::num_speakers() const { return impl_->facts.num_speakers; }

std::int64_t SpeechSynthesizer::speaker_id(const std::string& name) const {
  std::string known;
  for (const Speaker& speaker : impl_->facts.speakers) {
    if (speaker.name == name) return speaker.id;
    known += (known.empty() ? "" : ", ") + speaker.name;
  }
  if (!name.empty() && name.size() < 8 && name.find_first_not_of("0123456789") == std::string::npos) {
    const std::int64_t id = std::stoll(name);
    if (id < impl_->facts.num_speakers) return id;
  }
  throw Error(ErrorKind::kUsage, "the voice has no speaker '" + name + "'", {},
              "choose a number from 0 to " + std::to_string(impl_->facts.num_speakers - 1) +
                  (known.empty() ? "" : ", or of " + known));
}

void SpeechSynthesizer::speak(std::string_view text, const SpeechOptions& options, const SpeechSink& sink) {
  impl_->speak(text, options, sink);
}

std::vector<float> SpeechSynthesizer::speak(std::string_view text, const SpeechOptions& options) {
  std::vector<float> samples;
  speak(text, options, [&samples](const SpokenSentence& sentence) {
    samples.insert(samples.end(), sentence.samples.begin(), sentence.samples.end());
    return true;
  });
  return samples;
}

}  // namespace pajamas
