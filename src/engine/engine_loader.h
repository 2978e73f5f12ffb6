// Loading an engine part of a bundle with whatever target built it: what tasks call, so that they need not know the
// targets. Declared here and defined beside the table of targets (targets/registry.cpp).
#pragma once

#include <memory>
#include <string>

#include "bundle/bundle.h"
#include "engine/target.h"

namespace pajamas {

/// Loads part `part_name` of the bundle. Every file is checked against its digest before it is used. Throws Error:
/// kBadInput (damaged), kDeviceMissing (no such device here), kUnsupported (another version, another SM).
std::shared_ptr<const Engine> load_engine(const Bundle& bundle, const std::string& part_name,
                                          const SessionOptions& options = {});

}  // namespace pajamas
