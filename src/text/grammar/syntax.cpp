// Syntax trees into automata. See syntax.h.
#include "text/grammar/syntax.h"

#include <algorithm>

#include "pajamas/error.h"
#include "text/unicode.h"

namespace pajamas::grammar {
namespace {

/// Repetitions of up to this many are written out: the automaton stays small, and is deterministic with what follows.
constexpr std::uint32_t kMaxWrittenOut = 6;
/// Bodies larger than this are written out whatever their count; the bound on states decides.
constexpr std::size_t kMaxCountedStates = 512;

bool has_rules(const SyntaxNode& node) {
  return node.kind == SyntaxNode::Kind::kRule || std::any_of(node.children.begin(), node.children.end(), has_rules);
}

[[noreturn]] void refuse_anchor(const SyntaxNode& node) {
  throw Error(ErrorKind::kUnsupported, "an anchor (^ or $) inside the pattern is not supported",
              "position " + std::to_string(node.position), "put anchors only at the ends of the whole pattern");
}

bool has_anchors(const SyntaxNode& node) {
  return node.kind == SyntaxNode::Kind::kTextStart || node.kind == SyntaxNode::Kind::kTextEnd ||
         std::any_of(node.children.begin(), node.children.end(), has_anchors);
}

SyntaxNode anything() { return repetition_node(class_node(CodePointSet::all()), 0, kUnlimited); }

}  // namespace

SyntaxNode class_node(CodePointSet set) {
  SyntaxNode node;
  node.kind = SyntaxNode::Kind::kClass;
  node.set = std::move(set);
  return node;
}

SyntaxNode text_node(std::string_view text) {
  SyntaxNode node;
  for (const char32_t c : code_points_of(text)) node.children.push_back(class_node(CodePointSet::of(c)));
  return node;
}

SyntaxNode repetition_node(SyntaxNode child, std::uint32_t min_count, std::uint32_t max_count) {
  SyntaxNode node;
  node.kind = SyntaxNode::Kind::kRepetition;
  node.position = child.position;
  node.min_count = min_count;
  node.max_count = max_count;
  node.children.push_back(std::move(child));
  return node;
}

SyntaxNode anchored(SyntaxNode node, bool is_search) {
  using Kind = SyntaxNode::Kind;
  if (node.kind == Kind::kAlternation && (is_search || has_anchors(node))) {
    for (SyntaxNode& child : node.children) child = anchored(std::move(child), is_search);
    return node;
  }
  // A group around all of it changes nothing.
  if (node.kind == Kind::kSequence && node.children.size() == 1 &&
      (node.children[0].kind == Kind::kSequence || node.children[0].kind == Kind::kAlternation)) {
    return anchored(SyntaxNode(std::move(node.children[0])), is_search);
  }
  if (node.kind != Kind::kSequence) {
    SyntaxNode whole;
    whole.children.push_back(std::move(node));
    node = std::move(whole);
  }
  // ^(?:a|b)$ and (^a|b): the ends of a sequence may be groups with anchors of their own only where they are all of
  // it, which was answered above.
  std::size_t begin = 0;
  std::size_t end = node.children.size();
  while (begin < end && node.children[begin].kind == Kind::kTextStart) ++begin;
  while (end > begin && node.children[end - 1].kind == Kind::kTextEnd) --end;
  SyntaxNode result;
  if (is_search && begin == 0) result.children.push_back(anything());
  for (std::size_t i = begin; i < end; ++i) {
    if (has_anchors(node.children[i])) refuse_anchor(node.children[i]);
    result.children.push_back(std::move(node.children[i]));
  }
  if (is_search && end == node.children.size()) result.children.push_back(anything());
  return result;
}

std::int32_t SyntaxEmitter::append(Nfa& nfa, std::int32_t from, const SyntaxNode& node) {
  limits_.spend(1);
  switch (node.kind) {
    case SyntaxNode::Kind::kClass: return nfa.append_class(from, node.set, spelling_);
    case SyntaxNode::Kind::kSequence:
      for (const SyntaxNode& child : node.children) from = append(nfa, from, child);
      return from;
    case SyntaxNode::Kind::kAlternation: {
      const std::int32_t to = nfa.add_state();
      for (const SyntaxNode& child : node.children) {
        // Its own first state: what a repetition in it adds must not be seen by the others.
        const std::int32_t begin = nfa.add_state();
        nfa.add_empty(from, begin);
        nfa.add_empty(append(nfa, begin, child), to);
      }
      return to;
    }
    case SyntaxNode::Kind::kRepetition: return append_repetition(nfa, from, node);
    case SyntaxNode::Kind::kRule: return nfa.append_call(from, node.rule);
    case SyntaxNode::Kind::kTextStart:
    case SyntaxNode::Kind::kTextEnd: refuse_anchor(node);
  }
  return from;
}

std::int32_t SyntaxEmitter::counted_rule(const SyntaxNode& node) {
  const bool is_long = (node.max_count != kUnlimited && node.max_count > kMaxWrittenOut) ||
                       (node.max_count == kUnlimited && node.min_count > kMaxWrittenOut);
  if (draft_ == nullptr || !is_long || has_rules(node.children[0])) return -1;
  Nfa nfa(limits_);
  const std::int32_t start = nfa.add_state();
  const std::int32_t end = append(nfa, start, node.children[0]);
  const Dfa body = minimised(determinised(nfa, start, end), limits_);
  if (body.states.empty() || body.states.size() > kMaxCountedStates || body.has_calls() || !body.is_prefix_free() ||
      body.states[0].is_final) {
    return -1;
  }
  return draft_->counted_rule(body, node.min_count, node.max_count);
}

std::int32_t SyntaxEmitter::append_repetition(Nfa& nfa, std::int32_t from, const SyntaxNode& node) {
  const SyntaxNode& child = node.children[0];
  if (node.max_count == 0) return from;
  if (const std::int32_t rule = counted_rule(node); rule >= 0) return nfa.append_call(from, rule);
  // A child that writes nothing would be written out without ever meeting the bound on states.
  for (std::uint32_t i = 0; i < node.min_count; ++i) {
    limits_.spend(1);
    from = append(nfa, from, child);
  }
  const std::int32_t to = nfa.add_state();
  if (node.max_count == kUnlimited) {
    const std::int32_t begin = nfa.add_state();
    nfa.add_empty(from, begin);
    nfa.add_empty(append(nfa, begin, child), begin);
    nfa.add_empty(begin, to);
    return to;
  }
  for (std::uint32_t i = node.min_count; i < node.max_count; ++i) {
    limits_.spend(1);
    nfa.add_empty(from, to);
    const std::int32_t begin = nfa.add_state();
    nfa.add_empty(from, begin);
    from = append(nfa, begin, child);
  }
  nfa.add_empty(from, to);
  return to;
}

Dfa SyntaxEmitter::dfa_of(const SyntaxNode& node) {
  Nfa nfa(limits_);
  const std::int32_t start = nfa.add_state();
  SyntaxEmitter plain(limits_, nullptr, spelling_);
  const std::int32_t end = plain.append(nfa, start, node);
  return minimised(determinised(nfa, start, end), limits_);
}

}  // namespace pajamas::grammar
