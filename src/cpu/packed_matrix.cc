#include "cpu/packed_matrix.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <string>

#include "base/error.h"
#include "cpu/number_formats.h"

namespace outrider::cpu {
namespace {

using model::Layout;
using model::Matrix;
using model::WeightFormat;

constexpr size_t kAlignment = 64;
// What one thread packs at a time: tiles of so many panels and words a row (columns / cols_per_word).
constexpr int kTilePanels = 32;  // a column-major file's lines are read whole: 512 bytes of FP8 codes
constexpr int kTileWords = 64;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

int64_t row_bytes(const Matrix& m) {
  return m.format == WeightFormat::kBf16  ? m.stride * 2
         : m.format == WeightFormat::kFp8 ? m.stride
                                          : m.stride / 2;
}

// 16-byte vectors of the compiler's own: baseline instructions do, memory is the bound.
template <typename T>
using Vec __attribute__((vector_size(16))) = T;
using V8 = Vec<uint8_t>;
using V16 = Vec<uint16_t>;
using V32 = Vec<uint32_t>;

template <typename V>
V load(const void* p) {
  V v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

template <typename V>
void store(V v, void* p) {
  std::memcpy(p, &v, sizeof(v));
}

V8 interleave_low(V8 a, V8 b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
V8 interleave_high(V8 a, V8 b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
V16 interleave_low(V16 a, V16 b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
V16 interleave_high(V16 a, V16 b) { return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
V32 interleave_low(V32 a, V32 b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
V32 interleave_high(V32 a, V32 b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }

// out[word][row] of 4 words of 4 rows; src has the rows.
void transpose_4x4(const char* src, int64_t stride, uint32_t* out) {
  const V32 r0 = load<V32>(src), r1 = load<V32>(src + stride), r2 = load<V32>(src + 2 * stride),
            r3 = load<V32>(src + 3 * stride);
  const V32 low02 = interleave_low(r0, r2), low13 = interleave_low(r1, r3);
  const V32 high02 = interleave_high(r0, r2), high13 = interleave_high(r1, r3);
  store(interleave_low(low02, low13), out);
  store(interleave_high(low02, low13), out + kPanelRows);
  store(interleave_low(high02, high13), out + 2 * kPanelRows);
  store(interleave_high(high02, high13), out + 3 * kPanelRows);
}

// One line of 16 words from the bytes of 4 columns (or pairs of FP4 columns) of 16 rows.
void join_bytes(const uint8_t* src, int64_t stride, uint32_t* out) {
  const V8 a = load<V8>(src), b = load<V8>(src + stride), c = load<V8>(src + 2 * stride),
           d = load<V8>(src + 3 * stride);
  const V8 ab_low = interleave_low(a, b), ab_high = interleave_high(a, b);
  const V8 cd_low = interleave_low(c, d), cd_high = interleave_high(c, d);
  store(interleave_low(V16(ab_low), V16(cd_low)), out);
  store(interleave_high(V16(ab_low), V16(cd_low)), out + 4);
  store(interleave_low(V16(ab_high), V16(cd_high)), out + 8);
  store(interleave_high(V16(ab_high), V16(cd_high)), out + 12);
}

// The same from the halves of 2 columns.
void join_halves(const uint16_t* src, int64_t stride, uint32_t* out) {
  for (int i = 0; i < kPanelRows; i += 8) {
    const V16 a = load<V16>(src + i), b = load<V16>(src + stride + i);
    store(interleave_low(a, b), out + i);
    store(interleave_high(a, b), out + i + 4);
  }
}

// A last panel of fewer than 16 rows, word by word; Element is what a column-major file holds of one row in
// one place.
template <typename Element>
void pack_partial(const Matrix& m, int first, int rows, int words_per_row, uint32_t* words) {
  constexpr int kPerWord = 4 / sizeof(Element);
  for (int w = 0; w < words_per_row; ++w) {
    for (int r = 0; r < rows; ++r) {
      uint32_t& word = words[w * kPanelRows + r];
      if (m.layout == Layout::kRowMajor) {
        std::memcpy(&word, static_cast<const char*>(m.data) + (first + r) * row_bytes(m) + w * 4, 4);
        continue;
      }
      const Element* src = static_cast<const Element*>(m.data) + w * kPerWord * m.stride + first + r;
      for (int i = 0; i < kPerWord; ++i) {
        word |= static_cast<uint32_t>(src[i * m.stride]) << (i * 8 * static_cast<int>(sizeof(Element)));
      }
    }
  }
}

// Words [begin, end) of one full panel.
void pack_words(const Matrix& m, int first, int begin, int end, uint32_t* words) {
  if (m.layout == Layout::kRowMajor) {
    const int64_t stride = row_bytes(m);
    const char* src = static_cast<const char*>(m.data) + first * stride;
    int w = begin;
    for (; w + 4 <= end; w += 4) {
      for (int r = 0; r < kPanelRows; r += 4) {
        transpose_4x4(src + r * stride + w * 4, stride, words + w * kPanelRows + r);
      }
    }
    for (; w < end; ++w) {
      for (int r = 0; r < kPanelRows; ++r)
        std::memcpy(&words[w * kPanelRows + r], src + r * stride + w * 4, 4);
    }
  } else if (m.format == WeightFormat::kBf16) {
    const uint16_t* src = static_cast<const uint16_t*>(m.data) + first;
    for (int w = begin; w < end; ++w) join_halves(src + w * 2 * m.stride, m.stride, words + w * kPanelRows);
  } else {
    const uint8_t* src = static_cast<const uint8_t*>(m.data) + first;
    for (int w = begin; w < end; ++w) join_bytes(src + w * 4 * m.stride, m.stride, words + w * kPanelRows);
  }
}

void pack_scales(const Matrix& m, int first, int rows, uint8_t* out) {
  const int blocks = m.cols / kNvfp4Block;
  for (int b = 0; b < blocks; ++b, out += kPanelRows) {
    if (m.layout == Layout::kColMajor) {
      std::memcpy(out, m.block_scales + b * m.block_scale_stride + first, rows);
      continue;
    }
    for (int r = 0; r < rows; ++r) out[r] = m.block_scales[(first + r) * m.block_scale_stride + b];
  }
}

}  // namespace

// The innermost loops stay within what L1 holds of the file: 32 panels by 4 words are 8 KiB.
void pack_panels(const Matrix& m, const PackedMatrix& to, int first, int count) {
  const int words_per_row = to.cols / to.cols_per_word();
  const int end = std::min(first + count, to.panels()), full = std::min(end, to.rows / kPanelRows);
  const int block = m.layout == Layout::kRowMajor ? kTileWords : 4;
  for (int w = 0; w < words_per_row; w += block) {
    for (int p = first; p < full; ++p) {
      pack_words(m, p * kPanelRows, w, std::min(w + block, words_per_row), to.panel_words(p));
    }
  }
  for (int p = first; p < end; ++p) {
    const int rows = std::min(kPanelRows, to.rows - p * kPanelRows);
    uint32_t* words = to.panel_words(p);
    if (rows < kPanelRows) {
      std::fill_n(words, to.words_per_panel(), 0);
      if (to.block_scales) std::fill_n(to.panel_scales(p), to.scales_per_panel(), 0);
      if (m.format == WeightFormat::kBf16) {
        pack_partial<uint16_t>(m, p * kPanelRows, rows, words_per_row, words);
      } else {
        pack_partial<uint8_t>(m, p * kPanelRows, rows, words_per_row, words);
      }
    }
    if (to.block_scales) pack_scales(m, p * kPanelRows, rows, to.panel_scales(p));
  }
}

void WeightPacker::add(const Matrix& from, PackedMatrix& to) {
  if (from.cols % kNvfp4Block != 0) {
    throw CheckpointError("a weight matrix has " + std::to_string(from.cols) +
                          " input columns; the CPU runner needs a multiple of 16");
  }
  to.format = from.format;
  to.rows = from.rows;
  to.cols = from.cols;
  to.weight_scale = from.weight_scale;
  to.input_scale = from.input_scale;
  to.index = static_cast<int>(jobs_.size());
  jobs_.push_back({&from, &to, bytes_});
  bytes_ += aligned(to.word_bytes()) + aligned(to.scale_bytes());
}

void WeightPacker::allocate() {
  memory_ = AlignedBuffer(bytes_);
  for (const Job& job : jobs_) {
    job.to->words = reinterpret_cast<uint32_t*>(memory_.as<char>() + job.offset);
    if (job.to->scale_bytes() > 0) {
      job.to->block_scales = memory_.as<uint8_t>() + job.offset + aligned(job.to->word_bytes());
    }
  }
}

void WeightPacker::pack(std::span<const int> indices, ThreadPool& pool) {
  items_.clear();
  for (const int index : indices) {
    Job& job = jobs_[index];
    if (job.packed) continue;
    job.packed = true;
    for (int p = 0; p < job.to->panels(); p += kTilePanels) items_.push_back({&job, p});
  }
  pool.run(static_cast<int64_t>(items_.size()), [&](int64_t i, int) {
    pack_panels(*items_[i].job->from, *items_[i].job->to, items_[i].first_panel, kTilePanels);
  });
  while (next_ < jobs_.size() && jobs_[next_].packed) ++next_;
}

const Matrix* WeightPacker::unused_source(const PackedMatrix& m) {
  Job& job = jobs_[m.index];
  if (job.packed || job.used) return nullptr;
  job.used = true;
  return job.from;
}

bool WeightPacker::pack_next(ThreadPool& pool) {
  if (!complete()) pack(std::array{static_cast<int>(next_)}, pool);
  return !complete();
}

void WeightPacker::pack_all(ThreadPool& pool) {
  allocate();
  std::vector<int> all(jobs_.size());
  std::iota(all.begin(), all.end(), 0);
  pack(all, pool);
}

}  // namespace outrider::cpu
