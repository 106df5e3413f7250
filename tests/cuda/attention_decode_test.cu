#include "cuda/attention_few.h"

#include <gtest/gtest.h>

#include "cuda/needs_gpu.h"
#include "cuda/paged_sequences.h"

namespace outrider::cuda {
namespace {

int num_sms() {
  int sms = 0;
  check(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, 0), "cudaDeviceGetAttribute");
  return sms;
}

struct Results {
  std::vector<uint8_t> out, cache;
};

enum class Way { kApart, kFew, kDecode };  // qkv_finish and attention, or what does both

// Decode rows at the given positions over a cache of random codes; what no row has written is NaN.
class DecodeRows {
 public:
  DecodeRows(const AttentionShape& shape, std::vector<int32_t> positions, int chunk_size, bool rotates)
      : shape_(shape),
        positions_(std::move(positions)),
        chunk_size_(chunk_size),
        attention_(shape, num_sms()) {
    std::mt19937 random(9);
    image_bytes_ = kv_image_bytes(shape.dtype, shape.head_dim);
    const int most = *std::max_element(positions_.begin(), positions_.end());
    blocks_ = most / kPagePositions + 1;
    std::vector<int32_t> pages(rows() * blocks_), of_row(rows());
    std::vector<uint16_t> qkv(size_t(rows()) * (shape.heads + 2 * shape.kv_heads) * shape.head_dim);
    for (uint16_t& bits : qkv) bits = bf16_bits((static_cast<int>(random() >> 16) - 32768) * 0x1p-14f);
    cache_.assign(int64_t{rows()} * blocks_ * shape.kv_heads * image_bytes_, 0xFF);
    for (int row = 0; row < rows(); ++row) {
      of_row[row] = row;
      for (int b = 0; b < blocks_; ++b) pages[row * blocks_ + b] = b * rows() + row;
      for (int position = 0; position < positions_[row]; ++position) {
        for (int head = 0; head < shape.kv_heads; ++head) {
          uint8_t* image =
              cache_.data() + (pages[row * blocks_ + position / 64] * shape.kv_heads + head) * image_bytes_;
          with_image(shape, [&](auto layout) {
            for (int c = 0; c < shape.head_dim; ++c) {
              uint8_t *k = image + layout.key_offset(position % 64, c),
                      *v = image + layout.value_offset(position % 64, c);
              *k = (random() & 0xBF) >> (random() % 2);
              *v = random() & 0xBF;
              if (shape.dtype == model::KvDtype::kBf16) k[1] = v[1] = 0x3C + random() % 2 * 0x80;
            }
            return 0;
          });
        }
      }
      sequences_.push_back({row, 1, positions_[row], row});
    }
    for (int j = 0; j < shape.head_dim / 2; ++j)
      frequencies_.push_back(std::pow(5e5f, -2.0f * j / shape.head_dim));
    positions_device_ = to_device(positions_);
    of_row_ = to_device(of_row);
    pages_ = to_device(pages);
    qkv_ = to_device(qkv);
    frequencies_device_ = to_device(frequencies_);
    finish_.batch.num_rows = finish_.batch.num_sequences = rows();
    finish_.batch.positions = positions_device_.as<int32_t>();
    finish_.batch.sequence_of_row = of_row_.as<int32_t>();
    finish_.batch.pages = pages_.as<int32_t>();
    finish_.batch.num_groups = 1;
    finish_.batch.blocks_per_row = blocks_;
    finish_.qkv = qkv_.as<void>();
    finish_.heads = shape.heads;
    if (rotates) finish_.rope_frequencies = frequencies_device_.as<float>();
    finish_.use_qk_norm = rotates;
    finish_.attn_scale = 0.1f;
    finish_.floor_scale = 512.0f;
  }

  Results run(Way way) {
    const int64_t row_bytes = int64_t{shape_.heads} * shape_.head_dim;
    const DeviceBuffer cache = to_device(cache_), q(rows() * row_bytes * 2), out(rows() * row_bytes),
                       partials(attention_workspace_bytes(shape_, 4096));
    check(cudaMemset(out.as<void>(), 0xFF, out.bytes()), "cudaMemset");
    AttentionWork work;
    plan_attention(sequences_, chunk_size_, attention_.tiling(4096), work);
    const DeviceBuffer narrow = to_device(work.narrow), merges = to_device(work.merges),
                       counts = to_device(
                           std::vector<int32_t>{int(work.narrow.size()), 0, int(work.merges.size())});
    finish_.q = q.as<void>();
    finish_.cache = {cache.as<uint8_t>(),
                     shape_.kv_heads * image_bytes_,
                     image_bytes_,
                     shape_.kv_heads,
                     shape_.head_dim,
                     shape_.dtype,
                     0.02f,
                     0.05f};
    AttentionCall call;
    call.cache = finish_.cache;
    call.q = finish_.q;
    call.out = {ElementType::kFp8, out.as<void>(), 0.01f};
    call.pages = pages_.as<int32_t>();
    call.page_stride = blocks_;
    call.lists = {narrow.as<AttentionTile>(), nullptr,     merges.as<AttentionMerge>(),
                  counts.as<int32_t>(),       true,        false,
                  int(work.merges.size()),    chunk_size_, work.decode_runs};
    call.partials = partials.as<float>();
    const Stream stream;
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    if (way == Way::kDecode) {
      attention_.decode(finish_, call, stream);
    } else if (way == Way::kFew) {
      EXPECT_TRUE(takes_few_rows(shape_, rows(), call.lists, 1 << 20));
      attend_few(finish_, call, stream);
    } else {
      qkv_finish(finish_, stream);
      attention_(call, stream);
    }
    stream.wait();
    Results results{std::vector<uint8_t>(out.bytes()), std::vector<uint8_t>(cache.bytes())};
    check(cudaMemcpy(results.out.data(), out.as<void>(), out.bytes(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    check(cudaMemcpy(results.cache.data(), cache.as<void>(), cache.bytes(), cudaMemcpyDeviceToHost),
          "cudaMemcpy");
    return results;
  }

 private:
  int rows() const { return static_cast<int>(positions_.size()); }

  const AttentionShape shape_;
  std::vector<int32_t> positions_;
  const int chunk_size_;
  const Attention attention_;
  int64_t image_bytes_ = 0;
  int blocks_ = 0;
  std::vector<uint8_t> cache_;
  std::vector<float> frequencies_;
  std::vector<BatchSequence> sequences_;
  DeviceBuffer positions_device_, of_row_, pages_, qkv_, frequencies_device_;
  QkvFinish finish_;
};

TEST(AttendFew, has_the_bits_of_the_three_kernels_that_it_replaces) {
  NEEDS_GPU();
  prepare_attend_few();
  const std::vector<int32_t> positions = {0,   1,   63,  64,   330,  383,  400, 447,
                                          448, 511, 512, 1000, 1535, 1536, 4095};
  for (const AttentionShape& shape : {AttentionShape{40, 8, 128, model::KvDtype::kFp8E4m3},
                                      {8, 1, 128, model::KvDtype::kFp8E4m3},
                                      {4, 2, 64, model::KvDtype::kFp8E4m3}}) {
    for (const int chunk : {0, 1024}) {
      for (const bool rotates : {true, false}) {
        SCOPED_TRACE(testing::Message() << shape.heads << " heads of " << shape.head_dim << ", chunk "
                                        << chunk << ", rope " << rotates);
        DecodeRows rows(shape, positions, chunk, rotates);
        const Results expected = rows.run(Way::kApart), got = rows.run(Way::kFew);
        ASSERT_EQ(got.out, expected.out);
        ASSERT_EQ(got.cache, expected.cache);
        ASSERT_EQ(std::count(got.out.begin(), got.out.end(), 0xFF), 0);
      }
    }
  }
}

void expect_decode_alike(const AttentionShape& shape, const std::vector<int32_t>& positions) {
  for (const bool rotates : {true, false}) {
    SCOPED_TRACE(testing::Message() << shape.heads << " heads of " << shape.head_dim << ", "
                                    << positions.size() << " rows, rope " << rotates);
    DecodeRows rows(shape, positions, 1024, rotates);
    const Results expected = rows.run(Way::kApart), got = rows.run(Way::kDecode);
    ASSERT_EQ(got.out, expected.out);
    ASSERT_EQ(got.cache, expected.cache);
    ASSERT_EQ(std::count(got.out.begin(), got.out.end(), 0xFF), 0);
  }
}

TEST(AttentionDecode, has_the_bits_of_the_kernels_that_it_replaces) {
  NEEDS_GPU();
  const std::vector<int32_t> uneven = {0, 1, 63, 64, 330, 447, 448, 511, 512, 1000, 1535, 1536, 4095};
  std::vector<int32_t> alike;  // whole tiles, several a block
  for (int row = 0; row < 150; ++row) alike.push_back(20 + row % 50);
  for (const AttentionShape& shape : {AttentionShape{40, 8, 128, model::KvDtype::kFp8E4m3},
                                      {40, 8, 128, model::KvDtype::kBf16},
                                      {8, 1, 128, model::KvDtype::kFp8E4m3},
                                      {4, 2, 64, model::KvDtype::kBf16}}) {
    expect_decode_alike(shape, uneven);
    expect_decode_alike(shape, alike);
  }
}

TEST(AttentionDecode, of_few_heads_has_the_bits_of_the_kernels_that_it_replaces) {
  NEEDS_GPU();
  expect_decode_alike({4, 2, 64, model::KvDtype::kFp8E4m3}, {0, 63, 64, 130, 600});
}

TEST(AttendFew, prompts_long_contexts_and_many_rows_are_left_to_the_others) {
  const AttentionShape shape{40, 8, 128, model::KvDtype::kFp8E4m3};
  AttentionLists lists;
  const auto takes = [&](int rows, int runs, int chunk) {
    lists.decode_runs = runs;
    lists.chunk_size = chunk;
    return takes_few_rows(shape, rows, lists, 132);
  };
  EXPECT_TRUE(takes(1, 1, 0));
  EXPECT_TRUE(takes(5, 3, 8192));
  EXPECT_TRUE(takes(2, 8, 0));
  EXPECT_FALSE(takes(1, 0, 0));
  EXPECT_FALSE(takes(1, 9, 0));
  EXPECT_FALSE(takes(1, 1, 100));
  EXPECT_FALSE(takes(6, 3, 0));
}

}  // namespace
}  // namespace outrider::cuda
