// The public face of structured output over the parts in text/grammar/. See token_grammar.h.
#include "text/token_grammar.h"

#include <algorithm>

#include "base/cancel.h"
#include "pajamas/error.h"
#include "text/grammar/front_ends.h"
#include "text/grammar/masks.h"
#include "text/grammar/rules.h"
#include "text/grammar/token_trie.h"
#include "text/grammar/walker.h"

namespace pajamas {
namespace grammar {

/// What one sequence was after a token. A chain, shared by the copies of a state.
struct Step {
  struct Stack {
    std::size_t end;      ///< Behind the last of its frames.
    std::uint32_t count;  ///< See Item.
  };
  std::shared_ptr<const Step> previous;
  std::int64_t num_tokens = 0;
  bool is_ended = false;     ///< An end-of-text token was accepted.
  bool is_complete = false;  ///< The text may end here.
  std::vector<std::int32_t> frames;
  std::vector<Stack> stacks;

  Step() = default;
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;
  /// The chain may be as long as the text; letting each free the next would need as much stack.
  ~Step() {
    std::shared_ptr<const Step> next = std::move(previous);
    while (next != nullptr && next.use_count() == 1) {
      std::shared_ptr<const Step> after = std::move(const_cast<Step&>(*next).previous);
      next = std::move(after);
    }
  }
};

namespace {

/// Puts the stacks of a step into the walker.
void load(const Step& step, Walker& walker) {
  std::size_t begin = 0;
  for (const Step::Stack& stack : step.stacks) {
    std::int32_t link = kNothingBelow;
    for (std::size_t i = begin; i + 1 < stack.end; ++i) link = walker.push(step.frames[i], link);
    walker.items.push_back({step.frames[stack.end - 1], link, stack.count});
    begin = stack.end;
  }
}

std::shared_ptr<Step> saved(const Walker& walker, bool is_complete) {
  auto step = std::make_shared<Step>();
  step->is_complete = is_complete;
  for (const Item& item : walker.items) {
    const std::size_t begin = step->frames.size();
    step->frames.push_back(item.state);
    for (std::int32_t link = item.link; link >= 0; link = walker.links[link].parent) {
      step->frames.push_back(walker.links[link].state);
    }
    std::reverse(step->frames.begin() + static_cast<std::ptrdiff_t>(begin), step->frames.end());
    step->stacks.push_back({step->frames.size(), item.count});
  }
  return step;
}

Limits limits_of(const GrammarOptions& options) {
  if (options.max_states < 1 || options.max_states > (1 << 20)) {
    throw Error(ErrorKind::kUsage, "max_states must be between 1 and 1048576", "GrammarOptions");
  }
  if (options.max_whitespace < 0 || options.max_whitespace > 4096) {
    throw Error(ErrorKind::kUsage, "max_whitespace must be between 0 and 4096", "GrammarOptions",
                "the default is right for most");
  }
  Limits limits;
  limits.max_states = options.max_states;
  limits.cancel = options.cancel;
  return limits;
}

SchemaStyle style_of(const GrammarOptions& options) {
  SchemaStyle style;
  style.whitespace = options.whitespace;
  style.max_whitespace = options.max_whitespace;
  style.is_open_by_default = options.is_open_by_default;
  return style;
}

}  // namespace
}  // namespace grammar

TokenVocabulary::TokenVocabulary(std::span<const std::string_view> token_bytes,
                                 std::span<const std::int64_t> end_of_text_ids,
                                 std::span<const std::int64_t> special_ids)
    : trie_(std::make_shared<grammar::TokenTrie>(token_bytes, end_of_text_ids, special_ids)) {}

std::int64_t TokenVocabulary::vocab_size() const { return trie_->vocab_size(); }
std::size_t TokenVocabulary::num_mask_words() const { return trie_->num_mask_words(); }

std::string_view TokenVocabulary::token_bytes(std::int64_t token_id) const {
  if (token_id < 0 || token_id >= vocab_size()) {
    throw Error(ErrorKind::kUsage, "token " + std::to_string(token_id) + " is outside the vocabulary of " +
                                       std::to_string(vocab_size()) + " tokens");
  }
  return trie_->bytes(static_cast<std::int32_t>(token_id));
}

TokenGrammar TokenGrammar::compile(grammar::GrammarDraft&& draft, const TokenVocabulary& vocabulary,
                                   const GrammarOptions& options) {
  grammar::Rules rules(std::move(draft), vocabulary.trie_->spellable());
  auto compiled =
      std::make_shared<grammar::CompiledGrammar>(std::move(rules), vocabulary.trie_, options.max_mask_bytes);
  compiled->make_ahead(options.max_nodes_ahead, options.cancel);
  return TokenGrammar(std::move(compiled));
}

TokenGrammar TokenGrammar::from_json_schema(std::string_view schema_json, const TokenVocabulary& vocabulary,
                                            const GrammarOptions& options) {
  constexpr const char* kWhere = "JSON schema";
  try {
    return compile(grammar::draft_of_json_schema(schema_json, grammar::style_of(options), grammar::limits_of(options)),
                   vocabulary, options);
  } catch (const Error& error) {
    throw error.with_context(kWhere);
  }
}

TokenGrammar TokenGrammar::from_regex(std::string_view pattern, const TokenVocabulary& vocabulary,
                                      const GrammarOptions& options) {
  try {
    return compile(grammar::draft_of_regex(pattern, grammar::limits_of(options)), vocabulary, options);
  } catch (const Error& error) {
    throw error.with_context("regular expression");
  }
}

TokenGrammar TokenGrammar::from_ebnf(std::string_view text, const TokenVocabulary& vocabulary,
                                     const GrammarOptions& options) {
  try {
    return compile(grammar::draft_of_ebnf(text, grammar::limits_of(options)), vocabulary, options);
  } catch (const Error& error) {
    throw error.with_context("grammar");
  }
}

TokenGrammar TokenGrammar::any_json(const TokenVocabulary& vocabulary, const GrammarOptions& options) {
  return from_json_schema("true", vocabulary, options);
}

TokenGrammar::Facts TokenGrammar::facts() const {
  Facts facts;
  facts.num_rules = static_cast<std::int64_t>(compiled_->rules().rules().size());
  facts.num_states = compiled_->rules().num_states();
  facts.num_masks = compiled_->num_masks();
  facts.mask_bytes = compiled_->mask_bytes();
  facts.num_nodes_ahead = compiled_->num_nodes_visited();
  return facts;
}

GrammarState::GrammarState(const TokenGrammar& token_grammar) : compiled_(token_grammar.compiled_) {
  const grammar::Rules& rules = compiled_->rules();
  auto step = std::make_shared<grammar::Step>();
  step->is_complete = rules.is_nullable();
  if (rules.has_text()) {
    step->frames.push_back(rules.root_start());
    step->stacks.push_back({1, 0});
  }
  step_ = std::move(step);
}

void GrammarState::fill_mask(std::span<std::uint32_t> bits) const {
  const grammar::TokenTrie& trie = compiled_->trie();
  if (bits.size() < trie.num_mask_words()) {
    throw Error(ErrorKind::kUsage, "the mask has " + std::to_string(bits.size()) + " words, fewer than the " +
                                       std::to_string(trie.num_mask_words()) + " that the vocabulary needs");
  }
  std::fill(bits.begin() + static_cast<std::ptrdiff_t>(trie.num_mask_words()), bits.end(), 0U);
  bits = bits.first(trie.num_mask_words());
  if (step_->is_ended || step_->stacks.empty()) {
    std::fill(bits.begin(), bits.end(), 0U);
  }
  if (step_->is_ended) return;
  std::size_t begin = 0;
  bool is_clear = true;
  for (const grammar::Step::Stack& stack : step_->stacks) {
    compiled_->add_stack(std::span(step_->frames).subspan(begin, stack.end - begin), stack.count, is_clear, bits);
    begin = stack.end;
    is_clear = false;
  }
  if (step_->is_complete) {
    for (const std::int32_t id : trie.end_of_text_ids()) {
      bits[static_cast<std::size_t>(id) >> 5] |= std::uint32_t{1} << (id & 31);
    }
  }
}

bool GrammarState::accept(std::int64_t token_id) {
  const grammar::TokenTrie& trie = compiled_->trie();
  if (token_id < 0 || token_id >= trie.vocab_size()) {
    throw Error(ErrorKind::kUsage, "token " + std::to_string(token_id) + " is outside the vocabulary of " +
                                       std::to_string(trie.vocab_size()) + " tokens");
  }
  const auto id = static_cast<std::int32_t>(token_id);
  if (trie.is_end_of_text(id)) {
    if (step_->is_ended || !step_->is_complete) return false;
    auto step = std::make_shared<grammar::Step>();
    step->is_ended = true;
    step->is_complete = true;
    step->num_tokens = step_->num_tokens + 1;
    step->previous = step_;
    step_ = std::move(step);
    return true;
  }
  const std::string_view bytes = trie.bytes(id);
  return !bytes.empty() && accept_bytes(bytes);
}

bool GrammarState::accept_bytes(std::string_view bytes) {
  if (step_->is_ended) return bytes.empty();
  grammar::Walker& walker = grammar::thread_walker(compiled_->rules());
  grammar::load(*step_, walker);
  for (const char c : bytes) {
    if (!walker.advance(static_cast<std::uint8_t>(c))) return false;
  }
  const bool is_complete = bytes.empty() ? step_->is_complete : walker.is_complete(0, walker.items.size());
  std::shared_ptr<grammar::Step> step = grammar::saved(walker, is_complete);
  step->num_tokens = step_->num_tokens + 1;
  step->previous = std::move(step_);
  step_ = std::move(step);
  return true;
}

bool GrammarState::is_complete() const { return step_->is_complete; }
bool GrammarState::is_ended() const { return step_->is_ended; }

std::string GrammarState::forced_text(std::size_t max_bytes) const {
  std::string text;
  if (step_->is_ended || step_->is_complete) return text;
  grammar::Walker& walker = grammar::thread_walker(compiled_->rules());
  grammar::load(*step_, walker);
  while (text.size() < max_bytes) {
    const grammar::ByteSet bytes = walker.next_bytes();
    if (bytes.count() != 1) break;
    const auto byte = static_cast<std::uint8_t>(bytes._Find_first());
    if (!walker.advance(byte)) break;
    text += static_cast<char>(byte);
    if (walker.is_complete(0, walker.items.size())) break;
  }
  return text;
}

void GrammarState::rollback(std::int64_t num_tokens) {
  if (num_tokens < 0 || num_tokens > step_->num_tokens) {
    throw Error(ErrorKind::kUsage,
                "cannot take back " + std::to_string(num_tokens) + " tokens of " + std::to_string(step_->num_tokens));
  }
  for (; num_tokens > 0; --num_tokens) step_ = std::shared_ptr<const grammar::Step>(step_->previous);
}

std::int64_t GrammarState::num_tokens() const { return step_->num_tokens; }

}  // namespace pajamas
