// --config FILE: vLLM's rules, and files broken in every way.
#include "config/yaml.h"

#include <unistd.h>

#include "config/arguments.h"
#include "config/table.h"
#include "config/tests_config.h"

namespace outrider::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string unique_name(const char* extension) {
  static int count = 0;
  return "options_" + std::to_string(getpid()) + "_" + std::to_string(count++) + extension;
}

ServeOptions parse_with_file(const std::string& yaml, std::vector<std::string> words = {},
                             const Environment& environment = {}) {
  const TemporaryFile file(unique_name(".yaml"), yaml);
  words.insert(words.begin(), {"--config", file.path()});
  return parse_serve(words, environment);
}

const std::string kRecipe = std::string(OUTRIDER_SOURCE_DIR) + "/recipes/llama4-scout/";

TEST(ConfigFile, TheRecipesHopperFileLoadsUnchanged) {
  const ServeOptions options =
      parse_serve({"nvidia/Llama-4-Scout-17B-16E-Instruct-FP8", "--config", kRecipe + "Llama4_Hopper.yaml",
                   "--tensor-parallel-size", "1", "--max-num-seqs", "512"},
                  {});
  EXPECT_EQ(options.model, "nvidia/Llama-4-Scout-17B-16E-Instruct-FP8");
  EXPECT_EQ(options.kv_cache_dtype, "fp8");
  EXPECT_TRUE(options.async_scheduling);
  EXPECT_FALSE(options.enable_prefix_caching);
  EXPECT_EQ(options.max_num_batched_tokens, 8192);
  EXPECT_EQ(options.max_model_len, 10240);
  EXPECT_EQ(options.max_num_seqs, 512);
  EXPECT_THAT(options.warnings, IsEmpty());
  EXPECT_EQ(options.given.at("max-model-len").origin.text(), kRecipe + "Llama4_Hopper.yaml");
}

TEST(ConfigFile, TheRecipesBlackwellFileAndVariablesLoadUnchanged) {
  const ServeOptions options =
      parse_serve({"--config", kRecipe + "Llama4_Blackwell.yaml"},
                  {{"VLLM_FLASHINFER_ALLREDUCE_FUSION_THRESHOLDS_MB", R"({"2":32,"4":32,"8":8})"},
                   {"VLLM_USE_FLASHINFER_MOE_FP8", "1"},
                   {"VLLM_USE_FLASHINFER_MOE_FP4", "1"},
                   {"VLLM_FLASHINFER_MOE_BACKEND", "latency"}});
  EXPECT_EQ(options.compilation_config["cudagraph_mode"], "FULL_DECODE_ONLY");
  EXPECT_EQ(options.compilation_config["pass_config"]["enable_fi_allreduce_fusion"], true);
  EXPECT_THAT(options.warnings, IsEmpty());
  EXPECT_THAT(options.notes, ElementsAre(HasSubstr("MOE_FP8"), HasSubstr("MOE_FP4"), HasSubstr("MOE_BACKEND"),
                                         HasSubstr("THRESHOLDS_MB"), HasSubstr("custom_ops, splitting_ops")));
}

TEST(ConfigFile, TheLaterSpellingOfTheBlackwellFileLoadsToo) {
  const ServeOptions options = parse_with_file(
      R"(compilation-config: '{"pass_config":{"fuse_allreduce_rms":true,"fuse_attn_quant":true,"eliminate_noops":true}}')");
  EXPECT_EQ(options.compilation_config["pass_config"]["eliminate_noops"], true);
}

TEST(ConfigFile, CommandLineBeatsFileBeatsEnvironmentBeatsDefault) {
  const Environment environment = {{"VLLM_API_KEY", "env"}, {"VLLM_LOG_STATS_INTERVAL", "3"}};
  const ServeOptions options =
      parse_with_file("api-key: file\nmax-num-seqs: 7\nport: 1\n", {"--port", "2"}, environment);
  EXPECT_EQ(options.port, 2);
  EXPECT_EQ(options.max_num_seqs, 7);
  EXPECT_THAT(options.api_key, ElementsAre("file"));
  EXPECT_EQ(options.log_stats_interval, 3.0);
  EXPECT_EQ(options.host, "127.0.0.1");
  EXPECT_EQ(options.given.at("log-stats-interval").origin.text(), "environment VLLM_LOG_STATS_INTERVAL");
  EXPECT_EQ(options.given.at("port").origin.text(), "command line");
}

TEST(ConfigFile, CommandLineBeatsFileWhereverTheFileStands) {
  const TemporaryFile file(unique_name(".yml"), "port: 1\n");
  EXPECT_EQ(parse_serve({"--port", "2", "--config=" + file.path()}, {}).port, 2);
}

TEST(ConfigFile, EqualsFormIsReadToo) {
  const TemporaryFile file(unique_name(".yaml"), "port: 1\n");
  EXPECT_EQ(parse_serve({"--config=" + file.path()}, {}).port, 1);
}

TEST(ConfigFile, ModelOfTheFileYieldsToThePositionalOne) {
  EXPECT_EQ(parse_with_file("model: from-file\n").model, "from-file");
  EXPECT_EQ(parse_with_file("model: from-file\n", {"typed"}).model, "typed");
}

TEST(ConfigFile, KeysMayHaveUnderscores) { EXPECT_EQ(parse_with_file("max_num_seqs: 9\n").max_num_seqs, 9); }

TEST(ConfigFile, FalseMeansNoAndSaysSo) {
  const ServeOptions options = parse_with_file("enable-prefix-caching: false\n");
  EXPECT_FALSE(options.enable_prefix_caching);
  EXPECT_THAT(options.notes, ElementsAre(HasSubstr("--no-enable-prefix-caching")));
}

TEST(ConfigFile, FalseOfANegationMeansYes) {
  EXPECT_TRUE(parse_with_file("no-enable-prefix-caching: false\n").enable_prefix_caching);
}

TEST(ConfigFile, FalseOfAFlagWithoutNegationLeavesItOffAndSaysSo) {
  const ServeOptions options = parse_with_file("disable-log-stats: false\n");
  EXPECT_FALSE(options.disable_log_stats);
  EXPECT_THAT(options.notes, ElementsAre(HasSubstr("leaves it off")));
}

TEST(ConfigFile, ListsBecomeSeveralValues) {
  EXPECT_THAT(parse_with_file("served-model-name: [a, b]\n").served_model_name, ElementsAre("a", "b"));
  EXPECT_THAT(parse_with_file("served-model-name:\n  - a\n  - 1.5\n").served_model_name,
              ElementsAre("a", "1.5"));
  EXPECT_EQ(parse_with_file("served-model-name: []\n").given.count("served-model-name"), 0u);
}

TEST(ConfigFile, NestedMapsAndDottedKeysBecomeJson) {
  const char* forms[] = {
      "compilation-config:\n  pass_config:\n    enable_noop: true\n  cudagraph_mode: NONE\n",
      "compilation-config: {pass_config: {enable_noop: true}, cudagraph_mode: NONE}\n",
      "compilation-config.pass_config.enable_noop: true\ncompilation_config.cudagraph_mode: NONE\n",
      R"(compilation-config: '{"pass_config":{"enable_noop":true},"cudagraph_mode":"NONE"}')",
  };
  for (const char* form : forms) {
    EXPECT_EQ(parse_with_file(form).compilation_config,
              Json::parse(R"({"pass_config":{"enable_noop":true},"cudagraph_mode":"NONE"})"))
        << form;
  }
}

TEST(ConfigFile, NullLeavesAnOptionUnset) {
  const ServeOptions options =
      parse_with_file("max-num-seqs:\nhf-overrides: ~\nasync-scheduling:\napi-key: null\n");
  EXPECT_FALSE(options.max_num_seqs.has_value());
  EXPECT_EQ(options.hf_overrides, Json::object());
  EXPECT_TRUE(options.async_scheduling);
  EXPECT_THAT(options.api_key, IsEmpty());
}

TEST(ConfigFile, EmptyFilesAndCommentsAreFine) {
  for (const char* text : {"", "\n", "# nothing\n", "---\n", "---\n...\n", "{}\n"}) {
    EXPECT_EQ(parse_with_file(text).port, 8000) << text;
  }
}

TEST(ConfigFile, AKeyGivenTwiceCountsOnceAndWarns) {
  const ServeOptions options = parse_with_file("port: 1\nport: 2\n");
  EXPECT_EQ(options.port, 2);
  EXPECT_THAT(options.warnings, ElementsAre(HasSubstr("line 2: port is given twice")));
}

TEST(ConfigFile, PrintedConfigurationReadsBackTheSame) {
  ServeOptions options = parse_serve({"--port", "9", "--served-model-name", "a: b", "#c", "-O.cudagraph_mode",
                                      "NONE", "--no-async-scheduling", "--host", "yes"},
                                     {});
  const std::string text = print_config(options);
  EXPECT_THAT(text, HasSubstr("port: 9  # command line\n"));
  EXPECT_THAT(text, HasSubstr("max-logprobs: 20  # default\n"));
  const ServeOptions again = parse_with_file(text);
  EXPECT_EQ(again.port, 9);
  EXPECT_EQ(again.host, "yes");
  EXPECT_THAT(again.served_model_name, ElementsAre("a: b", "#c"));
  EXPECT_EQ(again.compilation_config, options.compilation_config);
  EXPECT_FALSE(again.async_scheduling);
  EXPECT_THAT(again.warnings, IsEmpty());
}

struct Broken {
  std::string yaml;
  const char* line;
};

class BrokenConfigFile : public testing::TestWithParam<Broken> {};

TEST_P(BrokenConfigFile, IsRefusedInOneLineWithExitCode2) {
  expect_usage_error([] { parse_with_file(GetParam().yaml); }, GetParam().line);
}

std::string repeated(const char* text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

INSTANTIATE_TEST_SUITE_P(
    EachKind, BrokenConfigFile,
    testing::Values(
        Broken{"max-num-sqs: 3\n", "unrecognized arguments: --max-num-sqs 3 (did you mean max-num-seqs?)"},
        Broken{"nonsense-of-mine: true\n", "unrecognized arguments: --nonsense-of-mine"},
        Broken{"max-num-seqs: many\n", "argument --max-num-seqs: invalid int value: 'many'"},
        Broken{"max-num-seqs: [1, 2]\n", "max-num-seqs: expected one value, got a list"},
        Broken{"max-num-seqs: {a: 1}\n", "max-num-seqs: expected one value, got {\"a\":1}"},
        Broken{"max-num-seqs: true\n", "max-num-seqs: expected a value, got true"},
        Broken{"port:\n", "argument --port: invalid int value: 'None'"},
        Broken{"port: -3\n", "-3 is out of range"},
        Broken{"port: 123456789012345678901234567890\n", "invalid int value"},
        Broken{"async-scheduling: 'true'\n", "async-scheduling: expected true or false, got \"true\""},
        Broken{"async-scheduling: 1\n", "async-scheduling: expected true or false, got 1"},
        Broken{"compilation-config: '{\"a\":'\n", "cannot be converted to JSON"},
        Broken{"compilation-config: [1]\n", "expected a JSON object"},
        Broken{"compilation-config: {custom_op: []}\n", "unknown key custom_op (did you mean custom_ops?)"},
        Broken{"- a\n- b\n", "expected `key: value` lines"},
        Broken{"just text\n", "expected `key: value` lines"}, Broken{"port: 1\n bad indent: 2\n", "line 2:"},
        Broken{"a: [1, 2\n", "line "}, Broken{"port: \"1\n", "line "}, Broken{"\tport: 1\n", "line 1:"},
        Broken{"port: 1\n---\nport: 2\n", "line 2: more than one document"},
        Broken{"host: &a x\nuds: *a\n", "line 2: aliases"},
        Broken{"host: !!python/object:os.system x\n",
               "tag tag:yaml.org,2002:python/object:os.system is not supported"},
        Broken{"[a]: 1\n", "a key must be a plain word"}, Broken{"host: \"a\\0b\"\n", "a zero byte"},
        Broken{"host: \xff\xfe\x80\n", "line "},
        Broken{"hf-overrides: " + repeated("[", 100'000), "nested deeper than 32"},
        Broken{"hf-overrides: " + repeated("{a: ", 5000), "nested deeper than 32"},
        Broken{"hf-overrides: {a: [" + repeated("1,", 100'001) + "]}", "more than 100000 values"},
        Broken{"host: " + std::string(2 << 20, 'x'), "larger than 1 MiB"},
        Broken{"config: other.yaml\n", "a config file cannot name another one"}));

TEST(ConfigFile, MustBeYaml) {
  expect_usage_error([] { parse_serve({"--config", "options.json"}, {}); }, "must be of a yaml/yml type");
  expect_usage_error([] { parse_serve({"--config", "absent.yaml"}, {}); }, "cannot read absent.yaml");
  expect_usage_error([] { parse_serve({"--config", "."}, {}); }, "must be of a yaml/yml type");
}

TEST(ConfigFile, OfAnotherProgramIsRefusedByItsFirstKeys) {
  std::string yaml;
  for (int i = 0; i < 50'000; ++i) yaml += "another-programs-key-" + std::to_string(i) + ": 1\n";
  try {
    parse_with_file(yaml.substr(0, kMaxYamlBytes - 100) + "\n");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_LT(std::string(error.what()).size(), 500u);
  }
}

TEST(Yaml, ScalarsAreReadAsPyYamlDoes) {
  const Json root =
      parse_yaml(
          "a: 12\nb: -3\nc: 1_000\nd: 0x1F\ne: 017\nf: 1.5\ng: 1e3\nh: yes\ni: Off\nj: '12'\nk: ~\n"
          "l: 08\nm: |\n  two\n  lines\nn: 1.5.2\no: +5\np: -0x10\n",
          "f")
          .root;
  EXPECT_EQ(root, Json::parse(
                      R"({"a":12,"b":-3,"c":1000,"d":31,"e":15,"f":1.5,"g":"1e3","h":true,"i":false,"j":"12",
                                  "k":null,"l":"08","m":"two\nlines\n","n":"1.5.2","o":5,"p":-16})"));
}

TEST(Yaml, EveryCutOfAFileIsReadOrRefused) {
  const std::string whole = "a: {b: [1, 'x', \"y\\n\"], c: |\n  t\n}\nd: &e !f g\n";
  for (size_t length = 0; length <= whole.size(); ++length) {
    try {
      parse_yaml(whole.substr(0, length), "f");
    } catch (const UsageError&) {
    }
  }
}

}  // namespace
}  // namespace outrider::config
