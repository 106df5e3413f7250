// The runner for one NVIDIA GPU of compute capability 9.0. submit() enqueues a step and returns; the device
// runs steps in order and feeds each sampled token to the next step by itself.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/memory_plan.h"
#include "model/weights.h"
#include "runner/runner.h"

namespace outrider::cuda {

struct CudaOptions {
  int max_num_seqs = 256;
  int max_num_batched_tokens = 8192;
  int64_t max_model_len = 0;
  int valid_vocab = 0;  // ids from here on have no token and are never sampled; 0: all ids are valid
  int64_t max_logprobs = 20;
  // Rows of the decode steps whose graphs are captured at start. Steps of other numbers up to the largest get
  // theirs when they have come a few times in a row. Empty: no graphs.
  std::vector<int> graph_rows = {1, 2, 3, 4, 5, 6, 7, 8};
};

struct DeviceInfo {
  std::string name;
  int64_t total_bytes = 0, free_bytes = 0;
  double memory_bandwidth = 0;  // bytes a second: clock times width; 0: the driver does not say
};

// The device that runners use. Throws StartupError naming the remedy where there is none that the kernels run
// on.
DeviceInfo find_device();
bool has_device();

// What make_cuda_runner() allocates beside the KV cache, as rows of the memory plan. Throws StartupError for
// a model that the kernels do not take. Needs no device.
std::vector<model::PlanRow> device_memory(const model::Model& model, const CudaOptions& options,
                                          model::KvDtype kv_dtype);

// Uploads the weights. Throws StartupError.
std::unique_ptr<runner::Runner> make_cuda_runner(std::shared_ptr<const model::Model> model,
                                                 const model::MemoryPlan& plan, const CudaOptions& options);

// Of a runner that make_cuda_runner() made: graphs that exist now; captured and launched so far.
struct GraphCounts {
  size_t graphs = 0;
  uint64_t captures = 0, launches = 0;
};
GraphCounts graph_counts(const runner::Runner& runner);

}  // namespace outrider::cuda
