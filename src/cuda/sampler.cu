// From logits to tokens: one cluster of eight blocks a row, in the order of sampling/sampler.h.
//
// Tiling: a block reads an eighth of the row (101 KB of Scout's 808) into shared memory once; all that
// follows works there, so that a row costs one read of its logits whatever its parameters. Two blocks fit in
// an SM: while one row is worked on the other is read. Rows with logprobs of the raw distribution read it
// again after constraints, when the token is known. A draw with top-p passes over the values in shared memory
// twice (sampler_nucleus.cuh), one without it once. Floor: the logits' bytes; 512 rows of 202 048 are 414 MB,
// 0.10 ms at 4 TB/s. A row's token depends on nothing outside its row and its slot, and no sum on the order
// of threads: sums are of integers.
#include <algorithm>

#include "cuda/launch.cuh"
#include "cuda/sampler_kernels.h"
#include "cuda/sampler_nucleus.cuh"

namespace outrider::cuda {
namespace row {
namespace {

// What a block knows of its row.
struct Row {
  const float* logits;  // global memory, of the whole row
  const uint32_t* mask;
  const uint32_t* allowed;
  int valid_vocab;
  bool aligned;  // rows start at 16 bytes
};

struct Best {
  float value = kMasked;
  int32_t id = 0;
  __device__ void take(float x, int32_t other) {
    if (x > value) value = x, id = other;
  }
  // Larger for larger values, then for lower ids.
  __device__ uint64_t packed() const { return uint64_t{key_of(value)} << 32 | ~static_cast<uint32_t>(id); }
};
__device__ __forceinline__ float value_of_best(uint64_t packed) {
  return value_of(static_cast<uint32_t>(packed >> 32));
}
__device__ __forceinline__ int32_t id_of_best(uint64_t packed) {
  return static_cast<int32_t>(~static_cast<uint32_t>(packed));
}

// As sampling::sanitize; and no -0.0, so that keys compare as values do.
__device__ __forceinline__ float sanitized(float x) { return isnan(x) ? kMasked : fminf(x, FLT_MAX) + 0.0f; }

// Bit i says whether id + i may be chosen. Of four ids of one word.
__device__ __forceinline__ uint32_t admitted(const Row& row, int32_t id) {
  uint32_t bits = id + 4 <= row.valid_vocab ? 15u : (1u << max(row.valid_vocab - id, 0)) - 1;
  if (row.mask != nullptr) bits &= row.mask[id / 32] >> (id % 32);
  if (row.allowed != nullptr) bits &= row.allowed[id / 32] >> (id % 32);
  return bits;
}

// Functions that are not inlined keep the code short that most rows need: behind a step that has read all
// weights, it comes from memory. They take their small arguments by value, so that they lie in registers.

// Reads the slice; `keep`: into shared memory. This thread's best.
__device__ __noinline__ Best load(const Row row, const Slice slice, bool keep) {
  constexpr int kUnroll = 4;
  const bool all =
      row.mask == nullptr && row.allowed == nullptr && slice.first + slice.size <= row.valid_vocab;
  Best best;
  if (keep && slice.size % 4 != 0 && threadIdx.x < 4 - slice.size % 4) {
    slice.values[slice.size + threadIdx.x] = kMasked;
  }
  if (!row.aligned) {
#pragma unroll 1
    for (int i = threadIdx.x; i < slice.size; i += kThreads) {
      const int id = slice.first + i;
      const float x = all || admitted(row, id) & 1 ? sanitized(row.logits[id]) : kMasked;
      if (keep) slice.values[i] = x;
      best.take(x, id);
    }
    return best;
  }
  const auto* from = reinterpret_cast<const float4*>(row.logits + slice.first);
  const int quads = slice.size / 4;
#pragma unroll 1
  for (int base = threadIdx.x; base < quads; base += kUnroll * kThreads) {
    float4 x[kUnroll];
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      if (base + j * kThreads < quads) x[j] = from[base + j * kThreads];
    }
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      const int quad = base + j * kThreads;
      if (quad >= quads) break;
      const int id = slice.first + 4 * quad;
      x[j] = {sanitized(x[j].x), sanitized(x[j].y), sanitized(x[j].z), sanitized(x[j].w)};
      if (!all) {
        const uint32_t bits = admitted(row, id);
        if (!(bits & 1)) x[j].x = kMasked;
        if (!(bits & 2)) x[j].y = kMasked;
        if (!(bits & 4)) x[j].z = kMasked;
        if (!(bits & 8)) x[j].w = kMasked;
      }
      best.take(x[j].x, id);
      best.take(x[j].y, id + 1);
      best.take(x[j].z, id + 2);
      best.take(x[j].w, id + 3);
      if (keep) reinterpret_cast<float4*>(slice.values)[quad] = x[j];
    }
  }
  return best;
}

__device__ __forceinline__ bool within(const Slice& slice, int32_t id) {
  return id >= slice.first && id - slice.first < slice.size;
}

// Do the last outputs of the slot equal `prefix`?
__device__ bool ends_with(const SlotState& state, int64_t slot, const int32_t* prefix, int length) {
  const int outputs = state.num_outputs[slot];
  if (length > outputs || length > kRecentTokens) return false;
  const int32_t* recent = state.recent + slot * kRecentTokens;
  for (int i = 0; i < length; ++i) {
    if (recent[(outputs - length + i) % kRecentTokens] != prefix[i]) return false;
  }
  return true;
}

// Bad words, stop ids before min_tokens, biases: in shared memory, each id by the block that holds it.
__device__ void apply_lists(const SlotState& state, const SlotParams& params, const RowTask& task,
                            const Slice& slice) {
  const int32_t* biased = params.lists;
  const int32_t* biases = biased + params.num_biases;
  const int32_t* stop_ids = biases + params.num_biases;
  const int32_t* starts = stop_ids + params.num_stop_ids;
  const int32_t* words = starts + params.num_bad_words + 1;
  __syncthreads();
  for (int i = threadIdx.x; i < params.num_bad_words; i += kThreads) {
    const int last = starts[i + 1] - 1;
    if (within(slice, words[last]) && ends_with(state, task.slot, words + starts[i], last - starts[i])) {
      slice.values[words[last] - slice.first] = kMasked;
    }
  }
  if (task.mask_stop_ids) {
    for (int i = threadIdx.x; i < params.num_stop_ids; i += kThreads) {
      if (within(slice, stop_ids[i])) slice.values[stop_ids[i] - slice.first] = kMasked;
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < params.num_biases; i += kThreads) {  // no id is there twice
    if (within(slice, biased[i])) slice.values[biased[i] - slice.first] += __int_as_float(biases[i]);
  }
}

__device__ int times_in_output(const SlotState& state, int64_t slot, int32_t id, uint8_t code) {
  const int count = code & ~kInPrompt;
  if (count < kCountEscape) return count;
  const CountOverflow* overflows = state.overflows + slot * state.max_overflows;
  for (int i = 0; i < state.num_overflows[slot]; ++i) {
    if (overflows[i].token == id) return overflows[i].count;
  }
  return count;
}

// The arithmetic of sampling::apply_constraints, operation by operation.
__device__ float penalized(const SlotParams& params, float x, int count) {
  x = x > 0.0f ? __fdiv_rn(x, params.repetition) : __fmul_rn(x, params.repetition);
  x = __fsub_rn(x, __fmul_rn(params.frequency, static_cast<float>(count)));
  return count > 0 ? __fsub_rn(x, params.presence) : x;
}

// Lists, penalties, and what they leave; this thread's best.
__device__ __noinline__ Best constrain(const SlotState& state, const SlotParams& params, const RowTask& task,
                                       const Slice slice) {
  apply_lists(state, params, task, slice);
  __syncthreads();
  Best best;
  const uint8_t* counts = params.flags & kPenalties
                              ? state.counts + int64_t{task.slot} * state.count_stride + slice.first
                              : nullptr;
  for (int i = threadIdx.x; i < slice.size; i += kThreads) {
    float x = slice.values[i];
    if (counts != nullptr && counts[i] != 0) {
      x = penalized(params, x, times_in_output(state, task.slot, slice.first + i, counts[i]));
    }
    x = sanitized(x);
    slice.values[i] = x;
    best.take(x, slice.first + i);
  }
  return best;
}

// A logit at the row's temperature, rounded as the CPU's sampler rounds it.
struct Scaled {
  double max = 0.0, temperature = 1.0;
  __device__ float operator()(float x) const {
    return temperature == 1.0 ? x : static_cast<float>((x - max) / temperature);
  }
};

// min_p and top_k, in this order: an at_least(). Apart, so that rows without them need not load the code.
__device__ __noinline__ Cut keep_best(Team& team, const Slice slice, Histograms& histograms,
                                      const SlotParams& params, const Weigher weigher) {
  const Scaled scaled{weigher.max, params.temperature};
  const uint32_t top = key_of(weigher.max);
  Cut cut;
  if (params.has_min_p) {
    const double threshold = scaled(weigher.max) + params.log_min_p;
    cut.edge = value_of(lowest_key(key_of(cut.edge), top, [&](float x) { return !(scaled(x) < threshold); }));
  }
  if (params.top_k > 0) {
    const uint64_t k = params.top_k;
    const Boundary last =
        find_boundary<false>(team, slice, histograms.exact, weigher, cut, [k](uint64_t) { return k; });
    if (last.found) {  // whatever rounds to the same scaled value stays too
      const float least = scaled(last.value);
      cut.edge = value_of(
          lowest_key(key_of(cut.edge), key_of(last.value), [&](float x) { return scaled(x) >= least; }));
    }
  }
  return cut;
}

struct Truncated {
  Cut cut;
  bool summed = false;  // the weights of what it keeps are added up by runs
};

// min_p, top_k, top_p, in this order: what is left of the row.
__device__ Truncated truncate(Team& team, const Slice& slice, Histograms& histograms,
                              const SlotParams& params, const Weigher& weigher) {
  Cut cut;
  if (params.has_min_p || params.top_k > 0) cut = keep_best(team, slice, histograms, params, weigher);
  if (params.top_p >= 1.0) return {cut};
  const Nucleus nucleus = find_nucleus(team, slice, histograms, weigher, cut, params.top_p);
  const Boundary& edge = nucleus.edge;
  if (!edge.found) return {cut};
  cut = at_least(edge.value);
  // Among equals the lowest ids: as many as it takes.
  const uint64_t weight = weigher(edge.value);
  const uint64_t ties = (nucleus.wanted - edge.before + weight - 1) / weight;
  if (ties * weight < edge.amount) {
    cut.last_tie = locate_equal(team, slice, edge.value, ties - 1);
    return {cut};
  }
  if (nucleus.summed) add_listed(team, slice, weigher, edge.value);
  return {cut, nucleus.summed};
}

struct Drawn {
  int32_t token = 0;
  Cut cut;
};

__device__ Drawn draw(Team& team, const Slice& slice, Histograms& histograms, const SlotParams& params,
                      float max, double uniform) {
  Drawn drawn;
  if (max == kMasked) return drawn;
  constexpr double kLog2E = 1.4426950408889634;
  const Weigher weigher{max, static_cast<float>(kLog2E / params.temperature)};
  const Truncated left = truncate(team, slice, histograms, params, weigher);
  const Cut cut = left.cut;
  if (!left.summed) {
    sum_runs(team, slice, [&](float x, int32_t id) { return cut.keeps(x, id) ? weigher.parts(x) : Parts{}; });
  }
  drawn.cut = cut;
  drawn.token = locate_in_runs(
      team, slice, [&](float x, int32_t id) { return cut.keeps(x, id) ? weigher(x) : 0; },
      [uniform](uint64_t total) {
        const auto goal = static_cast<uint64_t>(uniform * static_cast<double>(total));
        return goal < total ? goal : total - 1;
      });
  return drawn;
}

// The row as the draw saw it: scaled, and masked where it could not fall. This thread's best.
__device__ __noinline__ Best process(const Slice slice, const Scaled scaled, const Cut cut) {
  __syncthreads();
  Best best;
  for (int i = threadIdx.x; i < slice.size; i += kThreads) {
    const float x = slice.values[i];
    const float y = cut.keeps(x, slice.first + i) ? sanitized(scaled(x)) : kMasked;
    slice.values[i] = y;
    best.take(y, slice.first + i);
  }
  return best;
}

// The `count` best, in no order.
__device__ void emit_best(Team& team, const Slice& slice, Histogram& histogram, const Weigher& weigher,
                          int count, TopEntry* out) {
  const Boundary last = find_boundary<false>(team, slice, histogram, weigher, at_least(kMasked),
                                             [count](uint64_t) { return static_cast<uint64_t>(count); });
  if (!last.found) return;
  Cut cut = at_least(last.value);
  const uint64_t ties = count - last.before;
  if (ties < last.amount) cut.last_tie = locate_equal(team, slice, last.value, ties - 1);
  int* emitted = peer(&team.scratch().emitted, 0);
  for (int i = threadIdx.x; i < slice.size; i += kThreads) {
    if (!cut.keeps(slice.values[i], slice.first + i)) continue;
    const int at = atomicAdd(emitted, 1);
    if (at < count) out[at] = {slice.first + i, slice.values[i]};
  }
}

// Of the values in shared memory; `best` of this thread. Fills all but the token.
__device__ __noinline__ RowResult measure(Team& team, const Slice slice, Histogram& histogram,
                                          const Best best, int32_t token, int vocab, int top, TopEntry* out) {
  constexpr float kLog2E = 1.4426950f;
  RowResult result;
  result.max = value_of_best(team.max(best.packed()));  // and every block has its values
  result.value = kMasked;
  if (token >= 0 && token < vocab) {
    result.value = *peer(slice.values + token % slice.share, token / slice.share);
  }
  const Weigher weigher{result.max == kMasked ? 0.0f : result.max, kLog2E};
  uint64_t total = 0, larger = 0;
#pragma unroll 4
  for (int i = threadIdx.x; i < slice.size; i += kThreads) {
    total += weigher(slice.values[i]);
    larger += slice.values[i] > result.value;
  }
  result.total = team.sum(total).total;
  result.rank = static_cast<int32_t>(team.sum(larger).total) + 1;
  if (top > 0) emit_best(team, slice, histogram, weigher, min(top, vocab), out);
  return result;
}

// The slot's state after its token. One thread; every block has read the slot's counts.
__device__ void remember(const SlotState& state, const SlotParams& params, int64_t slot, int32_t token) {
  const int outputs = state.num_outputs[slot];
  state.num_outputs[slot] = outputs + 1;
  state.recent[slot * kRecentTokens + outputs % kRecentTokens] = token;
  state.last_tokens[slot] = token;
  if (!(params.flags & kPenalties)) return;
  uint8_t& code = state.counts[slot * state.count_stride + token];
  const int count = code & ~kInPrompt;
  if (count < kCountEscape) ++code;
  if (count < kCountEscape - 1) return;
  CountOverflow* overflows = state.overflows + slot * state.max_overflows;
  int& used = state.num_overflows[slot];
  if (count == kCountEscape - 1) {
    if (used < state.max_overflows) overflows[used++] = {token, kCountEscape};
    return;
  }
  for (int i = 0; i < used; ++i) {
    if (overflows[i].token == token) ++overflows[i].count;
  }
}

// One row that is sampled. Every branch is the same for all threads of the cluster.
__device__ RowResult sample(Team& team, const SampleArgs& args, const RowTask& task, Row row,
                            const Slice& slice, Histograms& histograms) {
  const SlotParams& params = args.state.params[task.slot];
  const bool greedy = params.flags & kGreedy;
  const bool wants_logprobs = task.top >= 0;
  const bool constrained = params.flags & kPenalties || params.num_biases > 0 || params.num_bad_words > 0 ||
                           (task.mask_stop_ids && params.num_stop_ids > 0);
  const bool masked = row.mask != nullptr || params.flags & kAllowedOnly;
  if (params.flags & kAllowedOnly) {
    row.allowed = args.state.allowed + int64_t{task.slot} * args.state.mask_words;
  }

  Best best = load(row, slice, !greedy || constrained || wants_logprobs);
  if (constrained) best = constrain(args.state, params, task, slice);
  const uint64_t top = team.max(best.packed());
  const float max = value_of_best(top);
  Drawn drawn;
  if (!greedy) {
    drawn = draw(team, slice, histograms, params, max, task.uniform);
  } else if (max != kMasked) {
    drawn.token = id_of_best(top);
  }

  RowResult result;
  if (wants_logprobs) {
    if (params.flags & kProcessedLogprobs) {
      if (!greedy) best = process(slice, {max, params.temperature}, drawn.cut);
    } else if (constrained || masked) {
      row.mask = row.allowed = nullptr;
      __syncthreads();
      best = load(row, slice, true);
    }
    result = measure(team, slice, histograms.exact, best, drawn.token, args.vocab, task.top,
                     args.top + task.top_offset);
  }
  result.token = drawn.token;
  if (team.rank() == 0 && threadIdx.x == 0) remember(args.state, params, task.slot, drawn.token);
  return result;
}

__global__ void __cluster_dims__(kRowBlocks, 1, 1) __launch_bounds__(kThreads, 2)
    sample_kernel(const __grid_constant__ SampleArgs args) {
  extern __shared__ float4 shared[];
  __shared__ Scratch scratch;
  __shared__ Histograms histograms;
  static_assert(sizeof(Scratch) + sizeof(Histograms) + kMaxRowSlice * sizeof(float) <= 113 * 1024);
  const int index = blockIdx.x / kRowBlocks;
  const RowTask& task = args.rows[index];
  if (threadIdx.x == 0) scratch.emitted = scratch.num_listed = 0;
  cluster_sync();  // every block has started
  wait_for_previous();

  Team team(scratch);
  Slice slice;
  slice.values = reinterpret_cast<float*>(shared);
  slice.share = args.slice;
  slice.first = min(team.rank() * args.slice, args.vocab);
  slice.size = min(args.slice, args.vocab - slice.first);
  Row row;
  row.logits = args.logits + int64_t{index} * args.vocab;
  row.mask = task.mask < 0 ? nullptr : args.masks + int64_t{task.mask} * args.state.mask_words;
  row.allowed = nullptr;
  row.valid_vocab = args.valid_vocab;
  row.aligned = args.vocab % 4 == 0 && reinterpret_cast<uintptr_t>(args.logits) % 16 == 0;

  RowResult result;
  if (task.sample) {
    result = sample(team, args, task, row, slice, histograms);
  } else {
    row.mask = nullptr;
    const Best best = load(row, slice, true);
    result = measure(team, slice, histograms.exact, best, task.prompt_token, args.vocab, task.top,
                     args.top + task.top_offset);
    result.token = task.prompt_token;
  }
  if (team.rank() == 0 && threadIdx.x == 0) args.results[index] = result;
  cluster_sync();  // no block ends while another reads its memory
}

}  // namespace
}  // namespace row

void prepare_sample_rows(int vocab) {
  const int bytes = row_slice(vocab) * static_cast<int>(sizeof(float));
  check(cudaFuncSetAttribute(row::sample_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "cudaFuncSetAttribute");
  check(cudaFuncSetAttribute(row::sample_kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "cudaFuncSetAttribute");
}

void sample_rows(const SampleArgs& args, int num_rows, cudaStream_t stream) {
  const size_t bytes = args.slice * sizeof(float);
  launch(row::sample_kernel, num_rows * kRowBlocks, row::kThreads, bytes, stream, args);
}

}  // namespace outrider::cuda
