// See raise_opset.h. Of all that changed between opset 13 and 19, three things change what an unchanged node means:
// reductions take their axes as an input (18), Split must say into how many (18), RoiAlign's default moved by half a
// pixel (16). The rest are more types, and attributes whose defaults are what was before.
#include "graph/passes/raise_opset.h"

#include <algorithm>
#include <array>

#include "pajamas/error.h"

namespace pajamas {
namespace {

/// ReduceSum took its axes as an input at 13 already.
constexpr std::array kReductions{"ReduceMax", "ReduceMin",    "ReduceMean",      "ReduceProd",     "ReduceL1",
                                 "ReduceL2",  "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"};

}  // namespace

PassReport raise_opset(Model& model, std::int64_t opset) {
  PassReport report{"opset_raise", 0, {}, {}};
  const std::int64_t from = model.opset();
  if (opset <= from) return report;
  if (opset > kMostRaisedOpset) throw Error(ErrorKind::kInternal, "no rules for opset " + std::to_string(opset));
  if (from < kLeastRaisedOpset) {
    throw Error(ErrorKind::kUnsupported,
                "the model is of opset " + std::to_string(from) + "; this needs opset " + std::to_string(opset), {},
                "export it again with opset " + std::to_string(opset) + " or at least 13");
  }
  NameSet names(model.graph);
  for_each_graph(model.graph, [&](Graph& graph) {
    for (Node& node : graph.nodes) {
      if (!node.domain.empty() && node.domain != "ai.onnx") continue;
      const bool reduces = std::find(kReductions.begin(), kReductions.end(), node.op_type) != kReductions.end();
      if (from < 18 && opset >= 18 && reduces && node.find_attribute("axes") != nullptr) {
        const std::vector<std::int64_t> axes = node.ints_attribute("axes");
        const std::string name = names.take((node.name.empty() ? node.outputs[0] : node.name) + "/axes");
        graph.set_initializer(name,
                              Tensor::of<std::int64_t>({static_cast<std::int64_t>(axes.size())}, std::span(axes)));
        node.remove_attribute("axes");
        node.inputs.resize(1);
        node.inputs.push_back(name);
        report.count("reductions");
      }
      const bool is_sized = node.inputs.size() > 1 && !node.inputs[1].empty();
      if (from < 18 && opset >= 18 && node.is("Split") && !is_sized) {
        node.set_attribute("num_outputs", static_cast<std::int64_t>(node.outputs.size()));
        report.count("splits");
      }
      if (from < 16 && opset >= 16 && node.is("RoiAlign") &&
          node.find_attribute("coordinate_transformation_mode") == nullptr) {
        node.set_attribute("coordinate_transformation_mode", std::string("output_half_pixel"));
        report.count("roi_aligns");
      }
    }
  });
  for (auto& [domain, version] : model.opset_imports) {
    if (domain.empty() || domain == "ai.onnx") version = opset;
  }
  constexpr std::int64_t kIrOfOpset19 = 9;
  model.ir_version = std::max(model.ir_version, kIrOfOpset19);
  report.count("opset");
  report.note("opset " + std::to_string(from) + " became " + std::to_string(opset));
  return report;
}

PassReport raise_for_half_quantization(Model& model) {
  const bool has_any = std::any_of(model.graph.nodes.begin(), model.graph.nodes.end(), [](const Node& node) {
    return node.is("QuantizeLinear") || node.is("DequantizeLinear");
  });
  if (!has_any || model.opset() < kLeastRaisedOpset || model.opset() >= kMostRaisedOpset) {
    return PassReport{"opset_raise", 0, {}, {}};
  }
  return raise_opset(model, kMostRaisedOpset);
}

}  // namespace pajamas
