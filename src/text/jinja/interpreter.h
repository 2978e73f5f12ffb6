// Runs a program: statements write text, expressions give values. One object a rendering; not thread-safe. Filters and
// tests are tables (filters.h), values and what they can do are operations.h.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/runtime.h"

namespace pajamas::jinja {

/// Names set within one body, inside those around it.
struct Scope {
  explicit Scope(std::shared_ptr<Scope> outer, const UndefinedNames& undefined_names = {})
      : parent(std::move(outer)), variables(undefined_names) {}
  const Value* find(int name_id) const;
  void set(int name_id, Value value);

  std::shared_ptr<Scope> parent;
  std::vector<std::pair<int, Value>> variables;
};
using ScopePtr = std::shared_ptr<Scope>;

/// Text being written, charged to the budget while it lives.
class Output {
 public:
  explicit Output(Budget& budget) : budget_(budget) {}
  ~Output() { budget_.release(charged_); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void write(std::string_view text);
  const std::string& text() const { return text_; }
  std::string take();

 private:
  Budget& budget_;
  std::string text_;
  std::size_t charged_ = 0;
};

class MacroObject final : public Object {
 public:
  MacroObject(Budget* budget, const MacroDefinition& macro, ScopePtr outer)
      : Object(budget, sizeof(*this)), definition(macro), closure(std::move(outer)) {}
  const char* type_name() const override { return "Macro"; }
  void clear() override { closure.reset(); }
  const MacroDefinition& definition;
  ScopePtr closure;
};

/// The variable `loop` of a loop, which looks one item ahead.
class LoopObject final : public Object {
 public:
  LoopObject(Budget* budget, const Statement& statement, ScopePtr outer, Value over, int loop_depth)
      : Object(budget, sizeof(*this)),
        definition(statement),
        closure(std::move(outer)),
        iterable(std::move(over)),
        depth0(loop_depth) {}
  const char* type_name() const override { return "LoopContext"; }
  void clear() override;

  bool next(Runtime& runtime);
  bool peek(Runtime& runtime);
  Int length(Runtime& runtime);

  const Statement& definition;
  ScopePtr closure;
  Value iterable;
  std::shared_ptr<Iterator> iterator;
  int depth0;
  Int index0 = -1;
  bool has_previous = false, has_current = false, has_following = false, has_last_changed = false;
  bool is_filtered = false;
  Int known_length = -1;
  Value previous, current, following, last_changed;
};

class Interpreter final : public Runtime {
 public:
  using Clock = std::function<std::chrono::system_clock::time_point()>;

  Interpreter(const Program& program, Budget& budget, Clock clock);
  ~Interpreter() override;

  /// Gives a variable to the template, before run().
  void set_variable(std::string_view name, Value value);
  /// Throws Failure with the line.
  std::string run();

  void keep(std::shared_ptr<Object> object) override;
  Value call(const Value& function, const Arguments& arguments) override;
  Value call_filter(std::string_view name, const Value& value, const Arguments& arguments) override;
  bool call_test(std::string_view name, const Value& value, const Arguments& arguments) override;
  bool object_attribute(const Value& object, std::string_view name, Value& result) override;
  std::string describe(const Value& object) override;
  std::chrono::system_clock::time_point now() override;

  /// Evaluates the condition of a filtered loop for one item, which becomes what the loop gets of it.
  bool is_item_wanted(const Statement& loop, const ScopePtr& outer, Value& item);

 private:
  enum class Flow { kNormal, kBreak, kContinue };

  Flow execute(const Body& body, const ScopePtr& scope, Output& out);
  Flow execute(const Statement& statement, const ScopePtr& scope, Output& out);
  Flow execute_for(const Statement& statement, const ScopePtr& scope, Output& out, const Value& iterable, int depth0);
  Flow execute_branches(const Statement& statement, const ScopePtr& scope, Output& out);
  void execute_with(const Statement& statement, const ScopePtr& scope, Output& out, Flow& flow);
  void assign(const Target& target, const ScopePtr& scope, Value value);

  Value evaluate(const Expression& expression, const ScopePtr& scope);
  Value evaluate_name(const Expression& expression, const ScopePtr& scope);
  Value evaluate_slice(const Expression& expression, const ScopePtr& scope);
  Value evaluate_power(const Value& base, const Value& exponent);
  Value value_of_target(const Target& target, const ScopePtr& scope);
  Value evaluate_compare(const Expression& expression, const ScopePtr& scope);
  Value evaluate_call(const Expression& expression, const ScopePtr& scope, const Value* caller);
  Value evaluate_concatenation(const Expression& expression, const ScopePtr& scope);
  std::vector<Value> evaluate_all(const std::vector<ExpressionPtr>& expressions, const ScopePtr& scope);
  Arguments evaluate_arguments(const CallArguments& call, const ScopePtr& scope);
  /// The filters of a block, innermost first, on the text of its body.
  Value apply_filters(const Expression& filters, const ScopePtr& scope, const Value& input);

  Value call_macro(MacroObject& macro, const Arguments& arguments);
  Value call_loop(LoopObject& loop, const Arguments& arguments);
  bool loop_attribute(LoopObject& loop, const Value& self, std::string_view name, Value& result);

  const Program& program_;
  Clock clock_;
  std::unordered_map<std::string, Value> variables_;
  std::vector<std::pair<bool, Value>> context_;  // by name_id: whether there is one, and which
  std::vector<std::shared_ptr<Object>> kept_;
  ScopePtr top_scope_;
  int line_ = 0;
};

/// The functions every template can call (globals.cpp): range, dict, namespace, cycler, joiner, raise_exception,
/// strftime_now. Null where there is none of that name.
FunctionObject::Function find_global(std::string_view name);

}  // namespace pajamas::jinja
