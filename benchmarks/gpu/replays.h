// How long kernels take that follow each other as in a step.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <array>

#include "cuda/device.h"

namespace outrider::cuda {

// Microseconds of one call of `enqueue(i)`: the median of nine replays of a CUDA graph of `calls`.
template <typename Enqueue>
double median_us(cudaStream_t stream, int calls, const Enqueue& enqueue) {
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "capture");
  for (int i = 0; i < calls; ++i) enqueue(i);
  check(cudaStreamEndCapture(stream, &graph), "capture");
  check(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  std::array<float, 9> ms;
  for (float& t : ms) {
    check(cudaEventRecord(begin, stream), "cudaEventRecord");
    check(cudaGraphLaunch(executable, stream), "cudaGraphLaunch");
    check(cudaEventRecord(end, stream), "cudaEventRecord");
    check(cudaStreamSynchronize(stream), "replay");
    check(cudaEventElapsedTime(&t, begin, end), "cudaEventElapsedTime");
  }
  std::sort(ms.begin(), ms.end());
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  return ms[ms.size() / 2] * 1e3 / calls;
}

}  // namespace outrider::cuda
