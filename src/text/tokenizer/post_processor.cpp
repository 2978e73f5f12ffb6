// See post_processor.h.
#include "text/tokenizer/post_processor.h"

#include "pajamas/error.h"
#include "text/tokenizer/definition.h"

namespace pajamas {
namespace {

constexpr int kMaxDepth = 8;
/// Tokens around a text, all steps together; published files have 4. They are counted, since a template may repeat a
/// token whose list of ids is long itself.
constexpr std::size_t kMaxAround = 1024;

std::int32_t read_id(const JsonReader& json) { return static_cast<std::int32_t>(json.as_integer(0, kMaxTokens - 1)); }

/// ["[SEP]", 102]
std::int32_t read_pair(const JsonReader& json) {
  const std::vector<JsonReader> pair = json.elements();
  if (pair.size() != 2) json.fail("is no pair of token and id");
  return read_id(pair[1]);
}

void read_template(const JsonReader& json, SurroundingTokens& tokens) {
  SurroundingTokens own;
  bool is_after = false;
  for (const JsonReader& item : json.member("single").elements()) {
    if (item.has("Sequence")) {
      if (is_after) item.fail("repeats the text, which is not supported");
      is_after = true;
      continue;
    }
    const std::string name = item.member("SpecialToken").string("id");
    for (const JsonReader& id : json.member("special_tokens").member(name.c_str()).member("ids").elements()) {
      (is_after ? own.after : own.before).push_back(read_id(id));
      if (own.before.size() + own.after.size() > kMaxAround) {
        item.fail("puts more than " + std::to_string(kMaxAround) + " tokens around every text");
      }
    }
  }
  if (!is_after) json.member("single").fail("leaves the text out");
  tokens.before.insert(tokens.before.begin(), own.before.begin(), own.before.end());
  tokens.after.insert(tokens.after.end(), own.after.begin(), own.after.end());
}

void read(const JsonReader& json, int depth, SurroundingTokens& tokens) {
  if (depth > kMaxDepth) json.fail("has sequences nested deeper than " + std::to_string(kMaxDepth));
  const std::string type = json.string("type");
  if (type == "Sequence") {
    for (const JsonReader& step : json.member("processors").elements()) read(step, depth + 1, tokens);
  } else if (type == "TemplateProcessing") {
    read_template(json, tokens);
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    tokens.before.insert(tokens.before.begin(), read_pair(json.member("cls")));
    tokens.after.push_back(read_pair(json.member("sep")));
  } else if (type != "ByteLevel") {  // ByteLevel changes offsets only.
    throw Error(ErrorKind::kUnsupported, "has a post_processor of type '" + type + "', which is not known",
                json.where(),
                "known are TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel and Sequence");
  }
}

}  // namespace

SurroundingTokens read_post_processor(const JsonReader& json) {
  SurroundingTokens tokens;
  read(json, 0, tokens);
  if (tokens.before.size() + tokens.after.size() > kMaxAround) {
    json.fail("puts more than " + std::to_string(kMaxAround) + " tokens around every text");
  }
  return tokens;
}

}  // namespace pajamas
