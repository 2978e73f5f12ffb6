// The order of lowering, and the making of steps. See lower.h; what decides is in products.h and storage.h.
#include "targets/cuda/lowering/lower.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <queue>
#include <set>
#include <unordered_map>

#include "pajamas/error.h"
#include "targets/cuda/lowering/counts.h"
#include "targets/cuda/lowering/expansions.h"
#include "targets/cuda/lowering/memory_plan.h"
#include "targets/cuda/lowering/regions.h"
#include "targets/cuda/lowering/rewrite.h"
#include "targets/cuda/lowering/schedule.h"
#include "targets/cuda/lowering/siblings.h"
#include "targets/cuda/lowering/storage.h"
#include "targets/cuda/operators/operators.h"

namespace pajamas::cuda {

namespace {

using Extents = std::vector<std::int64_t>;

/// One future step: a product, a region, an operator of its own, or a copy into a Concat.
struct Unit {
  enum class Kind { kProduct, kRegion, kOperator, kCopy };
  Kind kind = Kind::kProduct;
  std::size_t index = 0;   ///< Of the product or the copy.
  std::vector<int> nodes;  ///< Of a region or operator.
  std::vector<std::string> reads;
  std::vector<std::string> writes;
  int order = 0;
};

std::string label_of(const Node& node) { return node.name.empty() ? node.op_type : node.name; }

bool is_empty(const Extents& extents) { return std::count(extents.begin(), extents.end(), 0) != 0; }

Window with_axis(Window window, std::size_t axis, std::int64_t extent, std::int64_t stride) {
  window.extents.insert(window.extents.begin() + static_cast<std::ptrdiff_t>(axis), extent);
  window.strides.insert(window.strides.begin() + static_cast<std::ptrdiff_t>(axis), stride);
  return window;
}

Window swapped_ends(Window window) {
  const std::size_t rank = window.extents.size();
  std::swap(window.extents[rank - 1], window.extents[rank - 2]);
  std::swap(window.strides[rank - 1], window.strides[rank - 2]);
  return window;
}

bool is_inner(const Window& window, std::size_t axis) { return window.strides[axis] == 1 || window.extents[axis] == 1; }

class Lowering {
 public:
  Lowering(const Model& model, const ConstantTable& constants, const LoweringOptions& options)
      : Lowering(rewrite_for_steps(model, constants, options.has_integer_products), constants, options) {}

  LoweredProgram lower() {
    group_loops();
    order_units();
    for (const Unit& unit : units_) emit(unit);
    finish_interface();
    schedule_steps(program_, options_.max_lanes);
    plan_memory(program_);
    return std::move(lowered_);
  }

 private:
  Lowering(Rewritten rewritten, const ConstantTable& constants, const LoweringOptions& options)
      : graph_(rewritten.model, constants, std::move(rewritten.aliases)),
        options_(options),
        products_(merge_siblings(graph_, find_products(graph_, options.fuses), options)),
        roles_(find_roles(graph_, products_)),
        storage_(graph_, products_, options, roles_) {
    program_.opset = graph_.opset;
    program_.allows_tf32 = options.allows_tf32;
  }

  static std::vector<Role> find_roles(const GraphContext& graph, const std::vector<Product>& products) {
    std::vector<Role> roles(graph.nodes().size(), Role::kLoop);
    for (const Product& product : products) {
      for (const int index : product.nodes) roles[static_cast<std::size_t>(index)] = Role::kFused;
    }
    for (std::size_t i = 0; i < roles.size(); ++i) {
      if (roles[i] != Role::kLoop) continue;
      const Node& node = graph.nodes()[i];
      if (const Support support = loop_support(graph, node); !support) {
        const Support own = is_operator_step(node) ? supports_operator(node, graph.opset, *graph.facts) : support;
        if (!own) throw Error(ErrorKind::kUnsupported, own.reason, node.describe(), own.remedy);
        roles[i] = Role::kOperator;
      }
    }
    return roles;
  }

  bool is_number(const std::string& name) const { return graph_.model.graph.find_initializer(name) != nullptr; }

  void group_loops() {
    for (std::size_t i = 0; i < products_.size(); ++i) {
      const Product& product = products_[i];
      Unit unit{Unit::Kind::kProduct, i, {}, {}, product.outputs(), product.nodes.back()};
      for (const std::string* name :
           {&product.a, &product.b, &product.v, &product.mask, &product.bias, &product.residual}) {
        if (!name->empty()) unit.reads.push_back(*name);
      }
      units_.push_back(std::move(unit));
    }
    std::vector<std::int32_t> free_nodes;
    for (std::size_t i = 0; i < roles_.size(); ++i) {
      const auto index = static_cast<int>(i);
      const Node& node = graph_.node(index);
      if (roles_[i] == Role::kLoop) free_nodes.push_back(index);
      if (roles_[i] != Role::kOperator) continue;
      Unit unit{Unit::Kind::kOperator, 0, {index}, {}, {}, index};
      for (const std::string& name : node.inputs) {
        if (!name.empty()) unit.reads.push_back(name);
      }
      for (const std::string& name : node.outputs) {
        if (!name.empty()) unit.writes.push_back(name);
      }
      units_.push_back(std::move(unit));
    }
    for (const std::vector<int>& region : group_regions(graph_, free_nodes, options_.fuses)) {
      // A region of views only is no work where strides can say it.
      const bool has_work =
          std::any_of(region.begin(), region.end(), [&](int index) { return !is_view_type(graph_.node(index)); });
      std::vector<int> rest;
      for (const int index : region) {
        if (has_work || !storage_.make_view(index)) rest.push_back(index);
      }
      if (rest.empty()) continue;
      Unit unit{Unit::Kind::kRegion, 0, rest, {}, {}, rest.back()};
      const std::set<int> inside(rest.begin(), rest.end());
      std::set<std::string> seen;
      for (const int index : rest) {
        const Node& node = graph_.node(index);
        for (const std::string& name : node.inputs) {
          if (name.empty() || is_number(name) || inside.count(graph_.uses.producer(name)) != 0) continue;
          if (seen.insert(name).second) unit.reads.push_back(name);
        }
        for (const std::string& name : node.outputs) {
          if (name.empty()) continue;
          const auto& consumers = graph_.uses.consumers(name);
          const bool is_seen = graph_.uses.is_graph_output(name) ||
                               std::any_of(consumers.begin(), consumers.end(),
                                           [&](int consumer) { return inside.count(consumer) == 0; });
          if (is_seen) unit.writes.push_back(name);
        }
      }
      if (!unit.writes.empty()) units_.push_back(std::move(unit));
    }
    for (std::size_t i = 0; i < storage_.copies().size(); ++i) {
      const WindowCopy& copy = storage_.copies()[i];
      Unit unit{Unit::Kind::kCopy, i, {}, {copy.from}, {copy.made}, 0};
      units_.push_back(std::move(unit));
    }
  }

  void order_units() {
    std::unordered_map<std::string, std::size_t> writer;
    for (std::size_t i = 0; i < units_.size(); ++i) {
      for (const std::string& name : units_[i].writes) writer[name] = i;
    }
    std::vector<std::vector<std::size_t>> next(units_.size());
    std::vector<int> num_missing(units_.size(), 0);
    for (std::size_t i = 0; i < units_.size(); ++i) {
      std::set<std::size_t> before;
      for (const std::string& name : units_[i].reads) {
        for (const std::string& root : storage_.roots_of(name)) {
          const auto found = writer.find(root);
          if (found == writer.end()) {
            throw Error(ErrorKind::kInternal, "no step computes '" + root + "'", "lowering of " + name);
          }
          before.insert(found->second);
        }
      }
      for (const std::size_t b : before) next[b].push_back(i);
      num_missing[i] = static_cast<int>(before.size());
    }
    using Entry = std::pair<int, std::size_t>;
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> ready;
    for (std::size_t i = 0; i < units_.size(); ++i) {
      if (num_missing[i] == 0) ready.emplace(units_[i].order, i);
    }
    std::vector<Unit> ordered;
    while (!ready.empty()) {
      const std::size_t i = ready.top().second;
      ready.pop();
      ordered.push_back(units_[i]);
      for (const std::size_t later : next[i]) {
        if (--num_missing[later] == 0) ready.emplace(units_[later].order, later);
      }
    }
    if (ordered.size() != units_.size())
      throw Error(ErrorKind::kInternal, "the steps depend on each other in a circle");
    units_ = std::move(ordered);
  }

  // Values and buffers -----------------------------------------------------------------------------------------------

  BufferId buffer_of(int storage) {
    const auto [found, is_new] = buffers_.emplace(storage, static_cast<BufferId>(program_.buffers.size()));
    if (!is_new) return found->second;
    const Storage& from = storage_.storage(storage);
    Buffer buffer{from.name, from.place, bytes_of(from.dtype, Shape{from.num_elements}), 0, from.interface_index, {}};
    if (from.place == Place::kConstant) {
      buffer.constant_key = key_of(from.request);
      lowered_.constants.push_back({buffer.constant_key, from.request, from.dtype, buffer.size_bytes});
    }
    program_.buffers.push_back(std::move(buffer));
    return found->second;
  }

  ValueId add_value(const std::string& name, DType dtype, const Location& location) {
    Value value{name,
                {dtype, Shape(location.window.extents), location.window.strides},
                buffer_of(location.storage),
                location.window.offset};
    program_.values.push_back(std::move(value));
    return static_cast<ValueId>(program_.values.size() - 1);
  }

  /// The value as the graph has it; one id a name.
  ValueId value_id(const std::string& name) {
    const auto found = ids_.find(name);
    if (found != ids_.end()) return found->second;
    const DType dtype = storage_.storage(storage_.locate(name).storage).dtype;
    return ids_[name] = add_value(name, dtype, storage_.locate(name));
  }

  /// Notes that the step being made reads the value.
  void note_read(const std::string& name) {
    for (const std::string& root : storage_.roots_of(name)) {
      if (const auto found = writer_step_.find(root); found != writer_step_.end()) depends_.insert(found->second);
    }
  }

  ValueId read(const std::string& name) {
    note_read(name);
    return value_id(name);
  }

  void push(StepWork work, std::vector<std::string> fused_from, const std::vector<std::string>& writes) {
    Step step;
    step.work = std::move(work);
    step.fused_from = std::move(fused_from);
    step.depends_on.assign(depends_.begin(), depends_.end());
    depends_.clear();
    for (const std::string& name : writes) writer_step_[name] = static_cast<std::int32_t>(program_.steps.size());
    program_.steps.push_back(std::move(step));
  }

  std::int32_t add_node(const Node& node) {
    program_.nodes.push_back(node);
    for (const std::string& name : node.inputs) {
      const Initializer* initializer = name.empty() ? nullptr : graph_.model.graph.find_initializer(name);
      if (initializer != nullptr && numbers_.insert(name).second) program_.small_constants.push_back(*initializer);
    }
    return static_cast<std::int32_t>(program_.nodes.size() - 1);
  }

  /// A loop that copies a value; the result is called `made`. What the step in the making has read so far is kept.
  void push_copy(const std::string& from, ValueId to, const std::string& made) {
    std::set<std::int32_t> kept;
    kept.swap(depends_);
    push_identity(from, {read(from)}, to, made);
    depends_.swap(kept);
  }

  /// The same of a small constant, as numbers of the loop's source.
  void push_stored(const std::string& from, ValueId to, const std::string& made) {
    std::set<std::int32_t> kept;
    kept.swap(depends_);
    push_identity(from, {}, to, made);
    depends_.swap(kept);
  }

  void push_identity(const std::string& from, std::vector<ValueId> reads, ValueId to, const std::string& made) {
    Node node;
    node.op_type = "Identity";
    node.name = from + "/copy";
    node.inputs = {from};
    node.outputs = {made};
    LoopStep loop;
    loop.inputs = std::move(reads);
    loop.outputs = {to};
    loop.nodes = {add_node(node)};
    push(loop, {"copy of " + from}, {made});
  }

  /// The value's location if `is_fit`, else that of a copy laid out as `wanted`. Notes the dependency.
  template <typename IsFit>
  Location ensure(const std::string& name, const Window& wanted, const IsFit& is_fit) {
    const Location location = storage_.locate(name);
    if (is_fit(location.window)) {
      note_read(name);
      return location;
    }
    std::string made = name + "/as";
    for (const std::int64_t stride : wanted.strides) made += "," + std::to_string(stride);
    const DType dtype = graph_.dtype_of(name);
    const auto [found, is_new] = made_.emplace(made, Location{});
    if (is_new) {
      found->second = storage_.new_location(made, dtype, wanted);
      push_copy(name, add_value(made, dtype, found->second), made);
    }
    depends_.insert(writer_step_.at(made));
    return found->second;
  }

  Location dense(const std::string& name) {
    const Window wanted = row_major_window(graph_.extents_of(name));
    // Numbers that a rewrite has written are in no table of weights: a loop stores them.
    if (is_number(name) && graph_.constants.find(name) == nullptr) {
      const std::string made = name + "/stored";
      const auto [found, is_new] = made_.emplace(made, Location{});
      if (is_new) {
        const DType dtype = graph_.dtype_of(name);
        found->second = storage_.new_location(made, dtype, wanted);
        push_stored(name, add_value(made, dtype, found->second), made);
      }
      depends_.insert(writer_step_.at(made));
      return found->second;
    }
    return ensure(name, wanted, [](const Window& window) {
      return TensorDesc{DType::kFloat32, Shape(window.extents), window.strides}.is_contiguous();
    });
  }

  ValueId vector_of(const std::string& name) {
    Location location = dense(name);
    const std::int64_t count = Shape(location.window.extents).num_elements();
    location.window = {{count}, {1}, location.window.offset};
    return add_value(name, graph_.dtype_of(name), location);
  }

  // Steps ------------------------------------------------------------------------------------------------------------

  void emit(const Unit& unit) {
    const bool is_nothing = std::all_of(unit.writes.begin(), unit.writes.end(), [&](const std::string& name) {
      return is_empty(storage_.locate(name).window.extents);
    });
    if (is_nothing) return;
    switch (unit.kind) {
      case Unit::Kind::kProduct: {
        const Product& product = products_[unit.index];
        switch (product.kind) {
          case Product::Kind::kConv: return emit_conv(product);
          case Product::Kind::kMatMul: return emit_mat_mul(product);
          case Product::Kind::kAttention: return emit_attention(product);
        }
        return;
      }
      case Unit::Kind::kRegion: return emit_loop(unit);
      case Unit::Kind::kOperator: return emit_operator(unit);
      case Unit::Kind::kCopy: {
        const WindowCopy& copy = storage_.copies()[unit.index];
        return push_copy(copy.from, value_id(copy.made), copy.made);
      }
    }
  }

  std::vector<std::string> labels_of(const std::vector<int>& nodes) const {
    std::vector<std::string> labels;
    for (const int index : nodes) labels.push_back(label_of(graph_.node(index)));
    return labels;
  }

  ValueId channels_last(const std::string& name) {
    const DType dtype = graph_.dtype_of(name);
    const Window wanted = channels_last_window(graph_.extents_of(name));
    return add_value(name, dtype, ensure(name, wanted, [&](const Window& window) {
                       const TensorDesc desc{dtype, Shape(window.extents), window.strides};
                       const bool is_dense = window.offset == 0 && desc.strides == wanted.strides;
                       return desc.is_channels_last() && (is_dense || is_vector_aligned(window, dtype));
                     }));
  }

  /// Where a product's result is: of siblings the buffer that holds all of them.
  Location result_of(const Product& product) {
    return storage_.locate(product.parts.empty() ? product.output : product.merged);
  }

  /// The weights of siblings, joined. `wanted` makes their window from their extents.
  template <typename MakeWindow>
  Location joined_weights(const Product& product, Packing packing, const MakeWindow& wanted) {
    PackRequest request;
    request.name = product.b;
    request.packing = packing;
    request.join_axis = product.weights_axis;
    auto extents = graph_.extents_of(product.b);
    extents[product.weights_axis] = 0;
    for (const Product::Part& part : product.parts) {
      request.parts.push_back({part.b, part.columns});
      extents[product.weights_axis] += part.columns;
    }
    return storage_.constant(request, wanted(extents), graph_.dtype_of(product.b));
  }

  std::optional<ValueId> bias_of(const Product& product) {
    PackRequest request;
    std::int64_t total = 0;
    for (const Product::Part& part : product.parts) {
      request.parts.push_back({part.bias, part.columns});
      if (request.name.empty()) request.name = part.bias;
      total += part.columns;
    }
    const std::string& name = request.parts.empty() ? product.bias : request.name;
    if (name.empty()) return {};
    if (request.parts.empty()) return vector_of(name);
    const DType dtype = graph_.dtype_of(name);
    return add_value(name, dtype, storage_.constant(request, row_major_window({total}), dtype));
  }

  /// The scales of the second factor's columns, float32.
  std::optional<ValueId> column_scale_of(const Product& product) {
    if (product.column_scale.empty()) return {};
    PackRequest request;
    if (product.parts.empty()) {
      request = graph_.request_of(product.column_scale);
    } else {
      request.name = product.column_scale;
      for (const Product::Part& part : product.parts) request.parts.push_back({part.column_scale, part.columns});
    }
    request.dtype = DType::kFloat32;
    return add_value(product.column_scale, DType::kFloat32,
                     storage_.constant(request, row_major_window({columns_of(product)}), DType::kFloat32));
  }

  /// The sums of the second factor's columns, int32.
  ValueId column_sums_of(const Product& product) {
    PackRequest request = graph_.request_of(product.b);
    request.join_axis = product.weights_axis;
    for (const Product::Part& part : product.parts) request.parts.push_back({part.b, part.columns});
    request.packing = Packing::kColumnSums;
    request.scale_axis = graph_.node(product.anchor).int_attribute("transB", 0) != 0 ? 0 : 1;
    return add_value(product.b + "/sums", DType::kInt32,
                     storage_.constant(request, row_major_window({columns_of(product)}), DType::kInt32));
  }

  std::int64_t columns_of(const Product& product) const {
    if (product.parts.empty()) return graph_.extents_of(product.output).back();
    std::int64_t total = 0;
    for (const Product::Part& part : product.parts) total += part.columns;
    return total;
  }

  void emit_conv(const Product& product) {
    const Node& node = graph_.node(product.anchor);
    ConvStep conv;
    conv.x = channels_last(product.a);
    const auto x = graph_.extents_of(product.a);
    const auto weights = graph_.extents_of(product.b);
    const std::size_t axes = x.size() - 2;
    if (!product.parts.empty()) {
      conv.weights = add_value(product.b, graph_.dtype_of(product.b),
                               joined_weights(product, Packing::kChannelsLast, channels_last_window));
    } else if (graph_.is_constant(product.b)) {
      PackRequest request = graph_.request_of(product.b);
      request.packing = Packing::kChannelsLast;
      const DType dtype = graph_.dtype_of(product.b);
      conv.weights = add_value(product.b, dtype, storage_.constant(request, channels_last_window(weights), dtype));
    } else {
      conv.weights = channels_last(product.b);
    }
    conv.is_transposed = node.is("ConvTranspose");
    conv.groups = node.int_attribute("group", 1);
    conv.strides = node.ints_attribute("strides", Extents(axes, 1));
    conv.dilations = node.ints_attribute("dilations", Extents(axes, 1));
    const auto pads = node.ints_attribute("pads", Extents(2 * axes, 0));
    const std::string mode = node.string_attribute("auto_pad", "NOTSET");
    const auto output_padding = node.ints_attribute("output_padding");
    const auto y = graph_.extents_of(product.output);
    for (std::size_t i = 0; i < axes; ++i) {
      const std::int64_t reach = conv.dilations[i] * (weights[i + 2] - 1) + 1;
      std::int64_t before = mode == "NOTSET" ? pads[i] : 0;
      std::int64_t after = mode == "NOTSET" ? pads[i + axes] : 0;
      if (conv.is_transposed) {
        // What the output's extent leaves over (output_padding, output_shape) is cut off behind, or added: negative.
        // Only what is cut off is shared by both ends; a result larger than the full one has its zeros at the end.
        const std::int64_t natural = conv.strides[i] * (x[i + 2] - 1) + reach;
        const std::int64_t extra = i < output_padding.size() ? output_padding[i] : 0;
        const std::int64_t total = std::max<std::int64_t>(0, natural + extra - y[i + 2]);
        const bool is_given = node.find_attribute("output_shape") == nullptr && !mode.starts_with("SAME");
        if (!is_given) before = mode == "SAME_UPPER" ? total / 2 : total - total / 2;
        after = natural - y[i + 2] - before;
      } else if (mode == "SAME_UPPER" || mode == "SAME_LOWER") {
        const std::int64_t total = std::max<std::int64_t>(0, (y[i + 2] - 1) * conv.strides[i] + reach - x[i + 2]);
        before = mode == "SAME_UPPER" ? total / 2 : total - total / 2;
        after = total - before;
      }
      conv.pads_begin.push_back(before);
      conv.pads_end.push_back(after);
    }
    conv.epilogue.bias = bias_of(product);
    if (!product.residual.empty()) conv.epilogue.residual = channels_last(product.residual);
    conv.epilogue.is_residual_before_activation = product.is_residual_before;
    conv.epilogue.activation = product.activation;
    conv.y = product.parts.empty() ? value_id(product.output)
                                   : add_value(product.merged, graph_.dtype_of(product.output), result_of(product));
    push(conv, labels_of(product.nodes), product.outputs());
  }

  Location matrix(const std::string& name) {
    const DType dtype = graph_.dtype_of(name);
    const auto extents = graph_.extents_of(name);
    return ensure(name, row_major_window(extents), [&](const Window& window) {
      const std::size_t rank = window.extents.size();
      if (rank < 2) return rank == 0 || is_inner(window, 0);
      return (is_inner(window, rank - 1) || is_inner(window, rank - 2)) &&
             (is_vector_aligned(window, dtype) ||
              (window.offset == 0 && window.strides == row_major_window(extents).strides));
    });
  }

  /// The second factor. Of 8-bit numbers the matrix units take only what lies along K.
  Location weights_of(const Product& product) {
    const DType dtype = graph_.dtype_of(product.b);
    const bool is_along_n = graph_.node(product.anchor).int_attribute("transB", 0) == 0;
    const auto turned = [](const Extents& extents) { return ordered_window(extents, {1, 0}); };
    if (bits_of(dtype) == 8 && is_along_n) {
      if (!product.parts.empty()) return joined_weights(product, Packing::kTransposed, turned);
      PackRequest request = graph_.request_of(product.b);
      request.packing = Packing::kTransposed;
      return storage_.constant(request, turned(graph_.extents_of(product.b)), dtype);
    }
    return product.parts.empty() ? matrix(product.b) : joined_weights(product, Packing::kAsIs, row_major_window);
  }

  void emit_mat_mul(const Product& product) {
    const Node& node = graph_.node(product.anchor);
    MatMulStep step;
    const DType dtype = graph_.dtype_of(product.output);
    Location a = matrix(product.a);
    Location b = weights_of(product);
    Location y = result_of(product);
    std::optional<Location> residual;
    if (!product.residual.empty()) residual = matrix(product.residual);
    if (node.is("Gemm")) {
      if (node.int_attribute("transA", 0) != 0) a.window = swapped_ends(a.window);
      if (node.int_attribute("transB", 0) != 0) b.window = swapped_ends(b.window);
    }
    // Vectors are matrices of one row or column.
    const auto insert_in_results = [&](std::size_t axis) {
      y.window = with_axis(y.window, axis, 1, 1);
      if (residual) residual->window = with_axis(residual->window, axis, 1, 1);
    };
    if (b.window.extents.size() == 1) {
      b.window = with_axis(b.window, 1, 1, 1);
      insert_in_results(y.window.extents.size());
    }
    if (a.window.extents.size() == 1) {
      a.window = with_axis(a.window, 0, 1, a.window.extents[0]);
      insert_in_results(y.window.extents.size() - 1);
    }
    const std::size_t rank = y.window.extents.size();
    const auto broadcast = [&](Window window) {
      while (window.extents.size() < rank) window = with_axis(window, 0, 1, 0);
      for (std::size_t i = 0; i + 2 < rank; ++i) {
        if (window.extents[i] == 1 && y.window.extents[i] != 1) window.strides[i] = 0;
        window.extents[i] = y.window.extents[i];
      }
      return window;
    };
    a.window = broadcast(a.window);
    b.window = broadcast(b.window);
    collapse_batch(a.window, b.window, y.window, residual ? &residual->window : nullptr);
    step.a = add_value(product.a, graph_.dtype_of(product.a), a);
    step.b = add_value(product.b, graph_.dtype_of(product.b), b);
    step.scale = product.scale;
    step.epilogue.y_scale = product.y_scale;
    step.epilogue.y_zero_point = product.y_zero_point;
    step.epilogue.bias = bias_of(product);
    step.epilogue.column_scale = column_scale_of(product);
    if (product.a_zero_point != 0) {
      step.epilogue.a_zero_point = product.a_zero_point;
      step.epilogue.column_sums = column_sums_of(product);
    }
    if (residual) step.epilogue.residual = add_value(product.residual, graph_.dtype_of(product.residual), *residual);
    step.epilogue.is_residual_before_activation = product.is_residual_before;
    step.epilogue.activation = product.activation;
    step.y = add_value(product.parts.empty() ? product.output : product.merged, dtype, y);
    push(step, labels_of(product.nodes), product.outputs());
  }

  /// Batches become rows where b is one matrix, one batch axis otherwise; where strides allow.
  static void collapse_batch(Window& a, Window& b, Window& y, Window* residual) {
    const std::size_t rank = y.extents.size();
    if (rank < 3) return;
    std::int64_t batch = 1;
    bool is_shared = true;
    for (std::size_t i = 0; i + 2 < rank; ++i) {
      batch *= y.extents[i];
      is_shared = is_shared && (b.strides[i] == 0 || b.extents[i] == 1);
    }
    const auto try_shape = [&](bool is_flat) {
      const auto shape = [&](const Window& window) {
        const std::int64_t rows = window.extents[rank - 2];
        const std::int64_t columns = window.extents[rank - 1];
        return reshape_window(window, is_flat ? Extents{batch * rows, columns} : Extents{batch, rows, columns});
      };
      const auto flat_a = shape(a);
      const auto flat_y = shape(y);
      const auto flat_residual = residual != nullptr ? shape(*residual) : std::optional<Window>(Window{});
      std::optional<Window> flat_b;
      if (is_flat) {
        flat_b =
            Window{{b.extents[rank - 2], b.extents[rank - 1]}, {b.strides[rank - 2], b.strides[rank - 1]}, b.offset};
      } else {
        flat_b = shape(b);
      }
      if (!flat_a || !flat_b || !flat_y || !flat_residual) return false;
      const std::size_t last = flat_a->extents.size() - 1;
      if (!is_inner(*flat_a, last) && !is_inner(*flat_a, last - 1)) return false;
      a = *flat_a;
      b = *flat_b;
      y = *flat_y;
      if (residual != nullptr) *residual = *flat_residual;
      return true;
    };
    if (is_shared && try_shape(true)) return;
    try_shape(false);
  }

  void emit_attention(const Product& product) {
    AttentionStep step;
    const DType dtype = graph_.dtype_of(product.output);
    const auto heads = [&](const std::string& name, bool is_swapped) {
      const auto extents = graph_.extents_of(name);
      const std::size_t rank = extents.size();
      std::vector<std::size_t> order(rank);
      std::iota(order.begin(), order.end(), std::size_t{0});
      if (is_swapped) std::swap(order[rank - 1], order[rank - 2]);
      Location location = ensure(name, ordered_window(extents, order), [&](const Window& window) {
        return is_inner(window, is_swapped ? rank - 2 : rank - 1) && is_vector_aligned(window, dtype);
      });
      if (is_swapped) location.window = swapped_ends(location.window);
      if (rank == 3) location.window = with_axis(location.window, 1, 1, 1);
      return add_value(name, dtype, location);
    };
    step.q = heads(product.a, false);
    step.k = heads(product.b, product.is_k_transposed);
    step.v = heads(product.v, false);
    Location y = storage_.locate(product.output);
    const std::size_t rank = y.window.extents.size();
    if (!product.mask.empty()) {
      note_read(product.mask);
      Location mask = storage_.locate(product.mask);
      while (mask.window.extents.size() < rank) mask.window = with_axis(mask.window, 0, 1, 0);
      if (rank == 3) mask.window = with_axis(mask.window, 1, 1, 0);
      step.mask = add_value(product.mask, graph_.dtype_of(product.mask), mask);
    }
    if (rank == 3) y.window = with_axis(y.window, 1, 1, 1);
    step.scale = product.scale;
    step.y = add_value(product.output, dtype, y);
    push(step, labels_of(product.nodes), {product.output});
  }

  void emit_loop(const Unit& unit) {
    LoopStep loop;
    for (const std::string& name : unit.reads) loop.inputs.push_back(read(name));
    for (const int index : unit.nodes) loop.nodes.push_back(add_node(graph_.node(index)));
    for (const std::string& name : unit.writes) loop.outputs.push_back(value_id(name));
    push(loop, labels_of(unit.nodes), unit.writes);
  }

  void emit_operator(const Unit& unit) {
    const Node& node = graph_.node(unit.nodes[0]);
    OperatorStep step;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const std::string& name = node.inputs[i];
      const bool is_read = !name.empty() && !(is_number(name) && reads_as_number(node, i));
      step.inputs.push_back(is_read ? add_value(name, graph_.dtype_of(name), dense(name)) : -1);
    }
    for (const std::string& name : node.outputs) step.outputs.push_back(name.empty() ? -1 : value_id(name));
    step.node = add_node(node);
    push(step, {label_of(node)}, unit.writes);
  }

  void finish_interface() {
    for (const ValueInfo* input : graph_.model.graph.required_inputs()) {
      if (graph_.is_constant(input->name)) continue;
      const ValueId id = value_id(input->name);
      program_.inputs.push_back(id);
      Buffer& buffer = program_.buffers[static_cast<std::size_t>(program_.value(id).buffer)];
      buffer.interface_index = static_cast<std::int32_t>(program_.inputs.size() - 1);
    }
    const auto& outputs = graph_.model.graph.outputs;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const std::string& name = outputs[i].name;
      const Storage& storage = storage_.storage(storage_.locate(name).storage);
      if (storage.place == Place::kOutput && storage.interface_index == static_cast<std::int32_t>(i)) {
        program_.outputs.push_back(value_id(name));
        continue;
      }
      const DType dtype = graph_.dtype_of(name);
      Location location{storage_.output_storage(i), row_major_window(graph_.extents_of(name))};
      const std::string made = name + "/output" + std::to_string(i);
      const ValueId id = add_value(made, dtype, location);
      if (!is_empty(location.window.extents)) push_copy(name, id, made);
      program_.outputs.push_back(id);
    }
  }

  const GraphContext graph_;
  const LoweringOptions& options_;
  const std::vector<Product> products_;
  std::vector<Role> roles_;
  StorageMap storage_;
  LoweredProgram lowered_;
  Program& program_ = lowered_.program;
  std::vector<Unit> units_;
  std::unordered_map<int, BufferId> buffers_;
  std::unordered_map<std::string, ValueId> ids_;
  std::unordered_map<std::string, std::int32_t> writer_step_;
  std::map<std::string, Location> made_;
  std::set<std::string> numbers_;
  std::set<std::int32_t> depends_;
};

}  // namespace

LoweredProgram lower(const Model& graph_model, const ConstantTable& constants, const LoweringOptions& options) {
  const std::optional<Model> expanded = expand_operators(graph_model, constants);
  const Model& model = expanded ? *expanded : graph_model;
  if (std::optional<BoundedModel> bounded = bound_counts(model, constants)) {
    LoweredProgram lowered = Lowering(bounded->model, constants, options).lower();
    lowered.program.output_counts = std::move(bounded->output_counts);
    return lowered;
  }
  return Lowering(model, constants, options).lower();
}

Support supports_graph(const Model& graph_model) {
  try {
    lower(graph_model, ConstantTable());
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUnsupported) throw;
    return Support::no(error.where().empty() ? error.message() : error.where() + ": " + error.message(),
                       error.remedy());
  }
  return Support::yes();
}

}  // namespace pajamas::cuda
