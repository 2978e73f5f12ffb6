// The tests of jinja2: what stands behind `is` (filters.h).
#include <array>

#include "text/jinja/ast.h"
#include "text/jinja/filters.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operations.h"
#include "text/jinja/printing.h"
#include "text/jinja/python_text.h"

namespace pajamas::jinja {

namespace {

void take_none(std::string_view name, const Arguments& arguments) { bind_positional(name, arguments, 0, 0); }

template <Comparison kComparison>
bool compared(Runtime& runtime, const Value& value, const Arguments& arguments) {
  return compare(runtime, kComparison, value, *bind_positional("this test", arguments, 1, 1)[0]);
}

template <bool (*kPredicate)(const Value& value)>
bool of_kind(Runtime&, const Value& value, const Arguments& arguments) {
  take_none("this test", arguments);
  return kPredicate(value);
}

bool is_defined(const Value& value) { return !value.is_undefined(); }
bool is_undefined(const Value& value) { return value.is_undefined(); }
bool is_none(const Value& value) { return value.is_none(); }
bool is_boolean(const Value& value) { return value.kind() == Kind::kBool; }
bool is_false_itself(const Value& value) { return value.kind() == Kind::kBool && !value.as_bool(); }
bool is_true_itself(const Value& value) { return value.kind() == Kind::kBool && value.as_bool(); }
bool is_int(const Value& value) { return value.kind() == Kind::kInt; }
bool is_float(const Value& value) { return value.kind() == Kind::kFloat; }
bool is_number(const Value& value) { return value.is_number(); }
bool is_string(const Value& value) { return value.is_string(); }
bool is_mapping(const Value& value) { return value.is_dict(); }
bool is_escaped(const Value& value) { return value.is_markup(); }
bool is_collection(const Value& value) { return is_iterable(value) || object_as<LoopObject>(value) != nullptr; }

/// Has a length and items by number or key.
bool is_sequence(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict: return true;
    default: return object_as<RangeObject>(value) != nullptr;
  }
}

bool is_callable(const Value& value) {
  return value.is_undefined() || object_as<FunctionObject>(value) != nullptr ||
         object_as<MacroObject>(value) != nullptr || object_as<LoopObject>(value) != nullptr ||
         object_as<JoinerObject>(value) != nullptr;
}

template <bool kIsOdd>
bool has_parity(Runtime& runtime, const Value& value, const Arguments& arguments) {
  take_none(kIsOdd ? "odd" : "even", arguments);
  const Value rest = calculate(runtime, Operator::kModulo, value, Value::integer(2));
  return are_equal(rest, Value::integer(kIsOdd ? 1 : 0));
}

bool is_divisible(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const Value& divisor = *bind_arguments("divisibleby", arguments, {"num"}, 1)[0];
  return are_equal(calculate(runtime, Operator::kModulo, value, divisor), Value::integer(0));
}

template <bool kIsUpper>
bool has_case(Runtime& runtime, const Value& value, const Arguments& arguments) {
  take_none(kIsUpper ? "upper" : "lower", arguments);
  return has_class(text_of(runtime, value), kIsUpper ? "isupper" : "islower");
}

bool is_in(Runtime& runtime, const Value& value, const Arguments& arguments) {
  return contains(runtime, *bind_arguments("in", arguments, {"seq"}, 1)[0], value);
}

/// Identity. Values that Python shares (small numbers, constants) count as the same when they are equal.
bool is_same(Runtime&, const Value& value, const Arguments& arguments) {
  const Value& other = *bind_arguments("sameas", arguments, {"other"}, 1)[0];
  if (value.kind() != other.kind()) return false;
  if (value.object() != nullptr && !value.is_string()) return value.object() == other.object();
  return are_equal(value, other);
}

bool names_filter(Runtime&, const Value& value, const Arguments& arguments) {
  take_none("filter", arguments);
  hash_of(value);  // Python looks it up in a dictionary, which refuses lists
  return value.is_string() && is_filter(value.text());
}

bool names_test(Runtime&, const Value& value, const Arguments& arguments) {
  take_none("test", arguments);
  hash_of(value);  // Python looks it up in a dictionary, which refuses lists
  return value.is_string() && is_test(value.text());
}

struct Row {
  std::string_view name;
  Test test;
};

constexpr std::array kTests = {
    Row{"!=", compared<Comparison::kNotEqual>},
    Row{"<", compared<Comparison::kLess>},
    Row{"<=", compared<Comparison::kLessEqual>},
    Row{"==", compared<Comparison::kEqual>},
    Row{">", compared<Comparison::kGreater>},
    Row{">=", compared<Comparison::kGreaterEqual>},
    Row{"boolean", of_kind<is_boolean>},
    Row{"callable", of_kind<is_callable>},
    Row{"defined", of_kind<is_defined>},
    Row{"divisibleby", is_divisible},
    Row{"eq", compared<Comparison::kEqual>},
    Row{"equalto", compared<Comparison::kEqual>},
    Row{"escaped", of_kind<is_escaped>},
    Row{"even", has_parity<false>},
    Row{"false", of_kind<is_false_itself>},
    Row{"filter", names_filter},
    Row{"float", of_kind<is_float>},
    Row{"ge", compared<Comparison::kGreaterEqual>},
    Row{"greaterthan", compared<Comparison::kGreater>},
    Row{"gt", compared<Comparison::kGreater>},
    Row{"in", is_in},
    Row{"integer", of_kind<is_int>},
    Row{"iterable", of_kind<is_collection>},
    Row{"le", compared<Comparison::kLessEqual>},
    Row{"lessthan", compared<Comparison::kLess>},
    Row{"lower", has_case<false>},
    Row{"lt", compared<Comparison::kLess>},
    Row{"mapping", of_kind<is_mapping>},
    Row{"ne", compared<Comparison::kNotEqual>},
    Row{"none", of_kind<is_none>},
    Row{"number", of_kind<is_number>},
    Row{"odd", has_parity<true>},
    Row{"sameas", is_same},
    Row{"sequence", of_kind<is_sequence>},
    Row{"string", of_kind<is_string>},
    Row{"test", names_test},
    Row{"true", of_kind<is_true_itself>},
    Row{"undefined", of_kind<is_undefined>},
    Row{"upper", has_case<true>},
};

}  // namespace

Test find_test(std::string_view name) {
  for (const Row& row : kTests) {
    if (row.name == name) return row.test;
  }
  return nullptr;
}

bool is_test(std::string_view name) { return find_test(name) != nullptr; }

}  // namespace pajamas::jinja
