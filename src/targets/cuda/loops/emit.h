// From scalar expressions to lines of CUDA C++: what is computed where, once. A choice that is lazy becomes an if whose
// sides hold what only they need, a window becomes a loop, neighbouring loads become one of 16 bytes. How elements are
// dealt to threads is not decided here (pointwise_kernel.cpp, row_kernel.cpp).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "targets/cuda/loops/region.h"

namespace pajamas::cuda::loops {

/// The functions that every source starts with: conversions, integer semantics, vectors. Compiles on both sides of
/// host_shim.h.
const char* prelude();

/// "float", "long long", ...: of a register, and of an element in memory.
std::string register_type_name(DType type);
std::string memory_type_name(DType type);
int memory_bytes(DType type);
/// An element as stored from a register and back.
std::string load_text(DType type, const std::string& element);
std::string store_text(DType type, const std::string& value);
/// A number as it stands in memory.
std::string memory_literal(DType type, double number, std::int64_t integer);
std::string literal(DType type, double number, std::int64_t integer);

/// Straight-line code for a set of expressions. Names are unique in a kernel by `prefix`.
class BodyEmitter {
 public:
  /// `variables`: how the variables that the roots depend on are written; `known`: expressions that have names already.
  BodyEmitter(const Region& region, std::string prefix, std::map<VarId, std::string> variables,
              std::map<ExprId, std::string> known, bool is_fast);
  /// Emits all of them. Once.
  void run(const std::vector<ExprId>& roots);
  /// How a root (or anything at the top level) is written after run().
  std::string name(ExprId id) const;
  std::string form_text(FormId id) { return form_text(id, 0); }
  std::string text() const { return scopes_[0].preamble + scopes_[0].body; }
  /// Memory instructions at the top level: what the choice of a vector width minimises.
  int num_loads() const { return num_loads_; }
  /// Names of what the top level computed.
  const std::map<ExprId, std::string>& names() const { return names_; }

 private:
  struct Scope {
    int parent = -1;
    VarId variable = -1;  ///< Of a loop.
    ExprId condition = kNone;
    std::string preamble;
    std::string body;
  };
  struct Group {
    int then_scope = -1;  ///< Or the loop's.
    int else_scope = -1;
    std::vector<ExprId> members;
  };
  using GroupKey = std::tuple<int, int, int, int>;
  bool is_window(ExprId id) const;
  bool is_named(ExprId id) const { return names_.contains(id); }
  void collect(const std::vector<ExprId>& roots);
  void place(const std::vector<ExprId>& roots);
  void find_vectors();
  void note(ExprId id, int scope);
  int common(int a, int b) const;
  bool is_inside(int scope, int outer) const;
  int depth(int scope) const;
  Group& group_of(ExprId id);
  void emit_scope(int scope);
  void ensure(ExprId id, int scope);
  void emit_choice(Group& group, int scope);
  void emit_loop(Group& group, int scope);
  void emit_vector(ExprId id, int scope);
  void ensure_outer(const Group& group, int scope);
  void line(int scope, const std::string& text);
  void define(ExprId id, int scope, const std::string& value);
  std::string value_text(ExprId id, int scope);
  std::string operation_text(const Expr& entry) const;
  std::string form_text(FormId id, int scope);
  std::string atom_text(AtomId id, int scope);

  const Region& region_;
  const ExprPool& pool_;
  std::string prefix_;
  std::map<VarId, std::string> variables_;
  std::map<ExprId, std::string> names_;
  bool is_fast_;
  std::vector<ExprId> nodes_;  ///< Ascending.
  std::map<ExprId, int> scope_of_;
  std::map<ExprId, int> level_;
  std::vector<Scope> scopes_{1};
  std::map<GroupKey, Group> groups_;
  std::map<ExprId, GroupKey> group_keys_;
  std::map<ExprId, std::vector<ExprId>> vectors_;  ///< Load → the loads of its vector, in order.
  std::map<std::pair<AtomId, int>, std::string> atom_names_;
  int num_loads_ = 0;
  int num_vectors_ = 0;
};

}  // namespace pajamas::cuda::loops
