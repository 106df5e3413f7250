// Fetches the files of a listing into the cache. Threads with a connection each take pieces of the missing
// files in order; others hash the gapless beginnings, so that the last byte is checked when it comes. A file
// arrives as blobs/HASH.outrider.incomplete (partial_file.h); when its hash is right it is renamed to it and
// linked into snapshots/COMMIT. refs/BRANCH is written last. huggingface_hub's own lock files guard all of
// it.
#pragma once

#include <string>

#include "hub/answers.h"
#include "hub/cache.h"
#include "hub/listing.h"
#include "hub/settings.h"

namespace outrider::hub {

struct Download {
  std::string id, revision;
  Listing listing;  // each file with size and hash
};

// The address of one file of a commit.
net::Url file_url(const Settings& settings, const std::string& id, const std::string& commit,
                  const std::string& file);

// Throws StartupError. What has come by then is kept for the next time.
void run_download(const Download& download, const RepoCache& cache, const Settings& settings);

}  // namespace outrider::hub
