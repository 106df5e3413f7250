// Everything `outrider download` can be told.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/serve_options.h"

namespace outrider::config {

struct DownloadOptions {
  ServeOptions common;  // those that `serve` has too
  int64_t max_workers = 0;
};

const OptionTable& download_table();

// `arguments`: what follows `outrider download`. Throws UsageError.
DownloadOptions parse_download(const std::vector<std::string>& arguments, const Environment& environment);

}  // namespace outrider::config
