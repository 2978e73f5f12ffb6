// Subset construction, products and minimisation. See automaton.h.
#include "text/grammar/automaton.h"

#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>

#include "base/cancel.h"
#include "pajamas/error.h"

namespace pajamas::grammar {
namespace {

struct IdsHash {
  std::size_t operator()(const std::vector<std::int32_t>& ids) const {
    std::size_t hash = 0x9E3779B97F4A7C15ULL;
    for (const std::int32_t id : ids) hash = (hash ^ static_cast<std::size_t>(id)) * 0x100000001B3ULL;
    return hash ^ (hash >> 29);
  }
};

/// Adds an edge behind the last, melting it into that where they touch.
void push_edge(std::vector<Dfa::Edge>& edges, int first, int last, std::int32_t target) {
  if (!edges.empty() && edges.back().target == target && edges.back().last + 1 == first) {
    edges.back().last = static_cast<std::uint8_t>(last);
  } else {
    edges.push_back({static_cast<std::uint8_t>(first), static_cast<std::uint8_t>(last), target});
  }
}

/// The states of a subset and all that empty edges lead to, sorted.
class Closure {
 public:
  explicit Closure(const Nfa& nfa) : nfa_(nfa), mark_(nfa.states().size(), 0) {}

  void close(std::vector<std::int32_t>& ids) {
    ++round_;
    std::size_t kept = 0;
    for (const std::int32_t id : ids) {
      if (mark_[id] != round_) {
        mark_[id] = round_;
        ids[kept++] = id;
      }
    }
    ids.resize(kept);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      for (const std::int32_t next : nfa_.states()[ids[i]].empty) {
        if (mark_[next] != round_) {
          mark_[next] = round_;
          ids.push_back(next);
        }
      }
    }
    // States with nothing but empty edges say no more than what they lead to; without them equal subsets are equal.
    std::erase_if(ids, [&](std::int32_t id) {
      const Nfa::State& state = nfa_.states()[id];
      return state.bytes.empty() && state.calls.empty() && !state.empty.empty() && id != kept_id_;
    });
    std::sort(ids.begin(), ids.end());
    nfa_.limits().spend(1 + static_cast<std::int64_t>(ids.size()) / 4);
  }
  void keep(std::int32_t id) { kept_id_ = id; }

 private:
  const Nfa& nfa_;
  std::vector<std::uint32_t> mark_;
  std::uint32_t round_ = 0;
  std::int32_t kept_id_ = -1;
};

/// A product automaton; `is_final` decides by the two. State -1 of `b` is "b is dead".
template <typename IsFinal>
Dfa product(const Dfa& a, const Dfa& b, bool needs_b, const Limits& limits, IsFinal is_final) {
  Dfa result;
  std::map<std::pair<std::int32_t, std::int32_t>, std::int32_t> ids;
  std::vector<std::pair<std::int32_t, std::int32_t>> pairs;
  const auto id_of = [&](std::int32_t p, std::int32_t q) {
    const auto [found, is_new] = ids.try_emplace({p, q}, static_cast<std::int32_t>(pairs.size()));
    if (is_new) {
      limits.spend(4);
      pairs.emplace_back(p, q);
    }
    return found->second;
  };
  if (a.states.empty()) return result;
  id_of(0, b.states.empty() ? -1 : 0);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const auto [p, q] = pairs[i];
    Dfa::State state;
    state.is_final = is_final(a.states[p].is_final, q >= 0 && b.states[q].is_final);
    static const std::vector<Dfa::Edge> kNone;
    const std::vector<Dfa::Edge>& other = q >= 0 ? b.states[q].edges : kNone;
    std::size_t at = 0;
    for (const Dfa::Edge& edge : a.states[p].edges) {
      int byte = edge.first;
      while (byte <= edge.last) {
        while (at < other.size() && other[at].last < byte) ++at;
        if (at < other.size() && other[at].first <= byte) {
          const int last = std::min<int>(edge.last, other[at].last);
          push_edge(state.edges, byte, last, id_of(edge.target, other[at].target));
          byte = last + 1;
        } else {
          const int last = at < other.size() ? std::min<int>(edge.last, other[at].first - 1) : edge.last;
          if (!needs_b) push_edge(state.edges, byte, last, id_of(edge.target, -1));
          byte = last + 1;
        }
      }
    }
    result.states.push_back(std::move(state));
  }
  trim(result);
  return minimised(result, limits);
}

}  // namespace

void Limits::spend(std::int64_t work) const {
  work_left -= work;
  if (work_left < 0) {
    throw Error(ErrorKind::kUnsupported, "is too large to compile: its automaton takes too much work", {},
                "make repetition counts smaller, or split alternatives that begin alike");
  }
  if (cancel != nullptr) cancel->check("compiling a grammar");
}

std::int32_t Nfa::add_state() {
  limits_->spend(1);
  // Eight empty-edge states to a deterministic one is more than any front end makes.
  if (states_.size() >= static_cast<std::size_t>(limits_->max_states) * 8) {
    throw Error(ErrorKind::kUnsupported,
                "is too large to compile: more than " + std::to_string(limits_->max_states) + " states", {},
                "make repetition counts smaller");
  }
  states_.emplace_back();
  return static_cast<std::int32_t>(states_.size() - 1);
}

void Nfa::add_bytes(std::int32_t from, int first, int last, std::int32_t to) {
  states_[from].bytes.push_back({static_cast<std::uint8_t>(first), static_cast<std::uint8_t>(last), to});
}

std::int32_t Nfa::append_text(std::int32_t from, std::string_view bytes) {
  for (const char c : bytes) {
    const std::int32_t to = add_state();
    add_bytes(from, static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(c), to);
    from = to;
  }
  return from;
}

std::int32_t Nfa::append_call(std::int32_t from, std::int32_t rule) {
  const std::int32_t to = add_state();
  add_call(from, rule, to);
  return to;
}

std::int32_t Nfa::append_dfa(std::int32_t from, const Dfa& dfa) {
  const std::int32_t to = add_state();
  if (dfa.states.empty()) return to;
  std::vector<std::int32_t> ids;
  ids.reserve(dfa.states.size());
  for (std::size_t i = 0; i < dfa.states.size(); ++i) ids.push_back(add_state());
  add_empty(from, ids[0]);
  for (std::size_t i = 0; i < dfa.states.size(); ++i) {
    for (const Dfa::Edge& edge : dfa.states[i].edges) add_bytes(ids[i], edge.first, edge.last, ids[edge.target]);
    for (const Dfa::Call& call : dfa.states[i].calls) add_call(ids[i], call.rule, ids[call.target]);
    if (dfa.states[i].is_final) add_empty(ids[i], to);
  }
  return to;
}

void Nfa::add_utf8(std::int32_t from, char32_t first, char32_t last, std::int32_t to) {
  // A range is cut where the length of the encoding changes, and then until all bytes behind the first that differs
  // run over their whole range.
  constexpr char32_t kLastOfLength[] = {0x7F, 0x7FF, 0xFFFF, 0x10FFFF};
  for (const char32_t limit : kLastOfLength) {
    if (first <= limit && last > limit) {
      add_utf8(from, first, limit, to);
      add_utf8(from, limit + 1, last, to);
      return;
    }
  }
  if (last <= 0x7F) {
    add_bytes(from, static_cast<int>(first), static_cast<int>(last), to);
    return;
  }
  const int num_tails = last <= 0x7FF ? 1 : last <= 0xFFFF ? 2 : 3;
  for (int i = 1; i <= num_tails; ++i) {
    const char32_t mask = (char32_t{1} << (6 * i)) - 1;
    if ((first & ~mask) != (last & ~mask)) {
      if ((first & mask) != 0) {
        add_utf8(from, first, first | mask, to);
        add_utf8(from, (first | mask) + 1, last, to);
        return;
      }
      if ((last & mask) != mask) {
        add_utf8(from, first, (last & ~mask) - 1, to);
        add_utf8(from, last & ~mask, last, to);
        return;
      }
    }
  }
  const int lead = num_tails == 1 ? 0xC0 : num_tails == 2 ? 0xE0 : 0xF0;
  std::int32_t state = from;
  for (int i = num_tails; i >= 0; --i) {
    const int mark = i == num_tails ? lead : 0x80;
    const int mask = i == num_tails ? 0xFF : 0x3F;
    const int low = mark | (static_cast<int>(first >> (6 * i)) & mask);
    const int high = mark | (static_cast<int>(last >> (6 * i)) & mask);
    const std::int32_t next = i == 0 ? to : add_state();
    add_bytes(state, low, high, next);
    state = next;
  }
}

std::int32_t Nfa::append_class(std::int32_t from, const CodePointSet& set, Spelling spelling) {
  const std::int32_t to = add_state();
  if (spelling == Spelling::kUtf8) {
    for (const CodePointRange& range : set.ranges()) add_utf8(from, range.first, range.last, to);
    return to;
  }
  const CodePointSet raw = CodePointSet::of(0x20, 0x10FFFF);
  CodePointSet escaped = CodePointSet::of('"');
  escaped.add('\\', '\\');
  const CodePointSet members = set.intersection(raw.without(escaped));
  for (const CodePointRange& range : members.ranges()) add_utf8(from, range.first, range.last, to);
  escaped.add(0, 0x1F);
  std::int32_t backslash = -1;
  std::int32_t zeros[2] = {-1, -1};  // behind \u000 and \u001
  const CodePointSet escaped_members = set.intersection(escaped);
  for (const CodePointRange& range : escaped_members.ranges()) {
    for (char32_t c = range.first; c <= range.last; ++c) {
      if (backslash < 0) {
        backslash = add_state();
        add_bytes(from, '\\', '\\', backslash);
      }
      constexpr std::string_view kPlain = "\"\\\b\f\n\r\t";
      constexpr std::string_view kShort = "\"\\bfnrt";
      const std::size_t found = kPlain.find(static_cast<char>(c));
      if (found != std::string_view::npos) {
        add_bytes(backslash, kShort[found], kShort[found], to);
        continue;
      }
      std::int32_t& state = zeros[c >> 4];
      if (state < 0) state = append_text(backslash, c < 0x10 ? "u000" : "u001");
      const int digit = static_cast<int>(c & 15);
      if (digit < 10) {
        add_bytes(state, '0' + digit, '0' + digit, to);
      } else {
        add_bytes(state, 'a' + digit - 10, 'a' + digit - 10, to);
        add_bytes(state, 'A' + digit - 10, 'A' + digit - 10, to);
      }
    }
  }
  return to;
}

bool Dfa::has_calls() const {
  return std::any_of(states.begin(), states.end(), [](const State& state) { return !state.calls.empty(); });
}

bool Dfa::is_empty() const {
  std::vector<bool> is_met(states.size(), false);
  std::vector<std::int32_t> open;
  if (!states.empty()) open.push_back(0);
  while (!open.empty()) {
    const std::int32_t id = open.back();
    open.pop_back();
    if (is_met[id]) continue;
    is_met[id] = true;
    if (states[id].is_final) return false;
    for (const Edge& edge : states[id].edges) open.push_back(edge.target);
  }
  return true;
}

bool Dfa::is_prefix_free() const {
  return std::none_of(states.begin(), states.end(), [](const State& state) {
    return state.is_final && !(state.edges.empty() && state.calls.empty());
  });
}

bool Dfa::accepts(std::string_view bytes) const {
  if (states.empty()) return false;
  std::int32_t id = 0;
  for (const char c : bytes) {
    const auto byte = static_cast<std::uint8_t>(c);
    std::int32_t next = -1;
    for (const Edge& edge : states[id].edges) {
      if (edge.first <= byte && byte <= edge.last) next = edge.target;
    }
    if (next < 0) return false;
    id = next;
  }
  return states[id].is_final;
}

Dfa determinised(const Nfa& nfa, std::int32_t start, std::int32_t end) {
  Closure closure(nfa);
  closure.keep(end);
  Dfa result;
  std::unordered_map<std::vector<std::int32_t>, std::int32_t, IdsHash> ids;
  std::vector<const std::vector<std::int32_t>*> subsets;
  const auto id_of = [&](std::vector<std::int32_t> members) {
    closure.close(members);
    const auto [found, is_new] = ids.try_emplace(std::move(members), static_cast<std::int32_t>(subsets.size()));
    if (is_new) {
      if (subsets.size() >= static_cast<std::size_t>(nfa.limits().max_states)) {
        throw Error(ErrorKind::kUnsupported,
                    "is too large to compile: more than " + std::to_string(nfa.limits().max_states) + " states", {},
                    "make repetition counts smaller, or split alternatives that begin alike");
      }
      subsets.push_back(&found->first);
    }
    return found->second;
  };
  id_of({start});
  std::vector<Nfa::ByteEdge> edges;
  std::vector<Nfa::CallEdge> calls;
  for (std::size_t i = 0; i < subsets.size(); ++i) {
    Dfa::State state;
    edges.clear();
    calls.clear();
    for (const std::int32_t id : *subsets[i]) {
      const Nfa::State& member = nfa.states()[id];
      edges.insert(edges.end(), member.bytes.begin(), member.bytes.end());
      calls.insert(calls.end(), member.calls.begin(), member.calls.end());
      state.is_final = state.is_final || id == end;
    }
    nfa.limits().spend(static_cast<std::int64_t>(edges.size()) / 4);
    // Between two neighbouring cuts all bytes lead to the same members.
    std::bitset<257> cuts;
    for (const Nfa::ByteEdge& edge : edges) {
      cuts.set(edge.first);
      cuts.set(static_cast<std::size_t>(edge.last) + 1);
    }
    for (int first = 0; first < 256;) {
      int next = first + 1;
      while (next < 256 && !cuts[next]) ++next;
      std::vector<std::int32_t> members;
      for (const Nfa::ByteEdge& edge : edges) {
        if (edge.first <= first && first <= edge.last) members.push_back(edge.target);
      }
      if (!members.empty()) push_edge(state.edges, first, next - 1, id_of(std::move(members)));
      first = next;
    }
    std::sort(calls.begin(), calls.end(),
              [](const Nfa::CallEdge& a, const Nfa::CallEdge& b) { return a.rule < b.rule; });
    for (std::size_t k = 0; k < calls.size();) {
      std::vector<std::int32_t> members;
      const std::int32_t rule = calls[k].rule;
      for (; k < calls.size() && calls[k].rule == rule; ++k) members.push_back(calls[k].target);
      state.calls.push_back({rule, id_of(std::move(members))});
    }
    result.states.push_back(std::move(state));
  }
  trim(result);
  return result;
}

void trim(Dfa& dfa) {
  const std::size_t n = dfa.states.size();
  std::vector<std::vector<std::int32_t>> sources(n);
  std::vector<std::int32_t> open;
  for (std::size_t i = 0; i < n; ++i) {
    for (const Dfa::Edge& edge : dfa.states[i].edges) sources[edge.target].push_back(static_cast<std::int32_t>(i));
    for (const Dfa::Call& call : dfa.states[i].calls) sources[call.target].push_back(static_cast<std::int32_t>(i));
    if (dfa.states[i].is_final) open.push_back(static_cast<std::int32_t>(i));
  }
  std::vector<bool> can_end(n, false);
  while (!open.empty()) {
    const std::int32_t id = open.back();
    open.pop_back();
    if (can_end[id]) continue;
    can_end[id] = true;
    open.insert(open.end(), sources[id].begin(), sources[id].end());
  }
  if (n == 0 || !can_end[0]) {
    dfa.states.clear();
    return;
  }
  // In the order in which a walk from the start meets them, so that equal automata get equal numbers.
  std::vector<std::int32_t> new_id(n, -1);
  std::vector<std::int32_t> order{0};
  new_id[0] = 0;
  const auto meet = [&](std::int32_t id) {
    if (new_id[id] < 0) {
      new_id[id] = static_cast<std::int32_t>(order.size());
      order.push_back(id);
    }
    return new_id[id];
  };
  std::vector<Dfa::State> states;
  for (std::size_t i = 0; i < order.size(); ++i) {
    Dfa::State& old = dfa.states[order[i]];
    Dfa::State state;
    state.is_final = old.is_final;
    for (const Dfa::Edge& edge : old.edges) {
      if (can_end[edge.target]) push_edge(state.edges, edge.first, edge.last, meet(edge.target));
    }
    for (const Dfa::Call& call : old.calls) {
      if (can_end[call.target]) state.calls.push_back({call.rule, meet(call.target)});
    }
    states.push_back(std::move(state));
  }
  dfa.states = std::move(states);
}

Dfa minimised(const Dfa& dfa, const Limits& limits) {
  const std::size_t n = dfa.states.size();
  // Moore's refinement: rounds of hashing every state by its class and those of its targets. The bound keeps long
  // chains of many states (rounds x states) from taking seconds.
  constexpr std::int64_t kMaxWork = 4'000'000;
  std::vector<std::int32_t> cls(n);
  for (std::size_t i = 0; i < n; ++i) cls[i] = dfa.states[i].is_final ? 1 : 0;
  std::size_t num_classes = 0;
  std::int64_t work = 0;
  std::vector<std::int32_t> key;
  while (true) {
    std::unordered_map<std::vector<std::int32_t>, std::int32_t, IdsHash> ids;
    std::vector<std::int32_t> next(n);
    for (std::size_t i = 0; i < n; ++i) {
      const Dfa::State& state = dfa.states[i];
      key.assign(1, cls[i]);
      for (const Dfa::Edge& edge : state.edges) {
        const std::int32_t bytes = edge.first << 8 | edge.last;
        // Neighbouring edges into one class count as one.
        if (key.size() >= 3 && key.back() == cls[edge.target] && (key[key.size() - 2] & 255) + 1 == edge.first) {
          key[key.size() - 2] = (key[key.size() - 2] & ~255) | edge.last;
        } else {
          key.push_back(bytes);
          key.push_back(cls[edge.target]);
        }
      }
      key.push_back(-1);
      for (const Dfa::Call& call : state.calls) {
        key.push_back(call.rule);
        key.push_back(cls[call.target]);
      }
      work += static_cast<std::int64_t>(key.size());
      next[i] = ids.try_emplace(key, static_cast<std::int32_t>(ids.size())).first->second;
    }
    if (work > kMaxWork) return dfa;
    cls = std::move(next);
    if (ids.size() == num_classes) break;
    num_classes = ids.size();
    limits.spend(static_cast<std::int64_t>(n) / 8);
  }
  Dfa result;
  result.states.resize(num_classes);
  std::vector<bool> is_done(num_classes, false);
  for (std::size_t i = 0; i < n; ++i) {
    if (is_done[cls[i]]) continue;
    is_done[cls[i]] = true;
    Dfa::State& state = result.states[cls[i]];
    state.is_final = dfa.states[i].is_final;
    for (const Dfa::Edge& edge : dfa.states[i].edges) push_edge(state.edges, edge.first, edge.last, cls[edge.target]);
    for (const Dfa::Call& call : dfa.states[i].calls) state.calls.push_back({call.rule, cls[call.target]});
  }
  // Class numbers follow the order of the states, so state 0 keeps the number 0.
  trim(result);
  return result;
}

Dfa intersection(const Dfa& a, const Dfa& b, const Limits& limits) {
  return product(a, b, true, limits, [](bool p, bool q) { return p && q; });
}

Dfa difference(const Dfa& a, const Dfa& b, const Limits& limits) {
  return product(a, b, false, limits, [](bool p, bool q) { return p && !q; });
}

std::string fingerprint(const Dfa& dfa) {
  std::string text;
  const auto put = [&](std::int32_t value) { text.append(reinterpret_cast<const char*>(&value), sizeof value); };
  for (const Dfa::State& state : dfa.states) {
    put(state.is_final ? 1 : 0);
    put(static_cast<std::int32_t>(state.edges.size()));
    for (const Dfa::Edge& edge : state.edges) {
      put(edge.first << 8 | edge.last);
      put(edge.target);
    }
    put(static_cast<std::int32_t>(state.calls.size()));
    for (const Dfa::Call& call : state.calls) {
      put(call.rule);
      put(call.target);
    }
  }
  return text;
}

std::string json_string_interior(std::string_view text) {
  constexpr std::string_view kPlain = "\"\\\b\f\n\r\t";
  constexpr std::string_view kShort = "\"\\bfnrt";
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string result;
  for (const char c : text) {
    const std::size_t found = kPlain.find(c);
    if (found != std::string_view::npos) {
      result += '\\';
      result += kShort[found];
    } else if (static_cast<std::uint8_t>(c) < 0x20) {
      result += "\\u00";
      result += kDigits[static_cast<std::size_t>(c >> 4)];
      result += kDigits[static_cast<std::size_t>(c & 15)];
    } else {
      result += c;
    }
  }
  return result;
}

}  // namespace pajamas::grammar
