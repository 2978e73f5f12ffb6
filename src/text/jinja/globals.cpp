// The functions every template can call (interpreter.h).
#include <array>
#include <ctime>

#include "text/jinja/interpreter.h"
#include "text/jinja/printing.h"
#include "text/jinja/python_text.h"

namespace pajamas::jinja {

namespace {

/// What jinja2's sandbox allows.
constexpr Int kMaxRange = 100'000;

Value range_function(Runtime& runtime, const Value&, const Arguments& arguments) {
  const auto bound = bind_positional("range", arguments, 1, 3);
  Int bounds[3] = {0, 0, 1};
  for (std::size_t i = 0; i < 3 && bound[i] != nullptr; ++i) {
    const Value& value = *bound[i];
    if (value.is_undefined()) fail_undefined(value);
    if (!value.is_integral()) {
      fail(std::string("'") + value.type_name() + "' object cannot be interpreted as an integer");
    }
    bounds[i] = value.as_int();
    constexpr Int kMaxBound = Int{1} << 100;  // differences of two stay within 127 bits
    if (bounds[i] > kMaxBound || bounds[i] < -kMaxBound) fail("the bounds of a range are too large");
  }
  if (bound[1] == nullptr) {
    bounds[1] = bounds[0];
    bounds[0] = 0;
  }
  if (bounds[2] == 0) fail("range() arg 3 must not be zero");
  auto range = runtime.make<RangeObject>(bounds[0], bounds[1], bounds[2]);
  if (range->length > kMaxRange) fail("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).");
  return {Kind::kOther, std::move(range)};
}

/// dict(mapping or pairs, name=value, ...)
Dict dict_of(Runtime& runtime, const Arguments& arguments) {
  if (arguments.positional.size() > 1) {
    fail("dict expected at most 1 argument, got " + std::to_string(arguments.positional.size()));
  }
  Dict dict;
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    const auto* space = object_as<NamespaceObject>(source);
    if (source.is_dict()) {
      for (const auto& entry : source.dict().entries()) dict.set(entry.first, entry.second);
    } else if (space != nullptr) {
      fail("'Namespace' object is not iterable");
    } else {
      for (const Value& pair : items_of(runtime, source)) {
        const std::vector<Value> parts = items_of(runtime, pair);
        if (parts.size() != 2)
          fail("a dictionary is made of pairs, and one has length " + std::to_string(parts.size()));
        dict.set(parts[0], parts[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) dict.set(runtime.text(name), value);
  return dict;
}

Value dict_function(Runtime& runtime, const Value&, const Arguments& arguments) {
  return runtime.dict(dict_of(runtime, arguments));
}

Value namespace_function(Runtime& runtime, const Value&, const Arguments& arguments) {
  auto space = runtime.make<NamespaceObject>();
  runtime.keep(space);
  const Dict attributes = dict_of(runtime, arguments);
  for (const auto& entry : attributes.entries()) {
    if (entry.first.is_string() && entry.first.text().starts_with("_")) {
      fail("chat templates cannot store underscore-prefixed attributes on a namespace, but got " +
           repr_of_text(entry.first.text()));
    }
    space->set(entry.first, entry.second);
  }
  return {Kind::kOther, std::move(space)};
}

Value cycler_function(Runtime& runtime, const Value&, const Arguments& arguments) {
  if (!arguments.named.empty()) fail("cycler() takes no keyword arguments");
  if (arguments.positional.empty()) fail("at least one item has to be provided");
  auto cycler = runtime.make<CyclerObject>(arguments.positional);
  runtime.keep(cycler);
  return {Kind::kOther, std::move(cycler)};
}

Value joiner_function(Runtime& runtime, const Value&, const Arguments& arguments) {
  const Value* separator = bind_arguments("joiner", arguments, {"sep"}, 0)[0];
  auto joiner = runtime.make<JoinerObject>(separator == nullptr ? runtime.text(", ") : *separator);
  runtime.keep(joiner);
  return {Kind::kOther, std::move(joiner)};
}

Value raise_function(Runtime& runtime, const Value&, const Arguments& arguments) {
  fail(text_of(runtime, *bind_arguments("raise_exception", arguments, {"message"}, 1)[0]));
}

Value strftime_function(Runtime& runtime, const Value&, const Arguments& arguments) {
  const Value& format = *bind_arguments("strftime_now", arguments, {"format"}, 1)[0];
  if (!format.is_string()) fail(std::string("strftime() argument 1 must be str, not ") + format.type_name());
  if (format.text().size() > 4096) fail("strftime_now() of a format of more than 4096 bytes");
  const auto now = runtime.now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(
      std::chrono::time_point_cast<std::chrono::system_clock::duration>(std::chrono::floor<std::chrono::seconds>(now)));
  std::tm local{};
  localtime_r(&seconds, &local);
  // Python's %f, microseconds, which C does not know; its time is naive, so %z and %Z are empty.
  const auto micros =
      std::chrono::duration_cast<std::chrono::microseconds>(now - std::chrono::floor<std::chrono::seconds>(now))
          .count();
  std::string pattern;
  const std::string& text = format.text();
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%' || i + 1 >= text.size()) {
      pattern += text[i] == '%' ? "%%" : std::string(1, text[i]);
      continue;
    }
    const char type = text[++i];
    if (type == 'f') {
      const std::string digits = std::to_string(micros);
      pattern += std::string(6 - digits.size(), '0') + digits;
    } else if (type != 'z' && type != 'Z') {
      pattern += {'%', type};
    }
  }
  if (pattern.empty()) return runtime.text("");
  pattern += '.';  // so that an empty result is no failure
  std::string out(pattern.size() * 32 + 128, '\0');
  const std::size_t size = std::strftime(out.data(), out.size(), pattern.c_str(), &local);
  if (size == 0) fail("strftime_now() cannot format " + repr_of_text(text));
  out.resize(size - 1);
  return runtime.text(std::move(out));
}

Value lipsum_function(Runtime&, const Value&, const Arguments&) {
  fail("lipsum() gives random text, which is not supported");
}

struct Row {
  std::string_view name;
  FunctionObject::Function function;
};

constexpr std::array kGlobals = {
    Row{"cycler", cycler_function},       Row{"dict", dict_function},
    Row{"joiner", joiner_function},       Row{"lipsum", lipsum_function},
    Row{"namespace", namespace_function}, Row{"raise_exception", raise_function},
    Row{"range", range_function},         Row{"strftime_now", strftime_function},
};

}  // namespace

FunctionObject::Function find_global(std::string_view name) {
  for (const Row& row : kGlobals) {
    if (row.name == name) return row.function;
  }
  return nullptr;
}

}  // namespace pajamas::jinja
