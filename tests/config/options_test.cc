// The table as a whole, what each tier does, the environment, rules over several options, and help.
#include <fstream>
#include <iterator>
#include <set>

#include "config/compilation.h"
#include "config/environment.h"
#include "config/help.h"
#include "config/table.h"
#include "config/tests_config.h"
#include "config/value.h"

namespace outrider::config {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

std::vector<const Option*> all_options() {
  std::vector<const Option*> options;
  for (const OptionGroup& group : serve_table().groups()) {
    for (const Option& option : group.options) options.push_back(&option);
  }
  return options;
}

std::string help_of_serve(const std::string& topic) { return command_help(serve_table(), topic); }

std::string full_name(const Option& option) { return "--" + std::string(option.name); }

// Words that give the option a value that is neither its default nor one that works. Empty: there is none.
std::vector<std::string> other_value(const Option& option) {
  switch (option.kind) {
    case Kind::kFlag:
      return {full_name(option)};
    case Kind::kBool:
      return {default_value(option) == true ? "--no-" + std::string(option.name) : full_name(option)};
    case Kind::kInt:
    case Kind::kSize:
      return {full_name(option), default_value(option) == 2 ? "3" : "2"};
    case Kind::kFloat:
      return {full_name(option), "7.5"};
    case Kind::kInts:
      return {full_name(option), "2"};
    case Kind::kJson:
      return {full_name(option), R"({"x":1})"};
    case Kind::kJsonList:
      return {full_name(option), R"(["x"])"};
    case Kind::kChoice:
      for (const std::string choice : option.choices) {
        const std::set<std::string> works(option.works.begin(), option.works.end());
        if (works.count(choice) == 0 && default_value(option) != choice) return {full_name(option), choice};
      }
      return {};
    default:
      return {full_name(option), "some-value"};
  }
}

TEST(Table, EveryOptionHasHelpAndEveryRefusalAReason) {
  std::set<std::string> names;
  for (const Option* option : all_options()) {
    EXPECT_NE(std::string(option->help), "") << option->name;
    EXPECT_TRUE(names.insert(option->name).second) << option->name << " is declared twice";
    const bool explains = option->tier == Tier::kWarn || option->tier == Tier::kRefuse;
    EXPECT_EQ(std::string(option->why) != "", explains) << option->name;
    EXPECT_EQ(option->choices.empty(), option->kind != Kind::kChoice) << option->name;
    EXPECT_EQ(std::string(option->name).find('_'), std::string::npos) << option->name;
  }
}

TEST(Table, AnOptionThatWorksHasAFieldAndOneWithoutEffectHasNone) {
  for (const Option* option : all_options()) {
    const bool bound = !std::holds_alternative<std::monostate>(option->field);
    if (option->tier == Tier::kWorks) {
      EXPECT_TRUE(bound) << option->name;
    }
    if (option->tier == Tier::kAccept || option->tier == Tier::kWarn) {
      EXPECT_FALSE(bound) << option->name;
    }
  }
}

TEST(Table, EachRefusedValueIsRefusedWithItsReason) {
  int refused = 0;
  for (const Option* option : all_options()) {
    if (option->tier != Tier::kRefuse) continue;
    const auto words = other_value(*option);
    ASSERT_FALSE(words.empty()) << option->name;
    expect_usage_error([&] { parse_serve(words, {}); }, option->why);
    ++refused;
  }
  EXPECT_GT(refused, 60);
}

TEST(Table, EachValueWithoutEffectWarnsWithItsReason) {
  int warned = 0;
  for (const Option* option : all_options()) {
    if (option->tier != Tier::kWarn) continue;
    const auto words = other_value(*option);
    ASSERT_FALSE(words.empty()) << option->name;
    const ServeOptions options = parse_serve(words, {});
    EXPECT_THAT(options.warnings, ElementsAre(HasSubstr(option->why))) << option->name;
    EXPECT_THAT(options.warnings, ElementsAre(HasSubstr(option->name)));
    ++warned;
  }
  EXPECT_GT(warned, 60);
}

TEST(Table, DefaultsAndValuesThatWorkAreAcceptedInSilence) {
  for (const Option* option : all_options()) {
    std::vector<std::vector<std::string>> accepted;
    const Json initial = default_value(*option);
    if (!initial.is_null() && !initial.is_boolean() && !initial.is_array() && initial != "") {
      accepted.push_back(
          {full_name(*option), initial.is_string() ? initial.get<std::string>() : to_text(initial)});
    }
    for (const char* value : option->works) accepted.push_back({full_name(*option), value});
    for (const auto& words : accepted) {
      const ServeOptions options = parse_serve(words, {});
      if (words[0] != "--model") {
        EXPECT_THAT(options.warnings, IsEmpty()) << words[0] << " " << words[1];
      }
    }
  }
}

// Every name of the reference's tables: sections 3 and 5.
TEST(Table, KnowsEveryFlagOfVllm) {
  std::ifstream file(std::string(OUTRIDER_SOURCE_DIR) + "/tests/config/data/vllm_flags.txt");
  int known = 0;
  for (std::string flag; file >> flag; ++known) {
    EXPECT_NE(serve_table().find(flag).option, nullptr) << flag;
    if (flag.rfind("--", 0) == 0 && flag.rfind("--no-", 0) != 0) {
      EXPECT_NE(serve_table().by_name(flag.substr(2)), nullptr)
          << flag << " is known as an abbreviation only";
    }
  }
  EXPECT_GT(known, 200);
}

TEST(Table, EveryFieldTakesItsValue) {
  const ServeOptions options =
      parse_serve({"--max-num-seqs", "3", "--rope-theta", "1e4", "--rope-scaling", R"({"factor":2})",
                   "--api-key", "k", "--host", "None", "--log-stats-interval", "-1", "--disable-log-stats",
                   "--max-log-len", "0", "-q", "None"},
                  {});
  EXPECT_EQ(options.max_num_seqs, 3);
  EXPECT_EQ(options.hf_overrides, Json::parse(R"({"rope_scaling":{"factor":2},"rope_theta":10000.0})"));
  EXPECT_THAT(options.api_key, ElementsAre("k"));
  EXPECT_EQ(options.host, "");
  EXPECT_EQ(options.log_stats_interval, 10.0);
  EXPECT_TRUE(options.disable_log_stats);
  EXPECT_EQ(options.max_log_len, 0);
  EXPECT_EQ(options.quantization, "");
}

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

TEST(CompilationConfig, EachKeyIsAnsweredInOneLine) {
  const ServeOptions options = parse_serve(
      {"--compilation-config",
       R"({"pass_config":{"enable_fi_allreduce_fusion":true,"enable_attn_fusion":true,"enable_noop":true},)"
       R"("custom_ops":["+quant_fp8","+rms_norm"],"cudagraph_mode":"FULL_DECODE_ONLY","splitting_ops":[]})"},
      {});
  EXPECT_THAT(options.warnings, IsEmpty());
  EXPECT_THAT(
      options.notes,
      ElementsAre("--compilation-config: on a GPU whole decode steps of few rows are CUDA graphs: "
                  "cudagraph_mode; always so: pass_config.enable_attn_fusion, pass_config.enable_noop; one "
                  "device has nothing to reduce: pass_config.enable_fi_allreduce_fusion; nothing is compiled "
                  "at start-up: custom_ops, splitting_ops"));
  EXPECT_THAT(parse_serve({"--compilation-config", "{}"}, {}).notes, IsEmpty());
}

TEST(CompilationConfig, EveryKeyOfTheTableIsAccepted) {
  for (const auto& [key, use] : compilation_keys()) {
    EXPECT_NE(use, "");
    EXPECT_THAT(parse_serve({"--compilation-config." + key, "null"}, {}).notes,
                ElementsAre(EndsWith(": " + key)));
  }
}

TEST(CompilationConfig, TheLineOfAGraphModeFollowsItsValue) {
  const std::map<std::string, const char*> lines = {
      {"cudagraph_mode=NONE", "no CUDA graphs: cudagraph_mode"},
      {"use_cudagraph=false", "no CUDA graphs: use_cudagraph"},
      {"cudagraph_mode=PIECEWISE", "no step is cut into pieces"},
      {"cudagraph_mode=FULL_AND_PIECEWISE", "no step is cut into pieces"},
      {"full_cuda_graph=true", "whole decode steps of few rows are CUDA graphs: full_cuda_graph"},
      {"cudagraph_mode=FULL", "whole decode steps of few rows are CUDA graphs: cudagraph_mode"},
  };
  for (const auto& [key, line] : lines) {
    EXPECT_THAT(parse_serve({"-O." + key}, {}).notes, ElementsAre(HasSubstr(line))) << key;
  }
}

std::optional<std::vector<int>> rows_of(const std::vector<std::string>& words) {
  return graph_rows(parse_serve(words, {}));
}

TEST(GraphRows, WithoutAWordTheDeviceDecides) {
  EXPECT_EQ(rows_of({}), std::nullopt);
  EXPECT_EQ(rows_of({"-O.cudagraph_mode=FULL"}), std::nullopt);
  EXPECT_EQ(rows_of({"-O.cudagraph_capture_sizes=null", "-O.use_cudagraph=true"}), std::nullopt);
}

TEST(GraphRows, AreNoneWhereStepsAreToBeEager) {
  const std::vector<int> none;
  EXPECT_EQ(rows_of({"--enforce-eager"}), none);
  EXPECT_EQ(rows_of({"--enforce-eager", "--cuda-graph-sizes", "8"}), none);
  EXPECT_EQ(rows_of({"-O.cudagraph_mode=NONE", "-O.cudagraph_capture_sizes=[1,2]"}), none);
  EXPECT_EQ(rows_of({"-O.use_cudagraph=false"}), none);
}

TEST(GraphRows, SeveralSizesAreTakenAsGiven) {
  EXPECT_EQ(rows_of({"--cudagraph-capture-sizes", "1", "2", "6"}), (std::vector<int>{1, 2, 6}));
  EXPECT_EQ(rows_of({"-O", R"({"cudagraph_capture_sizes":[4]})"}), (std::vector<int>{4}));
  EXPECT_EQ(rows_of({"--cuda-graph-sizes", "1", "9", "--max-cudagraph-capture-size", "8"}),
            (std::vector<int>{1}));
}

TEST(GraphRows, OneNumberStandsForVllmsRowOfSizes) {
  EXPECT_EQ(rows_of({"--cuda-graph-sizes", "30"}), (std::vector<int>{1, 2, 4, 8, 16, 24}));
  EXPECT_EQ(rows_of({"--cuda-graph-sizes", "3"}), (std::vector<int>{1, 2}));
  EXPECT_EQ(rows_of({"--max-cudagraph-capture-size", "16"}), (std::vector<int>{1, 2, 4, 8, 16}));
  EXPECT_EQ(rows_of({"-O.max_cudagraph_capture_size=4"}), (std::vector<int>{1, 2, 4}));
}

TEST(GraphRows, TwiceGivenAreRefusedAsVllmDoes) {
  expect_usage_error(
      [] {
        rows_of({"--cuda-graph-sizes", "8", "-O.cudagraph_capture_sizes=[1]"});
      },
      "cudagraph_capture_sizes and compilation_config.cudagraph_capture_sizes are mutually exclusive");
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

TEST(DeviceDefaults, AreVllmsByMemoryOfTheDevice) {
  ServeOptions cpu = parse_serve({}, {});
  apply_device_defaults(cpu, 0);
  EXPECT_EQ(cpu.max_num_seqs, 256);
  EXPECT_EQ(cpu.max_num_batched_tokens, 2048);
  ServeOptions gpu = parse_serve({}, {});
  apply_device_defaults(gpu, int64_t{80} << 30);
  EXPECT_EQ(gpu.max_num_seqs, 1024);
  EXPECT_EQ(gpu.max_num_batched_tokens, 8192);
  ServeOptions few = parse_serve({"--max-num-batched-tokens", "64"}, {});
  apply_device_defaults(few, 0);
  EXPECT_EQ(few.max_num_seqs, 64);
}

TEST(DeviceDefaults, FewerTokensThanSequencesIsRefusedInVllmsWords) {
  ServeOptions options = parse_serve({"--max-num-batched-tokens", "64", "--max-num-seqs", "65"}, {});
  try {
    apply_device_defaults(options, 0);
    FAIL();
  } catch (const StartupError& error) {
    EXPECT_STREQ(error.what(),
                 "max_num_batched_tokens (64) must be greater than or equal to max_num_seqs (65).");
    EXPECT_EQ(error.exit_code(), 1);
  }
}

TEST(DeviceDefaults, GpuOptionsOnTheCpuAreSaidToConcernGpus) {
  ServeOptions options = parse_serve({"--gpu-memory-utilization", "0.5", "-O3", "--enforce-eager"}, {});
  apply_device_defaults(options, 0);
  EXPECT_EQ(options.notes.size(), 3u);
}

TEST(Together, UtilizationAboveOneIsRefusedInVllmsWords) {
  try {
    parse_serve({"--gpu-memory-utilization", "1.5"}, {});
    FAIL();
  } catch (const StartupError& error) {
    EXPECT_STREQ(error.what(), "GPU memory utilization must be less than 1.0. Got 1.5.");
    EXPECT_EQ(error.exit_code(), 1);
  }
}

TEST(Together, AutomaticToolChoiceNeedsAParser) {
  try {
    parse_serve({"--enable-auto-tool-choice"}, {});
    FAIL();
  } catch (const StartupError& error) {
    EXPECT_STREQ(error.what(), "Error: --enable-auto-tool-choice requires --tool-call-parser");
    EXPECT_EQ(error.exit_code(), 1);
  }
  parse_serve({"--enable-auto-tool-choice", "--tool-call-parser", "llama4_pythonic"}, {});
}

TEST(NonDefaultArgs, ArePythonsRepresentationWithoutKeysAndDefaults) {
  const ServeOptions options = parse_serve({"m'x", "--port", "8000", "--max-num-seqs", "3", "--api-key",
                                            "secret", "--no-async-scheduling", "-tp", "1"},
                                           {});
  EXPECT_EQ(non_default_args(options),
            R"({'api_key': ['***'], 'async_scheduling': False, 'max_num_seqs': 3, 'model': 'm\'x'})");
  EXPECT_THAT(print_config(options), Not(HasSubstr("secret")));
}

TEST(NonDefaultArgs, InvalidUtf8IsPrintable) {
  const ServeOptions options = parse_serve({"m\xff", "--hf-overrides.a", "\xfe"}, {});
  EXPECT_THAT(print_config(options), HasSubstr("model: \"m\xEF\xBF\xBD\""));
  EXPECT_NE(non_default_args(options), "");
}

TEST(Help, OverviewIsShortAndTellsHowToSeeMore) {
  const std::string text = help_of_serve("");
  EXPECT_THAT(text, HasSubstr("usage: outrider serve [model] [options]\n"));
  EXPECT_THAT(text, HasSubstr("--help=listgroup"));
  EXPECT_LT(std::count(text.begin(), text.end(), '\n'), 90);
}

TEST(Help, GroupsKeywordsAndAll) {
  EXPECT_THAT(help_of_serve("listgroup"), HasSubstr("--help=scheduler"));
  EXPECT_THAT(help_of_serve("scheduler"), HasSubstr("--max-num-seqs INT"));
  EXPECT_THAT(help_of_serve("scheduler"), Not(HasSubstr("--port")));
  EXPECT_THAT(help_of_serve("max_num"), HasSubstr("--max-num-batched-tokens SIZE"));
  EXPECT_THAT(help_of_serve("-tp"), HasSubstr("--tensor-parallel-size, -tp INT"));
  EXPECT_THAT(help_of_serve("no such word"), HasSubstr("No option mentions"));
  const std::string all = help_of_serve("all");
  for (const Option* option : all_options()) EXPECT_THAT(all, HasSubstr("\n  " + full_name(*option)));
  EXPECT_EQ(help_of_serve("page"), all);
}

TEST(Help, DocumentationIsWhatTheTableSays) {
  std::ifstream file(std::string(OUTRIDER_SOURCE_DIR) + "/docs/options.md");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_EQ(text == help_of_serve("markdown"), true)
      << "run: outrider serve --help=markdown > docs/options.md";
}

}  // namespace
}  // namespace outrider::config
