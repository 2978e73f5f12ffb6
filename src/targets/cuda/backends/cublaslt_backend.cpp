// The backend of cuBLASLt: matrix products, and convolutions with kernel 1 as such. cuBLASLt counts columns first, so a
// row-major y = a·b is asked for as yᵀ = bᵀ·aᵀ: its first matrix is our b, and its bias runs along our N.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <optional>
#include <utility>

#include "targets/cuda/backends/bound_value.h"
#include "targets/cuda/backends/cublaslt_library.h"
#include "targets/cuda/backends/epilogue_kernel.h"
#include "targets/cuda/backends/matrix_product.h"
#include "targets/cuda/runtime/device_context.h"
#include "targets/cuda/runtime/step_kernel.h"

namespace pajamas::cuda {
namespace {

constexpr const char* kName = "cublaslt";
/// As NVIDIA advises for Hopper.
constexpr std::size_t kMaxWorkspaceBytes = std::size_t{32} << 20;
constexpr std::int64_t kMaxLaunches = 64;  ///< Of one step, for batches over several axes.
/// Partial sums may be kept in float32 only; in the output's type they lose precision, in place their order varies.
constexpr std::uint32_t kReductions = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;

[[noreturn]] void refuse(const std::string& reason) { throw Error(ErrorKind::kUnsupported, reason); }

cudaDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return CUDA_R_32F;
    case DType::kFloat16: return CUDA_R_16F;
    case DType::kBfloat16: return CUDA_R_16BF;
    case DType::kFloat8E4M3Fn: return CUDA_R_8F_E4M3;
    case DType::kFloat8E5M2: return CUDA_R_8F_E5M2;
    case DType::kInt8: return CUDA_R_8I;
    case DType::kInt32: return CUDA_R_32I;
    default: refuse(std::string("cuBLASLt products of ") + to_string(dtype));
  }
}

class Layout {
 public:
  Layout(const CublasLtLibrary& library, cudaDataType_t type, std::int64_t rows, std::int64_t columns, std::int64_t ld,
         std::int64_t batch, std::int64_t batch_stride)
      : library_(library) {
    library.check(
        library.layout_create(&raw_, type, static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(columns), ld),
        "describing a matrix");
    if (batch > 1) {
      const auto count = static_cast<std::int32_t>(batch);
      library.check(library.layout_set(raw_, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count),
                    "describing a batch");
      library.check(
          library.layout_set(raw_, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &batch_stride, sizeof batch_stride),
          "describing a batch");
    }
  }
  ~Layout() {
    if (raw_ != nullptr) library_.layout_destroy(raw_);
  }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  cublasLtMatrixLayout_t raw() const noexcept { return raw_; }

 private:
  const CublasLtLibrary& library_;
  cublasLtMatrixLayout_t raw_ = nullptr;
};

/// What an Operation is made of.
struct OperationKind {
  bool transposes_b = false, transposes_a = false;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
  bool is_small = false;  ///< Of 8-bit floats.
};

class Operation {
 public:
  Operation(const CublasLtLibrary& library, const OperationKind& kind) : library_(library) {
    const bool is_integer = kind.compute == CUBLAS_COMPUTE_32I;
    library.check(library.desc_create(&raw_, kind.compute, is_integer ? CUDA_R_32I : CUDA_R_32F),
                  "describing a product");
    set(CUBLASLT_MATMUL_DESC_TRANSA, kind.transposes_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, kind.transposes_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, kind.epilogue);
    // Sums stay in the matrix units, which keep some 13 bits behind the leading one of the largest term: far below the
    // 3 bits of the factors. Otherwise every 128 products are added outside of them, at half the speed.
    if (kind.is_small) set(CUBLASLT_MATMUL_DESC_FAST_ACCUM, std::int8_t{1});
  }
  ~Operation() {
    if (raw_ != nullptr) library_.desc_destroy(raw_);
  }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  template <typename T>
  void set(cublasLtMatmulDescAttributes_t name, const T& value) {
    library_.check(library_.desc_set(raw_, name, &value, sizeof value), "describing a product");
  }
  cublasLtMatmulDesc_t raw() const noexcept { return raw_; }

 private:
  const CublasLtLibrary& library_;
  cublasLtMatmulDesc_t raw_ = nullptr;
};

/// A matrix of the product as cuBLASLt sees it: transposed, since columns come first there.
struct Side {
  bool is_transposed = false;  ///< Rows of ours are not dense, its columns are.
  std::int64_t rows = 1, columns = 1, ld = 1;
};

Side side_of(const MatrixProduct::Matrix& matrix, std::int64_t num_rows, std::int64_t num_columns, const char* name) {
  const bool rows_are_dense = num_columns == 1 || matrix.column_stride == 1;
  const bool columns_are_dense = num_rows == 1 || matrix.row_stride == 1;
  // An axis of extent 1 has any stride; the leading dimension must span the dense one.
  if (rows_are_dense && (num_rows == 1 || matrix.row_stride >= num_columns)) {
    return {false, num_columns, num_rows, num_rows == 1 ? num_columns : matrix.row_stride};
  }
  if (columns_are_dense && (num_columns == 1 || matrix.column_stride >= num_rows)) {
    return {true, num_rows, num_columns, num_columns == 1 ? num_rows : matrix.column_stride};
  }
  refuse(std::string("cuBLASLt products whose ") + name + " has neither rows nor columns dense");
}

/// What cuBLASLt does of a step.
enum class Form {
  kFused,  ///< All of it.
  kHalf,   ///< All but the activation, in 16 bits; a second launch applies that in place, or makes 8 bits of it.
  kThen,   ///< The sums in float32; a second launch does the rest.
};

constexpr std::array<std::pair<Form, const char*>, 3> kForms{
    {{Form::kFused, "fused"}, {Form::kHalf, "half"}, {Form::kThen, "then"}}};

/// How a step is put to cuBLASLt; made anew for each kernel.
class Setup {
 public:
  Setup(const CublasLtLibrary& library, const Program& program, const Step& step, Form form) : library_(library) {
    const bool is_fused = form != Form::kThen;
    const auto found = matrix_product_of(program, step);
    if (!found) refuse("no matrix product");
    product_ = *found;
    const auto dtype = [&](ValueId id) { return program.value(id).desc.dtype; };
    const Epilogue& epilogue = *product_.epilogue;
    const DType y_type = dtype(product_.y.value);
    const bool is_y_small = y_type == DType::kFloat8E4M3Fn;
    if (is_y_small && form == Form::kFused) refuse("cuBLASLt results of 8 bits");
    is_small_ = dtype(product_.a.value) == DType::kFloat8E4M3Fn;
    const bool is_integer = dtype(product_.a.value) == DType::kInt8;
    if (is_integer && is_fused) refuse("cuBLASLt products of integers give nothing but their sums");
    if (is_tf32(program, step)) compute_ = CUBLAS_COMPUTE_32F_FAST_TF32;
    if (is_integer) compute_ = CUBLAS_COMPUTE_32I;
    writes_y_ = is_fused && !is_y_small;
    // The 16 bits that become 8.
    const DType half = epilogue.bias && dtype(*epilogue.bias) == DType::kBfloat16 ? DType::kBfloat16 : DType::kFloat16;
    const DType sum_type = is_integer ? DType::kInt32 : DType::kFloat32;
    const DType result_type = !is_fused ? sum_type : is_y_small ? half : y_type;
    const ActivationKind kind = form == Form::kHalf ? ActivationKind::kNone : epilogue.activation.kind;
    a_ = BoundValue(program, product_.a.value);
    b_ = BoundValue(program, product_.b.value);
    y_ = BoundValue(program, product_.y.value);
    element_bytes_a_ = bits_of(dtype(product_.a.value)) / 8;
    element_bytes_b_ = bits_of(dtype(product_.b.value)) / 8;
    element_bytes_y_ = bits_of(result_type) / 8;
    if (dtype(product_.a.value) == DType::kFloat64 || y_type == DType::kFloat64) refuse("cuBLASLt in float64");
    const Side a = side_of(product_.a, product_.m, product_.k, "a");
    const Side b = side_of(product_.b, product_.k, product_.n, "b");
    transposes_a_ = a.is_transposed;
    transposes_b_ = b.is_transposed;
    const std::int64_t batch = product_.batch.empty() ? 1 : product_.batch.back();
    const auto batch_stride = [&](const MatrixProduct::Matrix& matrix) {
      return matrix.batch_strides.empty() ? std::int64_t{0} : matrix.batch_strides.back();
    };
    MatrixProduct::Matrix y_matrix = product_.y;
    if (is_fused) {
      if (kind == ActivationKind::kRelu) {
        epilogue_ = epilogue.bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
      } else if (kind == ActivationKind::kGeluTanh) {
        epilogue_ = epilogue.bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
      } else if (kind == ActivationKind::kNone) {
        epilogue_ = epilogue.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
      } else {
        refuse("cuBLASLt has no such activation");
      }
      if (epilogue.bias) {
        const TensorDesc& bias = program.value(*epilogue.bias).desc;
        // Behind factors of 8 bits a result of float32 has a bias of bfloat16.
        if (is_small_ && result_type == DType::kFloat32) refuse("a bias of float32 behind 8-bit factors");
        if (bias.dtype != result_type || bias.extents.num_elements() != product_.n ||
            (product_.n > 1 && bias.strides.back() != 1)) {
          refuse("a bias that cuBLASLt does not take");
        }
        bias_ = BoundValue(program, *epilogue.bias);
      }
      if (epilogue.residual) {
        if (kind != ActivationKind::kNone && !epilogue.is_residual_before_activation) {
          refuse("cuBLASLt adds nothing after an activation");
        }
        if (dtype(*epilogue.residual) != result_type) refuse("a residual of another type than the result");
        residual_ = BoundValue(program, *epilogue.residual);
      }
      alpha_ = product_.scale;
      beta_ = residual_ ? 1 : 0;
    }
    if (!writes_y_) {
      // Dense: the second launch does the rest, of plain sums the scale too.
      y_matrix.row_stride = product_.n;
      y_matrix.column_stride = 1;
      std::int64_t running = product_.m * product_.n;
      for (std::size_t axis = product_.batch.size(); axis-- > 0;) {
        y_matrix.batch_strides[axis] = running;
        running *= product_.batch[axis];
      }
      const std::size_t num_bytes = static_cast<std::size_t>(running * element_bytes_y_);
      sums_bytes_ = (num_bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
    }
    product_.y = y_matrix;
    const Side y = side_of(y_matrix, product_.m, product_.n, "y");
    if (y.is_transposed) refuse("cuBLASLt products whose y has columns dense");
    std::optional<Side> c;
    if (residual_) {
      c = side_of(*product_.residual, product_.m, product_.n, "residual");
      if (c->is_transposed) refuse("cuBLASLt products whose residual has columns dense");
    }
    const cudaDataType_t y_cuda_type = type_of(result_type);
    a_layout_ = std::make_unique<Layout>(library, type_of(dtype(product_.a.value)), a.rows, a.columns, a.ld, batch,
                                         batch_stride(product_.a));
    b_layout_ = std::make_unique<Layout>(library, type_of(dtype(product_.b.value)), b.rows, b.columns, b.ld, batch,
                                         batch_stride(product_.b));
    y_layout_ =
        std::make_unique<Layout>(library, y_cuda_type, y.rows, y.columns, y.ld, batch, batch_stride(product_.y));
    c_layout_ = std::make_unique<Layout>(library, y_cuda_type, y.rows, y.columns, c ? c->ld : y.ld, batch,
                                         batch_stride(c ? *product_.residual : product_.y));
    num_launches_ = 1;
    for (std::size_t axis = 0; axis + 1 < product_.batch.size(); ++axis) num_launches_ *= product_.batch[axis];
    if (num_launches_ > kMaxLaunches) refuse("cuBLASLt products over so many batch axes");
  }

  std::vector<cublasLtMatmulHeuristicResult_t> heuristics(int max_results) const {
    cublasLtMatmulPreference_t preference = nullptr;
    library_.check(library_.preference_create(&preference), "asking cuBLASLt for its kernels");
    const std::unique_ptr<std::remove_pointer_t<cublasLtMatmulPreference_t>, decltype(library_.preference_destroy)>
        owner(preference, library_.preference_destroy);
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t name, const auto& value) {
      library_.check(library_.preference_set(preference, name, &value, sizeof value),
                     "asking cuBLASLt for its kernels");
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kMaxWorkspaceBytes});
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, kReductions);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
        static_cast<std::uint32_t>(alignment(b_, product_.b, element_bytes_b_)));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        static_cast<std::uint32_t>(alignment(a_, product_.a, element_bytes_a_)));
    const auto y_alignment =
        static_cast<std::uint32_t>(alignment(writes_y_ ? y_ : BoundValue(), product_.y, element_bytes_y_));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, y_alignment);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
        residual_ ? static_cast<std::uint32_t>(alignment(*residual_, *product_.residual, element_bytes_y_))
                  : y_alignment);
    std::vector<cublasLtMatmulHeuristicResult_t> results(static_cast<std::size_t>(max_results));
    int num_results = 0;
    const Operation operation(library_, operation_kind());
    const cublasStatus_t status =
        library_.get_heuristic(library_.handle(), operation.raw(), b_layout_->raw(), a_layout_->raw(), c_layout_->raw(),
                               y_layout_->raw(), preference, max_results, results.data(), &num_results);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED)
      num_results = 0;
    else
      library_.check(status, "asking cuBLASLt for its kernels");
    results.resize(static_cast<std::size_t>(num_results));
    std::erase_if(results, [](const auto& result) { return result.state != CUBLAS_STATUS_SUCCESS; });
    return results;
  }

  /// Scratch memory of a kept algorithm. Throws Error{kUnsupported} when this version refuses it.
  std::size_t check(const cublasLtMatmulAlgo_t& algo) const {
    cublasLtMatmulHeuristicResult_t result{};
    const Operation operation(library_, operation_kind());
    const cublasStatus_t status =
        library_.algo_check(library_.handle(), operation.raw(), b_layout_->raw(), a_layout_->raw(), c_layout_->raw(),
                            y_layout_->raw(), &algo, &result);
    if (status != CUBLAS_STATUS_SUCCESS || result.workspaceSize > kMaxWorkspaceBytes) {
      refuse(std::string("this version of cuBLASLt does not take the kernel: ") + library_.get_status_string(status));
    }
    return result.workspaceSize;
  }

  /// `sums`: where the result goes when that is not y.
  void run(const LaunchContext& context, const cublasLtMatmulAlgo_t& algo, std::byte* sums, std::byte* workspace,
           std::size_t workspace_bytes) const {
    Operation operation(library_, operation_kind());
    if (bias_) operation.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(bias_->address(context)));
    for (std::int64_t launch = 0; launch < num_launches_; ++launch) {
      const auto offset = [&](const MatrixProduct::Matrix& matrix, std::int64_t element_bytes) {
        std::int64_t rest = launch;
        std::int64_t sum = 0;
        for (std::size_t axis = product_.batch.size() - 1; axis-- > 0;) {
          sum += rest % product_.batch[axis] * matrix.batch_strides[axis];
          rest /= product_.batch[axis];
        }
        return sum * element_bytes;
      };
      const bool is_one = num_launches_ == 1;
      const std::byte* a = a_.address(context) + (is_one ? 0 : offset(product_.a, element_bytes_a_));
      const std::byte* b = b_.address(context) + (is_one ? 0 : offset(product_.b, element_bytes_b_));
      std::byte* y = (writes_y_ ? y_.address(context) : sums) + (is_one ? 0 : offset(product_.y, element_bytes_y_));
      const std::byte* c = y;
      if (residual_) c = residual_->address(context) + (is_one ? 0 : offset(*product_.residual, element_bytes_y_));
      // Integers are scaled by integers, of plain sums by one and none.
      constexpr std::int32_t kOne = 1, kNone = 0;
      const bool is_integer = compute_ == CUBLAS_COMPUTE_32I;
      const void* alpha = is_integer ? static_cast<const void*>(&kOne) : &alpha_;
      const void* beta = is_integer ? static_cast<const void*>(&kNone) : &beta_;
      library_.check(
          library_.matmul(library_.handle(), operation.raw(), alpha, b, b_layout_->raw(), a, a_layout_->raw(), beta, c,
                          c_layout_->raw(), y, y_layout_->raw(), &algo, workspace, workspace_bytes, context.stream),
          "running a product of cuBLASLt");
    }
  }
  std::size_t sums_bytes() const noexcept { return sums_bytes_; }

 private:
  OperationKind operation_kind() const { return {transposes_b_, transposes_a_, epilogue_, compute_, is_small_}; }

  /// Of every matrix of the batch.
  static std::int64_t alignment(const BoundValue& bound, const MatrixProduct::Matrix& matrix,
                                std::int64_t element_bytes) {
    std::int64_t alignment = bound.alignment();
    for (const std::int64_t stride : matrix.batch_strides) {
      while (stride * element_bytes % alignment != 0) alignment /= 2;
    }
    return alignment;
  }

  const CublasLtLibrary& library_;
  bool writes_y_ = true;   ///< The result goes to y itself.
  bool is_small_ = false;  ///< 8-bit factors.
  cublasComputeType_t compute_ = CUBLAS_COMPUTE_32F;
  MatrixProduct product_;
  BoundValue a_, b_, y_;
  std::optional<BoundValue> bias_, residual_;
  std::int64_t element_bytes_a_ = 0, element_bytes_b_ = 0, element_bytes_y_ = 0;
  bool transposes_a_ = false, transposes_b_ = false;
  cublasLtEpilogue_t epilogue_ = CUBLASLT_EPILOGUE_DEFAULT;
  float alpha_ = 1, beta_ = 0;
  std::unique_ptr<Layout> a_layout_, b_layout_, c_layout_, y_layout_;
  std::int64_t num_launches_ = 1;
  std::size_t sums_bytes_ = 0;
};

class CublasLtKernel final : public StepKernel {
 public:
  CublasLtKernel(std::shared_ptr<const Setup> setup, const cublasLtMatmulAlgo_t& algo, std::size_t workspace_bytes,
                 std::shared_ptr<const EpilogueKernel> epilogue, std::string tactic)
      : setup_(std::move(setup)),
        algo_(algo),
        workspace_bytes_(workspace_bytes),
        epilogue_(std::move(epilogue)),
        tactic_(std::move(tactic)) {}

  void launch(const LaunchContext& context) const override {
    std::byte* sums = context.workspace;
    std::byte* workspace = context.workspace + setup_->sums_bytes();
    setup_->run(context, algo_, sums, workspace, workspace_bytes_);
    if (epilogue_) epilogue_->launch(context, sums);
  }
  std::size_t workspace_bytes() const override { return setup_->sums_bytes() + workspace_bytes_; }
  std::string tactic() const override { return tactic_; }
  /// The tactic says all of the product; the epilogue is compiled code.
  std::vector<std::byte> state() const override { return epilogue_ ? epilogue_->cubin() : std::vector<std::byte>{}; }

 private:
  std::shared_ptr<const Setup> setup_;
  cublasLtMatmulAlgo_t algo_;
  std::size_t workspace_bytes_;
  std::shared_ptr<const EpilogueKernel> epilogue_;
  std::string tactic_;
};

/// "alg66t600s36k1-<the algorithm's bytes in hexadecimal, without the zeros at its end>"
std::string text_of(const CublasLtLibrary& library, const cublasLtMatmulAlgo_t& algo) {
  std::string text;
  const auto add = [&](const char* letter, cublasLtMatmulAlgoConfigAttributes_t name) {
    std::uint32_t value = 0;
    std::size_t num_bytes = 0;
    if (library.algo_get(&algo, name, &value, sizeof value, &num_bytes) == CUBLAS_STATUS_SUCCESS) {
      text += letter + std::to_string(value);
    }
  };
  add("alg", CUBLASLT_ALGO_CONFIG_ID);
  add("t", CUBLASLT_ALGO_CONFIG_TILE_ID);
  add("s", CUBLASLT_ALGO_CONFIG_STAGES_ID);
  add("k", CUBLASLT_ALGO_CONFIG_SPLITK_NUM);
  std::array<unsigned char, sizeof(cublasLtMatmulAlgo_t)> bytes{};
  std::memcpy(bytes.data(), &algo, bytes.size());
  std::size_t length = bytes.size();
  while (length > 0 && bytes[length - 1] == 0) --length;
  text += '-';
  for (std::size_t i = 0; i < length; ++i) {
    std::array<char, 3> digits{};
    std::snprintf(digits.data(), digits.size(), "%02x", static_cast<unsigned>(bytes[i]));
    text += digits.data();
  }
  return text;
}

cublasLtMatmulAlgo_t algo_of(const std::string& text) {
  const std::size_t begin = text.find('-');
  if (begin == std::string::npos || (text.size() - begin - 1) % 2 != 0 ||
      (text.size() - begin - 1) / 2 > sizeof(cublasLtMatmulAlgo_t)) {
    refuse("there is no kernel " + text + " of cuBLASLt");
  }
  const auto digit = [&](char character) {
    const std::size_t value = std::string("0123456789abcdef").find(character);
    if (value == std::string::npos) refuse("there is no kernel " + text + " of cuBLASLt");
    return static_cast<unsigned>(value);
  };
  std::array<unsigned char, sizeof(cublasLtMatmulAlgo_t)> bytes{};
  for (std::size_t i = 0; begin + 1 + 2 * i < text.size(); ++i) {
    bytes[i] = static_cast<unsigned char>(digit(text[begin + 1 + 2 * i]) * 16 + digit(text[begin + 2 + 2 * i]));
  }
  cublasLtMatmulAlgo_t algo{};
  std::memcpy(&algo, bytes.data(), bytes.size());
  return algo;
}

class CublasLtBackend final : public Backend {
 public:
  std::string name() const override { return kName; }

  std::vector<std::unique_ptr<StepKernel>> kernels(DeviceContext& device, const Program& program, const Step& step,
                                                   int max_kernels, std::vector<std::string>& refusals) const override {
    std::vector<std::unique_ptr<StepKernel>> kernels;
    if (max_kernels <= 0 || !matrix_product_of(program, step)) return kernels;
    bool has_fused = false;
    for (const auto& [form, spelling] : kForms) {
      // Two launches only where one does not do; of their two forms some each.
      if (form != Form::kFused && has_fused) break;
      const int wanted = form == Form::kHalf ? (max_kernels + 1) / 2 : max_kernels - static_cast<int>(kernels.size());
      if (wanted <= 0) break;
      try {
        const std::shared_ptr<const EpilogueKernel> epilogue = second_launch(device, program, step, form, {});
        const CublasLtLibrary& library = device.cublaslt();
        const auto setup = std::make_shared<const Setup>(library, program, step, form);
        const auto found = setup->heuristics(wanted);
        if (found.empty()) refuse("no algorithm for these types and layouts");
        for (const auto& result : found) {
          kernels.push_back(std::make_unique<CublasLtKernel>(
              setup, result.algo, result.workspaceSize, epilogue,
              std::string(kName) + ":" + spelling + ":" + text_of(library, result.algo)));
        }
        has_fused = form == Form::kFused;
      } catch (const Error& error) {
        refusals.push_back(std::string(kName) + ":" + spelling + ": " + error.message());
      }
    }
    return kernels;
  }

  std::unique_ptr<StepKernel> restore(DeviceContext& device, const Program& program, const Step& step,
                                      const std::string& tactic, std::span<const std::byte> state) const override {
    for (const auto& [form, spelling] : kForms) {
      const std::string start = std::string(kName) + ":" + spelling + ":";
      if (tactic.rfind(start, 0) != 0) continue;
      const cublasLtMatmulAlgo_t algo = algo_of(tactic.substr(start.size()));
      const auto setup = std::make_shared<const Setup>(device.cublaslt(), program, step, form);
      const std::size_t workspace_bytes = setup->check(algo);
      const auto epilogue = second_launch(device, program, step, form, state);
      return std::make_unique<CublasLtKernel>(setup, algo, workspace_bytes, epilogue, tactic);
    }
    refuse("there is no kernel " + tactic);
  }

 private:
  /// What follows the product; nullptr for nothing.
  static std::shared_ptr<const EpilogueKernel> second_launch(DeviceContext& device, const Program& program,
                                                             const Step& step, Form form,
                                                             std::span<const std::byte> state) {
    if (form == Form::kFused) return nullptr;
    if (form == Form::kHalf) {
      return std::make_shared<const EpilogueKernel>(EpilogueKernel::in_place(device, program, step, state));
    }
    return std::make_shared<const EpilogueKernel>(device, program, step, state);
  }
};

}  // namespace

const Backend& cublaslt_backend() {
  static const CublasLtBackend backend;
  return backend;
}

}  // namespace pajamas::cuda
