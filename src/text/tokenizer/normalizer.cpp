// The steps of text/tokenizer/normalizer.h.
#include "text/tokenizer/normalizer.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>

#include <algorithm>
#include <functional>

#include "pajamas/error.h"
#include "text/byte_pair_encoding.h"
#include "text/tokenizer/base64.h"
#include "text/tokenizer/character_classes.h"
#include "text/tokenizer/precompiled_charsmap.h"
#include "text/tokenizer/regex.h"
#include "text/tokenizer/utf8.h"
#include "text/unicode.h"

namespace pajamas {
namespace {

/// Steps within steps; published files have 2.
constexpr int kMaxDepth = 8;
/// A replacement longer than what it replaces makes texts grow: NFKC up to 11 times (U+FDFA), published replacements up
/// to 4 times. What grows more is a file that would turn a short text into gigabytes.
constexpr std::size_t kMaxGrowth = 64;
/// For short texts, which a prefix may make longer by more than that.
constexpr std::size_t kMinGrownBytes = std::size_t{1} << 16;
/// The text is counted in 32 bits further on.
constexpr std::size_t kMaxGrownBytes = std::size_t{1} << 31;

void check_size(const std::string& text, std::size_t max_bytes) {
  if (text.size() > max_bytes) {
    throw Error(ErrorKind::kBadInput,
                "has a normalizer that makes texts more than " + std::to_string(kMaxGrowth) + " times as long", {},
                "use the model's own tokenizer, or encode a shorter text");
  }
}

/// NFC, NFD, NFKC, NFKD.
class UnicodeForm : public Normalizer::Step {
 public:
  explicit UnicodeForm(const std::string& type) {
    UErrorCode status = U_ZERO_ERROR;
    form_ = type == "NFC"    ? icu::Normalizer2::getNFCInstance(status)
            : type == "NFD"  ? icu::Normalizer2::getNFDInstance(status)
            : type == "NFKC" ? icu::Normalizer2::getNFKCInstance(status)
                             : icu::Normalizer2::getNFKDInstance(status);
    if (U_FAILURE(status)) {
      throw Error(ErrorKind::kInternal, "ICU has no data for " + type + ": " + u_errorName(status));
    }
  }
  void apply(std::string& text, std::size_t) const override {
    if (is_ascii(text)) return;
    // ICU counts in 32 bits; encode() refuses longer texts.
    UErrorCode status = U_ZERO_ERROR;
    const icu::StringPiece source(text.data(), static_cast<std::int32_t>(text.size()));
    if (form_->isNormalizedUTF8(source, status) != 0 && U_SUCCESS(status)) return;
    std::string result;
    icu::StringByteSink<std::string> sink(&result, static_cast<std::int32_t>(text.size()));
    status = U_ZERO_ERROR;
    form_->normalizeUTF8(0, source, sink, nullptr, status);
    if (U_FAILURE(status))
      throw Error(ErrorKind::kInternal, std::string("normalisation failed: ") + u_errorName(status));
    text = std::move(result);
  }

 private:
  const icu::Normalizer2* form_;
};

/// Each character by itself to any number of characters, added to `result`.
class EachCharacter : public Normalizer::Step {
 public:
  using Function = void (*)(char32_t code_point, std::string& result);
  explicit EachCharacter(Function function) : function_(function) {}
  void apply(std::string& text, std::size_t max_bytes) const override {
    std::string result;
    result.reserve(text.size() + text.size() / 8);
    for (std::size_t position = 0; position < text.size();) function_(next_code_point(text, position), result);
    check_size(result, max_bytes);
    text = std::move(result);
  }

 private:
  Function function_;
};

void lower_case_of(char32_t code_point, std::string& result) {
  if (code_point < 0x80) {
    result += static_cast<char>(code_point >= U'A' && code_point <= U'Z' ? code_point + 32 : code_point);
  } else {
    append_utf8(result, static_cast<char32_t>(u_tolower(static_cast<UChar32>(code_point))));
    if (code_point == 0x130) append_utf8(result, 0x307);
  }
}

void clean_for_bert(char32_t code_point, std::string& result) {
  if (code_point == 0 || code_point == 0xFFFD || is_control_for_bert(code_point)) return;
  if (is_whitespace(code_point)) {
    result += ' ';
  } else {
    append_utf8(result, code_point);
  }
}

void set_off_chinese(char32_t code_point, std::string& result) {
  const bool is_chinese = is_chinese_for_bert(code_point);
  if (is_chinese) result += ' ';
  append_utf8(result, code_point);
  if (is_chinese) result += ' ';
}

/// What SentencePiece's nmt rules do without their map.
void clean_for_nmt(char32_t c, std::string& result) {
  const bool is_dropped =
      (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
  if (is_dropped) return;
  const bool is_space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                        c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
  if (is_space) {
    result += ' ';
  } else {
    append_utf8(result, c);
  }
}

class Strip : public Normalizer::Step {
 public:
  Strip(bool strips_left, bool strips_right) : strips_left_(strips_left), strips_right_(strips_right) {}
  void apply(std::string& text, std::size_t) const override {
    std::size_t begin = 0, end = text.size();
    while (strips_left_ && begin < end) {
      std::size_t next = begin;
      if (!is_whitespace(next_code_point(text, next))) break;
      begin = next;
    }
    while (strips_right_ && end > begin) {
      const std::size_t last = previous_character(text, end);
      std::size_t next = last;
      if (!is_whitespace(next_code_point(text, next))) break;
      end = last;
    }
    text.erase(end);
    text.erase(0, begin);
  }

 private:
  bool strips_left_, strips_right_;
};

class Prepend : public Normalizer::Step {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(std::string& text, std::size_t max_bytes) const override {
    if (!text.empty()) text.insert(0, prefix_);
    check_size(text, max_bytes);
  }

 private:
  std::string prefix_;
};

class ReplaceText : public Normalizer::Step {
 public:
  ReplaceText(std::string from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  void apply(std::string& text, std::size_t max_bytes) const override {
    std::size_t found = text.find(from_);
    if (found == std::string::npos) return;
    std::string result;
    result.reserve(text.size() + text.size() / 2);
    std::size_t begin = 0;
    for (; found != std::string::npos; found = text.find(from_, begin)) {
      result.append(text, begin, found - begin);
      result += to_;
      begin = found + from_.size();
      check_size(result, max_bytes);
    }
    result.append(text, begin);
    text = std::move(result);
  }

 private:
  std::string from_, to_;
};

class ReplaceRegex : public Normalizer::Step {
 public:
  ReplaceRegex(Regex regex, std::string to) : regex_(std::move(regex)), to_(std::move(to)) {}
  void apply(std::string& text, std::size_t max_bytes) const override {
    std::string result;
    std::size_t begin = 0;
    Regex::Search search(regex_, text);
    while (const auto match = search.next()) {
      result.append(text, begin, match->first - begin);
      result += to_;
      begin = match->second;
      check_size(result, max_bytes);
    }
    result.append(text, begin);
    text = std::move(result);
  }

 private:
  Regex regex_;
  std::string to_;
};

class Charsmap : public Normalizer::Step {
 public:
  explicit Charsmap(PrecompiledCharsmap map) : map_(std::move(map)) {}
  void apply(std::string& text, std::size_t max_bytes) const override {
    map_.apply(text);
    check_size(text, max_bytes);
  }

 private:
  PrecompiledCharsmap map_;
};

class MapBytes : public Normalizer::Step {
 public:
  void apply(std::string& text, std::size_t) const override {
    std::string result;
    result.reserve(text.size() * 2);
    for (const char byte : text) result += printable_byte(static_cast<std::uint8_t>(byte));
    text = std::move(result);
  }
};

std::unique_ptr<Normalizer::Step> each(EachCharacter::Function function) {
  return std::make_unique<EachCharacter>(function);
}

}  // namespace

Normalizer::Normalizer(const JsonReader& json) { add(json, 0); }

void Normalizer::apply(std::string& text) const {
  const std::size_t max_bytes = std::min(std::max(text.size() * kMaxGrowth, kMinGrownBytes), kMaxGrownBytes);
  for (const auto& step : steps_) step->apply(text, max_bytes);
}

void Normalizer::add(const JsonReader& json, int depth) {
  if (depth > kMaxDepth) json.fail("has sequences nested deeper than " + std::to_string(kMaxDepth));
  const std::string type = json.string("type");
  maps_bytes_ = false;
  if (type == "Sequence") {
    for (const JsonReader& step : json.member("normalizers").elements()) add(step, depth + 1);
  } else if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
    steps_.push_back(std::make_unique<UnicodeForm>(type));
  } else if (type == "Lowercase") {
    steps_.push_back(each(lower_case_of));
  } else if (type == "StripAccents") {
    steps_.push_back(each([](char32_t c, std::string& result) {
      if (!is_mark(c)) append_utf8(result, c);
    }));
  } else if (type == "Nmt") {
    steps_.push_back(each(clean_for_nmt));
  } else if (type == "BertNormalizer") {
    const bool lowers = json.boolean_or("lowercase", true);
    if (json.boolean_or("clean_text", true)) steps_.push_back(each(clean_for_bert));
    if (json.boolean_or("handle_chinese_chars", true)) steps_.push_back(each(set_off_chinese));
    if (json.boolean_or("strip_accents", lowers)) {
      steps_.push_back(std::make_unique<UnicodeForm>("NFD"));
      steps_.push_back(each([](char32_t c, std::string& result) {
        if (!is_nonspacing_mark(c)) append_utf8(result, c);
      }));
    }
    if (lowers) steps_.push_back(each(lower_case_of));
  } else if (type == "Strip") {
    steps_.push_back(
        std::make_unique<Strip>(json.boolean_or("strip_left", true), json.boolean_or("strip_right", true)));
  } else if (type == "Prepend") {
    steps_.push_back(std::make_unique<Prepend>(json.string("prepend")));
  } else if (type == "Replace") {
    const JsonReader pattern = json.member("pattern");
    const std::string content = json.string("content");
    if (pattern.has("String")) {
      const std::string from = pattern.string("String");
      if (from.empty()) pattern.fail("replaces an empty text");
      steps_.push_back(std::make_unique<ReplaceText>(from, content));
    } else {
      steps_.push_back(std::make_unique<ReplaceRegex>(Regex(pattern.string("Regex"), json.where()), content));
    }
  } else if (type == "Precompiled") {
    const bool is_longest = json.boolean_or("is_longest_match", false);  // Of this project's own definitions.
    const std::string blob = json.string("precompiled_charsmap");
    if (!blob.empty()) {
      steps_.push_back(std::make_unique<Charsmap>(PrecompiledCharsmap(
          decode_base64(blob, json.where()),
          is_longest ? PrecompiledCharsmap::Style::kSentencePiece : PrecompiledCharsmap::Style::kHuggingFace,
          json.where())));
    }
  } else if (type == "ByteLevel") {
    steps_.push_back(std::make_unique<MapBytes>());
    maps_bytes_ = true;
  } else {
    throw Error(ErrorKind::kUnsupported, "has a normalizer of type '" + type + "', which is not known", json.where(),
                "known are NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, BertNormalizer, Strip, Prepend, Replace, "
                "Precompiled, Nmt, ByteLevel and Sequence");
  }
}

}  // namespace pajamas
