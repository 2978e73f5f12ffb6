// See activation_pass.h.
#include "targets/cuda/backends/activation_pass.h"

#include "targets/cuda/backends/activation_source.h"
#include "targets/cuda/backends/matrix_product.h"

namespace pajamas::cuda {
namespace {

constexpr std::int64_t kVector = 8;  ///< Elements of 16 bits in 16 bytes.
constexpr std::int64_t kBlockSize = 256;

/// No header: conversions, powers and quotients are one instruction each.
constexpr const char* kPrelude = R"(
typedef float Number;
struct alignas(16) Vector { unsigned short v[8]; };
__device__ __forceinline__ float from_half(unsigned short h) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
  return f;
}
__device__ __forceinline__ unsigned short to_half(float f) {
  unsigned short h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}
__device__ __forceinline__ float from_bfloat(unsigned short h) { return __uint_as_float((unsigned)h << 16); }
__device__ __forceinline__ unsigned short to_bfloat(float f) {
  unsigned short h;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}
__device__ __forceinline__ float power_of_two(float v) {
  float f;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(f) : "f"(v));
  return f;
}
__device__ __forceinline__ float reciprocal(float v) {
  float f;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(f) : "f"(v));
  return f;
}
__device__ __forceinline__ Number softplus(Number v) { return v > 20.0f ? v : log1pf(__expf(v)); }
)";

}  // namespace

std::optional<PlainSource> make_activation_pass(const Program& program, const Step& step) {
  const auto product = matrix_product_of(program, step);
  if (!product || !product->batch.empty() || product->epilogue->activation.kind == ActivationKind::kNone) return {};
  const Epilogue& epilogue = *product->epilogue;
  if (epilogue.residual && !epilogue.is_residual_before_activation) return {};
  const ValueId y = product->y.value;
  const DType dtype = program.value(y).desc.dtype;
  if (dtype != DType::kFloat16 && dtype != DType::kBfloat16) return {};
  const std::int64_t pitch = product->m == 1 ? product->n : product->y.row_stride;
  if (product->n % kVector != 0 || product->y.column_stride != 1 || pitch % kVector != 0) return {};
  if (program.value(y).offset_elements % kVector != 0) return {};
  const std::int64_t columns = product->n / kVector;
  const std::int64_t count = product->m * columns;
  const std::int64_t blocks = (count + kBlockSize - 1) / kBlockSize;
  if (count == 0 || blocks > INT32_MAX) return {};
  const std::string kind = dtype == DType::kFloat16 ? "half" : "bfloat";
  PlainSource result;
  result.entry = "activation_pass";
  result.arguments = {y};
  result.num_blocks = static_cast<std::uint32_t>(blocks);
  result.block_size = kBlockSize;
  result.source = std::string(kPrelude) + "extern \"C\" __global__ void " + result.entry +
                  "(unsigned short* __restrict__ y) {\n"
                  "  const long long i = (long long)blockIdx.x * " +
                  std::to_string(kBlockSize) + " + threadIdx.x;\n  if (i >= " + std::to_string(count) + "LL) return;\n";
  std::string place = "i * 8";
  if (pitch != product->n) {
    // 32 bits where they do: a division by a constant is then one multiplication.
    const std::string index = count <= INT32_MAX ? "(unsigned)i" : "(unsigned long long)i";
    place = "(long long)(" + index + " / " + std::to_string(columns) + "u) * " + std::to_string(pitch) +
            "LL + (long long)(" + index + " % " + std::to_string(columns) + "u) * 8";
  }
  result.source += "  Vector* const at = (Vector*)(y + " + place +
                   ");\n  Vector q = *at;\n#pragma unroll\n  for (int k = 0; k < 8; ++k) {\n  float t = from_" + kind +
                   "(q.v[k]);\n" + fast_activation_source(epilogue.activation) + "  q.v[k] = to_" + kind +
                   "(t);\n  }\n  *at = q;\n}\n";
  return result;
}

}  // namespace pajamas::cuda
