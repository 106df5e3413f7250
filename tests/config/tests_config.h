// What the tests of this folder share.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "base/error.h"
#include "config/serve_options.h"

namespace outrider::config {

template <typename F>
void expect_usage_error(F&& parse, const std::string& part) {
  try {
    parse();
    FAIL() << "accepted; expected: " << part;
  } catch (const StartupError& error) {
    const std::string line = error.what();
    EXPECT_THAT(line, testing::HasSubstr(part));
    EXPECT_EQ(line.find('\n'), std::string::npos) << line;
    EXPECT_EQ(error.exit_code(), 2) << line;
  }
}

// A file in the tests' own folder, removed at the end.
class TemporaryFile {
 public:
  TemporaryFile(const std::string& name, const std::string& text) : path_(testing::TempDir() + name) {
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~TemporaryFile() { std::remove(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace outrider::config
