// The order of the passes. See pipeline.h.
#include "graph/passes/pipeline.h"

#include <algorithm>
#include <map>

#include "graph/nested_graphs.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

/// Folding, removal and shapes feed each other; real models settle in two or three rounds.
constexpr int kMaxRounds = 8;

/// Adds a report to that of the same pass, or to the end.
void merge(std::vector<PassReport>& reports, PassReport report) {
  if (report.num_changes == 0 && report.notes.empty()) return;
  const auto same =
      std::find_if(reports.begin(), reports.end(), [&](const PassReport& other) { return other.pass == report.pass; });
  if (same == reports.end()) {
    reports.push_back(std::move(report));
    return;
  }
  for (const auto& [kind, number] : report.counts) same->count(kind, number);
  for (std::string& note : report.notes) {
    if (std::find(same->notes.begin(), same->notes.end(), note) == same->notes.end()) same->note(std::move(note));
  }
}

/// Copies of a model share the graphs in its nodes' attributes. Passes change those too, so they are copied first:
/// otherwise the caller's other copy (the source that the build proves against) would change with this one.
void unshare_nested_graphs(Graph& graph) {
  for (Node& node : graph.nodes) {
    for_each_nested_graph(node, [](std::shared_ptr<Graph>& nested) {
      nested = std::make_shared<Graph>(*nested);
      unshare_nested_graphs(*nested);
    });
  }
}

}  // namespace

std::string PassLog::to_text() const {
  std::string text =
      std::to_string(num_nodes_before) + " nodes before, " + std::to_string(num_nodes_after) + " after\n";
  for (const PassReport& report : reports) {
    text += report.pass + ": " + std::to_string(report.num_changes);
    for (std::size_t i = 0; i < report.counts.size(); ++i) {
      text += (i == 0 ? " (" : ", ") + report.counts[i].first + " " + std::to_string(report.counts[i].second);
    }
    text += report.counts.empty() ? "\n" : ")\n";
    for (const std::string& note : report.notes) text += "  " + note + "\n";
  }
  return text;
}

void fix_input_shapes(Graph& graph, const std::vector<std::pair<std::string, Shape>>& shapes) {
  if (shapes.empty()) return;
  std::map<std::string, std::int64_t> bound;
  for (const auto& entry : shapes) {
    // Not a structured binding: lambdas capture these, which clang 14 refuses of bindings.
    const std::string& name = entry.first;
    const Shape& shape = entry.second;
    const auto input = std::find_if(graph.inputs.begin(), graph.inputs.end(),
                                    [&](const ValueInfo& value) { return value.name == name; });
    const auto refuse = [&](const std::string& why) {
      throw Error(ErrorKind::kUsage, why, "shape of input '" + name + "'", "give a shape that fits the model's input");
    };
    if (input == graph.inputs.end()) refuse("the model has no such input");
    if (!input->type || input->type->kind != ValueType::Kind::kTensor) refuse("the input is no tensor");
    ValueType& type = *input->type;
    if (type.shape && type.shape->size() != shape.rank()) {
      refuse("rank " + std::to_string(shape.rank()) + " for " + type.to_string());
    }
    for (std::size_t i = 0; type.shape && i < shape.rank(); ++i) {
      const Dimension& dimension = (*type.shape)[i];
      if (dimension.is_known() && dimension.extent() != shape[i]) {
        refuse(shape.to_string() + " contradicts " + type.to_string());
      }
      if (const auto* symbol = std::get_if<std::string>(&dimension.value)) {
        const auto [found, is_new] = bound.emplace(*symbol, shape[i]);
        if (!is_new && found->second != shape[i]) refuse("two extents for the dimension '" + *symbol + "'");
      }
    }
    type.shape.emplace();
    for (const std::int64_t extent : shape) type.shape->push_back(Dimension::known(extent));
  }
  for (auto* list : {&graph.inputs, &graph.outputs}) {
    for (ValueInfo& value : *list) {
      if (!value.type || !value.type->shape) continue;
      for (Dimension& dimension : *value.type->shape) {
        const auto* symbol = std::get_if<std::string>(&dimension.value);
        if (symbol == nullptr) continue;
        if (const auto found = bound.find(*symbol); found != bound.end()) dimension.value = found->second;
      }
    }
  }
  for_each_graph(graph, [](Graph& each) { each.value_infos.clear(); });
}

PassLog run_passes(Model& model, const PassOptions& options, const Progress& progress) {
  PassLog log;
  log.num_nodes_before = model.graph.nodes.size();
  const auto run = [&](const char* step, PassReport report) {
    progress.check(step);
    const bool is_changed = report.num_changes > 0;
    merge(log.reports, std::move(report));
    return is_changed;
  };
  progress.step("Optimising the graph");
  unshare_nested_graphs(model.graph);
  fix_input_shapes(model.graph, options.fixed_shapes);
  run("Constants", normalize_constants(model));
  for (int round = 0; round < kMaxRounds; ++round) {
    bool is_changed = false;
    if (options.folds_constants) {
      is_changed = run("Constant folding", fold_constants(model, options.folding)) || is_changed;
      is_changed = run("Shape chains", fold_shape_chains(model)) || is_changed;
    }
    is_changed = run("No-op removal", remove_no_ops(model)) || is_changed;
    is_changed = run("Dead code", remove_dead_code(model)) || is_changed;
    if (!is_changed) break;
  }
  if (options.folds_batch_norms) run("BatchNormalization", fold_batch_norms(model));
  run("Dead code", remove_dead_code(model));
  if (options.removes_duplicates) run("Duplicates", remove_duplicates(model));
  if (options.float_type != DType::kFloat32) {
    progress.step(std::string("Converting to ") + to_string(options.float_type));
    PrecisionOptions precision{options.float_type, options.keep_fp32_ops, options.has_fp32_interface};
    run("Precision", convert_precision(model, precision, &log.conversions));
    run("No-op removal", remove_no_ops(model));
  }
  run("Dead code", remove_dead_code(model));
  log.num_nodes_after = model.graph.nodes.size();
  return log;
}

}  // namespace pajamas
