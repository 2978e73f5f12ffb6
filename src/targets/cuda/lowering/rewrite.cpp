// See rewrite.h.
#include "targets/cuda/lowering/rewrite.h"

#include <algorithm>

#include "graph/passes/pass.h"

namespace pajamas::cuda {

namespace {

/// Channels are loaded by 8 bytes in float16: 4 of them.
constexpr std::int64_t kChannelQuantum = 4;

class Rewriter {
 public:
  Rewriter(const Model& model, const ConstantTable& constants)
      : constants_(constants), names_(model.graph), opset_(model.opset()) {
    result_.model = model;
    std::vector<Node> nodes = std::move(result_.model.graph.nodes);
    result_.model.graph.nodes.clear();
    for (Node& node : nodes) {
      if (node.is("Conv")) pad_channels(node);
      if (node.is("Gemm") && split_gemm(node)) continue;
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
      if (opset_ >= 11) {
        const std::string name = names_.take(padded + "/pads");
        result_.model.graph.set_initializer(name, Tensor::of<std::int64_t>({static_cast<std::int64_t>(pads.size())},
                                                                           std::span<const std::int64_t>(pads)));
        pad.inputs.push_back(name);
      } else {
        pad.set_attribute("pads", pads);
      }
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

  void declare(const std::string& name, DType dtype, const std::vector<std::int64_t>& extents) {
    ValueInfo info;
    info.name = name;
    ValueType type;
    type.dtype = dtype;
    type.shape.emplace();
    for (const std::int64_t extent : extents) type.shape->push_back(Dimension::known(extent));
    info.type = type;
    result_.model.graph.inputs.push_back(std::move(info));
  }

  /// alpha·A·B + beta·C with a C that is neither a bias nor as large as the result, or a beta: an Add behind it.
  bool split_gemm(const Node& gemm) {
    if (gemm.inputs.size() < 3 || gemm.inputs[2].empty()) return false;
    const float beta = gemm.float_attribute("beta", 1.0F);
    DType dtype = DType::kUndefined;
    const std::optional<Shape> shape = shape_of_constant(gemm.inputs[2], dtype);
    const bool is_bias = shape && shape->rank() == 1 && (*shape)[0] != 1;
    if (beta == 0 || (beta == 1 && is_bias)) return false;
    if (beta != 1 && dtype != DType::kFloat32) return false;
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
      result_.model.graph.set_initializer(factor, Tensor::scalar(beta));
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

  const ConstantTable& constants_;
  NameSet names_;
  std::int64_t opset_;
  Rewritten result_;
  std::map<std::string, std::string> padded_;
  std::map<std::string, std::string> weight_alias_;
};

}  // namespace

Rewritten rewrite_for_steps(const Model& model, const ConstantTable& constants) {
  return Rewriter(model, constants).take();
}

}  // namespace pajamas::cuda
