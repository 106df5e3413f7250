#include "client/talk.h"

#include <unistd.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "client/http_client.h"
#include "client/reply.h"
#include "client/sse.h"

namespace outrider::client {
namespace {

namespace asio = boost::asio;
using nlohmann::json;

constexpr int kInterruptedExit = 130;
constexpr size_t kMaxAnswerBytes = 64 << 20;

// A terminal obeys control characters: a model's are not its to send.
std::string printable(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0;
    const bool is_c1 = byte == 0xC2 && next >= 0x80 && next < 0xA0;
    if (is_c1) ++i;
    const bool is_control = is_c1 || (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F;
    out += is_control ? "\uFFFD" : std::string(1, static_cast<char>(byte));
  }
  return out;
}

class Talk {
 public:
  explicit Talk(const config::ClientOptions& options)
      : options_(options),
        url_(parse_url(options.url, "--url")),
        client_(io_, url_, /*insecure=*/false),
        to_terminal_(isatty(STDOUT_FILENO) != 0) {
    if (url_.target.ends_with('/')) url_.target.pop_back();
    if (!options.api_key.empty()) headers_.emplace_back("Authorization", "Bearer " + options.api_key);
    if (!options.system_prompt.empty()) add_turn("system", options.system_prompt);
    model_ = options.model_name.empty() ? first_model() : options.model_name;
  }

  const std::string& model() const { return model_; }

  // Prints the answer as it comes. False: Ctrl-C stopped it. Throws StartupError.
  bool ask(const std::string& text) {
    json body = {{"model", model_}, {"stream", true}};
    if (options_.chat) {
      add_turn("user", text);
      body["messages"] = messages_;
    } else {
      body["prompt"] = text;
    }
    answer_.clear();
    SseParser events;
    const auto take = [this](std::string_view data) { take_event(data); };
    bool complete = false;
    try {
      complete = exchange("POST", options_.chat ? "/chat/completions" : "/completions", body.dump(),
                          [&](std::string_view bytes) {
                            if (!events.push(bytes, take)) throw StartupError("event too long in the stream");
                          });
      if (complete) events.finish(take);
    } catch (const StartupError&) {
      if (options_.chat) messages_.erase(messages_.size() - 1);
      end_line();
      throw;
    }
    if (options_.chat) add_turn("assistant", answer_);
    end_line();
    return complete;
  }

 private:
  void add_turn(const char* role, const std::string& text) {
    messages_.push_back({{"role", role}, {"content", text}});
  }

  void end_line() const {
    if (!answer_.empty()) std::puts("");
  }

  std::string first_model() {
    std::string body;
    exchange("GET", "/models", "", [&body](std::string_view bytes) { body += bytes; });
    const json reply = json::parse(body, nullptr, /*allow_exceptions=*/false);
    const json* models = member(reply, "data");
    if (models != nullptr && models->is_array() && !models->empty()) {
      const json* id = member((*models)[0], "id");
      if (id != nullptr && id->is_string()) return id->get<std::string>();
    }
    throw StartupError(options_.url + " lists no model; name one with --model-name");
  }

  void take_event(std::string_view data) {
    if (data == "[DONE]") return;
    const json event = json::parse(data, nullptr, /*allow_exceptions=*/false);
    if (member(event, "error") != nullptr) throw StartupError(shortened(message_of(event)));
    const json* choices = member(event, "choices");
    if (choices == nullptr || !choices->is_array() || choices->empty()) return;
    const json* source = options_.chat ? member((*choices)[0], "delta") : &(*choices)[0];
    const json* text = source == nullptr ? nullptr : member(*source, options_.chat ? "content" : "text");
    if (text == nullptr || !text->is_string()) return;
    const auto& piece = text->get_ref<const std::string&>();
    if (answer_.size() + piece.size() > kMaxAnswerBytes) throw StartupError("answer too long");
    answer_ += piece;
    std::fputs((to_terminal_ ? printable(piece) : piece).c_str(), stdout);
    std::fflush(stdout);
  }

  // True: the answer came to its end. False: Ctrl-C. Throws StartupError, for an error of the server too.
  bool exchange(const char* method, const char* path, const std::string& body,
                const std::function<void(std::string_view)>& take) {
    std::string error_body;
    const HttpClient::BodySink sink = [&](const Answer& answer, std::string_view bytes, auto) {
      if (answer.status == 200) return take(bytes);
      if (error_body.size() < 65536) error_body += bytes;
    };
    const std::string request = client_.request_text(method, url_.target + path, headers_, body);
    Answer answer;
    std::exception_ptr failure;
    bool stopped = false;
    asio::cancellation_signal cancel;
    asio::signal_set signals(io_, SIGINT);
    signals.async_wait([&](const boost::system::error_code& error, int) {
      if (error) return;
      stopped = true;
      cancel.emit(asio::cancellation_type::terminal);
    });
    asio::co_spawn(io_, client_.exchange(request, sink),
                   asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr error, Answer done) {
                     failure = std::move(error);
                     answer = std::move(done);
                     signals.cancel();
                   }));
    io_.restart();
    io_.run();
    if (stopped) return false;
    try {
      if (failure) std::rethrow_exception(failure);
    } catch (const ExchangeError& error) {
      throw StartupError(options_.url + ": " + error.what());
    } catch (const boost::system::system_error& error) {
      throw StartupError(options_.url + ": " + error.code().message());
    }
    if (answer.status != 200)
      throw StartupError("HTTP " + std::to_string(answer.status) + ": " + error_message(error_body));
    return true;
  }

  const config::ClientOptions& options_;
  net::Url url_;
  asio::io_context io_;
  HttpClient client_;
  const bool to_terminal_;
  Headers headers_;
  std::string model_, answer_;
  json messages_ = json::array();
};

}  // namespace

int talk(const config::ClientOptions& options) {
  Talk talk(options);
  if (options.quick) return talk.ask(*options.quick) ? 0 : kInterruptedExit;
  const bool interactive = isatty(STDIN_FILENO) != 0;
  if (interactive) std::fprintf(stderr, "Using model: %s\n", shortened(talk.model()).c_str());
  for (std::string line;;) {
    if (interactive) std::fputs("> ", stderr);
    if (!std::getline(std::cin, line)) break;
    if (line.empty()) continue;
    try {
      talk.ask(line);
    } catch (const StartupError& error) {
      std::fprintf(stderr, "outrider: error: %s\n", shortened(error.what()).c_str());
    }
  }
  if (interactive) std::fputs("\n", stderr);
  return 0;
}

}  // namespace outrider::client
