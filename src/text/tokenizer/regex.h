// Regular expressions of tokenizer files that are none of the published ones, by PCRE2 with limits, so that a hostile
// pattern cannot hang. Patterns are written for Oniguruma, which Hugging Face's tokenizers use; what the two read
// differently is rewritten or refused.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace pajamas {

/// Immutable; any thread.
class Regex {
 public:
  /// Throws Error{kUnsupported} naming the pattern and what of it is not known, `where` in front.
  Regex(std::string_view pattern, const std::string& where);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  /// Finds matches in one text after another. One thread at a time.
  class Search {
   public:
    Search(const Regex& regex, std::string_view text);
    ~Search();
    Search(const Search&) = delete;
    Search& operator=(const Search&) = delete;
    /// Begin and end of the next match, which may be empty; nothing after the last. Throws Error{kBadInput} when the
    /// search takes more work than its limits allow.
    std::optional<std::pair<std::size_t, std::size_t>> next();

   private:
    const Regex& regex_;
    std::string_view text_;
    void* match_data_;
    std::size_t position_ = 0;
    std::size_t last_end_;
    std::size_t num_calls_ = 0;
    long long start_ns_;
  };

 private:
  friend class Search;
  struct Code;
  std::unique_ptr<Code> code_;
};

/// A pattern in Oniguruma's Ruby syntax, rewritten for PCRE2. Throws as Regex. Public for tests.
std::string pcre_pattern_of(std::string_view pattern, const std::string& where);

}  // namespace pajamas
