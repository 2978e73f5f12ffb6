// The steps of text/tokenizer/pre_tokenizer.h.
#include "text/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <optional>

#include "pajamas/error.h"
#include "text/byte_pair_encoding.h"
#include "text/tokenizer/character_classes.h"
#include "text/tokenizer/regex.h"
#include "text/tokenizer/utf8.h"
#include "text/tokenizer/word_pattern.h"
#include "text/unicode.h"

namespace pajamas {
namespace {

constexpr int kMaxDepth = 8;
using Step = PreTokenizer::Step;

/// What happens to the parts that a pattern matches.
enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

Behavior behavior_of(const JsonReader& json, const char* key) {
  const std::string name = json.string(key);
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  json.member(key).fail("is '" + name + "', which is no known behaviour");
}

/// Puts parts, matched and not, together as a behaviour says, and hands them on.
class Joiner {
 public:
  Joiner(std::string_view piece, bool is_first, Behavior behavior, bool is_inverted, const Step::Next& next)
      : piece_(piece), is_first_(is_first), behavior_(behavior), is_inverted_(is_inverted), next_(next) {}

  /// The next part, from where the last one ended up to `end`.
  void add(std::size_t end, bool is_match) {
    const bool is_delimiter = is_match != is_inverted_;
    switch (behavior_) {
      case Behavior::kRemoved:
        if (is_delimiter) begin_ = end;
        end_ = end;
        flush();
        return;
      case Behavior::kIsolated:
        end_ = end;
        flush();
        return;
      case Behavior::kMergedWithPrevious:
        // A delimiter joins the part before it, unless that ends with a delimiter.
        if (has_part_ && !(is_delimiter && !was_delimiter_)) flush();
        break;
      case Behavior::kMergedWithNext:
        if (has_part_ && !(was_delimiter_ && !is_delimiter)) flush();
        break;
      case Behavior::kContiguous:
        if (has_part_ && is_delimiter != was_delimiter_) flush();
        break;
    }
    end_ = end;
    has_part_ = true;
    was_delimiter_ = is_delimiter;
  }

  void finish() { flush(); }
  std::size_t position() const { return end_; }

 private:
  void flush() {
    if (end_ > begin_) next_(piece_.substr(begin_, end_ - begin_), is_first_ && begin_ == 0);
    begin_ = end_;
    has_part_ = false;
  }

  std::string_view piece_;
  bool is_first_;
  Behavior behavior_;
  bool is_inverted_;
  const Step::Next& next_;
  std::size_t begin_ = 0, end_ = 0;
  bool has_part_ = false, was_delimiter_ = false;
};

class SplitByWords : public Step {
 public:
  explicit SplitByWords(const WordPattern& pattern) : pattern_(pattern) {}
  void run(std::string_view piece, bool is_first, const Next& next) const override {
    for (std::size_t begin = 0; begin < piece.size();) {
      const std::size_t end = pattern_.word_end(piece, begin);
      next(piece.substr(begin, end - begin), is_first && begin == 0);
      begin = end;
    }
  }

 private:
  WordPattern pattern_;
};

class SplitByRegex : public Step {
 public:
  SplitByRegex(Regex regex, Behavior behavior, bool is_inverted)
      : regex_(std::move(regex)), behavior_(behavior), is_inverted_(is_inverted) {}
  void run(std::string_view piece, bool is_first, const Next& next) const override {
    Joiner joiner(piece, is_first, behavior_, is_inverted_, next);
    Regex::Search search(regex_, piece);
    while (const auto match = search.next()) {
      if (match->first > joiner.position()) joiner.add(match->first, false);
      joiner.add(match->second, true);
    }
    if (joiner.position() < piece.size()) joiner.add(piece.size(), false);
    joiner.finish();
  }

 private:
  Regex regex_;
  Behavior behavior_;
  bool is_inverted_;
};

class SplitByText : public Step {
 public:
  SplitByText(std::string delimiter, Behavior behavior, bool is_inverted)
      : delimiter_(std::move(delimiter)), behavior_(behavior), is_inverted_(is_inverted) {}
  void run(std::string_view piece, bool is_first, const Next& next) const override {
    Joiner joiner(piece, is_first, behavior_, is_inverted_, next);
    for (std::size_t found = piece.find(delimiter_); found != std::string_view::npos;
         found = piece.find(delimiter_, found + delimiter_.size())) {
      if (found > joiner.position()) joiner.add(found, false);
      joiner.add(found + delimiter_.size(), true);
    }
    if (joiner.position() < piece.size()) joiner.add(piece.size(), false);
    joiner.finish();
  }

 private:
  std::string delimiter_;
  Behavior behavior_;
  bool is_inverted_;
};

/// Each character of a class is a delimiter by itself.
class SplitByClass : public Step {
 public:
  using Predicate = bool (*)(char32_t);
  SplitByClass(Predicate is_delimiter, Behavior behavior) : is_delimiter_(is_delimiter), behavior_(behavior) {}
  void run(std::string_view piece, bool is_first, const Next& next) const override {
    Joiner joiner(piece, is_first, behavior_, false, next);
    for (std::size_t position = 0; position < piece.size();) {
      const std::size_t begin = position;
      if (!is_delimiter_(next_code_point(piece, position))) continue;
      if (begin > joiner.position()) joiner.add(begin, false);
      joiner.add(position, true);
    }
    if (joiner.position() < piece.size()) joiner.add(piece.size(), false);
    joiner.finish();
  }

 private:
  Predicate is_delimiter_;
  Behavior behavior_;
};

/// \w+|[^\w\s]+
class SplitByWhitespace : public Step {
 public:
  void run(std::string_view piece, bool is_first, const Next& next) const override {
    enum class Kind { kSpace, kWord, kOther };
    const auto kind_of = [](char32_t c) {
      return is_word_character(c) ? Kind::kWord : is_whitespace(c) ? Kind::kSpace : Kind::kOther;
    };
    for (std::size_t position = 0; position < piece.size();) {
      const std::size_t begin = position;
      const Kind kind = kind_of(next_code_point(piece, position));
      while (position < piece.size()) {
        std::size_t after = position;
        if (kind_of(next_code_point(piece, after)) != kind) break;
        position = after;
      }
      if (kind != Kind::kSpace) next(piece.substr(begin, position - begin), is_first && begin == 0);
    }
  }
};

class PrefixSpace : public Step {
 public:
  void run(std::string_view piece, bool is_first, const Next& next) const override {
    if (piece.starts_with(' ')) return next(piece, is_first);
    next(" " + std::string(piece), is_first);
  }
};

class MapToPrintable : public Step {
 public:
  void run(std::string_view piece, bool is_first, const Next& next) const override {
    std::string mapped;
    mapped.reserve(piece.size() * 2);
    for (const char byte : piece) mapped += printable_byte(static_cast<std::uint8_t>(byte));
    next(mapped, is_first);
  }
};

class Metaspace : public Step {
 public:
  enum class Prepend { kAlways, kFirst, kNever };
  Metaspace(std::string replacement, Prepend prepend, bool is_split)
      : replacement_(std::move(replacement)), prepend_(prepend), is_split_(is_split) {}
  void run(std::string_view piece, bool is_first, const Next& next) const override {
    std::string text;
    text.reserve(piece.size() + piece.size() / 2 + replacement_.size());
    const bool begins_with_one = piece.starts_with(' ') || piece.starts_with(replacement_);
    if (!begins_with_one && (prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && is_first))) {
      text = replacement_;
    }
    for (const char c : piece) {
      if (c == ' ') {
        text += replacement_;
      } else {
        text += c;
      }
    }
    if (!is_split_) return next(text, is_first);
    // Each replacement begins a word.
    const std::string_view view = text;
    std::size_t begin = 0;
    while (begin < view.size()) {
      const std::size_t found = view.find(replacement_, begin + 1);
      const std::size_t end = std::min(found, view.size());
      next(view.substr(begin, end - begin), is_first && begin == 0);
      begin = end;
    }
  }

 private:
  std::string replacement_;
  Prepend prepend_;
  bool is_split_;
};

/// SentencePiece's own way with spaces: all become its mark, and one more goes before the whole text, whatever that
/// begins with.
class EscapeSpaces : public Step {
 public:
  explicit EscapeSpaces(bool is_prepended) : is_prepended_(is_prepended) {}
  void run(std::string_view piece, bool is_first, const Next& next) const override {
    constexpr std::string_view kMark = "\xE2\x96\x81";
    std::string text;
    text.reserve(piece.size() + piece.size() / 2 + kMark.size());
    if (is_first && is_prepended_) text = kMark;
    for (const char c : piece) {
      if (c == ' ') {
        text += kMark;
      } else {
        text += c;
      }
    }
    next(text, is_first);
  }

 private:
  bool is_prepended_;
};

Metaspace::Prepend prepend_scheme_of(const JsonReader& json) {
  if (!json.has("prepend_scheme")) {
    return json.boolean_or("add_prefix_space", true) ? Metaspace::Prepend::kAlways : Metaspace::Prepend::kNever;
  }
  const std::string name = json.string("prepend_scheme");
  if (name == "always") return Metaspace::Prepend::kAlways;
  if (name == "first") return Metaspace::Prepend::kFirst;
  if (name == "never") return Metaspace::Prepend::kNever;
  json.member("prepend_scheme").fail("is '" + name + "', not always, first or never");
}

}  // namespace

void PreTokenizer::Step::Next::operator()(std::string_view piece, bool is_first) const {
  if (piece.empty()) return;
  if (index == owner->steps_.size()) return (*sink)(piece);
  owner->steps_[index]->run(piece, is_first, Next{owner, index + 1, sink});
}

void PreTokenizer::run(std::string_view text, bool is_first, const Sink& sink) const {
  Step::Next{this, 0, &sink}(text, is_first);
}

PreTokenizer::PreTokenizer(const JsonReader& json) {
  add(json, 0);
  // Mapping bytes to printable characters and back again is left out where nothing looks at them in between.
  if (is_byte_level_ && is_last_mapping_) {
    steps_.pop_back();
    maps_bytes_ = false;
  }
}

void PreTokenizer::add(const JsonReader& json, int depth) {
  if (depth > kMaxDepth) json.fail("has sequences nested deeper than " + std::to_string(kMaxDepth));
  const std::string type = json.string("type");
  if (type == "Sequence") {
    for (const JsonReader& step : json.member("pretokenizers").elements()) add(step, depth + 1);
    return;
  }
  const bool was_mapped = is_byte_level_;
  is_last_mapping_ = false;
  if (type == "ByteLevel") {
    if (was_mapped) json.fail("maps bytes to printable characters a second time");
    if (json.boolean_or("add_prefix_space", true)) steps_.push_back(std::make_unique<PrefixSpace>());
    if (json.boolean_or("use_regex", true)) steps_.push_back(std::make_unique<SplitByWords>(WordPattern::gpt2()));
    steps_.push_back(std::make_unique<MapToPrintable>());
    is_byte_level_ = maps_bytes_ = is_last_mapping_ = true;
  } else if (type == "Split") {
    const Behavior behavior = behavior_of(json, "behavior");
    const bool is_inverted = json.boolean_or("invert", false);
    const JsonReader pattern = json.member("pattern");
    if (pattern.has("String")) {
      const std::string delimiter = pattern.string("String");
      if (delimiter.empty()) pattern.fail("splits at an empty text");
      steps_.push_back(std::make_unique<SplitByText>(delimiter, behavior, is_inverted));
      return;
    }
    const std::string regex = pattern.string("Regex");
    const auto known = WordPattern::recognise(regex);
    // The published patterns match everything: isolated, or with matches and gaps exchanged and the (absent) gaps
    // removed, gives the same words.
    if (known && ((behavior == Behavior::kIsolated) || (behavior == Behavior::kRemoved && is_inverted))) {
      steps_.push_back(std::make_unique<SplitByWords>(*known));
    } else {
      steps_.push_back(std::make_unique<SplitByRegex>(Regex(regex, json.where()), behavior, is_inverted));
    }
  } else if (type == "Metaspace") {
    const std::string replacement = json.string_or("replacement", "\xE2\x96\x81");
    if (replacement.empty() || utf8_length(replacement[0]) != replacement.size()) {
      json.member("replacement").fail("is not one character");
    }
    steps_.push_back(std::make_unique<Metaspace>(replacement, prepend_scheme_of(json), json.boolean_or("split", true)));
  } else if (type == "SentencePiece") {  // Of this project's own definitions.
    steps_.push_back(std::make_unique<EscapeSpaces>(json.boolean("add_dummy_prefix")));
    restarts_after_special_ = true;
  } else if (type == "Digits") {
    steps_.push_back(std::make_unique<SplitByClass>(
        is_number, json.boolean_or("individual_digits", false) ? Behavior::kIsolated : Behavior::kContiguous));
  } else if (type == "Punctuation") {
    steps_.push_back(std::make_unique<SplitByClass>(
        is_punctuation_for_bert, json.has("behavior") ? behavior_of(json, "behavior") : Behavior::kIsolated));
  } else if (type == "Whitespace") {
    steps_.push_back(std::make_unique<SplitByWhitespace>());
  } else if (type == "WhitespaceSplit") {
    steps_.push_back(std::make_unique<SplitByClass>(is_whitespace, Behavior::kRemoved));
  } else if (type == "BertPreTokenizer") {
    steps_.push_back(std::make_unique<SplitByClass>(is_whitespace, Behavior::kRemoved));
    steps_.push_back(std::make_unique<SplitByClass>(is_punctuation_for_bert, Behavior::kIsolated));
  } else if (type == "CharDelimiterSplit") {
    const std::string delimiter = json.string("delimiter");
    if (delimiter.empty()) json.fail("splits at an empty text");
    steps_.push_back(std::make_unique<SplitByText>(delimiter, Behavior::kRemoved, false));
  } else {
    throw Error(ErrorKind::kUnsupported, "has a pre_tokenizer of type '" + type + "', which is not known", json.where(),
                "known are ByteLevel, Split, Metaspace, Digits, Punctuation, Whitespace, WhitespaceSplit, "
                "BertPreTokenizer, CharDelimiterSplit and Sequence");
  }
}

}  // namespace pajamas
