// --help and the documentation that is made of it.
#include "config/help.h"

#include <algorithm>
#include <iterator>

#include "config/table.h"
#include "config/tests_config.h"

namespace outrider::config {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string help_of_serve(const std::string& topic) { return command_help(serve_table(), topic); }

TEST(Help, OverviewIsShortAndTellsHowToSeeMore) {
  const std::string text = help_of_serve("");
  EXPECT_THAT(text, HasSubstr("usage: outrider serve [model] [options]\n"));
  EXPECT_THAT(text, HasSubstr("--help=listgroup"));
  EXPECT_LT(std::count(text.begin(), text.end(), '\n'), 90);
}

TEST(Help, ShowsOneGroupOrWhatAWordIsFoundInOrAll) {
  EXPECT_THAT(help_of_serve("listgroup"), HasSubstr("--help=scheduler"));
  EXPECT_THAT(help_of_serve("scheduler"), HasSubstr("--max-num-seqs INT"));
  EXPECT_THAT(help_of_serve("scheduler"), Not(HasSubstr("--port")));
  EXPECT_THAT(help_of_serve("max_num"), HasSubstr("--max-num-batched-tokens SIZE"));
  EXPECT_THAT(help_of_serve("-tp"), HasSubstr("--tensor-parallel-size, -tp INT"));
  EXPECT_THAT(help_of_serve("no such word"), HasSubstr("No option mentions"));
  const std::string all = help_of_serve("all");
  for (const OptionGroup& group : serve_table().groups()) {
    for (const Option& option : group.options)
      EXPECT_THAT(all, HasSubstr("\n  --" + std::string(option.name)));
  }
  EXPECT_EQ(help_of_serve("page"), all);
}

TEST(Help, ChoicesThatAreRefusedAreNotOffered) {
  EXPECT_THAT(help_of_serve("load-format"), HasSubstr("--load-format {auto,safetensors,dummy,hf}\n"));
}

TEST(Help, DocumentationHasEveryOption) {
  const std::string text = help_of_serve("markdown");
  for (const OptionGroup& group : serve_table().groups()) {
    for (const Option& option : group.options)
      EXPECT_THAT(text, testing::ContainsRegex("`--" + std::string(option.name) + "[`, ]"));
  }
}

TEST(Help, DocumentationIsWhatTheTableSays) {
  std::ifstream file(std::string(OUTRIDER_SOURCE_DIR) + "/docs/options.md");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_EQ(text == help_of_serve("markdown"), true)
      << "run: outrider serve --help=markdown > docs/options.md";
}

}  // namespace
}  // namespace outrider::config
