// See bpe_model.h.
#include "text/tokenizer/bpe_model.h"

#include <functional>

#include "pajamas/error.h"
#include "text/tokenizer/utf8.h"

namespace pajamas {
namespace {

constexpr std::int32_t kNone = TokenTable::kNone;
constexpr std::uint32_t kNoRank = UINT32_MAX;
/// Up to here scanning all ranks for the least is faster than a heap.
constexpr std::size_t kMaxScanned = 64;

void merge_short(const MergeTable& table, EncodeScratch& scratch, std::vector<std::int32_t>& symbols) {
  std::size_t size = symbols.size();
  scratch.merges.resize(size);
  PairMerge* merges = scratch.merges.data();
  std::int32_t* ids = symbols.data();
  for (std::size_t i = 0; i + 1 < size; ++i) merges[i] = table.find(ids[i], ids[i + 1]);
  while (size > 1) {
    std::size_t best = 0;
    std::uint32_t rank = merges[0].rank;
    for (std::size_t i = 1; i + 1 < size; ++i) {
      if (merges[i].rank < rank) {
        rank = merges[i].rank;
        best = i;
      }
    }
    if (rank == kNoRank) break;
    ids[best] = merges[best].result;
    std::memmove(ids + best + 1, ids + best + 2, (size - best - 2) * sizeof(ids[0]));
    --size;
    if (best + 1 < size) {
      std::memmove(merges + best + 1, merges + best + 2, (size - best - 2) * sizeof(merges[0]));
      merges[best] = table.find(ids[best], ids[best + 1]);
    }
    if (best > 0) merges[best - 1] = table.find(ids[best - 1], ids[best]);
  }
  symbols.resize(size);
}

void merge_long(const MergeTable& table, EncodeScratch& scratch, std::vector<std::int32_t>& symbols) {
  const auto size = static_cast<std::uint32_t>(symbols.size());
  scratch.merges.assign(size, {});
  scratch.next.resize(size);
  scratch.previous.resize(size);
  scratch.queue.clear();
  // Candidates as rank and place in one number; one whose place has another rank by now is stale.
  std::vector<std::uint64_t>& queue = scratch.queue;
  const auto candidate = [](std::uint32_t rank, std::uint32_t place) {
    return static_cast<std::uint64_t>(rank) << 32 | place;
  };
  for (std::uint32_t i = 0; i < size; ++i) {
    scratch.next[i] = i + 1;
    scratch.previous[i] = i - 1;  // Wraps to "none" for the first.
    if (i + 1 == size) break;
    scratch.merges[i] = table.find(symbols[i], symbols[i + 1]);
    if (scratch.merges[i].rank != kNoRank) queue.push_back(candidate(scratch.merges[i].rank, i));
  }
  std::make_heap(queue.begin(), queue.end(), std::greater<>());
  const auto renew = [&](std::uint32_t place) {
    const std::uint32_t right = scratch.next[place];
    scratch.merges[place] = right < size ? table.find(symbols[place], symbols[right]) : PairMerge{};
    if (scratch.merges[place].rank == kNoRank) return;
    queue.push_back(candidate(scratch.merges[place].rank, place));
    std::push_heap(queue.begin(), queue.end(), std::greater<>());
  };
  while (!queue.empty()) {
    const std::uint64_t best = queue.front();
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    queue.pop_back();
    const auto place = static_cast<std::uint32_t>(best);
    if (scratch.merges[place].rank != static_cast<std::uint32_t>(best >> 32)) continue;
    const std::uint32_t right = scratch.next[place];
    symbols[place] = scratch.merges[place].result;
    symbols[right] = kNone;
    scratch.merges[right] = {};
    scratch.next[place] = scratch.next[right];
    if (scratch.next[right] < size) scratch.previous[scratch.next[right]] = place;
    renew(place);
    if (place > 0) renew(scratch.previous[place]);
  }
  std::size_t num_left = 0;
  for (std::uint32_t i = 0; i < size; i = scratch.next[i]) symbols[num_left++] = symbols[i];
  symbols.resize(num_left);
}

}  // namespace

void merge_symbols(const MergeTable& merges, EncodeScratch& scratch, std::vector<std::int32_t>& symbols) {
  if (symbols.size() < 2) return;
  if (symbols.size() <= kMaxScanned) {
    merge_short(merges, scratch, symbols);
  } else {
    merge_long(merges, scratch, symbols);
  }
}

BpeModel::BpeModel(const TokenizerDefinition& definition, TextPool tokens, bool is_byte_level)
    : tokens_(std::move(tokens)),
      table_(tokens_.size()),
      merges_(definition.merges.size()),
      is_byte_level_(is_byte_level),
      ignores_merges_(definition.ignores_merges),
      fuses_unk_(definition.fuses_unk),
      unk_id_(definition.model_unk_id.value_or(kNone)),
      continuing_prefix_(definition.continuing_subword_prefix),
      end_suffix_(definition.end_of_word_suffix) {
  for (std::size_t id = 0; id < tokens_.size(); ++id) {
    if (!tokens_[id].empty()) table_.insert(tokens_, static_cast<std::int32_t>(id));
  }
  for (const Merge& merge : definition.merges) merges_.insert(merge);
  for (std::size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    const char character = static_cast<char>(byte);
    byte_ids_[byte] = table_.find(tokens_, {&character, 1});
  }
  has_all_bytes_ = std::find(byte_ids_.begin(), byte_ids_.end(), kNone) == byte_ids_.end();
  fallback_ids_.fill(kNone);
  if (definition.uses_byte_fallback) {
    for (std::size_t byte = 0; byte < fallback_ids_.size(); ++byte) {
      constexpr std::string_view kDigits = "0123456789ABCDEF";
      const std::string name = {'<', '0', 'x', kDigits[byte / 16], kDigits[byte % 16], '>'};
      // Looked up as the file writes it: over bytes these names stand for themselves.
      fallback_ids_[byte] = table_.find(tokens_, name);
      has_fallback_ = has_fallback_ || fallback_ids_[byte] != kNone;
    }
  }
  cuts_words_ = !is_byte_level_ && continuing_prefix_.empty() && end_suffix_.empty() && !ignores_merges_;
  if (cuts_words_) find_joins(definition);
}

void BpeModel::find_joins(const TokenizerDefinition& definition) {
  for (const Merge& merge : definition.merges) {
    const std::string_view left = tokens_[static_cast<std::size_t>(merge.left)];
    const std::string_view right = tokens_[static_cast<std::size_t>(merge.right)];
    if (left.empty() || right.empty()) continue;
    std::size_t last = previous_character(left, left.size()), first = 0;
    joins_.add(next_code_point(left, last), next_code_point(right, first));
  }
}

std::int32_t BpeModel::character_id(std::string_view character) const {
  return character.size() == 1 ? byte_ids_[static_cast<std::uint8_t>(character[0])] : table_.find(tokens_, character);
}

void BpeModel::encode(std::string_view word, EncodeScratch& scratch, std::vector<std::int32_t>& ids) const {
  if (!cuts_words_) {
    encode_cached(word, scratch, ids, [&](std::vector<std::int32_t>& result) {
      if (ignores_merges_) {
        const std::int32_t id = table_.find(tokens_, word);
        if (id != kNone) return result.push_back(id);
      }
      if (is_byte_level_) {
        encode_bytes(word, scratch, result);
      } else {
        encode_characters(word, scratch, result);
      }
    });
    return;
  }
  // The text is cut where its two characters stand side by side in no token: merges cannot reach across. Characters
  // that are no token of their own (bytes, unknown) stay with their neighbours, for what they become is no character.
  const auto is_known = [&](std::string_view character) { return character_id(character) != kNone; };
  std::size_t begin = 0, position = 0;
  char32_t left = 0;
  std::size_t left_begin = 0;
  while (position < word.size()) {
    const std::size_t here = position;
    const char32_t right = next_code_point(word, position);
    if (here > begin && !joins_.may_join(left, right) && is_known(word.substr(left_begin, here - left_begin)) &&
        is_known(word.substr(here, position - here))) {
      const std::string_view part = word.substr(begin, here - begin);
      encode_cached(part, scratch, ids,
                    [&](std::vector<std::int32_t>& result) { encode_characters(part, scratch, result); });
      begin = here;
    }
    left = right;
    left_begin = here;
  }
  const std::string_view part = word.substr(begin);
  encode_cached(part, scratch, ids,
                [&](std::vector<std::int32_t>& result) { encode_characters(part, scratch, result); });
}

void BpeModel::encode_bytes(std::string_view word, EncodeScratch& scratch, std::vector<std::int32_t>& ids) const {
  if (!continuing_prefix_.empty() || !end_suffix_.empty() || !has_all_bytes_) {
    // Unusual over bytes; the general way knows it all. Each byte is a character of its own there.
    return encode_characters(word, scratch, ids);
  }
  std::vector<std::int32_t>& symbols = scratch.symbols;
  symbols.clear();
  for (const char byte : word) symbols.push_back(byte_ids_[static_cast<std::uint8_t>(byte)]);
  merge_symbols(merges_, scratch, symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

void BpeModel::encode_characters(std::string_view word, EncodeScratch& scratch, std::vector<std::int32_t>& ids) const {
  std::vector<std::int32_t>& symbols = scratch.symbols;
  symbols.clear();
  bool has_pending_unk = false;
  std::string decorated;
  for (std::size_t position = 0; position < word.size();) {
    const std::size_t length = is_byte_level_ ? 1 : utf8_length(word[position]);
    const std::string_view character = word.substr(position, length);
    const bool is_first = position == 0, is_last = position + length == word.size();
    std::int32_t id = kNone;
    if ((is_first || continuing_prefix_.empty()) && (!is_last || end_suffix_.empty())) {
      id = character_id(character);
    } else {
      decorated = is_first ? "" : continuing_prefix_;
      decorated += character;
      if (is_last) decorated += end_suffix_;
      id = table_.find(tokens_, decorated);
    }
    position += length;
    if (id != kNone) {
      if (has_pending_unk) symbols.push_back(unk_id_);
      has_pending_unk = false;
      symbols.push_back(id);
      continue;
    }
    if (has_fallback_) {
      const bool has_all = std::all_of(character.begin(), character.end(), [&](char byte) {
        return fallback_ids_[static_cast<std::uint8_t>(byte)] != kNone;
      });
      if (has_all) {
        for (const char byte : character) symbols.push_back(fallback_ids_[static_cast<std::uint8_t>(byte)]);
        continue;
      }
    }
    if (unk_id_ == kNone) continue;
    if (has_pending_unk && !fuses_unk_) symbols.push_back(unk_id_);
    has_pending_unk = true;
  }
  if (has_pending_unk) symbols.push_back(unk_id_);
  merge_symbols(merges_, scratch, symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

}  // namespace pajamas
