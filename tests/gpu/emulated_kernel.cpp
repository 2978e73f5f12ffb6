// See emulated_kernel.h.
#include "gpu/emulated_kernel.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>

#include "gpu/step_reference.h"
#include "support/compiled_for_host.h"
#include "tensor/float8.h"
#include "tensor/half.h"

namespace pajamas::test {
namespace {

cuda::ValueId output_of(const cuda::Program& program) {
  const cuda::StepWork& work = program.steps.front().work;
  if (const auto* conv = std::get_if<cuda::ConvStep>(&work)) return conv->y;
  if (const auto* attention = std::get_if<cuda::AttentionStep>(&work)) return attention->y;
  return std::get<cuda::MatMulStep>(work).y;
}

std::uint32_t bits_of_value(float value, DType dtype) {
  if (dtype == DType::kFloat32) return std::bit_cast<std::uint32_t>(value);
  if (dtype == DType::kInt32) return std::bit_cast<std::uint32_t>(static_cast<std::int32_t>(value * 1000));
  if (dtype == DType::kInt8) return static_cast<std::uint8_t>(static_cast<std::int8_t>(value * 127));
  if (dtype == DType::kFloat8E4M3Fn) return float8_e4m3_from_float(value);
  return dtype == DType::kBfloat16 ? bfloat16_from_float(value) : float16_from_float(value);
}
float value_of_bits(std::uint32_t whole, DType dtype) {
  if (dtype == DType::kFloat32) return std::bit_cast<float>(whole);
  if (dtype == DType::kInt32) return static_cast<float>(std::bit_cast<std::int32_t>(whole));
  if (dtype == DType::kInt8) return static_cast<float>(static_cast<std::int8_t>(whole));
  const auto bits = static_cast<std::uint16_t>(whole);
  if (dtype == DType::kFloat8E4M3Fn) return float_from_float8_e4m3(static_cast<std::uint8_t>(bits));
  return dtype == DType::kBfloat16 ? float_from_bfloat16(bits) : float_from_float16(bits);
}

/// ‖out − ref‖ / ‖ref‖ after one rounding.
double tolerance_of(DType dtype) {
  if (dtype == DType::kFloat8E4M3Fn) return 3.2e-2;
  if (dtype == DType::kInt8) return 1e-2;  // A level is rounded the other way here and there.
  return dtype == DType::kBfloat16 ? 4e-3 : 6e-4;
}

}  // namespace

RunFunction compile_on_host(const std::string& text) {
  void* library = compiled_for_host(text);
  return library == nullptr ? nullptr : reinterpret_cast<RunFunction>(dlsym(library, "run"));
}

void expect_sums(const cuda::Program& program, const std::vector<cuda::ValueId>& arguments, RunFunction run) {
  const cuda::Value& y = program.value(output_of(program));
  std::vector<DType> types(program.buffers.size(), y.desc.dtype);
  for (const cuda::Value& value : program.values) types[static_cast<std::size_t>(value.buffer)] = value.desc.dtype;
  const auto bytes_of = [&](std::size_t buffer) { return static_cast<std::size_t>(bits_of(types[buffer])) / 8; };
  std::mt19937 random(7);
  std::vector<std::vector<float>> values(program.buffers.size());
  std::vector<std::vector<std::byte>> bits(program.buffers.size());
  for (std::size_t i = 0; i < program.buffers.size(); ++i) {
    const std::size_t size = bytes_of(i);
    bits[i].resize(program.buffers[i].size_bytes);
    for (std::size_t k = 0; k < bits[i].size() / size; ++k) {
      const std::uint32_t element = bits_of_value(std::uniform_real_distribution<float>(-1, 1)(random), types[i]);
      std::memcpy(bits[i].data() + k * size, &element, size);
      values[i].push_back(value_of_bits(element, types[i]));
    }
  }
  const auto expected = expected_elements(program, values, 1 << 20);
  const std::size_t y_buffer = static_cast<std::size_t>(y.buffer);
  const std::uint32_t poison = bytes_of(y_buffer) == 1 ? 0xff : 0xffff;
  const std::size_t num_elements = bits[y_buffer].size() / bytes_of(y_buffer);
  for (const bool is_late : {false, true}) {
    std::vector<std::vector<std::byte>> memory = bits;
    std::fill(memory[y_buffer].begin(), memory[y_buffer].end(), std::byte{0xff});
    // Aligned as the device's allocations are.
    std::vector<std::unique_ptr<std::byte[]>> aligned;
    std::vector<std::byte*> begins;
    for (const auto& buffer : memory) {
      aligned.push_back(std::make_unique<std::byte[]>(buffer.size() + 256));
      auto* begin = aligned.back().get();
      begin += (256 - reinterpret_cast<std::uintptr_t>(begin) % 256) % 256;
      std::memcpy(begin, buffer.data(), buffer.size());
      begins.push_back(begin);
    }
    std::vector<void*> addresses;
    for (const cuda::ValueId id : arguments) {
      const cuda::Value& value = program.value(id);
      const auto buffer = static_cast<std::size_t>(value.buffer);
      addresses.push_back(begins[buffer] + static_cast<std::size_t>(value.offset_elements) * bytes_of(buffer));
    }
    run(addresses.data(), is_late);
    const auto out = [&](std::int64_t offset) {
      std::uint32_t element = 0;
      const std::size_t size = bytes_of(y_buffer);
      std::memcpy(&element, begins[y_buffer] + static_cast<std::size_t>(offset) * size, size);
      return element;
    };
    double difference = 0, norm = 0;
    for (const ExpectedElement& element : expected) {
      const auto actual = static_cast<double>(value_of_bits(out(element.offset), y.desc.dtype));
      difference += (actual - element.value) * (actual - element.value);
      norm += element.value * element.value;
    }
    EXPECT_LE(std::sqrt(difference / norm), tolerance_of(y.desc.dtype))
        << (is_late ? "copies as late as they may be" : "copies at once");
    std::vector<bool> is_written(num_elements, false);
    for (const std::int64_t offset : offsets_of(y)) {
      is_written[static_cast<std::size_t>(offset)] = true;
      // Of integers it is a number like others.
      if (y.desc.dtype != DType::kInt8) {
        EXPECT_NE(out(offset), poison) << "not written: " << offset;
      }
    }
    for (std::size_t i = 0; i < num_elements; ++i) {
      if (!is_written[i]) {
        ASSERT_EQ(out(static_cast<std::int64_t>(i)), poison) << "written beside the slice: " << i;
      }
    }
  }
}

}  // namespace pajamas::test
