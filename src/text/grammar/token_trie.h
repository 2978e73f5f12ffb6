// The tokens of a vocabulary as a trie over bytes, flattened so that a walk is a run over arrays: nodes in the order of
// a depth-first walk by bytes, each with the index behind its subtree.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/grammar/automaton.h"

namespace pajamas::grammar {

/// Immutable after construction.
class TokenTrie {
 public:
  struct Node {
    std::int32_t end;          ///< Index behind the last node of the subtree; a subtree is [node, end).
    std::int32_t first_token;  ///< Tokens spelled by the way to this node: order()[first_token .. next node's).
    std::uint16_t depth;       ///< Bytes on the way here, 1 or more.
    std::uint8_t byte;         ///< The last of them.
  };

  /// See TokenVocabulary.
  TokenTrie(std::span<const std::string_view> token_bytes, std::span<const std::int64_t> end_of_text_ids,
            std::span<const std::int64_t> special_ids);

  std::int32_t vocab_size() const { return static_cast<std::int32_t>(first_byte_.size()) - 1; }
  std::size_t num_mask_words() const { return (static_cast<std::size_t>(vocab_size()) + 31) / 32; }
  std::string_view bytes(std::int32_t token_id) const {
    return std::string_view(pool_).substr(first_byte_[token_id], first_byte_[token_id + 1] - first_byte_[token_id]);
  }
  bool is_end_of_text(std::int32_t token_id) const { return kinds_[token_id] == kEnd; }
  bool is_special(std::int32_t token_id) const { return kinds_[token_id] != kText; }
  const std::vector<std::int32_t>& end_of_text_ids() const { return end_of_text_ids_; }

  std::int32_t num_nodes() const { return static_cast<std::int32_t>(nodes_.size()) - 1; }
  /// Node `num_nodes()` is a sentinel whose first_token ends the last node's tokens.
  const Node& node(std::int32_t index) const { return nodes_[index]; }
  /// Token ids sorted by their bytes.
  const std::vector<std::int32_t>& order() const { return order_; }
  /// First node by first byte, -1 where no token begins with it.
  std::int32_t root_child(std::uint8_t byte) const { return root_children_[byte]; }
  std::int32_t max_depth() const { return max_depth_; }
  /// Bytes that some token holds.
  const ByteSet& spellable() const { return spellable_; }

 private:
  enum Kind : std::uint8_t { kText, kSpecial, kEnd };
  std::string pool_;
  std::vector<std::uint32_t> first_byte_;
  std::vector<Kind> kinds_;
  std::vector<std::int32_t> end_of_text_ids_;
  std::vector<Node> nodes_;
  std::vector<std::int32_t> order_;
  std::int32_t root_children_[256];
  std::int32_t max_depth_ = 0;
  ByteSet spellable_;
};

}  // namespace pajamas::grammar
