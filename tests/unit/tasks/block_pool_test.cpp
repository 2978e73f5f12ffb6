// BlockPool against a naive model over random operations, and its rules one by one.
#include "tasks/generation/block_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "pajamas/error.h"

namespace pajamas {
namespace {

using Tokens = std::vector<std::int32_t>;

TEST(BlockPool, GivesEachBlockOnceAndTakesThemBack) {
  BlockPool pool(3, 4);
  std::vector<std::int32_t> taken;
  for (int i = 0; i < 3; ++i) taken.push_back(pool.take().value());
  EXPECT_EQ(taken, (std::vector<std::int32_t>{0, 1, 2}));
  EXPECT_FALSE(pool.take().has_value());
  EXPECT_EQ(pool.num_available(), 0);
  pool.share(1);
  pool.release(taken);
  EXPECT_EQ(pool.num_available(), 2);
  EXPECT_FALSE(pool.is_shared(1));
  pool.release(std::vector<std::int32_t>{1});
  EXPECT_EQ(pool.num_available(), 3);
  EXPECT_THROW(pool.release(std::vector<std::int32_t>{1}), Error);
  EXPECT_THROW(pool.share(0), Error);
  EXPECT_THROW(pool.share(3), Error);
}

TEST(BlockPool, RefusesImpossibleSizes) {
  EXPECT_THROW(BlockPool(0, 4), Error);
  EXPECT_THROW(BlockPool(std::int64_t{1} << 31, 4), Error);
  EXPECT_THROW(BlockPool(1, 0), Error);
}

TEST(BlockPool, FindsPublishedBeginningsOnly) {
  BlockPool pool(8, 2);
  const Tokens text{1, 2, 3, 4, 5, 6};
  std::vector<std::int32_t> held;
  BlockPool::Node node = BlockPool::kRoot;
  for (std::size_t i = 0; i < 3; ++i) {
    const std::int32_t block = pool.take().value();
    const auto published = pool.publish(block, node, std::span(text).subspan(2 * i, 2));
    EXPECT_EQ(published.block, block);
    held.push_back(block);
    node = published.node;
  }
  EXPECT_TRUE(pool.find(Tokens{3, 4, 5, 6}, 9).blocks.empty());  // the middle is no beginning
  EXPECT_TRUE(pool.find(Tokens{1}, 9).blocks.empty());
  const auto two = pool.find(Tokens{1, 2, 3, 4, 9, 9}, 9);
  EXPECT_EQ(two.blocks, (std::vector<std::int32_t>{held[0], held[1]}));
  EXPECT_EQ(pool.find(text, 1).blocks.size(), 1U);
  pool.release(two.blocks);
  pool.release(std::vector<std::int32_t>{held[0]});
  pool.release(held);
  EXPECT_EQ(pool.num_cached(), 3);
  EXPECT_EQ(pool.num_available(), 8);
}

TEST(BlockPool, EvictsTheEndOfTheLeastRecentlyUsedTextFirst) {
  BlockPool pool(4, 1);
  const auto make = [&](const Tokens& text) {
    std::vector<std::int32_t> blocks;
    BlockPool::Node node = BlockPool::kRoot;
    for (const std::int32_t token : text) {
      blocks.push_back(pool.take().value());
      node = pool.publish(blocks.back(), node, {&token, 1}).node;
    }
    return blocks;
  };
  pool.release(make({1, 2}));
  pool.release(make({3, 4}));
  pool.release(pool.find(Tokens{1, 2}, 2).blocks);  // used again: now the younger one
  const std::int32_t taken = pool.take().value();
  EXPECT_EQ(pool.num_evictions(), 1);
  EXPECT_EQ(pool.find(Tokens{3, 4}, 2).blocks.size(), 1U);
  EXPECT_EQ(pool.find(Tokens{1, 2}, 2).blocks.size(), 2U);
  pool.release(std::vector<std::int32_t>{taken});
}

TEST(BlockPool, EqualContentIsHeldOnce) {
  BlockPool pool(4, 2);
  const Tokens text{7, 8};
  const std::int32_t first = pool.take().value();
  const std::int32_t second = pool.take().value();
  const auto a = pool.publish(first, BlockPool::kRoot, text);
  const auto b = pool.publish(second, BlockPool::kRoot, text);
  EXPECT_EQ(b.block, first);
  EXPECT_EQ(b.node, a.node);
  EXPECT_TRUE(pool.is_shared(first));
  EXPECT_EQ(pool.num_available(), 3);
  EXPECT_EQ(pool.publish(first, BlockPool::kRoot, text).node, a.node);  // once more changes nothing
  EXPECT_THROW(pool.publish(first, BlockPool::kRoot, Tokens{7}), Error);
}

TEST(BlockPool, WithoutAPrefixCacheNothingIsFound) {
  BlockPool pool(2, 1, false);
  const std::int32_t block = pool.take().value();
  EXPECT_EQ(pool.publish(block, BlockPool::kRoot, Tokens{1}).block, block);
  EXPECT_TRUE(pool.find(Tokens{1}, 1).blocks.empty());
  pool.release(std::vector<std::int32_t>{block});
  EXPECT_EQ(pool.num_cached(), 0);
}

/// The same rules with maps and lists, no hashes.
struct NaiveModel {
  explicit NaiveModel(int num_blocks, std::size_t size) : block_size(size), holders(num_blocks, 0) {}
  std::size_t block_size;
  std::vector<int> holders;
  std::map<std::pair<BlockPool::Node, Tokens>, std::int32_t> published;
  std::map<std::int32_t, BlockPool::Node> nodes;
  std::map<BlockPool::Node, Tokens> texts{{BlockPool::kRoot, {}}};  // all tokens up to a node's end
  std::list<std::int32_t> cached;                                   // least recently used first

  int num_free() const {
    return static_cast<int>(std::count(holders.begin(), holders.end(), 0)) - static_cast<int>(cached.size());
  }
  void unpublish(std::int32_t block) {
    for (auto it = published.begin(); it != published.end(); ++it) {
      if (it->second != block) continue;
      published.erase(it);
      break;
    }
    nodes.erase(block);
  }
  void took(std::int32_t block) {
    ASSERT_EQ(holders[block], 0) << "block " << block << " is in use";
    if (num_free() > 0) {
      ASSERT_EQ(nodes.count(block), 0U) << "a cached block although one is free";
    } else {
      ASSERT_EQ(block, cached.front());
      // Nothing that can still be found comes after what is forgotten.
      for (const auto& entry : published) ASSERT_NE(entry.first.first, nodes.at(block));
      cached.pop_front();
      unpublish(block);
    }
    holders[block] = 1;
  }
  void hold(std::int32_t block) {
    if (holders[block]++ == 0) cached.remove(block);
  }
  void release(std::int32_t block) {
    if (--holders[block] == 0 && nodes.count(block) > 0) cached.push_back(block);
  }
};

struct Holder {
  Tokens text;
  std::vector<std::int32_t> blocks;
  std::size_t num_published = 0;
  BlockPool::Node node = BlockPool::kRoot;
};

void run_random_operations(unsigned seed, int num_blocks, std::size_t block_size, int num_operations,
                           bool has_withdraw) {
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  BlockPool pool(num_blocks, static_cast<std::int64_t>(block_size));
  NaiveModel model(num_blocks, block_size);
  std::vector<Holder> all;
  for (int operation = 0; operation < num_operations; ++operation) {
    const std::size_t kind = below(100);
    if (kind < 30) {  // a new text, from the cache as far as it goes
      Holder holder;
      holder.text.resize(below(6 * block_size));
      for (auto& token : holder.text) token = static_cast<std::int32_t>(below(2));
      const std::size_t max_blocks = below(7);
      const BlockPool::Prefix found = pool.find(holder.text, max_blocks);
      BlockPool::Node node = BlockPool::kRoot;
      std::vector<std::int32_t> expected;
      while (expected.size() < std::min(max_blocks, holder.text.size() / block_size)) {
        const auto begin = holder.text.begin() + static_cast<std::ptrdiff_t>(expected.size() * block_size);
        const auto it = model.published.find({node, Tokens(begin, begin + static_cast<std::ptrdiff_t>(block_size))});
        if (it == model.published.end()) break;
        expected.push_back(it->second);
        node = model.nodes.at(it->second);
      }
      ASSERT_EQ(found.blocks, expected);
      ASSERT_EQ(found.node, node);
      // Whatever was found is the beginning of this very text.
      const Tokens& known = model.texts.at(node);
      ASSERT_TRUE(std::equal(known.begin(), known.end(), holder.text.begin()));
      for (const std::int32_t block : found.blocks) model.hold(block);
      holder.blocks = found.blocks;
      holder.num_published = found.blocks.size();
      holder.node = node;
      holder.text.resize(std::max(holder.text.size(), holder.blocks.size() * block_size));
      all.push_back(std::move(holder));
    } else if (kind < 65 && !all.empty()) {  // grows by a block and publishes the one before
      Holder& holder = all[below(all.size())];
      const auto block = pool.take();
      if (!block) {
        ASSERT_EQ(model.num_free() + static_cast<int>(model.cached.size()), 0);
      } else {
        model.took(*block);
        if (testing::Test::HasFatalFailure()) return;
        holder.blocks.push_back(*block);
        while (holder.text.size() < holder.blocks.size() * block_size) {
          holder.text.push_back(static_cast<std::int32_t>(below(2)));
        }
      }
      if (holder.num_published < holder.blocks.size() && below(4) > 0) {
        std::int32_t& own = holder.blocks[holder.num_published];
        const auto begin = holder.text.begin() + static_cast<std::ptrdiff_t>(holder.num_published * block_size);
        const Tokens content(begin, begin + static_cast<std::ptrdiff_t>(block_size));
        const auto published = pool.publish(own, holder.node, content);
        const auto it = model.published.find({holder.node, content});
        if (model.nodes.count(own) > 0) {
          ASSERT_EQ(published.block, own);
        } else if (it != model.published.end()) {
          ASSERT_EQ(published.block, it->second);
          model.hold(it->second);
          model.release(own);
        } else {
          ASSERT_EQ(published.block, own);
          ASSERT_EQ(model.texts.count(published.node), 0U) << "a node is given twice";
          model.published[{holder.node, content}] = own;
          model.nodes[own] = published.node;
          Tokens text = model.texts.at(holder.node);
          text.insert(text.end(), content.begin(), content.end());
          model.texts[published.node] = text;
        }
        own = published.block;
        holder.node = published.node;
        ++holder.num_published;
      }
    } else if (kind < 72 && !all.empty()) {  // a copy that shares
      Holder copy = all[below(all.size())];
      for (const std::int32_t block : copy.blocks) {
        pool.share(block);
        model.hold(block);
      }
      // From here on the two fill unpublished blocks by themselves; what is shared and unpublished stays so.
      all.push_back(std::move(copy));
    } else if (kind < 98 && !all.empty()) {
      const std::size_t index = below(all.size());
      pool.release(all[index].blocks);
      for (auto it = all[index].blocks.rbegin(); it != all[index].blocks.rend(); ++it) model.release(*it);
      all.erase(all.begin() + static_cast<std::ptrdiff_t>(index));
    } else if (has_withdraw && !all.empty()) {
      const Holder& holder = all[below(all.size())];
      pool.withdraw(holder.blocks);
      for (const std::int32_t block : holder.blocks) model.unpublish(block);
    }
    ASSERT_EQ(pool.num_cached(), static_cast<std::int64_t>(model.cached.size())) << "operation " << operation;
    ASSERT_EQ(pool.num_available(), model.num_free() + static_cast<int>(model.cached.size()));
    for (std::int32_t block = 0; block < num_blocks; ++block) {
      ASSERT_EQ(pool.is_shared(block), model.holders[block] > 1);
    }
  }
  for (const Holder& holder : all) pool.release(holder.blocks);
  EXPECT_EQ(pool.num_available(), num_blocks);
}

TEST(BlockPool, EqualsANaiveModelOverRandomOperations) {
  run_random_operations(1, 24, 2, 40'000, false);
  run_random_operations(2, 5, 1, 20'000, false);
  run_random_operations(3, 60, 3, 20'000, false);
}

TEST(BlockPool, EqualsANaiveModelWhenContentIsWithdrawn) { run_random_operations(4, 24, 2, 30'000, true); }

}  // namespace
}  // namespace pajamas
