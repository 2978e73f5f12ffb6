// Sessions of ONNX Runtime: loading with extra outputs, tensors in and out, and its errors in the project's terms.
#include "verify/onnxruntime_reference.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <regex>
#include <set>

#include "base/files.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;

/// ONNX Runtime's error codes that decide the kind of our Error.
enum OrtErrorCode { kOrtInvalidArgument = 2, kOrtNotImplemented = 9, kOrtExecutionProviderFail = 11 };
/// Its kinds of values; only tensors (1) have bytes to compare.
constexpr int kOrtTensor = 1;
/// Key of the session option that says where external weights of a model given as bytes lie.
constexpr const char* kExternalFolderKey = "session.model_external_initializers_file_folder_path";
/// protobuf, and so the library, reads at most this much in one message.
constexpr std::size_t kMaxModelBytes = 0x7fffffff;

int level_of(OnnxRuntimeOptions::Optimisation optimisation) {
  switch (optimisation) {
    case OnnxRuntimeOptions::Optimisation::kNone: return 0;
    case OnnxRuntimeOptions::Optimisation::kBasic: return 1;
    case OnnxRuntimeOptions::Optimisation::kAll: return 99;
  }
  return 1;
}

void append_varint(std::string& out, std::size_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(0x80 | (value & 0x7f)));
  out.push_back(static_cast<char>(value));
}

void append_field(std::string& out, int field, std::string_view payload) {
  constexpr int kLengthDelimited = 2;
  append_varint(out, static_cast<std::size_t>(field << 3 | kLengthDelimited));
  append_varint(out, payload.size());
  out.append(payload);
}

/// A ModelProto that holds nothing but `names` as graph outputs without types. protobuf merges messages that are
/// concatenated, so appending these bytes to a serialised model adds the outputs without reading the model.
std::string outputs_to_merge(const std::vector<std::string>& names) {
  constexpr int kModelGraph = 7;
  constexpr int kGraphOutput = 12;
  constexpr int kValueInfoName = 1;
  std::string graph;
  for (const auto& name : names) {
    std::string value_info;
    append_field(value_info, kValueInfoName, name);
    append_field(graph, kGraphOutput, value_info);
  }
  std::string model;
  append_field(model, kModelGraph, graph);
  return model;
}

/// The node that a message of ONNX Runtime names, as "Conv node '/a/Conv'"; empty when it names none.
std::string node_in(const std::string& message) {
  static const std::regex patterns[] = {
      std::regex(R"(running (\w+) node\. Name:'([^']*)')"),                           // while a node runs
      std::regex(R"(implementation for (\w+)\(\d+\) node with name '([^']*)')"),      // no kernel
      std::regex(R"re(In Node, \("([^"]*)", (\w+),)re"),                              // a check of the loader
      std::regex(R"(Node \(([^()]*)\) Op \((\w+)\))"),                                // shape or type inference
      std::regex(R"(Fatal error: ([\w.:]+)\(-?\d+\) is not a registered function)"),  // an unknown operator
  };
  for (std::size_t i = 0; i < std::size(patterns); ++i) {
    std::smatch match;
    if (!std::regex_search(message, match, patterns[i])) continue;
    if (i == 4) return match[1].str() + " node";
    const bool is_name_first = i >= 2;
    const std::string type = match[is_name_first ? 2 : 1];
    const std::string name = match[is_name_first ? 1 : 2];
    std::string node = type + " node";
    if (!name.empty()) node.append(" '").append(name).append("'");
    return node;
  }
  return {};
}

std::size_t num_cores_or(int num_threads) { return num_threads > 0 ? static_cast<std::size_t>(num_threads) : 0; }

/// One execution context of the peer. Outputs live until the next run.
class OnnxRuntimeRun final : public Session {
 public:
  explicit OnnxRuntimeRun(std::shared_ptr<const OnnxRuntimeSession> session)
      : session_(std::move(session)), inputs_(session_->inputs().size()) {}

  void set_input(std::size_t index, const TensorView& tensor) override {
    if (index >= inputs_.size()) throw Error(ErrorKind::kUsage, "there is no input " + std::to_string(index));
    const auto& info = session_->inputs()[index];
    if (tensor.dtype != info.dtype) {
      throw Error(ErrorKind::kBadInput,
                  std::string("it takes ") + to_string(info.dtype) + ", not " + to_string(tensor.dtype),
                  "input '" + info.name + "'");
    }
    inputs_[index] = tensor;
  }
  void run() override {
    const auto start = std::chrono::steady_clock::now();
    outputs_ = session_->run(std::span<const TensorView>(inputs_));
    timing_.device = std::chrono::steady_clock::now() - start;
  }
  TensorView output(std::size_t index) const override { return outputs_.at(index).view(); }
  RunTiming last_timing() const override { return timing_; }

 private:
  std::shared_ptr<const OnnxRuntimeSession> session_;
  std::vector<TensorView> inputs_;
  std::vector<Tensor> outputs_;
  RunTiming timing_;
};

class OnnxRuntimeEngine final : public Engine {
 public:
  OnnxRuntimeEngine(std::shared_ptr<const OnnxRuntimeSession> session, int num_threads)
      : session_(std::move(session)), num_threads_(num_threads) {}
  const std::vector<TensorInfo>& inputs() const override { return session_->inputs(); }
  const std::vector<TensorInfo>& outputs() const override { return session_->outputs(); }
  std::unique_ptr<Session> new_session() const override { return std::make_unique<OnnxRuntimeRun>(session_); }
  nlohmann::json describe() const override {
    return {{"device", "CPU"},
            {"implementation", "onnxruntime"},
            {"version", session_->version()},
            {"precision", "as the model"},
            {"num_threads", num_threads_}};
  }

 private:
  std::shared_ptr<const OnnxRuntimeSession> session_;
  int num_threads_;
};

}  // namespace

OnnxRuntimeSession::OnnxRuntimeSession(std::span<const std::byte> bytes, const fs::path& external_data_folder,
                                       const OnnxRuntimeOptions& options)
    : library_(OnnxRuntimeLibrary::get()) {
  load(bytes, external_data_folder, options);
}

OnnxRuntimeSession::OnnxRuntimeSession(const fs::path& file, const OnnxRuntimeOptions& options)
    : library_(OnnxRuntimeLibrary::get()), where_(file.string()) {
  const auto mapped = MappedFile::open(file);
  const fs::path folder = fs::absolute(file).parent_path();
  load(mapped->bytes(), folder, options);
}

void OnnxRuntimeSession::load(std::span<const std::byte> bytes, const fs::path& external_data_folder,
                              const OnnxRuntimeOptions& options) {
  if (bytes.empty()) throw Error(ErrorKind::kBadInput, "the ONNX model is empty", where_);
  std::string merged;
  if (!options.extra_outputs.empty()) {
    const std::string extra = outputs_to_merge(options.extra_outputs);
    merged.reserve(bytes.size() + extra.size());
    merged.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    merged.append(extra);
    bytes = std::as_bytes(std::span(merged));
  }
  if (bytes.size() > kMaxModelBytes) {
    throw Error(ErrorKind::kUnsupported, "ONNX Runtime reads models of at most 2 GiB in one message", where_,
                "save the model with its weights as external data");
  }
  const auto& f = library_->functions();
  OrtSessionOptions* raw_options = nullptr;
  check(f.create_session_options(&raw_options), "its session options cannot be made");
  const std::unique_ptr<OrtSessionOptions, void (*)(OrtSessionOptions*)> session_options(raw_options,
                                                                                         f.release_session_options);
  check(f.set_session_graph_optimization_level(raw_options, level_of(options.optimisation)), "an option is refused");
  // 0 leaves the choice to the library: one thread a physical core.
  check(f.set_intra_op_num_threads(raw_options, static_cast<int>(num_cores_or(options.num_threads))),
        "an option is refused");
  check(f.set_inter_op_num_threads(raw_options, 1), "an option is refused");
  constexpr int kErrorsOnly = 3;
  check(f.set_session_log_severity_level(raw_options, kErrorsOnly), "an option is refused");
  if (!external_data_folder.empty()) {
    check(f.add_session_config_entry(raw_options, kExternalFolderKey, external_data_folder.c_str()),
          "an option is refused");
  }
  OrtSession* raw_session = nullptr;
  check(f.create_session_from_array(library_->environment(), bytes.data(), bytes.size(), raw_options, &raw_session),
        "ONNX Runtime does not load the model");
  session_ = std::shared_ptr<OrtSession>(raw_session, f.release_session);

  const auto name_and_free = [&](char* name) {
    std::string copy = name;
    if (OrtStatus* status = f.allocator_free(library_->allocator(), name)) f.release_status(status);
    return copy;
  };
  std::size_t num_inputs = 0;
  std::size_t num_outputs = 0;
  check(f.session_get_input_count(raw_session, &num_inputs), "the model's inputs cannot be read");
  check(f.session_get_output_count(raw_session, &num_outputs), "the model's outputs cannot be read");
  for (std::size_t i = 0; i < num_inputs + num_outputs; ++i) {
    const bool is_input = i < num_inputs;
    const std::size_t index = is_input ? i : i - num_inputs;
    char* name = nullptr;
    OrtTypeInfo* type = nullptr;
    check((is_input ? f.session_get_input_name : f.session_get_output_name)(raw_session, index, library_->allocator(),
                                                                            &name),
          "a name cannot be read");
    std::string copied = name_and_free(name);
    check((is_input ? f.session_get_input_type_info : f.session_get_output_type_info)(raw_session, index, &type),
          "a type cannot be read");
    (is_input ? inputs_ : outputs_).push_back(describe(type, std::move(copied)));
  }
}

TensorInfo OnnxRuntimeSession::describe(OrtTypeInfo* type, std::string name) const {
  const auto& f = library_->functions();
  const std::unique_ptr<OrtTypeInfo, void (*)(OrtTypeInfo*)> owner(type, f.release_type_info);
  TensorInfo info;
  info.name = std::move(name);
  const OrtTensorTypeAndShapeInfo* tensor = nullptr;
  check(f.cast_type_info_to_tensor_info(type, &tensor), "a type cannot be read");
  if (tensor == nullptr) return info;  // a sequence, map or optional
  int dtype = 0;
  std::size_t rank = 0;
  check(f.get_tensor_element_type(tensor, &dtype), "a type cannot be read");
  check(f.get_dimensions_count(tensor, &rank), "a type cannot be read");
  std::vector<std::int64_t> extents(rank);
  std::vector<const char*> names(rank, nullptr);
  check(f.get_dimensions(tensor, extents.data(), rank), "a type cannot be read");
  check(f.get_symbolic_dimensions(tensor, names.data(), rank), "a type cannot be read");
  info.dtype = static_cast<DType>(dtype);
  for (std::size_t axis = 0; axis < rank; ++axis) {
    if (extents[axis] >= 0) {
      info.shape.push_back(Dimension::known(extents[axis]));
    } else if (names[axis] != nullptr && *names[axis] != '\0') {
      info.shape.push_back(Dimension::named(names[axis]));
    } else {
      info.shape.emplace_back();
    }
  }
  return info;
}

void OnnxRuntimeSession::fail(OrtStatus* status, const char* what) const {
  const auto& f = library_->functions();
  const int code = f.get_error_code(status);
  const std::string message = f.get_error_message(status);
  f.release_status(status);
  // Nearly every refusal is due to the model or the inputs; a fault of the library itself shows as one of its engines.
  const ErrorKind kind = code == kOrtNotImplemented          ? ErrorKind::kUnsupported
                         : code == kOrtExecutionProviderFail ? ErrorKind::kInternal
                                                             : ErrorKind::kBadInput;
  const std::string node = node_in(message);
  // What this version does not know yet, whatever code it comes with: an operator, or an opset newer than itself.
  bool is_unknown = false;
  for (const char* text :
       {"is not a registered function", "No Op registered for", "is under development and support"}) {
    is_unknown = is_unknown || message.find(text) != std::string::npos;
  }
  const std::string where = where_.empty() ? node : node.empty() ? where_ : where_ + ": " + node;
  throw Error(is_unknown ? ErrorKind::kUnsupported : kind, std::string(what) + ": " + message, where,
              "the proof needs a model that the reference runs: correct what it names, or export the model again");
}

void OnnxRuntimeSession::check(OrtStatus* status, const char* what) const {
  if (status != nullptr) fail(status, what);
}

std::shared_ptr<OrtValue> OnnxRuntimeSession::value_of(const TensorView& view,
                                                       const std::vector<std::string>* strings) const {
  const auto& f = library_->functions();
  const auto& extents = view.shape.extents();
  OrtValue* value = nullptr;
  if (view.dtype == DType::kString) {
    check(f.create_tensor_as_ort_value(library_->allocator(), extents.data(), extents.size(),
                                       static_cast<int>(view.dtype), &value),
          "an input cannot be made");
    std::shared_ptr<OrtValue> owner(value, f.release_value);
    std::vector<const char*> pointers;
    if (strings != nullptr) {
      for (const auto& text : *strings) pointers.push_back(text.c_str());
    }
    check(f.fill_string_tensor(value, pointers.data(), pointers.size()), "an input cannot be made");
    return owner;
  }
  // ONNX Runtime reads inputs only; its interface has no const. An empty tensor still needs an address.
  static std::byte nothing{};
  void* data = const_cast<std::byte*>(view.data != nullptr ? view.data : &nothing);
  check(f.create_tensor_with_data_as_ort_value(library_->host_memory(), data, view.size_bytes(), extents.data(),
                                               extents.size(), static_cast<int>(view.dtype), &value),
        "an input cannot be made");
  return {value, f.release_value};
}

Tensor OnnxRuntimeSession::tensor_of(std::shared_ptr<OrtValue> value) const {
  const auto& f = library_->functions();
  if (!value) return {};  // an optional output that was not computed
  int kind = 0;
  check(f.get_value_type(value.get(), &kind), "an output cannot be read");
  if (kind != kOrtTensor) return {};
  OrtTensorTypeAndShapeInfo* raw_info = nullptr;
  check(f.get_tensor_type_and_shape(value.get(), &raw_info), "an output cannot be read");
  const std::unique_ptr<OrtTensorTypeAndShapeInfo, void (*)(OrtTensorTypeAndShapeInfo*)> info(
      raw_info, f.release_tensor_type_and_shape_info);
  int dtype_number = 0;
  std::size_t rank = 0;
  check(f.get_tensor_element_type(raw_info, &dtype_number), "an output cannot be read");
  check(f.get_dimensions_count(raw_info, &rank), "an output cannot be read");
  std::vector<std::int64_t> extents(rank);
  check(f.get_dimensions(raw_info, extents.data(), rank), "an output cannot be read");
  const auto dtype = static_cast<DType>(dtype_number);
  Shape shape(std::move(extents));
  if (dtype == DType::kString) {
    const auto num_strings = static_cast<std::size_t>(shape.num_elements());
    std::size_t size_bytes = 0;
    check(f.get_string_tensor_data_length(value.get(), &size_bytes), "an output cannot be read");
    std::string bytes(size_bytes, '\0');
    std::vector<std::size_t> offsets(num_strings);
    check(f.get_string_tensor_content(value.get(), bytes.data(), size_bytes, offsets.data(), num_strings),
          "an output cannot be read");
    std::vector<std::string> strings;
    for (std::size_t i = 0; i < num_strings; ++i) {
      const std::size_t end = i + 1 < num_strings ? offsets[i + 1] : size_bytes;
      strings.push_back(bytes.substr(offsets[i], end - offsets[i]));
    }
    return {std::move(shape), std::move(strings)};
  }
  const std::size_t size_bytes = bytes_of(dtype, shape);
  if (size_bytes == 0) return {dtype, std::move(shape)};
  void* data = nullptr;
  check(f.get_tensor_mutable_data(value.get(), &data), "an output cannot be read");
  // The value keeps its memory alive beyond the session, so nothing is copied.
  return {dtype, std::move(shape), std::move(value), {static_cast<const std::byte*>(data), size_bytes}};
}

std::vector<Tensor> OnnxRuntimeSession::run_values(const std::vector<const char*>& names,
                                                   const std::vector<const OrtValue*>& values) const {
  const auto& f = library_->functions();
  std::vector<const char*> output_names;
  for (const auto& output : outputs_) output_names.push_back(output.name.c_str());
  std::vector<OrtValue*> raw(outputs_.size(), nullptr);
  OrtStatus* status = f.run(session_.get(), nullptr, names.data(), values.data(), values.size(), output_names.data(),
                            output_names.size(), raw.data());
  std::vector<std::shared_ptr<OrtValue>> owned;
  for (OrtValue* value : raw) owned.emplace_back(value, f.release_value);
  check(status, "ONNX Runtime does not run the model");
  std::vector<Tensor> outputs;
  for (auto& value : owned) outputs.push_back(tensor_of(std::move(value)));
  return outputs;
}

std::vector<Tensor> OnnxRuntimeSession::run(const std::vector<std::pair<std::string, Tensor>>& inputs) const {
  std::vector<const char*> names;
  std::vector<std::shared_ptr<OrtValue>> owned;
  std::vector<const OrtValue*> values;
  std::set<std::string_view> given;
  for (const auto& input : inputs) {
    const auto& [name, tensor] = input;
    const auto known =
        std::find_if(inputs_.begin(), inputs_.end(), [&](const auto& info) { return info.name == input.first; });
    if (known == inputs_.end()) {
      throw Error(ErrorKind::kBadInput, "the model has no input '" + name + "'", where_);
    }
    if (!given.insert(name).second) throw Error(ErrorKind::kBadInput, "input '" + name + "' is given twice", where_);
    if (known->dtype != tensor.dtype()) {
      throw Error(ErrorKind::kBadInput,
                  "input '" + name + "' takes " + to_string(known->dtype) + ", not " + to_string(tensor.dtype()),
                  where_);
    }
    names.push_back(known->name.c_str());
    owned.push_back(value_of(tensor.view(), tensor.dtype() == DType::kString ? &tensor.strings() : nullptr));
    values.push_back(owned.back().get());
  }
  for (const auto& info : inputs_) {
    if (!given.contains(info.name)) {
      throw Error(ErrorKind::kBadInput, "input '" + info.name + "' is not given", where_);
    }
  }
  return run_values(names, values);
}

std::vector<Tensor> OnnxRuntimeSession::run(std::span<const TensorView> inputs) const {
  std::vector<const char*> names;
  std::vector<std::shared_ptr<OrtValue>> owned;
  std::vector<const OrtValue*> values;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (i >= inputs_.size() || inputs[i].dtype == DType::kUndefined) {
      throw Error(ErrorKind::kBadInput, "input " + std::to_string(i) + " is not given or unknown", where_);
    }
    names.push_back(inputs_[i].name.c_str());
    owned.push_back(value_of(inputs[i], nullptr));
    values.push_back(owned.back().get());
  }
  return run_values(names, values);
}

std::shared_ptr<const Engine> onnxruntime_engine(std::shared_ptr<const OnnxRuntimeSession> session, int num_threads) {
  return std::make_shared<OnnxRuntimeEngine>(std::move(session), num_threads);
}

}  // namespace pajamas
