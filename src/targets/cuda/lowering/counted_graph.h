// A graph in the course of counts.h's rewrite: what is known of its values, the counts and their bounds, and the few
// nodes that are written again and again (masks, scalars of counts, clamped indices). Not which operator needs what.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "graph/passes/pass.h"
#include "graph/shape_inference.h"
#include "targets/cuda/constant_pool.h"

namespace pajamas::cuda {

/// An axis whose extent is counted.
struct CountedAxis {
  std::size_t axis = 0;
  Extent extent = 0;
};

/// What a reduction over nothing gives.
enum class Neutral { kZero, kOne, kLowest, kHighest };
/// A scalar of the type. Throws Error{kInternal} for a type without numbers.
Tensor neutral_number(DType dtype, Neutral neutral);

/// A float32 tensor in another floating-point type.
Tensor narrowed(const Tensor& wide, DType dtype);

class CountedGraph {
 public:
  CountedGraph(Model slim, std::shared_ptr<const GraphFacts> facts, std::map<std::string, std::int64_t> bounds);

  // Facts of the original values. Extents are polynomials in counts.
  const ValueFact& fact(const std::string& name) const;
  std::int64_t bound(const Extent& extent) const;
  std::vector<std::int64_t> bounds(const std::string& name) const;
  std::vector<CountedAxis> counted_axes(const std::string& name) const;
  bool is_counted(const std::string& name) const { return !counted_axes(name).empty(); }
  /// Whether the numbers of a value, not its extents, follow from counts.
  bool has_counted_elements(const std::string& name) const;

  // Writing.
  std::string name_like(const std::string& stem) { return names_.take(stem); }
  void push(Node node) { nodes_.push_back(std::move(node)); }
  std::string emit(const char* type, const std::string& stem, std::vector<std::string> inputs,
                   const std::vector<std::pair<const char*, AttributeValue>>& attributes = {});
  /// A small constant, stored once.
  std::string constant(const Tensor& tensor);
  std::string integers(const std::vector<std::int64_t>& values);
  /// The real number of an extent, int64 [1].
  std::string scalar(const Extent& extent);
  void set_scalar(const std::string& count, const std::string& value) { scalars_[count] = value; }
  /// int64 [count]: 0, 1, ...
  std::string range(std::int64_t count);
  /// bool: which elements along an axis of a value of this rank are real.
  std::string mask(const CountedAxis& axis, std::size_t rank);
  /// The value with `neutral` where one of the axes is past its count.
  std::string masked(const std::string& name, const std::vector<CountedAxis>& axes, Neutral neutral);
  /// Integer indices, within [low, high].
  std::string clamped(const std::string& indices, DType dtype, std::int64_t low, std::int64_t high);
  /// The lesser of two int64 values: Min takes integers from opset 12 on only.
  std::string lesser(const std::string& a, const std::string& b);
  std::string greater(const std::string& a, const std::string& b);
  std::string reshape(const std::string& value, const std::vector<std::int64_t>& extents);
  /// Zeros behind the elements, up to these extents.
  std::string padded(const std::string& value, const std::vector<std::int64_t>& from,
                     const std::vector<std::int64_t>& to);
  /// Elements from `start` to before `end` along an axis.
  std::string part(const std::string& value, std::size_t axis, std::int64_t start, std::int64_t end);
  void declare(const std::string& name, DType dtype, const std::vector<std::int64_t>& extents);

  std::int64_t opset() const { return opset_; }
  const GraphFacts& facts() const { return *facts_; }
  /// The graph as written, with `outputs` for outputs.
  Model finish(std::vector<ValueInfo> outputs);

 private:
  Model model_;  ///< Interface and constants of the original; its nodes are what has been written.
  std::shared_ptr<const GraphFacts> facts_;
  std::map<std::string, std::int64_t> bounds_;  ///< By the name of a count.
  std::map<std::string, std::string> scalars_;  ///< By the name of a count, and by the text of other extents.
  std::map<std::string, std::string> memo_;
  std::int64_t opset_;
  NameSet names_;
  std::vector<Node> nodes_;
  std::vector<ValueInfo> infos_;
};

/// Gives a rewritten graph the inputs and the large constants of the graph it was made of: those stay where the caller
/// has them, in the model or in the table only.
void restore_constants(Model& rewritten, const Model& source);

/// Writes the node again for extents that are bounds. Throws Error{kUnsupported} naming it where that cannot be.
void write_bounded(CountedGraph& graph, Node node);

/// What takes the place of an If while extents are being found: inputs condition, then, else.
inline constexpr const char* kChoiceDomain = "pajamas.lowering";
inline constexpr const char* kChoiceType = "Choose";

/// Slice's parameters along one axis; `end` may be counted.
struct SliceRange {
  std::size_t axis = 0;
  std::int64_t start = 0;
  std::optional<Extent> end;  ///< Nothing: to the end.
  std::int64_t step = 1;
};
/// Nothing where they are not known.
std::optional<std::vector<SliceRange>> slice_ranges(const Node& node, std::int64_t opset, const GraphFacts& facts);
/// The most that a value of one integer can be, as far as the nodes behind it tell.
std::optional<std::int64_t> upper_bound(const std::string& name, const Graph& graph, const GraphFacts& facts,
                                        const std::map<std::string, std::int64_t>& bounds);
/// The most that a polynomial can be within the bounds; nothing where it has another unknown.
std::optional<std::int64_t> value_at(const Extent& extent, const std::map<std::string, std::int64_t>& bounds);

}  // namespace pajamas::cuda
