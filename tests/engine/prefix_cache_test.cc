#include "engine/prefix_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "runner/runner.h"

namespace outrider::engine {
namespace {

using runner::kNoPage;

model::KvGeometry geometry(int num_blocks) {
  model::KvGeometry kv;
  kv.block_size = 2;
  kv.chunk_size = 6;
  kv.num_blocks = num_blocks;
  kv.group_is_chunked = {false, true};
  return kv;
}

TEST(BlockPool, EvictsCachedPagesInTheOrderTheyWereLetGo) {
  BlockPool pool(3);
  PageId a = pool.take(), b = pool.take(), c = pool.take();
  for (PageId page : {a, b, c}) pool.add_entry(page);
  for (PageId page : {b, a, c}) pool.give_back(page);
  EXPECT_EQ(pool.num_cached(), 3);
  EXPECT_EQ(pool.oldest_cached(), b);
  pool.share(b);
  EXPECT_EQ(pool.oldest_cached(), a);
  pool.give_back(b);
  pool.drop_entry(a);
  EXPECT_EQ(pool.num_unused(), 1);
  EXPECT_EQ(pool.oldest_cached(), c);
  EXPECT_EQ(pool.take(), a);
}

TEST(BlockPool, APageReturnsWhenItsLastHolderLetsGo) {
  BlockPool pool(1);
  PageId page = pool.take();
  pool.share(page);
  pool.give_back(page);
  EXPECT_EQ(pool.num_available(), 0);
  pool.give_back(page);
  EXPECT_EQ(pool.num_unused(), 1);
  EXPECT_EQ(pool.oldest_cached(), kNoPage);
}

TEST(PrefixCache, SaltsNeverShare) {
  auto kv = geometry(8);
  BlockPool pool(8);
  PrefixCache cache(kv, &pool, 1, 0);
  PrefixCache::NodeRef node;
  std::vector<int32_t> tokens = {1, 2};
  std::vector<PageId> pages = {pool.take(), pool.take()};
  ASSERT_TRUE(cache.publish("a", {}, tokens, pages, &node));
  std::vector<PrefixCache::NodeRef> nodes;
  EXPECT_EQ(cache.match("a", tokens, &nodes), 1);
  EXPECT_EQ(cache.match("b", tokens, &nodes), 0);
  EXPECT_EQ(cache.match("", tokens, &nodes), 0);
}

// Random histories of few tokens in a cache whose hashes all collide, against a map from whole histories to
// pages.
class PrefixCacheProperty : public testing::TestWithParam<uint64_t> {
 protected:
  using History = std::pair<std::string, std::vector<int32_t>>;

  int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  History random_history() {
    History history{pick(0, 1) ? "x" : "", {}};
    for (int i = 2 * pick(1, 7); i > 0; --i) history.second.push_back(pick(0, 1));
    return history;
  }

  History shortened(const History& history, int blocks) const {
    return {history.first, {history.second.begin(), history.second.begin() + 2 * blocks}};
  }

  int match_naively(const History& history) const {
    int usable = 0;
    for (int n = 1; n <= std::ssize(history.second) / 2; ++n) {
      if (!known_.contains(shortened(history, n))) break;
      bool chunk_is_there = true;
      for (int b = 2 * n / 6 * 6 / 2; b < n; ++b)
        chunk_is_there &= known_.at(shortened(history, b + 1))[1] != kNoPage;
      if (chunk_is_there) usable = n;
    }
    return usable;
  }

  void check_match(const History& history) {
    std::vector<PrefixCache::NodeRef> nodes;
    int blocks = cache_.match(history.first, history.second, &nodes);
    ASSERT_EQ(blocks, match_naively(history));
    ASSERT_EQ(std::ssize(nodes), blocks);
    for (int b = 0; b < blocks; ++b) {
      ASSERT_TRUE(std::ranges::equal(cache_.pages(nodes[b]), known_.at(shortened(history, b + 1))));
    }
  }

  void evict_one() {
    PageId page = pool_.oldest_cached();
    if (page == kNoPage) return;
    cache_.evict(page);
    for (auto entry = known_.begin(); entry != known_.end(); ++entry) {
      if (entry->second[1] == page) {
        entry->second[1] = kNoPage;
        return;
      }
      if (entry->second[0] != page) continue;
      History top = entry->first;
      std::erase_if(known_, [&](const auto& other) {
        const auto& tokens = other.first.second;
        return other.first.first == top.first && tokens.size() >= top.second.size() &&
               std::equal(top.second.begin(), top.second.end(), tokens.begin());
      });
      return;
    }
    FAIL() << "an evicted page that nobody knew";
  }

  PageId take() {
    while (pool_.num_unused() == 0) evict_one();
    return pool_.take();
  }

  // Publishes a whole history from new pages; some chunked pages are missing.
  void publish(const History& history) {
    PrefixCache::NodeRef parent;
    std::vector<PageId> taken;
    for (int b = 0; b < std::ssize(history.second) / 2; ++b) {
      std::vector<PageId> pages = {take(), pick(0, 2) ? take() : kNoPage};
      for (PageId page : pages) {
        if (page != kNoPage) taken.push_back(page);
      }
      if (!cache_.is_live(parent)) break;  // evicted while pages were taken
      auto block = std::span(history.second).subspan(size_t(b) * 2, 2);
      ASSERT_TRUE(cache_.publish(history.first, parent, block, pages, &parent));
      auto [entry, is_new] = known_.emplace(shortened(history, b + 1), pages);
      if (!is_new && entry->second[1] == kNoPage) entry->second[1] = pages[1];
    }
    std::ranges::shuffle(taken, random_);
    for (PageId page : taken) pool_.give_back(page);
  }

  std::mt19937_64 random_{GetParam()};
  model::KvGeometry kv_ = geometry(40);
  BlockPool pool_{40};
  PrefixCache cache_{kv_, &pool_, GetParam(), GetParam() % 2 ? 0 : ~uint64_t{0}};
  std::map<History, std::vector<PageId>> known_;
};

TEST_P(PrefixCacheProperty, FindsExactlyWhatAMapOfHistoriesFinds) {
  int hits = 0;
  for (int i = 0; i < 3000; ++i) {
    ASSERT_NO_FATAL_FAILURE(publish(random_history()));
    if (pick(0, 3) == 0) {
      ASSERT_NO_FATAL_FAILURE(evict_one());
    }
    if (pick(0, 400) == 0) {
      cache_.clear();
      known_.clear();
      ASSERT_EQ(pool_.num_unused(), 40);
    }
    for (int n = 0; n < 3; ++n) {
      History history = random_history();
      ASSERT_NO_FATAL_FAILURE(check_match(history));
      hits += match_naively(history) > 0;
    }
    ASSERT_EQ(cache_.num_nodes(), std::ssize(known_));
    ASSERT_EQ(pool_.num_available(), 40);
  }
  EXPECT_GT(hits, 1000);
}

INSTANTIATE_TEST_SUITE_P(Seeds, PrefixCacheProperty, testing::Values(1, 2, 3, 4));

}  // namespace
}  // namespace outrider::engine
