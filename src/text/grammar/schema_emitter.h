// JSON schemas into rules: values, objects and arrays with their order, commas and whitespace. What a schema says is
// taken apart by text/grammar/schema_reader.h.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "text/grammar/schema_reader.h"
#include "text/grammar/syntax.h"

namespace pajamas::grammar {

class SchemaEmitter {
 public:
  SchemaEmitter(GrammarDraft& draft, const SchemaReader& reader, const SchemaStyle& style);

  /// The rule of a conjunction, made where it is not yet there; what it says is written by write_rules().
  std::int32_t rule_of(const Conjunction& conjunction);
  /// Writes the rules asked for, and those that they ask for in turn: one after the other, since a document's
  /// references may lead further than a stack reaches.
  void write_rules();
  /// Shows that the branches of every oneOf met exclude each other. Throws Error{kUnsupported} where it cannot.
  void check_exclusions();
  /// Why schemas that no value conforms to are so, first met first: path and reason.
  const std::vector<std::pair<std::string, std::string>>& contradictions() const { return contradictions_; }

  /// Appends a value that conforms behind `from` and returns the state after it.
  std::int32_t append_value(Nfa& nfa, std::int32_t from, const Conjunction& conjunction);

 private:
  /// Names outside of those listed, by which patterns they match, with what their values must be.
  struct Region {
    Dfa names;
    Conjunction values;
  };

  void append_flat(Nfa& nfa, std::int32_t from, const FlatSchema& flat, std::int32_t to);
  std::int32_t append_literal(Nfa& nfa, std::int32_t from, const OrderedJson& value);
  std::int32_t append_numbers(Nfa& nfa, std::int32_t from, const FlatSchema& flat);
  std::int32_t append_string(Nfa& nfa, std::int32_t from, const FlatSchema& flat);
  std::int32_t append_array(Nfa& nfa, std::int32_t from, const FlatSchema& flat);
  std::int32_t append_object(Nfa& nfa, std::int32_t from, const FlatSchema& flat);
  std::int32_t append_member(Nfa& nfa, std::int32_t from, const Region& region);
  std::int32_t append_space(Nfa& nfa, std::int32_t from);
  /// A rule of up to style_.max_whitespace of these.
  std::int32_t run_of(std::initializer_list<char> blanks);
  /// The rule of JsonWhitespace::kIndented.
  std::int32_t indented_space();
  std::int32_t append_comma(Nfa& nfa, std::int32_t from);
  std::int32_t append_any(Nfa& nfa, std::int32_t from);

  NumberRange range_of(const FlatSchema& flat, bool is_integer, std::vector<int>& divisors) const;
  std::vector<Region> regions_of(const FlatSchema& flat, const std::vector<std::string>& names);
  Dfa names_allowed(const Conjunction& property_names);
  std::optional<Conjunction> property_of(const FlatSchema& flat, const std::string& name);
  bool matches(const std::string& pattern, const std::string& text);
  bool conforms(const OrderedJson& value, const FlatSchema& flat, bool looks_at_values);
  bool conforms(const OrderedJson& value, const Conjunction& conjunction);
  bool are_exclusive(const FlatSchema& a, const FlatSchema& b, int depth);
  bool are_exclusive(const Conjunction& a, const Conjunction& b, int depth);
  void contradict(const std::string& path, const std::string& reason) { contradictions_.emplace_back(path, reason); }

  GrammarDraft& draft_;
  const Limits& limits_;
  const SchemaReader& reader_;
  SchemaStyle style_;
  SyntaxEmitter emitter_;
  std::map<std::vector<const OrderedJson*>, std::int32_t> rules_;
  std::deque<std::pair<std::int32_t, Conjunction>> unwritten_;
  std::map<std::string, std::int32_t> string_rules_;  ///< By patterns and formats.
  std::map<std::string, Dfa> patterns_;
  std::vector<std::pair<std::string, std::string>> contradictions_;
  std::int32_t space_ = -1;
  std::int32_t any_ = -1;
  std::int32_t string_ = -1;
};

}  // namespace pajamas::grammar
