// What the HTTP server is told at start. Filled from flags and checkpoint by src/cli; plain data.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "chat/chat_template.h"
#include "chat/tool_parser.h"
#include "model/config.h"
#include "server/tls.h"

namespace outrider::server {

using Seconds = std::chrono::duration<double>;
inline std::chrono::steady_clock::duration ticks(Seconds seconds) {
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(seconds);
}

// Caps on what one client may cost. Sizes in bytes.
struct Limits {
  size_t body_bytes = size_t{32} << 20;
  size_t header_bytes = size_t{64} << 10;  // request line and header block
  int header_count = 256;
  int json_depth = 64;
  int connections = 8192;
  int n = 128;            // choices a prompt
  int prompts = 2048;     // prompts a completions request
  int choices = 4096;     // prompts * n
  int stop_strings = 64;  // each at most stop_bytes long
  size_t stop_bytes = 4096;
  int logit_bias = 4096;                       // entries
  size_t write_queue_bytes = size_t{4} << 20;  // unsent stream bytes before a slow reader is cut off
  Seconds keep_alive{5};                       // idle between requests
  Seconds header_timeout{30};  // from the first byte of a request to the end of its header block
  Seconds read_timeout{30};    // a window that must bring 4 KiB of the body or its end
  Seconds write_timeout{60};   // a window that must take 64 KiB or empty the queue
};

struct Cors {
  std::vector<std::string> origins{"*"}, methods{"*"}, headers{"*"};
  bool credentials = false;
};

// What the web page compares its figures with.
struct Hardware {
  std::string device = "CPU";
  // Bytes of weights: read by each step, and of one expert of every layer that has experts.
  int64_t step_weight_bytes = 0, expert_weight_bytes = 0;
  int num_experts = 0, experts_per_token = 0;
  double memory_bandwidth = 0;  // bytes a second; 0: not known
};

struct ServerOptions {
  std::string host;      // empty: all IPv4 interfaces
  uint16_t port = 8000;  // 0: any free one (see Server::port)
  std::string uds;       // not empty: this Unix socket instead of host and port
  TlsOptions tls;
  int io_threads = 2;
  int backlog = 4096;
  std::vector<std::string> api_keys;  // empty: no check
  std::string root_path;
  Cors cors;
  Limits limits;
  Seconds drain_timeout{30};  // SIGTERM: how long running requests may go on
  bool exit_on_engine_death = true;

  std::vector<std::string>
      served_model_names;  // at least one; the first is used in answers and metric labels
  std::string model_root;  // /v1/models "root"
  int64_t max_model_len = 0;
  int vocab_size = 0;
  model::GenerationDefaults
      defaults;  // generation_config.json with overrides; empty for --generation-config vllm
  std::vector<int32_t> eos_token_ids;  // all ids that end a reply
  int64_t max_logprobs = 20;           // -1: the vocabulary
  bool processed_logprobs = false;     // --logprobs-mode processed_*
  bool logprobs_are_logits = false;    // --logprobs-mode *_logits

  bool enable_auto_tool_choice = false;
  std::optional<chat::ToolFormat> tool_format;
  bool exclude_tools_when_tool_choice_none = false;
  bool json_any_whitespace = true;  // structured outputs: free white space between JSON's tokens
  std::string response_role = "assistant";

  std::shared_ptr<const chat::ChatTemplate> chat_template;          // null: Llama 4's own format
  chat::ContentFormat content_format = chat::ContentFormat::kAuto;  // of templates in requests
  bool trust_request_chat_template = false;
  chat::Json default_chat_template_kwargs = chat::Json::object();

  std::optional<int64_t> max_queued_requests, max_queued_tokens;  // that wait or run; more are answered 503
  int64_t stream_interval = 1;                                    // tokens an event, after the first

  std::optional<int64_t> seed;  // --seed: of requests without one

  bool return_tokens_as_token_ids = false;
  bool enable_request_id_headers = false;
  bool enable_prompt_tokens_details = false;
  bool force_include_usage = false;
  bool enable_server_load_tracking = false;
  bool web_page = true;  // /, /web/...
  Hardware hardware;
  bool dev_mode = false;  // /reset_prefix_cache, /is_sleeping, /server_info

  bool disable_log_stats = false;
  bool access_log = true;
  std::vector<std::string> quiet_access_paths;  // --disable-access-log-for-endpoints
  bool log_requests = false;
  bool log_outputs = false;
  std::optional<size_t> max_log_len;
  Seconds stats_interval{10};
  std::string version;  // GET /version
  // Labels of vllm:cache_config_info as text in Python's spelling; those that the engine knows are filled in.
  std::vector<std::pair<std::string, std::string>> cache_config;
};

}  // namespace outrider::server
