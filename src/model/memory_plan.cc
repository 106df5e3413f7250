#include "model/memory_plan.h"

#include <algorithm>
#include <cstdio>

#include "base/error.h"

namespace outrider::model {

namespace {

// Products of foreign sizes saturate: a plan that large is refused by comparison, never wrapped.
int64_t saturating_mul(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

int64_t saturating_add(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

std::string grouped(int64_t value) {
  std::string text = std::to_string(value);
  for (int64_t at = static_cast<int64_t>(text.size()) - 3; at > 0; at -= 3)
    text.insert(static_cast<size_t>(at), 1, ',');
  return text;
}

std::string size_text(int64_t bytes) {
  char text[32];
  if (bytes >= int64_t{1} << 30)
    std::snprintf(text, sizeof text, "%.2f GiB", static_cast<double>(bytes) / (1 << 30));
  else
    std::snprintf(text, sizeof text, "%.2f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

int64_t matrix_bytes(const Matrix& matrix) {
  const int64_t elements = int64_t{matrix.rows} * matrix.cols;
  switch (matrix.format) {
    case WeightFormat::kBf16:
      return 2 * elements;
    case WeightFormat::kFp8:
      return elements;
    case WeightFormat::kNvfp4:
      return elements / 2 + elements / 16;
  }
  return 0;
}

int64_t mlp_bytes(const Mlp& mlp) {
  return matrix_bytes(mlp.gate) + matrix_bytes(mlp.up) + matrix_bytes(mlp.down);
}

// fp32 values that one token needs while a layer is computed: residual, normed input, block output; q and
// attention context; k and v; gate and up of the routed and shared expert, or of the dense block.
int64_t activation_floats_per_token(const LlamaConfig& config) {
  const int64_t experts = 2 * int64_t{config.intermediate_size};
  const int64_t widest = std::max<int64_t>(experts, config.intermediate_size_mlp);
  return 3 * int64_t{config.hidden_size} + 2 * int64_t{config.q_size()} + 2 * int64_t{config.kv_size()} +
         2 * widest;
}

int64_t chunked_groups(const KvGeometry& kv) {
  return std::count(kv.group_is_chunked.begin(), kv.group_is_chunked.end(), true);
}

void check_options(const MemoryOptions& options) {
  const auto in_range = [](const char* flag, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high)
      throw UsageError(std::string(flag) + " is " + std::to_string(value) + ", expected " +
                       std::to_string(low) + " to " + std::to_string(high));
  };
  in_range("--max-num-seqs", options.max_num_seqs, 1, INT32_MAX);
  in_range("--max-num-batched-tokens", options.max_num_batched_tokens, 1, INT32_MAX);
  in_range("--block-size", options.block_size, 1, 4096);
  in_range("--max-model-len", options.max_model_len, 0, INT32_MAX);
}

// Bytes for the pool; throws where the rest already takes everything.
int64_t kv_budget(const MemoryPlan& plan, const MemoryOptions& options, int64_t logits_row,
                  int64_t sequence_bytes) {
  if (options.kv_cache_bytes > 0) return options.kv_cache_bytes;
  const int64_t left = plan.total_bytes >= options.device_bytes ? 0 : options.device_bytes - plan.total_bytes;
  if (left > 0) return left;
  std::string rows;
  for (const PlanRow& row : plan.rows)
    rows += (rows.empty() ? "" : " + ") + row.name + " " + size_text(row.bytes);
  const int64_t without_logits = plan.total_bytes - saturating_mul(logits_row, options.max_num_seqs);
  const int64_t room = options.device_bytes - saturating_add(without_logits, sequence_bytes);
  const std::string remedy = room >= logits_row
                                 ? "--max-num-seqs " + std::to_string(room / logits_row) + " would fit"
                                 : "increase --gpu-memory-utilization or decrease --max-num-batched-tokens";
  throw StartupError("No available memory for the cache blocks: " + rows + " take all of the " +
                     size_text(options.device_bytes) + " that may be used; " + remedy);
}

[[noreturn]] void refuse_length(const MemoryPlan& plan, const MemoryOptions& options, int64_t page_bytes,
                                int64_t pages, int64_t available) {
  const int64_t fits = max_tokens_for_pages(plan.kv, available);
  const std::string more = options.num_blocks_override > 0 ? "--num-gpu-blocks-override"
                           : options.kv_cache_bytes > 0
                               ? "--kv-cache-memory-bytes"
                               : "--gpu-memory-utilization, or decrease --max-num-seqs";
  throw StartupError("One request of " + std::to_string(plan.max_model_len) + " tokens needs " +
                     size_text(saturating_mul(pages, page_bytes)) + " of KV cache, and " +
                     size_text(saturating_mul(available, page_bytes)) + " are available; " +
                     (fits > 0 ? "--max-model-len " + std::to_string(fits) + " would fit, or " : "") +
                     "increase " + more);
}

}  // namespace

int64_t weight_bytes(const Weights& weights) {
  const int64_t norm = 2 * int64_t{weights.embed.cols};
  int64_t bytes = matrix_bytes(weights.embed) + matrix_bytes(weights.lm_head) + norm;
  for (const Layer& layer : weights.layers) {
    bytes += 2 * norm + matrix_bytes(layer.q) + matrix_bytes(layer.k) + matrix_bytes(layer.v) +
             matrix_bytes(layer.o);
    bytes += matrix_bytes(layer.router) + mlp_bytes(layer.shared_expert) + mlp_bytes(layer.dense);
    for (const Mlp& expert : layer.experts) bytes += mlp_bytes(expert);
  }
  return bytes;
}

StepWeights step_weights(const Weights& weights) {
  StepWeights step;
  step.common = weight_bytes(weights) - matrix_bytes(weights.embed);
  for (const Layer& layer : weights.layers) {
    for (const Mlp& expert : layer.experts) step.common -= mlp_bytes(expert);
    if (!layer.experts.empty()) step.expert += mlp_bytes(layer.experts.front());
  }
  return step;
}

MemoryPlan plan_memory(const Model& model, const MemoryOptions& options) {
  const LlamaConfig& config = model.config;
  check_options(options);
  MemoryPlan plan;
  plan.max_model_len = options.max_model_len > 0 ? options.max_model_len : config.max_position_embeddings;
  plan.kv = make_kv_geometry(config, options.block_size, options.kv_dtype);

  const auto add = [&plan](const char* name, int64_t bytes) {
    plan.rows.push_back({name, bytes});
    plan.total_bytes = saturating_add(plan.total_bytes, bytes);
  };
  const int64_t logits_row = int64_t{4} * config.vocab_size;
  if (options.rows.empty()) {
    add("weights", weight_bytes(model.weights));
    add("activations",
        saturating_mul(4 * activation_floats_per_token(config), options.max_num_batched_tokens));
    add("logits", saturating_mul(logits_row, options.max_num_seqs));
  }
  for (const PlanRow& row : options.rows) add(row.name.c_str(), row.bytes);

  const int64_t page_bytes = plan.kv.page_bytes(config);
  // Two steps in flight hold pages of chunked groups beyond the chunks that were open before them.
  const int64_t step_pages =
      2 * (int64_t{options.max_num_batched_tokens} / options.block_size + 1) * chunked_groups(plan.kv);
  const int64_t pages = pages_for_sequence(plan.kv, plan.max_model_len);
  int64_t available = options.num_blocks_override;
  int64_t useful = available;
  if (options.num_blocks_override <= 0) {
    available = kv_budget(plan, options, logits_row, saturating_mul(pages, page_bytes)) / page_bytes;
    useful = options.kv_cache_bytes > 0
                 ? available
                 : saturating_add(saturating_mul(pages, options.max_num_seqs), step_pages);
  }
  available = std::min<int64_t>(available, INT32_MAX);  // pages are numbered in 32 bits
  if (pages > available) refuse_length(plan, options, page_bytes, pages, available);
  plan.kv.num_blocks = static_cast<int>(std::min(available, useful));
  add("KV cache", saturating_mul(plan.kv.num_blocks, page_bytes));
  plan.max_concurrency = static_cast<double>(plan.kv.num_blocks) / static_cast<double>(pages);
  plan.kv_tokens = static_cast<int64_t>(plan.max_concurrency * static_cast<double>(plan.max_model_len));
  return plan;
}

std::string MemoryPlan::table() const {
  std::string text;
  char line[160];
  const auto row = [&](const std::string& name, int64_t bytes) {
    std::snprintf(line, sizeof line, "%-12s %14s\n", name.c_str(), size_text(bytes).c_str());
    text += line;
  };
  for (const PlanRow& r : rows) row(r.name, r.bytes);
  row("total", total_bytes);
  return text;
}

std::string MemoryPlan::kv_text() const {
  char text[240];
  std::snprintf(text, sizeof text,
                "KV cache size: %s tokens (%s pages of %d positions x %d layers). "
                "Maximum concurrency for %s tokens per request: %.2fx",
                grouped(kv_tokens).c_str(), grouped(kv.num_blocks).c_str(), kv.block_size,
                kv.layers_per_group, grouped(max_model_len).c_str(), max_concurrency);
  return text;
}

}  // namespace outrider::model
