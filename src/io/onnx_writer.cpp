// Model to ONNX bytes. See onnx_writer.h.
//
// The outer layers (model, main graph, its initializers) are written in the wire format as a list of pieces, so that
// the weights are copied once, or not at all when they go to a file.
#include "io/onnx_writer.h"

#include <climits>
#include <deque>
#include <span>

#include "base/files.h"
#include "onnx.pb.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;
using Span = std::span<const std::byte>;

/// Alignment of tensors in an external file: a page, as the ONNX format asks, so that they can be mapped.
constexpr std::uint64_t kExternalAlignment = 4096;
/// Smaller tensors are copied into the text around them rather than kept as pieces of their own.
constexpr std::size_t kMinPieceBytes = 4096;

Span span_of(const std::string& text) { return std::as_bytes(std::span(text.data(), text.size())); }

/// Output in pieces: text of our own and borrowed weights.
class PieceList {
 public:
  void append(std::string_view text) {
    text_ += text;
    size_ += text.size();
  }
  void append(Span bytes) {
    if (bytes.size() < kMinPieceBytes) {
      append(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
      return;
    }
    flush();
    pieces_.push_back(bytes);
    size_ += bytes.size();
  }
  void append_varint(std::uint64_t value) {
    std::string text;
    for (; value >= 0x80U; value >>= 7U) text += static_cast<char>((value & 0x7fU) | 0x80U);
    text += static_cast<char>(value);
    append(text);
  }
  /// Tag and length of a field that holds a message or bytes.
  void append_header(int field_number, std::uint64_t size) {
    append_varint(static_cast<std::uint64_t>(field_number) << 3U | 2U);
    append_varint(size);
  }
  /// Moves the pieces of `other` to the end of this list.
  void append(PieceList&& other) {
    if (other.pieces_.empty()) {
      append(std::string_view(other.text_));
      return;
    }
    other.flush();
    flush();
    for (std::string& text : other.texts_) texts_.push_back(std::move(text));
    pieces_.insert(pieces_.end(), other.pieces_.begin(), other.pieces_.end());
    size_ += other.size_;
  }
  std::uint64_t size() const { return size_; }
  const std::vector<Span>& pieces() {
    flush();
    return pieces_;
  }

 private:
  void flush() {
    if (text_.empty()) return;
    // Never in the small-string form, whose bytes would move with the object.
    if (text_.capacity() < 64) text_.reserve(64);
    texts_.push_back(std::move(text_));
    text_.clear();
    pieces_.push_back(span_of(texts_.back()));
  }

  std::deque<std::string> texts_;
  std::vector<Span> pieces_;
  std::string text_;
  std::uint64_t size_ = 0;
};

template <typename Message>
void merge_extra(Message& message, const std::string& extra_fields) {
  if (!extra_fields.empty() && !message.MergeFromString(extra_fields)) {
    throw Error(ErrorKind::kInternal, "the kept fields of a part of the model cannot be read back");
  }
}

template <typename Message>
std::string serialize(const Message& message) {
  if (message.ByteSizeLong() > static_cast<std::size_t>(INT_MAX)) {
    throw Error(ErrorKind::kUnsupported, "a single node of the model is larger than the 2 GiB that ONNX allows", {},
                "keep large constants as initializers, not as attributes");
  }
  return message.SerializeAsString();
}

/// Where a writer puts large initializers that do not go into the message: into a file to be written, or nowhere, where
/// they lie in a file already.
class ExternalFile {
 public:
  ExternalFile(std::string name, std::uint64_t min_bytes) : name_(std::move(name)), min_bytes_(min_bytes) {}
  /// Tensors within `existing` are referred to, no others are taken.
  explicit ExternalFile(const MappedFile& existing)
      : name_(existing.path().filename().string()), existing_(existing.bytes()), is_existing_(true) {}

  bool takes(const Tensor& tensor) const {
    if (tensor.dtype() == DType::kString) return false;
    const Span bytes = tensor.bytes();
    if (is_existing_) {
      return !bytes.empty() && bytes.data() >= existing_.data() &&
             bytes.data() + bytes.size() <= existing_.data() + existing_.size();
    }
    return bytes.size() >= std::max<std::uint64_t>(min_bytes_, 1);
  }
  void add(const Tensor& tensor, onnx::TensorProto& proto) {
    proto.set_data_location(onnx::TensorProto::EXTERNAL);
    add_entry(proto, "location", name_);
    add_entry(proto, "offset", std::to_string(place(tensor.bytes())));
    add_entry(proto, "length", std::to_string(tensor.size_bytes()));
  }
  PieceList& content() { return content_; }

 private:
  /// Offset of the tensor in the file, to which it is added if it is not there yet.
  std::uint64_t place(Span bytes) {
    if (is_existing_) return static_cast<std::uint64_t>(bytes.data() - existing_.data());
    const std::uint64_t padding = (kExternalAlignment - content_.size() % kExternalAlignment) % kExternalAlignment;
    content_.append(std::string_view(zeros_).substr(0, padding));
    const std::uint64_t offset = content_.size();
    content_.append(bytes);
    return offset;
  }
  static void add_entry(onnx::TensorProto& proto, const char* key, const std::string& value) {
    auto* entry = proto.add_external_data();
    entry->set_key(key);
    entry->set_value(value);
  }
  std::string name_;
  std::uint64_t min_bytes_ = 0;
  Span existing_;
  bool is_existing_ = false;
  std::string zeros_ = std::string(kExternalAlignment, '\0');
  PieceList content_;
};

class ModelWriter {
 public:
  /// `external` may be null: all weights go into the message.
  explicit ModelWriter(ExternalFile* external) : external_(external) {}
  PieceList write(const Model& model);

 private:
  void fill_type(const ValueType& type, onnx::TypeProto& proto);
  template <typename Proto>
  void fill_tensor_type(const ValueType& type, Proto& proto);
  void fill_value_info(const ValueInfo& value, onnx::ValueInfoProto& proto);
  /// Type, extents and, unless `is_content_separate`, the elements.
  void fill_tensor(const Tensor& tensor, onnx::TensorProto& proto, bool is_content_separate = false);
  void fill_sparse(const SparseTensor& sparse, onnx::SparseTensorProto& proto);
  void fill_attribute_value(const Attribute& attribute, onnx::AttributeProto& proto);
  void fill_attribute(const Attribute& attribute, onnx::AttributeProto& proto);
  void fill_node(const Node& node, onnx::NodeProto& proto);
  /// True when the elements went to the external file.
  bool fill_initializer(const Initializer& initializer, onnx::TensorProto& proto, bool is_content_separate);
  void fill_graph_frame(const Graph& graph, onnx::GraphProto& proto);
  void fill_graph(const Graph& graph, onnx::GraphProto& proto);
  void fill_function(const Function& function, onnx::FunctionProto& proto);
  PieceList write_main_graph(const Graph& graph);

  ExternalFile* external_;
};

template <typename Field>
void fill_metadata(const Metadata& metadata, Field& field) {
  for (const auto& [key, value] : metadata) {
    auto* entry = field.Add();
    entry->set_key(key);
    entry->set_value(value);
  }
}

template <typename Field>
void fill_opsets(const std::vector<std::pair<std::string, std::int64_t>>& opsets, Field& field) {
  for (const auto& [domain, version] : opsets) {
    auto* entry = field.Add();
    entry->set_domain(domain);
    entry->set_version(version);
  }
}

template <typename Proto>
void ModelWriter::fill_tensor_type(const ValueType& type, Proto& proto) {
  if (type.dtype != DType::kUndefined) proto.set_elem_type(static_cast<std::int32_t>(type.dtype));
  if (!type.shape) return;
  auto* shape = proto.mutable_shape();
  for (const Dimension& dimension : *type.shape) {
    auto* dim = shape->add_dim();
    if (dimension.is_known()) dim->set_dim_value(dimension.extent());
    if (const auto* name = std::get_if<std::string>(&dimension.value)) dim->set_dim_param(*name);
    if (!dimension.denotation.empty()) dim->set_denotation(dimension.denotation);
  }
}

void ModelWriter::fill_type(const ValueType& type, onnx::TypeProto& proto) {
  if (!type.denotation.empty()) proto.set_denotation(type.denotation);
  switch (type.kind) {
    case ValueType::Kind::kTensor: fill_tensor_type(type, *proto.mutable_tensor_type()); break;
    case ValueType::Kind::kSparseTensor: fill_tensor_type(type, *proto.mutable_sparse_tensor_type()); break;
    case ValueType::Kind::kSequence: {
      auto* sequence = proto.mutable_sequence_type();
      if (type.element) fill_type(*type.element, *sequence->mutable_elem_type());
      break;
    }
    case ValueType::Kind::kOptional: {
      auto* optional = proto.mutable_optional_type();
      if (type.element) fill_type(*type.element, *optional->mutable_elem_type());
      break;
    }
    case ValueType::Kind::kMap: {
      auto* map = proto.mutable_map_type();
      if (type.dtype != DType::kUndefined) map->set_key_type(static_cast<std::int32_t>(type.dtype));
      if (type.element) fill_type(*type.element, *map->mutable_value_type());
      break;
    }
    case ValueType::Kind::kOpaque: {
      auto* opaque = proto.mutable_opaque_type();
      if (!type.opaque_domain.empty()) opaque->set_domain(type.opaque_domain);
      if (!type.opaque_name.empty()) opaque->set_name(type.opaque_name);
      break;
    }
  }
}

void ModelWriter::fill_value_info(const ValueInfo& value, onnx::ValueInfoProto& proto) {
  proto.set_name(value.name);
  if (value.type) fill_type(*value.type, *proto.mutable_type());
  if (!value.doc_string.empty()) proto.set_doc_string(value.doc_string);
  fill_metadata(value.metadata, *proto.mutable_metadata_props());
  merge_extra(proto, value.extra_fields);
}

void ModelWriter::fill_tensor(const Tensor& tensor, onnx::TensorProto& proto, bool is_content_separate) {
  for (const std::int64_t extent : tensor.shape()) proto.add_dims(extent);
  proto.set_data_type(static_cast<std::int32_t>(tensor.dtype()));
  if (tensor.dtype() == DType::kString) {
    for (const std::string& value : tensor.strings()) proto.add_string_data(value);
  } else if (!is_content_separate) {
    const Span bytes = tensor.bytes();
    proto.set_raw_data(bytes.data(), bytes.size());
  }
}

void ModelWriter::fill_sparse(const SparseTensor& sparse, onnx::SparseTensorProto& proto) {
  fill_tensor(sparse.values, *proto.mutable_values());
  if (!sparse.name.empty()) proto.mutable_values()->set_name(sparse.name);
  fill_tensor(sparse.indices, *proto.mutable_indices());
  for (const std::int64_t extent : sparse.shape) proto.add_dims(extent);
  merge_extra(proto, sparse.extra_fields);
}

void ModelWriter::fill_attribute_value(const Attribute& attribute, onnx::AttributeProto& proto) {
  using Proto = onnx::AttributeProto;
  struct Visitor {
    ModelWriter& writer;
    const Attribute& attribute;
    Proto& proto;

    void operator()(std::monostate) const {}
    void operator()(float value) const {
      proto.set_type(Proto::FLOAT);
      proto.set_f(value);
    }
    void operator()(std::int64_t value) const {
      proto.set_type(Proto::INT);
      proto.set_i(value);
    }
    void operator()(const std::string& value) const {
      proto.set_type(Proto::STRING);
      proto.set_s(value);
    }
    void operator()(const Tensor& value) const {
      proto.set_type(Proto::TENSOR);
      writer.fill_tensor(value, *proto.mutable_t());
      if (!attribute.tensor_name.empty()) proto.mutable_t()->set_name(attribute.tensor_name);
    }
    void operator()(const std::shared_ptr<Graph>& value) const {
      proto.set_type(Proto::GRAPH);
      writer.fill_graph(*value, *proto.mutable_g());
    }
    void operator()(const SparseTensor& value) const {
      proto.set_type(Proto::SPARSE_TENSOR);
      writer.fill_sparse(value, *proto.mutable_sparse_tensor());
    }
    void operator()(const ValueType& value) const {
      proto.set_type(Proto::TYPE_PROTO);
      writer.fill_type(value, *proto.mutable_tp());
    }
    void operator()(const std::vector<float>& values) const {
      proto.set_type(Proto::FLOATS);
      proto.mutable_floats()->Assign(values.begin(), values.end());
    }
    void operator()(const std::vector<std::int64_t>& values) const {
      proto.set_type(Proto::INTS);
      proto.mutable_ints()->Assign(values.begin(), values.end());
    }
    void operator()(const std::vector<std::string>& values) const {
      proto.set_type(Proto::STRINGS);
      for (const std::string& value : values) proto.add_strings(value);
    }
    void operator()(const std::vector<Tensor>& values) const {
      proto.set_type(Proto::TENSORS);
      for (const Tensor& value : values) writer.fill_tensor(value, *proto.add_tensors());
    }
    void operator()(const std::vector<std::shared_ptr<Graph>>& values) const {
      proto.set_type(Proto::GRAPHS);
      for (const auto& value : values) writer.fill_graph(*value, *proto.add_graphs());
    }
    void operator()(const std::vector<SparseTensor>& values) const {
      proto.set_type(Proto::SPARSE_TENSORS);
      for (const SparseTensor& value : values) writer.fill_sparse(value, *proto.add_sparse_tensors());
    }
    void operator()(const std::vector<ValueType>& values) const {
      proto.set_type(Proto::TYPE_PROTOS);
      for (const ValueType& value : values) writer.fill_type(value, *proto.add_type_protos());
    }
  };
  std::visit(Visitor{*this, attribute, proto}, attribute.value);
}

void ModelWriter::fill_attribute(const Attribute& attribute, onnx::AttributeProto& proto) {
  proto.set_name(attribute.name);
  if (!attribute.doc_string.empty()) proto.set_doc_string(attribute.doc_string);
  if (!attribute.ref_attr_name.empty()) {
    proto.set_ref_attr_name(attribute.ref_attr_name);
    if (onnx::AttributeProto::AttributeType_IsValid(attribute.ref_type)) {
      proto.set_type(static_cast<onnx::AttributeProto::AttributeType>(attribute.ref_type));
    }
  }
  fill_attribute_value(attribute, proto);
  if (attribute.extra_fields.empty()) return;
  onnx::AttributeProto extra;
  merge_extra(extra, attribute.extra_fields);
  // Merging would append list elements; what is kept of a list of tensors belongs to its elements one by one.
  if (proto.tensors_size() > 0) {
    for (int i = 0; i < std::min(extra.tensors_size(), proto.tensors_size()); ++i) {
      proto.mutable_tensors(i)->MergeFrom(extra.tensors(i));
    }
    extra.clear_tensors();
  }
  proto.MergeFrom(extra);
}

void ModelWriter::fill_node(const Node& node, onnx::NodeProto& proto) {
  for (const std::string& input : node.inputs) proto.add_input(input);
  for (const std::string& output : node.outputs) proto.add_output(output);
  if (!node.name.empty()) proto.set_name(node.name);
  proto.set_op_type(node.op_type);
  if (!node.domain.empty()) proto.set_domain(node.domain);
  if (!node.overload.empty()) proto.set_overload(node.overload);
  for (const Attribute& attribute : node.attributes) fill_attribute(attribute, *proto.add_attribute());
  if (!node.doc_string.empty()) proto.set_doc_string(node.doc_string);
  fill_metadata(node.metadata, *proto.mutable_metadata_props());
  merge_extra(proto, node.extra_fields);
}

bool ModelWriter::fill_initializer(const Initializer& initializer, onnx::TensorProto& proto, bool is_content_separate) {
  proto.set_name(initializer.name);
  const bool is_external = external_ != nullptr && external_->takes(initializer.tensor);
  fill_tensor(initializer.tensor, proto, is_content_separate || is_external);
  if (is_external) external_->add(initializer.tensor, proto);
  if (!initializer.doc_string.empty()) proto.set_doc_string(initializer.doc_string);
  fill_metadata(initializer.metadata, *proto.mutable_metadata_props());
  merge_extra(proto, initializer.extra_fields);
  return is_external;
}

void ModelWriter::fill_graph_frame(const Graph& graph, onnx::GraphProto& proto) {
  if (!graph.name.empty()) proto.set_name(graph.name);
  if (!graph.doc_string.empty()) proto.set_doc_string(graph.doc_string);
  for (const ValueInfo& value : graph.inputs) fill_value_info(value, *proto.add_input());
  for (const ValueInfo& value : graph.outputs) fill_value_info(value, *proto.add_output());
  for (const ValueInfo& value : graph.value_infos) fill_value_info(value, *proto.add_value_info());
  for (const SparseTensor& sparse : graph.sparse_initializers) fill_sparse(sparse, *proto.add_sparse_initializer());
  fill_metadata(graph.metadata, *proto.mutable_metadata_props());
  merge_extra(proto, graph.extra_fields);
}

void ModelWriter::fill_graph(const Graph& graph, onnx::GraphProto& proto) {
  for (const Node& node : graph.nodes) fill_node(node, *proto.add_node());
  for (const Initializer& initializer : graph.initializers) {
    fill_initializer(initializer, *proto.add_initializer(), false);
  }
  fill_graph_frame(graph, proto);
}

void ModelWriter::fill_function(const Function& function, onnx::FunctionProto& proto) {
  if (!function.name.empty()) proto.set_name(function.name);
  for (const std::string& input : function.inputs) proto.add_input(input);
  for (const std::string& output : function.outputs) proto.add_output(output);
  for (const std::string& attribute : function.attribute_names) proto.add_attribute(attribute);
  for (const Attribute& attribute : function.attributes) fill_attribute(attribute, *proto.add_attribute_proto());
  for (const Node& node : function.nodes) fill_node(node, *proto.add_node());
  if (!function.doc_string.empty()) proto.set_doc_string(function.doc_string);
  fill_opsets(function.opset_imports, *proto.mutable_opset_import());
  if (!function.domain.empty()) proto.set_domain(function.domain);
  if (!function.overload.empty()) proto.set_overload(function.overload);
  for (const ValueInfo& value : function.value_infos) fill_value_info(value, *proto.add_value_info());
  fill_metadata(function.metadata, *proto.mutable_metadata_props());
  merge_extra(proto, function.extra_fields);
}

PieceList ModelWriter::write_main_graph(const Graph& graph) {
  PieceList out;
  onnx::NodeProto node_proto;
  for (const Node& node : graph.nodes) {
    node_proto.Clear();
    fill_node(node, node_proto);
    const std::string text = serialize(node_proto);
    out.append_header(onnx::GraphProto::kNodeFieldNumber, text.size());
    out.append(text);
  }
  onnx::GraphProto frame;
  fill_graph_frame(graph, frame);
  out.append(serialize(frame));
  for (const Initializer& initializer : graph.initializers) {
    onnx::TensorProto proto;
    const bool is_external = fill_initializer(initializer, proto, true);
    const std::string text = serialize(proto);
    PieceList tensor;
    tensor.append(text);
    if (!is_external && initializer.tensor.dtype() != DType::kString) {
      const Span bytes = initializer.tensor.bytes();
      tensor.append_header(onnx::TensorProto::kRawDataFieldNumber, bytes.size());
      tensor.append(bytes);
    }
    out.append_header(onnx::GraphProto::kInitializerFieldNumber, tensor.size());
    out.append(std::move(tensor));
  }
  return out;
}

PieceList ModelWriter::write(const Model& model) {
  onnx::ModelProto proto;
  if (model.ir_version != 0) proto.set_ir_version(model.ir_version);
  if (!model.producer_name.empty()) proto.set_producer_name(model.producer_name);
  if (!model.producer_version.empty()) proto.set_producer_version(model.producer_version);
  if (!model.domain.empty()) proto.set_domain(model.domain);
  if (model.model_version != 0) proto.set_model_version(model.model_version);
  if (!model.doc_string.empty()) proto.set_doc_string(model.doc_string);
  fill_opsets(model.opset_imports, *proto.mutable_opset_import());
  fill_metadata(model.metadata, *proto.mutable_metadata_props());
  for (const Function& function : model.functions) fill_function(function, *proto.add_functions());
  merge_extra(proto, model.extra_fields);

  PieceList out;
  out.append(serialize(proto));
  PieceList graph = write_main_graph(model.graph);
  out.append_header(onnx::ModelProto::kGraphFieldNumber, graph.size());
  out.append(std::move(graph));
  return out;
}

[[noreturn]] void refuse_size(std::uint64_t size, const char* remedy) {
  throw Error(ErrorKind::kUnsupported,
              "the model takes " + std::to_string(size) + " bytes as ONNX, more than the 2 GiB of one file", {},
              remedy);
}

}  // namespace

std::string serialize_onnx(const Model& model) {
  PieceList out = ModelWriter(nullptr).write(model);
  if (out.size() > static_cast<std::uint64_t>(INT_MAX)) {
    refuse_size(out.size(), "write it to a file with external data");
  }
  std::string text;
  text.reserve(static_cast<std::size_t>(out.size()));
  for (const Span piece : out.pieces()) text.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  return text;
}

void write_onnx(const Model& model, const fs::path& path, const OnnxWriteOptions& options) {
  using ExternalData = OnnxWriteOptions::ExternalData;
  const char* const too_large = "keep large constants as initializers, not as attributes";
  if (options.existing_data != nullptr) {
    const fs::path folder = fs::absolute(path).parent_path().lexically_normal();
    if (fs::absolute(options.existing_data->path()).parent_path().lexically_normal() != folder) {
      throw Error(ErrorKind::kUsage, "its weights lie in another folder: " + options.existing_data->path().string(),
                  path.string(), "keep the model beside its weights");
    }
    ExternalFile external(*options.existing_data);
    PieceList out = ModelWriter(&external).write(model);
    if (out.size() > static_cast<std::uint64_t>(INT_MAX)) refuse_size(out.size(), too_large);
    write_file(path, out.pieces());
    return;
  }
  if (options.external_data != ExternalData::kAlways) {
    PieceList out = ModelWriter(nullptr).write(model);
    if (out.size() <= static_cast<std::uint64_t>(INT_MAX)) {
      write_file(path, out.pieces());
      return;
    }
    if (options.external_data == ExternalData::kNever) refuse_size(out.size(), "allow external data");
  }
  const std::string name =
      options.external_data_name.empty() ? path.filename().string() + ".data" : options.external_data_name;
  if (fs::path(name).filename() != name || name == "." || name == ".." || name == path.filename()) {
    throw Error(ErrorKind::kUsage, "'" + name + "' cannot be the name of the external data file", path.string(),
                "give a plain file name other than the model's");
  }
  ExternalFile external(name, options.min_external_bytes);
  PieceList out = ModelWriter(&external).write(model);
  if (out.size() > static_cast<std::uint64_t>(INT_MAX)) {
    refuse_size(out.size(), too_large);
  }
  // The data first: a model must never be seen without its weights.
  write_file(path.parent_path() / name, external.content().pieces());
  write_file(path, out.pieces());
}

}  // namespace pajamas
