// A file for what a run yields, opened before the run, so that a run is not made in vain.
#pragma once

#include <string>

namespace outrider::bench {

class OutputFile {
 public:
  // `option`: the flag that errors name. `append`: behind what the file holds, on a line of its own. Throws
  // StartupError.
  OutputFile(std::string path, const std::string& option, bool append = false);
  ~OutputFile();  // removes a file that was new and got nothing
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Throws StartupError.
  void write(std::string text);

 private:
  const std::string path_;
  const bool append_;
  bool is_new_ = false;
  int file_ = -1;
};

}  // namespace outrider::bench
