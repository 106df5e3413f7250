#include "server/routes.h"

#include <gtest/gtest.h>

#include "server/harness.h"
#include "server/json_text.h"

namespace outrider::server {
namespace {

std::string header_of(const FakeResponder& reply, const std::string& name) {
  for (const auto& [key, value] : reply.response.headers) {
    if (key == name) return value;
  }
  return {};
}

TEST(Routes, health_tells_whether_the_engine_lives) {
  Harness harness;
  EXPECT_EQ(harness.call("GET", "/health")->response.status, 200);
  EXPECT_EQ(harness.call("POST", "/ping")->response.body, "");
  harness.engine->is_alive = false;
  EXPECT_EQ(harness.call("GET", "/health")->response.status, 503);
  EXPECT_EQ(harness.call("GET", "/ping")->response.status, 503);
}

TEST(Routes, version_and_load_have_vllms_keys) {
  Harness harness;
  EXPECT_EQ(harness.call("GET", "/version")->response.body, R"({"version":"0.1.0"})");
  EXPECT_EQ(harness.call("GET", "/load")->response.body, R"({"server_load":0})");
}

TEST(Routes, models_lists_every_served_name) {
  Harness harness;
  const auto reply = harness.call("GET", "/v1/models");
  const Json body = Json::parse(reply->response.body);
  ASSERT_EQ(body["data"].size(), 2u);
  EXPECT_EQ(body["data"][1]["id"], "alias");
  EXPECT_EQ(body["data"][0]["root"], "/models/m");
  EXPECT_EQ(body["data"][0]["max_model_len"], 100);
  const std::string text = with_fixed_time(reply->response.body);
  EXPECT_EQ(
      text.substr(0, 155),
      R"({"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"vllm","root":"/models/m",)"
      R"("parent":null,"max_model_len":100,"permission":[{"id":)");
}

TEST(Routes, unknown_paths_and_methods_have_fastapis_bodies) {
  Harness harness;
  const auto unknown = harness.call("GET", "/v1/models/m");
  EXPECT_EQ(unknown->response.status, 404);
  EXPECT_EQ(unknown->response.body, R"({"detail":"Not Found"})");
  const auto wrong = harness.call("GET", "/v1/completions");
  EXPECT_EQ(wrong->response.status, 405);
  EXPECT_EQ(wrong->response.body, R"({"detail":"Method Not Allowed"})");
  EXPECT_EQ(header_of(*wrong, "allow"), "POST");
  EXPECT_EQ(harness.call("BREW", "/health")->response.status, 405);
  EXPECT_EQ(harness.call("GET", "/reset_prefix_cache")->response.status, 404) << "dev mode is off";
}

TEST(Routes, a_trailing_slash_redirects) {
  Harness harness;
  const auto reply = harness.call("GET", "/v1/models/?a=b");
  EXPECT_EQ(reply->response.status, 307);
  EXPECT_EQ(header_of(*reply, "location"), "/v1/models?a=b");
  EXPECT_EQ(harness.call("GET", "/metrics/")->response.status, 200);
  EXPECT_EQ(harness.call("GET", "//evil.example/")->response.status, 404);
}

TEST(Routes, the_page_is_served_at_the_root_and_left_out_on_demand) {
  Harness harness;
  EXPECT_EQ(header_of(*harness.call("GET", "/"), "cache-control"), "no-cache");
  EXPECT_EQ(harness.call("GET", "/web/index.html")->response.body, harness.call("GET", "/")->response.body);
  EXPECT_EQ(harness.call("GET", "/web/other")->response.status, 404);
  harness.service.options.root_path = "/llm";
  EXPECT_EQ(header_of(*harness.call("GET", "/llm"), "location"), "/llm/");
  EXPECT_EQ(harness.call("GET", "/llm/")->response.status, 200);
  harness.service.options.web_page = false;
  for (const char* path : {"/", "/llm", "/llm/", "/web/index.html", "/web/server.json", "/web/metrics"})
    EXPECT_EQ(harness.call("GET", path)->response.status, 404) << path;
}

TEST(Routes, keys_guard_the_v1_paths_only) {
  Harness harness;
  harness.service.options.api_keys = {"secret", "other"};
  const auto status = [&](const std::string& path, Headers headers) {
    return harness.call("GET", path, "", std::move(headers))->response.status;
  };
  EXPECT_EQ(status("/v1/models", {}), 401);
  EXPECT_EQ(harness.call("GET", "/v1/models")->response.body, R"({"error":"Unauthorized"})");
  for (const char* wrong :
       {"Bearer", "Bearer ", "Bearer secre", "Bearer secrets", "secret", "Basic secret", "Bearer  secret"}) {
    EXPECT_EQ(status("/v1/models", {{"authorization", wrong}}), 401) << wrong;
  }
  EXPECT_EQ(status("/v1/models", {{"authorization", "Bearer secret"}}), 200);
  EXPECT_EQ(status("/v1/models", {{"authorization", "bearer other"}}), 200);
  EXPECT_EQ(status("/v1/nothing", {}), 401);
  EXPECT_EQ(status("/health", {}), 200);
  EXPECT_EQ(status("/metrics", {}), 200);
}

TEST(Routes, without_keys_any_authorization_is_fine) {
  Harness harness;
  for (const char* value : {"Bearer ", "Bearer None", "x"}) {
    EXPECT_EQ(harness.call("GET", "/v1/models", "", {{"authorization", value}})->response.status, 200);
  }
}

TEST(Routes, the_root_path_is_taken_off_before_the_key_check) {
  Harness harness;
  harness.service.options.root_path = "/proxy";
  harness.service.options.api_keys = {"k"};
  EXPECT_EQ(harness.call("GET", "/proxy/health")->response.status, 200);
  EXPECT_EQ(harness.call("GET", "/proxy/v1/models")->response.status, 401);
}

TEST(Routes, cross_origin_requests_get_the_headers_that_browsers_need) {
  Harness harness;
  const auto simple = harness.call("GET", "/v1/models", "", {{"origin", "http://a"}});
  EXPECT_EQ(header_of(*simple, "access-control-allow-origin"), "*");
  EXPECT_EQ(header_of(*harness.call("GET", "/v1/models"), "access-control-allow-origin"), "");
  harness.service.options.api_keys = {"k"};
  const auto preflight = harness.call("OPTIONS", "/v1/completions", "",
                                      {{"origin", "http://a"},
                                       {"access-control-request-method", "POST"},
                                       {"access-control-request-headers", "content-type"}});
  EXPECT_EQ(preflight->response.status, 200);
  EXPECT_EQ(header_of(*preflight, "access-control-allow-headers"), "content-type");
  harness.service.options.cors.origins = {"http://b"};
  const auto refused = harness.call("OPTIONS", "/v1/completions", "",
                                    {{"origin", "http://a"}, {"access-control-request-method", "POST"}});
  EXPECT_EQ(refused->response.status, 400);
  EXPECT_EQ(refused->response.body, "Disallowed CORS origin");
  EXPECT_EQ(
      header_of(*harness.call("GET", "/health", "", {{"origin", "http://b"}}), "access-control-allow-origin"),
      "http://b");
}

TEST(Routes, request_id_headers_are_echoed_when_enabled) {
  Harness harness;
  EXPECT_EQ(header_of(*harness.call("GET", "/health", "", {{"x-request-id", "r"}}), "x-request-id"), "");
  harness.service.options.enable_request_id_headers = true;
  EXPECT_EQ(header_of(*harness.call("GET", "/health", "", {{"x-request-id", "r\r\nx: y"}}), "x-request-id"),
            "rx: y");
  EXPECT_EQ(header_of(*harness.call("GET", "/health"), "x-request-id").size(), 32u);
}

TEST(Routes, tokenize_and_detokenize_are_inverse) {
  Harness harness;
  const Json plain =
      Json::parse(harness.body_of("/tokenize", R"({"prompt":"Hello","add_special_tokens":false})"));
  const Json special =
      Json::parse(harness.body_of("/tokenize", R"({"prompt":"Hello","return_token_strs":true})"));
  EXPECT_EQ(plain["count"].get<int>() + 1, special["count"].get<int>());
  EXPECT_EQ(special["tokens"][0], 4064);
  EXPECT_EQ(special["token_strs"][0], "<|begin_of_text|>");
  EXPECT_TRUE(plain["token_strs"].is_null());
  EXPECT_EQ(harness.body_of("/detokenize", R"({"tokens":)" + plain["tokens"].dump() + "}"),
            R"({"prompt":"Hello"})");
  EXPECT_EQ(harness.body_of("/tokenize", R"({"prompt":"","add_special_tokens":false})"),
            R"({"count":0,"max_model_len":100,"tokens":[],"token_strs":null})");
  const Json chat =
      Json::parse(harness.body_of("/tokenize", R"({"messages":[{"role":"user","content":"Hello"}]})"));
  EXPECT_GT(chat["count"], plain["count"]);
  EXPECT_EQ(harness.message_of("/tokenize", "{}"),
            "[{'type': 'missing', 'loc': ('body', 'prompt'), 'msg': 'Field required', 'input': {}}]");
}

TEST(Routes, routes_of_other_model_kinds_are_refused) {
  Harness harness;
  EXPECT_EQ(harness.message_of("/v1/embeddings", "{}"), "The model does not support Embeddings API");
  for (const char* path : {"/pooling", "/classify", "/score", "/v1/score", "/rerank", "/v1/rerank",
                           "/v2/rerank", "/v1/audio/transcriptions", "/v1/audio/translations"}) {
    EXPECT_EQ(harness.post(path, "{}")->response.status, 400) << path;
  }
}

TEST(Routes, invocations_go_by_the_bodys_shape) {
  Harness harness;
  harness.say("a");
  EXPECT_NE(harness.body_of("/invocations", R"({"prompt":"x"})").find("text_completion"), std::string::npos);
  EXPECT_NE(harness.body_of("/invocations", R"({"messages":[{"role":"user","content":"x"}]})")
                .find("chat.completion"),
            std::string::npos);
  EXPECT_EQ(harness.post("/invocations", "[")->response.status, 400);
}

TEST(Routes, dev_mode_resets_the_prefix_cache) {
  Harness harness;
  harness.service.options.dev_mode = true;
  EXPECT_EQ(harness.post("/reset_prefix_cache", "")->response.status, 200);
  EXPECT_EQ(harness.engine->prefix_resets, 1);
  EXPECT_EQ(harness.call("GET", "/is_sleeping")->response.body, R"({"is_sleeping":false})");
}

}  // namespace
}  // namespace outrider::server
