// What structured output costs a token: filling the mask and taking the token, over real outputs of real schemas, with
// the tokenizer of a model (a GGUF file, tokenizer.json, ...). Prints a table, or JSON with --json. Every output is
// first checked: each of its tokens must be in its mask, and the text must be whole at its end.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pajamas/error.h"
#include "text/token_grammar.h"
#include "text/tokenizer.h"

namespace pajamas {
namespace {

using Clock = std::chrono::steady_clock;

struct Case {
  std::string name;
  std::string kind;  ///< "any", "schema", "regex", "ebnf"
  std::string language;
  std::vector<std::string> outputs;
};

std::vector<Case> cases() {
  const std::string person =
      R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
      "email":{"type":"string","format":"email"},"born":{"type":"string","format":"date"},
      "address":{"type":"object","properties":{"street":{"type":"string","maxLength":80},"city":{"type":"string"},
      "zip":{"type":"string","pattern":"^[0-9]{5}(-[0-9]{4})?$"}},"required":["street","city"]},
      "tags":{"type":"array","items":{"type":"string","minLength":1,"maxLength":20},"maxItems":10},
      "score":{"type":"number","minimum":0,"maximum":1}},"required":["name","age","address"]})";
  const std::string person_a =
      R"({"name": "Ada Lovelace", "age": 36, "email": "ada.lovelace@example.org", "born": "1815-12-10", "address": {)"
      R"("street": "12 St James's Square, first floor, left", "city": "London", "zip": "12345-6789"}, "tags": [)"
      R"("mathematics", "poetry", "Ångström"], "score": 0.975})";
  const std::string person_b =
      "{\n  \"name\": \"\xE5\xB1\xB1\xE7\x94\xB0 \xE5\xA4\xAA\xE9\x83\x8E\",\n  \"age\": 41,\n  \"address\": {\n    "
      "\"street\": \"\xE4\xB8\xAD\xE5\xA4\xAE\xE5\x8C\xBA 1-2-3\",\n    \"city\": \"\xE6\x9D\xB1\xE4\xBA\xAC\"\n  },\n "
      " "
      "\"tags\": [\"a\\\"b\", \"\\u00e9t\\u00e9\", \"\xF0\x9F\x98\x80\xF0\x9F\x8E\x89\"]\n}";
  const std::string steps =
      R"({"type":"object","properties":{"steps":{"type":"array","items":{"type":"object","properties":{
      "explanation":{"type":"string"},"output":{"type":"string"}},"required":["explanation","output"],
      "additionalProperties":false},"minItems":1},"final_answer":{"type":"string"}},
      "required":["steps","final_answer"],"additionalProperties":false})";
  std::string steps_text = R"({"steps": [)";
  for (int i = 0; i < 6; ++i) {
    steps_text +=
        std::string(i > 0 ? ", " : "") +
        R"({"explanation": "Subtract 7 from both sides, so that only the term with x is left; the equation )" +
        R"(keeps its balance because the same is done on the left and on the right.", "output": "8x = -)" +
        std::to_string(30 + i) + R"("})";
  }
  steps_text += R"(], "final_answer": "x = -3.75"})";
  const std::string tree =
      R"({"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":{"kind":{"enum":["group","leaf","link"]},
      "title":{"type":"string"},"children":{"type":"array","items":{"$ref":"#/$defs/node"}}},
      "required":["kind","title"]}}})";
  const std::string tree_text =
      R"({"kind":"group","title":"Home","children":[{"kind":"leaf","title":"News of the day"},{"kind":"group",)"
      R"("title":"Products","children":[{"kind":"leaf","title":"Pajamas"},{"kind":"link","title":"Llamas & co."}]},)"
      R"({"kind":"leaf","title":"About us"}]})";
  const std::string map =
      R"({"type":"object","properties":{"version":{"const":1}},"required":["version"],
      "additionalProperties":{"anyOf":[{"type":"string"},{"type":"number"},{"type":"array","items":{"type":"number"}}]}})";
  const std::string map_text =
      R"({"version": 1, "learning rate": 0.0003, "betas": [0.9, 0.999], "note": "warm up for 2,000 steps, then cosine",)"
      R"( "versions": "all of them", "steps": 1.5e6})";
  std::string choice = R"({"type":"object","properties":{"colour":{"enum":[)";
  for (int i = 0; i < 500; ++i)
    choice += std::string(i > 0 ? "," : "") + "\"colour number " + std::to_string(i * 37) + "\"";
  choice += R"(]}},"required":["colour"]})";
  return {
      {"any JSON", "any", "", {person_a, person_b, steps_text, tree_text, map_text}},
      {"person (formats, lengths, ranges)", "schema", person, {person_a, person_b}},
      {"steps (long prose)", "schema", steps, {steps_text}},
      {"tree (recursive)", "schema", tree, {tree_text}},
      {"map (open properties)", "schema", map, {map_text}},
      {"enum of 500", "schema", choice, {R"({"colour": "colour number 3663"})", R"({"colour": "colour number 37"})"}},
      {"regex: log line",
       "regex",
       R"(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2} (INFO|WARN|ERROR) [a-z.]{3,40}: [^\n]{0,200})",
       {"2026-11-23 13:45:10 WARN server.scheduler: the queue is full, 17 requests wait for a block of the cache"}},
      {"grammar: arithmetic",
       "ebnf",
       "root ::= expr\nexpr ::= term (ws [-+] ws term)*\nterm ::= factor (ws [*/] ws factor)*\nfactor ::= number | "
       "name | "
       "\"(\" ws expr ws \")\"\nnumber ::= [0-9]+ (\".\" [0-9]+)?\nname ::= [a-z] [a-z0-9_]*\nws ::= \" \"?",
       {"(alpha + 3.25 * beta_2) / (17 - gamma * (delta + 1)) + 42 * (x - y) / 2.5"}},
  };
}

TokenGrammar compiled(const Case& test, const TokenVocabulary& vocabulary) {
  if (test.kind == "any") return TokenGrammar::any_json(vocabulary);
  if (test.kind == "schema") return TokenGrammar::from_json_schema(test.language, vocabulary);
  if (test.kind == "regex") return TokenGrammar::from_regex(test.language, vocabulary);
  return TokenGrammar::from_ebnf(test.language, vocabulary);
}

/// Time of this thread on a core, which other programs do not lengthen as they do a compile's tens of milliseconds.
double cpu_ms() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

double microseconds(Clock::duration duration) { return std::chrono::duration<double, std::micro>(duration).count(); }

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<std::size_t>(q * static_cast<double>(values.size())))];
}

int run(const std::string& path, bool is_json) {
  const Tokenizer tokenizer = Tokenizer::read(path);
  std::vector<std::string_view> bytes;
  std::vector<std::int64_t> special;
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    bytes.push_back(tokenizer.token_bytes(id));
    if (tokenizer.is_special(id)) special.push_back(id);
  }
  const std::int64_t end = tokenizer.eos_id().value_or(0);
  const double begin_ms = cpu_ms();
  const TokenVocabulary vocabulary(bytes, std::span(&end, 1), special);
  const double vocabulary_ms = cpu_ms() - begin_ms;
  nlohmann::json report = {{"vocab_size", vocabulary.vocab_size()}, {"vocabulary_ms", vocabulary_ms}, {"cases", {}}};
  std::vector<std::uint32_t> bits(vocabulary.num_mask_words());
  if (!is_json) {
    std::printf("vocabulary: %lld tokens, %.1f ms of CPU\n", static_cast<long long>(vocabulary.vocab_size()),
                vocabulary_ms);
    std::printf("%-36s %7s %8s %8s | %s\n", "", "states", "compile", "masks",
                "mask + accept, us: first run        later runs");
    std::printf("%-36s %7s %8s %8s | %6s %6s %6s  %6s %6s %6s  tokens\n", "", "", "ms", "MB", "median", "p99", "max",
                "median", "p99", "max");
  }
  for (const Case& test : cases()) {
    std::vector<double> compile_ms;
    for (int i = 0; i < 3; ++i) {
      const double start_ms = cpu_ms();
      compiled(test, vocabulary);
      compile_ms.push_back(cpu_ms() - start_ms);
    }
    const TokenGrammar grammar = compiled(test, vocabulary);
    std::vector<double> first;
    std::vector<double> later;
    std::size_t num_tokens = 0;
    constexpr int kRuns = 8;
    EncodeOptions plain;
    plain.add_special_tokens = false;
    for (int round = 0; round < kRuns; ++round) {
      for (const std::string& text : test.outputs) {
        GrammarState state(grammar);
        for (const std::int32_t id : tokenizer.encode(text, plain)) {
          const Clock::time_point start = Clock::now();
          state.fill_mask(bits);
          const bool is_accepted = state.accept(id);
          (round == 0 ? first : later).push_back(microseconds(Clock::now() - start));
          if (!is_accepted || (bits[static_cast<std::size_t>(id) / 32] >> (id % 32) & 1) == 0) {
            throw Error(ErrorKind::kInternal, "a token of the output is not allowed: " + test.name + ": " + text);
          }
          if (round == 0) ++num_tokens;
        }
        if (!state.is_complete()) throw Error(ErrorKind::kInternal, "the output is not whole: " + test.name);
      }
    }
    const TokenGrammar::Facts facts = grammar.facts();
    const double mask_mb = static_cast<double>(facts.mask_bytes) / 1e6;
    report["cases"].push_back({{"name", test.name},
                               {"num_states", facts.num_states},
                               {"compile_ms", quantile(compile_ms, 0.5)},
                               {"mask_mb", mask_mb},
                               {"num_tokens", num_tokens},
                               {"first_us", {quantile(first, 0.5), quantile(first, 0.99), quantile(first, 1)}},
                               {"later_us", {quantile(later, 0.5), quantile(later, 0.99), quantile(later, 1)}}});
    if (!is_json) {
      std::printf("%-36s %7lld %8.1f %8.1f | %6.1f %6.1f %6.1f  %6.1f %6.1f %6.1f  %zu\n", test.name.c_str(),
                  static_cast<long long>(facts.num_states), quantile(compile_ms, 0.5), mask_mb, quantile(first, 0.5),
                  quantile(first, 0.99), quantile(first, 1), quantile(later, 0.5), quantile(later, 0.99),
                  quantile(later, 1), num_tokens);
    }
  }
  if (is_json) std::cout << report.dump(2) << "\n";
  return 0;
}

}  // namespace
}  // namespace pajamas

int main(int argc, char** argv) {
  const bool is_json = argc == 3 && std::string(argv[2]) == "--json";
  if (argc != 2 && !is_json) {
    std::cerr << "usage: grammar_benchmark TOKENIZER [--json]\n";
    return 2;
  }
  try {
    return pajamas::run(argv[1], is_json);
  } catch (const std::exception& error) {
    std::cerr << "grammar_benchmark: " << error.what() << "\n";
    return 1;
  }
}
