// A checkpoint whose file loses its second half between its opening and its reading.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>

#include "checkpoint/load.h"
#include "cpu/safetensors_reader.h"

namespace outrider::cuda {

class ShrunkCheckpoint {
 public:
  ShrunkCheckpoint()
      : folder_(testing::TempDir() + "outrider-shrunk-" + std::to_string(std::random_device()())) {
    std::filesystem::copy(test::fixture("checkpoints/tiny-a-fp8"), folder_,
                          std::filesystem::copy_options::recursive);
    model_ = checkpoint::load(folder_, {});
    const std::string file = folder_ + "/model.safetensors";
    std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
  }
  ~ShrunkCheckpoint() { std::filesystem::remove_all(folder_); }
  ShrunkCheckpoint(const ShrunkCheckpoint&) = delete;
  ShrunkCheckpoint& operator=(const ShrunkCheckpoint&) = delete;

  const model::Model& model() const { return model_; }
  const std::string& folder() const { return folder_; }

 private:
  const std::string folder_;
  model::Model model_;
};

}  // namespace outrider::cuda
