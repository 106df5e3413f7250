// Hugging Face's cache on disk, shared with huggingface_hub:
//   models--org--name/blobs/<etag>                 contents, under the hash that the hub names them by
//   models--org--name/snapshots/<commit>/<file>    relative links to them
//   models--org--name/refs/<branch or tag>         a commit
//   .locks/models--org--name/<etag>.lock           flock()ed while that content is fetched
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "hub/listing.h"

namespace outrider::hub {

// What of a model's files must be there.
struct Need {
  bool weights = true;
  bool tokenizer = true;
};

class RepoCache {
 public:
  // `id`: as is_hub_id() takes it.
  RepoCache(const std::filesystem::path& cache, const std::string& id);

  std::filesystem::path blob(const std::string& etag) const { return folder_ / "blobs" / etag; }
  std::filesystem::path snapshot(const std::string& commit) const { return folder_ / "snapshots" / commit; }
  // Where content arrives.
  std::filesystem::path partial(const std::string& etag) const;
  const std::filesystem::path& folder() const { return folder_; }

  // The snapshot of a branch, tag or commit; empty: main. Complete or not.
  std::optional<std::filesystem::path> find_snapshot(const std::string& revision) const;

  // The rest throws StartupError naming the path.
  void make_folders(const std::string& commit) const;
  // Whether the content is there in its full length. One of another length is removed.
  bool has_blob(const RemoteFile& file) const;
  // Makes the snapshot's file a link to its blob; on file systems without links the blob itself.
  void link(const std::string& commit, const RemoteFile& file) const;
  // Nothing where `revision` is the commit itself.
  void write_ref(const std::string& revision, const std::string& commit) const;

 private:
  friend class BlobLock;
  std::filesystem::path folder_, locks_;
};

// Letters, digits, '-', '_', '.' and, in the middle, at most one '/': what the hub allows.
bool is_hub_id(const std::string& name);

// The first file that a snapshot lacks, or has as a link to nothing; empty: complete.
std::string missing_file(const std::filesystem::path& snapshot, const Need& need);

// Holds huggingface_hub's lock of one content.
class BlobLock {
 public:
  // Waits for another process, and says so in the log. Throws StartupError.
  BlobLock(const RepoCache& cache, const RemoteFile& file);
  ~BlobLock();
  BlobLock(BlobLock&& other) noexcept : file_(other.file_) { other.file_ = -1; }
  BlobLock(const BlobLock&) = delete;
  BlobLock& operator=(const BlobLock&) = delete;

 private:
  int file_ = -1;
};

}  // namespace outrider::hub
