// What the sampler's host and device parts both know: the state of the slots, the records that fill it, the
// rows of a step and their results.
#pragma once

#include <cstddef>
#include <cstdint>

namespace outrider::cuda {

// A row is worked on by a cluster of so many blocks, which hold it in their shared memory.
inline constexpr int kRowBlocks = 8;
inline constexpr int kMaxRowsPerLaunch = 512;  // rows travel as a kernel parameter
inline constexpr int kSlotListWords = 256;     // biases, stop ids, bad words; more lie in pinned host memory
// Outputs kept for bad words, whose prefixes are no longer (the server caps a word at 4096 bytes).
inline constexpr int kRecentTokens = 4096;

// Row values of a block: a multiple of 4, so that slices start at 16 bytes where the row does.
constexpr int row_slice(int vocab) { return ((vocab + kRowBlocks - 1) / kRowBlocks + 3) / 4 * 4; }
// The largest slice of which two fit in one SM beside the histograms: rows of up to 208 000 values.
inline constexpr int kMaxRowSlice = 26000;

// Counts for penalties, one byte a token: bit 7 = in the prompt, the others = times in the output, where
// kCountEscape says that the count is in the slot's overflow list.
inline constexpr uint8_t kInPrompt = 0x80;
inline constexpr int kCountEscape = 0x7f;
struct CountOverflow {
  int32_t token = 0;
  int32_t count = 0;
};

enum SlotFlags : uint32_t {
  kGreedy = 1,
  kPenalties = 2,
  kAllowedOnly = 4,
  kProcessedLogprobs = 8,
};

struct SlotParams {
  double temperature = 1.0;
  double top_p = 1.0;
  double log_min_p = 0.0;  // read where has_min_p
  const int32_t* lists = nullptr;
  float repetition = 1.0f, frequency = 0.0f, presence = 0.0f;
  int32_t top_k = 0;  // 0: off
  int32_t has_min_p = 0;
  uint32_t flags = 0;
  // `lists`: tokens to bias, the biases' bits, stop ids, num_bad_words + 1 word starts, the words' tokens.
  int32_t num_biases = 0, num_stop_ids = 0, num_bad_words = 0;
  int32_t padding = 0;
};

// Followed by `lists` (num_list_words), the mask of allowed ids (mask_words, with kAllowedOnly), the counts
// (num_counts words: token | byte << 24), overflows (num_overflows pairs), recent outputs (the last of
// num_outputs, at most kRecentTokens).
struct BindRecord {
  SlotParams params;
  int32_t slot = 0;
  int32_t num_list_words = 0;
  int32_t num_counts = 0;
  int32_t num_overflows = 0;
  int32_t num_outputs = 0;
  int32_t padding = 0;
};
static_assert(sizeof(BindRecord) % 8 == 0);

// Device memory of all slots; shapes in brackets.
struct SlotState {
  SlotParams* params = nullptr;        // [slots]
  int32_t* lists = nullptr;            // [slots][kSlotListWords]
  int32_t* last_tokens = nullptr;      // [slots]
  int32_t* num_outputs = nullptr;      // [slots]
  int32_t* recent = nullptr;           // [slots][kRecentTokens]: output n at n % kRecentTokens
  uint32_t* allowed = nullptr;         // [slots][mask_words]
  uint8_t* counts = nullptr;           // [slots][count_stride]
  CountOverflow* overflows = nullptr;  // [slots][max_overflows]
  int32_t* num_overflows = nullptr;    // [slots]
  int32_t mask_words = 0;
  int32_t count_stride = 0;
  int32_t max_overflows = 0;
};

struct RowTask {
  double uniform = 0.0;  // the draw, [0, 1)
  int32_t slot = 0;
  int32_t prompt_token = -1;  // of a row that is not sampled
  int32_t top = -1;           // alternatives wanted; -1: no logprobs
  int32_t top_offset = 0;     // of the row's first alternative in SampleArgs::top
  uint8_t sample = 0;
  uint8_t mask_stop_ids = 0;  // the output is shorter than min_tokens
  uint8_t padding[2] = {};
  int32_t mask = -1;  // index in SampleArgs::masks; -1: every id
};

// In host memory, written by the device.
struct RowResult {
  int32_t token = 0;
  int32_t rank = 0;
  float value = 0.0f;  // of the token, of the kind that logprobs are asked of
  float max = 0.0f;    // of the row
  uint64_t total = 0;  // sum of exp(value - max), in units of 1 / kWeightOne
};
struct TopEntry {
  int32_t token = 0;
  float value = 0.0f;
};

// Weights exp(x - max) are integers in units of 2^-36: sums of up to 2^18 are exact in any order, and fit a
// double. A weight below half a unit counts as 0: less than 3e-6 of the total even if all of a row's are.
inline constexpr float kWeightOne = 0x1p36f;

struct SampleArgs {
  const float* logits = nullptr;    // [rows][vocab]
  const uint32_t* masks = nullptr;  // [RowTask::mask][mask_words], set bits are allowed
  SlotState state;
  RowResult* results = nullptr;  // [rows]
  TopEntry* top = nullptr;
  int32_t vocab = 0, valid_vocab = 0;
  int32_t slice = 0;  // row_slice(vocab)
  RowTask rows[kMaxRowsPerLaunch];
};

}  // namespace outrider::cuda
