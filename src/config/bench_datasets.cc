// The options of the benchmarks' data sets: names, defaults and meanings of vLLM's.
#include "config/bench_options.h"

namespace outrider::config {
namespace {

constexpr const char* kNoPromptImages = "not built yet: prompts with images";
constexpr const char* kNoDownloads =
    "not built yet: data sets from the Hugging Face hub; use --dataset-path with a file";
constexpr const char* kTextOnly = "it concerns embeddings or images";

}  // namespace

std::vector<Option> bench_dataset_options() {
  const auto length = [](const char* name, const char* initial, double min, const char* help) {
    return Option{
        .name = name, .kind = Kind::kInt, .initial = initial, .min = min, .max = 1 << 24, .help = help};
  };
  return {
      {.name = "dataset-name",
       .kind = Kind::kChoice,
       .initial = "random",
       .tier = Tier::kRefuse,
       .choices = {"sharegpt", "burstgpt", "sonnet", "random", "random-mm", "hf", "custom",
                   "prefix_repetition", "spec_bench"},
       .works = {"sharegpt", "burstgpt", "sonnet", "custom", "prefix_repetition", "spec_bench"},
       .why = kNoDownloads,
       .common = true,
       .help = "Where prompts come from. All but random and prefix_repetition read --dataset-path."},
      {.name = "dataset-path",
       .kind = Kind::kString,
       .common = true,
       .help = "File of the data set: JSON for sharegpt, JSON lines for custom (\"prompt\") and spec_bench "
               "(\"turns\"), "
               "text for sonnet, CSV for burstgpt."},
      {.name = "num-prompts",
       .kind = Kind::kInt,
       .initial = "1000",
       .min = 0,
       .max = 1 << 24,
       .common = true,
       .help = "Requests to send. 0: all of a custom data set."},
      {.name = "seed",
       .kind = Kind::kInt,
       .initial = "0",
       .min = 0,
       .max = 4294967295.0,
       .help = "Seed of all random choices."},
      {.name = "no-oversample",
       .kind = Kind::kFlag,
       .initial = "false",
       .help = "Send fewer requests, not some twice, where the file has fewer than --num-prompts."},
      ignored("no-stream", Kind::kFlag, "false", kNoDownloads, ""),
      {.name = "disable-shuffle",
       .kind = Kind::kFlag,
       .initial = "false",
       .help = "Take a file's prompts in their order."},
      length("input-len", nullptr, 0, "Prompt length, unless the data set's own option is given."),
      length("output-len", nullptr, 1, "Answer length, unless the data set's own option is given."),
      {.name = "random-input-len",
       .kind = Kind::kInt,
       .initial = "1024",
       .min = 0,
       .max = 1 << 24,
       .common = true,
       .help = "Prompt length of random, begin-of-text included."},
      {.name = "random-output-len",
       .kind = Kind::kInt,
       .initial = "128",
       .min = 1,
       .max = 1 << 24,
       .common = true,
       .help = "Answer length of random."},
      {.name = "random-range-ratio",
       .kind = Kind::kFloat,
       .initial = "0",
       .min = 0,
       .max = 0.999999,
       .help = "r below 1: lengths are drawn from [length*(1-r), length*(1+r)]."},
      length("random-prefix-len", "0", 0, "Tokens in front of each random prompt, the same for all."),
      {.name = "random-batch-size",
       .kind = Kind::kInt,
       .initial = "1",
       .tier = Tier::kRefuse,
       .min = 1,
       .why = kTextOnly,
       .help = ""},
      length("sharegpt-output-len", nullptr, 1, "Answer length. Unset: that of the recorded answer."),
      length("custom-output-len", "256", 1, "Answer length of custom."),
      {.name = "custom-skip-chat-template",
       .kind = Kind::kFlag,
       .initial = "false",
       .help = "Send custom prompts as they are, not as a user's turn of a chat."},
      length("spec-bench-output-len", "256", 1, "Answer length of spec_bench."),
      {.name = "spec-bench-category", .kind = Kind::kString, .help = "Category of spec_bench. Unset: all."},
      length("sonnet-input-len", "550", 1, "Prompt length of sonnet, at most."),
      length("sonnet-output-len", "150", 1, "Answer length of sonnet."),
      length("sonnet-prefix-len", "200", 0, "Part of it that all prompts share."),
      length("prefix-repetition-prefix-len", "256", 0, "Shared beginning of prefix_repetition's prompts."),
      length("prefix-repetition-suffix-len", "256", 0, "What follows it."),
      length("prefix-repetition-num-prefixes", "10", 1, "Different beginnings."),
      length("prefix-repetition-output-len", "128", 1, "Answer length of prefix_repetition."),
      refused("random-mm-base-items-per-request", Kind::kString, nullptr, kNoPromptImages, ""),
      refused("random-mm-num-mm-items-range-ratio", Kind::kString, nullptr, kNoPromptImages, ""),
      refused("random-mm-limit-mm-per-prompt", Kind::kString, nullptr, kNoPromptImages, ""),
      refused("random-mm-bucket-config", Kind::kString, nullptr, kNoPromptImages, ""),
      refused("hf-subset", Kind::kString, nullptr, kNoDownloads, ""),
      refused("hf-split", Kind::kString, nullptr, kNoDownloads, ""),
      refused("hf-name", Kind::kString, nullptr, kNoDownloads, ""),
      refused("hf-output-len", Kind::kString, nullptr, kNoDownloads, ""),
      refused("blazedit-min-distance", Kind::kString, nullptr, kNoDownloads, ""),
      refused("blazedit-max-distance", Kind::kString, nullptr, kNoDownloads, ""),
  };
}

}  // namespace outrider::config
