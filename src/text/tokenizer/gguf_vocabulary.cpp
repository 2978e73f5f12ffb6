// The tokenizers behind GGUF's metadata. A GGUF file names its pre-tokenizer by a word; the pipelines here are those
// that the models' own tokenizer.json files have.
#include "text/tokenizer/gguf_vocabulary.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "io/gguf.h"
#include "pajamas/error.h"
#include "text/tokenizer/base64.h"
#include "text/tokenizer/flat_tables.h"

namespace pajamas {
namespace {

using Json = nlohmann::json;
constexpr const char* kSpaceMark = "\xE2\x96\x81";

// The published patterns.
constexpr const char* kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen35Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kGpt4oPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// DeepSeek's lists of letters are the scripts with case; written as the files have them, by code points.
constexpr const char* kDeepSeekLettersPattern =
    R"(\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}]+)";

Json split(const std::string& regex) {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
}
Json byte_level(bool uses_regex, bool adds_space = false) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", adds_space}, {"trim_offsets", true}, {"use_regex", uses_regex}};
}
Json digits(bool is_individual) { return {{"type", "Digits"}, {"individual_digits", is_individual}}; }
Json sequence(std::initializer_list<Json> steps) {
  return {{"type", "Sequence"}, {"pretokenizers", Json::array_t(steps)}};
}

/// What a byte-level vocabulary's name says of it.
struct BytePipeline {
  Json pre_tokenizer;
  Json normalizer = nullptr;
  bool ignores_merges = false;
  bool adds_bos = false;  ///< Where the file does not say.
};

bool is_one_of(const std::string& name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

BytePipeline byte_pipeline(const std::string& pre, const std::string& where) {
  const Json nfc = {{"type", "NFC"}};
  if (is_one_of(pre, {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2"})) {
    return {sequence({split(kLlama3Pattern), byte_level(false)}), nullptr, true, true};
  }
  if (is_one_of(pre, {"dbrx", "smaug-bpe", "chatglm-bpe", "glm4"})) {
    return {sequence({split(kLlama3Pattern), byte_level(false)})};
  }
  if (is_one_of(pre, {"qwen2", "deepseek-r1-qwen", "megrez"})) {
    return {sequence({split(kQwen2Pattern), byte_level(false)}), nfc};
  }
  if (pre == "stablelm2" || pre == "hunyuan") return {sequence({split(kQwen2Pattern), byte_level(false)})};
  if (pre == "qwen35") return {sequence({split(kQwen35Pattern), byte_level(false)})};
  if (is_one_of(pre, {"gpt-4o", "llama4", "kanana2"})) return {sequence({split(kGpt4oPattern), byte_level(false)})};
  if (pre == "tekken") return {sequence({split(kTekkenPattern), byte_level(false)}), nullptr, true, true};
  if (is_one_of(pre, {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"})) {
    return {sequence({digits(true), byte_level(true)}), pre == "command-r" ? nfc : Json(nullptr)};
  }
  if (is_one_of(pre, {"mpt", "olmo"})) return {byte_level(true), nfc};
  if (is_one_of(pre, {"gpt-2", "phi-2", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "jina-v2-code", "roberta-bpe",
                      "mellum", "modern-bert", "trillion", "granite-docling", "jais", "default", ""})) {
    return {byte_level(true)};
  }
  if (pre == "falcon") {
    return {sequence({Json{{"type", "Punctuation"}, {"behavior", "Contiguous"}}, byte_level(true), digits(false),
                      split("[0-9][0-9][0-9]")})};
  }
  if (pre == "deepseek-coder") {
    return {sequence({split("[\r\n]"), split(R"(\s?\p{L}+)"), split(R"(\s?\p{P}+)"),
                      split("[\xE4\xB8\x80-\xE9\xBE\xA5\xE0\xA0\x80-\xE4\xB8\x80\xEA\xB0\x80-\xED\x9F\xBF]+"),
                      digits(true), byte_level(false)})};
  }
  if (pre == "deepseek-llm") {
    return {sequence({split("[\r\n]"), split(kDeepSeekLettersPattern),
                      split(R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)"),
                      split(R"(\s+$)"), split(R"([\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+)"),
                      digits(true), byte_level(false)})};
  }
  if (is_one_of(pre, {"deepseek-v3", "hunyuan-dense"})) {
    return {sequence(
        {split(R"(\p{N}{1,3})"), split(R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)"),
         split(
             R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"),
         byte_level(false)})};
  }
  throw Error(ErrorKind::kUnsupported, "has the pre-tokenizer '" + pre + "', which is not known",
              where + ": tokenizer.ggml.pre", "use the model's own checkpoint with its tokenizer.json");
}

class Definer {
 public:
  Definer(const GgufVocabulary& vocabulary, const std::string& where) : vocabulary_(vocabulary), where_(where) {
    definition_.where = where;
  }
  TokenizerDefinition define();

 private:
  [[noreturn]] void fail(const std::string& message) const { throw Error(ErrorKind::kBadInput, message, where_); }
  std::int32_t type_of(std::size_t id) const {
    return vocabulary_.token_types.empty() ? GgufVocabulary::kNormal : vocabulary_.token_types[id];
  }
  bool is_of_model(std::size_t id) const {
    return type_of(id) == GgufVocabulary::kNormal || type_of(id) == GgufVocabulary::kByte;
  }
  std::optional<std::int32_t> id_of(const std::optional<std::int64_t>& id, const char* name) const;
  void check_counts() const;
  void add_token(std::size_t id);
  std::vector<double> scores() const;
  void define_bytes();
  void define_sentencepiece_bpe();
  void define_gemma4();
  void define_sentencepiece_spaces(bool adds_space);
  void define_unigram();
  void define_word_piece();
  void read_merges();
  void put_around(bool adds_bos, bool adds_eos);

  const GgufVocabulary& vocabulary_;
  const std::string& where_;
  TokenizerDefinition definition_;
};

std::optional<std::int32_t> Definer::id_of(const std::optional<std::int64_t>& id, const char* name) const {
  if (!id) return std::nullopt;
  if (*id < 0 || *id >= static_cast<std::int64_t>(vocabulary_.tokens.size())) {
    // Some writers put 2^32 - 1 for "none".
    if (*id == -1 || *id == UINT32_MAX) return std::nullopt;
    fail("tokenizer.ggml." + std::string(name) + " is " + std::to_string(*id) + ", but there are " +
         std::to_string(vocabulary_.tokens.size()) + " tokens");
  }
  return static_cast<std::int32_t>(*id);
}

void Definer::check_counts() const {
  const std::size_t num_tokens = vocabulary_.tokens.size();
  if (num_tokens == 0) fail("has no tokenizer.ggml.tokens");
  if (num_tokens > static_cast<std::size_t>(kMaxTokens)) fail("has too many tokens");
  const auto check = [&](std::size_t size, const char* name) {
    if (size != 0 && size != num_tokens) {
      fail("has " + std::to_string(num_tokens) + " tokens, but " + std::to_string(size) +
           " entries in tokenizer.ggml." + name);
    }
  };
  check(vocabulary_.scores.size(), "scores");
  check(vocabulary_.token_types.size(), "token_type");
}

std::vector<double> Definer::scores() const {
  if (vocabulary_.scores.empty()) fail("has no tokenizer.ggml.scores, which its model needs");
  std::vector<double> result(vocabulary_.scores.begin(), vocabulary_.scores.end());
  for (std::size_t i = 0; i < result.size(); ++i) {
    if (!std::isfinite(result[i])) fail("gives token " + std::to_string(i) + " a score that is no number");
  }
  return result;
}

/// Control, unknown and user-defined tokens are searched for in the text; the others are the model's.
void Definer::add_token(std::size_t id) {
  const std::string_view text = vocabulary_.tokens[id];
  const std::int32_t type = type_of(id);
  if (type < GgufVocabulary::kNormal || type > GgufVocabulary::kByte) {
    fail("gives token " + std::to_string(id) + " the type " + std::to_string(type));
  }
  definition_.tokens.add(is_of_model(id) ? text : "");
  if (is_of_model(id) || type == GgufVocabulary::kUnused || text.empty()) return;
  AddedToken token;
  token.id = static_cast<std::int32_t>(id);
  token.content = text;
  token.is_special = type != GgufVocabulary::kUserDefined;
  definition_.added_tokens.push_back(std::move(token));
}

void Definer::read_merges() {
  const TextPool& tokens = definition_.tokens;
  TokenTable table(tokens.size());
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (!tokens[id].empty()) table.insert(tokens, static_cast<std::int32_t>(id));
  }
  std::string joined;
  definition_.merges.reserve(vocabulary_.merges.size());
  for (std::size_t i = 0; i < vocabulary_.merges.size(); ++i) {
    const std::string_view line = vocabulary_.merges[i];
    const auto fail_merge = [&](const std::string& what) {
      fail("tokenizer.ggml.merges[" + std::to_string(i) + "] " + what);
    };
    // A token may begin with a space in vocabularies that are not over bytes, so the search begins behind the first.
    const std::size_t space = line.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == line.size()) fail_merge("is no pair of tokens");
    const std::string_view left = line.substr(0, space), right = line.substr(space + 1);
    joined = left;
    joined += right;
    const auto find = [&](std::string_view token) {
      const std::int32_t id = table.find(tokens, token);
      if (id == TokenTable::kNone) fail_merge("needs the token '" + std::string(token) + "', which is not there");
      return id;
    };
    definition_.merges.push_back({find(left), find(right), find(joined), static_cast<std::int32_t>(i)});
  }
}

void Definer::put_around(bool adds_bos, bool adds_eos) {
  std::vector<std::int32_t> before, after;
  if (vocabulary_.adds_bos.value_or(adds_bos) && definition_.bos_id) before.push_back(*definition_.bos_id);
  if (vocabulary_.adds_eos.value_or(adds_eos) && definition_.eos_id) after.push_back(*definition_.eos_id);
  definition_.post_processor = template_of(before, after);
}

void Definer::define_bytes() {
  BytePipeline pipeline = byte_pipeline(vocabulary_.pre, where_);
  definition_.model = TokenizerModel::kBpe;
  definition_.ignores_merges = pipeline.ignores_merges;
  definition_.normalizer = std::move(pipeline.normalizer);
  definition_.pre_tokenizer = std::move(pipeline.pre_tokenizer);
  definition_.decoder = byte_level(true);
  for (std::size_t id = 0; id < vocabulary_.tokens.size(); ++id) add_token(id);
  read_merges();
  put_around(pipeline.adds_bos, false);
}

void Definer::define_sentencepiece_bpe() {
  definition_.model = TokenizerModel::kBpe;
  definition_.uses_byte_fallback = true;
  definition_.fuses_unk = true;
  TextPool mergeable;
  for (std::size_t id = 0; id < vocabulary_.tokens.size(); ++id) {
    add_token(id);
    mergeable.add(type_of(id) == GgufVocabulary::kNormal ? vocabulary_.tokens[id] : std::string_view());
  }
  definition_.model_unk_id = definition_.unk_id;
  check_definition(definition_);  // Merging takes the texts apart by characters.
  definition_.merges = merges_from_scores(mergeable, scores());
  const bool adds_space = vocabulary_.adds_space_prefix.value_or(true);
  if (vocabulary_.removes_extra_whitespaces.value_or(false)) {
    define_sentencepiece_spaces(adds_space);
  } else {
    definition_.normalizer = escaped_spaces_normalizer(adds_space);
  }
  definition_.decoder = sentencepiece_decoder(adds_space);
  // Phi-3's turn markers take the white space after them along, which GGUF has no place for.
  const auto has = [&](std::string_view content) {
    return std::any_of(definition_.added_tokens.begin(), definition_.added_tokens.end(),
                       [&](const AddedToken& token) { return token.content == content; });
  };
  if (has("<|assistant|>") && has("<|end|>") && has("<|endoftext|>")) {
    for (AddedToken& token : definition_.added_tokens) {
      token.strips_right = token.content != "<unk>" && token.content != "<s>" && token.content != "<|endoftext|>";
    }
  }
  put_around(true, false);
}

/// As SentencePiece itself does it, where its file said so.
void Definer::define_sentencepiece_spaces(bool adds_space) {
  definition_.normalizer = sentencepiece_normalizer(encode_base64(vocabulary_.precompiled_charsmap),
                                                    vocabulary_.removes_extra_whitespaces.value_or(true));
  definition_.pre_tokenizer = {{"type", "SentencePiece"}, {"add_dummy_prefix", adds_space}};
}

void Definer::define_gemma4() {
  definition_.model = TokenizerModel::kBpe;
  definition_.uses_byte_fallback = true;
  definition_.fuses_unk = true;
  for (std::size_t id = 0; id < vocabulary_.tokens.size(); ++id) add_token(id);
  definition_.model_unk_id = definition_.unk_id;
  read_merges();
  definition_.normalizer = escaped_spaces_normalizer(vocabulary_.adds_space_prefix.value_or(false));
  definition_.decoder = sentencepiece_decoder(vocabulary_.adds_space_prefix.value_or(false));
  put_around(true, false);
}

void Definer::define_unigram() {
  definition_.model = TokenizerModel::kUnigram;
  for (std::size_t id = 0; id < vocabulary_.tokens.size(); ++id) add_token(id);
  definition_.scores = scores();
  definition_.model_unk_id = definition_.unk_id;
  const bool adds_space = vocabulary_.adds_space_prefix.value_or(true);
  define_sentencepiece_spaces(adds_space);
  definition_.decoder = sentencepiece_decoder(adds_space);
  put_around(false, true);
}

void Definer::define_word_piece() {
  definition_.model = TokenizerModel::kWordPiece;
  definition_.continuing_subword_prefix = "##";
  for (std::size_t id = 0; id < vocabulary_.tokens.size(); ++id) {
    // Writers of GGUF mark the beginnings of words instead of what goes on with them.
    const std::string_view text = vocabulary_.tokens[id];
    if (!is_of_model(id)) {
      add_token(id);
    } else if (text.starts_with(kSpaceMark)) {
      definition_.tokens.add(text.substr(3));
    } else if (text.empty() || (text.starts_with('[') && text.ends_with(']'))) {
      definition_.tokens.add(text);
    } else {
      definition_.tokens.add("##" + std::string(text));
    }
  }
  definition_.model_unk_id = definition_.unk_id;
  // A WordPiece model needs the unknown token among its own.
  definition_.normalizer = {{"type", "BertNormalizer"},
                            {"clean_text", true},
                            {"handle_chinese_chars", true},
                            {"strip_accents", nullptr},
                            {"lowercase", true}};
  definition_.pre_tokenizer = {{"type", "BertPreTokenizer"}};
  definition_.decoder = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  std::vector<std::int32_t> before, after;
  const auto cls = id_of(vocabulary_.cls_id, "cls_token_id"), sep = id_of(vocabulary_.sep_id, "seperator_token_id");
  if (cls) before.push_back(*cls);
  if (sep) after.push_back(*sep);
  definition_.post_processor = template_of(before, after);
  if (!definition_.bos_id) definition_.bos_id = cls;
  if (!definition_.eos_id) definition_.eos_id = sep;
}

TokenizerDefinition Definer::define() {
  check_counts();
  definition_.bos_id = id_of(vocabulary_.bos_id, "bos_token_id");
  definition_.eos_id = id_of(vocabulary_.eos_id, "eos_token_id");
  definition_.pad_id = id_of(vocabulary_.pad_id, "padding_token_id");
  definition_.unk_id = id_of(vocabulary_.unk_id, "unknown_token_id");
  if (vocabulary_.model == "gpt2") {
    define_bytes();
  } else if (vocabulary_.model == "llama") {
    define_sentencepiece_bpe();
  } else if (vocabulary_.model == "gemma4") {
    define_gemma4();
  } else if (vocabulary_.model == "t5") {
    define_unigram();
  } else if (vocabulary_.model == "bert") {
    define_word_piece();
  } else {
    throw Error(ErrorKind::kUnsupported, "has a tokenizer of kind '" + vocabulary_.model + "', which is not known",
                where_ + ": tokenizer.ggml.model", "known are gpt2, llama, gemma4, t5 and bert");
  }
  return std::move(definition_);
}

}  // namespace

GgufVocabulary read_gguf_vocabulary(const Gguf& file) {
  const auto key = [](const char* name) { return std::string("tokenizer.ggml.") + name; };
  if (!file.has(key("model"))) {
    throw Error(ErrorKind::kBadInput, "has no tokenizer (tokenizer.ggml.model)", file.where(),
                "give a GGUF file of a language model");
  }
  GgufVocabulary vocabulary;
  vocabulary.model = file.string(key("model"));
  vocabulary.pre = file.find_string(key("pre")).value_or("");
  const auto fill = [](TextPool& pool, const std::vector<std::string_view>& texts) {
    std::size_t num_bytes = 0;
    for (const std::string_view text : texts) num_bytes += text.size();
    if (num_bytes > UINT32_MAX) throw Error(ErrorKind::kBadInput, "has too much text in its vocabulary");
    pool.reserve(texts.size(), num_bytes);
    for (const std::string_view text : texts) pool.add(text);
  };
  fill(vocabulary.tokens, file.strings(key("tokens")));
  if (const auto merges = file.find_strings(key("merges"))) fill(vocabulary.merges, *merges);
  if (const auto scores = file.find_floats(key("scores"))) vocabulary.scores = *scores;
  if (const auto types = file.find_ints(key("token_type"))) {
    for (const std::int64_t type : *types) {
      vocabulary.token_types.push_back(type < 0 || type > INT32_MAX ? 0 : static_cast<std::int32_t>(type));
    }
  }
  if (const auto bytes = file.find_ints(key("precompiled_charsmap"))) {
    for (const std::int64_t byte : *bytes) vocabulary.precompiled_charsmap += static_cast<char>(byte);
  }
  vocabulary.bos_id = file.find_int(key("bos_token_id"));
  vocabulary.eos_id = file.find_int(key("eos_token_id"));
  vocabulary.unk_id = file.find_int(key("unknown_token_id"));
  vocabulary.pad_id = file.find_int(key("padding_token_id"));
  vocabulary.sep_id = file.find_int(key("seperator_token_id"));  // As the format spells it.
  vocabulary.cls_id = file.find_int(key("cls_token_id"));
  vocabulary.mask_id = file.find_int(key("mask_token_id"));
  vocabulary.adds_bos = file.find_bool(key("add_bos_token"));
  vocabulary.adds_eos = file.find_bool(key("add_eos_token"));
  vocabulary.adds_sep = file.find_bool(key("add_sep_token"));
  vocabulary.adds_space_prefix = file.find_bool(key("add_space_prefix"));
  vocabulary.removes_extra_whitespaces = file.find_bool(key("remove_extra_whitespaces"));
  return vocabulary;
}

TokenizerDefinition define_tokenizer(const GgufVocabulary& vocabulary, const std::string& where) {
  return Definer(vocabulary, where).define();
}

}  // namespace pajamas
