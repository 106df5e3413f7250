// Data sets that are read from files.
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/utf8.h"
#include "bench/dataset.h"
#include "chat/llama4_chat.h"

namespace outrider::bench {
namespace {

using nlohmann::json;

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  std::error_code error;
  if (!file || std::filesystem::is_directory(path, error)) {
    throw StartupError("argument --dataset-path: cannot read " + path);
  }
  return text;
}

std::vector<std::string> lines_of(const std::string& text, bool keep_end) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin + (keep_end && end < text.size() ? 1 : 0)));
    begin = end + 1;
  }
  return lines;
}

int64_t count_tokens(const tokenizer::Tokenizer& tokenizer, const std::string& text) {
  return static_cast<int64_t>(tokenizer.encode(text, true).size());
}

std::string as_chat(const std::string& prompt) {
  const chat::Json messages = {{{"role", "user"}, {"content", prompt}}};
  return chat::render(messages, nullptr, {});
}

// Repeats requests, drawn by chance, until there are as many as were asked for.
void oversample(const config::DatasetOptions& options, uint64_t seed, std::vector<SampleRequest>& requests) {
  if (options.no_oversample || requests.empty()) return;
  PythonRandom random(seed);
  const size_t num_own = requests.size();
  while (requests.size() < static_cast<size_t>(options.num_prompts)) {
    SampleRequest again = requests[random.choice(num_own)];
    again.request_id = options.request_id_prefix + std::to_string(requests.size());
    requests.push_back(std::move(again));
  }
}

struct Conversation {
  std::string prompt, answer;
};

// Keeps of each entry what is used: the file has two thirds of a gigabyte.
std::vector<Conversation> read_conversations(const std::string& path) {
  const auto keep = [](int depth, json::parse_event_t event, json& value) {
    if (event != json::parse_event_t::key) return true;
    return (depth == 2 && value == "conversations") || (depth == 4 && value == "value");
  };
  const json file = json::parse(read_file(path), keep, /*allow_exceptions=*/false);
  if (!file.is_array()) throw StartupError(path + ": expected a JSON list of conversations");
  std::vector<Conversation> found;
  for (const json& entry : file) {
    const auto turns = entry.is_object() ? entry.find("conversations") : entry.end();
    if (!entry.is_object() || turns == entry.end() || !turns->is_array() || turns->size() < 2) continue;
    const auto text = [&](size_t turn) -> std::string {
      const json& value = (*turns)[turn].is_object() ? (*turns)[turn].value("value", json()) : json();
      if (!value.is_string()) throw StartupError(path + ": a turn has no \"value\" text");
      return value.get<std::string>();
    };
    found.push_back({text(0), text(1)});
  }
  return found;
}

// vLLM's bounds: no chat of a few words, none too long for a small model.
bool has_usual_length(int64_t prompt_len, int64_t output_len, bool output_is_given) {
  return prompt_len >= 4 && prompt_len <= 1024 && (output_is_given || output_len >= 4) &&
         prompt_len + output_len <= 2048;
}

std::string prompt_of_line(const config::DatasetOptions& options, const json& row, const std::string& where) {
  if (options.name == "custom") {
    if (!row.contains("prompt") || !row["prompt"].is_string())
      throw StartupError(where + ": no \"prompt\" text");
    return row["prompt"].get<std::string>();
  }
  if (!row.contains("turns") || !row["turns"].is_array() || row["turns"].empty() ||
      !row["turns"][0].is_string()) {
    throw StartupError(where + ": no \"turns\" list of texts");
  }
  return row["turns"][0].get<std::string>();
}

std::vector<std::string> split_csv_line(const std::string& line) {
  std::vector<std::string> cells(1);
  bool quoted = false;
  for (const char c : line) {
    if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      cells.emplace_back();
    } else if (c != '\r') {
      cells.back() += c;
    }
  }
  return cells;
}

int64_t parse_count(const std::string& text, const std::string& where) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  constexpr int64_t kMax = 1 << 20;
  if (error != std::errc() || end != text.data() + text.size() || value < 0 || value > kMax) {
    throw StartupError(where + ": '" + text + "' is no number of tokens");
  }
  return value;
}

struct Lengths {
  int64_t input, output;
};

// Rows of BurstGPT's CSV that GPT-4 answered.
std::vector<Lengths> read_burstgpt(const std::string& path) {
  const std::vector<std::string> lines = lines_of(read_file(path), false);
  const std::vector<std::string> names =
      lines.empty() ? std::vector<std::string>() : split_csv_line(lines[0]);
  const auto column = [&](const char* name) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) throw StartupError(path + ": no column \"" + name + "\"");
    return static_cast<size_t>(found - names.begin());
  };
  const size_t model = column("Model"), request = column("Request tokens"),
               response = column("Response tokens");
  std::vector<Lengths> rows;
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::vector<std::string> cells = split_csv_line(lines[i]);
    const std::string where = path + ":" + std::to_string(i + 1);
    if (cells.size() < names.size()) throw StartupError(where + ": too few cells");
    if (cells[model] != "GPT-4") continue;
    const Lengths row = {parse_count(cells[request], where), parse_count(cells[response], where)};
    if (row.output > 0) rows.push_back(row);
  }
  return rows;
}

}  // namespace

std::vector<SampleRequest> sharegpt_dataset(const config::DatasetOptions& options,
                                            const tokenizer::Tokenizer& tokenizer) {
  std::vector<Conversation> conversations = read_conversations(options.path);
  if (!options.disable_shuffle) PythonRandom(options.seed).shuffle(conversations);
  std::vector<SampleRequest> requests;
  for (Conversation& conversation : conversations) {
    if (requests.size() == static_cast<size_t>(options.num_prompts)) break;
    const int64_t prompt_len = count_tokens(tokenizer, conversation.prompt);
    const bool given = options.sharegpt_output_len.has_value();
    const int64_t output_len =
        given ? *options.sharegpt_output_len : count_tokens(tokenizer, conversation.answer);
    if (!has_usual_length(prompt_len, output_len, given)) continue;
    requests.push_back({std::move(conversation.prompt), prompt_len, output_len,
                        options.request_id_prefix + std::to_string(requests.size())});
  }
  oversample(options, options.seed, requests);
  return requests;
}

std::vector<SampleRequest> custom_dataset(const config::DatasetOptions& options,
                                          const tokenizer::Tokenizer& tokenizer) {
  constexpr uint64_t kSeed = 0;  // vLLM's client does not hand --seed to these two
  std::vector<std::string> prompts;
  const std::vector<std::string> lines = lines_of(read_file(options.path), false);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = options.path + ":" + std::to_string(i + 1);
    const json row = json::parse(lines[i], nullptr, /*allow_exceptions=*/false);
    if (!row.is_object()) throw StartupError(where + ": expected a JSON object on each line");
    if (options.name == "spec_bench" && !options.spec_bench_category.empty() &&
        (!row.contains("category") || row["category"] != options.spec_bench_category)) {
      continue;
    }
    prompts.push_back(prompt_of_line(options, row, where));
  }
  if (!options.disable_shuffle) PythonRandom(kSeed).shuffle(prompts);
  const bool spec_bench = options.name == "spec_bench";
  const size_t count = options.num_prompts == 0 ? prompts.size() : static_cast<size_t>(options.num_prompts);
  std::vector<SampleRequest> requests;
  for (size_t i = 0; i < std::min(count, prompts.size()); ++i) {
    SampleRequest request;
    request.prompt = options.custom_skip_chat_template && !spec_bench ? prompts[i] : as_chat(prompts[i]);
    request.prompt_len = count_tokens(tokenizer, request.prompt);
    request.output_len = spec_bench ? options.spec_bench_output_len : options.custom_output_len;
    request.request_id = options.request_id_prefix + std::to_string(i);
    requests.push_back(std::move(request));
  }
  oversample(options, kSeed, requests);
  return requests;
}

std::vector<SampleRequest> sonnet_dataset(const config::DatasetOptions& options,
                                          const tokenizer::Tokenizer& tokenizer, Generators& generators) {
  const std::vector<std::string> lines = lines_of(to_valid_utf8(read_file(options.path)), true);
  if (lines.empty()) return {};
  int64_t total = 0;
  for (const std::string& line : lines) total += count_tokens(tokenizer, line);
  const double average = static_cast<double>(total) / static_cast<double>(lines.size());

  const std::string base = "Pick as many lines as you can from these poem lines:\n";
  const int64_t base_len = count_tokens(tokenizer, as_chat(base));
  if (options.sonnet_input_len <= base_len) {
    throw UsageError("argument --sonnet-input-len: must be above the instruction's " +
                     std::to_string(base_len) + " tokens");
  }
  // Python's round(): halves go to the even neighbour.
  const auto num_lines = [&](int64_t length) {
    return std::max<int64_t>(0, std::lrint(static_cast<double>(length - base_len) / average));
  };
  const int64_t num_input = num_lines(options.sonnet_input_len);
  const int64_t num_prefix =
      std::min<int64_t>(num_lines(options.sonnet_prefix_len), static_cast<int64_t>(lines.size()));
  std::string prefix = base;
  for (int64_t i = 0; i < num_prefix; ++i) prefix += lines[static_cast<size_t>(i)];

  std::vector<SampleRequest> requests;
  constexpr int64_t kMaxTries = 1000;  // in a row: then the lines are too long to fit
  for (int64_t tries = 0; requests.size() < static_cast<size_t>(options.num_prompts); ++tries) {
    if (tries == kMaxTries) {
      throw StartupError(options.path + ": lines are too uneven for prompts within --sonnet-input-len " +
                         std::to_string(options.sonnet_input_len));
    }
    std::string prompt = prefix;
    for (int64_t i = num_prefix; i < num_input; ++i) prompt += lines[generators.python.choice(lines.size())];
    std::string formatted = as_chat(prompt);
    const int64_t prompt_len = count_tokens(tokenizer, formatted);
    if (prompt_len > options.sonnet_input_len) continue;
    requests.push_back({options.for_chat ? std::move(prompt) : std::move(formatted), prompt_len,
                        options.sonnet_output_len,
                        options.request_id_prefix + std::to_string(requests.size())});
    tries = -1;
  }
  return requests;
}

std::vector<SampleRequest> burstgpt_dataset(const config::DatasetOptions& options,
                                            const tokenizer::Tokenizer& tokenizer) {
  const std::vector<Lengths> rows = read_burstgpt(options.path);
  if (rows.empty()) return {};
  const auto count = static_cast<size_t>(options.num_prompts);
  NumpyLegacy random(static_cast<uint32_t>(options.seed));
  std::vector<int64_t> order;
  if (count <= rows.size()) {
    order = random.permutation(rows.size());
  } else {
    while (order.size() < count) order.push_back(random.integer(rows.size()));
  }
  std::vector<SampleRequest> requests;
  for (size_t i = 0; i < count; ++i) {
    const Lengths& row = rows[static_cast<size_t>(order[i])];
    std::vector<int32_t> ids(static_cast<size_t>(row.input));
    for (size_t k = 0; k < ids.size(); ++k) {
      ids[k] = static_cast<int32_t>((i + k) % static_cast<size_t>(tokenizer.encoder_size()));
    }
    requests.push_back(
        {tokenizer.decode(ids, false), row.input, row.output, options.request_id_prefix + std::to_string(i)});
  }
  return requests;
}

}  // namespace outrider::bench
