// y = (x W^T) * scale for several matrices in one pass over the thread pool.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cpu/aligned_buffer.h"
#include "cpu/packed_matrix.h"
#include "cpu/thread_pool.h"

namespace outrider::cpu {

inline constexpr int kMatmulRows = 256;  // rows of x that one unit takes at most

// Products of so few rows multiply packed codes directly; longer ones expand them first.
inline constexpr int kDirectRows = 4;

struct MatmulJob {
  const PackedMatrix* w = nullptr;
  const float* x = nullptr;  // [m, w->cols], rows contiguous
  float* y = nullptr;        // [m, w->rows]
  int m = 0;
  float scale = 1.0f;                     // weight_scale, times the activations' scale when x holds codes
  const model::Matrix* source = nullptr;  // set: w is not written, its panels are packed for this use only
};

// Part of a job that one thread computes at a time.
struct MatmulUnit {
  int job = 0;
  int first_panel = 0, num_panels = 0;
  int first_row = 0, num_rows = 0;  // of x
};

class Matmul {
 public:
  explicit Matmul(ThreadPool& pool);
  // Each element of y is reduced in an order that depends on w->cols only.
  void operator()(std::span<const MatmulJob> jobs);

 private:
  void prepare(std::span<const MatmulJob> jobs);
  void reserve_panels(int per_unit);
  PackedMatrix pack_unit(const MatmulJob& job, const MatmulUnit& unit, int thread);

  ThreadPool& pool_;
  int64_t workspace_floats_;
  AlignedBuffer workspace_;  // [threads][workspace_floats_]
  AlignedBuffer panels_;     // [threads][panels_bytes_], for jobs with a source
  size_t panels_bytes_ = 0;
  // Kept so that a step allocates nothing.
  std::vector<MatmulJob> jobs_;
  std::vector<float> scaled_x_;
  std::vector<MatmulUnit> units_;
};

}  // namespace outrider::cpu
