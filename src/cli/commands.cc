#include "cli/commands.h"

#include <cstdio>
#include <exception>

#include "base/error.h"
#include "checkpoint/load.h"
#include "cli/answer_help.h"
#include "cli/bench.h"
#include "cli/collect_env.h"
#include "cli/download.h"
#include "cli/model_location.h"
#include "cli/serve.h"
#include "client/talk.h"
#include "config/client_options.h"
#include "config/nearest.h"

namespace outrider::cli {
namespace {

using Words = std::vector<std::string>;

int inspect(const Words& arguments, const config::Environment&) {
  if (arguments.size() != 1 || arguments[0].rfind("-", 0) == 0)
    throw UsageError("usage: outrider inspect FOLDER");
  const ModelSearch search = plain_search({.tokenizer = false}, hub::Policy::kCacheOnly);
  const ModelLocation location = locate_model(arguments[0], search);
  std::string report;
  const int status = checkpoint::inspect(location.folder.string(), report);
  std::fputs(report.c_str(), stdout);
  return status;
}

int report_environment(const Words&, const config::Environment& environment) {
  std::fputs(collect_env(environment).c_str(), stdout);
  return 0;
}

template <bool kChat>
int talk(const Words& arguments, const config::Environment& environment) {
  const config::ClientOptions options = config::parse_client(kChat, arguments, environment);
  return answer_help(options, config::client_table(kChat)) ? 0 : client::talk(options);
}

struct Command {
  const char* name;
  int (*run)(const Words&, const config::Environment&);  // null: not built yet
  const char* help;
};

constexpr Command kCommands[] = {
    {"serve", serve, "serve a model over OpenAI's HTTP API"},
    {"download", download, "fetch a model from the Hugging Face hub into its cache"},
    {"inspect", inspect, "list a checkpoint's tensors, scales and memory plan without loading it"},
    {"collect-env", report_environment, "what a bug report should say about this machine"},
    {"bench", bench, "measure: outrider bench serve, latency, throughput, sweep"},
    {"chat", talk<true>, "talk to a server"},
    {"complete", talk<false>, "have a server complete text"},
    {"run-batch", nullptr, "answer a file of requests (not built yet)"},
};

void print_help() {
  std::puts("usage: outrider [-h] [-v] COMMAND ...\n\nServes Llama 4. Commands:");
  for (const Command& command : kCommands) std::printf("  %-12s %s\n", command.name, command.help);
  std::puts("\n`outrider serve` without a model serves Pocket Scout. Options: outrider serve --help");
}

int dispatch(const Words& words) {
  if (words.empty() || words[0] == "--help" || words[0] == "-h") {
    print_help();
    return 0;
  }
  if (words[0] == "--version" || words[0] == "-v") {
    std::puts(OUTRIDER_VERSION);
    return 0;
  }
  Words names;
  for (const Command& command : kCommands) {
    if (words[0] != command.name) {
      names.push_back(command.name);
      continue;
    }
    if (command.run == nullptr) throw UsageError(words[0] + " is not built yet");
    return command.run({words.begin() + 1, words.end()}, config::process_environment());
  }
  if (words[0].rfind("-", 0) == 0)
    throw UsageError("unrecognized arguments: " + words[0] + "; see outrider --help");
  const std::string nearest = config::nearest_name(words[0], names);
  throw UsageError("invalid command: " + words[0] +
                   (nearest.empty() ? "; see outrider --help" : " (did you mean " + nearest + "?)"));
}

// One line, whatever the values in it hold.
void print_error(const std::string& message) {
  std::string line = "outrider: error: " + message;
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  std::fflush(stdout);
  std::fprintf(stderr, "%s\n", line.c_str());
}

}  // namespace

int run_command(const Words& words) {
  try {
    return dispatch(words);
  } catch (const StartupError& error) {
    print_error(error.what());
    return error.exit_code();
  } catch (const std::bad_alloc&) {
    print_error("out of memory");
  } catch (const std::exception& error) {
    print_error(error.what());
  }
  return 1;
}

}  // namespace outrider::cli
