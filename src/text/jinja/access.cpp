// Iteration, attributes, items and slices (operations.h).
#include <algorithm>
#include <utility>

#include "text/jinja/numbers.h"
#include "text/jinja/operations.h"
#include "text/jinja/python_text.h"
#include "text/jinja/runtime.h"

namespace pajamas::jinja {

namespace {

/// The elements of a collection that does not change, by their number.
class IndexIterator final : public Iterator {
 public:
  IndexIterator(Budget* budget, Value source, std::size_t length, bool is_backwards)
      : Iterator(budget, source.extent().around()),
        source_(std::move(source)),
        length_(length),
        is_backwards_(is_backwards) {}

  bool next(Runtime& runtime, Value& value) override {
    if (index_ >= length_) return false;
    runtime.budget().step();
    const std::size_t at = is_backwards_ ? length_ - 1 - index_ : index_;
    ++index_;
    if (source_.is_sequence()) {
      value = source_.items()[at];
    } else if (source_.is_dict()) {
      value = source_.dict().entries()[at].first;
    } else if (const auto* range = object_as<RangeObject>(source_)) {
      value = Value::integer(range->start + static_cast<Int>(at) * range->step);
    } else {
      value = object_as<DictViewObject>(source_)->element(runtime, at);
    }
    return true;
  }

 private:
  const Value source_;
  const std::size_t length_;
  const bool is_backwards_;
  std::size_t index_ = 0;
};

class TextIterator final : public Iterator {
 public:
  TextIterator(Budget* budget, Value source) : Iterator(budget, source.extent().around()), source_(std::move(source)) {}

  bool next(Runtime& runtime, Value& value) override {
    const std::string& text = source_.text();
    if (position_ >= text.size()) return false;
    runtime.budget().step();
    const std::size_t start = position_;
    next_char(text, position_);
    value = runtime.text(text.substr(start, position_ - start));
    return true;
  }

 private:
  const Value source_;
  std::size_t position_ = 0;
};

class EmptyIterator final : public Iterator {
 public:
  explicit EmptyIterator(Budget* budget) : Iterator(budget, {}) {}
  bool next(Runtime&, Value&) override { return false; }
};

class ItemsIterator final : public Iterator {
 public:
  ItemsIterator(Budget* budget, Value list) : Iterator(budget, list.extent().around()), list_(std::move(list)) {}
  bool next(Runtime& runtime, Value& value) override {
    runtime.budget().step();
    if (index_ >= list_.items().size()) return false;
    value = list_.items()[index_++];
    return true;
  }

 private:
  const Value list_;
  std::size_t index_ = 0;
};

std::string type_title(const Value& value) {
  const auto* space = object_as<NamespaceObject>(value);
  if (value.is_none()) return "None";
  return (space != nullptr ? "jinja2.utils." : "") + std::string(value.type_name()) + " object";
}

Value missing_attribute(Runtime& runtime, const Value& object, std::string_view name) {
  const std::string title = type_title(object);
  return runtime.undefined((object.is_none() ? title : repr_of_text(title)) + " has no attribute " +
                           repr_of_text(name));
}

Value missing_item(Runtime& runtime, const Value& object, const Value& key) {
  if (key.is_string()) return missing_attribute(runtime, object, key.text());
  std::string element = "that";
  if (key.is_integral()) element = text_of_integer(key.as_int());
  const std::string title = type_title(object);
  return runtime.undefined((object.is_none() ? title : repr_of_text(title)) + " has no element " + element);
}

Value unsafe_attribute(Runtime& runtime, const Value& object, std::string_view name) {
  return runtime.undefined("access to attribute " + repr_of_text(name) + " of '" + object.type_name() +
                           "' object is unsafe: templates may not change lists and dictionaries, nor reach inside "
                           "Python (collect into a namespace or a new list instead)");
}

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// The attributes Python's own types have, without their items. False where there is none.
bool builtin_attribute(Runtime& runtime, const Value& object, std::string_view name, Value& result) {
  // Everything in Python has these; the sandbox hides them.
  if (name.size() > 4 && name.starts_with("__") && name.ends_with("__") &&
      is_one_of(name,
                {"__class__",  "__dict__",         "__doc__",          "__init__",    "__new__",     "__eq__",
                 "__ne__",     "__hash__",         "__str__",          "__repr__",    "__dir__",     "__module__",
                 "__reduce__", "__subclasshook__", "__len__",          "__getitem__", "__iter__",    "__contains__",
                 "__add__",    "__mul__",          "__getattribute__", "__setattr__", "__delattr__", "__sizeof__",
                 "__format__", "__init_subclass__"})) {
    result = unsafe_attribute(runtime, object, name);
    return true;
  }
  switch (object.kind()) {
    case Kind::kString:
      if (const auto method = find_string_method(name)) {
        result = runtime.function(name, method, object);
        return true;
      }
      return false;
    case Kind::kList:
    case Kind::kTuple: {
      const bool is_tuple = object.kind() == Kind::kTuple;
      if (!is_tuple && is_one_of(name, {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"})) {
        result = unsafe_attribute(runtime, object, name);
        return true;
      }
      if (is_tuple && static_cast<const SequenceObject*>(object.object().get())->is_group) {
        if (name == "grouper") return result = object.items()[0], true;
        if (name == "list") return result = object.items()[1], true;
      }
      if (const auto method = find_sequence_method(name, is_tuple)) {
        result = runtime.function(name, method, object);
        return true;
      }
      return false;
    }
    case Kind::kDict:
      if (is_one_of(name, {"clear", "pop", "popitem", "setdefault", "update"})) {
        result = unsafe_attribute(runtime, object, name);
        return true;
      }
      if (const auto method = find_dict_method(name)) {
        result = runtime.function(name, method, object);
        return true;
      }
      return false;
    case Kind::kBool:
    case Kind::kInt:
      if (name == "real" || name == "numerator") return result = Value::integer(object.as_int()), true;
      if (name == "imag") return result = Value::integer(0), true;
      if (name == "denominator") return result = Value::integer(1), true;
      return false;
    case Kind::kFloat:
      if (name == "real") return result = object, true;
      if (name == "imag") return result = Value::real(0), true;
      return false;
    default: break;
  }
  if (const auto* range = object_as<RangeObject>(object)) {
    if (name == "start") return result = Value::integer(range->start), true;
    if (name == "stop") return result = Value::integer(range->stop), true;
    if (name == "step") return result = Value::integer(range->step), true;
    if (const auto method = find_sequence_method(name, true)) {
      result = runtime.function(name, method, object);
      return true;
    }
    return false;
  }
  if (const auto* space = object_as<NamespaceObject>(object)) {
    const Value* found = space->attributes.find(name);
    if (found == nullptr) return false;
    if (name.starts_with("_")) {
      result = unsafe_attribute(runtime, object, name);
    } else {
      result = *found;
    }
    return true;
  }
  return object.kind() == Kind::kOther && runtime.object_attribute(object, name, result);
}

/// A position counted from the end where negative; false outside.
bool resolve_index(Int index, std::size_t length, std::size_t& position) {
  const auto size = static_cast<Int>(length);
  if (index < 0) index += size;
  if (index < 0 || index >= size) return false;
  position = static_cast<std::size_t>(index);
  return true;
}

/// object[key] as Python has it; false for a missing key, an index outside, a type without items.
bool find_item(Runtime& runtime, const Value& object, const Value& key, Value& result) {
  std::size_t position = 0;
  switch (object.kind()) {
    case Kind::kString: {
      if (!key.is_integral() || !resolve_index(key.as_int(), object.num_chars(), position)) return false;
      const std::string& text = object.text();
      const bool is_ascii = object.num_chars() == text.size();
      if (!is_ascii) runtime.budget().step(text.size() / 64);
      const std::size_t start = is_ascii ? position : byte_offset(text, position);
      std::size_t end = start;
      next_char(text, end);
      result = runtime.text_like(object, text.substr(start, end - start));
      return true;
    }
    case Kind::kList:
    case Kind::kTuple:
      if (!key.is_integral() || !resolve_index(key.as_int(), object.items().size(), position)) return false;
      result = object.items()[position];
      return true;
    case Kind::kDict: {
      if (key.kind() == Kind::kList || key.kind() == Kind::kDict) return false;
      runtime.budget().step(key.extent().weight);
      const Value* found = object.dict().find(key);
      if (found == nullptr) return false;
      result = *found;
      return true;
    }
    default: break;
  }
  const auto* range = object_as<RangeObject>(object);
  if (range == nullptr || !key.is_integral() ||
      !resolve_index(key.as_int(), static_cast<std::size_t>(range->length), position)) {
    return false;
  }
  result = Value::integer(range->start + static_cast<Int>(position) * range->step);
  return true;
}

}  // namespace

std::optional<std::size_t> length_of(Runtime& runtime, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined: return 0;
    case Kind::kString: return value.num_chars();
    case Kind::kList:
    case Kind::kTuple: return value.items().size();
    case Kind::kDict: return value.dict().size();
    case Kind::kOther: break;
    default: return std::nullopt;
  }
  if (const auto* range = object_as<RangeObject>(value)) return static_cast<std::size_t>(range->length);
  if (const auto* view = object_as<DictViewObject>(value)) return view->source.dict().size();
  Value length;
  if (object_as<Iterator>(value) == nullptr && object_as<NamespaceObject>(value) == nullptr &&
      runtime.object_attribute(value, "length", length) && length.is_integral()) {
    return static_cast<std::size_t>(length.as_int());
  }
  return std::nullopt;
}

bool is_iterable(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict: return true;
    case Kind::kOther: break;
    default: return false;
  }
  return object_as<Iterator>(value) != nullptr || object_as<RangeObject>(value) != nullptr ||
         object_as<DictViewObject>(value) != nullptr;
}

std::shared_ptr<Iterator> iterate(Runtime& runtime, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined: return runtime.make<EmptyIterator>();
    case Kind::kString: return runtime.make<TextIterator>(value);
    case Kind::kList:
    case Kind::kTuple: return runtime.make<IndexIterator>(value, value.items().size(), false);
    case Kind::kDict: return runtime.make<IndexIterator>(value, value.dict().size(), false);
    default: break;
  }
  if (object_as<Iterator>(value) != nullptr) return std::static_pointer_cast<Iterator>(value.object());
  if (!is_iterable(value)) fail(std::string("'") + value.type_name() + "' object is not iterable");
  return runtime.make<IndexIterator>(value, *length_of(runtime, value), false);
}

std::vector<Value> items_of(Runtime& runtime, const Value& value) {
  if (value.is_sequence()) {
    runtime.budget().step(value.items().size());
    return value.items();
  }
  const auto iterator = iterate(runtime, value);
  std::vector<Value> items;
  for (Value item; iterator->next(runtime, item);) {
    items.push_back(item);
    // What is gathered here is charged to the budget only when it becomes a list.
    runtime.budget().check_text(items.size() * sizeof(Value));
  }
  return items;
}

std::shared_ptr<Iterator> iterate_backwards(Runtime& runtime, const Value& value) {
  if (value.is_undefined()) return runtime.make<EmptyIterator>();
  if (value.is_string()) {
    std::vector<Value> characters = items_of(runtime, value);
    std::reverse(characters.begin(), characters.end());
    return iterate_items(runtime, std::move(characters));
  }
  if (object_as<Iterator>(value) != nullptr || !is_iterable(value)) return nullptr;
  return runtime.make<IndexIterator>(value, *length_of(runtime, value), true);
}

std::shared_ptr<Iterator> iterate_items(Runtime& runtime, std::vector<Value> items) {
  return runtime.make<ItemsIterator>(runtime.list(std::move(items)));
}

Value get_attribute(Runtime& runtime, const Value& object, std::string_view name) {
  Value result;
  if (builtin_attribute(runtime, object, name, result)) return result;
  if (object.is_undefined()) fail_undefined(object);
  if (object.is_dict()) {
    const Value* found = object.dict().find(name);
    if (found != nullptr) return *found;
  }
  return missing_attribute(runtime, object, name);
}

Value get_item(Runtime& runtime, const Value& object, const Value& key) {
  if (object.is_undefined()) fail_undefined(object);
  Value result;
  if (find_item(runtime, object, key, result)) return result;
  if (key.is_string() && builtin_attribute(runtime, object, key.text(), result)) return result;
  return missing_item(runtime, object, key);
}

Value get_slice(Runtime& runtime, const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (object.is_undefined()) fail_undefined(object);
  const auto* range = object_as<RangeObject>(object);
  if (!object.is_string() && !object.is_sequence() && range == nullptr) {
    if (object.is_dict()) fail("unhashable type: 'slice'");
    fail(std::string("'") + object.type_name() + "' object is not subscriptable");
  }
  for (const Value* bound : {&start, &stop, &step}) {
    if (bound->is_undefined()) fail("slice indices must be integers or None, and one is undefined");
    if (!bound->is_none() && !bound->is_integral()) fail("slice indices must be integers or None");
  }
  const Int by = step.is_none() ? 1 : step.as_int();
  if (by == 0) fail("slice step cannot be zero");
  const auto length = static_cast<Int>(*length_of(runtime, object));
  const Int lowest = by > 0 ? 0 : -1;
  const Int highest = by > 0 ? length : length - 1;
  const auto clamp = [&](const Value& bound, Int fallback) {
    if (bound.is_none()) return fallback;
    Int index = bound.as_int();
    if (index < 0) index = index < -length ? Int{-1} : index + length;
    return std::clamp(index, lowest, highest);
  };
  const Int first = clamp(start, by > 0 ? lowest : highest);
  const Int last = clamp(stop, by > 0 ? highest : lowest);
  if (object.is_string() && by == 1) {
    const std::string& text = object.text();
    if (last <= first) return runtime.text_like(object, "");
    const bool is_ascii = object.num_chars() == text.size();
    const std::size_t begin =
        is_ascii ? static_cast<std::size_t>(first) : byte_offset(text, static_cast<std::size_t>(first));
    const std::size_t end =
        is_ascii ? static_cast<std::size_t>(last) : byte_offset(text, static_cast<std::size_t>(last));
    return runtime.text_like(object, text.substr(begin, end - begin));
  }
  if (range != nullptr) {
    const Int from = range->start + first * range->step;
    const Int to = range->start + last * range->step;
    if (by > length || by < -length) fail("a slice of a range with a step past its length is not supported");
    return {Kind::kOther, runtime.make<RangeObject>(from, to, range->step * by)};
  }
  const std::vector<Value> characters = object.is_string() ? items_of(runtime, object) : std::vector<Value>();
  const std::vector<Value>& all = object.is_string() ? characters : object.items();
  std::vector<Value> chosen;
  for (Int i = first; by > 0 ? i < last : i > last;) {
    runtime.budget().step();
    chosen.push_back(all[static_cast<std::size_t>(i)]);
    if (by > length || by < -length) break;  // one element; i + by might not fit
    i += by;
  }
  if (object.is_string()) {
    std::string text;
    for (const Value& character : chosen) text += character.text();
    return runtime.text_like(object, std::move(text));
  }
  return object.kind() == Kind::kList ? runtime.list(std::move(chosen)) : runtime.tuple(std::move(chosen));
}

}  // namespace pajamas::jinja
