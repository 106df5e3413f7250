// Errors that a person outside the program can act on. Everything else is a bug and is asserted.
//
// Start-up (flags, YAML, checkpoints) throws StartupError: `outrider` prints its one line and exits with its
// code. A request throws RequestError on the thread that parses it: the server turns it into a 4xx body.
// Nothing a request holds may throw anything else; the engine thread never throws.
#pragma once

#include <stdexcept>
#include <string>

namespace outrider {

// One line naming file or flag, key and remedy. Exit code 2 for what the user typed, 1 for the rest.
class StartupError : public std::runtime_error {
 public:
  explicit StartupError(const std::string& line, int exit_code = 1)
      : std::runtime_error(line), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

// A checkpoint file that is broken or that holds a model this program does not run.
class CheckpointError : public StartupError {
 public:
  explicit CheckpointError(const std::string& line) : StartupError(line, 1) {}
};

// A flag, environment variable or YAML key that cannot be honoured.
class UsageError : public StartupError {
 public:
  explicit UsageError(const std::string& line) : StartupError(line, 2) {}
};

// A request that is refused. `type` is the `error.type` of the body: "BadRequestError", "NotFoundError", "Bad
// Request".
class RequestError : public std::runtime_error {
 public:
  explicit RequestError(const std::string& message, std::string type = "BadRequestError", int status = 400)
      : std::runtime_error(message), type_(std::move(type)), status_(status) {}
  const std::string& type() const { return type_; }
  int status() const { return status_; }

 private:
  std::string type_;
  int status_;
};

}  // namespace outrider
