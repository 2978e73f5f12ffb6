// Runs Rules over bytes: sets of stacks, one byte at a time, and whole subtrees of the token trie at once. This is the
// plain meaning of a grammar; masks made ahead (text/grammar/masks.h) must agree with it bit for bit.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/grammar/rules.h"
#include "text/grammar/token_trie.h"

namespace pajamas::grammar {

/// Calls open at once; deeper nesting is not allowed by any mask. JSON of 500 nested arrays is past any use.
constexpr std::int32_t kMaxDepth = 512;
/// Readings of one text alive at once; more only come from grammars that are ambiguous without bound.
constexpr std::size_t kMaxStacks = 512;

/// What lies below the lowest frame that a walk knows.
constexpr std::int32_t kUnknownBelow = -1;
constexpr std::int32_t kNothingBelow = -2;

/// One reading of the text: the state it is in, and how often the counted rule of that state was gone through.
struct Item {
  std::int32_t state;
  std::int32_t link;  ///< The frame to return to: an index into Walker::links, or one of the two above.
  std::uint32_t count;
};

/// A frame to return to.
struct Link {
  std::int32_t state;
  std::int32_t parent;
  std::int32_t depth;  ///< Known frames up to and including this one.
};

/// Scratch of one thread; keeps its memory between uses.
class Walker {
 public:
  std::vector<Item> items;
  std::vector<Link> links;

  void reset(const Rules& rules) {
    rules_ = &rules;
    items.clear();
    links.clear();
    max_depth = 0;
  }
  /// Appends to `items` where items [begin, end) stand after `byte`, each reading once. True when some reading would
  /// have to return to what is not known (its frames below then decide about this byte).
  bool step(std::size_t begin, std::size_t end, std::uint8_t byte);
  /// Replaces all items by those after `byte`; false (and no items) when there are none.
  bool advance(std::uint8_t byte);
  /// Whether the text may end in items [begin, end), whose frames must all be known.
  bool is_complete(std::size_t begin, std::size_t end) const;
  /// Bytes that some item may take next; all frames must be known.
  ByteSet next_bytes() const;

  /// Walks the tokens below and at `root` (whose own byte is taken first) from the items [begin, items.size()).
  /// `accept(first, last)` gets ranges of TokenTrie::order(); `ask_below(node)` the nodes whose byte the frame below
  /// must take. Returns the number of nodes visited; items and links are as before.
  template <typename Accept, typename AskBelow>
  std::int64_t walk(const TokenTrie& trie, std::int32_t root, std::size_t begin, Accept&& accept, AskBelow&& ask_below);

  std::int32_t push(std::int32_t state, std::int32_t parent) {
    const std::int32_t depth = (parent >= 0 ? links[parent].depth : 0) + 1;
    links.push_back({state, parent, depth});
    if (depth > max_depth) max_depth = depth;
    return static_cast<std::int32_t>(links.size() - 1);
  }

  std::int32_t max_depth = 0;  ///< The most frames that any item had since reset().

 private:
  void emit(const Item& item);
  void step_item(Item item, std::uint8_t byte);
  bool has_equal_links(std::int32_t a, std::int32_t b) const;

  struct Level {
    std::size_t begin;
    std::size_t num_links;
  };
  const Rules* rules_ = nullptr;
  std::size_t produced_begin_ = 0;
  bool has_asked_below_ = false;
  std::vector<Level> levels_;
};

template <typename Accept, typename AskBelow>
std::int64_t Walker::walk(const TokenTrie& trie, std::int32_t root, std::size_t begin, Accept&& accept,
                          AskBelow&& ask_below) {
  const std::size_t num_items = items.size();
  const std::size_t num_links = links.size();
  const std::int32_t base = trie.node(root).depth;
  levels_.resize(static_cast<std::size_t>(trie.max_depth()) + 3);
  levels_[0] = {begin, num_links};
  levels_[1] = {num_items, num_links};
  const std::int32_t stop = trie.node(root).end;
  std::int64_t num_visited = 0;
  for (std::int32_t index = root; index < stop;) {
    const TokenTrie::Node& node = trie.node(index);
    const std::size_t level = static_cast<std::size_t>(node.depth - base);
    const std::size_t from = levels_[level].begin;
    const std::size_t to = levels_[level + 1].begin;
    ++num_visited;
    items.resize(to);
    // Most of a large walk is one reading in a state that only takes bytes.
    if (to - from == 1 && rules_->flags(items[from].state) == 0) {
      const Item item = items[from];
      const std::int32_t next = rules_->next(item.state, node.byte);
      if (next < 0) {
        index = node.end;
        continue;
      }
      items.push_back({next, item.link, 0});
      levels_[level + 2] = {to + 1, levels_[level + 1].num_links};
    } else {
      links.resize(levels_[level + 1].num_links);
      if (step(from, to, node.byte)) ask_below(index);
      if (items.size() == to) {
        index = node.end;
        continue;
      }
      levels_[level + 2] = {items.size(), links.size()};
    }
    const std::int32_t last = trie.node(index + 1).first_token;
    if (last > node.first_token) accept(node.first_token, last);
    ++index;
  }
  items.resize(num_items);
  links.resize(num_links);
  return num_visited;
}

}  // namespace pajamas::grammar
