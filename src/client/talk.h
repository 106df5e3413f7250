// `outrider chat` and `outrider complete`: a conversation in the terminal, streamed.
#pragma once

#include "config/client_options.h"

namespace outrider::client {

// Returns the exit code. Throws StartupError when the only answer asked for, or the list of models, cannot be
// had.
int talk(const config::ClientOptions& options);

}  // namespace outrider::client
