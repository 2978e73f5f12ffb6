// Best fit, largest first, under the rule of memory_plan.h. Offline: every buffer's users are known.
#include "targets/cuda/lowering/memory_plan.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace pajamas::cuda {

namespace {

/// For each step the steps that have surely ended when it starts, as bits.
class Ancestors {
 public:
  explicit Ancestors(const Program& program) : num_words_((program.steps.size() + 63) / 64) {
    bits_.assign(program.steps.size() * num_words_, 0);
    std::vector<std::int32_t> last_of_lane(static_cast<std::size_t>(std::max(program.num_lanes, 1)), -1);
    for (std::size_t i = 0; i < program.steps.size(); ++i) {
      const Step& step = program.steps[i];
      for (const std::int32_t before : step.depends_on) join(i, static_cast<std::size_t>(before));
      auto& last = last_of_lane[static_cast<std::size_t>(step.lane)];
      if (last >= 0) join(i, static_cast<std::size_t>(last));
      last = static_cast<std::int32_t>(i);
    }
  }
  bool has(std::size_t step, std::size_t before) const {
    return ((bits_[step * num_words_ + before / 64] >> (before % 64)) & 1U) != 0;
  }

 private:
  void join(std::size_t step, std::size_t before) {
    for (std::size_t w = 0; w < num_words_; ++w) bits_[step * num_words_ + w] |= bits_[before * num_words_ + w];
    bits_[step * num_words_ + before / 64] |= std::uint64_t{1} << (before % 64);
  }
  std::size_t num_words_;
  std::vector<std::uint64_t> bits_;
};

struct Block {
  std::size_t size = 0;
  std::size_t offset = 0;
  std::vector<std::size_t> users;  ///< Ascending.
};

/// Whether every user of `a` has ended before any user of `b` starts.
bool ends_before(const Ancestors& ancestors, const Block& a, const Block& b) {
  if (a.users.back() >= b.users.front()) return false;
  for (const std::size_t later : b.users) {
    for (const std::size_t earlier : a.users) {
      if (!ancestors.has(later, earlier)) return false;
    }
  }
  return true;
}

std::size_t aligned(std::size_t bytes) { return (bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment; }

/// Places the blocks in the given order, each in the tightest gap that no block living at the same time reaches into.
std::size_t place(std::vector<Block>& blocks, const std::vector<std::size_t>& order,
                  const std::vector<std::vector<std::uint32_t>>& rivals) {
  std::vector<bool> is_placed(blocks.size(), false);
  std::size_t total = 0;
  std::vector<std::pair<std::size_t, std::size_t>> taken;
  for (const std::size_t index : order) {
    Block& block = blocks[index];
    taken.clear();
    for (const std::uint32_t other : rivals[index]) {
      if (is_placed[other]) taken.emplace_back(blocks[other].offset, blocks[other].offset + blocks[other].size);
    }
    std::sort(taken.begin(), taken.end());
    std::size_t end = 0;
    std::size_t best = std::numeric_limits<std::size_t>::max();
    std::size_t least = best;
    for (const auto& [from, to] : taken) {
      if (from > end && from - end >= block.size && from - end < least) {
        least = from - end;
        best = end;
      }
      end = std::max(end, to);
    }
    block.offset = least == std::numeric_limits<std::size_t>::max() ? end : best;
    is_placed[index] = true;
    total = std::max(total, block.offset + block.size);
  }
  return total;
}

}  // namespace

MemoryPlan plan_memory(Program& program, const std::vector<std::size_t>& workspace_bytes) {
  MemoryPlan plan;
  plan.workspace_offsets.assign(program.steps.size(), 0);
  std::vector<std::vector<std::size_t>> users(program.buffers.size());
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    for (const auto& ids : {inputs_of(program.steps[i]), outputs_of(program.steps[i])}) {
      for (const ValueId id : ids) {
        auto& list = users[static_cast<std::size_t>(program.value(id).buffer)];
        if (list.empty() || list.back() != i) list.push_back(i);
      }
    }
  }
  std::vector<Block> blocks;
  std::vector<std::size_t*> targets;
  for (std::size_t b = 0; b < program.buffers.size(); ++b) {
    Buffer& buffer = program.buffers[b];
    if (buffer.place != Place::kArena) continue;
    buffer.arena_offset = 0;
    if (users[b].empty() || buffer.size_bytes == 0) continue;
    blocks.push_back({aligned(buffer.size_bytes), 0, users[b]});
    targets.push_back(&buffer.arena_offset);
  }
  for (std::size_t i = 0; i < workspace_bytes.size() && i < program.steps.size(); ++i) {
    if (workspace_bytes[i] == 0) continue;
    blocks.push_back({aligned(workspace_bytes[i]), 0, {i}});
    targets.push_back(&plan.workspace_offsets[i]);
  }
  const Ancestors ancestors(program);
  std::vector<std::vector<std::uint32_t>> rivals(blocks.size());
  for (std::size_t a = 0; a < blocks.size(); ++a) {
    for (std::size_t b = a + 1; b < blocks.size(); ++b) {
      if (ends_before(ancestors, blocks[a], blocks[b]) || ends_before(ancestors, blocks[b], blocks[a])) continue;
      rivals[a].push_back(static_cast<std::uint32_t>(b));
      rivals[b].push_back(static_cast<std::uint32_t>(a));
    }
  }
  // Largest first is best for most graphs, by size times life for some with a few long-lived values: take the smaller.
  std::vector<std::size_t> by_size(blocks.size());
  std::iota(by_size.begin(), by_size.end(), std::size_t{0});
  std::vector<std::size_t> by_area = by_size;
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](std::size_t a, std::size_t b) { return blocks[a].size > blocks[b].size; });
  const auto area = [&](std::size_t i) {
    return static_cast<double>(blocks[i].size) *
           static_cast<double>(blocks[i].users.back() - blocks[i].users.front() + 1);
  };
  std::stable_sort(by_area.begin(), by_area.end(), [&](std::size_t a, std::size_t b) { return area(a) > area(b); });
  std::vector<Block> other = blocks;
  program.arena_bytes = place(blocks, by_size, rivals);
  if (const std::size_t bytes = place(other, by_area, rivals); bytes < program.arena_bytes) {
    program.arena_bytes = bytes;
    blocks = std::move(other);
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) *targets[i] = blocks[i].offset;
  return plan;
}

}  // namespace pajamas::cuda
