#include "server/logprobs.h"

#include <algorithm>

#include "base/json_string.h"
#include "base/python_float.h"
#include "server/json_text.h"

namespace outrider::server {
namespace {

using sampling::PositionLogprobs;
using sampling::TokenLogprob;

constexpr float kFloor = -9999.0f;  // stands for minus infinity, which JSON lacks

// One conversion for every place a value is printed: lm_eval compares the list's numbers with the map's by
// ==.
double printed(float logprob) { return logprob >= kFloor ? double{logprob} : double{kFloor}; }

// The chosen token, then the best ones by rank without it.
std::vector<TokenLogprob> merged(const PositionLogprobs& position) {
  std::vector<TokenLogprob> all = {position.chosen};
  for (const TokenLogprob& entry : position.top) {
    if (entry.token != position.chosen.token) all.push_back(entry);
  }
  return all;
}

// Tokens that are spelled alike share an entry, which keeps the likelier one's value.
void append_top_map(std::string& out, const PositionLogprobs& position, size_t top_k,
                    const TokenNames& names) {
  std::vector<std::pair<std::string, float>> entries;
  const std::vector<TokenLogprob> all = merged(position);
  for (size_t i = 0; i < all.size() && i <= top_k; ++i) {
    std::string name = names(all[i].token);
    const auto same =
        std::find_if(entries.begin(), entries.end(), [&](const auto& e) { return e.first == name; });
    if (same == entries.end()) {
      entries.emplace_back(std::move(name), all[i].logprob);
    } else {
      same->second = std::max(same->second, all[i].logprob);
    }
  }
  out += '{';
  for (size_t i = 0; i < entries.size(); ++i) {
    if (i > 0) out += ',';
    append_json_string(out, entries[i].first);
    out += ':';
    append_python_float(out, printed(entries[i].second));
  }
  out += '}';
}

void append_chat_token(std::string& out, const TokenLogprob& entry, const TokenNames& names) {
  const std::string name = names(entry.token);
  out += "{\"token\":";
  append_json_string(out, name);
  out += ",\"logprob\":";
  append_python_float(out, printed(entry.logprob));
  out += ",\"bytes\":[";
  for (size_t i = 0; i < name.size(); ++i) {
    if (i > 0) out += ',';
    out += std::to_string(static_cast<unsigned char>(name[i]));
  }
  out += ']';
}

}  // namespace

std::string TokenNames::text(int32_t id) const { return tokenizer_->decode(std::span(&id, 1), false); }

std::string TokenNames::operator()(int32_t id) const {
  return as_ids_ ? "token_id:" + std::to_string(id) : text(id);
}

void append_completion_logprobs(std::string& out, std::span<const LogprobPosition> positions, int top_k,
                                size_t first_offset, const TokenNames& names) {
  std::string offsets, values, tokens, maps;
  size_t offset = first_offset;
  const char* separator = "";
  for (const LogprobPosition& position : positions) {
    const std::string name = names(position.token);
    offsets += separator + std::to_string(offset);
    offset += count_characters(name);
    tokens += separator;
    append_json_string(tokens, name);
    values += separator;
    maps += separator;
    if (position.logprobs == nullptr) {
      values += "null";
      maps += "null";
    } else {
      append_python_float(values, printed(position.logprobs->chosen.logprob));
      append_top_map(maps, *position.logprobs, static_cast<size_t>(top_k), names);
    }
    separator = ",";
  }
  out += "{\"text_offset\":[" + offsets + "],\"token_logprobs\":[" + values + "],\"tokens\":[" + tokens +
         "],\"top_logprobs\":[" + maps + "]}";
}

void append_chat_logprobs(std::string& out, std::span<const LogprobPosition> positions, int top_k,
                          const TokenNames& names) {
  out += "{\"content\":[";
  for (size_t p = 0; p < positions.size(); ++p) {
    if (p > 0) out += ',';
    if (positions[p].logprobs == nullptr) continue;
    append_chat_token(out, positions[p].logprobs->chosen, names);
    out += ",\"top_logprobs\":[";
    const std::vector<TokenLogprob> all = merged(*positions[p].logprobs);
    for (size_t i = 0; i < all.size() && i < static_cast<size_t>(top_k); ++i) {
      if (i > 0) out += ',';
      append_chat_token(out, all[i], names);
      out += '}';
    }
    out += "]}";
  }
  out += "]}";
}

void append_prompt_logprobs(std::string& out, std::span<const PositionLogprobs> positions,
                            const TokenNames& names) {
  out += "[null";
  for (const PositionLogprobs& position : positions) {
    out += ",{";
    const char* separator = "";
    for (const TokenLogprob& entry : merged(position)) {
      out += separator;
      out += '"' + std::to_string(entry.token) + "\":{\"logprob\":";
      append_python_float(out, printed(entry.logprob));
      out += ",\"rank\":" + std::to_string(entry.rank) + ",\"decoded_token\":";
      append_json_string(out, names.text(entry.token));
      out += '}';
      separator = ",";
    }
    out += '}';
  }
  out += ']';
}

}  // namespace outrider::server
