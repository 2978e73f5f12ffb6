// Calls of macros, loops and functions, and the attributes of what has state (interpreter.h).
#include <algorithm>
#include <utility>

#include "text/jinja/filters.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/numbers.h"
#include "text/jinja/printing.h"
#include "text/jinja/python_text.h"

namespace pajamas::jinja {

namespace {

Value loop_cycle(Runtime&, const Value& self, const Arguments& arguments) {
  const auto* loop = object_as<LoopObject>(self);
  if (!arguments.named.empty()) fail("cycle() takes no keyword arguments");
  if (arguments.positional.empty()) fail("no items for cycling given");
  return arguments.positional[static_cast<std::size_t>(loop->index0) % arguments.positional.size()];
}

Value loop_changed(Runtime& runtime, const Value& self, const Arguments& arguments) {
  auto* loop = object_as<LoopObject>(self);
  if (!arguments.named.empty()) fail("changed() takes no keyword arguments");
  Value values = runtime.tuple(arguments.positional);
  if (loop->has_last_changed && compare(runtime, Comparison::kEqual, loop->last_changed, values)) {
    return Value::boolean(false);
  }
  loop->has_last_changed = true;
  loop->last_changed = std::move(values);
  return Value::boolean(true);
}

Value cycler_next(Runtime&, const Value& self, const Arguments& arguments) {
  bind_positional("next", arguments, 0, 0);
  auto* cycler = object_as<CyclerObject>(self);
  return cycler->items[std::exchange(cycler->position, (cycler->position + 1) % cycler->items.size())];
}

Value cycler_reset(Runtime&, const Value& self, const Arguments& arguments) {
  bind_positional("reset", arguments, 0, 0);
  object_as<CyclerObject>(self)->position = 0;
  return {};
}

}  // namespace

void LoopObject::clear() {
  closure.reset();
  iterator.reset();
  iterable = previous = current = following = last_changed = Value();
}

bool LoopObject::peek(Runtime& runtime) {
  if (!has_following) has_following = iterator->next(runtime, following);
  return has_following;
}

bool LoopObject::next(Runtime& runtime) {
  if (!peek(runtime)) return false;
  has_following = false;
  ++index0;
  has_previous = has_current;
  previous = std::move(current);
  current = std::move(following);
  has_current = true;
  following = Value();
  return true;
}

Int LoopObject::length(Runtime& runtime) {
  if (known_length >= 0) return known_length;
  if (!is_filtered) {
    if (const auto count = length_of(runtime, iterable)) return known_length = static_cast<Int>(*count);
  }
  // A generator: what is left of it is taken now.
  std::vector<Value> rest;
  if (peek(runtime)) rest.push_back(following);
  for (Value item; has_following && iterator->next(runtime, item);) rest.push_back(item);
  has_following = false;
  known_length = index0 + 1 + static_cast<Int>(rest.size());
  iterator = iterate_items(runtime, std::move(rest));
  return known_length;
}

Value Interpreter::evaluate_call(const Expression& expression, const ScopePtr& scope, const Value* caller) {
  const Value function = evaluate(*expression.children[0], scope);
  Arguments arguments = evaluate_arguments(expression.call, scope);
  if (caller != nullptr) {
    for (const auto& named : arguments.named) {
      if (named.first == "caller") fail("got multiple values for keyword argument 'caller'");
    }
    arguments.named.emplace_back("caller", *caller);
  }
  line_ = expression.line;
  return call(function, arguments);
}

Value Interpreter::call(const Value& function, const Arguments& arguments) {
  if (function.is_undefined()) fail_undefined(function);
  if (const auto* code = object_as<FunctionObject>(function)) return code->function(*this, code->self, arguments);
  if (auto* macro = object_as<MacroObject>(function)) return call_macro(*macro, arguments);
  if (auto* loop = object_as<LoopObject>(function)) return call_loop(*loop, arguments);
  if (auto* joiner = object_as<JoinerObject>(function)) {
    bind_positional("joiner", arguments, 0, 0);
    return std::exchange(joiner->is_used, true) ? joiner->separator : text("");
  }
  fail(std::string("'") + function.type_name() + "' object is not callable");
}

Value Interpreter::call_macro(MacroObject& macro, const Arguments& arguments) {
  const DepthGuard guard(budget());
  const MacroDefinition& definition = macro.definition;
  const std::string title = "macro " + (definition.name.empty() ? std::string("None") : repr_of_text(definition.name));
  const auto scope = std::make_shared<Scope>(macro.closure, definition.undefined_names);
  std::vector<std::pair<std::string, Value>> named = arguments.named;
  const auto take_named = [&](std::string_view name, Value& value) {
    const auto found = std::find_if(named.begin(), named.end(), [&](const auto& entry) { return entry.first == name; });
    if (found == named.end()) return false;
    value = std::move(found->second);
    named.erase(found);
    return true;
  };
  const std::size_t num_positional = std::min(arguments.positional.size(), definition.parameters.size());
  std::vector<const MacroDefinition::Parameter*> missing;
  bool is_caller_given = false;
  for (std::size_t i = 0; i < definition.parameters.size(); ++i) {
    const auto& parameter = definition.parameters[i];
    if (parameter.name == "caller") is_caller_given = true;
    Value value;
    if (i < num_positional) {
      scope->set(parameter.name_id, arguments.positional[i]);
    } else if (take_named(parameter.name, value)) {
      scope->set(parameter.name_id, std::move(value));
    } else {
      missing.push_back(&parameter);
    }
  }
  if (definition.uses_caller && !is_caller_given) {
    Value caller;
    if (!take_named("caller", caller) || caller.is_none()) caller = undefined("No caller defined");
    scope->set(program_.caller_id, std::move(caller));
  }
  if (definition.uses_kwargs) {
    Dict rest;
    for (auto& [name, value] : named) rest.set(text(name), std::move(value));
    scope->set(program_.kwargs_id, dict(std::move(rest)));
  } else if (!named.empty()) {
    fail(title + " takes no keyword argument " + repr_of_text(named.front().first));
  }
  if (definition.uses_varargs) {
    scope->set(program_.varargs_id, tuple({arguments.positional.begin() + static_cast<std::ptrdiff_t>(num_positional),
                                           arguments.positional.end()}));
  } else if (arguments.positional.size() > definition.parameters.size()) {
    fail(title + " takes not more than " + std::to_string(definition.parameters.size()) + " argument(s)");
  }
  const int line = line_;
  // Defaults see the parameters before them.
  for (const auto* parameter : missing) {
    Value value = parameter->fallback != nullptr
                      ? evaluate(*parameter->fallback, scope)
                      : undefined("parameter " + repr_of_text(parameter->name) + " was not provided");
    scope->set(parameter->name_id, std::move(value));
  }
  Output out(budget());
  execute(definition.body, scope, out);
  line_ = line;
  return text(out.take());
}

Value Interpreter::call_loop(LoopObject& loop, const Arguments& arguments) {
  const DepthGuard guard(budget());
  if (!loop.definition.is_recursive) {
    fail("the loop must have the 'recursive' marker to be called recursively");
  }
  const Value& iterable = *bind_arguments("loop", arguments, {"iterable"}, 1)[0];
  Output out(budget());
  const int line = line_;
  execute_for(loop.definition, loop.closure, out, iterable, loop.depth0 + 1);
  line_ = line;
  return text(out.take());
}

bool Interpreter::loop_attribute(LoopObject& loop, const Value& self, std::string_view name, Value& result) {
  const auto number = [&](Int value) {
    result = Value::integer(value);
    return true;
  };
  if (name == "index") return number(loop.index0 + 1);
  if (name == "index0") return number(loop.index0);
  if (name == "revindex") return number(loop.length(*this) - loop.index0);
  if (name == "revindex0") return number(loop.length(*this) - loop.index0 - 1);
  if (name == "length") return number(loop.length(*this));
  if (name == "depth") return number(loop.depth0 + 1);
  if (name == "depth0") return number(loop.depth0);
  if (name == "first") return result = Value::boolean(loop.index0 == 0), true;
  if (name == "last") return result = Value::boolean(!loop.peek(*this)), true;
  if (name == "previtem") {
    return result = loop.has_previous ? loop.previous : undefined("there is no previous item"), true;
  }
  if (name == "nextitem") {
    return result = loop.peek(*this) ? loop.following : undefined("there is no next item"), true;
  }
  if (name == "cycle") return result = function(name, loop_cycle, self), true;
  if (name == "changed") return result = function(name, loop_changed, self), true;
  return false;
}

bool Interpreter::object_attribute(const Value& object, std::string_view name, Value& result) {
  if (auto* loop = object_as<LoopObject>(object)) return loop_attribute(*loop, object, name, result);
  if (const auto* macro = object_as<MacroObject>(object)) {
    const MacroDefinition& definition = macro->definition;
    if (name == "name") return result = definition.name.empty() ? Value() : text(definition.name), true;
    if (name == "catch_kwargs") return result = Value::boolean(definition.uses_kwargs), true;
    if (name == "catch_varargs") return result = Value::boolean(definition.uses_varargs), true;
    if (name == "caller") return result = Value::boolean(definition.uses_caller), true;
    if (name == "arguments") {
      std::vector<Value> names;
      for (const auto& parameter : definition.parameters) names.push_back(text(parameter.name));
      return result = tuple(std::move(names)), true;
    }
    return false;
  }
  if (const auto* cycler = object_as<CyclerObject>(object)) {
    if (name == "next") return result = function(name, cycler_next, object), true;
    if (name == "reset") return result = function(name, cycler_reset, object), true;
    if (name == "current") return result = cycler->items[cycler->position], true;
    if (name == "pos") return result = Value::integer(static_cast<Int>(cycler->position)), true;
    if (name == "items") return result = tuple(cycler->items), true;
    return false;
  }
  if (const auto* joiner = object_as<JoinerObject>(object)) {
    if (name == "sep") return result = joiner->separator, true;
    if (name == "used") return result = Value::boolean(joiner->is_used), true;
  }
  return false;
}

std::string Interpreter::describe(const Value& object) {
  if (auto* loop = object_as<LoopObject>(object)) {
    return "<LoopContext " + text_of_integer(loop->index0 + 1) + "/" + text_of_integer(loop->length(*this)) + ">";
  }
  if (const auto* macro = object_as<MacroObject>(object)) {
    return macro->definition.name.empty() ? "<Macro anonymous>"
                                          : "<Macro " + repr_of_text(macro->definition.name) + ">";
  }
  if (const auto* code = object_as<FunctionObject>(object)) return "<function " + code->name + ">";
  return std::string("<") + object.type_name() + " object>";
}

Value Interpreter::call_filter(std::string_view name, const Value& value, const Arguments& arguments) {
  const DepthGuard guard(budget());
  const Filter filter = find_filter(name);
  if (filter == nullptr) fail("no filter named " + repr_of_text(name) + " found");
  return filter(*this, value, arguments);
}

bool Interpreter::call_test(std::string_view name, const Value& value, const Arguments& arguments) {
  const DepthGuard guard(budget());
  const Test test = find_test(name);
  if (test == nullptr) fail("no test named " + repr_of_text(name) + " found");
  return test(*this, value, arguments);
}

}  // namespace pajamas::jinja
