// What one can do with any value: truth, equality, order, arithmetic, iteration, attributes and items, with the meaning
// and the failures of Python under jinja2's sandbox.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace pajamas::jinja {

/// Throws Failure with what an undefined value says of itself.
[[noreturn]] void fail_undefined(const Value& value);

bool is_true(const Value& value);
bool are_equal(const Value& a, const Value& b);
/// Throws Failure for lists, dictionaries and the like.
std::size_t hash_of(const Value& value);
std::size_t hash_of(std::string_view text);
/// a < b. Throws Failure where the two have no order.
bool is_less(Runtime& runtime, const Value& a, const Value& b);

enum class Comparison { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };
bool compare(Runtime& runtime, Comparison comparison, const Value& a, const Value& b);
/// `item in container`
bool contains(Runtime& runtime, const Value& container, const Value& item);

enum class Operator { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
Value calculate(Runtime& runtime, Operator op, const Value& a, const Value& b);
Value negated(const Value& value);
Value unary_plus(const Value& value);
/// int(value) of a float. Throws Failure for infinities, NaN and more than 127 bits.
Int integer_of_real(double value);

/// len(value); nothing where it has none (numbers, generators).
std::optional<std::size_t> length_of(Runtime& runtime, const Value& value);
/// iter(value). Throws Failure for what is no collection.
std::shared_ptr<Iterator> iterate(Runtime& runtime, const Value& value);
bool is_iterable(const Value& value);
/// list(value)
std::vector<Value> items_of(Runtime& runtime, const Value& value);
/// reversed(value); null where Python has no reverse iterator for it.
std::shared_ptr<Iterator> iterate_backwards(Runtime& runtime, const Value& value);
/// An iterator over values that are there already.
std::shared_ptr<Iterator> iterate_items(Runtime& runtime, std::vector<Value> items);

/// object.name as templates mean it: the attribute, else the item, else undefined.
Value get_attribute(Runtime& runtime, const Value& object, std::string_view name);
/// object[key]: the item, else the attribute where the key is a text, else undefined.
Value get_item(Runtime& runtime, const Value& object, const Value& key);
/// object[start:stop:step]; None stands for what is left out.
Value get_slice(Runtime& runtime, const Value& object, const Value& start, const Value& stop, const Value& step);

/// The methods of Python's types (methods.cpp, string_methods.cpp); null where there is none of that name. A range has
/// those of a tuple.
FunctionObject::Function find_string_method(std::string_view name);
FunctionObject::Function find_sequence_method(std::string_view name, bool is_tuple);
FunctionObject::Function find_dict_method(std::string_view name);

}  // namespace pajamas::jinja
