// Statements (parser.h), and what is found out about macros and loops once they are parsed.
#include "text/jinja/parser.h"

#include <set>
#include <utility>

#include "text/jinja/python_text.h"

namespace pajamas::jinja {

namespace {

/// Nested tags, brackets and operators; each level costs a few frames of the stack.
constexpr int kMaxParserDepth = 300;

/// Collects the names a subtree reads.
class NameCollector {
 public:
  explicit NameCollector(std::set<int>& names) : names_(names) {}

  void visit(const Body& body) {
    for (const auto& statement : body) visit(*statement);
  }

 private:
  void visit(const ExpressionPtr& expression) {
    if (expression == nullptr) return;
    if (expression->kind == ExpressionKind::kName) names_.insert(expression->name_id);
    for (const auto& child : expression->children) visit(child);
    visit(expression->call);
  }
  void visit(const CallArguments& call) {
    for (const auto& argument : call.positional) visit(argument);
    for (const auto& argument : call.named) visit(argument.second);
    visit(call.rest);
    visit(call.named_rest);
  }
  void visit(const Statement& statement) {
    visit(statement.expression);
    visit(statement.test);
    for (const auto& expression : statement.expressions) visit(expression);
    for (const auto& parameter : statement.macro.parameters) visit(parameter.fallback);
    visit(statement.macro.body);
    visit(statement.body);
    for (const Body& branch : statement.branches) visit(branch);
    visit(statement.otherwise);
  }

  std::set<int>& names_;
};

bool reads(const Body& body, int name_id) {
  std::set<int> names;
  NameCollector(names).visit(body);
  return names.count(name_id) > 0;
}

}  // namespace

ParserDepth::ParserDepth(int& depth, int line) : depth_(depth) {
  if (depth >= kMaxParserDepth) fail("nested deeper than " + std::to_string(kMaxParserDepth) + " levels", line);
  ++depth_;
}

Parser::Parser(std::vector<Token> tokens, Program& program) : tokens_(std::move(tokens)), program_(program) {
  program.loop_id = id_of("loop");
  program.caller_id = id_of("caller");
  program.kwargs_id = id_of("kwargs");
  program.varargs_id = id_of("varargs");
}

void Parser::parse() {
  program_.body = parse_body({});
  if (!unknown_.empty()) throw unknown_.front();
}

const Token& Parser::advance() {
  const Token& token = tokens_[position_];
  if (position_ + 1 < tokens_.size()) ++position_;
  return token;
}

bool Parser::skip_name(std::string_view name) {
  if (!is_name(name)) return false;
  advance();
  return true;
}

bool Parser::skip_operator(std::string_view op) {
  if (!is_operator(op)) return false;
  advance();
  return true;
}

std::string Parser::describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kData: return "template text";
    case TokenKind::kVariableBegin: return "'{{'";
    case TokenKind::kVariableEnd: return "'}}'";
    case TokenKind::kBlockBegin: return "'{%'";
    case TokenKind::kBlockEnd: return "'%}'";
    case TokenKind::kName:
    case TokenKind::kOperator: return "'" + token.text + "'";
    case TokenKind::kString: return "a string";
    case TokenKind::kNumber: return "a number";
    case TokenKind::kEnd: return "the end of the template";
  }
  return {};
}

void Parser::fail_here(std::string message) const { fail(std::move(message), current().line); }

void Parser::expect(TokenKind kind, std::string_view what) {
  if (current().kind != kind) fail_here("expected " + std::string(what) + ", got " + describe(current()));
  advance();
}

void Parser::expect_operator(std::string_view op) {
  if (!skip_operator(op)) fail_here("expected '" + std::string(op) + "', got " + describe(current()));
}

void Parser::expect_name(std::string_view name) {
  if (!skip_name(name)) fail_here("expected '" + std::string(name) + "', got " + describe(current()));
}

std::string Parser::expect_any_name() {
  if (current().kind != TokenKind::kName) fail_here("expected a name, got " + describe(current()));
  return advance().text;
}

int Parser::id_of(const std::string& name) {
  const auto [found, is_new] = ids_.emplace(name, static_cast<int>(program_.names.size()));
  if (is_new) program_.names.push_back(name);
  return found->second;
}

Body Parser::parse_body(std::initializer_list<std::string_view> ends) {
  Body body;
  while (true) {
    const Token& token = current();
    num_chain_links_ = 0;
    if (token.kind == TokenKind::kEnd) {
      if (ends.size() == 0) return body;
      std::string wanted;
      for (const std::string_view end : ends) wanted += (wanted.empty() ? "'" : " or '") + std::string(end) + "'";
      fail_here("unexpected end of template, which should have " + wanted);
    }
    if (token.kind == TokenKind::kData) {
      auto statement = std::make_unique<Statement>();
      statement->line = token.line;
      statement->text = advance().text;
      body.push_back(std::move(statement));
    } else if (token.kind == TokenKind::kVariableBegin) {
      auto statement = std::make_unique<Statement>();
      statement->kind = StatementKind::kOutput;
      statement->line = advance().line;
      statement->expression = parse_tuple();
      expect(TokenKind::kVariableEnd, "the end of the output, '}}'");
      body.push_back(std::move(statement));
    } else {
      expect(TokenKind::kBlockBegin, "a tag");
      if (current().kind == TokenKind::kName && std::find(ends.begin(), ends.end(), current().text) != ends.end()) {
        return body;
      }
      parse_statement(body);
      parse_tag_end();
    }
  }
}

void Parser::parse_tag_end() { expect(TokenKind::kBlockEnd, "the end of the tag, '%}'"); }

Body Parser::parse_block_body(std::initializer_list<std::string_view> ends) {
  const ParserDepth guard(depth_, current().line);
  skip_operator(":");
  parse_tag_end();
  return parse_body(ends);
}

void Parser::parse_statement(Body& body) {
  if (current().kind != TokenKind::kName) fail_here("expected the name of a tag, got " + describe(current()));
  auto statement = std::make_unique<Statement>();
  statement->line = current().line;
  const std::string tag = current().text;
  if (tag == "print") {
    parse_print(body);
    return;
  }
  if (tag == "set") {
    parse_set(*statement);
  } else if (tag == "for") {
    parse_for(*statement);
  } else if (tag == "if") {
    parse_if(*statement);
  } else if (tag == "with") {
    parse_with(*statement);
  } else if (tag == "macro") {
    parse_macro(*statement);
  } else if (tag == "call") {
    parse_call_block(*statement);
  } else if (tag == "filter") {
    parse_filter_block(*statement);
  } else if (tag == "block" || tag == "generation") {
    parse_block(*statement);
  } else if (tag == "break" || tag == "continue") {
    advance();
    if (num_open_loops_ == 0) fail("'" + tag + "' outside loop", statement->line);
    statement->kind = tag == "break" ? StatementKind::kBreak : StatementKind::kContinue;
  } else if (tag == "include" || tag == "import" || tag == "from" || tag == "extends") {
    parse_unavailable(*statement);
  } else if (tag == "autoescape") {
    fail_here("the tag 'autoescape' is not supported in chat templates");
  } else {
    fail_here("encountered unknown tag " + repr_of_text(tag));
  }
  body.push_back(std::move(statement));
}

Target Parser::parse_single_target(bool may_be_attribute) {
  const ParserDepth guard(depth_, current().line);
  Target target;
  target.line = current().line;
  if (skip_operator("(")) {
    Target inner = parse_target(may_be_attribute, {});
    expect_operator(")");
    return inner;
  }
  if (current().kind != TokenKind::kName) fail_here("cannot assign to " + describe(current()));
  const std::string name = advance().text;
  for (const std::string_view constant : {"true", "false", "none", "True", "False", "None"}) {
    if (name == constant) fail("cannot assign to '" + name + "'", target.line);
  }
  target.name_id = id_of(name);
  if (may_be_attribute && skip_operator(".")) target.attribute = expect_any_name();
  return target;
}

Target Parser::parse_target(bool may_be_attribute, std::string_view end_name) {
  Target tuple;
  tuple.line = current().line;
  while (true) {
    if (!tuple.parts.empty()) expect_operator(",");
    if (is_tuple_end(end_name) || is_operator("=")) break;
    tuple.parts.push_back(parse_single_target(may_be_attribute));
    if (!is_operator(",")) break;
    tuple.is_tuple = true;
  }
  if (tuple.is_tuple) return tuple;
  if (tuple.parts.empty()) fail_here("expected a name to assign to, got " + describe(current()));
  return std::move(tuple.parts[0]);
}

void Parser::parse_set(Statement& statement) {
  advance();
  statement.target = parse_target(true, {});
  if (skip_operator("=")) {
    statement.kind = StatementKind::kSet;
    statement.expression = parse_tuple();
    return;
  }
  statement.kind = StatementKind::kSetBlock;
  statement.expression = parse_filter(nullptr);
  statement.body = parse_block_body({"endset"});
  advance();
}

void Parser::check_loop_target(const Target& target) const {
  if (target.name_id == program_.loop_id) fail("cannot assign to the special variable 'loop'", target.line);
  for (const Target& part : target.parts) check_loop_target(part);
}

void Parser::parse_for(Statement& statement) {
  advance();
  statement.kind = StatementKind::kFor;
  statement.target = parse_target(false, "in");
  check_loop_target(statement.target);
  expect_name("in");
  statement.expression = parse_tuple(false, "recursive");
  if (skip_name("if")) statement.test = parse_expression();
  statement.is_recursive = skip_name("recursive");
  ++num_open_loops_;
  statement.body = parse_block_body({"endfor", "else"});
  --num_open_loops_;
  if (advance().text == "else") {
    statement.otherwise = parse_block_body({"endfor"});
    advance();
  }
  statement.uses_loop = statement.is_recursive || reads(statement.body, program_.loop_id);
}

void Parser::parse_if(Statement& statement) {
  const std::size_t num_unknown = unknown_.size();
  statement.kind = StatementKind::kIf;
  do {
    advance();  // if or elif
    statement.expressions.push_back(parse_tuple(false));
    statement.branches.push_back(parse_block_body({"elif", "else", "endif"}));
  } while (is_name("elif"));
  if (advance().text == "else") {
    statement.otherwise = parse_block_body({"endif"});
    advance();
  }
  unknown_.resize(num_unknown);
}

void Parser::parse_with(Statement& statement) {
  advance();
  statement.kind = StatementKind::kWith;
  while (current().kind != TokenKind::kBlockEnd) {
    if (!statement.targets.empty()) expect_operator(",");
    statement.targets.push_back(parse_target(false, {}));
    expect_operator("=");
    statement.expressions.push_back(parse_expression());
  }
  statement.body = parse_block_body({"endwith"});
  advance();
}

void Parser::parse_signature(MacroDefinition& macro) {
  expect_operator("(");
  while (!is_operator(")")) {
    if (!macro.parameters.empty()) expect_operator(",");
    const int line = current().line;
    MacroDefinition::Parameter parameter;
    parameter.name = expect_any_name();
    parameter.name_id = id_of(parameter.name);
    for (const auto& other : macro.parameters) {
      if (other.name == parameter.name) fail("duplicate parameter " + repr_of_text(parameter.name), line);
    }
    if (skip_operator("=")) {
      parameter.fallback = parse_expression();
    } else if (!macro.parameters.empty() && macro.parameters.back().fallback != nullptr) {
      fail("a parameter without a default follows one with a default", line);
    }
    macro.parameters.push_back(std::move(parameter));
  }
  expect_operator(")");
}

void Parser::parse_macro_body(MacroDefinition& macro, std::string_view end) {
  const int num_outer_loops = std::exchange(num_open_loops_, 0);
  const int line = current().line;
  macro.body = parse_block_body({end});
  advance();
  num_open_loops_ = num_outer_loops;
  const auto is_parameter = [&](std::string_view name) {
    return std::any_of(macro.parameters.begin(), macro.parameters.end(),
                       [&](const auto& parameter) { return parameter.name == name; });
  };
  const auto is_read = [&](int name_id) { return reads(macro.body, name_id); };
  macro.uses_caller = is_read(program_.caller_id);
  if (macro.uses_caller && is_parameter("caller")) {
    for (const auto& parameter : macro.parameters) {
      if (parameter.name == "caller" && parameter.fallback == nullptr) {
        fail("the special argument 'caller' must be left out or have a default", line);
      }
    }
  }
  macro.uses_kwargs = is_read(program_.kwargs_id) && !is_parameter("kwargs");
  macro.uses_varargs = is_read(program_.varargs_id) && !is_parameter("varargs");
}

void Parser::parse_macro(Statement& statement) {
  advance();
  statement.kind = StatementKind::kMacro;
  statement.macro.name = expect_any_name();
  statement.name_id = id_of(statement.macro.name);
  parse_signature(statement.macro);
  parse_macro_body(statement.macro, "endmacro");
}

void Parser::parse_call_block(Statement& statement) {
  advance();
  statement.kind = StatementKind::kCall;
  if (is_operator("(")) parse_signature(statement.macro);
  statement.expression = parse_expression();
  if (statement.expression->kind != ExpressionKind::kCall) fail("expected a call", statement.line);
  parse_macro_body(statement.macro, "endcall");
}

void Parser::parse_filter_block(Statement& statement) {
  advance();
  statement.kind = StatementKind::kFilter;
  statement.expression = parse_filter(nullptr, true);
  statement.body = parse_block_body({"endfilter"});
  advance();
}

/// {% block %} stands where it is, as no template extends another here; {% generation %} only marks what it holds.
void Parser::parse_block(Statement& statement) {
  const bool is_block = advance().text == "block";
  statement.kind = StatementKind::kScope;
  std::string name;
  if (is_block) {
    name = expect_any_name();
    if (std::find(block_names_.begin(), block_names_.end(), name) != block_names_.end()) {
      fail("block " + repr_of_text(name) + " defined twice", statement.line);
    }
    block_names_.push_back(name);
    const bool is_scoped = skip_name("scoped");
    if (skip_name("required")) fail_here("a required block needs a template that extends this one");
    statement.is_top_level_scope = !is_scoped;
  }
  const int num_outer_loops = std::exchange(num_open_loops_, 0);
  statement.body = parse_block_body({is_block ? "endblock" : "endgeneration"});
  advance();
  num_open_loops_ = num_outer_loops;
  if (is_block) skip_name(name);
}

void Parser::parse_print(Body& body) {
  const int line = advance().line;
  bool is_first = true;
  while (current().kind != TokenKind::kBlockEnd) {
    if (!is_first) expect_operator(",");
    is_first = false;
    auto statement = std::make_unique<Statement>();
    statement->kind = StatementKind::kOutput;
    statement->line = line;
    statement->expression = parse_expression();
    body.push_back(std::move(statement));
  }
}

void Parser::parse_unavailable(Statement& statement) {
  statement.kind = StatementKind::kUnavailable;
  statement.text = "the tag '" + advance().text + "' needs other templates, and a chat template has none";
  parse_expression();
  while (current().kind == TokenKind::kName || is_operator(",")) advance();
}

std::shared_ptr<const Program> parse_program(std::string_view source) {
  auto program = std::make_shared<Program>();
  Parser(tokens_of(source), *program).parse();
  analyze_scopes(*program);
  return program;
}

}  // namespace pajamas::jinja
