// See words.h.
#include "tasks/transcription/words.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "tasks/transcription/decoding_rules.h"
#include "tasks/transcription/text_checks.h"
#include "text/tokenizer/utf8.h"

namespace pajamas {
namespace {

/// Frames that the attention is smoothed over.
constexpr std::size_t kMedianWidth = 7;
constexpr std::array<std::string_view, 6> kUnspacedLanguages{"zh", "ja", "th", "lo", "my", "yue"};
constexpr std::array<std::string_view, 8> kOpening{"\"", "'", "“", "¿", "(", "[", "{", "-"};
constexpr std::array<std::string_view, 20> kClosing{"\"", "'",  ".", "。", ",", "，", "!",  "！", "?",  "？",
                                                    ":",  "：", "”", ")",  "]", "}",  "、", ";",  "；", "…"};

template <std::size_t size>
bool is_one_of(const std::array<std::string_view, size>& signs, std::string_view text) {
  return std::find(signs.begin(), signs.end(), text) != signs.end();
}

bool is_ascii_punctuation(std::string_view text) {
  return text.size() == 1 &&
         std::string_view("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~").find(text[0]) != std::string_view::npos;
}

}  // namespace

std::vector<WordTokens> split_words(std::span<const std::int32_t> tokens, const Tokenizer& tokenizer,
                                    std::string_view language) {
  // First runs of tokens that are whole characters.
  std::vector<WordTokens> pieces;
  std::string text;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    text += tokenizer.token_bytes(tokens[i]);
    if (unfinished_utf8_length(text) != 0 && i + 1 < tokens.size()) continue;
    WordTokens& piece = pieces.emplace_back(WordTokens{{}, begin, i + 1});
    append_as_utf8(piece.text, text);
    text.clear();
    begin = i + 1;
  }
  if (is_one_of(kUnspacedLanguages, language)) return pieces;
  std::vector<WordTokens> words;
  for (WordTokens& piece : pieces) {
    const bool begins = words.empty() || piece.text.starts_with(' ') || is_ascii_punctuation(trimmed(piece.text));
    if (begins) {
      words.push_back(std::move(piece));
    } else {
      words.back().text += piece.text;
      words.back().token_end = piece.token_end;
    }
  }
  return words;
}

std::vector<std::size_t> align_rows(std::span<const float> costs, std::size_t num_rows, std::size_t num_columns) {
  enum Step : std::uint8_t { kDiagonal, kDown, kRight };
  constexpr float kFar = std::numeric_limits<float>::infinity();
  const std::size_t width = num_columns + 1;
  std::vector<std::uint8_t> steps((num_rows + 1) * width, kRight);
  std::vector<float> before(width, kFar), now(width, kFar);
  before[0] = 0;
  for (std::size_t r = 1; r <= num_rows; ++r) {
    now[0] = kFar;
    for (std::size_t c = 1; c <= num_columns; ++c) {
      const float diagonal = before[c - 1], down = before[c], right = now[c - 1];
      std::uint8_t step = kRight;
      float best = right;
      if (diagonal < down && diagonal < right) {
        step = kDiagonal;
        best = diagonal;
      } else if (down < diagonal && down < right) {
        step = kDown;
        best = down;
      }
      now[c] = best + costs[(r - 1) * num_columns + c - 1];
      steps[r * width + c] = step;
    }
    std::swap(before, now);
  }
  std::vector<std::size_t> first(num_rows, 0);
  std::size_t r = num_rows, c = num_columns;
  while (r > 0 && c > 0) {
    first[r - 1] = c - 1;
    const std::uint8_t step = steps[r * width + c];
    if (step == kDiagonal || step == kDown) --r;
    if (step == kDiagonal || step == kRight) --c;
  }
  return first;
}

std::vector<double> token_times(std::span<const float> attention, std::size_t num_heads, std::size_t num_tokens,
                                std::size_t num_positions, std::size_t prompt_length, double chunk_length_s) {
  const auto spoken = static_cast<std::size_t>(
      std::clamp<double>(std::ceil(chunk_length_s / kTimestampStepS), 1.0, static_cast<double>(num_positions)));
  const std::size_t num_rows = num_tokens - prompt_length;  // text and the end
  std::vector<float> mean(num_rows * spoken, 0.0F);
  std::vector<float> head(num_tokens * spoken);
  std::vector<float> window(kMedianWidth);
  for (std::size_t h = 0; h < num_heads; ++h) {
    // Probabilities over the positions that count.
    for (std::size_t t = 0; t < num_tokens; ++t) {
      const float* row = attention.data() + (h * num_tokens + t) * num_positions;
      double sum = 0;
      for (std::size_t p = 0; p < spoken; ++p) sum += static_cast<double>(row[p]);
      const float scale = sum > 0 ? static_cast<float>(1 / sum) : 0.0F;
      for (std::size_t p = 0; p < spoken; ++p) head[t * spoken + p] = row[p] * scale;
    }
    // Each position standardised over the tokens, so that one which everything looks at says nothing.
    for (std::size_t p = 0; p < spoken; ++p) {
      double sum = 0, squares = 0;
      for (std::size_t t = 0; t < num_tokens; ++t) {
        const auto value = static_cast<double>(head[t * spoken + p]);
        sum += value;
        squares += value * value;
      }
      const double average = sum / static_cast<double>(num_tokens);
      const double variance = std::max(squares / static_cast<double>(num_tokens) - average * average, 0.0);
      const double scale = variance > 0 ? 1 / std::sqrt(variance) : 0;
      for (std::size_t t = 0; t < num_tokens; ++t) {
        head[t * spoken + p] = static_cast<float>((static_cast<double>(head[t * spoken + p]) - average) * scale);
      }
    }
    for (std::size_t r = 0; r < num_rows; ++r) {
      const float* row = head.data() + (prompt_length + r) * spoken;
      for (std::size_t p = 0; p < spoken; ++p) {
        for (std::size_t w = 0; w < kMedianWidth; ++w) {
          // Reflected at the ends.
          auto at = static_cast<std::ptrdiff_t>(p + w) - static_cast<std::ptrdiff_t>(kMedianWidth / 2);
          const auto last = static_cast<std::ptrdiff_t>(spoken) - 1;
          if (at < 0) at = -at;
          if (at > last) at = 2 * last - at;
          window[w] = row[std::clamp<std::ptrdiff_t>(at, 0, last)];
        }
        std::nth_element(window.begin(), window.begin() + kMedianWidth / 2, window.end());
        mean[r * spoken + p] -= window[kMedianWidth / 2] / static_cast<float>(num_heads);
      }
    }
  }
  const std::vector<std::size_t> first = align_rows(mean, num_rows, spoken);
  std::vector<double> times;
  times.reserve(num_rows);
  for (const std::size_t column : first) times.push_back(static_cast<double>(column) * kTimestampStepS);
  return times;
}

void merge_punctuation(std::vector<TranscribedWord>& words) {
  std::vector<TranscribedWord> merged;
  for (std::size_t i = words.size(); i-- > 0;) {
    // An opening sign, with a blank before it, belongs to what follows.
    if (!merged.empty() && words[i].text.starts_with(' ') && is_one_of(kOpening, trimmed(words[i].text))) {
      merged.back().text = words[i].text + merged.back().text;
      merged.back().begin_s = words[i].begin_s;
    } else {
      merged.push_back(words[i]);
    }
  }
  std::reverse(merged.begin(), merged.end());
  words.clear();
  for (TranscribedWord& word : merged) {
    const bool is_attached = !words.empty() && !words.back().text.ends_with(' ') && is_one_of(kClosing, word.text);
    if (is_attached) {
      words.back().text += word.text;
    } else {
      words.push_back(std::move(word));
    }
  }
}

}  // namespace pajamas
