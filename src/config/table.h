// All options of a command, how their names are found, and what --help says above them.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/option.h"

namespace outrider::config {

struct HelpText {
  const char* usage;  // one line
  const char* about;  // what the command does
};

class OptionTable {
 public:
  // One way to write an option.
  struct Spelling {
    const Option* option = nullptr;
    bool negated = false;  // --no-x, --disable-x
  };

  OptionTable(HelpText text, std::vector<OptionGroup> groups);

  const HelpText& text() const { return text_; }
  const std::vector<OptionGroup>& groups() const { return groups_; }

  // `text` with its dashes ("--max_model_len", "--max-model", "-tp"). No option: unknown.
  // Throws UsageError when it begins several names and is none.
  Spelling find(std::string_view text) const;
  // Without abbreviations: "max-model-len".
  const Option* by_name(std::string_view name) const;
  // "--max-model-len" for "--max-modle-len"; empty when nothing is near.
  std::string nearest(std::string_view text) const;
  // The other ways to write an option: --no-x, --disable-x.
  std::vector<std::string> negations(const Option& option) const;

 private:
  HelpText text_;
  std::vector<OptionGroup> groups_;
  std::map<std::string, Spelling, std::less<>> spellings_;
};

// The options of `outrider serve`.
const OptionTable& serve_table();

// "max_model_len.a_b" -> "max-model-len.a_b": only the part before the first dot is a name.
std::string with_dashes(std::string_view text);

}  // namespace outrider::config
