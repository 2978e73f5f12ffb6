// See interpreter.h. Calls, macros and loop variables are in interpreter_calls.cpp.
#include "text/jinja/interpreter.h"

#include <utility>

#include "text/jinja/printing.h"
#include "text/jinja/python_text.h"

namespace pajamas::jinja {

namespace {

/// The items of a loop that its `if` lets through.
class FilteredIterator final : public Iterator {
 public:
  FilteredIterator(Budget* budget, std::shared_ptr<Iterator> source, const Statement& loop, ScopePtr scope)
      : Iterator(budget, source->extent().around()),
        source_(std::move(source)),
        loop_(loop),
        scope_(std::move(scope)) {}

  bool next(Runtime& runtime, Value& value) override {
    while (source_->next(runtime, value)) {
      if (static_cast<Interpreter&>(runtime).is_item_wanted(loop_, scope_, value)) return true;
    }
    return false;
  }
  void clear() override { scope_.reset(); }

 private:
  std::shared_ptr<Iterator> source_;
  const Statement& loop_;
  ScopePtr scope_;
};

}  // namespace

const Value* Scope::find(int name_id) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent.get()) {
    for (const auto& variable : scope->variables) {
      if (variable.first == name_id) return &variable.second;
    }
  }
  return nullptr;
}

void Scope::set(int name_id, Value value) {
  for (auto& variable : variables) {
    if (variable.first == name_id) {
      variable.second = std::move(value);
      return;
    }
  }
  variables.emplace_back(name_id, std::move(value));
}

void Output::write(std::string_view text) {
  budget_.check_text(text_.size() + text.size());
  budget_.allocate(text.size());
  charged_ += text.size();
  text_ += text;
}

std::string Output::take() {
  budget_.release(std::exchange(charged_, 0));
  return std::move(text_);
}

Interpreter::Interpreter(const Program& program, Budget& budget, Clock clock)
    : Runtime(budget), program_(program), clock_(std::move(clock)) {}

Interpreter::~Interpreter() {
  // Namespaces, macros and loops may hold each other in rings.
  for (const auto& object : kept_) object->clear();
}

void Interpreter::set_variable(std::string_view name, Value value) { variables_[std::string(name)] = std::move(value); }

void Interpreter::keep(std::shared_ptr<Object> object) { kept_.push_back(std::move(object)); }

std::chrono::system_clock::time_point Interpreter::now() {
  return clock_ ? clock_() : std::chrono::system_clock::now();
}

std::string Interpreter::run() {
  try {
    context_.reserve(program_.names.size());
    for (const std::string& name : program_.names) {
      const auto found = variables_.find(name);
      if (found != variables_.end()) {
        context_.emplace_back(true, found->second);
      } else if (const auto global = find_global(name)) {
        context_.emplace_back(true, function(name, global));
      } else {
        context_.emplace_back(false, Value());
      }
    }
    top_scope_ = std::make_shared<Scope>(nullptr, program_.undefined_names);
    Output out(budget());
    execute(program_.body, top_scope_, out);
    return out.take();
  } catch (Failure& failure) {
    if (failure.line == 0) failure.line = line_;
    throw;
  }
}

Interpreter::Flow Interpreter::execute(const Body& body, const ScopePtr& scope, Output& out) {
  for (const auto& statement : body) {
    line_ = statement->line;
    const Flow flow = execute(*statement, scope, out);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute(const Statement& statement, const ScopePtr& scope, Output& out) {
  const DepthGuard guard(budget());
  budget().step();
  switch (statement.kind) {
    case StatementKind::kText: out.write(statement.text); return Flow::kNormal;
    case StatementKind::kOutput: {
      const Value value = evaluate(*statement.expression, scope);
      if (value.is_string()) {
        out.write(value.text());
      } else {
        out.write(text_of(*this, value));
      }
      return Flow::kNormal;
    }
    case StatementKind::kSet:
      assign(statement.target, scope, evaluate(*statement.expression, scope));
      return Flow::kNormal;
    case StatementKind::kSetBlock: {
      Output inner(budget());
      const Flow flow = execute(statement.body, std::make_shared<Scope>(scope, statement.undefined_names), inner);
      if (flow != Flow::kNormal) return flow;
      Value value = text(inner.take());
      if (statement.expression != nullptr) value = apply_filters(*statement.expression, scope, value);
      assign(statement.target, scope, std::move(value));
      return Flow::kNormal;
    }
    case StatementKind::kFor: {
      const Value iterable = evaluate(*statement.expression, scope);
      if (!statement.is_recursive) return execute_for(statement, scope, out, iterable, 0);
      Output inner(budget());
      execute_for(statement, scope, inner, iterable, 0);
      out.write(inner.text());
      return Flow::kNormal;
    }
    case StatementKind::kIf: return execute_branches(statement, scope, out);
    case StatementKind::kWith: {
      Flow flow = Flow::kNormal;
      execute_with(statement, scope, out, flow);
      return flow;
    }
    case StatementKind::kMacro: {
      auto macro = make<MacroObject>(statement.macro, scope);
      keep(macro);
      scope->set(statement.name_id, {Kind::kOther, std::move(macro)});
      return Flow::kNormal;
    }
    case StatementKind::kCall: {
      auto macro = make<MacroObject>(statement.macro, scope);
      keep(macro);
      const Value caller(Kind::kOther, std::move(macro));
      out.write(text_of(*this, evaluate_call(*statement.expression, scope, &caller)));
      return Flow::kNormal;
    }
    case StatementKind::kFilter: {
      Output inner(budget());
      const Flow flow = execute(statement.body, std::make_shared<Scope>(scope, statement.undefined_names), inner);
      if (flow != Flow::kNormal) return flow;
      out.write(text_of(*this, apply_filters(*statement.expression, scope, text(inner.take()))));
      return Flow::kNormal;
    }
    case StatementKind::kScope:
      execute(statement.body,
              std::make_shared<Scope>(statement.is_top_level_scope ? top_scope_ : scope, statement.undefined_names),
              out);
      return Flow::kNormal;
    case StatementKind::kBreak: return Flow::kBreak;
    case StatementKind::kContinue: return Flow::kContinue;
    case StatementKind::kUnavailable: fail(statement.text);
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute_branches(const Statement& statement, const ScopePtr& scope, Output& out) {
  for (std::size_t i = 0; i < statement.expressions.size(); ++i) {
    if (is_true(evaluate(*statement.expressions[i], scope))) return execute(statement.branches[i], scope, out);
  }
  return execute(statement.otherwise, scope, out);
}

void Interpreter::execute_with(const Statement& statement, const ScopePtr& scope, Output& out, Flow& flow) {
  const auto inner = std::make_shared<Scope>(scope, statement.undefined_names);
  for (std::size_t i = 0; i < statement.targets.size(); ++i) {
    assign(statement.targets[i], inner, evaluate(*statement.expressions[i], scope));
  }
  flow = execute(statement.body, inner, out);
}

bool Interpreter::is_item_wanted(const Statement& loop, const ScopePtr& outer, Value& item) {
  const auto scope = std::make_shared<Scope>(outer);
  assign(loop.target, scope, item);
  // What goes on to the loop is the names taken together again, a tuple even where the item was none.
  if (loop.target.is_tuple) item = value_of_target(loop.target, scope);
  return is_true(evaluate(*loop.test, scope));
}

Value Interpreter::value_of_target(const Target& target, const ScopePtr& scope) {
  if (!target.is_tuple) return *scope->find(target.name_id);
  std::vector<Value> parts;
  for (const Target& part : target.parts) parts.push_back(value_of_target(part, scope));
  return tuple(std::move(parts));
}

Interpreter::Flow Interpreter::execute_for(const Statement& statement, const ScopePtr& scope, Output& out,
                                           const Value& iterable, int depth0) {
  std::shared_ptr<Iterator> iterator = iterate(*this, iterable);
  if (statement.test != nullptr) {
    iterator = make<FilteredIterator>(std::move(iterator), statement, scope);
    keep(iterator);
  }
  std::shared_ptr<LoopObject> loop;
  Value loop_value;
  if (statement.uses_loop) {
    loop = make<LoopObject>(statement, scope, iterable, depth0);
    loop->iterator = iterator;
    loop->is_filtered = statement.test != nullptr;
    keep(loop);
    loop_value = {Kind::kOther, loop};
  }
  bool is_body_done = false;  // as jinja2 has it: a break or continue in the first round leaves the else to run
  while (true) {
    Value item;
    if (loop != nullptr) {
      if (!loop->next(*this)) break;
      item = loop->current;
    } else if (!iterator->next(*this, item)) {
      break;
    }
    const auto inner = std::make_shared<Scope>(scope, statement.undefined_names);
    assign(statement.target, inner, std::move(item));
    if (loop != nullptr) inner->set(program_.loop_id, loop_value);
    const Flow flow = execute(statement.body, inner, out);
    if (flow == Flow::kBreak) break;
    if (flow == Flow::kNormal) is_body_done = true;
    line_ = statement.line;
  }
  if (!is_body_done && !statement.otherwise.empty()) {
    return execute(statement.otherwise, std::make_shared<Scope>(scope, statement.otherwise_undefined_names), out);
  }
  return Flow::kNormal;
}

void Interpreter::assign(const Target& target, const ScopePtr& scope, Value value) {
  if (target.is_tuple) {
    if (!is_iterable(value)) fail(std::string("cannot unpack non-iterable ") + value.type_name() + " object");
    const std::vector<Value> items = items_of(*this, value);
    if (items.size() != target.parts.size()) {
      fail((items.size() < target.parts.size() ? "not enough values to unpack (expected "
                                               : "too many values to unpack (expected ") +
           std::to_string(target.parts.size()) + ", got " + std::to_string(items.size()) + ")");
    }
    for (std::size_t i = 0; i < items.size(); ++i) assign(target.parts[i], scope, items[i]);
    return;
  }
  if (target.attribute.empty()) {
    scope->set(target.name_id, std::move(value));
    return;
  }
  const Value* found = scope->find(target.name_id);
  const auto& outer = context_[static_cast<std::size_t>(target.name_id)];
  if (found == nullptr && outer.first) found = &outer.second;
  auto* space = found != nullptr ? object_as<NamespaceObject>(*found) : nullptr;
  if (space == nullptr) {
    fail("cannot assign attribute on non-namespace object " +
         repr_of_text(program_.names[static_cast<std::size_t>(target.name_id)]));
  }
  if (target.attribute.starts_with("_")) {
    fail("chat templates cannot store underscore-prefixed attributes on a namespace, but got " +
         repr_of_text(target.attribute));
  }
  space->set(text(target.attribute), std::move(value));
}

Value Interpreter::evaluate(const Expression& expression, const ScopePtr& scope) {
  const DepthGuard guard(budget());
  budget().step();
  const auto child = [&](std::size_t i) { return evaluate(*expression.children[i], scope); };
  switch (expression.kind) {
    case ExpressionKind::kConstant: return expression.constant;
    case ExpressionKind::kName: return evaluate_name(expression, scope);
    case ExpressionKind::kTuple: return tuple(evaluate_all(expression.children, scope));
    case ExpressionKind::kList: return list(evaluate_all(expression.children, scope));
    case ExpressionKind::kDict: {
      Dict entries;
      for (std::size_t i = 0; i < expression.children.size(); i += 2) {
        Value key = child(i);
        entries.set(std::move(key), child(i + 1));
      }
      return dict(std::move(entries));
    }
    case ExpressionKind::kAttribute: {
      const Value object = child(0);
      line_ = expression.line;
      return get_attribute(*this, object, expression.name);
    }
    case ExpressionKind::kItem: {
      const Value object = child(0);
      const Value key = child(1);
      line_ = expression.line;
      return get_item(*this, object, key);
    }
    case ExpressionKind::kSlice: return evaluate_slice(expression, scope);
    case ExpressionKind::kCall: return evaluate_call(expression, scope, nullptr);
    case ExpressionKind::kFilter: {
      const Value input = child(0);
      const Arguments arguments = evaluate_arguments(expression.call, scope);
      line_ = expression.line;
      return call_filter(expression.name, input, arguments);
    }
    case ExpressionKind::kTest: {
      const Value input = child(0);
      const Arguments arguments = evaluate_arguments(expression.call, scope);
      line_ = expression.line;
      return Value::boolean(call_test(expression.name, input, arguments));
    }
    case ExpressionKind::kNegative: return negated(child(0));
    case ExpressionKind::kPositive: return unary_plus(child(0));
    case ExpressionKind::kNot: return Value::boolean(!is_true(child(0)));
    case ExpressionKind::kAnd:
    case ExpressionKind::kOr: {
      const bool is_or = expression.kind == ExpressionKind::kOr;
      Value value;
      for (std::size_t i = 0; i < expression.children.size(); ++i) {
        value = child(i);
        if (is_true(value) == is_or) break;
      }
      return value;
    }
    case ExpressionKind::kBinary: {
      const Value left = child(0);
      const Value right = child(1);
      line_ = expression.line;
      if (expression.has_early_operand) return evaluate_power(left, right);
      return calculate(*this, expression.operation, left, right);
    }
    case ExpressionKind::kConcatenate: return evaluate_concatenation(expression, scope);
    case ExpressionKind::kCompare: return evaluate_compare(expression, scope);
    case ExpressionKind::kConditional:
      if (is_true(child(1))) return child(0);
      if (expression.children[2] != nullptr) return child(2);
      return undefined("the inline if-expression on line " + std::to_string(expression.line) +
                       " evaluated to false and no else section was defined.");
  }
  return {};
}

Value Interpreter::evaluate_name(const Expression& expression, const ScopePtr& scope) {
  if (const Value* found = scope->find(expression.name_id)) return *found;
  const auto& outer = context_[static_cast<std::size_t>(expression.name_id)];
  if (outer.first) return outer.second;
  return undefined(repr_of_text(expression.name) + " is undefined");
}

Value Interpreter::evaluate_slice(const Expression& expression, const ScopePtr& scope) {
  const Value object = evaluate(*expression.children[0], scope);
  Value bounds[3];
  for (std::size_t i = 0; i < 3; ++i) {
    if (expression.children[i + 1] != nullptr) bounds[i] = evaluate(*expression.children[i + 1], scope);
  }
  line_ = expression.line;
  return get_slice(*this, object, bounds[0], bounds[1], bounds[2]);
}

/// jinja2 writes a constant it has computed into its Python as it prints, and -2 ** x is -(2 ** x) there.
Value Interpreter::evaluate_power(const Value& base, const Value& exponent) {
  const bool is_negative = base.kind() == Kind::kInt ? base.as_int() < 0 : base.is_number() && base.as_real() < 0;
  if (!is_negative) return calculate(*this, Operator::kPower, base, exponent);
  return negated(calculate(*this, Operator::kPower, negated(base), exponent));
}

Value Interpreter::evaluate_compare(const Expression& expression, const ScopePtr& scope) {
  Value left = evaluate(*expression.children[0], scope);
  for (std::size_t i = 0; i < expression.comparisons.size(); ++i) {
    Value right = evaluate(*expression.children[i + 1], scope);
    line_ = expression.line;
    if (!compare(*this, expression.comparisons[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::evaluate_concatenation(const Expression& expression, const ScopePtr& scope) {
  std::string result;
  for (const auto& part : expression.children) append_text(*this, result, evaluate(*part, scope));
  return text(std::move(result));
}

std::vector<Value> Interpreter::evaluate_all(const std::vector<ExpressionPtr>& expressions, const ScopePtr& scope) {
  std::vector<Value> values;
  values.reserve(expressions.size());
  for (const auto& expression : expressions) values.push_back(evaluate(*expression, scope));
  return values;
}

Arguments Interpreter::evaluate_arguments(const CallArguments& call, const ScopePtr& scope) {
  Arguments arguments;
  arguments.positional = evaluate_all(call.positional, scope);
  for (const auto& [name, value] : call.named) arguments.named.emplace_back(name, evaluate(*value, scope));
  if (call.rest != nullptr) {
    for (Value& value : items_of(*this, evaluate(*call.rest, scope))) arguments.positional.push_back(std::move(value));
  }
  if (call.named_rest != nullptr) {
    const Value rest = evaluate(*call.named_rest, scope);
    if (!rest.is_dict()) fail(std::string("argument after ** must be a mapping, not ") + rest.type_name());
    for (const auto& entry : rest.dict().entries()) {
      if (!entry.first.is_string()) fail("keywords must be strings");
      for (const auto& named : arguments.named) {
        if (named.first == entry.first.text()) fail("got multiple values for keyword argument '" + named.first + "'");
      }
      arguments.named.emplace_back(entry.first.text(), entry.second);
    }
  }
  return arguments;
}

Value Interpreter::apply_filters(const Expression& filters, const ScopePtr& scope, const Value& input) {
  const DepthGuard guard(budget());
  const Value inner = filters.children[0] == nullptr ? input : apply_filters(*filters.children[0], scope, input);
  const Arguments arguments = evaluate_arguments(filters.call, scope);
  line_ = filters.line;
  return call_filter(filters.name, inner, arguments);
}

}  // namespace pajamas::jinja
