// Kernels of regions that reduce: threads of a block share a row, values that several passes need stay in registers.
#include <algorithm>
#include <numeric>
#include <set>

#include "pajamas/error.h"
#include "targets/cuda/loops/kernel_builder.h"

namespace pajamas::cuda::loops {
namespace {

/// Elements of a row that a thread keeps in registers at most.
constexpr std::int64_t kMaxKept = 64;

struct Geometry {
  bool is_column = false;
  std::int64_t width = 1;    ///< Elements side by side that a thread takes: of the row, or neighbouring rows.
  std::int64_t threads = 1;  ///< That share a row.
};

/// How the region's space lies: rows, what they reduce, where each value's element (row, k) is.
struct Space {
  VarId row = -1;
  std::int64_t num_rows = 1;
  std::map<std::string, Index> index_of;
  std::int64_t row_step = 1;        ///< Distance in memory between elements of a row that are neighbours,
  std::int64_t neighbour_step = 0;  ///< and between neighbouring rows; of the main input.
  int bytes = 4;
};

const Node& anchor_of(const KernelRequest& request) {
  for (const Node* node : request.nodes) {
    if (find_operator(*node)->kind == OperatorClass::kRow) return *node;
  }
  throw Error(ErrorKind::kInternal, "a row kernel without a reduction");
}

Space find_space(Region& region, const KernelRequest& request) {
  ExprPool& pool = region.pool;
  const Node& anchor = anchor_of(request);
  const Shape shape = region.shape_of(anchor.inputs[0]);
  const auto axes = axes_of_row(region, anchor);
  // The strides of the largest input of that shape decide what is fastest.
  std::vector<std::int64_t> strides = dense(DType::kFloat32, shape).strides;
  const auto main = std::find_if(request.inputs.begin(), request.inputs.end(),
                                 [&](const Output& input) { return input.desc.extents == shape; });
  if (main != request.inputs.end()) {
    strides = main->desc.strides;
  } else {
    // What is reduced is computed in the region, behind views perhaps: where do its loads come from?
    const auto probe = make_region(request);
    for (const auto& found : load_strides(*probe, anchor.inputs[0], shape)) {
      bool is_whole = true;
      for (std::size_t i = 0; i < shape.rank(); ++i) is_whole = is_whole && (found[i] > 0 || shape[i] == 1);
      if (!is_whole) continue;
      strides = found;
      break;
    }
  }
  const auto by_stride = [&](std::vector<std::size_t> list) {
    std::stable_sort(list.begin(), list.end(), [&](std::size_t a, std::size_t b) { return strides[a] > strides[b]; });
    return list;
  };
  std::vector<std::size_t> positions;
  for (const std::size_t axis : by_stride(axes)) {
    positions.push_back(static_cast<std::size_t>(std::find(axes.begin(), axes.end(), axis) - axes.begin()));
  }
  const bool is_arg = anchor.op_type.starts_with("Arg") || anchor.op_type == "Hardmax";
  if (!is_arg) region.set_row_order(positions);
  const RowSpace rows = region.row_space(anchor, shape, axes);
  Space space;
  std::vector<std::size_t> kept;
  for (std::size_t i = 0; i < shape.rank(); ++i) {
    if (std::find(axes.begin(), axes.end(), i) == axes.end()) kept.push_back(i);
  }
  for (const std::size_t axis : kept) space.num_rows *= shape[axis];
  space.row = pool.new_variable("r", space.num_rows);
  Index index(shape.rank(), pool.constant_form(0));
  std::int64_t inner = 1;
  const auto kept_order = by_stride(kept);
  for (std::size_t i = kept_order.size(); i-- > 0;) {
    const std::int64_t extent = shape[kept_order[i]];
    if (extent > 1) {
      if (space.neighbour_step == 0) space.neighbour_step = strides[kept_order[i]];
      index[kept_order[i]] = pool.digit(pool.variable(space.row), inner, extent);
    }
    inner *= extent;
  }
  for (std::size_t i = positions.size(); i-- > 0;) {
    if (shape[axes[positions[i]]] > 1) {
      space.row_step = strides[axes[positions[i]]];
      break;
    }
  }
  index = region.row_index(rows, index, shape, axes);
  space.index_of[anchor.inputs[0]] = index;
  // From there to every value that lies in the same places.
  const auto set = [&](const std::string& name, Index at) {
    return !name.empty() && space.index_of.emplace(name, std::move(at)).second;
  };
  const auto find = [&](const std::string& name) -> const Index* {
    const auto found = space.index_of.find(name);
    return found == space.index_of.end() ? nullptr : &found->second;
  };
  for (bool is_changed = true; is_changed;) {
    is_changed = false;
    for (const Node* node : request.nodes) {
      const OperatorClass kind = find_operator(*node)->kind;
      if (kind != OperatorClass::kPointwise && kind != OperatorClass::kReshape && kind != OperatorClass::kTranspose &&
          kind != OperatorClass::kRow) {
        continue;
      }
      const Shape out = region.shape_of(node->outputs[0]);
      for (std::size_t i = 0; i < node->inputs.size(); ++i) {
        const std::string& name = node->inputs[i];
        if (name.empty() || (i > 0 && kind != OperatorClass::kPointwise)) continue;
        const Shape in = region.shape_of(name);
        if (const Index* at = find(name); at != nullptr && find(node->outputs[0]) == nullptr) {
          const Index from = *at;
          if (kind == OperatorClass::kReshape) {
            is_changed |= set(node->outputs[0], region.index_of_flat(region.flat_of_index(from, in), out));
          } else if (kind == OperatorClass::kTranspose) {
            auto order = node->ints_attribute("perm");
            if (order.empty()) {
              order.resize(from.size());
              std::iota(order.rbegin(), order.rend(), 0);
            }
            Index to;
            for (const std::int64_t axis : order) to.push_back(from[region.axis(*node, axis, from.size())]);
            is_changed |= set(node->outputs[0], to);
          } else if (kind == OperatorClass::kPointwise) {
            if (in == out) is_changed |= set(node->outputs[0], from);
          } else {
            const auto reduced = axes_of_row(region, *node);
            const bool is_arg_or_reduce = node->op_type.starts_with("Reduce") || node->op_type.starts_with("Arg") ||
                                          node->op_type.starts_with("Global");
            const bool keeps = node->op_type.starts_with("Global") || node->int_attribute("keepdims", 1) != 0;
            Index of_row;
            Index dropped;
            for (std::size_t k = 0; k < from.size(); ++k) {
              const bool is_reduced = std::find(reduced.begin(), reduced.end(), k) != reduced.end();
              of_row.push_back(is_reduced ? pool.constant_form(0) : from[k]);
              if (!is_reduced || keeps) dropped.push_back(of_row.back());
            }
            if (is_arg_or_reduce) {
              is_changed |= set(node->outputs[0], dropped);
            } else {
              is_changed |= set(node->outputs[0], from);
              for (std::size_t k = 1; k < node->outputs.size(); ++k) is_changed |= set(node->outputs[k], of_row);
            }
          }
        }
        const Index* at = find(node->outputs[0]);
        if (at == nullptr || find(name) != nullptr || kind == OperatorClass::kRow) continue;
        const Index to = *at;
        if (kind == OperatorClass::kPointwise && in == out) is_changed |= set(name, to);
        if (kind == OperatorClass::kReshape) {
          is_changed |= set(name, region.index_of_flat(region.flat_of_index(to, out), in));
        }
      }
    }
  }
  for (const Output& output : request.outputs) space.bytes = std::min(space.bytes, memory_bytes(output.desc.dtype));
  for (const Output& input : request.inputs) {
    if (input.desc.extents == shape) space.bytes = std::min(space.bytes, memory_bytes(input.desc.dtype));
  }
  return space;
}

std::vector<Geometry> geometries_for(const Space& space, std::int64_t count) {
  std::vector<Geometry> made;
  const std::int64_t widest = std::min<std::int64_t>(8, 16 / space.bytes);
  const bool is_column = space.row_step > 1 && space.neighbour_step == 1 && space.num_rows >= 32;
  if (is_column) {
    std::int64_t width = std::min<std::int64_t>(widest, 4);
    while (width > 1 && (space.num_rows % width != 0 || space.num_rows / width < 32 * 132)) width /= 2;
    std::int64_t best = 1;
    while (best < 16 && best * 8 <= count && space.num_rows / width * best < 132 * 512) best *= 2;
    made.push_back({true, width, best});
    for (const std::int64_t threads : {1, 4, 16}) {
      if (threads != best && threads <= count) made.push_back({true, width, threads});
    }
    return made;
  }
  std::int64_t width = widest;
  while (width > 1 && count % width != 0) width /= 2;
  const std::int64_t vectors = count / width;
  std::int64_t best = 1;
  // Two vectors a thread where rows are many, one where they are few.
  const std::int64_t each = space.num_rows >= 1024 ? 2 : 1;
  while (best < 512 && best * each < vectors) best *= 2;
  made.push_back({false, width, best});
  for (const std::int64_t threads : {best / 4, best / 2, best * 2, std::int64_t{32}}) {
    const bool is_new = std::none_of(made.begin(), made.end(), [&](const Geometry& g) { return g.threads == threads; });
    if (threads >= 1 && threads <= 512 && threads < vectors * 2 && is_new) made.push_back({false, width, threads});
  }
  return made;
}

bool is_expensive(const Expr& entry) {
  if (entry.kind == ExprKind::kLoad) return true;
  if (entry.kind == ExprKind::kSelect) return entry.is_lazy;
  if (entry.kind == ExprKind::kBinary) return entry.op == Op::kDiv || entry.op == Op::kPow;
  if (entry.kind != ExprKind::kUnary) return false;
  return entry.op != Op::kNegate && entry.op != Op::kAbs && entry.op != Op::kNot && entry.op != Op::kSign;
}

/// Writes one row kernel.
class RowWriter {
 public:
  RowWriter(Region& region, const KernelRequest& request, const Space& space, const Geometry& geometry)
      : region_(region), pool_(region.pool), request_(request), space_(space), geometry_(geometry) {}

  LoopKernel write() {
    const std::int64_t count = region_.rows()->count;
    const std::int64_t along = geometry_.is_column ? 1 : geometry_.width;
    k_ = region_.rows()->variable;
    k_vector_ = pool_.new_variable("kv", std::max<std::int64_t>(count / along, 1));
    num_steps_ = (count / along + geometry_.threads - 1) / geometry_.threads;
    is_exact_ = num_steps_ * geometry_.threads * along == count;
    is_kept_ = num_steps_ * along <= kMaxKept;
    const std::int64_t row_lanes = geometry_.is_column ? geometry_.width : 1;
    row_vector_ = pool_.new_variable("rv", std::max<std::int64_t>(space_.num_rows / row_lanes, 1));
    variables_ = {{row_vector_, "row"}, {k_vector_, "kv"}};
    LoopKernel kernel;
    kernel.entry = "pajamas_loop";
    // Per output and lane of rows: value and address at (row, k).
    for (std::size_t i = 0; i < request_.outputs.size(); ++i) {
      const Output& output = request_.outputs[i];
      const auto found = space_.index_of.find(output.name);
      if (found == space_.index_of.end()) {
        throw Error(ErrorKind::kUnsupported, "an output that does not lie along the rows of its kernel", output.name);
      }
      const ExprId value = region_.stored(output.name, found->second);
      const FormId address = address_of(region_, output.desc, found->second);
      kernel.flops += operations_in(region_, {value}) * static_cast<double>(space_.num_rows);
      Part part;
      part.output = i;
      part.is_row = ((pool_.expr(value).vars | pool_.form(address).vars) >> k_ & 1) == 0;
      for (std::int64_t lane = 0; lane < row_lanes; ++lane) {
        const Substitution at{{space_.row, pool_.add(pool_.scale(pool_.variable(row_vector_), row_lanes), lane)}};
        part.values.push_back(pool_.substitute(value, at));
        part.addresses.push_back(pool_.substitute_form(address, at));
      }
      parts_.push_back(std::move(part));
    }
    plan();
    std::string body = start(kernel);
    for (std::size_t phase = 0; phase < phases_.size(); ++phase) body += reduce_phase(phase);
    body += store_phase();
    kernel.source = whole_source(region_, request_, kernel.entry, keeps_ + body,
                                 space_.num_rows * std::max<std::int64_t>(count, 1));
    return kernel;
  }

 private:
  struct Part {
    std::size_t output = 0;
    bool is_row = false;
    std::vector<ExprId> values;  ///< One a lane of rows.
    std::vector<FormId> addresses;
  };

  std::vector<ExprId> lanes_of(ExprId value) {
    if (geometry_.is_column) return {pool_.substitute(value, {{k_, pool_.variable(k_vector_)}})};
    std::vector<ExprId> lanes;
    for (std::int64_t lane = 0; lane < geometry_.width; ++lane) {
      const FormId k = pool_.add(pool_.scale(pool_.variable(k_vector_), geometry_.width), lane);
      lanes.push_back(pool_.substitute(value, {{k_, k}}));
    }
    return lanes;
  }
  FormId address_lane(FormId address, std::int64_t lane) {
    const std::int64_t width = geometry_.is_column ? 1 : geometry_.width;
    return pool_.substitute_form(address, {{k_, pool_.add(pool_.scale(pool_.variable(k_vector_), width), lane)}});
  }
  bool varies(ExprId id) const { return (pool_.expr(id).vars >> k_vector_ & 1) != 0; }
  bool is_row_reduce(ExprId id) const {
    const Expr& entry = pool_.expr(id);
    return entry.kind == ExprKind::kReduce && entry.slot == k_;
  }

  /// Reductions by level: each needs only those of earlier levels.
  void plan() {
    std::map<ExprId, std::size_t> levels;
    std::set<ExprId> reached;
    std::vector<ExprId> stack;
    for (const Part& part : parts_) stack.insert(stack.end(), part.values.begin(), part.values.end());
    while (!stack.empty()) {
      const ExprId id = stack.back();
      stack.pop_back();
      if (!reached.insert(id).second) continue;
      for (const ExprId operand : pool_.operands(id)) stack.push_back(operand);
    }
    std::map<ExprId, std::size_t> depth;
    for (const ExprId id : reached) {  // ascending: operands first
      std::size_t level = 0;
      for (const ExprId operand : pool_.operands(id)) level = std::max(level, depth[operand]);
      if (is_row_reduce(id)) {
        phases_.resize(std::max(phases_.size(), level + 1));
        phases_[level].push_back(id);
        ++level;
      }
      depth[id] = level;
    }
    for (const auto& phase : phases_) {
      std::vector<ExprId> roots;
      for (const ExprId reduce : phase) {
        for (const ExprId lane : lanes_of(pool_.expr(reduce).a)) roots.push_back(lane);
      }
      roots_.push_back(std::move(roots));
    }
    std::vector<ExprId> last;
    for (const Part& part : parts_) {
      if (part.is_row) continue;
      for (const ExprId value : part.values) {
        for (const ExprId lane : lanes_of(value)) last.push_back(lane);
      }
    }
    roots_.push_back(std::move(last));
    if (!is_kept_) return;
    std::set<ExprId> made;
    for (std::size_t phase = 0; phase < roots_.size(); ++phase) {
      std::set<ExprId> own;
      std::set<ExprId> seen;
      std::vector<ExprId> rest = roots_[phase];
      while (!rest.empty()) {
        const ExprId id = rest.back();
        rest.pop_back();
        if (!varies(id) || !seen.insert(id).second) continue;
        if (made.contains(id)) {
          kept_.insert(id);
          continue;
        }
        if (is_expensive(pool_.expr(id))) own.insert(id);
        if (is_row_reduce(id)) continue;
        for (const ExprId operand : pool_.operands(id)) rest.push_back(operand);
      }
      made.insert(own.begin(), own.end());
    }
    if (static_cast<std::int64_t>(kept_.size()) * num_steps_ > 2 * kMaxKept) kept_.clear();
    for (const ExprId id : kept_) {
      keeps_ += register_type_name(pool_.expr(id).type) + " keep" + std::to_string(id) + "[" +
                std::to_string(num_steps_) + "];\n";
    }
  }

  std::string start(LoopKernel& kernel) const {
    const std::string threads = std::to_string(geometry_.threads);
    const std::int64_t lanes = geometry_.is_column ? geometry_.width : 1;
    const std::int64_t groups = space_.num_rows / lanes;
    if (geometry_.is_column) {
      kernel.block[0] = 32;
      kernel.block[1] = static_cast<std::uint32_t>(geometry_.threads);
      kernel.grid[0] = static_cast<std::uint32_t>(std::max<std::int64_t>(1, (groups + 31) / 32));
      return "const lp_index own = (lp_index)blockIdx.x * 32 + (lp_index)threadIdx.x;\n"
             "const lp_index part = (lp_index)threadIdx.y;\nconst bool is_row = own < (lp_index)" +
             std::to_string(groups) + ";\nconst lp_index row = is_row ? own : 0;\n";
    }
    const std::int64_t rows_a_block = geometry_.threads >= 128 ? 1 : 128 / geometry_.threads;
    kernel.block[0] = static_cast<std::uint32_t>(rows_a_block * geometry_.threads);
    if (geometry_.threads > 32) kernel.block[0] = static_cast<std::uint32_t>(geometry_.threads);
    const std::int64_t rows = geometry_.threads > 32 ? 1 : rows_a_block;
    kernel.grid[0] = static_cast<std::uint32_t>(std::max<std::int64_t>(1, (groups + rows - 1) / rows));
    return "const lp_index own = (lp_index)blockIdx.x * " + std::to_string(rows) + " + (lp_index)threadIdx.x / " +
           threads + ";\nconst lp_index part = (lp_index)threadIdx.x % " + threads +
           ";\nconst bool is_row = own < (lp_index)" + std::to_string(groups) +
           ";\nconst lp_index row = is_row ? own : 0;\n";
  }

  std::string loop(const std::string& inside, bool is_store) const {
    const std::string threads = std::to_string(geometry_.threads);
    const std::int64_t along = geometry_.is_column ? 1 : geometry_.width;
    const std::string end = std::to_string(region_.rows()->count / along);
    std::string text = is_kept_ ? "#pragma unroll\n" : "#pragma unroll 4\n";
    text += "for (int p = 0; p < " + std::to_string(num_steps_) +
            "; ++p) {\nconst lp_index kv = part + (lp_index)p * " + threads + ";\n";
    std::string condition = is_exact_ ? "" : "kv < (lp_index)" + end;
    if (is_store) condition += (condition.empty() ? "" : " && ") + std::string("is_row");
    if (!condition.empty()) text += "if (" + condition + ") ";
    return text + "{\n" + inside + "}\n}\n";
  }

  /// What a phase needs and does not vary along the row, at the function's own level.
  std::string hoist(const std::vector<ExprId>& roots, const std::string& prefix) {
    std::vector<ExprId> found;
    std::set<ExprId> seen;
    std::vector<ExprId> stack(roots);
    while (!stack.empty()) {
      const ExprId id = stack.back();
      stack.pop_back();
      if (!seen.insert(id).second || known_.contains(id) || pool_.is_constant(id)) continue;
      if (!varies(id) && pool_.expr(id).vars != 0 && (pool_.expr(id).vars >> k_ & 1) == 0 &&
          (pool_.expr(id).vars & ~(std::uint64_t{1} << row_vector_)) == 0) {
        found.push_back(id);
        continue;
      }
      if (!varies(id) && pool_.expr(id).vars == 0) {
        found.push_back(id);
        continue;
      }
      if (is_row_reduce(id)) continue;
      for (const ExprId operand : pool_.operands(id)) stack.push_back(operand);
    }
    if (found.empty()) return {};
    std::sort(found.begin(), found.end());
    BodyEmitter emitter(region_, prefix, variables_, known_, is_fast(request_));
    emitter.run(found);
    for (const ExprId id : found) known_[id] = emitter.name(id);
    return emitter.text();
  }

  std::map<ExprId, std::string> with_kept(std::size_t phase) const {
    std::map<ExprId, std::string> known = known_;
    for (const ExprId id : kept_) {
      const auto place = kept_in_.find(id);
      if (place != kept_in_.end() && place->second < phase) known[id] = "keep" + std::to_string(id) + "[p]";
    }
    return known;
  }

  /// Kept values that this phase is the first to need.
  std::vector<ExprId> first_kept(std::size_t phase) {
    std::vector<ExprId> found;
    std::set<ExprId> seen;
    std::vector<ExprId> stack = roots_[phase];
    while (!stack.empty()) {
      const ExprId id = stack.back();
      stack.pop_back();
      if (!varies(id) || !seen.insert(id).second) continue;
      if (kept_in_.contains(id)) continue;
      if (kept_.contains(id)) found.push_back(id);
      for (const ExprId operand : pool_.operands(id)) stack.push_back(operand);
    }
    for (const ExprId id : found) kept_in_[id] = phase;
    return found;
  }

  std::string reduce_phase(std::size_t phase) {
    const std::string prefix = "p" + std::to_string(phase) + "_";
    const std::string outer = hoist(roots_[phase], "h" + std::to_string(phase) + "_");
    std::map<ExprId, std::string> known = with_kept(phase);
    std::vector<ExprId> roots = roots_[phase];
    const auto kept = phase + 1 < roots_.size() ? first_kept(phase) : std::vector<ExprId>{};
    roots.insert(roots.end(), kept.begin(), kept.end());
    BodyEmitter emitter(region_, prefix, variables_, known, is_fast(request_));
    emitter.run(roots);
    std::string declared;
    std::string updates;
    std::string collected;
    for (const ExprId id : kept) updates += "keep" + std::to_string(id) + "[p] = " + emitter.name(id) + ";\n";
    const std::string threads = std::to_string(geometry_.threads);
    for (const ExprId reduce : phases_[phase]) {
      const Expr entry = pool_.expr(reduce);
      const std::string made = "r" + std::to_string(reduce);
      const DType body_type = pool_.expr(entry.a).type;
      const std::string type = register_type_name(body_type);
      const auto lanes = lanes_of(entry.a);
      if (entry.reduction >= Reduction::kArgMax) {
        const int kind = static_cast<int>(entry.reduction) - static_cast<int>(Reduction::kArgMax);
        const std::string beats = "lp_beats<" + std::to_string(kind) + ">(";
        declared += type + " " + made + "_value = (" + type + ")0;\nlong long " + made + " = -1;\n";
        for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
          const std::string at = geometry_.is_column ? "(long long)kv"
                                                     : "((long long)kv * " + std::to_string(geometry_.width) + " + " +
                                                           std::to_string(lane) + ")";
          const std::string value = emitter.name(lanes[lane]);
          updates += "if (" + beats + value + ", " + at + ", " + made + "_value, " + made + ")) {\n" + made +
                     "_value = " + value + ";\n" + made + " = " + at + ";\n}\n";
        }
        collected += std::string(geometry_.is_column ? "lp_column_best<" : "lp_row_best<") + std::to_string(kind) +
                     ", " + threads + ">(" + made + "_value, " + made + ");\n";
      } else {
        const char* op = entry.reduction == Reduction::kSum       ? "lp_sum"
                         : entry.reduction == Reduction::kProduct ? "lp_product"
                         : entry.reduction == Reduction::kMax     ? "lp_most"
                                                                  : "lp_least";
        // Extremes start from the row's first element, which every thread may read again.
        std::string initial = literal(body_type, 0, 0);
        if (entry.reduction == Reduction::kProduct) initial = literal(body_type, 1, 1);
        if (entry.reduction == Reduction::kMax || entry.reduction == Reduction::kMin) {
          initial = extreme(body_type, entry.reduction == Reduction::kMin);
        }
        declared += type + " " + made + " = " + initial + ";\n";
        for (const ExprId lane : lanes) {
          updates += made + " = " + op + "::of(" + made + ", (" + type + ")" + emitter.name(lane) + ");\n";
        }
        collected += made + " = " + std::string(geometry_.is_column ? "lp_column_reduce<" : "lp_row_reduce<") + op +
                     ", " + threads + ">(" + made + ");\n";
      }
      known_[reduce] = made;
    }
    return outer + declared + loop(emitter.text() + updates, false) + collected;
  }

  static std::string extreme(DType type, bool is_high) {
    const double infinity = std::numeric_limits<double>::infinity();
    if (is_float_type(type)) return literal(type, is_high ? infinity : -infinity, 0);
    const std::string name = register_type_name(type);
    switch (type) {
      case DType::kBool: return is_high ? "true" : "false";
      case DType::kUint8:
      case DType::kUint16:
      case DType::kUint32:
      case DType::kUint64: return is_high ? "(" + name + ")~(" + name + ")0" : "(" + name + ")0";
      default: {
        const std::string low = "(" + name + ")((lp_u64)1 << (sizeof(" + name + ") * 8 - 1))";
        return is_high ? "(" + name + ")~" + low : low;
      }
    }
  }

  std::string store_phase() {
    std::vector<ExprId> row_roots;
    for (const Part& part : parts_) {
      if (part.is_row) row_roots.insert(row_roots.end(), part.values.begin(), part.values.end());
    }
    std::vector<ExprId> all = roots_.back();
    std::string text = hoist(all, "hs_");
    if (!row_roots.empty()) {
      BodyEmitter emitter(region_, "s_", variables_, known_, is_fast(request_));
      emitter.run(row_roots);
      std::string stores;
      for (const Part& part : parts_) {
        if (!part.is_row) continue;
        std::vector<std::string> names;
        for (const ExprId value : part.values) names.push_back(emitter.name(value));
        stores += store_lanes(region_, emitter, part.output, request_.outputs[part.output], part.addresses, names);
      }
      text += "if (is_row && part == 0) {\n" + emitter.text() + stores + "}\n";
    }
    if (roots_.back().empty()) return text;
    BodyEmitter emitter(region_, "e_", variables_, with_kept(roots_.size()), is_fast(request_));
    emitter.run(roots_.back());
    std::string stores;
    for (const Part& part : parts_) {
      if (part.is_row) continue;
      std::vector<std::string> names;
      std::vector<FormId> addresses;
      for (std::size_t i = 0; i < part.values.size(); ++i) {
        const auto lanes = lanes_of(part.values[i]);
        for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
          names.push_back(emitter.name(lanes[lane]));
          addresses.push_back(address_lane(part.addresses[i], static_cast<std::int64_t>(lane)));
        }
      }
      stores += store_lanes(region_, emitter, part.output, request_.outputs[part.output], addresses, names);
    }
    return text + loop(emitter.text() + stores, true);
  }

  Region& region_;
  ExprPool& pool_;
  const KernelRequest& request_;
  const Space& space_;
  Geometry geometry_;
  VarId k_ = -1;
  VarId k_vector_ = -1;
  VarId row_vector_ = -1;
  std::int64_t num_steps_ = 1;
  bool is_exact_ = false;
  bool is_kept_ = false;
  std::map<VarId, std::string> variables_;
  std::map<ExprId, std::string> known_;
  std::vector<Part> parts_;
  std::vector<std::vector<ExprId>> phases_;
  std::vector<std::vector<ExprId>> roots_;  ///< Lanes of each phase's bodies; last the stored values.
  std::set<ExprId> kept_;
  std::map<ExprId, std::size_t> kept_in_;
  std::string keeps_;
};

}  // namespace

int num_row_variants(const KernelRequest& request) {
  const auto region = make_region(request);
  const Space space = find_space(*region, request);
  return static_cast<int>(geometries_for(space, region->rows()->count).size());
}

LoopKernel make_row_kernel(const KernelRequest& request, int variant) {
  const auto region = make_region(request);
  const Space space = find_space(*region, request);
  const auto geometries = geometries_for(space, region->rows()->count);
  return RowWriter(*region, request, space, geometries.at(static_cast<std::size_t>(variant))).write();
}

}  // namespace pajamas::cuda::loops
