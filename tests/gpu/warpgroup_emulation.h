// The device functions of warpgroup kernels (targets/cuda/backends/warpgroup_kernel.cpp, warpgroup_device_text) on the
// host, on top of the fibres of warp_emulation.h: barriers that count arrivals and bytes, boxes that the copy engine
// lays into shared memory with its 128-byte swizzle, and the products of wgmma read back through their descriptors, as
// the PTX documentation of mbarrier, cp.async.bulk.tensor and wgmma says. Boxes arrive and products are computed at
// once or as late as the program allows (lp::is_late), so that a missing wait shows. Included by the source under test.
#pragma once

#include "gpu/warp_emulation.h"

#define __grid_constant__
#ifndef kElementBytes
#define kElementBytes 2  // Kernels of 16 bits only do not say it.
#endif
#ifndef kIsInteger
#define kIsInteger 0
#endif

struct TensorMap {
  const void* values;
  long long rows, columns, row_stride;
  int box_rows, box_columns;
  /// Axes behind the columns, in place of the rows, where there are several.
  int num_axes = 0;
  struct Axis {
    long long extent, stride;
    int box;
  } axes[3] = {};
  /// The rows are pixels that windows begin at (matrix_boxes.h), where there are images.
  struct Pixels {
    long long images, height, width, image_stride, line_stride;
    int stride_y, stride_x, first_y, first_x, last_y, last_x;
  } pixels = {};
  int element_bytes = 2;
};

namespace lp {

struct Box {
  TensorMap map;
  u32 to, barrier;
  int x, y;
  int outer[2] = {0, 0};     ///< Coordinates of the axes behind `y`; of pixels x and the image.
  int tap_x = 0, tap_y = 0;  ///< Of pixels.
};

struct Barrier {
  int count = 0, num_pending = 0;
  long long open_bytes = 0;
  u32 phase = 0;
  std::vector<Box> boxes;  ///< That have not arrived yet.
};

struct Product {
  float* sums;
  int num_sums;
  u64 a, b;
  int keeps;
  bool is_b_along_k;
  /// Of the four lanes that hold a thread's rows of A, when A comes from registers: four words of each.
  const u32* registers[4] = {};
  bool is_a_along_k = true;
  int* integers = nullptr;  ///< In place of `sums`.
};

struct Products {
  std::vector<Product> open;
  std::vector<std::vector<Product>> groups;
};

inline std::map<std::pair<const Block*, u32>, Barrier> barriers;
inline std::map<const Fiber*, Products> products;
inline std::map<std::pair<const Block*, int>, Meeting> named;

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}
inline Barrier& barrier_at(const Block* block, u32 address) {
  const auto found = barriers.find({block, address});
  if (found == barriers.end()) fail("a barrier that nobody made");
  return found->second;
}
inline void complete(Barrier& barrier) {
  if (barrier.num_pending != 0 || barrier.open_bytes != 0) return;
  ++barrier.phase;
  barrier.num_pending = barrier.count;
}
inline void deliver(Block* block, Barrier& barrier, const Box& box) {
  const TensorMap& map = box.map;
  if (box.to % 1024 != 0) fail("a box that begins off its swizzle");
  TensorMap::Axis axes[3] = {{map.rows, map.row_stride, map.box_rows}, {1, 0, 1}, {1, 0, 1}};
  for (int i = 0; i < map.num_axes; ++i) axes[i] = map.axes[i];
  const int begin[3] = {box.y, box.outer[0], box.outer[1]};
  const int num_rows = axes[0].box * axes[1].box * axes[2].box;
  const TensorMap::Pixels& pixels = map.pixels;
  int pixel_x = box.outer[0], pixel_y = box.y, image = box.outer[1];
  for (int row = 0; row < num_rows; ++row) {
    const int place[3] = {row % axes[0].box, row / axes[0].box % axes[1].box, row / axes[0].box / axes[1].box};
    bool is_row_inside = true;
    long long from = 0;
    for (int i = 0; i < 3; ++i) {
      const long long at = begin[i] + place[i];
      is_row_inside = is_row_inside && at >= 0 && at < axes[i].extent;
      from += at * axes[i].stride;
    }
    if (pixels.images > 0) {
      const long long x = pixel_x + box.tap_x, y = pixel_y + box.tap_y;
      is_row_inside = x >= 0 && x < pixels.width && y >= 0 && y < pixels.height && image < pixels.images;
      from = image * pixels.image_stride + y * pixels.line_stride + x * map.row_stride;
    }
    for (int column = 0; column < map.box_columns; ++column) {
      const long long c = box.x + column;
      const auto size = static_cast<std::size_t>(map.element_bytes);
      const int byte = column * map.element_bytes;
      const std::size_t at = box.to + static_cast<std::size_t>(row * 128 + ((byte / 16 ^ row % 8) << 4) + byte % 16);
      if (at + size > block->memory.size()) fail("a box beyond shared memory");
      std::memset(block->memory.data() + at, 0, size);
      if (is_row_inside && c >= 0 && c < map.columns) {
        std::memcpy(block->memory.data() + at,
                    static_cast<const unsigned char*>(map.values) + (from + c) * map.element_bytes, size);
      }
    }
    // The next window of the line, of the next line, of the next image.
    if (pixels.images == 0 || (pixel_x += pixels.stride_x) <= pixels.width - 1 + pixels.last_x) continue;
    pixel_x = pixels.first_x;
    if ((pixel_y += pixels.stride_y) <= pixels.height - 1 + pixels.last_y) continue;
    pixel_y = pixels.first_y;
    ++image;
  }
  barrier.open_bytes -= static_cast<long long>(num_rows) * map.box_columns * map.element_bytes;
  complete(barrier);
}
inline void load(Block* block, const Box& box) {
  Barrier& barrier = barrier_at(block, box.barrier);
  if (is_late) {
    barrier.boxes.push_back(box);
  } else {
    deliver(block, barrier, box);
  }
}
/// float8e4m3fn: 4 bits of exponent biased by 7, 3 of mantissa.
inline float from_small(unsigned char code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  if (exponent == 15 && mantissa == 7) return NAN;
  const float size = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                   : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return (code & 0x80) != 0 ? -size : size;
}
/// The nearest by trying all; of two equally near the even one.
inline unsigned to_small(float value) {
  if (value != value) return 0x7f;
  unsigned best = 0;
  for (unsigned code = 1; code < 0x7f; ++code) {
    const float here = std::fabs(from_small(static_cast<unsigned char>(code)) - std::fabs(value));
    const float there = std::fabs(from_small(static_cast<unsigned char>(best)) - std::fabs(value));
    if (here < there || (here == there && code % 2 == 0)) best = code;
  }
  return best | (std::signbit(value) ? 0x80u : 0u);
}
/// Element (row or column `at`, `k`) of an operand of wgmma: 128-byte swizzle, along K or across it.
inline float element(u64 descriptor, bool is_along_k, int at, int k) {
  const u32 start = static_cast<u32>(descriptor & 0x3fff) << 4;
  const u32 leading = static_cast<u32>(descriptor >> 16 & 0x3fff) << 4,
            stride = static_cast<u32>(descriptor >> 32 & 0x3fff) << 4;
  if (descriptor >> 62 != 1) fail("a descriptor of another swizzle");
  // The swizzle exchanges bits of the address itself, so a start within the first row's 128 bytes shifts all rows
  // alike.
  const u32 plain = is_along_k ? start + at / 8 * stride + at % 8 * 128 + k * kElementBytes
                               : start + at / 64 * leading + k / 8 * stride + k % 8 * 128 + at % 64 * 2;
  const u32 address = plain ^ ((plain >> 7 & 7) << 4);
  if (kIsInteger) return static_cast<signed char>(*lp_shared(address, 1));
  if (kElementBytes == 1) return from_small(*lp_shared(address, 1));
  u16 bits;
  std::memcpy(&bits, lp_shared(address, 2), 2);
  return kIsBfloat ? from_bfloat(bits) : from_half(bits);
}
inline void perform(const Product& product) {
  const Fiber& fiber = current();
  const int warp = fiber.thread.x / 32 % 4;
  // A thread has sums of two rows, eight apart.
  constexpr int kDepth = 32 / kElementBytes;
  float left[2][kDepth];
  for (int i = 0; i < 2; ++i) {
    for (int k = 0; k < kDepth; ++k) {
      if (product.registers[0] != nullptr) {
        // Lane k / 2 of the four has columns k and k + 8: words for this row, the row eight further on, and again.
        const u32 word = product.registers[k % 8 / 2][k / 8 * 2 + i] >> (k % 2 * 16);
        left[i][k] = kIsBfloat ? from_bfloat(static_cast<u16>(word)) : from_half(static_cast<u16>(word));
      } else {
        left[i][k] = element(product.a, product.is_a_along_k, warp * 16 + fiber.lane / 4 + i * 8, k);
      }
    }
  }
  for (int i = 0; i < product.num_sums; ++i) {
    const int column = i / 4 * 8 + fiber.lane % 4 * 2 + i % 2;
    if (product.integers != nullptr) {
      int sum = product.keeps != 0 ? product.integers[i] : 0;
      for (int k = 0; k < kDepth; ++k) {
        sum += static_cast<int>(left[i % 4 / 2][k]) * static_cast<int>(element(product.b, true, column, k));
      }
      product.integers[i] = sum;
      continue;
    }
    float sum = product.keeps != 0 ? product.sums[i] : 0.0F;
    for (int k = 0; k < kDepth; ++k) sum += left[i % 4 / 2][k] * element(product.b, product.is_b_along_k, column, k);
    product.sums[i] = sum;
  }
}

}  // namespace lp

inline void prefetch(const TensorMap*) {}
inline void init_barrier(u32 barrier, u32 count) {
  lp::Barrier& made = lp::barriers[{lp::current().block, barrier}];
  made = {};
  made.count = made.num_pending = static_cast<int>(count);
}
/// A block begins: what one before it left of arrivals at the same address is gone.
inline void publish_barriers() {
  std::erase_if(lp::named, [](const auto& item) { return item.first.first == lp::current().block; });
}
inline void arrive_here(lp::Barrier& barrier) {
  if (--barrier.num_pending < 0) lp::fail("more arrivals than a barrier counts");
  lp::complete(barrier);
}
inline void expect_bytes(u32 barrier, u32 bytes) {
  lp::Barrier& here = lp::barrier_at(lp::current().block, barrier);
  here.open_bytes += bytes;
  arrive_here(here);
}
inline void wait_barrier(u32 barrier, u32 parity) {
  lp::Block* const block = lp::current().block;
  lp::Barrier& here = lp::barrier_at(block, barrier);
  while (here.phase % 2 == parity) {
    // Somebody waits for them: now they must come.
    std::vector<lp::Box> boxes;
    boxes.swap(here.boxes);
    for (const lp::Box& box : boxes) lp::deliver(block, here, box);
    if (here.phase % 2 == parity) lp::yield();
  }
}
inline void arrive_with_data(u32 barrier, u32 rank) {
  arrive_here(lp::barrier_at(lp::cluster->blocks[rank].get(), barrier));
}
inline void arrive_at(u32 barrier, u32 rank) {
  if (kCluster > 1) return arrive_with_data(barrier, rank);
  arrive_here(lp::barrier_at(lp::current().block, barrier));
}
inline void load_box(u32 to, const TensorMap* map, u32 barrier, int x, int y) {
  lp::load(lp::current().block, {*map, to, barrier, x, y});
}
inline void load_box_of_four(u32 to, const TensorMap* map, u32 barrier, int x, int y, int z, int w) {
  lp::load(lp::current().block, {*map, to, barrier, x, y, {z, w}});
}
inline void load_box_for_all(u32 to, const TensorMap* map, u32 barrier, int x, int y) {
  if (kCluster == 1) return load_box(to, map, barrier, x, y);
  for (const auto& block : lp::cluster->blocks) lp::load(block.get(), {*map, to, barrier, x, y});
}
inline void load_pixels(u32 to, const TensorMap* map, u32 barrier, int channel, int x, int y, int image, int tap_x,
                        int tap_y) {
  lp::load(lp::current().block, {*map, to, barrier, channel, y, {x, image}, tap_x, tap_y});
}
inline void wait_for_data(u32 barrier, u32 parity) { wait_barrier(barrier, parity); }
inline void store_to(u32 address, u32 rank, float4 value) {
  std::memcpy(lp::cluster->blocks[rank]->memory.data() + address, &value, sizeof value);
}
inline void load_rows(u32 (&r)[4], u32 from) { load_matrices(r, from); }
/// Of stmatrix: lane 8 i + row brings the address of a row of matrix i.
inline void store_rows(u32 to, const u32 (&r)[4]) {
  lp::Fiber& fiber = lp::current();
  fiber.warp->words[fiber.lane][0] = to;
  lp::meet(fiber.warp->meeting);
  for (int i = 0; i < 4; ++i) {
    const u32 row = fiber.warp->words[static_cast<std::size_t>(i * 8 + fiber.lane / 4)][0];
    std::memcpy(lp_shared(row, 16) + fiber.lane % 4 * 4, &r[i], 4);
  }
  lp::meet(fiber.warp->meeting);
}
inline void load_transposed(u32 (&r)[4], u32 from) { load_matrices_transposed(r, from); }
/// The same, where a row of a matrix is a column of the registers'.
inline void store_transposed(u32 to, const u32 (&r)[4]) {
  lp::Fiber& fiber = lp::current();
  fiber.warp->words[fiber.lane][0] = to;
  lp::meet(fiber.warp->meeting);
  for (int i = 0; i < 4; ++i) {
    for (int half = 0; half < 2; ++half) {
      const u32 row = fiber.warp->words[static_cast<std::size_t>(i * 8 + fiber.lane % 4 * 2 + half)][0];
      const u16 bits = static_cast<u16>(r[i] >> (half * 16));
      std::memcpy(lp_shared(row, 16) + fiber.lane / 4 * 2, &bits, 2);
    }
  }
  lp::meet(fiber.warp->meeting);
}
inline void begin_products() {}
inline void lp_multiply(const lp::Product& product) {
  if (lp::is_late) {
    lp::products[&lp::current()].open.push_back(product);
  } else {
    lp::perform(product);
  }
}
template <int count>
void multiply_along(float (&sums)[count], u64 a, u64 b, int keeps, bool is_b_along_k) {
  lp_multiply({sums, count, a, b, keeps, is_b_along_k});
}
/// A from registers: those of the four lanes that share two rows, read when the product is performed.
template <int count>
void multiply_registers(float (&sums)[count], const u32* a, u64 b, int keeps, bool is_b_along_k) {
  lp::Fiber& fiber = lp::current();
  std::memcpy(fiber.warp->words[fiber.lane], &a, sizeof a);
  lp::meet(fiber.warp->meeting);
  lp::Product product{sums, count, 0, b, keeps, is_b_along_k};
  for (int i = 0; i < 4; ++i) {
    std::memcpy(&product.registers[i], fiber.warp->words[fiber.lane / 4 * 4 + i], sizeof a);
  }
  lp_multiply(product);
  lp::meet(fiber.warp->meeting);
}
#ifdef kIsBAlongK
template <int count>
void multiply(int (&sums)[count], u64 a, u64 b, int keeps) {
  lp::Product product{nullptr, count, a, b, keeps, true};
  product.integers = sums;
  lp_multiply(product);
}
template <int count>
void multiply(float (&sums)[count], u64 a, u64 b, int keeps) {
  lp_multiply({sums, count, a, b, keeps, kIsBAlongK != 0, {}, kIsAAlongK != 0});
}
#endif
inline void commit_products() {
  lp::Products& own = lp::products[&lp::current()];
  own.groups.push_back(std::move(own.open));
  own.open.clear();
}
template <int pending>
void wait_products() {
  lp::Products& own = lp::products[&lp::current()];
  // All four warps have begun and have multiplied when one thread says so: wgmma is one operation of the whole
  // warpgroup.
  lp::Meeting& meeting = lp::named[{lp::current().block, 10 + lp::current().thread.x / 128}];
  meeting.count = 128;
  lp::meet(meeting);
  while (own.groups.size() > pending) {
    for (const lp::Product& product : own.groups.front()) lp::perform(product);
    own.groups.erase(own.groups.begin());
  }
  lp::meet(meeting);
}
inline void meet(int group) {
  lp::Meeting& meeting = lp::named[{lp::current().block, 3 + group}];
  meeting.count = 128;
  lp::meet(meeting);
}
inline lp::Meeting& turn_of(int group) {
  lp::Meeting& meeting = lp::named[{lp::current().block, 1 + group}];
  meeting.count = 256;
  return meeting;
}
inline void wait_for_turn(int group) { lp::meet(turn_of(group)); }
inline void give_turn(int group) {
  lp::Meeting& meeting = turn_of(group);
  if (++meeting.num_here == meeting.count) {
    meeting.num_here = 0;
    ++meeting.round;
  }
}
inline void wait_for_warp() { lp::meet(lp::current().warp->meeting); }
inline void give_registers() {}
inline void take_registers() {}
inline void start_successor() {}
#if kIsInteger
inline u16 narrow_levels(float low, float high) {
  const auto level = [](float number) {
    return static_cast<int>(std::fmin(std::fmax(std::nearbyint(number) + kYZeroPoint, -128.0F), 127.0F)) & 255;
  };
  return static_cast<u16>(level(low) | level(high) << 8);
}
#endif
inline u16 narrow_small(float low, float high) { return static_cast<u16>(lp::to_small(low) | lp::to_small(high) << 8); }
