// One request from validated job to last byte: submits a sequence for each prompt and choice, turns what the
// engine sends into text, cuts at stop strings, and hands deltas or the whole to a ReplyWriter.
//
// Lives on its connection's executor. The engine's sinks hold it alive until their last output.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/http.h"
#include "server/job.h"
#include "server/reply_writer.h"
#include "server/service.h"

namespace outrider::server {

class Generation : public std::enable_shared_from_this<Generation> {
 public:
  Generation(Service& service, Job job, std::unique_ptr<ReplyWriter> writer, ResponderPtr responder);
  ~Generation();

  void start();

 private:
  void submit(size_t choice);
  void on_output(size_t choice, engine::Output output);
  Delta take(Choice& choice, engine::Output& output);
  void end_choice(Choice& choice, const engine::Output& output, Delta& delta);
  void send_delta(Choice& choice, Delta delta);
  void release(Choice& choice);
  void log_outputs() const;
  void complete();
  void end_with_error(int status, const char* type, const std::string& message);
  void end_stream();
  void cancel_running();
  Usage usage() const;

  Service& service_;
  Job job_;
  std::unique_ptr<ReplyWriter> writer_;
  ResponderPtr responder_;
  std::vector<Choice> choices_;
  size_t num_running_ = 0;
  bool opened_ = false;  // first event sent
  bool over_ = false;    // answered, failed or disconnected
};

}  // namespace outrider::server
