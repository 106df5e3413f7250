// What all routes share. One per server; its parts are immutable or thread-safe once requests come.
#pragma once

#include <atomic>
#include <memory>

#include "sampling/grammar.h"
#include "server/admission.h"
#include "server/engine_client.h"
#include "server/metrics.h"
#include "server/options.h"
#include "server/seeds.h"
#include "tokenizer/tokenizer.h"

namespace outrider::server {

struct Service {
  ServerOptions options;
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer;
  std::shared_ptr<Metrics> metrics;
  Seeds seeds;
  Admission admission;
  std::atomic<int64_t> load{0};          // generation requests under way
  std::shared_ptr<EngineClient> engine;  // unfinished requests die with it and still report to the others
  std::shared_ptr<sampling::GrammarCompiler> grammars;  // last: what it compiles goes to the engine
};

}  // namespace outrider::server
