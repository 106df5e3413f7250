// A small reader of safetensors for tests, independent of the product's: whole file in memory, everything as
// fp32 or int32.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/number_formats.h"

namespace outrider::test {

struct Tensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<uint8_t> bytes;

  int64_t size() const {
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    return n;
  }

  std::vector<float> floats() const {
    std::vector<float> out(size());
    for (size_t i = 0; i < out.size(); ++i) {
      if (dtype == "F32") std::memcpy(&out[i], &bytes[4 * i], 4);
      if (dtype == "F8_E4M3") out[i] = cpu::e4m3_to_float(bytes[i]);
      if (dtype == "BF16") {
        uint16_t half;
        std::memcpy(&half, &bytes[2 * i], 2);
        out[i] = cpu::bf16_to_float(half);
      }
    }
    return out;
  }

  std::vector<int32_t> ints() const {
    if (dtype != "I32") throw std::runtime_error("not an I32 tensor");
    std::vector<int32_t> out(size());
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }
};

class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) throw std::runtime_error("cannot open " + path);
    const std::string all((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, all.data(), 8);
    const auto header = nlohmann::json::parse(all.substr(8, header_bytes));
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") continue;
      const auto begin = all.begin() + 8 + header_bytes;
      const uint64_t from = entry["data_offsets"][0], to = entry["data_offsets"][1];
      tensors_[name] = {entry["dtype"], entry["shape"], std::vector<uint8_t>(begin + from, begin + to)};
    }
  }

  const Tensor& operator[](const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) throw std::runtime_error("no tensor " + name);
    return found->second;
  }
  bool contains(const std::string& name) const { return tensors_.count(name) > 0; }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& [name, tensor] : tensors_) out.push_back(name);
    return out;
  }

 private:
  std::map<std::string, Tensor> tensors_;
};

inline std::string fixture(const std::string& path) {
  return std::string(OUTRIDER_BINARY_DIR) + "/fixtures/" + path;
}

}  // namespace outrider::test
