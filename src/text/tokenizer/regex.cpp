// PCRE2 behind text/tokenizer/regex.h.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/tokenizer/regex.h"

#include <pcre2.h>

#include <chrono>
#include <vector>

#include "pajamas/error.h"
#include "text/tokenizer/utf8.h"

namespace pajamas {
namespace {

/// Patterns of published tokenizers have some 800 characters.
constexpr std::size_t kMaxPatternBytes = 64 << 10;
/// Steps back of one search. A published pattern takes a few for each word.
constexpr std::uint32_t kMatchLimit = 5'000'000;
constexpr std::uint32_t kHeapLimitKib = 64 << 10;
/// Time of one search over a text: what any sensible pattern needs, a hundred times over.
constexpr long long kBaseNanoseconds = 2'000'000'000;
constexpr long long kNanosecondsPerByte = 2'000;
constexpr std::size_t kCallsBetweenClocks = 256;

/// White_Space, as Oniguruma reads \s; PCRE2's own adds U+180E. And \w, to which PCRE2's own lacks marks and
/// connectors.
constexpr std::string_view kSpaceInClass =
    R"(\x09-\x0D\x20\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
constexpr std::string_view kWordInClass = R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc})";

[[noreturn]] void refuse(std::string_view pattern, const std::string& what, const std::string& where) {
  throw Error(ErrorKind::kUnsupported,
              "has the regular expression '" + std::string(pattern.substr(0, 200)) + "', " + what, where,
              "this pattern is of a form that no published tokenizer known here has");
}

long long now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

std::string pcre_pattern_of(std::string_view pattern, const std::string& where) {
  std::string result;
  int class_depth = 0;
  std::size_t atom_begin = 0;  // In the result: what a quantifier would repeat.
  std::vector<std::size_t> groups;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\') {
      if (i + 1 == pattern.size()) refuse(pattern, "which ends within an escape", where);
      const char next = pattern[++i];
      if (class_depth == 0) atom_begin = result.size();
      const std::string_view members = next == 's' || next == 'S' ? kSpaceInClass : kWordInClass;
      if (next == 's' || next == 'w') {
        result += class_depth > 0 ? std::string(members) : "[" + std::string(members) + "]";
      } else if (next == 'S' || next == 'W') {
        if (class_depth > 0) refuse(pattern, std::string("with \\") + next + " inside a class", where);
        result += "[^" + std::string(members) + "]";
      } else if ((next == 'b' || next == 'B') && class_depth == 0) {
        const std::string word = "[" + std::string(members) + "]";
        result += next == 'b' ? "(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))"
                              : "(?:(?<=" + word + ")(?=" + word + ")|(?<!" + word + ")(?!" + word + "))";
      } else if (next == 'h' || next == 'H' || next == 'K' || next == 'G' || next == 'g' || next == 'k' ||
                 next == 'C') {
        refuse(pattern, std::string("whose \\") + next + " is not supported", where);
      } else {
        result += c;
        result += next;
        if ((next == 'p' || next == 'P' || next == 'x') && i + 1 < pattern.size() && pattern[i + 1] == '{') {
          const std::size_t close = pattern.find('}', i);
          if (close == std::string_view::npos) refuse(pattern, "which ends within an escape", where);
          result += pattern.substr(i + 1, close - i);
          i = close;
        }
      }
      continue;
    }
    if (class_depth > 0) {
      if (c == '[') {
        if (i + 1 < pattern.size() && pattern[i + 1] == ':') {
          const std::size_t close = pattern.find(":]", i + 2);
          if (close == std::string_view::npos) refuse(pattern, "with an unfinished class", where);
          result += pattern.substr(i, close + 2 - i);
          i = close + 1;
        } else if (i + 1 < pattern.size() && pattern[i + 1] == '^') {
          refuse(pattern, "with a negated class inside a class", where);
        } else {
          ++class_depth;  // A union: its members are members of the outer class.
        }
      } else if (c == ']') {
        if (--class_depth == 0) result += c;
      } else if (c == '&' && i + 1 < pattern.size() && pattern[i + 1] == '&') {
        refuse(pattern, "with an intersection of classes", where);
      } else {
        result += c;
      }
      continue;
    }
    switch (c) {
      case '[':
        atom_begin = result.size();
        class_depth = 1;
        result += c;
        if (i + 1 < pattern.size() && pattern[i + 1] == '^') result += pattern[++i];
        if (i + 1 < pattern.size() && pattern[i + 1] == ']') {
          result += "\\]";
          ++i;
        }
        break;
      case '(':
        groups.push_back(result.size());
        result += c;
        if (i + 1 < pattern.size() && pattern[i + 1] == '?') {
          // Options: Ruby's m lets '.' match a newline, which PCRE2 calls s; anchors are by line anyway.
          result += pattern[++i];
          while (i + 1 < pattern.size() &&
                 (pattern[i + 1] == 'i' || pattern[i + 1] == 'm' || pattern[i + 1] == 'x' || pattern[i + 1] == '-')) {
            ++i;
            result += pattern[i] == 'm' ? 's' : pattern[i];
          }
        } else if (i + 1 < pattern.size() && pattern[i + 1] == '*') {
          refuse(pattern, "with a verb", where);
        }
        break;
      case ')':
        if (groups.empty()) refuse(pattern, "with a ')' too many", where);
        atom_begin = groups.back();
        groups.pop_back();
        result += c;
        break;
      case '+':
        // In Ruby's syntax {n,m}+ repeats the repetition; in PCRE2's it is possessive.
        if (i > 0 && pattern[i - 1] == '}' && !result.empty() && result.back() == '}') {
          const std::size_t brace = result.rfind('{');
          if (brace != std::string::npos && brace > 0 && result[brace - 1] != 'p' && result[brace - 1] != 'P' &&
              result[brace - 1] != 'x') {
            result.insert(atom_begin, "(?:");
            result += ')';
          }
        }
        result += c;
        break;
      case '?':
      case '*':
      case '{':
      case '}':
      case '|':
      case '^':
      case '$': result += c; break;
      default:
        if ((static_cast<std::uint8_t>(c) & 0xC0) != 0x80) {
          if (!(c >= '0' && c <= '9') && c != ',') atom_begin = result.size();
        }
        result += c;
    }
  }
  if (class_depth != 0 || !groups.empty()) refuse(pattern, "with an unfinished group or class", where);
  return result;
}

struct Regex::Code {
  pcre2_code* code = nullptr;
  pcre2_match_context* context = nullptr;
  std::string pattern;
  std::string where;
  ~Code() {
    pcre2_match_context_free(context);
    pcre2_code_free(code);
  }
};

Regex::Regex(std::string_view pattern, const std::string& where) : code_(std::make_unique<Code>()) {
  if (pattern.empty() || pattern.size() > kMaxPatternBytes || valid_utf8_length(pattern) != pattern.size()) {
    refuse(pattern, "which is empty, too long or no UTF-8", where);
  }
  code_->pattern = pattern;
  code_->where = where;
  const std::string rewritten = pcre_pattern_of(pattern, where);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_compile_context* compile_context = pcre2_compile_context_create(nullptr);
  pcre2_set_parens_nest_limit(compile_context, 100);
  code_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(rewritten.data()), rewritten.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_UTF_CHECK,
                              &error, &offset, compile_context);
  pcre2_compile_context_free(compile_context);
  if (code_->code == nullptr) {
    std::uint8_t text[200] = {};
    pcre2_get_error_message(error, text, sizeof(text));
    refuse(pattern, "which does not compile: " + std::string(reinterpret_cast<const char*>(text)), where);
  }
  // Without the just-in-time compiler the same matches are found, more slowly.
  pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE);
  code_->context = pcre2_match_context_create(nullptr);
  if (code_->context == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(code_->context, kMatchLimit);
  pcre2_set_heap_limit(code_->context, kHeapLimitKib);
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

Regex::Search::Search(const Regex& regex, std::string_view text)
    : regex_(regex),
      text_(text),
      match_data_(pcre2_match_data_create_from_pattern(regex.code_->code, nullptr)),
      last_end_(SIZE_MAX),
      start_ns_(now_ns()) {
  if (match_data_ == nullptr) throw std::bad_alloc();
}

Regex::Search::~Search() { pcre2_match_data_free(static_cast<pcre2_match_data*>(match_data_)); }

std::optional<std::pair<std::size_t, std::size_t>> Regex::Search::next() {
  auto* match_data = static_cast<pcre2_match_data*>(match_data_);
  const auto fail = [&](const std::string& why) {
    throw Error(
        ErrorKind::kBadInput,
        "the pattern '" + regex_.code_->pattern.substr(0, 200) + "' takes too much work on this text (" + why + ")",
        regex_.code_->where, "use a tokenizer whose patterns do not backtrack without end");
  };
  while (position_ <= text_.size()) {
    if (++num_calls_ % kCallsBetweenClocks == 0 &&
        now_ns() - start_ns_ > kBaseNanoseconds + kNanosecondsPerByte * static_cast<long long>(text_.size())) {
      fail("time limit");
    }
    const auto search = [&](std::uint32_t flags) {
      return pcre2_match(regex_.code_->code, reinterpret_cast<PCRE2_SPTR>(text_.data()), text_.size(), position_,
                         PCRE2_NO_UTF_CHECK | flags, match_data, regex_.code_->context);
    };
    int rc = search(0);
    // Compiled code has 32 KB for its steps back; the interpreter takes them from the heap.
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = search(PCRE2_NO_JIT);
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) {
      std::uint8_t text[200] = {};
      pcre2_get_error_message(rc, text, sizeof(text));
      fail(reinterpret_cast<const char*>(text));
    }
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(match_data);
    const std::size_t begin = ends[0], end = ends[1];
    if (begin > end || end > text_.size()) fail("match out of order");  // \K, which is refused.
    if (begin == end) {
      // An empty match where the last one ended is none; after any, the search goes on one character later.
      position_ = end < text_.size() ? end + utf8_length(text_[end]) : end + 1;
      if (end == last_end_) continue;
    } else {
      position_ = end;
    }
    last_end_ = end;
    return std::make_pair(begin, end);
  }
  position_ = text_.size() + 1;
  return std::nullopt;
}

}  // namespace pajamas
