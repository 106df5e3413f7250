// Tiling.
// Few rows of x (decode): the panels' codes are expanded in registers and used at once; 8 accumulator vectors
// over rows and panels hide the multiply-add's latency. Floor: the weights' bytes over the memory bandwidth.
// Many rows (prefill): 256 columns of a panel are expanded to fp32 in L1 (16 KiB) and used by a block of 256
// rows of x, whose 256 columns are copied together (272 KiB, L2) and serve 8 panels. Floor: the multiply-adds
// (fma_tile-inl.h). Both sum each output over ascending columns, NVFP4 in blocks of 16, so they agree to the
// last bit.
#include "cpu/matmul.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/matmul.cc"
#include "cpu/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// After foreach_target.
#include "cpu/codecs-inl.h"
#include "cpu/fma_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace outrider::cpu {
namespace HWY_NAMESPACE {

// Floats of one thread's workspace: a block of x, and a panel of y.
int64_t workspace_floats() { return kMatmulRows * (kTileStride + kPanelRows); }

// Sums come out divided by this.
template <class Codec>
constexpr float kUnitOfSums = Codec::kUnitOfX / Codec::kUnit;

// A word of each chain times its columns of x. Column by column over the chains: a chain's own sums wait for
// each other, and the scheduler does not look far enough ahead to find the next chain behind them.
template <class Codec, int kRows, int kChains, int kIndex = 0>
HWY_INLINE void fma_words(const VU* words, const float* x, int64_t ldx, VF (*acc)[kRows]) {
  OUTRIDER_UNROLL
  for (int c = 0; c < kChains; ++c) {
    const VF w = Codec::template expand<kIndex>(words[c]);
    OUTRIDER_UNROLL
    for (int r = 0; r < kRows; ++r) {
      acc[c][r] = hn::MulAdd(hn::Set(DF(), x[r * ldx + kIndex]), w, acc[c][r]);
    }
  }
  if constexpr (kIndex + 1 < Codec::kPerWord) {
    fma_words<Codec, kRows, kChains, kIndex + 1>(words, x, ldx, acc);
  }
}

// Stores `value` (kLanes outputs from row `row` of W on) where those rows exist.
HWY_INLINE void store_outputs(VF value, int row, int rows, float* y) {
  if (row + kLanes <= rows) {
    hn::StoreU(value, DF(), y + row);
  } else {
    alignas(64) float lanes[kLanes];
    hn::Store(value, DF(), lanes);
    for (int i = 0; row + i < rows; ++i) y[row + i] = lanes[i];
  }
}

// Sums of chains that begin at row panel * kPanelRows of W, to the rows of y they belong to.
template <int kRows, int kChains>
HWY_INLINE void store_chains(const VF (*acc)[kRows], VF scale, int panel, int rows, float* y) {
  OUTRIDER_UNROLL
  for (int c = 0; c < kChains; ++c) {
    OUTRIDER_UNROLL
    for (int r = 0; r < kRows; ++r) {
      store_outputs(hn::Mul(acc[c][r], scale), (panel + c / kVecs) * kPanelRows + (c % kVecs) * kLanes, rows,
                    y + int64_t{r} * rows);
    }
  }
}

template <class Codec, int kRows, int kPanels>
HWY_INLINE void direct_panels(const MatmulJob& job, int panel, const float* x, float* y) {
  constexpr int kChains = kPanels * kVecs;
  const DU du;
  const PackedMatrix& w = *job.w;
  const int64_t ldx = w.cols;
  const uint32_t* words[kPanels];
  VF acc[kChains][kRows];
  OUTRIDER_UNROLL
  for (int p = 0; p < kPanels; ++p) words[p] = w.panel_words(panel + p);
  OUTRIDER_UNROLL
  for (int c = 0; c < kChains; ++c) {
    OUTRIDER_UNROLL
    for (int r = 0; r < kRows; ++r) acc[c][r] = hn::Zero(DF());
  }
  // Words and sums of all chains fit in 32 registers; with shorter vectors there are more chains than that.
  constexpr int kTogether = kVecs == 1 ? kChains : 1;
  constexpr int kStep = Codec::kBlockScaled ? 16 : Codec::kPerWord;
  for (int col = 0; col < w.cols; col += kStep) {
    const int64_t at = int64_t{col / Codec::kPerWord} * kPanelRows;
    OUTRIDER_UNROLL
    for (int first = 0; first < kChains; first += kTogether) {
      VU line[kTogether];
      auto load_words = [&](int64_t offset) {
        OUTRIDER_UNROLL
        for (int i = 0; i < kTogether; ++i) {
          const int c = first + i;
          line[i] = hn::Load(du, words[c / kVecs] + offset + (c % kVecs) * kLanes);
        }
      };
      load_words(at);
      if constexpr (Codec::kBlockScaled) {
        VF sum[kTogether][kRows];
        OUTRIDER_UNROLL
        for (int i = 0; i < kTogether; ++i) {
          OUTRIDER_UNROLL
          for (int r = 0; r < kRows; ++r) sum[i][r] = hn::Zero(DF());
        }
        fma_words<Codec, kRows, kTogether>(line, x + col, ldx, sum);
        load_words(at + kPanelRows);
        fma_words<Codec, kRows, kTogether>(line, x + col + 8, ldx, sum);
        OUTRIDER_UNROLL
        for (int i = 0; i < kTogether; ++i) {
          const int c = first + i;
          const VF scale = Codec::block_scale(w.panel_scales(panel + c / kVecs) + col + (c % kVecs) * kLanes);
          OUTRIDER_UNROLL
          for (int r = 0; r < kRows; ++r) acc[c][r] = hn::MulAdd(sum[i][r], scale, acc[c][r]);
        }
      } else {
        fma_words<Codec, kRows, kTogether>(line, x + col, ldx, acc + first);
      }
    }
  }
  store_chains<kRows, kChains>(acc, hn::Set(DF(), job.scale * kUnitOfSums<Codec>), panel, w.rows, y);
}

// Panels from `panel` to `end`, as many at once as are left: one chain of multiply-adds would wait for each.
template <class Codec, int kRows, int kPanels>
HWY_INLINE void direct_range(const MatmulJob& job, int panel, int end, const float* x, float* y) {
  for (; panel + kPanels <= end; panel += kPanels) direct_panels<Codec, kRows, kPanels>(job, panel, x, y);
  if constexpr (kPanels > 1) direct_range<Codec, kRows, kPanels / 2>(job, panel, end, x, y);
}

template <class Codec, int kRows>
HWY_NOINLINE void direct(const MatmulJob& job, const MatmulUnit& unit, const float* x, float* y) {
  constexpr int kPanels = std::max(1, 8 / (kRows * kVecs));
  direct_range<Codec, kRows, kPanels>(job, unit.first_panel, unit.first_panel + unit.num_panels, x, y);
}

template <class Codec, int kIndex = 0>
HWY_INLINE void expand_word(VU words, float* out) {
  VF values = Codec::template expand<kIndex>(words);
  if constexpr (Codec::kUnitOfX != 1.0f) values = hn::Mul(values, hn::Set(DF(), 1.0f / Codec::kUnitOfX));
  hn::Store(values, DF(), out + kIndex * kPanelRows);
  if constexpr (kIndex + 1 < Codec::kPerWord) expand_word<Codec, kIndex + 1>(words, out);
}

template <class Codec>
HWY_INLINE void expand_panel(const PackedMatrix& w, int panel, int col, int cols, float* out, float* scales) {
  const uint32_t* words = w.panel_words(panel) + (col / Codec::kPerWord) * kPanelRows;
  for (int i = 0; i < cols / Codec::kPerWord; ++i) {
    OUTRIDER_UNROLL
    for (int v = 0; v < kVecs; ++v) {
      expand_word<Codec>(hn::Load(DU(), words + i * kPanelRows + v * kLanes),
                         out + i * Codec::kPerWord * kPanelRows + v * kLanes);
    }
  }
  if constexpr (Codec::kBlockScaled) {
    const uint8_t* codes = w.panel_scales(panel) + col;
    for (int i = 0; i < cols; i += kLanes) hn::Store(Codec::block_scale(codes + i), DF(), scales + i);
  }
}

// One panel, one range of columns, all rows of the unit. A last panel with fewer than 16 rows goes through
// `edge`.
template <class Codec>
HWY_INLINE void expanded_panel(const MatmulJob& job, const MatmulUnit& unit, int panel, int col,
                               const float* x, float* edge) {
  alignas(64) float w[kTileCols * kPanelRows];
  alignas(64) float scales[kTileCols];
  const PackedMatrix& m = *job.w;
  const int cols = std::min(kTileCols, m.cols - col);
  expand_panel<Codec>(m, panel, col, cols, w, scales);

  const bool whole = (panel + 1) * kPanelRows <= m.rows;
  float* out = job.y + int64_t{unit.first_row} * m.rows + panel * kPanelRows;
  float* y = whole ? out : edge;
  const int64_t ldy = whole ? m.rows : kPanelRows;
  const float* block_scales = Codec::kBlockScaled ? scales : nullptr;
  if (col == 0) {
    fma_tile<true>(unit.num_rows, x, w, block_scales, cols, y, ldy);
  } else {
    fma_tile<false>(unit.num_rows, x, w, block_scales, cols, y, ldy);
  }
  if (col + cols < m.cols) return;
  const int outputs = std::min(kPanelRows, m.rows - panel * kPanelRows);
  const float scale = job.scale * kUnitOfSums<Codec>;
  for (int r = 0; r < unit.num_rows; ++r) {
    for (int i = 0; i < outputs; ++i) out[int64_t{r} * m.rows + i] = y[r * ldy + i] * scale;
  }
}

template <class Codec>
HWY_NOINLINE void expanded(const MatmulJob& job, const MatmulUnit& unit, float* workspace) {
  float* x = workspace;
  float* edge = workspace + kMatmulRows * kTileStride;
  const int64_t ldx = job.w->cols;
  for (int col = 0; col < job.w->cols; col += kTileCols) {
    const int cols = std::min(kTileCols, job.w->cols - col);
    for (int r = 0; r < unit.num_rows; ++r) {
      std::copy_n(job.x + (unit.first_row + r) * ldx + col, cols, x + r * kTileStride);
    }
    for (int p = unit.first_panel; p < unit.first_panel + unit.num_panels; ++p) {
      expanded_panel<Codec>(job, unit, p, col, x, edge);
    }
  }
}

template <class Codec>
void run_unit(const MatmulJob& job, const MatmulUnit& unit, float* workspace) {
  const float* x = job.x + int64_t{unit.first_row} * job.w->cols;
  float* y = job.y + int64_t{unit.first_row} * job.w->rows;
  // The job decides, not what is left of its rows: a direct job's x is in a unit of its own (scale_x).
  switch (job.m <= kDirectRows ? unit.num_rows : 0) {
    case 1:
      return direct<Codec, 1>(job, unit, x, y);
    case 2:
      return direct<Codec, 2>(job, unit, x, y);
    case 3:
      return direct<Codec, 3>(job, unit, x, y);
    case 4:
      return direct<Codec, 4>(job, unit, x, y);
    default:
      return expanded<Codec>(job, unit, workspace);
  }
}

// x in the unit that the direct FP8 products take it in.
void scale_x(const float* x, int64_t n, float* out) {
  const DF d;
  const VF factor = hn::Set(d, 1.0f / Fp8Codec::kUnitOfX);
  for (int64_t i = 0; i < n; i += kLanes) hn::StoreU(hn::Mul(hn::LoadU(d, x + i), factor), d, out + i);
}

void matmul_unit(const MatmulJob& job, const MatmulUnit& unit, float* workspace) {
  switch (job.w->format) {
    case model::WeightFormat::kBf16:
      return run_unit<Bf16Codec>(job, unit, workspace);
    case model::WeightFormat::kFp8:
      return run_unit<Fp8Codec>(job, unit, workspace);
    case model::WeightFormat::kNvfp4:
      return run_unit<Nvfp4Codec>(job, unit, workspace);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace outrider::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace outrider::cpu {

HWY_EXPORT(matmul_unit);
HWY_EXPORT(scale_x);
HWY_EXPORT(workspace_floats);

namespace {
constexpr int kMaxPanels = 8;
constexpr int64_t kParallelWork = 1 << 16;  // multiply-adds, about 4 us on one core
}  // namespace

Matmul::Matmul(ThreadPool& pool)
    : pool_(pool),
      workspace_floats_(HWY_DYNAMIC_DISPATCH(workspace_floats)()),
      workspace_(static_cast<size_t>(workspace_floats_) * sizeof(float) * pool.size()) {}

// Copies the jobs, with x in its codec's unit where few rows go to the direct products.
void Matmul::prepare(std::span<const MatmulJob> jobs) {
  auto scaled = [](const MatmulJob& job) {
    return job.w->format == model::WeightFormat::kFp8 && job.m <= kDirectRows;
  };
  size_t floats = 0;
  for (const MatmulJob& job : jobs) floats += scaled(job) ? size_t(job.m) * job.w->cols : 0;
  if (floats > scaled_x_.size()) scaled_x_.resize(floats);
  jobs_.assign(jobs.begin(), jobs.end());
  float* next = scaled_x_.data();
  const float *from = nullptr, *to = nullptr;  // of the last copy: neighbours often share x
  for (MatmulJob& job : jobs_) {
    if (job.m == 0 || !scaled(job)) continue;
    const int64_t n = int64_t{job.m} * job.w->cols;
    if (job.x != from) {
      HWY_DYNAMIC_DISPATCH(scale_x)(job.x, n, next);
      from = job.x;
      to = next;
      next += n;
    }
    job.x = to;
  }
}

// Room for the panels of one unit of each job with a source.
void Matmul::reserve_panels(int per_unit) {
  size_t bytes = 0;
  for (const MatmulJob& job : jobs_) {
    if (!job.source) continue;
    const auto panel = static_cast<size_t>(job.w->words_per_panel() * 4 + job.w->scales_per_panel());
    bytes = std::max(bytes, panel * per_unit);
  }
  if (bytes <= panels_bytes_) return;
  panels_bytes_ = (bytes + 63) / 64 * 64;
  panels_ = AlignedBuffer(panels_bytes_ * pool_.size());
}

PackedMatrix Matmul::pack_unit(const MatmulJob& job, const MatmulUnit& unit, int thread) {
  PackedMatrix w = *job.w;
  uint8_t* memory = panels_.as<uint8_t>() + thread * panels_bytes_;
  w.first_panel = unit.first_panel;
  w.words = reinterpret_cast<uint32_t*>(memory);
  if (w.block_scales) w.block_scales = memory + w.words_per_panel() * 4 * unit.num_panels;
  pack_panels(*job.source, w, unit.first_panel, unit.num_panels);
  return w;
}

void Matmul::operator()(std::span<const MatmulJob> jobs) {
  prepare(jobs);
  int64_t panels = 0, work = 0;
  for (const MatmulJob& job : jobs_) {
    if (job.m == 0) continue;
    panels += job.w->panels();
    work += int64_t{job.m} * job.w->rows * job.w->cols;
  }
  const bool parallel = pool_.size() > 1 && work > kParallelWork;
  const int per_unit = parallel
                           ? static_cast<int>(std::clamp<int64_t>(panels / (pool_.size() * 4), 1, kMaxPanels))
                           : kMaxPanels;
  units_.clear();
  for (int j = 0; j < static_cast<int>(jobs_.size()); ++j) {
    for (int row = 0; row < jobs_[j].m; row += kMatmulRows) {
      const int rows = std::min(kMatmulRows, jobs_[j].m - row);
      for (int p = 0; p < jobs_[j].w->panels(); p += per_unit) {
        units_.push_back({j, p, std::min(per_unit, jobs_[j].w->panels() - p), row, rows});
      }
    }
  }
  reserve_panels(per_unit);
  const auto run = HWY_DYNAMIC_DISPATCH(matmul_unit);
  pool_.run_if(parallel, static_cast<int64_t>(units_.size()), [&](int64_t i, int thread) {
    const MatmulUnit& unit = units_[i];
    float* workspace = workspace_.as<float>() + thread * workspace_floats_;
    MatmulJob job = jobs_[unit.job];
    if (!job.source) return run(job, unit, workspace);
    const PackedMatrix w = pack_unit(job, unit, thread);
    job.w = &w;
    run(job, unit, workspace);
  });
}

}  // namespace outrider::cpu
#endif  // HWY_ONCE
