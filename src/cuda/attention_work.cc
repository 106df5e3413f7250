#include "cuda/attention_work.h"

#include <algorithm>

#include "cuda/kv_cache.h"

namespace outrider::cuda {
namespace {

// Pieces of at most so many tokens go into narrow tiles.
constexpr int kNarrowPiece = 8;
// A tile is cut into runs when it is longer than this share of what a block does in all.
constexpr int kSplitShare = 3;
// Tiles are even where the busiest block has at most one part in so many more than its share.
constexpr int kEvenParts = 10;
// Rows that are cut and finished by each of their blocks: with 32 that is faster than a kernel for it, with
// 48 as fast.
constexpr int kCutRows = 48;

int last_position(const AttentionTile& tile) { return tile.first_position + tile.num_tokens - 1; }

int num_runs(const AttentionTile& tile) { return (last_position(tile) - tile.first_key) / kKeyRun + 1; }

int64_t num_pages(const AttentionTile& tile) {
  int first = tile.first_key, last = last_position(tile);
  if (tile.key_run != kAllRuns) {
    first += tile.key_run * kKeyRun;
    last = std::min(last, first + kKeyRun - 1);
  }
  return last / kPagePositions - first / kPagePositions + 1;
}

void add_tiles(AttentionTile piece, int tokens_a_tile, std::vector<AttentionTile>& tiles) {
  for (int done = 0; done < piece.num_tokens; done += tokens_a_tile) {
    AttentionTile tile = piece;
    tile.first_row += done;
    tile.first_position += done;
    tile.num_tokens = std::min(tokens_a_tile, piece.num_tokens - done);
    tiles.push_back(tile);
  }
}

void longest_first(std::vector<AttentionTile>& tiles) {
  std::stable_sort(tiles.begin(), tiles.end(), [](const AttentionTile& a, const AttentionTile& b) {
    return num_pages(a) > num_pages(b);
  });
}

// Whether whole tiles, dealt out longest first, keep all blocks about equally busy: then nothing is gained by
// cutting them. `pages`: of all.
bool are_even(const std::vector<AttentionTile>& longest_first, const AttentionTiling& tiling, int64_t pages) {
  const int64_t items = static_cast<int64_t>(longest_first.size()) * tiling.kv_heads;
  int64_t busiest = 0;
  for (int64_t item = 0; item < items; item += tiling.narrow_blocks) {
    busiest += num_pages(longest_first[item / tiling.kv_heads]);
  }
  return busiest * kEvenParts * tiling.narrow_blocks <= pages * tiling.kv_heads * (kEvenParts + 1);
}

// Sorts narrow tiles, longest first, and replaces long ones by one tile a run while partial sums are left.
void split_long_tiles(const AttentionTiling& tiling, AttentionWork& work) {
  int64_t pages = 0;
  for (const AttentionTile& tile : work.narrow) pages += num_pages(tile);
  const int64_t share = pages * tiling.kv_heads / tiling.narrow_blocks;

  longest_first(work.narrow);
  if (are_even(work.narrow, tiling, pages)) return;
  const size_t whole_tiles = work.narrow.size();
  for (size_t i = 0; i < whole_tiles; ++i) {
    const AttentionTile tile = work.narrow[i];
    const int runs = num_runs(tile), partials = runs * tile.num_tokens;
    const bool is_long = runs > 1 && kSplitShare * num_pages(tile) > share;
    if (!is_long || work.num_partials + partials > tiling.max_partials) continue;
    for (int token = 0; token < tile.num_tokens; ++token) {
      work.merges.push_back({tile.first_row + token, work.num_partials + token, tile.num_tokens, runs});
    }
    for (int run = 0; run < runs; ++run) {
      AttentionTile part = tile;
      part.key_run = run;
      part.first_partial = work.num_partials + run * tile.num_tokens;
      if (run == 0) {
        work.narrow[i] = part;
      } else {
        work.narrow.push_back(part);
      }
    }
    work.num_partials += partials;
  }
  longest_first(work.narrow);
}

}  // namespace

int max_attention_partials(int max_num_seqs, int64_t max_model_len) {
  const int64_t runs = (max_model_len + kKeyRun - 1) / kKeyRun;
  return static_cast<int>(std::min<int64_t>(max_num_seqs * runs, 4096));
}

int64_t attention_workspace_bytes(const AttentionShape& shape, int max_partials) {
  return int64_t{max_partials} * shape.heads * (shape.head_dim + 2) * 4;
}

void plan_attention(std::span<const BatchSequence> sequences, int chunk_size, const AttentionTiling& tiling,
                    AttentionWork& work) {
  work.narrow.clear();
  work.wide.clear();
  work.merges.clear();
  work.num_partials = work.decode_runs = 0;
  bool decodes = true;
  for (int s = 0; s < static_cast<int>(sequences.size()); ++s) {
    const BatchSequence& sequence = sequences[s];
    decodes &= sequence.num_tokens == 1;
    for (int done = 0; done < sequence.num_tokens;) {
      const int position = sequence.first_position + done;
      const int first_key = chunk_size > 0 ? position / chunk_size * chunk_size : 0;
      int count = sequence.num_tokens - done;
      if (chunk_size > 0) count = std::min(count, first_key + chunk_size - position);
      const AttentionTile piece{s, sequence.first_row + done, count, position, first_key, kAllRuns, 0};
      if (count <= kNarrowPiece) {
        work.decode_runs = std::max(work.decode_runs, num_runs(piece));
        add_tiles(piece, tiling.narrow_tokens, work.narrow);
      } else {
        add_tiles(piece, tiling.wide_tokens, work.wide);
      }
      done += count;
    }
  }
  if (!decodes) work.decode_runs = 0;
  split_long_tiles(tiling, work);
  work.finishes = decodes && (work.merges.empty() || sequences.size() <= kCutRows);
  longest_first(work.wide);
}

}  // namespace outrider::cuda
