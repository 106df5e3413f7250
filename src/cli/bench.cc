#include "cli/bench.h"

#include <cstdio>

#include "base/error.h"
#include "bench/serve_bench.h"
#include "cli/model_location.h"
#include "config/bench_options.h"

namespace outrider::cli {
namespace {

using Words = std::vector<std::string>;

std::shared_ptr<const tokenizer::Tokenizer> load_tokenizer(const std::string& model) {
  try {
    return tokenizer::Tokenizer::load(
        locate_model(model, {embedded_folders(), hub_cache_folder(""), ""}).folder.string());
  } catch (const StartupError& error) {
    throw StartupError("argument --tokenizer: " + std::string(error.what()), error.exit_code());
  }
}

int bench_serve(const Words& arguments, const config::Environment& environment) {
  const config::BenchServeOptions options = config::parse_bench_serve(arguments, environment);
  if (options.help) {
    std::fputs(config::bench_serve_help(*options.help).c_str(), stdout);
    return 0;
  }
  if (options.version) {
    std::puts(OUTRIDER_VERSION);
    return 0;
  }
  return bench::run_serve_bench(options, load_tokenizer);
}

}  // namespace

int bench(const Words& arguments, const config::Environment& environment) {
  const std::string name = arguments.empty() ? "--help" : arguments[0];
  if (name == "--help" || name == "-h") {
    std::puts("usage: outrider bench serve [options]\n\n  serve        measure a running server over HTTP\n");
    return 0;
  }
  if (name == "serve") return bench_serve({arguments.begin() + 1, arguments.end()}, environment);
  throw UsageError("invalid command: bench " + name + "; see outrider bench --help");
}

}  // namespace outrider::cli
