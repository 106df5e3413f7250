// Log-probabilities in the three shapes of the OpenAI API and vLLM.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "sampling/params.h"
#include "tokenizer/tokenizer.h"

namespace outrider::server {

// How a token is spelled in logprobs: its own text (U+FFFD for parts of characters) or "token_id:N".
class TokenNames {
 public:
  TokenNames(std::shared_ptr<const tokenizer::Tokenizer> tokenizer, bool as_ids)
      : tokenizer_(std::move(tokenizer)), as_ids_(as_ids) {}
  std::string operator()(int32_t id) const;
  std::string text(int32_t id) const;

 private:
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer_;
  bool as_ids_;
};

// One position; `logprobs` is null for the first token of an echoed prompt.
struct LogprobPosition {
  int32_t token = 0;
  const sampling::PositionLogprobs* logprobs = nullptr;
};

// {"text_offset":[...],"token_logprobs":[...],"tokens":[...],"top_logprobs":[...]}; offsets count characters
// of the tokens' spellings from `first_offset` on. A map holds the chosen token and the best `top_k`.
void append_completion_logprobs(std::string& out, std::span<const LogprobPosition> positions, int top_k,
                                size_t first_offset, const TokenNames& names);

// {"content":[...]}; a list holds the first `top_k` of chosen token and best ones.
void append_chat_logprobs(std::string& out, std::span<const LogprobPosition> positions, int top_k,
                          const TokenNames& names);

// [null,{"5":{"logprob":...,"rank":...,"decoded_token":...}}]
void append_prompt_logprobs(std::string& out, std::span<const sampling::PositionLogprobs> positions,
                            const TokenNames& names);

}  // namespace outrider::server
