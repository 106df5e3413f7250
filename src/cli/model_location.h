// From what a user calls a model to the folder that holds it. Nothing is downloaded.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace outrider::cli {

struct ModelLocation {
  std::filesystem::path folder;
  std::string served_name;  // what requests call it unless --served-model-name says otherwise
};

struct ModelSearch {
  std::vector<std::filesystem::path> embedded;  // folders that may hold pocket-scout
  std::filesystem::path hub_cache;              // holds models--org--name/snapshots/<commit>
  std::string revision;                         // empty: main
};

// `model`: a folder, an id in the hub's cache, "pocket", "pocket-nvfp4"; empty: pocket. Throws StartupError.
ModelLocation locate_model(const std::string& model, const ModelSearch& search);

// Where the running program's own models may lie: beside the binary as built, as installed, and in the
// sources.
std::vector<std::filesystem::path> embedded_folders();

// `download_dir` unless empty; else by the environment: HF_HUB_CACHE, HF_HOME/hub, ~/.cache/huggingface/hub.
std::filesystem::path hub_cache_folder(const std::string& download_dir);

}  // namespace outrider::cli
