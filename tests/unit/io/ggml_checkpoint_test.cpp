// Tests of io/ggml_checkpoint.h on files written after whisper.cpp's layout, and every way a file can lie.
#include "io/ggml_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/files.h"
#include "io/safetensors.h"
#include "support/hostile_bytes.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::packed;
using testing::HasSubstr;

std::string head(std::int32_t vocab_size = 5, std::int32_t num_tokens = 1) {
  std::string bytes = "lmgg" + packed(vocab_size);
  for (int i = 0; i < 9; ++i) bytes += packed<std::int32_t>(2 + i);
  bytes += packed<std::int32_t>(1);
  bytes += packed<std::int32_t>(1) + packed<std::int32_t>(2) + std::string(8, '\0');
  return bytes + packed(num_tokens) + packed<std::uint32_t>(2) + "ab";
}

std::string tensor(const std::string& name, const std::vector<std::int32_t>& extents, std::int32_t type,
                   const std::string& data) {
  std::string bytes =
      packed(static_cast<std::int32_t>(extents.size())) + packed(static_cast<std::int32_t>(name.size())) + packed(type);
  for (const std::int32_t extent : extents) bytes += packed(extent);
  return bytes + name + data;
}

GgmlCheckpoint parse(const std::string& bytes) {
  auto owner = std::make_shared<const std::string>(bytes);
  return GgmlCheckpoint::parse(std::as_bytes(std::span(*owner)), owner, "ggml.bin");
}

TEST(GgmlCheckpoint, ReadsSizesVocabularyAndTensors) {
  // Extents stand innermost first: 3 numbers a row, 2 rows.
  const GgmlCheckpoint file =
      parse(head() + tensor("w", {3, 2}, 1, std::string(12, 'x')) + tensor("q", {32}, 8, std::string(34, 'y')));
  EXPECT_EQ(file.sizes().vocab_size, 5);
  EXPECT_EQ(file.sizes().num_positions, 2);
  EXPECT_EQ(file.sizes().num_mels, 10);
  EXPECT_EQ(file.sizes().file_type, 1);
  EXPECT_THAT(file.vocabulary(), testing::ElementsAre("ab"));
  EXPECT_EQ(file.tensor("w").shape, Shape({2, 3}));
  EXPECT_EQ(file.tensor("w").dtype, DType::kFloat16);
  EXPECT_EQ(file.tensor("q").block_type, GgmlType::kQ8_0);
  EXPECT_THAT(error_of([&] { (void)file.tensor("z"); }), HasSubstr("no tensor 'z'"));
}

TEST(GgmlCheckpoint, RefusesWhatContradictsItself) {
  EXPECT_THAT(error_of([] { parse("GGUF"); }), HasSubstr("magic number"));
  EXPECT_THAT(error_of([] { parse(head(0)); }), HasSubstr("vocabulary size"));
  EXPECT_THAT(error_of([] { parse(head(-3)); }), HasSubstr("vocabulary size"));
  EXPECT_THAT(error_of([] { parse(head(5, 1 << 30)); }), HasSubstr("more than it can hold"));
  EXPECT_THAT(error_of([] { parse(head(5, -1)); }), HasSubstr("more than it can hold"));
  const auto with = [](const std::string& one) { return error_of([&] { parse(head() + one); }); };
  EXPECT_THAT(with(tensor("w", {2}, 0, "1234")), HasSubstr("ends within tensor 'w'"));
  EXPECT_THAT(with(tensor("w", {1, 1, 1, 1, 1}, 0, "1234")), HasSubstr("5 dimensions"));
  EXPECT_THAT(with(tensor("w", {0}, 0, "")), HasSubstr("an extent of 0"));
  EXPECT_THAT(with(tensor("w", {1, 1 << 24, 1 << 24, 1 << 24}, 0, "")), HasSubstr("more rows than the file"));
  EXPECT_THAT(with(tensor("w", {33}, 8, std::string(35, 'y'))), HasSubstr("no whole number of blocks"));
  EXPECT_THAT(with(tensor("w", {1}, 99, "1")), HasSubstr("of type 99"));
  EXPECT_THAT(with(tensor("w", {1}, 26, "1234")), HasSubstr("of type I32"));
  EXPECT_THAT(with(tensor("", {1}, 0, "1234")), HasSubstr("a name of 0 bytes"));
  EXPECT_THAT(with(tensor("w", {1}, 0, "1234") + tensor("w", {1}, 0, "1234")), HasSubstr("is there twice"));
}

TEST(GgmlCheckpoint, ReadsWholeModelsAndSurvivesDamage) {
  const fs::path root = fs::path(PAJAMAS_TEST_DATA) / "whisper";
  const GgmlCheckpoint file = GgmlCheckpoint::read(root / "containers/ggml-float16.bin");
  const Safetensors source = Safetensors::read(root / "tiny_half/model.safetensors");
  EXPECT_EQ(file.vocabulary().size(), 256U);
  const auto expected = source.bytes("model.encoder.conv2.weight");
  const CheckpointTensor& tensor = file.tensor("encoder.conv2.weight");
  EXPECT_EQ(tensor.shape, Shape({32, 32, 3}));
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), tensor.bytes.begin(), tensor.bytes.end()));
  EXPECT_TRUE(GgmlCheckpoint::is_ggml(root / "containers/ggml-q8_0.bin"));
  EXPECT_FALSE(GgmlCheckpoint::is_ggml(root / "tiny_half/model.safetensors"));

  const std::string bytes = read_file(root / "containers/ggml-q8_0.bin");
  const test::ParseBytes parse_all = [](std::span<const std::byte> part, std::shared_ptr<const void> owner) {
    const auto parsed = GgmlCheckpoint::parse(part, std::move(owner), "damaged");
    for (const std::string& name : parsed.names()) EXPECT_FALSE(parsed.tensor(name).bytes.empty());
  };
  EXPECT_TRUE(test::is_accepted(bytes, parse_all));
  // A file may end behind any of its tensors.
  EXPECT_GT(test::survive_damage(bytes, parse_all, 101, 300), 650);
}

}  // namespace
}  // namespace pajamas
