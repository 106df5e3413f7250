// ModelOpt's rounding and products, from fixtures/ops; the case list is tests/ops/quantize_cases.h.
#include <gtest/gtest.h>

#include <cmath>

#include "cpu/all_targets.h"
#include "cpu/matmul.h"
#include "cpu/quantize.h"
#include "cpu/tiny_model.h"
#include "ops/quantize_cases.h"

namespace outrider::test {
namespace {

// The projection's matrices, stacked along the output: one, or gate and up.
std::vector<const model::Matrix*> matrices(const model::Model& model, int layer, const std::string& name,
                                           int expert) {
  const model::Layer& l = model.weights.layers[layer];
  if (name == "self_attn.q_proj") return {&l.q};
  if (name == "self_attn.k_proj") return {&l.k};
  if (name == "self_attn.v_proj") return {&l.v};
  if (name == "self_attn.o_proj") return {&l.o};
  if (name == "feed_forward.shared_expert.gate_proj") return {&l.shared_expert.gate};
  if (name == "feed_forward.shared_expert.up_proj") return {&l.shared_expert.up};
  if (name == "feed_forward.shared_expert.down_proj") return {&l.shared_expert.down};
  if (name == "feed_forward.experts.gate_up_proj") return {&l.experts[expert].gate, &l.experts[expert].up};
  return {&l.experts[expert].down};
}

// Codes of the fixture as the kernels' fp32 form: FP8 values, or FP4 values times their block's scale.
std::vector<float> golden_codes(const SafetensorsFile& ops, const std::string& key, bool nvfp4) {
  if (!nvfp4) return ops[key].floats();
  const std::vector<float> scales = ops[key + "_block_scale"].floats();
  const std::vector<uint8_t>& packed = ops[key].bytes;
  std::vector<float> out(packed.size() * 2);
  for (size_t i = 0; i < out.size(); ++i) {
    const auto nibble = static_cast<uint8_t>(packed[i / 2] >> (i % 2 * 4) & 15);
    out[i] = cpu::e2m1_to_float(nibble) * scales[i / 16];
  }
  return out;
}

class Ops : public testing::TestWithParam<std::string> {
 protected:
  Ops()
      : nvfp4_(GetParam() == "nvfp4"),
        ops_(fixture("ops/tiny-a-" + GetParam() + ".safetensors")),
        model_(load_tiny("tiny-a-" + GetParam())) {}

  template <typename Fn>
  void for_each_projection(const Fn& fn) {
    for (int layer : kQuantizedLayers) {
      for (const std::string& name : quantized_projections()) {
        SCOPED_TRACE("layer " + std::to_string(layer) + " " + name);
        fn(layer, name, "layers." + std::to_string(layer) + "." + name);
      }
    }
  }

  const bool nvfp4_;
  SafetensorsFile ops_;
  std::shared_ptr<const model::Model> model_;
};

TEST_P(Ops, EveryActivationCodeEqualsModelOpts) {
  for_each_projection([&](int layer, const std::string& name, const std::string& key) {
    const std::vector<float> x = ops_[key + ".x"].floats();
    const std::vector<float> expected = golden_codes(ops_, key + ".xq", nvfp4_);
    const float scale = matrices(*model_, layer, name, 0)[0]->input_scale;
    std::vector<float> codes(x.size());
    (nvfp4_ ? cpu::quantize_nvfp4 : cpu::quantize_fp8)(x.data(), static_cast<int>(x.size()), scale,
                                                       codes.data());
    size_t different = 0;
    for (size_t i = 0; i < x.size(); ++i) different += codes[i] != expected[i];
    EXPECT_EQ(different, 0u) << "of " << x.size();
  });
}

TEST_P(Ops, ProductsOfModelOptsCodesAreWithinTheBoundOnEveryTarget) {
  cpu::ThreadPool pool(1);
  cpu::Matmul matmul(pool);
  for_each_projection([&](int layer, const std::string& name, const std::string& key) {
    const std::vector<float> xq = golden_codes(ops_, key + ".xq", nvfp4_),
                             expected = ops_[key + ".y"].floats();
    const bool experts = name.find("experts.") != std::string::npos;
    const std::vector<int32_t> expert_of =
        experts ? ops_["layers." + std::to_string(layer) + ".expert_index"].ints() : std::vector<int32_t>();
    const int64_t tokens = ops_[key + ".x"].shape[0], cols = ops_[key + ".x"].shape[1];
    const int64_t outputs = ops_[key + ".y"].shape[1];
    for_each_target([&] {
      double difference = 0, norm = 0;
      for (int e = 0; e < (experts ? model_->config.num_experts : 1); ++e) {
        int64_t first_output = 0;
        for (const model::Matrix* m : matrices(*model_, layer, name, e)) {
          cpu::WeightPacker packer;
          cpu::PackedMatrix packed;
          packer.add(*m, packed);
          packer.pack_all(pool);
          std::vector<float> y(tokens * m->rows);
          matmul(std::array{cpu::MatmulJob{&packed, xq.data(), y.data(), static_cast<int>(tokens),
                                           m->weight_scale * m->input_scale}});
          for (int64_t t = 0; t < tokens; ++t) {
            if (experts && expert_of[t] != e) continue;
            for (int r = 0; r < m->rows; ++r) {
              const double golden = expected[t * outputs + first_output + r];
              difference += std::pow(y[t * m->rows + r] - golden, 2);
              norm += golden * golden;
            }
          }
          first_output += m->rows;
        }
        ASSERT_EQ(first_output, outputs);
      }
      ASSERT_EQ(matrices(*model_, layer, name, 0)[0]->cols, cols);
      EXPECT_GT(norm, 0.0);
      EXPECT_LE(std::sqrt(difference / norm), kProductBoundF32);
    });
  });
}

INSTANTIATE_TEST_SUITE_P(All, Ops, testing::Values("fp8", "nvfp4"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace outrider::test
