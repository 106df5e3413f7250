// Plain code: per token it touches q and k once, a thousandth of the projections' work.
#include "cpu/rope.h"

#include <cmath>

namespace outrider::cpu {

void rope_angles(const std::vector<float>& frequencies, int64_t position, float* out) {
  for (size_t j = 0; j < frequencies.size(); ++j) {
    const float angle = static_cast<float>(position) * frequencies[j];
    out[2 * j] = std::cos(angle);
    out[2 * j + 1] = std::sin(angle);
  }
}

void rope_rotate(const float* angles, int heads, int head_dim, float* x) {
  for (int h = 0; h < heads; ++h, x += head_dim) {
    for (int i = 0; i < head_dim; i += 2) {
      const float a = x[i], b = x[i + 1], c = angles[i], s = angles[i + 1];
      x[i] = a * c - b * s;
      x[i + 1] = a * s + b * c;
    }
  }
}

void qk_norm(int heads, int head_dim, float eps, float* x) {
  for (int h = 0; h < heads; ++h, x += head_dim) {
    double sum = 0.0;
    for (int i = 0; i < head_dim; ++i) sum += double{x[i]} * x[i];
    const auto factor = static_cast<float>(1.0 / std::sqrt(sum / head_dim + eps));
    for (int i = 0; i < head_dim; ++i) x[i] *= factor;
  }
}

float attention_temperature(const model::LlamaConfig& config, int64_t position) {
  if (!config.attn_temperature_tuning) return 1.0f;
  const float steps = std::floor(static_cast<float>(position + 1) / config.floor_scale);
  return 1.0f + config.attn_scale * std::log(1.0f + steps);
}

}  // namespace outrider::cpu
