// See word_model.h.
#include "text/tokenizer/word_model.h"

namespace pajamas {
namespace {

/// Longer words are no words: the memory for them is not kept.
constexpr std::size_t kMaxKeptEntries = 1 << 16;

template <typename Container>
void release(Container& container) {
  if (container.capacity() > kMaxKeptEntries) Container().swap(container);
}

}  // namespace

void EncodeScratch::release_large() {
  release(symbols);
  release(merges);
  release(next);
  release(previous);
  release(queue);
  release(paths);
  release(text);
}

}  // namespace pajamas
