// See whisper_tokenizer.h.
#include "models/whisper/whisper_tokenizer.h"

#include <algorithm>

#include "base/files.h"
#include "base/json_reader.h"
#include "models/whisper/whisper_layout.h"
#include "pajamas/error.h"
#include "text/tokenizer/ranked_vocabulary.h"

namespace pajamas {
namespace fs = std::filesystem;
namespace {

constexpr std::uint64_t kMaxVocabularyBytes = 64ULL << 20;
constexpr const char* kEndOfText = "<|endoftext|>";

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

Tokenizer read_tiktoken(const fs::path& path, std::int64_t vocab_size) {
  return whisper_tokenizer_of(parse_tiktoken(read_file(path, kMaxVocabularyBytes), path.string()), vocab_size,
                              path.string());
}

/// CTranslate2's lists: one token an id in the printable alphabet, the special ones as they are.
Tokenizer tokenizer_of_list(const std::vector<std::string>& tokens, const std::string& where) {
  const auto end = std::find(tokens.begin(), tokens.end(), kEndOfText);
  if (end == tokens.end()) {
    throw Error(ErrorKind::kBadInput, std::string("has no token ") + kEndOfText, where,
                "the vocabulary is not Whisper's: fetch the folder again");
  }
  std::vector<std::string> texts;
  for (auto token = tokens.begin(); token != end; ++token) texts.push_back(bytes_of_printable(*token));
  std::vector<std::pair<std::string, std::int64_t>> special;
  for (auto token = end; token != tokens.end(); ++token) {
    if (!token->empty()) special.emplace_back(*token, token - tokens.begin());
  }
  return tokenizer_of_ranked_tokens(texts, special, where);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    lines.push_back(text.substr(begin, end - begin));
    if (!lines.back().empty() && lines.back().back() == '\r') lines.back().pop_back();
    begin = end + 1;
  }
  return lines;
}

}  // namespace

Tokenizer whisper_tokenizer_of(std::vector<std::string> text_tokens, std::int64_t vocab_size,
                               const std::string& where) {
  const WhisperLayout layout = published_whisper_layout(vocab_size, where);
  const auto num_texts = static_cast<std::size_t>(layout.tokens.end_of_text);
  // The multilingual vocabulary's last text token is empty, and some files leave it out.
  if (text_tokens.size() + 1 < num_texts) {
    throw Error(ErrorKind::kBadInput,
                "has " + std::to_string(text_tokens.size()) + " text tokens, but a vocabulary of " +
                    std::to_string(vocab_size) + " has " + std::to_string(num_texts),
                where, "the English models take gpt2.tiktoken, the others multilingual.tiktoken");
  }
  text_tokens.resize(num_texts);
  return tokenizer_of_ranked_tokens(text_tokens, whisper_special_tokens(layout, vocab_size), where);
}

std::optional<Tokenizer> find_whisper_tokenizer(const fs::path& folder, std::int64_t vocab_size,
                                                const ImportHints& hints) {
  if (!hints.tokenizer.empty()) {
    if (hints.tokenizer.extension() == ".tiktoken") return read_tiktoken(hints.tokenizer, vocab_size);
    return Tokenizer::read(hints.tokenizer);
  }
  if (is_file(folder / "tokenizer.json")) return Tokenizer::read(folder);
  if (const fs::path path = folder / "vocabulary.json"; is_file(path)) {
    const nlohmann::json json = parse_json(read_file(path, kMaxVocabularyBytes), path.string());
    std::vector<std::string> tokens;
    for (const JsonReader& token : JsonReader(json, path.string()).elements()) tokens.push_back(token.as_string());
    return tokenizer_of_list(tokens, path.string());
  }
  if (const fs::path path = folder / "vocabulary.txt"; is_file(path)) {
    return tokenizer_of_list(lines_of(read_file(path, kMaxVocabularyBytes)), path.string());
  }
  constexpr std::int64_t kSmallestMultilingual = 51865;
  const fs::path path = folder / (vocab_size >= kSmallestMultilingual ? "multilingual.tiktoken" : "gpt2.tiktoken");
  if (is_file(path)) return read_tiktoken(path, vocab_size);
  return std::nullopt;
}

}  // namespace pajamas
