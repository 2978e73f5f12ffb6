// Tests of io/torch_checkpoint.h: checkpoints that torch.save wrote (tools/goldens/make_checkpoint_containers.py), and
// archives and pickles written by hand that lie or want to be run.
#include "io/torch_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <filesystem>

#include "base/files.h"
#include "io/pickle.h"
#include "io/safetensors.h"
#include "io/zip_archive.h"
#include "support/cpu_time.h"
#include "support/hostile_bytes.h"
#include "support/temporary_folder.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::packed;
using testing::HasSubstr;

/// A zip archive of stored entries, without checksums, which are not read.
std::string zip_of(const std::vector<std::pair<std::string, std::string>>& entries, std::uint16_t method = 0) {
  std::string bytes, directory;
  for (const auto& entry : entries) {
    const auto size = static_cast<std::uint32_t>(entry.second.size());
    const std::string common = packed<std::uint16_t>(0) + packed(method) + std::string(8, '\0') + packed(size) +
                               packed(size) + packed(static_cast<std::uint16_t>(entry.first.size())) +
                               packed<std::uint16_t>(0);
    directory += packed<std::uint32_t>(0x02014b50) + packed<std::uint16_t>(0) + packed<std::uint16_t>(0) + common +
                 std::string(10, '\0') + packed(static_cast<std::uint32_t>(bytes.size())) + entry.first;
    bytes += packed<std::uint32_t>(0x04034b50) + packed<std::uint16_t>(0) + common + entry.first + entry.second;
  }
  const auto count = static_cast<std::uint16_t>(entries.size());
  return bytes + directory + packed<std::uint32_t>(0x06054b50) + std::string(4, '\0') + packed(count) + packed(count) +
         packed(static_cast<std::uint32_t>(directory.size())) + packed(static_cast<std::uint32_t>(bytes.size())) +
         packed<std::uint16_t>(0);
}

std::string text(const std::string& value) { return "X" + packed(static_cast<std::uint32_t>(value.size())) + value; }
std::string number(std::int32_t value) { return "J" + packed(value); }

/// _rebuild_tensor_v2 of a float storage with the key "0".
std::string tensor(std::int32_t offset, const std::vector<std::int32_t>& sizes,
                   const std::vector<std::int32_t>& strides) {
  std::string list = "(";
  for (const std::int32_t size : sizes) list += number(size);
  list += "t(";
  for (const std::int32_t stride : strides) list += number(stride);
  return "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + "ctorch\nFloatStorage\n" + text("0") +
         text("cpu") + number(6) + "tQ" + number(offset) + list + "t\x89}tR";
}

std::string checkpoint(const std::string& pickle) {
  std::string floats;
  for (int i = 0; i < 6; ++i) floats += packed(static_cast<float>(i));
  return zip_of({{"x/data.pkl", "\x80\x02" + pickle + "."}, {"x/data/0", floats}});
}

TorchCheckpoint parse(const std::string& bytes) {
  auto owner = std::make_shared<const std::string>(bytes);
  return TorchCheckpoint::parse(std::as_bytes(std::span(*owner)), owner, "x.pt");
}

std::vector<float> floats_of(const CheckpointTensor& tensor) {
  const Tensor copy = Tensor::copy_of({tensor.dtype, tensor.shape, tensor.bytes.data()});
  return {copy.as<float>().begin(), copy.as<float>().end()};
}

TEST(TorchCheckpoint, ReadsTensorsByTheirStrides) {
  const TorchCheckpoint file = parse(checkpoint(
      "}(" + text("plain") + tensor(0, {2, 3}, {3, 1}) + text("turned") + tensor(0, {3, 2}, {1, 3}) + text("row") +
      tensor(3, {3}, {1}) + text("scalar") + tensor(5, {}, {}) + text("inner") + "}(" + text("n") + number(-7) + "uu"));
  EXPECT_THAT(floats_of(file.tensor("plain")), testing::ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(floats_of(file.tensor("turned")), testing::ElementsAre(0, 3, 1, 4, 2, 5));
  EXPECT_THAT(floats_of(file.tensor("row")), testing::ElementsAre(3, 4, 5));
  EXPECT_THAT(floats_of(file.tensor("scalar")), testing::ElementsAre(5));
  EXPECT_EQ(file.find_integer("inner.n"), -7);
  EXPECT_EQ(file.find_integer("inner.m"), std::nullopt);
}

TEST(TorchCheckpoint, ReadsTensorsOfNoElements) {
  // A buffer that was never filled lies at the end of a storage, or in one of no bytes.
  const TorchCheckpoint read =
      parse(checkpoint("}(" + text("none") + tensor(6, {0, 3}, {3, 1}) + text("w") + tensor(0, {2}, {1}) + "u"));
  EXPECT_EQ(read.tensor("none").shape, (Shape{0, 3}));
  EXPECT_EQ(to_tensor(read.tensor("none")).num_elements(), 0);
  EXPECT_EQ(floats_of(read.tensor("w")), (std::vector<float>{0, 1}));
}

TEST(TorchCheckpoint, RefusesTensorsThatReachTooFar) {
  const auto with = [](std::int32_t offset, const std::vector<std::int32_t>& sizes,
                       const std::vector<std::int32_t>& strides) {
    return error_of([&] { parse(checkpoint("}(" + text("w") + tensor(offset, sizes, strides) + "u")); });
  };
  EXPECT_THAT(with(1, {2, 3}, {3, 1}), HasSubstr("past its storage"));
  EXPECT_THAT(with(-1, {2}, {1}), HasSubstr("out of range"));
  EXPECT_THAT(with(0, {7}, {1}), HasSubstr("past its storage"));
  EXPECT_THAT(with(0, {2}, {2000000000}), HasSubstr("past its storage"));
  EXPECT_THAT(with(0, {2}, {-1}), HasSubstr("out of range"));
  EXPECT_THAT(with(0, {6, 6}, {0, 1}), HasSubstr("more elements than its storage"));
  EXPECT_THAT(with(0, {2, 3}, {1}), HasSubstr("other strides than sizes"));
  EXPECT_THAT(error_of([&] {
                parse(zip_of({{"data.pkl", "\x80\x02}(" + text("w") + tensor(0, {1}, {1}) + "u."}}));
              }),
              HasSubstr("storage '0', which is missing"));
}

/// A storage of almost 4 GiB that takes no memory: the product of extent and stride is past 2^63.
TEST(TorchCheckpoint, RefusesStridesWhoseProductsOverflow) {
  constexpr std::uint32_t kStorageBytes = 0xFFFF0000;
  const auto number_of_5_bytes = [](std::uint64_t value) { return "\x8a\x05" + packed(value).substr(0, 5); };
  const std::string extent = number_of_5_bytes(kStorageBytes - 1);
  const std::string pickle = "\x80\x02}(" + text("w") + "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") +
                             "ctorch\nByteStorage\n" + text("0") + text("cpu") + number(6) + "tQ" + number(0) + "(" +
                             extent + "t(" + extent + "t\x89}tRu.";
  const std::string first = "x/data.pkl", second = "x/data/0";
  std::string archive = zip_of({{first, pickle}, {second, ""}});
  // The directory moves behind the storage, and says how large it is.
  const std::size_t directory = archive.size() - 22 - (46 + first.size()) - (46 + second.size());
  const auto patch = [&](std::size_t at, std::uint32_t value) { archive.replace(at, 4, packed(value)); };
  patch(directory + 46 + first.size() + 20, kStorageBytes);
  patch(directory + 46 + first.size() + 24, kStorageBytes);
  patch(archive.size() - 6, static_cast<std::uint32_t>(directory + kStorageBytes));
  const std::size_t size = archive.size() + kStorageBytes;
  void* const memory =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) GTEST_SKIP() << "no address space of 4 GiB";
  auto* const bytes = static_cast<std::byte*>(memory);
  std::memcpy(bytes, archive.data(), directory);
  std::memcpy(bytes + directory + kStorageBytes, archive.data() + directory, archive.size() - directory);
  EXPECT_THAT(error_of([&] {
                TorchCheckpoint::parse({bytes, size}, nullptr, "x.pt");
              }),
              HasSubstr("reaches past its storage"));
  ::munmap(memory, size);
}

TEST(TorchCheckpoint, NothingIsEverRun) {
  const auto with = [](const std::string& pickle) { return error_of([&] { parse(checkpoint(pickle)); }); };
  EXPECT_THAT(with("cos\nsystem\n(" + text("harmless") + "tR"), HasSubstr("names 'os.system'"));
  EXPECT_THAT(with("cposix\nsystem\n"), HasSubstr("names 'posix.system'"));
  EXPECT_THAT(with(text("builtins") + text("eval") + "\x93"), HasSubstr("names 'builtins.eval'"));
  EXPECT_THAT(with("ctorch\nStorage\n"), HasSubstr("names 'torch.Storage'"));
  EXPECT_THAT(with("ctorch.nn.modules.linear\nLinear\n"), HasSubstr("names 'torch.nn.modules.linear.Linear'"));
  EXPECT_THAT(with("(ios\nsystem\n"), HasSubstr("operation 0x69"));  // INST
  EXPECT_THAT(with("(dos\n"), HasSubstr("operation 0x64"));          // DICT of protocol 0
  EXPECT_THAT(with("\x81"), HasSubstr("operation 0x81"));            // NEWOBJ
  EXPECT_THAT(with("ctorch\nFloatStorage\n)R"), HasSubstr("calls 'torch.FloatStorage'"));
  EXPECT_THAT(with(number(1) + "}b"), HasSubstr("should have a dictionary here"));
}

TEST(TorchCheckpoint, RefusesDamagedPickles) {
  const auto with = [](const std::string& pickle) { return error_of([&] { parse(checkpoint(pickle)); }); };
  EXPECT_THAT(with("0"), HasSubstr("takes what is not there"));
  EXPECT_THAT(with("u"), HasSubstr("takes what is not there"));
  EXPECT_THAT(with("h\x05"), HasSubstr("never remembered"));
  EXPECT_THAT(with("q\x01"), HasSubstr("remembers what is not there"));
  EXPECT_THAT(with("}(" + text("a") + "u"), HasSubstr("a key without a value"));
  EXPECT_THAT(with(number(3)), HasSubstr("no dictionary"));
  EXPECT_THAT(with("\x8a\x09" + std::string(9, '\1')), HasSubstr("past 64 bits"));
  // A dictionary within itself, and one that says at its end only that it is long.
  EXPECT_THAT(with("}q\x01(" + text("a") + "h\x01u"), HasSubstr("within themselves"));
  EXPECT_THAT(with("X\xff\xff\xff\x7f"), HasSubstr("ends within"));
}

TEST(TorchCheckpoint, WhatIsRememberedIsNotCopiedAtEachUse) {
  std::string pickle = tensor(0, {6}, {1}) + "q\1" + "0ctorch._utils\n_rebuild_parameter\nq\2" + "0(";
  for (int i = 0; i < 300'000; ++i) pickle += "h\1";
  pickle += std::string("tq\3") + "0";
  for (int i = 0; i < 100'000; ++i) pickle += "h\2h\3R0";
  pickle += "}.";
  EXPECT_LT(test::cpu_seconds_of([&] { read_pickle(std::as_bytes(std::span(pickle)), "x.pt"); }), 5);
  const std::string key = text(std::string(1 << 20, '7')) + "q\1" + "0";
  const std::string storage = "(" + text("storage") + "ctorch\nFloatStorage\nh\1" + text("cpu") + number(6) + "tQ";
  EXPECT_THAT(error_of([&] { parse(checkpoint(key + storage)); }), HasSubstr("no storage"));
}

TEST(TorchCheckpoint, RefusesOtherArchives) {
  EXPECT_THAT(error_of([] { parse("\x80\x02}."); }), HasSubstr("no zip archive"));
  EXPECT_THAT(error_of([] { parse(zip_of({{"a/b.txt", ""}})); }), HasSubstr("without data.pkl"));
  EXPECT_THAT(error_of([] { parse(zip_of({{"data.pkl", "x"}}, 8)); }), HasSubstr("compressed"));
  EXPECT_THAT(error_of([] { parse(zip_of({{"data.pkl", "x"}, {"data.pkl", "y"}})); }), HasSubstr("twice"));
  EXPECT_THAT(error_of([] {
                parse(zip_of({{"data.pkl", "\x80\x02}."}, {"byteorder", "big"}}));
              }),
              HasSubstr("big-endian"));
  EXPECT_THAT(error_of([] { parse("PK" + std::string(40, '\0')); }), HasSubstr("cut off"));
}

TEST(TorchCheckpoint, ReadsWhatTorchWroteAndSurvivesDamage) {
  const fs::path root = fs::path(PAJAMAS_TEST_DATA) / "whisper";
  const TorchCheckpoint file = TorchCheckpoint::read(root / "containers/openai.pt");
  const Safetensors source = Safetensors::read(root / "tiny_half/model.safetensors");
  EXPECT_EQ(file.find_integer("dims.n_audio_head"), 4);
  // Plain, transposed in its storage, and cut out of a larger one.
  for (const auto& [ours, theirs] : {std::pair{"decoder.token_embedding.weight", "model.decoder.embed_tokens.weight"},
                                     std::pair{"encoder.blocks.0.mlp.0.weight", "model.encoder.layers.0.fc1.weight"},
                                     std::pair{"decoder.ln.bias", "model.decoder.layer_norm.bias"}}) {
    const CheckpointTensor& tensor = file.tensor(std::string("model_state_dict.") + ours);
    const auto expected = source.bytes(theirs);
    EXPECT_EQ(tensor.shape, source.shape_of(theirs)) << ours;
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), tensor.bytes.begin(), tensor.bytes.end())) << ours;
  }
  EXPECT_TRUE(TorchCheckpoint::is_torch(root / "containers/openai.pt"));
  EXPECT_FALSE(TorchCheckpoint::is_torch(root / "containers/ggml-q8_0.bin"));

  const std::string bytes = read_file(root / "containers/openai.pt");
  const test::ParseBytes parse_all = [](std::span<const std::byte> part, std::shared_ptr<const void> owner) {
    const auto parsed = TorchCheckpoint::parse(part, std::move(owner), "damaged");
    for (const std::string& name : parsed.names()) {
      const CheckpointTensor& tensor = parsed.tensor(name);
      EXPECT_EQ(tensor.bytes.size(), bytes_of(tensor.dtype, tensor.shape));
    }
  };
  EXPECT_TRUE(test::is_accepted(bytes, parse_all));
  // A prefix never has the directory; a changed byte is mostly one of a weight.
  EXPECT_GE(test::survive_damage(bytes, parse_all, 997, 300), static_cast<int>(bytes.size() / 997));
}

}  // namespace
}  // namespace pajamas
