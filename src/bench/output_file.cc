#include "bench/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace outrider::bench {

OutputFile::OutputFile(std::string path, const std::string& option, bool append)
    : path_(std::move(path)), append_(append) {
  file_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  is_new_ = file_ >= 0;
  if (!is_new_) file_ = open(path_.c_str(), O_WRONLY | O_CLOEXEC);
  if (file_ < 0) {
    throw StartupError("argument " + option + ": cannot write " + path_ + ": " + std::strerror(errno));
  }
}

OutputFile::~OutputFile() {
  close(file_);
  if (is_new_) unlink(path_.c_str());
}

void OutputFile::write(std::string text) {
  struct stat status {};
  const bool is_regular = fstat(file_, &status) == 0 && S_ISREG(status.st_mode);
  if (append_ && is_regular) {
    if (lseek(file_, 0, SEEK_END) > 0) text.insert(0, 1, '\n');
  } else if (is_regular && ftruncate(file_, 0) != 0) {
    throw StartupError("cannot write " + path_ + ": " + std::strerror(errno));
  }
  for (size_t at = 0; at < text.size();) {
    const ssize_t written = ::write(file_, text.data() + at, text.size() - at);
    if (written <= 0) throw StartupError("cannot write " + path_ + ": " + std::strerror(errno));
    at += static_cast<size_t>(written);
  }
  is_new_ = false;
}

}  // namespace outrider::bench
