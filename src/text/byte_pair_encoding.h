// Byte-pair encoding (Sennrich et al. 2016) with a vocabulary and ranked merges, and the byte alphabet of GPT-2 that
// lets it speak of bytes in printable characters. What a word is, the tokenizer on top decides.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace pajamas {

class JsonReader;

/// The printable character that stands for each byte in vocabularies made like GPT-2's, as UTF-8: the byte itself where
/// it is printable in Latin-1, else U+0100 upwards in the order of the bytes.
const std::string& printable_byte(std::uint8_t byte);

/// Immutable after construction; shareable between threads.
class BytePairEncoding {
 public:
  /// Reads vocab.json (token to id) and merges.txt (one pair a line, best first; a first line "#version" is skipped).
  /// Throws Error{kBadInput} naming file and line for anything else: a merge whose parts or result have no id, ids
  /// given twice, out of range.
  ///
  /// The same path twice is a tokenizer.json (the tokenizers library), which holds both: model.vocab, model.merges
  /// (each a text of two tokens with a space between, or an array of two) and added_tokens, which join the vocabulary
  /// where they are not in it.
  BytePairEncoding(const std::filesystem::path& vocab_json, const std::filesystem::path& merges_txt);

  std::int64_t vocab_size() const { return static_cast<std::int64_t>(id_by_token_.size()); }
  std::optional<std::int64_t> find_token(std::string_view token) const;

  /// Appends the ids of one word. `symbols` are its smallest units as the vocabulary writes them; one that has no id
  /// becomes `unknown_id`. The best-ranked pair is merged first, the leftmost of equals, until none is left:
  /// n log n in the number of symbols.
  void encode(const std::vector<std::string>& symbols, std::int64_t unknown_id, std::vector<std::int64_t>& ids) const;

 private:
  struct Merge {
    std::int32_t rank;
    std::int32_t id;
  };
  struct StringHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  static std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
  }
  void read_tokenizer_json(const std::filesystem::path& path);
  void read_vocab(const JsonReader& vocab);
  void read_merges(const std::filesystem::path& path);
  /// Gives the merge the next rank; false when the vocabulary lacks a part of it or its result.
  bool add_merge(std::string_view left, std::string_view right);

  std::int32_t next_rank_ = 0;
  std::unordered_map<std::string, std::int32_t, StringHash, std::equal_to<>> id_by_token_;
  std::unordered_map<std::uint64_t, Merge> merge_by_pair_;
};

}  // namespace pajamas
