// The weights of one Llama 4 model as typed views. Nothing here owns memory but through `storage`.
// A Matrix multiplies activations x[tokens, cols] to y[tokens, rows]: y = x W^T, W[rows, cols].
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/generated.h"

namespace outrider::model {

enum class WeightFormat { kBf16, kFp8, kNvfp4 };

// How elements lie in the file. kRowMajor: [rows, cols], cols contiguous (a Linear).
// kColMajor: [cols, rows], rows contiguous (fused experts); for NVFP4 bytes are [cols/2, rows], scales
// [cols/16, rows].
enum class Layout { kRowMajor, kColMajor };

struct Matrix {
  WeightFormat format = WeightFormat::kBf16;
  Layout layout = Layout::kRowMajor;
  int rows = 0;  // out
  int cols = 0;  // in
  // Elements (bf16: uint16_t; FP8: e4m3 byte; NVFP4: two e2m1 a byte along cols, low nibble = even col).
  const void* data = nullptr;
  // Distance in elements between consecutive rows (kRowMajor) or consecutive cols (kColMajor);
  // a gate half of a fused gate_up has stride 2 * rows. NVFP4 packs two cols in a byte: kRowMajor element (r,
  // c) lies in byte (r * stride + c) / 2, kColMajor in byte (c / 2) * stride + r.
  int64_t stride = 0;
  const uint8_t* block_scales = nullptr;  // NVFP4: e4m3, one for 16 cols; stride as below
  int64_t block_scale_stride =
      0;                      // kRowMajor: bytes between rows; kColMajor: bytes between groups of 16 cols
  float weight_scale = 1.0f;  // FP8: weight_scale; NVFP4: weight_scale_2; bf16: 1
  float input_scale = 0.0f;   // static activation scale; 0: none given

  bool empty() const { return data == nullptr; }
};

struct Mlp {
  Matrix gate, up;  // [intermediate, hidden]
  Matrix down;      // [hidden, intermediate]
};

struct Layer {
  const uint16_t* input_norm = nullptr;           // bf16 [hidden]
  const uint16_t* post_attention_norm = nullptr;  // bf16 [hidden]
  Matrix q, k, v, o;
  float k_scale = 1.0f, v_scale = 1.0f;  // FP8 KV cache: stored value * scale = k
  bool has_kv_scales = false;
  Matrix router;             // bf16 [experts, hidden]; empty in dense layers
  std::vector<Mlp> experts;  // [num_experts]; empty in dense layers
  Mlp shared_expert;         // MoE layers
  Mlp dense;                 // dense layers
};

// What weights are mapped from. Touching a mapping costs a page fault every few pages: who wants all of the
// bytes once reads them.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  // Copies bytes of the mapping. Any thread. Throws StartupError.
  virtual void read(const std::byte* from, int64_t bytes, std::byte* to) const = 0;
};

struct Weights {
  Matrix embed;                          // bf16 [vocab, hidden]
  Matrix lm_head;                        // bf16 [vocab, hidden]
  const uint16_t* final_norm = nullptr;  // bf16 [hidden]
  std::vector<Layer> layers;
  WeightFormat format = WeightFormat::kBf16;          // of the quantised linears
  std::shared_ptr<const void> storage;                // mapped files or dummy memory; keeps every view alive
  std::shared_ptr<const WeightSource> source;         // set: the views are of mapped files
  std::shared_ptr<const GeneratedWeights> generated;  // set: dummy weights, not yet written
};

// A model ready to be given to a runner.
struct Model {
  LlamaConfig config;
  GenerationDefaults generation;
  Weights weights;
  std::string source;                 // folder, for messages
  std::vector<std::string> warnings;  // e.g. KV scales absent, unused tensors
};

}  // namespace outrider::model
