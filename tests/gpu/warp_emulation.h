// The device functions of tile kernels (targets/cuda/backends/tile_kernel.cpp, tile_device_text) on the host: every
// thread of a cluster is a fibre, barriers and matrix instructions are where fibres meet. Matrix fragments are laid out
// as the PTX documentation of ldmatrix and mma.m16n8k16 says. Copies to shared memory happen as early or as late as the
// program allows (lp_is_late), so that a missing wait shows. Included by the source under test, which defines the
// constants.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <vector>

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;

#define __device__
#define __global__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __cluster_dims__(x, y, z)
#define SHARED_MEMORY(name) unsigned char* name = lp::current().block->memory.data()
#define blockIdx (lp::current().block->index)
#define threadIdx (lp::current().thread)

struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) uint4 {
  u32 x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }

namespace lp {

inline bool is_late = false;

struct Index {
  int x = 0, y = 0, z = 0;
};

/// Where `count` fibres wait for each other.
struct Meeting {
  int count = 0, num_here = 0;
  u64 round = 0;
};

struct Warp {
  Meeting meeting;
  u32 words[32][8];  ///< What each lane brought.
};

struct Block {
  Index index;
  std::vector<unsigned char> memory;
  Meeting meeting;
  std::vector<Warp> warps;
};

struct Copy {
  unsigned char* to;
  const void* from;
  int size, bytes;
};

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  Block* block = nullptr;
  Warp* warp = nullptr;
  Index thread;
  int lane = 0;
  bool is_done = false;
  std::vector<Copy> open;  ///< Copies since the last commit.
  std::vector<std::vector<Copy>> groups;
};

struct Cluster {
  std::vector<std::unique_ptr<Block>> blocks;
  std::vector<std::unique_ptr<Fiber>> fibers;
  Meeting meeting;
  ucontext_t scheduler;
  Fiber* running = nullptr;
  std::function<void()> kernel;
};
inline Cluster* cluster = nullptr;

inline Fiber& current() { return *cluster->running; }
inline void yield() { swapcontext(&current().context, &cluster->scheduler); }
inline void meet(Meeting& meeting) {
  const u64 round = meeting.round;
  if (++meeting.num_here == meeting.count) {
    meeting.num_here = 0;
    ++meeting.round;
    return;
  }
  while (meeting.round == round) yield();
}
inline void perform(const std::vector<Copy>& copies) {
  for (const Copy& copy : copies) {
    std::memset(copy.to, 0, static_cast<std::size_t>(copy.bytes));
    std::memcpy(copy.to, copy.from, static_cast<std::size_t>(copy.size));
  }
}
inline void entry() {
  cluster->kernel();
  current().is_done = true;
  yield();
}

/// Runs a grid, cluster by cluster (blocks along z).
inline void run(const Index& grid, int num_threads, int cluster_size, std::size_t shared_bytes,
                const std::function<void()>& kernel) {
  for (int y = 0; y < grid.y; ++y) {
    for (int x = 0; x < grid.x; ++x) {
      for (int z = 0; z < grid.z; z += cluster_size) {
        Cluster now;
        cluster = &now;
        now.kernel = kernel;
        now.meeting.count = num_threads * cluster_size;
        for (int c = 0; c < cluster_size; ++c) {
          auto block = std::make_unique<Block>();
          block->index = {x, y, z + c};
          block->memory.assign(shared_bytes, 0xff);  // NaNs: what nobody wrote shows.
          block->meeting.count = num_threads;
          block->warps.resize(static_cast<std::size_t>(num_threads / 32));
          for (Warp& warp : block->warps) warp.meeting.count = 32;
          for (int t = 0; t < num_threads; ++t) {
            auto fiber = std::make_unique<Fiber>();
            fiber->block = block.get();
            fiber->warp = &block->warps[static_cast<std::size_t>(t / 32)];
            fiber->thread.x = t;
            fiber->lane = t % 32;
            constexpr std::size_t kStackBytes = 32 * 1024;
            fiber->stack = std::make_unique<char[]>(kStackBytes);
            getcontext(&fiber->context);
            fiber->context.uc_stack.ss_sp = fiber->stack.get();
            fiber->context.uc_stack.ss_size = kStackBytes;
            fiber->context.uc_link = nullptr;
            makecontext(&fiber->context, entry, 0);
            now.fibers.push_back(std::move(fiber));
          }
          now.blocks.push_back(std::move(block));
        }
        for (std::size_t num_done = 0; num_done < now.fibers.size();) {
          num_done = 0;
          for (const auto& fiber : now.fibers) {
            if (!fiber->is_done) {
              now.running = fiber.get();
              swapcontext(&now.scheduler, &fiber->context);
            }
            num_done += fiber->is_done ? 1 : 0;
          }
        }
      }
    }
  }
}

inline float from_half(u16 bits) {
  _Float16 half;
  std::memcpy(&half, &bits, 2);
  return static_cast<float>(half);
}
inline float from_bfloat(u16 bits) {
  const u32 wide = static_cast<u32>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}
inline u16 to_half(float value) {
  const auto half = static_cast<_Float16>(value);
  u16 bits;
  std::memcpy(&bits, &half, 2);
  return bits;
}
inline u16 to_bfloat(float value) {
  u32 bits;
  std::memcpy(&bits, &value, 4);
  if (value != value) return 0x7fff;
  return static_cast<u16>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

}  // namespace lp

inline u32 shared_address(const void* p) {
  return static_cast<u32>(static_cast<const unsigned char*>(p) - lp::current().block->memory.data());
}
inline unsigned char* lp_shared(u32 address, u32 bytes) {
  auto& memory = lp::current().block->memory;
  if (address % bytes != 0 || address + bytes > memory.size()) {
    std::fprintf(stderr, "shared memory %u..%u of %zu\n", address, address + bytes, memory.size());
    std::abort();
  }
  return memory.data() + address;
}
template <int bytes>
void copy_async(u32 to, const u16* from, bool is_valid) {
  if (reinterpret_cast<std::uintptr_t>(from) % bytes != 0) {
    std::fprintf(stderr, "a copy of %d bytes from an odd address\n", bytes);
    std::abort();
  }
  lp::current().open.push_back({lp_shared(to, bytes), from, is_valid ? bytes : 0, bytes});
  if (!lp::is_late) lp::perform({lp::current().open.back()});
}
inline void commit() {
  lp::Fiber& fiber = lp::current();
  fiber.groups.push_back(std::move(fiber.open));
  fiber.open.clear();
}
template <int pending>
void wait_copies() {
  lp::Fiber& fiber = lp::current();
  while (fiber.groups.size() > pending) {
    if (lp::is_late) lp::perform(fiber.groups.front());
    fiber.groups.erase(fiber.groups.begin());
  }
}
inline void wait_for_block() { lp::meet(lp::current().block->meeting); }
inline void wait_for_cluster() { lp::meet(lp::cluster->meeting); }
inline void wait_for_predecessor() {}
inline float4 load_from_cluster(u32 local, int part) {
  float4 value;
  std::memcpy(&value, lp::cluster->blocks[static_cast<std::size_t>(part)]->memory.data() + local, sizeof value);
  return value;
}

/// Word of matrix i of ldmatrix at (row, pair of columns): lane 8 i + row brought the row's address.
inline u32 lp_matrix_word(const lp::Warp& warp, int i, int row, int pair) {
  u32 word;
  std::memcpy(&word, lp_shared(warp.words[i * 8 + row][0], 16) + pair * 4, 4);
  return word;
}
inline void load_matrices(u32 (&r)[4], u32 from) {
  lp::Fiber& fiber = lp::current();
  fiber.warp->words[fiber.lane][0] = from;
  lp::meet(fiber.warp->meeting);
  for (int i = 0; i < 4; ++i) r[i] = lp_matrix_word(*fiber.warp, i, fiber.lane / 4, fiber.lane % 4);
  lp::meet(fiber.warp->meeting);
}
inline void load_matrices_transposed(u32 (&r)[4], u32 from) {
  lp::Fiber& fiber = lp::current();
  fiber.warp->words[fiber.lane][0] = from;
  lp::meet(fiber.warp->meeting);
  const int column = fiber.lane / 4, row = fiber.lane % 4 * 2;
  for (int i = 0; i < 4; ++i) {
    const u32 low = lp_matrix_word(*fiber.warp, i, row, column / 2) >> (column % 2 * 16) & 0xffff;
    const u32 high = lp_matrix_word(*fiber.warp, i, row + 1, column / 2) >> (column % 2 * 16) & 0xffff;
    r[i] = low | high << 16;
  }
  lp::meet(fiber.warp->meeting);
}
inline float widen(u16 bits) { return kIsBfloat ? lp::from_bfloat(bits) : lp::from_half(bits); }
inline float widen(float value) { return value; }
inline u32 narrow(float low, float high) {
  const u16 a = kIsBfloat ? lp::to_bfloat(low) : lp::to_half(low);
  const u16 b = kIsBfloat ? lp::to_bfloat(high) : lp::to_half(high);
  return a | static_cast<u32>(b) << 16;
}
inline void multiply(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  lp::Fiber& fiber = lp::current();
  auto& words = fiber.warp->words;
  for (int i = 0; i < 4; ++i) words[fiber.lane][i] = a[i];
  words[fiber.lane][4] = b0;
  words[fiber.lane][5] = b1;
  lp::meet(fiber.warp->meeting);
  const auto half = [](u32 word, int which) { return widen(static_cast<u16>(word >> (which * 16))); };
  for (int e = 0; e < 4; ++e) {
    const int row = fiber.lane / 4 + e / 2 * 8, column = fiber.lane % 4 * 2 + e % 2;
    for (int k = 0; k < 16; ++k) {
      const u32 left = words[row % 8 * 4 + k % 8 / 2][k / 8 * 2 + row / 8];
      const u32 right = words[column * 4 + k % 8 / 2][4 + k / 8];
      c[e] += half(left, k % 2) * half(right, k % 2);
    }
  }
  lp::meet(fiber.warp->meeting);
}
inline float exponential(float v) { return std::exp(v); }
inline float power_of_two(float v) { return std::exp2(v); }
inline float reciprocal(float v) { return 1.0F / v; }
using std::erf;
using std::exp;
using std::expm1;
using std::log1p;
using std::tanh;
inline float log1pf(float v) { return std::log1p(v); }
