// tokenizer.json and the small files beside it.
#include <cmath>

#include "base/files.h"
#include "pajamas/error.h"
#include "text/tokenizer/flat_tables.h"
#include "text/tokenizer/readers.h"

namespace pajamas {
namespace {

constexpr std::uint64_t kMaxConfigBytes = 16 << 20;

/// A vocabulary of an object token to id, by id; ids without a token stay empty.
TextPool read_vocab(const JsonReader& vocab) {
  const nlohmann::json& json = vocab.json();
  if (!json.is_object()) vocab.fail("should be an object, is " + std::string(json.type_name()));
  std::vector<const std::string*> by_id;
  std::size_t num_bytes = 0;
  for (auto entry = json.begin(); entry != json.end(); ++entry) {
    const nlohmann::json& value = entry.value();
    if (!value.is_number_integer() || value.get<std::int64_t>() < 0 || value.get<std::int64_t>() >= kMaxTokens ||
        (value.is_number_unsigned() && value.get<std::uint64_t>() >= static_cast<std::uint64_t>(kMaxTokens))) {
      vocab.fail("gives '" + entry.key() + "' an id that is none: " + value.dump());
    }
    const auto id = value.get<std::size_t>();
    if (id >= by_id.size()) by_id.resize(id + 1, nullptr);
    if (by_id[id] != nullptr) {
      vocab.fail("gives '" + *by_id[id] + "' and '" + entry.key() + "' the same id " + std::to_string(id));
    }
    by_id[id] = &entry.key();
    num_bytes += entry.key().size();
  }
  TextPool tokens;
  tokens.reserve(by_id.size(), num_bytes);
  for (const std::string* token : by_id) tokens.add(token == nullptr ? std::string_view() : *token);
  return tokens;
}

class MergeReader {
 public:
  MergeReader(const TextPool& tokens, std::string_view prefix)
      : tokens_(tokens), table_(tokens.size()), prefix_(prefix) {
    for (std::size_t id = 0; id < tokens.size(); ++id) {
      if (!tokens[id].empty()) table_.insert(tokens, static_cast<std::int32_t>(id));
    }
  }
  std::vector<Merge> read(const JsonReader& merges) const {
    const nlohmann::json& json = merges.json();
    if (!json.is_array()) merges.fail("should be an array, is " + std::string(json.type_name()));
    std::vector<Merge> result;
    result.reserve(json.size());
    std::string joined;
    for (std::size_t i = 0; i < json.size(); ++i) {
      const nlohmann::json& entry = json[i];
      const auto fail = [&](const std::string& what) { merges.fail("[" + std::to_string(i) + "] " + what); };
      std::string_view left, right;
      if (entry.is_string()) {
        const std::string& line = entry.get_ref<const std::string&>();
        const std::size_t space = line.find(' ');
        if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) fail("is no pair of tokens");
        left = std::string_view(line).substr(0, space);
        right = std::string_view(line).substr(space + 1);
      } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
        left = entry[0].get_ref<const std::string&>();
        right = entry[1].get_ref<const std::string&>();
      } else {
        fail("is no pair of tokens");
      }
      if (left.empty() || right.empty()) fail("is no pair of tokens");
      joined = left;
      joined += right.starts_with(prefix_) ? right.substr(prefix_.size()) : right;
      const auto find = [&](std::string_view token) {
        const std::int32_t id = table_.find(tokens_, token);
        if (id == TokenTable::kNone)
          fail("needs the token '" + std::string(token) + "', which the vocabulary does not have");
        return id;
      };
      result.push_back({find(left), find(right), find(joined), static_cast<std::int32_t>(i)});
    }
    return result;
  }
  std::optional<std::int32_t> find(std::string_view token) const {
    const std::int32_t id = table_.find(tokens_, token);
    return id == TokenTable::kNone ? std::nullopt : std::optional(id);
  }

 private:
  const TextPool& tokens_;
  TokenTable table_;
  std::string_view prefix_;
};

std::int32_t require_unk(const JsonReader& model, const MergeReader& vocabulary) {
  const std::string token = model.string("unk_token");
  const auto id = vocabulary.find(token);
  if (!id) model.member("unk_token").fail("is '" + token + "', which the vocabulary does not have");
  return *id;
}

void read_bpe(const JsonReader& model, TokenizerDefinition& definition) {
  if (model.has("dropout") && model.number("dropout") != 0) {
    throw Error(ErrorKind::kUnsupported, "has a BPE model with dropout, whose tokens would be random",
                model.where() + ": model.dropout", "set it to null");
  }
  definition.model = TokenizerModel::kBpe;
  definition.tokens = read_vocab(model.member("vocab"));
  definition.continuing_subword_prefix = model.string_or("continuing_subword_prefix", "");
  definition.end_of_word_suffix = model.string_or("end_of_word_suffix", "");
  definition.fuses_unk = model.boolean_or("fuse_unk", false);
  definition.uses_byte_fallback = model.boolean_or("byte_fallback", false);
  definition.ignores_merges = model.boolean_or("ignore_merges", false);
  const MergeReader reader(definition.tokens, definition.continuing_subword_prefix);
  definition.merges = reader.read(model.member("merges"));
  if (model.has("unk_token")) definition.model_unk_id = require_unk(model, reader);
}

void read_unigram(const JsonReader& model, TokenizerDefinition& definition) {
  definition.model = TokenizerModel::kUnigram;
  const JsonReader vocab = model.member("vocab");
  const nlohmann::json& json = vocab.json();
  if (!json.is_array()) vocab.fail("should be an array, is " + std::string(json.type_name()));
  if (json.size() > static_cast<std::size_t>(kMaxTokens)) vocab.fail("has too many tokens");
  for (std::size_t i = 0; i < json.size(); ++i) {
    const nlohmann::json& entry = json[i];
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      vocab.fail("[" + std::to_string(i) + "] is no pair of token and score");
    }
    definition.tokens.add(entry[0].get_ref<const std::string&>());
    definition.scores.push_back(entry[1].get<double>());
  }
  if (model.has("unk_id")) {
    definition.model_unk_id =
        static_cast<std::int32_t>(model.integer("unk_id", 0, static_cast<std::int64_t>(json.size()) - 1));
  }
  definition.uses_byte_fallback = model.boolean_or("byte_fallback", false);
}

void read_word_piece(const JsonReader& model, TokenizerDefinition& definition) {
  definition.model = TokenizerModel::kWordPiece;
  definition.tokens = read_vocab(model.member("vocab"));
  definition.continuing_subword_prefix = model.string_or("continuing_subword_prefix", "##");
  definition.max_chars_per_word = static_cast<std::int32_t>(model.integer_or("max_input_chars_per_word", 100, 1, 1000));
  const MergeReader reader(definition.tokens, definition.continuing_subword_prefix);
  definition.model_unk_id = require_unk(model, reader);
}

std::string model_type(const JsonReader& model) {
  if (model.has("type")) return model.string("type");
  // Files of the library's first years do not say.
  if (model.has("merges")) return "BPE";
  return model.member("vocab").json().is_array() ? "Unigram" : "WordPiece";
}

std::optional<std::int32_t> find_special(const TokenizerDefinition& definition, std::string_view token) {
  for (const AddedToken& added : definition.added_tokens) {
    if (added.content == token) return added.id;
  }
  for (std::size_t id = 0; id < definition.tokens.size(); ++id) {
    if (definition.tokens[id] == token) return static_cast<std::int32_t>(id);
  }
  return std::nullopt;
}

std::optional<nlohmann::json> read_config(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return std::nullopt;
  return parse_json(read_file(path, kMaxConfigBytes), path.string());
}

}  // namespace

TokenizerDefinition read_tokenizer_json(std::string_view text, const std::string& where) {
  const nlohmann::json json = parse_json(text, where);
  const JsonReader root(json, where);
  TokenizerDefinition definition;
  definition.where = where;
  const JsonReader model = root.member("model");
  const std::string type = model_type(model);
  if (type == "BPE") {
    read_bpe(model, definition);
  } else if (type == "Unigram") {
    read_unigram(model, definition);
  } else if (type == "WordPiece") {
    read_word_piece(model, definition);
  } else {
    throw Error(ErrorKind::kUnsupported, "has a model of type '" + type + "', which is not known", where,
                "known are BPE, Unigram and WordPiece");
  }
  if (root.has("added_tokens")) {
    for (const JsonReader& entry : root.member("added_tokens").elements()) {
      AddedToken token;
      token.content = entry.string("content");
      token.id = static_cast<std::int32_t>(entry.integer("id", 0, kMaxTokens - 1));
      token.is_special = entry.boolean_or("special", false);
      token.is_single_word = entry.boolean_or("single_word", false);
      token.strips_left = entry.boolean_or("lstrip", false);
      token.strips_right = entry.boolean_or("rstrip", false);
      token.is_normalized = entry.boolean_or("normalized", !token.is_special);
      if (token.content.empty()) continue;  // The library skips them too.
      definition.added_tokens.push_back(std::move(token));
    }
  }
  for (const auto& [key, part] :
       {std::pair{"normalizer", &definition.normalizer}, std::pair{"pre_tokenizer", &definition.pre_tokenizer},
        std::pair{"post_processor", &definition.post_processor}, std::pair{"decoder", &definition.decoder}}) {
    if (root.has(key)) *part = json[key];
  }
  definition.unk_id = definition.model_unk_id;
  return definition;
}

void read_special_tokens(const std::filesystem::path& directory, TokenizerDefinition& definition) {
  // The map is the older file: what the configuration says goes before it.
  for (const char* name : {"special_tokens_map.json", "tokenizer_config.json"}) {
    const std::filesystem::path path = directory / name;
    const auto json = read_config(path);
    if (!json) continue;
    const JsonReader root(*json, path.string());
    const auto read = [&](const char* key, std::optional<std::int32_t>& id) {
      if (!root.has(key)) return;
      const JsonReader value = root.member(key);
      const std::string token = value.json().is_object() ? value.string("content") : value.as_string();
      // A token that the vocabulary does not have is one that was never added: configurations have such leftovers.
      if (const auto found = find_special(definition, token)) id = found;
    };
    read("bos_token", definition.bos_id);
    read("eos_token", definition.eos_id);
    read("pad_token", definition.pad_id);
    read("unk_token", definition.unk_id);
  }
}

std::optional<bool> read_config_flag(const std::filesystem::path& directory, const char* key) {
  const std::filesystem::path path = directory / "tokenizer_config.json";
  const auto json = read_config(path);
  if (!json) return std::nullopt;
  const JsonReader root(*json, path.string());
  if (!root.has(key)) return std::nullopt;
  return root.boolean(key);
}

}  // namespace pajamas
