// What every definition must hold, and merges made from scores.
#include "text/tokenizer/definition.h"

#include <algorithm>
#include <numeric>

#include "pajamas/error.h"
#include "text/tokenizer/flat_tables.h"
#include "text/tokenizer/utf8.h"

namespace pajamas {

void check_definition(const TokenizerDefinition& definition) {
  const auto fail = [&](const std::string& message) { throw Error(ErrorKind::kBadInput, message, definition.where); };
  const auto num_tokens = static_cast<std::int64_t>(definition.tokens.size());
  if (num_tokens == 0 && definition.added_tokens.empty()) fail("has no tokens");
  if (num_tokens > kMaxTokens) fail("has " + std::to_string(num_tokens) + " tokens, which is too many");
  for (std::size_t i = 0; i < definition.tokens.size(); ++i) {
    const std::string_view token = definition.tokens[i];
    if (token.size() > kMaxTokenBytes) fail("has a token " + std::to_string(i) + " that is too long");
    if (valid_utf8_length(token) != token.size()) fail("has a token " + std::to_string(i) + " that is no UTF-8");
  }
  const auto check_id = [&](std::int64_t id, const std::string& what) {
    if (id < 0 || id >= num_tokens) {
      fail(what + " has the id " + std::to_string(id) + ", but there are " + std::to_string(num_tokens) + " tokens");
    }
  };
  if (definition.model == TokenizerModel::kUnigram && definition.scores.size() != definition.tokens.size()) {
    fail("has " + std::to_string(definition.scores.size()) + " scores for " + std::to_string(num_tokens) + " tokens");
  }
  for (std::size_t i = 0; i < definition.merges.size(); ++i) {
    const Merge& merge = definition.merges[i];
    for (const std::int32_t id : {merge.left, merge.right, merge.result}) check_id(id, "merge " + std::to_string(i));
    if (merge.rank < 0) fail("has a merge " + std::to_string(i) + " without a rank");
  }
  if (definition.model_unk_id) check_id(*definition.model_unk_id, "the unknown token");
  for (const AddedToken& token : definition.added_tokens) {
    if (token.id < 0 || token.id >= kMaxTokens) {
      fail("gives the added token '" + token.content + "' the id " + std::to_string(token.id));
    }
    if (token.content.empty() || token.content.size() > kMaxAddedTokenBytes ||
        valid_utf8_length(token.content) != token.content.size()) {
      fail("has an added token " + std::to_string(token.id) + " that is empty, too long or no UTF-8");
    }
  }
}

std::vector<Merge> merges_from_scores(const TextPool& tokens, const std::vector<double>& scores) {
  TokenTable table(tokens.size());
  std::vector<std::int32_t> order;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].empty()) continue;
    table.insert(tokens, static_cast<std::int32_t>(id));
    order.push_back(static_cast<std::int32_t>(id));
  }
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
  });
  // Each cut of a token is hashed, so a token costs the square of its length: 1,000 bytes are nothing, and a file of
  // tokens of 60,000 would take hours.
  constexpr std::uint64_t kMaxHashedBytes = std::uint64_t{1} << 30;
  std::uint64_t num_hashed_bytes = 0;
  for (const std::int32_t id : order) {
    const std::uint64_t size = tokens[static_cast<std::size_t>(id)].size();
    num_hashed_bytes += size * size;
  }
  if (num_hashed_bytes > kMaxHashedBytes) {
    throw Error(ErrorKind::kBadInput, "has so many long tokens that telling how they merge would take too long", {},
                "a vocabulary has tokens of some letters: fetch the file again");
  }
  std::vector<Merge> merges;
  std::int32_t rank = -1;
  double last_score = 0;
  for (const std::int32_t id : order) {
    const double score = scores[static_cast<std::size_t>(id)];
    if (rank < 0 || score != last_score) ++rank;
    last_score = score;
    const std::string_view token = tokens[static_cast<std::size_t>(id)];
    for (std::size_t cut = utf8_length(token[0]); cut < token.size(); cut += utf8_length(token[cut])) {
      const std::int32_t left = table.find(tokens, token.substr(0, cut));
      if (left == TokenTable::kNone) continue;
      const std::int32_t right = table.find(tokens, token.substr(cut));
      if (right != TokenTable::kNone) merges.push_back({left, right, id, rank});
    }
  }
  return merges;
}

nlohmann::json template_of(const std::vector<std::int32_t>& before, const std::vector<std::int32_t>& after) {
  if (before.empty() && after.empty()) return nullptr;
  nlohmann::json single = nlohmann::json::array(), tokens = nlohmann::json::object();
  const auto add = [&](std::int32_t id) {
    const std::string name = std::to_string(id);
    single.push_back({{"SpecialToken", {{"id", name}, {"type_id", 0}}}});
    tokens[name] = {{"id", name}, {"ids", nlohmann::json::array({id})}, {"tokens", nlohmann::json::array({name})}};
  };
  for (const std::int32_t id : before) add(id);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  for (const std::int32_t id : after) add(id);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", tokens}};
}

nlohmann::json sentencepiece_decoder(bool strips_space) {
  nlohmann::json steps = nlohmann::json::array();
  steps.push_back({{"type", "Replace"}, {"pattern", {{"String", "\xE2\x96\x81"}}}, {"content", " "}});
  steps.push_back({{"type", "ByteFallback"}});
  steps.push_back({{"type", "Fuse"}});
  if (strips_space) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", steps}};
}

nlohmann::json sentencepiece_normalizer(const std::string& charsmap_base64, bool removes_extra_spaces) {
  nlohmann::json steps = nlohmann::json::array();
  if (!charsmap_base64.empty()) {
    steps.push_back({{"type", "Precompiled"}, {"precompiled_charsmap", charsmap_base64}, {"is_longest_match", true}});
  }
  if (removes_extra_spaces) {
    steps.push_back({{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}});
    steps.push_back({{"type", "Replace"}, {"pattern", {{"Regex", "\\A | \\z"}}}, {"content", ""}});
  }
  if (steps.empty()) return nullptr;
  return {{"type", "Sequence"}, {"normalizers", steps}};
}

nlohmann::json escaped_spaces_normalizer(bool prepends_mark) {
  nlohmann::json steps = nlohmann::json::array();
  if (prepends_mark) steps.push_back({{"type", "Prepend"}, {"prepend", "\xE2\x96\x81"}});
  steps.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\xE2\x96\x81"}});
  return {{"type", "Sequence"}, {"normalizers", steps}};
}

}  // namespace pajamas
