// Slot state from the records of new bindings: one block a slot. What a slot has room for but its request
// does not use is left as it is: flags and counts say what is valid. A slot with penalties has its row of
// counts (one byte a token) zeroed and filled: 202 KB of writes, about 1 us.
#include "cuda/launch.cuh"
#include "cuda/sampler_kernels.h"

namespace outrider::cuda {
namespace {

constexpr int kBindThreads = 512;

__device__ void copy_words(int32_t* to, const int32_t* from, int count) {
  for (int i = threadIdx.x; i < count; i += kBindThreads) to[i] = from[i];
}

__device__ void fill_counts(const BindRecord& record, const int32_t* counts, const int32_t* overflows,
                            const SlotState& state) {
  const int64_t slot = record.slot;
  uint8_t* row = state.counts + slot * state.count_stride;
  for (int i = threadIdx.x; i < state.count_stride / 16; i += kBindThreads) {
    reinterpret_cast<uint4*>(row)[i] = make_uint4(0, 0, 0, 0);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < record.num_counts; i += kBindThreads) {
    const uint32_t word = static_cast<uint32_t>(counts[i]);
    row[word & 0xffffff] = static_cast<uint8_t>(word >> 24);
  }
  copy_words(reinterpret_cast<int32_t*>(state.overflows + slot * state.max_overflows), overflows,
             2 * record.num_overflows);
  if (threadIdx.x == 0) state.num_overflows[slot] = record.num_overflows;
}

__global__ void __launch_bounds__(kBindThreads) bind_kernel(const BindArgs args) {
  const uint64_t* base = args.records + args.offsets[blockIdx.x];
  const BindRecord record = *reinterpret_cast<const BindRecord*>(base);
  const SlotState& state = args.state;
  const int64_t slot = record.slot;
  const bool allowed_only = record.params.flags & kAllowedOnly;
  const auto* lists = reinterpret_cast<const int32_t*>(base + sizeof(BindRecord) / 8);
  const int32_t* allowed = lists + record.num_list_words;
  const int32_t* counts = allowed + (allowed_only ? state.mask_words : 0);
  const int32_t* overflows = counts + record.num_counts;
  const int32_t* recent = overflows + 2 * record.num_overflows;

  wait_for_previous();  // a step may still be using the slot for its former request
  copy_words(state.lists + slot * kSlotListWords, lists, record.num_list_words);
  if (allowed_only) {
    copy_words(reinterpret_cast<int32_t*>(state.allowed) + slot * state.mask_words, allowed,
               state.mask_words);
  }
  if (record.params.flags & kPenalties) fill_counts(record, counts, overflows, state);
  const int kept = min(record.num_outputs, kRecentTokens);
  for (int i = threadIdx.x; i < kept; i += kBindThreads) {
    state.recent[slot * kRecentTokens + (record.num_outputs - kept + i) % kRecentTokens] = recent[i];
  }
  if (threadIdx.x == 0) {
    state.params[slot] = record.params;
    state.num_outputs[slot] = record.num_outputs;
    state.last_tokens[slot] = kept > 0 ? recent[kept - 1] : 0;
  }
}

}  // namespace

void bind_slots(const BindArgs& args, int count, cudaStream_t stream) {
  launch(bind_kernel, count, kBindThreads, 0, stream, args);
}

}  // namespace outrider::cuda
