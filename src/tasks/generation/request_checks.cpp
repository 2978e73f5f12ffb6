// See request_checks.h. Ranges of sampling options are the sampler's, of stop texts the stop matcher's.
#include "tasks/generation/request_checks.h"

#include <cstddef>
#include <string_view>

#include "pajamas/error.h"
#include "text/tokenizer/utf8.h"

namespace pajamas {
namespace {

constexpr int kMaxAnswers = 64;

[[noreturn]] void refuse(const std::string& where, const std::string& message, const std::string& remedy) {
  throw Error(ErrorKind::kUsage, message, where, remedy);
}

void check_utf8(std::string_view text, const std::string& where) {
  const std::size_t length = valid_utf8_length(text);
  if (length != text.size()) {
    throw Error(ErrorKind::kBadInput, "is not UTF-8 at byte " + std::to_string(length), where,
                "convert the text to UTF-8");
  }
}

}  // namespace

void check_tokens(std::span<const std::int32_t> tokens, std::int64_t vocab_size, const std::string& what) {
  for (const std::int32_t token : tokens) {
    if (token >= 0 && token < vocab_size) continue;
    refuse(what, "token " + std::to_string(token) + " is outside the vocabulary of " + std::to_string(vocab_size),
           "use tokens of this model");
  }
}

void check_request(const GenerationRequest& request, const GenerationFacts& facts) {
  const int num_prompts =
      (request.messages.empty() ? 0 : 1) + (request.prompt_tokens.empty() ? 0 : 1) + (request.prompt.empty() ? 0 : 1);
  if (num_prompts > 1) refuse("request", "has more than one of messages, prompt and prompt_tokens", "give one of them");
  if (request.messages.empty() && !(request.tools_json.empty() && request.template_variables_json.empty())) {
    refuse("request", "has tools or template variables, but no messages for the template", "give messages");
  }
  if (request.max_tokens < 0) refuse("max_tokens", "is negative", "give 0 for no limit of its own");
  if (request.num_answers < 1 || request.num_answers > kMaxAnswers) {
    refuse("num_answers", "is " + std::to_string(request.num_answers), "give 1 to " + std::to_string(kMaxAnswers));
  }
  if (request.deadline.count() < 0) refuse("deadline", "is negative", "give 0 for none");
  if (request.grammar.kind != OutputGrammar::Kind::kNone && request.is_stop_token_ignored) {
    refuse("grammar", "cannot be kept past its end, which is_stop_token_ignored asks for", "give one of the two");
  }
  if (request.grammar.kind == OutputGrammar::Kind::kNone && !request.grammar.text.empty()) {
    refuse("grammar", "has a text but no kind", "say what kind it is");
  }
  check_tokens(request.prompt_tokens, facts.vocab_size, "prompt_tokens");
  check_tokens(request.stop_token_ids, facts.vocab_size, "stop_token_ids");
  check_utf8(request.prompt, "prompt");
  for (std::size_t i = 0; i < request.messages.size(); ++i) {
    const std::string where = "messages[" + std::to_string(i) + "]";
    check_utf8(request.messages[i].role, where + ".role");
    check_utf8(request.messages[i].content, where + ".content");
    check_utf8(request.messages[i].json, where + ".json");
  }
  check_utf8(request.tools_json, "tools");
  check_utf8(request.template_variables_json, "template_variables");
  check_utf8(request.grammar.text, "grammar");
  for (std::size_t i = 0; i < request.stop.size(); ++i) {
    check_utf8(request.stop[i], "stop[" + std::to_string(i) + "]");
  }
}

SamplingOptions sampling_of(const SamplingDefaults& defaults) {
  SamplingOptions options;
  if (defaults.temperature) options.temperature = *defaults.temperature;
  if (defaults.top_k) options.top_k = *defaults.top_k;
  if (defaults.top_p) options.top_p = *defaults.top_p;
  if (defaults.min_p) options.min_p = *defaults.min_p;
  if (defaults.repetition_penalty) options.repetition_penalty = *defaults.repetition_penalty;
  if (defaults.is_greedy) options.temperature = 0;
  return options;
}

}  // namespace pajamas
