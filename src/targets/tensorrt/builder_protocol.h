// What passes between builder_process.cpp (parent) and builder_child.cpp (child): the request as one JSON argument, and
// reports as JSON lines on kChildReportDescriptor, told apart by "type": stage, library, log, node_error, phase, step,
// finish, failure, done. Private to these two files; both are the same program, so the form may change at will.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "targets/tensorrt/builder_process.h"

namespace pajamas::tensorrt {

/// The hidden first argument of a builder child.
inline constexpr const char* kBuilderArgument = "__tensorrt-builder";

nlohmann::json to_json(const LibraryPaths& library);
LibraryPaths library_from_json(const nlohmann::json& json);
nlohmann::json to_json(const BuilderRequest& request);
BuilderRequest request_from_json(const nlohmann::json& json);

/// The child's whole work on one request; the result is its exit code.
int serve_builder_request(const std::string& request);

}  // namespace pajamas::tensorrt
