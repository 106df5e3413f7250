// Thread block clusters: blocks that run at the same time on neighbouring SMs and reach each other's shared
// memory.
#pragma once

#include <cooperative_groups.h>

namespace outrider::cuda {

__device__ __forceinline__ int cluster_rank() {
  return static_cast<int>(cooperative_groups::this_cluster().block_rank());
}

// Every thread of every block of the cluster arrives; writes to shared memory before it are visible after it.
__device__ __forceinline__ void cluster_sync() { cooperative_groups::this_cluster().sync(); }

// The same before anything was written but barriers, whose initialisation (barrier_init_fence()) is visible
// after it. Without waiting for memory.
__device__ __forceinline__ void cluster_sync_at_start() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// The same variable of block `rank`. That block must have started (one cluster_sync) and must not have ended.
template <typename T>
__device__ __forceinline__ T* peer(T* shared, int rank) {
  return cooperative_groups::this_cluster().map_shared_rank(shared, rank);
}

// Writes into the same variable of block `rank`, by shared address; the bytes count for the barrier there.
__device__ __forceinline__ void store_in_cluster(uint32_t to, int value, uint32_t barrier, int rank) {
  asm volatile(
      "{ .reg .b32 there, barrier; mapa.shared::cluster.u32 there, %0, %3;\n"
      "mapa.shared::cluster.u32 barrier, %2, %3;\n"
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [there], %1, [barrier]; }" ::"r"(to),
      "r"(value), "r"(barrier), "r"(rank)
      : "memory");
}

}  // namespace outrider::cuda
