// NgramModel: a word n-gram language model with back-off (Katz 1987), read from ARPA text as SRILM, KenLM and others
// write it. It scores words; what a word is, and how scores are weighted, is the caller's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pajamas {

/// Immutable and shareable between threads. 24 bytes an n-gram of two words and more, 40 and its text a word.
class NgramModel {
 public:
  using WordId = std::uint32_t;
  static constexpr std::size_t kMaxOrder = 10;

  /// The words before the next one, as far as they count.
  struct State {
    std::array<WordId, kMaxOrder - 1> words{};  ///< The last one last.
    std::size_t length = 0;
    bool operator==(const State&) const = default;
  };

  /// Throws Error{kBadInput} naming the line for text that is no ARPA model or contradicts itself: counts, orders above
  /// kMaxOrder, probabilities above 1, words without unigram, n-grams that are there twice.
  static NgramModel read(const std::filesystem::path& path);
  /// The same from memory, which is not needed afterwards; `where` names it in messages.
  static NgramModel parse(std::string_view text, const std::string& where);

  std::size_t order() const { return order_; }
  std::size_t vocab_size() const { return words_.size(); }
  const std::string& word(WordId id) const { return words_[id]; }
  std::optional<WordId> find(std::string_view word) const;
  /// Whether some word begins with `text`, or is it.
  bool has_prefix(std::string_view text) const;

  /// Behind <s>, or behind nothing where the model has no <s>.
  State begin() const;
  /// ln p(word | state); the word joins the state.
  double score(State& state, WordId word) const;
  /// The same for a word that the model does not know: that of <unk>, or kUnknownLog10 where it has none, behind which
  /// the state is empty.
  double score_unknown(State& state) const;
  /// ln p(</s> | state); 0 where the model has no </s>.
  double score_end(const State& state) const;

  static constexpr double kUnknownLog10 = -7;

 private:
  class Parser;
  static constexpr std::uint32_t kNone = UINT32_MAX;
  /// Places: of a unigram its word's id, of a longer n-gram vocab_size() + its place in entries_.
  struct Entry {
    std::uint64_t key = 0;        ///< The place of all words but the last, and the last.
    float log10_probability = 0;  ///< NaN: the n-gram is only known as the beginning of others.
    float log10_backoff = 0;
  };
  struct Unigram {
    float log10_probability = 0;
    float log10_backoff = 0;
  };

  std::uint32_t find_entry(std::uint32_t context, WordId word) const;  ///< Place, or kNone.
  std::uint32_t add_entry(std::uint32_t context, WordId word);         ///< Place of a new entry.
  std::uint32_t find_context(std::span<const WordId> words) const;
  const Entry& entry(std::uint32_t place) const { return entries_[place - words_.size()]; }
  void grow();

  std::size_t order_ = 0;
  std::vector<std::string> words_;
  std::vector<WordId> sorted_;  ///< By text.
  std::vector<Unigram> unigrams_;
  std::vector<Entry> entries_;
  std::vector<std::uint32_t> table_;  ///< Open addressing over entries_, a power of two; kNone is empty.
  std::optional<WordId> begin_, end_, unknown_;
};

}  // namespace pajamas
