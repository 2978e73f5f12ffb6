// Building the tables of flat_tables.h. All are at most two thirds full, so a search always meets an empty slot.
#include "text/tokenizer/flat_tables.h"

#include <algorithm>
#include <random>

namespace pajamas {
namespace {

std::size_t num_slots(std::size_t num_entries) { return std::bit_ceil(std::max<std::size_t>(16, num_entries * 3 / 2)); }

}  // namespace

std::uint64_t hash_seed() {
  static const std::uint64_t seed = [] {
    std::random_device device;
    return static_cast<std::uint64_t>(device()) << 32 | device() | 1;
  }();
  return seed;
}

TokenTable::TokenTable(std::size_t num_tokens) : slots_(num_slots(num_tokens)), seed_(hash_seed()) {}

std::int32_t TokenTable::insert(const TextPool& pool, std::int32_t id) {
  const std::string_view text = pool[static_cast<std::size_t>(id)];
  const std::uint64_t hash = hash_text(text, seed_);
  const std::size_t mask = slots_.size() - 1;
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  for (std::size_t index = hash & mask;; index = (index + 1) & mask) {
    Slot& slot = slots_[index];
    if (slot.id == kNone) {
      slot = {tag, id};
      return kNone;
    }
    if (slot.tag == tag && pool[static_cast<std::size_t>(slot.id)] == text) return slot.id;
  }
}

std::int32_t TokenTable::find(const TextPool& pool, std::string_view text) const {
  const std::uint64_t hash = hash_text(text, seed_);
  const std::size_t mask = slots_.size() - 1;
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  for (std::size_t index = hash & mask;; index = (index + 1) & mask) {
    const Slot& slot = slots_[index];
    if (slot.id == kNone) return kNone;
    if (slot.tag == tag && pool[static_cast<std::size_t>(slot.id)] == text) return slot.id;
  }
}

MergeTable::MergeTable(std::size_t num_merges)
    : slots_(num_slots(num_merges)), mask_(slots_.size() - 1), seed_(hash_seed()) {}

void MergeTable::insert(const Merge& merge) {
  std::size_t index = slot_of(merge.left, merge.right);
  while (slots_[index].left >= 0) {
    if (slots_[index].left == merge.left && slots_[index].right == merge.right) break;
    index = (index + 1) & mask_;
  }
  if (slots_[index].left < 0) ++size_;
  slots_[index] = {merge.left, merge.right, {static_cast<std::uint32_t>(merge.rank), merge.result}};
}

Trie::Trie(std::size_t num_bytes)
    : edges_(num_slots(num_bytes)), values_(1, kNone), mask_(edges_.size() - 1), seed_(hash_seed()) {}

void Trie::grow() {
  std::vector<Edge> old(edges_.size() * 2);
  old.swap(edges_);
  mask_ = edges_.size() - 1;
  for (const Edge& edge : old) {
    if (edge.target == kRoot) continue;
    std::size_t index = slot_of(edge.key);
    while (edges_[index].target != kRoot) index = (index + 1) & mask_;
    edges_[index] = edge;
  }
}

std::int32_t Trie::insert(std::string_view text, std::int32_t value) {
  std::uint32_t node = kRoot;
  for (const char c : text) {
    const std::uint64_t key = static_cast<std::uint64_t>(node) << 8 | static_cast<std::uint8_t>(c);
    std::size_t index = slot_of(key);
    while (edges_[index].target != kRoot && edges_[index].key != key) index = (index + 1) & mask_;
    if (edges_[index].target == kRoot) {
      if (values_.size() * 3 > edges_.size() * 2) {
        grow();
        index = slot_of(key);
        while (edges_[index].target != kRoot) index = (index + 1) & mask_;
      }
      edges_[index] = {key, static_cast<std::uint32_t>(values_.size())};
      values_.push_back(kNone);
    }
    node = edges_[index].target;
  }
  if (values_[node] != kNone) return values_[node];
  values_[node] = value;
  return kNone;
}

}  // namespace pajamas
