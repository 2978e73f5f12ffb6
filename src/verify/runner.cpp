// The implementations behind Runner.
#include "verify/runner.h"

#include <algorithm>
#include <span>

#include "graph/inline_functions.h"
#include "graph/interpreter.h"
#include "graph/shape_inference.h"
#include "pajamas/error.h"
#include "verify/input_cases.h"
#include "verify/onnxruntime_reference.h"

namespace pajamas {

Runner onnxruntime_runner(const OnnxSource& source, const std::vector<std::string>& extra_outputs, int num_threads) {
  OnnxRuntimeOptions options;
  options.num_threads = num_threads;
  // The model's own operators, one by one: a reference that fuses would put its fusions' faults into every verdict.
  options.optimisation = OnnxRuntimeOptions::Optimisation::kBasic;
  options.extra_outputs = extra_outputs;
  const auto session = source.bytes ? std::make_shared<const OnnxRuntimeSession>(
                                          std::as_bytes(std::span(*source.bytes)), std::filesystem::path(), options)
                                    : std::make_shared<const OnnxRuntimeSession>(source.file, options);
  Runner runner;
  runner.implementation = "onnxruntime " + session->version();
  runner.run = [session](const NamedTensors& inputs) {
    NamedTensors known;
    for (const auto& input : inputs) {
      const auto& infos = session->inputs();
      const auto info = std::find_if(infos.begin(), infos.end(), [&](const auto& i) { return i.name == input.first; });
      // A pass may have removed an input that nothing uses.
      if (info != infos.end()) known.emplace_back(input.first, converted(input.second, info->dtype));
    }
    auto tensors = session->run(known);
    std::map<std::string, Tensor> outputs;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      outputs.emplace(session->outputs()[i].name, std::move(tensors[i]));
    }
    return outputs;
  };
  return runner;
}

Runner engine_runner(const Engine& engine) {
  const auto description = engine.describe();
  Runner runner;
  for (const char* key : {"implementation", "target", "device"}) {
    const auto found = description.find(key);
    if (found == description.end() || !found->is_string() || !runner.implementation.empty()) continue;
    runner.implementation = found->get<std::string>();
  }
  for (const char* key : {"version", "library"}) {
    const auto found = description.find(key);
    if (found == description.end() || !found->is_string()) continue;
    runner.implementation += " " + found->get<std::string>();
    break;
  }
  const std::shared_ptr<Session> session = engine.new_session();
  runner.run = [session, &engine](const NamedTensors& inputs) {
    std::vector<Tensor> kept;  // borrowed by the session until run() returns
    for (std::size_t i = 0; i < engine.inputs().size(); ++i) {
      const auto& info = engine.inputs()[i];
      const auto given =
          std::find_if(inputs.begin(), inputs.end(), [&](const auto& input) { return input.first == info.name; });
      if (given == inputs.end()) {
        throw Error(ErrorKind::kInternal, "the engine takes an input that the source does not have",
                    "input '" + info.name + "'");
      }
      kept.push_back(converted(given->second, info.dtype));
      session->set_input(i, kept.back().view());
    }
    session->run();
    std::map<std::string, Tensor> outputs;
    for (std::size_t i = 0; i < engine.outputs().size(); ++i) {
      outputs.emplace(engine.outputs()[i].name, Tensor::copy_of(session->output(i)));
    }
    return outputs;
  };
  return runner;
}

Model with_more_outputs(Model model, const std::vector<std::string>& extra) {
  const auto facts = infer_facts(model);
  for (const std::string& name : extra) {
    const ValueFact* fact = facts->find(name);
    if (fact == nullptr || fact->dtype == DType::kUndefined) continue;
    ValueInfo output;
    output.name = name;
    model.graph.outputs.push_back(std::move(output));
  }
  infer_shapes(model);
  return model;
}

Runner interpreter_runner(const Model& model, const std::vector<std::string>& extra_outputs) {
  const auto copy = std::make_shared<Model>(model);
  inline_functions(*copy);
  for (const auto& name : extra_outputs) {
    ValueInfo output;
    output.name = name;
    copy->graph.outputs.push_back(std::move(output));
  }
  Runner runner;
  runner.implementation = "the project's interpreter";
  runner.run = [copy](const NamedTensors& inputs) {
    std::map<std::string, Tensor> known;
    for (const auto& [name, tensor] : inputs) {
      const ValueInfo* info = copy->graph.find_input(name);
      if (info == nullptr) continue;
      known[name] = info->type ? converted(tensor, info->type->dtype) : tensor;
    }
    return run_graph(*copy, known);
  };
  return runner;
}

}  // namespace pajamas
