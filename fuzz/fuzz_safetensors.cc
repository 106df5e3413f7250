// Any bytes as a safetensors file: tensors within those bytes, or CheckpointError.
#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "checkpoint/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    outrider::checkpoint::parse_safetensors(std::as_bytes(std::span(data, size)), "input");
  } catch (const outrider::CheckpointError&) {
  }
  return 0;
}
