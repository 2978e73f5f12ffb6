// Index forms of expr.h: canonical sums of digits, and the rules by which divisions and remainders vanish.
#include <algorithm>
#include <limits>
#include <numeric>

#include "pajamas/error.h"
#include "targets/cuda/loops/expr.h"

namespace pajamas::cuda::loops {
namespace {

__extension__ typedef __int128 Wide;  ///< So that products of bounds do not overflow.

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  const std::int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

std::int64_t floor_modulo(std::int64_t a, std::int64_t b) { return a - floor_divide(a, b) * b; }

/// Bounds are proofs, so one that does not fit stays at the end of the range.
std::int64_t saturated(Wide value) {
  constexpr auto kLimit = static_cast<Wide>(std::numeric_limits<std::int64_t>::max() / 4);
  return static_cast<std::int64_t>(std::clamp<Wide>(value, -kLimit, kLimit));
}

std::size_t mix(std::size_t seed, std::uint64_t value) {
  return seed ^ (static_cast<std::size_t>(value) * 0x9E3779B97F4A7C15ULL + (seed << 6) + (seed >> 2));
}

}  // namespace

std::size_t ExprPool::FormHash::operator()(const Form& form) const {
  std::size_t seed = mix(static_cast<std::size_t>(form.low), static_cast<std::uint64_t>(form.constant));
  seed = mix(seed, static_cast<std::uint64_t>(form.high));
  for (const Term& term : form.terms) {
    seed = mix(seed, static_cast<std::uint64_t>(term.atom));
    seed = mix(seed, static_cast<std::uint64_t>(term.factor));
  }
  return seed;
}

bool ExprPool::FormEqual::operator()(const Form& a, const Form& b) const {
  return a.constant == b.constant && a.low == b.low && a.high == b.high && a.terms == b.terms;
}

FormId ExprPool::intern(Form form) {
  const auto found = form_ids_.find(form);
  if (found != form_ids_.end()) return found->second;
  const auto id = static_cast<FormId>(forms_.size());
  forms_.push_back(form);
  form_ids_.emplace(std::move(form), id);
  return id;
}

AtomId ExprPool::intern_atom(Atom atom) {
  const AtomKey key{static_cast<int>(atom.kind) * 64 + atom.variable,
                    atom.kind == AtomKind::kExpr ? atom.expr : atom.base,
                    atom.divisor,
                    atom.modulus,
                    atom.low,
                    atom.high};
  const auto [place, is_new] = atom_ids_.emplace(key, static_cast<AtomId>(atoms_.size()));
  if (is_new) atoms_.push_back(atom);
  return place->second;
}

VarId ExprPool::new_variable(std::string name, std::int64_t extent) {
  const auto id = static_cast<VarId>(variable_names_.size());
  if (id >= 64) throw Error(ErrorKind::kUnsupported, "a region with more than 64 loop variables", name);
  variable_names_.push_back(std::move(name));
  variable_extents_.push_back(extent);
  return id;
}

FormId ExprPool::constant_form(std::int64_t value) { return intern({value, {}, value, value, 0, false}); }

FormId ExprPool::of_atom(AtomId id) {
  const Atom& entry = atom(id);
  return intern({0, {{id, 1}}, entry.low, entry.high, entry.vars, entry.has_expr});
}

FormId ExprPool::variable(VarId id) {
  const std::int64_t extent = variable_extent(id);
  if (extent <= 1) return constant_form(0);
  Atom entry;
  entry.kind = AtomKind::kVariable;
  entry.variable = id;
  entry.high = extent - 1;
  entry.vars = std::uint64_t{1} << id;
  return of_atom(intern_atom(entry));
}

FormId ExprPool::expr_form(ExprId value, std::int64_t low, std::int64_t high) {
  const Expr& entry = expr(value);
  if (entry.kind == ExprKind::kConstant) return constant_form(std::clamp(entry.integer, low, high));
  if (entry.kind == ExprKind::kIndex) return assume(entry.form, low, high);
  if (low == high) return constant_form(low);
  Atom made;
  made.kind = AtomKind::kExpr;
  made.expr = value;
  made.low = low;
  made.high = high;
  made.vars = entry.vars;
  made.has_expr = true;
  return of_atom(intern_atom(made));
}

FormId ExprPool::normalized(std::int64_t constant, std::vector<Term> terms) {
  std::sort(terms.begin(), terms.end());
  std::vector<Term> sums;
  for (const Term& term : terms) {
    if (!sums.empty() && sums.back().atom == term.atom) {
      sums.back().factor += term.factor;
    } else {
      sums.push_back(term);
    }
  }
  std::erase_if(sums, [](const Term& term) { return term.factor == 0; });
  FormId rest = -1;
  if (merge_digits(sums, rest)) {
    const FormId others = normalized(constant, std::move(sums));
    return add(others, rest);
  }
  Form made{constant, std::move(sums), 0, 0, 0, false};
  Wide low = constant;
  Wide high = constant;
  for (const Term& term : made.terms) {
    const Atom& entry = atom(term.atom);
    const Wide first = static_cast<Wide>(term.factor) * entry.low;
    const Wide last = static_cast<Wide>(term.factor) * entry.high;
    low += std::min(first, last);
    high += std::max(first, last);
    made.vars |= entry.vars;
    made.has_expr = made.has_expr || entry.has_expr;
  }
  made.low = saturated(low);
  made.high = saturated(high);
  return intern(std::move(made));
}

bool ExprPool::merge_digits(std::vector<Term>& terms, FormId& rest) {
  for (std::size_t i = 0; i < terms.size(); ++i) {
    const Atom low = atom(terms[i].atom);
    if (low.kind != AtomKind::kDigit || low.modulus == 0) continue;
    for (std::size_t k = 0; k < terms.size(); ++k) {
      const Atom high = atom(terms[k].atom);
      if (high.kind != AtomKind::kDigit || high.base != low.base || high.divisor != low.divisor * low.modulus ||
          terms[k].factor != terms[i].factor * low.modulus) {
        continue;
      }
      const std::int64_t factor = terms[i].factor;
      const std::int64_t modulus = high.modulus == 0 ? 0 : low.modulus * high.modulus;
      terms.erase(terms.begin() + static_cast<std::ptrdiff_t>(std::max(i, k)));
      terms.erase(terms.begin() + static_cast<std::ptrdiff_t>(std::min(i, k)));
      FormId merged = divide(low.base, low.divisor);
      if (modulus != 0) merged = modulo(merged, modulus);
      rest = scale(merged, factor);
      return true;
    }
  }
  return false;
}

FormId ExprPool::add(FormId a, FormId b) {
  if (form(a).is_constant()) return add(b, form(a).constant);
  if (form(b).is_constant()) return add(a, form(b).constant);
  const Form x = form(a);
  const Form y = form(b);
  std::vector<Term> terms = x.terms;
  terms.insert(terms.end(), y.terms.begin(), y.terms.end());
  const FormId sum = normalized(x.constant + y.constant, std::move(terms));
  return assume(sum, saturated(static_cast<Wide>(x.low) + y.low), saturated(static_cast<Wide>(x.high) + y.high));
}

FormId ExprPool::add(FormId a, std::int64_t value) {
  if (value == 0) return a;
  Form made = form(a);
  made.constant += value;
  made.low += value;
  made.high += value;
  return intern(std::move(made));
}

FormId ExprPool::scale(FormId a, std::int64_t factor) {
  if (factor == 1) return a;
  if (factor == 0) return constant_form(0);
  Form made = form(a);
  made.constant *= factor;
  for (Term& term : made.terms) term.factor *= factor;
  const Wide first = static_cast<Wide>(made.low) * factor;
  const Wide last = static_cast<Wide>(made.high) * factor;
  made.low = saturated(std::min(first, last));
  made.high = saturated(std::max(first, last));
  return intern(std::move(made));
}

FormId ExprPool::assume(FormId a, std::int64_t low, std::int64_t high) {
  const Form& known = form(a);
  if (known.is_constant() || (low <= known.low && high >= known.high)) return a;
  Form made = known;
  made.low = std::max(made.low, low);
  made.high = std::min(made.high, high);
  if (made.low > made.high) return constant_form(low);  // behind a guard that never holds
  if (made.low == made.high) return constant_form(made.low);
  return intern(std::move(made));
}

AtomId ExprPool::digit_atom(FormId base, std::int64_t divisor, std::int64_t modulus) {
  const Form& inner = form(base);
  Atom made;
  made.kind = AtomKind::kDigit;
  made.base = base;
  made.divisor = divisor;
  made.modulus = modulus;
  made.low = floor_divide(inner.low, divisor);
  made.high = floor_divide(inner.high, divisor);
  if (modulus != 0) {
    if (made.low >= 0 && made.high < modulus) {
      made.modulus = 0;
    } else {
      made.low = 0;
      made.high = modulus - 1;
    }
  }
  made.vars = inner.vars;
  made.has_expr = inner.has_expr;
  return intern_atom(made);
}

std::optional<ExprPool::Cut> ExprPool::cut_without_carry(const Form& whole, std::int64_t divisor) {
  std::vector<std::int64_t> parts;
  for (const Term& term : whole.terms) {
    const std::int64_t part = std::gcd(term.factor, divisor);
    if (part > 1) parts.push_back(part);
  }
  std::sort(parts.begin(), parts.end(), std::greater<>());
  for (const std::int64_t part : parts) {
    std::vector<Term> upper;
    std::vector<Term> lower;
    for (const Term& term : whole.terms) (term.factor % part == 0 ? upper : lower).push_back(term);
    const std::int64_t shift = floor_divide(whole.constant, part);
    const FormId rest = normalized(whole.constant - shift * part, std::move(lower));
    if (form(rest).low < 0 || form(rest).high >= part) continue;
    for (Term& term : upper) term.factor /= part;
    const FormId top = normalized(shift, std::move(upper));
    return Cut{part, assume(top, floor_divide(whole.low, part), floor_divide(whole.high, part)), rest};
  }
  return std::nullopt;
}

FormId ExprPool::divide(FormId a, std::int64_t divisor) {
  if (divisor <= 0) throw Error(ErrorKind::kUnsupported, "an empty axis in a loop");
  if (divisor == 1) return a;
  const Form whole = form(a);
  if (whole.is_constant()) return constant_form(floor_divide(whole.constant, divisor));
  const std::int64_t low = floor_divide(whole.low, divisor);
  const std::int64_t high = floor_divide(whole.high, divisor);
  if (low == high) return constant_form(low);
  // What the divisor divides goes out in front: floor((divisor·A + B) / divisor) = A + floor(B / divisor).
  std::vector<Term> outside;
  std::vector<Term> inside;
  for (const Term& term : whole.terms) {
    if (term.factor % divisor == 0) {
      outside.push_back({term.atom, term.factor / divisor});
    } else {
      inside.push_back(term);
    }
  }
  if (!outside.empty()) {
    const FormId front = normalized(0, std::move(outside));
    FormId back = normalized(whole.constant, std::move(inside));
    const std::int64_t whole_low = whole.low;
    const std::int64_t whole_high = whole.high;
    back = divide(back, divisor);
    return assume(add(front, back), floor_divide(whole_low, divisor), floor_divide(whole_high, divisor));
  }
  std::int64_t common = divisor;
  for (const Term& term : whole.terms) common = std::gcd(common, term.factor);
  if (common > 1) {
    Form reduced = whole;
    reduced.constant = floor_divide(whole.constant, common);
    for (Term& term : reduced.terms) term.factor /= common;
    reduced.low = floor_divide(whole.low, common);
    reduced.high = floor_divide(whole.high, common);
    return divide(intern(std::move(reduced)), divisor / common);
  }
  // A low part that never carries into the rest: floor((g·G + R) / (g·c)) = floor(G / c) for 0 <= R < g.
  if (whole.terms.size() > 1 || whole.constant != 0) {
    if (const auto cut = cut_without_carry(whole, divisor)) return divide(cut->top, divisor / cut->part);
  }
  if (whole.terms.size() == 1 && whole.constant == 0 && whole.terms[0].factor == 1) {
    const Atom inner = atom(whole.terms[0].atom);
    if (inner.kind == AtomKind::kDigit) {
      if (inner.modulus == 0) return of_atom(digit_atom(inner.base, inner.divisor * divisor, 0));
      if (inner.modulus % divisor == 0) {
        return of_atom(digit_atom(inner.base, inner.divisor * divisor, inner.modulus / divisor));
      }
    }
  }
  return of_atom(digit_atom(a, divisor, 0));
}

FormId ExprPool::modulo(FormId a, std::int64_t modulus) {
  if (modulus <= 0) throw Error(ErrorKind::kUnsupported, "an empty axis in a loop");
  if (modulus == 1) return constant_form(0);
  const Form whole = form(a);
  if (whole.is_constant()) return constant_form(floor_modulo(whole.constant, modulus));
  if (whole.low >= 0 && whole.high < modulus) return a;
  std::vector<Term> inside;
  for (const Term& term : whole.terms) {
    if (term.factor % modulus != 0) inside.push_back(term);
  }
  const std::int64_t constant = floor_modulo(whole.constant, modulus);
  if (inside.size() != whole.terms.size()) {
    for (const std::int64_t start : {whole.constant, constant}) {
      const FormId rest = normalized(start, inside);
      if (form(rest).low >= 0 && form(rest).high < modulus) return rest;
    }
    return modulo(normalized(constant, std::move(inside)), modulus);
  }
  if (constant != whole.constant) return modulo(add(a, constant - whole.constant), modulus);
  if (const auto cut = cut_without_carry(whole, modulus)) {
    return add(scale(modulo(cut->top, modulus / cut->part), cut->part), cut->rest);
  }
  if (whole.terms.size() == 1 && whole.constant == 0 && whole.terms[0].factor == 1) {
    const Atom inner = atom(whole.terms[0].atom);
    if (inner.kind == AtomKind::kDigit && (inner.modulus == 0 || inner.modulus % modulus == 0)) {
      return of_atom(digit_atom(inner.base, inner.divisor, modulus));
    }
  }
  return of_atom(digit_atom(a, 1, modulus));
}

FormId ExprPool::clamp(FormId a, std::int64_t low, std::int64_t high) {
  const Form& whole = form(a);
  if (whole.low >= low && whole.high <= high) return a;
  if (whole.is_constant()) return constant_form(std::clamp(whole.constant, low, high));
  if (whole.high <= low) return constant_form(low);
  if (whole.low >= high) return constant_form(high);
  Atom made;
  made.kind = AtomKind::kClamp;
  made.base = a;
  made.divisor = low;
  made.modulus = high;
  made.low = std::max(low, whole.low);
  made.high = std::min(high, whole.high);
  made.vars = whole.vars;
  made.has_expr = whole.has_expr;
  return of_atom(intern_atom(made));
}

std::int64_t ExprPool::power_of_two_factor(FormId a, std::int64_t limit) const {
  const Form& whole = form(a);
  std::int64_t common = std::gcd(limit, whole.constant);
  for (const Term& term : whole.terms) common = std::gcd(common, term.factor);
  return common;
}

FormId ExprPool::substitute_form(FormId id, const Substitution& values) {
  const Form whole = form(id);
  std::uint64_t replaced = 0;
  for (const auto& entry : values) replaced |= std::uint64_t{1} << entry.first;
  if ((whole.vars & replaced) == 0) return id;
  FormId sum = constant_form(whole.constant);
  for (const Term& term : whole.terms) {
    const Atom entry = atom(term.atom);
    FormId value = -1;
    if ((entry.vars & replaced) == 0) {
      value = of_atom(term.atom);
    } else if (entry.kind == AtomKind::kVariable) {
      value = values.at(entry.variable);
    } else if (entry.kind == AtomKind::kDigit) {
      value = divide(substitute_form(entry.base, values), entry.divisor);
      if (entry.modulus != 0) value = modulo(value, entry.modulus);
    } else if (entry.kind == AtomKind::kClamp) {
      value = clamp(substitute_form(entry.base, values), entry.divisor, entry.modulus);
    } else {
      value = expr_form(substitute(entry.expr, values), entry.low, entry.high);
    }
    sum = add(sum, scale(value, term.factor));
  }
  return assume(sum, whole.low, whole.high);
}

void ExprPool::exprs_in_form(FormId id, std::vector<ExprId>& found) const {
  if (!form(id).has_expr) return;
  for (const Term& term : form(id).terms) {
    const Atom& entry = atom(term.atom);
    if (!entry.has_expr) continue;
    if (entry.kind == AtomKind::kExpr) {
      if (std::find(found.begin(), found.end(), entry.expr) == found.end()) found.push_back(entry.expr);
    } else {
      exprs_in_form(entry.base, found);
    }
  }
}

}  // namespace pajamas::cuda::loops
