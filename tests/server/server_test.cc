// The whole server over real sockets: a real engine whose device is a typist that always writes the same
// letter.
#include "server/server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <thread>

#include "base/error.h"
#include "server/harness.h"
#include "server/socket_client.h"

namespace outrider::server {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

struct TypistMood {
  std::atomic<int> delay_us{0};     // of a step
  std::atomic<bool> broken{false};  // every step fails
  std::atomic<bool> silent{false};  // no step ends
};

class TypistRunner : public runner::Runner {
 public:
  TypistRunner(int32_t token, const TypistMood& mood) : token_(token), mood_(mood) {
    kv_.block_size = 16;
    kv_.num_blocks = 1 << 17;
    kv_.layers_per_group = 1;
    kv_.group_of_layer = {0};
    kv_.index_in_group = {0};
    kv_.group_is_chunked = {false};
  }
  void submit(runner::StepPlan plan) override { plans_.push_back(std::move(plan)); }
  runner::StepResult collect() override {
    if (mood_.delay_us > 0) std::this_thread::sleep_for(std::chrono::microseconds(mood_.delay_us));
    mood_.silent.wait(true);
    const runner::StepPlan plan = std::move(plans_.front());
    plans_.pop_front();
    runner::StepResult result;
    result.id = plan.id;
    if (mood_.broken) result.error = "an illegal memory access was encountered";
    for (size_t i = 0; i < plan.sequences.size(); ++i) {
      if (plan.sequences[i].sample) result.sampled.push_back({static_cast<int32_t>(i), token_});
    }
    return result;
  }
  const model::KvGeometry& kv() const override { return kv_; }

 private:
  model::KvGeometry kv_;
  int32_t token_;
  const TypistMood& mood_;
  std::deque<runner::StepPlan> plans_;
};

class ServerTest : public testing::Test {
 protected:
  void start(ServerOptions options = {}) {
    options.host = "127.0.0.1";
    options.port = 0;
    options.served_model_names = {"m"};
    options.max_model_len = 1'000'000;
    options.vocab_size = 4096;
    options.access_log = false;
    server_ = std::make_unique<Server>(options);
    server_->bind();
    engine::EngineOptions engine_options;
    engine_options.max_model_len = options.max_model_len;
    engine_options.device_timeout = device_timeout_;
    auto runner = std::make_unique<TypistRunner>(pocket_tokenizer()->encode("a", false).at(0), mood_);
    server_->start(std::make_shared<engine::Engine>(std::move(runner), engine_options, server_->observer()),
                   pocket_tokenizer(), std::make_unique<FakeGrammarCompiler>());
    running_ = std::thread([this] { exit_code_ = server_->run(); });
  }

  void TearDown() override {
    if (!server_) return;
    mood_.silent = false;
    mood_.silent.notify_all();
    server_->shutdown(Seconds(0));
    if (running_.joinable()) running_.join();
    server_.reset();
  }

  uint16_t port() const { return server_->port(); }

  std::string get(const std::string& path) {
    SocketClient client(port());
    client.send("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    EXPECT_TRUE(client.read_to_end());
    return client.received;
  }

  // Leaves in `received` what comes up to `end`.
  static void ask(SocketClient& client, const std::string& body, const std::string& end) {
    client.received.clear();
    client.send(post_text("/v1/completions", body));
    ASSERT_TRUE(client.read_until(end)) << client.received;
  }

  bool metric_becomes(const std::string& line, double seconds = 5) {
    const auto deadline = Clock::now() + std::chrono::duration<double>(seconds);
    while (Clock::now() < deadline) {
      if (get("/metrics").find("\n" + line + "\n") != std::string::npos) return true;
      std::this_thread::sleep_for(milliseconds(5));
    }
    return false;
  }
  void expect_farewell(const std::string& error);
  bool aborted_become(int count) {
    return metric_becomes(
        "vllm:request_success_total{engine=\"0\",finished_reason=\"abort\",model_name=\"m\"} " +
        std::to_string(count) + ".0");
  }

  TypistMood mood_;
  engine::Clock::duration device_timeout_{0};
  std::unique_ptr<Server> server_;
  std::thread running_;
  std::atomic<int> exit_code_{-1};
};

TEST_F(ServerTest, answers_many_requests_on_one_connection) {
  start();
  SocketClient client(port());
  for (int i = 0; i < 20; ++i) {
    ask(client, R"({"prompt":"x","max_tokens":3})", "\"kv_transfer_params\":null}");
    EXPECT_NE(client.received.find("\"text\":\"aaa\""), std::string::npos);
    EXPECT_NE(client.received.find("HTTP/1.1 200 OK\r\n"), std::string::npos);
  }
}

TEST_F(ServerTest, streams_in_chunks_and_keeps_the_connection) {
  start();
  SocketClient client(port());
  for (int i = 0; i < 3; ++i) {
    ask(client, R"({"prompt":"x","max_tokens":3,"stream":true})", "data: [DONE]\n\n\r\n0\r\n\r\n");
    EXPECT_NE(client.received.find("transfer-encoding: chunked\r\n"), std::string::npos);
    EXPECT_NE(client.received.find("content-type: text/event-stream; charset=utf-8\r\n"), std::string::npos);
  }
}

TEST_F(ServerTest, speaks_http_1_0_without_chunks) {
  start();
  SocketClient client(port());
  const std::string body = R"({"prompt":"x","max_tokens":2,"stream":true})";
  client.send("POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: " +
              std::to_string(body.size()) + "\r\n\r\n" + body);
  ASSERT_TRUE(client.read_to_end());
  EXPECT_NE(client.received.find("\r\n\r\ndata: {"), std::string::npos);
  EXPECT_EQ(client.received.find("chunked"), std::string::npos);
}

TEST_F(ServerTest, a_request_may_come_byte_by_byte_or_two_at_once) {
  start();
  const std::string request = post_text("/v1/completions", R"({"prompt":"x","max_tokens":1})");
  SocketClient slow(port());
  for (const char c : request) slow.send(std::string_view(&c, 1));
  EXPECT_TRUE(slow.read_until("kv_transfer_params"));
  SocketClient pipelined(port());
  pipelined.send(request + "GET /version HTTP/1.1\r\nHost: x\r\n\r\n" + request);
  EXPECT_TRUE(pipelined.read_until("{\"version\":\"\"}"));
  const size_t version = pipelined.received.find("{\"version\"");
  EXPECT_LT(pipelined.received.find("kv_transfer_params"), version);
  pipelined.received.erase(0, version);
  EXPECT_TRUE(pipelined.read_until("kv_transfer_params"));
}

TEST_F(ServerTest, expect_100_continue_is_answered_before_the_body) {
  start();
  SocketClient client(port());
  const std::string body = R"({"prompt":"x","max_tokens":1})";
  const std::string request = post_text("/v1/completions", body, "Expect: 100-continue\r\n");
  client.send(request.substr(0, request.size() - body.size()));
  ASSERT_TRUE(client.read_until("HTTP/1.1 100 Continue\r\n\r\n"));
  client.send(body);
  EXPECT_TRUE(client.read_until("kv_transfer_params"));
}

TEST_F(ServerTest, chunked_request_bodies_are_read) {
  start();
  SocketClient client(port());
  client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\nd\r\n{\"prompt\":\"x\"\r\n1\r\n}\r\n0\r\n\r\n");
  EXPECT_TRUE(client.read_until("kv_transfer_params")) << client.received;
}

TEST_F(ServerTest, slow_senders_get_408_and_idle_connections_are_closed) {
  ServerOptions options;
  options.limits.header_timeout = options.limits.read_timeout = Seconds(0.2);
  options.limits.keep_alive = Seconds(0.2);
  start(options);
  SocketClient header(port());
  header.send("GET /health HTT");
  EXPECT_TRUE(header.read_to_end());
  EXPECT_NE(header.received.find("HTTP/1.1 408 Request Timeout\r\n"), std::string::npos);
  SocketClient body(port());
  body.send(post_text("/v1/completions", "{\"prompt\":").substr(0, 120) + " ");
  EXPECT_TRUE(body.read_to_end());
  SocketClient dripping(port());
  dripping.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n");
  for (int i = 0; i < 12 && dripping.send("x"); ++i) std::this_thread::sleep_for(milliseconds(40));
  EXPECT_TRUE(dripping.read_to_end());
  EXPECT_NE(dripping.received.find("408"), std::string::npos)
      << "a byte now and then does not keep a body alive";
  SocketClient idle(port());
  idle.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(idle.read_until("200 OK"));
  EXPECT_TRUE(idle.read_to_end(2));
}

TEST_F(ServerTest, oversized_and_broken_requests_are_refused) {
  ServerOptions options;
  options.limits.header_bytes = 4096;
  options.limits.header_count = 20;
  options.limits.body_bytes = 10000;
  start(options);
  const auto status_of = [&](const std::string& bytes) {
    SocketClient client(port());
    client.send(bytes);
    EXPECT_TRUE(client.read_to_end()) << bytes.substr(0, 100);
    return client.received.substr(0, 12);
  };
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nX: " + std::string(5000, 'a') + "\r\n\r\n"), "HTTP/1.1 431");
  std::string many = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 30; ++i) many += "X" + std::to_string(i) + ": a\r\n";
  EXPECT_EQ(status_of(many + "\r\n"), "HTTP/1.1 431");
  EXPECT_EQ(status_of(post_text("/v1/completions", std::string(10001, ' '))), "HTTP/1.1 413");
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"), "HTTP/1.1 400");
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), "HTTP/1.1 400");
  EXPECT_EQ(
      status_of(std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) + std::string(200, 'x')),
      "HTTP/1.1 400")
      << "a TLS client hello";
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost : x\r\n\r\n"), "HTTP/1.1 400");
  EXPECT_EQ(get("/health").substr(0, 12), "HTTP/1.1 200");
}

TEST_F(ServerTest, a_disconnect_cancels_the_request_streaming_or_not) {
  mood_.delay_us = 1000;
  start();
  int gone = 0;
  for (const char* stream : {"true", "false"}) {
    SocketClient client(port());
    client.send(post_text(
        "/v1/completions",
        std::string(R"({"prompt":"x","max_tokens":500000,"ignore_eos":true,"stream":)") + stream + "}"));
    ASSERT_TRUE(metric_becomes("vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 1.0"));
    client.close();
    EXPECT_TRUE(aborted_become(++gone)) << stream;
    EXPECT_TRUE(metric_becomes("vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 0.0"));
  }
}

TEST_F(ServerTest, one_clients_disconnect_leaves_the_others_alone) {
  mood_.delay_us = 500;
  start();
  SocketClient staying(port());
  staying.send(post_text("/v1/completions", R"({"prompt":"x","max_tokens":300,"stream":true})"));
  for (int i = 0; i < 10; ++i) {
    SocketClient leaving(port());
    leaving.send(post_text("/v1/completions", R"({"prompt":"x","max_tokens":100000,"stream":true})"));
    leaving.read_until("data: ");
  }
  ASSERT_TRUE(staying.read_until("[DONE]"));
  size_t letters = 0;
  for (size_t at = 0; (at = staying.received.find("\"text\":\"a\"", at)) != std::string::npos; ++at)
    ++letters;
  EXPECT_EQ(letters, 300u);
  EXPECT_TRUE(aborted_become(10));
}

const std::string kEndless =
    post_text("/v1/completions", R"({"prompt":"x","max_tokens":900000,"ignore_eos":true,"stream":true})");

TEST_F(ServerTest, a_client_that_does_not_read_is_cut_off) {
  ServerOptions options;
  options.limits.write_queue_bytes = 256 << 10;
  start(options);
  SocketClient client(port(), 4096);
  client.send(kEndless);
  EXPECT_TRUE(aborted_become(1));
}

TEST_F(ServerTest, an_answer_that_nobody_takes_is_given_up_after_the_write_timeout) {
  ServerOptions options;
  options.limits.write_timeout = Seconds(0.3);
  options.limits.write_queue_bytes = size_t{1} << 30;
  start(options);
  SocketClient client(port(), 4096);
  client.send(kEndless);
  EXPECT_TRUE(aborted_become(1));
}

TEST_F(ServerTest, three_hundred_streams_at_once_all_come_to_their_end) {
  start();
  std::vector<std::unique_ptr<SocketClient>> clients;
  for (int i = 0; i < 300; ++i) clients.push_back(std::make_unique<SocketClient>(port()));
  for (auto& client : clients) {
    ASSERT_TRUE(client->connected());
    client->send(post_text("/v1/completions", R"({"prompt":"x","max_tokens":5,"stream":true})"));
  }
  for (auto& client : clients) EXPECT_TRUE(client->read_until("[DONE]", 20));
}

TEST_F(ServerTest, too_many_connections_are_turned_away_and_places_come_free) {
  ServerOptions options;
  options.limits.connections = 2;
  start(options);
  {
    SocketClient one(port()), two(port());
    for (SocketClient* client : {&one, &two}) {
      client->send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
      ASSERT_TRUE(client->read_until("200 OK"));
    }
    SocketClient three(port());
    EXPECT_TRUE(three.read_to_end());
    EXPECT_EQ(three.received, "");
  }
  const auto deadline = Clock::now() + std::chrono::seconds(5);
  while (get("/health").empty() && Clock::now() < deadline) {
  }
  EXPECT_NE(get("/health"), "");
}

TEST_F(ServerTest, a_taken_port_is_found_at_bind) {
  start();
  ServerOptions options;
  options.host = "127.0.0.1";
  options.port = port();
  options.served_model_names = {"m"};
  Server second(options);
  EXPECT_THROW(second.bind(), StartupError);
}

TEST_F(ServerTest, before_start_clients_are_refused) {
  ServerOptions options;
  options.host = "127.0.0.1";
  options.port = 0;
  options.served_model_names = {"m"};
  Server server(options);
  server.bind();
  EXPECT_FALSE(SocketClient(server.port()).connected());
}

TEST_F(ServerTest, shutdown_lets_running_requests_end_and_accepts_no_more) {
  mood_.delay_us = 2000;
  start();
  SocketClient idle(port());
  idle.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(idle.read_until("200 OK"));
  SocketClient running(port());
  running.send(post_text("/v1/completions", R"({"prompt":"x","max_tokens":100,"stream":true})"));
  ASSERT_TRUE(running.read_until("data: "));
  const uint16_t old_port = port();
  server_->shutdown(Seconds(20));
  EXPECT_TRUE(idle.read_to_end(5));
  EXPECT_TRUE(running.read_until("[DONE]"));
  running.close();  // else the server waits two seconds for it
  running_.join();
  EXPECT_EQ(exit_code_, 0);
  EXPECT_FALSE(SocketClient(old_port).connected());
}

TEST_F(ServerTest, shutdown_ends_what_outlives_its_deadline) {
  mood_.delay_us = 2000;
  start();
  SocketClient client(port());
  client.send(post_text("/v1/completions", R"({"prompt":"x","max_tokens":500000,"stream":true})"));
  ASSERT_TRUE(client.read_until("data: "));
  const auto begin = Clock::now();
  server_->shutdown(Seconds(0.2));
  running_.join();
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(3));
  EXPECT_EQ(exit_code_, 0);
  EXPECT_TRUE(client.read_to_end(5));
}

// What clients see of a device's end, however it came: 503 first, then each stream's error event, one line
// for newcomers, exit code 1.
void ServerTest::expect_farewell(const std::string& error) {
  SocketClient streaming(port()), waiting(port());
  streaming.send(post_text("/v1/completions", R"({"prompt":"x","max_tokens":900000,"stream":true})"));
  ASSERT_TRUE(streaming.read_until("data: "));
  waiting.send(post_text("/v1/completions", R"({"prompt":"x","max_tokens":900000})"));
  ASSERT_TRUE(metric_becomes("vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 2.0"));
  (device_timeout_.count() > 0 ? mood_.silent : mood_.broken) = true;
  ASSERT_TRUE(streaming.read_until("data: {\"error\": {\"message\": \"" + error + "\""));
  EXPECT_TRUE(streaming.read_until("data: [DONE]\n\n\r\n0\r\n\r\n"));
  EXPECT_TRUE(waiting.read_until("{\"error\":{\"message\":\"" + error + "\""));
  EXPECT_NE(waiting.received.find("HTTP/1.1 500 "), std::string::npos);
  EXPECT_EQ(get("/health").substr(0, 12), "HTTP/1.1 503");
  SocketClient late(port());
  late.send(post_text("/v1/completions", R"({"prompt":"x","max_tokens":1})"));
  EXPECT_TRUE(late.read_until(error)) << late.received;
  running_.join();
  EXPECT_EQ(exit_code_, 1);
  EXPECT_FALSE(SocketClient(port()).connected());
}

TEST_F(ServerTest, a_failed_device_tells_everybody_before_the_server_ends_with_code_1) {
  mood_.delay_us = 500;
  start();
  expect_farewell("the device failed: an illegal memory access was encountered");
}

TEST_F(ServerTest, a_silent_device_tells_everybody_before_the_server_ends_with_code_1) {
  mood_.delay_us = 500;
  device_timeout_ = milliseconds(250);
  start();
  expect_farewell("the device failed: it has not answered for 0.25 s");
}

TEST_F(ServerTest, random_bytes_never_hurt) {
  start();
  uint32_t state = 12345;
  const auto next = [&] { return state = state * 1664525 + 1013904223; };
  const std::string good = post_text("/v1/completions", R"({"prompt":"x","max_tokens":1})");
  for (int i = 0; i < 150; ++i) {
    std::string bytes = good;
    for (int k = 0; k < 4; ++k) bytes[next() % bytes.size()] = static_cast<char>(next() >> 24);
    SocketClient client(port());
    client.send(bytes);
    if (i % 3 == 0) client.read_until("HTTP/1.1", 0.01);
  }
  EXPECT_EQ(get("/health").substr(0, 12), "HTTP/1.1 200");
}

}  // namespace
}  // namespace outrider::server
