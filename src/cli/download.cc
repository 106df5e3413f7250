#include "cli/download.h"

#include <cstdio>

#include "base/error.h"
#include "cli/answer_help.h"
#include "cli/model_location.h"
#include "cli/startup.h"
#include "config/download_options.h"
#include "hub/hub.h"

namespace outrider::cli {

int download(const std::vector<std::string>& arguments, const config::Environment& environment) {
  config::DownloadOptions options = config::parse_download(arguments, environment);
  const config::ServeOptions& common = options.common;
  if (answer_help(common, config::download_table())) return 0;
  // The folder alone goes to standard output.
  options.common.log_stream = "stderr";
  configure_log(common);
  if (!hub::is_hub_id(common.model) || common.model.find('/') == std::string::npos) {
    throw UsageError("model " + common.model + ": expected the id of a model on the hub, OWNER/NAME");
  }
  hub::Access access = hub_access(common, environment);
  access.connections = static_cast<int>(options.max_workers);
  const auto folder = hub::fetch({common.model, common.revision, {}}, access, hub::Policy::kRefresh);
  std::puts(folder.c_str());
  return 0;
}

}  // namespace outrider::cli
