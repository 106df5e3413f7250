// Weights as the product kernels read them: panels of 16 output rows. In a panel, 32-bit words of the 16 rows
// lie side by side; a word holds the next columns of one row: 2 bf16, 4 FP8 or 8 FP4 codes, the first column
// in the low bits.
//
//   words[panel][col / cols_per_word][row % 16]        NVFP4 also: block_scales[panel][col / 16][row % 16]
//
// One 64-byte line feeds 16 output elements, so a kernel needs no sum across lanes, and both file layouts
// (row-major linears, col-major experts) end here. The last panel is filled with zeros.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/aligned_buffer.h"
#include "cpu/thread_pool.h"
#include "model/weights.h"

namespace outrider::cpu {

inline constexpr int kPanelRows = 16;

struct PackedMatrix {
  model::WeightFormat format = model::WeightFormat::kBf16;
  int rows = 0;
  int cols = 0;  // a multiple of 16
  uint32_t* words = nullptr;
  uint8_t* block_scales = nullptr;
  float weight_scale = 1.0f;
  float input_scale = 0.0f;

  bool empty() const { return words == nullptr; }
  int panels() const { return (rows + kPanelRows - 1) / kPanelRows; }
  int cols_per_word() const {
    return format == model::WeightFormat::kBf16 ? 2 : format == model::WeightFormat::kFp8 ? 4 : 8;
  }
  int64_t words_per_panel() const { return int64_t{kPanelRows} * (cols / cols_per_word()); }
  int64_t scales_per_panel() const { return cols; }  // 16 rows x cols / 16
  int64_t word_bytes() const { return panels() * words_per_panel() * 4; }
  int64_t scale_bytes() const {
    return format == model::WeightFormat::kNvfp4 ? panels() * scales_per_panel() : 0;
  }
};

// Packs matrices into one allocation, in parallel. Usage: add() each, then pack() once; the results' pointers
// are valid afterwards and as long as this lives.
class WeightPacker {
 public:
  // `to` must stay where it is until pack(). Throws CheckpointError when cols is not a multiple of 16.
  void add(const model::Matrix& from, PackedMatrix& to);
  void pack(ThreadPool& pool);

 private:
  struct Job {
    const model::Matrix* from;
    PackedMatrix* to;
    size_t offset;
  };
  std::vector<Job> jobs_;
  size_t bytes_ = 0;
  AlignedBuffer memory_;
};

}  // namespace outrider::cpu
