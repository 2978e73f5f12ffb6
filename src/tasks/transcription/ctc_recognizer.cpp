// Recognition by CTC: one engine, the search over its letters, and the language model that it may use. See
// recognizer.h.
#include <filesystem>
#include <optional>
#include <sstream>
#include <utility>

#include "pajamas/error.h"
#include "tasks/transcription/ctc_run.h"
#include "tasks/transcription/recognizer.h"

namespace pajamas {
namespace {

constexpr int kMaxBeams = 1024;
/// Speech without a pause may be longer: windows overlap. It only bounds what is kept in memory.
constexpr double kMaxSpeechS = 60;

void refuse(bool is_given, const char* option, const std::string& why, const std::string& remedy = "leave it out") {
  if (is_given) throw Error(ErrorKind::kUsage, why, option, remedy);
}

std::vector<std::string> words_in(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(std::move(word));
  return words;
}

class CtcRecognizer final : public Recognizer {
 public:
  CtcRecognizer(const TranscriptionFacts& facts, const EngineSource& engines)
      : facts_(facts), session_(facts_.ctc.value(), engines(facts_.ctc->part)) {}

  void check(const TranscriptionOptions& options) const override {
    refuse(!options.language.empty(), "--language", "the model writes one language, and nothing says which");
    refuse(options.is_translated, "--translate", "the model writes what is said and cannot translate",
           "leave it out, or build a multilingual Whisper");
    refuse(!options.initial_prompt.empty(), "--initial-prompt", "the model takes no text",
           "leave it out; --hot-words and --lm say what to expect");
    refuse(options.is_text_carried, "--carry", "the model takes no text");
    refuse(options.batch_size != 1, "--batch", "windows of this model are run one by one");
    refuse(options.beam_size < 1 || options.beam_size > kMaxBeams, "--beam",
           "the number of beams is " + std::to_string(options.beam_size), "give 1 to 1024");
    const bool is_search = options.beam_size > 1;
    const std::string why = "is for the search with beams";
    refuse(!is_search && !options.language_model.empty(), "--lm", why, "add --beam N, 16 to 128");
    refuse(!is_search && !options.hot_words.empty(), "--hot-words", why, "add --beam N, 16 to 128");
    refuse(options.language_model.empty() && options.language_model_weight, "--lm-weight",
           "weighs a language model, and none is given", "add --lm FILE.arpa, or leave it out");
    refuse(options.language_model.empty() && options.word_bonus, "--word-bonus",
           "balances a language model, and none is given", "add --lm FILE.arpa, or leave it out");
  }
  double max_speech_s() const override { return kMaxSpeechS; }
  std::vector<std::string> languages() const override { return {}; }

  Transcript run(const SampleSource& source, const TranscriptionOptions& options, const SegmentSink& sink,
                 VoiceDetector* detector) override {
    const std::optional<CtcWordScorer> scorer = scorer_of(options);
    CtcRunParts parts;
    parts.facts = &*facts_.ctc;
    parts.sample_rate_hz = facts_.sample_rate_hz;
    parts.model = &session_;
    parts.detector = detector;
    parts.scorer = scorer ? &*scorer : nullptr;
    return run_ctc(parts, source, options, sink);
  }

 private:
  std::optional<CtcWordScorer> scorer_of(const TranscriptionOptions& options) {
    CtcScorerOptions wanted;
    wanted.language_model_weight = options.language_model_weight.value_or(wanted.language_model_weight);
    wanted.word_bonus = options.word_bonus.value_or(wanted.word_bonus);
    wanted.hot_words = words_in(options.hot_words);
    if (options.language_model.empty() && wanted.hot_words.empty()) return std::nullopt;
    if (options.language_model.empty()) return CtcWordScorer(*facts_.ctc, nullptr, std::move(wanted));
    // Files of one call after another mostly share it.
    if (!language_model_ || language_model_path_ != options.language_model) {
      language_model_ = std::make_shared<const NgramModel>(NgramModel::read(options.language_model));
      language_model_path_ = options.language_model;
    }
    return CtcWordScorer(*facts_.ctc, language_model_, std::move(wanted));
  }

  TranscriptionFacts facts_;
  CtcSession session_;
  std::shared_ptr<const NgramModel> language_model_;
  std::filesystem::path language_model_path_;
};

}  // namespace

std::unique_ptr<Recognizer> make_ctc_recognizer(const TranscriptionFacts& facts, const EngineSource& engines) {
  return std::make_unique<CtcRecognizer>(facts, engines);
}

}  // namespace pajamas
