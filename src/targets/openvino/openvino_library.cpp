// See openvino_library.h.
#include "targets/openvino/openvino_library.h"

#include <algorithm>
#include <openvino/core/version.hpp>
#include <openvino/runtime/properties.hpp>
#include <regex>
#include <vector>

namespace pajamas::openvino {

namespace {

struct TypePair {
  DType dtype;
  ov::element::Type_t type;
};
constexpr TypePair kTypes[] = {
    {DType::kFloat32, ov::element::Type_t::f32},  {DType::kUint8, ov::element::Type_t::u8},
    {DType::kInt8, ov::element::Type_t::i8},      {DType::kUint16, ov::element::Type_t::u16},
    {DType::kInt16, ov::element::Type_t::i16},    {DType::kInt32, ov::element::Type_t::i32},
    {DType::kInt64, ov::element::Type_t::i64},    {DType::kBool, ov::element::Type_t::boolean},
    {DType::kFloat16, ov::element::Type_t::f16},  {DType::kFloat64, ov::element::Type_t::f64},
    {DType::kUint32, ov::element::Type_t::u32},   {DType::kUint64, ov::element::Type_t::u64},
    {DType::kBfloat16, ov::element::Type_t::bf16}};

/// The lines of an exception that say something to a user: without "Exception from file:line" and "Check '...' failed
/// at file:line", which name OpenVINO's sources, and without the frame that its importer puts around a reason.
std::string essence_of(const std::string& text) {
  static const std::regex kNoise(R"((Exception from [^\n]*:\d+:?)|(Check '[^\n]*' failed at [^\n]*:\d+:?))");
  constexpr std::string_view kFrames[] = {"FrontEnd API failed with",    "Model wasn't fully converted", "Summary:",
                                          "-- Conversion is failed for", "While validating ONNX node",   "Details:"};
  std::string result;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    std::string line = std::regex_replace(text.substr(begin, end - begin), kNoise, "");
    begin = end + 1;
    const std::size_t first = line.find_first_not_of(" \t\r");
    if (first == std::string::npos) continue;
    line = line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
    if (line.starts_with("-- ") && line.ends_with("with a message:")) continue;
    const bool is_frame = std::any_of(std::begin(kFrames), std::end(kFrames),
                                      [&](std::string_view frame) { return line.starts_with(frame); });
    if (is_frame) continue;
    result += (result.empty() ? "" : "; ") + line;
  }
  constexpr std::size_t kMaxMessage = 600;  // OpenVINO prints whole constants into some messages
  if (result.size() > kMaxMessage) result = result.substr(0, kMaxMessage) + "...";
  return result.empty() ? "OpenVINO gave no reason" : result;
}

/// The node that OpenVINO's importer means by "<Node(Op): name>", where the name is the node's or its output's.
const Node* find_quoted_node(const Graph& graph, const std::string& op_type, const std::string& name) {
  for (const Node& node : graph.nodes) {
    if (node.op_type == op_type &&
        (node.name == name || std::find(node.outputs.begin(), node.outputs.end(), name) != node.outputs.end())) {
      return &node;
    }
    for (const Attribute& attribute : node.attributes) {
      const auto* body = std::get_if<std::shared_ptr<Graph>>(&attribute.value);
      if (body == nullptr || *body == nullptr) continue;
      if (const Node* found = find_quoted_node(**body, op_type, name)) return found;
    }
  }
  return nullptr;
}

/// The node of the main graph with the longest name (its own or an output's) in the text: "conv1" is part of "conv10".
const Node* find_mentioned_node(const Graph& graph, const std::string& text) {
  constexpr std::size_t kShortestName = 2;
  const Node* best = nullptr;
  std::size_t best_length = kShortestName - 1;
  for (const Node& node : graph.nodes) {
    std::vector<std::string> names{node.name};
    names.insert(names.end(), node.outputs.begin(), node.outputs.end());
    for (const std::string& name : names) {
      if (name.size() > best_length && text.find(name) != std::string::npos) {
        best = &node;
        best_length = name.size();
      }
    }
  }
  return best;
}

const Node* find_failed_node(const Graph& graph, const std::string& text) {
  static const std::regex kQuoted(R"(<Node\(([^)]*)\):? ([^>\n]*)>)");
  std::smatch match;
  std::string rest = text;
  const Node* innermost = nullptr;  // the last one named is the deepest
  while (std::regex_search(rest, match, kQuoted)) {
    if (const Node* found = find_quoted_node(graph, match[1], match[2])) innermost = found;
    rest = match.suffix();
  }
  return innermost != nullptr ? innermost : find_mentioned_node(graph, text);
}

}  // namespace

ov::Core& core() {
  static ov::Core& instance = *new ov::Core();
  return instance;
}

std::string library_version() { return ov::get_openvino_version().buildNumber; }

std::optional<ov::element::Type> element_type_of(DType dtype) {
  for (const TypePair& pair : kTypes) {
    if (pair.dtype == dtype) return ov::element::Type(pair.type);
  }
  return std::nullopt;
}

DType dtype_of(const ov::element::Type& type) {
  for (const TypePair& pair : kTypes) {
    if (type == pair.type) return pair.dtype;
  }
  return DType::kUndefined;
}

ov::AnyMap compile_options(Precision precision, int num_threads, bool is_exact) {
  ov::element::Type type = ov::element::f32;
  if (precision == Precision::kBf16) type = ov::element::bf16;
  if (precision == Precision::kFp16) type = ov::element::f16;
  ov::AnyMap options{
      ov::hint::inference_precision(type),
      // One stream over all threads. Threads are not tied to cores: on 2 virtual cores shared with other work, medians
      // against ONNX Runtime in the same run were 1.53 (free) and 1.33 (tied) times for ResNet-50, 1.61 and 1.43 for
      // YOLOv8n, 1.78 and 1.45 for ViT-B/16.
      ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
      ov::hint::enable_cpu_pinning(false),
  };
  if (num_threads > 0) options.insert(ov::inference_num_threads(num_threads));
  if (is_exact) {
    options.insert(ov::hint::execution_mode(ov::hint::ExecutionMode::ACCURACY));
    options.insert(ov::hint::dynamic_quantization_group_size(0));
  }
  return options;
}

void add_language_options(ov::AnyMap& options, Precision precision, const SessionOptions& session) {
  KvPrecision kv_precision = session.kv_precision;
  if (session.is_exact_fp32) kv_precision = KvPrecision::kFp32;
  // Bytes are the fastest: attention over long contexts is limited by the memory. Where the user wants float32, nothing
  // is quantised behind his back.
  if (kv_precision == KvPrecision::kAuto) {
    kv_precision = precision == Precision::kFp32 ? KvPrecision::kFp32 : KvPrecision::kUint8;
  }
  ov::element::Type type = ov::element::u8;
  if (kv_precision == KvPrecision::kFp32) type = ov::element::f32;
  if (kv_precision == KvPrecision::kFp16) type = precision == Precision::kBf16 ? ov::element::bf16 : ov::element::f16;
  options[ov::hint::kv_cache_precision.name()] = type;
}

Error translate(const std::exception& exception, std::string_view what_failed, const Model* model) {
  if (const auto* error = dynamic_cast<const Error*>(&exception)) return *error;
  // OpenVINO wraps exceptions of its own code into texts.
  if (dynamic_cast<const std::bad_alloc*>(&exception) != nullptr ||
      std::string_view(exception.what()).find("std::bad_alloc") != std::string_view::npos) {
    return Error(ErrorKind::kBadInput, std::string(what_failed) + ": not enough memory", {},
                 "use smaller shapes or a machine with more memory");
  }
  const std::string reason = essence_of(exception.what());
  const Node* node = model != nullptr ? find_failed_node(model->graph, exception.what()) : nullptr;
  return Error(ErrorKind::kUnsupported, std::string(what_failed) + ": " + reason,
               node != nullptr ? node->describe() : std::string(),
               "OpenVINO " + library_version() +
                   " does not take this model as it is; change the node, or build for another target");
}

}  // namespace pajamas::openvino
