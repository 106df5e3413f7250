#include "tokenizer/tokenizer.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>

#include "base/error.h"
#include "base/utf8.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/vocabulary.h"

namespace outrider::tokenizer {
namespace {

constexpr uintmax_t kMaxFileBytes = 256u << 20;

std::string read_file(const std::filesystem::path& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) throw CheckpointError(path.string() + ": cannot be read: " + error.message());
  if (size > kMaxFileBytes) throw CheckpointError(path.string() + ": larger than 256 MiB");
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) {
    throw CheckpointError(path.string() + ": cannot be read");
  }
  return text;
}

// The content of tokenizer_config.json's `eos_token`, a string or an object; none when absent.
std::optional<std::string> read_eos_token(const std::filesystem::path& path) {
  const auto config = nlohmann::json::parse(read_file(path), nullptr, false);
  if (!config.is_object()) throw CheckpointError(path.string() + ": not a JSON object");
  auto eos = config.value("eos_token", nlohmann::json());
  if (eos.is_object()) eos = eos.value("content", nlohmann::json());
  if (eos.is_null()) return std::nullopt;
  if (!eos.is_string())
    throw CheckpointError(path.string() + ": eos_token is neither a text nor has it a content");
  return eos.get<std::string>();
}

// Appends what can be decoded of `bytes` and returns the bytes taken: all but an unfinished character at the
// end.
size_t decode_whole_characters(std::string_view bytes, std::string& out) {
  size_t at = 0;
  while (true) {
    const size_t valid = valid_utf8_prefix(bytes.substr(at));
    out.append(bytes.substr(at, valid));
    at += valid;
    if (at == bytes.size()) return at;
    const Utf8Step step = utf8_step(bytes.substr(at));
    if (step.kind == Utf8Step::Kind::kIncomplete) return at;
    out.append(kReplacementCharacter);
    at += step.length;
  }
}

}  // namespace

struct Tokenizer::Impl {
  Impl(const TokenizerJson& file, const std::string& origin);

  void encode_text(std::string_view text, size_t level, BpeScratch& scratch, std::vector<int32_t>& out) const;

  Vocabulary vocabulary;
  std::unordered_map<std::string, int32_t> id_by_name;  // tokens that Vocabulary::find does not know
  std::unordered_map<int32_t, std::string> name_by_id;  // the same
  std::array<AddedTokens, 2> added;  // those that are not `normalized` are looked for first
  std::optional<PreTokenizer> pre_tokenizer;
  std::optional<Bpe> bpe;
  int32_t bos_id = -1;
  int32_t eos_id = -1;
  int32_t encoder_size = 0;

 private:
  void insert_vocabulary(const TokenizerJson& file, const std::string& origin);
  void insert_added(const TokenizerJson& file, const std::string& origin);
  void build_bpe(const TokenizerJson& file, const std::string& origin);
};

Tokenizer::Impl::Impl(const TokenizerJson& file, const std::string& origin) {
  insert_vocabulary(file, origin);
  insert_added(file, origin);
  vocabulary.build_index();
  build_bpe(file, origin);
  pre_tokenizer.emplace(file.pattern, origin);
  bos_id = file.bos_id;
  encoder_size = static_cast<int32_t>(file.vocabulary.size());
  if (bos_id >= 0 && !vocabulary.has(bos_id)) {
    throw CheckpointError(origin + ": the post-processor's token " + std::to_string(bos_id) +
                          " does not exist");
  }
}

void Tokenizer::Impl::insert_vocabulary(const TokenizerJson& file, const std::string& origin) {
  for (const auto& entry : file.vocabulary) {
    const std::string spelling(file.view(entry.spelling));
    const auto bytes = bytes_from_spelling(spelling);
    if (!vocabulary.insert(entry.id, bytes ? *bytes : spelling, bytes && !bytes->empty())) {
      throw CheckpointError(origin + ": two tokens have the id " + std::to_string(entry.id));
    }
    if (vocabulary.is_text_of_encoder(entry.id)) continue;
    id_by_name.emplace(spelling, entry.id);
    name_by_id.emplace(entry.id, spelling);
  }
}

void Tokenizer::Impl::insert_added(const TokenizerJson& file, const std::string& origin) {
  for (const auto& token : file.added) {
    const auto bytes = bytes_from_spelling(token.content);
    if (vocabulary.insert(token.id, bytes ? *bytes : token.content, false)) {
      name_by_id.emplace(token.id, token.content);
    } else if (vocabulary.bytes(token.id) != (bytes ? *bytes : token.content)) {
      throw CheckpointError(origin + ": added token " + token.content.substr(0, 60) + " has the id " +
                            std::to_string(token.id) + " of another token");
    }
    if (!id_by_name.emplace(token.content, token.id).second && id_by_name[token.content] != token.id) {
      throw CheckpointError(origin + ": the token " + token.content.substr(0, 60) + " has two ids");
    }
    if (token.special) vocabulary.mark_special(token.id);
    added[token.normalized ? 1 : 0].add(token.content, token.id);
  }
  for (AddedTokens& tokens : added) tokens.build_index();
}

void Tokenizer::Impl::build_bpe(const TokenizerJson& file, const std::string& origin) {
  std::array<int32_t, 256> byte_ids;
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    byte_ids[byte] = vocabulary.find({&c, 1});
    if (byte_ids[byte] < 0) {
      throw CheckpointError(origin + ": no token for the byte " + std::to_string(byte) +
                            "; only byte-level BPE is served");
    }
  }
  std::vector<MergeTable::Merge> merges;
  merges.reserve(file.merges.size());
  for (const auto& entry : file.merges) {
    const auto left = bytes_from_spelling(file.view(entry.left));
    const auto right = bytes_from_spelling(file.view(entry.right));
    MergeTable::Merge merge{-1, -1, -1};
    if (left && right)
      merge = {vocabulary.find(*left), vocabulary.find(*right), vocabulary.find(*left + *right)};
    if (merge.left < 0 || merge.right < 0 || merge.joined < 0) {
      throw CheckpointError(origin + ": model.merges[" + std::to_string(merges.size()) +
                            "] joins tokens that are not in the vocabulary");
    }
    merges.push_back(merge);
  }
  bpe.emplace(vocabulary, merges, byte_ids, file.ignore_merges);
}

// `level` is the index in `added` of the tokens to look for; text that holds none of either goes to the
// pattern.
void Tokenizer::Impl::encode_text(std::string_view text, size_t level, BpeScratch& scratch,
                                  std::vector<int32_t>& out) const {
  if (level == added.size()) {
    PreTokenizer::Pass pass(*pre_tokenizer, text);
    for (std::string_view piece = pass.next(); !piece.empty(); piece = pass.next())
      bpe->encode(piece, scratch, out);
    return;
  }
  for (size_t at = 0; at < text.size();) {
    const AddedTokens::Match match = added[level].find(text, at);
    if (match.begin > at) encode_text(text.substr(at, match.begin - at), level + 1, scratch, out);
    if (match.id >= 0) out.push_back(match.id);
    at = match.end;
  }
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

std::shared_ptr<const Tokenizer> Tokenizer::parse(std::string_view json, const std::string& origin) {
  auto impl = std::make_unique<Impl>(read_tokenizer_json(json, origin), origin);
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(impl)));
}

std::shared_ptr<const Tokenizer> Tokenizer::load(const std::string& folder) {
  const auto file = std::filesystem::path(folder) / "tokenizer.json";
  auto impl = std::make_unique<Impl>(read_tokenizer_json(read_file(file), file.string()), file.string());
  std::shared_ptr<Tokenizer> tokenizer(new Tokenizer(std::move(impl)));
  const auto config = std::filesystem::path(folder) / "tokenizer_config.json";
  if (std::filesystem::exists(config)) {
    if (const auto eos = read_eos_token(config)) {
      tokenizer->impl_->eos_id = tokenizer->token_id(*eos);
      if (tokenizer->impl_->eos_id < 0) {
        throw CheckpointError(config.string() + ": eos_token \"" + eos->substr(0, 60) +
                              "\" is not in tokenizer.json");
      }
    }
  }
  return tokenizer;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = to_valid_utf8(text);
    text = repaired;
  }
  if (text.size() > INT32_MAX) throw RequestError("the text is longer than 2 GiB");
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 4 + 8);
  if (add_special_tokens && impl_->bos_id >= 0) ids.push_back(impl_->bos_id);
  BpeScratch scratch;
  impl_->encode_text(text, 0, scratch, ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (!(skip_special_tokens && is_special(id))) bytes.append(token_bytes(id));
  }
  return to_valid_utf8(bytes);
}

std::string_view Tokenizer::token_bytes(int32_t id) const { return impl_->vocabulary.bytes(id); }

std::string Tokenizer::token_string(int32_t id) const {
  if (impl_->vocabulary.is_text_of_encoder(id)) return spelling_from_bytes(token_bytes(id));
  const auto it = impl_->name_by_id.find(id);
  return it == impl_->name_by_id.end() ? std::string() : it->second;
}

int32_t Tokenizer::token_id(std::string_view token) const {
  const auto it = impl_->id_by_name.find(std::string(token));
  if (it != impl_->id_by_name.end()) return it->second;
  const auto bytes = bytes_from_spelling(token);
  return bytes ? impl_->vocabulary.find(*bytes) : -1;
}

bool Tokenizer::is_special(int32_t id) const { return impl_->vocabulary.is_special(id); }
bool Tokenizer::has_token(int32_t id) const { return impl_->vocabulary.has(id); }
int32_t Tokenizer::size() const { return impl_->vocabulary.size(); }
int32_t Tokenizer::encoder_size() const { return impl_->encoder_size; }
int32_t Tokenizer::bos_id() const { return impl_->bos_id; }
int32_t Tokenizer::eos_id() const { return impl_->eos_id; }

IncrementalDetokenizer::IncrementalDetokenizer(std::shared_ptr<const Tokenizer> tokenizer,
                                               bool skip_special_tokens)
    : tokenizer_(std::move(tokenizer)), skip_special_tokens_(skip_special_tokens) {}

std::string IncrementalDetokenizer::push(int32_t id) {
  if (skip_special_tokens_ && tokenizer_->is_special(id)) return {};
  pending_.append(tokenizer_->token_bytes(id));
  std::string text;
  pending_.erase(0, decode_whole_characters(pending_, text));
  return text;
}

std::string IncrementalDetokenizer::flush() {
  std::string text = to_valid_utf8(pending_);
  pending_.clear();
  return text;
}

}  // namespace outrider::tokenizer
