// See whisper_facts.h.
#include "models/whisper/whisper_facts.h"

#include <algorithm>
#include <set>

#include "base/json_reader.h"
#include "models/whisper/whisper_layout.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::int64_t kMaxToken = INT32_MAX;
constexpr std::int64_t kMaxHeads = 4096;

std::vector<std::int64_t> read_ids(const JsonReader& json) {
  std::vector<std::int64_t> ids;
  for (const JsonReader& id : json.elements()) ids.push_back(id.as_integer(0, kMaxToken));
  return ids;
}

std::vector<std::array<std::int64_t, 2>> read_heads(const JsonReader& json) {
  std::vector<std::array<std::int64_t, 2>> heads;
  for (const JsonReader& entry : json.elements()) {
    const auto pair = entry.elements();
    if (pair.size() != 2) entry.fail("must be [layer, head]");
    heads.push_back({pair[0].as_integer(0, kMaxHeads), pair[1].as_integer(0, kMaxHeads)});
  }
  return heads;
}

bool is_present(const JsonReader& json, const char* key) { return json.has(key) && !json.member(key).json().is_null(); }

/// Ids by the texts of the special tokens.
WhisperLayout layout_of(const Tokenizer& tokenizer, const WhisperConfig& config, const std::string& where) {
  const auto find = [&](std::initializer_list<const char*> names) -> std::int64_t {
    for (const char* name : names) {
      if (const auto id = tokenizer.find_token(name)) return *id;
    }
    throw Error(ErrorKind::kBadInput, std::string("the tokenizer has no token ") + *names.begin(), where,
                "the tokenizer is not Whisper's: fetch the folder again");
  };
  WhisperLayout layout;
  WhisperTokens& tokens = layout.tokens;
  tokens.end_of_text = find({"<|endoftext|>"});
  tokens.start_of_transcript = find({"<|startoftranscript|>"});
  tokens.translate = find({"<|translate|>"});
  tokens.transcribe = find({"<|transcribe|>"});
  tokens.start_of_lm = find({"<|startoflm|>"});
  tokens.start_of_previous = find({"<|startofprev|>"});
  tokens.no_speech = find({"<|nospeech|>", "<|nocaptions|>"});
  tokens.no_timestamps = find({"<|notimestamps|>"});
  // Tokenizers of the first conversions have no timestamps; they follow on the others in every vocabulary.
  tokens.first_timestamp = tokens.no_timestamps + 1;
  for (const std::string& code : whisper_language_codes()) {
    if (const auto id = tokenizer.find_token("<|" + code + "|>")) layout.languages.push_back({code, *id});
  }
  for (const std::int64_t id :
       {tokens.end_of_text, tokens.start_of_transcript, tokens.translate, tokens.transcribe, tokens.start_of_lm,
        tokens.start_of_previous, tokens.no_speech, tokens.first_timestamp}) {
    if (id < config.vocab_size) continue;
    throw Error(ErrorKind::kBadInput,
                "the tokenizer has the special token " + std::to_string(id) + ", but the model has " +
                    std::to_string(config.vocab_size) + " tokens",
                where, "tokenizer and weights may belong to different models: fetch the folder again");
  }
  std::erase_if(layout.languages,
                [&](const WhisperLanguage& language) { return language.token_id >= config.vocab_size; });
  constexpr std::int64_t kSmallestMultilingual = 51865;
  layout.is_multilingual = config.vocab_size >= kSmallestMultilingual;
  return layout;
}

/// Texts that are said by nobody: brackets around what happens, music, names of speakers. OpenAI's program never
/// samples them: single tokens of these signs, alone and behind a space, and the first token of the notes, which share
/// it with other signs of their block.
std::vector<std::int64_t> tokens_not_spoken(const Tokenizer& tokenizer) {
  static const std::vector<std::string> kSigns{
      "\"",  "#",  "(",  ")",  "*",   "+",  "/",  ":",   ";",   "<",  "=",  ">",  "@",  "[",   "\\",  "]",
      "^",   "_",  "`",  "{",  "|",   "}",  "~",  "「",  "」",  "『", "』", "<<", ">>", "<<<", ">>>", "--",
      "---", "-(", "-[", "('", "(\"", "((", "))", "(((", ")))", "[[", "]]", "{{", "}}", "♪♪",  "♪♪♪"};
  static const std::vector<std::string> kNotes{"♩", "♪", "♫", "♬", "♭", "♮", "♯"};
  const EncodeOptions plain{false, false};
  std::set<std::int64_t> ids;
  // Within words they are spoken, at their beginning not.
  for (const char* text : {" -", " '"}) {
    const auto tokens = tokenizer.encode(text, plain);
    if (!tokens.empty()) ids.insert(tokens.front());
  }
  const auto add = [&](const std::string& sign, bool takes_first) {
    for (const std::string& text : {sign, " " + sign}) {
      const auto tokens = tokenizer.encode(text, plain);
      if (tokens.size() == 1 || (takes_first && !tokens.empty())) ids.insert(tokens.front());
    }
  };
  for (const std::string& sign : kSigns) add(sign, false);
  for (const std::string& note : kNotes) add(note, true);
  return {ids.begin(), ids.end()};
}

/// Sorted, without those that the model does not have.
std::vector<std::int64_t> cleaned(std::vector<std::int64_t> ids, std::int64_t vocab_size) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  std::erase_if(ids, [&](std::int64_t id) { return id >= vocab_size; });
  return ids;
}

}  // namespace

WhisperSettings read_generation_settings(const JsonReader& json) {
  WhisperSettings settings;
  if (is_present(json, "is_multilingual")) settings.is_multilingual = json.boolean("is_multilingual");
  if (is_present(json, "suppress_tokens")) settings.suppressed_token_ids = read_ids(json.member("suppress_tokens"));
  if (is_present(json, "begin_suppress_tokens")) {
    settings.begin_suppressed_token_ids = read_ids(json.member("begin_suppress_tokens"));
  }
  if (is_present(json, "alignment_heads")) settings.alignment_heads = read_heads(json.member("alignment_heads"));
  return settings;
}

WhisperSettings read_ctranslate2_settings(const JsonReader& json) {
  WhisperSettings settings;
  if (is_present(json, "suppress_ids")) settings.suppressed_token_ids = read_ids(json.member("suppress_ids"));
  if (is_present(json, "suppress_ids_begin")) {
    settings.begin_suppressed_token_ids = read_ids(json.member("suppress_ids_begin"));
  }
  if (is_present(json, "alignment_heads")) settings.alignment_heads = read_heads(json.member("alignment_heads"));
  return settings;
}

WhisperFacts whisper_facts_of(const WhisperConfig& config, const WhisperSettings& settings,
                              const std::optional<Tokenizer>& tokenizer, const std::string& where) {
  WhisperLayout layout =
      tokenizer ? layout_of(*tokenizer, config, where) : published_whisper_layout(config.vocab_size, where);
  WhisperFacts facts;
  facts.num_mels = config.num_mels;
  facts.num_positions = config.num_positions;
  facts.context_length = config.context_length;
  facts.vocab_size = config.vocab_size;
  facts.tokens = layout.tokens;
  if (settings.is_multilingual.value_or(layout.is_multilingual)) facts.languages = std::move(layout.languages);

  std::vector<std::int64_t> suppressed;
  if (settings.suppressed_token_ids) {
    suppressed = *settings.suppressed_token_ids;
  } else if (tokenizer) {
    suppressed = tokens_not_spoken(*tokenizer);
  }
  // Marks of the prompt are never part of a text; some published lists leave one out.
  const WhisperTokens& tokens = facts.tokens;
  suppressed.insert(suppressed.end(), {tokens.start_of_transcript, tokens.translate, tokens.transcribe,
                                       tokens.start_of_lm, tokens.start_of_previous, tokens.no_speech});
  facts.suppressed_token_ids = cleaned(std::move(suppressed), config.vocab_size);

  std::vector<std::int64_t> begin;
  if (settings.begin_suppressed_token_ids) {
    begin = *settings.begin_suppressed_token_ids;
  } else {
    begin.push_back(tokens.end_of_text);
    if (tokenizer) {
      const auto blank = tokenizer->encode(" ", {false, false});
      if (!blank.empty()) begin.push_back(blank.front());
    }
  }
  facts.begin_suppressed_token_ids = cleaned(std::move(begin), config.vocab_size);

  if (settings.alignment_heads && !settings.alignment_heads->empty()) {
    facts.alignment_heads = *settings.alignment_heads;
  } else {
    // What OpenAI's program does for models that nobody has measured: all heads of the later half of the layers.
    for (std::int64_t layer = config.num_decoder_layers / 2; layer < config.num_decoder_layers; ++layer) {
      for (std::int64_t head = 0; head < config.num_decoder_heads; ++head)
        facts.alignment_heads.push_back({layer, head});
    }
  }
  std::sort(facts.alignment_heads.begin(), facts.alignment_heads.end());
  return facts;
}

}  // namespace pajamas
