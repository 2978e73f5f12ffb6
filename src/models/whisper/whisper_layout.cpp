// See whisper_layout.h. Source of the layout: the tokenizer of OpenAI's program and its model sizes.
#include "models/whisper/whisper_layout.h"

#include <array>
#include <cstdio>
#include <sstream>

#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::int64_t kEnglishVocabulary = 51864;
constexpr std::int64_t kMostVocabulary = 51866;
/// Text tokens of GPT-2; the multilingual vocabulary has one more.
constexpr std::int64_t kEnglishTexts = 50256;
constexpr std::int64_t kNumLanguages = 99;

}  // namespace

const std::vector<std::string>& whisper_language_codes() {
  static const std::vector<std::string> kCodes = [] {
    std::istringstream list(
        "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la "
        "mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be "
        "tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue");
    std::vector<std::string> codes;
    for (std::string code; list >> code;) codes.push_back(code);
    return codes;
  }();
  return kCodes;
}

WhisperLayout published_whisper_layout(std::int64_t vocab_size, const std::string& where) {
  if (vocab_size < kEnglishVocabulary || vocab_size > kMostVocabulary) {
    throw Error(ErrorKind::kUnsupported,
                "has " + std::to_string(vocab_size) + " tokens, which is no published vocabulary of Whisper", where,
                "give the checkpoint with its tokenizer.json");
  }
  WhisperLayout layout;
  layout.is_multilingual = vocab_size > kEnglishVocabulary;
  const std::int64_t num_languages = kNumLanguages + (vocab_size == kMostVocabulary ? 1 : 0);
  std::int64_t id = kEnglishTexts + (layout.is_multilingual ? 1 : 0);
  WhisperTokens& tokens = layout.tokens;
  tokens.end_of_text = id++;
  tokens.start_of_transcript = id++;
  for (std::int64_t i = 0; i < num_languages; ++i) {
    layout.languages.push_back({whisper_language_codes()[static_cast<std::size_t>(i)], id++});
  }
  tokens.translate = id++;
  tokens.transcribe = id++;
  tokens.start_of_lm = id++;
  tokens.start_of_previous = id++;
  tokens.no_speech = id++;
  tokens.no_timestamps = id++;
  tokens.first_timestamp = id;
  return layout;
}

std::vector<std::pair<std::string, std::int64_t>> whisper_special_tokens(const WhisperLayout& layout,
                                                                         std::int64_t vocab_size) {
  const WhisperTokens& tokens = layout.tokens;
  std::vector<std::pair<std::string, std::int64_t>> all{{"<|endoftext|>", tokens.end_of_text},
                                                        {"<|startoftranscript|>", tokens.start_of_transcript}};
  for (const WhisperLanguage& language : layout.languages) {
    all.emplace_back("<|" + language.code + "|>", language.token_id);
  }
  all.insert(all.end(), {{"<|translate|>", tokens.translate},
                         {"<|transcribe|>", tokens.transcribe},
                         {"<|startoflm|>", tokens.start_of_lm},
                         {"<|startofprev|>", tokens.start_of_previous},
                         {"<|nospeech|>", tokens.no_speech},
                         {"<|notimestamps|>", tokens.no_timestamps}});
  for (std::int64_t id = tokens.first_timestamp; id < vocab_size; ++id) {
    constexpr double kSecondsAToken = 0.02;
    char text[32];
    std::snprintf(text, sizeof(text), "<|%.2f|>", static_cast<double>(id - tokens.first_timestamp) * kSecondsAToken);
    all.emplace_back(text, id);
  }
  return all;
}

}  // namespace pajamas
