// Fuzz target: any bytes as a tokenizer (tokenizer.json, tokenizer.model or the bundle's form). Whatever is accepted
// must encode texts to ids that it has, decode them, and be the same after a trip through the bundle's form.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "pajamas/error.h"
#include "text/tokenizer.h"

namespace {

const std::vector<std::string>& texts() {
  static const std::vector<std::string> all{
      "",
      "a",
      " the cat  sat\n\n",
      "It's 12345 naïve e\xCC\x81 \xF0\x9F\x98\x80 \xE4\xBD\xA0\xE5\xA5\xBD <s></s><|end|>",
      std::string("\x00\xFF\xC3(\xE2\x96\x81", 8),
      std::string(300, 'a')};
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of the exact size lets AddressSanitizer see a read past the end.
  const std::vector<std::byte> bytes(reinterpret_cast<const std::byte*>(data),
                                     reinterpret_cast<const std::byte*>(data) + size);
  try {
    const auto tokenizer = pajamas::Tokenizer::parse(bytes, "fuzz");
    const std::string form = tokenizer.bundle_form();
    const auto again =
        pajamas::Tokenizer::parse({reinterpret_cast<const std::byte*>(form.data()), form.size()}, "fuzz form");
    for (const std::string& text : texts()) {
      for (const bool parses_special : {true, false}) {
        std::vector<std::int32_t> ids;
        try {
          ids = tokenizer.encode(text, {.parse_special_tokens = parses_special});
        } catch (const pajamas::Error&) {  // A pattern past its limits.
          continue;
        }
        for (const std::int32_t id : ids) {
          if (id < 0 || id >= tokenizer.vocab_size()) __builtin_trap();
        }
        if (again.encode(text, {.parse_special_tokens = parses_special}) != ids) __builtin_trap();
        if (tokenizer.decode(ids) != again.decode(ids)) __builtin_trap();
      }
    }
  } catch (const pajamas::Error&) {
  }
  return 0;
}
