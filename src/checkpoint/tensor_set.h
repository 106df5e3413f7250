// All tensors of a checkpoint folder: one model.safetensors, or shards by model.safetensors.index.json.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "model/weights.h"

namespace outrider::checkpoint {

struct TensorSet {
  std::vector<Tensor> tensors;  // names are unique
  std::vector<std::string> files;
  std::shared_ptr<const model::WeightSource> source;  // the mappings that the tensors point into
};

// Throws CheckpointError: no safetensors, a missing shard, a tensor in two files or not in the file its index
// names.
TensorSet open_tensors(const std::string& folder);

// The text of a file of at most `max_bytes`; nothing where it does not exist. Throws CheckpointError if
// unreadable.
std::optional<std::string> read_text_file(const std::string& path, size_t max_bytes);

}  // namespace outrider::checkpoint
