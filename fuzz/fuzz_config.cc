// Any text as config.json: a configuration whose KV cache can be laid out, or CheckpointError.
#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "checkpoint/quantization.h"
#include "model/memory_plan.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    outrider::checkpoint::parse_quantization(text, "config.json", text, "hf_quant_config.json");
  } catch (const outrider::CheckpointError&) {
  }
  try {
    const outrider::model::LlamaConfig config = outrider::model::parse_config(text, "config.json");
    const auto kv = outrider::model::make_kv_geometry(config, 16, outrider::model::KvDtype::kBf16);
    if (outrider::model::pages_for_sequence(kv, config.max_position_embeddings) < 1) __builtin_trap();
  } catch (const outrider::CheckpointError&) {
  }
  return 0;
}
