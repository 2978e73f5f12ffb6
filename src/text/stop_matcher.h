// Where generated text ends: stop tokens, and stop strings found in text that arrives in pieces. Holds back the end of
// the text while it may still become a stop string, so that no part of one is ever shown. Takes text that is already
// detokenized; where pieces are cut makes no difference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pajamas {

/// Used by one thread at a time; copyable.
class StopMatcher {
 public:
  struct Options {
    std::vector<std::string> stop_strings;  ///< At most 64, none empty, each at most 1024 bytes.
    std::vector<std::int32_t> stop_token_ids;
    bool is_stop_string_included = false;  ///< Give out the stop string itself, too.
  };
  struct Step {
    std::string text;                              ///< What may be shown now.
    bool is_stopped = false;                       ///< A stop string is complete; later text is dropped.
    std::optional<std::size_t> stop_string_index;  ///< Which one.
  };

  /// Throws Error{kUsage} for an empty, too long or too many stop strings.
  explicit StopMatcher(Options options);

  bool is_stop_token(std::int32_t token_id) const;

  /// Takes the next piece. The stop string whose end comes first wins; of those that end together the longest.
  Step feed(std::string_view piece);
  /// The text is at its end: what is still held back.
  std::string finish();

  bool is_stopped() const { return is_stopped_; }

 private:
  struct Pattern {
    std::string text;
    std::vector<std::size_t> failure;  // of Knuth, Morris and Pratt: the longest border of each prefix
    std::size_t matched = 0;
  };
  std::vector<Pattern> patterns_;
  std::vector<std::int32_t> stop_token_ids_;  // sorted
  bool is_stop_string_included_;
  bool is_stopped_ = false;
  std::string held_;
};

}  // namespace pajamas
