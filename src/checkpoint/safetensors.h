// One safetensors file: 8 bytes of header length, a JSON header, then the tensors' bytes. Nothing of the file
// is trusted. Format: https://github.com/huggingface/safetensors (README, "Format").
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace outrider::checkpoint {

enum class Dtype {
  kBool,
  kU8,
  kI8,
  kF8E4M3,
  kF8E5M2,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kI64,
  kU64,
  kF64
};

const char* name_of(Dtype dtype);  // as the format spells it: "F8_E4M3"
int bytes_of(Dtype dtype);

// A view into a mapped file. data is aligned to the element's size; bytes == product of shape * element size.
struct Tensor {
  std::string name;
  Dtype dtype = Dtype::kU8;
  std::vector<int64_t> shape;
  const std::byte* data = nullptr;
  int64_t bytes = 0;
};

std::string shape_text(const std::vector<int64_t>& shape);  // "[16, 5120]"

// All tensors of a file's bytes, in the header's order. Throws CheckpointError naming `origin` and the
// tensor: header over 100 MB or beyond the file, JSON of another structure, unknown dtype, shape that
// disagrees with the offsets, ranges outside the file or overlapping, a name given twice.
std::vector<Tensor> parse_safetensors(std::span<const std::byte> file, const std::string& origin);

// A read-only private mapping of a whole file.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);  // throws CheckpointError
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // Copies bytes() [at, at + count) from the file. Any thread. Throws CheckpointError.
  void read(size_t at, size_t count, std::byte* to) const;

 private:
  // Has the disk read these bytes, all of them at the same time; does not wait.
  void ask_for(size_t at, size_t count) const;

  const std::string path_;
  int file_ = -1;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace outrider::checkpoint
