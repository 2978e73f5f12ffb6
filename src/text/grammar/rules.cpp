// From drafts to tables: nullable rules, determinisation, what cannot end, left recursion, first and follow bytes. See
// rules.h.
#include "text/grammar/rules.h"

#include <algorithm>
#include <map>

#include "base/cancel.h"
#include "pajamas/error.h"

namespace pajamas::grammar {
namespace {

/// What one more look at a rule costs, in Limits::work_left: the rounds below are as many as the longest chain of rules
/// in the wrong order.
constexpr std::int64_t kWorkOfRound = 4;
/// Rules that begin with one another, one in the next; each is a level of recursion for every byte (Walker::step_item).
constexpr int kMaxFirstCalls = 1000;

/// Which rules accept the empty text.
std::vector<bool> nullable_rules(const std::vector<GrammarDraft::Rule>& rules, const Limits& limits) {
  std::vector<bool> is_nullable(rules.size(), false);
  for (std::size_t i = 0; i < rules.size(); ++i) is_nullable[i] = rules[i].is_counted && rules[i].min_count == 0;
  bool has_changed = true;
  while (has_changed) {
    has_changed = false;
    // Backwards: most grammars define what they call behind the call.
    for (std::size_t i = rules.size(); i-- > 0;) {
      if (is_nullable[i] || rules[i].nfa == nullptr) continue;
      limits.spend(kWorkOfRound);
      const std::vector<Nfa::State>& states = rules[i].nfa->states();
      std::vector<bool> is_met(states.size(), false);
      std::vector<std::int32_t> open{rules[i].start};
      while (!open.empty()) {
        const std::int32_t id = open.back();
        open.pop_back();
        if (is_met[id]) continue;
        is_met[id] = true;
        open.insert(open.end(), states[id].empty.begin(), states[id].empty.end());
        for (const Nfa::CallEdge& call : states[id].calls) {
          if (is_nullable[call.rule]) open.push_back(call.target);
        }
      }
      if (is_met[rules[i].end]) {
        is_nullable[i] = true;
        has_changed = true;
      }
    }
  }
  return is_nullable;
}

/// Makes the start a state where the rule cannot end, because a rule is only called for text that is not empty; and for
/// a counted rule, which knows the beginning of an iteration by it, one that nothing leads back to.
void detach_start(Dfa& dfa, bool is_counted) {
  if (!is_counted && !dfa.states[0].is_final) return;
  bool has_way_back = false;
  for (const Dfa::State& state : dfa.states) {
    for (const Dfa::Edge& edge : state.edges) has_way_back = has_way_back || edge.target == 0;
    for (const Dfa::Call& call : state.calls) has_way_back = has_way_back || call.target == 0;
  }
  if (!has_way_back) {
    dfa.states[0].is_final = false;
    return;
  }
  // The old start moves to the end, where edges now lead.
  const auto moved = static_cast<std::int32_t>(dfa.states.size());
  dfa.states.push_back(dfa.states[0]);
  for (Dfa::State& state : dfa.states) {
    for (Dfa::Edge& edge : state.edges) {
      if (edge.target == 0) edge.target = moved;
    }
    for (Dfa::Call& call : state.calls) {
      if (call.target == 0) call.target = moved;
    }
  }
  dfa.states[0].is_final = false;
}

void cut_bytes(Dfa& dfa, const ByteSet& spellable) {
  if (spellable.all()) return;
  for (Dfa::State& state : dfa.states) {
    std::vector<Dfa::Edge> kept;
    for (const Dfa::Edge& edge : state.edges) {
      for (int byte = edge.first; byte <= edge.last; ++byte) {
        if (!spellable[byte]) continue;
        if (!kept.empty() && kept.back().target == edge.target && kept.back().last + 1 == byte) {
          kept.back().last = static_cast<std::uint8_t>(byte);
        } else {
          kept.push_back({static_cast<std::uint8_t>(byte), static_cast<std::uint8_t>(byte), edge.target});
        }
      }
    }
    state.edges = std::move(kept);
  }
}

/// Whether the automaton can end with the rules known to end.
bool can_end(const Dfa& dfa, const std::vector<bool>& is_productive) {
  std::vector<bool> is_met(dfa.states.size(), false);
  std::vector<std::int32_t> open;
  if (!dfa.states.empty()) open.push_back(0);
  while (!open.empty()) {
    const std::int32_t id = open.back();
    open.pop_back();
    if (is_met[id]) continue;
    is_met[id] = true;
    if (dfa.states[id].is_final) return true;
    for (const Dfa::Edge& edge : dfa.states[id].edges) open.push_back(edge.target);
    for (const Dfa::Call& call : dfa.states[id].calls) {
      if (is_productive[call.rule]) open.push_back(call.target);
    }
  }
  return false;
}

}  // namespace

std::int32_t GrammarDraft::add_rule(std::string name) {
  limits->spend(4);
  rules.emplace_back();
  rules.back().name = std::move(name);
  return static_cast<std::int32_t>(rules.size() - 1);
}

Nfa& GrammarDraft::begin_rule(std::int32_t rule) {
  rules[rule].nfa = std::make_unique<Nfa>(*limits);
  rules[rule].start = rules[rule].nfa->add_state();
  return *rules[rule].nfa;
}

std::int32_t GrammarDraft::counted_rule(const Dfa& body, std::uint32_t min_count, std::uint32_t max_count) {
  const auto [found, is_new] = counted_rules.try_emplace({fingerprint(body), min_count, max_count}, 0);
  if (!is_new) return found->second;
  const std::int32_t id = add_rule("repetition");
  found->second = id;
  rules[id].is_counted = true;
  rules[id].body = body;
  rules[id].min_count = min_count;
  rules[id].max_count = max_count;
  return id;
}

Rules::Rules(GrammarDraft&& draft, const ByteSet& spellable) {
  const std::size_t num_rules = draft.rules.size();
  const std::vector<bool> is_nullable = nullable_rules(draft.rules, *draft.limits);
  std::vector<Dfa> automata(num_rules);
  std::size_t num_states = 0;
  for (std::size_t i = 0; i < num_rules; ++i) {
    GrammarDraft::Rule& rule = draft.rules[i];
    if (rule.is_counted) {
      automata[i] = std::move(rule.body);
      rule.min_count = std::max(rule.min_count, 1U);
    } else if (rule.nfa != nullptr) {
      std::vector<Nfa::State>& states = rule.nfa->mutable_states();
      for (std::size_t k = 0; k < states.size(); ++k) {
        for (const Nfa::CallEdge& call : states[k].calls) {
          if (is_nullable[call.rule]) states[k].empty.push_back(call.target);
        }
      }
      automata[i] = minimised(determinised(*rule.nfa, rule.start, rule.end), *draft.limits);
      rule.nfa.reset();
    }
    if (!automata[i].states.empty()) detach_start(automata[i], rule.is_counted);
    cut_bytes(automata[i], spellable);
    num_states += automata[i].states.size();
    if (num_states > static_cast<std::size_t>(draft.limits->max_states)) {
      throw Error(ErrorKind::kUnsupported,
                  "is too large to compile: more than " + std::to_string(draft.limits->max_states) + " states", {},
                  "make repetition counts smaller");
    }
  }
  is_nullable_ = is_nullable[draft.root];

  // A rule that can never end (it calls itself on every way, or needs a byte that no token holds) is no rule.
  std::vector<bool> is_productive(num_rules, false);
  for (bool has_changed = true; has_changed;) {
    has_changed = false;
    for (std::size_t i = num_rules; i-- > 0;) {
      if (is_productive[i]) continue;
      draft.limits->spend(kWorkOfRound);
      if (!can_end(automata[i], is_productive)) continue;
      is_productive[i] = true;
      has_changed = true;
      draft.limits->spend(static_cast<std::int64_t>(automata[i].states.size()) / 8);
    }
  }
  for (Dfa& dfa : automata) {
    for (Dfa::State& state : dfa.states) {
      std::erase_if(state.calls, [&](const Dfa::Call& call) { return !is_productive[call.rule]; });
    }
    trim(dfa);
  }
  if (!is_productive[draft.root]) {
    if (is_nullable_) return;  // The empty text alone.
    if (!draft.contradictions.empty()) {
      throw Error(ErrorKind::kBadInput, "no value can conform: " + draft.contradictions.front().second,
                  draft.contradictions.front().first, "correct what it names");
    }
    throw Error(ErrorKind::kBadInput,
                spellable.all() ? "describes no text at all: every way through it contradicts itself or never ends"
                                : "describes no text that this vocabulary can spell",
                {}, "check for recursion without an end, empty choices and contradictory bounds");
  }

  // Only what the root needs, the root first.
  std::vector<std::int32_t> new_id(num_rules, -1);
  std::vector<std::int32_t> order{draft.root};
  new_id[draft.root] = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (const Dfa::State& state : automata[order[i]].states) {
      for (const Dfa::Call& call : state.calls) {
        if (new_id[call.rule] >= 0) continue;
        new_id[call.rule] = static_cast<std::int32_t>(order.size());
        order.push_back(call.rule);
      }
    }
  }
  std::vector<GrammarDraft::Rule> drafts;
  std::vector<Dfa> kept;
  for (const std::int32_t id : order) {
    drafts.push_back(std::move(draft.rules[id]));
    kept.push_back(std::move(automata[id]));
    for (Dfa::State& state : kept.back().states) {
      for (Dfa::Call& call : state.calls) call.rule = new_id[call.rule];
    }
  }
  flatten(drafts, kept, *draft.limits);
}

void Rules::flatten(std::vector<GrammarDraft::Rule>& drafts, std::vector<Dfa>& automata, const Limits& limits) {
  std::map<std::string, std::int32_t> bodies;
  std::size_t num_states = 0;
  for (std::size_t i = 0; i < drafts.size(); ++i) {
    Rule rule;
    rule.name = std::move(drafts[i].name);
    rule.first_state = static_cast<std::int32_t>(num_states);
    rule.num_states = static_cast<std::int32_t>(automata[i].states.size());
    rule.start = rule.first_state;
    if (drafts[i].is_counted) {
      rule.min_count = drafts[i].min_count;
      rule.max_count = drafts[i].max_count;
      rule.body = bodies.try_emplace(fingerprint(automata[i]), static_cast<std::int32_t>(bodies.size())).first->second;
    }
    num_states += automata[i].states.size();
    rules_.push_back(std::move(rule));
  }

  // Bytes that no edge tells apart share a column of the table.
  std::vector<std::int32_t> column(256, 0);
  std::int32_t num_columns = 1;
  for (const Dfa& dfa : automata) {
    for (const Dfa::State& state : dfa.states) {
      if (num_columns == 256) break;
      std::map<std::pair<std::int32_t, std::int32_t>, std::int32_t> ids;
      std::vector<std::int32_t> refined(256);
      std::size_t at = 0;
      for (int byte = 0; byte < 256; ++byte) {
        while (at < state.edges.size() && state.edges[at].last < byte) ++at;
        const bool has_edge = at < state.edges.size() && state.edges[at].first <= byte;
        const std::pair<std::int32_t, std::int32_t> key{column[byte], has_edge ? state.edges[at].target : -1};
        refined[byte] = ids.try_emplace(key, static_cast<std::int32_t>(ids.size())).first->second;
      }
      num_columns = static_cast<std::int32_t>(ids.size());
      column = std::move(refined);
    }
    limits.spend(static_cast<std::int64_t>(dfa.states.size()) * 4);
  }
  num_classes_ = static_cast<std::size_t>(num_columns);
  for (int byte = 0; byte < 256; ++byte) class_of_[byte] = static_cast<std::uint8_t>(column[byte]);

  next_.assign(num_states * num_classes_, -1);
  for (std::size_t i = 0; i < automata.size(); ++i) {
    Rule& rule = rules_[i];
    for (std::size_t k = 0; k < automata[i].states.size(); ++k) {
      const Dfa::State& state = automata[i].states[k];
      const std::size_t id = static_cast<std::size_t>(rule.first_state) + k;
      for (const Dfa::Edge& edge : state.edges) {
        for (int byte = edge.first; byte <= edge.last; ++byte) {
          next_[id * num_classes_ + class_of_[byte]] = rule.first_state + edge.target;
        }
      }
      std::uint8_t flags = 0;
      if (rule.body >= 0) {
        flags = kCounted;
        // The body is prefix-free and minimised, so there is one final state and nothing leads on from it.
        if (state.is_final) rule.iteration_end = static_cast<std::int32_t>(id);
      } else {
        if (state.is_final) flags |= kFinal;
        if (!state.calls.empty()) flags |= kHasCalls;
        if (state.is_final && state.calls.empty() && state.edges.empty()) flags |= kStop;
      }
      flags_.push_back(flags);
      rule_of_.push_back(static_cast<std::int32_t>(i));
      first_call_.push_back(static_cast<std::int32_t>(calls_.size()));
      for (const Dfa::Call& call : state.calls) {
        calls_.push_back({call.rule, rule.first_state + call.target});
        rules_[call.rule].return_states.push_back(rule.first_state + call.target);
      }
    }
  }
  first_call_.push_back(static_cast<std::int32_t>(calls_.size()));
  for (Rule& rule : rules_) {
    std::sort(rule.return_states.begin(), rule.return_states.end());
    rule.return_states.erase(std::unique(rule.return_states.begin(), rule.return_states.end()),
                             rule.return_states.end());
  }

  // A rule whose first step is to call itself again, by whatever way round, would be called for ever. The order that
  // this check finds (callees first) is also the order to collect first bytes in.
  std::vector<std::int32_t> order;
  std::vector<std::uint8_t> mark(rules_.size(), 0);
  std::vector<int> num_first_calls(rules_.size(), 0);
  std::vector<std::pair<std::int32_t, const Call*>> path;
  for (std::size_t root = 0; root < rules_.size(); ++root) {
    if (mark[root] != 0) continue;
    path.emplace_back(static_cast<std::int32_t>(root), calls_begin(rules_[root].start));
    mark[root] = 1;
    while (!path.empty()) {
      const std::int32_t id = path.back().first;
      if (path.back().second == calls_end(rules_[id].start)) {
        mark[id] = 2;
        order.push_back(id);
        for (const Call* call = calls_begin(rules_[id].start); call != calls_end(rules_[id].start); ++call) {
          num_first_calls[id] = std::max(num_first_calls[id], num_first_calls[call->rule] + 1);
        }
        if (num_first_calls[id] > kMaxFirstCalls) {
          throw Error(ErrorKind::kUnsupported,
                      "more than " + std::to_string(kMaxFirstCalls) + " rules begin with one another", rules_[id].name,
                      "write the rules that only name another in its place");
        }
        path.pop_back();
        continue;
      }
      const std::int32_t callee = (path.back().second++)->rule;
      if (mark[callee] == 2) continue;
      if (mark[callee] == 1) {
        std::string names;
        bool is_in_cycle = false;
        for (const auto& step : path) {
          is_in_cycle = is_in_cycle || step.first == callee;
          if (is_in_cycle) names += rules_[step.first].name + " → ";
        }
        throw Error(ErrorKind::kBadInput, "is left-recursive: " + names + rules_[callee].name, {},
                    "let the rule begin with something else, or write it as a repetition");
      }
      mark[callee] = 1;
      path.emplace_back(callee, calls_begin(rules_[callee].start));
    }
  }
  compute_first(order);
  compute_follow(limits);
}

void Rules::compute_first(const std::vector<std::int32_t>& order) {
  first_bytes_.resize(flags_.size());
  // The starts of called rules are needed first, and they come first in the order; other states look only at starts.
  const auto collect = [&](std::int32_t state) {
    ByteSet bytes;
    for (int byte = 0; byte < 256; ++byte) bytes[byte] = next(state, static_cast<std::uint8_t>(byte)) >= 0;
    for (const Call* call = calls_begin(state); call != calls_end(state); ++call) {
      bytes |= first_bytes_[rules_[call->rule].start];
    }
    first_bytes_[state] = bytes;
  };
  for (const std::int32_t id : order) collect(rules_[id].start);
  for (std::int32_t state = 0; state < num_states(); ++state) collect(state);
}

void Rules::compute_follow(const Limits& limits) {
  for (bool has_changed = true; has_changed;) {
    has_changed = false;
    for (Rule& rule : rules_) {
      limits.spend(1 + static_cast<std::int64_t>(rule.return_states.size()) / 2);
      ByteSet follow = rule.follow;
      for (const std::int32_t state : rule.return_states) {
        follow |= first_bytes_[state];
        if ((flags_[state] & kFinal) != 0) follow |= rule_of(state).follow;
      }
      if (follow != rule.follow) {
        rule.follow = follow;
        has_changed = true;
      }
    }
  }
}

}  // namespace pajamas::grammar
