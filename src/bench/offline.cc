#include "bench/offline.h"

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <optional>
#include <utility>

#include "base/error.h"
#include "chat/python_json.h"
#include "engine/output_text.h"

namespace outrider::bench {
namespace {

// From the engine's thread to the one that waits.
class Inbox {
 public:
  void put(size_t answer, engine::Output output) {
    {
      const std::lock_guard lock(mutex_);
      outputs_.emplace_back(answer, std::move(output));
    }
    filled_.notify_one();
  }

  // What has come; empty when nothing came for a moment.
  std::vector<std::pair<size_t, engine::Output>> take() {
    constexpr std::chrono::milliseconds kMoment{50};  // then Ctrl-C is looked at
    std::unique_lock lock(mutex_);
    filled_.wait_for(lock, kMoment, [this] { return !outputs_.empty(); });
    return std::exchange(outputs_, {});
  }

 private:
  std::mutex mutex_;
  std::condition_variable filled_;
  std::vector<std::pair<size_t, engine::Output>> outputs_;
};

struct Reply {
  engine::RequestId id = 0;
  int64_t num_tokens = 0;
  std::optional<engine::OutputText> text;
};

std::shared_ptr<const sampling::SamplingParams> sampling_params(int64_t output_len, uint64_t seed) {
  sampling::SamplingParams params;
  params.seed = seed;
  params.max_tokens = output_len;
  params.ignore_eos = true;
  return std::make_shared<const sampling::SamplingParams>(std::move(params));
}

// Adds one output to its answer. True for the last one.
bool take_output(const engine::Output& output, Reply& answer) {
  answer.num_tokens += static_cast<int64_t>(output.tokens.size());
  if (answer.text) {
    for (const engine::OutputToken& token : output.tokens) answer.text->push({&token.token, 1});
    if (output.finish_reason) answer.text->finish();
  }
  if (output.finish_reason == engine::FinishReason::kError) throw StartupError(output.error);
  return output.finish_reason.has_value();
}

}  // namespace

OfflineResult run_offline(const OfflineSetup& setup, const std::vector<OfflineRequest>& requests,
                          const Interrupt& interrupt, const std::function<void()>& advance) {
  const auto num_answers = static_cast<size_t>(setup.num_answers);
  const auto inbox = std::make_shared<Inbox>();  // outputs may come after this function has returned
  std::vector<Reply> answers(requests.size() * num_answers);
  std::vector<int64_t> num_open(requests.size(), setup.num_answers);
  OfflineResult result;
  const auto start = engine::Clock::now();
  for (size_t i = 0; i < answers.size(); ++i) {
    const OfflineRequest& request = requests[i / num_answers];
    if (setup.detokenize) answers[i].text.emplace(setup.tokenizer, engine::TextOptions{});
    engine::Request out;
    out.prompt = request.prompt;
    out.params = sampling_params(request.output_len, setup.seed + i);
    out.sink = [inbox, i](engine::Output output) { inbox->put(i, std::move(output)); };
    answers[i].id = setup.engine.submit(std::move(out));
  }
  while (result.num_finished < static_cast<int64_t>(requests.size())) {
    for (const auto& [index, output] : inbox->take()) {
      if (!take_output(output, answers[index])) continue;
      const size_t request = index / num_answers;
      if (--num_open[request] > 0) continue;
      ++result.num_finished;
      result.prompt_tokens += static_cast<int64_t>(requests[request].prompt.size());
      for (size_t k = 0; k < num_answers; ++k) {
        result.output_tokens += answers[request * num_answers + k].num_tokens;
      }
      advance();
    }
    if (!interrupt.raised()) continue;
    for (const Reply& answer : answers) setup.engine.cancel(answer.id);
    break;
  }
  result.seconds = std::chrono::duration<double>(engine::Clock::now() - start).count();
  return result;
}

void publish(const OfflineReport& report, OutputFile* file) {
  std::fputs(report.text.c_str(), stdout);
  std::fflush(stdout);
  if (file != nullptr) file->write(chat::python_json(report.json, 4, /*ensure_ascii=*/true));
}

void check_lengths(const engine::Engine& engine, int64_t prompt_len, int64_t output_len) {
  const int64_t most = engine.options().max_model_len;
  if (prompt_len >= 1 && prompt_len + output_len <= most) return;
  throw UsageError(fmt::format("a prompt of {} tokens and an answer of {} do not fit --max-model-len ({})",
                               prompt_len, output_len, most));
}

}  // namespace outrider::bench
