// Sums, roundings and codes are compared bit for bit with the same steps on the host; norms, logits, sigmoids
// and SwiGLU with double precision. Memory that a kernel is to write is NaN before.
#include "cuda/elementwise.h"

#include <gtest/gtest.h>

#include <set>

#include "cpu/number_formats.h"
#include "cuda/needs_gpu.h"
#include "cuda/paged_sequences.h"
#include "runner/runner.h"

namespace outrider::cuda {
namespace {

using Bits = std::vector<uint16_t>;  // bf16

// Once rounded to bf16, after fp32 arithmetic whose own error is far smaller.
double bf16_bound(double exact) { return 0x1.02p-8 * std::fabs(exact) + 1e-30; }

class ElementwiseTest : public testing::Test {
 protected:
  void SetUp() override { NEEDS_GPU(); }

  Bits random_bits(int64_t n, float range = 4.0f) {
    std::uniform_real_distribution<float> uniform(-range, range);
    Bits bits(n);
    for (uint16_t& b : bits) b = bf16_bits(uniform(random_));
    return bits;
  }

  static DeviceBuffer poisoned(size_t bytes) {
    DeviceBuffer buffer(bytes);
    check(cudaMemset(buffer.as<void>(), 0xFF, bytes), "cudaMemset");
    return buffer;
  }

  template <typename T>
  std::vector<T> to_host(const DeviceBuffer& buffer) {
    check(cudaStreamSynchronize(stream_), "kernel");
    std::vector<T> host(buffer.bytes() / sizeof(T));
    check(cudaMemcpy(host.data(), buffer.as<void>(), buffer.bytes(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return host;
  }

  std::mt19937 random_{17};
  const cudaStream_t stream_ = nullptr;  // the default stream: needs no device before SetUp
};

uint8_t code_of(uint16_t bits, float scale) { return cpu::float_to_e4m3(bf16_value(bits) / scale); }

TEST_F(ElementwiseTest,
       embed_takes_tokens_from_the_batch_or_the_slots_last_one_and_never_reads_beyond_the_table) {
  constexpr int kVocab = 300;
  const std::vector<int32_t> tokens = {5,       runner::kTokenFromDevice, 299, 0, 300,
                                       1 << 30, runner::kTokenFromDevice};
  const std::vector<int32_t> sequence_of_row = {0, 1, 2, 2, 2, 2, 3};
  const std::vector<BatchSequence> sequences = {{0, 1, 0, 6}, {1, 1, 0, 2}, {2, 4, 0, 1}, {6, 1, 0, 0}};
  const std::vector<int32_t> last_token = {17, 18, 123, 19, 20, 21, 22};
  const std::vector<int> expected = {5, 123, 299, 0, 299, 299, 17};
  const DeviceBuffer t = to_device(tokens), of_row = to_device(sequence_of_row), s = to_device(sequences),
                     last = to_device(last_token);
  for (int hidden : {128, 5120, 8192}) {
    const Bits table = random_bits(int64_t{kVocab} * hidden);
    const DeviceBuffer table_device = to_device(table), out = poisoned(tokens.size() * hidden * 2);
    Batch batch;
    batch.num_rows = static_cast<int>(tokens.size());
    batch.num_sequences = static_cast<int>(sequences.size());
    batch.tokens = t.as<int32_t>();
    batch.sequence_of_row = of_row.as<int32_t>();
    batch.sequences = s.as<BatchSequence>();
    embed(batch, table_device.as<void>(), last.as<int32_t>(), kVocab, hidden, out.as<void>(), stream_);
    const Bits got = to_host<uint16_t>(out);
    for (size_t row = 0; row < tokens.size(); ++row) {
      EXPECT_TRUE(std::equal(table.begin() + expected[row] * hidden,
                             table.begin() + (expected[row] + 1) * hidden, got.begin() + row * hidden))
          << "row " << row;
    }
  }
}

// One call of add_norm, its inputs on the host, and what it must give.
struct NormCase {
  int rows = 0, hidden = 0, experts_per_token = 0;
  Bits residual, update, expert_out, weight;
  std::vector<int32_t> place;      // of a pair
  std::vector<int32_t> row_index;  // empty: every row

  int row_of(int i) const { return row_index.empty() ? i : row_index[i]; }

  uint16_t summed(int row, int i) const {
    const int64_t at = int64_t{row} * hidden + i;
    float sum = bf16_value(residual[at]);
    if (!update.empty()) sum += bf16_value(update[at]);
    for (int rank = 0; rank < experts_per_token; ++rank) {
      sum += bf16_value(expert_out[int64_t{place[row * experts_per_token + rank]} * hidden + i]);
    }
    return bf16_bits(sum);
  }
};

void expect_norm(const NormCase& c, const Bits& got, int outputs) {
  for (int i = 0; i < outputs; ++i) {
    const int row = c.row_of(i);
    double squares = 0;
    for (int j = 0; j < c.hidden; ++j) {
      const double x = bf16_value(c.summed(row, j));
      squares += x * x;
    }
    const double rms = std::sqrt(squares / c.hidden + 1e-5);
    int wrong = 0;
    for (int j = 0; j < c.hidden; ++j) {
      const double exact = bf16_value(c.summed(row, j)) / rms * bf16_value(c.weight[j]);
      const double value = bf16_value(got[int64_t{i} * c.hidden + j]);
      wrong += !(std::fabs(value - exact) <= bf16_bound(exact));
    }
    EXPECT_EQ(wrong, 0) << "row " << row << " of " << c.hidden;
  }
}

void expect_residual(const NormCase& c, const Bits& got) {
  const bool kept = !c.row_index.empty();
  int wrong = 0;
  for (int row = 0; row < c.rows; ++row) {
    for (int j = 0; j < c.hidden; ++j) {
      const int64_t at = int64_t{row} * c.hidden + j;
      wrong += got[at] != (kept ? c.residual[at] : c.summed(row, j));
    }
  }
  EXPECT_EQ(wrong, 0) << "residual, " << c.rows << " x " << c.hidden;
}

// The inputs of a NormCase on the device; keep it while the call runs.
struct NormOnDevice {
  explicit NormOnDevice(const NormCase& c)
      : residual(to_device(c.residual)),
        update(to_device(c.update)),
        expert_out(to_device(c.expert_out)),
        weight(to_device(c.weight)),
        place(to_device(c.place)),
        row_index(to_device(c.row_index)) {
    call.rows = c.row_index.empty() ? c.rows : static_cast<int>(c.row_index.size());
    call.hidden = c.hidden;
    call.residual = residual.as<void>();
    if (!c.update.empty()) call.update = update.as<void>();
    if (c.experts_per_token > 0) {
      call.expert_out = expert_out.as<void>();
      call.place_of_pair = place.as<int32_t>();
      call.experts_per_token = c.experts_per_token;
    }
    if (!c.row_index.empty()) call.row_index = row_index.as<int32_t>();
    call.weight = weight.as<void>();
  }
  DeviceBuffer residual, update, expert_out, weight, place, row_index;
  AddNorm call;
};

class AddNormTest : public ElementwiseTest {
 protected:
  NormCase make_case(int rows, int hidden, bool update, int experts_per_token) {
    NormCase c;
    c.rows = rows;
    c.hidden = hidden;
    c.experts_per_token = experts_per_token;
    c.residual = random_bits(int64_t{rows} * hidden, 30.0f);
    if (update) c.update = random_bits(int64_t{rows} * hidden);
    c.expert_out = random_bits(int64_t{rows} * experts_per_token * hidden);
    c.weight = random_bits(hidden);
    for (int pair = 0; pair < rows * experts_per_token; ++pair) c.place.push_back(pair);
    std::shuffle(c.place.begin(), c.place.end(), random_);
    return c;
  }

  void run(const NormCase& c) {
    NormOnDevice in(c);
    const int outputs = in.call.rows;
    const DeviceBuffer out = poisoned(int64_t{outputs} * c.hidden * 2),
                       codes = poisoned(int64_t{outputs} * c.hidden), counts = poisoned(20 * sizeof(int32_t));
    in.call.out = {ElementType::kBf16, out.as<void>(), 1.0f};
    in.call.clear = counts.as<int32_t>();
    in.call.clear_count = 17;
    add_norm(in.call, stream_);
    const Bits normed = to_host<uint16_t>(out);
    expect_norm(c, normed, outputs);
    expect_residual(c, to_host<uint16_t>(in.residual));
    const std::vector<int32_t> cleared = to_host<int32_t>(counts);
    for (int i = 0; i < 20; ++i) EXPECT_EQ(cleared[i], i < 17 ? 0 : -1);

    constexpr float kScale = 0.0073f;  // some values saturate
    NormOnDevice again(c);
    again.call.out = {ElementType::kFp8, codes.as<void>(), kScale};
    add_norm(again.call, stream_);
    const std::vector<uint8_t> got = to_host<uint8_t>(codes);
    int wrong = 0;
    for (size_t i = 0; i < got.size(); ++i) wrong += got[i] != code_of(normed[i], kScale);
    EXPECT_EQ(wrong, 0) << "codes, " << outputs << " x " << c.hidden;
  }
};

TEST_F(AddNormTest, the_residual_takes_update_and_experts_each_or_neither_and_is_rounded_once) {
  for (int hidden : {128, 1024, 2056, 5120, 8192}) {
    for (bool update : {false, true}) {
      for (int experts : {0, 1, 2}) run(make_case(5, hidden, update, experts));
    }
  }
}

TEST_F(AddNormTest, chosen_rows_are_normed_in_their_order_and_the_residual_stays) {
  for (int hidden : {128, 5120}) {
    for (int experts : {0, 1}) {
      NormCase c = make_case(9, hidden, true, experts);
      c.row_index = {8, 0, 3, 3, 5};
      run(c);
    }
  }
}

TEST_F(AddNormTest, blocks_take_several_rows_each_where_rows_are_many) {
  for (int rows : {527, 528, 529, 1100}) run(make_case(rows, 1024, true, 1));
  run(make_case(1100, 2056, false, 2));
  run(make_case(600, 5120, true, 1));
}

TEST_F(AddNormTest, a_row_of_zeros_stays_zero) {
  NormCase c = make_case(2, 128, false, 0);
  std::fill(c.residual.begin(), c.residual.end(), uint16_t{0});
  run(c);
}

struct Routing {
  Bits normed, shared, residual;  // shared: bf16 `out`
  std::vector<int32_t> expert, rank, count;
  std::vector<float> score;
};

class RouteTest : public AddNormTest {
 protected:
  Routing route(const NormCase& c, const Bits& router, int experts, int top_k) {
    const int64_t pairs = int64_t{c.rows} * top_k;
    NormOnDevice in(c);
    const DeviceBuffer weights = to_device(router), out = poisoned(c.residual.size() * 2),
                       normed = poisoned(c.residual.size() * 2), expert = poisoned(pairs * 4),
                       rank = poisoned(pairs * 4), score = poisoned(pairs * 4),
                       count = to_device(std::vector<int32_t>(experts, 0));
    AddNormRoute call;
    call.norm = in.call;
    call.norm.experts_per_token = top_k;
    call.norm.out = {ElementType::kBf16, out.as<void>(), 1.0f};
    call.router = weights.as<void>();
    call.experts = experts;
    call.normed = normed.as<void>();
    call.expert_of_pair = expert.as<int32_t>();
    call.rank_of_pair = rank.as<int32_t>();
    call.count_of_expert = count.as<int32_t>();
    call.score_of_pair = score.as<float>();
    add_norm_route(call, stream_);
    return {to_host<uint16_t>(normed), to_host<uint16_t>(out), to_host<uint16_t>(in.residual),
            to_host<int32_t>(expert),  to_host<int32_t>(rank), to_host<int32_t>(count),
            to_host<float>(score)};
  }

  // What rows and pairs become on the way for few rows is what the two kernels for many make of them, bit for
  // bit.
  void expect_few_alike(const NormCase& c, const Bits& router, int experts, int top_k) {
    const Routing many = route(c, router, experts, top_k);
    const int64_t pairs = int64_t{c.rows} * top_k;
    NormOnDevice in(c), reference(c);
    std::vector<float> scales;
    for (int e = 0; e < experts; ++e) scales.push_back(0.004f * static_cast<float>(e + 1));
    const DeviceBuffer weights = to_device(router), out = poisoned(c.residual.size() * 2),
                       expert = poisoned(pairs * 4), codes = poisoned(pairs * c.hidden),
                       scale = to_device(scales);
    AddNormRoute call;
    call.norm = in.call;
    call.norm.experts_per_token = top_k;
    call.norm.out = {ElementType::kBf16, out.as<void>(), 1.0f};
    call.router = weights.as<void>();
    call.experts = experts;
    call.expert_of_pair = expert.as<int32_t>();
    add_norm_route_few(call, {{ElementType::kFp8, codes.as<void>(), 1.0f}, scale.as<float>()}, stream_);
    EXPECT_EQ(to_host<uint16_t>(out), many.shared);
    EXPECT_EQ(to_host<int32_t>(expert), many.expert);
    reference.call.out = call.norm.out;
    add_norm(reference.call, stream_);
    EXPECT_EQ(to_host<uint16_t>(in.residual), to_host<uint16_t>(reference.residual));
    EXPECT_EQ(to_host<uint16_t>(in.residual), many.residual);
    const std::vector<uint8_t> got = to_host<uint8_t>(codes);
    int wrong = 0;
    for (int64_t i = 0; i < pairs * c.hidden; ++i) {
      const int64_t pair = i / c.hidden;
      const uint16_t value =
          bf16_bits(bf16_value(many.normed[pair / top_k * c.hidden + i % c.hidden]) * many.score[pair]);
      wrong += got[i] != code_of(value, scales[many.expert[pair]]);
    }
    EXPECT_EQ(wrong, 0) << experts << " experts, top " << top_k;
  }

  // Logit of an expert from the kernel's own normed row, and how far fp32 sums may be from it.
  static double logit(const Bits& normed, const Bits& router, int hidden, int row, int expert,
                      double* bound) {
    double sum = 0, magnitude = 0;
    for (int i = 0; i < hidden; ++i) {
      const double term = double{bf16_value(normed[int64_t{row} * hidden + i])} *
                          bf16_value(router[int64_t{expert} * hidden + i]);
      sum += term;
      magnitude += std::fabs(term);
    }
    // A thread adds hidden / 256 products in order, then eight levels of sums.
    *bound = magnitude * (hidden / 256 + 16) * 0x1p-24;
    return sum;
  }

  static void expect_best(const Routing& r, const Bits& router, const NormCase& c, int experts, int top_k) {
    for (int row = 0; row < c.rows; ++row) {
      std::set<int> taken;
      for (int rank = 0; rank < top_k; ++rank) {
        const int pair = row * top_k + rank, chosen = r.expert[pair];
        ASSERT_TRUE(chosen >= 0 && chosen < experts && taken.insert(chosen).second) << chosen;
        double bound = 0, other_bound = 0;
        const double value = logit(r.normed, router, c.hidden, row, chosen, &bound);
        for (int e = 0; e < experts; ++e) {
          if (taken.count(e) > 0) continue;
          EXPECT_GE(value + bound, logit(r.normed, router, c.hidden, row, e, &other_bound) - other_bound)
              << "row " << row << " took " << chosen << " before " << e;
        }
        const double sigmoid = 1.0 / (1.0 + std::exp(-value));
        EXPECT_NEAR(r.score[pair], sigmoid, sigmoid * (bound + 0x1p-21)) << "row " << row;
      }
    }
  }

  // Pairs of an expert are numbered from 0 without a gap.
  static void expect_ranks(const Routing& r, int experts) {
    std::vector<std::set<int>> ranks(experts);
    for (size_t pair = 0; pair < r.expert.size(); ++pair) {
      EXPECT_TRUE(ranks[r.expert[pair]].insert(r.rank[pair]).second);
    }
    for (int e = 0; e < experts; ++e) {
      EXPECT_EQ(r.count[e], static_cast<int>(ranks[e].size()));
      if (!ranks[e].empty()) EXPECT_EQ(*ranks[e].rbegin(), r.count[e] - 1);
    }
  }

  void dispatch_and_check(const Routing& r, const NormCase& c, int experts, int top_k, ElementType type) {
    const int64_t pairs = int64_t{c.rows} * top_k;
    std::vector<float> scales;
    for (int e = 0; e < experts; ++e) scales.push_back(0.004f * static_cast<float>(e + 1));
    const DeviceBuffer normed = to_device(r.normed), expert = to_device(r.expert), rank = to_device(r.rank),
                       count = to_device(r.count), score = to_device(r.score), scale = to_device(scales),
                       place = poisoned(pairs * 4), begin = poisoned((experts + 1) * 4),
                       out = poisoned(pairs * c.hidden * (type == ElementType::kFp8 ? 1 : 2));
    Dispatch call{c.rows,
                  c.hidden,
                  experts,
                  top_k,
                  normed.as<void>(),
                  expert.as<int32_t>(),
                  rank.as<int32_t>(),
                  count.as<int32_t>(),
                  score.as<float>(),
                  scale.as<float>(),
                  place.as<int32_t>(),
                  begin.as<int32_t>(),
                  {type, out.as<void>(), 1.0f}};
    dispatch(call, stream_);
    const std::vector<int32_t> begins = to_host<int32_t>(begin), places = to_host<int32_t>(place);
    int sum = 0;
    for (int e = 0; e <= experts; ++e) {
      EXPECT_EQ(begins[e], sum);
      if (e < experts) sum += r.count[e];
    }
    const Bits values = type == ElementType::kBf16 ? to_host<uint16_t>(out) : Bits();
    const std::vector<uint8_t> codes =
        type == ElementType::kFp8 ? to_host<uint8_t>(out) : std::vector<uint8_t>();
    int wrong = 0;
    for (int pair = 0; pair < pairs; ++pair) {
      ASSERT_EQ(places[pair], begins[r.expert[pair]] + r.rank[pair]);
      for (int i = 0; i < c.hidden; ++i) {
        const uint16_t value =
            bf16_bits(bf16_value(r.normed[int64_t{pair / top_k} * c.hidden + i]) * r.score[pair]);
        const int64_t at = int64_t{places[pair]} * c.hidden + i;
        wrong += type == ElementType::kBf16 ? values[at] != value
                                            : codes[at] != code_of(value, scales[r.expert[pair]]);
      }
    }
    EXPECT_EQ(wrong, 0) << experts << " experts, top " << top_k;
  }
};

TEST_F(RouteTest, rows_go_to_their_best_experts_scaled_by_the_sigmoid_and_lie_together) {
  for (int hidden : {128, 5120}) {
    for (int experts : {1, 4, 16, 32}) {
      for (int top_k : {1, 2}) {
        if (top_k > experts) continue;
        const NormCase c = make_case(70, hidden, true, 0);
        const Bits router = random_bits(int64_t{experts} * hidden, 0.1f);
        const Routing r = route(c, router, experts, top_k);
        expect_norm(c, r.normed, c.rows);
        EXPECT_EQ(r.normed, r.shared);
        expect_best(r, router, c, experts, top_k);
        expect_ranks(r, experts);
        dispatch_and_check(r, c, experts, top_k, ElementType::kFp8);
        dispatch_and_check(r, c, experts, top_k, ElementType::kBf16);
      }
    }
  }
}

TEST_F(RouteTest, few_rows_are_routed_and_dispatched_at_once_with_the_same_bits) {
  for (int hidden : {128, 5120}) {
    for (int experts : {1, 4, 16, 31}) {
      for (int top_k : {1, 2}) {
        if (top_k > experts) continue;
        for (int rows : {1, 3, 16}) {
          const NormCase c = make_case(rows, hidden, true, 0);
          expect_few_alike(c, random_bits(int64_t{experts} * hidden, 0.1f), experts, top_k);
        }
      }
    }
  }
}

// Around the numbers of rows where warps and clusters take one more, and where a warp takes several in turn.
TEST_F(RouteTest, any_number_of_rows_is_routed_with_the_bits_of_few_rows) {
  for (int hidden : {1024, 2056, 5120}) {
    const Bits router = random_bits(int64_t{16} * hidden, 0.1f);
    for (int rows : {1, 2, 16, 17, 33, 127, 128, 129, 255, 256, 257, 511, 513, 1025}) {
      if (rows > 300 && hidden > 2056) continue;
      const NormCase c = make_case(rows, hidden, true, 0);
      expect_few_alike(c, router, 16, 1);
      const Routing r = route(c, router, 16, 1);
      expect_ranks(r, 16);
      EXPECT_EQ(r.normed, r.shared);
    }
  }
}

TEST_F(RouteTest, many_rows_of_full_width_are_routed_in_several_turns) {
  const Bits router = random_bits(int64_t{32} * 5120, 0.1f);
  for (int experts : {16, 31}) {
    const NormCase c = make_case(2085, 5120, true, 0);
    expect_few_alike(c, Bits(router.begin(), router.begin() + int64_t{experts} * 5120), experts, 2);
  }
}

TEST_F(RouteTest, experts_of_the_layer_before_are_added_on_the_way) {
  for (int rows : {16, 70, 300}) {
    const NormCase c = make_case(rows, 5120, true, 1);
    expect_few_alike(c, random_bits(int64_t{16} * 5120, 0.1f), 16, 1);
  }
}

TEST_F(RouteTest, of_equal_logits_the_lowest_expert_is_taken) {
  constexpr int kHidden = 1024, kExperts = 16;
  const NormCase c = make_case(40, kHidden, false, 0);
  Bits router = random_bits(int64_t{kExperts} * kHidden, 0.1f);
  std::copy(router.begin(), router.begin() + kExperts / 2 * kHidden, router.begin() + kExperts / 2 * kHidden);
  const Routing twins = route(c, router, kExperts, 2);
  for (int row = 0; row < c.rows; ++row) {
    EXPECT_LT(twins.expert[2 * row], kExperts / 2);
    EXPECT_EQ(twins.expert[2 * row + 1], twins.expert[2 * row] + kExperts / 2);
    EXPECT_EQ(twins.score[2 * row], twins.score[2 * row + 1]);
  }
  const Routing equal = route(c, Bits(router.size(), 0), kExperts, 1);
  for (int row = 0; row < c.rows; ++row) EXPECT_EQ(equal.expert[row], 0);
  EXPECT_EQ(equal.count[0], c.rows);
  EXPECT_EQ(equal.score[0], 0.5f);
}

}  // namespace
}  // namespace outrider::cuda
