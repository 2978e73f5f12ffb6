// Reading ARPA text and scoring. See ngram_model.h.
#include "text/ngram_model.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <utility>

#include "base/files.h"
#include "pajamas/error.h"
#include "text/tokenizer/utf8.h"

namespace pajamas {
namespace {

constexpr double kLn10 = std::numbers::ln10;
/// "-1 a\n": fewer bytes a line cannot hold.
constexpr std::size_t kMinLineBytes = 5;

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

/// Places are mixed so that neighbours in the file do not meet in the table (SplitMix64's finaliser).
std::uint64_t mixed(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

}  // namespace

class NgramModel::Parser {
 public:
  Parser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  NgramModel parse() {
    if (text_.starts_with("\x1f\x8b")) {
      throw Error(ErrorKind::kBadInput, "is compressed", where_, "unpack it first: gunzip FILE.arpa.gz");
    }
    read_counts();
    for (std::size_t order = 1; order <= counts_.size(); ++order) read_section(order);
    if (trimmed(line_) != "\\end\\") fail("is '" + shown(line_) + "' where \\end\\ should be");
    model_.begin_ = model_.find("<s>");
    model_.end_ = model_.find("</s>");
    model_.unknown_ = model_.find("<unk>");
    if (!model_.unknown_) model_.unknown_ = model_.find("<UNK>");
    return std::move(model_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::kBadInput, "line " + std::to_string(number_) + " " + what, where_,
                "give a language model as ARPA text, whole");
  }
  static std::string shown(std::string_view text) {
    std::string result;
    append_as_utf8(result, text.substr(0, 60));
    return result;
  }

  /// The next line, without its end; false at the end of the text.
  bool next_line() {
    if (offset_ >= text_.size()) return false;
    const std::size_t end = std::min(text_.find('\n', offset_), text_.size());
    line_ = text_.substr(offset_, end - offset_);
    offset_ = end + 1;
    ++number_;
    return true;
  }
  bool next_line_with_text() {
    while (next_line()) {
      if (!trimmed(line_).empty()) return true;
    }
    return false;
  }
  void need_line(const char* what) {
    if (!next_line_with_text()) {
      ++number_;
      fail(std::string("is not there: ") + what + " should follow");
    }
  }

  void read_counts() {
    do {
      if (!next_line_with_text()) {
        throw Error(ErrorKind::kBadInput, "has no line \\data\\, so it is no ARPA language model", where_,
                    "give a language model as ARPA text; binary forms of other programs are not read");
      }
    } while (trimmed(line_) != "\\data\\");
    for (;;) {
      need_line("a count or a section");
      const std::string_view line = trimmed(line_);
      if (!line.starts_with("ngram ")) break;
      const std::size_t equals = line.find('=');
      if (equals == std::string_view::npos) fail("is '" + shown(line) + "', which is no count");
      const std::uint64_t order = whole_number(trimmed(line.substr(6, equals - 6)));
      const std::uint64_t count = whole_number(trimmed(line.substr(equals + 1)));
      if (order != counts_.size() + 1) fail("counts order " + std::to_string(order) + " out of turn");
      if (order > kMaxOrder) fail("counts order " + std::to_string(order) + "; at most 10 are read");
      if (count > text_.size() / kMinLineBytes + 1) {
        fail("says that there are " + std::to_string(count) + " n-grams, which a file of " +
             std::to_string(text_.size()) + " bytes cannot hold");
      }
      counts_.push_back(count);
    }
    if (counts_.empty() || counts_[0] == 0) fail("comes before any count of words");
    std::uint64_t longer = 0;
    for (std::size_t i = 1; i < counts_.size(); ++i) longer += counts_[i];
    if (counts_[0] + longer >= kNone / 2) fail("comes after counts of more n-grams than are read");
    model_.order_ = counts_.size();
    model_.words_.reserve(counts_[0]);
    model_.unigrams_.reserve(counts_[0]);
    model_.entries_.reserve(longer);
  }

  std::uint64_t whole_number(std::string_view text) const {
    std::uint64_t value = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) {
      fail("has '" + shown(text) + "' where a number should be");
    }
    return value;
  }
  float logarithm(std::string_view text) const {
    float value = 0;
    if (text.starts_with('+')) text.remove_prefix(1);
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || !std::isfinite(value)) {
      fail("has '" + shown(text) + "' where a logarithm should be");
    }
    return value;
  }

  /// line_ is the section's title at the beginning, and the line behind the section at the end.
  void read_section(std::size_t order) {
    const std::string title = "\\" + std::to_string(order) + "-grams:";
    if (trimmed(line_) != title) fail("is '" + shown(line_) + "' where " + title + " should be");
    for (std::uint64_t i = 0; i < counts_[order - 1]; ++i) {
      need_line("an n-gram");
      split();
      if (fields_.size() < order + 1 || fields_.size() > order + 2) {
        fail("is '" + shown(line_) + "', which is no n-gram of " + std::to_string(order) +
             (order == 1 ? " word" : " words"));
      }
      const float probability = logarithm(fields_[0]);
      // Printed with few digits, a probability of 1 may come out above it.
      if (probability > 1e-3F) fail("gives a probability above 1");
      const float backoff = fields_.size() == order + 2 ? logarithm(fields_[order + 1]) : 0.0F;
      if (order == 1) {
        add_word(fields_[1], std::min(probability, 0.0F), backoff);
      } else {
        add_ngram(order, std::min(probability, 0.0F), backoff);
      }
    }
    need_line("the next section or \\end\\");
    if (order == 1) sort_words();
  }

  void split() {
    fields_.clear();
    std::size_t at = 0;
    while (at < line_.size()) {
      while (at < line_.size() && is_blank(line_[at])) ++at;
      const std::size_t begin = at;
      while (at < line_.size() && !is_blank(line_[at])) ++at;
      if (at > begin) fields_.push_back(line_.substr(begin, at - begin));
      if (fields_.size() > kMaxOrder + 2) return;
    }
  }

  void add_word(std::string_view text, float probability, float backoff) {
    if (valid_utf8_length(text) != text.size()) fail("has a word that is no UTF-8");
    model_.words_.emplace_back(text);
    model_.unigrams_.push_back({probability, backoff});
  }

  void sort_words() {
    auto& sorted = model_.sorted_;
    const auto& words = model_.words_;
    sorted.resize(words.size());
    std::iota(sorted.begin(), sorted.end(), 0U);
    std::sort(sorted.begin(), sorted.end(), [&](WordId a, WordId b) { return words[a] < words[b]; });
    for (std::size_t i = 1; i < sorted.size(); ++i) {
      if (words[sorted[i]] == words[sorted[i - 1]]) {
        throw Error(ErrorKind::kBadInput, "has the word '" + shown(words[sorted[i]]) + "' twice", where_,
                    "give a language model as ARPA text, whole");
      }
    }
  }

  void add_ngram(std::size_t order, float probability, float backoff) {
    std::uint32_t place = kNone;
    for (std::size_t i = 1; i <= order; ++i) {
      const auto word = model_.find(fields_[i]);
      if (!word) fail("has the word '" + shown(fields_[i]) + "', which is no unigram");
      if (i == 1) {
        place = *word;
        continue;
      }
      std::uint32_t next = model_.find_entry(place, *word);
      // Beginnings that pruning took out are kept as places that other n-grams lie behind.
      if (next == kNone) next = model_.add_entry(place, *word);
      place = next;
    }
    Entry& entry = model_.entries_[place - model_.words_.size()];
    if (!std::isnan(entry.log10_probability)) fail("is an n-gram that is there twice");
    entry.log10_probability = probability;
    entry.log10_backoff = backoff;
  }

  std::string_view text_;
  const std::string& where_;
  std::size_t offset_ = 0;
  std::uint64_t number_ = 0;
  std::string_view line_;
  std::vector<std::string_view> fields_;
  std::vector<std::uint64_t> counts_;
  NgramModel model_;
};

NgramModel NgramModel::read(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  return parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string());
}

NgramModel NgramModel::parse(std::string_view text, const std::string& where) { return Parser(text, where).parse(); }

std::optional<NgramModel::WordId> NgramModel::find(std::string_view word) const {
  const auto place = std::lower_bound(sorted_.begin(), sorted_.end(), word,
                                      [&](WordId id, std::string_view text) { return words_[id] < text; });
  if (place == sorted_.end() || words_[*place] != word) return std::nullopt;
  return *place;
}

bool NgramModel::has_prefix(std::string_view text) const {
  const auto place = std::lower_bound(sorted_.begin(), sorted_.end(), text,
                                      [&](WordId id, std::string_view wanted) { return words_[id] < wanted; });
  return place != sorted_.end() && words_[*place].starts_with(text);
}

std::uint32_t NgramModel::find_entry(std::uint32_t context, WordId word) const {
  if (table_.empty()) return kNone;
  const std::uint64_t key = (std::uint64_t{context} << 32U) | word;
  const std::size_t mask = table_.size() - 1;
  for (std::size_t slot = mixed(key) & mask;; slot = (slot + 1) & mask) {
    const std::uint32_t index = table_[slot];
    if (index == kNone) return kNone;
    if (entries_[index].key == key) return static_cast<std::uint32_t>(words_.size()) + index;
  }
}

std::uint32_t NgramModel::add_entry(std::uint32_t context, WordId word) {
  if (entries_.size() * 3 >= table_.size() * 2) grow();
  const std::uint64_t key = (std::uint64_t{context} << 32U) | word;
  const auto index = static_cast<std::uint32_t>(entries_.size());
  entries_.push_back({key, std::numeric_limits<float>::quiet_NaN(), 0});
  const std::size_t mask = table_.size() - 1;
  std::size_t slot = mixed(key) & mask;
  while (table_[slot] != kNone) slot = (slot + 1) & mask;
  table_[slot] = index;
  return static_cast<std::uint32_t>(words_.size()) + index;
}

void NgramModel::grow() {
  std::size_t size = std::max<std::size_t>(table_.size() * 2, 64);
  // At once what the counts promised.
  while (entries_.capacity() * 3 >= size * 2) size *= 2;
  table_.assign(size, kNone);
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    std::size_t slot = mixed(entries_[i].key) & (size - 1);
    while (table_[slot] != kNone) slot = (slot + 1) & (size - 1);
    table_[slot] = static_cast<std::uint32_t>(i);
  }
}

std::uint32_t NgramModel::find_context(std::span<const WordId> words) const {
  std::uint32_t place = words[0];
  for (std::size_t i = 1; i < words.size() && place != kNone; ++i) place = find_entry(place, words[i]);
  return place;
}

NgramModel::State NgramModel::begin() const {
  State state;
  if (begin_ && order_ > 1) {
    state.words[0] = *begin_;
    state.length = 1;
  }
  return state;
}

double NgramModel::score(State& state, WordId word) const {
  const std::span<const WordId> before(state.words.data(), state.length);
  double sum = unigrams_[word].log10_probability;
  double backoff = 0;
  for (std::size_t begin = 0; begin < before.size(); ++begin) {
    const std::uint32_t context = find_context(before.subspan(begin));
    if (context == kNone) continue;
    const std::uint32_t place = find_entry(context, word);
    if (place != kNone && !std::isnan(entry(place).log10_probability)) {
      sum = entry(place).log10_probability;
      break;
    }
    backoff += context < words_.size() ? unigrams_[context].log10_backoff : entry(context).log10_backoff;
  }
  const std::size_t kept = std::min(state.length, order_ < 2 ? 0 : order_ - 2);
  std::copy(state.words.begin() + static_cast<std::ptrdiff_t>(state.length - kept),
            state.words.begin() + static_cast<std::ptrdiff_t>(state.length), state.words.begin());
  state.length = kept;
  if (order_ > 1) state.words[state.length++] = word;
  std::fill(state.words.begin() + static_cast<std::ptrdiff_t>(state.length), state.words.end(), 0);
  return (sum + backoff) * kLn10;
}

double NgramModel::score_unknown(State& state) const {
  if (unknown_) return score(state, *unknown_);
  state = State{};
  return kUnknownLog10 * kLn10;
}

double NgramModel::score_end(const State& state) const {
  if (!end_) return 0;
  State copy = state;
  return score(copy, *end_);
}

}  // namespace pajamas
