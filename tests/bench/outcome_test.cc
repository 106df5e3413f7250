#include "bench/outcome.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/error.h"
#include "client/http_client.h"
#include "client/reply.h"

namespace outrider::bench {
namespace {

using testing::ElementsAre;
using testing::StartsWith;

std::vector<std::string> events_of(std::string_view stream, const std::vector<size_t>& cuts) {
  std::vector<std::string> events;
  const auto sink = [&](std::string_view data) { events.emplace_back(data); };
  client::SseParser parser;
  size_t begin = 0;
  for (const size_t cut : cuts) {
    EXPECT_TRUE(parser.push(stream.substr(begin, cut - begin), sink));
    begin = cut;
  }
  EXPECT_TRUE(parser.push(stream.substr(begin), sink));
  parser.finish(sink);
  return events;
}

TEST(Sse, EventsDoNotDependOnWhereReadsEnd) {
  const std::string stream =
      ": ping\n\ndata: {\"t\": \"漢字 🚀\"}\r\n\r\nevent: x\ndata:two\ndata: lines\n\n\n\nid: 4\rdata: "
      "é\r\rdata: last";
  const std::vector<std::string> wanted = {"{\"t\": \"漢字 🚀\"}", "two\nlines", "é", "last"};
  EXPECT_EQ(events_of(stream, {}), wanted);
  for (size_t cut = 0; cut <= stream.size(); ++cut) EXPECT_EQ(events_of(stream, {cut}), wanted) << cut;
  std::vector<size_t> all(stream.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = i;
  EXPECT_EQ(events_of(stream, all), wanted);
}

TEST(Sse, AnEndlessEventIsNotKept) {
  client::SseParser parser;
  const std::string piece(1 << 20, 'x');
  const auto sink = [](std::string_view) {};
  bool taken = parser.push("data: ", sink);
  for (int i = 0; i < 40 && taken; ++i) taken = parser.push(piece, sink);
  EXPECT_FALSE(taken);
}

class Answer {
 public:
  explicit Answer(bool chat = false) : start_(Clock::now()), reader_(outcome_, chat, start_) {}
  // `seconds` after the request was sent.
  Answer& at(double seconds, const std::string& data) {
    reader_.push("data: " + data + "\n\n",
                 start_ + std::chrono::microseconds(static_cast<int64_t>(seconds * 1e6)));
    return *this;
  }
  const Outcome& end() {
    reader_.finish();
    return outcome_;
  }

 private:
  Outcome outcome_;
  Clock::time_point start_;
  AnswerReader reader_;
};

TEST(Outcome, ACompletionsTimesAndTextAreThoseOfItsEvents) {
  Answer answer;
  answer.at(0.5, R"({"choices":[{"text":"a","finish_reason":null}]})")
      .at(0.75, R"({"choices":[{"text":"","finish_reason":null}]})")
      .at(1.0, R"({"choices":[{"text":"\u00e9","finish_reason":"length"}],"usage":null})")
      .at(2.0, R"({"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":7}})")
      .at(2.0, "[DONE]");
  const Outcome& outcome = answer.end();
  EXPECT_TRUE(outcome.success) << outcome.error;
  EXPECT_NEAR(outcome.ttft, 0.5, 1e-6);
  EXPECT_NEAR(outcome.latency, 1.0, 1e-6);
  ASSERT_EQ(outcome.itl.size(), 2u);
  EXPECT_NEAR(outcome.itl[0], 0.25, 1e-6);
  EXPECT_EQ(outcome.text, "aé");
  EXPECT_EQ(outcome.usage_tokens, 7);
}

TEST(Outcome, AChatsRoleIsNoToken) {
  Answer answer(/*chat=*/true);
  answer.at(0.1, R"({"choices":[{"delta":{"role":"assistant","content":""}}]})")
      .at(0.4, R"({"choices":[{"delta":{"content":"Hi"}}]})")
      .at(0.5, R"({"choices":[{"delta":{},"finish_reason":"stop"}]})");
  const Outcome& outcome = answer.end();
  EXPECT_TRUE(outcome.success) << outcome.error;
  EXPECT_NEAR(outcome.ttft, 0.4, 1e-6);
  EXPECT_EQ(outcome.text, "Hi");
}

TEST(Outcome, AnErrorInTheStreamIsAFailureWhateverCameBefore) {
  Answer answer;
  answer.at(0.1, R"({"choices":[{"text":"a","finish_reason":null}]})")
      .at(0.2, R"({"error":{"message":"engine died","code":500}})")
      .at(0.3, "[DONE]");
  const Outcome& outcome = answer.end();
  EXPECT_FALSE(outcome.success);
  EXPECT_EQ(outcome.error_kind, "error in the stream");
  EXPECT_EQ(outcome.error, "error in the stream: engine died");
}

TEST(Outcome, BrokenAnswersFailByKind) {
  const auto kind = [](const std::vector<std::string>& events) {
    Answer answer;
    for (const std::string& event : events) answer.at(0.1, event);
    return answer.end().error_kind;
  };
  const std::string token = R"({"choices":[{"text":"a"}]})";
  EXPECT_EQ(kind({}), "no token in the answer");
  EXPECT_EQ(kind({"[DONE]"}), "no token in the answer");
  EXPECT_EQ(kind({token}), "stream ended too early");
  EXPECT_EQ(kind({token, "{\"choices\": ["}), "no JSON in the stream");
  EXPECT_EQ(kind({"7"}), "no JSON in the stream");
  EXPECT_EQ(kind({R"({"object":"error","message":"old"})"}), "error in the stream");
  EXPECT_EQ(kind({token, "[DONE]"}), "");
  EXPECT_EQ(kind({R"({"choices":[7]})", "[DONE]"}), "");
  EXPECT_EQ(kind({R"({"choices":7,"usage":{"completion_tokens":-3}})", "[DONE]"}), "no token in the answer");
}

TEST(Outcome, RandomBytesDoNoHarm) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    Outcome outcome;
    AnswerReader reader(outcome, round % 2 == 0, Clock::now());
    std::string bytes =
        "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"text\":\"y\",\"finish_reason\":\"stop\"}]}\n\n";
    for (int i = 0; i < 4; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    reader.push(bytes, Clock::now());
    reader.finish();
    EXPECT_NE(outcome.success, !outcome.error_kind.empty());
  }
}

TEST(Outcome, ErrorBodiesAreShownShort) {
  EXPECT_EQ(client::error_message(R"({"error":{"message":"too many"}})"), "too many");
  EXPECT_EQ(client::error_message(R"({"object":"error","message":"old"})"), "old");
  EXPECT_EQ(client::error_message(R"({"error":"text"})"), "text");
  EXPECT_EQ(client::error_message("<html>\nno\xff"), "<html> no\xEF\xBF\xBD");
  EXPECT_LT(client::error_message(std::string(9999, 'x')).size(), 400u);
}

TEST(Url, PartsAreFoundAndNonsenseIsRefused) {
  const auto parts = [](const std::string& text) {
    const net::Url url = client::parse_url(text, "--url");
    return std::vector<std::string>{url.tls ? "tls" : "plain", url.host, url.port, url.target};
  };
  EXPECT_THAT(parts("http://a:81/b/c"), ElementsAre("plain", "a", "81", "/b/c"));
  EXPECT_THAT(parts("https://host.example"), ElementsAre("tls", "host.example", "443", ""));
  EXPECT_THAT(parts("http://[::1]:9/x"), ElementsAre("plain", "::1", "9", "/x"));
  for (const char* text :
       {"localhost:80", "http://", "http://a:b", "http://user@a", "http://a\r\nX: y", "ftp://a"}) {
    EXPECT_THROW(client::parse_url(text, "--url"), UsageError) << text;
  }
}

}  // namespace
}  // namespace outrider::bench
