// The check of a model before anything else touches it: vendor libraries crash, hang or compute silently wrong results
// on some malformed models, so nothing reaches them that does not pass here. It checks structure, operators, opsets,
// attributes and weights; it infers no shapes and does not judge what a target supports (Target::supports does).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace pajamas {

/// ONNX IR versions that are accepted: 3 is the first with opsets, 14 the newest known.
inline constexpr std::int64_t kOldestIrVersion = 3;
inline constexpr std::int64_t kNewestIrVersion = 14;

struct CheckLimits {
  /// Nodes in all, nested graphs included and functions counted at each call. Far above real models (a large
  /// language model has some 10,000), and low enough for every step to end in seconds.
  std::int64_t max_nodes = 500'000;
  /// Graphs inside graphs (If, Loop, Scan), function calls seen through. Real models nest 3 deep; TensorRT's time
  /// doubles with each level and passes a minute at 10.
  int max_nesting_depth = 8;
  /// Functions that call functions, counted along the longest chain.
  int max_call_depth = 100;
  /// Largest single extent that a declared shape may have; the vendor libraries count in 32 bits.
  std::int64_t max_extent = 2'147'483'647;
};

/// What the check learned, for targets to judge and for `inspect` to print.
struct ModelFacts {
  std::int64_t ir_version = 0;
  std::int64_t opset = 0;          ///< Of the default domain; 0 when a model uses none of its operators.
  std::int64_t num_nodes = 0;      ///< As counted for CheckLimits::max_nodes.
  int nesting_depth = 0;           ///< 0: no graph inside another.
  bool has_functions = false;      ///< Calls functions of its own; see graph/inline_functions.h.
  std::uint64_t weight_bytes = 0;  ///< Initializers and tensor attributes, nested graphs included.
  /// How often each operator is written, nested graphs and function bodies included: "Conv", "com.microsoft.Gelu".
  std::map<std::string, std::int64_t> num_by_operator;
  /// Operators outside the standard domains that are no functions of the model, in the same form, sorted. A target
  /// must know each of them by name to accept the model.
  std::vector<std::string> foreign_operators;
};

/// Checks the whole model. Throws Error{kBadInput} for a malformed model and Error{kUnsupported} for a well-formed one
/// past what is known (opset, IR version, operator, domain, limits); the error names the node or value, the cause and
/// the cure. Linear in the size of the model. Thread-safe.
ModelFacts check_model(const Model& model, const CheckLimits& limits = {});

}  // namespace pajamas
