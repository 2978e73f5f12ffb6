// What a Tokenizer is made of when it runs. Private to text/tokenizer.cpp and text/tokenizer/streaming_detokenizer.cpp.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"
#include "text/tokenizer/added_tokens.h"
#include "text/tokenizer/definition.h"
#include "text/tokenizer/normalizer.h"
#include "text/tokenizer/post_processor.h"
#include "text/tokenizer/pre_tokenizer.h"
#include "text/tokenizer/token_decoder.h"
#include "text/tokenizer/word_model.h"

namespace pajamas {

/// Working memory of encode() calls, kept warm between them. Thread-safe.
class ScratchPool {
 public:
  std::unique_ptr<EncodeScratch> take() const;
  void give_back(std::unique_ptr<EncodeScratch> scratch) const;

 private:
  /// Each is some 1 MB; more threads than this at once make theirs anew.
  static constexpr std::size_t kMaxKept = 8;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<EncodeScratch>> kept_;
};

struct Tokenizer::State {
  explicit State(std::shared_ptr<const TokenizerDefinition> given);

  /// Throws Error{kBadInput} for an id out of range.
  std::size_t index_of(std::int32_t id) const;
  void encode_text(std::string_view text, bool is_first, bool parses_special, EncodeScratch& scratch,
                   std::vector<std::int32_t>& ids) const;
  void encode_words(std::string_view text, bool is_first, EncodeScratch& scratch, std::vector<std::int32_t>& ids) const;

  std::shared_ptr<const TokenizerDefinition> definition;
  TextPool pieces;
  TextPool bytes;  ///< By id, as in the middle of a text.
  TokenTable table;
  std::vector<bool> is_special;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  TokenDecoder decoder;
  SurroundingTokens around;
  std::unique_ptr<const WordModel> model;
  std::unique_ptr<const AddedTokenSearch> raw_search, normalized_search;
  bool maps_bytes = false;  ///< Words come in GPT-2's printable alphabet and are bytes to the model.
  ScratchPool scratches;

 private:
  void number_tokens();
  void make_searches();
  void make_model();
  void decode_tokens();
};

}  // namespace pajamas
