#include "config/help.h"

#include <algorithm>

#include "base/text.h"
#include "config/compilation.h"
#include "config/environment.h"
#include "config/table.h"
#include "config/value.h"

namespace outrider::config {
namespace {

std::string folded(std::string_view text) {
  std::string result = lower_case(text);
  std::ranges::replace(result, '_', '-');
  return result;
}

std::string joined(const std::vector<const char*>& words, const char* separator) {
  std::string text;
  for (const char* word : words) text += (text.empty() ? "" : separator) + std::string(word);
  return text;
}

// The placeholder for the value in help: INT, {a,b}...
std::string metavar(const Option& option) {
  switch (option.kind) {
    case Kind::kFlag:
    case Kind::kBool:
      return "";
    case Kind::kInt:
      return " INT";
    case Kind::kSize:
      return " SIZE";
    case Kind::kFloat:
      return " NUMBER";
    case Kind::kString:
      return " TEXT";
    case Kind::kOptionalString:
      return " [TEXT]";
    case Kind::kChoice:
      return " {" + joined(option.choices, ",") + "}";
    case Kind::kStrings:
      return " TEXT...";
    case Kind::kInts:
      return " INT...";
    case Kind::kJson:
      return " JSON";
    case Kind::kJsonList:
      return " JSON-LIST";
  }
  return "";
}

std::string effect(const Option& option) {
  if (option.tier != Tier::kWarn && option.tier != Tier::kRefuse) return "";
  const std::string what = option.tier == Tier::kWarn ? "No effect" : "Refused";
  std::string unless = joined(option.works, ", ");
  if (option.works.size() > 6) unless = "vLLM's names";
  return what + (unless.empty() ? "" : " unless " + unless) + ": " + option.why + ".";
}

std::string default_text(const Option& option) {
  const Json value = default_value(option);
  if (value.is_null() || value == "" || (value.is_array() && value.empty())) return "";
  return value.is_string() ? value.get<std::string>() : to_text(value);
}

void append_wrapped(const std::string& text, std::string& out) {
  constexpr size_t kIndent = 6, kColumns = 100;
  size_t begin = 0;
  while (begin < text.size()) {
    size_t end = begin + kColumns - kIndent;
    if (end >= text.size()) {
      end = text.size();
    } else if (const size_t space = text.rfind(' ', end); space != std::string::npos && space > begin) {
      end = space;
    }
    out += std::string(kIndent, ' ') + text.substr(begin, end - begin) + "\n";
    begin = end + (end < text.size() && text[end] == ' ' ? 1 : 0);
  }
}

void append_option(const OptionTable& table, const Option& option, std::string& out) {
  out += "  --" + std::string(option.name);
  for (const char* alias : option.aliases) out += ", " + std::string(alias);
  for (const std::string& negation : table.negations(option)) out += ", " + negation;
  out += metavar(option) + "\n";
  std::string text = option.help;
  const std::string initial = default_text(option);
  if (!initial.empty()) text += " (default: " + initial + ")";
  const std::string note = effect(option);
  if (!note.empty()) text += " " + note;
  append_wrapped(text, out);
}

void append_group(const OptionTable& table, const OptionGroup& group, std::string& out) {
  out += "\n" + std::string(group.name) + ": " + group.summary + "\n";
  for (const Option& option : group.options) append_option(table, option, out);
}

std::string overview(const OptionTable& table) {
  std::string out = std::string(table.text().usage) + "\n" + table.text().about + "\n\nOften used:\n";
  for (const OptionGroup& group : table.groups()) {
    for (const Option& option : group.options) {
      if (option.common) append_option(table, option, out);
    }
  }
  out += "\nMore: --help=listgroup, --help=GROUP, --help=WORD, --help=all";
  return out + (&table == &serve_table() ? ", --help=markdown\n" : "\n");
}

std::string group_list(const OptionTable& table) {
  std::string out = table.text().usage;
  for (const OptionGroup& group : table.groups()) {
    out += "  --help=" + std::string(group.name) + std::string(14 - std::string(group.name).size(), ' ') +
           group.summary + " (" + std::to_string(group.options.size()) + " options)\n";
  }
  return out;
}

std::string cell(std::string text) {
  std::string escaped;
  for (const char c : text) escaped += c == '|' ? "\\|" : std::string(1, c);
  return escaped;
}

std::string markdown() {
  std::string out =
      "# Options of `outrider serve`\n\n"
      "Written by `outrider serve --help=markdown` from the option table in `src/config`. Dashes and "
      "underscores mean\n"
      "the same. Every `--x` without a value has `--no-x`, and `--enable-x` has `--disable-x`, unless said "
      "otherwise.\n"
      "Precedence: command line, then the file of `--config`, then environment, then default.\n";
  for (const OptionGroup& group : serve_table().groups()) {
    out += "\n## " + std::string(group.name) + ": " + group.summary +
           "\n\n| option | default | meaning |\n|---|---|---|\n";
    for (const Option& option : group.options) {
      std::string name = "`--" + std::string(option.name);
      for (const char* alias : option.aliases) name += ", " + std::string(alias);
      const std::string initial = default_text(option);
      const std::string note = effect(option);
      out += "| " + cell(name + metavar(option)) + "`" +
             (option.kind == Kind::kFlag ? " (no `--no-` form)" : "") + " | " +
             (initial.empty() ? "" : "`" + cell(initial) + "`") + " | " + cell(option.help) +
             (note.empty() ? ""
                           : " **" + note.substr(0, note.find(':') + 1) + "**" +
                                 cell(note.substr(note.find(':') + 1))) +
             " |\n";
    }
  }
  out +=
      "\n## Keys of `--compilation-config`\n\nAn unknown key is an error.\n\n| key | what becomes of it "
      "|\n|---|---|\n";
  for (const auto& [key, use] : compilation_keys()) out += "| `" + key + "` | " + use + " |\n";
  out +=
      "\n## Environment\n\nvLLM's variables are other ways to write options. Unknown `VLLM_*` variables give "
      "a warning.\n\n"
      "| variable | stands for |\n|---|---|\n";
  for (const auto& [name, use] : environment_variables()) out += "| `" + name + "` | " + use + " |\n";
  return out;
}

}  // namespace

std::string command_help(const OptionTable& table, const std::string& topic) {
  const std::string word = folded(topic);
  if (word.empty()) return overview(table);
  if (word == "listgroup") return group_list(table);
  if (word == "markdown" && &table == &serve_table()) return markdown();
  std::string out = table.text().usage;
  const size_t usage_size = out.size();
  for (const OptionGroup& group : table.groups()) {
    if (word == "all" || word == "page" || word == group.name) append_group(table, group, out);
  }
  if (out.size() > usage_size) return out;
  for (const OptionGroup& group : table.groups()) {
    for (const Option& option : group.options) {
      const std::string names = folded(std::string(option.name) + " " + joined(option.aliases, " "));
      if (names.find(word) != std::string::npos || folded(option.help).find(word) != std::string::npos) {
        append_option(table, option, out);
      }
    }
  }
  if (out.size() == usage_size) out += "No option mentions '" + topic + "'. Try --help=listgroup.\n";
  return out;
}

}  // namespace outrider::config
