#include <unistd.h>

#include <cstdio>
#include <map>

#include "base/error.h"
#include "checkpoint/binder.h"
#include "checkpoint/describe.h"
#include "checkpoint/load.h"
#include "checkpoint/quantization.h"
#include "checkpoint/tensor_set.h"
#include "model/json_fields.h"
#include "model/memory_plan.h"

namespace outrider::checkpoint {

using model::LlamaConfig;

namespace {

constexpr size_t kListed = 20;          // names of missing or unused tensors
constexpr int64_t kPlannedLen = 10240;  // the recipe's max-model-len

class Report {
 public:
  explicit Report(std::string& text) : text_(text) {}

  template <class... Args>
  void line(const char* format, Args... args) {
    char buffer[512];
    std::snprintf(buffer, sizeof buffer, format, args...);
    text_ += buffer;
    text_ += '\n';
  }
  void text(const std::string& text) { text_ += text; }

 private:
  std::string& text_;
};

double mib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// "0-2, 4-6": the layers of which `chosen` holds.
std::string layer_list(const std::vector<bool>& chosen) {
  std::string list;
  const int layers = static_cast<int>(chosen.size());
  for (int first = 0; first < layers; ++first) {
    if (!chosen[first]) continue;
    int last = first;
    while (last + 1 < layers && chosen[last + 1]) ++last;
    list += (list.empty() ? "" : ", ") + std::to_string(first);
    if (last > first) list += "-" + std::to_string(last);
    first = last;
  }
  return list.empty() ? "none" : list;
}

std::vector<bool> inverted(std::vector<bool> flags) {
  flags.flip();
  return flags;
}

void report_config(Report& report, const Description& description) {
  const LlamaConfig& c = description.config;
  report.line("Model      Llama 4, %s, %d layers, hidden %d, vocabulary %d, %lld positions",
              c.multimodal ? "multimodal (text part is served)" : "text only", c.num_layers, c.hidden_size,
              c.vocab_size, static_cast<long long>(c.max_position_embeddings));
  report.line("Attention  %d query and %d KV heads of %d, chunk %d, QK norm %s, temperature tuning %s",
              c.num_heads, c.num_kv_heads, c.head_dim, c.attention_chunk_size, c.use_qk_norm ? "on" : "off",
              c.attn_temperature_tuning ? "on" : "off");
  report.line("RoPE       theta %g, factor %g, low %g, high %g, original length %lld", c.rope_theta,
              c.rope_scaling.factor, c.rope_scaling.low_freq_factor, c.rope_scaling.high_freq_factor,
              static_cast<long long>(c.rope_scaling.original_max_position_embeddings));
  report.line("Experts    %d, top-%d, inner size %d; dense layers %d", c.num_experts, c.num_experts_per_token,
              c.intermediate_size, c.intermediate_size_mlp);
  report.line("Layers     RoPE %s; NoPE %s", layer_list(c.is_rope_layer).c_str(),
              layer_list(inverted(c.is_rope_layer)).c_str());
  report.line("           MoE %s; dense %s", layer_list(c.is_moe_layer).c_str(),
              layer_list(inverted(c.is_moe_layer)).c_str());
  const DeclaredQuantization& q = description.declared;
  report.line("Declared   %s%s%s%s",
              q.algorithm.empty() ? "no quantisation" : q.algorithm.substr(0, 60).c_str(),
              q.kv_algorithm.empty() ? "" : ", KV cache ", q.kv_algorithm.substr(0, 60).c_str(),
              q.producer.empty() ? "" : (", by " + q.producer.substr(0, 60)).c_str());
}

void report_tensors(Report& report, const TensorSet& set, const Inventory& inventory) {
  struct Sum {
    int64_t count = 0;
    int64_t bytes = 0;
  };
  std::map<std::tuple<int, std::string, Dtype>, Sum> sums;  // in the table's order
  std::map<std::string, int> order_of;                      // roles that share a title share a line
  const auto add = [&](int order, const std::string& title, const Tensor& tensor) {
    Sum& sum = sums[{order_of.emplace(title, order).first->second, title, tensor.dtype}];
    ++sum.count;
    sum.bytes += tensor.bytes;
  };
  for (const auto& [slot, tensor] : inventory.slots) {
    const Rule& rule = rule_of(slot.role);
    const bool scale = slot.part != Part::kWeight && tensor->dtype != Dtype::kF8E4M3;
    add(scale ? 1000 : static_cast<int>(slot.role), scale ? "scales" : rule.title, *tensor);
  }
  for (const Tensor* tensor : inventory.vision) add(2000, "vision, not read", *tensor);
  report.line("\n%zu tensors in %zu file%s", set.tensors.size(), set.files.size(),
              set.files.size() == 1 ? "" : "s");
  for (const auto& [key, sum] : sums)
    report.line("  %-18s %-8s %7lld  %12.2f MiB", std::get<1>(key).c_str(), name_of(std::get<2>(key)),
                static_cast<long long>(sum.count), mib(sum.bytes));
}

void report_scales(Report& report, const Binding& binding) {
  report.line("\nFormat of the linears, by the tensors: %s", name_of(binding.weights.format));
  const auto range = [&report](const char* title, const ScaleRange& scales, const char* absent) {
    if (scales.count == 0)
      report.line("  %-18s none%s", title, absent);
    else
      report.line("  %-18s %7lld  %g to %g", title, static_cast<long long>(scales.count), scales.low,
                  scales.high);
  };
  range("weight scales", binding.weight_scales, "");
  range("input scales", binding.input_scales, "");
  range("k scales", binding.k_scales, ": an FP8 KV cache uses 1.0");
  range("v scales", binding.v_scales, ": an FP8 KV cache uses 1.0");
}

void report_names(Report& report, const char* title, const std::vector<std::string>& names) {
  if (names.empty()) return;
  report.line("\n%s: %zu", title, names.size());
  for (size_t i = 0; i < names.size() && i < kListed; ++i)
    report.text("  " + model::in_quotes(names[i]) + "\n");
  if (names.size() > kListed) report.line("  ... and %zu more", names.size() - kListed);
}

// The plan with default options on this machine's memory. That it does not fit here says nothing against the
// checkpoint.
void report_plan(Report& report, const Description& description, Binding& binding) {
  model::Model model;
  model.config = description.config;
  model.weights = std::move(binding.weights);
  model::MemoryOptions options;
  options.max_model_len = std::min(kPlannedLen, description.config.max_position_embeddings);
  options.device_bytes = int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  report.line("\nMemory plan in this machine's memory, bf16 KV cache, %lld tokens a sequence",
              static_cast<long long>(options.max_model_len));
  try {
    const model::MemoryPlan plan = model::plan_memory(model, options);
    report.text(plan.table() + plan.kv_text() + "\n");
  } catch (const StartupError& error) {
    report.text(std::string(error.what()) + "\n");
  }
}

int inspect_or_throw(const std::string& folder, Report& report) {
  const Description description = describe(folder, "");
  report_config(report, description);
  const TensorSet set = open_tensors(folder);
  const Inventory inventory = take_inventory(set.tensors, description.config);
  report_tensors(report, set, inventory);
  Binding binding = bind(inventory, description.config);
  report_scales(report, binding);
  for (const std::string& warning : warnings_of(inventory, binding, description.declared))
    report.text("\nWarning: " + warning + "\n");
  report_names(report, "Unused tensors", inventory.unused);
  report_names(report, "Missing tensors", binding.missing);
  const bool complete = binding.missing.empty();
  if (complete) report_plan(report, description, binding);
  report.line("\n%s", complete ? "This checkpoint would load." : "This checkpoint would not load.");
  return complete ? 0 : 1;
}

}  // namespace

int inspect(const std::string& folder, std::string& text) {
  Report report(text);
  report.text(folder + "\n\n");
  try {
    return inspect_or_throw(folder, report);
  } catch (const StartupError& error) {
    report.text("\nThis checkpoint would not load: " + std::string(error.what()) + "\n");
    return 1;
  }
}

}  // namespace outrider::checkpoint
