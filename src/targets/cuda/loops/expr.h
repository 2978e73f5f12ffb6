// The generator's own small language: index forms (integer arithmetic on loop variables) and scalar expressions over
// loads at such indices. Every node is unique in its pool (equal nodes are one), so shared subexpressions cost nothing
// and comparing two nodes is comparing two numbers. Knows nothing of ONNX (formulas.h) nor of C++ text (emit.h).
//
// A form is constant + Σ coefficient · atom. Its atoms are variables and "digits" (base / divisor) mod modulus, which
// is all that reshapes, transposes and broadcasts of a flat index are made of; digits that belong together merge, so a
// chain of movements that amounts to nothing is seen to be nothing.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "pajamas/tensor.h"

namespace pajamas::cuda::loops {

using VarId = std::int32_t;
using AtomId = std::int32_t;
using FormId = std::int32_t;
using ExprId = std::int32_t;
inline constexpr ExprId kNone = -1;

struct Term {
  AtomId atom;
  std::int64_t factor;
  auto operator<=>(const Term&) const = default;
};

/// constant + Σ factor · atom; `low`..`high` are its proven (or, behind a guard, assumed) least and greatest values.
struct Form {
  std::int64_t constant = 0;
  std::vector<Term> terms;  ///< Ascending by atom, no factor is 0.
  std::int64_t low = 0;
  std::int64_t high = 0;
  std::uint64_t vars = 0;  ///< Bit v: depends on variable v.
  bool has_expr = false;   ///< Depends on a scalar expression (a loaded index).
  bool is_constant() const { return terms.empty(); }
};

enum class AtomKind { kVariable, kDigit, kClamp, kExpr };

struct Atom {
  AtomKind kind = AtomKind::kVariable;
  VarId variable = -1;
  FormId base = -1;
  std::int64_t divisor = 1;  ///< kDigit; kClamp: the lower bound.
  std::int64_t modulus = 0;  ///< kDigit, 0: none; kClamp: the upper bound.
  ExprId expr = kNone;       ///< kExpr: an integer expression known to lie in low..high.
  std::int64_t low = 0;
  std::int64_t high = 0;
  std::uint64_t vars = 0;
  bool has_expr = false;
};

enum class Op : std::uint8_t {
  // unary
  kNegate,
  kAbs,
  kSign,
  kExp,
  kLog,
  kLog1p,
  kSqrt,
  kRsqrt,
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kTanh,
  kAsinh,
  kAcosh,
  kAtanh,
  kErf,
  kFloor,
  kCeil,
  kRound,
  kTrunc,
  kRoundE4m3,  ///< To the nearest E4M3FN, saturating; float32 only.
  kNot,
  kBitNot,
  kIsNan,
  kIsInf,
  // binary; comparisons and logic give bool
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMod,
  kFmod,
  kPow,
  kMin,
  kMax,
  kBitAnd,
  kBitOr,
  kBitXor,
  kShiftLeft,
  kShiftRight,
  kEqual,
  kLess,
  kLessOrEqual,
  kAnd,
  kOr,
  kXor,
};

enum class ExprKind : std::uint8_t {
  kConstant,     ///< number or integer, by type
  kIndex,        ///< the value of `form`, int64
  kNonNegative,  ///< form >= 0, bool
  kLoad,         ///< element `form` of memory slot `slot` where `c` (kNone: always) holds, `number`/`integer` elsewhere
  kUnary,
  kBinary,
  kSelect,  ///< c ? a : b; lazy: only the chosen side is computed
  kCast,    ///< to `type`
  kReduce,  ///< `reduction` of a over variable `slot` of extent `integer`
};

enum class Reduction : std::uint8_t { kSum, kProduct, kMax, kMin, kArgMax, kArgMaxLast, kArgMin, kArgMinLast };

struct Expr {
  ExprKind kind = ExprKind::kConstant;
  DType type = DType::kUndefined;  ///< 16-bit and 8-bit floats live in registers as float32 and have that type here.
  Op op = Op::kNegate;
  Reduction reduction = Reduction::kSum;
  bool is_lazy = false;
  ExprId a = kNone, b = kNone, c = kNone;
  FormId form = -1;
  std::int32_t slot = -1;
  std::int64_t integer = 0;
  double number = 0;
  std::uint64_t vars = 0;  ///< Free variables: not those that a kReduce inside binds.
};

/// What a substitution replaces.
using Substitution = std::map<VarId, FormId>;

/// All nodes of one kernel. Not thread-safe; a kernel is made by one thread.
class ExprPool {
 public:
  // --- index forms ---
  /// A new variable with values 0..extent-1. At most 64 a pool: Error{kUnsupported} beyond.
  VarId new_variable(std::string name, std::int64_t extent);
  FormId constant_form(std::int64_t value);
  FormId variable(VarId id);
  FormId add(FormId a, FormId b);
  FormId add(FormId a, std::int64_t value);
  FormId scale(FormId a, std::int64_t factor);
  FormId subtract(FormId a, FormId b) { return add(a, scale(b, -1)); }
  /// floor(a / divisor), divisor > 0.
  FormId divide(FormId a, std::int64_t divisor);
  /// a - floor(a / modulus) · modulus, modulus > 0.
  FormId modulo(FormId a, std::int64_t modulus);
  FormId digit(FormId a, std::int64_t divisor, std::int64_t modulus) { return modulo(divide(a, divisor), modulus); }
  FormId clamp(FormId a, std::int64_t low, std::int64_t high);
  /// The integer expression as an index known (by its making) to lie in low..high.
  FormId expr_form(ExprId expr, std::int64_t low, std::int64_t high);
  /// The same form where something else guarantees these bounds.
  FormId assume(FormId a, std::int64_t low, std::int64_t high);
  /// Greatest power of two up to `limit` that divides every value of the form.
  std::int64_t power_of_two_factor(FormId a, std::int64_t limit) const;

  // --- scalar expressions ---
  ExprId number(DType type, double value);
  ExprId integer(DType type, std::int64_t value);
  ExprId boolean(bool value) { return integer(DType::kBool, value ? 1 : 0); }
  ExprId index(FormId form);
  ExprId non_negative(FormId form);
  /// low <= form < high
  ExprId in_range(FormId form, std::int64_t low, std::int64_t high);
  /// `fill`: the constant that it is where the guard does not hold; kNone: 0.
  ExprId load(std::int32_t slot, DType type, FormId address, ExprId guard, ExprId fill = kNone);
  ExprId unary(Op op, ExprId a);
  ExprId binary(Op op, ExprId a, ExprId b);
  ExprId both(ExprId a, ExprId b);  ///< Logical and; kNone is true.
  ExprId select(ExprId condition, ExprId yes, ExprId no, bool is_lazy = false);
  ExprId cast(DType type, ExprId a);
  ExprId reduce(Reduction reduction, ExprId body, VarId variable);

  /// The same expression with variables replaced, simplified anew.
  ExprId substitute(ExprId expr, const Substitution& values);
  FormId substitute_form(FormId form, const Substitution& values);

  const Form& form(FormId id) const { return forms_[static_cast<std::size_t>(id)]; }
  const Atom& atom(AtomId id) const { return atoms_[static_cast<std::size_t>(id)]; }
  const Expr& expr(ExprId id) const { return exprs_[static_cast<std::size_t>(id)]; }
  const std::string& variable_name(VarId id) const { return variable_names_[static_cast<std::size_t>(id)]; }
  std::int64_t variable_extent(VarId id) const { return variable_extents_[static_cast<std::size_t>(id)]; }
  std::size_t num_exprs() const { return exprs_.size(); }
  bool is_true(ExprId id) const { return id == kNone || (is_constant(id) && expr(id).integer != 0); }
  bool is_false(ExprId id) const { return id != kNone && is_constant(id) && expr(id).integer == 0; }
  bool is_constant(ExprId id) const { return expr(id).kind == ExprKind::kConstant; }
  /// Scalar expressions that a form's atoms hold, added to `found`.
  void exprs_in_form(FormId id, std::vector<ExprId>& found) const;
  /// Direct operands: a, b, c and those in the form.
  std::vector<ExprId> operands(ExprId id) const;

 private:
  using AtomKey = std::tuple<int, std::int32_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t>;
  FormId intern(Form form);
  AtomId intern_atom(Atom atom);
  ExprId intern_expr(Expr expr);
  FormId of_atom(AtomId id);
  /// Makes a canonical form of any terms; bounds are those that the atoms give.
  FormId normalized(std::int64_t constant, std::vector<Term> terms);
  /// whole = part · top + rest with 0 <= rest < part, a low part that never carries into the rest.
  struct Cut {
    std::int64_t part;
    FormId top, rest;
  };
  /// The cut with the largest part that divides `divisor`.
  std::optional<Cut> cut_without_carry(const Form& whole, std::int64_t divisor);
  AtomId digit_atom(FormId base, std::int64_t divisor, std::int64_t modulus);
  bool merge_digits(std::vector<Term>& terms, FormId& rest);

  struct FormHash {
    std::size_t operator()(const Form& form) const;
  };
  struct FormEqual {
    bool operator()(const Form& a, const Form& b) const;
  };
  struct ExprHash {
    std::size_t operator()(const Expr& expr) const;
  };
  struct ExprEqual {
    bool operator()(const Expr& a, const Expr& b) const;
  };
  std::vector<Form> forms_;
  std::vector<Atom> atoms_;
  std::vector<Expr> exprs_;
  std::unordered_map<Form, FormId, FormHash, FormEqual> form_ids_;
  std::map<AtomKey, AtomId> atom_ids_;
  std::unordered_map<Expr, ExprId, ExprHash, ExprEqual> expr_ids_;
  std::vector<std::string> variable_names_;
  std::vector<std::int64_t> variable_extents_;
};

/// Type in a register: float32 for the small floats, else the type itself.
DType register_type(DType type);
bool is_float_type(DType type);
bool is_comparison(Op op);

}  // namespace pajamas::cuda::loops
