// Generated loops that write float8e4m3fn, as host C++: every float16 against the interpreter's rounding, which finds
// the nearest code by search; two elements at a time and one by one, and inside a loop that goes on with the rounded
// number.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "graph/interpreter/small_types.h"
#include "support/compiled_for_host.h"
#include "targets/cuda/loops/loops.h"
#include "tensor/half.h"

namespace pajamas::cuda {
namespace {

/// x of float32 → QuantizeLinear by 1 and, where `is_pair`, DequantizeLinear by 1 behind it.
Program program_of(std::int64_t count, bool is_pair) {
  Program program;
  program.opset = 19;
  Initializer scale{"scale", Tensor::scalar(1.0F), {}, {}};
  Initializer zero{"zero", Tensor(DType::kFloat8E4M3Fn, Shape{}), {}, {}};
  zero.tensor.mutable_bytes()[0] = std::byte{0};
  program.small_constants = {scale, zero};
  const auto add = [&](const char* name, DType dtype) {
    program.values.push_back({name, TensorDesc::contiguous(dtype, Shape{count}), 0, 0});
  };
  add("x", DType::kFloat32);
  add(is_pair ? "y" : "codes", is_pair ? DType::kFloat32 : DType::kFloat8E4M3Fn);
  const auto node = [&](const char* type, const char* from, const char* to) {
    Node made;
    made.op_type = type;
    made.inputs = {from, "scale", "zero"};
    made.outputs = {to};
    program.nodes.push_back(made);
  };
  node("QuantizeLinear", "x", "codes");
  if (is_pair) node("DequantizeLinear", "codes", "y");
  return program;
}

/// What the kernel writes for these numbers.
std::vector<std::byte> run(const Program& program, const std::vector<float>& x, std::size_t element_bytes) {
  LoopStep step;
  for (std::size_t i = 0; i < program.nodes.size(); ++i) step.nodes.push_back(static_cast<std::int32_t>(i));
  step.inputs = {0};
  step.outputs = {1};
  const LoopKernel kernel = make_loop_kernel(program, step);
  std::string source = kernel.source;
  const std::string from = "extern \"C\" __global__";
  source.replace(source.find(from), from.size(), "__global__");
  const auto triple = [](const std::uint32_t* extents) {
    return std::to_string(extents[0]) + ", " + std::to_string(extents[1]) + ", " + std::to_string(extents[2]);
  };
  const std::string text =
      "#include \"targets/cuda/loops/host_shim.h\"\n"
      "struct lp_any { void* p; template <typename T> operator T*() const { return static_cast<T*>(p); } };\n" +
      source + "static void enter(void* const* a) { " + kernel.entry + "(lp_any{a[0]}, lp_any{a[1]}); }\n" +
      "extern \"C\" void run(void* const* a) {\n  const unsigned grid[] = {" + triple(kernel.grid) + "}, block[] = {" +
      triple(kernel.block) + "};\n  lp_host_launch(enter, a, grid, block, 0);\n}\n";
  void* library = test::compiled_for_host(text);
  if (library == nullptr) return {};
  // As aligned as the device's allocations are.
  std::vector<float> in(x.size() + 64);
  std::vector<std::byte> out(x.size() * element_bytes + 256, std::byte{0x55});
  const auto aligned = [](auto* start) {
    auto address = reinterpret_cast<std::uintptr_t>(start);
    return reinterpret_cast<std::byte*>((address + 63) / 64 * 64);
  };
  std::byte* const from_x = aligned(in.data());
  std::byte* const to_y = aligned(out.data());
  std::memcpy(from_x, x.data(), x.size() * sizeof(float));
  void* arguments[] = {from_x, to_y};
  reinterpret_cast<void (*)(void* const*)>(dlsym(library, "run"))(arguments);
  return {to_y, to_y + x.size() * element_bytes};
}

std::vector<float> halves(std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = float_from_float16(static_cast<std::uint16_t>(i));
  return values;
}

TEST(CudaLoopsFloat8, every_half_is_rounded_as_the_interpreter_rounds) {
  for (const std::size_t count : {65536, 65535}) {
    const std::vector<float> x = halves(count);
    const std::vector<std::byte> found = run(program_of(static_cast<std::int64_t>(count), false), x, 1);
    ASSERT_EQ(found.size(), count);
    for (std::size_t i = 0; i < count; ++i) {
      std::byte expected{0};
      interpreter::write_small(DType::kFloat8E4M3Fn, {&expected, 1}, 0, static_cast<double>(x[i]), true);
      ASSERT_EQ(found[i], expected) << x[i];
    }
  }
}

TEST(CudaLoopsFloat8, a_loop_goes_on_with_the_rounded_number) {
  const std::vector<float> x = halves(0x7c01);  // Up to infinity.
  const std::vector<std::byte> found = run(program_of(0x7c01, true), x, sizeof(float));
  ASSERT_EQ(found.size(), x.size() * sizeof(float));
  for (std::size_t i = 0; i < x.size(); ++i) {
    std::byte code{0};
    interpreter::write_small(DType::kFloat8E4M3Fn, {&code, 1}, 0, static_cast<double>(x[i]), true);
    float actual = 0;
    std::memcpy(&actual, found.data() + i * sizeof(float), sizeof actual);
    ASSERT_EQ(static_cast<double>(actual), interpreter::read_small(DType::kFloat8E4M3Fn, {&code, 1}, 0)) << x[i];
  }
}

}  // namespace
}  // namespace pajamas::cuda
