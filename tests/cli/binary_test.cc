// The program as its users run it. Cases that need the built binary are skipped where it has not been built.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace outrider::cli {
namespace {

using Clock = std::chrono::steady_clock;
using testing::EndsWith;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::StartsWith;

const std::string kBinary = std::string(OUTRIDER_BINARY_DIR) + "/outrider";

class Process {
 public:
  explicit Process(std::vector<std::string> words) {
    int out[2], err[2];
    if (pipe(out) != 0 || pipe(err) != 0) throw std::runtime_error("pipe");
    pid_ = fork();
    if (pid_ == 0) {
      dup2(out[1], 1);
      dup2(err[1], 2);
      for (const int fd : {out[0], out[1], err[0], err[1]}) close(fd);
      std::vector<char*> argv = {const_cast<char*>(kBinary.c_str())};
      for (std::string& word : words) argv.push_back(word.data());
      argv.push_back(nullptr);
      execv(kBinary.c_str(), argv.data());
      _exit(127);
    }
    close(out[1]);
    close(err[1]);
    out_ = out[0];
    err_ = err[0];
  }
  ~Process() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(out_);
    close(err_);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Reads both streams until the log holds `text`, the process has ended or the time is over.
  bool wait_for(const std::string& text, double seconds) {
    const auto deadline = Clock::now() + std::chrono::duration<double>(seconds);
    while (output.find(text) == std::string::npos && Clock::now() < deadline && read_some()) {
    }
    return output.find(text) != std::string::npos;
  }

  int wait_for_end(double seconds) {
    const auto deadline = Clock::now() + std::chrono::duration<double>(seconds);
    while (Clock::now() < deadline && read_some()) {
    }
    int status = 0;
    if (Clock::now() >= deadline || waitpid(pid_, &status, 0) != pid_) return -1;
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  void send(int signal) { kill(pid_, signal); }

  std::string output, errors;

 private:
  bool read_some() {
    pollfd fds[2] = {{out_, POLLIN, 0}, {err_, POLLIN, 0}};
    poll(fds, 2, 50);
    bool open = false;
    for (int i = 0; i < 2; ++i) {
      if (fds[i].revents == 0) {
        open = true;
        continue;
      }
      char buffer[4096];
      const ssize_t n = read(fds[i].fd, buffer, sizeof buffer);
      if (n > 0) (i == 0 ? output : errors).append(buffer, static_cast<size_t>(n));
      open = open || n > 0;
    }
    return open;
  }

  pid_t pid_ = 0;
  int out_ = -1, err_ = -1;
};

struct Ended {
  int status;
  std::string output, errors;
};

Ended run(std::vector<std::string> words) {
  Process process(std::move(words));
  const int status = process.wait_for_end(20);
  return {status, process.output, process.errors};
}

class Socket {
 public:
  Socket() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {}
  ~Socket() { close(fd_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  bool connect_to(int port) {
    sockaddr_in address = local(port);
    return connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  // Takes any free port, as another program would.
  int take_port() {
    sockaddr_in address = local(0);
    socklen_t size = sizeof address;
    if (bind(fd_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(fd_, 1) != 0) return -1;
    getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    return ntohs(address.sin_port);
  }
  void send_text(const std::string& text) {
    ASSERT_EQ(send(fd_, text.data(), text.size(), 0), ssize_t(text.size()));
  }
  std::string read_all() {
    std::string text;
    char buffer[4096];
    for (ssize_t n = 0; (n = recv(fd_, buffer, sizeof buffer, 0)) > 0;)
      text.append(buffer, static_cast<size_t>(n));
    return text;
  }

 private:
  static sockaddr_in local(int port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  int fd_;
};

std::string post(int port, const std::string& path, const std::string& body) {
  Socket socket;
  if (!socket.connect_to(port)) return "refused";
  socket.send_text("POST " + path +
                   " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n" +
                   "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  return socket.read_all();
}

class Binary : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kBinary)) GTEST_SKIP() << "outrider has not been built";
  }

  // The port a server with --port 0 says that it has.
  static int port_of(const Process& process) {
    const std::string address = "http://127.0.0.1:";
    const size_t at = process.output.find(address);
    return at == std::string::npos ? 0 : std::stoi(process.output.substr(at + address.size()));
  }
};

TEST_F(Binary, WithoutACommandItHelps) {
  const Ended ended = run({});
  EXPECT_EQ(ended.status, 0);
  EXPECT_THAT(ended.output, StartsWith("usage: outrider"));
}

TEST_F(Binary, VersionIsBare) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"--version"}, {"-v"}, {"serve", "-v"}}) {
    const Ended ended = run(words);
    EXPECT_EQ(ended.status, 0);
    EXPECT_THAT(ended.output, MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+\n"));
  }
}

TEST_F(Binary, TypingErrorsAreOneLineAndStatus2) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"serve", "--foo", "3"}, "outrider: error: unrecognized arguments: --foo 3\n"},
      {{"serve", "--max-modle-len=3"}, "(did you mean --max-model-len?)\n"},
      {{"serve", "-tp", "2"}, "not built yet: more than one device; use 1\n"},
      {{"serve", "--foo", "a\nb\x01"}, "outrider: error: unrecognized arguments: --foo a b \n"},
      {{"srve"}, "outrider: error: invalid command: srve (did you mean serve?)\n"},
      {{"bench", "nothing"}, "outrider: error: invalid command: bench nothing; see outrider bench --help\n"},
      {{"bench", "serve", "--port", "x"}, "argument --port: invalid int value"},
      {{"chat", "--url", "nowhere"}, "begins neither with http:// nor https://"},
      {{"--nonsense"}, "outrider: error: unrecognized arguments: --nonsense; see outrider --help\n"},
      {{"inspect"}, "usage: outrider inspect FOLDER\n"},
      {{"download"}, "usage: outrider download OWNER/NAME [--revision REVISION]\n"},
      {{"download", "pocket"}, "model pocket: expected the id of a model on the hub, OWNER/NAME\n"},
  };
  for (const auto& [words, line] : cases) {
    const Ended ended = run(words);
    EXPECT_EQ(ended.status, 2) << ended.errors;
    EXPECT_EQ(ended.output, "");
    EXPECT_THAT(ended.errors, HasSubstr(line));
    EXPECT_EQ(std::count(ended.errors.begin(), ended.errors.end(), '\n'), 1) << ended.errors;
  }
}

TEST_F(Binary, StartUpErrorsAreOneLineAndStatus1) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"serve", "/no/such/folder"}, "outrider: error: model /no/such/folder: no such folder\n"},
      {{"serve", "nobody-nothing"}, "give a folder, or OWNER/NAME of a model on the hub"},
      {{"serve", "--max-num-seqs", "9", "--max-num-batched-tokens", "8"}, "must be greater than or equal to"},
      {{"serve", "--port", "0", "--max-model-len", "99999999"}, "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1"},
      {{"serve", "--port", "0", "--num-gpu-blocks-override", "1"}, "increase --num-gpu-blocks-override"},
      {{"inspect", "/no/such/folder"}, "no such folder"},
  };
  for (const auto& [words, line] : cases) {
    const Ended ended = run(words);
    EXPECT_EQ(ended.status, 1) << line << ended.errors;
    EXPECT_THAT(ended.errors, HasSubstr(line));
    EXPECT_EQ(std::count(ended.errors.begin(), ended.errors.end(), '\n'), 1) << ended.errors;
  }
}

TEST_F(Binary, APortInUseIsFoundBeforeTheModelIsRead) {
  Socket other;
  const int port = other.take_port();
  const Ended ended = run({"serve", "--port", std::to_string(port)});
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.errors, StartsWith("outrider: error: "));
  EXPECT_THAT(ended.errors, HasSubstr(std::to_string(port)));
  EXPECT_EQ(ended.output.find("Starting to load model"), std::string::npos);
}

TEST_F(Binary, HelpAndPrintedConfigurationNeedNoModel) {
  EXPECT_THAT(run({"serve", "--help"}).output, HasSubstr("usage: outrider serve"));
  EXPECT_THAT(run({"serve", "--help=max"}).output, HasSubstr("--max-num-seqs"));
  EXPECT_THAT(run({"serve", "--port", "9", "--print-config"}).output, HasSubstr("port: 9  # command line\n"));
}

TEST_F(Binary, CollectEnvSaysWhatAReportNeeds) {
  const Ended ended = run({"collect-env"});
  EXPECT_EQ(ended.status, 0);
  for (const char* part : {"outrider ", "compiler ", "cpu ", "memory "})
    EXPECT_THAT(ended.output, HasSubstr(part));
}

TEST_F(Binary, InspectReadsPocketScout) {
  const Ended ended = run({"inspect", "pocket"});
  EXPECT_EQ(ended.status, 0) << ended.output;
}

TEST_F(Binary, PocketScoutAnswersAndStopsOnSigterm) {
  Process server({"serve", "--port", "0"});
  ASSERT_TRUE(server.wait_for("Application startup complete.", 30)) << server.output << server.errors;
  EXPECT_THAT(server.output, EndsWith("INFO:     Application startup complete.\n"));
  for (const char* line : {"API server version", "non-default args: {'port': 0}", "Starting to load model",
                           "Loading weights took", "KV cache size: ", "Maximum concurrency for 16,384 tokens",
                           "Using default chat sampling params from model: {'temperature'", "Ready after "}) {
    EXPECT_THAT(server.output, HasSubstr(line));
  }
  const std::string answer = post(port_of(server), "/v1/completions",
                                  R"({"model":"pocket-scout","prompt":"San Francisco is a","max_tokens":5})");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer, HasSubstr("\"completion_tokens\":5"));
  server.send(SIGTERM);
  EXPECT_EQ(server.wait_for_end(10), 0) << server.output << server.errors;
}

TEST_F(Binary, InterruptDrainsToo) {
  Process server({"serve", "--port", "0"});
  ASSERT_TRUE(server.wait_for("Application startup complete.", 30)) << server.output << server.errors;
  server.send(SIGINT);
  EXPECT_EQ(server.wait_for_end(10), 0) << server.output << server.errors;
}

TEST_F(Binary, TheRecipesFilesServePocketScout) {
  for (const char* name : {"Llama4_Hopper.yaml", "Llama4_Blackwell.yaml"}) {
    Process server({"serve", "--config", std::string(OUTRIDER_SOURCE_DIR) + "/recipes/llama4-scout/" + name,
                    "--tensor-parallel-size", "1", "--max-num-seqs", "512", "--port", "0"});
    ASSERT_TRUE(server.wait_for("Application startup complete.", 30)) << server.output << server.errors;
    EXPECT_THAT(server.output, HasSubstr("Maximum concurrency for 10,240 tokens"));
    server.send(SIGTERM);
    EXPECT_EQ(server.wait_for_end(10), 0);
  }
}

}  // namespace
}  // namespace outrider::cli
