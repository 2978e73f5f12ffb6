// A template as a tree: what the parser makes and the interpreter walks. Immutable once parsed; shared by all threads.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/operations.h"
#include "text/jinja/value.h"

namespace pajamas::jinja {

enum class ExpressionKind {
  kConstant,     // constant
  kName,         // name_id, name
  kTuple,        // children
  kList,         // children
  kDict,         // children: key, value, key, value ...
  kAttribute,    // children[0], name
  kItem,         // children[0], children[1]
  kSlice,        // children[0], then start, stop, step, null where left out
  kCall,         // children[0] called with call
  kFilter,       // children[0] (null in a filter block), name, call
  kTest,         // children[0], name, call
  kNegative,     // children[0]
  kPositive,     // children[0]
  kNot,          // children[0]
  kAnd,          // children
  kOr,           // children
  kBinary,       // operation; children[0], children[1]
  kConcatenate,  // children
  kCompare,      // children[0] comparisons[0] children[1] comparisons[1] children[2] ...
  kConditional,  // children[0] if children[1] else children[2], null where left out
};

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

/// The arguments of a call: f(positional, name=named, *rest, **named_rest).
struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr rest;
  ExpressionPtr named_rest;
};

struct Expression {
  ExpressionKind kind = ExpressionKind::kConstant;
  int line = 0;
  Value constant;
  int name_id = -1;
  std::string name;
  bool has_early_operand = false;  // of a power: the base is computed early, the exponent is not
  Operator operation = Operator::kAdd;
  std::vector<Comparison> comparisons;
  std::vector<ExpressionPtr> children;
  CallArguments call;
};

/// Whether jinja2 computes the expression when it compiles the template: it holds no names and no calls. It shows in
/// powers: see Interpreter::evaluate_power.
bool is_computed_early(const Expression& expression);

/// What a value is bound to: a name, an attribute of a namespace, or several of them.
struct Target {
  int line = 0;
  int name_id = -1;       // of the name, or of the namespace
  std::string attribute;  // empty: the name itself
  bool is_tuple = false;
  std::vector<Target> parts;
};

enum class StatementKind {
  kText,      // text
  kOutput,    // expression
  kSet,       // target, expression
  kSetBlock,  // target, expression (the filters, may be null), body
  kFor,       // target, expression, test (may be null), is_recursive, uses_loop, body, otherwise
  kIf,        // expressions[i] decides for branches[i]; otherwise
  kWith,      // targets, expressions, body
  kMacro,     // name_id, macro
  kCall,      // expression (a call), macro
  kFilter,    // expression (the filters), body
  kScope,     // body in a scope of its own that break and continue do not leave ({% generation %}, {% block %})
  kBreak,
  kContinue,
  kUnavailable  // text: what cannot be done here (include, import, extends)
};

/// Names that begin undefined in a body (scope_analysis.cpp), by name_id, and the value they begin with.
using UndefinedNames = std::vector<std::pair<int, Value>>;

struct Statement;
using Body = std::vector<std::unique_ptr<Statement>>;

/// What a macro or the body of a call takes and does.
struct MacroDefinition {
  std::string name;
  struct Parameter {
    int name_id;
    std::string name;
    ExpressionPtr fallback;  // null: none
  };
  std::vector<Parameter> parameters;
  bool uses_caller = false;
  bool uses_kwargs = false;
  bool uses_varargs = false;
  UndefinedNames undefined_names;
  Body body;
};

struct Statement {
  StatementKind kind = StatementKind::kText;
  int line = 0;
  std::string text;
  ExpressionPtr expression;
  ExpressionPtr test;
  Target target;
  std::vector<Target> targets;
  std::vector<ExpressionPtr> expressions;
  bool is_recursive = false;
  bool uses_loop = false;
  bool is_top_level_scope = false;  // kScope: a block, which sees only what the template itself has set
  int name_id = -1;
  MacroDefinition macro;
  Body body;
  std::vector<Body> branches;
  Body otherwise;
  UndefinedNames undefined_names;            // in body
  UndefinedNames otherwise_undefined_names;  // in otherwise of a kFor
};

/// A parsed template.
class Program {
 public:
  std::vector<std::string> names;  // by name_id
  int loop_id = -1;
  int caller_id = -1;
  int kwargs_id = -1;
  int varargs_id = -1;
  UndefinedNames undefined_names;
  Body body;
};

/// Whether the filter or test exists (filters.cpp, tests.cpp).
bool is_filter(std::string_view name);
bool is_test(std::string_view name);

/// Fills in the undefined_names (scope_analysis.cpp).
void analyze_scopes(Program& program);

/// Throws Failure with the line. `source` is valid UTF-8.
std::shared_ptr<const Program> parse_program(std::string_view source);

}  // namespace pajamas::jinja
