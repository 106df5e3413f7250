#include "hub/partial_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <random>

#include "base/error.h"
#include "hub/digest.h"

namespace outrider::hub {
namespace {

namespace fs = std::filesystem;

class PartialFileTest : public testing::Test {
 protected:
  PartialFileTest() : path_(fs::path(testing::TempDir()) / ("part_" + std::to_string(getpid()))) {
    fs::remove(path_);
  }
  ~PartialFileTest() override {
    fs::remove(path_);
    fs::remove(path_.string() + ".whole");
  }
  std::string content() const {
    std::ifstream file(path_.string() + ".whole", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  const fs::path path_;
};

TEST(Pieces, CoverEverySizeWithoutOverlap) {
  for (const uint64_t size : {uint64_t{1}, uint64_t{16} << 20, (uint64_t{16} << 20) + 1, uint64_t{256} << 20,
                              (uint64_t{256} << 20) + 1, uint64_t{8} << 30, uint64_t{1} << 44}) {
    const uint64_t piece = piece_bytes(size), count = num_pieces(size);
    EXPECT_LT((count - 1) * piece, size);
    EXPECT_GE(count * piece, size);
  }
  EXPECT_EQ(num_pieces(16 << 20), 1u);
  EXPECT_EQ(num_pieces((16 << 20) + 1), 2u);
}

TEST(Record, ReadsBackAndNothingElseIsBelieved) {
  const uint64_t size = 40 << 20;
  const std::vector<uint64_t> done = {16 << 20, 5, 0};
  const std::string record = encode_record(size, done);
  EXPECT_EQ(decode_record(size, record), done);
  const std::vector<uint64_t> none(3, 0);
  EXPECT_EQ(decode_record(size + 1, record), none);
  EXPECT_EQ(decode_record(size, record.substr(1)), none);
  EXPECT_EQ(decode_record(size, record + "x"), none);
  EXPECT_EQ(decode_record(size, ""), none);
  EXPECT_EQ(decode_record(size, std::string(record.size(), '\xff')), none);
  // The last piece has 8 MiB.
  EXPECT_EQ(decode_record(size, encode_record(size, {1, 2, (8 << 20) + 1})),
            (std::vector<uint64_t>{1, 2, 0}));
}

TEST_F(PartialFileTest, BytesInAnyOrderAndOverSeveralOpeningsMakeTheFile) {
  std::mt19937 random(7);
  std::string whole((36 << 20) + 77, '\0');
  for (char& c : whole) c = static_cast<char>(random());
  for (bool finished = false; !finished;) {
    PartialFile part(path_, whole.size());
    for (int i = 0; i < 4 && !finished; ++i) {
      std::vector<PartialFile::Claim> claims;
      while (const auto claim = part.claim()) claims.push_back(*claim);
      std::shuffle(claims.begin(), claims.end(), random);
      for (PartialFile::Claim& claim : claims) {
        const uint64_t count = std::min<uint64_t>(claim.end - claim.begin, random() % (4 << 20) + 1);
        part.write(claim, whole.data() + claim.begin, count);
        part.release(claim);
      }
      finished = part.done() == whole.size();
    }
    if (!finished) continue;
    EXPECT_FALSE(part.claim());
    EXPECT_EQ(part.wait_beyond(0), whole.size());
    part.finish(path_.string() + ".whole");
  }
  EXPECT_TRUE(content() == whole);
}

TEST_F(PartialFileTest, OnlyBytesWithoutAGapCountAsBeginning) {
  PartialFile part(path_, 40 << 20);
  auto first = *part.claim(), second = *part.claim();
  const std::string bytes(1 << 20, 'x');
  part.write(second, bytes.data(), bytes.size());
  EXPECT_EQ(part.wait_beyond(0), 0u);
  part.write(first, bytes.data(), bytes.size());
  EXPECT_EQ(part.wait_beyond(0), bytes.size());
  EXPECT_EQ(part.done(), 2 * bytes.size());
  part.clear();
  EXPECT_EQ(part.done(), 0u);
}

TEST_F(PartialFileTest, MoreBytesThanClaimedAreRefused) {
  PartialFile part(path_, 10);
  auto claim = *part.claim();
  EXPECT_THROW(part.write(claim, "0123456789a", 11), StartupError);
}

TEST(Digests, AreThoseOfSha256sumAndGit) {
  Digest sha(HashKind::kSha256, 3);
  sha.add("a", 1);
  sha.add("bc", 2);
  EXPECT_EQ(sha.finish(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Digest git(HashKind::kGitSha1, 6);
  git.add("hello\n", 6);
  EXPECT_EQ(git.finish(), "ce013625030ba8dba906f756967f9e9ca394464a");  // git hash-object
}

}  // namespace
}  // namespace outrider::hub
