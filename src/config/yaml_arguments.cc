// A YAML file's keys as arguments.
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "config/arguments.h"
#include "config/value.h"
#include "config/yaml.h"

namespace outrider::config {
namespace {

class YamlArguments {
 public:
  YamlArguments(const OptionTable& table, const std::string& name) : table_(table), name_(name) {}

  ArgumentList read(const std::string& text) {
    const YamlDocument document = parse_yaml(text, name_);
    list_.warnings = document.warnings;
    if (document.root.is_null()) return std::move(list_);
    if (!document.root.is_object()) refuse("expected `key: value` lines");
    for (const auto& [key, value] : document.root.items()) {
      if (num_unknown_ == kMaxUnknown) break;  // a file of another program: the first keys tell enough
      take(key, value);
    }
    if (num_unknown_ > 0) {
      throw UsageError(name_ + ": unrecognized arguments:" + unknown_ +
                       (near_.empty() ? "" : " (did you mean " + near_ + "?)"));
    }
    return std::move(list_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const { throw UsageError(name_ + ": " + what); }

  void take(const std::string& key, const Json& value) {
    const std::string name = with_dashes(key);
    if (name == "config") refuse("config: a config file cannot name another one");
    const size_t dot = name.find('.');
    const OptionTable::Spelling spelling = table_.find("--" + name.substr(0, dot));
    if (spelling.option == nullptr) return take_unknown(key, value);
    Argument argument;
    argument.option = spelling.option;
    argument.negated = spelling.negated;
    argument.origin = {Origin::Kind::kYaml, name_};
    if (dot != std::string::npos) set_path(std::string_view(name).substr(dot + 1), argument);
    const Kind kind = spelling.option->kind;
    if (kind == Kind::kBool || kind == Kind::kFlag) {
      if (!take_switch(key, value, argument)) return;
    } else if (!take_value(key, value, argument)) {
      return;
    }
    list_.arguments.push_back(std::move(argument));
  }

  // vLLM before 0.33 dropped `key: false`; later it means --no-key.
  bool take_switch(const std::string& key, const Json& value, Argument& argument) {
    if (value.is_null()) return false;
    if (!value.is_boolean()) refuse(key + ": expected true or false, got " + to_text(value));
    if (value.get<bool>()) return true;
    if (argument.option->kind == Kind::kFlag) {
      list_.notes.push_back(name_ + ": " + key + ": false leaves it off");
      return false;
    }
    argument.negated = !argument.negated;
    list_.notes.push_back(name_ + ": " + key + ": false is read as --" + (argument.negated ? "no-" : "") +
                          argument.option->name);
    return true;
  }

  bool take_value(const std::string& key, const Json& value, Argument& argument) {
    const Kind kind = argument.option->kind;
    if (kind == Kind::kJson || kind == Kind::kJsonList) {
      argument.values = {value.is_null()     ? "None"
                         : value.is_string() ? value.get<std::string>()
                                             : to_text(value)};
      return true;
    }
    if (value.is_array()) {
      if (value.empty()) return false;
      if (kind != Kind::kStrings && kind != Kind::kInts) refuse(key + ": expected one value, got a list");
      for (const Json& item : value) argument.values.push_back(word(key, item));
      return true;
    }
    if (kind == Kind::kOptionalString && value == true) return true;
    argument.values = {word(key, value)};
    return true;
  }

  std::string word(const std::string& key, const Json& value) const {
    if (value.is_null()) return "None";
    if (value.is_string()) return value.get<std::string>();
    if (value.is_number()) return to_text(value);
    if (value.is_boolean()) refuse(key + ": expected a value, got " + to_text(value));
    refuse(key + ": expected one value, got " + to_text(value));
  }

  void take_unknown(const std::string& key, const Json& value) {
    ++num_unknown_;
    unknown_ += " --" + key;
    if (!value.is_boolean())
      unknown_ += " " + (value.is_string() ? value.get<std::string>() : to_text(value));
    const std::string nearest = table_.nearest("--" + key);
    if (!nearest.empty()) near_ += (near_.empty() ? "" : ", ") + nearest.substr(2);
  }

  const OptionTable& table_;
  const std::string& name_;
  ArgumentList list_;
  static constexpr int kMaxUnknown = 8;
  int num_unknown_ = 0;
  std::string unknown_, near_;
};

}  // namespace

ArgumentList read_yaml(const OptionTable& table, const std::string& yaml, const std::string& name) {
  return YamlArguments(table, name).read(yaml);
}

ArgumentList read_config_file(const OptionTable& table, const std::string& path) {
  const std::string extension = std::filesystem::path(path).extension();
  if (extension != ".yaml" && extension != ".yml") {
    throw UsageError("argument --config: Config file must be of a yaml/yml type. " + path + " supplied");
  }
  std::ifstream file(path, std::ios::binary);
  std::error_code error;
  if (!file || std::filesystem::is_directory(path, error)) {
    throw UsageError("argument --config: cannot read " + path);
  }
  std::string text(kMaxYamlBytes + 1,
                   '\0');  // one more than allowed, so that parse_yaml sees what is too long
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  return read_yaml(table, text, path);
}

}  // namespace outrider::config
