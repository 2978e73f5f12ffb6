// Expressions (parser.h), with the precedence of jinja2: or, and, not, comparisons, + -, ~, * / // %, **, unary, and
// what follows a value.
#include <array>
#include <utility>

#include "text/jinja/parser.h"
#include "text/jinja/python_text.h"

namespace pajamas::jinja {

namespace {
/// A chain of operators, filters or calls nests the tree to the left as brackets do, and chains in brackets add up.
constexpr int kMaxChainLinks = 1000;
}  // namespace

bool is_computed_early(const Expression& expression) {
  const auto is_early = [](const ExpressionPtr& part) { return part == nullptr || is_computed_early(*part); };
  const auto are_early = [&](const std::vector<ExpressionPtr>& parts) {
    return std::all_of(parts.begin(), parts.end(), is_early);
  };
  switch (expression.kind) {
    case ExpressionKind::kName:
    case ExpressionKind::kCall: return false;
    case ExpressionKind::kFilter:
      // These ask for the context, which there is none of yet.
      for (const std::string_view name : {"map", "select", "reject", "selectattr", "rejectattr"}) {
        if (expression.name == name) return false;
      }
      break;
    case ExpressionKind::kConditional:
      if (expression.children[2] == nullptr) return false;
      break;
    default: break;
  }
  const CallArguments& call = expression.call;
  return are_early(expression.children) && are_early(call.positional) && is_early(call.rest) &&
         is_early(call.named_rest) &&
         std::all_of(call.named.begin(), call.named.end(), [&](const auto& named) { return is_early(named.second); });
}

ExpressionPtr Parser::make(ExpressionKind kind, int line) const {
  auto expression = std::make_unique<Expression>();
  expression->kind = kind;
  expression->line = line;
  return expression;
}

ExpressionPtr Parser::make(ExpressionKind kind, int line, ExpressionPtr a, ExpressionPtr b) const {
  ExpressionPtr expression = make(kind, line);
  expression->children.push_back(std::move(a));
  if (b != nullptr) expression->children.push_back(std::move(b));
  return expression;
}

void Parser::count_link() {
  if (++num_chain_links_ > kMaxChainLinks) {
    fail_here("more than " + std::to_string(kMaxChainLinks) + " operators, filters and calls in one tag");
  }
}

ExpressionPtr Parser::parse_expression(bool has_conditional) {
  const ParserDepth guard(depth_, current().line);
  return has_conditional ? parse_conditional() : parse_or();
}

ExpressionPtr Parser::parse_conditional() {
  const int line = current().line;
  const std::size_t num_unknown = unknown_.size();
  ExpressionPtr value = parse_or();
  while (skip_name("if")) {
    count_link();
    ExpressionPtr test = parse_or();
    ExpressionPtr otherwise;
    if (skip_name("else")) otherwise = parse_expression();
    ExpressionPtr whole = make(ExpressionKind::kConditional, line, std::move(value), std::move(test));
    whole->children.push_back(std::move(otherwise));
    value = std::move(whole);
    unknown_.resize(num_unknown);
  }
  return value;
}

ExpressionPtr Parser::parse_or() {
  const int line = current().line;
  ExpressionPtr first = parse_and();
  if (!is_name("or")) return first;
  ExpressionPtr whole = make(ExpressionKind::kOr, line, std::move(first));
  while (skip_name("or")) whole->children.push_back(parse_and());
  return whole;
}

ExpressionPtr Parser::parse_and() {
  const int line = current().line;
  ExpressionPtr first = parse_not();
  if (!is_name("and")) return first;
  ExpressionPtr whole = make(ExpressionKind::kAnd, line, std::move(first));
  while (skip_name("and")) whole->children.push_back(parse_not());
  return whole;
}

ExpressionPtr Parser::parse_not() {
  if (!is_name("not")) return parse_compare();
  const ParserDepth guard(depth_, current().line);
  const int line = advance().line;
  return make(ExpressionKind::kNot, line, parse_not());
}

ExpressionPtr Parser::parse_compare() {
  static constexpr std::array<std::pair<std::string_view, Comparison>, 6> kComparisons = {{
      {"==", Comparison::kEqual},
      {"!=", Comparison::kNotEqual},
      {"<", Comparison::kLess},
      {"<=", Comparison::kLessEqual},
      {">", Comparison::kGreater},
      {">=", Comparison::kGreaterEqual},
  }};
  const int line = current().line;
  ExpressionPtr first = parse_sum();
  std::vector<Comparison> comparisons;
  std::vector<ExpressionPtr> operands;
  while (true) {
    bool is_found = false;
    for (const auto& [symbol, comparison] : kComparisons) {
      if (!is_operator(symbol)) continue;
      advance();
      comparisons.push_back(comparison);
      is_found = true;
      break;
    }
    if (!is_found && skip_name("in")) {
      comparisons.push_back(Comparison::kIn);
      is_found = true;
    } else if (!is_found && is_name("not") && ahead().kind == TokenKind::kName && ahead().text == "in") {
      advance();
      advance();
      comparisons.push_back(Comparison::kNotIn);
      is_found = true;
    }
    if (!is_found) break;
    operands.push_back(parse_sum());
  }
  if (operands.empty()) return first;
  ExpressionPtr whole = make(ExpressionKind::kCompare, line, std::move(first));
  for (ExpressionPtr& operand : operands) whole->children.push_back(std::move(operand));
  whole->comparisons = std::move(comparisons);
  return whole;
}

ExpressionPtr Parser::parse_sum() {
  ExpressionPtr left = parse_concatenation();
  while (is_operator("+") || is_operator("-")) {
    count_link();
    const Operator operation = is_operator("+") ? Operator::kAdd : Operator::kSubtract;
    const int line = advance().line;
    left = make(ExpressionKind::kBinary, line, std::move(left), parse_concatenation());
    left->operation = operation;
  }
  return left;
}

ExpressionPtr Parser::parse_concatenation() {
  const int line = current().line;
  ExpressionPtr first = parse_product();
  if (!is_operator("~")) return first;
  ExpressionPtr whole = make(ExpressionKind::kConcatenate, line, std::move(first));
  while (skip_operator("~")) whole->children.push_back(parse_product());
  return whole;
}

ExpressionPtr Parser::parse_product() {
  ExpressionPtr left = parse_power();
  while (is_operator("*") || is_operator("/") || is_operator("//") || is_operator("%")) {
    count_link();
    const Operator operation = is_operator("*")    ? Operator::kMultiply
                               : is_operator("/")  ? Operator::kDivide
                               : is_operator("//") ? Operator::kFloorDivide
                                                   : Operator::kModulo;
    const int line = advance().line;
    left = make(ExpressionKind::kBinary, line, std::move(left), parse_power());
    left->operation = operation;
  }
  return left;
}

/// jinja2 groups a ** b ** c from the left, unlike Python.
ExpressionPtr Parser::parse_power() {
  ExpressionPtr left = parse_unary();
  while (is_operator("**")) {
    count_link();
    const int line = advance().line;
    left = make(ExpressionKind::kBinary, line, std::move(left), parse_unary());
    left->operation = Operator::kPower;
    left->has_early_operand = is_computed_early(*left->children[0]) && !is_computed_early(*left->children[1]);
  }
  return left;
}

ExpressionPtr Parser::parse_unary(bool has_filters) {
  const ParserDepth guard(depth_, current().line);
  ExpressionPtr value;
  if (is_operator("-") || is_operator("+")) {
    const ExpressionKind kind = is_operator("-") ? ExpressionKind::kNegative : ExpressionKind::kPositive;
    const int line = advance().line;
    value = make(kind, line, parse_unary(false));
  } else {
    value = parse_primary();
  }
  value = parse_postfix(std::move(value));
  return has_filters ? parse_filters_and_tests(std::move(value)) : std::move(value);
}

ExpressionPtr Parser::parse_primary() {
  const Token& token = current();
  ExpressionPtr value;
  switch (token.kind) {
    case TokenKind::kName:
      advance();
      if (token.text == "true" || token.text == "True" || token.text == "false" || token.text == "False") {
        value = make(ExpressionKind::kConstant, token.line);
        value->constant = Value::boolean(token.text == "true" || token.text == "True");
      } else if (token.text == "none" || token.text == "None") {
        value = make(ExpressionKind::kConstant, token.line);
      } else {
        value = make(ExpressionKind::kName, token.line);
        value->name = token.text;
        value->name_id = id_of(token.text);
      }
      return value;
    case TokenKind::kString: {
      std::string text;
      while (current().kind == TokenKind::kString) text += advance().text;
      value = make(ExpressionKind::kConstant, token.line);
      value->constant = constant_text(std::move(text));
      return value;
    }
    case TokenKind::kNumber:
      advance();
      value = make(ExpressionKind::kConstant, token.line);
      value->constant = token.number;
      return value;
    default: break;
  }
  if (is_operator("(")) {
    advance();
    value = parse_tuple(true, {}, true);
    expect_operator(")");
    return value;
  }
  if (is_operator("[")) return parse_list();
  if (is_operator("{")) return parse_dict();
  fail_here("unexpected " + describe(token));
}

bool Parser::is_tuple_end(std::string_view end_name) const {
  return current().kind == TokenKind::kVariableEnd || current().kind == TokenKind::kBlockEnd || is_operator(")") ||
         (!end_name.empty() && is_name(end_name));
}

ExpressionPtr Parser::parse_tuple(bool has_conditional, std::string_view end_name, bool is_in_parentheses) {
  const int line = current().line;
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty()) expect_operator(",");
    if (is_tuple_end(end_name)) break;
    items.push_back(parse_expression(has_conditional));
    if (!is_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) {
    if (!items.empty()) return std::move(items[0]);
    if (!is_in_parentheses) fail_here("expected an expression, got " + describe(current()));
  }
  ExpressionPtr tuple = make(ExpressionKind::kTuple, line);
  tuple->children = std::move(items);
  return tuple;
}

ExpressionPtr Parser::parse_list() {
  ExpressionPtr list = make(ExpressionKind::kList, advance().line);
  while (!is_operator("]")) {
    if (!list->children.empty()) expect_operator(",");
    if (is_operator("]")) break;
    list->children.push_back(parse_expression());
  }
  expect_operator("]");
  return list;
}

ExpressionPtr Parser::parse_dict() {
  ExpressionPtr dict = make(ExpressionKind::kDict, advance().line);
  while (!is_operator("}")) {
    if (!dict->children.empty()) expect_operator(",");
    if (is_operator("}")) break;
    dict->children.push_back(parse_expression());
    expect_operator(":");
    dict->children.push_back(parse_expression());
  }
  expect_operator("}");
  return dict;
}

ExpressionPtr Parser::parse_postfix(ExpressionPtr expression) {
  while (is_operator(".") || is_operator("[") || is_operator("(")) {
    count_link();
    expression = is_operator("(") ? parse_call(std::move(expression)) : parse_subscript(std::move(expression));
  }
  return expression;
}

ExpressionPtr Parser::parse_filters_and_tests(ExpressionPtr expression) {
  while (true) {
    if (is_operator("|")) {
      expression = parse_filter(std::move(expression));  // counts its links itself
    } else if (is_name("is")) {
      count_link();
      expression = parse_test(std::move(expression));
    } else if (is_operator("(")) {
      count_link();
      expression = parse_call(std::move(expression));
    } else {
      return expression;
    }
  }
}

ExpressionPtr Parser::parse_subscript(ExpressionPtr object) {
  const int line = current().line;
  if (skip_operator(".")) {
    const Token& token = advance();
    if (token.kind == TokenKind::kName) {
      ExpressionPtr attribute = make(ExpressionKind::kAttribute, line, std::move(object));
      attribute->name = token.text;
      return attribute;
    }
    if (token.kind != TokenKind::kNumber || !token.number.is_integral()) {
      fail("expected a name or number after '.'", token.line);
    }
    ExpressionPtr key = make(ExpressionKind::kConstant, token.line);
    key->constant = token.number;
    return make(ExpressionKind::kItem, line, std::move(object), std::move(key));
  }
  expect_operator("[");
  std::vector<ExpressionPtr> keys;
  ExpressionPtr slice;
  while (!is_operator("]")) {
    if (!keys.empty() || slice != nullptr) expect_operator(",");
    ExpressionPtr first;
    if (!is_operator(":")) first = parse_expression();
    if (first != nullptr && !is_operator(":")) {
      keys.push_back(std::move(first));
      continue;
    }
    if (slice != nullptr || !keys.empty()) fail_here("a slice among several subscripts is not supported");
    advance();
    slice = make(ExpressionKind::kSlice, line);
    slice->children.push_back(nullptr);  // the object, below
    slice->children.push_back(std::move(first));
    const auto is_end = [&] { return is_operator("]") || is_operator(","); };
    slice->children.push_back(is_operator(":") || is_end() ? nullptr : parse_expression());
    slice->children.push_back(!skip_operator(":") || is_end() ? nullptr : parse_expression());
  }
  expect_operator("]");
  if (slice != nullptr) {
    if (!keys.empty()) fail_here("a slice among several subscripts is not supported");
    slice->children[0] = std::move(object);
    return slice;
  }
  if (keys.size() == 1) return make(ExpressionKind::kItem, line, std::move(object), std::move(keys[0]));
  ExpressionPtr tuple = make(ExpressionKind::kTuple, line);
  tuple->children = std::move(keys);
  return make(ExpressionKind::kItem, line, std::move(object), std::move(tuple));
}

CallArguments Parser::parse_call_arguments() {
  CallArguments arguments;
  const int line = current().line;
  expect_operator("(");
  const auto require = [&](bool is_valid) {
    if (!is_valid) fail("invalid order of arguments in a call", line);
  };
  bool needs_comma = false;
  while (!is_operator(")")) {
    if (needs_comma) {
      expect_operator(",");
      if (is_operator(")")) break;
    }
    needs_comma = true;
    if (is_operator("*")) {
      require(arguments.rest == nullptr && arguments.named_rest == nullptr);
      advance();
      arguments.rest = parse_expression();
    } else if (is_operator("**")) {
      require(arguments.named_rest == nullptr);
      advance();
      arguments.named_rest = parse_expression();
    } else if (current().kind == TokenKind::kName && ahead().kind == TokenKind::kOperator && ahead().text == "=") {
      require(arguments.named_rest == nullptr);
      std::string name = advance().text;
      advance();
      for (const auto& [other, value] : arguments.named) {
        if (other == name) fail("keyword argument repeated: " + name, line);
      }
      arguments.named.emplace_back(std::move(name), parse_expression());
    } else {
      require(arguments.rest == nullptr && arguments.named_rest == nullptr && arguments.named.empty());
      arguments.positional.push_back(parse_expression());
    }
  }
  expect_operator(")");
  return arguments;
}

ExpressionPtr Parser::parse_call(ExpressionPtr function) {
  ExpressionPtr call = make(ExpressionKind::kCall, current().line, std::move(function));
  call->call = parse_call_arguments();
  return call;
}

ExpressionPtr Parser::parse_filter(ExpressionPtr input, bool is_name_next) {
  while (is_name_next || is_operator("|")) {
    if (!is_name_next) advance();
    is_name_next = false;
    count_link();
    const int line = current().line;
    std::string name = expect_any_name();
    while (skip_operator(".")) name += "." + expect_any_name();
    if (!is_filter(name)) unknown_.push_back({"no filter named " + repr_of_text(name), line});
    ExpressionPtr filter = make(ExpressionKind::kFilter, line);
    filter->children.push_back(std::move(input));
    filter->name = std::move(name);
    if (is_operator("(")) filter->call = parse_call_arguments();
    input = std::move(filter);
  }
  return input;
}

ExpressionPtr Parser::parse_test(ExpressionPtr input) {
  const int line = advance().line;  // is
  const bool is_negated = skip_name("not");
  std::string name = expect_any_name();
  while (skip_operator(".")) name += "." + expect_any_name();
  if (!is_test(name)) unknown_.push_back({"no test named " + repr_of_text(name), line});
  ExpressionPtr test = make(ExpressionKind::kTest, line, std::move(input));
  test->name = std::move(name);
  const TokenKind kind = current().kind;
  if (is_operator("(")) {
    test->call = parse_call_arguments();
  } else if ((kind == TokenKind::kName || kind == TokenKind::kString || kind == TokenKind::kNumber ||
              is_operator("[") || is_operator("{")) &&
             !is_name("else") && !is_name("or") && !is_name("and")) {
    if (is_name("is")) fail_here("tests cannot be chained with is");
    test->call.positional.push_back(parse_postfix(parse_primary()));
  }
  return is_negated ? make(ExpressionKind::kNot, line, std::move(test)) : std::move(test);
}

}  // namespace pajamas::jinja
