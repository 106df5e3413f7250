// y = silu(gate) * up, the activation between an MLP's two products.
#pragma once

namespace outrider::cpu {

// n is a multiple of 16. `y` may be `gate` or `up`.
void silu_mul(const float* gate, const float* up, int n, float* y);

}  // namespace outrider::cpu
