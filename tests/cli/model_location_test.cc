#include "cli/model_location.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/error.h"

namespace outrider::cli {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class ModelLocationTest : public testing::Test {
 protected:
  ModelLocationTest() : root_(fs::path(testing::TempDir()) / ("locate_" + std::to_string(getpid()))) {
    fs::create_directories(root_);
    search_ = {{root_ / "none", root_ / "models"}, {.download_dir = root_ / "hub"}, "", {}};
    search_.hub.environment = {{"HF_HUB_OFFLINE", "1"}};
    search_.need = {.weights = false, .tokenizer = false};
  }
  ~ModelLocationTest() override { fs::remove_all(root_); }

  void write(const fs::path& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  std::string refusal(const std::string& model) {
    try {
      return "found " + locate_model(model, search_).folder.string();
    } catch (const StartupError& error) {
      EXPECT_EQ(error.exit_code(), 1);
      return error.what();
    }
  }

  fs::path root_;
  ModelSearch search_;
};

TEST_F(ModelLocationTest, NoModelMeansPocketScout) {
  EXPECT_THAT(refusal(""), HasSubstr("Pocket Scout was not found in "));
  write("models/pocket-scout/fp8/config.json", "{}");
  write("models/pocket-scout/nvfp4/config.json", "{}");
  for (const char* name : {"", "pocket", "pocket-scout"}) {
    EXPECT_EQ(locate_model(name, search_).folder, root_ / "models/pocket-scout/fp8");
    EXPECT_EQ(locate_model(name, search_).served_name, "pocket-scout");
  }
  EXPECT_EQ(locate_model("pocket-nvfp4", search_).folder, root_ / "models/pocket-scout/nvfp4");
}

TEST_F(ModelLocationTest, AFolderIsItselfAndItsNameIsWhatWasTyped) {
  EXPECT_EQ(locate_model(root_.string(), search_).folder, root_);
  EXPECT_EQ(locate_model(root_.string() + "/", search_).served_name, root_.string() + "/");
}

TEST_F(ModelLocationTest, AnIdIsLookedUpInTheHubsCacheByItsReference) {
  write("hub/models--nvidia--Scout/refs/main", "abc123");
  write("hub/models--nvidia--Scout/snapshots/abc123/config.json", "{}");
  write("hub/models--nvidia--Scout/snapshots/def456/config.json", "{}");
  EXPECT_EQ(locate_model("nvidia/Scout", search_).folder.filename(), "abc123");
  EXPECT_EQ(locate_model("nvidia/Scout", search_).served_name, "nvidia/Scout");
  search_.revision = "def456";
  EXPECT_EQ(locate_model("nvidia/Scout", search_).folder.filename(), "def456");
  search_.revision = "absent";
  EXPECT_THAT(refusal("nvidia/Scout"), HasSubstr("at revision absent"));
}

TEST_F(ModelLocationTest, ASingleSnapshotNeedsNoReference) {
  write("hub/models--gpt2/snapshots/abc/config.json", "{}");
  EXPECT_EQ(locate_model("gpt2", search_).folder.filename(), "abc");
}

TEST_F(ModelLocationTest, AnIdThatIsNotThereSaysHowToFetchIt) {
  EXPECT_THAT(refusal("nvidia/Scout"),
              HasSubstr("HF_HUB_OFFLINE is set; unset it and run `outrider download nvidia/Scout`"));
  search_.policy = hub::Policy::kCacheOnly;
  EXPECT_THAT(refusal("nvidia/Scout"), HasSubstr("; fetch it with `outrider download nvidia/Scout`"));
}

TEST_F(ModelLocationTest, TheHubIsNotAskedForNamesWithoutAnOwner) {
  search_.hub.environment = {{"HF_ENDPOINT", "http://127.0.0.1:1"}};
  EXPECT_THAT(refusal("pokcet"), AllOf(HasSubstr("is not in the Hugging Face cache"),
                                       HasSubstr("give a folder, or OWNER/NAME of a model on the hub")));
}

TEST_F(ModelLocationTest, HalfASnapshotIsNamedByWhatItLacks) {
  write("hub/models--a--b/refs/main", "abc");
  write("hub/models--a--b/snapshots/abc/config.json", "{}");
  write("hub/models--a--b/snapshots/abc/tokenizer.json", "{}");
  write("hub/models--a--b/snapshots/abc/model.safetensors.index.json",
        R"({"weight_map": {"w": "model-1.safetensors"}})");
  EXPECT_EQ(locate_model("a/b", search_).folder.filename(), "abc");
  search_.need = {};
  EXPECT_THAT(refusal("a/b"), HasSubstr("snapshots/abc lacks model-1.safetensors"));
  write("hub/models--a--b/snapshots/abc/model-1.safetensors", "");
  EXPECT_EQ(locate_model("a/b", search_).folder.filename(), "abc");
  fs::create_symlink("../../blobs/gone", root_ / "hub/models--a--b/snapshots/abc/generation_config.json");
  EXPECT_THAT(refusal("a/b"), HasSubstr("snapshots/abc lacks generation_config.json"));
}

TEST_F(ModelLocationTest, NothingLeavesTheCacheFolder) {
  write("hub/models--a--b/refs/main", "../../../models");
  write("models/config.json", "{}");
  EXPECT_THAT(refusal("a/b"), HasSubstr("is not in the Hugging Face cache"));
  EXPECT_THAT(refusal("../x"), HasSubstr("no such folder"));
  EXPECT_THAT(refusal("a/.."), HasSubstr("no such folder"));
  EXPECT_THAT(refusal("a/b/c"), HasSubstr("no such folder"));
  search_.revision = "../../../models";
  EXPECT_THROW(locate_model("a/b", search_), UsageError);
}

TEST(EmbeddedFolders, BeginBesideTheProgram) {
  const auto folders = embedded_folders();
  ASSERT_EQ(folders.size(), 3u);
  EXPECT_EQ(folders[0].filename(), "models");
  EXPECT_TRUE(fs::exists(folders[2] / "pocket-scout" / "fp8" / "config.json"));
}

}  // namespace
}  // namespace outrider::cli
