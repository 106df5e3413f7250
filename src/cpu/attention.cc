// Tiling: spans of 64 positions, counted from the first key that the item sees. A span's K and V of one KV
// head are expanded to fp32 (K as [head_dim][16 positions] panels, V as [positions][16 channels] panels; 64
// KiB for head_dim 128) and used by all query heads of that KV head and up to 8 tokens, through the tile of
// fma_tile-inl.h. Few rows (a decode step) read K and V from the pages instead. Softmax runs online over
// the spans. Order of summation: scores over ascending channels, outputs over ascending positions, rescaled
// after each span: a function of the positions alone. Positions that a row may not see get weight 0, which
// changes no bit. attend() is one item from its first span to its last, whole because every part works on the
// same workspace. Floor: a decode step reads the K and V bytes once; prefill does 4 * head_dim flops a
// visible (query, key, head).
#include "cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/number_formats.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention.cc"
#include "cpu/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// After foreach_target.
#include "cpu/codecs-inl.h"
#include "cpu/fma_tile-inl.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace outrider::cpu {
namespace HWY_NAMESPACE {

using model::KvDtype;

constexpr int kSpan = 64;

template <KvDtype kDtype>
HWY_INLINE VF load_kv(const uint8_t* p, VF scale) {
  if constexpr (kDtype == KvDtype::kFp8E4m3) return hn::Mul(load_e4m3(p, 1.0f), scale);
  if constexpr (kDtype == KvDtype::kBf16) return load_bf16(reinterpret_cast<const uint16_t*>(p));
  if constexpr (kDtype == KvDtype::kF32) return hn::LoadU(DF(), reinterpret_cast<const float*>(p));
}

// One value, for runs that do not fill 16 positions of a page.
template <KvDtype kDtype>
HWY_INLINE float load_kv_one(const uint8_t* p, float scale) {
  if constexpr (kDtype == KvDtype::kFp8E4m3) return e4m3_to_float(*p) * scale;
  if constexpr (kDtype == KvDtype::kBf16) return bf16_to_float(*reinterpret_cast<const uint16_t*>(p));
  if constexpr (kDtype == KvDtype::kF32) return *reinterpret_cast<const float*>(p);
}

// The pages of one KV head of one sequence, with the task's workspace.
struct Keys {
  const KvCache* cache;
  const int32_t* pages;
  int layer, kv_head, head_dim, block_size, bytes;
  KvScales scales;
};

// kt[head_dim][16] = K of positions [begin, begin + count), zero after that.
template <KvDtype kDtype>
HWY_INLINE void expand_k_panel(const Keys& keys, int begin, int count, float* kt) {
  const DF d;
  const int offset = begin % keys.block_size;
  if (offset + kPanelRows <= keys.block_size) {  // in one page, whose unwritten part may hold anything
    const uint8_t* k = keys.cache->k_head(keys.pages[begin / keys.block_size], keys.layer, keys.kv_head);
    const VF scale = hn::Set(d, keys.scales.k);
    for (int v = 0; v < kVecs; ++v) {
      const auto valid = hn::FirstN(d, static_cast<size_t>(std::clamp(count - v * kLanes, 0, kLanes)));
      const uint8_t* at = k + (offset + v * kLanes) * keys.bytes;
      for (int c = 0; c < keys.head_dim; ++c, at += keys.block_size * keys.bytes) {
        hn::Store(hn::IfThenElseZero(valid, load_kv<kDtype>(at, scale)), d, kt + c * kPanelRows + v * kLanes);
      }
    }
    return;
  }
  std::fill_n(kt, keys.head_dim * kPanelRows, 0.0f);
  for (int i = 0; i < count; ++i) {
    const int position = begin + i;
    const uint8_t* k = keys.cache->k_head(keys.pages[position / keys.block_size], keys.layer, keys.kv_head) +
                       (position % keys.block_size) * keys.bytes;
    for (int c = 0; c < keys.head_dim; ++c) {
      kt[c * kPanelRows + i] = load_kv_one<kDtype>(k + c * keys.block_size * keys.bytes, keys.scales.k);
    }
  }
}

// v[head_dim / 16][kSpan][16] = V of positions [begin, begin + count).
template <KvDtype kDtype>
HWY_INLINE void expand_v(const Keys& keys, int begin, int count, float* v) {
  const VF scale = hn::Set(DF(), keys.scales.v);
  for (int i = 0; i < count; ++i) {
    const int position = begin + i;
    const uint8_t* row =
        keys.cache->v_head(keys.pages[position / keys.block_size], keys.layer, keys.kv_head) +
        int64_t{position % keys.block_size} * keys.head_dim * keys.bytes;
    for (int c = 0; c < keys.head_dim; c += kLanes) {
      float* out = v + ((c / kPanelRows) * kSpan + i) * kPanelRows + c % kPanelRows;
      hn::Store(load_kv<kDtype>(row + c * keys.bytes, scale), DF(), out);
    }
  }
}

// Turns a row's scores [kSpan] into weights relative to the running maximum; returns the factor for what was
// summed before.
HWY_INLINE float online_softmax(int visible, float* scores, float& max, float& sum) {
  const DF d;
  for (int i = visible; i < kSpan; ++i) scores[i] = -1e30f;
  VF high = hn::Set(d, max);
  for (int i = 0; i < kSpan; i += kLanes) high = hn::Max(high, hn::Load(d, scores + i));
  const float new_max = hn::GetLane(hn::MaxOfLanes(d, high));
  const float factor = std::exp(max - new_max);
  VF sums[kVecs];
  for (int v = 0; v < kVecs; ++v) sums[v] = hn::Zero(d);
  for (int i = 0; i < kSpan; i += kPanelRows) {
    for (int v = 0; v < kVecs; ++v) {
      float* at = scores + i + v * kLanes;
      const VF weight = hn::Exp(d, hn::Sub(hn::Load(d, at), hn::Set(d, new_max)));
      hn::Store(weight, d, at);
      sums[v] = hn::Add(sums[v], weight);
    }
  }
  VF total = sums[0];
  for (int v = 1; v < kVecs; ++v) total = hn::Add(total, sums[v]);
  sum = sum * factor + hn::GetLane(hn::SumOfLanes(d, total));
  max = new_max;
  return factor;
}

// The most query rows that read K and V straight from the pages: so few cannot pay for an expanded copy, and
// one panel at a time would leave the multiply-add's latency bare. With several panels at a time there are as
// many chains as in a tile; each is the tile's, bit for bit.
constexpr int kFewRows = kVecs == 1 ? 5 : 2;  // what the registers hold
constexpr int kFewPanels = kVecs == 1 ? 4 : 2;

// scores[kRows][p..p + 16 * kPanels) of positions from `begin` + p on, in pages that hold whole panels. What
// pages hold after the last position gives scores that nobody reads.
template <KvDtype kDtype, int kRows, int kPanels>
HWY_INLINE void score_panels(const Keys& keys, const float* q, int begin, float* scores) {
  const DF d;
  const VF scale = hn::Set(d, keys.scales.k);
  const uint8_t* k[kPanels];
  for (int p = 0; p < kPanels; ++p) {
    const int position = begin + p * kPanelRows;
    k[p] = keys.cache->k_head(keys.pages[position / keys.block_size], keys.layer, keys.kv_head) +
           position % keys.block_size * keys.bytes;
  }
  VF acc[kRows][kPanels * kVecs];
  OUTRIDER_UNROLL
  for (int r = 0; r < kRows; ++r) {
    OUTRIDER_UNROLL
    for (int v = 0; v < kPanels * kVecs; ++v) acc[r][v] = hn::Zero(d);
  }
  for (int c = 0; c < keys.head_dim; ++c) {
    const int64_t at = int64_t{c} * keys.block_size * keys.bytes;
    VF kv[kPanels * kVecs];
    OUTRIDER_UNROLL
    for (int v = 0; v < kPanels * kVecs; ++v) {
      kv[v] = load_kv<kDtype>(k[v / kVecs] + at + v % kVecs * kLanes * keys.bytes, scale);
    }
    OUTRIDER_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const VF qv = hn::Set(d, q[r * kTileStride + c]);
      OUTRIDER_UNROLL
      for (int v = 0; v < kPanels * kVecs; ++v) acc[r][v] = hn::MulAdd(qv, kv[v], acc[r][v]);
    }
  }
  OUTRIDER_UNROLL
  for (int r = 0; r < kRows; ++r) {
    OUTRIDER_UNROLL
    for (int v = 0; v < kPanels * kVecs; ++v) {
      hn::StoreU(acc[r][v], d, scores + r * kTileStride + v * kLanes);
    }
  }
}

// out[kRows][16 * kPanels] += weights of `count` positions times V's channels from `channel` on.
template <KvDtype kDtype, int kRows, int kPanels>
HWY_INLINE void add_values(const Keys& keys, const float* weights, int begin, int count, int channel,
                           float* out) {
  const DF d;
  const VF scale = hn::Set(d, keys.scales.v);
  const int hd = keys.head_dim;
  VF acc[kRows][kPanels * kVecs];
  OUTRIDER_UNROLL
  for (int r = 0; r < kRows; ++r) {
    OUTRIDER_UNROLL
    for (int v = 0; v < kPanels * kVecs; ++v) acc[r][v] = hn::LoadU(d, out + r * hd + channel + v * kLanes);
  }
  for (int i = 0; i < count; ++i) {
    const int position = begin + i;
    const uint8_t* row =
        keys.cache->v_head(keys.pages[position / keys.block_size], keys.layer, keys.kv_head) +
        (int64_t{position % keys.block_size} * hd + channel) * keys.bytes;
    VF value[kPanels * kVecs];
    OUTRIDER_UNROLL
    for (int v = 0; v < kPanels * kVecs; ++v) {
      value[v] = load_kv<kDtype>(row + v * kLanes * keys.bytes, scale);
    }
    OUTRIDER_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const VF weight = hn::Set(d, weights[r * kTileStride + i]);
      OUTRIDER_UNROLL
      for (int v = 0; v < kPanels * kVecs; ++v) acc[r][v] = hn::MulAdd(weight, value[v], acc[r][v]);
    }
  }
  OUTRIDER_UNROLL
  for (int r = 0; r < kRows; ++r) {
    OUTRIDER_UNROLL
    for (int v = 0; v < kPanels * kVecs; ++v) hn::StoreU(acc[r][v], d, out + r * hd + channel + v * kLanes);
  }
}

template <KvDtype kDtype, int kRows>
HWY_INLINE void score_few(const Keys& keys, const float* q, int begin, int count, float* scores) {
  const int panels = (count + kPanelRows - 1) / kPanelRows;
  int p = 0;
  for (; p + kFewPanels <= panels; p += kFewPanels) {
    score_panels<kDtype, kRows, kFewPanels>(keys, q, begin + p * kPanelRows, scores + p * kPanelRows);
  }
  for (; p < panels; ++p) {
    score_panels<kDtype, kRows, 1>(keys, q, begin + p * kPanelRows, scores + p * kPanelRows);
  }
}

template <KvDtype kDtype, int kRows>
HWY_INLINE void add_few(const Keys& keys, const float* weights, int begin, int count, float* out) {
  constexpr int kChannels = kFewPanels * kPanelRows;
  int c = 0;
  for (; c + kChannels <= keys.head_dim; c += kChannels) {
    add_values<kDtype, kRows, kFewPanels>(keys, weights, begin, count, c, out);
  }
  for (; c < keys.head_dim; c += kPanelRows) {
    add_values<kDtype, kRows, 1>(keys, weights, begin, count, c, out);
  }
}

template <KvDtype kDtype>
HWY_INLINE void score_few(int rows, const Keys& keys, const float* q, int begin, int count, float* scores) {
  switch (rows) {
    case 1:
      return score_few<kDtype, 1>(keys, q, begin, count, scores);
    case 2:
      return score_few<kDtype, 2>(keys, q, begin, count, scores);
    case 3:
      return score_few<kDtype, 3>(keys, q, begin, count, scores);
    case 4:
      return score_few<kDtype, 4>(keys, q, begin, count, scores);
    default:
      return score_few<kDtype, kFewRows>(keys, q, begin, count, scores);
  }
}

template <KvDtype kDtype>
HWY_INLINE void add_few(int rows, const Keys& keys, const float* weights, int begin, int count, float* out) {
  switch (rows) {
    case 1:
      return add_few<kDtype, 1>(keys, weights, begin, count, out);
    case 2:
      return add_few<kDtype, 2>(keys, weights, begin, count, out);
    case 3:
      return add_few<kDtype, 3>(keys, weights, begin, count, out);
    case 4:
      return add_few<kDtype, 4>(keys, weights, begin, count, out);
    default:
      return add_few<kDtype, kFewRows>(keys, weights, begin, count, out);
  }
}

template <KvDtype kDtype>
void attend(const AttentionTask& task) {
  const AttentionCall& call = *task.call;
  const AttentionItem& item = *task.item;
  const int hd = task.head_dim, group = task.heads / task.kv_heads, rows = item.num_tokens * group;
  float* q = task.workspace;
  float* kt = q + rows * kTileStride;
  float* v = kt + kPanelRows * hd;
  float* out = v + kSpan * hd;
  float* scores = out + rows * hd;
  float* max = scores + rows * kTileStride;
  float* sum = max + rows;

  const float scale = 1.0f / std::sqrt(static_cast<float>(hd));
  auto row_offset = [&](int r) {
    return (int64_t{item.first_row + r / group} * task.heads + task.kv_head * group + r % group) * hd;
  };
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < hd; ++c) q[r * kTileStride + c] = call.q[row_offset(r) + c] * scale;
  }
  std::fill_n(out, rows * hd, 0.0f);
  std::fill_n(max, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(sum, rows, 0.0f);

  const Keys keys{call.cache,
                  call.pages + item.sequence * call.page_stride,
                  call.layer,
                  task.kv_head,
                  hd,
                  call.cache->geometry().block_size,
                  call.cache->element_bytes(),
                  call.scales};
  const int end = item.first_position + item.num_tokens;
  const bool whole_panels = keys.block_size % kPanelRows == 0 && item.first_key % kPanelRows == 0;
  const bool few = whole_panels && rows <= kFewRows;
  for (int begin = item.first_key; begin < end; begin += kSpan) {
    const int count = std::min(kSpan, end - begin);
    if (few) score_few<kDtype>(rows, keys, q, begin, count, scores);
    for (int p = 0; p < count && !few; p += kPanelRows) {
      expand_k_panel<kDtype>(keys, begin + p, std::min(kPanelRows, count - p), kt);
      fma_tile<true>(rows, q, kt, nullptr, hd, scores + p, kTileStride);
    }
    for (int r = 0; r < rows; ++r) {
      const int visible = std::clamp(item.first_position + r / group + 1 - begin, 0, kSpan);
      const float factor = online_softmax(visible, scores + r * kTileStride, max[r], sum[r]);
      for (int c = 0; c < hd; ++c) out[r * hd + c] *= factor;
    }
    if (few) {
      add_few<kDtype>(rows, keys, scores, begin, count, out);
      continue;
    }
    expand_v<kDtype>(keys, begin, count, v);
    for (int c = 0; c < hd; c += kPanelRows) {
      fma_tile<false>(rows, scores, v + c * kSpan, nullptr, count, out + c, hd);
    }
  }
  for (int r = 0; r < rows; ++r) {
    float* to = call.out + row_offset(r);
    const float inverse = 1.0f / sum[r];
    for (int c = 0; c < hd; ++c) to[c] = out[r * hd + c] * inverse;
  }
}

void attention_task(const AttentionTask& task) {
  switch (task.call->cache->geometry().dtype) {
    case KvDtype::kFp8E4m3:
      return attend<KvDtype::kFp8E4m3>(task);
    case KvDtype::kBf16:
      return attend<KvDtype::kBf16>(task);
    case KvDtype::kF32:
      return attend<KvDtype::kF32>(task);
  }
}

int64_t workspace_floats(int group, int head_dim) {
  const int64_t rows = int64_t{kAttentionTokens} * group;
  const int64_t floats = rows * (2 * kTileStride + head_dim + 2) + int64_t{kPanelRows + kSpan} * head_dim;
  return (floats + 15) / 16 * 16;
}

}  // namespace HWY_NAMESPACE
}  // namespace outrider::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace outrider::cpu {

HWY_EXPORT(attention_task);
HWY_EXPORT(workspace_floats);

namespace {
constexpr int64_t kParallelWork = 1 << 16;  // multiply-adds
}

void add_attention_items(int sequence, int first_row, int first_position, int num_tokens, int chunk_size,
                         std::vector<AttentionItem>& items) {
  for (int i = 0; i < num_tokens;) {
    const int position = first_position + i;
    const int first_key = chunk_size > 0 ? position / chunk_size * chunk_size : 0;
    int count = std::min(kAttentionTokens, num_tokens - i);
    if (chunk_size > 0) count = std::min(count, first_key + chunk_size - position);
    items.push_back({sequence, first_row + i, count, position, first_key});
    i += count;
  }
}

Attention::Attention(const model::LlamaConfig& config, ThreadPool& pool)
    : heads_(config.num_heads),
      kv_heads_(config.num_kv_heads),
      head_dim_(config.head_dim),
      pool_(pool),
      workspace_floats_(HWY_DYNAMIC_DISPATCH(workspace_floats)(heads_ / kv_heads_, head_dim_)),
      workspace_(static_cast<size_t>(workspace_floats_) * sizeof(float) * pool.size()) {}

void Attention::operator()(const AttentionCall& call, std::span<const AttentionItem> items) {
  int64_t work = 0;
  for (const AttentionItem& item : items) {
    const int64_t keys = item.first_position + item.num_tokens - item.first_key;
    work += 2 * keys * item.num_tokens * heads_ * head_dim_;
  }
  const auto run = HWY_DYNAMIC_DISPATCH(attention_task);
  pool_.run_if(work > kParallelWork, static_cast<int64_t>(items.size()) * kv_heads_,
               [&](int64_t i, int thread) {
                 run({&call, &items[i / kv_heads_], heads_, kv_heads_, head_dim_,
                      static_cast<int>(i % kv_heads_), workspace_.as<float>() + thread * workspace_floats_});
               });
}

}  // namespace outrider::cpu
#endif  // HWY_ONCE
