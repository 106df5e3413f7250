#include "checkpoint/tensor_set.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <stdexcept>
#include <unordered_map>

#include "base/error.h"
#include "model/json_fields.h"

namespace outrider::checkpoint {

namespace fs = std::filesystem;
using model::in_quotes;
using nlohmann::json;

namespace {

constexpr size_t kMaxIndexBytes = 64 << 20;
constexpr const char* kIndex = "model.safetensors.index.json";

using WeightMap = std::unordered_map<std::string, std::string>;  // tensor -> shard's file name

// Shard names come from a foreign file: they may only name files of the folder itself.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name.find('/') == std::string::npos && name.find('\0') == std::string::npos &&
         name != ".." && name != ".";
}

WeightMap read_index(const std::string& path) {
  const json index =
      model::parse_json_object(read_text_file(path, kMaxIndexBytes).value_or(""), path, kMaxIndexBytes);
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object() || map->empty())
    throw CheckpointError(path + ": \"weight_map\" is missing, expected an object of tensor and file names");
  WeightMap files;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !is_plain_name(file.get_ref<const std::string&>()))
      throw CheckpointError(path + ": tensor " + in_quotes(tensor) + " is in " + model::brief(file) +
                            ", expected the name of a file in the same folder");
    files.emplace(tensor, file.get<std::string>());
  }
  return files;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> names;
  fs::directory_iterator entries(folder, error);
  if (error) throw CheckpointError(folder + ": cannot list the folder: " + error.message());
  for (const fs::directory_entry& entry : entries) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

class MappedFiles : public model::WeightSource {
 public:
  const MappedFile& open(const std::string& path) {
    files_.push_back(std::make_unique<MappedFile>(path));
    return *files_.back();
  }

  void read(const std::byte* from, int64_t bytes, std::byte* to) const override {
    const auto count = static_cast<size_t>(bytes);
    for (const auto& file : files_) {
      const std::span<const std::byte> all = file->bytes();
      if (from >= all.data() && from + count <= all.data() + all.size())
        return file->read(static_cast<size_t>(from - all.data()), count, to);
    }
    throw std::logic_error("no file holds these bytes");
  }

 private:
  std::vector<std::unique_ptr<MappedFile>> files_;
};

// Without an index every *.safetensors of the folder counts.
std::vector<std::string> list_safetensors(const std::string& folder) {
  std::vector<std::string> found;
  std::string other;
  for (const std::string& name : names_in(folder)) {
    const std::string extension = fs::path(name).extension().string();
    if (extension == ".safetensors") found.push_back(name);
    if (other.empty() &&
        (extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".gguf"))
      other = name;
  }
  if (!found.empty()) return found;
  throw CheckpointError(folder +
                        (other.empty() ? ": no *.safetensors file here"
                                       : ": holds " + in_quotes(other) + " but no *.safetensors file") +
                        "; only safetensors checkpoints are read");
}

// Every tensor of the index must be where it says.
void check_index(const WeightMap& index, const std::unordered_map<std::string, std::string>& found,
                 const std::string& path) {
  for (const auto& [tensor, file] : index) {
    const auto it = found.find(tensor);
    if (it == found.end() || it->second != file)
      throw CheckpointError(path + ": names " + in_quotes(file) + " for tensor " + in_quotes(tensor) +
                            ", which that file lacks");
  }
}

}  // namespace

std::optional<std::string> read_text_file(const std::string& path, size_t max_bytes) {
  std::error_code error;
  if (!fs::exists(path, error)) return {};
  if (!fs::is_regular_file(path, error)) throw CheckpointError(path + ": not a regular file");
  const uintmax_t size = fs::file_size(path, error);
  if (error || size > max_bytes)
    throw CheckpointError(path + ": " + std::to_string(size) + " bytes, expected at most " +
                          std::to_string(max_bytes));
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(size)))
    throw CheckpointError(path + ": cannot be read");
  return text;
}

TensorSet open_tensors(const std::string& folder) {
  const std::string index_path = folder + "/" + kIndex;
  std::error_code error;
  const bool sharded = fs::exists(index_path, error);
  const WeightMap index = sharded ? read_index(index_path) : WeightMap();
  std::set<std::string> names;
  for (const auto& [tensor, file] : index) names.insert(file);
  if (!sharded)
    for (std::string& name : list_safetensors(folder)) names.insert(std::move(name));

  TensorSet set;
  auto mappings = std::make_shared<MappedFiles>();
  std::unordered_map<std::string, std::string> file_of;
  for (const std::string& name : names) {
    const std::string path = folder + "/" + name;
    if (sharded && !fs::exists(path, error))
      throw CheckpointError(path + ": missing, but named by " + kIndex + "; is the download complete?");
    for (Tensor& tensor : parse_safetensors(mappings->open(path).bytes(), path)) {
      const auto [it, inserted] = file_of.emplace(tensor.name, name);
      if (!inserted)
        throw CheckpointError(path + ": tensor " + in_quotes(tensor.name) + " is also in " + it->second);
      set.tensors.push_back(std::move(tensor));
    }
    set.files.push_back(name);
  }
  check_index(index, file_of, index_path);
  set.source = std::move(mappings);
  return set;
}

}  // namespace outrider::checkpoint
