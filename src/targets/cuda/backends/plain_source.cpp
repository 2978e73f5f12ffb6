// See plain_source.h. Every extent and stride is a number in the text, so the compiler sees constant divisions.
#include "targets/cuda/backends/plain_source.h"

#include <algorithm>

#include "pajamas/error.h"
#include "targets/cuda/backends/activation_source.h"

namespace pajamas::cuda {
namespace {

constexpr std::uint32_t kBlockSize = 256;
constexpr std::uint32_t kAttentionBlockSize = 128;
/// What every GPU of SM 8.0 and later gives one block.
constexpr std::int64_t kMaxSharedBytes = 96 * 1024;

std::string text(std::int64_t number) { return std::to_string(number) + "LL"; }

std::string type_name(DType dtype) {
  switch (dtype) {
    case DType::kFloat16: return "__half";
    case DType::kBfloat16: return "__nv_bfloat16";
    case DType::kFloat32: return "float";
    case DType::kFloat64: return "double";
    case DType::kFloat8E4M3Fn: return "Small";
    case DType::kInt8: return "signed char";
    case DType::kInt32: return "int";
    default: break;
  }
  throw Error(ErrorKind::kUnsupported, std::string("plain kernels do not compute in ") + to_string(dtype));
}

/// Where the element at these index expressions lies; `indices` one an axis.
std::string place(const TensorDesc& desc, const std::vector<std::string>& indices) {
  std::string sum = "0LL";
  for (std::size_t axis = 0; axis < indices.size(); ++axis) {
    if (desc.extents[axis] == 1 || desc.strides[axis] == 0) continue;
    sum += " + (" + indices[axis] + ") * " + text(desc.strides[axis]);
  }
  return sum;
}

/// Collects the function's arguments and the statements around its sum.
class Writer {
 public:
  Writer(const Program& program, std::string entry, ValueId y) : program_(program), entry_(std::move(entry)), y_(y) {
    computes_in_double_ = desc(y).dtype == DType::kFloat64;
  }

  const TensorDesc& desc(ValueId id) const { return program_.value(id).desc; }
  void add_input(const std::string& name, ValueId id) {
    parameters_ += "const " + type_name(desc(id).dtype) + "* __restrict__ " + name + ", ";
    arguments_.push_back(id);
  }
  /// The sums that another kernel left, laid out as `sums`: of integers where the factors are.
  void add_sums(bool are_integers) {
    parameters_ += std::string("const ") + (are_integers ? "int" : "float") + "* __restrict__ sums, ";
  }
  std::string load(const std::string& name, ValueId id, const std::vector<std::string>& indices) const {
    return "number(" + name + "[" + place(desc(id), indices) + "])";
  }

  /// Declares the sum `t` of integers.
  std::string integer_sum(const std::string& sum, const Epilogue& given, const std::vector<std::string>& y_indices) {
    if (!given.column_sums) return "  Number t = number(" + sum + ");\n";
    add_input("column_sums", *given.column_sums);
    return "  Number t = number(" + sum + " - " + std::to_string(given.a_zero_point) + " * column_sums[" +
           place(desc(*given.column_sums), {y_indices.back()}) + "]);\n";
  }

  /// Scale, bias, residual and activation of the sum `t`, and its store.
  std::string epilogue(const Epilogue& given, float scale, const std::vector<std::string>& y_indices,
                       std::size_t bias_axis) {
    std::string out;
    if (given.column_scale) {
      add_input("column_scale", *given.column_scale);
      out += "  t = t * " + load("column_scale", *given.column_scale, {y_indices[bias_axis]}) + ";\n";
    }
    if (scale != 1.0F) out += "  t = t * Number(" + float_literal(scale) + ");\n";
    if (given.bias) {
      add_input("bias", *given.bias);
      const std::size_t rank = desc(*given.bias).extents.rank();
      std::vector<std::string> indices(rank, "0LL");
      if (rank > 0) indices.back() = y_indices[bias_axis];
      out += "  t += " + load("bias", *given.bias, indices) + ";\n";
    }
    std::string residual;
    if (given.residual) {
      add_input("residual", *given.residual);
      residual = "  t += " + load("residual", *given.residual, y_indices) + ";\n";
    }
    if (given.is_residual_before_activation) out += residual;
    out += activation_source(given.activation);
    if (!given.is_residual_before_activation) out += residual;
    if (given.y_scale != 1.0F) out += "  t = t / Number(" + float_literal(given.y_scale) + ");\n";
    if (given.y_zero_point != 0) out += "  t = rint(t) + Number(" + std::to_string(given.y_zero_point) + ");\n";
    return out + "  y[" + place(desc(y_), y_indices) + "] = store<" + type_name(desc(y_).dtype) + ">(t);\n";
  }

  PlainSource finish(const std::string& body, std::uint32_t num_blocks, std::uint32_t block_size,
                     std::uint32_t shared_bytes) {
    PlainSource result;
    arguments_.push_back(y_);
    result.source = std::string(kPrelude) + "typedef " + (computes_in_double_ ? "double" : "float") + " Number;\n" +
                    std::string(kFunctions) + "extern \"C\" __global__ void " + entry_ + "(" + parameters_ +
                    type_name(desc(y_).dtype) + "* __restrict__ y) {\n" + body + "}\n";
    result.entry = entry_;
    result.arguments = arguments_;
    result.num_blocks = num_blocks;
    result.block_size = block_size;
    result.shared_bytes = shared_bytes;
    return result;
  }

 private:
  static constexpr const char* kPrelude =
      "#include <cuda_fp16.h>\n#include <cuda_bf16.h>\n#define INFINITY __int_as_float(0x7f800000)\n";
  static constexpr const char* kFunctions = R"(
__device__ __forceinline__ Number number(float v) { return Number(v); }
__device__ __forceinline__ Number number(double v) { return Number(v); }
__device__ __forceinline__ Number number(signed char v) { return Number(v); }
__device__ __forceinline__ Number number(int v) { return Number(v); }
__device__ __forceinline__ Number number(__half v) { return Number(__half2float(v)); }
__device__ __forceinline__ Number number(__nv_bfloat16 v) { return Number(__bfloat162float(v)); }
struct Small { unsigned char code; };  // float8e4m3fn
__device__ __forceinline__ Number number(Small v) {
  const unsigned size = v.code & 0x7fu, sign = (v.code & 0x80u) << 24;
  if (size == 0x7fu) return Number(__uint_as_float(0x7fc00000u));
  return Number(__uint_as_float(__float_as_uint(__uint_as_float(size << 20) * 0x1p120f) | sign));
}
template <typename T> struct Store;
template <> struct Store<Small> {
  static __device__ Small of(Number v) {
    const unsigned bits = __float_as_uint(float(v)), size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) return Small{0x7f};
    const unsigned code = size < 0x3c800000u ? __float_as_uint(__uint_as_float(size) + 16384.0f) & 15u
                                             : ((size + 0x7ffffu + (size >> 20 & 1u)) >> 20) - 960u;
    return Small{(unsigned char)((bits >> 24 & 0x80u) | (code > 0x7eu ? 0x7eu : code))};
  }
};
template <> struct Store<signed char> {
  static __device__ signed char of(Number v) { return (signed char)(int)fmin(fmax(rint(v), Number(-128)), Number(127)); }
};
template <> struct Store<float> { static __device__ float of(Number v) { return float(v); } };
template <> struct Store<double> { static __device__ double of(Number v) { return double(v); } };
template <> struct Store<__half> { static __device__ __half of(Number v) { return __float2half_rn(float(v)); } };
template <> struct Store<__nv_bfloat16> {
  static __device__ __nv_bfloat16 of(Number v) { return __float2bfloat16_rn(float(v)); }
};
template <typename T> __device__ __forceinline__ T store(Number v) { return Store<T>::of(v); }
__device__ __forceinline__ Number softplus(Number v) { return v > Number(20) ? v : log1p(exp(v)); }
)";

  const Program& program_;
  std::string entry_;
  ValueId y_;
  bool computes_in_double_ = false;
  std::string parameters_;
  std::vector<ValueId> arguments_;
};

std::uint32_t blocks_for(std::int64_t num_elements) {
  const std::int64_t blocks = (num_elements + kBlockSize - 1) / kBlockSize;
  if (blocks > INT32_MAX) throw Error(ErrorKind::kUnsupported, "a plain kernel has too many elements");
  return static_cast<std::uint32_t>(std::max<std::int64_t>(blocks, 1));
}

/// One index variable an axis of `desc`, the innermost in memory changing fastest, so that neighbours store together.
std::string decompose(const TensorDesc& desc, const std::vector<std::string>& names) {
  std::vector<std::size_t> axes(names.size());
  for (std::size_t i = 0; i < axes.size(); ++i) axes[i] = i;
  std::stable_sort(axes.begin(), axes.end(),
                   [&](std::size_t a, std::size_t b) { return desc.strides[a] > desc.strides[b]; });
  std::string out = "  long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;\n  if (i >= " +
                    text(desc.extents.num_elements()) + ") return;\n";
  for (auto axis = axes.rbegin(); axis != axes.rend(); ++axis) {
    const std::string extent = text(desc.extents[*axis]);
    out += "  const long long " + names[*axis] + " = i % " + extent + "; i /= " + extent + ";\n";
  }
  return out;
}

PlainSource conv_source(const Program& program, const ConvStep& conv) {
  Writer writer(program, "plain_conv", conv.y);
  const TensorDesc& x = writer.desc(conv.x);
  const TensorDesc& y = writer.desc(conv.y);
  const TensorDesc& weights = writer.desc(conv.weights);
  const std::size_t num_spatial = x.extents.rank() - 2;
  std::vector<std::string> y_indices{"n", "k"};
  std::vector<std::string> x_indices{"n", "c"};
  std::vector<std::string> kernel_indices;
  for (std::size_t axis = 0; axis < num_spatial; ++axis) {
    y_indices.push_back("o" + std::to_string(axis));
    x_indices.push_back("p" + std::to_string(axis));
    kernel_indices.push_back("f" + std::to_string(axis));
  }
  writer.add_input("x", conv.x);
  writer.add_input("w", conv.weights);
  const std::int64_t out_per_group = y.extents[1] / conv.groups;
  const std::int64_t in_per_group = x.extents[1] / conv.groups;
  std::string body = decompose(y, y_indices);
  body += "  Number t = Number(0);\n  const long long group = k / " + text(out_per_group) + ";\n";
  body += "  for (long long m = 0; m < " + text(in_per_group) + "; ++m) {\n    const long long c = group * " +
          text(in_per_group) + " + m;\n";
  std::string indent = "    ";
  for (std::size_t axis = 0; axis < num_spatial; ++axis) {
    const std::string f = kernel_indices[axis];
    const std::string p = x_indices[axis + 2];
    const std::string o = y_indices[axis + 2];
    body +=
        indent + "for (long long " + f + " = 0; " + f + " < " + text(weights.extents[axis + 2]) + "; ++" + f + ") {\n";
    indent += "  ";
    const std::string dilated = f + " * " + text(conv.dilations[axis]);
    if (conv.is_transposed) {
      const std::string q = "q" + std::to_string(axis);
      body +=
          indent + "const long long " + q + " = " + o + " + " + text(conv.pads_begin[axis]) + " - " + dilated + ";\n";
      body += indent + "if (" + q + " < 0 || " + q + " % " + text(conv.strides[axis]) + " != 0) continue;\n";
      body += indent + "const long long " + p + " = " + q + " / " + text(conv.strides[axis]) + ";\n";
      body += indent + "if (" + p + " >= " + text(x.extents[axis + 2]) + ") continue;\n";
    } else {
      body += indent + "const long long " + p + " = " + o + " * " + text(conv.strides[axis]) + " - " +
              text(conv.pads_begin[axis]) + " + " + dilated + ";\n";
      body += indent + "if (" + p + " < 0 || " + p + " >= " + text(x.extents[axis + 2]) + ") continue;\n";
    }
  }
  std::vector<std::string> weight_indices =
      conv.is_transposed ? std::vector<std::string>{"c", "(k - group * " + text(out_per_group) + ")"}
                         : std::vector<std::string>{"k", "m"};
  weight_indices.insert(weight_indices.end(), kernel_indices.begin(), kernel_indices.end());
  body += indent + "t += " + writer.load("x", conv.x, x_indices) + " * " +
          writer.load("w", conv.weights, weight_indices) + ";\n";
  for (std::size_t axis = 0; axis < num_spatial; ++axis) {
    indent.resize(indent.size() - 2);
    body += indent + "}\n";
  }
  body += "  }\n" + writer.epilogue(conv.epilogue, 1.0F, y_indices, 1);
  return writer.finish(body, blocks_for(y.extents.num_elements()), kBlockSize, 0);
}

PlainSource matmul_source(const Program& program, const MatMulStep& product) {
  Writer writer(program, "plain_matmul", product.y);
  const TensorDesc& y = writer.desc(product.y);
  const TensorDesc& a = writer.desc(product.a);
  const std::size_t rank = y.extents.rank();
  std::vector<std::string> y_indices;
  for (std::size_t axis = 0; axis < rank; ++axis) y_indices.push_back("i" + std::to_string(axis));
  std::vector<std::string> a_indices = y_indices;
  std::vector<std::string> b_indices = y_indices;
  a_indices[rank - 1] = "m";
  b_indices[rank - 2] = "m";
  writer.add_input("a", product.a);
  writer.add_input("b", product.b);
  std::string body = decompose(y, y_indices);
  const std::string loop = "  for (long long m = 0; m < " + text(a.extents[rank - 1]) + "; ++m) ";
  if (a.dtype == DType::kInt8) {
    body += "  int sum = 0;\n" + loop + "sum += int(a[" + place(a, a_indices) + "]) * int(b[" +
            place(writer.desc(product.b), b_indices) + "]);\n" + writer.integer_sum("sum", product.epilogue, y_indices);
  } else {
    body += "  Number t = Number(0);\n" + loop + "t += " + writer.load("a", product.a, a_indices) + " * " +
            writer.load("b", product.b, b_indices) + ";\n";
  }
  body += writer.epilogue(product.epilogue, product.scale, y_indices, rank - 1);
  return writer.finish(body, blocks_for(y.extents.num_elements()), kBlockSize, 0);
}

/// One block a query: scores in shared memory, then the weighted sum of the values.
PlainSource attention_source(const Program& program, const AttentionStep& attention) {
  Writer writer(program, "plain_attention", attention.y);
  const TensorDesc& q = writer.desc(attention.q);
  const TensorDesc& k = writer.desc(attention.k);
  const TensorDesc& v = writer.desc(attention.v);
  const TensorDesc& y = writer.desc(attention.y);
  const std::int64_t num_heads = q.extents[1];
  const std::int64_t seq_len = q.extents[2];
  const std::int64_t head_dim = q.extents[3];
  const std::int64_t kv_len = k.extents[2];
  const bool is_double = y.dtype == DType::kFloat64;
  const std::int64_t shared_bytes = (kv_len + kAttentionBlockSize) * (is_double ? 8 : 4);
  if (shared_bytes > kMaxSharedBytes) {
    throw Error(ErrorKind::kUnsupported,
                "plain attention over " + std::to_string(kv_len) + " keys needs too much memory");
  }
  writer.add_input("q", attention.q);
  writer.add_input("k", attention.k);
  writer.add_input("v", attention.v);
  std::string mask;
  if (attention.mask) {
    writer.add_input("mask", *attention.mask);
    // Broadcast from the right, as ONNX does.
    const std::vector<std::string> all{"batch", "head", "row", "j"};
    const std::size_t rank = writer.desc(*attention.mask).extents.rank();
    mask =
        "    s += " + writer.load("mask", *attention.mask, {all.end() - static_cast<std::ptrdiff_t>(rank), all.end()}) +
        ";\n";
  }
  const std::string keys = text(kv_len);
  const std::string threads = std::to_string(kAttentionBlockSize);
  std::string body = "  extern __shared__ Number scores[];\n  Number* part = scores + " + keys + ";\n";
  body += "  const long long row = blockIdx.x % " + text(seq_len) + ";\n";
  body += "  const long long head = blockIdx.x / " + text(seq_len) + " % " + text(num_heads) + ";\n";
  body += "  const long long batch = blockIdx.x / " + text(seq_len * num_heads) + ";\n";
  body += "  const long long kv_head = head / " + text(num_heads / k.extents[1]) + ";\n";
  body += "  Number largest = -INFINITY;\n";
  body += "  for (long long j = threadIdx.x; j < " + keys + "; j += " + threads + ") {\n    Number s = Number(0);\n";
  body += "    for (long long d = 0; d < " + text(head_dim) +
          "; ++d) s += " + writer.load("q", attention.q, {"batch", "head", "row", "d"}) + " * " +
          writer.load("k", attention.k, {"batch", "kv_head", "j", "d"}) + ";\n";
  body += "    s *= Number(" + float_literal(attention.scale) + ");\n" + mask;
  if (attention.is_causal) body += "    if (j > row) s = -INFINITY;\n";
  body += "    scores[j] = s;\n    largest = s > largest ? s : largest;\n  }\n";
  const auto reduce = [&](const std::string& value, const std::string& combined) {
    return "  part[threadIdx.x] = " + value + ";\n  __syncthreads();\n  for (int half = " + threads +
           " / 2; half > 0; half /= 2) {\n    if (threadIdx.x < half) {\n      const Number a = part[threadIdx.x], b = "
           "part[threadIdx.x + half];\n      part[threadIdx.x] = " +
           combined + ";\n    }\n    __syncthreads();\n  }\n  " + value + " = part[0];\n  __syncthreads();\n";
  };
  body += reduce("largest", "a > b ? a : b");
  // A row that is masked as a whole gives zeros and no NaN of (-inf) - (-inf).
  body += "  if (largest == -INFINITY) largest = Number(0);\n  Number total = Number(0);\n";
  body += "  for (long long j = threadIdx.x; j < " + keys + "; j += " + threads +
          ") {\n    scores[j] = exp(scores[j] - largest);\n    total += scores[j];\n  }\n";
  body += reduce("total", "a + b");
  body += "  for (long long d = threadIdx.x; d < " + text(v.extents[3]) + "; d += " + threads +
          ") {\n    Number t = Number(0);\n";
  body += "    for (long long j = 0; j < " + keys + "; ++j) t += scores[j] * " +
          writer.load("v", attention.v, {"batch", "kv_head", "j", "d"}) + ";\n";
  body += "    t = total > Number(0) ? t / total : Number(0);\n";
  body += "    y[" + place(y, {"batch", "head", "row", "d"}) + "] = store<" + type_name(y.dtype) + ">(t);\n  }\n";
  const std::int64_t num_rows = q.extents[0] * num_heads * seq_len;
  if (num_rows > INT32_MAX) throw Error(ErrorKind::kUnsupported, "plain attention has too many rows");
  return writer.finish(body, static_cast<std::uint32_t>(std::max<std::int64_t>(num_rows, 1)), kAttentionBlockSize,
                       static_cast<std::uint32_t>(shared_bytes));
}

PlainSource epilogue_source(const Program& program, ValueId y_id, const Epilogue& epilogue, float scale,
                            std::size_t bias_axis, const TensorDesc& sums) {
  Writer writer(program, "plain_epilogue", y_id);
  const TensorDesc& y = writer.desc(y_id);
  std::vector<std::string> indices;
  for (std::size_t axis = 0; axis < y.extents.rank(); ++axis) indices.push_back("i" + std::to_string(axis));
  writer.add_sums(sums.dtype == DType::kInt32);
  std::string body = decompose(y, indices);
  const std::string sum = "sums[" + place(sums, indices) + "]";
  body +=
      sums.dtype == DType::kInt32 ? writer.integer_sum(sum, epilogue, indices) : "  Number t = number(" + sum + ");\n";
  body += writer.epilogue(epilogue, scale, indices, bias_axis);
  return writer.finish(body, blocks_for(y.extents.num_elements()), kBlockSize, 0);
}

}  // namespace

std::optional<PlainSource> make_epilogue_source(const Program& program, const Step& step) {
  if (const auto* conv = std::get_if<ConvStep>(&step.work)) {
    const Shape& extents = program.value(conv->y).desc.extents;
    return epilogue_source(program, conv->y, conv->epilogue, 1.0F, 1,
                           TensorDesc::channels_last(DType::kFloat32, extents));
  }
  if (const auto* product = std::get_if<MatMulStep>(&step.work)) {
    const Shape& extents = program.value(product->y).desc.extents;
    const bool are_integers = program.value(product->a).desc.dtype == DType::kInt8;
    return epilogue_source(program, product->y, product->epilogue, product->scale, extents.rank() - 1,
                           TensorDesc::contiguous(are_integers ? DType::kInt32 : DType::kFloat32, extents));
  }
  return std::nullopt;
}

std::optional<PlainSource> make_plain_source(const Program& program, const Step& step) {
  if (const auto* conv = std::get_if<ConvStep>(&step.work)) return conv_source(program, *conv);
  if (const auto* product = std::get_if<MatMulStep>(&step.work)) return matmul_source(program, *product);
  if (const auto* attention = std::get_if<AttentionStep>(&step.work)) return attention_source(program, *attention);
  return std::nullopt;
}

}  // namespace pajamas::cuda
