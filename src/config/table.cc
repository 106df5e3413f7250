#include "config/table.h"

#include <algorithm>

#include "base/error.h"
#include "config/nearest.h"

namespace outrider::config {

OptionTable::OptionTable(HelpText text, std::vector<OptionGroup> groups)
    : text_(text), groups_(std::move(groups)) {
  for (const OptionGroup& group : groups_) {
    for (const Option& option : group.options) {
      spellings_["--" + std::string(option.name)] = {&option, false};
      for (const char* alias : option.aliases) spellings_[alias] = {&option, false};
    }
  }
  // Names come first: --disable-log-requests is its own option, not a way to write --enable-log-requests.
  for (const OptionGroup& group : groups_) {
    for (const Option& option : group.options) {
      for (const std::string& negation : negations(option))
        spellings_.try_emplace(negation, Spelling{&option, true});
    }
  }
}

std::vector<std::string> OptionTable::negations(const Option& option) const {
  if (option.kind != Kind::kBool) return {};
  const std::string name = option.name;
  std::vector<std::string> found = {"--no-" + name};
  if (name.rfind("enable-", 0) == 0) found.push_back("--disable-" + name.substr(7));
  return found;
}

OptionTable::Spelling OptionTable::find(std::string_view text) const {
  const auto exact = spellings_.find(text);
  if (exact != spellings_.end()) return exact->second;
  if (text.size() < 2 || text == "--") return {};
  std::vector<std::string> matches;
  Spelling found;
  for (auto it = spellings_.lower_bound(text);
       it != spellings_.end() && it->first.compare(0, text.size(), text) == 0; ++it) {
    const Spelling& spelling = it->second;
    // Two ways to write the same thing are not ambiguous.
    if (found.option == spelling.option && found.negated == spelling.negated) continue;
    found = spelling;
    matches.push_back(it->first);
  }
  if (matches.size() <= 1) return found;
  std::string line = "ambiguous option: " + std::string(text) + " could match " + matches[0];
  for (size_t i = 1; i < matches.size(); ++i) line += ", " + matches[i];
  throw UsageError(line);
}

const Option* OptionTable::by_name(std::string_view name) const {
  const auto it = spellings_.find("--" + std::string(name));
  return it == spellings_.end() || it->second.negated ? nullptr : it->second.option;
}

std::string OptionTable::nearest(std::string_view text) const {
  std::vector<std::string> names;
  for (const auto& [name, spelling] : spellings_) {
    if (name.rfind("--", 0) == 0) names.push_back(name.substr(2));
  }
  const size_t dashes = std::min(text.find_first_not_of('-'), text.size());
  const std::string name = nearest_name(with_dashes(text.substr(dashes, text.find('.') - dashes)), names);
  return name.empty() ? "" : "--" + name;
}

const OptionTable& serve_table() {
  static const OptionTable table(
      {"usage: outrider serve [model] [options]\n",
       "Serves MODEL, a checkpoint folder or Hugging Face id, over OpenAI's HTTP API.\n"
       "Options may be abbreviated and stand in a YAML file (--config FILE); flags win over the file, the "
       "file\n"
       "over vLLM's environment variables."},
      {model_options(), kv_cache_options(), scheduler_options(), parallel_options(), load_options(),
       multimodal_options(), compilation_options(), tool_options(), lora_options(), frontend_options(),
       logging_options()});
  return table;
}

std::string with_dashes(std::string_view text) {
  std::string dashed(text);
  std::replace(dashed.begin(), dashed.begin() + std::min(dashed.find('.'), dashed.size()), '_', '-');
  return dashed;
}

}  // namespace outrider::config
