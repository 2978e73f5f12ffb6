// See operations.h. Iteration, attributes and items are in access.cpp.
#include "text/jinja/operations.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "text/jinja/numbers.h"
#include "text/jinja/python_text.h"
#include "text/jinja/runtime.h"

namespace pajamas::jinja {

namespace {

[[noreturn]] void fail_operands(std::string_view symbol, const Value& a, const Value& b) {
  if (a.is_undefined()) fail_undefined(a);
  if (b.is_undefined()) fail_undefined(b);
  fail("unsupported operand type(s) for " + std::string(symbol) + ": '" + a.type_name() + "' and '" + b.type_name() +
       "'");
}

[[noreturn]] void fail_overflow() { fail("an integer of more than 127 bits, which is not supported"); }

/// -1, 0, 1; 2 where one is NaN.
int compare_numbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return a.as_int() < b.as_int() ? -1 : a.as_int() > b.as_int() ? 1 : 0;
  const double x = a.as_real();
  const double y = b.as_real();
  return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
}

bool are_items_equal(const std::vector<Value>& a, const std::vector<Value>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), are_equal);
}

bool are_objects_equal(const Value& a, const Value& b) {
  if (a.object() == b.object()) return true;
  const auto* x = object_as<RangeObject>(a);
  const auto* y = object_as<RangeObject>(b);
  if (x == nullptr || y == nullptr || x->length != y->length) return false;
  return x->length == 0 || (x->start == y->start && (x->length == 1 || x->step == y->step));
}

Value add(Runtime& runtime, const Value& a, const Value& b) {
  if (a.is_string() && b.is_string()) {
    if (a.is_markup() || b.is_markup()) {
      return runtime.text(
          (a.is_markup() ? a.text() : escape_html(a.text())) + (b.is_markup() ? b.text() : escape_html(b.text())),
          true);
    }
    runtime.budget().check_text(a.text().size() + b.text().size());
    return runtime.text(a.text() + b.text());
  }
  if (a.kind() == b.kind() && a.is_sequence()) {
    runtime.budget().step(a.items().size() + b.items().size());
    std::vector<Value> items = a.items();
    items.insert(items.end(), b.items().begin(), b.items().end());
    return a.kind() == Kind::kList ? runtime.list(std::move(items)) : runtime.tuple(std::move(items));
  }
  if (a.is_string() && !b.is_undefined()) {
    fail(std::string("can only concatenate str (not \"") + b.type_name() + "\") to str");
  }
  fail_operands("+", a, b);
}

Value repeat(Runtime& runtime, const Value& sequence, Int count) {
  if (count < 0) count = 0;
  const std::size_t size = sequence.is_string() ? sequence.text().size() : sequence.items().size();
  if (size == 0) count = 0;
  // Checked before anything is made; a list's items are dearer than a text's bytes.
  const std::size_t limit = runtime.budget().max_text_bytes() / (sequence.is_string() ? 1 : sizeof(Value));
  if (size > 0 && count > static_cast<Int>(limit / size)) {
    fail("repeats " + std::to_string(size) + (sequence.is_string() ? " bytes " : " items ") + text_of_integer(count) +
         " times, which is more than a prompt may hold");
  }
  const auto times = static_cast<std::size_t>(count);
  if (sequence.is_string()) {
    std::string text;
    text.reserve(size * times);
    for (std::size_t i = 0; i < times; ++i) text += sequence.text();
    runtime.budget().step(times / 8);
    return runtime.text_like(sequence, std::move(text));
  }
  runtime.budget().step(size * times);
  std::vector<Value> items;
  items.reserve(size * times);
  for (std::size_t i = 0; i < times; ++i) items.insert(items.end(), sequence.items().begin(), sequence.items().end());
  return sequence.kind() == Kind::kList ? runtime.list(std::move(items)) : runtime.tuple(std::move(items));
}

Int floor_divide(Int a, Int b) {
  const Int quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

double real_modulo(double a, double b) {
  double rest = std::fmod(a, b);
  if (rest != 0 && (b < 0) != (rest < 0)) rest += b;
  return rest == 0 ? std::copysign(0.0, b) : rest;
}

Value integer_power(Int base, Int exponent) {
  if (exponent < 0) {
    if (base == 0) fail("0.0 cannot be raised to a negative power");
    return Value::real(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  if (base == 0 || base == 1) return Value::integer(exponent == 0 ? 1 : base);
  if (base == -1) return Value::integer(exponent % 2 == 0 ? 1 : -1);
  if (exponent > 127) fail_overflow();
  Int result = 1;
  for (Int i = 0; i < exponent; ++i) {
    if (__builtin_mul_overflow(result, base, &result)) fail_overflow();
  }
  return Value::integer(result);
}

Value calculate_integers(Operator op, Int a, Int b) {
  Int result = 0;
  switch (op) {
    case Operator::kAdd:
      if (__builtin_add_overflow(a, b, &result)) fail_overflow();
      return Value::integer(result);
    case Operator::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) fail_overflow();
      return Value::integer(result);
    case Operator::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) fail_overflow();
      return Value::integer(result);
    case Operator::kDivide:
      if (b == 0) fail("division by zero");
      return Value::real(static_cast<double>(a) / static_cast<double>(b));
    case Operator::kFloorDivide:
      if (b == 0) fail("integer division or modulo by zero");
      if (b == -1) return calculate_integers(Operator::kSubtract, 0, a);
      return Value::integer(floor_divide(a, b));
    case Operator::kModulo:
      if (b == 0) fail("integer modulo by zero");
      if (b == -1) return Value::integer(0);
      return Value::integer(a - floor_divide(a, b) * b);
    case Operator::kPower: return integer_power(a, b);
  }
  return {};
}

Value calculate_reals(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd: return Value::real(a + b);
    case Operator::kSubtract: return Value::real(a - b);
    case Operator::kMultiply: return Value::real(a * b);
    case Operator::kDivide:
      if (b == 0) fail("float division by zero");
      return Value::real(a / b);
    case Operator::kFloorDivide:
      if (b == 0) fail("float floor division by zero");
      // As CPython: from the modulo, so that the two agree.
      {
        const double quotient = (a - real_modulo(a, b)) / b;
        if (quotient == 0) return Value::real(std::copysign(0.0, a / b));
        const double floored = std::floor(quotient);
        return Value::real(quotient - floored > 0.5 ? floored + 1 : floored);
      }
    case Operator::kModulo:
      if (b == 0) fail("float modulo");
      return Value::real(real_modulo(a, b));
    case Operator::kPower: {
      if (a == 0 && b < 0) fail("0.0 cannot be raised to a negative power");
      if (a < 0 && std::isfinite(a) && std::isfinite(b) && b != std::floor(b))
        fail("complex numbers are not supported");
      const double result = std::pow(a, b);
      if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) fail("numerical result out of range");
      return Value::real(result);
    }
  }
  return {};
}

constexpr std::string_view symbol_of(Operator op) {
  switch (op) {
    case Operator::kAdd: return "+";
    case Operator::kSubtract: return "-";
    case Operator::kMultiply: return "*";
    case Operator::kDivide: return "/";
    case Operator::kFloorDivide: return "//";
    case Operator::kModulo: return "%";
    case Operator::kPower: return "** or pow()";
  }
  return "";
}

/// -1, 0, 1, or 2 for "no order" (NaN). `symbol` is for the message.
int order(Runtime& runtime, const Value& a, const Value& b, std::string_view symbol) {
  if (a.is_undefined()) fail_undefined(a);
  if (b.is_undefined()) fail_undefined(b);
  if (a.is_number() && b.is_number()) return compare_numbers(a, b);
  if (a.is_string() && b.is_string()) {
    const int result = a.text().compare(b.text());  // UTF-8 sorts by code points
    return result < 0 ? -1 : result > 0 ? 1 : 0;
  }
  if (a.is_sequence() && a.kind() == b.kind()) {
    const std::size_t common = std::min(a.items().size(), b.items().size());
    for (std::size_t i = 0; i < common; ++i) {
      runtime.budget().step();
      if (!are_equal(a.items()[i], b.items()[i])) return order(runtime, a.items()[i], b.items()[i], symbol);
    }
    return a.items().size() < b.items().size() ? -1 : a.items().size() > b.items().size() ? 1 : 0;
  }
  fail("'" + std::string(symbol) + "' not supported between instances of '" + a.type_name() + "' and '" +
       b.type_name() + "'");
}

}  // namespace

void fail_undefined(const Value& value) { fail(static_cast<const UndefinedObject*>(value.object().get())->message); }

bool is_true(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone: return false;
    case Kind::kBool:
    case Kind::kInt: return value.as_int() != 0;
    case Kind::kFloat: return value.as_real() != 0;
    case Kind::kString: return !value.text().empty();
    case Kind::kList:
    case Kind::kTuple: return !value.items().empty();
    case Kind::kDict: return value.dict().size() > 0;
    case Kind::kOther: break;
  }
  if (const auto* range = object_as<RangeObject>(value)) return range->length > 0;
  if (const auto* view = object_as<DictViewObject>(value)) return view->source.dict().size() > 0;
  return true;
}

bool are_equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone: return true;
    case Kind::kString: return a.text() == b.text();
    case Kind::kList:
    case Kind::kTuple: return are_items_equal(a.items(), b.items());
    case Kind::kDict: {
      if (a.dict().size() != b.dict().size()) return false;
      const auto& entries = a.dict().entries();
      return std::all_of(entries.begin(), entries.end(), [&](const auto& entry) {
        const Value* other = b.dict().find(entry.first);
        return other != nullptr && are_equal(entry.second, *other);
      });
    }
    default: return are_objects_equal(a, b);
  }
}

std::size_t hash_of(std::string_view text) { return std::hash<std::string_view>()(text); }

std::size_t hash_of(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined: return 1;
    case Kind::kNone: return 2;
    case Kind::kBool:
    case Kind::kInt: return std::hash<double>()(static_cast<double>(value.as_int()));
    case Kind::kFloat: return std::hash<double>()(value.as_real());
    case Kind::kString: return hash_of(value.text());
    case Kind::kTuple: {
      std::size_t hash = 3;
      for (const Value& item : value.items()) hash = hash * 1'000'003 + hash_of(item);
      return hash;
    }
    case Kind::kList:
    case Kind::kDict: fail(std::string("unhashable type: '") + value.type_name() + "'");
    case Kind::kOther: break;
  }
  if (object_as<DictViewObject>(value) != nullptr) fail(std::string("unhashable type: '") + value.type_name() + "'");
  return std::hash<const void*>()(value.object().get());
}

bool is_less(Runtime& runtime, const Value& a, const Value& b) {
  runtime.budget().step();
  return order(runtime, a, b, "<") == -1;
}

bool compare(Runtime& runtime, Comparison comparison, const Value& a, const Value& b) {
  runtime.budget().step(std::min(a.extent().weight, b.extent().weight));
  switch (comparison) {
    case Comparison::kEqual: return are_equal(a, b);
    case Comparison::kNotEqual: return !are_equal(a, b);
    case Comparison::kLess: return order(runtime, a, b, "<") == -1;
    case Comparison::kGreater: return order(runtime, a, b, ">") == 1;
    case Comparison::kLessEqual: {
      const int result = order(runtime, a, b, "<=");
      return result == -1 || result == 0;
    }
    case Comparison::kGreaterEqual: {
      const int result = order(runtime, a, b, ">=");
      return result == 1 || result == 0;
    }
    case Comparison::kIn: return contains(runtime, b, a);
    case Comparison::kNotIn: return !contains(runtime, b, a);
  }
  return false;
}

bool contains(Runtime& runtime, const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) fail(std::string("'in <string>' requires string as left operand, not ") + item.type_name());
    runtime.budget().step(container.text().size() / 64);
    return container.text().find(item.text()) != std::string::npos;
  }
  runtime.budget().step(item.extent().weight);
  if (container.is_dict()) return container.dict().find(item) != nullptr;
  const auto* view = object_as<DictViewObject>(container);
  if (view != nullptr && view->part == DictViewObject::Part::kKeys) return view->source.dict().find(item) != nullptr;
  if (container.kind() == Kind::kOther && !is_iterable(container)) {
    fail(std::string("argument of type '") + container.type_name() + "' is not iterable");
  }
  if (!is_iterable(container)) fail(std::string("argument of type '") + container.type_name() + "' is not iterable");
  const auto iterator = iterate(runtime, container);
  for (Value candidate; iterator->next(runtime, candidate);) {
    runtime.budget().step(std::min(item.extent().weight, candidate.extent().weight));
    if (are_equal(candidate, item)) return true;
  }
  return false;
}

Value calculate(Runtime& runtime, Operator op, const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return calculate_integers(op, a.as_int(), b.as_int());
  if (a.is_number() && b.is_number()) return calculate_reals(op, a.as_real(), b.as_real());
  if (op == Operator::kAdd) return add(runtime, a, b);
  if (op == Operator::kMultiply) {
    if ((a.is_string() || a.is_sequence()) && b.is_integral()) return repeat(runtime, a, b.as_int());
    if ((b.is_string() || b.is_sequence()) && a.is_integral()) return repeat(runtime, b, a.as_int());
    if ((a.is_string() || a.is_sequence()) && !b.is_undefined()) {
      fail(std::string("can't multiply sequence by non-int of type '") + b.type_name() + "'");
    }
  }
  if (op == Operator::kModulo && a.is_string()) {
    return runtime.text_like(a, percent_formatted(runtime, a.text(), b));
  }
  fail_operands(symbol_of(op), a, b);
}

Value negated(const Value& value) {
  if (value.is_integral()) return calculate_integers(Operator::kSubtract, 0, value.as_int());
  if (value.is_number()) return Value::real(-value.as_real());
  if (value.is_undefined()) fail_undefined(value);
  fail(std::string("bad operand type for unary -: '") + value.type_name() + "'");
}

Value unary_plus(const Value& value) {
  if (value.is_integral()) return Value::integer(value.as_int());
  if (value.is_number()) return value;
  if (value.is_undefined()) fail_undefined(value);
  fail(std::string("bad operand type for unary +: '") + value.type_name() + "'");
}

Int integer_of_real(double value) {
  if (std::isnan(value)) fail("cannot convert float NaN to integer");
  if (std::isinf(value)) fail("cannot convert float infinity to integer");
  if (std::fabs(value) >= 0x1p126) fail_overflow();
  return static_cast<Int>(value);
}

}  // namespace pajamas::jinja
