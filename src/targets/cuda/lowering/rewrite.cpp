// See rewrite.h.
#include "targets/cuda/lowering/rewrite.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "graph/graph_builder.h"
#include "graph/passes/pass.h"
#include "graph/shape_inference.h"
#include "pajamas/error.h"
#include "targets/cuda/lowering/graph_context.h"
#include "targets/cuda/lowering/integer_products.h"
#include "targets/cuda/lowering/sink_splits.h"
#include "targets/cuda/lowering/window.h"
#include "tensor/half.h"

namespace pajamas::cuda {

namespace {

/// Channels are loaded by 8 bytes in float16: 4 of them.
constexpr std::int64_t kChannelQuantum = 4;
/// Rows of a product's operand are whole vectors of 16 bytes in float16.
constexpr std::int64_t kRowQuantum = 8;

Tensor scalar_of(DType dtype, float value) {
  if (dtype == DType::kFloat32) return Tensor::scalar(value);
  if (dtype == DType::kFloat64) return Tensor::scalar(static_cast<double>(value));
  Tensor tensor(dtype, Shape{});
  const std::uint16_t bits = dtype == DType::kFloat16 ? float16_from_float(value) : bfloat16_from_float(value);
  std::memcpy(tensor.mutable_bytes().data(), &bits, sizeof bits);
  return tensor;
}

class Rewriter {
 public:
  Rewriter(const Model& model, const ConstantTable& constants, const std::set<std::string>& integer_weights)
      : source_(model),
        constants_(constants),
        integer_weights_(integer_weights),
        names_(model.graph),
        opset_(model.opset()) {
    result_.model = model;
    std::vector<Node> nodes = std::move(result_.model.graph.nodes);
    result_.model.graph.nodes.clear();
    for (Node& node : nodes) {
      if (node.is("Conv") && embed_patches(node)) continue;
      if (node.is("Conv") && reduce_channels(node)) continue;
      if (node.is("Conv")) pad_channels(node);
      if (node.is("Gemm") && split_gemm(node)) continue;
      if (node.is("DequantizeLinear") && fold_weight(node)) continue;
      result_.model.graph.nodes.push_back(std::move(node));
    }
  }

  Rewritten take() { return std::move(result_); }

 private:
  /// A copy: initializers move when others are added.
  std::optional<Shape> shape_of_constant(const std::string& name, DType& dtype) const {
    if (const auto* entry = constants_.find(name)) {
      dtype = entry->dtype;
      return entry->shape;
    }
    const Initializer* initializer = result_.model.graph.find_initializer(name);
    if (initializer == nullptr) return std::nullopt;
    dtype = initializer->tensor.dtype();
    return initializer->tensor.shape();
  }

  std::optional<std::vector<std::int64_t>> extents_of(const std::string& name) {
    // Only patch embeddings ask, and few models have one.
    if (facts_ == nullptr) facts_ = infer_facts(without_large_constants(source_, constants_));
    const ValueFact* fact = facts_->find(name);
    if (fact == nullptr) return {};
    const auto shape = fact->static_shape();
    return shape ? std::optional(shape->extents()) : std::nullopt;
  }

  /// Whether whatever reads the value renames its indices first, so that nothing could join the convolution anyway.
  bool is_read_by_views(const std::string& name) {
    if (uses_ == nullptr) uses_ = std::make_unique<ValueUses>(source_.graph);
    const auto& consumers = uses_->consumers(name);
    return !consumers.empty() && std::all_of(consumers.begin(), consumers.end(), [&](int index) {
      const Node& node = source_.graph.nodes[static_cast<std::size_t>(index)];
      return (is_view_type(node) || node.is("Shape")) && !node.inputs.empty() && node.inputs[0] == name;
    });
  }

  std::string integers(const std::string& stem, const std::vector<std::int64_t>& values) {
    std::string name = names_.take(stem);
    result_.model.graph.set_initializer(
        name, Tensor::of<std::int64_t>({static_cast<std::int64_t>(values.size())}, std::span(values)));
    return name;
  }

  /// Appends a node with one output that is called after `stem`; returns the output.
  std::string append(const char* type, const std::string& name, const std::string& stem,
                     std::vector<std::string> inputs) {
    Node node;
    node.op_type = type;
    node.name = name;
    node.inputs = std::move(inputs);
    node.outputs = {names_.take(stem)};
    result_.model.graph.nodes.push_back(std::move(node));
    return result_.model.graph.nodes.back().outputs[0];
  }

  /// A convolution of images whose kernels lie side by side reads each element once: a product of the patches, laid out
  /// as rows, with the kernels as they are. cuDNN takes 26 µs for ViT-B/16's at batch 1, a product 4 (H200).
  bool embed_patches(const Node& conv) {
    if (opset_ < 5 || conv.int_attribute("group", 1) != 1) return false;
    DType dtype = DType::kUndefined;
    const std::optional<Shape> weights = shape_of_constant(conv.inputs[1], dtype);
    // With many channels cuDNN's layout suits, and no channel is padding.
    if (!weights || weights->rank() < 3 || (*weights)[1] >= kRowQuantum) return false;
    const std::size_t axes = weights->rank() - 2;
    const std::vector<std::int64_t> kernel(weights->extents().begin() + 2, weights->extents().end());
    const std::vector<std::int64_t> ones(axes, 1);
    const auto pads = conv.ints_attribute("pads", std::vector<std::int64_t>(2 * axes, 0));
    const std::string mode = conv.string_attribute("auto_pad", "NOTSET");
    if (kernel == ones || conv.ints_attribute("strides", ones) != kernel ||
        conv.ints_attribute("dilations", ones) != ones || (mode != "NOTSET" && mode != "VALID") ||
        std::any_of(pads.begin(), pads.end(), [](std::int64_t pad) { return pad != 0; })) {
      return false;
    }
    const bool has_bias = conv.inputs.size() > 2 && !conv.inputs[2].empty();
    DType bias_dtype = DType::kUndefined;
    if (has_bias && !shape_of_constant(conv.inputs[2], bias_dtype)) return false;
    if (!is_read_by_views(conv.outputs[0])) return false;
    const auto x = extents_of(conv.inputs[0]);
    if (!x || x->size() != axes + 2) return false;
    std::vector<std::int64_t> split{(*x)[0], (*x)[1]};
    std::vector<std::int64_t> order{0};
    std::vector<std::int64_t> grid{(*x)[0]};
    std::int64_t num_rows = (*x)[0];
    std::int64_t columns = (*weights)[1];
    for (std::size_t i = 0; i < axes; ++i) {
      if (kernel[i] == 0 || (*x)[i + 2] % kernel[i] != 0) return false;
      const std::int64_t count = (*x)[i + 2] / kernel[i];
      split.insert(split.end(), {count, kernel[i]});
      order.push_back(static_cast<std::int64_t>(2 + 2 * i));
      grid.push_back(count);
      num_rows *= count;
      columns *= kernel[i];
    }
    if (num_rows == 0 || columns == 0 || (*weights)[0] == 0) return false;
    order.push_back(1);
    for (std::size_t i = 0; i < axes; ++i) order.push_back(static_cast<std::int64_t>(3 + 2 * i));
    grid.push_back((*weights)[0]);
    const std::string stem = conv.outputs[0] + "/patches";
    const std::string label = conv.name.empty() ? conv.outputs[0] : conv.name;
    std::vector<Node>& nodes = result_.model.graph.nodes;
    std::string rows =
        append("Reshape", label + "/split", stem + "/split", {conv.inputs[0], integers(stem + "/split/shape", split)});
    rows = append("Transpose", label + "/order", stem + "/order", {rows});
    nodes.back().set_attribute("perm", order);
    rows = append("Reshape", label + "/patches", stem, {rows, integers(stem + "/shape", {num_rows, columns})});
    PackRequest request;
    request.name = conv.inputs[1];
    request.reshaped_extents = {(*weights)[0], columns};
    if (const std::int64_t missing = (kRowQuantum - columns % kRowQuantum) % kRowQuantum; missing != 0) {
      rows = append("Pad", label + "/pad", stem + "/padded", {rows});
      set_pads(nodes.back(), {0, 0, 0, missing});
      request.padded_extents = {(*weights)[0], columns + missing};
    }
    std::string& alias = patch_alias_[conv.inputs[1]];
    if (alias.empty()) {
      alias = names_.take(conv.inputs[1] + "/rows");
      declare(alias, dtype, request.padded_extents.empty() ? request.reshaped_extents : request.padded_extents);
      result_.aliases.emplace(alias, request);
    }
    std::vector<std::string> operands{rows, alias};
    if (has_bias) operands.push_back(conv.inputs[2]);
    std::string y = append("Gemm", label, stem + "/product", operands);
    nodes.back().set_attribute("transB", std::int64_t{1});
    y = append("Reshape", label + "/grid", stem + "/grid", {y, integers(stem + "/grid/shape", grid)});
    std::vector<std::int64_t> back{0, static_cast<std::int64_t>(axes) + 1};
    for (std::size_t i = 0; i < axes; ++i) back.push_back(static_cast<std::int64_t>(i) + 1);
    append("Transpose", label + "/channels", stem + "/channels", {y});
    nodes.back().set_attribute("perm", back);
    nodes.back().outputs = conv.outputs;
    return true;
  }

  /// A convolution with kernel 1 and one output channel is a weighted sum over the channels: a loop, which reads no
  /// more than a convolution would and takes what stands before and behind it along (the end of YOLO's box regression).
  bool reduce_channels(const Node& conv) {
    DType dtype = DType::kUndefined;
    const std::optional<Shape> weights = shape_of_constant(conv.inputs[1], dtype);
    if (!weights || weights->rank() < 3 || (*weights)[0] != 1 || (*weights)[1] < 2) return false;
    // Numbers that loops have in their source.
    if (bytes_of(dtype, *weights) > ConstantTable::kSmallBytes) return false;
    const std::size_t axes = weights->rank() - 2;
    const std::vector<std::int64_t> ones(axes, 1);
    const auto pads = conv.ints_attribute("pads", std::vector<std::int64_t>(2 * axes, 0));
    if (!std::equal(ones.begin(), ones.end(), weights->begin() + 2) || conv.int_attribute("group", 1) != 1 ||
        conv.ints_attribute("strides", ones) != ones ||
        std::any_of(pads.begin(), pads.end(), [](std::int64_t pad) { return pad != 0; })) {
      return false;
    }
    DType bias_dtype = DType::kUndefined;
    const bool has_bias = conv.inputs.size() > 2 && !conv.inputs[2].empty();
    if (has_bias && !shape_of_constant(conv.inputs[2], bias_dtype)) return false;
    const std::string label = conv.name.empty() ? conv.outputs[0] : conv.name;
    std::vector<Node>& nodes = result_.model.graph.nodes;
    std::string sum = append("Mul", label + "/weigh", conv.outputs[0] + "/weighed", {conv.inputs[0], conv.inputs[1]});
    sum = append("ReduceSum", label, conv.outputs[0] + "/sum", {sum});
    if (opset_ >= 13) {
      nodes.back().inputs.push_back(integers(sum + "/axes", {1}));
    } else {
      nodes.back().set_attribute("axes", std::vector<std::int64_t>{1});
    }
    if (has_bias) append("Add", label + "/bias", conv.outputs[0] + "/biased", {sum, conv.inputs[2]});
    nodes.back().outputs = conv.outputs;
    return true;
  }

  /// `pads` as the opset has them: before all axes, then behind all.
  void set_pads(Node& pad, const std::vector<std::int64_t>& pads) {
    if (opset_ < 11) return pad.set_attribute("pads", pads);
    pad.inputs.push_back(integers(pad.outputs[0] + "/pads", pads));
  }

  /// Of a node whose inputs are all of one type.
  DType type_of_inputs(const Node& node) {
    DType dtype = DType::kUndefined;
    for (const std::string& name : node.inputs) {
      if (shape_of_constant(name, dtype)) return dtype;
    }
    if (facts_ == nullptr) facts_ = infer_facts(without_large_constants(source_, constants_));
    for (const std::string& name : node.inputs) {
      if (dtype = facts_->dtype_of(name); dtype != DType::kUndefined) return dtype;
    }
    throw Error(ErrorKind::kUnsupported, "the type of its inputs is unknown", node.describe());
  }

  void pad_channels(Node& conv) {
    DType dtype = DType::kUndefined;
    const std::optional<Shape> weights = shape_of_constant(conv.inputs[1], dtype);
    if (!weights || weights->rank() < 3 || conv.int_attribute("group", 1) != 1) return;
    const std::int64_t channels = (*weights)[1];
    const std::int64_t missing = (kChannelQuantum - channels % kChannelQuantum) % kChannelQuantum;
    if (missing == 0 || channels == 0) return;
    std::string& padded = padded_[conv.inputs[0]];
    if (padded.empty()) {
      padded = names_.take(conv.inputs[0] + "/padded");
      std::vector<std::int64_t> pads(2 * weights->rank(), 0);
      pads[weights->rank() + 1] = missing;
      Node pad;
      pad.op_type = "Pad";
      pad.name = conv.name.empty() ? padded : conv.name + "/pad";
      pad.inputs = {conv.inputs[0]};
      pad.outputs = {padded};
      set_pads(pad, pads);
      result_.model.graph.nodes.push_back(std::move(pad));
    }
    PackRequest request;
    request.name = conv.inputs[1];
    request.padded_extents = weights->extents();
    request.padded_extents[1] += missing;
    std::string& alias = weight_alias_[conv.inputs[1]];
    if (alias.empty()) {
      alias = names_.take(conv.inputs[1] + "/padded");
      declare(alias, dtype, request.padded_extents);
      result_.aliases.emplace(alias, request);
    }
    conv.inputs[0] = padded;
    conv.inputs[1] = alias;
  }

  /// Large weights are dequantised as they are packed, once. 8-bit floats with one scale stay what they are, since
  /// products take them so, and integers that only products of integers read; small constants are numbers of a loop
  /// anyway.
  bool fold_weight(const Node& node) {
    if (integer_weights_.count(node.outputs[0]) != 0) return false;
    DType dtype = DType::kUndefined;
    const std::optional<Shape> shape = shape_of_constant(node.inputs[0], dtype);
    if (!shape || bits_of(dtype) < 8 || bytes_of(dtype, *shape) <= ConstantTable::kSmallBytes) return false;
    if (dtype != DType::kInt8 && dtype != DType::kUint8 && dtype != DType::kFloat8E4M3Fn) return false;
    if (node.int_attribute("block_size", 0) != 0 || is_graph_output(node.outputs[0])) return false;
    DType scale_dtype = DType::kUndefined;
    const std::optional<Shape> scale = shape_of_constant(node.inputs[1], scale_dtype);
    if (!scale || scale->rank() > 1) return false;
    const bool is_one = scale->num_elements() == 1;
    if (dtype == DType::kFloat8E4M3Fn && is_one) return false;
    const auto type = static_cast<DType>(node.int_attribute("output_dtype", static_cast<std::int64_t>(scale_dtype)));
    if (type != DType::kFloat32 && type != DType::kFloat16 && type != DType::kBfloat16) return false;
    PackRequest request;
    request.name = node.inputs[0];
    request.scale = node.inputs[1];
    if (node.inputs.size() > 2 && !node.inputs[2].empty()) {
      DType point_dtype = DType::kUndefined;
      const std::optional<Shape> point = shape_of_constant(node.inputs[2], point_dtype);
      if (!point || point->num_elements() != scale->num_elements()) return false;
      request.zero_point = node.inputs[2];
    }
    std::int64_t axis = node.int_attribute("axis", 1);
    if (axis < 0) axis += static_cast<std::int64_t>(shape->rank());
    if (!is_one && (axis < 0 || axis >= static_cast<std::int64_t>(shape->rank()))) return false;
    request.scale_axis = is_one ? 0 : static_cast<std::size_t>(axis);
    if (!is_one && (*shape)[request.scale_axis] != scale->num_elements()) return false;
    request.reshaped_extents = shape->extents();
    request.dtype = type;
    declare(node.outputs[0], type, shape->extents());
    result_.aliases.emplace(node.outputs[0], request);
    return true;
  }

  bool is_graph_output(const std::string& name) const {
    const auto& outputs = source_.graph.outputs;
    return std::any_of(outputs.begin(), outputs.end(), [&](const ValueInfo& value) { return value.name == name; });
  }

  void declare(const std::string& name, DType dtype, const std::vector<std::int64_t>& extents) {
    result_.model.graph.inputs.push_back(tensor_value(name, dtype, extents));
  }

  /// alpha·A·B + beta·C with a C that is neither a bias nor as large as the result, or a beta: an Add behind it.
  bool split_gemm(const Node& gemm) {
    if (gemm.inputs.size() < 3 || gemm.inputs[2].empty()) return false;
    const float beta = gemm.float_attribute("beta", 1.0F);
    DType dtype = DType::kUndefined;
    const std::optional<Shape> shape = shape_of_constant(gemm.inputs[2], dtype);
    const bool is_bias = shape && shape->rank() == 1 && (*shape)[0] != 1;
    if (beta == 0 || (beta == 1 && is_bias)) return false;
    if (beta != 1 && dtype == DType::kUndefined) dtype = type_of_inputs(gemm);
    if (beta != 1 && (!is_floating_point(dtype) || bits_of(dtype) < 16)) {
      return false;  // An integer product, which no step computes.
    }
    Node product = gemm;
    product.inputs.resize(2);
    product.remove_attribute("beta");
    product.outputs = {names_.take(gemm.outputs[0] + "/product")};
    std::string added = gemm.inputs[2];
    result_.model.graph.nodes.push_back(product);
    if (beta != 1) {
      Node mul;
      mul.op_type = "Mul";
      mul.name = gemm.name + "/beta";
      const std::string factor = names_.take(gemm.outputs[0] + "/beta_value");
      result_.model.graph.set_initializer(factor, scalar_of(dtype, beta));
      mul.inputs = {added, factor};
      added = names_.take(gemm.outputs[0] + "/beta");
      mul.outputs = {added};
      result_.model.graph.nodes.push_back(mul);
    }
    Node add;
    add.op_type = "Add";
    add.name = gemm.name + "/add";
    add.inputs = {product.outputs[0], added};
    add.outputs = gemm.outputs;
    result_.model.graph.nodes.push_back(add);
    return true;
  }

  const Model& source_;
  const ConstantTable& constants_;
  const std::set<std::string>& integer_weights_;
  std::unique_ptr<const GraphFacts> facts_;
  std::unique_ptr<const ValueUses> uses_;
  NameSet names_;
  std::int64_t opset_;
  Rewritten result_;
  std::map<std::string, std::string> padded_;
  std::map<std::string, std::string> weight_alias_;
  std::map<std::string, std::string> patch_alias_;
};

}  // namespace

Rewritten rewrite_for_steps(const Model& model, const ConstantTable& constants, bool has_integer_products) {
  const Model sunk = with_sunk_splits(model, constants);
  const IntegerProducts integers =
      has_integer_products ? find_integer_products(sunk, constants) : IntegerProducts{sunk, {}};
  return Rewriter(integers.model, constants, integers.weights).take();
}

}  // namespace pajamas::cuda
