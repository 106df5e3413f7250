#include "hub/digest.h"

#include <openssl/evp.h>

#include <new>

#include "base/text.h"

namespace outrider::hub {

struct Digest::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Digest::Digest(HashKind kind, uint64_t size) : state_(std::make_unique<State>()) {
  const EVP_MD* algorithm = kind == HashKind::kSha256 ? EVP_sha256() : EVP_sha1();
  if (state_->context == nullptr || EVP_DigestInit_ex(state_->context, algorithm, nullptr) != 1) {
    throw std::bad_alloc();
  }
  if (kind == HashKind::kSha256) return;
  const std::string header = "blob " + std::to_string(size);
  add(header.c_str(), header.size() + 1);
}

Digest::~Digest() = default;

void Digest::add(const void* data, size_t count) { EVP_DigestUpdate(state_->context, data, count); }

std::string Digest::finish() {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned count = 0;
  EVP_DigestFinal_ex(state_->context, bytes, &count);
  std::string text;
  for (unsigned i = 0; i < count; ++i) append_hex(text, bytes[i], 2);
  return text;
}

}  // namespace outrider::hub
