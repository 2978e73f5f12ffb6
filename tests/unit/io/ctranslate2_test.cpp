// Tests of io/ctranslate2.h: files written by hand, files of CTranslate2's own converter
// (tools/goldens/make_checkpoint_containers.py), and every way a file can lie.
#include "io/ctranslate2.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/files.h"
#include "io/safetensors.h"
#include "support/hostile_bytes.h"
#include "support/temporary_folder.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::packed;
using testing::HasSubstr;

std::string text(const std::string& value) {
  return packed<std::uint16_t>(static_cast<std::uint16_t>(value.size() + 1)) + value + '\0';
}

std::string variable(const std::string& name, const std::vector<std::uint32_t>& shape, std::uint8_t type,
                     const std::string& data) {
  std::string bytes = text(name) + packed(static_cast<std::uint8_t>(shape.size()));
  for (const std::uint32_t extent : shape) bytes += packed(extent);
  return bytes + packed(type) + packed(static_cast<std::uint32_t>(data.size())) + data;
}

std::string file_of(const std::vector<std::string>& variables, const std::string& aliases = packed<std::uint32_t>(0),
                    std::uint32_t version = 6) {
  std::string bytes = packed(version) + text("WhisperSpec") + packed<std::uint32_t>(3) +
                      packed(static_cast<std::uint32_t>(variables.size()));
  for (const std::string& one : variables) bytes += one;
  return bytes + aliases;
}

Ctranslate2Model parse(const std::string& bytes) {
  auto owner = std::make_shared<const std::string>(bytes);
  return Ctranslate2Model::parse(std::as_bytes(std::span(*owner)), owner, "model.bin");
}

TEST(Ctranslate2, ReadsVariablesAliasesAndScalars) {
  const std::string aliases = packed<std::uint32_t>(1) + text("projection") + text("table");
  for (const std::uint32_t version : {4U, 5U, 6U}) {
    const Ctranslate2Model model =
        parse(file_of({variable("table", {2, 3}, 0, std::string(24, '\1')),
                       variable("heads", {}, 2, packed<std::int16_t>(-8)), variable("none", {0, 5}, 4, "")},
                      aliases, version));
    EXPECT_EQ(model.spec_name(), "WhisperSpec");
    EXPECT_EQ(model.spec_revision(), 3U);
    EXPECT_EQ(model.tensor("projection").shape, Shape({2, 3}));
    EXPECT_EQ(model.tensor("table").dtype, DType::kFloat32);
    EXPECT_EQ(model.tensor("none").bytes.size(), 0U);
    EXPECT_EQ(model.integer("heads"), -8);
    EXPECT_THAT(model.names(), testing::ElementsAre("heads", "none", "projection", "table"));
    EXPECT_THAT(error_of([&] { (void)model.integer("table"); }), HasSubstr("not one integer"));
    EXPECT_THAT(error_of([&] { (void)model.tensor("other"); }), HasSubstr("no variable 'other'"));
  }
}

TEST(Ctranslate2, RefusesWhatContradictsItself) {
  const std::string good = variable("a", {2}, 0, std::string(8, '\0'));
  EXPECT_THAT(error_of([&] { parse(file_of({good}, packed<std::uint32_t>(0), 3)); }), HasSubstr("binary version 3"));
  EXPECT_THAT(error_of([&] { parse(file_of({good}, packed<std::uint32_t>(0), 7)); }), HasSubstr("binary version 7"));
  EXPECT_THAT(error_of([&] { parse(file_of({good, good})); }), HasSubstr("'a' is there twice"));
  EXPECT_THAT(error_of([&] { parse(file_of({variable("a", {3}, 0, std::string(8, '\0'))})); }),
              HasSubstr("8 bytes, not 12"));
  EXPECT_THAT(error_of([&] { parse(file_of({variable("a", {2}, 6, std::string(8, '\0'))})); }), HasSubstr("of type 6"));
  EXPECT_THAT(error_of([&] { parse(file_of({variable("a", std::vector<std::uint32_t>(9, 1), 0, "1234")})); }),
              HasSubstr("9 dimensions"));
  const std::vector<std::uint32_t> huge{0xffffffff, 0xffffffff, 0xffffffff};
  EXPECT_THAT(error_of([&] { parse(file_of({variable("a", huge, 0, "1234")})); }), HasSubstr("past counting"));
  EXPECT_THAT(error_of([&] { parse(file_of({good}, packed<std::uint32_t>(1) + text("b") + text("c"))); }),
              HasSubstr("'c', which is not there"));
  EXPECT_THAT(error_of([&] { parse(file_of({good}, packed<std::uint32_t>(1) + text("a") + text("a"))); }),
              HasSubstr("a variable already"));
  EXPECT_THAT(error_of([&] { parse(file_of({good}) + "x"); }), HasSubstr("behind its end"));
  // Counts that nothing backs cost neither memory nor time.
  const std::string head = packed<std::uint32_t>(6) + text("WhisperSpec") + packed<std::uint32_t>(3);
  EXPECT_THAT(error_of([&] { parse(head + packed<std::uint32_t>(0xffffffff)); }), HasSubstr("more than it can hold"));
  EXPECT_THAT(error_of([&] { parse(head + packed<std::uint32_t>(0) + packed<std::uint32_t>(0x10000000)); }),
              HasSubstr("more than it can hold"));
}

TEST(Ctranslate2, KnowsItsFiles) {
  const test::TemporaryFolder folder;
  const auto is_known = [&](const std::string& bytes) {
    write_file(folder.path() / "model.bin", bytes);
    return Ctranslate2Model::is_ctranslate2(folder.path() / "model.bin");
  };
  EXPECT_TRUE(is_known(file_of({})));
  EXPECT_FALSE(is_known("lmgg" + std::string(60, '\0')));
  EXPECT_FALSE(is_known(""));
  EXPECT_FALSE(is_known(packed<std::uint32_t>(6) + packed<std::uint16_t>(0xffff)));
}

TEST(Ctranslate2, ReadsFilesOfTheConverterAndSurvivesDamage) {
  const fs::path root = fs::path(PAJAMAS_TEST_DATA) / "whisper";
  const Ctranslate2Model model = Ctranslate2Model::read(root / "containers/ct2_float16/model.bin");
  const Safetensors source = Safetensors::read(root / "tiny_half/model.safetensors");
  const CheckpointTensor& fused = model.tensor("encoder/layer_0/self_attention/linear_0/weight");
  const auto query = source.bytes("model.encoder.layers.0.self_attn.q_proj.weight");
  ASSERT_EQ(fused.bytes.size(), 3 * query.size());
  EXPECT_TRUE(std::equal(query.begin(), query.end(), fused.bytes.begin()));
  EXPECT_EQ(model.integer("encoder/num_heads"), 4);
  EXPECT_EQ(to_tensor(fused).shape(), Shape({96, 32}));

  const std::string bytes = read_file(root / "containers/ct2_int8/model.bin");
  const test::ParseBytes parse_all = [](std::span<const std::byte> part, std::shared_ptr<const void> owner) {
    const auto parsed = Ctranslate2Model::parse(part, std::move(owner), "damaged");
    for (const std::string& name : parsed.names()) {
      const CheckpointTensor& tensor = parsed.tensor(name);
      EXPECT_EQ(tensor.bytes.size(), bytes_of(tensor.dtype, tensor.shape));
    }
  };
  EXPECT_TRUE(test::is_accepted(bytes, parse_all));
  EXPECT_GT(test::survive_damage(bytes, parse_all, 97, 300), 600);
}

}  // namespace
}  // namespace pajamas
