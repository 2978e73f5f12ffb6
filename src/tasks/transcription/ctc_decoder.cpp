// See ctc_decoder.h. Texts are nodes of a tree; only those that come through a frame become nodes.
#include "tasks/transcription/ctc_decoder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>

namespace pajamas {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

double log_add(double a, double b) {
  if (a < b) std::swap(a, b);
  return b == kNever ? a : a + std::log1p(std::exp(b - a));
}

class PrefixSearch {
 public:
  PrefixSearch(const CtcFacts& facts, const CtcSearchOptions& options)
      : facts_(facts),
        options_(options),
        blank_(static_cast<std::int32_t>(facts.blank_id)),
        delimiter_(static_cast<std::int32_t>(facts.word_delimiter_id.value_or(-1))) {
    // Behind nothing is as behind a delimiter: another one changes no text.
    Node root;
    root.token = delimiter_;
    root.blank = 0;
    nodes_.push_back(root);
    if (options_.scorer != nullptr) contexts_.push_back({options_.scorer->begin(), 0});
    beams_.push_back(0);
  }

  void push(std::span<const float> frame) {
    candidates_.clear();
    place_of_.clear();
    tokens_.clear();
    for (std::size_t token = 0; token < frame.size(); ++token) {
      if (static_cast<std::int32_t>(token) == blank_) continue;
      if (static_cast<double>(frame[token]) >= options_.min_token_logprob) {
        tokens_.push_back(static_cast<std::int32_t>(token));
      }
    }
    for (const std::int32_t index : beams_) {
      const Node node = nodes_[static_cast<std::size_t>(index)];
      const double total = log_add(node.blank, node.other);
      Candidate& stay = candidate(index, kNoToken);
      stay.blank = log_add(stay.blank, total + at(frame, blank_));
      if (node.token >= 0) {
        // The same token again, without a blank between; a delimiter is the same behind a blank too.
        const double heard = node.token == delimiter_ ? total : node.other;
        stay.other = log_add(stay.other, heard + at(frame, node.token));
      }
      for (const std::int32_t token : tokens_) {
        if (token == node.token && token == delimiter_) continue;
        const double before = token == node.token ? node.blank : total;
        if (before == kNever) continue;
        Candidate& next = extension(index, token);
        next.other = log_add(next.other, before + at(frame, token));
      }
    }
    keep_best();
  }

  std::vector<CtcHypothesis> finish() {
    // Texts with a delimiter at the end are those without.
    struct Sum {
      double logprob = kNever;
      double added = 0;
    };
    std::map<std::int32_t, Sum> texts;
    for (const std::int32_t index : beams_) {
      const Node& node = nodes_[static_cast<std::size_t>(index)];
      const bool is_between = node.token == delimiter_;
      Sum& sum = texts[is_between && node.parent >= 0 ? node.parent : index];
      sum.logprob = log_add(sum.logprob, log_add(node.blank, node.other));
      if (options_.scorer == nullptr) continue;
      Context context = contexts_[static_cast<std::size_t>(node.context)];
      if (!is_between) context.added += options_.scorer->score_word(context.state, word_of(index));
      sum.added = context.added + options_.scorer->score_end(context.state);
    }
    std::vector<CtcHypothesis> result;
    for (const auto& [index, sum] : texts) {
      CtcHypothesis hypothesis{{}, sum.logprob, sum.logprob + sum.added};
      for (std::int32_t at = index; at > 0; at = nodes_[static_cast<std::size_t>(at)].parent) {
        hypothesis.tokens.push_back(nodes_[static_cast<std::size_t>(at)].token);
      }
      std::reverse(hypothesis.tokens.begin(), hypothesis.tokens.end());
      result.push_back(std::move(hypothesis));
    }
    std::stable_sort(result.begin(), result.end(),
                     [](const CtcHypothesis& a, const CtcHypothesis& b) { return a.score > b.score; });
    return result;
  }

 private:
  static constexpr std::int32_t kNoToken = -1;

  struct Node {
    std::int32_t parent = -1;
    std::int32_t token = -1;
    std::int32_t context = 0;    ///< Of the words before the one that this node is in.
    std::int32_t finished = -1;  ///< The context behind that word, once somebody asked.
    double begun = 0;            ///< What the word so far adds.
    double blank = kNever;       ///< ln of the paths that end in blank,
    double other = kNever;       ///< and of those that end in `token`.
  };
  struct Context {
    CtcWordScorer::State state;
    double added = 0;
  };
  /// A node, or one token behind it, after the next frame.
  struct Candidate {
    std::int32_t node = 0;
    std::int32_t token = kNoToken;
    double blank = kNever, other = kNever;
    double score = kNever;
  };

  static double at(std::span<const float> frame, std::int32_t token) {
    return static_cast<double>(frame[static_cast<std::size_t>(token)]);
  }
  static std::uint64_t key_of(std::int32_t node, std::int32_t token) {
    return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(node)) << 32U) | static_cast<std::uint32_t>(token);
  }

  Candidate& candidate(std::int32_t node, std::int32_t token) {
    const auto [place, is_new] = place_of_.emplace(key_of(node, token), candidates_.size());
    if (is_new) candidates_.push_back({node, token});
    return candidates_[place->second];
  }
  /// The text of `node` with `token` behind it, which may be a node already.
  Candidate& extension(std::int32_t node, std::int32_t token) {
    const auto child = children_.find(key_of(node, token));
    return child == children_.end() ? candidate(node, token) : candidate(child->second, kNoToken);
  }

  /// Text of the word that the node is in, up to it.
  std::string word_of(std::int32_t index) const {
    std::vector<std::int32_t> tokens;
    for (std::int32_t at = index; at > 0; at = nodes_[static_cast<std::size_t>(at)].parent) {
      const std::int32_t token = nodes_[static_cast<std::size_t>(at)].token;
      if (token == delimiter_) break;
      tokens.push_back(token);
    }
    std::string word;
    for (auto token = tokens.rbegin(); token != tokens.rend(); ++token) {
      word += facts_.tokens[static_cast<std::size_t>(*token)];
    }
    return word;
  }

  /// What the words of a candidate's text add, the one under way included.
  double added(const Candidate& one) {
    const CtcWordScorer& scorer = *options_.scorer;
    Node& node = nodes_[static_cast<std::size_t>(one.node)];
    const double before = contexts_[static_cast<std::size_t>(node.context)].added;
    if (one.token == kNoToken) return before + node.begun;
    if (one.token != delimiter_) {
      return before + scorer.score_begun(word_of(one.node) + facts_.tokens[static_cast<std::size_t>(one.token)]);
    }
    return contexts_[static_cast<std::size_t>(finished_context(one.node))].added;
  }

  std::int32_t finished_context(std::int32_t index) {
    Node& node = nodes_[static_cast<std::size_t>(index)];
    if (node.finished < 0) {
      Context context = contexts_[static_cast<std::size_t>(node.context)];
      context.added += options_.scorer->score_word(context.state, word_of(index));
      node.finished = static_cast<std::int32_t>(contexts_.size());
      contexts_.push_back(context);
    }
    return node.finished;
  }

  void keep_best() {
    for (Candidate& one : candidates_) {
      one.score = log_add(one.blank, one.other);
      if (options_.scorer != nullptr && one.score != kNever) one.score += added(one);
    }
    const auto is_better = [](const Candidate& a, const Candidate& b) {
      if (a.score != b.score) return a.score > b.score;
      return std::pair(a.node, a.token) < std::pair(b.node, b.token);
    };
    const auto count = std::min(candidates_.size(), static_cast<std::size_t>(options_.beam_size));
    std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(count), candidates_.end(),
                      is_better);
    for (const std::int32_t index : beams_) {
      nodes_[static_cast<std::size_t>(index)].blank = nodes_[static_cast<std::size_t>(index)].other = kNever;
    }
    beams_.clear();
    for (std::size_t i = 0; i < count; ++i) {
      const Candidate& one = candidates_[i];
      const std::int32_t index = one.token == kNoToken ? one.node : add_node(one);
      nodes_[static_cast<std::size_t>(index)].blank = one.blank;
      nodes_[static_cast<std::size_t>(index)].other = one.other;
      beams_.push_back(index);
    }
  }

  std::int32_t add_node(const Candidate& one) {
    Node node;
    node.parent = one.node;
    node.token = one.token;
    if (options_.scorer != nullptr) {
      const bool is_end = one.token == delimiter_;
      node.context = is_end ? finished_context(one.node) : nodes_[static_cast<std::size_t>(one.node)].context;
      if (!is_end) {
        node.begun =
            options_.scorer->score_begun(word_of(one.node) + facts_.tokens[static_cast<std::size_t>(one.token)]);
      }
    }
    const auto index = static_cast<std::int32_t>(nodes_.size());
    nodes_.push_back(node);
    children_.emplace(key_of(one.node, one.token), index);
    return index;
  }

  const CtcFacts& facts_;
  const CtcSearchOptions& options_;
  std::int32_t blank_, delimiter_;
  std::vector<Node> nodes_;
  std::vector<Context> contexts_;
  std::unordered_map<std::uint64_t, std::int32_t> children_;
  std::vector<std::int32_t> beams_, tokens_;
  std::vector<Candidate> candidates_;
  std::unordered_map<std::uint64_t, std::size_t> place_of_;
};

}  // namespace

std::vector<std::int32_t> decode_greedy(const CtcFacts& facts, std::span<const float> logprobs) {
  const auto vocab = static_cast<std::size_t>(facts.vocab_size());
  std::vector<std::int32_t> tokens;
  std::int64_t last = facts.blank_id;
  for (std::size_t begin = 0; begin + vocab <= logprobs.size(); begin += vocab) {
    const auto frame = logprobs.subspan(begin, vocab);
    const std::int64_t best = std::max_element(frame.begin(), frame.end()) - frame.begin();
    if (best != std::exchange(last, best) && best != facts.blank_id) {
      const bool is_delimiter = best == facts.word_delimiter_id;
      const bool is_behind_word = !tokens.empty() && tokens.back() != facts.word_delimiter_id;
      if (!is_delimiter || is_behind_word) tokens.push_back(static_cast<std::int32_t>(best));
    }
  }
  if (!tokens.empty() && tokens.back() == facts.word_delimiter_id) tokens.pop_back();
  return tokens;
}

std::vector<CtcHypothesis> search_prefixes(const CtcFacts& facts, std::span<const float> logprobs,
                                           const CtcSearchOptions& options) {
  const auto vocab = static_cast<std::size_t>(facts.vocab_size());
  PrefixSearch search(facts, options);
  for (std::size_t begin = 0; begin + vocab <= logprobs.size(); begin += vocab) {
    search.push(logprobs.subspan(begin, vocab));
  }
  return search.finish();
}

}  // namespace pajamas
