#include "cuda/device_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <exception>
#include <mutex>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "cuda/generate.h"
#include "cuda/repack.h"

namespace outrider::cuda {
namespace {

using model::Layout;
using model::Matrix;
using model::WeightFormat;

constexpr int64_t kPieceBytes = 4 << 20;
constexpr int64_t kAlignment = 1024;
constexpr int kCopyThreads = 12;

int element_bytes(const Matrix& m) { return m.format == WeightFormat::kFp8 ? 1 : 2; }

// Lines of one matrix that travel together. A line is what lies contiguous in the file: a row, or a column.
struct Piece {
  const Matrix* from;
  Place to;
  int64_t begin, count;
};

// Decides where everything goes (twice: first to learn the size, with a null base), and collects what is to
// be copied.
class Layouter {
 public:
  Layouter(const model::Model& model, uint8_t* base)
      : config_(model.config), weights_(model.weights), base_(base) {}

  DeviceWeights build() {
    DeviceWeights out;
    out.embed = plain(weights_.embed);
    out.final_norm = vector(weights_.final_norm, config_.hidden_size);
    out.lm_head = stack({&weights_.lm_head}, 1, "lm_head");
    out.layers.resize(weights_.layers.size());
    for (size_t l = 0; l < out.layers.size(); ++l) layer(weights_.layers[l], out.layers[l]);
    return out;
  }

  int64_t bytes() const { return next_; }
  const std::vector<Piece>& pieces() const { return pieces_; }
  const std::vector<std::pair<const float*, std::vector<float>>>& scales() const { return scales_; }
  const std::vector<std::pair<void*, std::pair<const void*, int64_t>>>& vectors() const { return vectors_; }

 private:
  uint8_t* take(int64_t bytes) {
    uint8_t* at = base_ + next_;  // a null base only counts
    next_ = (next_ + bytes + kAlignment - 1) / kAlignment * kAlignment;
    return at;
  }

  const void* vector(const uint16_t* from, int n) {
    void* to = take(2 * int64_t{n});
    vectors_.push_back({to, {from, 2 * int64_t{n}}});
    return to;
  }

  const void* plain(const Matrix& m) {
    const int64_t row_bytes = int64_t{m.cols} * element_bytes(m);
    uint8_t* to = take(m.rows * row_bytes);
    add_pieces(m, {.base = to, .row_bytes = row_bytes});
    return to;
  }

  const float* device_scales(std::vector<float> values) {
    const auto* to =
        reinterpret_cast<const float*>(take(static_cast<int64_t>(values.size() * sizeof(float))));
    scales_.emplace_back(to, std::move(values));
    return to;
  }

  void add_pieces(const Matrix& m, const Place& to) {
    const bool by_row = m.layout == Layout::kRowMajor;
    const int64_t lines = by_row ? m.rows : m.cols,
                  line_bytes = int64_t{by_row ? m.cols : m.rows} * element_bytes(m);
    const int64_t at_once = std::max<int64_t>(1, kPieceBytes / line_bytes);
    for (int64_t begin = 0; begin < lines; begin += at_once) {
      pieces_.push_back({&m, to, begin, std::min(at_once, lines - begin)});
    }
  }

  // Matrices of `groups` groups, one below the other; all of them share type and width. Gated: gate and up of
  // each group.
  DeviceLinear stack(const std::vector<const Matrix*>& parts, int groups, const char* name,
                     bool gated = false) {
    const Matrix& first = *parts.front();
    check(parts, name);
    const int a_group = static_cast<int>(parts.size()) / groups;
    int64_t rows = 0;
    for (const Matrix* part : parts) rows += part->rows;
    const int features = static_cast<int>(rows / groups);
    uint8_t* to = take(rows * first.cols * element_bytes(first));
    uint8_t* next = to;
    std::vector<float> scales, input_scales;
    for (int g = 0; g < groups; ++g) {
      float input_scale = 1.0f;
      if (first.format == WeightFormat::kFp8) {  // parts share their input: one scale for it, the largest
        input_scale = 0.0f;
        for (int i = 0; i < a_group; ++i)
          input_scale = std::max(input_scale, parts[g * a_group + i]->input_scale);
      }
      input_scales.push_back(input_scale);
      for (int i = 0; i < a_group; ++i) {
        const Matrix& part = *parts[g * a_group + i];
        const int64_t row_bytes = int64_t{part.cols} * element_bytes(part);
        add_pieces(part, {next, row_bytes, true, gated, gated && i > 0});
        if (gated) continue;
        next += part.rows * row_bytes;
        scales.insert(scales.end(), part.rows / kFeatureTile, part.weight_scale * input_scale);
      }
      if (gated) {
        next += int64_t{features} * first.cols * element_bytes(first);
        for (int tile = 0; tile < features / kFeatureTile; ++tile) {
          for (int i = 0; i < 2; ++i) scales.push_back(parts[g * 2 + i]->weight_scale * input_scale);
        }
      }
    }
    DeviceLinear out;
    out.input_scale = input_scales.front();
    const float* device = device_scales(std::move(scales));
    if (groups > 1) out.input_scale_of_group = device_scales(std::move(input_scales));
    const ElementType type = first.format == WeightFormat::kFp8 ? ElementType::kFp8 : ElementType::kBf16;
    if (base_) out.w = make_gemm_weights(type, to, groups, features, first.cols, device, gated);
    return out;
  }

  void check(const std::vector<const Matrix*>& parts, const char* name) const {
    const auto refuse = [&](const std::string& what) {
      throw StartupError(std::string("the CUDA runner does not take ") + name + ": " + what +
                         "; use --device cpu");
    };
    const Matrix& first = *parts.front();
    for (const Matrix* part : parts) {
      if (part->format == WeightFormat::kNvfp4) refuse("NVFP4 weights are not built yet");
      if (part->format != first.format) refuse("its parts have different types");
      if (part->cols * element_bytes(*part) % 128 != 0) {
        refuse("an input size of " + std::to_string(part->cols) + " is no multiple of 128 bytes");
      }
      if (part->rows % kFeatureTile != 0) {
        refuse("an output size of " + std::to_string(part->rows) + " is no multiple of " +
               std::to_string(kFeatureTile));
      }
      if (part->format == WeightFormat::kFp8 && !(part->input_scale > 0.0f))
        refuse("it has no static input_scale");
    }
  }

  DeviceMlp mlp(const std::vector<const model::Mlp*>& from, const char* name) {
    std::vector<const Matrix*> gate_up, down;
    for (const model::Mlp* m : from) {
      gate_up.insert(gate_up.end(), {&m->gate, &m->up});
      down.push_back(&m->down);
    }
    const int groups = static_cast<int>(from.size());
    return {stack(gate_up, groups, (std::string(name) + " gate and up").c_str(), true),
            stack(down, groups, (std::string(name) + " down").c_str())};
  }

  void layer(const model::Layer& from, DeviceLayer& to) {
    to.input_norm = vector(from.input_norm, config_.hidden_size);
    to.post_attention_norm = vector(from.post_attention_norm, config_.hidden_size);
    to.qkv = stack({&from.q, &from.k, &from.v}, 1, "q, k and v");
    to.o = stack({&from.o}, 1, "o_proj");
    to.k_scale = from.k_scale;
    to.v_scale = from.v_scale;
    if (from.experts.empty()) {
      to.dense = mlp({&from.dense}, "dense MLP");
      return;
    }
    to.router = plain(from.router);
    std::vector<const model::Mlp*> experts;
    for (const model::Mlp& expert : from.experts) experts.push_back(&expert);
    if (experts.size() < kMaxGroups && alike(from.shared_expert, from.experts.front())) {
      const int groups = static_cast<int>(experts.size());
      experts.insert(experts.begin(), &from.shared_expert);
      to.all_experts = mlp(experts, "experts");
      to.shared_expert = {part_of(to.all_experts.gate_up, 0, 1), part_of(to.all_experts.down, 0, 1)};
      to.experts = {part_of(to.all_experts.gate_up, 1, groups), part_of(to.all_experts.down, 1, groups)};
      return;
    }
    to.shared_expert = mlp({&from.shared_expert}, "shared expert");
    to.experts = mlp(experts, "experts");
  }

  DeviceLinear part_of(const DeviceLinear& all, int first, int groups) const {
    DeviceLinear part = all;  // its input_scale is the first group's
    part.input_scale_of_group = first == 0 ? nullptr : all.input_scale_of_group + first;
    if (base_) part.w = cuda::some_groups(all.w, first, groups);
    return part;
  }

  static bool alike(const model::Mlp& a, const model::Mlp& b) {
    const auto same = [](const Matrix& x, const Matrix& y) {
      return x.format == y.format && x.rows == y.rows && x.cols == y.cols;
    };
    return same(a.gate, b.gate) && same(a.up, b.up) && same(a.down, b.down);
  }

  const model::LlamaConfig& config_;
  const model::Weights& weights_;
  uint8_t* base_;
  int64_t next_ = 0;
  std::vector<Piece> pieces_;
  std::vector<std::pair<const float*, std::vector<float>>> scales_;
  std::vector<std::pair<void*, std::pair<const void*, int64_t>>> vectors_;
};

// One thread's way from file to device: two pinned buffers, so that reading and copying overlap.
class Carrier {
 public:
  explicit Carrier(const model::Weights& weights)
      : generated_(weights.generated.get()), source_(weights.source.get()) {
    for (Slot& slot : slots_) {
      if (!generated_) slot.host = PinnedBuffer(kSlotBytes);
      slot.device = DeviceBuffer(kSlotBytes);
    }
  }

  void carry(const Piece& piece) {
    const Matrix& m = *piece.from;
    const int bytes = element_bytes(m);
    const bool by_row = m.layout == Layout::kRowMajor;
    const int64_t line = int64_t{by_row ? m.cols : m.rows} * bytes, stride = m.stride * bytes;
    const auto* from = static_cast<const std::byte*>(m.data) + piece.begin * stride;
    Slot& slot = slots_[next_ ^= 1];
    cuda::check(cudaEventSynchronize(slot.done), "copy of weights");
    const bool direct = by_row && !piece.to.image;
    uint8_t* to = direct ? piece.to.base + piece.begin * line : slot.device.as<uint8_t>();
    if (generated_) {
      generate(*generated_, from, line, stride, piece.count, to, stream_);
    } else {
      auto* staged = slot.host.as<std::byte>();
      if (stride == line) {
        read(from, piece.count * line, staged);
      } else {
        for (int64_t i = 0; i < piece.count; ++i) read(from + i * stride, line, staged + i * line);
      }
      cuda::check(cudaMemcpyAsync(to, staged, piece.count * line, cudaMemcpyHostToDevice, stream_),
                  "copy of weights");
    }
    if (!by_row) {
      copy_columns(bytes, to, piece.begin, static_cast<int>(piece.count), m.rows, piece.to, stream_);
    } else if (!direct) {
      copy_rows(to, piece.begin, piece.count, piece.to, stream_);
    }
    cuda::check(cudaEventRecord(slot.done, stream_), "copy of weights");
  }

  void finish() { stream_.wait(); }

 private:
  static constexpr int64_t kSlotBytes = kPieceBytes + (1 << 20);  // a line may be longer than a piece's share
  struct Slot {
    PinnedBuffer host;
    DeviceBuffer device;
    Event done;
  };
  void read(const std::byte* from, int64_t bytes, std::byte* to) const {
    if (source_) {
      source_->read(from, bytes, to);
    } else {
      std::memcpy(to, from, bytes);
    }
  }

  const model::GeneratedWeights* const generated_;
  const model::WeightSource* const source_;
  Stream stream_;
  Slot slots_[2];
  int next_ = 0;
};

// Every piece once, by several threads, each with its own Carrier; rethrows the first failure.
void carry_all(const std::vector<Piece>& pieces, const model::Weights& weights) {
  std::atomic<size_t> next = 0;
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto work = [&] {
    try {
      Carrier carrier(weights);
      for (size_t i = next++; i < pieces.size(); i = next++) carrier.carry(pieces[i]);
      carrier.finish();
    } catch (...) {
      std::lock_guard lock(failure_mutex);
      failure = std::current_exception();
      next = pieces.size();
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kCopyThreads; ++t) threads.emplace_back(work);
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

int64_t device_weight_bytes(const model::Model& model) {
  Layouter layouter(model, nullptr);
  layouter.build();
  return layouter.bytes();
}

DeviceWeights upload(const model::Model& model) {
  DeviceBuffer memory(static_cast<size_t>(device_weight_bytes(model)));
  Layouter layouter(model, memory.as<uint8_t>());
  DeviceWeights weights = layouter.build();
  const model::GeneratedWeights* generated = model.weights.generated.get();
  const auto begin = std::chrono::steady_clock::now();
  carry_all(layouter.pieces(), model.weights);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  log::info(fmt::format("Weights are on the device: {:.2f} GB in {:.3f} s, {:.1f} GB/s",
                        static_cast<double>(layouter.bytes()) * 1e-9, seconds,
                        static_cast<double>(layouter.bytes()) * 1e-9 / seconds));
  Stream stream;
  for (const auto& [to, values] : layouter.scales()) {
    check(cudaMemcpyAsync(const_cast<float*>(to), values.data(), values.size() * sizeof(float),
                          cudaMemcpyHostToDevice, stream),
          "copy of scales");
  }
  for (const auto& [to, from] : layouter.vectors()) {
    if (generated) {
      generate(*generated, static_cast<const std::byte*>(from.first), from.second, from.second, 1,
               static_cast<uint8_t*>(to), stream);
    } else {
      check(cudaMemcpyAsync(to, from.first, from.second, cudaMemcpyHostToDevice, stream), "copy of norms");
    }
  }
  stream.wait();
  weights.memory = std::move(memory);
  return weights;
}

}  // namespace outrider::cuda
