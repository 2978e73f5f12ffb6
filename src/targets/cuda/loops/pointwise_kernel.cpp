// Kernels of regions without reductions, and what both kinds of kernel share.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "pajamas/error.h"
#include "targets/cuda/loops/kernel_builder.h"

namespace pajamas::cuda::loops {
namespace {

constexpr std::int64_t kThreadsPerBlock = 256;
/// Threads that keep the largest GPU we tune for busy: 132 multiprocessors of 256 threads. Fewer elements a thread
/// below that.
constexpr std::int64_t kMultiprocessors = 132;
constexpr std::int64_t kEnoughThreads = kMultiprocessors * 256;

/// What a thread computes: neighbours along the output's fastest axis, and along the axis that is fastest where it
/// reads.
struct Tile {
  std::int64_t width = 1;
  std::int64_t across = 1;
  bool operator==(const Tile&) const = default;
};

std::vector<std::size_t> by_stride(const TensorDesc& desc) {
  std::vector<std::size_t> order(desc.extents.rank());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    // An axis of one element has no stride of its own: outermost.
    const std::int64_t first = desc.extents[a] == 1 ? std::numeric_limits<std::int64_t>::max() : desc.strides[a];
    const std::int64_t second = desc.extents[b] == 1 ? std::numeric_limits<std::int64_t>::max() : desc.strides[b];
    return first > second;
  });
  return order;
}

/// The axis of the output along which most loads have neighbours, when that is not the output's own fastest one; -1
/// otherwise. Row-major everywhere and no Transpose: nothing to look for.
int axis_across(const KernelRequest& request, const Output& output) {
  const std::size_t rank = output.desc.extents.rank();
  if (rank < 2) return -1;
  const auto is_plain = [](const TensorDesc& desc) {
    return desc.extents.rank() == 0 || desc.strides.back() == 1 || desc.extents[desc.extents.rank() - 1] == 1;
  };
  if (is_plain(output.desc) &&
      std::all_of(request.inputs.begin(), request.inputs.end(), [&](const Output& in) { return is_plain(in.desc); }) &&
      std::none_of(request.nodes.begin(), request.nodes.end(), [](const Node* node) {
        const OperatorEntry* entry = find_operator(*node);
        return entry != nullptr && entry->kind == OperatorClass::kTranspose;
      })) {
    return -1;
  }
  const auto region = make_region(request);
  const std::size_t fast = by_stride(output.desc).back();
  std::vector<int> votes(rank, 0);
  for (const auto& strides : load_strides(*region, output.name, output.desc.extents)) {
    if (strides[fast] == 0 || strides[fast] == 1) continue;
    for (std::size_t axis = 0; axis < rank; ++axis) votes[axis] += axis != fast && strides[axis] == 1 ? 1 : 0;
  }
  const auto most = std::max_element(votes.begin(), votes.end());
  return *most == 0 ? -1 : static_cast<int>(most - votes.begin());
}

std::int64_t factor_of_two(std::int64_t extent, std::int64_t limit) {
  while (limit > 1 && extent % limit != 0) limit /= 2;
  return limit;
}

/// The output with the most elements decides.
const Output& largest_of(const KernelRequest& request) {
  return *std::max_element(request.outputs.begin(), request.outputs.end(), [](const Output& a, const Output& b) {
    return a.desc.extents.num_elements() < b.desc.extents.num_elements();
  });
}

std::vector<Tile> tiles_for(const KernelRequest& request) {
  int bytes = 8;
  std::int64_t total = 0;
  for (const Output& output : request.outputs) {
    bytes = std::min(bytes, memory_bytes(output.desc.dtype));
    total = std::max(total, output.desc.extents.num_elements());
  }
  const int widest = std::min(8, 16 / bytes);
  std::int64_t best = widest;
  std::vector<Tile> tiles;
  for (std::int64_t width = best; width >= 1; width /= 2) tiles.push_back({width, 1});
  while (best > 1 && total / best < kEnoughThreads) best /= 2;
  std::stable_partition(tiles.begin(), tiles.end(), [&](const Tile& tile) { return tile.width == best; });
  const Output& main = largest_of(request);
  const int across = total == 0 ? -1 : axis_across(request, main);
  if (across < 0) return tiles;
  // Squares first: whole vectors both ways. Several threads a multiprocessor are enough, each has many loads in flight.
  const std::int64_t fast = factor_of_two(main.desc.extents[by_stride(main.desc).back()], widest);
  const std::int64_t most = factor_of_two(main.desc.extents[static_cast<std::size_t>(across)], widest);
  std::vector<Tile> squares;
  for (const std::int64_t a : {most, most / 2}) {
    if (a < 2) continue;
    for (const std::int64_t width : {fast, fast / 2}) {
      if (width >= 1) squares.push_back({width, a});
    }
  }
  std::stable_partition(squares.begin(), squares.end(),
                        [&](const Tile& tile) { return total / (tile.width * tile.across) >= kEnoughThreads / 4; });
  tiles.insert(tiles.begin(), squares.begin(), squares.end());
  return tiles;
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
      // One instruction makes two elements of 8 bits.
      const std::size_t each = type == DType::kFloat8E4M3Fn ? 2 : 1;
      const std::string vector = "lp_vector<" + (each == 2 ? "unsigned short" : memory_type_name(type)) + ", " +
                                 std::to_string(width / each) + ">";
      text += "{\n" + vector + " q;\n";
      for (std::size_t k = 0; k < width; k += each) {
        text += "q.v[" + std::to_string(k / each) + "] = " +
                (each == 2 ? "lp_to_e4m3_pair(" + values[lane + k] + ", " + values[lane + k + 1] + ")"
                           : store_text(type, values[lane + k])) +
                ";\n";
      }
      text += "*(" + vector + "*)(" + memory + " + " + address + ") = q;\n}\n";
    }
    lane += width;
  }
  return text;
}

bool is_fast(const KernelRequest& request) {
  return std::all_of(request.outputs.begin(), request.outputs.end(), [](const Output& output) {
    return output.desc.dtype == DType::kFloat16 || output.desc.dtype == DType::kBfloat16 ||
           output.desc.dtype == DType::kFloat8E4M3Fn;
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
      // Numbers without digits must be constant expressions, which NVRTC has no name for.
      if (values.dtype() == DType::kFloat32 && !std::isfinite(raw(float{}))) {
        text = "__builtin_bit_cast(float, " + std::to_string(raw(std::uint32_t{})) + "u)";
      }
      if (values.dtype() == DType::kFloat64 && !std::isfinite(raw(double{}))) {
        text = "__builtin_bit_cast(double, " + std::to_string(raw(std::uint64_t{})) + "ull)";
      }
      source += (k == 0 ? "" : ", ") + text;
    }
    source += "};\n";
  }
  source += "extern \"C\" __global__ void __launch_bounds__(512) " + entry + "(";
  bool is_first = true;
  // Addresses are known to the compiler only behind the wait, or it might read before.
  std::string begin = "lp_wait_for_predecessor();\n";
  const auto parameter = [&](const std::string& type, const std::string& name) {
    source += std::string(is_first ? "" : ", ") + type + "* __restrict__ " + name;
    begin += "lp_from_here_on(" + name + ");\n";
    is_first = false;
  };
  for (std::size_t i = 0; i < request.inputs.size(); ++i) {
    parameter("const " + memory_type_name(request.inputs[i].desc.dtype), "in" + std::to_string(i));
  }
  for (std::size_t i = 0; i < request.outputs.size(); ++i) {
    parameter(memory_type_name(request.outputs[i].desc.dtype), "out" + std::to_string(i));
  }
  return source + ") {\n" + begin + body + "}\n";
}

int num_pointwise_variants(const KernelRequest& request) { return static_cast<int>(tiles_for(request).size()); }

std::vector<std::vector<std::int64_t>> load_strides(Region& region, const std::string& value, const Shape& shape) {
  ExprPool& pool = region.pool;
  Index index;
  std::vector<VarId> variables;
  for (const std::int64_t extent : shape) {
    variables.push_back(pool.new_variable("at" + std::to_string(index.size()), std::max<std::int64_t>(extent, 1)));
    index.push_back(extent > 1 ? pool.variable(variables.back()) : pool.constant_form(0));
  }
  std::vector<ExprId> stack{region.at(value, index, kNone)};
  std::set<ExprId> seen;
  std::vector<std::vector<std::int64_t>> found;
  while (!stack.empty()) {
    const ExprId id = stack.back();
    stack.pop_back();
    if (!seen.insert(id).second) continue;
    const auto operands = pool.operands(id);
    stack.insert(stack.end(), operands.begin(), operands.end());
    const Expr entry = pool.expr(id);
    if (entry.kind != ExprKind::kLoad || pool.form(entry.form).has_expr) continue;
    if (region.slots()[static_cast<std::size_t>(entry.slot)].table) continue;
    // Variables of windows and rows stay where they start, like those of the axes.
    const auto address = [&](std::size_t moved) {
      Substitution at;
      for (VarId other = 0; other < 64; ++other) {
        if ((pool.form(entry.form).vars >> other & 1) != 0) at[other] = pool.constant_form(0);
      }
      if (moved < variables.size()) at[variables[moved]] = pool.constant_form(1);
      return pool.form(pool.substitute_form(entry.form, at)).constant;
    };
    std::vector<std::int64_t> strides;
    const std::int64_t start = address(variables.size());
    for (std::size_t axis = 0; axis < shape.rank(); ++axis) {
      const bool is_there = (pool.form(entry.form).vars >> variables[axis] & 1) != 0;
      strides.push_back(is_there ? address(axis) - start : 0);
    }
    found.push_back(std::move(strides));
  }
  return found;
}

namespace {

/// How the elements of one shape are dealt to threads: each has one tile.
struct Deal {
  VarId fast = -1;    ///< Along the output's fastest axis,
  VarId across = -1;  ///< along the other of the tile (-1: none),
  VarId rest = -1;    ///< over all other axes.
  Index index;
  std::int64_t num_fast = 1, num_across = 1, num_rest = 1;  ///< Tiles along each; elements of the rest.
};

Deal deal_tiles(ExprPool& pool, const TensorDesc& shape, const Tile& tile, std::size_t axis) {
  Deal deal;
  const auto order = by_stride(shape);
  const std::size_t fast = order.back();
  deal.index.assign(shape.extents.rank(), pool.constant_form(0));
  deal.num_fast = shape.extents[fast] / tile.width;
  deal.num_across = shape.extents[axis] / tile.across;
  for (const std::size_t other : order) {
    if (other != fast && other != axis) deal.num_rest *= shape.extents[other];
  }
  deal.fast = pool.new_variable("f", shape.extents[fast]);
  deal.across = pool.new_variable("a", shape.extents[axis]);
  deal.rest = pool.new_variable("o", deal.num_rest);
  deal.index[fast] = pool.variable(deal.fast);
  deal.index[axis] = pool.variable(deal.across);
  std::int64_t inner = 1;
  for (std::size_t i = order.size(); i-- > 0;) {
    if (order[i] == fast || order[i] == axis) continue;
    const std::int64_t extent = shape.extents[order[i]];
    if (extent > 1) deal.index[order[i]] = pool.digit(pool.variable(deal.rest), inner, extent);
    inner *= extent;
  }
  return deal;
}

}  // namespace

LoopKernel make_pointwise_kernel(const KernelRequest& request, int variant) {
  const auto region = make_region(request);
  ExprPool& pool = region->pool;
  const std::vector<Tile> tiles = tiles_for(request);
  const Tile tile = tiles.at(static_cast<std::size_t>(variant));
  const std::int64_t width = tile.width;
  const int across = tile.across > 1 ? axis_across(request, largest_of(request)) : -1;
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
    const bool is_tiled = across >= 0 && shape.extents == largest_of(request).desc.extents &&
                          by_stride(shape).back() == by_stride(largest_of(request).desc).back();
    if (is_tiled) {
      const Deal deal = deal_tiles(pool, shape, tile, static_cast<std::size_t>(across));
      const std::int64_t count = deal.num_fast * deal.num_across * deal.num_rest;
      const VarId thread = pool.new_variable("v", std::max<std::int64_t>(count, 1));
      // Two neighbours along the fast axis make a sector of 32 bytes to store; then the axis that loads run along.
      const std::int64_t pair = factor_of_two(deal.num_fast, 2);
      const FormId v = pool.variable(thread);
      const FormId at_fast = pool.add(
          pool.digit(v, 1, pair),
          pool.scale(pool.digit(v, pair * deal.num_across, std::max<std::int64_t>(deal.num_fast / pair, 1)), pair));
      const FormId at_across = pool.digit(v, pair, deal.num_across);
      const FormId at_rest = pool.divide(v, deal.num_fast * deal.num_across);
      std::vector<ExprId> roots;
      struct Lanes {
        std::size_t member;
        std::vector<ExprId> values;
        std::vector<FormId> addresses;
      };
      std::vector<Lanes> lanes;
      for (const std::size_t member : members) {
        const ExprId value = region->stored(request.outputs[member].name, deal.index);
        const FormId address = address_of(*region, request.outputs[member].desc, deal.index);
        kernel.flops += operations_in(*region, {value}) * static_cast<double>(total);
        Lanes own{member, {}, {}};
        for (std::int64_t lane = 0; lane < tile.across * tile.width; ++lane) {
          const Substitution at{{deal.fast, pool.add(pool.scale(at_fast, tile.width), lane % tile.width)},
                                {deal.across, pool.add(pool.scale(at_across, tile.across), lane / tile.width)},
                                {deal.rest, at_rest}};
          own.values.push_back(pool.substitute(value, at));
          own.addresses.push_back(pool.substitute_form(address, at));
        }
        roots.insert(roots.end(), own.values.begin(), own.values.end());
        lanes.push_back(std::move(own));
      }
      const std::string at = "t" + std::to_string(section);
      body += "{\nconst lp_index " + at + " = thread - (lp_index)" + std::to_string(num_threads) + ";\n";
      body += "if (" + at + " >= 0 && " + at + " < (lp_index)" + std::to_string(count) + ") {\n";
      BodyEmitter emitter(*region, "a", {{thread, at}}, {}, is_fast(request));
      emitter.run(roots);
      std::string stores;
      for (const Lanes& own : lanes) {
        std::vector<std::string> texts;
        for (const ExprId value : own.values) texts.push_back(emitter.name(value));
        stores += store_lanes(*region, emitter, own.member, request.outputs[own.member], own.addresses, texts);
      }
      body += emitter.text() + stores + "}\n}\n";
      num_threads += count;
      ++section;
      continue;
    }
    const std::vector<std::size_t> order = by_stride(shape);
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
      values.push_back(region->stored(request.outputs[member].name, index));
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
  kernel.source = whole_source(*region, request, kernel.entry, body, num_threads * width * tile.across);
  // Small work on all multiprocessors.
  std::int64_t threads = kThreadsPerBlock;
  while (threads > 64 && num_threads / threads < 2 * kMultiprocessors) threads /= 2;
  kernel.block[0] = static_cast<std::uint32_t>(threads);
  kernel.grid[0] = static_cast<std::uint32_t>(std::max<std::int64_t>(1, (num_threads + threads - 1) / threads));
  return kernel;
}

}  // namespace pajamas::cuda::loops
