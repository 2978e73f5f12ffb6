// Making, keeping and adding up masks. See masks.h.
#include "text/grammar/masks.h"

#include <algorithm>
#include <array>

#include "base/cancel.h"

namespace pajamas::grammar {
namespace {

void set_token(std::span<std::uint32_t> bits, std::int32_t token) {
  bits[static_cast<std::size_t>(token) >> 5] |= std::uint32_t{1} << (token & 31);
}

/// Frames below that are looked for ahead at compile; the rest is made when met.
constexpr std::size_t kMaxReturnStates = 64;
/// Frames of a chain made ahead, and the trie nodes that it must still leave open to be worth it.
constexpr int kMaxChain = 4;
constexpr std::int64_t kManyNodes = 1000;

}  // namespace

struct CompiledGrammar::CountTable {
  struct Exit {
    std::int32_t node;
    std::uint32_t count;  ///< Repetitions done before the node.
  };
  /// Tokens by the repetitions they begin or go on with; begin_of[n] is the first that needs n.
  std::vector<std::int32_t> tokens;
  std::vector<std::size_t> begin_of;
  /// Bitmaps of what needs at most `max_needed`, ascending.
  struct Prefix {
    std::uint32_t max_needed;
    std::vector<std::uint32_t> bitmap;
  };
  std::vector<Prefix> prefixes;
  std::vector<Exit> exits;  ///< By node.
  std::uint32_t max_needed = 0;
  std::uint32_t max_exit = 0;
};

CompiledGrammar::CompiledGrammar(Rules rules, std::shared_ptr<const TokenTrie> trie, std::size_t max_mask_bytes)
    : rules_(std::move(rules)),
      trie_(std::move(trie)),
      max_mask_bytes_(max_mask_bytes),
      by_state_(static_cast<std::size_t>(rules_.num_states())) {}

CompiledGrammar::~CompiledGrammar() = default;

Walker& thread_walker(const Rules& rules) {
  thread_local Walker walker;
  walker.reset(rules);
  return walker;
}

std::size_t Mask::num_bytes() const {
  return sizeof(Mask) + 4 * (own_bitmap.capacity() + own_tokens.capacity() + asked_below.capacity());
}

MaskRef CompiledGrammar::keep(std::unordered_map<std::uint64_t, std::unique_ptr<Mask>>& masks, std::uint64_t key,
                              std::unique_ptr<Mask> mask) const {
  const auto size = static_cast<std::int64_t>(mask->num_bytes()) + 64;
  const std::unique_lock lock(mutex_);
  const auto found = masks.find(key);
  if (found != masks.end()) return {found->second.get(), nullptr};
  if (mask_bytes_.load() + size > static_cast<std::int64_t>(max_mask_bytes_)) {
    const Mask* pointer = mask.get();
    return {pointer, std::move(mask)};
  }
  mask->id = next_id_.fetch_add(1);
  mask_bytes_ += size;
  ++num_masks_;
  return {masks.emplace(key, std::move(mask)).first->second.get(), nullptr};
}

std::unique_ptr<Mask> CompiledGrammar::made(std::int32_t state, std::span<const std::int32_t> nodes) const {
  auto mask = std::make_unique<Mask>();
  Walker& walker = thread_walker(rules_);
  walker.items.push_back({state, kUnknownBelow, 0});
  ByteSet bytes = rules_.first_bytes(state);
  if ((rules_.flags(state) & Rules::kFinal) != 0) bytes |= rules_.rule_of(state).follow;
  const std::vector<std::int32_t>& order = trie_->order();
  std::int64_t num_visited = static_cast<std::int64_t>(nodes.size()) / 4;
  for (const std::int32_t node : nodes) {
    if (!bytes[trie_->node(node).byte]) continue;
    num_visited += walker.walk(
        *trie_, node, 0,
        [&](std::int32_t first, std::int32_t last) {
          for (std::int32_t i = first; i < last; ++i) mask->own_tokens.push_back(order[static_cast<std::size_t>(i)]);
        },
        [&](std::int32_t below) { mask->asked_below.push_back(below); });
  }
  mask->max_depth = walker.max_depth;
  num_nodes_visited_ += num_visited;
  // Subtrees may have been asked for twice, by ways that met in them.
  std::sort(mask->asked_below.begin(), mask->asked_below.end());
  mask->asked_below.erase(std::unique(mask->asked_below.begin(), mask->asked_below.end()), mask->asked_below.end());
  mask->asked_below.shrink_to_fit();
  if (mask->own_tokens.size() > trie_->num_mask_words()) {
    mask->own_bitmap.assign(trie_->num_mask_words(), 0);
    for (const std::int32_t token : mask->own_tokens) set_token(mask->own_bitmap, token);
    mask->own_tokens = {};
    mask->bitmap = mask->own_bitmap.data();
  }
  mask->own_tokens.shrink_to_fit();
  mask->tokens = mask->own_tokens;
  return mask;
}

const CompiledGrammar::CountTable& CompiledGrammar::count_table(std::int32_t state) const {
  // Rules with equal bodies share the tables of their states.
  const Rules::Rule& rule = rules_.rule_of(state);
  const std::uint64_t key =
      static_cast<std::uint64_t>(rule.body) << 32 | static_cast<std::uint32_t>(state - rule.first_state);
  {
    const std::shared_lock lock(mutex_);
    const auto found = count_tables_.find(key);
    if (found != count_tables_.end()) return *found->second;
  }
  ByteSet follow;
  for (const Rules::Rule& other : rules_.rules()) {
    if (other.body == rule.body) follow |= other.follow;
  }
  auto table = std::make_unique<CountTable>();
  struct Place {
    std::int32_t state;
    std::uint32_t count;
  };
  std::vector<Place> places(static_cast<std::size_t>(trie_->max_depth()) + 1);
  places[0] = {state, 0};
  struct Run {
    std::int32_t first;
    std::int32_t last;
    std::uint32_t needed;
  };
  std::vector<Run> runs;
  std::int64_t num_visited = 0;
  for (std::int32_t index = 0; index < trie_->num_nodes();) {
    const TokenTrie::Node& node = trie_->node(index);
    const Place place = places[node.depth - 1U];
    ++num_visited;
    if (place.state == rule.start && follow[node.byte]) {
      table->exits.push_back({index, place.count});
      table->max_exit = std::max(table->max_exit, place.count);
    }
    const std::int32_t next = rules_.next(place.state, node.byte);
    if (next < 0) {
      index = node.end;
      continue;
    }
    const bool is_done = next == rule.iteration_end;
    Place& after = places[node.depth];
    after = {is_done ? rule.start : next, place.count + (is_done ? 1U : 0U)};
    const std::int32_t last = trie_->node(index + 1).first_token;
    if (last > node.first_token) {
      const std::uint32_t needed = after.count + (is_done ? 0U : 1U);
      runs.push_back({node.first_token, last, needed});
      table->max_needed = std::max(table->max_needed, needed);
    }
    ++index;
  }
  num_nodes_visited_ += num_visited;

  table->begin_of.assign(std::size_t{table->max_needed} + 2, 0);
  for (const Run& run : runs) table->begin_of[run.needed + 1U] += static_cast<std::size_t>(run.last - run.first);
  for (std::size_t i = 1; i < table->begin_of.size(); ++i) table->begin_of[i] += table->begin_of[i - 1];
  table->tokens.resize(table->begin_of.back());
  std::vector<std::size_t> at(table->begin_of.begin(), table->begin_of.end());
  for (const Run& run : runs) {
    for (std::int32_t i = run.first; i < run.last; ++i) table->tokens[at[run.needed]++] = trie_->order()[i];
  }
  // A bitmap wherever more tokens came together than are quickly set one by one.
  const std::size_t max_single = trie_->num_mask_words() / 2;
  std::vector<std::uint32_t> bitmap(trie_->num_mask_words(), 0);
  std::size_t num_set = 0;
  std::size_t num_in_last = 0;
  for (std::uint32_t needed = 0; needed <= table->max_needed; ++needed) {
    for (; num_set < table->begin_of[needed + 1U]; ++num_set) set_token(bitmap, table->tokens[num_set]);
    if (num_set - num_in_last > max_single) {
      table->prefixes.push_back({needed, bitmap});
      num_in_last = num_set;
    }
  }
  const std::size_t size = 4 * table->tokens.size() + 8 * table->begin_of.size() + 8 * table->exits.size() +
                           table->prefixes.size() * trie_->num_mask_words() * 4;
  const std::unique_lock lock(mutex_);
  const auto [found, is_new] = count_tables_.try_emplace(key, std::move(table));
  if (is_new) mask_bytes_ += static_cast<std::int64_t>(size);
  return *found->second;
}

MaskRef CompiledGrammar::counted_mask(std::int32_t state, std::uint32_t count) const {
  const Rules::Rule& rule = rules_.rule_of(state);
  const CountTable& table = count_table(state);
  // Bounds further off than any token reaches are the same bound.
  const std::uint32_t reach = std::max(table.max_needed, table.max_exit);
  const std::uint32_t lowest = std::min(rule.min_count > count ? rule.min_count - count : 0U, reach + 1);
  const std::uint32_t highest = std::min(rule.max_count - count, reach);
  const std::uint64_t key = static_cast<std::uint64_t>(state) << 32 | lowest << 16 | highest;
  {
    const std::shared_lock lock(mutex_);
    const auto found = counted_masks_.find(key);
    if (found != counted_masks_.end()) return {found->second.get(), nullptr};
  }
  auto mask = std::make_unique<Mask>();
  std::size_t begin = 0;
  for (const CountTable::Prefix& prefix : table.prefixes) {
    if (prefix.max_needed > highest) break;
    mask->bitmap = prefix.bitmap.data();
    begin = table.begin_of[prefix.max_needed + 1U];
  }
  const std::size_t end = table.begin_of[std::min(highest, table.max_needed) + 1U];
  mask->tokens = std::span(table.tokens).subspan(begin, end - begin);
  for (const CountTable::Exit& exit : table.exits) {
    if (exit.count < lowest || exit.count > highest) continue;
    if (rule.follow[trie_->node(exit.node).byte]) mask->asked_below.push_back(exit.node);
  }
  mask->asked_below.shrink_to_fit();
  return keep(counted_masks_, key, std::move(mask));
}

MaskRef CompiledGrammar::mask_of(std::int32_t state, std::uint32_t count) const {
  if ((rules_.flags(state) & Rules::kCounted) != 0) return counted_mask(state, count);
  std::atomic<const Mask*>& slot = by_state_[static_cast<std::size_t>(state)];
  if (const Mask* mask = slot.load(std::memory_order_acquire); mask != nullptr) return {mask, nullptr};
  std::vector<std::int32_t> roots;
  for (int byte = 0; byte < 256; ++byte) {
    const std::int32_t root = trie_->root_child(static_cast<std::uint8_t>(byte));
    if (root >= 0) roots.push_back(root);
  }
  MaskRef ref = keep(state_masks_, static_cast<std::uint64_t>(state), made(state, roots));
  if (ref.owned == nullptr) slot.store(ref.mask, std::memory_order_release);
  return ref;
}

MaskRef CompiledGrammar::mask_below(const Mask& above, std::int32_t state) const {
  const std::uint64_t key = static_cast<std::uint64_t>(above.id) << 32 | static_cast<std::uint32_t>(state);
  if (above.id != 0) {
    const std::shared_lock lock(mutex_);
    const auto found = below_masks_.find(key);
    if (found != below_masks_.end()) return {found->second.get(), nullptr};
  }
  std::unique_ptr<Mask> mask = made(state, above.asked_below);
  if (above.id != 0) return keep(below_masks_, key, std::move(mask));
  const Mask* pointer = mask.get();
  return {pointer, std::move(mask)};
}

void CompiledGrammar::add_stack(std::span<const std::int32_t> frames, std::uint32_t count, bool is_clear,
                                std::span<std::uint32_t> bits) const {
  auto depth = static_cast<std::int32_t>(frames.size()) - 1;
  std::int32_t frame = depth;
  MaskRef ref = mask_of(frames[static_cast<std::size_t>(frame)], count);
  if (is_clear) {
    if (ref.mask->bitmap != nullptr) {
      std::copy_n(ref.mask->bitmap, bits.size(), bits.data());
    } else {
      std::fill(bits.begin(), bits.end(), 0U);
    }
  }
  while (true) {
    // Masks know nothing of the bound on depth, so near it they are not used.
    if (depth + ref.mask->max_depth > kMaxDepth) {
      if (is_clear) std::fill(bits.begin(), bits.end(), 0U);
      walk_stack(frames, count, bits);
      return;
    }
    if (ref.mask->bitmap != nullptr && !(is_clear && frame == static_cast<std::int32_t>(frames.size()) - 1)) {
      for (std::size_t i = 0; i < bits.size(); ++i) bits[i] |= ref.mask->bitmap[i];
    }
    for (const std::int32_t token : ref.mask->tokens) set_token(bits, token);
    if (ref.mask->asked_below.empty() || frame == 0) return;
    --frame;
    --depth;
    ref = mask_below(*ref.mask, frames[static_cast<std::size_t>(frame)]);
  }
}

void CompiledGrammar::walk_stack(std::span<const std::int32_t> frames, std::uint32_t count,
                                 std::span<std::uint32_t> bits) const {
  Walker& walker = thread_walker(rules_);
  std::int32_t link = kNothingBelow;
  for (std::size_t i = 0; i + 1 < frames.size(); ++i) link = walker.push(frames[i], link);
  walker.items.push_back({frames.back(), link, count});
  for (int byte = 0; byte < 256; ++byte) {
    const std::int32_t root = trie_->root_child(static_cast<std::uint8_t>(byte));
    if (root < 0) continue;
    walker.walk(
        *trie_, root, 0,
        [&](std::int32_t first, std::int32_t last) {
          for (std::int32_t i = first; i < last; ++i) set_token(bits, trie_->order()[static_cast<std::size_t>(i)]);
        },
        [](std::int32_t) {});
  }
}

void CompiledGrammar::make_ahead(std::int64_t max_nodes, const CancelToken* cancel) {
  const auto may_go_on = [&] {
    if (cancel != nullptr) cancel->check("making the masks of a grammar");
    return num_nodes_visited_ < max_nodes && mask_bytes_ < static_cast<std::int64_t>(max_mask_bytes_) / 2;
  };
  for (std::int32_t state = 0; state < rules_.num_states() && may_go_on(); ++state) {
    if (rules_.rule_of(state).iteration_end != state) mask_of(state, 0);
  }
  // Where rules return to: what their callers go on with, through calls that end their rule and leave no frame.
  std::vector<std::vector<std::int32_t>> returns(rules_.rules().size());
  for (std::size_t i = 0; i < returns.size(); ++i) {
    std::vector<std::int32_t> open{static_cast<std::int32_t>(i)};
    std::vector<bool> is_met(returns.size(), false);
    while (!open.empty() && returns[i].size() < kMaxReturnStates) {
      const std::int32_t rule = open.back();
      open.pop_back();
      if (is_met[rule]) continue;
      is_met[rule] = true;
      for (const std::int32_t state : rules_.rules()[rule].return_states) {
        if ((rules_.flags(state) & Rules::kStop) != 0) {
          open.push_back(rules_.rule_index(state));
        } else {
          returns[i].push_back(state);
        }
      }
    }
  }
  struct Chain {
    const Mask* mask;
    std::int32_t rule;
    int depth;
  };
  std::vector<Chain> open;
  for (std::int32_t state = 0; state < rules_.num_states() && may_go_on(); ++state) {
    const Rules::Rule& rule = rules_.rule_of(state);
    if (rule.iteration_end == state) continue;
    const MaskRef mask = mask_of(state, rule.body >= 0 && rule.max_count > 1 ? 1 : 0);
    if (mask.owned == nullptr) open.push_back({mask.mask, rules_.rule_index(state), 1});
  }
  for (std::size_t i = 0; i < open.size(); ++i) {
    const Chain chain = open[i];
    // The first level always, deeper ones where making them when met would be felt.
    std::int64_t num_nodes = 0;
    for (const std::int32_t node : chain.mask->asked_below) num_nodes += trie_->node(node).end - node;
    if (num_nodes < (chain.depth == 1 ? 1 : kManyNodes) || chain.depth > kMaxChain) continue;
    for (const std::int32_t below : returns[static_cast<std::size_t>(chain.rule)]) {
      if (!may_go_on()) return;
      const MaskRef mask = mask_below(*chain.mask, below);
      if (mask.owned == nullptr) open.push_back({mask.mask, rules_.rule_index(below), chain.depth + 1});
    }
  }
}

}  // namespace pajamas::grammar
