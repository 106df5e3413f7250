// Bytes as the body of each POST route, through parsing, validation, rendering and tokenising, up to the
// engine.
#include <memory>

#include "base/log.h"
#include "server/json_text.h"
#include "server/router.h"

namespace {

using namespace outrider;

// Accepts and says nothing.
class SilentEngine : public server::EngineClient {
 public:
  engine::RequestId submit(engine::Request request) override {
    if (request.prompt.empty() || request.params->max_tokens < 1) __builtin_trap();
    for (const int32_t id : request.prompt) {
      if (id < 0 || id >= 260) __builtin_trap();
    }
    return 1;
  }
  void cancel(engine::RequestId, bool) override {}
  bool alive() const override { return true; }
  void reset_prefix_cache() override {}
};

class CheckingResponder : public server::Responder {
 public:
  void send(server::HttpResponse response) override {
    if (response.status == 500 || !server::Json::accept(response.body)) __builtin_trap();
  }
  void start_stream(server::HttpResponse) override {}
  void write(std::string) override {}
  void finish() override {}
  void on_disconnect(std::function<void()>) override {}
  void post(std::function<void()> task) override { task(); }
  void offload(size_t, std::function<void()> work, std::function<void()> then) override {
    work();
    then();
  }
};

// Byte-level, without merges: 256 bytes and a few specials.
std::string tokenizer_json() {
  server::Json vocab = server::Json::object();
  int next = 0;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int code = printable ? byte : 256 + next++;
    std::string text;
    if (code < 0x80) {
      text += static_cast<char>(code);
    } else {
      text += static_cast<char>(0xC0 | (code >> 6));
      text += static_cast<char>(0x80 | (code & 0x3F));
    }
    vocab[text] = byte;
  }
  server::Json added = server::Json::array();
  int id = 256;
  for (const char* special : {"<|begin_of_text|>", "<|eot|>", "<|header_start|>", "<|header_end|>"}) {
    added.push_back({{"id", id++},
                     {"content", special},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  return server::Json{{"version", "1.0"},
                      {"added_tokens", added},
                      {"normalizer", nullptr},
                      {"pre_tokenizer",
                       {{"type", "Sequence"},
                        {"pretokenizers",
                         {{{"type", "Split"},
                           {"pattern", {{"Regex", "\\p{L}+|\\p{N}|[^\\p{L}\\p{N}]+"}}},
                           {"behavior", "Isolated"},
                           {"invert", false}},
                          {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", false}}}}}},
                      {"post_processor", nullptr},
                      {"decoder", {{"type", "ByteLevel"}}},
                      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", server::Json::array()}}}}
      .dump();
}

struct FuzzService : server::Service {
  FuzzService() {
    log::Options quiet;
    quiet.level = log::Level::kError;
    log::configure(quiet);
    options.served_model_names = {"m"};
    options.max_model_len = 200;
    options.vocab_size = 260;
    options.access_log = false;
    options.enable_auto_tool_choice = true;
    options.tool_format = chat::ToolFormat::kPythonic;
    tokenizer = tokenizer::Tokenizer::parse(tokenizer_json(), "fuzz");
    metrics = std::make_shared<server::Metrics>(options);
    engine = std::make_shared<SilentEngine>();
  }
};

server::Service& service() {
  static FuzzService instance;
  return instance;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  server::Router router(service());
  for (const char* path :
       {"/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize", "/invocations"}) {
    server::HttpRequest request;
    request.method = "POST";
    request.target = path;
    request.headers = {{"content-type", "application/json"}};
    request.body.assign(reinterpret_cast<const char*>(data), size);
    router.handle(std::move(request), std::make_shared<CheckingResponder>());
  }
  return 0;
}
