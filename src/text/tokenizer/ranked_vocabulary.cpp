// See ranked_vocabulary.h.
#include "text/tokenizer/ranked_vocabulary.h"

#include <array>
#include <charconv>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "pajamas/error.h"
#include "text/byte_pair_encoding.h"
#include "text/tokenizer/base64.h"
#include "text/tokenizer/definition.h"
#include "text/tokenizer/utf8.h"

namespace pajamas {
namespace {

std::string printable(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) text += printable_byte(static_cast<std::uint8_t>(c));
  return text;
}

}  // namespace

Tokenizer tokenizer_of_ranked_tokens(const std::vector<std::string>& tokens,
                                     const std::vector<std::pair<std::string, std::int64_t>>& special,
                                     const std::string& where) {
  if (tokens.size() > static_cast<std::size_t>(kMaxTokens)) {
    throw Error(ErrorKind::kBadInput, "has " + std::to_string(tokens.size()) + " tokens", where);
  }
  auto definition = std::make_shared<TokenizerDefinition>();
  definition->where = where;
  definition->model = TokenizerModel::kBpe;
  std::vector<double> scores;
  scores.reserve(tokens.size());
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    definition->tokens.add(printable(tokens[id]));
    scores.push_back(-static_cast<double>(id));
  }
  definition->merges = merges_from_scores(definition->tokens, scores);
  for (const auto& token : special) {
    if (token.second < 0 || token.second >= kMaxTokens) {
      throw Error(ErrorKind::kBadInput, "gives '" + token.first + "' the id " + std::to_string(token.second), where);
    }
    AddedToken added;
    added.id = static_cast<std::int32_t>(token.second);
    added.content = token.first;
    added.is_special = true;
    definition->added_tokens.push_back(std::move(added));
  }
  definition->pre_tokenizer = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  definition->decoder = {
      {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  return Tokenizer::from_definition(std::move(definition));
}

std::vector<std::string> parse_tiktoken(const std::string& text, const std::string& where) {
  std::vector<std::string> tokens;
  std::size_t line_number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    ++line_number;
    if (line.empty()) continue;
    const auto fail = [&](const std::string& message) {
      throw Error(ErrorKind::kBadInput, "line " + std::to_string(line_number) + " " + message, where,
                  "give a .tiktoken file: base64 of a token, a space and its rank on each line");
    };
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos) fail("has no rank");
    std::size_t rank = 0;
    const std::string_view digits = line.substr(space + 1);
    const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
    if (error != std::errc() || (rest != digits.data() + digits.size() && *rest != '\r')) fail("has no rank");
    if (rank >= static_cast<std::size_t>(kMaxTokens)) fail("has the rank " + std::to_string(rank));
    if (rank >= tokens.size()) tokens.resize(rank + 1);
    if (!tokens[rank].empty()) fail("gives the rank " + std::to_string(rank) + " again");
    // OpenAI's multilingual file has one token without bytes, written as "=".
    if (line.substr(0, space) != "=") tokens[rank] = decode_base64(line.substr(0, space), where);
  }
  if (tokens.empty()) throw Error(ErrorKind::kBadInput, "holds no tokens", where);
  return tokens;
}

std::string bytes_of_printable(const std::string& token) {
  static const std::unordered_map<std::string_view, char> kBytes = [] {
    std::unordered_map<std::string_view, char> bytes;
    for (int byte = 0; byte < 256; ++byte) {
      bytes.emplace(printable_byte(static_cast<std::uint8_t>(byte)), static_cast<char>(byte));
    }
    return bytes;
  }();
  std::string result;
  for (std::size_t i = 0; i < token.size();) {
    const std::string_view character = std::string_view(token).substr(i, utf8_length(token[i]));
    const auto found = kBytes.find(character);
    if (found != kBytes.end()) {
      result += found->second;
    } else {
      result += character;
    }
    i += character.size();
  }
  return result;
}

}  // namespace pajamas
