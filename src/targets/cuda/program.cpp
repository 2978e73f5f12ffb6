// Questions about a Program that need no device. See program.h.
#include "targets/cuda/program.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>
#include <type_traits>
#include <unordered_map>

#include "pajamas/error.h"

namespace pajamas::cuda {

namespace {

std::vector<std::int64_t> row_major_strides(const Shape& extents) {
  std::vector<std::int64_t> strides(extents.rank(), 1);
  for (std::size_t i = extents.rank(); i-- > 1;) strides[i - 1] = strides[i] * std::max<std::int64_t>(extents[i], 1);
  return strides;
}

bool is_empty(const Shape& extents) {
  return std::any_of(extents.begin(), extents.end(), [](std::int64_t extent) { return extent == 0; });
}

void add(std::vector<ValueId>& to, const std::optional<ValueId>& id) {
  if (id && *id >= 0) to.push_back(*id);
}

void add_epilogue(std::vector<ValueId>& to, const Epilogue& epilogue) {
  add(to, epilogue.bias);
  add(to, epilogue.residual);
  add(to, epilogue.column_scale);
  add(to, epilogue.column_sums);
}

const char* to_string(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::kNone: return "none";
    case ActivationKind::kRelu: return "relu";
    case ActivationKind::kSilu: return "silu";
    case ActivationKind::kSigmoid: return "sigmoid";
    case ActivationKind::kTanh: return "tanh";
    case ActivationKind::kGeluErf: return "gelu_erf";
    case ActivationKind::kGeluTanh: return "gelu_tanh";
    case ActivationKind::kClip: return "clip";
    case ActivationKind::kLeakyRelu: return "leaky_relu";
    case ActivationKind::kHardSigmoid: return "hard_sigmoid";
    case ActivationKind::kHardSwish: return "hard_swish";
    case ActivationKind::kElu: return "elu";
    case ActivationKind::kSoftplus: return "softplus";
    case ActivationKind::kMish: return "mish";
  }
  return "?";
}

const char* to_string(Place place) {
  switch (place) {
    case Place::kInput: return "input";
    case Place::kOutput: return "output";
    case Place::kArena: return "arena";
    case Place::kConstant: return "constant";
  }
  return "?";
}

std::string text_of(float value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.9g", static_cast<double>(value));
  return text;
}

template <typename T>
std::string text_of(const std::vector<T>& values) {
  std::string text = "[";
  for (const T& value : values) {
    if (text.size() > 1) text += ',';
    if constexpr (std::is_same_v<T, std::string>) {
      text += '\'' + value + '\'';
    } else if constexpr (std::is_floating_point_v<T>) {
      text += text_of(value);
    } else {
      text += std::to_string(value);
    }
  }
  return text + "]";
}

std::uint64_t digest_of(std::span<const std::byte> bytes) {
  std::uint64_t hash = 0xcbf29ce484222325U;  // FNV-1a
  for (const std::byte byte : bytes) hash = (hash ^ static_cast<std::uint8_t>(byte)) * 0x100000001b3U;
  return hash;
}

std::string text_of(const Tensor& tensor) {
  std::string text = std::string(pajamas::to_string(tensor.dtype())) + tensor.shape().to_string();
  if (tensor.dtype() == DType::kString) return text + text_of(tensor.strings());
  char digest[24];
  std::snprintf(digest, sizeof(digest), "#%016llx", static_cast<unsigned long long>(digest_of(tensor.bytes())));
  return text + digest;
}

std::string text_of(const Attribute& attribute) {
  const std::string value = std::visit(
      [](const auto& held) -> std::string {
        using T = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<T, float>) return text_of(held);
        if constexpr (std::is_same_v<T, std::int64_t>) return std::to_string(held);
        if constexpr (std::is_same_v<T, std::string>) return "'" + held + "'";
        if constexpr (std::is_same_v<T, Tensor>) return text_of(held);
        if constexpr (std::is_same_v<T, std::vector<float>> || std::is_same_v<T, std::vector<std::int64_t>> ||
                      std::is_same_v<T, std::vector<std::string>>) {
          return text_of(held);
        }
        return "?";
      },
      attribute.value);
  return attribute.name + "=" + value;
}

/// Writes a step down with values numbered in the order in which they come up, so that names do not matter but the
/// same value in two places does.
class SignatureWriter {
 public:
  explicit SignatureWriter(const Program& program) : program_(program) {
    for (const Initializer& constant : program.small_constants) constants_.emplace(constant.name, &constant.tensor);
  }

  void field(const std::string& text) { text_ += text + ";"; }

  void value(const char* role, ValueId id) {
    if (id < 0) return field(std::string(role) + "=-");
    const auto [found, is_new] = numbers_.emplace(id, static_cast<int>(numbers_.size()));
    std::string text = std::string(role) + "=v" + std::to_string(found->second);
    if (is_new) {
      const Value& held = program_.value(id);
      // How far the address is aligned decides which kernels can take it; past 16 bytes it makes no difference.
      const auto bits = static_cast<std::uint64_t>(bits_of(held.desc.dtype));
      const std::uint64_t misaligned = static_cast<std::uint64_t>(held.offset_elements) * bits / 8 % 16;
      text += std::string(":") + pajamas::to_string(held.desc.dtype) + held.desc.extents.to_string() +
              text_of(held.desc.strides) + (misaligned != 0 ? "+" + std::to_string(misaligned) : "");
    }
    field(text);
  }

  void epilogue(const Epilogue& epilogue) {
    value("bias", epilogue.bias.value_or(-1));
    value(epilogue.is_residual_before_activation ? "before" : "after", epilogue.residual.value_or(-1));
    field(std::string(to_string(epilogue.activation.kind)) + "(" + text_of(epilogue.activation.alpha) + "," +
          text_of(epilogue.activation.beta) + ")");
    if (epilogue.y_scale != 1) field("y_scale" + text_of(epilogue.y_scale));
    if (epilogue.y_zero_point != 0) field("y_zero" + std::to_string(epilogue.y_zero_point));
    if (epilogue.column_scale) value("column_scale", *epilogue.column_scale);
    if (epilogue.column_sums) value("column_sums", *epilogue.column_sums);
    if (epilogue.a_zero_point != 0) field("a_zero" + std::to_string(epilogue.a_zero_point));
  }

  /// `names`: the values at the border by ONNX name.
  void node(const Node& node, const std::unordered_map<std::string, std::string>& names) {
    std::string text = node.op_type + "(";
    for (const std::string& input : node.inputs) text += reference(input, names) + ",";
    text += ")->";
    for (const std::string& output : node.outputs) text += reference(output, names) + ",";
    std::vector<std::string> attributes;
    for (const Attribute& attribute : node.attributes) attributes.push_back(text_of(attribute));
    std::sort(attributes.begin(), attributes.end());
    for (const std::string& attribute : attributes) text += " " + attribute;
    field(text);
  }

  std::string take() { return std::move(text_); }

 private:
  std::string reference(const std::string& name, const std::unordered_map<std::string, std::string>& names) {
    if (name.empty()) return "-";
    if (const auto found = names.find(name); found != names.end()) return found->second;
    if (const auto found = constants_.find(name); found != constants_.end()) return text_of(*found->second);
    return "t" + std::to_string(inner_.emplace(name, static_cast<int>(inner_.size())).first->second);
  }

  const Program& program_;
  std::unordered_map<std::string, const Tensor*> constants_;
  std::map<ValueId, int> numbers_;
  std::unordered_map<std::string, int> inner_;
  std::string text_;
};

double elements_of(const TensorDesc& desc) {
  double number = 1;
  for (std::size_t i = 0; i < desc.extents.rank(); ++i) {
    if (desc.strides[i] != 0) number *= static_cast<double>(desc.extents[i]);
  }
  return number;
}

double outputs_of(const TensorDesc& desc) {
  double number = 1;
  for (const std::int64_t extent : desc.extents) number *= static_cast<double>(extent);
  return number;
}

}  // namespace

bool TensorDesc::is_contiguous() const {
  if (is_empty(extents)) return true;
  const auto dense = row_major_strides(extents);
  for (std::size_t i = 0; i < extents.rank(); ++i) {
    if (extents[i] != 1 && strides[i] != dense[i]) return false;
  }
  return true;
}

bool TensorDesc::is_channels_last() const {
  const std::size_t rank = extents.rank();
  if (rank < 3) return false;
  if (is_empty(extents)) return true;
  if (extents[1] != 1 && strides[1] != 1) return false;
  // The pitch is free, but must hold the channels; every axis further out steps over whole rows of the next one.
  std::int64_t least = extents[1];
  bool is_first = true;
  for (std::size_t k = 0; k < rank - 1; ++k) {
    const std::size_t axis = k < rank - 2 ? rank - 1 - k : 0;
    if (extents[axis] == 1) continue;
    const bool is_exact = !is_first && axis != 0;
    if (is_exact ? strides[axis] != least : strides[axis] < least) return false;
    least = strides[axis] * extents[axis];
    is_first = false;
  }
  return true;
}

TensorDesc TensorDesc::contiguous(DType dtype, Shape extents) {
  TensorDesc desc{dtype, std::move(extents), {}};
  desc.strides = row_major_strides(desc.extents);
  return desc;
}

TensorDesc TensorDesc::channels_last(DType dtype, Shape extents) {
  TensorDesc desc{dtype, std::move(extents), {}};
  const std::size_t rank = desc.extents.rank();
  if (rank < 3) return contiguous(dtype, std::move(desc.extents));
  desc.strides.assign(rank, 1);
  std::int64_t stride = std::max<std::int64_t>(desc.extents[1], 1);
  for (std::size_t axis = rank - 1; axis >= 2; --axis) {
    desc.strides[axis] = stride;
    stride *= std::max<std::int64_t>(desc.extents[axis], 1);
  }
  desc.strides[0] = stride;
  return desc;
}

std::vector<ValueId> inputs_of(const Step& step) {
  std::vector<ValueId> ids;
  if (const auto* conv = std::get_if<ConvStep>(&step.work)) {
    ids = {conv->x, conv->weights};
    add_epilogue(ids, conv->epilogue);
  } else if (const auto* product = std::get_if<MatMulStep>(&step.work)) {
    ids = {product->a, product->b};
    add_epilogue(ids, product->epilogue);
  } else if (const auto* attention = std::get_if<AttentionStep>(&step.work)) {
    ids = {attention->q, attention->k, attention->v};
    add(ids, attention->mask);
  } else if (const auto* loop = std::get_if<LoopStep>(&step.work)) {
    ids = loop->inputs;
  } else {
    ids = std::get<OperatorStep>(step.work).inputs;
  }
  std::erase_if(ids, [](ValueId id) { return id < 0; });
  return ids;
}

std::vector<ValueId> outputs_of(const Step& step) {
  std::vector<ValueId> ids;
  if (const auto* conv = std::get_if<ConvStep>(&step.work)) {
    ids = {conv->y};
  } else if (const auto* product = std::get_if<MatMulStep>(&step.work)) {
    ids = {product->y};
  } else if (const auto* attention = std::get_if<AttentionStep>(&step.work)) {
    ids = {attention->y};
  } else if (const auto* loop = std::get_if<LoopStep>(&step.work)) {
    ids = loop->outputs;
  } else {
    ids = std::get<OperatorStep>(step.work).outputs;
  }
  std::erase_if(ids, [](ValueId id) { return id < 0; });
  return ids;
}

std::string kind_of(const Program& program, const Step& step) {
  switch (step.work.index()) {
    case 0: return "conv";
    case 1: return "matmul";
    case 2: return "attention";
    case 3: return "loop";
    default: return program.nodes[static_cast<std::size_t>(std::get<OperatorStep>(step.work).node)].op_type;
  }
}

bool is_tf32(const Program& program, const Step& step) {
  if (!program.allows_tf32 || std::holds_alternative<LoopStep>(step.work)) return false;
  if (std::holds_alternative<OperatorStep>(step.work)) return false;
  const std::vector<ValueId> ids = inputs_of(step);
  return program.value(ids[0]).desc.dtype == DType::kFloat32 && program.value(ids[1]).desc.dtype == DType::kFloat32;
}

std::string signature_of(const Program& program, const Step& step) {
  SignatureWriter writer(program);
  writer.field(kind_of(program, step));
  if (is_tf32(program, step)) writer.field("tf32");
  if (const auto* conv = std::get_if<ConvStep>(&step.work)) {
    writer.value("x", conv->x);
    writer.value("w", conv->weights);
    writer.value("y", conv->y);
    writer.field("pads" + text_of(conv->pads_begin) + text_of(conv->pads_end) + " strides" + text_of(conv->strides) +
                 " dilations" + text_of(conv->dilations) + " groups" + std::to_string(conv->groups) +
                 (conv->is_transposed ? " transposed" : ""));
    writer.epilogue(conv->epilogue);
  } else if (const auto* product = std::get_if<MatMulStep>(&step.work)) {
    writer.value("a", product->a);
    writer.value("b", product->b);
    writer.value("y", product->y);
    writer.field("scale" + text_of(product->scale));
    writer.epilogue(product->epilogue);
  } else if (const auto* attention = std::get_if<AttentionStep>(&step.work)) {
    writer.value("q", attention->q);
    writer.value("k", attention->k);
    writer.value("v", attention->v);
    writer.value("y", attention->y);
    writer.value("mask", attention->mask.value_or(-1));
    writer.field("scale" + text_of(attention->scale) + (attention->is_causal ? " causal" : ""));
  } else {
    std::unordered_map<std::string, std::string> names;
    const auto border = [&](const char* role, const std::vector<ValueId>& ids) {
      for (std::size_t i = 0; i < ids.size(); ++i) {
        writer.value(role, ids[i]);
        if (ids[i] >= 0) names.emplace(program.value(ids[i]).name, role + std::to_string(i));
      }
    };
    writer.field("opset" + std::to_string(program.opset));
    if (const auto* loop = std::get_if<LoopStep>(&step.work)) {
      border("in", loop->inputs);
      border("out", loop->outputs);
      for (const std::int32_t index : loop->nodes) {
        writer.node(program.nodes[static_cast<std::size_t>(index)], names);
      }
    } else {
      const auto& call = std::get<OperatorStep>(step.work);
      border("in", call.inputs);
      border("out", call.outputs);
      writer.node(program.nodes[static_cast<std::size_t>(call.node)], names);
    }
  }
  return writer.take();
}

StepCost cost_of(const Program& program, const Step& step) {
  StepCost cost;
  std::set<ValueId> seen;
  for (const auto& ids : {inputs_of(step), outputs_of(step)}) {
    for (const ValueId id : ids) {
      if (!seen.insert(id).second) continue;
      const TensorDesc& desc = program.value(id).desc;
      cost.bytes += elements_of(desc) * bits_of(desc.dtype) / 8;
    }
  }
  if (const auto* conv = std::get_if<ConvStep>(&step.work)) {
    // Each weight meets each pixel once: of the output, or of the input where the convolution is transposed.
    const TensorDesc& pixels = program.value(conv->is_transposed ? conv->x : conv->y).desc;
    const TensorDesc& weights = program.value(conv->weights).desc;
    const double channels = static_cast<double>(std::max<std::int64_t>(pixels.extents[1], 1));
    cost.flops = 2 * outputs_of(pixels) / channels * outputs_of(weights);
  } else if (const auto* product = std::get_if<MatMulStep>(&step.work)) {
    const TensorDesc& a = program.value(product->a).desc;
    cost.flops = 2 * outputs_of(program.value(product->y).desc) * static_cast<double>(a.extents[a.extents.rank() - 1]);
  } else if (const auto* attention = std::get_if<AttentionStep>(&step.work)) {
    const TensorDesc& q = program.value(attention->q).desc;
    const double kv_len = static_cast<double>(program.value(attention->k).desc.extents[2]);
    cost.flops = 4 * outputs_of(q) * kv_len * (attention->is_causal ? 0.5 : 1.0);
  } else if (const auto* loop = std::get_if<LoopStep>(&step.work)) {
    double most = 0;
    for (const auto& ids : {loop->inputs, loop->outputs}) {
      for (const ValueId id : ids) most = std::max(most, outputs_of(program.value(id).desc));
    }
    cost.flops = most * static_cast<double>(loop->nodes.size());
  }
  return cost;
}

nlohmann::json to_json(const Program& program) {
  using nlohmann::json;
  const auto describe = [&](ValueId id) {
    const Value& value = program.value(id);
    const Buffer& buffer = program.buffer_of(id);
    json entry = {{"value", value.name},
                  {"dtype", pajamas::to_string(value.desc.dtype)},
                  {"shape", value.desc.extents.extents()},
                  {"layout", value.desc.is_contiguous()      ? "row-major"
                             : value.desc.is_channels_last() ? "channels-last"
                                                             : "strided"},
                  {"place", to_string(buffer.place)},
                  {"buffer", value.buffer}};
    if (entry["layout"] == "strided") entry["strides"] = value.desc.strides;
    if (value.offset_elements != 0) entry["offset"] = value.offset_elements;
    return entry;
  };
  const auto describe_all = [&](const std::vector<ValueId>& ids) {
    json list = json::array();
    for (const ValueId id : ids) list.push_back(describe(id));
    return list;
  };
  json steps = json::array();
  for (const Step& step : program.steps) {
    const StepCost cost = cost_of(program, step);
    json entry = {{"kind", kind_of(program, step)},
                  {"fused_from", step.fused_from},
                  {"inputs", describe_all(inputs_of(step))},
                  {"outputs", describe_all(outputs_of(step))},
                  {"lane", step.lane},
                  {"depends_on", step.depends_on},
                  {"bytes", cost.bytes},
                  {"flops", cost.flops}};
    const Epilogue* epilogue = nullptr;
    if (const auto* conv = std::get_if<ConvStep>(&step.work)) epilogue = &conv->epilogue;
    if (const auto* product = std::get_if<MatMulStep>(&step.work)) epilogue = &product->epilogue;
    if (epilogue != nullptr) {
      entry["activation"] = to_string(epilogue->activation.kind);
      if (epilogue->residual) entry["residual"] = epilogue->is_residual_before_activation ? "before" : "after";
    }
    steps.push_back(std::move(entry));
  }
  return {{"steps", steps},
          {"inputs", describe_all(program.inputs)},
          {"outputs", describe_all(program.outputs)},
          {"arena_bytes", program.arena_bytes},
          {"num_lanes", program.num_lanes}};
}

}  // namespace pajamas::cuda
