// The HTTP server: OpenAI routes over one engine. Use: construct; bind() before the model is read, so that a
// taken port is found at once; build the engine with observer(); start(); run().
//
// Threads: options.io_threads run connections, each on its own strand; the engine's thread only posts to
// them. The server must outlive the engine that was given its observer.
#pragma once

#include <memory>

#include "engine/engine.h"
#include "sampling/grammar.h"
#include "server/options.h"
#include "tokenizer/tokenizer.h"

namespace outrider::server {

class Server {
 public:
  explicit Server(ServerOptions options);
  ~Server();  // closes connections, then gives up its hold on the engine

  // Takes the address but does not listen: clients are refused until start(). Throws StartupError when it is
  // in use.
  void bind();
  uint16_t port() const;  // after bind(); 0 with a Unix socket

  // May still be changed between bind() and start(): what is known only once the model has been read
  // (max_model_len, vocab_size, defaults, eos ids, cache_config).
  ServerOptions& options();

  // For engine::Engine's constructor. Call it after max_model_len is set: histogram bounds depend on it.
  engine::StatsObserver* observer();

  // Listens and answers from here on.
  void start(std::shared_ptr<engine::Engine> engine, std::shared_ptr<const tokenizer::Tokenizer> tokenizer,
             std::unique_ptr<sampling::GrammarCompiler> grammars);

  // Returns after SIGINT, SIGTERM or shutdown() when running requests have ended or the drain time is over (a
  // second signal ends them at once), or when the engine has died. Exit code: 0 or 1.
  int run();

  // Any thread. Stops accepting; run() returns when requests have ended or `deadline` has passed.
  void shutdown(Seconds deadline);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace outrider::server
