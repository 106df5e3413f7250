#include "tokenizer/byte_alphabet.h"

#include <array>

#include "base/utf8.h"

namespace outrider::tokenizer {
namespace {

constexpr uint32_t kShiftedBytes = 68;                    // bytes that do not stand for themselves
constexpr uint32_t kAlphabetEnd = 0x100 + kShiftedBytes;  // one past the largest code point in use

struct Alphabet {
  std::array<uint16_t, 256> code_point{};
  std::array<int16_t, kAlphabetEnd> byte{};
};

constexpr bool stands_for_itself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  alphabet.byte.fill(-1);
  uint16_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    alphabet.code_point[byte] = stands_for_itself(byte) ? static_cast<uint16_t>(byte) : next++;
    alphabet.byte[alphabet.code_point[byte]] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::optional<std::string> bytes_from_spelling(std::string_view spelling) {
  std::string bytes;
  bytes.reserve(spelling.size());
  while (!spelling.empty()) {
    const Utf8Step step = utf8_step(spelling);
    if (step.code_point >= kAlphabetEnd || kAlphabet.byte[step.code_point] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kAlphabet.byte[step.code_point]));
    spelling.remove_prefix(step.length);
  }
  return bytes;
}

std::string spelling_from_bytes(std::string_view bytes) {
  std::string spelling;
  for (const char c : bytes) append_utf8(spelling, kAlphabet.code_point[static_cast<uint8_t>(c)]);
  return spelling;
}

}  // namespace outrider::tokenizer
