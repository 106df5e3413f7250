// What became of one request, from the events of its answer.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "client/sse.h"

namespace outrider::bench {

using Clock = std::chrono::steady_clock;

// Times are in seconds from when the request was sent.
struct Outcome {
  bool finished = false;  // false: the run was broken off before its answer had ended
  bool success = false;
  double ttft = 0;
  double latency = 0;  // to the last token
  std::vector<double> itl;
  int64_t usage_tokens = 0;  // what the server counted, 0 when it did not say
  std::string text;
  std::string error_kind;  // short, the same for equal failures; empty on success
  std::string error;       // with the details

  void fail(std::string kind, const std::string& details = "");
};

// Reads the streamed answer to one request. A failure is kept: nothing after it makes the request a success.
class AnswerReader {
 public:
  AnswerReader(Outcome& outcome, bool chat, Clock::time_point sent)
      : outcome_(outcome), chat_(chat), sent_(sent) {}

  // `arrived`: when the bytes were read from the network.
  void push(std::string_view bytes, Clock::time_point arrived);
  // The answer has ended as HTTP ends one.
  void finish();

 private:
  void take_event(std::string_view data);
  void take_token();

  Outcome& outcome_;
  const bool chat_;
  const Clock::time_point sent_;
  client::SseParser sse_;
  double now_ = 0;  // when the present bytes arrived
  bool has_token_ = false, is_complete_ = false, is_done_ = false;
};

}  // namespace outrider::bench
