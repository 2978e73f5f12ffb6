// See generation_json.h.
#include "generation_json.h"

#include <charconv>
#include <limits>
#include <utility>

#include "base/files.h"
#include "base/json_reader.h"
#include "cli.h"
#include "pajamas/error.h"

namespace pajamas::cli {
namespace {

constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 30;

using Ordered = nlohmann::ordered_json;

std::vector<std::string> strings_or_string(const JsonReader& json) {
  if (json.json().is_string()) return {json.as_string()};
  return json.as_strings();
}

std::vector<std::int32_t> token_ids(const JsonReader& json) {
  std::vector<std::int32_t> ids;
  for (const JsonReader& id : json.elements()) {
    ids.push_back(static_cast<std::int32_t>(id.as_integer(0, std::numeric_limits<std::int32_t>::max())));
  }
  return ids;
}

/// {"42": -1.5}: names of JSON are strings, so ids are too.
std::vector<std::pair<std::int32_t, float>> logit_bias(const JsonReader& json) {
  std::vector<std::pair<std::int32_t, float>> bias;
  for (const auto& member : json.members()) {
    std::int32_t id = 0;
    const char* const end = member.first.data() + member.first.size();
    const auto parsed = std::from_chars(member.first.data(), end, id);
    if (parsed.ec != std::errc() || parsed.ptr != end) member.second.fail("is not named by the number of a token");
    bias.emplace_back(id, static_cast<float>(member.second.as_number()));
  }
  return bias;
}

std::vector<ChatMessage> messages(const JsonReader& json, const Ordered& ordered) {
  std::vector<ChatMessage> list;
  const std::vector<JsonReader> elements = json.elements();
  for (std::size_t i = 0; i < elements.size(); ++i) {
    ChatMessage message;
    message.role = elements[i].string("role");
    // As it was written: templates see names in their order, and fields that we do not know.
    message.json = ordered[i].dump();
    list.push_back(std::move(message));
  }
  if (list.empty()) json.fail("holds no message");
  return list;
}

/// Fields of a line; each sets what it names.
class Fields {
 public:
  Fields(const Ordered& ordered, ParsedRequest& parsed) : ordered_(ordered), parsed_(parsed) {}
  void set(const std::string& name, const JsonReader& value) {
    GenerationRequest& request = parsed_.request;
    SamplingOptions& sampling = *request.sampling;
    constexpr std::int64_t kMax = std::numeric_limits<std::int32_t>::max();
    if (name == "id") {
      if (!value.json().is_string() && !value.json().is_number()) value.fail("must be a text or a number");
      parsed_.id = value.json();
    } else if (name == "prompt") {
      request.prompt = value.as_string();
    } else if (name == "prompt_tokens") {
      request.prompt_tokens = token_ids(value);
    } else if (name == "messages") {
      request.messages = messages(value, ordered_.at(name));
    } else if (name == "tools") {
      value.elements();
      request.tools_json = ordered_.at(name).dump();
    } else if (name == "template_variables") {
      value.members();
      request.template_variables_json = ordered_.at(name).dump();
    } else if (name == "raw") {
      parsed_.is_raw = value.as_bool();
    } else if (name == "max_tokens") {
      request.max_tokens = value.as_integer(0, kMax);
    } else if (name == "num_answers") {
      request.num_answers = static_cast<int>(value.as_integer(1, 64));
    } else if (name == "deadline_ms") {
      request.deadline = std::chrono::milliseconds(value.as_integer(0, kMax));
    } else if (name == "stop") {
      request.stop = strings_or_string(value);
    } else if (name == "stop_token_ids") {
      request.stop_token_ids = token_ids(value);
    } else if (name == "ignore_stop_tokens") {
      request.is_stop_token_ignored = value.as_bool();
    } else if (name == "use_prefix_cache") {
      request.is_prefix_cache_used = value.as_bool();
    } else if (name == "schema") {
      set_grammar(OutputGrammar::Kind::kJsonSchema, ordered_.at(name).dump(), value);
    } else if (name == "json") {
      if (value.as_bool()) set_grammar(OutputGrammar::Kind::kAnyJson, {}, value);
    } else if (name == "regex") {
      set_grammar(OutputGrammar::Kind::kRegex, value.as_string(), value);
    } else if (name == "grammar") {
      set_grammar(OutputGrammar::Kind::kEbnf, value.as_string(), value);
    } else if (name == "temperature") {
      sampling.temperature = value.as_number();
    } else if (name == "top_k") {
      sampling.top_k = value.as_integer(0, kMax);
    } else if (name == "top_p") {
      sampling.top_p = value.as_number();
    } else if (name == "min_p") {
      sampling.min_p = value.as_number();
    } else if (name == "typical_p") {
      sampling.typical_p = value.as_number();
    } else if (name == "repetition_penalty") {
      sampling.repetition_penalty = value.as_number();
    } else if (name == "frequency_penalty") {
      sampling.frequency_penalty = value.as_number();
    } else if (name == "presence_penalty") {
      sampling.presence_penalty = value.as_number();
    } else if (name == "penalty_window") {
      sampling.penalty_window = value.as_integer(0, kMax);
    } else if (name == "logit_bias") {
      sampling.logit_bias = logit_bias(value);
    } else if (name == "seed") {
      sampling.seed = static_cast<std::uint64_t>(value.as_integer(0));
    } else if (name == "logprobs") {
      sampling.num_logprobs = value.as_integer(0, 100);
    } else {
      value.fail("is no field of a request", "docs/cli.md lists the fields");
    }
  }

 private:
  void set_grammar(OutputGrammar::Kind kind, std::string text, const JsonReader& value) {
    if (std::exchange(has_grammar_, true))
      value.fail("is one of two grammars: give one of schema, json, regex, grammar");
    parsed_.request.grammar = {kind, std::move(text)};
  }
  const Ordered& ordered_;
  ParsedRequest& parsed_;
  bool has_grammar_ = false;
};

}  // namespace

std::vector<RequestLine> read_request_lines(const std::filesystem::path& path) {
  const std::string content = read_file(path, kMaxFileBytes);
  std::vector<RequestLine> lines;
  std::size_t begin = 0;
  for (std::size_t number = 1; begin < content.size(); ++number) {
    std::size_t end = content.find('\n', begin);
    if (end == std::string::npos) end = content.size();
    std::string text = content.substr(begin, end - begin);
    begin = end + 1;
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    lines.push_back({number, std::move(text), path.string() + ":" + std::to_string(number)});
  }
  if (lines.empty()) {
    throw Error(ErrorKind::kBadInput, "holds no request", path.string(),
                "write one JSON object a line, for example {\"prompt\": \"Hello\"}");
  }
  return lines;
}

ParsedRequest parse_request(const RequestLine& line, const GenerationRequest& base, bool is_raw) {
  const nlohmann::json json = parse_json(line.text, line.where);
  const JsonReader reader(json, line.where);
  if (!json.is_object()) reader.fail("a request is an object, for example {\"prompt\": \"Hello\"}");
  const Ordered ordered = Ordered::parse(line.text);
  ParsedRequest parsed;
  parsed.request = base;
  parsed.is_raw = is_raw;
  Fields fields(ordered, parsed);
  for (const auto& member : reader.members()) fields.set(member.first, member.second);
  const int num_prompts =
      (reader.has("prompt") ? 1 : 0) + (reader.has("prompt_tokens") ? 1 : 0) + (reader.has("messages") ? 1 : 0);
  if (num_prompts != 1)
    reader.fail("has " + std::to_string(num_prompts) + " of prompt, prompt_tokens, messages", "give one");
  return parsed;
}

void apply_chat_template(GenerationRequest& request, const std::string& system, bool has_template, bool is_raw) {
  const bool is_prompt = request.messages.empty() && request.prompt_tokens.empty();
  if (is_prompt && request.prompt.empty()) {
    throw Error(ErrorKind::kUsage, "the prompt is empty", {}, "give at least one character");
  }
  if (!system.empty() && (!has_template || is_raw || !is_prompt)) {
    throw Error(is_raw || !is_prompt ? ErrorKind::kUsage : ErrorKind::kUnsupported,
                !has_template ? "this model has no chat template, so it takes no system message"
                              : "a system message goes with a prompt that the chat template renders",
                "--system", "leave it out, or put it into the prompt");
  }
  if (!is_prompt || !has_template || is_raw) return;
  if (!system.empty()) request.messages.push_back({"system", system});
  request.messages.push_back({"user", std::exchange(request.prompt, {})});
}

nlohmann::json answer_json(const GenerationResult& result, bool has_logprobs) {
  nlohmann::json answers = nlohmann::json::array();
  for (const GenerationAnswer& answer : result.answers) {
    nlohmann::json entry = {{"text", answer.text},
                            {"finish", to_string(answer.finish)},
                            {"num_tokens", static_cast<std::int64_t>(answer.tokens.size())}};
    if (has_logprobs) {
      entry["tokens"] = nlohmann::json::array();
      for (const GeneratedToken& token : answer.tokens) {
        nlohmann::json top = nlohmann::json::array();
        for (const TokenLogprob& other : token.top) top.push_back({{"id", other.token_id}, {"logprob", other.logprob}});
        entry["tokens"].push_back({{"id", token.token_id}, {"logprob", token.logprob}, {"top", std::move(top)}});
      }
    }
    answers.push_back(std::move(entry));
  }
  nlohmann::json json = {{"answers", std::move(answers)},
                         {"num_prompt_tokens", result.num_prompt_tokens},
                         {"num_cached_tokens", result.num_cached_tokens},
                         {"timing",
                          {{"queue_ms", to_ms(result.queue_time)},
                           {"first_token_ms", to_ms(result.time_to_first_token)},
                           {"total_ms", to_ms(result.total_time)}}}};
  if (!result.error.empty()) {
    json["error"] = {{"kind", to_string(result.error_kind)}, {"message", result.error}};
  }
  return json;
}

nlohmann::json error_json(const Error& error) {
  return {{"error",
           {{"kind", to_string(error.kind())},
            {"message", error.message()},
            {"where", error.where()},
            {"remedy", error.remedy()}}}};
}

}  // namespace pajamas::cli
