// What activations range over: runs a model on inputs like those it will see and takes the largest magnitudes. For
// products in 8-bit floats (graph/passes/quantize_products.h) of models that are no language models.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "bundle/task_facts.h"
#include "engine/build_plan.h"
#include "graph/graph.h"
#include "graph/passes/quantize_products.h"

namespace pajamas {

/// Whether the plan asks for products in 8-bit floats of a model that is no language model.
bool quantizes_products(const BuildPlan& plan);

struct CalibrationRequest {
  const Model* source = nullptr;   ///< As imported: its inputs' declarations.
  const Model* lowered = nullptr;  ///< After the passes, not quantised.
  std::string part;
  const TaskFacts* task = nullptr;
  std::vector<std::filesystem::path> images;  ///< Pictures; empty: the made-up inputs of the proof.
  std::vector<ShapeProfile> profiles;
  int num_threads = 0;
  std::uint64_t seed = 1;
  Progress progress;
};

struct Calibration {
  Magnitudes magnitudes;               ///< Of the activations that are quantised.
  std::vector<std::string> left_wide;  ///< Not quantised, since the target found their products faster as they are.
  std::string inputs;                  ///< What it was run on, for people: "12 pictures", "4 made-up inputs".
  bool is_made_up = false;             ///< Run on no picture.
};

/// Runs the model on the CPU: by ONNX Runtime, by the interpreter where there is none. Throws Error{kUsage} when
/// pictures are given for a model that takes none, Error{kBadInput} for pictures that cannot be read.
Calibration calibrate(const CalibrationRequest& request);

/// Moves the activations that the facts of a compilation call not worth it to `left_wide`. Returns how many those are.
std::size_t leave_wide(Calibration& calibration, const nlohmann::json& facts);

/// The pictures of a folder (by name, at most kMaxCalibrationPictures), or the one file. Throws Error{kBadInput} where
/// there are none.
inline constexpr std::size_t kMaxCalibrationPictures = 128;
std::vector<std::filesystem::path> pictures_at(const std::filesystem::path& path);

/// As it stands in the manifest, and back: `pajamas verify` quantises the source again by it. The second throws
/// Error{kBadInput} naming the member.
nlohmann::json to_json(const Calibration& calibration);
Magnitudes parse_magnitudes(const nlohmann::json& json, const std::string& where);

}  // namespace pajamas
