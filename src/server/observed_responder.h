// A Responder that adds headers to every answer and reports it to the access log and to the HTTP metrics.
#pragma once

#include <chrono>

#include "server/http.h"
#include "server/service.h"

namespace outrider::server {

class ObservedResponder : public Responder {
 public:
  ObservedResponder(Service& service, const HttpRequest& request, std::string handler, Headers extra,
                    ResponderPtr inner);
  ~ObservedResponder() override;

  void send(HttpResponse response) override;
  void start_stream(HttpResponse head) override;
  void write(std::string bytes) override;
  void finish() override;
  void on_disconnect(std::function<void()> callback) override;
  void post(std::function<void()> task) override;
  void offload(size_t bytes, std::function<void()> work, std::function<void()> then) override;

 private:
  void add_headers(HttpResponse& response) const;
  void log_access(int status) const;
  void observe();

  Service& service_;
  ResponderPtr inner_;
  std::string handler_, method_, target_, peer_;
  int version_;
  Headers extra_;
  size_t request_bytes_, response_bytes_ = 0;
  int status_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace outrider::server
