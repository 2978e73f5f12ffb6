// A pushdown automaton over bytes: every rule is a deterministic automaton whose edges are bytes or calls of rules, all
// in flat tables. GrammarDraft is what front ends fill; Rules is what runs. Nothing here knows tokens.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "text/grammar/automaton.h"

namespace pajamas::grammar {

constexpr std::uint32_t kUnlimited = UINT32_MAX;

/// Rules as a front end hands them over. Rule numbers are indices.
struct GrammarDraft {
  explicit GrammarDraft(const Limits& bounds) : limits(std::make_unique<Limits>(bounds)) {}

  struct Rule {
    std::string name;
    std::unique_ptr<Nfa> nfa;  ///< Null for a counted rule, and until it is defined.
    std::int32_t start = -1;
    std::int32_t end = -1;
    /// A counted rule is `body` between `min_count` and `max_count` times, counted at run time instead of being written
    /// out. `body` is without calls, prefix-free and not nullable, so that the count follows from the bytes.
    bool is_counted = false;
    Dfa body;
    std::uint32_t min_count = 0;
    std::uint32_t max_count = kUnlimited;
  };

  std::int32_t add_rule(std::string name);
  /// Gives the rule an empty automaton with a start state.
  Nfa& begin_rule(std::int32_t rule);
  /// The number of the counted rule; equal ones are shared.
  std::int32_t counted_rule(const Dfa& body, std::uint32_t min_count, std::uint32_t max_count);

  std::unique_ptr<Limits> limits;  ///< Pointed to by the automata.
  std::vector<Rule> rules;
  std::int32_t root = 0;
  /// Places that allow nothing, and why: what an empty language is explained by.
  std::vector<std::pair<std::string, std::string>> contradictions;
  /// Counted rules by the fingerprint of the body and the two counts.
  std::map<std::tuple<std::string, std::uint32_t, std::uint32_t>, std::int32_t> counted_rules;
};

/// Immutable after construction.
class Rules {
 public:
  enum Flag : std::uint8_t {
    kFinal = 1,     ///< The rule may end here. Never set for states of counted rules, which decide by the count.
    kHasCalls = 2,  ///< Some edges are calls.
    kCounted = 4,   ///< Of a counted rule.
    kStop = 8,      ///< Final and with no way on: as the place to return to, it can be left out.
  };
  struct Call {
    std::int32_t rule;
    std::int32_t target;
  };
  struct Rule {
    std::string name;
    std::int32_t first_state = 0;
    std::int32_t num_states = 0;
    std::int32_t start = 0;  ///< Of a counted rule also where an iteration begins.
    /// Counted rules: the state that stands for "iteration done"; it is never rested in.
    std::int32_t iteration_end = -1;
    std::uint32_t min_count = 0;  ///< 1 or more.
    std::uint32_t max_count = 0;
    std::int32_t body = -1;                   ///< Counted rules: equal for rules with equal bodies.
    ByteSet follow;                           ///< Bytes that may come after it anywhere in the grammar.
    std::vector<std::int32_t> return_states;  ///< Where its callers go on.
  };

  /// `spellable`: bytes that some token holds; edges of others are cut off first.
  /// Throws Error{kBadInput} for an empty language or left recursion, Error{kUnsupported} past the limits.
  Rules(GrammarDraft&& draft, const ByteSet& spellable);

  std::int32_t num_states() const { return static_cast<std::int32_t>(flags_.size()); }
  const std::vector<Rule>& rules() const { return rules_; }
  std::int32_t rule_index(std::int32_t state) const { return rule_of_[state]; }
  const Rule& rule_of(std::int32_t state) const { return rules_[rule_of_[state]]; }
  std::int32_t root_start() const { return rules_[0].start; }
  /// Whether the empty text is in the language.
  bool is_nullable() const { return is_nullable_; }
  /// Whether any text but the empty one is.
  bool has_text() const { return !rules_.empty(); }

  std::uint8_t flags(std::int32_t state) const { return flags_[state]; }
  /// The state after a byte, without calls and returns; -1 where there is none.
  std::int32_t next(std::int32_t state, std::uint8_t byte) const {
    return next_[static_cast<std::size_t>(state) * num_classes_ + class_of_[byte]];
  }
  const Call* calls_begin(std::int32_t state) const { return calls_.data() + first_call_[state]; }
  const Call* calls_end(std::int32_t state) const { return calls_.data() + first_call_[state + 1]; }
  /// Bytes that may come next within the rule (calls looked into, returns not).
  const ByteSet& first_bytes(std::int32_t state) const { return first_bytes_[state]; }

 private:
  void flatten(std::vector<GrammarDraft::Rule>& drafts, std::vector<Dfa>& automata, const Limits& limits);
  void compute_first(const std::vector<std::int32_t>& order);
  void compute_follow(const Limits& limits);

  std::vector<Rule> rules_;  ///< The root first.
  bool is_nullable_ = false;
  std::vector<std::uint8_t> flags_;
  std::vector<std::int32_t> rule_of_;
  std::vector<std::int32_t> next_;
  std::vector<std::int32_t> first_call_;
  std::vector<Call> calls_;
  std::vector<ByteSet> first_bytes_;
  std::uint8_t class_of_[256] = {};
  std::size_t num_classes_ = 1;
};

}  // namespace pajamas::grammar
