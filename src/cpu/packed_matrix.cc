#include "cpu/packed_matrix.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/error.h"
#include "cpu/number_formats.h"

namespace outrider::cpu {
namespace {

using model::Layout;
using model::Matrix;
using model::WeightFormat;

constexpr size_t kAlignment = 64;
constexpr int kPanelsPerItem = 8;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Rows are contiguous along cols: whole words can be copied.
void pack_row_major(const Matrix& m, const PackedMatrix& to, int first, int rows, uint32_t* words) {
  const int64_t per_row = to.cols / to.cols_per_word();
  const int64_t row_bytes = m.format == WeightFormat::kBf16  ? m.stride * 2
                            : m.format == WeightFormat::kFp8 ? m.stride
                                                             : m.stride / 2;
  for (int r = 0; r < rows; ++r) {
    const char* src = static_cast<const char*>(m.data) + (first + r) * row_bytes;
    for (int64_t w = 0; w < per_row; ++w) std::memcpy(&words[w * kPanelRows + r], src + w * 4, 4);
  }
}

// Element = what one file unit holds: a bf16, an FP8 code or a byte with two FP4 codes.
template <typename Element>
void pack_col_major(const Matrix& m, int first, int rows, int units, uint32_t* words) {
  constexpr int kPerWord = 4 / sizeof(Element);
  const auto* src = static_cast<const Element*>(m.data) + first;
  for (int u = 0; u < units; ++u) {
    const Element* unit = src + u * m.stride;
    uint32_t* out = words + (u / kPerWord) * kPanelRows;
    const int shift = (u % kPerWord) * 8 * static_cast<int>(sizeof(Element));
    for (int r = 0; r < rows; ++r) out[r] |= static_cast<uint32_t>(unit[r]) << shift;
  }
}

void pack_scales(const Matrix& m, int first, int rows, uint8_t* out) {
  const int blocks = m.cols / kNvfp4Block;
  for (int b = 0; b < blocks; ++b) {
    for (int r = 0; r < rows; ++r) {
      out[b * kPanelRows + r] = m.layout == Layout::kRowMajor
                                    ? m.block_scales[(first + r) * m.block_scale_stride + b]
                                    : m.block_scales[b * m.block_scale_stride + first + r];
    }
  }
}

void pack_panel(const Matrix& m, const PackedMatrix& to, int panel) {
  const int first = panel * kPanelRows;
  const int rows = std::min(kPanelRows, to.rows - first);
  uint32_t* words = to.words + panel * to.words_per_panel();
  if (m.layout == Layout::kRowMajor) {
    pack_row_major(m, to, first, rows, words);
  } else if (m.format == WeightFormat::kBf16) {
    pack_col_major<uint16_t>(m, first, rows, m.cols, words);
  } else {
    pack_col_major<uint8_t>(m, first, rows, m.format == WeightFormat::kFp8 ? m.cols : m.cols / 2, words);
  }
  if (to.block_scales) pack_scales(m, first, rows, to.block_scales + panel * to.scales_per_panel());
}

}  // namespace

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
  jobs_.push_back({&from, &to, bytes_});
  bytes_ += aligned(to.word_bytes()) + aligned(to.scale_bytes());
}

void WeightPacker::pack(ThreadPool& pool) {
  memory_ = AlignedBuffer(bytes_);
  struct Item {
    const Job* job;
    int panel;
  };
  std::vector<Item> items;
  for (const Job& job : jobs_) {
    job.to->words = reinterpret_cast<uint32_t*>(memory_.as<char>() + job.offset);
    if (job.to->scale_bytes() > 0) {
      job.to->block_scales = memory_.as<uint8_t>() + job.offset + aligned(job.to->word_bytes());
    }
    for (int p = 0; p < job.to->panels(); p += kPanelsPerItem) items.push_back({&job, p});
  }
  pool.run(static_cast<int64_t>(items.size()), [&](int64_t i, int) {
    const auto& [job, first] = items[i];
    const int last = std::min(first + kPanelsPerItem, job->to->panels());
    for (int p = first; p < last; ++p) pack_panel(*job->from, *job->to, p);
  });
  jobs_.clear();
}

}  // namespace outrider::cpu
