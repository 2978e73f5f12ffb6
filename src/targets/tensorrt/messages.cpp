// Translation of TensorRT's messages. See messages.h.
#include "targets/tensorrt/messages.h"

#include <algorithm>
#include <array>
#include <regex>
#include <set>

namespace pajamas::tensorrt {
namespace {

/// `why` and `remedy` may use $1, $2 for the pattern's groups. The order is that of the search: special before general.
struct Entry {
  const char* pattern;
  ErrorKind kind;
  const char* why;
  const char* remedy;
};

const std::array kTable{
    Entry{"Cannot compile for target\\(s\\) ([^,]*(?:, ?sm[0-9]+)*), because the model contains HW-specific datatypes: "
          "([A-Za-z0-9_, ]*[A-Za-z0-9_])",
          ErrorKind::kUnsupported, "$1 cannot compute the type $2 that the model uses",
          "leave $1 out of --gpu, or use another precision"},
    Entry{"Cannot compile operation '([^']*)' for Turing \\(SM75\\): FP32 GEMM is not supported",
          ErrorKind::kUnsupported, "'$1' is a float32 matrix product, which sm75 cannot compute",
          "use --precision fp16, or leave sm75 out of --gpu"},
    Entry{"K exceeds the maximum value allowed \\(([0-9]+)\\)", ErrorKind::kUnsupported,
          "TopK asks for more than the $1 values that TensorRT can give", "export the model with a smaller k"},
    Entry{"has no runners that implement it", ErrorKind::kUnsupported,
          "TensorRT accepts this operator but has no code for it on a GPU",
          "export the model without it, or use --target openvino"},
    Entry{"Could not find any implementation for node ([^ ]*)", ErrorKind::kUnsupported,
          "TensorRT has no code for $1 on these GPUs", "try --precision fp32, fewer SMs, or --target openvino"},
    Entry{"must have same input types\\. But they are of types ([A-Za-z0-9]+) and ([A-Za-z0-9]+)", ErrorKind::kBadInput,
          "its inputs are of different types ($1 and $2), and TensorRT converts none by itself",
          "export the model with one floating-point type; mixed types need Cast operators"},
    Entry{"requires inputs with type .* But (?:the )?type is ([A-Za-z0-9]+)", ErrorKind::kUnsupported,
          "TensorRT cannot compute it in $1", "export the model with float32, float16, int32 or int64 values there"},
    Entry{"only supports (.*) inputs? (?:types )?for ([A-Za-z0-9]+)! ?(?:The current input type is ([A-Z0-9]+))?",
          ErrorKind::kUnsupported, "TensorRT computes $2 for $1 only",
          "export the model with another element type there"},
    Entry{"Tensor ([^ ]+) has datatype ([A-Za-z0-9]+) but is not (?:consumed|produced) by", ErrorKind::kUnsupported,
          "'$1' is $2, which TensorRT takes only between QuantizeLinear and DequantizeLinear",
          "give the model inputs and outputs of a wider type"},
    Entry{"Network has dynamic or shape inputs, but no optimization profile", ErrorKind::kUsage,
          "an input's size or content decides shapes, and no range was given for it",
          "give ranges with --shapes; an input that holds a shape must become a constant of the model"},
    Entry{"Dimension mismatch for tensor ([^ ]+) and profile [0-9]+\\. At dimension axis ([0-9]+), profile has "
          "min=([0-9-]+), opt=([0-9-]+), max=([0-9-]+) but tensor has ([0-9-]+)",
          ErrorKind::kUsage, "input '$1' has extent $6 on axis $2, and the range given is $3, $4, $5",
          "correct --shapes"},
    Entry{"ensure that the optimization profiles satisfy MIN<=OPT<=MAX", ErrorKind::kUsage,
          "the range of shapes does not rise from smallest to largest", "correct --shapes"},
    Entry{"Profile kM[A-Z]+ values are not self-consistent\\. (.*tensor volume exceeds [0-9]+)", ErrorKind::kUsage,
          "with the largest shapes a tensor becomes too large for TensorRT ($1)", "give smaller largest shapes"},
    Entry{"Profile k(MIN|OPT|MAX) values are not self-consistent\\. (.*)", ErrorKind::kUsage,
          "the model cannot run with the $1 shapes: $2", "correct --shapes"},
    Entry{"Compute capability is invalid or not supported", ErrorKind::kUnsupported,
          "TensorRT for RTX does not know one of the SMs asked for", "see `pajamas doctor` for the SMs it knows"},
    Entry{"Plugin not found, are the plugin name", ErrorKind::kUnsupported, "TensorRT does not know this operator",
          "export the model with standard ONNX operators, or use --target openvino"},
    Entry{"([A-Za-z0-9]+) plugin (?:creator version [0-9]+ )?was not found", ErrorKind::kUnsupported,
          "TensorRT for RTX has no implementation of $1", "export the model without it, or use --target openvino"},
    Entry{"failed to load ([A-Za-z0-9]+) plugin", ErrorKind::kUnsupported,
          "TensorRT for RTX has no implementation of $1", "export the model without it, or use --target openvino"},
    Entry{"convertDtype\\(|Unsupported ONNX data type|Found unsupported input type of ([A-Z0-9]+)",
          ErrorKind::kUnsupported, "it uses an element type that TensorRT does not have",
          "export the model with float32, float16, int32 or int64 values"},
    Entry{"Non-zero zero point is not supported|shiftIsAllZeros", ErrorKind::kUnsupported,
          "it has a quantisation zero point other than 0", "quantise symmetrically (zero point 0)"},
    Entry{"`zero_point` which is not an initializer|`scale` which is not an initializer", ErrorKind::kUnsupported,
          "its quantisation scale or zero point is computed, and TensorRT takes constants only",
          "quantise with constant scales"},
    Entry{"doesn't support mode than 1 outputs for ([A-Za-z0-9]+)", ErrorKind::kUnsupported,
          "TensorRT gives only the first output of $1, and the model uses another",
          "export the model for inference, not for training"},
    Entry{"only supports Attention nodes with one output", ErrorKind::kUnsupported,
          "TensorRT gives only the first output of Attention, and the model uses another", "use --target openvino"},
    Entry{"must be an initializer|is not an initializer|only be supported if .* constant|needs? to be (?:a "
          ")?constant|build-time constant|input as an initializer|is not a constant",
          ErrorKind::kUnsupported, "TensorRT needs one of its inputs (axes, shapes, sizes) as a constant of the model",
          "export the model with fixed sizes, or fix the shapes with --shapes"},
    Entry{"Failed to parse the ONNX model|MODEL_DESERIALIZE_FAILED", ErrorKind::kBadInput, "the ONNX data are damaged",
          "export the model again"},
    Entry{"(?:Failed to open|Cannot open|Failed to load) (?:file|weights|external)[^:]*:? ?(.*)", ErrorKind::kBadInput,
          "the file of weights beside the model cannot be read", "keep the .data file beside the .onnx file"},
    Entry{"(?:out of memory|OutOfMemory|Insufficient memory|std::bad_alloc|FAILED_ALLOCATION)", ErrorKind::kUnsupported,
          "the builder ran out of memory", "build for fewer SMs, or on a machine with more memory"},
    Entry{"MyelinCheckException", ErrorKind::kUnsupported, "TensorRT's code generator fails on this part of the model",
          "try --precision fp32 or fixed shapes; report the model to NVIDIA; or use --target openvino"},
    Entry{"Assertion failed: (.*): (.+)", ErrorKind::kUnsupported, "TensorRT does not take it: $2",
          "export the model differently there, or use --target openvino"},
    Entry{" && \"([^\"]+)\"", ErrorKind::kUnsupported, "TensorRT does not take it: $1",
          "export the model differently there, or use --target openvino"},
    Entry{"^(?:Assertion failed: )?false$", ErrorKind::kUnsupported, "TensorRT has no implementation of this operator",
          "export the model without it, or use --target openvino"},
};

struct CompiledEntry {
  std::regex pattern;
  const Entry* entry;
};

const std::vector<CompiledEntry>& compiled_table() {
  static const std::vector<CompiledEntry> table = [] {
    std::vector<CompiledEntry> result;
    for (const Entry& entry : kTable) result.push_back({std::regex(entry.pattern, std::regex::optimize), &entry});
    return result;
  }();
  return table;
}

/// Lines that accompany a failure but do not explain it. cudaError 35 and its like: the library looks for a GPU while
/// it describes another error, and there need not be one.
bool is_noise(std::string_view text) {
  for (const std::string_view part :
       {"cudaError ", "--- Begin node ---", "--- End node ---", "While parsing node number",
        "condition: profile->isValid", "Make sure input", "Make sure output"}) {
    if (text.find(part) != std::string_view::npos) return true;
  }
  return false;
}

/// The vendor's texts are a line or a page; a message to the user is the first 600 characters.
std::string shortened(std::string text) {
  constexpr std::size_t kMost = 600;
  if (text.size() <= kMost) return text;
  std::size_t end = kMost;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return text.substr(0, end) + " …";
}

std::string seconds_text(const BuilderOutcome& outcome) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f s", static_cast<double>(outcome.child.elapsed.count()) / 1000);
  return text.data();
}

/// The last line of the child's standard error: some of the library's lines go only there.
std::string last_error_line(const BuilderOutcome& outcome) {
  std::string text = outcome.child.error_tail;
  for (char& c : text) {
    if (static_cast<unsigned char>(c) >= 0x80U || (c < 0x20 && c != '\n')) c = '?';
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const std::size_t begin = text.rfind('\n');
  return begin == std::string::npos ? text : text.substr(begin + 1);
}

Error child_ended(const BuilderOutcome& outcome, const std::string& where, const BuildLimits& limits) {
  const std::string doing = std::string(" while ") + to_string(outcome.stage);
  switch (outcome.child.end) {
    case ChildEnd::kCancelled:
      return Error(ErrorKind::kCancelled, "the build was stopped on request after " + seconds_text(outcome) + doing,
                   where);
    case ChildEnd::kOutOfTime:
      return Error(ErrorKind::kUnsupported,
                   "TensorRT was stopped after " + seconds_text(outcome) + doing + ", the limit being " +
                       std::to_string(limits.time.count()) + " s",
                   where,
                   "raise the time limit; TensorRT needs very long for graphs that are chains of very many nodes or "
                   "deeply nested, which an export can often avoid");
    case ChildEnd::kOutOfMemory:
      return Error(ErrorKind::kUnsupported,
                   "TensorRT was stopped at " + std::to_string(outcome.child.peak_memory_bytes >> 20) +
                       " MiB of memory" + doing + ", the limit being " + std::to_string(limits.memory_bytes >> 20) +
                       " MiB",
                   where, "raise the memory limit, or build for fewer SMs or smaller shapes");
    case ChildEnd::kSignalled:
    case ChildEnd::kExited: break;
  }
  if (outcome.child.end == ChildEnd::kSignalled && outcome.child.signal == 9) {
    return Error(ErrorKind::kInternal, "the builder was killed from outside (SIGKILL)" + doing, where,
                 "the system does this when memory runs out: free memory, or set a memory limit");
  }
  const std::string line = last_error_line(outcome);
  const std::string said = line.empty() ? "" : "; its last words: " + shortened(line);
  if (outcome.stage <= BuildStage::kOpening) {
    return Error(ErrorKind::kDeviceMissing, "the builder " + outcome.child.describe() + doing + said, where,
                 "the TensorRT library may be damaged: run ./dev setup again");
  }
  const bool is_parsing = outcome.stage == BuildStage::kParsing;
  return Error(is_parsing ? ErrorKind::kBadInput : ErrorKind::kUnsupported,
               "TensorRT crashed: its process " + outcome.child.describe() + doing + said, where,
               is_parsing ? "the model is malformed in a way that TensorRT does not check; check it with `pajamas "
                            "inspect` and export it again"
                          : "this model hits a fault of TensorRT: try another precision, fixed shapes or fewer SMs, or "
                            "--target openvino");
}

std::string at_node(const NodeError& error, const Model& model) {
  // The parser counts nodes of the graph it was given, so the index names the node even when it has no name.
  if (error.node_index >= 0 && static_cast<std::size_t>(error.node_index) < model.graph.nodes.size()) {
    const Node& node = model.graph.nodes[static_cast<std::size_t>(error.node_index)];
    if (node.op_type == error.node_operator) return node.describe();
  }
  if (!error.node_name.empty()) return error.node_operator + " node '" + error.node_name + "'";
  return error.node_operator.empty() ? std::string() : error.node_operator + " node";
}

Error refused(const std::string& text, const std::string& node, const std::string& where, const std::string& doing) {
  const std::string place = node.empty() ? "" : node + ": ";
  if (const auto known = translate(text)) return Error(known->kind, place + known->why, where, known->remedy);
  return Error(ErrorKind::kUnsupported,
               place + "TensorRT failed while " + doing + " and says: " + shortened(plain_text(text)), where,
               "try another precision, fixed shapes or fewer SMs, or --target openvino");
}

}  // namespace

std::optional<Translation> translate(std::string_view text) {
  const std::string whole(text);
  for (const CompiledEntry& candidate : compiled_table()) {
    std::smatch match;
    if (!std::regex_search(whole, match, candidate.pattern)) continue;
    return Translation{candidate.entry->kind, match.format(candidate.entry->why),
                       match.format(candidate.entry->remedy)};
  }
  return std::nullopt;
}

std::string plain_text(std::string_view text) {
  static const std::regex kPosition(R"( ?\(?(?:In|at) [A-Za-z_:~]+ (?:at )?/?[A-Za-z0-9_./]+\.(?:cpp|h):[0-9]+\)?\.?)");
  static const std::regex kPrefix(R"(^\[?[A-Za-z0-9_]+\.(?:cpp|h)(?:::?[A-Za-z0-9_]+)*\]?:? ?)");
  static const std::regex kErrorCode(R"((?:[A-Za-z]+::[A-Za-z0-9]+: )?Error Code [0-9]+: )");
  static const std::regex kNoGpu(R"(\[checkMacros\.cpp::catchCudaError[^]*?\(cudaError [0-9]+: [^)]*\)\)?)");
  static const std::regex kInvalidNode(R"(^Invalid Node - [^\n]*\n)");
  std::string plain = std::regex_replace(std::string(text), kNoGpu, "");
  plain = std::regex_replace(plain, kInvalidNode, "");
  plain = std::regex_replace(plain, kPosition, "");
  plain = std::regex_replace(plain, kPrefix, "");
  plain = std::regex_replace(plain, kErrorCode, "");
  for (char& c : plain) {
    if (c == '\n') c = ' ';
  }
  while (!plain.empty() && plain.back() == ' ') plain.pop_back();
  return plain;
}

const Node* find_named_node(const Model& model, std::string_view text) {
  const Node* best = nullptr;
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '/' || c == '.'; };
  for (const Node& node : model.graph.nodes) {
    if (node.name.empty() || (best != nullptr && node.name.size() <= best->name.size())) continue;
    for (std::size_t at = text.find(node.name); at != std::string_view::npos; at = text.find(node.name, at + 1)) {
      const std::size_t end = at + node.name.size();
      if ((at == 0 || !is_word(text[at - 1])) && (end == text.size() || !is_word(text[end]) || text[end] == '.')) {
        best = &node;
        break;
      }
    }
  }
  return best;
}

Error build_error(const BuilderOutcome& outcome, const Model& model, const std::string& model_name,
                  const BuildLimits& limits) {
  if (outcome.child.end != ChildEnd::kExited) return child_ended(outcome, model_name, limits);
  // What our own code in the child found (no disk space, wrong library) needs no translation.
  const bool is_library_refusal = outcome.failure_kind == ErrorKind::kUnsupported && outcome.failure_where.empty() &&
                                  outcome.failure_remedy.empty();
  const bool is_configuring = outcome.stage == BuildStage::kConfiguring;
  if (!outcome.failure.empty() && !is_library_refusal && !is_configuring) {
    const std::string where = outcome.failure_where.empty() ? model_name : outcome.failure_where;
    return Error(outcome.failure_kind, outcome.failure, where, outcome.failure_remedy);
  }
  const std::string doing = to_string(outcome.stage);
  if (!outcome.node_errors.empty()) {
    // The last error is at the outermost node of the user's graph when functions or bodies are nested.
    const NodeError* error = &outcome.node_errors.front();
    for (const NodeError& candidate : outcome.node_errors) {
      if (candidate.node_index >= 0 && error->node_index < 0) error = &candidate;
    }
    return refused(error->description, at_node(*error, model), model_name, doing);
  }
  for (const VendorMessage& message : outcome.messages) {
    if (message.severity > Severity::kError || is_noise(message.text)) continue;
    const Node* node = find_named_node(model, message.text);
    return refused(message.text, node != nullptr ? node->describe() : "", model_name, doing);
  }
  if (!outcome.failure.empty()) {
    return Error(outcome.failure_kind, outcome.failure, model_name, outcome.failure_remedy);
  }
  return child_ended(outcome, model_name, limits);
}

std::vector<std::string> notable_warnings(const BuilderOutcome& outcome) {
  std::vector<std::string> warnings;
  std::set<std::string> seen;
  for (const VendorMessage& message : outcome.messages) {
    if (message.severity != Severity::kWarning || is_noise(message.text)) continue;
    const std::string plain = shortened(plain_text(message.text));
    if (seen.insert(plain).second) warnings.push_back(plain);
  }
  return warnings;
}

std::optional<Error> find_hidden_failure(const BuilderOutcome& outcome, const std::string& model_name) {
  for (const VendorMessage& message : outcome.messages) {
    if (message.text.find("values are not self-consistent") == std::string::npos) continue;
    return refused(message.text, "", model_name, "checking the shapes");
  }
  return std::nullopt;
}

}  // namespace pajamas::tensorrt
