// The values templates compute with, as Python has them: immutable texts, numbers, lists, tuples and dictionaries
// shared by reference, and a few objects with state (namespaces, macros, loops, generators). How they print is
// printing.h; what one can do with them is operations.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/jinja/budget.h"

namespace pajamas::jinja {

/// Integers have 128 bits where Python's have no end; what does not fit is refused.
__extension__ typedef __int128 Int;
__extension__ typedef unsigned __int128 UnsignedInt;

enum class Kind : std::uint8_t { kUndefined, kNone, kBool, kInt, kFloat, kString, kList, kTuple, kDict, kOther };

class Runtime;
class Value;

/// How much there is to a value when it is walked: shared parts count as often as they are met.
struct Extent {
  int depth = 0;
  std::uint64_t weight = 1;
  /// A container of such parts.
  Extent around() const { return {depth + 1, weight + 1}; }
};

/// What lives on the heap. Charged to a budget, except constants of a program, which outlive every rendering.
class Object {
 public:
  Object(Budget* budget, std::size_t num_bytes, Extent size = {});
  virtual ~Object();
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  /// The name of its type as Python's messages give it.
  virtual const char* type_name() const = 0;
  /// Lets go of other values, which ends cycles. For objects that change after they are made.
  virtual void clear() {}
  Extent extent() const { return extent_; }

 protected:
  /// Charges more bytes to the same budget.
  void grow(std::size_t num_bytes);

 private:
  Budget* budget_;
  std::size_t num_bytes_;
  Extent extent_;
};

class Value {
 public:
  Value() = default;  ///< None
  static Value boolean(bool value);
  static Value integer(Int value);
  static Value real(double value);
  Value(Kind kind, std::shared_ptr<Object> object, bool is_markup = false)
      : kind_(kind), is_markup_(is_markup), object_(std::move(object)) {}

  Kind kind() const { return kind_; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_none() const { return kind_ == Kind::kNone; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_dict() const { return kind_ == Kind::kDict; }
  /// An int or a bool, which counts as one.
  bool is_integral() const { return kind_ == Kind::kInt || kind_ == Kind::kBool; }
  bool is_number() const { return is_integral() || kind_ == Kind::kFloat; }
  bool is_sequence() const { return kind_ == Kind::kList || kind_ == Kind::kTuple; }
  /// A text that says of itself that it is HTML already (markupsafe's Markup).
  bool is_markup() const { return is_markup_; }

  bool as_bool() const { return integer_ != 0; }
  Int as_int() const { return integer_; }  ///< Of kInt and kBool.
  double as_real() const;                  ///< Of any number.
  const std::string& text() const;
  std::size_t num_chars() const;  ///< Of a text, in code points.
  const std::vector<Value>& items() const;
  const class Dict& dict() const;

  const std::shared_ptr<Object>& object() const { return object_; }
  Extent extent() const { return object_ ? object_->extent() : Extent(); }
  const char* type_name() const;

 private:
  Kind kind_ = Kind::kNone;
  bool is_markup_ = false;
  union {
    Int integer_ = 0;
    double real_;
  };
  std::shared_ptr<Object> object_;
};

/// The object behind a value of kind kOther as a T, or null.
template <typename T>
T* object_as(const Value& value) {
  return value.kind() == Kind::kOther ? dynamic_cast<T*>(value.object().get()) : nullptr;
}

/// Keys and values in the order they came in. Keys must be hashable; equal ones (1, 1.0, True) are one key.
class Dict {
 public:
  const std::vector<std::pair<Value, Value>>& entries() const { return entries_; }
  std::size_t size() const { return entries_.size(); }
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(Value key, Value value);
  bool erase(const Value& key);

 private:
  std::size_t position_of(const Value& key, std::size_t hash) const;
  std::vector<std::pair<Value, Value>> entries_;
  std::unordered_multimap<std::size_t, std::size_t> index_;
};

class StringObject final : public Object {
 public:
  StringObject(Budget* budget, std::string text);
  const char* type_name() const override { return "str"; }
  const std::string text;
  const std::size_t num_chars;
};

class SequenceObject final : public Object {
 public:
  SequenceObject(Budget* budget, std::vector<Value> items, bool is_tuple);
  const char* type_name() const override { return is_tuple_ ? "tuple" : "list"; }
  const std::vector<Value> items;
  /// A pair that groupby makes, whose parts have names (grouper, list).
  bool is_group = false;

 private:
  bool is_tuple_;
};

class DictObject final : public Object {
 public:
  DictObject(Budget* budget, Dict entries);
  const char* type_name() const override { return "dict"; }
  const Dict dict;
};

class UndefinedObject final : public Object {
 public:
  UndefinedObject(Budget* budget, std::string text) : Object(budget, sizeof(*this)), message(std::move(text)) {}
  const char* type_name() const override { return "Undefined"; }
  const std::string message;  ///< What using it fails with.
};

class RangeObject final : public Object {
 public:
  RangeObject(Budget* budget, Int from, Int to, Int by);
  const char* type_name() const override { return "range"; }
  Int start, stop, step;
  Int length;
};

/// dict.keys(), .values(), .items()
class DictViewObject final : public Object {
 public:
  enum class Part { kKeys, kValues, kItems };
  DictViewObject(Budget* budget, Value of, Part which)
      : Object(budget, sizeof(*this), of.extent().around()), source(std::move(of)), part(which) {}
  const char* type_name() const override;
  Value element(Runtime& runtime, std::size_t index) const;
  const Value source;
  const Part part;
};

/// What Python calls an iterator: gives its values once, one after another.
class Iterator : public Object {
 public:
  Iterator(Budget* budget, Extent size) : Object(budget, sizeof(*this), size) {}
  const char* type_name() const override { return "generator"; }
  /// False at the end.
  virtual bool next(Runtime& runtime, Value& value) = 0;
};

/// namespace(): the one thing whose attributes a template may set.
class NamespaceObject final : public Object {
 public:
  explicit NamespaceObject(Budget* budget) : Object(budget, sizeof(*this)) {}
  const char* type_name() const override { return "Namespace"; }
  void clear() override { attributes = Dict(); }
  void set(Value key, Value value);
  Dict attributes;
};

class CyclerObject final : public Object {
 public:
  CyclerObject(Budget* budget, std::vector<Value> values) : Object(budget, sizeof(*this)), items(std::move(values)) {}
  const char* type_name() const override { return "Cycler"; }
  void clear() override { items.clear(); }
  std::vector<Value> items;
  std::size_t position = 0;
};

class JoinerObject final : public Object {
 public:
  JoinerObject(Budget* budget, Value text) : Object(budget, sizeof(*this)), separator(std::move(text)) {}
  const char* type_name() const override { return "Joiner"; }
  void clear() override { separator = Value(); }
  Value separator;
  bool is_used = false;
};

/// What a call is given.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// A function of the environment, or the method of a value.
class FunctionObject final : public Object {
 public:
  using Function = Value (*)(Runtime& runtime, const Value& self, const Arguments& arguments);
  FunctionObject(Budget* budget, std::string_view function_name, Function code, Value of)
      : Object(budget, sizeof(*this), of.extent().around()), name(function_name), function(code), self(std::move(of)) {}
  const char* type_name() const override { return "builtin_function_or_method"; }
  const std::string name;
  const Function function;
  const Value self;
};

/// A text that lives as long as a program does.
Value constant_text(std::string text);

}  // namespace pajamas::jinja
