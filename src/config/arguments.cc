#include "config/arguments.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "base/text.h"

namespace outrider::config {
namespace {

constexpr const char* kCompilationConfig = "compilation-config";

bool all_digits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

// Options begin with a dash; negative numbers, a lone dash and words with spaces are values.
bool looks_like_option(const std::string& word) {
  if (word.size() < 2 || word[0] != '-') return false;
  if (std::isdigit(static_cast<unsigned char>(word[1])) || word[1] == '.') {
    char* end = nullptr;
    std::strtod(word.c_str(), &end);
    if (*end == '\0') return false;
  }
  const size_t equals = word.find('=');
  return word.find(' ') == std::string::npos || equals < word.find(' ');
}

class CommandLineReader {
 public:
  CommandLineReader(const OptionTable& table, const std::vector<std::string>& words)
      : table_(table), words_(words) {}

  ArgumentList read() {
    while (next_ < words_.size() && !list_.help && !list_.version) {
      const std::string& word = words_[next_];
      if (word == "--") {
        for (++next_; next_ < words_.size(); ++next_) take_positional(words_[next_]);
      } else if (looks_like_option(word)) {
        ++next_;
        take_option(word);
      } else {
        ++next_;
        take_positional(word);
      }
    }
    if (!unknown_.empty() && !list_.help && !list_.version) throw_unknown();
    return std::move(list_);
  }

 private:
  void take_positional(const std::string& word) {
    if (!list_.positional) {
      list_.positional = word;
    } else {
      unknown_.push_back(word);
    }
  }

  void take_option(const std::string& word) {
    const size_t equals = word.find('=');
    const std::string name = with_dashes(std::string_view(word).substr(0, equals));
    std::optional<std::string> attached;
    if (equals != std::string::npos) attached = word.substr(equals + 1);
    if (take_special(name, attached) || take_level(name, attached)) return;

    Argument argument;
    argument.origin = {Origin::Kind::kCommandLine, ""};
    const size_t dot = name.find('.');
    OptionTable::Spelling spelling = table_.find(std::string_view(name).substr(0, dot));
    if (spelling.option == nullptr && !attached && name.size() > 2 && name[1] != '-') {
      // -qfp8: a one-letter option and its value in one word.
      spelling = table_.find(std::string_view(word).substr(0, 2));
      if (spelling.option != nullptr) attached = word.substr(2);
    }
    if (spelling.option == nullptr) return take_unknown(word);
    argument.option = spelling.option;
    argument.negated = spelling.negated;
    if (dot != std::string::npos) set_path(std::string_view(name).substr(dot + 1), argument);
    take_values(attached, argument);
    list_.arguments.push_back(std::move(argument));
  }

  // What is no option of the table: --config, --help, --version.
  bool take_special(const std::string& name, const std::optional<std::string>& attached) {
    if (name == "--config") {
      if (list_.config_file) throw UsageError("argument --config: more than one config file given");
      list_.config_file = attached ? *attached : next_value("--config");
    } else if (name == "--help" || name == "-h") {
      list_.help = attached.value_or("");
    } else if (name == "--version" || name == "-v") {
      list_.version = true;
    } else {
      return false;
    }
    return true;
  }

  // -O3, -O 3 and -O=3 set the level of --compilation-config.
  bool take_level(const std::string& name, const std::optional<std::string>& attached) {
    if (name.rfind("-O", 0) != 0) return false;
    std::string level = name.substr(2);
    if (level.empty()) level = attached ? *attached : next_ < words_.size() ? words_[next_] : "";
    if (!all_digits(level)) return false;
    if (name == "-O" && !attached) ++next_;
    Argument argument;
    argument.option = table_.by_name(kCompilationConfig);
    argument.path = {"level"};
    argument.values = {level};
    argument.origin = {Origin::Kind::kCommandLine, ""};
    if (argument.option == nullptr) return false;
    list_.arguments.push_back(std::move(argument));
    return true;
  }

  void take_values(const std::optional<std::string>& attached, Argument& argument) {
    const Kind kind = argument.option->kind;
    const std::string shown = "argument --" + std::string(argument.option->name) + ": ";
    if (kind == Kind::kBool || kind == Kind::kFlag) {
      if (attached) throw UsageError(shown + "ignored explicit argument '" + *attached + "'");
      return;
    }
    const bool several = kind == Kind::kStrings || kind == Kind::kInts;
    if (attached) {
      argument.values = {*attached};
    } else if (several) {
      while (next_ < words_.size() && !looks_like_option(words_[next_]))
        argument.values.push_back(words_[next_++]);
      if (argument.values.empty()) throw UsageError(shown + "expected at least one argument");
    } else if (kind == Kind::kOptionalString) {
      if (next_ < words_.size() && !looks_like_option(words_[next_])) argument.values = {words_[next_++]};
    } else {
      argument.values = {next_value("--" + std::string(argument.option->name))};
    }
  }

  std::string next_value(const std::string& name) {
    if (next_ >= words_.size() || looks_like_option(words_[next_])) {
      throw UsageError("argument " + name + ": expected one argument");
    }
    return words_[next_++];
  }

  // With the words after it, which are probably its values.
  void take_unknown(const std::string& word) {
    unknown_.push_back(word);
    near_.push_back(table_.nearest(std::string_view(word).substr(0, word.find('='))));
    while (next_ < words_.size() && !looks_like_option(words_[next_])) unknown_.push_back(words_[next_++]);
  }

  [[noreturn]] void throw_unknown() const {
    std::string line = "unrecognized arguments:";
    for (const std::string& word : unknown_) line += " " + word;
    std::string near;
    for (const std::string& name : near_) {
      if (!name.empty()) near += (near.empty() ? "" : ", ") + name;
    }
    if (!near.empty()) line += " (did you mean " + near + "?)";
    throw UsageError(line);
  }

  const OptionTable& table_;
  const std::vector<std::string>& words_;
  size_t next_ = 0;
  ArgumentList list_;
  std::vector<std::string> unknown_, near_;
};

}  // namespace

void set_path(std::string_view keys, Argument& argument) {
  if (argument.option->kind != Kind::kJson || argument.negated) {
    throw UsageError("argument --" + std::string(argument.option->name) + ": takes no keys");
  }
  argument.append = !keys.empty() && keys.back() == '+';
  if (argument.append) keys.remove_suffix(1);
  argument.path = split(keys, '.');
}

ArgumentList read_command_line(const OptionTable& table, const std::vector<std::string>& words) {
  return CommandLineReader(table, words).read();
}

}  // namespace outrider::config
