#include "hub/partial_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "base/error.h"

namespace outrider::hub {
namespace {

constexpr uint64_t kLargePiece = 32 << 20, kSmallPiece = 16 << 20;
constexpr std::string_view kMagic = "outrider";
static_assert(std::endian::native == std::endian::little);

void append_word(std::string& text, uint64_t word) {
  char bytes[sizeof word];
  std::memcpy(bytes, &word, sizeof word);
  text.append(bytes, sizeof word);
}

uint64_t word_at(const std::string& text, size_t index) {
  uint64_t word = 0;
  std::memcpy(&word, text.data() + index * sizeof word, sizeof word);
  return word;
}

uint64_t bytes_of_piece(uint64_t file_bytes, size_t piece) {
  const uint64_t begin = piece * piece_bytes(file_bytes);
  return std::min(piece_bytes(file_bytes), file_bytes - begin);
}

}  // namespace

uint64_t piece_bytes(uint64_t file_bytes) {
  return file_bytes > 16 * kSmallPiece ? kLargePiece : kSmallPiece;
}

uint64_t num_pieces(uint64_t file_bytes) {
  const uint64_t piece = piece_bytes(file_bytes);
  return file_bytes / piece + (file_bytes % piece != 0);
}

std::string encode_record(uint64_t file_bytes, const std::vector<uint64_t>& done) {
  std::string record(kMagic);
  append_word(record, file_bytes);
  for (const uint64_t bytes : done) append_word(record, bytes);
  return record;
}

std::vector<uint64_t> decode_record(uint64_t file_bytes, const std::string& record) {
  std::vector<uint64_t> done(num_pieces(file_bytes), 0);
  if (record.size() != (done.size() + 2) * sizeof(uint64_t) || !record.starts_with(kMagic) ||
      word_at(record, 1) != file_bytes) {
    return done;
  }
  for (size_t i = 0; i < done.size(); ++i) {
    const uint64_t bytes = word_at(record, i + 2);
    if (bytes <= bytes_of_piece(file_bytes, i)) done[i] = bytes;
  }
  return done;
}

void throw_file_error(const std::filesystem::path& path, int error) {
  std::string line = path.string() + ": " + std::strerror(error);
  if (error == ENOSPC || error == EDQUOT) {
    line +=
        "; make room or name another folder with --download-dir; what has come is kept, the same command "
        "goes on";
  } else if (error == EROFS || error == EACCES || error == EPERM) {
    line += "; the cache cannot be written: name another folder with --download-dir or HF_HUB_CACHE";
  } else {
    line += "; name another folder with --download-dir or HF_HUB_CACHE";
  }
  throw StartupError(line);
}

PartialFile::PartialFile(std::filesystem::path path, uint64_t size)
    : path_(std::move(path)), size_(size), piece_(piece_bytes(size)) {
  file_ = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (file_ < 0) fail();
  std::string record((num_pieces(size_) + 2) * sizeof(uint64_t) + 1, '\0');
  const ssize_t count = pread(file_, record.data(), record.size(), static_cast<off_t>(size_));
  record.resize(static_cast<size_t>(std::max<ssize_t>(count, 0)));
  done_ = decode_record(size_, record);
  claimed_.assign(done_.size(), false);
}

PartialFile::~PartialFile() {
  if (file_ >= 0) close(file_);
}

void PartialFile::fail() const { throw_file_error(path_, errno); }

uint64_t PartialFile::end_of(size_t piece) const { return std::min(size_, (piece + 1) * piece_); }

std::optional<PartialFile::Claim> PartialFile::claim() {
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < done_.size(); ++i) {
    const uint64_t begin = i * piece_ + done_[i];
    if (claimed_[i] || begin == end_of(i)) continue;
    claimed_[i] = true;
    return Claim{i, begin, end_of(i)};
  }
  return std::nullopt;
}

void PartialFile::release(const Claim& claim) {
  const std::lock_guard lock(mutex_);
  claimed_[claim.piece] = false;
}

void PartialFile::write_at(uint64_t at, const char* data, size_t count) {
  while (count > 0) {
    const ssize_t written = pwrite(file_, data, count, static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail();
    at += static_cast<uint64_t>(written);
    data += written;
    count -= static_cast<size_t>(written);
  }
}

void PartialFile::write_record() {
  const std::string record = encode_record(size_, done_);
  write_at(size_, record.data(), record.size());
}

void PartialFile::write(Claim& claim, const char* data, size_t count) {
  if (count > claim.end - claim.begin)
    throw StartupError(path_.string() + ": more bytes than were asked for");
  write_at(claim.begin, data, count);
  claim.begin += count;
  const std::lock_guard lock(mutex_);
  const bool is_first = std::all_of(done_.begin(), done_.end(), [](uint64_t bytes) { return bytes == 0; });
  done_[claim.piece] = claim.begin - claim.piece * piece_;
  if (is_first) {
    write_record();
  } else {
    const uint64_t word = done_[claim.piece];
    write_at(size_ + (claim.piece + 2) * sizeof word, reinterpret_cast<const char*>(&word), sizeof word);
  }
  grown_.notify_all();
}

uint64_t PartialFile::done() const {
  const std::lock_guard lock(mutex_);
  uint64_t sum = 0;
  for (const uint64_t bytes : done_) sum += bytes;
  return sum;
}

uint64_t PartialFile::allocated() const {
  struct stat status {};
  constexpr uint64_t kBlock = 512;  // of st_blocks, whatever the file system's is
  return fstat(file_, &status) == 0 ? std::min(size_, static_cast<uint64_t>(status.st_blocks) * kBlock) : 0;
}

uint64_t PartialFile::gapless() const {
  for (size_t i = 0; i < done_.size(); ++i) {
    const uint64_t end = i * piece_ + done_[i];
    if (end != end_of(i)) return end;
  }
  return size_;
}

uint64_t PartialFile::wait_beyond(uint64_t from) const {
  std::unique_lock lock(mutex_);
  grown_.wait_for(lock, std::chrono::milliseconds(20), [&] { return gapless() > from; });
  return gapless();
}

void PartialFile::read(uint64_t at, char* data, size_t count) const {
  while (count > 0) {
    const ssize_t n = pread(file_, data, count, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail();
    if (n == 0)
      throw StartupError(path_.string() + ": shorter than its record says; remove it and run again");
    at += static_cast<uint64_t>(n);
    data += n;
    count -= static_cast<size_t>(n);
  }
}

void PartialFile::clear() {
  const std::lock_guard lock(mutex_);
  if (ftruncate(file_, 0) != 0) fail();
  std::fill(done_.begin(), done_.end(), 0);
}

void PartialFile::finish(const std::filesystem::path& name) {
  if (ftruncate(file_, static_cast<off_t>(size_)) != 0 || fdatasync(file_) != 0) fail();
  if (rename(path_.c_str(), name.c_str()) != 0) fail();
}

}  // namespace outrider::hub
