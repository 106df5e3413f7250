#include "checkpoint/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/error.h"
#include "model/json_fields.h"

namespace outrider::checkpoint {

using model::in_quotes;
using nlohmann::json;

namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr size_t kMaxDimensions = 8;
// Of one request to read ahead: the kernel cuts a longer one to its window, which is this by default.
constexpr size_t kReadAheadBytes = 128 << 10;

struct DtypeName {
  const char* name;
  int bytes;
};

constexpr std::array<DtypeName, 15> kDtypes = {{{"BOOL", 1},
                                                {"U8", 1},
                                                {"I8", 1},
                                                {"F8_E4M3", 1},
                                                {"F8_E5M2", 1},
                                                {"I16", 2},
                                                {"U16", 2},
                                                {"F16", 2},
                                                {"BF16", 2},
                                                {"I32", 4},
                                                {"U32", 4},
                                                {"F32", 4},
                                                {"I64", 8},
                                                {"U64", 8},
                                                {"F64", 8}}};

// Takes the header's JSON event by event and admits only the format's structure, so that memory is bounded by
// the number of tensors whatever the text holds:
//   {"__metadata__": {string: string}, NAME: {"dtype": string, "shape": [int...], "data_offsets": [begin,
//   end]}, ...}
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  struct Entry {
    Tensor tensor;
    std::vector<int64_t> offsets;
  };

  explicit HeaderReader(const std::string& origin) : origin_(origin) {}
  std::vector<Entry> take() { return std::move(entries_); }

  bool start_object(size_t) override {
    if (place_ == Place::kStart) return go(Place::kRoot);
    if (place_ != Place::kRoot) refuse("an object");
    return go(in_metadata_ ? Place::kMetadata : Place::kTensor);
  }
  bool end_object() override {
    if (place_ == Place::kTensor) finish_entry();
    return go(place_ == Place::kRoot ? Place::kEnd : Place::kRoot);
  }
  bool key(std::string& text) override {
    if (place_ == Place::kRoot) return start_entry(text);
    if (place_ == Place::kTensor) {
      key_ = text == "dtype" ? Key::kDtype : text == "shape" ? Key::kShape : Key::kOffsets;
      if (key_ == Key::kOffsets && text != "data_offsets") refuse("key " + in_quotes(text));
      if (seen_[static_cast<int>(key_)]) refuse("key " + in_quotes(text) + " twice");
      seen_[static_cast<int>(key_)] = true;
    }
    return true;
  }
  bool string(std::string& text) override {
    if (place_ == Place::kMetadata) return true;
    if (place_ != Place::kTensor || key_ != Key::kDtype) refuse("the string " + in_quotes(text));
    const auto it = std::find_if(kDtypes.begin(), kDtypes.end(),
                                 [&](const DtypeName& dtype) { return text == dtype.name; });
    if (it == kDtypes.end()) refuse("the unknown dtype " + in_quotes(text));
    entries_.back().tensor.dtype = static_cast<Dtype>(it - kDtypes.begin());
    return true;
  }
  bool start_array(size_t) override {
    if (place_ != Place::kTensor || key_ == Key::kDtype) refuse("a list");
    return go(Place::kList);
  }
  bool end_array() override { return go(Place::kTensor); }
  bool number_unsigned(uint64_t value) override {
    if (place_ != Place::kList || value > static_cast<uint64_t>(INT64_MAX))
      refuse("the number " + std::to_string(value));
    std::vector<int64_t>& list = key_ == Key::kShape ? entries_.back().tensor.shape : entries_.back().offsets;
    if (list.size() == (key_ == Key::kShape ? kMaxDimensions : 2)) refuse("a longer list");
    list.push_back(static_cast<int64_t>(value));
    return true;
  }
  bool number_integer(int64_t value) override { refuse("the number " + std::to_string(value)); }
  bool number_float(double, const std::string& text) override { refuse("the number " + text.substr(0, 40)); }
  bool null() override { refuse("null"); }
  bool boolean(bool value) override { refuse(value ? "true" : "false"); }
  bool binary(json::binary_t&) override { refuse("bytes"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    throw CheckpointError(origin_ + ": header is not valid JSON at byte " + std::to_string(position));
  }

 private:
  enum class Place { kStart, kRoot, kMetadata, kTensor, kList, kEnd };
  enum class Key { kDtype, kShape, kOffsets };

  bool go(Place place) {
    place_ = place;
    return true;
  }
  bool start_entry(const std::string& name) {
    if (!names_.insert(name).second)
      throw CheckpointError(origin_ + ": tensor " + in_quotes(name) + " is given twice");
    in_metadata_ = name == "__metadata__";
    seen_ = {};
    if (!in_metadata_) entries_.emplace_back().tensor.name = name;
    return true;
  }
  void finish_entry() {
    if (!seen_[0] || !seen_[1] || entries_.back().offsets.size() != 2)
      throw CheckpointError(origin_ + ": tensor " + in_quotes(entries_.back().tensor.name) +
                            " lacks dtype, shape or two data_offsets");
  }
  [[noreturn]] void refuse(const std::string& found) const {
    const bool inside = place_ == Place::kTensor || place_ == Place::kList;
    throw CheckpointError(origin_ + ": header holds " + found + " where none may be" +
                          (inside ? ", at tensor " + in_quotes(entries_.back().tensor.name) : ""));
  }

  const std::string& origin_;
  Place place_ = Place::kStart;
  Key key_ = Key::kDtype;
  bool in_metadata_ = false;
  std::array<bool, 3> seen_ = {};
  std::unordered_set<std::string> names_;
  std::vector<Entry> entries_;
};

uint64_t read_header_length(std::span<const std::byte> file, const std::string& origin) {
  static constexpr char kLfs[] = "version https://git-lfs";
  if (file.size() >= sizeof kLfs - 1 && std::memcmp(file.data(), kLfs, sizeof kLfs - 1) == 0)
    throw CheckpointError(origin + ": is a Git LFS pointer, not the tensors; fetch them with `git lfs pull`");
  if (file.size() < 8)
    throw CheckpointError(origin + ": " + std::to_string(file.size()) + " bytes, too short");
  uint64_t length = 0;
  for (int i = 0; i < 8; ++i) length |= std::to_integer<uint64_t>(file[i]) << (8 * i);
  if (length > kMaxHeaderBytes)
    throw CheckpointError(origin + ": header of " + std::to_string(length) +
                          " bytes, expected at most 100000000; not a safetensors file?");
  if (length > file.size() - 8)
    throw CheckpointError(origin + ": header of " + std::to_string(length) + " bytes in a file of " +
                          std::to_string(file.size()) + "; truncated?");
  return length;
}

// Checks shape against offsets and places the tensor in the data section.
Tensor place_tensor(HeaderReader::Entry entry, std::span<const std::byte> data, const std::string& origin) {
  Tensor& tensor = entry.tensor;
  const auto fail = [&](const std::string& what) {
    throw CheckpointError(origin + ": tensor " + in_quotes(tensor.name) + " " + what);
  };
  const auto [begin, end] = std::pair(entry.offsets[0], entry.offsets[1]);
  if (begin > end) fail("begins at " + std::to_string(begin) + ", after its end " + std::to_string(end));
  if (static_cast<uint64_t>(end) > data.size())
    fail("ends at byte " + std::to_string(end) + " of " + std::to_string(data.size()) +
         "; truncated or still downloading?");
  int64_t bytes = bytes_of(tensor.dtype);
  for (const int64_t dimension : tensor.shape)
    if (__builtin_mul_overflow(bytes, dimension, &bytes)) fail("has a shape beyond 64 bits");
  if (bytes != end - begin)
    fail("has shape " + shape_text(tensor.shape) + " of " + name_of(tensor.dtype) + " = " +
         std::to_string(bytes) + " bytes but offsets for " + std::to_string(end - begin));
  tensor.bytes = bytes;
  tensor.data = data.data() + begin;
  if (reinterpret_cast<uintptr_t>(tensor.data) % bytes_of(tensor.dtype) != 0)
    fail("is not aligned to its element size; rewrite the file with a current safetensors");
  return std::move(tensor);
}

}  // namespace

const char* name_of(Dtype dtype) { return kDtypes[static_cast<int>(dtype)].name; }
int bytes_of(Dtype dtype) { return kDtypes[static_cast<int>(dtype)].bytes; }

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t dimension : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(dimension);
  return text + "]";
}

std::vector<Tensor> parse_safetensors(std::span<const std::byte> file, const std::string& origin) {
  const uint64_t length = read_header_length(file, origin);
  const char* header = reinterpret_cast<const char*>(file.data()) + 8;
  HeaderReader reader(origin);
  json::sax_parse(header, header + length, &reader);  // throws through the reader

  const std::span<const std::byte> data = file.subspan(8 + length);
  std::vector<Tensor> tensors;
  for (HeaderReader::Entry& entry : reader.take())
    tensors.push_back(place_tensor(std::move(entry), data, origin));

  std::vector<const Tensor*> in_order;
  for (const Tensor& tensor : tensors)
    if (tensor.bytes > 0) in_order.push_back(&tensor);
  std::sort(in_order.begin(), in_order.end(),
            [](const Tensor* a, const Tensor* b) { return a->data < b->data; });
  for (size_t i = 1; i < in_order.size(); ++i)
    if (in_order[i - 1]->data + in_order[i - 1]->bytes > in_order[i]->data)
      throw CheckpointError(origin + ": tensors " + in_quotes(in_order[i - 1]->name) + " and " +
                            in_quotes(in_order[i]->name) + " overlap");
  return tensors;
}

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const auto fail = [&](const char* what) {
    throw CheckpointError(path + ": cannot " + what + ": " + std::strerror(errno));
  };
  file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file_ < 0) fail("open");
  struct stat status = {};
  if (::fstat(file_, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(file_);
    throw CheckpointError(path + ": not a regular file");
  }
  size_ = static_cast<size_t>(status.st_size);
  void* mapping = size_ == 0 ? nullptr : ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file_, 0);
  if (mapping == MAP_FAILED) {
    const int error = errno;
    ::close(file_);
    errno = error;
    fail("map");
  }
  data_ = static_cast<const std::byte*>(mapping);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  ::close(file_);
}

void MappedFile::read(size_t at, size_t count, std::byte* to) const {
  int flags = RWF_NOWAIT;  // first what is in memory; where that is not all, the rest is asked for at once
  for (size_t done = 0; done < count;) {
    const iovec rest = {to + done, count - done};
    const ssize_t got = ::preadv2(file_, &rest, 1, static_cast<off_t>(at + done), flags);
    if (got > 0) done += static_cast<size_t>(got);
    if (flags != 0) {  // a file system without RWF_NOWAIT (EOPNOTSUPP) comes this way too
      flags = 0;
      if (done < count) ask_for(at + done, count - done);
    } else if (got < 0 && errno != EINTR) {
      throw CheckpointError(path_ + ": cannot read: " + std::strerror(errno));
    } else if (got == 0) {
      throw CheckpointError(path_ + ": has become shorter while it was read");
    }
  }
}

void MappedFile::ask_for(size_t at, size_t count) const {
  for (size_t done = 0; done < count; done += kReadAheadBytes) {
    const size_t bytes = std::min(kReadAheadBytes, count - done);
    ::posix_fadvise(file_, static_cast<off_t>(at + done), static_cast<off_t>(bytes), POSIX_FADV_WILLNEED);
  }
}

}  // namespace outrider::checkpoint
