// The bytes of a --config file: read as YAML, then as options.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "config/arguments.h"
#include "config/table.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace outrider;
  try {
    config::read_yaml(config::serve_table(), std::string(reinterpret_cast<const char*>(data), size),
                      "fuzz.yaml");
  } catch (const UsageError&) {
  }
  return 0;
}
