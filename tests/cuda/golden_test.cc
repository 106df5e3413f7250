#include "golden/end_to_end.h"

#include "cuda/needs_gpu.h"
#include "cuda/tiny_model.h"

namespace outrider::cuda {
namespace {

using test::GoldenCase;
using test::GoldenRun;

class CudaGolden : public testing::TestWithParam<GoldenCase> {
 protected:
  void SetUp() override {
    NEEDS_GPU();
    TinyOptions options;
    if (GetParam().mode.find("kv") != std::string::npos) options.kv_dtype = model::KvDtype::kFp8E4m3;
    model_ = std::make_unique<TinyModel>(load_tiny("tiny-a-" + GetParam().form), options);
  }
  std::unique_ptr<TinyModel> model_;
};

TEST_P(CudaGolden, PromptLogitsAndLogprobsAreWithinTheStatedBounds) {
  GoldenRun(GetParam(), *model_).check_prompts();
}

TEST_P(CudaGolden, GreedyContinuationsAreEqualUpToTheFirstNarrowChoice) {
  GoldenRun(GetParam(), *model_).check_greedy(1);
}

// The bf16 engine's rows of the fixtures' tolerance table.
INSTANTIATE_TEST_SUITE_P(All, CudaGolden,
                         testing::Values(GoldenCase{"bf16", "w", 0.02, 0.09, 0.09, 0.7, 0.4},
                                         GoldenCase{"fp8", "wa", 0.11, 0.40, 0.40, 2.0, 2.5},
                                         GoldenCase{"fp8", "wakv", 0.11, 0.40, 0.40, 2.0, 2.5}),
                         test::name_of);

// A row's logits, bit for bit: whatever else is in the batch, however its prompt was cut, as prompt or as
// decode row.
TEST(CudaInvariance, a_row_has_the_same_logits_in_any_company_and_any_split) {
  NEEDS_GPU();
  for (const char* form : {"tiny-a-bf16", "tiny-a-fp8"}) {
    TinyModel model(load_tiny(form), {model::KvDtype::kFp8E4m3, 600, 4});
    std::vector<std::vector<int32_t>> prompts;
    uint32_t state = 12345;
    for (int length : {130, 7, 65, 300}) {
      std::vector<int32_t>& prompt = prompts.emplace_back();
      for (int i = 0; i < length; ++i)
        prompt.push_back(static_cast<int32_t>((state = state * 1664525u + 1013904223u) >> 8) % 1000);
    }
    const size_t vocab = model.config().vocab_size;
    for (size_t s = 0; s < prompts.size(); ++s) {
      const std::span<const int32_t> prompt = prompts[s];
      const std::vector<float> alone = model.run({{0, 0, prompt}});
      for (size_t cut : {size_t{1}, prompt.size() / 2, prompt.size() - 1}) {
        model.run({{1, 0, prompt.first(cut)}});
        std::vector<test::Piece> company;
        for (size_t o = 0; o < prompts.size(); ++o) {
          if (o != s) company.push_back({o == 1 ? static_cast<int>(s) : static_cast<int>(o), 0, prompts[o]});
        }
        company.insert(company.begin() + 1, {1, static_cast<int>(cut), prompt.subspan(cut)});
        const std::vector<float> together = model.run(company);
        const size_t first = company.front().tokens.size();
        for (size_t i = 0; i < prompt.size() - cut; ++i) {
          ASSERT_EQ(0, std::memcmp(alone.data() + (cut + i) * vocab, together.data() + (first + i) * vocab,
                                   vocab * sizeof(float)))
              << form << ", prompt of " << prompt.size() << " cut at " << cut << ", row " << cut + i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace outrider::cuda
