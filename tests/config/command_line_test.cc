// The rules of vLLM's command line, as probed on its own parser.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/tests_config.h"

namespace outrider::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Parsed {
  const char* what;
  std::vector<std::string> words;
  const char* option;
  Json value;
};

class CommandLineRule : public testing::TestWithParam<Parsed> {};

TEST_P(CommandLineRule, GivesTheValue) {
  const Parsed& rule = GetParam();
  const ServeOptions options = parse_serve(rule.words, {});
  const auto given = options.given.find(rule.option);
  ASSERT_NE(given, options.given.end()) << rule.what;
  EXPECT_EQ(given->second.value, rule.value) << rule.what;
  EXPECT_EQ(given->second.origin.kind, Origin::Kind::kCommandLine);
}

Json json(const char* text) { return Json::parse(text); }

INSTANTIATE_TEST_SUITE_P(
    Probed, CommandLineRule,
    testing::Values(
        Parsed{"underscores", {"--max_model_len", "7"}, "max-model-len", 7},
        Parsed{"equals sign", {"--port=8001"}, "port", 8001},
        Parsed{"two words", {"--port", "8001"}, "port", 8001},
        Parsed{"the last one wins", {"--port", "1", "--port=2"}, "port", 2},
        Parsed{"unambiguous prefix", {"--max-model", "7"}, "max-model-len", 7},
        Parsed{"prefix with underscores", {"--max_model", "7"}, "max-model-len", 7},
        Parsed{"exact name that begins others", {"--tokenizer", "/t"}, "tokenizer", "/t"},
        Parsed{"--no-", {"--no-enable-prefix-caching"}, "enable-prefix-caching", false},
        Parsed{"--disable- of --enable-", {"--disable-prefix-caching"}, "enable-prefix-caching", false},
        Parsed{"switch on", {"--async-scheduling"}, "async-scheduling", true},
        Parsed{"off, then on", {"--no-async-scheduling", "--async-scheduling"}, "async-scheduling", true},
        Parsed{"short alias", {"-tp", "1"}, "tensor-parallel-size", 1},
        Parsed{"short alias with equals sign", {"-tp=1"}, "tensor-parallel-size", 1},
        Parsed{"one letter", {"-q", "modelopt"}, "quantization", "modelopt"},
        Parsed{"one letter, value attached", {"-qmodelopt_fp4"}, "quantization", "modelopt_fp4"},
        Parsed{"k", {"--max-model-len", "25.6k"}, "max-model-len", 25600},
        Parsed{"K", {"--max-model-len", "8K"}, "max-model-len", 8192},
        Parsed{"m", {"--max-num-batched-tokens", "0.1m"}, "max-num-batched-tokens", 100000},
        Parsed{"M", {"--kv-cache-memory-bytes", "3M"}, "kv-cache-memory-bytes", 3 << 20},
        Parsed{"g", {"--kv-cache-memory-bytes", "1.5g"}, "kv-cache-memory-bytes", 1500000000},
        Parsed{"G", {"--kv-cache-memory-bytes", "4G"}, "kv-cache-memory-bytes", int64_t{4} << 30},
        Parsed{"T", {"--kv-cache-memory-bytes", "1T"}, "kv-cache-memory-bytes", int64_t{1} << 40},
        Parsed{"underscores in a number", {"--max-num-seqs", "1_000"}, "max-num-seqs", 1000},
        Parsed{"auto length", {"--max-model-len", "auto"}, "max-model-len", nullptr},
        Parsed{"length -1", {"--max-model-len", "-1"}, "max-model-len", nullptr},
        Parsed{"None", {"--max-num-seqs", "None"}, "max-num-seqs", nullptr},
        Parsed{"empty text", {"--kv-cache-memory-bytes", ""}, "kv-cache-memory-bytes", nullptr},
        Parsed{"negative number as value", {"--max-logprobs", "-1"}, "max-logprobs", -1},
        Parsed{"float", {"--gpu-memory-utilization", "0.95"}, "gpu-memory-utilization", 0.95},
        Parsed{"alias of 0.33", {"--device-memory-utilization=.5"}, "gpu-memory-utilization", 0.5},
        Parsed{"several values",
               {"--served-model-name", "a", "b", "--port", "1"},
               "served-model-name",
               {"a", "b"}},
        Parsed{"several values, equals sign",
               {"--served-model-name=a"},
               "served-model-name",
               Json::array({"a"})},
        Parsed{"keys", {"--api-key", "k1", "k2"}, "api-key", {"k1", "k2"}},
        Parsed{"no key is None", {"--api-key", "None", ""}, "api-key", Json::array()},
        Parsed{"JSON", {"--hf-overrides", R"({"a": {"b": 1}})"}, "hf-overrides", json(R"({"a":{"b":1}})")},
        Parsed{"JSON list",
               {"--allowed-origins", R"(["http://x"])"},
               "allowed-origins",
               Json::array({"http://x"})},
        Parsed{"dotted key", {"--hf-overrides.a.b", "3"}, "hf-overrides", json(R"({"a":{"b":3}})")},
        Parsed{"dotted key, equals sign", {"--hf-overrides.a=x.y"}, "hf-overrides", json(R"({"a":"x.y"})")},
        Parsed{"dotted key keeps its underscores",
               {"--hf_overrides.a_b", "1"},
               "hf-overrides",
               json(R"({"a_b":1})")},
        Parsed{"dotted keys meet",
               {"--hf-overrides.a.b", "1", "--port", "1", "--hf-overrides.a.c", "[2]"},
               "hf-overrides",
               json(R"({"a":{"b":1,"c":[2]}})")},
        Parsed{"list append",
               {"--hf-overrides.l+", "v1,v2", "--hf-overrides.l+=v3"},
               "hf-overrides",
               json(R"({"l":["v1","v2","v3"]})")},
        Parsed{"dotted replaces JSON",
               {"--hf-overrides.a", "1", "--hf-overrides", R"({"b":2})"},
               "hf-overrides",
               json(R"({"a":1})")},
        Parsed{"-O3", {"-O3"}, "compilation-config", json(R"({"level":3})")},
        Parsed{"-O 3", {"-O", "3"}, "compilation-config", json(R"({"level":3})")},
        Parsed{"-O=3", {"-O=3"}, "compilation-config", json(R"({"level":3})")},
        Parsed{"-O.level=3", {"-O.level=3"}, "compilation-config", json(R"({"level":3})")},
        Parsed{"-O JSON", {"-O", R"({"level":2})"}, "compilation-config", json(R"({"level":2})")},
        Parsed{"-cc", {"-cc", R"({"mode":0})"}, "compilation-config", json(R"({"mode":0})")},
        Parsed{
            "level as number", {"--compilation-config", "3"}, "compilation-config", json(R"({"level":3})")},
        Parsed{"-O3 beside a dotted key",
               {"-O3", "-O.cudagraph_mode", "NONE"},
               "compilation-config",
               json(R"({"level":3,"cudagraph_mode":"NONE"})")},
        Parsed{"bare optional value", {"--hf-token", "--port", "1"}, "hf-token", true},
        Parsed{"optional value", {"--hf-token", "t"}, "hf-token", "t"},
        Parsed{
            "several numbers", {"--cuda-graph-sizes", "1", "2", "4"}, "cudagraph-capture-sizes", {1, 2, 4}},
        Parsed{"positional model", {"m", "--port", "1"}, "model", "m"},
        Parsed{"positional model at the end", {"--port", "1", "m"}, "model", "m"},
        Parsed{"positional model after --", {"--port", "1", "--", "m"}, "model", "m"},
        Parsed{"positional beats --model", {"m", "--model", "n"}, "model", "m"},
        Parsed{"--model", {"--model", "n"}, "model", "n"}));

TEST(CommandLine, SeveralValuesSwallowAFollowingModel) {
  const ServeOptions options = parse_serve({"--served-model-name", "a", "M"}, {});
  EXPECT_EQ(options.model, "");
  EXPECT_THAT(options.served_model_name, ElementsAre("a", "M"));
}

TEST(CommandLine, ModelFlagWarnsAsLaterVersionsDo) {
  EXPECT_THAT(parse_serve({"--model", "n"}, {}).warnings, ElementsAre(HasSubstr("first argument")));
}

TEST(CommandLine, HelpAndVersionStopTheReading) {
  EXPECT_EQ(parse_serve({"--help", "--nonsense"}, {}).help, "");
  EXPECT_EQ(parse_serve({"--nonsense", "-h"}, {}).help, "");
  EXPECT_EQ(parse_serve({"--help=max"}, {}).help, "max");
  EXPECT_TRUE(parse_serve({"-v"}, {}).version);
}

TEST(CommandLine, DottedKeysThatReplaceAWholeValueSaySo) {
  EXPECT_THAT(parse_serve({"--hf-overrides", R"({"b":2})", "--hf-overrides.a", "1"}, {}).warnings,
              ElementsAre(HasSubstr("replaces the whole --hf-overrides")));
}

struct Refused {
  std::vector<std::string> words;
  const char* line;
};

class CommandLineError : public testing::TestWithParam<Refused> {};

TEST_P(CommandLineError, IsOneLineAndExitCode2) {
  expect_usage_error([] { parse_serve(GetParam().words, {}); }, GetParam().line);
}

INSTANTIATE_TEST_SUITE_P(
    Probed, CommandLineError,
    testing::Values(
        Refused{{"--foo", "3"}, "unrecognized arguments: --foo 3"},
        Refused{{"--foo=3", "--bar"}, "unrecognized arguments: --foo=3 --bar"},
        Refused{{"--max-modle-len", "3"},
                "unrecognized arguments: --max-modle-len 3 (did you mean --max-model-len?)"},
        Refused{{"--max_nun_seqs=3"},
                "unrecognized arguments: --max_nun_seqs=3 (did you mean --max-num-seqs?)"},
        Refused{{"--tensor-paralel-size", "1", "--prot", "1"},
                "unrecognized arguments: --tensor-paralel-size 1 --prot 1 (did you mean "
                "--tensor-parallel-size, --port?)"},
        Refused{{"a", "b"}, "unrecognized arguments: b"},
        Refused{{"--max-num", "7"},
                "ambiguous option: --max-num could match --max-num-active-seqs, --max-num-batched-tokens, "
                "--max-num-partial-prefills, --max-num-queued-reqs, --max-num-queued-tokens, --max-num-seqs"},
        Refused{{"--async-scheduling=false"},
                "argument --async-scheduling: ignored explicit argument 'false'"},
        Refused{{"--disable-log-stats=1"}, "argument --disable-log-stats: ignored explicit argument '1'"},
        Refused{{"--no-disable-log-stats"},
                "unrecognized arguments: --no-disable-log-stats (did you mean "
                "--disable-log-stats?)"},
        Refused{{"--kv-cache-dtype", "int8"},
                "argument --kv-cache-dtype: invalid choice: 'int8' (choose from 'auto', "},
        Refused{{"--port"}, "argument --port: expected one argument"},
        Refused{{"--port", "--host", "x"}, "argument --port: expected one argument"},
        Refused{{"--api-key"}, "argument --api-key: expected at least one argument"},
        Refused{{"--port", "x"}, "argument --port: invalid int value: 'x'"},
        Refused{{"--port", "1.5"}, "argument --port: invalid int value: '1.5'"},
        Refused{{"--port", "0x10"}, "argument --port: invalid int value: '0x10'"},
        Refused{{"--port", "_1"}, "argument --port: invalid int value: '_1'"},
        Refused{{"--port", "None"}, "argument --port: invalid int value: 'None'"},
        Refused{{"--port", "-1"}, "argument --port: -1 is out of range (0 to 65535)"},
        Refused{{"--port", "65536"}, "argument --port: 65536 is out of range (0 to 65535)"},
        Refused{{"--max-num-seqs", "0"}, "argument --max-num-seqs: 0 is out of range (1 to 65536)"},
        Refused{{"--max-num-seqs", "4K"}, "argument --max-num-seqs: invalid int value: '4K'"},
        Refused{{"--max-model-len", "1.5K"}, "argument --max-model-len: invalid int value: '1.5K'"},
        Refused{{"--max-model-len", "99999999999999999999"}, "argument --max-model-len: invalid int value:"},
        Refused{{"--max-model-len", "9e99k"}, "argument --max-model-len: invalid int value:"},
        Refused{{"--max-model-len", "9000000000000G"}, "argument --max-model-len: invalid int value:"},
        Refused{{"--max-model-len", "k"}, "argument --max-model-len: invalid int value: 'k'"},
        Refused{{"--max-model-len", "-5"}, "argument --max-model-len: -5 is out of range (1 to "},
        Refused{{"--gpu-memory-utilization", "nan"}, "argument --gpu-memory-utilization"},
        Refused{{"--gpu-memory-utilization", "-0.5"}, "argument --gpu-memory-utilization"},
        Refused{{"--gpu-memory-utilization", "0.9GB"}, "invalid float value: '0.9GB'"},
        Refused{{"--hf-overrides", "{a}"}, "argument --hf-overrides: Value {a} cannot be converted to JSON."},
        Refused{{"--hf-overrides", "[1]"}, "argument --hf-overrides: expected a JSON object, got [1]"},
        Refused{{"--hf-overrides", std::string(5000, '[')}, "argument --hf-overrides: Value [[["},
        Refused{{"--hf-overrides", std::string(100, '[') + std::string(100, ']')},
                "cannot be converted to JSON."},
        Refused{{"--allowed-origins", "[1]"},
                "argument --allowed-origins: expected a JSON list of strings, got [1]"},
        Refused{{"--port.a", "1"}, "argument --port: takes no keys"},
        Refused{{"--hf-overrides.a"}, "argument --hf-overrides: expected one argument"},
        Refused{{"--hf-overrides.a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q", "1"},
                "argument --hf-overrides: nested too deep"},
        Refused{{"--compilation-config", R"({"pass_config":{"enable_nop":true}})"},
                "argument --compilation-config: unknown key pass_config.enable_nop (did you mean "
                "pass_config.enable_noop?)"},
        Refused{{"--compilation-config", R"({"cudagraph_mode":"SOME"})"},
                "argument --compilation-config: cudagraph_mode: expected one of NONE, PIECEWISE, FULL, "
                "FULL_DECODE_ONLY, FULL_AND_PIECEWISE, got \"SOME\""},
        Refused{{"--compilation-config", R"({"cudagraph_capture_sizes":[1,-2]})"},
                "cudagraph_capture_sizes: expected"},
        Refused{{"--compilation-config", R"({"pass_config":3})"}, "pass_config: expected an object, got 3"},
        Refused{{"--config", "a.yaml", "--config", "b.yaml"},
                "argument --config: more than one config file given"},
        Refused{{"--config"}, "argument --config: expected one argument"}));

TEST(CommandLine, ManyRandomWordsGiveAnErrorOrOptionsAndNothingElse) {
  const std::vector<std::string> pieces = {
      "--", "-",  "max", "model",   "len", ".", "=",    "+",    "O",   "3",      "{",
      "}",  "\"", "no-", "api-key", "_",   " ", "None", "\xff", "1e9", "config", "hf-overrides"};
  uint64_t state = 1;
  const auto draw = [&](size_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % n;
  };
  int errors = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::string> words(1 + draw(3));
    for (std::string& word : words) {
      for (size_t n = draw(5); n > 0; --n) word += pieces[draw(pieces.size())];
    }
    try {
      parse_serve(words, {});
    } catch (const UsageError&) {
      ++errors;
    }
  }
  EXPECT_GT(errors, 1000);
}

}  // namespace
}  // namespace outrider::config
