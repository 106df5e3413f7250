#include "bench/server_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "base/utf8.h"

namespace outrider::bench {
namespace {

// The last line that says something, short enough for a table.
std::string last_line(const std::string& path) {
  constexpr size_t kMaxBytes = 300;
  std::ifstream file(path);
  std::string last;
  for (std::string line; std::getline(file, line);) {
    if (line.find_first_not_of(" \t\r") != std::string::npos) last = line.substr(0, kMaxBytes);
  }
  return to_valid_utf8(last);
}

// Binds `port` of 127.0.0.1, 0 for any. The port, or 0 when it is taken.
int64_t bind_port(int64_t port) {
  const int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return 0;
  // As servers do: connections of the last server, long closed, are no hindrance.
  const int on = 1;
  setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  const bool bound = bind(probe, generic, size) == 0 && getsockname(probe, generic, &size) == 0;
  close(probe);
  return bound ? ntohs(address.sin_port) : 0;
}

}  // namespace

ServerProcess::ServerProcess(const std::vector<std::string>& words, const std::string& log) : log_(log) {
  const int output = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (output < 0) throw StartupError("cannot write " + log + ": " + std::strerror(errno));
  const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  std::vector<char*> arguments = {const_cast<char*>("outrider")};
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) {
    // From here to exec only what is safe after a fork.
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(127);
    dup2(nothing, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    execv("/proc/self/exe", arguments.data());
    _exit(127);
  }
  const int failure = errno;
  close(output);
  close(nothing);
  if (pid_ < 0) throw StartupError(std::string("cannot start a server: ") + std::strerror(failure));
}

bool ServerProcess::running() {
  if (!ended_) ended_ = waitpid(pid_, &status_, WNOHANG) != 0;
  return !ended_;
}

std::string ServerProcess::ending() {
  if (running()) return "";
  const std::string how = WIFSIGNALED(status_) ? fmt::format("ended by signal {}", WTERMSIG(status_))
                                               : fmt::format("ended with exit code {}", WEXITSTATUS(status_));
  const std::string line = last_line(log_);
  return line.empty() ? how : how + ": " + line;
}

bool ServerProcess::ends_within(double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto deadline =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  while (running() && Clock::now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return !running();
}

void ServerProcess::stop(double seconds) {
  if (!running()) return;
  kill(pid_, SIGTERM);
  if (ends_within(seconds)) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, &status_, 0);
  ended_ = true;
}

int64_t free_port() {
  const int64_t port = bind_port(0);
  if (port == 0) throw StartupError("no port of 127.0.0.1 is free");
  return port;
}

bool is_free(int64_t port) { return bind_port(port) != 0; }

}  // namespace outrider::bench
