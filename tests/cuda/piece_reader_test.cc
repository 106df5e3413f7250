#include "cuda/piece_reader.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <random>
#include <string>

#include "base/error.h"
#include "cuda/shrunk_checkpoint.h"
#include "cuda/weight_layout.h"

namespace outrider::cuda {
namespace {

constexpr int64_t kSlotBytes = 4096;

// Bytes and pieces of them, of any lengths, with gaps.
struct Stored {
  std::vector<std::byte> bytes;
  std::vector<Piece> pieces;

  explicit Stored(int count, unsigned seed = 1) : bytes(kSlotBytes * 2 * count) {
    std::mt19937 random(seed);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    for (int i = 0; i < count; ++i) {
      Piece piece;
      piece.from = bytes.data() + 2 * kSlotBytes * i + random() % kSlotBytes;
      piece.bytes = 1 + random() % kSlotBytes;
      pieces.push_back(piece);
    }
  }
};

// Reads now quickly, now slowly, and counts.
class UnevenSource final : public model::WeightSource {
 public:
  void read(const std::byte* from, int64_t bytes, std::byte* to) const override {
    const int number = reads_++;
    if (number == fails_at_) throw CheckpointError("the file is gone");
    if (number % 7 == 3) std::this_thread::sleep_for(std::chrono::microseconds(300));
    std::memcpy(to, from, bytes);
  }
  int reads() const { return reads_; }
  void fail_at(int number) { fails_at_ = number; }

 private:
  mutable std::atomic<int> reads_ = 0;
  int fails_at_ = -1;
};

TEST(PieceReader, gives_every_piece_in_order_through_any_number_of_slots_and_threads) {
  const Stored stored(200);
  for (const int slots : {1, 2, 7, 300}) {
    for (const int threads : {1, 3, 12}) {
      for (const int held : {1, 2, 5}) {  // pieces at a time
        if (held > slots) continue;
        SCOPED_TRACE(testing::Message() << slots << " slots, " << threads << " threads, " << held << " held");
        std::vector<std::byte> memory(slots * kSlotBytes);
        const UnevenSource source;
        PieceReader reader(stored.pieces, &source, memory.data(), kSlotBytes, slots, threads);
        std::vector<const std::byte*> given;
        for (size_t i = 0; i < stored.pieces.size(); ++i) {
          if (i >= static_cast<size_t>(held)) reader.release();
          given.push_back(reader.next());
          // The oldest one held is still whole.
          const size_t oldest = i + 1 >= static_cast<size_t>(held) ? i + 1 - held : 0;
          const Piece& piece = stored.pieces[oldest];
          ASSERT_EQ(0, std::memcmp(given[oldest], piece.from, piece.bytes)) << oldest;
          EXPECT_LE(source.reads(), std::max(0, static_cast<int>(i) + 1 - held) + slots);
        }
        EXPECT_EQ(source.reads(), 200);
      }
    }
  }
}

TEST(PieceReader, takes_pieces_from_memory_where_there_is_no_source) {
  const Stored stored(20);
  std::vector<std::byte> memory(3 * kSlotBytes);
  PieceReader reader(stored.pieces, nullptr, memory.data(), kSlotBytes, 3, 2);
  for (const Piece& piece : stored.pieces) {
    ASSERT_EQ(0, std::memcmp(reader.next(), piece.from, piece.bytes));
    reader.release();
  }
}

TEST(PieceReader, hands_on_the_error_of_any_read) {
  const Stored stored(200);
  for (const int bad : {0, 5, 150}) {
    SCOPED_TRACE(bad);
    std::vector<std::byte> memory(8 * kSlotBytes);
    UnevenSource source;
    source.fail_at(bad);
    PieceReader reader(stored.pieces, &source, memory.data(), kSlotBytes, 8, 4);
    int given = 0;
    std::string error;
    try {
      for (;;) {
        reader.next();
        ++given;
        reader.release();
      }
    } catch (const StartupError& e) {
      error = e.what();
    }
    EXPECT_EQ(error, "the file is gone");
    EXPECT_LE(given, bad);
  }
}

// Fails at once the first time, and is slow otherwise.
class FailingSource final : public model::WeightSource {
 public:
  void read(const std::byte*, int64_t, std::byte*) const override {
    if (reads++ == 0) throw CheckpointError("the file is gone");
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  mutable std::atomic<int> reads = 0;
};

TEST(PieceReader, reads_no_more_after_an_error) {
  const Stored stored(200);
  std::vector<std::byte> memory(200 * kSlotBytes);
  const FailingSource source;
  {
    PieceReader reader(stored.pieces, &source, memory.data(), kSlotBytes, 200, 2);
    EXPECT_THROW(reader.next(), StartupError);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_LE(source.reads, 10);
}

TEST(PieceReader, can_be_left_with_pieces_unread) {
  const Stored stored(200);
  std::vector<std::byte> memory(8 * kSlotBytes);
  const UnevenSource source;
  for (int taken = 0; taken < 20; ++taken) {
    PieceReader reader(stored.pieces, &source, memory.data(), kSlotBytes, 8, 4);
    for (int i = 0; i < std::min(taken, 8); ++i) reader.next();
  }
}

TEST(PieceReader, a_file_that_has_become_shorter_is_named_in_one_line) {
  const ShrunkCheckpoint shrunk;
  const std::vector<Piece> pieces = lay_out(shrunk.model(), nullptr, kSlotBytes).pieces;
  int64_t slot_bytes = 0;
  for (const Piece& piece : pieces) slot_bytes = std::max(slot_bytes, piece.bytes);
  std::vector<std::byte> memory(4 * slot_bytes);
  PieceReader reader(pieces, shrunk.model().weights.source.get(), memory.data(), slot_bytes, 4, 2);
  std::string error;
  try {
    for (size_t i = 0; i < pieces.size(); ++i) {
      reader.next();
      reader.release();
    }
  } catch (const StartupError& e) {
    error = e.what();
  }
  EXPECT_EQ(error, shrunk.folder() + "/model.safetensors: has become shorter while it was read");
}

}  // namespace
}  // namespace outrider::cuda
