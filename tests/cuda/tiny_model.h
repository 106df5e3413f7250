// A small checkpoint on the device with pages for several sequences, driven row by row without engine or
// runner.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "checkpoint/load.h"
#include "cuda/llama4.h"
#include "golden/end_to_end.h"

namespace outrider::cuda {

struct TinyOptions {
  model::KvDtype kv_dtype = model::KvDtype::kBf16;
  int max_len = 600;
  int max_sequences = 4;
};

class TinyModel {
 public:
  TinyModel(std::shared_ptr<const model::Model> model, const TinyOptions& options) : config_(model->config) {
    geometry_ = model::make_kv_geometry(config_, kPagePositions, options.kv_dtype);
    blocks_ = (options.max_len + kPagePositions - 1) / kPagePositions;
    geometry_.num_blocks = options.max_sequences * geometry_.num_groups() * blocks_;
    limits_ = {options.max_len * options.max_sequences, options.max_len * options.max_sequences,
               options.max_sequences, options.max_len};
    llama_ = std::make_unique<Llama4>(std::move(model), geometry_, limits_);
  }

  const model::LlamaConfig& config() const { return config_; }

  // Runs the pieces as one batch; returns the logits of every row.
  std::vector<float> run(const std::vector<test::Piece>& pieces) {
    buffers_.clear();
    std::vector<int32_t> tokens, positions, sequence_of_row, pages, all_rows;
    std::vector<BatchSequence> sequences;
    for (const test::Piece& piece : pieces) {
      const int first = static_cast<int>(tokens.size()), count = static_cast<int>(piece.tokens.size());
      for (int i = 0; i < count; ++i) {
        all_rows.push_back(first + i);
        tokens.push_back(piece.tokens[i]);
        positions.push_back(piece.first_position + i);
        sequence_of_row.push_back(static_cast<int32_t>(sequences.size()));
      }
      sequences.push_back({first, count, piece.first_position, piece.sequence});
      for (int g = 0; g < geometry_.num_groups(); ++g) {
        for (int b = 0; b < blocks_; ++b) {
          // Neighbouring blocks of a sequence are far apart in the pool.
          pages.push_back((b * geometry_.num_groups() + g) * limits_.max_num_seqs + piece.sequence);
        }
      }
    }
    const int rows = static_cast<int>(tokens.size());
    const std::vector<int32_t> range = {0, rows};
    Step step;
    step.batch = {rows,
                  static_cast<int>(sequences.size()),
                  put(tokens),
                  put(positions),
                  put(sequence_of_row),
                  put(sequences),
                  put(pages),
                  geometry_.num_groups(),
                  blocks_};
    step.row_range = put(range);
    step.full = lists(sequences, 0);
    step.chunked = lists(sequences, config_.attention_chunk_size);
    llama_->forward(step, stream_);
    DeviceBuffer logits(static_cast<size_t>(rows) * config_.vocab_size * sizeof(float));
    check(cudaMemsetAsync(logits.as<float>(), 0xff, logits.bytes(), stream_), "poison");
    llama_->logits(put(all_rows), rows, logits.as<float>(), stream_);
    std::vector<float> out(static_cast<size_t>(rows) * config_.vocab_size);
    check(cudaMemcpyAsync(out.data(), logits.as<float>(), logits.bytes(), cudaMemcpyDeviceToHost, stream_),
          "logits");
    stream_.wait();
    return out;
  }

 private:
  template <typename T>
  const T* put(const std::vector<T>& values) {
    buffers_.emplace_back(std::max<size_t>(values.size(), 1) * sizeof(T));
    check(cudaMemcpyAsync(buffers_.back().as<T>(), values.data(), values.size() * sizeof(T),
                          cudaMemcpyHostToDevice, stream_),
          "copy of a batch");
    return buffers_.back().as<T>();
  }

  AttentionLists lists(const std::vector<BatchSequence>& sequences, int chunk_size) {
    AttentionWork work;
    plan_attention(sequences, chunk_size, llama_->attention_tiling(), work);
    const std::vector<int32_t> counts = {static_cast<int32_t>(work.narrow.size()),
                                         static_cast<int32_t>(work.wide.size()),
                                         static_cast<int32_t>(work.merges.size())};
    return {put(work.narrow),
            put(work.wide),
            put(work.merges),
            put(counts),
            !work.narrow.empty(),
            !work.wide.empty(),
            static_cast<int>(work.merges.size()),
            chunk_size,
            work.decode_runs};
  }

  const model::LlamaConfig config_;
  model::KvGeometry geometry_;
  Limits limits_;
  int blocks_ = 0;
  Stream stream_;
  std::unique_ptr<Llama4> llama_;
  std::vector<DeviceBuffer> buffers_;
};

inline std::shared_ptr<const model::Model> load_tiny(const std::string& name) {
  return std::make_shared<model::Model>(checkpoint::load(test::fixture("checkpoints/" + name), {}));
}

}  // namespace outrider::cuda
