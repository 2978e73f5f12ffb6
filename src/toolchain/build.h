// Build: import → passes → compile → prove → pack. A bundle appears whole or not at all.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "bundle/manifest.h"
#include "engine/build_plan.h"
#include "engine/target.h"
#include "graph/passes/pipeline.h"
#include "graph/passes/quantize_products.h"
#include "models/model_definition.h"

namespace pajamas {

struct BuildRequest {
  std::filesystem::path source;  ///< .onnx file or checkpoint folder.
  BuildPlan plan;
  ImportHints hints;
  std::string model_name;                       ///< Empty: from the source's name.
  std::optional<std::filesystem::path> output;  ///< The bundle's folder; empty: models/<model>/<target>/<precision>.
  std::vector<std::filesystem::path> images;    ///< Real inputs for the proof, beside the seeded ones.
  /// Text for language models: activations for int4-awq, and what quantisation cost is measured on it. For products in
  /// 8-bit floats a picture or a folder of them, whose activations say their scales. Empty: none.
  std::filesystem::path calibration = {};
  bool is_unproven_accepted = false;  ///< Keep a bundle whose proof failed; the manifest says so.
  bool is_per_layer = false;          ///< The proof compares inner values too.
  /// Measured times to use and to add to (CompileRequest::timing_cache); refused for targets that time nothing.
  std::filesystem::path timing_cache = {};
  Progress progress;
};

/// One step of the build and how long it took.
struct BuildStep {
  std::string name;
  std::chrono::nanoseconds time{0};
};

struct BuildResult {
  std::filesystem::path bundle;
  Manifest manifest;
  std::vector<BuildStep> steps;
  std::vector<std::string>
      notes;  ///< What the passes want a user to know: saturated weights, operators kept in float32.
};

/// Builds a bundle. Throws Error: kUnsupported when the target says no or the proof fails, kCancelled, and whatever the
/// steps throw; then nothing is left on disk.
BuildResult build(const BuildRequest& request);

/// The graph that a target compiles: a model after the passes the plan asks for. The log says what they did.
struct LoweredModel {
  Model model;
  PassLog log;
};
LoweredModel lower(const Model& model, const Target& target, const BuildPlan& plan, const Progress& progress);

/// For plans with products in 8-bit floats: quantises them by what calibration found, in place.
void quantize(LoweredModel& lowered, const BuildPlan& plan, const Magnitudes& magnitudes);

/// The record of the passes as it stands in the manifest.
nlohmann::json to_json(const PassLog& log);

}  // namespace pajamas
