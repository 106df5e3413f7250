#include "checkpoint/dummy.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "checkpoint/dialect.h"
#include "checkpoint/parallel_for.h"

namespace outrider::checkpoint {

using model::Fill;
using model::GeneratedRegion;
using model::Layer;
using model::Layout;
using model::LlamaConfig;
using model::Matrix;
using model::Mlp;
using model::WeightFormat;

namespace {

constexpr int64_t kPiece = 1 << 20;      // bytes a thread fills at a time
constexpr int64_t kAlignment = 64;       // of each tensor
constexpr float kActivationPeak = 8.0f;  // of activations near unit variance; sets static activation scales

// Mean squares of the drawn values, from their code tables.
constexpr double kOneToTwoMeanSquare =
    (8 * 8 + 9 * 9 + 10 * 10 + 11 * 11 + 12 * 12 + 13 * 13 + 14 * 14 + 15 * 15) / (8.0 * 64);
constexpr double kFp8MeanSquare = kOneToTwoMeanSquare * (1.0 / 64 + 1.0 / 16 + 1.0 / 4 + 1.0) / 4;
constexpr double kNvfp4MeanSquare = (0.25 + 1.0 + 2.25 + 4.0 + 9.0 + 16.0 + 36.0) / 8 * kOneToTwoMeanSquare;

// Writes one piece of a region, eight bytes at a time.
void fill_piece(const GeneratedRegion& region, int64_t begin, std::byte* memory, uint64_t key) {
  const int64_t end = std::min(begin + kPiece, region.bytes);
  for (int64_t at = begin; at < end; at += 8) {
    const auto place = static_cast<uint64_t>(region.offset + at);
    const uint64_t word =
        model::generated_word(region.fill, region.amplitude, model::random_word(key, place));
    std::memcpy(memory + place, &word, std::min<int64_t>(8, end - at));
  }
}

std::string gib(int64_t bytes) { return std::to_string(static_cast<double>(bytes) / (1 << 30)) + " GiB"; }

[[noreturn]] void refuse_size(int64_t bytes, const std::string& limit) {
  throw StartupError("dummy weights need " + gib(bytes) + ", " + limit +
                     "; use fewer layers by --hf-overrides or a smaller format by --quantization");
}

void check_host_memory(int64_t bytes) {
  const auto machine = int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  if (bytes > machine) refuse_size(bytes, "this machine has " + gib(machine));
}

// Anonymous memory, zero pages until touched.
std::shared_ptr<std::byte> map_memory(int64_t bytes) {
  void* memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) refuse_size(bytes, "more than can be mapped");
  ::madvise(memory, bytes, MADV_HUGEPAGE);  // advice only: a failure costs nothing but time
  return {static_cast<std::byte*>(memory), [bytes](std::byte* p) { ::munmap(p, bytes); }};
}

// Deals out memory twice: first to learn the size (base null), then for real.
class DummyModel {
 public:
  DummyModel(const LlamaConfig& config, WeightFormat format, std::byte* base)
      : config_(config), format_(format), base_(base) {}

  model::Weights build() {
    model::Weights weights;
    weights.format = format_;
    weights.embed = plain(Role::kEmbed, 1.0);
    weights.lm_head = plain(Role::kLmHead, 1.0 / config_.hidden_size);
    weights.final_norm = norm();
    weights.layers.resize(config_.num_layers);
    for (int i = 0; i < config_.num_layers; ++i) build_layer(weights.layers[i], config_.is_moe_layer[i]);
    return weights;
  }

  int64_t bytes() const { return next_; }
  const std::vector<GeneratedRegion>& regions() const { return regions_; }

 private:
  std::byte* take(Fill fill, int64_t bytes, double amplitude = 0.0) {
    int64_t end = 0;
    if (__builtin_add_overflow(next_, bytes + kAlignment, &end))
      throw StartupError("dummy weights: beyond 64 bits");
    regions_.push_back({fill, static_cast<float>(amplitude), next_, bytes});
    std::byte* memory = base_ == nullptr ? nullptr : base_ + next_;
    next_ = (next_ + bytes + kAlignment - 1) / kAlignment * kAlignment;
    return memory;
  }

  const uint16_t* norm() {
    return reinterpret_cast<const uint16_t*>(take(Fill::kOnes, 2 * int64_t{config_.hidden_size}));
  }

  Matrix shaped(const Rule& rule, WeightFormat format) const {
    const bool fused = rule.kind == Kind::kFused;
    Matrix matrix;
    matrix.format = format;
    matrix.layout = fused ? Layout::kColMajor : Layout::kRowMajor;
    matrix.rows = rule.rows(config_);
    matrix.cols = rule.cols(config_);
    matrix.stride = fused ? matrix.rows : matrix.cols;
    return matrix;
  }

  // bf16 with the given variance of its elements.
  Matrix plain(Role role, double variance) {
    Matrix matrix = shaped(rule_of(role), WeightFormat::kBf16);
    matrix.data = take(Fill::kUniformBf16, 2 * int64_t{matrix.rows} * matrix.cols, std::sqrt(3.0 * variance));
    return matrix;
  }

  // Unit gain: elements of variance 1 / cols.
  Matrix linear(Role role) {
    const Rule& rule = rule_of(role);
    if (format_ == WeightFormat::kBf16 && rule.kind != Kind::kFused)
      return plain(role, 1.0 / rule.cols(config_));
    Matrix matrix = shaped(rule, format_);
    const int64_t elements = int64_t{matrix.rows} * matrix.cols;
    const double cols = matrix.cols;
    switch (format_) {
      case WeightFormat::kBf16:
        matrix.data = take(Fill::kUniformBf16, 2 * elements, std::sqrt(3.0 / cols));
        break;
      case WeightFormat::kFp8:
        matrix.data = take(Fill::kFp8Codes, elements);
        matrix.weight_scale = static_cast<float>(1.0 / std::sqrt(cols * kFp8MeanSquare));
        matrix.input_scale = kActivationPeak / 448.0f;
        break;
      case WeightFormat::kNvfp4:
        if (matrix.cols % 16 != 0)
          throw CheckpointError("NVFP4 needs inner sizes that are multiples of 16, " +
                                std::string(rule.title) + " has " + std::to_string(matrix.cols));
        matrix.data = take(Fill::kNvfp4Codes, elements / 2);
        matrix.block_scales = reinterpret_cast<const uint8_t*>(take(Fill::kNvfp4Scales, elements / 16));
        matrix.block_scale_stride = rule.kind == Kind::kFused ? matrix.rows : matrix.cols / 16;
        matrix.weight_scale = static_cast<float>(1.0 / std::sqrt(cols * kNvfp4MeanSquare));
        matrix.input_scale = kActivationPeak / (6.0f * 448.0f);
        break;
    }
    return matrix;
  }

  void build_layer(Layer& layer, bool is_moe) {
    layer.input_norm = norm();
    layer.post_attention_norm = norm();
    layer.q = linear(Role::kQ);
    layer.k = linear(Role::kK);
    layer.v = linear(Role::kV);
    layer.o = linear(Role::kO);
    if (!is_moe) {
      layer.dense = {linear(Role::kDenseGate), linear(Role::kDenseUp), linear(Role::kDenseDown)};
      return;
    }
    layer.router = plain(Role::kRouter, 1.0 / config_.hidden_size);
    layer.shared_expert = {linear(Role::kSharedGate), linear(Role::kSharedUp), linear(Role::kSharedDown)};
    layer.experts.reserve(config_.num_experts);
    for (int e = 0; e < config_.num_experts; ++e) {
      const Matrix gate_up = linear(Role::kFusedGateUp);
      layer.experts.push_back({fused_half(gate_up, 0), fused_half(gate_up, 1), linear(Role::kFusedDown)});
    }
  }

  const LlamaConfig& config_;
  WeightFormat format_;
  std::byte* base_;
  int64_t next_ = 0;
  std::vector<GeneratedRegion> regions_;
};

}  // namespace

model::Weights make_dummy_weights(const LlamaConfig& config, WeightFormat format, uint64_t seed) {
  DummyModel measure(config, format, nullptr);
  measure.build();
  const std::shared_ptr<std::byte> memory = map_memory(measure.bytes());
  DummyModel model(config, format, memory.get());
  model::Weights weights = model.build();
  weights.generated = std::make_shared<model::GeneratedWeights>(
      model::GeneratedWeights{memory.get(), model::random_word(seed, 1), model.regions()});
  weights.storage = memory;
  return weights;
}

void write_dummy_weights(model::Weights& weights) {
  if (!weights.generated) return;
  struct Piece {
    const GeneratedRegion* region;
    int64_t begin;
  };
  const model::GeneratedWeights& generated = *weights.generated;
  const GeneratedRegion& last = generated.regions.back();
  check_host_memory(last.offset + last.bytes);
  std::vector<Piece> pieces;
  for (const GeneratedRegion& region : generated.regions)
    for (int64_t begin = 0; begin < region.bytes; begin += kPiece) pieces.push_back({&region, begin});
  auto* memory = const_cast<std::byte*>(generated.base);
  parallel_for(static_cast<int64_t>(pieces.size()),
               [&](int64_t i) { fill_piece(*pieces[i].region, pieces[i].begin, memory, generated.key); });
  weights.generated.reset();
}

}  // namespace outrider::checkpoint
