// Unigram language model (Kudo 2018): of all ways to cut a word into tokens the one with the greatest sum of
// log-probabilities.
#pragma once

#include <array>
#include <cstdint>

#include "text/tokenizer/word_model.h"

namespace pajamas {

class UnigramModel : public WordModel {
 public:
  /// Throws Error{kBadInput} where the definition has no unknown token or scores that are no numbers.
  explicit UnigramModel(const TokenizerDefinition& definition);
  void encode(std::string_view word, EncodeScratch& scratch, std::vector<std::int32_t>& ids) const override;

 private:
  void encode_part(std::string_view part, EncodeScratch& scratch, std::vector<std::int32_t>& ids) const;

  Trie trie_;
  std::vector<double> scores_;
  JoinFilter joins_;
  std::int32_t unk_id_;
  double unk_score_;
  std::array<std::int32_t, 256> fallback_ids_;
};

}  // namespace pajamas
