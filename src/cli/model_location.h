// From what a user calls a model to the folder that holds it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "config/serve_options.h"
#include "hub/hub.h"

namespace outrider::cli {

struct ModelLocation {
  std::filesystem::path folder;
  std::string served_name;  // what requests call it unless --served-model-name says otherwise
};

struct ModelSearch {
  std::vector<std::filesystem::path> embedded;  // folders that may hold pocket-scout
  hub::Access hub;
  std::string revision;  // empty: main
  hub::Need need;
  hub::Policy policy = hub::Policy::kCacheFirst;
};

// `model`: a folder, an id on the hub, "pocket", "pocket-nvfp4"; empty: pocket. Throws StartupError.
ModelLocation locate_model(const std::string& model, const ModelSearch& search);

// Where the running program's own models may lie: beside the binary as built, as installed, and in the
// sources.
std::vector<std::filesystem::path> embedded_folders();

// For names that stand without options beside them. `need`: of a model on the hub.
ModelSearch plain_search(const hub::Need& need, hub::Policy policy);

// --download-dir and --hf-token.
hub::Access hub_access(const config::ServeOptions& options, const config::Environment& environment);

struct EngineModel {
  ModelLocation location;
  std::string tokenizer_folder;
};

// --model and --tokenizer with what concerns them. Throws StartupError.
EngineModel locate_engine_model(const config::ServeOptions& options, const config::Environment& environment);

}  // namespace outrider::cli
