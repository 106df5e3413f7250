// The device that serves, and what the rest of start-up must know of it. The only place that knows whether
// this build has the CUDA runner.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "config/serve_options.h"
#include "model/memory_plan.h"
#include "model/weights.h"
#include "runner/runner.h"

namespace outrider::cli {

struct Device {
  bool is_gpu = false;
  std::string name;
  int64_t total_bytes = 0;  // of a GPU; 0 for the CPU
  int64_t free_bytes = 0;
  double memory_bandwidth = 0;  // of a GPU, bytes a second; 0: not known
};

// --device; auto takes a GPU where there is one that the kernels run on. Throws StartupError.
Device find_device(const config::ServeOptions& options);

// What the memory plan is to be made with. `max_model_len` has been resolved.
model::MemoryOptions memory_options(const config::ServeOptions& options, const Device& device,
                                    const model::Model& model, int64_t max_model_len);

// Throws StartupError.
std::unique_ptr<runner::Runner> make_runner(const config::ServeOptions& options, const Device& device,
                                            std::shared_ptr<const model::Model> model,
                                            const model::MemoryPlan& plan, int valid_vocab);

}  // namespace outrider::cli
