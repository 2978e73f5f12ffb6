// Region: the nodes of one kernel as formulas. at(value, index) is the expression of one element of a value in terms
// of loads from the region's inputs; so fusing is substitution, and a movement is only another index.
// The formulas themselves are in formulas_*.cpp, one file a class of operators; how elements are dealt to threads is
// in pointwise_kernel.cpp and row_kernel.cpp.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "graph/shape_inference.h"
#include "targets/cuda/loops/expr.h"
#include "targets/cuda/program.h"

namespace pajamas::cuda::loops {

/// One form an axis of the value.
using Index = std::vector<FormId>;

/// Row-major without gaps.
TensorDesc dense(DType type, const Shape& shape);

/// Memory that a kernel reads: an input of the region, or numbers written into its source.
struct Slot {
  std::string name;
  TensorDesc desc;
  std::int64_t offset_elements = 0;  ///< Of the first element, for what it says about alignment.
  std::optional<Tensor> table;       ///< Dense; of the register type.
};

/// The one set of axes that a region reduces over, as one flat variable.
struct RowSpace {
  VarId variable = -1;                ///< Over the product of the extents.
  std::vector<std::int64_t> extents;  ///< Of the reduced axes in ONNX's order.
  std::vector<std::size_t> order;     ///< Which of them varies slowest, ..., fastest.
  std::int64_t count = 0;
};

class Region;

/// An element of output `output` of the node at `index`. What lies behind `guard` (kNone: nothing) is only computed
/// where it holds, so the index may be outside elsewhere.
using Formula = ExprId (*)(Region&, const Node&, std::size_t output, const Index& index, ExprId guard);

enum class OperatorClass {
  kPointwise,  ///< The element at the same index of inputs of equal or broadcast shape.
  kReshape,    ///< The element at the same place in row-major order.
  kTranspose,
  kMovement,  ///< An element of an input, at another index.
  kWindow,    ///< A few elements around the index.
  kRow,       ///< Reduces whole axes.
  kSource,    ///< Reads no tensor.
};

struct OperatorEntry {
  Formula formula = nullptr;
  OperatorClass kind = OperatorClass::kPointwise;
  bool is_cheap = true;  ///< Computing it twice costs less than a pass through memory.
};

/// nullptr for an operator that loops do not know.
const OperatorEntry* find_operator(const Node& node);

using OperatorTable = std::map<std::string, OperatorEntry, std::less<>>;
void add_pointwise_formulas(OperatorTable& table);
void add_activation_formulas(OperatorTable& table);
void add_cast_formulas(OperatorTable& table);
void add_movement_formulas(OperatorTable& table);
void add_indexing_formulas(OperatorTable& table);
void add_resize_formulas(OperatorTable& table);
void add_row_formulas(OperatorTable& table);
void add_window_formulas(OperatorTable& table);

class Region {
 public:
  /// `facts` must know type and shape of every value; the pointers outlive the region.
  Region(std::vector<const Node*> nodes, std::int64_t opset, const GraphFacts& facts);

  ExprPool pool;

  void add_input(const std::string& name, const TensorDesc& desc, std::int64_t offset_elements = 0);
  void add_constant(const std::string& name, const Tensor* values) { constants_[name] = values; }
  const std::vector<Slot>& slots() const { return slots_; }
  const std::vector<const Node*>& nodes() const { return nodes_; }
  std::int64_t opset() const { return opset_; }
  /// The node of the region that makes a value, or nullptr.
  const Node* producer(const std::string& name) const;

  ExprId at(const std::string& value, const Index& index, ExprId guard);
  /// The same for a value that is stored next: a rounding that storing does anyway is left out.
  ExprId stored(const std::string& value, const Index& index) {
    const ExprId id = at(value, index, kNone);
    const Expr& entry = pool.expr(id);
    return entry.kind == ExprKind::kUnary && entry.op == Op::kRoundE4m3 ? entry.a : id;
  }

  // What formulas ask for. Those with a node throw Error{kUnsupported} naming it.
  Shape shape_of(const std::string& value) const;
  DType type_of(const std::string& value) const;
  bool has_input(const Node& node, std::size_t input) const {
    return input < node.inputs.size() && !node.inputs[input].empty();
  }
  /// Input `input` at the output's index, broadcast.
  ExprId operand(const Node& node, std::size_t input, const Index& index, ExprId guard);
  /// The numbers of an input that must be known when the kernel is made; nullptr where they are not.
  std::optional<Tensor> constant(const std::string& value) const;
  std::vector<std::int64_t> integers(const Node& node, std::size_t input) const;
  /// One number of any numeric type.
  double number(const Node& node, std::size_t input) const;
  std::size_t axis(const Node& node, std::int64_t value, std::size_t rank) const;
  [[noreturn]] void unsupported(const Node& node, const std::string& why) const;
  void require(const Node& node, bool condition, const char* why) const {
    if (!condition) unsupported(node, why);
  }

  /// The index of element `flat` of a dense tensor, and back.
  Index index_of_flat(FormId flat, const Shape& shape);
  FormId flat_of_index(const Index& index, const Shape& shape);
  /// A loop variable of a node's own (its window); the same one each time it is asked for.
  VarId window_variable(const Node& node, std::int64_t extent);
  /// The row variable for a node that reduces `axes` of `shape`; all such nodes of a region must agree.
  const RowSpace& row_space(const Node& node, const Shape& shape, const std::vector<std::size_t>& axes);
  const std::optional<RowSpace>& rows() const { return rows_; }
  /// Decides which reduced axis varies fastest, before any formula is made.
  void set_row_order(std::vector<std::size_t> order) { row_order_ = std::move(order); }
  /// The full index of an element of a row: reduced axes from the row variable, the others from `index`.
  Index row_index(const RowSpace& rows, const Index& index, const Shape& shape, const std::vector<std::size_t>& axes);
  /// Numbers that travel inside the source; load them by at most one index form.
  std::int32_t add_table(Tensor values);

 private:
  ExprId load_constant(const std::string& name, const Tensor& values, const Index& index, ExprId guard);
  std::vector<const Node*> nodes_;
  std::int64_t opset_;
  const GraphFacts& facts_;
  std::map<std::string, const Node*> producers_;
  std::map<std::string, std::int32_t> inputs_;
  std::map<std::string, const Tensor*> constants_;
  std::map<std::string, std::int32_t> constant_slots_;
  std::vector<Slot> slots_;
  std::map<std::tuple<std::string, Index, ExprId>, ExprId> memo_;
  std::map<const Node*, VarId> windows_;
  std::optional<RowSpace> rows_;
  std::vector<std::size_t> row_order_;
};

}  // namespace pajamas::cuda::loops
