// Vocabulary, merges and the merge loop. See byte_pair_encoding.h.
#include "text/byte_pair_encoding.h"

#include <array>
#include <queue>
#include <unordered_set>

#include "base/files.h"
#include "base/json_reader.h"
#include "pajamas/error.h"
#include "text/unicode.h"

namespace pajamas {
namespace {

/// The largest published vocabularies take some 10 MB.
constexpr std::uint64_t kMaxFileBytes = 64 << 20;
constexpr std::int64_t kMaxId = 1 << 24;

std::array<std::string, 256> make_byte_alphabet() {
  std::array<std::string, 256> alphabet;
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool is_printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    append_utf8(alphabet[byte], is_printable ? static_cast<char32_t>(byte) : next++);
  }
  return alphabet;
}

}  // namespace

const std::string& printable_byte(std::uint8_t byte) {
  static const std::array<std::string, 256> alphabet = make_byte_alphabet();
  return alphabet[byte];
}

BytePairEncoding::BytePairEncoding(const std::filesystem::path& vocab_json, const std::filesystem::path& merges_txt) {
  if (vocab_json == merges_txt) {
    read_tokenizer_json(vocab_json);
    return;
  }
  const nlohmann::json json = parse_json(read_file(vocab_json, kMaxFileBytes), vocab_json.string());
  read_vocab(JsonReader(json, vocab_json.string()));
  read_merges(merges_txt);
}

void BytePairEncoding::read_tokenizer_json(const std::filesystem::path& path) {
  const nlohmann::json json = parse_json(read_file(path, kMaxFileBytes), path.string());
  const JsonReader root(json, path.string());
  const JsonReader model = root.member("model");
  read_vocab(model.member("vocab"));
  if (root.has("added_tokens")) {
    std::unordered_set<std::int64_t> ids;
    for (const auto& entry : id_by_token_) ids.insert(entry.second);
    for (const JsonReader& added : root.member("added_tokens").elements()) {
      const std::string token = added.string("content");
      const std::int64_t id = added.integer("id", 0, kMaxId);
      const auto known = find_token(token);
      if (known ? *known != id : !ids.insert(id).second) {
        added.fail("gives '" + token + "' the id " + std::to_string(id) + ", which the vocabulary contradicts");
      }
      id_by_token_.emplace(token, static_cast<std::int32_t>(id));
    }
  }
  for (const JsonReader& merge : model.member("merges").elements()) {
    std::string left, right;
    if (merge.json().is_array()) {
      const std::vector<std::string> pair = merge.as_strings();
      if (pair.size() != 2) merge.fail("is no pair of tokens");
      left = pair[0];
      right = pair[1];
    } else {
      const std::string line = merge.as_string();
      const std::size_t space = line.find(' ');
      if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
        merge.fail("is no pair of tokens");
      }
      left = line.substr(0, space);
      right = line.substr(space + 1);
    }
    if (left.empty() || right.empty()) merge.fail("is no pair of tokens");
    if (!add_merge(left, right)) merge.fail("merges tokens that the vocabulary does not have");
  }
}

void BytePairEncoding::read_vocab(const JsonReader& vocab) {
  std::unordered_set<std::int64_t> ids;
  for (const auto& [token, value] : vocab.members()) {
    const std::int64_t id = value.as_integer(0, kMaxId);
    if (!ids.insert(id).second) value.fail("has the id " + std::to_string(id) + " of another token");
    id_by_token_.emplace(token, static_cast<std::int32_t>(id));
  }
}

bool BytePairEncoding::add_merge(std::string_view left, std::string_view right) {
  const auto left_id = find_token(left);
  const auto right_id = find_token(right);
  const auto merged_id = find_token(std::string(left) + std::string(right));
  if (!left_id || !right_id || !merged_id) return false;
  merge_by_pair_.emplace(pair_key(static_cast<std::int32_t>(*left_id), static_cast<std::int32_t>(*right_id)),
                         Merge{next_rank_++, static_cast<std::int32_t>(*merged_id)});
  return true;
}

void BytePairEncoding::read_merges(const std::filesystem::path& path) {
  const std::string text = read_file(path, kMaxFileBytes);
  std::size_t line_number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    std::string_view line(text.data() + begin, end - begin);
    begin = end + 1;
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (line_number == 1 && line.starts_with("#version"))) continue;
    const auto fail = [&](const std::string& message) {
      throw Error(ErrorKind::kBadInput, "line " + std::to_string(line_number) + " " + message, path.string(),
                  "vocab.json and merges.txt must be of one tokenizer");
    };
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos || space == 0 || line.find(' ', space + 1) != std::string_view::npos ||
        space + 1 == line.size()) {
      fail("is no pair of tokens");
    }
    if (!add_merge(line.substr(0, space), line.substr(space + 1))) fail("merges tokens that vocab.json does not have");
  }
}

std::optional<std::int64_t> BytePairEncoding::find_token(std::string_view token) const {
  const auto found = id_by_token_.find(token);
  if (found == id_by_token_.end()) return std::nullopt;
  return found->second;
}

void BytePairEncoding::encode(const std::vector<std::string>& symbols, std::int64_t unknown_id,
                              std::vector<std::int64_t>& ids) const {
  constexpr std::int32_t kUnknown = -1;  // merges with nothing
  struct Piece {
    std::int32_t id;
    std::size_t previous, next;
  };
  const std::size_t none = symbols.size();
  std::vector<Piece> pieces(symbols.size());
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    const auto id = find_token(symbols[i]);
    pieces[i] = {id ? static_cast<std::int32_t>(*id) : kUnknown, i == 0 ? none : i - 1, i + 1};
  }
  struct Candidate {
    std::int32_t rank;
    std::size_t left;
    std::int32_t left_id, right_id;  ///< As they were: a candidate is stale once either has changed.
    bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
  };
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto consider = [&](std::size_t left) {
    if (left == none || pieces[left].next == none) return;
    const std::int32_t left_id = pieces[left].id, right_id = pieces[pieces[left].next].id;
    const auto merge = merge_by_pair_.find(pair_key(left_id, right_id));
    if (left_id != kUnknown && right_id != kUnknown && merge != merge_by_pair_.end()) {
      queue.push({merge->second.rank, left, left_id, right_id});
    }
  };
  std::vector<bool> is_gone(symbols.size(), false);
  for (std::size_t i = 0; i < symbols.size(); ++i) consider(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    if (is_gone[best.left] || pieces[best.left].id != best.left_id) continue;
    const std::size_t right = pieces[best.left].next;
    if (right == none || pieces[right].id != best.right_id) continue;
    pieces[best.left].id = merge_by_pair_.at(pair_key(best.left_id, best.right_id)).id;
    pieces[best.left].next = pieces[right].next;
    if (pieces[right].next != none) pieces[pieces[right].next].previous = best.left;
    is_gone[right] = true;
    consider(pieces[best.left].previous);
    consider(best.left);
  }
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (!is_gone[i]) ids.push_back(pieces[i].id == kUnknown ? unknown_id : pieces[i].id);
  }
}

}  // namespace pajamas
