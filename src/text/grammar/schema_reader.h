// JSON schemas taken apart: references, allOf and the choices resolved, so that what is left is a list of plain
// alternatives. Every keyword is either understood, known to change nothing, or refused by name. Not the automata:
// those are made by text/grammar/schema_emitter.h.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/grammar/front_ends.h"
#include "text/grammar/schema_numbers.h"

namespace pajamas::grammar {

using OrderedJson = nlohmann::ordered_json;

/// A schema within the document, with the JSON pointer to it.
struct SchemaRef {
  const OrderedJson* json;
  std::string path;
};
/// Schemas that all must hold.
using Conjunction = std::vector<SchemaRef>;

/// Kinds of values. A "number" is both kinds of numbers.
enum TypeBit : unsigned {
  kNullBit = 1,
  kBooleanBit = 2,
  kIntegerBit = 4,
  kFractionBit = 8,
  kStringBit = 16,
  kArrayBit = 32,
  kObjectBit = 64,
  kNumberBits = kIntegerBit | kFractionBit,
  kAllBits = 127,
};

/// What one schema says of items; several hold together.
struct ArrayPart {
  std::vector<SchemaRef> prefix;
  std::optional<SchemaRef> rest;
};

struct ObjectPart {
  std::vector<std::pair<std::string, SchemaRef>> properties;
  std::vector<std::pair<std::string, SchemaRef>> patterns;
  std::optional<SchemaRef> additional;
};

/// One alternative without references and choices.
struct FlatSchema {
  std::string path;
  unsigned types = kAllBits;
  bool has_explicit_types = false;
  unsigned implied_types = 0;  ///< Of the keywords that speak of one type only.
  std::optional<std::vector<SchemaRef>> values;
  NumberRange range;
  std::vector<SchemaRef> multiples;
  std::uint32_t min_length = 0;
  std::uint32_t max_length = kUnlimited;
  std::vector<SchemaRef> patterns;
  std::vector<SchemaRef> formats;
  std::uint32_t min_items = 0;
  std::uint32_t max_items = kUnlimited;
  std::vector<ArrayPart> array_parts;
  std::uint32_t min_properties = 0;
  std::uint32_t max_properties = kUnlimited;
  std::vector<ObjectPart> object_parts;
  std::vector<std::pair<std::string, std::string>> required;  ///< Name, and the path that asks for it.
  Conjunction property_names;

  /// The schemas of a property; none where the object may not have it. `pattern_matches(pattern, name)`.
  template <typename Matches>
  std::optional<Conjunction> property(const std::string& name, bool is_open_by_default, Matches pattern_matches) const;
  Conjunction item(std::size_t index) const;
  /// Whether unnamed properties are allowed where no schema says so.
  bool is_closed_by_default(bool is_open_by_default) const;
};

class SchemaReader {
 public:
  /// Throws Error{kBadInput} for what is no JSON or no schema.
  explicit SchemaReader(std::string_view schema_json);

  const OrderedJson& root() const { return root_; }
  /// The alternatives of a conjunction; none for `false`. Throws as TokenGrammar::from_json_schema.
  std::vector<FlatSchema> flatten(const Conjunction& conjunction) const;
  /// Whether the schema refers to another before anything of the value is written (so it may be recursive).
  static bool has_reference(const OrderedJson& schema);
  /// Whether every value conforms.
  static bool is_anything(const OrderedJson& schema);
  /// Pairs of oneOf branches met while flattening that must be shown to exclude each other.
  struct Exclusion {
    Conjunction first;
    Conjunction second;
    std::string path;
  };
  std::vector<Exclusion> take_exclusions() const { return std::exchange(exclusions_, {}); }

 private:
  struct Pending {
    SchemaRef schema;
    std::vector<const OrderedJson*> chain;  ///< Schemas that led here without anything written between.
    bool is_nullable_done = false;
  };
  struct Choice {
    std::vector<Pending> branches;
  };
  void expand(std::vector<Pending> pending, std::vector<Choice> choices, FlatSchema flat,
              std::vector<FlatSchema>& result) const;
  /// False when the schema is `false`.
  bool apply(const Pending& pending, FlatSchema& flat, std::vector<Pending>& more, std::vector<Choice>& choices) const;
  void apply_keyword(const std::string& keyword, const SchemaRef& value, const SchemaRef& schema,
                     FlatSchema& flat) const;
  SchemaRef resolve(const std::string& reference, const std::string& path) const;

  OrderedJson root_;
  mutable std::int64_t num_expansions_ = 0;
  mutable std::vector<Exclusion> exclusions_;
  mutable std::vector<const OrderedJson*> seen_exclusions_;
};

[[noreturn]] void fail_schema(const std::string& path, const std::string& message, const std::string& remedy = {});
[[noreturn]] void refuse_schema(const std::string& path, const std::string& message, const std::string& remedy = {});

template <typename Matches>
std::optional<Conjunction> FlatSchema::property(const std::string& name, bool is_open_by_default,
                                                Matches pattern_matches) const {
  Conjunction result;
  bool is_known = object_parts.empty() || !is_closed_by_default(is_open_by_default);
  for (const ObjectPart& part : object_parts) {
    bool has_part = false;
    for (const auto& property : part.properties) {
      if (property.first != name) continue;
      result.push_back(property.second);
      has_part = true;
    }
    for (const auto& pattern : part.patterns) {
      if (!pattern_matches(pattern.first, name)) continue;
      result.push_back(pattern.second);
      has_part = true;
    }
    if (!has_part && part.additional) {
      result.push_back(*part.additional);
      has_part = true;
    }
    is_known = is_known || has_part;
  }
  for (const auto& asked : required) is_known = is_known || asked.first == name;
  if (!is_known) return std::nullopt;
  return result;
}

}  // namespace pajamas::grammar
