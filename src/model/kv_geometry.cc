#include <algorithm>
#include <numeric>

#include "model/memory_plan.h"

namespace outrider::model {

namespace {

int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0); }

// The most pages that positions of one chunk touch, over the chunks of a sequence. Where a chunk is no
// multiple of the page its edges straddle pages; the pattern repeats after block / gcd(chunk, block) chunks.
int64_t pages_of_widest_chunk(int64_t chunk, int64_t block, int64_t tokens) {
  const int64_t chunks = std::min(ceil_div(tokens, chunk), block / std::gcd(chunk, block) + 1);
  int64_t widest = 0;
  for (int64_t i = 0; i < chunks; ++i) {
    const int64_t begin = i * chunk;
    const int64_t last = std::min(begin + chunk, tokens) - 1;
    widest = std::max(widest, last / block - begin / block + 1);
  }
  return widest;
}

}  // namespace

KvGeometry make_kv_geometry(const LlamaConfig& config, int block_size, KvDtype dtype) {
  int chunked = 0;
  for (int layer = 0; layer < config.num_layers; ++layer) chunked += config.is_chunked_layer(layer);
  const int full = config.num_layers - chunked;

  KvGeometry kv;
  kv.block_size = block_size;
  kv.dtype = dtype;
  kv.chunk_size = config.attention_chunk_size;
  kv.layers_per_group = std::gcd(full, chunked);  // gcd(n, 0) = n: one kind of layer, one group
  const int full_groups = full / kv.layers_per_group;
  kv.group_is_chunked.assign(config.num_layers / kv.layers_per_group, true);
  std::fill_n(kv.group_is_chunked.begin(), full_groups, false);

  int next_full = 0;
  int next_chunked = full;
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const int place = config.is_chunked_layer(layer) ? next_chunked++ : next_full++;
    kv.group_of_layer.push_back(place / kv.layers_per_group);
    kv.index_in_group.push_back(place % kv.layers_per_group);
  }
  return kv;
}

int64_t pages_for_sequence(const KvGeometry& kv, int64_t tokens) {
  if (tokens <= 0) return 0;
  const int64_t chunked_groups = std::count(kv.group_is_chunked.begin(), kv.group_is_chunked.end(), true);
  const int64_t full_groups = kv.num_groups() - chunked_groups;
  int64_t pages = full_groups * ceil_div(tokens, kv.block_size);
  if (chunked_groups > 0) {
    const bool crosses_edge = tokens > kv.chunk_size;
    pages += chunked_groups * (pages_of_widest_chunk(kv.chunk_size, kv.block_size, tokens) + crosses_edge);
  }
  return pages;
}

int64_t max_tokens_for_pages(const KvGeometry& kv, int64_t num_blocks) {
  int64_t fits = 0;
  int64_t too_many = (int64_t{1} << 31);  // positions are 32-bit
  while (too_many - fits > 1) {
    const int64_t middle = fits + (too_many - fits) / 2;
    (pages_for_sequence(kv, middle) <= num_blocks ? fits : too_many) = middle;
  }
  return fits;
}

}  // namespace outrider::model
