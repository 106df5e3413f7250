// The words of a command line, or the keys of a YAML file, matched with options but not yet converted.
// The rules are argparse's as vLLM uses it: abbreviations, --x=v, --no-x, several values, dotted JSON keys.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/table.h"

namespace outrider::config {

struct Argument {
  const Option* option = nullptr;
  bool negated = false;
  std::vector<std::string> path;  // of --x.a.b: {"a", "b"}
  bool append = false;            // --x.a+ v1,v2
  std::vector<std::string> values;
  Origin origin;
};

struct ArgumentList : HelpRequest {
  std::vector<Argument> arguments;
  std::optional<std::string> positional;
  std::optional<std::string> config_file;
  std::vector<std::string> notes;
  std::vector<std::string> warnings;
};

// Sets path and append from "a.b" or "a+". Throws UsageError when the option holds no JSON object.
void set_path(std::string_view keys, Argument& argument);

// Throws UsageError for what no option can be meant by. Stops at --help and --version.
ArgumentList read_command_line(const OptionTable& table, const std::vector<std::string>& words);

// `yaml` is the text of the file `name`.
ArgumentList read_yaml(const OptionTable& table, const std::string& yaml, const std::string& name);

// Reads the file after checking its extension and size.
ArgumentList read_config_file(const OptionTable& table, const std::string& path);

}  // namespace outrider::config
