// The steps of text/tokenizer/token_decoder.h.
#include "text/tokenizer/token_decoder.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "pajamas/error.h"
#include "text/byte_pair_encoding.h"
#include "text/tokenizer/utf8.h"

namespace pajamas {
namespace {

constexpr int kMaxDepth = 8;
constexpr std::size_t kAlphabetEnd = 0x144;  ///< The alphabet's characters are below.

/// Bytes by their printable character; -1: not in the alphabet.
const std::array<std::int16_t, kAlphabetEnd>& byte_by_character() {
  static const std::array<std::int16_t, kAlphabetEnd> bytes = [] {
    std::array<std::int16_t, kAlphabetEnd> result{};
    result.fill(-1);
    for (unsigned byte = 0; byte < 256; ++byte) {
      const std::string& character = printable_byte(static_cast<std::uint8_t>(byte));
      std::size_t position = 0;
      result[next_code_point(character, position)] = static_cast<std::int16_t>(byte);
    }
    return result;
  }();
  return bytes;
}

/// Decoded tokens are kept in memory; a file whose replacements make them grow without end is refused.
constexpr std::size_t kMaxTokenBytes = 1 << 20;

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  std::size_t found = text.find(from);
  if (found == std::string::npos) return;
  std::string result;
  std::size_t begin = 0;
  for (; found != std::string::npos; found = text.find(from, begin)) {
    result.append(text, begin, found - begin);
    result += to;
    begin = found + from.size();
    if (result.size() > kMaxTokenBytes) throw Error(ErrorKind::kBadInput, "has a decoder that makes tokens too long");
  }
  result.append(text, begin);
  text = std::move(result);
}

class FromPrintable : public TokenDecoder::Step {
 public:
  void apply(std::string& token, bool) const override { token = bytes_of_printable(token); }
};

class Replace : public TokenDecoder::Step {
 public:
  Replace(std::string from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  void apply(std::string& token, bool) const override { replace_all(token, from_, to_); }

 private:
  std::string from_, to_;
};

class ByteFallback : public TokenDecoder::Step {
 public:
  void apply(std::string& token, bool) const override {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return;
    const auto digit = [](char c) {
      return c >= '0' && c <= '9'   ? c - '0'
             : c >= 'A' && c <= 'F' ? c - 'A' + 10
             : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                    : -1;
    };
    const int high = digit(token[3]), low = digit(token[4]);
    if (high >= 0 && low >= 0) token.assign(1, static_cast<char>(high * 16 + low));
  }
};

class StripToken : public TokenDecoder::Step {
 public:
  StripToken(std::string character, std::size_t start, std::size_t stop)
      : character_(std::move(character)), start_(start), stop_(stop) {}
  void apply(std::string& token, bool) const override {
    for (std::size_t i = 0; i < start_ && token.starts_with(character_); ++i) token.erase(0, character_.size());
    for (std::size_t i = 0; i < stop_ && token.ends_with(character_); ++i)
      token.resize(token.size() - character_.size());
  }

 private:
  std::string character_;
  std::size_t start_, stop_;
};

class FromMetaspace : public TokenDecoder::Step {
 public:
  FromMetaspace(std::string replacement, bool is_prepended)
      : replacement_(std::move(replacement)), is_prepended_(is_prepended) {}
  void apply(std::string& token, bool is_first) const override {
    replace_all(token, replacement_, is_first && is_prepended_ ? "" : " ");
  }

 private:
  std::string replacement_;
  bool is_prepended_;
};

class FromWordPiece : public TokenDecoder::Step {
 public:
  FromWordPiece(std::string prefix, bool cleans_up) : prefix_(std::move(prefix)), cleans_up_(cleans_up) {}
  void apply(std::string& token, bool is_first) const override {
    if (!is_first) {
      if (token.starts_with(prefix_)) {
        token.erase(0, prefix_.size());
      } else {
        token.insert(0, " ");
      }
    }
    if (!cleans_up_) return;
    constexpr std::array<std::array<std::string_view, 2>, 11> kRules{{{" .", "."},
                                                                      {" ?", "?"},
                                                                      {" !", "!"},
                                                                      {" ,", ","},
                                                                      {" ' ", "'"},
                                                                      {" n't", "n't"},
                                                                      {" 'm", "'m"},
                                                                      {" do not", " don't"},
                                                                      {" 's", "'s"},
                                                                      {" 've", "'ve"},
                                                                      {" 're", "'re"}}};
    for (const auto& rule : kRules) replace_all(token, rule[0], rule[1]);
  }

 private:
  std::string prefix_;
  bool cleans_up_;
};

class JoinBySpaces : public TokenDecoder::Step {
 public:
  void apply(std::string& token, bool is_first) const override {
    if (!is_first) token.insert(0, " ");
  }
};

}  // namespace

bool append_bytes_of_printable(std::string_view token, std::string& bytes) {
  const std::size_t old_size = bytes.size();
  for (std::size_t position = 0; position < token.size();) {
    const char32_t code_point = next_code_point(token, position);
    const int byte = code_point < kAlphabetEnd ? byte_by_character()[code_point] : -1;
    if (byte < 0) {
      bytes.resize(old_size);
      return false;
    }
    bytes += static_cast<char>(byte);
  }
  return true;
}

std::string bytes_of_printable(std::string_view token) {
  std::string bytes;
  return append_bytes_of_printable(token, bytes) ? bytes : std::string(token);
}

TokenDecoder::TokenDecoder() { steps_.push_back(std::make_unique<JoinBySpaces>()); }
TokenDecoder::TokenDecoder(const JsonReader& json) { add(json, 0); }

std::string TokenDecoder::decode(std::string_view token, bool is_first) const {
  std::string bytes(token);
  for (const auto& step : steps_) step->apply(bytes, is_first);
  return bytes;
}

void TokenDecoder::add(const JsonReader& json, int depth) {
  if (depth > kMaxDepth) json.fail("has sequences nested deeper than " + std::to_string(kMaxDepth));
  const std::string type = json.string("type");
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::kUnsupported, "has a decoder " + what, json.where(),
                "known are ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace, WordPiece and Sequence");
  };
  if (type == "Sequence") {
    for (const JsonReader& step : json.member("decoders").elements()) add(step, depth + 1);
    return;
  }
  if (type == "Strip") {
    const std::string character = json.string("content");
    if (character.empty()) json.member("content").fail("is empty");
    const auto start = static_cast<std::size_t>(json.integer("start", 0, 1 << 20));
    const auto stop = static_cast<std::size_t>(json.integer("stop", 0, 1 << 20));
    if (!is_fused_) {
      steps_.push_back(std::make_unique<StripToken>(character, start, stop));
      return;
    }
    // At the end of the whole text: that would hold back text while it is generated, and no model has it.
    if (stop != 0) refuse("that strips the end of the whole text, which is not supported");
    if (num_to_strip_ != 0) refuse("that strips twice, which is not supported");
    num_to_strip_ = start;
    strip_character_ = character;
    return;
  }
  if (type == "Fuse") {
    is_fused_ = true;
    return;
  }
  if (is_fused_) refuse("of type '" + type + "' after the tokens are joined, which is not supported");
  if (type == "ByteLevel") {
    steps_.push_back(std::make_unique<FromPrintable>());
    is_fused_ = true;
  } else if (type == "Replace") {
    const JsonReader pattern = json.member("pattern");
    if (!pattern.has("String")) refuse("of type 'Replace' with a regular expression, which is not supported");
    const std::string from = pattern.string("String");
    if (from.empty()) pattern.fail("replaces an empty text");
    steps_.push_back(std::make_unique<Replace>(from, json.string("content")));
  } else if (type == "ByteFallback") {
    steps_.push_back(std::make_unique<ByteFallback>());
  } else if (type == "Metaspace") {
    const std::string replacement = json.string_or("replacement", "\xE2\x96\x81");
    if (replacement.empty()) json.member("replacement").fail("is empty");
    const bool is_prepended = json.has("prepend_scheme") ? json.string("prepend_scheme") != "never"
                                                         : json.boolean_or("add_prefix_space", true);
    steps_.push_back(std::make_unique<FromMetaspace>(replacement, is_prepended));
  } else if (type == "WordPiece") {
    steps_.push_back(std::make_unique<FromWordPiece>(json.string_or("prefix", "##"), json.boolean_or("cleanup", true)));
  } else {
    refuse("of type '" + type + "', which is not known");
  }
}

}  // namespace pajamas
