// Stepping sets of stacks. See walker.h.
#include "text/grammar/walker.h"

#include <algorithm>

#include "pajamas/error.h"

namespace pajamas::grammar {

bool Walker::has_equal_links(std::int32_t a, std::int32_t b) const {
  while (a != b) {
    if (a < 0 || b < 0 || links[a].state != links[b].state) return false;
    a = links[a].parent;
    b = links[b].parent;
  }
  return true;
}

void Walker::emit(const Item& item) {
  for (std::size_t i = produced_begin_; i < items.size(); ++i) {
    Item& other = items[i];
    if (other.state != item.state || !has_equal_links(other.link, item.link)) continue;
    if (other.count == item.count) return;
    // Of two counts that both may end, the smaller can do all that the larger can.
    const std::uint32_t min_count = rules_->rule_of(item.state).min_count;
    if (other.count >= min_count && item.count >= min_count) {
      other.count = std::min(other.count, item.count);
      return;
    }
  }
  if (items.size() - produced_begin_ >= kMaxStacks) {
    throw Error(
        ErrorKind::kUnsupported,
        "the grammar is so ambiguous that more than " + std::to_string(kMaxStacks) + " readings of the text are alive",
        {}, "write it so that one reading is left: without repetitions that overlap");
  }
  items.push_back(item);
}

bool Walker::is_new_call(std::int32_t rule_start, std::int32_t top, std::int32_t below) {
  for (const MadeCall& made : made_calls_) {
    if (made.rule_start == rule_start && made.top == top && has_equal_links(made.below, below)) return false;
  }
  if (made_calls_.size() >= kMaxCalls) {
    throw Error(ErrorKind::kUnsupported,
                "the grammar is so ambiguous that more than " + std::to_string(kMaxCalls) + " rules may begin at once",
                {}, "let the alternatives begin with different text");
  }
  made_calls_.push_back({rule_start, top, below});
  return true;
}

void Walker::step_item(Item item, std::uint8_t byte) {
  while (true) {
    const std::uint8_t flags = rules_->flags(item.state);
    const std::int32_t next = rules_->next(item.state, byte);
    if ((flags & Rules::kCounted) != 0) {
      const Rules::Rule& rule = rules_->rule_of(item.state);
      const bool is_between = item.state == rule.start;
      if (next >= 0 && !(is_between && item.count >= rule.max_count)) {
        if (next == rule.iteration_end) {
          // Without an upper bound a count past the lower one says nothing; equal readings stay equal this way.
          const bool is_enough = rule.max_count == kUnlimited && item.count >= rule.min_count;
          emit({rule.start, item.link, is_enough ? item.count : item.count + 1});
        } else {
          emit({next, item.link, item.count});
        }
      }
      if (!is_between || item.count < rule.min_count) return;
    } else {
      if (next >= 0) emit({next, item.link, 0});
      if ((flags & Rules::kHasCalls) != 0) {
        for (const Rules::Call* call = rules_->calls_begin(item.state); call != rules_->calls_end(item.state); ++call) {
          const std::int32_t start = rules_->rules()[call->rule].start;
          if (!rules_->first_bytes(start)[byte]) continue;
          std::int32_t link = item.link;
          // Nothing can follow in the calling rule: return to its caller at once, and lists written by recursion at
          // their end need no stack.
          const bool needs_frame = (rules_->flags(call->target) & Rules::kStop) == 0;
          const std::int32_t top = needs_frame ? call->target : link >= 0 ? links[link].state : kNothingBelow;
          const std::int32_t below = needs_frame || link < 0 ? link : links[link].parent;
          // Rules that share what they begin with lead to the same call by a number of ways that doubles with each.
          if (!is_new_call(start, top, below)) continue;
          if (needs_frame) {
            if (link >= 0 && links[link].depth >= kMaxDepth) continue;
            link = push(call->target, link);
          }
          step_item({start, link, 0}, byte);
        }
      }
      if ((flags & Rules::kFinal) == 0) return;
    }
    if (item.link == kNothingBelow) return;
    if (item.link == kUnknownBelow) {
      if (rules_->rule_of(item.state).follow[byte]) has_asked_below_ = true;
      return;
    }
    item = {links[item.link].state, links[item.link].parent, 0};
  }
}

bool Walker::step(std::size_t begin, std::size_t end, std::uint8_t byte) {
  produced_begin_ = items.size();
  has_asked_below_ = false;
  made_calls_.clear();
  for (std::size_t i = begin; i < end; ++i) step_item(items[i], byte);
  return has_asked_below_;
}

bool Walker::advance(std::uint8_t byte) {
  const std::size_t num_items = items.size();
  step(0, num_items, byte);
  items.erase(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(num_items));
  return !items.empty();
}

bool Walker::is_complete(std::size_t begin, std::size_t end) const {
  for (std::size_t i = begin; i < end; ++i) {
    const Item& item = items[i];
    const Rules::Rule& rule = rules_->rule_of(item.state);
    bool is_final = (rules_->flags(item.state) & Rules::kFinal) != 0;
    if ((rules_->flags(item.state) & Rules::kCounted) != 0) {
      is_final = item.state == rule.start && item.count >= rule.min_count;
    }
    for (std::int32_t link = item.link; is_final && link >= 0; link = links[link].parent) {
      is_final = (rules_->flags(links[link].state) & Rules::kFinal) != 0;
    }
    if (is_final) return true;
  }
  return false;
}

ByteSet Walker::next_bytes() const {
  ByteSet bytes;
  for (const Item& item : items) {
    const Rules::Rule& rule = rules_->rule_of(item.state);
    bool may_return = (rules_->flags(item.state) & Rules::kFinal) != 0;
    if ((rules_->flags(item.state) & Rules::kCounted) != 0) {
      const bool is_between = item.state == rule.start;
      may_return = is_between && item.count >= rule.min_count;
      if (!is_between || item.count < rule.max_count) bytes |= rules_->first_bytes(item.state);
    } else {
      bytes |= rules_->first_bytes(item.state);
    }
    for (std::int32_t link = item.link; may_return && link >= 0; link = links[link].parent) {
      bytes |= rules_->first_bytes(links[link].state);
      may_return = (rules_->flags(links[link].state) & Rules::kFinal) != 0;
    }
  }
  return bytes;
}

}  // namespace pajamas::grammar
