#include "hub/download.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "hub/digest.h"
#include "hub/http.h"
#include "hub/partial_file.h"
#include "hub/progress.h"

namespace outrider::hub {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr size_t kBufferBytes = 1 << 20;

struct Job {
  RemoteFile file;
  std::unique_ptr<PartialFile> part;
  std::mutex mutex;
  std::optional<net::Url> location;  // where the hub redirected to: its storage
  bool is_verified = false;          // guarded by Fetcher::mutex_

  std::optional<net::Url> known_location() {
    const std::lock_guard lock(mutex);
    return location;
  }
  void set_location(std::optional<net::Url> url) {
    const std::lock_guard lock(mutex);
    location = std::move(url);
  }
};

// "bytes 5-9/10" says that the body begins at `begin` of `size` bytes.
bool is_range(const std::string* text, uint64_t begin, uint64_t size) {
  if (text == nullptr || !text->starts_with("bytes ")) return false;
  const std::string wanted_begin = fmt::format("bytes {}-", begin);
  const std::string total = text->substr(std::min(text->find('/'), text->size() - 1) + 1);
  return text->starts_with(wanted_begin) && (total == "*" || total == std::to_string(size));
}

class Fetcher {
 public:
  Fetcher(const Download& download, const RepoCache& cache, const Settings& settings)
      : download_(download), cache_(cache), settings_(settings) {}

  void run() {
    make_jobs();
    if (jobs_.empty()) return;
    check_space();
    const uint64_t total = sum(&PartialFile::size), before = sum(&PartialFile::done);
    log::info(fmt::format("Downloading {} ({}): {} files, {} of {} are there already, into {}", download_.id,
                          download_.listing.commit.substr(0, 12), jobs_.size(), size_text(before),
                          size_text(total), cache_.folder().string()));
    const Clock::time_point start = Clock::now();
    Progress progress(download_.id, total, before);
    start_threads();
    {
      std::unique_lock lock(mutex_);
      while (!finished()) {
        changed_.wait_for(lock, std::chrono::milliseconds(50));
        lock.unlock();
        progress.show(sum(&PartialFile::done));
        lock.lock();
      }
    }
    threads_.clear();
    progress.close(sum(&PartialFile::done));
    if (failure_) std::rethrow_exception(failure_);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    log::info(fmt::format("Downloaded {} in {:.1f} s ({}/s); every file has the hash that the hub names",
                          size_text(total - before), seconds,
                          size_text(static_cast<uint64_t>(static_cast<double>(total - before) / seconds))));
  }

 private:
  uint64_t sum(uint64_t (PartialFile::*value)() const) const {
    uint64_t bytes = 0;
    for (const auto& job : jobs_) bytes += ((*job->part).*value)();
    return bytes;
  }

  // What is not in the cache yet, small files first. Each content once, though several files may have it.
  void make_jobs() {
    std::vector<RemoteFile> files = download_.listing.files;
    std::sort(files.begin(), files.end(),
              [](const RemoteFile& a, const RemoteFile& b) { return a.etag < b.etag; });
    for (const RemoteFile& file : files) {
      if (cache_.has_blob(file) || (!jobs_.empty() && jobs_.back()->file.etag == file.etag)) continue;
      // In the order of their names, so that two processes never wait for each other.
      locks_.emplace_back(cache_, file);
      if (cache_.has_blob(file)) continue;
      if (file.size == 0) {
        std::ofstream empty(cache_.blob(file.etag));
        continue;
      }
      adopt(file);
      jobs_.push_back(std::make_unique<Job>());
      jobs_.back()->file = file;
      jobs_.back()->part = std::make_unique<PartialFile>(cache_.partial(file.etag), *file.size);
    }
    const auto is_weight = [](const Job& job) { return job.file.name.ends_with(".safetensors"); };
    std::sort(jobs_.begin(), jobs_.end(), [&](const auto& a, const auto& b) {
      return std::pair(is_weight(*a), a->file.name) < std::pair(is_weight(*b), b->file.name);
    });
  }

  // Older versions of huggingface_hub leave the beginning of a file behind.
  void adopt(const RemoteFile& file) const {
    fs::path begun = cache_.blob(file.etag);
    begun += ".incomplete";
    std::error_code error;
    const uintmax_t size = fs::file_size(begun, error);
    if (error || size == 0 || size > *file.size || fs::exists(cache_.partial(file.etag), error)) return;
    fs::rename(begun, cache_.partial(file.etag), error);
    if (error) return;
    std::vector<uint64_t> done;
    for (uint64_t i = 0; i < num_pieces(*file.size); ++i) {
      const uint64_t begin = std::min<uint64_t>(i * piece_bytes(*file.size), size);
      done.push_back(std::min(size - begin, piece_bytes(*file.size)));
    }
    std::fstream out(cache_.partial(file.etag), std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(static_cast<std::streamoff>(*file.size));
    out << encode_record(*file.size, done);
  }

  void check_space() const {
    struct statvfs status {};
    if (statvfs((cache_.folder() / "blobs").c_str(), &status) != 0) return;
    const uint64_t room = uint64_t{status.f_bavail} * status.f_frsize;
    const uint64_t needed = sum(&PartialFile::size) - sum(&PartialFile::allocated);
    if (needed <= room) return;
    throw StartupError(
        fmt::format("{} needs {} more and {} has {} free; make room or name another folder with "
                    "--download-dir",
                    download_.id, size_text(needed), cache_.folder().string(), size_text(room)));
  }

  void start_threads() {
    uint64_t pieces = 0;
    for (const auto& job : jobs_) pieces += num_pieces(job->part->size());
    const auto connections = std::min<uint64_t>(pieces, static_cast<uint64_t>(settings_.connections));
    constexpr size_t kMaxHashers = 4;
    const size_t hashers =
        std::min({jobs_.size(), kMaxHashers, size_t{std::max(1u, std::thread::hardware_concurrency())}});
    for (uint64_t i = 0; i < connections; ++i) start([this] { fetch_all(); });
    for (size_t i = 0; i < hashers; ++i) start([this] { verify_all(); });
  }

  void start(std::function<void()> work) {
    threads_.emplace_back([this, work = std::move(work)] {
      try {
        work();
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!failure_) failure_ = std::current_exception();
        stop_ = true;
      }
      changed_.notify_all();
    });
  }

  // Under mutex_.
  bool finished() const {
    return stop_ || std::all_of(jobs_.begin(), jobs_.end(), [](const auto& job) { return job->is_verified; });
  }

  void fetch_all() {
    HttpClient client(settings_, stop_);
    std::vector<char> buffer(kBufferBytes);
    while (true) {
      Job* job = nullptr;
      std::optional<PartialFile::Claim> claim;
      for (const auto& candidate : jobs_) {
        job = candidate.get();
        if ((claim = job->part->claim())) break;
      }
      if (claim) {
        fetch(client, *job, *claim, buffer);
        job->part->release(*claim);
      }
      std::unique_lock lock(mutex_);
      // Wrong bytes are fetched again, so that work may yet come.
      if (!claim) changed_.wait_for(lock, std::chrono::milliseconds(50));
      if (finished()) return;
    }
  }

  void fetch(HttpClient& client, Job& job, PartialFile::Claim& claim, std::vector<char>& buffer) {
    Retries retries(settings_, stop_);
    while (claim.begin < claim.end && !stop_) {
      const uint64_t begin = claim.begin;
      try {
        transfer(client, job, claim, buffer);
      } catch (const TransferError& error) {
        if (claim.begin - begin >= kBufferBytes) retries.reset();
        retries.wait(error, job.file.name);
      }
    }
  }

  // One request and as much of its body as comes.
  void transfer(HttpClient& client, Job& job, PartialFile::Claim& claim, std::vector<char>& buffer) {
    const std::optional<net::Url> known = job.known_location();
    const net::Url url =
        known ? *known : file_url(settings_, download_.id, download_.listing.commit, job.file.name);
    const bool whole = claim.begin == 0 && claim.end == job.part->size();
    Headers headers;
    if (!whole) headers.emplace_back("Range", fmt::format("bytes={}-{}", claim.begin, claim.end - 1));
    const Answer answer = client.follow("GET", url, headers, /*stay=*/false);
    if (answer.status / 100 != 2) job.set_location(std::nullopt);  // signed addresses expire
    check_answer(answer, {download_.id, download_.revision, job.file.name}, settings_);
    if (!same_origin(answer.url, settings_.endpoint)) job.set_location(answer.url);
    uint64_t skip = 0;
    if (answer.status == 200) {
      if (num_pieces(job.part->size()) > 1 && !whole) {
        throw StartupError(answer.url.authority() + " ignores Range headers; check the proxies on the way");
      }
      skip = claim.begin;
    } else if (answer.status != 206 ||
               !is_range(answer.find("Content-Range"), claim.begin, job.part->size())) {
      throw TransferError(answer.url.authority() + " answers with another range than asked for");
    }
    receive(client, job, claim, skip, buffer);
  }

  void receive(HttpClient& client, Job& job, PartialFile::Claim& claim, uint64_t skip,
               std::vector<char>& buffer) {
    while (skip > 0) {
      const size_t count = client.read(buffer.data(), std::min<uint64_t>(skip, buffer.size()));
      if (count == 0) throw TransferError("answer is shorter than the file");
      skip -= count;
    }
    while (claim.begin < claim.end) {
      size_t filled = 0;
      const size_t room = std::min<uint64_t>(buffer.size(), claim.end - claim.begin);
      try {
        while (filled < room) {
          const size_t count = client.read(buffer.data() + filled, room - filled);
          if (count == 0) throw TransferError("answer is shorter than the file");
          filled += count;
        }
      } catch (const TransferError&) {
        job.part->write(claim, buffer.data(), filled);
        throw;
      }
      job.part->write(claim, buffer.data(), filled);
    }
  }

  void verify_all() {
    std::vector<char> buffer(kBufferBytes);
    while (true) {
      Job* job = nullptr;
      {
        const std::lock_guard lock(mutex_);
        if (stop_ || next_to_verify_ == jobs_.size()) return;
        job = jobs_[next_to_verify_++].get();
      }
      verify(*job, buffer);
      if (stop_) return;
      const std::lock_guard lock(mutex_);
      job->is_verified = true;
      changed_.notify_all();
    }
  }

  void verify(Job& job, std::vector<char>& buffer) {
    for (bool again = false;; again = true) {
      const std::string found = hash(job, buffer);
      if (stop_) return;
      if (found == job.file.etag) break;
      job.set_location(std::nullopt);
      job.part->clear();
      const std::string line = fmt::format("{} of {} has other bytes than the hub names (hash {}, not {})",
                                           job.file.name, download_.id, found, job.file.etag);
      if (again)
        throw StartupError(line + ", twice; something on the way alters it: check HF_ENDPOINT and proxies");
      log::warning(line + "; fetching it once more");
      changed_.notify_all();
    }
    job.part->finish(cache_.blob(job.file.etag));
  }

  // Follows the bytes that arrive without a gap.
  std::string hash(const Job& job, std::vector<char>& buffer) {
    Digest digest(job.file.hash, job.part->size());
    for (uint64_t at = 0; at < job.part->size();) {
      const uint64_t end = job.part->wait_beyond(at);
      if (stop_) return {};
      while (at < end && !stop_) {
        const size_t count = std::min<uint64_t>(buffer.size(), end - at);
        job.part->read(at, buffer.data(), count);
        digest.add(buffer.data(), count);
        at += count;
      }
    }
    return digest.finish();
  }

  const Download& download_;
  const RepoCache& cache_;
  const Settings& settings_;
  std::vector<BlobLock> locks_;
  std::vector<std::unique_ptr<Job>> jobs_;
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t next_to_verify_ = 0;
  std::exception_ptr failure_;
  std::atomic<bool> stop_{false};
  std::vector<std::jthread> threads_;
};

}  // namespace

net::Url file_url(const Settings& settings, const std::string& id, const std::string& commit,
                  const std::string& file) {
  return hub_url(settings, "/" + id + "/resolve/" + commit + "/" + net::encode_segment(file));
}

void run_download(const Download& download, const RepoCache& cache, const Settings& settings) {
  cache.make_folders(download.listing.commit);
  Fetcher(download, cache, settings).run();
  for (const RemoteFile& file : download.listing.files) cache.link(download.listing.commit, file);
}

}  // namespace outrider::hub
