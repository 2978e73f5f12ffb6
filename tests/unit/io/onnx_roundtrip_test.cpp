// Reading a model and writing it again loses nothing: messages parsed independently, with reflection, are compared
// before and after. What the reader normalises by design (weights as raw data, absent fields that hold their default)
// is normalised on both sides first.
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/files.h"
#include "io/onnx_reader.h"
#include "io/onnx_writer.h"
#include "onnx_full.pb.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;
namespace pb = google::protobuf;

template <typename Field>
void append_raw(const Field& values, std::string& raw) {
  if (!values.empty()) {
    raw.append(reinterpret_cast<const char*>(values.data()),
               static_cast<std::size_t>(values.size()) * sizeof(values[0]));
  }
}

void use_raw_data(onnx_full::TensorProto& tensor) {
  if (tensor.data_type() == onnx_full::TensorProto::STRING || tensor.has_raw_data()) return;
  std::string raw;
  switch (tensor.data_type()) {
    case onnx_full::TensorProto::FLOAT: append_raw(tensor.float_data(), raw); break;
    case onnx_full::TensorProto::DOUBLE: append_raw(tensor.double_data(), raw); break;
    case onnx_full::TensorProto::INT64: append_raw(tensor.int64_data(), raw); break;
    case onnx_full::TensorProto::INT32: append_raw(tensor.int32_data(), raw); break;
    case onnx_full::TensorProto::BOOL:
    case onnx_full::TensorProto::INT8:
    case onnx_full::TensorProto::UINT8:
      for (const auto value : tensor.int32_data()) raw += static_cast<char>(value);
      break;
    default: FAIL() << "the test has no raw form for type " << tensor.data_type();
  }
  tensor.clear_float_data();
  tensor.clear_double_data();
  tensor.clear_int64_data();
  tensor.clear_int32_data();
  tensor.set_raw_data(raw);
}

/// Clears scalars that hold their default, and brings tensors to raw data, in the whole message. Oneof members and
/// attribute values keep their presence: it means something there.
void normalise(pb::Message& message) {
  if (auto* tensor = dynamic_cast<onnx_full::TensorProto*>(&message)) use_raw_data(*tensor);
  if (auto* attribute = dynamic_cast<onnx_full::AttributeProto*>(&message)) {
    // A value equal to the default may be left out of the file.
    if (attribute->type() == onnx_full::AttributeProto::INT) attribute->set_i(attribute->i());
    if (attribute->type() == onnx_full::AttributeProto::FLOAT) attribute->set_f(attribute->f());
    if (attribute->type() == onnx_full::AttributeProto::STRING) attribute->set_s(attribute->s());
  }
  const pb::Reflection& reflection = *message.GetReflection();
  const pb::Descriptor& descriptor = *message.GetDescriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const pb::FieldDescriptor* field = descriptor.field(i);
    if (field->is_repeated()) {
      if (field->cpp_type() != pb::FieldDescriptor::CPPTYPE_MESSAGE) continue;
      for (int j = 0; j < reflection.FieldSize(message, field); ++j) {
        normalise(*reflection.MutableRepeatedMessage(&message, field, j));
      }
    } else if (reflection.HasField(message, field)) {
      if (field->cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE) {
        normalise(*reflection.MutableMessage(&message, field));
      } else if (field->cpp_type() == pb::FieldDescriptor::CPPTYPE_STRING && field->containing_oneof() == nullptr &&
                 field->name() != "s" && field->name() != "raw_data" && reflection.GetString(message, field).empty()) {
        reflection.ClearField(&message, field);
      } else if (field->name() == "model_version" && reflection.GetInt64(message, field) == 0) {
        reflection.ClearField(&message, field);
      } else if (field->name() == "data_location") {
        reflection.ClearField(&message, field);
      }
    }
  }
}

onnx_full::ModelProto normalised(const std::string& bytes) {
  onnx_full::ModelProto proto;
  EXPECT_TRUE(proto.ParseFromString(bytes));
  normalise(proto);
  return proto;
}

void expect_lossless(const std::string& bytes, const std::string& name) {
  SCOPED_TRACE(name);
  const Model model = parse_onnx(std::as_bytes(std::span(bytes.data(), bytes.size())));
  const std::string again = serialize_onnx(model);
  std::string difference;
  pb::util::MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&difference);
  EXPECT_TRUE(differencer.Compare(normalised(bytes), normalised(again))) << difference.substr(0, 2000);
  // The bytes depend on the model only.
  const Model second = parse_onnx(std::as_bytes(std::span(again.data(), again.size())));
  EXPECT_EQ(serialize_onnx(second), again);
}

TEST(OnnxRoundTrip, PublishedModelsComeBackUnchanged) {
  const fs::path deps = PAJAMAS_DEPS_DIR;
  int num_models = 0;
  for (const fs::path& folder : {deps / "packages" / "nudenet", deps / "onnx" / "onnx" / "backend" / "test" / "data"}) {
    if (!fs::exists(folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (entry.path().extension() != ".onnx") continue;
      expect_lossless(read_file(entry.path()), entry.path().string());
      ++num_models;
    }
  }
  EXPECT_GT(num_models, 50);
}

TEST(OnnxRoundTrip, EveryFieldOfEveryMessageComesBack) {
  const fs::path data = fs::path(PAJAMAS_TEST_DATA) / "onnx";
  for (const char* name : {"everything.onnx", "functions.onnx", "control_flow.onnx", "types_raw.onnx", "conv.onnx"}) {
    expect_lossless(read_file(data / name), name);
  }
}

TEST(OnnxRoundTrip, TheComparisonSeesALoss) {
  const std::string bytes = read_file(fs::path(PAJAMAS_TEST_DATA) / "onnx" / "everything.onnx");
  Model model = parse_onnx(std::as_bytes(std::span(bytes.data(), bytes.size())));
  model.graph.extra_fields.clear();
  EXPECT_FALSE(pb::util::MessageDifferencer::Equals(normalised(bytes), normalised(serialize_onnx(model))));
}

}  // namespace
}  // namespace pajamas
