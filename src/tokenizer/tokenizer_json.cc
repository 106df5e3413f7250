#include "tokenizer/tokenizer_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace outrider::tokenizer {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxDepth = 32;
constexpr int64_t kMaxId = (1 << 22) - 1;  // tables are as long as the largest id
constexpr size_t kMaxTokenBytes = 1 << 16;

struct Fault {
  std::string message;
};

// Model.vocab and model.merges, nearly all of the file, go straight into flat arrays; the rest becomes a
// small tree.
class Reader : public nlohmann::json_sax<Json> {
 public:
  explicit Reader(TokenizerJson& out) : out_(out) {}

  Json rest;
  std::string fault;        // set when a callback returned false
  bool has_merges = false;  // model.merges was there and a list

  bool null() override { return value(nullptr); }
  bool boolean(bool b) override { return value(b); }
  bool number_integer(number_integer_t n) override { return value(n); }
  bool number_float(number_float_t n, const string_t&) override { return value(n); }
  bool binary(binary_t&) override { return fail("binary values are not JSON"); }

  bool number_unsigned(number_unsigned_t n) override {
    if (mode_ != Mode::kVocabulary) return value(n);
    if (depth_ != kInsideModel + 1) return fail("model.vocab must map tokens to numbers");
    if (n > static_cast<number_unsigned_t>(kMaxId))
      return fail("model.vocab holds an id above " + std::to_string(kMaxId));
    out_.vocabulary.push_back({spelling_, static_cast<int32_t>(n)});
    return true;
  }

  bool string(string_t& s) override {
    if (mode_ != Mode::kMerges) return value(s);
    if (s.size() > 2 * kMaxTokenBytes) return fail("model.merges holds an entry that is too long");
    if (depth_ == kInsideModel + 2) {
      pair_.push_back(keep(s));
      return true;
    }
    const size_t space = s.find(' ');
    if (space == std::string::npos || s.find(' ', space + 1) != std::string::npos) {
      return fail("model.merges[" + std::to_string(out_.merges.size()) + "] is not two tokens");
    }
    const Text whole = keep(s);
    const auto left = static_cast<uint32_t>(space);
    out_.merges.push_back({{whole.offset, left}, {whole.offset + left + 1, whole.length - left - 1}});
    return true;
  }

  bool key(string_t& s) override {
    if (mode_ == Mode::kVocabulary) {
      if (s.size() > kMaxTokenBytes) return fail("model.vocab holds a token that is too long");
      spelling_ = keep(s);
      return true;
    }
    if (depth_ == 1) in_model_ = s == "model";
    key_ = s;
    if (stack_.back()->contains(s)) return fail("the key \"" + s.substr(0, 40) + "\" occurs twice");
    return true;
  }

  bool start_object(std::size_t) override {
    if (mode_ == Mode::kRest && in_model_ && depth_ == kInsideModel && key_ == "vocab")
      return enter(Mode::kVocabulary);
    return open(Json::object());
  }
  bool end_object() override { return close(); }

  bool start_array(std::size_t) override {
    if (mode_ == Mode::kRest && in_model_ && depth_ == kInsideModel && key_ == "merges")
      return enter(Mode::kMerges);
    if (mode_ == Mode::kMerges && depth_ == kInsideModel + 1) {
      ++depth_;
      pair_.clear();
      return true;
    }
    return open(Json::array());
  }
  bool end_array() override {
    if (mode_ == Mode::kMerges && depth_ == kInsideModel + 2) {
      --depth_;
      if (pair_.size() != 2)
        return fail("model.merges[" + std::to_string(out_.merges.size()) + "] is not two tokens");
      out_.merges.push_back({pair_[0], pair_[1]});
      return true;
    }
    return close();
  }

  bool parse_error(std::size_t at, const std::string&, const nlohmann::detail::exception&) override {
    return fail("not valid JSON at byte " + std::to_string(at));
  }

 private:
  using Text = TokenizerJson::Text;
  enum class Mode { kRest, kVocabulary, kMerges };
  static constexpr size_t kInsideModel = 2;  // depth of the keys of "model"

  bool fail(std::string why) {
    if (fault.empty()) fault = std::move(why);
    return false;
  }

  Text keep(std::string_view s) {
    const Text text{static_cast<uint32_t>(out_.arena.size()), static_cast<uint32_t>(s.size())};
    out_.arena.append(s);
    return text;
  }

  bool enter(Mode mode) {
    // Stands for the array or object in the tree, so that a second one is noticed.
    (*stack_.back())[key_] = true;
    mode_ = mode;
    has_merges |= mode == Mode::kMerges;
    ++depth_;
    return true;
  }

  Json* place(Json v) {
    if (stack_.empty()) return &(rest = std::move(v));
    Json& parent = *stack_.back();
    if (parent.is_array()) return &parent.emplace_back(std::move(v));
    return &(parent[key_] = std::move(v));
  }

  bool value(Json v) {
    if (mode_ != Mode::kRest) {
      return fail(mode_ == Mode::kMerges ? "model.merges must hold pairs of tokens"
                                         : "model.vocab must map tokens to numbers");
    }
    place(std::move(v));
    return true;
  }

  bool open(Json v) {
    if (mode_ != Mode::kRest) return value(nullptr);
    if (++depth_ > kMaxDepth) return fail("nested too deeply");
    stack_.push_back(place(std::move(v)));
    return true;
  }

  bool close() {
    --depth_;
    if (mode_ != Mode::kRest) {
      mode_ = Mode::kRest;
    } else {
      stack_.pop_back();
    }
    return true;
  }

  TokenizerJson& out_;
  Mode mode_ = Mode::kRest;
  size_t depth_ = 0;  // open brackets
  bool in_model_ = false;
  std::vector<Json*> stack_;  // open brackets of the tree; none moves while something inside it is open
  std::string key_;
  Text spelling_{};
  std::vector<Text> pair_;
};

const Json kNull;

const Json& member(const Json& object, const char* key) {
  if (!object.is_object()) return kNull;
  const auto it = object.find(key);
  return it == object.end() ? kNull : *it;
}

std::string type_of(const Json& object) {
  const Json& type = member(object, "type");
  return type.is_string() ? type.get<std::string>().substr(0, 60) : std::string("nothing");
}

bool flag(const Json& object, const char* key, bool fallback) {
  const Json& value = member(object, key);
  if (value.is_null()) return fallback;
  if (!value.is_boolean()) throw Fault{std::string("\"") + key + "\" must be true or false"};
  return value.get<bool>();
}

int32_t id_of(const Json& value, const char* what) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(kMaxId)) {
    throw Fault{std::string(what) + " must be a number from 0 to " + std::to_string(kMaxId)};
  }
  return value.get<int32_t>();
}

void read_model(const Json& model, bool has_merges, TokenizerJson& out) {
  if (!model.is_object()) throw Fault{"there is no \"model\""};
  if (member(model, "type") != kNull && type_of(model) != "BPE") {
    throw Fault{"model.type is " + type_of(model) + "; only byte-level BPE is served"};
  }
  if (out.vocabulary.empty()) throw Fault{"model.vocab is missing or empty"};
  if (!has_merges) throw Fault{"model.merges is not a list"};
  const Json& dropout = member(model, "dropout");
  if (!dropout.is_null() && dropout != 0) throw Fault{"model.dropout is set; encoding must not be random"};
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Json& affix = member(model, key);
    if (!affix.is_null() && affix != "")
      throw Fault{std::string("model.") + key + " is set; only byte-level BPE is served"};
  }
  out.ignore_merges = flag(model, "ignore_merges", false);
}

void read_added_tokens(const Json& added, TokenizerJson& out) {
  if (added.is_null()) return;
  if (!added.is_array()) throw Fault{"added_tokens must be a list"};
  for (const Json& token : added) {
    const Json& content = member(token, "content");
    if (!content.is_string() || content.get_ref<const std::string&>().empty()) {
      throw Fault{"an added token has no content"};
    }
    const auto& text = content.get_ref<const std::string&>();
    if (text.size() > kMaxTokenBytes) throw Fault{"an added token is too long"};
    for (const char* key : {"single_word", "lstrip", "rstrip"}) {
      if (flag(token, key, false))
        throw Fault{"added token " + text.substr(0, 60) + ": \"" + key + "\" is not supported"};
    }
    const bool special = flag(token, "special", false);
    out.added.push_back({text, id_of(member(token, "id"), "an added token's id"), special,
                         flag(token, "normalized", !special)});
  }
}

void check_byte_level(const Json& byte_level) {
  if (flag(byte_level, "add_prefix_space", true))
    throw Fault{"pre_tokenizer: ByteLevel with add_prefix_space is not supported"};
  if (flag(byte_level, "use_regex", true))
    throw Fault{"pre_tokenizer: ByteLevel with its own pattern is not supported"};
}

void read_pre_tokenizer(const Json& pre, TokenizerJson& out) {
  constexpr const char* kWanted = "pre_tokenizer must be a Sequence of Split and ByteLevel";
  const Json& list = member(pre, "pretokenizers");
  if (type_of(pre) != "Sequence" || !list.is_array() || list.size() != 2)
    throw Fault{std::string(kWanted) + ", not " + type_of(pre)};
  const Json& split = list[0];
  if (type_of(split) != "Split" || type_of(list[1]) != "ByteLevel") {
    throw Fault{std::string(kWanted) + ", not of " + type_of(split) + " and " + type_of(list[1])};
  }
  const Json& pattern = member(member(split, "pattern"), "Regex");
  if (!pattern.is_string()) throw Fault{"pre_tokenizer: Split needs a \"Regex\" pattern"};
  if (member(split, "behavior") != "Isolated" || flag(split, "invert", false)) {
    throw Fault{"pre_tokenizer: Split must have behavior \"Isolated\" and not be inverted"};
  }
  check_byte_level(list[1]);
  out.pattern = pattern.get<std::string>();
}

void read_template(const Json& processor, TokenizerJson& out) {
  constexpr const char* kWanted = "post_processor: only one special token in front of the text is supported";
  const Json& single = member(processor, "single");
  if (!single.is_array() || single.empty() || single.size() > 2) throw Fault{kWanted};
  if (member(member(single.back(), "Sequence"), "id") != "A") throw Fault{kWanted};
  if (single.size() == 1) return;
  const Json& name = member(member(single[0], "SpecialToken"), "id");
  if (!name.is_string()) throw Fault{kWanted};
  const Json& ids =
      member(member(member(processor, "special_tokens"), name.get_ref<const std::string&>().c_str()), "ids");
  if (!ids.is_array() || ids.size() != 1) throw Fault{kWanted};
  out.bos_id = id_of(ids[0], "post_processor: the special token's id");
}

void read_post_processor(const Json& processor, TokenizerJson& out) {
  if (processor.is_null()) return;
  const std::string type = type_of(processor);
  if (type == "ByteLevel") return;  // offsets only
  if (type == "TemplateProcessing") {
    if (out.bos_id >= 0) throw Fault{"post_processor: more than one TemplateProcessing"};
    return read_template(processor, out);
  }
  const Json& parts = member(processor, "processors");
  if (type != "Sequence" || !parts.is_array()) throw Fault{"post_processor " + type + " is not supported"};
  for (const Json& part : parts) {
    if (type_of(part) == "Sequence")
      throw Fault{"post_processor: a Sequence inside a Sequence is not supported"};
    read_post_processor(part, out);
  }
}

}  // namespace

TokenizerJson read_tokenizer_json(std::string_view json, const std::string& origin) {
  TokenizerJson out;
  try {
    Reader reader(out);
    if (json.size() > UINT32_MAX) throw Fault{"the file is too large"};
    if (!Json::sax_parse(json.begin(), json.end(), &reader)) throw Fault{reader.fault};
    const Json& root = reader.rest;
    if (!root.is_object()) throw Fault{"not a JSON object"};
    read_model(member(root, "model"), reader.has_merges, out);
    if (!member(root, "normalizer").is_null()) {
      throw Fault{"normalizer " + type_of(member(root, "normalizer")) + " is not supported, only null"};
    }
    read_pre_tokenizer(member(root, "pre_tokenizer"), out);
    if (type_of(member(root, "decoder")) != "ByteLevel") {
      throw Fault{"decoder must be ByteLevel, not " + type_of(member(root, "decoder"))};
    }
    read_added_tokens(member(root, "added_tokens"), out);
    read_post_processor(member(root, "post_processor"), out);
  } catch (const Fault& fault) {
    throw CheckpointError(origin + ": " + fault.message);
  }
  return out;
}

}  // namespace outrider::tokenizer
