// The choice of layers for 8 bits. See choose_forms.h.
#include "graph/passes/choose_forms.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/parallel.h"
#include "tensor/awq.h"

namespace pajamas {
namespace {

constexpr const char* kStep = "Choosing layers for 8 bits";

/// Bits of one weight with its share of the scales and zero points or minimums.
double bits_per_weight(const QuantizedForm& form, std::int64_t in_dim) {
  const QuantizedForm fitting = fit_form(form, in_dim);
  const BlockWeight row = allocate_block_weight(fitting, 2, in_dim);  // two: zero points are packed in pairs
  return 8 * static_cast<double>(row.size_bytes()) / static_cast<double>(2 * in_dim);
}

/// Layers that are chosen together.
struct Unit {
  std::vector<const QuantizableLinear*> linears;
  double gain = 0, cost = 0;  ///< Squared relative errors; bits.
};

/// The samples as the layer's scaled columns see them.
Tensor divided(const Tensor& samples, const std::vector<float>& factors) {
  if (factors.empty()) return samples;
  Tensor result = Tensor::copy_of(samples.view());
  const auto values = result.mutable_as<float>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] /= factors[i % factors.size()];
  return result;
}

}  // namespace

std::map<std::string, QuantizedForm> choose_forms(const Graph& graph, const CalibrationStats& stats,
                                                  const WeightQuantization& options, const FormChoice& choice,
                                                  const Progress& progress) {
  std::map<std::string, QuantizedForm> forms;
  if (!options.linear || bits_of(options.linear->values) != 4) return forms;
  const ValueUses uses(graph);
  const std::vector<QuantizableLinear> linears = quantizable_linears(graph, uses, options);
  std::vector<Unit> units;
  std::map<std::tuple<std::string, std::int64_t, std::int64_t>, std::size_t> places;
  std::map<std::string, int> num_uses_of_weight;
  double num_weights = 0;
  for (const QuantizableLinear& linear : linears) {
    // A weight used twice is stored once; its first use speaks for it.
    if (num_uses_of_weight[linear.stored.name]++ > 0) continue;
    const Shape& shape = linear.stored.shape();
    num_weights += static_cast<double>(shape.num_elements());
    const Node& node = graph.nodes[static_cast<std::size_t>(linear.node_index)];
    const auto place = places.emplace(std::tuple(node.inputs[0], shape[0], shape[1]), units.size()).first;
    if (place->second == units.size()) units.emplace_back();
    units[place->second].linears.push_back(&linear);
  }

  static const WeightScaling kNoScaling;
  parallel_for(static_cast<std::int64_t>(units.size()), choice.num_threads, [&](std::int64_t index) {
    progress.check(kStep);
    Unit& unit = units[static_cast<std::size_t>(index)];
    for (const QuantizableLinear* linear : unit.linears) {
      const auto samples = stats.inputs.find(linear->stored.name);
      if (samples == stats.inputs.end()) continue;
      const auto scaling = options.scalings.find(linear->stored.name);
      const WeightScaling& factors = scaling == options.scalings.end() ? kNoScaling : scaling->second;
      const std::int64_t out_dim = linear->stored.shape()[0], in_dim = linear->stored.shape()[1];
      const AwqLinear scaled{out_dim, scaled_reader(reader_of(linear->stored), factors, in_dim)};
      const Tensor activations = divided(samples->second, factors.columns);
      const double before = output_error(scaled, activations, *options.linear, factors.importance, choice.max_rows);
      if (before < choice.min_error) continue;
      const double after = output_error(scaled, activations, choice.form, factors.importance, choice.max_rows);
      unit.gain += before * before - after * after;
    }
    const Shape& shape = unit.linears[0]->stored.shape();
    unit.cost = static_cast<double>(shape.num_elements()) * static_cast<double>(unit.linears.size()) *
                (bits_per_weight(choice.form, shape[1]) - bits_per_weight(*options.linear, shape[1]));
  });

  std::vector<const Unit*> order;
  for (const Unit& unit : units) {
    if (unit.gain > 0) order.push_back(&unit);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const Unit* a, const Unit* b) { return a->gain * b->cost > b->gain * a->cost; });
  double left = choice.max_extra_bits * num_weights;
  for (const Unit* unit : order) {
    if (unit->cost > left) continue;
    left -= unit->cost;
    for (const QuantizableLinear* linear : unit->linears) forms.emplace(linear->stored.name, choice.form);
  }
  return forms;
}

}  // namespace pajamas
