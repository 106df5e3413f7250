#include "cuda/piece_reader.h"

#include <cstring>

namespace outrider::cuda {

PieceReader::PieceReader(const std::vector<Piece>& pieces, const model::WeightSource* source,
                         std::byte* memory, int64_t slot_bytes, int slots, int threads)
    : pieces_(pieces),
      source_(source),
      memory_(memory),
      slot_bytes_(slot_bytes),
      slots_(static_cast<size_t>(slots)),
      is_filled_(slots_, 0) {
  for (int t = 0; t < threads; ++t)
    threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
}

const std::byte* PieceReader::next() {
  std::unique_lock lock(mutex_);
  filled_.wait(lock, [&] { return failure_ || is_filled_[given_ % slots_]; });
  if (failure_) std::rethrow_exception(failure_);
  is_filled_[given_ % slots_] = 0;
  return slot(given_++);
}

void PieceReader::release() {
  std::lock_guard lock(mutex_);
  ++released_;
  room_.notify_one();  // a piece is taken only when it has a slot, so any reader will do
}

void PieceReader::work(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  for (;;) {
    room_.wait(lock, stop, [&] { return taken_ == pieces_.size() || taken_ < released_ + slots_; });
    if (stop.stop_requested() || taken_ == pieces_.size()) return;
    const size_t piece = taken_++;
    lock.unlock();
    std::exception_ptr failure;
    try {
      read(pieces_[piece], slot(piece));
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    is_filled_[piece % slots_] = 1;
    if (failure) {
      if (!failure_) failure_ = failure;
      taken_ = pieces_.size();  // nobody wants the others
    }
    if (failure || piece == given_) filled_.notify_one();
  }
}

void PieceReader::read(const Piece& piece, std::byte* to) const {
  if (source_) {
    source_->read(piece.from, piece.bytes, to);
  } else {
    std::memcpy(to, piece.from, static_cast<size_t>(piece.bytes));
  }
}

}  // namespace outrider::cuda
