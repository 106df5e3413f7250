// Sequences with random q, K and V, the cache image that holds them, and attention over it. Whatever no
// sequence has written, in the cache, in the outputs and in the workspace, is NaN.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "cuda/attention.h"
#include "cuda/kv_image.cuh"
#include "ops/attention_cases.h"

namespace outrider::cuda {

struct TestSequence {
  int context = 0;     // positions before the first that has a q
  int new_tokens = 1;  // positions with a q
  int length() const { return context + new_tokens; }
};

// New tokens [first, first + count) of one sequence in a step.
struct Piece {
  int sequence = 0, first = 0, count = 1;
};

enum class Split { kAsPlanned, kNever, kAlways };

template <typename T>
DeviceBuffer to_device(const std::vector<T>& values) {
  DeviceBuffer buffer(std::max<size_t>(values.size() * sizeof(T), 16));
  if (!values.empty()) {
    check(cudaMemcpy(buffer.as<void>(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice),
          "cudaMemcpy");
  }
  return buffer;
}

inline float bf16_value(uint16_t bits) {
  __nv_bfloat16_raw raw;
  raw.x = bits;
  return __bfloat162float(__nv_bfloat16(raw));
}
inline uint16_t bf16_bits(float x) { return __nv_bfloat16_raw(__float2bfloat16(x)).x; }
inline float e4m3_value(uint8_t code) {
  return __half2float(__half(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3)));
}
inline uint8_t e4m3_code(float x) { return __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3); }

template <typename F>
auto with_image(const AttentionShape& shape, const F& f) {
  using model::KvDtype;
  const bool fp8 = shape.dtype == KvDtype::kFp8E4m3;
  if (shape.head_dim == 128) {
    return fp8 ? f(KvImage<KvDtype::kFp8E4m3, 128>()) : f(KvImage<KvDtype::kBf16, 128>());
  }
  return fp8 ? f(KvImage<KvDtype::kFp8E4m3, 64>()) : f(KvImage<KvDtype::kBf16, 64>());
}

class PagedSequences {
 public:
  PagedSequences(const AttentionShape& shape, int chunk_size, std::vector<TestSequence> sequences,
                 unsigned seed)
      : shape_(shape), chunk_size_(chunk_size), sequences_(std::move(sequences)), random_(seed) {
    if (shape.dtype == model::KvDtype::kFp8E4m3) k_scale_ = 0.02f, v_scale_ = 0.05f;
    int pages = 3;
    for (const TestSequence& s : sequences_) pages += blocks(s);
    std::vector<int32_t> free(pages);
    for (int i = 0; i < pages; ++i) free[i] = i;
    std::shuffle(free.begin(), free.end(), random_);

    image_bytes_ = kv_image_bytes(shape.dtype, shape.head_dim);
    page_stride_ = kLayers * shape.kv_heads * image_bytes_;
    std::vector<uint8_t> cache(pages * page_stride_, 0xFF);  // NaN in bf16; e4m3's NaN is 0x7F or 0xFF
    for (const TestSequence& s : sequences_) {
      pages_of_.emplace_back(free.end() - blocks(s), free.end());
      free.resize(free.size() - blocks(s));
      fill(s, cache);
    }
    cache_ = to_device(cache);
  }

  // bf16 outputs [rows][heads * head_dim] of the pieces' tokens in order.
  std::vector<uint16_t> run(const Attention& attention, const std::vector<Piece>& pieces, Split split) const {
    std::vector<BatchSequence> batch;
    std::vector<uint16_t> q;
    int widest = 1;
    for (const Piece& piece : pieces) {
      const TestSequence& s = sequences_[piece.sequence];
      batch.push_back({static_cast<int>(q.size()) / q_size(), piece.count, s.context + piece.first, 0});
      const auto* from = q_[piece.sequence].data() + size_t(piece.first) * q_size();
      q.insert(q.end(), from, from + size_t(piece.count) * q_size());
      widest = std::max(widest, blocks(s));
    }
    // Two groups of pages a sequence; the first is not ours.
    std::vector<int32_t> pages(pieces.size() * 2 * widest, -1);
    for (size_t i = 0; i < pieces.size(); ++i) {
      const auto& own = pages_of_[pieces[i].sequence];
      std::copy(own.begin(), own.end(), pages.begin() + (2 * i + 1) * widest);
    }
    AttentionTiling tiling = attention.tiling(split == Split::kNever ? 0 : 4096);
    if (split == Split::kAlways) tiling.narrow_blocks = 1 << 30;
    AttentionWork work;
    plan_attention(batch, chunk_size_, tiling, work);
    return launch_work(attention, work, q, pages, widest);
  }

  // In double, with the cache's rounded K and V; and what each element may be off by.
  struct Expected {
    std::vector<double> value, bound;
  };
  Expected reference(int sequence, int token, int head) const;

  const std::vector<TestSequence>& sequences() const { return sequences_; }
  int q_size() const { return shape_.heads * shape_.head_dim; }

 private:
  static constexpr int kLayers = 2, kLayer = 1;  // a page holds two layers; ours is the second

  static int blocks(const TestSequence& s) { return (s.length() + kPagePositions - 1) / kPagePositions; }

  // About normal: the sum of two uniform halves of a word.
  float draw() {
    const uint32_t word = random_();
    return (static_cast<int>(word & 0xFFFF) + static_cast<int>(word >> 16) - 65535) * (2.45f / 65536.0f);
  }

  void fill(const TestSequence& s, std::vector<uint8_t>& cache) {
    const int kv_size = shape_.kv_heads * shape_.head_dim;
    const std::vector<int32_t>& pages = pages_of_.back();
    std::vector<float> k(size_t(s.length()) * kv_size), v(k.size());
    with_image(shape_, [&](auto image) {
      for (int position = 0; position < s.length(); ++position) {
        // What the next chunk may not see is loud.
        const bool loud = chunk_size_ > 0 && (position + 1) % chunk_size_ == 0;
        uint8_t* page = cache.data() + pages[position / kPagePositions] * page_stride_ +
                        kLayer * shape_.kv_heads * image_bytes_;
        for (int i = 0; i < kv_size; ++i) {
          const int channel = i % shape_.head_dim, in_page = position % kPagePositions;
          uint8_t* head = page + i / shape_.head_dim * image_bytes_;
          const size_t at = size_t(position) * kv_size + i;
          k[at] = store(draw(), k_scale_, head + image.key_offset(in_page, channel));
          v[at] = store(draw() * (loud ? 20 : 1), v_scale_, head + image.value_offset(in_page, channel));
        }
      }
    });
    k_.push_back(std::move(k));
    v_.push_back(std::move(v));
    std::vector<uint16_t> q(size_t(s.new_tokens) * q_size());
    // Rows of very different size: the kernel must not lean on a normed q.
    for (size_t i = 0; i < q.size(); ++i) {
      const size_t row = i / shape_.head_dim;
      q[i] = bf16_bits(draw() * (row % 7 == 3 ? 0.01f : 1.0f) * (row % 11 == 5 ? 3.0f : 1.0f));
    }
    q_.push_back(std::move(q));
  }

  // Returns the value as the cache holds it.
  float store(float x, float scale, uint8_t* to) const {
    if (shape_.dtype == model::KvDtype::kFp8E4m3) {
      *to = e4m3_code(x / scale);
      return e4m3_value(*to) * scale;
    }
    const uint16_t bits = bf16_bits(x);
    std::memcpy(to, &bits, 2);
    return bf16_value(bits);
  }

  std::vector<uint16_t> launch_work(const Attention& attention, const AttentionWork& work,
                                    const std::vector<uint16_t>& q, const std::vector<int32_t>& pages,
                                    int blocks_per_row) const {
    const DeviceBuffer q_device = to_device(q), pages_device = to_device(pages);
    const DeviceBuffer narrow = to_device(work.narrow), wide = to_device(work.wide),
                       merges = to_device(work.merges);
    const DeviceBuffer counts = to_device(std::vector<int32_t>{static_cast<int>(work.narrow.size()),
                                                               static_cast<int>(work.wide.size()),
                                                               static_cast<int>(work.merges.size())});
    const DeviceBuffer out(q.size() * 2),
        partials(attention_workspace_bytes(shape_, std::max(work.num_partials, 1)));
    check(cudaMemset(out.as<void>(), 0xFF, out.bytes()), "cudaMemset");
    check(cudaMemset(partials.as<void>(), 0xFF, partials.bytes()), "cudaMemset");
    AttentionCall call;
    call.cache = {cache_.as<uint8_t>() + kLayer * shape_.kv_heads * image_bytes_,
                  page_stride_,
                  image_bytes_,
                  shape_.kv_heads,
                  shape_.head_dim,
                  shape_.dtype,
                  k_scale_,
                  v_scale_};
    call.q = q_device.as<void>();
    call.out = {ElementType::kBf16, out.as<void>(), 1.0f};
    call.pages = pages_device.as<int32_t>() + blocks_per_row;
    call.page_stride = 2 * blocks_per_row;
    call.lists = {narrow.as<AttentionTile>(),
                  wide.as<AttentionTile>(),
                  merges.as<AttentionMerge>(),
                  counts.as<int32_t>(),
                  true,
                  true,
                  static_cast<int>(work.merges.size())};
    call.partials = partials.as<float>();
    const Stream stream;
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");  // the copies went through another stream
    attention(call, stream);
    stream.wait();
    std::vector<uint16_t> host(q.size());
    check(cudaMemcpy(host.data(), out.as<void>(), out.bytes(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return host;
  }

  AttentionShape shape_;
  int chunk_size_;
  std::vector<TestSequence> sequences_;
  std::mt19937 random_;
  float k_scale_ = 1.0f, v_scale_ = 1.0f;
  int64_t image_bytes_ = 0, page_stride_ = 0;
  std::vector<std::vector<int32_t>> pages_of_;  // [sequence][block]
  std::vector<std::vector<float>> k_, v_;       // [sequence][length][kv_heads * head_dim]
  std::vector<std::vector<uint16_t>> q_;        // [sequence][new_tokens][heads * head_dim]
  DeviceBuffer cache_;
};

// The bound of an element: half a step of bf16 around the result, and eight times the standard deviation of
// what independent rounding errors of 2^-9 in q's elements (so in scores) and in weights amount to.
inline PagedSequences::Expected PagedSequences::reference(int sequence, int token, int head) const {
  const int hd = shape_.head_dim, kv_size = shape_.kv_heads * hd;
  const int kv_head = head / (shape_.heads / shape_.kv_heads);
  const int position = sequences_[sequence].context + token;
  const int first = chunk_size_ > 0 ? position / chunk_size_ * chunk_size_ : 0;
  std::vector<double> q(hd), weight(position + 1 - first), variance(weight.size());
  for (int c = 0; c < hd; ++c) {
    q[c] = bf16_value(q_[sequence][size_t(token) * q_size() + head * hd + c]) / std::sqrt(double(hd));
  }
  double high = -INFINITY, total = 0;
  for (int p = first; p <= position; ++p) {
    const float* k = &k_[sequence][size_t(p) * kv_size + kv_head * hd];
    double score = 0, squares = 0;
    for (int c = 0; c < hd; ++c) {
      const double product = q[c] * k[c];
      score += product;
      squares += product * product;
    }
    weight[p - first] = score;
    variance[p - first] = squares + 1;
    high = std::max(high, score);
  }
  for (double& w : weight) total += w = std::exp(w - high);
  Expected e{std::vector<double>(hd), std::vector<double>(hd)};
  for (size_t i = 0; i < weight.size(); ++i) {
    const float* v = &v_[sequence][(first + i) * kv_size + kv_head * hd];
    for (int c = 0; c < hd; ++c) e.value[c] += weight[i] / total * v[c];
  }
  for (size_t i = 0; i < weight.size(); ++i) {
    const float* v = &v_[sequence][(first + i) * kv_size + kv_head * hd];
    const double share = weight[i] / total;
    for (int c = 0; c < hd; ++c) {
      e.bound[c] += share * share * (v[c] * v[c] + e.value[c] * e.value[c]) * variance[i];
    }
  }
  for (int c = 0; c < hd; ++c) {
    e.bound[c] = std::abs(e.value[c]) * 0x1p-8 + 8 * 0x1p-9 * std::sqrt(e.bound[c]) + 1e-6;
  }
  return e;
}

}  // namespace outrider::cuda
