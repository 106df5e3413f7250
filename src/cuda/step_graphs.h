// Decode steps of few rows as CUDA graphs: the launches of a step, recorded by the code that would have made
// them, so that the host hands them over in one call and the device fetches them without the host.
//
// A graph holds every value that its launches were made from, so it stands for the steps whose values are all
// the same. StepLaunches is these values, compared whole; StepMaker sees to it that steps alike have equal
// ones.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <utility>

#include "cuda/llama4.h"
#include "cuda/recent_map.h"

namespace outrider::cuda {

// All that the forward pass and the logits of one run of the sampler are made from.
struct StepLaunches {
  Step step;
  const int32_t* logit_rows = nullptr;  // device [num_logit_rows]
  int num_logit_rows = 0;
  friend bool operator==(const StepLaunches&, const StepLaunches&) = default;
};

class GraphExec {
 public:
  GraphExec() = default;
  explicit GraphExec(cudaGraphExec_t graph) : graph_(graph) {}
  GraphExec(GraphExec&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
  GraphExec& operator=(GraphExec&& other) noexcept {
    std::swap(graph_, other.graph_);
    return *this;
  }
  ~GraphExec() {
    if (graph_) cudaGraphExecDestroy(graph_);
  }
  operator cudaGraphExec_t() const { return graph_; }  // NOLINT(google-explicit-constructor)

 private:
  cudaGraphExec_t graph_ = nullptr;
};

class StepGraphs {
 public:
  // Enqueues a step's launches, from nothing but what it is given and what never changes.
  using Launch = std::function<void(const StepLaunches&, cudaStream_t)>;

  // A step that comes so many times in a row is captured.
  static constexpr int kPatience = 16;

  StepGraphs(size_t capacity, Launch launch);

  // Enqueues a step, as a graph where it has one. Throws DeviceError.
  void run(const StepLaunches& step, cudaStream_t stream);

  // Makes the graph of a step that is still to come. A failure ends all capturing, with one line in the log:
  // steps without a graph are launched one kernel after the other.
  void capture(const StepLaunches& step, cudaStream_t stream);

  size_t size() const { return graphs_.size(); }
  uint64_t captures() const { return captures_; }
  uint64_t launches() const { return launches_; }

 private:
  GraphExec record(const StepLaunches& step, cudaStream_t stream) const;

  const Launch launch_;
  RecentMap<StepLaunches, GraphExec> graphs_;
  StepLaunches last_;  // the last one that could have had a graph, and how often it came in a row
  int repeats_ = 0;
  bool failed_ = false;
  uint64_t captures_ = 0, launches_ = 0;
};

}  // namespace outrider::cuda
