// Tokens are sorted by expert, cut into one piece an expert, and put back: three Gathers and a Split in all, where a
// search for each expert's tokens would take four nodes an expert. See experts.h.
#include "models/language/experts.h"

#include <string>
#include <vector>

namespace pajamas {

GraphValue build_experts(GraphBuilder& graph, GraphWeights& weights, const ExpertsConfig& config,
                         ActivationFunction function, std::int64_t hidden_dim, const GraphValue& x) {
  const std::string path = graph.scope_path();
  const std::int64_t num_chosen = config.num_experts_per_token;
  const auto axis = [](std::int64_t value) { return NodeAttributes::value_type{"axis", value}; };

  // Router: the probabilities of the chosen experts are their weights.
  const GraphValue scores =
      weights.linear("gate", path + ".gate", x, hidden_dim, config.num_experts, /*has_bias=*/false);
  const GraphValue probabilities = graph.node("Softmax", {scores}, {axis(-1)});
  const auto chosen = graph.node_with_outputs("TopK", {probabilities, graph.integers({num_chosen})}, 2, {axis(-1)});
  GraphValue shares = chosen[0];  // [num_tokens, num_chosen]
  if (config.is_normalised) {
    const GraphValue sum = graph.node("ReduceSum", {shares, graph.integers({-1})}, {{"keepdims", std::int64_t{1}}});
    shares = graph.node("Div", {shares, sum});
  }

  // Sort the (token, choice) pairs by expert. `order` says which pair stands where; pair p is of token p / num_chosen.
  const GraphValue pair_experts = graph.node("Reshape", {chosen[1], graph.integers({-1})});
  const GraphValue num_pairs = graph.node("Shape", {pair_experts});
  const auto sorted =
      graph.node_with_outputs("TopK", {pair_experts, num_pairs}, 2, {axis(0), {"largest", std::int64_t{0}}});
  const GraphValue& order = sorted[1];
  const GraphValue tokens = graph.node("Div", {order, graph.integers({num_chosen})});
  const GraphValue pair_inputs = graph.node("Gather", {x, tokens});  // [num_pairs, hidden_dim]

  // Cut it into one piece an expert: how many pairs chose each.
  std::vector<std::int64_t> numbers;
  for (std::int64_t i = 0; i < config.num_experts; ++i) numbers.push_back(i);
  const GraphValue column = graph.node("Reshape", {pair_experts, graph.integers({-1, 1})});
  const GraphValue is_chosen = graph.node("Equal", {column, graph.integers(numbers)});
  const GraphValue ones = graph.node("Cast", {is_chosen}, {{"to", static_cast<std::int64_t>(DType::kInt64)}});
  const GraphValue counts = graph.node("ReduceSum", {ones, graph.integers({0})}, {{"keepdims", std::int64_t{0}}});
  const auto pieces =
      graph.node_with_outputs("Split", {pair_inputs, counts}, static_cast<std::size_t>(config.num_experts), {axis(0)});
  std::vector<GraphValue> results;
  for (std::int64_t i = 0; i < config.num_experts; ++i) {
    const std::string name = "experts." + std::to_string(i);
    const auto scope = graph.scope(name);
    const std::string expert = path + "." + name;
    const auto& piece = pieces[static_cast<std::size_t>(i)];
    const std::int64_t wide = config.intermediate_dim;
    const GraphValue gate = weights.linear("gate_proj", expert + ".gate_proj", piece, hidden_dim, wide, false);
    const GraphValue up = weights.linear("up_proj", expert + ".up_proj", piece, hidden_dim, wide, false);
    const GraphValue inner = graph.node("Mul", {activation(graph, function, gate), up});
    results.push_back(weights.linear("down_proj", expert + ".down_proj", inner, wide, hidden_dim, false));
  }
  const GraphValue joined = graph.node("Concat", std::span<const GraphValue>(results), {axis(0)});

  // Back in the order of pairs: the place of pair p is where `order` says p.
  const auto places = graph.node_with_outputs("TopK", {order, num_pairs}, 2, {axis(0), {"largest", std::int64_t{0}}});
  const GraphValue unsorted = graph.node("Gather", {joined, places[1]});
  const GraphValue by_token = graph.node("Reshape", {unsorted, graph.integers({-1, num_chosen, hidden_dim})});
  const GraphValue weighted = graph.node("Mul", {by_token, graph.node("Unsqueeze", {shares, graph.integers({-1})})});
  return graph.node("ReduceSum", {weighted, graph.integers({1})}, {{"keepdims", std::int64_t{0}}});
}

}  // namespace pajamas
