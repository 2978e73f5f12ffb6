// Which names begin undefined in a body. jinja2 decides for each name and body, before anything runs, where the name is
// read from: one that the body sets, without having read it before and without one of that name around it, is no longer
// looked up among the variables given to the template, not even before it is set nor in the bodies within.
#include <algorithm>
#include <set>

#include "text/jinja/ast.h"
#include "text/jinja/python_text.h"

namespace pajamas::jinja {

namespace {

/// The names of one body, as far as it has been read.
class Names {
 public:
  explicit Names(const Names* outer) : parent_(outer) {}

  void load(int name_id) {
    if (!is_known(name_id)) learn(name_id);
  }
  void declare(int name_id) {
    learn(name_id);
    undefined_.erase(name_id);
  }
  void store(int name_id) {
    if (known_.count(name_id) > 0) return;
    if (parent_ == nullptr || !parent_->is_known(name_id)) undefined_.insert(name_id);
    learn(name_id);
  }
  const std::set<int>& undefined() const { return undefined_; }

  /// Where the body is now, for forget_since().
  std::size_t mark() const { return learnt_.size(); }
  /// Takes back what has been read since then, and gives the names that became known: the way out of a branch.
  std::vector<int> forget_since(std::size_t mark) {
    std::vector<int> names(learnt_.begin() + static_cast<std::ptrdiff_t>(mark), learnt_.end());
    learnt_.resize(mark);
    for (const int name_id : names) {
      known_.erase(name_id);
      undefined_.erase(name_id);
    }
    return names;
  }
  /// Names known after an if, of some branch of it. One that a branch sets is read from outside in the others, so it
  /// does not begin undefined.
  void learn_all(const std::vector<int>& names) {
    for (const int name_id : names) learn(name_id);
  }

 private:
  bool is_known(int name_id) const {
    return known_.count(name_id) > 0 || (parent_ != nullptr && parent_->is_known(name_id));
  }
  void learn(int name_id) {
    if (known_.insert(name_id).second) learnt_.push_back(name_id);
  }

  const Names* parent_;
  std::set<int> known_;      // read or set
  std::set<int> undefined_;  // set before they were read
  std::vector<int> learnt_;  // what is in known_, in order
};

class ScopeAnalysis {
 public:
  explicit ScopeAnalysis(Program& program) : program_(program) {}

  void run() {
    Names names(nullptr);
    read(program_.body, names);
    program_.undefined_names = values_of(names);
    open_bodies(program_.body, names);
  }

 private:
  UndefinedNames values_of(const Names& names) const {
    UndefinedNames values;
    for (const int name_id : names.undefined()) {
      const std::string& name = program_.names[static_cast<std::size_t>(name_id)];
      auto object = std::make_shared<UndefinedObject>(nullptr, repr_of_text(name) + " is undefined");
      values.emplace_back(name_id, Value(Kind::kUndefined, std::move(object)));
    }
    return values;
  }

  // What a body does with names itself, without the bodies that have names of their own.
  static void read(const Body& body, Names& names) {
    for (const auto& statement : body) read(*statement, names);
  }

  static void read(const ExpressionPtr& expression, Names& names) {
    if (expression == nullptr) return;
    if (expression->kind == ExpressionKind::kName) names.load(expression->name_id);
    for (const auto& child : expression->children) read(child, names);
    for (const auto& argument : expression->call.positional) read(argument, names);
    for (const auto& argument : expression->call.named) read(argument.second, names);
    read(expression->call.rest, names);
    read(expression->call.named_rest, names);
  }

  static void read(const Target& target, Names& names) {
    for (const Target& part : target.parts) read(part, names);
    if (target.is_tuple) return;
    if (target.attribute.empty()) {
      names.store(target.name_id);
    } else {
      names.load(target.name_id);
    }
  }

  static void read(const Statement& statement, Names& names) {
    switch (statement.kind) {
      case StatementKind::kOutput:
      case StatementKind::kFor:
      case StatementKind::kCall:
      case StatementKind::kFilter: read(statement.expression, names); break;
      case StatementKind::kSet:
        read(statement.expression, names);
        read(statement.target, names);
        break;
      case StatementKind::kSetBlock: read(statement.target, names); break;
      case StatementKind::kIf: read_if(statement, names); break;
      case StatementKind::kWith:
        for (const auto& expression : statement.expressions) read(expression, names);
        break;
      case StatementKind::kMacro: names.store(statement.name_id); break;
      default: break;
    }
  }

  static void read_if(const Statement& statement, Names& names) {
    std::vector<int> learnt;
    const auto leave = [&](std::size_t mark) {
      const std::vector<int> branch = names.forget_since(mark);
      learnt.insert(learnt.end(), branch.begin(), branch.end());
    };
    read(statement.expressions[0], names);
    const std::size_t mark = names.mark();
    read(statement.branches[0], names);
    leave(mark);
    // The elifs are one branch: each knows what those before it know.
    for (std::size_t i = 1; i < statement.branches.size(); ++i) {
      read(statement.expressions[i], names);
      const std::size_t inner_mark = names.mark();
      read(statement.branches[i], names);
      names.learn_all(names.forget_since(inner_mark));
    }
    leave(mark);
    read(statement.otherwise, names);
    leave(mark);
    names.learn_all(learnt);
  }

  /// Goes into the bodies that have names of their own.
  void open_bodies(Body& body, const Names& names) {
    for (auto& statement : body) open_bodies(*statement, names);
  }

  void open(Body& body, Names& names, UndefinedNames& undefined) {
    read(body, names);
    undefined = values_of(names);
    open_bodies(body, names);
  }

  void declare(const Target& target, Names& names) const {
    for (const Target& part : target.parts) declare(part, names);
    if (!target.is_tuple) names.declare(target.name_id);
  }

  void open_macro(MacroDefinition& macro, const Names& outer) {
    Names names(&outer);
    for (const auto& parameter : macro.parameters) names.declare(parameter.name_id);
    for (const auto& parameter : macro.parameters) read(parameter.fallback, names);
    if (macro.uses_caller) names.declare(program_.caller_id);
    if (macro.uses_kwargs) names.declare(program_.kwargs_id);
    if (macro.uses_varargs) names.declare(program_.varargs_id);
    open(macro.body, names, macro.undefined_names);
  }

  void open_bodies(Statement& statement, const Names& outer) {
    Names names(&outer);
    switch (statement.kind) {
      case StatementKind::kFor: {
        if (statement.uses_loop) names.declare(program_.loop_id);
        declare(statement.target, names);
        open(statement.body, names, statement.undefined_names);
        Names otherwise(&outer);
        open(statement.otherwise, otherwise, statement.otherwise_undefined_names);
        break;
      }
      case StatementKind::kIf:
        for (Body& branch : statement.branches) open_bodies(branch, outer);
        open_bodies(statement.otherwise, outer);
        break;
      case StatementKind::kWith:
        for (const Target& target : statement.targets) declare(target, names);
        open(statement.body, names, statement.undefined_names);
        break;
      case StatementKind::kSetBlock:
      case StatementKind::kFilter: open(statement.body, names, statement.undefined_names); break;
      case StatementKind::kScope: {
        Names alone(nullptr);
        open(statement.body, statement.is_top_level_scope ? alone : names, statement.undefined_names);
        break;
      }
      case StatementKind::kMacro:
      case StatementKind::kCall: open_macro(statement.macro, outer); break;
      default: break;
    }
  }

  Program& program_;
};

}  // namespace

void analyze_scopes(Program& program) { ScopeAnalysis(program).run(); }

}  // namespace pajamas::jinja
