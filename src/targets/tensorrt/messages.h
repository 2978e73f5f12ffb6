// TensorRT's words in ours: how a failed build becomes one Error that says what failed, at which node of the user's
// model, why, and what to do. Unknown messages pass through verbatim. The table of known ones is in messages.cpp.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "pajamas/error.h"
#include "targets/tensorrt/builder_process.h"

namespace pajamas::tensorrt {

/// A message that the table knows.
struct Translation {
  ErrorKind kind = ErrorKind::kUnsupported;
  std::string why;
  std::string remedy;
};

/// The first entry of the table that fits one text of the library, or nothing.
std::optional<Translation> translate(std::string_view text);

/// The vendor's text without source positions and our noise: "IBuilder::…: Error Code 1: Myelin ([pass.cpp:337: …]
/// Cannot compile … In compileGraph at …cpp:2012)" becomes "Cannot compile …".
std::string plain_text(std::string_view text);

/// The node of `model` that a text names, or nullptr: the longest node name in it, also with the library's numbering
/// ("nms0_0").
const Node* find_named_node(const Model& model, std::string_view text);

/// The error to throw for an outcome that is not built. `model_name` tells the user which model ("model.onnx", a part's
/// name); `limits` are those the build ran under.
Error build_error(const BuilderOutcome& outcome, const Model& model, const std::string& model_name,
                  const BuildLimits& limits);

/// Warnings worth keeping in the bundle: once each, plain, without those that say nothing to a user.
std::vector<std::string> notable_warnings(const BuilderOutcome& outcome);

/// An outcome that the library calls built but that must not be used (a profile it found inconsistent), if so.
std::optional<Error> find_hidden_failure(const BuilderOutcome& outcome, const std::string& model_name);

}  // namespace pajamas::tensorrt
