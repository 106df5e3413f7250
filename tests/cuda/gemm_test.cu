#include "cuda/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "cuda/device.h"
#include "cuda/gemm_mixed.h"
#include "cuda/needs_gpu.h"
#include "cuda/number_formats.cuh"
#include "cuda/weight_image.h"

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
    totals_ = DeviceBuffer(SplitTotals::bytes());
    split_ = SplitTotals::in(totals_.as<void>());
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

  // Rows of k elements, as products want their weights.
  DeviceBuffer upload_weights(ElementType type, const std::vector<uint8_t>& rows, int k) {
    const int64_t row_bytes = int64_t{k} * (type == ElementType::kFp8 ? 1 : 2);
    std::vector<uint8_t> image(rows.size());
    for (int64_t at = 0; at < static_cast<int64_t>(rows.size()); at += 16)
      std::copy_n(rows.data() + at, 16,
                  image.data() + image_offset(at / row_bytes, at % row_bytes, row_bytes));
    return upload(image.data(), image.size());
  }

  // The product as the kernel gives it, in fp32, every row computed with the tile that `tokens_a_group`
  // chooses.
  std::vector<float> run(const Case& c, const GemmWeights& w, const void* x, int total, int tokens_a_group,
                         int num_sms = 132, bool first_takes_all = false) {
    std::vector<int32_t> begin = {0};
    for (int t : c.tokens) begin.push_back(begin.back() + t);
    const DeviceBuffer device_begin = upload(begin.data(), begin.size() * sizeof(int32_t));
    const size_t out_bytes = c.output == OutputType::kF32 ? 4 : 2;
    DeviceBuffer y(static_cast<size_t>(total) * c.features * out_bytes + 64);
    check(cudaMemset(y.as<void>(), 0xff, y.bytes()), "poison");
    const GemmInput input = make_gemm_input(c.type, x, total, c.k);
    gemm({.w = &w,
          .x = &input,
          .y = y.as<void>(),
          .output = c.output,
          .token_begin = device_begin.as<int32_t>(),
          .tokens_a_group = tokens_a_group,
          .split = split_,
          .first_takes_all = first_takes_all},
         num_sms, stream_);
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
    const DeviceBuffer w = upload_weights(c.type, w_host, c.k), x = upload(x_host.data(), x_host.size());
    const DeviceBuffer scale = upload(scales.data(), scales.size() * sizeof(float));
    const GemmWeights gemm_weights =
        make_gemm_weights(c.type, w.as<void>(), groups, c.features, c.k, scale.as<float>());

    const std::vector<float> small = run(c, gemm_weights, x.as<void>(), total, groups > 1 ? 1 : total);
    // Every tile gives the same bits.
    for (const int tokens : {8, 16, 32, 64, 256, 1000})
      EXPECT_EQ(small, run(c, gemm_weights, x.as<void>(), total, tokens)) << tokens;
    if (c.k < 4096)
      EXPECT_EQ(small, run(c, gemm_weights, x.as<void>(), total, 1000, 2));  // every tile by one pair
    for (const int tokens : {64, 128, 256, 1000}) {
      if (groups == 1) break;
      for (const int sms : {132, 10, 3}) {
        EXPECT_EQ(small, run(c, gemm_weights, x.as<void>(), total, tokens, sms, true))
            << "mixed, " << tokens << ", on " << sms;
      }
    }

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
  DeviceBuffer totals_;
  SplitTotals split_;
  const cudaStream_t stream_ = nullptr;  // the default stream: needs no device before SetUp
};

TEST(GemmMixed, every_tile_has_one_place_and_the_first_groups_are_spread_evenly) {
  for (const uint32_t all : {1u, 5u, 132u, 720u, 2304u}) {
    for (const uint32_t first : {0u, 1u, all / 9, all / 2, all}) {
      uint32_t next_of_first = 0, next_of_others = first;
      for (uint32_t item = 0; item < all; ++item) {
        const uint32_t tile = mixed_tile(item, first, all);
        ASSERT_EQ(tile, tile < first ? next_of_first++ : next_of_others++);
        ASSERT_EQ(next_of_first, (item + 1) * first / all);
      }
    }
  }
}

TEST_F(GemmTest, is_the_product_for_every_number_of_tokens) {
  for (ElementType type : {ElementType::kFp8, ElementType::kBf16}) {
    for (int tokens : {1, 2, 15, 16, 17, 63, 64, 65, 96, 97, 128, 129, 300}) {
      check_case({type, OutputType::kBf16, 192, 256, {tokens}});
    }
  }
}

TEST_F(GemmTest, is_the_product_for_wide_and_deep_matrices) {
  check_case({ElementType::kFp8, OutputType::kBf16, 7168, 5120, {37}});
  check_case({ElementType::kFp8, OutputType::kBf16, 5120, 8192, {3}});
  check_case({ElementType::kBf16, OutputType::kBf16, 5120, 5120, {16}});
  check_case({ElementType::kFp8, OutputType::kBf16, 5120, 5120, {64}});
  check_case({ElementType::kFp8, OutputType::kBf16, 5120, 8192, {200}});  // three tiles of 96 tokens
  check_case({ElementType::kFp8, OutputType::kBf16, 7168, 5120, {200}});  // two of 128
  check_case({ElementType::kBf16,
              OutputType::kF32,
              64 * 401,
              5120,
              {70}});  // an odd number of feature tiles, as lm_head has
}

TEST_F(GemmTest, many_tokens_of_a_k_in_segments_take_several_tiles) {
  for (int tokens : {159, 160, 161, 192, 193, 320, 500}) {
    check_case({ElementType::kFp8, OutputType::kBf16, 320, 3072, {tokens}});
  }
  check_case({ElementType::kFp8, OutputType::kBf16, 320, 3072, {170, 0, 333, 1, 400}});
  check_case({ElementType::kFp8, OutputType::kBf16, 320, 3072, {100, 9, 0, 33, 1, 70, 2, 2}});
}

TEST_F(GemmTest, gives_each_group_its_own_weights_and_tokens) {
  for (ElementType type : {ElementType::kFp8, ElementType::kBf16}) {
    check_case({type, OutputType::kBf16, 256, 384, {3, 0, 17, 1, 0, 130, 64, 2}});
    check_case({type, OutputType::kBf16, 64, 128, {0, 0, 0, 5}});
    check_case({type, OutputType::kBf16, 128, 128, std::vector<int>(16, 1)});
  }
}

TEST_F(GemmTest, whole_tiles_and_tiles_cut_into_segments_give_the_same_bits) {
  // Five feature tiles of each group, three segments, and every ratio of whole tiles to cut ones.
  const int features = 320, k = 3072;
  for (int groups : {1, 3, 7}) {
    const Case c{ElementType::kFp8, OutputType::kBf16, features, k, std::vector<int>(groups, 2)};
    const auto w_host = random_elements(c.type, int64_t{groups} * features * k),
               x_host = random_elements(c.type, int64_t{2} * groups * k);
    const DeviceBuffer w = upload_weights(c.type, w_host, k), x = upload(x_host.data(), x_host.size());
    const GemmWeights weights = make_gemm_weights(c.type, w.as<void>(), groups, features, k, nullptr);
    ASSERT_EQ(weights.splits, 3);
    const std::vector<float> alone = run(c, weights, x.as<void>(), 2 * groups, 2, 1);
    for (int sms = 2; sms <= 20; ++sms) {
      EXPECT_EQ(alone, run(c, weights, x.as<void>(), 2 * groups, 2, sms)) << groups << " groups, " << sms;
    }
  }
}

// A gated matrix beside the two plain ones it is made of.
class GatedTest : public GemmTest {
 protected:
  struct Gated {
    int groups, inner, k;
    DeviceBuffer gate, up, both, gate_scales, up_scales, pair_scales;
  };

  // `both`: runs of kGateRows rows of gate and of up, in turn.
  Gated make(ElementType type, int groups, int inner, int k) {
    const int64_t rows = int64_t{groups} * inner, line = int64_t{k} * (type == ElementType::kFp8 ? 1 : 2);
    const auto gate = random_elements(type, rows * k), up = random_elements(type, rows * k);
    std::vector<uint8_t> both(2 * gate.size());
    for (int64_t r = 0; r < rows; ++r) {
      uint8_t* to = both.data() + (r / kGateRows * 2 * kGateRows + r % kGateRows) * line;
      std::copy_n(gate.data() + r * line, line, to);
      std::copy_n(up.data() + r * line, line, to + kGateRows * line);
    }
    std::vector<float> gate_scales, up_scales, pair_scales;
    for (int64_t tile = 0; tile < 2 * rows / kFeatureTile; ++tile) {
      const auto group = static_cast<float>(tile * kFeatureTile / (2 * inner));
      pair_scales.insert(pair_scales.end(), {group == 1.0f ? 40.0f : 0.03f * (group + 1.0f), 0.5f + group});
      if (tile % 2 > 0) continue;
      gate_scales.push_back(pair_scales[2 * tile]);
      up_scales.push_back(pair_scales[2 * tile + 1]);
    }
    const auto floats = [&](const std::vector<float>& v) {
      return upload(v.data(), v.size() * sizeof(float));
    };
    return {groups,
            inner,
            k,
            upload_weights(type, gate, k),
            upload_weights(type, up, k),
            upload_weights(type, both, k),
            floats(gate_scales),
            floats(up_scales),
            floats(pair_scales)};
  }

  std::vector<uint8_t> run_gated(const GemmWeights& w, ElementType type, const void* x,
                                 const std::vector<int>& tokens, OutputType output, const float* divisors,
                                 int tokens_a_group, bool first_takes_all = false) {
    std::vector<int32_t> begin = {0};
    for (int t : tokens) begin.push_back(begin.back() + t);
    const DeviceBuffer device_begin = upload(begin.data(), begin.size() * sizeof(int32_t));
    DeviceBuffer y(static_cast<size_t>(begin.back()) * w.features / 2 * (output == OutputType::kFp8 ? 1 : 2));
    check(cudaMemset(y.as<void>(), 0xff, y.bytes()), "poison");
    const GemmInput input = make_gemm_input(type, x, begin.back(), w.k);
    gemm({.w = &w,
          .x = &input,
          .y = y.as<void>(),
          .output = output,
          .token_begin = device_begin.as<int32_t>(),
          .tokens_a_group = tokens_a_group,
          .split = split_,
          .divisor_of_group = divisors,
          .first_takes_all = first_takes_all},
         132, stream_);
    std::vector<uint8_t> raw(y.bytes());
    check(cudaMemcpy(raw.data(), y.as<void>(), raw.size(), cudaMemcpyDeviceToHost), "result");
    return raw;
  }
};

TEST_F(GatedTest, a_gated_product_is_silu_of_one_times_the_other_rounded_for_the_next) {
  const std::vector<int> tokens = {3, 70, 0, 17};
  const int total = 90;
  for (ElementType type : {ElementType::kFp8, ElementType::kBf16}) {
    const Gated m = make(type, 4, 192, 1152);
    const auto x_host = random_elements(type, int64_t{total} * m.k);
    const DeviceBuffer x = upload(x_host.data(), x_host.size());
    const Case c{type, OutputType::kBf16, m.inner, m.k, tokens};
    const auto plain = [&](const DeviceBuffer& data, const DeviceBuffer& scales) {
      return run(c, make_gemm_weights(type, data.as<void>(), m.groups, m.inner, m.k, scales.as<float>()),
                 x.as<void>(), total, 1);
    };
    const std::vector<float> gate = plain(m.gate, m.gate_scales), up = plain(m.up, m.up_scales);
    const GemmWeights w = make_gemm_weights(type, m.both.as<void>(), m.groups, 2 * m.inner, m.k,
                                            m.pair_scales.as<float>(), true);
    const std::vector<float> divisors = {0.02f, 9.0f, 1.0f, 0.11f};
    const DeviceBuffer divisor = upload(divisors.data(), divisors.size() * sizeof(float));
    const auto raw = run_gated(w, type, x.as<void>(), tokens, OutputType::kBf16, nullptr, 1);
    const auto codes = run_gated(w, type, x.as<void>(), tokens, OutputType::kFp8, divisor.as<float>(), 1);
    for (int wider : {64, 128, 200, 1000}) {
      for (bool mixed : {false, true}) {
        EXPECT_EQ(raw, run_gated(w, type, x.as<void>(), tokens, OutputType::kBf16, nullptr, wider, mixed));
        EXPECT_EQ(codes, run_gated(w, type, x.as<void>(), tokens, OutputType::kFp8, divisor.as<float>(),
                                   wider, mixed));
      }
    }
    for (int i = 0; i < total * m.inner; ++i) {
      const float got = __bfloat162float(reinterpret_cast<const bf16*>(raw.data())[i]);
      const double g = gate[i], exact = g / (1.0 + std::exp(-g)) * up[i];
      ASSERT_NEAR(got, exact, std::fabs(exact) * 0x1.1p-8 + 0x1p-110) << "silu(" << g << ") * " << up[i];
      const int row = i / m.inner, group = row < 3 ? 0 : row < 73 ? 1 : 3;
      const __nv_fp8_e4m3 code(got / divisors[group]);
      ASSERT_EQ(codes[i], code.__x) << got << " / " << divisors[group];
    }
  }
}

TEST_F(GatedTest, few_tokens_of_a_shared_matrix_and_experts_are_the_products_of_each) {
  const int experts = 5, features = 320, k = 1280;
  for (ElementType type : {ElementType::kFp8, ElementType::kBf16}) {
    for (int rows : {1, 3, 8}) {
      for (int top_k : {1, 2}) {
        const int pairs = rows * top_k, element = type == ElementType::kFp8 ? 1 : 2;
        const auto w_host = random_elements(type, int64_t{experts + 1} * features * k);
        const auto x_host = random_elements(type, int64_t{2} * kFewTokens * k);
        const DeviceBuffer w = upload_weights(type, w_host, k), x = upload(x_host.data(), x_host.size());
        const GemmWeights all = make_gemm_weights(type, w.as<void>(), experts + 1, features, k, nullptr);
        std::vector<int32_t> expert_of_pair(kFewTokens, 99), range = {0, rows};
        for (int p = 0; p < pairs; ++p) expert_of_pair[p] = static_cast<int32_t>(random_() % experts);
        const DeviceBuffer chosen = upload(expert_of_pair.data(), expert_of_pair.size() * 4),
                           device_range = upload(range.data(), 8);
        DeviceBuffer y(size_t{2} * kFewTokens * features * 2);
        check(cudaMemset(y.as<void>(), 0xff, y.bytes()), "poison");
        const GemmInput input = make_gemm_input(type, x.as<void>(), 2 * kFewTokens, k);
        gemm({.w = &all,
              .x = &input,
              .y = y.as<void>(),
              .token_begin = device_range.as<int32_t>(),
              .tokens_a_group = 1,
              .split = split_,
              .few = {chosen.as<int32_t>(), top_k}},
             132, stream_);
        std::vector<bf16> got(y.bytes() / 2);
        check(cudaMemcpy(got.data(), y.as<void>(), y.bytes(), cudaMemcpyDeviceToHost), "result");
        const auto expect_row = [&](int row, int group) {
          const Case c{type, OutputType::kBf16, features, k, {1}};
          const std::vector<float> alone =
              run(c, some_groups(all, group, 1), x.as<uint8_t>() + int64_t{row} * k * element, 1, 1);
          for (int f = 0; f < features; ++f) {
            ASSERT_EQ(__bfloat162float(got[row * features + f]), alone[f])
                << "row " << row << " feature " << f;
          }
        };
        for (int row = 0; row < rows; ++row) expect_row(row, 0);
        for (int p = 0; p < pairs; ++p) expect_row(kFewTokens + p, 1 + expert_of_pair[p]);
        for (int row = rows; row < kFewTokens; ++row)
          EXPECT_TRUE(std::isnan(__bfloat162float(got[row * features])));
      }
    }
  }
}

}  // namespace
}  // namespace outrider::cuda
