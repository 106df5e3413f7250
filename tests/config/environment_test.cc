// Environment variables in vLLM's names.
#include "config/environment.h"

#include "config/table.h"
#include "config/tests_config.h"

namespace outrider::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

TEST(Environment, VariablesStandForOptions) {
  const ServeOptions options = parse_serve({}, {{"VLLM_API_KEY", "k"},
                                                {"VLLM_LOGGING_LEVEL", "DEBUG"},
                                                {"VLLM_LOGGING_PREFIX", "p "},
                                                {"VLLM_LOGGING_STREAM", "ext://sys.stderr"},
                                                {"VLLM_SERVER_DEV_MODE", "1"},
                                                {"VLLM_HTTP_TIMEOUT_KEEP_ALIVE", "9"},
                                                {"VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1"},
                                                {"VLLM_CPU_KVCACHE_SPACE", "2"},
                                                {"OMP_NUM_THREADS", "3,1"}});
  EXPECT_THAT(options.api_key, ElementsAre("k"));
  EXPECT_EQ(options.log_level, "DEBUG");
  EXPECT_EQ(options.log_prefix, "p ");
  EXPECT_EQ(options.log_stream, "stderr");
  EXPECT_TRUE(options.dev_mode);
  EXPECT_EQ(options.http_timeout_keep_alive, 9.0);
  EXPECT_TRUE(options.allow_long_max_model_len);
  EXPECT_EQ(options.kv_cache_memory_bytes, int64_t{2} << 30);
  EXPECT_EQ(options.threads, 3);
  EXPECT_THAT(options.warnings, IsEmpty());
}

TEST(Environment, KubernetesAndQuietVariablesAreNotThePort) {
  const ServeOptions options = parse_serve(
      {}, {{"VLLM_PORT", "tcp://10.0.0.1:80"}, {"VLLM_HOST_IP", "1.2.3.4"}, {"VLLM_USE_V1", "1"}});
  EXPECT_EQ(options.port, 8000);
  EXPECT_EQ(options.host, "127.0.0.1");
  EXPECT_THAT(options.warnings, IsEmpty());
}

TEST(Environment, TheRecipesSwitchesAreAnsweredInALineEachAndCheckedAsVllmWould) {
  const ServeOptions options =
      parse_serve({}, {{"VLLM_FLASHINFER_ALLREDUCE_FUSION_THRESHOLDS_MB", R"({"2":32,"4":32,"8":8})"},
                       {"VLLM_USE_FLASHINFER_MOE_FP8", "1"},
                       {"VLLM_USE_FLASHINFER_MOE_FP4", "1"},
                       {"VLLM_FLASHINFER_MOE_BACKEND", "latency"}});
  EXPECT_THAT(options.warnings, IsEmpty());
  EXPECT_THAT(options.notes, ElementsAre(StartsWith("VLLM_USE_FLASHINFER_MOE_FP8=1: "),
                                         StartsWith("VLLM_USE_FLASHINFER_MOE_FP4=1: "),
                                         StartsWith("VLLM_FLASHINFER_MOE_BACKEND=latency: "),
                                         HasSubstr("one device has nothing to reduce")));
  EXPECT_EQ(parse_serve({}, {{"VLLM_FLASHINFER_MOE_BACKEND", "throughput"}}).notes.size(), 1u);
  EXPECT_THAT(parse_serve({}, {{"VLLM_FLASHINFER_MOE_BACKEND", ""}}).notes, IsEmpty());
  const std::pair<const char*, const char*> wrong[] = {
      {"VLLM_FLASHINFER_MOE_BACKEND", "fast"},
      {"VLLM_USE_FLASHINFER_MOE_FP8", "yes"},
      {"VLLM_FLASHINFER_ALLREDUCE_FUSION_THRESHOLDS_MB", "{'2':32}"},
      {"VLLM_FLASHINFER_ALLREDUCE_FUSION_THRESHOLDS_MB", "[32]"},
      {"VLLM_FLASHINFER_ALLREDUCE_FUSION_THRESHOLDS_MB", R"({"2":"32"})"},
  };
  for (const auto& [name, value] : wrong) {
    expect_usage_error(
        [&] {
          parse_serve({}, {{name, value}});
        },
        std::string(name) + "=" + value + ": expected ");
  }
}

TEST(Environment, UnknownVariablesWarnWithTheNearestName) {
  EXPECT_THAT(parse_serve({}, {{"VLLM_LOGGING_LEVLE", "x"}}).warnings,
              ElementsAre("Unknown vLLM environment variable detected: VLLM_LOGGING_LEVLE (did you mean "
                          "VLLM_LOGGING_LEVEL?)"));
  EXPECT_THAT(parse_serve({}, {{"OTHER", "x"}, {"VLLMX", "y"}}).warnings, IsEmpty());
}

TEST(Environment, UnknownAttentionBackendWarnsAndKnownOnesDoNot) {
  EXPECT_THAT(parse_serve({}, {{"VLLM_ATTENTION_BACKEND", "FLASHINFER"}}).warnings, IsEmpty());
  EXPECT_THAT(parse_serve({}, {{"VLLM_ATTENTION_BACKEND", "FLUSHINFER"}}).warnings,
              ElementsAre(HasSubstr("FLUSH")));
}

TEST(Environment, ValuesThatCannotBeHonouredAreErrorsNamingTheVariable) {
  expect_usage_error([] { parse_serve({}, {{"VLLM_USE_V1", "0"}}); }, "VLLM_USE_V1=0");
  expect_usage_error(
      [] {
        parse_serve({}, {{"VLLM_SERVER_DEV_MODE", "maybe"}});
      },
      "VLLM_SERVER_DEV_MODE=maybe");
  expect_usage_error(
      [] {
        parse_serve({}, {{"VLLM_HTTP_TIMEOUT_KEEP_ALIVE", "x"}});
      },
      "VLLM_HTTP_TIMEOUT_KEEP_ALIVE: argument --http-timeout-keep-alive: invalid float value: 'x'");
  expect_usage_error(
      [] {
        parse_serve({}, {{"VLLM_CPU_KVCACHE_SPACE", "lots"}});
      },
      "VLLM_CPU_KVCACHE_SPACE: ");
}

TEST(Environment, EveryVariableStandsForAnOptionThatExists) {
  for (const auto& [name, use] : environment_variables()) {
    if (use.rfind("--", 0) != 0) continue;
    EXPECT_NE(serve_table().by_name(use.substr(2, use.find(',') - 2)), nullptr) << name;
  }
}

}  // namespace
}  // namespace outrider::config
