#include "cpu/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "cpu/all_targets.h"
#include "cpu/number_formats.h"
#include "cpu/random_matrix.h"
#include "ops/attention_cases.h"

namespace outrider::test {
namespace {

using cpu::KvCache;
using model::KvDtype;

// One layer, one sequence, its pages in descending order; K and V as the cache rounds them.
class PagedSequence {
 public:
  PagedSequence(const AttentionCase& c, std::mt19937& random) : case_(c) {
    config_.num_layers = 1;
    config_.num_heads = c.heads;
    config_.num_kv_heads = c.kv_heads;
    config_.head_dim = c.head_dim;
    geometry_.block_size = c.block_size;
    geometry_.layers_per_group = 1;
    geometry_.dtype = c.dtype;
    geometry_.group_of_layer = geometry_.index_in_group = {0};
    geometry_.group_is_chunked = {c.chunk_size > 0};
    const int length = c.context + c.new_tokens, blocks = (length + c.block_size - 1) / c.block_size;
    geometry_.num_blocks = blocks + 1;
    cache_ = std::make_unique<KvCache>(config_, geometry_);
    for (int b = 0; b < blocks; ++b) pages_.push_back(blocks - b);
    if (c.dtype == KvDtype::kFp8E4m3) scales_ = {0.01f, 0.02f};
    k_ = random_floats(size_t(length) * config_.kv_size(), random);
    v_ = random_floats(k_.size(), random);
    q_ = random_floats(size_t(c.new_tokens) * config_.q_size(), random);
    for (int p = 0; p < length; ++p) {
      cache_->store(pages_[p / c.block_size], p % c.block_size, 0, scales_, &k_[p * config_.kv_size()],
                    &v_[p * config_.kv_size()]);
    }
    for (float& k : k_) k = rounded(k, scales_.k);
    for (float& v : v_) v = rounded(v, scales_.v);
  }

  std::vector<float> run(const std::vector<cpu::AttentionItem>& items, int threads) const {
    cpu::ThreadPool pool(threads);
    cpu::Attention attention(config_, pool);
    std::vector<float> out(q_.size());
    cpu::AttentionCall call;
    call.cache = cache_.get();
    call.scales = scales_;
    call.q = q_.data();
    call.out = out.data();
    call.pages = pages_.data();
    call.page_stride = static_cast<int64_t>(pages_.size());
    attention(call, items);
    return out;
  }

  std::vector<cpu::AttentionItem> items() const {
    std::vector<cpu::AttentionItem> items;
    cpu::add_attention_items(0, 0, case_.context, case_.new_tokens, case_.chunk_size, items);
    return items;
  }

  std::vector<double> reference() const {
    std::vector<double> out(q_.size());
    const int hd = case_.head_dim, group = case_.heads / case_.kv_heads;
    for (int t = 0; t < case_.new_tokens; ++t) {
      for (int h = 0; h < case_.heads; ++h)
        reference_head(t, h, h / group, hd, &out[(size_t(t) * case_.heads + h) * hd]);
    }
    return out;
  }

 private:
  float rounded(float x, float scale) const {
    if (case_.dtype == KvDtype::kBf16) return cpu::bf16_to_float(cpu::float_to_bf16(x));
    if (case_.dtype == KvDtype::kFp8E4m3) return cpu::e4m3_to_float(cpu::float_to_e4m3(x / scale)) * scale;
    return x;
  }

  void reference_head(int t, int h, int kv_head, int hd, double* out) const {
    const int position = case_.context + t;
    const int first = case_.chunk_size > 0 ? position / case_.chunk_size * case_.chunk_size : 0;
    std::vector<double> weights;
    for (int p = first; p <= position; ++p) {
      double score = 0;
      for (int c = 0; c < hd; ++c) {
        score +=
            double{q_[(size_t(t) * case_.heads + h) * hd + c]} * k_[p * config_.kv_size() + kv_head * hd + c];
      }
      weights.push_back(std::exp(score / std::sqrt(hd)));
    }
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    for (int c = 0; c < hd; ++c) {
      out[c] = 0;
      for (int p = first; p <= position; ++p) {
        out[c] += weights[p - first] / total * v_[p * config_.kv_size() + kv_head * hd + c];
      }
    }
  }

  AttentionCase case_;
  model::LlamaConfig config_;
  model::KvGeometry geometry_;
  std::unique_ptr<KvCache> cache_;
  std::vector<int32_t> pages_;
  cpu::KvScales scales_;
  std::vector<float> q_, k_, v_;
};

TEST(Attention, EveryCaseIsWithinItsBoundOfTheExactResultOnEveryTarget) {
  std::mt19937 random(4);
  for (const AttentionCase& c : attention_cases()) {
    SCOPED_TRACE(testing::Message() << "dtype " << int(c.dtype) << " heads " << c.heads << "/" << c.kv_heads
                                    << "x" << c.head_dim << " block " << c.block_size << " chunk "
                                    << c.chunk_size << " context " << c.context << " new " << c.new_tokens);
    const PagedSequence sequence(c, random);
    const std::vector<double> expected = sequence.reference();
    for_each_target([&] {
      const std::vector<float> out = sequence.run(sequence.items(), 2);
      for (size_t i = 0; i < out.size(); ++i)
        ASSERT_NEAR(out[i], expected[i], 4 * kAttentionBound) << "element " << i;
    });
  }
}

TEST(Attention, ResultsHaveTheSameBitsHoweverTokensAreCutIntoItems) {
  std::mt19937 random(5);
  for (int chunk : {0, 32, 100}) {
    const AttentionCase c{KvDtype::kBf16, 4, 2, 32, 16, chunk, 75, 60};
    const PagedSequence sequence(c, random);
    for_each_target([&] {
      const std::vector<float> all = sequence.run(sequence.items(), 1);
      std::vector<cpu::AttentionItem> single;
      for (int t = 0; t < c.new_tokens; ++t) cpu::add_attention_items(0, t, c.context + t, 1, chunk, single);
      const std::vector<float> one_by_one = sequence.run(single, 2);
      ASSERT_EQ(std::memcmp(all.data(), one_by_one.data(), all.size() * 4), 0);
    });
  }
}

TEST(Attention, ItemsNeverCrossAChunkAndCoverEveryTokenOnce) {
  for (int chunk : {0, 1, 7, 8, 32}) {
    for (int first = 0; first < 40; ++first) {
      std::vector<cpu::AttentionItem> items;
      cpu::add_attention_items(3, 5, first, 45, chunk, items);
      int next = first;
      for (const cpu::AttentionItem& item : items) {
        EXPECT_EQ(item.sequence, 3);
        EXPECT_EQ(item.first_position, next);
        EXPECT_EQ(item.first_row, 5 + next - first);
        EXPECT_LE(item.num_tokens, cpu::kAttentionTokens);
        if (chunk > 0) {
          EXPECT_EQ(item.first_key, next / chunk * chunk);
          EXPECT_LE(next + item.num_tokens, item.first_key + chunk);
        }
        next += item.num_tokens;
      }
      EXPECT_EQ(next, first + 45);
    }
  }
}

}  // namespace
}  // namespace outrider::test
