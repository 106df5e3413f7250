#include "cli/collect_env.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <fstream>
#include <thread>

#include "cli/host_memory.h"
#include "cli/model_location.h"

namespace outrider::cli {
namespace {

// The value of `key` in a file of `key : value` or `key=value` lines.
std::string find_line(const char* path, const std::string& key, char separator) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(key, 0) != 0) continue;
    const size_t at = line.find(separator);
    if (at == std::string::npos) continue;
    const size_t begin = line.find_first_not_of(" \t\"", at + 1);
    return begin == std::string::npos ? "" : line.substr(begin, line.find_last_not_of("\" ") + 1 - begin);
  }
  return "unknown";
}

std::string simd(const std::string& flags) {
  std::string found;
  for (const char* name :
       {"avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "asimd", "sve", "bf16"}) {
    if ((" " + flags + " ").find(" " + std::string(name) + " ") != std::string::npos) {
      found += (found.empty() ? "" : " ") + std::string(name);
    }
  }
  return found;
}

std::string nvidia_driver() {
  std::ifstream file("/proc/driver/nvidia/version");
  std::string line;
  return std::getline(file, line) ? line : "none";
}

}  // namespace

std::string collect_env(const config::Environment& environment) {
  utsname system = {};
  uname(&system);
  std::string flags = find_line("/proc/cpuinfo", "flags", ':');
  if (flags == "unknown") flags = find_line("/proc/cpuinfo", "Features", ':');
  std::string text;
  const auto add = [&](const char* name, const std::string& value) {
    text += fmt::format("{:<16}{}\n", name, value);
  };
  add("outrider", OUTRIDER_VERSION);
  add("compiler", __VERSION__);
  add("system", find_line("/etc/os-release", "PRETTY_NAME", '='));
  add("kernel", fmt::format("{} {} {}", system.sysname, system.release, system.machine));
  add("cpu", find_line("/proc/cpuinfo", "model name", ':'));
  add("threads", std::to_string(std::thread::hardware_concurrency()));
  add("simd", simd(flags));
  add("memory", fmt::format("{:.1f} GiB", static_cast<double>(host_memory_bytes()) / (1 << 30)));
  add("nvidia driver", nvidia_driver());
  for (const auto& folder : embedded_folders()) add("models", folder.string());
  add("hub cache", hub::cache_folder(environment).string());
  for (const auto& [name, value] : environment) {
    const bool ours = name.rfind("VLLM_", 0) == 0 || name.rfind("HF_", 0) == 0 || name == "OMP_NUM_THREADS" ||
                      name == "CUDA_VISIBLE_DEVICES";
    const bool secret = name.find("KEY") != std::string::npos || name.find("TOKEN") != std::string::npos;
    if (ours) add("environment", name + "=" + (secret ? "***" : value));
  }
  return text;
}

}  // namespace outrider::cli
