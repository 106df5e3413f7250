#include "cuda/kv_image.cuh"

#include <gtest/gtest.h>

#include <set>

namespace outrider::cuda {
namespace {

using model::KvDtype;

template <typename Image, int kHeadDim>
void expect_every_element_has_its_own_place() {
  std::set<int> places;
  for (int position = 0; position < kPagePositions; ++position) {
    for (int channel = 0; channel < kHeadDim; ++channel) {
      places.insert(Image::key_offset(position, channel));
      places.insert(Image::value_offset(position, channel));
    }
  }
  EXPECT_EQ(places.size(), size_t{2} * kPagePositions * kHeadDim);
  EXPECT_EQ(*places.begin(), 0);
  EXPECT_EQ(*places.rbegin(), Image::kBytes - Image::kElementBytes);
}

TEST(KvImage, every_element_has_a_place_of_its_own_and_none_is_left_over) {
  expect_every_element_has_its_own_place<KvImage<KvDtype::kFp8E4m3, 64>, 64>();
  expect_every_element_has_its_own_place<KvImage<KvDtype::kFp8E4m3, 128>, 128>();
  expect_every_element_has_its_own_place<KvImage<KvDtype::kBf16, 64>, 64>();
  expect_every_element_has_its_own_place<KvImage<KvDtype::kBf16, 128>, 128>();
  EXPECT_EQ((KvImage<KvDtype::kFp8E4m3, 128>::kBytes), kv_image_bytes(KvDtype::kFp8E4m3, 128));
  EXPECT_EQ((KvImage<KvDtype::kBf16, 64>::kBytes), kv_image_bytes(KvDtype::kBf16, 64));
}

// So that accumulators of the product with K, of which a thread has the columns 8 j + 2 c and 8 j + 2 c + 1,
// are its part of operand A of the product with V: elements 4 c to 4 c + 3 of every 16. PTX ISA,
// "wgmma.mma_async", figures of the fragments.
TEST(KvImage, scores_of_neighbouring_rows_of_k_are_weights_of_neighbouring_positions) {
  using Image = KvImage<KvDtype::kFp8E4m3, 128>;
  for (int c = 0; c < 4; ++c) {
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(Image::row_of(32 + 4 * c + i), 32 + i / 2 * 8 + 2 * c + i % 2);
    }
  }
  for (int position = 0; position < kPagePositions; ++position) {
    EXPECT_EQ(Image::position_of(Image::row_of(position)), position);
    EXPECT_EQ((KvImage<KvDtype::kBf16, 128>::row_of(position)), position);
  }
}

// PTX ISA, "Shared memory matrix layout": in the 128-byte mode 16-byte piece j of row r of 8 rows lies at
// piece j ^ r; in the 64-byte mode at piece j ^ (r / 2).
TEST(KvImage, pieces_of_16_bytes_lie_where_the_swizzle_modes_of_the_tensor_cores_want_them) {
  using Fp8x128 = KvImage<KvDtype::kFp8E4m3, 128>;
  using Fp8x64 = KvImage<KvDtype::kFp8E4m3, 64>;
  using Bf16x128 = KvImage<KvDtype::kBf16, 128>;
  for (int position = 0; position < kPagePositions; ++position) {
    for (int channel = 0; channel < 128; ++channel) {
      const int row = Fp8x128::row_of(position);
      EXPECT_EQ(Fp8x128::key_offset(position, channel),
                row * 128 + ((channel / 16) ^ (row % 8)) * 16 + channel % 16);
      EXPECT_EQ(Fp8x128::value_offset(position, channel),
                8192 + channel * 64 + ((position / 16) ^ (channel / 2 % 4)) * 16 + position % 16);
      const int block = channel / 64 * 8192 + position * 128;
      const int in_row = ((channel % 64 / 8) ^ (position % 8)) * 16 + channel % 8 * 2;
      EXPECT_EQ(Bf16x128::key_offset(position, channel), block + in_row);
      EXPECT_EQ(Bf16x128::value_offset(position, channel), 16384 + block + in_row);
    }
    for (int channel = 0; channel < 64; ++channel) {
      const int row = Fp8x64::row_of(position);
      EXPECT_EQ(Fp8x64::key_offset(position, channel),
                row * 64 + ((channel / 16) ^ (row / 2 % 4)) * 16 + channel % 16);
    }
  }
}

}  // namespace
}  // namespace outrider::cuda
