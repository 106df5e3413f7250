// Images, compilation, tools, structured outputs, adapters.
#include "config/option.h"

namespace outrider::config {
namespace {

using S = ServeOptions;

constexpr const char* kNoImages = "not built yet: images; only text is served";
constexpr const char* kNoLora = "not built yet: LoRA adapters; merge the adapter into the checkpoint";
constexpr const char* kXGrammar =
    "XGrammar serves structured outputs; see --guided-decoding-disable-any-whitespace";
constexpr const char* kNoSpeculation = "not built yet: speculative decoding; leave it out";
constexpr const char* kOwnKernels = "each device has one set of kernels";

}  // namespace

OptionGroup multimodal_options() {
  return {
      "multimodal",
      "Images",
      {
          {.name = "limit-mm-per-prompt",
           .kind = Kind::kJson,
           .tier = Tier::kWarn,
           .works = {R"({"image":0})"},
           .why = kNoImages,
           .help = R"(Most images in one prompt, {"image": 10}.)"},
          {.name = "language-model-only",
           .kind = Kind::kBool,
           .initial = "false",
           .tier = Tier::kAccept,
           .help = "Kept for scripts; only text is served."},
          ignored("allowed-local-media-path", Kind::kString, nullptr, kNoImages,
                  "Folder that file:// URLs of requests may name."),
          ignored("mm-processor-kwargs", Kind::kJson, nullptr, kNoImages, "Settings of the image processor."),
          ignored("media-io-kwargs", Kind::kJson, nullptr, kNoImages, "Settings of image reading."),
          ignored("mm-processor-cache-gb", Kind::kFloat, "4", kNoImages, "Cache of processed images, GiB."),
          ignored("mm-processor-cache-type", Kind::kString, "lru", kNoImages, "Kind of that cache."),
          {.name = "mm-encoder-tp-mode",
           .kind = Kind::kChoice,
           .initial = "weights",
           .tier = Tier::kWarn,
           .choices = {"weights", "data"},
           .why = kNoImages,
           .help = "How devices share the vision tower."},
          ignored("skip-mm-profiling", Kind::kBool, "false", "there is no profiling run",
                  "No profiling of images."),
          ignored("interleave-mm-strings", Kind::kBool, "false", kNoImages,
                  "Keep images between the texts they came with."),
          ignored("disable-mm-preprocessor-cache", Kind::kBool, "false", kNoImages,
                  "No cache of processed images."),
      }};
}

OptionGroup compilation_options() {
  return {
      "compilation",
      "CUDA graphs and fused kernels",
      {
          {.name = "compilation-config",
           .kind = Kind::kJson,
           .field = &S::compilation_config,
           .aliases = {"-O", "-cc"},
           .help = "vLLM's compilation settings; --help=markdown has the keys. -O3 sets level 3."},
          {.name = "cudagraph-capture-sizes",
           .kind = Kind::kInts,
           .field = &S::cudagraph_capture_sizes,
           .aliases = {"--cuda-graph-sizes"},
           .min = 1,
           .max = 65536,
           .help = "Rows of decode steps whose CUDA graphs are captured at start; one value N: 1, 2, 4, then "
                   "every 8 up to N. Others up to the largest follow when they recur; nothing is padded. "
                   "Unset: 1 to 8."},
          {.name = "max-cudagraph-capture-size",
           .kind = Kind::kInt,
           .field = &S::max_cudagraph_capture_size,
           .min = 1,
           .max = 65536,
           .help = "Most rows of a CUDA graph; alone, the one value of --cudagraph-capture-sizes."},
          ignored("optimization-level", Kind::kInt, nullptr, "nothing is compiled at start-up",
                  "vLLM's optimisation level."),
          ignored("performance-mode", Kind::kString, nullptr,
                  "use --max-num-seqs and --max-num-batched-tokens", "vLLM's set of settings for one aim."),
          {.name = "attention-backend",
           .kind = Kind::kString,
           .tier = Tier::kWarn,
           .works = {"FLASHINFER", "FLASH_ATTN", "FLASH_ATTN_VLLM_V1", "FLASHINFER_VLLM_V1", "TRITON_ATTN",
                     "TRITON_ATTN_VLLM_V1", "FLEX_ATTENTION", "TORCH_SDPA", "XFORMERS", "CPU_ATTN",
                     "FLASHINFER_MLA", "CUTLASS_MLA", "TRITON_MLA", "FLASHMLA", "ROCM_FLASH"},
           .why = "this is no attention backend of vLLM's, and there is only one here",
           .help = "Accepted; there is one attention."},
          ignored("attention-config", Kind::kJson, nullptr, kOwnKernels, "Settings of attention kernels."),
          ignored("moe-backend", Kind::kString, "auto", kOwnKernels, "Kernels of experts."),
          ignored("linear-backend", Kind::kString, "auto", kOwnKernels, "Kernels of linear layers."),
          ignored("kernel-config", Kind::kJson, nullptr, kOwnKernels, "Settings of kernels."),
          ignored("profiler-config", Kind::kJson, nullptr, "there is no PyTorch profiler",
                  "Settings of the profiler."),
      }};
}

OptionGroup tool_options() {
  return {
      "tools",
      "Tool calls, structured outputs, speculation",
      {
          {.name = "enable-auto-tool-choice",
           .kind = Kind::kBool,
           .field = &S::enable_auto_tool_choice,
           .common = true,
           .help = "Let the model call tools by itself; needs --tool-call-parser."},
          {.name = "tool-call-parser",
           .kind = Kind::kString,
           .field = &S::tool_call_parser,
           .common = true,
           .help = "llama4_pythonic or llama4_json (pythonic and llama3_json are the same two)."},
          {.name = "exclude-tools-when-tool-choice-none",
           .kind = Kind::kBool,
           .field = &S::exclude_tools_when_tool_choice_none,
           .help = "tool_choice none: leave tools out of the prompt."},
          refused("tool-parser-plugin", Kind::kString, nullptr,
                  "Python plug-ins are not run; use --tool-call-parser llama4_pythonic",
                  "Python tool parser."),
          refused("tool-server", Kind::kString, nullptr, "tools are called by the client; leave it out",
                  "MCP servers with tools."),
          refused("reasoning-parser", Kind::kString, nullptr,
                  "Llama 4 Scout does not mark its reasoning; leave it out", "Parser of marked reasoning."),
          {.name = "guided-decoding-backend",
           .kind = Kind::kChoice,
           .initial = "auto",
           .tier = Tier::kWarn,
           .choices = {"auto", "xgrammar", "guidance", "outlines", "lm-format-enforcer"},
           .works = {"auto", "xgrammar"},
           .why = kXGrammar,
           .help = "Engine of structured outputs."},
          {.name = "guided-decoding-disable-fallback",
           .kind = Kind::kBool,
           .initial = "false",
           .tier = Tier::kAccept,
           .help = "Kept for scripts; there is one engine."},
          {.name = "guided-decoding-disable-any-whitespace",
           .kind = Kind::kBool,
           .field = &S::guided_decoding_disable_any_whitespace,
           .help = "JSON of structured outputs has one space after commas and colons, and no other."},
          {.name = "guided-decoding-disable-additional-properties",
           .kind = Kind::kBool,
           .initial = "false",
           .tier = Tier::kAccept,
           .help = "Kept for scripts; a schema's own additionalProperties decides."},
          {.name = "structured-outputs-config",
           .kind = Kind::kJson,
           .tier = Tier::kWarn,
           .works = {R"({"backend":"auto"})", R"({"backend":"xgrammar"})"},
           .why = kXGrammar,
           .help = "Settings of structured outputs."},
          refused("speculative-config", Kind::kJson, nullptr, kNoSpeculation, "Speculative decoding.",
                  {"-sc"}),
          refused("spec-method", Kind::kString, nullptr, kNoSpeculation, "Way of speculative decoding."),
          refused("spec-model", Kind::kString, nullptr, kNoSpeculation, "Draft model."),
          refused("spec-tokens", Kind::kInt, nullptr, kNoSpeculation, "Draft tokens a step."),
      }};
}

OptionGroup lora_options() {
  return {"lora",
          "LoRA adapters (not built yet)",
          {
              refused("enable-lora", Kind::kBool, "false", kNoLora, "Serve adapters."),
              refused("enable-lora-bias", Kind::kBool, "false", kNoLora, "Biases of adapters."),
              refused("lora-modules", Kind::kStrings, nullptr, kNoLora, "Adapters, name=folder."),
              refused("default-mm-loras", Kind::kJson, nullptr, kNoLora, "Adapters for images."),
              refused("max-loras", Kind::kInt, "1", kNoLora, "Adapters in one step."),
              refused("max-lora-rank", Kind::kInt, "16", kNoLora, "Largest rank."),
              refused("max-cpu-loras", Kind::kInt, nullptr, kNoLora, "Adapters in host memory."),
              refused("lora-dtype", Kind::kString, "auto", kNoLora, "Type of adapters."),
              refused("lora-extra-vocab-size", Kind::kInt, "256", kNoLora, "Tokens that adapters add."),
              refused("fully-sharded-loras", Kind::kBool, "false", kNoLora, "Split adapters over devices."),
              refused("max-prompt-adapters", Kind::kInt, nullptr, kNoLora, "Prompt adapters in one step."),
          }};
}

}  // namespace outrider::config
