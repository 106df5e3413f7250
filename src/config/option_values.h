// The options of a command other than `serve`, as values by name.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/arguments.h"

namespace outrider::config {

class OptionValues : public HelpRequest {
 public:
  // `words`: what follows the command. A file of --config comes before them. Throws UsageError.
  OptionValues(const OptionTable& table, const std::vector<std::string>& words);
  // A command's own values, among those that parse_engine_command has read.
  OptionValues(const OptionTable& table, const ServeOptions& options);

  bool given(const std::string& name) const { return given_.count(name) != 0; }

  // The value given, else the table's default; an option that the table does not have is unset.
  template <class T>
  T get(const std::string& name) const {
    return value(name).get<T>();
  }
  template <class T>
  std::optional<T> find(const std::string& name) const {
    const Json found = value(name);
    return found.is_null() ? std::optional<T>() : found.get<T>();
  }
  // Empty when there is neither value nor default.
  std::string text(const std::string& name) const { return find<std::string>(name).value_or(""); }
  std::vector<std::string> list(const std::string& name) const {
    return find<std::vector<std::string>>(name).value_or(std::vector<std::string>());
  }
  bool flag(const std::string& name) const { return find<bool>(name).value_or(false); }

  // `Namespace(host='127.0.0.1', port=8000)`: all options, as argparse prints them.
  std::string python_namespace() const;

  std::vector<std::string> warnings;

 private:
  Json value(const std::string& name) const;
  void add(const Argument& argument);

  const OptionTable& table_;
  std::map<std::string, Json> given_;
};

}  // namespace outrider::config
