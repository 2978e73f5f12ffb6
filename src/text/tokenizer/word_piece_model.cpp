// See word_piece_model.h.
#include "text/tokenizer/word_piece_model.h"

#include "pajamas/error.h"
#include "text/tokenizer/utf8.h"

namespace pajamas {

WordPieceModel::WordPieceModel(const TokenizerDefinition& definition)
    : begins_(definition.tokens.num_bytes()),
      continues_(definition.tokens.num_bytes() / 4),
      max_chars_per_word_(static_cast<std::size_t>(definition.max_chars_per_word)) {
  if (!definition.model_unk_id) {
    throw Error(ErrorKind::kBadInput, "is a WordPiece model without an unknown token", definition.where);
  }
  unk_id_ = *definition.model_unk_id;
  const std::string_view prefix = definition.continuing_subword_prefix;
  for (std::size_t i = 0; i < definition.tokens.size(); ++i) {
    const std::string_view token = definition.tokens[i];
    if (token.empty()) continue;
    const auto id = static_cast<std::int32_t>(i);
    begins_.insert(token, id);
    if (token.size() > prefix.size() && token.starts_with(prefix)) continues_.insert(token.substr(prefix.size()), id);
  }
}

void WordPieceModel::encode(std::string_view word, EncodeScratch& scratch, std::vector<std::int32_t>& ids) const {
  encode_cached(word, scratch, ids, [&](std::vector<std::int32_t>& result) { encode_anew(word, result); });
}

void WordPieceModel::encode_anew(std::string_view word, std::vector<std::int32_t>& ids) const {
  std::size_t num_chars = 0;
  for (std::size_t i = 0; i < word.size() && num_chars <= max_chars_per_word_; i += utf8_length(word[i])) ++num_chars;
  if (num_chars > max_chars_per_word_) return ids.push_back(unk_id_);
  const std::size_t first = ids.size();
  for (std::size_t begin = 0; begin < word.size();) {
    const Trie& trie = begin == 0 ? begins_ : continues_;
    std::uint32_t node = Trie::kRoot;
    std::int32_t longest = Trie::kNone;
    std::size_t longest_end = begin;
    for (std::size_t end = begin; end < word.size();) {
      node = trie.step(node, static_cast<std::uint8_t>(word[end]));
      if (node == Trie::kRoot) break;
      ++end;
      if (trie.value(node) == Trie::kNone) continue;
      longest = trie.value(node);
      longest_end = end;
    }
    if (longest == Trie::kNone) {
      ids.resize(first);
      return ids.push_back(unk_id_);
    }
    ids.push_back(longest);
    begin = longest_end;
  }
}

}  // namespace pajamas
