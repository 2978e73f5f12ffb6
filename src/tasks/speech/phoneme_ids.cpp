// See phoneme_ids.h. The order of ids is that which Piper trains its voices with.
#include "tasks/speech/phoneme_ids.h"

#include "base/log.h"
#include "pajamas/error.h"
#include "text/unicode.h"

namespace pajamas {
namespace {

bool is_sign(char32_t c) { return std::u32string_view(U".?!,:; ").find(c) != std::u32string_view::npos; }

}  // namespace

std::u32string sentence_phonemes(const SpeechSentence& sentence, const ClausePhonemes& phonemes_of) {
  std::u32string all;
  bool has_phonemes = false;
  for (const SpeechClause& clause : sentence.clauses) {
    const std::string phonemes = phonemes_of(clause.text);
    if (phonemes.empty()) continue;
    if (has_phonemes && !all.empty() && all.back() != U' ') all += U' ';
    has_phonemes = true;
    all += code_points_of(phonemes);
    if (clause.sign != 0) all += clause.sign;
  }
  if (!has_phonemes) return {};
  if (!is_sign(all.back())) all += U'.';
  return decomposed(all);
}

PhonemeIds::PhonemeIds(const SpeechFacts& facts) {
  for (const auto& entry : facts.phoneme_ids) {
    const std::u32string phoneme = code_points_of(entry.first);
    // Phonemes of several code points are for other alphabets than espeak-ng's.
    if (phoneme.size() == 1) ids_[phoneme[0]] = entry.second;
  }
  const auto need = [&](char32_t phoneme) {
    const auto found = ids_.find(phoneme);
    if (found != ids_.end()) return found->second;
    throw Error(ErrorKind::kBadInput, "the voice's phonemes lack '" + utf8_of(std::u32string_view(&phoneme, 1)) + "'",
                {}, "build the bundle again");
  };
  pad_ = need(U'_');
  begin_ = need(U'^');
  end_ = need(U'$');
}

std::vector<std::int64_t> PhonemeIds::ids_of(std::u32string_view phonemes) {
  std::vector<std::int64_t> ids(begin_);
  const auto append = [&ids](const std::vector<std::int64_t>& more) {
    ids.insert(ids.end(), more.begin(), more.end());
  };
  append(pad_);
  bool is_speakable = false;
  for (const char32_t phoneme : phonemes) {
    const auto found = ids_.find(phoneme);
    if (found == ids_.end()) {
      if (unknown_.insert(phoneme).second) {
        log().warn("the voice has no phoneme '{}' (U+{:04X}): it is left out",
                   utf8_of(std::u32string_view(&phoneme, 1)), static_cast<std::uint32_t>(phoneme));
      }
      continue;
    }
    is_speakable = is_speakable || !is_sign(phoneme);
    append(found->second);
    append(pad_);
  }
  if (!is_speakable) return {};
  append(end_);
  return ids;
}

}  // namespace pajamas
