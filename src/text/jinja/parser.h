// The parser's two halves share this class: expressions (parser_expressions.cpp) and statements (parser.cpp), by
// recursive descent over the tokens of lexer.h. Used through parse_program (ast.h).
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace pajamas::jinja {

class Parser {
 public:
  Parser(std::vector<Token> tokens, Program& program);
  void parse();

 private:
  // Tokens
  const Token& current() const { return tokens_[position_]; }
  const Token& ahead() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  const Token& advance();
  bool is_name(std::string_view name) const { return current().kind == TokenKind::kName && current().text == name; }
  bool is_operator(std::string_view op) const { return current().kind == TokenKind::kOperator && current().text == op; }
  bool skip_name(std::string_view name);
  bool skip_operator(std::string_view op);
  void expect(TokenKind kind, std::string_view what);
  void expect_operator(std::string_view op);
  void expect_name(std::string_view name);
  std::string expect_any_name();
  static std::string describe(const Token& token);
  [[noreturn]] void fail_here(std::string message) const;
  void count_link();
  int id_of(const std::string& name);

  // Expressions
  ExpressionPtr make(ExpressionKind kind, int line) const;
  ExpressionPtr make(ExpressionKind kind, int line, ExpressionPtr a, ExpressionPtr b = nullptr) const;
  ExpressionPtr parse_expression(bool has_conditional = true);
  ExpressionPtr parse_conditional();
  ExpressionPtr parse_or();
  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_compare();
  ExpressionPtr parse_sum();
  ExpressionPtr parse_concatenation();
  ExpressionPtr parse_product();
  ExpressionPtr parse_power();
  ExpressionPtr parse_unary(bool has_filters = true);
  ExpressionPtr parse_primary();
  ExpressionPtr parse_postfix(ExpressionPtr expression);
  ExpressionPtr parse_filters_and_tests(ExpressionPtr expression);
  ExpressionPtr parse_subscript(ExpressionPtr object);
  ExpressionPtr parse_filter(ExpressionPtr input, bool is_name_next = false);
  ExpressionPtr parse_test(ExpressionPtr input);
  ExpressionPtr parse_list();
  ExpressionPtr parse_dict();
  ExpressionPtr parse_tuple(bool has_conditional = true, std::string_view end_name = {},
                            bool is_in_parentheses = false);
  CallArguments parse_call_arguments();
  ExpressionPtr parse_call(ExpressionPtr function);
  bool is_tuple_end(std::string_view end_name) const;

  // Statements
  Body parse_body(std::initializer_list<std::string_view> ends);
  void parse_tag_end();
  Body parse_block_body(std::initializer_list<std::string_view> ends);
  void parse_statement(Body& body);
  void parse_set(Statement& statement);
  void parse_for(Statement& statement);
  void parse_if(Statement& statement);
  void parse_with(Statement& statement);
  void parse_macro(Statement& statement);
  void parse_call_block(Statement& statement);
  void parse_filter_block(Statement& statement);
  void parse_block(Statement& statement);
  void parse_print(Body& body);
  void parse_unavailable(Statement& statement);
  void parse_signature(MacroDefinition& macro);
  void parse_macro_body(MacroDefinition& macro, std::string_view end);
  Target parse_target(bool may_be_attribute, std::string_view end_name);
  Target parse_single_target(bool may_be_attribute);
  void check_loop_target(const Target& target) const;

  std::vector<Token> tokens_;
  std::size_t position_ = 0;
  Program& program_;
  std::unordered_map<std::string, int> ids_;
  std::vector<std::string> block_names_;
  int depth_ = 0;
  int num_chain_links_ = 0;  // of the tag being read
  /// Filters and tests that do not exist. Inside an if they may never run, so there they are forgotten again.
  std::vector<Failure> unknown_;
  int num_open_loops_ = 0;
};

/// One level of the parser's own recursion. Throws Failure past a bound that no template of hands comes near.
class ParserDepth {
 public:
  ParserDepth(int& depth, int line);
  ~ParserDepth() { --depth_; }
  ParserDepth(const ParserDepth&) = delete;
  ParserDepth& operator=(const ParserDepth&) = delete;

 private:
  int& depth_;
};

}  // namespace pajamas::jinja
