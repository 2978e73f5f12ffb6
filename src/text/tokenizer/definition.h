// What a tokenizer is, as data, before it is made ready to run: the vocabulary by id and the pipeline in the notation
// of Hugging Face's tokenizer.json. Every reader makes one of these, the bundle form stores it, and only
// text/tokenizer.cpp turns it into something that runs.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pajamas {

/// Texts by index in two arrays, so that 150,000 tokens are two allocations.
class TextPool {
 public:
  void reserve(std::size_t num_texts, std::size_t num_bytes) {
    ends_.reserve(num_texts);
    bytes_.reserve(num_bytes);
  }
  void add(std::string_view text) {
    bytes_ += text;
    ends_.push_back(static_cast<std::uint32_t>(bytes_.size()));
  }
  std::size_t size() const { return ends_.size(); }
  std::size_t num_bytes() const { return bytes_.size(); }
  std::string_view operator[](std::size_t index) const {
    const std::uint32_t begin = index == 0 ? 0 : ends_[index - 1];
    return {bytes_.data() + begin, ends_[index] - begin};
  }

 private:
  std::string bytes_;
  std::vector<std::uint32_t> ends_;
};

/// A token that is searched for in the text itself, before any model sees it.
struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool is_special = false;
  bool is_single_word = false;  ///< Only where no word character is beside it.
  bool strips_left = false;     ///< Takes the white space before it along.
  bool strips_right = false;
  bool is_normalized = false;  ///< Searched for in the normalised text, itself normalised.
};

/// One merge of a BPE: the pair of ids and what it becomes. Lower ranks first; equal ranks from left to right.
struct Merge {
  std::int32_t left = 0;
  std::int32_t right = 0;
  std::int32_t result = 0;
  std::int32_t rank = 0;
};

enum class TokenizerModel : std::uint8_t { kBpe = 0, kUnigram = 1, kWordPiece = 2 };

struct TokenizerDefinition {
  std::string where;  ///< The file, for errors.

  TokenizerModel model = TokenizerModel::kBpe;
  /// The model's own tokens by id. An empty text is a gap: no token has the id.
  TextPool tokens;
  std::vector<double> scores;  ///< Unigram: log-probability of each token.
  std::vector<Merge> merges;   ///< BPE.

  // Settings of the models; those of other models keep their defaults.
  std::optional<std::int32_t> model_unk_id;
  bool uses_byte_fallback = false;        ///< Characters not in the vocabulary become tokens <0x00> … <0xFF>.
  bool fuses_unk = false;                 ///< BPE: neighbouring unknown characters become one token.
  bool ignores_merges = false;            ///< BPE: a word that is a token needs no merges.
  std::string continuing_subword_prefix;  ///< BPE, WordPiece.
  std::string end_of_word_suffix;         ///< BPE.
  std::int32_t max_chars_per_word = 100;  ///< WordPiece: longer words are unknown.

  std::vector<AddedToken> added_tokens;

  // tokenizer.json's own parts; null: none.
  nlohmann::json normalizer;
  nlohmann::json pre_tokenizer;
  nlohmann::json post_processor;
  nlohmann::json decoder;

  std::optional<std::int32_t> bos_id, eos_id, pad_id, unk_id;
};

/// Limits of what is read. The largest published vocabulary has 262,144 tokens, the longest token some 1,000 bytes.
inline constexpr std::int64_t kMaxTokens = 1 << 22;
inline constexpr std::size_t kMaxTokenBytes = (1 << 16) - 1;
/// Added tokens are searched for at every place of a text, so their length bounds the work for a byte.
inline constexpr std::size_t kMaxAddedTokenBytes = 1024;

/// Throws Error{kBadInput} for ids out of range, numbers that contradict each other, texts that are no UTF-8.
void check_definition(const TokenizerDefinition& definition);

/// The merges of a SentencePiece BPE, whose files have none: every pair of tokens that join to a token, ranked by the
/// score of what they join to. `scores`: one a token, no NaN. Tokens without a text take no part. Throws
/// Error{kBadInput} for tokens so long that their cuts cannot be looked up in a moment.
std::vector<Merge> merges_from_scores(const TextPool& tokens, const std::vector<double>& scores);

// Parts of pipelines in the notation of tokenizer.json, for sources that have no such notation.
/// A post-processor that puts ids around a text; null when there are none.
nlohmann::json template_of(const std::vector<std::int32_t>& before, const std::vector<std::int32_t>& after);
nlohmann::json sentencepiece_decoder(bool strips_space);
/// What SentencePiece does before it escapes spaces; null when that is nothing. `charsmap_base64` may be empty.
nlohmann::json sentencepiece_normalizer(const std::string& charsmap_base64, bool removes_extra_spaces);
/// Escaped spaces as the tokenizer.json files of Llama 2 and its kin have them: each part between special tokens gets
/// its mark in front.
nlohmann::json escaped_spaces_normalizer(bool prepends_mark);

}  // namespace pajamas
