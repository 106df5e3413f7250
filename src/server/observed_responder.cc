#include "server/observed_responder.h"

#include "base/log.h"
#include "base/text.h"

namespace outrider::server {
namespace {

// A log line must stay one line, whatever the client sent.
std::string printable(std::string_view text) {
  return percent_encode(text.substr(0, 2048), [](char c) { return c >= 0x20 && c < 0x7F && c != '"'; });
}

}  // namespace

ObservedResponder::ObservedResponder(Service& service, const HttpRequest& request, std::string handler,
                                     Headers extra, ResponderPtr inner)
    : service_(service),
      inner_(std::move(inner)),
      handler_(std::move(handler)),
      method_(request.method),
      target_(request.target),
      peer_(request.peer),
      version_(request.version),
      extra_(std::move(extra)),
      request_bytes_(request.body.size()) {}

ObservedResponder::~ObservedResponder() { observe(); }

void ObservedResponder::add_headers(HttpResponse& response) const {
  response.headers.insert(response.headers.end(), extra_.begin(), extra_.end());
}

void ObservedResponder::log_access(int status) const {
  if (!service_.options.access_log) return;
  for (const std::string& quiet : service_.options.quiet_access_paths) {
    if (quiet == handler_) return;
  }
  log::plain("INFO:     " + peer_ + " - \"" + printable(method_) + " " + printable(target_) + " HTTP/" +
             (version_ == 10 ? "1.0" : "1.1") + "\" " + std::to_string(status) + " " + reason_phrase(status));
}

// Once per answer: at its end, or when it was given up.
void ObservedResponder::observe() {
  if (status_ == 0) return;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start_;
  service_.metrics->on_http({handler_, method_, status_, seconds.count(), request_bytes_, response_bytes_});
  status_ = 0;
}

void ObservedResponder::send(HttpResponse response) {
  add_headers(response);
  status_ = response.status;
  response_bytes_ = response.body.size();
  log_access(status_);
  observe();
  inner_->send(std::move(response));
}

void ObservedResponder::start_stream(HttpResponse head) {
  add_headers(head);
  status_ = head.status;
  log_access(status_);
  inner_->start_stream(std::move(head));
}

void ObservedResponder::write(std::string bytes) {
  response_bytes_ += bytes.size();
  inner_->write(std::move(bytes));
}

void ObservedResponder::finish() {
  observe();
  inner_->finish();
}

void ObservedResponder::on_disconnect(std::function<void()> callback) {
  inner_->on_disconnect(std::move(callback));
}
void ObservedResponder::post(std::function<void()> task) { inner_->post(std::move(task)); }
void ObservedResponder::offload(size_t bytes, std::function<void()> work, std::function<void()> then) {
  inner_->offload(bytes, std::move(work), std::move(then));
}

}  // namespace outrider::server
