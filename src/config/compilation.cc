#include "config/compilation.h"

#include <algorithm>

#include "base/error.h"
#include "config/nearest.h"
#include "config/value.h"

namespace outrider::config {
namespace {

enum class Type { kAny, kBool, kInt, kInts, kGraphMode };
enum class Use { kGraphs, kFusion, kNone };

struct Key {
  const char* path;
  Type type;
  Use use;
};

constexpr Key kKeys[] = {
    {"cudagraph_mode", Type::kGraphMode, Use::kGraphs},
    {"cudagraph_capture_sizes", Type::kInts, Use::kGraphs},
    {"max_cudagraph_capture_size", Type::kInt, Use::kGraphs},
    {"use_cudagraph", Type::kBool, Use::kGraphs},
    {"full_cuda_graph", Type::kBool, Use::kGraphs},
    {"pass_config.enable_fi_allreduce_fusion", Type::kBool, Use::kFusion},
    {"pass_config.fuse_allreduce_rms", Type::kBool, Use::kFusion},
    {"pass_config.fi_allreduce_fusion_max_token_num", Type::kInt, Use::kFusion},
    {"pass_config.fi_allreduce_fusion_max_size_mb", Type::kAny, Use::kFusion},
    {"pass_config.enable_noop", Type::kBool, Use::kFusion},
    {"pass_config.eliminate_noops", Type::kBool, Use::kFusion},
    {"pass_config.enable_fusion", Type::kBool, Use::kFusion},
    {"pass_config.enable_attn_fusion", Type::kBool, Use::kFusion},
    {"pass_config.fuse_norm_quant", Type::kBool, Use::kFusion},
    {"pass_config.fuse_act_quant", Type::kBool, Use::kFusion},
    {"pass_config.fuse_attn_quant", Type::kBool, Use::kFusion},
    {"pass_config.enable_sequence_parallelism", Type::kBool, Use::kFusion},
    {"pass_config.enable_sp", Type::kBool, Use::kFusion},
    {"pass_config.enable_async_tp", Type::kBool, Use::kFusion},
    {"pass_config.fuse_gemm_comms", Type::kBool, Use::kFusion},
    {"pass_config.dump_graph_stages", Type::kAny, Use::kNone},
    {"pass_config.dump_graph_dir", Type::kAny, Use::kNone},
    {"level", Type::kAny, Use::kNone},
    {"mode", Type::kAny, Use::kNone},
    {"custom_ops", Type::kAny, Use::kNone},
    {"splitting_ops", Type::kAny, Use::kNone},
    {"backend", Type::kAny, Use::kNone},
    {"use_inductor", Type::kAny, Use::kNone},
    {"use_inductor_graph_partition", Type::kAny, Use::kNone},
    {"compile_sizes", Type::kAny, Use::kNone},
    {"inductor_compile_config", Type::kAny, Use::kNone},
    {"inductor_passes", Type::kAny, Use::kNone},
    {"debug_dump_path", Type::kAny, Use::kNone},
    {"cache_dir", Type::kAny, Use::kNone},
    {"cudagraph_num_of_warmups", Type::kAny, Use::kNone},
    {"cudagraph_copy_inputs", Type::kAny, Use::kNone},
    {"cudagraph_specialize_lora", Type::kAny, Use::kNone},
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

void check_key(const std::string& path, const Json& value, std::vector<std::string>& unused) {
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
  if (key->use == Use::kNone) unused.push_back(path);
}

}  // namespace

std::vector<std::string> check_compilation_config(const Json& config) {
  std::vector<std::string> unused;
  for (const auto& [key, value] : config.items()) {
    if (key != "pass_config") {
      check_key(key, value, unused);
    } else if (value.is_object()) {
      for (const auto& [inner, inner_value] : value.items())
        check_key("pass_config." + inner, inner_value, unused);
    } else if (!value.is_null()) {
      throw UsageError("argument --compilation-config: pass_config: expected an object, got " +
                       to_text(value));
    }
  }
  return unused;
}

std::vector<std::pair<std::string, std::string>> compilation_keys() {
  std::vector<std::pair<std::string, std::string>> keys;
  for (const Key& key : kKeys) {
    keys.emplace_back(key.path, key.use == Use::kGraphs ? "CUDA graphs of GPU runs"
                                : key.use == Use::kFusion
                                    ? "fused kernels of GPU runs"
                                    : "accepted, no effect: nothing is compiled at start-up");
  }
  return keys;
}

}  // namespace outrider::config
