// The hub's refusals in words a person can act on, and how often something is tried again.
#pragma once

#include <atomic>
#include <optional>
#include <string>

#include "hub/http.h"
#include "hub/settings.h"

namespace outrider::hub {

// The hub asks to wait. `seconds`: so long, where it says.
class BusyError : public TransferError {
 public:
  BusyError(const std::string& line, std::optional<double> seconds)
      : TransferError(line), seconds_(seconds) {}
  std::optional<double> seconds() const { return seconds_; }

 private:
  std::optional<double> seconds_;
};

// What a request was about, for messages.
struct Asked {
  std::string id, revision;
  std::string file;  // empty: the listing
};

// Returns for 2xx. Throws BusyError, TransferError where waiting may help, else StartupError.
void check_answer(const Answer& answer, const Asked& asked, const Settings& settings);

// Address below the hub's endpoint. `path` is encoded and begins with '/'.
net::Url hub_url(const Settings& settings, const std::string& path);

// Counts failures in a row and waits between tries: a twentieth of the time limit, then twice as long each
// time.
class Retries {
 public:
  Retries(const Settings& settings, const std::atomic<bool>& stop) : settings_(settings), stop_(stop) {}
  // After a failure of `what`. Throws StartupError after the fifth.
  void wait(const TransferError& error, const std::string& what);
  // Something went well.
  void reset() { failures_ = 0; }

 private:
  void sleep(double seconds) const;
  const Settings& settings_;
  const std::atomic<bool>& stop_;
  int failures_ = 0, waits_ = 0;
};

}  // namespace outrider::hub
