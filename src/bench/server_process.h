// A server in a process of its own, for as long as it is measured.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace outrider::bench {

class ServerProcess {
 public:
  // Starts this program with `words`; both its streams go to the file `log`. The process ends with this one,
  // and Ctrl-C in the terminal does not reach it. Throws StartupError.
  ServerProcess(const std::vector<std::string>& words, const std::string& log);
  ~ServerProcess() { stop(/*seconds=*/5); }
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  bool running();
  // Waits so long at most. True when it has ended.
  bool ends_within(double seconds);
  // How it ended, with the last line of its log: `ended with exit code 1: ...`. Empty while it runs.
  std::string ending();
  // Asks it to end; after so many seconds it is killed.
  void stop(double seconds);

 private:
  const std::string log_;
  pid_t pid_ = -1;
  bool ended_ = false;
  int status_ = 0;  // of waitpid, once ended
};

// A port of 127.0.0.1 that nobody listens on. Throws StartupError.
int64_t free_port();
// False when somebody listens on it.
bool is_free(int64_t port);

}  // namespace outrider::bench
