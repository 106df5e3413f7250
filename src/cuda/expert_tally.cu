// One block a layer, behind a step.
#include "cuda/expert_tally.h"

namespace outrider::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxExperts = 128;
using Count = unsigned long long;  // what atomicAdd takes

__global__ void __launch_bounds__(kThreads) tally_kernel(ExpertChoices choices, int pairs, Count* counts) {
  __shared__ int rows[kMaxExperts];
  for (int e = threadIdx.x; e < choices.experts; e += kThreads) rows[e] = 0;
  __syncthreads();
  const int32_t* chosen = choices.expert_of_pair + blockIdx.x * choices.layer_stride;
  for (int i = threadIdx.x; i < pairs; i += kThreads) {
    const int expert = chosen[i];
    if (expert >= 0 && expert < choices.experts) atomicAdd(&rows[expert], 1);
  }
  __syncthreads();
  Count* of_layer = counts + blockIdx.x * (choices.experts + 1);
  for (int e = threadIdx.x; e < choices.experts; e += kThreads) {
    if (rows[e] == 0) continue;
    of_layer[e] += rows[e];
    atomicAdd(&of_layer[choices.experts], Count{1});
  }
}

}  // namespace

ExpertTally::ExpertTally(int layers, int experts)
    : layers_(layers), experts_(experts), counts_(sizeof(Count) * layers * (experts + 1)) {
  check(cudaMemset(counts_.as<void>(), 0, counts_.bytes()), "cudaMemset");
}

void ExpertTally::add(const ExpertChoices& choices, int pairs, cudaStream_t stream) {
  ++steps_;
  if (experts_ > kMaxExperts || layers_ == 0) return;
  tally_kernel<<<layers_, kThreads, 0, stream>>>(choices, pairs, counts_.as<Count>());
  check(cudaGetLastError(), "tally of experts");
}

std::vector<int64_t> ExpertTally::take(cudaStream_t stream) {
  std::vector<int64_t> counts(counts_.bytes() / sizeof(Count));
  check(cudaMemcpyAsync(counts.data(), counts_.as<void>(), counts_.bytes(), cudaMemcpyDeviceToHost, stream),
        "copy of counts");
  check(cudaMemsetAsync(counts_.as<void>(), 0, counts_.bytes(), stream), "cudaMemset");
  check(cudaStreamSynchronize(stream), "copy of counts");
  steps_ = 0;
  return counts;
}

}  // namespace outrider::cuda
