// Byte-level BPE read from a Hugging Face tokenizer.json (Llama 4's form). Immutable after load: any thread
// may use it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace outrider::tokenizer {

class Tokenizer {
 public:
  // Reads `folder`/tokenizer.json (and tokenizer_config.json when present). Throws CheckpointError.
  static std::shared_ptr<const Tokenizer> load(const std::string& folder);
  // `json` is the text of tokenizer.json, `origin` its name in errors. Throws CheckpointError.
  static std::shared_ptr<const Tokenizer> parse(std::string_view json, const std::string& origin);
  ~Tokenizer();

  // Special tokens in `text` are recognised. Invalid UTF-8 in `text` is replaced by U+FFFD first.
  // add_special_tokens puts bos in front, also when the text begins with it (as HF does).
  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const;

  // Broken UTF-8 becomes U+FFFD, one a maximal invalid part. Ids without a token give nothing.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const;

  // Raw bytes of one token; empty for ids without a token.
  std::string_view token_bytes(int32_t id) const;
  // The vocabulary's spelling ("Ġthe", "<|eot|>"); empty for ids without a token. For /tokenize's token_strs.
  std::string token_string(int32_t id) const;
  bool is_special(int32_t id) const;
  bool has_token(int32_t id) const;
  int32_t token_id(std::string_view token) const;  // -1 when absent: specials and vocabulary spellings
  int32_t size() const;                            // largest id + 1
  int32_t encoder_size() const;  // tokens of the BPE vocabulary alone: Hugging Face's vocab_size
  int32_t bos_id() const;        // -1 when the post-processor adds none
  int32_t eos_id() const;        // tokenizer_config's eos_token (Scout: <|eot|>), -1 when absent

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Turns a growing list of ids into text that is whole characters at each step: what was returned,
// concatenated and followed by flush(), equals Tokenizer::decode of all ids.
class IncrementalDetokenizer {
 public:
  IncrementalDetokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens);
  std::string push(int32_t id);  // text that is now certain; may be empty
  std::string flush();           // what is held back, incomplete characters as U+FFFD

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool skip_special_tokens_;
  std::string pending_;  // bytes of an unfinished character
};

}  // namespace outrider::tokenizer
