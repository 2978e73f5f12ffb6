// Kernels of regions without reductions, and what both kinds of kernel share.
#include <algorithm>
#include <numeric>
#include <set>

#include "pajamas/error.h"
#include "targets/cuda/loops/kernel_builder.h"

namespace pajamas::cuda::loops {
namespace {

constexpr std::int64_t kThreadsPerBlock = 256;
/// Threads that keep the largest GPU we tune for busy: 132 multiprocessors of 256 threads. Fewer elements a thread
/// below that.
constexpr std::int64_t kEnoughThreads = 132 * 256;

std::vector<int> widths_for(const KernelRequest& request) {
  int bytes = 8;
  std::int64_t total = 0;
  for (const Output& output : request.outputs) {
    bytes = std::min(bytes, memory_bytes(output.desc.dtype));
    total = std::max(total, output.desc.extents.num_elements());
  }
  int best = std::min(8, 16 / bytes);
  std::vector<int> widths;
  for (int width = best; width >= 1; width /= 2) widths.push_back(width);
  while (best > 1 && total / best < kEnoughThreads) best /= 2;
  std::stable_partition(widths.begin(), widths.end(), [&](int width) { return width == best; });
  return widths;
}

}  // namespace

std::unique_ptr<Region> make_region(const KernelRequest& request) {
  auto region = std::make_unique<Region>(request.nodes, request.opset, *request.facts);
  for (const Output& input : request.inputs) region->add_input(input.name, input.desc, input.offset_elements);
  for (const auto& [name, values] : request.constants) region->add_constant(name, values);
  return region;
}

bool reduces(const KernelRequest& request) {
  for (const Node* node : request.nodes) {
    const OperatorEntry* entry = find_operator(*node);
    if (entry != nullptr && entry->kind == OperatorClass::kRow) return true;
  }
  return false;
}

FormId address_of(Region& region, const TensorDesc& desc, const Index& index) {
  FormId address = region.pool.constant_form(0);
  for (std::size_t i = 0; i < index.size(); ++i) {
    if (desc.extents[i] > 1) address = region.pool.add(address, region.pool.scale(index[i], desc.strides[i]));
  }
  return address;
}

std::string store_lanes(Region& region, BodyEmitter& body, std::size_t output, const Output& to,
                        const std::vector<FormId>& addresses, const std::vector<std::string>& values) {
  ExprPool& pool = region.pool;
  const DType type = to.desc.dtype;
  const std::string memory = "out" + std::to_string(output);
  std::string text;
  for (std::size_t lane = 0; lane < values.size();) {
    std::size_t width = static_cast<std::size_t>(16 / memory_bytes(type));
    const auto fits = [&] {
      if (lane + width > values.size()) return false;
      for (std::size_t k = 1; k < width; ++k) {
        if (addresses[lane + k] != pool.add(addresses[lane], static_cast<std::int64_t>(k))) return false;
      }
      const FormId first = pool.add(addresses[lane], to.offset_elements);
      return pool.power_of_two_factor(first, static_cast<std::int64_t>(width)) == static_cast<std::int64_t>(width);
    };
    while (width > 1 && !fits()) width /= 2;
    const std::string address = body.form_text(addresses[lane]);
    if (width == 1) {
      text += memory + "[" + address + "] = " + store_text(type, values[lane]) + ";\n";
    } else {
      const std::string vector = "lp_vector<" + memory_type_name(type) + ", " + std::to_string(width) + ">";
      text += "{\n" + vector + " q;\n";
      for (std::size_t k = 0; k < width; ++k) {
        text += "q.v[" + std::to_string(k) + "] = " + store_text(type, values[lane + k]) + ";\n";
      }
      text += "*(" + vector + "*)(" + memory + " + " + address + ") = q;\n}\n";
    }
    lane += width;
  }
  return text;
}

bool is_fast(const KernelRequest& request) {
  return std::all_of(request.outputs.begin(), request.outputs.end(), [](const Output& output) {
    return output.desc.dtype == DType::kFloat16 || output.desc.dtype == DType::kBfloat16;
  });
}

double operations_in(const Region& region, const std::vector<ExprId>& roots) {
  std::set<ExprId> seen;
  std::vector<ExprId> stack(roots);
  double count = 0;
  while (!stack.empty()) {
    const ExprId id = stack.back();
    stack.pop_back();
    if (!seen.insert(id).second) continue;
    const Expr& entry = region.pool.expr(id);
    if (is_float_type(entry.type) && (entry.kind == ExprKind::kUnary || entry.kind == ExprKind::kBinary)) ++count;
    if (entry.kind == ExprKind::kReduce) count += static_cast<double>(entry.integer);
    for (const ExprId operand : region.pool.operands(id)) stack.push_back(operand);
  }
  return count;
}

std::string whole_source(const Region& region, const KernelRequest& request, const std::string& entry,
                         const std::string& body, std::int64_t num_threads) {
  // Indices are 32-bit wherever every extent of memory and every count of threads allows it.
  bool is_wide = num_threads > (std::int64_t{1} << 30);
  const auto look = [&](const TensorDesc& desc) {
    std::int64_t reach = desc.extents.num_elements();
    for (std::size_t i = 0; i < desc.strides.size(); ++i) reach += (desc.extents[i] - 1) * std::abs(desc.strides[i]);
    is_wide = is_wide || reach > (std::int64_t{1} << 30);
  };
  for (const Output& input : request.inputs) look(input.desc);
  for (const Output& output : request.outputs) look(output.desc);
  std::string source = is_wide ? "typedef long long lp_index;\ntypedef unsigned long long lp_unsigned;\n"
                               : "typedef int lp_index;\ntypedef unsigned int lp_unsigned;\n";
  source += prelude();
  for (std::size_t i = 0; i < region.slots().size(); ++i) {
    const Slot& slot = region.slots()[i];
    if (!slot.table) continue;
    const Tensor& values = *slot.table;
    source += "__device__ const " + memory_type_name(values.dtype()) + " table" + std::to_string(i) + "[] = {";
    // As bits where they are floats, so that nothing is lost in decimal.
    for (std::int64_t k = 0; k < values.num_elements(); ++k) {
      const std::byte* at = values.bytes().data();
      const auto raw = [&](auto tag) { return reinterpret_cast<const decltype(tag)*>(at)[k]; };
      std::string text;
      switch (values.dtype()) {
        case DType::kFloat32: text = literal(DType::kFloat32, static_cast<double>(raw(float{})), 0); break;
        case DType::kFloat64: text = literal(DType::kFloat64, raw(double{}), 0); break;
        case DType::kInt64: text = literal(DType::kInt64, 0, raw(std::int64_t{})); break;
        case DType::kInt32: text = std::to_string(raw(std::int32_t{})); break;
        case DType::kInt8: text = std::to_string(raw(std::int8_t{})); break;
        case DType::kUint8:
        case DType::kBool: text = std::to_string(raw(std::uint8_t{})); break;
        default:
          throw Error(ErrorKind::kUnsupported, std::string("a table of ") + to_string(values.dtype()) + " in a loop");
      }
      // Numbers without digits must be constant expressions here.
      if (text.find("_nan()") != std::string::npos) text = "__builtin_nanf(\"\")";
      if (text.find("_infinity()") != std::string::npos) {
        text = text.find('-') == std::string::npos ? "__builtin_huge_valf()" : "-__builtin_huge_valf()";
      }
      source += (k == 0 ? "" : ", ") + text;
    }
    source += "};\n";
  }
  source += "extern \"C\" __global__ void __launch_bounds__(512) " + entry + "(";
  bool is_first = true;
  const auto parameter = [&](const std::string& type, const std::string& name) {
    source += std::string(is_first ? "" : ", ") + type + "* __restrict__ " + name;
    is_first = false;
  };
  for (std::size_t i = 0; i < request.inputs.size(); ++i) {
    parameter("const " + memory_type_name(request.inputs[i].desc.dtype), "in" + std::to_string(i));
  }
  for (std::size_t i = 0; i < request.outputs.size(); ++i) {
    parameter(memory_type_name(request.outputs[i].desc.dtype), "out" + std::to_string(i));
  }
  return source + ") {\n" + body + "}\n";
}

int num_pointwise_variants(const KernelRequest& request) { return static_cast<int>(widths_for(request).size()); }

LoopKernel make_pointwise_kernel(const KernelRequest& request, int variant) {
  const auto region = make_region(request);
  ExprPool& pool = region->pool;
  const std::vector<int> widths = widths_for(request);
  const std::int64_t width = widths.at(static_cast<std::size_t>(variant));
  LoopKernel kernel;
  kernel.entry = "pajamas_loop";
  std::string body = "const lp_index thread = (lp_index)blockIdx.x * (lp_index)blockDim.x + (lp_index)threadIdx.x;\n";
  std::int64_t num_threads = 0;
  std::vector<bool> is_done(request.outputs.size(), false);
  int section = 0;
  for (std::size_t first = 0; first < request.outputs.size(); ++first) {
    if (is_done[first]) continue;
    // All outputs of these extents are computed by the same threads.
    const TensorDesc& shape = request.outputs[first].desc;
    std::vector<std::size_t> members;
    for (std::size_t i = first; i < request.outputs.size(); ++i) {
      if (request.outputs[i].desc.extents == shape.extents) {
        members.push_back(i);
        is_done[i] = true;
      }
    }
    const std::int64_t total = shape.extents.num_elements();
    if (total == 0) continue;
    std::vector<std::size_t> order(shape.extents.rank());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return shape.strides[a] > shape.strides[b]; });
    const VarId flat = pool.new_variable("i", total);
    const std::int64_t num_vectors = total / width;
    const std::int64_t rest = total - num_vectors * width;
    const VarId vector = pool.new_variable("v", std::max<std::int64_t>(num_vectors, 1));
    Index index(shape.extents.rank(), pool.constant_form(0));
    std::int64_t inner = 1;
    for (std::size_t i = order.size(); i-- > 0;) {
      const std::int64_t extent = shape.extents[order[i]];
      if (extent > 1) index[order[i]] = pool.digit(pool.variable(flat), inner, extent);
      inner *= extent;
    }
    std::vector<ExprId> values;
    std::vector<FormId> addresses;
    for (const std::size_t member : members) {
      values.push_back(region->at(request.outputs[member].name, index, kNone));
      addresses.push_back(address_of(*region, request.outputs[member].desc, index));
    }
    kernel.flops += operations_in(*region, values) * static_cast<double>(total);
    const auto code = [&](const std::string& prefix, std::int64_t lanes, const Substitution* base,
                          std::map<VarId, std::string> names) {
      std::vector<std::vector<ExprId>> lane_values(members.size());
      std::vector<std::vector<FormId>> lane_addresses(members.size());
      std::vector<ExprId> roots;
      for (std::size_t m = 0; m < members.size(); ++m) {
        for (std::int64_t lane = 0; lane < lanes; ++lane) {
          ExprId value = values[m];
          FormId address = addresses[m];
          if (base != nullptr) {
            const Substitution at{{flat, pool.add(base->at(flat), lane)}};
            value = pool.substitute(value, at);
            address = pool.substitute_form(address, at);
          }
          lane_values[m].push_back(value);
          lane_addresses[m].push_back(address);
          roots.push_back(value);
        }
      }
      BodyEmitter emitter(*region, prefix, std::move(names), {}, is_fast(request));
      emitter.run(roots);
      std::string stores;
      for (std::size_t m = 0; m < members.size(); ++m) {
        std::vector<std::string> texts;
        for (const ExprId value : lane_values[m]) texts.push_back(emitter.name(value));
        stores += store_lanes(*region, emitter, members[m], request.outputs[members[m]], lane_addresses[m], texts);
      }
      return emitter.text() + stores;
    };
    const std::string at = "t" + std::to_string(section);
    body += "{\nconst lp_index " + at + " = thread - (lp_index)" + std::to_string(num_threads) + ";\n";
    body += "if (" + at + " >= 0 && " + at + " < (lp_index)" + std::to_string(num_vectors) + ") {\n";
    if (num_vectors > 0) {
      // With one vector its number is the constant 0.
      const Substitution base{{flat, pool.scale(pool.variable(vector), width)}};
      body += code("a", width, &base, {{vector, at}});
    }
    body += "}\n";
    if (rest > 0) {
      body += "if (" + at + " >= (lp_index)" + std::to_string(num_vectors) + " && " + at + " < (lp_index)" +
              std::to_string(num_vectors + rest) + ") {\n";
      body +=
          code("b", 1, nullptr, {{flat, "(" + at + " + (lp_index)" + std::to_string(num_vectors * (width - 1)) + ")"}});
      body += "}\n";
    }
    body += "}\n";
    num_threads += num_vectors + rest;
    ++section;
  }
  kernel.source = whole_source(*region, request, kernel.entry, body, num_threads * width);
  kernel.block[0] = static_cast<std::uint32_t>(kThreadsPerBlock);
  kernel.grid[0] =
      static_cast<std::uint32_t>(std::max<std::int64_t>(1, (num_threads + kThreadsPerBlock - 1) / kThreadsPerBlock));
  return kernel;
}

}  // namespace pajamas::cuda::loops
