// --compilation-config and what of it becomes CUDA graphs.
#include "config/compilation.h"

#include <map>

#include "config/tests_config.h"

namespace outrider::config {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(CompilationConfig, EachKeyIsAnsweredInOneLine) {
  const ServeOptions options = parse_serve(
      {"--compilation-config",
       R"({"pass_config":{"enable_fi_allreduce_fusion":true,"enable_attn_fusion":true,"enable_noop":true},)"
       R"("custom_ops":["+quant_fp8","+rms_norm"],"cudagraph_mode":"FULL_DECODE_ONLY","splitting_ops":[]})"},
      {});
  EXPECT_THAT(options.warnings, IsEmpty());
  EXPECT_THAT(
      options.notes,
      ElementsAre("--compilation-config: on a GPU whole decode steps of few rows are CUDA graphs: "
                  "cudagraph_mode; always so: pass_config.enable_attn_fusion, pass_config.enable_noop; one "
                  "device has nothing to reduce: pass_config.enable_fi_allreduce_fusion; nothing is compiled "
                  "at start-up: custom_ops, splitting_ops"));
  EXPECT_THAT(parse_serve({"--compilation-config", "{}"}, {}).notes, IsEmpty());
}

TEST(CompilationConfig, EveryKeyOfTheTableIsAccepted) {
  for (const auto& [key, use] : compilation_keys()) {
    EXPECT_NE(use, "");
    EXPECT_THAT(parse_serve({"--compilation-config." + key, "null"}, {}).notes,
                ElementsAre(EndsWith(": " + key)));
  }
}

TEST(CompilationConfig, TheLineOfAGraphModeFollowsItsValue) {
  const std::map<std::string, const char*> lines = {
      {"cudagraph_mode=NONE", "no CUDA graphs: cudagraph_mode"},
      {"use_cudagraph=false", "no CUDA graphs: use_cudagraph"},
      {"cudagraph_mode=PIECEWISE", "no step is cut into pieces"},
      {"cudagraph_mode=FULL_AND_PIECEWISE", "no step is cut into pieces"},
      {"full_cuda_graph=true", "whole decode steps of few rows are CUDA graphs: full_cuda_graph"},
      {"cudagraph_mode=FULL", "whole decode steps of few rows are CUDA graphs: cudagraph_mode"},
  };
  for (const auto& [key, line] : lines) {
    EXPECT_THAT(parse_serve({"-O." + key}, {}).notes, ElementsAre(HasSubstr(line))) << key;
  }
}

std::optional<std::vector<int>> rows_of(const std::vector<std::string>& words) {
  return graph_rows(parse_serve(words, {}));
}

TEST(GraphRows, WithoutAWordTheDeviceDecides) {
  EXPECT_EQ(rows_of({}), std::nullopt);
  EXPECT_EQ(rows_of({"-O.cudagraph_mode=FULL"}), std::nullopt);
  EXPECT_EQ(rows_of({"-O.cudagraph_capture_sizes=null", "-O.use_cudagraph=true"}), std::nullopt);
}

TEST(GraphRows, AreNoneWhereStepsAreToBeEager) {
  const std::vector<int> none;
  EXPECT_EQ(rows_of({"--enforce-eager"}), none);
  EXPECT_EQ(rows_of({"--enforce-eager", "--cuda-graph-sizes", "8"}), none);
  EXPECT_EQ(rows_of({"-O.cudagraph_mode=NONE", "-O.cudagraph_capture_sizes=[1,2]"}), none);
  EXPECT_EQ(rows_of({"-O.use_cudagraph=false"}), none);
}

TEST(GraphRows, SeveralSizesAreTakenAsGiven) {
  EXPECT_EQ(rows_of({"--cudagraph-capture-sizes", "1", "2", "6"}), (std::vector<int>{1, 2, 6}));
  EXPECT_EQ(rows_of({"-O", R"({"cudagraph_capture_sizes":[4]})"}), (std::vector<int>{4}));
  EXPECT_EQ(rows_of({"--cuda-graph-sizes", "1", "9", "--max-cudagraph-capture-size", "8"}),
            (std::vector<int>{1}));
}

TEST(GraphRows, OneNumberStandsForVllmsRowOfSizes) {
  EXPECT_EQ(rows_of({"--cuda-graph-sizes", "30"}), (std::vector<int>{1, 2, 4, 8, 16, 24}));
  EXPECT_EQ(rows_of({"--cuda-graph-sizes", "3"}), (std::vector<int>{1, 2}));
  EXPECT_EQ(rows_of({"--max-cudagraph-capture-size", "16"}), (std::vector<int>{1, 2, 4, 8, 16}));
  EXPECT_EQ(rows_of({"-O.max_cudagraph_capture_size=4"}), (std::vector<int>{1, 2, 4}));
}

TEST(GraphRows, TwiceGivenAreRefusedAsVllmDoes) {
  expect_usage_error(
      [] {
        rows_of({"--cuda-graph-sizes", "8", "-O.cudagraph_capture_sizes=[1]"});
      },
      "cudagraph_capture_sizes and compilation_config.cudagraph_capture_sizes are mutually exclusive");
}

}  // namespace
}  // namespace outrider::config
