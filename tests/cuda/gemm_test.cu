#include "cuda/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "cuda/device.h"
#include "cuda/needs_gpu.h"
#include "cuda/number_formats.cuh"

namespace outrider::cuda {
namespace {

struct Case {
  ElementType type;
  OutputType output;
  int features, k;
  std::vector<int> tokens;  // of each group
};

float value_of(ElementType type, const void* data, int64_t i) {
  if (type == ElementType::kBf16) return __bfloat162float(static_cast<const bf16*>(data)[i]);
  return static_cast<float>(static_cast<const __nv_fp8_e4m3*>(data)[i]);
}

class GemmTest : public testing::Test {
 protected:
  void SetUp() override {
    NEEDS_GPU();
    prepare_gemm();
    totals_ = DeviceBuffer(SplitTotals::total_bytes());
    counts_ = DeviceBuffer(SplitTotals::count_bytes());
    check(cudaMemset(counts_.as<void>(), 0, counts_.bytes()), "counts");
  }

  std::vector<uint8_t> random_elements(ElementType type, int64_t n) {
    std::vector<uint8_t> bytes(n * (type == ElementType::kFp8 ? 1 : 2));
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < n; ++i) {
      if (type == ElementType::kFp8) {
        reinterpret_cast<__nv_fp8_e4m3*>(bytes.data())[i] = __nv_fp8_e4m3(normal(random_));
      } else {
        reinterpret_cast<bf16*>(bytes.data())[i] = __float2bfloat16(normal(random_));
      }
    }
    return bytes;
  }

  DeviceBuffer upload(const void* data, size_t bytes) {
    DeviceBuffer buffer(bytes);
    check(cudaMemcpy(buffer.as<void>(), data, bytes, cudaMemcpyHostToDevice), "upload");
    return buffer;
  }

  // The product as the kernel gives it, in fp32, every row computed with the tile that `tokens_a_group`
  // chooses.
  std::vector<float> run(const Case& c, const GemmWeights& w, const void* x, int total, int tokens_a_group) {
    std::vector<int32_t> begin = {0};
    for (int t : c.tokens) begin.push_back(begin.back() + t);
    const DeviceBuffer device_begin = upload(begin.data(), begin.size() * sizeof(int32_t));
    const size_t out_bytes = c.output == OutputType::kF32 ? 4 : 2;
    DeviceBuffer y(static_cast<size_t>(total) * c.features * out_bytes + 64);
    check(cudaMemset(y.as<void>(), 0xff, y.bytes()), "poison");
    const GemmInput input = make_gemm_input(c.type, x, total, c.k);
    const SplitTotals split{totals_.as<float>(), counts_.as<int32_t>()};
    gemm({&w, &input, y.as<void>(), c.output, device_begin.as<int32_t>(), tokens_a_group, split}, 132,
         stream_);
    check(cudaStreamSynchronize(stream_), "kernel");
    std::vector<uint8_t> raw(y.bytes());
    check(cudaMemcpy(raw.data(), y.as<void>(), raw.size(), cudaMemcpyDeviceToHost), "result");
    for (size_t i = raw.size() - 64; i < raw.size(); ++i) EXPECT_EQ(raw[i], 0xff) << "written beyond the end";
    std::vector<float> out(static_cast<size_t>(total) * c.features);
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = c.output == OutputType::kF32 ? reinterpret_cast<const float*>(raw.data())[i]
                                            : __bfloat162float(reinterpret_cast<const bf16*>(raw.data())[i]);
    }
    return out;
  }

  void check_case(const Case& c) {
    const int groups = static_cast<int>(c.tokens.size());
    int total = 0;
    for (int t : c.tokens) total += t;
    const int64_t weights = int64_t{groups} * c.features * c.k;
    const auto w_host = random_elements(c.type, weights),
               x_host = random_elements(c.type, int64_t{total} * c.k);
    std::vector<float> scales(groups * c.features / kFeatureTile);
    for (float& s : scales) s = 0.5f + static_cast<float>(random_() % 100) / 100.0f;
    const DeviceBuffer w = upload(w_host.data(), w_host.size()), x = upload(x_host.data(), x_host.size());
    const DeviceBuffer scale = upload(scales.data(), scales.size() * sizeof(float));
    const GemmWeights gemm_weights =
        make_gemm_weights(c.type, w.as<void>(), groups, c.features, c.k, scale.as<float>());

    const std::vector<float> small = run(c, gemm_weights, x.as<void>(), total, groups > 1 ? 1 : total);
    // Every tile gives the same bits.
    if (groups > 1 || total <= 64) EXPECT_EQ(small, run(c, gemm_weights, x.as<void>(), total, 64));
    EXPECT_EQ(small, run(c, gemm_weights, x.as<void>(), total, 1000));

    // A sample of elements in double. FP8 tensor cores keep about 14 bits of a block's sum.
    double worst = 0.0;
    for (int sample = 0; sample < 4000; ++sample) {
      const int token = static_cast<int>(random_() % total),
                feature = static_cast<int>(random_() % c.features);
      int group = 0;
      for (int end = c.tokens[0]; token >= end; end += c.tokens[group]) ++group;
      double sum = 0.0, squares = 0.0;
      for (int k = 0; k < c.k; ++k) {
        const double product =
            static_cast<double>(
                value_of(c.type, w_host.data(), (int64_t{group} * c.features + feature) * c.k + k)) *
            value_of(c.type, x_host.data(), int64_t{token} * c.k + k);
        sum += product;
        squares += product * product;
      }
      const double s = scales[(group * c.features + feature) / kFeatureTile];
      const double got = small[static_cast<size_t>(token) * c.features + feature];
      ASSERT_TRUE(std::isfinite(got)) << "token " << token << " feature " << feature;
      const double rounding = c.output == OutputType::kBf16 ? std::fabs(s * sum) / 256.0 : 0.0;
      worst = std::max(worst, (std::fabs(got - s * sum) - rounding) / (s * std::sqrt(squares)));
    }
    EXPECT_LT(worst, c.type == ElementType::kFp8 ? 2e-3 : 1e-5);
  }

  std::mt19937 random_{7};
  DeviceBuffer totals_, counts_;
  const cudaStream_t stream_ = nullptr;  // the default stream: needs no device before SetUp
};

TEST_F(GemmTest, is_the_product_for_every_number_of_tokens) {
  for (ElementType type : {ElementType::kFp8, ElementType::kBf16}) {
    for (int tokens : {1, 2, 15, 16, 17, 63, 64, 65, 128, 129, 300}) {
      check_case({type, OutputType::kBf16, 192, 256, {tokens}});
    }
  }
}

TEST_F(GemmTest, is_the_product_for_wide_and_deep_matrices) {
  check_case({ElementType::kFp8, OutputType::kBf16, 7168, 5120, {37}});
  check_case({ElementType::kFp8, OutputType::kBf16, 5120, 8192, {3}});
  check_case({ElementType::kBf16, OutputType::kBf16, 5120, 5120, {16}});
  check_case({ElementType::kFp8, OutputType::kBf16, 5120, 5120, {64}});
  check_case({ElementType::kFp8, OutputType::kBf16, 5120, 8192, {200}});
  check_case({ElementType::kBf16,
              OutputType::kF32,
              64 * 401,
              5120,
              {70}});  // an odd number of feature tiles, as lm_head has
}

TEST_F(GemmTest, gives_each_group_its_own_weights_and_tokens) {
  for (ElementType type : {ElementType::kFp8, ElementType::kBf16}) {
    check_case({type, OutputType::kBf16, 256, 384, {3, 0, 17, 1, 0, 130, 64, 2}});
    check_case({type, OutputType::kBf16, 64, 128, {0, 0, 0, 5}});
    check_case({type, OutputType::kBf16, 128, 128, std::vector<int>(16, 1)});
  }
}

}  // namespace
}  // namespace outrider::cuda
