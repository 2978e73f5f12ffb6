// Puts the parts of text/tokenizer/ together. See tokenizer.h.
#include "text/tokenizer.h"

#include "base/files.h"
#include "io/gguf.h"
#include "pajamas/error.h"
#include "text/tokenizer/bpe_model.h"
#include "text/tokenizer/gguf_vocabulary.h"
#include "text/tokenizer/readers.h"
#include "text/tokenizer/state.h"
#include "text/tokenizer/unigram_model.h"
#include "text/tokenizer/utf8.h"
#include "text/tokenizer/word_piece_model.h"

namespace pajamas {
namespace {

/// Gemma's tokenizer.json has 33 MB.
constexpr std::uint64_t kMaxFileBytes = 128 << 20;
/// Longer texts would not be counted in 32 bits on the way.
constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;
constexpr std::size_t kMaxDecodedBytes = std::size_t{1} << 30;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool is_json(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && text[first] == '{';
}

Tokenizer make(TokenizerDefinition definition) {
  return Tokenizer::from_definition(std::make_shared<const TokenizerDefinition>(std::move(definition)));
}

/// SentencePiece's own file does not say what goes around a text; the models that have one begin with the first token
/// (BPE: Llama and its kin) or end with the last (unigram: T5), unless tokenizer_config.json says otherwise.
Tokenizer make_sentencepiece(TokenizerDefinition definition, const std::filesystem::path& directory) {
  const bool is_bpe = definition.model == TokenizerModel::kBpe;
  std::vector<std::int32_t> before, after;
  if (read_config_flag(directory, "add_bos_token").value_or(is_bpe) && definition.bos_id) {
    before.push_back(*definition.bos_id);
  }
  if (read_config_flag(directory, "add_eos_token").value_or(!is_bpe) && definition.eos_id) {
    after.push_back(*definition.eos_id);
  }
  definition.post_processor = template_of(before, after);
  return make(std::move(definition));
}

}  // namespace

std::unique_ptr<EncodeScratch> ScratchPool::take() const {
  {
    const std::lock_guard lock(mutex_);
    if (!kept_.empty()) {
      std::unique_ptr<EncodeScratch> scratch = std::move(kept_.back());
      kept_.pop_back();
      return scratch;
    }
  }
  return std::make_unique<EncodeScratch>();
}

void ScratchPool::give_back(std::unique_ptr<EncodeScratch> scratch) const {
  scratch->release_large();
  const std::lock_guard lock(mutex_);
  if (kept_.size() < kMaxKept) kept_.push_back(std::move(scratch));
}

Tokenizer::State::State(std::shared_ptr<const TokenizerDefinition> given) : definition(std::move(given)) {
  check_definition(*definition);
  const std::string& where = definition->where;
  if (!definition->normalizer.is_null()) {
    normalizer = Normalizer(JsonReader(definition->normalizer, where, "normalizer"));
  }
  if (!definition->pre_tokenizer.is_null()) {
    pre_tokenizer = PreTokenizer(JsonReader(definition->pre_tokenizer, where, "pre_tokenizer"));
  }
  if (!definition->decoder.is_null()) decoder = TokenDecoder(JsonReader(definition->decoder, where, "decoder"));
  if (!definition->post_processor.is_null()) {
    around = read_post_processor(JsonReader(definition->post_processor, where, "post_processor"));
  }
  number_tokens();
  make_model();
  make_searches();
  decode_tokens();
}

void Tokenizer::State::number_tokens() {
  const auto fail = [&](const std::string& message) { throw Error(ErrorKind::kBadInput, message, definition->where); };
  std::size_t num_ids = definition->tokens.size(), num_bytes = definition->tokens.num_bytes();
  for (const AddedToken& token : definition->added_tokens) {
    num_ids = std::max(num_ids, static_cast<std::size_t>(token.id) + 1);
    num_bytes += token.content.size();
  }
  is_special.assign(num_ids, false);
  std::vector<const AddedToken*> added(num_ids, nullptr);
  for (const AddedToken& token : definition->added_tokens) {
    const auto id = static_cast<std::size_t>(token.id);
    if (added[id] != nullptr && added[id]->content != token.content) {
      fail("gives '" + token.content + "' and '" + added[id]->content + "' the same id " + std::to_string(id));
    }
    if (id < definition->tokens.size() && !definition->tokens[id].empty() && definition->tokens[id] != token.content) {
      fail("gives the added token '" + token.content + "' the id " + std::to_string(id) + " of '" +
           std::string(definition->tokens[id]) + "'");
    }
    added[id] = &token;
    is_special[id] = is_special[id] || token.is_special;
  }
  pieces.reserve(num_ids, num_bytes);
  table = TokenTable(num_ids);
  for (std::size_t id = 0; id < num_ids; ++id) {
    const std::string_view own = id < definition->tokens.size() ? definition->tokens[id] : std::string_view();
    pieces.add(own.empty() && added[id] != nullptr ? std::string_view(added[id]->content) : own);
    if (pieces[id].empty()) continue;
    const std::int32_t other = table.insert(pieces, static_cast<std::int32_t>(id));
    if (other != TokenTable::kNone) {
      fail("has the token '" + std::string(pieces[id]) + "' twice, as " + std::to_string(other) + " and " +
           std::to_string(id));
    }
  }
  const auto check_id = [&](std::int32_t id) {
    if (static_cast<std::size_t>(id) >= num_ids)
      fail("names a special token by the id " + std::to_string(id) + ", which is none");
  };
  for (const auto& id : {definition->bos_id, definition->eos_id, definition->pad_id, definition->unk_id}) {
    if (id) check_id(*id);
  }
  for (const std::int32_t id : around.before) check_id(id);
  for (const std::int32_t id : around.after) check_id(id);
}

void Tokenizer::State::make_model() {
  const bool is_byte_level = pre_tokenizer.is_byte_level() || normalizer.maps_bytes();
  maps_bytes = pre_tokenizer.maps_bytes() || (normalizer.maps_bytes() && !pre_tokenizer.is_byte_level());
  if (pre_tokenizer.is_byte_level() && normalizer.maps_bytes()) {
    throw Error(ErrorKind::kBadInput, "maps bytes to printable characters twice", definition->where);
  }
  if (definition->model != TokenizerModel::kBpe && is_byte_level) {
    throw Error(ErrorKind::kUnsupported, "has words of bytes for a model that is no BPE", definition->where);
  }
  switch (definition->model) {
    case TokenizerModel::kUnigram: model = std::make_unique<UnigramModel>(*definition); break;
    case TokenizerModel::kWordPiece: model = std::make_unique<WordPieceModel>(*definition); break;
    case TokenizerModel::kBpe: {
      if (!is_byte_level) {
        model = std::make_unique<BpeModel>(*definition, definition->tokens, false);
        break;
      }
      // A token with characters outside the alphabet is one that no word of bytes becomes.
      TextPool words;
      words.reserve(definition->tokens.size(), definition->tokens.num_bytes());
      std::string word;
      for (std::size_t id = 0; id < definition->tokens.size(); ++id) {
        word.clear();
        append_bytes_of_printable(definition->tokens[id], word);
        words.add(word);
      }
      model = std::make_unique<BpeModel>(*definition, std::move(words), true);
      break;
    }
  }
}

void Tokenizer::State::make_searches() {
  std::vector<AddedToken> raw, normalized;
  std::vector<std::string> raw_texts, normalized_texts;
  for (const AddedToken& token : definition->added_tokens) {
    if (token.is_normalized) {
      normalized.push_back(token);
      normalized_texts.push_back(token.content);
      normalizer.apply(normalized_texts.back());
    } else {
      raw.push_back(token);
      raw_texts.push_back(token.content);
    }
  }
  // Two searches one after the other even where nothing is normalised, as Hugging Face's tokenizers have it: which
  // token wins where two of different kinds overlap depends on it.
  raw_search = std::make_unique<AddedTokenSearch>(std::move(raw), raw_texts);
  normalized_search = std::make_unique<AddedTokenSearch>(std::move(normalized), normalized_texts);
}

void Tokenizer::State::decode_tokens() {
  bytes.reserve(pieces.size(), pieces.num_bytes());
  for (std::size_t id = 0; id < pieces.size(); ++id) {
    // A token that is only a gap has no text, not a space.
    bytes.add(pieces[id].empty() ? std::string() : decoder.decode(pieces[id], false));
    if (bytes.num_bytes() > kMaxDecodedBytes) {
      throw Error(ErrorKind::kBadInput, "has a decoder that makes tokens too long", definition->where);
    }
  }
}

std::size_t Tokenizer::State::index_of(std::int32_t id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= pieces.size()) {
    throw Error(ErrorKind::kBadInput,
                "there is no token " + std::to_string(id) + "; ids are 0 to " + std::to_string(pieces.size() - 1), {},
                "give ids of this tokenizer");
  }
  return static_cast<std::size_t>(id);
}

void Tokenizer::State::encode_words(std::string_view text, bool is_first, EncodeScratch& scratch,
                                    std::vector<std::int32_t>& ids) const {
  struct Job {
    const State* state;
    EncodeScratch* scratch;
    std::vector<std::int32_t>* ids;
  } job{this, &scratch, &ids};
  if (!maps_bytes) {
    const PreTokenizer::Sink sink{[](void* object, std::string_view word) {
                                    const Job& job_here = *static_cast<Job*>(object);
                                    job_here.state->model->encode(word, *job_here.scratch, *job_here.ids);
                                  },
                                  &job};
    return pre_tokenizer.run(text, is_first, sink);
  }
  const PreTokenizer::Sink sink{[](void* object, std::string_view word) {
                                  const Job& job_here = *static_cast<Job*>(object);
                                  std::string& raw = job_here.scratch->text;
                                  raw.clear();
                                  append_bytes_of_printable(word, raw);
                                  job_here.state->model->encode(raw, *job_here.scratch, *job_here.ids);
                                },
                                &job};
  pre_tokenizer.run(text, is_first, sink);
}

void Tokenizer::State::encode_text(std::string_view text, bool is_first, bool parses_special, EncodeScratch& scratch,
                                   std::vector<std::int32_t>& ids) const {
  std::string normalized;
  if (!normalizer.empty()) {
    normalized = text;
    normalizer.apply(normalized);
    text = normalized;
  }
  if (normalized_search->empty()) return encode_words(text, is_first, scratch, ids);
  const char* begin = text.data();
  normalized_search->split(text, parses_special, [&](std::string_view part, const AddedToken* token) {
    if (token != nullptr) return ids.push_back(token->id);
    encode_words(part, is_first && part.data() == begin, scratch, ids);
  });
}

Tokenizer Tokenizer::from_definition(std::shared_ptr<const TokenizerDefinition> definition) {
  return Tokenizer(std::make_shared<const State>(std::move(definition)));
}

Tokenizer Tokenizer::from_gguf(const GgufVocabulary& vocabulary, const std::string& where) {
  return make(define_tokenizer(vocabulary, where));
}

Tokenizer Tokenizer::parse(std::span<const std::byte> bytes, const std::string& where) {
  const std::string_view text = text_of(bytes);
  if (is_bundle_form(text)) return make(read_bundle_form(text, where));
  if (is_json(text)) return make(read_tokenizer_json(text, where));
  return make_sentencepiece(read_sentencepiece_model(text, where), {});
}

Tokenizer Tokenizer::read_hugging_face(const std::filesystem::path& path) {
  std::error_code error;
  const bool is_folder = std::filesystem::is_directory(path, error);
  const std::filesystem::path file = is_folder ? path / "tokenizer.json" : path;
  TokenizerDefinition definition = read_tokenizer_json(read_file(file, kMaxFileBytes), file.string());
  read_special_tokens(file.parent_path(), definition);
  return make(std::move(definition));
}

Tokenizer Tokenizer::read_sentencepiece(const std::filesystem::path& path) {
  return make_sentencepiece(read_sentencepiece_model(read_file(path, kMaxFileBytes), path.string()),
                            path.parent_path());
}

Tokenizer Tokenizer::read(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    if (std::filesystem::exists(path / "tokenizer.json", error)) return read_hugging_face(path);
    if (std::filesystem::exists(path / "tokenizer.model", error)) return read_sentencepiece(path / "tokenizer.model");
    throw Error(ErrorKind::kBadInput, "has neither tokenizer.json nor tokenizer.model", path.string(),
                "give a checkpoint folder with its tokenizer, or the tokenizer's own file");
  }
  if (Gguf::is_gguf(path)) {
    const Gguf file = Gguf::read(path);
    return from_gguf(read_gguf_vocabulary(file), file.where());
  }
  const std::shared_ptr<const MappedFile> file = MappedFile::open(path);
  const std::string_view text = text_of(file->bytes());
  if (text.size() > kMaxFileBytes) {
    throw Error(ErrorKind::kBadInput, "is too large for a tokenizer", path.string(),
                "give a checkpoint folder, tokenizer.json, tokenizer.model or a bundle");
  }
  if (is_json(text)) return read_hugging_face(path);
  if (is_bundle_form(text)) return make(read_bundle_form(text, path.string()));
  return read_sentencepiece(path);
}

std::string Tokenizer::bundle_form() const { return write_bundle_form(*state_->definition); }

std::int32_t Tokenizer::vocab_size() const noexcept { return static_cast<std::int32_t>(state_->pieces.size()); }

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  if (text.size() > kMaxTextBytes) {
    throw Error(ErrorKind::kBadInput, "the text is too long: " + std::to_string(text.size()) + " bytes", {},
                "encode it in parts");
  }
  std::string repaired;
  if (valid_utf8_length(text) != text.size()) {
    append_as_utf8(repaired, text);
    text = repaired;
  }
  std::vector<std::int32_t> ids;
  ids.reserve(text.size() / 3 + state_->around.before.size() + state_->around.after.size());
  if (options.add_special_tokens) ids = state_->around.before;
  std::unique_ptr<EncodeScratch> scratch = state_->scratches.take();
  const char* begin = text.data();
  state_->raw_search->split(text, options.parse_special_tokens, [&](std::string_view part, const AddedToken* token) {
    if (token != nullptr) return ids.push_back(token->id);
    const bool is_first = part.data() == begin || state_->pre_tokenizer.restarts_after_special();
    state_->encode_text(part, is_first, options.parse_special_tokens, *scratch, ids);
  });
  state_->scratches.give_back(std::move(scratch));
  if (options.add_special_tokens) {
    ids.insert(ids.end(), state_->around.after.begin(), state_->around.after.end());
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, const DecodeOptions& options) const {
  StreamingDetokenizer detokenizer(*this, options);
  std::string text;
  for (const std::int32_t id : ids) text += detokenizer.push(id);
  return text + detokenizer.finish();
}

std::string_view Tokenizer::piece(std::int32_t id) const { return state_->pieces[state_->index_of(id)]; }
std::string_view Tokenizer::token_bytes(std::int32_t id) const { return state_->bytes[state_->index_of(id)]; }
bool Tokenizer::is_special(std::int32_t id) const { return state_->is_special[state_->index_of(id)]; }

std::optional<std::int32_t> Tokenizer::find_token(std::string_view piece) const {
  const std::int32_t id = state_->table.find(state_->pieces, piece);
  return id == TokenTable::kNone ? std::nullopt : std::optional(id);
}

std::optional<std::int32_t> Tokenizer::bos_id() const noexcept { return state_->definition->bos_id; }
std::optional<std::int32_t> Tokenizer::eos_id() const noexcept { return state_->definition->eos_id; }
std::optional<std::int32_t> Tokenizer::pad_id() const noexcept { return state_->definition->pad_id; }
std::optional<std::int32_t> Tokenizer::unk_id() const noexcept { return state_->definition->unk_id; }
std::span<const std::int32_t> Tokenizer::prefix_ids() const noexcept { return state_->around.before; }
std::span<const std::int32_t> Tokenizer::suffix_ids() const noexcept { return state_->around.after; }

}  // namespace pajamas
