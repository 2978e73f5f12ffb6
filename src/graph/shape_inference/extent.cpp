// Arithmetic on extents. See extent.h.
#include "graph/shape_inference/extent.h"

#include <algorithm>
#include <atomic>

namespace pajamas {
namespace {

/// Starts the names of fresh unknowns; no ONNX exporter begins a dimension's name so.
constexpr char kFreshMark = '\x01';
/// Polynomials with more terms say nothing that helps; they become fresh unknowns.
constexpr std::size_t kMaxTerms = 16;

}  // namespace

Extent Extent::named(const std::string& name) {
  Extent extent(0);
  extent.terms_[{name}] = 1;
  return extent;
}

Extent Extent::fresh() {
  static std::atomic<std::uint64_t> counter{0};
  return named(kFreshMark + std::to_string(counter.fetch_add(1)));
}

Extent Extent::of(const Dimension& dimension) {
  if (dimension.is_known()) return Extent(dimension.extent());
  if (const auto* name = std::get_if<std::string>(&dimension.value); name != nullptr && !name->empty()) {
    return named(*name);
  }
  return fresh();
}

Dimension Extent::to_dimension() const {
  if (is_known()) return Dimension::known(constant_);
  std::string text;
  for (const auto& [monomial, coefficient] : terms_) {
    std::string term;
    for (const std::string& factor : monomial) {
      if (factor.find(kFreshMark) != std::string::npos) return Dimension{};
      term += (term.empty() ? "" : "*") + factor;
    }
    if (coefficient != 1) term = std::to_string(coefficient) + "*" + term;
    text += (text.empty() ? "" : " + ") + term;
  }
  if (constant_ != 0) text += " + " + std::to_string(constant_);
  return Dimension::named(text);
}

bool Extent::is_surely_non_negative() const {
  return constant_ >= 0 && std::all_of(terms_.begin(), terms_.end(), [](const auto& term) { return term.second > 0; });
}

Extent Extent::combine(const Extent& a, const Extent& b, std::int64_t factor) {
  Extent result = a;
  std::int64_t scaled = 0;
  if (__builtin_mul_overflow(b.constant_, factor, &scaled) ||
      __builtin_add_overflow(result.constant_, scaled, &result.constant_)) {
    return fresh();
  }
  for (const auto& [monomial, coefficient] : b.terms_) {
    std::int64_t& mine = result.terms_[monomial];
    if (__builtin_mul_overflow(coefficient, factor, &scaled) || __builtin_add_overflow(mine, scaled, &mine)) {
      return fresh();
    }
    if (mine == 0) result.terms_.erase(monomial);
  }
  return result.terms_.size() > kMaxTerms ? fresh() : result;
}

Extent operator+(const Extent& a, const Extent& b) { return Extent::combine(a, b, 1); }
Extent operator-(const Extent& a, const Extent& b) { return Extent::combine(a, b, -1); }

Extent operator*(const Extent& a, const Extent& b) {
  if (a.is_known() && b.is_known()) {
    std::int64_t value = 0;
    return __builtin_mul_overflow(a.constant_, b.constant_, &value) ? Extent::fresh() : Extent(value);
  }
  if (b.is_known()) return Extent::combine(Extent(0), a, b.constant_);
  if (a.is_known()) return Extent::combine(Extent(0), b, a.constant_);
  Extent result(0);
  const auto add_scaled = [&](const Extent& extent, const Extent::Monomial& monomial, std::int64_t coefficient) {
    Extent scaled(0);
    for (const auto& [other, other_coefficient] : extent.terms_) {
      Extent::Monomial joined = other;
      joined.insert(joined.end(), monomial.begin(), monomial.end());
      std::sort(joined.begin(), joined.end());
      scaled.terms_[joined] = other_coefficient;
    }
    if (extent.constant_ != 0) scaled.terms_[monomial] = extent.constant_;
    result = Extent::combine(result, scaled, coefficient);
  };
  for (const auto& [monomial, coefficient] : b.terms_) add_scaled(a, monomial, coefficient);
  return b.constant_ == 0 ? result : result + Extent::combine(Extent(0), a, b.constant_);
}

std::optional<Extent> divide_exactly(const Extent& a, const Extent& b) {
  // Only a divisor of one term: that is what shapes need, and it keeps the division unique.
  if (!b.is_known() && (b.terms_.size() != 1 || b.constant_ != 0)) return std::nullopt;
  const Extent::Monomial divisor = b.is_known() ? Extent::Monomial{} : b.terms_.begin()->first;
  const std::int64_t coefficient = b.is_known() ? b.constant_ : b.terms_.begin()->second;
  if (coefficient == 0) return std::nullopt;
  if (coefficient == -1) return Extent(0) - a;
  Extent result(0);
  if (a.constant_ != 0) {
    if (!divisor.empty() || a.constant_ % coefficient != 0) return std::nullopt;
    result.constant_ = a.constant_ / coefficient;
  }
  for (const auto& [monomial, own] : a.terms_) {
    if (own % coefficient != 0 || !std::includes(monomial.begin(), monomial.end(), divisor.begin(), divisor.end())) {
      return std::nullopt;
    }
    Extent::Monomial rest;
    std::set_difference(monomial.begin(), monomial.end(), divisor.begin(), divisor.end(), std::back_inserter(rest));
    if (rest.empty()) {
      result.constant_ += own / coefficient;
    } else {
      result.terms_[rest] = own / coefficient;
    }
  }
  return result;
}

Extent floor_divide(const Extent& a, const Extent& b) {
  if (a.is_known() && b.is_known() && b.constant_ != 0) {
    if (b.constant_ == -1) return Extent(0) - a;
    std::int64_t quotient = a.constant_ / b.constant_;
    if (a.constant_ % b.constant_ != 0 && (a.constant_ < 0) != (b.constant_ < 0)) --quotient;
    return Extent(quotient);
  }
  if (auto exact = divide_exactly(a, b)) return *exact;
  // An atom named by what it is, so that the same division elsewhere is the same value.
  const auto spelled = [](const Extent& extent) {
    std::string text;
    for (const auto& [monomial, coefficient] : extent.terms_) {
      text += (text.empty() ? "" : " + ") + (coefficient == 1 ? "" : std::to_string(coefficient) + "*");
      for (std::size_t i = 0; i < monomial.size(); ++i) text += (i > 0 ? "*" : "") + monomial[i];
    }
    if (extent.constant_ != 0 || text.empty()) {
      text += text.empty() ? "" : " + ";
      text += std::to_string(extent.constant_);
    }
    return text;
  };
  std::string name = "floor((" + spelled(a) + ")/(" + spelled(b) + "))";
  return name.size() > 256 ? Extent::fresh() : Extent::named(name);
}

Extent product(const std::vector<Extent>& extents) {
  Extent result(1);
  for (const Extent& extent : extents) result = result * extent;
  return result;
}

}  // namespace pajamas
