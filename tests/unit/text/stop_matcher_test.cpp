// Stop strings against a plain search of the whole text, however it is cut into pieces.
#include "text/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>

#include "pajamas/error.h"

namespace pajamas {
namespace {

/// The text up to the first end of a stop string, the longest of those that end there, and whether there is one.
std::pair<std::string, bool> expected_of(const std::string& text, const std::vector<std::string>& stops) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t longest = 0;
    for (const std::string& stop : stops) {
      if (std::string_view(text).substr(0, end).ends_with(stop)) longest = std::max(longest, stop.size());
    }
    if (longest > 0) return {text.substr(0, end - longest), true};
  }
  return {text, false};
}

TEST(StopMatcher, AgreesWithASearchHoweverTheTextIsCut) {
  std::mt19937 engine(3);
  const auto draw = [&](std::size_t size) {
    std::string text;
    for (std::size_t i = 0; i < size; ++i) text += "ab\n"[engine() % 3];
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stops;
    for (std::size_t i = 0; i < engine() % 4; ++i) stops.push_back(draw(1 + engine() % 6));
    const std::string text = draw(engine() % 40);
    StopMatcher matcher({.stop_strings = stops, .stop_token_ids = {}, .is_stop_string_included = false});
    std::string shown;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t size = engine() % 5;
      const auto step = matcher.feed(std::string_view(text).substr(at, size));
      shown += step.text;
      at += size;
      EXPECT_EQ(step.is_stopped, matcher.is_stopped());
      // Nothing is shown that a stop string could still take back.
      const auto [final_text, is_found] = expected_of(text, stops);
      ASSERT_TRUE(final_text.starts_with(shown)) << text;
    }
    const bool is_stopped = matcher.is_stopped();
    shown += matcher.finish();
    const auto [final_text, is_found] = expected_of(text, stops);
    EXPECT_EQ(shown, final_text) << text;
    EXPECT_EQ(is_stopped, is_found);
  }
}

TEST(StopMatcher, HoldsBackNoMoreThanItMust) {
  StopMatcher matcher({.stop_strings = {"</s>", "\n\nUser:"}, .stop_token_ids = {}, .is_stop_string_included = false});
  EXPECT_EQ(matcher.feed("Hello").text, "Hello");
  EXPECT_EQ(matcher.feed(" <").text, " ");
  EXPECT_EQ(matcher.feed("b>").text, "<b>");
  EXPECT_EQ(matcher.feed("a\n\n").text, "a");
  EXPECT_EQ(matcher.feed("\nUs").text, "\n");
  const auto step = matcher.feed("er: more");
  EXPECT_EQ(step.text, "");
  EXPECT_TRUE(step.is_stopped);
  EXPECT_EQ(step.stop_string_index, 1U);
  EXPECT_EQ(matcher.feed("later").text, "");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, GivesWholeCharactersAndTheStopStringWhereAsked) {
  StopMatcher matcher({.stop_strings = {"é!"}, .stop_token_ids = {}, .is_stop_string_included = true});
  EXPECT_EQ(matcher.feed("aé").text, "a");
  EXPECT_EQ(matcher.feed("è").text,
            "é"
            "è");
  const auto step = matcher.feed("é!x");
  EXPECT_EQ(step.text, "é!");
  EXPECT_TRUE(step.is_stopped);
}

TEST(StopMatcher, KnowsStopTokens) {
  const StopMatcher matcher({.stop_strings = {}, .stop_token_ids = {7, 2}, .is_stop_string_included = false});
  EXPECT_TRUE(matcher.is_stop_token(2));
  EXPECT_TRUE(matcher.is_stop_token(7));
  EXPECT_FALSE(matcher.is_stop_token(3));
}

TEST(StopMatcher, RefusesStopStringsThatAreNone) {
  const auto make = [](std::vector<std::string> stops) {
    return StopMatcher({.stop_strings = std::move(stops), .stop_token_ids = {}, .is_stop_string_included = false});
  };
  EXPECT_THROW(make({""}), Error);
  EXPECT_THROW(make({std::string(1025, 'a')}), Error);
  EXPECT_THROW(make(std::vector<std::string>(65, "a")), Error);
}

}  // namespace
}  // namespace pajamas
