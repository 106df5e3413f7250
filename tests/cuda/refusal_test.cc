// What cannot run on the device is refused with one line that names the remedy, before anything is allocated.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "cuda/cuda_runner.h"
#include "cuda/kv_cache.h"
#include "cuda/needs_gpu.h"
#include "cuda/tiny_model.h"

namespace outrider::cuda {
namespace {

using model::KvDtype;
using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

const CudaOptions kOptions = {4, 256, 640, 0, 20};

// The refusal's line; empty when there was none.
std::string refusal(const std::function<void()>& body) {
  try {
    body();
  } catch (const StartupError& e) {
    EXPECT_THAT(e.what(), Not(HasSubstr("\n")));
    return e.what();
  }
  return "";
}

std::string refusal_of(const model::Model& model, KvDtype dtype = KvDtype::kFp8E4m3) {
  return refusal([&] { device_memory(model, kOptions, dtype); });
}

TEST(Refusal, the_fixtures_in_bf16_and_fp8_are_taken) {
  for (const char* name : {"tiny-a-bf16", "tiny-a-fp8", "tiny-a-fp8-mm", "tiny-a-fp8-perexpert"}) {
    EXPECT_EQ(refusal_of(*load_tiny(name)), "") << name;
  }
}

TEST(Refusal, nvfp4_is_named_with_the_device_that_takes_it) {
  for (const char* name : {"tiny-a-nvfp4", "tiny-a-nvfp4-perexpert"}) {
    EXPECT_THAT(refusal_of(*load_tiny(name)), AllOf(HasSubstr("NVFP4"), HasSubstr("--device cpu"))) << name;
  }
}

TEST(Refusal, shapes_without_a_kernel_are_named) {
  const auto with = [](const std::function<void(model::LlamaConfig&)>& change) {
    model::Model model = *load_tiny("tiny-a-fp8");
    change(model.config);
    return refusal_of(model);
  };
  const auto names = [](const char* what) { return AllOf(HasSubstr(what), HasSubstr("--device cpu")); };
  EXPECT_THAT(with([](auto& c) { c.hidden_size = 16384; }), names("hidden_size up to 8192; it is 16384"));
  EXPECT_THAT(with([](auto& c) { c.num_experts = 128; }), names("up to 32 experts; there are 128"));
  EXPECT_THAT(with([](auto& c) { c.head_dim = 96; }), names("8 heads of 96 over 2"));
  EXPECT_THAT(with([](auto& c) { c.num_heads = 32; }), names("32 heads of 64 over 2"));
  EXPECT_THAT(with([](auto& c) { c.num_heads = 7; }), names("7 heads of 64 over 2"));
  EXPECT_THAT(refusal_of(*load_tiny("tiny-a-fp8"), KvDtype::kF32), names("fp32 KV cache"));
}

TEST(Refusal, matrices_without_a_kernel_are_named_with_their_place) {
  const auto with = [](const std::function<void(model::Layer&)>& change) {
    model::Model model = *load_tiny("tiny-a-fp8");
    change(model.weights.layers[2]);
    return refusal_of(model);
  };
  const auto names = [](const char* place, const char* what) {
    return AllOf(HasSubstr(place), HasSubstr(what), HasSubstr("--device cpu"));
  };
  EXPECT_THAT(with([](auto& l) { l.o.rows = 100; }), names("o_proj", "output size of 100"));
  EXPECT_THAT(with([](auto& l) { l.shared_expert.down.cols = 200; }),
              names("shared expert down", "input size of 200"));
  EXPECT_THAT(with([](auto& l) { l.experts[1].up.input_scale = 0.0f; }),
              names("experts gate and up", "input_scale"));
  EXPECT_THAT(with([](auto& l) { l.k.format = model::WeightFormat::kBf16; }),
              names("q, k and v", "different types"));
}

TEST(Refusal, too_small_a_device_is_told_what_would_fit) {
  const auto model = load_tiny("tiny-a-fp8");
  model::MemoryOptions options;
  options.max_model_len = kOptions.max_model_len;
  options.max_num_seqs = kOptions.max_num_seqs;
  options.max_num_batched_tokens = kOptions.max_num_batched_tokens;
  options.block_size = kPagePositions;
  options.kv_dtype = KvDtype::kFp8E4m3;
  options.rows = device_memory(*model, kOptions, options.kv_dtype);
  int64_t fixed = 0;
  for (const model::PlanRow& row : options.rows) fixed += row.bytes;
  const auto plan = [&](int64_t bytes) {
    options.device_bytes = bytes;
    return refusal([&] { model::plan_memory(*model, options); });
  };
  EXPECT_THAT(plan(fixed / 2),
              AllOf(HasSubstr("weights"), HasSubstr("activations"), HasSubstr("that may be used; ")));
  EXPECT_THAT(plan(fixed + (100 << 10)), AllOf(HasSubstr("--max-model-len "), HasSubstr(" would fit")));
  EXPECT_EQ(plan(fixed + (64 << 20)), "");
}

TEST(Refusal, a_machine_without_a_gpu_is_told_of_the_cpu) {
  if (has_device()) GTEST_SKIP() << "this machine has a GPU";
  // The driver is missing, or it has no GPU to show.
  EXPECT_THAT(refusal([] { find_device(); }),
              AllOf(AnyOf(HasSubstr("install driver 580"), HasSubstr("nvidia-smi")),
                    HasSubstr("or use --device cpu")));
}

TEST(Refusal, a_pool_larger_than_the_device_names_the_options_that_shrink_it) {
  NEEDS_GPU();
  const auto model = load_tiny("tiny-a-fp8");
  model::MemoryPlan plan;
  plan.kv = model::make_kv_geometry(model->config, kPagePositions, KvDtype::kFp8E4m3);
  plan.kv.num_blocks = 1 << 30;
  EXPECT_THAT(refusal([&] { make_cuda_runner(model, plan, kOptions); }),
              AllOf(HasSubstr("out of memory"), HasSubstr("--gpu-memory-utilization")));
  plan.kv.num_blocks = 64;  // and the device still works
  EXPECT_EQ(refusal([&] { make_cuda_runner(model, plan, kOptions); }), "");
}

}  // namespace
}  // namespace outrider::cuda
