// Chat templates: the Jinja program a model publishes, run on a list of messages to give the prompt's text. Renders
// what Python's jinja2 renders under transformers' apply_chat_template, byte for byte. The language itself lies in
// text/jinja/; turning the text into token ids is the tokenizer's part.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace pajamas {

namespace jinja {
class Program;
}

/// What a template sees. JSON texts must be valid UTF-8.
struct ChatTemplateInput {
  /// Array of objects, as in OpenAI's API: role, content (text, null or list of parts), tool_calls, ... The reasoning
  /// of a message reaches the template as `reasoning_content` and `thinking`, whichever of reasoning_content, thinking,
  /// reasoning it was given under (as in transformers 5).
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  /// Array of JSON-schema tool descriptions; null where there are none (the template then sees none).
  nlohmann::ordered_json tools = nullptr;
  /// Array of {title, text}; null where there are none.
  nlohmann::ordered_json documents = nullptr;
  bool add_generation_prompt = true;
  /// Undefined in the template where absent.
  std::optional<std::string> bos_token;
  std::optional<std::string> eos_token;
  /// An object of further variables (enable_thinking, date_string, ...); they win over the ones above. Null: none.
  nlohmann::ordered_json extra_variables = nullptr;
  /// What strftime_now() of a template asks; local time is made of it. Empty: the system clock.
  std::function<std::chrono::system_clock::time_point()> clock;
};

/// Bounds on one rendering: templates come with models, from anywhere. The defaults leave room for prompts of a million
/// tokens and end any template within seconds.
struct ChatTemplateLimits {
  std::size_t max_output_bytes = std::size_t{64} << 20;
  std::size_t max_memory_bytes = std::size_t{512} << 20;  ///< Values alive at once while rendering.
  std::uint64_t max_steps = 100'000'000;  ///< Evaluated nodes, plus bytes and elements made, weighed by their cost.
  std::chrono::milliseconds max_duration = std::chrono::seconds(10);
};

/// A parsed template. Immutable; cheap to copy; render() may run on many threads at once.
class ChatTemplate {
 public:
  /// Parses `source` (UTF-8). `name` says in errors where it is from. Throws Error{kBadInput} naming line and cause for
  /// a syntax error, an unknown tag, filter or test, or a source over 4 MiB.
  static ChatTemplate parse(std::string_view source, std::string name);

  /// The prompt's text. Throws Error{kBadInput} naming line and cause for whatever jinja2 raises: raise_exception (its
  /// text is the message), an undefined value used, a wrong type; also for a limit passed, an integer past 127 bits and
  /// input that is no valid UTF-8.
  std::string render(const ChatTemplateInput& input, const ChatTemplateLimits& limits = {}) const;

  const std::string& source() const { return *source_; }
  const std::string& name() const { return name_; }

 private:
  ChatTemplate() = default;

  std::string name_;
  std::shared_ptr<const std::string> source_;
  std::shared_ptr<const jinja::Program> program_;
};

}  // namespace pajamas
