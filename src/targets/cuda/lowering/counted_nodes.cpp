// write_bounded of counted_graph.h: what each operator needs where an axis has the length of a bound. Operators that
// map rows to rows stay as they are and compute rubbish behind the count; those that mix rows are given the neutral
// element there; those that move rows are told the real extents.
#include <algorithm>

#include "pajamas/error.h"
#include "targets/cuda/loops/region.h"
#include "targets/cuda/lowering/counted_graph.h"

namespace pajamas::cuda {
namespace {

using Ints = std::vector<std::int64_t>;

class NodeWriter {
 public:
  NodeWriter(CountedGraph& graph, Node node) : graph_(graph), node_(std::move(node)) {}

  void write() {
    if (node_.domain == kChoiceDomain) return choose();
    const bool is_counted =
        std::any_of(node_.inputs.begin(), node_.inputs.end(),
                    [&](const std::string& name) { return !name.empty() && touches_count(name); }) ||
        std::any_of(node_.outputs.begin(), node_.outputs.end(),
                    [&](const std::string& name) { return !name.empty() && graph_.is_counted(name); });
    if (!is_counted) return graph_.push(node_);
    struct Entry {
      const char* type;
      void (NodeWriter::*write)();
    };
    static constexpr Entry kTable[] = {
        {"Shape", &NodeWriter::shape},
        {"Size", &NodeWriter::shape},
        {"NonZero", &NodeWriter::non_zero},
        {"NonMaxSuppression", &NodeWriter::suppression},
        {"TopK", &NodeWriter::top_k},
        {"Slice", &NodeWriter::slice},
        {"Concat", &NodeWriter::concat},
        {"Split", &NodeWriter::split},
        {"Gather", &NodeWriter::gather},
        {"GatherElements", &NodeWriter::gather_elements},
        {"GatherND", &NodeWriter::gather_nd},
        {"ScatterElements", &NodeWriter::scatter_elements},
        {"Scatter", &NodeWriter::scatter_elements},
        {"ScatterND", &NodeWriter::scatter_nd},
        {"Reshape", &NodeWriter::reshape},
        {"Flatten", &NodeWriter::reshape},
        {"Squeeze", &NodeWriter::push},
        {"Unsqueeze", &NodeWriter::push},
        {"Transpose", &NodeWriter::push},
        {"Identity", &NodeWriter::push},
        {"Expand", &NodeWriter::expand},
        {"ConstantOfShape", &NodeWriter::expand},
        {"OneHot", &NodeWriter::push},
        {"Tile", &NodeWriter::tile},
        {"Pad", &NodeWriter::pad},
        {"Range", &NodeWriter::range},
        {"Softmax", &NodeWriter::softmax},
        {"LogSoftmax", &NodeWriter::softmax},
        {"ArgMax", &NodeWriter::arg_extreme},
        {"ArgMin", &NodeWriter::arg_extreme},
        {"CumSum", &NodeWriter::cumulative_sum},
        {"MatMul", &NodeWriter::mat_mul},
        {"Gemm", &NodeWriter::gemm},
        {"LayerNormalization", &NodeWriter::layer_normalization},
        {"RMSNormalization", &NodeWriter::layer_normalization},
        {"RoiAlign", &NodeWriter::roi_align},
    };
    for (const Entry& entry : kTable) {
      if (node_.is(entry.type)) return (this->*entry.write)();
    }
    if (node_.op_type.starts_with("Reduce")) return reduce();
    const loops::OperatorEntry* loop = loops::find_operator(node_);
    if (loop != nullptr && loop->kind == loops::OperatorClass::kPointwise) return push();
    by_batch();
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw Error(ErrorKind::kUnsupported, why, node_.describe(),
                "the cuda target cannot compute this for an extent that the data decide: use another target, or export "
                "the model without it");
  }
  bool has(std::size_t input) const { return input < node_.inputs.size() && !node_.inputs[input].empty(); }
  const std::string& in(std::size_t input) const {
    if (!has(input)) refuse("input " + std::to_string(input) + " is missing");
    return node_.inputs[input];
  }
  const ValueFact& fact(std::size_t input) const { return graph_.fact(in(input)); }
  const std::vector<Extent>& extents(const std::string& name) const { return *graph_.fact(name).shape; }
  bool touches_count(const std::string& name) const {
    return graph_.is_counted(name) || graph_.has_counted_elements(name);
  }
  std::size_t axis(std::int64_t value, std::size_t rank) const {
    const auto count = static_cast<std::int64_t>(rank);
    if (value < -count || value >= count) refuse("an axis outside of the rank");
    return static_cast<std::size_t>(value < 0 ? value + count : value);
  }
  std::vector<CountedAxis> counted(std::size_t input) const { return graph_.counted_axes(in(input)); }
  std::optional<CountedAxis> counted(std::size_t input, std::size_t wanted) const {
    for (const CountedAxis& axis : counted(input)) {
      if (axis.axis == wanted) return axis;
    }
    return {};
  }
  bool is_opset(std::int64_t opset) const { return graph_.opset() >= opset; }

  /// An input that says an extent, as the bound.
  void use_bounds(std::size_t input) {
    if (!has(input) || !graph_.has_counted_elements(in(input))) return;
    const ValueFact& known = fact(input);
    Ints values;
    for (const Extent& element : *known.elements) values.push_back(graph_.bound(element));
    const std::string made = graph_.integers(values);
    node_.inputs[input] = known.shape->empty() ? graph_.reshape(made, {}) : made;
  }
  /// The same as a scalar or list of the input's shape, without a node.
  void use_constant(std::size_t input, std::int64_t value) {
    node_.inputs[input] =
        graph_.constant(fact(input).shape->empty() ? Tensor::scalar(value) : Tensor::of<std::int64_t>({1}, {value}));
  }

  void push() { graph_.push(node_); }
  void push_as(std::string value, const std::string& output) {
    Node node;
    node.op_type = "Identity";
    node.name = graph_.name_like(output + "/Identity");
    node.inputs = {std::move(value)};
    node.outputs = {output};
    graph_.push(std::move(node));
  }

  // What makes counts ------------------------------------------------------------------------------------------------

  void shape() {
    const auto& elements = graph_.fact(node_.outputs[0]).elements;
    if (!elements) refuse("an extent that is not known");
    std::vector<std::string> parts;
    for (const Extent& element : *elements) parts.push_back(graph_.scalar(element));
    if (node_.is("Size")) return push_as(graph_.reshape(parts.at(0), {}), node_.outputs[0]);
    push_as(graph_.emit("Concat", node_.outputs[0], parts, {{"axis", std::int64_t{0}}}), node_.outputs[0]);
  }

  /// The name of the count along an axis of an output that this node makes.
  std::string own_count(std::size_t output, std::size_t axis) const {
    const Extent& extent = extents(node_.outputs[output])[axis];
    if (extent.terms().size() != 1 || extent.added() != 0) return {};
    return extent.terms().begin()->first.front();
  }

  /// Rows that are -1 are past the count; they become 0, a valid index. `column`: of the value's other axis.
  void finish_indices(const std::string& raw, std::size_t counted_axis) {
    const std::string column = graph_.emit("Gather", raw, {raw, graph_.constant(Tensor::scalar(std::int64_t{0}))},
                                           {{"axis", static_cast<std::int64_t>(1 - counted_axis)}});
    const std::string is_real = graph_.emit("Less", raw, {graph_.integers({-1}), column});
    const std::string ones = graph_.emit("Cast", raw, {is_real}, {{"to", static_cast<std::int64_t>(DType::kInt64)}});
    const std::string sum = graph_.emit("ReduceSum", raw, {ones}, {{"keepdims", std::int64_t{1}}});
    graph_.set_scalar(own_count(0, counted_axis), sum);
    push_as(graph_.greater(raw, graph_.integers({0})), node_.outputs[0]);
  }

  void non_zero() {
    node_.inputs[0] = graph_.masked(in(0), counted(0), Neutral::kZero);
    if (!graph_.is_counted(node_.outputs[0])) return push();  // Its extent is declared.
    const std::string raw = graph_.name_like(node_.outputs[0] + "/places");
    graph_.declare(raw, DType::kInt64, graph_.bounds(node_.outputs[0]));
    const std::string output = node_.outputs[0];
    Node search = node_;
    search.outputs[0] = raw;
    graph_.push(std::move(search));
    finish_indices(raw, 1);
  }

  void suppression() {
    for (std::size_t i = 0; i < 2; ++i) {
      for (const CountedAxis& axis : counted(i)) {
        if (axis.axis != (i == 0 ? 1 : 2)) refuse("a batch or classes that the data decide");
      }
    }
    if (!counted(1).empty()) {
      node_.inputs[1] = graph_.masked(in(1), counted(1), Neutral::kLowest);
      node_.inputs.resize(5);
      if (node_.inputs[4].empty()) {
        node_.inputs[4] =
            graph_.constant(Tensor::of<float>({1}, std::vector<float>{std::numeric_limits<float>::lowest()}));
      }
    }
    if (!graph_.is_counted(node_.outputs[0])) return push();
    const std::string raw = graph_.name_like(node_.outputs[0] + "/chosen");
    graph_.declare(raw, DType::kInt64, graph_.bounds(node_.outputs[0]));
    Node search = node_;
    search.outputs[0] = raw;
    graph_.push(std::move(search));
    finish_indices(raw, 0);
  }

  void top_k() {
    const std::size_t along = axis(node_.int_attribute("axis", -1), fact(0).rank());
    const std::size_t any = node_.outputs[0].empty() ? 1 : 0;
    const Extent& kept = extents(node_.outputs.at(any))[along];
    if (const auto own = counted(0, along)) {
      const bool is_largest = node_.int_attribute("largest", 1) != 0;
      node_.inputs[0] = graph_.masked(in(0), {*own}, is_largest ? Neutral::kLowest : Neutral::kHighest);
    }
    if (!kept.is_known()) {
      // What is there may be less than what is wanted only in a model that contradicts itself.
      if (const std::string count = own_count(any, along); !count.empty() && !graph_.has_counted_elements(in(1))) {
        graph_.set_scalar(count, graph_.reshape(in(1), {1}));
      }
      use_constant(1, graph_.bound(kept));
    }
    push();
  }

  void choose() {
    const auto& wanted = extents(node_.outputs[0]);
    std::vector<std::string> values;
    std::vector<std::string> real;
    const std::string condition = graph_.reshape(in(0), Ints{});
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (wanted[i].is_known()) continue;
      const std::string a = graph_.scalar(fact(1).shape->at(i));
      const std::string b = graph_.scalar(fact(2).shape->at(i));
      graph_.set_scalar(own_count(0, i), graph_.emit("Where", node_.outputs[0], {condition, a, b}));
    }
    const Ints to = graph_.bounds(node_.outputs[0]);
    const auto is_nothing = [&](std::size_t input) {
      const Ints own = graph_.bounds(in(input));
      return std::count(own.begin(), own.end(), 0) != 0;
    };
    if (is_nothing(1) || is_nothing(2)) {
      // Rows of nothing are past the count anyway.
      const std::size_t other = is_nothing(1) ? 2 : 1;
      return push_as(graph_.padded(in(other), graph_.bounds(in(other)), to), node_.outputs[0]);
    }
    for (std::size_t i = 1; i <= 2; ++i) values.push_back(graph_.padded(in(i), graph_.bounds(in(i)), to));
    push_as(graph_.emit("Where", node_.outputs[0], {condition, values[0], values[1]}), node_.outputs[0]);
  }

  void slice() {
    // The ranges are read from the facts of the original.
    const auto ranges = slice_ranges(node_, graph_.opset(), graph_.facts());
    if (!ranges) refuse("places that are not known");
    const auto& from = extents(in(0));
    const auto& to = extents(node_.outputs[0]);
    for (const SliceRange& range : *ranges) {
      const bool is_free = from[range.axis].is_known() && to[range.axis].is_known();
      if (is_free || from[range.axis] == to[range.axis]) continue;
      if (range.start < 0 || range.step < 1 || (range.end && range.end->is_known() && range.end->value() < 0)) {
        refuse("places counted from an end that depends on the data");
      }
      const std::string count = own_count(0, range.axis);
      if (count.empty()) continue;
      std::string rest = graph_.scalar(from[range.axis]);
      if (range.end) rest = graph_.lesser(rest, graph_.scalar(*range.end));
      if (const std::int64_t taken = range.start - (range.step - 1); taken != 0) {
        rest = graph_.emit("Sub", node_.outputs[0], {rest, graph_.integers({taken})});
      }
      rest = graph_.greater(rest, graph_.integers({0}));
      if (range.step != 1) rest = graph_.emit("Div", node_.outputs[0], {rest, graph_.integers({range.step})});
      graph_.set_scalar(count, rest);
    }
    use_bounds(2);
    push();
  }

  // What moves rows --------------------------------------------------------------------------------------------------

  /// Parts lie behind one another at their bounds first; then row i comes from where its part's rows lie.
  void concat() {
    const auto& shape = extents(node_.outputs[0]);
    const std::size_t along = axis(node_.int_attribute("axis", 0), shape.size());
    std::size_t num_open = 0;
    for (std::size_t i = 0; i + 1 < node_.inputs.size(); ++i) num_open += extents(in(i))[along].is_known() ? 0 : 1;
    if (num_open == 0) return push();
    Node joined = node_;
    joined.outputs[0] = graph_.name_like(node_.outputs[0] + "/joined");
    graph_.push(joined);
    const std::int64_t total = graph_.bound(shape[along]);
    const std::string place = graph_.range(total);
    std::string source = place;
    Extent start(0);
    std::int64_t start_at_bounds = 0;
    for (std::size_t i = 0; i + 1 < node_.inputs.size(); ++i) {
      const Extent& own = extents(in(i))[along];
      start = start + own;
      start_at_bounds += graph_.bound(own);
      const std::string real_start = graph_.scalar(start);
      const std::string moved =
          graph_.emit("Add", node_.outputs[0],
                      {graph_.emit("Sub", node_.outputs[0], {place, real_start}), graph_.integers({start_at_bounds})});
      source = graph_.emit("Where", node_.outputs[0],
                           {graph_.emit("Less", node_.outputs[0], {place, real_start}), source, moved});
    }
    source = graph_.lesser(source, graph_.integers({total - 1}));
    push_as(graph_.emit("Gather", node_.outputs[0], {joined.outputs[0], source},
                        {{"axis", static_cast<std::int64_t>(along)}}),
            node_.outputs[0]);
  }

  void split() {
    const std::size_t along = axis(node_.int_attribute("axis", 0), fact(0).rank());
    if (counted(0, along)) refuse("a Split along an extent that the data decide");
    push();
  }

  /// Indices of rows, negative ones from the real end, all of them within the bound.
  std::string safe_indices(std::size_t input, const Extent& extent) {
    const ValueFact& indices = fact(input);
    if (const auto known = indices.known_elements()) {
      const bool is_plain = std::all_of(known->begin(), known->end(), [](std::int64_t index) { return index >= 0; });
      if (is_plain || extent.is_known()) return in(input);
    }
    const std::int64_t bound = graph_.bound(extent);
    std::string at = in(input);
    if (extent.is_known() && !graph_.is_counted(at)) return at;
    if (!extent.is_known()) {
      std::string count = graph_.scalar(extent);
      if (indices.shape->empty()) count = graph_.reshape(count, {});
      if (indices.dtype == DType::kInt32) {
        count = graph_.emit("Cast", at, {count}, {{"to", static_cast<std::int64_t>(DType::kInt32)}});
      }
      const std::string zero = graph_.constant(indices.dtype == DType::kInt32 ? Tensor::scalar(std::int32_t{0})
                                                                              : Tensor::scalar(std::int64_t{0}));
      at = graph_.emit("Where", at, {graph_.emit("Less", at, {at, zero}), graph_.emit("Add", at, {at, count}), at});
    }
    return graph_.clamped(at, indices.dtype, extent.is_known() ? -bound : 0, std::max<std::int64_t>(bound - 1, 0));
  }

  void gather() {
    const std::size_t along = axis(node_.int_attribute("axis", 0), fact(0).rank());
    node_.inputs[1] = safe_indices(1, extents(in(0))[along]);
    push();
  }

  void gather_elements() { gather(); }

  void gather_nd() {
    const auto& indices = extents(in(1));
    const auto& data = extents(in(0));
    const auto skipped = static_cast<std::size_t>(node_.int_attribute("batch_dims", 0));
    if (indices.empty() || !indices.back().is_known()) refuse("indices of unknown depth");
    if (counted(1).empty() && counted(0).empty()) return push();
    Ints low;
    Ints high;
    for (std::size_t i = 0; i < static_cast<std::size_t>(indices.back().value()); ++i) {
      const Extent& extent = data.at(skipped + i);
      const std::int64_t bound = graph_.bound(extent);
      low.push_back(extent.is_known() ? -bound : 0);
      high.push_back(std::max<std::int64_t>(bound - 1, 0));
    }
    node_.inputs[1] = graph_.lesser(graph_.greater(in(1), graph_.integers(low)), graph_.integers(high));
    push();
  }

  /// Updates past the count go to a slab behind the data that is cut off again.
  void scatter(std::size_t along, const std::string& indices) {
    const Ints extents = graph_.bounds(in(0));
    Ints larger = extents;
    ++larger[along];
    const std::string output = node_.outputs[0];
    node_.inputs[0] = graph_.padded(in(0), extents, larger);
    node_.inputs[1] = indices;
    node_.outputs[0] = graph_.name_like(output + "/scattered");
    push();
    push_as(graph_.part(node_.outputs[0], along, 0, extents[along]), output);
  }

  /// Whether rows of the value are real: of a mask for all of its counted axes.
  std::string all_masks(const std::vector<CountedAxis>& axes, std::size_t rank) {
    std::string all;
    for (const CountedAxis& axis : axes) {
      const std::string own = graph_.mask(axis, rank);
      all = all.empty() ? own : graph_.emit("And", node_.outputs[0], {all, own});
    }
    return all;
  }

  void scatter_elements() {
    const std::size_t along = axis(node_.int_attribute("axis", 0), fact(0).rank());
    std::string indices = safe_indices(1, extents(in(0))[along]);
    const auto axes = counted(1);
    if (axes.empty()) {
      node_.inputs[1] = indices;
      return push();
    }
    const std::int64_t bound = graph_.bound(extents(in(0))[along]);
    if (extents(in(0))[along].is_known()) indices = from_the_start(indices, {bound}, fact(1).dtype);
    const Tensor past =
        fact(1).dtype == DType::kInt32 ? Tensor::scalar(static_cast<std::int32_t>(bound)) : Tensor::scalar(bound);
    scatter(along,
            graph_.emit("Where", node_.outputs[0], {all_masks(axes, fact(1).rank()), indices, graph_.constant(past)}));
  }

  /// Negative indices as places from the start; `extents` one number, or one a column.
  std::string from_the_start(const std::string& indices, const Ints& extents, DType dtype) {
    std::string size = graph_.integers(extents);
    std::string zero = graph_.integers({0});
    if (dtype == DType::kInt32) {
      size = graph_.emit("Cast", indices, {size}, {{"to", static_cast<std::int64_t>(dtype)}});
      zero = graph_.emit("Cast", indices, {zero}, {{"to", static_cast<std::int64_t>(dtype)}});
    }
    return graph_.emit(
        "Where", indices,
        {graph_.emit("Less", indices, {indices, zero}), graph_.emit("Add", indices, {indices, size}), indices});
  }

  void scatter_nd() {
    const auto axes = counted(1);
    const auto& indices = extents(in(1));
    if (axes.empty()) return push();
    if (indices.empty() || !indices.back().is_known() || indices.back().value() < 1) {
      refuse("indices of unknown depth");
    }
    const auto depth = static_cast<std::size_t>(indices.back().value());
    Ints sizes;
    for (std::size_t i = 0; i < depth; ++i) sizes.push_back(graph_.bound(extents(in(0)).at(i)));
    Ints past(depth, 0);
    past[0] = sizes[0];
    const std::string plain = from_the_start(in(1), sizes, DType::kInt64);
    scatter(0, graph_.emit("Where", node_.outputs[0], {all_masks(axes, indices.size()), plain, graph_.integers(past)}));
  }

  /// Element by element the same place in memory: what lies before the first extent that differs is alike, and behind
  /// it only the outermost axis may be counted.
  void reshape() {
    std::vector<Extent> from = extents(in(0));
    std::vector<Extent> to = extents(node_.outputs[0]);
    const auto is_one = [](const Extent& extent) { return extent.is_known() && extent.value() == 1; };
    std::erase_if(from, is_one);
    std::erase_if(to, is_one);
    std::size_t same = 0;
    while (same < from.size() && same < to.size() && from[same] == to[same]) ++same;
    for (const auto* list : {&from, &to}) {
      for (std::size_t i = same + 1; i < list->size(); ++i) {
        if (!(*list)[i].is_known()) refuse("a Reshape that moves rows behind others");
      }
    }
    use_bounds(1);
    push();
  }

  void expand() {
    use_bounds(node_.is("Expand") ? 1 : 0);
    push();
  }

  void tile() {
    const auto& elements = fact(1).elements;
    if (!elements) refuse("repeats that are not known");
    for (std::size_t i = 0; i < elements->size(); ++i) {
      const bool is_once = (*elements)[i].is_known() && (*elements)[i].value() == 1;
      if (!extents(in(0))[i].is_known() && !is_once) refuse("repeats of rows that the data decide");
    }
    use_bounds(1);
    push();
  }

  void pad() {
    Ints pads;
    if (!is_opset(11)) {
      pads = node_.ints_attribute("pads");
    } else if (const auto known = fact(1).known_elements(); known && !has(3)) {
      pads = *known;
    } else {
      refuse("pads that are not known");
    }
    const std::size_t rank = fact(0).rank();
    std::vector<CountedAxis> filled;
    for (const CountedAxis& own : counted(0)) {
      if (pads.at(own.axis) != 0 || pads.at(own.axis + rank) < 0) refuse("a Pad in front of rows that the data decide");
      if (pads[own.axis + rank] > 0) filled.push_back(own);
    }
    if (!filled.empty()) {
      const bool is_zero = node_.string_attribute("mode", "constant") == "constant" && !has(2) &&
                           (is_opset(11) || node_.float_attribute("value", 0) == 0);
      if (!is_zero) refuse("a Pad behind rows that the data decide by anything but zeros");
      node_.inputs[0] = graph_.masked(in(0), filled, Neutral::kZero);
    }
    push();
  }

  void range() {
    const auto start = fact(0).known_elements();
    const auto step = fact(2).known_elements();
    if (!start || !step || start->size() != 1 || *step != Ints{1}) refuse("a Range whose start or step is not known");
    use_constant(1, start->front() + graph_.bound(extents(node_.outputs[0])[0]));
    push();
  }

  // What mixes rows --------------------------------------------------------------------------------------------------

  std::vector<bool> reduced_axes() const {
    const std::size_t rank = fact(0).rank();
    Ints axes = node_.ints_attribute("axes");
    if (has(1)) {
      const auto known = fact(1).known_elements();
      if (!known) refuse("axes that are not known");
      axes = *known;
    }
    std::vector<bool> is_reduced(rank, axes.empty() && node_.int_attribute("noop_with_empty_axes", 0) == 0);
    for (const std::int64_t value : axes) is_reduced[axis(value, rank)] = true;
    return is_reduced;
  }

  void reduce() {
    const std::vector<bool> is_reduced = reduced_axes();
    std::vector<CountedAxis> mixed;
    for (const CountedAxis& own : counted(0)) {
      if (is_reduced[own.axis]) mixed.push_back(own);
    }
    if (mixed.empty()) return push();
    const std::string& type = node_.op_type;
    const Neutral neutral = type == "ReduceMax" || type == "ReduceLogSumExp" ? Neutral::kLowest
                            : type == "ReduceMin"                            ? Neutral::kHighest
                            : type == "ReduceProd"                           ? Neutral::kOne
                                                                             : Neutral::kZero;
    const DType dtype = fact(0).dtype;
    const std::string from = in(0);
    node_.inputs[0] = graph_.masked(from, mixed, neutral);
    if (type != "ReduceMean") return push();
    Extent count(1);
    for (std::size_t i = 0; i < is_reduced.size(); ++i) {
      if (is_reduced[i]) count = count * extents(from)[i];
    }
    const std::string output = node_.outputs[0];
    node_.op_type = "ReduceSum";
    if (is_opset(13) && !is_opset(18) && !has(1) && node_.find_attribute("axes") != nullptr) {
      node_.inputs.resize(2);
      node_.inputs[1] = graph_.integers(node_.ints_attribute("axes"));
      node_.remove_attribute("axes");
    }
    node_.outputs[0] = graph_.name_like(output + "/sum");
    push();
    const std::string divisor =
        graph_.emit("Cast", output, {graph_.scalar(count)}, {{"to", static_cast<std::int64_t>(dtype)}});
    const std::string mean = graph_.emit(
        "Div", output, {node_.outputs[0], extents(output).empty() ? graph_.reshape(divisor, Ints{}) : divisor});
    push_as(mean, output);
  }

  void softmax() {
    const std::size_t rank = fact(0).rank();
    const std::size_t along = axis(node_.int_attribute("axis", is_opset(13) ? -1 : 1), rank);
    std::vector<CountedAxis> mixed;
    for (const CountedAxis& own : counted(0)) {
      if (is_opset(13) ? own.axis == along : own.axis >= along) mixed.push_back(own);
    }
    node_.inputs[0] = graph_.masked(in(0), mixed, Neutral::kLowest);
    push();
  }

  void arg_extreme() {
    const std::size_t along = axis(node_.int_attribute("axis", 0), fact(0).rank());
    if (const auto own = counted(0, along)) {
      if (node_.int_attribute("select_last_index", 0) != 0) refuse("the last of equal rows that the data decide");
      node_.inputs[0] = graph_.masked(in(0), {*own}, node_.is("ArgMax") ? Neutral::kLowest : Neutral::kHighest);
    }
    push();
  }

  void cumulative_sum() {
    if (node_.int_attribute("reverse", 0) != 0) node_.inputs[0] = graph_.masked(in(0), counted(0), Neutral::kZero);
    push();
  }

  /// Sums over a counted axis: rubbish in either factor could be no number.
  void mask_sum(std::size_t input, std::size_t along) {
    if (const auto own = counted(input, along)) node_.inputs[input] = graph_.masked(in(input), {*own}, Neutral::kZero);
  }

  void mat_mul() {
    const std::size_t a = fact(0).rank();
    const std::size_t b = fact(1).rank();
    if (a == 0 || b == 0) refuse("a scalar");
    mask_sum(0, a - 1);
    mask_sum(1, b == 1 ? 0 : b - 2);
    push();
  }

  void gemm() {
    mask_sum(0, node_.int_attribute("transA", 0) != 0 ? 0 : 1);
    mask_sum(1, node_.int_attribute("transB", 0) != 0 ? 1 : 0);
    push();
  }

  void layer_normalization() {
    const std::size_t first = axis(node_.int_attribute("axis", -1), fact(0).rank());
    for (const CountedAxis& own : counted(0)) {
      if (own.axis >= first) refuse("a normalisation over an extent that the data decide");
    }
    push();
  }

  void roi_align() {
    if (!counted(0).empty()) refuse("features of an extent that the data decide");
    if (!counted(2).empty()) node_.inputs[2] = safe_indices(2, extents(in(0))[0]);
    // Regions past the count lie outside of every picture, where a sample is 0 and reads nothing.
    for (const CountedAxis& own : counted(1)) {
      if (own.axis != 0 || fact(1).rank() != 2) refuse("regions of an extent that the data decide");
      constexpr float kFarOutside = -30000;  // Also in float16.
      const std::string outside = graph_.constant(narrowed(Tensor::scalar(kFarOutside), fact(1).dtype));
      node_.inputs[1] = graph_.emit("Where", in(1), {graph_.mask(own, 2), in(1), outside});
    }
    push();
  }

  /// Other operators treat their first input's first axis as a batch, if at all.
  void by_batch() {
    static constexpr const char* kKnown[] = {"Conv",
                                             "ConvTranspose",
                                             "MaxPool",
                                             "AveragePool",
                                             "GlobalAveragePool",
                                             "GlobalMaxPool",
                                             "BatchNormalization",
                                             "InstanceNormalization",
                                             "DepthToSpace",
                                             "SpaceToDepth",
                                             "QuantizeLinear",
                                             "DequantizeLinear"};
    const bool is_known =
        std::any_of(std::begin(kKnown), std::end(kKnown), [&](const char* type) { return node_.is(type); });
    for (std::size_t i = 0; i < node_.inputs.size(); ++i) {
      if (!has(i)) continue;
      for (const CountedAxis& own : counted(i)) {
        if (!is_known || i != 0 || own.axis != 0) refuse("an extent that the data decide");
      }
      if (graph_.has_counted_elements(in(i))) refuse("an extent that the data decide");
    }
    push();
  }

  CountedGraph& graph_;
  Node node_;
};

}  // namespace

void write_bounded(CountedGraph& graph, Node node) { NodeWriter(graph, std::move(node)).write(); }

}  // namespace pajamas::cuda
