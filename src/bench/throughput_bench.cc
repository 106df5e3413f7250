#include "bench/throughput_bench.h"

#include <fmt/format.h>

#include "bench/dataset.h"
#include "bench/progress.h"

namespace outrider::bench {

OfflineReport throughput_report(const OfflineResult& result) {
  const int64_t total = result.prompt_tokens + result.output_tokens;
  const auto rate = [&](int64_t count) {
    return result.seconds > 0 ? static_cast<double>(count) / result.seconds : 0.0;
  };
  OfflineReport report;
  report.text = fmt::format(
      "Throughput: {:.2f} requests/s, {:.2f} total tokens/s, {:.2f} output tokens/s\n"
      "Total num prompt tokens:  {}\nTotal num output tokens:  {}\n",
      rate(result.num_finished), rate(total), rate(result.output_tokens), result.prompt_tokens,
      result.output_tokens);
  report.json = {{"elapsed_time", result.seconds},
                 {"num_requests", result.num_finished},
                 {"total_num_tokens", total},
                 {"requests_per_second", rate(result.num_finished)},
                 {"tokens_per_second", rate(total)}};
  return report;
}

int run_throughput_bench(const config::ThroughputOptions& options, const OfflineSetup& setup,
                         OutputFile* file) {
  Generators generators(options.dataset.seed);
  const std::vector<SampleRequest> samples = make_dataset(options.dataset, *setup.tokenizer, generators);
  std::vector<OfflineRequest> requests;
  for (const SampleRequest& sample : samples) {
    requests.push_back({setup.tokenizer->encode(sample.prompt, true), sample.output_len});
    check_lengths(setup.engine, static_cast<int64_t>(requests.back().prompt.size()), sample.output_len);
  }
  const Interrupt interrupt;
  Progress progress(requests.size(), !options.disable_tqdm);
  const OfflineResult result = run_offline(setup, requests, interrupt, [&] { progress.advance(); });
  progress.close();
  if (interrupt.raised() && result.num_finished == 0) return kInterruptedExit;
  publish(throughput_report(result), file);
  return interrupt.raised() ? kInterruptedExit : 0;
}

}  // namespace outrider::bench
