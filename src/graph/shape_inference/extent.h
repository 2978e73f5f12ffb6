// Extent: an integer that is known, or a polynomial in named unknowns ("batch*16", "height*width"), so that shape
// inference can prove two extents equal. Not Dimension (graph.h), which is what files can say.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace pajamas {

/// A value. Overflowing arithmetic gives a fresh unknown: equal to nothing but its own copies.
class Extent {
 public:
  Extent(std::int64_t value) : constant_(value) {}  // NOLINT(google-explicit-constructor): an integer is an Extent
  /// The unknown `name`; equal names are equal values.
  static Extent named(const std::string& name);
  /// An unknown that equals nothing else.
  static Extent fresh();
  /// Known, named, or a fresh unknown.
  static Extent of(const Dimension& dimension);

  bool is_known() const { return terms_.empty(); }
  /// Only when is_known().
  std::int64_t value() const { return constant_; }
  /// Known extent, name of a plain named unknown, an expression over names, or "?" when a fresh unknown is in it.
  Dimension to_dimension() const;
  std::string to_string() const { return to_dimension().to_string(); }
  /// The extent as a polynomial: names of unknowns, sorted and repeated for powers, with what their product counts; and
  /// what is added to these.
  const std::map<std::vector<std::string>, std::int64_t>& terms() const { return terms_; }
  std::int64_t added() const { return constant_; }
  /// Surely not negative: known so, or built of unknown extents with positive factors only.
  bool is_surely_non_negative() const;

  friend Extent operator+(const Extent& a, const Extent& b);
  friend Extent operator-(const Extent& a, const Extent& b);
  friend Extent operator*(const Extent& a, const Extent& b);
  /// floor(a / b) for b > 0, exact when every term divides; else an unknown named by the expression.
  friend Extent floor_divide(const Extent& a, const Extent& b);
  /// a / b when that is a polynomial without rest.
  friend std::optional<Extent> divide_exactly(const Extent& a, const Extent& b);
  bool operator==(const Extent& other) const = default;

 private:
  using Monomial = std::vector<std::string>;  ///< Sorted factors.
  static Extent combine(const Extent& a, const Extent& b, std::int64_t factor);
  std::int64_t constant_ = 0;
  std::map<Monomial, std::int64_t> terms_;  ///< No zero coefficients.
};

Extent floor_divide(const Extent& a, const Extent& b);
std::optional<Extent> divide_exactly(const Extent& a, const Extent& b);
Extent product(const std::vector<Extent>& extents);

}  // namespace pajamas
