// See unigram_model.h. Viterbi from left to right; on equal sums the path found first stays, as in Hugging Face's
// tokenizers.
#include "text/tokenizer/unigram_model.h"

#include <cmath>
#include <limits>

#include "pajamas/error.h"
#include "text/tokenizer/utf8.h"

namespace pajamas {
namespace {

constexpr std::int32_t kNone = TokenTable::kNone;
/// How much less likely than the least likely token an unknown character is (SentencePiece's constant).
constexpr double kUnkPenalty = 10.0;
constexpr std::uint32_t kUnreached = UINT32_MAX;

}  // namespace

UnigramModel::UnigramModel(const TokenizerDefinition& definition)
    : trie_(definition.tokens.num_bytes()), scores_(definition.scores) {
  if (!definition.model_unk_id) {
    throw Error(ErrorKind::kBadInput, "is a unigram model without an unknown token", definition.where);
  }
  unk_id_ = *definition.model_unk_id;
  fallback_ids_.fill(kNone);
  double min_score = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < definition.tokens.size(); ++i) {
    const std::string_view token = definition.tokens[i];
    if (!std::isfinite(scores_[i])) {
      throw Error(ErrorKind::kBadInput, "gives token " + std::to_string(i) + " a score that is no number",
                  definition.where);
    }
    min_score = std::min(min_score, scores_[i]);
    if (token.empty()) continue;
    trie_.insert(token, static_cast<std::int32_t>(i));
    std::size_t position = 0;
    char32_t left = next_code_point(token, position);
    while (position < token.size()) {
      const char32_t right = next_code_point(token, position);
      joins_.add(left, right);
      left = right;
    }
  }
  unk_score_ = min_score - kUnkPenalty;
  if (definition.uses_byte_fallback) {
    for (std::size_t byte = 0; byte < fallback_ids_.size(); ++byte) {
      constexpr std::string_view kDigits = "0123456789ABCDEF";
      std::uint32_t node = Trie::kRoot;
      for (const char c : {'<', '0', 'x', kDigits[byte / 16], kDigits[byte % 16], '>'}) {
        node = trie_.step(node, static_cast<std::uint8_t>(c));
        if (node == Trie::kRoot) break;
      }
      if (node != Trie::kRoot) fallback_ids_[byte] = trie_.value(node);
    }
  }
}

void UnigramModel::encode(std::string_view word, EncodeScratch& scratch, std::vector<std::int32_t>& ids) const {
  // Cut where the two characters stand side by side in no token: the best path passes through there whatever else it
  // does. Unknown characters stay together, for they become one token.
  const auto is_known = [&](std::string_view character) {
    std::uint32_t node = Trie::kRoot;
    for (const char c : character) {
      node = trie_.step(node, static_cast<std::uint8_t>(c));
      if (node == Trie::kRoot) return false;
    }
    return trie_.value(node) != kNone;
  };
  std::size_t begin = 0, position = 0, left_begin = 0;
  char32_t left = 0;
  const auto encode_from = [&](std::string_view part) {
    encode_cached(part, scratch, ids, [&](std::vector<std::int32_t>& result) { encode_part(part, scratch, result); });
  };
  while (position < word.size()) {
    const std::size_t here = position;
    const char32_t right = next_code_point(word, position);
    if (here > begin && !joins_.may_join(left, right) && is_known(word.substr(left_begin, here - left_begin)) &&
        is_known(word.substr(here, position - here))) {
      encode_from(word.substr(begin, here - begin));
      begin = here;
    }
    left = right;
    left_begin = here;
  }
  encode_from(word.substr(begin));
}

void UnigramModel::encode_part(std::string_view part, EncodeScratch& scratch, std::vector<std::int32_t>& ids) const {
  using BestPath = EncodeScratch::BestPath;
  std::vector<BestPath>& paths = scratch.paths;
  paths.assign(part.size() + 1, BestPath{0, kUnreached, kNone});
  const auto offer = [&](std::size_t end, double score, std::size_t begin, std::int32_t id) {
    BestPath& path = paths[end];
    if (path.begin == kUnreached || score > path.score) path = {score, static_cast<std::uint32_t>(begin), id};
  };
  for (std::size_t begin = 0; begin < part.size();) {
    const double score_here = paths[begin].score;
    const std::size_t character_end = begin + utf8_length(part[begin]);
    bool has_single = false;
    std::uint32_t node = Trie::kRoot;
    for (std::size_t end = begin; end < part.size();) {
      node = trie_.step(node, static_cast<std::uint8_t>(part[end]));
      if (node == Trie::kRoot) break;
      ++end;
      const std::int32_t id = trie_.value(node);
      if (id == kNone) continue;
      offer(end, score_here + scores_[static_cast<std::size_t>(id)], begin, id);
      has_single = has_single || end == character_end;
    }
    if (!has_single) offer(character_end, score_here + unk_score_, begin, unk_id_);
    begin = character_end;
  }
  // Backwards along the best path; neighbouring unknown characters are one.
  std::vector<std::int32_t>& symbols = scratch.symbols;
  symbols.clear();
  for (std::size_t end = part.size(); end > 0;) {
    std::size_t begin = paths[end].begin;
    if (paths[end].id != unk_id_) {
      symbols.push_back(paths[end].id);
      end = begin;
      continue;
    }
    while (begin > 0 && paths[begin].id == unk_id_) begin = paths[begin].begin;
    const std::string_view unknown = part.substr(begin, end - begin);
    const bool has_all = std::all_of(unknown.begin(), unknown.end(), [&](char byte) {
      return fallback_ids_[static_cast<std::uint8_t>(byte)] != kNone;
    });
    if (has_all) {
      for (std::size_t i = unknown.size(); i-- > 0;) {
        symbols.push_back(fallback_ids_[static_cast<std::uint8_t>(unknown[i])]);
      }
    } else {
      symbols.push_back(unk_id_);
    }
    end = begin;
  }
  ids.insert(ids.end(), symbols.rbegin(), symbols.rend());
}

}  // namespace pajamas
