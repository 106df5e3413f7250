// UTF-8, read so that foreign bytes can do no harm: what is not UTF-8 counts as U+FFFD, one a maximal invalid
// part (Unicode 15, section 3.9, "substitution of maximal subparts"), as Rust's from_utf8_lossy and the
// WHATWG decoder do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace outrider {

inline constexpr uint32_t kReplacementCodePoint = 0xFFFD;
inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

struct Utf8Step {
  enum class Kind {
    kCharacter,
    kInvalid,
    kIncomplete
  };  // incomplete: the text ends inside a character valid so far
  Kind kind;
  uint8_t length;       // bytes taken, 1..4
  uint32_t code_point;  // U+FFFD unless a character
};

// Reads one character from the front of `text`, which must not be empty.
inline Utf8Step utf8_step(std::string_view text) {
  using Kind = Utf8Step::Kind;
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {Kind::kCharacter, 1, lead};
  if (lead < 0xC2 || lead > 0xF4) return {Kind::kInvalid, 1, kReplacementCodePoint};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and what lies past U+10FFFF.
  const uint32_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint32_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  uint32_t code_point = lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Kind::kIncomplete, static_cast<uint8_t>(i), kReplacementCodePoint};
    const uint32_t next = byte(i);
    if (next < (i == 1 ? low : 0x80) || next > (i == 1 ? high : 0xBF)) {
      return {Kind::kInvalid, static_cast<uint8_t>(i), kReplacementCodePoint};
    }
    code_point = code_point << 6 | (next & 0x3F);
  }
  return {Kind::kCharacter, static_cast<uint8_t>(length), code_point};
}

// Bytes of `text` up to the first that is not part of a whole character.
inline size_t valid_utf8_prefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    uint64_t word;
    if (at + sizeof(word) <= text.size()) {
      std::memcpy(&word, text.data() + at, sizeof(word));
      if ((word & 0x8080808080808080u) == 0) {
        at += sizeof(word);
        continue;
      }
    }
    const Utf8Step step = utf8_step(text.substr(at, 4));
    if (step.kind != Utf8Step::Kind::kCharacter) return at;
    at += step.length;
  }
  return at;
}

inline bool is_valid_utf8(std::string_view text) { return valid_utf8_prefix(text) == text.size(); }

inline std::string to_valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (true) {
    const size_t valid = valid_utf8_prefix(text);
    out.append(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) return out;
    out.append(kReplacementCharacter);
    text.remove_prefix(utf8_step(text).length);
  }
}

// `code_point` must be at most U+10FFFF; surrogates come out as U+FFFD.
inline void append_utf8(std::string& out, uint32_t code_point) {
  if (code_point >= 0xD800 && code_point <= 0xDFFF) code_point = kReplacementCodePoint;
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

}  // namespace outrider
