// Chat templates against Python's jinja2 as transformers sets it up: published templates on drawn message lists, small
// templates of each construct (both from tools/goldens), errors with their lines, and hostile ones.
#include "text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <sstream>
#include <thread>

#include "base/digest.h"
#include "pajamas/error.h"
#include "support/cpu_time.h"

namespace pajamas {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string digest_of(const std::string& text) { return sha256_hex(std::as_bytes(std::span(text))); }

Json read_goldens(const char* name) {
  return Json::parse(read_text(std::filesystem::path(PAJAMAS_TEST_DATA) / "text" / name));
}

/// 2026-07-26 10:11:12.345678 UTC, where the goldens were made.
ChatTemplateInput new_input() {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  ChatTemplateInput input;
  input.clock = [] { return std::chrono::system_clock::time_point(std::chrono::microseconds(1785060672345678)); };
  return input;
}

/// What rendering gives, or "error: ...".
std::string render(std::string_view source, const Json& variables = nullptr, const ChatTemplateLimits& limits = {}) {
  try {
    ChatTemplateInput input = new_input();
    input.extra_variables = variables;
    return ChatTemplate::parse(source, "test").render(input, limits);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    return std::string("error: ") + error.where() + ": " + error.message();
  }
}

TEST(ChatTemplate, RendersEachConstructAsJinja2) {
  const Json goldens = read_goldens("jinja_goldens.json");
  ASSERT_GT(goldens["templates"].size(), 250U);
  for (const Json& row : goldens["templates"]) {
    const std::string result = render(row["template"].get<std::string>(), goldens["variables"]);
    if (row["text"].is_null()) {
      EXPECT_TRUE(result.starts_with("error: ")) << row["template"] << "\nshould raise, but gives\n" << result;
    } else {
      EXPECT_EQ(result, row["text"].get<std::string>()) << row["template"];
    }
  }
}

/// The folder of published templates, or nothing.
std::filesystem::path templates_folder() {
  if (const char* given = std::getenv("PAJAMAS_CHAT_TEMPLATES")) return given;
  return std::filesystem::path(PAJAMAS_DEPS_DIR) / "packages/llama-cpp-python/vendor/llama.cpp/models/templates";
}

/// The chat template within a GGUF file, found by its key.
std::string gguf_template(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string head(std::size_t{16} << 20, '\0');
  file.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<std::size_t>(file.gcount()));
  const std::string key = "tokenizer.chat_template";
  const std::size_t at = head.find(key);
  if (at == std::string::npos) return {};
  std::uint64_t size = 0;
  std::memcpy(&size, head.data() + at + key.size() + 4, sizeof size);
  return head.substr(at + key.size() + 12, size);
}

TEST(ChatTemplate, RendersPublishedTemplatesAsTransformers) {
  const Json goldens = read_goldens("chat_template_goldens.json");
  std::size_t num_templates = 0;
  std::size_t num_absent = 0;
  std::size_t num_equal = 0;
  for (const auto& [name, golden] : goldens["templates"].items()) {
    const bool is_gguf = name.ends_with(".gguf");
    const auto path = is_gguf ? std::filesystem::path(PAJAMAS_DEPS_DIR) / "models" / name : templates_folder() / name;
    if (!std::filesystem::exists(path)) {
      ++num_absent;
      continue;
    }
    const std::string source = is_gguf ? gguf_template(path) : read_text(path);
    if (digest_of(source) != golden["source_sha256"]) {
      ADD_FAILURE() << name << " is not the file that the goldens were made of: run tools/goldens again";
      continue;
    }
    const ChatTemplate chat_template = ChatTemplate::parse(source, name);
    std::istringstream digests(golden["digests"].get<std::string>());
    ++num_templates;
    for (std::size_t i = 0; i < goldens["cases"].size(); ++i) {
      const Json& row = goldens["cases"][i];
      ChatTemplateInput input = new_input();
      input.messages = row["messages"];
      input.tools = row.value("tools", Json());
      input.documents = row.value("documents", Json());
      input.add_generation_prompt = row["add_generation_prompt"];
      input.bos_token = "<s>";
      input.eos_token = "</s>";
      input.extra_variables = row.value("extra", Json());
      std::string expected;
      ASSERT_TRUE(digests >> expected);
      std::string actual = "-";
      std::string text;
      try {
        text = chat_template.render(input);
        actual = digest_of(text).substr(0, 8);
      } catch (const Error& error) {
        text = error.what();
      }
      EXPECT_EQ(actual, expected) << name << ", list " << i << " (\"-\": an error):\n" << text;
      num_equal += actual == expected ? 1 : 0;
    }
  }
  RecordProperty("equal", static_cast<int>(num_equal));
  if (num_absent > 0) {
    GTEST_SKIP() << num_absent << " published templates are not here (./dev setup brings them); " << num_templates
                 << " were tested";
  }
}

TEST(ChatTemplate, ErrorsNameLineAndCause) {
  EXPECT_EQ(render("a\nb\n{{ 1 / 0 }}"), "error: test, line 3: chat template: division by zero");
  EXPECT_EQ(render("\n{% if x %}\n{{ raise_exception('no ' ~ x) }}{% endif %}", {{"x", "system"}}),
            "error: test, line 3: chat template: no system");
  EXPECT_EQ(render("{{ a.b.c }}", {{"a", Json::object()}}),
            "error: test, line 1: chat template: 'dict object' has no attribute 'b'");
  EXPECT_EQ(render("\n\n{{ x | nope }}"), "error: test, line 3: chat template: no filter named 'nope'");
  EXPECT_EQ(render("{% for x in y %}\n\n"),
            "error: test, line 2: chat template: unexpected end of template, which should have 'endfor' or 'else'");
  EXPECT_THAT(render("{% macro f() %}\n{{ 1 + 'a' }}{% endmacro %}\n\n{{ f() }}"), HasSubstr("line 2"));
  EXPECT_THAT(render("{% include 'x' %}"), HasSubstr("'include' needs other templates"));
  EXPECT_THAT(render("{{ l.append(1) }}", {{"l", Json::array()}}), HasSubstr("templates may not change lists"));
}

TEST(ChatTemplate, RefusesInputThatIsNone) {
  const ChatTemplate chat_template = ChatTemplate::parse("{{ messages }}", "test");
  const auto fails = [&](const char* field, Json value) {
    ChatTemplateInput input;
    (field == std::string("messages")    ? input.messages
     : field == std::string("tools")     ? input.tools
     : field == std::string("documents") ? input.documents
                                         : input.extra_variables) = std::move(value);
    EXPECT_THROW(chat_template.render(input), Error) << field;
  };
  fails("messages", "text");
  fails("messages", Json::array({1}));
  fails("tools", Json::object());
  fails("documents", 5);
  fails("variables", Json::array());
  fails("messages", Json::array({{{"role", "user"}, {"content", "\xC3\x28"}}}));
  Json deep = 1;
  for (int i = 0; i < 1000; ++i) deep = Json::array({std::move(deep)});
  fails("tools", Json::array({std::move(deep)}));
  EXPECT_THROW(ChatTemplate::parse("\xFF", "test"), Error);
  EXPECT_THROW(ChatTemplate::parse(std::string((std::size_t{4} << 20) + 1, 'a'), "test"), Error);
}

TEST(ChatTemplate, GivesReasoningUnderEachName) {
  const ChatTemplate chat_template =
      ChatTemplate::parse("{% for m in messages %}{{ m.reasoning_content }}|{{ m.thinking }}{% endfor %}", "test");
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    ChatTemplateInput input;
    input.messages = Json::array({{{"role", "assistant"}, {name, "why"}}});
    EXPECT_EQ(chat_template.render(input), "why|why") << name;
  }
}

TEST(ChatTemplate, LeavesTokensUndefinedUnlessGiven) {
  const ChatTemplate chat_template = ChatTemplate::parse("{{ bos_token is defined }}{{ eos_token }}", "test");
  ChatTemplateInput input;
  input.eos_token = "</s>";
  EXPECT_EQ(chat_template.render(input), "False</s>");
}

TEST(ChatTemplate, RendersOnManyThreads) {
  const ChatTemplate chat_template = ChatTemplate::parse(
      "{% set ns = namespace(x='') %}{% for m in messages %}{% set ns.x = ns.x ~ m.content %}{% endfor %}{{ ns.x }}",
      "t");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      ChatTemplateInput input;
      for (int i = 0; i < 50; ++i) input.messages.push_back({{"role", "user"}, {"content", std::to_string(t)}});
      for (int i = 0; i < 50; ++i) EXPECT_EQ(chat_template.render(input), std::string(50, static_cast<char>('0' + t)));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

class HostileTemplate : public testing::TestWithParam<const char*> {};

TEST_P(HostileTemplate, IsRefusedSoon) {
  ChatTemplateLimits limits;
  limits.max_steps = 5'000'000;
  limits.max_output_bytes = std::size_t{4} << 20;
  limits.max_memory_bytes = std::size_t{64} << 20;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(render(GetParam(), nullptr, limits), testing::StartsWith("error: "));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

INSTANTIATE_TEST_SUITE_P(
    All, HostileTemplate,
    testing::Values(
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(x) %}{% call f(x) %}{{ caller() }}{% endcall %}{% endmacro %}{{ f(1) }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "{{ range(10 ** 12) }}", "{{ range(2 ** 126) }}",
        "{{ 'x' * 10 ** 9 }}", "{{ [1] * 10 ** 9 }}", "{{ (1,) * 2 ** 100 }}", "{{ 9 ** 9 ** 9 }}", "{{ 2 ** 127 }}",
        "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(1000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(1000) %}{% set ns.s = ns.s|map('upper') %}{% endfor %}"
        "{{ ns.s|list }}",
        "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}",
        "{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns.me|string }}",
        "{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}{% endfor %}{% endfor %}"
        "{% endfor %}",
        "{% for a in range(100000) %}{% for b in range(100000) %}aaaaaaaaaaaaaaaaaaaaa{% endfor %}{% endfor %}",
        "{{ '%999999999d' % 1 }}", "{{ '%*d' % (10 ** 9, 1) }}", "{{ '{:999999999}'.format(1) }}",
        "{{ 'a'.center(10 ** 10) }}", "{{ 'a'.zfill(10 ** 10) }}", "{{ 'a\\n' | indent(10 ** 10) }}",
        "{{ '\\t'.expandtabs(10 ** 10) }}", "{{ [1] | batch(10 ** 10, 0) | list }}",
        "{{ [1] | slice(10 ** 10) | list }}", "{{ [1] | tojson(indent=10 ** 10) }}",
        "{{ [[[[[[[[[[1]]]]]]]]]] | tojson(indent=4000000) }}", "{% set x = 'a' * 1000000 %}{{ x.replace('a', x) }}",
        "{% set x = 'a' * 1000000 %}{{ x.replace('', x) }}", "{% set x = ['a' * 1000000] * 100000 %}{{ x | join }}",
        "{% set x = 'a' * 1000000 %}{% for i in range(100000) %}{% set y = x in x %}{{ x|upper }}{% endfor %}",
        "{% set l = range(100000)|list %}{% for i in l %}{% set y = l|sort|unique|list %}{% endfor %}",
        "{% set l = range(100000)|list %}{% for i in l %}{% set y = 100001 in l %}{% endfor %}",
        "{% set l = range(100000)|list %}{% for i in l %}{% set y = l == l + [] %}{% endfor %}",
        "{% set ns = namespace() %}{% for i in range(100000) %}{% set ns.x = namespace(y=ns.x, z='a' * 10000) %}"
        "{% endfor %}",
        "{% for i in range(100000) %}{% set x %}{% for j in range(100000) %}x{% endfor %}{% endset %}{% endfor %}"));

TEST(ChatTemplate, StripsByManyCharactersInTimeOfTheTextAlone) {
  // 50,000 characters to strip, of which each of the text's is the last.
  const std::string source =
      "{% set set = range(50000)|map('string')|join %}{% set text = 'b' * 300000 %}{{ (text.strip(set ~ text))|length "
      "}}";
  EXPECT_LT(test::cpu_seconds_of([&] { EXPECT_EQ(render(source, nullptr, {}), "0"); }), 5);
}

TEST(ChatTemplate, RefusesSourcesThatNestTooDeep) {
  const auto repeated = [](const std::string& text, int count) {
    std::string result;
    for (int i = 0; i < count; ++i) result += text;
    return result;
  };
  constexpr int kMany = 100'000;
  for (const std::string& source :
       {"{{ " + repeated("(", kMany), "{{ " + repeated("[", kMany), "{{ " + repeated("-", kMany) + "1 }}",
        "{{ " + repeated("not ", kMany) + "1 }}", "{{ 1" + repeated("+1", kMany) + " }}",
        "{{ 1" + repeated("**1", kMany) + " }}", "{{ x" + repeated(".x", kMany) + " }}",
        "{{ x" + repeated("|list", kMany) + " }}", "{{ x" + repeated(" if x", kMany) + " }}",
        "{{ x" + repeated(" if x else x", kMany) + " }}", repeated("{% if x %}", kMany),
        repeated("{% for x in x %}", kMany), "{% set " + repeated("(", kMany),
        "{{ x" + repeated(" is x", kMany) + " }}"}) {
    EXPECT_THROW(ChatTemplate::parse(source, "test"), Error) << source.substr(0, 40);
  }
  // Chains within brackets within chains.
  std::string tower = "1";
  for (int i = 0; i < 100; ++i) tower = "(" + tower + repeated("+1", 300) + ")";
  EXPECT_THROW(ChatTemplate::parse("{{ " + tower + " }}", "test"), Error);
  // Many names and branches: what is found out about names takes no time for each pair.
  std::string many;
  for (int i = 0; i < 20'000; ++i) many += "{% set a" + std::to_string(i) + " = 1 %}{% if x %}{% endif %}";
  EXPECT_EQ(render(many), "");
  // Long, but flat.
  EXPECT_EQ(render("{{ 0" + repeated(" or 0", kMany) + " }}"), "0");
  EXPECT_EQ(render("{{ 1" + repeated(" ~ 1", 1000) + " }}"), std::string(1001, '1'));
  EXPECT_EQ(render("{% if 0 %}" + repeated("{% elif 0 %}", kMany) + "{% else %}x{% endif %}"), "x");
}

TEST(ChatTemplate, StopsAtTheDeadline) {
  ChatTemplateLimits limits;
  limits.max_duration = std::chrono::milliseconds(50);
  limits.max_steps = UINT64_MAX;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(
      render("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", nullptr, limits),
      HasSubstr("takes longer than 50 ms"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

}  // namespace
}  // namespace pajamas
