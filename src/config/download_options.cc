#include "config/download_options.h"

#include "base/error.h"
#include "config/option_values.h"

namespace outrider::config {
namespace {

OptionTable make_download_table() {
  OptionGroup group{"download", "What to fetch, and where to", {}};
  for (const char* name : {"model", "revision", "download-dir", "hf-token", "log-level", "log-prefix"}) {
    group.options.push_back(*serve_table().by_name(name));
    group.options.back().common = true;
  }
  group.options[0].help = "Id of a model on the Hugging Face hub; give it as the first argument.";
  group.options[2].aliases.push_back("--cache-dir");
  group.options.push_back({.name = "max-workers",
                           .kind = Kind::kInt,
                           .initial = "8",
                           .min = 1,
                           .max = 64,
                           .common = true,
                           .help = "Connections at the same time."});
  return OptionTable({"usage: outrider download MODEL [options]\n",
                      "Fetches a model from the Hugging Face hub into its cache, where serve finds it, "
                      "and prints the folder.\n"
                      "Only what serving reads: safetensors, JSON, chat template. What is there is not "
                      "fetched again; a broken-off download goes on."},
                     {std::move(group)});
}

}  // namespace

const OptionTable& download_table() {
  static const OptionTable table = make_download_table();
  return table;
}

DownloadOptions parse_download(const std::vector<std::string>& arguments, const Environment& environment) {
  DownloadOptions out;
  out.common = parse_engine_command(download_table(), arguments, environment, /*takes_model=*/true);
  if (out.common.asks()) return out;
  if (out.common.model.empty()) throw UsageError("usage: outrider download OWNER/NAME [--revision REVISION]");
  out.max_workers = OptionValues(download_table(), out.common).get<int64_t>("max-workers");
  return out;
}

}  // namespace outrider::config
