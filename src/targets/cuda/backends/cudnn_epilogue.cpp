// See cudnn_epilogue.h. Formulas: program.h; cuDNN's RELU_FWD has a lower and an upper clip and a slope below.
#include "targets/cuda/backends/cudnn_epilogue.h"

#include "pajamas/error.h"

namespace pajamas::cuda {

CudnnEpilogue::CudnnEpilogue(CudnnGraph& graph, CudnnBindings& bindings, const Program& program,
                             const Epilogue& epilogue, ValueId y, CudnnGeometry y_geometry, std::size_t bias_axis,
                             std::optional<CudnnGeometry> residual, float scale, bool has_identity)
    : graph_(graph),
      bindings_(bindings),
      program_(program),
      epilogue_(epilogue),
      y_(y),
      y_geometry_(std::move(y_geometry)),
      bias_axis_(bias_axis),
      residual_(std::move(residual)),
      scale_(scale),
      has_identity_(has_identity) {
  num_left_ = (scale_ != 1.0F ? 1 : 0) + (epilogue_.bias ? 1 : 0) + (residual_ ? 1 : 0) + (has_identity_ ? 1 : 0) +
              num_activation_operations();
}

int CudnnEpilogue::num_activation_operations() const {
  switch (epilogue_.activation.kind) {
    case ActivationKind::kNone: return 0;
    case ActivationKind::kClip: return epilogue_.activation.alpha == 0 ? 1 : 2;
    case ActivationKind::kHardSigmoid: return 3;
    case ActivationKind::kHardSwish: return 4;
    case ActivationKind::kMish: return 3;
    default: return 1;
  }
}

CudnnGraph::TensorId CudnnEpilogue::next() {
  if (--num_left_ >= 0) {
    return graph_.virtual_tensor(CUDNN_DATA_FLOAT, y_geometry_.extents, y_geometry_.strides);
  }
  const BoundValue bound(program_, y_);
  bindings_.values.emplace_back(kUidY, bound);
  return graph_.tensor(kUidY, program_.value(y_).desc.dtype, y_geometry_.extents, y_geometry_.strides,
                       bound.alignment());
}

CudnnGraph::TensorId CudnnEpilogue::number(float value) {
  bindings_.numbers.emplace_back(next_number_, value);
  return graph_.number(next_number_++, y_geometry_.extents.size());
}

void CudnnEpilogue::unary(cudnnPointwiseMode_t mode, const CudnnGraph::PointwiseOptions& options) {
  const TensorId from = current_;
  current_ = next();
  graph_.pointwise(mode, from, std::nullopt, current_, options);
}

void CudnnEpilogue::binary(cudnnPointwiseMode_t mode, TensorId other) {
  const TensorId from = current_;
  current_ = next();
  graph_.pointwise(mode, from, other, current_);
}

void CudnnEpilogue::activation() {
  const Activation& wanted = epilogue_.activation;
  CudnnGraph::PointwiseOptions options;
  switch (wanted.kind) {
    case ActivationKind::kNone: return;
    case ActivationKind::kRelu: return unary(CUDNN_POINTWISE_RELU_FWD);
    case ActivationKind::kSilu: return unary(CUDNN_POINTWISE_SWISH_FWD);
    case ActivationKind::kSigmoid: return unary(CUDNN_POINTWISE_SIGMOID_FWD);
    case ActivationKind::kTanh: return unary(CUDNN_POINTWISE_TANH_FWD);
    case ActivationKind::kGeluErf: return unary(CUDNN_POINTWISE_GELU_FWD);
    case ActivationKind::kGeluTanh: return unary(CUDNN_POINTWISE_GELU_APPROX_TANH_FWD);
    case ActivationKind::kSoftplus: return unary(CUDNN_POINTWISE_SOFTPLUS_FWD);
    case ActivationKind::kElu: options.elu_alpha = wanted.alpha; return unary(CUDNN_POINTWISE_ELU_FWD, options);
    case ActivationKind::kLeakyRelu: options.relu_slope = wanted.alpha; return unary(CUDNN_POINTWISE_RELU_FWD, options);
    case ActivationKind::kClip:
      if (wanted.alpha == 0) {
        options.relu_lower = 0;
        options.relu_upper = wanted.beta;
        return unary(CUDNN_POINTWISE_RELU_FWD, options);
      }
      binary(CUDNN_POINTWISE_MAX, number(wanted.alpha));
      return binary(CUDNN_POINTWISE_MIN, number(wanted.beta));
    case ActivationKind::kHardSigmoid:
    case ActivationKind::kHardSwish: {
      const bool is_swish = wanted.kind == ActivationKind::kHardSwish;
      const TensorId before = current_;
      binary(CUDNN_POINTWISE_MUL, number(is_swish ? 1.0F / 6 : wanted.alpha));
      binary(CUDNN_POINTWISE_ADD, number(is_swish ? 0.5F : wanted.beta));
      options.relu_lower = 0;
      options.relu_upper = 1;
      unary(CUDNN_POINTWISE_RELU_FWD, options);
      if (is_swish) binary(CUDNN_POINTWISE_MUL, before);
      return;
    }
    case ActivationKind::kMish: {
      const TensorId before = current_;
      unary(CUDNN_POINTWISE_SOFTPLUS_FWD);
      unary(CUDNN_POINTWISE_TANH_FWD);
      return binary(CUDNN_POINTWISE_MUL, before);
    }
  }
  throw Error(ErrorKind::kUnsupported, "an activation that cuDNN has not");
}

CudnnGraph::TensorId CudnnEpilogue::source() {
  current_ = next();
  return current_;
}

void CudnnEpilogue::finish() {
  if (scale_ != 1.0F) binary(CUDNN_POINTWISE_MUL, number(scale_));
  if (epilogue_.bias) {
    const TensorDesc& bias = program_.value(*epilogue_.bias).desc;
    const std::int64_t num_channels = y_geometry_.extents[bias_axis_];
    if (bias.extents.num_elements() != num_channels) {
      throw Error(ErrorKind::kUnsupported, "cuDNN: a bias that is not one number a channel");
    }
    std::vector<std::int64_t> extents(y_geometry_.extents.size(), 1);
    std::vector<std::int64_t> strides(y_geometry_.extents.size(), num_channels);
    extents[bias_axis_] = num_channels;
    strides[bias_axis_] = 1;
    const BoundValue bound(program_, *epilogue_.bias);
    bindings_.values.emplace_back(kUidBias, bound);
    binary(CUDNN_POINTWISE_ADD, graph_.tensor(kUidBias, bias.dtype, extents, strides, bound.alignment()));
  }
  std::optional<TensorId> residual;
  if (residual_) {
    const BoundValue bound(program_, *epilogue_.residual);
    bindings_.values.emplace_back(kUidResidual, bound);
    residual = graph_.tensor(kUidResidual, program_.value(*epilogue_.residual).desc.dtype, residual_->extents,
                             residual_->strides, bound.alignment());
  }
  if (residual && epilogue_.is_residual_before_activation) binary(CUDNN_POINTWISE_ADD, *residual);
  if (has_identity_) unary(CUDNN_POINTWISE_IDENTITY);
  activation();
  if (residual && !epilogue_.is_residual_before_activation) binary(CUDNN_POINTWISE_ADD, *residual);
}

}  // namespace pajamas::cuda
