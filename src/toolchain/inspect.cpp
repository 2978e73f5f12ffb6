// Descriptions of models and bundles. See inspect.h.
#include "toolchain/inspect.h"

#include <map>

#include "bundle/bundle.h"
#include "pajamas/error.h"
#include "targets/registry.h"
#include "toolchain/build.h"
#include "toolchain/import.h"

namespace pajamas {
namespace fs = std::filesystem;
namespace {

nlohmann::json describe(const std::vector<const ValueInfo*>& values) {
  nlohmann::json json = nlohmann::json::array();
  for (const ValueInfo* value : values) {
    json.push_back({{"name", value->name}, {"type", value->type ? value->type->to_string() : "?"}});
  }
  return json;
}

/// What each target of this program says about the graph at its own default plan, after the passes it would get.
nlohmann::json describe_targets(const Model& model) {
  nlohmann::json json = nlohmann::json::object();
  for (const Target* target : targets()) {
    const std::string name(target->name());
    try {
      BuildPlan plan;
      plan.target = name;
      plan = target->resolve(plan);
      const LoweredModel lowered = lower(model, *target, plan, {});
      const Support support = target->supports(lowered.model, plan);
      json[name] = {{"supported", support.is_supported}};
      if (!support) json[name].update({{"reason", support.reason}, {"remedy", support.remedy}});
    } catch (const Error& error) {
      json[name] = {{"supported", false}, {"reason", error.what()}, {"remedy", error.remedy()}};
    }
  }
  return json;
}

/// Scales and their like of quantised weights (graph/block_weight_nodes.h) are no parameters of the model.
bool is_part_of_a_block_weight(const Graph& graph, const std::string& name) {
  for (const std::string_view suffix : {".scale", ".zero_point", ".minimum"}) {
    if (name.ends_with(suffix) && graph.find_initializer(name.substr(0, name.size() - suffix.size())) != nullptr) {
      return true;
    }
  }
  return false;
}

nlohmann::json describe(const ImportedPart& part) {
  const Model& model = part.model;
  std::map<std::string, int> operators;
  for (const Node& node : model.graph.nodes) {
    ++operators[node.domain.empty() || node.domain == "ai.onnx" ? node.op_type : node.domain + "." + node.op_type];
  }
  nlohmann::json opsets = nlohmann::json::object();
  for (const auto& [domain, version] : model.opset_imports) opsets[domain.empty() ? "ai.onnx" : domain] = version;
  std::vector<const ValueInfo*> outputs;
  for (const ValueInfo& output : model.graph.outputs) outputs.push_back(&output);
  std::int64_t num_parameters = 0;
  for (const Initializer& initializer : model.graph.initializers) {
    if (!is_part_of_a_block_weight(model.graph, initializer.name)) num_parameters += initializer.tensor.num_elements();
  }
  return {{"name", part.name},
          {"graph", model.graph.name},
          {"ir_version", model.ir_version},
          {"opsets", opsets},
          {"producer", model.producer_name + (model.producer_version.empty() ? "" : " " + model.producer_version)},
          {"inputs", describe(model.graph.required_inputs())},
          {"outputs", describe(outputs)},
          {"num_nodes", model.graph.nodes.size()},
          {"num_functions", model.functions.size()},
          {"num_parameters", num_parameters},
          {"weight_bytes", weight_bytes(model.graph)},
          {"operators", operators},
          {"targets", describe_targets(model)}};
}

}  // namespace

nlohmann::json inspect(const fs::path& path, const ImportHints& hints) {
  std::error_code ignored;
  if (fs::exists(path / kManifestFileName, ignored)) {
    if (!hints.task.empty() || !hints.head.empty()) {
      throw Error(ErrorKind::kUsage, "a bundle says itself what it is", hints.task.empty() ? "--head" : "--task",
                  "leave it out");
    }
    const Bundle bundle = Bundle::open(path);
    nlohmann::json json = {{"kind", "bundle"}, {"path", path.string()}, {"manifest", to_json(bundle.manifest())}};
    try {
      bundle.verify_digests();
      json["intact"] = true;
    } catch (const Error& error) {
      json["intact"] = false;
      json["damage"] = error.what();
    }
    return json;
  }
  ImportHints with_scratch = hints;
  if (with_scratch.scratch_directory.empty()) with_scratch.scratch_directory = fs::temp_directory_path(ignored);
  const ImportedModel imported = import_model(path, with_scratch);
  nlohmann::json parts = nlohmann::json::array();
  for (const ImportedPart& part : imported.parts) parts.push_back(describe(part));
  return {{"kind", "model"},       {"path", path.string()},        {"format", imported.format},
          {"name", imported.name}, {"family", imported.family},    {"task", to_json(imported.task)},
          {"parts", parts},        {"sha256", source_digest(path)}};
}

}  // namespace pajamas
