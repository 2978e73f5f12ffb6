// See activation_pass.h.
#include "targets/cuda/backends/activation_pass.h"

#include "targets/cuda/backends/activation_source.h"
#include "targets/cuda/backends/device_numbers.h"
#include "targets/cuda/backends/matrix_product.h"

namespace pajamas::cuda {
namespace {

constexpr std::int64_t kVector = 8;  ///< Elements of 16 bits in 16 bytes, that a thread has.
constexpr std::int64_t kBlockSize = 256;

constexpr const char* kPrelude = R"(
typedef float Number;
struct alignas(16) Vector { u32 v[4]; };
struct alignas(8) Small { u16 v[4]; };
__device__ __forceinline__ float softplus(float v) { return v > 20.0f ? v : log1pf(__expf(v)); }
__device__ __forceinline__ float activate(float t) {
)";

}  // namespace

std::optional<PlainSource> make_activation_pass(const Program& program, const Step& step) {
  const auto product = matrix_product_of(program, step);
  if (!product || !product->batch.empty() || program.value(product->a.value).desc.dtype == DType::kInt8) return {};
  const Epilogue& epilogue = *product->epilogue;
  const ValueId y = product->y.value;
  const DType dtype = program.value(y).desc.dtype;
  const bool is_small = dtype == DType::kFloat8E4M3Fn;
  if (!is_small && epilogue.activation.kind == ActivationKind::kNone) return {};
  if (epilogue.residual && (is_small || !epilogue.is_residual_before_activation)) return {};
  if (!is_small && dtype != DType::kFloat16 && dtype != DType::kBfloat16) return {};
  const bool is_bfloat = is_small ? epilogue.bias && program.value(*epilogue.bias).desc.dtype == DType::kBfloat16
                                  : dtype == DType::kBfloat16;
  const std::int64_t pitch = product->m == 1 ? product->n : product->y.row_stride;
  if (product->n % kVector != 0 || product->y.column_stride != 1 || pitch % kVector != 0) return {};
  if (program.value(y).offset_elements % kVector != 0) return {};
  const std::int64_t columns = product->n / kVector;
  const std::int64_t count = product->m * columns;
  const std::int64_t blocks = (count + kBlockSize - 1) / kBlockSize;
  if (count == 0 || blocks > INT32_MAX) return {};
  PlainSource result;
  result.entry = "activation_pass";
  result.arguments = {y};
  result.num_blocks = static_cast<std::uint32_t>(blocks);
  result.block_size = kBlockSize;
  std::string place = "i * 8";
  if (pitch != product->n) {
    // 32 bits where they do: a division by a constant is then one multiplication.
    const std::string index = count <= INT32_MAX ? "(unsigned)i" : "(unsigned long long)i";
    place = "(long long)(" + index + " / " + std::to_string(columns) + "u) * " + std::to_string(pitch) +
            "LL + (long long)(" + index + " % " + std::to_string(columns) + "u) * 8";
  }
  result.source =
      std::string("#define kIsBfloat ") + (is_bfloat ? "1\n" : "0\n") + device_numbers_text() + kPrelude +
      fast_activation_source(epilogue.activation) + "  return t;\n}\nextern \"C\" __global__ void " + result.entry +
      (is_small ? "(const u16* __restrict__ sums, unsigned char* __restrict__ y)" : "(u16* __restrict__ y)") +
      " {\n  const long long i = (long long)blockIdx.x * " + std::to_string(kBlockSize) +
      " + threadIdx.x;\n  if (i >= " + std::to_string(count) + "LL) return;\n";
  if (is_small) {
    const std::string factor = " * " + float_literal(1.0F / epilogue.y_scale);
    result.source +=
        "  const Vector q = *(const Vector*)(sums + i * 8);\n  Small made;\n#pragma unroll\n"
        "  for (int k = 0; k < 4; ++k) {\n"
        "    made.v[k] = narrow_small(activate(widen((u16)q.v[k]))" +
        factor + ", activate(widen((u16)(q.v[k] >> 16)))" + factor + ");\n  }\n  *(Small*)(y + " + place +
        ") = made;\n}\n";
  } else {
    result.source += "  Vector* const at = (Vector*)(y + " + place +
                     ");\n  Vector q = *at;\n#pragma unroll\n  for (int k = 0; k < 4; ++k) {\n"
                     "    q.v[k] = narrow(activate(widen((u16)q.v[k])), activate(widen((u16)(q.v[k] >> 16))));\n"
                     "  }\n  *at = q;\n}\n";
  }
  return result;
}

}  // namespace pajamas::cuda
