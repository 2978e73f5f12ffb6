// See command_run_generation.h. The conversation itself is chat_session.cpp.
#include "command_run_generation.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <iostream>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "base/files.h"
#include "base/json_writer.h"
#include "generation_json.h"
#include "pajamas/error.h"
#include "supervise.h"

namespace pajamas::cli {
namespace {

constexpr std::uint64_t kMaxGrammarBytes = 16 << 20;
/// How often a waiting command looks for Ctrl-C, and tells the watching process that it lives.
constexpr std::chrono::milliseconds kPoll{50};

GeneratorOptions generator_options(const GenerationRunOptions& options) {
  GeneratorOptions generator;
  generator.num_threads = options.num_threads;
  generator.is_exact_fp32 = options.is_exact_fp32;
  generator.kv_precision = options.kv_precision;
  generator.kv_cache_bytes = static_cast<std::size_t>(options.kv_cache_mb) << 20;
  return generator;
}

void write_answer(const std::string& text) { write_out(text, "the answer"); }

/// Requests on their way, and what came of them.
class Outcomes {
 public:
  void add(std::size_t index, nlohmann::json json, std::optional<Error> error, GenerationResult result) {
    // All under the lock: whoever waits for the last one may take this object down as soon as it is there.
    const std::lock_guard lock(mutex_);
    done_[index] = {std::move(json), std::move(error), std::move(result)};
    has_news_.notify_all();
  }
  struct Outcome {
    nlohmann::json json;
    std::optional<Error> error;
    GenerationResult result;
  };
  /// The outcome of `index`, or nothing when it is not there within kPoll.
  std::optional<Outcome> take(std::size_t index) {
    std::unique_lock lock(mutex_);
    has_news_.wait_for(lock, kPoll, [&] { return done_.count(index) > 0; });
    auto node = done_.extract(index);
    if (node.empty()) return std::nullopt;
    return std::move(node.mapped());
  }
  std::size_t num_done() const {
    const std::lock_guard lock(mutex_);
    return done_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable has_news_;
  std::map<std::size_t, Outcome> done_;
};

/// The library's own reading takes "-1" for 2^64 - 1, and what is larger for that as well.
std::string check_seed(const std::string& text) {
  std::uint64_t seed = 0;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, seed);
  return parsed.ec == std::errc() && parsed.ptr == end ? std::string() : "must be a whole number from 0 to 2^64 - 1";
}

/// The file or option that the answer's grammar is from; empty: there is none.
std::string grammar_place(const GenerationRunOptions& options) {
  if (!options.schema_path.empty()) return options.schema_path.string();
  if (!options.grammar_path.empty()) return options.grammar_path.string();
  return options.regex ? "--regex" : "";
}

/// What `submit` gives. Errors of the grammar get the place it is from.
template <typename Submit>
auto with_grammar_place(const std::string& place, const Submit& submit) {
  try {
    return submit();
  } catch (const Error& error) {
    for (const char* kind : {"JSON schema", "grammar", "regular expression"}) {
      if (error.where().starts_with(kind)) throw error.with_context(place);
    }
    throw;
  }
}

/// The error that a request ended with, if any.
std::optional<Error> error_of(const GenerationResult& result) {
  for (const GenerationAnswer& answer : result.answers) {
    if (answer.finish == FinishReason::kError) return Error(result.error_kind, result.error);
  }
  return std::nullopt;
}

bool has_logprobs(const GenerationRequest& request) {
  return request.sampling.has_value() && request.sampling->num_logprobs >= 0;
}

int run_prompt(const GenerationRunOptions& options, Generator& generator, Context& context) {
  GenerationRequest request = base_request(options, generator.default_sampling());
  request.prompt = *options.prompt;
  apply_chat_template(request, options.system, generator.has_chat_template(), options.is_raw);
  const bool is_streamed = !context.is_json && options.num_answers == 1;
  const bool is_terminal = ::isatty(STDOUT_FILENO) != 0;
  std::atomic<std::int64_t> num_tokens{0};
  Outcomes outcomes;
  const bool wants_logprobs = has_logprobs(request);
  const auto submit = [&] {
    return generator.submit(
        std::move(request),
        [&](const GenerationChunk& chunk) {
          num_tokens += static_cast<std::int64_t>(chunk.tokens.size());
          if (is_streamed && !chunk.text.empty()) write_answer(is_terminal ? printable(chunk.text) : chunk.text);
        },
        [&](const GenerationResult& result) {
          outcomes.add(0, answer_json(result, wants_logprobs), error_of(result), result);
        });
  };
  const RequestId id = with_grammar_place(grammar_place(options), submit);
  std::optional<Outcomes::Outcome> outcome;
  while (!(outcome = outcomes.take(0))) {
    if (context.cancel->is_cancelled()) {
      generator.cancel(id);
    } else {
      context.step(fmt::format("generating, {} tokens so far", num_tokens.load()));
    }
  }
  if (context.is_json && !outcome->error) {
    print_json({{"bundle", options.bundle.string()},
                {"task", "generation"},
                {"results", nlohmann::json::array({std::move(outcome->json)})}});
  } else if (is_streamed) {
    write_answer("\n");
  } else if (!context.is_json) {
    for (std::size_t i = 0; i < outcome->result.answers.size(); ++i) {
      const std::string& text = outcome->result.answers[i].text;
      write_answer(fmt::format("[{}] {}\n", i + 1, is_terminal ? printable(text) : text));
    }
  }
  if (outcome->error) throw *outcome->error;
  if (!outcome->result.error.empty()) throw Error(outcome->result.error_kind, outcome->result.error);
  context.cancel->check("generating");
  if (!context.is_json) std::cerr << speed_line(outcome->result) << '\n';
  return 0;
}

int run_prompts(const GenerationRunOptions& options, const std::vector<RequestLine>& lines, Generator& generator,
                Context& context) {
  const GenerationRequest base = base_request(options, generator.default_sampling());
  Outcomes outcomes;
  nlohmann::json results = nlohmann::json::array();
  std::optional<Error> first_error;
  std::int64_t num_tokens = 0, num_prompt_tokens = 0;
  const auto begin = std::chrono::steady_clock::now();
  std::vector<RequestId> ids;
  const auto submit = [&](std::size_t index) {
    ParsedRequest parsed = parse_request(lines[index], base, options.is_raw);
    const nlohmann::json id = parsed.id.is_null() ? nlohmann::json(lines[index].number) : parsed.id;
    const auto with_id = [id](nlohmann::json json) {
      json["id"] = id;
      return json;
    };
    try {
      apply_chat_template(parsed.request, parsed.request.messages.empty() ? options.system : std::string(),
                          generator.has_chat_template(), parsed.is_raw);
      const bool wants_logprobs = has_logprobs(parsed.request);
      ids.push_back(generator.submit(
          std::move(parsed.request), {}, [&outcomes, with_id, wants_logprobs, index](const GenerationResult& result) {
            outcomes.add(index, with_id(answer_json(result, wants_logprobs)), error_of(result), result);
          }));
    } catch (const Error& error) {
      const Error named = error.with_context(lines[index].where);
      outcomes.add(index, with_id(error_json(named)), named, {});
    }
  };
  std::size_t num_submitted = 0;
  for (std::size_t next = 0; next < lines.size();) {
    while (num_submitted < lines.size() && num_submitted - next < static_cast<std::size_t>(options.concurrency)) {
      submit(num_submitted++);
    }
    std::optional<Outcomes::Outcome> outcome = outcomes.take(next);
    if (context.cancel->is_cancelled()) {
      for (const RequestId id : ids) generator.cancel(id);
      while (outcomes.num_done() + next + (outcome ? 1 : 0) < num_submitted) {
        std::this_thread::sleep_for(kPoll);
      }
      context.cancel->check("generating");
    }
    if (!outcome) {
      context.step(fmt::format("request {} of {}, {} tokens so far", next + 1, lines.size(),
                               generator.statistics().num_generated_tokens));
      continue;
    }
    if (outcome->error && !first_error) first_error = outcome->error;
    for (const GenerationAnswer& answer : outcome->result.answers) {
      num_tokens += static_cast<std::int64_t>(answer.tokens.size());
    }
    num_prompt_tokens += outcome->result.num_prompt_tokens;
    if (context.is_json) {
      results.push_back(std::move(outcome->json));
    } else {
      write_answer(json_text(outcome->json) + "\n");
    }
    ++next;
  }
  if (context.is_json) {
    print_json({{"bundle", options.bundle.string()}, {"task", "generation"}, {"results", std::move(results)}});
  } else {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::cerr << fmt::format(
        "[{} requests, {} tokens of prompts, {} of answers, {:.1f} s, {:.1f} tokens/s of answers]\n", lines.size(),
        num_prompt_tokens, num_tokens, seconds, seconds > 0 ? static_cast<double>(num_tokens) / seconds : 0.0);
  }
  if (!first_error) return 0;
  std::cerr << "pajamas: " << printable(first_error->what()) << '\n';
  return exit_code(first_error->kind());
}

}  // namespace

std::string speed_line(const GenerationResult& result) {
  std::size_t num_tokens = 0;
  for (const GenerationAnswer& answer : result.answers) num_tokens += answer.tokens.size();
  // The first token belongs to the prompt's computation.
  const std::chrono::duration<double> decode = result.total_time - result.time_to_first_token;
  const std::size_t num_decoded = num_tokens - std::min(num_tokens, result.answers.size());
  const std::string speed = num_decoded > 0 && decode.count() > 0
                                ? fmt::format(", {:.1f} tokens/s", static_cast<double>(num_decoded) / decode.count())
                                : std::string();
  return fmt::format("[{} tokens of prompt, {} of them cached; {} tokens{}; first after {}]", result.num_prompt_tokens,
                     result.num_cached_tokens, num_tokens, speed, format_time(result.time_to_first_token));
}

GenerationRequest base_request(const GenerationRunOptions& options, const SamplingOptions& defaults) {
  GenerationRequest request;
  SamplingOptions& sampling = request.sampling.emplace(defaults);
  const auto set = [](const auto& given, auto& value) {
    if (given) value = *given;
  };
  set(options.temperature, sampling.temperature);
  set(options.top_k, sampling.top_k);
  set(options.top_p, sampling.top_p);
  set(options.min_p, sampling.min_p);
  set(options.typical_p, sampling.typical_p);
  set(options.repetition_penalty, sampling.repetition_penalty);
  set(options.frequency_penalty, sampling.frequency_penalty);
  set(options.presence_penalty, sampling.presence_penalty);
  set(options.penalty_window, sampling.penalty_window);
  set(options.seed, sampling.seed);
  set(options.num_logprobs, sampling.num_logprobs);
  set(options.max_tokens, request.max_tokens);
  request.stop = options.stop;
  request.num_answers = options.num_answers;
  if (!options.schema_path.empty()) {
    request.grammar = {OutputGrammar::Kind::kJsonSchema, read_file(options.schema_path, kMaxGrammarBytes)};
  } else if (!options.grammar_path.empty()) {
    request.grammar = {OutputGrammar::Kind::kEbnf, read_file(options.grammar_path, kMaxGrammarBytes)};
  } else if (options.regex) {
    request.grammar = {OutputGrammar::Kind::kRegex, *options.regex};
  }
  if (!options.tools_path.empty()) request.tools_json = read_file(options.tools_path, kMaxGrammarBytes);
  request.template_variables_json = options.template_variables;
  return request;
}

std::vector<std::string> add_generation_options(CLI::App& app, GenerationRunOptions& options) {
  std::vector<std::string> names;
  const auto add = [&](const std::string& name, auto& value, const std::string& description) {
    names.push_back(name);
    return app.add_option(name, value, "Generation: " + description);
  };
  const auto flag = [&](const std::string& name, bool& value, const std::string& description) {
    names.push_back(name);
    return app.add_flag(name, value, "Generation: " + description);
  };
  flag("--chat", options.is_chat, "a conversation: a message a line; /reset begins anew, /exit leaves");
  add("--prompts", options.prompts_path, "a file of requests, one JSON object a line; answers come a line each");
  add("--concurrency", options.concurrency, "requests of --prompts at once (default 8)")->check(CLI::Range(1, 1024));
  add("--system", options.system, "message that goes before the prompt or the conversation");
  flag("--raw", options.is_raw, "take the prompt as it is, without the chat template");
  add("--max-tokens", options.max_tokens, "most tokens of an answer (default: what the context holds)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 31));
  add("--temperature", options.temperature, "0: the most probable token (default: the publisher's)");
  add("--top-p", options.top_p, "sample among the most probable tokens of this mass");
  add("--min-p", options.min_p, "sample among tokens this likely beside the best");
  add("--typical-p", options.typical_p, "sample among the mass nearest the entropy");
  add("--repetition-penalty", options.repetition_penalty, "divides logits of tokens that were there");
  add("--frequency-penalty", options.frequency_penalty, "off the logit for each time the answer has the token");
  add("--presence-penalty", options.presence_penalty, "off the logit once the answer has the token");
  add("--penalty-window", options.penalty_window, "last tokens that count for penalties (default: all)");
  add("--seed", options.seed, "seed of the draws (default 0); speech: of the noise")
      ->check(CLI::Validator(check_seed, "0 to 2^64 - 1"));
  add("--logprobs", options.num_logprobs, "with --json or --prompts: this many best tokens at each place")
      ->check(CLI::Range(0, 100));
  add("--stop", options.stop, "a text that ends the answer; repeatable");
  add("--num-answers", options.num_answers, "answers to each prompt (default 1)")->check(CLI::Range(1, 64));
  const std::vector<CLI::Option*> grammars = {
      add("--schema", options.schema_path, "file of the JSON schema that the answer keeps to"),
      add("--grammar", options.grammar_path, "file of the EBNF grammar that the answer keeps to"),
      add("--regex", options.regex, "regular expression that the answer keeps to")};
  for (CLI::Option* one : grammars) {
    for (CLI::Option* other : grammars) {
      if (one != other) one->excludes(other);
    }
  }
  add("--tools", options.tools_path, "file of the tools' JSON descriptions for the chat template");
  add("--template-variables", options.template_variables, "JSON object of more variables for the chat template");
  flag("--exact-fp32", options.is_exact_fp32, "compute in float32 whatever the bundle's precision");
  add("--kv-precision", options.kv_precision, "key/value cache: auto (default), fp32, fp16, uint8");
  add("--kv-cache-mb", options.kv_cache_mb, "most memory of the key/value cache (default: by the free memory)")
      ->check(CLI::Range(1, 1 << 30));
  return names;
}

int run_generation(const GenerationRunOptions& options, Context& context) {
  const int num_ways = (options.prompt ? 1 : 0) + (options.is_chat ? 1 : 0) + (options.prompts_path.empty() ? 0 : 1);
  if (num_ways != 1) {
    throw Error(ErrorKind::kUsage,
                num_ways == 0 ? "no prompt was given" : "--prompt, --chat and --prompts contradict each other", {},
                "give one of --prompt TEXT, --chat, --prompts FILE");
  }
  if (options.is_chat && (context.is_json || options.num_answers > 1)) {
    throw Error(ErrorKind::kUsage, "a conversation has one answer at a time, as text", "--chat",
                "use --prompts FILE for JSON or several answers");
  }
  if (options.num_logprobs && !context.is_json && options.prompts_path.empty()) {
    throw Error(ErrorKind::kUsage, "log-probabilities are shown in JSON only", "--logprobs", "add --json");
  }
  // What is wrong with files of the user is said before a model is loaded.
  const GenerationRequest base = base_request(options, {});
  std::vector<RequestLine> lines;
  if (!options.prompts_path.empty()) {
    lines = read_request_lines(options.prompts_path);
    for (const RequestLine& line : lines) parse_request(line, base, options.is_raw);
  }
  // A conversation works in this process: the second one would be in the background of the terminal, from which it
  // could not read, and Ctrl-C means the answer there, not the program.
  if (!options.is_chat) {
    if (const auto code =
            supervise(context, {"the run", options.bundle.string(), std::chrono::seconds(options.time_limit_s),
                                "run `pajamas verify` on the bundle, or build it again"})) {
      return *code;
    }
  }
  context.step("loading the engine");
  Generator generator(options.bundle, generator_options(options));
  if (options.is_chat) {
    return run_chat(generator, base_request(options, generator.default_sampling()), options.system, context);
  }
  if (options.prompt) return run_prompt(options, generator, context);
  return run_prompts(options, lines, generator, context);
}

}  // namespace pajamas::cli
