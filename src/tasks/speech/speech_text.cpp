// One walk over the code points. See speech_text.h.
#include "tasks/speech/speech_text.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "pajamas/error.h"
#include "text/unicode.h"

namespace pajamas {
namespace {

/// What a character says at the end of a clause.
struct Sign {
  char32_t meaning = 0;
  bool needs_blank = true;
};

Sign sign_of(char32_t c) {
  switch (c) {
    case U'.':
    case U'?':
    case U'!':
    case U',':
    case U':':
    case U';': return {c, true};
    case U'\u2026': return {U'.', true};  // …
    case U'\u2013':
    case U'\u2014': return {U';', true};  // dashes between words
    case U'\u0964':
    case U'\u0965':                        // the full stops of Hindi,
    case U'\u06D4': return {U'.', true};   // of Urdu,
    case U'\u3002': return {U'.', false};  // of Chinese and Japanese
    case U'\u037E': return {U'?', true};   // the Greek question mark
    case U'\uFF1F': return {U'?', false};  // full-width ? ! , : ;
    case U'\uFF01': return {U'!', false};
    case U'\uFF0C':
    case U'\u3001': return {U',', false};
    case U'\uFF1A': return {U':', false};
    case U'\uFF1B': return {U';', false};
    case U'\u061F': return {U'?', true};  // Arabic ? , ;
    case U'\u060C': return {U',', true};
    case U'\u061B': return {U';', true};
    default: return {};
  }
}

bool ends_sentence(char32_t sign) { return sign == U'.' || sign == U'?' || sign == U'!'; }

bool is_closing(char32_t c) {
  return c == U'"' || c == U'\'' || c == U')' || c == U']' || c == U'}' || c == U'\u201D' || c == U'\u2019' ||
         c == U'\u201C' || c == U'\u00BB' || c == U'\u300D' || c == U'\u300F';
}

bool is_upper(char32_t c) { return is_letter(c) && lower_case(std::u32string(1, c)) != std::u32string(1, c); }

/// Words before a dot that ends nothing, whatever follows.
constexpr std::array<std::u32string_view, 22> kTitles{
    U"mr",  U"mrs", U"ms", U"dr",     U"st",  U"prof", U"gen", U"col", U"sgt", U"capt", U"lt",
    U"rev", U"hon", U"mt", U"messrs", U"e.g", U"i.e",  U"vs",  U"cf",  U"fig", U"vol",  U"sr"};
/// Words before a dot that ends a sentence only where the next word has a capital.
constexpr std::array<std::u32string_view, 14> kShort{U"etc", U"a.m",  U"p.m", U"inc", U"ltd",    U"co", U"corp",
                                                     U"jr",  U"dept", U"est", U"u.s", U"approx", U"al", U"no"};

template <std::size_t Size>
bool contains(const std::array<std::u32string_view, Size>& words, std::u32string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

class Splitter {
 public:
  explicit Splitter(std::u32string text) : text_(std::move(text)) {}

  std::vector<SpeechSentence> split() {
    for (std::size_t i = 0; i < text_.size();) i = step(i);
    end_sentence(0);
    return std::move(sentences_);
  }

 private:
  bool is_blank(std::size_t i) const { return i >= text_.size() || is_whitespace(text_[i]); }

  /// Takes what begins at `i`; the index behind it.
  std::size_t step(std::size_t i) {
    const char32_t c = text_[i];
    if (is_whitespace(c)) return blanks(i);
    if (sign_of(c).meaning != 0) {
      if (const auto end = signs(i)) return *end;
    }
    // Control characters mean nothing, and [[ would begin espeak-ng's own notation of phonemes.
    if (c < U' ' || c == U'\u007F') {
      blank();
    } else {
      if (c == U'[' && !clause_.empty() && clause_.back() == U'[') blank();
      clause_ += c;
      sentence_ += c;
    }
    return i + 1;
  }

  void blank() {
    if (!clause_.empty() && clause_.back() != U' ') clause_ += U' ';
    if (!sentence_.empty() && sentence_.back() != U' ') sentence_ += U' ';
  }

  std::size_t blanks(std::size_t i) {
    int num_lines = 0;
    for (; i < text_.size() && is_whitespace(text_[i]); ++i) {
      if (text_[i] == U'\n' || text_[i] == U'\u2029') ++num_lines;
    }
    if (num_lines > 1) {
      end_sentence(0);
    } else {
      blank();
      if (clause_.size() >= kMaxClauseCharacters) end_clause(0);
    }
    return i;
  }

  /// A run of signs and closing quotes at `i`, if it ends a clause; the index behind it.
  std::optional<std::size_t> signs(std::size_t i) {
    std::size_t end = i;
    char32_t meaning = 0;
    bool needs_blank = true;
    for (; end < text_.size(); ++end) {
      const Sign sign = sign_of(text_[end]);
      if (sign.meaning == 0) break;
      needs_blank = needs_blank && sign.needs_blank;
      // A question stays one in "?!" and "?..".
      if (meaning == 0 || sign.meaning == U'?' || (meaning != U'?' && sign.meaning == U'!')) meaning = sign.meaning;
    }
    const bool is_single_dot = end == i + 1 && text_[i] == U'.';
    std::size_t behind = end;
    while (behind < text_.size() && is_closing(text_[behind])) ++behind;
    // The comma of "Come here!", he said.
    if (behind > end) {
      while (behind < text_.size() && sign_of(text_[behind]).meaning != 0) ++behind;
    }
    if (needs_blank && !is_blank(behind)) return std::nullopt;
    if (is_single_dot && behind == end && is_abbreviation(i)) {
      // espeak-ng would pause at the dot; without it it knows the titles as well.
      const std::u32string word = word_before(i);
      sentence_ += U'.';
      if (word.find(U'.') != std::u32string::npos) clause_ += U'.';
      return end;
    }
    sentence_.append(text_, i, behind - i);
    if (ends_sentence(meaning)) {
      end_sentence(meaning);
    } else {
      end_clause(meaning);
    }
    return behind;
  }

  /// The word before `i`, in lower case.
  std::u32string word_before(std::size_t i) const {
    std::size_t begin = i;
    while (begin > 0 && (is_letter(text_[begin - 1]) || text_[begin - 1] == U'.')) --begin;
    return lower_case(std::u32string_view(text_).substr(begin, i - begin));
  }

  /// Whether the dot at `i` belongs to the word before it and something follows.
  bool is_abbreviation(std::size_t i) const {
    std::size_t next = i + 1;
    int num_lines = 0;
    for (; next < text_.size() && is_whitespace(text_[next]); ++next) num_lines += text_[next] == U'\n' ? 1 : 0;
    if (next >= text_.size() || num_lines > 1) return false;
    const std::u32string word = word_before(i);
    if (word.empty()) return false;
    if (contains(kTitles, word)) return true;
    if (contains(kShort, word)) return word == U"no" ? is_number(text_[next]) : !is_upper(text_[next]);
    // An initial: "J. Smith". "I." more often ends a sentence.
    return word.size() == 1 && is_upper(text_[i - 1]) && word != U"i" && is_upper(text_[next]);
  }

  void end_clause(char32_t sign) {
    while (!clause_.empty() && clause_.back() == U' ') clause_.pop_back();
    const bool is_speakable =
        std::any_of(clause_.begin(), clause_.end(), [](char32_t c) { return is_letter(c) || is_number(c); });
    if (is_speakable) {
      num_characters_ += clause_.size();
      while (clause_.size() > 2 * kMaxClauseCharacters) {  // Without blanks: letters of a script that has none.
        clauses_.push_back({utf8_of(std::u32string_view(clause_).substr(0, kMaxClauseCharacters)), 0});
        clause_.erase(0, kMaxClauseCharacters);
      }
      clauses_.push_back({utf8_of(clause_), sign});
    } else if (!clauses_.empty() && sign != 0 && (clauses_.back().sign == 0 || ends_sentence(sign))) {
      clauses_.back().sign = sign;
    }
    clause_.clear();
    if (num_characters_ >= kMaxSentenceCharacters) finish_sentence();
  }

  void end_sentence(char32_t sign) {
    end_clause(sign);
    finish_sentence();
  }

  void finish_sentence() {
    while (!sentence_.empty() && sentence_.back() == U' ') sentence_.pop_back();
    const std::size_t begin = std::min(sentence_.find_first_not_of(U' '), sentence_.size());
    if (!clauses_.empty()) sentences_.push_back({utf8_of(std::u32string_view(sentence_).substr(begin)), clauses_});
    sentence_.clear();
    clauses_.clear();
    num_characters_ = 0;
  }

  std::u32string text_;
  std::u32string clause_, sentence_;
  std::vector<SpeechClause> clauses_;
  std::size_t num_characters_ = 0;
  std::vector<SpeechSentence> sentences_;
};

}  // namespace

std::vector<SpeechSentence> split_speech(std::string_view text) {
  std::u32string code_points = code_points_of(text);
  const std::string back = utf8_of(code_points);
  if (back != text) {
    const auto wrong = std::mismatch(text.begin(), text.end(), back.begin(), back.end()).first;
    throw Error(ErrorKind::kBadInput, "the text is no UTF-8: byte " + std::to_string(wrong - text.begin()), {},
                "convert it, for example with iconv -f latin1 -t utf8");
  }
  return Splitter(std::move(code_points)).split();
}

}  // namespace pajamas
