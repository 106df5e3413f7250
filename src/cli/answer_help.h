// --help and --version of every command.
#pragma once

#include "config/help_request.h"
#include "config/table.h"

namespace outrider::cli {

// Prints what was asked for; false when nothing was.
bool answer_help(const config::HelpRequest& asked, const config::OptionTable& table);

}  // namespace outrider::cli
