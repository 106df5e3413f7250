// --load-format dummy: weights from a counter-based generator, for performance work without a checkpoint.
#pragma once

#include <cstdint>

#include "model/weights.h"

namespace outrider::checkpoint {

// The layout of the fused ModelOpt dialect. Each linear has unit gain and norms are 1, so activations stay
// near 1 at any depth, routing spreads over the experts and logits vary. The same seed gives the same bytes
// on any number of cores. The views point into reserved memory, which write_dummy_weights() fills, or a
// device instead.
model::Weights make_dummy_weights(const model::LlamaConfig& config, model::WeightFormat format,
                                  uint64_t seed);

// Nothing to do for weights that are in memory already. Throws StartupError when the machine has less memory
// than they need.
void write_dummy_weights(model::Weights& weights);

}  // namespace outrider::checkpoint
