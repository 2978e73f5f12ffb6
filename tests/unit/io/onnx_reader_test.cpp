// The ONNX reader: every element type in every form, external data and where it may lie, and bytes that are no model.
#include "io/onnx_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <random>

#include "base/files.h"
#include "base/log.h"
#include "graph/checker.h"
#include "graph/inline_functions.h"
#include "io/onnx_writer.h"
#include "onnx_full.pb.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const fs::path kData = fs::path(PAJAMAS_TEST_DATA) / "onnx";

std::span<const std::byte> bytes_of_text(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Model parse(const std::string& text) { return parse_onnx(bytes_of_text(text)); }

/// What `action` throws; fails the test when it throws nothing.
template <typename Action>
Error error_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_NE(error.remedy(), "") << error.what();
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorKind::kInternal, "");
}

/// A folder of its own for one test, removed at its end.
class OnnxFiles : public testing::Test {
 protected:
  OnnxFiles() {
    folder_ = fs::temp_directory_path() / ("pajamas-onnx-" + std::to_string(::getpid()) + "-" +
                                           testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  ~OnnxFiles() override { fs::remove_all(folder_); }
  fs::path folder_;
};

TEST(OnnxReader, ReadsEveryElementTypeTheSameFromTypedAndRawData) {
  const Model typed = read_onnx(kData / "types_typed.onnx");
  const Model raw = read_onnx(kData / "types_raw.onnx");
  ASSERT_EQ(typed.graph.initializers.size(), 29U);  // 27 fixed-size types, strings, and an empty tensor
  ASSERT_EQ(raw.graph.initializers.size(), typed.graph.initializers.size());
  for (std::size_t i = 0; i < raw.graph.initializers.size(); ++i) {
    const Initializer& a = typed.graph.initializers[i];
    const Initializer& b = raw.graph.initializers[i];
    SCOPED_TRACE(a.name);
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.tensor.dtype(), b.tensor.dtype());
    EXPECT_EQ(a.tensor.shape(), b.tensor.shape());
    ASSERT_EQ(a.tensor.size_bytes(), b.tensor.size_bytes());
    if (a.tensor.size_bytes() > 0) {
      EXPECT_EQ(std::memcmp(a.tensor.bytes().data(), b.tensor.bytes().data(), a.tensor.size_bytes()), 0);
    }
  }
  EXPECT_EQ(typed.graph.find_initializer("STRING")->tensor.strings(), (std::vector<std::string>{"a", "", "\xc3\xa9"}));
  const auto floats = typed.graph.find_initializer("FLOAT")->tensor.as<float>();
  EXPECT_THAT(std::vector<float>(floats.begin(), floats.end()), testing::ElementsAre(1, 0, -2, 0.5, -1.5));
  EXPECT_EQ(typed.graph.find_initializer("INT4")->tensor.size_bytes(), 3U);
  EXPECT_EQ(typed.graph.find_initializer("FLOAT6E2M3")->tensor.size_bytes(), 4U);
  EXPECT_EQ(typed.graph.find_initializer("EMPTY")->tensor.shape(), Shape({0, 3}));
}

TEST(OnnxReader, ReadsWithAndWithoutMappingTheSame) {
  OnnxReadOptions options;
  options.use_mapping = false;
  for (const char* name : {"conv.onnx", "control_flow.onnx", "everything.onnx", "external/external.onnx"}) {
    EXPECT_EQ(serialize_onnx(read_onnx(kData / name)), serialize_onnx(read_onnx(kData / name, options))) << name;
  }
}

TEST_F(OnnxFiles, WeightsOutliveTheFileAndTheBytes) {
  const fs::path path = folder_ / "m.onnx";
  Model big = read_onnx(kData / "conv.onnx");
  Tensor weight(DType::kFloat32, {4, 3, 32, 33});
  for (std::size_t i = 0; i < weight.as<float>().size(); ++i) weight.mutable_as<float>()[i] = static_cast<float>(i);
  // At two places in the file, so that at least one is not aligned for float32.
  for (const char* name : {"w", "other"}) big.graph.set_initializer(name, weight);
  big.graph.initializers.back().doc_string = "x";
  write_onnx(big, path);
  const Model model = read_onnx(path);
  fs::remove(path);
  Model parsed;
  {
    const std::string bytes = serialize_onnx(big);
    parsed = parse(bytes);
  }
  for (const Model* read : {&std::as_const(model), &std::as_const(parsed)}) {
    for (const char* name : {"w", "other"}) {
      const Tensor& tensor = read->graph.find_initializer(name)->tensor;
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.bytes().data()) % alignof(float), 0U);
      EXPECT_EQ(std::memcmp(tensor.bytes().data(), weight.bytes().data(), weight.size_bytes()), 0);
    }
  }
}

TEST(OnnxReader, RefusesWhatIsNoModel) {
  EXPECT_THAT(error_of([] { parse(""); }).message(), HasSubstr("it is empty"));
  std::mt19937 random(1);
  std::string noise(1000, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  const std::string texts[] = {std::string(1, '\0'),  std::string(4096, '\0'),   "hello, world\n",
                               std::string(100, 'a'), "{\"json\": true}",        noise,
                               "\x89PNG\r\n\x1a\n",   std::string("\x08\x08", 2)};
  for (const std::string& text : texts) {
    const Error error = error_of([&] { parse(text); });
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_THAT(error.message(), HasSubstr("not an ONNX model: "));
  }
}

TEST_F(OnnxFiles, NamesTheFile) {
  EXPECT_THAT(error_of([&] { read_onnx(folder_ / "missing.onnx"); }).what(), HasSubstr("missing.onnx"));
  EXPECT_THAT(error_of([&] { read_onnx(folder_); }).what(), HasSubstr("directory"));
  write_file(folder_ / "text.onnx", "hello");
  EXPECT_THAT(error_of([&] { read_onnx(folder_ / "text.onnx"); }).where(), HasSubstr("text.onnx"));
  write_file(folder_ / "empty.onnx", "");
  EXPECT_THAT(error_of([&] { read_onnx(folder_ / "empty.onnx"); }).message(), HasSubstr("it is empty"));
}

TEST_F(OnnxFiles, RefusesFilesPastTwoGigabytes) {
  const fs::path path = folder_ / "huge.onnx";
  write_file(path, "x");
  ASSERT_EQ(::truncate(path.c_str(), std::int64_t{3} << 30), 0);  // Sparse: takes no space.
  const Error error = error_of([&] { read_onnx(path); });
  EXPECT_THAT(error.message(), HasSubstr("2 GiB"));
  EXPECT_THAT(error.remedy(), HasSubstr("external data"));
}

// ------------------------------------------------------------------------------------------------ tensors

/// A model whose only initializer is made by `fill`.
template <typename Fill>
std::string model_with(const Fill& fill) {
  onnx_full::ModelProto proto;
  EXPECT_TRUE(proto.ParseFromString(read_file(kData / "conv.onnx")));
  fill(*proto.mutable_graph()->mutable_initializer(0));
  return proto.SerializeAsString();
}

void expect_tensor_error(const std::string& bytes, const std::string& message, ErrorKind kind = ErrorKind::kBadInput) {
  const Error error = error_of([&] { parse(bytes); });
  EXPECT_EQ(error.kind(), kind) << error.what();
  EXPECT_THAT(error.message(), HasSubstr(message)) << error.what();
  EXPECT_THAT(error.where(), HasSubstr("initializer 'w'")) << error.what();
}

using Proto = onnx_full::TensorProto;

TEST(OnnxReader, RefusesTensorsWhoseDataDoNotFit) {
  expect_tensor_error(model_with([](Proto& t) { t.set_data_type(99); }), "element type 99", ErrorKind::kUnsupported);
  expect_tensor_error(model_with([](Proto& t) { t.set_data_type(-1); }), "element type -1", ErrorKind::kUnsupported);
  expect_tensor_error(model_with([](Proto& t) { t.clear_data_type(); }), "no element type");
  expect_tensor_error(model_with([](Proto& t) { t.set_data_type(Proto::DOUBLE); }), "432 bytes where float64");
  expect_tensor_error(model_with([](Proto& t) { t.mutable_raw_data()->pop_back(); }), "431 bytes");
  expect_tensor_error(model_with([](Proto& t) { t.set_dims(0, -4); }), "negative");
  expect_tensor_error(model_with([](Proto& t) { t.set_dims(0, std::int64_t{1} << 62); }), "");
  expect_tensor_error(model_with([](Proto& t) { t.set_dims(0, 1'000'000'000); }), "432 bytes");
  expect_tensor_error(model_with([](Proto& t) { t.add_float_data(1); }), "twice");
  expect_tensor_error(model_with([](Proto& t) { t.mutable_segment()->set_end(1); }), "segments",
                      ErrorKind::kUnsupported);
  expect_tensor_error(model_with([](Proto& t) { t.set_data_type(Proto::STRING); }), "string tensor with raw data");
  const auto typed = [](Proto::DataType type, const auto& fill) {
    return model_with([&](Proto& t) {
      t.clear_raw_data();
      t.clear_dims();
      t.add_dims(3);
      t.set_data_type(type);
      fill(t);
    });
  };
  expect_tensor_error(typed(Proto::FLOAT, [](Proto&) {}), "holds 0 values where its shape [3] needs 3");
  expect_tensor_error(typed(Proto::FLOAT, [](Proto& t) { t.add_int32_data(1); }), "holds 0 values");
  expect_tensor_error(typed(Proto::COMPLEX64, [](Proto& t) { t.add_float_data(1); }), "half a complex");
  expect_tensor_error(typed(Proto::COMPLEX128, [](Proto& t) { t.add_double_data(1); }), "half a complex");
  expect_tensor_error(typed(Proto::STRING, [](Proto& t) { t.add_string_data("a"); }), "holds 1 values");
  const auto ints = [](std::initializer_list<std::int32_t> values) {
    return [values](Proto& t) { t.mutable_int32_data()->Add(values.begin(), values.end()); };
  };
  expect_tensor_error(typed(Proto::UINT8, ints({1, 2, 256})), "256 does not fit");
  expect_tensor_error(typed(Proto::INT8, ints({1, 2, -129})), "-129 does not fit");
  expect_tensor_error(typed(Proto::FLOAT16, ints({1, 2, 65536})), "65536 does not fit");
  expect_tensor_error(typed(Proto::FLOAT6E2M3, ints({1, 2, 64})), "64 does not fit");
  expect_tensor_error(typed(Proto::INT4, ints({1, 2, 3})), "needs 2");
  expect_tensor_error(typed(Proto::UINT32,
                            [](Proto& t) {
                              for (int i = 0; i < 3; ++i) t.add_uint64_data(~0ULL);
                            }),
                      "does not fit");
}

TEST(OnnxReader, RefusesDeepNestingByName) {
  const auto nested = [](int depth) {
    onnx_full::ModelProto proto;
    EXPECT_TRUE(proto.ParseFromString(read_file(kData / "conv.onnx")));
    onnx_full::GraphProto* graph = proto.mutable_graph();
    for (int i = 0; i < depth; ++i) {
      auto* attribute = graph->add_node()->add_attribute();
      attribute->set_type(onnx_full::AttributeProto::GRAPH);
      graph = attribute->mutable_g();
    }
    return proto.SerializeAsString();
  };
  EXPECT_NO_THROW(parse(nested(kMaxReadNesting)));
  EXPECT_THAT(error_of([&] { parse(nested(kMaxReadNesting + 1)); }).message(), HasSubstr("nested deeper than 64"));
  EXPECT_THAT(error_of([&] { parse(nested(500)); }).message(), HasSubstr("nested deeper than 64"));
}

// ------------------------------------------------------------------------------------------ external data

TEST(OnnxReader, ReadsExternalData) {
  const Model outside = read_onnx(kData / "external" / "external.onnx");
  const Model inside = read_onnx(kData / "conv.onnx");
  for (const char* name : {"w", "b"}) {
    const auto a = outside.graph.find_initializer(name)->tensor.as<float>();
    const auto b = inside.graph.find_initializer(name)->tensor.as<float>();
    EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end())) << name;
  }
  const std::string bytes = read_file(kData / "external" / "external.onnx");
  EXPECT_THAT(error_of([&] { parse(bytes); }).message(), HasSubstr("'weights.bin' beside the model"));
  EXPECT_NO_THROW(parse_onnx(bytes_of_text(bytes), kData / "external"));
}

class OnnxExternalData : public OnnxFiles {
 protected:
  OnnxExternalData() { fs::copy(kData / "external", folder_ / "model", fs::copy_options::recursive); }

  /// Reads the model after `change` edited the external_data entry `key` of its weight.
  Error error_with(const std::string& key, const std::string& value) {
    onnx_full::ModelProto proto;
    EXPECT_TRUE(proto.ParseFromString(read_file(kData / "external" / "external.onnx")));
    auto* tensor = proto.mutable_graph()->mutable_initializer(0);
    bool is_found = false;
    for (auto& entry : *tensor->mutable_external_data()) {
      if (entry.key() != key) continue;
      entry.set_value(value);
      is_found = true;
    }
    if (!is_found) {
      auto* entry = tensor->add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
    write_file(model_, proto.SerializeAsString());
    const Error error = error_of([&] { read_onnx(model_); });
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_THAT(error.where(), HasSubstr("initializer 'w'")) << error.what();
    EXPECT_THAT(error.where(), HasSubstr("external.onnx")) << error.what();
    return error;
  }
  fs::path model_ = folder_ / "model" / "external.onnx";
};

TEST_F(OnnxExternalData, RefusesFilesOutsideTheFolder) {
  fs::copy_file(kData / "external" / "weights.bin", folder_ / "outside.bin");
  EXPECT_THAT(error_with("location", "../outside.bin").message(), HasSubstr("leads out of the folder"));
  EXPECT_THAT(error_with("location", "a/../../outside.bin").message(), HasSubstr("leads out of the folder"));
  EXPECT_THAT(error_with("location", (folder_ / "outside.bin").string()).message(), HasSubstr("absolute"));
  EXPECT_THAT(error_with("location", "/etc/passwd").message(), HasSubstr("absolute"));
  fs::create_symlink("../outside.bin", folder_ / "model" / "link.bin");
  EXPECT_THAT(error_with("location", "link.bin").message(), HasSubstr("symbolic link out of the folder"));
  fs::create_directory_symlink("..", folder_ / "model" / "up");
  EXPECT_THAT(error_with("location", "up/outside.bin").message(), HasSubstr("symbolic link out of the folder"));
  EXPECT_THAT(error_with("location", std::string("weights.bin\0x", 13)).message(), HasSubstr("NUL"));
  EXPECT_THAT(error_with("location", "").message(), HasSubstr("empty path"));
}

TEST_F(OnnxExternalData, RefusesMissingShortAndMisdescribedFiles) {
  EXPECT_THAT(error_with("location", "none.bin").message(), HasSubstr("cannot open"));
  EXPECT_THAT(error_with("location", ".").message(), HasSubstr("directory"));
  EXPECT_THAT(error_with("offset", "464").message(), HasSubstr("needs bytes 464 to 896 of 'weights.bin'"));
  EXPECT_THAT(error_with("offset", "18446744073709551615").message(), HasSubstr("which has 464"));
  EXPECT_THAT(error_with("offset", "18446744073709551616").message(), HasSubstr("no number"));
  EXPECT_THAT(error_with("offset", "-1").message(), HasSubstr("no number"));
  EXPECT_THAT(error_with("offset", "1x").message(), HasSubstr("no number"));
  EXPECT_THAT(error_with("length", "12").message(), HasSubstr("12 bytes of external data where float32"));
  fs::resize_file(folder_ / "model" / "weights.bin", 100);
  EXPECT_THAT(error_with("unknown key", "").message(), HasSubstr("which has 100"));
  fs::remove(folder_ / "model" / "weights.bin");
  ASSERT_EQ(::mkfifo((folder_ / "model" / "weights.bin").c_str(), 0600), 0);
  EXPECT_THAT(error_with("unknown key", "").message(), HasSubstr("not a regular file"));
}

TEST_F(OnnxExternalData, AcceptsLinksAndFoldersInside) {
  fs::create_directory(folder_ / "model" / "sub");
  fs::rename(folder_ / "model" / "weights.bin", folder_ / "model" / "sub" / "real.bin");
  fs::create_symlink("sub/real.bin", folder_ / "model" / "weights.bin");
  EXPECT_NO_THROW(read_onnx(model_));
}

// ------------------------------------------------------------------------------------------------ damage

/// Reads, checks and writes; only an Error may come out.
void survive(const std::string& bytes) {
  try {
    Model model = parse(bytes);
    serialize_onnx(model);
    check_model(model);
    inline_functions(model);
    check_model(model);
  } catch (const Error& error) {
    EXPECT_NE(error.kind(), ErrorKind::kInternal) << error.what();
  }
}

TEST(OnnxReader, SurvivesTruncation) {
  for (const char* name : {"conv.onnx", "control_flow.onnx", "functions.onnx", "everything.onnx"}) {
    const std::string bytes = read_file(kData / name);
    for (std::size_t size = 0; size < bytes.size(); ++size) survive(bytes.substr(0, size));
  }
}

TEST(OnnxReader, SurvivesFlippedBits) {
  set_log_level("error");  // Fields that became unknown are reported by a warning each.
  constexpr std::uint32_t seed = 20240607;
  std::mt19937 random(seed);
  for (const char* name : {"conv.onnx", "control_flow.onnx", "functions.onnx", "everything.onnx", "types_typed.onnx"}) {
    const std::string original = read_file(kData / name);
    for (int round = 0; round < 4000; ++round) {
      SCOPED_TRACE(std::string(name) + " seed " + std::to_string(seed) + " round " + std::to_string(round));
      std::string bytes = original;
      const int num_changes = 1 + static_cast<int>(random() % 3);
      for (int i = 0; i < num_changes; ++i) {
        const std::size_t at = random() % bytes.size();
        switch (random() % 4) {
          case 0: bytes[at] = static_cast<char>(random()); break;
          case 1: bytes.erase(at, 1 + random() % 4); break;
          case 2: bytes.insert(at, 1, static_cast<char>(random())); break;
          default: bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8)); break;
        }
        if (bytes.empty()) break;
      }
      survive(bytes);
    }
  }
}

}  // namespace
}  // namespace pajamas
