// Tests of models/label_text.h: Python and JSON spellings of class names, and texts that are neither.
#include "models/label_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pajamas/error.h"

namespace pajamas {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

TEST(LabelText, ReadsPythonDictsWithBothQuotesAndGaps) {
  EXPECT_THAT(parse_labels("{0: 'person', 2: \"driver's seat\", 7: 'a \\'b\\' \\\\ \\n'}", "names"),
              ElementsAre(Pair(0, "person"), Pair(2, "driver's seat"), Pair(7, "a 'b' \\ \n")));
}

TEST(LabelText, ReadsListsAndJson) {
  EXPECT_THAT(parse_labels("['a', 'b',]", "names"), ElementsAre(Pair(0, "a"), Pair(1, "b")));
  EXPECT_THAT(parse_labels(R"({"1": "caf\u00e9", "90": "\ud83d\ude00"})", "names"),
              ElementsAre(Pair(1, "caf\xC3\xA9"), Pair(90, "\xF0\x9F\x98\x80")));
  EXPECT_TRUE(parse_labels("{}", "names").empty());
  EXPECT_TRUE(parse_labels(" [ ] ", "names").empty());
}

TEST(LabelText, RefusesWhatIsNoLiteral) {
  for (const char* text :
       {"", "names", "{0: 'a'", "{0: 'a}", "{0 'a'}", "{0: a}", "['a' 'b']", "['a'] x", "{0: 'a', 0: 'b'}", "{-1: 'a'}",
        "{100000: 'a'}", "{99999999999999999999: 'a'}", "{'x': 'a'}", "['\\q']", "['\\u12']", "['\\ud800']",
        "['\\ud800\\u0041']", "['\\UFFFFFFFF']", "['a\\"}) {
    try {
      parse_labels(text, "metadata 'names'");
      ADD_FAILURE() << "accepted: " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput) << text;
      EXPECT_THAT(error.what(), HasSubstr("metadata 'names'"));
    }
  }
}

TEST(LabelText, ReadsIntegersAloneAndInLists) {
  EXPECT_THAT(parse_integers("640", "imgsz"), ElementsAre(640));
  EXPECT_THAT(parse_integers("[320, 640]", "imgsz"), ElementsAre(320, 640));
  EXPECT_THAT(parse_integers("(320,)", "imgsz"), ElementsAre(320));
  EXPECT_THROW(parse_integers("[320", "imgsz"), Error);
  EXPECT_THROW(parse_integers("[]", "imgsz"), Error);
  EXPECT_THROW(parse_integers("640px", "imgsz"), Error);
}

TEST(LabelText, DenseLabelsLeaveOutTheBackgroundAndFillGaps) {
  const LabelsById labels{{0, "background"}, {1, "person"}, {3, "car"}};
  EXPECT_THAT(dense_labels(labels, 1, 4, ""), ElementsAre("person", "", "car", ""));
  EXPECT_THAT(dense_labels(labels, 0, 0, ""), ElementsAre("background", "person", "", "car"));
  EXPECT_TRUE(dense_labels({}, 0, 80, "").empty());
  EXPECT_THROW(dense_labels(labels, 0, 3, "names"), Error);
}

}  // namespace
}  // namespace pajamas
