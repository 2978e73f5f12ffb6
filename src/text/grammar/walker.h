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
/// Calls tried for one byte; a grammar of a few thousand rules that all may begin here has more readings than that.
constexpr std::size_t kMaxCalls = 4096;

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
  /// Whether this step goes into `rule_start` above the frames `top` and `below` for the first time.
  bool is_new_call(std::int32_t rule_start, std::int32_t top, std::int32_t below);
  bool has_equal_links(std::int32_t a, std::int32_t b) const;

  /// The nodes [first, last), all of one parent and what lies below them, from the items [begin, items.size()).
  template <typename Accept, typename AskBelow>
  std::int64_t walk_nodes(const TokenTrie& trie, std::int32_t first, std::int32_t last, std::size_t begin,
                          Accept&& accept, AskBelow&& ask_below);

  const Rules* rules_ = nullptr;
  std::size_t produced_begin_ = 0;
  bool has_asked_below_ = false;
  struct MadeCall {
    std::int32_t rule_start;
    std::int32_t top;
    std::int32_t below;
  };
  std::vector<MadeCall> made_calls_;        ///< Of this step.
  std::vector<std::int32_t> plain_states_;  ///< By depth in the trie.
};

template <typename Accept, typename AskBelow>
std::int64_t Walker::walk(const TokenTrie& trie, std::int32_t root, std::size_t begin, Accept&& accept,
                          AskBelow&& ask_below) {
  plain_states_.resize(static_cast<std::size_t>(trie.max_depth()) + 2);
  return walk_nodes(trie, root, trie.node(root).end, begin, accept, ask_below);
}

template <typename Accept, typename AskBelow>
std::int64_t Walker::walk_nodes(const TokenTrie& trie, std::int32_t first, std::int32_t last, std::size_t begin,
                                Accept&& accept, AskBelow&& ask_below) {
  const std::size_t end = items.size();
  const std::size_t num_links = links.size();
  std::int64_t num_visited = 0;
  // Most of a large walk is one reading in states that only take bytes: the whole range at once, with nothing to
  // remember but the state at each depth.
  if (end - begin == 1 && rules_->flags(items[begin].state) == 0) {
    const Item item = items[begin];
    plain_states_[trie.node(first).depth - 1U] = item.state;
    for (std::int32_t index = first; index < last;) {
      const TokenTrie::Node& node = trie.node(index);
      const std::int32_t next = rules_->next(plain_states_[node.depth - 1U], node.byte);
      ++num_visited;
      if (next < 0) {
        index = node.end;
        continue;
      }
      const std::int32_t end_token = trie.node(index + 1).first_token;
      if (end_token > node.first_token) accept(node.first_token, end_token);
      if (rules_->flags(next) == 0) {
        plain_states_[node.depth] = next;
        ++index;
        continue;
      }
      if (node.end > index + 1) {
        items.push_back({next, item.link, 0});
        num_visited += walk_nodes(trie, index + 1, node.end, end, accept, ask_below);
        items.resize(end);
      }
      index = node.end;
    }
    return num_visited;
  }
  for (std::int32_t index = first; index < last;) {
    const TokenTrie::Node& node = trie.node(index);
    ++num_visited;
    if (step(begin, end, node.byte)) ask_below(index);
    if (items.size() > end) {
      const std::int32_t end_token = trie.node(index + 1).first_token;
      if (end_token > node.first_token) accept(node.first_token, end_token);
      if (node.end > index + 1) num_visited += walk_nodes(trie, index + 1, node.end, end, accept, ask_below);
      items.resize(end);
    }
    links.resize(num_links);
    index = node.end;
  }
  return num_visited;
}

}  // namespace pajamas::grammar
