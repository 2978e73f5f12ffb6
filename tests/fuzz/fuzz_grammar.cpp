// Fuzz target: any text as a JSON schema, a regular expression or a grammar (the first byte says which). What is
// accepted must keep its promises on a few steps: masks equal to trying every token, and forced text that is accepted.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pajamas/error.h"
#include "text/token_grammar.h"

namespace {

const pajamas::TokenVocabulary& vocabulary() {
  static const pajamas::TokenVocabulary kVocabulary = [] {
    static std::vector<std::string> tokens;
    for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
    for (const char* const token :
         {"{\"", "\":", "\",\"", "\"},{\"", "]}", "true", "  ", "12", "ab", "abc", "\xC3\xA9", "\xA9\""}) {
      tokens.emplace_back(token);
    }
    tokens.emplace_back("");
    const std::vector<std::string_view> views(tokens.begin(), tokens.end());
    const std::int64_t end = static_cast<std::int64_t>(tokens.size()) - 1;
    return pajamas::TokenVocabulary(views, std::span(&end, 1), {});
  }();
  return kVocabulary;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  // Small bounds, so that an input takes milliseconds; what they bound is the same.
  pajamas::GrammarOptions options;
  options.max_states = 2000;
  options.max_nodes_ahead = 20'000;
  options.max_mask_bytes = 1 << 20;
  if ((data[0] & 4) != 0) options.whitespace = pajamas::JsonWhitespace::kCompact;
  if ((data[0] & 64) != 0) options.whitespace = pajamas::JsonWhitespace::kFlexible;
  if ((data[0] & 8) != 0) options.is_open_by_default = true;
  try {
    const pajamas::TokenGrammar grammar =
        data[0] % 4 == 0   ? pajamas::TokenGrammar::from_regex(text, vocabulary(), options)
        : data[0] % 4 == 1 ? pajamas::TokenGrammar::from_ebnf(text, vocabulary(), options)
                           : pajamas::TokenGrammar::from_json_schema(text, vocabulary(), options);
    pajamas::GrammarState state(grammar);
    std::vector<std::uint32_t> bits(vocabulary().num_mask_words());
    std::uint32_t random = static_cast<std::uint32_t>(size) * 2654435761U + data[0];
    for (int step = 0; step < 12 && !state.is_ended(); ++step) {
      const std::string forced = state.forced_text(64);
      pajamas::GrammarState ahead = state;
      if (!ahead.accept_bytes(forced)) __builtin_trap();
      state.fill_mask(bits);
      std::vector<std::int64_t> allowed;
      for (std::int64_t id = 0; id < vocabulary().vocab_size(); ++id) {
        const bool is_set = (bits[static_cast<std::size_t>(id) / 32] >> (id % 32) & 1) != 0;
        pajamas::GrammarState copy = state;
        if (copy.accept(id) != is_set) __builtin_trap();
        if (is_set) allowed.push_back(id);
      }
      // Every byte is a token here, so there is always a way on.
      if (allowed.empty()) __builtin_trap();
      random = random * 1664525U + 1013904223U;
      state.accept(allowed[(random >> 8) % allowed.size()]);
    }
  } catch (const pajamas::Error& error) {
    if (error.kind() == pajamas::ErrorKind::kInternal) __builtin_trap();
  }
  return 0;
}
