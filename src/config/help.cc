#include "config/help.h"

#include <algorithm>
#include <utility>
#include <variant>
#include <vector>

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

// Without those that are refused.
std::vector<const char*> usable_choices(const Option& option) {
  if (option.tier != Tier::kRefuse) return option.choices;
  std::vector<const char*> usable;
  const Json initial = default_value(option);
  for (const char* choice : option.choices) {
    const bool works =
        std::ranges::any_of(option.works, [&](std::string_view text) { return text == choice; });
    if (works || initial == choice) usable.push_back(choice);
  }
  return usable;
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
      return " {" + joined(usable_choices(option), ",") + "}";
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

std::string works_text(const Option& option, const char* separator) {
  return option.works.size() > 6 ? "vLLM's names" : joined(option.works, separator);
}

std::string effect(const Option& option) {
  if (option.tier != Tier::kWarn && option.tier != Tier::kRefuse) return "";
  if (option.tier == Tier::kRefuse && option.kind == Kind::kChoice) return "";  // its choices say it
  const std::string what = option.tier == Tier::kWarn ? "No effect" : "Refused";
  const std::string unless = works_text(option, ", ");
  return what + (unless.empty() ? "" : " unless " + unless) + ": " + option.why + ".";
}

// vLLM's, without a value that does anything here.
bool is_foreign(const Option& option) {
  return std::holds_alternative<std::monostate>(option.field) &&
         (option.tier == Tier::kWarn || option.tier == Tier::kRefuse);
}

std::string default_text(const Option& option) {
  const Json value = default_value(option);
  if (value.is_null() || value == "" || value == false || (value.is_structured() && value.empty())) return "";
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

std::string names_of(const Option& option) {
  std::string names = "--" + std::string(option.name);
  for (const char* alias : option.aliases) names += ", " + std::string(alias);
  return names;
}

void append_option(const OptionTable& table, const Option& option, std::string& out) {
  out += "  " + names_of(option);
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

std::string markdown_item(const Option& option) {
  const std::string initial = default_text(option), note = effect(option);
  return "- `" + names_of(option) + metavar(option) + "`" +
         (option.kind == Kind::kFlag ? " (no `--no-`)" : "") +
         (initial.empty() ? "" : " (`" + initial + "`)") + ": " + option.help +
         (note.empty() ? "" : " " + note) + "\n";
}

// What many names have in common is said once, in the order in which it first comes.
class Reasons {
 public:
  void add(const std::string& reason, const std::string& name) {
    const auto it = std::ranges::find(rows_, reason, &std::pair<std::string, std::string>::first);
    if (it == rows_.end()) {
      rows_.emplace_back(reason, name);
    } else {
      it->second += ", " + name;
    }
  }

  std::string list() const {
    std::string out;
    for (const auto& [reason, names] : rows_) out += "\n- " + names + ": " + reason;
    return out + "\n";
  }

 private:
  std::vector<std::pair<std::string, std::string>> rows_;
};

// The options that only vLLM has, by reason.
std::string foreign_options(Tier tier) {
  Reasons reasons;
  for (const OptionGroup& group : serve_table().groups()) {
    for (const Option& option : group.options) {
      if (!is_foreign(option) || option.tier != tier) continue;
      const std::string also = works_text(option, " or "), why = option.why;
      reasons.add(why.substr(0, why.find("; leave it out")),
                  "`" + names_of(option) + "`" + (also.empty() ? "" : " (except " + also + ")"));
    }
  }
  return reasons.list();
}

std::string markdown() {
  std::string out =
      "# Options of `outrider serve`\n\n"
      "Written by `outrider serve --help=markdown`. Brackets hold the default; an option without a value "
      "that shows\n"
      "none is false. Such an option has a `--no-` form, and `--enable-x` also `--disable-x`, unless marked. "
      "Dashes\n"
      "and underscores are the same. Flags win over the file of `--config`, which wins over the "
      "environment.\n";
  for (const OptionGroup& group : serve_table().groups()) {
    std::string items;
    for (const Option& option : group.options) {
      if (!is_foreign(option)) items += markdown_item(option);
    }
    if (items.empty()) continue;
    out += "\n## " + std::string(group.name) + ": " + group.summary + "\n\n" + items;
  }
  out +=
      "\n## Refused\n\nvLLM's options to leave out: other values than the default, or those in brackets, end "
      "the start.\n" +
      foreign_options(Tier::kRefuse);
  out +=
      "\n## No effect\n\nvLLM's options that are taken: with a warning, unless the value is one in "
      "brackets.\n" +
      foreign_options(Tier::kWarn);
  Reasons keys;
  for (const auto& [key, use] : compilation_keys()) keys.add(use, "`" + key + "`");
  out += "\n## Keys of `--compilation-config`\n\nAn unknown key is an error.\n" + keys.list();
  Reasons variables;
  for (const auto& [name, use] : environment_variables()) variables.add(use, "`" + name + "`");
  out += "\n## Environment\n\nUnknown `VLLM_*` variables are a warning.\n" + variables.list();
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
