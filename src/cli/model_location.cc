#include "cli/model_location.h"

#include "base/error.h"

namespace outrider::cli {
namespace {

namespace fs = std::filesystem;

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

ModelLocation locate_embedded(const std::string& form, const std::string& name, const ModelSearch& search) {
  std::string tried;
  for (const fs::path& root : search.embedded) {
    const fs::path folder = root / "pocket-scout" / form;
    std::error_code error;
    if (fs::exists(folder / "config.json", error)) return {folder, name};
    tried += (tried.empty() ? "" : ", ") + folder.string();
  }
  throw StartupError("Pocket Scout was not found in " + tried + "; name a model: outrider serve FOLDER");
}

}  // namespace

ModelLocation locate_model(const std::string& model, const ModelSearch& search) {
  if (model.empty() || model == "pocket" || model == "pocket-scout") {
    return locate_embedded("fp8", "pocket-scout", search);
  }
  if (model == "pocket-nvfp4" || model == "pocket-scout-nvfp4") {
    return locate_embedded("nvfp4", "pocket-scout-nvfp4", search);
  }
  if (is_folder(model)) return {model, model};
  if (!hub::is_hub_id(model)) throw StartupError("model " + model + ": no such folder");
  // Names without an owner are typing errors more often than models; the hub is not asked for them.
  const bool is_whole = model.find('/') != std::string::npos;
  const hub::Policy policy = is_whole ? search.policy : hub::Policy::kCacheOnly;
  return {hub::fetch({model, search.revision, search.need}, search.hub, policy), model};
}

std::vector<fs::path> embedded_folders() {
  std::vector<fs::path> folders;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) {
    const fs::path above = program.parent_path().parent_path();
    folders = {above / "models", above / "share" / "outrider" / "models"};
  }
  folders.emplace_back(fs::path(OUTRIDER_SOURCE_DIR) / "models");
  return folders;
}

ModelSearch plain_search(const hub::Need& need, hub::Policy policy) {
  return {embedded_folders(), {.environment = config::process_environment()}, "", need, policy};
}

hub::Access hub_access(const config::ServeOptions& options, const config::Environment& environment) {
  hub::Access access{.environment = environment, .download_dir = options.download_dir};
  if (options.hf_token.is_string()) access.token = options.hf_token;
  return access;
}

EngineModel locate_engine_model(const config::ServeOptions& options, const config::Environment& environment) {
  ModelSearch search{embedded_folders(), hub_access(options, environment), options.revision, {}};
  search.need = {.weights = options.load_format != "dummy", .tokenizer = options.tokenizer.empty()};
  EngineModel model{locate_model(options.model, search), ""};
  model.tokenizer_folder = model.location.folder.string();
  if (options.tokenizer.empty()) return model;
  search.need = {.weights = false, .tokenizer = true};
  model.tokenizer_folder = locate_model(options.tokenizer, search).folder.string();
  return model;
}

}  // namespace outrider::cli
