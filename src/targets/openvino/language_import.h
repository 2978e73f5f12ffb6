// The import of language models: graphs with pajamas.PagedAttention (docs/language.md). Operators that OpenVINO's own
// importer does not know, or brings into forms that the CPU plugin does not recognise as what they are, are converted
// here. Other models go through ov::Core::read_model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <openvino/core/model.hpp>
#include <string>

#include "graph/graph.h"

namespace pajamas::openvino {

/// Reads an ONNX file with its external weights, which stay mapped, not copied, as long as the model or what was
/// compiled from it lives. PagedAttention is OpenVINO's own operator then, and the inputs key_cache.N and value_cache.N
/// are there. Throws what OpenVINO throws, and Error as insert_paged_attention().
std::shared_ptr<ov::Model> read_language_model(const std::filesystem::path& path);

/// Rows of the smallest table that the input (`input_ids`, `position_ids`) indexes, so that its values can be checked;
/// 0 when there is none.
std::int64_t num_table_rows(const ov::Model& model, const std::string& input);

}  // namespace pajamas::openvino
