#include "config/environment.h"

#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "config/nearest.h"
#include "config/value.h"

namespace outrider::config {
namespace {

enum class Role {
  kOption,     // the value of an option
  kSwitch,     // 0 or 1: a bool option
  kGibibytes,  // the value of a size option, in GiB
  kHub,        // src/hub reads it: no option
  kQuiet,      // nothing to do, and nothing to say
  kSaid,       // nothing to do, and a note that says why
  kWarn,       // no effect, and a warning
};

struct Variable {
  const char* name;
  Role role;
  const char* option = "";  // or, for kSaid and kWarn, the reason
};

// Of two variables for one option the later one wins.
constexpr Variable kVariables[] = {
    {"VLLM_API_KEY", Role::kOption, "api-key"},
    {"VLLM_LOGGING_LEVEL", Role::kOption, "log-level"},
    {"VLLM_LOGGING_PREFIX", Role::kOption, "log-prefix"},
    {"VLLM_LOGGING_STREAM", Role::kOption, "log-stream"},
    {"VLLM_LOG_STATS_INTERVAL", Role::kOption, "log-stats-interval"},
    {"VLLM_HTTP_TIMEOUT_KEEP_ALIVE", Role::kOption, "http-timeout-keep-alive"},
    {"VLLM_SERVER_DEV_MODE", Role::kSwitch, "dev-mode"},
    {"VLLM_ALLOW_LONG_MAX_MODEL_LEN", Role::kSwitch, "allow-long-max-model-len"},
    {"VLLM_KEEP_ALIVE_ON_ENGINE_DEATH", Role::kSwitch, "keep-alive-on-engine-death"},
    {"VLLM_ATTENTION_BACKEND", Role::kOption, "attention-backend"},
    {"VLLM_CPU_KVCACHE_SPACE", Role::kGibibytes, "kv-cache-memory-bytes"},
    {"OMP_NUM_THREADS", Role::kOption, "threads"},
    {"HF_HUB_CACHE", Role::kHub, "the hub's cache, unless --download-dir"},
    {"HF_HOME", Role::kHub, "the folder with `hub`, the cache, and `token`; ~/.cache/huggingface"},
    {"HF_TOKEN", Role::kHub, "access token for the hub, unless --hf-token; else the file HF_TOKEN_PATH"},
    {"HF_ENDPOINT", Role::kHub, "address of the hub or of a mirror; https://huggingface.co"},
    {"HF_HUB_OFFLINE", Role::kHub, "1: models come from the cache alone"},
    {"HF_HUB_DOWNLOAD_TIMEOUT", Role::kHub,
     "seconds without a byte, 10, before a download is tried again; pauses between tries begin at a "
     "twentieth"},
    {"HTTPS_PROXY", Role::kHub,
     "http://HOST:PORT of a proxy to the hub; also HTTP_PROXY, ALL_PROXY, NO_PROXY"},
    {"SSL_CERT_FILE", Role::kHub, "authorities that certificates of hub and storage are checked with"},

    {"VLLM_USE_V1", Role::kQuiet},  // 0 is refused
    {"VLLM_HOST_IP", Role::kQuiet},
    {"VLLM_PORT", Role::kQuiet},
    {"VLLM_ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE", Role::kQuiet},
    {"VLLM_WORKER_MULTIPROC_METHOD", Role::kQuiet},
    {"VLLM_ENABLE_V1_MULTIPROCESSING", Role::kQuiet},
    {"VLLM_CACHE_ROOT", Role::kQuiet},
    {"VLLM_CONFIG_ROOT", Role::kQuiet},
    {"VLLM_DISABLE_COMPILE_CACHE", Role::kQuiet},
    {"VLLM_NO_USAGE_STATS", Role::kQuiet},
    {"VLLM_DO_NOT_TRACK", Role::kQuiet},
    {"VLLM_USAGE_SOURCE", Role::kQuiet},
    {"VLLM_USE_FLASHINFER_MOE_FP8", Role::kSaid, "the experts of a layer are always one grouped product"},
    {"VLLM_USE_FLASHINFER_MOE_FP4", Role::kSaid, "the experts of a layer are always one grouped product"},
    {"VLLM_FLASHINFER_MOE_BACKEND", Role::kSaid,
     "each step takes the experts' kernels for few rows or for many, whichever suits it"},
    {"VLLM_FLASHINFER_ALLREDUCE_FUSION_THRESHOLDS_MB", Role::kSaid, "one device has nothing to reduce"},
    {"VLLM_IMAGE_FETCH_TIMEOUT", Role::kWarn, "images are not served yet"},
    {"VLLM_TORCH_PROFILER_DIR", Role::kWarn, "there is no PyTorch profiler"},
    {"VLLM_CONFIGURE_LOGGING", Role::kWarn, "Python's logging is not used"},
    {"VLLM_LOGGING_CONFIG_PATH", Role::kWarn, "Python's logging is not used"},
    {"VLLM_USE_TRTLLM_ATTENTION", Role::kWarn, "each device has one set of kernels"},
    {"VLLM_FLASHINFER_DISABLE_Q_QUANTIZATION", Role::kWarn, "each device has one set of kernels"},
    {"VLLM_USE_TRTLLM_FP4_GEMM", Role::kWarn, "each device has one set of kernels"},
    {"VLLM_ALLREDUCE_USE_SYMM_MEM", Role::kWarn, "each device has one set of kernels"},
    {"VLLM_USE_DEEP_GEMM", Role::kWarn, "each device has one set of kernels"},
    {"VLLM_USE_FLASHINFER_SAMPLER", Role::kWarn, "each device has one set of kernels"},
    {"VLLM_CPU_OMP_THREADS_BIND", Role::kWarn, "use --threads and taskset or numactl"},
    {"VLLM_XGRAMMAR_CACHE_MB", Role::kWarn, "compiled grammars are kept as long as memory allows"},
};

class EnvironmentReader {
 public:
  EnvironmentReader(const OptionTable& table, const Environment& environment)
      : table_(table), environment_(environment) {}

  ArgumentList read() {
    for (const Variable& variable : kVariables) {
      const auto it = environment_.find(variable.name);
      if (it != environment_.end()) take(variable, it->second);
    }
    for (const auto& [name, value] : environment_) {
      if (name.rfind("VLLM_", 0) == 0 && !known(name)) warn_unknown(name);
    }
    return std::move(list_);
  }

 private:
  static bool known(const std::string& name) {
    return std::any_of(std::begin(kVariables), std::end(kVariables),
                       [&](const Variable& v) { return name == v.name; });
  }

  void warn_unknown(const std::string& name) {
    std::vector<std::string> names;
    for (const Variable& variable : kVariables) names.push_back(variable.name);
    const std::string nearest = nearest_name(name, names);
    list_.warnings.push_back("Unknown vLLM environment variable detected: " + name +
                             (nearest.empty() ? "" : " (did you mean " + nearest + "?)"));
  }

  // Nothing follows from a switch of kSaid, but a mistyped one is told of, as vLLM tells of it.
  static void check_recipes_switch(const std::string& name, const std::string& value) {
    std::string expected;
    if (name == "VLLM_FLASHINFER_MOE_BACKEND") {
      if (value != "throughput" && value != "latency") expected = "throughput or latency";
    } else if (name == "VLLM_FLASHINFER_ALLREDUCE_FUSION_THRESHOLDS_MB") {
      const auto sizes = parse_json(value);
      const auto is_size = [](const Json& size) { return size.is_number() && size >= 0; };
      if (!sizes || !sizes->is_object() || !std::all_of(sizes->begin(), sizes->end(), is_size))
        expected = "a JSON object of MB by number of devices, as {\"2\":32,\"4\":32}";
    } else if (value != "0" && value != "1") {
      expected = "0 or 1";
    }
    if (!expected.empty()) throw UsageError(name + "=" + value + ": expected " + expected);
  }

  void take(const Variable& variable, const std::string& value) {
    const std::string name = variable.name;
    if (name == "VLLM_USE_V1" && value == "0") {
      throw UsageError("VLLM_USE_V1=0: there is no V0 engine; unset it");
    }
    if (variable.role == Role::kSaid && !value.empty()) {
      check_recipes_switch(name, value);
      list_.notes.push_back(name + "=" + value + ": " + variable.option);
      return;
    }
    if (variable.role == Role::kWarn) list_.warnings.push_back(name + " has no effect: " + variable.option);
    if (variable.role == Role::kWarn || variable.role == Role::kQuiet || variable.role == Role::kHub ||
        value.empty()) {
      return;
    }
    Argument argument;
    argument.option = table_.by_name(variable.option);
    if (argument.option == nullptr) return;
    argument.origin = {Origin::Kind::kEnvironment, name};
    argument.values = {value};
    if (variable.role == Role::kSwitch) {
      if (value != "0" && value != "1") throw UsageError(name + "=" + value + ": expected 0 or 1");
      argument.negated = value == "0";
    } else if (variable.role == Role::kGibibytes) {
      if (value == "0") return;
      argument.values = {value + "G"};
    } else if (name == "VLLM_LOGGING_STREAM" && value.rfind("ext://sys.", 0) == 0) {
      argument.values = {value.substr(10)};
    } else if (name == "OMP_NUM_THREADS") {
      argument.values = {value.substr(0, value.find(','))};  // a list counts nested levels; the first is ours
    }
    list_.arguments.push_back(std::move(argument));
  }

  const OptionTable& table_;
  const Environment& environment_;
  ArgumentList list_;
};

}  // namespace

Environment process_environment() {
  Environment environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string::npos) environment[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return environment;
}

ArgumentList read_environment(const OptionTable& table, const Environment& environment) {
  return EnvironmentReader(table, environment).read();
}

std::vector<std::pair<std::string, std::string>> environment_variables() {
  std::vector<std::pair<std::string, std::string>> variables;
  for (const Variable& variable : kVariables) {
    const std::string option = variable.option;
    variables.emplace_back(variable.name, variable.role == Role::kQuiet       ? "accepted, nothing to do"
                                          : variable.role == Role::kSaid      ? "nothing to do: " + option
                                          : variable.role == Role::kWarn      ? "no effect: " + option
                                          : variable.role == Role::kGibibytes ? "--" + option + ", in GiB"
                                          : variable.role == Role::kHub       ? option
                                                                              : "--" + option);
  }
  return variables;
}

}  // namespace outrider::config
