// The methods of lists, tuples and dictionaries that templates may call (operations.h).
#include "text/jinja/operations.h"
#include "text/jinja/printing.h"
#include "text/jinja/runtime.h"

namespace pajamas::jinja {

namespace {

Value copy_of_itself(Runtime&, const Value& self, const Arguments& arguments) {
  bind_positional("copy", arguments, 0, 0);
  return self;
}

Value sequence_count(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Value& wanted = *bind_positional("count", arguments, 1, 1)[0];
  Int count = 0;
  for (const Value& item : items_of(runtime, self)) count += compare(runtime, Comparison::kEqual, item, wanted) ? 1 : 0;
  return Value::integer(count);
}

Value sequence_index(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind_positional("index", arguments, 1, 3);
  const std::vector<Value> items = items_of(runtime, self);
  const auto length = static_cast<Int>(items.size());
  const auto limit = [&](const Value* given, Int fallback) {
    if (given == nullptr) return fallback;
    if (!given->is_integral()) fail("slice indices must be integers");
    const Int index = given->as_int();
    return index < 0 ? (index < -length ? Int{0} : index + length) : index;
  };
  const Int end = std::min(limit(bound[2], length), length);
  for (Int i = limit(bound[1], 0); i < end; ++i) {
    if (compare(runtime, Comparison::kEqual, items[static_cast<std::size_t>(i)], *bound[0])) {
      return Value::integer(i);
    }
  }
  fail(repr_of(runtime, *bound[0]) + " is not in the sequence");
}

Value dict_get(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind_positional("get", arguments, 1, 2);
  runtime.budget().step(bound[0]->extent().weight);
  const Value* found = self.dict().find(*bound[0]);
  if (found != nullptr) return *found;
  return bound[1] != nullptr ? *bound[1] : Value();
}

template <DictViewObject::Part kPart>
Value dict_view(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind_positional("dict view", arguments, 0, 0);
  return {Kind::kOther, runtime.make<DictViewObject>(self, kPart)};
}

Value dict_fromkeys(Runtime& runtime, const Value&, const Arguments& arguments) {
  const auto bound = bind_positional("fromkeys", arguments, 1, 2);
  Dict dict;
  for (Value& key : items_of(runtime, *bound[0])) dict.set(std::move(key), bound[1] != nullptr ? *bound[1] : Value());
  return runtime.dict(std::move(dict));
}

}  // namespace

FunctionObject::Function find_sequence_method(std::string_view name, bool is_tuple) {
  if (name == "count") return sequence_count;
  if (name == "index") return sequence_index;
  if (name == "copy" && !is_tuple) return copy_of_itself;
  return nullptr;
}

FunctionObject::Function find_dict_method(std::string_view name) {
  if (name == "get") return dict_get;
  if (name == "keys") return dict_view<DictViewObject::Part::kKeys>;
  if (name == "values") return dict_view<DictViewObject::Part::kValues>;
  if (name == "items") return dict_view<DictViewObject::Part::kItems>;
  if (name == "copy") return copy_of_itself;
  if (name == "fromkeys") return dict_fromkeys;
  return nullptr;
}

}  // namespace pajamas::jinja
