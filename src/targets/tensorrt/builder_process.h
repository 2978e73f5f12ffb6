// The TensorRT builder in a child process. A model can crash the vendor's builder, hang it or make it eat the memory:
// the program therefore runs itself again with a hidden first argument, and that child opens the library, parses,
// builds and writes the engine file, reporting as JSON lines. This file is both ends of that pipe; what is done with
// the outcome is tensorrt_target.cpp, what the vendor's words mean is messages.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "base/child_process.h"
#include "engine/build_plan.h"
#include "pajamas/error.h"
#include "targets/tensorrt/library.h"

namespace pajamas {

/// Must be the first thing in `main` of a program that builds TensorRT engines. When the program was started as a
/// builder, does that work and returns the exit code to end with; otherwise returns nothing, and from then on
/// `run_builder` starts this program as its child.
std::optional<int> run_builder_child(int argc, char** argv);

}  // namespace pajamas

namespace pajamas::tensorrt {

/// The program that `run_builder` starts: this one if `run_builder_child` was called in it, else `pajamas` beside it or
/// in ../bin. Throws Error{kDeviceMissing} when there is neither.
std::filesystem::path builder_program();

struct BuilderRequest {
  LibraryPaths library;
  std::filesystem::path onnx;
  std::filesystem::path engine;  ///< Written by the child, as a whole or (killed) in part: check before use.
  std::vector<int> sms;          ///< 75, 86, ...; empty: the library's default, the GPU present.
  std::vector<ShapeProfile> profiles;
  std::optional<int> optimization_level;
  std::uint64_t workspace_bytes = 0;  ///< 0: the library's default.
  int num_threads = 0;                ///< 0: the library's default.
  bool is_verbose = false;            ///< Pass the library's information messages on too.
};

struct VendorMessage {
  Severity severity = Severity::kError;
  std::string text;  ///< Valid UTF-8.
};

/// What the parser says of one node.
struct NodeError {
  int code = 0;
  std::string description;
  int node_index = -1;
  std::string node_name;
  std::string node_operator;
};

struct BuiltTensor {
  std::string name;
  DType dtype = DType::kUndefined;
  std::vector<std::int64_t> extents;  ///< -1: dynamic.
};

/// How far the child came; the order is the order of work.
enum class BuildStage { kStarting, kOpening, kParsing, kConfiguring, kBuilding, kWriting, kDone };
/// "opening the library", "parsing the model", ...
const char* to_string(BuildStage stage) noexcept;

struct BuilderOutcome {
  ChildResult child;
  BuildStage stage = BuildStage::kStarting;  ///< kDone: the engine was written.
  std::string phase;                         ///< The library's last progress phase.
  std::string failure;                       ///< What our own code in the child found wrong; may be empty.
  ErrorKind failure_kind = ErrorKind::kInternal;
  std::string failure_where;
  std::string failure_remedy;
  std::vector<VendorMessage> messages;  ///< Errors and warnings in order, at most kMaxMessages.
  std::vector<NodeError> node_errors;
  Version version;
  std::string family;
  std::vector<BuiltTensor> inputs;
  std::vector<BuiltTensor> outputs;
  std::vector<int> targets;  ///< Read back from the library.
  int num_layers = 0;
  double build_seconds = 0;

  bool is_built() const { return stage == BuildStage::kDone && child.is_success(); }
};

inline constexpr std::size_t kMaxMessages = 200;

/// Runs one build in a child and waits for it. Reports progress with the elapsed time, also while the library is
/// silent. A failed build is an outcome, not an exception. Throws Error{kInternal} when the child cannot be started.
BuilderOutcome run_builder(const BuilderRequest& request, const BuildLimits& limits, const Progress& progress);

/// Opens a library in a child and says what it is: {"version", "family", "has_builder"}, or {"error", "remedy"}. Never
/// throws for what the library does.
nlohmann::json probe_library(const LibraryPaths& library);

}  // namespace pajamas::tensorrt
