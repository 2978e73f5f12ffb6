// The form that bundles carry: a JSON header with everything small, then the vocabulary as plain arrays. Described in
// docs/language-tokenizers.md. Little-endian.
#include <bit>
#include <cmath>
#include <cstring>

#include "base/json_writer.h"
#include "pajamas/error.h"
#include "text/tokenizer/readers.h"

namespace pajamas {
namespace {

constexpr std::string_view kMagic = "PJMSTOK1";
static_assert(std::endian::native == std::endian::little, "the arrays are copied as they are");

constexpr std::pair<const char*, TokenizerModel> kModels[] = {
    {"bpe", TokenizerModel::kBpe}, {"unigram", TokenizerModel::kUnigram}, {"word_piece", TokenizerModel::kWordPiece}};

template <typename T>
void append_number(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

/// Takes arrays off the front.
class ArrayReader {
 public:
  ArrayReader(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}
  std::string_view take(std::uint64_t num_bytes) {
    if (num_bytes > bytes_.size()) {
      throw Error(ErrorKind::kBadInput, "is cut off", where_, "build the bundle again");
    }
    const std::string_view result = bytes_.substr(0, static_cast<std::size_t>(num_bytes));
    bytes_.remove_prefix(result.size());
    return result;
  }
  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  bool empty() const { return bytes_.empty(); }

 private:
  std::string_view bytes_;
  const std::string& where_;
};

nlohmann::json header_of(const TokenizerDefinition& definition) {
  nlohmann::json header;
  for (const auto& [name, model] : kModels) {
    if (model == definition.model) header["model"] = name;
  }
  header["num_tokens"] = definition.tokens.size();
  header["num_merges"] = definition.merges.size();
  if (definition.model_unk_id) header["model_unk_id"] = *definition.model_unk_id;
  header["byte_fallback"] = definition.uses_byte_fallback;
  header["fuse_unk"] = definition.fuses_unk;
  header["ignore_merges"] = definition.ignores_merges;
  header["continuing_subword_prefix"] = definition.continuing_subword_prefix;
  header["end_of_word_suffix"] = definition.end_of_word_suffix;
  header["max_input_chars_per_word"] = definition.max_chars_per_word;
  header["normalizer"] = definition.normalizer;
  header["pre_tokenizer"] = definition.pre_tokenizer;
  header["post_processor"] = definition.post_processor;
  header["decoder"] = definition.decoder;
  header["added_tokens"] = nlohmann::json::array();
  for (const AddedToken& token : definition.added_tokens) {
    header["added_tokens"].push_back({{"id", token.id},
                                      {"content", token.content},
                                      {"special", token.is_special},
                                      {"single_word", token.is_single_word},
                                      {"lstrip", token.strips_left},
                                      {"rstrip", token.strips_right},
                                      {"normalized", token.is_normalized}});
  }
  for (const auto& [name, id] : {std::pair{"bos_id", definition.bos_id}, std::pair{"eos_id", definition.eos_id},
                                 std::pair{"pad_id", definition.pad_id}, std::pair{"unk_id", definition.unk_id}}) {
    if (id) header[name] = *id;
  }
  return header;
}

void read_header(const JsonReader& header, TokenizerDefinition& definition) {
  const std::string model = header.string("model");
  bool is_known = false;
  for (const auto& [name, value] : kModels) {
    if (model != name) continue;
    definition.model = value;
    is_known = true;
  }
  if (!is_known) header.member("model").fail("is '" + model + "', which is no model");
  const auto id = [&](const char* key) -> std::optional<std::int32_t> {
    if (!header.has(key)) return std::nullopt;
    return static_cast<std::int32_t>(header.integer(key, 0, kMaxTokens - 1));
  };
  definition.model_unk_id = id("model_unk_id");
  definition.bos_id = id("bos_id");
  definition.eos_id = id("eos_id");
  definition.pad_id = id("pad_id");
  definition.unk_id = id("unk_id");
  definition.uses_byte_fallback = header.boolean("byte_fallback");
  definition.fuses_unk = header.boolean("fuse_unk");
  definition.ignores_merges = header.boolean("ignore_merges");
  definition.continuing_subword_prefix = header.string("continuing_subword_prefix");
  definition.end_of_word_suffix = header.string("end_of_word_suffix");
  definition.max_chars_per_word = static_cast<std::int32_t>(header.integer("max_input_chars_per_word", 1, 1000));
  const auto part = [&](const char* key) {
    return header.has(key) ? header.member(key).json() : nlohmann::json(nullptr);
  };
  definition.normalizer = part("normalizer");
  definition.pre_tokenizer = part("pre_tokenizer");
  definition.post_processor = part("post_processor");
  definition.decoder = part("decoder");
  for (const JsonReader& entry : header.member("added_tokens").elements()) {
    AddedToken token;
    token.id = static_cast<std::int32_t>(entry.integer("id", 0, kMaxTokens - 1));
    token.content = entry.string("content");
    token.is_special = entry.boolean("special");
    token.is_single_word = entry.boolean("single_word");
    token.strips_left = entry.boolean("lstrip");
    token.strips_right = entry.boolean("rstrip");
    token.is_normalized = entry.boolean("normalized");
    definition.added_tokens.push_back(std::move(token));
  }
}

}  // namespace

bool is_bundle_form(std::string_view bytes) { return bytes.starts_with(kMagic); }

std::string write_bundle_form(const TokenizerDefinition& definition) {
  const std::string header = json_text(header_of(definition));
  std::string bytes(kMagic);
  bytes.reserve(header.size() + definition.tokens.num_bytes() + definition.tokens.size() * 10 +
                definition.merges.size() * sizeof(Merge) + 64);
  append_number(bytes, static_cast<std::uint32_t>(header.size()));
  bytes += header;
  for (std::size_t i = 0; i < definition.tokens.size(); ++i) {
    append_number(bytes, static_cast<std::uint16_t>(definition.tokens[i].size()));
  }
  for (std::size_t i = 0; i < definition.tokens.size(); ++i) bytes += definition.tokens[i];
  for (const double score : definition.scores) append_number(bytes, score);
  for (const Merge& merge : definition.merges) {
    append_number(bytes, merge.left);
    append_number(bytes, merge.right);
    append_number(bytes, merge.result);
    append_number(bytes, merge.rank);
  }
  return bytes;
}

TokenizerDefinition read_bundle_form(std::string_view bytes, const std::string& where) {
  ArrayReader reader(bytes, where);
  reader.take(kMagic.size());
  const nlohmann::json json = parse_json(reader.take(reader.number<std::uint32_t>()), where);
  const JsonReader header(json, where);
  TokenizerDefinition definition;
  definition.where = where;
  read_header(header, definition);
  const auto num_tokens = static_cast<std::uint64_t>(header.integer("num_tokens", 0, kMaxTokens));
  const auto num_merges = static_cast<std::uint64_t>(header.integer("num_merges", 0, INT32_MAX));
  const std::string_view lengths = reader.take(num_tokens * sizeof(std::uint16_t));
  std::uint64_t num_bytes = 0;
  const auto length_of = [&](std::size_t index) {
    std::uint16_t length = 0;
    std::memcpy(&length, lengths.data() + index * sizeof(length), sizeof(length));
    return length;
  };
  for (std::size_t i = 0; i < num_tokens; ++i) num_bytes += length_of(i);
  const std::string_view texts = reader.take(num_bytes);
  definition.tokens.reserve(static_cast<std::size_t>(num_tokens), texts.size());
  std::size_t begin = 0;
  for (std::size_t i = 0; i < num_tokens; ++i) {
    definition.tokens.add(texts.substr(begin, length_of(i)));
    begin += length_of(i);
  }
  if (definition.model == TokenizerModel::kUnigram) {
    const std::string_view scores = reader.take(num_tokens * sizeof(double));
    definition.scores.resize(static_cast<std::size_t>(num_tokens));
    if (!scores.empty()) std::memcpy(definition.scores.data(), scores.data(), scores.size());
  }
  static_assert(sizeof(Merge) == 16, "merges are copied as they are");
  const std::string_view merges = reader.take(num_merges * sizeof(Merge));
  definition.merges.resize(static_cast<std::size_t>(num_merges));
  if (!merges.empty()) std::memcpy(definition.merges.data(), merges.data(), merges.size());
  if (!reader.empty()) throw Error(ErrorKind::kBadInput, "has bytes after its end", where, "build the bundle again");
  return definition;
}

}  // namespace pajamas
