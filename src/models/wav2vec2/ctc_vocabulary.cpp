// See ctc_vocabulary.h.
#include "models/wav2vec2/ctc_vocabulary.h"

#include <array>
#include <map>
#include <set>
#include <utility>

#include "base/files.h"
#include "base/log.h"
#include "pajamas/error.h"
#include "text/unicode.h"

namespace pajamas {
namespace fs = std::filesystem;
namespace {

constexpr std::uint64_t kMaxBytes = 64ULL << 20;
/// Above every vocabulary, so that ids can be kept as numbers without care.
constexpr std::int64_t kMaxId = 10'000'000;
const char* const kFetchAgain = "fetch the checkpoint's folder again, with all its .json files";

/// A file of the folder as an object; an empty object where there is none.
nlohmann::json read_object(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return nlohmann::json::object();
  nlohmann::json json = parse_json(read_file(path, kMaxBytes), path.string());
  if (!json.is_object()) throw Error(ErrorKind::kBadInput, "is no JSON object", path.string(), kFetchAgain);
  return json;
}

/// A special token as files write it: a text, an object with the text as "content", or null for none.
std::optional<std::string> token_text(const JsonReader& json, const char* key) {
  if (!json.has(key)) return std::nullopt;
  const JsonReader value = json.member(key);
  if (value.json().is_null()) return std::nullopt;
  if (value.json().is_object()) return value.string("content");
  return value.as_string();
}

/// The table of one language: files of several (MMS) nest them.
nlohmann::json table_of(const nlohmann::json& vocabulary, const JsonReader& settings, const std::string& where) {
  if (vocabulary.empty() || !vocabulary.begin()->is_object()) return vocabulary;
  std::string language = settings.has("target_lang") && settings.member("target_lang").json().is_string()
                             ? settings.string("target_lang")
                             : std::string();
  if (language.empty() && vocabulary.size() == 1) language = vocabulary.begin().key();
  if (vocabulary.contains(language)) return vocabulary[language];
  throw Error(ErrorKind::kBadInput,
              language.empty() ? "has several languages, and none is chosen"
                               : "has no language '" + language + "', which tokenizer_config.json chooses",
              where, "name one of its languages as target_lang in tokenizer_config.json");
}

void require_known_class(const JsonReader& json) {
  if (!json.has("tokenizer_class") || !json.member("tokenizer_class").json().is_string()) return;
  const std::string name = json.string("tokenizer_class");
  if (name == "Wav2Vec2CTCTokenizer" || name == "Wav2Vec2Tokenizer") return;
  throw Error(ErrorKind::kUnsupported, "tokenizer_class '" + name + "' is not read", json.where(),
              "checkpoints whose tokens are letters (Wav2Vec2CTCTokenizer) are read");
}

}  // namespace

CtcVocabulary read_ctc_vocabulary(const fs::path& folder, const JsonReader& config, std::int64_t vocab_size) {
  const fs::path file = folder / "vocab.json";
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) {
    throw Error(ErrorKind::kBadInput, "is not there, so nothing says what the model's outputs mean", file.string(),
                kFetchAgain);
  }
  const std::string settings_file = (folder / "tokenizer_config.json").string();
  const nlohmann::json settings_json = read_object(settings_file);
  const JsonReader settings(settings_json, settings_file);
  const std::string map_file = (folder / "special_tokens_map.json").string();
  const nlohmann::json map_json = read_object(map_file);
  const JsonReader map(map_json, map_file);
  require_known_class(config);
  require_known_class(settings);

  const nlohmann::json table = table_of(read_object(file), settings, file.string());
  const JsonReader vocabulary(table, file.string());
  std::map<std::string, std::int64_t> id_of;
  CtcVocabulary result;
  result.tokens.resize(static_cast<std::size_t>(vocab_size));
  std::vector<bool> is_taken(result.tokens.size(), false);
  for (const auto& [text, id] : vocabulary.members()) {
    const std::int64_t value = id.as_integer(0, kMaxId);
    if (value >= vocab_size) {
      id.fail("is " + std::to_string(value) + ", but the model has " + std::to_string(vocab_size) + " outputs",
              "vocab.json and the weights may belong to different models: fetch them again");
    }
    if (is_taken[static_cast<std::size_t>(value)]) id.fail("is an id that another token has too");
    is_taken[static_cast<std::size_t>(value)] = true;
    result.tokens[static_cast<std::size_t>(value)] = text;
    id_of.emplace(text, value);
  }
  // Tokens that were added to the tokenizer later; the model need not have outputs for them.
  std::set<std::string> special;
  const auto add = [&](const std::string& text, std::int64_t id, bool is_special) {
    if (is_special) special.insert(text);
    if (id >= vocab_size || is_taken[static_cast<std::size_t>(id)] || id_of.contains(text)) return;
    is_taken[static_cast<std::size_t>(id)] = true;
    result.tokens[static_cast<std::size_t>(id)] = text;
    id_of.emplace(text, id);
  };
  if (settings.has("added_tokens_decoder")) {
    for (const auto& [id, token] : settings.member("added_tokens_decoder").members()) {
      const bool is_number = !id.empty() && id.size() <= 9 && id.find_first_not_of("0123456789") == std::string::npos;
      if (!is_number) token.fail("is under a key that is no number");
      add(token.string("content"), std::stol(id), token.boolean_or("special", false));
    }
  }
  const std::string added_file = (folder / "added_tokens.json").string();
  const nlohmann::json added_json = read_object(added_file);
  for (const auto& [text, id] : JsonReader(added_json, added_file).members()) add(text, id.as_integer(0, kMaxId), true);

  // What tokenizer_config.json says wins; null there says that there is none.
  const auto name_of = [&](const char* key, const char* fallback) -> std::optional<std::string> {
    if (settings.json().contains(key)) return token_text(settings, key);
    if (map.has(key)) return token_text(map, key);
    return fallback;
  };
  const auto find = [&](const std::optional<std::string>& text) -> std::optional<std::int64_t> {
    if (!text) return std::nullopt;
    const auto found = id_of.find(*text);
    return found == id_of.end() ? std::nullopt : std::optional(found->second);
  };
  const std::optional<std::string> pad = name_of("pad_token", "<pad>");
  const auto blank = find(pad);
  if (!blank) {
    throw Error(ErrorKind::kBadInput,
                "has no token '" + pad.value_or("") + "' for padding, which is the blank that the model gives",
                file.string(), "name the padding token as pad_token in tokenizer_config.json");
  }
  result.blank_id = *blank;
  // Which one the model was trained with; tokenizers win, as transformers decodes with them.
  const std::int64_t trained = config.has("pad_token_id") && config.member("pad_token_id").json().is_number_integer()
                                   ? config.integer("pad_token_id")
                                   : 0;
  if (trained != result.blank_id) {
    log().warn("{}: the padding token has the id {}, but config.json says {}: {} is taken for the blank", file.string(),
               result.blank_id, trained, result.blank_id);
  }
  constexpr std::array<std::pair<const char*, const char*>, 3> kOthers{
      {{"unk_token", "<unk>"}, {"bos_token", "<s>"}, {"eos_token", "</s>"}}};
  for (const auto& [key, fallback] : kOthers) {
    if (const auto text = name_of(key, fallback)) special.insert(*text);
  }
  result.word_delimiter_id = find(name_of("word_delimiter_token", "|"));
  if (result.word_delimiter_id == result.blank_id) result.word_delimiter_id.reset();

  const bool is_lower = settings.boolean_or("do_lower_case", false);
  for (std::size_t id = 0; id < result.tokens.size(); ++id) {
    std::string& text = result.tokens[id];
    if (special.contains(text) || static_cast<std::int64_t>(id) == result.blank_id) text.clear();
    if (is_lower) text = utf8_of(lower_case(code_points_of(text)));
  }
  if (result.word_delimiter_id) {
    result.tokens[static_cast<std::size_t>(*result.word_delimiter_id)] =
        settings.string_or("replace_word_delimiter_char", " ");
  }
  return result;
}

}  // namespace pajamas
