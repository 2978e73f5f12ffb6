// Structured output: which tokens may come next so that the text stays within a JSON schema, a regular expression or a
// grammar. Three classes: the vocabulary (once a model), the grammar compiled for it (once a schema), the state of one
// sequence. Not a sampler: it hands out a bit mask and is told which token was taken.
// How it works, what the schema and grammar dialects support, and measured times: docs/language-structured-output.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pajamas {

class CancelToken;

namespace grammar {
class TokenTrie;
class CompiledGrammar;
struct GrammarDraft;
struct Step;
}  // namespace grammar

/// The tokens of a model as bytes, sorted into a trie. Immutable, cheap to copy (shared), usable from any thread.
class TokenVocabulary {
 public:
  /// `token_bytes[id]` is what token `id` adds to the text, raw bytes; the views are only read here. An empty entry is
  /// a token that writes nothing: it is never allowed. `end_of_text_ids` end a text; `special_ids` are never allowed
  /// whatever their bytes (an id in both ends a text).
  /// Throws Error{kBadInput} for ids outside the vocabulary, no tokens at all, or more than 2^24.
  TokenVocabulary(std::span<const std::string_view> token_bytes, std::span<const std::int64_t> end_of_text_ids,
                  std::span<const std::int64_t> special_ids);

  std::int64_t vocab_size() const;
  /// 32-bit words of a mask: vocab_size / 32, rounded up.
  std::size_t num_mask_words() const;
  /// Empty for a special token.
  std::string_view token_bytes(std::int64_t token_id) const;

 private:
  friend class TokenGrammar;
  std::shared_ptr<const grammar::TokenTrie> trie_;
};

/// Whitespace between the parts of a JSON text; there is none before or after it.
enum class JsonWhitespace {
  kCompact,  ///< None: {"a":1,"b":[2,3]}.
  /// What printers write, wherever JSON allows whitespace: none, a space, or a line end with up to
  /// `GrammarOptions::max_whitespace` spaces and tabs behind it.
  kIndented,
  kFlexible,  ///< Up to `GrammarOptions::max_whitespace` spaces, tabs and line ends wherever JSON allows some.
};

struct GrammarOptions {
  /// Not kFlexible: small models fill every place with all the blanks that they may write.
  JsonWhitespace whitespace = JsonWhitespace::kIndented;
  /// Bytes of one run of whitespace, or of one indentation; bounded, because models may write spaces for ever. 0 is
  /// kCompact for kFlexible.
  int max_whitespace = 24;
  /// Whether an object whose schema lists properties but says nothing of others may have others. JSON schema's own
  /// answer is yes; no keeps to what was listed, which every such schema allows too.
  bool is_open_by_default = false;
  /// Automaton states of one grammar, all rules together. The bound on compile time and memory.
  int max_states = 65536;
  /// Trie nodes visited at compile to make masks ahead (about 4 ns each); what is left is made when first met.
  std::int64_t max_nodes_ahead = 20'000'000;
  /// Bytes of masks kept by one grammar; past it masks are made anew each time.
  std::size_t max_mask_bytes = std::size_t{128} << 20;
  /// Polled while compiling; may be null.
  const CancelToken* cancel = nullptr;
};

/// A language compiled for a vocabulary. Immutable to its user, cheap to copy (shared), usable from any thread: masks
/// made on the way are published atomically.
///
/// All of the makers throw Error{kBadInput} for text that is malformed or a language that is empty, Error{kUnsupported}
/// for what this cannot express or what is past the limits, naming keyword and JSON path, or line and column, and
/// Error{kCancelled}.
class TokenGrammar {
 public:
  /// `schema_json`: a JSON schema of draft 2020-12 or draft 7 (an object, true or false).
  static TokenGrammar from_json_schema(std::string_view schema_json, const TokenVocabulary& vocabulary,
                                       const GrammarOptions& options = {});
  /// `pattern` describes the whole text; the syntax is that of JSON schema's `pattern` (ECMA 262) without what is not
  /// regular.
  static TokenGrammar from_regex(std::string_view pattern, const TokenVocabulary& vocabulary,
                                 const GrammarOptions& options = {});
  /// `text` in llama.cpp's GBNF (`root ::= ...`) or Lark's way (`start: ...`).
  static TokenGrammar from_ebnf(std::string_view text, const TokenVocabulary& vocabulary,
                                const GrammarOptions& options = {});
  /// Any JSON value.
  static TokenGrammar any_json(const TokenVocabulary& vocabulary, const GrammarOptions& options = {});

  /// What was compiled: sizes, for logs and benchmarks.
  struct Facts {
    std::int64_t num_rules = 0;
    std::int64_t num_states = 0;
    std::int64_t num_masks = 0;        ///< Made so far.
    std::int64_t mask_bytes = 0;       ///< Held by them.
    std::int64_t num_nodes_ahead = 0;  ///< Trie nodes visited at compile.
  };
  Facts facts() const;

 private:
  friend class GrammarState;
  explicit TokenGrammar(std::shared_ptr<const grammar::CompiledGrammar> compiled) : compiled_(std::move(compiled)) {}
  static TokenGrammar compile(grammar::GrammarDraft&& draft, const TokenVocabulary& vocabulary,
                              const GrammarOptions& options);
  std::shared_ptr<const grammar::CompiledGrammar> compiled_;
};

/// Where one sequence stands. A copy costs one reference count and goes its own way (n > 1, beams, speculation). One
/// thread at a time uses one state; copies may be used by other threads.
class GrammarState {
 public:
  explicit GrammarState(const TokenGrammar& grammar);

  /// Sets the bit of every token that may come next (bit id % 32 of word id / 32), clears all others. End-of-text
  /// tokens are set exactly where the text so far is complete. All zero once an end-of-text token was accepted, or
  /// where the vocabulary cannot spell a way on.
  /// Throws Error{kUsage} when `bits` has fewer than num_mask_words(), Error{kUnsupported} where a grammar is so
  /// ambiguous that more than 512 readings of the text are alive.
  void fill_mask(std::span<std::uint32_t> bits) const;

  /// Takes the token and returns true, or returns false and stays where it is when the token is not allowed here.
  /// Throws Error{kUsage} for an id outside the vocabulary, Error{kUnsupported} as fill_mask does.
  bool accept(std::int64_t token_id);
  /// The same for raw bytes, as one step of the history (one rollback).
  bool accept_bytes(std::string_view bytes);

  /// Whether the text so far is a whole text of the language.
  bool is_complete() const;
  /// Whether an end-of-text token was accepted.
  bool is_ended() const;
  /// The bytes that must follow, whatever the model would say: up to the first choice, the first place where the text
  /// may end, or `max_bytes`. May end within a UTF-8 character.
  std::string forced_text(std::size_t max_bytes = 4096) const;

  /// Forgets the last `num_tokens` steps. Throws Error{kUsage} when there were fewer.
  void rollback(std::int64_t num_tokens);
  /// Steps accepted and not rolled back.
  std::int64_t num_tokens() const;

 private:
  std::shared_ptr<const grammar::CompiledGrammar> compiled_;
  std::shared_ptr<const grammar::Step> step_;
};

}  // namespace pajamas
