#include "cli/model_location.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <optional>

#include "base/error.h"

namespace outrider::cli {
namespace {

namespace fs = std::filesystem;

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

// Letters, digits, '-', '_', '.' and, in the middle, at most one '/': what the hub allows. Also keeps ".."
// out.
bool is_hub_id(const std::string& name) {
  const auto allowed = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  };
  const size_t slash = name.find('/');
  const std::string owner = name.substr(0, slash);
  const std::string repo = slash == std::string::npos ? owner : name.substr(slash + 1);
  for (const std::string& part : {owner, repo}) {
    if (part.empty() || part.front() == '.' || !std::all_of(part.begin(), part.end(), allowed)) return false;
  }
  return true;
}

std::optional<std::string> read_word(const fs::path& path) {
  std::ifstream file(path);
  std::string word;
  if (!(file >> word)) return std::nullopt;
  return word;
}

// One folder name that stays where it is put.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos;
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

std::optional<fs::path> find_snapshot(const fs::path& repo, const std::string& revision) {
  const std::string name = revision.empty() ? "main" : revision;
  if (is_plain_name(name)) {
    if (is_folder(repo / "snapshots" / name)) return repo / "snapshots" / name;
    const auto commit = read_word(repo / "refs" / name);
    if (commit && is_plain_name(*commit) && is_folder(repo / "snapshots" / *commit)) {
      return repo / "snapshots" / *commit;
    }
  }
  if (!revision.empty()) return std::nullopt;
  // Copied caches sometimes lack refs; a single snapshot is no question.
  std::vector<fs::path> snapshots;
  std::error_code error;
  for (fs::directory_iterator it(repo / "snapshots", error), end; !error && it != end; it.increment(error)) {
    snapshots.push_back(it->path());
  }
  return snapshots.size() == 1 ? std::optional(snapshots[0]) : std::nullopt;
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
  if (!is_hub_id(model)) throw StartupError("model " + model + ": no such folder");
  std::string folder = "models--" + model;
  if (const size_t slash = folder.find('/'); slash != std::string::npos) folder.replace(slash, 1, "--");
  const auto snapshot = find_snapshot(search.hub_cache / folder, search.revision);
  if (snapshot) return {*snapshot, model};
  const std::string revision = search.revision.empty() ? "" : " at revision " + search.revision;
  throw StartupError("model " + model + revision + " is neither a folder nor in the Hugging Face cache " +
                     search.hub_cache.string() +
                     ", and downloading is not built yet; fetch it with `hf download " + model + "`");
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

fs::path hub_cache_folder(const std::string& download_dir) {
  if (!download_dir.empty()) return download_dir;
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return fs::path(value != nullptr ? value : "");
  };
  if (const fs::path cache = variable("HF_HUB_CACHE"); !cache.empty()) return cache;
  if (const fs::path home = variable("HF_HOME"); !home.empty()) return home / "hub";
  const fs::path home = variable("HOME");
  return (home.empty() ? fs::path(".") : home) / ".cache" / "huggingface" / "hub";
}

}  // namespace outrider::cli
