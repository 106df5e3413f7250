#include "cli/host_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace outrider::cli {

int64_t host_memory_bytes() {
  int64_t bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  // cgroup v2, then v1. "max" and v1's huge number mean no limit.
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream file(path);
    int64_t limit = 0;
    if (file >> limit && limit > 0) bytes = std::min(bytes, limit);
  }
  return bytes;
}

int64_t default_cpu_kv_bytes(int64_t memory_bytes) { return std::min(int64_t{4} << 30, memory_bytes / 4); }

}  // namespace outrider::cli
