// PackedLinear in OpenVINO's graphs: which products of an imported language model become one, and the operator that
// stands for it. The kernels are packed_linear.h.
#pragma once

#include <cstddef>
#include <memory>
#include <openvino/core/model.hpp>
#include <openvino/op/op.hpp>
#include <utility>
#include <vector>

#include "targets/openvino/packed_linear.h"

namespace pajamas::openvino {

/// Input: x float32 [num_tokens, num_columns]. Outputs: float32 [num_tokens, output_dims[i]]; with `next`, the one
/// output of the gated layer `linear` and `next` behind it. The weights are no inputs, so that the plugin keeps no
/// second form of them; such a model cannot be written to a file.
class PackedLinearOp final : public ov::op::Op {
 public:
  OPENVINO_OP("PackedLinear", "pajamas")
  PackedLinearOp() = default;
  PackedLinearOp(const ov::Output<ov::Node>& x, std::shared_ptr<const PackedLinear> linear,
                 std::shared_ptr<const PackedLinear> next = nullptr);
  /// Whether a layer can follow in the same operator.
  bool is_gated() const { return linear_->is_gated() && next_ == nullptr; }
  std::shared_ptr<PackedLinearOp> followed_by(std::shared_ptr<const PackedLinear> next) const {
    return std::make_shared<PackedLinearOp>(input_value(0), linear_, std::move(next));
  }
  void validate_and_infer_types() override;
  std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override;
  bool visit_attributes(ov::AttributeVisitor&) override { return true; }
  bool has_evaluate() const override { return true; }
  bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override;

 private:
  const std::vector<std::int64_t>& output_dims() const;

  std::shared_ptr<const PackedLinear> linear_;
  std::shared_ptr<const PackedLinear> next_;
};

/// Puts PackedLinearOp in the place of products by weights of 4 or 8 bits; those of one input become one operator, and
/// the gate of a SwiGLU goes with it. Gives the memory of mapped weights back. Returns the bytes that are packed now;
/// 0: nothing fits, and the model is as it was. Only where PackedLinear::is_available().
std::size_t pack_linear_layers(const std::shared_ptr<ov::Model>& model);

}  // namespace pajamas::openvino
