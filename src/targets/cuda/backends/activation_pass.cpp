// See activation_pass.h.
#include "targets/cuda/backends/activation_pass.h"

#include "targets/cuda/backends/activation_source.h"
#include "targets/cuda/backends/device_numbers.h"
#include "targets/cuda/backends/matrix_product.h"

namespace pajamas::cuda {
namespace {

constexpr std::int64_t kVector = 8;  ///< Elements of 16 bits in 16 bytes.
constexpr std::int64_t kBlockSize = 256;

constexpr const char* kPrelude = R"(
typedef float Number;
struct alignas(16) Vector { u32 v[4]; };
__device__ __forceinline__ float softplus(float v) { return v > 20.0f ? v : log1pf(__expf(v)); }
__device__ __forceinline__ float activate(float t) {
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
  PlainSource result;
  result.entry = "activation_pass";
  result.arguments = {y};
  result.num_blocks = static_cast<std::uint32_t>(blocks);
  result.block_size = kBlockSize;
  result.source = std::string("#define kIsBfloat ") + (dtype == DType::kBfloat16 ? "1\n" : "0\n") +
                  device_numbers_text() + kPrelude + fast_activation_source(epilogue.activation) +
                  "  return t;\n}\nextern \"C\" __global__ void " + result.entry +
                  "(u16* __restrict__ y) {\n  const long long i = (long long)blockIdx.x * " +
                  std::to_string(kBlockSize) + " + threadIdx.x;\n  if (i >= " + std::to_string(count) + "LL) return;\n";
  std::string place = "i * 8";
  if (pitch != product->n) {
    // 32 bits where they do: a division by a constant is then one multiplication.
    const std::string index = count <= INT32_MAX ? "(unsigned)i" : "(unsigned long long)i";
    place = "(long long)(" + index + " / " + std::to_string(columns) + "u) * " + std::to_string(pitch) +
            "LL + (long long)(" + index + " % " + std::to_string(columns) + "u) * 8";
  }
  result.source += "  Vector* const at = (Vector*)(y + " + place +
                   ");\n  Vector q = *at;\n#pragma unroll\n  for (int k = 0; k < 4; ++k) {\n"
                   "    q.v[k] = narrow(activate(widen((u16)q.v[k])), activate(widen((u16)(q.v[k] >> 16))));\n"
                   "  }\n  *at = q;\n}\n";
  return result;
}

}  // namespace pajamas::cuda
