#include "cli/answer_help.h"

#include <cstdio>

#include "config/help.h"

namespace outrider::cli {

bool answer_help(const config::HelpRequest& asked, const config::OptionTable& table) {
  if (asked.help) std::fputs(config::command_help(table, *asked.help).c_str(), stdout);
  if (asked.version) std::puts(OUTRIDER_VERSION);
  return asked.asks();
}

}  // namespace outrider::cli
