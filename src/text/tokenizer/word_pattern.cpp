// See word_pattern.h. Each part of word_end() quotes the alternative it stands for.
#include "text/tokenizer/word_pattern.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "text/tokenizer/utf8.h"

namespace pajamas {
namespace {

/// The alternatives of a regular expression: split at '|' outside groups and classes.
std::vector<std::string_view> alternatives_of(std::string_view regex) {
  std::vector<std::string_view> result;
  int depth = 0;
  bool is_in_class = false;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < regex.size(); ++i) {
    const char c = regex[i];
    if (c == '\\') {
      ++i;
    } else if (is_in_class) {
      is_in_class = c != ']';
    } else if (c == '[') {
      is_in_class = true;
    } else if (c == '(') {
      ++depth;
    } else if (c == ')') {
      --depth;
    } else if (c == '|' && depth == 0) {
      result.push_back(regex.substr(begin, i - begin));
      begin = i + 1;
    }
  }
  result.push_back(regex.substr(begin));
  return result;
}

/// With "\r", "\n" written out as in most files, whether the file has the escape or the character.
std::string with_escapes(std::string_view regex) {
  std::string result;
  for (const char c : regex) {
    if (c == '\r') {
      result += "\\r";
    } else if (c == '\n') {
      result += "\\n";
    } else {
      result += c;
    }
  }
  return result;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

WordPattern WordPattern::gpt2() {
  WordPattern pattern;
  pattern.leading_contractions_ = Contractions::kLowerCase;
  pattern.number_run_ = NumberRun::kSpaceAndAll;
  return pattern;
}

std::optional<WordPattern> WordPattern::recognise(std::string_view regex) {
  const std::string text = with_escapes(regex);
  const std::vector<std::string_view> alternatives = alternatives_of(text);
  WordPattern pattern;
  std::size_t next = 0;
  const auto take = [&](std::initializer_list<std::string_view> forms) {
    if (next >= alternatives.size()) return false;
    if (std::find(forms.begin(), forms.end(), alternatives[next]) == forms.end()) return false;
    ++next;
    return true;
  };
  constexpr std::array<std::string_view, 7> kGpt2Contractions{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
  if (alternatives.size() > kGpt2Contractions.size() &&
      std::equal(kGpt2Contractions.begin(), kGpt2Contractions.end(), alternatives.begin())) {
    pattern.leading_contractions_ = Contractions::kLowerCase;
    next = kGpt2Contractions.size();
  } else if (take({"'(?:[sdmt]|ll|ve|re)"})) {
    pattern.leading_contractions_ = Contractions::kLowerCase;
  } else if (take({"(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'(?i:[sdmt]|ll|ve|re)", "(?i:[sdmt]|ll|ve|re)",
                   "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"})) {
    if (alternatives[0].front() != '\'' && alternatives[0].find('\'') == std::string_view::npos) return std::nullopt;
    // Written with explicit pairs of letters, the pattern lacks the long s that (?i:s) has; nobody writes "'ſ".
    pattern.leading_contractions_ = Contractions::kAnyCase;
  }

  const std::string prefix = "[^\\r\\n\\p{L}\\p{N}]?";
  const std::string upper = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]", lower_side = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
  const std::string contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?";
  if (take({" ?\\p{L}+"})) {
    pattern.takes_any_prefix_ = false;
  } else if (take({prefix + "\\p{L}+", prefix + "+\\p{L}+"})) {
    pattern.takes_any_prefix_ = true;
  } else if (take({prefix + "[\\p{L}\\p{M}]+"})) {
    pattern.takes_any_prefix_ = true;
    pattern.letter_mask_ = kLetterClass | kMarkClass;
  } else if (take({prefix + upper + "*" + lower_side + "+" + contraction})) {
    if (!take({prefix + upper + "+" + lower_side + "*" + contraction})) return std::nullopt;
    pattern.is_cased_ = true;
    pattern.trailing_contractions_ = Contractions::kAnyCase;
  } else if (take({prefix + upper + "*" + lower_side + "+"})) {
    if (!take({prefix + upper + "+" + lower_side + "*"})) return std::nullopt;
    pattern.is_cased_ = true;
  } else {
    return std::nullopt;
  }

  if (take({" ?\\p{N}+"})) {
    pattern.number_run_ = NumberRun::kSpaceAndAll;
  } else if (take({"\\p{N}+"})) {
    pattern.number_run_ = NumberRun::kAll;
  } else if (take({"\\p{N}{1,3}"})) {
    pattern.number_run_ = NumberRun::kThree;
  } else if (take({"\\p{N}", "\\p{N}{1}"})) {
    pattern.number_run_ = NumberRun::kOne;
  } else {
    return std::nullopt;
  }

  const std::string other =
      (pattern.letter_mask_ & kMarkClass) != 0 ? " ?[^\\s\\p{L}\\p{M}\\p{N}]+" : " ?[^\\s\\p{L}\\p{N}]+";
  if (take({other + "[\\r\\n]*", other + "+[\\r\\n]*"})) {
    pattern.other_takes_newlines_ = true;
  } else if (take({other + "[\\r\\n/]*"})) {
    pattern.other_takes_newlines_ = pattern.other_takes_slashes_ = true;
  } else if (!take({other})) {
    return std::nullopt;
  }
  pattern.cuts_after_newlines_ = take({"\\s*[\\r\\n]+"});
  if (!take({"\\s+(?!\\S)"}) || !take({"\\s+"}) || next != alternatives.size()) return std::nullopt;
  return pattern;
}

std::size_t WordPattern::contraction_length(std::string_view text, std::size_t begin, bool is_any_case) {
  if (begin + 1 >= text.size() || text[begin] != '\'') return 0;
  const char first = is_any_case ? lower(text[begin + 1]) : text[begin + 1];
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  // The long s folds to an s.
  if (is_any_case && text.substr(begin + 1, 2) == "\xC5\xBF") return 3;
  if (begin + 2 >= text.size()) return 0;
  const char second = is_any_case ? lower(text[begin + 2]) : text[begin + 2];
  const bool is_pair =
      (first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l');
  return is_pair ? 3 : 0;
}

/// End of the run of characters that are (or are not) in a class of `mask`.
std::size_t WordPattern::run_end(std::string_view text, std::size_t position, unsigned mask, bool wants_mask) const {
  while (position < text.size()) {
    std::size_t next = position;
    const unsigned classes = (*classes_)[next_code_point(text, next)];
    if (((classes & mask) != 0) != wants_mask) break;
    position = next;
  }
  return position;
}

std::size_t WordPattern::number_end(std::string_view text, std::size_t position) const {
  if (number_run_ == NumberRun::kAll || number_run_ == NumberRun::kSpaceAndAll) {
    return run_end(text, position, kNumberClass, true);
  }
  for (int left = number_run_ == NumberRun::kOne ? 1 : 3; left > 0 && position < text.size(); --left) {
    std::size_t next = position;
    if (((*classes_)[next_code_point(text, next)] & kNumberClass) == 0) break;
    position = next;
  }
  return position;
}

std::size_t WordPattern::ends_lower(std::string_view text, std::size_t begin) const {
  // [upper side]*[lower side]+: the first run gives characters back until the second has one, so the word ends after
  // the last character of the first run that is on both sides, unless a lower-case run follows.
  std::size_t position = begin, last_end = begin;
  while (position < text.size()) {
    std::size_t next = position;
    const unsigned classes = (*classes_)[next_code_point(text, next)];
    if ((classes & kUpperSideClass) == 0) {
      if ((classes & kLowerSideClass) != 0) return run_end(text, position, kLowerSideClass, true);
      break;
    }
    position = next;
    if ((classes & kLowerSideClass) != 0) last_end = position;
  }
  return last_end;
}

std::size_t WordPattern::ends_upper(std::string_view text, std::size_t begin) const {
  const std::size_t end = run_end(text, begin, kUpperSideClass, true);
  return end == begin ? begin : run_end(text, end, kLowerSideClass, true);
}

std::size_t WordPattern::cased_word_end(std::string_view text, std::size_t begin, unsigned first_class,
                                        std::size_t second) const {
  const bool has_prefix = (first_class & (kLetterClass | kNumberClass | kNewlineClass)) == 0;
  std::size_t end = begin;
  if (has_prefix) {
    end = ends_lower(text, second);
    if (end == second) end = begin;
  }
  if (end == begin) end = ends_lower(text, begin);
  if (end == begin && has_prefix) {
    end = ends_upper(text, second);
    if (end == second) end = begin;
  }
  if (end == begin) end = ends_upper(text, begin);
  if (end != begin && trailing_contractions_ != Contractions::kNone) {
    end += contraction_length(text, end, trailing_contractions_ == Contractions::kAnyCase);
  }
  return end;
}

/// The alternatives of white space.
std::size_t WordPattern::space_end(std::string_view text, std::size_t begin) const {
  std::size_t end = begin, last = begin, after_newline = begin;
  while (end < text.size()) {
    std::size_t next = end;
    const unsigned classes = (*classes_)[next_code_point(text, next)];
    if ((classes & kSpaceClass) == 0) break;
    last = end;
    end = next;
    if ((classes & kNewlineClass) != 0) after_newline = end;
  }
  // \s*[\r\n]+
  if (cuts_after_newlines_ && after_newline > begin) return after_newline;
  // \s+(?!\S): the last space stays for the word after it, unless it is the only one (\s+).
  return end == text.size() || last == begin ? end : last;
}

std::size_t WordPattern::word_end(std::string_view text, std::size_t begin) const {
  // '…
  if (leading_contractions_ != Contractions::kNone && text[begin] == '\'') {
    const std::size_t length = contraction_length(text, begin, leading_contractions_ == Contractions::kAnyCase);
    if (length > 0) return begin + length;
  }
  std::size_t second = begin;
  const unsigned first_class = (*classes_)[next_code_point(text, second)];
  std::size_t peek = second;
  const unsigned second_class = second < text.size() ? (*classes_)[next_code_point(text, peek)] : 0;
  const bool is_space_char = text[begin] == ' ';

  if (is_cased_) {
    const std::size_t end = cased_word_end(text, begin, first_class, second);
    if (end > begin) return end;
  } else {
    // [^\r\n\p{L}\p{N}]?\p{L}+ or " ?\p{L}+"
    if ((first_class & letter_mask_) != 0) return run_end(text, second, letter_mask_, true);
    const bool may_prefix =
        takes_any_prefix_ ? (first_class & (kLetterClass | kNumberClass | kNewlineClass)) == 0 : is_space_char;
    if (may_prefix && (second_class & letter_mask_) != 0) return run_end(text, peek, letter_mask_, true);
  }
  // \p{N} …
  if ((first_class & kNumberClass) != 0) return number_end(text, begin);
  if (number_run_ == NumberRun::kSpaceAndAll && is_space_char && (second_class & kNumberClass) != 0) {
    return run_end(text, peek, kNumberClass, true);
  }
  // " ?[^\s\p{L}\p{N}]+[\r\n]*"
  const unsigned not_other = kSpaceClass | kLetterClass | kNumberClass | (letter_mask_ & kMarkClass);
  std::size_t end = begin;
  if ((first_class & not_other) == 0) {
    end = run_end(text, second, not_other, false);
  } else if (is_space_char && second < text.size() && (second_class & not_other) == 0) {
    end = run_end(text, peek, not_other, false);
  }
  if (end > begin) {
    if (other_takes_newlines_) {
      while (end < text.size() &&
             (text[end] == '\r' || text[end] == '\n' || (other_takes_slashes_ && text[end] == '/'))) {
        ++end;
      }
    }
    return end;
  }
  return space_end(text, begin);
}

}  // namespace pajamas
