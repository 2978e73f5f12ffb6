// Times of words by the attention of a speech model: the path through the alignment heads' attention along which text
// and audio advance together (dynamic time warping, Sakoe and Chiba 1978), as the published program does it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pajamas/transcription.h"
#include "text/tokenizer.h"

namespace pajamas {

/// A word as a range of tokens.
struct WordTokens {
  std::string text;
  std::size_t token_begin = 0, token_end = 0;
};

/// Words of text tokens: at blanks and punctuation, or, for languages written without blanks (zh, ja, th, lo, my, yue),
/// at characters. No word ends within a UTF-8 character.
std::vector<WordTokens> split_words(std::span<const std::int32_t> tokens, const Tokenizer& tokenizer,
                                    std::string_view language);

/// For each of `num_rows` rows of `costs` [num_rows, num_columns] the first column that the cheapest monotonous path
/// through it takes. num_rows, num_columns ≥ 1. Time and memory in num_rows * num_columns.
std::vector<std::size_t> align_rows(std::span<const float> costs, std::size_t num_rows, std::size_t num_columns);

/// Begin of each text token and the end of the last, in seconds of the chunk: num_text + 1 times. `attention`
/// [num_heads, num_tokens, num_positions] is the aligner's output for tokens = prompt, text, end; rows prompt_length
/// ... are the text's. Positions of 20 ms behind `chunk_length_s` do not count.
std::vector<double> token_times(std::span<const float> attention, std::size_t num_heads, std::size_t num_tokens,
                                std::size_t num_positions, std::size_t prompt_length, double chunk_length_s);

/// Joins punctuation with the word it belongs to: opening signs with the next, closing ones with the one before.
void merge_punctuation(std::vector<TranscribedWord>& words);

}  // namespace pajamas
