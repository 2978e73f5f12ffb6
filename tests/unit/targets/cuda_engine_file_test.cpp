// The engine file of the cuda target: what is written is read, and no damaged file is taken for a whole one. No GPU.
#include <gmock/gmock.h>

#include <random>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json_writer.h"
#include "pajamas/error.h"
#include "support/temporary_folder.h"
#include "targets/cuda/program.h"
#include "targets/cuda/runtime/engine_file.h"
#include "targets/cuda/runtime/engine_index.h"

namespace pajamas::cuda {
namespace {

using testing::HasSubstr;

constexpr std::size_t kHeaderBytes = 408;

std::span<const std::byte> bytes_of_text(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<std::byte> written(const std::string& graph, const std::string& index, const std::string& states,
                               const std::vector<std::string>& weights) {
  const test::TemporaryFolder folder;
  std::vector<std::span<const std::byte>> pieces;
  for (const std::string& piece : weights) pieces.push_back(bytes_of_text(piece));
  write_engine_file(folder.path() / "model.cuda", bytes_of_text(graph), bytes_of_text(index), bytes_of_text(states),
                    pieces);
  const auto file = MappedFile::open(folder.path() / "model.cuda");
  return {file->bytes().begin(), file->bytes().end()};
}

Error error_of(const std::vector<std::byte>& bytes, SectionCheck check = SectionCheck::kHeaderOnly) {
  try {
    parse_engine_file(bytes, "model.cuda", check);
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorKind::kInternal, "nothing was thrown");
}

TEST(CudaEngineFile, gives_back_what_was_written) {
  const auto bytes = written("graph", "{}", std::string("\0state", 6), {"weights", "", "more"});
  const EngineSections sections = parse_engine_file(bytes, "model.cuda", SectionCheck::kDigests);
  EXPECT_EQ(text_of(sections.graph), "graph");
  EXPECT_EQ(text_of(sections.index), "{}");
  EXPECT_EQ(text_of(sections.states), std::string("\0state", 6));
  EXPECT_EQ(text_of(sections.weights), "weightsmore");
}

TEST(CudaEngineFile, keeps_sections_on_pages) {
  const auto bytes = written(std::string(5000, 'g'), "i", "", {std::string(4096, 'w')});
  const EngineSections sections = parse_engine_file(bytes, "model.cuda");
  for (const auto& section : {sections.graph, sections.index, sections.states, sections.weights}) {
    EXPECT_EQ((section.data() - bytes.data()) % 4096, 0);
  }
}

TEST(CudaEngineFile, holds_empty_sections) {
  const EngineSections sections = parse_engine_file(written("", "", "", {}), "model.cuda", SectionCheck::kDigests);
  EXPECT_TRUE(sections.graph.empty() && sections.index.empty() && sections.states.empty() && sections.weights.empty());
}

TEST(CudaEngineFile, is_the_same_for_the_same_contents) {
  EXPECT_EQ(written("g", "i", "s", {"w"}), written("g", "i", "s", {"w"}));
}

TEST(CudaEngineFile, refuses_every_flipped_bit_of_the_header) {
  const auto bytes = written("graph", "{}", "states", {"weights"});
  for (std::size_t i = 0; i < kHeaderBytes; ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      auto damaged = bytes;
      damaged[i] ^= static_cast<std::byte>(1 << bit);
      const Error error = error_of(damaged);
      EXPECT_TRUE(error.kind() == ErrorKind::kBadInput || error.kind() == ErrorKind::kUnsupported)
          << "byte " << i << ": " << error.what();
      EXPECT_EQ(error.where(), "model.cuda");
    }
  }
}

TEST(CudaEngineFile, refuses_every_flipped_byte_behind_the_header_when_asked_for_digests) {
  const auto bytes = written("graph", "{}", "states", {"weights"});
  const EngineSections sections = parse_engine_file(bytes, "model.cuda");
  for (const auto& section : {sections.graph, sections.index, sections.states, sections.weights}) {
    for (std::size_t i = 0; i < section.size(); ++i) {
      auto damaged = bytes;
      damaged[static_cast<std::size_t>(section.data() - bytes.data()) + i] ^= std::byte{0x10};
      EXPECT_THAT(error_of(damaged, SectionCheck::kDigests).message(), HasSubstr("section"));
    }
  }
}

TEST(CudaEngineFile, refuses_every_length_but_its_own) {
  const auto bytes = written("graph", "{}", "states", {std::string(300, 'w')});
  for (std::size_t size = 0; size < bytes.size(); size += size < 500 ? 1 : 97) {
    EXPECT_EQ(error_of({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)}).kind(),
              ErrorKind::kBadInput);
  }
  auto longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_THAT(error_of(longer).message(), HasSubstr("longer"));
}

TEST(CudaEngineFile, refuses_random_bytes) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::byte> bytes(random() % 2000);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    EXPECT_EQ(error_of(bytes).kind(), ErrorKind::kBadInput);
  }
}

TEST(CudaEngineFile, names_another_format_version) {
  auto bytes = written("g", "i", "s", {"w"});
  bytes[8] = std::byte{2};
  const Error error = error_of(bytes);
  EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
  EXPECT_THAT(error.message(), HasSubstr("version 2"));
}

EngineIndex some_index() {
  EngineIndex index;
  index.environment = {"NVIDIA H200", 90, {{"cudnn", "9.19.0"}, {"driver", "13.0"}}};
  index.precision = Precision::kFp16;
  index.inputs = {{"x", DType::kFloat32, {Dimension::named("batch"), Dimension::known(3), Dimension{}}}};
  index.outputs = {{"y", DType::kFloat32, {Dimension::named("batch")}}};
  index.profiles = {{"x", {1, 3, 4}, {2, 3, 8}, {4, 3, 8}}};
  index.uses_lanes = false;
  index.large_constants = {{"w", DType::kFloat16, {64, 3}}};
  index.constants = {{"w|channels_last", 0, 384}, {"b", 512, 128}};
  index.tactics = {{"conv ...", "cudnn:eng1", 0, 10}, {"loop ...", "loop:0", 10, 0}};
  return index;
}

EngineIndex parsed(const nlohmann::json& json) { return parse_engine_index(json_text(json), "model.cuda", 10, 640); }

TEST(CudaEngineIndex, gives_back_what_was_written) {
  const nlohmann::json json = to_json(some_index());
  const EngineIndex index = parsed(json);
  EXPECT_EQ(to_json(index), json);
  EXPECT_EQ(index.environment, some_index().environment);
  EXPECT_EQ(index.constants[1].offset, 512U);
  EXPECT_EQ(index.inputs[0].shape, some_index().inputs[0].shape);
}

struct Damage {
  const char* pointer;
  nlohmann::json value;
};

TEST(CudaEngineIndex, refuses_what_does_not_fit) {
  const std::vector<Damage> damages{
      {"/environment/sm", 0},
      {"/precision", "fp3"},
      {"/inputs/0/dtype", "float17"},
      {"/inputs/0/shape/1", -3},
      {"/profiles/0/input", "z"},
      {"/profiles/0/min", {1, 3}},
      {"/profiles/0/max", {1, 3, 8}},
      {"/profiles", nlohmann::json::array()},
      {"/constants/0/offset", 700},
      {"/constants/0/offset", 8},
      {"/constants/0/bytes", 641},
      {"/constants/0/bytes", -1},
      {"/tactics/0/state_bytes", 11},
      {"/tactics/1/state_offset", 11},
      {"/tactics/0/tactic", nullptr},
      {"/large_constants/0/shape", {-1}},
      {"/uses_lanes", 1},
  };
  for (const Damage& damage : damages) {
    nlohmann::json json = to_json(some_index());
    json[nlohmann::json::json_pointer(damage.pointer)] = damage.value;
    try {
      parsed(json);
      ADD_FAILURE() << damage.pointer;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput) << damage.pointer;
      EXPECT_THAT(error.what(), HasSubstr("model.cuda"));
    }
  }
}

TEST(CudaEngineIndex, refuses_what_is_missing) {
  const nlohmann::json whole = to_json(some_index());
  for (const auto& [key, value] : whole.items()) {
    nlohmann::json json = whole;
    json.erase(key);
    EXPECT_THROW(parsed(json), Error) << key;
  }
}

}  // namespace
}  // namespace pajamas::cuda
