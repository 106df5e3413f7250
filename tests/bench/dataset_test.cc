#include "bench/dataset.h"

#include <gmock/gmock.h>
#include <openssl/sha.h>

#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "bench/schedule.h"
#include "cases.h"

namespace outrider::bench {
namespace {

using testing::HasSubstr;

std::string hash_of(const std::string& text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  std::string hex;
  for (int i = 0; i < 8; ++i) {
    hex += "0123456789abcdef"[digest[i] >> 4];
    hex += "0123456789abcdef"[digest[i] & 15];
  }
  return hex;
}

TEST(Dataset, EveryDatasetHasThePromptsThatVllmsClientMakes) {
  for (const auto& item : read_cases("datasets.json")) {
    SCOPED_TRACE(item["name"].get<std::string>() + " " + item["options"].dump());
    std::vector<std::string> words = {"--dataset-name", item["name"]};
    if (item["file"] != "") words.insert(words.end(), {"--dataset-path", data_path(item["file"])});
    const auto options = options_from(item["options"], words);
    Generators generators(options.dataset.seed);
    const auto requests = make_dataset(options.dataset, *pocket(), generators);
    ASSERT_EQ(requests.size(), item["requests"].size());
    for (size_t i = 0; i < requests.size(); ++i) {
      const auto& wanted = item["requests"][i];
      EXPECT_THAT(requests[i].prompt, testing::StartsWith(wanted[1].get<std::string>())) << i;
      EXPECT_EQ(hash_of(requests[i].prompt), wanted[0].get<std::string>()) << i;
      EXPECT_EQ(requests[i].prompt_len, wanted[2]) << i;
      EXPECT_EQ(requests[i].output_len, wanted[3]) << i;
      // vLLM's client gives copies of one request the same id; here each has its own.
      EXPECT_EQ(requests[i].request_id, wanted[4] == "" ? "" : "benchmark-serving" + std::to_string(i));
    }
    EXPECT_NEAR(generators.numpy.gamma(1.0, 1.0), item["next_gamma"].get<double>(), 1e-12);
  }
}

TEST(Schedule, RequestsAreSentWhenVllmsClientSendsThem) {
  for (const auto& item : read_cases("schedule.json")) {
    SCOPED_TRACE(item["options"].dump());
    const auto options = options_from(item["options"]);
    NumpyLegacy random(static_cast<uint32_t>(options.dataset.seed));
    const auto times = send_times(options.traffic, item["times"].size(), random);
    for (size_t i = 0; i < times.size(); ++i) {
      EXPECT_NEAR(times[i], item["times"][i].get<double>(), 1e-9);
      const double rate = request_rate(options.traffic, i, times.size());
      EXPECT_EQ(std::isfinite(rate), item["rates"][i] != "inf");
      if (std::isfinite(rate)) {
        EXPECT_NEAR(rate, item["rates"][i].get<double>(), 1e-9);
      }
    }
  }
}

std::string refusal(const std::string& name, const std::string& text) {
  const auto path = std::filesystem::temp_directory_path() / ("outrider-dataset-" + std::to_string(getpid()));
  std::ofstream(path) << text;
  std::string message;
  try {
    auto options =
        options_from({{"num-prompts", 3}}, {"--dataset-name", name, "--dataset-path", path.string()});
    Generators generators(0);
    make_dataset(options.dataset, *pocket(), generators);
  } catch (const StartupError& error) {
    message = error.what();
  }
  std::filesystem::remove(path);
  return message;
}

TEST(Dataset, BrokenFilesAreRefusedByName) {
  EXPECT_THAT(refusal("sharegpt", "{"), HasSubstr("expected a JSON list"));
  EXPECT_THAT(refusal("sharegpt", "[1, {\"conversations\": [{}, {}]}]"), HasSubstr("no \"value\" text"));
  EXPECT_THAT(refusal("sharegpt", "[]"), HasSubstr("no prompt that can be used"));
  EXPECT_THAT(refusal("custom", "{\"prompt\": \"x\"}\n{\"prompt\": 1}\n"),
              HasSubstr(":2: no \"prompt\" text"));
  EXPECT_THAT(refusal("custom", "[]\n"), HasSubstr(":1: expected a JSON object"));
  EXPECT_THAT(refusal("spec_bench", "{\"turns\": []}"), HasSubstr("no \"turns\""));
  EXPECT_THAT(refusal("sonnet", ""), HasSubstr("no prompt that can be used"));
  EXPECT_THAT(refusal("sonnet", std::string(3000, '7') + "\na\nb\nc\nd\ne\nf\ng\nh\n"),
              HasSubstr("too uneven"));
  EXPECT_THAT(refusal("burstgpt", "a,b\n"), HasSubstr("no column \"Model\""));
  EXPECT_THAT(refusal("burstgpt", "Model,Request tokens,Response tokens\nGPT-4,x,1\n"),
              HasSubstr("'x' is no number"));
  EXPECT_THAT(refusal("burstgpt", "Model,Request tokens,Response tokens\nGPT-4,99999999999,1\n"),
              HasSubstr("is no number"));
}

}  // namespace
}  // namespace outrider::bench
