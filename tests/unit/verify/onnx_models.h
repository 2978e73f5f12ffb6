// Small ONNX models for the tests of verification, made through protobuf directly: they must not depend on the
// project's own reader and writer, whose faults verification is there to find.
#pragma once

#include <onnx.pb.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

namespace pajamas::testing {

/// A ModelProto of opset 17 that grows node by node.
class OnnxBuilder {
 public:
  OnnxBuilder() {
    model_.set_ir_version(8);
    auto* opset = model_.add_opset_import();
    opset->set_domain("");
    opset->set_version(17);
    model_.mutable_graph()->set_name("test");
  }

  /// An extent: a number, or a name for a dynamic one.
  struct Extent {
    Extent(int value) : number(value) {}                  // NOLINT(google-explicit-constructor)
    Extent(const char* text) : number(-1), name(text) {}  // NOLINT(google-explicit-constructor)
    std::int64_t number;
    std::string name;
  };

  OnnxBuilder& input(const std::string& name, std::initializer_list<Extent> shape, int dtype = 1) {
    declare(model_.mutable_graph()->add_input(), name, shape, dtype);
    return *this;
  }
  OnnxBuilder& output(const std::string& name, std::initializer_list<Extent> shape, int dtype = 1) {
    declare(model_.mutable_graph()->add_output(), name, shape, dtype);
    return *this;
  }
  onnx::NodeProto& node(const std::string& type, const std::vector<std::string>& inputs,
                        const std::vector<std::string>& outputs, const std::string& name = {}) {
    auto* node = model_.mutable_graph()->add_node();
    node->set_op_type(type);
    node->set_name(name);
    for (const auto& value : inputs) node->add_input(value);
    for (const auto& value : outputs) node->add_output(value);
    return *node;
  }
  OnnxBuilder& weights(const std::string& name, const std::vector<std::int64_t>& shape,
                       const std::vector<float>& values) {
    auto* tensor = model_.mutable_graph()->add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(1);
    for (const auto extent : shape) tensor->add_dims(extent);
    tensor->set_raw_data(values.data(), values.size() * sizeof(float));
    return *this;
  }
  OnnxBuilder& integers(const std::string& name, const std::vector<std::int64_t>& shape,
                        const std::vector<std::int64_t>& values) {
    auto* tensor = model_.mutable_graph()->add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(7);
    for (const auto extent : shape) tensor->add_dims(extent);
    tensor->set_raw_data(values.data(), values.size() * sizeof(std::int64_t));
    return *this;
  }
  onnx::ModelProto& proto() { return model_; }
  std::string bytes() const { return model_.SerializeAsString(); }

  static void set_int(onnx::NodeProto& node, const std::string& name, std::int64_t value) {
    auto* attribute = node.add_attribute();
    attribute->set_name(name);
    attribute->set_type(onnx::AttributeProto::INT);
    attribute->set_i(value);
  }

 private:
  static void declare(onnx::ValueInfoProto* info, const std::string& name, std::initializer_list<Extent> shape,
                      int dtype) {
    info->set_name(name);
    auto* type = info->mutable_type()->mutable_tensor_type();
    type->set_elem_type(dtype);
    type->mutable_shape();
    for (const auto& extent : shape) {
      auto* dim = type->mutable_shape()->add_dim();
      if (extent.number >= 0) {
        dim->set_dim_value(extent.number);
      } else {
        dim->set_dim_param(extent.name);
      }
    }
  }
  onnx::ModelProto model_;
};

inline std::span<const std::byte> as_bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

}  // namespace pajamas::testing
