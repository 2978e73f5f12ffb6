// See packed_linear.h.
//
// A block is 16 rows of the matrix. For every group of columns it holds the values, four columns of one row in a 32-bit
// lane (the operand of VPDPBUSD, and a row of the second operand of TDPBSUD), 4-bit ones two such vectors in one, then
// 16 scales and 16 offsets in float16. Values are unsigned: signed ones are moved by 8 or 128, and so are the offsets.
#include "targets/openvino/packed_linear.h"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <new>
#include <tuple>
#include <utility>

#if defined(__x86_64__)
#include "targets/openvino/packed_kernels.h"
#endif

#include "pajamas/error.h"
#include "targets/openvino/cpu_features.h"
#include "tensor/half.h"

#if defined(__x86_64__)
namespace pajamas::openvino {

namespace {

/// Most tokens that are computed by vectors of integers, and not by tiles of bfloat16.
constexpr std::int64_t kFewTokens = 32;

std::uint32_t word_at(const std::uint8_t* bytes) {
  std::uint32_t word = 0;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

/// Four 4-bit values, the lower half of a word, as bytes.
std::uint32_t spread(std::uint32_t halves) {
  halves = (halves | halves << 8) & 0x00ff00ffU;
  return (halves | halves << 4) & 0x0f0f0f0fU;
}

/// What is added to signed values to make them unsigned.
float shift_of(StoredMatrix::Form form) {
  return form == StoredMatrix::Form::kInt4 ? 8.0F : form == StoredMatrix::Form::kInt8 ? 128.0F : 0.0F;
}

bool is_4bit(StoredMatrix::Form form) {
  return form == StoredMatrix::Form::kUint4 || form == StoredMatrix::Form::kInt4;
}

/// Columns of a group; one scale a row: the activations' own groups.
std::int64_t group_of(std::int64_t num_columns, std::int64_t num_groups) {
  if (num_groups > 1) return num_columns / num_groups;
  for (const std::int64_t group : {128, 64, 32}) {
    if (num_columns % group == 0) return group;
  }
  return 0;
}

/// One row of activations: groups of int8 with a scale, and the sum of every group as it is after quantisation.
PAJAMAS_VNNI void quantize_row(const float* x, std::int64_t num_groups, std::int64_t group, std::int8_t* values,
                               float* scales, float* sums) {
  for (std::int64_t g = 0; g < num_groups; ++g) {
    const float* begin = x + g * group;
    __m512 largest = _mm512_setzero_ps();
    for (std::int64_t i = 0; i < group; i += 16) {
      largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(begin + i)));
    }
    const float top = _mm512_reduce_max_ps(largest);
    const float scale = top / 127.0F;
    const __m512 inverse = _mm512_set1_ps(top > 0.0F ? 127.0F / top : 0.0F);
    __m512i sum = _mm512_setzero_si512();
    for (std::int64_t i = 0; i < group; i += 16) {
      const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(begin + i), inverse));
      sum = _mm512_add_epi32(sum, q);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(values + g * group + i), _mm512_cvtsepi32_epi8(q));
    }
    scales[g] = scale;
    sums[g] = scale * static_cast<float>(_mm512_reduce_add_epi32(sum));
  }
}

/// Four columns in every lane.
PAJAMAS_VNNI inline __m512i broadcast_quad(const std::int8_t* values) {
  int bits;
  std::memcpy(&bits, values, sizeof(bits));
  return _mm512_set1_epi32(bits);
}

struct FewArguments {
  const std::byte* block;  ///< The first of two.
  std::size_t block_bytes;
  std::size_t group_bytes;
  std::int64_t group;
  std::int64_t num_groups;
  std::int64_t num_columns;
  const std::int8_t* values;
  const float* scales;
  const float* sums;
};

/// Two blocks by kTokens rows of activations; `result` [kTokens][32].
template <int kTokens, bool kIs4Bit, bool kIsPerRow>
PAJAMAS_VNNI void multiply_few(const FewArguments& a, float* result) {
  __m512 total[kTokens][2];
  for (int t = 0; t < kTokens; ++t) total[t][0] = total[t][1] = _mm512_setzero_ps();
  const __m512i mask = _mm512_set1_epi8(15);
  for (std::int64_t g = 0; g < a.num_groups; ++g) {
    const std::byte* first = a.block + static_cast<std::size_t>(g) * a.group_bytes;
    const std::byte* second = first + a.block_bytes;
    __m512i sum[kTokens][2];
    for (int t = 0; t < kTokens; ++t) sum[t][0] = sum[t][1] = _mm512_setzero_si512();
    const std::int8_t* x = a.values + g * a.group;
    constexpr std::int64_t kStep = kIs4Bit ? 8 : 4;  // columns of one vector
    for (std::int64_t i = 0; i < a.group; i += kStep) {
      const __m512i w0 = _mm512_load_si512(first);
      const __m512i w1 = _mm512_load_si512(second);
      constexpr std::size_t kAhead = 1024;  // bytes; the streams of a block are too short for the hardware alone
      _mm_prefetch(reinterpret_cast<const char*>(first + kAhead), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(second + kAhead), _MM_HINT_T0);
      first += 64;
      second += 64;
      if constexpr (kIs4Bit) {
        const __m512i low0 = _mm512_and_si512(w0, mask);
        const __m512i low1 = _mm512_and_si512(w1, mask);
        const __m512i high0 = _mm512_and_si512(_mm512_srli_epi16(w0, 4), mask);
        const __m512i high1 = _mm512_and_si512(_mm512_srli_epi16(w1, 4), mask);
        for (int t = 0; t < kTokens; ++t) {
          const __m512i low = broadcast_quad(x + t * a.num_columns + i);
          sum[t][0] = _mm512_dpbusd_epi32(sum[t][0], low0, low);
          sum[t][1] = _mm512_dpbusd_epi32(sum[t][1], low1, low);
        }
        for (int t = 0; t < kTokens; ++t) {
          const __m512i high = broadcast_quad(x + t * a.num_columns + i + 4);
          sum[t][0] = _mm512_dpbusd_epi32(sum[t][0], high0, high);
          sum[t][1] = _mm512_dpbusd_epi32(sum[t][1], high1, high);
        }
      } else {
        for (int t = 0; t < kTokens; ++t) {
          const __m512i part = broadcast_quad(x + t * a.num_columns + i);
          sum[t][0] = _mm512_dpbusd_epi32(sum[t][0], w0, part);
          sum[t][1] = _mm512_dpbusd_epi32(sum[t][1], w1, part);
        }
      }
    }
    if constexpr (kIsPerRow) {
      for (int t = 0; t < kTokens; ++t) {
        const __m512 scale = _mm512_set1_ps(a.scales[t * a.num_groups + g]);
        for (int b = 0; b < 2; ++b) total[t][b] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[t][b]), scale, total[t][b]);
      }
    } else {
      for (int b = 0; b < 2; ++b) {
        __m512 scale;
        __m512 offset;
        load_scales(b == 0 ? first : second, scale, offset);
        for (int t = 0; t < kTokens; ++t) {
          const __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(a.scales[t * a.num_groups + g]));
          total[t][b] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[t][b]), both, total[t][b]);
          total[t][b] = _mm512_fmadd_ps(offset, _mm512_set1_ps(a.sums[t * a.num_groups + g]), total[t][b]);
        }
      }
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    for (int b = 0; b < 2; ++b) _mm512_storeu_ps(result + t * 32 + b * 16, total[t][b]);
  }
}

using FewKernel = void (*)(const FewArguments&, float*);

template <bool kIs4Bit, bool kIsPerRow>
FewKernel few_kernel(std::int64_t num_tokens) {
  switch (num_tokens) {
    case 1: return multiply_few<1, kIs4Bit, kIsPerRow>;
    case 2: return multiply_few<2, kIs4Bit, kIsPerRow>;
    case 3: return multiply_few<3, kIs4Bit, kIsPerRow>;
    default: return multiply_few<4, kIs4Bit, kIsPerRow>;
  }
}

}  // namespace

/// Memory of many matrices: they follow one another, so that huge pages hold small ones too. With pages of 4 KiB the
/// processor's prefetching ends 25,000 times a step.
struct PackedLinear::Memory {
  explicit Memory(std::size_t wanted) {
    size = (wanted + kHugePage - 1) / kHugePage * kHugePage + kHugePage;
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    ::madvise(memory, size, MADV_HUGEPAGE);
    data = static_cast<std::byte*>(memory);
    used = (kHugePage - reinterpret_cast<std::uintptr_t>(memory) % kHugePage) % kHugePage;
  }
  ~Memory() { ::munmap(data, size); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  /// Memory with room for `wanted` bytes, zeroed, at the address that comes with it.
  static std::pair<std::shared_ptr<Memory>, std::byte*> take(std::size_t wanted) {
    static std::mutex mutex;
    static std::weak_ptr<Memory> latest;
    const std::lock_guard lock(mutex);
    wanted = (wanted + 63) / 64 * 64;
    std::shared_ptr<Memory> memory = latest.lock();
    if (memory == nullptr || memory->used + wanted > memory->size) {
      memory = std::make_shared<Memory>(std::max(wanted, kRegion));
      latest = memory;
    }
    std::byte* place = memory->data + memory->used;
    memory->used += wanted;
    return {memory, place};
  }

  static constexpr std::size_t kHugePage = 2U << 20;
  static constexpr std::size_t kRegion = 64U << 20;
  std::byte* data = nullptr;
  std::size_t size = 0;
  std::size_t used = 0;
};

struct PackedLinear::Quantized {
  std::int64_t num_tokens = 0;
  std::vector<std::int8_t> values;  ///< [num_tokens, num_columns]
  std::vector<float> scales;        ///< [num_tokens, num_groups]
  std::vector<float> sums;          ///< The same.
};

bool PackedLinear::is_available() { return cpu_features().has_avx512 && cpu_features().has_avx512_vnni; }

bool PackedLinear::can_pack(const StoredMatrix& matrix) {
  if (matrix.num_rows < 1 || matrix.num_columns < 1 || matrix.num_groups < 1) return false;
  if (matrix.num_columns % matrix.num_groups != 0) return false;
  const std::int64_t group = group_of(matrix.num_columns, matrix.num_groups);
  if (group != 32 && group != 64 && group != 128 && group != 256) return false;
  if (matrix.num_groups == 1) return true;
  // Scales are kept in float16, whose smallest step is 2^-24: what a value loses by it must be nothing beside the
  // largest values of the matrix.
  const float largest_q = is_4bit(matrix.form) ? 15.0F : 255.0F;
  float largest_scale = 0.0F;
  for (const float scale : matrix.scales) largest_scale = std::max(largest_scale, std::abs(scale));
  float largest_offset = 0.0F;
  for (const float offset : matrix.offsets) largest_offset = std::max(largest_offset, std::abs(offset));
  return std::max(largest_scale * largest_q, largest_offset) >= 0x1p-15F * largest_q &&
         largest_scale * 128.0F + largest_offset < kMaxFloat16;
}

PackedLinear::PackedLinear(std::span<const StoredMatrix> matrices, Combination combination)
    : is_4bit_(is_4bit(matrices[0].form)),
      is_per_row_(matrices[0].num_groups == 1),
      combination_(combination),
      num_columns_(matrices[0].num_columns),
      group_(group_of(num_columns_, matrices[0].num_groups)),
      num_groups_(num_columns_ / group_),
      group_bytes_(static_cast<std::size_t>(group_ * kBlockRows) / (is_4bit_ ? 2 : 1) +
                   (is_per_row_ ? 0 : kScaleBytes)),
      block_bytes_(group_bytes_ * static_cast<std::size_t>(num_groups_)) {
  const bool is_combined = combination == Combination::kSwiGlu;
  bool has_bias = false;
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    has_bias = has_bias || !matrices[i].bias.empty();
    if (is_combined && i > 0) break;
    output_dims_.push_back(matrices[i].num_rows);
    for (std::int64_t row = 0; row < matrices[i].num_rows; row += kBlockRows) {
      const BlockPlace place{static_cast<std::int32_t>(i), static_cast<std::int32_t>(row),
                             static_cast<std::int32_t>(std::min(kBlockRows, matrices[i].num_rows - row))};
      places_.push_back(place);
      if (is_combined) places_.push_back(place);
    }
  }
  if (places_.size() % 2 != 0) places_.emplace_back();
  num_blocks_ = static_cast<std::int64_t>(places_.size());
  const auto num_rows = static_cast<std::size_t>(num_blocks_ * kBlockRows);
  if (has_bias) bias_.assign(num_rows, 0.0F);
  if (is_per_row_) {
    row_scales_.assign(num_rows, 0.0F);
    row_offsets_.assign(num_rows, 0.0F);
  }
  constexpr std::size_t kPrefetched = 4096;  // multiply_few() asks for what lies behind the end
  size_bytes_ = static_cast<std::size_t>(num_blocks_) * block_bytes_ + kPrefetched;
  std::tie(memory_, data_) = Memory::take(size_bytes_);
  std::int64_t first_block = 0;
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    pack(matrices[i], is_combined ? static_cast<std::int64_t>(i) : first_block, is_combined ? 2 : 1);
    first_block += (matrices[i].num_rows + kBlockRows - 1) / kBlockRows;
  }
}

PackedLinear::~PackedLinear() = default;

void PackedLinear::pack(const StoredMatrix& matrix, std::int64_t first_block, std::int64_t block_step) {
  const float shift = shift_of(matrix.form);
  // The same shift, of all values in a word: the sign bit of each.
  const std::uint32_t flip = shift == 8.0F ? 0x88888888U : shift == 128.0F ? 0x80808080U : 0U;
  const std::int64_t num_own = (matrix.num_rows + kBlockRows - 1) / kBlockRows;
  tbb::parallel_for(std::int64_t{0}, num_own, [&](std::int64_t own) {
    const std::int64_t block = first_block + own * block_step;
    std::byte* place = data_ + static_cast<std::size_t>(block) * block_bytes_;
    const std::int64_t num_rows = std::min(kBlockRows, matrix.num_rows - own * kBlockRows);
    for (std::int64_t g = 0; g < num_groups_; ++g, place += group_bytes_) {
      for (std::int64_t r = 0; r < num_rows; ++r) {
        const std::int64_t row = own * kBlockRows + r;
        auto* to = reinterpret_cast<std::uint8_t*>(place) + r * 4;
        const std::int64_t first = row * num_columns_ + g * group_;
        const std::int64_t step = is_4bit_ ? 8 : 4;  // columns of four bytes
        const std::uint8_t* from = matrix.values + (is_4bit_ ? first / 2 : first);
        for (std::int64_t k = 0; k < group_; k += step, from += 4, to += 64) {
          std::uint32_t word = word_at(from) ^ flip;
          if (is_4bit_) word = spread(word & 0xffffU) | spread(word >> 16) << 4;
          std::memcpy(to, &word, sizeof(word));
        }
        if (is_per_row_) continue;
        auto* scales = reinterpret_cast<std::uint16_t*>(place + group_bytes_ - kScaleBytes);
        const auto index = static_cast<std::size_t>(row * matrix.num_groups + g);
        scales[r] = float16_from_float(matrix.scales[index]);
        // With the scale as it is rounded here: the zero point stays where it is.
        const float rounding = shift * float_from_float16(scales[r]);
        scales[16 + r] = float16_from_float(matrix.offsets[index] - rounding);
      }
    }
    for (std::int64_t r = 0; r < num_rows; ++r) {
      const auto row = static_cast<std::size_t>(own * kBlockRows + r);
      const auto index = static_cast<std::size_t>(block * kBlockRows + r);
      if (is_per_row_) {
        row_scales_[index] = matrix.scales[row];
        row_offsets_[index] = matrix.offsets[row] - shift * matrix.scales[row];
      }
      if (!matrix.bias.empty()) bias_[index] = matrix.bias[row];
    }
  });
}

PAJAMAS_VNNI void PackedLinear::store(const float* sums, std::int64_t pair, std::int64_t token,
                                      std::span<float* const> outputs) const {
  __m512 value[2] = {_mm512_loadu_ps(sums), _mm512_loadu_ps(sums + 16)};
  const auto first = static_cast<std::size_t>(pair * 2);
  for (std::size_t b = 0; b < 2 && !bias_.empty(); ++b) {
    value[b] = _mm512_add_ps(value[b], _mm512_loadu_ps(bias_.data() + (first + b) * 16));
  }
  if (combination_ == Combination::kSwiGlu) {
    value[0] = _mm512_mul_ps(silu(value[0]), value[1]);
  }
  const std::size_t num_results = combination_ == Combination::kSwiGlu ? 1 : 2;
  for (std::size_t b = 0; b < num_results; ++b) {
    const BlockPlace& place = places_[first + b];
    const std::int64_t width = output_dims_[static_cast<std::size_t>(place.output)];
    float* to = outputs[static_cast<std::size_t>(place.output)] + token * width + place.column;
    const auto mask = static_cast<__mmask16>((1U << place.num_columns) - 1U);
    _mm512_mask_storeu_ps(to, mask, value[b]);
  }
}

PAJAMAS_VNNI void PackedLinear::run_few(const Quantized& x, std::int64_t first_pair, std::int64_t end_pair,
                                        std::span<float* const> outputs) const {
  constexpr std::int64_t kMost = 4;  // tokens at once: more accumulators than registers otherwise
  alignas(64) float sums[kMost * 32];
  for (std::int64_t pair = first_pair; pair < end_pair; ++pair) {
    const std::byte* block = data_ + static_cast<std::size_t>(pair * 2) * block_bytes_;
    for (std::int64_t token = 0; token < x.num_tokens; token += kMost) {
      const std::int64_t count = std::min(kMost, x.num_tokens - token);
      const float* scales = x.scales.data() + token * num_groups_;
      const float* group_sums = x.sums.data() + token * num_groups_;
      const FewArguments arguments{
          block,  block_bytes_, group_bytes_, group_, num_groups_, num_columns_, x.values.data() + token * num_columns_,
          scales, group_sums};
      const FewKernel kernel = is_4bit_ ? (is_per_row_ ? few_kernel<true, true>(count) : few_kernel<true, false>(count))
                               : is_per_row_ ? few_kernel<false, true>(count)
                                             : few_kernel<false, false>(count);
      kernel(arguments, sums);
      for (std::int64_t t = 0; t < count; ++t) {
        float* own = sums + t * 32;
        if (is_per_row_) {
          float whole = 0.0F;
          for (std::int64_t g = 0; g < num_groups_; ++g) whole += group_sums[t * num_groups_ + g];
          for (std::int64_t i = 0; i < 32; ++i) {
            const auto row = static_cast<std::size_t>(pair * 32 + i);
            own[i] = own[i] * row_scales_[row] + whole * row_offsets_[row];
          }
        }
        store(own, pair, token + t, outputs);
      }
    }
  }
}

void PackedLinear::run(const float* x, std::int64_t num_tokens, std::span<float* const> outputs) const {
  if (num_tokens < 1) return;
  const std::int64_t num_pairs = num_blocks_ / 2;
  const std::int64_t num_threads = tbb::this_task_arena::max_concurrency();
  if (num_tokens <= kFewTokens || !has_amx_tiles()) {
    thread_local Quantized quantized_of_thread;
    Quantized& quantized = quantized_of_thread;  // the caller's, whichever thread runs a share
    quantized.num_tokens = num_tokens;
    const auto count = static_cast<std::size_t>(num_tokens);
    quantized.values.resize(count * static_cast<std::size_t>(num_columns_));
    quantized.scales.resize(count * static_cast<std::size_t>(num_groups_));
    quantized.sums.resize(count * static_cast<std::size_t>(num_groups_));
    for (std::int64_t token = 0; token < num_tokens; ++token) {
      quantize_row(x + token * num_columns_, num_groups_, group_, quantized.values.data() + token * num_columns_,
                   quantized.scales.data() + token * num_groups_, quantized.sums.data() + token * num_groups_);
    }
    // Equal shares, one a thread: a share is microseconds long.
    const std::int64_t num_shares = std::min(num_threads, num_pairs);
    if (num_shares <= 1) return run_few(quantized, 0, num_pairs, outputs);
    in_parallel(num_shares, [&](std::int64_t share) {
      run_few(quantized, num_pairs * share / num_shares, num_pairs * (share + 1) / num_shares, outputs);
    });
    return;
  }
  run_many(x, num_tokens, nullptr, outputs);
}

void PackedLinear::run_gated(const float* x, std::int64_t num_tokens, const PackedLinear& next, float* output) const {
  if (num_tokens > kFewTokens && has_amx_tiles()) return run_many(x, num_tokens, &next, {&output, 1});
  thread_local std::vector<float> between;
  between.resize(static_cast<std::size_t>(num_tokens * next.num_columns_));
  float* const gated = between.data();
  run(x, num_tokens, {&gated, 1});
  next.run(gated, num_tokens, {&output, 1});
}

}  // namespace pajamas::openvino

#else

namespace pajamas::openvino {

struct PackedLinear::Quantized {};
struct PackedLinear::Memory {};

bool PackedLinear::is_available() { return false; }

bool PackedLinear::can_pack(const StoredMatrix&) { return false; }

PackedLinear::PackedLinear(std::span<const StoredMatrix>, Combination) {
  throw Error(ErrorKind::kInternal, "packed linear layers are for x86-64");
}

PackedLinear::~PackedLinear() = default;

void PackedLinear::run(const float*, std::int64_t, std::span<float* const>) const {}

void PackedLinear::run_gated(const float*, std::int64_t, const PackedLinear&, float*) const {}

}  // namespace pajamas::openvino

#endif
