// Tokenizers of language models: text to token ids and back, whatever file the vocabulary came in. One class for
// byte-level BPE, SentencePiece BPE and unigram, and WordPiece; ids are those of Hugging Face's tokenizers. Not chat
// templates, not samplers; CLIP's text tower has a class of its own (text/clip_tokenizer.h). The parts lie in
// text/tokenizer/; docs/language-tokenizers.md describes the format a bundle carries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pajamas {

struct GgufVocabulary;       // text/tokenizer/gguf_vocabulary.h
struct TokenizerDefinition;  // text/tokenizer/definition.h

struct EncodeOptions {
  /// Put the tokens of the post-processor's template around the text (for most models the begin-of-text token).
  bool add_special_tokens = true;
  /// Special tokens written out in the text ("<|im_end|>") become their ids. Off: they are text like any other, which
  /// is what text of an untrusted user needs. Added tokens that are not special are found either way.
  bool parse_special_tokens = true;
};

struct DecodeOptions {
  bool skip_special = false;  ///< Leave special tokens out.
};

/// Immutable; a cheap handle to copy; any thread. Ids are 0 .. vocab_size() - 1, added tokens included; some ids may
/// stand for no token (a gap in the file): their piece and bytes are empty.
class Tokenizer {
 public:
  /// Reads a tokenizer from whatever `path` is: a folder with tokenizer.json or tokenizer.model, such a file by itself
  /// (known by its content, not its name), the form that bundles carry, or a GGUF file. Throws Error{kBadInput} naming
  /// file and place for a damaged one, Error{kUnsupported} naming the part (normaliser, pre-tokenizer, …) that is not
  /// known here.
  static Tokenizer read(const std::filesystem::path& path);
  /// A tokenizer.json, or the folder that holds one; tokenizer_config.json and special_tokens_map.json beside it say
  /// which tokens begin, end and pad a text. Throws as read().
  static Tokenizer read_hugging_face(const std::filesystem::path& path);
  /// A SentencePiece model (tokenizer.model). Throws as read().
  static Tokenizer read_sentencepiece(const std::filesystem::path& path);
  /// From the metadata of a GGUF file, see text/tokenizer/gguf_vocabulary.h. `where` names the file in errors.
  static Tokenizer from_gguf(const GgufVocabulary& vocabulary, const std::string& where);
  /// From bytes in any of the file formats above but GGUF; `where` names them in errors. Throws as read().
  static Tokenizer parse(std::span<const std::byte> bytes, const std::string& where);
  /// From a definition made elsewhere; throws as read(). The readers all end here.
  static Tokenizer from_definition(std::shared_ptr<const TokenizerDefinition> definition);

  /// The bytes of the form a bundle carries (file role "tokenizer"): what was read, whatever it was, as one file that
  /// loads fast. parse() of it is an equal tokenizer.
  std::string bundle_form() const;
  /// Usual name of that file.
  static constexpr const char* kBundleFileName = "tokenizer.bin";

  std::int32_t vocab_size() const noexcept;

  /// The ids of a text. `text` is UTF-8; bytes that are not become U+FFFD, as decoders elsewhere do. Linear in the
  /// text but for a logarithm. Throws Error{kBadInput} for a text over 2^30 bytes, or one on which a pattern of an
  /// unknown form exceeds its limit of work.
  std::vector<std::int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;
  /// The text of ids. Throws Error{kBadInput} for an id out of range. Byte sequences that are no UTF-8 become U+FFFD.
  std::string decode(std::span<const std::int32_t> ids, const DecodeOptions& options = {}) const;

  /// The token as the vocabulary writes it ("Ġthe", "▁the", "##ing"). `id` must be in range, here and below
  /// (Error{kBadInput}). Views live as long as any copy of the tokenizer.
  std::string_view piece(std::int32_t id) const;
  /// The exact bytes that the token stands for in the middle of a text (" the"), which need not be whole UTF-8
  /// characters. What grammars and stop strings work on.
  std::string_view token_bytes(std::int32_t id) const;
  /// A control token (begin, end, turn markers, unknown), which is no part of the text.
  bool is_special(std::int32_t id) const;
  /// The id of a token as the vocabulary writes it.
  std::optional<std::int32_t> find_token(std::string_view piece) const;

  std::optional<std::int32_t> bos_id() const noexcept;
  std::optional<std::int32_t> eos_id() const noexcept;
  std::optional<std::int32_t> pad_id() const noexcept;
  std::optional<std::int32_t> unk_id() const noexcept;

  /// The tokens that encode() puts before and after a text when add_special_tokens is set.
  std::span<const std::int32_t> prefix_ids() const noexcept;
  std::span<const std::int32_t> suffix_ids() const noexcept;

 private:
  friend class StreamingDetokenizer;
  struct State;
  explicit Tokenizer(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

/// Text of ids that come one at a time. What push() and finish() return, joined, is decode() of all ids; nothing ends
/// within a UTF-8 character. One thread at a time. Copyable: copies go on independently.
class StreamingDetokenizer {
 public:
  explicit StreamingDetokenizer(Tokenizer tokenizer, DecodeOptions options = {});

  /// The text that is certain once `id` is known; may be empty. Throws Error{kBadInput} for an id out of range.
  std::string push(std::int32_t id);
  /// The rest (bytes of an unfinished character become U+FFFD); ready for the next text afterwards.
  std::string finish();

 private:
  std::string take(bool is_end);
  Tokenizer tokenizer_;
  DecodeOptions options_;
  std::string pending_;  ///< Bytes whose characters are not certain yet.
  bool is_first_token_ = true;
  std::size_t num_to_strip_ = 0;  ///< Leading characters that the decoder still removes.
};

}  // namespace pajamas
