// A checkpoint folder in a temporary place that a test may break in any way it likes.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/load.h"
#include "checkpoint/safetensors.h"

namespace outrider::checkpoint {

inline std::string fixture(const std::string& name) {
  return OUTRIDER_BINARY_DIR "/fixtures/checkpoints/" + name;
}

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

struct TestTensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

using TestTensors = std::map<std::string, TestTensor>;

inline std::string with_header(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + header + data;
}

// Written without help of the code under test; the header is padded so that the data begin at a multiple
// of 8.
inline std::string to_safetensors(const TestTensors& tensors) {
  nlohmann::json header = nlohmann::json::object();
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    data.resize((data.size() + 7) / 8 * 8);
    const size_t begin = data.size();
    data += tensor.bytes;
    header[name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return with_header(text, data);
}

inline TestTensors from_safetensors(const std::string& path) {
  const std::string file = read_file(path);
  uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  TestTensors tensors;
  const nlohmann::json header = nlohmann::json::parse(file.substr(8, length));
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const size_t begin = entry["data_offsets"][0];
    const size_t end = entry["data_offsets"][1];
    tensors[name] = {entry["dtype"], entry["shape"], file.substr(8 + length + begin, end - begin)};
  }
  return tensors;
}

inline std::string f32(float value) {
  std::string bytes(4, '\0');
  std::memcpy(bytes.data(), &value, 4);
  return bytes;
}

class Folder {
 public:
  explicit Folder(const std::string& fixture_name) : path_(make_path()) {
    std::filesystem::create_directories(path_);
    for (const auto& entry : std::filesystem::directory_iterator(fixture(fixture_name)))
      if (entry.path().filename() != "model.safetensors")
        std::filesystem::copy(entry.path(), path_ + "/" + entry.path().filename().string());
    const std::string single = fixture(fixture_name) + "/model.safetensors";
    if (std::filesystem::exists(single)) tensors = from_safetensors(single);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

  void patch_config(const nlohmann::json& patch) const {
    nlohmann::json config = nlohmann::json::parse(read_file(file("config.json")));
    config.update(patch);
    write_file(file("config.json"), config.dump());
  }

  model::Model load(const LoadOptions& options = {}) const {
    if (!tensors.empty()) write_file(file("model.safetensors"), to_safetensors(tensors));
    return checkpoint::load(path_, options);
  }

  // The one line that loading ends with.
  std::string error(const LoadOptions& options = {}) const {
    try {
      load(options);
    } catch (const StartupError& error) {
      return error.what();
    }
    return "no error";
  }

  TestTensors tensors;

 private:
  static std::string make_path() {
    static std::random_device random;
    return testing::TempDir() + "outrider-checkpoint-" + std::to_string(random()) + std::to_string(random());
  }

  std::string path_;
};

}  // namespace outrider::checkpoint
