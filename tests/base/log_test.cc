#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace outrider::log {
namespace {

template <typename F>
std::string captured(F&& write) {
  testing::internal::CaptureStdout();
  write();
  std::fflush(stdout);
  return testing::internal::GetCapturedStdout();
}

TEST(Log, LineHasLevelTimeFileAndMessage) {
  configure({});
  const std::string line = captured([] { info("ready"); });
  EXPECT_THAT(line, testing::MatchesRegex("INFO [0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} "
                                          "\\[log_test\\.cc:[0-9]+\\] ready\n"));
}

TEST(Log, WarningIsSpelledInFull) {
  configure({});
  EXPECT_EQ(captured([] { warning("careful"); }).rfind("WARNING ", 0), 0u);
}

TEST(Log, BracesAndPercentSignsInMessagesAreTextNotFormats) {
  configure({.prefix = "100% "});
  const std::string line = captured([] { error("{} {0} %v %n"); });
  EXPECT_EQ(line.rfind("100% ERROR ", 0), 0u) << line;
  EXPECT_NE(line.find("] {} {0} %v %n\n"), std::string::npos) << line;
}

TEST(Log, EachLineOfAMessageGetsThePrefix) {
  configure({});
  const std::string text = captured([] { info("a\nb\n"); });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  EXPECT_EQ(text.find("INFO"), 0u);
  EXPECT_NE(text.find("\nINFO"), std::string::npos);
}

TEST(Log, LevelHidesLinesBelowIt) {
  configure({.level = Level::kError});
  EXPECT_EQ(captured([] { warning("hidden"); }), "");
  EXPECT_FALSE(enabled(Level::kWarning));
  configure({.level = Level::kDebug});
  EXPECT_NE(captured([] { debug("seen"); }), "");
  configure({});
}

TEST(Log, PlainLinesHaveNoTime) {
  configure({.level = Level::kError});
  EXPECT_EQ(captured([] { plain("INFO:     Application startup complete."); }),
            "INFO:     Application startup complete.\n");
  configure({});
}

TEST(Log, LinesCanGoToStandardError) {
  configure({.to_stderr = true});
  testing::internal::CaptureStderr();
  EXPECT_EQ(captured([] { info("there"); }), "");
  EXPECT_NE(testing::internal::GetCapturedStderr().find("there"), std::string::npos);
  configure({});
}

TEST(Log, LevelNamesOfVllmAndUvicornAreKnown) {
  bool known = false;
  EXPECT_EQ(parse_level("DEBUG", known), Level::kDebug);
  EXPECT_TRUE(known);
  EXPECT_EQ(parse_level("critical", known), Level::kError);
  EXPECT_TRUE(known);
  EXPECT_EQ(parse_level("loud", known), Level::kInfo);
  EXPECT_FALSE(known);
}

TEST(Log, ThreadsMayWriteWhileItIsReconfigured) {
  const std::string text = captured([] {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([] {
        for (int i = 0; i < 50; ++i) info("one\ntwo");
      });
    }
    for (int i = 0; i < 20; ++i) configure({});
    for (auto& thread : threads) thread.join();
  });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 400);
}

}  // namespace
}  // namespace outrider::log
