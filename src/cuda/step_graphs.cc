#include "cuda/step_graphs.h"

#include <algorithm>

#include "base/log.h"

namespace outrider::cuda {

// With room for the steps in flight, so that none of theirs is the one that is dropped.
StepGraphs::StepGraphs(size_t capacity, Launch launch)
    : launch_(std::move(launch)), graphs_(std::max<size_t>(capacity, 4)) {}

void StepGraphs::run(const StepLaunches& step, cudaStream_t stream) {
  if (step.step.recurs) {
    repeats_ = step == last_ ? repeats_ + 1 : 1;
    last_ = step;
    const GraphExec* graph = graphs_.find(step);
    if (!graph && repeats_ >= kPatience) {
      capture(step, stream);
      graph = graphs_.find(step);
    }
    if (graph) {
      check(cudaGraphLaunch(*graph, stream), "cudaGraphLaunch");
      ++launches_;
      return;
    }
  }
  launch_(step, stream);
}

void StepGraphs::capture(const StepLaunches& step, cudaStream_t stream) {
  if (failed_ || !step.step.recurs || graphs_.find(step)) return;
  try {
    graphs_.insert(step, record(step, stream));
    ++captures_;
  } catch (const DeviceError& e) {
    failed_ = true;
    cudaGetLastError();  // is told here, not by a later launch
    log::warning(std::string("No more CUDA graphs are captured: ") + e.what());
  }
}

// Kernels may be loaded meanwhile, and other threads use the device: relaxed.
GraphExec StepGraphs::record(const StepLaunches& step, cudaStream_t stream) const {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
  cudaGraph_t graph = nullptr;
  try {
    launch_(step, stream);
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    if (graph) cudaGraphDestroy(graph);
    throw;
  }
  check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  cudaGraphExec_t made = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&made, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "cudaGraphInstantiate");
  GraphExec executable(made);
  check(cudaGraphUpload(executable, stream), "cudaGraphUpload");
  return executable;
}

}  // namespace outrider::cuda
