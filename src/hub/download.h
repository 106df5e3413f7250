// Fetches the files of a listing into the cache: several connections, pieces of large files side by side,
// each file hashed while it arrives.
#pragma once

#include <string>
#include <vector>

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
Url file_url(const Settings& settings, const std::string& id, const std::string& commit,
             const std::string& file);

// Throws StartupError. What has come by then is kept for the next time.
void run_download(const Download& download, const RepoCache& cache, const Settings& settings);

}  // namespace outrider::hub
