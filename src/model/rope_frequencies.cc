#include "model/rope_frequencies.h"

#include <cmath>
#include <numbers>

namespace outrider::model {

std::vector<float> rope_frequencies(const LlamaConfig& config) {
  const RopeScaling& s = config.rope_scaling;
  const auto original = static_cast<float>(s.original_max_position_embeddings);
  std::vector<float> frequencies(config.head_dim / 2);
  for (size_t j = 0; j < frequencies.size(); ++j) {
    // fp32 throughout, as the reference implementation: positions multiply the rounding.
    const float exponent = static_cast<float>(2 * j) / static_cast<float>(config.head_dim);
    const float plain = 1.0f / std::pow(config.rope_theta, exponent);
    const float wavelength = 2.0f * std::numbers::pi_v<float> / plain;
    float& f = frequencies[j];
    if (s.factor == 1.0f || wavelength < original / s.high_freq_factor) {
      f = plain;
    } else if (wavelength > original / s.low_freq_factor || s.high_freq_factor == s.low_freq_factor) {
      f = plain / s.factor;
    } else {
      const float smooth =
          (original / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
      f = (1.0f - smooth) * plain / s.factor + smooth * plain;
    }
  }
  return frequencies;
}

}  // namespace outrider::model
