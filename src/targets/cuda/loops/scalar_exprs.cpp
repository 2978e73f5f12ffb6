// Scalar expressions of expr.h: one node for equal ones, constants folded, substitution.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "pajamas/error.h"
#include "targets/cuda/loops/expr.h"

namespace pajamas::cuda::loops {
namespace {

std::size_t mix(std::size_t seed, std::uint64_t value) {
  return seed ^ (static_cast<std::size_t>(value) * 0x9E3779B97F4A7C15ULL + (seed << 6) + (seed >> 2));
}

}  // namespace

DType register_type(DType type) {
  switch (type) {
    case DType::kFloat16:
    case DType::kBfloat16:
    case DType::kFloat8E4M3Fn:
    case DType::kFloat8E5M2: return DType::kFloat32;
    default: return type;
  }
}

bool is_float_type(DType type) { return type == DType::kFloat32 || type == DType::kFloat64; }

bool is_comparison(Op op) {
  return op == Op::kEqual || op == Op::kLess || op == Op::kLessOrEqual || op == Op::kIsNan || op == Op::kIsInf;
}

std::size_t ExprPool::ExprHash::operator()(const Expr& e) const {
  std::size_t seed = mix(static_cast<std::size_t>(e.kind) * 64 + static_cast<std::size_t>(e.op),
                         static_cast<std::uint64_t>(e.type) * 16 + static_cast<std::uint64_t>(e.reduction));
  seed = mix(seed, static_cast<std::uint64_t>(e.a));
  seed = mix(seed, static_cast<std::uint64_t>(e.b));
  seed = mix(seed, static_cast<std::uint64_t>(e.c));
  seed = mix(seed, static_cast<std::uint64_t>(e.form));
  seed = mix(seed, static_cast<std::uint64_t>(e.slot));
  seed = mix(seed, static_cast<std::uint64_t>(e.integer));
  return mix(seed, std::bit_cast<std::uint64_t>(e.number));
}

bool ExprPool::ExprEqual::operator()(const Expr& x, const Expr& y) const {
  return x.kind == y.kind && x.type == y.type && x.op == y.op && x.reduction == y.reduction && x.is_lazy == y.is_lazy &&
         x.a == y.a && x.b == y.b && x.c == y.c && x.form == y.form && x.slot == y.slot && x.integer == y.integer &&
         std::bit_cast<std::uint64_t>(x.number) == std::bit_cast<std::uint64_t>(y.number);
}

ExprId ExprPool::intern_expr(Expr made) {
  const auto found = expr_ids_.find(made);
  if (found != expr_ids_.end()) return found->second;
  for (const ExprId operand : {made.a, made.b, made.c}) {
    if (operand != kNone) made.vars |= expr(operand).vars;
  }
  if (made.form >= 0) made.vars |= form(made.form).vars;
  if (made.kind == ExprKind::kReduce) made.vars &= ~(std::uint64_t{1} << made.slot);
  const auto id = static_cast<ExprId>(exprs_.size());
  exprs_.push_back(made);
  expr_ids_.emplace(made, id);
  return id;
}

ExprId ExprPool::number(DType type, double value) {
  Expr made;
  made.type = register_type(type);
  if (is_float_type(made.type)) {
    made.number = made.type == DType::kFloat32 ? static_cast<double>(static_cast<float>(value)) : value;
  } else {
    made.integer = made.type == DType::kBool ? (value != 0 ? 1 : 0) : static_cast<std::int64_t>(value);
  }
  return intern_expr(made);
}

ExprId ExprPool::integer(DType type, std::int64_t value) {
  if (is_float_type(register_type(type))) return number(type, static_cast<double>(value));
  Expr made;
  made.type = type;
  made.integer = type == DType::kBool ? (value != 0 ? 1 : 0) : value;
  return intern_expr(made);
}

ExprId ExprPool::index(FormId id) {
  if (form(id).is_constant()) return integer(DType::kInt64, form(id).constant);
  Expr made;
  made.kind = ExprKind::kIndex;
  made.type = DType::kInt64;
  made.form = id;
  return intern_expr(made);
}

ExprId ExprPool::non_negative(FormId id) {
  const Form& whole = form(id);
  if (whole.low >= 0) return boolean(true);
  if (whole.high < 0) return boolean(false);
  // g·X + r >= 0 exactly where X + floor(r / g) >= 0: the lanes of a vector then share one condition.
  std::int64_t common = 0;
  for (const Term& term : whole.terms) common = std::gcd(common, term.factor);
  Expr made;
  made.kind = ExprKind::kNonNegative;
  made.type = DType::kBool;
  made.form = common > 1 ? divide(id, common) : id;
  return intern_expr(made);
}

ExprId ExprPool::in_range(FormId id, std::int64_t low, std::int64_t high) {
  return both(non_negative(add(id, -low)), non_negative(add(scale(id, -1), high - 1)));
}

ExprId ExprPool::load(std::int32_t slot, DType type, FormId address, ExprId guard, ExprId fill) {
  Expr made;
  made.kind = ExprKind::kLoad;
  made.type = register_type(type);
  made.slot = slot;
  made.form = normalized(form(address).constant, form(address).terms);
  made.c = is_true(guard) ? kNone : guard;
  if (is_false(guard)) return fill == kNone ? integer(made.type, 0) : fill;
  if (fill != kNone && made.c != kNone) {
    made.number = expr(fill).number;
    made.integer = expr(fill).integer;
  }
  return intern_expr(made);
}

ExprId ExprPool::unary(Op op, ExprId a) {
  Expr made;
  made.kind = ExprKind::kUnary;
  made.op = op;
  made.a = a;
  made.type = op == Op::kIsNan || op == Op::kIsInf || op == Op::kNot ? DType::kBool : expr(a).type;
  if (op == Op::kNot && is_constant(a)) return boolean(!is_true(a));
  if (op == Op::kNegate && is_constant(a) && is_float_type(made.type)) return number(made.type, -expr(a).number);
  return intern_expr(made);
}

ExprId ExprPool::binary(Op op, ExprId a, ExprId b) {
  Expr made;
  made.kind = ExprKind::kBinary;
  made.op = op;
  made.a = a;
  made.b = b;
  const bool gives_bool = is_comparison(op) || op == Op::kAnd || op == Op::kOr || op == Op::kXor;
  made.type = gives_bool ? DType::kBool : expr(a).type;
  if (expr(a).type != expr(b).type && op != Op::kPow) {
    throw Error(ErrorKind::kInternal, "operands of two types in a generated expression");
  }
  if (op == Op::kAnd) {
    if (is_false(a) || is_false(b)) return boolean(false);
    if (is_true(a)) return b;
    if (is_true(b) || a == b) return a;
  }
  const auto is_number = [&](ExprId id, double value) {
    return is_constant(id) && is_float_type(expr(id).type) && expr(id).number == value;
  };
  if ((op == Op::kMul || op == Op::kDiv) && is_number(b, 1)) return a;
  if (op == Op::kMul && is_number(a, 1)) return b;
  return intern_expr(made);
}

ExprId ExprPool::both(ExprId a, ExprId b) {
  if (a == kNone) return b;
  if (b == kNone) return a;
  return binary(Op::kAnd, a, b);
}

ExprId ExprPool::select(ExprId condition, ExprId yes, ExprId no, bool is_lazy) {
  if (is_true(condition)) return yes;
  if (is_false(condition)) return no;
  if (yes == no) return yes;
  if (expr(yes).type != expr(no).type) {
    throw Error(ErrorKind::kInternal, "a choice of two types in a generated expression");
  }
  // A load behind this very condition is the constant elsewhere by itself.
  if (const Expr load = expr(yes); load.kind == ExprKind::kLoad && load.c == condition && is_constant(no) && !is_lazy) {
    return this->load(load.slot, load.type, load.form, condition, no);
  }
  Expr made;
  made.kind = ExprKind::kSelect;
  made.type = expr(yes).type;
  made.a = yes;
  made.b = no;
  made.c = condition;
  made.is_lazy = is_lazy;
  return intern_expr(made);
}

ExprId ExprPool::cast(DType wanted, ExprId a) {
  const DType type = register_type(wanted);
  const Expr from = expr(a);
  if (from.type == type) return a;
  if (from.kind == ExprKind::kConstant) {
    if (is_float_type(from.type)) {
      if (is_float_type(type)) return number(type, from.number);
      if (type == DType::kBool) return boolean(from.number != 0);
    } else if (is_float_type(type) && from.type != DType::kUint64) {
      return number(type, static_cast<double>(from.integer));
    } else if (type == DType::kInt64 && from.type != DType::kUint64) {
      return integer(type, from.integer);
    } else if (type == DType::kBool) {
      return boolean(from.integer != 0);
    }
  }
  Expr made;
  made.kind = ExprKind::kCast;
  made.type = type;
  made.a = a;
  return intern_expr(made);
}

ExprId ExprPool::reduce(Reduction reduction, ExprId body, VarId variable) {
  Expr made;
  made.kind = ExprKind::kReduce;
  made.reduction = reduction;
  made.a = body;
  made.slot = variable;
  made.integer = variable_extent(variable);
  const bool gives_index = reduction >= Reduction::kArgMax;
  made.type = gives_index ? DType::kInt64 : expr(body).type;
  return intern_expr(made);
}

std::vector<ExprId> ExprPool::operands(ExprId id) const {
  const Expr& entry = expr(id);
  std::vector<ExprId> found;
  for (const ExprId operand : {entry.a, entry.b, entry.c}) {
    if (operand != kNone && std::find(found.begin(), found.end(), operand) == found.end()) found.push_back(operand);
  }
  if (entry.form >= 0) exprs_in_form(entry.form, found);
  return found;
}

ExprId ExprPool::substitute(ExprId root, const Substitution& values) {
  std::uint64_t replaced = 0;
  for (const auto& entry : values) replaced |= std::uint64_t{1} << entry.first;
  if ((expr(root).vars & replaced) == 0) return root;
  // Operands have smaller numbers than what uses them, so one ascending walk over what the root needs does it.
  std::vector<ExprId> order;
  std::vector<ExprId> stack{root};
  std::unordered_map<ExprId, ExprId> made;
  while (!stack.empty()) {
    const ExprId id = stack.back();
    stack.pop_back();
    if (!made.emplace(id, id).second) continue;
    if ((expr(id).vars & replaced) == 0) continue;
    order.push_back(id);
    for (const ExprId operand : operands(id)) stack.push_back(operand);
  }
  std::sort(order.begin(), order.end());
  for (const ExprId id : order) {
    const Expr entry = expr(id);
    const auto of = [&](ExprId operand) { return operand == kNone ? kNone : made.at(operand); };
    ExprId result = id;
    switch (entry.kind) {
      case ExprKind::kConstant: break;
      case ExprKind::kIndex: result = index(substitute_form(entry.form, values)); break;
      case ExprKind::kNonNegative: result = non_negative(substitute_form(entry.form, values)); break;
      case ExprKind::kLoad:
        result =
            load(entry.slot, entry.type, substitute_form(entry.form, values), of(entry.c),
                 is_float_type(entry.type) ? number(entry.type, entry.number) : integer(entry.type, entry.integer));
        break;
      case ExprKind::kUnary: result = unary(entry.op, of(entry.a)); break;
      case ExprKind::kBinary: result = binary(entry.op, of(entry.a), of(entry.b)); break;
      case ExprKind::kSelect: result = select(of(entry.c), of(entry.a), of(entry.b), entry.is_lazy); break;
      case ExprKind::kCast: result = cast(entry.type, of(entry.a)); break;
      case ExprKind::kReduce: result = reduce(entry.reduction, of(entry.a), entry.slot); break;
    }
    made[id] = result;
  }
  return made.at(root);
}

}  // namespace pajamas::cuda::loops
