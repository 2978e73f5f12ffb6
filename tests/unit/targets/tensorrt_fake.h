// A TensorRT that is not there: objects with the binary layout of the real ones (docs/targets-tensorrt.md), and a
// driver that works in host memory. The engine doubles its float32 input "x" [batch, 4] into "y", and counts the
// positive values into the data-dependent output "n" when asked for. The positions below are written down a second time
// on purpose: a wrong number in abi.cpp then calls an entry that fails the test.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "pajamas/error.h"
#include "targets/tensorrt/abi.h"
#include "targets/tensorrt/cuda_driver.h"

namespace pajamas::tensorrt::testing {

class FakeDriver final : public CudaDriver {
 public:
  int version() const override { return 13000; }
  std::vector<GpuDevice> devices() const override { return {{0, "Fake RTX", 89, std::uint64_t{8} << 30}}; }
  void make_current(int) const override {}
  void* allocate_device(std::size_t num_bytes) const override {
    if (is_full) throw Error(ErrorKind::kUnsupported, "the NVIDIA driver could not allocate: out of memory");
    return take(num_bytes);
  }
  void free_device(void* memory) const noexcept override { give(memory); }
  void* allocate_pinned(std::size_t num_bytes) const override { return take(num_bytes); }
  void free_pinned(void* memory) const noexcept override { give(memory); }
  void* create_stream() const override { return take(1); }
  void destroy_stream(void* stream) const noexcept override { give(stream); }
  void* create_event() const override { return take(1); }
  void destroy_event(void* event) const noexcept override { give(event); }
  void copy_to_device(void* device, const void* host, std::size_t num_bytes, void*) const override {
    std::memcpy(device, host, num_bytes);
  }
  void copy_to_host(void* host, const void* device, std::size_t num_bytes, void*) const override {
    std::memcpy(host, device, num_bytes);
  }
  void record(void*, void*) const override {}
  void synchronize(void*) const override {}
  float elapsed_ms(void*, void*) const override { return 0.001F; }

  mutable std::set<void*> live;  ///< What was allocated and not yet freed.
  bool is_full = false;

 private:
  void* take(std::size_t num_bytes) const {
    void* memory = std::malloc(num_bytes);
    live.insert(memory);
    return memory;
  }
  void give(void* memory) const noexcept {
    EXPECT_EQ(live.erase(memory), 1U);
    std::free(memory);
  }
};

/// State shared by the fake objects; one test at a time.
struct FakeState {
  bool has_counter = false;  ///< The engine has the data-dependent output "n".
  bool fails_to_run = false;
  int num_runs = 0;
  int num_shape_changes = 0;
  int num_deleted = 0;
  int cuda_graph = -1;
  int dynamic_shapes = -1;
  std::string restored_cache;
  std::map<std::string, Dims> shapes;
  std::map<std::string, void*> addresses;
  std::map<std::string, OutputAllocator*> allocators;
};
inline FakeState& fake() {
  static FakeState state;
  return state;
}

inline void must_not_be_called() { ADD_FAILURE() << "a wrong entry of a TensorRT table was called"; }

/// A public object with its inner object and their tables.
struct FakeObject {
  std::array<void*, 2> outer_table{};
  std::array<void*, 64> inner_table{};
  struct Inner {
    void** table;
  } inner{inner_table.data()};
  struct Outer {
    void** table;
    Inner* inner;
  } outer{outer_table.data(), &inner};

  FakeObject() {
    inner_table.fill(reinterpret_cast<void*>(&must_not_be_called));
    outer_table[0] = reinterpret_cast<void*>(&must_not_be_called);
    outer_table[1] = reinterpret_cast<void*>(+[](void*) { ++fake().num_deleted; });
  }
  template <typename Function>
  FakeObject& set(std::size_t slot, Function function) {
    inner_table[slot] = reinterpret_cast<void*>(+function);
    return *this;
  }
};

inline Dims dims_of(std::initializer_list<std::int64_t> extents) { return Dims::of(Shape(extents)); }

inline FakeObject& fake_context() {
  static FakeObject object = [] {
    FakeObject made;
    made.set(20, [](void*, const char* name, const Dims* dims) {
      ++fake().num_shape_changes;
      fake().shapes[name] = *dims;
      return true;
    });
    made.set(21, [](void*, const char* name) {
      if (std::string(name) == "n") return dims_of({-1});
      return fake().shapes["x"];
    });
    made.set(23, [](void*, const char* name, void* memory) {
      fake().addresses[name] = memory;
      return true;
    });
    made.set(27, [](void*, std::int32_t, const char**) { return std::int32_t{0}; });
    made.set(31, [](void*, const char* name, OutputAllocator* allocator) {
      fake().allocators[name] = allocator;
      return true;
    });
    made.set(36, [](void*, void*) {
      FakeState& state = fake();
      ++state.num_runs;
      if (state.fails_to_run) return false;
      const auto* x = static_cast<const float*>(state.addresses.at("x"));
      auto* y = static_cast<float*>(state.addresses.at("y"));
      const std::int64_t count = state.shapes["x"].extents[0] * state.shapes["x"].extents[1];
      std::int64_t num_positive = 0;
      for (std::int64_t i = 0; i < count; ++i) {
        y[i] = 2 * x[i];
        num_positive += x[i] > 0 ? 1 : 0;
      }
      if (state.has_counter) {
        OutputAllocator* allocator = state.allocators.at("n");
        const auto size = static_cast<std::uint64_t>(num_positive) * 4;
        auto* n = static_cast<float*>(allocator->reallocate_output_async("n", nullptr, size, 256, nullptr));
        for (std::int64_t i = 0; i < num_positive; ++i) n[i] = 1;
        allocator->notify_shape("n", dims_of({num_positive}));
      }
      return true;
    });
    return made;
  }();
  object.inner.table = object.inner_table.data();
  object.outer = {object.outer_table.data(), &object.inner};
  return object;
}

inline FakeObject& fake_blob() {
  static FakeObject object = [] {
    FakeObject made;
    made.set(2, [](void*) -> const void* { return "kernels"; });
    made.set(3, [](void*) -> std::size_t { return 7; });
    return made;
  }();
  object.inner.table = object.inner_table.data();
  object.outer = {object.outer_table.data(), &object.inner};
  return object;
}

inline FakeObject& fake_cache() {
  static FakeObject object = [] {
    FakeObject made;
    made.set(2, [](void*) -> void* { return &fake_blob().outer; });
    made.set(3, [](void*, const void* data, std::size_t size) {
      fake().restored_cache.assign(static_cast<const char*>(data), size);
      return true;
    });
    return made;
  }();
  object.inner.table = object.inner_table.data();
  object.outer = {object.outer_table.data(), &object.inner};
  return object;
}

inline FakeObject& fake_config() {
  static FakeObject object = [] {
    FakeObject made;
    made.set(5, [](void*) -> void* { return &fake_cache().outer; });
    made.set(6, [](void*, void* cache) { return cache == &fake_cache().outer; });
    made.set(8, [](void*, std::int32_t strategy) { fake().dynamic_shapes = strategy; });
    made.set(10, [](void*, std::int32_t strategy) {
      fake().cuda_graph = strategy;
      return true;
    });
    return made;
  }();
  object.inner.table = object.inner_table.data();
  object.outer = {object.outer_table.data(), &object.inner};
  return object;
}

inline FakeObject& fake_engine() {
  static FakeObject object = [] {
    FakeObject made;
    made.set(8, [](void*) { return std::int32_t{1}; });
    made.set(15, [](void*, const char* name) { return std::string(name) == "n" ? dims_of({-1}) : dims_of({-1, 4}); });
    made.set(16, [](void*, const char*) { return std::int32_t{0}; });
    made.set(17, [](void*, const char*) { return std::int32_t{0}; });
    made.set(19, [](void*, const char* name) { return std::int32_t{std::string(name) == "x" ? 1 : 2}; });
    made.set(25, [](void*, const char*, std::int32_t, std::int32_t select) {
      return dims_of({select == 0 ? 1 : select == 1 ? 2 : 8, 4});
    });
    made.set(26, [](void*) { return std::int32_t{fake().has_counter ? 3 : 2}; });
    made.set(27, [](void*, std::int32_t index) -> const char* {
      constexpr std::array<const char*, 3> kNames{"x", "y", "n"};
      return kNames.at(static_cast<std::size_t>(index));
    });
    made.set(47, [](void*, void* config) -> void* {
      EXPECT_EQ(config, &fake_config().outer);
      return &fake_context().outer;
    });
    made.set(48, [](void*) -> void* { return &fake_config().outer; });
    return made;
  }();
  object.inner.table = object.inner_table.data();
  object.outer = {object.outer_table.data(), &object.inner};
  return object;
}

template <typename H>
Owned<H> own_fake(FakeObject& object, const Version& version = {1, 7, 1, 116}) {
  H handle;
  handle.object = &object.outer;
  handle.slots = find_slot_table(version);
  return Owned<H>(handle);
}

}  // namespace pajamas::tensorrt::testing
