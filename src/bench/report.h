// The printed table, the result as JSON, and the file it goes to.
#pragma once

#include <ctime>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/load.h"
#include "bench/metrics.h"
#include "config/bench_options.h"

namespace outrider::bench {

// vLLM's table, trailing blanks included. A line on failed requests comes only when there are some.
std::string table(const config::BenchServeOptions& options, const Metrics& metrics);

// Failures by kind, most frequent first; empty without any.
std::string failure_list(const Metrics& metrics);

struct RunNames {
  std::string date;  // 20250930-123456
  std::string model, tokenizer;
};

// `date` of `now` in local time.
std::string date_text(std::time_t now);

config::Json result_json(const config::BenchServeOptions& options, const RunNames& names,
                         const Metrics& metrics, const std::vector<Outcome>& outcomes,
                         const std::vector<SampleRequest>& requests,
                         const std::vector<RateChange>& rate_changes);

// Where the result is written; opened before the run, so that a run is not made in vain.
class ResultFile {
 public:
  // Creates the folder. Throws StartupError when the file cannot be written.
  ResultFile(const config::BenchServeOptions& options, const RunNames& names);
  ~ResultFile();  // removes a file that was new and got no result
  ResultFile(const ResultFile&) = delete;
  ResultFile& operator=(const ResultFile&) = delete;

  // Throws StartupError.
  void write(const config::Json& result);
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool append_ = false;
  bool is_new_ = false;
  int file_ = -1;
};

}  // namespace outrider::bench
