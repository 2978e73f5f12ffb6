// The JSON form of a proof: docs/schemas/proof.schema.json.
#include <algorithm>
#include <map>

#include "verify/proof.h"

namespace pajamas {
namespace {

/// Version of the form; it changes when a field changes its meaning.
constexpr int kProofFormatVersion = 1;

nlohmann::json json_of(const OutputComparison& output) {
  nlohmann::json json = pajamas::to_json(output.comparison);
  json["case"] = output.case_name;
  json["is_passed"] = !output.past_tolerance.has_value();
  json["is_gating"] = output.is_gating;
  if (output.past_tolerance) json["past_tolerance"] = *output.past_tolerance;
  return json;
}

/// How far past its bounds a comparison is, for choosing what to show: failures first, then the larger error.
bool is_worse(const OutputComparison& a, const OutputComparison& b) {
  const auto rank = [](const OutputComparison& o) { return o.past_tolerance ? (o.is_gating ? 2 : 1) : 0; };
  if (rank(a) != rank(b)) return rank(a) > rank(b);
  return a.comparison.relative_l2 > b.comparison.relative_l2;
}

nlohmann::json json_of(const ProvenCandidate& candidate) {
  nlohmann::json json = {{"name", candidate.name},
                         {"what", candidate.what},
                         {"implementation", candidate.implementation},
                         {"precision", to_string(candidate.precision)},
                         {"operator_class", to_string(candidate.operator_class)},
                         {"tolerance", pajamas::to_json(candidate.tolerance)},
                         {"is_passed", candidate.is_passed},
                         {"outputs", nlohmann::json::array()},
                         {"first_bad_layer", nullptr}};
  if (!candidate.error.empty()) json["error"] = candidate.error;
  // Per output the worst case; all cases of all outputs would say little more.
  std::map<std::string, const OutputComparison*> worst;
  std::vector<std::string> order;
  for (const auto& output : candidate.outputs) {
    auto& slot = worst[output.comparison.name];
    if (slot == nullptr) order.push_back(output.comparison.name);
    if (slot == nullptr || is_worse(output, *slot)) slot = &output;
  }
  for (const auto& name : order) json["outputs"].push_back(json_of(*worst[name]));
  if (candidate.first_bad_layer) {
    const auto& bad = *candidate.first_bad_layer;
    json["first_bad_layer"] = {{"node", bad.node},
                               {"op_type", bad.op_type},
                               {"value", bad.value},
                               {"why", bad.why},
                               {"case", bad.case_name},
                               {"inputs_relative_l2", bad.inputs_relative_l2},
                               {"comparison", pajamas::to_json(bad.comparison)}};
  }
  if (!candidate.layers_note.empty()) json["layers_note"] = candidate.layers_note;
  if (!candidate.layers.empty()) {
    json["layers"] = nlohmann::json::array();
    for (const auto& layer : candidate.layers) {
      json["layers"].push_back({{"value", layer.comparison.name},
                                {"node", layer.node},
                                {"op_type", layer.op_type},
                                {"max_abs", layer.comparison.max_abs},
                                {"relative_l2", layer.comparison.relative_l2},
                                {"cosine", layer.comparison.cosine},
                                {"num_mismatched", layer.comparison.num_mismatched},
                                {"is_passed", !layer.past_tolerance.has_value()}});
    }
  }
  return json;
}

}  // namespace

nlohmann::json Proof::to_json() const {
  nlohmann::json json = {{"format_version", kProofFormatVersion},
                         {"is_passed", is_passed},
                         {"summary", summary},
                         {"seed", seed},
                         {"reference", {{"implementation", reference}, {"source", reference_source}}},
                         {"source_sha256", source_sha256},
                         {"lowered_sha256", lowered_sha256},
                         {"cases", cases},
                         {"not_shown", not_shown},
                         {"candidates", nlohmann::json::array()}};
  for (const auto& candidate : candidates) json["candidates"].push_back(json_of(candidate));
  return json;
}

}  // namespace pajamas
