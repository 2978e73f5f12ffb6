// Finite automata over bytes whose edges may also call rules: what the front ends (regular expressions, grammars, JSON
// schema) build, and what the compiler of rules reads. Determinisation, product and difference of the plain ones.
// Not the pushdown automaton that runs: that is text/grammar/rules.h.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/grammar/code_points.h"

namespace pajamas {
class CancelToken;
}

namespace pajamas::grammar {

using ByteSet = std::bitset<256>;

/// What bounds the work of a compile. Counted by all steps together.
struct Limits {
  int max_states = 65536;
  const CancelToken* cancel = nullptr;
  /// Steps of work left (states made, subsets met); what is past it is refused. 30 million take about a second.
  mutable std::int64_t work_left = 30'000'000;

  /// Throws Error{kUnsupported} past the bound and Error{kCancelled}.
  void spend(std::int64_t work) const;
};

/// How characters are written: as UTF-8, or as they stand within a JSON string (raw where JSON allows, else the short
/// escape, or \u00XX for control characters that have none).
enum class Spelling { kUtf8, kJsonString };

/// Non-deterministic, with empty edges. States are numbers; the builder decides which is the start and which the end.
class Nfa {
 public:
  struct ByteEdge {
    std::uint8_t first;
    std::uint8_t last;
    std::int32_t target;
  };
  struct CallEdge {
    std::int32_t rule;
    std::int32_t target;
  };
  struct State {
    std::vector<ByteEdge> bytes;
    std::vector<CallEdge> calls;
    std::vector<std::int32_t> empty;
  };

  explicit Nfa(const Limits& limits) : limits_(&limits) {}

  std::int32_t add_state();
  void add_bytes(std::int32_t from, int first, int last, std::int32_t to);
  void add_empty(std::int32_t from, std::int32_t to) { states_[from].empty.push_back(to); }
  void add_call(std::int32_t from, std::int32_t rule, std::int32_t to) { states_[from].calls.push_back({rule, to}); }

  /// Each appends what it says behind `from` and returns the state after it.
  std::int32_t append_text(std::int32_t from, std::string_view bytes);
  std::int32_t append_class(std::int32_t from, const CodePointSet& set, Spelling spelling);
  std::int32_t append_call(std::int32_t from, std::int32_t rule);
  std::int32_t append_dfa(std::int32_t from, const struct Dfa& dfa);

  const std::vector<State>& states() const { return states_; }
  std::vector<State>& mutable_states() { return states_; }
  const Limits& limits() const { return *limits_; }

 private:
  void add_utf8(std::int32_t from, char32_t first, char32_t last, std::int32_t to);

  const Limits* limits_;
  std::vector<State> states_;
};

/// Deterministic over bytes; calls may still overlap with bytes and each other. State 0 is the start.
struct Dfa {
  struct Edge {
    std::uint8_t first;
    std::uint8_t last;
    std::int32_t target;
  };
  struct Call {
    std::int32_t rule;
    std::int32_t target;
  };
  struct State {
    std::vector<Edge> edges;  ///< By first byte, disjoint.
    std::vector<Call> calls;  ///< By rule, each once.
    bool is_final = false;
  };
  std::vector<State> states;

  bool has_calls() const;
  /// Whether it accepts no text (calls do not count as ways on).
  bool is_empty() const;
  /// Whether no text of it begins another.
  bool is_prefix_free() const;
  bool accepts(std::string_view bytes) const;
};

/// The deterministic automaton of what leads from `start` to `end`, without states that lead nowhere (calls count as
/// ways on).
Dfa determinised(const Nfa& nfa, std::int32_t start, std::int32_t end);
/// The smallest equal automaton; the same one where that would take too long.
Dfa minimised(const Dfa& dfa, const Limits& limits);
/// Both must be without calls.
Dfa intersection(const Dfa& a, const Dfa& b, const Limits& limits);
Dfa difference(const Dfa& a, const Dfa& b, const Limits& limits);
/// Removes what cannot be reached or cannot end.
void trim(Dfa& dfa);
/// The text of one automaton, equal for equal automata that were minimised.
std::string fingerprint(const Dfa& dfa);

/// `text` as it stands between the quotes of a JSON string, in Spelling::kJsonString.
std::string json_string_interior(std::string_view text);

}  // namespace pajamas::grammar
