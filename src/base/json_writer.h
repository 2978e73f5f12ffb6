// JSON as text. Not a JSON library (that is nlohmann::json) and not for reading (base/json_reader.h).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace pajamas {

/// The text of `json`, on one line or indented by `indent` spaces a level. Strings that are not UTF-8 (names of files
/// and of tensors may hold any bytes) get U+FFFD where they are not, since a document that no reader takes helps
/// nobody; nlohmann's own dump() throws there.
std::string json_text(const nlohmann::json& json, int indent = -1);

}  // namespace pajamas
