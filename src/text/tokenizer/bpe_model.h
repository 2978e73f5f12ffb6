// Byte-pair encoding of words by ranked merges, over bytes (GPT-2's kind) or characters (SentencePiece's kind).
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "text/tokenizer/word_model.h"

namespace pajamas {

/// Merges in order of rank, the leftmost of equals first, until none is left. `symbols` holds the ids on entry and the
/// merged ids on return. Quadratic in short words, where that is fastest; n log n in long ones.
void merge_symbols(const MergeTable& merges, EncodeScratch& scratch, std::vector<std::int32_t>& symbols);

class BpeModel : public WordModel {
 public:
  /// `tokens`: what each id stands for as the model sees it, bytes where `is_byte_level`; empty for ids that no word
  /// gives. Throws Error{kBadInput} naming a merge that the tokens do not bear out.
  BpeModel(const TokenizerDefinition& definition, TextPool tokens, bool is_byte_level);
  void encode(std::string_view word, EncodeScratch& scratch, std::vector<std::int32_t>& ids) const override;

 private:
  void encode_bytes(std::string_view word, EncodeScratch& scratch, std::vector<std::int32_t>& ids) const;
  void encode_characters(std::string_view word, EncodeScratch& scratch, std::vector<std::int32_t>& ids) const;
  /// The id of a character, or kNone.
  std::int32_t character_id(std::string_view character) const;
  void find_joins(const TokenizerDefinition& definition);

  TextPool tokens_;
  TokenTable table_;
  MergeTable merges_;
  bool is_byte_level_;
  bool ignores_merges_, fuses_unk_;
  std::int32_t unk_id_;  ///< kNone: unknown characters are left out.
  std::string continuing_prefix_, end_suffix_;
  std::array<std::int32_t, 256> byte_ids_;      ///< Of single bytes; over characters: of ASCII.
  std::array<std::int32_t, 256> fallback_ids_;  ///< Of <0x00> …; all kNone without byte fallback.
  bool has_fallback_ = false;
  bool has_all_bytes_ = false;  ///< No byte_ids_ is kNone.
  bool cuts_words_ = false;     ///< Words are cut where no token joins, see JoinFilter.
  JoinFilter joins_;
};

}  // namespace pajamas
