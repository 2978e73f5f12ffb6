// ONNX bytes to Model. See onnx_reader.h.
//
// The outer layers (model, main graph, its initializers) are walked in the wire format, so that weights are taken in
// place and nodes become protobuf objects one at a time; everything below is parsed by the generated classes.
#include "io/onnx_reader.h"

#include <google/protobuf/io/coded_stream.h>

#include <climits>

#include "base/log.h"
#include "io/onnx_tensor_reader.h"
#include "io/onnx_wire.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;
using Pieces = std::vector<std::span<const std::byte>>;

/// Messages inside one another that protobuf follows. A nested graph takes three (attribute, graph, node), so that
/// kMaxReadNesting is reached, and reported by name, first.
constexpr int kProtobufRecursionLimit = 3 * kMaxReadNesting + 40;

const char* const kExportAgain = "check that the file is a complete .onnx file: download or export it again";

[[noreturn]] void not_onnx(const std::string& why) {
  throw Error(ErrorKind::kBadInput, "not an ONNX model: " + why, {}, kExportAgain);
}

template <typename Message>
void parse_message(Message& message, const Pieces& pieces) {
  wire::PieceStream stream(pieces);
  google::protobuf::io::CodedInputStream input(&stream);
  input.SetRecursionLimit(kProtobufRecursionLimit);
  input.SetTotalBytesLimit(INT_MAX);
  if (!message.ParseFromCodedStream(&input) || !input.ConsumedEntireMessage()) {
    not_onnx("a part of it is damaged or truncated, or nested deeper than " + std::to_string(kMaxReadNesting) +
             " graphs");
  }
}

/// What is left in a message after its known fields were taken and cleared.
template <typename Message>
std::string leftovers(const Message& message) {
  return message.ByteSizeLong() == 0 ? std::string() : message.SerializeAsString();
}

class ModelReader {
 public:
  ModelReader(std::optional<fs::path> folder, std::shared_ptr<const void> owner, const MappedFile* mapped_file)
      : tensors_(std::move(folder)), owner_(std::move(owner)), mapped_file_(mapped_file) {}

  Model read(std::span<const std::byte> bytes);

 private:
  void read_main_graph(std::span<const std::byte> bytes, Graph& graph, Pieces& rest);
  void read_main_initializer(std::span<const std::byte> bytes, Graph& graph);

  /// Everything of a GraphProto but its nodes and initializers.
  void convert_graph_frame(onnx::GraphProto& proto, Graph& graph);
  Graph convert_graph(onnx::GraphProto& proto, int depth);
  Node convert_node(onnx::NodeProto& proto, int depth);
  Attribute convert_attribute(onnx::AttributeProto& proto, const std::string& node, int depth);
  Initializer convert_initializer(onnx::TensorProto& proto, const std::optional<RawData>& raw);
  SparseTensor convert_sparse(onnx::SparseTensorProto& proto, const std::string& where);
  ValueInfo convert_value_info(onnx::ValueInfoProto& proto);
  std::optional<ValueType> convert_type(const onnx::TypeProto& proto);
  std::vector<Dimension> convert_shape(const onnx::TensorShapeProto& proto);
  Function convert_function(onnx::FunctionProto& proto);

  template <typename Field>
  Metadata convert_metadata(Field& field);
  template <typename Field>
  std::vector<std::pair<std::string, std::int64_t>> convert_opsets(const Field& field);
  template <typename Field>
  std::vector<ValueInfo> convert_value_infos(Field& field);
  /// Counts unknown fields of small records that have no place to keep them.
  template <typename Message>
  void note_unknown(const Message& message) {
    if (!message.unknown_fields().empty()) ++num_dropped_;
  }

  TensorReader tensors_;
  std::shared_ptr<const void> owner_;
  const MappedFile* mapped_file_;
  int num_dropped_ = 0;
};

template <typename Field>
Metadata ModelReader::convert_metadata(Field& field) {
  Metadata metadata;
  metadata.reserve(static_cast<std::size_t>(field.size()));
  for (auto& entry : field) {
    note_unknown(entry);
    metadata.emplace_back(std::move(*entry.mutable_key()), std::move(*entry.mutable_value()));
  }
  field.Clear();
  return metadata;
}

template <typename Field>
std::vector<std::pair<std::string, std::int64_t>> ModelReader::convert_opsets(const Field& field) {
  std::vector<std::pair<std::string, std::int64_t>> opsets;
  for (const auto& entry : field) {
    note_unknown(entry);
    opsets.emplace_back(entry.domain(), entry.version());
  }
  return opsets;
}

template <typename Field>
std::vector<ValueInfo> ModelReader::convert_value_infos(Field& field) {
  std::vector<ValueInfo> values;
  values.reserve(static_cast<std::size_t>(field.size()));
  for (auto& entry : field) values.push_back(convert_value_info(entry));
  field.Clear();
  return values;
}

std::vector<Dimension> ModelReader::convert_shape(const onnx::TensorShapeProto& proto) {
  note_unknown(proto);
  std::vector<Dimension> shape;
  shape.reserve(static_cast<std::size_t>(proto.dim_size()));
  for (const auto& dim : proto.dim()) {
    note_unknown(dim);
    Dimension dimension;
    if (dim.has_dim_value()) dimension.value = dim.dim_value();
    if (dim.has_dim_param()) dimension.value = dim.dim_param();
    dimension.denotation = dim.denotation();
    shape.push_back(std::move(dimension));
  }
  return shape;
}

std::optional<ValueType> ModelReader::convert_type(const onnx::TypeProto& proto) {
  note_unknown(proto);
  const auto element = [this](const onnx::TypeProto& inner) -> std::shared_ptr<const ValueType> {
    auto type = convert_type(inner);
    return type ? std::make_shared<const ValueType>(std::move(*type)) : nullptr;
  };
  const auto tensor = [this](const auto& inner, ValueType& type) {
    note_unknown(inner);
    type.dtype = static_cast<DType>(inner.elem_type());
    if (inner.has_shape()) type.shape = convert_shape(inner.shape());
  };
  ValueType type;
  type.denotation = proto.denotation();
  switch (proto.value_case()) {
    case onnx::TypeProto::kTensorType: tensor(proto.tensor_type(), type); break;
    case onnx::TypeProto::kSparseTensorType:
      type.kind = ValueType::Kind::kSparseTensor;
      tensor(proto.sparse_tensor_type(), type);
      break;
    case onnx::TypeProto::kSequenceType:
      type.kind = ValueType::Kind::kSequence;
      note_unknown(proto.sequence_type());
      if (proto.sequence_type().has_elem_type()) type.element = element(proto.sequence_type().elem_type());
      break;
    case onnx::TypeProto::kOptionalType:
      type.kind = ValueType::Kind::kOptional;
      note_unknown(proto.optional_type());
      if (proto.optional_type().has_elem_type()) type.element = element(proto.optional_type().elem_type());
      break;
    case onnx::TypeProto::kMapType:
      type.kind = ValueType::Kind::kMap;
      note_unknown(proto.map_type());
      type.dtype = static_cast<DType>(proto.map_type().key_type());
      if (proto.map_type().has_value_type()) type.element = element(proto.map_type().value_type());
      break;
    case onnx::TypeProto::kOpaqueType:
      type.kind = ValueType::Kind::kOpaque;
      note_unknown(proto.opaque_type());
      type.opaque_domain = proto.opaque_type().domain();
      type.opaque_name = proto.opaque_type().name();
      break;
    case onnx::TypeProto::VALUE_NOT_SET: return std::nullopt;
  }
  return type;
}

ValueInfo ModelReader::convert_value_info(onnx::ValueInfoProto& proto) {
  ValueInfo value;
  value.name = std::move(*proto.mutable_name());
  value.doc_string = std::move(*proto.mutable_doc_string());
  value.metadata = convert_metadata(*proto.mutable_metadata_props());
  if (proto.has_type()) value.type = convert_type(proto.type());
  proto.clear_name();
  proto.clear_doc_string();
  // A type that says nothing is kept as it is (some exporters write them for values they could not infer).
  if (value.type) proto.clear_type();
  value.extra_fields = leftovers(proto);
  return value;
}

SparseTensor ModelReader::convert_sparse(onnx::SparseTensorProto& proto, const std::string& where) {
  SparseTensor sparse;
  sparse.name = proto.values().name();
  const std::string place = where + " '" + sparse.name + "'";
  for (const std::int64_t extent : proto.dims()) {
    if (extent < 0) throw Error(ErrorKind::kBadInput, "has a negative extent", place, kExportAgain);
    sparse.shape.push_back(extent);
  }
  if (!proto.has_values() || !proto.has_indices()) {
    throw Error(ErrorKind::kBadInput, "has no values or no indices", place, kExportAgain);
  }
  sparse.values = tensors_.read(*proto.mutable_values(), std::nullopt, place + " values");
  sparse.indices = tensors_.read(*proto.mutable_indices(), std::nullopt, place + " indices");
  proto.mutable_values()->clear_name();
  if (proto.values().ByteSizeLong() == 0) proto.clear_values();
  if (proto.indices().ByteSizeLong() == 0) proto.clear_indices();
  proto.clear_dims();
  sparse.extra_fields = leftovers(proto);
  return sparse;
}

Initializer ModelReader::convert_initializer(onnx::TensorProto& proto, const std::optional<RawData>& raw) {
  Initializer initializer;
  initializer.tensor = tensors_.read(proto, raw, "initializer '" + proto.name() + "'");
  initializer.name = std::move(*proto.mutable_name());
  initializer.doc_string = std::move(*proto.mutable_doc_string());
  initializer.metadata = convert_metadata(*proto.mutable_metadata_props());
  proto.clear_name();
  proto.clear_doc_string();
  initializer.extra_fields = leftovers(proto);
  return initializer;
}

/// The type of an attribute, inferred for files from before IR version 2 that do not say it.
onnx::AttributeProto::AttributeType type_of(const onnx::AttributeProto& proto) {
  using Proto = onnx::AttributeProto;
  if (proto.type() != Proto::UNDEFINED) return proto.type();
  if (proto.has_f()) return Proto::FLOAT;
  if (proto.has_i()) return Proto::INT;
  if (proto.has_s()) return Proto::STRING;
  if (proto.has_t()) return Proto::TENSOR;
  if (proto.has_g()) return Proto::GRAPH;
  if (proto.has_sparse_tensor()) return Proto::SPARSE_TENSOR;
  if (proto.has_tp()) return Proto::TYPE_PROTO;
  if (proto.floats_size() > 0) return Proto::FLOATS;
  if (proto.ints_size() > 0) return Proto::INTS;
  if (proto.strings_size() > 0) return Proto::STRINGS;
  if (proto.tensors_size() > 0) return Proto::TENSORS;
  if (proto.graphs_size() > 0) return Proto::GRAPHS;
  if (proto.sparse_tensors_size() > 0) return Proto::SPARSE_TENSORS;
  if (proto.type_protos_size() > 0) return Proto::TYPE_PROTOS;
  return Proto::UNDEFINED;
}

Attribute ModelReader::convert_attribute(onnx::AttributeProto& proto, const std::string& node, int depth) {
  using Proto = onnx::AttributeProto;
  Attribute attribute;
  attribute.name = std::move(*proto.mutable_name());
  attribute.doc_string = std::move(*proto.mutable_doc_string());
  attribute.ref_attr_name = std::move(*proto.mutable_ref_attr_name());
  const auto type = type_of(proto);
  proto.clear_name();
  proto.clear_doc_string();
  proto.clear_ref_attr_name();
  proto.clear_type();
  const auto where = [&] { return "attribute '" + attribute.name + "' of " + node; };
  if (!attribute.ref_attr_name.empty()) {
    attribute.ref_type = type;
    attribute.extra_fields = leftovers(proto);
    return attribute;
  }
  const auto need = [&](bool is_present) {
    if (!is_present) throw Error(ErrorKind::kBadInput, "has no value", where(), kExportAgain);
  };
  // Whether the value's own message still holds something (a name, documentation) after its elements were taken.
  bool has_details = false;
  switch (type) {
    case Proto::UNDEFINED: break;
    case Proto::FLOAT:
      attribute.value = proto.f();
      proto.clear_f();
      break;
    case Proto::INT:
      attribute.value = std::int64_t{proto.i()};
      proto.clear_i();
      break;
    case Proto::STRING:
      attribute.value = std::move(*proto.mutable_s());
      proto.clear_s();
      break;
    case Proto::TENSOR:
      need(proto.has_t());
      attribute.value = tensors_.read(*proto.mutable_t(), std::nullopt, where());
      attribute.tensor_name = std::move(*proto.mutable_t()->mutable_name());
      proto.mutable_t()->clear_name();
      if (proto.t().ByteSizeLong() == 0) proto.clear_t();
      break;
    case Proto::GRAPH:
      need(proto.has_g());
      attribute.value = std::make_shared<Graph>(convert_graph(*proto.mutable_g(), depth + 1));
      proto.clear_g();
      break;
    case Proto::SPARSE_TENSOR:
      need(proto.has_sparse_tensor());
      attribute.value = convert_sparse(*proto.mutable_sparse_tensor(), where());
      proto.clear_sparse_tensor();
      break;
    case Proto::TYPE_PROTO: {
      need(proto.has_tp());
      if (auto value = convert_type(proto.tp())) {
        attribute.value = std::move(*value);
        proto.clear_tp();
      } else {
        proto.set_type(type);  // A type that says nothing stays as it is, in extra_fields.
      }
      break;
    }
    case Proto::FLOATS:
      attribute.value = std::vector<float>(proto.floats().begin(), proto.floats().end());
      proto.clear_floats();
      break;
    case Proto::INTS:
      attribute.value = std::vector<std::int64_t>(proto.ints().begin(), proto.ints().end());
      proto.clear_ints();
      break;
    case Proto::STRINGS:
      attribute.value = std::vector<std::string>(proto.strings().begin(), proto.strings().end());
      proto.clear_strings();
      break;
    case Proto::TENSORS: {
      std::vector<Tensor> values;
      for (auto& tensor : *proto.mutable_tensors()) {
        values.push_back(tensors_.read(tensor, std::nullopt, where()));
        has_details = has_details || tensor.ByteSizeLong() > 0;
      }
      attribute.value = std::move(values);
      if (!has_details) proto.clear_tensors();
      break;
    }
    case Proto::GRAPHS: {
      std::vector<std::shared_ptr<Graph>> values;
      for (auto& graph : *proto.mutable_graphs()) {
        values.push_back(std::make_shared<Graph>(convert_graph(graph, depth + 1)));
      }
      attribute.value = std::move(values);
      proto.clear_graphs();
      break;
    }
    case Proto::SPARSE_TENSORS: {
      std::vector<SparseTensor> values;
      for (auto& tensor : *proto.mutable_sparse_tensors()) values.push_back(convert_sparse(tensor, where()));
      attribute.value = std::move(values);
      proto.clear_sparse_tensors();
      break;
    }
    case Proto::TYPE_PROTOS: {
      std::vector<ValueType> values;
      for (const auto& type_proto : proto.type_protos()) {
        auto value = convert_type(type_proto);
        values.push_back(value ? std::move(*value) : ValueType{});
      }
      attribute.value = std::move(values);
      proto.clear_type_protos();
      break;
    }
  }
  attribute.extra_fields = leftovers(proto);
  return attribute;
}

Node ModelReader::convert_node(onnx::NodeProto& proto, int depth) {
  Node node;
  node.name = std::move(*proto.mutable_name());
  node.op_type = std::move(*proto.mutable_op_type());
  node.domain = std::move(*proto.mutable_domain());
  node.overload = std::move(*proto.mutable_overload());
  node.doc_string = std::move(*proto.mutable_doc_string());
  node.inputs.assign(std::make_move_iterator(proto.mutable_input()->begin()),
                     std::make_move_iterator(proto.mutable_input()->end()));
  node.outputs.assign(std::make_move_iterator(proto.mutable_output()->begin()),
                      std::make_move_iterator(proto.mutable_output()->end()));
  node.metadata = convert_metadata(*proto.mutable_metadata_props());
  if (proto.attribute_size() > 0) {
    const std::string description = node.describe();
    node.attributes.reserve(static_cast<std::size_t>(proto.attribute_size()));
    for (auto& attribute : *proto.mutable_attribute()) {
      node.attributes.push_back(convert_attribute(attribute, description, depth));
    }
  }
  proto.clear_name();
  proto.clear_op_type();
  proto.clear_domain();
  proto.clear_overload();
  proto.clear_doc_string();
  proto.clear_input();
  proto.clear_output();
  proto.clear_attribute();
  node.extra_fields = leftovers(proto);
  return node;
}

void ModelReader::convert_graph_frame(onnx::GraphProto& proto, Graph& graph) {
  graph.name = std::move(*proto.mutable_name());
  graph.doc_string = std::move(*proto.mutable_doc_string());
  graph.inputs = convert_value_infos(*proto.mutable_input());
  graph.outputs = convert_value_infos(*proto.mutable_output());
  graph.value_infos = convert_value_infos(*proto.mutable_value_info());
  for (auto& sparse : *proto.mutable_sparse_initializer()) {
    graph.sparse_initializers.push_back(convert_sparse(sparse, "sparse initializer"));
  }
  graph.metadata = convert_metadata(*proto.mutable_metadata_props());
  proto.clear_name();
  proto.clear_doc_string();
  proto.clear_sparse_initializer();
  graph.extra_fields = leftovers(proto);
}

Graph ModelReader::convert_graph(onnx::GraphProto& proto, int depth) {
  if (depth > kMaxReadNesting) {
    throw Error(ErrorKind::kBadInput, "graphs are nested deeper than " + std::to_string(kMaxReadNesting),
                "graph '" + proto.name() + "'", "simplify the control flow (If, Loop, Scan) of the model");
  }
  Graph graph;
  graph.nodes.reserve(static_cast<std::size_t>(proto.node_size()));
  for (auto& node : *proto.mutable_node()) graph.nodes.push_back(convert_node(node, depth));
  for (auto& tensor : *proto.mutable_initializer()) {
    graph.initializers.push_back(convert_initializer(tensor, std::nullopt));
  }
  proto.clear_node();
  proto.clear_initializer();
  convert_graph_frame(proto, graph);
  return graph;
}

Function ModelReader::convert_function(onnx::FunctionProto& proto) {
  Function function;
  function.name = std::move(*proto.mutable_name());
  function.domain = std::move(*proto.mutable_domain());
  function.overload = std::move(*proto.mutable_overload());
  function.doc_string = std::move(*proto.mutable_doc_string());
  function.inputs.assign(proto.input().begin(), proto.input().end());
  function.outputs.assign(proto.output().begin(), proto.output().end());
  function.attribute_names.assign(proto.attribute().begin(), proto.attribute().end());
  const std::string description = "function '" + function.name + "'";
  for (auto& attribute : *proto.mutable_attribute_proto()) {
    function.attributes.push_back(convert_attribute(attribute, description, 0));
  }
  function.nodes.reserve(static_cast<std::size_t>(proto.node_size()));
  for (auto& node : *proto.mutable_node()) function.nodes.push_back(convert_node(node, 0));
  function.opset_imports = convert_opsets(proto.opset_import());
  function.value_infos = convert_value_infos(*proto.mutable_value_info());
  function.metadata = convert_metadata(*proto.mutable_metadata_props());
  proto.clear_name();
  proto.clear_domain();
  proto.clear_overload();
  proto.clear_doc_string();
  proto.clear_input();
  proto.clear_output();
  proto.clear_attribute();
  proto.clear_attribute_proto();
  proto.clear_node();
  proto.clear_opset_import();
  function.extra_fields = leftovers(proto);
  return function;
}

void ModelReader::read_main_initializer(std::span<const std::byte> bytes, Graph& graph) {
  Pieces rest;
  std::optional<RawData> raw;
  wire::FieldReader fields(bytes);
  for (wire::Field field; fields.next(field);) {
    if (field.number == onnx::TensorProto::kRawDataFieldNumber && field.type == wire::WireType::kBytes) {
      raw = RawData{field.payload, owner_, mapped_file_};  // As everywhere in protobuf, the last one counts.
    } else {
      wire::append_piece(rest, field.encoded);
    }
  }
  onnx::TensorProto proto;
  parse_message(proto, rest);
  graph.initializers.push_back(convert_initializer(proto, raw));
}

void ModelReader::read_main_graph(std::span<const std::byte> bytes, Graph& graph, Pieces& rest) {
  onnx::NodeProto node;
  wire::FieldReader fields(bytes);
  for (wire::Field field; fields.next(field);) {
    if (field.type == wire::WireType::kBytes && field.number == onnx::GraphProto::kNodeFieldNumber) {
      node.Clear();
      parse_message(node, {field.payload});
      graph.nodes.push_back(convert_node(node, 0));
    } else if (field.type == wire::WireType::kBytes && field.number == onnx::GraphProto::kInitializerFieldNumber) {
      read_main_initializer(field.payload, graph);
    } else {
      wire::append_piece(rest, field.encoded);
    }
  }
}

Model ModelReader::read(std::span<const std::byte> bytes) {
  if (bytes.empty()) not_onnx("it is empty");
  if (bytes.size() > static_cast<std::size_t>(INT_MAX)) {
    throw Error(ErrorKind::kBadInput,
                "has " + std::to_string(bytes.size()) + " bytes, more than the 2 GiB that an ONNX file may have", {},
                "save the model with external data (onnx.save(..., save_as_external_data=True))");
  }
  Model model;
  Pieces model_rest;
  Pieces graph_rest;
  bool has_graph = false;
  wire::FieldReader fields(bytes);
  for (wire::Field field; fields.next(field);) {
    if (field.type == wire::WireType::kBytes && field.number == onnx::ModelProto::kGraphFieldNumber) {
      has_graph = true;
      read_main_graph(field.payload, model.graph, graph_rest);
    } else {
      wire::append_piece(model_rest, field.encoded);
    }
  }
  if (!has_graph) not_onnx("it holds no graph");

  onnx::GraphProto frame;
  parse_message(frame, graph_rest);
  convert_graph_frame(frame, model.graph);

  onnx::ModelProto proto;
  parse_message(proto, model_rest);
  model.ir_version = proto.ir_version();
  model.opset_imports = convert_opsets(proto.opset_import());
  model.producer_name = std::move(*proto.mutable_producer_name());
  model.producer_version = std::move(*proto.mutable_producer_version());
  model.domain = std::move(*proto.mutable_domain());
  model.model_version = proto.model_version();
  model.doc_string = std::move(*proto.mutable_doc_string());
  model.metadata = convert_metadata(*proto.mutable_metadata_props());
  for (auto& function : *proto.mutable_functions()) model.functions.push_back(convert_function(function));
  proto.clear_ir_version();
  proto.clear_opset_import();
  proto.clear_producer_name();
  proto.clear_producer_version();
  proto.clear_domain();
  proto.clear_model_version();
  proto.clear_doc_string();
  proto.clear_functions();
  model.extra_fields = leftovers(proto);
  if (num_dropped_ > 0) {
    log().warn("the model has {} small records with fields that this version does not know; they are not kept",
               num_dropped_);
  }
  return model;
}

}  // namespace

Model read_onnx(const fs::path& path, const OnnxReadOptions& options) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (options.use_mapping) {
    const auto file = MappedFile::open(path);
    try {
      return ModelReader(folder, file, file.get()).read(file->bytes());
    } catch (const Error& error) {
      throw error.with_context(path.string());
    }
  }
  const auto text = std::make_shared<const std::string>(read_file(path));
  try {
    return ModelReader(folder, text, nullptr).read(std::as_bytes(std::span(text->data(), text->size())));
  } catch (const Error& error) {
    throw error.with_context(path.string());
  }
}

Model parse_onnx(std::span<const std::byte> bytes, const std::optional<fs::path>& folder,
                 std::shared_ptr<const void> owner) {
  return ModelReader(folder, std::move(owner), nullptr).read(bytes);
}

}  // namespace pajamas
