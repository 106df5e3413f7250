// What a tokenizer.json must not hold, one change to a good file at a time.
#include <gtest/gtest.h>

#include <unistd.h>

#include <functional>
#include <random>

#include "base/error.h"
#include "tokenizer/cases.h"

namespace outrider::tokenizer {
namespace {

using Json = nlohmann::json;
using ::testing::TempDir;

const Json& good() {
  static const Json json = Json::parse(read_text(fixture("odd.json")));
  return json;
}

std::string fault_of(const std::string& text) {
  try {
    Tokenizer::parse(text, "T");
  } catch (const CheckpointError& error) {
    const std::string line = error.what();
    EXPECT_EQ(line.rfind("T: ", 0), 0u) << line;
    EXPECT_EQ(line.find('\n'), std::string::npos) << line;
    return line.substr(3);
  }
  return "accepted";
}

std::string fault_after(const std::function<void(Json&)>& change) {
  Json json = good();
  change(json);
  return fault_of(json.dump());
}

TEST(Refusal, OtherKindsOfTokenizerAreNamed) {
  EXPECT_EQ(fault_after([](Json&) {}), "accepted");
  EXPECT_EQ(fault_after([](Json& j) { j["model"]["type"] = "WordPiece"; }),
            "model.type is WordPiece; only byte-level BPE is served");
  EXPECT_EQ(fault_after([](Json& j) {
              j["normalizer"] = {{"type", "NFC"}};
            }),
            "normalizer NFC is not supported, only null");
  EXPECT_EQ(fault_after([](Json& j) {
              j["pre_tokenizer"] = {{"type", "Whitespace"}};
            }),
            "pre_tokenizer must be a Sequence of Split and ByteLevel, not Whitespace");
  EXPECT_EQ(fault_after([](Json& j) { j["pre_tokenizer"] = nullptr; }),
            "pre_tokenizer must be a Sequence of Split and ByteLevel, not nothing");
  EXPECT_EQ(fault_after([](Json& j) { j["decoder"]["type"] = "Metaspace"; }),
            "decoder must be ByteLevel, not Metaspace");
  EXPECT_EQ(fault_after([](Json& j) {
              j["post_processor"] = {{"type", "BertProcessing"}};
            }),
            "post_processor BertProcessing is not supported");
}

TEST(Refusal, SettingsThatWouldChangeTheResultAreRefused) {
  const std::vector<std::function<void(Json&)>> changes = {
      [](Json& j) { j["model"]["dropout"] = 0.1; },
      [](Json& j) { j["model"]["continuing_subword_prefix"] = "##"; },
      [](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; },
      [](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed"; },
      [](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["invert"] = true; },
      [](Json& j) {
        j["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {{"String", " "}};
      },
      [](Json& j) { j["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true; },
      [](Json& j) { j["pre_tokenizer"]["pretokenizers"][1]["use_regex"] = true; },
      [](Json& j) { j["added_tokens"][0]["lstrip"] = true; },
      [](Json& j) { j["added_tokens"][0]["single_word"] = true; },
      [](Json& j) { j["post_processor"]["single"].push_back(j["post_processor"]["single"][0]); },
  };
  for (const auto& change : changes) EXPECT_NE(fault_after(change), "accepted");
}

TEST(Refusal, ContradictionsAreNamed) {
  EXPECT_EQ(fault_after([](Json& j) { j["model"]["vocab"].erase("a"); }),
            "no token for the byte 97; only byte-level BPE is served");
  EXPECT_EQ(fault_after([](Json& j) { j["model"]["vocab"]["ab"] = 5; }), "two tokens have the id 5");
  EXPECT_EQ(fault_after([](Json& j) { j["model"]["vocab"]["huge"] = 4194304; }),
            "model.vocab holds an id above 4194303");
  EXPECT_EQ(fault_after([](Json& j) { j["model"]["vocab"]["minus"] = -1; }),
            "model.vocab must map tokens to numbers");
  EXPECT_EQ(fault_after([](Json& j) {
              j["model"]["merges"][1] = {"z", "z"};
            }),
            "model.merges[1] joins tokens that are not in the vocabulary");
  EXPECT_EQ(fault_after([](Json& j) { j["model"]["merges"][1] = "a b c"; }),
            "model.merges[1] is not two tokens");
  EXPECT_EQ(fault_after([](Json& j) { j["model"]["merges"][1] = {"a"}; }),
            "model.merges[1] is not two tokens");
  EXPECT_EQ(fault_after([](Json& j) { j["model"]["merges"] = 3; }), "model.merges is not a list");
  EXPECT_EQ(fault_after([](Json& j) { j["model"].erase("merges"); }), "model.merges is not a list");
  EXPECT_EQ(fault_after([](Json& j) { j["added_tokens"][1]["id"] = 3; }),
            "added token <a><b> has the id 3 of another token");
  EXPECT_EQ(fault_after([](Json& j) { j["added_tokens"][1]["content"] = ""; }),
            "an added token has no content");
  EXPECT_EQ(fault_after([](Json& j) { j["post_processor"]["special_tokens"]["<a>"]["ids"] = {4000}; }),
            "the post-processor's token 4000 does not exist");
}

TEST(Refusal, PatternsAreUntrusted) {
  const auto with_pattern = [](const std::string& pattern) {
    return [pattern](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = pattern; };
  };
  EXPECT_NE(fault_after(with_pattern("(")).find("does not compile"), std::string::npos);
  EXPECT_NE(fault_after(with_pattern("\\C")), "accepted") << "matches half characters";
  EXPECT_NE(fault_after(with_pattern(std::string(100000, 'a'))), "accepted");
  // Exponential: gives up with an error for the request.
  Json json = good();
  with_pattern("(a|aa|a)+[0-9]{2}")(json);
  const auto tokenizer = Tokenizer::parse(json.dump(), "T");
  EXPECT_THROW(tokenizer->encode(std::string(60, 'a') + "1b22", false), RequestError);
  // Matches nothing or only empty text: everything is one piece.
  for (const char* pattern : {"", "x*", "(?=a)", "zzz"}) {
    Json odd_one = good();
    with_pattern(pattern)(odd_one);
    const auto t = Tokenizer::parse(odd_one.dump(), "T");
    EXPECT_EQ(t->decode(t->encode("banana xx", false), false), "banana xx") << pattern;
  }
}

TEST(Refusal, BrokenFilesAreRefusedAtEveryLength) {
  const std::string text = good().dump();
  for (size_t length = 0; length < text.size(); length += 13)
    EXPECT_NE(fault_of(text.substr(0, length)), "accepted");
  EXPECT_NE(fault_of(std::string(100000, '[')), "accepted");
  std::string deep;
  for (int i = 0; i < 10000; ++i) deep += "{\"model\":";
  EXPECT_EQ(fault_of(deep), "nested too deeply");
  EXPECT_EQ(fault_of(R"({"model":{"vocab":{},"vocab":{}}})"), "the key \"vocab\" occurs twice");
  for (const char* other : {"[]", "3", "null", "\"x\"", R"({"model":3})", R"({"model":{"vocab":[]}})",
                            R"({"model":{"vocab":{"a":{"b":1}}}})", R"({"model":{"merges":{}}})"}) {
    EXPECT_NE(fault_of(other), "accepted") << other;
  }
}

TEST(Refusal, RandomDamageNeverDoesMoreThanThrowItsError) {
  std::mt19937 rng(6);
  const std::string text = good().dump();
  for (int i = 0; i < 3000; ++i) {
    std::string damaged = text;
    for (int n = 1 + static_cast<int>(rng() % 4); n > 0; --n) {
      const size_t at = rng() % damaged.size();
      if (rng() % 3 == 0) {
        damaged.erase(at, 1 + rng() % 40);
      } else {
        damaged[at] = R"("{}[],:0-1aé\)"[rng() % 14];
      }
    }
    try {
      const auto t = Tokenizer::parse(damaged, "T");
      t->decode(t->encode("<a>abc two words é<", true), false);
    } catch (const CheckpointError&) {
    } catch (const RequestError&) {
    }
  }
}

TEST(Acceptance, MergesAsTextsEqualMergesAsPairs) {
  Json json = good();
  for (Json& merge : json["model"]["merges"]) {
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  const auto t = Tokenizer::parse(json.dump(), "T");
  for (const auto& c : read_lines(fixture("odd_cases.jsonl"))) {
    EXPECT_EQ(t->encode(c["text"].get<std::string>(), false), c["ids"].get<std::vector<int32_t>>());
  }
}

TEST(Acceptance, WithoutIgnoreMergesAWholeWordIsReachedByMergesOnly) {
  const int32_t whole = odd()->token_id("Ġabab");
  EXPECT_EQ(odd()->encode(" abab", false), std::vector<int32_t>{whole});
  Json json = good();
  json["model"]["ignore_merges"] = false;
  const auto t = Tokenizer::parse(json.dump(), "T");
  EXPECT_EQ(t->encode(" abab", false),
            (std::vector<int32_t>{t->token_id("Ġ"), t->token_id("ab"), t->token_id("ab")}));
}

TEST(Acceptance, WithoutATemplateNothingIsPutInFront) {
  Json json = good();
  json["post_processor"] = nullptr;
  const auto t = Tokenizer::parse(json.dump(), "T");
  EXPECT_EQ(t->bos_id(), -1);
  EXPECT_EQ(t->encode("a", true), t->encode("a", false));
}

class Folder {
 public:
  explicit Folder(const std::string& config)
      : path_(TempDir() + "outrider-tokenizer-" + std::to_string(::getpid())) {
    std::filesystem::create_directories(path_);
    std::ofstream(path_ + "/tokenizer.json") << good().dump();
    if (!config.empty()) std::ofstream(path_ + "/tokenizer_config.json") << config;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(Config, EosIsReadFromAStringOrAnObject) {
  const int32_t eos = odd()->token_id("<a><b>");
  EXPECT_EQ(Tokenizer::load(Folder(R"({"eos_token":"<a><b>"})").path())->eos_id(), eos);
  EXPECT_EQ(Tokenizer::load(Folder(R"({"eos_token":{"content":"<a><b>","lstrip":false}})").path())->eos_id(),
            eos);
  EXPECT_EQ(Tokenizer::load(Folder(R"({"eos_token":null})").path())->eos_id(), -1);
  EXPECT_EQ(Tokenizer::load(Folder("{}").path())->eos_id(), -1);
  EXPECT_EQ(Tokenizer::load(Folder("").path())->eos_id(), -1);
}

TEST(Config, BadFilesAreNamed) {
  for (const char* config : {"[]", "{", R"({"eos_token":3})", R"({"eos_token":"<nowhere>"})"}) {
    const Folder folder(config);
    try {
      Tokenizer::load(folder.path());
      ADD_FAILURE() << config;
    } catch (const CheckpointError& error) {
      EXPECT_NE(std::string(error.what()).find("tokenizer_config.json"), std::string::npos);
    }
  }
  EXPECT_THROW(Tokenizer::load("/nonexistent"), CheckpointError);
}

}  // namespace
}  // namespace outrider::tokenizer
