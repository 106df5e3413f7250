#include "server/tokenize.h"

#include "base/json_string.h"
#include "base/log.h"
#include "server/chat_prompt.h"
#include "server/errors.h"
#include "server/json_text.h"
#include "server/preparation.h"

namespace outrider::server {
namespace {

std::vector<int32_t> encode_request(const Service& service, const TokenizeFields& fields) {
  if (fields.messages.is_null()) {
    return service.tokenizer->encode(*fields.prompt, fields.add_special_tokens.value_or(true));
  }
  const std::string text =
      render_chat(service, {fields.messages, fields.tools, fields.documents, fields.chat_template,
                            fields.chat_template_kwargs, fields.add_generation_prompt.value_or(true),
                            fields.continue_final_message.value_or(false)});
  return service.tokenizer->encode(text, fields.add_special_tokens.value_or(false));
}

std::string tokenize(const Service& service, const HttpRequest& request) {
  const TokenizeFields fields = read_tokenize_fields(read_json_body(request, service.options.limits));
  check_model(fields.model, service.options);
  const std::vector<int32_t> ids = encode_request(service, fields);
  std::string out = "{\"count\":" + std::to_string(ids.size()) +
                    ",\"max_model_len\":" + std::to_string(service.options.max_model_len) + ",\"tokens\":";
  append_ids(out, ids);
  out += ",\"token_strs\":";
  if (!fields.return_token_strs.value_or(false)) return out + "null}";
  out += '[';
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out += ',';
    append_json_string(out, service.tokenizer->token_string(ids[i]));
  }
  return out + "]}";
}

std::string detokenize(const Service& service, const HttpRequest& request) {
  const DetokenizeFields fields = read_detokenize_fields(read_json_body(request, service.options.limits));
  check_model(fields.model, service.options);
  check_token_ids(*fields.tokens, service.options.vocab_size);
  const std::vector<int32_t> ids(fields.tokens->begin(), fields.tokens->end());
  return "{\"prompt\":" + json_string(service.tokenizer->decode(ids, false)) + "}";
}

void answer(Service& service, HttpRequest request, ResponderPtr responder,
            std::string (*make)(const Service&, const HttpRequest&)) {
  struct Work {
    HttpRequest request;
    HttpResponse response;
  };
  auto work = std::make_shared<Work>();
  work->request = std::move(request);
  const size_t bytes = work->request.body.size();
  responder->offload(
      bytes,
      [&service, work, make] {
        try {
          work->response.body = make(service, work->request);
        } catch (const RequestError& error) {
          work->response = error_response(error);
        } catch (const std::exception& error) {
          log::error(std::string("request failed: ") + error.what());
          work->response = error_response(500, "Internal Server Error", error.what());
        }
      },
      [work, responder] { responder->send(std::move(work->response)); });
}

}  // namespace

void handle_tokenize(Service& service, HttpRequest request, ResponderPtr responder) {
  answer(service, std::move(request), std::move(responder), &tokenize);
}

void handle_detokenize(Service& service, HttpRequest request, ResponderPtr responder) {
  answer(service, std::move(request), std::move(responder), &detokenize);
}

}  // namespace outrider::server
