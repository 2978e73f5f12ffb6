// Graph: ONNX in memory, the one description of a model that every pass and every target works on.
//
// Everything an ONNX ModelProto can say has a place here, so that reading a file and writing it again loses nothing.
// Not a file format: io/onnx_reader.h and io/onnx_writer.h do that. Not an execution form: targets lower it.
// The types are plain data without locks: share them between threads only while nobody writes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "pajamas/tensor.h"

namespace pajamas {

struct Graph;

/// Key/value pairs in the order of the file.
using Metadata = std::vector<std::pair<std::string, std::string>>;

/// One extent of a declared shape: known, named ("batch"), or unknown.
struct Dimension {
  std::variant<std::monostate, std::int64_t, std::string> value;
  std::string denotation;

  bool is_known() const { return std::holds_alternative<std::int64_t>(value); }
  /// Only when is_known().
  std::int64_t extent() const { return std::get<std::int64_t>(value); }
  /// "3", "batch" or "?".
  std::string to_string() const;
  static Dimension known(std::int64_t extent) { return {extent, {}}; }
  static Dimension named(std::string name) { return {std::move(name), {}}; }
  bool operator==(const Dimension&) const = default;
};

/// Type of a value. Tensors are the common case; sequences, maps and optionals nest through `element`.
struct ValueType {
  enum class Kind { kTensor, kSparseTensor, kSequence, kMap, kOptional, kOpaque };
  Kind kind = Kind::kTensor;
  DType dtype = DType::kUndefined;              ///< kTensor, kSparseTensor: elements; kMap: keys.
  std::optional<std::vector<Dimension>> shape;  ///< kTensor, kSparseTensor; empty optional: unknown rank.
  std::shared_ptr<const ValueType> element;     ///< kSequence, kOptional: elements; kMap: values.
  std::string opaque_domain;                    ///< kOpaque.
  std::string opaque_name;                      ///< kOpaque.
  std::string denotation;

  /// The shape when the rank and every extent are known.
  std::optional<Shape> static_shape() const;
  /// "float32[batch, 3, 640, 640]", "float32[?]" for an unknown rank.
  std::string to_string() const;
};

/// Declaration of a graph input, output or inner value.
struct ValueInfo {
  std::string name;
  std::optional<ValueType> type;
  std::string doc_string;
  Metadata metadata;
  std::string extra_fields = {};  ///< Serialised ValueInfoProto with only the fields that have no member here.
};

/// A sparse tensor in ONNX's coordinate form.
struct SparseTensor {
  std::string name;
  Tensor values;   ///< [num_nonzero]
  Tensor indices;  ///< int64 [num_nonzero] (linear) or [num_nonzero, rank]
  Shape shape;
  std::string extra_fields = {};  ///< Serialised SparseTensorProto with only the fields that have no member here.
};

/// Value of an attribute. The order of the alternatives is not part of any format.
using AttributeValue = std::variant<std::monostate, float, std::int64_t, std::string, Tensor, std::shared_ptr<Graph>,
                                    SparseTensor, ValueType, std::vector<float>, std::vector<std::int64_t>,
                                    std::vector<std::string>, std::vector<Tensor>, std::vector<std::shared_ptr<Graph>>,
                                    std::vector<SparseTensor>, std::vector<ValueType>>;

/// A named attribute of a node. Inside a function it may instead refer to an attribute of the function
/// (`ref_attr_name`), and then `value` is empty and `ref_type` says which type it stands for.
struct Attribute {
  std::string name;
  AttributeValue value;
  std::string ref_attr_name;
  int ref_type = 0;  ///< ONNX AttributeProto.AttributeType number, only with ref_attr_name.
  std::string doc_string;
  std::string tensor_name;  ///< Name inside a Tensor value, kept for the round trip.
  /// Serialised AttributeProto with only the fields that have no member here. Its i-th tensor holds what the i-th
  /// tensor of `value` says beside its elements (name, documentation).
  std::string extra_fields = {};
};

/// One operator call. Inputs and outputs are value names; an empty name is an omitted optional one.
struct Node {
  std::string name;
  std::string op_type;
  std::string domain;  ///< "" is ai.onnx.
  std::string overload;
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  std::vector<Attribute> attributes;
  std::string doc_string;
  Metadata metadata;
  std::string extra_fields;  ///< Serialised NodeProto with only the fields that have no member here.

  const Attribute* find_attribute(std::string_view attribute_name) const;
  /// Value of an attribute of the wanted type, or the fallback when absent. Throws Error{kBadInput} naming the node
  /// when it is present with another type.
  std::int64_t int_attribute(std::string_view attribute_name, std::int64_t fallback) const;
  float float_attribute(std::string_view attribute_name, float fallback) const;
  std::string string_attribute(std::string_view attribute_name, std::string_view fallback) const;
  std::vector<std::int64_t> ints_attribute(std::string_view attribute_name,
                                           std::vector<std::int64_t> fallback = {}) const;
  /// Adds or replaces.
  void set_attribute(std::string attribute_name, AttributeValue value);
  void remove_attribute(std::string_view attribute_name);

  /// True for an operator of the default ONNX domain ("" or "ai.onnx") with this name.
  bool is(std::string_view type) const;
  /// "Conv node '/model.0/conv/Conv'" or, without a name, "Conv node producing 'x'": how messages name a node.
  std::string describe() const;
};

/// One initializer: a constant value of the graph, with its name.
struct Initializer {
  std::string name;
  Tensor tensor;
  std::string doc_string;
  Metadata metadata;
  std::string extra_fields = {};  ///< Serialised TensorProto with only the fields that have no member here.
};

/// A graph: nodes in topological order plus its interface. Also the body of If, Loop and Scan.
struct Graph {
  std::string name;
  std::vector<Node> nodes;
  std::vector<ValueInfo> inputs;  ///< As in the file: before IR version 4 also the initializers.
  std::vector<ValueInfo> outputs;
  std::vector<ValueInfo> value_infos;
  std::vector<Initializer> initializers;
  std::vector<SparseTensor> sparse_initializers;
  std::string doc_string;
  Metadata metadata;
  std::string extra_fields;  ///< Serialised GraphProto with only the fields that have no member here.

  const Initializer* find_initializer(std::string_view value_name) const;
  Initializer* find_initializer(std::string_view value_name);
  /// Adds or replaces the initializer `value_name`.
  void set_initializer(const std::string& value_name, Tensor tensor);
  const ValueInfo* find_input(std::string_view value_name) const;
  /// Inputs that have no initializer: what a caller must feed.
  std::vector<const ValueInfo*> required_inputs() const;
  /// A value name not used anywhere in this graph, starting with `stem`. Linear in the size of the graph.
  std::string unused_name(const std::string& stem) const;
};

/// A model-local function (ONNX IR version 8).
struct Function {
  std::string name;
  std::string domain;
  std::string overload;
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  std::vector<std::string> attribute_names;  ///< Required ones.
  std::vector<Attribute> attributes;         ///< Those with a default.
  std::vector<Node> nodes;
  std::vector<std::pair<std::string, std::int64_t>> opset_imports;
  std::vector<ValueInfo> value_infos;
  std::string doc_string;
  Metadata metadata;
  std::string extra_fields = {};  ///< Serialised FunctionProto with only the fields that have no member here.
};

/// A whole model: the main graph and what ONNX's ModelProto says beside it.
struct Model {
  Graph graph;
  std::int64_t ir_version = 0;
  std::vector<std::pair<std::string, std::int64_t>> opset_imports;  ///< (domain, version); "" is ai.onnx.
  std::vector<Function> functions;
  std::string producer_name;
  std::string producer_version;
  std::string domain;
  std::int64_t model_version = 0;
  std::string doc_string;
  Metadata metadata;
  std::string extra_fields;  ///< Serialised ModelProto with only the fields that have no member here.

  /// Opset of the default domain. Throws Error{kBadInput} when none is declared.
  std::int64_t opset() const;
  /// Version imported for a domain, if any; "" and "ai.onnx" are one.
  std::optional<std::int64_t> opset_of(std::string_view domain_name) const;
  /// Value of a metadata key, or nullptr.
  const std::string* find_metadata(std::string_view key) const;
  void set_metadata(const std::string& key, std::string value);
};

/// Where each value of a graph comes from and goes to. Built once per pass; invalid after the graph changes.
class ValueUses {
 public:
  explicit ValueUses(const Graph& graph);
  /// Index of the node that produces a value, or -1 (input, initializer, outer scope).
  int producer(std::string_view value_name) const;
  /// How many node inputs (in nested graphs too) and graph outputs refer to the value.
  int num_uses(std::string_view value_name) const;
  /// Indices of the nodes that take the value directly (not through nested graphs).
  const std::vector<int>& consumers(std::string_view value_name) const;
  bool is_graph_output(std::string_view value_name) const;

 private:
  struct Entry {
    int producer = -1;
    int num_uses = 0;
    bool is_output = false;
    std::vector<int> consumers;
  };
  const Entry* find(std::string_view value_name) const;
  std::map<std::string, Entry, std::less<>> entries_;
};

/// Sum of the bytes of all initializers and tensor attributes, nested graphs included.
std::uint64_t weight_bytes(const Graph& graph);

}  // namespace pajamas
