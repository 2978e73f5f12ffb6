// The ONNX writer: external data, sizes and failures. That nothing is lost is onnx_roundtrip_test.cpp's subject.
#include "io/onnx_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "base/files.h"
#include "io/onnx_reader.h"
#include "onnx_full.pb.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class OnnxWriter : public testing::Test {
 protected:
  OnnxWriter() {
    folder_ = fs::temp_directory_path() / ("pajamas-onnx-writer-" + std::to_string(::getpid()) + "-" +
                                           testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
    model_ = read_onnx(fs::path(PAJAMAS_TEST_DATA) / "onnx" / "conv.onnx");
  }
  ~OnnxWriter() override { fs::remove_all(folder_); }

  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  fs::path folder_;
  Model model_;
};

TEST_F(OnnxWriter, WritesTheBytesThatItSerializes) {
  write_onnx(model_, folder_ / "m.onnx");
  EXPECT_THAT(files(), testing::ElementsAre("m.onnx"));
  EXPECT_EQ(read_file(folder_ / "m.onnx"), serialize_onnx(model_));
}

TEST_F(OnnxWriter, PutsWeightsBesideTheModel) {
  OnnxWriteOptions options;
  options.external_data = OnnxWriteOptions::ExternalData::kAlways;
  options.min_external_bytes = 100;  // The weight has 432 bytes, the bias 16.
  model_.graph.set_initializer("second", model_.graph.find_initializer("w")->tensor);
  write_onnx(model_, folder_ / "m.onnx", options);
  EXPECT_THAT(files(), testing::ElementsAre("m.onnx", "m.onnx.data"));
  EXPECT_EQ(fs::file_size(folder_ / "m.onnx.data"), 4096U + 432U);  // Each on a page of its own.
  onnx_full::ModelProto proto;
  ASSERT_TRUE(proto.ParseFromString(read_file(folder_ / "m.onnx")));
  EXPECT_EQ(proto.graph().initializer(0).data_location(), onnx_full::TensorProto::EXTERNAL);
  EXPECT_FALSE(proto.graph().initializer(0).has_raw_data());
  EXPECT_TRUE(proto.graph().initializer(1).has_raw_data());
  EXPECT_EQ(serialize_onnx(read_onnx(folder_ / "m.onnx")), serialize_onnx(model_));

  options.external_data_name = "w.bin";
  write_onnx(model_, folder_ / "n.onnx", options);
  EXPECT_THAT(files(), testing::ElementsAre("m.onnx", "m.onnx.data", "n.onnx", "w.bin"));
  EXPECT_EQ(serialize_onnx(read_onnx(folder_ / "n.onnx")), serialize_onnx(model_));
}

TEST_F(OnnxWriter, RefersToWeightsThatLieInAFileAlready) {
  // Eight bytes of something else, then the weight.
  const Tensor weight = model_.graph.find_initializer("w")->tensor;
  std::string content = "8 bytes.";
  content.append(reinterpret_cast<const char*>(weight.bytes().data()), weight.size_bytes());
  write_file(folder_ / "kept.bin", content);
  const std::string expected = serialize_onnx(model_);
  const auto mapped = MappedFile::open(folder_ / "kept.bin");
  model_.graph.set_initializer("w", Tensor(weight.dtype(), weight.shape(), mapped, mapped->bytes().subspan(8)));
  OnnxWriteOptions options;
  options.existing_data = mapped;
  write_onnx(model_, folder_ / "m.onnx", options);
  EXPECT_THAT(files(), testing::ElementsAre("kept.bin", "m.onnx"));
  EXPECT_EQ(read_file(folder_ / "kept.bin"), content);
  onnx_full::ModelProto proto;
  ASSERT_TRUE(proto.ParseFromString(read_file(folder_ / "m.onnx")));
  EXPECT_EQ(proto.graph().initializer(0).data_location(), onnx_full::TensorProto::EXTERNAL);
  EXPECT_TRUE(proto.graph().initializer(1).has_raw_data());  // The bias lies elsewhere.
  EXPECT_EQ(serialize_onnx(read_onnx(folder_ / "m.onnx")), expected);

  fs::create_directories(folder_ / "elsewhere");
  EXPECT_THROW(write_onnx(model_, folder_ / "elsewhere" / "m.onnx", options), Error);
}

TEST_F(OnnxWriter, RefusesNamesThatLeaveTheFolder) {
  OnnxWriteOptions options;
  options.external_data = OnnxWriteOptions::ExternalData::kAlways;
  for (const char* name : {"../w.bin", "/tmp/w.bin", "a/b", "..", ".", "m.onnx"}) {
    options.external_data_name = name;
    EXPECT_THROW(write_onnx(model_, folder_ / "m.onnx", options), Error) << name;
  }
  EXPECT_THAT(files(), testing::IsEmpty());
}

TEST_F(OnnxWriter, LeavesNothingWhereItCannotWrite) {
  EXPECT_THROW(write_onnx(model_, folder_ / "none" / "m.onnx"), Error);
  EXPECT_THAT(files(), testing::IsEmpty());
}

TEST_F(OnnxWriter, GoesPastTwoGigabytesWithExternalData) {
  // One tensor of 3 GiB that nobody ever touches: memory of a sparse file.
  const fs::path sparse = folder_ / "zeros";
  write_file(sparse, "x");
  const std::int64_t size = std::int64_t{3} << 30;
  ASSERT_EQ(::truncate(sparse.c_str(), size), 0);
  const auto file = MappedFile::open(sparse);
  model_.graph.set_initializer("huge", Tensor(DType::kUint8, {size}, file, file->bytes()));
  try {
    serialize_onnx(model_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr("2 GiB"));
    EXPECT_THAT(error.remedy(), HasSubstr("external data"));
  }
  OnnxWriteOptions options;
  options.external_data = OnnxWriteOptions::ExternalData::kNever;
  EXPECT_THROW(write_onnx(model_, folder_ / "m.onnx", options), Error);
  EXPECT_THAT(files(), testing::ElementsAre("zeros"));
}

}  // namespace
}  // namespace pajamas
