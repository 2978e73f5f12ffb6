// A reader of the few Python and JSON literals that hold class names. See label_text.h.
#include "models/label_text.h"

#include <cctype>
#include <charconv>
#include <optional>

#include "pajamas/error.h"

namespace pajamas {
namespace {

void append_utf8(std::string& text, std::uint32_t code) {
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else if (code < 0x800) {
    text += static_cast<char>(0xC0 | (code >> 6));
    text += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    text += static_cast<char>(0xE0 | (code >> 12));
    text += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    text += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    text += static_cast<char>(0xF0 | (code >> 18));
    text += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    text += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    text += static_cast<char>(0x80 | (code & 0x3F));
  }
}

class LiteralReader {
 public:
  LiteralReader(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorKind::kBadInput, message + " at character " + std::to_string(position_), where_);
  }

  char peek() {
    while (position_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[position_]))) ++position_;
    return position_ < text_.size() ? text_[position_] : '\0';
  }
  bool accept(char c) {
    if (peek() != c) return false;
    ++position_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(std::string("expected '") + c + "'");
  }
  void expect_end() {
    if (peek() != '\0' || position_ != text_.size()) fail("unexpected text");
  }

  std::int64_t integer() {
    peek();
    std::int64_t value = 0;
    const char* begin = text_.data() + position_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (error != std::errc()) fail("expected a whole number");
    position_ += static_cast<std::size_t>(end - begin);
    return value;
  }

  std::string string() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') fail("expected a name in quotes");
    ++position_;
    std::string result;
    while (true) {
      if (position_ >= text_.size()) fail("a name without its closing quote");
      const char c = text_[position_++];
      if (c == quote) return result;
      if (c != '\\') {
        result += c;
        continue;
      }
      append_escape(result);
    }
  }

 private:
  std::uint32_t hex_digits(int count) {
    std::uint32_t value = 0;
    for (int i = 0; i < count; ++i) {
      if (position_ >= text_.size() || !std::isxdigit(static_cast<unsigned char>(text_[position_]))) {
        fail("a broken \\ escape");
      }
      const char c = text_[position_++];
      value = value * 16 + static_cast<std::uint32_t>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
  }

  void append_escape(std::string& result) {
    if (position_ >= text_.size()) fail("a name without its closing quote");
    const char c = text_[position_++];
    switch (c) {
      case 'n': result += '\n'; return;
      case 't': result += '\t'; return;
      case 'r': result += '\r'; return;
      case 'b': result += '\b'; return;
      case 'f': result += '\f'; return;
      case '\\':
      case '\'':
      case '/':
      case '"': result += c; return;
      case 'x': append_utf8(result, hex_digits(2)); return;
      case 'u':
      case 'U': break;
      default: fail(std::string("unknown escape \\") + c);
    }
    std::uint32_t code = hex_digits(c == 'u' ? 4 : 8);
    // JSON writes what lies past U+FFFF as two halves.
    if (code >= 0xD800 && code < 0xDC00 && text_.substr(position_).starts_with("\\u")) {
      position_ += 2;
      const std::uint32_t low = hex_digits(4);
      if (low < 0xDC00 || low > 0xDFFF) fail("half a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) fail("no Unicode character");
    append_utf8(result, code);
  }

  std::string_view text_;
  const std::string& where_;
  std::size_t position_ = 0;
};

std::int64_t read_label_key(LiteralReader& reader) {
  const char first = reader.peek();
  if (first != '\'' && first != '"') return reader.integer();
  const std::string digits = reader.string();
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) reader.fail("'" + digits + "' is no class number");
  return value;
}

}  // namespace

LabelsById parse_labels(std::string_view text, const std::string& where) {
  LiteralReader reader(text, where);
  LabelsById labels;
  const bool is_dict = reader.peek() == '{';
  const char closing = is_dict ? '}' : ']';
  reader.expect(is_dict ? '{' : '[');
  std::int64_t next = 0;
  while (!reader.accept(closing)) {
    std::int64_t id = next++;
    if (is_dict) {
      id = read_label_key(reader);
      reader.expect(':');
    }
    if (id < 0 || id >= kMaxLabels) reader.fail("class number " + std::to_string(id) + " is out of range");
    if (!labels.emplace(id, reader.string()).second) reader.fail("class " + std::to_string(id) + " is named twice");
    if (!reader.accept(',')) {
      reader.expect(closing);
      break;
    }
  }
  reader.expect_end();
  return labels;
}

std::vector<std::int64_t> parse_integers(std::string_view text, const std::string& where) {
  LiteralReader reader(text, where);
  std::vector<std::int64_t> values;
  const char closing = reader.accept('[') ? ']' : reader.accept('(') ? ')' : '\0';
  values.push_back(reader.integer());
  while (closing != '\0' && !reader.accept(closing)) {
    reader.expect(',');
    if (reader.accept(closing)) break;  // (640,)
    values.push_back(reader.integer());
  }
  reader.expect_end();
  return values;
}

std::vector<std::string> dense_labels(const LabelsById& labels, std::int64_t first_id, std::int64_t num_classes,
                                      const std::string& where) {
  if (labels.empty()) return {};
  const std::int64_t last = labels.rbegin()->first - first_id;
  if (num_classes > 0 && last >= num_classes) {
    throw Error(ErrorKind::kBadInput,
                "names class " + std::to_string(labels.rbegin()->first) + ", but the model has " +
                    std::to_string(num_classes) + " classes",
                where);
  }
  const std::int64_t count = num_classes > 0 ? num_classes : last + 1;
  std::vector<std::string> result(static_cast<std::size_t>(count > 0 ? count : 0));
  for (const auto& [id, name] : labels) {
    if (id >= first_id) result[static_cast<std::size_t>(id - first_id)] = name;
  }
  return result;
}

}  // namespace pajamas
