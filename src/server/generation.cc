#include "server/generation.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "base/log.h"
#include "base/python_repr.h"
#include "server/errors.h"
#include "server/json_text.h"

namespace outrider::server {
namespace {

const char* name_of(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kStop:
      return "stop";
    case engine::FinishReason::kLength:
      return "length";
    default:
      return "abort";
  }
}

bool contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

Generation::Generation(Service& service, Job job, std::unique_ptr<ReplyWriter> writer, ResponderPtr responder)
    : service_(service), job_(std::move(job)), writer_(std::move(writer)), responder_(std::move(responder)) {
  ++service_.load;
}

Generation::~Generation() { --service_.load; }

void Generation::start() {
  if (job_.stream) {
    HttpResponse head;
    head.content_type = "text/event-stream; charset=utf-8";
    responder_->start_stream(std::move(head));
  }
  if (job_.late_error) return end_with_error(400, "BadRequestError", *job_.late_error);
  for (size_t prompt = 0; prompt < job_.prompts.size(); ++prompt) {
    for (int i = 0; i < job_.n; ++i) {
      const int index = static_cast<int>(prompt) * job_.n + i;
      choices_.emplace_back(index, prompt, engine::OutputText(service_.tokenizer, job_.text));
    }
  }
  num_running_ = choices_.size();
  for (size_t i = 0; i < choices_.size(); ++i) submit(i);
  responder_->on_disconnect([weak = weak_from_this()] {
    if (const auto self = weak.lock()) {
      self->over_ = true;
      self->cancel_running();
    }
  });
}

void Generation::submit(size_t choice) {
  auto params = std::make_shared<sampling::SamplingParams>(job_.params);
  const auto repeat = static_cast<uint64_t>(choices_[choice].index % job_.n);
  params->seed = job_.seed ? static_cast<uint64_t>(*job_.seed) + repeat : service_.seeds.next();
  engine::Request request;
  request.prompt = job_.prompts[choices_[choice].prompt];
  request.params = std::move(params);
  request.grammar = job_.grammar;
  request.priority = job_.priority;
  request.cache_salt = job_.cache_salt;
  request.arrival = job_.arrival;
  request.sink = [self = shared_from_this(), responder = responder_, choice](engine::Output output) {
    responder->post(
        [self, choice, output = std::move(output)]() mutable { self->on_output(choice, std::move(output)); });
  };
  choices_[choice].engine_id = service_.engine->submit(std::move(request));
}

void Generation::on_output(size_t index, engine::Output output) {
  Choice& choice = choices_[index];
  if (output.finish_reason) release(choice);
  if (over_ || choice.done()) return;
  if (output.finish_reason == engine::FinishReason::kError) {
    cancel_running();
    return end_with_error(500, "Internal Server Error", output.error);
  }
  Delta delta = take(choice, output);
  if (job_.stream) send_delta(choice, std::move(delta));
  if (choice.done() && --num_running_ == 0) complete();
}

// Moves the output's tokens into the choice; ends it at a stop string or at the engine's word.
Delta Generation::take(Choice& choice, engine::Output& output) {
  Delta delta;
  choice.num_cached_tokens = std::max(choice.num_cached_tokens, output.num_cached_tokens);
  if (!output.prompt_logprobs.empty()) {
    choice.prompt_logprobs.insert(choice.prompt_logprobs.end(),
                                  std::make_move_iterator(output.prompt_logprobs.begin()),
                                  std::make_move_iterator(output.prompt_logprobs.end()));
  }
  const bool stopped_by_id = output.finish_reason == engine::FinishReason::kStop;
  for (size_t i = 0; i < output.tokens.size() && !choice.text.stopped(); ++i) {
    const int32_t id = output.tokens[i].token;
    const bool is_stop_id =
        stopped_by_id && i + 1 == output.tokens.size() &&
        (contains(job_.params.eos_token_ids, id) || contains(job_.params.stop_token_ids, id));
    ++choice.num_tokens;
    if (!is_stop_id || job_.text.include_stop_str_in_output)
      delta.text += choice.text.push(std::span(&id, 1));
    if ((job_.keep_tokens && !job_.stream) || service_.options.log_outputs)
      choice.tokens.push_back(output.tokens[i]);
    if (job_.stream) delta.tokens.push_back(std::move(output.tokens[i]));
  }
  end_choice(choice, output, delta);
  return delta;
}

void Generation::end_choice(Choice& choice, const engine::Output& output, Delta& delta) {
  if (choice.text.stopped()) {
    choice.finish_reason = "stop";
    choice.stop_reason = *choice.text.stopped();
    if (!output.finish_reason) service_.engine->cancel(choice.engine_id, /*as_stop=*/true);
    return;
  }
  if (!output.finish_reason) return;
  delta.text += choice.text.finish();
  choice.finish_reason = name_of(*output.finish_reason);
  if (output.stop_token) choice.stop_reason = *output.stop_token;
}

// Its sequence is gone from the engine.
void Generation::release(Choice& choice) {
  if (!std::exchange(choice.held, false)) return;
  service_.admission.leave(1, static_cast<int64_t>(job_.prompts[choice.prompt].size()));
}

void Generation::send_delta(Choice& choice, Delta delta) {
  if (service_.options.stream_interval > 1) {
    choice.unsent.text += delta.text;
    std::move(delta.tokens.begin(), delta.tokens.end(), std::back_inserter(choice.unsent.tokens));
    const auto count = static_cast<int64_t>(choice.unsent.tokens.size());
    if (choice.started && !choice.done() && count < service_.options.stream_interval) return;
    delta = std::exchange(choice.unsent, {});
  }
  if (delta.tokens.empty() && delta.text.empty() && !choice.done()) return;
  if (!opened_) {
    opened_ = true;
    std::string opening = writer_->opening_events(job_, choices_);
    if (!opening.empty()) responder_->write(std::move(opening));
  }
  std::string event = writer_->event(job_, choice, delta);
  choice.started = true;
  if (!event.empty()) responder_->write(std::move(event));
}

// In vLLM's words.
void Generation::log_outputs() const {
  const size_t limit = service_.options.max_log_len.value_or(std::numeric_limits<size_t>::max());
  for (const Choice& choice : choices_) {
    std::vector<int32_t> ids;
    for (const engine::OutputToken& token : choice.tokens) ids.push_back(token.token);
    std::string line =
        "Generated response " + job_.id + (job_.stream ? " (streaming complete)" : "") + ": output: ";
    line += python_repr(Json(service_.tokenizer->decode(ids, job_.text.skip_special_tokens)), limit);
    line += ", output_token_ids: ";
    append_ids(line, std::span<const int32_t>(ids).first(std::min(limit, ids.size())));
    log::info(line + ", finish_reason: " + choice.finish_reason);
  }
}

void Generation::complete() {
  over_ = true;
  if (service_.options.log_outputs) log_outputs();
  if (service_.metrics) {
    for (size_t first = 0; first < choices_.size(); first += static_cast<size_t>(job_.n)) {
      int64_t longest = 0;
      for (int i = 0; i < job_.n; ++i)
        longest = std::max(longest, choices_[first + static_cast<size_t>(i)].num_tokens);
      service_.metrics->on_request_done(job_.n, longest);
    }
  }
  if (!job_.stream) {
    HttpResponse response;
    response.body = writer_->whole(job_, choices_, usage());
    responder_->send(std::move(response));
    return;
  }
  if (job_.include_usage) responder_->write(writer_->usage_event(usage()));
  end_stream();
}

void Generation::end_with_error(int status, const char* type, const std::string& message) {
  over_ = true;
  if (!job_.stream) return responder_->send(error_response(status, type, message));
  responder_->write(error_event(status, type, message));
  end_stream();
}

void Generation::end_stream() {
  responder_->write("data: [DONE]\n\n");
  responder_->finish();
}

void Generation::cancel_running() {
  for (const Choice& choice : choices_) {
    if (!choice.done()) service_.engine->cancel(choice.engine_id, /*as_stop=*/false);
  }
}

Usage Generation::usage() const {
  Usage usage;
  for (const Choice& choice : choices_) {
    usage.completion_tokens += choice.num_tokens;
    if (choice.index % job_.n != 0) continue;
    usage.prompt_tokens += static_cast<int64_t>(job_.prompts[choice.prompt].size());
    usage.cached_tokens += choice.num_cached_tokens;
  }
  return usage;
}

}  // namespace outrider::server
