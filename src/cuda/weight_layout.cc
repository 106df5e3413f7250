#include "cuda/weight_layout.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"

namespace outrider::cuda {
namespace {

using model::Matrix;
using model::WeightFormat;

constexpr int64_t kAlignment = 1024;

class Layouter {
 public:
  Layouter(const model::Model& model, uint8_t* base, int64_t piece_bytes)
      : config_(model.config), weights_(model.weights), base_(base), piece_bytes_(piece_bytes) {}

  WeightLayout build() {
    DeviceWeights& out = layout_.weights;
    out.embed = plain(weights_.embed);
    out.final_norm = vector(weights_.final_norm, config_.hidden_size);
    out.lm_head = stack({&weights_.lm_head}, 1, "lm_head");
    out.layers.resize(weights_.layers.size());
    for (size_t l = 0; l < out.layers.size(); ++l) layer(weights_.layers[l], out.layers[l]);
    sort_as_stored(layout_.pieces);
    return std::move(layout_);
  }

 private:
  uint8_t* take(int64_t bytes) {
    uint8_t* at = base_ + layout_.bytes;  // a null base only counts
    layout_.bytes = (layout_.bytes + bytes + kAlignment - 1) / kAlignment * kAlignment;
    return at;
  }

  const void* vector(const uint16_t* from, int n) {
    Matrix row;
    row.rows = 1;
    row.cols = n;
    row.stride = n;
    row.data = from;
    return plain(row);
  }

  const void* plain(const Matrix& m) {
    const int64_t row_bytes = int64_t{m.cols} * element_bytes(m);
    uint8_t* to = take(m.rows * row_bytes);
    add(m, {.base = to, .row_bytes = row_bytes});
    return to;
  }

  const float* device_scales(std::vector<float> values) {
    const auto* to =
        reinterpret_cast<const float*>(take(static_cast<int64_t>(values.size() * sizeof(float))));
    layout_.scales.emplace_back(to, std::move(values));
    return to;
  }

  void add(const Matrix& m, const Place& to) { add_pieces(m, to, piece_bytes_, layout_.pieces); }

  // Gate and up into one gated matrix: from one run of bytes where they are halves of one matrix.
  void add_gated(const Matrix& gate, const Matrix& up, uint8_t* base, int64_t row_bytes) {
    Place to{.base = base, .row_bytes = row_bytes, .image = true, .gate_rows = gate.rows};
    if (const std::optional<Matrix> both = side_by_side(gate, up)) return add(*both, to);
    add(gate, to);
    to.first_row = gate.rows;
    add(up, to);
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
    const int64_t row_bytes = int64_t{first.cols} * element_bytes(first);
    uint8_t* to = take(rows * row_bytes);
    uint8_t* next = to;
    std::vector<float> scales, input_scales;
    for (int g = 0; g < groups; ++g) {
      const Matrix* const* group = &parts[static_cast<size_t>(g) * a_group];
      float input_scale = 1.0f;
      if (first.format == WeightFormat::kFp8) {  // parts share their input: one scale for it, the largest
        input_scale = 0.0f;
        for (int i = 0; i < a_group; ++i) input_scale = std::max(input_scale, group[i]->input_scale);
      }
      input_scales.push_back(input_scale);
      if (gated) {
        add_gated(*group[0], *group[1], next, row_bytes);
        for (int tile = 0; tile < features / kFeatureTile; ++tile) {
          for (int i = 0; i < 2; ++i) scales.push_back(group[i]->weight_scale * input_scale);
        }
        next += features * row_bytes;
        continue;
      }
      for (int i = 0; i < a_group; ++i) {
        add(*group[i], {.base = next, .row_bytes = row_bytes, .image = true});
        scales.insert(scales.end(), group[i]->rows / kFeatureTile, group[i]->weight_scale * input_scale);
        next += group[i]->rows * row_bytes;
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
  uint8_t* const base_;
  const int64_t piece_bytes_;
  WeightLayout layout_;
};

}  // namespace

WeightLayout lay_out(const model::Model& model, uint8_t* base, int64_t piece_bytes) {
  return Layouter(model, base, piece_bytes).build();
}

}  // namespace outrider::cuda
