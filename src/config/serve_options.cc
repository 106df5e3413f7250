#include "config/serve_options.h"

#include <algorithm>

#include "base/error.h"
#include "base/python_repr.h"
#include "config/arguments.h"
#include "config/compilation.h"
#include "config/environment.h"
#include "config/table.h"
#include "config/value.h"

namespace outrider::config {
namespace {

void merge_into(Json& target, const Json& source) {
  for (const auto& [key, value] : source.items()) {
    Json& slot = target[key];
    if (slot.is_object() && value.is_object()) {
      merge_into(slot, value);
    } else if (slot.is_array() && value.is_array()) {
      slot.insert(slot.end(), value.begin(), value.end());
    } else {
      slot = value;
    }
  }
}

class Assembler {
 public:
  Assembler(const OptionTable& table, ServeOptions& options) : table_(table), options_(options) {}

  void add(ArgumentList list) {
    for (const Argument& argument : list.arguments) add(argument);
    options_.warnings.insert(options_.warnings.end(), list.warnings.begin(), list.warnings.end());
    options_.notes.insert(options_.notes.end(), list.notes.begin(), list.notes.end());
  }

  void set_model(const std::string& positional) {
    given_["model"] = {positional, {Origin::Kind::kCommandLine, ""}};
  }

  void finish() {
    for (auto& [name, dotted] : dotted_) {
      if (given_.count(name) != 0) {
        options_.warnings.push_back("--" + name + ".KEY replaces the whole --" + name + " of " +
                                    given_[name].origin.text());
      }
      given_[name] = std::move(dotted);
    }
    for (const auto& [name, given] : given_) {
      const Option& option = *table_.by_name(name);
      const std::string warning = effect_warning(option, given.value);
      if (!warning.empty()) options_.warnings.push_back(warning);
      set_field(option, given.value, options_);
    }
    options_.given = std::move(given_);
  }

 private:
  void add(const Argument& argument) {
    const Option& option = *argument.option;
    try {
      if (!argument.path.empty()) {
        add_dotted(argument);
      } else if (is_switch(option)) {
        given_[option.name] = {Json(!argument.negated), argument.origin};
      } else {
        given_[option.name] = {parse_value(option, argument.values), argument.origin};
      }
    } catch (const UsageError& error) {
      const bool typed = argument.origin.kind == Origin::Kind::kCommandLine;
      throw UsageError(typed ? error.what() : argument.origin.name + ": " + error.what());
    }
  }

  void add_dotted(const Argument& argument) {
    const std::string text = argument.values.empty() ? "" : argument.values[0];
    Json value;
    if (argument.append) {
      value = Json::array();
      for (size_t begin = 0; begin <= text.size();) {
        const size_t end = std::min(text.find(',', begin), text.size());
        value.push_back(text.substr(begin, end - begin));
        begin = end + 1;
      }
    } else {
      auto parsed = parse_json(text);
      value = parsed ? *std::move(parsed) : Json(text);
    }
    constexpr size_t kMaxPath = 16;
    if (argument.path.size() > kMaxPath) refuse_value(*argument.option, "nested too deep");
    for (auto key = argument.path.rbegin(); key != argument.path.rend(); ++key) {
      Json outer = Json::object();
      outer[*key] = std::move(value);
      value = std::move(outer);
    }
    Given& dotted = dotted_[argument.option->name];
    if (dotted.value.is_null()) dotted.value = Json::object();
    merge_into(dotted.value, value);
    dotted.origin = argument.origin;
  }

  const OptionTable& table_;
  ServeOptions& options_;
  std::map<std::string, Given> given_;
  std::map<std::string, Given> dotted_;
};

// What one option cannot check alone.
void check_together(ServeOptions& options) {
  if (options.gpu_memory_utilization > 1.0) {
    throw StartupError(
        "argument --gpu-memory-utilization: GPU memory utilization must be less than 1.0. Got " +
        to_text(options.gpu_memory_utilization) + ".");
  }
  if (options.enable_auto_tool_choice && options.tool_call_parser.empty()) {
    throw StartupError("--enable-auto-tool-choice requires --tool-call-parser");
  }
  if (options.enable_log_outputs && !options.enable_log_requests) {
    throw StartupError("--enable-log-outputs requires --enable-log-requests");
  }
  if (options.ssl_certfile.empty() && !options.ssl_keyfile.empty()) {
    throw UsageError("--ssl-keyfile needs the certificate that it belongs to: --ssl-certfile");
  }
  if (!options.rope_scaling.is_null()) options.hf_overrides["rope_scaling"] = options.rope_scaling;
  if (options.rope_theta) options.hf_overrides["rope_theta"] = *options.rope_theta;
  if (options.log_stats_interval <= 0) options.log_stats_interval = 10.0;
  const std::string compilation = check_compilation_config(options.compilation_config);
  if (!compilation.empty()) options.notes.push_back("--compilation-config: " + compilation);
  graph_rows(options);  // the checks
}

bool is_secret(const Option& option) {
  const std::string_view name = option.name;
  return name == "api-key" || name == "hf-token";
}

Json visible(const Option& option, const Json& value) {
  if (!is_secret(option)) return value;
  if (value.is_string()) return "***";
  return value.is_array() ? Json(std::vector<std::string>(value.size(), "***")) : value;
}

}  // namespace

std::string Origin::text() const {
  switch (kind) {
    case Kind::kDefault:
      return "default";
    case Kind::kEnvironment:
      return "environment " + name;
    case Kind::kYaml:
      return name;
    case Kind::kCommandLine:
      return "command line";
  }
  return "";
}

ServeOptions parse_engine_command(const OptionTable& table, const std::vector<std::string>& arguments,
                                  const Environment& environment, bool takes_model) {
  ServeOptions options;
  ArgumentList typed = read_command_line(table, arguments);
  if (options.take(typed)) return options;
  const auto positional = typed.positional;
  if (positional && !takes_model) throw UsageError("unrecognized arguments: " + *positional);

  Assembler assembler(table, options);
  assembler.add(read_environment(table, environment));
  if (typed.config_file) assembler.add(read_config_file(table, *typed.config_file));
  const bool model_flag = std::any_of(
      typed.arguments.begin(), typed.arguments.end(),
      [](const Argument& argument) { return std::string_view(argument.option->name) == "model"; });
  if (model_flag && takes_model) {
    options.warnings.push_back(
        positional
            ? "--model is ignored: the model is given as the first argument"
            : "With `serve`, give the model as the first argument or in a config file, not by --model");
  }
  assembler.add(std::move(typed));
  if (positional) assembler.set_model(*positional);
  assembler.finish();
  check_together(options);
  return options;
}

ServeOptions parse_serve(const std::vector<std::string>& arguments, const Environment& environment) {
  return parse_engine_command(serve_table(), arguments, environment, /*takes_model=*/true);
}

void apply_device_defaults(ServeOptions& options, int64_t device_bytes) {
  const bool large = device_bytes >= int64_t{70} << 30;
  if (!options.max_num_batched_tokens) options.max_num_batched_tokens = large ? 8192 : 2048;
  if (!options.max_num_seqs) {
    options.max_num_seqs = std::min<int64_t>(large ? 1024 : 256, *options.max_num_batched_tokens);
  }
  if (*options.max_num_batched_tokens < *options.max_num_seqs) {
    throw StartupError("max_num_batched_tokens (" + std::to_string(*options.max_num_batched_tokens) +
                       ") must be greater than or equal to max_num_seqs (" +
                       std::to_string(*options.max_num_seqs) + ").");
  }
  if (device_bytes > 0) return;
  for (const char* name :
       {"gpu-memory-utilization", "enforce-eager", "cudagraph-capture-sizes", "max-cudagraph-capture-size"}) {
    if (options.given.count(name) != 0) {
      options.notes.push_back("--" + std::string(name) + " concerns GPUs; this server runs on the CPU");
    }
  }
}

std::string non_default_args(const ServeOptions& options) {
  Json differing = Json::object();
  for (const auto& [name, given] : options.given) {
    const Option& option = *serve_table().by_name(name);
    if (given.value == default_value(option)) continue;
    std::string key = name;
    std::replace(key.begin(), key.end(), '-', '_');
    differing[key] = visible(option, given.value);
  }
  return python_repr(differing);
}

std::string print_config(const ServeOptions& options) {
  std::string text;
  for (const OptionGroup& group : serve_table().groups()) {
    for (const Option& option : group.options) {
      const auto given = options.given.find(option.name);
      if (std::holds_alternative<std::monostate>(option.field) && given == options.given.end()) continue;
      if (std::string_view(option.name) == "print-config") continue;
      const Json value = given != options.given.end() ? given->second.value : get_field(option, options);
      const std::string origin = given != options.given.end() ? given->second.origin.text() : "default";
      text += std::string(value.is_null() ? "# " : "") + option.name + ": " +
              to_text(visible(option, value)) + "  # " + origin + "\n";
    }
  }
  return text;
}

}  // namespace outrider::config
