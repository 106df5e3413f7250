// Causal grouped-query attention over a paged cache.
#pragma once

#include <vector>

#include "model/memory_plan.h"

namespace outrider::test {

struct AttentionCase {
  model::KvDtype dtype;
  int heads, kv_heads, head_dim;
  int block_size;
  int chunk_size;  // 0: full attention
  int context;     // positions already in the cache
  int new_tokens;
};

// |out - reference|, relative to the largest |v|: scores of about head_dim terms enter an exponential.
inline constexpr double kAttentionBound = 4e-6;

inline std::vector<AttentionCase> attention_cases() {
  using model::KvDtype;
  std::vector<AttentionCase> cases;
  for (KvDtype dtype : {KvDtype::kF32, KvDtype::kBf16, KvDtype::kFp8E4m3}) {
    for (int chunk : {0, 32, 100}) {  // 100: chunks that begin inside a page
      for (auto [context, new_tokens] :
           {std::pair{0, 1}, {0, 21}, {63, 1}, {64, 1}, {95, 9}, {200, 3}, {31, 70}}) {
        cases.push_back({dtype, 4, 2, 32, 16, chunk, context, new_tokens});
      }
    }
    cases.push_back({dtype, 5, 1, 128, 16, 0, 130, 2});  // Scout's 5 query heads a KV head
    cases.push_back({dtype, 6, 3, 16, 64, 48, 77, 20});
    cases.push_back({dtype, 2, 2, 48, 8, 0, 50, 5});  // pages smaller than a vector of positions
    for (int chunk : {0, 32, 100}) {                  // shapes that a GPU takes: pages of 64, heads of 64
      for (auto [context, new_tokens] : {std::pair{0, 1}, {0, 70}, {63, 1}, {64, 1}, {95, 9}, {130, 33}}) {
        cases.push_back({dtype, 8, 2, 64, 64, chunk, context, new_tokens});
        cases.push_back({dtype, 4, 2, 64, 64, chunk, context, new_tokens});
      }
    }
  }
  return cases;
}

// Scout's heads around the edges of pages (64), runs of keys (512) and the attention chunk; too long for the
// CPU's tests.
inline std::vector<AttentionCase> scout_attention_cases() {
  using model::KvDtype;
  std::vector<AttentionCase> cases;
  for (KvDtype dtype : {KvDtype::kBf16, KvDtype::kFp8E4m3}) {
    for (int context : {0, 62, 63, 64, 510, 511, 512, 1535, 8191, 8192}) {
      cases.push_back({dtype, 40, 8, 128, 64, 8192, context, 1});
    }
    cases.push_back({dtype, 40, 8, 128, 64, 0, 8999, 1});
    for (auto [context, new_tokens] :
         {std::pair{0, 7}, {0, 64}, {0, 700}, {500, 40}, {1000, 5}, {8150, 100}, {8700, 300}}) {
      cases.push_back({dtype, 40, 8, 128, 64, 8192, context, new_tokens});
    }
    cases.push_back({dtype, 40, 8, 128, 64, 0, 8150, 100});
  }
  return cases;
}

}  // namespace outrider::test
