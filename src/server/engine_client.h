// What routes need of the engine. The server wraps engine::Engine in it; tests script their own.
#pragma once

#include "engine/engine.h"

namespace outrider::server {

class EngineClient {
 public:
  virtual ~EngineClient() = default;
  virtual engine::RequestId submit(engine::Request request) = 0;
  virtual void cancel(engine::RequestId id, bool as_stop) = 0;
  virtual bool alive() const = 0;
  virtual void reset_prefix_cache() = 0;
};

}  // namespace outrider::server
