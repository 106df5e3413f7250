#include "cli/device.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "cli/host_memory.h"
#include "cli/server_options.h"
#include "config/compilation.h"
#include "cpu/cpu_runner.h"
#if OUTRIDER_CUDA
#include "cuda/cuda_runner.h"
#endif

namespace outrider::cli {
namespace {

std::unique_ptr<runner::Runner> make_cpu_runner(const config::ServeOptions& options,
                                                std::shared_ptr<const model::Model> model,
                                                const model::MemoryPlan& plan, int valid_vocab) {
  cpu::CpuOptions out;
  out.num_threads = static_cast<int>(options.threads.value_or(0));
  out.max_num_seqs = static_cast<int>(*options.max_num_seqs);
  out.max_num_batched_tokens = static_cast<int>(*options.max_num_batched_tokens);
  out.activation_quantization = options.activation_quantization == "checkpoint"
                                    ? cpu::ActivationQuantization::kCheckpoint
                                    : cpu::ActivationQuantization::kNone;
  out.valid_vocab = valid_vocab;
  return cpu::make_cpu_runner(std::move(model), plan, out);
}

#if OUTRIDER_CUDA

// Of a GPU's memory: for what the driver loads later (kernels, printf buffers), and for other small users of
// the device.
constexpr int64_t kReserveBytes = int64_t{512} << 20;

cuda::CudaOptions cuda_options(const config::ServeOptions& options, int64_t max_model_len, int valid_vocab) {
  cuda::CudaOptions out;
  out.max_num_seqs = static_cast<int>(*options.max_num_seqs);
  out.max_num_batched_tokens = static_cast<int>(*options.max_num_batched_tokens);
  out.max_model_len = max_model_len;
  out.valid_vocab = valid_vocab;
  out.max_logprobs = options.max_logprobs;
  if (const auto rows = config::graph_rows(options)) out.graph_rows = *rows;
  return out;
}

// --gpu-memory-utilization counts what others have taken; without it, all that is free but the reserve.
int64_t usable_bytes(const config::ServeOptions& options, const Device& device) {
  if (options.given.count("gpu-memory-utilization") == 0) return device.free_bytes - kReserveBytes;
  const auto share =
      static_cast<int64_t>(options.gpu_memory_utilization * static_cast<double>(device.total_bytes));
  return std::min(share - (device.total_bytes - device.free_bytes), device.free_bytes);
}

#endif

}  // namespace

Device find_device(const config::ServeOptions& options) {
  if (options.device == "cpu") return {};
#if OUTRIDER_CUDA
  if (options.device == "cuda" || cuda::has_device()) {
    try {
      const cuda::DeviceInfo info = cuda::find_device();
      return {true, info.name, info.total_bytes, info.free_bytes, info.memory_bandwidth};
    } catch (const StartupError& e) {
      if (options.device == "cuda") throw;
      log::warning(std::string(e.what()) + "; serving on the CPU");
    }
  }
#else
  if (options.device == "cuda") {
    throw StartupError(
        "--device cuda: this program was built without the CUDA runner; build it anew after "
        "scripts/install-cuda.sh always, or use --device cpu");
  }
#endif
  return {};
}

model::MemoryOptions memory_options(const config::ServeOptions& options,
                                    [[maybe_unused]] const Device& device,
                                    [[maybe_unused]] const model::Model& model, int64_t max_model_len) {
#if OUTRIDER_CUDA
  if (device.is_gpu) {
    constexpr int kPage = 64;  // the kernels' page; --block-size is advice
    model::MemoryOptions out = memory_options(options, max_model_len, 0);
    out.block_size = kPage;
    out.device_bytes = usable_bytes(options, device);
    out.rows = cuda::device_memory(model, cuda_options(options, max_model_len, 0), out.kv_dtype);
    return out;
  }
#endif
  return memory_options(options, max_model_len, default_cpu_kv_bytes(host_memory_bytes()));
}

std::unique_ptr<runner::Runner> make_runner(const config::ServeOptions& options,
                                            [[maybe_unused]] const Device& device,
                                            std::shared_ptr<const model::Model> model,
                                            const model::MemoryPlan& plan, int valid_vocab) {
#if OUTRIDER_CUDA
  if (device.is_gpu) {
    return cuda::make_cuda_runner(std::move(model), plan,
                                  cuda_options(options, plan.max_model_len, valid_vocab));
  }
#endif
  return make_cpu_runner(options, std::move(model), plan, valid_vocab);
}

}  // namespace outrider::cli
