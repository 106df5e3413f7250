// The hashes by which the hub names contents.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace outrider::hub {

enum class HashKind {
  kSha256,   // of files in large file storage
  kGitSha1,  // git's name of a blob: SHA-1 of "blob <size>\0" and the content
};

class Digest {
 public:
  // `size`: bytes that will come.
  Digest(HashKind kind, uint64_t size);
  ~Digest();
  void add(const void* data, size_t count);
  // In lower-case hexadecimal digits. Once.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace outrider::hub
