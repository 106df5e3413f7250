#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "folder.h"

namespace outrider::checkpoint {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(Inspect, ShowsConfigTensorsScalesAndPlanOfEveryFixture) {
  for (const char* name : {"tiny-a-bf16", "tiny-a-fp8", "tiny-a-nvfp4", "tiny-a-fp8-mm",
                           "tiny-a-fp8-mm-legacy", "tiny-a-fp8-perexpert", "tiny-a-nvfp4-perexpert"}) {
    std::string report;
    EXPECT_EQ(inspect(fixture(name), report), 0) << name;
    EXPECT_THAT(report, AllOf(HasSubstr("4 layers, hidden 128"), HasSubstr("RoPE 0-2; NoPE 3"),
                              HasSubstr("q_proj"), HasSubstr("weight scales"), HasSubstr("KV cache"),
                              HasSubstr("would load."), Not(HasSubstr("Warning"))))
        << name;
  }
}

TEST(Inspect, VisionTensorsAreListedAsNotRead) {
  std::string report;
  inspect(fixture("tiny-a-fp8-mm"), report);
  EXPECT_THAT(report, HasSubstr("vision, not read   BF16"));
}

TEST(Inspect, ListsMissingAndUnusedTensors) {
  Folder folder("tiny-a-fp8");
  folder.tensors.erase("model.norm.weight");
  folder.tensors["stray"] = {"U8", {1}, "x"};
  write_file(folder.file("model.safetensors"), to_safetensors(folder.tensors));
  std::string report;
  EXPECT_EQ(inspect(folder.path(), report), 1);
  EXPECT_THAT(report, AllOf(HasSubstr("Missing tensors: 1\n  \"model.norm.weight\""),
                            HasSubstr("Unused tensors: 1\n  \"stray\""), HasSubstr("would not load")));
}

TEST(Inspect, ABrokenFolderIsReportedNotThrown) {
  std::string report;
  EXPECT_EQ(inspect("/nonexistent", report), 1);
  EXPECT_THAT(report, HasSubstr("would not load: /nonexistent: no such folder"));
}

}  // namespace
}  // namespace outrider::checkpoint
