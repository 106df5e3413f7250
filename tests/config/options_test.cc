// The table as a whole, what each tier does, defaults by device, and rules over several options.
#include <set>

#include "config/table.h"
#include "config/tests_config.h"
#include "config/value.h"

namespace outrider::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::vector<const Option*> all_options() {
  std::vector<const Option*> options;
  for (const OptionGroup& group : serve_table().groups()) {
    for (const Option& option : group.options) options.push_back(&option);
  }
  return options;
}

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
    EXPECT_STREQ(error.what(),
                 "argument --gpu-memory-utilization: GPU memory utilization must be less than 1.0. Got 1.5.");
    EXPECT_EQ(error.exit_code(), 1);
  }
}

TEST(Together, AutomaticToolChoiceNeedsAParser) {
  try {
    parse_serve({"--enable-auto-tool-choice"}, {});
    FAIL();
  } catch (const StartupError& error) {
    EXPECT_STREQ(error.what(), "--enable-auto-tool-choice requires --tool-call-parser");
    EXPECT_EQ(error.exit_code(), 1);
  }
  parse_serve({"--enable-auto-tool-choice", "--tool-call-parser", "llama4_pythonic"}, {});
}

TEST(NonDefaultArgs, ArePythonsRepresentationWithoutKeysAndDefaults) {
  const ServeOptions options = parse_serve({"m'x", "--port", "8000", "--max-num-seqs", "3", "--api-key",
                                            "secret", "--no-async-scheduling", "-tp", "1"},
                                           {});
  EXPECT_EQ(non_default_args(options),
            R"({'api_key': ['***'], 'async_scheduling': False, 'max_num_seqs': 3, 'model': "m'x"})");
  EXPECT_THAT(print_config(options), Not(HasSubstr("secret")));
}

TEST(NonDefaultArgs, InvalidUtf8IsPrintable) {
  const ServeOptions options = parse_serve({"m\xff", "--hf-overrides.a", "\xfe"}, {});
  EXPECT_THAT(print_config(options), HasSubstr("model: \"m\xEF\xBF\xBD\""));
  EXPECT_NE(non_default_args(options), "");
}

}  // namespace
}  // namespace outrider::config
