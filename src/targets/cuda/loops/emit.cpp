// BodyEmitter of emit.h.
#include "targets/cuda/loops/emit.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>
#include <set>

#include "pajamas/error.h"
#include "tensor/float8.h"
#include "tensor/half.h"

namespace pajamas::cuda::loops {

std::string register_type_name(DType type) {
  switch (register_type(type)) {
    case DType::kFloat32: return "float";
    case DType::kFloat64: return "double";
    default: return type == DType::kBool ? "bool" : memory_type_name(type);
  }
}

std::string memory_type_name(DType type) {
  switch (type) {
    case DType::kFloat32: return "float";
    case DType::kFloat64: return "double";
    case DType::kFloat16:
    case DType::kBfloat16:
    case DType::kUint16: return "unsigned short";
    case DType::kInt8: return "signed char";
    case DType::kUint8:
    case DType::kFloat8E4M3Fn:
    case DType::kBool: return "unsigned char";
    case DType::kInt16: return "short";
    case DType::kInt32: return "int";
    case DType::kUint32: return "unsigned int";
    case DType::kInt64: return "long long";
    case DType::kUint64: return "unsigned long long";
    default: throw Error(ErrorKind::kUnsupported, std::string("element type ") + to_string(type) + " in a loop");
  }
}

int memory_bytes(DType type) {
  memory_type_name(type);  // refuses types without one, those of less than a byte too
  return bits_of(type) / 8;
}

std::string load_text(DType type, const std::string& element) {
  if (type == DType::kFloat16) return "lp_from_half(" + element + ")";
  if (type == DType::kBfloat16) return "lp_from_bfloat(" + element + ")";
  if (type == DType::kFloat8E4M3Fn) return "lp_from_e4m3(" + element + ")";
  if (type == DType::kBool) return "(" + element + " != 0)";
  return element;
}

std::string store_text(DType type, const std::string& value) {
  if (type == DType::kFloat16) return "lp_to_half(" + value + ")";
  if (type == DType::kBfloat16) return "lp_to_bfloat(" + value + ")";
  if (type == DType::kFloat8E4M3Fn) return "lp_to_e4m3(" + value + ")";
  return "(" + memory_type_name(type) + ")" + value;
}

std::string memory_literal(DType type, double number, std::int64_t integer) {
  if (type == DType::kFloat16) return std::to_string(float16_from_float(static_cast<float>(number)));
  if (type == DType::kBfloat16) return std::to_string(bfloat16_from_float(static_cast<float>(number)));
  if (type == DType::kFloat8E4M3Fn) return std::to_string(float8_e4m3_from_float(static_cast<float>(number)));
  return store_text(type, literal(register_type(type), number, integer));
}

std::string literal(DType type, double number, std::int64_t integer) {
  if (is_float_type(type)) {
    const std::string name = type == DType::kFloat32 ? "lp_f32" : "lp_f64";
    if (std::isnan(number)) return name + "_nan()";
    if (std::isinf(number)) return number > 0 ? name + "_infinity()" : "(-" + name + "_infinity())";
    char text[64];
    std::snprintf(text, sizeof text, "%.*g", type == DType::kFloat32 ? 9 : 17, number);
    std::string made = text;
    if (made.find_first_of(".e") == std::string::npos) made += ".0";
    if (type == DType::kFloat32) made += "f";
    return number < 0 || std::signbit(number) ? "(" + made + ")" : made;
  }
  if (type == DType::kBool) return integer != 0 ? "true" : "false";
  if (integer == std::numeric_limits<std::int64_t>::min()) return "(-9223372036854775807LL - 1)";
  std::string made = std::to_string(integer) + "LL";
  return "((" + register_type_name(type) + ")" + made + ")";
}

BodyEmitter::BodyEmitter(const Region& region, std::string prefix, std::map<VarId, std::string> variables,
                         std::map<ExprId, std::string> known, bool is_fast)
    : region_(region),
      pool_(region.pool),
      prefix_(std::move(prefix)),
      variables_(std::move(variables)),
      names_(std::move(known)),
      is_fast_(is_fast) {}

bool BodyEmitter::is_window(ExprId id) const { return pool_.expr(id).kind == ExprKind::kReduce; }

std::string BodyEmitter::name(ExprId id) const {
  if (const auto found = names_.find(id); found != names_.end()) return found->second;
  const Expr& entry = pool_.expr(id);
  if (entry.kind == ExprKind::kConstant) return literal(entry.type, entry.number, entry.integer);
  throw Error(ErrorKind::kInternal, "a generated expression was used before it was made");
}

int BodyEmitter::depth(int scope) const {
  int count = 0;
  for (; scope > 0; scope = scopes_[static_cast<std::size_t>(scope)].parent) ++count;
  return count;
}

bool BodyEmitter::is_inside(int scope, int outer) const {
  while (scope > outer) scope = scopes_[static_cast<std::size_t>(scope)].parent;
  return scope == outer;
}

int BodyEmitter::common(int a, int b) const {
  while (a != b) {
    int& later = a > b ? a : b;
    later = scopes_[static_cast<std::size_t>(later)].parent;
  }
  return a;
}

void BodyEmitter::collect(const std::vector<ExprId>& roots) {
  std::set<ExprId> seen;
  std::vector<ExprId> stack(roots);
  while (!stack.empty()) {
    const ExprId id = stack.back();
    stack.pop_back();
    if (is_named(id) || !seen.insert(id).second) continue;
    for (const ExprId operand : pool_.operands(id)) stack.push_back(operand);
  }
  nodes_.assign(seen.begin(), seen.end());
  for (const ExprId id : nodes_) {
    int level = 0;
    for (const ExprId operand : pool_.operands(id)) {
      if (const auto found = level_.find(operand); found != level_.end()) level = std::max(level, found->second);
    }
    const Expr& entry = pool_.expr(id);
    level_[id] = level + (is_window(id) || entry.is_lazy ? 1 : 0);
  }
}

void BodyEmitter::note(ExprId id, int scope) {
  if (is_named(id)) return;
  const auto [place, is_new] = scope_of_.emplace(id, scope);
  if (!is_new) place->second = common(place->second, scope);
}

void BodyEmitter::place(const std::vector<ExprId>& roots) {
  for (const ExprId root : roots) note(root, 0);
  // Users have greater numbers than operands: descending, every use of a node is known when it is met.
  for (std::size_t i = nodes_.size(); i-- > 0;) {
    const ExprId id = nodes_[i];
    const Expr& entry = pool_.expr(id);
    int scope = scope_of_.at(id);
    while (scopes_[static_cast<std::size_t>(scope)].variable >= 0 &&
           (entry.vars >> scopes_[static_cast<std::size_t>(scope)].variable & 1) == 0) {
      scope = scopes_[static_cast<std::size_t>(scope)].parent;
    }
    scope_of_[id] = scope;
    const bool is_choice = entry.kind == ExprKind::kSelect && entry.is_lazy;
    if (!is_choice && !is_window(id)) {
      for (const ExprId operand : pool_.operands(id)) note(operand, scope);
      continue;
    }
    const GroupKey key{scope, is_choice ? 0 : 1, is_choice ? entry.c : entry.slot, level_.at(id)};
    const auto [found, is_new] = groups_.try_emplace(key);
    if (is_new) {
      found->second.then_scope = static_cast<int>(scopes_.size());
      scopes_.push_back({scope, is_choice ? -1 : entry.slot, is_choice ? entry.c : kNone, {}, {}});
      if (is_choice) {
        found->second.else_scope = static_cast<int>(scopes_.size());
        scopes_.push_back({scope, -1, kNone, {}, {}});
      }
    }
    found->second.members.push_back(id);
    group_keys_[id] = key;
    note(entry.a, found->second.then_scope);
    if (is_choice) {
      note(entry.b, found->second.else_scope);
      note(entry.c, scope);
    }
  }
}

void BodyEmitter::find_vectors() {
  // Loads of one scope, slot, guard and base that differ by a constant; aligned runs of 16, 8 or 4 bytes become one.
  using Family = std::tuple<int, int, ExprId, FormId, std::uint64_t, std::int64_t>;
  std::map<Family, std::map<std::int64_t, ExprId>> families;
  auto& pool = const_cast<ExprPool&>(pool_);  // making a form changes no meaning
  for (const ExprId id : nodes_) {
    const Expr entry = pool_.expr(id);
    if (entry.kind != ExprKind::kLoad || region_.slots()[static_cast<std::size_t>(entry.slot)].table) continue;
    const std::int64_t constant = pool_.form(entry.form).constant;
    families[{scope_of_.at(id), entry.slot, entry.c, pool.add(entry.form, -constant),
              std::bit_cast<std::uint64_t>(entry.number), entry.integer}][constant] = id;
  }
  for (const auto& [key, members] : families) {
    const Slot& slot = region_.slots()[static_cast<std::size_t>(std::get<1>(key))];
    const int bytes = memory_bytes(slot.desc.dtype);
    std::int64_t limit = pool_.power_of_two_factor(std::get<3>(key), 16 / bytes);
    for (std::int64_t width = limit; width > 1; width /= 2) {
      for (const auto& [constant, id] : members) {
        if (vectors_.contains(id) || ((constant + slot.offset_elements) % width + width) % width != 0) continue;
        std::vector<ExprId> run;
        for (std::int64_t k = 0; k < width; ++k) {
          const auto found = members.find(constant + k);
          if (found == members.end() || vectors_.contains(found->second)) break;
          run.push_back(found->second);
        }
        if (static_cast<std::int64_t>(run.size()) != width) continue;
        for (const ExprId member : run) vectors_[member] = run;
      }
    }
  }
}

void BodyEmitter::run(const std::vector<ExprId>& roots) {
  collect(roots);
  place(roots);
  find_vectors();
  emit_scope(0);
}

BodyEmitter::Group& BodyEmitter::group_of(ExprId id) { return groups_.at(group_keys_.at(id)); }

void BodyEmitter::emit_scope(int scope) {
  for (const ExprId id : nodes_) {
    if (scope_of_.at(id) == scope) ensure(id, scope);
  }
}

void BodyEmitter::line(int scope, const std::string& text) {
  scopes_[static_cast<std::size_t>(scope)].body += text + "\n";
}

void BodyEmitter::define(ExprId id, int scope, const std::string& value) {
  const std::string made = prefix_ + std::to_string(id);
  line(scope, "const " + register_type_name(pool_.expr(id).type) + " " + made + " = " + value + ";");
  names_[id] = made;
}

void BodyEmitter::ensure(ExprId id, int scope) {
  if (is_named(id)) return;
  const Expr entry = pool_.expr(id);
  if (entry.kind == ExprKind::kConstant) return;
  if (group_keys_.contains(id)) {
    Group& group = group_of(id);
    if (is_window(id)) {
      emit_loop(group, scope);
    } else {
      emit_choice(group, scope);
    }
    return;
  }
  for (const ExprId operand : pool_.operands(id)) {
    if (!is_named(operand) && scope_of_.at(operand) == scope) ensure(operand, scope);
  }
  if (vectors_.contains(id)) {
    emit_vector(id, scope);
    return;
  }
  if (entry.kind == ExprKind::kLoad) ++num_loads_;
  define(id, scope, value_text(id, scope));
}

void BodyEmitter::ensure_outer(const Group& group, int scope) {
  for (const ExprId id : nodes_) {
    const int inner = scope_of_.at(id);
    if (!is_inside(inner, group.then_scope) && (group.else_scope < 0 || !is_inside(inner, group.else_scope))) continue;
    for (const ExprId operand : pool_.operands(id)) {
      if (!is_named(operand) && scope_of_.at(operand) == scope) ensure(operand, scope);
    }
  }
  for (const ExprId member : group.members) {
    for (const ExprId operand : pool_.operands(member)) {
      if (!is_named(operand) && scope_of_.at(operand) == scope) ensure(operand, scope);
    }
  }
}

void BodyEmitter::emit_choice(Group& group, int scope) {
  ensure_outer(group, scope);
  const ExprId condition = pool_.expr(group.members[0]).c;
  emit_scope(group.then_scope);
  emit_scope(group.else_scope);
  std::string yes;
  std::string no;
  for (const ExprId member : group.members) {
    const Expr& entry = pool_.expr(member);
    const std::string made = prefix_ + std::to_string(member);
    line(scope, register_type_name(entry.type) + " " + made + ";");
    yes += made + " = " + name(entry.a) + ";\n";
    no += made + " = " + name(entry.b) + ";\n";
    names_[member] = made;
  }
  const Scope& first = scopes_[static_cast<std::size_t>(group.then_scope)];
  const Scope& second = scopes_[static_cast<std::size_t>(group.else_scope)];
  line(scope, "if (" + name(condition) + ") {\n" + first.preamble + first.body + yes + "} else {\n" + second.preamble +
                  second.body + no + "}");
}

void BodyEmitter::emit_loop(Group& group, int scope) {
  ensure_outer(group, scope);
  const Expr first = pool_.expr(group.members[0]);
  const std::string variable = prefix_ + "w" + std::to_string(group.then_scope);
  variables_[first.slot] = variable;
  emit_scope(group.then_scope);
  std::string updates;
  for (const ExprId member : group.members) {
    const Expr& entry = pool_.expr(member);
    const std::string made = prefix_ + std::to_string(member);
    const std::string type = register_type_name(entry.type);
    std::string start = literal(entry.type, 0, 0);
    std::string update = made + " = (" + type + ")(" + made + " + " + name(entry.a) + ");";
    if (entry.reduction == Reduction::kMax || entry.reduction == Reduction::kMin) {
      // The first element starts it: no lowest value of a type is needed.
      start = literal(entry.type, 0, 0);
      const std::string op = entry.reduction == Reduction::kMax ? "lp_max" : "lp_min";
      update =
          made + " = " + variable + " == 0 ? " + name(entry.a) + " : " + op + "(" + made + ", " + name(entry.a) + ");";
    } else if (entry.reduction != Reduction::kSum) {
      throw Error(ErrorKind::kInternal, "a window with another reduction than sum, max and min");
    }
    line(scope, type + " " + made + " = " + start + ";");
    updates += update + "\n";
    names_[member] = made;
  }
  const Scope& inner = scopes_[static_cast<std::size_t>(group.then_scope)];
  line(scope, std::string(first.integer <= 32 ? "#pragma unroll\n" : "#pragma unroll 4\n") + "for (int " + variable +
                  " = 0; " + variable + " < " + std::to_string(first.integer) + "; ++" + variable + ") {\n" +
                  inner.preamble + inner.body + updates + "}");
}

void BodyEmitter::emit_vector(ExprId id, int scope) {
  const std::vector<ExprId> run = vectors_.at(id);
  const Expr first = pool_.expr(run[0]);
  const DType type = region_.slots()[static_cast<std::size_t>(first.slot)].desc.dtype;
  const std::string made = prefix_ + "q" + std::to_string(num_vectors_++);
  const std::string vector = "lp_vector<" + memory_type_name(type) + ", " + std::to_string(run.size()) + ">";
  const std::string source =
      "*(const " + vector + "*)(in" + std::to_string(first.slot) + " + " + form_text(first.form, scope) + ")";
  if (first.c == kNone) {
    line(scope, "const " + vector + " " + made + " = " + source + ";");
  } else {
    std::string fill;
    if (first.number != 0 || first.integer != 0) {
      const std::string element = memory_literal(type, first.number, first.integer);
      for (std::size_t k = 0; k < run.size(); ++k) fill += (k == 0 ? "{" : ", ") + element;
      fill = "{" + fill + "}}";
    } else {
      fill = "{}";
    }
    line(scope, vector + " " + made + " = " + fill + ";\nif (" + name(first.c) + ") " + made + " = " + source + ";");
  }
  ++num_loads_;
  for (std::size_t k = 0; k < run.size(); ++k) {
    define(run[k], scope, load_text(type, made + ".v[" + std::to_string(k) + "]"));
  }
}

std::string BodyEmitter::atom_text(AtomId id, int scope) {
  const Atom entry = pool_.atom(id);
  if (entry.kind == AtomKind::kVariable) return variables_.at(entry.variable);
  if (entry.kind == AtomKind::kExpr) return "(lp_index)" + name(entry.expr);
  // A digit without loaded parts is named where its variables are known: at the top, or in the innermost of the loops
  // whose variables it has.
  int home = scope;
  if (!entry.has_expr) {
    while (home > 0 && (scopes_[static_cast<std::size_t>(home)].variable < 0 ||
                        (entry.vars >> scopes_[static_cast<std::size_t>(home)].variable & 1) == 0)) {
      home = scopes_[static_cast<std::size_t>(home)].parent;
    }
    if (const auto found = atom_names_.find({id, home}); found != atom_names_.end()) return found->second;
  }
  const std::string base = form_text(entry.base, entry.has_expr ? scope : home);
  std::string value;
  if (entry.kind == AtomKind::kClamp) {
    value = "lp_clamp(" + base + ", (lp_index)" + std::to_string(entry.divisor) + ", (lp_index)" +
            std::to_string(entry.modulus) + ")";
  } else if (pool_.form(entry.base).low >= 0) {
    value = "((lp_unsigned)(" + base + ")";
    if (entry.divisor != 1) value += " / " + std::to_string(entry.divisor) + "u";
    if (entry.modulus != 0) value += " % " + std::to_string(entry.modulus) + "u";
    value = "(lp_index)" + value + ")";
  } else {
    value = "lp_digit(" + base + ", (lp_index)" + std::to_string(entry.divisor) + ", (lp_index)" +
            std::to_string(entry.modulus) + ")";
  }
  if (entry.has_expr) return value;
  const std::string made = prefix_ + "i" + std::to_string(id) + "_" + std::to_string(home);
  scopes_[static_cast<std::size_t>(home)].preamble += "const lp_index " + made + " = " + value + ";\n";
  atom_names_[{id, home}] = made;
  return made;
}

std::string BodyEmitter::form_text(FormId id, int scope) {
  const Form whole = pool_.form(id);
  std::string text;
  for (const Term& term : whole.terms) {
    if (!text.empty()) text += " + ";
    text += atom_text(term.atom, scope);
    if (term.factor != 1) text += " * (lp_index)" + std::to_string(term.factor);
  }
  if (whole.constant != 0 || text.empty()) {
    text += (text.empty() ? "(lp_index)" : " + (lp_index)") + std::to_string(whole.constant);
  }
  return "(" + text + ")";
}

std::string BodyEmitter::value_text(ExprId id, int scope) {
  const Expr entry = pool_.expr(id);
  switch (entry.kind) {
    case ExprKind::kIndex: return "(long long)" + form_text(entry.form, scope);
    case ExprKind::kNonNegative: return form_text(entry.form, scope) + " >= 0";
    case ExprKind::kLoad: {
      const Slot& slot = region_.slots()[static_cast<std::size_t>(entry.slot)];
      const std::string memory = (slot.table ? "table" : "in") + std::to_string(entry.slot);
      const std::string element = load_text(slot.desc.dtype, memory + "[" + form_text(entry.form, scope) + "]");
      if (entry.c == kNone) return element;
      return name(entry.c) + " ? " + element + " : " + literal(entry.type, entry.number, entry.integer);
    }
    case ExprKind::kSelect: return name(entry.c) + " ? " + name(entry.a) + " : " + name(entry.b);
    case ExprKind::kCast:
      if (entry.type == DType::kBool) return name(entry.a) + " != 0";
      return "lp_cast<" + register_type_name(entry.type) + ">(" + name(entry.a) + ")";
    default: return operation_text(entry);
  }
}

std::string BodyEmitter::operation_text(const Expr& entry) const {
  const std::string a = name(entry.a);
  const bool is_float = is_float_type(pool_.expr(entry.a).type);
  const bool is_single = pool_.expr(entry.a).type == DType::kFloat32;
  const auto call = [&](const char* function) { return std::string(function) + (is_single ? "f(" : "(") + a + ")"; };
  if (entry.kind == ExprKind::kUnary) {
    switch (entry.op) {
      case Op::kNegate: return is_float ? "-" + a : "lp_negate(" + a + ")";
      case Op::kAbs: return is_float ? call("fabs") : "lp_abs(" + a + ")";
      case Op::kSign: return "lp_sign(" + a + ")";
      case Op::kExp: return is_fast_ && is_single ? "__expf(" + a + ")" : call("exp");
      case Op::kLog: return is_fast_ && is_single ? "__logf(" + a + ")" : call("log");
      case Op::kLog1p: return call("log1p");
      case Op::kSqrt: return call("sqrt");
      case Op::kRsqrt: return is_single ? "lp_rsqrt(" + a + ")" : "1.0 / sqrt(" + a + ")";
      case Op::kSin: return call("sin");
      case Op::kCos: return call("cos");
      case Op::kTan: return call("tan");
      case Op::kAsin: return call("asin");
      case Op::kAcos: return call("acos");
      case Op::kAtan: return call("atan");
      case Op::kSinh: return call("sinh");
      case Op::kCosh: return call("cosh");
      case Op::kTanh: return call("tanh");
      case Op::kAsinh: return call("asinh");
      case Op::kAcosh: return call("acosh");
      case Op::kAtanh: return call("atanh");
      case Op::kErf: return call("erf");
      case Op::kFloor: return is_float ? call("floor") : a;
      case Op::kCeil: return is_float ? call("ceil") : a;
      case Op::kRound: return is_float ? call("rint") : a;
      case Op::kTrunc: return is_float ? call("trunc") : a;
      case Op::kRoundE4m3: return "lp_from_e4m3(lp_to_e4m3(" + a + "))";
      case Op::kNot: return "!" + a;
      case Op::kBitNot: return "(" + register_type_name(entry.type) + ")~" + a;
      case Op::kIsNan: return is_float ? a + " != " + a : "false";
      default: return is_float ? "lp_is_infinite(" + a + ")" : "false";
    }
  }
  const std::string b = name(entry.b);
  const auto infix = [&](const char* op) { return a + " " + op + " " + b; };
  switch (entry.op) {
    case Op::kAdd: return is_float ? infix("+") : "lp_add(" + a + ", " + b + ")";
    case Op::kSub: return is_float ? infix("-") : "lp_sub(" + a + ", " + b + ")";
    case Op::kMul: return is_float ? infix("*") : "lp_mul(" + a + ", " + b + ")";
    case Op::kDiv:
      if (is_fast_ && is_single) return "__fdividef(" + a + ", " + b + ")";
      return is_float ? infix("/") : "lp_div(" + a + ", " + b + ")";
    case Op::kMod: return "lp_mod(" + a + ", " + b + ")";
    case Op::kFmod:
      return is_float ? (is_single ? "fmodf(" : "fmod(") + a + ", " + b + ")" : "lp_rem(" + a + ", " + b + ")";
    case Op::kPow:
      if (!is_float) return "lp_power(" + a + ", " + b + ")";
      return std::string(is_single ? "powf(" : "pow(") + a + ", " + b + ")";
    case Op::kMin: return "lp_min(" + a + ", " + b + ")";
    case Op::kMax: return "lp_max(" + a + ", " + b + ")";
    case Op::kBitAnd: return infix("&");
    case Op::kBitOr: return infix("|");
    case Op::kBitXor: return infix("^");
    case Op::kShiftLeft: return "lp_shift_left(" + a + ", " + b + ")";
    case Op::kShiftRight: return "lp_shift_right(" + a + ", " + b + ")";
    case Op::kEqual: return infix("==");
    case Op::kLess: return infix("<");
    case Op::kLessOrEqual: return infix("<=");
    case Op::kAnd: return infix("&&");
    case Op::kOr: return infix("||");
    default: return infix("!=");
  }
}

}  // namespace pajamas::cuda::loops
