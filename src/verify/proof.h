// The proof that a build still computes what the model computes: the untouched source, run by another implementation
// than the target's own, against everything that was made from it. The record goes into the bundle's manifest; its form
// is docs/verification.md and docs/schemas/proof.schema.json. Figures are verify/comparison.h, bounds
// verify/tolerances.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "engine/build_plan.h"
#include "engine/target.h"
#include "graph/graph.h"
#include "pajamas/tensor.h"
#include "verify/comparison.h"
#include "verify/tolerances.h"

namespace pajamas {

/// Everything a proof needs. What it refers to must live until prove() returns.
struct ProofRequest {
  const Model& source;  ///< As it was read, before any pass.
  std::filesystem::path
      source_file{};               ///< The ONNX file it was read from; empty (a checkpoint): `source` is serialised.
  const Model& lowered;            ///< What the target was given.
  const Engine* engine = nullptr;  ///< Loaded at the bundle's precision; null where it cannot run here.
  std::string engine_absence{};    ///< Why `engine` is null; empty: this machine has no device for it.
  const Engine* exact_engine = nullptr;  ///< The same loaded with is_exact_fp32; may be null.
  /// The bundle's precision. kAuto: what `engine->describe()` says, without an engine what the lowered model holds.
  Precision precision = Precision::kFp32;
  /// Sets of real inputs, each in the order of source.graph.required_inputs().
  std::vector<std::vector<Tensor>> real_inputs{};
  /// Turns made-up inputs (in that order too) into ones that the task could give, for models whose errors on anything
  /// else say nothing; may be empty.
  std::function<void(std::vector<Tensor>&)> refine_inputs{};
  std::vector<ShapeProfile> profiles{};
  /// What the outputs are, for the table of tolerances: kNetwork, or kStates.
  OperatorClass operator_class = OperatorClass::kNetwork;
  /// Compare every value that survived the passes, not only the outputs. When an output is past tolerance, the first
  /// such value is looked for anyway.
  bool is_per_layer = false;
  /// Compiles and loads, at the bundle's precision or at float32, a model that is `lowered` with more outputs; may be
  /// empty.
  std::function<std::shared_ptr<const Engine>(const Model&, bool is_exact_fp32)> compile_with_outputs{};
  int num_threads = 0;     ///< CPU threads; 0: all.
  std::uint64_t seed = 1;  ///< Of the generated inputs.
  Progress progress{};
};

/// The first value, in the order of the lowered model, that is past tolerance.
struct BadLayer {
  std::string node;     ///< "Conv node '/model.0/conv/Conv'"
  std::string op_type;  ///< "Conv"
  std::string value;    ///< Name of the value.
  std::string why;      ///< The figure and its bound.
  Comparison comparison;
  /// Largest relative L2 error of the node's own inputs, where they survived the passes: small beside the node's own
  /// error when the fault lies in this node, alike when errors have crept up to the bound.
  double inputs_relative_l2 = 0;
  std::string case_name;
};

/// One comparison of an output in one case.
struct OutputComparison {
  std::string case_name;
  Comparison comparison;
  std::optional<std::string> past_tolerance;
  bool is_gating = true;  ///< False where a failure would mean nothing: it is recorded only.
};

/// One value inside the model.
struct LayerComparison {
  std::string node;
  std::string op_type;
  Comparison comparison;
  std::optional<std::string> past_tolerance;
};

/// Something made from the source, compared with it.
struct ProvenCandidate {
  std::string name;            ///< "lowered_model", "engine_exact_fp32", "engine"
  std::string what;            ///< What ran, in words that claim no more than was done.
  std::string implementation;  ///< "onnxruntime 1.31.1", "openvino ..."
  Precision precision = Precision::kFp32;
  OperatorClass operator_class = OperatorClass::kNetwork;
  Tolerance tolerance;
  bool is_passed = false;
  std::string error;  ///< Why it could not be run; empty when it ran.
  std::vector<OutputComparison> outputs;
  std::optional<BadLayer> first_bad_layer;
  std::string layers_note;              ///< Why no layer could be named, or what was not compared.
  std::vector<LayerComparison> layers;  ///< Only with is_per_layer.
};

struct Proof {
  bool is_passed = false;
  std::string summary;  ///< One or two sentences: what was compared, how near, or what failed where.
  std::uint64_t seed = 0;
  std::string reference;         ///< "onnxruntime 1.31.1"
  std::string reference_source;  ///< "model.onnx", or "serialised checkpoint".
  std::string source_sha256;     ///< Of the bytes the reference read.
  std::string lowered_sha256;    ///< Of the lowered model's ONNX bytes.
  nlohmann::json cases;          ///< [{"name", "kind", "inputs": {name: "float32[1, 3, 640, 640]"}}]
  std::vector<std::string> not_shown;
  std::vector<ProvenCandidate> candidates;

  nlohmann::json to_json() const;
};

/// Runs the proof. A difference past tolerance is a result (is_passed false), not an error. Throws Error:
/// kDeviceMissing without the reference implementation, kUnsupported when no implementation can run the source,
/// kBadInput when the source refuses every input that could be made up (give real ones), kCancelled.
Proof prove(const ProofRequest& request);

}  // namespace pajamas
