#include "checkpoint/scales.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "checkpoint/parallel_for.h"
#include "model/json_fields.h"

namespace outrider::checkpoint {

using model::in_quotes;

namespace {

float read_float(const Tensor& tensor, int64_t index) {
  if (tensor.dtype == Dtype::kF32) {
    float value = 0;
    std::memcpy(&value, tensor.data + 4 * index, sizeof value);
    return value;
  }
  uint16_t bf16 = 0;
  std::memcpy(&bf16, tensor.data + 2 * index, sizeof bf16);
  return std::bit_cast<float>(uint32_t{bf16} << 16);
}

bool is_positive_e4m3(std::byte code) {
  return std::to_integer<unsigned>(code) < 0x7f;
}  // 0x7f: NaN, 0x80: sign

}  // namespace

std::vector<float> read_scales(const Tensor& tensor, int count) {
  const auto fail = [&](const std::string& what) {
    throw CheckpointError("tensor " + in_quotes(tensor.name) + " " + what);
  };
  const bool single = tensor.shape.empty() || (tensor.shape.size() == 1 && tensor.shape[0] == 1);
  const bool per_expert = tensor.shape.size() == 1 && tensor.shape[0] == count;
  if (!single && !per_expert) {
    const std::string expected = count > 1 ? "a scalar or [" + std::to_string(count) + "]" : "a scalar";
    const bool per_channel = !tensor.shape.empty() && tensor.shape.size() <= 2 && tensor.shape.back() <= 1;
    fail("has shape " + shape_text(tensor.shape) + ", expected " + expected +
         (per_channel ? "; scales for each channel (compressed-tensors) are not supported, ModelOpt's FP8 "
                        "and NVFP4 are"
                      : ""));
  }
  if (tensor.dtype != Dtype::kF32 && tensor.dtype != Dtype::kBF16)
    fail(std::string("is ") + name_of(tensor.dtype) + ", expected an F32 scale");
  std::vector<float> values;
  for (int i = 0; i < count; ++i) {
    const float value = read_float(tensor, single ? 0 : i);
    if (!std::isfinite(value) || value <= 0.0f)
      fail("holds the scale " + std::to_string(value) + ", expected a finite number above 0");
    values.push_back(value);
  }
  return values;
}

void check_block_scales(const std::vector<const Tensor*>& tensors) {
  constexpr int64_t kPiece = 1 << 20;
  struct Piece {
    const Tensor* tensor;
    int64_t begin;
  };
  std::vector<Piece> pieces;
  for (const Tensor* tensor : tensors)
    for (int64_t begin = 0; begin < tensor->bytes; begin += kPiece) pieces.push_back({tensor, begin});
  std::vector<char> good(pieces.size(), 0);
  parallel_for(static_cast<int64_t>(pieces.size()), [&](int64_t i) {
    const auto [tensor, begin] = pieces[i];
    const std::byte* data = tensor->data + begin;
    std::byte largest{0};
    for (int64_t k = 0, n = std::min(kPiece, tensor->bytes - begin); k < n; ++k)
      largest = std::max(largest, data[k]);
    good[i] = is_positive_e4m3(largest);
  });
  const auto bad = std::find(good.begin(), good.end(), 0);
  if (bad == good.end()) return;
  const auto [tensor, begin] = pieces[bad - good.begin()];
  const std::byte* end = tensor->data + tensor->bytes;
  const std::byte* code = std::find_if_not(tensor->data + begin, end, is_positive_e4m3);
  const bool nan = (std::to_integer<int>(*code) & 0x7f) == 0x7f;
  throw CheckpointError("tensor " + in_quotes(tensor->name) + " holds a " + (nan ? "NaN" : "negative") +
                        " block scale at byte " + std::to_string(code - tensor->data));
}

}  // namespace outrider::checkpoint
