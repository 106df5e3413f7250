#include "cuda/expert_tally.h"

#include <gtest/gtest.h>

#include <random>

#include "cuda/needs_gpu.h"

namespace outrider::cuda {
namespace {

TEST(ExpertTally, counts_rows_and_active_experts_of_each_layer_over_steps) {
  NEEDS_GPU();
  constexpr int kLayers = 3, kExperts = 16, kStride = 1000;
  std::mt19937 random(3);
  std::vector<int64_t> expected(kLayers * (kExperts + 1));
  ExpertTally tally(kLayers, kExperts);
  Stream stream;
  for (const int pairs : {1, 5, 700, 1000}) {
    std::vector<int32_t> chosen(kLayers * kStride);
    for (int32_t& expert : chosen) expert = static_cast<int32_t>(random() % kExperts);
    std::fill(chosen.begin() + kStride, chosen.begin() + 2 * kStride, -1);  // a dense layer
    for (int l = 0; l < kLayers; ++l) {
      std::vector<int64_t> rows(kExperts);
      for (int i = 0; i < pairs && l != 1; ++i) ++rows[chosen[l * kStride + i]];
      for (int e = 0; e < kExperts; ++e) {
        expected[l * (kExperts + 1) + e] += rows[e];
        expected[l * (kExperts + 1) + kExperts] += rows[e] > 0;
      }
    }
    DeviceBuffer device(chosen.size() * sizeof(int32_t));
    check(cudaMemcpy(device.as<void>(), chosen.data(), device.bytes(), cudaMemcpyHostToDevice), "copy");
    tally.add({device.as<int32_t>(), kStride, kLayers, kExperts}, pairs, stream);
    stream.wait();
  }
  EXPECT_EQ(tally.steps(), 4);
  EXPECT_EQ(tally.take(stream), expected);
  EXPECT_EQ(tally.take(stream), std::vector<int64_t>(expected.size())) << "it begins anew";
}

TEST(ExpertTally, says_how_many_are_active_and_what_the_busiest_takes) {
  const std::vector<int64_t> counts = {10, 10, 20, 0, 30,  // 4 experts, 10 steps: 3 active, busiest half
                                       0,  0,  0,  0, 0,   // dense
                                       40, 0,  0,  0, 10};
  EXPECT_EQ(
      ExpertTally::describe(counts, 4, 10),
      "Experts over 10 steps: 2.00 of 4 have rows in a layer's step; a layer's busiest takes 75.0 % of its "
      "rows, in the worst layer 100.0 % (even: 25.0 %)");
  EXPECT_EQ(ExpertTally::describe({0, 0, 0, 0, 0}, 4, 10), "");
}

}  // namespace
}  // namespace outrider::cuda
