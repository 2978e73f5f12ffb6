// The rewritten reference and the two judgements. See selection.h.
#include "verify/selection.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

std::string text_of(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3g", value);
  return text;
}

bool is_selecting(const Node& node) {
  if (node.is("TopK") || node.is("NonMaxSuppression") || node.is("NonZero") || node.is("Unique") ||
      node.is("Compress")) {
    return true;
  }
  for (const auto& attribute : node.attributes) {
    if (const auto* body = std::get_if<std::shared_ptr<Graph>>(&attribute.value); body != nullptr && *body) {
      if (std::any_of((*body)->nodes.begin(), (*body)->nodes.end(), is_selecting)) return true;
    }
  }
  return false;
}

std::set<std::string> produced_values(const Graph& graph) {
  std::set<std::string> values;
  for (const auto& node : graph.nodes) values.insert(node.outputs.begin(), node.outputs.end());
  return values;
}

/// How a tensor falls into lines along an axis.
struct Lines {
  std::size_t num_outer = 1, extent = 0, num_inner = 1;

  Lines(const Shape& shape, std::size_t axis) : extent(static_cast<std::size_t>(shape[axis])) {
    for (std::size_t i = 0; i < shape.rank(); ++i) {
      if (i < axis) num_outer *= static_cast<std::size_t>(shape[i]);
      if (i > axis) num_inner *= static_cast<std::size_t>(shape[i]);
    }
  }
  std::size_t at(std::size_t outer, std::size_t place, std::size_t inner) const {
    return (outer * extent + place) * num_inner + inner;
  }
};

double root_mean_square(std::span<const float> values) {
  double sum = 0;
  std::size_t count = 0;
  for (const float value : values) {
    if (!std::isfinite(value)) continue;
    sum += double{value} * double{value};
    ++count;
  }
  return count > 0 ? std::sqrt(sum / static_cast<double>(count)) : 0;
}

/// One line of scores, turned so that larger is better, and what was picked from it.
struct Line {
  std::vector<double> scores;
  std::vector<std::int64_t> picks;
};

class LineJudge {
 public:
  /// `scale`: root mean square of all scores.
  LineJudge(const Selection& selection, double scale, const Tolerance& bounds)
      : selection_(selection), scale_(scale), bounds_(bounds) {}

  void judge(const Line& line, SelectionFinding& finding) const {
    std::vector<bool> is_picked(line.scores.size());
    double worst = 0;
    for (std::size_t k = 0; k < line.picks.size(); ++k) {
      const auto place = static_cast<std::size_t>(line.picks[k]);
      if (line.picks[k] < 0 || place >= line.scores.size()) {
        return fail(finding,
                    "picks place " + std::to_string(line.picks[k]) + " of " + std::to_string(line.scores.size()));
      }
      if (is_picked[place]) return fail(finding, "picks place " + std::to_string(place) + " twice");
      is_picked[place] = true;
      worst = k == 0 ? line.scores[place] : std::min(worst, line.scores[place]);
    }
    if (line.picks.empty()) return;
    for (std::size_t place = 0; place < line.scores.size(); ++place) {
      if (is_picked[place] || is_near_tie(line.scores[place], worst, finding)) continue;
      return fail(finding, "leaves out place " + std::to_string(place) + ", whose score is " +
                               text_of(line.scores[place]) + ", and picks one of " + text_of(worst));
    }
    for (std::size_t k = 1; selection_.is_sorted && k < line.picks.size(); ++k) {
      const double before = line.scores[static_cast<std::size_t>(line.picks[k - 1])];
      const double after = line.scores[static_cast<std::size_t>(line.picks[k])];
      if (is_near_tie(after, before, finding)) continue;
      return fail(finding, "puts a score of " + text_of(before) + " before one of " + text_of(after));
    }
  }

 private:
  bool is_near_tie(double better, double than, SelectionFinding& finding) const {
    if (better <= than) return true;
    const double margin = bounds_.row_tolerance * std::max(std::abs(than), scale_) + bounds_.group_rms_floor;
    const double gap = better - than;
    if (!(gap <= margin)) return false;  // NaN is no tie
    if (gap > finding.largest_gap) {
      finding.largest_gap = gap;
      finding.margin = margin;
    }
    return true;
  }
  void fail(SelectionFinding& finding, const std::string& what) const {
    finding.fault = "the TopK of '" + selection_.scores + "' " + what + ", by the reference's scores";
  }
  std::string text_of(double turned) const { return pajamas::text_of(selection_.is_largest ? turned : -turned); }

  const Selection& selection_;
  double scale_;
  const Tolerance& bounds_;
};

/// The first element that is not the whole number expected, in columns (along the last axis) of whole numbers.
std::optional<std::string> whole_number_fault(const Tensor& expected_tensor, const Tensor& actual_tensor) {
  constexpr std::size_t kMaxColumns = 512;
  const Shape& shape = expected_tensor.shape();
  if (shape.rank() < 2 || shape.num_elements() == 0) return std::nullopt;
  const auto num_columns = static_cast<std::size_t>(shape[shape.rank() - 1]);
  if (num_columns > kMaxColumns) return std::nullopt;
  const Tensor expected_floats = to_float32(expected_tensor.view()), actual_floats = to_float32(actual_tensor.view());
  const auto expected = expected_floats.as<float>(), actual = actual_floats.as<float>();
  std::vector<bool> is_whole(num_columns, true);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] != std::floor(expected[i])) is_whole[i % num_columns] = false;
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!is_whole[i % num_columns] || std::abs(expected[i] - actual[i]) < 0.5F) continue;
    return "row " + std::to_string(i / num_columns) + " has " + text_of(actual[i]) + " for the whole number " +
           text_of(expected[i]);
  }
  return std::nullopt;
}

std::vector<Selection> selections_of(const Graph& source, const Graph& lowered) {
  const std::set<std::string> in_source = produced_values(source), in_lowered = produced_values(lowered);
  std::vector<Selection> selections;
  for (const auto& node : source.nodes) {
    if (!is_selecting(node)) continue;
    const bool is_known = node.is("TopK") && node.inputs.size() == 2 && node.outputs.size() == 2 &&
                          !node.outputs[1].empty() && in_source.contains(node.inputs[0]) &&
                          in_lowered.contains(node.outputs[1]);
    if (!is_known) return {};
    selections.push_back({node.inputs[0], node.outputs[1], node.int_attribute("axis", -1),
                          node.int_attribute("largest", 1) != 0, node.int_attribute("sorted", 1) != 0});
  }
  return selections;
}

/// The source with every TopK taking its indices as an input of that name instead of choosing them.
Model with_given_selections(Model model, const std::vector<Selection>& selections) {
  std::vector<Node> nodes;
  for (Node& node : model.graph.nodes) {
    const auto selection = std::find_if(selections.begin(), selections.end(), [&](const Selection& one) {
      return node.is("TopK") && node.outputs[1] == one.indices;
    });
    if (selection == selections.end()) {
      nodes.push_back(std::move(node));
      continue;
    }
    ValueInfo given;
    given.name = selection->indices;
    given.type = ValueType{};
    given.type->dtype = DType::kInt64;
    model.graph.inputs.push_back(std::move(given));
    if (node.outputs[0].empty()) continue;
    Node gather;
    gather.name = node.name;
    gather.op_type = "GatherElements";
    gather.inputs = {selection->scores, selection->indices};
    gather.outputs = {node.outputs[0]};
    gather.set_attribute("axis", selection->axis);
    nodes.push_back(std::move(gather));
  }
  model.graph.nodes = std::move(nodes);
  return model;
}

bool is_output(const Graph& graph, const std::string& name) {
  return std::any_of(graph.outputs.begin(), graph.outputs.end(),
                     [&](const ValueInfo& output) { return output.name == name; });
}

/// The names that are not outputs of the graph already, each once.
std::vector<std::string> further_outputs(const Graph& graph, const std::vector<std::string>& names) {
  std::vector<std::string> further;
  for (const auto& name : names) {
    if (!is_output(graph, name) && std::find(further.begin(), further.end(), name) == further.end()) {
      further.push_back(name);
    }
  }
  return further;
}

}  // namespace

std::set<std::string> selected_values(const Graph& graph) {
  std::set<std::string> values;
  for (const auto& node : graph.nodes) {
    const bool is_selected = is_selecting(node) || std::any_of(node.inputs.begin(), node.inputs.end(),
                                                               [&](const auto& name) { return values.contains(name); });
    if (!is_selected) continue;
    for (const auto& output : node.outputs) {
      if (!output.empty()) values.insert(output);
    }
  }
  return values;
}

SelectionFinding judge_selection(const Selection& selection, const Tensor& scores, const Tensor& indices,
                                 const Tolerance& bounds) {
  const Shape& shape = scores.shape();
  const auto rank = static_cast<std::int64_t>(shape.rank());
  const std::int64_t signed_axis = selection.axis < 0 ? selection.axis + rank : selection.axis;
  const auto axis = static_cast<std::size_t>(signed_axis);
  bool is_fit = signed_axis >= 0 && signed_axis < rank && indices.dtype() == DType::kInt64 &&
                indices.shape().rank() == shape.rank();
  for (std::size_t i = 0; is_fit && i < shape.rank(); ++i) is_fit = i == axis || indices.shape()[i] == shape[i];
  if (!is_fit) {
    throw Error(ErrorKind::kInternal,
                "picks " + indices.shape().to_string() + " are not those of a TopK of scores " + shape.to_string(),
                "'" + selection.scores + "'");
  }
  const Tensor floats = to_float32(scores.view());
  const auto values = floats.as<float>();
  const auto picks = indices.as<std::int64_t>();
  const LineJudge judge(selection, root_mean_square(values), bounds);
  const Lines lines(shape, axis), picked(indices.shape(), axis);
  Line line{std::vector<double>(lines.extent), std::vector<std::int64_t>(picked.extent)};
  SelectionFinding finding;
  for (std::size_t outer = 0; outer < lines.num_outer; ++outer) {
    for (std::size_t inner = 0; inner < lines.num_inner; ++inner) {
      for (std::size_t i = 0; i < lines.extent; ++i) {
        const double value = values[lines.at(outer, i, inner)];
        line.scores[i] = selection.is_largest ? value : -value;
      }
      for (std::size_t i = 0; i < picked.extent; ++i) line.picks[i] = picks[picked.at(outer, i, inner)];
      judge.judge(line, finding);
      if (finding.fault) return finding;
    }
  }
  return finding;
}

std::optional<std::string> fault_of_given_rows(const Comparison& comparison, const Tensor& expected,
                                               const Tensor& actual, const Tolerance& bounds) {
  if (auto fault = past_tolerance(comparison, bounds)) return fault;
  if (!is_floating_point(comparison.dtype)) return std::nullopt;
  if (comparison.max_rel > bounds.row_tolerance) {
    return "the error of a row, " + text_of(comparison.max_rel) + ", is past " + text_of(bounds.row_tolerance);
  }
  return whole_number_fault(expected, actual);
}

GivenSelections::GivenSelections(const Model& source, const Graph& lowered, RunnerWithOutputs reference,
                                 ModelRunner run_model)
    : source_(source),
      selections_(selections_of(source.graph, lowered)),
      reference_(std::move(reference)),
      run_model_(std::move(run_model)) {}

std::vector<std::string> GivenSelections::picks() const {
  std::vector<std::string> names;
  for (const auto& selection : selections_) names.push_back(selection.indices);
  return further_outputs(source_.graph, names);
}

NamedTensors GivenSelections::with_picks(const NamedTensors& inputs, const std::map<std::string, Tensor>& picks) const {
  NamedTensors all = inputs;
  for (const auto& selection : selections_) {
    const auto found = picks.find(selection.indices);
    if (found == picks.end()) {
      throw Error(ErrorKind::kUnsupported, "the picks '" + selection.indices + "' cannot be had");
    }
    all.emplace_back(selection.indices, found->second);
  }
  return all;
}

GivenSelections::Result GivenSelections::run(const NamedTensors& inputs, const std::map<std::string, Tensor>& picks,
                                             const std::map<std::string, Tensor>& own, const Tolerance& bounds) {
  if (!given_.run) {
    std::vector<std::string> scores;
    for (const auto& selection : selections_) scores.push_back(selection.scores);
    own_picks_ = reference_(this->picks());
    given_ = run_model_(with_given_selections(source_, selections_), further_outputs(source_.graph, scores));
  }
  // The rewritten source comes from the model in memory, the reference from the file: this ties them together.
  const auto again = given_.run(with_picks(inputs, own_picks_.run(inputs)));
  for (const auto& [name, tensor] : own) {
    if (tensor.dtype() == DType::kUndefined) continue;
    if (past_tolerance(compare(name, tensor, again.at(name)), tolerance(Precision::kFp32, OperatorClass::kNetwork))) {
      throw Error(ErrorKind::kInternal, "the source with its own picks given computes something else",
                  "output '" + name + "'");
    }
  }
  Result result;
  auto outputs = given_.run(with_picks(inputs, picks));
  for (const auto& selection : selections_) {
    const SelectionFinding finding =
        judge_selection(selection, outputs.at(selection.scores), picks.at(selection.indices), bounds);
    if (finding.fault || finding.largest_gap >= result.finding.largest_gap) result.finding = finding;
    if (finding.fault) return result;
  }
  result.expected = std::move(outputs);
  return result;
}

}  // namespace pajamas
