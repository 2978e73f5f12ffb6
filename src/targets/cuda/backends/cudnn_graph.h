// A small builder over cuDNN's graph interface: tensors, operations, the plans that the library knows for them. Knows
// nothing of steps; cudnn_conv.cpp and its neighbours describe those with it.
#pragma once

#include <cudnn.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pajamas/tensor.h"
#include "targets/cuda/backends/cudnn_library.h"

namespace pajamas::cuda {

/// cuDNN's name of an element type. Throws Error{kUnsupported} for one that it has not.
cudnnDataType_t cudnn_type(DType dtype);

/// Owns one descriptor of cuDNN. Not shared between threads.
class CudnnDescriptor {
 public:
  CudnnDescriptor(const CudnnLibrary& library, cudnnBackendDescriptorType_t type);
  ~CudnnDescriptor();
  CudnnDescriptor(CudnnDescriptor&& other) noexcept : library_(other.library_), raw_(other.raw_) {
    other.raw_ = nullptr;
  }
  CudnnDescriptor& operator=(CudnnDescriptor&&) = delete;

  cudnnBackendDescriptor_t raw() const noexcept { return raw_; }
  /// Throw Error{kUnsupported} with cuDNN's reason: what it refuses, it does not support.
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count, const void* values);
  void set_types(cudnnBackendAttributeName_t name, cudnnDataType_t value);
  void set_numbers(cudnnBackendAttributeName_t name, const std::vector<std::int64_t>& values);
  void set_float(cudnnBackendAttributeName_t name, float value);
  void set_bool(cudnnBackendAttributeName_t name, bool value);
  void set_descriptors(cudnnBackendAttributeName_t name, const std::vector<cudnnBackendDescriptor_t>& values);
  void finalize();

  std::int64_t number(cudnnBackendAttributeName_t name) const;
  /// How many values the attribute has.
  std::int64_t count(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const;

 private:
  friend class CudnnPlan;
  const CudnnLibrary& library_;
  cudnnBackendDescriptor_t raw_ = nullptr;
};

/// A compiled graph. execute() from several threads at once, each with a handle of its own.
class CudnnPlan {
 public:
  /// Makes it again from json(). Throws Error{kUnsupported} when this version of cuDNN cannot.
  CudnnPlan(const CudnnLibrary& library, cudnnHandle_t handle, const std::string& json);

  std::size_t workspace_bytes() const noexcept { return workspace_bytes_; }
  /// "eng57k24=1k27=3": the engine and its settings.
  const std::string& name() const noexcept { return name_; }
  std::string json() const;
  /// Enqueues it on the stream. `uids` and `addresses` pair up.
  void execute(cudaStream_t stream, const std::vector<std::int64_t>& uids, const std::vector<void*>& addresses,
               void* workspace) const;

 private:
  friend class CudnnGraph;
  CudnnPlan(const CudnnLibrary& library, CudnnDescriptor plan, std::string name);
  const CudnnLibrary& library_;
  CudnnDescriptor plan_;
  std::string name_;
  std::size_t workspace_bytes_ = 0;
};

/// What a plan may do with numbers.
struct CudnnNumerics {
  bool allows_tensor_cores = true;  ///< false for float32 without TF32.
};

class CudnnGraph {
 public:
  /// An index into the graph's tensors.
  using TensorId = std::size_t;

  /// `handle`: for plans on its device. Null with `device_properties` (a descriptor of cuDNN's): plans are made for the
  /// device described there, without one; those can be examined and serialised, not executed.
  CudnnGraph(const CudnnLibrary& library, cudnnHandle_t handle, const CudnnDescriptor* device_properties = nullptr)
      : library_(library), handle_(handle), device_properties_(device_properties) {}

  /// A tensor in memory. `uid` > 0 names it in execute(). `alignment`: of its address, in bytes.
  TensorId tensor(std::int64_t uid, DType dtype, std::vector<std::int64_t> extents, std::vector<std::int64_t> strides,
                  std::int64_t alignment = 16);
  /// A value between operations that is never stored. Row-major or, with `like`, with the strides of that tensor.
  TensorId virtual_tensor(cudnnDataType_t type, std::vector<std::int64_t> extents, std::vector<std::int64_t> strides);
  /// A float32 number handed over at execution: execute() wants the address of a float in host memory for `uid`.
  TensorId number(std::int64_t uid, std::size_t rank);

  struct Convolution {
    std::vector<std::int64_t> pads_begin, pads_end, strides, dilations;
  };
  /// y = conv(x, w); for a transposed one y = gradient of conv's input: x takes the part of the output.
  void convolution(const Convolution& geometry, bool is_transposed, TensorId x, TensorId weights, TensorId y);
  void matmul(TensorId a, TensorId b, TensorId y);
  struct PointwiseOptions {
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    std::optional<float> relu_lower, relu_upper, relu_slope, elu_alpha, swish_beta;
    std::optional<std::int64_t> axis;  ///< Of CUDNN_POINTWISE_GEN_INDEX.
  };
  void pointwise(cudnnPointwiseMode_t mode, TensorId x, std::optional<TensorId> b, TensorId y,
                 const PointwiseOptions& options);
  void pointwise(cudnnPointwiseMode_t mode, TensorId x, std::optional<TensorId> b, TensorId y) {
    pointwise(mode, x, b, y, PointwiseOptions{});
  }
  /// y = t ? x : b
  void select(TensorId x, TensorId b, TensorId t, TensorId y);
  void reduction(cudnnReduceTensorOp_t mode, TensorId x, TensorId y);

  /// Compiles at most `max_plans` that the heuristics propose, in their order; none when they know none. What is
  /// refused on the way adds its reason to `refusals`.
  std::vector<CudnnPlan> plans(const CudnnNumerics& numerics, std::size_t max_plans,
                               std::vector<std::string>& refusals);
  /// The plan of this name. Throws Error{kUnsupported} when this version of cuDNN has no such engine for the graph.
  CudnnPlan plan_named(const std::string& name);

 private:
  CudnnDescriptor& finish_graph();
  std::vector<CudnnDescriptor> configurations(cudnnBackendHeurMode_t mode);
  std::string knobs_of(const CudnnDescriptor& configuration) const;
  CudnnPlan compile(const CudnnDescriptor& configuration, std::string name);
  bool is_allowed(cudnnBackendDescriptor_t engine, const CudnnNumerics& numerics) const;

  const CudnnLibrary& library_;
  cudnnHandle_t handle_;
  const CudnnDescriptor* device_properties_;
  std::vector<CudnnDescriptor> tensors_;
  std::vector<CudnnDescriptor> parts_;  ///< Descriptors that operations refer to.
  std::vector<CudnnDescriptor> operations_;
  std::unique_ptr<CudnnDescriptor> graph_;
  std::int64_t next_virtual_uid_ = 1000;
};

}  // namespace pajamas::cuda
