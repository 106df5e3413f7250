#include "bench/dataset.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace outrider::bench {
namespace {

using Ids = std::vector<int32_t>;

struct Range {
  int64_t low, high;  // both included
};

Range spread(int64_t length, double ratio, int64_t least) {
  const auto real = static_cast<double>(length);
  return {std::max<int64_t>(least, static_cast<int64_t>(std::floor(real * (1 - ratio)))),
          static_cast<int64_t>(std::ceil(real * (1 + ratio)))};
}

// Ids of random text rarely come back from their own text one by one: what is sent is the text of as many ids
// as were asked for, after they came back once.
std::string settle(const Ids& ids, const tokenizer::Tokenizer& tokenizer, int64_t& length) {
  Ids again = tokenizer.encode(tokenizer.decode(ids, false), false);
  again.resize(std::min(again.size(), ids.size()));
  length = static_cast<int64_t>(again.size());
  return tokenizer.decode(again, false);
}

class ExactLength {
 public:
  ExactLength(const tokenizer::Tokenizer& tokenizer, NumpyLegacy& random)
      : tokenizer_(tokenizer), random_(random) {}

  // Ids that came back from their text, `length` of them.
  Ids draw(size_t length) {
    Ids all;
    while (all.size() < length) {
      Ids some(length - all.size());
      for (int32_t& id : some) id = static_cast<int32_t>(random_.integer(tokenizer_.encoder_size()));
      Ids again = tokenizer_.encode(tokenizer_.decode(some, false), false);
      again.resize(std::min(again.size(), some.size()));
      if (again.empty()) throw StartupError("the tokenizer makes nothing of its own tokens' text");
      all.insert(all.end(), again.begin(), again.end());
    }
    return all;
  }

 private:
  const tokenizer::Tokenizer& tokenizer_;
  NumpyLegacy& random_;
};

std::vector<SampleRequest> random_dataset(const config::DatasetOptions& options,
                                          const tokenizer::Tokenizer& tokenizer) {
  const int64_t num_special = tokenizer.bos_id() >= 0 ? 1 : 0;
  const Range input =
      spread(std::max<int64_t>(0, options.random_input_len - num_special), options.random_range_ratio, 0);
  const Range output = spread(options.random_output_len, options.random_range_ratio, 1);
  const auto count = static_cast<size_t>(options.num_prompts);
  const int64_t vocab_size = tokenizer.encoder_size();

  NumpyGenerator random(options.seed);
  const auto input_lens = random.integers(input.low, input.high + 1, count);
  const auto output_lens = random.integers(output.low, output.high + 1, count);
  const auto offsets = random.integers(0, vocab_size, count);
  const auto prefix = random.integers(0, vocab_size, static_cast<size_t>(options.random_prefix_len));

  std::vector<SampleRequest> requests(count);
  for (size_t i = 0; i < count; ++i) {
    Ids ids(prefix.begin(), prefix.end());
    for (int64_t k = 0; k < input_lens[i]; ++k) {
      ids.push_back(static_cast<int32_t>((offsets[i] + static_cast<int64_t>(i) + k) % vocab_size));
    }
    requests[i].prompt = settle(ids, tokenizer, requests[i].prompt_len);
    requests[i].output_len = output_lens[i];
    requests[i].request_id = options.request_id_prefix + std::to_string(i);
  }
  return requests;
}

std::vector<SampleRequest> prefix_repetition_dataset(const config::DatasetOptions& options,
                                                     const tokenizer::Tokenizer& tokenizer,
                                                     Generators& generators) {
  const int64_t per_prefix = options.num_prompts / options.repetition_num_prefixes;
  if (per_prefix == 0) {
    throw UsageError("argument --num-prompts: must be at least --prefix-repetition-num-prefixes (" +
                     std::to_string(options.repetition_num_prefixes) + ")");
  }
  generators = Generators(options.seed);
  ExactLength exact(tokenizer, generators.numpy);
  std::vector<SampleRequest> requests;
  for (int64_t i = 0; i < options.repetition_num_prefixes; ++i) {
    const Ids prefix = exact.draw(static_cast<size_t>(options.repetition_prefix_len));
    for (int64_t k = 0; k < per_prefix; ++k) {
      Ids ids = prefix;
      const Ids suffix = exact.draw(static_cast<size_t>(options.repetition_suffix_len));
      ids.insert(ids.end(), suffix.begin(), suffix.end());
      requests.push_back({tokenizer.decode(ids, false), static_cast<int64_t>(ids.size()),
                          options.repetition_output_len, ""});
    }
  }
  generators.python.shuffle(requests);
  return requests;
}

}  // namespace

std::vector<SampleRequest> make_dataset(const config::DatasetOptions& options,
                                        const tokenizer::Tokenizer& tokenizer, Generators& generators) {
  if (options.name == "random") return random_dataset(options, tokenizer);
  if (options.name == "prefix_repetition") return prefix_repetition_dataset(options, tokenizer, generators);
  std::vector<SampleRequest> requests;
  if (options.name == "sharegpt") requests = sharegpt_dataset(options, tokenizer);
  if (options.name == "sonnet") requests = sonnet_dataset(options, tokenizer, generators);
  if (options.name == "burstgpt") requests = burstgpt_dataset(options, tokenizer);
  if (options.name == "custom" || options.name == "spec_bench") requests = custom_dataset(options, tokenizer);
  if (requests.empty()) throw StartupError(options.path + ": holds no prompt that can be used");
  return requests;
}

}  // namespace outrider::bench
