// Tests of tensor/ggml_blocks.h and tensor/block_weight.h against what ggml's own Python package computes. They stand
// with io's tests because their goldens are a safetensors file (tools/goldens/make_ggml_goldens.py).
#include "tensor/ggml_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>

#include "io/safetensors.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

using testing::HasSubstr;

constexpr GgmlType kBlockTypes[] = {GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ5_0, GgmlType::kQ5_1,
                                    GgmlType::kQ8_0, GgmlType::kQ4_K, GgmlType::kQ5_K, GgmlType::kQ6_K};

class GgmlBlocks : public testing::Test {
 protected:
  static const Safetensors& goldens() {
    static const Safetensors file = Safetensors::read(std::string(PAJAMAS_TEST_DATA) + "/ggml/blocks.safetensors");
    return file;
  }
  static Tensor blocks_of(GgmlType type) { return goldens().tensor(std::string(to_string(type)) + ".blocks"); }
  static Tensor values_of(GgmlType type) { return goldens().tensor(std::string(to_string(type)) + ".values"); }
};

void expect_same_bits(std::span<const float> actual, std::span<const float> expected, const char* what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(actual[i]), std::bit_cast<std::uint32_t>(expected[i]))
        << what << " element " << i << ": " << actual[i] << " instead of " << expected[i];
  }
}

TEST_F(GgmlBlocks, DequantizeBitForBitAsGgmlDoes) {
  for (const GgmlType type : {GgmlType::kF16, GgmlType::kBF16, GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ5_0,
                              GgmlType::kQ5_1, GgmlType::kQ8_0, GgmlType::kQ4_K, GgmlType::kQ5_K, GgmlType::kQ6_K}) {
    const Tensor blocks = blocks_of(type), expected = values_of(type);
    std::vector<float> actual(expected.as<float>().size());
    dequantize_blocks(type, blocks.bytes(), actual);
    expect_same_bits(actual, expected.as<float>(), to_string(type));
    // At an odd address, as blocks of 18 or 34 bytes lie.
    std::vector<std::byte> shifted(blocks.size_bytes() + 1);
    std::memcpy(shifted.data() + 1, blocks.bytes().data(), blocks.size_bytes());
    dequantize_blocks(type, std::span(shifted).subspan(1), actual);
    expect_same_bits(actual, expected.as<float>(), to_string(type));
  }
}

TEST_F(GgmlBlocks, RepackWithoutLoss) {
  for (const GgmlType type : kBlockTypes) {
    const Tensor blocks = blocks_of(type), expected = values_of(type);
    const auto elements = traits_of(type).block_elements;
    // Seven blocks: seven rows of one block, and one row of seven.
    for (const std::int64_t num_rows : {std::int64_t{7}, std::int64_t{1}}) {
      const std::int64_t in_dim = 7 / num_rows * elements;
      BlockWeight weight = allocate_block_weight(type, num_rows, in_dim);
      check_block_weight(weight);
      const std::size_t row_bytes = row_bytes_of(type, in_dim);
      for (std::int64_t r = num_rows; r-- > 0;) {
        repack_rows(type, blocks.bytes().subspan(static_cast<std::size_t>(r) * row_bytes, row_bytes), r, weight);
      }
      std::vector<float> actual(expected.as<float>().size());
      dequantize_rows(weight, 0, num_rows, actual);
      // q * d + m once more in the same order, so the same bits; but Q6_K's and Q4_K's minus zeros may differ.
      for (std::size_t i = 0; i < actual.size(); ++i) {
        ASSERT_EQ(actual[i], expected.as<float>()[i]) << to_string(type) << " element " << i;
      }
    }
  }
}

TEST_F(GgmlBlocks, PackFourBitsAsOnnxDoes) {
  // A Q4_0 block with scale 1 whose element i has the integer i - 8 in its first half and 7 - i in its second.
  std::string block("\x00\x3C", 2);
  for (int i = 0; i < 16; ++i) block += static_cast<char>(i | (15 - i) << 4);
  BlockWeight weight = allocate_block_weight(GgmlType::kQ4_0, 1, 32);
  repack_rows(GgmlType::kQ4_0, std::as_bytes(std::span(block)), 0, weight);
  EXPECT_EQ(weight.values.dtype(), DType::kInt4);
  EXPECT_EQ(std::to_integer<int>(weight.values.bytes()[0]), 0x98);  // -8 low, -7 high
  EXPECT_EQ(std::to_integer<int>(weight.values.bytes()[8]), 0x67);  // 7 low, 6 high
  std::vector<float> row(32);
  dequantize_rows(weight, 0, 1, row);
  for (std::size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(row[i], static_cast<float>(i) - 8);
    EXPECT_EQ(row[16 + i], 7 - static_cast<float>(i));
  }
}

TEST_F(GgmlBlocks, SizesAndFaults) {
  EXPECT_EQ(row_bytes_of(GgmlType::kQ4_K, 512), 288u);
  EXPECT_EQ(row_bytes_of(GgmlType::kF32, 0), 0u);
  EXPECT_THROW(row_bytes_of(GgmlType::kQ4_K, 32), Error);
  EXPECT_THROW(row_bytes_of(GgmlType::kF32, -1), Error);
  EXPECT_EQ(find_ggml_type(5), nullptr);
  EXPECT_EQ(find_ggml_type(30)->type, GgmlType::kBF16);
  EXPECT_STREQ(to_string(GgmlType::kIQ2_XXS), "IQ2_XXS");
  std::vector<float> out(32);
  std::vector<std::byte> blocks(33);
  EXPECT_THROW(dequantize_blocks(GgmlType::kQ8_0, blocks, out), Error);
  EXPECT_THROW(dequantize_blocks(GgmlType::kQ2_K, {}, {}), Error);
  dequantize_blocks(GgmlType::kQ8_0, {}, {});
  EXPECT_THROW(allocate_block_weight(GgmlType::kF16, 1, 32), Error);
  EXPECT_THROW(allocate_block_weight(GgmlType::kQ4_0, 1, 33), Error);
  BlockWeight weight = allocate_block_weight(GgmlType::kQ8_0, 2, 32);
  blocks.resize(34);
  EXPECT_THROW(repack_rows(GgmlType::kQ8_0, blocks, 2, weight), Error);
  EXPECT_THROW(repack_rows(GgmlType::kQ8_0, blocks, -1, weight), Error);
  out.resize(64);
  EXPECT_THROW(dequantize_rows(weight, 1, 2, out), Error);
  out.resize(31);
  EXPECT_THROW(dequantize_rows(weight, 0, 1, out), Error);
}

TEST_F(GgmlBlocks, BlockWeightsDequantizeAsTheFormulaSays) {
  // Rows of odd length, in which 4-bit values begin within a byte; zero points; 8-bit floats.
  BlockWeight weight;
  weight.values = Tensor(DType::kInt4, {3, 3});
  const std::uint8_t packed[] = {0x21, 0x83, 0xF7, 0x10, 0x0E};  // 1 2 3 | -8 7 -1 | 0 1 -2
  std::memcpy(weight.values.mutable_bytes().data(), packed, sizeof(packed));
  weight.scales = Tensor::of<float>({3}, {1, 0.5F, 2});
  std::vector<float> out(9);
  dequantize_rows(weight, 0, 3, out);
  EXPECT_THAT(out, testing::ElementsAre(1, 2, 3, -4, 3.5F, -0.5F, 0, 2, -4));
  weight.zero_points = Tensor(DType::kInt4, {3});
  weight.zero_points.mutable_bytes()[0] = std::byte{0xF1};  // 1, -1
  weight.zero_points.mutable_bytes()[1] = std::byte{0x08};  // -8
  dequantize_rows(weight, 0, 3, out);
  EXPECT_THAT(out, testing::ElementsAre(0, 1, 2, -3.5F, 4, 0, 16, 18, 12));

  BlockWeight eight;
  eight.values = Tensor(DType::kFloat8E4M3Fn, {1, 6});
  const std::uint8_t codes[] = {0x38, 0xB8, 0x7E, 0x01, 0x08, 0x00};
  std::memcpy(eight.values.mutable_bytes().data(), codes, sizeof(codes));
  eight.scales = Tensor::of<float>({1}, {2});
  std::vector<float> row(6);
  dequantize_rows(eight, 0, 1, row);
  EXPECT_THAT(row, testing::ElementsAre(2, -2, 896, 0x1p-8F, 0x1p-5F, 0));

  eight.group_size = 4;
  EXPECT_THROW(check_block_weight(eight), Error);
}

}  // namespace
}  // namespace pajamas
