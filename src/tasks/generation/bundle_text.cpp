// See bundle_text.h.
#include "tasks/generation/bundle_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json_reader.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::size_t kMaxGrammars = 16;

class BundleTextStream : public TextStream {
 public:
  explicit BundleTextStream(const Tokenizer& tokenizer)
      : vocab_size_(tokenizer.vocab_size()), stream_(tokenizer, DecodeOptions{/*skip_special=*/true}) {}
  std::string push(std::int32_t token) override { return token < vocab_size_ ? stream_.push(token) : std::string(); }
  std::string finish() override { return stream_.finish(); }

 private:
  std::int32_t vocab_size_;
  StreamingDetokenizer stream_;
};

/// JSON of a request, members in the order they were written: templates print them.
nlohmann::ordered_json parse_request_json(const std::string& text, const std::string& where) {
  parse_json(text, where);  // names the line of a fault, and refuses nesting without end
  return nlohmann::ordered_json::parse(text);
}

nlohmann::ordered_json json_of(const ChatMessage& message, const std::string& where) {
  if (message.json.empty()) return {{"role", message.role}, {"content", message.content}};
  nlohmann::ordered_json json = parse_request_json(message.json, where);
  if (!json.is_object()) {
    throw Error(ErrorKind::kUsage, "is " + std::string(json.type_name()) + ", but a message is an object", where,
                "give {\"role\": ..., \"content\": ...}");
  }
  return json;
}

std::string bytes_of_file(const Bundle& bundle, const std::string& name) {
  const std::shared_ptr<const MappedFile> mapped = bundle.open_checked(name);
  const auto bytes = mapped->bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

BundleText::BundleText(const GenerationFacts& facts, Tokenizer tokenizer, std::optional<ChatTemplate> chat_template)
    : stop_token_ids_(facts.stop_token_ids),
      vocab_size_(facts.vocab_size),
      tokenizer_(std::move(tokenizer)),
      chat_template_(std::move(chat_template)) {}

std::shared_ptr<const BundleText> BundleText::open(const Bundle& bundle, const GenerationFacts& facts) {
  const auto path_of = [&](const std::string& name) { return (bundle.directory() / name).string(); };
  const std::string tokenizer_bytes = bytes_of_file(bundle, facts.tokenizer_file);
  Tokenizer tokenizer = Tokenizer::parse(std::as_bytes(std::span(tokenizer_bytes)), path_of(facts.tokenizer_file));
  std::optional<ChatTemplate> chat_template;
  if (!facts.chat_template_file.empty()) {
    chat_template =
        ChatTemplate::parse(bytes_of_file(bundle, facts.chat_template_file), path_of(facts.chat_template_file));
  }
  return std::make_shared<BundleText>(facts, std::move(tokenizer), std::move(chat_template));
}

std::vector<std::int32_t> BundleText::encode(std::string_view text, bool has_special_tokens) const {
  return tokenizer_.encode(text, {has_special_tokens, has_special_tokens});
}

std::vector<std::int32_t> BundleText::encode_chat(std::string_view rendered) const {
  return tokenizer_.encode(rendered, {/*add_special_tokens=*/false, /*parse_special_tokens=*/true});
}

std::string BundleText::decode(std::span<const std::int32_t> tokens) const {
  std::vector<std::int32_t> known;
  for (const std::int32_t token : tokens) {
    if (token < tokenizer_.vocab_size() || token >= vocab_size_) known.push_back(token);  // the latter is refused
  }
  return tokenizer_.decode(known);
}

std::unique_ptr<TextStream> BundleText::new_stream() const { return std::make_unique<BundleTextStream>(tokenizer_); }

std::string BundleText::render_chat(const GenerationRequest& request) const {
  if (!chat_template_) {
    throw Error(
        ErrorKind::kUnsupported, "this model has no chat template, so it takes no messages", "messages",
        "give a prompt, or build the bundle from a checkpoint with a template (chat or instruct models have one)");
  }
  ChatTemplateInput input;
  for (std::size_t i = 0; i < request.messages.size(); ++i) {
    input.messages.push_back(json_of(request.messages[i], "messages[" + std::to_string(i) + "]"));
  }
  if (!request.tools_json.empty()) {
    input.tools = parse_request_json(request.tools_json, "tools");
    if (!input.tools.is_array()) throw Error(ErrorKind::kUsage, "is no array", "tools", "give [{...}, ...]");
  }
  if (!request.template_variables_json.empty()) {
    input.extra_variables = parse_request_json(request.template_variables_json, "template_variables");
    if (!input.extra_variables.is_object()) {
      throw Error(ErrorKind::kUsage, "is no object", "template_variables", "give {\"name\": value, ...}");
    }
  }
  if (const auto id = tokenizer_.bos_id()) input.bos_token = tokenizer_.piece(*id);
  if (const auto id = tokenizer_.eos_id()) input.eos_token = tokenizer_.piece(*id);
  try {
    return chat_template_->render(input);
  } catch (const Error& error) {
    throw Error(error.kind(), error.message(), error.where(),
                "the model's template does not take these messages: change them, or give the prompt as it is (--raw)");
  }
}

const TokenVocabulary& BundleText::vocabulary() const {
  if (!vocabulary_) {
    std::vector<std::string_view> bytes(static_cast<std::size_t>(vocab_size_));
    std::vector<std::int64_t> special;
    for (std::int32_t id = 0; id < std::min<std::int64_t>(tokenizer_.vocab_size(), vocab_size_); ++id) {
      bytes[static_cast<std::size_t>(id)] = tokenizer_.token_bytes(id);
      if (tokenizer_.is_special(id)) special.push_back(id);
    }
    vocabulary_.emplace(bytes, stop_token_ids_, special);
  }
  return *vocabulary_;
}

TokenGrammar BundleText::compile_grammar(const OutputGrammar& grammar) const {
  // One at a time: a service whose requests all bring the same new schema compiles it once.
  const std::lock_guard lock(mutex_);
  const auto known = std::find_if(grammars_.begin(), grammars_.end(), [&](const auto& entry) {
    return entry.first.kind == grammar.kind && entry.first.text == grammar.text;
  });
  if (known != grammars_.end()) {
    grammars_.splice(grammars_.begin(), grammars_, known);
    return grammars_.front().second;
  }
  const auto compile = [&]() -> TokenGrammar {
    switch (grammar.kind) {
      case OutputGrammar::Kind::kJsonSchema: return TokenGrammar::from_json_schema(grammar.text, vocabulary());
      case OutputGrammar::Kind::kRegex: return TokenGrammar::from_regex(grammar.text, vocabulary());
      case OutputGrammar::Kind::kEbnf: return TokenGrammar::from_ebnf(grammar.text, vocabulary());
      default: return TokenGrammar::any_json(vocabulary());
    }
  };
  grammars_.emplace_front(grammar, compile());
  if (grammars_.size() > kMaxGrammars) grammars_.pop_back();
  return grammars_.front().second;
}

}  // namespace pajamas
