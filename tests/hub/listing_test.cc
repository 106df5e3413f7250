#include "hub/listing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "hub/answers.h"
#include "hub/settings.h"

namespace outrider::hub {
namespace {

using testing::HasSubstr;

TEST(Wanted, IsWhatServingReadsInTheTopFolder) {
  for (const char* name :
       {"config.json", "model-00001-of-00014.safetensors", "chat_template.jinja", "tokenizer.json"}) {
    EXPECT_TRUE(is_wanted(name, true)) << name;
  }
  for (const char* name :
       {"pytorch_model.bin", "model.gguf", "x.pth", "code.py", "original/params.json", "../a.json", "/a.json",
        "..", ".hidden.json", "a\n.json", "consolidated.safetensors", ""}) {
    EXPECT_FALSE(is_wanted(name, true)) << name;
  }
  EXPECT_FALSE(is_wanted("model.safetensors", false));
}

TEST(Revision, StaysBelowRefs) {
  for (const char* name : {"main", "v1.0", "refs/pr/3", "feature/x"}) EXPECT_TRUE(is_revision(name)) << name;
  for (const char* name : {"", "..", "a/../b", "/a", "a//b", "a/", "a\nb"})
    EXPECT_FALSE(is_revision(name)) << name;
}

TEST(Listing, HashesAndSizesAreTakenFromLargeFileStorageFirst) {
  const std::string commit(40, 'a'), blob(40, 'b'), sha(64, 'c');
  const Listing listing = parse_listing(
      R"({"sha": ")" + commit + R"(", "siblings": [{"rfilename": "config.json", "size": 5, "blobId": ")" +
          blob + R"("}, {"rfilename": "m.safetensors", "size": 7, "blobId": ")" + blob +
          R"(", "lfs": {"sha256": ")" + sha +
          R"(", "size": 7}}, {"rfilename": "generation_config.json", "size": -1, "blobId": "../x"}, 3]})",
      true, "hub");
  ASSERT_EQ(listing.files.size(), 3u);
  EXPECT_EQ(listing.files[0].etag, blob);
  EXPECT_EQ(listing.files[0].hash, HashKind::kGitSha1);
  EXPECT_EQ(listing.files[1].etag, sha);
  EXPECT_EQ(listing.files[1].hash, HashKind::kSha256);
  EXPECT_EQ(listing.files[1].size, 7u);
  EXPECT_EQ(listing.files[2].etag, "");
  EXPECT_FALSE(listing.files[2].size);
}

TEST(Etag, IsAHashOrNothing) {
  RemoteFile file;
  EXPECT_TRUE(set_etag("W/\"" + std::string(40, '1') + "\"", file));
  EXPECT_EQ(file.etag, std::string(40, '1'));
  for (const std::string& text :
       {std::string("\"opaque\""), std::string(40, 'G'), std::string("../") + std::string(37, 'a'),
        std::string(41, 'a'), std::string("\"")}) {
    EXPECT_FALSE(set_etag(text, file)) << text;
  }
}

TEST(RetryAfter, IsReadFromEitherHeader) {
  const std::string seconds = "12", limit = "\"api\";r=0;t=55", date = "Fri, 31 Dec 1999 23:59:59 GMT";
  EXPECT_EQ(retry_after(&seconds, &limit), 12);
  EXPECT_EQ(retry_after(nullptr, &limit), 55);
  EXPECT_FALSE(retry_after(&date, nullptr));
  EXPECT_FALSE(retry_after(nullptr, nullptr));
}

TEST(SettingsOfTheHub, ComeFromHuggingFacesVariables) {
  EXPECT_EQ(cache_folder({{"HOME", "/h"}}), "/h/.cache/huggingface/hub");
  EXPECT_EQ(cache_folder({{"HOME", "/h"}, {"XDG_CACHE_HOME", "/c"}}), "/c/huggingface/hub");
  EXPECT_EQ(cache_folder({{"HOME", "/h"}, {"HF_HOME", "~/hf"}}), "/h/hf/hub");
  EXPECT_EQ(cache_folder({{"HF_HOME", "/hf"}, {"HF_HUB_CACHE", "/cache"}}), "/cache");
  EXPECT_TRUE(is_offline({{"HF_HUB_OFFLINE", "yes"}}));
  EXPECT_FALSE(is_offline({{"HF_HUB_OFFLINE", "0"}}));
  const Settings settings =
      read_settings({{"HF_ENDPOINT", "https://mirror.example/hf/"}, {"HF_TOKEN", " hf_x\n"}});
  EXPECT_EQ(hub_url(settings, "/a/b").text(), "https://mirror.example/hf/a/b");
  EXPECT_EQ(settings.token, "hf_x");
  EXPECT_EQ(hub_url(read_settings({}), "/a/b").text(), "https://huggingface.co/a/b");
}

TEST(SettingsOfTheHub, WhatCannotBeMeantIsNamed) {
  const std::pair<Environment, const char*> cases[] = {
      {{{"HF_ENDPOINT", "huggingface.co"}},
       "HF_ENDPOINT=huggingface.co: expected http://HOST or https://HOST"},
      {{{"HF_HUB_DOWNLOAD_TIMEOUT", "nan"}}, "HF_HUB_DOWNLOAD_TIMEOUT=nan"},
      {{{"HTTPS_PROXY", "https://me:secret@x"}}, "HTTPS_PROXY: expected http://HOST:PORT"},
      {{{"HF_TOKEN", "a b"}}, "HF_TOKEN holds no access token"},
  };
  for (const auto& [environment, words] : cases) {
    try {
      read_settings(environment);
      ADD_FAILURE() << words;
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), HasSubstr(words));
      EXPECT_THAT(error.what(), testing::Not(HasSubstr("secret")));
    }
  }
}

}  // namespace
}  // namespace outrider::hub
