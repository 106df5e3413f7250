// A tiny checkpoint with pages for several sequences, driven row by row without engine or runner.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "checkpoint/load.h"
#include "cpu/llama4.h"
#include "cpu/safetensors_reader.h"
#include "golden/end_to_end.h"

namespace outrider::test {

inline std::shared_ptr<const model::Model> load_tiny(const std::string& name) {
  return std::make_shared<model::Model>(checkpoint::load(fixture("checkpoints/" + name), {}));
}

struct TinyOptions {
  model::KvDtype kv_dtype = model::KvDtype::kF32;
  cpu::ActivationQuantization quantization = cpu::ActivationQuantization::kNone;
  int threads = 1;
  int max_len = 600;
  int max_sequences = 4;
  int block_size = 16;
};

class TinyModel {
 public:
  TinyModel(std::shared_ptr<const model::Model> model, const TinyOptions& options)
      : config_(model->config), options_(options), pool_(options.threads) {
    geometry_ = model::make_kv_geometry(config_, options.block_size, options.kv_dtype);
    blocks_ = (options.max_len + options.block_size - 1) / options.block_size;
    geometry_.num_blocks = options.max_sequences * geometry_.num_groups() * blocks_;
    llama_ = std::make_unique<cpu::Llama4>(
        std::move(model), geometry_, options.max_len * options.max_sequences, options.quantization, pool_);
  }

  // Runs the pieces as one batch; returns the logits of every row.
  std::vector<float> run(const std::vector<Piece>& pieces) {
    begin(pieces);
    llama_->forward(batch_);
    return all_logits();
  }

  // Sets the batch up without computing anything.
  void begin(const std::vector<Piece>& pieces) {
    batch_ = {};
    pages_.clear();
    for (const Piece& piece : pieces) {
      const int first = static_cast<int>(batch_.tokens.size()), count = static_cast<int>(piece.tokens.size());
      batch_.sequences.push_back({first, count, piece.first_position});
      for (int i = 0; i < count; ++i) {
        batch_.tokens.push_back(piece.tokens[i]);
        batch_.positions.push_back(piece.first_position + i);
      }
      for (int g = 0; g < geometry_.num_groups(); ++g) {
        for (int b = 0; b < blocks_; ++b) pages_.push_back(page(piece.sequence, g, b));
      }
    }
    batch_.pages = pages_.data();
    batch_.blocks_per_row = blocks_;
    llama_->begin(batch_);
  }

  std::vector<float> all_logits() {
    const int rows = static_cast<int>(batch_.tokens.size());
    std::vector<float> out(static_cast<size_t>(rows) * config_.vocab_size);
    for (int row = 0; row < rows; row += cpu::Llama4::max_logit_rows()) {
      std::vector<int32_t> wanted;
      for (int r = row; r < std::min(rows, row + cpu::Llama4::max_logit_rows()); ++r) wanted.push_back(r);
      llama_->logits(wanted, out.data() + static_cast<size_t>(row) * config_.vocab_size);
    }
    return out;
  }

  cpu::Llama4& llama() { return *llama_; }
  const model::LlamaConfig& config() const { return config_; }
  const model::KvGeometry& geometry() const { return geometry_; }

 private:
  // Descending, so that the pages of neighbouring blocks are not neighbours in the order a bug would assume.
  int page(int sequence, int group, int block) const {
    const int64_t i = (int64_t{sequence} * geometry_.num_groups() + group) * blocks_ + block;
    return geometry_.num_blocks - 1 - static_cast<int>(i);
  }

  const model::LlamaConfig config_;
  const TinyOptions options_;
  cpu::ThreadPool pool_;
  model::KvGeometry geometry_;
  int blocks_ = 0;
  std::unique_ptr<cpu::Llama4> llama_;
  cpu::Batch batch_;
  std::vector<int32_t> pages_;
};

}  // namespace outrider::test
