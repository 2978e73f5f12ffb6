// See value.h.
#include "text/jinja/value.h"

#include <algorithm>
#include <utility>

#include "text/jinja/operations.h"
#include "text/jinja/python_text.h"
#include "text/jinja/runtime.h"

namespace pajamas::jinja {

namespace {

constexpr std::size_t kNotFound = static_cast<std::size_t>(-1);

/// Bytes of a text compared in the time of one value.
constexpr std::size_t kTextBytesPerWeight = 32;

void include(Extent& extent, const Value& part) {
  extent.depth = std::max(extent.depth, part.extent().depth);
  extent.weight += part.extent().weight;
}

Extent extent_of(const std::vector<Value>& items) {
  Extent extent;
  for (const Value& item : items) include(extent, item);
  return extent.around();
}

Extent extent_of(const Dict& dict) {
  Extent extent;
  for (const auto& entry : dict.entries()) {
    include(extent, entry.first);
    include(extent, entry.second);
  }
  return extent.around();
}

/// Bytes of an entry of a dictionary: two values and its place in the index.
constexpr std::size_t kEntryBytes = 2 * sizeof(Value) + 48;

}  // namespace

Object::Object(Budget* budget, std::size_t num_bytes, Extent size)
    : budget_(budget), num_bytes_(num_bytes), extent_(size) {
  if (size.depth > kMaxValueDepth) fail("values nested deeper than " + std::to_string(kMaxValueDepth) + " levels");
  if (size.weight > kMaxValueWeight) fail("a value of more than " + std::to_string(kMaxValueWeight) + " parts");
  if (budget_ != nullptr) budget_->allocate(num_bytes_);
}

Object::~Object() {
  if (budget_ != nullptr) budget_->release(num_bytes_);
}

void Object::grow(std::size_t num_bytes) {
  if (budget_ == nullptr) return;
  budget_->allocate(num_bytes);
  num_bytes_ += num_bytes;
}

Value Value::boolean(bool value) {
  Value result;
  result.kind_ = Kind::kBool;
  result.integer_ = value ? 1 : 0;
  return result;
}

Value Value::integer(Int value) {
  Value result;
  result.kind_ = Kind::kInt;
  result.integer_ = value;
  return result;
}

Value Value::real(double value) {
  Value result;
  result.kind_ = Kind::kFloat;
  result.real_ = value;
  return result;
}

double Value::as_real() const { return kind_ == Kind::kFloat ? real_ : static_cast<double>(integer_); }
const std::string& Value::text() const { return static_cast<const StringObject*>(object_.get())->text; }
std::size_t Value::num_chars() const { return static_cast<const StringObject*>(object_.get())->num_chars; }
const std::vector<Value>& Value::items() const { return static_cast<const SequenceObject*>(object_.get())->items; }
const Dict& Value::dict() const { return static_cast<const DictObject*>(object_.get())->dict; }

const char* Value::type_name() const {
  switch (kind_) {
    case Kind::kNone: return "NoneType";
    case Kind::kBool: return "bool";
    case Kind::kInt: return "int";
    case Kind::kFloat: return "float";
    case Kind::kString: return is_markup_ ? "Markup" : "str";
    default: return object_->type_name();
  }
}

std::size_t Dict::position_of(const Value& key, std::size_t hash) const {
  const auto range = index_.equal_range(hash);
  for (auto it = range.first; it != range.second; ++it) {
    if (are_equal(entries_[it->second].first, key)) return it->second;
  }
  return kNotFound;
}

const Value* Dict::find(const Value& key) const {
  const std::size_t position = position_of(key, hash_of(key));
  return position == kNotFound ? nullptr : &entries_[position].second;
}

const Value* Dict::find(std::string_view key) const {
  const auto range = index_.equal_range(hash_of(key));
  for (auto it = range.first; it != range.second; ++it) {
    const Value& candidate = entries_[it->second].first;
    if (candidate.is_string() && candidate.text() == key) return &entries_[it->second].second;
  }
  return nullptr;
}

void Dict::set(Value key, Value value) {
  const std::size_t hash = hash_of(key);
  const std::size_t position = position_of(key, hash);
  if (position != kNotFound) {
    entries_[position].second = std::move(value);
    return;
  }
  index_.emplace(hash, entries_.size());
  entries_.emplace_back(std::move(key), std::move(value));
}

bool Dict::erase(const Value& key) {
  const std::size_t position = position_of(key, hash_of(key));
  if (position == kNotFound) return false;
  std::vector<std::pair<Value, Value>> old = std::move(entries_);
  entries_.clear();
  index_.clear();
  for (std::size_t i = 0; i < old.size(); ++i) {
    if (i != position) set(std::move(old[i].first), std::move(old[i].second));
  }
  return true;
}

StringObject::StringObject(Budget* budget, std::string value)
    : Object(budget, sizeof(*this) + value.size(), {0, 1 + value.size() / kTextBytesPerWeight}),
      text(std::move(value)),
      num_chars(count_chars(text)) {}

SequenceObject::SequenceObject(Budget* budget, std::vector<Value> values, bool is_tuple)
    : Object(budget, sizeof(*this) + values.size() * sizeof(Value), extent_of(values)),
      items(std::move(values)),
      is_tuple_(is_tuple) {}

DictObject::DictObject(Budget* budget, Dict entries)
    : Object(budget, sizeof(*this) + entries.size() * kEntryBytes, extent_of(entries)), dict(std::move(entries)) {}

RangeObject::RangeObject(Budget* budget, Int from, Int to, Int by)
    : Object(budget, sizeof(*this)), start(from), stop(to), step(by) {
  if (by > 0) {
    length = to > from ? (to - from - 1) / by + 1 : 0;
  } else {
    length = from > to ? (from - to - 1) / -by + 1 : 0;
  }
}

const char* DictViewObject::type_name() const {
  switch (part) {
    case Part::kKeys: return "dict_keys";
    case Part::kValues: return "dict_values";
    case Part::kItems: return "dict_items";
  }
  return "";
}

Value DictViewObject::element(Runtime& runtime, std::size_t index) const {
  const auto& entry = source.dict().entries()[index];
  switch (part) {
    case Part::kKeys: return entry.first;
    case Part::kValues: return entry.second;
    case Part::kItems: break;
  }
  return runtime.tuple({entry.first, entry.second});
}

void NamespaceObject::set(Value key, Value value) {
  if (attributes.find(key) == nullptr) grow(kEntryBytes);
  attributes.set(std::move(key), std::move(value));
}

Value constant_text(std::string text) {
  return {Kind::kString, std::make_shared<StringObject>(nullptr, std::move(text))};
}

}  // namespace pajamas::jinja
