// What the hub's answers say about a repository. All of it is untrusted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/digest.h"

namespace outrider::hub {

struct RemoteFile {
  std::string name;  // of a file in the repository's top folder
  std::optional<uint64_t> size;
  std::string etag;  // hexadecimal digits: its hash, and the blob's name in the cache; empty: not said
  HashKind hash = HashKind::kSha256;
};

struct Listing {
  std::string commit;  // 40 hexadecimal digits
  std::vector<RemoteFile> files;
};

inline constexpr uint64_t kMaxFileBytes = uint64_t{1} << 44;

// One folder or file name that stays where it is put.
bool is_plain_name(std::string_view name);

// A branch, tag or commit that names one path below refs/ and no other.
bool is_revision(std::string_view text);

// Serving reads it: weights as safetensors, JSON, chat templates; of the top folder alone.
bool is_wanted(std::string_view name, bool with_weights);

// Sets etag and hash from an ETag header or a hash of the listing. False: it is neither hash.
bool set_etag(std::string_view text, RemoteFile& file);

// The answer of /api/models/ID/revision/REVISION?blobs=true, without the files that are not wanted. Throws
// StartupError beginning with `source`.
Listing parse_listing(const std::string& json, bool with_weights, const std::string& source);

// Seconds from a Retry-After header, or from a RateLimit header such as `"api";r=0;t=55`.
std::optional<double> retry_after(const std::string* retry_after, const std::string* rate_limit);

}  // namespace outrider::hub
