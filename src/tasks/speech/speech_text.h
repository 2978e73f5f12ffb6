// Text cut into what a voice speaks in one go, sentences, and those into clauses, each with the sign behind it. Not
// phonemes: those are phonemizer.h's.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pajamas {

struct SpeechClause {
  std::string text;   ///< UTF-8 without line breaks; what espeak-ng reads.
  char32_t sign = 0;  ///< '.', '?', '!', ',', ':', ';', or 0: the clause goes on without a pause.
};

struct SpeechSentence {
  std::string text;  ///< As written, blanks joined.
  std::vector<SpeechClause> clauses;
};

/// Longest clause in code points; longer ones are cut at a blank. espeak-ng reads lines below 1,000 bytes.
inline constexpr std::size_t kMaxClauseCharacters = 200;
/// Most code points of a sentence: the model's memory grows with the square. Longer ones end at a clause.
inline constexpr std::size_t kMaxSentenceCharacters = 600;

/// Sentences end at . ? ! … before a blank or the end, and at an empty line; clauses also at , : ;. Not after
/// abbreviations and initials, nor within numbers. Signs of Chinese and Japanese need no blank. Without any letter or
/// digit there is no sentence. Throws Error{kBadInput} with the position of bytes that are no UTF-8.
std::vector<SpeechSentence> split_speech(std::string_view text);

}  // namespace pajamas
