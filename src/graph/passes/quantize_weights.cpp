// Which weights are quantised, and the exchange of their nodes. See quantize_weights.h.
#include "graph/passes/quantize_weights.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <unordered_map>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "base/files.h"
#include "graph/block_weight_nodes.h"
#include "graph/passes/passes.h"
#include "pajamas/error.h"
#include "tensor/ggml_blocks.h"

namespace pajamas {
namespace {

constexpr const char* kStep = "Quantising weights";

/// One matrix with all its uses.
struct Candidate {
  StoredWeight stored;
  std::vector<std::pair<int, std::size_t>> inputs;  ///< (node, input) that take the float32 value.
  std::set<std::string> values;                     ///< Names of that value: one for each Cast of the initializer.
  bool is_table = false;
};

/// The node whose weight makes the first output: back from there through whatever works on single elements.
int output_layer_of(const Graph& graph, const ValueUses& uses) {
  if (graph.outputs.empty()) return -1;
  int index = uses.producer(graph.outputs[0].name);
  while (index >= 0) {
    const Node& node = graph.nodes[static_cast<std::size_t>(index)];
    if (node.is("Gemm")) return index;
    const bool is_elementwise = node.is("Identity") || node.is("Cast") || node.is("Mul") || node.is("Div") ||
                                node.is("Tanh") || node.is("Add") || node.is("Reshape");
    if (!is_elementwise || node.inputs.empty()) return -1;
    index = uses.producer(node.inputs[0]);
  }
  return -1;
}

std::vector<Candidate> find_candidates(const Graph& graph, const ValueUses& uses) {
  std::vector<Candidate> candidates;
  std::map<std::string, std::size_t> by_name;
  const int output_layer = output_layer_of(graph, uses);
  const StoredWeightFinder finder(graph, uses);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    const bool is_linear = node.is("Gemm") && node.inputs.size() >= 2 && node.int_attribute("transB", 0) == 1;
    const bool is_gather = node.is("Gather") && !node.inputs.empty() && node.int_attribute("axis", 0) == 0;
    if (!is_linear && !is_gather) continue;
    const std::size_t input = is_linear ? 1 : 0;
    auto stored = finder.find(node.inputs[input]);
    if (!stored) continue;
    const auto [place, is_new] = by_name.emplace(stored->name, candidates.size());
    if (is_new) candidates.push_back({std::move(*stored), {}, {}, false});
    Candidate& candidate = candidates[place->second];
    candidate.inputs.emplace_back(static_cast<int>(i), input);
    candidate.values.insert(node.inputs[input]);
    if (is_gather || static_cast<int>(i) == output_layer) candidate.is_table = true;
  }
  return candidates;
}

/// Whether nothing but the inputs of the candidate uses the matrix, so that it may change its form.
bool is_used_alone(const Candidate& candidate, const ValueUses& uses) {
  int num_value_uses = 0;
  bool is_initializer = false;
  for (const std::string& value : candidate.values) {
    num_value_uses += uses.num_uses(value);
    is_initializer = is_initializer || value == candidate.stored.name;
  }
  if (num_value_uses != static_cast<int>(candidate.inputs.size())) return false;
  return is_initializer || uses.num_uses(candidate.stored.name) == static_cast<int>(candidate.values.size());
}

std::uint64_t size_of(const StoredWeight& stored) {
  return stored.blocks ? stored.blocks->size_bytes() : stored.plain.size_bytes();
}

std::string describe(const StoredWeight& stored) {
  return stored.blocks ? describe(*stored.blocks) : to_string(stored.plain.dtype());
}

bool ends_with_any(const std::string& name, const std::vector<std::string>& ends) {
  return std::any_of(ends.begin(), ends.end(), [&](const std::string& end) { return name.ends_with(end); });
}

/// The form that a candidate gets; nothing when it stays as it is. `note` says why, where a user should know.
std::optional<QuantizedForm> form_of(const Candidate& candidate, const ValueUses& uses,
                                     const WeightQuantization& options, bool* keeps_blocks, std::string* note) {
  const StoredWeight& stored = candidate.stored;
  auto form = candidate.is_table ? options.table : options.linear;
  const auto own = options.forms.find(stored.name);
  if (own != options.forms.end() && !candidate.is_table && form) form = own->second;
  if (!form || ends_with_any(stored.name, options.keep) || stored.shape().num_elements() == 0) return std::nullopt;
  if (stored.blocks && bits_of(stored.blocks->values.dtype()) <= bits_of(form->values)) {
    *keeps_blocks = true;
    return std::nullopt;
  }
  if (!is_used_alone(candidate, uses)) {
    *note = "'" + stored.name + "' stays as it is: other nodes use it too";
    return std::nullopt;
  }
  return form;
}

/// Matrices of many sizes leave holes that the allocator keeps: 1 GB after 6 GB of bfloat16 became int4.
void give_back_free_memory() {
#if defined(__GLIBC__)
  ::malloc_trim(0);
#endif
}

class Quantizer {
 public:
  Quantizer(Model& model, const WeightQuantization& options, const Progress& progress)
      : graph_(model.graph), options_(options), progress_(progress), names_(model.graph) {
    for (std::size_t i = 0; i < graph_.initializers.size(); ++i) index_.emplace(graph_.initializers[i].name, i);
  }

  WeightQuantizationReport run() {
    report_.pass.pass = "quantize_weights";
    const ValueUses uses(graph_);
    std::vector<Candidate> candidates = find_candidates(graph_, uses);
    std::uint64_t total_bytes = 1, done_bytes = 0;
    for (const Candidate& candidate : candidates) total_bytes += size_of(candidate.stored);
    for (Candidate& candidate : candidates) {
      progress_.check(kStep);
      progress_.step(kStep, static_cast<double>(done_bytes) / static_cast<double>(total_bytes), candidate.stored.name);
      done_bytes += size_of(candidate.stored);
      handle(candidate, uses);
      candidate = {};  // the graph's own copy is gone or moved; this one would keep the memory
      give_back_free_memory();
    }
    insert_nodes();
    move_others();
    write_notes();
    return std::move(report_);
  }

 private:
  void handle(Candidate& candidate, const ValueUses& uses) {
    const StoredWeight& stored = candidate.stored;
    QuantizedWeight entry{stored.name, stored.shape(), describe(stored), {}, size_of(stored), 0, false, false, {}};
    entry.is_table = candidate.is_table;
    entry.after = entry.before;
    entry.bytes_after = entry.bytes_before;
    static const WeightScaling kNoScaling;
    const auto found = options_.scalings.find(stored.name);
    const WeightScaling& scaling = found == options_.scalings.end() ? kNoScaling : found->second;
    bool keeps_blocks = false;
    std::string note;
    const auto form = form_of(candidate, uses, options_, &keeps_blocks, &note);
    if (keeps_blocks) ++num_kept_;
    if (!note.empty()) report_.pass.note(note);
    if (!form) {
      if (!scaling.columns.empty() || !scaling.rows.empty()) {
        throw Error(ErrorKind::kInternal, "weight '" + stored.name + "' is to be scaled and stays as it is");
      }
      report_.weights.push_back(std::move(entry));
      return;
    }
    const QuantizedForm fitting = fit_form(*form, stored.shape()[1]);
    if (fitting.group_size != form->group_size) ++num_by_group_size_[fitting.group_size];
    BlockWeight weight;
    try {
      const std::int64_t out_dim = stored.shape()[0], in_dim = stored.shape()[1];
      weight = quantize_matrix(scaled_reader(reader_of(stored), scaling, in_dim), out_dim, in_dim, fitting,
                               options_.num_threads, entry.error, progress_, scaling.importance);
    } catch (const Error& error) {
      throw Error(error.kind(), error.message(), "weight '" + stored.name + "'", error.remedy());
    }
    release(stored);
    entry.after = describe(weight);
    entry.bytes_after = weight.size_bytes();
    entry.is_changed = true;
    report_.pass.count(candidate.is_table ? "tables" : "linear_layers");
    exchange(candidate, weight);
    report_.weights.push_back(std::move(entry));
  }

  static void release(const StoredWeight& stored) {
    // Chunks gave back the pages that are wholly theirs; those between two chunks go here.
    if (!stored.blocks) return release_file_memory(stored.plain.bytes());
    for (const Tensor* tensor : {&stored.blocks->values, &stored.blocks->scales, &stored.blocks->minimums}) {
      release_file_memory(tensor->bytes());
    }
  }

  void exchange(const Candidate& candidate, const BlockWeight& weight) {
    const StoredWeight& stored = candidate.stored;
    for (const std::string& name : stored.initializers) {
      graph_.initializers[index_.at(name)].tensor = {};
      gone_initializers_.insert(name);
    }
    for (const std::string& value : candidate.values) gone_values_.insert(value);
    // Where the weight was quantised before, its old nodes have the first choice of names.
    const std::string wanted = stored.name + "/DequantizeLinear";
    const std::string prefix = names_.take(wanted) == wanted ? stored.name : names_.take(stored.name + "/again");
    BlockWeightNodes nodes = block_weight_nodes(stored.name, prefix, weight);
    for (auto& initializer : nodes.initializers) set_initializer(initializer.first, std::move(initializer.second));
    for (const auto& input : candidate.inputs) {
      graph_.nodes[static_cast<std::size_t>(input.first)].inputs[input.second] = nodes.output;
    }
    for (Node& node : nodes.nodes) new_nodes_.push_back(std::move(node));
  }

  void set_initializer(const std::string& name, Tensor tensor) {
    if (options_.file != nullptr && tensor.size_bytes() >= options_.min_file_bytes) {
      tensor = options_.file->append(name, tensor);
    }
    const auto [place, is_new] = index_.emplace(name, graph_.initializers.size());
    if (is_new) {
      graph_.initializers.push_back({name, std::move(tensor), {}, {}});
      return;
    }
    if (gone_initializers_.erase(name) == 0) {
      throw Error(ErrorKind::kInternal, "two weights of the graph are called '" + name + "'");
    }
    graph_.initializers[place->second].tensor = std::move(tensor);
  }

  /// New nodes need initializers only, so they go first. Old ones whose values nobody takes any more go.
  void insert_nodes() {
    std::set<std::string> used;
    for (const ValueInfo& output : graph_.outputs) used.insert(output.name);
    std::vector<Node> kept;
    // From the end, so that what only a dropped node used is dropped too.
    for (auto node = graph_.nodes.rbegin(); node != graph_.nodes.rend(); ++node) {
      const bool made_a_weight = std::any_of(node->outputs.begin(), node->outputs.end(),
                                             [&](const std::string& output) { return gone_values_.contains(output); });
      const bool is_used = std::any_of(node->outputs.begin(), node->outputs.end(),
                                       [&](const std::string& output) { return used.contains(output); });
      if (made_a_weight && !is_used) {
        gone_values_.insert(node->inputs.begin(), node->inputs.end());
        continue;
      }
      used.insert(node->inputs.begin(), node->inputs.end());
      kept.push_back(std::move(*node));
    }
    std::reverse(kept.begin(), kept.end());
    graph_.nodes = std::move(new_nodes_);
    graph_.nodes.insert(graph_.nodes.end(), std::make_move_iterator(kept.begin()), std::make_move_iterator(kept.end()));
    std::erase_if(graph_.initializers,
                  [&](const Initializer& initializer) { return gone_initializers_.contains(initializer.name); });
    std::erase_if(graph_.value_infos, [&](const ValueInfo& value) { return gone_values_.contains(value.name); });
  }

  void move_others() {
    if (options_.file == nullptr) return;
    const auto& mapping = *options_.file->mapping();
    for (Initializer& initializer : graph_.initializers) {
      Tensor& tensor = initializer.tensor;
      if (tensor.size_bytes() < options_.min_file_bytes) continue;
      const auto bytes = tensor.bytes();
      if (bytes.data() >= mapping.bytes().data() && bytes.data() < mapping.bytes().data() + mapping.bytes().size()) {
        continue;
      }
      progress_.check(kStep);
      Tensor moved = options_.file->append(initializer.name, tensor);
      release_file_memory(bytes);
      tensor = std::move(moved);
    }
  }

  void write_notes() {
    if (num_kept_ > 0) {
      report_.pass.note(std::to_string(num_kept_) + " matrices keep the blocks that the checkpoint has, without loss");
    }
    for (const auto& entry : num_by_group_size_) {
      report_.pass.note(
          std::to_string(entry.second) + " matrices have rows that the groups do not divide: " +
          (entry.first == 0 ? std::string("one scale a row") : "groups of " + std::to_string(entry.first)) +
          " in their place");
    }
  }

  Graph& graph_;
  const WeightQuantization& options_;
  const Progress& progress_;
  WeightQuantizationReport report_;
  NameSet names_;
  std::unordered_map<std::string, std::size_t> index_;  ///< Of initializers by name; none goes before the end.
  std::vector<Node> new_nodes_;
  std::set<std::string> gone_initializers_, gone_values_;
  std::map<std::int64_t, int> num_by_group_size_;
  int num_kept_ = 0;
};

}  // namespace

std::uint64_t WeightQuantizationReport::bytes_before() const {
  std::uint64_t sum = 0;
  for (const QuantizedWeight& weight : weights) sum += weight.bytes_before;
  return sum;
}

std::uint64_t WeightQuantizationReport::bytes_after() const {
  std::uint64_t sum = 0;
  for (const QuantizedWeight& weight : weights) sum += weight.bytes_after;
  return sum;
}

double WeightQuantizationReport::bits_per_weight() const {
  double bits = 0, count = 0;
  for (const QuantizedWeight& weight : weights) {
    if (weight.is_table) continue;
    bits += 8 * static_cast<double>(weight.bytes_after);
    count += static_cast<double>(weight.shape.num_elements());
  }
  return count > 0 ? bits / count : 0;
}

double WeightQuantizationReport::relative_error() const {
  QuantizationError sum;
  for (const QuantizedWeight& weight : weights) sum += weight.error;
  return sum.relative();
}

RowReader scaled_reader(RowReader read, const WeightScaling& scaling, std::int64_t in_dim) {
  if (scaling.columns.empty() && scaling.rows.empty()) return read;
  return [read = std::move(read), &scaling, in_dim](std::int64_t begin, std::int64_t count, std::span<float> out) {
    read(begin, count, out);
    for (std::int64_t r = 0; r < count; ++r) {
      const auto row = out.subspan(static_cast<std::size_t>(r * in_dim), static_cast<std::size_t>(in_dim));
      const float factor = scaling.rows.empty() ? 1.0F : scaling.rows[static_cast<std::size_t>(begin + r)];
      if (scaling.columns.empty()) {
        for (float& value : row) value *= factor;
      } else {
        for (std::size_t c = 0; c < row.size(); ++c) row[c] *= factor * scaling.columns[c];
      }
    }
  };
}

RowReader reader_of(const StoredWeight& stored) {
  if (stored.blocks) {
    return [&](std::int64_t begin, std::int64_t count, std::span<float> out) {
      dequantize_rows(*stored.blocks, begin, count, out);
    };
  }
  const GgmlType type = stored.plain.dtype() == DType::kFloat32   ? GgmlType::kF32
                        : stored.plain.dtype() == DType::kFloat16 ? GgmlType::kF16
                                                                  : GgmlType::kBF16;
  const std::size_t row_bytes = row_bytes_of(type, stored.plain.shape()[1]);
  return [&stored, type, row_bytes](std::int64_t begin, std::int64_t count, std::span<float> out) {
    const auto rows = stored.plain.bytes().subspan(static_cast<std::size_t>(begin) * row_bytes,
                                                   static_cast<std::size_t>(count) * row_bytes);
    dequantize_blocks(type, rows, out);
    release_file_memory(rows);
  };
}

std::vector<QuantizableLinear> quantizable_linears(const Graph& graph, const ValueUses& uses,
                                                   const WeightQuantization& options) {
  std::vector<QuantizableLinear> linears;
  for (const Candidate& candidate : find_candidates(graph, uses)) {
    bool keeps_blocks = false;
    std::string note;
    if (candidate.is_table || !form_of(candidate, uses, options, &keeps_blocks, &note)) continue;
    for (const auto& input : candidate.inputs) linears.push_back({input.first, candidate.stored});
  }
  return linears;
}

std::string describe(const BlockWeight& weight) {
  std::string text = to_string(weight.values.dtype());
  text += weight.group_size == 0 ? " per row" : " in groups of " + std::to_string(weight.group_size);
  if (weight.has_zero_points()) text += ", zero points";
  if (weight.has_minimums()) text += ", minimums";
  return text;
}

WeightQuantizationReport quantize_weights(Model& model, const WeightQuantization& options, const Progress& progress) {
  if (model.opset() < kBlockWeightOpset) {
    throw Error(ErrorKind::kUnsupported, "the model is of opset " + std::to_string(model.opset()) +
                                             "; quantised weights need " + std::to_string(kBlockWeightOpset));
  }
  return Quantizer(model, options, progress).run();
}

}  // namespace pajamas
