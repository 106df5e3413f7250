// Kernel launches, and the two instructions of programmatic dependent launch (PDL).
//
// Every kernel of a step is launched so that it may start while its predecessor drains. The rules: a kernel
// calls wait_for_previous() in every thread that reads or writes memory that any earlier kernel of the step
// touches, and may call let_next_start() once. Weights and the step's own arrays, which are in place before
// its first kernel starts, may be read before.
#pragma once

#include <cuda_runtime.h>

#include "cuda/device.h"

namespace outrider::cuda {

// All memory operations of the kernels before this one are visible afterwards.
__device__ __forceinline__ void wait_for_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

// The next kernel may be scheduled as soon as room is free; it still waits for this one's end in
// wait_for_previous().
__device__ __forceinline__ void let_next_start() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// In clusters of `cluster` blocks along x; 1: none, or those that the kernel itself asks for.
template <typename... Params, typename... Args>
void launch_clusters(int cluster, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
                     cudaStream_t stream, Args&&... args) {
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = static_cast<unsigned>(cluster);
  attributes[1].val.clusterDim.y = attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = cluster > 1 ? 2 : 1;
  check(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...), "kernel launch");
}

template <typename... Params, typename... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
            Args&&... args) {
  launch_clusters(1, kernel, grid, block, shared_bytes, stream, std::forward<Args>(args)...);
}

}  // namespace outrider::cuda
