// Checkpoints broken on purpose: one line names the file or tensor and what was expected.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "folder.h"

namespace outrider::checkpoint {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kExperts = "model.layers.0.feed_forward.experts.";
constexpr const char* kShard = "model-00002-of-00002.safetensors";

std::string experts(const std::string& rest) { return kExperts + rest; }

TEST(Corruption, AFolderThatIsNotThereOrEmptyIsNamed) {
  EXPECT_THROW(load("/nonexistent/folder", {}), CheckpointError);
  Folder folder("tiny-a-fp8");
  std::filesystem::remove(folder.file("config.json"));
  EXPECT_THAT(folder.error(), AllOf(HasSubstr("config.json"), HasSubstr("missing")));
}

TEST(Corruption, FoldersWithoutSafetensorsSayThatOnlySafetensorsAreRead) {
  Folder folder("tiny-a-fp8");
  folder.tensors.clear();
  EXPECT_THAT(folder.error(), HasSubstr("no *.safetensors"));
  write_file(folder.file("pytorch_model-00001-of-00002.bin"), "PK");
  EXPECT_THAT(folder.error(), AllOf(HasSubstr("pytorch_model"), HasSubstr("only safetensors")));
}

TEST(Corruption, MissingTensorsAreCountedAndTheFirstAreNamed) {
  Folder folder("tiny-a-fp8");
  for (const char* name :
       {"lm_head.weight", "model.layers.1.self_attn.q_proj.weight_scale",
        "model.layers.2.feed_forward.experts.down_proj", "model.layers.3.input_layernorm.weight"})
    ASSERT_EQ(folder.tensors.erase(name), 1u);
  EXPECT_THAT(folder.error(), AllOf(HasSubstr("4 tensors are missing"), HasSubstr("\"lm_head.weight\""),
                                    HasSubstr("layers.1.self_attn.q_proj.weight_scale"), HasSubstr("...")));
}

TEST(Corruption, AMissingExpertIsNamed) {
  Folder folder("tiny-a-nvfp4-perexpert");
  for (const char* suffix : {"weight", "weight_scale", "weight_scale_2", "input_scale"})
    ASSERT_EQ(folder.tensors.erase(experts("2.up_proj.") + suffix), 1u);
  EXPECT_THAT(folder.error(),
              AllOf(HasSubstr("1 tensors are missing"), HasSubstr("experts.2.up_proj.weight\"")));
}

TEST(Corruption, WrongShapesAndDtypesNameTensorFoundAndExpected) {
  {
    Folder folder("tiny-a-fp8");
    folder.tensors["model.layers.0.self_attn.k_proj.weight"].shape = {64, 256};
    EXPECT_THAT(folder.error(),
                AllOf(HasSubstr("k_proj.weight"), HasSubstr("[64, 256]"), HasSubstr("[128, 128]")));
  }
  {
    Folder folder("tiny-a-fp8");
    folder.tensors["model.norm.weight"].dtype = "F16";
    EXPECT_THAT(folder.error(), AllOf(HasSubstr("model.norm.weight"), HasSubstr("F16"), HasSubstr("BF16")));
  }
  {
    Folder folder("tiny-a-bf16");
    folder.tensors["model.layers.1.self_attn.o_proj.weight"].dtype = "F16";
    EXPECT_THAT(folder.error(), AllOf(HasSubstr("o_proj.weight"), HasSubstr("F16")));
  }
}

TEST(Corruption, AConfigOfAnotherModelIsFoundByShape) {
  Folder folder("tiny-a-fp8");
  folder.patch_config({{"vocab_size", 2048}});
  EXPECT_THAT(folder.error(),
              AllOf(HasSubstr("embed_tokens"), HasSubstr("[1024, 128]"), HasSubstr("[2048, 128]")));
}

TEST(Corruption, HeadsThatDoNotDivideAreRefused) {
  Folder folder("tiny-a-fp8");
  folder.patch_config({{"num_key_value_heads", 3}});
  EXPECT_THAT(folder.error(),
              AllOf(HasSubstr("config.json"), HasSubstr("num_key_value_heads"), HasSubstr("3")));
}

TEST(Corruption, AnotherArchitectureIsRefused) {
  Folder folder("tiny-a-fp8");
  folder.patch_config({{"architectures", {"MixtralForCausalLM"}}});
  EXPECT_THAT(folder.error(), HasSubstr("MixtralForCausalLM"));
}

TEST(Corruption, BadScalesAreRefusedNamingTheTensor) {
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -0.5f,
                       0.0f};
  for (const std::string& name : {std::string("model.layers.2.self_attn.v_proj.weight_scale"),
                                  std::string("model.layers.2.self_attn.o_proj.input_scale"),
                                  std::string("model.layers.1.self_attn.k_proj.k_scale"),
                                  experts("gate_up_proj_weight_scale"), experts("down_proj_input_scale")})
    for (const float value : bad) {
      Folder folder("tiny-a-fp8");
      folder.tensors[name].bytes = f32(value);
      EXPECT_THAT(folder.error(), AllOf(HasSubstr(name), HasSubstr("finite number above 0"))) << value;
    }
}

TEST(Corruption, BadBlockScalesAreRefusedNamingTheTensor) {
  for (const auto& [code, word] :
       {std::pair('\x7f', "NaN"), std::pair('\xff', "NaN"), std::pair('\xb8', "negative")}) {
    Folder folder("tiny-a-nvfp4");
    folder.tensors[experts("down_proj_weight_scale")].bytes[77] = code;
    EXPECT_THAT(folder.error(),
                AllOf(HasSubstr("down_proj_weight_scale"), HasSubstr(word), HasSubstr("byte 77")));
  }
  Folder folder("tiny-a-nvfp4");
  folder.tensors[experts("down_proj_weight_scale")].bytes[77] = 0;  // a block of zeros
  EXPECT_EQ(folder.error(), "no error");
}

TEST(Corruption, TheOldNvfp4LayoutIsRefusedByTheVersionsThatWroteIt) {
  Folder folder("tiny-a-nvfp4");
  folder.tensors[experts("gate_up_proj")].shape = {4, 128, 128};
  EXPECT_THAT(folder.error(), AllOf(HasSubstr("gate_up_proj"), HasSubstr("ModelOpt 0.27 to 0.29")));
}

TEST(Corruption, PerChannelScalesAreRefusedByName) {
  Folder folder("tiny-a-fp8-perexpert");
  TestTensor& scale = folder.tensors[experts("1.gate_proj.weight_scale")];
  scale = {"BF16", {128, 1}, std::string(256, '\x3c')};
  EXPECT_THAT(folder.error(),
              AllOf(HasSubstr("experts.1.gate_proj.weight_scale"), HasSubstr("compressed-tensors")));
}

TEST(Corruption, TwoNamesForOnePlaceAreRefused) {
  Folder folder("tiny-a-fp8");
  folder.tensors["language_model.lm_head.weight"] = folder.tensors["lm_head.weight"];
  EXPECT_THAT(folder.error(), HasSubstr("means the same"));
}

TEST(Corruption, FusedAndSingleExpertsInOneLayerAreRefused) {
  Folder folder("tiny-a-fp8");
  folder.tensors[experts("3.up_proj.weight")] = {"F8_E4M3", {128, 128}, std::string(128 * 128, 'a')};
  EXPECT_THAT(folder.error(), AllOf(HasSubstr("experts.3.up_proj"), HasSubstr("one form")));
}

TEST(Corruption, FormatsMayNotBeMixed) {
  Folder folder("tiny-a-fp8");
  Folder other("tiny-a-nvfp4");
  for (const char* suffix : {"weight", "weight_scale", "weight_scale_2"}) {
    const std::string name = std::string("model.layers.1.self_attn.q_proj.") + suffix;
    folder.tensors[name] = other.tensors[name];
  }
  EXPECT_THAT(folder.error(), HasSubstr("FP8 and NVFP4 in one checkpoint"));
}

TEST(Corruption, AMissingShardIsNamed) {
  Folder folder("tiny-a-fp8-mm-legacy");
  std::filesystem::remove(folder.file(kShard));
  EXPECT_THAT(folder.error(), AllOf(HasSubstr(kShard), HasSubstr("missing")));
}

TEST(Corruption, ATruncatedShardIsNamed) {
  Folder folder("tiny-a-fp8-mm-legacy");
  const std::string whole = read_file(folder.file(kShard));
  for (const size_t size : {size_t{0}, size_t{5}, size_t{100}, whole.size() / 2, whole.size() - 1}) {
    write_file(folder.file(kShard), whole.substr(0, size));
    EXPECT_THAT(folder.error(), HasSubstr(kShard)) << size;
  }
}

TEST(Corruption, IndexesThatLieAreRefused) {
  Folder folder("tiny-a-fp8-mm-legacy");
  const std::string path = folder.file("model.safetensors.index.json");
  const json index = json::parse(read_file(path));
  const auto with = [&](const char* tensor, const json& file) {
    json changed = index;
    changed["weight_map"][tensor] = file;
    write_file(path, changed.dump());
    return folder.error();
  };
  EXPECT_THAT(with("language_model.lm_head.weight", kShard), AllOf(HasSubstr("lm_head"), HasSubstr("lacks")));
  EXPECT_THAT(with("no.such.tensor", kShard), HasSubstr("no.such.tensor"));
  EXPECT_THAT(with("a", "../../etc/passwd"), HasSubstr("same folder"));
  EXPECT_THAT(with("a", ".."), HasSubstr("same folder"));
  EXPECT_THAT(with("a", 3), HasSubstr("same folder"));
  for (const char* text :
       {"", "{}", "[]", R"({"weight_map":[]})", R"({"weight_map":{}})", "{\"weight_map\":"}) {
    write_file(path, text);
    EXPECT_THAT(folder.error(), HasSubstr("index.json")) << text;
  }
}

TEST(Dialects, ScalesMayBeOfShapeOneOrGivenForEachExpert) {
  Folder folder("tiny-a-fp8");
  folder.tensors["model.layers.0.self_attn.q_proj.weight_scale"].shape = {1};
  folder.tensors[experts("down_proj_weight_scale")] = {
      "F32", {4}, f32(0.5f) + f32(1.0f) + f32(2.0f) + f32(4.0f)};
  const model::Model model = folder.load();
  std::vector<float> scales;
  for (const model::Mlp& expert : model.weights.layers[0].experts) scales.push_back(expert.down.weight_scale);
  EXPECT_THAT(scales, ElementsAre(0.5f, 1.0f, 2.0f, 4.0f));
}

TEST(Dialects, KvScalesMayStandUnderTheAttentionModule) {
  Folder folder("tiny-a-fp8");
  for (const auto& [from, to] :
       {std::pair("k_proj.k_scale", "attn.k_scale"), std::pair("v_proj.v_scale", "attn.v_scale")}) {
    auto node = folder.tensors.extract(std::string("model.layers.1.self_attn.") + from);
    node.key() = std::string("model.layers.1.self_attn.") + to;
    folder.tensors.insert(std::move(node));
  }
  const model::Model model = folder.load();
  EXPECT_TRUE(model.weights.layers[1].has_kv_scales);
  EXPECT_NE(model.weights.layers[1].k_scale, 1.0f);
  EXPECT_THAT(model.warnings, IsEmpty());
}

TEST(Dialects, AbsentKvScalesAreOneAndSaidAloud) {
  Folder folder("tiny-a-fp8");
  for (int layer = 0; layer < 4; ++layer) {
    folder.tensors.erase("model.layers." + std::to_string(layer) + ".self_attn.k_proj.k_scale");
    folder.tensors.erase("model.layers." + std::to_string(layer) + ".self_attn.v_proj.v_scale");
  }
  const model::Model model = folder.load();
  EXPECT_FALSE(model.weights.layers[0].has_kv_scales);
  EXPECT_EQ(model.weights.layers[0].k_scale, 1.0f);
  EXPECT_THAT(model.warnings,
              ElementsAre(AllOf(HasSubstr("k_scale"), HasSubstr("4 layers"), HasSubstr("1.0"))));
}

TEST(Dialects, UnknownTensorsAreAWarning) {
  Folder folder("tiny-a-fp8");
  folder.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {"F32", {1}, f32(1)};
  folder.tensors["model.layers.99.self_attn.q_proj.weight"] = {"U8", {1}, "x"};
  folder.tensors["model.layers.00.self_attn.q_proj.weight"] = {"U8", {1}, "x"};
  EXPECT_THAT(folder.load().warnings, Contains(AllOf(HasSubstr("3 tensors"), HasSubstr("rotary_emb"))));
}

TEST(Dialects, ABf16LinearInAnFp8CheckpointIsTakenAsItIs) {
  Folder folder("tiny-a-fp8");
  Folder bf16("tiny-a-bf16");
  const std::string name = "model.layers.1.self_attn.q_proj.weight";
  folder.tensors[name] = bf16.tensors[name];
  const model::Model model = folder.load();
  EXPECT_EQ(model.weights.layers[1].q.format, model::WeightFormat::kBf16);
  EXPECT_EQ(model.weights.format, model::WeightFormat::kFp8);
  EXPECT_THAT(model.warnings, Contains(AllOf(HasSubstr("declared quantised but are bf16"), HasSubstr(name))));
}

TEST(Declared, ContradictionsAreWarningsAndTheTensorsDecide) {
  Folder folder("tiny-a-fp8");
  folder.patch_config({{"quantization_config", {{"quant_method", "modelopt"}, {"quant_algo", "NVFP4"}}}});
  const model::Model model = folder.load();
  EXPECT_EQ(model.weights.format, model::WeightFormat::kFp8);
  EXPECT_THAT(model.warnings,
              Contains(AllOf(HasSubstr("config.json"), HasSubstr("NVFP4"), HasSubstr("FP8"))));
}

TEST(Declared, TheOldObjectInsideConfigJsonIsRead) {
  Folder folder("tiny-a-fp8");
  folder.patch_config({{"quantization_config", json::parse(read_file(folder.file("hf_quant_config.json")))}});
  std::filesystem::remove(folder.file("hf_quant_config.json"));
  EXPECT_THAT(folder.load().warnings, IsEmpty());
}

TEST(Declared, NothingDeclaredIsAWarning) {
  Folder folder("tiny-a-fp8");
  std::filesystem::remove(folder.file("hf_quant_config.json"));
  folder.patch_config({{"quantization_config", nullptr}});
  EXPECT_THAT(folder.load().warnings, ElementsAre(HasSubstr("no file declares")));
}

TEST(Declared, AnExcludedModuleThatIsQuantisedIsAWarning) {
  Folder folder("tiny-a-fp8-mm-legacy");
  json quant = json::parse(read_file(folder.file("hf_quant_config.json")));
  quant["quantization"]["exclude_modules"].push_back("model.layers.1.self_attn*");
  write_file(folder.file("hf_quant_config.json"), quant.dump());
  EXPECT_THAT(folder.load().warnings, ElementsAre(AllOf(HasSubstr("4 tensors"), HasSubstr("excluded"))));
}

TEST(Declared, QuantConfigsOfOtherTypesAreRefused) {
  for (const char* text : {"[]", "{", "{}", R"({"quantization":3})", R"({"quantization":{"quant_algo":8}})",
                           R"({"quantization":{"quant_algo":"FP8","exclude_modules":[1]}})"}) {
    Folder folder("tiny-a-fp8");
    write_file(folder.file("hf_quant_config.json"), text);
    EXPECT_THAT(folder.error(), HasSubstr("hf_quant_config.json")) << text;
  }
}

TEST(Requested, AQuantizationFlagMustAgreeWithTheTensors) {
  Folder folder("tiny-a-fp8");
  const auto with = [](const char* quantization) {
    LoadOptions options;
    options.quantization = quantization;
    return options;
  };
  EXPECT_EQ(folder.error(with("modelopt")), "no error");
  EXPECT_THAT(folder.error(with("modelopt_fp4")), AllOf(HasSubstr("--quantization"), HasSubstr("FP8")));
  EXPECT_THAT(folder.error(with("awq")), HasSubstr("expected modelopt"));
}

TEST(Requested, HfOverridesChangeTheConfig) {
  LoadOptions options;
  options.hf_overrides = R"({"num_hidden_layers": 2, "moe_layers": [0, 1], "no_rope_layers": [1, 0],
                            "layer_types": ["chunked_attention", "full_attention"]})";
  const model::Model model = load(fixture("tiny-a-fp8"), options);
  EXPECT_EQ(model.weights.layers.size(), 2u);
  EXPECT_THAT(model.warnings, Contains(HasSubstr("not used")));
}

TEST(Generation, EosIdsBeyondTheVocabularyAreRefused) {
  Folder folder("tiny-a-fp8");
  write_file(folder.file("generation_config.json"), R"({"eos_token_id": [1001, 1024]})");
  EXPECT_THAT(folder.error(), AllOf(HasSubstr("generation_config.json"), HasSubstr("1024")));
}

}  // namespace
}  // namespace outrider::checkpoint
