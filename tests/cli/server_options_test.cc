#include "cli/server_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "cli/host_memory.h"

namespace outrider::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

config::ServeOptions parsed(const std::vector<std::string>& words) {
  config::ServeOptions options = config::parse_serve(words, {});
  config::apply_device_defaults(options, 0);
  return options;
}

model::LlamaConfig config_of_length(int64_t length) {
  model::LlamaConfig config;
  config.max_position_embeddings = length;
  return config;
}

TEST(ServerOptions, CarryWhatWasTyped) {
  const auto out = server_options(parsed({"--port",
                                          "9000",
                                          "--host",
                                          "0.0.0.0",
                                          "--api-key",
                                          "a",
                                          "b",
                                          "--max-body-bytes",
                                          "2K",
                                          "--allowed-origins",
                                          R"(["http://x"])",
                                          "--logprobs-mode",
                                          "processed_logits",
                                          "--tool-call-parser",
                                          "pythonic",
                                          "--enable-auto-tool-choice",
                                          "--uvicorn-log-level",
                                          "warning",
                                          "--max-log-len",
                                          "5"}),
                                  "m");
  EXPECT_EQ(out.port, 9000);
  EXPECT_EQ(out.host, "0.0.0.0");
  EXPECT_THAT(out.api_keys, ElementsAre("a", "b"));
  EXPECT_EQ(out.limits.body_bytes, 2048u);
  EXPECT_THAT(out.cors.origins, ElementsAre("http://x"));
  EXPECT_TRUE(out.processed_logprobs);
  EXPECT_TRUE(out.logprobs_are_logits);
  EXPECT_EQ(out.tool_format, chat::ToolFormat::kPythonic);
  EXPECT_TRUE(out.enable_auto_tool_choice);
  EXPECT_FALSE(out.access_log);
  EXPECT_EQ(out.max_log_len, 5u);
  EXPECT_THAT(out.served_model_names, ElementsAre("m"));
  EXPECT_THAT(server_options(parsed({"--served-model-name", "x", "y"}), "m").served_model_names,
              ElementsAre("x", "y"));
}

TEST(ServerOptions, DefaultsOfTableAndServerAgree) {
  const server::ServerOptions plain;
  const auto out = server_options(parsed({}), "m");
  EXPECT_EQ(out.port, plain.port);
  EXPECT_EQ(out.limits.body_bytes, plain.limits.body_bytes);
  EXPECT_EQ(out.limits.header_bytes, plain.limits.header_bytes);
  EXPECT_EQ(out.limits.header_count, plain.limits.header_count);
  EXPECT_EQ(out.limits.connections, plain.limits.connections);
  EXPECT_EQ(out.limits.keep_alive, plain.limits.keep_alive);
  EXPECT_EQ(out.limits.read_timeout, plain.limits.read_timeout);
  EXPECT_EQ(out.drain_timeout, plain.drain_timeout);
  EXPECT_EQ(out.stats_interval, plain.stats_interval);
  EXPECT_EQ(out.max_logprobs, plain.max_logprobs);
  EXPECT_EQ(out.access_log, plain.access_log);
}

TEST(ServerOptions, UnknownToolParserIsRefusedWithTheKnownOnes) {
  try {
    server_options(parsed({"--tool-call-parser", "hermes"}), "m");
    FAIL();
  } catch (const StartupError& error) {
    EXPECT_THAT(error.what(), HasSubstr("invalid tool call parser: hermes (chose from { "));
    EXPECT_THAT(error.what(), HasSubstr("llama4_pythonic"));
  }
}

TEST(MaxModelLen, IsTheConfigurationsUnlessGiven) {
  EXPECT_EQ(resolve_max_model_len(parsed({}), config_of_length(16384)), 16384);
  EXPECT_EQ(resolve_max_model_len(parsed({"--max-model-len", "auto"}), config_of_length(16384)), 16384);
  EXPECT_EQ(resolve_max_model_len(parsed({"--max-model-len", "10240"}), config_of_length(16384)), 10240);
}

TEST(MaxModelLen, AboveTheConfigurationsNeedsLeave) {
  try {
    resolve_max_model_len(parsed({"--max-model-len", "16385"}), config_of_length(16384));
    FAIL();
  } catch (const StartupError& error) {
    EXPECT_THAT(error.what(), HasSubstr("VLLM_ALLOW_LONG_MAX_MODEL_LEN=1"));
  }
  EXPECT_EQ(resolve_max_model_len(parsed({"--max-model-len", "16385", "--allow-long-max-model-len"}),
                                  config_of_length(16384)),
            16385);
}

TEST(MemoryOptions, TakeTypeAndBudgetOfTheKvCache) {
  EXPECT_EQ(memory_options(parsed({}), 100, 7).kv_dtype, model::KvDtype::kBf16);
  for (const char* name : {"fp8", "fp8_e4m3"}) {
    EXPECT_EQ(memory_options(parsed({"--kv-cache-dtype", name}), 100, 7).kv_dtype, model::KvDtype::kFp8E4m3);
  }
  EXPECT_EQ(memory_options(parsed({}), 100, 7).kv_cache_bytes, 7);
  EXPECT_EQ(memory_options(parsed({"--kv-cache-memory-bytes", "1M"}), 100, 7).kv_cache_bytes, 1 << 20);
  EXPECT_EQ(memory_options(parsed({"--num-gpu-blocks-override", "5"}), 100, 7).num_blocks_override, 5);
}

TEST(MemoryOptions, TheCpusBudgetIsAQuarterAndFourGibibytesAtMost) {
  EXPECT_EQ(default_cpu_kv_bytes(int64_t{8} << 30), int64_t{2} << 30);
  EXPECT_EQ(default_cpu_kv_bytes(int64_t{512} << 30), int64_t{4} << 30);
  EXPECT_GT(host_memory_bytes(), int64_t{1} << 28);
}

TEST(EngineOptions, CarryWhatWasTyped) {
  const auto out =
      engine_options(parsed({"--scheduling-policy", "priority", "--no-async-scheduling",
                             "--no-enable-prefix-caching", "--long-prefill-token-threshold", "9"}),
                     77);
  EXPECT_EQ(out.max_model_len, 77);
  EXPECT_EQ(out.max_num_seqs, 256);
  EXPECT_EQ(out.max_num_batched_tokens, 2048);
  EXPECT_EQ(out.policy, engine::Policy::kPriority);
  EXPECT_FALSE(out.async_scheduling);
  EXPECT_FALSE(out.prefix_caching);
  EXPECT_EQ(out.long_prefill_token_threshold, 9);
}

class GenerationConfig : public testing::Test {
 protected:
  GenerationConfig() {
    model_.generation.temperature = 0.6;
    model_.generation.top_p = 0.9;
  }
  model::Model model_;
};

TEST_F(GenerationConfig, AutoIsTheModels) {
  EXPECT_EQ(sampling_text(generation_defaults(parsed({}), model_)), "{'temperature': 0.6, 'top_p': 0.9}");
}

TEST_F(GenerationConfig, VllmIsNone) {
  EXPECT_EQ(sampling_text(generation_defaults(parsed({"--generation-config", "vllm"}), model_)), "");
}

TEST_F(GenerationConfig, OverridesGoOverEither) {
  EXPECT_EQ(
      sampling_text(generation_defaults(
          parsed({"--override-generation-config", R"({"temperature":0.1,"max_new_tokens":5})"}), model_)),
      "{'temperature': 0.1, 'top_p': 0.9, 'max_tokens': 5}");
  EXPECT_EQ(sampling_text(generation_defaults(
                parsed({"--generation-config", "vllm", "--override-generation-config.top_k", "3"}), model_)),
            "{'top_k': 3}");
}

TEST_F(GenerationConfig, AFolderReplacesTheModels) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(testing::TempDir()) / ("generation_" + std::to_string(getpid()));
  fs::create_directories(folder);
  std::ofstream(folder / "generation_config.json") << R"({"min_p": 0.25})";
  EXPECT_EQ(sampling_text(generation_defaults(parsed({"--generation-config", folder.string()}), model_)),
            "{'min_p': 0.25}");
  fs::remove_all(folder);
  EXPECT_THROW(generation_defaults(parsed({"--generation-config", folder.string()}), model_), StartupError);
}

}  // namespace
}  // namespace outrider::cli
