#include "cuda/qkv_finish.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "cuda/needs_gpu.h"
#include "cuda/paged_sequences.h"

namespace outrider::cuda {
namespace {

using model::KvDtype;

struct Case {
  AttentionShape shape;
  bool rotates, qk_norm;
};

struct Rows {
  std::vector<int32_t> positions, sequences;

  void add(int sequence, int first_position, int count) {
    for (int i = 0; i < count; ++i) {
      positions.push_back(first_position + i);
      sequences.push_back(sequence);
    }
  }
};

// Of two sequences in an order of their own, at positions from 0 to beyond 2^17, where sin and cos need their
// full range reduction.
const Rows kFewRows = {{0, 1, 63, 64, 8191, 8192, 199999, 131072, 12345, 5}, {0, 0, 0, 0, 0, 0, 0, 1, 1, 1}};

class Step {
 public:
  explicit Step(const Case& c, const Rows& what = kFewRows) : case_(c), rows_(what), random_(3) {
    for (int row = 0; row < rows(); ++row) {  // neighbours in a page share it
      page_of_row_.push_back(page_of_index_.try_emplace(page_index(row), rows() - row).first->second);
    }
    const int width = q_size() + 2 * kv_size();
    qkv_.resize(size_t(rows()) * width);
    for (uint16_t& bits : qkv_) {
      bits = bf16_bits((static_cast<int>(random_() >> 16) - 32768) * 0x1p-13f);  // within 4
    }
    for (int j = 0; j < c.shape.head_dim / 2; ++j) {
      frequencies_.push_back(1.0f / std::pow(500000.0f, float(2 * j) / float(c.shape.head_dim)));
    }
    if (c.shape.dtype == KvDtype::kFp8E4m3) k_scale_ = 0.013f, v_scale_ = 0.0061f;  // some values saturate
  }

  void run() {
    const AttentionShape& s = case_.shape;
    image_bytes_ = kv_image_bytes(s.dtype, s.head_dim);
    const int64_t page_stride = 2 * s.kv_heads * image_bytes_;
    // [sequence][group][block]; ours is group 1
    std::vector<int32_t> pages(size_t(sequences()) * 2 * kBlocks, -1);
    for (int row = 0; row < rows(); ++row) pages[page_index(row)] = page_of(row);
    const DeviceBuffer positions = to_device(rows_.positions), of_row = to_device(rows_.sequences),
                       pages_device = to_device(pages), qkv = to_device(qkv_),
                       frequencies = to_device(frequencies_);
    const DeviceBuffer q(size_t(rows()) * q_size() * 2), cache(page_stride * (rows() + 1));
    check(cudaMemset(q.as<void>(), 0xFF, q.bytes()), "cudaMemset");
    check(cudaMemset(cache.as<void>(), 0xFF, cache.bytes()), "cudaMemset");
    QkvFinish call;
    call.batch.num_rows = rows();
    call.batch.num_sequences = sequences();
    call.batch.positions = positions.as<int32_t>();
    call.batch.sequence_of_row = of_row.as<int32_t>();
    call.batch.pages = pages_device.as<int32_t>();
    call.batch.num_groups = 2;
    call.batch.blocks_per_row = kBlocks;
    call.qkv = qkv.as<void>();
    call.q = q.as<void>();
    call.cache = {cache.as<uint8_t>() + s.kv_heads * image_bytes_,
                  page_stride,
                  image_bytes_,
                  s.kv_heads,
                  s.head_dim,
                  s.dtype,
                  k_scale_,
                  v_scale_};
    call.page_group = 1;
    call.heads = s.heads;
    if (case_.rotates) call.rope_frequencies = frequencies.as<float>();
    call.use_qk_norm = case_.qk_norm;
    call.attn_scale = 0.1f;
    const Stream stream;
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    qkv_finish(call, stream);
    stream.wait();
    q_.resize(size_t(rows()) * q_size());
    cache_.resize(cache.bytes());
    check(cudaMemcpy(q_.data(), q.as<void>(), q.bytes(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    check(cudaMemcpy(cache_.data(), cache.as<void>(), cache.bytes(), cudaMemcpyDeviceToHost), "cudaMemcpy");
  }

  void expect_exact() {
    const AttentionShape& s = case_.shape;
    int64_t touched = 0;
    for (int row = 0; row < rows(); ++row) {
      for (int head = 0; head < s.heads; ++head) {
        const std::vector<double> expected = finished(row, head * s.head_dim, case_.rotates, true);
        for (int c = 0; c < s.head_dim; ++c) {
          const float got = bf16_value(q_[size_t(row) * q_size() + head * s.head_dim + c]);
          ASSERT_NEAR(got, expected[c], std::abs(expected[c]) * 0x1.02p-8 + 4e-6)
              << "q, row " << row << " head " << head << " channel " << c;
        }
      }
      for (int head = 0; head < s.kv_heads; ++head) {
        const int k_at = q_size() + head * s.head_dim, v_at = k_at + kv_size();
        expect_stored(row, head, finished(row, k_at, case_.rotates, false), k_scale_, true);
        expect_stored(row, head, finished(row, v_at, false, false), v_scale_, false);
      }
      touched += 2 * kv_size();
    }
    // Nothing else was written: everything else is still 0xFF. (No finite code is 0xFF.)
    const int bytes = model::bytes_of(s.dtype);
    int64_t written = 0;
    for (size_t i = 0; i < cache_.size(); i += bytes) {
      written +=
          std::any_of(cache_.begin() + i, cache_.begin() + i + bytes, [](uint8_t b) { return b != 0xFF; });
    }
    EXPECT_EQ(written, touched);
  }

 private:
  static constexpr int kBlocks = 4000;

  int rows() const { return static_cast<int>(rows_.positions.size()); }
  int sequences() const { return *std::max_element(rows_.sequences.begin(), rows_.sequences.end()) + 1; }
  int q_size() const { return case_.shape.heads * case_.shape.head_dim; }
  int kv_size() const { return case_.shape.kv_heads * case_.shape.head_dim; }
  int page_index(int row) const {
    return (rows_.sequences[row] * 2 + 1) * kBlocks + rows_.positions[row] / kPagePositions;
  }
  int page_of(int row) const { return page_of_row_[row]; }

  // One head of qkv from column `at` on, after what the layer does to it.
  std::vector<double> finished(int row, int at, bool rotates, bool is_q) const {
    const int hd = case_.shape.head_dim;
    std::vector<double> x(hd);
    for (int c = 0; c < hd; ++c) x[c] = bf16_value(qkv_[size_t(row) * (q_size() + 2 * kv_size()) + at + c]);
    const int position = rows_.positions[row];
    if (rotates) {
      double squares = 0;
      for (int j = 0; j < hd / 2; ++j) {
        const double angle =
            static_cast<float>(position) * frequencies_[j];  // rounded to fp32: part of the model
        const double a = x[2 * j], b = x[2 * j + 1];
        x[2 * j] = a * std::cos(angle) - b * std::sin(angle);
        x[2 * j + 1] = a * std::sin(angle) + b * std::cos(angle);
        squares += a * a + b * b;
      }
      if (case_.qk_norm) {
        for (double& value : x) value /= std::sqrt(squares / hd + 1e-5);
      }
    } else if (is_q && !case_.rotates) {
      for (double& value : x) value *= 1 + 0.1 * std::log(1 + std::floor((position + 1) / 8192.0));
    }
    return x;
  }

  void expect_stored(int row, int head, const std::vector<double>& expected, float scale, bool is_key) {
    const int in_page = rows_.positions[row] % kPagePositions;
    const uint8_t* image = cache_.data() +
                           (int64_t{page_of(row)} * 2 + 1) * case_.shape.kv_heads * image_bytes_ +
                           head * image_bytes_;
    for (int c = 0; c < case_.shape.head_dim; ++c) {
      const int offset = with_image(case_.shape, [&](auto layout) {
        return is_key ? layout.key_offset(in_page, c) : layout.value_offset(in_page, c);
      });
      const char* what = is_key ? "k" : "v";
      if (case_.shape.dtype == KvDtype::kBf16) {
        uint16_t bits;
        std::memcpy(&bits, image + offset, 2);
        ASSERT_NEAR(bf16_value(bits), expected[c], std::abs(expected[c]) * 0x1.02p-8 + 4e-6)
            << what << ", row " << row << " head " << head << " channel " << c;
        continue;
      }
      // fp32 arithmetic may take a value across the middle between two codes, not farther.
      const double x = expected[c] / scale, slack = std::abs(x) * 4e-6 + 4e-6 / scale;
      const uint8_t low = e4m3_code(static_cast<float>(x - slack)),
                    high = e4m3_code(static_cast<float>(x + slack));
      ASSERT_TRUE(image[offset] == low || image[offset] == high)
          << what << ", row " << row << " head " << head << " channel " << c << ": code "
          << int(image[offset]) << " of " << x;
    }
  }

  Case case_;
  Rows rows_;
  std::map<int, int> page_of_index_;
  std::vector<int> page_of_row_;
  std::mt19937 random_;
  float k_scale_ = 1.0f, v_scale_ = 1.0f;
  int64_t image_bytes_ = 0;
  std::vector<uint16_t> qkv_, q_;
  std::vector<float> frequencies_;
  std::vector<uint8_t> cache_;
};

TEST(QkvFinish, q_and_the_cache_hold_the_exact_values_rounded_once) {
  NEEDS_GPU();
  for (AttentionShape shape : {AttentionShape{40, 8, 128}, {8, 2, 64}, {4, 2, 64}}) {
    for (KvDtype dtype : {KvDtype::kFp8E4m3, KvDtype::kBf16}) {
      for (auto [rotates, qk_norm] : {std::pair{true, true}, {true, false}, {false, false}}) {
        SCOPED_TRACE(testing::Message() << "heads " << shape.heads << " dtype " << int(dtype) << " rope "
                                        << rotates << " norm " << qk_norm);
        shape.dtype = dtype;
        Step step({shape, rotates, qk_norm});
        step.run();
        step.expect_exact();
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Runs of 16 positions are written otherwise than the rest, and with more rows than 32 and than 256 blocks
// share them otherwise.
TEST(QkvFinish, many_rows_of_prompts_and_of_sequences_that_decode_are_written_alike) {
  NEEDS_GPU();
  for (auto [decoded, prompt] : {std::pair{40, 0}, {18, 33}, {18, 60}, {1, 130}, {196, 60}, {197, 60}}) {
    Rows rows;
    rows.add(0, 48, prompt / 2);  // whole runs of 16 rows, where no row before shifts them
    for (int i = 0; i < decoded; ++i) rows.add(i + 2, i % 3 == 0 ? 64 * i + 16 : 37 * i + 11, 1);
    rows.add(1, 160, prompt - prompt / 2);
    for (AttentionShape shape : {AttentionShape{40, 8, 128}, {8, 2, 64}}) {
      for (bool rotates : {true, false}) {
        SCOPED_TRACE(testing::Message() << decoded << " decoded, prompts of " << prompt << ", head_dim "
                                        << shape.head_dim << ", rope " << rotates);
        shape.dtype = KvDtype::kFp8E4m3;
        Step step({shape, rotates, true}, rows);
        step.run();
        step.expect_exact();
        if (HasFatalFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace outrider::cuda
