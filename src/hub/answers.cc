#include "hub/answers.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "hub/listing.h"

namespace outrider::hub {
namespace {

constexpr int kMaxFailures = 5;
constexpr int kMaxWaits = 20;
constexpr double kMaxWaitSeconds = 900;

// A header's text for a message: printable and short.
std::string excerpt(const std::string* text) {
  if (text == nullptr) return {};
  std::string out = text->substr(0, 200);
  std::erase_if(out, [](unsigned char c) { return c < 0x20 || c >= 0x7f; });
  return out;
}

[[noreturn]] void refuse(const Answer& answer, const Asked& asked, const Settings& settings) {
  const std::string code = excerpt(answer.find("X-Error-Code"));
  const std::string said = excerpt(answer.find("X-Error-Message"));
  const std::string page = hub_url(settings, "/" + asked.id).text();
  const std::string model = "model " + asked.id;
  const bool has_token = !settings.token.empty();
  if (code == "GatedRepo") {
    throw StartupError(model + " is gated: accept its licence at " + page +
                       (has_token ? " with the account that the access token belongs to"
                                  : ", then set HF_TOKEN to an access token of that account"));
  }
  if (code == "RevisionNotFound")
    throw StartupError(model + " has no revision " + asked.revision + "; see " + page);
  if (code == "EntryNotFound" || (answer.status == 404 && !asked.file.empty())) {
    throw StartupError(model + " has no file " + asked.file + " at revision " + asked.revision + "; see " +
                       page);
  }
  if (answer.status == 401 && has_token && code != "RepoNotFound") {
    throw StartupError(
        settings.endpoint.authority() +
        " does not accept the access token; check HF_TOKEN, --hf-token or the token file in HF_HOME");
  }
  if (answer.status == 401 || answer.status == 404) {
    throw StartupError(
        model + " is not at " + settings.endpoint.authority() + ", or is private: check its name" +
        (has_token ? " and what the access token may read" : "; a private one needs HF_TOKEN"));
  }
  const std::string what = asked.file.empty() ? asked.id : asked.id + "/" + asked.file;
  throw StartupError(fmt::format("{} answers {} to {}{}; see {}", answer.url.authority(), answer.status, what,
                                 said.empty() ? "" : ": " + said, page));
}

}  // namespace

net::Url hub_url(const Settings& settings, const std::string& path) {
  net::Url url = settings.endpoint;
  url.target = url.target == "/" ? path : url.target + path;
  return url;
}

void check_answer(const Answer& answer, const Asked& asked, const Settings& settings) {
  if (answer.status / 100 == 2) return;
  const std::string line = fmt::format("{} answers {}", answer.url.authority(), answer.status);
  if (answer.status == 429) {
    throw BusyError(line + " (too many requests)",
                    retry_after(answer.find("Retry-After"), answer.find("RateLimit")));
  }
  if (answer.status == 503) throw BusyError(line, retry_after(answer.find("Retry-After"), nullptr));
  const bool is_hub = same_origin(answer.url, settings.endpoint);
  if (answer.status >= 500 || answer.status == 408 || !is_hub) throw TransferError(line);
  refuse(answer, asked, settings);
}

void Retries::sleep(double seconds) const {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (!stop_ && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(
        std::min(std::chrono::duration<double>(0.02),
                 std::chrono::duration<double>(end - std::chrono::steady_clock::now())));
  }
}

void Retries::wait(const TransferError& error, const std::string& what) {
  if (stop_) return;
  const auto* busy = dynamic_cast<const BusyError*>(&error);
  if (busy != nullptr && busy->seconds()) {
    const double seconds = *busy->seconds();
    if (seconds > kMaxWaitSeconds || ++waits_ > kMaxWaits) {
      throw StartupError(fmt::format("{}: {} and asks to wait {:.0f} s; try again then, or set HF_TOKEN",
                                     what, error.what(), seconds));
    }
    log::info(fmt::format("{}: {}; waiting {:.0f} s as it asks", what, error.what(), seconds));
    sleep(seconds);
    return;
  }
  if (++failures_ >= kMaxFailures) {
    throw StartupError(fmt::format("{} failed {} times: {}; what has come is kept, the same command goes on",
                                   what, failures_, error.what()));
  }
  log::debug(fmt::format("{}: {}", what, error.what()));
  sleep(settings_.timeout / 20 * (1 << (failures_ - 1)));
}

}  // namespace outrider::hub
