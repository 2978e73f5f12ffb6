// PackedLinear for many tokens: weights and activations become bfloat16 and are multiplied by AMX tiles. Weights are
// unpacked a piece at a time, so that no second form of them stays. See packed_linear.h; few tokens: packed_linear.cpp.
//
// What bounds it, on a core of 2 MiB + 48 KiB of cache: a product of two tiles takes 16 cycles and there are four a
// step, with four tiles loaded. Weights of a step come from the first-level cache; activations stream through it from
// the second level with a hint not to stay, because otherwise they throw the weights out and half of the speed is gone.
#include "targets/openvino/packed_linear.h"

#if defined(__x86_64__)

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "targets/openvino/cpu_features.h"
#include "targets/openvino/packed_kernels.h"

namespace pajamas::openvino {

namespace {

constexpr std::int64_t kTileTokens = 16;  ///< Of an AMX tile.
constexpr std::int64_t kTileBytes = 1024;
constexpr std::int64_t kStepTokens = 2 * kTileTokens;  ///< Computed at once, by two blocks of rows.
/// Columns of weights unpacked at a time: of two blocks 36 KiB, which the first-level cache keeps beside what streams.
constexpr std::int64_t kMostColumns = 576;
/// Tokens that go over the weights each time these are unpacked: so many activations of kMostColumns take 576 KiB.
constexpr std::int64_t kMostTokens = 512;
/// Pairs of blocks whose unfinished sums are kept, where columns come in several pieces: 1 MiB of kMostTokens.
constexpr std::int64_t kMostPairs = 16;
constexpr std::int64_t kPairRows = 2 * kBlockRows;

bool request_amx() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

/// Layout of LDTILECFG's operand (Intel 64 manual, volume 1, 18.3).
struct alignas(64) TileConfig {
  std::uint8_t palette = 0;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t num_rows[16] = {};
};

/// Sets the tiles of this thread, and gives them back as they were: OpenVINO's kernels remember what they set.
class TileScope {
 public:
  explicit TileScope(const TileConfig& config) {
    // Assembly, not the intrinsics: gcc 12 takes these for reading 8 bytes and drops the stores of the others.
    __asm__ volatile("sttilecfg (%0)" ::"r"(&before_) : "memory");
    __asm__ volatile("ldtilecfg (%0)" ::"r"(&config) : "memory");
  }
  ~TileScope() { __asm__ volatile("ldtilecfg (%0)" ::"r"(&before_) : "memory"); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;

 private:
  TileConfig before_;
};

/// Memory of this thread from a multiple of 64 bytes on; what was in it is lost.
std::byte* aligned_room(std::vector<std::byte>& buffer, std::int64_t num_bytes) {
  if (static_cast<std::int64_t>(buffer.size()) < num_bytes + 64)
    buffer.resize(static_cast<std::size_t>(num_bytes) + 64);
  return reinterpret_cast<std::byte*>((reinterpret_cast<std::uintptr_t>(buffer.data()) + 63) / 64 * 64);
}

/// A row of a tile of weights: of every matrix row two columns side by side as bfloat16, rounded to the nearest.
PAJAMAS_AMX inline void store_columns(__m512 even, __m512 odd, std::byte* place) {
  const __m512i half = _mm512_set1_epi32(0x8000);
  const __m512i low = _mm512_srli_epi32(_mm512_add_epi32(_mm512_castps_si512(even), half), 16);
  const __m512i high = _mm512_add_epi32(_mm512_castps_si512(odd), half);
  constexpr int kFirstOrBoth = 0xf8;  // a | (b & c)
  _mm512_store_si512(place, _mm512_ternarylogic_epi32(low, high, _mm512_set1_epi32(-65536), kFirstOrBoth));
}

/// A whole number q that lies kPlace bits up in every lane, as the float 2^(23 - kPlace) + q: q stands in its mantissa.
template <int kPlace>
constexpr float kBase = static_cast<float>(1 << (23 - kPlace));

template <int kPlace, int kBits>
PAJAMAS_AMX inline __m512 based_number(__m512i lanes) {
  constexpr int kMask = ((1 << kBits) - 1) << kPlace;
  constexpr int kExponent = (127 + 23 - kPlace) << 23;
  constexpr int kBothOrLast = 0xea;  // (a & b) | c
  return _mm512_castsi512_ps(
      _mm512_ternarylogic_epi32(lanes, _mm512_set1_epi32(kMask), _mm512_set1_epi32(kExponent), kBothOrLast));
}

/// Scale, and offsets that take the base of a number out again: (base + q) · scale + (offset - base · scale). The base
/// is 2^15 at most, so that this rounds by a 500th of a step of q at most; bfloat16 rounds the largest of 16 by a 32nd.
struct Factors {
  __m512 scale;
  __m512 offset_8;
  __m512 offset_12;
  __m512 offset_16;
};

PAJAMAS_AMX inline Factors factors_of(__m512 scale, __m512 offset) {
  return {scale, _mm512_fnmadd_ps(_mm512_set1_ps(kBase<8>), scale, offset),
          _mm512_fnmadd_ps(_mm512_set1_ps(kBase<12>), scale, offset),
          _mm512_fnmadd_ps(_mm512_set1_ps(kBase<16>), scale, offset)};
}

PAJAMAS_AMX inline __m512 at_8(__m512i lanes, const Factors& f) {
  return _mm512_fmadd_ps(based_number<8, 4>(lanes), f.scale, f.offset_8);
}

PAJAMAS_AMX inline __m512 at_12(__m512i lanes, const Factors& f) {
  return _mm512_fmadd_ps(based_number<12, 4>(lanes), f.scale, f.offset_12);
}

PAJAMAS_AMX inline __m512 at_16(__m512i lanes, const Factors& f) {
  return _mm512_fmadd_ps(based_number<16, 4>(lanes), f.scale, f.offset_16);
}

PAJAMAS_AMX inline __m512 byte_at_8(__m512i lanes, const Factors& f) {
  return _mm512_fmadd_ps(based_number<8, 8>(lanes), f.scale, f.offset_8);
}

/// Eight columns of 16 rows: column j < 4 in the low half of byte j of a row's lane, column 4 + j in the high half.
PAJAMAS_AMX inline void unpack_halves(__m512i w, const Factors& f, std::byte* place) {
  const __m512i up = _mm512_slli_epi32(w, 12);
  const __m512i down = _mm512_srli_epi32(w, 12);
  store_columns(at_12(up, f), at_8(w, f), place);
  store_columns(at_16(w, f), at_12(down, f), place + 64);
  store_columns(at_16(up, f), at_12(w, f), place + 128);
  store_columns(at_8(down, f), at_16(down, f), place + 192);
}

/// Four columns of 16 rows, in the bytes of a row's lane.
PAJAMAS_AMX inline void unpack_bytes(__m512i w, const Factors& f, std::byte* place) {
  store_columns(byte_at_8(_mm512_slli_epi32(w, 8), f), byte_at_8(w, f), place);
  store_columns(byte_at_8(_mm512_srli_epi32(w, 8), f), byte_at_8(_mm512_srli_epi32(w, 16), f), place + 64);
}

struct UnpackArguments {
  const std::byte* block;  ///< The first of two.
  std::size_t block_bytes;
  std::size_t group_bytes;
  std::int64_t group;
  std::int64_t first_group;
  std::int64_t end_group;
  bool is_4bit;
  const float* row_scales;  ///< Of the first block's rows; null: by groups.
  const float* row_offsets;
};

/// Two blocks as bfloat16 in the order of tiles: [columns / 32][2 blocks][16 pairs of columns][16 rows][2].
PAJAMAS_AMX void unpack_pair(const UnpackArguments& a, std::byte* result) {
  for (int b = 0; b < 2; ++b) {
    __m512 scale = _mm512_setzero_ps();
    __m512 offset = _mm512_setzero_ps();
    if (a.row_scales != nullptr) {
      scale = _mm512_loadu_ps(a.row_scales + b * kBlockRows);
      offset = _mm512_loadu_ps(a.row_offsets + b * kBlockRows);
    }
    for (std::int64_t g = a.first_group; g < a.end_group; ++g) {
      const std::byte* from =
          a.block + static_cast<std::size_t>(b) * a.block_bytes + static_cast<std::size_t>(g) * a.group_bytes;
      if (a.row_scales == nullptr) load_scales(from + a.group_bytes - kScaleBytes, scale, offset);
      const Factors factors = factors_of(scale, offset);
      const std::int64_t begin = (g - a.first_group) * a.group;
      for (std::int64_t i = begin; i < begin + a.group; i += a.is_4bit ? 8 : 4, from += 64) {
        std::byte* to = result + (i / 32 * 2 + b) * kTileBytes + i % 32 * 32;
        const __m512i w = _mm512_load_si512(from);
        if (a.is_4bit) {
          unpack_halves(w, factors, to);
        } else {
          unpack_bytes(w, factors, to);
        }
      }
    }
  }
}

/// A row of activations as bfloat16, one row of every tile: `result` is the row's place in the first of its tiles.
PAJAMAS_AMX void round_row(const float* x, std::int64_t num_columns, std::byte* result) {
  for (std::int64_t i = 0; i < num_columns; i += 32, result += kTileBytes) {
    const __m512bh both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i));
    _mm512_store_si512(result, reinterpret_cast<__m512i>(both));
  }
}

}  // namespace

bool has_amx_tiles() {
  static const bool kHasAmx = cpu_features().has_amx_bf16 && cpu_features().has_avx512_bf16 && request_amx();
  return kHasAmx;
}

/// What was summed for `num_tokens` tokens from `token` on, [num_tokens][32], to where it is wanted.
PAJAMAS_AMX void PackedLinear::store_step(const float* sums, std::int64_t pair, std::int64_t token,
                                          std::int64_t num_tokens, const Sink& sink) const {
  const bool is_combined = combination_ == Combination::kSwiGlu;
  if (sink.tiles != nullptr) {
    // Half a row of the tile that the next layer takes: its columns are these rows.
    const std::int64_t column = places_[static_cast<std::size_t>(pair * 2)].column;
    const std::int64_t tile_row = output_dims_[0] * kTileTokens * 2;
    std::byte* const to = sink.tiles + column / 32 * kTileBytes + column % 32 * 2;
    for (std::int64_t t = token; t < token + num_tokens; ++t, sums += kPairRows) {
      const __m512 value = _mm512_mul_ps(silu(_mm512_loadu_ps(sums)), _mm512_loadu_ps(sums + kBlockRows));
      _mm256_store_si256(reinterpret_cast<__m256i*>(to + t / kTileTokens * tile_row + t % kTileTokens * 64),
                         reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value)));
    }
    return;
  }
  for (std::size_t b = 0; b < (is_combined ? 1 : 2); ++b) {
    const BlockPlace& place = places_[static_cast<std::size_t>(pair * 2) + b];
    const std::int64_t width = output_dims_[static_cast<std::size_t>(place.output)];
    const auto mask = static_cast<__mmask16>((1U << place.num_columns) - 1U);
    float* to = sink.outputs[static_cast<std::size_t>(place.output)] + token * width + place.column;
    const float* from = sums + b * kBlockRows;
    for (std::int64_t t = 0; t < num_tokens; ++t, to += width, from += kPairRows) {
      __m512 value = _mm512_loadu_ps(from);
      if (is_combined) value = _mm512_mul_ps(silu(value), _mm512_loadu_ps(from + kBlockRows));
      _mm512_mask_storeu_ps(to, mask, value);
    }
  }
}

/// At most kMostTokens by pairs of blocks [first_pair, end_pair).
PAJAMAS_AMX void PackedLinear::run_share(const std::byte* x, std::int64_t end_token, std::int64_t first_pair,
                                         std::int64_t end_pair, const Sink& sink) const {
  TileConfig config;
  config.palette = 1;
  // 0..3: sums (2 of tokens by 2 of rows), 4..5: activations, 6..7: weights.
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = 64;
    config.num_rows[i] = kTileTokens;
  }
  const TileScope scope(config);
  const std::int64_t most_groups = std::max(kMostColumns / group_, std::int64_t{1});
  const std::int64_t num_parts = (num_groups_ + most_groups - 1) / most_groups;
  const std::int64_t part_groups = (num_groups_ + num_parts - 1) / num_parts;
  const std::int64_t batch = num_parts > 1 ? std::min(end_pair - first_pair, kMostPairs) : 1;
  const std::int64_t num_tokens = round_up(end_token, kStepTokens);
  constexpr std::int64_t kStepFloats = kStepTokens * kPairRows;
  const std::int64_t weight_bytes = part_groups * group_ * kPairRows * 2;
  thread_local std::vector<std::byte> buffer;
  std::byte* const weights =
      aligned_room(buffer, weight_bytes + (kStepFloats + (num_parts > 1 ? batch * num_tokens * kPairRows : 0)) * 4);
  auto* const step_sums = reinterpret_cast<float*>(weights + weight_bytes);
  float* const unfinished = step_sums + kStepFloats;  // [batch][num_tokens][32]
  const std::int64_t tile_row = num_columns_ * kTileTokens * 2;
  for (std::int64_t batch_begin = first_pair; batch_begin < end_pair; batch_begin += batch) {
    const std::int64_t batch_end = std::min(batch_begin + batch, end_pair);
    // All rows of the batch go over one piece of the columns, whose activations then stay in the second-level cache.
    for (std::int64_t g = 0; g < num_groups_; g += part_groups) {
      const std::int64_t end_group = std::min(g + part_groups, num_groups_);
      const std::int64_t num_tiles = (end_group - g) * group_ / 32;
      const bool is_first = g == 0;
      const bool is_last = end_group == num_groups_;
      for (std::int64_t pair = batch_begin; pair < batch_end; ++pair) {
        const std::size_t row = static_cast<std::size_t>(pair) * kPairRows;
        unpack_pair({data_ + static_cast<std::size_t>(pair * 2) * block_bytes_, block_bytes_, group_bytes_, group_, g,
                     end_group, is_4bit_, is_per_row_ ? row_scales_.data() + row : nullptr,
                     is_per_row_ ? row_offsets_.data() + row : nullptr},
                    weights);
        const BlockPlace& left = places_[static_cast<std::size_t>(pair * 2)];
        const BlockPlace& right = places_[static_cast<std::size_t>(pair * 2) + 1];
        const bool is_stored_directly =
            combination_ == Combination::kSeparate && left.num_columns == kBlockRows && right.num_columns == kBlockRows;
        for (std::int64_t token = 0; token < end_token; token += kStepTokens) {
          float* const kept = unfinished + ((pair - batch_begin) * num_tokens + token) * kPairRows;
          constexpr std::size_t kStride = kPairRows * sizeof(float);
          const std::byte* first = x + token / kTileTokens * tile_row + g * group_ * kTileTokens * 2;
          const std::byte* second = first + tile_row;
          if (!is_first) {
            _tile_loadd(0, kept, kStride);
            _tile_loadd(1, kept + kBlockRows, kStride);
            _tile_loadd(2, kept + kTileTokens * kPairRows, kStride);
            _tile_loadd(3, kept + kTileTokens * kPairRows + kBlockRows, kStride);
          } else if (bias_.empty()) {
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
          } else {
            // A stride of nothing: the same row for every token.
            _tile_loadd(0, bias_.data() + row, 0);
            _tile_loadd(1, bias_.data() + row + kBlockRows, 0);
            _tile_loadd(2, bias_.data() + row, 0);
            _tile_loadd(3, bias_.data() + row + kBlockRows, 0);
          }
          const std::byte* w = weights;
          for (std::int64_t i = 0; i < num_tiles; ++i, first += kTileBytes, second += kTileBytes, w += 2 * kTileBytes) {
            _tile_stream_loadd(4, first, 64);
            _tile_loadd(6, w, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, w + kTileBytes, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_stream_loadd(5, second, 64);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
          }
          if (is_last && is_stored_directly && token + kStepTokens <= end_token) {
            const std::int64_t left_width = output_dims_[static_cast<std::size_t>(left.output)];
            const std::int64_t right_width = output_dims_[static_cast<std::size_t>(right.output)];
            float* to_left = sink.outputs[static_cast<std::size_t>(left.output)] + token * left_width + left.column;
            float* to_right = sink.outputs[static_cast<std::size_t>(right.output)] + token * right_width + right.column;
            const auto left_stride = static_cast<std::size_t>(left_width) * sizeof(float);
            const auto right_stride = static_cast<std::size_t>(right_width) * sizeof(float);
            _tile_stored(0, to_left, left_stride);
            _tile_stored(1, to_right, right_stride);
            _tile_stored(2, to_left + kTileTokens * left_width, left_stride);
            _tile_stored(3, to_right + kTileTokens * right_width, right_stride);
            continue;
          }
          float* const sums = is_last ? step_sums : kept;
          _tile_stored(0, sums, kStride);
          _tile_stored(1, sums + kBlockRows, kStride);
          _tile_stored(2, sums + kTileTokens * kPairRows, kStride);
          _tile_stored(3, sums + kTileTokens * kPairRows + kBlockRows, kStride);
          if (is_last) store_step(sums, pair, token, std::min(kStepTokens, end_token - token), sink);
        }
      }
    }
  }
}

void PackedLinear::run_tiles(const std::byte* x, std::int64_t num_tokens, const Sink& sink) const {
  const std::int64_t num_pairs = num_blocks_ / 2;
  const std::int64_t num_shares =
      std::min(static_cast<std::int64_t>(tbb::this_task_arena::max_concurrency()), num_pairs);
  in_parallel(num_shares, [&](std::int64_t share) {
    run_share(x, num_tokens, num_pairs * share / num_shares, num_pairs * (share + 1) / num_shares, sink);
  });
}

void PackedLinear::run_many(const float* x, std::int64_t num_tokens, const PackedLinear* next,
                            std::span<float* const> outputs) const {
  thread_local std::vector<std::byte> tiles_of_thread;
  thread_local std::vector<std::byte> between_of_thread;
  const std::int64_t num_chunks = (num_tokens + kMostTokens - 1) / kMostTokens;
  const std::int64_t chunk = round_up((num_tokens + num_chunks - 1) / num_chunks, kStepTokens);
  std::byte* const tiles = aligned_room(tiles_of_thread, chunk * num_columns_ * 2);
  std::byte* const between =
      next != nullptr ? aligned_room(between_of_thread, chunk * next->num_columns_ * 2) : nullptr;
  const std::vector<std::int64_t>& widths = next != nullptr ? next->output_dims_ : output_dims_;
  std::vector<float*> own(outputs.begin(), outputs.end());
  for (std::int64_t token = 0; token < num_tokens; token += chunk) {
    const std::int64_t count = std::min(chunk, num_tokens - token);
    in_parallel(count, [&](std::int64_t t) {
      round_row(x + (token + t) * num_columns_, num_columns_,
                tiles + t / kTileTokens * num_columns_ * kTileTokens * 2 + t % kTileTokens * 64);
    });
    if (next == nullptr) {
      run_tiles(tiles, count, {own, nullptr});
    } else {
      run_tiles(tiles, count, {{}, between});
      next->run_tiles(between, count, {own, nullptr});
    }
    for (std::size_t i = 0; i < own.size(); ++i) own[i] += count * widths[i];
  }
}

}  // namespace pajamas::openvino

#endif
