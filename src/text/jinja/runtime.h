// What everything that computes needs of the rendering it belongs to: the budget, the making of values, calls. The
// interpreter (interpreter.cpp) is the one implementation.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace pajamas::jinja {

class Runtime {
 public:
  explicit Runtime(Budget& budget) : budget_(budget) {}
  virtual ~Runtime() = default;
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  Budget& budget() { return budget_; }

  Value text(std::string text, bool is_markup = false);
  /// A text that is Markup where `like` is.
  Value text_like(const Value& like, std::string value) { return text(std::move(value), like.is_markup()); }
  Value list(std::vector<Value> items);
  Value tuple(std::vector<Value> items);
  Value dict(Dict entries);
  /// A value whose use fails with `message`.
  Value undefined(std::string message);
  Value function(std::string_view name, FunctionObject::Function code, Value self = {});

  /// A T of its own; one with state that may come to hold itself also goes through keep().
  template <typename T, typename... Arguments>
  std::shared_ptr<T> make(Arguments&&... arguments) {
    return std::make_shared<T>(&budget_, std::forward<Arguments>(arguments)...);
  }
  /// Holds the object until the rendering ends, and then clears it.
  virtual void keep(std::shared_ptr<Object> object) = 0;

  virtual Value call(const Value& function, const Arguments& arguments) = 0;
  virtual Value call_filter(std::string_view name, const Value& value, const Arguments& arguments) = 0;
  virtual bool call_test(std::string_view name, const Value& value, const Arguments& arguments) = 0;
  /// The attribute of a loop, macro, cycler or joiner; false where there is none of that name.
  virtual bool object_attribute(const Value& object, std::string_view name, Value& result) = 0;
  /// repr() of an object with state.
  virtual std::string describe(const Value& object) = 0;
  virtual std::chrono::system_clock::time_point now() = 0;

 private:
  Budget& budget_;
};

/// Sorts positional and named arguments into the places `names` gives; absent ones are null. The first `num_required`
/// must be there. Throws Failure as Python does for too many, unknown and doubled ones.
std::vector<const Value*> bind_arguments(std::string_view function, const Arguments& arguments,
                                         const std::vector<std::string_view>& names, std::size_t num_required);

/// The same for the case where all are positional only.
std::vector<const Value*> bind_positional(std::string_view function, const Arguments& arguments,
                                          std::size_t num_required, std::size_t num_allowed);

}  // namespace pajamas::jinja
