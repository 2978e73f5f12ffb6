// See host_executor.h.
#include "targets/cuda/lowering/host_executor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <unordered_map>

#include "graph/interpreter.h"
#include "pajamas/error.h"
#include "targets/cuda/output_counts.h"
#include "tensor/float8.h"
#include "tensor/half.h"

namespace pajamas::cuda {

namespace {

double activate(const Activation& activation, double x) {
  const double alpha = static_cast<double>(activation.alpha);
  const double beta = static_cast<double>(activation.beta);
  switch (activation.kind) {
    case ActivationKind::kNone: return x;
    case ActivationKind::kRelu: return x > 0 ? x : x * 0;
    case ActivationKind::kSilu: return x / (1 + std::exp(-x));
    case ActivationKind::kSigmoid: return 1 / (1 + std::exp(-x));
    case ActivationKind::kTanh: return std::tanh(x);
    case ActivationKind::kGeluErf: return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case ActivationKind::kGeluTanh: return 0.5 * x * (1 + std::tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
    case ActivationKind::kClip: return std::min(std::max(x, alpha), beta);
    case ActivationKind::kLeakyRelu: return x >= 0 ? x : alpha * x;
    case ActivationKind::kHardSigmoid: return std::clamp(alpha * x + beta, 0.0, 1.0);
    case ActivationKind::kHardSwish: return x * std::clamp(x / 6 + 0.5, 0.0, 1.0);
    case ActivationKind::kElu: return x >= 0 ? x : alpha * std::expm1(x);
    case ActivationKind::kSoftplus: return x > 30 ? x : std::log1p(std::exp(x));
    case ActivationKind::kMish: return x * std::tanh(x > 30 ? x : std::log1p(std::exp(x)));
  }
  return x;
}

Tensor rounded(const Tensor& wide, DType dtype) {
  if (dtype == DType::kFloat32) return wide;
  Tensor result(dtype, wide.shape());
  const auto from = wide.as<float>();
  if (dtype == DType::kFloat64) {
    std::copy(from.begin(), from.end(), result.mutable_as<double>().begin());
    return result;
  }
  if (dtype == DType::kFloat8E4M3Fn) {
    auto* codes = reinterpret_cast<std::uint8_t*>(result.mutable_bytes().data());
    for (std::size_t i = 0; i < from.size(); ++i) codes[i] = float8_e4m3_from_float(from[i]);
    return result;
  }
  if (dtype == DType::kInt8) {
    auto* levels = reinterpret_cast<std::int8_t*>(result.mutable_bytes().data());
    for (std::size_t i = 0; i < from.size(); ++i) {
      levels[i] = static_cast<std::int8_t>(std::clamp(from[i], -128.0F, 127.0F));
    }
    return result;
  }
  auto* to = reinterpret_cast<std::uint16_t*>(result.mutable_bytes().data());
  for (std::size_t i = 0; i < from.size(); ++i) {
    to[i] = dtype == DType::kFloat16 ? float16_from_float(from[i]) : bfloat16_from_float(from[i]);
  }
  return result;
}

Node node_of(const char* type) {
  Node node;
  node.op_type = type;
  node.outputs = {"y"};
  return node;
}

class Executor {
 public:
  Executor(const LoweredProgram& lowered, const ConstantTable& constants, const std::vector<Tensor>& inputs,
           bool rounds_loops_once)
      : program_(lowered.program), rounds_loops_once_(rounds_loops_once) {
    std::unordered_map<std::string, const PackRequest*> requests;
    for (const ConstantUse& use : lowered.constants) requests[use.key] = &use.request;
    arena_.assign(program_.arena_bytes, std::byte{0xff});  // NaN in every floating-point type.
    is_written_.assign(program_.arena_bytes, false);
    outer_.resize(program_.buffers.size());
    for (std::size_t i = 0; i < program_.buffers.size(); ++i) {
      const Buffer& buffer = program_.buffers[i];
      if (buffer.place == Place::kArena) continue;
      auto& bytes = outer_[i];
      bytes.assign(buffer.size_bytes, std::byte{0xff});
      if (buffer.place == Place::kInput) {
        const auto given = inputs.at(static_cast<std::size_t>(buffer.interface_index)).bytes();
        if (given.size() != bytes.size()) {
          throw Error(ErrorKind::kInternal, "an input of another size than the program's", buffer.name);
        }
        std::copy(given.begin(), given.end(), bytes.begin());
      } else if (buffer.place == Place::kConstant) {
        const PackRequest& request = *requests.at(buffer.constant_key);
        const Tensor packed = pack(constants, request);
        if (packed.size_bytes() != bytes.size()) {
          throw Error(ErrorKind::kInternal, "a constant of another size than its buffer: " + request.name);
        }
        std::copy(packed.bytes().begin(), packed.bytes().end(), bytes.begin());
      }
    }
  }

  void run(const Step& step) {
    if (const auto* conv = std::get_if<ConvStep>(&step.work)) return run_conv(*conv);
    if (const auto* product = std::get_if<MatMulStep>(&step.work)) return run_mat_mul(*product);
    if (const auto* attention = std::get_if<AttentionStep>(&step.work)) return run_attention(*attention);
    if (const auto* loop = std::get_if<LoopStep>(&step.work))
      return run_nodes(loop->nodes, loop->inputs, loop->outputs, rounds_loops_once_);
    const auto& call = std::get<OperatorStep>(step.work);
    run_nodes({call.node}, call.inputs, call.outputs, false);
  }

  Tensor read(ValueId id) {
    const Value& value = program_.value(id);
    Tensor tensor(value.desc.dtype, value.desc.extents);
    auto* to = tensor.mutable_bytes().data();
    walk(value, [&](std::size_t at, std::size_t index, std::size_t size) {
      if (is_in_arena(value)) {
        for (std::size_t i = 0; i < size; ++i) {
          if (is_written_[at + i]) continue;
          throw Error(ErrorKind::kInternal, "a step reads '" + value.name + "' where nothing wrote");
        }
      }
      std::memcpy(to + index * size, base(value) + at, size);
    });
    return tensor;
  }

 private:
  bool is_in_arena(const Value& value) const {
    return program_.buffers[static_cast<std::size_t>(value.buffer)].place == Place::kArena;
  }
  std::byte* base(const Value& value) {
    return is_in_arena(value) ? arena_.data() : outer_[static_cast<std::size_t>(value.buffer)].data();
  }

  /// Calls body(byte offset from base(), row-major index, bytes of an element), after checking against the buffer.
  template <typename Body>
  void walk(const Value& value, const Body& body) {
    const Buffer& buffer = program_.buffers[static_cast<std::size_t>(value.buffer)];
    const auto size = static_cast<std::size_t>(bits_of(value.desc.dtype)) / 8;
    const std::size_t start = buffer.place == Place::kArena ? buffer.arena_offset : 0;
    const std::size_t rank = value.desc.extents.rank();
    const auto count = static_cast<std::size_t>(value.desc.extents.num_elements());
    std::vector<std::int64_t> position(rank, 0);
    for (std::size_t index = 0; index < count; ++index) {
      std::int64_t element = value.offset_elements;
      for (std::size_t i = 0; i < rank; ++i) element += position[i] * value.desc.strides[i];
      const std::size_t at = static_cast<std::size_t>(element) * size;
      if (element < 0 || at + size > buffer.size_bytes || start + at + size > start + buffer.size_bytes) {
        throw Error(ErrorKind::kInternal, "'" + value.name + "' reaches past its buffer");
      }
      body(start + at, index, size);
      for (std::size_t axis = rank; axis-- > 0;) {
        if (++position[axis] < value.desc.extents[axis]) break;
        position[axis] = 0;
      }
    }
  }

  void write(ValueId id, const Tensor& tensor) {
    const Value& value = program_.value(id);
    if (tensor.dtype() != value.desc.dtype || tensor.num_elements() != value.desc.extents.num_elements()) {
      throw Error(ErrorKind::kInternal, "a step gives another tensor than '" + value.name + "'");
    }
    const auto* from = tensor.bytes().data();
    walk(value, [&](std::size_t at, std::size_t index, std::size_t size) {
      std::memcpy(base(value) + at, from + index * size, size);
      if (!is_in_arena(value)) return;
      for (std::size_t i = 0; i < size; ++i) is_written_[at + i] = true;
    });
  }

  Tensor wide(ValueId id) { return to_float32(read(id).view()); }

  /// Scale, bias along `axis`, residual and activation, all in float32; then one rounding.
  void finish(Tensor sum, double scale, const Epilogue& epilogue, std::size_t axis, ValueId y) {
    const Shape& shape = sum.shape();
    std::int64_t inner = 1;
    for (std::size_t i = axis + 1; i < shape.rank(); ++i) inner *= shape[i];
    const Tensor bias = epilogue.bias ? wide(*epilogue.bias) : Tensor();
    const Tensor residual = epilogue.residual ? wide(*epilogue.residual) : Tensor();
    const Tensor column_scale = epilogue.column_scale ? wide(*epilogue.column_scale) : Tensor();
    const Tensor column_sums = epilogue.column_sums ? wide(*epilogue.column_sums) : Tensor();
    const bool is_integer = program_.value(y).desc.dtype == DType::kInt8;
    const auto values = sum.mutable_as<float>();
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t column = i / static_cast<std::size_t>(inner) % static_cast<std::size_t>(shape[axis]);
      double t = static_cast<double>(values[i]);
      if (epilogue.column_sums) t -= epilogue.a_zero_point * static_cast<double>(column_sums.as<float>()[column]);
      t *= scale;
      if (epilogue.column_scale) t *= static_cast<double>(column_scale.as<float>()[column]);
      if (epilogue.bias) {
        t += static_cast<double>(
            bias.as<float>()[(i / static_cast<std::size_t>(inner)) % static_cast<std::size_t>(shape[axis])]);
      }
      const double added = epilogue.residual ? static_cast<double>(residual.as<float>()[i]) : 0;
      if (epilogue.is_residual_before_activation) t += added;
      t = activate(epilogue.activation, t);
      if (!epilogue.is_residual_before_activation) t += added;
      t /= static_cast<double>(epilogue.y_scale);
      if (is_integer) t = std::nearbyint(t) + epilogue.y_zero_point;
      values[i] = static_cast<float>(t);
    }
    write(y, rounded(sum, program_.value(y).desc.dtype));
  }

  void run_conv(const ConvStep& step) {
    Node node = node_of(step.is_transposed ? "ConvTranspose" : "Conv");
    std::vector<std::int64_t> pads = step.pads_begin;
    std::vector<std::int64_t> extra;
    for (const std::int64_t pad : step.pads_end) {
      pads.push_back(step.is_transposed ? std::max<std::int64_t>(pad, 0) : pad);
      extra.push_back(std::max<std::int64_t>(-pad, 0));
    }
    node.set_attribute("pads", pads);
    node.set_attribute("strides", step.strides);
    node.set_attribute("dilations", step.dilations);
    node.set_attribute("group", step.groups);
    if (step.is_transposed) node.set_attribute("output_padding", extra);
    const Tensor x = wide(step.x);
    const Tensor weights = wide(step.weights);
    const Tensor* inputs[] = {&x, &weights};
    finish(evaluate_node(node, inputs, kOpset)[0], 1, step.epilogue, 1, step.y);
  }

  void run_mat_mul(const MatMulStep& step) {
    const Tensor a = wide(step.a);
    const Tensor b = wide(step.b);
    const Tensor* inputs[] = {&a, &b};
    const std::size_t rank = program_.value(step.y).desc.extents.rank();
    finish(evaluate_node(node_of("MatMul"), inputs, kOpset)[0], static_cast<double>(step.scale), step.epilogue,
           rank - 1, step.y);
  }

  void run_attention(const AttentionStep& step) {
    const Tensor q = wide(step.q);
    const Tensor k = wide(step.k);
    const Tensor v = wide(step.v);
    const Tensor mask = step.mask ? wide(*step.mask) : Tensor();
    Tensor y(DType::kFloat32, q.shape());
    const std::int64_t batch = q.shape()[0];
    const std::int64_t num_heads = q.shape()[1];
    const std::int64_t seq_len = q.shape()[2];
    const std::int64_t head_dim = q.shape()[3];
    const std::int64_t num_kv_heads = k.shape()[1];
    const std::int64_t kv_len = k.shape()[2];
    std::vector<double> weights(static_cast<std::size_t>(kv_len));
    const auto to = y.mutable_as<float>();
    for (std::int64_t row = 0; row < batch * num_heads * seq_len; ++row) {
      const std::int64_t at = row % seq_len;
      const std::int64_t head = row / seq_len % num_heads;
      const std::int64_t b = row / seq_len / num_heads;
      const std::int64_t kv = (b * num_kv_heads + head / (num_heads / num_kv_heads)) * kv_len;
      double most = -INFINITY;
      for (std::int64_t t = 0; t < kv_len; ++t) {
        double sum = 0;
        for (std::int64_t d = 0; d < head_dim; ++d) {
          sum += static_cast<double>(q.as<float>()[row * head_dim + d]) *
                 static_cast<double>(k.as<float>()[(kv + t) * head_dim + d]);
        }
        sum *= static_cast<double>(step.scale);
        if (step.mask) {
          const Shape& shape = mask.shape();
          const std::int64_t index = (((shape[0] == 1 ? 0 : b) * shape[1] + (shape[1] == 1 ? 0 : head)) * shape[2] +
                                      (shape[2] == 1 ? 0 : at)) *
                                         shape[3] +
                                     (shape[3] == 1 ? 0 : t);
          sum += static_cast<double>(mask.as<float>()[index]);
        }
        if (step.is_causal && t > at) sum = -INFINITY;
        weights[static_cast<std::size_t>(t)] = sum;
        most = std::max(most, sum);
      }
      double total = 0;
      for (double& weight : weights) total += weight = std::exp(weight - most);
      for (std::int64_t d = 0; d < head_dim; ++d) {
        double sum = 0;
        for (std::int64_t t = 0; t < kv_len; ++t) {
          sum += weights[static_cast<std::size_t>(t)] * static_cast<double>(v.as<float>()[(kv + t) * head_dim + d]);
        }
        to[row * head_dim + d] = static_cast<float>(sum / total);
      }
    }
    write(step.y, rounded(y, program_.value(step.y).desc.dtype));
  }

  static bool is_half(DType dtype) { return dtype == DType::kFloat16 || dtype == DType::kBfloat16; }
  static Tensor widened(Tensor tensor) { return is_half(tensor.dtype()) ? to_float32(tensor.view()) : tensor; }

  void run_nodes(const std::vector<std::int32_t>& nodes, const std::vector<ValueId>& reads,
                 const std::vector<ValueId>& writes, bool is_wide) {
    std::unordered_map<std::string, Tensor> values;
    const auto keep = [&](const std::string& name, Tensor tensor) {
      values[name] = is_wide ? widened(std::move(tensor)) : std::move(tensor);
    };
    for (const Initializer& constant : program_.small_constants) keep(constant.name, constant.tensor);
    for (const ValueId id : reads) {
      if (id >= 0) keep(program_.value(id).name, read(id));
    }
    std::vector<std::string> names;  // Of the outputs, in the order of `writes`.
    for (const ValueId id : writes) names.push_back(id < 0 ? std::string() : program_.value(id).name);
    for (const std::int32_t index : nodes) {
      Node node = program_.nodes[static_cast<std::size_t>(index)];
      if (is_wide && node.is("Cast") && is_half(static_cast<DType>(node.int_attribute("to", 0)))) {
        node.set_attribute("to", static_cast<std::int64_t>(DType::kFloat32));
      }
      std::vector<const Tensor*> inputs;
      for (const std::string& name : node.inputs) {
        const auto found = values.find(name);
        if (!name.empty() && found == values.end()) {
          throw Error(ErrorKind::kInternal, "a loop needs '" + name + "', which is none of its inputs",
                      node.describe());
        }
        inputs.push_back(name.empty() ? nullptr : &found->second);
      }
      std::vector<Tensor> results = evaluate_node(node, inputs, program_.opset);
      if (node.is("NonZero") || node.is("NonMaxSuppression")) {
        // As their kernels do: rows of -1 up to the extent that the program gives them.
        for (std::size_t i = 0; i < writes.size(); ++i) results[i] = filled(results[i], program_.value(writes[i]).desc);
      }
      for (std::size_t i = 0; i < node.outputs.size(); ++i) {
        if (!node.outputs[i].empty()) keep(node.outputs[i], std::move(results[i]));
      }
    }
    for (std::size_t i = 0; i < writes.size(); ++i) {
      if (writes[i] < 0) continue;
      const Tensor& found = values.at(names[i]);
      const DType wanted = program_.value(writes[i]).desc.dtype;
      write(writes[i], is_half(wanted) && found.dtype() == DType::kFloat32 ? rounded(found, wanted) : found);
    }
  }

  static Tensor filled(const Tensor& found, const TensorDesc& desc) {
    if (found.shape() == desc.extents) return found;
    Tensor result(DType::kInt64, desc.extents);
    const auto to = result.mutable_as<std::int64_t>();
    std::fill(to.begin(), to.end(), -1);
    const auto from = found.as<std::int64_t>();
    const std::int64_t width = found.shape()[1];
    for (std::size_t i = 0; i < from.size(); ++i) {
      const auto at = static_cast<std::int64_t>(i);
      to[static_cast<std::size_t>(at / width * desc.extents[1] + at % width)] = from[i];
    }
    return result;
  }

  static constexpr std::int64_t kOpset = 17;
  const Program& program_;
  bool rounds_loops_once_;
  std::vector<std::byte> arena_;
  std::vector<bool> is_written_;
  std::vector<std::vector<std::byte>> outer_;  ///< By buffer; empty for those in the arena.
};

/// Any order that the dependencies and the order within each lane allow.
std::vector<std::size_t> order_of(const Program& program, std::uint64_t seed) {
  const std::size_t count = program.steps.size();
  std::vector<std::vector<std::size_t>> before(count);
  std::vector<std::ptrdiff_t> last(static_cast<std::size_t>(program.num_lanes), -1);
  for (std::size_t i = 0; i < count; ++i) {
    for (const std::int32_t step : program.steps[i].depends_on) before[i].push_back(static_cast<std::size_t>(step));
    auto& in_lane = last[static_cast<std::size_t>(program.steps[i].lane)];
    if (in_lane >= 0) before[i].push_back(static_cast<std::size_t>(in_lane));
    in_lane = static_cast<std::ptrdiff_t>(i);
  }
  std::mt19937_64 random(seed);
  std::vector<bool> is_done(count, false);
  std::vector<std::size_t> order;
  std::vector<std::size_t> ready;
  while (order.size() < count) {
    ready.clear();
    for (std::size_t i = 0; i < count; ++i) {
      if (is_done[i]) continue;
      if (std::all_of(before[i].begin(), before[i].end(), [&](std::size_t b) { return is_done[b]; }))
        ready.push_back(i);
    }
    if (ready.empty()) throw Error(ErrorKind::kInternal, "the steps wait for each other");
    order.push_back(ready[seed == 0 ? 0 : random() % ready.size()]);
    is_done[order.back()] = true;
  }
  return order;
}

}  // namespace

std::vector<Tensor> run_on_host(const LoweredProgram& lowered, const ConstantTable& constants,
                                const std::vector<Tensor>& inputs, const HostRunOptions& options) {
  Executor executor(lowered, constants, inputs, options.rounds_loops_once);
  for (const std::size_t index : order_of(lowered.program, options.shuffle_seed)) {
    executor.run(lowered.program.steps[index]);
  }
  std::vector<Tensor> outputs;
  for (const ValueId id : lowered.program.outputs) outputs.push_back(executor.read(id));
  if (lowered.program.output_counts.empty()) return outputs;
  const Tensor counts = outputs.back();
  outputs.pop_back();
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Shape bound = outputs[i].shape();
    const Shape real = real_shape(lowered.program, i, counts.as<std::int64_t>());
    const std::size_t element_bytes = static_cast<std::size_t>(bits_of(outputs[i].dtype())) / 8;
    compact(outputs[i].mutable_bytes().data(), bound, real, element_bytes);
    outputs[i] = Tensor::copy_of(TensorView{outputs[i].dtype(), real, outputs[i].bytes().data()});
  }
  return outputs;
}

}  // namespace pajamas::cuda
