// See stop_matcher.h.
#include "text/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "pajamas/error.h"

namespace pajamas {

namespace {

constexpr std::size_t kMaxStopStrings = 64;
constexpr std::size_t kMaxStopBytes = 1024;

std::vector<std::size_t> borders_of(const std::string& text) {
  std::vector<std::size_t> borders(text.size(), 0);
  for (std::size_t i = 1, border = 0; i < text.size(); ++i) {
    while (border > 0 && text[i] != text[border]) border = borders[border - 1];
    if (text[i] == text[border]) ++border;
    borders[i] = border;
  }
  return borders;
}

[[noreturn]] void fail(std::string message) {
  throw Error(ErrorKind::kUsage, std::move(message), "stop", "give up to 64 texts of 1 to 1024 bytes");
}

}  // namespace

StopMatcher::StopMatcher(Options options)
    : stop_token_ids_(std::move(options.stop_token_ids)), is_stop_string_included_(options.is_stop_string_included) {
  if (options.stop_strings.size() > kMaxStopStrings) {
    fail(std::to_string(options.stop_strings.size()) + " stop strings, of which there may be at most 64");
  }
  for (std::string& text : options.stop_strings) {
    if (text.empty()) fail("a stop string is empty");
    if (text.size() > kMaxStopBytes) fail("a stop string has " + std::to_string(text.size()) + " bytes, at most 1024");
    Pattern pattern;
    pattern.failure = borders_of(text);
    pattern.text = std::move(text);
    patterns_.push_back(std::move(pattern));
  }
  std::sort(stop_token_ids_.begin(), stop_token_ids_.end());
}

bool StopMatcher::is_stop_token(std::int32_t token_id) const {
  return std::binary_search(stop_token_ids_.begin(), stop_token_ids_.end(), token_id);
}

StopMatcher::Step StopMatcher::feed(std::string_view piece) {
  Step step;
  step.is_stopped = is_stopped_;
  if (is_stopped_) return step;
  if (patterns_.empty()) {
    step.text = piece;
    return step;
  }
  for (const char c : piece) {
    held_ += c;
    std::size_t longest = 0;
    for (std::size_t i = 0; i < patterns_.size(); ++i) {
      Pattern& pattern = patterns_[i];
      while (pattern.matched > 0 && pattern.text[pattern.matched] != c) {
        pattern.matched = pattern.failure[pattern.matched - 1];
      }
      if (pattern.text[pattern.matched] == c) ++pattern.matched;
      if (pattern.matched < pattern.text.size()) continue;
      if (pattern.text.size() > longest) {
        longest = pattern.text.size();
        step.stop_string_index = i;
      }
      pattern.matched = pattern.failure[pattern.matched - 1];
    }
    if (longest > 0) {
      is_stopped_ = step.is_stopped = true;
      if (!is_stop_string_included_) held_.resize(held_.size() - longest);
      step.text = std::exchange(held_, {});
      return step;
    }
  }
  std::size_t num_held = 0;
  for (const Pattern& pattern : patterns_) num_held = std::max(num_held, pattern.matched);
  // A character stays whole: its first bytes wait for the rest.
  std::size_t cut = held_.size() - num_held;
  while (cut > 0 && cut < held_.size() && (static_cast<unsigned char>(held_[cut]) & 0xC0) == 0x80) --cut;
  step.text = held_.substr(0, cut);
  held_.erase(0, cut);
  return step;
}

std::string StopMatcher::finish() {
  for (Pattern& pattern : patterns_) pattern.matched = 0;
  return std::exchange(held_, {});
}

}  // namespace pajamas
