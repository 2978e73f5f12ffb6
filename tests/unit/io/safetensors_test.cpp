// Tests of io/safetensors.h: what is read back, shards, and every way a header can lie. Files are written by hand here,
// byte by byte; files of the official library are read in tests/unit/models/checkpoint_test.cpp.
#include "io/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "pajamas/error.h"
#include "support/temporary_folder.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

std::string file_of(const std::string& header, const std::string& data) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(header.size() >> (8 * i) & 0xFF);
  return bytes + header + data;
}

Safetensors parse_text(const std::string& text) {
  auto owner = std::make_shared<const std::string>(text);
  return Safetensors::parse(std::as_bytes(std::span(*owner)), owner, "test.safetensors");
}

std::string floats(std::initializer_list<float> values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.begin(), bytes.size());
  return bytes;
}

class SafetensorsFolder : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) { write_file(folder_ / name, std::string_view(text)); }
  const test::TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
};

TEST(Safetensors, ReadsTensorsScalarsEmptyOnesAndMetadata) {
  const auto file = parse_text(file_of(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
      R"("a":{"dtype":"I64","shape":[],"data_offsets":[8,16]},"none":{"dtype":"F16","shape":[0,3],"data_offsets":[8,8]}}  )",
      floats({1.5F, -2}) + std::string("\x07\0\0\0\0\0\0\0", 8)));
  EXPECT_THAT(file.names(), ElementsAre("a", "b", "none"));
  EXPECT_THAT(file.tensor("b").as<float>(), ElementsAre(1.5F, -2.0F));
  EXPECT_THAT(file.tensor("a").as<std::int64_t>(), ElementsAre(7));
  EXPECT_EQ(file.shape_of("a").rank(), 0u);
  EXPECT_EQ(file.tensor("none").num_elements(), 0);
  EXPECT_EQ(file.dtype_of("none"), DType::kFloat16);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_THROW(file.tensor("c"), Error);
  EXPECT_TRUE(parse_text(file_of("{}", "")).names().empty());
}

TEST(Safetensors, MisalignedTensorsAreCopied) {
  // The header's length leaves the data on an odd address.
  const std::string header =
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})";
  const auto file = parse_text(file_of(header, "\x01" + floats({3, 4})));
  const Tensor tensor = file.tensor("b");
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.bytes().data()) % 4, 0u);
  EXPECT_THAT(tensor.as<float>(), ElementsAre(3.0F, 4.0F));
}

TEST(Safetensors, RefusesHeadersThatLie) {
  const std::string four = floats({1});
  const struct {
    std::string text, message;
  } cases[] = {
      {"", "too short"},
      {std::string(7, '\0'), "too short"},
      {std::string(8, '\0'), "no JSON object"},
      {std::string(8, '\xFF') + "{}", "announces a header"},
      {file_of("{}", "").substr(0, 9), "truncated"},
      {file_of("[]", ""), "no JSON object"},
      {file_of("{\"a\":", ""), "no valid JSON"},
      {file_of("{}x", ""), "no valid JSON"},
      {file_of(R"({"a":1})", ""), "should be an object"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1]}})", four), "data_offsets"},
      {file_of(R"({"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}})", four), "F33"},
      {file_of(R"({"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}})", four), "dtype"},
      {file_of(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", four), "a.shape"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", four), "a.shape"},
      {file_of(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", four), "tensor 'a'"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", four), "takes 8 bytes"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", four), "lies at bytes"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", four), "lies at bytes"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", four), "[begin, end]"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}})", four), "a.data_offsets"},
      {file_of(
           R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
           four),
       "overlaps"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", four + four), "hole"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", four + four), "behind the last"},
      {file_of(
           R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
           four + four),
       "twice"},
      {file_of(R"({"a":{"dtype":"F32","shape":[[[[[[[]]]]]]],"data_offsets":[0,4]}})", four), "nested too deep"},
      {file_of(R"({"__metadata__":{"format":1}})", ""), "format"},
  };
  for (const auto& [text, message] : cases) {
    try {
      parse_text(text);
      ADD_FAILURE() << "accepted: " << text;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(message)) << text;
      EXPECT_THAT(error.what(), HasSubstr("test.safetensors")) << text;
    }
  }
}

TEST(Safetensors, EveryTruncationAndManyBitFlipsEndInAnErrorOrAValidFile) {
  const std::string valid = file_of(
      R"({"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]}})",
      floats({1, 2}) + "abcdef");
  for (std::size_t size = 0; size < valid.size(); ++size)
    EXPECT_THROW(parse_text(valid.substr(0, size)), Error) << size;
  std::mt19937 random(20240229);
  for (int round = 0; round < 2000; ++round) {
    std::string damaged = valid;
    damaged[random() % damaged.size()] ^= static_cast<char>(1U << random() % 8);
    try {
      const auto file = parse_text(damaged);
      for (const std::string& name : file.names()) (void)file.tensor(name);
    } catch (const Error&) {
    }
  }
}

TEST_F(SafetensorsFolder, ReadsShardsByTheIndex) {
  write("one.safetensors", file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", floats({1})));
  write("two.safetensors", file_of(R"({"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", floats({2})));
  write("model.safetensors.index.json",
        R"({"metadata":{"total_size":8},"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  const auto file = Safetensors::read_directory(folder_);
  EXPECT_THAT(file.names(), ElementsAre("a", "b"));
  EXPECT_THAT(file.tensor("b").as<float>(), ElementsAre(2.0F));
}

TEST_F(SafetensorsFolder, RefusesShardsThatDoNotFitTheIndex) {
  const auto expect_refused = [&](const std::string& index, const std::string& message) {
    write("model.safetensors.index.json", index);
    try {
      Safetensors::read_directory(folder_);
      ADD_FAILURE() << "accepted: " << index;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
      EXPECT_THAT(error.what(), HasSubstr(message)) << index;
    }
  };
  write("one.safetensors", file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", floats({1})));
  write(
      "two.safetensors",
      file_of(
          R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
          floats({2, 3})));
  expect_refused(R"({"weight_map":{"c":"one.safetensors"}})", "is not in the shard");
  expect_refused(R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})", "in two shards");
  expect_refused(R"({"weight_map":{"a":"missing.safetensors"}})", "missing.safetensors");
  expect_refused(R"({"weight_map":{"a":"../one.safetensors"}})", "plain name");
  expect_refused(R"({"weight_map":{"a":"/etc/passwd"}})", "plain name");
  expect_refused(R"({"weight_map":{"a":".."}})", "plain name");
  expect_refused(R"({"weight_map":{"a":1}})", "weight_map");
  expect_refused(R"({})", "weight_map");
  expect_refused(R"({"weight_map":)", "JSON");
}

TEST_F(SafetensorsFolder, SaysWhatIsMissing) {
  try {
    Safetensors::read_directory(folder_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("model.safetensors"));
    EXPECT_THAT(error.what(), HasSubstr(folder_.string()));
  }
  write("model.safetensors", "");
  EXPECT_THROW(Safetensors::read_directory(folder_), Error);
}

}  // namespace
}  // namespace pajamas
