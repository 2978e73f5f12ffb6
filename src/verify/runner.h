// What a proof can run a model with: ONNX Runtime, a target's engine, or the project's own interpreter, behind one
// function. Internal to verify/.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/target.h"
#include "graph/graph.h"
#include "pajamas/tensor.h"

namespace pajamas {

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

/// A model ready to run. Not thread-safe.
struct Runner {
  std::string implementation;  ///< "onnxruntime 1.31.1", "openvino 2026.4.1", "interpreter"
  /// Outputs by name, the extra ones too. Throws as the implementation does.
  std::function<std::map<std::string, Tensor>(const NamedTensors& inputs)> run;
};

/// The model with inner values as outputs too, for engines, which need to know what they give: a value whose type
/// cannot be inferred is left out. Throws as infer_shapes does.
Model with_more_outputs(Model model, const std::vector<std::string>& extra);

/// Makes a runner whose run() gives the named values beside the model's outputs.
using RunnerWithOutputs = std::function<Runner(const std::vector<std::string>& extra_outputs)>;

/// A model in the form that ONNX Runtime reads: bytes, or a file with the weights beside it.
struct OnnxSource {
  std::shared_ptr<const std::string> bytes;  ///< Null: read `file`.
  std::filesystem::path file;
};

/// ONNX Runtime on the bytes or the file as they are, with `extra_outputs` added. Throws as OnnxRuntimeSession.
Runner onnxruntime_runner(const OnnxSource& source, const std::vector<std::string>& extra_outputs, int num_threads);
/// A session of the engine. Inputs of another floating-point width than the engine's are converted.
Runner engine_runner(const Engine& engine);
/// The project's interpreter: slow, and without any vendor's code, for models that ONNX Runtime does not run. It keeps
/// its own copy of the model (weights are shared).
Runner interpreter_runner(const Model& model, const std::vector<std::string>& extra_outputs);

}  // namespace pajamas
