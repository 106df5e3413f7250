#include "cli/server_options.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "base/python_repr.h"
#include "chat/tool_parser.h"
#include "config/value.h"

namespace outrider::cli {
namespace {

std::optional<chat::ToolFormat> tool_format(const std::string& parser) {
  if (parser.empty()) return std::nullopt;
  const auto format = chat::tool_format(parser);
  if (format) return format;
  std::string names;
  for (const std::string& name : chat::tool_parser_names()) names += (names.empty() ? "" : ",") + name;
  throw StartupError("invalid tool call parser: " + parser + " (chose from { " + names + " })");
}

chat::ContentFormat content_format(const std::string& name) {
  if (name == "auto") return chat::ContentFormat::kAuto;
  return name == "string" ? chat::ContentFormat::kString : chat::ContentFormat::kOpenAi;
}

// A file, or the text itself, which has a brace or a line end.
std::shared_ptr<const chat::ChatTemplate> chat_template(const std::string& given,
                                                        chat::ContentFormat format) {
  if (given.empty()) return nullptr;
  std::string text;
  std::ifstream file(given);
  if (file && !std::filesystem::is_directory(given)) {
    text.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  } else if (given.find_first_of("{}\n") != std::string::npos) {
    text = given;
  } else {
    throw UsageError("argument --chat-template: " + given + " looks like a file path, and cannot be read");
  }
  try {
    return std::make_shared<const chat::ChatTemplate>(text, format);
  } catch (const RequestError& error) {
    throw UsageError("argument --chat-template: " + std::string(error.what()));
  }
}

std::vector<std::string> strings(const config::Json& list) { return list.get<std::vector<std::string>>(); }

// Later values replace earlier ones, key by key.
void overlay(const model::GenerationDefaults& from, model::GenerationDefaults& onto) {
  const auto take = [](const auto& source, auto& target) {
    if (source) target = source;
  };
  take(from.temperature, onto.temperature);
  take(from.top_p, onto.top_p);
  take(from.min_p, onto.min_p);
  take(from.repetition_penalty, onto.repetition_penalty);
  take(from.top_k, onto.top_k);
  take(from.max_new_tokens, onto.max_new_tokens);
  if (!from.eos_token_ids.empty()) onto.eos_token_ids = from.eos_token_ids;
}

std::string python_text(const config::Json& value) {
  const std::string text = python_repr(value);
  return value.is_string() ? value.get<std::string>() : text;
}

model::KvDtype kv_dtype(const std::string& name) {
  return name == "fp8" || name == "fp8_e4m3" ? model::KvDtype::kFp8E4m3 : model::KvDtype::kBf16;
}

}  // namespace

server::ServerOptions server_options(const config::ServeOptions& options, const std::string& default_name) {
  server::ServerOptions out;
  out.host = options.host;
  out.port = static_cast<uint16_t>(options.port);
  out.uds = options.uds;
  out.api_keys = options.api_key;
  out.root_path = options.root_path;
  out.tls = {options.ssl_certfile, options.ssl_keyfile, options.ssl_ca_certs,
             static_cast<server::ClientCertificates>(options.ssl_cert_reqs), options.enable_ssl_refresh};
  out.cors = {strings(options.allowed_origins), strings(options.allowed_methods),
              strings(options.allowed_headers), options.allow_credentials};
  out.limits.body_bytes = static_cast<size_t>(options.max_body_bytes);
  out.limits.header_bytes = static_cast<size_t>(options.h11_max_incomplete_event_size);
  out.limits.header_count = static_cast<int>(options.h11_max_header_count);
  out.limits.connections = static_cast<int>(options.max_connections);
  out.limits.keep_alive = server::Seconds(options.http_timeout_keep_alive);
  out.limits.header_timeout = out.limits.read_timeout = server::Seconds(options.request_timeout);
  out.drain_timeout = server::Seconds(options.shutdown_timeout);
  out.exit_on_engine_death = !options.keep_alive_on_engine_death;
  out.served_model_names = options.served_model_name;
  if (out.served_model_names.empty()) out.served_model_names = {default_name};
  out.model_root = options.model.empty() ? default_name : options.model;
  out.max_logprobs = options.max_logprobs;
  out.processed_logprobs = options.logprobs_mode.rfind("processed_", 0) == 0;
  out.logprobs_are_logits = options.logprobs_mode.find("_logits") != std::string::npos;
  out.enable_auto_tool_choice = options.enable_auto_tool_choice;
  out.tool_format = tool_format(options.tool_call_parser);
  out.exclude_tools_when_tool_choice_none = options.exclude_tools_when_tool_choice_none;
  out.json_any_whitespace = !options.guided_decoding_disable_any_whitespace;
  out.response_role = options.response_role;
  out.content_format = content_format(options.chat_template_content_format);
  out.chat_template = chat_template(options.chat_template, out.content_format);
  out.trust_request_chat_template = options.trust_request_chat_template;
  out.default_chat_template_kwargs = chat::Json::parse(config::to_text(options.default_chat_template_kwargs));
  out.seed = options.seed;
  out.return_tokens_as_token_ids = options.return_tokens_as_token_ids;
  out.enable_request_id_headers = options.enable_request_id_headers;
  out.enable_prompt_tokens_details = options.enable_prompt_tokens_details;
  out.force_include_usage = options.enable_force_include_usage;
  out.enable_server_load_tracking = options.enable_server_load_tracking;
  out.dev_mode = options.dev_mode;
  out.disable_log_stats = options.disable_log_stats;
  const std::string& level = options.uvicorn_log_level;
  out.access_log =
      !options.disable_uvicorn_access_log && (level == "info" || level == "debug" || level == "trace");
  out.quiet_access_paths = options.disable_access_log_for_endpoints;
  out.web_page = !options.no_web;
  out.quiet_access_paths.emplace_back("/web/metrics");  // an open page asks each second
  out.log_requests = options.enable_log_requests;
  out.log_outputs = options.enable_log_outputs;
  out.max_queued_requests = options.max_num_queued_reqs;
  out.max_queued_tokens = options.max_num_queued_tokens;
  out.stream_interval = options.stream_interval;
  if (options.max_log_len) out.max_log_len = static_cast<size_t>(*options.max_log_len);
  out.stats_interval = server::Seconds(options.log_stats_interval);
  out.version = OUTRIDER_VERSION;
  return out;
}

void add_model(const config::ServeOptions& options, const model::Model& model,
               const tokenizer::Tokenizer& tokenizer, const model::MemoryPlan& plan,
               server::ServerOptions& out) {
  out.max_model_len = plan.max_model_len;
  out.vocab_size = std::min(model.config.vocab_size, tokenizer.size());
  out.defaults = generation_defaults(options, model);
  out.eos_token_ids.assign(model.config.eos_token_ids.begin(), model.config.eos_token_ids.end());
  out.eos_token_ids.insert(out.eos_token_ids.end(), model.generation.eos_token_ids.begin(),
                           model.generation.eos_token_ids.end());
  if (tokenizer.eos_id() >= 0) out.eos_token_ids.push_back(tokenizer.eos_id());
  std::sort(out.eos_token_ids.begin(), out.eos_token_ids.end());
  out.eos_token_ids.erase(std::unique(out.eos_token_ids.begin(), out.eos_token_ids.end()),
                          out.eos_token_ids.end());
  using config::Json;
  out.cache_config = {
      {"cache_dtype", options.kv_cache_dtype},
      {"enable_prefix_caching", python_text(options.enable_prefix_caching)},
      {"gpu_memory_utilization", python_text(options.gpu_memory_utilization)},
      {"kv_cache_memory_bytes",
       python_text(options.kv_cache_memory_bytes ? Json(*options.kv_cache_memory_bytes) : Json())},
      {"num_gpu_blocks_override",
       python_text(options.num_gpu_blocks_override ? Json(*options.num_gpu_blocks_override) : Json())},
  };
}

engine::EngineOptions engine_options(const config::ServeOptions& options, int64_t max_model_len) {
  engine::EngineOptions out;
  out.max_model_len = max_model_len;
  out.max_num_seqs = static_cast<int>(*options.max_num_seqs);
  out.max_num_batched_tokens = static_cast<int>(*options.max_num_batched_tokens);
  out.long_prefill_token_threshold = static_cast<int>(options.long_prefill_token_threshold);
  out.prefix_caching = options.enable_prefix_caching;
  out.async_scheduling = options.async_scheduling;
  out.policy = options.scheduling_policy == "priority" ? engine::Policy::kPriority : engine::Policy::kFcfs;
  return out;
}

model::MemoryOptions memory_options(const config::ServeOptions& options, int64_t max_model_len,
                                    int64_t kv_bytes) {
  model::MemoryOptions out;
  out.max_model_len = max_model_len;
  out.max_num_seqs = static_cast<int>(*options.max_num_seqs);
  out.max_num_batched_tokens = static_cast<int>(*options.max_num_batched_tokens);
  out.block_size = static_cast<int>(options.block_size);
  out.kv_dtype = kv_dtype(options.kv_cache_dtype);
  out.kv_cache_bytes = options.kv_cache_memory_bytes.value_or(kv_bytes);
  out.num_blocks_override = static_cast<int>(options.num_gpu_blocks_override.value_or(0));
  return out;
}

int64_t resolve_max_model_len(const config::ServeOptions& options, const model::LlamaConfig& config) {
  const int64_t most = config.max_position_embeddings;
  if (!options.max_model_len) return most;
  if (*options.max_model_len > most && !options.allow_long_max_model_len) {
    throw StartupError("argument --max-model-len: " + std::to_string(*options.max_model_len) +
                       " is greater than config.json's max_position_embeddings, " + std::to_string(most) +
                       "; --allow-long-max-model-len or VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 lets it");
  }
  return *options.max_model_len;
}

model::GenerationDefaults generation_defaults(const config::ServeOptions& options,
                                              const model::Model& model) {
  model::GenerationDefaults defaults;
  if (options.generation_config == "auto") {
    defaults = model.generation;
  } else if (options.generation_config != "vllm") {
    const std::string path = options.generation_config + "/generation_config.json";
    std::ifstream file(path);
    if (!file) throw StartupError("argument --generation-config: cannot read " + path);
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    defaults = model::parse_generation_config(text, path);
  }
  overlay(model::parse_generation_config(config::to_text(options.override_generation_config),
                                         "argument --override-generation-config"),
          defaults);
  return defaults;
}

std::string sampling_text(const model::GenerationDefaults& defaults) {
  config::Json shown = config::Json::object();
  const auto add = [&](const char* name, const auto& value) {
    if (value) shown[name] = *value;
  };
  add("repetition_penalty", defaults.repetition_penalty);
  add("temperature", defaults.temperature);
  add("top_k", defaults.top_k);
  add("top_p", defaults.top_p);
  add("min_p", defaults.min_p);
  add("max_tokens", defaults.max_new_tokens);
  return shown.empty() ? "" : python_repr(shown);
}

}  // namespace outrider::cli
