// The part that convolutions and matrix products share: bias, residual, activation as operations of cuDNN's graph.
#pragma once

#include "targets/cuda/backends/cudnn_steps.h"

namespace pajamas::cuda {

/// Extents and strides as cuDNN wants them.
struct CudnnGeometry {
  std::vector<std::int64_t> extents;
  std::vector<std::int64_t> strides;
};

/// Unique ids of tensors in memory.
enum CudnnUid : std::int64_t { kUidX = 1, kUidWeights, kUidY, kUidBias, kUidResidual, kUidMask, kUidNumber = 20 };

/// Adds operations behind one that is yet to be added: the constructor tells how long the chain is, source() is what
/// that operation must write.
class CudnnEpilogue {
 public:
  /// `y`: geometry of the result; `bias_extents`: y's rank with only the bias's axis above 1; `scale`: of the product.
  CudnnEpilogue(CudnnGraph& graph, CudnnBindings& bindings, const Program& program, const Epilogue& epilogue, ValueId y,
                CudnnGeometry y_geometry, std::size_t bias_axis, std::optional<CudnnGeometry> residual, float scale,
                bool has_identity);
  /// Where the product writes: y itself when nothing follows.
  CudnnGraph::TensorId source();
  /// Adds the operations; the product must have been added.
  void finish();

 private:
  using TensorId = CudnnGraph::TensorId;
  TensorId next();
  TensorId number(float value);
  void unary(cudnnPointwiseMode_t mode, const CudnnGraph::PointwiseOptions& options);
  void unary(cudnnPointwiseMode_t mode) { unary(mode, CudnnGraph::PointwiseOptions{}); }
  void binary(cudnnPointwiseMode_t mode, TensorId other);
  void activation();
  int num_activation_operations() const;

  CudnnGraph& graph_;
  CudnnBindings& bindings_;
  const Program& program_;
  const Epilogue& epilogue_;
  ValueId y_;
  CudnnGeometry y_geometry_;
  std::size_t bias_axis_;
  std::optional<CudnnGeometry> residual_;
  float scale_;
  bool has_identity_;
  int num_left_ = 0;  ///< Operations still to come; the last writes y.
  TensorId current_ = 0;
  std::int64_t next_number_ = kUidNumber;
};

}  // namespace pajamas::cuda
