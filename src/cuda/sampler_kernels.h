// Launches of the sampler's kernels.
#pragma once

#include <cuda_runtime.h>

#include "cuda/sampler_state.h"

namespace outrider::cuda {

// Fills slots from `count` records. `offsets` [count] are in 8-byte units from `records`; both are pinned
// host memory, which the kernel reads over the bus.
struct BindArgs {
  const uint64_t* records = nullptr;
  const uint32_t* offsets = nullptr;
  SlotState state;
};
void bind_slots(const BindArgs& args, int count, cudaStream_t stream);

// Shared memory of the row kernel must be asked for once a device.
void prepare_sample_rows(int vocab);
void sample_rows(const SampleArgs& args, int num_rows, cudaStream_t stream);

}  // namespace outrider::cuda
