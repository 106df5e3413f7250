// Which bytes of a checkpoint are read in one go, in which order, and what becomes of them on the device.
// Plain data, made without a device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "cuda/repack.h"
#include "model/weights.h"

namespace outrider::cuda {

enum class Repack { kNone, kRows, kColumns };

// Bytes that lie together in the checkpoint: whole rows, or whole columns, of one matrix.
struct Piece {
  const std::byte* from = nullptr;  // in a mapping, in memory, or in the range of generated weights
  int64_t bytes = 0;
  Repack repack = Repack::kNone;  // kNone: they go to to.base as they are
  Place to;
  int64_t first = 0;  // row or column of the matrix
  int64_t count = 0;  // of rows or columns
  int rows = 0;       // of the matrix; elements of a column
  int element_bytes = 1;
};

int element_bytes(const model::Matrix& m);

// The matrix that holds gate's rows and then up's, where the two are halves of it: those of fused experts,
// whose columns hold both. Nothing where they lie apart.
std::optional<model::Matrix> side_by_side(const model::Matrix& gate, const model::Matrix& up);

// Cuts a matrix without gaps into pieces of at most piece_bytes, or of one line where that is longer.
void add_pieces(const model::Matrix& m, const Place& to, int64_t piece_bytes, std::vector<Piece>& pieces);

// By address: a file is read from its beginning to its end.
void sort_as_stored(std::vector<Piece>& pieces);

}  // namespace outrider::cuda
