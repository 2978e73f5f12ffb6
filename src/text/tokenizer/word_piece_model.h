// WordPiece (Schuster and Nakajima 2012, as BERT has it): the longest token that begins a word, then the longest that
// goes on with the rest; a word with a rest that no token begins is unknown as a whole.
#pragma once

#include "text/tokenizer/word_model.h"

namespace pajamas {

class WordPieceModel : public WordModel {
 public:
  /// Throws Error{kBadInput} where the definition has no unknown token.
  explicit WordPieceModel(const TokenizerDefinition& definition);
  void encode(std::string_view word, EncodeScratch& scratch, std::vector<std::int32_t>& ids) const override;

 private:
  void encode_anew(std::string_view word, std::vector<std::int32_t>& ids) const;

  Trie begins_;     ///< Tokens that begin a word.
  Trie continues_;  ///< Tokens with the prefix, without it.
  std::int32_t unk_id_;
  std::size_t max_chars_per_word_;
};

}  // namespace pajamas
