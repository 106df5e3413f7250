// A cluster has one row and KV head, each of its blocks one run of keys. All pages of the run are asked for
// at once, before the qkv product has ended: all but the newest position are as old as the last step. Two
// warpgroups make the scores of every other page; then, with all maxima known, the weights; then each adds up
// its own channels, page by page, as the attention kernel does. The runs are folded by the whole cluster out
// of shared memory.
//
// Floor: the cache's bytes; what counts is the chain of waits, four barriers of a block and two of the
// cluster.
#include "cuda/attention_few.h"

#include <algorithm>

#include "cuda/async_copy.cuh"
#include "cuda/attention_newest.cuh"
#include "cuda/attention_page.cuh"
#include "cuda/attention_runs.cuh"
#include "cuda/cluster.cuh"
#include "cuda/launch.cuh"

namespace outrider::cuda {
namespace {

using model::KvDtype;

constexpr int kFewThreads = 256;
constexpr int kRunPages = kKeyRun / kPagePositions;
constexpr int kMaxRuns = 8;  // blocks of a cluster
// Warps that finish q, and the two that finish the new k and v.
constexpr int kQueryWarps = 6, kKeyWarp = 6, kValueWarp = 7;

struct FewSmall {
  float4 max_of_warp[kRunPages][8];
  float score_scale[8];
  uint64_t k_full[kRunPages], v_full[kRunPages];
};

template <int kHeadDim>
struct FewShared {
  using Math = PageMath<KvDtype::kFp8E4m3, kHeadDim, 8>;
  static constexpr int kPart = Math::Image::kPartBytes;  // K, or V, of a page
  // What is needed once all scores are made takes the place of K, where that is large enough: V of the last
  // pages but one, then weights. So a block leaves room for one of a product's blocks beside it.
  static constexpr int kLate = kHeadDim == 128 ? 2 : 0;
  static constexpr int kEarly = kRunPages - kLate - 1;  // first pages, whose V has a place of its own
  static constexpr int kV = kRunPages * kPart;
  static constexpr int kQ = kV + (kEarly + 1) * kPart;
  static constexpr int kP = kLate > 0 ? kLate* kPart : kQ + Math::kQBytes;
  static constexpr int kWeights = kP + kRunPages * Math::kPBytes;
  static constexpr int kPartial = kWeights + kRunPages * 128 * 16;

  struct Partial {  // of a run
    float total[8][kHeadDim];
    float max[8], sum_of_warp[4][8];
  };
  static constexpr int kKeep = kPartial + static_cast<int>(sizeof(Partial));  // float2 [kRunPages][4]
  static constexpr int kEnd = kKeep + kRunPages * 4 * 8;
  static_assert(kLate == 0 || kEnd <= kV);
  static constexpr int kSmall = std::max(kEnd, kQ + Math::kQBytes);
  static constexpr int kBytes = kSmall + static_cast<int>(sizeof(FewSmall));
};

template <int kHeadDim>
class FewBlock {
 public:
  using Shared = FewShared<kHeadDim>;
  using Math = typename Shared::Math;
  using Image = typename Math::Image;
  using Partial = typename Shared::Partial;
  using Head = Lane<kHeadDim>;

  __device__ __forceinline__ FewBlock(const QkvFinish& finish, const AttentionCall& call, uint8_t* shared)
      : finish_(finish),
        call_(call),
        shared_(shared),
        small_(*reinterpret_cast<FewSmall*>(shared + Shared::kSmall)),
        run_(blockIdx.x),
        kv_head_(blockIdx.y),
        row_(blockIdx.z),
        group_(finish.heads / finish.cache.kv_heads),
        position_(finish.batch.positions[row_]),
        warp_(__shfl_sync(~0u, static_cast<int>(threadIdx.x / 32), 0)),
        lane_(threadIdx.x % 32) {
    const int chunk = call.lists.chunk_size;
    const int first_key = chunk > 0 ? position_ / chunk * chunk : 0;
    num_runs_ = (position_ - first_key) / kKeyRun + 1;
    first_page_ = first_key / kPagePositions + run_ * kRunPages;
    pages_ = min(position_ / kPagePositions - first_page_ + 1, kRunPages);
    has_newest_ = run_ == num_runs_ - 1;
  }

  __device__ __forceinline__ bool has_keys() const { return pages_ > 0; }

  // What depends on no other kernel of the step.
  __device__ __forceinline__ void prepare() {
    if (warp_ == 0) {
      if (lane_ == 0) {
        for (int i = 0; i < kRunPages; ++i) {
          barrier_init(k_full(i), 1);
          barrier_init(v_full(i), 1);
        }
        barrier_init_fence();
      }
      __syncwarp();
      if (lane_ < pages_) {
        const Batch& batch = finish_.batch;
        const int64_t page =
            call_.pages[batch.sequence_of_row[row_] * call_.page_stride + first_page_ + lane_];
        image_ = call_.cache.base + page * call_.cache.page_stride + kv_head_ * call_.cache.head_bytes;
        copy(lane_ * Shared::kPart, image_, k_full(lane_));
        if (!is_late(lane_)) {
          copy(value_place(lane_), image_ + Shared::kPart, v_full(lane_));
        } else {
          prefetch_bytes(image_ + Shared::kPart, Shared::kPart);
        }
      }
    }
    for (int i = threadIdx.x; i < Math::kQBytes / 16; i += kFewThreads) {
      reinterpret_cast<int4*>(shared_ + Shared::kQ)[i] = int4{};  // columns without a head
    }
    if (threadIdx.x < 8) small_.score_scale[threadIdx.x] = 1.0f;
    __syncthreads();
    if (finish_.rope_frequencies) rotation_.at(finish_.rope_frequencies, position_);
    if (warp_ == kValueWarp && has_newest_) {
      barrier_wait(v_full(pages_ - 1), 0);
      Math::clear_values(last_value(), position_ % kPagePositions, lane_, 32);
      __syncwarp();
    }
  }

  // q as operand B; k and v of the row into the cache and into the page that was loaded.
  __device__ __forceinline__ void finish_heads() {
    const int heads = finish_.heads, kv_heads = finish_.cache.kv_heads;
    const bf16* in =
        static_cast<const bf16*>(finish_.qkv) + int64_t{row_} * (heads + 2 * kv_heads) * kHeadDim;
    if (warp_ < kQueryWarps) {
      for (int c = warp_; c < group_; c += kQueryWarps) {
        const Head x = load_head<kHeadDim>(in + (kv_head_ * group_ + c) * kHeadDim);
        const float scale = finish_query<Math>(finish_, rotation_, position_, x, shared_ + Shared::kQ, c);
        if (lane_ == 0) small_.score_scale[c] = scale;
      }
    } else if (has_newest_) {
      const int position = position_ % kPagePositions;
      uint8_t* image = page_of(finish_, row_) + kv_head_ * finish_.cache.head_bytes;
      if (warp_ == kKeyWarp) {
        Head k = load_head<kHeadDim>(in + (heads + kv_head_) * kHeadDim);
        turn(finish_, rotation_, k);
        const Divisor scale(finish_.cache.k_scale);
        store_key<KvDtype::kFp8E4m3>(image, position, k, scale);
        barrier_wait(k_full(pages_ - 1), 0);
        store_key<KvDtype::kFp8E4m3>(shared_ + (pages_ - 1) * Shared::kPart, position, k, scale);
      } else {
        const Head v = load_head<kHeadDim>(in + (heads + kv_heads + kv_head_) * kHeadDim);
        const Divisor scale(finish_.cache.v_scale);
        store_value<KvDtype::kFp8E4m3>(image, position, v, scale);
        store_value<KvDtype::kFp8E4m3>(last_value(), position, v, scale);
      }
    }
    fence_for_async_proxy();
    __syncthreads();
  }

  // This run's sums, into partial().
  __device__ __forceinline__ void attend() {
    float score[kMine][4];
    make_scores(score);
    __syncthreads();  // K is not needed any more
    if (warp_ == 0 && lane_ < pages_ && is_late(lane_)) {
      copy(value_place(lane_), image_ + Shared::kPart, v_full(lane_));
    }
    make_weights(score);
    fence_for_async_proxy();
    __syncthreads();
    if (warpgroup() < kHeadDim / 64) add_values();
  }

  // The cluster's runs in order, as the row's result. By all blocks of the cluster, between two of its
  // barriers.
  __device__ __forceinline__ void fold() const {
    const int threads = gridDim.x * kFewThreads;
    for (int at = run_ * kFewThreads + threadIdx.x; at < group_ * kHeadDim; at += threads) {
      const int column = at / kHeadDim, channel = at % kHeadDim;
      RunFold fold;
      float total = 0.0f;
#pragma unroll 4
      for (int run = 0; run < num_runs_; ++run) {
        const Partial* part = peer(partial(), run);
        float sum = part->sum_of_warp[0][column];
#pragma unroll
        for (int w = 1; w < 4; ++w) sum = __fadd_rn(sum, part->sum_of_warp[w][column]);
        float keep, add;
        fold.add(part->max[column], sum, keep, add);
        total = fold_total(total, part->total[column][channel], keep, add);
      }
      const int64_t out = (int64_t{row_} * finish_.heads + kv_head_ * group_) * kHeadDim + at;
      store_result(call_.out, out, total, __fdiv_rn(call_.cache.v_scale, fold.sum));
    }
  }

 private:
  static constexpr int kMine = kRunPages / 2;  // pages of a warpgroup

  __device__ __forceinline__ int warpgroup() const { return warp_ / 4; }
  __device__ __forceinline__ int page_of_warpgroup(int i) const { return 2 * i + warpgroup(); }
  // As in the attention kernel: the thread's first key of a page (another 8 rows on) and first of two
  // columns.
  __device__ __forceinline__ int key_row() const { return warp_ % 4 * 16 + lane_ / 4; }
  __device__ __forceinline__ int column() const { return lane_ % 4 * 2; }

  __device__ __forceinline__ uint32_t k_full(int page) const { return shared_address(&small_.k_full[page]); }
  __device__ __forceinline__ uint32_t v_full(int page) const { return shared_address(&small_.v_full[page]); }
  __device__ __forceinline__ bool is_late(int page) const {
    return page >= Shared::kEarly && page < pages_ - 1;
  }
  __device__ __forceinline__ int value_place(int page) const {
    if (is_late(page)) return (page - Shared::kEarly) * Shared::kPart;
    return Shared::kV + min(page, Shared::kEarly) * Shared::kPart;
  }
  // The image that the last page's V would be in.
  __device__ __forceinline__ uint8_t* last_value() const {
    return shared_ + value_place(pages_ - 1) - Shared::kPart;
  }
  __device__ __forceinline__ Partial* partial() const {
    return reinterpret_cast<Partial*>(shared_ + Shared::kPartial);
  }
  __device__ __forceinline__ void copy(int to, const uint8_t* from, uint32_t barrier) const {
    barrier_arrive_expecting(barrier, Shared::kPart);
    copy_bytes(shared_address(shared_) + to, from, Shared::kPart, barrier, kEvictFirst);
  }

  // q k of the warpgroup's pages, minus infinity where there is no key; their maxima over a warp's keys.
  __device__ __forceinline__ void make_scores(float (&score)[kMine][4]) {
#pragma unroll
    for (int i = 0; i < kMine; ++i) {
      barrier_wait(k_full(min(page_of_warpgroup(i), pages_ - 1)), 0);
      pin(score[i]);
    }
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < kMine; ++i) {
      const int page = min(page_of_warpgroup(i), pages_ - 1);
      Math::scores(score[i], shared_address(shared_) + page * Shared::kPart,
                   shared_address(shared_) + Shared::kQ);
    }
    wgmma_commit();
    wgmma_wait<0>();
#pragma unroll
    for (int i = 0; i < kMine; ++i) {
      pin(score[i]);
      const int page = page_of_warpgroup(i), page_key = (first_page_ + page) * kPagePositions;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int key = page_key + Image::position_of(key_row() + e / 2 * 8);
        if (page >= pages_ || key > position_) score[i][e] = -INFINITY;
      }
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float high = fmaxf(score[i][e], score[i][e + 2]);
#pragma unroll
        for (int lanes = 4; lanes < 32; lanes *= 2) high = fmaxf(high, __shfl_xor_sync(~0u, high, lanes));
        if (lane_ < 4) reinterpret_cast<float*>(&small_.max_of_warp[page][column() + e])[warp_ % 4] = high;
      }
    }
  }

  // Scores become weights relative to the maximum so far, as operand B and in fp32 for the sums.
  __device__ __forceinline__ void make_weights(float (&score)[kMine][4]) {
    float max[2] = {kNoScore, kNoScore};
    float4 weight[kMine];
#pragma unroll
    for (int page = 0; page < kRunPages; ++page) {
      float keep[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float4 highs = small_.max_of_warp[page][column() + e];
        const float high = fmaxf(fmaxf(highs.x, highs.y), fmaxf(highs.z, highs.w));
        const PageWeights so_far(max[e], high, small_.score_scale[column() + e], Math::kWeightExponent);
        keep[e] = so_far.keep;
        max[e] = so_far.max;
        if (page % 2 == warpgroup()) {
          (e == 0 ? weight[page / 2].x : weight[page / 2].y) = so_far.weight(score[page / 2][e]);
          (e == 0 ? weight[page / 2].z : weight[page / 2].w) = so_far.weight(score[page / 2][e + 2]);
        }
      }
      if (threadIdx.x < 4) keeps(page)[threadIdx.x] = make_float2(keep[0], keep[1]);
    }
    if (threadIdx.x < 4) {
      partial()->max[column()] = max[0];
      partial()->max[column() + 1] = max[1];
    }
    const int low = Image::position_of(key_row()), high = Image::position_of(key_row() + 8);
#pragma unroll
    for (int i = 0; i < kMine; ++i) {
      const int page = page_of_warpgroup(i);
      uint8_t* p = shared_ + Shared::kP + page * Math::kPBytes;
      Math::store_p(p, column(), low, weight[i].x);
      Math::store_p(p, column(), high, weight[i].z);
      Math::store_p(p, column() + 1, low, weight[i].y);
      Math::store_p(p, column() + 1, high, weight[i].w);
      weights(page)[threadIdx.x % 128] = weight[i];
    }
  }
  __device__ __forceinline__ float4* weights(int page) const {
    return reinterpret_cast<float4*>(shared_ + Shared::kWeights) + page * 128;
  }

  // What sums before a page are worth relative to those with it, by pairs of columns.
  __device__ __forceinline__ float2* keeps(int page) const {
    return reinterpret_cast<float2*>(shared_ + Shared::kKeep) + page * 4;
  }

  // Each warpgroup 64 channels; the first one the sums of weights too.
  __device__ __forceinline__ void add_values() {
    const int block = warpgroup();
    float total[4] = {}, sum[2] = {};
    for (int page = 0; page < pages_; ++page) {
      const float2 keep = keeps(page)[lane_ % 4];
      barrier_wait(v_full(page), 0);
#pragma unroll
      for (int e = 0; e < 4; ++e) total[e] = __fmul_rn(total[e], e % 2 == 0 ? keep.x : keep.y);
      pin(total);
      wgmma_fence();
      Math::values_of_block(total, shared_address(shared_) + value_place(page), block,
                            shared_address(shared_) + Shared::kP + page * Math::kPBytes);
      wgmma_commit();
      const float4 weight = weights(page)[threadIdx.x % 128];
      sum[0] = __fadd_rn(__fmaf_rn(sum[0], keep.x, weight.x), weight.z);
      sum[1] = __fadd_rn(__fmaf_rn(sum[1], keep.y, weight.y), weight.w);
      wgmma_wait<0>();
      pin(total);
    }
    Partial& out = *partial();
    const int channel = block * 64 + key_row();
#pragma unroll
    for (int e = 0; e < 4; ++e) out.total[column() + e % 2][channel + e / 2 * 8] = total[e];
    if (block > 0) return;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
#pragma unroll
      for (int lanes = 4; lanes < 32; lanes *= 2) {
        sum[e] = __fadd_rn(sum[e], __shfl_xor_sync(~0u, sum[e], lanes));
      }
      if (lane_ < 4) out.sum_of_warp[warp_][column() + e] = sum[e];
    }
  }

  const QkvFinish& finish_;
  const AttentionCall& call_;
  uint8_t* const shared_;
  FewSmall& small_;
  const int run_, kv_head_, row_, group_, position_, warp_, lane_;
  int num_runs_, first_page_, pages_;
  bool has_newest_;                 // this run has the row's own key
  const uint8_t* image_ = nullptr;  // lanes of the first warp: of their page
  Rotation<kHeadDim> rotation_;
};

template <int kHeadDim>
__global__ void __launch_bounds__(kFewThreads)
    attend_few_rows(const __grid_constant__ QkvFinish finish, const __grid_constant__ AttentionCall call) {
  extern __shared__ __align__(1024) uint8_t shared[];
  let_next_start();
  FewBlock<kHeadDim> block(finish, call, shared);
  if (block.has_keys()) block.prepare();
  wait_for_previous();
  if (block.has_keys()) {
    block.finish_heads();
    block.attend();
  }
  cluster_sync();
  block.fold();
  cluster_sync();
}

template <int kHeadDim>
void prepare_one() {
  check(cudaFuncSetAttribute(attend_few_rows<kHeadDim>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             FewShared<kHeadDim>::kBytes),
        "cudaFuncSetAttribute");
}

}  // namespace

bool takes_few_rows(const AttentionShape& shape, int rows, const AttentionLists& lists, int num_sms) {
  return shape.dtype == KvDtype::kFp8E4m3 && lists.chunk_size % kPagePositions == 0 &&
         lists.decode_runs > 0 && lists.decode_runs <= kMaxRuns &&
         rows * shape.kv_heads * lists.decode_runs <= num_sms;
}

void attend_few(const QkvFinish& finish, const AttentionCall& call, cudaStream_t stream) {
  const int runs = call.lists.decode_runs;
  const bool wide = finish.cache.head_dim == 128;
  launch_clusters(runs, wide ? attend_few_rows<128> : attend_few_rows<64>,
                  dim3(runs, finish.cache.kv_heads, finish.batch.num_rows), kFewThreads,
                  wide ? FewShared<128>::kBytes : FewShared<64>::kBytes, stream, finish, call);
}

void prepare_attend_few() {
  prepare_one<128>();
  prepare_one<64>();
}

}  // namespace outrider::cuda
