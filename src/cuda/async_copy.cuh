// Bulk copies into shared memory (TMA) and the barriers that tell of their arrival. PTX ISA, "mbarrier" and
// "cp.async.bulk".
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>

#include <cstdint>

namespace outrider::cuda {

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

__device__ __forceinline__ int4 load_shared_16(uint32_t from) {
  int4 v;
  asm volatile("ld.shared.v4.s32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(from)
               : "memory");
  return v;
}
__device__ __forceinline__ void store_shared(uint32_t to, float value) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(to), "f"(value) : "memory");
}
__device__ __forceinline__ void store_shared(uint32_t to, __nv_bfloat16 value) {
  asm volatile("st.shared.b16 [%0], %1;" ::"r"(to), "h"(__bfloat16_as_ushort(value)) : "memory");
}
__device__ __forceinline__ void store_shared(uint32_t to, uint8_t value) {
  asm volatile("st.shared.b8 [%0], %1;" ::"r"(to), "h"(static_cast<uint16_t>(value)) : "memory");
}

__device__ __forceinline__ void barrier_init(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}
// Makes initialised barriers visible to the copy engine; then __syncthreads().
__device__ __forceinline__ void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void barrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// The same for so many threads.
__device__ __forceinline__ void barrier_arrive_for(uint32_t barrier, int threads) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ __forceinline__ void barrier_arrive_expecting(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
// Waits for the end of the phase of the given parity.
__device__ __forceinline__ void barrier_wait(uint32_t barrier, int parity) {
  asm volatile(
      "{ .reg .pred done;\n"
      "AGAIN: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra AGAIN; }" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
// Whether that phase has ended.
__device__ __forceinline__ bool barrier_done(uint32_t barrier, int parity) {
  uint32_t done;
  asm volatile(
      "{ .reg .pred done;\n"
      "mbarrier.test_wait.parity.shared::cta.b64 done, [%1], %2;\n"
      "selp.u32 %0, 1, 0, done; }"
      : "=r"(done)
      : "r"(barrier), "r"(parity)
      : "memory");
  return done != 0;
}

// One of the warp's threads, all of which ask. The compiler then knows that it is one: what copies are told
// need not be the same in all, and is not made so in a loop.
__device__ __forceinline__ bool elected() {
  uint32_t is;
  asm volatile("{ .reg .pred p; elect.sync _|p, 0xffffffff; selp.u32 %0, 1, 0, p; }" : "=r"(is));
  return is != 0;
}

// What the L2 cache should do with the lines of a copy.
inline constexpr uint64_t kEvictFirst = 0x12F0000000000000ull;  // read once: weights
inline constexpr uint64_t kEvictLast = 0x14F0000000000000ull;   // read by every block: activations

inline constexpr uint64_t kEvictNormal = 0x1000000000000000ull;

// Contiguous bytes, a multiple of 16 at addresses that are; they count for `barrier`.
__device__ __forceinline__ void copy_bytes(uint32_t to, const void* from, int bytes, uint32_t barrier,
                                           uint64_t cache_hint) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1], %2, [%3], %4;" ::"r"(to),
      "l"(from), "r"(bytes), "r"(barrier), "l"(cache_hint)
      : "memory");
}

// 16 bytes by one thread, for itself: there after wait_for_own_copies().
__device__ __forceinline__ void copy_16_bytes(uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
__device__ __forceinline__ void wait_for_own_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Brings contiguous bytes into the L2 cache.
__device__ __forceinline__ void prefetch_bytes(const void* from, int bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}

// What this thread wrote to shared memory is visible to wgmma and the copy engine after the next barrier.
__device__ __forceinline__ void fence_for_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void prefetch_tensor_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// Box at (column, row) of a 2-d tensor; the box's bytes count for `barrier`.
__device__ __forceinline__ void copy_box(uint32_t to, const CUtensorMap* tensor, int column, int row,
                                         uint32_t barrier, uint64_t cache_hint) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
      "l"(tensor), "r"(column), "r"(row), "r"(barrier), "l"(cache_hint)
      : "memory");
}

// The same into every block of the cluster that `blocks` has a bit for, at the same place in its shared
// memory; the bytes count for the same barrier of each.
__device__ __forceinline__ void copy_box_to_cluster(uint32_t to, const CUtensorMap* tensor, int column,
                                                    int row, uint32_t barrier, int blocks,
                                                    uint64_t cache_hint) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster"
      ".L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5, %6;" ::"r"(to),
      "l"(tensor), "r"(column), "r"(row), "r"(barrier), "h"(static_cast<uint16_t>(blocks)), "l"(cache_hint)
      : "memory");
}

// Arrives at the same barrier of block `rank` of the cluster.
__device__ __forceinline__ void barrier_arrive_in_cluster(uint32_t barrier, int rank) {
  asm volatile(
      "{ .reg .b32 there; mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there]; }" ::"r"(barrier),
      "r"(rank)
      : "memory");
}

// Four matrices of 8 x 8 16-bit values, each transposed: lane 8 i + r holds the address of row r of matrix i.
__device__ __forceinline__ void store_matrices_transposed(uint32_t row, const uint32_t (&values)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row),
               "r"(values[0]), "r"(values[1]), "r"(values[2]), "r"(values[3])
               : "memory");
}

}  // namespace outrider::cuda
