#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <future>
#include <mutex>
#include <random>
#include <thread>
#include <unordered_map>
#include <utility>
#include <variant>

#include "base/log.h"
#include "engine/scheduler.h"

namespace outrider::engine {

namespace {

struct Submit {
  RequestId id;
  Request request;
};
struct Cancel {
  RequestId id;
  bool as_stop;
};
struct ResetPrefixCache {
  std::promise<void> done;
};
using Message = std::variant<Submit, Cancel, ResetPrefixCache>;

// Ends a thread whose place another has taken. No std::exception: it is not to be handled as a failed step.
struct Replaced {};

uint64_t random_seed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

}  // namespace

// Everything but inbox_ and stopping_ (guarded by mutex_), the atomics and what the watchdog looks at
// (guarded by call_mutex_) belongs to the engine thread. A thread that does not return from the runner in
// time loses that part to the watchdog, which ends all requests and answers later ones.
struct Engine::Impl {
  Impl(std::unique_ptr<runner::Runner> device, EngineOptions engine_options, StatsObserver* stats_observer)
      : options(engine_options),
        kv(device->kv()),
        runner_(std::move(device)),
        scheduler_(kv, options, random_seed()),
        observer_(stats_observer),
        thread_([this] {
          try {
            run();
          } catch (const Replaced&) {
          }
        }) {
    if (options.device_timeout > Clock::duration::zero()) watchdog_ = std::thread([this] { watch(); });
  }

  void post(Message message);
  void stop();

  const EngineOptions options;
  const model::KvGeometry kv;
  std::atomic<bool> alive{true};
  std::atomic<RequestId> next_id{1};

 private:
  void run();
  bool busy() const { return alive && (scheduler_.has_requests() || scheduler_.num_steps_in_flight() > 0); }
  bool wait_for_work();
  void handle(Submit& message);
  void handle(Cancel& message);
  void handle(ResetPrefixCache& message);
  void step();
  void on_device(const std::function<void()>& call);
  void watch();
  void fail(const std::string& what);
  void deliver(double step_seconds);
  void give(Output output);

  std::unique_ptr<runner::Runner> runner_;
  Scheduler scheduler_;
  StatsObserver* observer_;
  std::unordered_map<RequestId, OutputSink> sinks_;
  std::deque<Clock::time_point> submitted_;  // of the steps in flight
  Clock::time_point last_collect_;
  std::string failure_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Message> inbox_;
  bool stopping_ = false;

  std::mutex call_mutex_;
  std::condition_variable watch_ends_;
  uint64_t calls_ = 0;  // of the runner
  bool in_call_ = false, replaced_ = false, watched_ = true;

  std::thread thread_, watchdog_;  // last: they use all of the above
};

void Engine::Impl::post(Message message) {
  {
    std::lock_guard lock(mutex_);
    inbox_.push_back(std::move(message));
  }
  wake_.notify_one();
}

void Engine::Impl::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
  {
    std::lock_guard lock(call_mutex_);
    watched_ = false;
  }
  watch_ends_.notify_one();
  if (watchdog_.joinable()) watchdog_.join();
}

void Engine::Impl::run() {
  while (wait_for_work()) {
    if (busy()) step();
  }
  scheduler_.cancel_all(FinishReason::kAbort, "the server is stopping", Clock::now());
  deliver(0.0);
  // The device is never taken down under a step.
  while (alive && scheduler_.num_steps_in_flight() > 0) step();
}

// Sleeps while there is nothing to do; handles what has come in. False when the engine is to end.
bool Engine::Impl::wait_for_work() {
  std::vector<Message> messages;
  bool stopping;
  {
    std::unique_lock lock(mutex_);
    if (!busy()) wake_.wait(lock, [this] { return stopping_ || !inbox_.empty(); });
    messages.swap(inbox_);
    stopping = stopping_;
  }
  for (Message& message : messages) {
    std::visit([this](auto& m) { handle(m); }, message);
  }
  if (!messages.empty()) deliver(0.0);
  return !stopping;
}

void Engine::Impl::handle(Submit& message) {
  if (message.request.sink) sinks_[message.id] = std::move(message.request.sink);
  if (alive) {
    scheduler_.add(message.id, std::move(message.request), Clock::now());
    return;
  }
  Output output{.id = message.id};
  output.finish_reason = FinishReason::kError;
  output.error = failure_;
  give(std::move(output));
}

void Engine::Impl::handle(Cancel& message) {
  scheduler_.cancel(message.id, message.as_stop ? FinishReason::kStop : FinishReason::kAbort, "",
                    Clock::now());
}

void Engine::Impl::handle(ResetPrefixCache& message) {
  scheduler_.reset_prefix_cache();
  message.done.set_value();
}

// Keeps the device one step ahead, then waits for the oldest.
void Engine::Impl::step() {
  const int depth = options.async_scheduling ? 2 : 1;
  try {
    while (scheduler_.num_steps_in_flight() < depth) {
      std::optional<runner::StepPlan> plan = scheduler_.plan(Clock::now());
      if (!plan) break;
      submitted_.push_back(Clock::now());
      on_device([&] { runner_->submit(std::move(*plan)); });
    }
    if (scheduler_.num_steps_in_flight() == 0) throw std::logic_error("no step could be planned");
    runner::StepResult result;
    on_device([&] { result = runner_->collect(); });
    if (!result.error.empty()) throw std::runtime_error(result.error);
    Clock::time_point now = Clock::now();
    scheduler_.apply(std::move(result), now);
    // Steps overlap: this one had the device to itself from the later of the two on.
    Clock::time_point begin = std::max(submitted_.front(), std::exchange(last_collect_, now));
    submitted_.pop_front();
    deliver(std::chrono::duration<double>(now - begin).count());
  } catch (const std::exception& e) {
    fail(e.what());
  }
}

// Enters the runner where the watchdog sees it.
void Engine::Impl::on_device(const std::function<void()>& call) {
  {
    std::lock_guard lock(call_mutex_);
    ++calls_;
    in_call_ = true;
  }
  std::exception_ptr failure;
  try {
    call();
  } catch (...) {
    failure = std::current_exception();
  }
  {
    std::lock_guard lock(call_mutex_);
    in_call_ = false;
    if (replaced_) throw Replaced();
  }
  if (failure) std::rethrow_exception(failure);
}

// Counts looks rather than time, which also passes while a debugger or a signal holds the whole process.
void Engine::Impl::watch() {
  constexpr int kLooks = 16;
  std::unique_lock lock(call_mutex_);
  uint64_t seen = 0;
  for (int looks = 0; looks < kLooks;) {
    watch_ends_.wait_for(lock, options.device_timeout / kLooks, [this] { return !watched_; });
    if (!watched_) return;
    looks = in_call_ && std::exchange(seen, calls_) == calls_ ? looks + 1 : 0;
  }
  replaced_ = true;
  lock.unlock();
  fail(fmt::format("it has not answered for {:.3g} s",
                   std::chrono::duration<double>(options.device_timeout).count()));
  run();  // this is the engine thread now
}

void Engine::Impl::fail(const std::string& what) {
  failure_ = "the device failed: " + what;
  log::error(failure_);
  alive = false;
  scheduler_.cancel_all(FinishReason::kError, failure_, Clock::now());
  deliver(0.0);
}

void Engine::Impl::deliver(double step_seconds) {
  for (const Preemption& p : scheduler_.take_preemptions()) {
    log::warning(
        fmt::format("request {} preempted: {} computed tokens given up, {} of them left in the prefix cache",
                    p.id, p.num_computed, p.num_published));
  }
  for (Output& output : scheduler_.take_outputs()) give(std::move(output));
  StepStats stats = scheduler_.take_stats();
  stats.step_seconds = step_seconds;
  if (observer_) observer_->on_step(stats);
}

void Engine::Impl::give(Output output) {
  auto found = sinks_.find(output.id);
  if (found == sinks_.end()) return;
  const bool is_last = output.finish_reason.has_value();
  try {
    found->second(std::move(output));
  } catch (const std::exception& e) {
    log::error(fmt::format("an output could not be handed on: {}", e.what()));
  }
  if (is_last) sinks_.erase(found);
}

Engine::Engine(std::unique_ptr<runner::Runner> runner, EngineOptions options, StatsObserver* observer)
    : impl_(std::make_unique<Impl>(std::move(runner), options, observer)) {}

Engine::~Engine() { impl_->stop(); }

RequestId Engine::submit(Request request) {
  RequestId id = impl_->next_id++;
  impl_->post(Submit{id, std::move(request)});
  return id;
}

void Engine::cancel(RequestId id, bool as_stop) { impl_->post(Cancel{id, as_stop}); }

void Engine::reset_prefix_cache() {
  ResetPrefixCache message;
  std::future<void> done = message.done.get_future();
  impl_->post(std::move(message));
  done.wait();
}

bool Engine::alive() const { return impl_->alive; }
const EngineOptions& Engine::options() const { return impl_->options; }
const model::KvGeometry& Engine::kv() const { return impl_->kv; }

}  // namespace outrider::engine
