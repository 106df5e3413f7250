#include "config/compilation.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "base/error.h"
#include "config/nearest.h"
#include "config/value.h"

namespace outrider::config {
namespace {

enum class Type { kAny, kBool, kInt, kInts, kGraphMode };
// What a key asks for, and so what is said of it.
enum class Use {
  kMode,      // of which steps graphs are captured, by value:
  kGraphs,    //   decode steps
  kNoGraphs,  //   none
  kPieces,    //   of all steps, in vLLM between layers' attention
  kSizes,     // graphs' rows
  kFused,     // work that the kernels of both devices always do together
  kReduce,    // sums over devices
  kCompile,   // vLLM's compiler
};

struct Key {
  const char* path;
  Type type;
  Use use;
};

constexpr Key kKeys[] = {
    {"cudagraph_mode", Type::kGraphMode, Use::kMode},
    {"cudagraph_capture_sizes", Type::kInts, Use::kSizes},
    {"max_cudagraph_capture_size", Type::kInt, Use::kSizes},
    {"use_cudagraph", Type::kBool, Use::kMode},
    {"full_cuda_graph", Type::kBool, Use::kMode},
    {"pass_config.enable_fi_allreduce_fusion", Type::kBool, Use::kReduce},
    {"pass_config.fuse_allreduce_rms", Type::kBool, Use::kReduce},
    {"pass_config.fi_allreduce_fusion_max_token_num", Type::kInt, Use::kReduce},
    {"pass_config.fi_allreduce_fusion_max_size_mb", Type::kAny, Use::kReduce},
    {"pass_config.enable_noop", Type::kBool, Use::kFused},
    {"pass_config.eliminate_noops", Type::kBool, Use::kFused},
    {"pass_config.enable_fusion", Type::kBool, Use::kFused},
    {"pass_config.enable_attn_fusion", Type::kBool, Use::kFused},
    {"pass_config.fuse_norm_quant", Type::kBool, Use::kFused},
    {"pass_config.fuse_act_quant", Type::kBool, Use::kFused},
    {"pass_config.fuse_attn_quant", Type::kBool, Use::kFused},
    {"pass_config.enable_sequence_parallelism", Type::kBool, Use::kReduce},
    {"pass_config.enable_sp", Type::kBool, Use::kReduce},
    {"pass_config.enable_async_tp", Type::kBool, Use::kReduce},
    {"pass_config.fuse_gemm_comms", Type::kBool, Use::kReduce},
    {"pass_config.dump_graph_stages", Type::kAny, Use::kCompile},
    {"pass_config.dump_graph_dir", Type::kAny, Use::kCompile},
    {"level", Type::kAny, Use::kCompile},
    {"mode", Type::kAny, Use::kCompile},
    {"custom_ops", Type::kAny, Use::kCompile},
    {"splitting_ops", Type::kAny, Use::kCompile},
    {"backend", Type::kAny, Use::kCompile},
    {"use_inductor", Type::kAny, Use::kCompile},
    {"use_inductor_graph_partition", Type::kAny, Use::kCompile},
    {"compile_sizes", Type::kAny, Use::kCompile},
    {"inductor_compile_config", Type::kAny, Use::kCompile},
    {"inductor_passes", Type::kAny, Use::kCompile},
    {"debug_dump_path", Type::kAny, Use::kCompile},
    {"cache_dir", Type::kAny, Use::kCompile},
    {"cudagraph_num_of_warmups", Type::kAny, Use::kCompile},
    {"cudagraph_copy_inputs", Type::kAny, Use::kCompile},
    {"cudagraph_specialize_lora", Type::kAny, Use::kCompile},
};

constexpr const char* kGraphModes[] = {"NONE", "PIECEWISE", "FULL", "FULL_DECODE_ONLY", "FULL_AND_PIECEWISE"};

// What the value should have been; empty when it is right.
std::string expected(Type type, const Json& value) {
  const auto whole_size = [](const Json& v) { return v.is_number_integer() && v >= 1 && v <= 65536; };
  switch (type) {
    case Type::kAny:
      return "";
    case Type::kBool:
      return value.is_boolean() || value.is_null() ? "" : "true or false";
    case Type::kInt:
      return value.is_null() || whole_size(value) ? "" : "a whole number from 1 to 65536";
    case Type::kInts:
      return value.is_null() || (value.is_array() && std::all_of(value.begin(), value.end(), whole_size))
                 ? ""
                 : "a list of whole numbers from 1 to 65536";
    case Type::kGraphMode:
      break;
  }
  if (value.is_null() ||
      std::find(std::begin(kGraphModes), std::end(kGraphModes), value) != std::end(kGraphModes)) {
    return "";
  }
  std::string modes;
  for (const char* mode : kGraphModes) modes += (modes.empty() ? "" : ", ") + std::string(mode);
  return "one of " + modes;
}

const char* meaning(Use use) {
  switch (use) {
    case Use::kMode:
      return "NONE, use_cudagraph false: no CUDA graphs; else, on a GPU, whole decode steps of few rows are "
             "graphs";
    case Use::kGraphs:
      return "on a GPU whole decode steps of few rows are CUDA graphs";
    case Use::kNoGraphs:
      return "no CUDA graphs";
    case Use::kPieces:
      return "no step is cut into pieces; on a GPU whole decode steps of few rows are CUDA graphs";
    case Use::kSizes:
      return "on a GPU decode steps of so many rows are CUDA graphs, nothing is padded";
    case Use::kFused:
      return "always so";
    case Use::kReduce:
      return "one device has nothing to reduce";
    case Use::kCompile:
      return "nothing is compiled at start-up";
  }
  return "";
}

// What a key asks for with this value.
Use use_of(const Key& key, const Json& value) {
  if (key.use != Use::kMode || value.is_null()) return key.use;
  const std::string_view path = key.path;
  if (path == "use_cudagraph") return value == true ? Use::kGraphs : Use::kNoGraphs;
  if (path == "full_cuda_graph") return value == true ? Use::kGraphs : Use::kPieces;
  if (value == "NONE") return Use::kNoGraphs;
  return value == "PIECEWISE" || value == "FULL_AND_PIECEWISE" ? Use::kPieces : Use::kGraphs;
}

void check_key(const std::string& path, const Json& value, std::map<Use, std::string>& keys) {
  const auto key =
      std::find_if(std::begin(kKeys), std::end(kKeys), [&](const Key& k) { return path == k.path; });
  if (key == std::end(kKeys)) {
    std::vector<std::string> names;
    for (const Key& known : kKeys) names.push_back(known.path);
    const std::string nearest = nearest_name(path, names);
    throw UsageError("argument --compilation-config: unknown key " + path +
                     (nearest.empty() ? "" : " (did you mean " + nearest + "?)"));
  }
  const std::string wanted = expected(key->type, value);
  if (!wanted.empty()) {
    throw UsageError("argument --compilation-config: " + path + ": expected " + wanted + ", got " +
                     to_text(value));
  }
  std::string& list = keys[use_of(*key, value)];
  list += (list.empty() ? "" : ", ") + path;
}

}  // namespace

std::string check_compilation_config(const Json& config) {
  std::map<Use, std::string> keys;
  for (const auto& [key, value] : config.items()) {
    if (key != "pass_config") {
      check_key(key, value, keys);
    } else if (value.is_object()) {
      for (const auto& [inner, inner_value] : value.items())
        check_key("pass_config." + inner, inner_value, keys);
    } else if (!value.is_null()) {
      throw UsageError("argument --compilation-config: pass_config: expected an object, got " +
                       to_text(value));
    }
  }
  std::string said;
  for (const auto& [use, list] : keys)
    said += (said.empty() ? "" : "; ") + std::string(meaning(use)) + ": " + list;
  return said;
}

std::optional<std::vector<int>> graph_rows(const ServeOptions& options) {
  const auto key = [&](const char* name) { return options.compilation_config.value(name, Json()); };
  const auto either = [&](const char* name, const Json& flag) {
    const Json value = key(name);
    if (!flag.is_null() && !value.is_null()) {
      throw UsageError(std::string(name) + " and compilation_config." + name + " are mutually exclusive");
    }
    return flag.is_null() ? value : flag;
  };
  const std::optional<int64_t> max_flag = options.max_cudagraph_capture_size;
  const Json sizes = either("cudagraph_capture_sizes", options.cudagraph_capture_sizes),
             most = either("max_cudagraph_capture_size", max_flag ? Json(*max_flag) : Json());
  const Json mode = key("cudagraph_mode");
  if (options.enforce_eager || mode == "NONE" || (mode.is_null() && key("use_cudagraph") == false))
    return std::vector<int>{};
  if (sizes.is_null() && most.is_null()) return std::nullopt;

  std::vector<int> rows;
  // One number after the flag, or the largest alone, stands for vLLM's row of sizes.
  const bool is_row = sizes.is_null() || (!options.cudagraph_capture_sizes.is_null() && sizes.size() == 1);
  if (is_row) {
    const int end = sizes.is_null() ? most.get<int>() : sizes[0].get<int>();
    for (int size = 1; size <= end; size += size < 8 ? size : 8) rows.push_back(size);
  } else {
    rows = sizes.get<std::vector<int>>();
  }
  if (!most.is_null()) std::erase_if(rows, [&](int size) { return size > most.get<int>(); });
  return rows;
}

std::vector<std::pair<std::string, std::string>> compilation_keys() {
  std::vector<std::pair<std::string, std::string>> keys;
  for (const Key& key : kKeys) keys.emplace_back(key.path, meaning(key.use));
  return keys;
}

}  // namespace outrider::config
