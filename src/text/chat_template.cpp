// See chat_template.h.
#include "text/chat_template.h"

#include <array>
#include <cmath>
#include <utility>

#include "pajamas/error.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/python_text.h"

namespace pajamas {

namespace {

/// Published templates have up to 20 kB.
constexpr std::size_t kMaxSourceBytes = std::size_t{4} << 20;

Error error_of(const jinja::Failure& failure, const std::string& name) {
  return {ErrorKind::kBadInput, "chat template: " + failure.message,
          failure.line > 0 ? name + ", line " + std::to_string(failure.line) : name};
}

jinja::Value value_of(jinja::Runtime& runtime, const nlohmann::ordered_json& json, int depth) {
  using Json = nlohmann::ordered_json;
  // Values check their depth as they are made, which is too late for this recursion.
  if (depth > jinja::kMaxValueDepth) jinja::fail("the input is nested too deeply");
  switch (json.type()) {
    case Json::value_t::null: return {};
    case Json::value_t::boolean: return jinja::Value::boolean(json.get<bool>());
    case Json::value_t::number_integer: return jinja::Value::integer(json.get<std::int64_t>());
    case Json::value_t::number_unsigned: return jinja::Value::integer(json.get<std::uint64_t>());
    case Json::value_t::number_float: return jinja::Value::real(json.get<double>());
    case Json::value_t::string: {
      const auto& text = json.get_ref<const std::string&>();
      if (!jinja::is_valid_utf8(text)) jinja::fail("a text of the input is no valid UTF-8");
      return runtime.text(text);
    }
    case Json::value_t::array: {
      std::vector<jinja::Value> items;
      items.reserve(json.size());
      for (const auto& item : json) items.push_back(value_of(runtime, item, depth + 1));
      return runtime.list(std::move(items));
    }
    case Json::value_t::object: {
      jinja::Dict dict;
      for (const auto& [key, item] : json.items()) {
        if (!jinja::is_valid_utf8(key)) jinja::fail("a key of the input is no valid UTF-8");
        dict.set(runtime.text(key), value_of(runtime, item, depth + 1));
      }
      return runtime.dict(std::move(dict));
    }
    default: jinja::fail("the input holds binary data");
  }
}

/// A message whose reasoning is found under every name templates read it by.
jinja::Value message_of(jinja::Runtime& runtime, const nlohmann::ordered_json& message) {
  const nlohmann::ordered_json* reasoning = nullptr;
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    const auto found = message.find(name);
    if (found != message.end() && !found->is_null()) {
      reasoning = &*found;
      break;
    }
  }
  if (reasoning == nullptr) return value_of(runtime, message, 2);
  jinja::Dict dict;
  dict.set(runtime.text("thinking"), value_of(runtime, *reasoning, 3));
  const jinja::Value plain = value_of(runtime, message, 2);
  for (const auto& entry : plain.dict().entries()) dict.set(entry.first, entry.second);
  dict.set(runtime.text("reasoning_content"), value_of(runtime, *reasoning, 3));
  return runtime.dict(std::move(dict));
}

void check_input(const ChatTemplateInput& input, const std::string& name) {
  const auto fail = [&](const char* message) { throw Error(ErrorKind::kBadInput, message, name); };
  if (!input.messages.is_array()) fail("the messages of a chat must be an array");
  for (const auto& message : input.messages) {
    if (!message.is_object()) fail("each message of a chat must be an object with role and content");
  }
  if (!input.tools.is_null() && !input.tools.is_array()) fail("the tools of a chat must be an array or null");
  if (!input.documents.is_null() && !input.documents.is_array())
    fail("the documents of a chat must be an array or null");
  if (!input.extra_variables.is_null() && !input.extra_variables.is_object()) {
    fail("the variables of a chat template must be an object or null");
  }
}

}  // namespace

ChatTemplate ChatTemplate::parse(std::string_view source, std::string name) {
  if (source.size() > kMaxSourceBytes) {
    throw Error(ErrorKind::kBadInput, "chat template: larger than 4 MiB", std::move(name));
  }
  if (!jinja::is_valid_utf8(source))
    throw Error(ErrorKind::kBadInput, "chat template: no valid UTF-8", std::move(name));
  ChatTemplate result;
  try {
    result.program_ = jinja::parse_program(source);
  } catch (const jinja::Failure& failure) {
    throw error_of(failure, name);
  }
  result.source_ = std::make_shared<const std::string>(source);
  result.name_ = std::move(name);
  return result;
}

std::string ChatTemplate::render(const ChatTemplateInput& input, const ChatTemplateLimits& limits) const {
  check_input(input, name_);
  jinja::Budget budget(limits.max_steps, limits.max_memory_bytes, limits.max_output_bytes, limits.max_duration);
  try {
    jinja::Interpreter interpreter(*program_, budget, input.clock);
    std::vector<jinja::Value> messages;
    for (const auto& message : input.messages) messages.push_back(message_of(interpreter, message));
    interpreter.set_variable("messages", interpreter.list(std::move(messages)));
    interpreter.set_variable("tools", value_of(interpreter, input.tools, 0));
    interpreter.set_variable("documents", value_of(interpreter, input.documents, 0));
    interpreter.set_variable("add_generation_prompt", jinja::Value::boolean(input.add_generation_prompt));
    const auto set_token = [&](const char* name, const std::optional<std::string>& token) {
      if (token) interpreter.set_variable(name, value_of(interpreter, *token, 0));
    };
    set_token("bos_token", input.bos_token);
    set_token("eos_token", input.eos_token);
    if (input.extra_variables.is_object()) {
      for (const auto& [name, value] : input.extra_variables.items()) {
        interpreter.set_variable(name, value_of(interpreter, value, 0));
      }
    }
    return interpreter.run();
  } catch (const jinja::Failure& failure) {
    throw error_of(failure, name_);
  }
}

}  // namespace pajamas
