#include "cpu/aligned_buffer.h"

#include <sys/mman.h>

#include <string>

#include "base/error.h"

namespace outrider::cpu {

AlignedBuffer::AlignedBuffer(size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    throw StartupError("cannot allocate " + std::to_string(bytes >> 20) + " MiB of memory");
  }
  // Huge pages: a decode step walks all weights once, and 4 KiB pages would cost a TLB miss every 64 cache
  // lines.
  madvise(p, bytes, MADV_HUGEPAGE);
  data_ = p;
}

AlignedBuffer::~AlignedBuffer() {
  if (data_) munmap(data_, bytes_);
}

}  // namespace outrider::cpu
