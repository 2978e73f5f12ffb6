// Fuzz target: any bytes through text/ngram_model.h. Whatever is accepted must find each of its words again and score
// texts of them with finite numbers.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "pajamas/error.h"
#include "text/ngram_model.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of the exact size lets AddressSanitizer see a read past the end.
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    const pajamas::NgramModel model = pajamas::NgramModel::parse(text, "fuzz");
    pajamas::NgramModel::State state = model.begin();
    for (std::uint32_t id = 0; id < model.vocab_size(); ++id) {
      if (model.find(model.word(id)) != id || !model.has_prefix(model.word(id))) __builtin_trap();
      if (!std::isfinite(model.score(state, id))) __builtin_trap();
    }
    if (!std::isfinite(model.score_unknown(state)) || !std::isfinite(model.score_end(state))) __builtin_trap();
  } catch (const pajamas::Error&) {
  }
  return 0;
}
