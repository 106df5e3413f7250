// A file that arrives in pieces, in any order and over several runs of the program. Behind the content lies a
// record of how far each piece has come, so that what a killed program fetched is not fetched again. The
// record is a hint: whoever reads the file checks its hash.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace outrider::hub {

// Bytes of a piece: one request. Files of up to 16 MiB are one.
uint64_t piece_bytes(uint64_t file_bytes);
uint64_t num_pieces(uint64_t file_bytes);

// The record: "outrider", the file's size, bytes done of each piece; little endian, 8 bytes each.
std::string encode_record(uint64_t file_bytes, const std::vector<uint64_t>& done);
// Zeros where `record` is not such a record or says more than there can be.
std::vector<uint64_t> decode_record(uint64_t file_bytes, const std::string& record);

// Any thread. Throws StartupError naming the file: no space, a read-only file system.
class PartialFile {
 public:
  // Opens what is there, or makes a file. `size` > 0.
  PartialFile(std::filesystem::path path, uint64_t size);
  ~PartialFile();
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  // Bytes [begin, end) that are missing of one piece.
  struct Claim {
    size_t piece;
    uint64_t begin, end;
  };
  // The first piece that is missing and that nobody has claimed.
  std::optional<Claim> claim();
  // Gives a claim back; write() has moved its begin.
  void release(const Claim& claim);
  // Bytes at claim.begin, which moves on.
  void write(Claim& claim, const char* data, size_t count);

  uint64_t size() const { return size_; }
  uint64_t done() const;
  // Blocks on the file system that it takes already.
  uint64_t allocated() const;

  // Waits until bytes beyond `from` are there without a gap, for some milliseconds. Returns their end.
  uint64_t wait_beyond(uint64_t from) const;
  void read(uint64_t at, char* data, size_t count) const;

  // Forgets all that has come.
  void clear();
  // Without its record, on the disk, under its name. Once.
  void finish(const std::filesystem::path& name);

 private:
  [[noreturn]] void fail() const;
  void write_at(uint64_t at, const char* data, size_t count);
  void write_record();
  uint64_t end_of(size_t piece) const;
  uint64_t gapless() const;

  const std::filesystem::path path_;
  const uint64_t size_, piece_;
  int file_ = -1;
  mutable std::mutex mutex_;
  mutable std::condition_variable grown_;
  std::vector<uint64_t> done_;  // by piece
  std::vector<bool> claimed_;
};

// Throws StartupError for an errno about `path`, naming the remedy.
[[noreturn]] void throw_file_error(const std::filesystem::path& path, int error);

}  // namespace outrider::hub
