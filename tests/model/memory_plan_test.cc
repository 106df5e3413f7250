#include "model/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "base/error.h"

namespace outrider::model {
namespace {

using testing::AllOf;
using testing::HasSubstr;

LlamaConfig make_config(int layers, int nope_interval, int chunk) {
  LlamaConfig c;
  c.hidden_size = 512;
  c.num_layers = layers;
  c.num_heads = 8;
  c.num_kv_heads = 2;
  c.head_dim = 64;
  c.intermediate_size = 1024;
  c.num_experts = 4;
  c.vocab_size = 1000;
  c.max_position_embeddings = 1 << 20;
  c.attention_chunk_size = chunk;
  c.is_moe_layer.assign(layers, true);
  for (int i = 0; i < layers; ++i) c.is_rope_layer.push_back((i + 1) % nope_interval != 0);
  return c;
}

Model make_model(int layers = 4, int chunk = 128) {
  Model model;
  model.config = make_config(layers, 4, chunk);
  model.weights.embed.rows = 1000;
  model.weights.embed.cols = 512;
  return model;
}

TEST(KvGeometry, ScoutHasOneFullAndThreeChunkedGroupsOfTwelve) {
  const KvGeometry kv = make_kv_geometry(make_config(48, 4, 8192), 16, KvDtype::kFp8E4m3);
  EXPECT_EQ(kv.layers_per_group, 12);
  EXPECT_EQ(kv.group_is_chunked, (std::vector<bool>{false, true, true, true}));
  EXPECT_EQ(kv.group_of_layer[3], 0);
  EXPECT_EQ(kv.group_of_layer[47], 0);
  EXPECT_EQ(kv.index_in_group[47], 11);
  EXPECT_EQ(kv.group_of_layer[0], 1);
}

TEST(KvGeometry, OneKindOfLayerIsOneGroup) {
  const KvGeometry kv = make_kv_geometry(make_config(6, 4, 0), 16, KvDtype::kBf16);
  EXPECT_EQ(kv.group_is_chunked, std::vector<bool>{false});
  EXPECT_EQ(kv.layers_per_group, 6);
}

// Whatever the pattern of layers: every place of every group is taken by exactly one layer of its kind.
TEST(KvGeometry, DealsEveryLayerToItsOwnPlace) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 2000; ++trial) {
    const int layers = 1 + static_cast<int>(random() % 60);
    LlamaConfig config = make_config(layers, 4, 64);
    for (int i = 0; i < layers; ++i) config.is_rope_layer[i] = random() % 4 != 0;
    const KvGeometry kv = make_kv_geometry(config, 16, KvDtype::kBf16);
    ASSERT_EQ(kv.num_groups() * kv.layers_per_group, layers);
    std::set<std::pair<int, int>> places;
    for (int i = 0; i < layers; ++i) {
      ASSERT_EQ(kv.group_is_chunked[kv.group_of_layer[i]], config.is_chunked_layer(i));
      ASSERT_LT(kv.index_in_group[i], kv.layers_per_group);
      ASSERT_TRUE(places.emplace(kv.group_of_layer[i], kv.index_in_group[i]).second);
    }
    ASSERT_TRUE(std::is_sorted(kv.group_is_chunked.begin(), kv.group_is_chunked.end()));
  }
}

// Walks a sequence token by token, holding the pages of the open chunk (and all of a full group), and one
// page more for the first step of the next chunk.
int64_t pages_by_walking(const KvGeometry& kv, int64_t tokens) {
  int64_t pages = 0;
  for (const bool chunked : kv.group_is_chunked) {
    int64_t peak = 0;
    for (int64_t position = 0; position < tokens; ++position) {
      const int64_t begin = chunked ? position / kv.chunk_size * kv.chunk_size : 0;
      peak = std::max(peak, position / kv.block_size - begin / kv.block_size + 1);
    }
    pages += peak + (chunked && tokens > kv.chunk_size ? 1 : 0);
  }
  return pages;
}

TEST(PagesForSequence, EqualsTheWorstMomentOfAWalk) {
  std::mt19937 random(2);
  for (int trial = 0; trial < 400; ++trial) {
    const int block = 1 + static_cast<int>(random() % 40);
    const int chunk = 1 + static_cast<int>(random() % 200);
    const KvGeometry kv = make_kv_geometry(make_config(8, 4, chunk), block, KvDtype::kBf16);
    const int64_t tokens = random() % 1500;
    ASSERT_EQ(pages_for_sequence(kv, tokens), tokens == 0 ? 0 : pages_by_walking(kv, tokens))
        << "block " << block << " chunk " << chunk << " tokens " << tokens;
  }
}

TEST(PagesForSequence, NeverShrinksAndIsInvertedByMaxTokens) {
  const KvGeometry kv = make_kv_geometry(make_config(48, 4, 100), 16, KvDtype::kBf16);
  int64_t before = 0;
  for (int64_t tokens = 1; tokens < 3000; ++tokens) {
    const int64_t pages = pages_for_sequence(kv, tokens);
    ASSERT_GE(pages, before);
    ASSERT_GE(max_tokens_for_pages(kv, pages), tokens);
    if (pages > before) {
      ASSERT_EQ(max_tokens_for_pages(kv, pages - 1), tokens - 1);
    }
    before = pages;
  }
}

TEST(PlanMemory, PoolTakesWhatIsLeftButNoMoreThanTheSequencesCanUse) {
  MemoryOptions options;
  options.max_model_len = 4096;
  options.max_num_seqs = 4;
  options.device_bytes = int64_t{8} << 30;
  const MemoryPlan roomy = plan_memory(make_model(), options);
  const int64_t pages = pages_for_sequence(roomy.kv, 4096);
  const int64_t of_two_steps = 3 * 2 * (8192 / 16 + 1);  // three chunked groups
  EXPECT_EQ(roomy.kv.num_blocks, 4 * pages + of_two_steps);
  EXPECT_DOUBLE_EQ(roomy.max_concurrency,
                   static_cast<double>(roomy.kv.num_blocks) / static_cast<double>(pages));
  EXPECT_EQ(roomy.kv_tokens, static_cast<int64_t>(roomy.max_concurrency * 4096));

  options.max_num_seqs = 100000;
  const MemoryPlan tight = plan_memory(make_model(), options);
  EXPECT_LE(tight.total_bytes, options.device_bytes);
  EXPECT_GT(tight.total_bytes + tight.kv.page_bytes(make_model().config), options.device_bytes);
}

TEST(PlanMemory, RowsAddUpAndAreShownInTheTable) {
  MemoryOptions options;
  options.max_model_len = 1024;
  options.device_bytes = int64_t{4} << 30;
  const MemoryPlan plan = plan_memory(make_model(), options);
  int64_t sum = 0;
  for (const PlanRow& row : plan.rows) {
    sum += row.bytes;
    EXPECT_THAT(plan.table(), HasSubstr(row.name));
  }
  EXPECT_EQ(sum, plan.total_bytes);
  EXPECT_EQ(plan.rows[0].bytes, 1000 * 512 * 2 + 512 * 2);
}

TEST(PlanMemory, ExplicitSizesAreTakenAsGiven) {
  MemoryOptions options;
  options.max_model_len = 256;
  options.num_blocks_override = 1234;
  EXPECT_EQ(plan_memory(make_model(), options).kv.num_blocks, 1234);
  options.num_blocks_override = 0;
  options.kv_cache_bytes = 10 << 20;
  const MemoryPlan plan = plan_memory(make_model(), options);
  EXPECT_EQ(plan.kv.num_blocks, (10 << 20) / plan.kv.page_bytes(make_model().config));
}

// Of a device with 64 MiB.
MemoryOptions small_device(int64_t max_model_len, int max_num_seqs) {
  MemoryOptions options;
  options.max_model_len = max_model_len;
  options.max_num_batched_tokens = 256;
  options.max_num_seqs = max_num_seqs;
  options.device_bytes = 64 << 20;
  return options;
}

std::string refusal(const Model& model, const MemoryOptions& options) {
  try {
    plan_memory(model, options);
  } catch (const StartupError& error) {
    return error.what();
  }
  return "no error";
}

TEST(PlanMemory, ALengthThatDoesNotFitIsRefusedWithOneThatDoes) {
  MemoryOptions options = small_device(1 << 20, 8);
  const Model model = make_model();
  const std::string line = refusal(model, options);
  EXPECT_THAT(line, AllOf(HasSubstr("1048576"), HasSubstr("--max-model-len"),
                          HasSubstr("or increase --gpu-memory-utilization")));
  options.max_model_len = std::stoll(line.substr(line.find("--max-model-len") + 16));
  EXPECT_GT(options.max_model_len, 1000);
  EXPECT_NO_THROW(plan_memory(model, options));
  ++options.max_model_len;
  EXPECT_THROW(plan_memory(model, options), StartupError);
}

TEST(PlanMemory, ALengthThatDoesNotFitNamesTheFlagThatSizedTheCache) {
  MemoryOptions options = small_device(1 << 20, 8);
  options.kv_cache_bytes = 1 << 20;
  EXPECT_THAT(refusal(make_model(), options), HasSubstr("increase --kv-cache-memory-bytes"));
  options.num_blocks_override = 2;
  EXPECT_THAT(refusal(make_model(), options), HasSubstr("increase --num-gpu-blocks-override"));
}

TEST(PlanMemory, TooManySequencesAreRefusedWithANumberThatFits) {
  MemoryOptions options = small_device(1024, 1000000);
  const Model model = make_model();
  const std::string line = refusal(model, options);
  EXPECT_THAT(line,
              AllOf(HasSubstr("No available memory for the cache blocks"), HasSubstr("--max-num-seqs")));
  options.max_num_seqs = std::stoi(line.substr(line.find("--max-num-seqs") + 15));
  EXPECT_NO_THROW(plan_memory(model, options));
}

TEST(PlanMemory, WeightsBeyondTheDeviceAreRefused) {
  MemoryOptions options;
  options.max_model_len = 16;
  options.device_bytes = 1 << 20;
  EXPECT_THAT(refusal(make_model(), options), AllOf(HasSubstr("weights"), HasSubstr("that may be used")));
}

TEST(PlanMemory, PagesThatDoNotHoldOneSequenceAreRefused) {
  MemoryOptions options;
  options.max_model_len = 1024;
  options.num_blocks_override = 10;
  EXPECT_THAT(refusal(make_model(), options), HasSubstr("--max-model-len"));
}

// Whether it may be is the caller's to know (--allow-long-max-model-len).
TEST(PlanMemory, ALengthBeyondTheModelsPositionsIsPlanned) {
  MemoryOptions options;
  options.max_model_len = (1 << 20) + 1;
  options.device_bytes = int64_t{1} << 40;
  EXPECT_EQ(plan_memory(make_model(), options).max_model_len, (1 << 20) + 1);
}

// Any options, however absurd, give a plan within the limits or an error.
TEST(PlanMemory, RandomOptionsNeverOverflow) {
  std::mt19937_64 random(3);
  const auto any = [&](int bits) { return static_cast<int64_t>(random() >> (64 - 1 - random() % bits)); };
  for (int trial = 0; trial < 3000; ++trial) {
    Model model = make_model(1 + static_cast<int>(random() % 48), 1 + static_cast<int>(any(30)));
    model.config.vocab_size = 1 + static_cast<int>(any(24));
    model.config.hidden_size = 1 + static_cast<int>(any(20));
    MemoryOptions options;
    options.max_model_len = any(31);
    options.max_num_seqs = static_cast<int>(any(31));
    options.max_num_batched_tokens = static_cast<int>(any(31));
    options.block_size = static_cast<int>(any(13));
    options.device_bytes = any(62);
    if (random() % 4 == 0) options.kv_cache_bytes = any(62);
    if (random() % 4 == 0) options.num_blocks_override = static_cast<int>(any(31));
    try {
      const MemoryPlan plan = plan_memory(model, options);
      ASSERT_GE(plan.kv.num_blocks, pages_for_sequence(plan.kv, plan.max_model_len));
      if (options.kv_cache_bytes == 0 && options.num_blocks_override == 0) {
        ASSERT_LE(plan.total_bytes, options.device_bytes);
      }
    } catch (const StartupError&) {
    }
  }
}

}  // namespace
}  // namespace outrider::model
