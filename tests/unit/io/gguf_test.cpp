// Tests of io/gguf.h: metadata, tensors and splits of files written by hand (support/gguf_writer.h), every way a file
// can lie, and a published model where the dependencies are installed.
#include "io/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <random>

#include "pajamas/error.h"
#include "support/gguf_writer.h"
#include "support/hostile_bytes.h"
#include "support/temporary_folder.h"

namespace pajamas {
namespace {

using test::error_of;
using test::GgufWriter;
using testing::ElementsAre;
using testing::HasSubstr;

Gguf parse_bytes(const std::string& bytes) {
  auto owner = std::make_shared<const std::string>(bytes);
  return Gguf::parse(std::as_bytes(std::span(*owner)), owner, "test.gguf");
}

TEST(Gguf, ReadsEveryMetadataType) {
  GgufWriter writer;
  writer.text("general.architecture", "llama").uint32("u32", 7).uint16("u16", 65535).int32("i32", -5);
  writer.uint64("u64", std::uint64_t{1} << 40).float32("f32", 1.5F).float64("f64", 1e-300).boolean("yes", true);
  writer.entry("u8", 0, "\xFF").entry("i8", 1, "\xFF").entry("i16", 3, GgufWriter::packed<std::int16_t>(-300));
  writer.entry("i64", 11, GgufWriter::packed<std::int64_t>(INT64_MIN));
  writer.texts("texts", {"a", "", std::string("b\0c", 3)}).int32s("ints", {1, -2}).float32s("floats", {0.5F, -1});
  writer.array("flags", 7, 2, std::string("\1\0", 2)).array("none", 8, 0, "");
  writer.array("doubles", 12, 1, GgufWriter::packed(0.25)).text("empty", "");
  const Gguf file = parse_bytes(writer.bytes());
  EXPECT_EQ(file.architecture(), "llama");
  EXPECT_EQ(file.find_int("u32"), 7);
  EXPECT_EQ(file.find_int("u16"), 65535);
  EXPECT_EQ(file.find_int("i32"), -5);
  EXPECT_EQ(file.find_int("u64"), std::int64_t{1} << 40);
  EXPECT_EQ(file.find_int("u8"), 255);
  EXPECT_EQ(file.find_int("i8"), -1);
  EXPECT_EQ(file.find_int("i16"), -300);
  EXPECT_EQ(file.find_int("i64"), INT64_MIN);
  EXPECT_EQ(file.find_float("f32"), 1.5);
  EXPECT_EQ(file.find_float("f64"), 1e-300);
  EXPECT_EQ(file.find_float("u32"), 7.0);
  EXPECT_EQ(file.find_bool("yes"), true);
  EXPECT_EQ(file.find_string("empty"), "");
  EXPECT_THAT(*file.find_strings("texts"), ElementsAre("a", "", std::string_view("b\0c", 3)));
  EXPECT_THAT(*file.find_ints("ints"), ElementsAre(1, -2));
  EXPECT_THAT(*file.find_ints("flags"), ElementsAre(1, 0));
  EXPECT_THAT(*file.find_floats("floats"), ElementsAre(0.5F, -1.0F));
  EXPECT_THAT(*file.find_floats("doubles"), ElementsAre(0.25F));
  EXPECT_TRUE(file.find_strings("none")->empty());
  EXPECT_TRUE(file.is_array("none"));
  EXPECT_FALSE(file.is_array("u32"));
  EXPECT_EQ(file.keys().size(), 19u);
  EXPECT_EQ(file.find_int("absent"), std::nullopt);
  EXPECT_EQ(file.find_strings("absent"), std::nullopt);
}

TEST(Gguf, NamesKeyAndTypesOfAWrongRequest) {
  GgufWriter writer;
  writer.text("name", "x").uint64("huge", UINT64_MAX).texts("texts", {"a"}).float32("f", 1);
  writer.array("hugest", 10, 1, GgufWriter::packed(UINT64_MAX));
  const Gguf file = parse_bytes(writer.bytes());
  EXPECT_THAT(error_of([&] { file.find_int("name"); }), HasSubstr("key 'name' is of type string, must be an integer"));
  EXPECT_THAT(error_of([&] { file.find_ints("texts"); }), HasSubstr("is of type array of string"));
  EXPECT_THAT(error_of([&] { file.find_string("texts"); }), HasSubstr("must be string"));
  EXPECT_THAT(error_of([&] { file.find_int("huge"); }), HasSubstr("past 2^63"));
  EXPECT_THAT(error_of([&] { file.find_ints("hugest"); }), HasSubstr("past 2^63"));
  EXPECT_THAT(error_of([&] { file.find_bool("f"); }), HasSubstr("must be bool"));
  EXPECT_THAT(error_of([&] { file.find_float("name"); }), HasSubstr("must be a number"));
  EXPECT_THAT(error_of([&] { file.integer("absent"); }), HasSubstr("has no key 'absent'"));
  EXPECT_THAT(error_of([&] { file.tensor("t"); }), HasSubstr("no tensor 't'"));
}

TEST(Gguf, GivesTensorsOutermostFirst) {
  for (const std::uint64_t alignment : {32U, 8U, 64U}) {
    GgufWriter writer;
    writer.alignment = alignment;
    writer.uint32("general.alignment", static_cast<std::uint32_t>(alignment));
    writer.floats("matrix", {2, 3}, {1, 2, 3, 4, 5, 6})
        .tensor("blocks", GgmlType::kQ8_0, {2, 32}, std::string(68, 'q'));
    writer.floats("scalar", {}, {7}).floats("empty", {0, 4}, {}).tensor("half", GgmlType::kF16, {1}, "ab");
    const Gguf file = parse_bytes(writer.bytes());
    ASSERT_EQ(file.tensors().size(), 5u);
    EXPECT_EQ(file.tensors()[0].name, "matrix");
    const GgufTensor& matrix = file.tensor("matrix");
    EXPECT_EQ(matrix.shape, (Shape{2, 3}));
    EXPECT_EQ(matrix.bytes.size(), 24u);
    EXPECT_EQ(std::memcmp(matrix.bytes.data() + 20, "\0\0\xC0\x40", 4), 0);  // 6.0F
    EXPECT_EQ(file.tensor("blocks").type, GgmlType::kQ8_0);
    EXPECT_EQ(file.tensor("blocks").bytes.size(), 68u);
    EXPECT_EQ(file.tensor("scalar").shape.rank(), 0u);
    EXPECT_EQ(file.tensor("empty").bytes.size(), 0u);
    EXPECT_EQ(file.tensor("half").bytes.size(), 2u);
  }
}

TEST(Gguf, AcceptsVersion2AndNothing) {
  GgufWriter writer;
  writer.version = 2;
  EXPECT_TRUE(parse_bytes(writer.bytes()).tensors().empty());
}

TEST(Gguf, RefusesFilesThatLie) {
  const auto with = [](const std::function<void(GgufWriter&)>& change) {
    GgufWriter writer;
    writer.text("general.architecture", "llama");
    change(writer);
    return writer.bytes();
  };
  const std::string eight(8, 'x');
  const struct {
    std::string bytes, message;
  } cases[] = {
      {"", "too short"},
      {"GGU", "too short"},
      {"PK\3\4 is something else", "no GGUF file"},
      {std::string("GGUF\3\0\0", 7), "truncated"},
      {with([](auto& w) { w.version = 1; }), "version 1; versions 2 and 3"},
      {with([](auto& w) { w.version = 4; }), "version 4"},
      {with([](auto& w) { w.version = 0x03000000; }), "big-endian"},
      {std::string("lmgg") + std::string(32, '\0'), "from before GGUF"},
      {with([](auto& w) { w.num_keys = UINT64_MAX; }), "announces 18446744073709551615 metadata keys"},
      {with([](auto& w) { w.num_keys = 2; }), "damaged"},
      {with([](auto& w) { w.num_tensors = std::uint64_t{1} << 60; }), "announces 1152921504606846976 tensors"},
      {with([](auto& w) { w.text("general.architecture", "again"); }), "is there twice"},
      {with([](auto& w) { w.entry("k", 13, "xxxx"); }), "unknown type 13"},
      {with([](auto& w) { w.array("k", 13, 1, "xxxx"); }), "unknown type 13"},
      {with([](auto& w) { w.array("k", 9, 1, std::string(32, '\0')); }), "array of arrays"},
      {with([](auto& w) { w.array("k", 8, std::uint64_t{1} << 60, ""); }), "announces 1152921504606846976 elements"},
      {with([](auto& w) { w.array("k", 10, std::uint64_t{1} << 61, ""); }), "announces"},
      {with([](auto& w) { w.array("k", 8, 1, GgufWriter::packed(UINT64_MAX)); }), "truncated"},
      {with([](auto& w) { w.entry("k", 8, GgufWriter::packed<std::uint64_t>(1000)); }), "truncated"},
      {with([](auto& w) { w.entry(std::string(70000, 'k'), 0, "x"); }), "70000 bytes long"},
      {with([](auto& w) { w.uint32("general.alignment", 0); }), "power of two"},
      {with([](auto& w) { w.uint32("general.alignment", 24); }), "power of two"},
      {with([](auto& w) { w.text("general.alignment", "32"); }), "must be uint32"},
      {with([&](auto& w) { w.raw_tensor("t", 0, {2}, 0, eight).raw_tensor("t", 0, {2}, 32, eight); }),
       "tensor 't' is there twice"},
      {with([&](auto& w) { w.raw_tensor("t", 0, {2}, 0, eight).raw_tensor("u", 0, {2}, 0, eight); }), "overlap"},
      {with([&](auto& w) { w.raw_tensor("t", 0, {2}, 4, eight); }), "no multiple of 32"},
      {with([&](auto& w) { w.raw_tensor("t", 0, {3}, 0, eight); }), "takes 12 bytes from byte 0"},
      {with([&](auto& w) { w.raw_tensor("t", 0, {2}, 32, eight); }), "from byte 32"},
      {with([&](auto& w) { w.raw_tensor("t", 0, {2}, UINT64_MAX - 31, eight); }), "takes 8 bytes"},
      {with([&](auto& w) { w.raw_tensor("t", 0, {std::uint64_t{1} << 60}, 0, eight); }), "takes"},
      {with([&](auto& w) { w.raw_tensor("t", 0, {std::uint64_t{1} << 62}, 0, eight); }), "longer than any file"},
      {with([&](auto& w) {
         w.raw_tensor("t", 0, {std::uint64_t{1} << 40, std::uint64_t{1} << 40}, 0, eight);
       }),
       "more elements than can be counted"},
      {with([&](auto& w) {
         w.raw_tensor("t", 28, {std::uint64_t{1} << 31, std::uint64_t{1} << 31}, 0, eight);
       }),
       "larger than any file"},
      {with([&](auto& w) { w.raw_tensor("t", 0, {UINT64_MAX}, 0, eight); }), "past 2^63"},
      {with([&](auto& w) { w.raw_tensor("t", 8, {2}, 0, eight); }), "no whole number of Q8_0 blocks of 32"},
      {with([&](auto& w) { w.raw_tensor("t", 4, {2}, 0, eight); }), "unknown type 4; known are F32, F16, BF16, Q8_0"},
      {with([&](auto& w) { w.raw_tensor("t", 0, std::vector<std::uint64_t>(9, 1), 0, eight); }), "9 dimensions"},
  };
  for (const auto& [bytes, message] : cases) {
    EXPECT_THAT(error_of([&] { parse_bytes(bytes); }), HasSubstr(message));
  }
}

TEST(Gguf, RefusesEveryTruncation) {
  GgufWriter writer;
  writer.text("general.architecture", "llama").texts("texts", {"ab", "c"}).float32s("scores", {1, 2});
  writer.floats("a", {2, 2}, {1, 2, 3, 4}).tensor("b", GgmlType::kQ4_0, {1, 32}, std::string(18, 'q'));
  const std::string whole = writer.bytes();
  EXPECT_EQ(parse_bytes(whole).tensors().size(), 2u);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_NE(error_of([&] { parse_bytes(whole.substr(0, size)); }), "no error") << size;
  }
}

TEST(Gguf, KeepsTypesThatCannotBeReadUntilTheyAreAskedFor) {
  GgufWriter writer;
  writer.tensor("t", GgmlType::kIQ4_XS, {256}, std::string(136, 'q'));
  const Gguf file = parse_bytes(writer.bytes());
  std::vector<float> out(256);
  EXPECT_THAT(error_of([&] { dequantize_blocks(file.tensor("t").type, file.tensor("t").bytes, out); }),
              HasSubstr("type IQ4_XS are not read; those that are: F32, F16, BF16, Q8_0, Q4_0"));
}

class GgufSplits : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const GgufWriter& writer) {
    write_file(temporary_.path() / name, std::string_view(writer.bytes()));
    return temporary_.path() / name;
  }
  static GgufWriter split(std::uint16_t number, std::uint16_t count) {
    GgufWriter writer;
    writer.uint16("split.no", number).uint16("split.count", count).int32("split.tensors.count", 2);
    if (number == 0) writer.text("general.architecture", "llama");
    return writer;
  }
  const test::TemporaryFolder temporary_;
};

TEST_F(GgufSplits, AreJoinedFromAnyOfThem) {
  const auto first = write("m-00001-of-00002.gguf", split(0, 2).floats("a", {1}, {1}));
  const auto second = write("m-00002-of-00002.gguf", split(1, 2).floats("b", {1}, {2}));
  for (const auto& path : {first, second}) {
    const Gguf file = Gguf::read(path);
    EXPECT_EQ(file.architecture(), "llama");
    EXPECT_EQ(file.where(), first.string());
    ASSERT_EQ(file.tensors().size(), 2u);
    EXPECT_EQ(file.tensors()[1].name, "b");
    EXPECT_EQ(std::memcmp(file.tensor("b").bytes.data(), "\0\0\0\x40", 4), 0);
  }
}

TEST_F(GgufSplits, ThatDoNotFitAreRefused) {
  const auto first = write("m-00001-of-00002.gguf", split(0, 2).floats("a", {1}, {1}));
  EXPECT_THAT(error_of([&] { Gguf::read(first); }), HasSubstr("m-00002-of-00002.gguf"));
  write("m-00002-of-00002.gguf", split(1, 2).floats("a", {1}, {2}));
  EXPECT_THAT(error_of([&] { Gguf::read(first); }), HasSubstr("tensor 'a' is in two splits"));
  write("m-00002-of-00002.gguf", split(0, 2).floats("b", {1}, {2}));
  EXPECT_THAT(error_of([&] { Gguf::read(first); }), HasSubstr("says that it is split 1 of 2, unlike its name"));
  write("m-00002-of-00002.gguf", split(1, 2));
  EXPECT_THAT(error_of([&] { Gguf::read(first); }), HasSubstr("the splits hold 1 tensors"));
  EXPECT_THAT(error_of([&] { Gguf::read(write("model.gguf", split(0, 2))); }),
              HasSubstr("its name does not say which"));
}

TEST(Gguf, KnowsItsFiles) {
  const test::TemporaryFolder temporary;
  const auto path = temporary.path() / "f";
  write_file(path, std::string_view("GG"));
  EXPECT_FALSE(Gguf::is_gguf(path));
  write_file(path, std::string_view("GGUF"));
  EXPECT_TRUE(Gguf::is_gguf(path));
  EXPECT_THROW(Gguf::is_gguf(temporary.path() / "missing"), Error);
  EXPECT_THROW(Gguf::is_gguf(temporary.path()), Error);
  EXPECT_THROW(Gguf::read(temporary.path() / "missing"), Error);
}

TEST(Gguf, LargeVocabulariesAreWalkedNotCopied) {
  // 262,144 tokens, Gemma's number. The limit is some hundred times what it takes.
  std::vector<std::string> tokens(262144, "token");
  GgufWriter writer;
  writer.texts("tokens", tokens);
  const std::string bytes = writer.bytes();
  const auto start = std::chrono::steady_clock::now();
  const Gguf file = parse_bytes(bytes);
  EXPECT_EQ(file.strings("tokens").size(), tokens.size());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST(Gguf, ReadsAPublishedModel) {
  const std::filesystem::path path = std::string(PAJAMAS_DEPS_DIR) + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there: run ./dev setup";
  const Gguf file = Gguf::read(path);
  EXPECT_EQ(file.architecture(), "llama");
  EXPECT_EQ(file.tensors().size(), 272u);
  EXPECT_EQ(file.strings("tokenizer.ggml.tokens").size(), 49152u);
  EXPECT_EQ(file.tensor("blk.0.ffn_down.weight").shape, (Shape{576, 1536}));
  EXPECT_EQ(file.tensor("blk.0.ffn_down.weight").type, GgmlType::kQ4_1);
}

}  // namespace
}  // namespace pajamas
