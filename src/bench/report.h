// A table of figures with goals, as JSON, Markdown and text. A figure cannot enter without a statement of how the
// outputs behind it were verified: a fast wrong answer is not a result.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace pajamas {

/// Says that the outputs behind a figure were checked, and how. Can only be made from a check that passed.
class Verified {
 public:
  /// Throws Error{kInternal} naming `how` when `is_passed` is false: the benchmark then reports nothing.
  static Verified by(std::string how, bool is_passed);
  const std::string& how() const noexcept { return how_; }

 private:
  explicit Verified(std::string how) : how_(std::move(how)) {}
  std::string how_;
};

/// What a figure is held to.
struct Goal {
  enum class Kind { kAtLeast, kAtMost };
  Kind kind = Kind::kAtLeast;
  double bound = 0;
};

struct Figure {
  std::string name;
  double value = 0;
  std::string unit;  ///< "ms", "×", "images/s", ...
  std::optional<Goal> goal;
  std::string note;        ///< How it was measured, or what limits it.
  nlohmann::json details;  ///< Measurements behind it; null when there are none.

  /// Nothing without a goal.
  std::optional<bool> is_passed() const;
};

class Report {
 public:
  Report(std::string title, nlohmann::json environment);

  /// Adds a figure whose outputs were verified.
  void add(Figure figure, const Verified& verified);
  /// Adds a row for a figure that could not be measured here, with the reason. It counts as not passed when it has a
  /// goal.
  void add_missing(std::string name, std::optional<Goal> goal, std::string unit, std::string reason);

  bool has_failures() const;  ///< Any figure past its goal, or missing with one.
  /// {"title", "created_at", "environment", "figures": [{"name", "value", "unit", "goal", "is_passed", "verified_by",
  /// "note", "details"}]}.
  nlohmann::json to_json() const;
  std::string to_markdown() const;
  /// For terminals: aligned columns.
  std::string to_text() const;

 private:
  struct Row {
    Figure figure;
    std::string verified_by;
    bool is_missing = false;
  };
  std::vector<std::vector<std::string>> cells() const;

  std::string title_;
  nlohmann::json environment_;
  std::string created_at_;
  std::vector<Row> rows_;
};

}  // namespace pajamas
