// How much memory this process may count on.
#pragma once

#include <cstdint>

namespace outrider::cli {

// The machine's memory, or the control group's limit when that is lower. Bytes.
int64_t host_memory_bytes();

// KV cache on the CPU when nobody said how much: a quarter of memory, 4 GiB at most.
int64_t default_cpu_kv_bytes(int64_t memory_bytes);

}  // namespace outrider::cli
