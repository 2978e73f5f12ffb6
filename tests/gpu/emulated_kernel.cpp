// See emulated_kernel.h.
#include "gpu/emulated_kernel.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <random>

#include "gpu/step_reference.h"
#include "support/compiled_for_host.h"
#include "tensor/half.h"

namespace pajamas::test {
namespace {

cuda::ValueId output_of(const cuda::Program& program) {
  const cuda::StepWork& work = program.steps.front().work;
  if (const auto* conv = std::get_if<cuda::ConvStep>(&work)) return conv->y;
  if (const auto* attention = std::get_if<cuda::AttentionStep>(&work)) return attention->y;
  return std::get<cuda::MatMulStep>(work).y;
}

std::uint16_t bits_of_value(float value, DType dtype) {
  return dtype == DType::kBfloat16 ? bfloat16_from_float(value) : float16_from_float(value);
}
float value_of_bits(std::uint16_t bits, DType dtype) {
  return dtype == DType::kBfloat16 ? float_from_bfloat16(bits) : float_from_float16(bits);
}

}  // namespace

RunFunction compile_on_host(const std::string& text) {
  void* library = compiled_for_host(text);
  return library == nullptr ? nullptr : reinterpret_cast<RunFunction>(dlsym(library, "run"));
}

void expect_sums(const cuda::Program& program, const std::vector<cuda::ValueId>& arguments, RunFunction run) {
  const cuda::Value& y = program.value(output_of(program));
  std::mt19937 random(7);
  std::vector<std::vector<float>> values(program.buffers.size());
  std::vector<std::vector<std::uint16_t>> bits(program.buffers.size());
  for (std::size_t i = 0; i < program.buffers.size(); ++i) {
    const std::size_t count = program.buffers[i].size_bytes / 2;
    for (std::size_t k = 0; k < count; ++k) {
      bits[i].push_back(bits_of_value(std::uniform_real_distribution<float>(-1, 1)(random), y.desc.dtype));
      values[i].push_back(value_of_bits(bits[i].back(), y.desc.dtype));
    }
  }
  const auto expected = expected_elements(program, values, 1 << 20);
  const std::vector<std::uint16_t> poison(bits[static_cast<std::size_t>(y.buffer)].size(), 0xffff);
  for (const bool is_late : {false, true}) {
    std::vector<std::vector<std::uint16_t>> memory = bits;
    memory[static_cast<std::size_t>(y.buffer)] = poison;
    // Aligned as the device's allocations are.
    std::vector<std::unique_ptr<std::byte[]>> aligned;
    std::vector<std::uint16_t*> begins;
    for (const auto& buffer : memory) {
      aligned.push_back(std::make_unique<std::byte[]>(buffer.size() * 2 + 256));
      auto* begin = aligned.back().get();
      begin += (256 - reinterpret_cast<std::uintptr_t>(begin) % 256) % 256;
      std::memcpy(begin, buffer.data(), buffer.size() * 2);
      begins.push_back(reinterpret_cast<std::uint16_t*>(begin));
    }
    std::vector<void*> addresses;
    for (const cuda::ValueId id : arguments) {
      const cuda::Value& value = program.value(id);
      addresses.push_back(begins[static_cast<std::size_t>(value.buffer)] + value.offset_elements);
    }
    run(addresses.data(), is_late);
    const std::uint16_t* out = begins[static_cast<std::size_t>(y.buffer)];
    double difference = 0, norm = 0;
    for (const ExpectedElement& element : expected) {
      const auto actual = static_cast<double>(value_of_bits(out[element.offset], y.desc.dtype));
      difference += (actual - element.value) * (actual - element.value);
      norm += element.value * element.value;
    }
    EXPECT_LE(std::sqrt(difference / norm), y.desc.dtype == DType::kBfloat16 ? 4e-3 : 6e-4)
        << (is_late ? "copies as late as they may be" : "copies at once");
    std::vector<bool> is_written(poison.size(), false);
    for (const std::int64_t offset : offsets_of(y)) {
      is_written[static_cast<std::size_t>(offset)] = true;
      EXPECT_NE(out[offset], 0xffff) << "not written: " << offset;
    }
    for (std::size_t i = 0; i < poison.size(); ++i) {
      if (!is_written[i]) {
        ASSERT_EQ(out[i], 0xffff) << "written beside the slice: " << i;
      }
    }
  }
}

}  // namespace pajamas::test
