// Filters on lists, dictionaries and generators (filters.h). Those that jinja2 writes as generators are lazy here, too:
// what fails fails when an item is asked for, and each can be run through once.
#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

#include "text/jinja/filters.h"
#include "text/jinja/numbers.h"
#include "text/jinja/operations.h"
#include "text/jinja/printing.h"
#include "text/jinja/python_text.h"

namespace pajamas::jinja {

namespace {

Int integer_of(const Value& value) {
  if (value.is_undefined()) fail_undefined(value);
  if (!value.is_integral()) fail(std::string("'") + value.type_name() + "' object cannot be interpreted as an integer");
  return value.as_int();
}

bool flag(const Value* value) { return value != nullptr && is_true(*value); }

/// What takes an item's "a.b.0": attributes or items one after another, or the item itself.
class Getter {
 public:
  Getter(Runtime& runtime, const Value* attribute, const Value* fallback = nullptr) {
    if (attribute == nullptr || attribute->is_none()) return;
    if (attribute->is_string()) {
      for (std::string_view rest = attribute->text();;) {
        const std::size_t dot = std::min(rest.find('.'), rest.size());
        const std::string_view part = rest.substr(0, dot);
        const auto number = has_class(part, "isdigit") ? parse_integer(part, 10) : std::nullopt;
        parts_.push_back(number ? Value::integer(*number) : runtime.text(std::string(part)));
        if (dot == rest.size()) break;
        rest = rest.substr(dot + 1);
      }
    } else {
      parts_.push_back(*attribute);
    }
    if (fallback != nullptr && !fallback->is_none()) {
      has_fallback_ = true;
      fallback_ = *fallback;
    }
  }

  Value operator()(Runtime& runtime, Value item) const {
    for (const Value& part : parts_) {
      item = get_item(runtime, item, part);
      if (has_fallback_ && item.is_undefined()) item = fallback_;
    }
    return item;
  }

 private:
  std::vector<Value> parts_;
  bool has_fallback_ = false;
  Value fallback_;
};

/// Texts in lower case, for comparing without regard to it.
Value comparable(Runtime& runtime, Value value, bool is_case_sensitive) {
  if (is_case_sensitive || !value.is_string()) return value;
  runtime.budget().step(value.text().size() / 8);
  return runtime.text(to_lower(value.text()));
}

using Keyed = std::pair<Value, Value>;  // key, item

/// sorted(items, key=...): stable, also backwards.
void sort_by_key(Runtime& runtime, std::vector<Keyed>& items, bool is_reversed) {
  std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
    return is_reversed ? is_less(runtime, b.first, a.first) : is_less(runtime, a.first, b.first);
  });
}

Value list_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind_arguments("list", arguments, {}, 0);
  return runtime.list(items_of(runtime, value));
}

Value length_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind_arguments("length", arguments, {}, 0);
  const auto length = length_of(runtime, value);
  if (!length) fail(std::string("object of type '") + value.type_name() + "' has no len()");
  return Value::integer(static_cast<Int>(*length));
}

Value default_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto bound = bind_arguments("default", arguments, {"default_value", "boolean"}, 0);
  if (!value.is_undefined() && !(flag(bound[1]) && !is_true(value))) return value;
  return bound[0] == nullptr ? runtime.text("") : *bound[0];
}

Value join_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto bound = bind_arguments("join", arguments, {"d", "attribute"}, 0);
  const std::string separator = bound[0] == nullptr ? "" : text_of(runtime, *bound[0]);
  const Getter getter(runtime, bound[1]);
  std::string out;
  bool is_first = true;
  const auto iterator = iterate(runtime, value);
  for (Value item; iterator->next(runtime, item);) {
    if (!is_first) out += separator;
    is_first = false;
    append_text(runtime, out, getter(runtime, item));
    runtime.budget().check_text(out.size());
  }
  return runtime.text(std::move(out));
}

Value first_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind_arguments("first", arguments, {}, 0);
  Value item;
  return iterate(runtime, value)->next(runtime, item) ? item : runtime.undefined("No first item, sequence was empty.");
}

Value last_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind_arguments("last", arguments, {}, 0);
  const auto iterator = iterate_backwards(runtime, value);
  if (iterator == nullptr) fail(std::string("'") + value.type_name() + "' object is not reversible");
  Value item;
  return iterator->next(runtime, item) ? item : runtime.undefined("No last item, sequence was empty.");
}

Value reverse_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind_arguments("reverse", arguments, {}, 0);
  if (value.is_string()) return get_slice(runtime, value, Value(), Value(), Value::integer(-1));
  if (const auto iterator = iterate_backwards(runtime, value)) return {Kind::kOther, iterator};
  if (!is_iterable(value)) fail("argument must be iterable");
  std::vector<Value> items = items_of(runtime, value);
  std::reverse(items.begin(), items.end());
  return runtime.list(std::move(items));
}

Value sort_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto bound = bind_arguments("sort", arguments, {"reverse", "case_sensitive", "attribute"}, 0);
  const bool is_case_sensitive = flag(bound[1]);
  std::vector<Getter> getters;  // "a,b" sorts by a, then b
  if (bound[2] != nullptr && bound[2]->is_string()) {
    for (std::string_view rest = bound[2]->text();;) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      const Value part = runtime.text(std::string(rest.substr(0, comma)));
      getters.emplace_back(runtime, &part);
      if (comma == rest.size()) break;
      rest = rest.substr(comma + 1);
    }
  } else {
    getters.emplace_back(runtime, bound[2]);
  }
  std::vector<Keyed> keyed;
  for (Value& item : items_of(runtime, value)) {
    std::vector<Value> key;
    for (const Getter& getter : getters) key.push_back(comparable(runtime, getter(runtime, item), is_case_sensitive));
    keyed.emplace_back(runtime.list(std::move(key)), std::move(item));
  }
  sort_by_key(runtime, keyed, flag(bound[0]));
  std::vector<Value> sorted;
  for (Keyed& entry : keyed) sorted.push_back(std::move(entry.second));
  return runtime.list(std::move(sorted));
}

Value dictsort_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto bound = bind_arguments("dictsort", arguments, {"case_sensitive", "by", "reverse"}, 0);
  const std::string by = bound[1] == nullptr ? "key" : text_of(runtime, *bound[1]);
  if (by != "key" && by != "value") fail("You can only sort by either \"key\" or \"value\"");
  if (value.is_undefined()) fail_undefined(value);
  if (!value.is_dict()) fail(std::string("'") + value.type_name() + "' object has no attribute 'items'");
  std::vector<Keyed> keyed;
  for (const auto& entry : value.dict().entries()) {
    keyed.emplace_back(comparable(runtime, by == "key" ? entry.first : entry.second, flag(bound[0])),
                       runtime.tuple({entry.first, entry.second}));
  }
  sort_by_key(runtime, keyed, flag(bound[2]));
  std::vector<Value> sorted;
  for (Keyed& entry : keyed) sorted.push_back(std::move(entry.second));
  return runtime.list(std::move(sorted));
}

template <bool kIsMax>
Value extreme_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto bound = bind_arguments(kIsMax ? "max" : "min", arguments, {"case_sensitive", "attribute"}, 0);
  const Getter getter(runtime, bound[1]);
  const auto iterator = iterate(runtime, value);
  Value best;
  Value best_key;
  bool is_first = true;
  for (Value item; iterator->next(runtime, item);) {
    Value key = comparable(runtime, getter(runtime, item), flag(bound[0]));
    if (is_first || (kIsMax ? is_less(runtime, best_key, key) : is_less(runtime, key, best_key))) {
      best = item;
      best_key = std::move(key);
    }
    is_first = false;
  }
  return is_first ? runtime.undefined("No aggregated item, sequence was empty.") : best;
}

Value sum_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto bound = bind_arguments("sum", arguments, {"attribute", "start"}, 0);
  const Getter getter(runtime, bound[0]);
  Value sum = bound[1] == nullptr ? Value::integer(0) : *bound[1];
  if (sum.is_string()) fail("sum() can't sum strings [use ''.join(seq) instead]");
  const auto iterator = iterate(runtime, value);
  for (Value item; iterator->next(runtime, item);) {
    sum = calculate(runtime, Operator::kAdd, sum, getter(runtime, item));
  }
  return sum;
}

Value groupby_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto bound = bind_arguments("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  const Getter getter(runtime, bound[0], bound[1]);
  std::vector<Keyed> keyed;
  for (Value& item : items_of(runtime, value)) {
    Value key = comparable(runtime, getter(runtime, item), flag(bound[2]));
    keyed.emplace_back(std::move(key), std::move(item));
  }
  sort_by_key(runtime, keyed, false);
  std::vector<Value> groups;
  for (std::size_t begin = 0; begin < keyed.size();) {
    std::size_t end = begin;
    std::vector<Value> members;
    while (end < keyed.size() && compare(runtime, Comparison::kEqual, keyed[end].first, keyed[begin].first)) {
      members.push_back(keyed[end++].second);
    }
    if (end == begin) members.push_back(keyed[end++].second);  // NaN equals nothing, itself included
    const Value key = getter(runtime, members[0]);
    auto group = runtime.make<SequenceObject>(std::vector<Value>{key, runtime.list(std::move(members))}, true);
    group->is_group = true;
    groups.emplace_back(Kind::kTuple, std::move(group));
    begin = end;
  }
  return runtime.list(std::move(groups));
}

/// Base of the lazy filters.
class LazyFilter : public Iterator {
 public:
  LazyFilter(Budget* budget, const Value& source) : Iterator(budget, source.extent().around()), source_(source) {}

 protected:
  /// The next item of what is filtered, which is looked at on the first call only.
  bool next_item(Runtime& runtime, Value& item) {
    if (is_done_) return false;
    if (iterator_ == nullptr) iterator_ = iterate(runtime, source_);
    is_done_ = !iterator_->next(runtime, item);
    return !is_done_;
  }
  /// `if value:` of a generator function: false things are not even run through.
  bool is_source_true() const { return is_true(source_); }

 private:
  const Value source_;
  std::shared_ptr<Iterator> iterator_;
  bool is_done_ = false;
};

class UniqueIterator final : public LazyFilter {
 public:
  UniqueIterator(Budget* budget, const Value& source, Getter getter, bool is_case_sensitive)
      : LazyFilter(budget, source), getter_(std::move(getter)), is_case_sensitive_(is_case_sensitive) {}
  bool next(Runtime& runtime, Value& value) override {
    const DepthGuard guard(runtime.budget());
    while (next_item(runtime, value)) {
      Value key = comparable(runtime, getter_(runtime, value), is_case_sensitive_);
      runtime.budget().step(key.extent().weight);
      if (seen_.find(key) != nullptr) continue;
      grow(2 * sizeof(Value));
      seen_.set(std::move(key), Value());
      return true;
    }
    return false;
  }

 private:
  Getter getter_;
  bool is_case_sensitive_;
  Dict seen_;
};

Value unique_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto bound = bind_arguments("unique", arguments, {"case_sensitive", "attribute"}, 0);
  return {Kind::kOther, runtime.make<UniqueIterator>(value, Getter(runtime, bound[1]), flag(bound[0]))};
}

class ItemsOfDictIterator final : public LazyFilter {
 public:
  ItemsOfDictIterator(Budget* budget, const Value& source) : LazyFilter(budget, source), dict_(source) {}
  bool next(Runtime& runtime, Value& value) override {
    if (dict_.is_undefined()) return false;
    if (!dict_.is_dict()) fail("Can only get item pairs from a mapping.");
    runtime.budget().step();
    if (index_ >= dict_.dict().size()) return false;
    const auto& entry = dict_.dict().entries()[index_++];
    value = runtime.tuple({entry.first, entry.second});
    return true;
  }

 private:
  const Value dict_;
  std::size_t index_ = 0;
};

Value items_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind_arguments("items", arguments, {}, 0);
  return {Kind::kOther, runtime.make<ItemsOfDictIterator>(value)};
}

class BatchIterator final : public LazyFilter {
 public:
  BatchIterator(Budget* budget, const Value& source, Int size, Value filling)
      : LazyFilter(budget, source), size_(size), filling_(std::move(filling)) {}
  bool next(Runtime& runtime, Value& value) override {
    const DepthGuard guard(runtime.budget());
    if (is_over_) return false;
    std::vector<Value> batch;
    if (has_pending_) batch.push_back(std::exchange(pending_, Value()));
    has_pending_ = false;
    for (Value item; next_item(runtime, item);) {
      if (static_cast<Int>(batch.size()) == size_) {
        pending_ = item;
        has_pending_ = true;
        value = runtime.list(std::move(batch));
        return true;
      }
      batch.push_back(item);
    }
    is_over_ = true;
    if (batch.empty()) return false;
    while (!filling_.is_none() && static_cast<Int>(batch.size()) < size_) {
      runtime.budget().step();
      runtime.budget().check_text(batch.size() * sizeof(Value));
      batch.push_back(filling_);
    }
    value = runtime.list(std::move(batch));
    return true;
  }

 private:
  Int size_;
  Value filling_;
  Value pending_;
  bool has_pending_ = false;
  bool is_over_ = false;
};

Value batch_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto bound = bind_arguments("batch", arguments, {"linecount", "fill_with"}, 1);
  return {Kind::kOther,
          runtime.make<BatchIterator>(value, integer_of(*bound[0]), bound[1] == nullptr ? Value() : *bound[1])};
}

/// Eager where jinja2's is lazy; only a failure nobody asks for could tell.
Value slice_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto bound = bind_arguments("slice", arguments, {"slices", "fill_with"}, 1);
  const std::vector<Value> items = items_of(runtime, value);
  const Int count = integer_of(*bound[0]);
  if (count == 0) fail("integer division or modulo by zero");
  const auto length = static_cast<Int>(items.size());
  std::vector<Value> slices;
  Int position = 0;
  for (Int i = 0; i < count; ++i) {
    runtime.budget().step();
    const bool has_extra = i < length % count;
    const Int end = position + length / count + (has_extra ? 1 : 0);
    std::vector<Value> slice(items.begin() + static_cast<std::ptrdiff_t>(position),
                             items.begin() + static_cast<std::ptrdiff_t>(end));
    if (bound[1] != nullptr && !bound[1]->is_none() && !has_extra) slice.push_back(*bound[1]);
    slices.push_back(runtime.list(std::move(slice)));
    position = end;
  }
  return {Kind::kOther, iterate_items(runtime, std::move(slices))};
}

class MapIterator final : public LazyFilter {
 public:
  MapIterator(Budget* budget, const Value& source, Arguments arguments)
      : LazyFilter(budget, source), arguments_(std::move(arguments)) {}
  bool next(Runtime& runtime, Value& value) override {
    const DepthGuard guard(runtime.budget());
    if (!is_source_true()) return false;
    prepare(runtime);
    Value item;
    if (!next_item(runtime, item)) return false;
    value = getter_ ? (*getter_)(runtime, item) : runtime.call_filter(name_, item, arguments_);
    return true;
  }

 private:
  void prepare(Runtime& runtime) {
    if (is_prepared_) return;
    is_prepared_ = true;
    const auto is_attribute = [](const auto& named) { return named.first == "attribute"; };
    if (arguments_.positional.empty() && std::any_of(arguments_.named.begin(), arguments_.named.end(), is_attribute)) {
      const auto bound = bind_arguments("map", arguments_, {"attribute", "default"}, 1);
      getter_.emplace(runtime, bound[0], bound[1]);
      return;
    }
    if (arguments_.positional.empty()) fail("map requires a filter argument");
    if (!arguments_.positional[0].is_string()) fail("map requires the name of a filter");
    name_ = arguments_.positional[0].text();
    arguments_.positional.erase(arguments_.positional.begin());
  }

  Arguments arguments_;
  bool is_prepared_ = false;
  std::string name_;
  std::optional<Getter> getter_;
};

Value map_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  return {Kind::kOther, runtime.make<MapIterator>(value, arguments)};
}

/// select, reject, selectattr, rejectattr
class SelectIterator final : public LazyFilter {
 public:
  SelectIterator(Budget* budget, const Value& source, Arguments arguments, bool has_attribute, bool is_wanted)
      : LazyFilter(budget, source),
        arguments_(std::move(arguments)),
        has_attribute_(has_attribute),
        is_wanted_(is_wanted) {}
  bool next(Runtime& runtime, Value& value) override {
    const DepthGuard guard(runtime.budget());
    if (!is_source_true()) return false;
    prepare(runtime);
    while (next_item(runtime, value)) {
      const Value tested = getter_ ? (*getter_)(runtime, value) : value;
      const bool is_selected = has_test_ ? runtime.call_test(name_, tested, arguments_) : is_true(tested);
      if (is_selected == is_wanted_) return true;
    }
    return false;
  }

 private:
  void prepare(Runtime& runtime) {
    if (is_prepared_) return;
    is_prepared_ = true;
    auto& positional = arguments_.positional;
    if (has_attribute_) {
      if (positional.empty()) fail("Missing parameter for attribute name");
      getter_.emplace(runtime, &positional[0]);
      positional.erase(positional.begin());
    }
    has_test_ = !positional.empty();
    if (!has_test_) return;
    if (!positional[0].is_string()) fail("the name of a test must be a text");
    name_ = positional[0].text();
    positional.erase(positional.begin());
  }

  Arguments arguments_;
  const bool has_attribute_;
  const bool is_wanted_;
  bool is_prepared_ = false;
  bool has_test_ = false;
  std::string name_;
  std::optional<Getter> getter_;
};

template <bool kHasAttribute, bool kIsWanted>
Value select_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  return {Kind::kOther, runtime.make<SelectIterator>(value, arguments, kHasAttribute, kIsWanted)};
}

/// The attribute alone: an item of that name does not count.
Value attr_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const Value& name = *bind_arguments("attr", arguments, {"name"}, 1)[0];
  if (!name.is_string()) fail("attribute name must be string");
  if (value.is_dict() && find_dict_method(name.text()) == nullptr) {
    return runtime.undefined("'dict object' has no attribute " + repr_of_text(name.text()));
  }
  return get_attribute(runtime, value, name.text());
}

struct Row {
  std::string_view name;
  Filter filter;
};

constexpr std::array kFilters = {
    Row{"attr", attr_filter},
    Row{"batch", batch_filter},
    Row{"count", length_filter},
    Row{"d", default_filter},
    Row{"default", default_filter},
    Row{"dictsort", dictsort_filter},
    Row{"first", first_filter},
    Row{"groupby", groupby_filter},
    Row{"items", items_filter},
    Row{"join", join_filter},
    Row{"last", last_filter},
    Row{"length", length_filter},
    Row{"list", list_filter},
    Row{"map", map_filter},
    Row{"max", extreme_filter<true>},
    Row{"min", extreme_filter<false>},
    Row{"reject", select_filter<false, false>},
    Row{"rejectattr", select_filter<true, false>},
    Row{"reverse", reverse_filter},
    Row{"select", select_filter<false, true>},
    Row{"selectattr", select_filter<true, true>},
    Row{"slice", slice_filter},
    Row{"sort", sort_filter},
    Row{"sum", sum_filter},
    Row{"unique", unique_filter},
};

}  // namespace

Filter find_collection_filter(std::string_view name) {
  for (const Row& row : kFilters) {
    if (row.name == name) return row.filter;
  }
  return nullptr;
}

}  // namespace pajamas::jinja
