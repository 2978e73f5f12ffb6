// See operators.h: the table of operators, and what their texts share (operator_text.h).
#include "targets/cuda/operators/operators.h"

#include <algorithm>

#include "targets/cuda/lowering/regions.h"
#include "targets/cuda/operators/operator_text.h"

namespace pajamas::cuda {
namespace operators {
namespace {

struct Entry {
  const char* type;
  void (*write)(SourceWriter&);
};

constexpr Entry kTable[] = {
    {"TopK", write_top_k},
    {"ScatterElements", write_scatter_elements},
    {"Scatter", write_scatter_elements},
    {"ScatterND", write_scatter_nd},
    {"RoiAlign", write_roi_align},
    {"NonMaxSuppression", write_non_max_suppression},
    {"NonZero", write_non_zero},
};

const Entry* find(const Node& node) {
  if (!node.domain.empty() && node.domain != "ai.onnx") return nullptr;
  const auto* found = std::find_if(std::begin(kTable), std::end(kTable),
                                   [&](const Entry& entry) { return node.op_type == entry.type; });
  return found == std::end(kTable) ? nullptr : found;
}

constexpr std::int64_t kWorkspaceAlignment = 16;

constexpr const char* kScan = R"cuda(
template <int threads> __device__ inline int op_scan(int own, int& total) {
  __shared__ int sums[2][threads];
  int from = 0;
  __syncthreads();
  sums[0][threadIdx.x] = own;
  __syncthreads();
  for (int step = 1; step < threads; step *= 2) {
    int sum = sums[from][threadIdx.x];
    if ((int)threadIdx.x >= step) sum += sums[from][threadIdx.x - step];
    sums[1 - from][threadIdx.x] = sum;
    from = 1 - from;
    __syncthreads();
  }
  total = sums[from][threads - 1];
  return sums[from][threadIdx.x] - own;
}
)cuda";

}  // namespace

SourceWriter::SourceWriter(const Program& program, const OperatorStep& step)
    : program_(program), step_(step), node_(program.nodes[static_cast<std::size_t>(step.node)]) {
  for (std::size_t i = 0; i < step.inputs.size(); ++i) {
    if (!has_input(i)) continue;
    require(input(i).is_contiguous(), "an input that is not dense");
    result_.arguments.push_back(step.inputs[i]);
  }
  for (std::size_t i = 0; i < step.outputs.size(); ++i) {
    if (!has_output(i)) continue;
    result_.arguments.push_back(step.outputs[i]);
    const TensorDesc& desc = output(i);
    add("__device__ inline long long place" + std::to_string(i) + "(long long i) {\n");
    if (desc.is_contiguous()) {
      add("  return i;\n}\n");
      continue;
    }
    add("  long long at = 0;\n");
    for (std::size_t axis = desc.extents.rank(); axis-- > 0;) {
      if (desc.extents[axis] == 1) continue;
      add("  at += i % " + number(desc.extents[axis]) + " * " + number(desc.strides[axis]) +
          "; i /= " + number(desc.extents[axis]) + ";\n");
    }
    add("  return at;\n}\n");
  }
}

const Tensor* SourceWriter::constant(std::size_t i) const {
  if (i >= node_.inputs.size() || node_.inputs[i].empty()) return nullptr;
  for (const Initializer& initializer : program_.small_constants) {
    if (initializer.name == node_.inputs[i]) return &initializer.tensor;
  }
  return nullptr;
}

void SourceWriter::unsupported(const std::string& why) const {
  throw Error(ErrorKind::kUnsupported, why, node_.describe());
}

std::string SourceWriter::parameters() const {
  std::string text;
  for (std::size_t i = 0; i < step_.inputs.size(); ++i) {
    if (!has_input(i)) continue;
    text += "const " + loops::memory_type_name(input(i).dtype) + "* __restrict__ a" + std::to_string(i) + ", ";
  }
  for (std::size_t i = 0; i < step_.outputs.size(); ++i) {
    if (!has_output(i)) continue;
    text += loops::memory_type_name(output(i).dtype) + "* __restrict__ y" + std::to_string(i) + ", ";
  }
  return text + "unsigned char* __restrict__ workspace";
}

void SourceWriter::add_kernel(const std::string& body, std::int64_t num_threads) {
  add_block_kernel("  const long long self = (long long)blockIdx.x * " + number(kBlockSize) +
                       " + threadIdx.x;\n  if (self >= " + number(num_threads) + ") return;\n" + body,
                   (num_threads + kBlockSize - 1) / kBlockSize, kBlockSize, false);
}

void SourceWriter::add_block_kernel(const std::string& body, std::int64_t num_blocks, std::int64_t block_size,
                                    bool has_barriers) {
  require(num_blocks < (std::int64_t{1} << 31), "more elements than one launch has threads");
  OperatorLaunch launch;
  launch.entry = "pajamas_operator" + std::to_string(result_.launches.size());
  launch.num_blocks = static_cast<std::uint32_t>(std::max<std::int64_t>(1, num_blocks));
  launch.block_size = static_cast<std::uint32_t>(block_size);
  launch.has_barriers = has_barriers;
  add("extern \"C\" __global__ void __launch_bounds__(" + std::to_string(block_size) + ") " + launch.entry + "(" +
      parameters() + ") {\n" + body + "}\n");
  result_.launches.push_back(std::move(launch));
}

void SourceWriter::add_workspace(const std::string& name, const std::string& type, std::int64_t count,
                                 std::int64_t element_bytes) {
  add("#define " + name + " ((" + type + "*)(workspace + " +
      number(static_cast<std::int64_t>(result_.workspace_bytes)) + "))\n");
  const std::int64_t bytes = (count * element_bytes + kWorkspaceAlignment - 1) / kWorkspaceAlignment;
  result_.workspace_bytes += static_cast<std::size_t>(bytes * kWorkspaceAlignment);
}

OperatorSource SourceWriter::finish() {
  result_.source = loops::prelude() + text_;
  return std::move(result_);
}

const char* block_scan() { return kScan; }

Split split_at(const Shape& shape, std::size_t axis) {
  Split split;
  for (std::size_t i = 0; i < shape.rank(); ++i)
    (i < axis ? split.outer : i == axis ? split.extent : split.inner) *= shape[i];
  return split;
}

std::size_t axis_of(const SourceWriter& writer, std::int64_t axis, std::size_t rank) {
  const auto count = static_cast<std::int64_t>(rank);
  writer.require(axis >= -count && axis < count, "an axis outside of the rank");
  return static_cast<std::size_t>(axis < 0 ? axis + count : axis);
}

}  // namespace operators

std::optional<OperatorSource> make_operator_source(const Program& program, const Step& step) {
  const auto* call = std::get_if<OperatorStep>(&step.work);
  if (call == nullptr) return std::nullopt;
  const operators::Entry* entry = operators::find(program.nodes[static_cast<std::size_t>(call->node)]);
  if (entry == nullptr) return std::nullopt;
  operators::SourceWriter writer(program, *call);
  entry->write(writer);
  return writer.finish();
}

bool reads_as_number(const Node& node, std::size_t input) {
  return (node.is("NonMaxSuppression") && input >= 2) || (node.is("TopK") && input == 1);
}

bool is_operator_step(const Node& node) { return operators::find(node) != nullptr; }

Support supports_operator(const Node& node, std::int64_t opset, const GraphFacts& facts) {
  Program program;
  program.opset = opset;
  program.nodes.push_back(node);
  OperatorStep call;
  call.node = 0;
  const auto add = [&](const std::string& name, std::vector<ValueId>& ids) {
    if (name.empty()) {
      ids.push_back(-1);
      return;
    }
    const ValueFact* fact = facts.find(name);
    const auto shape = fact == nullptr ? std::nullopt : fact->static_shape();
    if (!shape) throw Error(ErrorKind::kUnsupported, "the shape of '" + name + "' is not known");
    ids.push_back(static_cast<ValueId>(program.values.size()));
    program.values.push_back({name, TensorDesc::contiguous(fact->dtype, *shape), 0, 0});
    if (fact->constant.dtype() != DType::kUndefined) {
      program.small_constants.push_back({name, fact->constant, {}, {}, {}});
    } else if (const auto numbers = fact->known_elements(); numbers && fact->dtype == DType::kInt64) {
      program.small_constants.push_back({name, Tensor::of<std::int64_t>(*shape, *numbers), {}, {}, {}});
    }
  };
  try {
    for (const std::string& name : node.inputs) add(name, call.inputs);
    for (const std::string& name : node.outputs) add(name, call.outputs);
    Step step;
    step.work = call;
    make_operator_source(program, step);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUnsupported) throw;
    return Support::no(node.describe() + ": " + error.message(), "use another target, or export without the operator");
  }
  return Support::yes();
}

}  // namespace pajamas::cuda
