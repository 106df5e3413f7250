// Times attention over the paged cache at Scout's shape: medians of CUDA-graph replays, each launch of a
// graph on pages of its own, so that nothing but the tables is found in the L2 cache. With what finishes q, k
// and v where attention does that itself.
//
//   bench_attention [fp8|bf16]
//
// Floor: K and V bytes once at the rate that a plain read kernel reaches here, or the products' operations at
// 790 TFLOP/s (dense bf16), whichever is longer.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "cuda/attention.h"
#include "cuda/kv_image.cuh"
#include "cuda/launch.cuh"
#include "replays.h"
#include "scattered.cuh"

namespace outrider::cuda {
namespace {

constexpr double kTensorRate = 790e12;  // operations a second
constexpr int64_t kPoolBytes = int64_t{3} << 30;

struct Point {
  const char* name;
  int sequences, context, new_tokens;  // positions before the new ones
};
constexpr Point kPoints[] = {
    {"decode at 1536", 1, 1535, 1},           {"decode at 1536", 8, 1535, 1},
    {"decode at 1536", 64, 1535, 1},          {"decode at 1536", 256, 1535, 1},
    {"decode at 1536", 512, 1535, 1},         {"decode at 8192", 64, 8191, 1},
    {"decode at 131072", 1, 131071, 1},       {"prefill, 1024 each", 1, 0, 1024},
    {"prefill, 1024 each", 8, 0, 1024},       {"prefill, 8192", 1, 0, 8192},
    {"prefill after 100000", 1, 100000, 256},
};

// Codes of moderate size; never NaN.
__global__ void fill(uint32_t* words, int64_t count, bool fp8) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    const uint32_t x = scattered(i);
    words[i] = fp8 ? (x & 0x8f8f8f8fu) | 0x30303030u : (x & 0x80ff80ffu) | 0x3f003f00u;
  }
}

__global__ void read_all(const int4* from, int64_t count, int* sink) {
  int4 sum{};
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    const int4 x = __ldcs(from + i);
    sum.x ^= x.x ^ x.y ^ x.z ^ x.w;
  }
  if (sum.x == 0x12345678) *sink = sum.x;
}

template <typename T>
DeviceBuffer to_device(const std::vector<T>& values) {
  DeviceBuffer buffer(std::max<size_t>(values.size() * sizeof(T), 16));
  check(cudaMemcpy(buffer.as<void>(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice),
        "cudaMemcpy");
  return buffer;
}

class Bench {
 public:
  explicit Bench(model::KvDtype dtype)
      : shape_{40, 8, 128, dtype},
        num_sms_(attribute(cudaDevAttrMultiProcessorCount)),
        attention_(shape_, num_sms_),
        page_bytes_(shape_.kv_heads * kv_image_bytes(dtype, shape_.head_dim)),
        pool_(kPoolBytes) {
    fill<<<num_sms_ * 8, 256>>>(pool_.as<uint32_t>(), kPoolBytes / 4, dtype == model::KvDtype::kFp8E4m3);
    check(cudaDeviceSynchronize(), "fill");
    const DeviceBuffer sink(4);
    bandwidth_ =
        kPoolBytes * 1e6 / median_us(stream_, 2, [&](int) {
          read_all<<<num_sms_ * 16, 256, 0, stream_>>>(pool_.as<int4>(), kPoolBytes / 16, sink.as<int>());
        });
    std::printf("%d SMs, plain reads %.2f TB/s\n", num_sms_, bandwidth_ * 1e-12);
  }

  void run(const Point& point) {
    const int length = point.context + point.new_tokens;
    const int blocks = (length + kPagePositions - 1) / kPagePositions, pages = point.sequences * blocks;
    const int pool_pages = static_cast<int>(kPoolBytes / page_bytes_);
    if (pages > pool_pages) return;
    const int sets = std::min(pool_pages / pages, 20);
    std::vector<int32_t> table(pool_pages);
    for (int i = 0; i < pool_pages; ++i) table[i] = i;
    std::shuffle(table.begin(), table.end(), std::mt19937(1));

    std::vector<BatchSequence> batch;
    double keys = 0;
    for (int s = 0; s < point.sequences; ++s) {
      batch.push_back({s * point.new_tokens, point.new_tokens, point.context, s});
      for (int i = 0; i < point.new_tokens; ++i) keys += point.context + i + 1;
    }
    AttentionWork work;
    plan_attention(batch, 0, attention_.tiling(4096), work);
    const int64_t elements = int64_t{point.sequences} * point.new_tokens * shape_.heads * shape_.head_dim;
    const DeviceBuffer table_device = to_device(table), narrow = to_device(work.narrow),
                       wide = to_device(work.wide), merges = to_device(work.merges),
                       counts = to_device(std::vector<int32_t>{static_cast<int>(work.narrow.size()),
                                                               static_cast<int>(work.wide.size()),
                                                               static_cast<int>(work.merges.size())});
    const int64_t qkv_elements = elements / shape_.heads * (shape_.heads + 2 * shape_.kv_heads);
    const DeviceBuffer qkv(qkv_elements * 2), out(elements * 2),
        partials(attention_workspace_bytes(shape_, std::max(work.num_partials, 1)));
    fill<<<num_sms_, 256>>>(qkv.as<uint32_t>(), qkv_elements / 2, false);
    check(cudaDeviceSynchronize(), "fill");

    AttentionCall call;
    call.cache = {pool_.as<uint8_t>(),
                  page_bytes_,
                  page_bytes_ / shape_.kv_heads,
                  shape_.kv_heads,
                  shape_.head_dim,
                  shape_.dtype,
                  0.05f,
                  0.05f};
    call.q = qkv.as<void>();
    call.out = {ElementType::kBf16, out.as<void>(), 1.0f};
    call.page_stride = blocks;
    call.lists = {narrow.as<AttentionTile>(),
                  wide.as<AttentionTile>(),
                  merges.as<AttentionMerge>(),
                  counts.as<int32_t>(),
                  !work.narrow.empty(),
                  !work.wide.empty(),
                  static_cast<int>(work.merges.size())};
    call.partials = partials.as<float>();
    std::vector<int32_t> sequence_of_row(point.sequences);  // of those that decode
    std::iota(sequence_of_row.begin(), sequence_of_row.end(), 0);
    const DeviceBuffer of_row = to_device(sequence_of_row),
                       positions = to_device(std::vector<int32_t>(point.sequences, point.context));
    QkvFinish finish;
    finish.batch.num_rows = finish.batch.num_sequences = point.sequences;
    finish.batch.positions = positions.as<int32_t>();
    finish.batch.sequence_of_row = of_row.as<int32_t>();
    finish.batch.num_groups = 1;
    finish.batch.blocks_per_row = blocks;
    finish.qkv = qkv.as<void>();
    finish.cache = call.cache;
    finish.heads = shape_.heads;
    const double seconds = 1e-6 * median_us(stream_, 20, [&](int i) {
                             finish.batch.pages = call.pages = table_device.as<int32_t>() + i % sets * pages;
                             if (!work.finishes) return attention_(call, stream_);
                             attention_.decode(finish, call, stream_);
                           });
    print(point, keys, seconds);
  }

 private:
  // `keys`: that all rows see, added up.
  void print(const Point& point, double keys, double seconds) const {
    const int length = point.context + point.new_tokens;
    const double bytes = double(point.sequences) * length * page_bytes_ / kPagePositions;
    const double operations = 4.0 * shape_.head_dim * shape_.heads * keys;
    const double floor = std::max(bytes / bandwidth_, operations / kTensorRate);
    std::printf("%-28s %6d rows %9.1f us  floor %9.1f  ratio %.2f  %6.2f TB/s %6.0f TFLOP/s\n", point.name,
                point.sequences * point.new_tokens, seconds * 1e6, floor * 1e6, seconds / floor,
                bytes / seconds * 1e-12, operations / seconds * 1e-12);
    std::fflush(stdout);
  }

  static int attribute(cudaDeviceAttr what) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, what, 0), "cudaDeviceGetAttribute");
    return value;
  }

  AttentionShape shape_;
  int num_sms_;
  Attention attention_;
  int64_t page_bytes_;
  DeviceBuffer pool_;
  Stream stream_;
  double bandwidth_ = 0;
};

}  // namespace
}  // namespace outrider::cuda

int main(int argc, char** argv) {
  using namespace outrider;
  const bool bf16 = argc > 1 && std::strcmp(argv[1], "bf16") == 0;
  try {
    cuda::Bench bench(bf16 ? model::KvDtype::kBf16 : model::KvDtype::kFp8E4m3);
    for (const cuda::Point& point : cuda::kPoints) bench.run(point);
  } catch (const cuda::DeviceError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
