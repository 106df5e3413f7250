// The plan of a load, carried out on the host.
#include "cuda/weight_layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "checkpoint/load.h"
#include "cpu/safetensors_reader.h"
#include "cuda/expected_weights.h"

namespace outrider::cuda {
namespace {

constexpr const char* kCheckpoints[] = {"tiny-a-bf16", "tiny-a-fp8", "tiny-a-fp8-mm-legacy",
                                        "tiny-a-fp8-perexpert"};
constexpr int64_t kPieceBytes[] = {1, 5000, 20000, 1 << 20};

model::Model load(const std::string& name) {
  return checkpoint::load(test::fixture("checkpoints/" + name), {});
}

int64_t line_bytes(const Piece& piece) { return piece.bytes / piece.count; }

// What the kernels of repack.h do.
void put(const Piece& piece) {
  if (piece.repack == Repack::kNone) {
    std::memcpy(piece.to.base, piece.from, piece.bytes);
    return;
  }
  const bool by_row = piece.repack == Repack::kRows;
  const int64_t element = piece.element_bytes, a_line = line_bytes(piece) / element;
  for (int64_t i = 0; i < piece.count * a_line; ++i) {
    const int64_t line = piece.first + i / a_line, place = i % a_line;
    uint8_t* to = by_row ? piece.to.at(line, place * element) : piece.to.at(place, line * element);
    std::memcpy(to, piece.from + i * element, element);
  }
}

TEST(WeightLayout, pieces_carry_every_layout_of_a_checkpoint_to_its_places) {
  for (const char* name : kCheckpoints) {
    const model::Model model = load(name);
    for (const int64_t piece_bytes : kPieceBytes) {
      SCOPED_TRACE(testing::Message() << name << ", " << piece_bytes << " bytes");
      std::vector<uint8_t> memory(lay_out(model, nullptr, piece_bytes).bytes, 0xff);
      const WeightLayout layout = lay_out(model, memory.data(), piece_bytes);
      EXPECT_EQ(layout.bytes, static_cast<int64_t>(memory.size()));
      for (const Piece& piece : layout.pieces) put(piece);
      ExpectedWeights([](void* to, const void* from, size_t bytes) {
        std::memcpy(to, from, bytes);
      }).expect(model, layout.weights);
    }
  }
}

TEST(WeightLayout, pieces_follow_each_other_as_the_bytes_of_a_file_do_and_hold_whole_lines) {
  for (const char* name : kCheckpoints) {
    const model::Model model = load(name);
    for (const int64_t piece_bytes : kPieceBytes) {
      SCOPED_TRACE(testing::Message() << name << ", " << piece_bytes << " bytes");
      const std::vector<Piece> pieces = lay_out(model, nullptr, piece_bytes).pieces;
      for (size_t i = 0; i < pieces.size(); ++i) {
        const Piece& piece = pieces[i];
        ASSERT_GT(piece.count, 0);
        EXPECT_EQ(piece.bytes % piece.count, 0);
        EXPECT_TRUE(piece.bytes <= piece_bytes || piece.count == 1) << piece.bytes;
        if (i > 0) {
          EXPECT_LE(pieces[i - 1].from + pieces[i - 1].bytes, piece.from);
        }
      }
    }
  }
}

TEST(WeightLayout, gate_and_up_of_a_fused_expert_are_read_together) {
  const model::Model model = load("tiny-a-fp8");
  const std::vector<Piece> pieces = lay_out(model, nullptr, 5000).pieces;
  for (const model::Layer& layer : model.weights.layers) {
    for (const model::Mlp& expert : layer.experts) {
      const auto* at = static_cast<const std::byte*>(expert.gate.data);
      const auto* end = at + int64_t{expert.gate.rows + expert.up.rows} * expert.gate.cols;
      auto piece = std::find_if(pieces.begin(), pieces.end(), [&](const Piece& p) { return p.from == at; });
      while (at != end) {
        ASSERT_NE(piece, pieces.end());
        ASSERT_EQ(piece->from, at);
        EXPECT_EQ(piece->rows, expert.gate.rows + expert.up.rows);
        at += piece->bytes;
        ++piece;
      }
    }
  }
}

model::Matrix columns(const std::byte* data, int rows, int cols, int64_t stride) {
  model::Matrix m;
  m.format = model::WeightFormat::kFp8;
  m.layout = model::Layout::kColMajor;
  m.rows = rows;
  m.cols = cols;
  m.data = data;
  m.stride = stride;
  return m;
}

TEST(WeightPieces, only_halves_of_one_matrix_are_side_by_side) {
  const std::vector<std::byte> data(10000);
  const model::Matrix gate = columns(data.data(), 64, 10, 128), up = columns(data.data() + 64, 64, 10, 128);
  const std::optional<model::Matrix> both = side_by_side(gate, up);
  ASSERT_TRUE(both);
  EXPECT_EQ(both->rows, 128);
  EXPECT_EQ(both->data, gate.data);
  EXPECT_FALSE(side_by_side(up, gate));
  EXPECT_FALSE(side_by_side(gate, gate));
  // Rows of one after the other, and columns with something between them.
  EXPECT_FALSE(side_by_side(columns(data.data(), 64, 10, 64), columns(data.data() + 640, 64, 10, 64)));
  EXPECT_FALSE(side_by_side(columns(data.data(), 64, 10, 192), columns(data.data() + 64, 64, 10, 192)));
}

TEST(WeightPieces, long_pieces_end_at_whole_tiles_of_columns) {
  const std::vector<std::byte> data(100 * 1000);
  std::vector<Piece> pieces;
  add_pieces(columns(data.data(), 100, 1000, 100), {.row_bytes = 1000, .image = true}, 20000, pieces);
  ASSERT_EQ(pieces.size(), 6u);  // of 192 columns, and the 40 that are left
  for (size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_EQ(pieces[i].first, 192 * static_cast<int64_t>(i));
    EXPECT_EQ(pieces[i].count, i < 5 ? 192 : 40);
    EXPECT_EQ(pieces[i].from, data.data() + 19200 * i);
  }
}

}  // namespace
}  // namespace outrider::cuda
