// What the three models of tokenizers share: a word in, ids out, and the memory an encoder works in.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/flat_tables.h"

namespace pajamas {

/// Ids of words met before, each entry one cache line. A direct map: a new word takes the place of the old one, so its
/// memory is fixed. One thread at a time.
class WordCache {
 public:
  static constexpr std::size_t kMaxWordBytes = 30;
  static constexpr std::size_t kMaxIds = 7;

  WordCache() : entries_(kNumEntries), seed_(hash_seed()) {}

  /// A place for `word`, which has at most kMaxWordBytes bytes: holds its ids already when `is_hit`.
  struct Place {
    std::size_t index;
    std::uint32_t tag;
    bool is_hit;
  };
  Place find(std::string_view word) const {
    const std::uint64_t hash = hash_text(word, seed_);
    const std::size_t index = hash & (kNumEntries - 1);
    const auto tag = static_cast<std::uint32_t>(hash >> 32);
    const Entry& entry = entries_[index];
    const bool is_hit = entry.num_bytes == word.size() && entry.tag == tag &&
                        std::memcmp(entry.bytes.data(), word.data(), word.size()) == 0;
    return {index, tag, is_hit};
  }
  void append_ids(const Place& place, std::vector<std::int32_t>& ids) const {
    const Entry& entry = entries_[place.index];
    if (entry.num_ids == 1) {
      ids.push_back(entry.ids[0]);
    } else {
      ids.insert(ids.end(), entry.ids.begin(), entry.ids.begin() + entry.num_ids);
    }
  }
  /// Remembers at most kMaxIds ids; more are left out.
  void store(const Place& place, std::string_view word, const std::int32_t* ids, std::size_t num_ids) {
    if (num_ids > kMaxIds) return;
    Entry& entry = entries_[place.index];
    entry.tag = place.tag;
    entry.num_bytes = static_cast<std::uint8_t>(word.size());
    entry.num_ids = static_cast<std::uint8_t>(num_ids);
    std::copy(word.begin(), word.end(), entry.bytes.begin());
    std::copy(ids, ids + num_ids, entry.ids.begin());
  }

 private:
  /// 1 MB, which fits the second-level cache of today's CPUs.
  static constexpr std::size_t kNumEntries = 1 << 14;
  struct alignas(64) Entry {
    std::uint32_t tag = 0;
    std::uint8_t num_bytes = 0;  ///< 0: empty.
    std::uint8_t num_ids = 0;
    std::array<char, kMaxWordBytes> bytes;
    std::array<std::int32_t, kMaxIds> ids;
  };
  static_assert(sizeof(Entry) == 64);
  std::vector<Entry> entries_;
  std::uint64_t seed_;
};

/// Working memory of one encode() call, kept for the next. One thread at a time.
struct EncodeScratch {
  WordCache cache;
  std::vector<std::int32_t> symbols;
  std::vector<PairMerge> merges;
  std::vector<std::uint32_t> next, previous;
  std::vector<std::uint64_t> queue;
  struct BestPath {
    double score;
    std::uint32_t begin;
    std::int32_t id;
  };
  std::vector<BestPath> paths;
  std::string text;

  /// Gives back what a very long word needed.
  void release_large();
};

/// Immutable; any thread, each with its own scratch.
class WordModel {
 public:
  virtual ~WordModel() = default;
  /// Appends the ids of a word: valid UTF-8, or any bytes where the model's tokens are bytes.
  virtual void encode(std::string_view word, EncodeScratch& scratch, std::vector<std::int32_t>& ids) const = 0;
};

/// Appends the ids of a word by way of the cache; `encode_anew(ids)` makes them when it does not have them.
template <typename EncodeAnew>
void encode_cached(std::string_view word, EncodeScratch& scratch, std::vector<std::int32_t>& ids,
                   const EncodeAnew& encode_anew) {
  if (word.empty()) return;
  if (word.size() > WordCache::kMaxWordBytes) return encode_anew(ids);
  const WordCache::Place place = scratch.cache.find(word);
  if (place.is_hit) return scratch.cache.append_ids(place, ids);
  const std::size_t begin = ids.size();
  encode_anew(ids);
  scratch.cache.store(place, word, ids.data() + begin, ids.size() - begin);
}

}  // namespace pajamas
