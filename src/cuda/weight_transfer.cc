#include "cuda/weight_transfer.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "cuda/device.h"
#include "cuda/generate.h"
#include "cuda/piece_reader.h"
#include "cuda/repack.h"

namespace outrider::cuda {
namespace {

constexpr int64_t kHugePage = 2 << 20;
constexpr int kStreams = 2;  // a piece is repacked while the next one is copied

// Host memory that pieces are read into. Ordinary memory that is pinned when readers fill it already, so that
// they need not wait for the driver, which would get and clear pinned memory page by page.
class StagingMemory {
 public:
  explicit StagingMemory(int64_t bytes) : bytes_(static_cast<size_t>(bytes)) {
    mapping_ = ::mmap(nullptr, mapped(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping_ == MAP_FAILED) {
      throw StartupError(fmt::format("cannot get {} MiB of memory to load weights through: {}", bytes_ >> 20,
                                     std::strerror(errno)));
    }
    size_t space = mapped();
    void* aligned = mapping_;
    data_ = static_cast<std::byte*>(std::align(kHugePage, bytes_, aligned, space));
    ::madvise(data_, bytes_, MADV_HUGEPAGE);  // advice only: a failure costs nothing but time
  }
  StagingMemory(const StagingMemory&) = delete;
  StagingMemory& operator=(const StagingMemory&) = delete;
  ~StagingMemory() {
    if (pinned_) cudaHostUnregister(data_);
    ::munmap(mapping_, mapped());
  }

  void pin() {
    const cudaError_t status = cudaHostRegister(data_, bytes_, cudaHostRegisterDefault);
    pinned_ = status == cudaSuccess;
    if (pinned_) return;
    cudaGetLastError();  // is no error of what follows: copies from pageable memory are only slower
    log::warning(
        fmt::format("loading will be slow: memory cannot be pinned: {}", cudaGetErrorString(status)));
  }

  std::byte* data() const { return data_; }

 private:
  size_t mapped() const { return bytes_ + kHugePage; }

  const size_t bytes_;
  void* mapping_ = nullptr;
  std::byte* data_ = nullptr;
  bool pinned_ = false;
};

struct Source {
  StagingMemory memory;
  PieceReader reader;  // second: it ends before the memory goes

  Source(const std::vector<Piece>& pieces, const model::Weights& weights, int64_t slot_bytes, int slots,
         int readers)
      : memory(slots * slot_bytes),
        reader(pieces, weights.source.get(), memory.data(), slot_bytes, slots, readers) {}
};

// The device's side: slots that pieces are copied to where they have yet to be repacked.
class Target {
 public:
  Target(int64_t slot_bytes, int slots)
      : slot_bytes_(slot_bytes), memory_(static_cast<size_t>(slots * slot_bytes)), done_(slots) {}
  ~Target() {  // nothing may be in flight when the memory of either side goes
    for (const Stream& stream : streams_) cudaStreamSynchronize(stream);
  }

  // Returns when the piece `slots` before this one is in its place.
  void wait_for_slot(size_t piece) {
    check(cudaEventSynchronize(done_[piece % done_.size()]), "copy of weights");
  }

  // Queues the piece; `bytes`: null for generated weights.
  void put(size_t number, const Piece& piece, const std::byte* bytes,
           const model::GeneratedWeights* generated) {
    const size_t slot = number % done_.size();
    const cudaStream_t stream = streams_[number % kStreams];
    uint8_t* to = piece.repack == Repack::kNone ? piece.to.base : memory_.as<uint8_t>() + slot * slot_bytes_;
    if (bytes) {
      check(cudaMemcpyAsync(to, bytes, piece.bytes, cudaMemcpyHostToDevice, stream), "copy of weights");
    } else {
      generate(*generated, piece.from, piece.bytes, to, stream);
    }
    if (piece.repack == Repack::kRows) {
      copy_rows(to, piece.first, piece.count, piece.to, stream);
    } else if (piece.repack == Repack::kColumns) {
      copy_columns(piece.element_bytes, to, piece.first, static_cast<int>(piece.count), piece.rows, piece.to,
                   stream);
    }
    check(cudaEventRecord(done_[slot], stream), "copy of weights");
  }

  void finish() {
    for (const Stream& stream : streams_) stream.wait();
  }

 private:
  const int64_t slot_bytes_;
  DeviceBuffer memory_;
  Stream streams_[kStreams];
  std::vector<Event> done_;  // by slot
};

}  // namespace

void transfer(const std::vector<Piece>& pieces, const model::Weights& weights,
              const TransferOptions& options) {
  constexpr int64_t kAlignment = 4096;
  int64_t slot_bytes = 0;
  for (const Piece& piece : pieces) slot_bytes = std::max(slot_bytes, piece.bytes);
  slot_bytes = (slot_bytes + kAlignment - 1) / kAlignment * kAlignment;
  const model::GeneratedWeights* generated = weights.generated.get();
  std::optional<Source> source;
  if (!generated) {
    const int slots = options.readers + options.in_flight + options.ahead;
    source.emplace(pieces, weights, slot_bytes, slots, options.readers);
  }
  Target target(slot_bytes, options.in_flight);
  if (source) source->memory.pin();
  for (size_t i = 0; i < pieces.size(); ++i) {
    target.wait_for_slot(i);
    if (source && i >= static_cast<size_t>(options.in_flight)) source->reader.release();
    target.put(i, pieces[i], source ? source->reader.next() : nullptr, generated);
  }
  target.finish();
}

}  // namespace outrider::cuda
