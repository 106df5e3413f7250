#include "cuda/attention.h"

#include <gtest/gtest.h>

#include <map>

#include "cuda/needs_gpu.h"
#include "cuda/paged_sequences.h"

namespace outrider::cuda {
namespace {

using model::KvDtype;
using test::AttentionCase;

constexpr KvDtype kTypes[] = {KvDtype::kFp8E4m3, KvDtype::kBf16};
constexpr AttentionShape kShapes[] = {{40, 8, 128}, {8, 2, 64}, {4, 2, 64}};

int num_sms() {
  int sms = 0;
  check(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, 0), "cudaDeviceGetAttribute");
  return sms;
}

// |error| / |expected| over all elements of a case, and of its worst (token, head).
constexpr double kErrorOfCase = 5e-3, kErrorOfHead = 1.5e-2;

// Compares tokens at both ends and a few between, for a few heads: the reference takes its time.
void expect_close(const PagedSequences& data, const AttentionShape& shape, int sequence,
                  const std::vector<uint16_t>& out) {
  const int tokens = data.sequences()[sequence].new_tokens, hd = shape.head_dim;
  const bool is_long = data.sequences()[sequence].context > 2000;
  std::vector<int> chosen = {0, tokens - 1};
  for (int i = 1; i < 6; ++i) chosen.push_back(i * tokens / 6);
  if (is_long) chosen.push_back(std::min(tokens - 1, 8192 - data.sequences()[sequence].context));
  double error = 0, size = 0;
  for (int token : chosen) {
    if (token < 0) continue;
    for (int head = 0; head < shape.heads; head += is_long ? 13 : 3) {
      const auto expected = data.reference(sequence, token, head);
      double head_error = 0, head_size = 0;
      for (int c = 0; c < hd; ++c) {
        const double got = bf16_value(out[size_t(token) * data.q_size() + head * hd + c]);
        ASSERT_NEAR(got, expected.value[c], expected.bound[c])
            << "token " << token << " head " << head << " channel " << c;
        head_error += (got - expected.value[c]) * (got - expected.value[c]);
        head_size += expected.value[c] * expected.value[c];
      }
      EXPECT_LE(std::sqrt(head_error / head_size), kErrorOfHead) << "token " << token << " head " << head;
      error += head_error / head_size;
      ++size;
    }
  }
  EXPECT_LE(std::sqrt(error / size), kErrorOfCase);
}

void run_case(const AttentionCase& c, unsigned seed) {
  SCOPED_TRACE(testing::Message() << "dtype " << int(c.dtype) << " heads " << c.heads << "/" << c.kv_heads
                                  << "x" << c.head_dim << " chunk " << c.chunk_size << " context "
                                  << c.context << " new " << c.new_tokens);
  const AttentionShape shape{c.heads, c.kv_heads, c.head_dim, c.dtype};
  const PagedSequences data(shape, c.chunk_size, {{c.context, c.new_tokens}}, seed);
  const Attention attention(shape, num_sms());
  expect_close(data, shape, 0, data.run(attention, {{0, 0, c.new_tokens}}, Split::kAsPlanned));
}

TEST(CudaAttention, every_shared_case_is_within_its_bound_of_the_exact_result) {
  NEEDS_GPU();
  unsigned seed = 1;
  for (const AttentionCase& c : test::attention_cases()) {
    if (c.dtype == KvDtype::kF32 || c.block_size != kPagePositions || c.head_dim != 64) continue;
    run_case(c, seed++);
    if (HasFatalFailure()) return;
  }
}

TEST(CudaAttention, scout_is_within_its_bound_around_every_edge) {
  NEEDS_GPU();
  unsigned seed = 1000;
  for (const AttentionCase& c : test::scout_attention_cases()) {
    run_case(c, seed++);
    if (HasFatalFailure()) return;
  }
}

// Rows of sequences, by (sequence, token), wherever they were computed.
using Rows = std::map<std::pair<int, int>, std::vector<uint16_t>>;

void collect(const PagedSequences& data, const Attention& attention, const std::vector<Piece>& pieces,
             Split split, Rows& rows) {
  const std::vector<uint16_t> out = data.run(attention, pieces, split);
  auto at = out.begin();
  for (const Piece& piece : pieces) {
    for (int i = 0; i < piece.count; ++i, at += data.q_size()) {
      rows[{piece.sequence, piece.first + i}].assign(at, at + data.q_size());
    }
  }
}

void expect_same(const Rows& rows, const Rows& expected, const char* what) {
  for (const auto& [key, bits] : rows) {
    ASSERT_EQ(bits, expected.at(key)) << what << ": sequence " << key.first << " token " << key.second;
    for (uint16_t b : bits) ASSERT_TRUE(std::isfinite(bf16_value(b))) << what;
  }
}

void expect_same_bits_in_any_company(const AttentionShape& shape, int chunk_size) {
  SCOPED_TRACE(testing::Message() << "dtype " << int(shape.dtype) << " heads " << shape.heads << "/"
                                  << shape.kv_heads << "x" << shape.head_dim << " chunk " << chunk_size);
  const Attention attention(shape, num_sms());
  const std::vector<TestSequence> sequences = {{0, 150}, {470, 90}, {2000, 40},
                                               {63, 3},  {1024, 1}, {1700, 70}};
  const PagedSequences data(shape, chunk_size, sequences, 77);
  Rows whole;
  std::vector<Piece> together;
  for (int s = 0; s < int(sequences.size()); ++s) together.push_back({s, 0, sequences[s].new_tokens});
  collect(data, attention, together, Split::kAsPlanned, whole);

  Rows alone, decode, decode_split, cut;
  std::vector<Piece> singles, pieces;
  for (const Piece& all : together) {
    collect(data, attention, {all}, Split::kNever, alone);
    for (int i = 0; i < all.count; ++i) singles.push_back({all.sequence, i, 1});
    for (int i = 0, count = 1; i < all.count; i += count, count = 1 + (count * 7 + 4) % 37) {
      pieces.push_back({all.sequence, i, std::min(count, all.count - i)});
    }
  }
  std::reverse(pieces.begin(), pieces.end());
  collect(data, attention, singles, Split::kNever, decode);
  collect(data, attention, singles, Split::kAlways, decode_split);
  collect(data, attention, pieces, Split::kAlways, cut);
  expect_same(alone, whole, "alone");
  expect_same(decode, whole, "token by token");
  expect_same(decode_split, whole, "token by token, runs on several blocks");
  expect_same(cut, whole, "in pieces");
}

TEST(CudaAttention, a_row_has_the_same_bits_in_any_company_and_however_its_prompt_is_cut) {
  NEEDS_GPU();
  for (AttentionShape shape : kShapes) {
    for (KvDtype dtype : kTypes) {
      shape.dtype = dtype;
      for (int chunk : {0, 100, 640}) {
        expect_same_bits_in_any_company(shape, chunk);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(CudaAttention, two_runs_of_a_full_batch_have_the_same_bits) {
  NEEDS_GPU();
  const AttentionShape shape{40, 8, 128, KvDtype::kFp8E4m3};
  const Attention attention(shape, num_sms());
  std::vector<TestSequence> sequences;
  std::vector<Piece> pieces;
  for (int s = 0; s < 96; ++s) {
    sequences.push_back({(s * 53) % 1400, 1});
    pieces.push_back({s, 0, 1});
  }
  const PagedSequences data(shape, 8192, sequences, 5);
  Rows first, second;
  collect(data, attention, pieces, Split::kAsPlanned, first);
  collect(data, attention, pieces, Split::kAsPlanned, second);
  expect_same(second, first, "again");
}

TEST(CudaAttention, shapes_without_a_kernel_are_refused) {
  EXPECT_THROW(Attention({40, 8, 96, KvDtype::kFp8E4m3}, 132), DeviceError);
  EXPECT_THROW(Attention({40, 8, 128, KvDtype::kF32}, 132), DeviceError);
  EXPECT_THROW(Attention({40, 4, 128, KvDtype::kBf16}, 132), DeviceError);
}

}  // namespace
}  // namespace outrider::cuda
