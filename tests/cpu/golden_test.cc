#include "golden/end_to_end.h"

#include "cpu/tiny_model.h"

namespace outrider::test {
namespace {

class Golden : public testing::TestWithParam<GoldenCase> {
 protected:
  Golden() {
    const std::string& mode = GetParam().mode;
    TinyOptions options;
    options.max_sequences = 1;
    if (mode.find("kv") != std::string::npos) options.kv_dtype = model::KvDtype::kFp8E4m3;
    if (mode.find("wa") == 0) options.quantization = cpu::ActivationQuantization::kCheckpoint;
    model_ = std::make_unique<TinyModel>(load_tiny("tiny-a-" + GetParam().form), options);
  }
  std::unique_ptr<TinyModel> model_;
};

TEST_P(Golden, PromptLogitsAndLogprobsAreWithinTheStatedBounds) {
  GoldenRun(GetParam(), *model_).check_prompts();
}

TEST_P(Golden, GreedyContinuationsAreEqualUpToTheFirstNarrowChoice) {
  GoldenRun(GetParam(), *model_).check_greedy(0);
}

// fp32 engine's rows of the fixtures' tolerance table.
INSTANTIATE_TEST_SUITE_P(All, Golden,
                         testing::Values(GoldenCase{"bf16", "w", 1e-5, 2e-5, 5e-5, 5e-4, 0.001},
                                         GoldenCase{"fp8", "w", 1e-5, 2e-5, 5e-5, 5e-4, 0.001},
                                         GoldenCase{"nvfp4", "w", 1e-5, 2e-5, 5e-5, 5e-4, 0.001},
                                         GoldenCase{"fp8", "wkv", 0.01, 0.03, 0.04, 0.2, 0.15},
                                         GoldenCase{"nvfp4", "wkv", 0.01, 0.03, 0.04, 0.2, 0.15},
                                         GoldenCase{"fp8", "wa", 0.03, 0.10, 0.2, 1.0, 0.7},
                                         GoldenCase{"fp8", "wakv", 0.03, 0.10, 0.2, 1.0, 0.7},
                                         GoldenCase{"nvfp4", "wa", 0.02, 0.35, 0.35, 2.5, 2.0},
                                         GoldenCase{"nvfp4", "wakv", 0.02, 0.35, 0.35, 2.5, 2.0}),
                         name_of);

}  // namespace
}  // namespace outrider::test
