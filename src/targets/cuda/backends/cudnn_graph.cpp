// See cudnn_graph.h.
#include "targets/cuda/backends/cudnn_graph.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "pajamas/error.h"

namespace pajamas::cuda {

cudnnDataType_t cudnn_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return CUDNN_DATA_FLOAT;
    case DType::kFloat16: return CUDNN_DATA_HALF;
    case DType::kBfloat16: return CUDNN_DATA_BFLOAT16;
    case DType::kInt8: return CUDNN_DATA_INT8;
    case DType::kInt32: return CUDNN_DATA_INT32;
    case DType::kFloat8E4M3Fn: return CUDNN_DATA_FP8_E4M3;
    case DType::kFloat8E5M2: return CUDNN_DATA_FP8_E5M2;
    default: break;
  }
  throw Error(ErrorKind::kUnsupported, std::string("cuDNN does not compute in ") + to_string(dtype));
}

CudnnDescriptor::CudnnDescriptor(const CudnnLibrary& library, cudnnBackendDescriptorType_t type) : library_(library) {
  library.check(library.create_descriptor(type, &raw_), "making a descriptor of cuDNN");
}

CudnnDescriptor::~CudnnDescriptor() {
  if (raw_ != nullptr) library_.destroy_descriptor(raw_);
}

void CudnnDescriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
                          const void* values) {
  const cudnnStatus_t status = library_.set_attribute(raw_, name, type, count, values);
  if (status != CUDNN_STATUS_SUCCESS) throw Error(ErrorKind::kUnsupported, library_.reason(status));
}
void CudnnDescriptor::set_types(cudnnBackendAttributeName_t name, cudnnDataType_t value) {
  set(name, CUDNN_TYPE_DATA_TYPE, 1, &value);
}
void CudnnDescriptor::set_numbers(cudnnBackendAttributeName_t name, const std::vector<std::int64_t>& values) {
  set(name, CUDNN_TYPE_INT64, static_cast<std::int64_t>(values.size()), values.data());
}
void CudnnDescriptor::set_float(cudnnBackendAttributeName_t name, float value) {
  set(name, CUDNN_TYPE_FLOAT, 1, &value);
}
void CudnnDescriptor::set_bool(cudnnBackendAttributeName_t name, bool value) {
  set(name, CUDNN_TYPE_BOOLEAN, 1, &value);
}
void CudnnDescriptor::set_descriptors(cudnnBackendAttributeName_t name,
                                      const std::vector<cudnnBackendDescriptor_t>& values) {
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<std::int64_t>(values.size()), values.data());
}

void CudnnDescriptor::finalize() {
  const cudnnStatus_t status = library_.finalize(raw_);
  if (status != CUDNN_STATUS_SUCCESS) throw Error(ErrorKind::kUnsupported, library_.reason(status));
}

std::int64_t CudnnDescriptor::number(cudnnBackendAttributeName_t name) const {
  std::int64_t value = 0;
  std::int64_t num_values = 0;
  library_.check(library_.get_attribute(raw_, name, CUDNN_TYPE_INT64, 1, &num_values, &value), "asking cuDNN");
  return value;
}

std::int64_t CudnnDescriptor::count(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const {
  std::int64_t num_values = 0;
  library_.check(library_.get_attribute(raw_, name, type, 0, &num_values, nullptr), "asking cuDNN");
  return num_values;
}

// ---------------------------------------------------------------------------------------------------------- plans

CudnnPlan::CudnnPlan(const CudnnLibrary& library, CudnnDescriptor plan, std::string name)
    : library_(library), plan_(std::move(plan)), name_(std::move(name)) {
  workspace_bytes_ =
      static_cast<std::size_t>(std::max<std::int64_t>(plan_.number(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE), 0));
}

CudnnPlan::CudnnPlan(const CudnnLibrary& library, cudnnHandle_t handle, const std::string& json)
    : library_(library), plan_(library, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
  plan_.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  plan_.set(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, static_cast<std::int64_t>(json.size()),
            json.data());
  plan_.finalize();
  workspace_bytes_ =
      static_cast<std::size_t>(std::max<std::int64_t>(plan_.number(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE), 0));
}

std::string CudnnPlan::json() const {
  std::int64_t size = plan_.count(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR);
  std::string text(static_cast<std::size_t>(size), '\0');
  std::int64_t written = 0;
  library_.check(library_.get_attribute(plan_.raw(), CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                        size, &written, text.data()),
                 "keeping a plan of cuDNN");
  // It counts the terminating zero.
  while (!text.empty() && text.back() == '\0') text.pop_back();
  return text;
}

void CudnnPlan::execute(cudaStream_t stream, const std::vector<std::int64_t>& uids, const std::vector<void*>& addresses,
                        void* workspace) const {
  CudnnDescriptor pack(library_, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  const auto count = static_cast<std::int64_t>(uids.size());
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, addresses.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, uids.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  pack.finalize();
  const CudnnLibrary::Lease handle(library_);
  library_.check(library_.set_stream(handle.get(), stream), "giving cuDNN a stream");
  library_.check(library_.execute(handle.get(), plan_.raw(), pack.raw()), "running a plan of cuDNN");
}

// ------------------------------------------------------------------------------------------------------ the graph

CudnnGraph::TensorId CudnnGraph::tensor(std::int64_t uid, DType dtype, std::vector<std::int64_t> extents,
                                        std::vector<std::int64_t> strides, std::int64_t alignment) {
  CudnnDescriptor tensor(library_, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set_types(CUDNN_ATTR_TENSOR_DATA_TYPE, cudnn_type(dtype));
  tensor.set_numbers(CUDNN_ATTR_TENSOR_DIMENSIONS, extents);
  tensor.set_numbers(CUDNN_ATTR_TENSOR_STRIDES, strides);
  tensor.set_numbers(CUDNN_ATTR_TENSOR_UNIQUE_ID, {uid});
  tensor.set_numbers(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {alignment});
  tensor.finalize();
  tensors_.push_back(std::move(tensor));
  return tensors_.size() - 1;
}

CudnnGraph::TensorId CudnnGraph::virtual_tensor(cudnnDataType_t type, std::vector<std::int64_t> extents,
                                                std::vector<std::int64_t> strides) {
  CudnnDescriptor tensor(library_, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set_types(CUDNN_ATTR_TENSOR_DATA_TYPE, type);
  tensor.set_numbers(CUDNN_ATTR_TENSOR_DIMENSIONS, extents);
  tensor.set_numbers(CUDNN_ATTR_TENSOR_STRIDES, strides);
  tensor.set_numbers(CUDNN_ATTR_TENSOR_UNIQUE_ID, {next_virtual_uid_++});
  tensor.set_numbers(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {16});
  tensor.set_bool(CUDNN_ATTR_TENSOR_IS_VIRTUAL, true);
  tensor.finalize();
  tensors_.push_back(std::move(tensor));
  return tensors_.size() - 1;
}

CudnnGraph::TensorId CudnnGraph::number(std::int64_t uid, std::size_t rank) {
  CudnnDescriptor tensor(library_, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set_types(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_DATA_FLOAT);
  const std::vector<std::int64_t> ones(rank, 1);
  tensor.set_numbers(CUDNN_ATTR_TENSOR_DIMENSIONS, ones);
  tensor.set_numbers(CUDNN_ATTR_TENSOR_STRIDES, ones);
  tensor.set_numbers(CUDNN_ATTR_TENSOR_UNIQUE_ID, {uid});
  tensor.set_numbers(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {4});
  tensor.set_bool(CUDNN_ATTR_TENSOR_IS_BY_VALUE, true);
  tensor.finalize();
  tensors_.push_back(std::move(tensor));
  return tensors_.size() - 1;
}

void CudnnGraph::convolution(const Convolution& geometry, bool is_transposed, TensorId x, TensorId weights,
                             TensorId y) {
  CudnnDescriptor conv(library_, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  conv.set_types(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  conv.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  conv.set_numbers(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, {static_cast<std::int64_t>(geometry.strides.size())});
  conv.set_numbers(CUDNN_ATTR_CONVOLUTION_DILATIONS, geometry.dilations);
  conv.set_numbers(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, geometry.strides);
  conv.set_numbers(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, geometry.pads_begin);
  conv.set_numbers(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, geometry.pads_end);
  conv.finalize();
  CudnnDescriptor operation(library_, is_transposed ? CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR
                                                    : CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  if (is_transposed) {
    operation.set_descriptors(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, {conv.raw()});
    operation.set_descriptors(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, {tensors_[x].raw()});
    operation.set_descriptors(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, {tensors_[weights].raw()});
    operation.set_descriptors(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, {tensors_[y].raw()});
    operation.set_float(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, 1);
    operation.set_float(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, 0);
  } else {
    operation.set_descriptors(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, {conv.raw()});
    operation.set_descriptors(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, {tensors_[x].raw()});
    operation.set_descriptors(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, {tensors_[weights].raw()});
    operation.set_descriptors(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, {tensors_[y].raw()});
    operation.set_float(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1);
    operation.set_float(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0);
  }
  operation.finalize();
  parts_.push_back(std::move(conv));
  operations_.push_back(std::move(operation));
}

void CudnnGraph::matmul(TensorId a, TensorId b, TensorId y) {
  CudnnDescriptor product(library_, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  product.set_types(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT);
  product.finalize();
  CudnnDescriptor operation(library_, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
  operation.set_descriptors(CUDNN_ATTR_OPERATION_MATMUL_ADESC, {tensors_[a].raw()});
  operation.set_descriptors(CUDNN_ATTR_OPERATION_MATMUL_BDESC, {tensors_[b].raw()});
  operation.set_descriptors(CUDNN_ATTR_OPERATION_MATMUL_CDESC, {tensors_[y].raw()});
  operation.set_descriptors(CUDNN_ATTR_OPERATION_MATMUL_DESC, {product.raw()});
  operation.finalize();
  parts_.push_back(std::move(product));
  operations_.push_back(std::move(operation));
}

void CudnnGraph::pointwise(cudnnPointwiseMode_t mode, TensorId x, std::optional<TensorId> b, TensorId y,
                           const PointwiseOptions& options) {
  CudnnDescriptor part(library_, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  part.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
  part.set_types(CUDNN_ATTR_POINTWISE_MATH_PREC, options.compute);
  const auto set_clip = [&](cudnnBackendAttributeName_t name, float value) {
    const double wide = static_cast<double>(value);
    part.set(name, CUDNN_TYPE_DOUBLE, 1, &wide);
  };
  if (options.relu_lower) set_clip(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, *options.relu_lower);
  if (options.relu_upper) set_clip(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, *options.relu_upper);
  if (options.relu_slope) set_clip(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, *options.relu_slope);
  if (options.elu_alpha) set_clip(CUDNN_ATTR_POINTWISE_ELU_ALPHA, *options.elu_alpha);
  if (options.swish_beta) set_clip(CUDNN_ATTR_POINTWISE_SWISH_BETA, *options.swish_beta);
  if (options.axis) part.set_numbers(CUDNN_ATTR_POINTWISE_AXIS, {*options.axis});
  part.finalize();
  CudnnDescriptor operation(library_, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set_descriptors(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, {part.raw()});
  operation.set_descriptors(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, {tensors_[x].raw()});
  if (b) operation.set_descriptors(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, {tensors_[*b].raw()});
  operation.set_descriptors(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, {tensors_[y].raw()});
  operation.finalize();
  parts_.push_back(std::move(part));
  operations_.push_back(std::move(operation));
}

void CudnnGraph::select(TensorId x, TensorId b, TensorId t, TensorId y) {
  CudnnDescriptor part(library_, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  const cudnnPointwiseMode_t mode = CUDNN_POINTWISE_BINARY_SELECT;
  part.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
  part.set_types(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
  part.finalize();
  CudnnDescriptor operation(library_, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set_descriptors(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, {part.raw()});
  operation.set_descriptors(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, {tensors_[x].raw()});
  operation.set_descriptors(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, {tensors_[b].raw()});
  operation.set_descriptors(CUDNN_ATTR_OPERATION_POINTWISE_TDESC, {tensors_[t].raw()});
  operation.set_descriptors(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, {tensors_[y].raw()});
  operation.finalize();
  parts_.push_back(std::move(part));
  operations_.push_back(std::move(operation));
}

void CudnnGraph::reduction(cudnnReduceTensorOp_t mode, TensorId x, TensorId y) {
  CudnnDescriptor part(library_, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  part.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &mode);
  part.set_types(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  part.finalize();
  CudnnDescriptor operation(library_, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
  operation.set_descriptors(CUDNN_ATTR_OPERATION_REDUCTION_DESC, {part.raw()});
  operation.set_descriptors(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, {tensors_[x].raw()});
  operation.set_descriptors(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, {tensors_[y].raw()});
  operation.finalize();
  parts_.push_back(std::move(part));
  operations_.push_back(std::move(operation));
}

CudnnDescriptor& CudnnGraph::finish_graph() {
  if (graph_) return *graph_;
  auto graph = std::make_unique<CudnnDescriptor>(library_, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  std::vector<cudnnBackendDescriptor_t> operations;
  for (const CudnnDescriptor& operation : operations_) operations.push_back(operation.raw());
  graph->set_descriptors(CUDNN_ATTR_OPERATIONGRAPH_OPS, operations);
  if (handle_ != nullptr) graph->set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle_);
  graph->finalize();
  graph_ = std::move(graph);
  return *graph_;
}

std::vector<CudnnDescriptor> CudnnGraph::configurations(cudnnBackendHeurMode_t mode) {
  CudnnDescriptor heuristics(library_, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set_descriptors(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, {finish_graph().raw()});
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  if (device_properties_ != nullptr) {
    heuristics.set_descriptors(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, {device_properties_->raw()});
  }
  heuristics.finalize();
  std::int64_t count = heuristics.count(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR);
  std::vector<CudnnDescriptor> found;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (std::int64_t i = 0; i < count; ++i) {
    found.emplace_back(library_, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    raw.push_back(found.back().raw());
  }
  std::int64_t num_given = 0;
  if (count > 0) {
    library_.check(library_.get_attribute(heuristics.raw(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, count, &num_given, raw.data()),
                   "asking cuDNN for its kernels");
  }
  while (static_cast<std::int64_t>(found.size()) > num_given) found.pop_back();
  return found;
}

bool CudnnGraph::is_allowed(cudnnBackendDescriptor_t engine, const CudnnNumerics& numerics) const {
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  std::int64_t count = 0;
  if (library_.get_attribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                             static_cast<std::int64_t>(notes.size()), &count, notes.data()) != CUDNN_STATUS_SUCCESS) {
    return false;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    switch (notes[static_cast<std::size_t>(i)]) {
      case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
      case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
        if (!numerics.allows_tensor_cores) return false;
        break;
      // The same input must give the same output, and sums in half precision lose what the types promise.
      case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
      case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
      case CUDNN_NUMERICAL_NOTE_FFT:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6:
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13: return false;
      default: break;
    }
  }
  std::array<cudnnBackendBehaviorNote_t, CUDNN_BEHAVIOR_NOTE_TYPE_COUNT> behaviors{};
  if (library_.get_attribute(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE,
                             static_cast<std::int64_t>(behaviors.size()), &count,
                             behaviors.data()) != CUDNN_STATUS_SUCCESS) {
    return false;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    const cudnnBackendBehaviorNote_t note = behaviors[static_cast<std::size_t>(i)];
    if (note == CUDNN_BEHAVIOR_NOTE_REQUIRES_FILTER_INT8x32_REORDER ||
        note == CUDNN_BEHAVIOR_NOTE_REQUIRES_BIAS_INT8x32_REORDER) {
      return false;
    }
  }
  return true;
}

CudnnPlan CudnnGraph::compile(const CudnnDescriptor& configuration, std::string name) {
  CudnnDescriptor plan(library_, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  plan.set_descriptors(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, {configuration.raw()});
  if (device_properties_ != nullptr) {
    plan.set_descriptors(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, {device_properties_->raw()});
  } else {
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle_);
  }
  plan.finalize();
  return CudnnPlan(library_, std::move(plan), std::move(name));
}

std::string CudnnGraph::knobs_of(const CudnnDescriptor& configuration) const {
  // Asked for their number alone, cuDNN says 0.
  std::vector<CudnnDescriptor> knobs;
  std::vector<cudnnBackendDescriptor_t> raw_knobs;
  for (int i = 0; i < CUDNN_KNOB_TYPE_COUNTS; ++i) {
    knobs.emplace_back(library_, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    raw_knobs.push_back(knobs.back().raw());
  }
  std::int64_t count = 0;
  library_.check(
      library_.get_attribute(configuration.raw(), CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                             CUDNN_KNOB_TYPE_COUNTS, &count, raw_knobs.data()),
      "asking cuDNN for the settings of a kernel");
  std::string text;
  for (std::int64_t i = 0; i < std::min<std::int64_t>(count, CUDNN_KNOB_TYPE_COUNTS); ++i) {
    const CudnnDescriptor& knob = knobs[static_cast<std::size_t>(i)];
    cudnnBackendKnobType_t type{};
    std::int64_t ignored = 0;
    library_.check(
        library_.get_attribute(knob.raw(), CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &ignored, &type),
        "asking cuDNN for a setting");
    text += "k" + std::to_string(static_cast<int>(type)) + "=" +
            std::to_string(knob.number(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE));
  }
  return text;
}

std::vector<CudnnPlan> CudnnGraph::plans(const CudnnNumerics& numerics, std::size_t max_plans,
                                         std::vector<std::string>& refusals) {
  std::vector<CudnnPlan> plans;
  std::vector<std::string> seen;
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    // The fallback's engines are slow; they are for what the heuristics do not know.
    if (mode == CUDNN_HEUR_MODE_FALLBACK && plans.size() >= std::min<std::size_t>(2, max_plans)) break;
    std::vector<CudnnDescriptor> found;
    try {
      found = configurations(mode);
    } catch (const Error& error) {
      refusals.push_back("cudnn: " + error.message());
      continue;
    }
    for (const CudnnDescriptor& configuration : found) {
      if (plans.size() >= max_plans) break;
      CudnnDescriptor engine(library_, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
      cudnnBackendDescriptor_t raw_engine = engine.raw();
      std::int64_t count = 0;
      if (library_.get_attribute(configuration.raw(), CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                 &count, &raw_engine) != CUDNN_STATUS_SUCCESS) {
        continue;
      }
      std::string name = "eng" + std::to_string(engine.number(CUDNN_ATTR_ENGINE_GLOBAL_INDEX));
      name += knobs_of(configuration);
      if (std::find(seen.begin(), seen.end(), name) != seen.end()) continue;
      seen.push_back(name);
      if (!is_allowed(engine.raw(), numerics)) {
        refusals.push_back("cudnn:" + name + ": its precision or determinism is not what the plan asks for");
        continue;
      }
      try {
        plans.push_back(compile(configuration, name));
      } catch (const Error& error) {
        refusals.push_back("cudnn:" + name + ": " + error.message());
      }
    }
  }
  return plans;
}

CudnnPlan CudnnGraph::plan_named(const std::string& name) {
  const auto malformed = [&] { return Error(ErrorKind::kUnsupported, "there is no plan " + name + " of cuDNN"); };
  if (name.rfind("eng", 0) != 0) throw malformed();
  const char* at = name.c_str() + 3;
  char* end = nullptr;
  const std::int64_t index = std::strtoll(at, &end, 10);
  if (end == at) throw malformed();
  CudnnDescriptor engine(library_, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  engine.set_descriptors(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, {finish_graph().raw()});
  engine.set_numbers(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, {index});
  if (device_properties_ != nullptr) engine.set_descriptors(CUDNN_ATTR_ENGINE_DEVICEPROP, {device_properties_->raw()});
  engine.finalize();
  std::vector<CudnnDescriptor> knobs;
  std::vector<cudnnBackendDescriptor_t> raw_knobs;
  while (*end == 'k') {
    at = end + 1;
    const std::int64_t type = std::strtoll(at, &end, 10);
    if (end == at || *end != '=') throw malformed();
    at = end + 1;
    const std::int64_t value = std::strtoll(at, &end, 10);
    if (end == at) throw malformed();
    knobs.emplace_back(library_, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    const auto knob_type = static_cast<cudnnBackendKnobType_t>(type);
    knobs.back().set(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &knob_type);
    knobs.back().set_numbers(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, {value});
    knobs.back().finalize();
    raw_knobs.push_back(knobs.back().raw());
  }
  if (*end != '\0') throw malformed();
  CudnnDescriptor configuration(library_, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  configuration.set_descriptors(CUDNN_ATTR_ENGINECFG_ENGINE, {engine.raw()});
  if (!raw_knobs.empty()) configuration.set_descriptors(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, raw_knobs);
  configuration.finalize();
  return compile(configuration, name);
}

}  // namespace pajamas::cuda
