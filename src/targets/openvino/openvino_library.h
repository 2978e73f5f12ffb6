// The OpenVINO library as this target uses it: the one Core of the process, element types, options of a compilation,
// and its exceptions turned into Errors. Internal to the target; the only headers with OpenVINO types are in this
// folder.
#pragma once

#include <exception>
#include <openvino/core/any.hpp>
#include <openvino/core/partial_shape.hpp>
#include <openvino/core/type/element_type.hpp>
#include <openvino/runtime/core.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "engine/build_plan.h"
#include "engine/target.h"
#include "graph/graph.h"
#include "pajamas/error.h"

namespace pajamas::openvino {

/// The Core of this process, created on first use (1 ms; the CPU plugin is loaded by the first compilation or import).
/// It is never destroyed: OpenVINO's worker threads may outlive static objects, and the exit of a short program is
/// faster. Thread-safe.
ov::Core& core();

/// Version and build of the library, e.g. "2026.4.1-21684-...".
std::string library_version();

/// Types that can pass between tensors and OpenVINO; nothing for string, complex and sub-byte types.
std::optional<ov::element::Type> element_type_of(DType dtype);
/// kUndefined for a type without counterpart.
DType dtype_of(const ov::element::Type& type);

/// Options of compile_model and import_model for one precision (not kAuto) and thread count. `is_exact` also turns off
/// everything that trades accuracy for speed.
ov::AnyMap compile_options(Precision precision, int num_threads, bool is_exact);

/// Adds what holds for models with paged attention: how keys and values are stored.
void add_language_options(ov::AnyMap& options, Precision precision, const SessionOptions& session);

/// What a caught exception of OpenVINO means: "`what_failed`: reason", with the node of the user's model when the text
/// names one and `model` (may be null) has it. Passes an Error through as it is.
Error translate(const std::exception& exception, std::string_view what_failed, const Model* model = nullptr);

}  // namespace pajamas::openvino
