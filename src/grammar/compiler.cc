#include "grammar/compiler.h"

#include <xgrammar/compiler.h>
#include <xgrammar/config.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <list>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <unordered_map>
#include <utility>

#include "grammar/compilation.h"
#include "grammar/compiled_grammar.h"
#include "grammar/convert.h"

namespace outrider::grammar {
namespace {

using GrammarPtr = std::shared_ptr<const CompiledGrammar>;
using sampling::GrammarSpec;

constexpr size_t kMaxErrorBytes = 500;
// Of XGrammar's parsers, which recurse: far below what a thread's stack holds.
constexpr int kMaxRecursion = 1000;

// Compiled grammars, least recently used first to go. Guarded by its owner.
class Cache {
 public:
  explicit Cache(size_t capacity) : capacity_(capacity) {}

  GrammarPtr find(const std::string& key) {
    const auto found = entries_.find(key);
    if (found == entries_.end()) return nullptr;
    order_.splice(order_.end(), order_, found->second);
    return found->second->grammar;
  }

  void insert(const std::string& key, GrammarPtr grammar) {
    if (entries_.contains(key)) return;
    const size_t bytes = cost(key, *grammar);
    if (bytes > capacity_) return;
    order_.push_back({key, std::move(grammar)});
    entries_.emplace(key, std::prev(order_.end()));
    used_ += bytes;
    while (used_ > capacity_) {
      used_ -= cost(order_.front().key, *order_.front().grammar);
      entries_.erase(order_.front().key);
      order_.pop_front();
    }
  }

 private:
  struct Entry {
    std::string key;
    GrammarPtr grammar;
  };
  static size_t cost(const std::string& key, const CompiledGrammar& grammar) {
    constexpr size_t kOverhead = 4096;
    return 2 * key.size() + grammar.bytes() + kOverhead;
  }

  const size_t capacity_;
  size_t used_ = 0;
  std::list<Entry> order_;
  std::unordered_map<std::string, std::list<Entry>::iterator> entries_;
};

std::string key_of(const GrammarSpec& spec) {
  return std::to_string(static_cast<int>(spec.kind)) + (spec.any_whitespace ? "w" : "-") + spec.text;
}

// One line, without what it was quoted with.
std::string error_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  while (!text.empty() && text.back() == ' ') text.pop_back();
  if (text.size() > kMaxErrorBytes) text = text.substr(0, kMaxErrorBytes) + "...";
  return text;
}

class Compiler final : public sampling::GrammarCompiler {
 public:
  Compiler(std::function<Vocabulary()> vocabulary, Limits limits)
      : vocabulary_(std::move(vocabulary)), limits_(limits), cache_(limits.cache_bytes) {
    xgrammar::SetMaxRecursionDepth(kMaxRecursion);
    for (int i = 0; i < limits_.threads; ++i) threads_.emplace_back([this] { work(); });
  }

  ~Compiler() override {
    cancelled_ = true;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    for (Task& task : queue_)
      task.done(nullptr, RequestError("the server is stopping", "Service Unavailable", 503));
  }

  void compile(GrammarSpec spec, Done done) override {
    {
      const std::lock_guard lock(mutex_);
      if (queue_.size() < limits_.queue) {
        queue_.push_back({std::move(spec), std::move(done)});
        done = nullptr;
      }
    }
    if (done) {
      done(nullptr, RequestError("Too many grammars wait to be compiled; try again later.",
                                 "Service Unavailable", 503));
      return;
    }
    wake_.notify_one();
  }

 private:
  struct Task {
    GrammarSpec spec;
    Done done;
  };

  void work() {
    for (;;) {
      Task task;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
        if (stopping_) return;
        task = std::move(queue_.front());
        queue_.pop_front();
      }
      GrammarPtr grammar;
      std::optional<RequestError> error;
      try {
        grammar = look_up(task.spec);
      } catch (const std::exception& e) {
        error.emplace("`" + task.spec.field + "`: " + error_line(e.what()));
      }
      task.done(std::move(grammar), std::move(error));
    }
  }

  GrammarPtr look_up(const GrammarSpec& spec) {
    if (spec.text.size() > limits_.text_bytes) {
      throw std::runtime_error("is longer than " + std::to_string(limits_.text_bytes) + " bytes");
    }
    const std::string key = key_of(spec);
    {
      const std::lock_guard lock(mutex_);
      if (GrammarPtr known = cache_.find(key)) return known;
    }
    GrammarPtr grammar = build(spec);
    const std::lock_guard lock(mutex_);
    cache_.insert(key, grammar);
    return grammar;
  }

  GrammarPtr build(const GrammarSpec& spec) {
    std::call_once(prepared_, [this] { prepare(); });
    Compilation compilation(limits_.compile_time, cancelled_);
    auto grammar = std::make_shared<CompiledGrammar>(compiler_->CompileGrammar(convert(spec)), limits_);
    if (!compilation.warning().empty()) throw std::runtime_error(compilation.warning());
    check_start(*grammar);
    return grammar;
  }

  // A grammar without any text, or with only the empty one.
  static void check_start(const CompiledGrammar& grammar) {
    std::vector<uint32_t> allowed(static_cast<size_t>(grammar.mask_words()));
    grammar.start()->fill(allowed, /*may_end=*/false);
    const bool none = std::all_of(allowed.begin(), allowed.end(), [](uint32_t word) { return word == 0; });
    if (none) throw std::runtime_error("no text matches");
  }

  void prepare() {
    Vocabulary vocabulary = vocabulary_();
    tokenizer_.emplace(vocabulary.tokens, xgrammar::VocabType::RAW, vocabulary.size, vocabulary.end_ids);
    // Its own cache would keep what failed, too.
    compiler_.emplace(*tokenizer_, /*max_threads=*/1, /*cache_enabled=*/false);
  }

  const std::function<Vocabulary()> vocabulary_;
  const Limits limits_;
  std::once_flag prepared_;
  std::optional<xgrammar::TokenizerInfo> tokenizer_;
  std::optional<xgrammar::GrammarCompiler> compiler_;
  std::atomic<bool> cancelled_{false};

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task> queue_;
  Cache cache_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<sampling::GrammarCompiler> make_compiler(std::function<Vocabulary()> vocabulary,
                                                         Limits limits) {
  return std::make_unique<Compiler>(std::move(vocabulary), limits);
}

}  // namespace outrider::grammar
