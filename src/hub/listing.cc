#include "hub/listing.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"

namespace outrider::hub {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxFiles = 10'000;

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_commit(std::string_view text) { return text.size() == 40 && is_hex(text); }

const Json* find(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

std::optional<uint64_t> read_size(const Json* value) {
  if (value == nullptr || !value->is_number_unsigned()) return std::nullopt;
  const auto size = value->get<uint64_t>();
  return size <= kMaxFileBytes ? std::optional(size) : std::nullopt;
}

RemoteFile read_file(const Json& entry, const std::string& name) {
  RemoteFile file{.name = name};
  const Json* lfs = find(entry, "lfs");
  const Json* hash = lfs != nullptr ? find(*lfs, "sha256") : find(entry, "blobId");
  if (lfs != nullptr && hash == nullptr) hash = find(*lfs, "oid");
  file.size = read_size(find(entry, "size"));
  if (!file.size && lfs != nullptr) file.size = read_size(find(*lfs, "size"));
  if (hash != nullptr && hash->is_string()) set_etag(hash->get_ref<const std::string&>(), file);
  return file;
}

}  // namespace

bool is_plain_name(std::string_view name) {
  const bool clean = std::all_of(name.begin(), name.end(),
                                 [](unsigned char c) { return c >= 0x20 && c != 0x7f && c != '/'; });
  return clean && !name.empty() && name.size() <= 255 && name != "." && name != "..";
}

bool is_revision(std::string_view text) {
  while (true) {
    const size_t slash = text.find('/');
    if (!is_plain_name(text.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

bool is_wanted(std::string_view name, bool with_weights) {
  if (!is_plain_name(name) || name.front() == '.') return false;
  if (name.ends_with(".json") || name.ends_with(".jinja")) return true;
  return with_weights && name.ends_with(".safetensors") && !name.starts_with("consolidated");
}

bool set_etag(std::string_view text, RemoteFile& file) {
  if (text.starts_with("W/")) text.remove_prefix(2);
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
  if ((text.size() != 64 && text.size() != 40) || !is_hex(text)) return false;
  file.etag = text;
  file.hash = text.size() == 64 ? HashKind::kSha256 : HashKind::kGitSha1;
  return true;
}

Listing parse_listing(const std::string& json, bool with_weights, const std::string& source) {
  const Json answer = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  const Json* commit = find(answer, "sha");
  const Json* siblings = find(answer, "siblings");
  if (commit == nullptr || !commit->is_string() || !is_commit(commit->get_ref<const std::string&>()) ||
      siblings == nullptr || !siblings->is_array()) {
    throw StartupError(source + ": the answer is no list of a model's files; check HF_ENDPOINT and proxies");
  }
  Listing listing{.commit = commit->get<std::string>(), .files = {}};
  std::set<std::string> names;
  for (const Json& entry : *siblings) {
    const Json* name = find(entry, "rfilename");
    if (name == nullptr || !name->is_string()) continue;
    const auto& text = name->get_ref<const std::string&>();
    if (!is_wanted(text, with_weights) || !names.insert(text).second) continue;
    if (names.size() > kMaxFiles) throw StartupError(source + ": more than 10000 files");
    listing.files.push_back(read_file(entry, text));
  }
  return listing;
}

std::optional<double> retry_after(const std::string* retry_after, const std::string* rate_limit) {
  std::string_view digits;
  if (retry_after != nullptr) {
    digits = *retry_after;
  } else if (rate_limit != nullptr) {
    const size_t at = rate_limit->find("t=");
    if (at != std::string::npos) digits = std::string_view(*rate_limit).substr(at + 2);
  }
  uint32_t seconds = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), seconds);
  if (error != std::errc() || end == digits.data()) return std::nullopt;
  return seconds;
}

}  // namespace outrider::hub
