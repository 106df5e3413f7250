// From sampled ids to the text a client sees: detokenises, holds back what may yet become a stop string, cuts at one.
// One per request and choice; used by the thread that streams it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace outrider::engine {

struct TextOptions {
  std::vector<std::string> stop;  // no empty strings
  bool include_stop_str_in_output = false;
  bool skip_special_tokens = true;
  int64_t min_tokens = 0;  // stop strings are not looked for before so many tokens
};

class OutputText {
 public:
  OutputText(std::shared_ptr<const tokenizer::Tokenizer> tokenizer, TextOptions options);

  // Text that is now certain to be part of the answer. After a stop string was met, `stopped()` holds it and further
  // ids are ignored.
  std::string push(std::span<const int32_t> ids);
  // The rest, when generation ended without a stop string.
  std::string finish();

  const std::optional<std::string>& stopped() const { return stopped_; }
  const std::string& text() const { return text_; }  // all that was returned

 private:
  std::string take(bool all);

  tokenizer::IncrementalDetokenizer detokenizer_;
  TextOptions options_;
  std::optional<std::string> stopped_;
  std::string text_;      // returned
  std::string held_;      // decoded, not yet returned
  int64_t num_tokens_ = 0;
};

}  // namespace outrider::engine
