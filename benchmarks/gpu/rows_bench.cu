// Times the kernels between the products on rows of Scout's width: medians of CUDA-graph replays in which
// each launch waits for the one before, as in a step, and has rows of its own until their memory is used up.
//
//   bench_rows [rows...]
//
// Floor: each row's bytes once at 4.55 TB/s; of few rows the launch, about 2 us where each depends on the one
// before. Of up to 16 rows everything is found in the L2 cache, of more nothing; a step has there what the
// product before has just written.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "cuda/elementwise.h"
#include "cuda/launch.cuh"
#include "cuda/qkv_finish.h"
#include "replays.h"
#include "scattered.cuh"

namespace outrider::cuda {
namespace {

constexpr int kHidden = 5120, kExperts = 16, kHeads = 40, kKvHeads = 8, kHeadDim = 128;
constexpr int kQkv = (kHeads + 2 * kKvHeads) * kHeadDim;
constexpr int kMaxRows = 8192;
constexpr int kWeights = 8;  // layers
constexpr int kPageBytes = 2 * kPagePositions * kHeadDim * kKvHeads;
constexpr int kPages = 8192;
constexpr double kBandwidth = 4.55e12;

// bf16 within 2, two a word.
__global__ void fill(uint32_t* to, int64_t words) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < words;
       i += int64_t{gridDim.x} * blockDim.x) {
    const uint32_t x = scattered(i);
    to[i] = (x & 0x807f807fu) | 0x3f003f00u | (x >> 8 & 0x00800080u);
  }
}

DeviceBuffer filled(int64_t bytes) {
  DeviceBuffer buffer(bytes);
  fill<<<2048, 256>>>(buffer.as<uint32_t>(), bytes / 4);
  return buffer;
}

template <typename T>
DeviceBuffer copied(const std::vector<T>& values) {
  DeviceBuffer buffer(values.size() * sizeof(T));
  check(cudaMemcpy(buffer.as<T>(), values.data(), buffer.bytes(), cudaMemcpyHostToDevice), "cudaMemcpy");
  return buffer;
}

// What all kernels read and write: for 8192 rows twice, for fewer more often.
struct Memory {
  static constexpr int64_t kRows = 2 * kMaxRows;

  Memory() {
    std::mt19937 random(5);
    std::vector<int32_t> expert(kMaxRows), place(kMaxRows);
    for (int row = 0; row < kMaxRows; ++row) {
      expert[row] = static_cast<int>(random() % kExperts);
      place[row] = row;
    }
    experts = copied(expert);
    places = copied(place);
  }

  DeviceBuffer residual = filled(kRows * kHidden * 2), update = filled(kRows * kHidden * 2),
               expert_out = filled(kRows * kHidden * 2), normed = filled(kRows * kHidden * 2),
               codes = filled(kRows * kHidden), weight = filled(kWeights * kHidden * 2),
               router = filled(int64_t{kWeights} * kExperts * kHidden * 2), qkv = filled(kRows * kQkv * 2),
               q = filled(kRows * kHidden * 2), cache = filled(int64_t{kPages} * kPageBytes);
  // Every call has these from row 0 on.
  DeviceBuffer experts, places, scores = filled(kMaxRows * 4),
                                scales = copied(std::vector<float>(kExperts, 0.01f)),
                                begins = filled(4 * (kExperts + 1)), chosen = filled(kMaxRows * 4);
};

class Bench {
 public:
  explicit Bench(const Memory& memory) : memory_(memory) {}

  void run(int rows) {
    rows_ = rows;
    const int64_t row = kHidden * 2;
    // residual, update and an expert's row; residual and FP8.
    time("add_norm", 4 * row + row / 2, [&](int i) { add_norm(norm(i, true), stream_); });
    if (rows <= kFewTokens) {
      time("route, few rows", 3 * row + row, [&](int i) { route_few(i); });
    }
    time("route", 4 * row + row / 2, [&](int i) { route(i); });
    time("dispatch", row + row / 2, [&](int i) { dispatch_rows(i); });
    const int64_t finish_bytes = kQkv * 2 + row + 2 * kKvHeads * kHeadDim;
    if (rows * 4 <= kPages) finish("qkv_finish, decoded", finish_bytes, false);
    if (rows > 32) finish("qkv_finish, prompt", finish_bytes, true);
  }

 private:
  // Rows of call i lie from here on.
  int64_t first_row(int i) const { return i % (Memory::kRows / rows_) * int64_t{rows_}; }
  template <typename T = uint8_t>
  T* at(const DeviceBuffer& buffer, int i, int64_t row_bytes) const {
    return reinterpret_cast<T*>(buffer.as<uint8_t>() + first_row(i) * row_bytes);
  }
  void time(const char* name, int64_t row_bytes, const std::function<void(int)>& enqueue) {
    const double us = median_us(stream_, rows_ > 1024 ? 16 : 64, enqueue);
    const double floor = static_cast<double>(row_bytes) * rows_ / kBandwidth * 1e6;
    std::printf("%-20s %6d rows %9.1f us  floor %9.2f  ratio %.2f\n", name, rows_, us, floor, us / floor);
    std::fflush(stdout);
  }

  AddNorm norm(int i, bool experts) const {
    AddNorm call;
    call.rows = rows_;
    call.hidden = kHidden;
    call.residual = at(memory_.residual, i, kHidden * 2);
    call.update = at(memory_.update, i, kHidden * 2);
    call.experts_per_token = 1;
    if (experts) {
      call.expert_out = at(memory_.expert_out, i, kHidden * 2);
      call.place_of_pair = memory_.places.as<int32_t>();
    }
    call.weight = memory_.weight.as<uint8_t>() + i % kWeights * kHidden * 2;
    call.out = {ElementType::kFp8, at(memory_.codes, i, kHidden), 0.01f};
    return call;
  }
  AddNormRoute route_call(int i) const {
    AddNormRoute call;
    call.norm = norm(i, false);
    call.router = memory_.router.as<uint8_t>() + int64_t{i % kWeights} * kExperts * kHidden * 2;
    call.experts = kExperts;
    call.normed = at(memory_.normed, i, kHidden * 2);
    call.expert_of_pair = memory_.chosen.as<int32_t>();
    call.rank_of_pair = counts_.as<int32_t>() + kExperts;
    call.count_of_expert = counts_.as<int32_t>();
    call.score_of_pair = memory_.scores.as<float>();
    return call;
  }
  void route(int i) { add_norm_route(route_call(i), stream_); }
  void route_few(int i) {
    add_norm_route_few(route_call(i),
                       {{ElementType::kFp8, at(memory_.q, i, kHidden), 1.0f}, memory_.scales.as<float>()},
                       stream_);
  }
  void dispatch_rows(int i) {
    dispatch({rows_,
              kHidden,
              kExperts,
              1,
              at(memory_.normed, i, kHidden * 2),
              memory_.experts.as<int32_t>(),
              memory_.places.as<int32_t>(),
              no_counts_.as<int32_t>(),
              memory_.scores.as<float>(),
              memory_.scales.as<float>(),
              places_out_.as<int32_t>(),
              memory_.begins.as<int32_t>(),
              {ElementType::kFp8, at(memory_.codes, i, kHidden), 1.0f}},
             stream_);
  }

  // Decoded: a sequence a row, each at a position of its own. Prompt: one sequence.
  void finish(const char* name, int64_t row_bytes, bool prompt) {
    std::mt19937 random(rows_);
    std::vector<int32_t> position(rows_), sequence(rows_), pages;
    const int blocks = prompt ? (rows_ + kPagePositions - 1) / kPagePositions : 1;
    const int pages_a_call = prompt ? blocks : rows_, sets = std::max(1, std::min(64, kPages / pages_a_call));
    for (int row = 0; row < rows_; ++row) {
      position[row] = prompt ? row : static_cast<int>(random() % kPagePositions);
      sequence[row] = prompt ? 0 : row;
    }
    for (int page = 0; page < sets * pages_a_call; ++page) pages.push_back(page);
    std::vector<float> frequency(kHeadDim / 2, 0.01f);
    const DeviceBuffer positions = copied(position), sequences = copied(sequence), table = copied(pages),
                       frequencies = copied(frequency);
    time(name, row_bytes, [&](int i) {
      QkvFinish call;
      call.batch.num_rows = rows_;
      call.batch.num_sequences = prompt ? 1 : rows_;
      call.batch.positions = positions.as<int32_t>();
      call.batch.sequence_of_row = sequences.as<int32_t>();
      call.batch.pages = table.as<int32_t>() + i % sets * pages_a_call;
      call.batch.num_groups = 1;
      call.batch.blocks_per_row = blocks;
      call.qkv = at(memory_.qkv, i, kQkv * 2);
      call.q = at(memory_.q, i, kHidden * 2);
      call.cache = {memory_.cache.as<uint8_t>(),
                    kPageBytes,
                    kPageBytes / kKvHeads,
                    kKvHeads,
                    kHeadDim,
                    model::KvDtype::kFp8E4m3,
                    0.02f,
                    0.02f};
      call.heads = kHeads;
      call.rope_frequencies = frequencies.as<float>();
      call.use_qk_norm = true;
      qkv_finish(call, stream_);
    });
  }

  const Memory& memory_;
  Stream stream_;
  int rows_ = 0;
  // Counts, then the ranks that come of them; counts that stay zero, so that a rank is a place.
  DeviceBuffer counts_ = copied(std::vector<int32_t>(kExperts + kMaxRows)),
               no_counts_ = copied(std::vector<int32_t>(kExperts)), places_out_ = DeviceBuffer(kMaxRows * 4);
};

}  // namespace

int bench_rows(const std::vector<int>& rows) {
  const Memory memory;
  check(cudaDeviceSynchronize(), "fill");
  Bench bench(memory);
  for (int count : rows) bench.run(count);
  return 0;
}

}  // namespace outrider::cuda

int main(int argc, char** argv) {
  std::vector<int> rows;
  for (int i = 1; i < argc; ++i) rows.push_back(std::clamp(std::atoi(argv[i]), 1, 8192));
  if (rows.empty()) rows = {1, 16, 64, 240, 512, 1024, 8192};
  return outrider::cuda::bench_rows(rows);
}
