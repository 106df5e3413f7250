// Threads that read a checkpoint's pieces ahead of who wants them, in order, into a ring of slots. Knows
// nothing of a device.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "cuda/weight_pieces.h"

namespace outrider::cuda {

class PieceReader {
 public:
  // `memory` holds `slots` slots of slot_bytes each, and outlives the reader. Without a source the pieces lie
  // in memory.
  PieceReader(const std::vector<Piece>& pieces, const model::WeightSource* source, std::byte* memory,
              int64_t slot_bytes, int slots, int threads);

  // The next piece's bytes, once they are read. They stay until they are released. Throws what reading threw,
  // at once, whichever piece it was. At most as often as there are pieces.
  const std::byte* next();

  // Gives back the slot of the oldest piece that has one.
  void release();

 private:
  void work(const std::stop_token& stop);
  void read(const Piece& piece, std::byte* to) const;
  std::byte* slot(size_t piece) const { return memory_ + static_cast<int64_t>(piece % slots_) * slot_bytes_; }

  const std::vector<Piece>& pieces_;
  const model::WeightSource* const source_;
  std::byte* const memory_;
  const int64_t slot_bytes_;
  const size_t slots_;

  std::mutex mutex_;
  std::condition_variable_any room_;             // readers: there is a slot for piece taken_
  std::condition_variable filled_;               // next(): piece given_ is read
  size_t taken_ = 0, given_ = 0, released_ = 0;  // pieces
  std::vector<char> is_filled_;                  // by slot
  std::exception_ptr failure_;                   // the first
  std::vector<std::jthread> threads_;            // last: they end before anything else does
};

}  // namespace outrider::cuda
