// Building the trie from the sorted tokens. See token_trie.h.
#include "text/grammar/token_trie.h"

#include <algorithm>

#include "pajamas/error.h"

namespace pajamas::grammar {
namespace {

constexpr std::size_t kMaxTokens = std::size_t{1} << 24;
/// No published vocabulary has tokens of more than a few hundred bytes; the depth is kept in 16 bits.
constexpr std::size_t kMaxTokenBytes = 4096;

}  // namespace

TokenTrie::TokenTrie(std::span<const std::string_view> token_bytes, std::span<const std::int64_t> end_of_text_ids,
                     std::span<const std::int64_t> special_ids) {
  if (token_bytes.empty()) throw Error(ErrorKind::kBadInput, "the vocabulary has no tokens");
  if (token_bytes.size() > kMaxTokens) {
    throw Error(ErrorKind::kBadInput, "the vocabulary has " + std::to_string(token_bytes.size()) +
                                          " tokens, more than " + std::to_string(kMaxTokens));
  }
  kinds_.assign(token_bytes.size(), kText);
  const auto mark = [&](std::span<const std::int64_t> ids, Kind kind) {
    for (const std::int64_t id : ids) {
      if (id < 0 || id >= static_cast<std::int64_t>(token_bytes.size())) {
        throw Error(ErrorKind::kBadInput, "special token " + std::to_string(id) + " is outside the vocabulary of " +
                                              std::to_string(token_bytes.size()) + " tokens");
      }
      kinds_[static_cast<std::size_t>(id)] = kind;
    }
  };
  mark(special_ids, kSpecial);
  mark(end_of_text_ids, kEnd);
  for (std::size_t id = 0; id < token_bytes.size(); ++id) {
    if (kinds_[id] == kEnd) end_of_text_ids_.push_back(static_cast<std::int32_t>(id));
  }

  std::size_t num_bytes = 0;
  for (const std::string_view bytes : token_bytes) num_bytes += bytes.size();
  if (num_bytes > UINT32_MAX) throw Error(ErrorKind::kBadInput, "the vocabulary has more than 4 GiB of text");
  pool_.reserve(num_bytes);
  for (std::size_t id = 0; id < token_bytes.size(); ++id) {
    first_byte_.push_back(static_cast<std::uint32_t>(pool_.size()));
    if (kinds_[id] != kText) continue;
    if (token_bytes[id].size() > kMaxTokenBytes) {
      throw Error(ErrorKind::kBadInput, "token " + std::to_string(id) + " has " +
                                            std::to_string(token_bytes[id].size()) + " bytes, more than " +
                                            std::to_string(kMaxTokenBytes));
    }
    pool_ += token_bytes[id];
    if (!token_bytes[id].empty()) order_.push_back(static_cast<std::int32_t>(id));
    for (const char c : token_bytes[id]) spellable_.set(static_cast<std::uint8_t>(c));
  }
  first_byte_.push_back(static_cast<std::uint32_t>(pool_.size()));
  std::sort(order_.begin(), order_.end(), [&](std::int32_t a, std::int32_t b) {
    const int order = bytes(a).compare(bytes(b));
    return order != 0 ? order < 0 : a < b;
  });

  std::fill(std::begin(root_children_), std::end(root_children_), -1);
  std::vector<std::int32_t> open;  // the nodes on the way to the last one, by depth
  std::string_view last;
  for (std::size_t i = 0; i < order_.size(); ++i) {
    const std::string_view text = bytes(order_[i]);
    if (i > 0 && text == last) continue;
    std::size_t shared = 0;
    while (shared < last.size() && last[shared] == text[shared]) ++shared;
    for (; open.size() > shared; open.pop_back()) nodes_[open.back()].end = static_cast<std::int32_t>(nodes_.size());
    for (std::size_t depth = shared; depth < text.size(); ++depth) {
      const auto byte = static_cast<std::uint8_t>(text[depth]);
      const auto index = static_cast<std::int32_t>(nodes_.size());
      if (depth == 0) root_children_[byte] = index;
      open.push_back(index);
      nodes_.push_back({0, static_cast<std::int32_t>(i), static_cast<std::uint16_t>(depth + 1), byte});
    }
    max_depth_ = std::max(max_depth_, static_cast<std::int32_t>(text.size()));
    last = text;
  }
  for (const std::int32_t node : open) nodes_[node].end = static_cast<std::int32_t>(nodes_.size());
  nodes_.push_back({0, static_cast<std::int32_t>(order_.size()), 0, 0});
}

}  // namespace pajamas::grammar
