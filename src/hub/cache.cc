#include "hub/cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/log.h"
#include "hub/partial_file.h"

namespace outrider::hub {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kMaxIndexBytes = 64 << 20;
constexpr const char* kIndex = "model.safetensors.index.json";

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

std::string read_commit(const fs::path& path) {
  std::ifstream file(path);
  std::string word(256, '\0');
  file.read(word.data(), static_cast<std::streamsize>(word.size()));
  word.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  return word.substr(0, word.find_first_of(" \r\n\t"));
}

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw_file_error(path, error.value());
}

// The files that an index names; none: it cannot be read.
std::set<std::string> indexed_files(const fs::path& index) {
  std::set<std::string> names;
  std::error_code error;
  if (fs::file_size(index, error) > kMaxIndexBytes || error) return names;
  std::ifstream file(index);
  const auto json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (!json.is_object() || map == json.end() || !map->is_object()) return names;
  for (const auto& value : *map) {
    if (value.is_string() && is_plain_name(value.get_ref<const std::string&>())) names.insert(value);
  }
  return names;
}

std::string missing_weights(const fs::path& snapshot, bool has_safetensors) {
  if (!is_there(snapshot / kIndex)) return has_safetensors ? "" : "*.safetensors";
  const std::set<std::string> names = indexed_files(snapshot / kIndex);
  if (names.empty()) return kIndex;
  for (const std::string& name : names) {
    if (!is_there(snapshot / name)) return name;
  }
  return "";
}

}  // namespace

bool is_hub_id(const std::string& name) {
  const auto allowed = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  };
  const size_t slash = name.find('/');
  const std::string owner = name.substr(0, slash);
  const std::string repo = slash == std::string::npos ? owner : name.substr(slash + 1);
  for (const std::string& part : {owner, repo}) {
    const bool fits = !part.empty() && part.size() <= 96 && part.front() != '.';
    if (!fits || !std::all_of(part.begin(), part.end(), allowed)) return false;
  }
  return true;
}

RepoCache::RepoCache(const fs::path& cache, const std::string& id) {
  std::string name = "models--" + id;
  if (const size_t slash = name.find('/'); slash != std::string::npos) name.replace(slash, 1, "--");
  folder_ = cache / name;
  locks_ = cache / ".locks" / name;
}

fs::path RepoCache::partial(const std::string& etag) const {
  // Other than huggingface_hub's, whose files hold a beginning and nothing else.
  return folder_ / "blobs" / (etag + ".outrider.incomplete");
}

std::optional<fs::path> RepoCache::find_snapshot(const std::string& revision) const {
  const std::string name = revision.empty() ? "main" : revision;
  if (!is_revision(name)) return std::nullopt;
  if (is_plain_name(name) && is_folder(snapshot(name))) return snapshot(name);
  const std::string commit = read_commit(folder_ / "refs" / name);
  if (is_plain_name(commit) && is_folder(snapshot(commit))) return snapshot(commit);
  if (!revision.empty()) return std::nullopt;
  // Copied caches sometimes lack refs; a single snapshot is no question.
  std::vector<fs::path> snapshots;
  std::error_code error;
  for (fs::directory_iterator it(folder_ / "snapshots", error), end; !error && it != end;
       it.increment(error)) {
    snapshots.push_back(it->path());
  }
  return snapshots.size() == 1 ? std::optional(snapshots[0]) : std::nullopt;
}

void RepoCache::make_folders(const std::string& commit) const {
  for (const fs::path& path : {folder_ / "blobs", folder_ / "refs", snapshot(commit), locks_})
    make_folder(path);
}

bool RepoCache::has_blob(const RemoteFile& file) const {
  std::error_code error;
  const uintmax_t size = fs::file_size(blob(file.etag), error);
  if (error) return false;
  if (size == file.size) return true;
  log::warning(fmt::format("{}: {} bytes where the hub has {}; it is fetched anew", blob(file.etag).string(),
                           size, file.size.value_or(0)));
  fs::remove(blob(file.etag), error);
  return false;
}

void RepoCache::link(const std::string& commit, const RemoteFile& file) const {
  const fs::path name = snapshot(commit) / file.name;
  const fs::path target = fs::path("../../blobs") / file.etag;
  std::error_code error;
  if (fs::read_symlink(name, error) == target) return;
  if (!error) fs::remove(name, error);
  error.clear();
  fs::create_symlink(target, name, error);
  if (error == std::errc::file_exists) return;
  if (error == std::errc::operation_not_permitted || error == std::errc::operation_not_supported ||
      error == std::errc::function_not_supported) {
    error.clear();
    fs::rename(blob(file.etag), name, error);
  }
  if (error) throw_file_error(name, error.value());
}

void RepoCache::write_ref(const std::string& revision, const std::string& commit) const {
  const fs::path path = folder_ / "refs" / revision;
  if (revision == commit || read_commit(path) == commit) return;
  make_folder(path.parent_path());
  fs::path written = path;
  written += fmt::format(".{}", getpid());
  std::ofstream file(written);
  file << commit;
  file.close();
  std::error_code error;
  if (!file) throw_file_error(written, errno);
  fs::rename(written, path, error);
  if (error) throw_file_error(path, error.value());
}

std::string missing_file(const fs::path& snapshot, const Need& need) {
  bool has_safetensors = false;
  std::error_code error;
  for (fs::directory_iterator it(snapshot, error), end; !error && it != end; it.increment(error)) {
    std::string name = it->path().filename();
    if (is_wanted(name, need.weights) && !is_there(it->path())) return name;
    has_safetensors = has_safetensors || name.ends_with(".safetensors");
  }
  if (!is_there(snapshot / "config.json")) return "config.json";
  if (need.tokenizer && !is_there(snapshot / "tokenizer.json")) return "tokenizer.json";
  return need.weights ? missing_weights(snapshot, has_safetensors) : "";
}

BlobLock::BlobLock(const RepoCache& cache, const RemoteFile& file) {
  const fs::path path = cache.locks_ / (file.etag + ".lock");
  while (true) {
    file_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0664);
    if (file_ < 0) throw_file_error(path, errno);
    if (flock(file_, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) {
        log::info(
            fmt::format("Waiting for another process, which fetches {} ({})", file.name, path.string()));
        while (flock(file_, LOCK_EX) != 0 && errno == EINTR) {
        }
      } else if (errno != ENOLCK && errno != ENOSYS && errno != EOPNOTSUPP) {
        throw_file_error(path, errno);
      }
    }
    // Whoever had the lock may have removed its file.
    struct stat held {
    }, named{};
    if (fstat(file_, &held) != 0) throw_file_error(path, errno);
    if (stat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino && held.st_dev == named.st_dev) return;
    close(file_);
  }
}

BlobLock::~BlobLock() {
  if (file_ >= 0) close(file_);
}

}  // namespace outrider::hub
