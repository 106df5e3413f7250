#include "config/option_values.h"

#include <algorithm>

#include "base/error.h"
#include "base/python_repr.h"
#include "config/value.h"

namespace outrider::config {

OptionValues::OptionValues(const OptionTable& table, const std::vector<std::string>& words) : table_(table) {
  const ArgumentList typed = read_command_line(table, words);
  if (take(typed)) return;
  if (typed.positional) throw UsageError("unrecognized arguments: " + *typed.positional);
  if (typed.config_file) {
    const ArgumentList file = read_config_file(table, *typed.config_file);
    warnings = file.warnings;
    for (const Argument& argument : file.arguments) add(argument);
  }
  for (const Argument& argument : typed.arguments) add(argument);
  for (const auto& [name, value] : given_) {
    const std::string warning = effect_warning(*table_.by_name(name), value);
    if (!warning.empty()) warnings.push_back(warning);
  }
}

OptionValues::OptionValues(const OptionTable& table, const ServeOptions& options) : table_(table) {
  for (const auto& [name, given] : options.given) given_[name] = given.value;
}

void OptionValues::add(const Argument& argument) {
  const Option& option = *argument.option;
  if (!argument.path.empty()) refuse_value(option, "takes no keys; give a JSON object");
  given_[option.name] = is_switch(option) ? Json(!argument.negated) : parse_value(option, argument.values);
}

Json OptionValues::value(const std::string& name) const {
  const auto found = given_.find(name);
  if (found != given_.end()) return found->second;
  const Option* option = table_.by_name(name);
  return option != nullptr ? default_value(*option) : Json();
}

std::string OptionValues::python_namespace() const {
  std::string text;
  for (const OptionGroup& group : table_.groups()) {
    for (const Option& option : group.options) {
      std::string name = option.name;
      std::replace(name.begin(), name.end(), '-', '_');
      text += (text.empty() ? "" : ", ") + name + "=" + python_repr(value(option.name));
    }
  }
  return "Namespace(" + text + ")";
}

}  // namespace outrider::config
