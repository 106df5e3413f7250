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
#include <span>
#include <vector>

#include "cpu/aligned_buffer.h"
#include "cpu/thread_pool.h"
#include "model/weights.h"

namespace outrider::cpu {

inline constexpr int kPanelRows = 16;

struct PackedMatrix {
  model::WeightFormat format = model::WeightFormat::kBf16;
  int rows = 0;
  int cols = 0;         // a multiple of 16
  int first_panel = 0;  // the panel that words and block_scales begin with
  uint32_t* words = nullptr;
  uint8_t* block_scales = nullptr;
  float weight_scale = 1.0f;
  float input_scale = 0.0f;
  int index = -1;  // in its WeightPacker

  bool empty() const { return words == nullptr; }
  int panels() const { return (rows + kPanelRows - 1) / kPanelRows; }
  int cols_per_word() const {
    return format == model::WeightFormat::kBf16 ? 2 : format == model::WeightFormat::kFp8 ? 4 : 8;
  }
  uint32_t* panel_words(int panel) const { return words + (panel - first_panel) * words_per_panel(); }
  uint8_t* panel_scales(int panel) const { return block_scales + (panel - first_panel) * scales_per_panel(); }
  int64_t words_per_panel() const { return int64_t{kPanelRows} * (cols / cols_per_word()); }
  int64_t scales_per_panel() const { return cols; }  // 16 rows x cols / 16
  int64_t word_bytes() const { return panels() * words_per_panel() * 4; }
  int64_t scale_bytes() const {
    return format == model::WeightFormat::kNvfp4 ? panels() * scales_per_panel() : 0;
  }
};

// Writes panels [first, first + count) of `to`.
void pack_panels(const model::Matrix& from, const PackedMatrix& to, int first, int count);

// Packs matrices into one allocation: all at once, or each when it is first needed. Lives as long as the
// matrices and their sources. One thread at a time.
class WeightPacker {
 public:
  // `to` must stay where it is. Throws CheckpointError when cols is not a multiple of 16.
  void add(const model::Matrix& from, PackedMatrix& to);
  // After the last add(): sets the pointers. What they point to is not written yet.
  void allocate();
  // Writes the matrices of these indices that are not written yet.
  void pack(std::span<const int> indices, ThreadPool& pool);
  // Writes one more matrix; false when none is left.
  bool pack_next(ThreadPool& pool);
  void pack_all(ThreadPool& pool);  // allocate() and pack()

  // What `m` is to be packed from, the first time that this is asked; null once it is packed, or asked again.
  const model::Matrix* unused_source(const PackedMatrix& m);
  bool packed(const PackedMatrix& m) const { return jobs_[m.index].packed; }
  bool complete() const { return next_ == jobs_.size(); }

 private:
  struct Job {
    const model::Matrix* from;
    PackedMatrix* to;
    size_t offset;
    bool packed = false;
    bool used = false;
  };
  struct Item {
    const Job* job;
    int first_panel;
  };
  std::vector<Job> jobs_;
  std::vector<Item> items_;
  size_t next_ = 0;  // all before it are packed
  size_t bytes_ = 0;
  AlignedBuffer memory_;
};

}  // namespace outrider::cpu
