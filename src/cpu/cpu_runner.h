// The runner for the CPU. submit() returns at once; a thread of its own runs the steps in order, with the
// thread pool.
#pragma once

#include <memory>

#include "cpu/llama4.h"
#include "model/memory_plan.h"
#include "model/weights.h"
#include "runner/runner.h"

namespace outrider::cpu {

struct CpuOptions {
  int num_threads = 0;  // 0: every core this process may use
  int max_num_seqs = 256;
  int max_num_batched_tokens = 8192;
  ActivationQuantization activation_quantization = ActivationQuantization::kNone;
  int valid_vocab = 0;  // ids from here on have no token and are never sampled; 0: all ids are valid
};

// Repacks the weights (reads all of them once). Throws StartupError.
std::unique_ptr<runner::Runner> make_cpu_runner(std::shared_ptr<const model::Model> model,
                                                const model::MemoryPlan& plan, const CpuOptions& options);

}  // namespace outrider::cpu
