// Bytes as a tokenizer.json; what loads must encode and decode.
#include "base/error.h"
#include "tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) try {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = outrider::tokenizer::Tokenizer::parse(bytes, "fuzz");
  tokenizer->decode(tokenizer->encode(bytes.substr(0, 200), true), false);
  return 0;
} catch (const outrider::CheckpointError&) {
  return 0;
} catch (const outrider::RequestError&) {
  return 0;
}
