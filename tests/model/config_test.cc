#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"

namespace outrider::model {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string fixture(const std::string& name) {
  std::ifstream file(OUTRIDER_BINARY_DIR "/fixtures/checkpoints/" + name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

json base() { return json::parse(fixture("tiny-a-bf16/config.json")); }

// The base configuration with some keys replaced.
LlamaConfig parse_with(const json& patch) {
  json document = base();
  document.update(patch);
  return parse_config(document.dump(), "config.json");
}

LlamaConfig parse_without(const char* key) {
  json document = base();
  document.erase(key);
  return parse_config(document.dump(), "config.json");
}

std::string error_of(const std::string& text) {
  try {
    parse_config(text, "config.json");
  } catch (const CheckpointError& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  return "no error";
}

std::string error_with(const json& patch) {
  json document = base();
  document.update(patch);
  return error_of(document.dump());
}

TEST(Config, OldAndNewSpellingsMeanTheSame) {
  const LlamaConfig old = parse_config(fixture("tiny-a-bf16/config.json"), "old");
  for (const char* name : {"tiny-a-fp8", "tiny-a-nvfp4", "tiny-a-fp8-mm", "tiny-a-fp8-mm-legacy"}) {
    const LlamaConfig config = parse_config(fixture(std::string(name) + "/config.json"), name);
    EXPECT_EQ(config.is_rope_layer, old.is_rope_layer) << name;
    EXPECT_EQ(config.is_moe_layer, old.is_moe_layer) << name;
    EXPECT_EQ(config.rope_theta, old.rope_theta) << name;
    EXPECT_EQ(config.rope_scaling.factor, old.rope_scaling.factor) << name;
    EXPECT_EQ(config.rope_scaling.high_freq_factor, old.rope_scaling.high_freq_factor) << name;
    EXPECT_EQ(config.rope_scaling.original_max_position_embeddings, 64) << name;
    EXPECT_EQ(config.eos_token_ids, old.eos_token_ids) << name;
    EXPECT_EQ(config.multimodal, std::string(name).find("-mm") != std::string::npos) << name;
  }
}

TEST(Config, ReadsTheValuesThatDifferFromTheDefaults) {
  const LlamaConfig c = parse_with(json::object());
  EXPECT_EQ(c.hidden_size, 128);
  EXPECT_EQ(c.q_size(), 512);
  EXPECT_EQ(c.kv_size(), 128);
  EXPECT_EQ(c.attention_chunk_size, 32);
  EXPECT_EQ(c.floor_scale, 16.0f);
  EXPECT_EQ(c.attn_scale, 0.4f);
  EXPECT_TRUE(c.attn_temperature_tuning);
  EXPECT_TRUE(c.use_qk_norm);
  EXPECT_THAT(c.eos_token_ids, ElementsAre(1001, 1007, 1008));
  EXPECT_EQ(c.bos_token_id, 1000);
  EXPECT_EQ(c.pad_token_id, 1012);
  EXPECT_EQ(c.is_rope_layer, (std::vector<bool>{true, true, true, false}));
}

TEST(Config, AbsentChunkSizeIs8192AndNullMeansNoChunks) {
  EXPECT_EQ(parse_without("attention_chunk_size").attention_chunk_size, 8192);
  const LlamaConfig none = parse_with({{"attention_chunk_size", nullptr}});
  EXPECT_EQ(none.attention_chunk_size, 0);
  EXPECT_FALSE(none.is_chunked_layer(0));
}

TEST(Config, TemperatureTuningIsABooleanANumberOrAbsent) {
  EXPECT_TRUE(parse_with({{"attn_temperature_tuning", 4}}).attn_temperature_tuning);
  EXPECT_FALSE(parse_with({{"attn_temperature_tuning", 0}}).attn_temperature_tuning);
  EXPECT_FALSE(parse_with({{"attn_temperature_tuning", false}}).attn_temperature_tuning);
  EXPECT_FALSE(parse_with({{"attn_temperature_tuning", nullptr}}).attn_temperature_tuning);
  EXPECT_TRUE(parse_without("attn_temperature_tuning").attn_temperature_tuning);
}

TEST(Config, NopeLayersComeFromTheListElseFromTheInterval) {
  EXPECT_EQ(parse_with({{"no_rope_layers", {0, 1, 0, 1}}}).is_rope_layer,
            (std::vector<bool>{false, true, false, true}));
  EXPECT_EQ(parse_without("no_rope_layers").is_rope_layer, (std::vector<bool>{true, true, true, false}));
  EXPECT_EQ(parse_with({{"nope_layer_interval", 2}}).is_rope_layer,
            (std::vector<bool>{true, false, true, false}));
  EXPECT_EQ(parse_with({{"no_rope_layer_interval", 3}}).is_rope_layer,
            (std::vector<bool>{true, true, false, true}));
}

TEST(Config, MoeLayersComeFromTheListElseFromTheStep) {
  EXPECT_EQ(parse_with({{"moe_layers", {1, 3}}}).is_moe_layer, (std::vector<bool>{false, true, false, true}));
  EXPECT_EQ(parse_with({{"interleave_moe_layer_step", 2}}).is_moe_layer,
            (std::vector<bool>{false, true, false, true}));
  EXPECT_EQ(parse_with({{"interleave_moe_layer_step", 0}}).is_moe_layer, std::vector<bool>(4, false));
  EXPECT_EQ(parse_with({{"moe_layers", json::array()}}).is_moe_layer, std::vector<bool>(4, false));
}

TEST(Config, RopeScalingMayBeNullOrDefault) {
  EXPECT_EQ(parse_with({{"rope_scaling", nullptr}}).rope_scaling.factor, 1.0f);
  EXPECT_EQ(parse_with({{"rope_scaling", {{"rope_type", "default"}}}}).rope_scaling.factor, 1.0f);
  json rope = base()["rope_scaling"];
  rope["high_freq_factor"] = 4.0;
  rope["factor"] = 8;
  const LlamaConfig config = parse_with({{"rope_scaling", rope}});
  EXPECT_EQ(config.rope_scaling.factor, 8.0f);
  EXPECT_EQ(config.rope_scaling.high_freq_factor, 4.0f);
}

TEST(Config, OneEosTokenMayBeANumber) {
  EXPECT_THAT(parse_with({{"eos_token_id", 7}}).eos_token_ids, ElementsAre(7));
  EXPECT_TRUE(parse_with({{"eos_token_id", nullptr}}).eos_token_ids.empty());
}

TEST(Config, OtherArchitecturesAreRefusedByName) {
  EXPECT_THAT(error_with({{"architectures", {"LlamaForCausalLM"}}}),
              AllOf(HasSubstr("config.json"), HasSubstr("LlamaForCausalLM"), HasSubstr("Llama 4")));
  EXPECT_THAT(error_with({{"architectures", 3}}), HasSubstr("architectures"));
  json document = base();
  document.erase("architectures");
  document["model_type"] = "qwen3";
  EXPECT_THAT(error_of(document.dump()), HasSubstr("qwen3"));
}

// Every numeric key with a value that no Llama 4 can have: the error names file, key and value.
TEST(Config, ImpossibleValuesAreRefusedNamingKeyAndValue) {
  const json huge = 9223372036854775807;
  const std::vector<std::pair<const char*, std::vector<json>>> cases = {
      {"hidden_size", {0, -128, huge, 1e300, 12.5, "128", json::array(), true}},
      {"num_hidden_layers", {0, -1, 100000, huge}},
      {"num_attention_heads", {0, -8, huge, 7}},
      {"num_key_value_heads", {0, 3, 16, -2, huge}},
      {"head_dim", {0, 1, 63, -64, huge}},
      {"intermediate_size", {0, -1, huge}},
      {"num_local_experts", {0, -4, huge}},
      {"num_experts_per_tok", {0, 2, -1}},
      {"vocab_size", {0, -1, huge}},
      {"max_position_embeddings", {0, -1, huge}},
      {"attention_chunk_size", {0, -32, huge, "none"}},
      {"floor_scale", {0, -1, "x"}},
      {"attn_scale", {-0.1, 1e30}},
      {"rms_norm_eps", {0, -1e-5, 2.0}},
      {"rope_theta", {0, -5, 1e300}},
      {"rope_scaling", {3, "llama3", {{"rope_type", "yarn"}}, {{"rope_type", "llama3"}, {"factor", 0}}}},
      {"moe_layers", {{4}, {-1}, {0, 1.5}, "all"}},
      {"interleave_moe_layer_step", {-1, huge}},
      {"no_rope_layers", {{1, 1, 1}, {1, 1, 1, 2}, {1, 1, 1, -1}, 1}},
      {"no_rope_layer_interval", {0, -4}},
      {"layer_types", {{"full_attention"}, {"sliding", "a", "b", "c"}, 3}},
      {"eos_token_id", {-1, 1024, {1001, 5000}, "eot"}},
      {"bos_token_id", {1024, -2}},
      {"attn_temperature_tuning", {"yes"}},
      {"use_qk_norm", {"yes", 3}},
      {"tie_word_embeddings", {true}},
      {"attention_bias", {true}},
      {"hidden_act", {"gelu"}},
  };
  for (const auto& [key, values] : cases)
    for (const json& value : values)
      EXPECT_THAT(error_with({{key, value}}),
                  AllOf(HasSubstr("config.json: "), HasSubstr(key), HasSubstr("expected")))
          << value;
}

TEST(Config, RequiredSizesMayNotBeAbsent) {
  for (const char* key :
       {"hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size",
        "num_local_experts", "vocab_size", "max_position_embeddings"}) {
    json document = base();
    document.erase(key);
    EXPECT_THAT(error_of(document.dump()), AllOf(HasSubstr(key), HasSubstr("is missing")));
  }
  json dense = base();
  dense["moe_layers"] = {0};
  dense.erase("intermediate_size_mlp");
  EXPECT_THAT(error_of(dense.dump()), HasSubstr("intermediate_size_mlp"));
}

TEST(Config, HeadDimDefaultsToTheHiddenSizeByHeads) {
  EXPECT_EQ(parse_without("head_dim").head_dim, 16);
  json document = base();
  document.erase("head_dim");
  document["hidden_size"] = 130;
  EXPECT_THAT(error_of(document.dump()), HasSubstr("num_attention_heads"));
}

TEST(Config, LayerTypesThatContradictTheRopeLayersAreRefused) {
  const json types = {"chunked_attention", "full_attention", "chunked_attention", "full_attention"};
  EXPECT_THAT(error_with({{"layer_types", types}}), AllOf(HasSubstr("layer_types"), HasSubstr("layer 1")));
}

TEST(Config, TextThatIsNoJsonObjectIsRefused) {
  for (const char* text : {"", "[", "[]", "3", "{\"a\":", "\xff\xfe", "{\"hidden_size\": 1e999}", "null"})
    EXPECT_THAT(error_of(text), HasSubstr("config.json: ")) << text;
  EXPECT_THAT(error_of(std::string(200, '[')), HasSubstr("nested deeper"));
  EXPECT_THAT(error_of(std::string(100000, '[')), HasSubstr("nested deeper"));
}

TEST(Config, ErrorsStayShortAndOnOneLineWhateverTheValue) {
  const std::string error = error_with({{"hidden_size", std::string(100000, '\n')}});
  EXPECT_LT(error.size(), 400u);
}

TEST(HfOverrides, AreMergedKeyByKey) {
  const std::string merged = merge_hf_overrides(
      base().dump(), R"({"max_position_embeddings": 99, "rope_scaling": {"factor": 8}})", "c");
  const LlamaConfig config = parse_config(merged, "c");
  EXPECT_EQ(config.max_position_embeddings, 99);
  EXPECT_EQ(config.rope_scaling.factor, 8.0f);
  EXPECT_EQ(config.rope_scaling.original_max_position_embeddings, 64);
}

TEST(HfOverrides, ReachTheTextModelOfAMultimodalCheckpoint) {
  const std::string mm = fixture("tiny-a-fp8-mm/config.json");
  const std::string nested = R"({"text_config": {"attention_chunk_size": 64}})";
  EXPECT_EQ(parse_config(merge_hf_overrides(mm, nested, "c"), "c").attention_chunk_size, 64);
  const std::string flat = R"({"attention_chunk_size": null})";
  EXPECT_EQ(parse_config(merge_hf_overrides(mm, flat, "c"), "c").attention_chunk_size, 0);
}

TEST(HfOverrides, RopeScalingInTheOldSpellingOverridesTheNew) {
  const std::string patch =
      R"({"rope_scaling": {"rope_type": "llama3", "factor": 2, "low_freq_factor": 1, "high_freq_factor": 4,
          "original_max_position_embeddings": 128}})";
  const LlamaConfig config =
      parse_config(merge_hf_overrides(fixture("tiny-a-fp8/config.json"), patch, "c"), "c");
  EXPECT_EQ(config.rope_scaling.factor, 2.0f);
  EXPECT_EQ(config.rope_theta, 500000.0f);
}

TEST(HfOverrides, ThatAreNoObjectAreAUsageError) {
  EXPECT_THROW(merge_hf_overrides("{}", "[1]", "c"), UsageError);
  EXPECT_THROW(merge_hf_overrides("{}", "{", "c"), UsageError);
  EXPECT_EQ(merge_hf_overrides("{}", "", "c"), "{}");
}

TEST(GenerationConfig, ReadsWhatIsThereAndRefusesWhatCannotBe) {
  const GenerationDefaults d = parse_generation_config(fixture("tiny-a-fp8/generation_config.json"), "g");
  EXPECT_EQ(d.temperature, 0.6);
  EXPECT_EQ(d.top_p, 0.9);
  EXPECT_FALSE(d.top_k.has_value());
  EXPECT_THAT(d.eos_token_ids, ElementsAre(1001, 1007, 1008));
  EXPECT_FALSE(parse_generation_config("", "g").temperature.has_value());
  for (const char* bad : {R"({"temperature": -1})", R"({"top_p": 0})", R"({"top_p": 1.5})", R"({"min_p": 2})",
                          R"({"repetition_penalty": 0})", R"({"top_k": -7})", R"({"max_new_tokens": 0})",
                          R"({"eos_token_id": -3})", R"({"temperature": "hot"})", "[]"})
    EXPECT_THROW(parse_generation_config(bad, "g"), CheckpointError) << bad;
}

}  // namespace
}  // namespace outrider::model
