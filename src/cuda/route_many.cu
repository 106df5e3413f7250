// Residual, RMSNorm and routing of many rows. A cluster of eight blocks shares rows: each block has an eighth
// of their columns, and of the router's, 20 KB for Scout, in shared memory. So a multiprocessor reads the
// whole router (160 KB) never and its eighth once for many rows. A warp of each block has the same rows; they
// send each other their sums of squares and of products, and wait for nobody else. Block `rank` has the
// columns that warp `rank` has of a row in a block of its own: sums are those of route_few.cu, in the same
// order.
//
// Floor: the rows' bytes over memory bandwidth, 0.38 GB or 83 us for 8192; the multiply-adds are 20 us of
// that. With few rows a chain of waits: loads, squares there and back, products there, the place among an
// expert's rows.
#include <algorithm>

#include "cuda/add_norm.cuh"
#include "cuda/async_copy.cuh"
#include "cuda/cluster.cuh"
#include "cuda/elementwise.h"
#include "cuda/launch.cuh"

namespace outrider::cuda {
namespace {

constexpr int kBlocksARow = kRowThreads / 32;
constexpr int kMaxWarps = 8;
constexpr int kMaxExperts = 32;  // a lane each, in the end
constexpr int kSums = 16;        // a warp's lanes, halved: products that a warp sums at once
// On Hopper 16 clusters run at once, or 32 with two blocks an SM.
constexpr int kClusters = 16;

__device__ __forceinline__ void store_choice(const AddNormRoute& call, int pair, int expert, float logit) {
  call.expert_of_pair[pair] = expert;
  call.score_of_pair[pair] = 1.0f / (1.0f + expf(-logit));
  call.rank_of_pair[pair] = atomicAdd(&call.count_of_expert[expert], 1);
}

// The row's experts by logit, best first, lowest index on ties. By a warp: lane e has expert e's logit, or
// minus infinity.
__device__ __forceinline__ void choose_experts(const AddNormRoute& call, int row, float logit) {
  const int lane = threadIdx.x % 32, top_k = call.norm.experts_per_token;
#pragma unroll 1
  for (int choice = 0; choice < top_k; ++choice) {
    float highest = logit;
    const int best = best_lane(highest);
    if (lane == 0) store_choice(call, row * top_k + choice, best, highest);
    if (lane == best) logit = -INFINITY;
  }
}

// Sums over a warp as warp_sum() gives them: lane l has that of value l / 2. By recursion, as the compiler
// unrolls no loop whose length is that of a loop around it, and keeps the values in memory then.
template <int kCount>
__device__ __forceinline__ float warp_sums(const float (&value)[kCount]) {
  if constexpr (kCount == 1) {
    return value[0] + __shfl_xor_sync(~0u, value[0], 1);
  } else {
    const bool upper = threadIdx.x & kCount;
    float half[kCount / 2];
#pragma unroll
    for (int i = 0; i < kCount / 2; ++i) {
      const float low = value[i], high = value[i + kCount / 2];
      half[i] = (upper ? high : low) + __shfl_xor_sync(~0u, upper ? low : high, kCount);
    }
    return warp_sums(half);
  }
}

// What the warps of the same rows send to this one. Squares lie in turn in one of two places: a warp that
// sends those of the next rows but one has had the next ones from all, who had read the ones before. Logits
// are read before the reader sends its next squares.
template <int kRows>
struct Inbox {
  float squares[2][kRows][kBlocksARow];
  float logits[kBlocksARow][kMaxExperts];
  uint64_t squares_full[2], logits_full;
};

template <int kVectors, int kRows>
class RouteWarp {
 public:
  __device__ __forceinline__ RouteWarp(const AddNormRoute& call, const int4* router, uint32_t router_full,
                                       Inbox<kRows>& inbox)
      : call_(call),
        router_(router),
        router_full_(router_full),
        inbox_(inbox),
        rank_(cluster_rank()),
        lane_(threadIdx.x % 32),
        column_((rank_ * 32 + lane_) * kVector),
        weight_(load_row<kVectors>(call.norm.weight, column_, call.norm.hidden)),
        divisor_(call.norm.out.scale) {}

  __device__ __forceinline__ void route(int first, int next) {
    const AddNorm& norm = call_.norm;
    Vector x[kRows][kVectors];
    {
      RawUpdates<kVectors> raw[kRows];  // of all rows before any is used: their loads overlap
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int row = row_of(first + r), place = norm.expert_out ? expert_place(norm, row, 0) : 0;
        raw[r] = load_updates<kVectors>(norm, row, place, column_);
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) sum_updates(norm, row_of(first + r), raw[r], column_, x[r]);
    }
    send_squares(x);
    prefetch(next);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (first + r < norm.rows) store_residual(norm, first + r, column_, x[r]);
    }
    const int turn = turns_++;
    barrier_wait(shared_address(&inbox_.squares_full[turn % 2]), turn / 2 % 2);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float squares = 0.0f;
#pragma unroll
      for (float part : inbox_.squares[turn % 2][r]) squares += part;
      scale_row(norm, weight_, squares, x[r]);
    }
    send_logits(first, x);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (first + r >= norm.rows) continue;
      store_input_row(norm.out, first + r, column_, norm.hidden, x[r], divisor_);
      store_row(static_cast<bf16*>(call_.normed) + int64_t{first + r} * norm.hidden, column_, norm.hidden,
                x[r]);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (first + r < norm.rows && chooser(first + r) == rank_) choose(first + r);
    }
  }

 private:
  // Beyond the end the last row is read once more and not stored.
  __device__ __forceinline__ int row_of(int row) const { return min(row, call_.norm.rows - 1); }
  // The block that chooses a row's experts.
  __device__ __forceinline__ static int chooser(int row) { return row % kBlocksARow; }

  __device__ __forceinline__ void send_squares(const Vector (&x)[kRows][kVectors]) {
    const uint32_t full = shared_address(&inbox_.squares_full[turns_ % 2]);
    if (lane_ == 0) barrier_arrive_expecting(full, static_cast<int>(sizeof(inbox_.squares[0])));
    float squares[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) squares[r] = warp_sum(sum_of_squares(x[r]));
    if (lane_ >= kRows * kBlocksARow) return;
    const int r = lane_ / kBlocksARow;
    store_in_cluster(shared_address(&inbox_.squares[turns_ % 2][r][rank_]),
                     __float_as_int(r == 0 ? squares[0] : squares[kRows - 1]), full, lane_ % kBlocksARow);
  }

  // This block's part of the rows' logits to those who choose.
  __device__ __forceinline__ void send_logits(int first, const Vector (&x)[kRows][kVectors]) {
    constexpr int kAtOnce = kSums / kRows;  // experts
    const int experts = call_.experts, hidden = call_.norm.hidden;
    const uint32_t full = shared_address(&inbox_.logits_full);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (lane_ == 0 && first + r < call_.norm.rows && chooser(first + r) == rank_) {
        barrier_arrive_expecting(full, kBlocksARow * experts * static_cast<int>(sizeof(float)));
      }
    }
    barrier_wait(router_full_, 0);
#pragma unroll 1
    for (int begin = 0; begin < experts; begin += kAtOnce) {
      float dot[kSums] = {};
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        if (!inside<kVectors>(v, column_, hidden)) continue;
#pragma unroll
        for (int e = 0; e < kAtOnce; ++e) {
          const Vector w = unpacked(router_[(min(begin + e, experts - 1) * kVectors + v) * 32 + lane_]);
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
#pragma unroll
            for (int j = 0; j < kVector; ++j) dot[r * kAtOnce + e] += x[r][v].value[j] * w.value[j];
          }
        }
      }
      const float sum = warp_sums(dot);
      const int row = first + lane_ / 2 / kAtOnce, expert = begin + lane_ / 2 % kAtOnce;
      if (lane_ % 2 == 0 && expert < experts && row < call_.norm.rows) {
        store_in_cluster(shared_address(&inbox_.logits[rank_][expert]), __float_as_int(sum), full,
                         chooser(row));
      }
    }
  }

  __device__ __forceinline__ void choose(int row) {
    barrier_wait(shared_address(&inbox_.logits_full), chosen_++ % 2);
    float logit = -INFINITY;
    if (lane_ < call_.experts) {
      logit = 0.0f;
#pragma unroll
      for (int b = 0; b < kBlocksARow; ++b) logit += inbox_.logits[b][lane_];
    }
    choose_experts(call_, row, logit);
  }

  // The thread's part of the next rows, into the L2 cache.
  __device__ __forceinline__ void prefetch(int next) const {
    const AddNorm& norm = call_.norm;
    if (next >= norm.rows) return;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int64_t begin = int64_t{row_of(next + r)} * norm.hidden;
      prefetch_row<kVectors>(static_cast<const bf16*>(norm.residual) + begin, column_, norm.hidden);
      if (norm.update) {
        prefetch_row<kVectors>(static_cast<const bf16*>(norm.update) + begin, column_, norm.hidden);
      }
    }
  }

  const AddNormRoute& call_;
  const int4* const router_;
  const uint32_t router_full_;
  Inbox<kRows>& inbox_;
  const int rank_, lane_, column_;
  const RawRow<kVectors> weight_;
  const Divisor divisor_;
  int turns_ = 0, chosen_ = 0;
};

// Shared memory: the block's columns of the router, [experts][kVectors][32] x 16 bytes.
__device__ __forceinline__ void copy_router(const AddNormRoute& call, int vectors, const int4* router,
                                            uint32_t full) {
  const int hidden = call.norm.hidden, first = cluster_rank() * 32 * kVector;
  const auto bytes_of = [&](int v) { return 2 * max(0, min(32 * kVector, hidden - first - v * kRowStep)); };
  if (threadIdx.x == 0) {
    int bytes = 0;
#pragma unroll 1
    for (int v = 0; v < vectors; ++v) bytes += bytes_of(v);
    barrier_arrive_expecting(full, call.experts * bytes);
  }
  const int warps = static_cast<int>(blockDim.x / 32);  // each starts a few: a lane at a time can
#pragma unroll 1
  for (int i = threadIdx.x % 32 * warps + threadIdx.x / 32; i < call.experts * vectors; i += blockDim.x) {
    const int expert = i / vectors, v = i % vectors;
    if (bytes_of(v) == 0) continue;
    copy_bytes(shared_address(router + i * 32),
               static_cast<const bf16*>(call.router) + int64_t{expert} * hidden + v * kRowStep + first,
               bytes_of(v), full, kEvictLast);
  }
}

template <int kVectors, int kRows>
__global__ void __launch_bounds__(kMaxWarps * 32, kVectors* kRows > 6 ? 1 : 2)
    route_kernel(const __grid_constant__ AddNormRoute call) {
  extern __shared__ int4 router[];
  __shared__ Inbox<kRows> inboxes[kMaxWarps];
  __shared__ uint64_t router_full;
  let_next_start();
  const int warps = static_cast<int>(blockDim.x / 32), warp = static_cast<int>(threadIdx.x / 32);
  if (threadIdx.x % 32 == 0) {
    barrier_init(shared_address(&inboxes[warp].squares_full[0]), 1);
    barrier_init(shared_address(&inboxes[warp].squares_full[1]), 1);
    barrier_init(shared_address(&inboxes[warp].logits_full), 1);
    if (warp == 0) barrier_init(shared_address(&router_full), 1);
    barrier_init_fence();
  }
  __syncwarp();
  cluster_sync_at_start();
  copy_router(call, kVectors, router, shared_address(&router_full));
  RouteWarp<kVectors, kRows> rows(call, router, shared_address(&router_full), inboxes[warp]);
  wait_for_previous();
  const int clusters = static_cast<int>(gridDim.x) / kBlocksARow, step = clusters * warps * kRows;
#pragma unroll 1
  for (int first = (static_cast<int>(blockIdx.x) / kBlocksARow * warps + warp) * kRows;
       first < call.norm.rows; first += step) {
    rows.route(first, first + step);
  }
  // All that was ever sent to this block has been waited for: it may end before others.
}

template <int kVectors, int kRows>
void launch_route(const AddNormRoute& call, int warps, int clusters, cudaStream_t stream) {
  const auto kernel = route_kernel<kVectors, kRows>;
  const int router_bytes = call.experts * kVectors * 32 * static_cast<int>(sizeof(int4));
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, router_bytes),
        "cudaFuncSetAttribute");
  launch_clusters(kBlocksARow, kernel, clusters * kBlocksARow, warps * 32, router_bytes, stream, call);
}

int divided_up(int n, int by) { return (n + by - 1) / by; }

}  // namespace

void add_norm_route(const AddNormRoute& call, cudaStream_t stream) {
  if (call.experts > kMaxExperts) {
    throw DeviceError("add_norm_route: no kernel for " + std::to_string(call.experts) + " experts");
  }
  // Two rows a warp share what they read of the router; with few rows there are warps enough for each.
  const int rows = call.norm.rows, rows_a_warp = rows <= kClusters * kMaxWarps ? 1 : 2;
  const int warps = std::min(divided_up(rows, kClusters * rows_a_warp), kMaxWarps);
  // Up to four turns a warp; more would gain little on the router, and keep clusters that find no room
  // waiting.
  const int turns = std::clamp(rows / (4 * kClusters * kMaxWarps * rows_a_warp), 1, 4);
  const int clusters = divided_up(rows, warps * rows_a_warp * turns);
  with_row_vectors(call.norm.hidden, [&](auto vectors) {
    if (rows_a_warp == 1) return launch_route<vectors(), 1>(call, warps, clusters, stream);
    launch_route<vectors(), 2>(call, warps, clusters, stream);
  });
}

}  // namespace outrider::cuda
