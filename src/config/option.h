// One row of the option table. Flags, YAML keys, environment aliases, --help and docs/options.md are read
// from it.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "config/serve_options.h"

namespace outrider::config {

enum class Kind {
  kFlag,  // --x
  kBool,  // --x, --no-x; --disable-x beside --enable-x
  kInt,   // 123, -1, 1_000
  kSize,  // kInt, and 25.6k, 8K, 1m, 2G...
  kFloat,
  kString,
  kOptionalString,  // --x or --x VALUE
  kChoice,
  kStrings,  // --x a b c
  kInts,     // --x 1 2 4
  kJson,     // an object; also --x.key value
  kJsonList,
};

// What happens with a value that is neither the default nor in `works`.
enum class Tier {
  kWorks,   // any value does what it says
  kAccept,  // nothing to do: the program always behaves so
  kWarn,    // accepted, and a warning says that it has no effect
  kRefuse,  // ignoring it would change results: an error says what to do instead
};

using Field = std::variant<std::monostate, bool ServeOptions::*, int64_t ServeOptions::*,
                           double ServeOptions::*, std::string ServeOptions::*,
                           std::optional<int64_t> ServeOptions::*, std::optional<double> ServeOptions::*,
                           std::vector<std::string> ServeOptions::*, Json ServeOptions::*>;

struct Option {
  const char* name;  // with dashes, without the leading two
  Kind kind;
  Field field = {};                       // where the value goes; none: it is only checked
  const char* initial = nullptr;          // default of an option without a field; null: unset
  std::vector<const char*> aliases = {};  // with their dashes
  Tier tier = Tier::kWorks;
  std::vector<const char*> choices = {};
  std::vector<const char*> works = {};  // values that are fine although the tier is kWarn or kRefuse
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  const char* why = "";  // for kWarn and kRefuse: the reason and the remedy
  bool common = false;   // shown by plain --help
  const char* help = "";
};

// Rows of options that vLLM has and that cannot do anything here. A value other than `initial` (null: unset)
// is warned of, or refused.
inline Option ignored(const char* name, Kind kind, const char* initial, const char* why, const char* help,
                      std::vector<const char*> aliases = {}) {
  return {.name = name,
          .kind = kind,
          .initial = initial,
          .aliases = std::move(aliases),
          .tier = Tier::kWarn,
          .why = why,
          .help = help};
}
inline Option refused(const char* name, Kind kind, const char* initial, const char* why, const char* help,
                      std::vector<const char*> aliases = {}) {
  Option option = ignored(name, kind, initial, why, help, std::move(aliases));
  option.tier = Tier::kRefuse;
  return option;
}

struct OptionGroup {
  const char* name;  // for --help=NAME
  const char* summary;
  std::vector<Option> options;
};

// In options_*.cc. Each is one table, however long: rows have no logic.
OptionGroup model_options();
OptionGroup kv_cache_options();
OptionGroup scheduler_options();
OptionGroup parallel_options();
OptionGroup load_options();
OptionGroup multimodal_options();
OptionGroup compilation_options();
OptionGroup tool_options();
OptionGroup lora_options();
OptionGroup frontend_options();
OptionGroup logging_options();

}  // namespace outrider::config
