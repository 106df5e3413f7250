#include "cuda/weight_pieces.h"

#include <algorithm>
#include <functional>
#include <stdexcept>

namespace outrider::cuda {

using model::Layout;
using model::Matrix;

namespace {

// Columns that a piece ends after: a multiple of what copy_columns() takes at a time, and of the bytes that a
// store to memory touches.
constexpr int64_t kWholeLines = 64;

}  // namespace

int element_bytes(const Matrix& m) { return m.format == model::WeightFormat::kFp8 ? 1 : 2; }

std::optional<Matrix> side_by_side(const Matrix& gate, const Matrix& up) {
  const auto* after_gate =
      static_cast<const std::byte*>(gate.data) + int64_t{gate.rows} * element_bytes(gate);
  const bool halves = gate.layout == Layout::kColMajor && up.layout == Layout::kColMajor &&
                      gate.format == up.format && gate.cols == up.cols && gate.stride == up.stride &&
                      gate.stride == int64_t{gate.rows} + up.rows && up.data == after_gate;
  if (!halves) return {};
  Matrix both = gate;
  both.rows += up.rows;
  return both;
}

void add_pieces(const Matrix& m, const Place& to, int64_t piece_bytes, std::vector<Piece>& pieces) {
  const bool by_row = m.layout == Layout::kRowMajor;
  const int64_t lines = by_row ? m.rows : m.cols, elements = by_row ? m.cols : m.rows;
  if (m.stride != elements) throw std::logic_error("a matrix with gaps has no pieces");
  const int64_t line_bytes = elements * element_bytes(m);
  int64_t at_once = std::max<int64_t>(1, piece_bytes / line_bytes);
  if (at_once > kWholeLines) at_once -= at_once % kWholeLines;
  for (int64_t begin = 0; begin < lines; begin += at_once) {
    Piece piece;
    piece.first = begin;
    piece.count = std::min(at_once, lines - begin);
    piece.from = static_cast<const std::byte*>(m.data) + begin * line_bytes;
    piece.bytes = piece.count * line_bytes;
    piece.to = to;
    piece.rows = m.rows;
    piece.element_bytes = element_bytes(m);
    if (!by_row) {
      piece.repack = Repack::kColumns;
    } else if (to.image) {
      piece.repack = Repack::kRows;
    } else {
      piece.to.base += begin * line_bytes;
    }
    pieces.push_back(piece);
  }
}

void sort_as_stored(std::vector<Piece>& pieces) {
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return std::less<const std::byte*>()(a.from, b.from); });
}

}  // namespace outrider::cuda
