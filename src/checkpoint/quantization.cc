#include "checkpoint/quantization.h"

#include <string_view>

#include "base/error.h"
#include "checkpoint/dialect.h"
#include "model/json_fields.h"

namespace outrider::checkpoint {

using model::Fields;
using model::in_quotes;
using model::WeightFormat;
using nlohmann::json;

namespace {

constexpr size_t kMaxExcluded = 10000;

std::vector<std::string> read_names(const Fields& fields, const char* key) {
  std::vector<std::string> names;
  const json* list = fields.find(key);
  if (list == nullptr) return names;
  if (!list->is_array() || list->size() > kMaxExcluded)
    fields.fail(key, "a list of at most " + std::to_string(kMaxExcluded) + " module names");
  for (const json& name : *list) {
    if (!name.is_string()) fields.fail(key, "a list of module names");
    names.push_back(name.get<std::string>());
  }
  return names;
}

void read_producer(const Fields& fields, DeclaredQuantization& declared) {
  if (const std::optional<Fields> producer = fields.object("producer"))
    declared.producer = producer->string("name", "") + " " + producer->string("version", "");
}

// hf_quant_config.json: {"producer": ..., "quantization": {"quant_algo", "kv_cache_quant_algo",
// "exclude_modules"}}. Some ModelOpt versions put this object into config.json unchanged.
DeclaredQuantization read_modelopt_file(const Fields& root, const std::string& origin) {
  DeclaredQuantization declared;
  declared.origin = origin;
  read_producer(root, declared);
  const std::optional<Fields> fields = root.object("quantization");
  if (!fields) root.fail("quantization", "an object with quant_algo");
  declared.algorithm = fields->string("quant_algo", "");
  declared.kv_algorithm = fields->string("kv_cache_quant_algo", "");
  declared.excluded = read_names(*fields, "exclude_modules");
  return declared;
}

// config.json's quantization_config: ModelOpt from 0.31 on in the spelling of compressed-tensors, or embedded
// as above.
DeclaredQuantization read_config(const Fields& fields, const std::string& origin) {
  if (fields.find("quantization")) return read_modelopt_file(fields, origin);
  DeclaredQuantization declared;
  declared.origin = origin;
  read_producer(fields, declared);
  declared.algorithm = fields.string("quant_algo", fields.string("quant_method", ""));
  declared.excluded = read_names(fields, "ignore");
  if (const std::optional<Fields> kv = fields.object("kv_cache_scheme"))
    if (kv->integer("num_bits", 1, 64, 0) == 8) declared.kv_algorithm = "FP8";
  return declared;
}

// "*" stands for any text.
bool matches(std::string_view pattern, std::string_view name) {
  size_t p = 0;
  size_t n = 0;
  size_t star = std::string_view::npos;
  size_t resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::string_view without_prefix(std::string_view name) {
  if (name.starts_with(kTextPrefix)) name.remove_prefix(kTextPrefix.size());
  return name;
}

// An entry names a module or one that contains it.
bool is_excluded(const std::vector<std::string>& excluded, std::string_view tensor) {
  const std::string_view name = without_prefix(tensor);
  for (const std::string& entry : excluded) {
    const std::string_view pattern = without_prefix(entry);
    if (matches(pattern, name) || matches(std::string(pattern) + ".*", name)) return true;
  }
  return false;
}

// The format that a --quantization value asks for; nothing for "".
std::optional<WeightFormat> requested_format(const std::string& quantization) {
  if (quantization.empty()) return {};
  if (quantization == "modelopt" || quantization == "fp8") return WeightFormat::kFp8;
  if (quantization == "modelopt_fp4") return WeightFormat::kNvfp4;
  throw UsageError("--quantization is " + in_quotes(quantization) +
                   ", expected modelopt, modelopt_fp4 or fp8");
}

}  // namespace

DeclaredQuantization parse_quantization(const std::string& config, const std::string& config_path,
                                        const std::optional<std::string>& hf_quant_config,
                                        const std::string& hf_quant_config_path) {
  DeclaredQuantization declared;
  const json document = model::parse_json_object(config, config_path);
  const Fields root(document, config_path);
  const std::optional<Fields> text = root.object("text_config");
  const bool nested = !root.find("quantization_config") && text && text->find("quantization_config");
  if (const std::optional<Fields> fields = (nested ? *text : root).object("quantization_config"))
    declared = read_config(*fields, config_path);
  if (!hf_quant_config) return declared;

  const json other_document = model::parse_json_object(*hf_quant_config, hf_quant_config_path);
  DeclaredQuantization other =
      read_modelopt_file(Fields(other_document, hf_quant_config_path), hf_quant_config_path);
  if (declared.algorithm.empty()) return other;
  if (declared.algorithm != other.algorithm)
    declared.warnings.push_back(config_path + " declares " + in_quotes(declared.algorithm) + ", " +
                                hf_quant_config_path + " declares " + in_quotes(other.algorithm) +
                                "; the tensors decide");
  if (declared.kv_algorithm.empty()) declared.kv_algorithm = other.kv_algorithm;
  return declared;
}

std::vector<std::string> contradictions(const DeclaredQuantization& declared, const Inventory& inventory,
                                        WeightFormat found) {
  std::vector<std::string> lines = declared.warnings;
  const std::string by_tensors = name_of(found);
  if (declared.algorithm.empty() && found != WeightFormat::kBf16)
    lines.push_back("the tensors are " + by_tensors +
                    ", but no file declares a quantisation; the tensors decide");
  if (!declared.algorithm.empty() && declared.algorithm != by_tensors)
    lines.push_back(declared.origin + " declares " + in_quotes(declared.algorithm) +
                    ", but the tensors are " + by_tensors + "; the tensors decide");

  std::vector<const Tensor*> quantised_anyway, plain_anyway;
  for (const auto& [slot, tensor] : inventory.slots) {
    const Kind kind = rule_of(slot.role).kind;
    if (declared.algorithm.empty() || slot.part != Part::kWeight ||
        (kind != Kind::kLinear && kind != Kind::kFused))
      continue;
    const bool quantised = tensor->dtype != Dtype::kBF16;
    if (quantised == is_excluded(declared.excluded, tensor->name))
      (quantised ? quantised_anyway : plain_anyway).push_back(tensor);
  }
  const auto report = [&](const std::vector<const Tensor*>& tensors, const char* what) {
    if (!tensors.empty())
      lines.push_back(declared.origin + ": " + std::to_string(tensors.size()) + " tensors " + what +
                      ", first " + in_quotes(tensors.front()->name) + "; the tensors decide");
  };
  report(quantised_anyway, "are excluded from quantisation but quantised");
  report(plain_anyway, "are declared quantised but are bf16");
  return lines;
}

const char* name_of(WeightFormat format) {
  return format == WeightFormat::kBf16 ? "bf16" : format == WeightFormat::kFp8 ? "FP8" : "NVFP4";
}

void check_requested(const std::string& quantization, WeightFormat found) {
  const std::optional<WeightFormat> requested = requested_format(quantization);
  if (requested && *requested != found)
    throw UsageError("--quantization is " + in_quotes(quantization) + " (" + name_of(*requested) +
                     "), but the checkpoint is " + name_of(found) + "; leave the flag out");
}

WeightFormat dummy_format(const std::string& quantization, const DeclaredQuantization& declared) {
  if (const std::optional<WeightFormat> requested = requested_format(quantization)) return *requested;
  if (declared.algorithm.empty()) return WeightFormat::kBf16;
  if (declared.algorithm == "FP8") return WeightFormat::kFp8;
  if (declared.algorithm == "NVFP4") return WeightFormat::kNvfp4;
  throw CheckpointError(declared.origin + ": declares " + in_quotes(declared.algorithm) +
                        ", expected \"FP8\" or \"NVFP4\" to make dummy weights; or give --quantization");
}

}  // namespace outrider::checkpoint
