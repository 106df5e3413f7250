#include "config/client_options.h"

#include "config/option_values.h"

namespace outrider::config {

const OptionTable& client_table(bool chat) {
  const auto table = [](bool with_system) {
    std::vector<Option> options = {
        {.name = "url",
         .kind = Kind::kString,
         .initial = "http://localhost:8000/v1",
         .common = true,
         .help = "The server's API."},
        {.name = "model-name",
         .kind = Kind::kString,
         .common = true,
         .help = "Model to ask for. Unset: the first that the server lists."},
        {.name = "api-key",
         .kind = Kind::kString,
         .common = true,
         .help = "Bearer token. Also OPENAI_API_KEY."},
        {.name = "quick",
         .kind = Kind::kString,
         .aliases = {"-q"},
         .common = true,
         .help = "Send this text, print the answer and end."},
    };
    if (with_system) {
      options.push_back({.name = "system-prompt",
                         .kind = Kind::kString,
                         .common = true,
                         .help = "What the conversation begins with."});
    }
    const HelpText text =
        with_system
            ? HelpText{"usage: outrider chat [options]\n",
                       "Talks to a server. Ctrl-C stops an answer; end of input (Ctrl-D) leaves."}
            : HelpText{"usage: outrider complete [options]\n",
                       "Has a server go on with each line. Ctrl-C stops an answer; end of input (Ctrl-D) "
                       "leaves."};
    return OptionTable(text, {{"client", "which server, and what to say", std::move(options)}});
  };
  static const OptionTable chats = table(true), completions = table(false);
  return chat ? chats : completions;
}

ClientOptions parse_client(bool chat, const std::vector<std::string>& arguments,
                           const Environment& environment) {
  const OptionValues values(client_table(chat), arguments);
  ClientOptions out;
  if (out.take(values)) return out;
  out.chat = chat;
  out.url = values.text("url");
  out.model_name = values.text("model-name");
  out.api_key = values.text("api-key");
  if (const auto key = environment.find("OPENAI_API_KEY"); out.api_key.empty() && key != environment.end())
    out.api_key = key->second;
  out.system_prompt = values.text("system-prompt");
  out.quick = values.find<std::string>("quick");
  return out;
}

}  // namespace outrider::config
