// See runtime.h.
#include "text/jinja/runtime.h"

#include <algorithm>

#include "text/jinja/python_text.h"

namespace pajamas::jinja {

Value Runtime::text(std::string text, bool is_markup) {
  budget_.check_text(text.size());
  return {Kind::kString, make<StringObject>(std::move(text)), is_markup};
}

Value Runtime::list(std::vector<Value> items) { return {Kind::kList, make<SequenceObject>(std::move(items), false)}; }

Value Runtime::tuple(std::vector<Value> items) { return {Kind::kTuple, make<SequenceObject>(std::move(items), true)}; }

Value Runtime::dict(Dict entries) { return {Kind::kDict, make<DictObject>(std::move(entries))}; }

Value Runtime::undefined(std::string message) { return {Kind::kUndefined, make<UndefinedObject>(std::move(message))}; }

Value Runtime::function(std::string_view name, FunctionObject::Function code, Value self) {
  return {Kind::kOther, make<FunctionObject>(name, code, std::move(self))};
}

std::vector<const Value*> bind_arguments(std::string_view function, const Arguments& arguments,
                                         const std::vector<std::string_view>& names, std::size_t num_required) {
  const std::string title = std::string(function) + "()";
  if (arguments.positional.size() > names.size()) {
    fail(title + " takes " + std::to_string(names.size()) + " arguments but " +
         std::to_string(arguments.positional.size()) + " were given");
  }
  std::vector<const Value*> bound(names.size(), nullptr);
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) bound[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) fail(title + " got an unexpected keyword argument " + repr_of_text(name));
    const Value*& place = bound[static_cast<std::size_t>(found - names.begin())];
    if (place != nullptr) fail(title + " got multiple values for argument " + repr_of_text(name));
    place = &value;
  }
  for (std::size_t i = 0; i < num_required; ++i) {
    if (bound[i] == nullptr) fail(title + " is missing its argument '" + std::string(names[i]) + "'");
  }
  return bound;
}

std::vector<const Value*> bind_positional(std::string_view function, const Arguments& arguments,
                                          std::size_t num_required, std::size_t num_allowed) {
  const std::string title = std::string(function) + "()";
  if (!arguments.named.empty()) fail(title + " takes no keyword arguments");
  const std::size_t num_given = arguments.positional.size();
  if (num_given < num_required || num_given > num_allowed) {
    fail(title + " takes " + std::to_string(num_required) +
         (num_allowed > num_required ? " to " + std::to_string(num_allowed) : "") + " arguments (" +
         std::to_string(num_given) + " given)");
  }
  std::vector<const Value*> bound(num_allowed, nullptr);
  for (std::size_t i = 0; i < num_given; ++i) bound[i] = &arguments.positional[i];
  return bound;
}

}  // namespace pajamas::jinja
