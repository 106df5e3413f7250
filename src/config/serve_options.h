// Everything `outrider serve` can be told, typed. The table in options_*.cc binds each field to its flag; the
// initialisers here are the defaults that --help prints.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "config/help_request.h"

namespace outrider::config {

using Json = nlohmann::ordered_json;

// Where a value came from; later ones win.
struct Origin {
  enum class Kind { kDefault, kEnvironment, kYaml, kCommandLine };
  Kind kind = Kind::kDefault;
  std::string name;  // the variable or the file
  std::string text() const;
};

struct Given {
  Json value;
  Origin origin;
};

struct ServeOptions : HelpRequest {
  // Model. Empty: the embedded Pocket Scout.
  std::string model;
  std::vector<std::string> served_model_name;
  std::optional<int64_t> max_model_len;  // unset: config.json's
  std::string quantization;
  std::string tokenizer;
  std::optional<int64_t> seed;
  bool enforce_eager = false;
  std::string generation_config = "auto";
  Json override_generation_config = Json::object();
  int64_t max_logprobs = 20;  // -1: the vocabulary
  std::string logprobs_mode = "raw_logprobs";
  std::string revision;
  Json hf_token;  // a string; null or true: the environment's
  Json hf_overrides = Json::object();
  Json rope_scaling;  // null: none; both are folded into hf_overrides
  std::optional<double> rope_theta;
  bool allow_long_max_model_len = false;

  // KV cache
  std::string kv_cache_dtype = "auto";
  double gpu_memory_utilization = 0.9;
  std::optional<int64_t> kv_cache_memory_bytes;
  bool enable_prefix_caching = true;
  int64_t block_size = 16;
  std::optional<int64_t> num_gpu_blocks_override;

  // Scheduler. Unset: by device, see apply_device_defaults.
  std::optional<int64_t> max_num_seqs;
  std::optional<int64_t> max_num_batched_tokens;
  bool async_scheduling = true;
  std::string scheduling_policy = "fcfs";
  int64_t long_prefill_token_threshold = 0;
  std::optional<int64_t> max_num_queued_reqs, max_num_queued_tokens;
  int64_t stream_interval = 1;

  // Device and load
  std::string device = "auto";
  std::string activation_quantization = "none";
  std::optional<int64_t> threads;  // unset: one a core
  std::string load_format = "auto";
  std::string download_dir;  // Hugging Face's hub cache

  // Compilation: checked key by key; see graph_rows() of compilation.h.
  Json compilation_config = Json::object();
  Json cudagraph_capture_sizes;  // null or a list of numbers
  std::optional<int64_t> max_cudagraph_capture_size;

  // Tools
  bool enable_auto_tool_choice = false;
  std::string tool_call_parser;
  bool exclude_tools_when_tool_choice_none = false;
  bool guided_decoding_disable_any_whitespace = false;

  // Frontend
  std::string host = "127.0.0.1";
  int64_t port = 8000;
  std::string uds;
  std::vector<std::string> api_key;
  std::string response_role = "assistant";
  std::string chat_template;  // a file or the text itself; empty: Llama 4's own format
  std::string chat_template_content_format = "auto";
  Json default_chat_template_kwargs = Json::object();
  bool trust_request_chat_template = false;
  Json allowed_origins = Json::array({"*"});
  Json allowed_methods = Json::array({"*"});
  Json allowed_headers = Json::array({"*"});
  bool allow_credentials = false;
  std::string root_path;
  bool no_web = false;
  std::string ssl_keyfile, ssl_certfile, ssl_ca_certs;
  int64_t ssl_cert_reqs = 0;  // 0: none, 1: optional, 2: required
  bool enable_ssl_refresh = false;
  bool return_tokens_as_token_ids = false;
  bool enable_request_id_headers = false;
  bool enable_prompt_tokens_details = false;
  bool enable_force_include_usage = false;
  bool enable_server_load_tracking = false;
  int64_t h11_max_incomplete_event_size = 64 << 10;
  int64_t h11_max_header_count = 256;
  int64_t max_body_bytes = 32 << 20;
  int64_t max_connections = 8192;
  double request_timeout = 30.0;         // seconds for a client to send its request
  double http_timeout_keep_alive = 5.0;  // seconds an idle connection is kept
  double shutdown_timeout = 30.0;        // seconds running requests get after SIGTERM
  bool keep_alive_on_engine_death = false;
  bool dev_mode = false;

  // Logging
  std::string log_level = "info";
  std::string log_prefix;
  std::string log_stream = "stdout";
  std::string uvicorn_log_level = "info";
  bool disable_uvicorn_access_log = false;
  std::vector<std::string> disable_access_log_for_endpoints;
  bool disable_log_stats = false;
  double log_stats_interval = 10.0;  // seconds
  bool enable_log_requests = false;
  bool enable_log_outputs = false;
  std::optional<int64_t> max_log_len;

  bool print_config = false;

  // Not options: how the values came to be.
  std::map<std::string, Given> given;  // by option name; defaults are absent
  std::vector<std::string> warnings;   // for the log, once it is configured
  std::vector<std::string> notes;
};

using Environment = std::map<std::string, std::string>;
Environment process_environment();

class OptionTable;

// Environment, --config's file and command line, in that order, for a command that starts an engine. Options
// of `table` without a field are in ServeOptions::given. `takes_model`: as the first argument. Throws
// UsageError.
ServeOptions parse_engine_command(const OptionTable& table, const std::vector<std::string>& arguments,
                                  const Environment& environment, bool takes_model);

// `arguments`: what follows `outrider serve`. Throws UsageError.
ServeOptions parse_serve(const std::vector<std::string>& arguments, const Environment& environment);

// vLLM's rules where the user said nothing, and the checks that need them. `device_bytes`: the GPU's memory,
// 0 on the CPU. Throws StartupError in vLLM's words.
void apply_device_defaults(ServeOptions& options, int64_t device_bytes);

// `{'port': 9000, 'kv_cache_dtype': 'fp8'}`: what differs from the defaults, as vLLM logs it. Keys are not
// shown.
std::string non_default_args(const ServeOptions& options);

// One line an option: `max-num-seqs: 512  # command line`. YAML that `--config` reads back, API keys apart.
std::string print_config(const ServeOptions& options);

}  // namespace outrider::config
