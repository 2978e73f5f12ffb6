// The hash tables of the encoders: open addressing in one array each, built once and then only read. Keys come from
// files of strangers, so the hash is seeded by the process: nobody can choose keys that collide.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "text/tokenizer/definition.h"

namespace pajamas {

/// Random, the same for the whole process.
std::uint64_t hash_seed();

inline std::uint64_t mix_hash(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

/// Multiplies and folds 8 bytes at a time.
inline std::uint64_t hash_text(std::string_view text, std::uint64_t seed) {
  constexpr std::uint64_t kFirst = 0x9E3779B97F4A7C15ULL, kSecond = 0xD1B54A32D192ED03ULL;
  std::uint64_t state = seed ^ mix_hash(text.size() ^ kFirst, kSecond);
  const char* data = text.data();
  std::size_t left = text.size();
  while (left >= 8) {
    std::uint64_t block = 0;
    std::memcpy(&block, data, 8);
    state = mix_hash(state ^ block, kSecond);
    data += 8;
    left -= 8;
  }
  std::uint64_t rest = 0;
  if (left >= 4) {
    std::uint32_t low = 0, high = 0;  // They overlap, which tells lengths 4 to 7 apart together with the size above.
    std::memcpy(&low, data, 4);
    std::memcpy(&high, data + left - 4, 4);
    rest = static_cast<std::uint64_t>(high) << 32 | low;
  } else if (left > 0) {
    rest = static_cast<std::uint64_t>(static_cast<std::uint8_t>(data[0])) << 16 |
           static_cast<std::uint64_t>(static_cast<std::uint8_t>(data[left / 2])) << 8 |
           static_cast<std::uint8_t>(data[left - 1]);
  }
  return mix_hash(state ^ rest ^ kFirst, kSecond ^ seed);
}

/// Text to id. The texts stay in a pool that outlives the table.
class TokenTable {
 public:
  static constexpr std::int32_t kNone = -1;

  explicit TokenTable(std::size_t num_tokens = 0);
  /// Returns the id that the text has already, or kNone after inserting `id`. `id` is the text's index in the pool.
  std::int32_t insert(const TextPool& pool, std::int32_t id);
  std::int32_t find(const TextPool& pool, std::string_view text) const;

 private:
  struct Slot {
    std::uint32_t tag = 0;
    std::int32_t id = kNone;
  };
  std::vector<Slot> slots_;
  std::uint64_t seed_;
};

/// A merge as looked up by its pair.
struct PairMerge {
  std::uint32_t rank = UINT32_MAX;  ///< UINT32_MAX: the pair does not merge.
  std::int32_t result = -1;
};

class MergeTable {
 public:
  explicit MergeTable(std::size_t num_merges = 0);
  /// A pair that is there already gets the new merge, as Hugging Face's tokenizers have it.
  void insert(const Merge& merge);
  PairMerge find(std::int32_t left, std::int32_t right) const {
    std::size_t index = slot_of(left, right);
    while (true) {
      const Slot& slot = slots_[index];
      if (slot.left == left && slot.right == right) return slot.merge;
      if (slot.left < 0) return {};
      index = (index + 1) & mask_;
    }
  }
  bool empty() const { return size_ == 0; }

 private:
  struct Slot {
    std::int32_t left = -1, right = -1;
    PairMerge merge;
  };
  std::size_t slot_of(std::int32_t left, std::int32_t right) const {
    const std::uint64_t key =
        static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
    return static_cast<std::size_t>(mix_hash(key ^ seed_, 0x9E3779B97F4A7C15ULL)) & mask_;
  }
  std::vector<Slot> slots_;
  std::size_t mask_ = 0;
  std::size_t size_ = 0;
  std::uint64_t seed_;
};

/// Bytes to values by common prefixes; edges are one hash table.
class Trie {
 public:
  static constexpr std::int32_t kNone = -1;
  static constexpr std::uint32_t kRoot = 0;

  /// Room for so many bytes of texts; grows beyond.
  explicit Trie(std::size_t num_bytes = 0);
  /// The value that the text had, which stays, or kNone after setting it.
  std::int32_t insert(std::string_view text, std::int32_t value);
  /// The node after `node` by `byte`, or kRoot when there is none.
  std::uint32_t step(std::uint32_t node, std::uint8_t byte) const {
    const std::uint64_t key = static_cast<std::uint64_t>(node) << 8 | byte;
    std::size_t index = slot_of(key);
    while (edges_[index].target != kRoot) {
      if (edges_[index].key == key) return edges_[index].target;
      index = (index + 1) & mask_;
    }
    return kRoot;
  }
  /// The value of the text that ends in `node`, or kNone.
  std::int32_t value(std::uint32_t node) const { return values_[node]; }
  bool empty() const { return values_.size() == 1; }

 private:
  struct Edge {
    std::uint64_t key = 0;
    std::uint32_t target = kRoot;
  };
  std::size_t slot_of(std::uint64_t key) const {
    return static_cast<std::size_t>(mix_hash(key ^ seed_, 0x9E3779B97F4A7C15ULL)) & mask_;
  }
  void grow();
  std::vector<Edge> edges_;
  std::vector<std::int32_t> values_;
  std::size_t mask_ = 0;
  std::uint64_t seed_;
};

/// Which characters may stand side by side within a token. Answers "perhaps" or "surely not": one bit for each hash of
/// a pair. Where it says "surely not", a text can be cut without changing its tokens.
class JoinFilter {
 public:
  JoinFilter() : bits_(kNumBits / 64) {}
  void add(char32_t left, char32_t right) {
    const std::size_t bit = bit_of(left, right);
    bits_[bit / 64] |= std::uint64_t{1} << (bit % 64);
  }
  bool may_join(char32_t left, char32_t right) const {
    const std::size_t bit = bit_of(left, right);
    return (bits_[bit / 64] >> (bit % 64) & 1) != 0;
  }

 private:
  /// 128 KB: with the some 60,000 pairs of large vocabularies, 6 % of the others are taken for pairs.
  static constexpr std::size_t kNumBits = 1 << 20;
  static std::size_t bit_of(char32_t left, char32_t right) {
    const std::uint64_t key = static_cast<std::uint64_t>(left) << 32 | right;
    return static_cast<std::size_t>(key * 0x9E3779B97F4A7C15ULL >> 44);
  }
  std::vector<std::uint64_t> bits_;
};

}  // namespace pajamas
