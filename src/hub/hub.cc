#include "hub/hub.h"

#include <atomic>
#include <charconv>

#include "base/error.h"
#include "base/log.h"
#include "hub/answers.h"
#include "hub/download.h"
#include "hub/http.h"
#include "hub/listing.h"

namespace outrider::hub {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxListingBytes = 32 << 20;

std::string name_of(const Request& request) {
  return "model " + request.id + (request.revision.empty() ? "" : " at revision " + request.revision);
}

// Asks the hub, again where that may help.
template <typename Ask>
auto retry(const Settings& settings, const std::atomic<bool>& stop, const std::string& what, const Ask& ask) {
  Retries retries(settings, stop);
  while (true) {
    try {
      return ask();
    } catch (const TransferError& error) {
      retries.wait(error, what);
    }
  }
}

class Repository {
 public:
  Repository(const Request& request, const Settings& settings)
      : request_(request),
        settings_(settings),
        revision_(request.revision.empty() ? "main" : request.revision),
        client_(settings, stop_) {}

  Download look() {
    Download download{request_.id, revision_, {}};
    const std::string what = "asking " + settings_.endpoint.authority() + " for " + request_.id;
    const std::string path =
        "/api/models/" + request_.id + "/revision/" + net::encode_segment(revision_) + "?blobs=true";
    const std::string json = retry(settings_, stop_, what, [&] {
      const Answer answer = client_.follow("GET", hub_url(settings_, path), {}, /*stay=*/false);
      check_answer(answer, {request_.id, revision_, ""}, settings_);
      return client_.read_all(kMaxListingBytes);
    });
    download.listing = parse_listing(json, request_.need.weights, settings_.endpoint.authority());
    for (RemoteFile& file : download.listing.files) {
      if (file.size && !file.etag.empty()) continue;
      retry(settings_, stop_, file.name, [&] { look_at(download.listing.commit, file); });
    }
    return download;
  }

 private:
  // Mirrors' listings may lack sizes and hashes; the headers have them.
  void look_at(const std::string& commit, RemoteFile& file) {
    const net::Url url = file_url(settings_, request_.id, commit, file.name);
    Answer answer = client_.follow("HEAD", url, {}, /*stay=*/true);
    if (answer.status / 100 == 3) answer.status = 200;  // to the storage, with the headers that count here
    check_answer(answer, {request_.id, revision_, file.name}, settings_);
    const std::string* etag = answer.find("X-Linked-Etag");
    if (etag == nullptr) etag = answer.find("ETag");
    const std::string* length = answer.find("X-Linked-Size");
    if (length == nullptr) length = answer.find("Content-Length");
    uint64_t size = 0;
    const bool has_size =
        length != nullptr &&
        std::from_chars(length->data(), length->data() + length->size(), size).ec == std::errc();
    if (etag == nullptr || !set_etag(*etag, file) || !has_size || size > kMaxFileBytes) {
      throw StartupError(url.text() + ": the answer names neither size nor hash; check HF_ENDPOINT");
    }
    file.size = size;
  }

  const Request& request_;
  const Settings& settings_;
  const std::string revision_;
  const std::atomic<bool> stop_{false};
  HttpClient client_;
};

[[noreturn]] void throw_not_cached(const Request& request, const fs::path& cache, const std::string& snapshot,
                                   const std::string& missing, Policy policy) {
  std::string line = name_of(request);
  if (snapshot.empty()) {
    line += " is not in the Hugging Face cache " + cache.string();
  } else {
    line += " is in the cache in part only: " + snapshot + " lacks " + missing;
  }
  if (request.id.find('/') == std::string::npos) {
    throw StartupError(line + "; give a folder, or OWNER/NAME of a model on the hub");
  }
  line += policy == Policy::kCacheOnly ? "; fetch it with `outrider download "
                                       : ", and HF_HUB_OFFLINE is set; unset it and run `outrider download ";
  throw StartupError(line + request.id + "`");
}

}  // namespace

fs::path fetch(const Request& request, const Access& access, Policy policy) {
  if (!request.revision.empty() && !is_revision(request.revision)) {
    throw UsageError("revision " + request.revision + ": expected a branch, a tag or a commit");
  }
  const fs::path cache =
      access.download_dir.empty() ? cache_folder(access.environment) : fs::path(access.download_dir);
  const RepoCache repo(cache, request.id);
  const std::optional<fs::path> cached = repo.find_snapshot(request.revision);
  const std::string missing = cached ? missing_file(*cached, request.need) : "";
  const bool offline = policy == Policy::kCacheOnly || is_offline(access.environment);
  if (cached && missing.empty() && (offline || policy == Policy::kCacheFirst)) return *cached;
  if (offline) throw_not_cached(request, cache, cached ? cached->string() : "", missing, policy);

  Settings settings = read_settings(access.environment);
  if (!access.token.empty()) settings.token = checked_token(access.token, "--hf-token");
  settings.connections = access.connections;
  const Download download = Repository(request, settings).look();
  run_download(download, repo, settings);
  fs::path snapshot = repo.snapshot(download.listing.commit);
  const std::string absent = missing_file(snapshot, request.need);
  if (!absent.empty()) {
    throw StartupError(name_of(request) + " has no " + absent + " at " + settings.endpoint.authority() +
                       ", so that it cannot be served");
  }
  repo.write_ref(download.revision, download.listing.commit);
  return snapshot;
}

}  // namespace outrider::hub
