// See clip_tokenizer_files.h. The tokenizer itself is text/clip_tokenizer.h.
#include "models/clip/clip_tokenizer_files.h"

#include "base/files.h"
#include "pajamas/error.h"
#include "text/clip_tokenizer.h"

namespace pajamas {
namespace {

constexpr std::uint64_t kMaxFileBytes = 16 << 20;
constexpr const char* kEndOfWord = "</w>";

/// That a tokenizer.json splits and joins words as CLIP's does, as far as its model says so; ClipTokenizer knows the
/// rest (pattern, lower case) by itself and reads only the vocabulary and the merges.
void check_is_clip_tokenizer(const std::filesystem::path& path) {
  const nlohmann::json json = parse_json(read_file(path, kMaxFileBytes), path.string());
  const JsonReader model = JsonReader(json, path.string()).member("model");
  const auto text_or = [&](const char* key, const char* fallback) {
    return model.has(key) && !model.member(key).json().is_null() ? model.string(key) : std::string(fallback);
  };
  const std::string type = text_or("type", "BPE");  // written since tokenizers 0.9
  const std::string suffix = text_or("end_of_word_suffix", "");
  const std::string prefix = text_or("continuing_subword_prefix", "");
  if (type == "BPE" && suffix == kEndOfWord && prefix.empty()) return;
  throw Error(ErrorKind::kUnsupported,
              "is no tokenizer of CLIP's kind: its model is " + type + " with '" + suffix + "' at ends of words" +
                  (prefix.empty() ? "" : " and '" + prefix + "' inside them") + ", not BPE with '" + kEndOfWord + "'",
              path.string(), "build a CLIP model whose tokenizer is CLIPTokenizer");
}

/// The padding token's text: from special_tokens_map.json or tokenizer_config.json, where it is a string or an object.
std::string pad_token_of(const std::filesystem::path& directory) {
  for (const char* name : {"special_tokens_map.json", "tokenizer_config.json"}) {
    const auto path = directory / name;
    if (!std::filesystem::exists(path)) continue;
    const nlohmann::json json = parse_json(read_file(path, kMaxFileBytes), path.string());
    const JsonReader reader(json, path.string());
    if (!reader.has("pad_token")) continue;
    const JsonReader token = reader.member("pad_token");
    return token.json().is_object() ? token.string("content") : token.as_string();
  }
  return ClipTokenizer::kEndOfText;
}

}  // namespace

ClipTextInput read_clip_text_input(const std::filesystem::path& directory, const ClipTextConfig& config,
                                   std::vector<ImportedFile>& files) {
  ClipTextInput input;
  input.vocab_file = "vocab.json";
  input.merges_file = "merges.txt";
  const auto is_here = [&](const std::string& name) { return std::filesystem::exists(directory / name); };
  if (is_here("tokenizer.json") && !(is_here(input.vocab_file) && is_here(input.merges_file))) {
    input.vocab_file = "tokenizer.json";
    input.merges_file = input.vocab_file;
    check_is_clip_tokenizer(directory / input.vocab_file);
  }
  for (const std::string& name : {input.vocab_file, input.merges_file}) {
    if (!is_here(name)) {
      throw Error(ErrorKind::kBadInput, "the tokenizer file " + name + " is missing", directory.string(),
                  "fetch the whole folder of the model, its vocab.json and merges.txt or its tokenizer.json included");
    }
    if (files.empty() || files.back().name != name) files.push_back({directory / name, name, "tokenizer"});
  }
  const ClipTokenizer tokenizer(directory / input.vocab_file, directory / input.merges_file);
  if (tokenizer.vocab_size() > config.vocab_size) {
    throw Error(ErrorKind::kBadInput,
                "has " + std::to_string(tokenizer.vocab_size()) + " tokens, but config.json has vocab_size " +
                    std::to_string(config.vocab_size),
                (directory / input.vocab_file).string(), "the tokenizer belongs to another model");
  }
  if (config.eos_token_id != 2 && config.eos_token_id != tokenizer.end_of_text_id()) {
    throw Error(ErrorKind::kBadInput,
                "eos_token_id is " + std::to_string(config.eos_token_id) + ", but the vocabulary numbers " +
                    ClipTokenizer::kEndOfText + " " + std::to_string(tokenizer.end_of_text_id()),
                (directory / "config.json").string(), "the tokenizer belongs to another model");
  }
  const std::string pad_token = pad_token_of(directory);
  const auto pad_token_id = tokenizer.find_token(pad_token);
  if (!pad_token_id) {
    throw Error(ErrorKind::kBadInput, "the padding token '" + pad_token + "' is not in " + input.vocab_file,
                directory.string());
  }
  input.pad_token_id = *pad_token_id;
  input.max_tokens = config.max_tokens;
  return input;
}

}  // namespace pajamas
