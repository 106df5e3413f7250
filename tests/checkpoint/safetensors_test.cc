// Headers that lie: each is refused with a line that names the file, and none crashes.
#include "checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "folder.h"

namespace outrider::checkpoint {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// The file in memory of exactly its size (so that ASan sees a byte too far), aligned as a mapping is.
std::vector<Tensor> parse(const std::string& file) {
  const std::vector<std::byte> bytes(reinterpret_cast<const std::byte*>(file.data()),
                                     reinterpret_cast<const std::byte*>(file.data()) + file.size());
  return parse_safetensors(bytes, "file");
}

std::string error_of(const std::string& file) {
  try {
    parse(file);
  } catch (const CheckpointError& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    EXPECT_LT(std::string(error.what()).size(), 500u);
    return error.what();
  }
  return "no error";
}

std::string error_of_header(const std::string& header, size_t data_bytes = 16) {
  std::string padded = header;
  padded.resize((header.size() + 7) / 8 * 8, ' ');
  return error_of(with_header(padded, std::string(data_bytes, '\0')));
}

TEST(Safetensors, ReadsNamesShapesAndPlaces) {
  const TestTensors tensors = {{"a", {"F32", {}, f32(1.5f)}},
                               {"b", {"BF16", {2, 3}, std::string(12, 'x')}},
                               {"empty", {"U8", {0, 5}, ""}}};
  const std::vector<Tensor> parsed = parse(to_safetensors(tensors));
  ASSERT_EQ(parsed.size(), 3u);
  EXPECT_EQ(parsed[1].name, "b");
  EXPECT_EQ(parsed[1].dtype, Dtype::kBF16);
  EXPECT_EQ(parsed[1].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(parsed[1].bytes, 12);
}

TEST(Safetensors, MetadataIsIgnored) {
  const std::string header = R"({"__metadata__":{"format":"pt","a\u0000b":""}})";
  EXPECT_EQ(error_of_header(header), "no error");
}

TEST(Safetensors, ShortFilesAndLyingLengthsAreRefused) {
  for (size_t size = 0; size < 8; ++size)
    EXPECT_THAT(error_of(std::string(size, '\0')), HasSubstr("too short"));
  EXPECT_THAT(error_of(std::string(8, '\0')), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of(std::string(8, '\xff')), HasSubstr("at most 100000000"));
  EXPECT_THAT(error_of(std::string("\x09\0\0\0\0\0\0\0{}", 10)), HasSubstr("truncated"));
  EXPECT_THAT(error_of("version https://git-lfs.github.com/spec/v1\n"), HasSubstr("git lfs pull"));
}

TEST(Safetensors, EveryPrefixOfAFileIsRefused) {
  const std::string file = to_safetensors({{"a", {"F32", {2}, f32(1) + f32(2)}}, {"b", {"U8", {3}, "abc"}}});
  for (size_t size = 0; size < file.size(); ++size)
    EXPECT_NE(error_of(file.substr(0, size)), "no error") << size;
  EXPECT_EQ(error_of(file), "no error");
}

TEST(Safetensors, OtherJsonIsRefused) {
  for (const char* header :
       {"[]", "3", "null", "\"x\"", "{\"a\":3}", "{\"a\":[]}", "{\"a\":null}", "{\"a\":\"b\"}", "{\"a\":{}}",
        "{\"a\":{\"dtype\":\"U8\"}}", "{\"__metadata__\":3}", "{\"__metadata__\":{\"a\":{}}}",
        "{\"__metadata__\":{\"a\":1}}", "{", "{} {}"})
    EXPECT_THAT(error_of_header(header), HasSubstr("file: ")) << header;
}

TEST(Safetensors, FieldsOfOtherTypesAreRefusedNamingTheTensor) {
  for (const char* fields :
       {R"("dtype":"F33","shape":[4],"data_offsets":[0,16])",
        R"("dtype":5,"shape":[4],"data_offsets":[0,16])", R"("dtype":"F32","shape":4,"data_offsets":[0,16])",
        R"("dtype":"F32","shape":["4"],"data_offsets":[0,16])",
        R"("dtype":"F32","shape":[-4],"data_offsets":[0,16])",
        R"("dtype":"F32","shape":[4.0],"data_offsets":[0,16])",
        R"("dtype":"F32","shape":[[4]],"data_offsets":[0,16])",
        R"("dtype":"F32","shape":[4],"data_offsets":[0])",
        R"("dtype":"F32","shape":[4],"data_offsets":[0,16,16])",
        R"("dtype":"F32","shape":[4],"data_offsets":16)",
        R"("dtype":"F32","shape":[4],"data_offsets":[-1,16])",
        R"("dtype":"F32","shape":{},"data_offsets":[0,16])",
        R"("dtype":"F32","shape":[4],"data_offsets":[0,16],"extra":1)",
        R"("dtype":"F32","shape":[4],"shape":[4],"data_offsets":[0,16])",
        R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,4],"data_offsets":[0,16])",
        R"("dtype":"F32","shape":[4],"data_offsets":[0,18446744073709551615])",
        R"("dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,16])",
        R"("dtype":"F32","shape":[1e999],"data_offsets":[0,16])"})
    EXPECT_NE(error_of_header("{\"the.name\":{" + std::string(fields) + "}}"), "no error") << fields;
}

TEST(Safetensors, OffsetsOutsideTheFileAreRefused) {
  const auto with = [](const std::string& offsets) {
    return R"({"the.name":{"dtype":"F32","shape":[4],"data_offsets":)" + offsets + "}}";
  };
  EXPECT_EQ(error_of_header(with("[0,16]")), "no error");
  EXPECT_THAT(error_of_header(with("[4,20]")),
              AllOf(HasSubstr("the.name"), HasSubstr("ends at byte 20 of 16")));
  EXPECT_THAT(error_of_header(with("[16,0]")), HasSubstr("after its end"));
  EXPECT_THAT(error_of_header(with("[0,12]")), HasSubstr("but offsets for 12"));
  EXPECT_THAT(error_of_header(with("[9223372036854775792,9223372036854775807]")), HasSubstr("ends at byte"));
}

TEST(Safetensors, ShapesThatOverflowAreRefused) {
  const auto with = [](const std::string& shape) {
    return R"({"the.name":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":[0,0]}})";
  };
  EXPECT_THAT(error_of_header(with("[4294967296,4294967296]")), HasSubstr("64 bits"));
  EXPECT_THAT(error_of_header(with("[9223372036854775807]")), HasSubstr("64 bits"));
  EXPECT_THAT(error_of_header(with("[2147483648,2147483648,2,2,4]")), HasSubstr("64 bits"));
}

TEST(Safetensors, OverlapsMisalignmentAndDoubleNamesAreRefused) {
  EXPECT_THAT(error_of_header(R"({"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]},)"
                              R"("b":{"dtype":"U8","shape":[8],"data_offsets":[8,16]}})"),
              HasSubstr("overlap"));
  EXPECT_THAT(error_of_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[2,10]}})"),
              HasSubstr("aligned"));
  EXPECT_THAT(error_of_header(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                              R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})"),
              HasSubstr("given twice"));
}

TEST(Safetensors, DeepNestingCostsNothing) {
  EXPECT_NE(error_of_header("{\"a\":" + std::string(1000000, '[')), "no error");
  EXPECT_NE(error_of_header(std::string(1000000, '{')), "no error");
}

TEST(Safetensors, NamesAreQuotedSafelyInErrors) {
  const std::string name(5000, 'n');
  EXPECT_THAT(
      error_of_header("{\"" + name + "\\u0007\":{\"dtype\":\"U8\",\"shape\":[99],\"data_offsets\":[0,99]}}"),
      HasSubstr("nnn..."));
}

// Flips, cuts, doubles and inserts bytes of a real header: every outcome but a parse or a CheckpointError is
// a bug.
TEST(Safetensors, RandomMutationsNeverCrash) {
  const std::string file = to_safetensors({{"model.norm.weight", {"BF16", {8}, std::string(16, 'a')}},
                                           {"lm_head.weight", {"F8_E4M3", {2, 4}, "01234567"}},
                                           {"x.weight_scale", {"F32", {}, f32(0.5f)}}});
  const std::string tokens[] = {"{",           "}",         "[",
                                "]",           ",",         ":",
                                "\"",          "0",         "-1",
                                "1e9",         "null",      "18446744073709551615",
                                "\"dtype\"",   "\"shape\"", "\"data_offsets\"",
                                "\"U8\"",      "\\u0000",   "\xc3",
                                "__metadata__"};
  std::mt19937 random(7);
  int accepted = 0;
  for (int trial = 0; trial < 30000; ++trial) {
    std::string mutant = file;
    for (int change = 1 + static_cast<int>(random() % 4); change > 0; --change) {
      if (mutant.empty()) mutant = file;
      const size_t at = random() % mutant.size();
      switch (random() % 5) {
        case 0:
          mutant[at] = static_cast<char>(random());
          break;
        case 1:
          mutant.erase(at, 1 + random() % 6);
          break;
        case 2:
          mutant.insert(at, tokens[random() % std::size(tokens)]);
          break;
        case 3:
          mutant.insert(at, mutant.substr(random() % mutant.size(), random() % 40));
          break;
        default:
          mutant.resize(at + 1);
      }
    }
    if (random() % 2 == 0 && mutant.size() >= 8) {  // keep the length honest, to get behind it
      uint64_t length = mutant.size() - 8 - std::min<size_t>(mutant.size() - 8, 32);
      std::memcpy(mutant.data(), &length, 8);
    }
    try {
      for (const Tensor& tensor : parse(mutant)) {
        int64_t bytes = bytes_of(tensor.dtype);
        for (const int64_t dimension : tensor.shape) bytes *= dimension;
        ASSERT_EQ(bytes, tensor.bytes);
      }
      ++accepted;
    } catch (const CheckpointError&) {
    }
  }
  EXPECT_GT(accepted, 10);
}

TEST(MappedFile, ReadsTheBytesThatItMapsAndNamesAFileThatHasShrunk) {
  const std::string path = testing::TempDir() + "/mapped-file-" + std::to_string(::getpid());
  std::string bytes(100'000, '\0');
  std::mt19937 random(5);
  for (char& byte : bytes) byte = static_cast<char>(random());
  std::ofstream(path, std::ios::binary) << bytes;
  const MappedFile file(path);
  std::vector<std::byte> copy(70'000);
  file.read(12'345, copy.size(), copy.data());
  EXPECT_EQ(std::memcmp(copy.data(), bytes.data() + 12'345, copy.size()), 0);
  EXPECT_EQ(std::memcmp(copy.data(), file.bytes().data() + 12'345, copy.size()), 0);
  std::filesystem::resize_file(path, 50'000);
  try {
    file.read(12'345, copy.size(), copy.data());
    ADD_FAILURE() << "nothing was thrown";
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(path + ": has become shorter"));
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace outrider::checkpoint
