// Times loading: an FP8 checkpoint of a few layers of Scout's width (8.9 GB), fused experts, from the page
// cache and from disk, beside what PCIe, memory and disk give on their own.
//
//   bench_load CONFIG FOLDER [tune]
//
// CONFIG: benchmarks/gpu/scout. FOLDER, on the disk to be measured, is written where it does not exist, and
// is left there. With "tune": other lengths of pieces and numbers of threads too.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/load.h"
#include "cuda/device_weights.h"
#include "cuda/weight_layout.h"
#include "cuda/weight_transfer.h"

namespace outrider::cuda {
namespace {

namespace fs = std::filesystem;

constexpr int kLayers = 4, kThreads = 12;
constexpr int64_t kMiB = 1 << 20;
constexpr double kMostSeconds = 15;  // of a load from a slow disk: fewer layers then

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double seconds_of(const std::function<void()>& work) {
  const double begin = seconds_now();
  work();
  return seconds_now() - begin;
}

void show(const std::string& what, int64_t bytes, double seconds) {
  std::printf("%-64s %7.2f GB %8.3f s %6.2f GB/s\n", what.c_str(), static_cast<double>(bytes) * 1e-9, seconds,
              static_cast<double>(bytes) * 1e-9 / seconds);
  std::fflush(stdout);
}

// body(i) for i in [0, count), in order, by so many threads.
void in_parallel(int threads, int64_t count, const std::function<void(int, int64_t)>& body) {
  std::atomic<int64_t> next = 0;
  std::vector<std::jthread> all;
  for (int t = 0; t < threads; ++t) {
    all.emplace_back([&, t] {
      for (int64_t i = next++; i < count; i = next++) body(t, i);
    });
  }
}

// --- the checkpoint

class File {
 public:
  File(const std::string& path, int flags) : file_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  ~File() {
    if (file_ >= 0) ::close(file_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  operator int() const { return file_; }

 private:
  const int file_;
};

struct Shard {
  nlohmann::json header = nlohmann::json::object();
  int64_t bytes = 0;
  std::vector<int64_t> scales;  // where fp32 ones lie

  void add(const std::string& name, const char* dtype, int element_bytes, const std::vector<int64_t>& shape) {
    int64_t size = element_bytes;
    for (const int64_t n : shape) size *= n;
    if (shape.empty()) scales.push_back(bytes);
    header[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {bytes, bytes + size}}};
    bytes += size;
  }
  void bf16(const std::string& name, const std::vector<int64_t>& shape) { add(name, "BF16", 2, shape); }
  void fp8(const std::string& name, const char* weight, char joint, const std::vector<int64_t>& shape) {
    add(name + weight, "F8_E4M3", 1, shape);
    for (const char* scale : {"weight_scale", "input_scale"}) add(name + joint + scale, "F32", 4, {});
  }

  void write(const std::string& path) const {
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    const uint64_t length = text.size();
    const auto begin = static_cast<int64_t>(8 + length);
    const File file(path, O_WRONLY | O_CREAT | O_TRUNC);
    static const std::vector<uint64_t> noise = [] {
      std::vector<uint64_t> words(10 * kMiB / 8);
      std::mt19937_64 random(1);
      for (uint64_t& word : words) word = random();
      return words;
    }();
    constexpr int64_t kPiece = 8 * kMiB;
    std::atomic<bool> good = ::pwrite(file, &length, 8, 0) == 8 &&
                             ::pwrite(file, text.data(), length, 8) == static_cast<ssize_t>(length);
    in_parallel(8, (bytes + kPiece - 1) / kPiece, [&](int, int64_t i) {
      const int64_t count = std::min(kPiece, bytes - i * kPiece);
      const auto* from = reinterpret_cast<const char*>(noise.data()) + i * 4096 % (2 * kMiB);
      if (::pwrite(file, from, count, begin + i * kPiece) != count) good = false;
    });
    const float one = 1.0f;
    for (const int64_t at : scales)
      if (::pwrite(file, &one, 4, begin + at) != 4) good = false;
    if (!good) throw StartupError(path + ": cannot write: " + std::strerror(errno));
  }
};

std::string read_text(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_checkpoint(const std::string& config_folder, const std::string& folder) {
  const nlohmann::json few_layers = {{"num_hidden_layers", kLayers},
                                     {"vocab_size", 4096},
                                     {"bos_token_id", 0},
                                     {"eos_token_id", 1},
                                     {"pad_token_id", nullptr}};
  const std::string path = config_folder + "/config.json";
  const std::string text = model::merge_hf_overrides(read_text(path), few_layers.dump(), path);
  const model::LlamaConfig c = model::parse_config(text, path);
  fs::create_directories(folder);
  const int64_t hidden = c.hidden_size, inner = c.intermediate_size, q = c.q_size(), kv = c.kv_size();
  Shard first;
  first.bf16("model.embed_tokens.weight", {c.vocab_size, hidden});
  first.bf16("lm_head.weight", {c.vocab_size, hidden});
  first.bf16("model.norm.weight", {hidden});
  first.write(folder + "/model-0.safetensors");
  for (int layer = 0; layer < kLayers; ++layer) {
    const std::string at = "model.layers." + std::to_string(layer) + ".", mlp = at + "feed_forward.";
    Shard shard;
    shard.bf16(at + "input_layernorm.weight", {hidden});
    shard.bf16(at + "post_attention_layernorm.weight", {hidden});
    shard.bf16(mlp + "router.weight", {c.num_experts, hidden});
    shard.fp8(mlp + "experts.down_proj", "", '_', {c.num_experts, inner, hidden});
    shard.fp8(mlp + "experts.gate_up_proj", "", '_', {c.num_experts, hidden, 2 * inner});
    for (const char* name : {"gate", "up"})
      shard.fp8(mlp + "shared_expert." + name + "_proj", ".weight", '.', {inner, hidden});
    shard.fp8(mlp + "shared_expert.down_proj", ".weight", '.', {hidden, inner});
    shard.fp8(at + "self_attn.q_proj", ".weight", '.', {q, hidden});
    for (const char* name : {"k", "v"})
      shard.fp8(at + "self_attn." + name + "_proj", ".weight", '.', {kv, hidden});
    shard.fp8(at + "self_attn.o_proj", ".weight", '.', {hidden, q});
    shard.write(folder + "/model-" + std::to_string(layer + 1) + ".safetensors");
  }
  std::ofstream(folder + "/config.json") << text;  // last: it says that the rest is there
}

std::vector<std::string> shards(const std::string& folder) {
  std::vector<std::string> paths;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".safetensors") paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  return paths;
}

model::Model open_model(const std::string& folder, int layers) {
  checkpoint::LoadOptions options;
  options.hf_overrides = nlohmann::json{{"num_hidden_layers", layers}}.dump();
  return checkpoint::load(folder, options);
}

// --- the page cache

double share_in_cache(const std::string& folder) {
  int64_t pages = 0, present = 0;
  for (const std::string& path : shards(folder)) {
    const File file(path, O_RDONLY);
    const auto size = static_cast<size_t>(fs::file_size(path));
    void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
    std::vector<unsigned char> there((size + 4095) / 4096);
    if (mapping != MAP_FAILED && ::mincore(mapping, size, there.data()) == 0)
      present += std::count_if(there.begin(), there.end(), [](unsigned char byte) { return byte & 1; });
    if (mapping != MAP_FAILED) ::munmap(mapping, size);
    pages += static_cast<int64_t>(there.size());
  }
  return static_cast<double>(present) / static_cast<double>(pages);
}

void drop_caches(const std::string& folder) {
  for (const std::string& path : shards(folder)) {
    const File file(path, O_RDONLY);
    ::fdatasync(file);
    ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  }
  std::ofstream("/proc/sys/vm/drop_caches") << "3" << std::flush;  // as root, and not in every container
  std::printf("  dropped from the page cache; %.1f %% of the files are still there\n",
              100 * share_in_cache(folder));
}

// --- what each part gives on its own

struct Aligned {  // memory for each of some threads
  Aligned(int count, int64_t bytes) : bytes_(bytes) {
    data_ = static_cast<char*>(std::aligned_alloc(2 * kMiB, count * bytes));
    std::memset(data_, 1, count * bytes);
  }
  ~Aligned() { std::free(data_); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  char* of(int i) const { return data_ + i * bytes_; }

 private:
  const int64_t bytes_;
  char* data_;
};

void measure_pcie() {
  constexpr int64_t kBytes = 64 * kMiB;
  constexpr int kRounds = 100;
  const PinnedBuffer host(kBytes);
  const DeviceBuffer device(kBytes);
  const Stream stream;
  const auto copies = [&](int rounds) {
    for (int i = 0; i < rounds; ++i)
      check(cudaMemcpyAsync(device.as<void>(), host.as<void>(), kBytes, cudaMemcpyHostToDevice, stream),
            "copy");
    stream.wait();
  };
  copies(3);
  show("pinned copies of 64 MiB", kRounds * kBytes, seconds_of([&] { copies(kRounds); }));
}

void measure_pinning() {
  constexpr int64_t kBytes = 40 * kMiB;
  for (int round = 0; round < 2; ++round) {
    std::printf("40 MiB pinned: cudaMallocHost %.1f ms;",
                1e3 * seconds_of([&] { PinnedBuffer pinned(kBytes); }));
    const Aligned memory(1, kBytes);
    const double seconds = seconds_of(
        [&] { check(cudaHostRegister(memory.of(0), kBytes, cudaHostRegisterDefault), "cudaHostRegister"); });
    std::printf(" cudaHostRegister %.1f ms;", 1e3 * seconds);
    std::printf(" cudaHostUnregister %.1f ms\n", 1e3 * seconds_of([&] { cudaHostUnregister(memory.of(0)); }));
  }
}

// All files in order, by several threads; at most `most` seconds. Bytes per second; 0 where it cannot be
// done.
double measure_reading(const std::string& folder, const char* what, int flags, int threads, int64_t piece,
                       double most) {
  struct Part {
    int file;
    int64_t at;
  };
  std::vector<std::unique_ptr<File>> files;
  std::vector<Part> parts;
  for (const std::string& path : shards(folder)) {
    files.push_back(std::make_unique<File>(path, O_RDONLY | flags));
    for (int64_t at = 0; at < static_cast<int64_t>(fs::file_size(path)); at += piece)
      parts.push_back({*files.back(), at});
  }
  const Aligned memory(threads, piece);
  std::atomic<int64_t> bytes = 0;
  std::atomic<bool> good = true;
  const double begin = seconds_now();
  in_parallel(threads, static_cast<int64_t>(parts.size()), [&](int thread, int64_t i) {
    if (!good || seconds_now() - begin > most) return;
    const ssize_t got = ::pread(parts[i].file, memory.of(thread), piece, parts[i].at);
    if (got < 0) good = false;
    if (got > 0) bytes += got;
  });
  const double seconds = seconds_now() - begin;
  if (!good) {
    std::printf("%s: %s\n", what, std::strerror(errno));
    return 0;
  }
  show(std::string(what) + ", " + std::to_string(threads) + " x " + std::to_string(piece / kMiB) + " MiB",
       bytes, seconds);
  return static_cast<double>(bytes) / seconds;
}

// --- the loader

void measure_upload(const std::string& folder, int layers, const char* what) {
  const model::Model model = open_model(folder, layers);
  const int64_t bytes = device_weight_bytes(model);
  const double seconds = seconds_of([&] { upload(model); });
  show(std::string(what) + ", with the device's memory got and given back", bytes, seconds);
}

void tune(const std::string& folder) {
  const model::Model model = open_model(folder, kLayers);
  const DeviceBuffer memory(device_weight_bytes(model));
  const auto measure = [&](int64_t piece_bytes, const TransferOptions& options) {
    const WeightLayout layout = lay_out(model, memory.as<uint8_t>(), piece_bytes);
    double best = 1e9, worst = 0;
    for (int round = 0; round < 3; ++round) {
      const double seconds = seconds_of([&] { transfer(layout.pieces, model.weights, options); });
      best = std::min(best, seconds);
      worst = std::max(worst, seconds);
    }
    std::printf("pieces of %4ld KiB, %2d readers, %d in flight, %2d ahead: %.2f to %.2f GB/s\n",
                static_cast<long>(piece_bytes >> 10), options.readers, options.in_flight, options.ahead,
                static_cast<double>(layout.bytes) * 1e-9 / worst,
                static_cast<double>(layout.bytes) * 1e-9 / best);
    std::fflush(stdout);
  };
  for (const int64_t piece_bytes : {kMiB / 2, kMiB, 2 * kMiB, 4 * kMiB})
    for (const int readers : {6, 8, 10, 12, 14}) measure(piece_bytes, {readers, 4, 4});
  for (const int in_flight : {2, 3, 6, 8}) measure(2 * kMiB, {12, in_flight, 4});
  for (const int ahead : {0, 8, 16}) measure(2 * kMiB, {12, 4, ahead});
}

void run(const std::string& config_folder, const std::string& folder, bool tuning) {
  if (!fs::exists(folder + "/config.json")) {
    const double seconds = seconds_of([&] { write_checkpoint(config_folder, folder); });
    std::printf("checkpoint written in %.1f s\n", seconds);
  }
  check(cudaFree(nullptr), "cudaFree");  // makes the context
  std::printf("from the page cache (%.1f %% of the files are there)\n", 100 * share_in_cache(folder));
  measure_pcie();
  measure_pinning();
  for (int round = 0; round < 2; ++round)
    measure_reading(folder, "read alone", 0, kThreads, 2 * kMiB, kMostSeconds);
  for (int round = 0; round < 5; ++round) measure_upload(folder, kLayers, "loaded");
  if (tuning) tune(folder);
  std::printf("from disk\n");
  for (int round = 0; round < 2; ++round) {
    drop_caches(folder);
    double rate = measure_reading(folder, "disk alone, O_DIRECT", O_DIRECT, 16, 4 * kMiB, 4);
    drop_caches(folder);
    if (rate == 0) {
      rate = measure_reading(folder, "disk alone, through the page cache", 0, 16, 4 * kMiB, 4);
      drop_caches(folder);
    }
    constexpr double kLayerBytes = 2.2e9;
    const int layers = std::clamp(static_cast<int>(rate * kMostSeconds / kLayerBytes), 1, kLayers);
    measure_upload(folder, layers, "loaded from disk");
  }
}

}  // namespace
}  // namespace outrider::cuda

int main(int argc, char** argv) {
  using namespace outrider;
  if (argc < 3 || (argc > 3 && std::string_view(argv[3]) != "tune")) {
    std::fprintf(stderr, "usage: %s CONFIG FOLDER [tune]\n", argv[0]);
    return 2;
  }
  log::configure({});
  try {
    cuda::run(argv[1], argv[2], argc > 3);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
